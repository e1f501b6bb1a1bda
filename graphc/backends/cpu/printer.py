"""Prints a kernel of the loop-nest IR as LLVM code.

Every value is computed in the outermost loop whose variables it depends on, so
what is invariant in a loop is hoisted by construction. A kernel becomes
``void name(i64 lo, i64 hi, i64 chunk, ptr arguments)``: it runs rows lo to hi, and
`arguments` points to one 64-bit word for each buffer's address, then for each
parameter, then the address of the word that takes the code of an index error.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence

from graphc.backends.cpu import vector_math
from graphc.backends.cpu.scalars import (
    LlvmModule,
    LlvmScalars,
    llvm_type,
    memory_type,
)
from graphc.backends.cpu.scalars import Value as Register
from graphc.backends.placement import I64, Frame, Placement, SizePlacement
from graphc.kernels.canonical import Canonical
from graphc.kernels.ir import (
    Accumulator,
    Buffer,
    Dynamic,
    Instruction,
    Kernel,
    Load,
    Loop,
    LoopVar,
    RowLoop,
    Set,
    Start,
    Statement,
    Store,
    Update,
    all_values,
)
from graphc.kernels.lanes import fills_lanes
from graphc.types.sizes import Atom, SizeLike

_UNSIGNED = {"//": "udiv", "%": "urem"}
_BLOCK = 200
"""Lines of a block of straight-line code: LLVM takes longer by the square of them."""

_ACCUMULATED = {
    **{"add": "add_reassoc", "mul": "mul_reassoc"},
    **{"max": "max_nsz", "min": "min_nsz"},
}
"""Instructions of accumulators, whose order is the compiler's to choose.

