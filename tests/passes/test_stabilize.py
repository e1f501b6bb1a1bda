"""Stabilizing rewrites against mpmath where the plain formulas lose everything."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import graphc as cg
from graphc.expressions import nn
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.passes.pipeline import run_passes
from graphc.passes.stabilize import stabilized

mpmath.mp.dps = 700  # exp(-750) beside 1

x = cg.vector("x", "n")
a = cg.matrix("a", ("n", 3))

FORMULAS = {
    "log1p": (lambda v: cg.log(1 + v), lambda v: mpmath.log(1 + v), (1e-20, 3e-9, 2.0)),
    "log1m": (
        lambda v: cg.log(1 - v),
        lambda v: mpmath.log(1 - v),
        (1e-20, 3e-9, -2.0),
    ),
    "expm1": (
        lambda v: cg.exp(v) - 1,
        lambda v: mpmath.exp(v) - 1,
        (1e-20, -3e-9, 2.0),
    ),
    "one_minus_exp": (
        lambda v: 1 - cg.exp(v),
        lambda v: 1 - mpmath.exp(v),
        (1e-20, -3e-9, 2.0),
    ),
    "softplus": (
        lambda v: cg.log(1 + cg.exp(v)),
        lambda v: mpmath.log(1 + mpmath.exp(v)),
        (-700.0, -50.0, 0.5, 1000.0),
    ),
    "log_sigmoid": (
        lambda v: cg.log(1 / (1 + cg.exp(-v))),
        lambda v: -mpmath.log(1 + mpmath.exp(-v)),
        (-1000.0, -1.0, 50.0, 700.0),
    ),
    "log_one_minus_sigmoid": (
        lambda v: cg.log(1 - nn.sigmoid(v)),
        lambda v: -mpmath.log(1 + mpmath.exp(v)),
        (1000.0, 50.0, 1.0, -50.0, -700.0),
    ),
    "sigmoid_tail": (
        lambda v: 1 - nn.sigmoid(v),
        lambda v: 1 / (1 + mpmath.exp(v)),
        (40.0, 700.0, -3.0),
    ),
    "sigmoid_by_exp": (
        lambda v: cg.exp(v) / (1 + cg.exp(v)),
        lambda v: 1 / (1 + mpmath.exp(-v)),
        (1000.0, 0.5, -700.0),
    ),
    "softplus_tail": (
        lambda v: nn.softplus(v) - v,
        lambda v: mpmath.log(1 + mpmath.exp(-v)),
        (700.0, 40.0, -3.0),
    ),
    "erfc": (lambda v: 1 - cg.erf(v), mpmath.erfc, (20.0, 5.0, 0.5, -2.0)),
    "erfc_mirrored": (lambda v: 1 + cg.erf(v), lambda v: mpmath.erfc(-v), (-20.0, 0.5)),
    "erf": (lambda v: 1 - cg.erfc(v), mpmath.erf, (1e-20, 0.5)),
    "one_minus_cos": (
        lambda v: 1 - cg.cos(v),
        lambda v: 1 - mpmath.cos(v),
        (1e-10, 1e-3, 2.0),
    ),
    "root_of_square": (lambda v: cg.sqrt(v * v), abs, (1e-200, -1e200, -2.0)),
    "log_of_exp": (lambda v: cg.log(cg.exp(v)), lambda v: v, (-1e4, 1e4, 1e-20)),
}


def compiled(expression: Node, *inputs: Node) -> Node:
    with cg.config(check=True):
        return run_passes(Graph(inputs, [expression])).outputs[0]


@pytest.mark.parametrize("name", FORMULAS)
def test_formula_is_accurate_at_extremes(name):
    build, exact, points = FORMULAS[name]
    wanted = [float(exact(mpmath.mpf(p))) for p in points]
    got = cg.evaluate(compiled(build(x), x), {x: points})
    np.testing.assert_allclose(got, wanted, rtol=4e-15)


@pytest.mark.parametrize("name", FORMULAS)
def test_gradient_of_stabilized_formula_is_accurate_at_extremes(name):
    build, exact, points = FORMULAS[name]
    (stable,) = stabilized([cg.sum(build(x))])
    wanted = [float(mpmath.diff(exact, mpmath.mpf(p))) for p in points]
    got = cg.evaluate(compiled(cg.grad(stable, x), x), {x: points})
    np.testing.assert_allclose(got, wanted, rtol=1e-14, atol=1e-300)


ROWS = np.array(
    [[1000.0, 999.0, -1000.0], [-2000.0, -2001.0, -2002.0], [0.1, 0.2, 0.3]]
)


def logsumexp(row) -> mpmath.mpf:
    return mpmath.log(sum(mpmath.exp(mpmath.mpf(v)) for v in row))


@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp_written_out(keepdims):
    total = cg.log(cg.sum(cg.exp(a), axis=1, keepdims=keepdims))
    got = cg.evaluate(compiled(total, a), {a: ROWS})
    np.testing.assert_allclose(
        got.ravel(), [float(logsumexp(r)) for r in ROWS], rtol=1e-15
    )


def test_logsumexp_of_infinities_is_theirs():
    total = cg.log(cg.sum(cg.exp(a), axis=1))
    rows = np.array([[-np.inf] * 3, [np.inf, 0.0, 1.0], [-np.inf, 0.0, -np.inf]])
    np.testing.assert_array_equal(
        cg.evaluate(compiled(total, a), {a: rows}), [-np.inf, np.inf, 0.0]
    )


def test_softmax_written_out():
    e = cg.exp(a)
    got = cg.evaluate(compiled(e / cg.sum(e, axis=1, keepdims=True), a), {a: ROWS})
    wanted = [
        [float(mpmath.exp(mpmath.mpf(v) - logsumexp(r))) for v in r] for r in ROWS
    ]
    np.testing.assert_allclose(got, wanted, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("shifted", [False, True])
def test_log_of_softmax(shifted):
    e = cg.exp(a)
    p = nn.softmax(a) if shifted else e / cg.sum(e, axis=1, keepdims=True)
    got = cg.evaluate(compiled(cg.log(p), a), {a: ROWS})
    wanted = [[float(mpmath.mpf(v) - logsumexp(r)) for v in r] for r in ROWS]
    np.testing.assert_allclose(got, wanted, rtol=1e-13)


def test_cross_entropy_written_with_the_softmax():
    labels = cg.vector("labels", "n", dtype="int64")
    chosen = cg.take_along_axis(nn.softmax(a), labels[:, None], axis=1)
    got = cg.evaluate(
        compiled(-cg.log(chosen), a, labels), {a: ROWS, labels: [2, 0, 1]}
    )
    wanted = [float(logsumexp(r) - mpmath.mpf(r[k])) for r, k in zip(ROWS, [2, 0, 1])]
    np.testing.assert_allclose(got.ravel(), wanted, rtol=1e-13)


def test_gradient_of_stabilized_logsumexp():
    (stable,) = stabilized([cg.sum(cg.log(cg.sum(cg.exp(a), axis=1)))])
    got = cg.evaluate(cg.grad(stable, a), {a: ROWS})
    wanted = [
        [float(mpmath.exp(mpmath.mpf(v) - logsumexp(r))) for v in r] for r in ROWS
    ]
    np.testing.assert_allclose(got, wanted, rtol=1e-13, atol=1e-300)


def test_what_is_stable_already_stays_as_it_is():
    (out,) = stabilized([nn.logsumexp(a, axis=1)])
    assert out is nn.logsumexp(a, axis=1)
    assert stabilized([nn.softmax(a)])[0] is nn.softmax(a)


def test_kept_nodes_are_not_looked_through():
    inner = cg.exp(x)
    total = cg.sum(cg.log(1 + inner))
    (through,) = stabilized([total])
    assert inner not in set(Graph([x], [through]).nodes)
    (kept,) = stabilized([total], keep=[inner])
    assert inner in set(Graph([x], [kept]).nodes)
    values = {x: [1e-3, -700.0]}
    np.testing.assert_allclose(
        cg.evaluate(cg.grad(kept, inner), values), 1 / (1 + np.exp(values[x]))
    )


def test_logistic_loss_written_out_does_not_overflow():
    y = cg.vector("y", "n")
    p = 1 / (1 + cg.exp(-x))
    loss = -(y * cg.log(p) + (1 - y) * cg.log(1 - p))
    got = cg.evaluate(compiled(loss, x, y), {x: [800.0, -800.0], y: [0.0, 1.0]})
    np.testing.assert_allclose(got, [800.0, 800.0])
