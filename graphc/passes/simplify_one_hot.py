"""Simplification of sums and products that select one term of each sum.

``where(j == i + c, f, 0)`` has, for each `i`, at most one `j` at which it is not
zero. A sum over `j` is that term: read from a diagonal, or from another place.
"""

from __future__ import annotations

from typing import NamedTuple

from graphc.graph import operators
from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops.contract import matmul_, matrix_transpose
from graphc.ops.leaf import full, iota_
from graphc.ops.move import (
    broadcast_,
    broadcast_to,
    diagonal_,
    move_axis,
    permute,
    reshape,
    reshape_,
    transpose_,
)
from graphc.ops.reduce import sum_
from graphc.ops.scalars import Index
from graphc.ops.slicing import pad, slice_axis, slice_op
from graphc.passes.patterns import (
    is_number,
    loose,
    number,
    padded_rank,
    stretch,
    surely_not_negative,
)
from graphc.passes.rewrite import RuleSet
from graphc.types import sizes
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape

rules = RuleSet()

VIEWS = frozenset((broadcast_, reshape_, transpose_, diagonal_, slice_op))
"""Moves whose element at an index is an element of their argument."""


class Line(NamedTuple):
    """Where a selection is not zero: at ``position = place + offset``.

    Attributes
    ----------
    place : int
        The axis that `position` goes with.
    offset : SizeLike
        By how much it is ahead of it.
    start, extent : SizeLike
        The places whose position lies within its axis; all others give 0.
    """

    place: int
    offset: SizeLike
    start: SizeLike
    extent: SizeLike


@rules.on(sum_, changes_zero_sign=True)
def sum_of_one_hot(node: Node) -> Node | None:
    """sum_j where(j == i + c, f(i, j), 0) -> f(i, i + c), or 0 if there is none."""
    (x,), (axes,) = node.args, node.params
    read = _selection(x)
    if read is None:
        return None
    mask, value = read
    for axis in axes:
        line = _line(mask, axis, x.shape)
        if line is None:
            continue
        left = _without(x.shape, axis)
        result = _placed(_picked(value, axis, line), axis, line, left)
        rest = tuple(a - (a > axis) for a in axes if a != axis)
        return sum_(result, params=(rest,)) if rest else result
    return None


def product_with_one_hot(node: Node) -> Node | None:
    """x @ where(row == column + c, d, 0) -> x * d, scaled columns; and so rows.

    Each sum has one term. The others are products with what was not selected, which
    contributes exactly 0 in derivatives, also where `x` is infinite. In a product that
    a user wrote ``0 * inf`` is NaN: so this is no rule of the passes, but applied to
    what a sweep over a basis made.
    """
    if node.op is not matmul_:
        return None
    batch = node.ndim - 2
    terms = node.args[0].shape[-1]
    shape = (*node.shape, terms)
    axis = batch + 2
    for side in (1, 0):
        read = _selection(node.args[side])
        if read is None:
            continue
        mask, value = (_lifted(x, side, batch) for x in read)
        line = _line(mask, axis, shape)
        if line is None:
            continue
        other = _lifted(node.args[1 - side], 1 - side, batch)
        factors = [_picked(x, axis, line) for x in (other, value)]
        return _placed(ar.multiply(*factors), axis, line, node.shape)
    return None


def _lifted(x: Node, side: int, batch: int) -> Node:
    """Return an operand of a product with the axes batch, row, column, term."""
    if x.ndim == 0:
        return padded_rank(x, batch + 3)
    if side:
        x = matrix_transpose(x)
    x = padded_rank(x, batch + 2)
    *outer, a, k = x.shape
    return reshape(x, (*outer, 1, a, k) if side else (*outer, a, 1, k))


# -------------------------------------------------------------------- reading


def _selection(x: Node) -> tuple[Node, Node] | None:
    """Read moves of ``where(m, v, 0)``: `m` of the shape of `x`, and `v`.

    `v` is a scalar, or of the rank of `x` and repeated along axes of size 1.
    """
    moves = []
    while x.op is reshape_ or x.op is transpose_:
        moves.append(x)
        x = x.args[0]
    if x.op is not ar.where or not is_number(x.args[2], 0):
        return None
    mask, value, _ = x.args
    if mask.op not in VIEWS and mask.op is not ar.equal:
        return None
    mask = broadcast_to(mask, x.shape)
    if number(value) is not None:
        value = loose(value)
    elif moves:
        value = broadcast_to(value, x.shape)
    else:
        value = padded_rank(loose(value), x.ndim)
    for move in reversed(moves):
        mask = move.op(mask, params=move.params)
        if value.ndim:
            value = move.op(value, params=move.params)
    return mask, value


