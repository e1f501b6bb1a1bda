"""What the printer of entries is made of: instructions, and checks of sizes and memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.driver import Frame
from graphc.backends.cpu.native import FIRST
from graphc.backends.cpu.printer import SizePrinter
from graphc.backends.cpu.scalars import Value as Register
from graphc.graph.node import Node
from graphc.schedule.memory import all_bytes
from graphc.schedule.program import Program
from graphc.types.sizes import Atom, Function, SizeLike

LARGEST = 2.0**62
"""Bytes of all arrays above which sizes are computed exactly, in Python."""


class EntryCode(SizePrinter):
    """Prints parts of an entry.

    Attributes
    ----------
    lines : list of str
    bound : dict of Atom to Value
        The registers of the symbolic dimensions.
    ranges : int
        How many ranges of memory are compared.
    """

    def __init__(self, program: Program, frame: Frame):
        super().__init__()
        self.program = program
        self.frame = frame
        self.lines = self.k.lines = self.frames[0].lines
        self.bound: dict[Atom, Register] = {}
        self.dtypes: list[np.dtype] = []
        self.labels = 0
        self.ranges = 0

    def _leaf(self, atom: Atom) -> tuple[Register, int]:
        return self.bound[atom], 0

    def _number(self, size: SizeLike) -> Register:
        return self.size(size)[0]

    def _emit(self, text: str) -> str:
        name = self.k.fresh("e")
        self.lines.append(f"  {name} = {text}")
        return name

    def _cell(self, number: int, kind: str = "ptr") -> str:
        at = self._emit(f"getelementptr i64, ptr %cells, i64 {number}")
        return self._emit(f"load {kind}, ptr {at}")

    def _field(self, pointer: str, offset: int, kind: str) -> str:
        at = self._emit(f"getelementptr i8, ptr {pointer}, i64 {offset}")
        return self._emit(f"load {kind}, ptr {at}")

    def _word(self, number: int, value: str, kind: str = "i64") -> None:
        at = self._emit(f"getelementptr i64, ptr %frame, i64 {number}")
        self.lines.append(f"  store {kind} {value}, ptr {at}")

    def _branch(self, condition: str, otherwise: str = "decline") -> None:
        """Go on where a condition holds."""
        self.labels += 1
        label = f"go{self.labels}"
        self.lines += [
            f"  br i1 {condition}, label %{label}, label %{otherwise}",
            f"{label}:",
        ]

    def _require_equal(self, a: Register, b: Register) -> None:
        if a.text != b.text:
            self._branch(self._emit(f"icmp eq i64 {a.text}, {b.text}"))

    def _dtype_cell(self, dtype: np.dtype) -> str:
        return self._cell(FIRST + self.dtypes.index(dtype))

    def _bounded(self) -> None:
        """Decline where a size may overflow; Python then says which."""
        total = all_bytes(self.program.graph.nodes)
        if not isinstance(total, int):
            bound = self._approximately(total)
            self._branch(self._emit(f"fcmp olt double {bound}, {LARGEST:e}"))

    def _approximately(self, size: SizeLike) -> str:
        """Return a bound of a size and of all its parts, as a floating-point number."""
        if isinstance(size, int):
            return f"{float(abs(size)):e}"
        total = "0.0"
        for monomial, c in size.terms:
            term = f"{float(abs(c)):e}"
            for atom in monomial:
                if isinstance(atom, Function):
                    left = self._approximately(atom.left)
                    right = self._approximately(atom.right)
                    factor = self._emit(f"fadd double {left}, {right}")
                else:
                    factor = self._emit(f"sitofp i64 {self.bound[atom].text} to double")
                term = self._emit(f"fmul double {term}, {factor}")
            total = self._emit(f"fadd double {total}, {term}")
        return total

    def _range(self, number: int, node: Node, start: str) -> None:
        """Enter the bytes of an array into the ranges that are compared."""
        self.ranges = max(self.ranges, number + 1)
        size = self._number(node.size * node.dtype.itemsize)
        end = self._emit(f"add i64 {start}, {size.text}")
        for word, value in enumerate((start, end), 2 * number):
            at = self._emit(f"getelementptr i64, ptr %ranges, i64 {word}")
            self.lines.append(f"  store i64 {value}, ptr {at}")

    def _input_ranges(self, inputs: Sequence[Node]) -> None:
        """Enter the inputs' bytes, those that are written to last, and compare these."""
        written = self.program.memory.written
        order = sorted(range(len(inputs)), key=lambda i: i in written)
        for position, number in enumerate(order):
            at = self._emit(
                f"getelementptr i64, ptr %frame, i64 {self.frame.inputs + number}"
            )
            start = self._emit(f"load i64, ptr {at}")
            self._range(position, inputs[number], start)

    def _apart(self, first: int, count: int) -> None:
        """Go on where no range from the first on meets one before it."""
        meet = self._emit(
            f"call i1 @graphc_overlap(ptr %ranges, i64 {first}, i64 {count})"
        )
        self._branch(self._emit(f"xor i1 {meet}, true"))
