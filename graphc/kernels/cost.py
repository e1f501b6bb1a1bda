"""What a kernel does, counted on its loops: instructions, loads and stores.

A value is computed in the outermost loop whose variables it depends on, as the
printers do, so what is invariant in a loop is counted outside. The counts of a loop's
body are summed over its variable: a product with the extent, unless they depend on
it, as those of the last block of rows do.

Integer arithmetic on indices is not counted; conditions on indices are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    Set,
    Start,
    Statement,
    Store,
    Update,
    Value,
    missing,
    size_of,
    value_atoms,
)
from graphc.ops.counting import operations_of
from graphc.types import sizes
from graphc.types.sizes import Atom, SizeLike

KINDS = ("flops", "transcendentals", "loads", "stores", "bytes_loaded", "bytes_stored")


class Sum(Atom):
    """``sum(body for variable in range(extent))`` that has no closed form here."""

    __slots__ = ("variable", "extent", "body")

    def __init__(self, variable: Atom, extent: SizeLike, body: SizeLike):
        super().__init__(("sum", variable, extent, body))
        self.variable, self.extent, self.body = variable, extent, body

    @classmethod
    def _restore(cls, key: tuple) -> Sum:
        return cls(*key[1:])

    def __str__(self) -> str:
        return f"sum({self.body} for {self.variable} < {self.extent})"

    __repr__ = __str__


def evaluated(
    size: SizeLike, values: Mapping[Any, int], memo: dict[Any, int] | None = None
) -> int:
    """Return the integer of a count.

    Parameters
    ----------
    size : SizeLike
        Over dimensions, and sums that have no closed form.
    values : mapping of Atom to int
    memo : dict of Atom to int, optional
        What is known of atoms for these values.

    Raises
    ------
    KeyError
        If a dimension has no value.
    """

    def value(atom: Atom) -> int:
        if isinstance(atom, Sum):
            extent = evaluated(atom.extent, values)
            inner = dict(values)
            total = 0
            for number in range(extent):
                inner[atom.variable] = number
                total += evaluated(atom.body, inner)
            return total
        return values[atom]

    return sizes.evaluate(size, value, memo)


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
    """

    counts: dict[str, SizeLike] = field(default_factory=dict)
    touched: dict[int, SizeLike] = field(default_factory=dict)


def kernel_cost(kernel: Kernel, chunks: SizeLike) -> KernelCost:
    """Return what a kernel does if its rows are cut into so many chunks."""
    return _Counter(kernel, chunks).cost


class _Level:
    """A loop being counted: what one of its rounds does, inner loops included."""

    def __init__(self, var: Atom, extent: SizeLike):
        self.var = var
        self.extent = extent
        self.counts: dict[str, SizeLike] = dict.fromkeys(KINDS, 0)


