"""`check_grad`: forward mode, reverse mode and finite differences compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from graphc.derivatives.activity import Activity
from graphc.derivatives.arguments import read_result, read_wrt
from graphc.derivatives.forward import push_forward
from graphc.derivatives.reverse import pull_back
from graphc.graph import operators
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops.leaf import new_input
from graphc.types.errors import GradientError, InputError, made_at

Arrays = list[np.ndarray]

_RTOL = {"float32": 2e-2, "float64": 1e-6}
_ATOL = {"float32": 2e-3, "float64": 1e-7}
_STEP = {"float32": 1e-2, "float64": 1e-4}


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
    """

    projections: int
    entries: int
    worst: str
    forward: float
    reverse: float
    numeric: float
    error: float


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
    """Compare forward mode, reverse mode and finite differences at a point.

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
        default 1e-6 and 1e-7; if float32 takes part 2e-2 and 2e-3.
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
    The differences are central, at steps h, h/2 and h/4, extrapolated twice (L. F.
    Richardson, Phil. Trans. R. Soc. A 210, 1911) to an error of order h^6.
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
    single = any(n.dtype.name == "float32" for n in (*ys, *xs))
    kind = "float32" if single else "float64"
    comparison = _Comparison(
        _RTOL[kind] if rtol is None else rtol, _ATOL[kind] if atol is None else atol
    )
    random = np.random.default_rng(seed)
    step = _STEP[kind]
    for number in range(projections):
        u, v = point.draw(random, ys), point.draw(random, xs)
        name = f"random direction {number}"
        comparison.add(name, False, point.derivatives(u, v, step))
    u = point.draw(random, ys)
    for name, v in _entries(point.values, names, max_entries, random):
        comparison.add(name, True, point.derivatives(u, v, step))
    return comparison.report(", ".join(y.label() for y in ys))


class _Point:
    """Derivatives of `ys` along directions of `xs`, at one point."""

    def __init__(self, ys: Sequence[Node], xs: Sequence[Node], at: Mapping[Node, Any]):
        Activity(topological_order(ys), ys, xs)
        self.xs = xs
        self.ys = ys
        self.at = dict(at)
        self.values = [np.asarray(at[x], x.dtype) for x in xs]
        self._tangents = [new_input("tangent", x.type) for x in xs]
        self._cotangents = [new_input("cotangent", y.type) for y in ys]
        self._forward = push_forward(ys, xs, self._tangents, "zero")
        self._reverse = pull_back(ys, self._cotangents, xs, "zero")
        self._results = _evaluate(ys, self.at)

    def draw(self, random: np.random.Generator, nodes: Sequence[Node]) -> Arrays:
        like = self.values if nodes is self.xs else self._results
        return [np.asarray(random.standard_normal(a.shape)) for a in like]

    def derivatives(
        self, u: Arrays, v: Arrays, step: float
    ) -> tuple[float, float, float]:
        """Return u @ J @ v by forward mode, reverse mode and differences."""
        tangents = {t: _like(a, t) for t, a in zip(self._tangents, v)}
        cotangents = {c: _like(a, c) for c, a in zip(self._cotangents, u)}
        pushed = _evaluate(self._forward, self.at | tangents)
        pulled = _evaluate(self._reverse, self.at | cotangents)
        return _dot(pushed, u), _dot(pulled, v), self._numeric(u, v, step)

    def _numeric(self, u: Arrays, v: Arrays, step: float) -> float:
        moved = [abs(x[d != 0]) for x, d in zip(self.values, v)]
        size = np.concatenate(moved) if moved else np.empty(0)
        if not size.size:
            return 0.0
        largest = max(float(np.max(np.abs(d), initial=0)) for d in v)
        h = step * max(1.0, float(np.min(size))) / largest
        table = [self._difference(u, v, h / 2**k) for k in range(3)]
        once = [(4 * b - a) / 3 for a, b in pairwise(table)]
        return (16 * once[1] - once[0]) / 15

    def _difference(self, u: Arrays, v: Arrays, h: float) -> float:
        up, down = (self._shifted(v, s) for s in (h, -h))
        total = 0.0
        for high, low, weight in zip(up, down, u):
            change = high.astype(np.float64) - low.astype(np.float64)
            total += _dot([change], [weight])
        return total / (2 * h)

    def _shifted(self, v: Arrays, h: float) -> Arrays:
        moved = {
            x: (value + h * d).astype(x.dtype)
            for x, value, d in zip(self.xs, self.values, v)
        }
        return _evaluate(self.ys, self.at | moved)


def _evaluate(nodes: Sequence[Node], at: Mapping[Node, Any]) -> Arrays:
    results = operators.FUNCTIONS["evaluate"](list(nodes), at)
    return [np.asarray(r) for r in results]


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
    numeric: float


class _Comparison:
    """The values compared so far."""

    def __init__(self, rtol: float, atol: float):
        self.rtol = rtol
        self.atol = atol
        self.rows: list[_Row] = []

    def add(self, name: str, element: bool, values: tuple[float, float, float]) -> None:
        self.rows.append(_Row(name, element, *values))

    def _errors(self) -> np.ndarray:
        """Return the disagreements in units of the tolerance."""
        values = np.array([row[2:] for row in self.rows])
        finite = np.isfinite(values)
        scale = np.max(np.abs(values), initial=1.0, where=finite)
        values = np.where(finite, values, 0.0)
        allowed = self.atol * scale + self.rtol * np.max(np.abs(values), axis=1)
        errors = np.ptp(values, axis=1) / allowed
        return np.where(np.all(finite, axis=1), errors, np.inf)

    def report(self, what: str) -> GradientReport:
        """Return the report, or raise `GradientError`."""
        if not self.rows:
            return GradientReport(0, 0, "", 0.0, 0.0, 0.0, 0.0)
        errors = self._errors()
        elements = np.array([row.element for row in self.rows])
        # An element says more than a direction: where any is wrong, show the worst.
        wrong = elements & (errors > 1)
        worst = int(np.argmax(np.where(wrong | ~wrong.any(), errors, -1)))
        name, _, forward, reverse, numeric = self.rows[worst]
        if errors[worst] > 1:
            raise GradientError(
                f"check_grad: the derivatives of {what} disagree, worst by {name}: "
                f"forward {forward:.10g}, reverse {reverse:.10g}, finite differences "
                f"{numeric:.10g} (rtol={self.rtol:g}, atol={self.atol:g}). If the "
                "point is at a kink, move it; otherwise a rule of an op on the way "
                "is wrong."
            )
        return GradientReport(
            projections=int(np.sum(~elements)),
            entries=int(np.sum(elements)),
            worst=name,
            forward=forward,
            reverse=reverse,
            numeric=numeric,
            error=float(errors[worst]),
        )
