"""Captured CUDA graphs: a call whose arrays repeat is replayed at once.

Launching a kernel takes the host some microseconds, a graph of thirty hardly more than
one. A graph holds addresses, so it serves the calls that have the very arrays of the
one it was captured from: a training loop that donates its parameters, or whose outputs
come from a pool that gives the same memory again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

MOST_GRAPHS = 8
"""Graphs that a function keeps for one set of sizes."""

SEEN_BEFORE = 2
"""Calls with the same arrays after which the next one is captured."""

_MOST_KEYS = 64


class CapturedGraphs:
    """Decides which calls run step by step, are captured, or replayed.

    Attributes
    ----------
    replayed : int
        Calls that were replayed.
    """

    def __init__(self) -> None:
        self.replayed = 0
        self._graphs: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._seen: OrderedDict[tuple[int, ...], int] = OrderedDict()
        self._refused = False

    def run(
        self, run: Any, bases: Sequence[Any], key: tuple[int, ...], device: Any
    ) -> None:
        """Run steps on the arrays of a call, by a graph if there is one for these.

        Parameters
        ----------
        run : device.Run
        bases : sequence of arrays
            All that the steps read and write. A graph keeps none of them alive: it is
            replayed for calls that have memory at its addresses.
        key : tuple of int
            Their addresses.
        device : device.Device
        """
        if self._refused or device.simulated:
            run(bases)
            return
        found = self._graphs.get(key)
        if found is not None:
            self._graphs.move_to_end(key)
            found.launch()
            self.replayed += 1
            return
        count = self._seen.pop(key, 0) + 1
        self._seen[key] = count
        if len(self._seen) > _MOST_KEYS:
            self._seen.popitem(last=False)
        if count <= SEEN_BEFORE:
            run(bases)
            return
        graph = run.capture(bases)
        if graph is None:
            self._refused = True
            run(bases)
            return
        del self._seen[key]
        self._graphs[key] = graph
        if len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)
        graph.launch()
