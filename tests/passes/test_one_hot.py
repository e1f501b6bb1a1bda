"""Sums and products that select one term: against NumPy, and how much is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as cg
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.contract import matmul_
from graphc.ops.reduce import sum_
from graphc.passes.pipeline import run_passes
from graphc.passes.simplify_one_hot import product_with_one_hot

RANDOM = np.random.default_rng(5)

SIZE = st.integers(1, 5)
OFFSET = st.integers(-6, 6)


def line(rows: int, columns: int, offset: int) -> Node:
    """Return where ``column == row + offset``, cut from a wider identity."""
    index = cg.arange(rows + columns + 6)
    eye = index[:, None] == index
    row, column = max(0, offset), max(0, -offset)
    return eye[row : row + rows, column : column + columns]


def line_array(rows: int, columns: int, offset: int) -> np.ndarray:
    return np.eye(rows, columns, offset, dtype=bool)


def rewritten(expression: Node, *inputs: Node) -> tuple[Node, set]:
    """Return an expression after all passes, and the ops that are left.

    Its products are first treated as those that a sweep over a basis makes.
    """
    graph = Graph(inputs, [expression]).rewritten(product_with_one_hot)
    with cg.config(check=True):
        graph = run_passes(graph)
    return graph.outputs[0], {n.op for n in graph.nodes}


@settings(max_examples=60, deadline=None)
@given(SIZE, SIZE, OFFSET, st.sampled_from([0, 1]))
def test_sum_over_either_axis(rows, columns, offset, axis):
    x = cg.matrix("x", (rows, columns))
    result, left = rewritten(
        cg.sum(cg.where(line(rows, columns, offset), cg.exp(x), 0.0), axis=axis), x
    )
    at = RANDOM.normal(size=(rows, columns))
    expected = np.where(line_array(rows, columns, offset), np.exp(at), 0).sum(axis)
    np.testing.assert_array_equal(cg.evaluate(result, {x: at}), expected)
    if rows > 1 and columns > 1:
        assert sum_ not in left


@settings(max_examples=60, deadline=None)
@given(SIZE, SIZE, SIZE, OFFSET, st.booleans(), st.booleans(), st.data())
def test_product_from_either_side(rows, columns, other, offset, left, turned, data):
    shape = data.draw(
        st.sampled_from([(), (columns,), (rows, 1), (1, columns), (rows, columns)])
    )
    d = cg.tensor("d", shape)
    a = cg.matrix("a", (columns, other) if left else (other, rows))
    selected = cg.where(line(rows, columns, offset), d, 0.0)
    product = selected @ a if left else a @ selected
    if turned:
        product = (a.T @ selected.T) if left else (selected.T @ a.T)
    result, ops = rewritten(product, d, a)
    at = {d: RANDOM.normal(size=shape), a: RANDOM.normal(size=a.shape)}
    dense = np.where(line_array(rows, columns, offset), at[d], 0)
    expected = dense @ at[a] if left else at[a] @ dense
    np.testing.assert_allclose(
        cg.evaluate(result, at), expected.T if turned else expected, rtol=1e-14
    )
    if rows > 1 and columns > 1:
        assert matmul_ not in ops


def test_sizes_that_are_symbolic():
    a, d = cg.matrix("a", ("m", "n")), cg.vector("d", "n")
    index = cg.arange(d.shape[0])
    result, ops = rewritten(a @ cg.where(index[:, None] == index, d, 0.0), a, d)
    assert matmul_ not in ops
    at = {a: RANDOM.normal(size=(2, 3)), d: RANDOM.normal(size=3)}
    np.testing.assert_array_equal(cg.evaluate(result, at), at[a] * at[d])


def test_batches_with_a_selected_row_each():
    n = 4
    index = cg.arange(n)
    d, a = cg.vector("d", n), cg.matrix("a", (3, n))
    seeds = cg.where(index[:, None] == index, d, 0.0)[:, :, None]
    result, ops = rewritten(a @ seeds, a, d)
    assert matmul_ not in ops
    at = {a: RANDOM.normal(size=(3, n)), d: RANDOM.normal(size=n)}
    np.testing.assert_array_equal(
        cg.evaluate(result, at), (at[a] * at[d]).T[:, :, None]
    )


def test_terms_that_are_not_selected_are_zero_in_derivatives_only():
    index = cg.arange(3)
    a, d = cg.matrix("a", (2, 3)), cg.vector("d", 3)
    product = a @ cg.where(index[:, None] == index, d, 0.0)
    at = np.array([[1.0, np.inf, 2.0], [np.nan, 3.0, 4.0]])
    given = np.array([1.0, 2.0, 3.0])
    # what a user wrote is NumPy's: infinity times what is not selected is NaN
    with np.errstate(invalid="ignore"):
        wanted = at @ np.diag(given)
    np.testing.assert_array_equal(cg.compile([a, d], product)(at, given), wanted)
    result, _ = rewritten(product, a, d)
    np.testing.assert_array_equal(
        cg.evaluate(result, {a: at, d: given}), at * [1, 2, 3]
    )


def test_sum_over_more_axes_than_the_selected():
    n = 4
    index = cg.arange(n)
    x = cg.tensor("x", (n, 3, n))
    kept = cg.where(index[:, None, None] == index, x, 0.0)
    result, _ = rewritten(cg.sum(kept, axis=(0, 2)), x)
    at = RANDOM.normal(size=x.shape)
    np.testing.assert_allclose(
        cg.evaluate(result, {x: at}), np.einsum("iji->j", at), rtol=1e-14
    )
    assert not any(m.ndim == 3 and m.op is cg.where for m in Graph([x], [result]).nodes)


@pytest.mark.parametrize("step", [2, 3])
def test_lines_that_are_not_diagonals_stay(step):
    n = 6
    index = cg.arange(n)
    x = cg.vector("x", n)
    mask = (index[:, None] == cg.arange(step * n))[:, ::step]
    result, ops = rewritten(cg.sum(cg.where(mask, x, 0.0), axis=1), x)
    assert sum_ in ops
    at = RANDOM.normal(size=n)
    expected = np.where(np.eye(n, step * n, dtype=bool)[:, ::step], at, 0).sum(1)
    np.testing.assert_array_equal(cg.evaluate(result, {x: at}), expected)


def test_small_counters_wrap_and_stay():
    x = cg.vector("x", 300)
    index = cg.arange(300, dtype="int16").astype("int8")
    result, ops = rewritten(
        cg.sum(cg.where(index[:, None] == index, x, 0.0), axis=1), x
    )
    at = RANDOM.normal(size=300)
    small = np.arange(300).astype("int8")
    expected = np.where(small[:, None] == small, at, 0).sum(1)
    np.testing.assert_allclose(cg.evaluate(result, {x: at}), expected, rtol=1e-13)
    assert sum_ in ops
