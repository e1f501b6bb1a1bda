"""Prints a program as one LLVM function that runs its steps.

The function takes the address of the *frame*: 64-bit words with the number of
threads a launch may use (0: the process's default), the code of an index error, the
workspace, the addresses of inputs, outputs and constants, and the values of the
symbolic dimensions. It computes sizes and addresses, and launches
kernels and products, so that a call costs no Python for each step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from graphc.backends.cpu import driver_code, factorize, gemm, register_tile
from graphc.backends.cpu.printer import I64, SizePrinter
from graphc.backends.cpu.scalars import Value as Register
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.factorize import WORDS, RoutineCall
from graphc.schedule.memory import Place
from graphc.schedule.pipeline import PipelineCall, key_of
from graphc.schedule.product import ProductCall
from graphc.schedule.program import Program
from graphc.types import sizes
from graphc.types.sizes import Atom, Dim, SizeLike

LONGEST_CODE = 64
"""Steps up to which a program becomes straight-line code."""

MOST_WORDS = 1_000
"""Words up to which it does, that these are given: a pipeline is one step."""


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
        self.dims = self.constants + len(program.memory.constants)
        self.dim_order = list(dims)
        self.words = self.dims + len(self.dim_order)

    def word(self, place: Place) -> int:
        """Return the word with the address of the array or workspace of a place."""
        base = {
            "input": self.inputs,
            "output": self.outputs,
            "constant": self.constants,
            "workspace": self.WORKSPACE,
        }[place.kind]
        return base + place.number


class Operand(NamedTuple):
    """A number of a step: a word of the frame plus an addend, or the addend alone."""

    word: int | None
    addend: Register


class PrintedStep(NamedTuple):
    """A step of a program: the function that starts it, and what that is given.

    `start` takes what ``graphc_launch`` takes: threads, kernel, rows, chunks, words.
    """

    start: str
    kernel: str | None
    rows: Operand
    chunks: Operand
    arguments: Sequence[Operand]


class DriverPrinter(SizePrinter):
    """Prints one program. After construction, `text` and `name` hold the result.

    A short program becomes straight-line code. That of a long one would take LLVM
    longer than all kernels, so its steps become a table, and a loop that reads it.
    """

    def __init__(self, program: Program, kernels: Mapping[int, Launch], frame: Frame):
        super().__init__()
        self.program = program
        self.frame = frame
        self.products: set[str] = set()
        self.routines: set[str] = set()
        self.functions: dict[str, str] = {}
        self.tables: list[str] = []
        self.kernels: set[str] = set()
        self.k.lines = self.frames[0].lines
        self.nothing = Operand(None, self.k.constant(0, I64))
        for level in program.memory.levels:
            self._atom(level)
        steps = []
        for step in program.steps:
            if isinstance(step, KernelCall):
                steps.append(self._kernel(step, kernels[id(step.kernel)]))
            elif isinstance(step, ProductCall):
                steps.append(self._product(step))
            elif isinstance(step, RoutineCall):
                steps.append(self._routine(step))
            else:
                steps.append(self._pipeline(step, kernels))
        self.words = max((len(s.arguments) for s in steps), default=0) + 1
        rest = ""
        if (
            len(steps) > LONGEST_CODE
            or sum(len(s.arguments) for s in steps) > MOST_WORDS
        ):
            rest = self._table(steps)
        else:
            for printed in steps:
                self._code(printed)
        body = self._assemble(rest)
        self.name = f"graphc_{hashlib.sha256(body.encode()).hexdigest()[:20]}"
        self.text = body.replace("@DRIVER", f"@{self.name}")

    def _assemble(self, rest: str) -> str:
        return "\n".join(
            [
                "define void @DRIVER(ptr %frame) nounwind {",
                "entry:",
                f"  %arguments = alloca [{self.words} x i64], align 64",
                f"  %error = getelementptr i64, ptr %frame, i64 {Frame.ERROR}",
                "  %error_word = ptrtoint ptr %error to i64",
                *self.frames[0].lines,
                "  ret void",
                "}",
                f"@{driver_code.NOTHING} = internal global [64 x i8] zeroinitializer, align 64",
                "declare void @graphc_launch(i64, ptr, i64, i64, ptr)",
                *(
                    f"declare void @{name}(i64, i64, i64, ptr)"
                    for name in sorted(self.kernels)
                ),
                *(
                    signature.format(letter)
                    for letter in sorted(self.products)
                    for signature in gemm.SIGNATURES
                ),
                *(
                    line
                    for letter in sorted(self.routines)
                    for line in factorize.declarations(letter)
                ),
                *(text.replace("@NAME", f"@{n}") for text, n in self.functions.items()),
                *self.tables,
                rest,
                self.module.text(),
            ]
        )

    def _function(self, kind: str, text: str) -> str:
        """Add a function, once for each text, and return its name."""
        return self.functions.setdefault(text, f"{kind}{len(self.functions)}")

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

    def _plain(self, size: SizeLike) -> Operand:
        return Operand(None, self._number(size))

    def _sum(self, a: Register, b: Register) -> Register:
        if a.literal and b.literal:
            return self.k.constant(int(a.text) + int(b.text), I64)
        if "0" in (a.text, b.text):
            return b if a.text == "0" else a
        return self.k("add", a, b)

    def _address(self, memory: Memory, offset: SizeLike = 0) -> Operand:
        place = self.program.memory.places[key_of(memory)]
        itemsize = memory.dtype.itemsize  # type: ignore[attr-defined]
        bytes_ = self._number(place.offset + offset * itemsize)
        address = Operand(self.frame.word(place), bytes_)
        if not memory.read_if_empty or sizes.non_negative(memory.size - 1):
            return address
        k = self.k
        size = self._number(memory.size)
        nothing = k.pure(f"ptrtoint ptr @{driver_code.NOTHING} to i64", I64)
        some = k("ne", size, k.zero(size))
        return Operand(None, k("select", some, self._value(address), nothing))

    # ---------------------------------------------------------------- steps

    def _kernel(self, call: KernelCall, launch: Launch) -> PrintedStep:
        self.kernels.add(launch.code.name)
        rows, chunks = self._plain(call.kernel.rows), self._plain(call.chunks)
        arguments = self._kernel_arguments(call, launch)
        return PrintedStep("graphc_launch", launch.code.name, rows, chunks, arguments)

    def _kernel_arguments(self, call: KernelCall, launch: Launch) -> list[Operand]:
        code, starts, codes = launch
        arguments = [
            self._address(memory, starts.get(number, 0))
            for number, memory in enumerate(call.memory)
        ]
        for given in code.parameters:
            arguments.append(
                self._plain(
                    codes[given] if isinstance(given, int) else sizes.of_atom(given)
                )
            )
        arguments.append(Operand(None, Register("%error_word", I64)))
        return arguments

    def _product(self, call: ProductCall) -> PrintedStep:
        arguments = self._product_arguments(call)
        return self._alone(
            f"product_{register_tile.letter(call.nodes[0].dtype)}", arguments
        )

    def _alone(self, name: str, arguments: Sequence[Operand]) -> PrintedStep:
        """Return the step of a function that launches what it needs."""
        start = self._function(
            "start",
            f"""
