"""What compiled functions take: arrays of all kinds, and errors for the others."""

from __future__ import annotations

import pickle
from collections import namedtuple

import numpy as np
import pytest

import graphc as cg

X = np.arange(12.0).reshape(3, 4)


@pytest.fixture(params=["cpu", "reference"])
def backend(request):
    return request.param


@pytest.fixture
def f(backend):
    x, v = cg.matrix("x", ("n", "m")), cg.vector("v", "m")
    return cg.compile([x, v], x * 2.0 + v, backend=backend)


def aligned_off_by_one():
    raw = np.zeros(12 * 8 + 1, np.uint8)[1:].view(np.float64)
    raw[:] = np.arange(12.0)
    return raw.reshape(3, 4)


class Subclass(np.ndarray):
    pass


class Array:
    """An array of another library."""

    def __array__(self, dtype=None, copy=None):
        return np.arange(12.0).reshape(3, 4)


def read_only():
    a = X.copy()
    a.flags.writeable = False
    return a


GOOD = {
    "contiguous": lambda: X,
    "fortran": lambda: np.asfortranarray(X),
    "strided": lambda: np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2],
    "negative strides": lambda: X[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda: X.T.copy().T,
    "broadcast": lambda: X[:1].repeat(3, 0) * 0 + X,
    "read-only": read_only,
    "big-endian": lambda: X.astype(">f8"),
    "misaligned": aligned_off_by_one,
    "subclass": lambda: X.view(Subclass),
    "masked": lambda: np.ma.masked_array(X),
    "list": lambda: X.tolist(),
    "tuple": lambda: tuple(map(tuple, X.tolist())),
    "list of arrays": lambda: list(X),
    "integers in a list": lambda: X.astype(int).tolist(),
    "array of another library": Array,
    "memory view": lambda: memoryview(X),
}


@pytest.mark.parametrize("kind", GOOD)
def test_arrays_of_all_kinds(f, kind):
    v = np.linspace(0, 1, 4)
    got = f(GOOD[kind](), v)
    assert type(got) is np.ndarray
    assert got.flags.writeable and got.flags.c_contiguous
    np.testing.assert_array_equal(got, X * 2 + v)


def test_a_matrix_object_is_an_array(f):
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix(X)
    np.testing.assert_array_equal(f(matrix, np.ones(4)), X * 2 + 1)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_empty_arrays(f, shape):
    assert f(np.zeros(shape), np.zeros(shape[1])).shape == shape


def test_scalars(backend):
    a, b = cg.scalar("a"), cg.scalar("b", dtype="int32")
    f = cg.compile([a, b], [a * 2.0, b * b], backend=backend)
    for x, i in (
        (1.5, 3),
        (np.float64(1.5), np.int32(3)),
        (np.asarray(1.5), np.asarray(3, np.int32)),
        (np.float32(1.5), np.int64(3)),
        (1.5, True),
        (1.5, np.array(3, ">i4")),
    ):
        got = f(x, i)
        assert all(type(r) is np.ndarray and r.shape == () for r in got)
        assert got[0] == 3.0 and got[1] == (9 if i is not True else 1)
        assert got[1].dtype == np.int32


def test_results_are_not_views_of_inputs(backend):
    x = cg.matrix("x", ("n", "m"))
    f = cg.compile([x], [x, x, x.T, x[::-1], x.reshape(-1)], backend=backend)
    a = X.copy()
    results = f(a)
    for r in results:
        r += 1.0
    np.testing.assert_array_equal(a, X)
    for r, w in zip(results, (X, X, X.T, X[::-1], X.ravel())):
        np.testing.assert_array_equal(r, w + 1)


def test_results_of_calls_are_separate_and_constants_stay(backend):
    x = cg.vector("x", "n")
    table = np.arange(3.0)
    f = cg.compile([x], [x + 1.0, cg.constant(table)], backend=backend)
    first = f(np.zeros(3))
    first[1][:] = 99
    first[0][:] = 99
    second = f(np.zeros(3))
    np.testing.assert_array_equal(second[0], np.ones(3))
    np.testing.assert_array_equal(second[1], np.arange(3.0))


def test_nan_payloads_and_signed_zeros_survive_a_copy(backend):
    x = cg.vector("x", "n")
    f = cg.compile([x], [x[::-1], cg.concatenate([x, x])], backend=backend)
    bits = np.array(
        [0x7FF8000000001234, 0x8000000000000000, 0xFFF8000000000001], np.uint64
    )
    a = bits.view(np.float64)
    got = f(a)
    np.testing.assert_array_equal(got[0].view(np.uint64), bits[::-1])
    np.testing.assert_array_equal(got[1].view(np.uint64), np.concatenate([bits, bits]))


