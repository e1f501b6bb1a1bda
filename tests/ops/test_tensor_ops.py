"""Every tensor op against NumPy, its derivatives, its batching, and its lowering.

Parametrized over `support.tensor_samples`: a new op needs samples only.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support.numpy_scalars import NumpyScalars
from support.tensor_samples import SAMPLES, tensor_ops

from graphc.backends.reference import bind_sizes, interpret, run
from graphc.derivatives.forward import push_forward
from graphc.derivatives.reverse import pull_back
from graphc.graph.graph import Graph
from graphc.ops.arithmetic import multiply
from graphc.ops.declare import Move, Reduce
from graphc.ops.index import Scatter
from graphc.ops.leaf import Leaf, iota, new_input
from graphc.ops.reduce import ArgReduce
from graphc.ops.scan import Scan
from graphc.types import sizes
from graphc.types.errors import IndexOutOfRangeError
from graphc.types.tensor_type import TensorType, tensor_type


def by_name(samples):
    return pytest.mark.parametrize("sample", list(samples), ids=str)


def lowered_by(*families):
    return [s for s in SAMPLES if isinstance(s.graph().outputs[0].op, tuple(families))]


DIFFERENTIABLE = [
    s
    for s in SAMPLES
    if s.smooth
    and any(a.dtype == np.float64 for a in s.arrays)
    and s.expected().dtype == np.float64
]


@pytest.mark.parametrize("op", tensor_ops(), ids=lambda op: op.name)
def test_op_has_samples(op):
    assert [s for s in SAMPLES if s.op == op.name], (
        f"add samples of {op.name} to tests/support/tensor_samples.py"
    )


@by_name(SAMPLES)
def test_value_and_type(sample):
    graph = sample.graph()
    (node,) = graph.outputs
    assert node.op.name == sample.op
    (got,) = run(graph, sample.arrays)
    expected = sample.expected()
    assert got.dtype == expected.dtype == node.dtype
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    values = bind_sizes(graph.inputs, sample.arrays)
    shape = tuple(sizes.evaluate(s, values.__getitem__) for s in node.shape)
    assert shape == expected.shape
    assert str(graph)


@by_name(SAMPLES)
def test_cost_is_a_size(sample):
    graph = sample.graph()
    values = bind_sizes(graph.inputs, sample.arrays)
    cost = graph.outputs[0].op.flops(graph.outputs[0])
    assert sizes.evaluate(cost, values.__getitem__) >= 0


# ------------------------------------------------------------------ derivatives


def squared_graph(sample):
    """Return inputs, the differentiable ones, and the op on their squares.

    The squares make every derivative depend on the inputs, also of a linear op.
    """
    inputs = sample.inputs()
    wrt = [x for x in inputs if x.dtype == np.float64]
    node = sample.build(
        *(multiply(x, x) if x.dtype == np.float64 else x for x in inputs)
    )
    return inputs, wrt, node


def random_like(arrays, seed):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, a.shape) for a in arrays]


def moved(arrays, tangents, step):
    tangents = iter(tangents)
    return [a + step * next(tangents) if a.dtype == np.float64 else a for a in arrays]


def finite_difference(graph, arrays, tangents, step=1e-5):
    high = run(graph, moved(arrays, tangents, step))
    low = run(graph, moved(arrays, tangents, -step))
    return [(h - b) / (2 * step) for h, b in zip(high, low)]


@by_name(DIFFERENTIABLE)
def test_derivatives(sample):
    inputs, wrt, node = squared_graph(sample)
    floats = [a for a in sample.arrays if a.dtype == np.float64]
    tangents = random_like(floats, 1)
    (cotangent,) = random_like([sample.expected()], 2)
    t_inputs = [new_input(f"t{i}", w.type) for i, w in enumerate(wrt)]
    c_input = new_input("c", node.type)
    every = [*inputs, *t_inputs, c_input]
    arrays = [*sample.arrays, *tangents, cotangent]

    (forward,) = push_forward([node], wrt, t_inputs)
    backward = pull_back([node], [c_input], wrt)
    assert forward.type == node.type
    for b, w in zip(backward, wrt):
        assert b.dtype == w.dtype
        assert b.shape == w.shape
    got, *back = run(Graph(every, [forward, *backward]), arrays)
    (difference,) = finite_difference(Graph(inputs, [node]), sample.arrays, tangents)
    np.testing.assert_allclose(got, difference, rtol=1e-6, atol=1e-7)
    pairing = sum(np.sum(b * t) for b, t in zip(back, tangents))
    np.testing.assert_allclose(np.sum(got * cotangent), pairing, rtol=1e-9, atol=1e-9)

    # second order: forward over reverse against differences of reverse
    second = push_forward(backward, wrt, t_inputs)
    got = run(Graph(every, second), arrays)
    all_tangents = [*tangents, *(0 * a for a in (*tangents, cotangent))]
    differences = finite_difference(Graph(every, backward), arrays, all_tangents)
    for g, d in zip(got, differences):
        np.testing.assert_allclose(g, d, rtol=1e-5, atol=1e-6)


# --------------------------------------------------------------------- batching


def batches(array, count, rng):
    if array.dtype == np.float64:
        return rng.uniform(-2, 2, (count, *array.shape))
    flat = [rng.permutation(array.ravel()) for _ in range(count)]
    return np.array(flat, array.dtype).reshape(count, *array.shape)


@pytest.mark.parametrize("count", [3, 1])
@by_name(s for s in SAMPLES if s.graph().outputs[0].args)
def test_batching_rule_is_stacking(sample, count):
    graph = sample.graph()
    (node,) = graph.outputs
    values = bind_sizes(graph.inputs, sample.arrays)
    arg_arrays = run(Graph(graph.inputs, node.args), sample.arrays)
    rng = np.random.default_rng(0)
    size = count if count == 1 else sizes.dim("batch")
    for pattern in itertools.product([False, True], repeat=len(node.args)):
        if not any(pattern):
            continue
        plain = [new_input(f"a{i}", a.type) for i, a in enumerate(node.args)]
        wide = [
            new_input(f"b{i}", TensorType((size, *a.shape), a.dtype)) if p else x
            for i, (a, x, p) in enumerate(zip(node.args, plain, pattern))
        ]
        arrays = [
            batches(a, count, rng) if p else a for a, p in zip(arg_arrays, pattern)
        ]
        out = node.op.batch(node, tuple(wide), pattern)
        assert out.shape == (size, *node.shape)
        known = {**values, sizes.Dim("batch"): count}
        (got,) = interpret(Graph(wide, [out]), dict(zip(wide, arrays)), known)
        one = Graph(plain, [node.op.rebuild(node, tuple(plain))])
        single = [
            interpret(
                one,
                dict(zip(plain, (a[b] if p else a for a, p in zip(arrays, pattern)))),
                values,
            )[0]
            for b in range(count)
        ]
        np.testing.assert_allclose(got, np.stack(single), rtol=1e-12, atol=1e-14)


# --------------------------------------------------------------------- lowering


class IndexScalars(NumpyScalars):
    """`Scalars` for indices that are numbers, or formulas whose values are known."""

    def __init__(self, values):
        self.values = values

    def number(self, index):
        return sizes.evaluate(index, self.values.__getitem__)

    def size(self, size, dtype):
        return np.asarray(self.number(size)).astype(dtype)

    def inside(self, index, low, high):
        return np.asarray(self.number(low) <= self.number(index) < self.number(high))

    def dynamic_index(self, value, extent, node, source):
        assert value.dtype.kind in "iu"
        number, extent = int(value), self.number(extent)
        if not -extent <= number < extent:
            raise IndexOutOfRangeError(node.op.name)
        return number % extent


def reader(k, arrays):
    """Return ``arg(p, index)``; an index outside fails, one into nothing is junk."""

    def arg(p, index):
        array = arrays[p]
        at = tuple(k.number(i) for i in index)
        assert len(at) == array.ndim
        if array.size == 0:
            return np.asarray(99, array.dtype)
        assert all(0 <= i < s for i, s in zip(at, array.shape)), "read outside"
        return np.asarray(array[at])

    return arg


def arguments(sample):
    graph = sample.graph()
    (node,) = graph.outputs
    values = bind_sizes(graph.inputs, sample.arrays)
    return node, values, run(Graph(graph.inputs, node.args), sample.arrays)


@pytest.mark.parametrize("symbolic", [False, True], ids=["numbers", "loop variables"])
@by_name(s for s in SAMPLES if hasattr(s.graph().outputs[0].op, "read"))
def test_read_gives_each_element(sample, symbolic):
    node, values, arrays = arguments(sample)
    expected = sample.expected()
    k = IndexScalars(dict(values))
    loops = [sizes.Dim(f"i{a}") for a in range(node.ndim)]
    for at in np.ndindex(*expected.shape):
        index = at
        if symbolic:
            k.values.update(zip(loops, at))
            index = tuple(map(sizes.of_atom, loops))
        value = node.op.read(k, node, index, reader(k, arrays))
        assert value.dtype == node.dtype
        assert value == expected[at]


def test_every_move_is_read():
    assert {s.op for s in lowered_by(Move)} == {
        op.name for op in tensor_ops() if isinstance(op, Move)
    }


@by_name(lowered_by(Scatter))
def test_scatter_target(sample):
    node, values, arrays = arguments(sample)
    k = IndexScalars(values)
    arg = reader(k, arrays)
    out = arrays[0].copy()
    for at in np.ndindex(*arrays[1].shape):
        target = node.op.target(k, node, at, arg)
        value = arrays[1][at]
        out[target] = value if node.op.combine == "set" else out[target] + value
    np.testing.assert_array_equal(out, sample.expected())


def rows(array, axes):
    """Return (position in the result, elements in order) of each reduced part."""
    kept = [a for a in range(array.ndim) if a not in axes]
    shape = [array.shape[a] for a in kept]
    flat = array.transpose(*kept, *axes).reshape(*shape, -1) if array.size else None
    for at in np.ndindex(*shape):
        yield at, [] if flat is None else list(flat[at])


@by_name(lowered_by(Reduce))
def test_reduction_by_its_instruction(sample):
    node, _, (array,) = arguments(sample)
    k = NumpyScalars()
    expected = sample.expected()
    for at, elements in rows(array, node.params[0]):
        total = k.constant(node.op.identity(array.dtype), array.dtype)
        for x in elements:
            total = k(node.op.instruction, total, x)
        assert total.dtype == node.dtype
        np.testing.assert_allclose(total, expected[at], rtol=1e-12)


@by_name(lowered_by(ArgReduce))
def test_argreduce_by_its_comparison(sample):
    node, _, (array,) = arguments(sample)
    k = NumpyScalars()
    for at, elements in rows(array, node.params):
        best, where = elements[0], 0
        for i, x in enumerate(elements[1:], 1):
            if node.op.better(k, x, best, array.dtype):
                best, where = x, i
        assert where == sample.expected()[at]


@by_name(lowered_by(Scan))
def test_scan_by_its_step(sample):
    node, _, arrays = arguments(sample)
    axis, reverse = node.params
    k = NumpyScalars()
    moved = [np.moveaxis(a, axis, -1) for a in arrays]
    expected = np.moveaxis(sample.expected(), axis, -1)
    for at in np.ndindex(*expected.shape[:-1]):
        carry = k.constant(node.op.initial, node.dtype)
        order = range(expected.shape[-1])
        for i in reversed(order) if reverse else order:
            carry = node.op.step(k, carry, *(np.asarray(a[(*at, i)]) for a in moved))
            np.testing.assert_allclose(carry, expected[(*at, i)], rtol=1e-12)


def test_leaves_do_not_depend_on_a_batch():
    node = iota(4)
    assert isinstance(node.op, Leaf)
    assert node.op.batch(node, (), ()) is node


def test_types_of_samples_are_symbolic_somewhere():
    ops = {
        s.op for s in SAMPLES if any(isinstance(d, str) for t in s.shapes for d in t)
    }
    leaves = {"constant", "full", "arange"}
    assert {op.name for op in tensor_ops()} - ops == leaves
    assert tensor_type(("n",), "float64").shape == (sizes.dim("n"),)
