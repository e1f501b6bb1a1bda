"""Strided views: operands that a matrix product can read in place."""

from __future__ import annotations

from typing import Any, NamedTuple

from graphc.graph.node import Node
from graphc.ops.declare import Elementwise, Index
from graphc.schedule.access import (
    AXES,
    AXIS_INDEX,
    broadcast_index,
    reading,
    row_major,
    substitute,
)
from graphc.types import sizes
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


def operand_views(
    product: Node, info: dict[Node, Any]
) -> tuple[MatrixView | None, MatrixView | None]:
    """Return the two operands of a product as views, None for one that is none."""
    index = AXIS_INDEX[: product.ndim]
    inner = AXIS_INDEX[product.ndim]
    a, b = product.args
    left = broadcast_index((*index[:-1], inner), a)
    right = broadcast_index((*index[:-2], inner, index[-1]), b)
    return (
        _view(a, (*left[:-2], index[-2], inner), product, (-2, product.ndim), info),
        _view(b, (*right[:-2], inner, index[-1]), product, (product.ndim, -1), info),
    )


def _view(
    node: Node,
    index: Index,
    product: Node,
    matrix_axes: tuple[int, int],
    info: dict[Node, Any],
) -> MatrixView | None:
    """Follow movement down to memory; the view serves if its offset is linear.

    Strides may be anything, negative and zero included.
    """
    source = node
    while info[source].kind == "virtual" and not isinstance(source.op, Elementwise):
        reads, plain = reading(source)
        if not plain:
            return None
        index = substitute(reads[0].index, index)
        source = source.args[reads[0].position]
    if info[source].kind == "immediate":
        return None
    count = product.ndim + 1
    offset, strides = linear(row_major(index, source.shape), count)
    if strides is None:
        return None
    rows, columns = (strides[a % product.ndim if a < 0 else a] for a in matrix_axes)
    return MatrixView(source, offset, strides[: product.ndim - 2], rows, columns)


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
