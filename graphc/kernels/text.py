"""Readable text of a kernel: its loops as a short program.

Values used once stand in their user's expression; others get a name, where they are
first used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from graphc.kernels.ir import (
    Accumulator,
    Constant,
    Current,
    Dynamic,
    FromSize,
    Instruction,
    Kernel,
    Load,
    Loop,
    Set,
    Start,
    Statement,
    Update,
    Value,
    missing,
    operands,
    value_atoms,
    value_of,
)
from graphc.types.sizes import SizeLike

_SYMBOLS = {
    **{"add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%"},
    **{"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="},
    **{"and": "&", "or": "|", "xor": "^", "shl": "<<", "shr": ">>"},
}
_LONGEST = 200


def kernel_text(kernel: Kernel, name: str) -> str:
    """Return a kernel as text."""
    return _Writer(kernel, name).text()


class _Writer:
    def __init__(self, kernel: Kernel, name: str):
        self.kernel = kernel
        self.name = name
        self.uses: dict[int, int] = {}
        self.texts: dict[int, str] = {}
        self.names = 0
        self.lines: list[str] = []
        for s in kernel.statements():
            value = value_of(s)
            if value is not None:
                self._count(value)

    def _count(self, value: Value) -> None:
        stack = [value]
        while stack:
            v = stack.pop()
            self.uses[id(v)] = self.uses.get(id(v), 0) + 1
            if self.uses[id(v)] == 1:
                stack.extend(operands(v))

    def text(self) -> str:
        """Return the whole kernel."""
        kernel = self.kernel
        params = ", ".join(f"{b}: {b.dtype.name}" for b in kernel.buffers)
        self.lines.append(f"def {self.name}({params}):  # {kernel.label}")
        for read, written in kernel.in_place.items():
            self._line(1, f"# b{read} lies in the memory of b{written}")
        self._body(kernel.before, 1)
        for part in kernel.loops:
            end = part.low + part.extent
            bounds = str(end) if part.low == 0 else f"{part.low}, {end}"
            shift = "" if part.low == 0 else f" - {_grouped(part.low)}"
            self._line(1, f"for {part.var}{shift} in chunk(range({bounds})):")
            self._body(part.body, 2)
        self._body(kernel.after, 1)
        return "\n".join(self.lines)

    def _line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def _body(self, body: Sequence[Statement], depth: int) -> None:
        for s in body:
            if isinstance(s, Loop):
                self._line(depth, f"for {s.var} in range({s.extent}):")
                self._body(s.body, depth + 1)
            elif isinstance(s, Start):
                self._line(depth, f"{s.accumulator} = {s.accumulator.initial}")
            elif isinstance(s, Update):
                value = self._value(s.value, depth)
                self._line(
                    depth,
                    _combine(str(s.accumulator), s.accumulator.instruction, value),
                )
            elif isinstance(s, Set):
                self._line(depth, f"{s.accumulator} = {self._value(s.value, depth)}")
            else:
                value = self._value(s.value, depth)
                place = f"{s.buffer}[{self._size(s.offset, depth)}]"
                if s.instruction is None:
                    self._line(depth, f"{place} = {value}")
                else:
                    self._line(depth, _combine(place, s.instruction, value))

    def _value(self, value: Value, depth: int) -> str:
        """Return the text of a value, naming what is used twice or grows long."""
        for v in missing(value, self.texts):
            text = self._make(v, depth)
            plain = isinstance(v, (Constant, Accumulator, Current))
            if not plain and (self.uses.get(id(v), 0) > 1 or len(text) > _LONGEST):
                self.names += 1
                self._line(depth, f"t{self.names} = {text}")
                text = f"t{self.names}"
            self.texts[id(v)] = text
        return self.texts[id(value)]

    def _make(self, v: Value, depth: int) -> str:
        if isinstance(v, Load):
            return f"{v.buffer}[{self._size(v.offset, depth)}]"
        if isinstance(v, FromSize):
            return f"({self._size(v.size, depth)})"
        if isinstance(v, Current):
            return str(v.accumulator)
        if not isinstance(v, Instruction):
            return str(v)
        operands = [self.texts[id(o)] for o in v.operands]
        if v.name in _SYMBOLS:
            return f"({operands[0]} {_SYMBOLS[v.name]} {operands[1]})"
        name = v.dtype.name if v.name == "cast" else v.name
        return f"{name}({', '.join(operands)})"

    def _size(self, size: SizeLike, depth: int) -> str:
        text = str(size)
        for atom in value_atoms(size):
            if isinstance(atom, Dynamic):
                index = f"index[{self._value(atom.value, depth)}]"
                text = re.sub(rf"\b{atom}\b", index, text)
        return text


def _combine(place: str, instruction: str, value: str) -> str:
    if instruction in _SYMBOLS:
        return f"{place} {_SYMBOLS[instruction]}= {value}"
    return f"{place} = {instruction}({place}, {value})"


def _grouped(size: SizeLike) -> str:
    return str(size) if isinstance(size, int) else f"({size})"
