"""Lowering of groups, each form once.

The layers of a network and the steps of an unrolled loop are groups that differ in the
arrays they read and write only, and in the places where slices of these begin. What
the lowering of a group depends on is written down as its *form*: its nodes in order,
each with its op, parameters, type and arguments by their numbers. Groups of one form
share their kernels; only what the buffers stand for is told anew, and where slices
begin (`schedule.shifts`) and which node reports an index is put into a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graphc.graph.node import Node
from graphc.kernels.ir import Kernel
from graphc.kernels.shift import shifted
from graphc.ops.declare import Reduce
from graphc.ops.leaf import integer_range, uniform_value
from graphc.schedule.blocks import BLOCK
from graphc.schedule.estimate import worth_a_scratch_row
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.fusion import Fusion, Group
from graphc.schedule.lower import lower_group
from graphc.schedule.shifts import Shift, Shifts
from graphc.types.sizes import SizeLike


@dataclass(eq=False)
class _Lowered:
    """The kernels of the first group of a form.

    Attributes
    ----------
    numbers : dict of Node to int
        The number of each node in the form.
    calls : list of KernelCall
    starts : tuple of int
        Where the slices of each of the group's shifts begin.
    strides : tuple of dict of int to int
        For each shift, the arrays it moves in, by their numbers, and their strides.
    codes : dict of int to int
        For each code of an index out of range, the number of the node that reports it.
    kernels : dict of tuple to list of Kernel
        The kernels by `starts` and codes.
    """

    numbers: dict[Node, int]
    calls: list[KernelCall]
    starts: tuple[int, ...]
    strides: tuple[dict[int, int], ...]
    codes: dict[int, int]
    kernels: dict[tuple, list[Kernel]] = field(default_factory=dict)

    def moved(self, starts: tuple[int, ...], codes: tuple[int, ...]) -> list[Kernel]:
        """Return the kernels for other starts and codes."""
        key = (starts, codes)
        if key not in self.kernels:
            elements: dict[int, int] = {}
            for new, old, strides in zip(starts, self.starts, self.strides):
                for number, stride in strides.items():
                    elements[number] = (new - old) * stride
            renamed = dict(zip(self.codes, codes))
            self.kernels[key] = [self._moved(c, elements, renamed) for c in self.calls]
        return self.kernels[key]

    def _moved(
        self, call: KernelCall, elements: dict[int, int], codes: dict[int, int]
    ) -> Kernel:
        shifts: dict[int, SizeLike] = {}
        for buffer, memory in zip(call.kernel.buffers, call.memory):
            if memory.node is not None:
                shifts[buffer.number] = elements.get(self.numbers[memory.node], 0)
        return shifted(call.kernel, shifts, codes)


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
        self.shifts = Shifts(fusion)
        self.reported: dict[int, Node] = {}
        self.known: dict[tuple, _Lowered] = {}

    def lower(
        self, group: Group, chunks: SizeLike, most_rows: int = BLOCK
    ) -> list[KernelCall]:
        """Return the kernels of a group; see `schedule.lower.lower_group`."""
        form, numbers, shifts = self._form(group)
        if form is None:
            return lower_group(self.fusion, group, self._report, chunks, most_rows)
        key = (*form, chunks, most_rows)
        starts = tuple([shift.start for shift in shifts])
        found = self.known.get(key)
        if found is not None:
            nodes = list(numbers)
            codes = tuple([self.report(nodes[n]) for n in found.codes.values()])
            return _renamed(found, found.moved(starts, codes), nodes)
        self.reported = {}
        calls = lower_group(self.fusion, group, self._report, chunks, most_rows)
        if all(node in numbers for node in self.reported.values()):
            copies = [replace(c, memory=list(c.memory)) for c in calls]
            strides = [{numbers[n]: s for n, s in x.strides.items()} for x in shifts]
            codes_of = {code: numbers[n] for code, n in self.reported.items()}
            lowered = _Lowered(numbers, copies, starts, tuple(strides), codes_of)
            lowered.kernels[starts, tuple(codes_of)] = [c.kernel for c in calls]
            self.known[key] = lowered
        return calls

    def _report(self, node: Node) -> int:
        code = self.report(node)
        self.reported[code] = node
        return code

    def _form(
        self, group: Group
    ) -> tuple[tuple | None, dict[Node, int], Sequence[Shift]]:
        """Return all that lowering depends on, the number of each node, and shifts."""
        info, kept = self.fusion.info, self.fusion.kept
        numbers: dict[Node, int] = {}
        parts: list[Any] = [group.rows]
        nodes = sorted(group.nodes, key=lambda n: n.serial)
        shifts = self.shifts.of(group, nodes)
        heads = {node: shift for shift in shifts for node in shift.heads}
        for node in nodes:
            given = []
            for arg in node.args:
                if arg not in numbers:
                    numbers[arg] = len(numbers)
                    value = uniform_value(arg)
                    if value is not None:
                        parts.append((arg.op, arg.params, arg.type))
                    elif info[arg].kind == "stored" or arg in kept:
                        parts.append((arg.type, integer_range(arg)))
                    elif not arg.args:
                        parts.append((arg.op, arg.params, arg.type))
                    else:
                        return None, numbers, ()
                given.append(numbers[arg])
            numbers[node] = len(numbers)
            name = node.name if isinstance(node.op, Reduce) else None
            cheap = not worth_a_scratch_row(info[node].cost)
            params = node.params
            if node in heads:
                params = _without_start(node, heads[node])
            parts.append((node.op, params, node.type, name, cheap, *given))
        parts.append(tuple(numbers[root] for root in group.roots))
        return tuple(parts), numbers, shifts


def _without_start(node: Node, shift: Shift) -> tuple:
    """Return parameters that say by how much later than the shift a slice begins."""
    starts, others = node.op.moved_by(node.params)
    axis = shift.heads[node]
    later = list(starts)
    later[axis] = starts[axis] - shift.start
    return ("moved", axis, tuple(later), others)


def _renamed(
    found: _Lowered, kernels: Sequence[Kernel], nodes: Sequence[Node]
) -> list[KernelCall]:
    """Return calls of kernels on other nodes."""
    own: dict[int, Memory] = {}
    numbers = found.numbers

    def memory(old: Memory) -> Memory:
        if id(old) not in own:
            node = None if old.node is None else nodes[numbers[old.node]]
            own[id(old)] = Memory(node, old.size, old.dtype, old.read_if_empty)
        return own[id(old)]

    out = []
    for call, kernel in zip(found.calls, kernels):
        places = [memory(m) for m in call.memory]
        computed = [nodes[numbers[n]] for n in call.nodes]
        out.append(KernelCall(kernel, places, call.chunks, computed, call.block))
    return out