define internal void @NAME{driver_code.STARTED} {{
  call void @graphc_{name}(i64 %threads, ptr %words)
  ret void
}}""",
        )
        return PrintedStep(start, None, self.nothing, self.nothing, arguments)

    def _routine(self, call: RoutineCall) -> PrintedStep:
        letter = register_tile.letter(call.nodes[0].dtype)
        self.routines.add(letter)
        addresses = {
            name: self._address(memory, place)
            for name, memory, place in zip(
                ("a", "b", "out", "packed"), call.memory, (*call.places, 0)
            )
        }
        arguments = [
            addresses[w] if w in addresses else self._plain(call.words[w])
            for w in WORDS
        ]
        arguments += [self._plain(s) for axis in call.axes for s in axis]
        return self._alone(f"{call.name}_{letter}", arguments)

    def _product_arguments(self, call: ProductCall) -> list[Operand]:
        self.products.add(register_tile.letter(call.nodes[0].dtype))
        left, right = call.left, call.right
        a, b, c, packed, *more = call.memory
        strides = (left.rows, left.columns, right.rows, right.columns, call.n)
        count = len(call.pieces)
        steps = sizes.product([size for size, _, _ in call.outer]) * count
        each = sizes.maximum(sizes.floordiv(call.k, steps), 1)
        views = [view for piece in call.pieces for view in piece]
        return [
            self._address(c),
            *map(self._plain, (call.m, call.n, call.k, *strides)),
            self._address(packed),
            *map(self._plain, (call.room, len(call.axes), each, 0)),
            *map(self._plain, (len(call.outer), int(call.straight))),
            *(self._plain(s) for axis in (*call.axes, *call.outer) for s in axis),
            *(
                self._address(memory, view.offset)
                for memory, view in zip((a, b, *more), views)
            ),
        ]

    def _pipeline(
        self, call: PipelineCall, kernels: Mapping[int, Launch]
    ) -> PrintedStep:
        """Print a function that runs blocks of rows of all members, and one to start it.

        The words of all members lie one after another, after the number of rows. A
        kernel's come after its scale, a product's after those of its block. Members
        are tables of what runs them and where their words are: an unrolled loop has
        hundreds.
        """
        arguments: list[Operand] = [self._plain(call.rows)]
        members: list[tuple[str, int]] = []
        begun: list[tuple[str, int]] = []
        packed: set[int] = set()
        for member in call.members:
            step, at = member.call, len(arguments)
            if isinstance(step, KernelCall):
                launch = kernels[id(step.kernel)]
                self.kernels.add(launch.code.name)
                runs = driver_code.KERNEL_MEMBER.format(
                    kernel=launch.code.name,
                    above=step.block - 1,
                    shift=step.block.bit_length() - 1,
                )
                arguments.append(self._plain(member.scale))
                arguments += self._kernel_arguments(step, launch)
            else:
                assert isinstance(step, ProductCall)
                letter = register_tile.letter(step.nodes[0].dtype)
                runs = driver_code.PRODUCT_MEMBER.format(letter=letter)
                prepares = driver_code.PREPARED.format(
                    letter=letter, words=gemm.BLOCK_WORDS
                )
                arguments += [self.nothing] * gemm.BLOCK_WORDS
                arguments += self._product_arguments(step)
                begun.append((self._function("prepare", prepares), at))
                if id(step.memory[3]) not in packed:
                    packed.add(id(step.memory[3]))
                    packs = driver_code.PACKED.format(letter=letter)
                    begun.append((self._function("pack", packs), at))
            members.append((self._function("member", runs), at))
        rows = self._function(
            "pipeline",
            driver_code.PIPELINE.format(
                block=call.block, members=self._members(members), count=len(members)
            ),
        )
        start = self._function(
            "start",
            driver_code.START_PIPELINE.format(
                begun=self._members(begun), count=len(begun), rows=rows
            ),
        )
        chunks = self._plain(call.chunks)
        return PrintedStep(start, None, chunks, chunks, arguments)

    def _members(self, members: Sequence[tuple[str, int]]) -> str:
        """Add a table of functions and of where the words of each are; its name."""
        rows = ", ".join([f"{{ptr, i64}} {{ptr @{f}, i64 {at}}}" for f, at in members])
        table = f"@NAME = internal constant [{len(members)} x {{ptr, i64}}] [{rows}]"
        self.functions.setdefault(driver_code.MEMBERS, "members")
        return self._function("list", table)

    # ----------------------------------------------------------------- code

    def _value(self, operand: Operand) -> Register:
        if operand.word is None:
            return operand.addend
        return self._sum(self._word(operand.word), operand.addend)

    def _code(self, step: PrintedStep) -> None:
        """Print one step as straight-line code."""
        lines = self.k.lines
        for number, argument in enumerate(step.arguments):
            value = self._value(argument)
            name = self.k.fresh("s")
            lines += [
                f"  {name} = getelementptr i64, ptr %arguments, i64 {number}",
                f"  store i64 {value.text}, ptr {name}",
            ]
        rows, chunks = self._value(step.rows), self._value(step.chunks)
        if step.kernel is not None and chunks.text == "1":
            lines.append(
                f"  call void @{step.kernel}(i64 0, i64 {rows.text}, i64 0, "
                "ptr %arguments)"
            )
            return
        kernel = "null" if step.kernel is None else f"@{step.kernel}"
        lines.append(
            f"  call void @{step.start}(i64 {self._word(Frame.THREADS).text}, "
            f"ptr {kernel}, i64 {rows.text}, i64 {chunks.text}, ptr %arguments)"
        )

    # ---------------------------------------------------------------- table

    def _table(self, steps: Sequence[PrintedStep]) -> str:
        """Print steps as a table of numbers, and return it with the loop over it.

        What is computed is put into words behind the frame's first. A number is then
        a word and an addend; each step is what starts it, its kernel, the count of
        its arguments, rows, chunks, and the arguments.
        """
        words: dict[str, int] = {}
        functions: dict[str, int] = {"null": 0}
        table: list[int] = []

        def word(register: Register) -> int:
            return words.setdefault(register.text, self.frame.words + len(words))

        def function(name: str | None) -> int:
            text = "null" if name is None else f"@{name}"
            return functions.setdefault(text, len(functions))

        zero = word(self.k.constant(0, I64))
        for step in steps:
            table += (function(step.start), function(step.kernel), len(step.arguments))
            for operand in (step.rows, step.chunks, *step.arguments):
                if operand.addend.literal:
                    place = zero if operand.word is None else operand.word
                    table += (place, int(operand.addend.text))
                else:
                    table += (word(self._value(operand)), 0)
        for text, number in words.items():
            at = self.k.fresh("s")
            self.k.lines += [
                f"  {at} = getelementptr i64, ptr %frame, i64 {number}",
                f"  store i64 {text}, ptr {at}",
            ]
        self.k.lines.append("  call void @steps(ptr %frame, ptr %arguments)")
        self.frame.words += len(words)
        return driver_code.LOOP.format(
            threads=Frame.THREADS,
            length=len(table),
            table=", ".join([f"i64 {number}" for number in table]),
            count=len(functions),
            functions=", ".join(f"ptr {name}" for name in functions),
        )
