"""Colouring: which columns, or rows, of a sparse matrix one sweep can carry together.

Columns that share no row can be added up and still be told apart (Curtis, Powell and
Reid 1974), so that a Jacobian takes as many sweeps as there are colours in a partial
distance-2 colouring of its bipartite graph (Coleman and Moré 1983). Where a few rows
are dense, these go by rows and the others by columns, or the other way round (Coleman
and Verma 1998). A Hessian is symmetric: an entry may be read in either of its two
places, and a star colouring is enough (Coleman and Moré 1984); the restricted kind
used here asks that, of a path of three vertices whose ends have one colour, the middle
has a smaller one.

All are greedy, in the orders that Gebremedhin, Manne and Pothen (2005) compare. The
colours that are taken beside each row are bits of one integer, so a colouring takes one
step for each entry of the matrix and not one for each pair of entries in a row.

References
----------
A. R. Curtis, M. J. D. Powell, J. K. Reid, "On the estimation of sparse Jacobian
matrices", J. Inst. Math. Appl. 13 (1974), 117-119.
T. F. Coleman, J. J. Moré, "Estimation of sparse Jacobian matrices and graph coloring
problems", SIAM J. Numer. Anal. 20 (1983), 187-209; "Estimation of sparse Hessian
matrices and graph coloring problems", Math. Programming 28 (1984), 243-270.
T. F. Coleman, A. Verma, "The efficient computation of sparse Jacobian matrices using
automatic differentiation", SIAM J. Sci. Comput. 19 (1998), 1210-1233.
A. H. Gebremedhin, F. Manne, A. Pothen, "What color is your Jacobian? Graph coloring for
computing derivatives", SIAM Review 47 (2005), 629-705.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.derivatives.sparsity.rows import entry_rows
from graphc.types.errors import ConfigError, InputError, internal_assert

KINDS = ("auto", "column", "row", "two-sided", "star")
SEARCHED = 2_000_000
"""Pairs of entries in a row up to which the orders that count neighbours are tried."""

LONG = 256
"""Entries of the longest row and column from which long ones are taken apart first."""


@dataclass(frozen=True, eq=False)
class Coloring:
    """A colouring of the columns, the rows, or some of both, of a sparse matrix.

    Attributes
    ----------
    kind : str
        "column", "row", "two-sided" or "star".
    columns, rows : array of int64
        The colour of each column and row, from 0; -1 for one that no sweep carries.
    column_colors, row_colors : int
        Forward and reverse sweeps that are needed.
    nnz : int
        Entries of the pattern.
    """

    kind: str
    columns: np.ndarray
    rows: np.ndarray
    column_colors: int
    row_colors: int
    nnz: int

    @property
    def count(self) -> int:
        """The number of sweeps."""
        return self.column_colors + self.row_colors

    def __repr__(self) -> str:
        return (
            f"<{self.kind} Coloring of {len(self.rows)} x {len(self.columns)}, "
            f"{self.nnz} entries: {self.column_colors} columns, {self.row_colors} rows>"
        )


def coloring(pattern: Any, kind: str = "auto") -> Coloring:
    """Return a colouring by which a sparse matrix can be computed in few sweeps.

    Parameters
    ----------
    pattern : scipy.sparse array or matrix, or array_like
        Its entries that are stored, or of a dense one that are not 0.
    kind : {"auto", "column", "row", "two-sided", "star"}
        "column": columns of a colour share no row (forward sweeps). "row": rows of a
        colour share no column (reverse sweeps). "two-sided": some rows apart from the
        columns of the others, or the other way round. "star": for a symmetric matrix.
        "auto" takes the fewest of the first three.

    Returns
    -------
    Coloring

    Raises
    ------
    ConfigError
        For another kind.
    InputError
        If the pattern is no matrix, or for "star" not symmetric.

    Notes
    -----
    No colouring by columns has less colours than the longest row has entries. Where the
    natural order reaches that, no other is tried.
    """
    if kind not in KINDS:
        names = ", ".join(repr(k) for k in KINDS)
        raise ConfigError(
            f"coloring: the kind {kind!r} is unknown; use one of {names}."
        )
    matrix = _as_pattern(pattern)
    height, width = matrix.shape
    if kind == "star":
        if height != width or (matrix != matrix.T).nnz:
            raise InputError(
                "coloring: a star colouring is one of a symmetric pattern, as a "
                'Hessian has. Use "auto" for others.'
            )
        return star(matrix)
    if kind == "column":
        return by_columns(matrix)
    turned = matrix.T.tocsr()
    if kind == "row":
        return _transposed(by_columns(turned))
    bounds = _longest(matrix), _longest(turned)
    # columns and rows alone need so many; to colour by many is slow
    found = two_sided(matrix, min(bounds)) if min(bounds) > LONG else None
    if found is not None:
        return found
    if kind == "two-sided":
        found = two_sided(matrix)
    else:
        for by_row in sorted((False, True), key=lambda r: bounds[r]):
            if found is None or bounds[by_row] < found.count:
                other = by_columns(turned if by_row else matrix)
                other = _transposed(other) if by_row else other
                found = other if found is None or other.count < found.count else found
        assert found is not None
        if found.count > 3:
            found = two_sided(matrix, found.count) or found
    assert found is not None
    return found


def _as_pattern(pattern: Any) -> Any:
    from scipy.sparse import csr_array, issparse

    given = pattern if issparse(pattern) else np.asarray(pattern)
    if given.ndim != 2:
        raise InputError(f"coloring: a matrix is needed, not {given.ndim} dimensions.")
    matrix = csr_array(given)
    data = np.ones(len(matrix.indices), bool)
    out = csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)
    if not matrix.has_canonical_format:
        out = out.copy()
        out.has_canonical_format = False
        out.sum_duplicates()
    return out


def _longest(matrix: Any) -> int:
    """Return the entries of the longest row: so many colours its columns need."""
    return int(np.diff(matrix.indptr).max(initial=0))


def _transposed(c: Coloring) -> Coloring:
    kind = {"column": "row", "row": "column"}.get(c.kind, c.kind)
    return Coloring(kind, c.rows, c.columns, c.row_colors, c.column_colors, c.nnz)


# --------------------------------------------------------------- distance two


def by_columns(matrix: Any) -> Coloring:
    """Return a colouring in which columns of a colour share no row."""
    colors = _best_columns(matrix)
    count = int(colors.max(initial=-1)) + 1
    none = np.full(matrix.shape[0], -1)
    return Coloring("column", colors, none, count, 0, matrix.nnz)


def _best_columns(matrix: Any) -> np.ndarray:
    bound = _longest(matrix)
    rows = _distinct_rows(matrix)
    columns = rows.tocsc()
    best: np.ndarray | None = None
    for order in _orders(rows, columns):
        colors = _greedy(columns, order)
        if best is None or colors.max(initial=-1) < best.max(initial=-1):
            best = colors
        if best.max(initial=-1) + 1 <= bound:
            break
    assert best is not None
    best[np.diff(matrix.tocsc().indptr) == 0] = -1
    return best


def _distinct_rows(matrix: Any) -> Any:
    """Return the rows of a pattern that restrict a colouring, equal ones once.

    Rows are compared by sums of random numbers that stand for their columns.
    """
    lengths = np.diff(matrix.indptr)
    if lengths.min(initial=2) < 2:
        matrix = matrix[np.flatnonzero(lengths > 1)]
    if not matrix.nnz:
        return matrix
    rng = np.random.default_rng(0)
    code = rng.integers(0, 2**63, matrix.shape[1], dtype=np.uint64)
    sums = np.add.reduceat(code[matrix.indices], matrix.indptr[:-1])
    _, first = np.unique(sums, return_index=True)
    return matrix if len(first) == len(sums) else matrix[np.sort(first)]


def _orders(rows: Any, columns: Any) -> Iterator[np.ndarray]:
    """Yield orders of the columns: natural, largest first, others if not too dear."""
    width = columns.shape[1]
    yield np.arange(width)
    lengths = np.diff(rows.indptr)
    degree = columns.T @ lengths if width else lengths  # neighbours, at most
    yield np.argsort(-degree, kind="stable")
    if int((lengths.astype(np.int64) ** 2).sum()) <= SEARCHED:
        graph = (columns.T @ rows).tocsr()
        near = _lists(graph)
        yield smallest_last(near)
        yield incidence_degree(near)


def _lists(graph: Any) -> list[list[int]]:
    """Return the neighbours of each vertex of a graph in CSR form."""
    pointers, entries = graph.indptr.tolist(), graph.indices.tolist()
    return [entries[i:j] for i, j in pairwise(pointers)]


def _greedy(columns: Any, order: np.ndarray) -> np.ndarray:
    """Give each column the first colour that no column sharing a row with it has."""
    pointers, entries = columns.indptr.tolist(), columns.indices.tolist()
    taken = [0] * columns.shape[0]
    out = [0] * columns.shape[1]
    for j in order.tolist():
        used = 0
        rows = entries[pointers[j] : pointers[j + 1]]
        for i in rows:
            used |= taken[i]
        bit = ~used & (used + 1)  # the lowest that is not set
        for i in rows:
            taken[i] |= bit
        out[j] = bit
    return _numbers(out)


def _numbers(bits: list[int]) -> np.ndarray:
    return np.fromiter((b.bit_length() - 1 for b in bits), np.int64, len(bits))


def smallest_last(near: list[list[int]]) -> np.ndarray:
    """Return the order whose end is, again and again, a vertex of least degree left.

    Matula and Beck, J. ACM 30 (1983), 417-427. `near` holds the neighbours of each.
    """
    degree = [len(n) for n in near]
    return _by_buckets(near, degree, -1)[::-1].copy()


def incidence_degree(near: list[list[int]]) -> np.ndarray:
    """Return the order that takes the vertex with most neighbours before it."""
    return _by_buckets(near, [0] * len(near), 1)


def _by_buckets(near: list[list[int]], key: list[int], step: int) -> np.ndarray:
    """Take vertices one by one, the least (or for step 1 greatest) key first.

    A vertex that is taken changes the keys of its neighbours by `step`.
    """
    buckets: list[list[int]] = [[] for _ in range(max(map(len, near), default=0) + 2)]
    for v in reversed(range(len(near))):
        buckets[key[v]].append(v)
    done = [False] * len(near)
    out: list[int] = []
    at = 0 if step < 0 else len(buckets) - 1
    while len(out) < len(near):
        if not buckets[at]:
            at -= step
            continue
        v = buckets[at].pop()
        if done[v] or key[v] != at:
            continue
        done[v] = True
        out.append(v)
        for w in near[v]:
            if not done[w]:
                key[w] += step
                buckets[key[w]].append(w)
                if (key[w] - at) * step > 0:
                    at = key[w]
    return np.array(out, np.int64)


# ------------------------------------------------------------------- two sides


def two_sided(matrix: Any, known: int | None = None) -> Coloring | None:
    """Return a colouring of some rows, and of the columns of all other rows.

    Or of some columns and the rows of all others, where that takes less. The rows
    taken apart are the longest ones: a cut, found by its length, of the partition of
    Coleman and Verma.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array
    known : int, optional
        Colours that are enough: None is returned if no cut does with less. Left out,
        the columns or the rows alone count as a cut.
    """
    best: Coloring | None = None
    if known is None:
        one, other = by_columns(matrix), _transposed(by_columns(matrix.T.tocsr()))
        best = replace(min(one, other, key=lambda c: c.count), kind="two-sided")
        known = best.count
    for turned in (False, True):
        m = matrix.T.tocsr() if turned else matrix
        found = _cut_rows(m, known)
        if found is not None:
            best = _transposed(found) if turned else found
            known = best.count
    return best


def _cut_rows(matrix: Any, limit: int) -> Coloring | None:
    """Return the best of a few cuts that take long rows apart, if one is good."""
    lengths = np.diff(matrix.indptr)
    steps = np.unique(lengths)[::-1]
    best: Coloring | None = None
    for at in range(1, min(len(steps), 8)):
        long = lengths > steps[at]
        apart = matrix[np.flatnonzero(long)]
        least = int(steps[at]) + _longest(apart.tocsc())
        if least >= limit:
            continue
        rest = matrix[np.flatnonzero(~long)]
        columns = _best_columns(rest)
        rows = np.full(len(lengths), -1)
        rows[long] = _best_columns(apart.T.tocsr())
        ahead, back = (int(c.max(initial=-1)) + 1 for c in (columns, rows))
        if ahead + back < limit:
            best = Coloring("two-sided", columns, rows, ahead, back, matrix.nnz)
            limit = ahead + back
    return best


# ------------------------------------------------------------------------ star


def star(matrix: Any) -> Coloring:
    """Return a star colouring of a symmetric pattern.

    A vertex without entries beside the diagonal has a colour all the same if that one
    is there.
    """
    degree = np.diff(matrix.indptr)
    lists = matrix.indptr.tolist(), matrix.indices.tolist()
    # by falling degree: that is quick for any pattern; of equals the natural order wins
    orders = [(np.argsort(-degree, kind="stable"), 0)]
    if degree.size and degree.min() != degree.max():
        orders.append((np.arange(matrix.shape[0]), 0))
    if matrix.nnz <= SEARCHED:
        orders.append((smallest_last(_lists(matrix)), 1))
    colors, count = orders[0][0], matrix.shape[0] + 1  # of none yet
    for order, fewer in orders:
        found = _greedy_star(*lists, order, count - fewer)
        if found is not None:
            colors, count = found, int(found.max(initial=-1)) + 1
    if _longest(matrix) < count:  # a stricter one needs that many
        other = by_columns(matrix).columns
        colors = other if other.max(initial=-1) + 1 < count else colors
    colors[degree == 0] = -1
    count = int(colors.max(initial=-1)) + 1
    return Coloring("star", colors, np.full_like(colors, -1), count, 0, matrix.nnz)


def _greedy_star(
    pointers: list[int], entries: list[int], order: np.ndarray, most: int
) -> np.ndarray | None:
    """Give each vertex the first colour that a restricted star colouring allows.

    None if these are more than `most`: without this bound, a vertex with neighbours
    all over that comes last makes the cost quadratic.
    """
    limit = 1 << max(most, 0)
    bits = [0] * (len(pointers) - 1)  # the colour of a vertex, as a bit
    near = bits.copy()  # the colours of its neighbours
    for v in order.tolist():
        others = entries[pointers[v] : pointers[v + 1]]
        used = 0
        for w in others:
            bit = bits[w]
            # ends of a path may agree if the middle, w, has a smaller colour
            used |= bit | (near[w] & (bit - 1)) if bit else near[w]
        bit = ~used & (used + 1)
        if bit >= limit:
            return None
        bits[v] = bit
        for w in others:
            near[w] |= bit
    return _numbers(bits)


# -------------------------------------------------------------------- recovery


def _alone(lines: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Tell which entries are the only ones of their colour in their row or column."""
    key = lines * (int(colors.max(initial=0)) + 2) + colors + 1
    if key.max(initial=0) < 8 * len(key):
        times = np.bincount(key)[key]
    else:
        _, where, counts = np.unique(key, return_inverse=True, return_counts=True)
        times = counts[where]
    return (times == 1) & (colors >= 0)


