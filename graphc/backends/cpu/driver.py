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
from graphc.schedule.pipeline import PipelineCall
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

    def __init__(self, program: Program, kernels: Mapping[int, Launch], frame: Frame):
        super().__init__()
        self.program = program
        self.frame = frame
        self.slots: list[Register] | None = None
        self.words = 1
        self.used: set[str] = set()
        self.products: set[str] = set()
        self.pipelines: list[str] = []
        self.allocas: list[str] = []
        self.block, self.first = "%arguments", 0
        k = self.k
        k.lines = self.frames[0].lines
        for step in program.steps:
            if isinstance(step, KernelCall):
                self._kernel(step, kernels[id(step.kernel)])
            elif isinstance(step, ProductCall):
                self._product(step)
            else:
                self._pipeline(step, kernels)
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
                *self.allocas,
                f"  %error = getelementptr i64, ptr %frame, i64 {Frame.ERROR}",
                *lines,
                "  ret void",
                "}",
                *(
                    f"declare {signatures.get(name) or kernel.format(name)}"
                    for name in sorted(self.used)
                ),
                *(
                    signature.format(letter)
                    for letter in sorted(self.products)
                    for signature in gemm.SIGNATURES
                ),
                *self.pipelines,
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
        if self.block == "%arguments":
            self.words = max(self.words, number + 1)
        name = self.k.fresh("s")
        self.k.lines.append(
            f"  {name} = getelementptr i64, ptr {self.block}, i64 {self.first + number}"
        )
        self.k.lines.append(f"  store {kind} {value}, ptr {name}")

    # ---------------------------------------------------------------- steps

    def _kernel(self, call: KernelCall, launch: Launch) -> None:
        self._kernel_arguments(call, launch)
        rows = self._number(call.kernel.rows)
        self._launch(launch.code.name, rows, self._number(call.chunks))

    def _kernel_arguments(self, call: KernelCall, launch: Launch) -> int:
        """Give a kernel its words, and return their number."""
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
        return number + 1

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
        self._product_arguments(call)
        letter = gemm.letter(call.nodes[0].dtype)
        self.k.lines.append(
            f"  call void @graphc_product_{letter}(i64 {self._threads()}, ptr %arguments)"
        )

    def _product_arguments(self, call: ProductCall) -> int:
        """Give a product its words, and return their number."""
        self.products.add(gemm.letter(call.nodes[0].dtype))
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
        return len(values)

    def _pipeline(self, call: PipelineCall, kernels: Mapping[int, Launch]) -> None:
        """Print a function that runs rows lo to hi of all members, and launch it.

        Its rows are blocks of the pipeline's. The words of all members lie one after
        another, after the number of rows. A kernel's come after its scale, a product's
        after those of its block.
        """
        name = f"pipeline{len(self.pipelines)}"
        self.block, self.first = f"%{name}_words", 0
        self._argument(0, self._number(call.rows).text)
        self.first = 1
        body = []
        packed: set[int] = set()
        for number, member in enumerate(call.members):
            step = member.call
            at = f"%m{number}"
            body.append(
                f"  {at} = getelementptr i64, ptr %words, i64 {{}}".format(self.first)
            )
            if isinstance(step, KernelCall):
                self._argument(0, self._number(member.scale).text)
                self.first += 1
                launch = kernels[id(step.kernel)]
                self.first += self._kernel_arguments(step, launch)
                self.used.add(launch.code.name)
                # a kernel's rows are so many for each row, or one for some of them
                if step.block == 1:
                    low, high = "%lo", "%hi"
                else:
                    low, high = f"{at}_a", f"{at}_b"
                    body += [
                        f"  {at}_u = add i64 %hi, {step.block - 1}",
                        f"  {low} = udiv i64 %lo, {step.block}",
                        f"  {high} = udiv i64 {at}_u, {step.block}",
                    ]
                body += [
                    f"  {at}_s = load i64, ptr {at}",
                    f"  {at}_l = mul i64 {low}, {at}_s",
                    f"  {at}_h = mul i64 {high}, {at}_s",
                    f"  {at}_w = getelementptr i64, ptr {at}, i64 1",
                    f"  call void @{launch.code.name}"
                    f"(i64 {at}_l, i64 {at}_h, i64 %chunk, ptr {at}_w)",
                ]
                continue
            letter = gemm.letter(step.nodes[0].dtype)
            here = self.k.fresh("s")
            self.k.lines.append(
                f"  {here} = getelementptr i64, ptr {self.block}, i64 {self.first}"
            )
            self.first += gemm.BLOCK_WORDS
            words = self.k.fresh("s")
            self.k.lines.append(
                f"  {words} = getelementptr i64, ptr {self.block}, i64 {self.first}"
            )
            self.first += self._product_arguments(step)
            self.k.lines.append(
                f"  call void @graphc_prepare_{letter}(ptr {words}, ptr {here})"
            )
            if id(step.memory[3]) not in packed:
                packed.add(id(step.memory[3]))
                self.k.lines.append(
                    f"  call void @graphc_pack_{letter}"
                    f"(i64 {self._threads()}, ptr {here})"
                )
            body.append(
                f"  call void @graphc_rows_{letter}(i64 %lo, i64 %hi, ptr {at})"
            )
        self.allocas.append(f"  {self.block} = alloca [{self.first} x i64], align 64")
        self.pipelines.append(
            "\n".join(
                [
                    f"define internal void @{name}"
                    "(i64 %first, i64 %last, i64 %chunk, ptr %words) nounwind {",
                    "  %r = load i64, ptr %words",
                    f"  %lo = mul i64 %first, {call.block}",
                    f"  %end = mul i64 %last, {call.block}",
                    "  %less = icmp slt i64 %end, %r",
                    "  %hi = select i1 %less, i64 %end, i64 %r",
                    *body,
                    "  ret void",
                    "}",
                ]
            )
        )
        chunks = self._number(call.chunks).text
        self.used.add("graphc_launch")
        self.k.lines.append(
            f"  call void @graphc_launch(i64 {self._threads()}, ptr @{name}, "
            f"i64 {chunks}, i64 {chunks}, ptr {self.block})"
        )
        self.block, self.first = "%arguments", 0

    def _threads(self) -> str:
        return self._word(Frame.THREADS).text
