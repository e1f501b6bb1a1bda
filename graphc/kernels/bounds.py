"""Ranges of loop variables, and which formulas are not negative because of them."""

from __future__ import annotations

from graphc.kernels.ir import LoopVar
from graphc.types import sizes
from graphc.types.sizes import Atom, Function, Size, SizeLike


class Bounds:
    """Ranges of loop variables, the outermost first, and formulas known to be >= 0.

    Parameters
    ----------
    extents : tuple of (LoopVar, SizeLike)
        Each variable runs from 0 to its extent, exclusively.
    facts : tuple of SizeLike
        Formulas that are not negative wherever the loop's body runs.
    """

    def __init__(
        self,
        extents: tuple[tuple[LoopVar, SizeLike], ...] = (),
        facts: tuple[SizeLike, ...] = (),
    ):
        self.extents = extents
        self.facts = facts
        self._positive: dict[Atom, SizeLike] = {}
        for _, extent in extents:
            self._run(extent)
        self._highest: dict[Atom, SizeLike] = {v: e - 1 for v, e in extents}
        self._inner_first = [v for v, _ in reversed(extents)]
        self._known: dict[SizeLike, bool] = {}

    def _run(self, extent: SizeLike) -> None:
        """Take in that a loop's body runs only if its extent is positive."""
        if isinstance(extent, int):
            return
        atoms = list(extent.atoms())
        if len(extent.terms) == 1 and all(_never_negative(a) for a in atoms):
            for atom in atoms:  # a product: each of its factors
                self._positive[atom] = sizes.of_atom(atom) + 1
        else:
            self.facts = (*self.facts, extent - 1)

    def within(
        self, var: LoopVar, extent: SizeLike, facts: tuple[SizeLike, ...] = ()
    ) -> Bounds:
        """Return what is known in the body of a further loop."""
        extents = (*self.extents, (var, extent))
        return Bounds(extents, tuple(dict.fromkeys((*self.facts, *facts))))

    def non_negative(self, s: SizeLike) -> bool:
        """Tell whether a formula is surely >= 0, as far as simple arithmetic tells."""
        if isinstance(s, int):
            return s >= 0
        found = self._known.get(s)
        if found is None:
            found = self._least_is(s) or any(self._least_is(s - f) for f in self.facts)
            self._known[s] = found
        return found

    def _least_is(self, s: SizeLike) -> bool:
        """Tell whether a formula with each atom at its worst end is >= 0."""
        if isinstance(s, int):
            return s >= 0
        known = self._linear(s)
        if known is not None:
            return known
        functions = [a for a in s.atoms() if isinstance(a, Function)]
        for atom in [*functions, *self._inner_first]:
            high = self._high(atom)
            if high is None or isinstance(s, int):
                continue
            rest = sizes.substitute(s, {atom: 0}.get)
            slope = sizes.substitute(s, {atom: 1}.get) - rest
            if slope == 0 or rest + slope * sizes.of_atom(atom) != s:
                continue
            if sizes.non_negative(slope):
                s = rest
            elif sizes.non_negative(-slope):
                s = rest + slope * high
        return sizes.non_negative(sizes.substitute(s, self._positive.get))

    def _linear(self, s: Size) -> bool | None:
        """Return what `_least_is` does for a sum of multiples of atoms in numbers.

        None if it is more than that. Most are not, and this takes a tenth of the time.
        """
        least, functions, below = 0, 0, False
        for monomial, c in s.terms:
            if not monomial:
                least += c
                continue
            (atom, *others) = monomial
            functions += isinstance(atom, Function)
            if others or functions > 1:
                return None
            high = self._high(atom)
            if isinstance(high, int):
                least += c * high if c < 0 else 0
            elif high is not None or isinstance(atom, Function):
                return None
            elif c < 0:
                below = True
            elif atom in self._positive:
                least += c
        return least >= 0 and not below

    def _high(self, atom: Atom) -> SizeLike | None:
        """Return the largest value of an atom whose smallest is 0, if that is known."""
        if not isinstance(atom, Function):
            return self._highest.get(atom)
        if atom.name == "%" and sizes.non_negative(atom.right):
            return atom.right - 1
        if atom.name == "//" and isinstance(atom.right, int) and atom.right > 0:
            for var, high in self._highest.items():
                if atom.left == sizes.of_atom(var):
                    return sizes.floordiv(high, atom.right)
        return None


def _never_negative(atom: Atom) -> bool:
    return sizes.non_negative(sizes.of_atom(atom))
