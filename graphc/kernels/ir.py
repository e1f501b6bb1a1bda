"""The loop-nest IR: a kernel is a parallel loop over rows around a few inner loops.

Nothing here knows numba, LLVM or CUDA. Values are immutable and shared; where a
value is computed follows from the loop variables it depends on. Indices are the
integer polynomials of `types.sizes`, with loop variables as atoms, so an offset
that does not depend on a loop is visibly invariant in it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.types.sizes import Atom, SizeLike


class LoopVar(Atom):
    """A loop's variable; ``number`` is unique in a kernel."""

    __slots__ = ("name", "number")

    def __init__(self, name: str, number: int):
        super().__init__(("loop", name, number))
        self.name = name
        self.number = number

    @classmethod
    def _restore(cls, key: tuple) -> LoopVar:
        return cls(key[1], key[2])

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


SURE = 0
"""The code of indices that are known to be in range."""


class Dynamic(Atom):
    """An integer computed by the kernel, used as an index.

    Negative ones count from the end; one out of range is reported under `code`, unless
    `count` is 0: then no element asks for it, and what is computed is discarded. Those
    of code `SURE` are in range, and none is negative.
    ``number`` is unique in a kernel: sizes are ordered by their text, which must be
    the same whenever the kernel is.
    """

    __slots__ = ("value", "extent", "count", "code", "number")

    def __init__(
        self, value: Value, extent: SizeLike, count: SizeLike, code: int, number: int
    ):
        super().__init__(("dynamic", number))
        self.number = number
        self.value = value
        self.extent = extent
        self.count = count
        self.code = code

    def __str__(self) -> str:
        return f"index{self.number}"

    __repr__ = __str__


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory a kernel reads or writes: flat, of one dtype."""

    number: int
    dtype: np.dtype
    written: bool

    def __str__(self) -> str:
        return f"b{self.number}"


@dataclass(frozen=True, eq=False)
class Constant:
    """A number."""

    value: Any
    dtype: np.dtype

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, eq=False)
class Instruction:
    """An instruction of `ops.declare.Scalars` on values."""

    name: str
    operands: tuple[Value, ...]
    dtype: np.dtype


@dataclass(frozen=True, eq=False)
class FromSize:
    """A size or index as a number."""

    size: SizeLike
    dtype: np.dtype


@dataclass(frozen=True, eq=False)
class Load:
    """An element of a buffer.

    Loads of buffers that the kernel writes carry the stage they belong to, before
    which they must not move.
    """

    buffer: Buffer
    offset: SizeLike
    dtype: np.dtype
    stage: int


@dataclass(frozen=True, eq=False)
class Accumulator:
    """The running value of a reduction; as a value, its final one."""

    number: int
    dtype: np.dtype
    instruction: str
    initial: Any

    def __str__(self) -> str:
        return f"acc{self.number}"


@dataclass(frozen=True, eq=False)
class Current:
    """The value an accumulator has in the current round of a loop."""

    accumulator: Accumulator
    loop: LoopVar
    dtype: np.dtype


Value = Constant | Instruction | FromSize | Load | Accumulator | Current


@dataclass(eq=False)
class Loop:
    """``for var in range(extent): body``."""

    var: LoopVar
    extent: SizeLike
    body: list[Statement] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Start:
    """Set an accumulator to its initial value."""

    accumulator: Accumulator


@dataclass(frozen=True, eq=False)
class Update:
    """``accumulator = instruction(accumulator, value)``."""

    accumulator: Accumulator
    value: Value


@dataclass(frozen=True, eq=False)
class Set:
    """``accumulator = value``."""

    accumulator: Accumulator
    value: Value


@dataclass(frozen=True, eq=False)
class Store:
    """``buffer[offset] = value``, or ``instruction(buffer[offset], value)``."""

    buffer: Buffer
    offset: SizeLike
    value: Value
    instruction: str | None = None


Statement = Loop | Start | Update | Set | Store


@dataclass(eq=False)
class RowLoop:
    """A part of the parallel loop: ``for var in range(extent)``, row ``low + var``.

    Of these rows a chunk runs those that are its own.
    """

    var: LoopVar
    low: SizeLike
    extent: SizeLike
    body: list[Statement]


@dataclass(eq=False)
class Kernel:
    """A loop nest, called on a range of rows: one chunk of the parallel loop.

    Attributes
    ----------
    rows : SizeLike
        The extent of the parallel loop, split into chunks by size alone.
    chunk : LoopVar
        The number of the chunk, for scratch memory and partial results.
    before, after : list of Statement
        Run once for each chunk, before and after its rows.
    loops : list of RowLoop
        The rows in order: one loop over all of them, or pieces.
    buffers : list of Buffer
    parameters : list of Atom
        The symbolic dimensions it is given, in calling order.
    label : str
        What it fuses, for people.
    in_place : dict of int to int
        Buffers that lie in the memory of another: the number of one read, and that of
        the one written in its place.
    """

    rows: SizeLike
    chunk: LoopVar
    before: list[Statement]
    loops: list[RowLoop]
    after: list[Statement]
    buffers: list[Buffer]
    parameters: list[Atom]
    label: str = ""
    in_place: dict[int, int] = field(default_factory=dict)

    def statements(self) -> Iterator[Statement]:
        """Return all statements, in order."""
        yield from statements(self.before)
        for part in self.loops:
            yield from statements(part.body)
        yield from statements(self.after)


def statements(body: Sequence[Statement]) -> Iterator[Statement]:
    """Return all statements, loops before what they contain."""
    stack = list(reversed(body))
    while stack:
        s = stack.pop()
        yield s
        if isinstance(s, Loop):
            stack.extend(reversed(s.body))


def value_atoms(s: SizeLike) -> Sequence[Atom]:
    """Return all atoms of a size that are not functions of others."""
    return () if isinstance(s, int) else s.leaves()


def value_of(s: Statement) -> Value | None:
    """Return the value a statement takes, if it takes one."""
    return s.value if isinstance(s, (Update, Set, Store)) else None


def size_of(value: Value) -> SizeLike:
    """Return the index arithmetic in a value: an offset, or a size as a number."""
    if isinstance(value, Load):
        return value.offset
    return value.size if isinstance(value, FromSize) else 0


def operands(value: Value) -> Sequence[Value]:
    """Return the values a value is computed from, those that are indices too."""
    if isinstance(value, Instruction):
        return value.operands
    if not isinstance(value, (Load, FromSize)):
        return ()
    return [a.value for a in value_atoms(size_of(value)) if isinstance(a, Dynamic)]


def missing(
    value: Value,
    known: Container[int],
    needs: Callable[[Value], Sequence[Value]] | None = None,
) -> Iterator[Value]:
    """Yield a value after those it needs, without recursion, as far as not `known`.

    Parameters
    ----------
    value : Value
    known : container of int
        The ids of values that are known. One that is yielded must be among them
        before the next is asked for.
    needs : callable, optional
        What a value needs; by default its operands.
    """
    needs = needs or operands
    stack = [value]
    while stack:
        top = stack[-1]
        if id(top) in known:
            stack.pop()
            continue
        waiting = [v for v in needs(top) if id(v) not in known]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        yield top


def all_values(body: Sequence[Statement]) -> Iterator[Value]:
    """Return all values that statements take, each once."""
    seen: set[int] = set()
    for s in statements(body):
        stack = [v for v in (value_of(s),) if v is not None]
        if isinstance(s, Store):
            stack += [a.value for a in value_atoms(s.offset) if isinstance(a, Dynamic)]
        while stack:
            value = stack.pop()
            if id(value) not in seen:
                seen.add(id(value))
                yield value
                stack.extend(operands(value))
