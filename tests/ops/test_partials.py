"""Derivatives of every elementwise op: sympy, differences, duality, kinks, poles."""

from __future__ import annotations

import numpy as np
import pytest
from support.registry import (
    ELEMENTWISE,
    FLOAT64,
    Example,
    evaluate,
    examples,
    samples,
)

from graphc.derivatives.forward import push_forward
from graphc.derivatives.reverse import pull_back
from graphc.graph.node import Node
from graphc.ops import arithmetic, elementwise, powers, rounding, special
from graphc.ops.arithmetic import apply, where
from graphc.ops.declare import Select
from graphc.ops.leaf import constant, new_input
from graphc.ops.reduce import sum_
from graphc.types.tensor_type import tensor_type

DIFFERENTIABLE = [e for e in examples(differentiable=True) if e.node.dtype.kind == "f"]
STEPS = {"sign", "floor", "ceil", "trunc", "round", "floor_divide"}
SINGLE = {"cast-float32"}
DOUBLE = [e for e in DIFFERENTIABLE if e.label not in SINGLE]  # fine for differences


def label(e):
    return e.label


def positions(e: Example) -> list[int]:
    return [p for p, rule in enumerate(e.node.op.partials) if rule is not None]


def floats(e: Example) -> list[int]:
    return [p for p in positions(e) if e.inputs[p].dtype == FLOAT64]


def as_node(factor, like: Node) -> Node:
    """Return a partial derivative as a node."""
    if isinstance(factor, Select):
        return where(
            factor.condition, as_node(factor.yes, like), as_node(factor.no, like)
        )
    return factor if isinstance(factor, Node) else constant(factor, like.dtype)


def away_from_steps(e: Example) -> Example:
    """Return an example whose arguments are not close to a step or tie."""
    step = 0.013
    arrays = tuple(
        np.where(np.abs(a - np.rint(a * 2) / 2) < step, a + 2 * step, a)
        if a.dtype == FLOAT64
        else a
        for a in e.arrays
    )
    return e._replace(arrays=arrays)


# --------------------------------------------------------------- against sympy


@pytest.mark.parametrize("e", DIFFERENTIABLE, ids=label)
def test_partials_are_sympys(e):
    sympy = pytest.importorskip("sympy")
    e = away_from_steps(e)
    op = e.node.op
    symbols = [
        sympy.Symbol(f"x{i}", **({"real": True} if a.dtype == FLOAT64 else {}))
        for i, a in enumerate(e.arrays)
    ]
    formula = op.sympy_of(e.node, sympy, *symbols)
    for p in positions(e):
        partial = as_node(op.partials[p](*e.inputs, e.node), e.node)
        value = np.broadcast_to(e.run(partial), (7,))
        slope = sympy.diff(formula, symbols[p])
        # sympy knows no derivative of the steps, which is 0 away from them.
        steps = dict.fromkeys(slope.atoms(sympy.Derivative, sympy.Subs), 0)
        slope = slope.subs(steps)
        for i in range(7):
            at = {
                s: bool(a[i]) if a.dtype == bool else sympy.Float(float(a[i]), 30)
                for s, a in zip(symbols, e.arrays)
            }
            expected = float(slope.subs(at).evalf(30))
            rtol = 1e-12 if e.node.dtype == FLOAT64 else 1e-6
            np.testing.assert_allclose(value[i], expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    "op",
    # sympy's operators on bits are those of logic.
    [o for o in ELEMENTWISE if o.sympy and not o.name.startswith("bitwise_")],
    ids=lambda op: op.name,
)
def test_sympy_formula_has_the_value(op):
    sympy = pytest.importorskip("sympy")
    for e in examples():
        if e.node.op is not op:
            continue
        formula_at = [sympy.Symbol(f"x{i}", real=True) for i in range(op.arity)]
        booleans = [a.dtype == bool for a in e.arrays]
        formula_at = [
            sympy.Symbol(f"b{i}") if b else s
            for i, (s, b) in enumerate(zip(formula_at, booleans))
        ]
        formula = op.sympy_of(e.node, sympy, *formula_at)
        value = e.run()
        for i in range(7):
            at = {
                s: sympy.true if b and a[i] else sympy.false if b else float(a[i])
                for s, a, b in zip(formula_at, e.arrays, booleans)
            }
            answer = formula.subs(at)
            got = bool(answer) if value.dtype == bool else float(answer.evalf())
            rtol = 1e-12 if e.node.dtype == FLOAT64 else 1e-6
            np.testing.assert_allclose(got, value[i], rtol=rtol, atol=rtol)


