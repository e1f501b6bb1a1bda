"""Functions compiled for CUDA, in the simulator: calls, memory, errors, inspection."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from support.cpu import assert_close

import graphc as cg
from graphc.backends.cuda import device, executable, shim
from graphc.backends.reference import run
from graphc.graph.graph import Graph
from graphc.runtime.compiled import CompileOptions
from graphc.types.config import config
from graphc.types.errors import (
    AllocationError,
    ConfigError,
    DTypeError,
    IndexOutOfRangeError,
    InputError,
    NonFiniteError,
    ShapeError,
)

pytestmark = pytest.mark.usefixtures("simulator")


def compiled(inputs, outputs, **options):
    return cg.compile(inputs, outputs, backend="cuda", **options)


def softmax_loss():
    x = cg.matrix("x", ("n", "m"))
    w = cg.matrix("w", ("m", "k"))
    loss = -cg.mean(cg.log(cg.nn.softmax(x @ w, axis=-1))[:, 0])
    return [x, w], [loss, cg.grad(loss, w)]


def arrays_of(n, m=7, k=8):
    rng = np.random.default_rng(n)
    return rng.normal(size=(n, m)), rng.normal(size=(m, k))


def agree(f, inputs, outputs, arrays):
    wanted = run(Graph(inputs, outputs), list(arrays))
    for g, w in zip(f(*arrays), wanted):
        assert_close(g, w, f.source)


def test_one_function_serves_all_sizes():
    inputs, outputs = softmax_loss()
    f = compiled(inputs, outputs)
    for n in (9, 12, 9, 30):
        agree(f, inputs, outputs, arrays_of(n))
    plans = f._executable.plans
    assert len(plans) == 3  # sizes that repeat are planned once


def test_few_plans_are_kept(monkeypatch):
    monkeypatch.setattr(executable, "MOST_PLANS", 2)
    x = cg.vector("x")
    f = compiled([x], x * 2)
    for n in range(1, 6):
        np.testing.assert_array_equal(f(np.ones(n)), np.full(n, 2.0))
    assert [sizes for sizes, _ in f._executable.plans] == [(4,), (5,)]


def test_static_sizes_are_compiled_at_once():
    x = cg.tensor("x", (5,))
    assert len(compiled([x], x * 2)._executable.plans) == 1
    y = cg.vector("y")
    assert not compiled([y], y * 2)._executable.plans


def test_equal_kernels_are_printed_once():
    x = cg.tensor("x", (3, 8))
    parts = [cg.exp(x[i]) * 2 for i in range(3)]
    f = compiled([x], cg.stack([cg.sum(p) for p in parts]))
    names = [k.name for k in f.kernels]
    assert len(set(names)) == len(f._executable.codes())


def test_containers_names_and_conversions():
    x, y = cg.vector("x"), cg.scalar("y")
    f = compiled({"x": x, "y": y}, {"sum": cg.sum(x) * y, "all": [x + y]})
    got = f({"x": [1, 2, 3], "y": 2.0})
    assert got["sum"] == 12.0
    np.testing.assert_array_equal(got["all"][0], [3.0, 4.0, 5.0])
    g = compiled([x, y], x * y)
    np.testing.assert_array_equal(g(y=3.0, x=[1.0, 2.0]), [3.0, 6.0])


def test_wrong_arrays_are_told_as_on_the_cpu():
    x, y = cg.vector("x", "n"), cg.vector("y", "n")
    f = compiled([x, y], x + y)
    with pytest.raises(ShapeError, match="y"):
        f(np.ones(3), np.ones(4))
    with pytest.raises(DTypeError, match="float32"):
        f(np.ones(3, np.float32), np.ones(3))
    with pytest.raises(InputError, match="2 inputs are needed"):
        f(np.ones(3))


def test_arrays_are_written_to_where_given():
    x = cg.matrix("x")
    f = compiled([x], [x * 2, cg.sum(x)])
    a = np.arange(6.0).reshape(2, 3)
    out = [np.empty((2, 3)), np.empty(())]
    assert f(a, out=out) is out
    np.testing.assert_array_equal(out[0], a * 2)
    assert out[1] == 15.0
    strided = np.zeros((2, 6))
    f(a, out=[strided[:, ::2], out[1]])  # no memory by rows: copied
    np.testing.assert_array_equal(strided[:, ::2], a * 2)
    f(a, out=[a, out[1]])  # into an input
    np.testing.assert_array_equal(a, np.arange(6.0).reshape(2, 3) * 2)
    with pytest.raises(ShapeError, match=r"out\[0\]"):
        f(a, out=[np.empty((3, 2)), out[1]])


def test_donated_arrays_are_reused():
    w, g = cg.vector("w", "n"), cg.vector("g", "n")
    f = compiled([w, g], w - 0.5 * g, donate=w)
    a, b = np.ones(5), np.ones(5)
    assert f(a, b) is a
    np.testing.assert_array_equal(a, np.full(5, 0.5))
    c = np.ones(5)
    np.testing.assert_array_equal(f(c, c), np.full(5, 0.5))  # given twice: copied
    np.testing.assert_array_equal(c, np.ones(5))
    with pytest.raises(InputError, match="read-only"):
        c.flags.writeable = False
        f(c, b)


def test_outputs_that_are_inputs_or_constants_are_copied():
    x = cg.vector("x")
    f = compiled([x], [x, x, np.arange(3.0), x + 1])
    a = np.ones(4)
    first, second, constant, _ = f(a)
    assert first is not a and second is not first
    first[:] = 0
    np.testing.assert_array_equal(second, a)
    np.testing.assert_array_equal(constant, [0.0, 1.0, 2.0])
    constant[:] = 7
    np.testing.assert_array_equal(f(a)[2], [0.0, 1.0, 2.0])


def test_an_index_out_of_range_names_op_and_kernel():
    x, i = cg.vector("x"), cg.vector("i", dtype="int64")
    f = compiled([x, i], x[i] * 2)
    a = np.arange(4.0)
    with pytest.raises(IndexOutOfRangeError) as error:
        f(a, np.array([0, 9]))
    text = str(error.value)
    assert "test_executable.py" in text and f.kernels[0].name in text
    # the cell is clear again
    np.testing.assert_array_equal(f(a, np.array([1, -1])), [2.0, 6.0])
    f.synchronize()


def test_late_reports_are_raised_by_a_later_call():
    """On a device a call returns before its indices are checked."""
    x, i = cg.vector("x"), cg.vector("i", dtype="int64")
    f = compiled([x, i], x[i] * 2)
    made = f._executable

    class Later:
        done = False

        def __init__(self, array, before):
            self.array = array

        def wait(self):
            return self.array

    made.device = Slow(made.device, Later)
    a = np.arange(4.0)
    f(a, np.array([0, 9]))
    f(a, np.array([0, 1]))  # not known yet
    Later.done = True
    with pytest.raises(IndexOutOfRangeError):
        f(a, np.array([0, 1]))
    f(a, np.array([0, 9]))
    Later.done = False
    with pytest.raises(IndexOutOfRangeError):
        f.synchronize()
    f.synchronize()


class Slow:
    """The simulator, with some of its answers replaced."""

    asynchronous = True

    def __init__(self, device, later):
        self.inner, self.later = device, later

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def read_later(self, array, before):
        return self.later(array, before)


class Full(Slow):
    """A device that has no memory for more than some bytes at a time."""

    def __init__(self, device, most):
        super().__init__(device, device.read_later)
        self.most, self.released = most, 0

    def empty(self, shape, dtype):
        if np.prod(shape) * np.dtype(dtype).itemsize > self.most:
            raise MemoryError
        return self.inner.empty(shape, dtype)

    def release(self):
        self.released += 1


def test_memory_that_cannot_be_had_names_the_buffer():
    x = cg.matrix("x", ("n", "n"))
    y = x @ x
    f = compiled([x], cg.sum(cg.tanh(y @ x)))
    full = f._executable.device = Full(f._executable.device, 10_000)
    with pytest.raises(AllocationError, match=r"largest is .*matmul") as error:
        f(np.ones((60, 60)))
    assert full.released and "cannot be had on simulator" in str(error.value)
    assert np.isfinite(f(np.ones((7, 7))))  # usable as before
    g = compiled([x], x * 2)
    g._executable.device = Full(g._executable.device, 10_000)
    with pytest.raises(AllocationError, match=r"outputs.*multiply.*28,800 bytes"):
        g(np.ones((60, 60)))
    assert g(np.ones((2, 2))).sum() == 8.0


def test_a_budget_is_refused_and_says_so():
    x = cg.vector("x")
    with pytest.raises(ConfigError, match="memory_budget is not kept on CUDA"):
        compiled([x], x * 2, memory_budget=100)


def test_options_of_a_device_need_one():
    x = cg.vector("x")
    with pytest.raises(InputError, match="tf32"):
        cg.compile([x], x, tf32=True)
    with pytest.raises(InputError, match="results"):
        cg.compile([x], x, results="device")
    with pytest.raises(InputError, match="neither"):
        compiled([x], x, results="host")
    cg.compile([x], x, results="numpy")


def test_inspection():
    inputs, outputs = softmax_loss()
    f = compiled(inputs, outputs)
    kinds = [k.name for k in f.kernels]
    assert "product" in kinds and any(k.startswith("graphc_") for k in kinds)
    assert f"def {next(k for k in kinds if k != 'product')}(" in f.source
    assert str(f.explain()) and f.memory_plan.at(n=9, m=7, k=8)["peak"] > 0
    assert str(f.cost)
    assert "cuda" in repr(f)
    profile = f.profile(*arrays_of(9))
    assert len(profile.steps) == len(f.kernels) and profile.seconds > 0


def test_pickling():
    inputs, outputs = softmax_loss()
    f = compiled(inputs, outputs, results="numpy", donate=inputs[1])
    g = pickle.loads(pickle.dumps(f))
    assert type(g) is type(f) and g.options == f.options
    assert g.options == CompileOptions(donated=(1,), results="numpy")
    for a, b in zip(f(*arrays_of(9)), g(*arrays_of(9))):
        np.testing.assert_array_equal(a, b)


def test_values_that_are_not_finite():
    x = cg.vector("x")
    f = compiled([x], cg.log(x))
    with config(check_finite=True):
        f(np.ones(3))
        with pytest.raises(NonFiniteError, match="log"):
            f(np.array([1.0, -1.0]))


def test_jit():
    norm = cg.jit(lambda x: cg.sqrt(cg.sum(x * x)), backend="cuda")
    assert norm(np.array([3.0, 4.0])) == 5.0
    assert norm(np.array([3.0, 4.0], np.float32)).dtype == np.float32


def test_threads_mean_nothing_here():
    x = cg.vector("x")
    f = compiled([x], x + 1)
    assert f.with_threads(3) is f
    np.testing.assert_array_equal(f(np.ones(2), threads=2), [2.0, 2.0])
    f.release()


def test_empty_arrays():
    x = cg.matrix("x")
    f = compiled([x], [x * 2, cg.sum(x), cg.sum(x, axis=0), x @ x.T])
    for shape in ((0, 3), (3, 0), (0, 0)):
        agree(f, [x], list(f.original.outputs), [np.ones(shape)])


def test_two_threads_may_call():
    from concurrent.futures import ThreadPoolExecutor

    if not device.current().simulated:
        pytest.skip("the simulator runs one kernel at a time")
    inputs, outputs = softmax_loss()
    f = compiled(inputs, outputs)
    arrays = [arrays_of(n) for n in (9, 12)]
    wanted = [f(*a) for a in arrays]
    with ThreadPoolExecutor(2) as pool:
        got = list(pool.map(lambda a: f(*a), arrays * 2))
    for g, w in zip(got, wanted * 2):
        np.testing.assert_array_equal(g[1], w[1])


def test_without_a_device_it_is_said_what_is_missing(monkeypatch):
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM")
    if not shim.available():
        pytest.skip("no compiler for CUDA kernels")
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
    except Exception:
        pass
    else:
        pytest.skip("there is a device")
    x = cg.vector("x")
    with pytest.raises((ConfigError, ImportError), match="the CUDA backend"):
        compiled([x], x * 2)


def test_empty_arrays_have_an_address():
    """A padded empty array reads an element of it, whose value is not used."""
    x = cg.vector("x")
    f = compiled([x], cg.pad(x, (2, 1)))
    np.testing.assert_array_equal(f(np.ones(0)), np.zeros(3))
    bases = f._executable._of_call(
        next(iter(f._executable.plans.values())), {}, [np.ones(0)], [np.empty(3)]
    )
    assert all(b.size for b in bases)


def test_arrays_of_a_device_are_traced_by_shape_and_dtype():
    traced = []

    class Tensor:
        """An array on a device, as its interface tells; the rest may not be asked."""

        def __init__(self, shape, typestr):
            self.__cuda_array_interface__ = {"shape": shape, "typestr": typestr}

        def __array__(self, *args, **kwargs):
            raise TypeError("implicit conversion to a NumPy array is not allowed")

    def double(x, factor):
        traced.append((x.shape, x.dtype.name))
        return x * factor

    f = cg.jit(double, backend="cuda")
    given = []
    for shape, typestr in (((3,), "<f4"), ((3,), "<f4"), ((2, 2), "<f8")):
        given.append(Tensor(shape, typestr))
        # the simulator has no such arrays: it is the call that refuses it
        with pytest.raises(InputError, match=r'x: .*Tensor.*host.*backend="cuda"'):
            f(given[-1], 2.0)
    assert traced == [((3,), "float32"), ((2, 2), "float64")]
    with pytest.raises(InputError, match="on a device"):
        cg.linearize(lambda x: x * x, given[0])
