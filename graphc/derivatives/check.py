"""`check_grad`: forward mode, reverse mode and numeric derivatives compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from graphc.derivatives.activity import Activity
from graphc.derivatives.arguments import read_result, read_wrt
from graphc.derivatives.forward import push_forward
from graphc.derivatives.numeric import (
    COMPLEX_STEP,
    Differentiator,
    Numeric,
    evaluated,
)
from graphc.derivatives.reverse import pull_back
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops.leaf import new_input
from graphc.types.errors import GradientError, InputError, made_at

Arrays = list[np.ndarray]

_RTOL = {"float32": 2e-2, "float64": 1e-6, COMPLEX_STEP: 1e-9}
_ATOL = {"float32": 2e-3, "float64": 1e-7, COMPLEX_STEP: 1e-11}
_EXCUSED = 4.0  # estimated errors by which a numeric value may be off
_ROUNDING = 1e-3  # of the largest value: more is not taken for rounding


@dataclass(frozen=True)
class GradientReport:
    """What `check_grad` compared.

    Attributes
    ----------
    projections : int
        Random directions in which whole derivatives were compared.
    entries : int
        Elements of `wrt` that were compared one by one.
    worst : str
        The element, such as ``"x[2]"``, or the direction with the largest
        disagreement in units of the tolerance; empty if nothing was compared.
    forward, reverse, numeric : float
        The derivative there, of the randomly weighted sum of the results.
    error : float
        The disagreement there, in units of the tolerance, at most 1.
    method : {"complex step", "finite differences"}
        How `numeric` was found.
    numeric_error : float
        An estimate of the error of `numeric`, by truncation and rounding.
    """

    projections: int
    entries: int
    worst: str
    forward: float
    reverse: float
    numeric: float
    error: float
    method: str
    numeric_error: float


def check_grad(
    y: Any,
    wrt: Any,
    at: Mapping[Node, Any],
    *,
    rtol: float | None = None,
    atol: float | None = None,
    projections: int = 3,
    max_entries: int = 100,
    seed: int = 0,
) -> GradientReport:
    """Compare forward mode, reverse mode and numeric derivatives at a point.

    Parameters
    ----------
    y : expression or nested containers of them
        Of any shapes.
    wrt : expression or nested list, tuple, dict of them
        Inputs among those of `at`.
    at : mapping of input to array
        The point: a value for every input of `y`, where `y` is smooth.
    rtol, atol : float, optional
        Two values a, b agree if ``|a - b| <= atol * scale + rtol * max(|a|, |b|)``,
        the scale being 1 or the largest of the values compared if that is more. By
        default 1e-9 and 1e-11 for the complex step; for differences 1e-6 and 1e-7, or
        if float32 takes part 2e-2 and 2e-3. Where both are left out, a numeric value
        may be off by its estimated error too.
    projections : int
        Random directions u, v for which ``u @ J @ v`` is compared.
    max_entries : int
        How many elements of `wrt`, chosen at random if there are more, are compared
        one by one, for one random u.
    seed : int
        Of the random directions.

    Returns
    -------
    GradientReport

    Raises
    ------
    GradientError
        If they disagree; the message gives the worst element and its three values.
    InputError
        If one of `wrt` is not in `at`.
    DTypeError, DisconnectedInputError, NotDifferentiableError
        As in `graphc.grad`.

    Notes
    -----
    Where all operations on the way are analytic functions of float64 numbers, values
    are compared with the complex step, exact but for rounding; otherwise with central
    differences, extrapolated, whose error is estimated (`graphc.derivatives.numeric`).
    The error message tells which of the modes is wrong, and rounding from error. The
    derivative of `stop_gradient` is 0 for the complex step, but not for differences.
    """
    ys, _ = read_result(y, "check_grad")
    xs, structure = read_wrt(wrt)
    for x in xs:
        if x not in at:
            raise InputError(
                f"check_grad: {x.label()}{made_at(x.origin)} has no value in at. Give "
                "wrt inputs, and at={input: array} a value for each."
            )
    names = [x.name or path for x, path in zip(xs, structure.paths("wrt"))]
    point = _Point(ys, xs, at)
    kind = point.numeric.kind
    comparison = _Comparison(
        _RTOL[kind] if rtol is None else rtol,
        _ATOL[kind] if atol is None else atol,
        strict=rtol is not None or atol is not None,
        method=point.numeric.method,
    )
    random = np.random.default_rng(seed)
    for number in range(projections):
        u, v = point.draw(random, ys), point.draw(random, xs)
        name = f"random direction {number}"
        comparison.add(name, False, point.derivatives(u, v))
    u = point.draw(random, ys)
    for name, v in _entries(point.numeric.values, names, max_entries, random):
        comparison.add(name, True, point.derivatives(u, v))
    return comparison.report(", ".join(y.label() for y in ys))


class _Point:
    """Derivatives of `ys` along directions of `xs`, at one point."""

    def __init__(self, ys: Sequence[Node], xs: Sequence[Node], at: Mapping[Node, Any]):
        Activity(topological_order(ys), ys, xs)
        self.xs = xs
        self.ys = ys
        self.at = dict(at)
        self._tangents = [new_input("tangent", x.type) for x in xs]
        self._cotangents = [new_input("cotangent", y.type) for y in ys]
        self._forward = push_forward(ys, xs, self._tangents, "zero")
        self._reverse = pull_back(ys, self._cotangents, xs, "zero")
        self._results = evaluated(ys, self.at)
        self.numeric = Differentiator(ys, xs, self.at, self._results)

    def draw(self, random: np.random.Generator, nodes: Sequence[Node]) -> Arrays:
        like = self.numeric.values if nodes is self.xs else self._results
        return [np.asarray(random.standard_normal(a.shape)) for a in like]

    def derivatives(self, u: Arrays, v: Arrays) -> tuple[float, float, Numeric]:
        """Return u @ J @ v by forward mode, by reverse mode and from values."""
        tangents = {t: _like(a, t) for t, a in zip(self._tangents, v)}
        cotangents = {c: _like(a, c) for c, a in zip(self._cotangents, u)}
        pushed = evaluated(self._forward, self.at | tangents)
        pulled = evaluated(self._reverse, self.at | cotangents)
        return _dot(pushed, u), _dot(pulled, v), self.numeric.derivative(u, v)


def _like(array: np.ndarray, node: Node) -> np.ndarray:
    return np.asarray(array, node.dtype)


def _dot(left: Arrays, right: Arrays) -> float:
    with np.errstate(invalid="ignore", over="ignore"):  # the report tells of NaN
        return float(sum(np.sum(a.astype(np.float64) * b) for a, b in zip(left, right)))


def _entries(
    values: Arrays, names: Sequence[str], limit: int, random: np.random.Generator
) -> list[tuple[str, Arrays]]:
    """Return the unit directions of up to `limit` elements, with their names."""
    places = list(_places(values))
    if len(places) > limit:
        kept = random.choice(len(places), limit, replace=False)
        places = [places[i] for i in sorted(kept)]
    out = []
    for number, index in places:
        direction = [np.zeros(a.shape) for a in values]
        direction[number][index] = 1.0
        where = f"[{', '.join(map(str, index))}]" if index else ""
        out.append((names[number] + where, direction))
    return out


def _places(values: Arrays) -> Iterator[tuple[int, tuple[int, ...]]]:
    for number, array in enumerate(values):
        for index in np.ndindex(array.shape):
            yield number, index


class _Row(NamedTuple):
    """One derivative found in three ways; by an element, or along a direction."""

    name: str
    element: bool
    forward: float
    reverse: float
    numeric: Numeric


class _Comparison:
    """The values compared so far.

    Parameters
    ----------
    rtol, atol : float
    strict : bool
        That the estimated error of the numeric value is no excuse.
    method : str
        How the numeric values were found.
    """

    def __init__(self, rtol: float, atol: float, strict: bool, method: str):
        self.rtol = rtol
        self.atol = atol
        self.strict = strict
        self.method = method
        self.rows: list[_Row] = []

    def add(
        self, name: str, element: bool, values: tuple[float, float, Numeric]
    ) -> None:
        self.rows.append(_Row(name, element, *values))

    def _allowed(self, scale: float, row: _Row) -> float:
        """Return how far two values may be apart by the tolerances alone."""
        values = (row.forward, row.reverse, row.numeric.value)
        largest = max((abs(v) for v in values if np.isfinite(v)), default=0.0)
        return self.atol * scale + self.rtol * largest

    def _scale(self) -> float:
        values = np.array([(r.forward, r.reverse, r.numeric.value) for r in self.rows])
        return float(np.max(np.abs(values), initial=1.0, where=np.isfinite(values)))

    def _error(self, scale: float, row: _Row) -> float:
        """Return the disagreement of a row in units of the tolerance."""
        forward, reverse, numeric = row.forward, row.reverse, row.numeric
        if not np.isfinite([forward, reverse, numeric.value]).all():
            return np.inf
        allowed = self._allowed(scale, row)
        modes = abs(forward - reverse)
        apart = max(abs(forward - numeric.value), abs(reverse - numeric.value))
        if not self.strict and numeric.error <= _ROUNDING * scale:
            apart = max(apart - _EXCUSED * numeric.error, 0.0)
        return max(modes, apart) / allowed

    def report(self, what: str) -> GradientReport:
        """Return the report, or raise `GradientError`."""
        if not self.rows:
            return GradientReport(0, 0, "", 0.0, 0.0, 0.0, 0.0, self.method, 0.0)
        scale = self._scale()
        errors = np.array([self._error(scale, row) for row in self.rows])
        elements = np.array([row.element for row in self.rows])
        # An element says more than a direction: where any is wrong, show the worst.
        wrong = elements & (errors > 1)
        row = self.rows[int(np.argmax(np.where(wrong | ~wrong.any(), errors, -1)))]
        error = self._error(scale, row)
        if error > 1:
            raise GradientError(
                f"check_grad: the derivatives of {what} disagree, worst by {row.name}: "
                f"forward {row.forward:.10g}, reverse {row.reverse:.10g}, "
                f"{self.method} {row.numeric.value:.10g} with an estimated error of "
                f"{row.numeric.error:.2g} (rtol={self.rtol:g}, atol={self.atol:g}). "
                + self._diagnosis(scale, row)
            )
        return GradientReport(
            projections=int(np.sum(~elements)),
            entries=int(np.sum(elements)),
            worst=row.name,
            forward=row.forward,
            reverse=row.reverse,
            numeric=row.numeric.value,
            error=error,
            method=self.method,
            numeric_error=row.numeric.error,
        )

    def _diagnosis(self, scale: float, row: _Row) -> str:
        forward, reverse, (numeric, error) = row.forward, row.reverse, row.numeric
        if not np.isfinite([forward, reverse, numeric]).all():
            return (
                "Not all are finite: move the point, or guard the expression with "
                "where on the argument of what fails there."
            )
        near = self._allowed(scale, row)
        excused = near + _EXCUSED * error
        if abs(forward - reverse) > near:
            if abs(forward - numeric) <= excused:
                return "Reverse mode is wrong: a vjp or a transpose on the way."
            if abs(reverse - numeric) <= excused:
                return "Forward mode is wrong: a jvp on the way."
            return "No two agree: rules of both modes are wrong, or the point a kink."
        if abs(forward - numeric) <= excused and error <= _ROUNDING * scale:
            return (
                "The modes agree, and the difference is within the error of the "
                "numeric value: it is rounding, not a wrong rule. Widen rtol and atol."
            )
        if error > max(near, _ROUNDING * abs(numeric)):
            return (
                "The modes agree; the differences do not converge, so close to a pole "
                "or a kink is the point. Move it."
            )
        return (
            "The modes agree with each other. If the point is at a kink, move it; "
            "otherwise a rule of an op on the way is wrong."
        )
