"""Text of a graph: one line per node, in topological order."""

from __future__ import annotations

from graphc.graph.graph import Graph
from graphc.graph.node import Node


def printable(text: str) -> str:
    """Return text on one line: control characters are written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def node_names(graph: Graph) -> dict[Node, str]:
    """Return a short unique name for each node: the user's, or ``%`` and a number."""
    names: dict[Node, str] = {}
    taken: set[str] = set()
    for number, node in enumerate(graph.nodes):
        name = printable(node.name or "")
        if not name or name in taken:
            name = f"%{number}"
        taken.add(name)
        names[node] = name
    return names


def dump(graph: Graph) -> str:
    """Return the whole graph as text.

    A line reads ``%3: float64(n,) = multiply(x, %2)``; the last line names the
    outputs.
    """
    names = node_names(graph)
    lines = []
    for node in graph.nodes:
        operands = [names[a] for a in node.args]
        operands += node.op.param_texts(node.params)
        lines.append(
            f"{names[node]}: {node.type} = {node.op.name}({', '.join(operands)})"
        )
    lines.append("return " + ", ".join(names[o] for o in graph.outputs))
    return "\n".join(lines)
