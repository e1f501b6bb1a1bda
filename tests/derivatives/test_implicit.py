"""Roots, fixed points and optima against SciPy's solutions and finite differences."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.optimize

import graphc as cg


def system(u, p):
    """A nonlinear system of three equations in two containers."""
    return {
        "a": u["a"] ** 3 + u["a"] + u["b"].sum() - p["c"],
        "b": u["b"] * p["d"] + cg.sin(u["a"]) - cg.exp(p["d"]),
    }


def solved(c, d):
    """Return the solution of `system` by SciPy, as a flat array."""

    def residual(v):
        a, b = v[0], v[1:]
        return np.array([a**3 + a + b.sum() - c, *(b * d + np.sin(a) - np.exp(d))])

    result = scipy.optimize.root(residual, np.ones(3), tol=1e-13)
    assert result.success
    return result.x


C, D = np.array(2.0), np.array([1.0, 2.0])


def differences(function, point, step=1e-5):
    """Return the Jacobian of a function of a flat array, extrapolated."""
    columns = []
    for i in range(point.size):
        e = np.zeros(point.size)
        e[i] = step
        rows = [
            (function(point + k * e) - function(point - k * e)) / (2 * k * step)
            for k in (1, 2)
        ]
        columns.append((4 * rows[0] - rows[1]) / 3)
    return np.stack(columns, axis=-1)


def test_nonlinear_system_solved_elsewhere(evaluate):
    u = {"a": cg.scalar("a"), "b": cg.vector("b", 2)}
    p = {"c": cg.scalar("c"), "d": cg.vector("d", 2)}
    x = cg.implicit(system, u, p)
    found = solved(C, D)
    at = {u["a"]: found[0], u["b"]: found[1:], p["c"]: C, p["d"]: D}
    expected = differences(lambda q: solved(q[0], q[1:]), np.array([C, *D]))
    for mode in ("forward", "reverse"):
        rows = evaluate(cg.jacobian(x, p, mode=mode), at)
        got = np.vstack(
            [
                np.hstack([rows["a"]["c"], rows["a"]["d"]]),
                np.column_stack([rows["b"]["c"], rows["b"]["d"]]),
            ]
        )
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-8)
    value = evaluate(x, at)
    np.testing.assert_array_equal(value["b"], found[1:])


def test_newton_steps_and_second_order(evaluate):
    u = {"a": cg.constant(1.0), "b": cg.constant(np.ones(2))}
    p = {"c": cg.scalar("c"), "d": cg.vector("d", 2)}
    x = cg.implicit(system, u, p, steps=30)
    at = {p["c"]: C, p["d"]: D}
    value = evaluate(x, at)
    np.testing.assert_allclose([value["a"], *value["b"]], solved(C, D), rtol=1e-12)
    y = x["a"] * x["b"].sum()
    cg.check_grad(y, p, at)
    cg.check_grad(cg.grad(y, p), p, at)


def test_optimum_of_a_convex_function(evaluate):
    """The solution of a regularized regression, by its data and its weight."""

    def loss(w, A, b, strength):
        return cg.logaddexp(0.0, -b * (A @ w)).sum() + strength * (w * w).sum() / 2

    rng = np.random.default_rng(0)
    A0, b0, s0 = rng.normal(size=(20, 3)), np.sign(rng.normal(size=20)), 0.7

    def argmin(A, s):
        def slope(w):
            return A.T @ (-b0 / (1 + np.exp(b0 * (A @ w)))) + s * w

        found = scipy.optimize.minimize(
            lambda w: np.logaddexp(0, -b0 * (A @ w)).sum() + s * w @ w / 2,
            np.zeros(3),
            jac=slope,
            method="BFGS",
        )
        return scipy.optimize.root(slope, found.x, tol=1e-14).x

    A, s, w = cg.matrix("A", (20, 3)), cg.scalar("s"), cg.vector("w", 3)
    best = cg.implicit(cg.grad(loss), w, A, b0, s, steps=2)
    at = {A: A0, s: s0, w: argmin(A0, s0)}
    dA, ds = evaluate(cg.jacobian(best, [A, s]), at)
    by_s = differences(lambda q: argmin(A0, q[0]), np.array([s0]), 1e-3)[:, 0]
    np.testing.assert_allclose(ds, by_s, rtol=1e-7, atol=1e-9)
    direction = rng.normal(size=A0.shape)
    by_A = differences(lambda q: argmin(A0 + q[0] * direction, s0), np.zeros(1), 1e-3)[
        :, 0
    ]
    np.testing.assert_allclose(
        np.tensordot(dA, direction, 2), by_A, rtol=1e-7, atol=1e-9
    )


def test_fixed_point(evaluate):
    p = cg.scalar("p")
    x = cg.implicit(lambda x, p: p * cg.cos(x), 0.5, p, kind="fixed_point", steps=120)
    value, d, dd = evaluate([x, cg.grad(x, p), cg.grad(cg.grad(x, p), p)], {p: 1.0})
    sin, cos = np.sin(value), np.cos(value)
    np.testing.assert_allclose(value, cos, rtol=1e-15)
    np.testing.assert_allclose(d, cos / (1 + sin), rtol=1e-12)
    slope = cos / (1 + sin)
    # differentiate x' (1 + p sin x) = cos x once more
    expected = (-sin * slope - slope * (sin + cos * slope)) / (1 + sin)
    np.testing.assert_allclose(dd, expected, rtol=1e-11)


def test_mapped(evaluate):
    def root(p):
        return cg.implicit(lambda x, p: x**3 - p, 1.0 + 0 * p, p, steps=40)

    ps = np.array([1.0, 2.0, 8.0])
    np.testing.assert_allclose(
        cg.vmap(cg.grad(root))(ps), ps ** (-2 / 3) / 3, rtol=1e-12
    )
    np.testing.assert_allclose(
        cg.grad(lambda p: cg.vmap(root)(p).sum())(ps), ps ** (-2 / 3) / 3, rtol=1e-12
    )
    of_start = cg.vmap(
        lambda q, x: cg.grad(lambda p: cg.implicit(lambda x, p: x * x - p, x, p))(q),
        in_axes=(None, 0),
    )
    np.testing.assert_allclose(of_start(9.0, np.array([3.0, -3.0])), [1 / 6, -1 / 6])


def test_symbolic_size(evaluate):
    x, p = cg.vector("x", "n"), cg.vector("p", "n")
    root = cg.implicit(lambda x, p: x**3 + x.sum() - p, x, p)
    for n in (1, 2, 5):
        X = np.linspace(1, 2, n)
        P = X**3 + X.sum()
        got = evaluate(cg.jacobian(root, p), {x: X, p: P})
        expected = np.linalg.inv(np.diag(3 * X**2) + 1)
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


def test_start_has_no_derivative(evaluate):
    x, p = cg.scalar("x"), cg.scalar("p")
    root = cg.implicit(lambda x, p: x * x - p, x, p)
    assert evaluate(cg.grad(root * x, x), {x: 3.0, p: 9.0}) == 3
    assert evaluate(cg.grad(root, x), {x: 3.0, p: 9.0}) == 0


def test_without_floating_point_arguments():
    x, k = cg.scalar("x"), cg.scalar("k", dtype="int64")
    root = cg.implicit(lambda x, k: x * x - k, x, k)
    assert root is x


def test_pickled():
    x, p = cg.scalar("x"), cg.scalar("p")
    root = cg.implicit(lambda x, p: x * x - p, x, p)
    again, x2, p2 = pickle.loads(pickle.dumps((root, x, p)))
    assert x2 is x
    dp = cg.grad(again, p2)
    np.testing.assert_allclose(cg.evaluate(dp, {x: 3.0, p: 9.0}), 1 / 6)


def test_mistakes():
    x, p, k = cg.vector("x", 3), cg.vector("p", 3), cg.vector("k", 3, dtype="int64")
    for error, match, call in (
        (cg.InputError, "is not a function", lambda: cg.implicit(x * x, x, p)),
        (cg.ConfigError, "kind='max'", lambda: cg.implicit(cg.add, x, p, kind="max")),
        (cg.ConfigError, "steps=-1", lambda: cg.implicit(cg.add, x, p, steps=-1)),
        (cg.DTypeError, "solution k: int64", lambda: cg.implicit(cg.add, k, p)),
        (cg.InputError, "holds no expression", lambda: cg.implicit(cg.add, [], p)),
        (
            cg.ShapeError,
            r"as many equations as unknowns, in the shape \(3,\)",
            lambda: cg.implicit(lambda x, p: (x * p).sum(), x, p),
        ),
        (
            cg.DTypeError,
            "both must be of one dtype",
            lambda: cg.implicit(cg.add, x.astype("float32"), p),
        ),
        (
            cg.InputError,
            "p: float64.*not among its arguments",
            lambda: cg.implicit(lambda x: x - p, x),
        ),
        (
            cg.InputError,
            "result of <lambda> is of type Node, but a list",
            lambda: cg.implicit(lambda x, p: p, [x], p),
        ),
    ):
        with pytest.raises(error, match=match):
            call()