# ---------------------------------------------------------- against differences


def like(x: Node, name: str) -> Node:
    return new_input(name, tensor_type(x.shape, x.dtype))


def tangent_example(e: Example, seed: int = 5):
    """Return the tangent of an example's node, its inputs and their arrays."""
    where_ = floats(e)
    tangents = [like(e.inputs[p], f"t{p}") for p in where_]
    (out,) = push_forward([e.node], [e.inputs[p] for p in where_], tangents)
    arrays = [samples((-1, 1), (7,), FLOAT64, seed + p) for p in where_]
    return out, tangents, arrays


def moved(e: Example, arrays, h: float) -> tuple[np.ndarray, ...]:
    out = list(e.arrays)
    for p, t in zip(floats(e), arrays):
        out[p] = out[p] + h * t
    return tuple(out)


@pytest.mark.parametrize("e", DOUBLE, ids=label)
def test_jvp_is_the_central_difference(e):
    e = away_from_steps(e)
    out, tangents, arrays = tangent_example(e)
    value = evaluate(out, (*e.inputs, *tangents), (*e.arrays, *arrays))
    h = 1e-6
    up, down = (evaluate(e.node, e.inputs, moved(e, arrays, s * h)) for s in (1, -1))
    difference = (up - down) / (2 * h)
    np.testing.assert_allclose(
        value, difference, rtol=1e-6, atol=1e-7 * (1 + np.abs(difference).max())
    )


@pytest.mark.parametrize("e", DIFFERENTIABLE, ids=label)
def test_vjp_is_the_transpose_of_jvp(e):
    out, tangents, arrays = tangent_example(e)
    inputs, values = (*e.inputs, *tangents), (*e.arrays, *arrays)
    cotangent = samples((-1, 1), (7,), FLOAT64, 99).astype(e.node.dtype)
    wrt = [e.inputs[p] for p in floats(e)]
    back = pull_back([e.node], [constant(cotangent)], wrt)
    right = np.sum(cotangent * evaluate(out, inputs, values))
    left = sum(np.sum(t * evaluate(b, inputs, values)) for t, b in zip(arrays, back))
    np.testing.assert_allclose(left, right, rtol=1e-6 if e.label in SINGLE else 1e-12)


@pytest.mark.parametrize("e", DOUBLE, ids=label)
@pytest.mark.parametrize("outer", ["forward", "reverse"])
def test_second_order_is_the_difference_of_the_first(e, outer):
    e = away_from_steps(e)
    wrt = [e.inputs[p] for p in floats(e)]
    cotangent = constant(samples((0.5, 1), (7,), FLOAT64, 99))
    first = pull_back([e.node], [cotangent], wrt)
    arrays = [samples((-1, 1), (7,), FLOAT64, 50 + p) for p in floats(e)]
    h = 1e-6
    up, down = (
        [evaluate(g, e.inputs, moved(e, arrays, s * h)) for g in first] for s in (1, -1)
    )
    differences = [(u - d) / (2 * h) for u, d in zip(up, down)]
    tangents = [constant(a) for a in arrays]
    if outer == "forward":
        second = push_forward(first, wrt, tangents, disconnected="zero")
        for s, d in zip(second, differences):
            scale = 1 + np.abs(d).max()
            np.testing.assert_allclose(e.run(s), d, rtol=1e-5, atol=1e-7 * scale)
        return
    # By symmetry: differentiating <t, first> gives the same.
    terms = [
        sum_(arithmetic.multiply(t, g), params=((0,),)) for t, g in zip(tangents, first)
    ]
    total = terms[0]
    for t in terms[1:]:
        total = arithmetic.add(total, t)
    second = pull_back([total], [constant(1.0)], wrt, disconnected="zero")
    for s, d in zip(second, differences):
        scale = 1 + np.abs(d).max()
        np.testing.assert_allclose(e.run(s), d, rtol=1e-5, atol=1e-7 * scale)


@pytest.mark.parametrize("e", DIFFERENTIABLE, ids=label)
def test_derivatives_keep_single_precision(e):
    dtypes = [np.float32 if x.dtype == FLOAT64 else x.dtype for x in e.inputs]
    inputs = [new_input("x", tensor_type((7,), d)) for d in dtypes]
    node = e.node.op(*inputs, params=e.node.params)
    wrt = [inputs[p] for p in floats(e)]
    back = pull_back([node], [constant(np.ones(7), node.dtype)], wrt)
    assert all(b.dtype == np.float32 for b in back)
    assert all(b.shape == (7,) for b in back)


