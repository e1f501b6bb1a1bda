"""Functions of neural networks: values against SciPy, and behaviour at extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special

import graphc as cg
from graphc.derivatives.reverse import pull_back
from graphc.types.errors import DTypeError, ShapeError
from tests.support.expression_values import evaluate

X = np.array([[-3.0, -1.0, -0.5, 0.0], [0.25, 1.0, 3.5, 8.0]])


def sigmoid(x):
    return scipy.special.expit(x)


def normal_cdf(x):
    return 0.5 * scipy.special.erfc(-x / math.sqrt(2))


ACTIVATIONS = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "celu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))
    ),
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(x, 0),
    "log_sigmoid": scipy.special.log_expit,
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "softsign": lambda x: x / (1 + abs(x)),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "gelu": lambda x: (
        0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
}


def gradient(y, x):
    """Return the derivative of the sum of `y`, at every element of `x`."""
    return pull_back([y], [cg.ones_like(y)], [x])[0]


def at(node, x, array):
    return evaluate(node, {x: np.asarray(array, float)})


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    x = cg.matrix("x")
    y = getattr(cg.nn, name)(x)
    np.testing.assert_allclose(at(y, x, X), ACTIVATIONS[name](X), rtol=1e-13)
    single = getattr(cg.nn, name)(cg.vector("x", dtype="float32"))
    assert single.dtype == np.float32


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_at_extremes(name):
    """Finite values and derivatives at +-1000, NaN only for NaN."""
    x = cg.vector("x")
    y = getattr(cg.nn, name)(x)
    ends = [-1000.0, 0.0, 1000.0]
    assert np.all(np.isfinite(at(y, x, ends)))
    assert np.all(np.isfinite(at(gradient(y, x), x, ends)))
    assert np.isnan(at(y, x, [math.nan]))[0]


@pytest.mark.parametrize("name", sorted({*ACTIVATIONS} - {"identity"}))
def test_derivatives_of_activations(name):
    x = cg.vector("x")
    points = np.array([-4.1, -2.2, -0.7, -0.1, 0.3, 0.9, 2.1, 5.5, 6.5])
    h = 1e-6
    f = ACTIVATIONS[name]
    expected = (f(points + h) - f(points - h)) / (2 * h)
    found = at(gradient(getattr(cg.nn, name)(x), x), x, points)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "kinks"),
    [("relu", {0: 0}), ("relu6", {0: 0, 6: 0}), ("leaky_relu", {0: 0.01})]
    + [("hard_tanh", {-1: 0, 1: 0}), ("elu", {0: 1}), ("softsign", {0: 1})],
)
def test_derivatives_at_kinks_are_as_documented(name, kinks):
    x = cg.vector("x")
    found = at(gradient(getattr(cg.nn, name)(x), x), x, list(kinks))
    np.testing.assert_array_equal(found, list(kinks.values()))


def test_parameters_of_activations():
    x = cg.matrix("x")
    for found, expected in (
        (cg.nn.gelu(x, approximate=False), X * normal_cdf(X)),
        (cg.nn.elu(x, 2.0), np.where(X > 0, X, 2 * np.expm1(X))),
        (cg.nn.celu(x, 2.0), np.where(X > 0, X, 2 * np.expm1(X / 2))),
        (cg.nn.leaky_relu(x, 0.2), np.where(X > 0, X, 0.2 * X)),
    ):
        np.testing.assert_allclose(at(found, x, X), expected, rtol=1e-12)


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
def test_softmax_family(name, axis):
    x = cg.matrix("x")
    found = at(getattr(cg.nn, name)(x, axis=axis), x, X)
    expected = getattr(scipy.special, name)(X, axis=axis)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize(
    "rows",
    [
        [[1000.0, 999.0, -1000.0]],
        [[-1000.0, -1001.0, -1002.0]],
        [[-np.inf, 0.0, 1.0]],
        [[-np.inf, -np.inf, -np.inf]],
        [[np.inf, 0.0, 1.0]],
        [[np.nan, 0.0, 1.0]],
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
def test_softmax_family_at_extremes(name, rows):
    x = cg.matrix("x")
    found = at(getattr(cg.nn, name)(x, axis=-1), x, rows)
    with np.errstate(all="ignore"):
        expected = getattr(scipy.special, name)(np.array(rows), axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_derivatives_of_the_softmax_family_at_extremes():
    x = cg.matrix("x")
    rows = [[1000.0, 999.0, -1000.0], [-np.inf, 0.0, 1.0]]
    found = at(gradient(cg.nn.logsumexp(x, axis=1), x), x, rows)
    np.testing.assert_allclose(found, scipy.special.softmax(rows, axis=1), rtol=1e-13)
    picked = gradient(cg.nn.log_softmax(x)[:, 0], x)
    found = at(picked, x, [[1000.0, 999.0, -1000.0]])
    soft = scipy.special.softmax([1000.0, 999.0, -1000.0])
    np.testing.assert_allclose(found[0], [1, 0, 0] - soft, rtol=1e-12)


def test_normalization():
    x, scale, bias = cg.matrix("x"), cg.vector("scale"), cg.vector("bias")
    s, b = np.arange(1.0, 5.0), np.arange(4.0)
    found = evaluate(cg.nn.layer_norm(x, scale, bias), {x: X, scale: s, bias: b})
    centered = X - X.mean(1, keepdims=True)
    plain = centered / np.sqrt(X.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(found, plain * s + b, rtol=1e-12)
    np.testing.assert_allclose(at(cg.nn.standardize(x), x, X), plain, rtol=1e-12)


def test_cross_entropy_of_labels_and_of_probabilities():
    x, labels = cg.matrix("x"), cg.vector("labels", dtype="int64")
    loss = cg.nn.softmax_cross_entropy(x, labels)
    given = np.array([3, 0])
    expected = -scipy.special.log_softmax(X, axis=1)[[0, 1], given]
    np.testing.assert_allclose(evaluate(loss, {x: X, labels: given}), expected)
    target = np.eye(4)[given]
    loss = cg.nn.softmax_cross_entropy(x, target)
    np.testing.assert_allclose(at(loss, x, X), expected)
    back = at(gradient(loss, x), x, X)
    np.testing.assert_allclose(back, scipy.special.softmax(X, axis=1) - target)


def test_cross_entropy_needs_integer_labels():
    with pytest.raises(DTypeError, match="must be integers"):
        cg.nn.softmax_cross_entropy(cg.matrix("x"), cg.vector("y"))


def test_norm_has_no_nan_at_zero():
    x = cg.vector("x")
    for y in (
        cg.linalg.norm(x),
        cg.linalg.norm(x, 1),
        cg.linalg.norm(x, np.inf),
        cg.linalg.vector_norm(x, ord=2),
    ):
        np.testing.assert_array_equal(at(gradient(y, x), x, [0.0, 0.0]), 0)
    found = at(gradient(cg.linalg.norm(x), x), x, [3.0, 4.0])
    np.testing.assert_allclose(found, [0.6, 0.8])


def test_std_of_equal_elements_has_a_derivative():
    x = cg.vector("x")
    np.testing.assert_array_equal(at(gradient(x.std(), x), x, [2.0, 2.0]), 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: cg.linalg.norm(x, 2),
        lambda x: cg.linalg.norm(x, "nuc"),
        lambda x: cg.linalg.matrix_norm(x, ord=2),
    ],
)
def test_norms_that_need_singular_values(call):
    with pytest.raises(ShapeError, match="singular values"):
        call(cg.matrix("x"))


def test_norms_of_wrong_rank():
    with pytest.raises(ShapeError, match="one axis or two"):
        cg.linalg.norm(cg.tensor("x", (2, 3, 4)), 1)
    with pytest.raises(ShapeError, match="no norm of vectors"):
        cg.linalg.vector_norm(cg.vector("x"), ord="fro")
