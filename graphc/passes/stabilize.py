"""Rewrites that keep accuracy, or finite results, where the formula loses them.

They stand for what is written at extremes: ``log(1 + x)`` for tiny x, softmax and
logsumexp for large ones. Derivatives of such formulas lose more than the formulas
do, so expressions are stabilized before they are differentiated, too: `stabilized`.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.graph import operators
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops import elementwise as el
from graphc.ops import index, move, powers, reduce, rounding, slicing, special
from graphc.ops.leaf import new_input
from graphc.ops.logic import isfinite
from graphc.passes.patterns import as_typed, is_number, scalar, through
from graphc.passes.rewrite import RulePass, RuleSet

rules = RuleSet()


def _beside_one(x: Node) -> tuple[Node, bool] | None:
    """Read ``1 + y`` as y and False, ``1 - y`` as y and True."""
    match x:
        case Node(ar.add, (a, b)):
            if is_number(a, 1):
                return b, False
            if is_number(b, 1):
                return a, False
        case Node(ar.subtract, (a, b)) if is_number(a, 1):
            return b, True
    return None


def _signed(x: Node, minus: bool) -> Node:
    return ar.negative(x) if minus else x


# -------------------------------------------------------- logarithms, exponentials


@rules.on(el.log)
def log_of_one_plus(node: Node) -> Node | None:
    """log(1 + x) -> log1p(x), and log(1 - x)."""
    read = _beside_one(node.args[0])
    if read is None:
        return None
    x, minus = read
    return as_typed(el.log1p(_signed(x, minus)), node)


@rules.on(ar.add, ar.subtract)
def exp_minus_one(node: Node) -> Node | None:
    """exp(x) - 1 -> expm1(x), and 1 - exp(x) -> -expm1(x)."""
    match node:
        case Node(ar.subtract, (Node(el.exp, (x,)), c)) if is_number(c, 1):
            return as_typed(el.expm1(x), node)
        case Node(ar.subtract, (c, Node(el.exp, (x,)))) if is_number(c, 1):
            return as_typed(ar.negative(el.expm1(x)), node)
        case Node(ar.add, (Node(el.exp, (x,)), c)) if is_number(c, -1):
            return as_typed(el.expm1(x), node)
        case Node(ar.add, (c, Node(el.exp, (x,)))) if is_number(c, -1):
            return as_typed(el.expm1(x), node)
    return None


@rules.on(el.log, el.log1p)
def log_of_exp(node: Node) -> Node | None:
    """log(exp(x)) -> x, and log1p(expm1(x))."""
    inverse = el.exp if node.op is el.log else el.expm1
    (inner,) = node.args
    return inner.args[0] if inner.op is inverse else None


@rules.on(el.log)
def log_of_sum_of_two(node: Node) -> Node | None:
    """log(exp(x) + exp(y)) -> logaddexp(x, y)."""
    match node.args:
        case (Node(ar.add, (Node(el.exp, (x,)), Node(el.exp, (y,)))),):
            return el.logaddexp(x, y)
    return None


# ------------------------------------------------------------- sigmoid, softplus


@rules.on(el.log1p)
def log_of_one_plus_exp(node: Node) -> Node | None:
    """log1p(exp(x)) -> softplus(x)."""
    match node.args:
        case (Node(el.exp, (x,)),):
            return el.softplus(x)
    return None


@rules.on(el.log)
def log_of_sigmoid(node: Node) -> Node | None:
    """log(sigmoid(x)) -> -softplus(-x)."""
    match node.args:
        case (Node(el.sigmoid, (x,)),):
            return ar.negative(el.softplus(ar.negative(x)))
    return None


@rules.on(el.log1p)
def log_of_one_minus_sigmoid(node: Node) -> Node | None:
    """log1p(-sigmoid(x)) -> -softplus(x)."""
    match node.args:
        case (Node(ar.negative, (Node(el.sigmoid, (x,)),)),):
            return ar.negative(el.softplus(x))
    return None


@rules.on(ar.subtract)
def one_minus_sigmoid(node: Node) -> Node | None:
    """1 - sigmoid(x) -> sigmoid(-x)."""
    match node.args:
        case (c, Node(el.sigmoid, (x,))) if is_number(c, 1):
            return as_typed(el.sigmoid(ar.negative(x)), node)
    return None


def _one_plus_exp(x: Node) -> Node | None:
    """Read ``1 + exp(y)`` as y."""
    match _beside_one(x):
        case (Node(el.exp, (y,)), False):
            return y
    return None


@rules.on(ar.divide, powers.reciprocal)
def sigmoid_written_out(node: Node) -> Node | None:
    """1 / (1 + exp(-x)) -> sigmoid(x), and exp(x) / (1 + exp(x))."""
    y = _one_plus_exp(node.args[-1])
    if y is None:
        return None
    match node.args[:-1]:
        case ():
            return as_typed(el.sigmoid(ar.negative(y)), node)
        case (c,) if is_number(c, 1):
            return as_typed(el.sigmoid(ar.negative(y)), node)
        case (Node(el.exp, (x,)),) if x is y:
            return as_typed(el.sigmoid(x), node)
    return None


@rules.on(ar.subtract)
def softplus_minus_argument(node: Node) -> Node | None:
    """softplus(x) - x -> softplus(-x), and x - softplus(x) -> -softplus(-x)."""
    match node.args:
        case (Node(el.softplus, (x,)), y) if x is y:
            return el.softplus(ar.negative(x))
        case (y, Node(el.softplus, (x,))) if x is y:
            return ar.negative(el.softplus(ar.negative(x)))
    return None


# ------------------------------------------------------------------------ others


@rules.on(ar.subtract, ar.add)
def one_minus_erf(node: Node) -> Node | None:
    """1 - erf(x) -> erfc(x), 1 + erf(x) -> erfc(-x), and 1 - erfc(x) -> erf(x)."""
    match _beside_one(node):
        case (Node(special.erf, (x,)), minus):
            return as_typed(special.erfc(_signed(x, not minus)), node)
        case (Node(special.erfc, (x,)), True):
            return as_typed(special.erf(x), node)
    return None


@rules.on(ar.subtract)
def one_minus_cos(node: Node) -> Node | None:
    """1 - cos(x) -> 2 * square(sin(x / 2))."""
    match node.args:
        case (c, Node(el.cos, (x,))) if is_number(c, 1):
            half = powers.square(el.sin(ar.multiply(x, scalar(0.5, x))))
            return as_typed(ar.multiply(half, scalar(2, x)), node)
    return None


@rules.on(powers.sqrt)
def root_of_square(node: Node) -> Node | None:
    """sqrt(square(x)) -> abs(x), and sqrt(x * x)."""
    match node.args:
        case (Node(powers.square, (x,)),):
            return rounding.absolute(x)
        case (Node(ar.multiply, (x, y)),) if x is y:
            return rounding.absolute(x)
    return None


# ----------------------------------------------------------- softmax, logsumexp

_RESHAPED = (move.reshape_, move.broadcast_)


def _sum_of(powers_: Node, total: Node) -> Node | None:
    """Return the sum over axes that `total` is of `powers_`, reshaped; else None."""
    for x in through(total, _RESHAPED):
        if x.op is reduce.sum_:
            return x if x.args[0] is powers_ else None
    return None


def _is_shifted(x: Node) -> bool:
    """Tell whether `x` is a difference to a maximum: then exp(x) does not overflow."""
    if x.op is not ar.subtract:
        return False
    top = x.args[1]
    while True:
        *_, top = through(top, (*_RESHAPED, ar.stop_gradient))
        if top.op is not ar.where:
            return top.op is reduce.max_
        top = top.args[1]  # where(isfinite(max), max, 0)


def _shift(x: Node, total: Node) -> tuple[Node, Node]:
    """Return the maximum to subtract from `x`, held constant, and what is left.

    The maximum is taken over the axes of the sum `total`, which are kept, with size
    1; it is 0 where it is infinite.
    """
    top = reduce.max_(x, params=total.params)
    shape = tuple(1 if a in total.params[0] else s for a, s in enumerate(x.shape))
    top = move.reshape(ar.stop_gradient(top), shape)
    top = ar.where(isfinite(top), top, scalar(0, x))
    return top, ar.subtract(x, top)


def _shiftable(x: Node, total: Node) -> bool:
    return not _is_shifted(x) and all(x.shape[a] != 0 for a in total.params[0])


@rules.on(el.log)
def log_of_sum_of_exp(node: Node) -> Node | None:
    """log(sum(exp(x))) -> log(sum(exp(x - m))) + m, with m the maximum of x.

    The maximum of no elements is an error when it runs, where sizes are symbolic.
    """
    for total in through(node.args[0], _RESHAPED):
        match total:
            case Node(reduce.sum_, (Node(el.exp, (x,)),)) if _shiftable(x, total):
                top, rest = _shift(x, total)
                inner = reduce.sum_(el.exp(rest), params=total.params)
                whole = ar.add(el.log(inner), move.reshape(top, total.shape))
                return _along(node.args[0], total, whole)
    return None


def _along(outer: Node, inner: Node, new: Node) -> Node:
    """Return `new` reshaped and broadcast as `outer` is from `inner`."""
    path = []
    for x in through(outer, _RESHAPED):
        if x is inner:
            break
        path.append(x)
    for x in reversed(path):
        new = x.op(new, params=x.params)
    return new


@rules.on(ar.divide)
def softmax_written_out(node: Node) -> Node | None:
    """exp(x) / sum(exp(x)) -> the same of x - m, with m the maximum of x."""
    numerator, total = node.args
    if numerator.op is not el.exp:
        return None
    total_sum = _sum_of(numerator, total)
    (x,) = numerator.args
    if total_sum is None or not _shiftable(x, total_sum):
        return None
    _, rest = _shift(x, total_sum)
    powers_ = el.exp(rest)
    inner = reduce.sum_(powers_, params=total_sum.params)
    return ar.divide(powers_, _along(total, total_sum, inner))


_READING = (
    *(move.reshape_, move.broadcast_, move.transpose_, move.diagonal_),
    *(slicing.slice_op, index.gather_),
)


@rules.on(el.log)
def log_of_softmax(node: Node) -> Node | None:
    """log(exp(x) / sum(exp(x))) -> x - log(sum(exp(x))), also of parts of it."""
    path = list(through(node.args[0], _READING))
    match path.pop():
        case Node(ar.divide, (Node(el.exp, (x,)) as numerator, total)):
            if _sum_of(numerator, total) is None:
                return None
            result = ar.subtract(x, el.log(total))
            for outer in reversed(path):
                result = outer.op(result, *outer.args[1:], params=outer.params)
            return result
    return None


stabilize = RulePass("stabilize", rules, repairs=True)


# ------------------------------------------------------- before differentiation


def stabilized(outputs: Sequence[Node], keep: Sequence[Node] = ()) -> list[Node]:
    """Return expressions rewritten for accuracy, as `compile` does.

    Parameters
    ----------
    outputs : sequence of Node
    keep : sequence of Node
        Nodes that must remain, such as those to differentiate by: no rule looks
        through them. They are not rewritten themselves.

    Returns
    -------
    list of Node
        For each of `outputs` an expression of its type.
    """
    inner = [k for k in keep if k.args]
    stand_ins = {k: new_input(k.name or "kept", k.type) for k in inner}
    back = {stand_in: k for k, stand_in in stand_ins.items()}
    graph = Graph((), outputs)
    if inner:
        graph = graph.substituted(stand_ins)
    graph = stabilize(graph)
    return list((graph.substituted(back) if inner else graph).outputs)


operators.provide(stabilized=stabilized)
