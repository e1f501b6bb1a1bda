"""Kernels that read the same arrays, merged: horizontal fusion.

Kernels of one depth do not need each other. Where two have the same rows, or one can
take the rows of the other, and they read the same large array, they are made one that
reads it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphc.graph.node import Node
from graphc.types import sizes
from graphc.types.tensor_type import Shape

if TYPE_CHECKING:
    from graphc.schedule.fusion import Fusion, Group

LARGE = 1 << 14
"""Bytes from which an array is worth reading only once."""

MOST_ARRAYS = 16
"""Arrays one kernel reads and writes: memory keeps up with so many streams."""

SHORT = 16
"""Elements of a row from which a loop over the row is as fast as one over all."""

PARALLEL = 64
"""Rows that are enough to share among threads."""


def merged(fusion: Fusion, groups: Sequence[Group]) -> list[Group]:
    """Return the groups of one depth, those that read the same large arrays merged."""
    out: list[Group | None] = []
    readers: dict[Node, list[int]] = {}
    for group in groups:
        place = len(out)
        out.append(group)
        for other in _candidates(group, readers):
            first = out[other]
            joint = None if first is None else _joint(fusion, first, group)
            if joint is not None:
                out[place] = None
                out[other], place = joint, other
                break
        for node in group.reads:
            if is_large(node):
                readers.setdefault(node, []).append(place)
    return [g for g in out if g is not None]


def _candidates(group: Group, readers: dict[Node, list[int]]) -> list[int]:
    """Return the groups that share large arrays, those that share most first."""
    shared: dict[int, int] = {}
    for node in group.reads:
        for place in dict.fromkeys(readers.get(node, ())[-8:]):
            shared[place] = shared.get(place, 0) + 1
    return sorted(shared, key=lambda place: (-shared[place], place))


def is_large(node: Node) -> bool:
    """Tell whether an array is worth reading only once; one of unknown size is."""
    size = node.size
    return not isinstance(size, int) or size * node.dtype.itemsize >= LARGE


def _joint(fusion: Fusion, a: Group, b: Group) -> Group | None:
    """Return one group for two, None if they do not fit together."""
    rows = _common_rows(fusion, a, b)
    arrays = {*a.reads, *b.reads, *a.roots, *b.roots}
    if rows is None or len(arrays) > MOST_ARRAYS:
        return None
    if len(a.nodes) + len(b.nodes) > fusion.limit:
        return None
    joint = type(a)(a.depth, rows)
    joint.roots = sorted({*a.roots, *b.roots}, key=lambda n: n.serial)
    fusion.visit(joint)
    return joint


def _common_rows(fusion: Fusion, a: Group, b: Group) -> Shape | None:
    if a.rows == b.rows:
        return a.rows
    wide, narrow = (a, b) if len(a.rows) > len(b.rows) else (b, a)
    rows = narrow.rows
    count = sizes.product(rows)
    inner = sizes.product(wide.rows[len(rows) :])
    if (
        wide.rows[: len(rows)] != rows
        or not all(fusion.info[r].free for r in wide.roots)
        or (isinstance(count, int) and count < PARALLEL)
        or (isinstance(inner, int) and inner < SHORT)
    ):
        return None
    return rows
