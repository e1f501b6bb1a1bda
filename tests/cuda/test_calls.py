"""What only a device has: its arrays, streams, captured graphs, and its failures."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.types.errors import AllocationError, IndexOutOfRangeError, InputError


@pytest.fixture(autouse=True)
def real(on_device):
    """A device that is none of the simulator's."""
    if on_device.simulated:
        pytest.skip("the simulator has NumPy's arrays")
    return on_device


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy")


def step():
    w, x = cg.matrix("w", dtype="float32"), cg.matrix("x", dtype="float32")
    loss = cg.sum(cg.tanh(x @ w) ** 2)
    return cg.compile([w, x], [w - 0.01 * cg.grad(loss, w), loss], backend="cuda")


def test_results_stay_on_the_device(cupy):
    f = step()
    w = cupy.ones((8, 8), "float32")
    new, loss = f(w, cupy.ones((9, 8), "float32"))
    assert isinstance(new, cupy.ndarray) and isinstance(loss, cupy.ndarray)
    g = cg.compile([x := cg.vector("x")], x * 2, backend="cuda", results="numpy")
    assert isinstance(g(cupy.ones(3)), np.ndarray)


def test_arrays_of_pytorch_are_not_copied(cupy):
    torch = pytest.importorskip("torch")
    x = cg.vector("x", dtype="float32")
    f = cg.compile([x], x * 2, backend="cuda", donate=x)
    given = torch.ones(1000, device="cuda")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        given += 1
        out = torch.from_dlpack(f(given))
        out = out + 1
    stream.synchronize()
    assert float(out.min()) == 5.0
    assert float(given.min()) == 4.0  # donated: computed in place
    with pytest.raises(InputError, match="detach"):
        f(torch.ones(3, device="cuda", requires_grad=True))


def test_arrays_of_jax(cupy):
    jax = pytest.importorskip("jax")
    if jax.default_backend() == "cpu":
        pytest.skip("this JAX has no device")
    x = cg.vector("x", dtype="float32")
    out = cg.compile([x], x * 2, backend="cuda")(jax.numpy.ones(9))
    assert float(out.sum()) == 18.0


def test_a_stream_of_the_callers(cupy):
    x = cg.vector("x")
    f = cg.compile([x], cg.exp(x) * 2, backend="cuda")
    with cupy.cuda.Stream(non_blocking=True) as stream:
        out = f(cupy.zeros(100_000))
        stream.synchronize()
    assert float(out.sum()) == 200_000.0


def test_a_call_that_repeats_is_replayed(cupy):
    f = step()
    w, x = cupy.ones((64, 64), "float32") / 64, cupy.ones((32, 64), "float32")
    out = [cupy.empty_like(w), cupy.empty((), "float32")]
    wanted = [cupy.asnumpy(r) for r in f(w, x)]
    for _ in range(20):
        f(w, x, out=out)
    (plan,) = f._executable.plans.values()
    assert plan.graphs.replayed > 5
    for got, w_ in zip(out, wanted):
        np.testing.assert_array_equal(cupy.asnumpy(got), w_)


def test_results_have_the_same_bits_every_time(cupy):
    x = cg.matrix("x", dtype="float32")
    f = cg.compile(
        [x], [cg.sum(x), cg.sum(x, axis=0), cg.sum(x, axis=1)], backend="cuda"
    )
    a = cupy.asarray(np.random.default_rng(0).normal(size=(1003, 777)).astype("f"))
    first = [cupy.asnumpy(r) for r in f(a)]
    for _ in range(5):
        for g, w in zip(f(a), first):
            np.testing.assert_array_equal(cupy.asnumpy(g), w)


def test_an_index_out_of_range_is_told_late_and_once(cupy):
    x, i = cg.vector("x"), cg.vector("i", dtype="int64")
    f = cg.compile([x, i], x[i], backend="cuda")
    f(cupy.ones(4), cupy.asarray([0, 9]))
    with pytest.raises(IndexOutOfRangeError, match="found by kernel graphc_"):
        f.synchronize()
    f.synchronize()


def test_more_memory_than_there_is(cupy):
    x = cg.vector("x", dtype="float32")
    f = cg.compile([x], cg.outer(x, x) * 2, backend="cuda")
    with pytest.raises(AllocationError, match="cannot be had on CUDA device"):
        f(cupy.ones(2_000_000, "float32"))
    assert float(f(cupy.ones(3, "float32")).sum()) == 18.0


def test_arrays_on_another_device(cupy):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one device only")
    f = step()
    with cupy.cuda.Device(1):
        w = cupy.ones((8, 8), "float32")
    with pytest.raises(InputError, match=r"w: .*CUDA device 1"):
        f(w, np.ones((9, 8), "float32"))


def test_profile(cupy):
    profile = step().profile(np.ones((64, 64), "f"), np.ones((32, 64), "f"))
    assert profile.seconds > 0
