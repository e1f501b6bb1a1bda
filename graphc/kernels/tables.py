"""Kernels that read their constants from memory, if they have many.

An unrolled loop whose steps differ in a number, such as the time or a weight, is cut
into kernels that are equal but for hundreds of constants. With these in a table beside
the kernel its code is the same for all, and compiled once. A processor reads most
constants from memory anyway.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from graphc.kernels.ir import (
    Buffer,
    Constant,
    Instruction,
    Kernel,
    Load,
    Statement,
    Value,
    all_values,
    statements,
    value_of,
)
from graphc.kernels.shift import renewed

MANY = 32
"""Different numbers of one dtype that are worth a table."""

_INDIFFERENT = {"add", "sub", "mul"}
"""Instructions whose code is the same whatever the number is."""

_TOLD_APART = (0.0, 1.0, -1.0, 2.0, -2.0)
"""Numbers with which these are simpler, or no instruction."""


class Tabled(NamedTuple):
    """A kernel with a buffer more for each table, after the others; and the tables."""

    kernel: Kernel
    tables: list[np.ndarray]


def with_tables(kernel: Kernel) -> Tabled | None:
    """Return a kernel that reads its constants from tables, None if it has few."""
    body = list(kernel.statements())
    numbers: dict[np.dtype, list[Constant]] = {}
    for constant in _constants(body):
        numbers.setdefault(constant.dtype, []).append(constant)
    loads: dict[int, Value] = {}
    buffers = list(kernel.buffers)
    tables = []
    for dtype, constants in numbers.items():
        places: dict[bytes, int] = {}
        for c in constants:
            places.setdefault(struct.pack("<d", c.value), len(places))
        if len(places) < MANY:
            continue
        table = Buffer(len(buffers), dtype, False)
        buffers.append(table)
        tables.append(np.array([struct.unpack("<d", b)[0] for b in places], dtype))
        read = [Load(table, place, dtype, 0) for place in range(len(places))]
        for c in constants:
            loads[id(c)] = read[places[struct.pack("<d", c.value)]]
    if not tables:
        return None
    return Tabled(replace(renewed(kernel, loads), buffers=buffers), tables)


def _constants(body: list[Statement]) -> Iterator[Constant]:
    """Yield the numbers of instructions that do not care which they are, in order."""
    other: set[int] = {id(value_of(s)) for s in statements(body)}
    found: dict[int, Constant] = {}
    for value in all_values(body):
        if not isinstance(value, Instruction):
            continue
        indifferent = value.name in _INDIFFERENT and value.dtype.kind == "f"
        for operand in value.operands:
            if not isinstance(operand, Constant):
                continue
            if indifferent and _is_any(operand):
                found[id(operand)] = operand
            else:
                other.add(id(operand))
    for key, constant in found.items():
        if key not in other:
            yield constant


def _is_any(constant: Constant) -> bool:
    return math.isfinite(constant.value) and constant.value not in _TOLD_APART
