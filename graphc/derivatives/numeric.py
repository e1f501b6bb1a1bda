"""Derivatives from values alone: the complex step and extrapolated differences."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.derivatives.activity import differentiable_positions
from graphc.graph import operators
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops.custom import custom_
from graphc.types import sizes

Arrays = list[np.ndarray]

COMPLEX_STEP = "complex step"
DIFFERENCES = "finite differences"

_TINY = 1e-50  # its square vanishes beside any value
_STEP = {"float32": 3e-2, "float64": 1e-3}
_ROWS = 12
_POINTS = 4  # on each side, to find the noise
_CLOSE = {"float32": 1.37e-4, "float64": 1.37e-7}
_EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}


class Numeric(NamedTuple):
    """A derivative found from values.

    Attributes
    ----------
    value : float
    error : float
        An estimate of its error, by truncation and rounding.
    """

    value: float
    error: float


class Differentiator:
    """Derivatives of ``u @ y`` along directions of `xs` at a point.

    Parameters
    ----------
    ys, xs : sequence of Node
    at : mapping of input to array
    results : sequence of ndarray
        The values of `ys` there.

    Attributes
    ----------
    method : str
        "complex step" if all operations between are analytic functions of float64
        numbers, else "finite differences".

    Notes
    -----
    The complex step (W. Squire and G. Trapp, SIAM Review 40, 1998) takes the imaginary
    part of ``f(x + ihv) / h``: nothing cancels, so it is as exact as f is. Differences
    are central, at a row of steps each half of the one before, extrapolated to step 0;
    the best entry of the table is the one that differs least from its neighbours (C.
    J. F. Ridders, Adv. Eng. Software 4, 1982), which is the estimate of its error.
    """

    def __init__(
        self,
        ys: Sequence[Node],
        xs: Sequence[Node],
        at: Mapping[Node, Any],
        results: Sequence[np.ndarray],
    ):
        self.ys, self.xs, self.at, self.results = list(ys), list(xs), dict(at), results
        self.values = [np.asarray(at[x], x.dtype) for x in xs]
        single = any(n.dtype.name == "float32" for n in (*ys, *xs))
        self._kind = "float32" if single else "float64"
        self._order = topological_order(ys)
        self._noise_of: tuple[Arrays, float] | None = None
        self._size = _sizes_at(self.at)
        self.method = COMPLEX_STEP if self._is_analytic() else DIFFERENCES

    @property
    def kind(self) -> str:
        """The method, or of differences the narrowest dtype: what accuracy goes by."""
        return self.method if self.method == COMPLEX_STEP else self._kind

    def derivative(self, u: Arrays, v: Arrays) -> Numeric:
        """Return ``u @ J @ v``."""
        if self.method == COMPLEX_STEP:
            moved = self._complex(v)
            if moved is not None:
                terms = [w * m.imag / _TINY for w, m in zip(u, moved)]
                size = sum(float(np.sum(np.abs(t))) for t in terms)
                value = sum(float(np.sum(t)) for t in terms)
                return Numeric(value, 16 * _EPSILON["float64"] * size)
        return self._extrapolated(u, v)

    # ------------------------------------------------------------- complex step

    def _is_analytic(self) -> bool:
        if self._kind == "float32":
            return False
        moved = self._complex([np.ones(x.shape) for x in self.values])
        return moved is not None and all(
            bool(np.isfinite(m).all() and np.allclose(m.real, r, 1e-8, 1e-12))
            for m, r in zip(moved, self.results)
        )

    def _complex(self, v: Arrays) -> Arrays | None:
        """Return `ys` at ``x + ihv``, None if an operation is not analytic."""
        useful, moved = self._useful(), set(self.xs)
        values: dict[Node, np.ndarray] = {
            n: np.asarray(a, n.dtype) for n, a in self.at.items()
        }
        for x, value, direction in zip(self.xs, self.values, v):
            values[x] = value + 1j * _TINY * direction
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")
            for node in self._order:
                if node in values:
                    continue
                args = [values[a] for a in node.args]
                if any(a in moved for a in node.args):
                    moved.add(node)
                    if node in useful and self._chooses(node, moved):
                        return None
                positions = [p for p in _carrying(node) if np.iscomplexobj(args[p])]
                if not positions or node not in useful:
                    args = [a.real for a in args]
                    made = node.op.numpy(node, args, self._size)
                    values[node] = np.asarray(made, node.dtype)
                    continue
                if not node.op.analytic or node.dtype != np.float64:
                    return None
                args = [a if p in positions else a.real for p, a in enumerate(args)]
                try:
                    made = node.op.numpy(_Complex(node), args, self._size)
                except (KeyError, TypeError, ValueError, np.exceptions.ComplexWarning):
                    return None  # KeyError: a size that is not known
                values[node] = np.asarray(made)
                if not np.iscomplexobj(values[node]):
                    return None
        return [values[y].astype(np.complex128) for y in self.ys]

    @staticmethod
    def _chooses(node: Node, moved: set[Node]) -> bool:
        """Tell whether a discrete argument changes with `xs`: then there are kinks."""
        if node.op.blocks_derivatives:
            return False
        read = {*_carrying(node), *getattr(node.op, "waits_for", ())}
        return any(a in moved for p, a in enumerate(node.args) if p not in read)

    def _useful(self) -> set[Node]:
        """Return the nodes whose change changes a result."""
        useful = set(self.ys)
        for node in reversed(self._order):
            if node in useful:
                useful.update(node.args[p] for p in _carrying(node))
        return useful

    # --------------------------------------------------------------- differences

    def _extrapolated(self, u: Arrays, v: Arrays) -> Numeric:
        """Return Ridders' extrapolation of central differences."""
        unit = self._unit(v)
        if unit is None:
            return Numeric(0.0, 0.0)
        h = _STEP[self._kind] * unit
        noise = self._noise(u, v, unit)
        best = Numeric(np.nan, np.inf)
        above: list[float] = []
        for row in range(_ROWS):
            value, rounding = self._difference(u, v, h / 2**row, noise)
            entries = [value]
            for column, old in enumerate(above, 1):
                new = entries[-1] + (entries[-1] - old) / (4.0**column - 1)
                error = max(abs(new - entries[-1]), abs(new - old)) + rounding
                entries.append(new)
                if error < best.error:
                    best = Numeric(new, error)
            if rounding > best.error:
                break  # smaller steps are worse
            above = entries if np.isfinite(value) else []
        return best if np.isfinite(best.error) else Numeric(value, np.inf)

    def _unit(self, v: Arrays) -> float | None:
        """Return a step along `v` that is large for rounding; None along nothing."""
        moved = [abs(x[d != 0]) for x, d in zip(self.values, v)]
        near = np.concatenate(moved) if moved else np.empty(0)
        if not near.size:
            return None
        largest = max(float(np.max(np.abs(d), initial=0)) for d in v)
        return max(1.0, float(np.min(near))) / largest

    def _noise(self, u: Arrays, v: Arrays, unit: float) -> float:
        """Return the rounding noise of ``u @ y``, found once for each `u`.

        Differences of high order at close points are noise only (J. J. More and S. M.
        Wild, SIAM J. Sci. Comput. 33, 2011).
        """
        if self._noise_of is not None and self._noise_of[0] is u:
            return self._noise_of[1]
        h = _CLOSE[self._kind] * unit
        rows = [self._shifted(v, i * h) for i in range(-_POINTS, _POINTS + 1)]
        first = rows[0]
        with np.errstate(all="ignore"):
            table = np.array(
                [
                    sum(
                        float(np.sum((a.astype(np.float64) - b) * w))
                        for a, b, w in zip(row, first, u)
                    )
                    for row in rows
                ]
            )
            levels = []
            for k in range(1, 6):
                table = np.diff(table)
                scale = math.factorial(k) ** 2 / math.factorial(2 * k)
                levels.append(float(np.sqrt(scale * np.mean(table**2))))
        self._noise_of = (u, max(levels[2:]))
        return self._noise_of[1]

    def _difference(
        self, u: Arrays, v: Arrays, h: float, noise: float
    ) -> tuple[float, float]:
        """Return a central difference and what rounding contributes to it."""
        up, down = (self._shifted(v, s) for s in (h, -h))
        total, size = 0.0, 0.0
        with np.errstate(invalid="ignore", over="ignore"):
            for high, low, weight in zip(up, down, u):
                change = high.astype(np.float64) - low.astype(np.float64)
                total += float(np.sum(change * weight))
                size += float(np.sum(np.abs(high.astype(np.float64) * weight)))
            return total / (2 * h), max(_EPSILON[self._kind] * size, 2 * noise) / h

    def _shifted(self, v: Arrays, h: float) -> Arrays:
        moved = {
            x: (value + h * d).astype(x.dtype)
            for x, value, d in zip(self.xs, self.values, v)
        }
        return evaluated(self.ys, self.at | moved)


def evaluated(nodes: Sequence[Node], at: Mapping[Node, Any]) -> Arrays:
    """Return expressions evaluated by the interpreter."""
    results = operators.FUNCTIONS["evaluate"](list(nodes), at)
    return [np.asarray(r) for r in results]


class _Complex:
    """A node that says its dtype is complex128, for `Op.numpy`."""

    dtype = np.dtype(np.complex128)

    def __init__(self, node: Node):
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)


def _carrying(node: Node) -> Sequence[int]:
    """Return the arguments that a change passes; of `custom`, the value itself."""
    if node.op is custom_:
        return (len(node.args) - 1,)
    return differentiable_positions(node)


def _sizes_at(at: Mapping[Node, Any]) -> Any:
    values: dict[Any, int] = {}
    for node, array in at.items():
        for declared, actual in zip(node.shape, np.shape(array)):
            for d in sizes.dims(declared):
                if sizes.of_atom(d) == declared:
                    values[d] = actual
    return lambda s: sizes.evaluate(s, values.__getitem__)
