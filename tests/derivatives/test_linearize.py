"""`linearize`: the result, and the derivative as a linear function."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.derivatives.linearize import _fixed_part
from graphc.graph.graph import topological_order
from graphc.ops.leaf import new_input

A = np.random.default_rng(0).normal(size=(4, 3))
X = np.array([0.2, -1.0, 0.7])


def model(x, p):
    return {"a": cg.tanh(A @ x) * p["s"], "b": cg.exp(x).sum()}


def test_function_of_arrays():
    p = {"s": 2.0}
    y, linear = cg.linearize(model, X, p)
    np.testing.assert_allclose(y["a"], np.tanh(A @ X) * 2)
    t = np.tanh(A @ X)
    for dx, ds in ((X, 0.0), (np.ones(3), 1.0), (np.zeros(3), 1.0)):
        pushed = linear(dx, {"s": ds})
        np.testing.assert_allclose(pushed["a"], (1 - t * t) * (A @ dx) * 2 + t * ds)
        np.testing.assert_allclose(pushed["b"], np.exp(X) @ dx)


def test_function_of_expressions(evaluate):
    x = cg.vector("x", 3)
    y, linear = cg.linearize(lambda x: cg.sin(x).sum(), x)
    got = evaluate([y, linear(x), linear([1.0, 0.0, 0.0])], {x: X})
    np.testing.assert_allclose(got, [np.sin(X).sum(), np.cos(X) @ X, np.cos(X[0])])
    cubed = cg.grad(lambda x: cg.linearize(lambda z: z**3, x)[1](1.0))
    assert cubed(2.0) == 12
    mapped = cg.vmap(lambda x: cg.linearize(cg.sin, x)[1](1.0))(X)
    np.testing.assert_allclose(mapped, np.cos(X))


def test_linear_map_at_arrays_takes_expressions():
    _, linear = cg.linearize(model, X, {"s": 2.0})
    t = np.tanh(A @ X)
    mapped = cg.vmap(lambda dx: linear(dx, {"s": 1.0})["a"])(np.eye(3))
    expected = 2 * ((1 - t * t)[:, None] * A).T + t
    np.testing.assert_allclose(mapped, expected)
    back = cg.grad(lambda dx: linear(dx, {"s": 0.0})["a"].sum())(X)
    np.testing.assert_allclose(back, 2 * (1 - t * t) @ A)


def test_function_that_uses_an_expression_from_outside(evaluate):
    z = cg.scalar("z")
    y, linear = cg.linearize(lambda x: x * z, 3.0)
    assert evaluate([y, linear(2.0)], {z: 5.0}) == [15, 10]


def test_expression(evaluate):
    x, w = cg.vector("x", "n"), cg.vector("w", "n")
    y, linear = cg.linearize([x * w], {"x": x, "w": w})
    assert y[0] is x * w
    (pushed,) = linear({"x": w, "w": np.ones(3)})
    got = evaluate(pushed, {x: X, w: X + 1})
    np.testing.assert_allclose(got, (X + 1) ** 2 + X)


def test_what_is_fixed_is_computed_once():
    """A call takes none of the function's exponentials, and no array is kept twice."""
    x = cg.vector("x", 3)
    dx = new_input("t", x.type)
    y = cg.exp(cg.sin(x)) * cg.exp(-x)[:, None]
    pushed = cg.jvp(y, x, dx)
    kept = _fixed_part([pushed], [dx])
    left = {n.op.name for n in topological_order([pushed], kept)}
    assert left.isdisjoint({"exp", "sin", "cos"})
    assert all(n.op.name != "broadcast_to" for n in kept)


def test_mistakes():
    x = cg.vector("x", 3)
    with pytest.raises(cg.InputError, match="without arguments"):
        cg.linearize(cg.sin)
    with pytest.raises(cg.InputError, match="one wrt are needed, 2 were given"):
        cg.linearize(cg.sin(x), x, x)
    with pytest.raises(cg.InputError, match="'a' of type str is neither an array"):
        cg.linearize(lambda x: x, "a")
    with pytest.raises(cg.DTypeError, match="with respect to k: int64"):
        cg.linearize(lambda k: k * 2.0, 3)
    with pytest.raises(cg.DTypeError, match="not of a floating-point dtype"):
        cg.linearize(lambda x: cg.argmax(x), X)
    _, linear = cg.linearize(cg.sin(x), x)
    with pytest.raises(cg.ShapeError, match=r"tangent is .*\(4,\)"):
        linear(np.ones(4))
    _, linear = cg.linearize(model, X, {"s": 1.0})
    with pytest.raises(cg.InputError, match="tangents has 1 entries, but 2"):
        linear(X)
    with pytest.raises(cg.DisconnectedInputError):
        cg.linearize(cg.sin(x), cg.scalar("z"))
