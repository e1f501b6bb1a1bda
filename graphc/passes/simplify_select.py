"""Simplification of selections, comparisons, logic and conversions."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops import logic
from graphc.ops.custom import custom_
from graphc.ops.declare import Elementwise
from graphc.ops.leaf import constant
from graphc.passes.patterns import as_typed, number, uniform
from graphc.passes.rewrite import RuleSet
from graphc.types.dtypes import is_float

rules = RuleSet()


# -------------------------------------------------------------------- selection


@rules.on(ar.where)
def where_known(node: Node) -> Node | None:
    """where(True, x, y) -> x, and where(False, x, y) -> y."""
    condition, x, y = node.args
    known = number(condition)
    return None if known is None else as_typed(x if known else y, node)


@rules.on(ar.where)
def where_same(node: Node) -> Node | None:
    """where(m, x, x) -> x."""
    _, x, y = node.args
    return as_typed(x, node) if x is y else None


@rules.on(ar.where)
def where_not(node: Node) -> Node | None:
    """where(not m, x, y) -> where(m, y, x)."""
    match node.args:
        case (Node(logic.logical_not, (m,)), x, y):
            return ar.where(m, y, x)
    return None


@rules.on(ar.where)
def where_within_where(node: Node) -> Node | None:
    """where(m, where(m, x, y), z) -> where(m, x, z), and in the other case."""
    match node.args:
        case (m, Node(ar.where, (n, x, _)), z) if m is n:
            return as_typed(ar.where(m, x, z), node)
        case (m, x, Node(ar.where, (n, _, z))) if m is n:
            return as_typed(ar.where(m, x, z), node)
    return None


@rules.on(ar.where)
def where_of_truths(node: Node) -> Node | None:
    """where(m, True, False) -> m, and where(m, False, True) -> not m."""
    m, x, y = node.args
    if node.dtype.kind != "b":
        return None
    match number(x), number(y):
        case (True | np.True_, False | np.False_):
            return as_typed(m, node)
        case (False | np.False_, True | np.True_):
            return as_typed(logic.logical_not(m), node)
    return None


@rules.on(Elementwise)
def function_of_choice(node: Node) -> Node | None:
    """f(where(m, a, b), c) -> where(m, f(a, c), f(b, c)), for constants a, b, c."""
    if node.op is ar.where:
        return None
    places = [p for p, x in enumerate(node.args) if x.op is ar.where]
    if len(places) != 1:
        return None
    (place,) = places
    if any(number(x) is None for p, x in enumerate(node.args) if p != place):
        return None
    match node.args[place]:
        case Node(ar.where, (m, yes, no)) if not (
            number(yes) is None or number(no) is None
        ):
            results = []
            for case_ in (yes, no):
                args = list(node.args)
                args[place] = case_
                values = [np.asarray(number(x)) for x in args]
                with np.errstate(all="ignore"):
                    value = node.op.numpy(node, values, int)
                results.append(constant(np.asarray(value, node.dtype)))
            return as_typed(ar.where(m, *results), node)
    return None


# ------------------------------------------------------------ comparison, logic

OF_ITSELF = {
    **dict.fromkeys((ar.less, ar.greater, ar.not_equal), False),
    **dict.fromkeys((ar.less_equal, ar.greater_equal, ar.equal), True),
}


@rules.on(*OF_ITSELF)
def compare_with_itself(node: Node) -> Node | None:
    """x < x -> False, x != x -> isnan(x), x == x and x <= x -> not isnan(x)."""
    x, y = node.args
    if x is not y:
        return None
    outcome = OF_ITSELF[node.op]
    if not is_float(x.dtype) or node.op in (ar.less, ar.greater):
        return uniform(outcome, node)
    missing = logic.isnan(x)
    return logic.logical_not(missing) if outcome else missing


LOGICAL = {
    logic.bitwise_and: logic.logical_and,
    logic.bitwise_or: logic.logical_or,
    logic.bitwise_xor: logic.logical_xor,
    logic.bitwise_invert: logic.logical_not,
}


@rules.on(*LOGICAL)
def bits_of_booleans(node: Node) -> Node | None:
    """m & n -> logical_and(m, n), of booleans; and so or, xor, not."""
    return LOGICAL[node.op](*node.args) if node.dtype.kind == "b" else None


@rules.on(logic.logical_not)
def not_not(node: Node) -> Node | None:
    """not not m -> m."""
    match node.args:
        case (Node(logic.logical_not, (m,)),):
            return m
    return None


NEGATED = {ar.equal: ar.not_equal, ar.not_equal: ar.equal}
ORDER_NEGATED = {
    ar.less: ar.greater_equal,
    ar.greater_equal: ar.less,
    ar.greater: ar.less_equal,
    ar.less_equal: ar.greater,
}


@rules.on(logic.logical_not)
def not_compared(node: Node) -> Node | None:
    """not x == y -> x != y; of integers not x < y -> x >= y and the like."""
    (inner,) = node.args
    op: Any = NEGATED.get(inner.op)
    if op is None and inner.args and not is_float(inner.args[0].dtype):
        op = ORDER_NEGATED.get(inner.op)
    return None if op is None else op(*inner.args)


NEUTRAL: dict[Any, bool] = {
    logic.logical_and: True,
    logic.logical_or: False,
    logic.logical_xor: False,
}


@rules.on(*NEUTRAL)
def logic_with_constant(node: Node) -> Node | None:
    """m and True -> m, m and False -> False, m xor True -> not m, and the like."""
    m, other = node.args
    known = number(other)
    if known is None:
        return None
    if bool(known) == NEUTRAL[node.op]:
        return as_typed(m, node)
    if node.op is logic.logical_xor:
        return as_typed(logic.logical_not(m), node)
    return uniform(known, node)


# ------------------------------------------------------------------- conversion


@rules.on(ar.cast_)
def cast_same(node: Node) -> Node | None:
    """cast(x) -> x, to the dtype it has."""
    (x,) = node.args
    return x if x.dtype == node.dtype else None


@rules.on(ar.cast_)
def cast_twice(node: Node) -> Node | None:
    """cast(cast(x)) -> cast(x), where the first loses nothing the second keeps."""
    match node.args:
        case (Node(ar.cast_, (x,)) as inner,):
            if _keeps_all(x.dtype, inner.dtype) or _keeps_enough(
                x.dtype, inner.dtype, node.dtype
            ):
                return ar.cast(x, node.dtype)
    return None


def _keeps_all(source: np.dtype, target: np.dtype) -> bool:
    """Tell whether every number of one dtype is one of another."""
    if source.kind in "iu" and target.kind == "f":
        return (
            np.iinfo(source).bits - (source.kind == "i") <= np.finfo(target).nmant + 1
        )
    return np.can_cast(source, target, "safe")


def _keeps_enough(source: np.dtype, between: np.dtype, target: np.dtype) -> bool:
    """Tell whether integers wrap around to the same one by way of another."""
    return all(d.kind in "iu" for d in (source, between, target)) and (
        between.itemsize >= target.itemsize
    )


@rules.on(ar.stop_gradient)
def stop_gradient_done(node: Node) -> Node | None:
    """stop_gradient(x) -> x: derivatives are built by now."""
    return node.args[0]


@rules.on(custom_)
def custom_derivative_done(node: Node) -> Node | None:
    """custom(x, ..., y) -> y: derivatives are built by now."""
    return node.args[-1]
