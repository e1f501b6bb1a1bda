"""Matrix products: SciPy's BLAS, called single-threaded on tiles of the result.

The pool's threads share the tiles, which are cut by size alone. BLAS's own threads
stay asleep: two pools awake at once fight for the cores. While a function with
products runs, SciPy's OpenBLAS is set to one thread, and back when the last such
function of the process has ended; NumPy and PyTorch have a BLAS of their own.
"""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache, partial
from typing import Any

from graphc.backends.cpu import jit
from graphc.backends.cpu.cache import machine_code

WORDS = (
    *("a", "b", "c", "m", "n", "k", "lda", "ldb"),
    *("ta", "tb", "by_column", "axes"),
)
"""Argument words of a product. For each batch axis, the innermost first, there follow
its size, and from one matrix to the next the elements of a and of b."""


def _product(letter: str, kind: str) -> str:
    """Return the kernel of one dtype: rows or columns lo to hi of all results."""
    loads = "\n".join(
        f"  %{w}_p = getelementptr i64, ptr %words, i64 {i}\n  %{w} = load i64, ptr %{w}_p"
        for i, w in enumerate(WORDS)
    )
    return f"""
declare void @graphc_{letter}gemm(ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr)

define void @graphc_product_{letter}(i64 %lo, i64 %hi, i64 %chunk, ptr %words) nounwind {{
entry:
  %transa = alloca i8
  %transb = alloca i8
  %wide = alloca i32
  %tall = alloca i32
  %deep = alloca i32
  %lda_ = alloca i32
  %ldb_ = alloca i32
  %ldc_ = alloca i32
  %one = alloca {kind}
  %zero = alloca {kind}
{loads}
  %ta1 = icmp ne i64 %ta, 0
  %tb1 = icmp ne i64 %tb, 0
  %columns = icmp ne i64 %by_column, 0
  %la = select i1 %ta1, i8 84, i8 78
  %lb = select i1 %tb1, i8 84, i8 78
  store i8 %la, ptr %transa
  store i8 %lb, ptr %transb
  %k32 = trunc i64 %k to i32
  store i32 %k32, ptr %deep
  %lda32 = trunc i64 %lda to i32
  store i32 %lda32, ptr %lda_
  %ldb32 = trunc i64 %ldb to i32
  store i32 %ldb32, ptr %ldb_
  %n1 = call i64 @llvm.smax.i64(i64 %n, i64 1)
  %ldc32 = trunc i64 %n1 to i32
  store i32 %ldc32, ptr %ldc_
  store {kind} 1.0, ptr %one
  store {kind} 0.0, ptr %zero
  %step_a = select i1 %ta1, i64 1, i64 %lda
  %step_b = select i1 %tb1, i64 %ldb, i64 1
  %extent = select i1 %columns, i64 %n, i64 %m
  %mn = mul i64 %m, %n
  %axes_end = getelementptr i64, ptr %axes_p, i64 1
  %a0 = inttoptr i64 %a to ptr
  %b0 = inttoptr i64 %b to ptr
  %c0 = inttoptr i64 %c to ptr
  br label %head
head:
  %p = phi i64 [ %lo, %entry ], [ %next, %multiply ]
  %more = icmp slt i64 %p, %hi
  br i1 %more, label %body, label %done
body:
  %batch = udiv i64 %p, %extent
  %start = urem i64 %p, %extent
  %left = sub i64 %extent, %start
  %wanted = sub i64 %hi, %p
  %count = call i64 @llvm.smin.i64(i64 %left, i64 %wanted)
  %next = add i64 %p, %count
  %row = select i1 %columns, i64 0, i64 %start
  %col = select i1 %columns, i64 %start, i64 0
  %m_ = select i1 %columns, i64 %m, i64 %count
  %n_ = select i1 %columns, i64 %count, i64 %n
  %m32 = trunc i64 %m_ to i32
  %n32 = trunc i64 %n_ to i32
  store i32 %m32, ptr %tall
  store i32 %n32, ptr %wide
  br label %place
place:
  %axis = phi i64 [ 0, %body ], [ %axis1, %stride ]
  %rest = phi i64 [ %batch, %body ], [ %rest1, %stride ]
  %ab = phi i64 [ 0, %body ], [ %ab1, %stride ]
  %bb = phi i64 [ 0, %body ], [ %bb1, %stride ]
  %inner = icmp slt i64 %axis, %axes
  br i1 %inner, label %stride, label %multiply
stride:
  %triple = mul i64 %axis, 3
  %size_p = getelementptr i64, ptr %axes_end, i64 %triple
  %size = load i64, ptr %size_p
  %sa_p = getelementptr i64, ptr %size_p, i64 1
  %sa = load i64, ptr %sa_p
  %sb_p = getelementptr i64, ptr %size_p, i64 2
  %sb = load i64, ptr %sb_p
  %at = urem i64 %rest, %size
  %rest1 = udiv i64 %rest, %size
  %am = mul i64 %at, %sa
  %ab1 = add i64 %ab, %am
  %bm = mul i64 %at, %sb
  %bb1 = add i64 %bb, %bm
  %axis1 = add i64 %axis, 1
  br label %place
multiply:
  %ar = mul i64 %row, %step_a
  %ao = add i64 %ab, %ar
  %bc = mul i64 %col, %step_b
  %bo = add i64 %bb, %bc
  %cb = mul i64 %batch, %mn
  %cr = mul i64 %row, %n
  %co1 = add i64 %cb, %cr
  %co = add i64 %co1, %col
  %ap = getelementptr {kind}, ptr %a0, i64 %ao
  %bp = getelementptr {kind}, ptr %b0, i64 %bo
  %cp = getelementptr {kind}, ptr %c0, i64 %co
  call void @graphc_{letter}gemm(ptr %transb, ptr %transa, ptr %wide, ptr %tall, ptr %deep, ptr %one, ptr %bp, ptr %ldb_, ptr %ap, ptr %lda_, ptr %zero, ptr %cp, ptr %ldc_)
  br label %head
done:
  ret void
}}
"""


