"""What a picture shows: boxes with the user's words, and edges between them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from graphc.graph.graph import Graph, topological_order
from graphc.graph.node import Node
from graphc.graph.origin import passage_of, scope_text
from graphc.graph.text import printable
from graphc.ops.leaf import input_, size_value_, uniform_value
from graphc.surfaces.draw.layout import Edge
from graphc.surfaces.draw.numbers import summary
from graphc.types.dtypes import is_float
from graphc.types.errors import DrawError, made_at

if TYPE_CHECKING:
    from graphc.surfaces.draw.propagation import Propagation

GRADIENT = "\N{PARTIAL DIFFERENTIAL} "
LONGEST_LINE = 44
LONGEST_WORD = 16
_PLAIN = re.compile(r"[^\W\d]\w*(?:\.\w+|\[\w+\])*")


@dataclass(frozen=True)
class Box:
    """A node as it is drawn.

    Attributes
    ----------
    kind : str
        "input", "constant", "forward" or "backward".
    title : str
        The name, or what is computed.
    details : tuple of str
        Further lines: the type, and which output it is.
    is_output : bool
    hint : str
        Where it was made and what was written there; shown when pointed at.
    """

    kind: str
    title: str
    details: tuple[str, ...]
    is_output: bool
    hint: str


@dataclass(frozen=True)
class Diagram:
    """Boxes, numbered so that edges go from smaller to larger numbers, and edges.

    Attributes
    ----------
    boxes : tuple of Box
    edges : tuple of Edge
    nodes : tuple of Node
        The node of each box.
    marks : tuple of (str, str)
        For each edge what is written at its end: what flows along it, and what flows
        back; empty where there are no numbers.
    numbers : tuple of tuple of str
        For each box its value and its gradient, where these are known.
    """

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    nodes: tuple[Node, ...]
    marks: tuple[tuple[str, str], ...]
    numbers: tuple[tuple[str, ...], ...] = ()


def diagram(
    graph: Graph,
    output_names: Sequence[str] | None = None,
    forward: Iterable[Node] | None = None,
    notes: Mapping[Node, str] | None = None,
    flow: Propagation | None = None,
) -> Diagram:
    """Return what to draw of a graph.

    Numbers and sizes are written into the label of what uses them. Edges end at
    places from left to right in the order of the arguments.

    Parameters
    ----------
    graph : Graph
    output_names : sequence of str, optional
        For each output, what to call it.
    forward : iterable of Node, optional
        What these need is drawn as forward, all else as backward. By default the
        first scalar output, if there are further outputs, else everything.
    notes : mapping of Node to str, optional
        A further line for a box.
    flow : Propagation, optional
        Values and gradients: at the ends of edges where they are short, else in boxes.
    """
    notes = notes or {}
    names: dict[Node, list[str]] = {}
    for number, output in enumerate(graph.outputs):
        names.setdefault(output, []).append(
            output_names[number] if output_names else ""
        )
    is_forward = _forward_nodes(graph, forward)
    nodes = [i for i in graph.inputs if i not in set(graph.nodes)] + graph.nodes
    folded = {
        n: text
        for n in nodes
        if n not in names and n not in notes and (text := short_value(n)) is not None
    }
    index: dict[Node, int] = {}
    boxes: list[Box] = []
    edges: list[Edge] = []
    marks: list[tuple[str, str]] = []
    marked: set[Node] = set()
    for node in nodes:
        if node in folded:
            continue
        drawn = [a for a in node.args if a not in folded]
        for place, arg in enumerate(drawn, 1):
            edges.append(Edge(index[arg], len(boxes), place / (len(drawn) + 1)))
        found = _marks(node, drawn, flow)
        marks += found
        marked.update(a for a, mark in zip(drawn, found) if any(mark))
        index[node] = len(boxes)
        boxes.append(_box(node, folded, names.get(node), is_forward, notes.get(node)))
    numbers = [_numbers(node, flow) for node in index]
    for place, (node, own) in enumerate(zip(index, numbers)):
        box = boxes[place]
        if box.is_output or node not in marked:
            boxes[place] = replace(box, details=(*box.details, *own))
    return Diagram(
        tuple(boxes), tuple(edges), tuple(index), tuple(marks), tuple(numbers)
    )


LONGEST_MARK = 9
"""Characters; longer ones would cover others at the ends of edges."""


def _marks(
    node: Node, drawn: Sequence[Node], flow: Propagation | None
) -> list[tuple[str, str]]:
    """Return what is written at the ends of a node's edges."""
    if flow is None:
        return [("", "")] * len(drawn)
    wanted = set(drawn)
    places = [p for p, a in enumerate(node.args) if a in wanted]
    out = []
    for arg, place in zip(drawn, places):
        value = flow.values.get(arg)
        share = flow.shares.get((node, place))
        mark = tuple("" if v is None else summary(v) for v in (value, share))
        short = max(map(len, mark)) <= LONGEST_MARK and len(drawn) < 3
        out.append((mark[0], mark[1]) if short else ("", ""))
    return out


