"""Composite functions against JAX: gradients, Jacobians, Hessians, products."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import graphc as cg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

RANDOM = np.random.default_rng(3)


def normal(*shape):
    return RANDOM.standard_normal(shape)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def mlp(np_, nn, p, x):
    for layer in p[:-1]:
        x = nn.relu(x @ layer["w"] + layer["b"])
    return np_.tanh(x @ p[-1]["w"] + p[-1]["b"])


def layer_norm(np_, nn, p, x):
    mean = np_.mean(x, axis=-1, keepdims=True)
    var = np_.var(x, axis=-1, keepdims=True)
    return (x - mean) / np_.sqrt(var + 1e-5) * p[0] + p[1]


def cross_entropy(np_, nn, p, x):
    logits = x @ p
    one_hot = np.eye(3)[[0, 2, 1, 1]]
    return -np_.sum(one_hot * nn.log_softmax(logits, axis=-1), axis=-1)


def attention(np_, nn, p, x):
    q, k, v = (x @ w for w in p)
    scores = q @ k.T / 2.0
    mask = np.tril(np.ones((4, 4), bool))
    return nn.softmax(np_.where(mask, scores, -1e9), axis=-1) @ v


def gmm(np_, nn, p, x):
    weights, means, scales = p
    d = (x[:, None, :] - means) * np_.exp(-scales)
    logs = -0.5 * np_.sum(d * d, axis=-1) - np_.sum(scales, axis=-1)
    return nn.logsumexp(logs + nn.log_softmax(weights, axis=-1), axis=-1)


def slices(np_, nn, p, x):
    head = x[:, 1:] * p[::-1]
    tail = np_.concatenate([x[:, :1], head], axis=1)
    return np_.cumsum(tail, axis=0) * np_.max(x, axis=0)


def elementwise(np_, nn, p, x):
    a = np_.arctan2(x, 1 + p * p) + np_.sqrt(1 + x * x) ** 1.5
    return np_.where(x > 0, np_.log1p(np_.abs(x)), np_.expm1(x)) * a


CASES = {
    "mlp": (
        mlp,
        [
            {"w": normal(3, 5), "b": normal(5)},
            {"w": normal(5, 2), "b": normal(2)},
        ],
    ),
    "layer_norm": (layer_norm, (normal(3), normal(3))),
    "cross_entropy": (cross_entropy, normal(3, 3)),
    "attention": (attention, [normal(3, 2), normal(3, 2), normal(3, 2)]),
    "gmm": (gmm, (normal(2), normal(2, 3), 0.3 * normal(2, 3))),
    "slices": (slices, normal(2)),
    "elementwise": (elementwise, normal(3)),
}
X = normal(4, 3)


class JaxNN:
    relu = staticmethod(jax.nn.relu)
    softmax = staticmethod(jax.nn.softmax)
    log_softmax = staticmethod(jax.nn.log_softmax)
    logsumexp = staticmethod(jax.nn.logsumexp)


def pair(name):
    """Return the function for graphc and for JAX, and its parameters."""
    function, p = CASES[name]
    return (
        lambda p, x: function(cg, cg.nn, p, x),
        lambda p, x: function(jnp, JaxNN, p, x),
        p,
    )


def same(got, expected):
    got, expected = (jax.tree_util.tree_leaves(t) for t in (got, expected))
    assert len(got) == len(expected)
    for a, b in zip(got, expected):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def _sine_pulled_back(f):
    def run(p):
        y, pull = jax.vjp(f, p, X)
        return y, pull(jnp.sin(y))

    return run


def total(f):
    return lambda p, x: (f(p, x) ** 2).sum()


@pytest.mark.parametrize("name", CASES)
def test_gradient(name):
    ours, theirs, p = pair(name)
    same(
        cg.value_and_grad(total(ours), (0, 1))(p, X),
        jax.jit(jax.value_and_grad(total(theirs), (0, 1)))(p, X),
    )


@pytest.mark.parametrize("mode", ["forward", "reverse"])
@pytest.mark.parametrize("name", CASES)
def test_jacobian(name, mode):
    ours, theirs, p = pair(name)
    same(
        cg.jacobian(ours, (0, 1), mode=mode)(p, X),
        jax.jit(jax.jacobian(theirs, (0, 1)))(p, X),
    )


@pytest.mark.parametrize("mode", ["forward", "reverse"])
@pytest.mark.parametrize("name", CASES)
def test_hessian(name, mode):
    ours, theirs, p = pair(name)
    same(
        cg.hessian(total(ours), mode=mode)(p, X),
        jax.jit(jax.hessian(total(theirs)))(p, X),
    )


@pytest.mark.parametrize("name", CASES)
def test_products(name):
    ours, theirs, p = pair(name)
    v = jax.tree_util.tree_map(lambda a: np.cos(np.arange(a.size)).reshape(a.shape), p)
    same(
        cg.jvp(ours, (p, X), (v, X)),
        jax.jit(lambda p: jax.jvp(theirs, (p, X), (v, X)))(p),
    )
    y, pull = cg.vjp(ours, p, X)
    same((y, pull(np.sin(y))), jax.jit(_sine_pulled_back(theirs))(p))
    gradient = jax.grad(total(theirs))
    same(
        cg.hvp(total(ours))(p, X, v),
        jax.jit(lambda p: jax.jvp(lambda q: gradient(q, X), (p,), (v,))[1])(p),
    )


@pytest.mark.parametrize("name", ["mlp", "attention", "gmm"])
def test_gradients_of_each_example(name):
    ours, theirs, p = pair(name)
    xs = np.stack([X, 2 * X, -X])
    same(
        cg.vmap(cg.grad(total(ours)), in_axes=(None, 0))(p, xs),
        jax.jit(jax.vmap(jax.grad(total(theirs)), in_axes=(None, 0)))(p, xs),
    )
