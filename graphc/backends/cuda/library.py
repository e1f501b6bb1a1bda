"""Products and factorizations of a program as calls of cuBLAS and cuSOLVER.

The libraries take matrices by columns. A matrix by rows is, by columns, its transpose,
so ``C = A @ B`` is asked for as ``C.T = B.T @ A.T``: the operands change places, and
one that is read transposed costs a flag. What a flag cannot tell (no unit stride,
strides that are negative or 0 within a matrix) is copied first. One axis of a batch is
the library's; of the others each index is a call, or all is copied into one axis.

A matrix that has no factor, or a triangle with a zero on its diagonal, makes its result
NaN, all of it, as on the CPU: flags are set on the device and read there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from graphc.backends.cuda import helpers
from graphc.backends.cuda.launches import (
    THREADS,
    Code,
    Copy,
    Launch,
    Pointer,
    Scratch,
    Step,
    Zero,
)
from graphc.backends.cuda.vendor import (
    LOWER,
    NON_UNIT,
    OP_N,
    OP_T,
    UNIT,
    UPPER,
    Gemm,
    Getrf,
    Potrf,
    Trsm,
    Vendor,
)
from graphc.schedule.evaluate import Memory
from graphc.schedule.factorize import RoutineCall
from graphc.schedule.product import ProductCall
from graphc.types.errors import AllocationError, CompileError, made_at
from graphc.types.sizes import SizeLike

MOST_CALLS = 32
"""Calls that a batch whose axes do not join may take; more are copied into one."""

MOST_TERMS = 4
"""Products that are added up for one whose terms lie apart; more are copied first."""

FEW = 4
"""Matrices up to which a batch is factorized or solved one by one if they are large."""

LARGE = 128
"""Rows from which on they are."""

_MOST = 2**31 - 1  # the libraries count in 32 bits


class View(NamedTuple):
    """A matrix as it lies: its place, sizes, and strides in elements."""

    place: Pointer
    shape: tuple[int, int]
    rows: int
    columns: int
    batch: tuple[int, ...]

    def at(self, elements: int, steps: LibrarySteps) -> View:
        """Return the matrix so many elements further."""
        return self._replace(place=self.place.plus(elements * steps.itemsize))


class LibrarySteps:
    """Makes the steps of library calls for some sizes.

    Parameters
    ----------
    size : callable
        The integer of a size.
    place : callable
        The place of an array of a call.
    scratch : Scratch
        For what calls need while they run.
    vendor : Vendor
    simulated : bool
    tf32 : bool
        Whether products of float32 may round their factors.
    """

    def __init__(
        self,
        size: Callable[[SizeLike], int],
        place: Callable[[Memory], Pointer],
        scratch: Scratch,
        vendor: Vendor,
        simulated: bool,
        tf32: bool = False,
    ):
        self.size = size
        self.place = place
        self.scratch = scratch
        self.vendor = vendor
        self.simulated = simulated
        self.tf32 = tf32

    def steps(self, call: ProductCall | RoutineCall) -> list[Step]:
        """Return what a call becomes; nothing if it has no elements.

        Raises
        ------
        AllocationError
            If a matrix has more rows or columns than the libraries count.
        """
        self.scratch.begin()
        node = call.nodes[0]
        self.dtype: str = node.dtype.name
        self.itemsize: int = node.dtype.itemsize
        check_dtype(call)
        if isinstance(call, ProductCall):
            return list(self._product(call))
        routines = {"cholesky": self._cholesky, "lu": self._lu, "trsm": self._trsm}
        return list(routines[call.name](call))

    # -------------------------------------------------------------- products

    def _product(self, call: ProductCall) -> Iterator[Step]:
        size = self.size
        m, n, k = size(call.m), size(call.n), size(call.k)
        axes = [tuple(size(s) for s in axis) for axis in reversed(call.axes)]
        sizes = tuple(axis[0] for axis in axes)
        out = self.place(call.memory[2])
        total = m * n * _count(sizes)
        if not total:
            return
        if not k:
            yield Zero(out, total * self.itemsize)
            return
        outer = [tuple(size(s) for s in axis) for axis in reversed(call.outer)]
        k //= len(call.pieces) * _count([axis[0] for axis in outer])
        self._check(call, m, n, k)
        memory = [*call.memory[:2], *call.memory[4:]]
        results = tuple(axis[3] for axis in axes)
        beta = 0
        for number, piece in enumerate(call.pieces):
            views = []
            for side, shape in enumerate(((m, k), (k, n))):
                view = piece[side]
                start = size(view.offset) * self.itemsize
                place = self.place(memory[2 * number + side]).plus(start)
                strides = tuple(axis[1 + side] for axis in axes)
                rows, columns = size(view.rows), size(view.columns)
                views.append(View(place, shape, rows, columns, strides))
            self.scratch.begin()
            if _count([axis[0] for axis in outer]) > MOST_TERMS:
                views, steps = self._with_whole_rows(views, sizes, outer)
                yield from steps
                yield from self._piece(views, sizes, results, out, beta)
                beta = 1
                continue
            for index in product(*(range(axis[0]) for axis in outer)):
                here = [
                    v.at(sum(i * axis[1 + s] for i, axis in zip(index, outer)), self)
                    for s, v in enumerate(views)
                ]
                self.scratch.begin()
                yield from self._piece(here, sizes, results, out, beta)
                beta = 1

    def _with_whole_rows(
        self, views: list[View], sizes: tuple[int, ...], outer: Sequence[tuple]
    ) -> tuple[list[View], list[Step]]:
        """Return copies of operands in which the axes that terms consist of are one."""
        (m, k), (_, n) = views[0].shape, views[1].shape
        extents = tuple(axis[0] for axis in outer)
        whole = _count(extents) * k
        made: list[View] = []
        steps: list[Step] = []
        for side, view in enumerate(views):
            kept = tuple(s if t else 1 for s, t in zip(sizes, view.batch))
            moved = tuple(axis[1 + side] for axis in outer)
            if side:
                inner, strides = (*extents, k, n), (*moved, view.rows, view.columns)
            else:
                inner, strides = (m, *extents, k), (view.rows, *moved, view.columns)
            shape = (*kept, *inner)
            lie = _row_major(shape)
            place = self.scratch.take(_count(shape) * self.itemsize)
            source = (view.place, (*view.batch, *strides))
            steps.append(self._copy((place, lie), source, shape))
            batch = tuple(t if s else 0 for t, s in zip(lie, view.batch))
            both = (whole, n) if side else (m, whole)
            made.append(View(place, both, both[1], 1, batch))
        return made, steps

    def _piece(
        self,
        views: list[View],
        sizes: tuple[int, ...],
        results: tuple[int, ...],
        out: Pointer,
        beta: int,
    ) -> Iterator[Step]:
        """Add one product to what there is, or begin with it."""
        inner = max(range(len(sizes)), key=sizes.__getitem__, default=None)
        others = [a for a in range(len(sizes)) if a != inner]
        whole = _count([sizes[a] for a in others]) > MOST_CALLS
        packed = []
        for view in views:
            backwards = inner is not None and view.batch[inner] < 0
            if whole or backwards or _flag(view) is None:
                step, view = self._packed(view, sizes, whole)
                yield step
            packed.append(view)
        left, right = packed
        m, n, k = left.shape[0], right.shape[1], left.shape[1]
        if whole:  # the matrices of all three lie one after another: one axis
            left, right = left._replace(batch=(m * k,)), right._replace(batch=(k * n,))
            sizes, results, inner, others = (_count(sizes),), (m * n,), 0, []
        count = 1 if inner is None else sizes[inner]
        strides = (0, 0, 0)
        if inner is not None:
            strides = (left.batch[inner], right.batch[inner], results[inner])
        for index in product(*(range(sizes[a]) for a in others)):
            offsets = tuple(
                sum(i * steps[a] for i, a in zip(index, others))
                for steps in (left.batch, right.batch, results)
            )
            yield self._gemm(left, right, out, beta, count, strides, offsets)

    def _gemm(
        self,
        left: View,
        right: View,
        out: Pointer,
        beta: int,
        count: int,
        strides: Sequence[int],
        offsets: Sequence[int],
    ) -> Gemm:
        m, n, k = left.shape[0], right.shape[1], left.shape[1]
        a, b, c = (
            place.plus(offset * self.itemsize)
            for place, offset in zip((left.place, right.place, out), offsets)
        )
        (left_flag, lda), (right_flag, ldb) = _flag(left), _flag(right)  # type: ignore[misc]
        return Gemm(
            dtype=self.dtype,
            flags=(right_flag, left_flag),
            m=n,
            n=m,
            k=k,
            a=(b, ldb, strides[1]),
            b=(a, lda, strides[0]),
            c=(c, n, strides[2]),
            beta=beta,
            count=count,
            tf32=self.tf32,
        )

    def _packed(
        self, view: View, sizes: tuple[int, ...], whole: bool = False
    ) -> tuple[Step, View]:
        """Return the copy of an operand by rows, and how that lies.

        Along axes of a batch for which the matrix is the same it is copied once, unless
        the `whole` batch is wanted.
        """
        rows, columns = view.shape
        kept = tuple(n if s or whole else 1 for n, s in zip(sizes, view.batch))
        strides = _row_major((*kept, rows, columns))
        place = self.scratch.take(_count((*kept, rows, columns)) * self.itemsize)
        step = self._copy(
            (place, strides),
            (view.place, (*view.batch, view.rows, view.columns)),
            (*kept, rows, columns),
        )
        batch = tuple(t if s else 0 for t, s in zip(strides, view.batch))
        return step, View(place, view.shape, columns, 1, batch)

    # -------------------------------------------------------- factorizations

    def _cholesky(self, call: RoutineCall) -> Iterator[Step]:
        b, out, n, count = self._square(call)
        if not n * count:
            return
        yield Copy(out, b, count * n * n * self.itemsize)
        flags = self._flags(count)
        yield Zero(flags, count * 4)
        if self._one_by_one(n, count):
            room = self.vendor.room("potrf", self.dtype, n)
            work = self.scratch.take(room)
            for i in range(count):
                matrix = out.plus(i * n * n * self.itemsize)
                info = flags.plus(4 * i)
                yield Potrf(self.dtype, n, matrix, info, work, room, None)
        else:
            table = self.scratch.take(8 * count)
            yield self._addresses(table, out, (count,), (n * n,))
            yield Potrf(self.dtype, n, table, flags, flags, 0, count)
        yield self._mark("nan", flags, out, (count,), (n * n,), n, n + 1)
        yield self._over(helpers.triangle(self.dtype), count * n * n, (out, flags, n))

    def _lu(self, call: RoutineCall) -> Iterator[Step]:
        b, out, n, count = self._square(call)
        if not n * count:
            return
        shape, by_rows = (count, n, n), (n * n, n, 1)
        by_columns, final = (n * n, 1, n), ((n + 3) * n, n, 1)
        work = self.scratch.take(count * n * n * self.itemsize)
        swaps = self.scratch.take(count * n * 4)
        flags = self._flags(count)
        yield self._copy((work, by_columns), (b, by_rows), shape)
        if self._one_by_one(n, count):
            room = self.scratch.take(self.vendor.room("getrf", self.dtype, n))
            for i in range(count):
                matrix = work.plus(i * n * n * self.itemsize)
                pivots, info = swaps.plus(4 * n * i), flags.plus(4 * i)
                yield Getrf(self.dtype, n, matrix, pivots, info, room, None)
        else:
            table = self.scratch.take(8 * count)
            yield self._addresses(table, work, (count,), (n * n,))
            yield Getrf(self.dtype, n, table, swaps, flags, flags, count)
        yield self._copy((out, final), (work, by_columns), shape)
        yield self._over(helpers.pivots(self.dtype), count, (out, swaps, n))

    def _trsm(self, call: RoutineCall) -> Iterator[Step]:
        size = self.size
        n, k = size(call.words["n"]), size(call.words["k"])
        axes = [tuple(size(s) for s in axis) for axis in reversed(call.axes)]
        sizes = tuple(axis[0] for axis in axes)
        count = _count(sizes)
        if not n * k * count:
            return
        self._check(call, n, k)
        triangle, lower, unit = self._triangle(call, n, tuple(a[1] for a in axes))
        b, out = (self.place(m) for m in call.memory[1:3])
        if b != out:
            yield Copy(out, b, count * n * k * self.itemsize)
        flags = self._flags(count)
        if not unit:
            yield Zero(flags, count * 4)
            diagonal = triangle.rows + triangle.columns
            place, batch = triangle.place, triangle.batch
            yield self._mark("zero", flags, place, sizes, batch, n, diagonal)
        if _flag(triangle) is None:
            step, triangle = self._packed(triangle, sizes)
            yield step
        flag, lda = _flag(triangle)  # type: ignore[misc]
        # by columns, X.T @ E.T = B.T; what lies by rows is, by columns, E.T itself
        uplo = (
            (UPPER if lower else LOWER) if flag == OP_N else (LOWER if lower else UPPER)
        )
        given = (self.dtype, uplo, flag, UNIT if unit else NON_UNIT, k, n)
        if self._one_by_one(n, count):
            for number, index in enumerate(product(*map(range, sizes))):
                offset = sum(i * s for i, s in zip(index, triangle.batch))
                a = triangle.place.plus(offset * self.itemsize)
                x = out.plus(number * n * k * self.itemsize)
                yield Trsm(*given, a, lda, x, k, None)
        else:
            tables = self.scratch.take(8 * count), self.scratch.take(8 * count)
            yield self._addresses(tables[0], triangle.place, sizes, triangle.batch)
            yield self._addresses(tables[1], out, (count,), (n * k,))
            yield Trsm(*given, tables[0], lda, tables[1], k, count)
        if not unit:
            code = helpers.poison(self.dtype)
            yield self._over(code, count * n * k, (out, flags, n * k))

    def _triangle(
        self, call: RoutineCall, n: int, batch: tuple[int, ...]
    ) -> tuple[View, bool, bool]:
        """Return ``op(T)`` as it lies, whether it is lower, and of unit diagonal.

        The words of a call that goes from the last row to the first begin there.
        """
        lower, transposed, unit = call.nodes[0].params
        rows, columns = (self.size(call.words[w]) for w in ("a_row", "a_column"))
        start = self.size(call.places[0])
        if lower == transposed:
            rows, columns = -rows, -columns
            start -= (n - 1) * (rows + columns)
        place = self.place(call.memory[0]).plus(start * self.itemsize)
        return View(place, (n, n), rows, columns, batch), lower != transposed, unit

    def _square(self, call: RoutineCall) -> tuple[Pointer, Pointer, int, int]:
        """Return operand, result and rows of a factorization, and their number."""
        n = self.size(call.words["n"])
        self._check(call, n)
        count = _count([self.size(axis[0]) for axis in call.axes])
        return self.place(call.memory[1]), self.place(call.memory[2]), n, count

    def _one_by_one(self, n: int, count: int) -> bool:
        return count == 1 or (count <= FEW and n >= LARGE)

    def _check(self, call: Any, *sizes: int) -> None:
        node = call.nodes[0]
        if max(sizes) > _MOST:
            raise AllocationError(
                f"{node.label()}{made_at(node.origin)}: {max(sizes):,} rows or columns "
                "are more than the CUDA libraries count. Make the matrices smaller."
            )

    # --------------------------------------------------------------- helpers

    def _flags(self, count: int) -> Pointer:
        return self.scratch.take(4 * count)

    def _over(
        self, code: Code, total: int, arguments: Sequence[Pointer | int]
    ) -> Launch:
        threads = 4 if self.simulated else THREADS
        most = 1 if self.simulated else 4096
        blocks = min(most, -(-total // threads))
        return Launch(code, blocks, threads, (*arguments, total), code.name)

    def _copy(
        self,
        target: tuple[Pointer, Sequence[int]],
        source: tuple[Pointer, Sequence[int]],
        shape: Sequence[int],
    ) -> Launch:
        code = helpers.strided_copy(self.dtype, len(shape))
        (to, first), (of, second) = self._apart(target[0]), self._apart(source[0])
        arguments: tuple[Pointer | int, ...]
        arguments = (to, of, first, second, *shape, *target[1], *source[1])
        return self._over(code, _count(shape), arguments)

    def _apart(self, place: Pointer) -> tuple[Pointer, int]:
        """Return where the memory that a place is in begins, and the element it is."""
        return Pointer(place.base), place.offset // self.itemsize

    def _addresses(
        self,
        table: Pointer,
        first: Pointer,
        sizes: Sequence[int],
        strides: Sequence[int],
    ) -> Launch:
        bytes_ = [s * self.itemsize for s in strides]
        code = helpers.addresses(len(sizes))
        return self._over(code, _count(sizes), (table, first, *sizes, *bytes_))

    def _mark(
        self,
        what: str,
        flags: Pointer,
        place: Pointer,
        sizes: Sequence[int],
        strides: Sequence[int],
        n: int,
        diagonal: int,
    ) -> Launch:
        code = helpers.mark(what, self.dtype, len(sizes) + 1)
        x, first = self._apart(place)
        arguments: tuple[Pointer | int, ...]
        arguments = (flags, x, first, *sizes, n, *strides, diagonal)
        return self._over(code, _count(sizes) * n, arguments)


def check_dtype(call: ProductCall | RoutineCall) -> None:
    """Raise `CompileError` for a product or routine of a dtype no library has."""
    node = call.nodes[0]
    if node.dtype.name not in ("float32", "float64"):
        raise CompileError(
            f"{node.op.name}: no library has it in {node.dtype.name}, for "
            f"{node.label()}{made_at(node.origin)}, on CUDA. Convert with astype, or "
            'compile with backend="cpu".'
        )


def _flag(view: View) -> tuple[int, int] | None:
    """Return how the libraries read a matrix that lies by rows: a flag and its stride.

    The flag is that of its transpose, for operands have changed places. None if there
    is no such flag.
    """
    rows, columns = view.shape
    across = view.rows if rows > 1 else max(columns, 1)
    along = view.columns if columns > 1 else 1
    if along == 1 and max(columns, 1) <= across <= _MOST:
        return OP_N, across
    across = view.columns if columns > 1 else max(rows, 1)
    along = view.rows if rows > 1 else 1
    if along == 1 and max(rows, 1) <= across <= _MOST:
        return OP_T, across
    return None


def _count(sizes: Sequence[int]) -> int:
    out = 1
    for n in sizes:
        out *= n
    return out


def _row_major(shape: Sequence[int]) -> tuple[int, ...]:
    strides, stride = [], 1
    for n in reversed(shape):
        strides.append(stride)
        stride *= n
    return tuple(reversed(strides))
