"""Simplification of reductions and matrix products."""

from __future__ import annotations

import numpy as np

from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops.contract import matmul_
from graphc.ops.leaf import full_, size_value
from graphc.ops.move import broadcast_, permute, reshape, reshape_, transpose_
from graphc.ops.reduce import (
    ArgReduce,
    AxisReduction,
    all_,
    any_,
    max_,
    min_,
    prod_,
    sum_,
)
from graphc.passes.patterns import (
    as_typed,
    axes_beside_ones,
    number,
    padded_rank,
    scalar,
    stretch,
    uniform,
)
from graphc.passes.rewrite import RuleSet
from graphc.types import sizes
from graphc.types.dtypes import is_float
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape

rules = RuleSet()

INT64 = np.dtype(np.int64)


# ------------------------------------------------------------------------- axes


@rules.on(AxisReduction, changes_zero_sign=True)
def reduce_ones(node: Node) -> Node | None:
    """sum(x) -> reshape(x), over axes of size 1 or none; and so other reductions."""
    (x,), (axes,) = node.args, node.params
    left = tuple(a for a in axes if x.shape[a] != 1)
    if len(left) == len(axes) and axes:
        return None
    if not left:
        return reshape(x, node.shape)
    gone = [a for a in axes if x.shape[a] == 1]
    kept = [a for a in range(x.ndim) if a not in gone]
    thin = reshape(x, tuple(x.shape[a] for a in kept))
    return node.op(thin, params=(tuple(kept.index(a) for a in left),))


@rules.on(ArgReduce)
def position_among_one(node: Node) -> Node | None:
    """argmax(x) -> 0, over an axis of size 1."""
    return uniform(0, node) if node.args[0].shape[node.params[0]] == 1 else None


@rules.on(AxisReduction)
def reduce_reshape(node: Node) -> Node | None:
    """sum(reshape(x)) -> reshape(sum(x)), if only axes of size 1 come or go."""
    (x,), (axes,) = node.args, node.params
    if x.op is not reshape_ or any(x.shape[a] == 1 for a in axes):
        return None
    source = x.args[0]
    origin = axes_beside_ones(source.shape, x.shape)
    if origin is None:
        return None
    inner = node.op(source, params=(tuple(sorted(origin[a] for a in axes)),))
    return reshape(inner, node.shape)


@rules.on(AxisReduction)
def reduce_transpose(node: Node) -> Node | None:
    """sum(transpose(x)) -> transpose(sum(x)), over the axes as they are in x."""
    (x,), (axes,) = node.args, node.params
    if x.op is not transpose_:
        return None
    (order,) = x.params
    inner = node.op(x.args[0], params=(tuple(sorted(order[a] for a in axes)),))
    kept = [order[a] for a in node.op.kept(node)]
    ranks = sorted(kept)
    return permute(inner, [ranks.index(a) for a in kept])


def _reduce_twice(node: Node) -> Node | None:
    (x,), (axes,) = node.args, node.params
    if x.op is not node.op:
        return None
    kept = node.op.kept(x)
    joint = (*x.params[0], *(kept[a] for a in axes))
    return node.op(x.args[0], params=(tuple(sorted(joint)),))


@rules.on(max_, min_, any_, all_)
def reduce_twice(node: Node) -> Node | None:
    """max(max(x)) -> max(x), over the axes of both; and so min, any, all."""
    return _reduce_twice(node)


@rules.on(sum_, prod_, changes_rounding=True)
def sum_twice(node: Node) -> Node | None:
    """sum(sum(x)) -> sum(x), over the axes of both; and so prod."""
    return _reduce_twice(node)


# ------------------------------------------------------------- repeated elements


