"""Rematerialization: values are computed again rather than kept.

A value that is used early and then, after a gap, late (a forward value that the
backward pass reads) can be dropped in between. It is computed again from what is kept,
in a copy of its expression whose arguments are taken `ops.order.after` something that
comes right before the late use; interning would else give the same node back.

What to drop follows Chen, Xu, Zhang and Guestrin (Training deep nets with sublinear
memory cost, 2016): values are gone through in the order they are computed; when those
dropped since the last kept one exceed a number of bytes, one is kept, and a new
segment begins, which is computed again as a whole. The number of bytes is searched
for, and so is the cost up to which values are dropped, in operations per byte, cheap
ones first (as Kusumoto et al., A graph theoretic framework of recomputation, 2019).
Every choice is scheduled and planned like any graph: it is the planner that says what
it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.origin import set_inherited
from graphc.ops.leaf import constant_, input_
from graphc.ops.order import after_
from graphc.schedule.memory import evaluator, writes
from graphc.schedule.program import Program, schedule
from graphc.types import sizes
from graphc.types.errors import InputError, MemoryBudgetError
from graphc.types.sizes import Dim, SizeLike

COST_LEVELS = 4
"""How many bounds of the cost per byte are tried."""


def within_budget(
    graph: Graph, donated: Collection[int], budget: int, dims: Mapping[str, int]
) -> Program:
    """Return a program whose outputs and workspace fit into some bytes.

    Parameters
    ----------
    graph : Graph
    donated : collection of int
    budget : int
    dims : dict of str to int
        The values of symbolic dimensions for which it shall hold.

    Raises
    ------
    InputError
        If the value of a dimension is missing.
    MemoryBudgetError
        If no choice that was tried fits; it names the least.
    """
    values = _values(graph, dims)
    program = schedule(graph, donated)
    first = peak(program, values)
    if first <= budget:
        return program
    program = schedule(graph, donated, pipelines=False)
    least = peak(program, values)
    if least <= budget:
        return program
    for dropped in _choices(program, values):
        other = schedule(_recomputed(program, dropped), donated, pipelines=False)
        found = peak(other, values)
        if found <= budget:
            return other
        least = min(least, found)
    raise MemoryBudgetError(
        f"memory_budget={budget:,} bytes is too little: without computing anything "
        f"again {first:,} are needed, and the least found is {least:,}, among segments "
        "of values computed again, of lengths that grow by half. Raise the budget, "
        "donate inputs, or compute in smaller batches."
    )


def peak(program: Program, values: Mapping[Dim, int]) -> int:
    """Return the bytes of a program's new outputs and workspace."""
    plan = program.memory
    size = evaluator(plan, values)
    new = [o for i, o in enumerate(program.graph.outputs) if i not in plan.reused]
    return size(plan.workspace) + sum(size(_bytes(o)) for o in new)


def _bytes(node: Node) -> SizeLike:
    return node.size * node.dtype.itemsize


def _values(graph: Graph, dims: Mapping[str, int]) -> dict[Dim, int]:
    out: dict[Dim, int] = {}
    for node in graph.inputs:
        for s in node.shape:
            for d in sizes.dims(s):
                if d.name not in dims:
                    raise InputError(
                        f"memory_budget needs the size {d.name!r} of {node.label()}: "
                        f"give sizes={{{d.name!r}: ...}}."
                    )
                out[d] = dims[d.name]
    return out


@dataclass(eq=False)
class _Value:
    """A value that could be dropped between an early and a late use."""

    node: Node
    bytes: int
    cost: int
    written: int
    late: int


@dataclass(eq=False)
class _Segment:
    """Values computed again together, once `anchor` has been computed."""

    values: list[_Value]
    anchor: Node


class _Uses:
    """When a program's values are written and read.

    Attributes
    ----------
    time : dict of Node to int
        The step that computes each value kept in memory.
    reads : dict of Node to list of int
    """

    def __init__(self, program: Program):
        self.time: dict[Node, int] = {}
        self.reads: dict[Node, list[int]] = {}
        kept = program.fusion.kept
        for number, step in enumerate(program.calls):
            for node in step.nodes:
                if node in kept:
                    self.time.setdefault(node, number)
            for memory, written in zip(step.memory, writes(step)):
                if memory.node is not None and not written:
                    self.reads.setdefault(memory.node, []).append(number)


