"""Seeds of Jacobians: selections that stay selections, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops.contract import matmul_
from graphc.passes.pipeline import run_passes

RANDOM = np.random.default_rng(3)
MODES = ["forward", "reverse"]
N = 24


def optimized(expression: Node, *inputs: Node) -> list[Node]:
    return run_passes(Graph(inputs, [expression])).nodes


def dense_work(nodes: list[Node], size: int) -> list[str]:
    """Return the ops, other than selections, computed on arrays of that size."""
    return [
        n.op.name
        for n in nodes
        if n.size == size
        and n.op.flops(n)
        and n.op not in (ar.where, ar.equal)
        and n.dtype.kind == "f"
    ]


ELEMENTWISE = {
    "sin": lambda x: cg.sin(x) * cg.exp(x),
    "relu": lambda x: cg.nn.relu(x) * x / 3.0,
    "clip": lambda x: cg.clip(x, -1.0, 1.0) * x,
    "reversed": lambda x: cg.tanh(x)[::-1],
    "shifted": lambda x: cg.cos(x[1:]) * 2.0,
    "column": lambda x: cg.exp(x.reshape(-1, 1) * 0.5)[:, 0],
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_jacobian_of_elementwise_function_computes_a_vector(name, mode):
    x = cg.vector("x", N)
    y = ELEMENTWISE[name](x)
    jacobian = cg.jacobian(y, x, mode)
    nodes = optimized(jacobian, x)
    assert dense_work(nodes, N * y.size) == []
    at = RANDOM.normal(size=N)
    got = cg.compile([x], jacobian)(at)
    h = 1e-6
    f = cg.compile([x], y)
    columns = [(f(at + h * e) - f(at - h * e)) / (2 * h) for e in np.eye(N)]
    np.testing.assert_allclose(got, np.stack(columns, axis=1), atol=1e-8)
    cg.check_grad(cg.sum(jacobian * jacobian), x, {x: at})


@pytest.mark.parametrize("mode", MODES)
def test_hessian_of_a_sum_of_functions_is_a_diagonal(mode):
    x = cg.vector("x", N)
    hessian = cg.hessian((cg.sin(x) * x).sum(), x, mode)
    assert dense_work(optimized(hessian, x), N * N) == []
    at = RANDOM.normal(size=N)
    expected = np.diag(2 * np.cos(at) - at * np.sin(at))
    np.testing.assert_allclose(cg.compile([x], hessian)(at), expected, atol=1e-14)


@pytest.mark.parametrize("mode", MODES)
def test_first_product_of_a_chain_is_a_scaling(mode):
    x, shapes = cg.vector("x", 20), [(24, 20), (28, 24), (20, 28)]
    ws = [cg.matrix(f"w{i}", s) for i, s in enumerate(shapes)]
    y = x
    for w in ws:
        y = cg.tanh(w @ y)
    jacobian = cg.jacobian(y, x, mode)
    products = [n for n in optimized(jacobian, x, *ws) if n.op is matmul_]
    assert sum(n.size > 30 for n in products) == 2  # the others are vectors'
    f = cg.compile([x, *ws], jacobian)
    assert sum("@" in str(kernel) for kernel in f.kernels) == 2
    h, at = RANDOM.normal(size=20), [RANDOM.normal(size=s) / 5 for s in shapes]
    expected, arrays = np.eye(20), [h, *at]
    for w in at:
        h = np.tanh(w @ h)
        expected = (1 - h * h)[:, None] * (w @ expected)
    np.testing.assert_allclose(f(*arrays), expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_in_its_row_and_column(mode, bad):
    x, w = cg.vector("x", 4), cg.vector("w", 4)
    jacobian = cg.jacobian(x * x * w, x, mode)
    at = {x: np.array([1.0, bad, 2.0, 3.0]), w: np.array([1.0, 2.0, bad, 4.0])}
    expected = np.diag(2 * at[x] * at[w])
    np.testing.assert_array_equal(cg.evaluate(jacobian, at), expected)
    got = cg.compile([x, w], jacobian)(at[x], at[w])
    np.testing.assert_array_equal(got, expected)


def test_jacobian_of_a_jacobian_is_a_diagonal():
    x = cg.vector("x", 3)
    t = cg.jacobian(cg.jacobian(cg.exp(x), x), x)
    at = np.array([0.1, 0.2, 0.3])
    expected = np.zeros((3, 3, 3))
    expected[range(3), range(3), range(3)] = np.exp(at)
    np.testing.assert_array_equal(cg.evaluate(t, {x: at}), expected)
