"""Which rows a kernel's accesses lie in, seen from another loop over rows."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from graphc.kernels.ir import (
    Buffer,
    Dynamic,
    Kernel,
    Load,
    Loop,
    LoopVar,
    RowLoop,
    Store,
    all_values,
    statements,
)
from graphc.schedule.evaluate import KernelCall
from graphc.types import sizes
from graphc.types.sizes import Atom, Function, SizeLike


def ratio(size: SizeLike, rows: SizeLike) -> SizeLike | None:
    """Return ``size / rows`` if that is a whole number whatever the dimensions are."""
    if size == rows:
        return 1
    if isinstance(rows, int):
        if isinstance(size, int):
            return size // rows if rows > 0 and size % rows == 0 else None
        return None
    if isinstance(size, int):
        return None
    # both are symbolic: divide the leading terms, and see whether that is all
    (monomial, c), (other, d) = size.terms[0], rows.terms[0]
    left = list(monomial)
    for atom in other:
        if atom not in left:
            return None
        left.remove(atom)
    if c % d:
        return None
    out: SizeLike = c // d
    for atom in left:
        out = out * sizes.of_atom(atom)
    return out if out * rows == size else None


_known: WeakKeyDictionary[Kernel, dict[tuple, RowAccess]] = WeakKeyDictionary()


def row_access(call: KernelCall, scale: SizeLike) -> RowAccess:
    """Return the accesses of a call's kernel, of one scale found once."""
    known = _known.setdefault(call.kernel, {})
    key = scale, call.block
    if key not in known:
        known[key] = RowAccess(call, scale)
    return known[key]


class RowAccess:
    """Where a kernel's accesses lie, in rows of a pipeline."""

    def __init__(self, call: KernelCall, scale: SizeLike):
        kernel = call.kernel
        self.scale = scale
        self.block = call.block
        self.extents: dict[Atom, SizeLike] = {}
        for s in (*kernel.loops, *kernel.statements()):
            if isinstance(s, (Loop, RowLoop)):
                self.extents[s.var] = _bound(s.extent)
        self.loads: dict[int, list[tuple[RowLoop | None, SizeLike]]] = {}
        self.stores: dict[int, list[tuple[RowLoop | None, SizeLike]]] = {}
        parts: list[tuple[RowLoop | None, list]] = [
            (None, kernel.before),
            *((loop, loop.body) for loop in kernel.loops),
            (None, kernel.after),
        ]
        for loop, body in parts:
            for value in all_values(body):
                if isinstance(value, Load):
                    place = self.loads.setdefault(value.buffer.number, [])
                    place.append((loop, value.offset))
            for s in statements(body):
                if isinstance(s, Store):
                    place = self.stores.setdefault(s.buffer.number, [])
                    place.append((loop, s.offset))

    def loads_stay(self, buffer: Buffer, width: SizeLike) -> bool:
        """Tell whether a buffer is only read at the row at hand."""
        return self._stay(self.loads.get(buffer.number, ()), width)

    def stores_stay(self, buffer: Buffer, width: SizeLike) -> bool:
        """Tell whether a buffer is only written at the row at hand."""
        return self._stay(self.stores.get(buffer.number, ()), width)

    def _stay(
        self, places: Iterable[tuple[RowLoop | None, SizeLike]], width: SizeLike
    ) -> bool:
        for loop, offset in places:
            if loop is None:
                return False
            row = loop.low + sizes.of_atom(loop.var)
            if self.scale == width and self.block == 1 and offset == row:
                continue
            room = width * self.block
            if self.scale != 1 or not self._within(offset - row * room, room):
                return False
        return True

    def _within(self, rest: SizeLike, width: SizeLike) -> bool:
        """Tell whether ``0 <= rest < width`` for all values of a kernel's variables."""
        low = high = rest if isinstance(rest, int) else rest - rest
        for monomial, c in () if isinstance(rest, int) else rest.terms:
            term: SizeLike = c
            most: SizeLike = 0
            moving = 0
            for atom in monomial:
                end = self._end(atom)
                if end is None:
                    term = term * sizes.of_atom(atom)
                    continue
                moving += 1
                most = end - 1
            if moving > 1 or (moving and not sizes.non_negative(most)):
                return False
            if not moving:
                low, high = low + term, high + term
            elif c > 0:
                high = high + term * most
            else:
                low = low + term * most
        return sizes.non_negative(low) and sizes.non_negative(width - 1 - high)

    def _end(self, atom: Atom) -> SizeLike | None:
        """Return the bound of what varies within a kernel, None for a dimension."""
        if isinstance(atom, LoopVar):
            # a variable of no loop has no bound that could be met
            return self.extents.get(atom, -1)
        if isinstance(atom, Dynamic):
            return atom.extent
        if isinstance(atom, Function) and not _is_fixed(atom):
            return atom.right if atom.name == "%" else -1
        return None


def _bound(extent: SizeLike) -> SizeLike:
    """Return the part of a minimum that depends on dimensions only."""
    if not isinstance(extent, int) and len(extent.terms) == 1:
        ((monomial, c),) = extent.terms
        if c == 1 and len(monomial) == 1 and isinstance(monomial[0], Function):
            least = monomial[0]
            for part in (least.left, least.right) if least.name == "min" else ():
                if isinstance(part, int) or all(map(_is_fixed, part.atoms())):
                    return part
    return extent


def _is_fixed(atom: Atom) -> bool:
    """Tell whether an atom depends on dimensions only."""
    stack = [atom]
    while stack:
        top = stack.pop()
        if isinstance(top, (LoopVar, Dynamic)):
            return False
        if isinstance(top, Function):
            for part in (top.left, top.right):
                if not isinstance(part, int):
                    stack.extend(part.atoms())
    return True
