"""Matrix products as steps of a program, on strided operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.graph.node import Node
from graphc.schedule.evaluate import Memory
from graphc.schedule.fusion import Fusion
from graphc.schedule.views import MatrixView, Piece, operands
from graphc.types import sizes
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape

BatchAxis = tuple[SizeLike, SizeLike, SizeLike, SizeLike]

OuterAxis = tuple[SizeLike, SizeLike, SizeLike]


PACKED = 1 << 20
"""Elements of the right operand that are rearranged at a time, at most."""

LANES = 16
"""Columns are padded to a multiple of a vector register's elements, at most these."""


@dataclass(eq=False)
class ProductCall:
    """``C[b] = A[b] @ B[b]`` for each index b of the batch axes; C is contiguous.

    Attributes
    ----------
    memory : list of Memory
        The arrays that A and B lie in, C, room for rearranged parts of B, and the
        arrays of further pieces.
    pieces : list of Piece
        The product is the sum of theirs, which differ in where they lie only.
    axes : list of (size, left stride, right stride, stride of C)
        The batch axes, the innermost first, joined where strides allow.
    m, n, k : SizeLike
    room : SizeLike
        Elements of the memory for parts of B.
    k is that of all pieces together.
    nodes : list of Node
        The product.
    outer : sequence of (size, left stride, right stride)
        Axes of k outside of a piece's, the innermost first.
    """

    memory: list[Memory]
    pieces: list[Piece]
    axes: list[BatchAxis]
    m: SizeLike
    n: SizeLike
    k: SizeLike
    room: SizeLike
    nodes: list[Node]
    outer: Sequence[OuterAxis] = ()
    kind = "product"

    @property
    def left(self) -> MatrixView:
        """The left operand, of the first piece."""
        return self.pieces[0].left

    @property
    def right(self) -> MatrixView:
        """The right operand, of the first piece."""
        return self.pieces[0].right

    @property
    def straight(self) -> bool:
        """Whether the right operand's rows are as far apart through all pieces."""
        each = sizes.floordiv(self.k, len(self.pieces))
        for size, _, _ in self.outer:
            each = sizes.floordiv(each, size)
        stride = each * self.right.rows
        for size, _, right in self.outer:
            if right != stride:
                return False
            stride = stride * size
        source, offset, *lie = self.right
        return all(
            piece.right.source is source
            and [*piece.right[1:]] == [offset + number * stride, *lie]
            for number, piece in enumerate(self.pieces)
        )

    @property
    def label(self) -> str:
        """The product as text, with T for an operand that is read transposed."""
        flags = [
            ".T" if v.columns != 1 and v.rows == 1 else ""
            for v in (self.left, self.right)
        ]
        many = f" ({len(self.pieces)} pieces)" if len(self.pieces) > 1 else ""
        return f"A{flags[0]} @ B{flags[1]} -> {self.nodes[0].type}{many}"


def lower_product(fusion: Fusion, node: Node) -> ProductCall:
    """Return the step of a product whose operands are in memory."""
    parts, blocks, outer, rows = operands(node, fusion.info)
    left, right = parts[0]
    m, n, k = *node.shape[-2:], node.args[0].shape[-1]
    axes = joined_axes(
        node.shape[:-2], left.batch, right.batch, contiguous_strides(node)
    )
    if rows is not None:
        m, stride = rows, rows * n
        for size, step in blocks:
            axes.append((size, step, 0, stride))
            stride = stride * size
    if axes and axes[0][1] == left.rows * m and axes[0][2] == 0:
        # the rows of all matrices of the innermost axis are those of one
        m = axes.pop(0)[0] * m
    matrices = sizes.product([size for size, _, moved, _ in axes if moved != 0])
    padded = sizes.floordiv(n + LANES - 1, LANES) * LANES
    room = sizes.minimum(PACKED, sizes.maximum(k, 1) * padded * matrices)
    memory = [_source(left), _source(right), Memory(node, node.size, node.dtype)]
    memory.append(Memory(None, room, node.dtype))
    memory += [_source(view) for piece in parts[1:] for view in piece]
    return ProductCall(memory, parts, axes, m, n, k, room, [node], outer)


def _source(view: MatrixView) -> Memory:
    return Memory(view.source, view.source.size, view.source.dtype)


def contiguous_strides(x: Node) -> tuple[SizeLike, ...]:
    """Return the elements from one matrix to the next along each batch axis."""
    stride = x.shape[-2] * x.shape[-1]
    out: list[SizeLike] = []
    for size in reversed(x.shape[:-2]):
        out.append(stride)
        stride = stride * size
    return tuple(reversed(out))


def joined_axes(
    shape: Shape,
    left: Sequence[SizeLike],
    right: Sequence[SizeLike],
    result: Sequence[SizeLike],
) -> list[BatchAxis]:
    """Return the axes of a batch, the innermost first, joined where strides allow."""
    out: list[BatchAxis] = []
    for axis in reversed(list(zip(shape, left, right, result))):
        if axis[0] == 1:
            continue
        if out:
            inner, *strides = out[-1]
            if all(s == d * inner for s, d in zip(axis[1:], strides)):
                out[-1] = (inner * axis[0], *strides)  # type: ignore[assignment]
                continue
        out.append(axis)
    return out
