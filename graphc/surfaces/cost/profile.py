"""`Function.profile`: time by step, achieved rates, and the prediction beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from graphc.graph import operators
from graphc.kernels.sums import evaluated
from graphc.runtime.function import Function
from graphc.schedule.cost import program_costs
from graphc.schedule.pipeline import PipelineCall
from graphc.schedule.product import ProductCall
from graphc.surfaces.cost.count import CostReport
from graphc.surfaces.cost.figure import COLORS, axes
from graphc.surfaces.cost.machine import Call, Machine, Shape, Work, found
from graphc.surfaces.cost.table import (
    html_table,
    markdown_table,
    scaled,
    seconds,
    text_table,
)
from graphc.types.errors import InputError
from graphc.types.sizes import Dim, product


class StepTime(NamedTuple):
    """A step of a call: a kernel, a product, or a pipeline of these.

    Attributes
    ----------
    name : str
    seconds : float
    flops, transcendentals, bytes : int
    predicted : float or None
        Seconds; None where the machine is not calibrated.
    """

    name: str
    seconds: float
    flops: int
    transcendentals: int
    bytes: int
    predicted: float | None

    @property
    def bandwidth(self) -> float | None:
        """Bytes per second; None for what took no time that can be measured."""
        return self.bytes / self.seconds if self.seconds else None

    @property
    def rate(self) -> float | None:
        """Operations per second, calls of functions too."""
        total = self.flops + self.transcendentals
        return total / self.seconds if self.seconds else None


HEAD = ("step", "time", "share", "bandwidth", "operations", "predicted")


class Profile:
    """Times of the steps of a call; made by `Function.profile`.

    Attributes
    ----------
    steps : list of StepTime
    seconds : float
        Of all steps together.
    predicted : float or None
        The prediction for these.
    machine : Machine or None
        The model of the machine, if it was calibrated (``graphc doctor --calibrate``).
    why : str
        Why there is none, else "".
    """

    def __init__(
        self, steps: list[StepTime], machine: Machine | None, why: str = ""
    ) -> None:
        self.steps = steps
        self.machine = machine
        self.why = why
        self.seconds = sum(s.seconds for s in steps)
        known = [s.predicted for s in steps if s.predicted is not None]
        self.predicted = sum(known) if machine is not None else None

    def _cells(self) -> list[list[Any]]:
        out = []
        for s in self.steps:
            name = s.name if len(s.name) <= 56 else s.name[:53] + "..."
            share = s.seconds / self.seconds if self.seconds else 0.0
            out.append(
                [
                    name,
                    seconds(s.seconds),
                    f"{share:.0%}",
                    scaled(s.bandwidth, "B/s"),
                    scaled(s.rate, "op/s"),
                    seconds(s.predicted),
                ]
            )
        total = [
            "total",
            seconds(self.seconds),
            "100%",
            "",
            "",
            seconds(self.predicted),
        ]
        return [*out, total]

    def __str__(self) -> str:
        table = text_table(HEAD, self._cells())
        if self.machine is None:
            table += f"\nno prediction: {self.why}"
        return table

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the steps as dictionaries of numbers and text."""
        return {
            "seconds": self.seconds,
            "predicted": self.predicted,
            "steps": [
                {**s._asdict(), "bandwidth": s.bandwidth, "rate": s.rate}
                for s in self.steps
            ],
        }

    def to_markdown(self) -> str:
        """Return the table in Markdown."""
        return markdown_table(HEAD, self._cells())

    def _repr_html_(self) -> str:
        return html_table(HEAD, self._cells(), "profile of a call")

    def plot(self, ax: Any = None) -> Any:
        """Draw a roofline: operations per second by operations per byte.

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
        ax = axes(ax, "profile")
        shown = [s for s in self.steps if s.bytes and s.seconds and s.rate]
        by_time = sorted(range(len(shown)), key=lambda n: -shown[n].seconds)
        named = set(by_time[:5])
        for number, s in enumerate(shown):
            x = (s.flops + s.transcendentals) / s.bytes
            share = s.seconds / self.seconds
            name = s.name if len(s.name) <= 40 else s.name[:37] + "..."
            ax.scatter(
                [x],
                [s.rate],
                s=40 + 300 * share,
                color=COLORS[number % len(COLORS)],
                alpha=0.7,
                label=f"{number}: {share:.0%}, {name}" if number in named else None,
            )
            ax.annotate(
                str(number),
                (x, s.rate),
                xytext=(9, 5),
                textcoords="offset points",
                fontsize=8,
            )
        if self.machine is not None:
            peak = self.machine.flops
            speeds = [speed for _, speed in self.machine.all]
            for label, speed in (("cache", max(speeds)), ("memory", speeds[-1])):
                edge = peak / speed
                points = [2.0**-6, edge, max(2.0**8, 2 * edge)]
                roof = [min(peak, speed * p) for p in points]
                ax.plot(
                    points,
                    roof,
                    color="black",
                    linestyle="-" if label == "cache" else "--",
                    label=f"{label}: {scaled(speed, 'B/s')}",
                )
        if ax.get_legend_handles_labels()[1]:
            legend = ax.legend(fontsize=8, loc="lower right")
            for handle in legend.legend_handles:
                if hasattr(handle, "set_sizes"):
                    handle.set_sizes([40])
        ax.set(
            xscale="log",
            yscale="log",
            xlabel="operations per byte",
            ylabel="operations per second",
            title="roofline; areas are shares of time",
        )
        return ax


def profile(
    function: Function, args: Sequence[Any], named: Mapping[str, Any], rounds: int
) -> Profile:
    """Time the steps of a call; see `Function.profile`."""
    if function.program is None:
        raise InputError(
            "profile: the reference backend computes node by node, without kernels. "
            'Compile with backend="cpu".'
        )
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise InputError(f"profile: rounds={rounds!r} is no number of 1 or more.")
    values, times = function.time_steps(args, named, rounds)
    model, why = found()
    if function.backend != "cpu":
        model, why = None, "the model of the machine knows its processor only"
    report = function.cost.at(values)
    work = step_work(function, report, values)
    labels = _labels(function, report)
    steps = []
    for label, parts, taken in zip(labels, work, times):
        predicted = None if model is None else sum(map(model.predict, parts))
        flops, calls, moved = (sum(getattr(w, k) for w in parts) for k in _COUNTS)
        steps.append(StepTime(label, taken, flops, calls, moved, predicted))
    return Profile(steps, model, why)


_COUNTS = ("flops", "transcendentals", "bytes")


def step_work(
    function: Function, report: CostReport, values: Mapping[Dim, int]
) -> list[list[Work]]:
    """Return for each step of a program what its kernels and products do."""
    program = function.program
    assert program is not None
    inputs = (n.size * n.dtype.itemsize for n in program.graph.inputs)
    footprint = evaluated(report.peak, values)
    footprint += sum(evaluated(size, values) for size in inputs)
    out: list[list[Work]] = [[] for _ in program.steps]
    memo: dict[Any, int] = {}
    for c, cost in zip(program_costs(program), report.kernels):
        sizes = (cost.flops, cost.transcendentals, cost.bytes, c.chunks)
        flops, calls, moved, chunks = (evaluated(s, values, memo) for s in sizes)
        kind = getattr(c.call, "kind", "kernel")
        alone = not isinstance(program.steps[c.step], PipelineCall)
        if kind != "kernel" and alone:
            chunks = max(1, flops // SHARED)
        items = {i: evaluated(n, values, memo) for i, n in c.items.items()}
        shape = None
        if isinstance(c.call, ProductCall):
            count = evaluated(product([axis[0] for axis in c.call.axes]), values)
            sides = (c.call.m, c.call.n, c.call.k)
            shape = Shape(count, *(evaluated(n, values) for n in sides))
        dtype = _dtype(c.nodes)
        out[c.step].append(
            Work(
                *(kind, dtype, flops, calls, moved, footprint, chunks),
                *(items, c.chain, shape),
            )
        )
    return out


def call_work(function: Function, values: Mapping[Dim, int], kept: int) -> Call:
    """Return what a call does besides its steps.

    Parameters
    ----------
    function : Function
    values : dict of Dim to int
    kept : int
        Bytes of a result up to which its memory is at hand.
    """
    inputs, outputs = function.original.inputs, function.original.outputs
    sizes = [evaluated(n.size * n.dtype.itemsize, values) for n in outputs]
    reused = function.program.memory.reused if function.program is not None else {}
    fresh = [s for i, s in enumerate(sizes) if s > kept and i not in reused]
    return Call(len(inputs), len(outputs), function.containers, sum(fresh))


SHARED = 1 << 19
"""Operations of a product from which threads share it."""


def _dtype(nodes: Sequence[Any]) -> str:
    names = [n.dtype.name for n in nodes if n.dtype.kind == "f"]
    return max(set(names), key=names.count) if names else "float64"


def _labels(function: Function, report: CostReport) -> list[str]:
    program = function.program
    assert program is not None
    names: list[list[str]] = [[] for _ in program.steps]
    for c, cost in zip(program_costs(program), report.kernels):
        names[c.step].append(cost.name)
    return [
        f"{len(some)} in a pipeline: {'; '.join(some)}" if len(some) > 1 else some[0]
        for some in names
    ]


def predicted_seconds(
    function: Function, values: Mapping[Dim, int], model: Machine
) -> float:
    """Return the predicted seconds of a call."""
    report = function.cost.at(values)
    work = step_work(function, report, values)
    call = model.of_call(call_work(function, values, model.kept))
    return call + sum(model.predict(w) for parts in work for w in parts)


operators.provide(profile=profile)
