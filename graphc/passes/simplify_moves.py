"""Simplification of what rearranges axes, and of elementwise ops on it."""

from __future__ import annotations

import itertools

from graphc.graph.node import Node
from graphc.ops.arithmetic import add
from graphc.ops.declare import Elementwise
from graphc.ops.index import gather_
from graphc.ops.move import (
    broadcast_,
    inverse_permutation,
    permute,
    reshape,
    reshape_,
    transpose_,
)
from graphc.ops.slicing import (
    concatenate,
    concatenate_,
    pad_,
    slice_,
    slice_op,
)
from graphc.passes.patterns import (
    LOOSE,
    axes_beside_ones,
    loose,
    number,
    padded_rank,
    stretch,
    surely_not_negative,
    uniform,
)
from graphc.passes.rewrite import RuleSet
from graphc.types.sizes import SizeLike

rules = RuleSet()


# --------------------------------------------------------- elementwise on moves


@rules.on(Elementwise)
def function_of_broadcast(node: Node) -> Node | None:
    """f(broadcast(x), y) -> broadcast(f(x, y)); no broadcast if f does it itself."""
    if not any(x.op in LOOSE for x in node.args):
        return None
    args = [loose(x) for x in node.args]
    if all(a is b for a, b in zip(args, node.args)):
        return None
    return stretch(node.op(*args, params=node.params), node.shape)


@rules.on(Elementwise)
def function_of_move(node: Node) -> Node | None:
    """f(move(x), c) -> move(f(x, c)), for a reshape or transpose, the same of all."""
    move = None
    for x in node.args:
        if x.ndim == 0:
            continue
        if x.op is not reshape_ and x.op is not transpose_:
            return None
        if move is None:
            move = x
        elif (
            x.op is not move.op
            or x.params != move.params
            or x.args[0].shape != move.args[0].shape
        ):
            return None
    if move is None or move.shape != node.shape:
        return None
    args = [x.args[0] if x.ndim else x for x in node.args]
    inner = node.op(*args, params=node.params)
    if inner.shape != move.args[0].shape:
        return None
    return move.op(inner, params=move.params)


@rules.on(Elementwise)
def function_of_transpose(node: Node) -> Node | None:
    """f(transpose(x), y) -> transpose(f(x, y')), where y' is a reshape of y.

    So it is where no two axes of `y` longer than 1 change their order, as those of a
    vector. What is left reads `x` row by row, as others of its readers do.
    """
    moves = [x for x in node.args if x.op is transpose_ and x.shape == node.shape]
    if not moves:
        return None
    (axes,) = moves[0].params
    back = inverse_permutation(axes)
    args = []
    for x in node.args:
        if x.op is transpose_ and x.params == (axes,) and x.shape == node.shape:
            args.append(x.args[0])
            continue
        wide = padded_rank(x, node.ndim)
        order = [a for a in back if wide.shape[a] != 1]
        if order != sorted(order):
            return None
        args.append(reshape(wide, tuple(wide.shape[a] for a in back)))
    inner = node.op(*args, params=node.params)
    if inner.shape != moves[0].args[0].shape:
        return None
    return transpose_(inner, params=(axes,))


# ------------------------------------------------- reshape, transpose, broadcast


@rules.on(reshape_)
def reshape_twice(node: Node) -> Node | None:
    """reshape(reshape(x)) -> reshape(x); to the shape it has it is x."""
    (x,) = node.args
    if x.shape == node.shape:
        return x
    return reshape(x.args[0], node.shape) if x.op is reshape_ else None


@rules.on(transpose_)
def transpose_twice(node: Node) -> Node | None:
    """transpose(transpose(x)) -> transpose(x); in the given order it is x."""
    (x,), (axes,) = node.args, node.params
    if axes == tuple(range(x.ndim)):
        return x
    if x.op is not transpose_:
        return None
    (first,) = x.params
    return permute(x.args[0], [first[a] for a in axes])


@rules.on(transpose_)
def transpose_of_ones(node: Node) -> Node | None:
    """transpose(x) -> reshape(x), where only axes of size 1 change places."""
    (x,), (axes,) = node.args, node.params
    order = [a for a in axes if x.shape[a] != 1]
    return reshape(x, node.shape) if order == sorted(order) else None