def test_booleans_of_any_byte(backend):
    p = cg.vector("p", "n", dtype="bool")
    f = cg.compile([p], [~p, p.sum()], backend=backend)
    got = f(np.array([0, 1, 1], np.uint8).view(bool))
    np.testing.assert_array_equal(got[0], [True, False, False])
    assert got[1] == 2


# ------------------------------------------------------------------------- out=


def test_out(f):
    v, out = np.ones(4), np.empty((3, 4))
    assert f(X, v, out=out) is out
    np.testing.assert_array_equal(out, X * 2 + 1)
    strided = np.zeros((6, 8))[::2, ::2]
    assert f(X, v, out=strided) is strided
    np.testing.assert_array_equal(strided, X * 2 + 1)


def test_out_may_overlap_the_inputs(backend):
    x = cg.vector("x", "n")
    f = cg.compile([x], cg.cumsum(x[::-1]), backend=backend)
    a = np.arange(6.0)
    f(a, out=a)
    np.testing.assert_array_equal(a, np.cumsum(np.arange(6.0)[::-1]))
    base = np.arange(7.0)
    f(base[:-1], out=base[1:])
    np.testing.assert_array_equal(base[1:], np.cumsum(np.arange(6.0)[::-1]))


def test_out_of_containers(backend):
    x = cg.vector("x", "n")
    f = cg.compile([x], {"a": x + 1.0, "b": (x * 2.0, x.sum())}, backend=backend)
    out = {"a": np.empty(3), "b": (np.empty(3), np.empty(()))}
    got = f(np.arange(3.0), out=out)
    assert got is out
    np.testing.assert_array_equal(out["a"], [1, 2, 3])
    assert out["b"][1] == 3.0


@pytest.mark.parametrize(
    ("out", "error", "text"),
    [
        (np.empty((3, 5)), cg.ShapeError, r"\(3, 5\)"),
        (np.empty((3, 4), np.float32), cg.DTypeError, "float32"),
        (np.empty((3, 4), ">f8"), cg.DTypeError, "float64 of the other byte order"),
        ([[0.0] * 4] * 3, cg.InputError, "writable"),
        (read_only(), cg.InputError, "writable"),
        ((np.empty((3, 4)),), cg.InputError, "writable"),
    ],
)
def test_wrong_out(f, out, error, text):
    with pytest.raises(error, match=text):
        f(X, np.ones(4), out=out)


# ------------------------------------------------------------------------ errors


def test_wrong_rank(f):
    with pytest.raises(cg.ShapeError, match=r"x.*\(12,\).*2 dim"):
        f(X.ravel(), np.ones(4))
    with pytest.raises(cg.ShapeError, match="v"):
        f(X, 1.0)


@pytest.mark.parametrize(
    "array",
    [
        X.astype(np.float32),
        X.astype(int),
        X.astype(complex),
        X.astype(object),
        X > 3,
        X.astype("U"),
        X.astype(np.float16),
    ],
)
def test_wrong_dtype(f, array):
    with pytest.raises(cg.DTypeError, match="x") as caught:
        f(array, np.ones(4))
    assert "float64" in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_a_float_is_no_integer(backend):
    i = cg.scalar("i", dtype="int64")
    f = cg.compile([i], i + 1, backend=backend)
    with pytest.raises(cg.DTypeError, match="i"):
        f(1.5)
    with pytest.raises(cg.DTypeError, match="i"):
        f("text")
    with pytest.raises(cg.GraphcError):
        f(None)


def test_a_ragged_list(f):
    with pytest.raises(cg.ShapeError, match="x"):
        f([[1.0, 2.0], [3.0]], np.ones(4))


def test_sizes_that_disagree_name_both_arrays(f):
    with pytest.raises(cg.ShapeError) as caught:
        f(X, np.ones(5))
    text = str(caught.value)
    assert "v" in text and "axis 1 of x" in text and "5" in text and "4" in text
    assert isinstance(caught.value, ValueError)


def test_fixed_sizes_are_checked(backend):
    x = cg.matrix("x", ("n", 3))
    f = cg.compile([x], x.sum(axis=1), backend=backend)
    assert f(np.ones((5, 3))).shape == (5,)
    with pytest.raises(cg.ShapeError, match="3"):
        f(np.ones((5, 4)))


