"""Index-set splitting: loops cut where a condition on their variable changes.

A concatenation, a padding or a diagonal is a selection by the index: every round of
the loop computes all the cases. Where the cases change at places known before the
loop begins, the loop is cut there, and each piece computes its own case only, without
conditions, from consecutive elements. (Wolfe, *High Performance Compilers for Parallel
Computing*, 1996, section 9.3.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from graphc.kernels.bounds import Bounds
from graphc.kernels.builder import Values
from graphc.kernels.copy import Copy, Names, as_size
from graphc.kernels.ir import (
    Dynamic,
    Instruction,
    Kernel,
    Loop,
    LoopVar,
    RowLoop,
    Statement,
    all_values,
    value_atoms,
)
from graphc.types import sizes
from graphc.types.sizes import Atom, Function, SizeLike

MOST_PIECES = 24
"""Pieces a kernel is cut into at the most."""

MOST_CASES = 1000
"""Cases of a concatenation along rows, each of which leaves little code."""

MOST_VALUES = 3000
"""Values in all pieces of a loop: code to be compiled."""

SHORT = 4
"""Rounds up to which a loop is left as it is: LLVM unrolls it, and folds conditions."""

WORTH = 12
"""Operations a round must have to be cut at a place that changes from row to row.

Such pieces have ends that fill no vector; a few selections cost less.
"""

TRANSCENDENTAL = 20
_PLAIN = {
    *("add", "sub", "mul", "div", "neg", "abs", "min", "max", "sqrt", "copysign"),
    *("floordiv", "mod", "floor", "ceil", "rint", "trunc", "cast", "select"),
    *("lt", "le", "gt", "ge", "eq", "ne", "isnan", "isinf", "isfinite"),
    *("and", "or", "xor", "not", "shl", "shr"),
}


def split_loops(kernel: Kernel, k: Values) -> Kernel:
    """Return a kernel with its loops cut where conditions on indices change.

    Parameters
    ----------
    kernel : Kernel
    k : Values
        What the kernel's values were built with.

    Returns
    -------
    Kernel
        The same one if there is nothing to cut.

    Notes
    -----
    Elements are computed by the same operations as before, so they have the same
    bits. Places may be symbolic; their order must be known.
    """
    if not any(_comparison(v) for part in kernel.loops for v in all_values(part.body)):
        return kernel
    splitter = _Splitter(kernel, k)
    loops = [piece for part in kernel.loops for piece in splitter.rows(part)]
    return replace(kernel, loops=loops)


class _Splitter:
    def __init__(self, kernel: Kernel, k: Values):
        self.k = k
        self.names = Names.of(kernel)
        self.pieces = 0
        self.room = 0

    def rows(self, part: RowLoop) -> list[RowLoop]:
        """Return the pieces of a loop over rows."""
        bounds = Bounds()
        cuts = self._cuts(part.var, part.extent, part.body, bounds, 1)
        if not cuts:
            before = self.pieces
            halves = self._halves(part)
            if halves is not None:
                out = []
                for half in halves:
                    self.pieces = before  # each has little code, and is cut anew
                    out += self.rows(half)
                return out
            inside = bounds.within(part.var, part.extent)
            body = self._inner(part.body, inside)
            return [RowLoop(part.var, part.low, part.extent, body)]
        return [
            RowLoop(var, part.low + low, extent, body)
            for var, low, extent, body in self._pieces(
                part.var, part.extent, part.body, cuts, bounds
            )
        ]

    def _inner(self, body: Sequence[Statement], bounds: Bounds) -> list[Statement]:
        out: list[Statement] = []
        for s in body:
            if not isinstance(s, Loop):
                out.append(s)
                continue
            cuts = self._cuts(s.var, s.extent, s.body, bounds)
            if cuts:
                pieces = self._pieces(s.var, s.extent, s.body, cuts, bounds)
                out += [Loop(var, n, inside) for var, _, n, inside in pieces if inside]
            else:
                inside = self._inner(s.body, bounds.within(s.var, s.extent))
                out.append(Loop(s.var, s.extent, inside))
        return out

    def _pieces(
        self,
        var: LoopVar,
        extent: SizeLike,
        body: Sequence[Statement],
        cuts: list[SizeLike],
        bounds: Bounds,
    ) -> Iterator[tuple[LoopVar, SizeLike, SizeLike, list[Statement]]]:
        """Yield variable, first value, extent and body of each piece of a loop."""
        self.pieces += len(cuts)
        ends = [self._clamped(c, extent, bounds) for c in cuts]
        places = list(zip([0, *cuts], [0, *ends], [*cuts, extent], [*ends, extent]))
        for first, low, last, high in places:
            new = self.names.variable(var)
            value = low + sizes.of_atom(new)
            facts = tuple(
                f
                for f, clamped in (
                    (value - first, low != first),
                    (last - 1 - value, high != last),
                )
                if clamped
            )
            inside = bounds.within(new, high - low, facts)
            copy = Copy(self.k, self.names, var, new, low, inside)
            yield new, low, high - low, self._inner(copy.statements(body), inside)

    def _clamped(self, cut: SizeLike, extent: SizeLike, bounds: Bounds) -> SizeLike:
        if not bounds.non_negative(extent - cut):
            cut = sizes.minimum(cut, extent)
        return cut if bounds.non_negative(cut) else sizes.maximum(cut, 0)

    # ------------------------------------------------------------------ where

    def _cuts(
        self,
        var: LoopVar,
        extent: SizeLike,
        body: Sequence[Statement],
        bounds: Bounds,
        short: int = SHORT,
    ) -> list[SizeLike]:
        """Return the places to cut a loop at, in order."""
        if isinstance(extent, int) and extent <= short:
            return []
        values = list(all_values(body))
        outer = {v for v, _ in bounds.extents}
        found: dict[SizeLike, None] = {}
        work = None
        for value in values:
            for cut in _changes(value, var, outer):
                if bounds.non_negative(-cut) or bounds.non_negative(cut - extent):
                    continue
                if not isinstance(cut, int) and any(
                    isinstance(a, LoopVar) for a in value_atoms(cut)
                ):
                    work = _work(values) if work is None else work
                    if work < WORTH:
                        continue
                found[cut] = None
        cuts: list[SizeLike] = []
        for cut in sorted(found, key=lambda c: (not isinstance(c, int), str(c))):
            _insert(cuts, cut, bounds)
        count = len(cuts) + 1
        if self.room:
            return cuts if count <= self.room else []
        if count * len(values) > MOST_VALUES or self.pieces + count > MOST_PIECES:
            return []
        return cuts

    def _halves(self, part: RowLoop) -> list[RowLoop] | None:
        """Cut a loop of many cases in the middle; None if that leaves no fewer in each.

        Cut in two again and again, a concatenation of n arrays is copied log n times
        and not n times.
        """
        values = sum(1 for _ in all_values(part.body))
        room, self.room = self.room, MOST_CASES
        cuts = self._cuts(part.var, part.extent, part.body, Bounds(), 1)
        self.room = room
        if len(cuts) < 2:
            return None
        middle = [cuts[len(cuts) // 2]]
        halves = [
            RowLoop(var, part.low + low, extent, body)
            for var, low, extent, body in self._pieces(
                part.var, part.extent, part.body, middle, Bounds()
            )
        ]
        rest = [sum(1 for _ in all_values(half.body)) for half in halves]
        return halves if 3 * max(rest) < 2 * values else None


def _comparison(value: object) -> bool:
    return (
        isinstance(value, Instruction)
        and value.name in ("ge", "gt", "le", "lt", "eq", "ne")
        and all(as_size(o) is not None for o in value.operands)
    )


def _changes(value: object, var: LoopVar, outer: set[LoopVar]) -> Iterator[SizeLike]:
    """Yield where the outcome of a comparison of indices changes along a loop."""
    if not _comparison(value):
        return
    assert isinstance(value, Instruction)
    a, b = (as_size(o) for o in value.operands)
    difference = a - b  # type: ignore[operator]
    if isinstance(difference, int):
        return
    atom, each = _counter(difference, var)
    rest = sizes.substitute(difference, {atom: 0}.get)
    slope = sizes.substitute(difference, {atom: 1}.get) - rest
    if not isinstance(slope, int) or slope == 0:
        return
    if rest + slope * sizes.of_atom(atom) != difference:
        return
    if any(
        isinstance(atom, (LoopVar, Dynamic)) and atom not in outer
        for atom in value_atoms(rest)
    ):
        return
    if value.name in ("eq", "ne"):
        if abs(slope) == 1:
            yield -rest * slope * each
            yield (-rest * slope + 1) * each
        return
    # at which first value of the variable it is otherwise than before
    if value.name in ("gt", "le"):
        rest = rest - 1
    if slope > 0:
        yield sizes.floordiv(-rest + (slope - 1), slope) * each
    else:
        yield (sizes.floordiv(rest, -slope) + 1) * each


def _counter(size: SizeLike, var: LoopVar) -> tuple[Atom, int]:
    """Return what counts the rounds in a size: a loop's variable, or a quotient of it.

    And the rounds after which that grows by one.
    """
    if not isinstance(size, int):
        for atom in size.atoms():
            if (
                isinstance(atom, Function)
                and atom.name == "//"
                and atom.left == sizes.of_atom(var)
                and isinstance(atom.right, int)
                and atom.right > 0
            ):
                return atom, atom.right
    return var, 1


def _insert(cuts: list[SizeLike], cut: SizeLike, bounds: Bounds) -> None:
    """Put a cut in its place; one whose place is not known is left out."""
    place = 0
    for other in cuts:
        if bounds.non_negative(cut - other):
            place += 1
        elif not bounds.non_negative(other - cut):
            return
    for number, other in enumerate(cuts):
        if (number < place) != bounds.non_negative(cut - other):
            return
    cuts.insert(place, cut)


def _work(values: Sequence[object]) -> int:
    """Return about how many operations a round has."""
    return sum(
        1 if v.name in _PLAIN else TRANSCENDENTAL
        for v in values
        if isinstance(v, Instruction) and not _comparison(v)
    )
