"""`cost`: operations, bytes and memory of expressions and compiled functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

from graphc.expressions.containers import flatten_expressions
from graphc.graph import operators
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.kernels.sums import Sum, evaluated
from graphc.ops.arithmetic import as_node
from graphc.ops.declare import Move
from graphc.ops.leaf import input_, uniform_value
from graphc.runtime.function import Function
from graphc.surfaces.cost.abbreviate import Abbreviations
from graphc.surfaces.cost.table import cell, html_table, markdown_table, text_table
from graphc.types import sizes
from graphc.types.errors import InputError, made_at
from graphc.types.sizes import Atom, Dim, SizeLike


class Cost(NamedTuple):
    """What a node, a kernel or the whole costs: integers, or formulas in the sizes.

    Attributes
    ----------
    name : str
    flops : SizeLike
        Arithmetic operations, on elements of any dtype: instructions other than
        conversions and calls of functions. A fused multiply-add is two.
    transcendentals : SizeLike
        Calls of exp, sin, pow and the like.
    bytes_read, bytes_written : SizeLike
        Of arrays in memory, each element once.
    loads, stores : SizeLike or None
        Elements moved to and from registers by a kernel; None where tiles follow the
        machine (products, factorizations), and for nodes.
    """

    name: str
    flops: SizeLike = 0
    transcendentals: SizeLike = 0
    bytes_read: SizeLike = 0
    bytes_written: SizeLike = 0
    loads: SizeLike | None = None
    stores: SizeLike | None = None

    @property
    def bytes(self) -> SizeLike:
        """Bytes read and written."""
        return self.bytes_read + self.bytes_written

    @property
    def intensity(self) -> float | str:
        """Operations, calls of functions too, for each byte; text if symbolic."""
        operations = self.flops + self.transcendentals
        if isinstance(operations, int) and isinstance(self.bytes, int):
            return operations / self.bytes if self.bytes else float("nan")
        return f"({operations})/({self.bytes})"

    def at(self, values: Mapping[Any, int], memo: dict[Any, int]) -> Cost:
        """Return the cost for integers in the place of dimensions."""
        numbers = [None if s is None else evaluated(s, values, memo) for s in self[1:]]
        return Cost(self.name, *numbers)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, formulas as text."""
        out = {k: _plain(v) for k, v in self._asdict().items()}
        return {**out, "intensity": self.intensity}


HEAD = (
    *("", "flops", "transcendentals", "bytes read", "bytes written"),
    "flops/byte",
)


LONGEST_NAME = 48
"""Characters of a name in a printed table."""


