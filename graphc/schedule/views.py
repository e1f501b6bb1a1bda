"""Strided views: operands that a matrix product can read in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from graphc.graph.node import Node
from graphc.ops.declare import Elementwise
from graphc.ops.leaf import uniform_value
from graphc.ops.move import reshape_, transpose_
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
from graphc.schedule.windows import columns_of
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


class Operands(NamedTuple):
    """How a product reads its operands.

    Attributes
    ----------
    pieces : list of Piece
        The product is the sum of theirs.
    blocks : list of (size, left stride)
        Axes that the rows of the left operand consist of besides the views' rows, the
        innermost first.
    outer : list of (size, left stride, right stride)
        Axes that k consists of besides the views', the innermost first.
    rows : SizeLike, optional
        The rows of a block; all where that is None.
    """

    pieces: list[Piece]
    blocks: Sequence[tuple[SizeLike, SizeLike]] = ()
    outer: Sequence[tuple[SizeLike, SizeLike, SizeLike]] = ()
    rows: SizeLike | None = None


def operands(product: Node, info: dict[Node, Any]) -> Operands:
    """Return how a product reads its operands from memory.

    The sources of the views have to be in memory.
    """
    turned = _turned_windows(product, info)
    return turned or Operands(_pieces(product, info))


def _pieces(product: Node, info: dict[Node, Any]) -> list[Piece]:
    """Return a product as a sum of products of operands in memory.

    Operands that are both concatenated along the inner axis, of parts equally long
    that lie alike, are read part by part: ``[A, B] @ [[C], [D]] = A @ C + B @ D``.
    So are windows of one array times one matrix. Others are one piece.
    """
    a, b = product.args
    windows = _window_pieces(product, info)
    if windows:
        return windows
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


def _window_pieces(product: Node, info: dict[Node, Any]) -> list[Piece] | None:
    """Return the pieces of ``[window_1(x), window_2(x), ...] @ B``, if it is that."""
    a, b = product.args
    if b.ndim != 2 or b.op is concatenate_ or columns_of(a) is not a:
        return None
    width = a.args[0].shape[-1]
    whole = _piece(a.args[0], b, product.ndim, info)
    lefts = [_piece(x, b, product.ndim, info).left for x in a.args]
    if not _lie_alike(lefts) or whole.left.columns != 1:
        return None
    lefts, width = _side_by_side(lefts, width)
    right = whole.right
    return [
        Piece(v, right._replace(offset=right.offset + number * width * right.rows))
        for number, v in enumerate(lefts)
    ]


def _lie_alike(views: Sequence[MatrixView]) -> bool:
    """Tell whether views of one array differ in where they begin only."""
    return len({(id(v.source), *v[2:]) for v in views}) == 1


def _side_by_side(
    views: list[MatrixView], width: SizeLike
) -> tuple[list[MatrixView], SizeLike]:
    """Join views of so many columns where one goes on as the one before ends."""
    breaks = [
        number
        for number in range(1, len(views))
        if views[number].offset != views[number - 1].offset + width
    ]
    run = math.gcd(len(views), *breaks)
    return views[::run], width * run


def _turned_windows(product: Node, info: dict[Node, Any]) -> Operands | None:
    """Return how ``reshape([window_1(x), ...]).T @ B`` reads x, if it is that.

    Rows are windows, which have to lie in steps, by elements of a window; k runs along
    all axes of a window's rows.
    """
    a, b = product.args
    if a.op is not transpose_ or product.ndim != 2 or a.args[0].op is not reshape_:
        return None
    joined = columns_of(a.args[0])
    if joined is None or a.args[0].args[0] is not joined:
        return None
    ndim = joined.ndim
    index = tuple(AXIS_INDEX[:ndim])
    views = [_view(x, index, ndim - 2, (ndim - 2, ndim - 1), info) for x in joined.args]
    if not _lie_alike(views) or views[0].columns != 1:
        return None
    views, width = _side_by_side(views, joined.args[0].shape[-1])
    steps = _steps([v.offset for v in views])
    right = _piece(b, b, 2, info).right
    if steps is None:
        return None
    first = views[0]
    extents, strides = joined.shape[:-1], (*first.batch, first.rows)
    # the innermost axes of k, as far as they are one in both operands
    outer: list[tuple[SizeLike, SizeLike, SizeLike]] = []
    along: SizeLike = right.rows
    for size, stride in zip(reversed(extents), reversed(strides)):
        if outer and stride == outer[-1][1] * outer[-1][0]:
            outer[-1] = (outer[-1][0] * size, *outer[-1][1:])
        elif size != 1:
            outer.append((size, stride, along))
        along = along * size
    if not outer:
        return None
    left = MatrixView(first.source, first.offset, (), 1, outer[0][1])
    return Operands([Piece(left, right)], steps, outer[1:], width)


def _steps(offsets: list[SizeLike]) -> list[tuple[SizeLike, SizeLike]] | None:
    """Return axes, the innermost first, whose strides lead to all offsets in order."""
    axes: list[tuple[SizeLike, SizeLike]] = []
    while len(offsets) > 1:
        step = offsets[1] - offsets[0]
        run = 2
        while run < len(offsets) and offsets[run] - offsets[run - 1] == step:
            run += 1
        chunks = [offsets[i : i + run] for i in range(0, len(offsets), run)]
        if any(
            len(c) != run or any(c[j] - c[0] != step * j for j in range(run))
            for c in chunks
        ):
            return None
        axes.append((run, step))
        offsets = [c[0] for c in chunks]
    return axes


def _piece(a: Node, b: Node, ndim: int, info: dict[Node, Any]) -> Piece:
    index = AXIS_INDEX[:ndim]
    inner = AXIS_INDEX[ndim]
    left = broadcast_index((*index[:-1], inner), a)
    right = broadcast_index((*index[:-2], inner, index[-1]), b)
    return Piece(
        _view(a, (*left[:-2], index[-2], inner), ndim - 2, (ndim - 2, ndim), info),
        _view(b, (*right[:-2], inner, index[-1]), ndim - 2, (ndim, ndim - 1), info),
    )


def triangle_view(solve: Node, info: dict[Node, Any]) -> MatrixView:
    """Return how a triangular solve reads its triangle."""
    triangle, ndim = solve.args[0], solve.ndim
    index = (*AXIS_INDEX[: ndim - 1], AXIS_INDEX[ndim])
    return _view(triangle, index, ndim - 2, (ndim - 2, ndim), info)


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
    node: Node,
    index: Index,
    batch: int,
    matrix_axes: tuple[int, int],
    info: dict[Node, Any],
) -> MatrixView:
    """Follow movement down as far as offsets are linear; strides may be anything."""
    count = max(matrix_axes) + 1
    best = None
    while True:
        offset, strides = linear(row_major(index, node.shape), count)
        if strides is not None:
            rows, columns = (strides[a] for a in matrix_axes)
            best = MatrixView(node, offset, strides[:batch], rows, columns)
        if info[node].kind != "virtual" or isinstance(node.op, Elementwise):
            break
        read = reading(node)
        if not read.plain:
            break
        index = substitute(read.accesses[0].index, index)
        node = node.args[read.accesses[0].position]
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
