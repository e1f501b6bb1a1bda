"""Why nodes share a kernel, or do not: fusion's decisions as text and as facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from graphc.graph.node import Node
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.fusion import Fusion, Reason
from graphc.schedule.memory import Call
from graphc.schedule.merge import MOST_ARRAYS
from graphc.schedule.pipeline import PipelineCall, key_of
from graphc.schedule.program import Program
from graphc.types.tensor_type import shape_text


class KernelPart(NamedTuple):
    """One kernel or product of a program.

    Attributes
    ----------
    number : int
        Its place in the order of these.
    step : int
        The step it belongs to: those of one pipeline run together, by blocks of rows.
    label : str
        What it computes.
    nodes : tuple of Node
        The nodes it computes, arguments first.
    stores : tuple of Node
        Those it leaves in memory, but for what stays within a pipeline.
    """

    number: int
    step: int
    label: str
    nodes: tuple[Node, ...]
    stores: tuple[Node, ...]


class Boundary(NamedTuple):
    """A value that goes from one kernel to another through memory.

    Attributes
    ----------
    source, reader : Node
    writer, user : int
        The numbers of the kernels that compute `source` and `reader`.
    reason : str
        Why they do not share a kernel.
    """

    source: Node
    reader: Node
    writer: int
    user: int
    reason: str


class Explanation(NamedTuple):
    """What each kernel of a function fuses, and why it does not fuse more.

    Attributes
    ----------
    kernels : tuple of KernelPart
    boundaries : tuple of Boundary
    derivatives : tuple of derivatives.choice.ModeChoice
        What ``mode="auto"`` weighed for the Jacobians and Hessians in the graph.
    """

    kernels: tuple[KernelPart, ...]
    boundaries: tuple[Boundary, ...]
    derivatives: tuple[Any, ...] = ()

    def __str__(self) -> str:
        lines = [str(choice) for choice in self.derivatives]
        if not self.kernels:
            lines.append("There are no kernels.")
        steps = Counter(part.step for part in self.kernels)
        for part in self.kernels:
            joined = f" (of pipeline {part.step})" if steps[part.step] > 1 else ""
            lines.append(f"kernel {part.number}: {part.label}{joined}")
            for b in self.boundaries:
                if b.user == part.number:
                    lines.append(
                        f"    reads {b.source.label()} of kernel {b.writer} "
                        f"for {b.reader.op.name}: {b.reason}"
                    )
        return "\n".join(lines)


class PairExplanation(NamedTuple):
    """Whether two nodes share a kernel, and why.

    Attributes
    ----------
    fused : bool
    kernels : tuple of (tuple of int)
        The numbers of the kernels that compute the first node, and the second.
    reason : str
    """

    fused: bool
    kernels: tuple[tuple[int, ...], tuple[int, ...]]
    reason: str

    def __str__(self) -> str:
        return f"{'fused' if self.fused else 'not fused'}: {self.reason}"


def explain(program: Program) -> Explanation:
    """Return what the kernels of a program fuse, and why they are apart."""
    calls = list(_calls(program))
    parts = tuple(_part(n, step, call) for n, (step, call) in enumerate(calls))
    writers = {
        key_of(m): part for part, (_, call) in zip(parts, calls) for m in _written(call)
    }
    boundaries = []
    for part, (_, call) in zip(parts, calls):
        inside = set(part.nodes)
        for memory in call.memory:
            writer = writers.get(key_of(memory))
            if writer is None or writer is part:
                continue
            source = memory.node
            if source is None:
                source = _handed_on(program.fusion, writer, inside)
            if source is None:
                continue
            reader = _reader(program.fusion, source, inside)
            reason = _reason(program.fusion, source, reader)
            numbers = writer.number, part.number
            boundaries.append(Boundary(source, reader, *numbers, reason))
    return Explanation(parts, tuple(boundaries))


def explain_pair(program: Program, a: Node, b: Node) -> PairExplanation:
    """Return whether two nodes of a program's graph share a kernel, and why."""
    explanation = explain(program)
    first, second = (
        tuple(p.number for p in explanation.kernels if n in set(p.nodes))
        for n in (a, b)
    )
    both = (first, second)
    shared = [n for n in first if n in second]
    if shared:
        return PairExplanation(True, both, f"kernel {shared[0]} computes both.")
    for node, numbers in ((a, first), (b, second)):
        if not numbers:
            text = f"{node.label()} is in memory: no kernel computes it."
            return PairExplanation(False, both, text)
    for source, reader in ((a, b), (b, a)):
        reason = _on_the_way(program.fusion, explanation, source, reader)
        if reason is not None:
            return PairExplanation(False, both, reason)
    return PairExplanation(False, both, _unrelated(program.fusion, a, b))


