"""A program: the steps that compute a graph in order, and where arrays lie.

Steps are calls of kernels and of matrix products. Intermediate arrays lie in one
workspace; two share a place when their lives do not overlap and their sizes agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.leaf import constant_
from graphc.schedule.fusion import Fusion, Group
from graphc.schedule.legalize import legalize
from graphc.schedule.lower import (
    CHUNK_WORK,
    MAX_CHUNKS,
    KernelCall,
    Memory,
    lower_group,
)
from graphc.schedule.opaque import lower_opaque
from graphc.schedule.pipeline import Pairs, PipelineCall, pipelined
from graphc.schedule.product import ProductCall
from graphc.types import sizes
from graphc.types.sizes import SizeLike

Step = KernelCall | ProductCall | PipelineCall
ALIGNMENT = 64


@dataclass(eq=False)
class Place:
    """Where an array lies.

    Attributes
    ----------
    kind : str
        "input", "output", "constant" or "workspace".
    number : int
        Which input, output, constant, or workspace slot.
    """

    kind: str
    number: int


@dataclass(eq=False)
class Program:
    """The steps of a graph and the places of their arrays.

    Attributes
    ----------
    steps : list of Step
    places : dict of Memory or Node to Place
    slots : list of SizeLike
        Bytes of each workspace slot.
    constants : list of numpy.ndarray
        Arrays the program reads besides its inputs.
    copies : list of (int, Place)
        Outputs that are inputs, constants or other outputs, to be copied.
    reports : list of Node
        Nodes that may find an index out of range; the code is the position + 1.
    """

    graph: Graph
    fusion: Fusion
    steps: list[Step] = field(default_factory=list)
    places: dict[object, Place] = field(default_factory=dict)
    slots: list[SizeLike] = field(default_factory=list)
    constants: list[np.ndarray] = field(default_factory=list)
    copies: list[tuple[int, Place]] = field(default_factory=list)
    reports: list[Node] = field(default_factory=list)

    @property
    def calls(self) -> Iterator[KernelCall | ProductCall]:
        """The kernels and products, those of pipelines too, in order."""
        for step in self.steps:
            if isinstance(step, PipelineCall):
                yield from (m.call for m in step.members)
            else:
                yield step

    @property
    def workspace(self) -> SizeLike:
        """Bytes of the workspace."""
        total: SizeLike = 0
        for s in self.slots:
            total = total + aligned(s)
        return total


def aligned(size: SizeLike) -> SizeLike:
    """Return bytes rounded up to the alignment of places."""
    return sizes.floordiv(size + (ALIGNMENT - 1), ALIGNMENT) * ALIGNMENT


def schedule(graph: Graph) -> Program:
    """Return the program of a graph that passes have simplified."""
    graph = legalize(graph)
    fusion = Fusion(graph)
    program = Program(graph, fusion)

    codes: dict[Node, int] = {}

    def report(node: Node) -> int:
        if node not in codes:
            program.reports.append(node)
            codes[node] = len(program.reports)
        return codes[node]

    depth_steps: dict[int, list[KernelCall | ProductCall]] = {}
    lowered: dict[int, tuple[Group, list[KernelCall]]] = {}
    for group in fusion.groups:
        calls = lower_group(fusion, group, report, chunks_of(group))
        lowered[id(calls[0])] = group, calls
        depth_steps.setdefault(group.depth, []).extend(calls)
    for node in fusion.opaque:
        depth = fusion.info[node].depth
        depth_steps.setdefault(depth, []).extend(lower_opaque(fusion, node, report))

    def again(call: KernelCall, chunks: SizeLike, most_rows: int) -> Pairs:
        if id(call) not in lowered:
            return []
        group, calls = lowered[id(call)]
        new = lower_group(fusion, group, report, chunks, most_rows)
        return list(zip(calls, new))

    steps = [step for depth in sorted(depth_steps) for step in depth_steps[depth]]
    program.steps = pipelined(steps, again, graph.outputs)
    _place(program)
    return program


def chunks_of(group: Group) -> SizeLike:
    """Return into how many chunks a group's rows are cut: by size alone."""
    rows = sizes.product(group.rows)
    work: SizeLike = 0
    for node in group.nodes:
        size = (
            node.args[0].size
            if node.args and node.ndim < node.args[0].ndim
            else node.size
        )
        cost = getattr(node.op, "cost", 1) + 10 * getattr(node.op, "transcendental", 0)
        if isinstance(size, int) or len(size.terms) <= 2:
            work = work + size * max(1, cost)
    most = sizes.minimum(MAX_CHUNKS, sizes.maximum(1, rows))
    return sizes.maximum(1, sizes.minimum(most, sizes.floordiv(work, CHUNK_WORK)))


def _place(program: Program) -> None:
    graph = program.graph
    for number, node in enumerate(graph.inputs):
        program.places[node] = Place("input", number)
    for number, node in enumerate(graph.outputs):
        if node in program.places:
            program.copies.append((number, program.places[node]))
        elif node.op is constant_ and node not in program.fusion.kept:
            place = _constant(program, node)
            program.copies.append((number, place))
        else:
            program.places[node] = Place("output", number)
    uses: list[list[Memory]] = [step.memory for step in program.steps]
    last: dict[object, int] = {}
    for number, memory in enumerate(uses):
        for m in memory:
            last[_key(m)] = number
    free: list[tuple[SizeLike, int]] = []
    for number, memory in enumerate(uses):
        for m in memory:
            key = _key(m)
            if key in program.places:
                continue
            if isinstance(key, Node) and key.op is constant_:
                _constant(program, key)
                continue
            program.places[key] = Place("workspace", _slot(program, free, m))
        for key in {_key(m) for m in memory}:
            place = program.places[key]
            if last[key] == number and place.kind == "workspace":
                free.append((program.slots[place.number], place.number))


def _key(memory: Memory) -> object:
    return memory if memory.node is None else memory.node


def _constant(program: Program, node: Node) -> Place:
    place = program.places.get(node)
    if place is None:
        place = program.places[node] = Place("constant", len(program.constants))
        program.constants.append(node.params[0].array)
    return place


def _slot(program: Program, free: list[tuple[SizeLike, int]], memory: Memory) -> int:
    """Return a free slot of fitting size, or a new one."""
    size = memory.size * memory.dtype.itemsize  # type: ignore[attr-defined]
    best = None
    for position, (room, _) in enumerate(free):
        if room == size:
            best = position
            break
        if isinstance(room, int) and isinstance(size, int) and room >= size:
            if best is None or room < free[best][0]:  # type: ignore[operator]
                best = position
    if best is not None:
        return free.pop(best)[1]
    program.slots.append(size)
    return len(program.slots) - 1
