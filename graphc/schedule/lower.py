"""Lowering of a group of nodes to a kernel: how its rows are run."""

from __future__ import annotations

from collections.abc import Callable

from graphc.graph.node import Node
from graphc.ops.declare import Reduce
from graphc.schedule.blocks import BlockLowering, block_size
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.fusion import Fusion, Group
from graphc.schedule.rows import CHUNK_WORK, MAX_CHUNKS, GroupLowering
from graphc.types.sizes import SizeLike

__all__ = ["CHUNK_WORK", "MAX_CHUNKS", "KernelCall", "Memory", "lower_group"]


def lower_group(
    fusion: Fusion, group: Group, report: Callable[[Node], int], chunks: SizeLike
) -> list[KernelCall]:
    """Return the kernel of a group, and those that combine its partial results.

    The axes of the rows become one loop. Where every offset depends on them only
    through their row-major combination that is free; else indices are divided out.
    """
    rows = group.rows
    flat = all(r.shape == rows for r in group.roots) and not any(
        isinstance(n.op, Reduce) for n in group.nodes
    )
    if flat and len(rows) >= 2:
        trial = GroupLowering(fusion, group, rows, report, "apart", chunks)
        if trial.collapses():
            return GroupLowering(fusion, group, rows, report, "joined", chunks).finish()
        rows = rows[:-1]
    mode = "divided"
    if len(rows) >= 2:
        trial = GroupLowering(fusion, group, rows, report, "apart", chunks)
        mode = "joined" if trial.collapses() else "divided"
    block = block_size(fusion, group, rows)
    if block:
        return BlockLowering(fusion, group, rows, report, mode, chunks, block).finish()
    return GroupLowering(fusion, group, rows, report, mode, chunks).finish()