class CostReport:
    """What an expression or a compiled function costs; made by `graphc.cost`.

    Attributes
    ----------
    total : Cost
        Of a compiled function the sum over its kernels, of expressions over nodes.
    kernels : list of Cost
        One for each entry of ``f.kernels``; empty for expressions.
    nodes : list of Cost
        Each computed node for itself, as if it were not fused; of a compiled function
        those of the graph its kernels compute.
    peak : SizeLike
        Bytes of memory that a call has at once, besides the inputs: for a compiled
        function as planned (`Function.memory`); for expressions those of results
        computed node by node, dropped after their last use.
    """

    def __init__(
        self,
        kernels: list[Cost],
        nodes: list[Cost],
        peak: SizeLike,
        what: str,
        levels: Sequence[Atom] = (),
    ):
        self.kernels = kernels
        self.nodes = nodes
        self.peak = peak
        self.what = what
        self._levels = levels  # what `peak` is computed from, in order
        self.total = _sum(kernels if kernels else nodes)

    def at(self, values: Mapping[Any, int]) -> CostReport:
        """Return the report for integers in the place of dimensions."""
        memo: dict[Any, int] = {}
        for level in self._levels:  # in order, so that evaluation does not go deep
            evaluated(sizes.of_atom(level), values, memo)
        return CostReport(
            [c.at(values, memo) for c in self.kernels],
            [c.at(values, memo) for c in self.nodes],
            evaluated(self.peak, values, memo),
            self.what,
        )

    @property
    def rows(self) -> list[Cost]:
        """What the table shows: kernels, or nodes where there are none, and the sum."""
        return [*(self.kernels or self.nodes), self.total]

    def _cells(
        self, longest: int | None = None
    ) -> tuple[str, list[list[Any]], list[str]]:
        """Return the heading, the cells and what abbreviations in them stand for.

        Names are cut, quotients of formulas left out.
        """
        short = Abbreviations()
        out = []
        for row in self.rows:
            name = row.name
            if longest is not None and len(name) > longest:
                name = name[: longest - 3] + "..."
            intensity = row.intensity
            number = None if isinstance(intensity, str) else intensity
            out.append([name, *map(short.short, row[1:5]), number])
        title = f"{self.what}; peak memory {cell(short.short(self.peak))} bytes"
        return title, out, short.lines()

    def __str__(self) -> str:
        title, cells, lines = self._cells(LONGEST_NAME)
        return "\n".join([title, text_table(HEAD, cells), *lines])

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as dictionaries, lists, numbers and text."""
        return {
            "total": self.total.to_dict(),
            "peak": _plain(self.peak),
            "kernels": [c.to_dict() for c in self.kernels],
            "nodes": [c.to_dict() for c in self.nodes],
        }

    def to_markdown(self) -> str:
        """Return the table in Markdown."""
        _, cells, lines = self._cells()
        return "\n".join([markdown_table(HEAD, cells), *(f"\n{x}" for x in lines)])

    def _repr_html_(self) -> str:
        title, cells, lines = self._cells()
        return html_table(HEAD, cells, "; ".join([title, *lines]))


def cost(
    expression_or_function: Any, sizes: Mapping[str, int] | None = None
) -> CostReport:
    """Count what an expression or a compiled function costs.

    Parameters
    ----------
    expression_or_function : expression, nested containers of them, or Function
        A function compiled for the CPU is counted as its kernels run, so that fusion
        and recomputation count. Expressions, and functions of the reference backend,
        are counted node by node.
    sizes : dict of str to int, optional
        Values for the symbolic dimensions; without them counts are formulas.

    Returns
    -------
    CostReport
        By node, by kernel, and whole; prints as a table.

    Raises
    ------
    InputError
        If a size is no integer of 0 or more, is missing, or no dimension has its
        name; or if what is given is neither an expression nor a compiled function.

    Notes
    -----
    One instruction on one element is one operation, also a comparison and a selection;
    exp, sin, pow and the like are counted apart, as calls. Conversions and arithmetic
    on indices count nothing.

    Examples
    --------
    >>> import graphc as cg
    >>> x = cg.vector("x", "n")
    >>> cg.cost(cg.exp(x) * x).total.flops
    n
    >>> cg.cost(cg.exp(x) * x, sizes={"n": 10}).total.transcendentals
    10
    """
    subject = expression_or_function
    if isinstance(subject, Function):
        report = _of_function(subject)
    else:
        if callable(subject) and not isinstance(subject, Node):
            raise InputError(
                f"cost: {subject!r} is a Python function. Compile it, or call it with "
                "expressions and give what it returns."
            )
        nodes, _ = flatten_expressions(subject, "expression_or_function", as_node)
        report = _of_graph(Graph([], nodes), "node by node")
    if sizes is None:
        return report
    return report.at(given_sizes(sizes, _dims_of(report), "cost"))


def given_sizes(
    given: Mapping[str, int], dims: Sequence[Dim], what: str
) -> dict[Dim, int]:
    """Return the integer of each dimension, checked.

    Raises
    ------
    InputError
        If one is missing, unknown, or no integer of 0 or more.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"{what}: sizes must be a dictionary such as {{'n': 100}}.")
    names = sorted({d.name for d in dims})
    for name, value in given.items():
        if name not in names:
            known = ", ".join(map(repr, names)) or "none"
            raise InputError(
                f"{what}: no dimension is named {name!r}; there are: {known}."
            )
        if not is_size(value):
            raise InputError(
                f"{what}: the size of {name!r} is {value!r}, which is no integer of "
                "0 or more."
            )
    missing = [n for n in names if n not in given]
    if missing:
        raise InputError(f"{what}: sizes are missing: {', '.join(missing)}.")
    return {d: int(given[d.name]) for d in dims}


def is_size(value: Any) -> bool:
    """Tell whether a value is an integer of 0 or more, NumPy's included."""
    return (
        isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0
    )