@rules.on(broadcast_)
def broadcast_twice(node: Node) -> Node | None:
    """broadcast(broadcast(x)) -> broadcast(x); a reshape where nothing is repeated."""
    (x,) = node.args
    inner = loose(x)
    result = stretch(inner, node.shape)
    return None if result is node else result


@rules.on(reshape_)
def reshape_of_broadcast(node: Node) -> Node | None:
    """reshape(broadcast(x)) -> broadcast(reshape(x)), if only 1-axes come or go."""
    (wide,) = node.args
    if wide.op is not broadcast_:
        return None
    axes = axes_beside_ones(wide.shape, node.shape)
    if axes is None:
        return None
    x = padded_rank(wide.args[0], wide.ndim)
    shape = tuple(x.shape[axes[a]] if a in axes else 1 for a in range(node.ndim))
    return stretch(reshape(x, shape), node.shape)


@rules.on(transpose_)
def transpose_of_broadcast(node: Node) -> Node | None:
    """transpose(broadcast(x)) -> broadcast(transpose(x))."""
    (wide,) = node.args
    if wide.op is not broadcast_:
        return None
    return stretch(
        permute(padded_rank(wide.args[0], wide.ndim), node.params[0]), node.shape
    )


# ------------------------------------------------------------------- slice, pad


@rules.on(slice_op)
def slice_all(node: Node) -> Node | None:
    """x[:] -> x."""
    x = node.args[0]
    return _unless_same(slice_(x, *node.params), node)


@rules.on(pad_)
def pad_nothing(node: Node) -> Node | None:
    """pad(x) -> x, where there is nothing to add."""
    (x,), (starts, shape, steps, _) = node.args, node.params
    nothing = shape == x.shape and all(s == 0 for s in starts) and set(steps) <= {1}
    return x if nothing else None


def _unless_same(result: Node, node: Node) -> Node | None:
    return None if result is node else result


@rules.on(slice_op)
def slice_twice(node: Node) -> Node | None:
    """x[a][b] -> x[c]."""
    (x,), (starts, counts, steps) = node.args, node.params
    if x.op is not slice_op:
        return None
    first, _, paces = x.params
    joint = tuple(f + s * p for f, s, p in zip(first, starts, paces))
    return slice_(x.args[0], joint, counts, tuple(a * b for a, b in zip(paces, steps)))


@rules.on(pad_)
def pad_twice(node: Node) -> Node | None:
    """pad(pad(x)) -> pad(x), with the same value."""
    (x,), (starts, shape, steps, value) = node.args, node.params
    if x.op is not pad_ or x.params[3] != value:
        return None
    first, _, paces, _ = x.params
    joint = tuple(s + f * d for s, f, d in zip(starts, first, steps))
    params = (joint, shape, tuple(a * b for a, b in zip(steps, paces)), value)
    return pad_(x.args[0], params=params)


@rules.on(slice_op)
def slice_of_broadcast(node: Node) -> Node | None:
    """broadcast(x)[a] -> broadcast(x[a])."""
    (wide,), (starts, counts, steps) = node.args, node.params
    if wide.op is not broadcast_:
        return None
    x = wide.args[0]
    new = wide.ndim - x.ndim
    kept = [s != 1 for s in x.shape]
    inner = slice_(
        x,
        tuple(s if k else 0 for s, k in zip(starts[new:], kept)),
        tuple(c if k else 1 for c, k in zip(counts[new:], kept)),
        tuple(d if k else 1 for d, k in zip(steps[new:], kept)),
    )
    return stretch(inner, node.shape)


@rules.on(slice_op)
def slice_of_pad(node: Node) -> Node | None:
    """pad(x)[a] -> x[b], if a lies within x; the pad's value if it lies beside."""
    (padded,), (starts, counts, steps) = node.args, node.params
    if padded.op is not pad_:
        return None
    x = padded.args[0]
    places, _, paces, value = padded.params
    first: list[SizeLike] = []
    inside = True
    for start, count, step, place, pace, extent in zip(
        starts, counts, steps, places, paces, x.shape
    ):
        begin = start - place
        if start == place and count == extent and step == pace:
            first.append(0)
            continue
        if step != 1 or pace != 1:
            return None
        last = begin + count
        if surely_not_negative(-last) or surely_not_negative(begin - extent):
            return uniform(value.array, node)
        inside &= surely_not_negative(begin) and surely_not_negative(extent - last)
        first.append(begin)
    return slice_(x, tuple(first), counts) if inside else None