_AROUND = ("before", "after")

_THREADS = """
declare i32 @graphc_blas_get_threads()
declare void @graphc_blas_set_threads(i32)
@lock = internal global i64 0
@users = internal global i64 0
@before = internal global i32 1
@closed = internal global i64 0
declare i32 @usleep(i32)

define internal void @acquire() nounwind {
entry:
  br label %try
try:
  %pair = cmpxchg ptr @lock, i64 0, i64 1 acquire monotonic
  %won = extractvalue {i64, i1} %pair, 1
  br i1 %won, label %done, label %try
done:
  ret void
}

define void @graphc_blas_enter() nounwind {
entry:
  br label %try
try:
  call void @acquire()
  %shut = load i64, ptr @closed
  %open = icmp eq i64 %shut, 0
  br i1 %open, label %count, label %stay
stay:
  store atomic i64 0, ptr @lock release, align 8
  br label %try
count:
  %n = load i64, ptr @users
  %n1 = add i64 %n, 1
  store i64 %n1, ptr @users
  %first = icmp eq i64 %n, 0
  br i1 %first, label %set, label %done
set:
  %t = call i32 @graphc_blas_get_threads()
  store i32 %t, ptr @before
  call void @graphc_blas_set_threads(i32 1)
  br label %done
done:
  store atomic i64 0, ptr @lock release, align 8
  ret void
}

define void @graphc_blas_leave() nounwind {
entry:
  call void @acquire()
  %n = load i64, ptr @users
  %n1 = sub i64 %n, 1
  store i64 %n1, ptr @users
  %last = icmp eq i64 %n1, 0
  br i1 %last, label %set, label %done
set:
  %t = load i32, ptr @before
  call void @graphc_blas_set_threads(i32 %t)
  br label %done
done:
  store atomic i64 0, ptr @lock release, align 8
  ret void
}
"""

