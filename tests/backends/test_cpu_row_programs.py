"""What shares a kernel: counts of kernels, and of the arrays that each reads."""

from __future__ import annotations

import numpy as np

import graphc as cg
from graphc.kernels.ir import Kernel
from graphc.schedule.evaluate import KernelCall
from tests.support.cpu import assert_cpu_agrees, placeholders

_rng = np.random.default_rng(11)


def real(*shape, dtype=np.float64):
    return _rng.normal(size=shape).astype(dtype)


def calls(function: cg.Function) -> list[KernelCall]:
    """Return the kernels of a function, without those that combine partial results."""
    steps = list(function._executable.program.calls)
    return [
        s
        for s in steps
        if isinstance(s, KernelCall) and not s.kernel.label.startswith("combine")
    ]


def kernels(function: cg.Function) -> list[Kernel]:
    return [c.kernel for c in calls(function)]


def readers(function: cg.Function, node) -> int:
    """Return how many kernels read an array."""
    return sum(any(m.node is node for m in c.memory) for c in calls(function))


def check(build, *arrays):
    inputs = placeholders(*arrays)
    outputs = build(*inputs)
    return inputs, assert_cpu_agrees(inputs, list(outputs), arrays)


def test_a_product_with_a_transpose_shares_the_rows_of_the_array():
    def build(x, y, w):
        z = x @ w
        loss = (cg.logaddexp(0.0, z) - y * z).mean()
        return loss, cg.grad(loss, w)

    (x, *_), function = check(build, real(300, 20), real(300), real(20))
    assert readers(function, x) == 1


def test_a_sum_over_a_transpose_shares_the_rows_of_the_array():
    def build(x, v):
        return (x.T * v).sum(1), (x * x).sum(1)

    (x, _), function = check(build, real(100, 30), real(100))
    assert readers(function, x) == 1


def test_layer_norm_with_its_gradient_reads_each_array_once():
    def build(x, g, b, dy):
        c = x - x.mean(1, keepdims=True)
        y = c / cg.sqrt((c * c).mean(1, keepdims=True) + 1e-5) * g + b
        return y, *cg.vjp(y, [x, g, b], dy)

    _, function = check(build, real(100, 40), real(40), real(40), real(100, 40))
    assert len(calls(function)) == 1


def test_readers_of_one_array_share_a_kernel_with_its_reductions():
    def build(x):
        return cg.exp(x), x.sum(1), x.max(0), (x * x).sum()

    (x,), function = check(build, real(200, 30))
    assert readers(function, x) == 1


def test_readers_of_small_arrays_keep_their_own_kernels():
    def build(x):
        return x.sum(1), x.max(0)

    (x,), function = check(build, real(20, 30))
    assert readers(function, x) == 2


def test_short_rows_are_not_taken_on():
    """A loop over all elements vectorizes; one over each row of three does not."""

    def build(x):
        return cg.exp(x), x.sum(1)

    (x,), function = check(build, real(5000, 3))
    assert readers(function, x) == 2


def test_a_kernel_reads_a_limited_number_of_arrays():
    def build(x, *others):
        return [(x * y).sum(1) for y in others]

    (x, *_), function = check(build, *(real(70, 40) for _ in range(30)))
    assert 2 <= readers(function, x) <= 5


def test_wide_partial_rows_are_combined_in_parallel():
    x = cg.matrix("x", (400, 20000), dtype="float32")
    function = cg.compile([x], [x.sum(0)])
    part, combine = function._executable.program.steps
    assert part.chunks == 32
    assert combine.chunks > 8
    array = real(400, 20000, dtype=np.float32)
    np.testing.assert_allclose(function(array)[0], array.sum(0), rtol=1e-4, atol=1e-3)
