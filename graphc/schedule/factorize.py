"""Factorizations and triangular solves as steps of a program."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.graph.node import Node
from graphc.ops.factorize import Cholesky, LuFactor, TriangularSolve
from graphc.schedule.evaluate import Memory
from graphc.schedule.fusion import Fusion
from graphc.schedule.product import (
    LANES,
    PACKED,
    BatchAxis,
    contiguous_strides,
    joined_axes,
)
from graphc.schedule.views import MatrixView, triangle_view
from graphc.types import sizes
from graphc.types.sizes import SizeLike

WORDS = (
    *("out", "n", "k", "a", "a_row", "a_column", "b", "b_row", "out_row"),
    *("packed", "room", "rooms", "unit", "axes"),
)
"""Argument words of a routine. It makes ``n`` by ``k`` matrices out of those of b,
whose columns lie side by side, by a triangle a; strides are in elements; `packed` is
memory for `rooms` times `room` elements; `axes` counts the batch axes."""

ROOMS = 16
"""Parts of a batch that are worked on at the same time, at most."""


@dataclass(eq=False)
class RoutineCall:
    """A routine on each matrix of a batch.

    Attributes
    ----------
    name : str
    memory : list of Memory
        a, b, the result, and room for parts of products.
    places : tuple of SizeLike
        Where in these the first matrices begin.
    words : dict of str to SizeLike
        The words that are no addresses.
    axes : list of (size, stride of a, of b, of the result)
        The batch axes, the innermost first.
    nodes : list of Node
        The result.
    """

    name: str
    memory: list[Memory]
    places: tuple[SizeLike, ...]
    words: dict[str, SizeLike]
    axes: list[BatchAxis]
    nodes: list[Node]
    kind = "routine"

    @property
    def label(self) -> str:
        """The routine as text."""
        return f"{self.nodes[0].op.name} -> {self.nodes[0].type}"


def lower_routine(fusion: Fusion, node: Node) -> RoutineCall:
    """Return the step of a node whose operands are in memory."""
    name = next(name for kind, name in _NAMES if isinstance(node.op, kind))
    b = node.args[-1]
    n, k = b.shape[-2:]
    b_strides = contiguous_strides(b)
    own = contiguous_strides(node)
    words: dict[str, SizeLike] = {"n": n, "k": k, "unit": 0}
    view = MatrixView(b, 0, b_strides, k, 1)
    places: tuple[SizeLike, ...] = (0, 0, 0)
    row: SizeLike = k
    if name == "trsm":
        lower, transposed, unit = node.params
        view = triangle_view(node, fusion.info)
        rows, columns = view.rows, view.columns
        if transposed:
            rows, columns = columns, rows
        places = (view.offset, 0, 0)
        if lower == transposed:  # from the last row to the first
            places = (view.offset + (n - 1) * (rows + columns), *((n - 1) * k,) * 2)
            rows, columns, row = -rows, -columns, -k
        words |= {"a_row": rows, "a_column": columns, "unit": int(unit)}
    else:
        words |= {"a_row": row, "a_column": 1}
    words |= {"b_row": row, "out_row": row}
    axes = joined_axes(node.shape[:-2], view.batch, b_strides, own)
    padded = sizes.floordiv(k + LANES - 1, LANES) * LANES
    room = sizes.minimum(PACKED, sizes.maximum(n, 1) * padded)
    batch = sizes.product([axis[0] for axis in axes])
    rooms = sizes.maximum(1, sizes.minimum(ROOMS, batch))
    words |= {"room": room, "rooms": rooms, "axes": len(axes)}
    memory = [Memory(x, x.size, x.dtype) for x in (view.source, b, node)]
    memory.append(Memory(None, room * rooms, node.dtype))
    return RoutineCall(name, memory, places, words, axes, [node])


_NAMES = ((Cholesky, "cholesky"), (LuFactor, "lu"), (TriangularSolve, "trsm"))
