"""`Rows`: for each element of an array the set of inputs that it depends on.

The sets are the rows of a sparse boolean matrix; NumPy and SciPy join, select and
merge them in time near the number of their entries.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from graphc.ops.dependence import Dependence, Grouped, Pairs, Running, Selected
from graphc.types.errors import AllocationError

_serial = itertools.count()

MOST = 2**28
"""Entries of a pattern beyond which it is no help: gigabytes, and no longer sparse."""

_most: ContextVar[int] = ContextVar("most", default=MOST)


class TooManyEntries(AllocationError):
    """A pattern has more entries than `MOST`, or `at_most` allows."""


@contextmanager
def at_most(entries: int) -> Iterator[None]:
    """Raise `TooManyEntries` rather than make a pattern with more entries."""
    token = _most.set(min(entries, MOST))
    try:
        yield
    finally:
        _most.reset(token)


def _check(count: int) -> None:
    """Raise `TooManyEntries` if a pattern of so many entries is too large."""
    if count > _most.get():
        raise TooManyEntries(
            f"the structure of the derivative has up to {count:,} entries on the way, "
            f"more than {_most.get():,}: it is hardly sparse. Use forward or reverse "
            "mode, or jvp, vjp and hvp, which form no matrix."
        )


def _check_rows(matrix: Any, picked: np.ndarray) -> None:
    """Raise `TooManyEntries` if some rows of a matrix have too many, all together."""
    _check(int(np.diff(matrix.indptr)[picked].sum(dtype=np.int64)))


class Rows:
    """A boolean CSR matrix, and which other ones it surely contains.

    Attributes
    ----------
    matrix : scipy.sparse.csr_array
        Column indices of a row are sorted, each once.
    """

    __slots__ = ("matrix", "serial", "contains")

    def __init__(self, matrix: Any, contains: frozenset[int] = frozenset()):
        self.matrix = matrix
        self.serial = next(_serial)
        self.contains = contains | {self.serial}


def csr(indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]) -> Any:
    """Return a boolean CSR matrix of these entries."""
    from scipy.sparse import csr_array

    data = np.ones(len(indices), bool)
    return csr_array((data, indices, indptr), shape=shape)


def unit_rows(columns: np.ndarray, width: int) -> Rows:
    """Return rows with one entry each, in the given columns; none for -1."""
    held = columns >= 0
    indptr = np.concatenate([[0], np.cumsum(held)])
    return Rows(csr(columns[held], indptr, (len(columns), width)))


def union(a: Rows, b: Rows) -> Rows:
    """Return the rows of both; one of them where it surely contains the other."""
    if b.serial in a.contains:
        return a
    if a.serial in b.contains:
        return b
    if not a.matrix.nnz:
        return b
    if not b.matrix.nnz:
        return a
    joint = a.matrix + b.matrix
    for x in (a, b):  # of canonical matrices, an equal number of entries says it
        if joint.nnz == x.matrix.nnz:
            return Rows(x.matrix, a.contains | b.contains)
    return Rows(joint, a.contains | b.contains)


def carried(dependence: Dependence, parts: Sequence[Rows | int], size: int) -> Rows:
    """Return the rows of a result from those of its arguments.

    Parameters
    ----------
    dependence : Dependence
    parts : sequence of Rows or int
        Of each argument that it names; an integer is the number of elements of one
        that depends on nothing. Not all are.
    size : int
        The number of elements of the result.
    """
    if isinstance(dependence, Selected) and dependence.source is None:
        (only,) = parts
        assert isinstance(only, Rows)
        return only
    matrix = _stacked(parts)
    if isinstance(dependence, Selected):
        assert dependence.source is not None
        return Rows(_picked(matrix, dependence.source))
    if isinstance(dependence, Grouped):
        merged = _merged(matrix, dependence.group, dependence.total)
        if dependence.result is not None:
            _check_rows(merged, dependence.result)
            merged = merged[dependence.result]
        return Rows(merged)
    if isinstance(dependence, Running):
        return Rows(_running(matrix, dependence))
    return Rows(_paired(matrix, dependence, size))


def _stacked(parts: Sequence[Rows | int]) -> Any:
    from scipy.sparse import csr_array, vstack

    if len(parts) == 1:
        assert isinstance(parts[0], Rows)
        return parts[0].matrix
    width = next(p.matrix.shape[1] for p in parts if isinstance(p, Rows))
    matrices = [
        p.matrix if isinstance(p, Rows) else csr_array((p, width), dtype=bool)
        for p in parts
    ]
    return vstack(matrices, format="csr")


def _picked(matrix: Any, source: np.ndarray) -> Any:
    """Return rows by number, an empty one for -1."""
    if source.size and source.min() < 0:
        indptr = np.append(matrix.indptr, matrix.indptr[-1])
        height = matrix.shape[0]
        matrix = csr(matrix.indices, indptr, (height + 1, matrix.shape[1]))
        source = np.where(source < 0, height, source)
    _check_rows(matrix, source)
    return matrix[source]


def _merged(matrix: Any, group: np.ndarray, count: int) -> Any:
    """Return a row for each group, the union of its rows."""
    if np.any(group[1:] < group[:-1]):
        order = np.argsort(group, kind="stable")
        matrix, group = matrix[order], group[order]
    cuts = np.searchsorted(group, np.arange(count + 1))
    out = csr(matrix.indices.copy(), matrix.indptr[cuts], (count, matrix.shape[1]))
    out.has_canonical_format = False
    out.sum_duplicates()
    return out


def _paired(matrix: Any, pairs: Pairs, size: int) -> Any:
    from scipy.sparse import csr_array

    held = int(np.diff(matrix.indptr)[pairs.argument].sum(dtype=np.int64))
    _check(min(held, size * matrix.shape[1]))
    data = np.ones(len(pairs.result), bool)
    shape = (size, matrix.shape[0])
    incidence = csr_array((data, (pairs.result, pairs.argument)), shape=shape)
    out = incidence @ matrix
    out.sum_duplicates()
    return out


def _running(matrix: Any, running: Running) -> Any:
    """Return for each element the union of the rows up to it along an axis.

    Of each column only the first place along a line counts: from there on all have it.
    """
    _, shape, axis, reverse = running
    if not matrix.nnz:
        return matrix
    width = matrix.shape[1]
    extent = shape[axis]
    numbers = np.arange(matrix.shape[0]).reshape(shape)
    lines = np.moveaxis(numbers, axis, -1)
    lines = (lines[..., ::-1] if reverse else lines).reshape(-1, extent)
    line = np.empty(matrix.shape[0], np.int64)
    place = np.empty(matrix.shape[0], np.int64)
    line[lines] = np.arange(len(lines))[:, None]
    place[lines] = np.arange(extent)
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    key = line[row] * width + matrix.indices
    order = np.lexsort((place[row], key))
    key, first = np.unique(key[order], return_index=True)
    start = place[row[order][first]]
    counts = extent - start
    _check(int(counts.sum()))
    which = np.repeat(np.arange(len(key)), counts)
    ahead = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = lines[key[which] // width, start[which] + ahead]
    return from_pairs(rows, key[which] % width, matrix.shape)


def from_pairs(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Any:
    """Return a boolean CSR matrix of entries that may be repeated."""
    from scipy.sparse import coo_array

    data = np.ones(len(rows), bool)
    out = coo_array((data, (rows, columns)), shape=shape).tocsr()
    out.sum_duplicates()
    return out


def entry_rows(matrix: Any) -> np.ndarray:
    """Return the row of each entry of a CSR matrix."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
