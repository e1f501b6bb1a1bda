"""What a schedule is told of the machine it is for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """How finely a program is cut.

    Attributes
    ----------
    name : str
        For messages.
    chunks : int
        Into how many chunks the rows of a kernel are split at the most.
    chunk_work : int
        Operations a chunk should have at least.
    blocks : bool
        Whether short rows are run in blocks, so that loops over rows fill vectors.
    pipelines : bool
        Whether chains of steps run by blocks of rows without barriers.
    """

    name: str
    chunks: int
    chunk_work: int
    blocks: bool
    pipelines: bool


CPU = Machine("cpu", chunks=32, chunk_work=1 << 15, blocks=True, pipelines=True)
"""Chunks for a few cores, each of some microseconds at least."""