So is the sign of a zero that is the largest or smallest of elements: half of what a
maximum takes on x86 is to tell -0.0 from 0.0.
"""


_VECTORS = """\
!0 = distinct !{!0, !1, !2}
!1 = !{!"llvm.loop.unroll.disable"}
!2 = !{!"llvm.loop.vectorize.followup_all", !3}
!3 = !{!"llvm.loop.isvectorized"}"""
"""A short loop is not to be written out before it has become vectors, but after."""

_PARTLY = """\
!4 = distinct !{!4, !1, !2, !5}
!5 = !{!"llvm.loop.vectorize.predicate.enable", i1 true}"""
"""And lanes beyond its last round are off."""

PARTLY = 256
"""Bytes of a row up to which."""


class SizePrinter(SizePlacement):
    """Prints index arithmetic as LLVM code; `KernelPrinter` prints the rest."""

    def __init__(self, loops: bool = True) -> None:
        self.module = LlvmModule(loops)
        super().__init__(LlvmScalars(self.module), "%entry")

    def _index(self, name: str, a: Register, b: Register) -> Register:
        return self.k.pure(f"{name} nsw i64 {a.text}, {b.text}", I64)

    def _quotient(self, name: str, a: Register, b: Register) -> Register:
        return self.k.pure(f"{_UNSIGNED[name]} i64 {a.text}, {b.text}", I64)


def _aligned() -> str:
    """Return the attribute of functions whose vectors may be put aside on the stack.

    LLVM aligns the stack for those it knows of early, and registers run out late. A
    vector of 64 bytes that crosses two lines takes twice as long: a loop with many of
    them took 1.4 times as long on threads whose stack happened to begin elsewhere.
    """
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return "alignstack(64) " if x86 else ""


def _is_straight(kernel: Kernel) -> bool:
    """Tell whether a kernel runs each of its statements once."""
    bodies = [kernel.before, *(loop.body for loop in kernel.loops), kernel.after]
    return kernel.rows == 1 and not any(
        isinstance(s, Loop) for body in bodies for s in body
    )


class KernelPrinter(SizePrinter, Placement):
    """Prints one kernel. After construction, `text` and `name` hold the result.

    Attributes
    ----------
    parameters : list of Atom or int
        What the code is given: dimensions, and for an integer the error code of the
        index of that number.
    kind : str
        How its code is to be compiled; see `jit.compile_module`.
    """

    def __init__(self, kernel: Kernel, canonical: Canonical):
        self.kernel = kernel
        super().__init__(loops=self._has_loops())
        self.canonical = canonical
        self.place = {b.number: i for i, b in enumerate(kernel.buffers)}
        self.entry: list[str] = []
        self.cells: dict[int, tuple[str, int]] = {}
        self.parameters: list[Atom | int] = []
        self.reports = False
        self.straight = not self.module.loops
        self.cuts = 0
        self.kind = "straight" if self.straight else "loops"
        self.joint = self._found_joint()
        body = self._print()
        digest = hashlib.sha256(body.encode()).hexdigest()[:20]
        self.name = f"graphc_{digest}"
        self.text = body.replace("@KERNEL", f"@{self.name}")

    # ------------------------------------------------------------ structure

    def _print(self) -> str:
        kernel = self.kernel
        self.atoms[kernel.chunk] = (Register("%chunk", I64), 0)
        self._statements(kernel.before)
        for part in kernel.loops:
            self._row_loop(part)
        self._statements(kernel.after)
        frame = self.frames[0]
        if self.reports:
            frame.lines += [
                "  %seen = load i64, ptr %error_cell",
                "  %failed = icmp ne i64 %seen, 0",
                "  br i1 %failed, label %report, label %done",
                "report:",
                "  store i64 %seen, ptr %error",
                "  br label %done",
                "done:",
            ]
            self.entry += [
                "  %error_cell = alloca i64",
                "  store i64 0, ptr %error_cell",
            ]
        frame.lines.append("  ret void")
        if self.cuts:
            self.entry.append("  %never = icmp slt i64 %hi, 0")
            frame.lines += ["stop:", "  ret void"]
        lines = ["entry:", *self.entry, *frame.lines, "}"]
        head = "i64 %lo, i64 %hi, i64 %chunk"
        if self.straight:
            words = self._words(range(len(kernel.buffers), self._count()))
            lines[1:1] = [line for _, load in words for line in load]
            function = [f"define void @KERNEL({head}, ptr %arguments) nounwind {{"]
            return "\n".join([*function, *lines, self.module.text()])
        own = [i for i in range(self._count()) if i not in kernel.in_place]
        words = self._words(own)
        parameters = [name.replace("ptr %b", "ptr noalias %b") for name, _ in words]
        return "\n".join(
            [
                f"define internal void @KERNEL_body({', '.join([head, *parameters])}) "
                f"noinline nounwind {_aligned()}{{",
                *lines,
                f"define void @KERNEL({head}, ptr %arguments) nounwind {{",
                *(line for _, load in words for line in load),
                f"  call void @KERNEL_body({', '.join([head, *(n for n, _ in words)])})",
                "  ret void",
                "}",
                self.module.text(),
            ]
        )

    def _has_loops(self) -> bool:
        return not _is_straight(self.kernel)

    def _row_loop(self, part: RowLoop) -> None:
        self._loop(part.var, *self._bounds(part), part.body)

    def _bounds(self, part: RowLoop) -> tuple[str, str]:
        """Return the first and the end of the rows of a chunk that lie in a part."""
        k, low, high = self.k, Register("%lo", I64), Register("%hi", I64)
        if part.low == 0 and part.extent == self.kernel.rows:
            return low.text, high.text
        with self.at(0):
            start, extent = self.size(part.low)[0], self.size(part.extent)[0]
            first = k("max", k("sub", low, start), k.zero(low))
            return first.text, k("min", k("sub", high, start), extent).text

    def _count(self) -> int:
        return len(self.kernel.buffers) + len(self.parameters) + 1

    def _words(self, numbers: Sequence[int]) -> list[tuple[str, list[str]]]:
        """Return type and name of argument words, and the lines that load them."""
        buffers = len(self.kernel.buffers)
        out = []
        for number in numbers:
            kind, name = "i64", f"%p{number - buffers}"
            if number < buffers:
                kind, name = "ptr", f"%b{number}"
            elif number == self._count() - 1:
                kind, name = "ptr", "%error"
            at = f"  %a{number} = getelementptr i64, ptr %arguments, i64 {number}"
            load = f"  {name} = load {kind}, ptr %a{number}"
            out.append((f"{kind} {name}", [at, load]))
        return out

    def _statements(self, body: Sequence[Statement]) -> None:
        for s in body:
            depth = len(self.frames) - 1
            if isinstance(s, Loop):
                extent, _ = self.size(s.extent)
                hint = self._lanes(s) if fills_lanes(s) else ""
                self._loop(s.var, "0", extent.text, s.body, hint)
            elif isinstance(s, Start):
                self._start(s.accumulator, depth)
            elif isinstance(s, Update):
                self._update(s, depth)
            elif isinstance(s, Set):
                self._set(s, depth)
            else:
                self._store(s, depth)

    def _lanes(self, loop: Loop) -> str:
        """Return what tells LLVM to run a loop by vectors."""
        self.module.definitions["vectors"] = _VECTORS
        widths = [
            v.dtype.itemsize for v in all_values(loop.body) if isinstance(v, Load)
        ]
        if int(loop.extent) * max(widths, default=8) > PARTLY:
            return ", !llvm.loop !0"
        self.module.definitions["partly"] = _PARTLY
        return ", !llvm.loop !4"

    def _loop(
        self,
        var: LoopVar,
        low: str,
        high: str,
        body: Sequence[Statement],
        hint: str = "",
    ) -> None:
        outer = self.frames[-1]
        depth = len(self.frames)
        number = self.k.fresh("L")[1:]
        index = f"%{number}_i"
        inner = Frame(f"%{number}_body")
        self.frames.append(inner)
        self.atoms[var] = (Register(index, I64), depth)
        self._statements(body)
        self.frames.pop()
        outer.lines += [
            f"  br label %{number}_head",
            f"{number}_head:",
            f"  {index} = phi i64 [ {low}, {outer.block} ], "
            f"[ {index}_next, %{number}_latch ]",
            f"  {index}_more = icmp slt i64 {index}, {high}",
            f"  br i1 {index}_more, label %{number}_body, label %{number}_exit",
            f"{number}_body:",
            *inner.lines,
            f"  br label %{number}_latch",
            f"{number}_latch:",
            f"  {index}_next = add nuw nsw i64 {index}, 1",
            f"  br label %{number}_head{hint}",
            f"{number}_exit:",
        ]
        outer.block = f"%{number}_exit"

    # ----------------------------------------------------------- statements

    def _start(self, accumulator: Accumulator, depth: int) -> None:
        cell = f"%cell{accumulator.number}"
        kind = memory_type(accumulator.dtype)
        if accumulator.number not in self.cells:
            self.entry.append(f"  {cell} = alloca {kind}")
        self.cells[accumulator.number] = (cell, depth)
        with self.at(depth):
            initial = self.k.constant(accumulator.initial, accumulator.dtype)
            self.k.store(initial, cell)

    def _update(self, s: Update, depth: int) -> None:
        value = self._value(s.value)
        cell, _ = self.cells[s.accumulator.number]
        with self.at(depth):
            before = self.k.load(cell, s.accumulator.dtype)
            self.k.store(self._combine(s.accumulator.instruction, before, value), cell)

    def _set(self, s: Set, depth: int) -> None:
        value = self._value(s.value)
        with self.at(depth):
            self.k.store(value, self.cells[s.accumulator.number][0])

    def _combine(self, instruction: str, a: Register, b: Register) -> Register:
        return self.k(_ACCUMULATED.get(instruction, instruction), a, b)

    def _store(self, s: Store, depth: int) -> None:
        value = self._value(s.value)
        address = self._address(s.buffer, s.offset, depth)
        with self.at(depth):
            if s.instruction is not None:
                before = self.k.load(address, s.buffer.dtype)
                value = self._combine(s.instruction, before, value)
            self.k.store(value, address)
        if self.straight:
            self._cut(self.frames[depth])

    def _address(self, buffer: Buffer, offset: SizeLike, depth: int) -> str:
        place, _ = self.size(self.canonical.offset(buffer, offset))
        number = self.place[self.kernel.in_place.get(buffer.number, buffer.number)]
        with self.at(depth):
            kind = memory_type(buffer.dtype)
            base = f"%b{number}"
            if self.straight:  # where it is needed: there may be hundreds
                word = f"getelementptr i64, ptr %arguments, i64 {number}"
                at = self.k.pure(word, I64).text
                base = self.k.pure(f"load ptr, ptr {at}", I64).text
            text = f"getelementptr inbounds {kind}, ptr {base}"
            return self.k.pure(f"{text}, i64 {place.text}", I64).text

    # --------------------------------------------------------------- values

    def _added(self, depth: int) -> None:
        if self.straight:
            self._cut(self.frames[depth])

    def _cut(self, frame: Frame) -> None:
        """Begin another block if there are many lines: a jump never taken, for LLVM joins others."""
        if len(frame.lines) - frame.begun < _BLOCK:
            return
        self.cuts += 1
        label = f"cut{self.cuts}"
        frame.lines += [f"  br i1 %never, label %stop, label %{label}", f"{label}:"]
        frame.block = f"%{label}"
        frame.begun = len(frame.lines)

    def _offset(self, value: Load) -> SizeLike:
        return self.canonical.offset(value.buffer, value.offset)

    def _load(self, value: Load, depth: int) -> Register:
        address = self._address(value.buffer, value.offset, depth)
        with self.at(depth):
            return self.k.load(address, value.dtype)

    def _read(self, accumulator: Accumulator) -> Register:
        return self.k.load(self.cells[accumulator.number][0], accumulator.dtype)

    def _depth_of(self, accumulator: Accumulator) -> int:
        return self.cells[accumulator.number][1]

    def _apply(self, value: Instruction, registers: Sequence[Register]) -> Register:
        if (value.name, id(value.operands[0])) in self.joint:
            return self._joint(value.name, registers[0])
        return super()._apply(value, registers)

    def _found_joint(self) -> set[tuple[str, int]]:
        """Return which functions of which values are called with others of the same."""
        if not self.straight:
            return set()
        asked: dict[tuple[str, int], set[str]] = {}
        for value in all_values(list(self.kernel.statements())):
            if isinstance(value, Instruction):
                names = vector_math.joint_of(value.name)
                if names is not None:
                    asked.setdefault((names, id(value.operands[0])), set()).add(
                        value.name
                    )
        return {
            (name, operand)
            for (names, operand), found in asked.items()
            if len(found) == len(names.split())
            for name in found
        }

    def _joint(self, name: str, x: Register) -> Register:
        names = vector_math.joint_of(name)
        assert names is not None
        function = vector_math.define(self.module, names, [x.dtype])
        kind = llvm_type(x.dtype)
        struct = vector_math.struct_type(kind, len(names.split()))
        both = self.k.pure(f"call {struct} {function}({kind} {x.text})", x.dtype)
        number = names.split().index(name)
        return self.k.pure(f"extractvalue {struct} {both.text}, {number}", x.dtype)

    # ---------------------------------------------------------------- sizes

    def _leaf(self, atom: Atom) -> tuple[Register, int]:
        if isinstance(atom, Dynamic):
            return self._dynamic(atom)
        return self._parameter(atom), 0

    def _parameter(self, parameter: Atom | int) -> Register:
        self.parameters.append(parameter)
        return Register(f"%p{len(self.parameters) - 1}", I64)

    def _report(self, atom: Dynamic, inside: Register, none: Register | None) -> None:
        self.reports = True
        k = self.k
        zero = k.constant(0, I64)
        code = k("select", inside, zero, self._parameter(atom.number))
        if none is not None:
            code = k("select", none, zero, code)
        before = k.load("%error_cell", I64)
        k.store(k("max", before, code), "%error_cell")