@pytest.mark.parametrize(
    "e", [e for e in DIFFERENTIABLE if e.node.op.arity > 1], ids=label
)
def test_broadcast_operands_get_summed_cotangents(e):
    op = e.node.op
    where_ = floats(e)
    for stretched in where_:
        inputs = list(e.inputs)
        inputs[stretched] = new_input("s", tensor_type((1,), FLOAT64))
        arrays = list(e.arrays)
        arrays[stretched] = arrays[stretched][:1]
        node = op(*inputs, params=e.node.params)
        (small,) = pull_back([node], [constant(np.ones(7))], [inputs[stretched]])
        assert small.shape == (1,)
        full = list(arrays)
        full[stretched] = np.repeat(arrays[stretched], 7)
        (large,) = pull_back([e.node], [constant(np.ones(7))], [e.inputs[stretched]])
        np.testing.assert_allclose(
            evaluate(small, inputs, arrays),
            [evaluate(large, e.inputs, full).sum()],
            rtol=1e-12,
            atol=1e-12,
        )


# ------------------------------------------------- kinks, poles, ends of ranges

INF = np.inf


def at(function, points, order=1):
    """Return the derivative of an order of a function at points, and in forward mode.

    The reverse mode gives the first derivative; both modes give the last and must
    agree.
    """
    points = np.asarray(points, float)
    x = new_input("x", tensor_type(points.shape, FLOAT64))
    ones = constant(np.ones(points.shape))
    out = function(x)
    for _ in range(order - 1):
        (out,) = pull_back([out], [ones], [x])
    (back,) = pull_back([out], [ones], [x], disconnected="zero")
    (forth,) = push_forward([out], [x], [ones], disconnected="zero")
    values = [evaluate(n, [x], [points]) for n in (back, forth)]
    np.testing.assert_allclose(*values, rtol=1e-12)
    return values[0]


def masked_log(x):
    return apply(where, x > 0, elementwise.log(x), 0)


def root_of_masked(x):
    return powers.sqrt(apply(where, x > 0, x, 0))


def handmade_softplus(x):
    return apply(where, x > 20, x, elementwise.log1p(elementwise.exp(x)))


def power_of(y):
    return lambda x: apply(powers.power, x, y)


def variable_power(y):
    """Return x**y for an exponent that graphc does not know."""

    def function(x):
        hidden = arithmetic.stop_gradient(constant(float(y)))
        return powers.power(x, hidden)

    return function


def exponential_of(base):
    def function(y):
        return powers.power(arithmetic.stop_gradient(constant(float(base))), y)

    return function