def test_sizes_that_are_formulas(backend):
    x, y = cg.vector("x", "n"), cg.vector("y", "2*n + 1")
    f = cg.compile([x, y], y[: x.shape[0]] + x, backend=backend)
    assert f(np.ones(3), np.ones(7)).shape == (3,)
    with pytest.raises(cg.ShapeError, match="y"):
        f(np.ones(3), np.ones(6))
    g = cg.compile([y], y * 2.0, backend=backend)
    assert g(np.ones(7)).shape == (7,)
    with pytest.raises(cg.ShapeError):
        g(np.ones(6))


def test_sizes_taken_as_equal_are_checked(backend):
    x, y = cg.vector("x", "n"), cg.vector("y", "m")
    f = cg.compile([x, y], x + y, backend=backend)
    np.testing.assert_array_equal(f(np.ones(3), np.ones(3)), np.full(3, 2.0))
    with pytest.raises(cg.ShapeError) as caught:
        f(np.ones(3), np.ones(4))
    text = str(caught.value)
    for part in ("add", "n", "m", "3", "4", "x", "y", "test_arguments.py"):
        assert part in text


def test_sizes_taken_as_equal_are_checked_when_the_result_is_not_needed(backend):
    x, y = cg.vector("x", "n"), cg.vector("y", "m")
    f = cg.compile([x, y], (x + y).shape[0] * cg.ones(()), backend=backend)
    assert f(np.ones(3), np.ones(3)) == 3.0


def test_number_of_arguments(f):
    for args in ((), (X,), (X, np.ones(4), X)):
        with pytest.raises(cg.InputError, match=r"2 inputs|missing"):
            f(*args)


def test_arguments_by_name(f):
    v = np.ones(4)
    wanted = X * 2 + 1
    np.testing.assert_array_equal(f(X, v=v), wanted)
    np.testing.assert_array_equal(f(v=v, x=X), wanted)
    with pytest.raises(cg.InputError, match="unknown input 'w'"):
        f(X, w=v)
    with pytest.raises(cg.InputError, match=r"'x'.*by position and by name"):
        f(X, x=X)
    with pytest.raises(cg.InputError, match=r"missing.*v"):
        f(x=X)
    with pytest.raises(cg.InputError):
        f(X, v, v=v)


def test_an_expression_is_no_array(f):
    with pytest.raises(cg.InputError, match="expression"):
        f(cg.matrix("z", ("n", "m")), np.ones(4))


Pair = namedtuple("Pair", "first second")


def test_nested_arguments(backend):
    x, w, b = (
        cg.matrix("x", ("n", "m")),
        cg.matrix("w", ("m", "k")),
        cg.vector("b", "k"),
    )
    f = cg.compile(
        [x, {"w": w, "b": [b]}], Pair(x @ w + b[0], {"b": b}), backend=backend
    )
    a, c = np.ones((2, 3)), np.ones((3, 4))
    got = f(a, {"b": [np.ones(4)], "w": c})
    assert isinstance(got, Pair) and got.second["b"].shape == (4,)
    np.testing.assert_array_equal(got.first, np.full((2, 4), 4.0))
    for wrong, text in (
        ({"w": c}, "missing.*'b'"),
        ({"w": c, "b": [np.ones(4)], "c": 1}, "unknown.*'c'"),
        ({"w": c, "b": np.ones(4)}, "list"),
        ({"w": c, "b": [np.ones(4), 1]}, "entries"),
        ([c, np.ones(4)], "dict"),
    ):
        with pytest.raises(cg.InputError, match=text):
            f(a, wrong)


def test_compile_checks_inputs(backend):
    x, y = cg.vector("x", "n"), cg.vector("y", "n")
    with pytest.raises(cg.InputError, match="y"):
        cg.compile([x], x + y, backend=backend)
    with pytest.raises(cg.InputError, match="twice"):
        cg.compile([x, x], x, backend=backend)
    with pytest.raises(cg.InputError, match="computed"):
        cg.compile([x + y], x, backend=backend)
    with pytest.raises(cg.InputError):
        cg.compile([np.ones(3)], x, backend=backend)
    with pytest.raises(cg.InputError):
        cg.compile([x], object(), backend=backend)
    with pytest.raises(cg.ConfigError, match="nowhere"):
        cg.compile([x], x, backend="nowhere")


