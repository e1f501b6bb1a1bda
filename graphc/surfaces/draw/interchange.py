"""Graphs for other programs: networkx, GraphML and JSON.

All three say the same of a node, under the name that the text of the graph uses.
"""

from __future__ import annotations

import json
from typing import Any

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.origin import scope_text
from graphc.graph.text import node_names, printable
from graphc.surfaces.draw.diagram import graph_of
from graphc.types.errors import MissingPackageError

JSON_VERSION = 1


def to_networkx(expression: Any) -> Any:
    """Return a graph of expressions as a `networkx.MultiDiGraph`.

    Parameters
    ----------
    expression : expression, nested containers of expressions, compiled function, Graph

    Returns
    -------
    networkx.MultiDiGraph
        A node's key is its name in the text of the graph: the user's, or ``%`` and a
        number. Its attributes are strings and numbers: ``op``, ``type``, ``dtype``,
        ``shape``, ``params``, ``name``, ``file``, ``line``, ``scope`` (names, joined by
        slashes), ``input``, ``output`` (places, from 0, joined by commas). An edge goes
        from an argument to its user;
        its key and its attribute ``position`` are the argument's place.

    Raises
    ------
    DrawError
        If `expression` is none of these.
    MissingPackageError
        If networkx is not installed.

    Examples
    --------
    >>> import graphc as cg
    >>> x = cg.vector("x", "n")
    >>> g = cg.to_networkx(x * x)
    >>> list(g.edges(data="position"))
    [('x', '%1', 0), ('x', '%1', 1)]
    """
    return networkx_graph(graph_of(expression)[0])


def networkx_graph(graph: Graph) -> Any:
    """Return a `Graph` as a `networkx.MultiDiGraph`, as `to_networkx` says."""
    try:
        import networkx
    except ImportError as error:
        raise MissingPackageError(
            "to_networkx and .graphml need networkx: pip install networkx. Without "
            "it, .json holds the same."
        ) from error
    out = networkx.MultiDiGraph()
    for record in records(graph):
        args = record.pop("args")
        key = record.pop("id")
        flat = {k: _flat(v) for k, v in record.items() if v not in (None, [])}
        out.add_node(key, **flat)
        for position, arg in enumerate(args):
            out.add_edge(arg, key, key=position, position=position)
    return out


def _flat(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(str(v) for v in value)
    return value


def graphml(graph: Graph) -> str:
    """Return a graph as the text of a .graphml file."""
    made = networkx_graph(graph)
    import networkx

    for number, (*_, edge) in enumerate(made.edges(data=True)):
        edge["id"] = f"e{number}"
    lines = networkx.generate_graphml(made, edge_id_from_attribute="id")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + "\n".join(lines) + "\n"


def to_json(graph: Graph) -> str:
    """Return a graph as the text of a .json file.

    One object: ``format`` and ``version``, ``nodes`` in topological order, and
    ``inputs`` and ``outputs``, the ids of nodes.
    """
    names = _names(graph)
    data = {
        "format": "graphc",
        "version": JSON_VERSION,
        "inputs": [names[n] for n in graph.inputs],
        "outputs": [names[n] for n in graph.outputs],
        "nodes": list(records(graph)),
    }
    return json.dumps(data, indent=1) + "\n"


def records(graph: Graph) -> list[dict[str, Any]]:
    """Return what is said of each node, in topological order."""
    names = _names(graph)
    outputs: dict[Node, list[int]] = {}
    for place, node in enumerate(graph.outputs):
        outputs.setdefault(node, []).append(place)
    inputs = {node: place for place, node in enumerate(graph.inputs)}
    return [
        {
            "id": name,
            "op": node.op.name,
            "args": [names[a] for a in node.args],
            "params": [printable(p) for p in node.op.param_texts(node.params)],
            "type": str(node.type),
            "dtype": node.dtype.name,
            "shape": [s if isinstance(s, int) else str(s) for s in node.shape],
            "name": node.name and printable(node.name),
            "file": node.origin and printable(node.origin[0]),
            "line": node.origin and node.origin[1],
            "scope": printable(scope_text(node)) or None,
            "input": inputs.get(node),
            "output": outputs.get(node, []),
        }
        for node, name in names.items()
    ]


def _names(graph: Graph) -> dict[Node, str]:
    """Return the names of the nodes; unused inputs come first, as they have none."""
    names = node_names(graph)
    unused: dict[Node, str] = {}
    taken = set(names.values())
    for place, node in enumerate(graph.inputs):
        if node not in names:
            name = printable(node.name or "")
            name = name if name and name not in taken else f"%input{place}"
            taken.add(name)
            unused[node] = name
    return {**unused, **names}
