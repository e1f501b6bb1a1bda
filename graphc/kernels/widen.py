"""Loops run several rounds at a time, so that what lies together is read together.

A loop over consecutive elements becomes one over groups of them (strip-mining), with
the rounds of a group written out. The loads of a group that are next to each other are
then one load of a vector, for a backend that has these and does not find them itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from graphc.kernels.bounds import Bounds
from graphc.kernels.builder import Values
from graphc.kernels.copy import Copy, Names
from graphc.kernels.ir import (
    Buffer,
    Current,
    Dynamic,
    Kernel,
    Load,
    Loop,
    LoopVar,
    RowLoop,
    Start,
    Statement,
    Store,
    Value,
    all_values,
    missing,
    operands,
    size_of,
    value_atoms,
)
from graphc.types import sizes
from graphc.types.sizes import SizeLike


class Group(NamedTuple):
    """Consecutive elements that one round of a widened loop reads or writes.

    Attributes
    ----------
    buffer : Buffer
    base : SizeLike
        The offset of the first.
    stored : bool
        Whether they are written.
    """

    buffer: Buffer
    base: SizeLike
    stored: bool


def innermost(body: Sequence[Statement]) -> bool:
    """Tell whether no loop is within a body."""
    return not any(isinstance(s, Loop) for s in body)


def widened(kernel: Kernel, width: int, loops: Collection[int] | None) -> Kernel:
    """Return a kernel whose loops run `width` rounds at a time.

    Parameters
    ----------
    kernel : Kernel
    width : int
        Divides the extents of the loops.
    loops : collection of int or None
        The ids of the loops; those with loops inside are left. None: the rows.
    """
    k = Values(lambda node: 0)
    k.skip_indices(
        max((a.number for a in _computed(kernel)), default=0)
    )  # numbers of computed indices are unique in a kernel
    names = Names.of(kernel)

    def rounds(var: LoopVar, body: Sequence[Statement]) -> tuple[LoopVar, list]:
        new = names.variable(var)
        fixed = _invariant(var, body)
        out: list[Statement] = []
        for number in range(width):
            place = sizes.of_atom(new) * width + number
            copy = Copy(k, names, var, None, place, Bounds())
            copy.values.update(fixed)
            out += copy.statements(body)
        return new, out

    def inside(body: Sequence[Statement]) -> list[Statement]:
        out: list[Statement] = []
        for s in body:
            if not isinstance(s, Loop):
                out.append(s)
            elif loops is not None and id(s) in loops and innermost(s.body):
                var, new = rounds(s.var, s.body)
                out.append(Loop(var, sizes.floordiv(s.extent, width), new))
            else:
                out.append(replace(s, body=inside(s.body)))
        return out

    if loops is None:
        parts = []
        for part in kernel.loops:
            var, body = rounds(part.var, part.body)
            extent = sizes.floordiv(part.extent, width)
            parts.append(RowLoop(var, part.low, extent, body))
        return replace(kernel, rows=sizes.floordiv(kernel.rows, width), loops=parts)
    return replace(
        kernel,
        before=inside(kernel.before),
        loops=[replace(part, body=inside(part.body)) for part in kernel.loops],
        after=inside(kernel.after),
    )


def groups_of(
    body: Sequence[Statement],
    width: int,
    offset_of: Callable[[Buffer, SizeLike], SizeLike],
) -> list[Group]:
    """Return what one round of a widened loop reads and writes together.

    Parameters
    ----------
    body : sequence of Statement
        Of a widened loop.
    width : int
    offset_of : callable
        Gives the offset that code uses for a buffer's place.
    """
    loads = [v for v in all_values(body) if isinstance(v, Load)]
    read = {v.buffer.number for v in loads}
    stores = [s for s in body if isinstance(s, Store) and s.buffer.number not in read]
    out = []
    for stored, items in ((False, loads), (True, stores)):
        offsets: dict[int, tuple[Buffer, list[SizeLike]]] = {}
        for item in items:
            _, found = offsets.setdefault(item.buffer.number, (item.buffer, []))
            found.append(offset_of(item.buffer, item.offset))
        for buffer, found in offsets.values():
            once = len(set(found)) == len(found)
            if stored and not once:
                continue
            there = set(found)
            for base in dict.fromkeys(found):
                if all(base + i in there for i in range(1, width)) and _plain(base):
                    there -= {base + i for i in range(width)}
                    out.append(Group(buffer, base, stored))
    return out


def is_multiple(base: SizeLike, width: int, size: Callable[[SizeLike], int]) -> bool:
    """Tell whether an offset is a multiple of `width` in every round.

    Parameters
    ----------
    base : SizeLike
        Of loop variables and dimensions.
    width : int
    size : callable
        Gives the integer of a size that depends on dimensions only.
    """
    if isinstance(base, int):
        return base % width == 0
    for monomial, c in base.terms:
        factor: SizeLike = c
        for atom in monomial:
            if not isinstance(atom, LoopVar):
                factor = factor * sizes.of_atom(atom)
        if size(factor) % width:
            return False
    return True


def _plain(base: SizeLike) -> bool:
    """Tell whether loop variables are only added and multiplied in an offset."""
    if isinstance(base, int):
        return True
    for monomial, _ in base.terms:
        for atom in monomial:
            if isinstance(atom, Dynamic):
                return False
            if not isinstance(atom, LoopVar) and any(
                isinstance(a, (LoopVar, Dynamic))
                for a in value_atoms(sizes.of_atom(atom))
            ):
                return False
    return True


def _computed(kernel: Kernel) -> Iterator[Dynamic]:
    body = list(kernel.statements())
    places = [size_of(v) for v in all_values(body)]
    places += [s.offset for s in body if isinstance(s, Store)]
    for place in places:
        yield from (a for a in value_atoms(place) if isinstance(a, Dynamic))


def _invariant(var: LoopVar, body: Sequence[Statement]) -> dict[int, Value]:
    """Return the values that are the same in every round, by their ids."""
    own = {s.accumulator.number for s in body if isinstance(s, Start)}
    moving: dict[int, bool] = {}
    fixed: dict[int, Value] = {}
    for top in list(all_values(body)):
        for v in missing(top, moving):
            atoms = list(value_atoms(size_of(v)))
            moves = (
                var in atoms
                or isinstance(v, Current)
                or (getattr(v, "instruction", None) is not None and v.number in own)  # type: ignore[union-attr]
                or any(moving[id(o)] for o in operands(v))
            )
            moving[id(v)] = moves
            if not moves:
                fixed[id(v)] = v
    return fixed
