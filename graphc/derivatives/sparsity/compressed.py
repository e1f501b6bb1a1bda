"""Compressed Jacobians and Hessians: few sweeps, then every entry at its place.

Moves at the ends of the function are cut off before (`sparsity.cut`). The sweeps are
those of a colouring of what is left. Where there are few, each is a sweep of its own
whose seed is a constant, of ones mostly, so that all of it that is zero is never
computed; where there are many, they are one sweep along a leading axis, with the seeds
as selections ``where(color == number, 1, 0)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.derivatives.activity import Activity
from graphc.derivatives.arguments import ones
from graphc.derivatives.batching import push_batch, substitute
from graphc.derivatives.forward import push_forward
from graphc.derivatives.reverse import pull_back
from graphc.derivatives.seeds import push_selection
from graphc.derivatives.sparsity.colouring import Coloring, coloring, reading, star
from graphc.derivatives.sparsity.cut import Cut, cuts
from graphc.derivatives.sparsity.matrix import Layout, SparseMatrix
from graphc.derivatives.sparsity.pattern import Known, columns_of, size_reader
from graphc.derivatives.sparsity.rows import entry_rows
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops.dependence import SizeOf, shape_of
from graphc.ops.index import gather, scatter_add
from graphc.ops.leaf import constant, full, iota, new_input, ones_like, scalar_like
from graphc.ops.move import reshape

ENOUGH = 4
"""Sweeps that are so few that no other cut of the function is tried."""

SEPARATE = 8
"""Up to how many sweeps are made each for itself."""


class Share(NamedTuple):
    """Entries that are read from one array.

    Attributes
    ----------
    value : Node
    place : array of int64
        Where in it, flat.
    rows, columns : array of int64
        Where in the matrix; entries of one place are added up.
    """

    value: Node
    place: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


class Plan(NamedTuple):
    """How a sparse derivative will be computed, found without building it.

    What a choice among modes needs to know of this one: `coloring` has the forward and
    the reverse sweeps (`column_colors`, `row_colors`), each about as dear as one
    Jacobian-vector or vector-Jacobian product of the function, and then `nnz` entries
    are moved. Finding a plan takes time near the entries of the patterns of all nodes:
    10 to 100 ns for each, and 0.2 us for each of `nnz` for the colours.

    Attributes
    ----------
    cut : Cut
    matrix : scipy.sparse.csr_array
        The pattern of the function between the moves.
    coloring : Coloring
    columns : dict of Node to array of int64
        Of each node to differentiate by.
    """

    cut: Cut
    matrix: Any
    coloring: Coloring
    columns: dict[Node, np.ndarray]

    @property
    def sweeps(self) -> int:
        """The number of sweeps, forward and reverse."""
        return self.coloring.count

    @property
    def nnz(self) -> int:
        """The number of entries that the sweeps give."""
        return self.matrix.nnz

    def shares(self, size: SizeOf) -> list[Share]:
        """Return where the entries of the result are read."""
        return _back(self.cut, _shares(self.cut, self.matrix, self.coloring, size))


def plan_jacobian(ys: Sequence[Node], xs: Sequence[Node], disconnected: str) -> Plan:
    """Return the plan with the fewest sweeps that was found.

    Raises
    ------
    ShapeError
        If a size is symbolic.
    TooManyEntries
        If a pattern on the way has more entries than `rows.at_most` allows.
    """
    size = size_reader(None, "jacobian")
    Activity(topological_order(ys), ys, xs, disconnected)
    columns, _ = columns_of(xs, size)
    known = Known({}, size)
    plans = (
        (cut, matrix, coloring(matrix))
        for cut in cuts(ys, columns, known, size)
        for matrix in [cut.pattern(known, size)]
    )
    return Plan(*_fewest(plans), columns)


def plan_hessian(y: Node, xs: Sequence[Node], disconnected: str) -> Plan:
    """Return the plan for the second derivatives of a scalar, as `plan_jacobian`."""
    size = size_reader(None, "hessian")
    Activity(topological_order([y]), [y], xs, disconnected)
    columns, _ = columns_of(xs, size)
    known = Known({}, size)

    def plans() -> Iterator[tuple[Cut, Any, Coloring]]:
        for cut in cuts([y], columns, known, size, at_outputs=False):
            gradient = pull_back(cut.outputs, ones(cut.outputs), cut.inner, "zero")
            held = np.flatnonzero(cut.columns >= 0)
            cut = cut._replace(outputs=gradient, rows=cut.columns[held], sources=held)
            matrix = cut.pattern(known, size)
            matrix = matrix.multiply(matrix.T).tocsr()  # symmetric, and so its zeros
            matrix.sort_indices()
            yield cut, matrix, star(matrix)

    return Plan(*_fewest(plans()), columns)


def _fewest(
    plans: Iterator[tuple[Cut, Any, Coloring]],
) -> tuple[Cut, Any, Coloring]:
    best = next(plans)
    while best[2].count > ENOUGH:
        other = next(plans, None)
        if other is None:
            break
        best = other if other[2].count < best[2].count else best
    return best


def sparse_jacobian(
    ys: Sequence[Node], xs: Sequence[Node], plan: Plan
) -> list[list[SparseMatrix]]:
    """Return the derivative of each of `ys` (rows) by each of `xs` (columns)."""
    size = size_reader(None, "jacobian")
    shares = plan.shares(size)
    heights = [_count(y, size) for y in ys]
    starts = np.cumsum([0, *heights])
    return [
        [_block(shares, (int(start), height), _span(plan.columns[x]), x) for x in xs]
        for height, start in zip(heights, starts)
    ]


def sparse_hessian(xs: Sequence[Node], plan: Plan) -> list[list[SparseMatrix]]:
    """Return the second derivatives of a scalar by each pair of `xs`."""
    shares = plan.shares(size_reader(None, "hessian"))
    spans = [_span(plan.columns[x]) for x in xs]
    return [
        [_block(shares, row, column, x) for column, x in zip(spans, xs)]
        for row in spans
    ]


def _count(node: Node, size: SizeOf) -> int:
    return math.prod(shape_of(node, size))


def _span(columns: np.ndarray) -> tuple[int, int]:
    return (int(columns[0]) if len(columns) else 0, len(columns))


# --------------------------------------------------------------------- sweeping


def _shares(cut: Cut, matrix: Any, found: Coloring, size: SizeOf) -> list[Share]:
    """Return the arrays that the sweeps give, and which entries are read where.

    Columns are those of `inner`.
    """
    forward, color, place = reading(matrix, found)
    rows, columns = entry_rows(matrix), matrix.indices.astype(np.int64)
    out: list[Share] = []
    for ahead, taken in ((True, forward), (False, ~forward)):
        if not taken.any():
            continue
        ends = cut.outputs if ahead else cut.inner
        colors = found.columns if ahead else found.rows
        count = found.column_colors if ahead else found.row_colors
        extents = np.array([_count(n, size) for n in ends])
        starts = np.cumsum(extents) - extents
        of = np.searchsorted(starts, place, side="right") - 1
        for first, values in _sweeps(cut, colors, count, ahead, size):
            for number, value in enumerate(values):
                extent = extents[number]
                flat = (color - first) * extent + place - starts[number]
                here = taken & (of == number) & (color >= first)
                here &= color < first + math.prod(map(int, value.shape)) // max(
                    extent, 1
                )
                if here.any():
                    out.append(Share(value, flat[here], rows[here], columns[here]))
    return out


def _sweeps(
    cut: Cut, colors: np.ndarray, count: int, ahead: bool, size: SizeOf
) -> Iterator[tuple[int, list[Node]]]:
    """Yield sweeps: the first colour of each, and what it gives for each end.

    That has the shape of the end, or a leading axis before it, for several colours.
    """
    starts = cut.inner if ahead else cut.outputs
    parts = np.split(colors, np.cumsum([_count(n, size) for n in starts])[:-1])
    if count <= SEPARATE:
        for number in range(count):
            seeds = [_single(n, part == number) for n, part in zip(starts, parts)]
            yield number, _swept(cut, seeds, ahead)
        return
    inputs = [new_input("seed", n.type) for n in starts]
    places = {i: _seeds(n, part, count) for i, n, part in zip(inputs, starts, parts)}
    swept = push_batch(_swept(cut, list(inputs), ahead), places, push_selection)
    yield (
        0,
        [
            value if has_axis else full((count, *value.shape), 0, value.dtype)
            for value, has_axis in swept
        ],
    )


def _swept(cut: Cut, seeds: list[Node | None], ahead: bool) -> list[Node]:
    """Return one sweep; a seed of None is zero."""
    starts = cut.inner if ahead else cut.outputs
    held = [(n, s) for n, s in zip(starts, seeds) if s is not None]
    nodes, given = [n for n, _ in held], [s for _, s in held]
    if ahead:
        return push_forward(cut.outputs, nodes, given, "zero")
    return pull_back(nodes, given, cut.inner, "zero")


def _single(node: Node, on: np.ndarray) -> Node | None:
    if not on.any():
        return None
    if on.all():
        return ones_like(node)
    mask = constant(on.reshape(node.shape))
    return ar.where(mask, scalar_like(1, node), scalar_like(0, node))


def _seeds(node: Node, colors: np.ndarray, count: int) -> Node:
    dtype = np.int16 if count < 2**15 else np.int32
    color = constant(colors.reshape(node.shape), dtype)
    number = reshape(iota(count, dtype), (count,) + (1,) * node.ndim)
    return ar.where(ar.equal(color, number), scalar_like(1, node), scalar_like(0, node))


def _back(cut: Cut, shares: list[Share]) -> list[Share]:
    """Return shares as functions of the inputs, for rows and columns of the result."""
    values = substitute([s.value for s in shares], cut.places)
    out = []
    for share, value in zip(shares, values):
        which, rows, columns = cut.spread(share.rows, share.columns)
        out.append(Share(value, share.place[which], rows, columns))
    return out


# ------------------------------------------------------------------- assembling


def _block(
    shares: Sequence[Share], rows: tuple[int, int], columns: tuple[int, int], x: Node
) -> SparseMatrix:
    """Return the matrix of some rows and columns, each given by start and number."""
    (top, height), (first, width) = rows, columns
    parts, keys = [], []
    for share in shares:
        row, column = share.rows - top, share.columns - first
        here = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        if here.any():
            parts.append((share.value, share.place[here]))
            keys.append(row[here] * width + column[here])
    key = np.concatenate(keys) if keys else np.zeros(0, np.int64)
    entries, where = np.unique(key, return_inverse=True)
    counts = np.bincount(entries // max(width, 1), minlength=height)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    layout = Layout(entries % max(width, 1), indptr, (height, width))
    data = full((len(entries),), 0, x.dtype)
    start = 0
    for value, place in parts:
        stop = start + len(place)
        value = ar.cast(value, x.dtype)
        data = _added(data, value, place, where[start:stop])
        start = stop
    return SparseMatrix(data, layout)


def _added(data: Node, value: Node, place: np.ndarray, target: np.ndarray) -> Node:
    """Return `data` with elements of a value added at `target`.

    Where most elements are read, all are added, those that are not as zeros: reading
    in order is worth more than leaving some out.
    """
    total = math.prod(int(s) for s in value.shape)
    while len(place):
        _, first = np.unique(place, return_index=True)
        if 2 * len(first) >= total:
            targets = np.zeros(total, np.int64)
            targets[place[first]] = target[first]
            updates = value
            if len(first) < total:
                mask = np.zeros(total, bool)
                mask[place[first]] = True
                on = constant(mask.reshape(value.shape))
                updates = ar.where(on, value, scalar_like(0, value))
            index = constant(targets.reshape(value.shape))
        else:
            updates = gather(reshape(value, (total,)), [constant(place[first])])
            index = constant(target[first])
        if not updates.ndim:
            updates, index = reshape(updates, (1,)), reshape(index, (1,))
        data = scatter_add(data, updates, [index])
        rest = np.ones(len(place), bool)
        rest[first] = False
        place, target = place[rest], target[rest]
    return data
