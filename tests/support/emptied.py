"""Functions that select by an index, called where what they select from is empty.

An element that is not selected is computed all the same where a loop is not cut, and
must then be read from where memory is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import graphc as cg


class Case(NamedTuple):
    """A function of arrays with symbolic sizes, and the sizes of calls."""

    name: str
    shapes: tuple[tuple, ...]
    build: Callable[..., Any]
    calls: tuple[tuple[tuple[int, ...], ...], ...]
    dtypes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    def inputs(self) -> list[Any]:
        """Return new inputs."""
        dtypes = self.dtypes or ("float64",) * len(self.shapes)
        return [
            cg.tensor(f"x{number}", shape, dtype=dtype)
            for number, (shape, dtype) in enumerate(zip(self.shapes, dtypes))
        ]

    def arrays(self, call: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
        """Return arrays of the sizes of a call; integers are zeros."""
        dtypes = self.dtypes or ("float64",) * len(self.shapes)
        rng = np.random.default_rng(5)
        return [
            rng.normal(size=shape) if dtype == "float64" else np.zeros(shape, dtype)
            for shape, dtype in zip(call, dtypes)
        ]


def _grad_of_shifts(x: Any) -> Any:
    return cg.grad(cg.sum(cg.sin(x[3:]) * x[:-3]), x)


def _both_orders(x: Any, y: Any) -> Any:
    return cg.concatenate([x, y]) * cg.sin(cg.concatenate([y, x]))


def _normalized(x: Any) -> Any:
    return cg.exp(x) / cg.sum(cg.exp(x), axis=1, keepdims=True)


def _both_paddings(x: Any, y: Any) -> Any:
    n, m = x.shape[0], y.shape[0]
    widths = ((0, 0),) * (x.ndim - 1)
    left = cg.pad(x[5:], ((m, 7), *widths))
    return left * cg.pad(cg.cos(y), ((n + 2, 0), *widths)) + left


CASES = (
    Case("pad", (("n",),), lambda x: cg.pad(x, ((2, 3),)), (((0,),), ((1,),))),
    Case(
        "pad-matrix",
        (("n", "m"),),
        lambda x: cg.pad(x, ((2, 3), (1, 1))),
        (((0, 5000),), ((5000, 0),), ((0, 0),), ((1, 1),)),
    ),
    Case(
        "pad-slice",
        (("n", "m"),),
        lambda x: cg.pad(x[5:], ((1, 2), (0, 0))),
        (((5, 3000),), ((6, 2),), ((5, 0),)),
    ),
    Case("grad-of-shifts", (("n",),), _grad_of_shifts, (((3,),), ((4,),), ((1,),))),
    Case(
        "both-orders",
        (("n",), ("m",)),
        _both_orders,
        (((0,), (3,)), ((3,), (0,)), ((0,), (0,)), ((3,), (4,))),
    ),
    Case(
        "both-orders-of-rows",
        (("n", "k"), ("m", "k")),
        _both_orders,
        (((0, 3000), (3, 3000)), ((3, 3000), (0, 3000)), ((3, 0), (4, 0))),
    ),
    Case(
        "both-paddings",
        (("n",), ("m",)),
        _both_paddings,
        (((5,), (0,)), ((5,), (3,)), ((9,), (0,)), ((9,), (3,))),
    ),
    Case(
        "both-paddings-of-rows",
        (("n", "k"), ("m", "k")),
        _both_paddings,
        (((5, 700), (0, 700)), ((5, 700), (3, 700)), ((9, 2), (0, 2))),
    ),
    Case(
        "of-what-was-computed",
        (("n", "k"), ("m", "k")),
        lambda x, y: _both_orders(cg.cumsum(x, axis=0), cg.cumsum(y, axis=0)),
        (((0, 3000), (3, 3000)), ((3, 3000), (0, 3000))),
    ),
    Case(
        "of-gathered",
        (("n", "k"), ("j",), ("m", "k")),
        lambda x, i, y: _both_orders(x[i], y),
        (
            ((0, 3000), (0,), (3, 3000)),
            ((2, 3000), (0,), (3, 3000)),
            ((2, 3), (4,), (3, 3)),
        ),
        ("float64", "int64", "float64"),
    ),
    Case(
        "of-gathered-slice",
        (("n", "k"), ("j",), ("m", "k")),
        lambda x, i, y: _both_orders(x[5:][i], y),
        (
            ((5, 3000), (0,), (3, 3000)),
            ((7, 3), (4,), (3, 3)),
        ),
        ("float64", "int64", "float64"),
    ),
    Case(
        "of-normalized-rows",
        (("n", "k"), ("n", "m")),
        lambda x, y: (
            cg.concatenate([_normalized(x), y], axis=1)
            * cg.concatenate([y, cg.exp(x)], axis=1)
        ),
        (((3, 0), (3, 4)), ((3, 4), (3, 0)), ((0, 3), (0, 4)), ((3, 3), (3, 4))),
    ),
)
