"""Kernels beside those of a graph: what library calls need before and after them.

Written as text, since they are made for a dtype and a number of axes. Each strides over
its elements by the grid; `at` is the element's number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from graphc.backends.cuda import shim
from graphc.backends.cuda.launches import THREADS, Code


def _namespace() -> Mapping[str, Any]:
    return {"cuda": shim.cuda, "nan": math.nan}


def _code(name: str, parameters: Mapping[str, str], body: Sequence[str]) -> Code:
    lines = [
        f"def {name}({', '.join(parameters)}, total):",
        "    at = cuda.grid(1)",
        "    step = cuda.gridsize(1)",
        "    while at < total:",
        *(f"        {line}" for line in body),
        "        at += step",
    ]
    signature = (*parameters.values(), "int64")
    return Code(name, "\n".join(lines) + "\n", signature, _namespace, THREADS)


def _axes(axes: int, arrays: int) -> dict[str, str]:
    """Return parameters: each array's first offset, sizes, each array's strides."""
    names = [f"f{i}" for i in range(arrays)] + [f"n{a}" for a in range(axes)]
    names += [f"s{i}_{a}" for i in range(arrays) for a in range(axes)]
    return dict.fromkeys(names, "int64")


def _offsets(axes: int, arrays: int) -> list[str]:
    """Return lines that make each array's offset, ``o0`` and so on, of `at`."""
    lines = ["rest = at", *(f"o{i} = f{i}" for i in range(arrays))]
    for axis in reversed(range(axes)):
        lines += [f"here = rest % n{axis}", f"rest = rest // n{axis}"]
        lines += [f"o{i} += here * s{i}_{axis}" for i in range(arrays)]
    return lines


@lru_cache
def strided_copy(dtype: str, axes: int) -> Code:
    """Return the kernel of ``target = source``, both of any strides.

    Strides may be negative, so offsets count from where the array's memory begins.
    """
    parameters = {"target": f"{dtype}*", "source": f"{dtype}*", **_axes(axes, 2)}
    body = [*_offsets(axes, 2), "target[o0] = source[o1]"]
    return _code(f"graphc_copy_{dtype}_{axes}", parameters, body)


@lru_cache
def addresses(axes: int) -> Code:
    """Return the kernel that makes the address of each matrix of a batch, in bytes."""
    parameters = {"out": "int64*", **_axes(axes, 1)}
    body = [*_offsets(axes, 1), "out[at] = o0"]
    return _code(f"graphc_addresses_{axes}", parameters, body)


@lru_cache
def mark(what: str, dtype: str, axes: int) -> Code:
    """Return the kernel that flags matrices with a "zero" or "nan" on the diagonal.

    The last axis is the diagonal. Whichever thread finds one sets the same 1.
    """
    condition = {"zero": "value == 0", "nan": "value != value"}[what]
    parameters = {"flags": "int32*", "x": f"{dtype}*", **_axes(axes, 1)}
    body = [
        *_offsets(axes, 1),
        "value = x[o0]",
        f"if {condition}:",
        f"    flags[at // n{axes - 1}] = 1",
    ]
    return _code(f"graphc_mark_{what}_{dtype}_{axes}", parameters, body)


@lru_cache
def poison(dtype: str) -> Code:
    """Return the kernel that makes matrices of `size` elements NaN by their flags."""
    parameters = {"out": f"{dtype}*", "flags": "int32*", "size": "int64"}
    body = ["if flags[at // size] != 0:", "    out[at] = nan"]
    return _code(f"graphc_poison_{dtype}", parameters, body)


@lru_cache
def triangle(dtype: str) -> Code:
    """Return the kernel that leaves upper triangles, NaN where the flag is set."""
    parameters = {"out": f"{dtype}*", "flags": "int32*", "n": "int64"}
    body = [
        "row = at // n",
        "if flags[row // n] != 0:",
        "    out[at] = nan",
        "elif at % n < row % n:",
        "    out[at] = 0.0",
    ]
    return _code(f"graphc_triangle_{dtype}", parameters, body)


@lru_cache
def pivots(dtype: str) -> Code:
    """Return the kernel of the order of rows, its inverse, and signs of swaps.

    These are the last rows of `LuFactor`. `swaps` are LAPACK's: with which row,
    counted from 1, each was swapped in its turn.
    """
    parameters = {"out": f"{dtype}*", "swaps": "int32*", "n": "int64"}
    body = [
        "start = at * (n + 3) * n + n * n",
        "for i in range(n):",
        "    out[start + i] = i",
        "for i in range(n):",
        "    j = swaps[at * n + i] - 1",
        "    here = out[start + i]",
        "    out[start + i] = out[start + j]",
        "    out[start + j] = here",
        "    sign = 1.0",
        "    if i != j:",
        "        sign = -1.0",
        "    out[start + 2 * n + i] = sign",
        "for i in range(n):",
        "    out[start + n + int(out[start + i])] = i",
    ]
    return _code(f"graphc_pivots_{dtype}", parameters, body)
