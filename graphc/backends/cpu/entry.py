"""The native entry: from Python's arguments to the driver without Python code.

A compiled function is called through a C function of Python's vectorcall
convention, printed as LLVM code: it checks that each argument is a contiguous NumPy
array of the declared dtype, rank and sizes, makes the output arrays, takes the
workspace, and runs the driver, without the GIL where the work is worth it. Whatever
it does not handle it declines, by returning NotImplemented; the checks in Python then
convert the arguments or say what is wrong with them.

Addresses of this process, such as NumPy's array type, are passed in the *cells* of
the function object, so the code itself can be cached on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from graphc.backends.cpu.driver import Frame
from graphc.backends.cpu.native import (
    ARRAY_TYPE,
    CAPACITY,
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
    TAKEN,
    THREADS,
    TYPE,
    WORKSPACE,
    layout_known,
)
from graphc.backends.cpu.printer import I64, SizePrinter
from graphc.backends.cpu.scalars import Value as Register
from graphc.graph.node import Node
from graphc.schedule.program import Program
from graphc.types import sizes
from graphc.types.sizes import Atom, Dim, SizeLike

RELEASE_BYTES = 1 << 15
"""Bytes touched from which the GIL is released: some microseconds of work."""

_DECLARATIONS = """
declare ptr @PyTuple_New(i64)
declare i32 @PyTuple_SetItem(ptr, i64, ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare void @Py_DecRef(ptr)
declare void @Py_IncRef(ptr)
declare ptr @PyErr_NoMemory()
declare ptr @malloc(i64)
declare void @free(ptr)
"""


class EntryPrinter(SizePrinter):
    """Prints the entry of one function. `text` and `name` hold the result."""

    def __init__(
        self,
        program: Program,
        frame: Frame,
        driver: str,
        equalities: Sequence[tuple[SizeLike, SizeLike, Node]],
        requirements: Sequence[tuple[SizeLike, Node]],
    ):
        super().__init__()
        self.program = program
        self.frame = frame
        self.lines = self.k.lines = self.frames[0].lines
        self.bound: dict[Atom, Register] = {}
        self.labels = 0
        graph = program.graph
        self.dtypes = list(
            dict.fromkeys(n.dtype for n in (*graph.inputs, *graph.outputs))
        )
        self._arguments(graph.inputs)
        for a, b, _ in equalities:
            self._require_equal(self._number(a), self._number(b))
        for need, _ in requirements:
            self._branch(self._emit(f"icmp sle i64 {self._number(need).text}, 0"))
        self._outputs(graph.outputs)
        self._run(driver, graph.outputs)
        self.lines.append("fail:")
        self.lines.append("  br label %decline")
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

    # ---------------------------------------------------------------- pieces

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

    # ------------------------------------------------------------- arguments

    def _arguments(self, inputs: Sequence[Node]) -> None:
        self._branch(self._emit(f"icmp eq i64 %count, {len(inputs)}"))
        array_type = self._cell(ARRAY_TYPE)
        checks: list[tuple[SizeLike, Register]] = []
        for number, node in enumerate(inputs):
            at = self._emit(f"getelementptr ptr, ptr %args, i64 {number}")
            value = self._emit(f"load ptr, ptr {at}")
            kind = self._field(value, TYPE, "ptr")
            is_array = self._emit(f"icmp eq ptr {kind}, {array_type}")
            if node.ndim == 0 and node.dtype.kind == "f":
                self._scalar(number, node, value, kind, is_array)
                continue
            self._branch(is_array)
            self._word(self.frame.inputs + number, self._array(node, value))
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

    def _array(self, node: Node, value: str) -> str:
        """Check dtype, rank and layout of an array and return its address."""
        descr = self._field(value, DESCR, "ptr")
        wanted = self._dtype_cell(node.dtype)
        self._branch(self._emit(f"icmp eq ptr {descr}, {wanted}"))
        ndim = self._field(value, NDIM, "i32")
        self._branch(self._emit(f"icmp eq i32 {ndim}, {node.ndim}"))
        flags = self._field(value, FLAGS, "i32")
        both = self._emit(f"and i32 {flags}, {CONTIGUOUS_ALIGNED}")
        self._branch(self._emit(f"icmp eq i32 {both}, {CONTIGUOUS_ALIGNED}"))
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

    def _outputs(self, outputs: Sequence[Node]) -> None:
        """Make the output arrays; on failure those made so far are dropped."""
        empty = self._cell(EMPTY)
        self.made: list[str] = []
        failed = ""
        for number, node in enumerate(outputs):
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
            if self.made:  # drop the one before, and so on
                self.lines += [
                    f"  call void @Py_DecRef(ptr {self.made[-1]})",
                    f"  br label %{failed}_failed",
                ]
            else:
                self.lines.append("  ret ptr null")
            self.lines.append(f"{n}_made:")
            failed = n
            self.made.append(array)
            self._word(self.frame.outputs + number, self._field(array, DATA, "i64"))

    # ------------------------------------------------------------------- run

    def _run(self, driver: str, outputs: Sequence[Node]) -> None:
        frame, program = self.frame, self.program
        self._word(Frame.THREADS, self._cell(THREADS, "i64"))
        self._word(Frame.ERROR, "0")
        for number in range(len(program.constants)):
            cell = self._cell(FIRST + len(self.dtypes) + number, "i64")
            self._word(frame.constants + number, cell)
        need = self._number(program.workspace)
        touched: SizeLike = program.workspace
        for node in (*program.graph.inputs, *outputs):
            touched = touched + node.size * node.dtype.itemsize
        big = self._emit(f"icmp sge i64 {self._number(touched).text}, {RELEASE_BYTES}")
        workspace = self._take_workspace(need) if need.text != "0" else None
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
        if workspace is not None:
            self._give_workspace()
        at = self._emit(f"getelementptr i64, ptr %frame, i64 {Frame.ERROR}")
        code = self._emit(f"load i64, ptr {at}")
        good = self._emit(f"icmp eq i64 {code}, 0")
        self.lines += [f"  br i1 {good}, label %result, label %dropped", "dropped:"]
        self.lines += [f"  call void @Py_DecRef(ptr {m})" for m in self.made]
        self.lines += ["  br label %fail", "result:"]
        if len(self.made) == 1:
            self.lines.append(f"  ret ptr {self.made[0]}")
            return
        several = self._emit(f"call ptr @PyTuple_New(i64 {len(self.made)})")
        for number, array in enumerate(self.made):
            self._emit(
                f"call i32 @PyTuple_SetItem(ptr {several}, i64 {number}, ptr {array})"
            )
        self.lines.append(f"  ret ptr {several}")

    def _take_workspace(self, need: Register) -> str:
        """Use the function's own workspace, or a temporary one if it is in use."""
        lines = self.lines
        room = self._emit(f"add i64 {need.text}, 64")
        taken = self._emit(f"getelementptr i64, ptr %cells, i64 {TAKEN}")
        pair = self._emit(f"cmpxchg ptr {taken}, i64 0, i64 1 acq_rel monotonic")
        own = self._emit(f"extractvalue {{i64, i1}} {pair}, 1")
        held = self._emit(f"getelementptr i64, ptr %cells, i64 {WORKSPACE}")
        capacity = self._emit(f"getelementptr i64, ptr %cells, i64 {CAPACITY}")
        lines += [
            f"  br i1 {own}, label %w_own, label %w_other",
            "w_own:",
            f"  %w_cap = load i64, ptr {capacity}",
            f"  %w_fits = icmp sge i64 %w_cap, {room}",
            f"  %w_old = load ptr, ptr {held}",
            "  br i1 %w_fits, label %w_have, label %w_grow",
            "w_grow:",
            "  call void @free(ptr %w_old)",
            f"  %w_grown = call ptr @malloc(i64 {room})",
            f"  store ptr %w_grown, ptr {held}",
            "  %w_bad = icmp eq ptr %w_grown, null",
            f"  %w_size = select i1 %w_bad, i64 0, i64 {room}",
            f"  store i64 %w_size, ptr {capacity}",
            "  br i1 %w_bad, label %w_release, label %w_have",
            "w_release:",
            f"  store atomic i64 0, ptr {taken} release, align 8",
            "  br label %w_failed",
            "w_failed:",
            *(f"  call void @Py_DecRef(ptr {m})" for m in self.made),
            "  %w_error = call ptr @PyErr_NoMemory()",
            "  ret ptr null",
            "w_other:",
            f"  %w_new = call ptr @malloc(i64 {room})",
            "  %w_none = icmp eq ptr %w_new, null",
            "  br i1 %w_none, label %w_failed, label %w_have",
            "w_have:",
            "  %w = phi ptr [ %w_old, %w_own ], [ %w_grown, %w_grow ], [ %w_new, %w_other ]",
            "  %w_raw = ptrtoint ptr %w to i64",
            "  %w_up = add i64 %w_raw, 63",
            "  %w_at = and i64 %w_up, -64",
        ]
        self._owned = own
        self._taken = taken
        self._word(Frame.WORKSPACE, "%w_at")
        return "%w"

    def _give_workspace(self) -> None:
        self.lines += [
            f"  br i1 {self._owned}, label %w_back, label %w_free",
            "w_back:",
            f"  store atomic i64 0, ptr {self._taken} release, align 8",
            "  br label %w_done",
            "w_free:",
            "  call void @free(ptr %w)",
            "  br label %w_done",
            "w_done:",
        ]


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
) -> EntryPrinter | None:
    """Return the printed entry, None where only the checks in Python can serve.

    That is on other Pythons than CPython with its GIL, where an output is a copy of
    an input, and where a size follows from a formula only.
    """
    plain = {_plain_dim(s) for n in program.graph.inputs for s in n.shape}
    if (
        program.copies
        or not layout_known()
        or not all(d in plain for d in frame.dim_order)
        or not program.graph.outputs
    ):
        return None
    return EntryPrinter(program, frame, driver, equalities, requirements)
