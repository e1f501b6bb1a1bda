"""`compare_modes`: what each way to a Jacobian costs, and which one "auto" takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.derivatives.api import jacobian, vjp
from graphc.derivatives.arguments import read_result, read_wrt
from graphc.derivatives.choice import NOMINAL_SIZE, ModeChoice, explain
from graphc.expressions.containers import flatten
from graphc.graph.node import Node
from graphc.kernels.sums import evaluated
from graphc.ops.leaf import new_input
from graphc.runtime.compile import compile
from graphc.runtime.function import Function
from graphc.surfaces.cost.calibrate import best
from graphc.surfaces.cost.count import Cost
from graphc.surfaces.cost.figure import COLORS, axes
from graphc.surfaces.cost.machine import Machine, load
from graphc.surfaces.cost.modes import (
    MODES,
    Problem,
    Way,
    arrays_at,
    build,
    dense,
    differences,
    identity,
    inputs_of,
    shared,
    sizes_at,
    written_out,
)
from graphc.surfaces.cost.profile import predicted_seconds
from graphc.surfaces.cost.sweep import BOUND, Formulas, LineSweep, SizeSweep, swept
from graphc.surfaces.cost.table import (
    cell,
    html_table,
    markdown_table,
    seconds,
    text_table,
)
from graphc.types.errors import InputError
from graphc.types.sizes import Dim

SEEDS = ("identity", "dense")


class ModeRow(NamedTuple):
    """What one way to the Jacobian costs.

    Attributes
    ----------
    mode : str
        "differences" are forward differences, one call of the function for each column
        and one more.
    sweeps : int
        Calls, Jacobian-vector or vector-Jacobian products; 0 for "symbolic".
    flops, transcendentals, bytes : int
        As compiled; bytes read and written.
    peak : int
        Bytes of memory at once, besides the inputs.
    compile_seconds : float
        To differentiate and compile; machine code may come from the cache.
    predicted, seconds : float or None
        Of a call: by the model of the machine, and measured where `at` was given.
    error : float or None
        The largest difference from what "auto" gives, over its largest entry.
    written_out, shared : int
        Nodes of the derivative as a formula, in which common parts are repeated, and
        as the graph it is: the first is what swells.
    """

    mode: str
    sweeps: int
    flops: int
    transcendentals: int
    bytes: int
    peak: int
    compile_seconds: float
    predicted: float | None
    seconds: float | None
    error: float | None
    written_out: int
    shared: int


HEAD = (
    *("mode", "sweeps", "flops", "calls", "bytes", "peak", "compile", "predicted"),
    *("measured", "error", "formula"),
)


class ModeReport:
    """The ways to a Jacobian compared; made by `graphc.compare_modes`.

    Attributes
    ----------
    rows : list of ModeRow
        Fewest operations first.
    reasons : dict of str to str
        Why other ways are not there.
    auto : str
        The mode that ``mode="auto"`` takes.
    choice : ModeChoice
        What it weighed; prints as text.
    sizes : dict of str to int
        The sizes that counts are for.
    function, gradient : Cost
        Of the function alone, and of one vector-Jacobian product with the value.
    seeds : str
        What forward and reverse mode multiply by: "identity" or "dense" matrices.
    ratio : float
        Operations of the latter over those of the former; for a scalar result this is
        the gradient over its function, and at most `BOUND` by theory.
    """

    def __init__(
        self,
        rows: list[ModeRow],
        reasons: dict[str, str],
        choice: ModeChoice,
        values: Mapping[Dim, int],
        function: Cost,
        gradient: Cost,
        formulas: Formulas,
        seeds: str = "identity",
    ):
        self.rows = sorted(rows, key=lambda r: r.flops + r.transcendentals)
        self.reasons = reasons
        self.choice = choice
        self.auto = choice.mode
        self.sizes = {d.name: v for d, v in values.items()}
        self.function, self.gradient = function, gradient
        once = _operations(function)
        self.ratio = _operations(gradient) / once if once else math.nan
        self.seeds = seeds
        self._formulas = formulas

    def row(self, mode: str) -> ModeRow:
        """Return the row of a mode.

        Raises
        ------
        InputError
            If there is none; the message says why.
        """
        for found in self.rows:
            if found.mode == mode:
                return found
        why = self.reasons.get(mode, f"the modes are {', '.join(MODES)}")
        raise InputError(f"compare_modes: there is no row {mode!r}: {why}.")

    def _cells(self) -> list[list[Any]]:
        return [
            [
                r.mode + (" (auto)" if r.mode == self.auto else ""),
                *r[1:6],
                seconds(r.compile_seconds),
                seconds(r.predicted),
                seconds(r.seconds),
                r.error,
                r.written_out if r.written_out < 10**9 else float(r.written_out),
            ]
            for r in self.rows
        ]

    def _notes(self) -> list[str]:
        notes = [f"{mode}: {why}" for mode, why in self.reasons.items()]
        if self.sizes:
            at = ", ".join(f"{k} = {v}" for k, v in self.sizes.items())
            notes.insert(0, f"counted for {at}")
        if self.seeds == "dense":
            notes.append("forward and reverse mode multiply by dense matrices")
        notes.append(
            f"value and one vector-Jacobian product over the value: {self.ratio:.2f} "
            f"times the operations (theory: at most {BOUND})"
        )
        if self.ratio > BOUND:
            notes.append(
                "more than by theory: a function's call counts as one operation, and "
                "what guards against infinite partials as several"
            )
        return notes

    def __str__(self) -> str:
        table = text_table(HEAD, self._cells())
        notes = self._notes()
        if self.sizes:
            notes.append(
                "auto decides without sizes: it takes each symbolic one for "
                f"{NOMINAL_SIZE}"
            )
        return "\n".join([table, *notes, str(self.choice)])

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """Return rows, reasons and choice as numbers and text."""
        return {
            "rows": [r._asdict() for r in self.rows],
            "reasons": dict(self.reasons),
            "auto": self.auto,
            "seeds": self.seeds,
            "why": str(self.choice),
            "sizes": dict(self.sizes),
            "function": self.function.to_dict(),
            "gradient": self.gradient.to_dict(),
            "ratio": self.ratio,
            "bound": BOUND,
        }

    def to_markdown(self) -> str:
        """Return the table in Markdown."""
        return markdown_table(HEAD, self._cells())

    def _repr_html_(self) -> str:
        return html_table(HEAD, self._cells(), "; ".join(self._notes()))

    def plot(self, ax: Any = None) -> Any:
        """Draw a bar for each mode: measured time, else predicted, else operations.

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
        ax = axes(ax, "compare_modes")
        label = "operations"
        values = [float(r.flops + r.transcendentals) for r in self.rows]
        for name, title in (("predicted", "predicted"), ("seconds", "measured")):
            found = [getattr(r, name) for r in self.rows]
            if all(v is not None for v in found):
                values, label = found, f"{title} seconds"
        modes = [r.mode for r in self.rows]
        for mode, value in zip(modes, values):
            chosen = mode == self.auto
            ax.barh(
                mode,
                value,
                color=COLORS[1] if chosen else COLORS[0],
                hatch="//" if chosen else None,
                edgecolor="white",
            )
            text = cell(int(value)) if label == "operations" else seconds(value)
            ax.annotate(
                f" {text}",
                (value, mode),
                va="center",
                xytext=(2, 0),
                textcoords="offset points",
                fontsize=9,
            )
        ax.set(xlabel=label, title=f"auto takes {self.auto} (hatched)")
        if values and min(values) > 0:
            ax.set_xscale("log")
            ax.set_xlim(min(values) / 3, max(values) * 6)  # room for the numbers
        ax.invert_yaxis()
        return ax

    def sweep(self, **sizes: Sequence[int]) -> SizeSweep | LineSweep:
        """Count the modes over one size, or forward and reverse over a grid of two.

        Parameters
        ----------
        **sizes : sequence of int
            For one or two symbolic dimensions each the values to take, such as
            ``n=[1, 10, 100], m=[1, 10, 100]``; others stay as they are in `sizes`.

        Returns
        -------
        SizeSweep or LineSweep
            For two, operations of both modes; `.plot()` draws their ratio and the
            break-even line. For one, operations of all modes, and the gradient's over
            the function's beside the theoretical bound.

        Raises
        ------
        InputError
            If these are not one or two symbolic dimensions of the graph, or values that
            are no integers of 0 or more.
        """
        return swept(self._formulas, self.sizes, sizes)


