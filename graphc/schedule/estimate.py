"""What fusion weighs: bytes through memory against operations done again.

One estimate decides whether a value is kept in memory or computed by each of its
readers. Its unit is an operation on one element in a vector's register. A load and a
store take as long as some operations, whatever the dtype, for registers and lanes of
the caches are as wide for operations as for bytes: an element half as large is loaded,
and computed, in half the time. Arrays that no cache holds cost more, by `FAR`.

`LOAD` and `STORE` keep the boundaries that constants of operations alone had drawn,
which were found with the workloads of `graphc bench`: their loop nests are the same.
`FAR` and `NEAR` were measured (`benchmarks/far_arrays.py`, 32 MB of third-level cache):
an element is stored and loaded in the time of 3 to 4 of the fastest operations, up to
arrays of 8 MiB; in 3.5 (one thread) to 4.4 times that (two) from 64 MiB on; and half
way, by ratio, at 8 to 16 MiB with one thread, at 16 to 32 with two.
"""

from __future__ import annotations

from typing import NamedTuple

from graphc.types.sizes import SizeLike

LOAD = 6
"""Operations in whose time an element is loaded from a cache."""

STORE = 6
"""Operations in whose time an element is stored, to be loaded by another kernel."""

FAR = 4
"""How many times as long that takes for arrays larger than `NEAR`."""

NEAR = 8 << 20
"""Bytes of an array up to which a cache holds it until the next kernel reads it."""

TRANSCENDENTAL = 20
"""What an exp or sin counts in operations."""


class Estimate(NamedTuple):
    """Operations an element costs if readers compute it again, and if it is kept."""

    again: float
    kept: float

    @property
    def keep(self) -> bool:
        """Whether keeping it in memory is the cheaper."""
        return self.again > self.kept


def repeated(cost: int, size: SizeLike, times: SizeLike, itemsize: int) -> Estimate:
    """Weigh a value that readers need several times for each of its elements.

    Parameters
    ----------
    cost : int
        Operations to compute an element.
    size : SizeLike
        How many elements it has; unknown sizes count as small.
    times : SizeLike
        How often each is needed; unknown numbers count as large.
    itemsize : int
        Bytes of an element.

    Notes
    -----
    Again: ``times * cost``. Kept: ``cost + store + times * load``, in units of
    operations.
    """
    far = _far(size, itemsize)
    if not isinstance(times, int):
        return Estimate(cost, far * LOAD)  # for each time, of many
    return Estimate(times * cost, cost + far * STORE + times * LOAD * far)


def read_again(
    cost: int, leaves: int, size: SizeLike = 1, itemsize: int = 8
) -> Estimate:
    """Weigh a value that a later kernel could compute from the arrays it comes from.

    Again: ``cost + leaves * load``; kept: ``store + load``. A value that this kernel
    alone uses is computed once either way, so its cost is 0.
    """
    far = _far(size, itemsize)
    return Estimate(cost + leaves * LOAD * far, (STORE + LOAD) * far)


def worth_a_scratch_row(cost: int) -> bool:
    """Tell whether a value is kept for later stages, in cache: ``cost > store``."""
    return cost > STORE


def most_leaves() -> int:
    """Return the arrays up to which a value may be worth computing where it is read."""
    return (STORE + LOAD) // LOAD


def _far(size: SizeLike, itemsize: int) -> int:
    return FAR if isinstance(size, int) and size * itemsize > NEAR else 1
