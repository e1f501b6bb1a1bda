"""The form in which equal kernels are equal: what is told of each apart from its code.

Two steps of an unrolled loop run the same code on other parts of an array, and report
an index out of range under another number. So the place in each buffer where a kernel
begins, and those numbers, are arguments of the code and not in it. What is left,
values and statements as a flat tuple, is the key under which code is shared; it costs
a fraction of printing the code.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphc.kernels.ir import (
    SURE,
    Accumulator,
    Buffer,
    Constant,
    Current,
    Dynamic,
    FromSize,
    Instruction,
    Kernel,
    Load,
    Loop,
    Start,
    Statement,
    Store,
    Update,
    Value,
    missing,
    value_atoms,
)
from graphc.types import sizes
from graphc.types.sizes import Dim, SizeLike


class Canonical:
    """What sets a kernel apart from others of the same code.

    Attributes
    ----------
    key : tuple
        Equal for kernels that one piece of code serves.
    starts : dict of int to SizeLike
        For each buffer, by its number, the element at which the code takes it to
        begin: the part of the first access's offset that no loop changes.
    codes : dict of int to int
        For each `Dynamic`, by its number, under which code it is reported.
    """

    def __init__(self, kernel: Kernel):
        self.starts: dict[int, SizeLike] = {}
        self.codes: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._kept: list[Value] = []
        parts: list[Any] = [kernel.chunk, kernel.rows == 1]
        self._parts = parts
        parts.extend(b.dtype for b in kernel.buffers)
        parts.extend(kernel.in_place.items())
        self._statements(kernel.before)
        for part in kernel.loops:
            # the whole range of rows is given to the code, not in it
            whole = part.low == 0 and part.extent == kernel.rows
            extent = None if whole else part.extent
            self._size(part.low)
            self._size(part.extent)
            parts += ("rows", part.var, part.low, extent)
            self._statements(part.body)
        self._statements(kernel.after)
        self.key = tuple(parts)

    def offset(self, buffer: Buffer, offset: SizeLike) -> SizeLike:
        """Return an offset into a buffer, counted from where it begins."""
        start = self.starts.get(buffer.number, 0)
        return offset if start == 0 else offset - start

    def _statements(self, body: Sequence[Statement]) -> None:
        parts = self._parts
        stack: list[Iterator[Statement]] = [iter(body)]
        while stack:
            s = next(stack[-1], None)
            if s is None:
                parts.append("end")
                stack.pop()
            elif isinstance(s, Loop):
                self._size(s.extent)
                parts += ("loop", s.var, s.extent)
                stack.append(iter(s.body))
            elif isinstance(s, Store):
                value = self._value(s.value)
                offset = self._place(s.buffer, s.offset)
                parts += ("store", s.buffer.number, offset, value, s.instruction)
            elif isinstance(s, Start):
                parts += ("start", *_accumulator(s.accumulator))
            else:
                value = self._value(s.value)
                kind = "update" if isinstance(s, Update) else "set"
                parts += (kind, *_accumulator(s.accumulator), value)

    def _place(self, buffer: Buffer, offset: SizeLike) -> SizeLike:
        self._size(offset)
        if buffer.number not in self.starts:
            self.starts[buffer.number] = _fixed(offset)
        return self.offset(buffer, offset)

    def _size(self, size: SizeLike) -> None:
        """Describe the values within a size."""
        for atom in value_atoms(size):
            if isinstance(atom, Dynamic) and atom.number not in self.codes:
                value = self._value(atom.value)
                self._size(atom.extent)
                self._size(atom.count)
                self.codes[atom.number] = atom.code
                sure = atom.code == SURE
                self._parts += ("index", atom, value, atom.extent, atom.count, sure)

    def _value(self, value: Value) -> int:
        """Describe a value, after those it needs, and return its number."""
        numbers = self._numbers
        for v in missing(value, numbers, _operands):
            part = self._described(v)
            numbers[id(v)] = len(numbers)
            self._parts.append(part)
        return numbers[id(value)]

    def _described(self, value: Value) -> tuple:
        numbers = self._numbers
        if isinstance(value, Instruction):
            operands = [numbers[id(o)] for o in value.operands]
            return (value.name, value.dtype, *operands)
        if isinstance(value, Load):
            offset = self._place(value.buffer, value.offset)
            return ("load", value.buffer.number, offset, value.dtype, value.stage)
        if isinstance(value, Constant):
            return ("constant", value.dtype, _exact(value.value, value.dtype))
        if isinstance(value, FromSize):
            self._size(value.size)
            return ("size", value.size, value.dtype)
        if isinstance(value, Current):
            return ("current", value.loop, *_accumulator(value.accumulator))
        return ("final", *_accumulator(value))


def _operands(value: Value) -> Sequence[Value]:
    return value.operands if isinstance(value, Instruction) else ()


def _accumulator(a: Accumulator) -> tuple:
    return (a.number, a.dtype, a.instruction, _exact(a.initial, a.dtype))


def _exact(value: Any, dtype: np.dtype) -> Any:
    """Return a number as something that only the same number is equal to."""
    return struct.pack("<d", value) if dtype.kind == "f" else int(value)


def _fixed(offset: SizeLike) -> SizeLike:
    """Return the terms of an offset that depend on dimensions only and add to it."""
    if isinstance(offset, int):
        return max(offset, 0)
    fixed: SizeLike = 0
    for monomial, c in offset.terms:
        if c > 0 and all(isinstance(a, Dim) for a in monomial):
            term: SizeLike = c
            for atom in monomial:
                term = term * sizes.of_atom(atom)
            fixed = fixed + term
    return fixed
