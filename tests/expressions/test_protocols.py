"""NumPy's protocols where they are more than the name of a function."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

import graphc as cg
from graphc.expressions.elementwise import FUNCTIONS
from graphc.graph.node import Node
from graphc.types.errors import ConfigError, TracingError
from tests.support.expression_values import evaluate

A = np.array([[0.5, 0.25, 0.75], [0.1, 0.9, 0.6]])
B = np.array([0.2, 0.4, 0.3])


def ufuncs():
    for module in (np, scipy.special):
        for name in dir(module):
            value = getattr(module, name)
            if isinstance(value, np.ufunc) and value.__name__ in FUNCTIONS:
                yield pytest.param(value, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize("ufunc", list(dict.fromkeys(ufuncs())))
def test_ufuncs(ufunc):
    if "f" not in "".join(ufunc.types) and "d" not in "".join(ufunc.types):
        a, b = (A * 10).astype(int), (B * 10).astype(int)
    else:
        a, b = A, B
    if not any(t.startswith(a.dtype.char) for t in ufunc.types):
        a, b = (A * 10).astype(int), (B * 10).astype(int)
    x = cg.tensor("x", a.shape, a.dtype)
    operands = (a, b)[: ufunc.nin]
    with np.errstate(invalid="ignore"):
        expected = ufunc(*operands)
    found = ufunc(x, *operands[1:])
    assert isinstance(found, Node)
    np.testing.assert_allclose(evaluate(found, {x: a}), expected, rtol=1e-12)
    if ufunc.nin == 2:
        y = cg.tensor("y", b.shape, b.dtype)
        np.testing.assert_allclose(evaluate(ufunc(a, y), {y: b}), expected, rtol=1e-12)


def test_renamed_ufuncs_of_scipy():
    x = cg.matrix("x")
    for ufunc, function in (
        (scipy.special.expit, cg.sigmoid),
        (scipy.special.psi, cg.digamma),
        (scipy.special.gammaln, cg.gammaln),
    ):
        assert ufunc(x) is function(x)


def test_array_on_the_left_gives_one_expression():
    x = cg.vector("x", 2)
    product = np.array([1.0, 2.0]) * x
    assert isinstance(product, Node)
    np.testing.assert_array_equal(evaluate(product, {x: [3, 4]}), [3, 8])
    compared = np.array([1.0, 5.0]) < x
    np.testing.assert_array_equal(evaluate(compared, {x: [3, 4]}), [True, False])


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.add.reduce(x),
        lambda x: np.add.reduce(x, axis=1, keepdims=True),
        lambda x: np.multiply.reduce(x, 1),
        lambda x: np.maximum.reduce(x, axis=None),
        lambda x: np.minimum.reduce(x, axis=(0, 1)),
        lambda x: np.logical_and.reduce(x > 0.2, axis=1),
        lambda x: np.logical_or.reduce(x > 0.2),
        lambda x: np.add.accumulate(x, axis=1),
        lambda x: np.multiply.accumulate(x),
        lambda x: np.subtract.outer(x, B),
        lambda x: np.add(x, 1, dtype=np.float32),
        lambda x: np.sum(a=x, axis=0),
        lambda x: np.clip(x, a_min=0.2, a_max=0.5),
        lambda x: np.shape(x),
        lambda x: np.ndim(x),
        lambda x: np.size(x),
        lambda x: np.size(x, 1),
        lambda x: np.iscomplexobj(x),
        lambda x: np.sum(x, axis=0, out=None),
        lambda x: np.linalg.norm(x),
    ],
)
def test_calls_that_are_met(call):
    x = cg.matrix("x", A.shape)
    found, expected = evaluate(call(x), {x: A}), call(A)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.asarray(found).dtype == np.asarray(expected).dtype


def test_result_type():
    x = cg.vector("x", 2, "float32")
    assert np.result_type(x, np.int8) == np.float32


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: np.add(x, 1, out=np.zeros(3)), "cannot be stored in an array"),
        (lambda x: np.sum(x, out=np.zeros(())), "argument out is not supported"),
        (lambda x: np.add(x, 1, where=np.array([True] * 3)), "where"),
        (lambda x: np.sum(x, initial=1.0), "argument initial is not supported"),
        (lambda x: np.add.at(x, [0], 1), "x.at"),
        (lambda x: np.add.reduceat(x, [0]), "no counterpart"),
        (lambda x: np.subtract.reduce(x), "no counterpart"),
        (lambda x: np.nextafter(x, 1), "no counterpart"),
        (lambda x: np.sort(x), "no counterpart"),
        (lambda x: np.linalg.svd(x), "np.linalg.svd has no counterpart"),
        (lambda x: np.fft.fft(x), "np.fft.fft has no counterpart"),
        (lambda x: np.where(x > 0), r"where\(condition, x, y\)"),
        (lambda x: np.pad(x, 1, mode="edge", stat_length=1), "stat_length"),
        (lambda x: np.sum(x, 0, None, None, True), "do not fit"),
        (lambda x: np.copyto(np.zeros(3), x), "no counterpart"),
    ],
)
def test_calls_that_are_refused(call, text):
    x = cg.vector("x", 3)
    with pytest.raises(TracingError, match=text):
        call(x)


def test_in_place_on_an_array_is_refused():
    x, array = cg.vector("x", 3), np.zeros(3)
    with pytest.raises(TypeError, match=r"a = a \+ x"):
        array += x


def test_other_arrays_are_asked_first():
    class Other:
        def __array_function__(self, function, types, args, kwargs):
            return "other"

        def __array_ufunc__(self, *args, **kwargs):
            return "other"

    x = cg.vector("x", 3)
    assert np.concatenate([x, Other()]) == "other"
    assert np.add(x, Other()) == "other"


def test_namespace_version():
    x = cg.vector("x", 3)
    assert x.__array_namespace__(api_version="2024.12").sin is cg.sin
    with pytest.raises(ConfigError, match="2019"):
        x.__array_namespace__(api_version="2019.01")


def test_namespace_lists_what_is_absent():
    namespace = cg.vector("x").__array_namespace__()
    for name in ("nonzero", "unique_values", "sort", "from_dlpack", "imag"):
        assert not hasattr(namespace, name)
        assert name in namespace.__doc__
