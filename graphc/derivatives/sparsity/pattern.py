"""The structure of Jacobians: which entries may differ from zero.

Index sets go through the graph once, arguments first. What an op does to them it says
itself (`Op.pattern`); values are looked at only where they depend on no input:
indices, masks, and zeros of constant factors. Griewank and Walther, "Evaluating
Derivatives" (2nd ed., SIAM 2008), section 7.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.derivatives.activity import Activity, differentiable_positions
from graphc.derivatives.sparsity.rows import Rows, carried, union, unit_rows
from graphc.graph.graph import missing, topological_order
from graphc.graph.node import Node
from graphc.ops.declare import Move
from graphc.ops.dependence import Selected, SizeOf, shape_of
from graphc.ops.leaf import input_
from graphc.types import sizes as sizes_
from graphc.types.errors import InputError, ShapeError, made_at
from graphc.types.sizes import Dim, SizeLike


class Known:
    """The values of nodes that depend on no input, found when asked.

    Parameters
    ----------
    given : mapping of Node to array
        Values of inputs that are known all the same.
    size : callable
        Gives the integer of a size.
    """

    def __init__(self, given: Mapping[Node, np.ndarray], size: SizeOf):
        self._values: dict[Node, np.ndarray] = dict(given)
        self._free: dict[Node, bool] = dict.fromkeys(given, True)
        self._size = size

    def __call__(self, node: Node) -> np.ndarray | None:
        free, values = self._free, self._values
        for n in missing(node, free):
            free[n] = n.op is not input_ and all(free[a] for a in n.args)
        if not free[node]:
            return None
        with np.errstate(all="ignore"):
            for n in missing(node, values):
                made = n.op.numpy(n, [values[a] for a in n.args], self._size)
                values[n] = np.asarray(made, dtype=n.dtype)
        return values[node]


def size_reader(sizes: Mapping[str, int] | None, what: str) -> SizeOf:
    """Return the function that gives the integer of a size.

    Raises
    ------
    ShapeError
        By the function, for a symbolic dimension that `sizes` does not name.
    """
    values = dict(sizes or {})
    memo: dict[Any, int] = {}

    def of_dim(dim: Dim) -> int:
        if dim.serial or dim.name not in values:
            remedy = (
                f"Give it: sizes={{{dim.name!r}: 100}}"
                if sizes is not None
                else "Declare the inputs with integers as sizes"
            )
            raise ShapeError(
                f"{what}: the size {dim.name!r} is symbolic, but the structure of a "
                f"derivative is found for integers. {remedy}."
            )
        return values[dim.name]

    return lambda s: s if isinstance(s, int) else sizes_.evaluate(s, of_dim, memo)


def check_sizes(order: Iterable[Node], size: SizeOf) -> None:
    """Raise the user's error where sizes, now known, do not fit each other."""
    for node in order:
        with sizes_.recorded_equalities() as pairs:
            if node.args:
                node.op.infer(node.args, node.params)
        pairs_: list[tuple[SizeLike, SizeLike]] = pairs
        for a, b in pairs_:
            if size(a) != size(b):
                raise ShapeError(
                    f"{node.op.name}{made_at(node.origin)} takes the sizes {a} and {b} "
                    f"as equal, but they are {size(a)} and {size(b)}."
                )
        node.op.check(node, size)


def columns_of(xs: Sequence[Node], size: SizeOf) -> tuple[dict[Node, np.ndarray], int]:
    """Return the columns of each of `xs`, one after the other, and their number."""
    out: dict[Node, np.ndarray] = {}
    start = 0
    for x in xs:
        count = math.prod(shape_of(x, size))
        if x not in out:
            out[x] = np.arange(start, start + count)
        start += count
    return out, start


