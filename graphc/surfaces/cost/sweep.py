"""Counts over a range: modes by one size or two, memory and cost by depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from graphc.derivatives.api import grad, jvp
from graphc.expressions.creation import ones_like
from graphc.graph.node import Node
from graphc.kernels.sums import evaluated
from graphc.runtime.compile import compile
from graphc.surfaces.cost.count import dims_in, given_sizes, is_size
from graphc.surfaces.cost.figure import axes, bound_line, lines, log_scales
from graphc.surfaces.cost.modes import inputs_of
from graphc.surfaces.cost.table import Table
from graphc.types.errors import InputError
from graphc.types.sizes import SizeLike

BOUND = 5
"""Operations of a gradient over those of its function, at the most (Griewank & Walther
2008, "Evaluating Derivatives", 2nd ed., section 4.4: between 3 and 4 or 5, by what a
multiplication costs against an addition; moves of memory counted)."""


class SizePoint(NamedTuple):
    """Operations of both modes for two sizes."""

    first: int
    second: int
    forward: int
    reverse: int

    @property
    def cheaper(self) -> str:
        """The mode with fewer operations; reverse at a tie."""
        return "forward" if self.forward < self.reverse else "reverse"


class SizeSweep(Table):
    """Forward against reverse mode over a grid of two sizes.

    Attributes
    ----------
    names : tuple of str
        The dimensions.
    points : list of SizePoint
    """

    def __init__(self, names: tuple[str, str], points: list[SizePoint]):
        self.names = names
        self.points = points

    @property
    def break_even(self) -> list[tuple[int, int]]:
        """For each first size the least second size from which the winner is another.

        A size without a change is left out.
        """
        out = []
        for first in sorted({p.first for p in self.points}):
            row = sorted(p for p in self.points if p.first == first)
            for before, after in pairwise(row):
                if before.cheaper != after.cheaper:
                    out.append((first, after.second))
                    break
        return out

    @property
    def head(self) -> tuple[str, ...]:
        """The names of the columns."""
        return (*self.names, "forward", "reverse", "cheaper")

    def cells(self) -> list[list[Any]]:
        """Return the rows."""
        return [[*p, p.cheaper] for p in self.points]

    def to_dict(self) -> dict[str, Any]:
        """Return the points and the line as numbers and text."""
        points = [{**p._asdict(), "cheaper": p.cheaper} for p in self.points]
        return {
            "names": list(self.names),
            "points": points,
            "break_even": [list(p) for p in self.break_even],
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the ratio of operations over the grid, and the line where it is one.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default a new figure's.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        MissingPackageError
            Without matplotlib.
        """
        import numpy as np

        ax = axes(ax, "sweep")
        first = sorted({p.first for p in self.points})
        second = sorted({p.second for p in self.points})
        ratio = np.zeros((len(second), len(first)))
        for p in self.points:
            value = np.log10(max(p.forward, 1) / max(p.reverse, 1))
            ratio[second.index(p.second), first.index(p.first)] = value
        most = float(np.abs(ratio).max()) or 1.0
        mesh = ax.pcolormesh(ratio, cmap="PuOr", vmin=-most, vmax=most)
        bar = ax.figure.colorbar(mesh, ax=ax)
        bar.set_label("operations of forward over those of reverse mode")
        shown = [0.0] if most < 0.1 else [-most, -most / 2, 0.0, most / 2, most]
        bar.set_ticks(shown, labels=[f"{10.0**n:.3g}" for n in shown])
        for (row, column), value in np.ndenumerate(ratio):
            ax.text(
                column + 0.5,
                row + 0.5,
                "F" if value < 0 else "R",
                color="white" if abs(value) > 0.6 * most else "black",
                ha="center",
                va="center",
            )
        for along, across in _borders(ratio < 0):
            ax.plot(along, across, color="black", linewidth=2)
        ax.set_xticks([n + 0.5 for n in range(len(first))], labels=map(str, first))
        ax.set_yticks([n + 0.5 for n in range(len(second))], labels=map(str, second))
        name, other = self.names
        ax.set(
            xlabel=name,
            ylabel=other,
            title="cheaper: F forward, R reverse; line: break-even",
        )
        return ax


def _borders(forward: Any) -> list[tuple[list[int], list[int]]]:
    """Return the edges, as x and y of both ends, between cells of another winner."""
    out = []
    rows, columns = forward.shape
    for r in range(rows):
        for c in range(columns):
            if c + 1 < columns and forward[r, c] != forward[r, c + 1]:
                out.append(([c + 1, c + 1], [r, r + 1]))
            if r + 1 < rows and forward[r, c] != forward[r + 1, c]:
                out.append(([c, c + 1], [r + 1, r + 1]))
    return out


class LinePoint(NamedTuple):
    """Operations for one size."""

    size: int
    modes: dict[str, int]
    function: int
    gradient: int

    @property
    def ratio(self) -> float:
        """Of value and vector-Jacobian product over the value; NaN without work."""
        return self.gradient / self.function if self.function else math.nan