@pytest.mark.parametrize("bad", [5, -6, 2**40, -(2**62)])
def test_an_index_out_of_range(backend, bad):
    table, i = cg.matrix("table", ("n", "m")), cg.vector("i", "k", dtype="int64")
    f = cg.compile([table, i], [table[i], cg.exp(table)[i].sum()], backend=backend)
    a = np.ones((5, 3))
    assert f(a, np.array([4, -5]))[0].shape == (2, 3)
    with pytest.raises(cg.IndexOutOfRangeError) as caught:
        f(a, np.array([0, bad, 1]))
    assert "gather" in str(caught.value)
    assert "test_arguments.py" in str(caught.value)
    assert isinstance(caught.value, IndexError)
    assert f(a, np.array([4, -5]))[0].shape == (2, 3)  # works again


@pytest.mark.parametrize("rows", [0, 3])
def test_a_scatter_out_of_range(backend, rows):
    base, i = cg.matrix("base", ("n", "m")), cg.vector("i", "k", dtype="int64")
    u = cg.matrix("u", ("k", "m"))
    f = cg.compile([base, i, u], base.at[i].add(u), backend=backend)
    width = 5000
    with pytest.raises(cg.IndexOutOfRangeError, match="scatter"):
        f(np.zeros((rows, width)), np.array([0, 3]), np.ones((2, width)))
    np.testing.assert_array_equal(
        f(np.zeros((3, 2)), np.array([2, 2]), np.ones((2, 2))), [[0, 0], [0, 0], [2, 2]]
    )


def test_gathering_from_nothing(backend):
    table, i = cg.matrix("table", ("n", "m")), cg.vector("i", "k", dtype="int64")
    f = cg.compile([table, i], table[i] * 2.0, backend=backend)
    with pytest.raises(cg.IndexOutOfRangeError):
        f(np.zeros((0, 1_000_000)), np.array([0]))
    assert f(np.zeros((0, 3)), np.zeros(0, np.int64)).shape == (0, 3)


def test_an_extremum_of_nothing(backend):
    x = cg.matrix("x", ("n", "m"))
    for build in (lambda: x.max(axis=1), lambda: x.argmin(axis=1), lambda: x.min()):
        f = cg.compile([x], build(), backend=backend)
        with pytest.raises(cg.ShapeError, match="extremum"):
            f(np.zeros((3, 0)))
    assert cg.compile([x], x.max(axis=1), backend=backend)(np.zeros((0, 3))).shape == (
        0,
    )


def test_a_slice_outside_an_axis(backend):
    x = cg.vector("x", "n")
    f = cg.compile([x], x[3], backend=backend)
    assert f(np.arange(5.0)) == 3.0
    with pytest.raises(cg.IndexOutOfRangeError):
        f(np.arange(3.0))


# ------------------------------------------------------------------ the Function


def test_a_function_pickles(f):
    g = pickle.loads(pickle.dumps(f))
    np.testing.assert_array_equal(g(X, np.ones(4)), X * 2 + 1)
    assert g.backend == f.backend
    np.testing.assert_array_equal(g(X, v=np.ones(4)), X * 2 + 1)


def test_a_function_of_containers_pickles(backend):
    x = cg.vector("x", "n")
    i = cg.constant(np.array([1, 0]))
    f = cg.compile({"x": x}, {"y": [x[i], cg.grad((x * x).sum(), x)]}, backend=backend)
    g = pickle.loads(pickle.dumps(f))
    a = {"x": np.arange(3.0)}
    for r, w in zip(g(a)["y"], f(a)["y"]):
        np.testing.assert_array_equal(r, w)


def test_text_of_a_function(f):
    text = repr(f)
    assert "x: float64(n, m)" in text and f.backend in text


def test_evaluate_checks_its_values():
    x, y = cg.vector("x", "n"), cg.vector("y", "n")
    with pytest.raises(cg.InputError, match="y"):
        cg.evaluate(x + y, {x: np.ones(3)})
    with pytest.raises(cg.ShapeError, match="x"):
        cg.evaluate(x + y, {x: np.ones(3), y: np.ones(4)})
    with pytest.raises(cg.DTypeError):
        cg.evaluate(x, {x: np.ones(3, np.float32)})
    with pytest.raises(cg.InputError):
        cg.evaluate(x, [1, 2])
    assert cg.evaluate([x, {"s": x.sum()}], {x: [1, 2]})[1]["s"] == 3.0