def propagate(
    ys: Sequence[Node],
    columns: Mapping[Node, np.ndarray],
    width: int,
    known: Known,
    size: SizeOf,
    disconnected: str = "zero",
) -> list[Any]:
    """Return the pattern of each of `ys`.

    Parameters
    ----------
    ys : sequence of Node
    columns : mapping of Node to array of int64
        For each node to differentiate by, the columns of its elements.
    width : int
        The number of columns.
    known : Known
    size : callable
    disconnected : {"raise", "zero"}

    Returns
    -------
    list of scipy.sparse.csr_array of bool
        Each of shape ``(y.size, width)``.
    """
    from scipy.sparse import csr_array

    order = topological_order(ys)
    edges = Activity(order, ys, list(columns), disconnected).edges
    left: dict[Node, int] = dict.fromkeys(ys, 1)
    for node, positions in edges.items():
        for p in positions:
            left[node.args[p]] = left.get(node.args[p], 0) + 1
    found: dict[Node, Rows] = {}
    for node in order:
        if node not in edges:
            continue
        rows = unit_rows(columns[node], width) if node in columns else None
        if edges[node]:
            flowing = _through(node, edges[node], found, known, size)
            if flowing is not None:
                rows = flowing if rows is None else union(rows, flowing)
        if rows is not None:
            found[node] = rows
        for p in edges[node]:
            arg = node.args[p]
            left[arg] -= 1
            if not left[arg]:
                found.pop(arg, None)
    return [
        found[y].matrix
        if y in found
        else csr_array((math.prod(shape_of(y, size)), width), dtype=bool)
        for y in ys
    ]


def _through(
    node: Node,
    positions: Sequence[int],
    found: Mapping[Node, Rows],
    known: Known,
    size: SizeOf,
) -> Rows | None:
    """Return what a node depends on through its arguments."""
    active = {p for p in positions if node.args[p] in found}
    if not active:
        return None
    count = math.prod(shape_of(node, size))
    total: Rows | None = None
    for dependence in node.op.pattern(node, known, size):
        if active.isdisjoint(dependence.args):
            continue
        parts = [
            found[node.args[p]]
            if p in active
            else math.prod(shape_of(node.args[p], size))
            for p in dependence.args
        ]
        rows = carried(dependence, parts, count)
        total = rows if total is None else union(total, rows)
    return total


def moved_columns(
    order: Sequence[Node],
    columns: Mapping[Node, np.ndarray],
    known: Known,
    size: SizeOf,
) -> dict[Node, np.ndarray]:
    """Return the columns of all nodes that are made of `columns` by moves alone."""
    out = dict(columns)
    for node in order:
        if node in out or not isinstance(node.op, Move):
            continue
        positions = differentiable_positions(node)
        if not any(node.args[p] in out for p in positions):
            continue
        held = [node.args[p] for p in positions]
        if not all(a in out or known(a) is not None for a in held):
            continue
        (dependence,) = node.op.pattern(node, known, size)
        if not isinstance(dependence, Selected):
            continue
        parts = [out[a] if a in out else _nothing(a, size) for a in held]
        stack = np.append(np.concatenate(parts), -1)
        out[node] = stack if dependence.source is None else stack[dependence.source]
    return out


def _nothing(node: Node, size: SizeOf) -> np.ndarray:
    return np.full(math.prod(shape_of(node, size)), -1)


def read_given(at: Mapping[Node, Any] | None, size: SizeOf) -> dict[Node, np.ndarray]:
    """Return the values a user gives of inputs that indices and masks are made of.

    Raises
    ------
    InputError
        If a key is no input of an integer or boolean dtype, or a value does not fit.
    """
    out: dict[Node, np.ndarray] = {}
    for node, value in (at or {}).items():
        if not isinstance(node, Node) or node.op is not input_:
            raise InputError(
                f"at: the key {node!r:.60} is not an input. Give {{input: array}}."
            )
        if node.dtype.kind not in "iub":
            raise InputError(
                f"at: {node.label()} is not an integer or boolean: a structure must "
                "hold for all values of floating-point inputs. Leave it out."
            )
        array = np.asarray(value)
        if array.dtype.kind not in "iub" or array.shape != shape_of(node, size):
            raise InputError(
                f"at: {array.dtype.name}{array.shape} was given for {node.label()}"
                f"{made_at(node.origin)}."
            )
        out[node] = array.astype(node.dtype)
    return out
