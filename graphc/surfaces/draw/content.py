"""What the HTML viewer shows, as data: nodes, stages of rewriting, kernels, numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphc.expressions.formula import formula
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.text import printable
from graphc.ops.declare import Elementwise
from graphc.passes.pipeline import Snapshot, run_passes
from graphc.passes.rewrite import Rule, RulePass, pass_name
from graphc.surfaces.draw import scene
from graphc.surfaces.draw.diagram import Diagram, diagram
from graphc.surfaces.draw.layout import Edge, layered
from graphc.surfaces.draw.numbers import full_text, summary
from graphc.surfaces.draw.places import Places
from graphc.surfaces.draw.propagation import Propagation
from graphc.types import sizes
from graphc.types.errors import GraphcError
from graphc.types.sizes import Dim, SizeLike

if TYPE_CHECKING:
    from graphc.runtime.function import Function
    from graphc.schedule.program import Program

ASSUMED_SIZE = 100
"""What a symbolic size is taken as where costs are coloured and none is given."""

WRITTEN = "as written"
"""The name of the first stage."""
MAX_STEPPED = 400
"""Nodes up to which every rule that fired is a step of its own, not only every pass."""
MAX_STEPS = 60
MAX_REWRITTEN = 6000
"""Nodes above which the passes and kernels are left out."""
MAX_TIMED = 64
"""Steps of a call that are timed: each needs a driver of its own, which takes time."""
MAX_PLACED = 300
"""Boxes up to which positions are computed here; else the page lays groups out."""
MAX_PLACED_ALL = 800
"""Boxes of all stages above which only the first one's positions are computed here."""
MAX_LISTING = 20_000
"""Characters of a kernel's source that are shown."""


