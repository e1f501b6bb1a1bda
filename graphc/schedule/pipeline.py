"""Pipelines: steps that run by blocks of rows, each block through all of them.

A product's rows depend on the same rows of its left operand, and what a row program
makes of them stays in its rows. A chain of such steps, an unrolled recurrent network or
the layers of a perceptron and back, needs no barrier between them: a thread takes some
rows through the whole chain while they are in its cache. The right operands of the
products are rearranged once for all rows.

A step joins a pipeline if it reads from it at its own rows only, and if whatever else
it reads is there before the pipeline starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import isqrt

from graphc.graph.node import Node
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.factorize import RoutineCall
from graphc.schedule.product import PACKED, ProductCall
from graphc.schedule.row_access import ratio, row_access
from graphc.types import sizes
from graphc.types.sizes import SizeLike

FEWEST_ROWS = 16
"""Products of fewer rows are shared by their columns instead."""

MOST_ROWS = 64
"""Rows of a block, at most."""

Step = KernelCall | ProductCall | RoutineCall
Key = object


@dataclass(eq=False)
class Member:
    """A step of a pipeline.

    Attributes
    ----------
    call : KernelCall or ProductCall
    scale : SizeLike
        Rows of the step for each row of the pipeline, or for each block of the step.
    """

    call: Step
    scale: SizeLike


@dataclass(eq=False)
class PipelineCall:
    """Steps that run by blocks of rows, in order.

    Attributes
    ----------
    members : list of Member
    rows : SizeLike
    block : int
        Rows of a block: by size alone.
    """

    members: list[Member]
    rows: SizeLike
    block: int

    @property
    def chunks(self) -> SizeLike:
        """The number of blocks."""
        return block_count(self.rows, self.block)

    @property
    def memory(self) -> list[Memory]:
        """The memory of all members."""
        return list(chain.from_iterable(m.call.memory for m in self.members))

    @property
    def nodes(self) -> list[Node]:
        """The nodes of all members."""
        return list(chain.from_iterable(m.call.nodes for m in self.members))


def key_of(memory: Memory) -> Key:
    """Return what stands for an array: its node, or the memory itself."""
    return memory if memory.node is None else memory.node


Pairs = list[tuple[KernelCall, KernelCall]]
"""Old calls and the new ones in their place."""

Fitted = Callable[[KernelCall, SizeLike], Pairs]
"""Lowers a kernel for the blocks of a pipeline of so many rows, if it has to be."""

Replaced = dict[int, KernelCall]
"""By its id, what a call was replaced with."""


@dataclass(eq=False)
class _Unit:
    """Steps that will run as one, at their place in the order."""

    order: int
    members: list[Member]
    rows: SizeLike | None
    """None for a kernel alone: what its rows are to a product is not known yet."""
    made: dict[Key, SizeLike] = field(default_factory=dict)
    """What lies row by row: its elements for each row."""
    written: set[Key] = field(default_factory=set)
    """All that its members write."""


Again = Callable[[KernelCall, SizeLike, int], Pairs]


def pipelined(
    steps: Sequence[Step], again: Again, outputs: Iterable[Node], apart: bool = False
) -> list[Step | PipelineCall]:
    """Return the steps with chains of them made pipelines.

    Parameters
    ----------
    steps : sequence of KernelCall or ProductCall
        In an order in which each can run after those before it.
    again : callable
        Lowers a kernel anew for another number of chunks, and no more rows in a block;
        returns pairs of old and new, first of the kernel itself, then of what combines
        its partial results. Nothing for what is no group of nodes.
    outputs : iterable of Node
        What must be in memory of its own at the end.
    apart : bool
        Whether members will be run one by one after all, in the order of `steps`.
    """
    units: list[_Unit] = []
    replaced: Replaced = {}

    def fitted(call: KernelCall, rows: SizeLike) -> Pairs:
        if call.block == 1 and all(m.node is not None for m in call.memory):
            return [(call, call)]
        block = block_rows(rows)
        return again(call, block_count(rows, block), block) or [(call, call)]

    maker: dict[Key, _Unit] = {}
    readers: dict[Key, set[_Unit]] = {}
    for old in steps:
        step: Step = replaced.get(id(old), old)
        reads = _reads(step)
        makers = {id(u): u for u in (maker.get(k) for k in reads) if u is not None}
        ordered = sorted(makers.values(), key=lambda u: -u.order)
        unit = _joined(step, ordered, fitted, replaced)
        if unit is None:
            unit = _Unit(len(units), [Member(step, 1)], None)
            if isinstance(step, ProductCall) and _is_row_wise(step):
                _start(unit, rows_of(step), fitted, replaced)
            units.append(unit)
        for k in reads:
            readers.setdefault(k, set()).add(unit)
        for k in (*_writes(step), *_writes(unit.members[-1].call)):
            maker[k] = unit
    kept = set(outputs)
    for unit in units:
        for key in list(unit.made):
            if key in kept or readers.get(key, {unit}) != {unit}:
                del unit.made[key]
    return [_finished(unit, replaced, apart) for unit in units]


def _reads(step: Step) -> list[Key]:
    if isinstance(step, ProductCall):
        return [key_of(m) for m in (*step.memory[:2], *step.memory[4:])]
    if isinstance(step, RoutineCall):
        return [key_of(m) for m in step.memory[:2]]
    return [key_of(m) for m in step.memory]


def _writes(step: Step) -> list[Key]:
    if isinstance(step, (ProductCall, RoutineCall)):
        return [key_of(step.memory[2])]
    pairs = zip(step.kernel.buffers, step.memory)
    return [key_of(m) for b, m in pairs if b.written]


def rows_of(call: ProductCall) -> SizeLike:
    """Return the rows of a product, of all matrices of its batch."""
    return call.m * sizes.product([axis[0] for axis in call.axes])


def _is_row_wise(call: ProductCall) -> bool:
    """Tell whether a product may run by rows: there are many, and B is packed whole."""
    rows = rows_of(call)
    few = isinstance(rows, int) and rows < FEWEST_ROWS
    whole = isinstance(call.room, int) and call.room < PACKED
    one = len({id(piece.left.source) for piece in call.pieces}) == 1
    return not few and whole and one and not call.outer


def _joined(
    step: Step, makers: Sequence[_Unit], fitted: Fitted, replaced: Replaced
) -> _Unit | None:
    """Return the pipeline that a step became a member of, if one takes it.

    It has to be the last of those the step depends on.
    """
    if not makers or isinstance(step, RoutineCall):
        return None
    unit = makers[0]
    if isinstance(step, ProductCall):
        if not _is_row_wise(step) or len(step.pieces) > 1:
            return None
        rows = rows_of(step)
        if unit.rows is None:
            before, tried = list(unit.members), Replaced()
            _start(unit, rows, fitted, tried)
            if unit.rows is None or not _reads_own_rows(step, unit):
                unit.rows = None
                unit.members[:] = before
                unit.made.clear()
                unit.written.clear()
                return None
            replaced.update(tried)
        elif unit.rows != rows or not _reads_own_rows(step, unit):
            return None
        _add(unit, Member(step, 1))
        return unit
    if unit.rows is None:
        return None
    pairs = fitted(step, unit.rows)
    call = pairs[0][1]
    scale = _kernel_scale(call, unit)
    if scale is None:
        return None
    replaced.update((id(old), new) for old, new in pairs)
    _add(unit, Member(call, scale))
    return unit


def _start(unit: _Unit, rows: SizeLike, fitted: Fitted, replaced: Replaced) -> None:
    """Take a step that is alone as the first of a pipeline over so many rows."""
    (member,) = unit.members
    if isinstance(member.call, RoutineCall):
        return
    if isinstance(member.call, KernelCall):
        pairs = fitted(member.call, rows)
        call = pairs[0][1]
        scale = _scale(call, rows)
        if scale is None:
            return
        replaced.update((id(old), new) for old, new in pairs)
        member = Member(call, scale)
    unit.rows = rows
    unit.members.clear()
    _add(unit, member)


def _add(unit: _Unit, member: Member) -> None:
    unit.members.append(member)
    call, rows = member.call, unit.rows
    unit.written.update(_writes(call))
    assert rows is not None
    if isinstance(call, ProductCall):
        unit.made[key_of(call.memory[2])] = call.n
        return
    assert isinstance(call, KernelCall)
    view = row_access(call, member.scale)
    for buffer, memory in zip(call.kernel.buffers, call.memory):
        if buffer.written and memory.node is not None:
            width = ratio(memory.size, rows)
            if width is not None and view.stores_stay(buffer, width):
                unit.made[key_of(memory)] = width


def _reads_own_rows(call: ProductCall, unit: _Unit) -> bool:
    left, right = (key_of(m) for m in call.memory[:2])
    if right in unit.written:
        return False
    width = unit.made.get(left)
    if width is None:
        return False
    view = call.left
    stride = view.rows * call.m
    for size, a, _, _ in call.axes:
        if a != stride:
            return False
        stride = stride * size
    return (
        view.offset == 0
        and view.columns == 1
        and view.rows == width
        and sizes.non_negative(width - call.k)
    )


def _kernel_scale(call: KernelCall, unit: _Unit) -> SizeLike | None:
    """Return a kernel's rows for each of a pipeline's, None if it cannot join."""
    rows = unit.rows
    assert rows is not None
    scale = _scale(call, rows)
    if scale is None:
        return None
    view = row_access(call, scale)
    for buffer, memory in zip(call.kernel.buffers, call.memory):
        key = key_of(memory)
        if key not in unit.written:
            continue
        width = unit.made.get(key)
        if width is None or buffer.written or not view.loads_stay(buffer, width):
            return None
    return scale


def _scale(call: KernelCall, rows: SizeLike) -> SizeLike | None:
    """Return a kernel's rows, or blocks, for each row or block of a pipeline's."""
    if call.block > 1:
        blocks = sizes.floordiv(rows + (call.block - 1), call.block)
        return 1 if call.kernel.rows == blocks else None
    return ratio(call.kernel.rows, rows)


def _finished(unit: _Unit, replaced: Replaced, apart: bool) -> Step | PipelineCall:
    """Return the step of a unit."""
    for member in unit.members:
        member.call = replaced.get(id(member.call), member.call)
    if len(unit.members) == 1:
        return unit.members[0].call
    assert unit.rows is not None
    _share_packing(unit.members)
    if not apart:
        _share_rows(unit)
    return PipelineCall(unit.members, unit.rows, block_rows(unit.rows))


def _share_packing(members: Sequence[Member]) -> None:
    """Let products of one right operand share its rearranged form."""
    packed: dict[tuple, Memory] = {}
    for member in members:
        call = member.call
        if isinstance(call, ProductCall):
            right = call.right
            moved = tuple((axis[0], axis[2]) for axis in call.axes)
            key = (id(right.source), *right[1:], call.k, call.n, moved)
            call.memory[3] = packed.setdefault(key, call.memory[3])


def _share_rows(unit: _Unit) -> None:
    """Let arrays that only this pipeline uses lie in one place after another.

    That is safe if their rows are equally long, for blocks are at different members at
    the same time: a block's rows then lie where no other block's do.
    """
    last: dict[Key, int] = {}
    for number, member in enumerate(unit.members):
        for key in map(key_of, member.call.memory):
            if key in unit.made:
                last[key] = number
    free: dict[tuple, list[Memory]] = {}
    place: dict[Key, Memory] = {}
    for number, member in enumerate(unit.members):
        memory = member.call.memory
        keys = [key_of(m) for m in memory]
        for i, key in enumerate(keys):
            if key not in last:
                continue
            if key not in place:
                kind = (memory[i].size, memory[i].dtype)
                free_ones = free.get(kind)
                place[key] = (
                    free_ones.pop()
                    if free_ones
                    else Memory(None, memory[i].size, memory[i].dtype)
                )
            place[key].read_if_empty |= memory[i].read_if_empty
            memory[i] = place[key]
        for key in dict.fromkeys(keys):
            if last.get(key) == number:
                room = place[key]
                free.setdefault((room.size, room.dtype), []).append(room)


def block_rows(rows: SizeLike) -> int:
    """Return the rows of a block, a power of two: by size alone."""
    if not isinstance(rows, int):
        return MOST_ROWS // 2
    wanted = max(8, min(MOST_ROWS, 2 * isqrt(rows)))
    return 1 << (wanted.bit_length() - 1)


def block_count(rows: SizeLike, block: int) -> SizeLike:
    """Return the number of blocks of so many rows, at least 1."""
    return sizes.maximum(1, sizes.floordiv(rows + (block - 1), block))
