"""Sums of counts over a loop's variable, in closed form where one is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.kernels.ir import value_atoms
from graphc.types import sizes
from graphc.types.sizes import Atom, SizeLike


class Sum(Atom):
    """``sum(body for variable in range(extent))`` that has no closed form here."""

    __slots__ = ("variable", "extent", "body")

    def __init__(self, variable: Atom, extent: SizeLike, body: SizeLike):
        super().__init__(("sum", variable, extent, body))
        self.variable, self.extent, self.body = variable, extent, body

    @classmethod
    def _restore(cls, key: tuple) -> Sum:
        return cls(*key[1:])

    def __str__(self) -> str:
        return f"sum({self.body} for {self.variable} < {self.extent})"

    __repr__ = __str__


def evaluated(
    size: SizeLike, values: Mapping[Any, int], memo: dict[Any, int] | None = None
) -> int:
    """Return the integer of a count.

    Parameters
    ----------
    size : SizeLike
        Over dimensions, and sums that have no closed form.
    values : mapping of Atom to int
    memo : dict of Atom to int, optional
        What is known of atoms for these values.

    Raises
    ------
    KeyError
        If a dimension has no value.
    """

    def value(atom: Atom) -> int:
        if isinstance(atom, Sum):
            extent = evaluated(atom.extent, values)
            inner = dict(values)
            total = 0
            for number in range(extent):
                inner[atom.variable] = number
                total += evaluated(atom.body, inner)
            return total
        return values[atom]

    return sizes.evaluate(size, value, memo)


def summed(size: SizeLike, var: Atom, extent: SizeLike) -> SizeLike:
    """Return the sum of a count over the values of a loop's variable."""
    if not _depends(size, var):
        return size * extent
    assert not isinstance(size, int)
    total: SizeLike = 0
    rest: SizeLike = 0
    for monomial, c in size.terms:
        term: SizeLike = c
        for atom in monomial:
            term = term * sizes.of_atom(atom)
        within = [a for a in monomial if _depends(sizes.of_atom(a), var)]
        whole = _over_blocks(within[0], var, extent) if len(within) == 1 else None
        if not within:
            total = total + term * extent
        elif whole is None:
            rest = rest + term
        else:
            for atom in monomial:
                if atom is not within[0]:
                    whole = whole * sizes.of_atom(atom)
            total = total + whole * c
    if rest == 0:
        return total
    left = Sum(var, extent, rest)
    if isinstance(extent, int) and all(a == var for a in value_atoms(rest)):
        return total + evaluated(sizes.of_atom(left), {})
    return total + sizes.of_atom(left)


def _depends(size: SizeLike, var: Atom) -> bool:
    return any(
        atom == var
        or (isinstance(atom, Sum) and (_depends(atom.body, var)))
        or (isinstance(atom, Sum) and _depends(atom.extent, var))
        for atom in value_atoms(size)
    )


def _over_blocks(atom: Atom, var: Atom, extent: SizeLike) -> SizeLike | None:
    """Return the sum of the rows of blocks: ``min(b, n - b*k)`` for all k is n.

    k is the variable, or its remainder by the number of blocks, ``(n + b - 1)//b``.
    """
    if not isinstance(atom, sizes.Function) or atom.name != "min":
        return None
    for block, left in ((atom.left, atom.right), (atom.right, atom.left)):
        if not isinstance(block, int) or isinstance(left, int):
            continue
        for number in (var, *(a for a in left.atoms() if _is_remainder(a, var))):
            whole = left + sizes.of_atom(number) * block
            if _depends(whole, var):
                continue
            blocks = sizes.floordiv(whole + (block - 1), block)
            if number is var:
                return whole if extent == blocks else None
            assert isinstance(number, sizes.Function)
            if number.right == blocks and sizes.divides(blocks, extent):
                return whole * sizes.floordiv(extent, blocks)
    return None


def _is_remainder(atom: Atom, var: Atom) -> bool:
    return (
        isinstance(atom, sizes.Function)
        and atom.name == "%"
        and atom.left == sizes.of_atom(var)
    )
