"""Pieces of a kernel that are equal but for their arrays, as one function.

A concatenation of n arrays is n loops over rows (`kernels.split`), each of which reads
its own array. Printed one after another LLVM optimizes each: that took half a second
for fifty. Here a piece is printed like a kernel of its own, its arrays numbered in the
order in which it needs them and counted from where it begins in each; pieces whose text
is the same are calls of one function, in a module of its own.
"""

from __future__ import annotations

from collections import Counter

from graphc.backends.cpu.printer import I64, KernelPrinter
from graphc.backends.cpu.scalars import Value as Register
from graphc.backends.cpu.scalars import memory_type
from graphc.kernels.canonical import Canonical
from graphc.kernels.ir import (
    Accumulator,
    Buffer,
    Current,
    Kernel,
    Load,
    RowLoop,
    Set,
    Start,
    Store,
    Update,
    all_values,
    statements,
)

FEWEST = 4
"""Equal pieces that are worth a function."""


def printed(kernel: Kernel, canonical: Canonical) -> KernelPrinter:
    """Return the printer of a kernel, equal pieces of which are one function."""
    if len(kernel.loops) < FEWEST or kernel.in_place:
        return KernelPrinter(kernel, canonical)
    pieces = {id(part): _Piece(kernel, part) for part in kernel.loops if _closed(part)}
    uses = Counter(piece.name for piece in pieces.values())
    worth = {
        key: piece
        for key, piece in pieces.items()
        if uses[piece.name] >= FEWEST and not piece.reports
    }
    if not worth:
        return KernelPrinter(kernel, canonical)
    return _OutliningPrinter(kernel, canonical, worth)


class _Piece(KernelPrinter):
    """Prints some rows of a kernel as a kernel of its own."""

    def __init__(self, kernel: Kernel, part: RowLoop):
        found: dict[int, Buffer] = {}
        for buffer in _buffers(part):
            found.setdefault(buffer.number, buffer)
        loop = RowLoop(part.var, 0, part.extent, part.body)
        buffers = list(found.values())
        own = Kernel(part.extent, kernel.chunk, [], [loop], [], buffers, [])
        super().__init__(own, Canonical(own))

    def _has_loops(self) -> bool:
        return True


class _OutliningPrinter(KernelPrinter):
    """Prints a kernel that calls functions for some of its rows."""

    def __init__(self, kernel: Kernel, canonical: Canonical, pieces: dict[int, _Piece]):
        self.pieces = pieces
        self.room = 0
        super().__init__(kernel, canonical)

    def _row_loop(self, part: RowLoop) -> None:
        piece = self.pieces.get(id(part))
        if piece is None:
            super()._row_loop(part)
            return
        low, high = self._bounds(part)
        words = [self._start_of(buffer, piece) for buffer in piece.kernel.buffers]
        for parameter in piece.parameters:
            assert not isinstance(parameter, int)
            words.append(self._atom(parameter)[0].text)
        self._call(piece, low, high, words)
        self.module.externals.update(piece.module.externals)
        self.module.externals[piece.name] = piece.text, piece.kind
        self.module.declarations[piece.name] = (
            f"declare void @{piece.name}(i64, i64, i64, ptr) nounwind"
        )

    def _start_of(self, buffer: Buffer, piece: _Piece) -> str:
        begin = piece.canonical.starts.get(buffer.number, 0)
        begin = begin - self.canonical.starts.get(buffer.number, 0)
        place, _ = self.size(begin)
        with self.at(0):
            element = f"{memory_type(buffer.dtype)}, ptr %b{buffer.number}"
            text = f"getelementptr {element}, i64 {place.text}"
            return self.k.pure(text, I64).text

    def _call(self, piece: _Piece, low: str, high: str, words: list[str]) -> None:
        if not self.room:
            # one place for the words of all
            self.room = 1 + max(
                len(p.kernel.buffers) + len(p.parameters) for p in self.pieces.values()
            )
            self.entry.append(f"  %piece = alloca [{self.room} x i64]")
        frame = self.frames[0]
        with self.at(0):
            some = self.k("lt", Register(low, I64), Register(high, I64)).text
        number = self.k.fresh("P")[1:]
        lines = frame.lines
        lines += [f"  br i1 {some}, label %{number}_run, label %{number}_end"]
        lines += [f"{number}_run:"]
        kinds = ["ptr"] * len(piece.kernel.buffers) + ["i64"] * len(piece.parameters)
        given = [*zip(kinds, words), ("ptr", "%error")]
        for place, (kind, word) in enumerate(given):
            at = f"%{number}_{place}"
            lines += [f"  {at} = getelementptr i64, ptr %piece, i64 {place}"]
            lines += [f"  store {kind} {word}, ptr {at}"]
        lines += [
            f"  call void @{piece.name}(i64 {low}, i64 {high}, i64 %chunk, ptr %piece)",
            f"  br label %{number}_end",
            f"{number}_end:",
        ]
        frame.block = f"%{number}_end"


def _closed(part: RowLoop) -> bool:
    """Tell whether a piece starts all accumulators it uses, and leaves none."""
    started: set[int] = set()
    for s in statements(part.body):
        if isinstance(s, Start):
            started.add(s.accumulator.number)
        elif isinstance(s, (Update, Set)) and s.accumulator.number not in started:
            return False
    for value in all_values(part.body):
        if isinstance(value, Current):
            value = value.accumulator
        if isinstance(value, Accumulator) and value.number not in started:
            return False
    return True


def _buffers(part: RowLoop) -> list[Buffer]:
    stored = [s.buffer for s in statements(part.body) if isinstance(s, Store)]
    loaded = [v.buffer for v in all_values(part.body) if isinstance(v, Load)]
    return [*stored, *loaded]
