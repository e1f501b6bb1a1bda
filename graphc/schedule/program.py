"""A program: the steps that compute a graph in order, and where arrays lie.

Steps are calls of kernels and of matrix products, in the order of their depths.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.schedule.equal_groups import GroupLowerer
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.fusion import Fusion, Group
from graphc.schedule.legalize import legalize
from graphc.schedule.machine import CPU, Machine
from graphc.schedule.memory import (
    LARGEST,
    Call,
    MemoryPlan,
    Planner,
    Step,
    calls_of,
    too_large,
)
from graphc.schedule.opaque import lower_opaque
from graphc.schedule.pipeline import Pairs, pipelined
from graphc.schedule.tables import share_constants
from graphc.types import sizes
from graphc.types.sizes import SizeLike


@dataclass(eq=False)
class Program:
    """The steps of a graph and the places of their arrays.

    Attributes
    ----------
    steps : list of Step
    memory : MemoryPlan
    reports : list of Node
        Nodes that may find an index out of range; the code is the position + 1.
    """

    graph: Graph
    fusion: Fusion
    steps: list[Step] = field(default_factory=list)
    memory: MemoryPlan = field(default_factory=MemoryPlan)
    reports: list[Node] = field(default_factory=list)

    @property
    def calls(self) -> Iterator[Call]:
        """The kernels and products, those of pipelines too, in order."""
        return calls_of(self.steps)


def schedule(
    graph: Graph,
    donated: Collection[int] = (),
    pipelines: bool = True,
    machine: Machine = CPU,
    announce: Callable[[Call], None] = lambda call: None,
) -> Program:
    """Return the program of a graph that passes have simplified.

    Parameters
    ----------
    graph : Graph
    donated : collection of int
        Positions of the inputs whose memory may be written to.
    pipelines : bool
        Whether steps may run by blocks of rows, and sums of products as one: faster,
        but what a pipeline makes for later steps is all in memory when it ends, and so
        are the operands of the products.
    machine : Machine
        Says how finely to cut.
    announce : callable
        Is given each product, factorization, scan and scatter, long before the program
        is there: what they need can be made meanwhile.

    Raises
    ------
    AllocationError
        If an array is larger than memory can be.
    """
    graph = legalize(graph, pipelines and machine.pipelines)
    for node in graph.nodes:
        size = node.size
        if isinstance(size, int) and size * node.dtype.itemsize > LARGEST:
            raise too_large(node, size * node.dtype.itemsize)
    fusion = Fusion(graph, machine)
    program = Program(graph, fusion)

    codes: dict[Node, int] = {}

    def report(node: Node) -> int:
        if node not in codes:
            program.reports.append(node)
            codes[node] = len(program.reports)
        return codes[node]

    opaque: list[tuple[int, list[Call]]] = []
    for node in fusion.opaque:
        calls_of_node = lower_opaque(fusion, node, report)
        opaque.append((fusion.info[node].depth, list(calls_of_node)))
        for call in calls_of_node:
            announce(call)
    depth_steps: dict[int, list[Call]] = {}
    lowered: dict[int, tuple[Group, list[KernelCall]]] = {}
    lowerer = GroupLowerer(fusion, report)
    for group in fusion.groups:
        calls = lowerer.lower(group, chunks_of(group, machine))
        lowered[id(calls[0])] = group, calls
        depth_steps.setdefault(group.depth, []).extend(calls)
    for depth, calls_of_node in opaque:
        depth_steps.setdefault(depth, []).extend(calls_of_node)

    def again(call: KernelCall, chunks: SizeLike, most_rows: int) -> Pairs:
        if id(call) not in lowered:
            return []
        group, calls = lowered[id(call)]
        new = lowerer.lower(group, chunks, most_rows)
        pairs = list(zip(calls, new))
        order.update((id(new), order[id(old)]) for old, new in pairs)
        return pairs

    steps = [step for depth in sorted(depth_steps) for step in depth_steps[depth]]
    order = {id(step): number for number, step in enumerate(steps)}
    program.steps = list(steps)
    if machine.pipelines:
        program.steps = pipelined(steps, again, graph.outputs, not pipelines)
    program.steps = _without_combining(program.steps, lowered)
    if not pipelines:  # one by one, in the same blocks: partial sums are the same
        program.steps = sorted(calls_of(program.steps), key=lambda c: order[id(c)])
    share_constants(program.calls)
    planner = Planner(graph.inputs, graph.outputs, program.steps, fusion.kept, donated)
    program.memory = planner.plan
    return program


def _without_combining(
    steps: Sequence[Step], lowered: Mapping[int, tuple[Group, list[KernelCall]]]
) -> list[Step]:
    """Return the steps without those that combine the partial results of one chunk.

    They are results: the kernel writes them where the combined ones would lie.
    """
    alone = {id(step) for step in steps}
    gone: set[int] = set()
    for step in steps:
        if not isinstance(step, KernelCall) or step.chunks != 1:
            continue
        _, (first, *combining) = lowered.get(id(step), (None, [step]))
        if not all(id(call) in alone for call in combining):
            continue
        results: dict[int, Memory] = {}
        for call in combining:
            pairs = zip(call.memory[::2], call.memory[1::2])
            results.update((id(partial), result) for partial, result in pairs)
        first.memory[:] = [results.get(id(m), m) for m in first.memory]
        gone.update(map(id, combining))
    return [step for step in steps if id(step) not in gone]


def chunks_of(group: Group, machine: Machine) -> SizeLike:
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
    most = sizes.minimum(machine.chunks, sizes.maximum(1, rows))
    some = sizes.floordiv(work, machine.chunk_work)
    return sizes.maximum(1, sizes.minimum(most, some))
