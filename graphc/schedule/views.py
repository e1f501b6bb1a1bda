"""Strided views: operands that a matrix product can read in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from graphc.graph.node import Node
from graphc.ops.declare import Elementwise
from graphc.ops.leaf import uniform_value
from graphc.ops.scalars import Index
from graphc.ops.slicing import concatenate_
from graphc.schedule.access import (
    AXES,
    AXIS_INDEX,
    broadcast_index,
    reading,
    row_major,
    substitute,
)
from graphc.types import sizes
from graphc.types.errors import internal_assert
from graphc.types.sizes import SizeLike


class MatrixView(NamedTuple):
    """A stack of matrices within an array in memory, as a product reads it.

    Attributes
    ----------
    source : Node
    offset : SizeLike
        Elements before the first matrix.
    batch : tuple of SizeLike
        Elements from one matrix to the next along each batch axis of the product; 0
        where the matrix is the same for all.
    rows, columns : SizeLike
        Elements from one row to the next, and from one column to the next.
    """

    source: Node
    offset: SizeLike
    batch: tuple[SizeLike, ...]
    rows: SizeLike
    columns: SizeLike


class Piece(NamedTuple):
    """One of the products that a product is the sum of: its operands as they lie."""

    left: MatrixView
    right: MatrixView


def pieces(product: Node, info: dict[Node, Any]) -> list[Piece]:
    """Return a product as a sum of products of operands in memory.

    Operands that are both concatenated along the inner axis, of parts equally long
    that lie alike, are read part by part: ``[A, B] @ [[C], [D]] = A @ C + B @ D``.
    Others are one piece. The sources of the views have to be in memory.
    """
    a, b = product.args
    if (
        a.op is concatenate_
        and b.op is concatenate_
        and a.params[0] == a.ndim - 1
        and b.params[0] == b.ndim - 2
        and len(a.args) == len(b.args)
        and len({x.shape[-1] for x in a.args} | {x.shape[-2] for x in b.args}) == 1
    ):
        parts = [_piece(x, y, product.ndim, info) for x, y in zip(a.args, b.args)]
        left, right = ([p[side] for p in parts] for side in (0, 1))
        parts = [Piece(*p) for p in zip(_alike(left), _alike(right))]
        if len({(p.left[2:], p.right[2:]) for p in parts}) == 1:
            return parts
    return [_piece(a, b, product.ndim, info)]


def _piece(a: Node, b: Node, ndim: int, info: dict[Node, Any]) -> Piece:
    index = AXIS_INDEX[:ndim]
    inner = AXIS_INDEX[ndim]
    left = broadcast_index((*index[:-1], inner), a)
    right = broadcast_index((*index[:-2], inner, index[-1]), b)
    return Piece(
        _view(a, (*left[:-2], index[-2], inner), (ndim - 2, ndim), info),
        _view(b, (*right[:-2], inner, index[-1]), (ndim, ndim - 1), info),
    )


def triangle_view(solve: Node, info: dict[Node, Any]) -> MatrixView:
    """Return how a triangular solve reads its triangle."""
    triangle, ndim = solve.args[0], solve.ndim
    index = (*AXIS_INDEX[: ndim - 1], AXIS_INDEX[ndim])
    return _view(triangle, index, (ndim - 2, ndim), info)


def _alike(views: Sequence[MatrixView]) -> list[MatrixView]:
    """Read arrays of one number as the others lie: all orders are alike in them."""
    model = next((v for v in views if uniform_value(v.source) is None), views[0])
    out = []
    for view in views:
        if uniform_value(view.source) is not None and view.source.ndim:
            same = view.source.size == model.source.size and model.offset == 0
            view = model._replace(source=view.source) if same else view
        out.append(view)
    return out


def _view(
    node: Node, index: Index, matrix_axes: tuple[int, int], info: dict[Node, Any]
) -> MatrixView:
    """Follow movement down as far as offsets are linear; strides may be anything."""
    ndim = max(matrix_axes)
    best = None
    while True:
        offset, strides = linear(row_major(index, node.shape), ndim + 1)
        if strides is not None:
            rows, columns = (strides[a] for a in matrix_axes)
            best = MatrixView(node, offset, strides[: ndim - 2], rows, columns)
        if info[node].kind != "virtual" or isinstance(node.op, Elementwise):
            break
        reads, plain = reading(node)
        if not plain:
            break
        index = substitute(reads[0].index, index)
        node = node.args[reads[0].position]
    internal_assert(best is not None, "a contiguous operand has no strides")
    return best  # type: ignore[return-value]


def linear(flat: SizeLike, count: int) -> tuple[SizeLike, tuple[SizeLike, ...] | None]:
    """Return offset and strides of a flat index, strides None if it is not linear."""
    variables = AXES[:count]
    offset = sizes.substitute(flat, dict.fromkeys(variables, 0).get)
    strides = []
    total = offset
    for v in variables:
        others = {w: 0 for w in variables if w is not v}
        part = sizes.substitute(flat, others.get) - offset
        stride = sizes.substitute(part, {v: 1}.get)
        strides.append(stride)
        total = total + stride * sizes.of_atom(v)
    return (offset, tuple(strides)) if total == flat else (offset, None)
