"""Scalar code as functions of arrays: what tests and benchmarks of it call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.backends.cpu import jit
from graphc.backends.cpu.library import load_externals
from graphc.backends.cpu.scalars import LlvmModule, LlvmScalars, Value, memory_type


class ScalarFunction(NamedTuple):
    """Scalar code to be compiled into a loop over arrays.

    Attributes
    ----------
    name : str
        A unique identifier.
    build : callable
        ``(k, *values) -> value``.
    operands : tuple of np.dtype
    """

    name: str
    build: Callable[..., Value]
    operands: tuple[np.dtype, ...]


def loop_text(module: LlvmModule, function: ScalarFunction) -> tuple[str, np.dtype]:
    """Return the LLVM function ``name(n, inputs..., out)`` and its result's dtype."""
    k = LlvmScalars(module)
    values = []
    for position, dtype in enumerate(function.operands):
        values.append(k.load(_element(k, f"%a{position}", dtype), dtype))
    result = function.build(k, *values)
    k.store(result, _element(k, "%out", result.dtype))
    pointers = [f"ptr noalias %a{p}" for p in range(len(values))]
    parameters = ", ".join(["i64 %n", *pointers, "ptr noalias %out"])
    lines = [
        f"define void @{function.name}({parameters}) {{",
        "entry:",
        "  %some = icmp sgt i64 %n, 0",
        "  br i1 %some, label %loop, label %done",
        "loop:",
        "  %i = phi i64 [ 0, %entry ], [ %next, %loop ]",
        *k.lines,
        "  %next = add nuw nsw i64 %i, 1",
        "  %more = icmp slt i64 %next, %n",
        "  br i1 %more, label %loop, label %done",
        "done:",
        "  ret void",
        "}",
    ]
    return "\n".join(lines), result.dtype


def _element(k: LlvmScalars, base: str, dtype: np.dtype) -> str:
    address = k.fresh("p")
    kind = memory_type(dtype)
    k.lines.append(f"  {address} = getelementptr inbounds {kind}, ptr {base}, i64 %i")
    return address


def compile_functions(
    functions: Sequence[ScalarFunction],
) -> dict[str, Callable[..., Any]]:
    """Compile functions into one module.

    Returns
    -------
    dict
        For each name a callable on contiguous one-dimensional arrays of the
        operands' dtypes, which returns a new array.
    """
    module = LlvmModule()
    texts = [loop_text(module, f) for f in functions]
    source = "\n".join([*(text for text, _ in texts), module.text()])
    names = [f.name for f in functions]
    load_externals(module)
    addresses = jit.load(jit.compile_module(source), names)
    return {
        f.name: _caller(address, f.operands, dtype)
        for f, address, (_, dtype) in zip(functions, addresses, texts)
    }


def _caller(
    address: int, operands: tuple[np.dtype, ...], dtype: np.dtype
) -> Callable[..., np.ndarray]:
    pointers = [ctypes.c_void_p] * (len(operands) + 1)
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64, *pointers)(address)

    def function(*arrays: Any, out: np.ndarray | None = None) -> np.ndarray:
        given = [np.ascontiguousarray(a, d) for a, d in zip(arrays, operands)]
        result = np.empty(given[0].shape, dtype) if out is None else out
        call(result.size, *(a.ctypes.data for a in given), result.ctypes.data)
        return result

    return function
