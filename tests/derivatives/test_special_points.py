"""Derivatives of every elementwise op at kinks, poles, ends of domains and infinities.

`SPECIAL` says what they are there; an op that has neither an entry nor its name among
`SMOOTH` fails a test. Behind a mask they are exactly zero, of every op, at every pair
of special numbers, in both modes and to third order.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from support.registry import FLOAT64, examples

import graphc as cg
from graphc.backends.reference import interpret
from graphc.derivatives.forward import push_forward
from graphc.derivatives.reverse import pull_back
from graphc.graph.graph import Graph
from graphc.ops.arithmetic import where
from graphc.ops.leaf import new_input, ones_like, zeros_like
from graphc.types.tensor_type import tensor_type

INF, NAN = math.inf, math.nan
HUGE, TINY = 1e308, 5e-324

EXAMPLES = [e for e in examples(differentiable=True) if e.node.dtype == FLOAT64]

SMOOTH = frozenset(
    ("add", "subtract", "multiply", "absolute_zero_multiply", "negative", "cast")
    + ("sin", "cos", "where")
)
"""Ops without kinks and poles, whose partials at infinity are nothing to fix."""

SPECIAL: dict[str, dict[tuple[float, ...], tuple[float, ...]]] = {
    # kinks: a subgradient in the middle, ties split evenly
    "abs": {(0.0,): (0.0,), (INF,): (1.0,)},
    "maximum": {(1.0, 1.0): (0.5, 0.5), (INF, INF): (0.5, 0.5), (INF, 1.0): (1.0, 0.0)},
    "minimum": {(1.0, 1.0): (0.5, 0.5), (-INF, 1.0): (1.0, 0.0)},
    "clip": {
        (0.0, 0.0, 1.0): (1.0, 0.0, 0.0),
        (1.0, 0.0, 1.0): (1.0, 0.0, 0.0),
        (2.0, 0.0, 1.0): (0.0, 0.0, 1.0),
        (INF, 0.0, 1.0): (0.0, 0.0, 1.0),
    },
    "hypot": {(0.0, 0.0): (0.0, 0.0), (0.0, 2.0): (0.0, 1.0)},
    # steps
    **{
        op: {(1.0,): (0.0,), (0.0,): (0.0,), (INF,): (0.0,)}
        for op in ("sign", "floor", "ceil", "trunc", "round")
    },
    "floor_divide": {(1.0, 0.0): (0.0, 0.0), (1.0, 1.0): (0.0, 0.0)},
    "remainder": {(1.0, 1.0): (1.0, -1.0), (0.0, 1.0): (1.0, 0.0)},
    "copysign": {(0.0, 1.0): (0.0,), (-3.0, 1.0): (-1.0,), (3.0, -0.0): (-1.0,)},
    # poles
    "divide": {(1.0, 0.0): (INF, -INF), (0.0, 1.0): (1.0, 0.0), (1.0, INF): (0.0, 0.0)},
    "reciprocal": {(0.0,): (-INF,), (INF,): (0.0,)},
    "log": {(0.0,): (INF,), (INF,): (0.0,)},
    "log2": {(0.0,): (INF,), (INF,): (0.0,)},
    "log10": {(0.0,): (INF,), (INF,): (0.0,)},
    "log1p": {(-1.0,): (INF,), (0.0,): (1.0,), (INF,): (0.0,)},
    "sqrt": {(0.0,): (INF,), (INF,): (0.0,), (-1.0,): (NAN,)},
    "rsqrt": {(0.0,): (-INF,), (INF,): (0.0,)},
    "cbrt": {(0.0,): (INF,), (-8.0,): (1 / 12,)},
    "integer_power": {},  # its exponents differ: see test_powers_at_zero
    "power": {
        (0.0, 0.0): (0.0, 0.0),
        (0.0, 1.0): (1.0, 0.0),
        (0.0, 2.0): (0.0, 0.0),
        (0.0, 0.5): (INF, 0.0),
        (1.0, 0.0): (0.0, 0.0),
    },
    "arcsin": {(1.0,): (INF,), (-1.0,): (INF,), (0.0,): (1.0,), (2.0,): (NAN,)},
    "arccos": {(1.0,): (-INF,), (-1.0,): (-INF,), (2.0,): (NAN,)},
    "arccosh": {(1.0,): (INF,), (INF,): (0.0,)},
    "arctanh": {(1.0,): (INF,), (-1.0,): (INF,)},
    "arctan2": {
        (0.0, 1.0): (1.0, 0.0),
        (1.0, 0.0): (0.0, -1.0),
        (0.0, -1.0): (-1.0, 0),
    },
    # no overflow on the way to a finite derivative
    "square": {(0.0,): (0.0,), (TINY,): (2 * TINY,)},
    "exp": {(-INF,): (0.0,), (-1000.0,): (0.0,), (1000.0,): (INF,)},
    "exp2": {(-INF,): (0.0,), (-2000.0,): (0.0,)},
    "expm1": {(-INF,): (0.0,), (0.0,): (1.0,)},
    "sigmoid": {(0.0,): (0.25,), (1000.0,): (0.0,), (-1000.0,): (0.0,), (INF,): (0.0,)},
    "softplus": {(0.0,): (0.5,), (1000.0,): (1.0,), (-INF,): (0.0,), (INF,): (1.0,)},
    "logaddexp": {
        (-INF, -INF): (0.5, 0.5),
        (INF, INF): (0.5, 0.5),
        (-INF, 0.0): (0.0, 1.0),
        (1000.0, -1000.0): (1.0, 0.0),
    },
    "tan": {(0.0,): (1.0,)},
    "arctan": {(INF,): (0.0,), (HUGE,): (0.0,)},
    "sinh": {(0.0,): (1.0,), (1000.0,): (INF,)},
    "cosh": {(0.0,): (0.0,), (-1000.0,): (-INF,)},
    "tanh": {(1000.0,): (0.0,), (-INF,): (0.0,), (0.0,): (1.0,)},
    "arcsinh": {(0.0,): (1.0,), (HUGE,): (1 / HUGE,), (INF,): (0.0,)},
    "erf": {(INF,): (0.0,), (1000.0,): (0.0,), (0.0,): (2 / math.sqrt(math.pi),)},
    "erfc": {(INF,): (0.0,), (-1000.0,): (0.0,)},
    "gammaln": {(1.0,): (-0.5772156649015329,), (INF,): (INF,)},
    "digamma": {(1.0,): (math.pi**2 / 6,), (INF,): (0.0,)},
    "polygamma": {},  # its orders differ; poles at 0, -1, ... are those of digamma
}


def by_label(cases):
    return pytest.mark.parametrize("e", cases, ids=lambda e: e.label)


def active(e):
    """Return the positions of arguments that carry a derivative."""
    return [
        p
        for p, rule in enumerate(e.node.op.partials)
        if rule is not None and e.inputs[p].dtype == FLOAT64
    ]


@by_label(EXAMPLES)
def test_every_op_is_listed(e):
    assert e.node.op.name in SMOOTH or e.node.op.name in SPECIAL, (
        f"say in SPECIAL what the derivative of {e.node.op.name} is at its kinks, "
        "poles and ends, or that it has none in SMOOTH"
    )


def partials_at(e, points):
    """Return the partial derivatives by both modes, asserted equal."""
    inputs = [
        new_input(f"x{i}", tensor_type((len(points),), x.dtype))
        for i, x in enumerate(e.inputs)
    ]
    y = e.node.op(*inputs, params=e.node.params)
    wrt = [inputs[p] for p in active(e)]
    reverse = pull_back([y], [ones_like(y)], wrt, "zero")
    forward = [push_forward([y], [w], [ones_like(w)], "zero")[0] for w in wrt]
    at = dict(zip(inputs, np.array(points, float).T))
    values = interpret(Graph(inputs, [*reverse, *forward]), at, {})
    np.testing.assert_array_equal(values[: len(wrt)], values[len(wrt) :])
    return np.array(values[: len(wrt)]).T


@by_label([e for e in EXAMPLES if SPECIAL.get(e.node.op.name)])
def test_special_points(e):
    table = SPECIAL[e.node.op.name]
    got = partials_at(e, list(table))
    np.testing.assert_allclose(got, list(table.values()), rtol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 3, 6, -1, -2, 0])
def test_powers_at_zero(n, evaluate):
    x = cg.scalar("x")
    expected = 1.0 if n == 1 else -INF if n < 0 else 0.0
    assert evaluate(cg.grad(x**n, x, disconnected="zero"), {x: 0.0}) == expected


NUMBERS = (0.0, -0.0, 1.0, -1.0, INF, -INF, NAN, HUGE, -HUGE, TINY, 1e3, -1e3)


@by_label([e for e in EXAMPLES if active(e)])
def test_behind_a_mask_every_derivative_is_zero(e):
    """Where the mask holds, derivatives to third order are finite."""
    places = active(e)
    repeat = len(places) if len(places) < 3 else 1
    points = np.array(list(itertools.product(NUMBERS, repeat=repeat)))
    points = np.broadcast_to(points, (len(points), repeat))
    count = len(points)
    inputs, arrays = [], []
    for i, (x, regular) in enumerate(zip(e.inputs, e.arrays)):
        special = np.resize(regular, count)
        if i in places:
            special = points[:, places.index(i) % repeat]
        arrays.append(np.concatenate([special, regular]))
        inputs.append(new_input(x.name, tensor_type(arrays[-1].shape, x.dtype)))
    mask = np.arange(count + 7) >= count
    y = e.node.op(*inputs, params=e.node.params)
    y = where(cg.constant(mask), y, zeros_like(y))
    wrt = [inputs[p] for p in places]
    first = _both_modes(y, wrt)
    second = [d for g in first[: len(wrt)] for d in _both_modes(g, wrt)]
    third = _both_modes(second[0], wrt)
    results = [*first, *second, *third]
    for value in interpret(Graph(inputs, results), dict(zip(inputs, arrays)), {}):
        np.testing.assert_array_equal(value[:count], np.zeros(count))
        assert np.isfinite(value[count:]).all()


def _both_modes(y, wrt):
    reverse = pull_back([y], [ones_like(y)], wrt, "zero")
    return [*reverse, *(push_forward([y], [w], [ones_like(w)], "zero")[0] for w in wrt)]


POLES = [
    e
    for e in EXAMPLES
    if len(active(e)) == 1
    and e.node.op.poles is not None
    and e.node.op.poles(*e.node.params, *e.node.args)
]


@by_label(POLES)
def test_zero_cotangent_at_a_pole(e, evaluate):
    """An element that the result does not use adds nothing, be its partial infinite."""
    poles = [p[0] for p in NUMBERS_OF_POLES if _is_pole(e, p)]
    assert poles or e.node.op.name in ("polygamma", "gammaln", "digamma")
    x = cg.vector("x", len(poles) + 1)
    y = e.node.op(x, params=e.node.params)
    at = {x: np.array([*poles, e.arrays[active(e)[0]][0]])}
    weights = np.zeros((1, len(poles) + 1))
    weights[0, -1] = 1.0
    # scattered into zeros: the cotangent of the rest is a zero that is no mask
    g = cg.vjp(y, x, cg.vjp(x[-1:], x, np.ones(1)))
    got = evaluate(g, at)
    np.testing.assert_array_equal(got[:-1], np.zeros(len(poles)))
    assert np.isfinite(got[-1])


NUMBERS_OF_POLES = ((0.0,), (1.0,), (-1.0,))


def _is_pole(e, point):
    with np.errstate(all="ignore"):
        return not np.isfinite(partials_at(e, [point])).all()


# ---------------------------------------------------------------- composite ones


def test_norms_and_deviations_where_they_are_zero(evaluate):
    """First derivatives are zero; the second do not exist and are not finite."""
    x = cg.vector("x", 3)
    for y, at in (
        (cg.linalg.norm(x), np.zeros(3)),
        (cg.sqrt((x * x).sum()), np.zeros(3)),
        (cg.std(x), np.ones(3)),
    ):
        assert not evaluate(cg.grad(y, x), {x: at}).any()
        hessian = evaluate(cg.hessian(y, x), {x: at})
        assert not np.isfinite(np.diag(hessian)).any()
        masked = cg.where(y > 0, y, 0.0)
        for result in (cg.grad(masked, x), cg.hessian(masked, x)):
            assert not evaluate(result, {x: at}).any()


PRODUCTS = {
    "matmul": lambda x, m: cg.matmul(np.ones((3, 3)), cg.where(m, cg.log(x), 0.0)),
    "sum": lambda x, m: cg.where(m, cg.sqrt(x), 0.0).sum(),
    "mean of squares": lambda x, m: (cg.where(m, 1 / x, 0.0) ** 2).mean(),
    "cumsum": lambda x, m: cg.cumsum(cg.where(m, x**-1.5, 0.0)),
    "prod": lambda x, m: cg.prod(cg.where(m, cg.log(x), 1.0)),
    "softmax": lambda x, m: cg.nn.softmax(cg.where(m, cg.log(x), -INF)),
    "logsumexp": lambda x, m: cg.nn.logsumexp(cg.where(m, cg.log(x), -INF)),
    "maximum": lambda x, m: cg.maximum(cg.where(m, cg.log(x), -INF), 0.1),
    "gather": lambda x, m: cg.where(m, cg.log(x), 0.0)[[0, 1, 1, 2]],
    "norm": lambda x, m: cg.linalg.norm(cg.where(m, cg.log(x), 0.0)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_masks_before_products_and_sums(name, evaluate):
    x = cg.vector("x", 3)
    at = {x: np.array([2.0, 0.0, 3.0])}
    y = PRODUCTS[name](x, x > 0)
    y = (y * np.arange(1.0, 1 + y.size).reshape(y.shape)).sum()
    gradient, hessian, reverse, product = evaluate(
        [
            cg.grad(y, x),
            cg.hessian(y, x),
            cg.hessian(y, x, mode="reverse"),
            cg.hvp(y, x, np.ones(3)),
        ],
        at,
    )
    assert gradient[1] == 0
    assert np.isfinite(gradient).all()
    for h in (hessian, reverse):
        assert np.isfinite(h).all()
        assert not h[1].any()
        assert not h[:, 1].any()
        np.testing.assert_allclose(h.sum(axis=1), product, rtol=1e-10, atol=1e-12)
