"""Values and gradients of every node for given inputs, as numbers to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from graphc.backends import reference
from graphc.derivatives.activity import differentiable_positions
from graphc.derivatives.reverse import pull_back
from graphc.graph.graph import Graph, topological_order
from graphc.graph.node import Node
from graphc.ops.leaf import input_, new_input, ones_like
from graphc.runtime.arguments import as_input
from graphc.types.dtypes import is_float
from graphc.types.errors import DrawError, NotDifferentiableError, made_at
from graphc.types.sizes import Dim

MAX_NODES = 5000
"""Nodes above which values and gradients are not computed for a picture."""


class Propagation(NamedTuple):
    """What flows through a graph for given inputs.

    Attributes
    ----------
    values : dict of Node to numpy.ndarray
    root : Node or None
        The scalar that was differentiated, if there is one.
    gradients : dict of Node to numpy.ndarray
        The derivative of `root` by each node it depends on.
    shares : dict of (Node, int) to numpy.ndarray
        For a node and the place of an argument: what flows back along that edge. The
        shares of a node's users add up to its gradient.
    sizes : dict of str to int
        What symbolic sizes are.
    """

    values: dict[Node, np.ndarray]
    root: Node | None
    gradients: dict[Node, np.ndarray]
    shares: dict[tuple[Node, int], np.ndarray]
    sizes: dict[str, int]


def propagate(graph: Graph, at: Any) -> Propagation:
    """Return values and gradients of a graph's nodes, by the interpreter.

    Parameters
    ----------
    graph : Graph
    at : dict of input to array
        A value for every input the outputs need; keys may also be names.

    Raises
    ------
    DrawError
        If a value is missing or for no input, or the graph has more than `MAX_NODES`
        nodes.
    ShapeError, DTypeError
        If a value does not fit its input.
    """
    if len(graph) > MAX_NODES:
        raise DrawError(
            f"draw: at= computes every node; {len(graph)} are too many to look at, "
            f"{MAX_NODES} is the most. Draw without at=, or a part of the graph."
        )
    arrays = _arrays(graph, at)
    dims = reference.bind_sizes(list(arrays), list(arrays.values()))
    reference.check_equalities(reference.equalities(graph), dims)
    reference.check_requirements(reference.requirements(graph), dims)
    nodes = graph.nodes
    values = {**arrays, **_computed(Graph(list(arrays), nodes), arrays, dims)}
    sizes = {str(dim): size for dim, size in dims.items()}
    root = next((o for o in graph.outputs if not o.shape and is_float(o.dtype)), None)
    if root is None:
        return Propagation(values, None, {}, {}, sizes)
    try:
        gradients, shares = _backward(root, values, dims)
    except NotDifferentiableError:
        return Propagation(values, None, {}, {}, sizes)
    return Propagation(values, root, gradients, shares, sizes)


def _arrays(graph: Graph, at: Any) -> dict[Node, np.ndarray]:
    if not isinstance(at, Mapping):
        raise DrawError("draw: at must be a dictionary {input: array}.")
    needed = [n for n in graph.nodes if n.op is input_]
    inputs = dict.fromkeys([*needed, *graph.inputs])
    named: dict[str | None, list[Node]] = {}
    for node in inputs:
        named.setdefault(node.name, []).append(node)
    given: dict[Node, np.ndarray] = {}
    for key, value in at.items():
        found = [key] if isinstance(key, Node) else named.get(key, [])
        if len(found) != 1 or found[0] not in inputs:
            label = key.label() if isinstance(key, Node) else repr(key)
            names = ", ".join(sorted(str(n) for n in named))
            raise DrawError(f"draw: at= has {label}, no one input of {names}.")
        given[found[0]] = as_input(found[0], value)
    for node in needed:
        if node not in given:
            raise DrawError(
                f"draw: at= has no value for the input {node.label()}"
                f"{made_at(node.origin)}."
            )
    return given


def _computed(
    graph: Graph, given: Mapping[Node, np.ndarray], dims: Mapping[Dim, int]
) -> dict[Node, np.ndarray]:
    return dict(zip(graph.outputs, reference.interpret(graph, given, dims)))


def _backward(
    root: Node, values: Mapping[Node, np.ndarray], dims: Mapping[Dim, int]
) -> tuple[dict[Node, np.ndarray], dict[tuple[Node, int], np.ndarray]]:
    nodes = [n for n in topological_order([root]) if is_float(n.dtype)]
    made = pull_back([root], [ones_like(root)], nodes, "zero")
    computed = _computed(Graph([], made), values, dims)
    gradients = {n: computed[g] for n, g in zip(nodes, made)}
    uses: dict[Node, int] = {}
    edges = [(n, p) for n in nodes for p in differentiable_positions(n)]
    for node, place in edges:
        uses[node.args[place]] = uses.get(node.args[place], 0) + 1
    shares: dict[tuple[Node, int], np.ndarray] = {}
    for node, place in edges:
        arg = node.args[place]
        if uses[arg] == 1:
            shares[node, place] = gradients[arg]
        else:
            shares[node, place] = _share(node, place, gradients[node], values, dims)
    return gradients, shares


def _share(
    node: Node,
    place: int,
    gradient: np.ndarray,
    values: Mapping[Node, np.ndarray],
    dims: Mapping[Dim, int],
) -> np.ndarray:
    """Return what flows back from a node to one argument, by the op's own rule."""
    args = tuple(new_input("argument", a.type) for a in node.args)
    seed = new_input("cotangent", node.type)
    local = node.op.rebuild(node, args)
    (back,) = pull_back([local], [seed], [args[place]], "zero")
    given = {a: values[b] for a, b in zip(args, node.args)}
    (out,) = reference.interpret(Graph([], [back]), {**given, seed: gradient}, dims)
    return out
