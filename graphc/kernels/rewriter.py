"""Rewriting of the loops of a kernel, from the rows inwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphc.kernels.builder import Values
from graphc.kernels.copy import Names
from graphc.kernels.ir import Kernel, Loop, Statement


class LoopRewriter:
    """What rewritings of loops share; each has a `loop` of its own.

    Parameters
    ----------
    kernel : Kernel
    k : Values
        What the kernel's values were built with.

    Attributes
    ----------
    changed : int
        How many loops were rewritten: `loop` counts them.
    """

    def __init__(self, kernel: Kernel, k: Values):
        self.kernel = kernel
        self.k = k
        self.changed = 0
        self._names: Names | None = None

    def run(self) -> Kernel:
        """Return the kernel with its loops rewritten, the same one if none was."""
        parts = self.kernel.loops
        loops = [replace(part, body=self.body(part.body)) for part in parts]
        return replace(self.kernel, loops=loops) if self.changed else self.kernel

    def body(self, body: Sequence[Statement]) -> list[Statement]:
        """Return statements with the loops in them rewritten or as they are."""
        out: list[Statement] = []
        for s in body:
            out += self.loop(s) if isinstance(s, Loop) else [s]
        return out

    def loop(self, loop: Loop) -> Sequence[Statement]:
        """Return what stands for a loop."""
        raise NotImplementedError

    @property
    def names(self) -> Names:
        """Names that the kernel does not have, found when the first is needed."""
        if self._names is None:
            self._names = Names.of(self.kernel)
        return self._names
