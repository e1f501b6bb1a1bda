"""Operators, methods, promotion, and the traps where an expression has no value."""

from __future__ import annotations

import copy
import operator
import pickle

import numpy as np
import pytest

import graphc as cg
from graphc.graph import operators
from graphc.types.errors import DTypeError, ShapeError, TracingError
from tests.support.expression_values import evaluate

A = np.array([[1.5, -2.0, 0.25], [3.0, 0.5, -1.0]])
B = np.array([2.0, -0.5, 4.0])
DTYPES = ("bool", "int8", "uint8", "int32", "int64", "float32", "float64")
BINARY = (
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv),
    *(operator.mod, operator.lt, operator.le, operator.gt, operator.ge, operator.eq),
    *(operator.ne, divmod),
)
BITS = (*(operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift),)


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert np.asarray(found).dtype == np.asarray(expected).dtype


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_binary_with_expression_array_and_number(function):
    x, y = cg.matrix("x"), cg.vector("y")
    given = {x: A, y: B}
    for found, expected in (
        (function(x, y), function(A, B)),
        (function(x, B), function(A, B)),
        (function(A, y), function(A, B)),
        (function(x, 2), function(A, 2)),
        (function(2.5, y), function(2.5, B)),
        (function(x, [1, 2, 3]), function(A, np.array([1, 2, 3]))),
        (function([1, 2, 3], y), function(np.array([1, 2, 3]), B)),
        (function(np.float64(3.0), y), function(np.float64(3.0), B)),
    ):
        same(evaluate(found, given), expected)


@pytest.mark.parametrize("function", BITS, ids=lambda f: f.__name__)
def test_bits(function):
    i, j = cg.vector("i", dtype="int32"), cg.vector("j", dtype="int32")
    a, b = np.array([1, 6, 12], np.int32), np.array([3, 1, 2], np.int32)
    same(evaluate(function(i, j), {i: a, j: b}), function(a, b))
    same(evaluate(function(i, 2), {i: a}), function(a, 2))
    same(evaluate(function(9, j), {j: b}), function(9, b))


def test_unary_and_powers():
    x = cg.matrix("x")
    i = cg.vector("i", dtype="int64")
    for found, expected in (
        (-x, -A),
        (+x, A),
        (abs(x), abs(A)),
        (round(x), np.round(A)),
        (round(x, 1), np.round(A, 1)),
        (x**2, A**2),
        (abs(x) ** 0.5, abs(A) ** 0.5),
        (2**x, 2**A),
        (x**-1, A**-1.0),
    ):
        same(evaluate(found, {x: A}), expected)
    same(evaluate(~i, {i: [1, 2]}), ~np.array([1, 2]))


def test_matmul_operators():
    x, y = cg.matrix("x"), cg.vector("y")
    for found in (x @ y, x @ B, A @ y):
        same(evaluate(found, {x: A, y: B}), A @ B)


def test_methods_forward_to_functions():
    x = cg.matrix("x")
    for name in operators.METHODS:
        assert callable(getattr(x, name))
        assert getattr(cg, name).__name__
    for found, expected in (
        (x.sum(axis=0), A.sum(axis=0)),
        (x.sum(1, keepdims=True), A.sum(1, keepdims=True)),
        (x.mean(), A.mean()),
        (x.std(0, ddof=1), A.std(0, ddof=1)),
        (x.reshape(3, 2), A.reshape(3, 2)),
        (x.reshape((3, -1)), A.reshape((3, -1))),
        (x.transpose(1, 0), A.transpose(1, 0)),
        (x.T, A.T),
        (x.mT, A.mT),
        (x.astype("float32"), A.astype("float32")),
        (x.clip(0, 1), A.clip(0, 1)),
        (x.dot(B), A.dot(B)),
        (x.flatten(), A.flatten()),
        (x.swapaxes(0, 1), A.swapaxes(0, 1)),
        (x.take([0, 1], axis=1), A.take([0, 1], axis=1)),
        (x.cumsum(1), A.cumsum(1)),
        (x.argmax(1), A.argmax(1)),
        (x.round(1), A.round(1)),
        (x.copy().conj(), A),
        (x.trace(), A.trace()),
    ):
        same(evaluate(found, {x: A}), expected)


@pytest.mark.parametrize("right", DTYPES)
@pytest.mark.parametrize("left", DTYPES)
def test_promotion_of_arrays_is_numpys(left, right):
    x, y = cg.vector("x", 2, left), cg.vector("y", 2, right)
    a, b = np.ones(2, left), np.ones(2, right)
    for function in (operator.add, operator.mul, operator.truediv, operator.lt):
        assert function(x, y).dtype == function(a, b).dtype
    assert cg.where(True, x, y).dtype == np.where(True, a, b).dtype
    assert cg.concatenate([x, y]).dtype == np.concatenate([a, b]).dtype
    assert cg.result_type(x, right) == np.result_type(left, right)


