"""Prints a program as one LLVM function that runs its steps.

The function takes the address of the *frame*: 64-bit words with the number of
threads a launch may use (0: the process's default), the code of an index error, the workspace, the addresses of inputs, outputs and constants, and
the values of the symbolic dimensions. It computes sizes and addresses, and launches
kernels and products, so that a call costs no Python for each step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from graphc.backends.cpu import gemm
from graphc.backends.cpu.printer import I64, SizePrinter
from graphc.backends.cpu.scalars import Value as Register
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.product import ProductCall
from graphc.schedule.program import Place, Program, aligned
from graphc.types import sizes
from graphc.types.sizes import Atom, Dim, SizeLike


class KernelCode(NamedTuple):
    """The compiled code of kernels: its name, and `KernelPrinter.parameters`."""

    name: str
    parameters: Sequence[Atom | int]


class Launch(NamedTuple):
    """The code of one kernel of a program, and what it is given: see `Canonical`."""

    code: KernelCode
    starts: Mapping[int, SizeLike]
    codes: Mapping[int, int]


class Frame:
    """The layout of the words a driver is given."""

    THREADS, ERROR, WORKSPACE, FIRST = 0, 1, 2, 3

    def __init__(self, program: Program, dims: Sequence[Dim]):
        self.inputs = self.FIRST
        self.outputs = self.inputs + len(program.graph.inputs)
        self.constants = self.outputs + len(program.graph.outputs)
        self.dims = self.constants + len(program.constants)
        self.dim_order = list(dims)
        self.words = self.dims + len(self.dim_order)

    def word(self, place: Place) -> int:
        """Return the word with the address of a place outside the workspace."""
        base = {
            "input": self.inputs,
            "output": self.outputs,
            "constant": self.constants,
        }[place.kind]
        return base + place.number


class DriverPrinter(SizePrinter):
    """Prints one program. After construction, `text` and `name` hold the result."""

    def __init__(
        self, program: Program, kernels: Mapping[int, Launch], frame: Frame
    ):
        super().__init__()
        self.program = program
        self.frame = frame
        self.slots: list[Register] | None = None
        self.words = 1
        self.used: set[str] = set()
        self.products: set[str] = set()
        k = self.k
        k.lines = self.frames[0].lines
        for step in program.steps:
            if isinstance(step, KernelCall):
                self._kernel(step, kernels[id(step.kernel)])
            else:
                self._product(step)
        body = self._assemble()
        self.name = f"graphc_{hashlib.sha256(body.encode()).hexdigest()[:20]}"
        self.text = body.replace("@DRIVER", f"@{self.name}")

    def _assemble(self) -> str:
        lines = self.frames[0].lines
        signatures = {"graphc_launch": "void @graphc_launch(i64, ptr, i64, i64, ptr)"}
        kernel = "void @{}(i64, i64, i64, ptr)"
        return "\n".join(
            [
                "define void @DRIVER(ptr %frame) nounwind {",
                "entry:",
                f"  %arguments = alloca [{self.words} x i64], align 64",
                f"  %error = getelementptr i64, ptr %frame, i64 {Frame.ERROR}",
                *lines,
                "  ret void",
                "}",
                *(
                    f"declare {signatures.get(name) or kernel.format(name)}"
                    for name in sorted(self.used)
                ),
                *(
                    f"declare void @graphc_product_{letter}(i64, ptr)"
                    for letter in sorted(self.products)
                ),
                self.module.text(),
            ]
        )

    # ---------------------------------------------------------------- words

    def _leaf(self, atom: Atom) -> tuple[Register, int]:
        number = self.frame.dim_order.index(atom)  # type: ignore[arg-type]
        return self._word(self.frame.dims + number), 0

    def _word(self, number: int) -> Register:
        k = self.k
        pointer = k.pure(f"getelementptr i64, ptr %frame, i64 {number}", I64)
        return k.pure(f"load i64, ptr {pointer.text}", I64)

    def _number(self, size: SizeLike) -> Register:
        return self.size(size)[0]

    def _address(self, memory: Memory, offset: SizeLike = 0) -> Register:
        key = memory if memory.node is None else memory.node
        place = self.program.places[key]
        if place.kind == "workspace":
            start = self._slot(place.number)
        else:
            start = self._word(self.frame.word(place))
        itemsize = memory.dtype.itemsize  # type: ignore[attr-defined]
        bytes_ = self._number(offset * itemsize)
        return start if bytes_.text == "0" else self.k("add", start, bytes_)

    def _slot(self, number: int) -> Register:
        if self.slots is None:
            self.slots = []
            start = self._word(Frame.WORKSPACE)
            for size in self.program.slots:
                self.slots.append(start)
                start = self.k("add", start, self._number(aligned(size)))
        return self.slots[number]

    def _argument(self, number: int, value: str, kind: str = "i64") -> None:
        self.words = max(self.words, number + 1)
        name = self.k.fresh("s")
        self.k.lines.append(
            f"  {name} = getelementptr i64, ptr %arguments, i64 {number}"
        )
        self.k.lines.append(f"  store {kind} {value}, ptr {name}")

    # ---------------------------------------------------------------- steps

    def _kernel(self, call: KernelCall, launch: Launch) -> None:
        code, starts, codes = launch
        number = 0
        for memory in call.memory:
            start = starts.get(number, 0)
            self._argument(number, self._address(memory, start).text)
            number += 1
        for given in code.parameters:
            value: SizeLike = (
                codes[given] if isinstance(given, int) else sizes.of_atom(given)
            )
            self._argument(number, self._number(value).text)
            number += 1
        self._argument(number, "%error", "ptr")
        rows = self._number(call.kernel.rows)
        self._launch(code.name, rows, self._number(call.chunks))

    def _launch(self, kernel: str, rows: Register, chunks: Register) -> None:
        self.used.add(kernel)
        if chunks.text == "1":
            self.k.lines.append(
                f"  call void @{kernel}(i64 0, i64 {rows.text}, i64 0, ptr %arguments)"
            )
            return
        self.used.add("graphc_launch")
        self.k.lines.append(
            f"  call void @graphc_launch(i64 {self._threads()}, ptr @{kernel}, "
            f"i64 {rows.text}, i64 {chunks.text}, ptr %arguments)"
        )

    def _product(self, call: ProductCall) -> None:
        left, right = call.left, call.right
        a, b, c, packed = call.memory
        strides = (left.rows, left.columns, right.rows, right.columns, call.n)
        values = [
            self._address(a, left.offset),
            self._address(b, right.offset),
            self._address(c),
            *map(self._number, (call.m, call.n, call.k, *strides)),
            self._address(packed),
            *map(self._number, (call.room, len(call.axes))),
            *(self._number(s) for axis in call.axes for s in axis),
        ]
        for number, value in enumerate(values):
            self._argument(number, value.text)
        letter = gemm.letter(call.nodes[0].dtype)
        self.products.add(letter)
        self.k.lines.append(
            f"  call void @graphc_product_{letter}(i64 {self._threads()}, ptr %arguments)"
        )

    def _threads(self) -> str:
        return self._word(Frame.THREADS).text
