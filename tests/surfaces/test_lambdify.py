"""lambdify against sympy's own on NumPy: arguments, outputs, dtypes, errors."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import sympy as sp
from sympy.utilities.lambdify import implemented_function

import graphc as cg

X, Y, Z, N, T = sp.symbols("x y z n t")
F = sp.Function("f")
ARRAY = np.linspace(0.1, 2.0, 5)
M, W = sp.MatrixSymbol("M", 2, 2), sp.MatrixSymbol("w", 2, 1)
B, I = sp.IndexedBase("b"), sp.Symbol("i", integer=True)  # noqa: E741
MATRIX = np.array([[3.0, 1.0], [2.0, 5.0]])


def check(ours, wanted, rtol):
    """Compare results, containers and shapes."""
    if isinstance(wanted, (list, tuple)):
        assert type(ours) is type(wanted) and len(ours) == len(wanted)
        for a, b in zip(ours, wanted):
            check(a, b, rtol)
        return
    np.testing.assert_allclose(ours, wanted, rtol=rtol, atol=1e-14)
    assert np.shape(ours) == np.shape(wanted)


CASES = [
    (X, sp.sin(X), [(0.3,), (2,), (ARRAY,), (ARRAY[:, None],), (np.float64(0.2),)]),
    (
        [X, Y],
        sp.sin(X) / Y + X**2 - 3 * X * Y + sp.pi,
        [(0.3, 0.2), (ARRAY, 0.5), (ARRAY, ARRAY), (ARRAY[:, None], ARRAY), (1, 2)],
    ),
    ([X, (Y, [Z])], [X, (Y + Z, 1), []], [(1.0, (2.0, [3.0])), (1.0, [2.0, [3.0]])]),
    ([sp.Matrix([X, Y])], X - Y, [([5.0, 2.0],), (np.array([5.0, 2.0]),)]),
    ((X, Y), sp.Matrix([[X, 1], [2, Y]]), [(1.0, 2.0)]),
    ((X, Y), sp.ImmutableMatrix([X * Y]), [(1.5, 2.0)]),
    ((X,), sp.Array([X, X**2, 3]), [(1.5,)]),
    ((sp.Symbol("a.b"), sp.Symbol("c d")), sp.Symbol("a.b") * 2, [(1.5, 0.0)]),
    ((sp.Dummy("x"), X), X + 1, [(1.5, 2.5)]),
    (
        X,
        sp.Piecewise((sp.log(X), X > 1), (X**2, X > 0)),
        [(0.5,), (2.0,), (np.array([-1.0, 0.5, 3.0]),)],
    ),
    (X, sp.Sum(X**N / sp.factorial(N), (N, 0, 30)), [(0.3,)]),
    ((X, N), sp.Sum(X**Y, (Y, 1, N)), [(0.3, 4), (0.3, 6), (0.3, 0)]),
    (
        (X, Y),
        (sp.gamma(X), sp.erf(X), sp.loggamma(Y), sp.sign(-X), sp.Mod(X, Y), X**-2),
        [(0.7, 2.3), (1.7, 0.3)],
    ),
    (
        (X, Y),
        [X > Y, sp.And(X > 0, Y > 1), sp.Or(X > 5, sp.Not(Y > 2)), sp.Eq(X, Y)],
        [(0.7, 2.3)],
    ),
    ([M, W], M * W + W, [(MATRIX, np.ones((2, 1)))]),
    ([M], M[0, 1] + M[1, 1], [(MATRIX,)]),
    ([B], sp.Sum(B[I] ** 2, (I, 0, 3)), [(np.arange(4.0),)]),
    ([F(T), F(T).diff(T)], F(T) ** 2 + F(T).diff(T), [(2.0, 3.0)]),
    (X, X**2 + 1, [(np.arange(3),), (np.array([], float),), (np.ones(1),)]),
    (
        [X, Y],
        X / Y,
        [(np.arange(1, 4), np.arange(2, 5)), (np.ones((3, 1)), np.ones(1))],
    ),
    (X, X * sp.pi, [(ARRAY.astype(np.float32),), (np.float32(0.5),)]),
    ([X, Y], X + Y, [(ARRAY.astype(np.float32), 0.5), (np.float32(1), ARRAY)]),
    (X, 1 / X + X**-3, [(np.arange(1, 4),)]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c[1])[:40])
def test_results_are_sympys(case):
    args, expr, calls = case
    ours = cg.lambdify(args, expr)
    theirs = sp.lambdify(args, expr, modules="scipy", cse=True)
    for values in calls * 2:  # the second time by the fast path
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = theirs(*values)
        got = ours(*values)
        single = "float32" in str(getattr(wanted, "dtype", ""))
        check(got, wanted, 1e-6 if single else 1e-12)
        if isinstance(wanted, np.ndarray):
            assert got.dtype == wanted.dtype


def test_scalars_are_numpys_scalars():
    f = cg.lambdify([X, Y], [X * Y, X > Y])
    for _ in range(2):
        product, larger = f(1.5, 2.0)
        assert type(product) is np.float64 and type(larger) is np.bool_
        assert f"{product:.2f}" == "3.00"


def test_one_function_for_each_rank_and_dtype():
    f = cg.lambdify([X, Y], X * Y)
    for n in (3, 4, 7):
        f(np.ones(n), 2.0)
    assert len(f.compiled) == 1
    f(np.ones(1), 2.0)
    f(2.0, 3.0)
    f(np.ones((2, 3)), np.ones(3))
    f(np.ones(3, np.float32), 2.0)
    assert len(f.compiled) == 4
    assert (f(2, 3), f(np.float64(2), 3.0), f(np.ones(9), 3)[0]) == (6, 6, 3)
    assert len(f.compiled) == 4
    # a size of 1 that stretches is another function
    np.testing.assert_array_equal(f(np.ones(1), np.arange(3.0)), np.arange(3.0))
    assert f(np.ones(3, np.float32), 2.0).dtype == np.float32
    assert f(np.ones(3, np.float32), np.float64(2)).dtype == np.float64
    assert f(np.ones(3, np.float32), 2.0).dtype == np.float32


def test_containers_keys_and_nothing():
    f = cg.lambdify(X, {"a": X, "b": [X**2, {"c": 1}]})
    assert f(3.0) == {"a": 3.0, "b": [9.0, {"c": 1}]}
    assert cg.lambdify([], sp.Integer(2))() == 2
    assert cg.lambdify(X, [])(1.0) == []


def test_entries_of_a_matrix_of_arrays_broadcast():
    value = cg.lambdify(X, sp.Matrix([[X, 1]]))(ARRAY)
    np.testing.assert_array_equal(value, [[ARRAY, np.ones(5)]])
    rows = np.array([[1.0, 2.0], [3.0, 4.0]])
    matrix = sp.Matrix(2, 2, sp.symbols("a:4"))
    f = cg.lambdify([matrix], matrix.det())
    assert f(rows) == -2 and f([1.0, 2.0, 3.0, 4.0]) == -2


def test_names_pickles_and_functions():
    f = cg.lambdify([X, Y], X - Y)
    assert f(x=5, y=3) == f(5, y=3) == pickle.loads(pickle.dumps(f))(5, 3) == 2
    assert repr(f) == "<lambdified function of (x, y)>"
    own = cg.lambdify(X, F(X) + 1, modules=[{"f": cg.sin}, "numpy"])
    assert own(0.0) == 1
    made = implemented_function("g", lambda v: v * 2)
    assert cg.lambdify(X, made(X))(3.0) == 6


def test_a_long_expression_is_read_without_recursion_and_is_one_kernel():
    expr = X
    for _ in range(1500):
        expr = sp.Add(sp.Mul(expr, expr, evaluate=False), Y, evaluate=False)
    f = cg.lambdify([X, Y], expr)
    x = y = 0.1
    for _ in range(1500):
        x = x * x + y
    np.testing.assert_allclose(f(0.1, y), x, rtol=1e-12)


def test_a_product_over_an_index():
    f = cg.lambdify(X, sp.Product(X + N, (N, 1, 30)))
    np.testing.assert_allclose(f(0.3), np.prod(0.3 + np.arange(1, 31)), rtol=1e-13)


def test_the_reference_backend():
    f = cg.lambdify(X, sp.sin(X), backend="reference")
    assert f(0.3) == np.sin(0.3) and f(0.3) == np.sin(0.3)


BAD = [
    (lambda: cg.lambdify({X, Y}, X), cg.InputError, "of type set is neither a symbol"),
    (lambda: cg.lambdify(3, X), cg.InputError, "argument 3 of type int is neither"),
    (lambda: cg.lambdify("x", X), cg.InputError, "argument 'x' is a text; texts"),
    (lambda: cg.lambdify(["x"], X), cg.InputError, "argument 'x' is a text; texts"),
    (lambda: cg.lambdify(X, "x + 1"), cg.InputError, "is a text; texts are never"),
    (lambda: cg.lambdify(X, Y), cg.InputError, "lambdify: nothing is given .* y"),
    (lambda: cg.lambdify([X, X], X), cg.InputError, "x is an argument twice"),
    (lambda: cg.lambdify(X, sp.zeta(X)), cg.InputError, "lambdify: .* function zeta"),
    (lambda: cg.lambdify(X, sp.I * X), cg.InputError, "I is no real number"),
    (
        lambda: cg.lambdify(X + Y, X),
        cg.InputError,
        "x \\+ y of type Add is neither a symbol",
    ),
    (lambda: cg.lambdify(X, X, modules="torch"), cg.InputError, "modules='torch'"),
    (lambda: cg.lambdify(X, X, printer=object()), cg.InputError, "leave printer out"),
    (
        lambda: cg.lambdify(X, sp.Sum(X**N, (N, 0, sp.oo))),
        cg.InputError,
        "known integers",
    ),
    (lambda: cg.lambdify(X, X)(1j), cg.DTypeError, "complex is no array of real"),
    (lambda: cg.lambdify(X, X)("a"), cg.DTypeError, "str is no array of real numbers"),
    (lambda: cg.lambdify(X, X)(10**400), cg.DTypeError, "too large for a float"),
    (lambda: cg.lambdify(X, X)([1, [2]]), cg.ShapeError, "inhomogeneous"),
    (lambda: cg.lambdify([X, Y], X)(1.0), TypeError, "2 arguments are needed, 1"),
    (lambda: cg.lambdify(X, X)(z=1.0), TypeError, "argument x is missing"),
    (lambda: cg.lambdify(X, X)(1.0, x=1.0), TypeError, "'x' is no argument, or given"),
    (lambda: cg.lambdify([(X, Y)], X)(1.0), cg.InputError, "was given .* is no list"),
    (lambda: cg.lambdify([(X, Y)], X)((1.0,)), cg.InputError, "has 1 entries"),
    (
        lambda: cg.lambdify([X, N], sp.Sum(X**Y, (Y, 1, N)))(1.0, 2.5),
        cg.InputError,
        "n is in the bounds of a sum and must be an integer, not 2.5",
    ),
    (lambda: cg.lambdify([X, Y], X + Y)(ARRAY, ARRAY[:2]), cg.ShapeError, "2"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_mistakes_have_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()
