"""Whether the numbers of a kernel fit 32 bits."""

from __future__ import annotations

from collections.abc import Callable

from graphc.kernels.ir import Kernel, Loop, all_values, size_of
from graphc.types import sizes
from graphc.types.sizes import Function, SizeLike


def largest(kernel: Kernel, size: Callable[[SizeLike], int]) -> int:
    """Return a bound on the numbers that a kernel's extents and sizes are made of.

    Each product within a formula counts, for it is computed before what it is divided
    by. What depends on loops or on computed indices lies within an array, and does not.
    """
    bound = 0
    statements = list(kernel.statements())
    stack: list[SizeLike] = [kernel.rows]
    stack += [s for part in kernel.loops for s in (part.low, part.extent)]
    stack += [s.extent for s in statements if isinstance(s, Loop)]
    stack += [size_of(v) for v in all_values(statements)]
    seen: set[SizeLike] = set()
    while stack:
        formula = stack.pop()
        if formula in seen:
            continue
        seen.add(formula)
        if isinstance(formula, int):
            bound = max(bound, abs(formula))
            continue
        total = 0
        for monomial, factor in formula.terms:
            term = abs(factor)
            for atom in monomial:
                if isinstance(atom, Function):
                    stack += [atom.left, atom.right]
                try:
                    term *= abs(size(sizes.of_atom(atom)))
                except KeyError:
                    term = 0
            total += term
        bound = max(bound, total)
    return bound