@pytest.mark.parametrize("number", [True, 2, 2.5], ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
def test_python_numbers_are_weak(dtype, number):
    x, a = cg.vector("x", 2, dtype), np.ones(2, dtype)
    for function in (operator.add, operator.mul):
        assert function(x, number).dtype == function(a, number).dtype
        assert function(number, x).dtype == function(number, a).dtype
    assert cg.maximum(x, number).dtype == np.maximum(a, number).dtype
    assert cg.where(a > 0, x, number).dtype == np.where(a > 0, a, number).dtype


def test_numpy_scalars_are_strong():
    x = cg.vector("x", 2, "float32")
    assert (x * np.float64(2)).dtype == np.float64
    assert (x * np.float32(2)).dtype == np.float32


def test_sizes_are_weak_as_the_integers_they_stand_for():
    x = cg.vector("x", "n", "float32")
    n = x.shape[0]
    array = np.array([1, 2, 4], np.float32)
    for found, expected in (
        (x / n, array / 3),
        (n * x, 3 * array),
        (x - n, array - 3),
        (n - x, 3 - array),
        (cg.sqrt(n) * x, np.sqrt(3.0) * array),
    ):
        np.testing.assert_allclose(evaluate(found, {x: array}), expected, rtol=1e-6)
    assert (x / n).dtype == (n * x).dtype == np.float32
    assert n + 1 == cg.dim("n") + 1
    with pytest.raises(TypeError):
        n * 2.5


def test_python_numbers_alone_make_constants():
    assert cg.add(1, 2).op.is_constant
    assert cg.add(1, 2).dtype == np.int64
    assert cg.sin(0.5).dtype == np.float64
    assert evaluate(cg.divide(1, 4), {}) == 0.25
    assert evaluate(cg.log(0.0), {}) == -np.inf
    assert evaluate(cg.where(True, 1, 2.5), {}) == 1.0


def test_python_integer_that_does_not_fit():
    x = cg.vector("x", dtype="uint8")
    with pytest.raises(DTypeError, match=r"300 does not fit uint8.*astype"):
        x + 300


def test_unknown_operands_are_left_to_python():
    x = cg.vector("x")
    for other in ("text", None, object(), {1: 2}):
        with pytest.raises(TypeError, match="unsupported operand"):
            x + other
        with pytest.raises(TypeError, match="unsupported operand"):
            other / x
        assert (x == other) is False
        assert (x != other) is True

    class Other:
        def __radd__(self, left):
            return "asked"

    assert x + Other() == "asked"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "neither an expression nor an array of numbers"),
        (None, "neither an expression"),
        (1j, "complex128 is not supported"),
        (np.array(["a"]), "not supported"),
        (np.float16(1), "float16 is not supported"),
        ([[1], [1, 2]], "makes no array"),
    ],
    ids=repr,
)
def test_operands_that_are_no_numbers(value, text):
    for function in (cg.sin, cg.sum, cg.constant):
        with pytest.raises(DTypeError, match=text):
            function(value)


def test_list_of_expressions_points_to_stack():
    x = cg.scalar("x")
    for wrong in (lambda: cg.sin([x, x]), lambda: x + [x, 1.0], lambda: cg.sum((x,))):
        with pytest.raises(DTypeError, match=r"stack"):
            wrong()


# ------------------------------------------------------------------------- traps

TRAPS = {
    "bool": (bool, r"where\(condition, a, b\)"),
    "if": (lambda x: 1 if x > 0 else 2, "evaluate"),
    "and": (lambda x: (x > 0) and (x < 1), "&"),
    "chained comparison": (lambda x: 0 < x < 1, "&"),
    "float": (float, r"evaluate\(expression, \{input: array\}\)"),
    "int": (int, "evaluate"),
    "complex": (complex, "evaluate"),
    "index": (lambda x: [1, 2][x], "evaluate"),
    "item": (lambda x: x.item(), "evaluate"),
    "tolist": (lambda x: x.tolist(), "evaluate"),
    "iteration": (list, r"unstack\(x\).*range\(x.shape\[0\]\)"),
    "unpacking": (lambda x: (lambda a, b: a)(*x), "unstack"),
    "for": (lambda x: [i + 1 for i in x], "unstack"),
    "in": (lambda x: 1.0 in x, r"any\(x == value\)"),
    "assignment": (
        lambda x: operator.setitem(x, 0, 1.0),
        r"x.at\[index\].set\(value\)",
    ),
    "deletion": (lambda x: operator.delitem(x, 0), "immutable"),
    "array": (np.asarray, "evaluate"),
    "array of a list": (lambda x: np.array([x, x]), "stack"),
    "len of a symbol": (len, r"symbolic size n.*x.shape\[0\]"),
}


@pytest.mark.parametrize("name", TRAPS)
def test_traps(name):
    action, remedy = TRAPS[name]
    x = cg.vector("x", "n")
    with pytest.raises(TracingError, match=remedy) as caught:
        action(x)
    assert isinstance(caught.value, TypeError)


def test_traps_name_the_expression_and_its_place():
    x = cg.vector("x", "n")
    with pytest.raises(
        TracingError, match=r"x: float64\(n,\) made at test_operators.py"
    ):
        bool(x)


def test_len_that_is_known():
    assert len(cg.matrix("x", (3, "n"))) == 3
    with pytest.raises(TypeError, match="no dimensions"):
        len(cg.scalar("x"))


def test_expressions_hash_by_identity_and_copy_to_themselves():
    x = cg.vector("x", "n")
    y = x + 1
    assert {x: 1, y: 2}[x + 1] == 2
    assert copy.copy(y) is copy.deepcopy(y) is y
    assert pickle.loads(pickle.dumps(y)).shape == y.shape


def test_expressions_are_immutable():
    x = cg.vector("x", 2)
    with pytest.raises(AttributeError, match="immutable"):
        x.dtype = "int64"
    y = x
    y += 1
    assert y is not x


def test_display():
    x = cg.tensor("X", ("n", 3))
    assert repr(x) == "<input 'X' float64(n, 3)>"
    assert repr(cg.sin(x)) == "<sin float64(n, 3)>"
    assert str(x.shape) == "(n, 3)"
    assert x.size == 3 * cg.dim("n")
    assert x.ndim == 2


def test_shapes_that_do_not_broadcast_name_both():
    x, y = cg.vector("x", 3), cg.vector("y", 4)
    with pytest.raises(ShapeError, match=r"x: float64\(3,\).*y: float64\(4,\)"):
        x + y
