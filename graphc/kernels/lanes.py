"""Short loops run by the lanes of vectors.

A loop of some ten rounds along consecutive elements is a vector or two, the last one
filled in part. LLVM, left alone, writes it out first, as so many single elements; so
printers of LLVM code tell it not to, and that lanes beyond the last round are off.

What such a loop adds to memory at places that are the same in every row should stay in
registers meanwhile, which LLVM does for whole vectors only. Such a loop is cut into
loops whose rounds are powers of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from graphc.kernels.bounds import Bounds
from graphc.kernels.builder import Values
from graphc.kernels.copy import Copy
from graphc.kernels.ir import (
    Current,
    Dynamic,
    Kernel,
    Load,
    Loop,
    LoopVar,
    Set,
    Statement,
    Store,
    Value,
    all_values,
    missing,
    size_of,
    value_atoms,
)
from graphc.kernels.rewriter import LoopRewriter
from graphc.types import sizes
from graphc.types.sizes import SizeLike

MOST_ROUNDS = 64
"""Rounds of a loop that LLVM may write out before it looks for vectors."""

LANES = 16
"""Rounds of the pieces of a loop: a multiple of these, then powers of two below."""


def fills_lanes(loop: Loop) -> bool:
    """Tell whether a loop is short, and its rounds can run side by side.

    That is, it has a known number of rounds, none needs the one before, and all that
    it loads and stores lies one after the other, or is the same in every round.
    """
    if not isinstance(loop.extent, int) or not 1 < loop.extent <= MOST_ROUNDS:
        return False
    if any(isinstance(s, (Loop, Set)) for s in loop.body):
        return False
    offsets = [s.offset for s in loop.body if isinstance(s, Store)]
    for value in all_values(loop.body):
        if isinstance(value, Current):
            return False
        if isinstance(value, Load):
            offsets.append(value.offset)
    return all(_advances(offset, loop.var) for offset in offsets)


def _advances(offset: SizeLike, var: LoopVar) -> bool:
    """Tell whether an offset grows by one in each round, or stays."""
    if isinstance(offset, int):
        return True
    atoms = value_atoms(offset)
    if any(isinstance(a, Dynamic) and _varies(a.value, var) for a in atoms):
        return False
    if var not in atoms:
        return True
    rest = offset - sizes.of_atom(var)
    return isinstance(rest, int) or var not in value_atoms(rest)


def _varies(value: Value, var: LoopVar) -> bool:
    """Tell whether a value depends on a loop's variable."""
    seen: set[int] = set()
    for v in missing(value, seen):
        if var in value_atoms(size_of(v)):
            return True
        seen.add(id(v))
    return False


def cut_to_lanes(kernel: Kernel, k: Values) -> Kernel:
    """Return a kernel whose short loops that add to memory fill vectors.

    Parameters
    ----------
    kernel : Kernel
    k : Values
        What the kernel's values were built with.
    """
    return _Cutter(kernel, k).run()


class _Cutter(LoopRewriter):
    def loop(self, loop: Loop) -> Sequence[Statement]:
        if any(isinstance(s, Loop) for s in loop.body):
            before = self.changed
            inside = self.body(loop.body)
            return [replace(loop, body=inside)] if self.changed > before else [loop]
        adds = any(isinstance(s, Store) and s.instruction for s in loop.body)
        if not adds or not fills_lanes(loop):
            return [loop]
        lengths = list(_lengths(int(loop.extent)))
        return [loop] if len(lengths) == 1 else self._pieces(loop, lengths)

    def _pieces(self, loop: Loop, lengths: Sequence[int]) -> list[Statement]:
        self.changed += 1
        out: list[Statement] = []
        low = 0
        for length in lengths:
            var = self.names.variable(loop.var) if length > 1 else None
            copy = Copy(self.k, self.names, loop.var, var, low, Bounds())
            inside = copy.statements(loop.body)
            out += inside if var is None else [Loop(var, length, inside)]
            low += length
        return out


def _lengths(extent: int) -> Iterator[int]:
    """Yield a multiple of `LANES`, and powers of two, that add up to an extent."""
    whole = extent - extent % LANES
    if whole:
        yield whole
    length = LANES // 2
    while length:
        if extent & length:
            yield length
        length //= 2