def compare_modes(
    y: Any,
    x: Any,
    at: Mapping[Node, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
    seeds: str = "identity",
) -> ModeReport:
    """Compare the ways to the Jacobian of `y` by `x`.

    Parameters
    ----------
    y : expression, or nested containers of them
    x : expression, or nested containers of them
    at : dict of input to array, optional
        Values for all inputs: every way is run there, timed, and its error told.
    sizes : dict of str to int, optional
        The symbolic sizes that counts are for, if `at` does not tell; by default what
        the automatic choice takes, 64.
    seeds : {"identity", "dense"}
        What forward and reverse mode multiply by. They start from identity matrices,
        whose zeros graphc skips. With "dense" the matrices may hold anything, as those
        of other implementations: forward mode then carries a matrix through the whole
        function, one column for each input.

    Returns
    -------
    ModeReport
        A row for each way; prints as a table.

    Raises
    ------
    InputError
        If `at` lacks an input or names something else, or sizes are unusable, or
        `seeds` is neither.
    DisconnectedInputError, NotDifferentiableError, DTypeError, ShapeError
        As `jacobian` raises them.
    """
    if callable(y) and not isinstance(y, Node):
        raise InputError(
            f"compare_modes: y is {y!r}, a function. Give the expression that it "
            "computes: call a Python function with inputs, or take the results that "
            "were compiled."
        )
    ys, _ = read_result(y, "compare_modes")
    xs, _ = read_wrt(x)
    if not ys or not xs:
        raise InputError("compare_modes: there is nothing to differentiate.")
    inputs = inputs_of([*ys, *xs])
    if seeds not in SEEDS:
        raise InputError(
            f'compare_modes: seeds is {seeds!r}; use "identity" or "dense".'
        )
    problem = Problem(ys, xs, inputs, y, x, seeds == "dense")
    taken = jacobian(y, x)  # auto; raises what is wrong with y and x
    choice = explain(taken)
    arrays = None if at is None else arrays_at(inputs, at)
    values = sizes_at(inputs, arrays, sizes)
    model = load()
    rows, reasons, formulas = [], {}, {}
    truth = None if arrays is None else _results(compile(inputs, taken), arrays)
    for mode in MODES:
        way = build(problem, mode)
        if isinstance(way, str):
            reasons[mode] = way
            continue
        total = way.function.cost.total
        formulas[mode] = total.flops + total.transcendentals
        rows.append(_row(problem, way, values, arrays, truth, model))
    function = compile(inputs, ys).cost.total
    gradient = _gradient(problem)
    columns, results = (sum(n.size for n in nodes) for nodes in (xs, ys))
    return ModeReport(
        rows,
        reasons,
        choice,
        values,
        function.at(values, {}),
        gradient.at(values, {}),
        Formulas(
            formulas,
            function.flops + function.transcendentals,
            gradient.flops + gradient.transcendentals,
            columns,
            results,
        ),
        seeds,
    )


def _row(
    problem: Problem,
    way: Way,
    values: Mapping[Dim, int],
    arrays: list[np.ndarray] | None,
    truth: list[np.ndarray] | None,
    model: Machine | None,
) -> ModeRow:
    report = way.function.cost.at(values)
    total = report.total
    numbers = [evaluated(s, values) for s in (*total[1:3], total.bytes, report.peak)]
    flops, calls, moved, peak = numbers
    columns = sum(evaluated(n.size, values) for n in problem.xs)
    results = sum(evaluated(n.size, values) for n in problem.ys)
    itemsize = max(n.dtype.itemsize for n in problem.xs)
    predicted = (
        None if model is None else predicted_seconds(way.function, values, model)
    )
    times = 1
    if way.mode == "differences":
        times = columns + 1
        entries = results * columns
        flops = flops * times + 2 * entries  # subtracted and divided
        calls, moved = calls * times, moved * times + entries * itemsize
        peak += (entries + results) * itemsize
        predicted = None if predicted is None else predicted * times
    measured = error = None
    if arrays is not None and truth is not None:
        given = [*arrays, *(identity(s, values) for s in way.seeds)]
        measured, error = _measured(problem, way, given, truth)
    return ModeRow(
        way.mode,
        _sweeps(problem, way.mode, columns, results),
        flops,
        calls,
        moved,
        peak,
        way.compile_seconds,
        predicted,
        measured,
        error,
        written_out(way.outputs),
        shared(way.outputs),
    )


def _sweeps(problem: Problem, mode: str, columns: int, results: int) -> int:
    if mode == "sparse":
        from graphc.derivatives.sparsity.compressed import plan_jacobian

        return plan_jacobian(problem.ys, problem.xs, "zero").sweeps
    if mode == "mixed":
        from graphc.derivatives.choice import choose

        return choose(problem.ys, problem.xs).costs["mixed"].sweeps
    return {
        "differences": columns + 1,
        "forward": columns,
        "reverse": results,
        "symbolic": 0,
    }[mode]


def _measured(
    problem: Problem, way: Way, arrays: list[np.ndarray], truth: list[np.ndarray]
) -> tuple[float, float]:
    """Return the seconds of a call, and its error relative to the largest entry."""
    if way.mode == "differences":
        place = {node: i for i, node in enumerate(problem.inputs)}
        moved = [place[x] for x in problem.xs]
        taken = best(differences, MEASURED, way.function, arrays, moved)
        rows = differences(way.function, arrays, moved)
        got = [block for row in rows for block in row]
    else:
        taken = best(way.function, MEASURED, *arrays)
        got = _results(way.function, arrays)
    worst = 0.0
    for g, t in zip(got, truth):
        worst = max(worst, relative_error(g.reshape(t.shape).astype(np.float64), t))
    return taken, worst


def relative_error(got: np.ndarray, truth: np.ndarray) -> float:
    """Return the largest difference over the largest entry.

    Infinities and NaN are no difference where both have the same, else an infinite one.
    """
    same = (got == truth) | (np.isnan(got) & np.isnan(truth))
    scale = float(np.max(np.abs(truth), initial=0.0, where=np.isfinite(truth))) or 1.0
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.where(same, 0.0, np.abs(got - truth)) / scale
    return float(np.max(np.where(np.isnan(off), np.inf, off), initial=0.0))


MEASURED = 0.05
"""Seconds that each way is timed for."""


def _results(function: Function, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    leaves, _ = flatten(function(*arrays))
    return [dense(leaf).astype(np.float64) for leaf in leaves]


def _gradient(problem: Problem) -> Cost:
    """Return the cost of the values with one vector-Jacobian product."""
    seeds = [new_input(f"cotangent{i}", y.type) for i, y in enumerate(problem.ys)]
    pulled = vjp(problem.ys, problem.xs, seeds)
    return compile([*problem.inputs, *seeds], [problem.ys, pulled]).cost.total


def _operations(cost: Cost) -> int:
    total = cost.flops + cost.transcendentals
    assert isinstance(total, int)
    return total
