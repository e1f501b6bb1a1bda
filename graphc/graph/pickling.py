"""Pickling of nodes without recursion: a graph goes as a flat list."""

from __future__ import annotations

from typing import Any

from graphc.graph.graph import topological_order
from graphc.graph.node import Node, make_node


def reduce_node(node: Node) -> tuple[Any, ...]:
    """Return what pickle needs to make `node` again."""
    return (rebuild_node, flatten([node]))


def flatten(outputs: list[Node]) -> tuple[list[tuple], list[int]]:
    """Return the nodes under `outputs` as rows that name their arguments by index."""
    order = topological_order(outputs)
    index = {n: i for i, n in enumerate(order)}
    rows = [
        (n.op, tuple(index[a] for a in n.args), n.params, n.type, n.name) for n in order
    ]
    return rows, [index[o] for o in outputs]


def unflatten(rows: list[tuple], outputs: list[int]) -> list[Node]:
    """Undo `flatten`."""
    made: list[Node] = []
    for op, args, params, type, name in rows:
        node = make_node(op, tuple(made[a] for a in args), params, type)
        if name and node.name is None:
            node.name = name
        made.append(node)
    return [made[o] for o in outputs]


def rebuild_node(rows: list[tuple], outputs: list[int]) -> Node:
    """Return the one node that `reduce_node` took apart."""
    return unflatten(rows, outputs)[0]
