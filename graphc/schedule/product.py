"""Matrix products as steps of a program: strided operands for BLAS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.graph.node import Node
from graphc.schedule.evaluate import Memory
from graphc.schedule.fusion import Fusion
from graphc.schedule.views import MatrixView, operand_views
from graphc.types import sizes
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape


@dataclass(eq=False)
class ProductCall:
    """``C[b] = A[b] @ B[b]`` for each index b of the batch axes; C is contiguous.

    Attributes
    ----------
    memory : list of Memory
        The arrays that A and B lie in, and C.
    left, right : MatrixView
    axes : list of (size, left stride, right stride)
        The batch axes, the innermost first, joined where strides allow.
    batch, m, n, k : SizeLike
        `batch` is the number of matrices.
    nodes : list of Node
        The product.
    """

    memory: list[Memory]
    left: MatrixView
    right: MatrixView
    axes: list[tuple[SizeLike, SizeLike, SizeLike]]
    batch: SizeLike
    m: SizeLike
    n: SizeLike
    k: SizeLike
    nodes: list[Node]

    @property
    def label(self) -> str:
        """The product as text, with T for an operand that is read transposed."""
        flags = ["" if v.columns == 1 else ".T" for v in (self.left, self.right)]
        return f"A{flags[0]} @ B{flags[1]} -> {self.nodes[0].type}"


def lower_product(fusion: Fusion, node: Node) -> ProductCall:
    """Return the step of a product whose operands are in memory."""
    left, right = (
        _contiguous(arg, node) if view is None else view
        for arg, view in zip(node.args, operand_views(node, fusion.info))
    )
    memory = [Memory(v.source, v.source.size, v.source.dtype) for v in (left, right)]
    memory.append(Memory(node, node.size, node.dtype))
    return ProductCall(
        memory,
        left,
        right,
        _joined_axes(node.shape[:-2], left.batch, right.batch),
        sizes.product(node.shape[:-2]),
        node.shape[-2],
        node.shape[-1],
        node.args[0].shape[-1],
        [node],
    )


def _contiguous(arg: Node, node: Node) -> MatrixView:
    stride = arg.shape[-2] * arg.shape[-1]
    strides: list[SizeLike] = []
    for s in reversed(arg.shape[:-2]):
        strides.append(0 if s == 1 else stride)
        stride = stride * s
    strides += [0] * (node.ndim - arg.ndim)
    return MatrixView(arg, 0, tuple(reversed(strides)), arg.shape[-1], 1)


def _joined_axes(
    shape: Shape, left: Sequence[SizeLike], right: Sequence[SizeLike]
) -> list[tuple[SizeLike, SizeLike, SizeLike]]:
    out: list[tuple[SizeLike, SizeLike, SizeLike]] = []
    for size, a, b in reversed(list(zip(shape, left, right))):
        if size == 1:
            continue
        if out:
            inner, da, db = out[-1]
            if a == da * inner and b == db * inner:
                out[-1] = (inner * size, da, db)
                continue
        out.append((size, a, b))
    return out