def _line(mask: Node, axis: int, shape: Shape) -> Line | None:
    """Return where a mask holds along `axis`; None if that is not one place each.

    Parameters
    ----------
    mask : Node
        Broadcasts to `shape`, from the same rank.
    axis : int
    shape : Shape
    """
    index = tuple(0 if s == 1 else sizes.fresh_dim("i") for s in mask.shape)
    position = index[axis]
    compared, at = _viewed(mask, index)
    if isinstance(position, int) or compared.op is not ar.equal:
        return None
    counts = [_counted(x, at) for x in compared.args]
    if counts[0] is None or counts[1] is None:
        return None
    ahead = counts[0] - counts[1]
    for place, variable in enumerate(index):
        if place == axis or isinstance(variable, int):
            continue
        for difference in (ahead, -ahead):  # it holds where this is 0
            offset = position - variable - difference
            if _free(offset, index):
                return _within(place, offset, shape[place], shape[axis])
    return None


def _viewed(x: Node, index: Index) -> tuple[Node, Index]:
    """Return which node an element of views of it is read from, and where."""
    reads: list[Index] = []

    def arg(position: int, inner: Index) -> None:
        reads.append(inner)

    while x.op in VIEWS:
        x.op.read(None, x, index, arg)
        x, index = x.args[0], reads[-1]
    return x, index


def _counted(x: Node, index: Index) -> SizeLike | None:
    """Return an integer operand at an index as a formula in it, if it counts."""
    tail = index[len(index) - x.ndim :]
    x, at = _viewed(x, tuple(0 if s == 1 else i for s, i in zip(x.shape, tail)))
    if x.op is iota_ and x.dtype.kind in "iu" and x.dtype.itemsize >= 4:
        return at[0]
    return None


def _free(s: SizeLike, index: Index) -> bool:
    """Tell whether a formula is one of sizes alone."""
    used = set(sizes.dims(s))
    return not any(d in used for i in index for d in sizes.dims(i))


def _within(
    place: int, offset: SizeLike, places: SizeLike, positions: SizeLike
) -> Line | None:
    """Return a line with the places whose position lies in its axis, if known."""
    if surely_not_negative(offset) and surely_not_negative(positions - offset - places):
        return Line(place, offset, 0, places)
    if not sizes.is_static((offset, places, positions)):
        return None
    start = sizes.maximum(0, -offset)
    stop = sizes.minimum(places, positions - offset)
    return Line(place, offset, start, sizes.maximum(stop - start, 0))


# -------------------------------------------------------------------- picking


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def _picked(x: Node, axis: int, line: Line) -> Node:
    """Return an array at the positions of a line's places, `axis` taken away.

    Parameters
    ----------
    x : Node
        Of the rank of the mask, repeated along axes of size 1; or a scalar.
    axis : int
        Of the positions.
    line : Line
    """
    place, offset, start, extent = line
    if x.ndim == 0:
        return x
    if x.shape[place] != 1:
        x = slice_axis(x, place, start, extent)
    if x.shape[axis] != 1:
        x = slice_axis(x, axis, start + offset, extent)
        order = list(range(x.ndim))
        if x.shape[place] == 1:
            order[place], order[axis] = axis, place
            x = permute(x, order)
        else:
            order = [a for a in order if a not in (place, axis)]
            x = diagonal_(permute(x, [*order, place, axis]))
            return move_axis(x, x.ndim - 1, place - (place > axis))
    return reshape(x, _without(x.shape, axis))


def _placed(x: Node, axis: int, line: Line, shape: Shape) -> Node:
    """Return what was picked in its shape: 0 where no position was in its axis."""
    place = line.place - (line.place > axis)
    if line.extent == shape[place]:
        return stretch(x, shape)
    if line.extent == 0:
        return full(shape, 0, x.dtype)
    inner = (*shape[:place], line.extent, *shape[place + 1 :])
    starts = tuple(line.start if a == place else 0 for a in range(len(shape)))
    return pad(stretch(x, inner), starts, shape)


operators.provide(product_with_one_hot=product_with_one_hot)