def _choices(program: Program, values: Mapping[Dim, int]) -> Iterator[list[_Segment]]:
    """Return sets of segments to drop, those that cost less first."""
    uses = _Uses(program)
    found = _droppable(program, uses, values)
    if not found:
        return
    by_step = sorted((t, n.serial, n) for n, t in uses.time.items())
    ratios = sorted(v.cost / max(v.bytes, 1) for v in found)
    bounds = {
        ratios[(len(ratios) - 1) * i // COST_LEVELS] for i in range(1, COST_LEVELS)
    }
    total = sum(v.bytes for v in found)
    for bound in sorted({*bounds, ratios[-1]}):
        room = min(v.bytes for v in found)
        seen: set[tuple[int, ...]] = set()
        while True:
            segments = list(_segments(found, bound, room, by_step))
            lengths = tuple(len(s.values) for s in segments)
            if segments and lengths not in seen:
                yield segments
            seen.add(lengths)
            if room > total:
                break
            room += max(room // 2, 1)


def _droppable(
    program: Program, uses: _Uses, values: Mapping[Dim, int]
) -> list[_Value]:
    """Return what is alive, and not used, when most memory is in use."""
    size = evaluator(program.memory, values)
    busiest = _busiest(program, size)
    outputs = set(program.graph.outputs)
    out: list[_Value] = []
    for node, written in uses.time.items():
        reads = uses.reads.get(node, [])
        if node in outputs or not reads or node.op is constant_:
            continue
        moments = [written, *reads]
        gap, late = max((b - a, b) for a, b in pairwise(moments))
        if gap > 2 and late - gap < busiest < late and size(_bytes(node)):
            out.append(_Value(node, size(_bytes(node)), 0, written, late))
    there = {v.node for v in out} | outputs
    for v in out:
        v.cost = sum(size(n.op.flops(n)) for n in _cone(v.node, there))
    return sorted(out, key=lambda v: (v.written, v.node.serial))


def _busiest(program: Program, size: object) -> int:
    change = [0] * (len(list(program.calls)) + 2)
    for array in program.memory.arrays:
        bytes_ = size(array.size)  # type: ignore[operator]
        change[array.first] += bytes_
        change[array.last + 1] -= bytes_
    best = most = now = 0
    for step, difference in enumerate(change):
        now += difference
        if now > most:
            best, most = step, now
    return best


def _cone(node: Node, there: Collection[Node]) -> list[Node]:
    """Return what is computed for a value from others that are there."""
    out: list[Node] = []
    seen = {node}
    stack = [node]
    while stack:
        top = stack.pop()
        out.append(top)
        for a in top.args:
            if a not in seen and a not in there and a.args:
                seen.add(a)
                stack.append(a)
    return out


def _segments(
    found: list[_Value], bound: float, room: int, by_step: list[tuple[int, int, Node]]
) -> Iterator[_Segment]:
    together: list[_Value] = []
    held = 0
    for value in [*found, None]:
        if value is not None and value.cost > bound * value.bytes:
            continue  # kept, for it costs too much
        if value is None or held + value.bytes > room:
            anchor = _anchor(together, by_step)
            if anchor is not None:
                yield _Segment(together, anchor)
            together, held = [], 0
            continue  # kept: the next segment starts from it
        together.append(value)
        held += value.bytes


def _anchor(values: list[_Value], by_step: list[tuple[int, int, Node]]) -> Node | None:
    """Return what is computed last before the first late use of some values."""
    if not values:
        return None
    late = min(v.late for v in values)
    low, high = 0, len(by_step)
    while low < high:
        middle = (low + high) // 2
        if by_step[middle][0] < late:
            low = middle + 1
        else:
            high = middle
    time, _, node = by_step[low - 1]
    return node if time > max(v.written for v in values) else None


def _recomputed(program: Program, segments: list[_Segment]) -> Graph:
    """Return the graph in which the late uses of some values use copies of them."""
    return _Rebuilding(program, segments).graph()


_Key = tuple[Node, int, int]
"""A node, the step it is computed for, and the segment whose copy it is, or -1."""


class _Rebuilding:
    def __init__(self, program: Program, segments: list[_Segment]):
        self.program = program
        self.segments = segments
        uses = _Uses(program)
        self.time = uses.time
        self.last = {n: reads[-1] for n, reads in uses.reads.items()}
        self.last |= dict.fromkeys(program.graph.outputs, len(list(program.calls)))
        self.dropped = {
            v.node: (number, v.late)
            for number, s in enumerate(segments)
            for v in s.values
        }
        self.made: dict[_Key, Node] = {}

    def graph(self) -> Graph:
        graph = self.program.graph
        before = set_inherited(None)
        try:
            outputs = [self._make(self._at(o)) for o in graph.outputs]
        finally:
            set_inherited(before)
        return Graph(graph.inputs, outputs)

    def _at(self, node: Node) -> _Key:
        """Return the key of a value at the step that computes it first."""
        return (node, self.time.get(node, -1), -1)

    def _make(self, root: _Key) -> Node:
        # in the order of time first, so that anchors are there when they are needed
        stack = [root]
        while stack:
            key = stack[-1]
            if key in self.made:
                stack.pop()
                continue
            needed = self._needed(key)
            waiting = [k for k in needed if k not in self.made]
            if waiting:
                stack.extend(reversed(waiting))
                continue
            stack.pop()
            self.made[key] = self._rebuilt(key, needed)
        return self.made[root]

    def _needed(self, key: _Key) -> list[_Key]:
        node, step, segment = key
        needed = [self._argument(a, step, segment) for a in node.args]
        if segment >= 0:
            needed.append(self._at(self.segments[segment].anchor))
        return needed

    def _argument(self, arg: Node, step: int, segment: int) -> _Key:
        stored = arg in self.time or arg.op is input_ or not arg.args
        if segment >= 0:
            if arg.args and not (stored and self._there(arg, step)):
                return (arg, step, segment)
            return self._at(arg)
        if not stored:
            return (arg, step, -1)
        number, late = self.dropped.get(arg, (-1, step + 1))
        if step >= late:
            return (arg, self.segments[number].values[0].late, number)
        return self._at(arg)

    def _there(self, node: Node, step: int) -> bool:
        """Tell whether a value is in memory at a step anyway."""
        return node not in self.dropped and self.last.get(node, -1) >= step

    def _rebuilt(self, key: _Key, needed: list[_Key]) -> Node:
        node, _, segment = key
        args = [self.made[k] for k in needed]
        if segment >= 0:
            anchor = args.pop()
            args = [
                a
                if k[2] == segment or not (a.args or a.op is input_)
                else after_(a, anchor)
                for a, k in zip(args, needed)
            ]
        if all(a is b for a, b in zip(args, node.args)):
            return node
        set_inherited(node.site)
        new = node.op.rebuild(node, tuple(args))
        if node.name and new.name is None and new.args:
            new.name = node.name
        return new
