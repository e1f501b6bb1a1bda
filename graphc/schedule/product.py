"""Matrix products as steps of a program: strided operands for BLAS."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.graph.node import Node
from graphc.schedule.evaluate import Memory
from graphc.schedule.fusion import Fusion
from graphc.schedule.views import MatrixView, operand_views
from graphc.types import sizes
from graphc.types.sizes import SizeLike


@dataclass(eq=False)
class ProductCall:
    """``C[b] = A[b] @ B[b]`` for each of `batch` matrices; C is contiguous.

    Attributes
    ----------
    memory : list of Memory
        The arrays that A and B lie in, and C.
    left, right : MatrixView
    batch, m, n, k : SizeLike
    nodes : list of Node
        The product.
    """

    memory: list[Memory]
    left: MatrixView
    right: MatrixView
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
    views = []
    for arg, view in zip(node.args, operand_views(node, fusion.info)):
        views.append(view if view is not None else _contiguous(arg, node))
    memory = [Memory(v.source, v.source.size, v.source.dtype) for v in views]
    memory.append(Memory(node, node.size, node.dtype))
    return ProductCall(
        memory,
        views[0],
        views[1],
        sizes.product(node.shape[:-2]),
        node.shape[-2],
        node.shape[-1],
        node.args[0].shape[-1],
        [node],
    )


def _contiguous(arg: Node, node: Node) -> MatrixView:
    matrix = arg.shape[-2] * arg.shape[-1]
    stacked = sizes.product(arg.shape[:-2])
    return MatrixView(arg, 0, 0 if stacked == 1 else matrix, arg.shape[-1], 1)
