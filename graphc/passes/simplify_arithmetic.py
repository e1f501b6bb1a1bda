"""Simplification of sums, products, quotients and powers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops import elementwise as el
from graphc.ops import logic, powers, rounding
from graphc.ops.leaf import uniform_value
from graphc.passes.patterns import (
    as_typed,
    exactly,
    is_number,
    number,
    scalar,
    signed,
    uniform,
)
from graphc.passes.rewrite import RuleSet
from graphc.types.dtypes import is_float

rules = RuleSet()

COMMUTATIVE = (
    *(ar.add, ar.multiply, ar.absolute_zero_multiply, ar.minimum, ar.maximum),
    *(ar.equal, ar.not_equal, logic.logical_and, logic.logical_or),
    *(logic.logical_xor, logic.bitwise_and, logic.bitwise_or, logic.bitwise_xor),
    *(el.logaddexp, el.hypot),
)
MIRRORED = {
    ar.less: ar.greater,
    ar.less_equal: ar.greater_equal,
    ar.greater: ar.less,
    ar.greater_equal: ar.less_equal,
}


@rules.on(*COMMUTATIVE, *MIRRORED)
def constant_second(node: Node) -> Node | None:
    """c + x -> x + c, and so for all commutative ops and comparisons."""
    x, y = node.args
    if uniform_value(x) is None or uniform_value(y) is not None:
        return None
    return MIRRORED.get(node.op, node.op)(y, x)


# ------------------------------------------------------------ neutral elements


@rules.on(ar.add, ar.subtract, changes_zero_sign=True)
def add_zero(node: Node) -> Node | None:
    """x + 0 -> x, and x - 0."""
    x, y = node.args
    return as_typed(x, node) if is_number(y, 0) else None


@rules.on(ar.subtract, changes_zero_sign=True)
def subtract_from_zero(node: Node) -> Node | None:
    """0 - x -> -x."""
    x, y = node.args
    return as_typed(ar.negative(y), node) if is_number(x, 0) else None


@rules.on(ar.multiply, ar.divide)
def multiply_by_one(node: Node) -> Node | None:
    """x * 1 -> x, and x / 1."""
    x, y = node.args
    return as_typed(x, node) if is_number(y, 1) else None


@rules.on(ar.multiply, ar.divide)
def multiply_by_minus_one(node: Node) -> Node | None:
    """x * -1 -> -x, and x / -1."""
    x, y = node.args
    if not (signed(node) and is_number(y, -1)):
        return None
    return as_typed(ar.negative(x), node)


@rules.on(ar.multiply)
def multiply_integer_by_zero(node: Node) -> Node | None:
    """x * 0 -> 0, for integers; a float may be infinite."""
    if not is_float(node.dtype) and is_number(node.args[1], 0):
        return uniform(0, node)
    return None


@rules.on(ar.subtract)
def subtract_integer_itself(node: Node) -> Node | None:
    """x - x -> 0, for integers; a float may be infinite."""
    x, y = node.args
    return uniform(0, node) if x is y and not is_float(node.dtype) else None


@rules.on(ar.minimum, ar.maximum)
def extremum_with_infinity(node: Node) -> Node | None:
    """min(x, inf) -> x, and max(x, -inf)."""
    x, y = node.args
    limit = np.inf if node.op is ar.minimum else -np.inf
    return as_typed(x, node) if is_number(y, limit) else None


@rules.on(
    ar.minimum,
    ar.maximum,
    logic.logical_and,
    logic.logical_or,
    logic.bitwise_and,
    logic.bitwise_or,
)
def of_itself(node: Node) -> Node | None:
    """max(x, x) -> x, and so min, and, or."""
    x, y = node.args
    return x if x is y else None


# --------------------------------------------------------------------- negation


@rules.on(ar.negative)
def negative_twice(node: Node) -> Node | None:
    """--x -> x."""
    match node.args:
        case (Node(ar.negative, (x,)),):
            return x
    return None


@rules.on(ar.add)
def add_negative(node: Node) -> Node | None:
    """x + -y -> x - y, and -y + x."""
    match node.args:
        case (x, Node(ar.negative, (y,))):
            return ar.subtract(x, y)
        case (Node(ar.negative, (y,)), x):
            return ar.subtract(x, y)
    return None


@rules.on(ar.subtract)
def subtract_negative(node: Node) -> Node | None:
    """x - -y -> x + y."""
    match node.args:
        case (x, Node(ar.negative, (y,))):
            return ar.add(x, y)
    return None


@rules.on(ar.negative, changes_zero_sign=True)
def negative_difference(node: Node) -> Node | None:
    """-(x - y) -> y - x."""
    match node.args:
        case (Node(ar.subtract, (x, y)),):
            return ar.subtract(y, x)
    return None


@rules.on(ar.multiply, ar.absolute_zero_multiply, ar.divide, changes_zero_sign=True)
def negative_factor(node: Node) -> Node | None:
    """-x * y -> -(x * y), and x * -y, and quotients.

    Only of a factor of full size: a smaller one is cheaper to negate.
    """
    match node.args:
        case (Node(ar.negative, (x,)), y) if x.shape == node.shape:
            return ar.negative(node.op(x, y))
        case (x, Node(ar.negative, (y,))) if y.shape == node.shape:
            return ar.negative(node.op(x, y))
    return None


@rules.on(ar.negative)
def negative_of_scaled(node: Node) -> Node | None:
    """-(x * c) -> x * -c, and -(x / c), -(c / x)."""
    match node.args:
        case (Node(ar.multiply | ar.divide as op, (x, c)),):
            if uniform_value(c) is not None:
                return as_typed(op(x, ar.negative(c)), node)
            if uniform_value(x) is not None:
                return as_typed(op(ar.negative(x), c), node)
    return None


EVEN = (powers.square, rounding.absolute, el.cos, el.cosh, powers.integer_power_)


@rules.on(*EVEN)
def even_function(node: Node) -> Node | None:
    """f(-x) -> f(x), and f(abs(x)), for even f."""
    if node.op is powers.integer_power_ and node.params[0] % 2:
        return None
    match node.args:
        case (Node(ar.negative | rounding.absolute, (x,)),) if is_float(x.dtype):
            return node.op(x, params=node.params)
    return None


@rules.on(rounding.absolute, changes_zero_sign=True)
def absolute_of_not_negative(node: Node) -> Node | None:
    """abs(x) -> x, where x is an exp, square, sqrt or the like."""
    (x,) = node.args
    if not is_float(x.dtype) or not x.args:
        return None
    return x if x.op.sign_of(x, [""] * len(x.args)) else None


# -------------------------------------------------------------- equal operands


@rules.on(ar.add)
def add_itself(node: Node) -> Node | None:
    """x + x -> x * 2."""
    x, y = node.args
    return ar.multiply(x, scalar(2, x)) if x is y and x.dtype.kind != "b" else None


@rules.on(ar.multiply, ar.absolute_zero_multiply)
def multiply_itself(node: Node) -> Node | None:
    """x * x -> square(x)."""
    x, y = node.args
    return powers.square(x) if x is y and x.dtype.kind != "b" else None


# ---------------------------------------------------------------- absolute zero


@rules.on(ar.absolute_zero_multiply)
def absolute_zero(node: Node) -> Node | None:
    """absolute_zero_multiply(x, 0) -> 0."""
    return uniform(0, node) if is_number(node.args[1], 0) else None


@rules.on(ar.absolute_zero_multiply, changes_zero_sign=True)
def absolute_zero_by_constant(node: Node) -> Node | None:
    """absolute_zero_multiply(x, c) -> x * c, for a finite c but 0."""
    x, y = node.args
    c = number(y)
    if c is None or c == 0 or not np.isfinite(c):
        return None
    return ar.multiply(x, y)


@rules.on(ar.absolute_zero_multiply, changes_zero_sign=True)
def absolute_zero_of_mask(node: Node) -> Node | None:
    """absolute_zero_multiply(where(m, a, b), y) -> where(m, a * y, b * y).

    For finite constants a and b of which one is 0: that case gives 0.
    """
    for mask, y in (node.args, node.args[::-1]):
        match mask:
            case Node(ar.where, (m, yes, no)):
                a, b = number(yes), number(no)
                if a is None or b is None or not np.isfinite((a, b)).all():
                    continue
                if (a == 0) == (b == 0):
                    continue
                zero = scalar(0, y)
                scaled = ar.multiply(y, scalar(a if b == 0 else b, y))
                chosen = (zero, scaled) if a == 0 else (scaled, zero)
                return as_typed(ar.where(m, *chosen), node)
    return None


# -------------------------------------------------------------------- constants

Combine = Callable[[Any, Any], Any]


def _scaling(node: Node) -> tuple[Node, Any, bool] | None:
    """Read a node as ``x * c`` or ``x / c``: x, c and whether it divides."""
    if node.op is not ar.multiply and node.op is not ar.divide:
        return None
    x, y = node.args
    c = number(y)
    if c is None or number(x) is not None:
        return None
    return x, c, node.op is ar.divide


def _joint_scaling(node: Node, combine: Any) -> Node | None:
    """Return ``(x * c) * d`` as one product or quotient, if `combine` allows."""
    outer = _scaling(node)
    inner = None if outer is None else _scaling(outer[0])
    if outer is None or inner is None:
        return None
    (_, d, divides), (x, c, divided) = outer, inner
    if x.dtype != node.dtype:
        return None
    if divides == divided:
        both = combine(operator.mul, c, d, node.dtype)
        attempts = [(node.op, both)]
    else:
        factor, divisor = (c, d) if divides else (d, c)
        attempts = [
            (ar.multiply, combine(operator.truediv, factor, divisor, node.dtype)),
            (ar.divide, combine(operator.truediv, divisor, factor, node.dtype)),
        ]
    for op, value in attempts:
        if value is not None and value != 0:
            return as_typed(op(x, scalar(value, x)), node)
    return None


@rules.on(ar.multiply, ar.divide)
def scale_twice(node: Node) -> Node | None:
    """(x * c) * d -> x * (c * d), where c * d is not rounded; and quotients.

    One rounding instead of two, and no overflow halfway.
    """
    return _joint_scaling(node, exactly)


def _rounded(combine: Combine, a: Any, b: Any, dtype: np.dtype) -> Any:
    with np.errstate(all="ignore"):
        value = dtype.type(combine(a, b))
    return value if np.isfinite(value) else None


@rules.on(ar.multiply, ar.divide, changes_rounding=True)
def scale_twice_rounded(node: Node) -> Node | None:
    """(x * c) * d -> x * (c * d), also where c * d is rounded; and quotients."""
    return _joint_scaling(node, _rounded) if is_float(node.dtype) else None


def _scaled(x: Node, factor: Any, node: Node) -> Node | None:
    return as_typed(ar.multiply(x, scalar(factor, x)), node)


@rules.on(ar.divide)
def divide_by_power_of_two(node: Node) -> Node | None:
    """x / c -> x * (1 / c), where 1 / c is not rounded."""
    x, y = node.args
    c = number(y)
    if c is None or number(x) is not None:
        return None
    inverse = exactly(operator.truediv, c.dtype.type(1), c, c.dtype)
    return None if inverse is None else _scaled(x, inverse, node)


@rules.on(ar.divide, changes_rounding=True)
def divide_by_constant(node: Node) -> Node | None:
    """x / c -> x * (1 / c)."""
    x, y = node.args
    c = number(y)
    if c is None or number(x) is not None or c == 0 or not np.isfinite(c):
        return None
    with np.errstate(all="ignore"):
        inverse = 1 / c
    return _scaled(x, inverse, node) if np.isfinite(inverse) else None


@rules.on(ar.subtract)
def subtract_constant(node: Node) -> Node | None:
    """x - c -> x + -c."""
    x, y = node.args
    if number(y) is None or number(x) is not None or not signed(node):
        return None
    return ar.add(x, ar.negative(y))


@rules.on(ar.add)
def add_twice(node: Node) -> Node | None:
    """(x + c) + d -> x + (c + d), where c + d is not rounded; and (c - x) + d."""
    inner, y = node.args
    d = number(y)
    if d is None or inner.op not in (ar.add, ar.subtract):
        return None
    x, z = inner.args
    if inner.op is ar.subtract:
        x, z = z, x
    c = number(z)
    if c is None or number(x) is not None or node.dtype.kind == "b":
        return None
    total = exactly(operator.add, c, d, node.dtype)
    if total is None:
        return None
    if inner.op is ar.add:
        return as_typed(ar.add(x, scalar(total, x)), node)
    return as_typed(ar.subtract(scalar(total, x), x), node)


@rules.on(ar.subtract)
def subtract_from_constant(node: Node) -> Node | None:
    """c - (x + d) -> (c - d) - x, where c - d is not rounded; and c - (d - x)."""
    y, inner = node.args
    c = number(y)
    if c is None:
        return None
    match inner:
        case Node(ar.add, (x, z)) if number(z) is not None and number(x) is None:
            rest = exactly(operator.sub, c, number(z), node.dtype)
            if rest is not None:
                return as_typed(ar.subtract(scalar(rest, x), x), node)
        case Node(ar.subtract, (z, x)) if number(z) is not None and number(x) is None:
            rest = exactly(operator.sub, c, number(z), node.dtype)
            if rest is not None:
                return as_typed(ar.add(x, scalar(rest, x)), node)
    return None


# ----------------------------------------------------------------------- powers


@rules.on(ar.divide)
def one_over(node: Node) -> Node | None:
    """1 / x -> reciprocal(x)."""
    x, y = node.args
    return as_typed(powers.reciprocal(y), node) if is_number(x, 1) else None


@rules.on(powers.reciprocal)
def reciprocal_of_root(node: Node) -> Node | None:
    """1 / sqrt(x) -> rsqrt(x)."""
    match node.args:
        case (Node(powers.sqrt, (x,)),):
            return powers.rsqrt(x)
    return None


@rules.on(powers.reciprocal)
def reciprocal_twice(node: Node) -> Node | None:
    """1 / (1 / x) -> x."""
    match node.args:
        case (Node(powers.reciprocal, (x,)),) if x.dtype == node.dtype:
            return x
    return None


@rules.on(powers.integer_power_)
def power_zero(node: Node) -> Node | None:
    """x ** 0 -> 1."""
    return uniform(1, node) if node.params[0] == 0 else None
