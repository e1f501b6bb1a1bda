"""Offsets in one workspace for blocks of memory with lifetimes.

The problem is dynamic storage allocation, which is NP-hard. Two heuristics are tried
and the smaller result is taken: best fit in the order of time, forwards and
backwards, as an allocator would (near-linear); and, where blocks are few, by
decreasing size at the lowest place that is free ("greedy by size" of Pisarchyk and
Lee, Efficient memory management for deep neural net inference, 2020). What is alive
at one time is a lower bound, at which the search ends.

Sizes may be formulas of symbolic dimensions. Then the heuristics run at sample sizes
and only the *order* of addresses is taken from them: a block lies above the end of
every block that is below it in that order and alive at the same time. That is right
for all sizes, and the offsets are sums and maxima, computed when the function is
called.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.types import sizes
from graphc.types.sizes import Function, SizeLike

ALIGNMENT = 64
"""Offsets are multiples of this: of a cache line, and of the widest vector."""

SAMPLE_SIZE = 1024
"""What a symbolic dimension is taken for when blocks are put in order."""

GREEDY_LIMIT = 512
"""Blocks up to which the quadratic heuristic is tried."""


@dataclass(eq=False)
class Block:
    """Memory that one or several arrays have in turn.

    Attributes
    ----------
    size : SizeLike
        Bytes.
    first, last : int
        The steps between which it is in use, both included.
    offset : SizeLike
        Bytes from the start of the workspace; set by `pack`.
    """

    size: SizeLike
    first: int
    last: int
    offset: SizeLike = 0


class Level(Function):
    """The larger of two offsets.

    Levels are built one upon another, thousands deep: the text of a deep one is its
    number.
    """

    __slots__ = ("number", "depth")

    def __init__(self, left: SizeLike, right: SizeLike, number: int):
        super().__init__("max", left, right)
        self.number = number
        below: list[int] = [a.depth for s in (left, right) for a in _levels(s)]
        self.depth: int = 1 + max(below, default=0)

    def __str__(self) -> str:
        return super().__str__() if self.depth <= 2 else f"level{self.number}"

    __repr__ = __str__

    @classmethod
    def _restore(cls, key: tuple) -> Function:
        return Function(*key)


def _levels(size: SizeLike) -> list[Level]:
    if isinstance(size, int):
        return []
    return [a for a in size.atoms() if isinstance(a, Level)]


def _surely(size: SizeLike) -> bool:
    """Tell whether a size is surely >= 0, without going down into levels."""
    if isinstance(size, int):
        return size >= 0
    return all(c >= 0 for _, c in size.terms) and all(
        isinstance(a, Level) or sizes.non_negative(sizes.of_atom(a))
        for a in size.atoms()
    )


def aligned(size: SizeLike) -> SizeLike:
    """Return bytes rounded up to the alignment of offsets."""
    return sizes.floordiv(size + (ALIGNMENT - 1), ALIGNMENT) * ALIGNMENT


def sample(size: SizeLike) -> int:
    """Return a size with sample values for its symbolic dimensions."""
    return sizes.evaluate(size, lambda dim: SAMPLE_SIZE)


def pack(blocks: Sequence[Block]) -> tuple[SizeLike, list[Level]]:
    """Set the offset of every block.

    Blocks whose lifetimes overlap get memory that does not.

    Returns
    -------
    total : SizeLike
        Bytes of the workspace.
    levels : list of Level
        The atoms the offsets are made of, each after those it depends on.
    """
    memo: dict[SizeLike, SizeLike] = {}
    room: list[SizeLike] = []
    for b in blocks:
        if b.size not in memo:
            memo[b.size] = aligned(b.size)
        room.append(memo[b.size])
    numbers: dict[SizeLike, int] = {}
    for size in room:
        if size not in numbers:
            numbers[size] = sample(size)
    samples = [numbers[s] for s in room]
    offsets, total = _best(blocks, samples)
    if sizes.is_static(room):
        for block, offset in zip(blocks, offsets):
            block.offset = offset
        return total, []
    return _Stack(blocks, room, offsets).settle()


def _best(blocks: Sequence[Block], room: Sequence[int]) -> tuple[list[int], int]:
    """Return the best offsets found for blocks of integer sizes, and their total."""
    bound = _most_alive(blocks, room)
    spans = [(b.first, b.last) for b in blocks]
    best, total = _in_order_of_time(spans, room)
    if total > bound:
        again = _in_order_of_time([(-last, -first) for first, last in spans], room)
        best, total = min((best, total), again, key=lambda r: r[1])
    if total > bound and len(blocks) <= GREEDY_LIMIT:
        best, total = min(
            (best, total), _by_size(spans, room), key=lambda result: result[1]
        )
    return best, total


def _most_alive(blocks: Sequence[Block], room: Sequence[int]) -> int:
    """Return the bytes that are in use at the busiest step."""
    change: dict[int, int] = {}
    for block, size in zip(blocks, room):
        change[block.first] = change.get(block.first, 0) + size
        change[block.last + 1] = change.get(block.last + 1, 0) - size
    most = now = 0
    for step in sorted(change):
        now += change[step]
        most = max(most, now)
    return most


def _in_order_of_time(
    spans: Sequence[tuple[int, int]], room: Sequence[int]
) -> tuple[list[int], int]:
    """Place blocks as they come to life, each in the smallest gap that holds it."""
    gaps = _Gaps()
    offsets = [0] * len(spans)
    births = sorted(range(len(spans)), key=lambda i: (spans[i][0], -room[i], i))
    deaths = sorted(range(len(spans)), key=lambda i: (spans[i][1], i))
    dead = 0
    for i in births:
        while spans[deaths[dead]][1] < spans[i][0]:
            gone = deaths[dead]
            gaps.give(offsets[gone], room[gone])
            dead += 1
        offsets[i] = gaps.take(room[i])
    return offsets, gaps.top


class _Gaps:
    """The free memory below a growing top."""

    def __init__(self) -> None:
        self.top = 0
        self._by_size: list[tuple[int, int]] = []
        self._at: dict[int, int] = {}
        self._ending: dict[int, int] = {}

    def take(self, size: int) -> int:
        if not size:
            return 0
        number = bisect_left(self._by_size, (size, -1))
        if number < len(self._by_size):
            room, start = self._by_size[number]
            self._remove(start)
            if room > size:
                self._add(start + size, room - size)
            return start
        start = self._ending.get(self.top, self.top)
        if start < self.top:  # grow the gap at the top
            self._remove(start)
        self.top = start + size
        return start

    def give(self, start: int, size: int) -> None:
        if not size:
            return
        end = start + size
        if end in self._at:
            following = self._at[end]
            self._remove(end)
            end += following
        if start in self._ending:
            before = self._ending[start]
            self._remove(before)
            start = before
        self._add(start, end - start)

    def _add(self, start: int, size: int) -> None:
        insort(self._by_size, (size, start))
        self._at[start] = size
        self._ending[start + size] = start

    def _remove(self, start: int) -> None:
        size = self._at.pop(start)
        del self._ending[start + size]
        del self._by_size[bisect_left(self._by_size, (size, start))]


def _by_size(
    spans: Sequence[tuple[int, int]], room: Sequence[int]
) -> tuple[list[int], int]:
    """Place blocks by decreasing size, each at the lowest free place."""
    offsets = [0] * len(spans)
    placed: list[tuple[int, int, int, int]] = []  # start, end, first, last
    top = 0
    for i in sorted(range(len(spans)), key=lambda i: (-room[i], spans[i])):
        if not room[i]:
            continue
        first, last = spans[i]
        start = 0
        for low, high, born, died in placed:
            if born > last or died < first:
                continue
            if low - start >= room[i]:
                break
            start = max(start, high)
        offsets[i] = start
        insort(placed, (start, start + room[i], first, last))
        top = max(top, start + room[i])
    return offsets, top


class _Stack:
    """Offsets for all sizes from an order of addresses that serves for some."""

    def __init__(
        self, blocks: Sequence[Block], room: Sequence[SizeLike], offsets: Sequence[int]
    ):
        self.blocks = blocks
        self.room = room
        self.keys = [(offset, i) for i, offset in enumerate(offsets)]
        self.levels: list[Level] = []
        self._known: dict[tuple[SizeLike, SizeLike], SizeLike] = {}

    def settle(self) -> tuple[SizeLike, list[Level]]:
        below, tops = self._neighbours()
        for _, i in sorted(self.keys):
            offset: SizeLike = 0
            for j in below[i]:
                offset = self._larger(offset, self.blocks[j].offset + self.room[j])
            self.blocks[i].offset = offset
        total: SizeLike = 0
        for end in dict.fromkeys(self.blocks[i].offset + self.room[i] for i in tops):
            total = self._larger(total, end)
        return total, self.levels

    def _neighbours(self) -> tuple[list[list[int]], list[int]]:
        """Return the blocks right below each one while both are alive.

        It is enough to look when a block comes to life: where one between two dies,
        both were alive with it, and are in order through it.
        """
        keys = self.keys
        below: list[list[int]] = [[] for _ in keys]
        tops: list[int] = []
        alive: list[tuple[int, int]] = []
        births = sorted(range(len(keys)), key=lambda i: self.blocks[i].first)
        deaths = sorted(range(len(keys)), key=lambda i: self.blocks[i].last)
        dead = 0
        for i in births:
            while self.blocks[deaths[dead]].last < self.blocks[i].first:
                del alive[bisect_left(alive, keys[deaths[dead]])]
                dead += 1
            at = bisect_left(alive, keys[i])
            if at:
                below[i].append(alive[at - 1][1])
            if at < len(alive):
                below[alive[at][1]].append(i)
            else:
                tops.append(i)
            alive.insert(at, keys[i])
        return below, tops

    def _larger(self, a: SizeLike, b: SizeLike) -> SizeLike:
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        known = self._known.get((a, b))
        if known is None:
            difference = a - b
            if _surely(difference):
                known = a
            elif _surely(-difference):
                known = b
            else:
                level = Level(a, b, len(self.levels))
                self.levels.append(level)
                known = sizes.of_atom(level)
            self._known[(a, b)] = known
        return known