class LineSweep(Table):
    """The modes over one size, and the gradient's cost over the function's.

    Attributes
    ----------
    name : str
        The dimension.
    modes : list of str
    points : list of LinePoint
    """

    def __init__(self, name: str, modes: list[str], points: list[LinePoint]):
        self.name, self.modes, self.points = name, modes, points

    @property
    def head(self) -> tuple[str, ...]:
        """The names of the columns."""
        return (self.name, *self.modes, "function", "with gradient", "ratio")

    def cells(self) -> list[list[Any]]:
        """Return the rows."""
        return [
            [p.size, *(p.modes[m] for m in self.modes), p.function, p.gradient, p.ratio]
            for p in self.points
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the points as numbers and text."""
        points = [{**p._asdict(), "ratio": p.ratio} for p in self.points]
        return {"name": self.name, "points": points, "bound": BOUND}

    def plot(self, ax: Any = None, what: str = "operations") -> Any:
        """Draw the operations of each mode, or the ratio beside its bound.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default a new figure's.
        what : {"operations", "ratio"}

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        MissingPackageError
            Without matplotlib.
        InputError
            For another `what`.
        """
        _check_what(what, ("operations", "ratio"))
        ax = axes(ax, "sweep")
        sizes = [p.size for p in self.points]
        if what == "ratio":
            _ratios(ax, sizes, [p.ratio for p in self.points])
            log_scales(ax, sizes, [])
            ax.set_xlabel(self.name)
            return ax
        series = {m: [p.modes[m] for p in self.points] for m in self.modes}
        series["function"] = [p.function for p in self.points]
        lines(ax, sizes, series)
        log_scales(ax, sizes, [v for some in series.values() for v in some])
        ax.set(xlabel=self.name, ylabel="operations", title="cost of the Jacobian")
        return ax


def _ratios(ax: Any, x: Sequence[int], ratios: Sequence[float]) -> None:
    lines(ax, x, {"value and gradient over value": ratios})
    bound_line(ax, BOUND, "Griewank & Walther 2008")
    ax.set(ylabel="ratio of operations", title="gradient over function")


def _check_what(what: str, known: tuple[str, ...]) -> None:
    if what not in known:
        names = " or ".join(repr(name) for name in known)
        raise InputError(f"plot: what={what!r} is unknown; use {names}.")


class Formulas(NamedTuple):
    """Operations as formulas in the sizes.

    Attributes
    ----------
    modes : dict of str to SizeLike
        For each mode, of one call of what it compiled.
    function, gradient : SizeLike
        Of the value; with one vector-Jacobian product.
    columns, results : SizeLike
        Elements to differentiate by, and elements of the result.
    """

    modes: Mapping[str, SizeLike]
    function: SizeLike
    gradient: SizeLike
    columns: SizeLike
    results: SizeLike

    def whole(self, mode: str) -> SizeLike:
        """Return the operations of the whole Jacobian by a mode."""
        if mode != "differences":
            return self.modes[mode]
        entries = self.results * self.columns
        return self.modes[mode] * (self.columns + 1) + 2 * entries


def swept(
    formulas: Formulas,
    others: Mapping[str, int],
    given: Mapping[str, Sequence[int]],
) -> SizeSweep | LineSweep:
    """Evaluate operations over one size or a grid of two; see `ModeReport.sweep`."""
    every = [formulas.whole(m) for m in formulas.modes]
    every += [formulas.function, formulas.gradient]
    dims = {d for size in every for d in dims_in(size)}
    names = sorted({d.name for d in dims})
    if not names:
        raise InputError("sweep: no size is symbolic: every count is one number.")
    if len(given) not in (1, 2) or not set(given) <= set(names):
        raise InputError(
            "sweep: give values for one or two symbolic dimensions; there are: "
            f"{', '.join(names)}."
        )
    if any(isinstance(some, (str, int)) for some in given.values()):
        name = next(n for n, some in given.items() if isinstance(some, (str, int)))
        raise InputError(f"sweep: {name!r} needs a list of sizes, such as [1, 10].")
    given = {name: list(some) for name, some in given.items()}
    for name, some in given.items():
        if not some:
            raise InputError(f"sweep: {name!r} needs a list of sizes, such as [1, 10].")
        for value in some:
            if not is_size(value):
                raise InputError(
                    f"sweep: the size {value!r} of {name!r} is no integer of 0 or more."
                )

    def count(size: SizeLike, **at: int) -> int:
        here = {**others, **{name: int(value) for name, value in at.items()}}
        return evaluated(size, {d: here[d.name] for d in dims})

    if len(given) == 1:
        (name,) = given
        line = []
        for a in given[name]:
            modes = {m: count(formulas.whole(m), **{name: a}) for m in formulas.modes}
            pair = (formulas.function, formulas.gradient)
            line.append(
                LinePoint(int(a), modes, *(count(s, **{name: a}) for s in pair))
            )
        return LineSweep(name, list(formulas.modes), line)
    missing = [m for m in ("forward", "reverse") if m not in formulas.modes]
    if missing:
        raise InputError(f"sweep: there is no {missing[0]} mode to compare.")
    one, other = given
    points = []
    for a in given[one]:
        for b in given[other]:
            at = {one: a, other: b}
            both = (count(formulas.modes[m], **at) for m in ("forward", "reverse"))
            points.append(SizePoint(int(a), int(b), *both))
    return SizeSweep((one, other), points)


class DepthPoint(NamedTuple):
    """What a function of some depth needs.

    Attributes
    ----------
    depth : int
    forward, reverse : int
        Planned bytes of the value with a Jacobian-vector product, and with a gradient.
    function, gradient : int
        Operations of the value, and of it with the gradient.
    """

    depth: int
    forward: int
    reverse: int
    function: int
    gradient: int

    @property
    def ratio(self) -> float:
        """Operations with the gradient over those without; NaN without work."""
        return self.gradient / self.function if self.function else math.nan


class DepthSweep(Table):
    """Memory of both modes and the gradient's cost by depth; see `compare_depths`.

    Attributes
    ----------
    points : list of DepthPoint
    """

    def __init__(self, points: list[DepthPoint]):
        self.points = points

    @property
    def head(self) -> tuple[str, ...]:
        """The names of the columns."""
        memory = ("bytes forward", "bytes reverse")
        return ("depth", *memory, "function", "with gradient", "ratio")

    def cells(self) -> list[list[Any]]:
        """Return the rows."""
        return [[*p, p.ratio] for p in self.points]

    def to_dict(self) -> dict[str, Any]:
        """Return the points as numbers."""
        points = [{**p._asdict(), "ratio": p.ratio} for p in self.points]
        return {"points": points, "bound": BOUND}

    def plot(self, ax: Any = None, what: str = "memory") -> Any:
        """Draw the memory of both modes, or the ratio beside its bound, by depth.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default a new figure's.
        what : {"memory", "ratio"}

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        MissingPackageError
            Without matplotlib.
        InputError
            For another `what`.
        """
        _check_what(what, ("memory", "ratio"))
        ax = axes(ax, "compare_depths")
        depths = [p.depth for p in self.points]
        if what == "ratio":
            _ratios(ax, depths, [p.ratio for p in self.points])
        else:
            series = {
                "reverse: a gradient": [p.reverse for p in self.points],
                "forward: a Jacobian-vector product": [p.forward for p in self.points],
            }
            lines(ax, depths, series)
            ax.set_ylim(bottom=0)
            ax.set(ylabel="bytes of a call, planned", title="memory by depth")
        ax.set_xlabel("depth")
        return ax


def compare_depths(
    build: Callable[[int], tuple[Node, Node]],
    depths: Sequence[int],
    sizes: Mapping[str, int] | None = None,
) -> DepthSweep:
    """Compare memory and cost of derivatives for functions of several depths.

    Reverse mode keeps what the way back reads, so its memory grows with depth; forward
    mode keeps nothing of it. The gradient costs a small multiple of its function,
    whatever the depth (Griewank & Walther 2008, section 4.4).

    Parameters
    ----------
    build : callable
        Takes a depth and returns a scalar expression and the input it depends on.
    depths : sequence of int
    sizes : dict of str to int, optional
        Values for symbolic dimensions.

    Returns
    -------
    DepthSweep
        A row for each depth; prints as a table.

    Raises
    ------
    InputError
        If `build` gives something else, or a symbolic size has no value.

    Examples
    --------
    >>> import graphc as cg
    >>> def chain(depth):
    ...     x = h = cg.vector("x", 100)
    ...     for _ in range(depth):
    ...         h = cg.tanh(cg.cumsum(h))
    ...     return h.sum(), x
    >>> [p.depth for p in cg.compare_depths(chain, [2, 4]).points]
    [2, 4]
    """
    points = []
    for depth in depths:
        pair = build(depth)
        if not (isinstance(pair, tuple) and len(pair) == 2):
            raise InputError(
                "compare_depths: build must return a scalar expression and the input "
                f"it depends on, as a tuple; for {depth!r} it returned {pair!r}."
            )
        y, x = pair
        inputs = inputs_of([y])
        gradient = compile(inputs, [y, grad(y, x)])
        pushed = compile(inputs, [y, jvp(y, x, ones_like(x))])
        function = compile(inputs, [y])
        dims = list({d: None for n in inputs for s in n.shape for d in dims_in(s)})
        values = given_sizes(sizes or {}, dims, "compare_depths")
        memory = (evaluated(f.memory, values) for f in (pushed, gradient))
        totals = (f.cost.at(values).total for f in (function, gradient))
        counts = (evaluated(t.flops + t.transcendentals, values) for t in totals)
        points.append(DepthPoint(depth, *memory, *counts))
    return DepthSweep(points)
