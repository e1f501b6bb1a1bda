"""Seeds of Jacobians: unit arrays as selections, kept so by linear operations.

A seed is ``where(row == column, 1, 0)``. A derivative is linear in its seed, so what
an operation makes of ``where(m, v, 0)`` is 0 wherever `m` does not hold: exactly,
also where another factor is infinite or not a number. A diagonal or banded Jacobian
thus stays a selection, computed only where it is not zero.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops.leaf import iota, scalar_like, uniform_value
from graphc.ops.move import (
    align_batch,
    broadcast_,
    broadcast_to,
    diagonal_,
    reshape,
    reshape_,
    transpose_,
)
from graphc.ops.slicing import slice_op

MOVES = frozenset((broadcast_, reshape_, transpose_, diagonal_, slice_op))
"""Moves that read every element from their argument."""

LINEAR = {
    ar.multiply: (0, 1),
    ar.absolute_zero_multiply: (0, 1),
    ar.divide: (0,),
    ar.negative: (0,),
    ar.cast_: (0,),
}
"""The arguments in which an elementwise op is linear, each for itself."""


def basis(x: Node) -> Node:
    """Return all unit arrays of the type of `x`, stacked along a leading axis."""
    n = x.size
    index = iota(n)
    eye = ar.equal(reshape(index, (n, 1)), reshape(index, (1, n)))
    one, zero = scalar_like(1, x), scalar_like(0, x)
    return ar.where(reshape(eye, (n, *x.shape)), one, zero)


def selection(x: Node) -> tuple[Node, Node] | None:
    """Read ``where(m, v, 0)``: `m` in the shape of `x`, and `v`; None if it is not.

    `v` broadcasts to the shape of `x`.
    """
    if x.op is not ar.where:
        return None
    mask, value, other = x.args
    if not _zero(other):
        return None
    return broadcast_to(mask, x.shape), value


def push_selection(
    node: Node, args: tuple[Node, ...], batched: Sequence[bool]
) -> Node | None:
    """Return what a linear op makes of a selection, as a selection.

    Parameters
    ----------
    node : Node
        Linear in the arguments that are batched, taken together.
    args : tuple of Node
        Arguments to take its arguments' places, some with a leading batch axis.
    batched : sequence of bool
        Which.

    Returns
    -------
    Node or None
        None where the op is none of those that keep selections.
    """
    places = [p for p, b in enumerate(batched) if b]
    read = [selection(args[p]) for p in places]
    if read[0] is None:
        return None
    mask, value = read[0]
    if node.op in MOVES:
        return _moved(node, mask, value, batched)
    if not _linear(node, args, places):
        return None
    given = list(args)
    for place, one in zip(places, read):
        if one is None or one[0] is not mask:
            return None
        value = one[1]
        given[place] = reshape(value, (1,) * (mask.ndim - value.ndim) + value.shape)
    result = node.op.batch(node, tuple(given), batched)
    wide = align_batch([mask, *args], [True, *batched])[0]
    return ar.where(wide, result, scalar_like(0, result))


def _linear(node: Node, args: Sequence[Node], places: Sequence[int]) -> bool:
    """Tell whether an elementwise op is linear in some arguments together."""
    if node.op is ar.add or node.op is ar.subtract:
        return len(places) == 2
    if node.op is ar.where:
        return 0 not in places and all(p in places or _zero(args[p]) for p in (1, 2))
    return len(places) == 1 and places[0] in LINEAR.get(node.op, ())


def _zero(x: Node) -> bool:
    value = uniform_value(x)
    return value is not None and bool(value == 0)


def _moved(node: Node, mask: Node, value: Node, batched: Sequence[bool]) -> Node:
    """Return a move of ``where(mask, value, 0)``."""
    if value.ndim:
        full = broadcast_to(value, mask.shape)
        value = node.op.batch(node, (full,), batched)
    moved = node.op.batch(node, (mask,), batched)
    return ar.where(moved, value, scalar_like(0, value))
