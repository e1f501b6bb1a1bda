"""Where the arrays of a program lie, planned by lifetime.

An array is alive from the call that writes it to the last that reads it; the calls of
a pipeline are all under way at one time, so what they use is alive through all of them.
Arrays of the program's own go, in this order,

1. in the place of an array read for the last time by the kernel that writes them,
   where that is legal (`schedule.in_place`);
2. into the memory of an output that is not yet written, or of a donated input that is
   no longer read, where they surely fit;
3. into one workspace, at offsets packed by lifetime (`schedule.packing`).

Outputs go into donated inputs of their own type where they can.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from graphc.graph.node import Node
from graphc.kernels.ir import Kernel
from graphc.ops.leaf import constant_
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.factorize import RoutineCall
from graphc.schedule.in_place import Reads
from graphc.schedule.packing import Block, Level, pack, sample
from graphc.schedule.pipeline import PipelineCall, key_of
from graphc.schedule.product import ProductCall
from graphc.types import sizes
from graphc.types.errors import AllocationError, made_at
from graphc.types.sizes import Atom, Dim, SizeLike

Call = KernelCall | ProductCall | RoutineCall
Step = Call | PipelineCall

BINS_TRIED = 8
"""Outputs and donated inputs that are tried as places for an array, at the most."""

LARGEST = 2**62
"""Bytes that an array may have: twice that can be counted in 64 bits."""


@dataclass(eq=False)
class Place:
    """Where an array lies.

    Attributes
    ----------
    kind : str
        "input", "output", "constant" or "workspace".
    number : int
        Which input, output or constant.
    offset : SizeLike
        Bytes from its start, or from that of the workspace.
    """

    kind: str
    number: int = 0
    offset: SizeLike = 0


@dataclass(eq=False)
class Array:
    """An array a program makes: its memory, when it is in use, and where it lies.

    Attributes
    ----------
    key : Memory or Node
        The node it holds, or a kernel's own memory: partial results, scratch rows.
    size : SizeLike
        Bytes.
    first, last : int
        The steps that write it first and read it last.
    node : Node
        The node it holds, or the last that the step computes whose memory it is.
    """

    key: Memory | Node
    size: SizeLike
    first: int
    last: int
    node: Node
    number: int = -1

    @property
    def label(self) -> str:
        """What it is, for people."""
        text = f"{self.node.label()}{made_at(self.node.origin)}"
        return text if self.key is self.node else f"working memory of {text}"


@dataclass(eq=False)
class MemoryPlan:
    """The places of a program's arrays.

    Attributes
    ----------
    places : dict of Memory or Node to Place
    arrays : list of Array
        What the program makes, in order of the steps that write them.
    constants : list of numpy.ndarray
        Arrays the program reads besides its inputs.
    copies : list of (int, Place)
        Outputs that are inputs, constants or other outputs, to be copied.
    reused : dict of int to int
        Outputs that lie in donated inputs: which in which.
    written : set of int
        The donated inputs that are written to.
    workspace : SizeLike
        Bytes of the workspace.
    levels : list of Level
        What the offsets of symbolic sizes are computed from, in order.
    """

    places: dict[object, Place] = field(default_factory=dict)
    arrays: list[Array] = field(default_factory=list)
    constants: list[np.ndarray] = field(default_factory=list)
    copies: list[tuple[int, Place]] = field(default_factory=list)
    reused: dict[int, int] = field(default_factory=dict)
    written: set[int] = field(default_factory=set)
    workspace: SizeLike = 0
    levels: list[Level] = field(default_factory=list)


def calls_of(steps: Iterable[Step]) -> Iterator[Call]:
    """Return the kernels and products of steps, those of pipelines too, in order."""
    for step in steps:
        if isinstance(step, PipelineCall):
            yield from (m.call for m in step.members)
        else:
            yield step


def writes(step: Call) -> list[bool]:
    """Tell for each array of a call whether it is written."""
    if isinstance(step, KernelCall):
        return [b.written for b in step.kernel.buffers]
    # A, B, then C and room for parts of B; what a product reads besides is as these
    return [i >= 2 for i in range(len(step.memory))]


class _Bin:
    """Memory that is there anyway, free before or after its own use."""

    def __init__(self, place: Place, size: SizeLike, opens: int, closes: int):
        self.place = place
        self.size = size
        self.sample = sample(size)
        self.opens = opens
        self.closes = closes
        self._taken: list[tuple[int, int]] = []

    def free(self, first: int, last: int) -> bool:
        if first < self.opens or last > self.closes:
            return False
        at = bisect_left(self._taken, (first, last))
        return not (at and self._taken[at - 1][1] >= first) and not (
            at < len(self._taken) and self._taken[at][0] <= last
        )

    def take(self, first: int, last: int) -> None:
        insort(self._taken, (first, last))


class Planner:
    """Plans one program; `plan` holds the result."""

    def __init__(
        self,
        inputs: tuple[Node, ...],
        outputs: tuple[Node, ...],
        steps: list[Step],
        kept: Collection[Node],
        donated: Collection[int] = (),
    ):
        self.inputs = inputs
        self.outputs = outputs
        self.steps = list(calls_of(steps))
        self._find_pipelines(steps)
        self.plan = MemoryPlan()
        self._outside(kept)
        kept_outputs = {place.number for _, place in self.plan.copies}
        self.donated = {
            inputs[d]: d for d in donated if inputs[d].ndim and d not in kept_outputs
        }
        self.arrays: dict[object, Array] = {}
        self.last_read: dict[Node, int] = {}
        self.reads: dict[object, list[int]] = {}
        self._lifetimes()
        self.block: dict[object, Block] = {}
        self.fixed: dict[Block, Place] = {}
        self.contents: dict[Block, list[Array]] = {}
        self.kernel_reads: dict[int, Reads] = {}
        self.in_place: dict[tuple, Kernel] = {}
        for number in range(len(self.steps)):
            self._in_place(number)
        for block in self.contents:
            block.first = self.span[block.first][0]
            block.last = self.span[block.last][1]
        self._into_bins()
        free = [b for b in self.contents if b not in self.fixed]
        self.plan.workspace, self.plan.levels = pack(free)
        for block, members in self.contents.items():
            place = self.fixed.get(block) or Place("workspace", 0, block.offset)
            for array in members:
                self.plan.places.setdefault(array.key, place)
        self.plan.arrays = list(self.arrays.values())

    # ------------------------------------------------------------- lifetimes

    def _find_pipelines(self, steps: Sequence[Step]) -> None:
        """Set the first and last of the calls that run together with each one."""
        self.span: list[tuple[int, int]] = []
        for step in steps:
            start = len(self.span)
            count = 1
            if isinstance(step, PipelineCall):
                count = len(step.members)
            self.span += [(start, start + count - 1)] * count
        self.span.append((len(self.span), len(self.span)))  # the end, for outputs

    def _outside(self, kept: Collection[Node]) -> None:
        """Give inputs and outputs their places."""
        plan = self.plan
        for number, node in enumerate(self.inputs):
            plan.places[node] = Place("input", number)
        for number, node in enumerate(self.outputs):
            if node in plan.places:
                plan.copies.append((number, plan.places[node]))
            elif node.op is constant_ and node not in kept:
                plan.copies.append((number, self._constant(node)))
            else:
                plan.places[node] = Place("output", number)

    def _constant(self, node: Node) -> Place:
        place = self.plan.places.get(node)
        if place is None:
            place = Place("constant", len(self.plan.constants))
            self.plan.places[node] = place
            self.plan.constants.append(node.params[0].array)
        return place

    def _lifetimes(self) -> None:
        end = len(self.steps)
        for number, step in enumerate(self.steps):
            for memory in step.memory:
                key = key_of(memory)
                place = self.plan.places.get(key)
                self.reads.setdefault(key, []).append(number)
                if place is not None and place.kind != "output":
                    self.last_read[key] = self.span[number][1]  # type: ignore[index]
                    continue
                if isinstance(key, Node) and key.op is constant_ and place is None:
                    self._constant(key)
                    continue
                array = self.arrays.get(key)
                if array is None:
                    size = memory.size * memory.dtype.itemsize  # type: ignore[attr-defined]
                    assert isinstance(key, (Memory, Node))
                    node = step.nodes[-1] if memory.node is None else memory.node
                    array = Array(key, size, number, number, node)
                    self.arrays[key] = array
                    if place is not None:
                        array.number = place.number
                array.last = end if place is not None else number

    # -------------------------------------------------------------- in place

    def _in_place(self, number: int) -> None:
        """Let what a step writes first take the place of what it reads last."""
        step = self.steps[number]
        new: list[tuple[int, Array]] = []
        dying: list[tuple[int, Node]] = []
        for at, (memory, written) in enumerate(zip(step.memory, writes(step))):
            key = key_of(memory)
            array = self.arrays.get(key)
            if array is not None and array.first == number and written:
                new.append((at, array))
            elif written or not isinstance(key, Node) or not key.ndim:
                continue
            elif (
                array.last == number if array is not None else self._spent(key, number)
            ):
                dying.append((at, key))
        if dying and new and isinstance(step, KernelCall):
            self._share(step, new, dying)
        for _, array in new:
            if array.key not in self.block:
                self._begin(array)

    def _spent(self, node: Node, number: int) -> bool:
        """Tell whether the memory of what a call reads may be written by it.

        In a pipeline other rows may be at any of its calls: no other may use it.
        """
        array = self.arrays.get(node)
        if array.last != number if array is not None else node not in self.donated:
            return False
        reads = self.reads[node]
        if reads[-1] != number:
            return False
        first = self.span[number][0]
        return not any(first <= r < number for r in reads)

    def _begin(self, array: Array) -> None:
        block = Block(array.size, array.first, array.last)
        self._join(block, array)
        if array.number >= 0:
            self.fixed[block] = Place("output", array.number)

    def _join(self, block: Block, array: Array) -> None:
        self.block[array.key] = block
        self.contents.setdefault(block, []).append(array)
        block.last = max(block.last, array.last)

    def _share(
        self,
        step: KernelCall,
        new: list[tuple[int, Array]],
        dying: list[tuple[int, Node]],
    ) -> None:
        kernel = step.kernel
        buffers = kernel.buffers
        reads: Reads | None = None
        shared: dict[int, int] = {}
        for at, array in new:
            for position, (from_, node) in enumerate(dying):
                if self._bytes(node) != array.size or not self._can_take(node, array):
                    continue
                reads = reads or self._reads_of(kernel)
                if not reads.may_share(buffers[from_], buffers[at]):
                    continue
                shared[from_] = at
                self._take(node, array)
                del dying[position]
                break
        if shared:  # the kernel may be that of other calls, which share otherwise
            key = id(kernel), tuple(shared.items())
            if key not in self.in_place:
                self.in_place[key] = replace(kernel, in_place=shared)
            step.kernel = self.in_place[key]

    def _reads_of(self, kernel: Kernel) -> Reads:
        if id(kernel) not in self.kernel_reads:
            self.kernel_reads[id(kernel)] = Reads(kernel)
        return self.kernel_reads[id(kernel)]

    def _bytes(self, node: Node) -> SizeLike:
        array = self.arrays.get(node)
        return node.size * node.dtype.itemsize if array is None else array.size

    def _can_take(self, node: Node, array: Array) -> bool:
        """Tell whether the place of `node` can be that of an array."""
        fixed = self._fixed_place(node)
        if array.number < 0 or fixed is None:
            return True
        source = self.inputs[fixed.number]
        return source.type == array.key.type and self._one_output(array)  # type: ignore[union-attr]

    def _one_output(self, array: Array) -> bool:
        return sum(o is array.key for o in self.outputs) == 1

    def _fixed_place(self, node: Node) -> Place | None:
        if node in self.donated:
            return self.plan.places[node]
        return self.fixed.get(self.block[node])

    def _take(self, node: Node, array: Array) -> None:
        fixed = self._fixed_place(node)
        block = self.block.get(node)
        if block is None:  # a donated input
            block = self.block[node] = Block(array.size, array.first, array.last)
            self.fixed[block] = self.plan.places[node]
            self.plan.written.add(self.donated[node])
        self._join(block, array)
        if array.number < 0:
            return
        if fixed is None:
            self.fixed[block] = Place("output", array.number)
        else:
            self._reuse(array, fixed.number)

    def _reuse(self, array: Array, input_number: int) -> None:
        """Let an output lie in a donated input."""
        self.plan.reused[array.number] = input_number
        self.plan.written.add(input_number)
        self.plan.places[array.key] = self.plan.places[self.inputs[input_number]]

    # ------------------------------------------------------------------ bins

    def _into_bins(self) -> None:
        """Use outputs before they are written, and donated inputs once they are read.

        Large blocks first, and late ones: outputs are written at the end. Of the bins
        that hold a block a few are tried, the smallest first.
        """
        bins = list(self._donated_bins())
        self._outputs_into(bins)
        for block, place in self.fixed.items():
            if place.kind == "output" and block.first:
                bins.append(_Bin(place, block.size, 0, block.first - 1))
        if not bins:
            return
        bins.sort(key=lambda b: b.sample)
        samples = [b.sample for b in bins]
        free = [(sample(b.size), b) for b in self.contents if b not in self.fixed]
        for wanted, block in sorted(free, key=lambda t: (-t[0], -t[1].last)):
            at = bisect_left(samples, wanted)
            for chosen in bins[at : at + BINS_TRIED]:
                fits = sizes.non_negative(chosen.size - block.size)
                if fits and chosen.free(block.first, block.last):
                    chosen.take(block.first, block.last)
                    self.fixed[block] = chosen.place
                    if chosen.place.kind == "input":
                        self.plan.written.add(chosen.place.number)
                    break

    def _donated_bins(self) -> Iterator[_Bin]:
        end = len(self.steps)
        for node in self.donated:
            opens = self.last_read.get(node, -1) + 1
            place = self.plan.places[node]
            out = _Bin(place, self._bytes(node), opens, end)
            block = self.block.get(node)
            if block is not None:
                out.opens = 0
                out.take(0, max(opens - 1, block.last))
            yield out

    def _outputs_into(self, bins: list[_Bin]) -> None:
        """Let outputs lie in donated inputs of their type that are no longer read."""
        by_type: dict[object, list[_Bin]] = {}
        for b in bins:
            by_type.setdefault(self.inputs[b.place.number].type, []).append(b)
        for block, place in list(self.fixed.items()):
            if place.kind != "output":
                continue
            array = self.contents[block][-1]
            for b in by_type.get(array.key.type, ()):  # type: ignore[union-attr]
                if b.free(block.first, block.last) and self._one_output(array):
                    b.take(block.first, block.last)
                    self.fixed[block] = b.place
                    self._reuse(array, b.place.number)
                    by_type[array.key.type].remove(b)  # type: ignore[union-attr]
                    break


def all_bytes(nodes: Iterable[Node]) -> SizeLike:
    """Return the bytes of arrays of all nodes, each size counted once.

    Where this can be counted, so can every size and offset that kernels compute.
    """
    total: dict[SizeLike, None] = {}
    for node in nodes:
        total[node.size * max(8, node.dtype.itemsize)] = None
    out: SizeLike = 0
    for size in total:
        out = out + size
    return out


def evaluator(plan: MemoryPlan, values: Mapping[Dim, int]) -> Callable[[SizeLike], int]:
    """Return a function that gives the integers of a plan's sizes."""
    memo: dict[Atom, int] = {}

    def size(s: SizeLike) -> int:
        return sizes.evaluate(s, values.__getitem__, memo)

    for level in plan.levels:  # in order, so that evaluation does not go deep
        size(sizes.of_atom(level))
    return size


def too_large(node: Node, size: int) -> AllocationError:
    """Return the error for an array that no memory could hold."""
    return AllocationError(
        f"{node.label()}{made_at(node.origin)} has {size:,} bytes, more than can be "
        "addressed. Make the sizes smaller."
    )


def check_sizes(nodes: Iterable[Node], values: Mapping[Dim, int]) -> None:
    """Raise `AllocationError` for a node whose array no memory could hold."""
    seen: set[SizeLike] = set()
    for node in nodes:
        size = node.size * node.dtype.itemsize
        if size in seen or isinstance(size, int):
            continue
        seen.add(size)
        number = sizes.evaluate(size, values.__getitem__)
        if number > LARGEST:
            raise too_large(node, number)