@rules.on(slice_op)
def slice_of_sum_of_pads(node: Node) -> Node | None:
    """(pad(x) + y)[a] -> x[b] + y[a], if a lies within x or beside it."""
    (total,), params = node.args, node.params
    if total.op is not add:
        return None
    parts = [slice_op(x, params=params) for x in total.args if x.shape == total.shape]
    if len(parts) != 2 or all(slice_of_pad(part) is None for part in parts):
        return None
    return add(*parts)


# ---------------------------------------------------------------- concatenation


@rules.on(concatenate_)
def concatenate_pieces(node: Node) -> Node | None:
    """concatenate(concatenate(x, y), z) -> concatenate(x, y, z), empty ones left out.

    Pieces of one array that follow each other, ``x[a:b]`` and ``x[b:c]``, are one.
    """
    (axis,) = node.params
    pieces: list[Node] = []
    for x in node.args:
        inner = x.args if x.op is concatenate_ and x.params == node.params else (x,)
        pieces.extend(p for p in inner if p.shape[axis] != 0)
    if not pieces:
        return _if_typed(node.args[0], node)
    merged = [pieces[0]]
    for piece in pieces[1:]:
        joint = _following(merged[-1], piece, axis)
        if joint is None:
            merged.append(piece)
        else:
            merged[-1] = joint
    if len(merged) == len(node.args) and all(a is b for a, b in zip(merged, node.args)):
        return None
    return _if_typed(concatenate(merged, axis), node)


def _if_typed(result: Node, node: Node) -> Node | None:
    """Return `result` unless its sizes are other formulas than those of `node`."""
    return result if result.type == node.type else None


def _following(first: Node, second: Node, axis: int) -> Node | None:
    """Return two slices as one if the second begins where the first ends."""
    if first.op is not slice_op or second.op is not slice_op:
        return None
    if first.args[0] is not second.args[0]:
        return None
    starts, counts, steps = first.params
    more, others, paces = second.params
    if steps != paces or starts[axis] + counts[axis] * steps[axis] != more[axis]:
        return None
    for a in range(len(starts)):
        if a != axis and (starts[a], counts[a]) != (more[a], others[a]):
            return None
    joint = list(counts)
    joint[axis] = counts[axis] + others[axis]
    return slice_(first.args[0], starts, tuple(joint), steps)


@rules.on(slice_op)
def slice_of_concatenation(node: Node) -> Node | None:
    """concatenate(x, y)[a] -> x[b], if a lies within x."""
    (whole,), (starts, counts, steps) = node.args, node.params
    if whole.op is not concatenate_:
        return None
    (axis,) = whole.params
    if steps[axis] != 1:
        return None
    sizes = [x.shape[axis] for x in whole.args]
    for x, offset in zip(whole.args, itertools.accumulate(sizes, initial=0)):
        begin = starts[axis] - offset
        room = x.shape[axis] - begin - counts[axis]
        if surely_not_negative(begin) and surely_not_negative(room):
            first = (*starts[:axis], begin, *starts[axis + 1 :])
            return slice_(x, first, counts, steps)
    return None


# --------------------------------------------------------------------- indexing


@rules.on(gather_)
def gather_constant(node: Node) -> Node | None:
    """x[i] -> a slice, for constant i known to be in range."""
    (batch,) = node.params
    x, *indices = node.args
    starts: list[SizeLike] = [0] * x.ndim
    counts = list(x.shape)
    for axis, index in enumerate(indices, batch):
        known, extent = number(index), x.shape[axis]
        if known is None or not isinstance(extent, int):
            return None
        if not -extent <= known < extent:
            return None  # an error when it runs
        starts[axis] = int(known) % extent
        counts[axis] = 1
    places = indices[0].ndim
    rest = x.shape[batch + len(indices) :]
    ones = (1,) * (places - batch)
    picked = slice_(x, tuple(starts), tuple(counts))
    return stretch(reshape(picked, (*x.shape[:batch], *ones, *rest)), node.shape)
