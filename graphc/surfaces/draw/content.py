"""What the HTML viewer shows, as data: nodes, stages of rewriting, kernels, numbers."""

from __future__ import annotations

import linecache
import os
from collections.abc import Mapping, Sequence
from typing import Any

from graphc.expressions.formula import formula
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.text import printable
from graphc.ops.declare import Elementwise
from graphc.passes.pipeline import Snapshot, run_passes
from graphc.passes.rewrite import Rule, RulePass, pass_name
from graphc.surfaces.draw import scene
from graphc.surfaces.draw.diagram import Diagram, diagram, shorten
from graphc.surfaces.draw.layout import layered
from graphc.surfaces.draw.propagation import Propagation, full_text, summary
from graphc.types import sizes
from graphc.types.errors import GraphcError
from graphc.types.sizes import Dim, SizeLike

ASSUMED_SIZE = 100
"""What a symbolic size is taken as where costs are coloured and none is given."""

MAX_STEPPED = 400
"""Nodes up to which every rule that fired is a step of its own, not only every pass."""
MAX_STEPS = 60
MAX_REWRITTEN = 6000
"""Nodes above which the passes and kernels are left out."""
MAX_PLACED = 300
"""Boxes up to which positions are computed here; else the page lays groups out."""
MAX_LISTING = 20_000
"""Characters of a kernel's source that are shown."""


def content(
    graph: Graph,
    first: Diagram,
    output_names: Sequence[str] | None,
    size_values: Mapping[str, int],
    flow: Propagation | None,
) -> dict[str, Any]:
    """Return the viewer's data; only strings, numbers, lists and dictionaries.

    Parameters
    ----------
    graph : Graph
    first : Diagram
        Of this graph.
    output_names : sequence of str, optional
    size_values : dict of str to int
        For symbolic sizes, where costs are coloured.
    flow : Propagation, optional
        Values and gradients of the graph's nodes.
    """
    table = _Table(size_values)
    stages = [_stage("as written", first, table, flow)]
    kernels: list[dict[str, Any]] = []
    note = ""
    if len(graph) <= MAX_REWRITTEN:
        snapshots: list[Snapshot] = []
        final = run_passes(graph, record=snapshots.append)
        for name, after, fired in _steps(snapshots):
            shown = diagram(after, output_names)
            stages.append(_stage(name, shown, table, None, fired))
        try:
            compiled, kernels = _kernels(final, table)
        except GraphcError as error:
            note = str(error)
        else:
            name = "as compiled: products in the form kernels take"
            stages.append(_stage(name, diagram(compiled, output_names), table, None))
            _inherit_kernels(graph, table)
    else:
        note = f"Passes and kernels are left out above {MAX_REWRITTEN:,} nodes."
    return {
        "nodes": table.rows,
        "lines": table.lines,
        "stages": stages,
        "kernels": kernels,
        "sizes": {str(k): v for k, v in table.sizes.items()},
        "flow": None if flow is None else _flow(flow, table),
        "note": printable(note),
    }


class _Table:
    """A row for each node of any stage; interning makes what is equal one node."""

    def __init__(self, size_values: Mapping[str, int]):
        self.rows: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.sizes: dict[Dim, int] = {}
        self._size_values = size_values
        self._ids: dict[Node, int] = {}
        self._line_ids: dict[tuple[str, int], int] = {}
        self._memo: dict[Any, int] = {}

    def id(self, node: Node) -> int:
        found = self._ids.get(node)
        if found is None:
            found = self._ids[node] = len(self.rows)
            self.rows.append(self._row(node))
        return found

    def known(self, node: Node) -> int | None:
        return self._ids.get(node)

    def _row(self, node: Node) -> dict[str, Any]:
        written = node.size * node.dtype.itemsize
        read: SizeLike = 0
        for arg in node.args:
            read = read + arg.size * arg.dtype.itemsize
        moved = written + read if node.args else 0
        flops, calls = node.op.flops(node), node.op.transcendentals(node)
        row = {
            "op": node.op.name,
            "name": printable(node.name or ""),
            "type": str(node.type),
            "formula": _formula(node),
            "params": [printable(p)[:200] for p in node.op.param_texts(node.params)],
            "line": self._line(node),
            "size": str(written),
            "flops": str(flops),
            "calls": str(calls),
            "bytes": str(moved),
            "f": self._number(flops + calls),
            "b": self._number(moved),
        }
        return {k: v for k, v in row.items() if v not in ("", [], None, "0", 0)}

    def _line(self, node: Node) -> int | None:
        if node.origin is None:
            return None
        found = self._line_ids.get(node.origin)
        if found is None:
            found = self._line_ids[node.origin] = len(self.lines)
            file, line = node.origin
            self.lines.append(
                {
                    "file": printable(os.path.basename(file)),
                    "line": line,
                    "text": shorten(printable(linecache.getline(file, line).strip())),
                }
            )
        return found

    def _number(self, size: SizeLike) -> int:
        return sizes.evaluate(size, self._value, self._memo)

    def _value(self, dim: Dim) -> int:
        if dim not in self.sizes:
            self.sizes[dim] = self._size_values.get(str(dim), ASSUMED_SIZE)
        return self.sizes[dim]


