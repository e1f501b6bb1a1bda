"""Lowering of a group of nodes to a kernel: how its rows are run."""

from __future__ import annotations

from collections.abc import Callable

from graphc.graph.node import Node
from graphc.ops.declare import Reduce
from graphc.schedule.blocks import BLOCK, BlockLowering, block_size
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.fusion import Fusion, Group
from graphc.schedule.rows import GroupLowering
from graphc.types import sizes
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape

LONG_ROW = 64
"""Elements of an inner loop that divisions of the row's number vanish against."""

FEWEST_ROWS = 8
"""Rows that are worth sharing: axes are looped over inside if as many are left."""

__all__ = ["KernelCall", "Memory", "lower_group"]


def lower_group(
    fusion: Fusion,
    group: Group,
    report: Callable[[Node], int],
    chunks: SizeLike,
    most_rows: int = BLOCK,
) -> list[KernelCall]:
    """Return the kernel of a group, and those that combine its partial results.

    The axes of the rows become one loop. Where every offset depends on them only
    through their row-major combination that is free. Else the last ones become loops
    inside, or indices are divided out. If rows are run in blocks, a block has no more
    than `most_rows`.
    """
    rows, mode = group.rows, "divided"
    while len(rows) >= 2:
        trial = GroupLowering(fusion, group, rows, report, "apart", chunks)
        if trial.collapses():
            mode = "joined"
            break
        inner = sizes.product(group.rows[len(rows) :])
        long = isinstance(inner, int) and inner >= LONG_ROW
        if long or not _may_loop_inside(group, rows):
            break
        rows = rows[:-1]
    block = 0
    if fusion.machine.blocks:
        block = min(block_size(fusion, group, rows), most_rows)
    if block:
        return BlockLowering(fusion, group, rows, report, mode, chunks, block).finish()
    return GroupLowering(fusion, group, rows, report, mode, chunks).finish()


def _may_loop_inside(group: Group, rows: Shape) -> bool:
    """Tell whether the last of the rows' axes may be an inner loop.

    So it may unless a reduction leaves a value for each row, or adds up more than the
    rows left could share.
    """
    reductions = [n for n in group.nodes if isinstance(n.op, Reduce)]
    left = sizes.product(rows[:-1])
    few = isinstance(left, int) and left < FEWEST_ROWS
    return not (reductions and few) and not any(
        n.params[0] and min(n.params[0]) > 0 for n in reductions
    )