def _numbers(node: Node, flow: Propagation | None) -> tuple[str, ...]:
    if flow is None:
        return ()
    tables = (("= ", flow.values), (GRADIENT, flow.gradients))
    return tuple(sign + summary(t[node]) for sign, t in tables if node in t)


def _box(
    node: Node,
    folded: dict[Node, str],
    outputs: list[str] | None,
    is_forward: set[Node] | None,
    note: str | None,
) -> Box:
    details = [str(node.type)]
    if outputs is not None:
        named = ", ".join(o for o in outputs if o)
        details.append(f"output {named}" if named else "output")
    if note is not None:
        details.append(note)
    if node.op is input_:
        kind = "input"
    elif not node.args:
        kind = "constant"
    else:
        is_backward = is_forward is not None and node not in is_forward
        kind = "backward" if is_backward else "forward"
    return Box(
        kind,
        shorten(printable(_title(node, folded))),
        tuple(shorten(printable(d)) for d in details),
        outputs is not None,
        _hint(node),
    )


def _hint(node: Node) -> str:
    text = f"{node.label()}{made_at(node.origin)}"
    if node.site is not None and (written := passage_of(node.site).text):
        text += f": {written[:200]}"
    if scope := scope_text(node):
        text += f" in {scope}"
    return printable(text)


def _title(node: Node, folded: dict[Node, str]) -> str:
    if node.op is input_:
        return node.name or "input"
    text = node.op.written(node, [folded.get(a) or _word(a) for a in node.args])
    return f"{node.name} = {text}" if node.name else text


def _word(node: Node) -> str | None:
    """Return a name that can stand in an expression, None if it would not read well."""
    name = node.name or ""
    return name if len(name) <= LONGEST_WORD and _PLAIN.fullmatch(name) else None


def short_value(node: Node) -> str | None:
    """Return a leaf as one short word, None if it has none or is no leaf."""
    if node.op is size_value_:
        return str(node.params[0])
    value = None if node.args else uniform_value(node)
    if value is None or (node.name and node.op is input_):
        return None
    text = str(value)
    return text[:-2] if text.endswith(".0") else text


def _forward_nodes(graph: Graph, forward: Iterable[Node] | None) -> set[Node] | None:
    """Return the nodes drawn as forward; None for all of them."""
    if forward is not None:
        chosen = set(topological_order(forward))
        if chosen.isdisjoint(graph.nodes):
            raise DrawError(
                "draw: forward= names no part of this graph. Give expressions that "
                "the drawn ones are built from; a compiled function's graph has been "
                "rewritten and has nodes of its own."
            )
        return chosen
    if len(graph.outputs) < 2:
        return None
    for output in graph.outputs:
        if not output.shape and is_float(output.dtype):
            return set(topological_order([output]))
    return None


# ------------------------------------------------------------------------ text


def shorten(text: str) -> str:
    """Return text of at most `LONGEST_LINE` columns, its middle left out."""
    if columns(text) <= LONGEST_LINE:
        return text
    head, tail = LONGEST_LINE * 2 // 3 - 1, LONGEST_LINE // 3
    while columns(text[:head]) > LONGEST_LINE * 2 // 3 - 1:
        head -= 1
    while columns(text[-tail:]) > LONGEST_LINE // 3:
        tail -= 1
    return f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[-tail:]}"


def columns(text: str) -> int:
    """Return how many columns of a fixed-width font a text fills."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(c)
        else 2
        if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )


def output_names(paths: Sequence[str]) -> list[str]:
    """Return paths into a container, ``['params']['w'][0]``, as ``params.w[0]``."""
    return [re.sub(r"\['(\w+)'\]", r".\1", p).lstrip(".") for p in paths]


def graph_of(subject: Any) -> tuple[Graph, list[str] | None]:
    """Return the graph of an expression, container, graph or compiled function.

    Raises
    ------
    DrawError
        If it is none of these.
    """
    from graphc.expressions.containers import flatten_expressions
    from graphc.types.errors import InputError

    if isinstance(subject, Graph):
        return subject, None
    graph = None if isinstance(subject, Node) else getattr(subject, "graph", None)
    if isinstance(graph, Graph):
        outputs_of = getattr(subject, "_outputs", None)  # of a compiled function
        return graph, outputs_of and output_names(outputs_of.paths(""))
    try:
        outputs, structure = flatten_expressions(subject, "what is drawn")
    except InputError as error:
        raise DrawError(
            f"draw: {error} Give an expression, a list or dict of expressions, a "
            "compiled function, or a graph."
        ) from None
    if not outputs:
        raise DrawError("draw: there is no expression to draw in an empty container.")
    inputs = [n for n in topological_order(outputs) if n.op is input_]
    return Graph(inputs, outputs), output_names(structure.paths(""))
