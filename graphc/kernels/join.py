"""Loops right inside of another made one, where an array's elements lie in one run.

A loop of sixteen rounds within one of thirty-two begins thirty-two times, and fills
vectors badly. Where both variables occur in their row-major combination only, one loop
of all rounds computes the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.kernels.bounds import Bounds
from graphc.kernels.builder import Values
from graphc.kernels.copy import Copy
from graphc.kernels.ir import (
    Kernel,
    Loop,
    LoopVar,
    Statement,
    Store,
    all_values,
    size_of,
    statements,
    value_atoms,
)
from graphc.kernels.rewriter import LoopRewriter
from graphc.types import sizes
from graphc.types.sizes import SizeLike


def join_loops(kernel: Kernel, k: Values) -> Kernel:
    """Return a kernel with perfectly nested loops joined, from the inside out.

    Parameters
    ----------
    kernel : Kernel
    k : Values
        What the kernel's values were built with.
    """
    return _Joiner(kernel, k).run()


class _Joiner(LoopRewriter):
    def loop(self, loop: Loop) -> list[Statement]:
        before = self.changed
        inside = self.body(loop.body)
        if len(inside) == 1 and isinstance(inside[0], Loop):
            joined = self._joined(loop, inside[0])
            if joined is not None:
                self.changed += 1
                return [joined]
        same = self.changed == before
        return [loop if same else Loop(loop.var, loop.extent, inside)]

    def _joined(self, outer: Loop, inner: Loop) -> Loop | None:
        if _depends(inner.extent, outer.var):
            return None
        names = self.names
        var = names.variable(inner.var)
        # the inner variable that makes the combination equal to the new one: the
        # outer variable cancels
        low = -sizes.of_atom(outer.var) * inner.extent
        copy = Copy(self.k, names, inner.var, var, low, Bounds())
        body = copy.statements(inner.body)
        if any(_depends(s, outer.var) for s in _sizes(body)):
            return None
        return Loop(var, outer.extent * inner.extent, body)


def _sizes(body: Sequence[Statement]) -> list[SizeLike]:
    out: list[SizeLike] = []
    for s in statements(body):
        if isinstance(s, Store):
            out.append(s.offset)
        if isinstance(s, Loop):
            out.append(s.extent)
    return out + [size_of(value) for value in all_values(body)]


def _depends(size: SizeLike, var: LoopVar) -> bool:
    return not isinstance(size, int) and var in value_atoms(size)
