"""Derivatives of derivatives, in every order of nesting, against JAX."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import graphc as cg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

X = np.array([0.3, -0.7, 1.1])
V = np.array([1.0, 0.5, -2.0])
XS = np.stack([X, V, X * V])
A = np.random.default_rng(0).normal(size=(3, 3))
P = {"w": V, "b": [np.array(0.4), X]}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def scalar(np_):
    return lambda x: np_.sum(np_.sin(x) * np_.exp(0.3 * x)) * np_.tanh(x @ (A @ x))


def vector(np_):
    return lambda x: np_.tanh(A @ x) * np_.sum(x * x)


def tree(np_):
    def loss(p, x):
        hidden = np_.tanh(p["w"] * x + p["b"][1]) * p["b"][0]
        return np_.sum(hidden**3) + np_.sum(p["w"]) * p["b"][0]

    return loss


def single(np_):
    return lambda x: np_.exp(np_.sin(2.0 * x)) / (1.0 + x * x)


CASES = {
    "fourth derivative": lambda m, n: _repeated(m.grad, 4)(single(n))(0.7),
    "derivatives in turn": lambda m, n: _forward(
        m, _reverse(m, _forward(m, single(n)))
    )(0.7),
    "gradient of a gradient's product": lambda m, n: m.grad(
        lambda x: n.sum(m.grad(scalar(n))(x) * V)
    )(X),
    "jvp of vjp": lambda m, n: m.jvp(
        lambda x: m.vjp(vector(n), x)[1](n.sin(x))[0], (X,), (V,)
    ),
    "vjp of jvp": lambda m, n: m.vjp(
        lambda x: m.jvp(vector(n), (x,), (n.cos(x),))[1], X
    )[1](V)[0],
    "jvp of jvp": lambda m, n: m.jvp(
        lambda x: m.jvp(vector(n), (x,), (x * x,))[1], (X,), (V,)
    ),
    "vjp of vjp": lambda m, n: m.vjp(lambda x: m.vjp(vector(n), x)[1](x)[0], X)[1](V),
    "jacobian of jacobian": lambda m, n: m.jacobian(m.jacobian(vector(n)))(X),
    "hessian of a vector": lambda m, n: m.jacobian(m.jacobian(m.jacobian(scalar(n))))(
        X
    ),
    "hessian of containers": lambda m, n: m.hessian(tree(n))(P, X),
    "jacobian of a gradient of containers": lambda m, n: m.jacobian(m.grad(tree(n)), 1)(
        P, X
    ),
    "mapped gradient": lambda m, n: m.vmap(m.grad(scalar(n)))(XS),
    "mapped hessian": lambda m, n: m.vmap(m.hessian(scalar(n)))(XS),
    "gradient of a map": lambda m, n: m.grad(
        lambda xs: n.sum(m.vmap(scalar(n))(xs) ** 2)
    )(XS),
    "hessian of a map": lambda m, n: m.hessian(
        lambda xs: n.sum(m.vmap(scalar(n))(xs) ** 2)
    )(XS),
    "map of a map of a gradient": lambda m, n: m.vmap(
        m.vmap(m.grad(lambda x, y: n.sin(x) * y), (0, None)), (None, 0)
    )(X, V),
    "gradient of a mapped gradient": lambda m, n: m.grad(
        lambda xs: n.sum(m.vmap(m.grad(scalar(n)))(xs) ** 2)
    )(XS),
    "value and gradient twice": lambda m, n: m.value_and_grad(
        lambda x: n.sum(m.value_and_grad(scalar(n))(x)[1] ** 2)
    )(X),
    "linearized gradient": lambda m, n: m.linearize(m.grad(scalar(n)), X)[1](V),
    "gradient of a linearization": lambda m, n: m.grad(
        lambda x: n.sum(m.linearize(vector(n), x)[1](x))
    )(X),
    "compiled in between": lambda m, n: m.grad(m.jit(lambda x: m.grad(single(n))(x)))(
        0.7
    ),
    "several arguments": lambda m, n: m.grad(
        lambda p, x: n.sum(m.grad(tree(n), 1)(p, x) ** 2), (0, 1)
    )(P, X),
}


def _repeated(transform, count):
    def apply(f):
        for _ in range(count):
            f = transform(f)
        return f

    return apply


def _forward(m, f):
    return lambda x: m.jvp(f, (x,), (x * 0.0 + 1.0,))[1]


def _reverse(m, f):
    return lambda x: m.vjp(f, x)[1](x * 0.0 + 1.0)[0]


@pytest.mark.parametrize("name", CASES)
def test_as_jax(name):
    case = CASES[name]
    got = jax.tree_util.tree_leaves(case(cg, cg))
    expected = jax.tree_util.tree_leaves(case(jax, jnp))
    assert len(got) == len(expected)
    for a, b in zip(got, expected):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


def test_the_same_variable_inside_and_out():
    """The inner derivative is not by the outer variable: x * d(x*y)/dy + ..."""
    f = cg.grad(lambda x: x * cg.grad(lambda y: x * y)(2.0))
    assert f(3.0) == 6.0
    g = cg.grad(lambda x: cg.jvp(lambda y: x * y * y, (x,), (1.0 + 0.0 * x,))[1])
    assert g(3.0) == 4 * 3.0


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_taylor_coefficients(order, evaluate):
    x = cg.scalar("x")
    y = cg.sin(x)
    for number in range(order):
        y = cg.grad(y, x) if number % 2 else cg.jvp(y, x, 1.0)
    expected = np.sin(0.4 + order * np.pi / 2)
    np.testing.assert_allclose(evaluate(y, {x: 0.4}), expected, rtol=1e-14)
