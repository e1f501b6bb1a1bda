"""Cutting moves off the two ends of a function before it is differentiated.

What only moves elements of `x` (slices, gathers, reshapes) is cut off: the function is
differentiated by what those moves give, which is mostly read by one place only. Of
``(x[1:] - x[:-1]**2)**2`` with respect to the two slices one reverse sweep has all
entries; the moves only say in which columns they go, and which are added up. Moves at
the other end (stack, concatenate) say in which rows they go. That is the elimination of
the moves' vertices from the graph (Griewank and Walther, "Evaluating Derivatives",
chapter 9), and for Hessians partial separability (Griewank and Toint, "On the
unconstrained optimization of partially separable functions", 1982).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.derivatives.batching import substitute
from graphc.derivatives.sparsity.pattern import (
    Known,
    columns_of,
    moved_columns,
    propagate,
)
from graphc.derivatives.sparsity.rows import entry_rows, from_pairs
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops.declare import Move
from graphc.ops.dependence import Selected, SizeOf, shape_of
from graphc.ops.leaf import new_input


class Cut(NamedTuple):
    """A function without the moves at its ends.

    Attributes
    ----------
    outputs : list of Node
        What the last moves read, as functions of `inner`.
    inner : list of Node
        New inputs that stand for what the first moves give.
    places : dict of Node to Node
        What each of them stands for.
    columns : array of int64
        For each element of `inner`, one after the other, the column it goes to; -1 for
        none.
    rows, sources : array of int64
        Row ``rows[k]`` of the result is element ``sources[k]`` of `outputs`.
    """

    outputs: list[Node]
    inner: list[Node]
    places: dict[Node, Node]
    columns: np.ndarray
    rows: np.ndarray
    sources: np.ndarray

    def pattern(self, known: Known, size: SizeOf) -> Any:
        """Return the pattern of all outputs by all of `inner`.

        Without what goes to no row or to no column.
        """
        from scipy.sparse import vstack

        columns, width = columns_of(self.inner, size)
        parts = propagate(self.outputs, columns, width, known, size)
        matrix = vstack(parts, format="csr") if len(parts) > 1 else parts[0]
        read = np.zeros(matrix.shape[0], bool)
        read[self.sources] = True
        if self.columns.min(initial=0) < 0 or not read.all():
            rows = entry_rows(matrix)
            held = read[rows] & (self.columns[matrix.indices] >= 0)
            matrix = from_pairs(rows[held], matrix.indices[held], matrix.shape)
        matrix.sort_indices()
        return matrix

    def spread(
        self, rows: np.ndarray, columns: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where entries (output, inner) go: which, and their row and column."""
        order = np.argsort(self.sources, kind="stable")
        sources = self.sources[order]
        first = np.searchsorted(sources, rows)
        counts = np.searchsorted(sources, rows, side="right") - first
        which = np.repeat(np.arange(len(rows)), counts)
        ahead = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        row = self.rows[order][first[which] + ahead]
        return which, row, self.columns[columns[which]]


def cuts(
    ys: Sequence[Node],
    columns: dict[Node, np.ndarray],
    known: Known,
    size: SizeOf,
    at_outputs: bool = True,
) -> Iterator[Cut]:
    """Yield a function without the moves at its ends, and one with the first ones.

    Parameters
    ----------
    ys : sequence of Node
    columns : dict of Node to array
        Of each node to differentiate by.
    known, size
    at_outputs : bool
        Whether the last moves are cut off.
    """
    order = topological_order(ys)
    wanted = set(columns)
    apart = all(wanted.isdisjoint(topological_order(x.args)) for x in columns)
    plain = list(columns)
    if not apart:  # the derivative by an inner one is added to that through the other
        every = np.concatenate([columns[x] for x in plain])
        yield _ended(ys, plain, {}, every, known, size, False)
        return
    moved = moved_columns(order, columns, known, size)
    inner = _frontier(order, ys, moved)
    choices = [plain] if all(z in wanted for z in inner) else [inner, plain]
    for chosen in choices:
        new = [new_input(z.name or "z", z.type) for z in chosen]
        outputs = substitute(ys, dict(zip(chosen, new)))
        every = np.concatenate([moved[z] for z in chosen])
        places = dict(zip(new, chosen))
        yield _ended(outputs, new, places, every, known, size, at_outputs)


def _frontier(
    order: Sequence[Node], ys: Sequence[Node], moved: dict[Node, np.ndarray]
) -> list[Node]:
    """Return the moved nodes that something else than a move reads."""
    read = {y for y in ys if y in moved}
    for node in order:
        if node not in moved:
            read.update(a for a in node.args if a in moved)
    return [n for n in order if n in read] or list(moved)[:1]


def _ended(
    outputs: Sequence[Node],
    inner: list[Node],
    places: dict[Node, Node],
    columns: np.ndarray,
    known: Known,
    size: SizeOf,
    cutting: bool,
) -> Cut:
    """Return a cut whose outputs are those given, or what their last moves read."""
    found: dict[Node, list[tuple[np.ndarray, np.ndarray]]] = {}
    start = 0
    for y in outputs:
        number = np.arange(math.prod(shape_of(y, size)))
        waiting = [(y, number + start, number)]
        start += len(number)
        while waiting:
            node, rows, elements = waiting.pop()
            parts = _read(node, rows, elements, known, size) if cutting else None
            if parts is None:
                found.setdefault(node, []).append((rows, elements))
            else:
                waiting += parts
    begin = 0
    rows_, sources = [], []
    for node, pairs in found.items():
        for rows, elements in pairs:
            rows_.append(rows)
            sources.append(elements + begin)
        begin += math.prod(shape_of(node, size))
    joint = (
        np.concatenate(p) if p else np.zeros(0, np.int64) for p in (rows_, sources)
    )
    return Cut(list(found), inner, places, columns, *joint)


def _read(
    node: Node, rows: np.ndarray, elements: np.ndarray, known: Known, size: SizeOf
) -> list[tuple[Node, np.ndarray, np.ndarray]] | None:
    """Return which elements of its arguments a move gives; None if it is no move."""
    if not isinstance(node.op, Move):
        return None
    dependences = node.op.pattern(node, known, size)
    if len(dependences) != 1 or not isinstance(dependences[0], Selected):
        return None
    args, source = dependences[0]
    if source is not None:
        elements = source[elements]
    out = []
    start = 0
    for p in args:
        extent = math.prod(shape_of(node.args[p], size))
        here = (elements >= start) & (elements < start + extent)
        if here.any() and known(node.args[p]) is None:
            out.append((node.args[p], rows[here], elements[here] - start))
        start += extent
    return out
