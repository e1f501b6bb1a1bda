"""Calls of cuBLAS and cuSOLVER, by the signatures that CuPy gives them.

Each is plain data with a method that starts it. The libraries take matrices by columns;
`library` turns graphc's, by rows, into these. `Vendor` holds the libraries: CuPy's on a
device, `host` for the simulator and for tests, whose functions do what the libraries'
documentation says on the host's memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.backends.cuda.launches import Pointer

Address = Callable[[Pointer], int]

# Values of cuBLAS's enumerations; `OP_N` and so on are those of its header.
OP_N, OP_T = 0, 1
LOWER, UPPER = 0, 1
RIGHT = 1
NON_UNIT, UNIT = 0, 1
DEFAULT_MATH, TF32_MATH = 0, 3

ONE = {d: np.ones(1, d) for d in ("float32", "float64")}
ZERO = {d: np.zeros(1, d) for d in ("float32", "float64")}


def letter(dtype: str) -> str:
    """Return the letter of a dtype, as in BLAS."""
    return {"float32": "s", "float64": "d"}[dtype]


class Vendor:
    """The libraries, and this process's handles of them.

    Parameters
    ----------
    blas, solver : modules
        With the functions of `cupy_backends.cuda.libs.cublas` and `.cusolver`.
    """

    def __init__(self, blas: Any, solver: Any):
        self.blas = blas
        self.solver = solver
        self._blas_handle: int | None = None
        self._solver_handle: int | None = None
        self._math = DEFAULT_MATH

    def blas_handle(self, tf32: bool = False) -> int:
        """Return the handle of cuBLAS, in the mode that a product asks for."""
        if self._blas_handle is None:
            self._blas_handle = self.blas.create()
            self.blas.setMathMode(self._blas_handle, self._math)
        math = TF32_MATH if tf32 else DEFAULT_MATH
        if math != self._math:
            self.blas.setMathMode(self._blas_handle, math)
            self._math = math
        return self._blas_handle

    def solver_handle(self) -> int:
        """Return the handle of cuSOLVER."""
        if self._solver_handle is None:
            self._solver_handle = self.solver.create()
        return self._solver_handle

    def use(self, stream: int, library: str) -> None:
        """Let what follows run on a stream."""
        if library == "blas":
            self.blas.setStream(self.blas_handle(), stream)
        else:
            self.solver.setStream(self.solver_handle(), stream)

    def room(self, name: str, dtype: str, n: int) -> int:
        """Return the bytes that a factorization of one matrix needs beside it."""
        kind = letter(dtype)
        if name == "potrf":
            size = getattr(self.solver, f"{kind}potrf_bufferSize")
            count = size(self.solver_handle(), LOWER, n, 0, n)
        else:
            size = getattr(self.solver, f"{kind}getrf_bufferSize")
            count = size(self.solver_handle(), n, n, 0, n)
        return int(count) * np.dtype(dtype).itemsize


@dataclass(frozen=True)
class Gemm:
    """``C = op(A) op(B) + beta C`` for each of `count` matrices, by columns.

    Attributes
    ----------
    dtype : str
    flags : (int, int)
        The operations on A and B: `OP_N` or `OP_T`.
    m, n, k : int
    a, b, c : (Pointer, int, int)
        Where the first matrix is, the leading dimension, and the elements from one
        matrix to the next.
    beta : int
        0 or 1.
    count : int
    tf32 : bool
        Whether factors may be rounded to 10 bits, which tensor cores are fastest at.
    """

    dtype: str
    flags: tuple[int, int]
    m: int
    n: int
    k: int
    a: tuple[Pointer, int, int]
    b: tuple[Pointer, int, int]
    c: tuple[Pointer, int, int]
    beta: int
    count: int
    tf32: bool = False
    library = "blas"

    @property
    def label(self) -> str:
        return f"gemm {self.m} {self.n} {self.k} x {self.count}"

    def run(self, vendor: Vendor, address: Address) -> None:
        """Start the product."""
        handle = vendor.blas_handle(self.tf32 and self.dtype == "float32")
        alpha = ONE[self.dtype].ctypes.data
        beta = (ONE if self.beta else ZERO)[self.dtype].ctypes.data
        (a, lda, sa), (b, ldb, sb), (c, ldc, sc) = self.a, self.b, self.c
        m, n, k = self.m, self.n, self.k
        at, bt, ct = address(a), address(b), address(c)
        kind = letter(self.dtype)
        if self.count == 1:
            gemm = getattr(vendor.blas, f"{kind}gemm")
            gemm(handle, *self.flags, m, n, k, alpha, at, lda, bt, ldb, beta, ct, ldc)
            return
        gemm = getattr(vendor.blas, f"{kind}gemmStridedBatched")
        left, right, out = (at, lda, sa), (bt, ldb, sb), (ct, ldc, sc)
        gemm(
            *(handle, *self.flags, m, n, k),
            *(alpha, *left, *right, beta, *out, self.count),
        )


@dataclass(frozen=True)
class Trsm:
    """``X op(A) = B``, X in B's place, for one m by n matrix or a batch, by columns.

    Attributes
    ----------
    a, b : Pointer
        The matrices, or arrays of `count` addresses.
    """

    dtype: str
    uplo: int
    operation: int
    diagonal: int
    m: int
    n: int
    a: Pointer
    lda: int
    b: Pointer
    ldb: int
    count: int | None
    library = "blas"

    @property
    def label(self) -> str:
        return f"trsm {self.m} {self.n}"

    def run(self, vendor: Vendor, address: Address) -> None:
        """Start the solve."""
        handle = vendor.blas_handle()
        kind, alpha = letter(self.dtype), ONE[self.dtype].ctypes.data
        given = (handle, RIGHT, self.uplo, self.operation, self.diagonal, self.m)
        places = (address(self.a), self.lda, address(self.b), self.ldb)
        if self.count is None:
            getattr(vendor.blas, f"{kind}trsm")(*given, self.n, alpha, *places)
        else:
            solve = getattr(vendor.blas, f"{kind}trsmBatched")
            solve(*given, self.n, alpha, *places, self.count)


@dataclass(frozen=True)
class Potrf:
    """The lower Cholesky factor of a matrix, or of a batch given by addresses."""

    dtype: str
    n: int
    a: Pointer
    info: Pointer
    work: Pointer
    room: int
    count: int | None
    library = "solver"

    @property
    def label(self) -> str:
        return f"potrf {self.n}"

    def run(self, vendor: Vendor, address: Address) -> None:
        """Start the factorization."""
        kind, handle = letter(self.dtype), vendor.solver_handle()
        a, info = address(self.a), address(self.info)
        if self.count is None:
            elements = self.room // np.dtype(self.dtype).itemsize
            work = address(self.work)
            factor = getattr(vendor.solver, f"{kind}potrf")
            factor(handle, LOWER, self.n, a, self.n, work, elements, info)
        else:
            factor = getattr(vendor.solver, f"{kind}potrfBatched")
            factor(handle, LOWER, self.n, a, self.n, info, self.count)


@dataclass(frozen=True)
class Getrf:
    """LU factors of a matrix, or of a batch given by addresses; pivots count from 1."""

    dtype: str
    n: int
    a: Pointer
    pivots: Pointer
    info: Pointer
    work: Pointer
    count: int | None

    @property
    def library(self) -> str:
        return "solver" if self.count is None else "blas"

    @property
    def label(self) -> str:
        return f"getrf {self.n}"

    def run(self, vendor: Vendor, address: Address) -> None:
        """Start the factorization."""
        kind, n = letter(self.dtype), self.n
        a, pivots, info = map(address, (self.a, self.pivots, self.info))
        if self.count is None:
            factor = getattr(vendor.solver, f"{kind}getrf")
            handle = vendor.solver_handle()
            factor(handle, n, n, a, n, address(self.work), pivots, info)
        else:
            factor = getattr(vendor.blas, f"{kind}getrfBatched")
            factor(vendor.blas_handle(), n, a, n, pivots, info, self.count)
