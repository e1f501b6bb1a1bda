"""Ops from sympy formulas: values, derivatives, kernels, domains, pickles, errors."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import sympy as sp

import graphc as cg
from graphc.ops.declare import REGISTRY

X, Y = sp.symbols("x y")
POINTS = np.array([-2.0, -0.7, 0.4, 1.0, 2.5])
OTHERS = np.array([0.3, 1.5, 0.4, 2.0, 0.9])


@pytest.fixture(autouse=True)
def no_traces():
    """Leave the registry as it was: other tests go through all ops."""
    before = dict(REGISTRY)
    yield
    for name in [n for n in REGISTRY if n not in before]:
        del REGISTRY[name]


FORMULAS = {
    "softsign": (X / (1 + sp.Abs(X)), lambda x, y: x / (1 + cg.abs(x))),
    "larger": (
        sp.Max(X, Y) * sp.Max(X, 0),
        lambda x, y: cg.maximum(x, y) * cg.maximum(x, 0),
    ),
    "branches": (
        sp.Piecewise((sp.log(X), X > 0), (Y**2, X < -1), (0, True)),
        lambda x, y: cg.where(x > 0, cg.log(x), cg.where(x < -1, y**2, 0.0)),
    ),
    "clipped": (
        sp.Min(sp.Max(X, -1), 1),
        lambda x, y: cg.minimum(cg.maximum(x, -1), 1),
    ),
    "gaussian": (
        sp.exp(-((X - Y) ** 2) / 2) / sp.sqrt(2 * sp.pi),
        lambda x, y: cg.exp(-((x - y) ** 2) / 2) / np.sqrt(2 * np.pi),
    ),
    "series": (
        sp.Sum(X ** sp.Symbol("k") * Y, (sp.Symbol("k"), 1, 20)),
        lambda x, y: sum(x**k for k in range(1, 21)) * y,
    ),
    "special": (sp.erf(X) * sp.loggamma(Y), lambda x, y: cg.erf(x) * cg.gammaln(y)),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_value_and_derivatives_are_those_of_the_ops(name, dtype, evaluate):
    formula, function = FORMULAS[name]
    op = cg.elementwise(f"user_{name}", formula)
    x, y = cg.vector("x", 5, dtype), cg.vector("y", 5, dtype)
    count = op.op.arity
    made, wanted = op(*[x, y][:count]), function(x, y)
    assert made.op is op.op and made.dtype == dtype
    at = {x: POINTS.astype(dtype), y: OTHERS.astype(dtype)}
    wrt = [x, y][:count]
    first = [cg.grad(e.sum(), wrt) for e in (made, wanted)]
    second = [
        cg.grad(sum(g.sum() for g in gs), wrt, disconnected="zero") for gs in first
    ]
    for ours, other in ((made, wanted), first, second):
        a, b = evaluate([ours, other], at)
        tolerance = 1e-11 if dtype == "float64" else 1e-4
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_integers_broadcasting_and_numbers(evaluate):
    op = cg.elementwise("user_product", X * sp.exp(Y))
    i, y = cg.matrix("i", (2, 1), "int64"), cg.vector("y", 3)
    at = {i: np.array([[1], [2]]), y: np.array([0.0, 1.0, 2.0])}
    np.testing.assert_allclose(evaluate(op(i, y), at), at[i] * np.exp(at[y]))
    assert evaluate(op(2, 0), {}) == 2
    assert op(i, y).dtype == np.float64
    swapped = cg.elementwise("user_swapped", X * sp.exp(Y), [Y, X])
    np.testing.assert_allclose(evaluate(swapped(y, i), at), evaluate(op(i, y), at))


def test_a_condition_is_an_op_without_derivative(evaluate):
    op = cg.elementwise("user_outside", sp.Or(X > 2, X < -2))
    x = cg.vector("x", 3)
    value = evaluate(op(x), {x: [-3.0, 0.0, 3.0]})
    assert value.dtype == bool and value.tolist() == [True, False, True]


def test_branches_not_taken_contribute_zero(evaluate):
    log = cg.elementwise("user_log", sp.log(X))
    root = cg.elementwise("user_root", sp.Piecewise((sp.sqrt(X), X > 0), (0, True)))
    x = cg.vector("x", 4)
    at = {x: np.array([-1.0, 0.0, 1.0, 4.0])}
    y = cg.where(x > 0, log(x), 0.0).sum() + root(cg.sqrt(cg.abs(x))).sum()
    slope = cg.grad(y, x)
    assert np.isfinite(evaluate(slope, at)).all()
    np.testing.assert_allclose(
        evaluate(slope, at)[2:], [1 + 0.25, 0.25 + 0.25 * 4**-0.75]
    )
    forward = cg.jacobian(y, x, mode="forward")
    np.testing.assert_allclose(evaluate(forward, at), evaluate(slope, at))


def test_a_chain_is_one_kernel_and_equals_the_interpreter():
    op = cg.elementwise("user_swish", X / (1 + sp.exp(-Y * X)))
    x, b = cg.vector("x", "n"), cg.scalar("b")
    y = cg.exp(-op(cg.sin(x), b)) * 2
    from graphc.runtime.compile import compile as build

    f = build([x, b], [y, cg.grad(y.sum(), x)])
    assert len(f.kernels) == 1
    assert "user_swish" in f.kernels[0].fuses
    reference = build([x, b], [y, cg.grad(y.sum(), x)], backend="reference")
    values = np.linspace(-3, 3, 1001)
    for ours, other in zip(f(values, 0.7), reference(values, 0.7)):
        np.testing.assert_allclose(ours, other, rtol=1e-12, atol=1e-14)


def test_kernels_vectorize_like_the_ops_written_out():
    op = cg.elementwise("user_quotient", X / (1 + X**2))
    from graphc.runtime.compile import compile as build

    x = cg.vector("x", "n")
    one, other = build([x], op(x)), build([x], x / (1 + x**2))
    values = np.linspace(-3, 3, 1001)
    np.testing.assert_array_equal(one(values), other(values))
    # the same instructions, so the same machine code
    assert one.kernels[0].name == other.kernels[0].name


def test_another_meaning_under_an_old_name_is_compiled_anew(tmp_path):
    from graphc.runtime.compile import compile as build

    x = cg.scalar("x")
    values = []
    with cg.config(cache_dir=str(tmp_path)):
        for formula in (X + 1, X + 2):
            op = cg.elementwise("user_changing", formula)
            values.append(build([x], op(x) * 3)(1.0))
            del REGISTRY["user_changing"]
    assert values == [6, 9]


def test_the_domain_is_reported():
    assert cg.elementwise("user_a", X / (1 + sp.Abs(X))).domain == ()
    log = cg.elementwise("user_b", Y * sp.log(X - 1))
    assert log.domain == ("x - 1 > 0",)
    assert "Finite where x - 1 > 0." in log.__doc__
    assert cg.elementwise("user_c", 1 / X).domain == ("Ne(x, 0)",)
    positive = sp.Symbol("p", positive=True)
    assert cg.elementwise("user_d", sp.sqrt(positive**2)).domain == ("p > 0",)


def test_ops_pickle_by_value():
    op = cg.elementwise("user_pickled", sp.tanh(X) / (1 + X**2))
    again = pickle.loads(pickle.dumps(op))
    assert again.op is op.op
    x = cg.vector("x", "n")
    text = pickle.dumps(cg.Graph([x], [cg.grad(op(x).sum(), x)]).outputs[0]).hex()
    program = (
        "import pickle, sys\n"
        f"node = pickle.loads(bytes.fromhex({text!r}))\n"
        "fun = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "print(node.dtype, fun.op.name, 'sympy' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, pickle.dumps(op).hex()],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["float64", "user_pickled", "False"], done.stderr


def test_the_same_formula_is_the_same_op():
    one = cg.elementwise("user_twice", X**2 + X)
    assert cg.elementwise("user_twice", X + X**2).op is one.op
    assert cg.elementwise("user_twice", Y + Y**2).op is one.op
    with pytest.raises(cg.InputError, match=r"an op named 'user_twice' already"):
        cg.elementwise("user_twice", X**2)


def test_to_sympy_and_diff_see_through_it():
    op = cg.elementwise("user_seen", sp.sin(X) ** 2)
    x = cg.scalar("x")
    s = sp.Symbol("x", real=True)
    assert cg.to_sympy(op(x)) == sp.sin(s) ** 2
    assert cg.to_sympy(cg.diff(op(x), x)) == 2 * sp.sin(s) * sp.cos(s)


BAD = [
    (("sin", X), "an op named 'sin' already"),
    (("not a name", X), "'not a name' is no identifier"),
    ((3, X), "the name 3 is no identifier"),
    (("user_e", "x + 1"), "'x \\+ 1' is a text; texts are never parsed"),
    (("user_e", 2.0), "a sympy expression is needed, not .* float"),
    (("user_e", sp.Integer(2)), "2 has no symbols"),
    (("user_e", sp.zeta(X)), "'user_e': graphc does not know the function zeta"),
    (("user_e", sp.Function("f")(X)), "does not know the function f"),
    (("user_e", sp.sqrt(-1 - X**2)), "has no real value"),
    (("user_e", sp.I * X), "I is no real number"),
    (("user_e", X + Y, [X]), "missing: y"),
    (("user_e", X, [X, X]), "list each symbol of the formula once"),
    (("user_e", sp.Matrix([X])), "a sympy expression is needed"),
    (
        ("user_e", sp.MatrixSymbol("A", 2, 2)[0, 0] * X),
        "A of type MatrixSymbol is no symbol",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_mistakes_have_one_clear_error(arguments, message):
    before = set(REGISTRY)
    with pytest.raises(cg.InputError, match=message):
        cg.elementwise(*arguments)
    assert set(REGISTRY) == before


def test_mistakes_in_calls():
    op = cg.elementwise("user_call", X * Y)
    with pytest.raises(TypeError, match=r"takes 2 positional arguments, but 1"):
        op(1.0)
    with pytest.raises(cg.DTypeError, match=r"user_call: 'a' of type str"):
        op("a", 1.0)
    with pytest.raises(cg.ShapeError, match=r"user_call: shapes do not broadcast"):
        op(cg.vector("a", 2), cg.vector("b", 3))


def test_the_limit_is_kept():
    with cg.config(symbolic_limit=1):
        with pytest.raises(
            cg.InputError, match=r"user_long.*2 scalar operations, more"
        ):
            cg.elementwise("user_long", sp.sin(sp.cos(X)))
