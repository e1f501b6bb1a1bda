"""Lowering of groups, each form once.

The layers of a network and the steps of an unrolled loop are groups that differ in the
arrays they read and write only. What the lowering of a group depends on is written down
as its *form*: its nodes in order, each with its op, parameters, type and arguments by
their numbers. Groups of one form share their kernels; only what the buffers stand for
is told anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.graph.node import Node
from graphc.ops.declare import Reduce
from graphc.ops.leaf import uniform_value
from graphc.schedule.blocks import BLOCK
from graphc.schedule.estimate import worth_a_scratch_row
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.fusion import Fusion, Group
from graphc.schedule.lower import lower_group
from graphc.types.sizes import SizeLike


class GroupLowerer:
    """Lowers the groups of one graph.

    Parameters
    ----------
    fusion : Fusion
    report : callable
        Returns the code for an index of a node out of range.
    """

    def __init__(self, fusion: Fusion, report: Callable[[Node], int]):
        self.fusion = fusion
        self.report = report
        self.reported = False
        self.known: dict[tuple, tuple[dict[Node, int], list[KernelCall]]] = {}

    def lower(
        self, group: Group, chunks: SizeLike, most_rows: int = BLOCK
    ) -> list[KernelCall]:
        """Return the kernels of a group; see `schedule.lower.lower_group`."""
        form, numbers = self._form(group)
        if form is None:
            return lower_group(self.fusion, group, self._report, chunks, most_rows)
        key = (*form, chunks, most_rows)
        found = self.known.get(key)
        if found is not None:
            return _renamed(*found, list(numbers))
        self.reported = False
        calls = lower_group(self.fusion, group, self._report, chunks, most_rows)
        if not self.reported:  # whose index is out of range is said by the code
            copies = [_copy(c, list(c.memory), c.nodes) for c in calls]
            self.known[key] = numbers, copies
        return calls

    def _report(self, node: Node) -> int:
        self.reported = True
        return self.report(node)

    def _form(self, group: Group) -> tuple[tuple | None, dict[Node, int]]:
        """Return all that lowering depends on, and the number of each node in it."""
        info, kept = self.fusion.info, self.fusion.kept
        numbers: dict[Node, int] = {}
        parts: list[Any] = [group.rows]
        for node in sorted(group.nodes, key=lambda n: n.serial):
            given = []
            for arg in node.args:
                if arg not in numbers:
                    numbers[arg] = len(numbers)
                    value = uniform_value(arg)
                    if value is not None:
                        parts.append((arg.op, arg.params, arg.type))
                    elif info[arg].kind == "stored" or arg in kept:
                        parts.append(arg.type)
                    elif not arg.args:
                        parts.append((arg.op, arg.params, arg.type))
                    else:
                        return None, numbers
                given.append(numbers[arg])
            numbers[node] = len(numbers)
            name = node.name if isinstance(node.op, Reduce) else None
            cheap = not worth_a_scratch_row(info[node].cost)
            parts.append((node.op, node.params, node.type, name, cheap, *given))
        parts.append(tuple(numbers[root] for root in group.roots))
        return tuple(parts), numbers


def _renamed(
    numbers: dict[Node, int], calls: list[KernelCall], nodes: list[Node]
) -> list[KernelCall]:
    """Return calls of the same kernels on other nodes."""
    own: dict[int, Memory] = {}

    def memory(old: Memory) -> Memory:
        if id(old) not in own:
            node = None if old.node is None else nodes[numbers[old.node]]
            own[id(old)] = Memory(node, old.size, old.dtype)
        return own[id(old)]

    out = []
    for call in calls:
        places = [memory(m) for m in call.memory]
        out.append(_copy(call, places, [nodes[numbers[n]] for n in call.nodes]))
    return out


def _copy(call: KernelCall, memory: list[Memory], nodes: list[Node]) -> KernelCall:
    return KernelCall(call.kernel, memory, call.chunks, nodes, call.block)
