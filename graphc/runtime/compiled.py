"""What a graph is compiled to: its passes and machine code, each made when needed.

A program that the cache knows as a whole is only loaded. Its graph after the passes and
its schedule are made when they are asked for, by `Function.kernels` and the like, or by
a call that compiled code does not take.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from graphc.backends import reference
from graphc.graph.graph import Graph
from graphc.types import sizes
from graphc.types.sizes import Dim

if TYPE_CHECKING:
    from graphc.backends.cpu.native import NativeEntry

LARGE = 5_000
"""Nodes from which a graph is compiled with Python's cycle collector paused."""

PATIENCE = 2.0
"""Seconds of compilation after which a terminal is told of it."""

_SOME = 500  # nodes below which it never takes that long


@dataclass(frozen=True)
class CompileOptions:
    """How a graph is compiled.

    Attributes
    ----------
    donated : tuple of int
        Positions of the inputs whose memory a call may write to.
    memory_budget : int or None
        Bytes that outputs and workspace may have together.
    sizes : tuple of (str, int)
        The dimensions for which the budget is kept.
    results : str
        "device" or "numpy": where a CUDA device's results go.
    tf32 : bool
        Whether a CUDA device may round the factors of float32 products.
    """

    donated: tuple[int, ...] = ()
    memory_budget: int | None = None
    sizes: tuple[tuple[str, int], ...] = ()
    results: str = "device"
    tf32: bool = False


PLAIN = CompileOptions()


class KernelInfo(NamedTuple):
    """One step of a compiled function.

    Attributes
    ----------
    name : str
        Equal names are one piece of machine code.
    fuses : str
        The ops it computes, and the types it stores.
    """

    name: str
    fuses: str


class Compiled:
    """A graph compiled for one backend.

    Parameters
    ----------
    original : Graph
    options : CompileOptions
    backend : str
        "cpu", "cuda", or "reference", which has no executable: it interprets.

    Attributes
    ----------
    equalities, requirements
        What `reference.check_equalities` and `check_requirements` check in a call.
    """

    def __init__(self, original: Graph, options: CompileOptions, backend: str):
        self.original = original
        self.options = options
        self.equalities = reference.equalities(original)
        self.requirements = reference.requirements(original)
        self._backend = backend
        self._parts: Any = None
        self._graph: Graph | None = None
        self._executable: Any = None
        if backend != "cpu":  # so that mistakes are told when it is compiled
            self.graph  # noqa: B018
            self.executable  # noqa: B018
            return
        from graphc.backends.cpu import program_cache

        key = program_cache.key_of(original, options)
        self._parts = None if key is None else program_cache.load(key)
        if self._parts is None:
            assert self.executable is not None
            self._parts = self.executable.parts
            if key is not None and self._parts is not None:
                self.executable.save(key)

    # without locks, which a fork could leave taken: of two threads one works in vain

    @property
    def graph(self) -> Graph:
        """The graph after all passes."""
        if self._graph is None:
            with _announced(self.original), _collection_paused(self.original):
                self._graph = _simplified(self.original)
        return self._graph

    @property
    def executable(self) -> Any:
        """The machine code with its program, None if there is none."""
        if self._executable is None and self._backend != "reference":
            with _announced(self.original), _collection_paused(self.original):
                self._executable = self._made()
        return self._executable

    def _made(self) -> Any:
        if self._graph is None:
            self._graph = _simplified(self.original)
        dims, options = _dims(self.original), self.options
        donated = [d for d in options.donated if self.original.inputs[d].ndim]
        budget = options.memory_budget
        if self._backend == "cuda":
            from graphc.backends.cuda import device, executable

            settings = executable.Settings(tf32=options.tf32)
            return executable.Executable(
                self._graph, dims, donated, budget, device.current(), settings
            )
        from graphc.backends.cpu.executable import Executable

        return Executable(
            self._graph,
            dims,
            self.equalities,
            self.requirements,
            donated,
            budget,
            dict(options.sizes),
        )

    def entry(self, threads: int) -> NativeEntry | None:
        """Return the function that takes arrays as they should be, None without one."""
        if self._parts is None:
            return None
        from graphc.backends.cpu.native import NativeEntry

        address, dtypes, constants = self._parts
        return NativeEntry(address, dtypes, constants, threads=threads)


def _simplified(graph: Graph) -> Graph:
    from graphc.passes.pipeline import run_passes

    return run_passes(graph)


def _dims(graph: Graph) -> list[Dim]:
    """Return the symbolic dimensions of the inputs."""
    out: dict[Dim, None] = {}
    for node in graph.inputs:
        for s in node.shape:
            out.update(dict.fromkeys(sizes.dims(s)))
    return list(out)


_pauses = 0
_pausing = threading.Lock()


@contextmanager
def _announced(graph: Graph) -> Iterator[None]:
    """Say on a terminal what goes on if it takes longer than `PATIENCE`."""
    if sys.stderr is None or not sys.stderr.isatty() or len(graph) < _SOME:
        yield
        return
    text = f"graphc: compiling a graph of {len(graph)} nodes ..."
    timer = threading.Timer(PATIENCE, print, (text,), {"file": sys.stderr})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _collection_paused(graph: Graph) -> Iterator[None]:
    """Keep Python's cycle collector from walking a large graph again and again.

    It takes a third of the time, and finds nothing: nodes hold no cycles.
    """
    global _pauses
    if len(graph) < LARGE:
        yield
        return
    with _pausing:
        paused = _pauses > 0 or gc.isenabled()
        if paused:
            _pauses += 1
            gc.disable()
    try:
        yield
    finally:
        if paused:
            with _pausing:
                _pauses -= 1
                if not _pauses:
                    if not gc.get_freeze_count():
                        # what was made counts as old: it is not walked at once
                        gc.freeze()
                        gc.unfreeze()
                    gc.enable()
