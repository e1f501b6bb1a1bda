"""Expressions to sympy and back: every op, every kind of number, matrices, errors."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from support.registry import examples

import graphc as cg
from graphc.derivatives.symbolic.vocabulary import FORMULAS, ops_by_class
from graphc.graph.graph import topological_order
from graphc.ops.leaf import new_input
from graphc.types.tensor_type import TensorType

X, Y = sp.symbols("x y", real=True)
EXAMPLES = list(examples())


@pytest.mark.parametrize("e", EXAMPLES, ids=lambda e: e.label)
def test_every_op_comes_back_with_its_value(e, evaluate):
    inputs = [
        new_input(f"x{i}", TensorType((), n.dtype)) for i, n in enumerate(e.inputs)
    ]
    node = e.node.op(*inputs, params=e.node.params)
    written = cg.to_sympy(node)
    symbols = {cg.to_sympy(n): n for n in inputs}
    back = cg.from_sympy(written, symbols)
    for k in range(7):
        at = {n: a[k] for n, a in zip(inputs, e.arrays)}
        there, here = evaluate([node, back], at)
        rtol = 1e-5 if node.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(here, there, rtol=rtol, atol=1e-13)


@pytest.mark.parametrize("value", [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.2, -3.7])
def test_halves_are_rounded_to_the_even_number(value):
    formula = cg.to_sympy(cg.round(cg.scalar("x")))
    assert float(formula.subs(X, value)) == np.round(value)


def test_conditions_that_sympy_lacks_come_back_as_they_are():
    x = cg.scalar("x")
    for function in (cg.isnan, cg.isinf, cg.isfinite, cg.signbit):
        y = cg.where(function(x), x, 2 * x)
        assert cg.from_sympy(cg.to_sympy(y), {X: x}) is y


def test_bits_of_integers_come_back_as_they_are():
    i, j = cg.scalar("i", "int64"), cg.scalar("j", "int64")
    y = ((i & j) | ~i) ^ (j & 3)
    names = {sp.Symbol("i", integer=True): i, sp.Symbol("j", integer=True): j}
    assert cg.from_sympy(cg.to_sympy(y), names) is y


def test_the_vocabulary_is_read_off_the_ops():
    found = {kind.__name__: op.name for kind, op in ops_by_class().items()}
    assert found["Add"] == "add" and found["Max"] == "maximum"
    assert found["StrictLessThan"] == "less" and found["And"] == "logical_and"
    assert found["loggamma"] == "gammaln" and found["atan2"] == "arctan2"


CASES = [
    sp.sec(X) + sp.csc(X) + sp.cot(X) + sp.asec(1 + X) + sp.acsc(1 + X) + sp.acot(X),
    sp.sech(X) + sp.csch(X) + sp.coth(X) + sp.asech(X) + sp.acsch(X) + sp.acoth(1 + X),
    sp.sinc(X) + sp.gamma(X) + sp.factorial(X) + sp.beta(X, Y) + sp.gamma(-X),
    sp.binomial(X + 3, X) + sp.RisingFactorial(X, Y) + sp.FallingFactorial(X + 2, Y),
    sp.erf2(X, Y) + sp.digamma(X) + sp.polygamma(3, X) + sp.loggamma(Y),
    sp.Heaviside(X) + sp.Heaviside(X - Y) + sp.Heaviside(0 * X) + sp.sign(X - Y),
    sp.Mod(X, Y) + sp.Mod(-X, Y) + sp.frac(X) + sp.floor(3 * X) + sp.ceiling(3 * Y),
    sp.Max(X, Y, X * Y, 0.3) - sp.Min(X, Y, 1) + sp.Abs(X - Y) + sp.atan2(X, Y),
    X ** sp.Rational(1, 3) + X**-2 + 1 / sp.sqrt(X) + X**Y + 2**X + sp.pi**X + X**7,
    sp.E * X + sp.pi / 3 - sp.GoldenRatio * sp.EulerGamma + sp.Rational(2, 7) * X,
    X - Y - 2 * X * Y - sp.Rational(3, 2) * Y / (X * sp.sqrt(Y)) + 5,
    sp.Piecewise((sp.log(X), X > 1), (X**2, sp.And(X > 0.2, Y > 0)), (3, True)),
    sp.ITE(X > Y, X > 0, Y > 1),
    sp.Or(X > 5, sp.Not(Y > 2), sp.Xor(X > 1, Y > 1)),
    sp.Nand(X > 1, Y > 1),
    sp.Implies(X > 0.1, Y > 1),
    sp.Eq(X, Y),
    sp.Ne(X, 0.5),
    sp.KroneckerDelta(sp.Symbol("i"), 2),
]


@pytest.mark.parametrize("expr", CASES, ids=str)
@pytest.mark.parametrize("point", [(0.4, 1.7), (0.9, 0.6)])
def test_functions_of_sympy_have_its_values(expr, point, evaluate):
    x, y, i = cg.scalar("x"), cg.scalar("y"), cg.scalar("i")
    node = cg.from_sympy(expr, {X: x, Y: y, sp.Symbol("i"): i})
    value = evaluate(node, {x: point[0], y: point[1], i: 2.0})
    at = {X: sp.Float(point[0], 30), Y: sp.Float(point[1], 30), sp.Symbol("i"): 2}
    exact = expr.rewrite(sp.erf).subs(at) if expr.has(sp.erf2) else expr.subs(at)
    expected = bool(exact) if value.dtype == bool else float(exact.evalf(20))
    np.testing.assert_allclose(value, expected, rtol=1e-11)


def test_every_formula_is_of_a_function_that_sympy_has():
    from sympy.codegen import cfunctions, numpy_nodes

    homes = (sp, sp.functions, cfunctions, numpy_nodes)
    known = {"trigamma", "minimum", "maximum", "isnan", "isinf"}
    for name in FORMULAS:
        assert name in known or any(hasattr(h, name) for h in homes), name


def test_numbers(evaluate):
    numbers = [
        sp.oo,
        -sp.oo,
        sp.Integer(10) ** 30,
        sp.Integer(3),
        sp.Float("0.1"),
        True,
    ]
    values = evaluate(cg.from_sympy(numbers), {})
    assert values[:2] == [np.inf, -np.inf]
    assert values[2:] == [1e30, 3, 0.1, True]
    assert np.isnan(evaluate(cg.from_sympy(sp.nan), {}))
    x = cg.scalar("x")
    for value in (0.1, 1 / 3, 2.0**-20, -0.5, 1e300, float("inf")):
        assert float(cg.to_sympy(x * value).subs(X, 1)) == value


def test_numbers_widen_nothing():
    x = cg.scalar("x", "float32")
    expr = sp.pi * X + sp.Piecewise((1, X > 0), (0, True)) + sp.sqrt(2) + sp.gamma(X)
    assert cg.from_sympy(expr, {X: x}).dtype == np.float32


def test_equal_parts_are_one_node():
    part = sp.sin(X) * sp.exp(X)
    x = cg.scalar("x")
    node = cg.from_sympy(part + sp.log(1 + part), {X: x})
    products = [n for n in topological_order([node]) if n.op.name == "multiply"]
    assert len(products) == 1


def test_deep_expressions_do_not_recurse(evaluate):
    x = cg.scalar("x")
    node, s = x, sp.Symbol("x")
    for _ in range(5000):
        node = cg.sin(node)
        s = sp.sin(s, evaluate=False)
    assert cg.from_sympy(s, {sp.Symbol("x"): x}) is node
    with pytest.raises(cg.InputError, match=r"too deep for sympy"):
        cg.to_sympy(node)


def test_entries_of_arrays(evaluate):
    v, a = cg.vector("v", 3), cg.matrix("A", (2, 3))
    base = sp.IndexedBase("v", shape=(3,), real=True)
    assert cg.to_sympy(v[1]) == base[1]
    assert str(cg.to_sympy(a[1, 2] * v[0])) == "A[1, 2]*v[0]"
    matrix, column = sp.MatrixSymbol("A", 2, 3), sp.MatrixSymbol("v", 3, 1)
    node = cg.from_sympy(matrix[1, 2] * column[2, 0] + base[0], {matrix: a, column: v})
    at = {v: [1.0, 2.0, 3.0], a: np.arange(6.0).reshape(2, 3)}
    assert evaluate(node, at) == 5 * 3 + 1
    whole = cg.to_sympy(a @ v, {a: matrix, v: column})
    assert whole[1] == sum(matrix[1, j] * column[j, 0] for j in range(3))
    assert cg.from_sympy(whole, {matrix: a, column: v}).shape == (2,)


def test_matrices_and_containers(evaluate):
    x, y = cg.scalar("x"), cg.vector("y", 3)
    m = sp.Matrix([[X, 1], [2, X**2]])
    node = cg.from_sympy(m, {X: x})
    np.testing.assert_array_equal(evaluate(node, {x: 3.0}), [[3, 1], [2, 9]])
    assert cg.to_sympy(node) == m
    assert cg.from_sympy(m, {X: y}).shape == (2, 2, 3)
    array = sp.Array([X, 2 * X, 3])
    assert cg.to_sympy(cg.from_sympy(array, {X: x})) == array
    tree = cg.from_sympy({"a": [X, (X + 1, 2)], "b": sp.Tuple(X)}, {X: x})
    assert tree["a"][0] is x and isinstance(tree["a"][1], tuple)
    assert tree["b"] == (x,) or tree["b"][0] is x
    big, other = sp.MatrixSymbol("A", 3, 3), cg.matrix("A", (3, 3))
    node = cg.from_sympy(big.T * big + 2 * big, {big: other})
    value = np.arange(9.0).reshape(3, 3)
    np.testing.assert_allclose(
        evaluate(node, {other: value}), value.T @ value + 2 * value
    )
    node = cg.from_sympy(big.I * big.det() * sp.trace(big), {big: other})
    value = value + np.eye(3)
    expected = np.linalg.inv(value) * np.linalg.det(value) * np.trace(value)
    np.testing.assert_allclose(evaluate(node, {other: value}), expected)


@pytest.mark.parametrize("exponent", [-3, -1, 0, 1, 2, 3, 6])
def test_powers_of_matrices(exponent, evaluate):
    symbol, a = sp.MatrixSymbol("A", 3, 3), cg.matrix("A", (3, 3))
    value = np.random.default_rng(0).normal(size=(3, 3)) + 3 * np.eye(3)
    node = cg.from_sympy(sp.MatPow(symbol, exponent), {symbol: a})
    expected = np.linalg.matrix_power(value, exponent)
    np.testing.assert_allclose(evaluate(node, {a: value}), expected)
    n = sp.Symbol("n", integer=True)
    node = cg.from_sympy(symbol**n, {symbol: a, n: exponent})
    np.testing.assert_allclose(evaluate(node, {a: value}), expected)
    for other in (sp.Rational(1, 2), X):
        with pytest.raises(cg.InputError, match="no power of a matrix to a known int"):
            cg.from_sympy(symbol**other, {symbol: a, X: cg.scalar("x")})


def test_matrices_of_which_sympy_knows_every_entry(evaluate):
    symbol, a = sp.MatrixSymbol("A", 2, 2), cg.matrix("A", (2, 2))
    value = np.array([[1.0, 2.0], [3.0, 4.0]])
    for expr, expected in (
        (sp.Identity(2) + symbol, np.eye(2) + value),
        (sp.OneMatrix(2, 2) * symbol, np.ones((2, 2)) @ value),
        (sp.BlockMatrix([[symbol, symbol.T]]), np.hstack([value, value.T])),
        (sp.KroneckerProduct(symbol, symbol), np.kron(value, value)),
        (symbol[:, 1], value[:, 1:]),
        (symbol.adjoint(), value.T),
    ):
        node = cg.from_sympy(expr, {symbol: a})
        np.testing.assert_allclose(evaluate(node, {a: value}), expected)
    n = sp.Symbol("n", integer=True)
    with pytest.raises(cg.InputError, match="does not know sympy's Identity"):
        cg.from_sympy(sp.Identity(n))


@pytest.mark.parametrize("count", [0, 3, 40])
def test_sums_and_products(count, evaluate):
    x, k = cg.vector("x", 2), sp.Symbol("k")
    total = sp.Sum(X**k / sp.factorial(k), (k, 1, count))
    product = sp.Product(1 + X / k, (k, 1, count))
    node = cg.from_sympy([total, product], {X: x})
    at = np.array([0.5, 1.5])
    sums, products = evaluate(node, {x: at})
    ks = np.arange(1.0, count + 1)
    from scipy.special import factorial

    np.testing.assert_allclose(
        sums, sum((at**j / factorial(j) for j in ks), np.zeros(2)), rtol=1e-11, atol=0
    )
    np.testing.assert_allclose(
        products, np.prod([1 + at / j for j in ks], axis=0), rtol=1e-12
    )


def test_a_triangular_double_sum(evaluate):
    x, (i, j) = cg.scalar("x"), sp.symbols("i j")
    expr = sp.Sum(X * i + j, (j, 0, i), (i, 0, 20))
    value = evaluate(cg.from_sympy(expr, {X: x}), {x: 0.5})
    assert value == sum(0.5 * a + b for a in range(21) for b in range(a + 1))


def test_two_inputs_of_one_name_are_two_symbols():
    a, b = cg.scalar("x"), cg.scalar("x")
    assert {str(s) for s in cg.to_sympy(a + b).free_symbols} == {"x", "x_1"}


def test_symbols_are_found_by_name():
    x = cg.scalar("x")
    assert cg.from_sympy(sp.sin(X), {sp.Symbol("x"): x}) is cg.sin(x)
    twice = {sp.Symbol("x", positive=True): x, sp.Symbol("x", integer=True): x}
    with pytest.raises(cg.InputError, match=r"nothing is given for the symbol x"):
        cg.from_sympy(X, twice)
    with pytest.raises(cg.InputError, match=r"nothing is given"):
        cg.from_sympy(sp.Dummy("x"), {X: x})


F = sp.Function("f")
BAD = [
    (lambda: cg.from_sympy("x + 1"), "'?x \\+ 1'? is a text; texts are never parsed"),
    (lambda: cg.from_sympy(X, {"x": cg.scalar("x")}), "the key 'x' is a text"),
    (lambda: cg.from_sympy(X, {X: "x"}), "x is given 'x' of type str"),
    (lambda: cg.from_sympy(X, [X]), "give {symbol: expression}, not .* list"),
    (lambda: cg.from_sympy(X), "nothing is given for the symbol x"),
    (lambda: cg.from_sympy(sp.zeta(X), {X: 2}), "does not know the function zeta"),
    (lambda: cg.from_sympy(F(X), {X: 2}), "does not know the function f, in f\\(x\\)"),
    (lambda: cg.from_sympy(sp.I * X, {X: 2}), "I is no real number"),
    (lambda: cg.from_sympy(sp.zoo), "zoo is no real number"),
    (lambda: cg.from_sympy(object()), "of type object is no sympy expression"),
    (
        lambda: cg.from_sympy(sp.Integral(sp.exp(X**3), X), {X: 2}),
        "does not know sympy's Integral",
    ),
    (
        lambda: cg.from_sympy(sp.Sum(X**2, (X, 0, sp.oo))),
        "needs bounds that are known integers",
    ),
    (
        lambda: cg.from_sympy(sp.IndexedBase("v")[0]),
        "nothing is given for the array v of v\\[0\\]",
    ),
    (
        lambda: cg.from_sympy(
            sp.IndexedBase("v")[0, 1], {sp.IndexedBase("v"): cg.vector("v", 3)}
        ),
        "has 2 indices, but .* has 1 dimensions",
    ),
    (lambda: cg.from_sympy(sp.DiracDelta(X), {X: cg.scalar("x")}), "DiracDelta"),
    (lambda: cg.to_sympy(cg.argmax(cg.vector("x", 3))), "cannot be written in sympy"),
    (lambda: cg.to_sympy(cg.scalar("x"), {"x": X}), "the key 'x' of symbols"),
    (
        lambda: cg.to_sympy((x := cg.scalar("x")) + 1, {x: "y"}),
        "is to be called 'y' of type str",
    ),
    (
        lambda: cg.to_sympy((x := cg.vector("x", 2)) + 1, {x: X}),
        "is an array, but x has no entries",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_mistakes_have_one_clear_error(call, message):
    with pytest.raises(cg.InputError, match=message):
        call()


def test_a_symbolic_size_is_refused():
    with pytest.raises(cg.ShapeError, match=r"x: float64\(n,\).* symbolic size"):
        cg.to_sympy(cg.vector("x", "n") * 2)
    with pytest.raises(cg.ShapeError, match=r"entries of .* do not broadcast"):
        cg.from_sympy(sp.Matrix([X, Y]), {X: cg.vector("x", 2), Y: cg.vector("y", 3)})


def test_an_index_out_of_range_is_refused():
    v = sp.IndexedBase("v")
    with pytest.raises(IndexError):
        cg.from_sympy(v[7], {v: cg.vector("v", 3)})
