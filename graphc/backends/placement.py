"""Where the values of a kernel are computed: in the outermost loop they depend on.

The printers of all backends share this walk. A backend adds how an operation is
written (its `Scalars`), how memory is read, and how loops look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.kernels.ir import (
    SURE,
    Accumulator,
    Constant,
    Current,
    Dynamic,
    FromSize,
    Instruction,
    Load,
    Value,
    missing,
    operands,
)
from graphc.types import sizes
from graphc.types.sizes import Atom, SizeLike

I64 = np.dtype(np.int64)


class Frame:
    """The code being filled of one loop, and what was computed in it."""

    __slots__ = ("lines", "block", "begun", "memo")

    def __init__(self, block: str = ""):
        self.lines: list[str] = []
        self.block = block
        self.begun = 0  # the line after which the block began
        self.memo: dict[str, Any] = {}


class SizePlacement:
    """Prints index arithmetic, each part in the outermost loop it depends on.

    Parameters
    ----------
    k : Scalars
        Appends operations to its `lines`, and looks for equal ones in its `scopes`.
    entry : str
        The name of the first block.

    Attributes
    ----------
    frames : list of Frame
        The loops being printed, outermost first; the first is the function itself.
    """

    index_type = I64
    """The dtype of indices."""

    def __init__(self, k: Any, entry: str = "") -> None:
        self.k = k
        self.frames = [Frame(entry)]
        self.sizes: dict[SizeLike, tuple[Any, int]] = {}
        self.atoms: dict[Atom, tuple[Any, int]] = {}

    def _leaf(self, atom: Atom) -> tuple[Any, int]:
        """Return the register of an atom met for the first time, and its loop."""
        raise NotImplementedError

    def _index(self, name: str, a: Any, b: Any) -> Any:
        """Return a sum or product ("add", "mul") of indices, which cannot overflow."""
        raise NotImplementedError

    def _quotient(self, name: str, a: Any, b: Any) -> Any:
        """Return "//" or "%" of indices that are never negative."""
        raise NotImplementedError

    def number(self, value: int) -> Any:
        """Return an integer as an index."""
        return self.k.constant(value, self.index_type)

    @contextmanager
    def at(self, depth: int) -> Iterator[None]:
        """Append to the frame of an outer loop meanwhile."""
        frame = self.frames[depth]
        lines, scopes = self.k.lines, self.k.scopes
        self.k.lines = frame.lines
        self.k.scopes = [f.memo for f in self.frames[: depth + 1]]
        try:
            yield
        finally:
            self.k.lines, self.k.scopes = lines, scopes

    def size(self, size: SizeLike) -> tuple[Any, int]:
        """Return an index as a register, outer loops' parts computed outside."""
        if isinstance(size, int):
            return self.number(size), 0
        found = self.sizes.get(size)
        if found is not None:
            return found
        terms = []
        for monomial, c in size.terms:
            factors = sorted((self._atom(a) for a in monomial), key=lambda t: t[1])
            register, depth = self.number(c), 0
            plain = c == 1
            for factor, at in factors:
                if plain:
                    register, depth, plain = factor, at, False
                    continue
                depth = max(depth, at)
                with self.at(depth):
                    register = self._index("mul", register, factor)
            terms.append((register, depth))
        terms.sort(key=lambda t: t[1])
        total, depth = terms[0]
        for term, at in terms[1:]:
            depth = max(depth, at)
            with self.at(depth):
                total = self._index("add", total, term)
        self.sizes[size] = (total, depth)
        return total, depth

    def _atom(self, atom: Atom) -> tuple[Any, int]:
        found = self.atoms.get(atom)
        if found is not None:
            return found
        if isinstance(atom, sizes.Function):
            a, at = self.size(atom.left)
            b, bt = self.size(atom.right)
            depth = max(at, bt)
            name = {"//": "floordiv", "%": "mod"}.get(atom.name, atom.name)
            unsigned = bool(depth) and atom.name in ("//", "%")
            if unsigned and not isinstance(atom.right, int):
                with self.at(bt):  # the processor traps on division by zero
                    b = self.k("max", b, self.k.one(b))
            with self.at(depth):
                if unsigned:  # indices within a loop are never negative
                    made = self._quotient(atom.name, a, b)
                else:
                    made = self.k(name, a, b)
        else:
            made, depth = self._leaf(atom)
        self.atoms[atom] = (made, depth)
        return made, depth


