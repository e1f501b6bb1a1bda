"""The native entry: from Python's arguments to the driver without Python code.

A compiled function is called through a C function of Python's vectorcall
convention, printed as LLVM code: it checks that each argument is a contiguous NumPy
array of the declared dtype, rank and sizes, makes the output arrays or takes those
given, takes the workspace, and runs the driver, without the GIL where the work is
worth it. Whatever it does not handle it declines, by returning NotImplemented; the
checks in Python then convert the arguments or say what is wrong with them.

Arrays for the outputs follow the inputs, and NotImplemented follows them, so that an
input too many is not taken for one.

Addresses of this process, such as NumPy's array type, are passed in the *cells* of
the function object, so the code itself can be cached on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

from graphc.backends.cpu.driver import Frame
from graphc.backends.cpu.entry_code import EntryCode
from graphc.backends.cpu.native import (
    ARRAY_TYPE,
    CONTIGUOUS_ALIGNED,
    DATA,
    DESCR,
    DIMENSIONS,
    EMPTY,
    FIRST,
    FLAGS,
    FLOAT32_TYPE,
    FLOAT64_TYPE,
    FLOAT_TYPE,
    FLOAT_VALUE,
    NDIM,
    NOT_IMPLEMENTED,
    THREADS,
    TYPE,
    WORKSPACE,
    WRITEABLE,
    layout_known,
)
from graphc.backends.cpu.printer import I64
from graphc.backends.cpu.scalars import Value as Register
from graphc.graph.node import Node
from graphc.schedule.program import Program
from graphc.types import sizes
from graphc.types.sizes import Dim, SizeLike

RELEASE_BYTES = 1 << 15
"""Bytes touched from which the GIL is released: some microseconds of work."""

_DECLARATIONS = """
declare ptr @PyList_New(i64)
declare i32 @PyList_SetItem(ptr, i64, ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare void @Py_DecRef(ptr)
declare void @Py_IncRef(ptr)
declare void @PyErr_Clear()
declare ptr @graphc_workspace(ptr, i64)
declare i1 @graphc_overlap(ptr, i64, i64)
"""


class EntryPrinter(EntryCode):
    """Prints the entry of one function. `text` and `name` hold the result."""

    def __init__(
        self,
        program: Program,
        frame: Frame,
        driver: str,
        equalities: Sequence[tuple[SizeLike, SizeLike, Node]],
        requirements: Sequence[tuple[SizeLike, Node]],
        donated: Collection[int],
    ):
        super().__init__(program, frame)
        self.donated = set(donated)
        graph = program.graph
        self.dtypes = list(
            dict.fromkeys(n.dtype for n in (*graph.inputs, *graph.outputs))
        )
        self._arguments(graph.inputs)
        self._bounded()
        for a, b, _ in equalities:
            self._require_equal(self._number(a), self._number(b))
        for need, _ in requirements:
            self._branch(self._emit(f"icmp sle i64 {self._number(need).text}, 0"))
        self._outputs(graph.inputs, graph.outputs)
        self._run(driver, graph.outputs)
        body = self._assemble(driver)
        self.name = f"graphc_{hashlib.sha256(body.encode()).hexdigest()[:20]}"
        self.text = body.replace("@ENTRY", f"@{self.name}")

    def _assemble(self, driver: str) -> str:
        scratch = max(1, *(n.ndim for n in self.program.graph.outputs), 1)
        return "\n".join(
            [
                "define ptr @ENTRY(ptr %self, ptr %args, i64 %count) nounwind {",
                "entry:",
                f"  %frame = alloca [{self.frame.words} x i64], align 64",
                f"  %shape = alloca [{scratch} x i64]",
                f"  %scalars = alloca [{len(self.program.graph.inputs) + 1} x i64]",
                f"  %ranges = alloca [{2 * self.ranges + 1} x i64]",
                f"  %cells_at = getelementptr i8, ptr %self, i64 {DATA}",
                "  %cells = load ptr, ptr %cells_at",
                *self.lines,
                "decline:",
                f"  %ni_at = getelementptr i64, ptr %cells, i64 {NOT_IMPLEMENTED}",
                "  %ni = load ptr, ptr %ni_at",
                "  call void @Py_IncRef(ptr %ni)",
                "  ret ptr %ni",
                "}",
                f"declare void @{driver}(ptr)",
                _DECLARATIONS,
                self.module.text(),
            ]
        )

    # ------------------------------------------------------------- arguments

    def _arguments(self, inputs: Sequence[Node]) -> None:
        plain = self._emit(f"icmp eq i64 %count, {len(inputs)}")
        n_all = len(inputs) + len(self.program.graph.outputs)
        full = self._emit(f"icmp eq i64 %count, {n_all + 1}")
        self._branch(self._emit(f"or i1 {plain}, {full}"))
        self.given = full
        array_type = self._cell(ARRAY_TYPE)
        self.arrays: list[str] = []
        checks: list[tuple[SizeLike, Register]] = []
        for number, node in enumerate(inputs):
            at = self._emit(f"getelementptr ptr, ptr %args, i64 {number}")
            value = self._emit(f"load ptr, ptr {at}")
            self.arrays.append(value)
            kind = self._field(value, TYPE, "ptr")
            is_array = self._emit(f"icmp eq ptr {kind}, {array_type}")
            if node.ndim == 0 and node.dtype.kind == "f":
                self._scalar(number, node, value, kind, is_array)
                continue
            self._branch(is_array)
            flags = WRITEABLE if number in self.donated and node.ndim else 0
            self._word(self.frame.inputs + number, self._array(node, value, flags))
            if not node.ndim:
                continue
            dimensions = self._field(value, DIMENSIONS, "ptr")
            for axis, declared in enumerate(node.shape):
                d_at = self._emit(f"getelementptr i64, ptr {dimensions}, i64 {axis}")
                actual = Register(self._emit(f"load i64, ptr {d_at}"), I64)
                dim = _plain_dim(declared)
                if dim is not None and dim not in self.bound:
                    self.bound[dim] = actual
                else:
                    checks.append((declared, actual))
        for declared, actual in checks:
            self._require_equal(self._number(declared), actual)
        for number, dim in enumerate(self.frame.dim_order):
            self._word(self.frame.dims + number, self.bound[dim].text)

    def _array(self, node: Node, value: str, more: int = 0) -> str:
        """Check dtype, rank, layout and more flags; return the array's address."""
        wanted_flags = CONTIGUOUS_ALIGNED | more
        descr = self._field(value, DESCR, "ptr")
        wanted = self._dtype_cell(node.dtype)
        self._branch(self._emit(f"icmp eq ptr {descr}, {wanted}"))
        ndim = self._field(value, NDIM, "i32")
        self._branch(self._emit(f"icmp eq i32 {ndim}, {node.ndim}"))
        flags = self._field(value, FLAGS, "i32")
        both = self._emit(f"and i32 {flags}, {wanted_flags}")
        self._branch(self._emit(f"icmp eq i32 {both}, {wanted_flags}"))
        return self._field(value, DATA, "i64")

    def _scalar(
        self, number: int, node: Node, value: str, kind: str, is_array: str
    ) -> None:
        """Take a Python float, a NumPy one, or an array without dimensions.

        All three kinds of number hold their value right behind the object's head.
        """
        n = self.k.fresh("S")[1:]
        single = node.dtype.itemsize == 4
        lines = self.lines
        lines += [
            f"  br i1 {is_array}, label %{n}_array, label %{n}_other",
            f"{n}_array:",
        ]
        address = self._array(node, value)
        self._word(self.frame.inputs + number, address)
        lines += [f"  br label %{n}_done", f"{n}_other:"]
        place = self._emit(f"getelementptr i64, ptr %scalars, i64 {number}")
        float32 = self._emit(f"icmp eq ptr {kind}, {self._cell(FLOAT32_TYPE)}")
        lines += [
            f"  br i1 {float32}, label %{n}_single, label %{n}_wide",
            f"{n}_single:",
        ]
        x = self._field(value, FLOAT_VALUE, "float")
        if not single:
            x = self._emit(f"fpext float {x} to double")
        lines += [
            f"  store {'float' if single else 'double'} {x}, ptr {place}",
            f"  br label %{n}_have",
            f"{n}_wide:",
        ]
        python = self._emit(f"icmp eq ptr {kind}, {self._cell(FLOAT_TYPE)}")
        numpy = self._emit(f"icmp eq ptr {kind}, {self._cell(FLOAT64_TYPE)}")
        self._branch(self._emit(f"or i1 {python}, {numpy}"))
        x = self._field(value, FLOAT_VALUE, "double")
        if single:
            x = self._emit(f"fptrunc double {x} to float")
        lines += [
            f"  store {'float' if single else 'double'} {x}, ptr {place}",
            f"  br label %{n}_have",
            f"{n}_have:",
        ]
        self._word(self.frame.inputs + number, place, "ptr")
        lines += [f"  br label %{n}_done", f"{n}_done:"]
        self.k.scopes[-1].clear()

    # --------------------------------------------------------------- outputs

    def _outputs(self, inputs: Sequence[Node], outputs: Sequence[Node]) -> None:
        """Take the arrays given for outputs, or make them."""
        memory = self.program.memory
        for node in (*inputs, *outputs):  # before the branch, for both sides of it
            for size in (*node.shape, node.size * node.dtype.itemsize):
                self._number(size)
        if memory.written:
            self._input_ranges(inputs)
            self._apart(len(inputs) - len(memory.written), len(inputs))
        self.lines.append(f"  br i1 {self.given}, label %take, label %make")
        self.lines.append("take:")
        taken = self._taken(inputs, outputs)
        self.lines += ["  br label %ready", "make:"]
        made = self._made(outputs)
        self.lines += [f"{self.block}:", "  br label %ready", "ready:"]
        self.outputs = []
        for number in range(len(outputs)):
            array = self._emit(
                f"phi ptr [ {taken[number]}, %{self.taken_block} ], "
                f"[ {made[number]}, %{self.block} ]"
            )
            self.outputs.append(array)
        for number, array in enumerate(self.outputs):
            self._word(self.frame.outputs + number, self._field(array, DATA, "i64"))

    def _taken(self, inputs: Sequence[Node], outputs: Sequence[Node]) -> list[str]:
        """Check the arrays given for outputs, and own one reference to each."""
        memory = self.program.memory
        if not memory.written:
            self._input_ranges(inputs)
        last = self._argument(len(inputs) + len(outputs))
        not_implemented = self._cell(NOT_IMPLEMENTED)
        self._branch(self._emit(f"icmp eq ptr {last}, {not_implemented}"))
        array_type = self._cell(ARRAY_TYPE)
        taken = []
        ranges = len(inputs)
        for number, node in enumerate(outputs):
            value = self._argument(len(inputs) + number)
            taken.append(value)
            if number in memory.reused:
                donated = self.arrays[memory.reused[number]]
                self._branch(self._emit(f"icmp eq ptr {value}, {donated}"))
                continue
            kind = self._field(value, TYPE, "ptr")
            self._branch(self._emit(f"icmp eq ptr {kind}, {array_type}"))
            start = self._array(node, value, WRITEABLE)
            if node.ndim:
                dimensions = self._field(value, DIMENSIONS, "ptr")
            for axis, size in enumerate(node.shape):
                at = self._emit(f"getelementptr i64, ptr {dimensions}, i64 {axis}")
                actual = Register(self._emit(f"load i64, ptr {at}"), I64)
                self._require_equal(self._number(size), actual)
            self._range(ranges, node, start)
            ranges += 1
        self._apart(len(inputs), ranges)
        self.lines += [f"  call void @Py_IncRef(ptr {v})" for v in taken]
        self.taken_block = f"go{self.labels}"
        return taken

    def _argument(self, number: int) -> str:
        at = self._emit(f"getelementptr ptr, ptr %args, i64 {number}")
        return self._emit(f"load ptr, ptr {at}")

    def _made(self, outputs: Sequence[Node]) -> list[str]:
        """Make the arrays of outputs; on failure those made so far are dropped."""
        empty = self._cell(EMPTY)
        made: list[str] = []
        reused = self.program.memory.reused
        for number, node in enumerate(outputs):
            if number in reused:
                array = self.arrays[reused[number]]
                self.lines.append(f"  call void @Py_IncRef(ptr {array})")
                made.append(array)
                continue
            for axis, size in enumerate(node.shape):
                at = self._emit(f"getelementptr i64, ptr %shape, i64 {axis}")
                self.lines.append(f"  store i64 {self._number(size).text}, ptr {at}")
            descr = self._dtype_cell(node.dtype)
            self.lines.append(f"  call void @Py_IncRef(ptr {descr})")
            array = self._emit(
                f"call ptr {empty}(i32 {node.ndim}, ptr %shape, ptr {descr}, i32 0)"
            )
            good = self._emit(f"icmp ne ptr {array}, null")
            n = self.k.fresh("O")[1:]
            self.lines += [
                f"  br i1 {good}, label %{n}_made, label %{n}_failed",
                f"{n}_failed:",
            ]
            self.lines += [
                "  call void @PyErr_Clear()",
                f"  br label %drop{len(made)}",
                f"{n}_made:",
            ]
            made.append(array)
        self.block = "all_made"
        self.lines += [f"  br label %{self.block}", "drop0:", "  br label %decline"]
        for number, array in enumerate(made[:-1], 1):  # then the one before, and so on
            self.lines += [
                f"drop{number}:",
                f"  call void @Py_DecRef(ptr {array})",
                f"  br label %drop{number - 1}",
            ]
        return made

    # ------------------------------------------------------------------- run

    def _run(self, driver: str, outputs: Sequence[Node]) -> None:
        frame, program = self.frame, self.program
        self._word(Frame.THREADS, self._cell(THREADS, "i64"))
        self._word(Frame.ERROR, "0")
        for number in range(len(program.memory.constants)):
            cell = self._cell(FIRST + len(self.dtypes) + number, "i64")
            self._word(frame.constants + number, cell)
        for level in program.memory.levels:
            self._atom(level)
        need = self._number(program.memory.workspace)
        touched: SizeLike = program.memory.workspace
        for node in (*program.graph.inputs, *outputs):
            touched = touched + node.size * node.dtype.itemsize
        big = self._emit(f"icmp sge i64 {self._number(touched).text}, {RELEASE_BYTES}")
        if need.text != "0":
            self._take_workspace(need)
        self.lines.append(f"  br i1 {big}, label %unlocked, label %locked")
        self.lines += [
            "locked:",
            f"  call void @{driver}(ptr %frame)",
            "  br label %ran",
            "unlocked:",
            "  %thread = call ptr @PyEval_SaveThread()",
            f"  call void @{driver}(ptr %frame)",
            "  call void @PyEval_RestoreThread(ptr %thread)",
            "  br label %ran",
            "ran:",
        ]
        at = self._emit(f"getelementptr i64, ptr %frame, i64 {Frame.ERROR}")
        code = self._emit(f"load i64, ptr {at}")
        good = self._emit(f"icmp eq i64 {code}, 0")
        self.lines += [f"  br i1 {good}, label %result, label %dropped", "dropped:"]
        self.lines += [f"  call void @Py_DecRef(ptr {m})" for m in self.outputs]
        self.lines += ["  br label %decline", "result:"]
        if len(self.outputs) == 1:
            self.lines.append(f"  ret ptr {self.outputs[0]}")
            return
        several = self._emit(f"call ptr @PyList_New(i64 {len(self.outputs)})")
        for number, array in enumerate(self.outputs):
            self._emit(
                f"call i32 @PyList_SetItem(ptr {several}, i64 {number}, ptr {array})"
            )
        self.lines.append(f"  ret ptr {several}")

    def _take_workspace(self, need: Register) -> None:
        """Take the thread's workspace; without memory Python says for what."""
        state = self._cell(WORKSPACE)
        block = self._emit(f"call ptr @graphc_workspace(ptr {state}, i64 {need.text})")
        none = self._emit(f"icmp eq ptr {block}, null")
        empty = self._emit(f"icmp eq i64 {need.text}, 0")
        good = self._emit(f"xor i1 {none}, true")
        good = self._emit(f"or i1 {good}, {empty}")
        self.lines += [
            f"  br i1 {good}, label %w_have, label %w_failed",
            "w_failed:",
            *(f"  call void @Py_DecRef(ptr {m})" for m in self.outputs),
            "  br label %decline",
            "w_have:",
        ]
        self._word(Frame.WORKSPACE, block, "ptr")


def _plain_dim(size: SizeLike) -> Dim | None:
    """Return the dimension a size just is, None for any other size."""
    if isinstance(size, int):
        return None
    (atom, *more) = size.atoms()
    if more or not isinstance(atom, Dim) or size != sizes.of_atom(atom):
        return None
    return atom


def native_entry(
    program: Program,
    frame: Frame,
    driver: str,
    equalities: Sequence[tuple[SizeLike, SizeLike, Node]],
    requirements: Sequence[tuple[SizeLike, Node]],
    donated: Collection[int],
) -> EntryPrinter | None:
    """Return the printed entry, None where only the checks in Python can serve.

    That is on other Pythons than CPython with its GIL, where an output is a copy of
    an input, and where a size follows from a formula only.
    """
    plain = {_plain_dim(s) for n in program.graph.inputs for s in n.shape}
    if (
        program.memory.copies
        or not layout_known()
        or not all(d in plain for d in frame.dim_order)
        or not program.graph.outputs
    ):
        return None
    return EntryPrinter(program, frame, driver, equalities, requirements, donated)
