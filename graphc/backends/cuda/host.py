"""The functions of cuBLAS and cuSOLVER that graphc calls, on the host's memory.

They take what CuPy's functions of these names take, addresses included, and do what
the libraries' documentation says they do, on matrices by columns. The simulator runs
on them, and so do tests of flags, strides and addresses, which need no device.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np


def _vector(address: int, count: int, dtype: Any) -> np.ndarray:
    """Return the memory at an address as an array."""
    dtype = np.dtype(dtype)
    if not count:
        return np.zeros(0, dtype)
    raw = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    return np.frombuffer(raw, dtype)


def _matrix(address: int, rows: int, columns: int, stride: int, dtype: Any) -> Any:
    """Return a matrix by columns, `stride` elements from one to the next."""
    if stride < max(1, rows):
        raise ValueError(f"the leading dimension {stride} is less than {rows} rows")
    if not rows * columns:
        return np.zeros((rows, columns), dtype)
    flat = _vector(address, (columns - 1) * stride + rows, dtype)
    itemsize = flat.itemsize
    return np.lib.stride_tricks.as_strided(
        flat, (rows, columns), (itemsize, stride * itemsize)
    )


def _substituted(t: np.ndarray, b: np.ndarray, upper: bool) -> np.ndarray:
    """Solve row by row; zeros on the diagonal divide, as the libraries let them."""
    out = np.array(b)
    with np.errstate(all="ignore"):
        for i in range(len(t) - 1, -1, -1) if upper else range(len(t)):
            done = slice(i + 1, None) if upper else slice(0, i)
            out[i] = (out[i] - t[i, done] @ out[done]) / t[i, i]
    return out


def _functions(dtype: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the functions of both libraries for one dtype, without their letter."""
    itemsize = np.dtype(dtype).itemsize

    def gemm(
        handle: int, transa: int, transb: int, m: int, n: int, k: int,
        alpha: int, A: int, lda: int, B: int, ldb: int, beta: int, C: int, ldc: int,
    ) -> None:  # fmt: skip
        a = _matrix(A, k if transa else m, m if transa else k, lda, dtype)
        b = _matrix(B, n if transb else k, k if transb else n, ldb, dtype)
        c = _matrix(C, m, n, ldc, dtype)
        (x,), (y,) = _vector(alpha, 1, dtype), _vector(beta, 1, dtype)
        made = x * ((a.T if transa else a) @ (b.T if transb else b))
        c[...] = made + y * c if y else made

    def gemm_strided_batched(
        handle: int, transa: int, transb: int, m: int, n: int, k: int,
        alpha: int, A: int, lda: int, strideA: int,
        B: int, ldb: int, strideB: int, beta: int,
        C: int, ldc: int, strideC: int, batchCount: int,
    ) -> None:  # fmt: skip
        for i in range(batchCount):
            at = [p + i * s * itemsize for p, s in ((A, strideA), (B, strideB))]
            c = C + i * strideC * itemsize
            given = (alpha, at[0], lda, at[1], ldb, beta, c, ldc)
            gemm(handle, transa, transb, m, n, k, *given)

    def trsm(
        handle: int, side: int, uplo: int, trans: int, diag: int, m: int, n: int,
        alpha: int, Aarray: int, lda: int, Barray: int, ldb: int,
    ) -> None:  # fmt: skip
        order = n if side else m
        a = _matrix(Aarray, order, order, lda, dtype)
        b = _matrix(Barray, m, n, ldb, dtype)
        t = np.triu(a) if uplo else np.tril(a)
        if diag:
            np.fill_diagonal(t, 1)
        t = t.T if trans else t
        (x,) = _vector(alpha, 1, dtype)
        right = x * (b.T if side else b)
        upper = (bool(uplo) != bool(trans)) != bool(side)
        solved = _substituted(t.T if side else t, right, upper)
        b[...] = solved.T if side else solved

    def trsm_batched(
        handle: int, side: int, uplo: int, trans: int, diag: int, m: int, n: int,
        alpha: int, Aarray: int, lda: int, Barray: int, ldb: int, batchCount: int,
    ) -> None:  # fmt: skip
        tables = (_vector(t, batchCount, np.int64) for t in (Aarray, Barray))
        for a, b in zip(*tables):
            given = (alpha, int(a), lda, int(b), ldb)
            trsm(handle, side, uplo, trans, diag, m, n, *given)

    def potrf(
        handle: int, uplo: int, n: int, A: int, lda: int,
        work: int, lwork: int, devInfo: int,
    ) -> None:  # fmt: skip
        a = _matrix(A, n, n, lda, dtype)
        info = _vector(devInfo, 1, np.int32)
        lower = np.triu(a).T if uplo else np.tril(a)
        full = lower + np.tril(lower, -1).T
        try:
            factor = np.linalg.cholesky(full)
        except np.linalg.LinAlgError:
            info[0] = 1
            return
        info[0] = 0
        if uplo:
            a[...] = np.where(np.triu(np.ones((n, n), bool)), factor.T, a)
        else:
            a[...] = np.where(np.tril(np.ones((n, n), bool)), factor, a)

    def potrf_batched(
        handle: int, uplo: int, n: int, Aarray: int, lda: int,
        infoArray: int, batchSize: int,
    ) -> None:  # fmt: skip
        for i, a in enumerate(_vector(Aarray, batchSize, np.int64)):
            potrf(handle, uplo, n, int(a), lda, 0, 0, infoArray + 4 * i)

    def getrf(
        handle: int, m: int, n: int, A: int, lda: int,
        work: int, devIpiv: int, devInfo: int,
    ) -> None:  # fmt: skip
        from scipy.linalg import lapack

        a = _matrix(A, m, n, lda, dtype)
        factor = lapack.sgetrf if itemsize == 4 else lapack.dgetrf
        packed, swaps, info = factor(a)
        a[...] = packed
        _vector(devIpiv, min(m, n), np.int32)[:] = swaps + 1
        _vector(devInfo, 1, np.int32)[0] = info

    def getrf_batched(
        handle: int, n: int, Aarray: int, lda: int,
        PivotArray: int, infoArray: int, batchSize: int,
    ) -> None:  # fmt: skip
        for i, a in enumerate(_vector(Aarray, batchSize, np.int64)):
            places = (PivotArray + 4 * n * i, infoArray + 4 * i)
            getrf(handle, n, n, int(a), lda, 0, *places)

    def potrf_buffer_size(handle: int, uplo: int, n: int, A: int, lda: int) -> int:
        return n

    def getrf_buffer_size(handle: int, m: int, n: int, A: int, lda: int) -> int:
        return n

    blas = {
        "gemm": gemm,
        "gemmStridedBatched": gemm_strided_batched,
        "trsm": trsm,
        "trsmBatched": trsm_batched,
        "getrfBatched": getrf_batched,
    }
    solver = {
        "potrf": potrf,
        "potrf_bufferSize": potrf_buffer_size,
        "potrfBatched": potrf_batched,
        "getrf": getrf,
        "getrf_bufferSize": getrf_buffer_size,
    }
    return blas, solver


def _libraries() -> tuple[SimpleNamespace, SimpleNamespace]:
    blas, solver = SimpleNamespace(), SimpleNamespace()
    for library in (blas, solver):
        library.create = lambda: 1
        library.setStream = lambda handle, streamId: None
    blas.setMathMode = lambda handle, mode: None
    for letter, dtype in (("s", np.float32), ("d", np.float64)):
        for library, functions in zip((blas, solver), _functions(dtype)):
            for name, function in functions.items():
                setattr(library, letter + name, function)
    return blas, solver


blas, solver = _libraries()