def _unrepeated(node: Node) -> tuple[Node, tuple[int, ...], list[int]] | None:
    """Read a reduction of repeated elements: what is repeated, axes, and which.

    The first has the rank of the reduced array, and size 1 where it was repeated;
    the second are the reduced axes along which it was not, the third those along
    which it was.
    """
    (wide,), (axes,) = node.args, node.params
    if wide.op is broadcast_:
        x = padded_rank(wide.args[0], wide.ndim)
    elif wide.op is full_:
        x = padded_rank(scalar(number(wide), wide), wide.ndim)
    else:
        return None
    repeated = [a for a in axes if x.shape[a] == 1 and wide.shape[a] != 1]
    if not repeated:
        return None
    return x, tuple(a for a in axes if a not in repeated), repeated


def _without(x: Node, axes: list[int]) -> Shape:
    return tuple(s for a, s in enumerate(x.shape) if a not in axes)


def _reduced(node: Node, x: Node, rest: tuple[int, ...], gone: list[int]) -> Node:
    """Return the reduction of `x` over `rest`, its axes `gone` taken away."""
    kept = [a for a in range(x.ndim) if a not in gone]
    thin = reshape(x, _without(x, gone))
    return node.op(thin, params=(tuple(kept.index(a) for a in rest),))


@rules.on(sum_)
def sum_of_repeated(node: Node) -> Node | None:
    """sum(broadcast(x)) -> x * n, over the n repetitions.

    Of nothing the sum is 0, also where x is infinite: where n may be 0 the product
    is one with an absolute zero.
    """
    read = _unrepeated(node)
    if read is None:
        return None
    x, rest, repeated = read
    (wide,) = node.args
    count = sizes.product(wide.shape[a] for a in repeated)
    if count == 0:
        return uniform(0, node)
    if not isinstance(count, int) and not is_float(node.dtype) and node.dtype != INT64:
        return None  # the count may not fit
    times = ar.multiply if isinstance(count, int) else ar.absolute_zero_multiply
    once = _reduced(node, x, rest, repeated)
    return stretch(times(once, _count(count, node)), node.shape)


def _count(count: SizeLike, node: Node) -> Node:
    with np.errstate(all="ignore"):  # a small integer dtype wraps around
        if isinstance(count, int):
            return scalar(np.asarray(count).astype(node.dtype), node)
    return size_value(count, node.dtype)


@rules.on(max_, min_, any_, all_)
def extremum_of_repeated(node: Node) -> Node | None:
    """max(broadcast(x)) -> x, over repetitions; and so min, any, all."""
    read = _unrepeated(node)
    if read is None:
        return None
    x, rest, repeated = read
    (wide,) = node.args
    times = sizes.product(wide.shape[a] for a in repeated)
    if not isinstance(times, int) or times == 0:
        return None  # of nothing it has another value, or none
    return stretch(_reduced(node, x, rest, repeated), node.shape)


# -------------------------------------------------------------- linear operations


@rules.on(sum_, changes_zero_sign=True)
def sum_of_negative(node: Node) -> Node | None:
    """sum(-x) -> -sum(x)."""
    match node.args:
        case (Node(ar.negative, (x,)),):
            return ar.negative(sum_(x, params=node.params))
    return None


@rules.on(matmul_, changes_zero_sign=True)
def product_of_negative(node: Node) -> Node | None:
    """-x @ y -> -(x @ y), and x @ -y."""
    x, y = (a.args[0] if a.op is ar.negative else a for a in node.args)
    minus = sum(a.op is ar.negative for a in node.args)
    if not minus:
        return None
    product = matmul_(x, y)
    return product if minus == 2 else ar.negative(product)


@rules.on(matmul_, changes_zero_sign=True)
def outer_product(node: Node) -> Node | None:
    """x @ y -> x * y, where the inner size is 1."""
    x, y = node.args
    if x.shape[-1] != 1 or y.shape[-2] != 1:
        return None
    return as_typed(ar.multiply(x, y), node)


@rules.on(sum_, changes_rounding=True)
def sum_of_scaled(node: Node) -> Node | None:
    """sum(x * c) -> sum(x) * c."""
    (x,) = node.args
    if x.op is not ar.multiply and x.op is not ar.divide:
        return None
    y, c = x.args
    if number(c) is None or y.shape != x.shape:
        return None
    return x.op(sum_(y, params=node.params), scalar(number(c), y))