class Placement(SizePlacement):
    """Prints values, each in the outermost loop it depends on.

    Attributes
    ----------
    values : dict of int to (register, int)
        The registers of values by their ids, and the loops they are computed in.
    row_frame : int
        The loop before which loads of what the kernel writes must not move.
    """

    row_frame = 1

    def __init__(self, k: Any, entry: str = "") -> None:
        super().__init__(k, entry)
        self.values: dict[int, tuple[Any, int]] = {}

    def _offset(self, value: Load) -> SizeLike:
        """Return the place of a load, counted from where its buffer begins."""
        return value.offset

    def _load(self, value: Load, depth: int) -> Any:
        """Return an element of a buffer."""
        raise NotImplementedError

    def _read(self, accumulator: Accumulator) -> Any:
        """Return what an accumulator holds."""
        raise NotImplementedError

    def _depth_of(self, accumulator: Accumulator) -> int:
        """Return the loop that an accumulator is started in."""
        raise NotImplementedError

    def _value(self, value: Value) -> Any:
        """Return the register of a value, computing what is missing."""
        for v in missing(value, self.values, operands):
            self.values[id(v)] = self._make(v)
            self._added(self.values[id(v)][1])
        return self.values[id(value)][0]

    def _added(self, depth: int) -> None:
        """Take notice of lines that were added to a loop."""

    def _make(self, value: Value) -> tuple[Any, int]:
        if isinstance(value, Constant):
            return self.k.constant(value.value, value.dtype), 0
        if isinstance(value, FromSize):
            number, depth = self.size(value.size)
            with self.at(depth):
                return self.k.cast(number, value.dtype), depth
        if isinstance(value, Accumulator):
            depth = self._depth_of(value)
            with self.at(depth):
                return self._read(value), depth
        if isinstance(value, Current):
            _, depth = self.atoms[value.loop]
            with self.at(depth):
                return self._read(value.accumulator), depth
        if isinstance(value, Load):
            _, depth = self.size(self._offset(value))
            if value.stage:
                depth = max(depth, self.row_frame)
            return self._load(value, depth), depth
        depth = max(self.values[id(o)][1] for o in value.operands)
        with self.at(depth):
            return self._apply(
                value, [self.values[id(o)][0] for o in value.operands]
            ), (depth)

    def _apply(self, value: Instruction, registers: Sequence[Any]) -> Any:
        """Return the result of an instruction."""
        if value.name == "cast":
            return self.k.cast(registers[0], value.dtype)
        return self.k(value.name, *registers)

    def _dynamic(self, atom: Dynamic) -> tuple[Any, int]:
        """Return a computed index made good, reporting one that is out of range."""
        self._value(atom.value)
        value, at = self.values[id(atom.value)]
        if atom.code == SURE:
            with self.at(at):
                return self.k.cast(value, self.index_type), at
        extent, et = self.size(atom.extent)
        count, ct = self.size(atom.count)
        depth = max(at, et, ct, min(1, len(self.frames) - 1))
        with self.at(depth):
            k = self.k
            index, extent = k.cast(value, I64), k.cast(extent, I64)
            zero = k.zero(index)
            index = k("select", k("lt", index, zero), k("add", index, extent), index)
            inside = k("and", k("ge", index, zero), k("lt", index, extent))
            none = None
            if not isinstance(atom.count, int):
                none = k("eq", count, k.zero(count))
            self._report(atom, inside, none)
            return k.cast(k("select", inside, index, zero), self.index_type), depth

    def _report(self, atom: Dynamic, inside: Any, none: Any | None) -> None:
        """Report an index that is not inside, unless no element asks for it."""
        raise NotImplementedError
