"""Kernels that read elsewhere: loads of some buffers moved by so many elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphc.kernels.ir import (
    Dynamic,
    FromSize,
    Instruction,
    Kernel,
    Load,
    Loop,
    RowLoop,
    Set,
    Statement,
    Store,
    Update,
    Value,
    missing,
    value_atoms,
)
from graphc.types import sizes
from graphc.types.sizes import Atom, SizeLike


def shifted(
    kernel: Kernel, shifts: Mapping[int, SizeLike], codes: Mapping[int, int]
) -> Kernel:
    """Return a kernel that reads other parts of its buffers.

    Parameters
    ----------
    kernel : Kernel
    shifts : mapping of int to SizeLike
        By the number of a buffer that is only read, the elements added to the offset
        of each of its loads.
    codes : mapping of int to int
        By the code under which an index out of range is reported, the new one.

    Returns
    -------
    Kernel
        What does not change is shared with the old one; the new kernel is of the same
        form (`kernels.canonical`) unless loads of one buffer are told apart by it.
    """
    return _Shift(shifts, codes).kernel(kernel)


def renewed(kernel: Kernel, values: Mapping[int, Value]) -> Kernel:
    """Return a kernel with other values in place of some, which `values` has by id."""
    copy = _Shift({}, {})
    copy.values.update(values)
    return copy.kernel(kernel)


class _Shift:
    def __init__(self, shifts: Mapping[int, SizeLike], codes: Mapping[int, int]):
        self.shifts = shifts
        self.codes = codes
        self.values: dict[int, Value] = {}
        self.indices: dict[Atom, SizeLike | None] = {}

    def kernel(self, kernel: Kernel) -> Kernel:
        """Return a kernel with all its statements renewed."""
        return replace(
            kernel,
            before=self.statements(kernel.before),
            loops=[
                RowLoop(part.var, part.low, part.extent, self.statements(part.body))
                for part in kernel.loops
            ],
            after=self.statements(kernel.after),
        )

    def statements(self, body: Sequence[Statement]) -> list[Statement]:
        return [self._statement(s) for s in body]

    def _statement(self, s: Statement) -> Statement:
        if isinstance(s, Loop):
            return Loop(s.var, self._size(s.extent), self.statements(s.body))
        if isinstance(s, Store):
            offset = self._size(s.offset)
            return Store(s.buffer, offset, self._value(s.value), s.instruction)
        if isinstance(s, (Update, Set)):
            return type(s)(s.accumulator, self._value(s.value))
        return s

    def _value(self, value: Value) -> Value:
        for v in missing(value, self.values):
            self.values[id(v)] = self._moved(v)
        return self.values[id(value)]

    def _moved(self, value: Value) -> Value:
        if isinstance(value, Instruction):
            new = tuple([self.values[id(o)] for o in value.operands])
            if all(a is b for a, b in zip(new, value.operands)):
                return value
            return Instruction(value.name, new, value.dtype)
        if isinstance(value, Load):
            offset = self._size(value.offset)
            shift = self.shifts.get(value.buffer.number, 0)
            if shift == 0 and offset is value.offset:
                return value
            return Load(value.buffer, offset + shift, value.dtype, value.stage)
        if isinstance(value, FromSize):
            size = self._size(value.size)
            return value if size is value.size else FromSize(size, value.dtype)
        return value

    def _size(self, size: SizeLike) -> SizeLike:
        """Return index arithmetic on the new indices that the kernel computes."""
        if not any(isinstance(a, Dynamic) for a in value_atoms(size)):
            return size
        return sizes.substitute(size, self._index)

    def _index(self, atom: Atom) -> SizeLike | None:
        if not isinstance(atom, Dynamic):
            return None
        if atom not in self.indices:
            value = self._value(atom.value)
            code = self.codes.get(atom.code, atom.code)
            new = None
            if value is not atom.value or code != atom.code:
                extent, count = self._size(atom.extent), self._size(atom.count)
                new = Dynamic(value, extent, count, code, atom.number)
                self.indices[atom] = sizes.of_atom(new)
            else:
                self.indices[atom] = None
        return self.indices[atom]