def reading(matrix: Any, c: Coloring) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where in the compressed sweeps each entry of a matrix is read.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array
        Column indices sorted, each once.
    c : Coloring

    Returns
    -------
    forward : array of bool
        Whether it is read from a forward sweep, else from a reverse one.
    color : array of int64
        Of which colour.
    place : array of int64
        At which row of the forward sweep, or column of the reverse one.

    Raises
    ------
    InternalError
        If an entry cannot be read.
    """
    rows, columns = entry_rows(matrix), matrix.indices.astype(np.int64)
    forward = direct = np.zeros(len(rows), bool)
    if c.column_colors:
        forward = direct = _alone(rows, c.columns[columns])
    if c.kind == "star":  # what is not read in its own place is in the mirrored one
        color = np.where(direct, c.columns[columns], c.columns[rows])
        place = np.where(direct, rows, columns)
        key = rows * matrix.shape[1] + columns
        mirrored = np.searchsorted(key, columns * matrix.shape[1] + rows)
        readable, forward = direct | direct[mirrored], np.ones(len(rows), bool)
    else:
        color = np.where(forward, c.columns[columns], c.rows[rows])
        place = np.where(forward, rows, columns)
        readable = forward
        if not forward.all():
            readable = forward | _alone(columns, c.rows[rows])
    internal_assert(bool(np.all(readable)), f"{c!r} leaves entries that cannot be read")
    return forward, color, place