def _calls(program: Program) -> Iterator[tuple[int, Call]]:
    for number, step in enumerate(program.steps):
        members = (
            [m.call for m in step.members] if isinstance(step, PipelineCall) else [step]
        )
        for call in members:
            yield number, call


def _part(number: int, step: int, call: Call) -> KernelPart:
    label = call.kernel.label if isinstance(call, KernelCall) else call.label
    stores = tuple(m.node for m in _written(call) if m.node is not None)
    return KernelPart(number, step, label, tuple(call.nodes), stores)


def _written(call: Call) -> list[Memory]:
    if not isinstance(call, KernelCall):
        return [call.memory[2]]
    pairs = zip(call.kernel.buffers, call.memory)
    return [m for b, m in pairs if b.written]


def _handed_on(fusion: Fusion, writer: KernelPart, inside: set[Node]) -> Node | None:
    """Return what one kernel of a pipeline leaves for another in memory of a block."""
    for node in writer.nodes:
        if any(user in inside for user in fusion.users.get(node, ())):
            return node
    return None


def _reader(fusion: Fusion, source: Node, inside: set[Node]) -> Node:
    """Return the node of a kernel that reads a value from memory."""
    for user in fusion.users.get(source, ()):
        if user in inside:
            return user
    return source  # read through movement, by a product


def _reason(fusion: Fusion, source: Node, reader: Node) -> str:
    """Return why a kernel reads a value instead of computing it."""
    found = fusion.reasons.get((source, reader))
    if found is not None:
        return reason_text(found)
    for user in fusion.users.get(source, ()):
        if (source, user) in fusion.reasons:
            return reason_text(fusion.reasons[(source, user)])
    info = fusion.info[source]
    if info.kind == "opaque":
        return reason_text(Reason("own kernel", source.op.name))
    users = len(fusion.users.get(source, ()))
    return f"it is complete before, and costs {info.cost} operations for {users} users"


TEXTS = {
    "own kernel": "{0} has a kernel of its own kind",
    "operand": "{0} has a kernel of its own kind, which reads operands from memory",
    "last round": "{0} is complete only after the last row",
    "other rows": "rows differ: it is computed along rows {0}, and read at others",
    "rows": "rows differ: {0} against {1}",
    "repeated": "would repeat {0} operations {1} times{2}",
    "limit": "a kernel has at most {0} nodes",
}
"""For each kind of `Reason` what it says."""


def reason_text(reason: Reason) -> str:
    """Return a reason in words."""
    facts = [
        shape_text(f) if isinstance(f, tuple) else f
        for f in (reason.first, reason.second)
    ]
    weighed = reason.weighed
    numbers = f": {weighed.again:g} against {weighed.kept:g} kept" if weighed else ""
    return TEXTS[reason.kind].format(*facts, numbers)


def _on_the_way(
    fusion: Fusion, explanation: Explanation, source: Node, reader: Node
) -> str | None:
    """Return why a node is not fused with one it needs, None if it needs it not."""
    follower: dict[Node, Node] = {}
    stack = [reader]
    while stack:
        node = stack.pop()
        if node is source:
            break
        for arg in node.args:
            if arg not in follower:
                follower[arg] = node
                stack.append(arg)
    else:
        return None
    kept = {b.source: b for b in explanation.boundaries}
    node = source
    while node is not reader:
        after = follower[node]
        if (node, after) in fusion.reasons:
            return reason_text(fusion.reasons[(node, after)])
        if node in kept:
            return kept[node].reason
        node = after
    return "a value between them is in memory"


def _unrelated(fusion: Fusion, a: Node, b: Node) -> str:
    """Return why two nodes that do not need each other have kernels of their own."""
    first, second = fusion.info[a], fusion.info[b]
    if first.depth != second.depth:
        return (
            "neither needs the other, and they are computed at different times: after "
            f"{first.depth} and {second.depth} kernels"
        )
    rows = [i.tied or i.rows or i.node.shape for i in (first, second)]
    if rows[0] != rows[1]:
        texts = [shape_text(r) for r in rows]
        return f"rows differ: {texts[0]} against {texts[1]}"
    return (
        "they read no large array in common, or together more than "
        f"{MOST_ARRAYS} arrays"
    )
