"""Short inner loops written out, so that the loop around them is the one to vectorize.

A loop of three rounds fills no vector, and the loop around it is none that LLVM
vectorizes. What such a loop adds to memory at places that are the same in every round
of the loop around it is kept in accumulators meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphc.kernels.bounds import Bounds
from graphc.kernels.builder import Values
from graphc.kernels.copy import Copy
from graphc.kernels.ir import (
    Accumulator,
    Instruction,
    Kernel,
    Load,
    Loop,
    LoopVar,
    Set,
    Start,
    Statement,
    Store,
    Update,
    all_values,
    statements,
    value_atoms,
)
from graphc.kernels.lanes import fills_lanes
from graphc.kernels.rewriter import LoopRewriter

SHORT = 4
"""Rounds of a loop that is written out."""

INTERLEAVED = 8
"""Rounds up to which LLVM vectorizes the loop around: it loads the elements of all of
them as vectors, and shuffles these."""

LINE = 64
"""Bytes of these elements from which shuffling takes longer than it saves."""

MOST_OPERATIONS = 300
"""Operations of all rounds: code to be compiled."""


def unroll_short_loops(kernel: Kernel, k: Values, short: int = SHORT) -> Kernel:
    """Return a kernel with loops of up to `short` rounds written out.

    Parameters
    ----------
    kernel : Kernel
    k : Values
        What the kernel's values were built with.
    short : int

    Notes
    -----
    Only loops that contain no other loop, from the inside out. Every element is
    computed by the same operations as before.
    """
    return _Unroller(kernel, k, short).run()


class _Unroller(LoopRewriter):
    def __init__(self, kernel: Kernel, k: Values, short: int):
        super().__init__(kernel, k)
        self.short = short

    def loop(self, loop: Loop) -> list[Statement]:
        before = self.changed
        inside = self.body(loop.body)
        if any(isinstance(s, Loop) for s in inside):
            return [replace(loop, body=inside)]
        if self._is_short(replace(loop, body=inside)):
            return self._written_out(loop.var, int(loop.extent), inside)
        if self.changed > before:
            return self._promoted(replace(loop, body=inside))
        return [replace(loop, body=inside)]

    def _is_short(self, loop: Loop) -> bool:
        extent, body = loop.extent, loop.body
        if not isinstance(extent, int) or not 1 <= extent <= self.short:
            return False
        if not _interleaves(extent, body) and fills_lanes(loop):
            return False
        if any(isinstance(s, Set) for s in body):  # each round needs the one before
            return False
        operations = sum(isinstance(v, Instruction) for v in all_values(body))
        return operations * extent <= MOST_OPERATIONS

    def _written_out(
        self, var: LoopVar, extent: int, body: Sequence[Statement]
    ) -> list[Statement]:
        self.changed += 1
        names = self.names
        out: list[Statement] = []
        for number in range(extent):
            copy = Copy(self.k, names, var, None, number, Bounds())
            out += copy.statements(body)
        return out

    def _promoted(self, loop: Loop) -> list[Statement]:
        """Return a loop that adds to places in memory after its rounds, not in each."""
        loads = {v.buffer for v in all_values(loop.body) if isinstance(v, Load)}
        fixed: dict[object, list[Store]] = {}
        changing = set(loads)
        for s in statements(loop.body):
            if not isinstance(s, Store):
                continue
            if s.instruction is None or any(
                isinstance(a, LoopVar) and a == loop.var for a in value_atoms(s.offset)
            ):
                changing.add(s.buffer)
            else:
                fixed.setdefault(s.buffer, []).append(s)
        promoted = {
            id(s): s
            for buffer, stores in fixed.items()
            if buffer not in changing
            for s in stores
        }
        if not promoted:
            return [loop]
        starts: list[Statement] = []
        ends: list[Statement] = []
        totals: dict[tuple, Accumulator] = {}
        body: list[Statement] = []
        for s in loop.body:
            if id(s) not in promoted:
                body.append(s)
                continue
            assert isinstance(s, Store) and s.instruction is not None
            key = (s.buffer, s.offset, s.instruction)
            total = totals.get(key)
            if total is None:
                total = totals[key] = self.names.total(s.buffer.dtype, s.instruction)
                starts.append(Start(total))
                ends.append(Store(s.buffer, s.offset, total, s.instruction))
            body.append(Update(total, s.value))
        return [*starts, replace(loop, body=body), *ends]


def _interleaves(extent: int, body: Sequence[Statement]) -> bool:
    """Tell whether the loop around a loop is the better one to vectorize."""
    widths = [v.dtype.itemsize for v in all_values(body) if isinstance(v, Load)]
    return extent <= INTERLEAVED and extent * max(widths, default=1) < LINE