def content(
    graph: Graph,
    first: Diagram,
    output_names: Sequence[str] | None,
    size_values: Mapping[str, int],
    flow: Propagation | None,
    function: Function | None = None,
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
    function : Function, optional
        What the graph was compiled to. By default it is compiled here if there are
        values, else only scheduled.

    Notes
    -----
    Where there are values, the steps of a call are timed with them.
    """
    table = _Table({**(flow.sizes if flow else {}), **size_values})
    stages = [_stage(WRITTEN, first, table, flow)]
    kernels: list[dict[str, Any]] = []
    steps: list[float] = []
    note = ""
    if len(graph) <= MAX_REWRITTEN:
        snapshots: list[Snapshot] = []
        final = run_passes(graph, record=snapshots.append)
        turns = _steps(snapshots)
        place = sum(len(after) for _, after, _ in turns) <= MAX_PLACED_ALL
        for name, after, fired in turns:
            shown = diagram(after, output_names)
            stages.append(_stage(name, shown, table, None, fired, place))
        try:
            function = function or _compiled(graph, flow)
            program = _program(final, function)
        except GraphcError as error:
            note = str(error)
        else:
            kernels = _kernels(program, table)
            name = "as compiled: products in the form kernels take"
            shown = diagram(program.graph, output_names)
            stages.append(_stage(name, shown, table, None, (), place))
            _inherit_kernels(graph, program, table)
            if function is not None and flow is not None:
                steps, note = _times(function, flow)
    else:
        note = f"Passes and kernels are left out above {MAX_REWRITTEN:,} nodes."
    return {
        "nodes": table.rows,
        "lines": table.places.lines,
        "scopes": table.places.scopes,
        "stages": stages,
        "kernels": kernels,
        "steps": steps,
        "sizes": {str(k): v for k, v in table.sizes.items()},
        "flow": None if flow is None else _flow(flow, table),
        "note": printable(note),
    }


class _Table:
    """A row for each node of any stage; interning makes what is equal one node."""

    def __init__(self, size_values: Mapping[str, int]):
        self.rows: list[dict[str, Any]] = []
        self.places = Places()
        self.sizes: dict[Dim, int] = {}
        self._size_values = size_values
        self._ids: dict[Node, int] = {}
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
            "line": self.places.line(node),
            "scope": self.places.scope(node),
            "written": self.places.passage(node),
            "size": str(written),
            "flops": str(flops),
            "calls": str(calls),
            "bytes": str(moved),
            "f": self._number(flops + calls),
            "b": self._number(moved),
        }
        empty: tuple[Any, ...] = ("", [], None, "0")
        return {
            k: v
            for k, v in row.items()
            if v not in empty and (v != 0 or k in ("line", "scope"))
        }

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
    return printable(node.op.written(node, names))[:200] if node.args else ""


def _stage(
    name: str,
    shown: Diagram,
    table: _Table,
    flow: Propagation | None,
    fired: Sequence[tuple[Rule, Node]] = (),
    placed: bool = True,
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
    if placed and len(boxes) <= MAX_PLACED:
        room = scene.MARK_ROOM if flow is not None else (0.0, 0.0)
        out.update(_places(boxes, shown.edges, room))
        kinds = [b["kind"] == "backward" for b in boxes]
        if name == WRITTEN and any(kinds) and not all(kinds):
            out["sides"] = _sides(boxes, shown.edges, kinds)
    if fired:
        out["fired"] = [
            {"rule": r.name, "law": printable(r.law), "n": table.known(n)}
            for r, n in fired[:1000]
        ]
    return out


def _places(
    boxes: Sequence[Mapping[str, Any]],
    edges: Sequence[Edge],
    room: tuple[float, float] = (0.0, 0.0),
) -> dict[str, Any]:
    """Return where boxes and edges lie, rounded."""
    place = layered([b["w"] for b in boxes], [b["h"] for b in boxes], edges, room)
    return {
        "centers": [[round(x, 1), round(y, 1)] for x, y in place.centers],
        "routes": [
            [[round(x, 1), round(y, 1)] for x, y in route] for route in place.routes
        ],
    }


def _sides(
    boxes: Sequence[Mapping[str, Any]], edges: Sequence[Edge], backward: Sequence[bool]
) -> list[dict[str, Any]]:
    """Return where the forward and the backward part lie, each for itself."""
    out = []
    for side in (False, True):
        members = [n for n, b in enumerate(backward) if b == side]
        index = {n: i for i, n in enumerate(members)}
        own = [
            k
            for k, e in enumerate(edges)
            if backward[e.source] == backward[e.target] == side
        ]
        inner = [
            Edge(index[edges[k].source], index[edges[k].target], edges[k].port)
            for k in own
        ]
        place = _places([boxes[n] for n in members], inner)
        out.append({"boxes": members, "edges": own, **place})
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


def _compiled(graph: Graph, flow: Propagation | None) -> Function | None:
    """Return the graph compiled if there are values to call it with."""
    if flow is None:
        return None
    from graphc.runtime.compile import compile

    return compile(list(graph.inputs), list(graph.outputs))


def _program(final: Graph, function: Function | None) -> Program:
    program = None if function is None else function.program
    if program is not None:
        return program
    from graphc.schedule.program import schedule

    return schedule(final)


def _times(function: Function, flow: Propagation) -> tuple[list[float], str]:
    """Return the seconds of each step of a call, or why there are none."""
    program = function.program
    if program is not None and len(program.steps) > MAX_TIMED:
        return [], (
            f"No time is measured: {len(program.steps)} steps are more than "
            f"{MAX_TIMED}. f.profile(...) of the compiled function measures them."
        )
    signature = function._signature
    missing = [n.label() for n in signature.nodes if n not in flow.values]
    if missing:
        return [], f"No time is measured: at= has no value for {', '.join(missing)}."
    arguments = signature.arguments([flow.values[n] for n in signature.nodes])
    try:
        profile = function.profile(*arguments)
    except GraphcError as error:
        return [], f"No time is measured: {error}"
    return [s.seconds for s in profile.steps], ""


def _kernels(program: Program, table: _Table) -> list[dict[str, Any]]:
    """Return the kernels of a program; nodes learn of theirs."""
    from graphc.kernels.text import kernel_text
    from graphc.schedule.evaluate import KernelCall
    from graphc.schedule.explain import explain

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
        rows.append({"label": part.label, "source": source, "step": part.step})
    return rows


def _inherit_kernels(graph: Graph, program: Program, table: _Table) -> None:
    """Give the nodes as written the kernels of what became of them.

    What no kernel computes by itself any more went into the computation of its users,
    and has their kernels.
    """
    from graphc.schedule.legalize import legalize

    nodes = graph.nodes
    turned = legalize(run_passes(Graph(graph.inputs, nodes)), join=False)
    pairs = [*zip(nodes, turned.outputs), *zip(graph.outputs, program.graph.outputs)]
    for node, final in pairs:
        first, last = table.known(node), table.known(final)
        if first is None or last is None or first == last or not node.args:
            continue
        if "kernels" in table.rows[last]:
            table.rows[first].setdefault("kernels", table.rows[last]["kernels"])
    for node in reversed(nodes):
        user = table.known(node)
        kernels = None if user is None else table.rows[user].get("kernels")
        for arg in node.args if kernels else ():
            row = None if (k := table.known(arg)) is None else table.rows[k]
            if row is not None and arg.args and "kernels" not in row:
                row.update(kernels=kernels, merged=True)


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
