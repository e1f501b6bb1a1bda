"""Slices whose places are told to a kernel instead of being written into it.

The steps of an unrolled loop read ``x[0]``, ``x[1]``, ... Where such a slice begins
does nothing but add a number to the offsets at which arrays in memory are read, if
whatever lies between passes that axis of its index on. Then groups that differ in it
are lowered once, and their kernels follow by shifting loads (`kernels.shift`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from graphc.graph.node import Node
from graphc.ops.declare import Reduce
from graphc.ops.leaf import uniform_value
from graphc.schedule.access import AXES, AXIS_INDEX, Reading, axes_used, reading
from graphc.schedule.fusion import Fusion, Group
from graphc.types import sizes


@dataclass(eq=False)
class Shift:
    """Slices of one group that move together.

    Attributes
    ----------
    start : int
        Where the first of them begins.
    heads : dict of Node to int
        The slices, and the axis along which each moves.
    between : dict of Node to int
        What is computed for them, and the axis that moves.
    strides : dict of Node to int
        The arrays that are read, and by how many elements if all begin one later.
    """

    start: int
    heads: dict[Node, int] = field(default_factory=dict)
    between: dict[Node, int] = field(default_factory=dict)
    strides: dict[Node, int] = field(default_factory=dict)


class Shifts:
    """Finds the shifts of groups.

    Parameters
    ----------
    fusion : Fusion
    """

    def __init__(self, fusion: Fusion):
        self.fusion = fusion
        self.readings: dict[Node, Reading] = {}
        self.passed: dict[tuple[Node, int], list[tuple[Node, int]] | None] = {}

    def of(self, group: Group, nodes: Iterable[Node]) -> list[Shift]:
        """Return the shifts of a group's nodes, which are given in order."""
        found: list[Shift] = []
        nodes = list(nodes)
        for node in nodes:
            if hasattr(node.op, "moved_by"):
                shift = self._along(node, group)
                if shift is not None:
                    found.append(shift)
        if not found:
            return []
        return [s for s in _together(found) if self._alone(s, group, nodes)]

    def _along(self, head: Node, group: Group) -> Shift | None:
        """Return the shift of one slice: of its first axis that does not begin at 0.

        At 0 an element may be one that the kernel just had.
        """
        starts, _ = head.op.moved_by(head.params)
        axis = next((a for a, s in enumerate(starts) if s != 0), None)
        if axis is None or not isinstance(starts[axis], int) or starts[axis] < 0:
            return None
        shift = Shift(starts[axis], {head: axis})
        stack = [(head.args[0], axis)]
        while stack:
            node, axis = stack.pop()
            if uniform_value(node) is not None:
                continue
            if self._in_memory(node):
                stride = _stride(node, axis)
                if not stride or shift.strides.setdefault(node, stride) != stride:
                    return None
                if node in group.nodes:
                    return None
                continue
            if node not in group.nodes or isinstance(node.op, Reduce):
                return None
            if shift.between.setdefault(node, axis) != axis:
                return None
            key = (node, axis)
            if key not in self.passed:
                self.passed[key] = self._passed_on(node, axis)
            following = self.passed[key]
            if following is None:
                return None
            stack += following
        return shift if shift.strides else None

    def _passed_on(self, node: Node, axis: int) -> list[tuple[Node, int]] | None:
        """Return what a node reads at the index of its axis, and along which own axis.

        None if that index goes into anything else.
        """
        read = self._reading(node)
        variable = AXES[axis]
        if variable in read.asked:
            return None
        out = []
        for access in read.accesses:
            moved = [
                a for a, i in enumerate(access.index) if variable in axes_used((i,))
            ]
            if not moved:
                continue
            rest = access.index[moved[0]] - AXIS_INDEX[axis]
            if len(moved) > 1 or not isinstance(rest, int) or rest < 0:
                return None
            out.append((node.args[access.position], moved[0]))
        return out

    def _reading(self, node: Node) -> Reading:
        if node not in self.readings:
            self.readings[node] = reading(node)
        return self.readings[node]

    def _in_memory(self, node: Node) -> bool:
        return self.fusion.info[node].kind == "stored" or node in self.fusion.kept

    def _alone(self, shift: Shift, group: Group, nodes: Iterable[Node]) -> bool:
        """Tell whether all reads of what is moved are moved."""
        moved = {**shift.between, **shift.strides}
        other = {*group.roots, *shift.heads}  # stored too, or moved twice
        if any(node in other for node in shift.between):
            return False
        for node in nodes:
            if node in shift.heads:
                continue
            axis = shift.between.get(node)
            if axis is None:
                if any(arg in moved for arg in node.args):
                    return False
                continue
            variable = AXES[axis]
            for access in self._reading(node).accesses:
                still = variable not in axes_used(access.index)
                if still and node.args[access.position] in moved:
                    return False
        return True


def _stride(node: Node, axis: int) -> int:
    """Return by how many elements an index along an axis moves; 0 if not known."""
    size = node.size
    if not isinstance(size, int):
        return 0
    return size and int(sizes.product(node.shape[axis + 1 :]))


def _together(found: Iterable[Shift]) -> list[Shift]:
    """Return shifts with those made one that read anything in common."""
    out: list[Shift] = []
    for shift in found:
        rest = []
        for other in out:
            if not _meet(other.between, shift.between) and not _meet(
                other.strides, shift.strides
            ):
                rest.append(other)
                continue
            if not _agree(other.between, shift.between) or not _agree(
                other.strides, shift.strides
            ):
                return []
            heads = {**other.heads, **shift.heads}
            between = {**other.between, **shift.between}
            strides = {**other.strides, **shift.strides}
            shift = Shift(other.start, heads, between, strides)
        out = [*rest, shift]
    return out


def _meet(a: dict[Node, int], b: dict[Node, int]) -> bool:
    return not a.keys().isdisjoint(b)


def _agree(a: dict[Node, int], b: dict[Node, int]) -> bool:
    return all(b.get(node, value) == value for node, value in a.items())