def dims_in(size: SizeLike) -> list[Dim]:
    """Return the dimensions a count depends on, those within sums too."""
    out: dict[Dim, None] = {}
    waiting = [size]
    seen: set[Atom] = set()
    while waiting:
        s = waiting.pop()
        for atom in s.atoms() if isinstance(s, sizes.Size) else ():
            if atom in seen:
                continue
            seen.add(atom)
            if isinstance(atom, Dim):
                out[atom] = None
            elif isinstance(atom, sizes.Function):
                waiting += (atom.left, atom.right)
            elif isinstance(atom, Sum):
                waiting += (atom.extent, atom.body)
    return list(out)


def _dims_of(report: CostReport) -> list[Dim]:
    out: dict[Dim, None] = {}
    for entry in (*report.kernels, *report.nodes):
        for size in entry[1:]:
            if size is not None:
                out.update(dict.fromkeys(dims_in(size)))
    out.update(dict.fromkeys(dims_in(report.peak)))
    return list(out)


# ------------------------------------------------------------------- functions


def _of_function(function: Function) -> CostReport:
    program = function.program
    if program is None:
        return _of_graph(function.graph, "node by node, by the reference backend")
    from graphc.schedule.cost import program_costs

    kernels = [
        Cost(
            f"{number} {info.fuses}",
            c.flops,
            c.transcendentals,
            c.bytes_read,
            c.bytes_written,
            c.loads,
            c.stores,
        )
        for number, (c, info) in enumerate(
            zip(program_costs(program), function.kernels)
        )
    ]
    nodes = [node_cost(n) for n in program.graph.nodes if _computed(n)]
    levels = program.memory.levels
    return CostReport(kernels, nodes, function.memory, "kernels of a call", levels)


# ----------------------------------------------------------------- expressions


def _of_graph(graph: Graph, what: str) -> CostReport:
    nodes = [node_cost(n) for n in graph.nodes if _computed(n)]
    return CostReport([], nodes, peak_bytes(graph), what)


def _computed(node: Node) -> bool:
    return node.op is not input_ and not node.op.is_constant


def node_cost(node: Node) -> Cost:
    """Return what a node costs if it is computed for itself, from arrays to an array.

    An op that only moves elements reads as many as it writes, and no more than there
    are. A constant of one number is in the code, and not read.
    """
    read: SizeLike = 0
    moves = isinstance(node.op, Move)
    for arg in dict.fromkeys(node.args):
        if uniform_value(arg) is not None:
            continue
        size = sizes.minimum(arg.size, node.size) if moves else arg.size
        read = read + size * arg.dtype.itemsize
    return Cost(
        f"{node.label()}{made_at(node.origin)}",
        node.op.flops(node),
        node.op.transcendentals(node),
        read,
        node_bytes(node),
    )


def node_bytes(node: Node) -> SizeLike:
    """Return the bytes of a node's array."""
    return node.size * node.dtype.itemsize


def peak_bytes(graph: Graph) -> SizeLike:
    """Return the most bytes of results at once, computed node by node in order.

    Each is dropped after its last use. Inputs and constants do not count.
    """
    last = {arg: i for i, node in enumerate(graph.nodes) for arg in node.args}
    for node in graph.outputs:
        last[node] = len(graph.nodes)
    alive: SizeLike = 0
    most: list[SizeLike] = []
    for i, node in enumerate(graph.nodes):
        if not _computed(node):
            continue
        alive = alive + node_bytes(node)
        if not any(_at_most(alive, m) for m in most):
            most = [m for m in most if not _at_most(m, alive)]
            most.append(alive)
        for arg in dict.fromkeys(node.args):
            if _computed(arg) and last[arg] == i:
                alive = alive - node_bytes(arg)
        if node not in last:
            alive = alive - node_bytes(node)
    peak: SizeLike = 0
    for m in most:
        peak = sizes.maximum(peak, m)
    return peak


def _at_most(a: SizeLike, b: SizeLike) -> bool:
    return sizes.non_negative(b - a)


def _sum(costs: Sequence[Cost]) -> Cost:
    total: list[Any] = [0] * 4
    moved: list[Any] = [0, 0]
    for c in costs:
        total = [t + v for t, v in zip(total, c[1:5])]
        moved = [
            None if t is None or v is None else t + v for t, v in zip(moved, c[5:])
        ]
    return Cost("total", *total, *moved)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, sizes.Size) else value


operators.provide(cost=cost)