KINKS = [
    # name, function, points, first derivatives
    ("abs", rounding.absolute, [-2, 0, 3], [-1, 0, 1]),
    ("sign", rounding.sign, [-2, 0, 3], [0, 0, 0]),
    ("floor", rounding.floor, [-1.5, 0, 1], [0, 0, 0]),
    ("maximum", lambda x: apply(arithmetic.maximum, x, 0), [-1, 0, 1], [0, 0.5, 1]),
    ("minimum", lambda x: apply(arithmetic.minimum, 0, x), [-1, 0, 1], [1, 0.5, 0]),
    (
        "clip",
        lambda x: apply(arithmetic.clip, x, -1, 1),
        [-2, -1, 0, 1, 2],
        [0, 1, 1, 1, 0],
    ),
    (
        "clip crossed",
        lambda x: apply(arithmetic.clip, x, 1, -1),
        [-2, -1, 0, 1, 2],
        [0, 0, 0, 0, 0],
    ),
    ("copysign", lambda x: apply(rounding.copysign, x, -2), [-2, 0, 3], [1, 0, -1]),
    ("masked log", masked_log, [-1, 0, 2], [0, 0, 0.5]),
    ("root of masked", root_of_masked, [-1, 0, 4], [0, 0, 0.25]),
    ("handmade softplus", handmade_softplus, [-1000, 0, 1000], [0, 0.5, 1]),
    (
        "masked quotient",
        lambda x: apply(where, arithmetic.equal(x, constant(0.0)), 1, 1 / x),
        [0, 2],
        [0, -0.25],
    ),
    (
        "masked arcsin",
        lambda x: apply(where, rounding.absolute(x) < 1, elementwise.arcsin(x), 0),
        [-2, -1, 0, 1, 2],
        [0, 0, 1, 0, 0],
    ),
    (
        "masked power",
        lambda x: apply(where, x > 0, apply(powers.power, x, 1.5), 0),
        [-1, 0, 4],
        [0, 0, 3],
    ),
    (
        "masked exp",
        lambda x: apply(where, x < 1, elementwise.exp(x), 0),
        [0, 1e4],
        [1, 0],
    ),
    ("softplus", elementwise.softplus, [-1000, 0, 1000], [0, 0.5, 1]),
    ("sigmoid", elementwise.sigmoid, [-1000, 0, 1000], [0, 0.25, 0]),
    ("tanh", elementwise.tanh, [-1000, 0, 1000], [0, 1, 0]),
    ("arctan", elementwise.arctan, [-1e200, 0, 1e200], [0, 1, 0]),
    ("arcsinh", elementwise.arcsinh, [-1e200, 0, 1e200], [1e-200, 1, 1e-200]),
    ("arccosh", elementwise.arccosh, [1e200], [1e-200]),
    ("arcsin ends", elementwise.arcsin, [-1, 1], [INF, INF]),
    ("arccos ends", elementwise.arccos, [-1, 1], [-INF, -INF]),
    ("sqrt", powers.sqrt, [0, 4], [INF, 0.25]),
    ("cbrt", powers.cbrt, [-8, 0, 8], [1 / 12, INF, 1 / 12]),
    ("log", elementwise.log, [0, 4], [INF, 0.25]),
    ("log1p", elementwise.log1p, [-1, 0], [INF, 1]),
    ("x**2", power_of(2), [-3, 0, 3], [-6, 0, 6]),
    ("x**3", power_of(3), [-3, 0, 3], [27, 0, 27]),
    ("x**1", power_of(1), [-3, 0], [1, 1]),
    ("x**0", power_of(0), [-3, 0], [0, 0]),
    ("x**-1", power_of(-1), [-2, 4], [-0.25, -0.0625]),
    ("x**-2 small", power_of(-2), [1e-80, -1e-80], [-2e240, 2e240]),
    ("x**y, y=0", variable_power(0), [-3, 0, 3], [0, 0, 0]),
    ("x**y, y=1", variable_power(1), [-3, 0, 3], [1, 1, 1]),
    ("x**y, y=2", variable_power(2), [-3, 0, 3], [-6, 0, 6]),
    ("x**y, y=0.5", variable_power(0.5), [0, 4], [INF, 0.25]),
    ("0**y", exponential_of(0), [0, 1, 2.5], [0, 0, 0]),
    ("2**y", exponential_of(2), [0, 1], [np.log(2), 2 * np.log(2)]),
    (
        "hypot",
        lambda x: apply(elementwise.hypot, x, 0),
        [-1e200, 0, 1e200],
        [-1, 0, 1],
    ),
    (
        "logaddexp",
        lambda x: apply(elementwise.logaddexp, x, 0),
        [-1000, 0, 1000],
        [0, 0.5, 1],
    ),
    (
        "logaddexp of equal infinities",
        lambda x: elementwise.logaddexp(x, arithmetic.stop_gradient(x)),
        [-INF, 3, INF],
        [0.5, 0.5, 0.5],
    ),
    ("arctan2", lambda y: apply(elementwise.arctan2, y, 1e200), [1e200], [5e-201]),
    ("erf", special.erf, [-1e200, 1e200], [0, 0]),
    ("remainder", lambda x: apply(arithmetic.remainder, x, 2), [-1, 0, 3], [1, 1, 1]),
]

SECOND = [
    # name, function, points, second derivatives
    ("abs", rounding.absolute, [-2, 0, 3], [0, 0, 0]),
    ("masked log", masked_log, [-1, 0, 2], [0, 0, -0.25]),
    ("root of masked", root_of_masked, [-1, 0, 4], [0, 0, -1 / 32]),
    ("handmade softplus", handmade_softplus, [-1000, 0, 1000], [0, 0.25, 0]),
    (
        "masked arcsin",
        lambda x: apply(where, rounding.absolute(x) < 1, elementwise.arcsin(x), 0),
        [-2, -1, 0, 1, 2],
        [0, 0, 0, 0, 0],
    ),
    ("softplus", elementwise.softplus, [-1000, 0, 1000], [0, 0.25, 0]),
    ("sigmoid", elementwise.sigmoid, [-1000, 0, 1000], [0, 0, 0]),
    ("tanh", elementwise.tanh, [-1000, 0, 1000], [0, 0, 0]),
    ("x**2", power_of(2), [-3, 0, 3], [2, 2, 2]),
    ("x**3", power_of(3), [-3, 0, 3], [-18, 0, 18]),
    ("x**y, y=0", variable_power(0), [-3, 0, 3], [0, 0, 0]),
    ("x**y, y=1", variable_power(1), [-3, 0, 3], [0, 0, 0]),
    ("x**y, y=2", variable_power(2), [-3, 0, 3], [2, 2, 2]),
    ("2**y", exponential_of(2), [0, 1], [np.log(2) ** 2, 2 * np.log(2) ** 2]),
    (
        "logaddexp",
        lambda x: apply(elementwise.logaddexp, x, 0),
        [-1000, 0, 1000],
        [0, 0.25, 0],
    ),
    ("quotient", lambda x: 1 / x, [-2, 2], [-0.25, 0.25]),
    ("digamma", special.digamma, [1], [-2.4041138063191885]),
]


