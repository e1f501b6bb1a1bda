"""What a compiled function's memory is used for, as a table."""

from __future__ import annotations

from typing import Any, NamedTuple

from graphc.graph.graph import Graph
from graphc.schedule.memory import MemoryPlan, Place, evaluator
from graphc.types import sizes
from graphc.types.errors import InputError
from graphc.types.sizes import Dim, SizeLike


class PlannedArray(NamedTuple):
    """An array that a function makes.

    Attributes
    ----------
    name : str
        What it holds, and where that was made.
    size : SizeLike
        Bytes.
    first, last : int
        The steps (positions in ``f.kernels``) that write it first and read it last;
        of an output the number of steps.
    place : str
        "workspace", or the output or input in whose memory it lies.
    offset : SizeLike
        Bytes from the start of that.
    """

    name: str
    size: SizeLike
    first: int
    last: int
    place: str
    offset: SizeLike


class MemoryReport:
    """Planned bytes of a call: integers, or formulas of the symbolic sizes.

    Attributes
    ----------
    inputs : SizeLike
        The arguments; the caller's.
    outputs : SizeLike
        Arrays a call makes to return, without those that lie in donated inputs.
    workspace : SizeLike
        Intermediate arrays; kept by the thread between calls.
    constants : int
        Arrays the function holds.
    peak : SizeLike
        Outputs and workspace: what a call allocates at the most.
    arrays : list of PlannedArray
    """

    def __init__(self, graph: Graph, plan: MemoryPlan):
        self._plan = plan
        self.inputs = _total([_bytes(n) for n in graph.inputs])
        new = [n for i, n in enumerate(graph.outputs) if i not in plan.reused]
        self.outputs = _total([_bytes(n) for n in new])
        self.workspace = plan.workspace
        self.constants = sum(a.nbytes for a in plan.constants)
        self.peak = self.outputs + self.workspace
        self.arrays = [
            PlannedArray(
                a.label,
                a.size,
                a.first,
                a.last,
                _place_text(plan.places[a.key], graph),
                plan.places[a.key].offset,
            )
            for a in plan.arrays
        ]

    def at(self, **dims: int) -> dict[str, int]:
        """Return inputs, outputs, workspace and peak for values of the dimensions.

        Raises
        ------
        InputError
            If the value of a dimension is missing.
        """
        names = ("inputs", "outputs", "workspace", "peak")
        wanted = {d for n in names for d in _dims(getattr(self, n))}
        missing = sorted({d.name for d in wanted} - set(dims))
        if missing:
            raise InputError(f"sizes are missing: {', '.join(missing)}.")
        size = evaluator(self._plan, {d: dims[d.name] for d in _all_dims(self)})
        return {n: size(getattr(self, n)) for n in names}

    def __str__(self) -> str:
        rows = [("array", "bytes", "steps", "place")]
        for a in self.arrays:
            place = a.place + (f" + {a.offset}" if a.place == "workspace" else "")
            rows.append((a.name, str(a.size), f"{a.first}-{a.last}", place))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            f"peak {self.peak} bytes: outputs {self.outputs}, "
            f"workspace {self.workspace}; besides inputs {self.inputs}, "
            f"constants {self.constants}"
        ]
        for row in rows:
            lines.append("  ".join(t.ljust(w) for t, w in zip(row, widths)).rstrip())
        return "\n".join(lines)


def _bytes(node: Any) -> SizeLike:
    return node.size * node.dtype.itemsize


def _total(parts: list[SizeLike]) -> SizeLike:
    out: SizeLike = 0
    for p in parts:
        out = out + p
    return out


def _dims(size: SizeLike) -> list[Dim]:
    return list(sizes.dims(size))


def _all_dims(report: MemoryReport) -> set[Dim]:
    parts = [report.inputs, report.outputs, *(a.size for a in report.arrays)]
    return {d for p in parts for d in _dims(p)}


def _place_text(place: Place, graph: Graph) -> str:
    if place.kind == "input":
        return f"input {graph.inputs[place.number].name}"
    return place.kind if place.kind == "workspace" else f"{place.kind} {place.number}"
