"""Compressed Jacobians and Hessians: few sweeps, then every entry at its place.

First what only moves elements of `x` (slices, gathers, reshapes) is cut off: the
function is differentiated by what those moves give, which is mostly read by one place
only. Of ``(x[1:] - x[:-1]**2)**2`` with respect to the two slices one reverse sweep has
all entries; the moves only say in which columns they go, and which are added up. That
is the elimination of the moves' vertices from the graph (Griewank and Walther,
"Evaluating Derivatives", chapter 9), and for Hessians partial separability (Griewank
and Toint 1982).

The sweeps are those of a colouring. Their seeds are constants for one colour, and else
selections ``where(color == number, 1, 0)`` along a leading axis.
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
from graphc.derivatives.sparsity.colouring import (
    Coloring,
    coloring,
    entry_rows,
    reading,
    star,
)
from graphc.derivatives.sparsity.matrix import Layout, SparseMatrix
from graphc.derivatives.sparsity.pattern import (
    Known,
    columns_of,
    moved_columns,
    propagate,
    size_reader,
)
from graphc.derivatives.sparsity.rows import from_pairs
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops.dependence import SizeOf, shape_of
from graphc.ops.index import gather, scatter_add
from graphc.ops.leaf import constant, full, iota, new_input, ones_like, scalar_like
from graphc.ops.move import reshape


class Cut(NamedTuple):
    """A function after its first moves were cut off.

    Attributes
    ----------
    outputs : list of Node
        The results, as functions of `inner`.
    inner : list of Node
        New inputs that stand for what the moves give.
    places : dict of Node to Node
        What each of them stands for.
    columns : array of int64
        For each element of `inner`, one after the other, the column it goes to; -1 for
        none.
    """

    outputs: list[Node]
    inner: list[Node]
    places: dict[Node, Node]
    columns: np.ndarray


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


def sparse_jacobian(
    ys: Sequence[Node], xs: Sequence[Node], disconnected: str
) -> list[list[SparseMatrix]]:
    """Return the derivative of each of `ys` (rows) by each of `xs` (columns)."""
    size = size_reader(None, "jacobian")
    Activity(topological_order(ys), ys, xs, disconnected)
    columns, width = columns_of(xs, size)
    known = Known({}, size)
    best: tuple[Cut, object, Coloring] | None = None
    for cut in _cuts(ys, columns, known, size):
        matrix = _pattern(cut, known, size)
        found = coloring(matrix)
        if best is None or found.count < best[2].count:
            best = cut, matrix, found
        if best[2].count <= 1:
            break
    assert best is not None
    shares = _back(best[0], _shares(*best, size))
    starts = np.cumsum([0, *(_count(y, size) for y in ys)])
    return [
        [
            _block(shares, (int(start), _count(y, size)), _span(columns[x]), x)
            for x in xs
        ]
        for y, start in zip(ys, starts)
    ]


def sparse_hessian(
    y: Node, xs: Sequence[Node], disconnected: str
) -> list[list[SparseMatrix]]:
    """Return the second derivatives of a scalar by each pair of `xs`."""
    size = size_reader(None, "hessian")
    Activity(topological_order([y]), [y], xs, disconnected)
    columns, _ = columns_of(xs, size)
    known = Known({}, size)
    best: tuple[Cut, object, Coloring] | None = None
    for cut in _cuts([y], columns, known, size):
        gradient = pull_back(cut.outputs, ones(cut.outputs), cut.inner, "zero")
        cut = cut._replace(outputs=gradient)
        matrix = _pattern(cut, known, size)
        matrix = matrix.multiply(matrix.T).tocsr()  # it is symmetric: so are its zeros
        matrix.sort_indices()
        found = star(matrix)
        if best is None or found.count < best[2].count:
            best = cut, matrix, found
    assert best is not None
    cut = best[0]
    shares = [
        s._replace(rows=cut.columns[s.rows])
        for s in _back(cut, _shares(*best, size))
    ]
    spans = [_span(columns[x]) for x in xs]
    return [[_block(shares, row, column, x) for column, x in zip(spans, xs)] for row in spans]


def _count(node: Node, size: SizeOf) -> int:
    return math.prod(shape_of(node, size))


def _span(columns: np.ndarray) -> tuple[int, int]:
    return (int(columns[0]) if len(columns) else 0, len(columns))


# ---------------------------------------------------------------------- cutting


def _cuts(
    ys: Sequence[Node], columns: dict[Node, np.ndarray], known: Known, size: SizeOf
) -> Iterator[Cut]:
    """Yield the function without its first moves, and then as it is."""
    order = topological_order(ys)
    moved = moved_columns(order, columns, known, size)
    wanted = set(columns)
    apart = all(wanted.isdisjoint(topological_order(x.args)) for x in columns)
    inner = _frontier(order, ys, moved) if apart else []
    if inner and any(z not in columns for z in inner):
        yield _cut(ys, inner, np.concatenate([moved[z] for z in inner]))
    plain = list(columns)
    every = np.concatenate([columns[x] for x in plain])
    if apart:
        yield _cut(ys, plain, every)
    else:
        yield Cut(list(ys), plain, {}, every)


def _cut(ys: Sequence[Node], inner: Sequence[Node], columns: np.ndarray) -> Cut:
    new = [new_input(z.name or "z", z.type) for z in inner]
    outputs = substitute(ys, dict(zip(inner, new)))
    return Cut(outputs, new, dict(zip(new, inner)), columns)


def _frontier(
    order: Sequence[Node], ys: Sequence[Node], moved: dict[Node, np.ndarray]
) -> list[Node]:
    """Return the moved nodes that something else than a move reads."""
    read = {y for y in ys if y in moved}
    for node in order:
        if node not in moved:
            read.update(a for a in node.args if a in moved)
    return [n for n in order if n in read]


def _pattern(cut: Cut, known: Known, size: SizeOf) -> Any:
    """Return the pattern of all outputs by all of `inner` that go to a column."""
    from scipy.sparse import vstack

    columns, width = columns_of(cut.inner, size)
    rows = propagate(cut.outputs, columns, width, known, size)
    matrix = vstack(rows, format="csr") if len(rows) > 1 else rows[0]
    if cut.columns.min(initial=0) < 0:
        held = cut.columns[matrix.indices] >= 0
        matrix = from_pairs(
            entry_rows(matrix)[held], matrix.indices[held], matrix.shape
        )
    matrix.sort_indices()
    return matrix


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
        values = _sweep(cut, colors, count, ahead, size)
        start = 0
        for node, value in zip(ends, values):
            extent = _count(node, size)
            here = taken & (place >= start) & (place < start + extent)
            if here.any():
                flat = color[here] * extent + place[here] - start
                out.append(Share(value, flat, rows[here], columns[here]))
            start += extent
    return out


def _sweep(
    cut: Cut, colors: np.ndarray, count: int, ahead: bool, size: SizeOf
) -> list[Node]:
    """Return what one sweep for each color gives: (count, shape...) for each end.

    For a single color without the axis.
    """
    starts = cut.inner if ahead else cut.outputs
    parts = np.split(colors, np.cumsum([_count(n, size) for n in starts])[:-1])
    if count == 1:
        seeds = [_single(n, part) for n, part in zip(starts, parts)]
        return _swept(cut, seeds, ahead)
    inputs = [new_input("seed", n.type) for n in starts]
    places = {
        i: _seeds(n, part, count) for i, n, part in zip(inputs, starts, parts)
    }
    swept = push_batch(_swept(cut, inputs, ahead), places, push_selection)
    return [
        value if has_axis else full((count, *value.shape), 0, value.dtype)
        for value, has_axis in swept
    ]


def _swept(cut: Cut, seeds: list[Node], ahead: bool) -> list[Node]:
    if ahead:
        return push_forward(cut.outputs, cut.inner, seeds, "zero")
    return pull_back(cut.outputs, seeds, cut.inner, "zero")


def _single(node: Node, colors: np.ndarray) -> Node:
    if np.all(colors == 0):
        return ones_like(node)
    mask = constant((colors == 0).reshape(node.shape))
    return ar.where(mask, scalar_like(1, node), scalar_like(0, node))


def _seeds(node: Node, colors: np.ndarray, count: int) -> Node:
    dtype = np.int16 if count < 2**15 else np.int32
    color = constant(colors.reshape(node.shape), dtype)
    number = reshape(iota(count, dtype), (count,) + (1,) * node.ndim)
    return ar.where(ar.equal(color, number), scalar_like(1, node), scalar_like(0, node))


def _back(cut: Cut, shares: list[Share]) -> list[Share]:
    """Return shares as functions of the inputs, their columns those of the inputs."""
    values = substitute([s.value for s in shares], cut.places)
    return [
        s._replace(value=value, columns=cut.columns[s.columns])
        for s, value in zip(shares, values)
    ]


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
    total = math.prod(value.shape)  # type: ignore[arg-type]
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
