"""Counts over a range: modes by sizes, and memory by depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from graphc.derivatives.api import grad, jvp
from graphc.expressions.creation import ones_like
from graphc.graph.node import Node
from graphc.kernels.sums import evaluated
from graphc.runtime.compile import compile
from graphc.surfaces.cost.count import dims_in
from graphc.surfaces.cost.modes import inputs_of
from graphc.surfaces.cost.profile import axes
from graphc.surfaces.cost.table import html_table, markdown_table, text_table
from graphc.types.errors import InputError
from graphc.types.sizes import SizeLike


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


class SizeSweep:
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
    def _head(self) -> tuple[str, ...]:
        return (*self.names, "forward", "reverse", "cheaper")

    def _cells(self) -> list[list[Any]]:
        return [[*p, p.cheaper] for p in self.points]

    def __str__(self) -> str:
        return text_table(self._head, self._cells())

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the points and the line as numbers and text."""
        points = [{**p._asdict(), "cheaper": p.cheaper} for p in self.points]
        return {
            "names": list(self.names),
            "points": points,
            "break_even": [list(p) for p in self.break_even],
        }

    def to_markdown(self) -> str:
        """Return the table in Markdown."""
        return markdown_table(self._head, self._cells())

    def _repr_html_(self) -> str:
        return html_table(self._head, self._cells())

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
        ratio = np.empty((len(second), len(first)))
        for p in self.points:
            value = np.log10(max(p.forward, 1) / max(p.reverse, 1))
            ratio[second.index(p.second), first.index(p.first)] = value
        most = float(np.abs(ratio).max()) or 1.0
        mesh = ax.pcolormesh(
            first, second, ratio, cmap="PuOr", vmin=-most, vmax=most, shading="nearest"
        )
        ax.figure.colorbar(mesh, ax=ax, label="log10(forward / reverse) operations")
        if ratio.min() < 0 < ratio.max() and min(ratio.shape) > 1:
            ax.contour(first, second, ratio, levels=[0.0], colors="black")
        scale = {"xscale": "log", "yscale": "log"} if min(*first, *second) > 0 else {}
        name, other = self.names
        ax.set(xlabel=name, ylabel=other, title="break-even of the modes", **scale)
        return ax


def swept(
    formulas: Mapping[str, SizeLike],
    others: Mapping[str, int],
    given: Mapping[str, Sequence[int]],
) -> SizeSweep:
    """Evaluate operations over a grid; see `ModeReport.sweep`."""
    missing = [m for m in ("forward", "reverse") if m not in formulas]
    if missing:
        raise InputError(f"sweep: there is no {missing[0]} mode to compare.")
    dims = {d for m in ("forward", "reverse") for d in dims_in(formulas[m])}
    names = sorted({d.name for d in dims})
    if len(given) != 2 or not set(given) <= set(names):
        known = ", ".join(names) or "none"
        raise InputError(
            f"sweep: give values for two symbolic dimensions; there are: {known}."
        )
    for name, some in given.items():
        for value in some:
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(
                    f"sweep: the size {value!r} of {name!r} is no integer of 0 or more."
                )
    one, other = given
    points = []
    for a in given[one]:
        for b in given[other]:
            at = {**others, one: a, other: b}
            values = {d: at[d.name] for d in dims}
            both = (evaluated(formulas[m], values) for m in ("forward", "reverse"))
            points.append(SizePoint(a, b, *both))
    return SizeSweep((one, other), points)


class DepthPoint(NamedTuple):
    """Planned bytes of one Jacobian-vector product and of a gradient, by depth."""

    depth: int
    forward: SizeLike
    reverse: SizeLike


def memory_by_depth(
    build: Callable[[int], tuple[Node, Node]], depths: Sequence[int]
) -> list[DepthPoint]:
    """Return the planned memory of both modes for functions of several depths.

    Reverse mode keeps what the way back reads, forward mode needs nothing of it.

    Parameters
    ----------
    build : callable
        Takes a depth and returns a scalar expression and the input it depends on.
    depths : sequence of int

    Returns
    -------
    list of DepthPoint
        Bytes of a call besides its inputs.
    """
    out = []
    for depth in depths:
        y, x = build(depth)
        inputs = inputs_of([y])
        forward = compile(inputs, [y, jvp(y, x, ones_like(x))])
        reverse = compile(inputs, [y, grad(y, x)])
        out.append(DepthPoint(depth, forward.memory, reverse.memory))
    return out