_FORK = """
define void @graphc_blas_before_fork() nounwind {
entry:
  call void @acquire()
  store i64 1, ptr @closed
  br label %look
look:
  %tries = phi i64 [ 0, %entry ], [ %more, %drain ]
  %n = load i64, ptr @users
  %empty = icmp eq i64 %n, 0
  %late = icmp sge i64 %tries, 10000
  %go = or i1 %empty, %late
  br i1 %go, label %done, label %drain
drain:
  store atomic i64 0, ptr @lock release, align 8
  %s = call i32 @usleep(i32 100)
  call void @acquire()
  %more = add i64 %tries, 1
  br label %look
done:
  ret void
}

define void @graphc_blas_after_fork(i64 %child) nounwind {
entry:
  store i64 0, ptr @closed
  %n = load i64, ptr @users
  %some = icmp ne i64 %n, 0
  %in_child = icmp ne i64 %child, 0
  %lost = and i1 %some, %in_child
  br i1 %lost, label %forget, label %done
forget:
  store i64 0, ptr @users
  %t = load i32, ptr @before
  call void @graphc_blas_set_threads(i32 %t)
  br label %done
done:
  store atomic i64 0, ptr @lock release, align 8
  ret void
}
"""
"""What happens around a fork: it waits up to a second for products that other threads
are in, since BLAS's own locks would stay taken in the child, and lets none begin."""

_NO_THREADS = """
define void @graphc_blas_enter() nounwind {
  ret void
}
define void @graphc_blas_leave() nounwind {
  ret void
}
"""


@lru_cache(maxsize=1)
def prepare() -> None:
    """Make the product kernels known to compiled code, once in a process."""
    with jit.guarded():
        _prepare()


def _prepare() -> None:
    from scipy.linalg import cython_blas

    for letter in "sd":
        jit.add_symbol(f"graphc_{letter}gemm", _address(cython_blas, f"{letter}gemm"))
    control = thread_control()
    if control is not None:
        jit.add_symbol("graphc_blas_get_threads", control[0])
        jit.add_symbol("graphc_blas_set_threads", control[1])
    text = "".join(
        [
            "declare i64 @llvm.smin.i64(i64, i64)\ndeclare i64 @llvm.smax.i64(i64, i64)\n",
            _product("s", "float"),
            _product("d", "double"),
            _NO_THREADS if control is None else _THREADS + _FORK,
        ]
    )
    names = [
        *("graphc_product_s", "graphc_product_d"),
        *("graphc_blas_enter", "graphc_blas_leave"),
    ]
    forks = [] if control is None else [f"graphc_blas_{w}_fork" for w in _AROUND]
    addresses = jit.load(machine_code(text), [*names, *forks])
    for name, address in zip(names, addresses):
        jit.add_symbol(name, address)
    if forks and hasattr(os, "register_at_fork"):
        # PYFUNCTYPE keeps the GIL: whoever waits to enter with it would wait for ever
        before = ctypes.PYFUNCTYPE(None)(addresses[-2])
        after = ctypes.PYFUNCTYPE(None, ctypes.c_int64)(addresses[-1])
        os.register_at_fork(
            before=before,
            after_in_parent=partial(after, 0),
            after_in_child=partial(after, 1),
        )


def _address(module: Any, name: str) -> int:
    """Return the address of a function a Cython module exports."""
    capsule = module.__pyx_capi__[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    api.PyCapsule_GetName.argtypes = [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))


def thread_control() -> tuple[int, int] | None:
    """Return the addresses that get and set SciPy's BLAS threads, None if unknown."""
    library = scipy_blas()
    if library is None or library.internal_api != "openblas":
        return None
    for prefix in ("scipy_openblas", "openblas"):
        for suffix in ("", "64_", "_64"):
            try:
                get = getattr(library.dynlib, f"{prefix}_get_num_threads{suffix}")
                put = getattr(library.dynlib, f"{prefix}_set_num_threads{suffix}")
            except AttributeError:
                continue
            pointers = (ctypes.cast(f, ctypes.c_void_p).value for f in (get, put))
            return tuple(pointers)  # type: ignore[return-value]
    return None


def scipy_blas() -> Any:
    """Return threadpoolctl's view of the BLAS that SciPy calls, None if not found."""
    from threadpoolctl import ThreadpoolController

    libraries = [
        c
        for c in ThreadpoolController().lib_controllers
        if c.user_api == "blas" and "numpy" not in c.filepath
    ]
    return next((c for c in libraries if "scipy" in c.filepath), None) or (
        libraries[0] if libraries else None
    )
