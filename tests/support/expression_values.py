"""Evaluating expressions in tests, by the reference interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.backends.reference import run
from graphc.expressions.containers import flatten
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.leaf import new_input
from graphc.types.tensor_type import tensor_type


def inputs_like(arrays: dict[str, np.ndarray], symbolic: bool) -> dict[str, Node]:
    """Return an input for each array, equal sizes sharing a symbolic dimension."""
    return {
        name: new_input(
            name,
            tensor_type([f"n{s}" if symbolic else s for s in a.shape], a.dtype),
        )
        for name, a in arrays.items()
    }


def evaluate(tree: Any, given: dict[Node, Any]) -> Any:
    """Return nested expressions evaluated; what is no expression is kept."""
    leaves, structure = flatten(tree)
    nodes = [leaf for leaf in leaves if isinstance(leaf, Node)]
    arrays = [np.asarray(a, x.dtype) for x, a in given.items()]
    values = iter(run(Graph(list(given), nodes), arrays))
    return structure.unflatten(
        [next(values) if isinstance(leaf, Node) else leaf for leaf in leaves]
    )
