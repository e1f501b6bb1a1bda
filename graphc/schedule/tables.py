"""Kernels that are equal but for their constants read these from tables."""

from __future__ import annotations

from collections.abc import Iterable

from graphc.kernels.canonical import Canonical
from graphc.kernels.ir import Kernel
from graphc.kernels.tables import Tabled, with_tables
from graphc.ops.leaf import constant
from graphc.schedule.evaluate import KernelCall, Memory

FEWEST = 4
"""Kernels that are worth sharing code. Reading a table takes up to a third longer than
constants where a kernel does nothing else, and its code takes LLVM 0.1 s."""


def share_constants(calls: Iterable[object]) -> None:
    """Let kernels of many constants share code, where that makes them equal."""
    ours: dict[int, list[KernelCall]] = {}
    for call in calls:
        if isinstance(call, KernelCall):
            ours.setdefault(id(call.kernel), []).append(call)
    if len(ours) < FEWEST:
        return
    forms: dict[tuple, list[tuple[Kernel, Tabled]]] = {}
    for same in ours.values():
        kernel = same[0].kernel
        tabled = with_tables(kernel)
        if tabled is not None:
            key = Canonical(tabled.kernel).key
            forms.setdefault(key, []).append((kernel, tabled))
    for equal in forms.values():
        if len(equal) < FEWEST:
            continue
        for kernel, tabled in equal:
            nodes = [constant(table) for table in tabled.tables]
            for call in ours[id(kernel)]:
                call.kernel = tabled.kernel
                call.memory += [Memory(n, n.size, n.dtype) for n in nodes]