def _formula(node: Node) -> str:
    names = [printable(a.name or f"{a.op.name}(...)") for a in node.args]
    names = [n if n.isidentifier() else n if len(n) < 24 else "..." for n in names]
    if isinstance(node.op, Elementwise):
        return formula(node.op, names).strip("`")
    if not node.args:
        return ""
    params = [printable(p) for p in node.op.param_texts(node.params)]
    return f"{node.op.name}({', '.join([*names, *params])})"[:200]


def _stage(
    name: str,
    shown: Diagram,
    table: _Table,
    flow: Propagation | None,
    fired: Sequence[tuple[Rule, Node]] = (),
) -> dict[str, Any]:
    """Return a diagram as data: boxes, edges, and positions if it is small."""
    ids = [table.id(n) for n in shown.nodes]
    index = {n: i for i, n in enumerate(shown.nodes)}
    boxes = []
    for number, (box, node) in enumerate(zip(shown.boxes, shown.nodes)):
        lines = [box.title, *box.details]
        if flow is not None and node in flow.values:  # room for what is written in
            lines += [
                f"= {summary(numbers[node])}"
                for numbers in (flow.values, flow.gradients)
                if node in numbers
            ]
        width, height = scene.text_size(box.kind, lines)
        row: dict[str, Any] = {
            "n": ids[number],
            "kind": box.kind,
            "lines": [box.title, *box.details],
            "w": round(width, 1),
            "h": round(height, 1),
        }
        if box.is_output:
            row["out"] = True
        boxes.append(row)
    edges = []
    places = iter(shown.edges)
    for node in shown.nodes:
        for position, arg in enumerate(node.args):
            if arg in index:
                edge = next(places)
                edges.append([edge.source, edge.target, position, round(edge.port, 3)])
    out = {"name": name, "boxes": boxes, "edges": edges}
    if len(boxes) <= MAX_PLACED:
        place = layered([b["w"] for b in boxes], [b["h"] for b in boxes], shown.edges)
        out["centers"] = [[round(x, 1), round(y, 1)] for x, y in place.centers]
        out["routes"] = [
            [[round(x, 1), round(y, 1)] for x, y in route] for route in place.routes
        ]
    if fired:
        out["fired"] = [
            {"rule": r.name, "law": printable(r.law), "n": table.known(n)}
            for r, n in fired[:1000]
        ]
    return out


def _steps(
    snapshots: Sequence[Snapshot],
) -> list[tuple[str, Graph, Sequence[tuple[Rule, Node]]]]:
    """Return the graphs to step through: rule by rule where graphs are small."""
    out: list[tuple[str, Graph, Sequence[tuple[Rule, Node]]]] = []
    for turn in snapshots:
        name, run = pass_name(turn.run), turn.run
        small = len(turn.before) <= MAX_STEPPED
        single = small and len(out) + len(turn.fired) <= MAX_STEPS
        if single and isinstance(run, RulePass) and len(turn.fired) > 1:
            for count, (rule, node) in enumerate(turn.fired, 1):
                after, _ = run.run(turn.before, limit=count)
                out.append((f"{name}: {rule.law}", after, [(rule, node)]))
        else:
            law = turn.fired[0][0].law if len(turn.fired) == 1 else ""
            out.append((f"{name}: {law}" if law else name, turn.after, turn.fired))
    return out


def _kernels(final: Graph, table: _Table) -> tuple[Graph, list[dict[str, Any]]]:
    """Return the graph that kernels compute, and these; nodes learn of theirs."""
    from graphc.kernels.text import kernel_text
    from graphc.schedule.evaluate import KernelCall
    from graphc.schedule.explain import explain
    from graphc.schedule.program import schedule

    program = schedule(final)
    rows = []
    for part, call in zip(explain(program).kernels, program.calls):
        if isinstance(call, KernelCall):
            source = kernel_text(call.kernel, f"kernel_{part.number}")
        else:
            source = f"# {call.kind} {call.label}"
        if len(source) > MAX_LISTING:
            source = source[:MAX_LISTING] + "\n..."
        members = [table.id(n) for n in part.nodes]
        for member in members:
            table.rows[member].setdefault("kernels", []).append(part.number)
        rows.append({"label": part.label, "source": source})
    return program.graph, rows


def _inherit_kernels(graph: Graph, table: _Table) -> None:
    """Give the nodes as written the kernels of what became of them."""
    from graphc.schedule.legalize import legalize

    nodes = graph.nodes
    turned = legalize(run_passes(Graph(graph.inputs, nodes)), join=False)
    for node, final in zip(nodes, turned.outputs):
        first, last = table.known(node), table.known(final)
        if first is None or last is None or first == last or not node.args:
            continue
        if "kernels" in table.rows[last]:
            table.rows[first].setdefault("kernels", table.rows[last]["kernels"])


def _flow(flow: Propagation, table: _Table) -> dict[str, Any]:
    """Return values, gradients and the shares of edges as text."""

    def texts(arrays: Mapping[Node, Any]) -> dict[int, list[str]]:
        return {
            i: [summary(array), full_text(array)]
            for node, array in arrays.items()
            if (i := table.known(node)) is not None
        }

    return {
        "values": texts(flow.values),
        "gradients": texts(flow.gradients),
        "root": None if flow.root is None else table.known(flow.root),
        "shares": {
            f"{table.known(node)}:{place}": summary(array)
            for (node, place), array in flow.shares.items()
            if table.known(node) is not None
        },
    }
