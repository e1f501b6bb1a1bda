"""Settings of the process that are changed while some block of code runs.

Python's cycle collector walks all nodes again and again as they become more: a tenth of
the time of compiling a graph of a thousand nodes, a third for a hundred thousand. It
finds nothing, for nodes hold no cycles. And a thread that runs Python gives others
their turn every 5 ms: one that compiles with LLVM, and needs Python a few dozen times
for some microseconds, waited 150 ms for a module of 20 ms.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Undo = Callable[[], None]

SOON = 5e-4
"""Seconds after which a thread gives others their turn while threads compile."""


class WhileAny:
    """A change that is made by the first block to begin, and undone by the last to end.

    Blocks may be nested, and threads within at once. There is no lock, which a fork
    could leave taken: a block that begins as another ends may run without the change.

    Parameters
    ----------
    change : callable
    undo_of : callable
        Called before the change: returns what will undo it, or None if it is not to be
        made. So it is undone even if Ctrl-C comes as it is made.
    """

    def __init__(
        self, change: Callable[[], object], undo_of: Callable[[], Undo | None]
    ):
        self._change = change
        self._undo_of = undo_of
        self._undo: Undo | None = None
        self._blocks: dict[object, int] = {}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_other_threads)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Run a block with the change; also a decorator of functions."""
        token = object()
        try:
            first = not self._blocks and self._undo is None
            self._blocks[token] = threading.get_ident()
            undo = self._undo_of() if first else None
            if undo is not None:
                self._undo = undo
                self._change()
            yield
        finally:
            self._end([token])

    def _end(self, tokens: list[object]) -> None:
        gone = [self._blocks.pop(token, None) for token in tokens]
        if any(gone) and not self._blocks:
            undo, self._undo = self._undo, None
            if undo is not None:
                undo()

    def _forget_other_threads(self) -> None:
        """Go on in a forked child as if the threads that it lacks had ended."""
        mine = threading.get_ident()
        self._end([t for t, thread in self._blocks.items() if thread != mine])


def _collection_again() -> Undo | None:
    return _collect if gc.isenabled() else None


def _collect() -> None:
    if not gc.get_freeze_count():
        # what was made meanwhile counts as old: it is not walked at once
        gc.freeze()
        gc.unfreeze()
    gc.enable()


def _longer_turns_again() -> Undo | None:
    before = sys.getswitchinterval()
    return (lambda: sys.setswitchinterval(before)) if before > SOON else None


collection_paused = WhileAny(gc.disable, _collection_again)
"""Keeps the cycle collector from running."""

turns_shortened = WhileAny(lambda: sys.setswitchinterval(SOON), _longer_turns_again)
"""Lets other threads have the interpreter sooner."""
