"""Derivatives at poles, kinks and in branches not taken: finite and right."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.graph.graph import topological_order

INF = np.inf


def first(evaluate, y, x, value):
    """Return the derivative of the sum by both modes, asserted equal."""
    reverse = evaluate(cg.grad(y.sum(), x), {x: value})
    forward = evaluate(
        cg.jacobian(y, x, mode="forward", disconnected="zero"), {x: value}
    )
    np.testing.assert_allclose(forward.sum(axis=0), reverse, rtol=1e-12)
    return reverse


CASES = {
    "log": (lambda x: cg.where(x > 0, cg.log(x), 0.0), [0, 0, 0.5, -0.25]),
    "sqrt_of_where": (
        lambda x: cg.sqrt(cg.where(x > 0, x, 0.0)),
        [0, 0, 1 / (2 * np.sqrt(2)), 1 / 4],
    ),
    "where_sqrt": (
        lambda x: cg.where(x > 0, cg.sqrt(x), 0.0),
        [0, 0, 1 / (2 * np.sqrt(2)), 1 / 4],
    ),
    "quotient": (lambda x: cg.where(x > 0, 1 / x, 0.0), [0, 0, -1 / 4, -1 / 16]),
    "safe_quotient": (lambda x: x / cg.where(x > 0, x, 1.0), [1, 1, 0, 0]),
    "power": (lambda x: cg.where(x > 0, x**-1.5, 0.0), [0, 0, None, None]),
}
AT = np.array([-1.0, 0.0, 2.0, 4.0])
CASES["log"] = (CASES["log"][0], [0, 0, 1 / 2, 1 / 4])
CASES["power"] = (CASES["power"][0], [0, 0, *(-1.5 * AT[2:] ** -2.5)])
SECOND = {
    "log": [0, 0, -1 / 4, -1 / 16],
    "sqrt_of_where": [0, 0, *(-0.25 * AT[2:] ** -1.5)],
    "where_sqrt": [0, 0, *(-0.25 * AT[2:] ** -1.5)],
    "quotient": [0, 0, *(2 * AT[2:] ** -3.0)],
    "safe_quotient": [0, 0, 0, 0],
    "power": [0, 0, *(3.75 * AT[2:] ** -3.5)],
}


@pytest.mark.parametrize("name", CASES)
def test_branch_not_taken_contributes_zero(name, evaluate):
    build, expected = CASES[name]
    x = cg.vector("x", "n")
    np.testing.assert_allclose(first(evaluate, build(x), x, AT), expected, rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_branch_not_taken_contributes_zero_to_second_order(name, evaluate):
    build, _ = CASES[name]
    x = cg.vector("x", "n")
    y = build(x).sum()
    for mode in ("forward", "reverse"):
        h = evaluate(cg.hessian(y, x, mode=mode), {x: AT})
        np.testing.assert_allclose(h, np.diag(SECOND[name]), rtol=1e-12, atol=1e-14)
    v = evaluate(cg.hvp(y, x, np.ones(4)), {x: AT})
    np.testing.assert_allclose(v, SECOND[name], rtol=1e-12, atol=1e-14)


def test_infinite_value_in_a_branch_not_taken(evaluate):
    x, y = cg.scalar("x"), cg.scalar("y")
    z = cg.where(x < 10, cg.exp(x) * y, 0.0)
    gradient = evaluate(cg.grad(z, (x, y)), {x: 1000.0, y: 2.0})
    assert gradient == (0, 0)
    z = cg.where(x > 0, cg.log(x) * y, 0.0)
    assert evaluate(cg.grad(z, (x, y)), {x: 0.0, y: 2.0}) == (0, 0)


def test_missing_data_behind_a_mask(evaluate):
    x, w = cg.vector("x", "n"), cg.vector("w", "n")
    loss = cg.where(cg.isnan(x), 0.0, x * w).sum()
    dw = evaluate(cg.grad(loss, w), {x: [1.0, np.nan, INF], w: np.ones(3)})
    np.testing.assert_array_equal(dw, [1.0, 0.0, INF])


def test_norm_at_zero(evaluate):
    x = cg.vector("x", "n")
    for y in (cg.sqrt((x * x).sum()), cg.sqrt(cg.square(x).sum()), cg.linalg.norm(x)):
        assert not evaluate(cg.grad(y, x), {x: np.zeros(3)}).any()
        np.testing.assert_allclose(
            evaluate(cg.grad(y, x), {x: [3.0, 4.0]}), [0.6, 0.8], rtol=1e-15
        )
    y = cg.sqrt((x * x).sum())
    assert evaluate(cg.jvp(y, x, [0.0, 0.0, 0.0]), {x: np.zeros(3)}) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softplus_and_logsumexp_far_out(dtype, evaluate):
    x = cg.vector("x", "n", dtype=dtype)
    at = np.array([-1000.0, 0.0, 1000.0], dtype)
    y = cg.nn.softplus(x)
    np.testing.assert_allclose(first(evaluate, y, x, at), [0, 0.5, 1])
    h = evaluate(cg.hvp(y.sum(), x, np.ones(3, dtype)), {x: at})
    np.testing.assert_allclose(h, [0, 0.25, 0])
    y = cg.nn.logsumexp(x)
    np.testing.assert_allclose(evaluate(cg.grad(y, x), {x: at}), [0, 0, 1])
    same = np.full(2, 1000.0, dtype)
    np.testing.assert_allclose(evaluate(cg.grad(y, x), {x: same}), [0.5, 0.5])
    np.testing.assert_allclose(
        evaluate(cg.hessian(y, x), {x: -same}), [[0.25, -0.25], [-0.25, 0.25]]
    )
    y = cg.nn.softmax(x)
    np.testing.assert_allclose(
        evaluate(cg.jacobian(y, x), {x: same}), [[0.25, -0.25], [-0.25, 0.25]]
    )


KINKS = {
    "relu": (cg.nn.relu, [0, 0, 1]),
    "abs": (cg.abs, [-1, 0, 1]),
    "maximum": (lambda x: cg.maximum(x, 0.0), [0, 0.5, 1]),
    "minimum": (lambda x: cg.minimum(x, 0.0), [1, 0.5, 0]),
    "maximum_of_itself": (lambda x: cg.maximum(x, x * 1.0), [1, 1, 1]),
}


@pytest.mark.parametrize("name", KINKS)
def test_kinks(name, evaluate):
    function, expected = KINKS[name]
    x = cg.vector("x", 3)
    y = function(x)
    at = np.array([-2.0, 0.0, 2.0])
    np.testing.assert_array_equal(first(evaluate, y, x, at), expected)
    h = evaluate(cg.hessian(y.sum(), x), {x: at})
    np.testing.assert_array_equal(h, np.zeros((3, 3)))


def test_clip_contributes_nothing_outside(evaluate):
    x = cg.vector("x", 4)
    y = cg.log(cg.clip(x, 0.5, 2.0))
    at = np.array([-1.0, 1.0, 1.5, 3.0])
    np.testing.assert_allclose(first(evaluate, y, x, at), [0, 1, 1 / 1.5, 0])


def test_ties_of_max_split_evenly(evaluate):
    x = cg.vector("x", 4)
    at = np.array([1.0, 3.0, 3.0, 2.0])
    np.testing.assert_array_equal(
        evaluate(cg.grad(x.max(), x), {x: at}), [0, 0.5, 0.5, 0]
    )
    np.testing.assert_array_equal(
        evaluate(cg.grad(x.min(), x), {x: [1.0, 1.0, 2.0, 3.0]}), [0.5, 0.5, 0, 0]
    )


PLAIN = {
    "lorentz": lambda x: (1 / (1 + x * x)).sum(),
    "logsumexp": lambda x: cg.log(cg.exp(x).sum()),
    "stable_logsumexp": cg.nn.logsumexp,
    "softmax": lambda x: (cg.nn.softmax(x) * np.arange(3.0)).sum(),
    "standardized": lambda x: (
        (x - x.mean()) * cg.rsqrt(x.var() + 1e-5) * np.arange(3.0)
    ).sum(),
    "layer_norm": lambda x: (cg.nn.layer_norm(x) * np.arange(3.0)).sum(),
    "gaussian": lambda x: cg.exp(-x * x / 2).sum(),
    "sigmoid": lambda x: cg.log(cg.nn.sigmoid(x)).sum(),
    "log1p": lambda x: cg.log(1 + cg.exp(x)).sum(),
    "norm_with_epsilon": lambda x: cg.sqrt((x * x).sum() + 1e-6),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_code_is_not_guarded(name):
    x = cg.vector("x", 3)
    y = PLAIN[name](x)
    for result in (cg.grad(y, x), cg.jvp(y, x, np.ones(3)), cg.hvp(y, x, np.ones(3))):
        names = {n.op.name for n in topological_order([result])}
        assert "absolute_zero_multiply" not in names