class _Counter:
    def __init__(self, kernel: Kernel, chunks: SizeLike):
        self.levels = [_Level(kernel.chunk, chunks)]
        self.depth_of: dict[Atom, int] = {kernel.chunk: 0}
        self.extent_of: dict[Atom, SizeLike] = {kernel.chunk: chunks}
        self.order: list[Atom] = [kernel.chunk]
        self.values: dict[int, int] = {}
        self.cells: dict[int, int] = {}
        self.dynamic: dict[Atom, int] = {}
        self.variables: dict[int, frozenset[Atom]] = {}
        self.accesses: dict[int, dict[SizeLike, SizeLike]] = {}
        self.cost = KernelCost()
        self.rows = {part.var for part in kernel.loops}
        (root,) = self.levels
        rows: dict[str, SizeLike] = dict.fromkeys(KINDS, 0)
        self._statements(kernel.before)
        for part in kernel.loops:  # all chunks together run each row once
            self._loop(part.var, part.extent, part.body, rows)
        self._statements(kernel.after)
        self.cost.counts = {k: summed(root.counts[k], root) + rows[k] for k in KINDS}
        for number, footprints in self.accesses.items():
            self.cost.touched[number] = _total(footprints.values())

    def _add(self, depth: int, kind: str, count: int) -> None:
        counts = self.levels[depth].counts
        counts[kind] = counts[kind] + count

    # ----------------------------------------------------------- statements

    def _loop(
        self,
        var: LoopVar,
        extent: SizeLike,
        body: Sequence[Statement],
        counts: dict[str, SizeLike],
    ) -> None:
        """Count a loop into `counts`."""
        self._size(extent)
        if var not in self.depth_of:
            self.order.append(var)
        self.depth_of[var] = len(self.levels)
        self.extent_of[var] = extent
        self.levels.append(_Level(var, extent))
        self._statements(body)
        inner = self.levels.pop()
        for kind, count in inner.counts.items():
            counts[kind] = counts[kind] + summed(count, inner)

    def _statements(self, body: Sequence[Statement]) -> None:
        for s in body:
            depth = len(self.levels) - 1
            if isinstance(s, Loop):
                self._loop(s.var, s.extent, s.body, self.levels[depth].counts)
            elif isinstance(s, Start):
                self.cells[s.accumulator.number] = depth
            elif isinstance(s, Store):
                self._value(s.value)
                self._size(s.offset)
                self._access(depth, s.buffer, s.offset, "stores", "bytes_stored")
                if s.instruction is not None:
                    self._access(depth, s.buffer, s.offset, "loads", "bytes_loaded")
                    self._instruction(depth, s.instruction)
            else:
                self._value(s.value)
                if isinstance(s, Update):
                    self._instruction(depth, s.accumulator.instruction)
                else:
                    assert isinstance(s, Set)

    def _instruction(self, depth: int, name: str) -> None:
        flops, transcendentals = operations_of(name)
        self._add(depth, "flops", flops)
        self._add(depth, "transcendentals", transcendentals)

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
            return self.depth_of[value.loop]
        if isinstance(value, Instruction):
            depth = max(self.values[id(o)] for o in value.operands)
            self._instruction(depth, value.name)
            return depth
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
        self._add(depth, count, 1)
        self._add(depth, size, buffer.dtype.itemsize)
        places = self.accesses.setdefault(buffer.number, {})
        if offset not in places:
            places[offset] = self._footprint(offset)

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
                total = summed(total, _Level(var, extent))
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


# ------------------------------------------------------------------------ sums


def summed(size: SizeLike, level: _Level) -> SizeLike:
    """Return the sum of a count over the values of a loop's variable."""
    var, extent = level.var, level.extent
    if not _depends(size, var):
        return size * extent
    assert not isinstance(size, int)
    total: SizeLike = 0
    rest: SizeLike = 0
    for monomial, c in size.terms:
        term: SizeLike = c
        for atom in monomial:
            term = term * sizes.of_atom(atom)
        within = [a for a in monomial if _depends(sizes.of_atom(a), var)]
        whole = _over_blocks(within[0], var, extent) if len(within) == 1 else None
        if not within:
            total = total + term * extent
        elif whole is None:
            rest = rest + term
        else:
            for atom in monomial:
                if atom is not within[0]:
                    whole = whole * sizes.of_atom(atom)
            total = total + whole * c
    if rest == 0:
        return total
    left = Sum(var, extent, rest)
    if isinstance(extent, int) and all(a == var for a in value_atoms(rest)):
        return total + evaluated(sizes.of_atom(left), {})
    return total + sizes.of_atom(left)


def _depends(size: SizeLike, var: Atom) -> bool:
    return any(
        atom == var
        or (isinstance(atom, Sum) and (_depends(atom.body, var)))
        or (isinstance(atom, Sum) and _depends(atom.extent, var))
        for atom in value_atoms(size)
    )


def _over_blocks(atom: Atom, var: Atom, extent: SizeLike) -> SizeLike | None:
    """Return the sum of the rows of blocks: ``min(b, n - b*k)`` for all k is n.

    k is the variable, or its remainder by the number of blocks, ``(n + b - 1)//b``.
    """
    if not isinstance(atom, sizes.Function) or atom.name != "min":
        return None
    for block, left in ((atom.left, atom.right), (atom.right, atom.left)):
        if not isinstance(block, int) or isinstance(left, int):
            continue
        for number in (var, *(a for a in left.atoms() if _is_remainder(a, var))):
            whole = left + sizes.of_atom(number) * block
            if _depends(whole, var):
                continue
            blocks = sizes.floordiv(whole + (block - 1), block)
            if number is var:
                return whole if extent == blocks else None
            assert isinstance(number, sizes.Function)
            if number.right == blocks and sizes.divides(blocks, extent):
                return whole * sizes.floordiv(extent, blocks)
    return None


def _is_remainder(atom: Atom, var: Atom) -> bool:
    return (
        isinstance(atom, sizes.Function)
        and atom.name == "%"
        and atom.left == sizes.of_atom(var)
    )