def name(case):
    return case if isinstance(case, str) else ""


@pytest.mark.parametrize(("name", "function", "points", "expected"), KINKS, ids=name)
def test_first_derivative_at_kinks_and_poles(name, function, points, expected):
    np.testing.assert_allclose(at(function, points), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("name", "function", "points", "expected"), SECOND, ids=name)
def test_second_derivative_at_kinks_and_poles(name, function, points, expected):
    np.testing.assert_allclose(at(function, points, 2), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("name", "function", "points", "expected"), KINKS, ids=name)
def test_a_direction_of_zero_has_a_second_derivative_of_zero(
    name, function, points, expected
):
    points = np.asarray(points, float)
    x = new_input("x", tensor_type(points.shape, FLOAT64))
    (first,) = pull_back([function(x)], [constant(np.ones(points.shape))], [x])
    zero = new_input("zero", tensor_type(points.shape, FLOAT64))
    (second,) = push_forward([first], [x], [zero], disconnected="zero")
    value = evaluate(second, [x, zero], [points, np.zeros(points.shape)])
    np.testing.assert_array_equal(value, np.zeros(points.shape))


def test_norm_at_zero():
    x = new_input("x", tensor_type((3,), FLOAT64))
    norm = powers.sqrt(sum_(arithmetic.multiply(x, x), params=((0,),)))
    squared = powers.sqrt(sum_(powers.square(x), params=((0,),)))
    for y in (norm, squared):
        (slope,) = pull_back([y], [constant(1.0)], [x])
        np.testing.assert_array_equal(evaluate(slope, [x], [np.zeros(3)]), np.zeros(3))
        (forth,) = push_forward([y], [x], [constant(np.ones(3))])
        assert evaluate(forth, [x], [np.zeros(3)]) == 0


def test_both_operands_of_a_tie_share():
    x = new_input("x", tensor_type((2,), FLOAT64))
    y = new_input("y", tensor_type((2,), FLOAT64))
    for op in (arithmetic.minimum, arithmetic.maximum):
        back = pull_back([op(x, y)], [constant(np.ones(2))], [x, y])
        for b in back:
            values = evaluate(b, [x, y], [np.array([1.0, INF])] * 2)
            np.testing.assert_array_equal(values, [0.5, 0.5])


def test_bounds_of_clip_get_what_the_argument_does_not():
    inputs = [new_input(n, tensor_type((6,), FLOAT64)) for n in ("x", "low", "high")]
    arrays = [
        np.array([-3.0, -1.0, 0.0, 1.0, 3.0, 0.0]),
        np.array([-1.0, -1.0, -1.0, -1.0, -1.0, 2.0]),
        np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ]
    back = pull_back([arithmetic.clip(*inputs)], [constant(np.ones(6))], inputs)
    shares = [evaluate(b, inputs, arrays) for b in back]
    np.testing.assert_array_equal(sum(shares), np.ones(6))
    np.testing.assert_array_equal(shares[0], [0, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(shares[2], [0, 0, 0, 0, 1, 1])


def test_mixed_second_derivative_of_a_power_at_exponent_zero():
    x = new_input("x", tensor_type((), FLOAT64))
    y = new_input("y", tensor_type((), FLOAT64))
    (by_x,) = pull_back([powers.power(x, y)], [constant(1.0)], [x])
    (mixed,) = pull_back([by_x], [constant(1.0)], [y])
    value = evaluate(mixed, [x, y], [np.array(4.0), np.array(0.0)])
    np.testing.assert_allclose(value, 0.25)
