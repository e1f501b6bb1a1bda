"""Lowering of a group of nodes to one kernel that runs blocks of rows.

Where rows are short, or much is computed once for each row, the loop over a row is not
the one to vectorize. Then each stage runs for a block of rows before the next one
does, and is a loop over these rows of its own (strip-mining and loop distribution); the
values of a row that later stages need lie in scratch memory of one block, in cache.
"""

from __future__ import annotations

from graphc.graph.node import Node
from graphc.kernels.ir import Accumulator, Loop, LoopVar, Statement, Store
from graphc.ops.declare import Reduce
from graphc.ops.scalars import Index
from graphc.schedule.access import row_major
from graphc.schedule.estimate import worth_a_scratch_row
from graphc.schedule.evaluate import Memory
from graphc.schedule.fusion import Fusion, Group
from graphc.schedule.rows import GroupLowering, without_ones
from graphc.types import sizes
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape

SHORT_ROW = 16
"""Elements up to which a loop over a row fills no vectors."""

LONG_ROW = 512
"""Elements from which a row fills vectors well enough, and a block leaves the cache."""

BLOCK = 128
"""Rows of a block at the most."""

BLOCK_ELEMENTS = 1 << 12
"""Elements of one array in a block, at the most: some arrays fit the nearest cache."""

FEW_ROWS = 16
"""Rows up to which there are no blocks."""


def block_size(fusion: Fusion, group: Group, rows: Shape) -> int:
    """Return the rows of a block, 0 to run row by row.

    Blocks pay if rows are short, or if what is computed once for each row counts
    against the elements of the row, divided by the lanes of a vector.
    """
    count = len(rows)
    few = sizes.product(rows)
    if not rows or (isinstance(few, int) and few < FEW_ROWS):
        return 0
    if isinstance(rows[-1], int) and rows[-1] < FEW_ROWS and count > 1:
        return 0
    widest, once = 0, 0
    for node in [*group.roots, *(n for n in group.nodes if isinstance(n.op, Reduce))]:
        shape = node.args[0].shape if isinstance(node.op, Reduce) else node.shape
        width = sizes.product(shape[count:])
        if not isinstance(width, int) or width > LONG_ROW:
            return 0
        widest = max(widest, width)
    for node in group.nodes:
        if is_row_scalar(node, rows):
            cost = getattr(node.op, "cost", 0)
            once += cost + 20 * getattr(node.op, "transcendental", 0)
    if widest <= 1 or (widest > SHORT_ROW and 4 * once < widest):
        return 0
    block = BLOCK
    while block > 16 and block * widest > BLOCK_ELEMENTS:
        block //= 2
    return block


def is_row_scalar(node: Node, rows: Shape) -> bool:
    """Tell whether a node has one element for each row."""
    inner = node.shape[len(rows) :]
    return (
        not isinstance(node.op, Reduce)
        and node.shape[: len(rows)] == rows
        and not without_ones(inner)
    )


class BlockLowering(GroupLowering):
    """Builds one kernel whose rows are run in blocks of `block`."""

    short = SHORT_ROW

    def __init__(
        self,
        fusion: Fusion,
        group: Group,
        rows: Shape,
        report: object,
        mode: str,
        chunks: SizeLike,
        block: int,
    ):
        self.mode = mode
        whole = sizes.product(rows) if mode == "joined" else rows[-1]
        if isinstance(whole, int):
            block = min(block, whole)
        self.block = block
        self.whole = whole
        self.blocks = sizes.floordiv(whole + (block - 1), block)
        self.outer: SizeLike = 1 if mode == "joined" else sizes.product(rows[:-1])
        self.lane: LoopVar | None = None
        chunks = sizes.minimum(chunks, sizes.maximum(1, self.outer * self.blocks))
        super().__init__(fusion, group, rows, report, mode, chunks)  # type: ignore[arg-type]

    def _build(self) -> None:
        self.extent = self.outer * self.blocks
        super()._build()

    # --------------------------------------------------------------- indices

    def _row_index(self, mode: str) -> Index:
        return ()  # there is one for each loop over a block

    def _begin(self) -> None:
        super()._begin()
        self.lane = self.variable("i")
        number: SizeLike = sizes.of_atom(self.row)
        place = sizes.mod(number, self.blocks) if self.outer != 1 else number
        at = place * self.block + sizes.of_atom(self.lane)
        self.extent_here = sizes.minimum(self.block, self.whole - place * self.block)
        if isinstance(self.whole, int) and self.whole % self.block == 0:
            self.extent_here = self.block
        if self.mode == "joined":
            others: list[SizeLike] = [sizes.of_atom(v) for v in self.apart[:-1]]
            self.row_index = (*others, at - row_major((*others, 0), self.rows))
            return
        outer = sizes.floordiv(number, self.blocks)
        index: list[SizeLike] = [at]
        for s in reversed(self.rows[1:-1]):
            index.append(sizes.mod(outer, s))
            outer = sizes.floordiv(outer, s)
        if len(self.rows) > 1:
            index.append(outer)
        self.row_index = tuple(reversed(index))

    def _end(self, body: list[Statement]) -> None:
        assert self.lane is not None
        self.body.append(Loop(self.lane, self.extent_here, body))

    # ---------------------------------------------------------------- values

    def _scratch(self, width: SizeLike) -> tuple[SizeLike, SizeLike]:
        assert self.lane is not None
        row = sizes.of_atom(self.chunk) * self.block + sizes.of_atom(self.lane)
        return width * self.chunks * self.block, row * width

    def _finished(
        self, node: Node, accumulator: Accumulator, finish: list[Statement]
    ) -> None:
        buffer = self.of_node.get(node)
        if buffer is None:
            size, base = self._scratch(1)
            buffer = self.buffer(Memory(None, size, node.dtype), True)
            finish.append(Store(buffer, base, accumulator))
        self.rowed[node] = (buffer, self.stage)

    def _row_scalars(self, level: dict[Node, int], stage: int) -> list[Node]:
        """Return what is computed once for each row and used in a loop over the row."""
        wanted: dict[Node, None] = {}
        for node in self.order:
            wide = node.args[0] if isinstance(node.op, Reduce) else node
            if not without_ones(wide.shape[len(self.rows) :]):
                continue
            for arg in node.args:
                if (
                    arg in self.group.nodes
                    and level[arg] == stage
                    and is_row_scalar(arg, self.rows)
                    and worth_a_scratch_row(self.fusion.info[arg].cost)
                ):
                    wanted[arg] = None
        return list(wanted)
