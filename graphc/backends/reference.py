"""The reference backend: NumPy, node by node. The oracle of all tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.types import sizes
from graphc.types.errors import AllocationError, ShapeError, made_at
from graphc.types.sizes import Dim, SizeLike


def bind_sizes(inputs: Sequence[Node], arrays: Sequence[np.ndarray]) -> dict[Dim, int]:
    """Return the integer of each symbolic dimension, from the arrays' shapes.

    Raises
    ------
    ShapeError
        If two arrays disagree, both being named.
    """
    values: dict[Dim, int] = {}
    source: dict[Dim, str] = {}
    later: list[tuple[Node, int, SizeLike, int]] = []
    for node, array in zip(inputs, arrays):
        if array.ndim != node.ndim:
            raise ShapeError(
                f"{node.name}: an array of {array.ndim} dimensions, shape "
                f"{array.shape}, was given for {node.label()}{made_at(node.origin)}."
            )
        for axis, (declared, actual) in enumerate(zip(node.shape, array.shape)):
            atoms = () if isinstance(declared, int) else tuple(declared.atoms())
            if (
                len(atoms) == 1
                and declared == sizes.of_atom(atoms[0])
                and (isinstance(atoms[0], Dim) and atoms[0] not in values)
            ):
                values[atoms[0]] = actual
                source[atoms[0]] = f"axis {axis} of {node.name}"
            else:
                later.append((node, axis, declared, actual))
    for node, axis, declared, actual in later:
        solve(declared, actual, values)
        unknown = [d for d in sizes.dims(declared) if d not in values]
        if unknown:
            raise ShapeError(
                f"{node.name}: the size {declared} of axis {axis} does not determine "
                f"{unknown[0]}; give another input the plain size {unknown[0]!r}."
            )
        expected = sizes.evaluate(declared, values.__getitem__)
        if expected != actual:
            dims = [d for d in sizes.dims(declared) if d in source]
            origin = f", with {dims[0]} from {source[dims[0]]}" if dims else ""
            raise ShapeError(
                f"{node.name}: axis {axis} has size {actual}, but {node.label()}"
                f"{made_at(node.origin)} needs {declared} == {expected}{origin}."
            )
    return values


def solve(declared: SizeLike, actual: int, values: dict[Dim, int]) -> None:
    """Enter the one unknown of a size linear in it, such as n in ``2*n + 1``."""
    unknown = {d for d in sizes.dims(declared) if d not in values}
    if len(unknown) != 1:
        return
    (d,) = unknown
    at = [
        sizes.evaluate(declared, lambda x, v=v: v if x == d else values[x])  # type: ignore[misc]
        for v in (0, 1, 2)
    ]
    slope = at[1] - at[0]
    if slope and at[2] - at[1] == slope and (actual - at[0]) % slope == 0:
        values[d] = (actual - at[0]) // slope


def check_equalities(
    equalities: Sequence[tuple[SizeLike, SizeLike, Node]], values: Mapping[Dim, int]
) -> None:
    """Raise `ShapeError` for the first two sizes taken as equal that are not."""
    for a, b, node in equalities:
        left = sizes.evaluate(a, values.__getitem__)
        right = sizes.evaluate(b, values.__getitem__)
        if left != right:
            operands = ", ".join(x.label() for x in node.args)
            raise ShapeError(
                f"{node.op.name}{made_at(node.origin)} takes the sizes {a} and {b} as "
                f"equal, but they are {left} and {right}. Operands: {operands}."
            )


def equalities(graph: Graph) -> list[tuple[SizeLike, SizeLike, Node]]:
    """Return the sizes that nodes of a graph take as equal, and the first node."""
    out: dict[tuple[SizeLike, SizeLike], Node] = {}
    if _all_static(graph):
        return []
    with sizes.recorded_equalities() as pairs:
        for node in graph.nodes:
            if node.args:
                node.op.infer(node.args, node.params)
                for pair in pairs:
                    out.setdefault(pair, node)
                pairs.clear()
    return [(a, b, node) for (a, b), node in out.items()]


def _all_static(graph: Graph) -> bool:
    """Tell whether all sizes are integers, checked when the nodes were made."""
    return all(sizes.is_static(n.shape) for n in graph.inputs)


def requirements(graph: Graph) -> list[tuple[SizeLike, Node]]:
    """Return what must not be positive when a graph is called, and for which node."""
    out: dict[SizeLike, Node] = {}
    if _all_static(graph):
        return []
    for node in graph.nodes:
        for need in node.op.requirements(node):
            if not isinstance(need, int) and not sizes.non_negative(-need):
                out.setdefault(need, node)
    return list(out.items())


def check_requirements(
    needs: Sequence[tuple[SizeLike, Node]], values: Mapping[Dim, int]
) -> None:
    """Raise the error of the first node whose requirement is not met."""
    memo: dict[Any, int] = {}

    def size(s: SizeLike) -> int:
        return sizes.evaluate(s, values.__getitem__, memo)

    for need, node in needs:
        if size(need) > 0:
            node.op.check(node, size)


def run(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the outputs of a graph for arrays of exactly the inputs' dtypes."""
    values = bind_sizes(graph.inputs, arrays)
    check_equalities(equalities(graph), values)
    return interpret(graph, dict(zip(graph.inputs, arrays)), values)


def interpret(
    graph: Graph, given: Mapping[Node, Any], values: Mapping[Dim, int]
) -> list[np.ndarray]:
    """Evaluate every node, dropping arrays after their last use."""
    memo: dict[Any, int] = {}

    def size(s: SizeLike) -> int:
        return sizes.evaluate(s, values.__getitem__, memo)

    remaining: dict[Node, int] = {}
    for node in graph.nodes:
        for arg in node.args:
            remaining[arg] = remaining.get(arg, 0) + 1
    keep = set(graph.outputs)
    results: dict[Node, np.ndarray] = dict(given)
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node not in results:
                args = [results[a] for a in node.args]
                try:
                    made = node.op.numpy(node, args, size)
                except MemoryError as error:
                    raise AllocationError(
                        f"memory for {node.label()}{made_at(node.origin)} cannot be "
                        f"had: {error}"
                    ) from None
                results[node] = np.asarray(made, dtype=node.dtype)
            for arg in node.args:
                remaining[arg] -= 1
                if not remaining[arg] and arg not in keep:
                    results.pop(arg, None)
    return [results[o] for o in graph.outputs]
