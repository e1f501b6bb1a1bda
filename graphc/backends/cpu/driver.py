"""Prints a program as one LLVM function that runs its steps.

The function takes the address of the *frame*: 64-bit words with the number of
threads a launch may use (0: the process's default), the code of an index error, the workspace, the addresses of inputs, outputs and constants, and
the values of the symbolic dimensions. It computes sizes and addresses, and launches
kernels and products, so that a call costs no Python for each step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from graphc.backends.cpu.printer import I64, KernelPrinter, SizePrinter
from graphc.backends.cpu.scalars import Value as Register
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.product import ProductCall
from graphc.schedule.program import Place, Program, aligned
from graphc.types import sizes
from graphc.types.sizes import Atom, Dim, SizeLike

PRODUCT_FLOPS = 1 << 20
"""Operations a tile of a product should have at least."""

PRODUCT_ROWS = 64
"""Rows a tile should have at least: below, packing dominates."""


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
        self, program: Program, kernels: dict[int, KernelPrinter], frame: Frame
    ):
        super().__init__()
        self.program = program
        self.frame = frame
        self.slots: list[Register] | None = None
        self.words = 1
        self.used: set[str] = set()
        self.products = False
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
        if self.products:
            self.used |= {"graphc_blas_enter", "graphc_blas_leave"}
            lines = [
                "  call void @graphc_blas_enter()",
                *lines,
                "  call void @graphc_blas_leave()",
            ]
        signatures = {
            "graphc_launch": "void @graphc_launch(i64, ptr, i64, i64, ptr)",
            "graphc_blas_enter": "void @graphc_blas_enter()",
            "graphc_blas_leave": "void @graphc_blas_leave()",
        }
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

    def _kernel(self, call: KernelCall, printed: KernelPrinter) -> None:
        number = 0
        for memory in call.memory:
            self._argument(number, self._address(memory).text)
            number += 1
        for atom in printed.parameters:
            self._argument(number, self._number(sizes.of_atom(atom)).text)
            number += 1
        self._argument(number, "%error", "ptr")
        rows = self._number(call.kernel.rows)
        self._launch(printed.name, rows, self._number(call.chunks))

    def _launch(self, kernel: str, rows: Register, chunks: Register) -> None:
        self.used.add(kernel)
        if chunks.text == "1":
            self.k.lines.append(
                f"  call void @{kernel}(i64 0, i64 {rows.text}, i64 0, ptr %arguments)"
            )
            return
        self.used.add("graphc_launch")
        threads = self._word(Frame.THREADS)
        self.k.lines.append(
            f"  call void @graphc_launch(i64 {threads.text}, ptr @{kernel}, "
            f"i64 {rows.text}, i64 {chunks.text}, ptr %arguments)"
        )

    def _product(self, call: ProductCall) -> None:
        self.products = True
        k = self.k
        m, n, depth = call.m, call.n, call.k
        left, right = call.left, call.right
        ta, tb = left.columns != 1, right.columns != 1
        lda = sizes.maximum(left.columns if ta else left.rows, 1)
        ldb = sizes.maximum(right.columns if tb else right.rows, 1)
        # of a single row or column the stride is free, but BLAS checks it
        lda = sizes.maximum(lda, m if ta else depth)
        ldb = sizes.maximum(ldb, depth if tb else n)
        rows, columns = self._number(call.batch * m), self._number(call.batch * n)
        by_column = k("gt", columns, rows)
        extent = k("select", by_column, columns, rows)
        flops = self._number(call.batch * m * n * depth * 2)
        for number, value in enumerate(
            [
                self._address(call.memory[0], left.offset),
                self._address(call.memory[1], right.offset),
                self._address(call.memory[2]),
                *map(self._number, (m, n, depth, lda, ldb)),
                k.constant(int(ta), I64),
                k.constant(int(tb), I64),
                k.cast(by_column, I64),
                k.constant(len(call.axes), I64),
                *(self._number(s) for axis in call.axes for s in axis),
            ]
        ):
            self._argument(number, value.text)
        letter = "s" if call.nodes[0].dtype.itemsize == 4 else "d"
        self._launch(f"graphc_product_{letter}", extent, self._tiles(extent, flops))

    def _tiles(self, extent: Register, flops: Register) -> Register:
        """Return a power of two: tiles shared evenly, however many threads there are."""
        k = self.k

        def number(value: int) -> Register:
            return k.constant(value, I64)

        most = k("min", number(32), k("floordiv", extent, number(PRODUCT_ROWS)))
        most = k("min", most, k("floordiv", flops, number(PRODUCT_FLOPS)))
        most = k("max", most, number(1))
        zeros = k.intrinsic("ctlz", [most], extra="i1 true")
        return k("shl", number(1), k("sub", number(63), zeros))
