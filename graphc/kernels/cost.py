"""What a kernel does, counted on its loops: instructions, loads and stores.

A value is computed in the outermost loop whose variables it depends on, as the
printers do, so what is invariant in a loop is counted outside. The counts of a loop's
body are summed over its variable: a product with the extent, unless they depend on
it, as those of the last block of rows do.

Integer arithmetic on indices is not counted; conditions on indices are.

What takes time is told apart further, as `Item`: instructions that are slower than
others each by its name, and whether they run on vectors. Those of an innermost loop do,
unless each round waits for the one before; so do its loads and stores of elements that
are near those of the next round. All else is done one element at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from graphc.kernels.ir import (
    Accumulator,
    Buffer,
    Constant,
    Current,
    Dynamic,
    FromSize,
    Instruction,
    Kernel,
    Loop,
    LoopVar,
    Start,
    Statement,
    Store,
    Update,
    Value,
    missing,
    size_of,
    value_atoms,
)
from graphc.kernels.sums import summed
from graphc.ops.counting import operations_of
from graphc.types import sizes
from graphc.types.sizes import Atom, SizeLike

KINDS = ("flops", "transcendentals", "loads", "stores", "bytes_loaded", "bytes_stored")

SLOW = frozenset(("div", "sqrt", "floordiv", "mod"))
"""Instructions, beside calls of functions, that take longer than an addition."""


class Item(NamedTuple):
    """Something that takes time.

    Attributes
    ----------
    what : str
        The name of a function or of one of the `SLOW` instructions; "flop" for any
        other; "load" and "store" of an element; "enter", the start of a loop inside of
        the rows; "reduce", the end of a loop's reduction; "link", an instruction that
        waits for the one before. "sincos" is a cosine besides the sine, or the other
        way, of the same number: much of the work is shared.
    itemsize : int
        Bytes of the elements.
    scalar : bool
        Whether it is done for one element at a time.
    """

    what: str
    itemsize: int
    scalar: bool


ANGLES = {"sin": "cos", "cos": "sin"}
"""Functions that share work with another of the same argument."""

NEAR = 32
"""Bytes between elements of neighbouring rounds that are still loaded as vectors, and
shuffled. Measured: sums of 2 to 8 elements of each row took 0.1 ns for an element,
those of more 0.34 ns."""


@dataclass(eq=False)
class KernelCost:
    """What all chunks of a kernel do together.

    Attributes
    ----------
    counts : dict of str to SizeLike
        By the names of `KINDS`. A load is an element read from a buffer into a
        register, a store one written, in loops that run as the kernel says.
    touched : dict of int to SizeLike
        By a buffer's number, its elements that are read or written: a bound, exact
        where accesses do not overlap in part.
    items : dict of Item to SizeLike
        What takes time, and how often it is done.
    chain : int
        Instructions of the longest chain within a row, the slow ones left out.
    """

    counts: dict[str, SizeLike] = field(default_factory=dict)
    touched: dict[int, SizeLike] = field(default_factory=dict)
    items: dict[Item, SizeLike] = field(default_factory=dict)
    chain: int = 0


def kernel_cost(kernel: Kernel, chunks: SizeLike) -> KernelCost:
    """Return what a kernel does if its rows are cut into so many chunks."""
    return _Counter(kernel, chunks).cost


class _Level:
    """A loop being counted: what one of its rounds does.

    Attributes
    ----------
    counts : dict
        By kind and by `Item`; inner loops included, but for what is in `own`.
    own : Counter
        What its body does itself, by what and the bytes of an element.
    reductions : Counter
        Accumulators that it updates itself, by the bytes of an element.
    inner : bool
        Whether no loop is inside of it.
    serial : bool
        Whether a round waits for the one before.
    """

    def __init__(self, var: Atom, extent: SizeLike):
        self.var = var
        self.extent = extent
        self.counts: dict[Hashable, SizeLike] = dict.fromkeys(KINDS, 0)
        self.own: Counter[tuple[str, int]] = Counter()
        self.reductions: Counter[int] = Counter()
        self.inner = True
        self.serial = False

    def close(self) -> None:
        """Put what the body does itself among the counts."""
        scalar = self.serial or not self.inner
        for (what, itemsize), count in self.own.items():
            far = what in ("far load", "far store")
            self.add(Item(what.removeprefix("far "), itemsize, scalar or far), count)

    def add(self, kind: Hashable, count: SizeLike) -> None:
        """Count something."""
        self.counts[kind] = self.counts.get(kind, 0) + count


class _Counter:
    def __init__(self, kernel: Kernel, chunks: SizeLike):
        self.levels = [_Level(kernel.chunk, chunks)]
        self.depth_of: dict[Atom, int] = {kernel.chunk: 0}
        self.extent_of: dict[Atom, SizeLike] = {kernel.chunk: chunks}
        self.order: list[Atom] = [kernel.chunk]
        self.values: dict[int, int] = {}
        self.cells: dict[int, int] = {}
        self.dynamic: dict[Atom, int] = {}
        self.chains: dict[int, int] = {}
        self.links: dict[int, int] = {}
        self.angles: set[tuple[str, int]] = set()
        self.accesses: dict[int, dict[SizeLike, SizeLike]] = {}
        self.cost = KernelCost()
        self.rows = {part.var for part in kernel.loops}
        (root,) = self.levels
        root.inner = False
        rows = _Level(kernel.chunk, 1)
        self._statements(kernel.before)
        for part in kernel.loops:  # all chunks together run each row once
            self._loop(part.var, part.extent, part.body, rows)
        self._statements(kernel.after)
        root.close()
        counts: dict[Hashable, SizeLike] = dict(rows.counts)
        for kind, count in root.counts.items():
            counts[kind] = counts.get(kind, 0) + summed(count, root.var, root.extent)
        self.cost.counts = {k: counts.pop(k) for k in KINDS}
        self.cost.items = counts  # type: ignore[assignment]
        for number, footprints in self.accesses.items():
            self.cost.touched[number] = _total(footprints.values())

    # ----------------------------------------------------------- statements

    def _loop(
        self,
        var: LoopVar,
        extent: SizeLike,
        body: Sequence[Statement],
        outside: _Level,
    ) -> None:
        """Count a loop into what is outside of it."""
        self._size(extent)
        if var not in self.depth_of:
            self.order.append(var)
        self.depth_of[var] = len(self.levels)
        self.extent_of[var] = extent
        self.levels.append(_Level(var, extent))
        self._statements(body)
        inner = self.levels.pop()
        inner.close()
        for kind, count in inner.counts.items():
            outside.add(kind, summed(count, var, extent))
        if len(self.levels) > 1:
            outside.own["enter", 8] += 1
            for itemsize, count in inner.reductions.items():
                outside.own["reduce", itemsize] += count

    def _statements(self, body: Sequence[Statement]) -> None:
        for s in body:
            depth = len(self.levels) - 1
            if isinstance(s, Loop):
                self.levels[depth].inner = False
                self._loop(s.var, s.extent, s.body, self.levels[depth])
            elif isinstance(s, Start):
                self.cells[s.accumulator.number] = depth
            elif isinstance(s, Store):
                self._value(s.value)
                self._size(s.offset)
                self._access(depth, s.buffer, s.offset, "stores", "bytes_stored")
                if s.instruction is not None:
                    self._access(depth, s.buffer, s.offset, "loads", "bytes_loaded")
                    self._instruction(depth, s.instruction, s.buffer.dtype.itemsize)
            else:
                self._value(s.value)
                itemsize = s.accumulator.dtype.itemsize
                level = self.levels[depth]
                if isinstance(s, Update):
                    self._instruction(depth, s.accumulator.instruction, itemsize)
                    level.reductions[itemsize] += 1
                elif id(s.value) in self.links:
                    level.serial = True
                    level.own["link", itemsize] += self.links[id(s.value)]

    def _instruction(self, depth: int, name: str, itemsize: int) -> int:
        """Count an instruction; return what it adds to a chain."""
        flops, calls = operations_of(name)
        level = self.levels[depth]
        level.add("flops", flops)
        level.add("transcendentals", calls)
        if calls or name in SLOW:
            level.own["polygamma" if "polygamma" in name else name, itemsize] += 1
            return 0
        level.own["flop", itemsize] += flops
        return flops

    def _made_by(self, value: Instruction) -> int:
        """Count an instruction; return the depth its value is computed at."""
        depth = max(self.values[id(o)] for o in value.operands)
        itemsize = max(v.dtype.itemsize for v in (value, *value.operands))
        own = self._instruction(depth, value.name, itemsize)
        if value.name in ANGLES:
            argument = id(value.operands[0])
            if (ANGLES[value.name], argument) in self.angles:
                self.levels[depth].own[value.name, itemsize] -= 1
                self.levels[depth].own["sincos", itemsize] += 1
            self.angles.add((value.name, argument))
        ids = [id(o) for o in value.operands]
        self.chains[id(value)] = max(self.chains.get(i, 0) for i in ids) + own
        self.cost.chain = max(self.cost.chain, self.chains[id(value)])
        links = [self.links[i] for i in ids if i in self.links]
        if links:
            self.links[id(value)] = max(links) + max(own, 1)
        return depth

    # --------------------------------------------------------------- values

    def _value(self, value: Value) -> int:
        """Count a value and what it needs, once; return the depth it is computed at."""
        for v in missing(value, self.values):
            self.values[id(v)] = self._made(v)
        return self.values[id(value)]

    def _made(self, value: Value) -> int:
        if isinstance(value, Constant):
            return 0
        if isinstance(value, Accumulator):
            return self.cells[value.number]
        if isinstance(value, Current):
            self.links[id(value)] = 0
            return self.depth_of[value.loop]
        if isinstance(value, Instruction):
            return self._made_by(value)
        depth = self._size(size_of(value))
        if isinstance(value, FromSize):
            return depth
        if value.stage:
            depth = max(depth, 1)
        self._access(depth, value.buffer, value.offset, "loads", "bytes_loaded")
        return depth

    def _size(self, size: SizeLike) -> int:
        """Return the depth an index is computed at, its values being counted."""
        depth = 0
        for atom in value_atoms(size):
            if isinstance(atom, Dynamic):
                if atom not in self.dynamic:
                    at = self._value(atom.value)
                    at = max(at, self._size(atom.extent), self._size(atom.count))
                    self.dynamic[atom] = max(at, min(1, len(self.levels) - 1))
                depth = max(depth, self.dynamic[atom])
            else:
                depth = max(depth, self.depth_of.get(atom, 0))
        return depth

    # --------------------------------------------------------------- memory

    def _access(
        self, depth: int, buffer: Buffer, offset: SizeLike, count: str, size: str
    ) -> None:
        level = self.levels[depth]
        level.add(count, 1)
        level.add(size, buffer.dtype.itemsize)
        near = self._near(offset, depth, buffer.dtype.itemsize)
        what = count[:-1] if near else f"far {count[:-1]}"
        level.own[what, buffer.dtype.itemsize] += 1
        places = self.accesses.setdefault(buffer.number, {})
        if offset not in places:
            places[offset] = self._footprint(offset)

    def _near(self, offset: SizeLike, depth: int, itemsize: int) -> bool:
        """Tell whether neighbouring rounds of a loop access elements close by."""
        for atom in value_atoms(offset):
            if isinstance(atom, Dynamic) and self.dynamic[atom] >= depth:
                return False
        var = self.levels[depth].var
        after = sizes.of_atom(var) + 1
        moved = sizes.substitute(offset, lambda a: after if a == var else None)
        step = moved - offset
        return isinstance(step, int) and 0 <= step * itemsize <= max(NEAR, itemsize)

    def _footprint(self, offset: SizeLike) -> SizeLike:
        """Return the number of different places an offset takes, at the most."""
        loops = self._loops_of(offset)
        extents = {}
        for var in reversed(self.order):  # an extent depends on loops outside only
            if var in loops:
                extents[var] = extent = self._at_most(self.extent_of[var], loops)
                loops.update(a for a in value_atoms(extent) if a in self.depth_of)
        if loops & self.rows:
            loops.discard(self.order[0])  # a row belongs to one chunk
        total: SizeLike = 1
        for var, extent in extents.items():
            if var in loops:
                total = summed(total, var, extent)
        return total

    def _at_most(self, extent: SizeLike, loops: set[Atom]) -> SizeLike:
        """Return a bound of an extent by what the loops given tell, where there is one.

        Those of the last block of rows are no more than those of any other.
        """
        atoms = () if isinstance(extent, int) else tuple(extent.atoms())
        if len(atoms) != 1 or extent != sizes.of_atom(atoms[0]):
            return extent
        (atom,) = atoms
        outside = {a for a in value_atoms(extent) if a in self.depth_of}
        if isinstance(atom, sizes.Function) and atom.name == "min" and outside - loops:
            return next((p for p in (atom.left, atom.right) if type(p) is int), extent)
        return extent

    def _loops_of(self, size: SizeLike) -> set[Atom]:
        """Return the loops an index depends on, through values too."""
        found: set[Atom] = set()
        waiting: list[SizeLike] = [size]
        seen: set[int] = set()
        while waiting:
            for atom in value_atoms(waiting.pop()):
                if not isinstance(atom, Dynamic):
                    if atom in self.depth_of:
                        found.add(atom)
                    continue
                values: list[Value] = [atom.value]
                while values:
                    v = values.pop()
                    if id(v) in seen:
                        continue
                    seen.add(id(v))
                    if isinstance(v, Instruction):
                        values.extend(v.operands)
                    elif isinstance(v, Current):
                        found.add(v.loop)
                    elif isinstance(v, Accumulator):
                        found.update(self.order[: self.cells.get(v.number, 0) + 1])
                    else:
                        waiting.append(size_of(v))
        return found


def _total(parts: Iterable[SizeLike]) -> SizeLike:
    out: SizeLike = 0
    for part in parts:
        out = out + part
    return out
