"""What the steps of a program cost: operations, memory traffic, launches.

The counts are those of the program as it runs, so what fusion saves is not counted and
what is computed twice is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from graphc.graph.node import Node
from graphc.kernels.cost import Item, kernel_cost
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.factorize import RoutineCall
from graphc.schedule.memory import Call
from graphc.schedule.pipeline import PipelineCall, key_of
from graphc.schedule.product import ProductCall
from graphc.schedule.program import Program
from graphc.types import sizes
from graphc.types.sizes import SizeLike


@dataclass(eq=False)
class CallCost:
    """What one kernel, product or factorization does in a call of the function.

    Attributes
    ----------
    call : KernelCall, ProductCall or RoutineCall
    step : int
        The step it belongs to: members of a pipeline share one.
    flops, transcendentals : SizeLike
    bytes_read, bytes_written : SizeLike
        Of arrays in memory, each element counted once, however often it is loaded.
        What a kernel wrote itself is read from cache and does not count.
    loads, stores : SizeLike
        Elements moved between memory, or cache, and registers; None for products and
        factorizations, whose tiles follow the machine.
    nodes : list of Node
        What it computes.
    chunks : SizeLike
        Parts that threads share.
    items : dict of Item to SizeLike
        What takes time in a kernel; nothing for products and factorizations.
    chain : int
        Instructions of the longest chain in a kernel of one row.
    """

    call: Call
    step: int
    flops: SizeLike = 0
    transcendentals: SizeLike = 0
    bytes_read: SizeLike = 0
    bytes_written: SizeLike = 0
    loads: SizeLike | None = None
    stores: SizeLike | None = None
    nodes: list[Node] = field(default_factory=list)
    chunks: SizeLike = 1
    items: dict[Item, SizeLike] = field(default_factory=dict)
    chain: int = 0


def program_costs(program: Program) -> list[CallCost]:
    """Return the costs of all kernels and products of a program, in order."""
    out = []
    for number, call, chunks in _calls(program):
        if isinstance(call, KernelCall):
            cost = _kernel(call, number, chunks)
        elif isinstance(call, ProductCall):
            cost = _product(call, number)
        else:
            cost = _routine(call, number)
        cost.nodes, cost.chunks = list(call.nodes), chunks
        out.append(cost)
    return out


def _calls(program: Program) -> Iterator[tuple[int, Call, SizeLike]]:
    for number, step in enumerate(program.steps):
        if isinstance(step, PipelineCall):
            for member in step.members:
                yield number, member.call, step.chunks
        else:
            yield number, step, getattr(step, "chunks", 1)


def _kernel(call: KernelCall, number: int, chunks: SizeLike) -> CallCost:
    kernel = call.kernel
    found = kernel_cost(kernel, chunks)
    moved: dict[bool, dict[object, SizeLike]] = {False: {}, True: {}}
    for buffer, memory in zip(kernel.buffers, call.memory):
        elements = found.touched.get(buffer.number, 0)
        known = moved[buffer.written]
        key = key_of(memory)
        known[key] = known.get(key, 0) + elements * memory.dtype.itemsize  # type: ignore[attr-defined]
    limits = {key_of(m): _bytes(m) for m in call.memory}
    read, written = (
        _total(sizes.minimum(limits[k], size) for k, size in moved[w].items())
        for w in (False, True)
    )
    counts = found.counts
    return CallCost(
        call,
        number,
        counts["flops"],
        counts["transcendentals"],
        read,
        written,
        counts["loads"],
        counts["stores"],
        items=found.items,
        chain=found.chain if kernel.rows == 1 else 0,
    )


def _product(call: ProductCall, number: int) -> CallCost:
    itemsize = call.nodes[0].dtype.itemsize
    left, right, out = call.m * call.k, call.k * call.n, call.m * call.n
    for size, left_stride, right_stride, _ in call.axes:
        left = left if left_stride == 0 else left * size
        right = right if right_stride == 0 else right * size
        out = out * size
    if call.outer or len(call.pieces) > 1:  # windows: an element is in many
        parts = {piece.left.source: piece.left.source.size for piece in call.pieces}
        left = sizes.minimum(left, sum(parts.values(), start=0))
    return CallCost(
        call,
        number,
        flops=out * call.k * 2,
        bytes_read=(left + right) * itemsize,
        bytes_written=out * itemsize,
    )


def _routine(call: RoutineCall, number: int) -> CallCost:
    (node,) = call.nodes
    read = _total(_bytes(m) for m in {key_of(m): m for m in call.memory[:2]}.values())
    return CallCost(
        call,
        number,
        flops=node.op.flops(node),
        transcendentals=node.op.transcendentals(node),
        bytes_read=read,
        bytes_written=_bytes(call.memory[2]),
    )


def _bytes(memory: Memory) -> SizeLike:
    return memory.size * memory.dtype.itemsize  # type: ignore[attr-defined]


def _total(parts: Iterator[SizeLike]) -> SizeLike:
    out: SizeLike = 0
    for part in parts:
        out = out + part
    return out
