"""Reductions over axes: sums, extrema, means, variances, and running sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.expressions.elementwise import FUNCTIONS as elementwise
from graphc.expressions.operands import as_expression, one_axis
from graphc.graph.node import Node
from graphc.ops import leaf, move, reduce, scan, slicing
from graphc.ops.arithmetic import cast
from graphc.ops.messages import shape_error
from graphc.types import dtypes, sizes
from graphc.types.tensor_type import normalize_axes

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "average",
    "count_nonzero",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "max",
    "mean",
    "min",
    "prod",
    "ptp",
    "std",
    "sum",
    "var",
]

Axes = int | Sequence[int] | None
"""One axis, several, or None for all."""


def _reduce(
    name: str, x: Node, axis: Axes, keepdims: bool, op: Callable[..., Node]
) -> Node:
    axes = normalize_axes(axis, x.ndim, f"{name} of {x.label()}")
    reduced = op(x, params=(axes,)) if axes else x
    return _with_kept_axes(x, reduced, axes) if keepdims else reduced


def _with_kept_axes(x: Node, reduced: Node, axes: Sequence[int]) -> Node:
    return move.reshape(
        reduced, tuple(1 if a in axes else s for a, s in enumerate(x.shape))
    )


def _accumulator(dtype: np.dtype, wanted: Any) -> np.dtype:
    """Return the dtype of a sum: NumPy's, 64 bits for integers and booleans."""
    if wanted is not None:
        return dtypes.as_dtype(wanted)
    if dtypes.is_float(dtype):
        return dtype
    return dtypes.uint64 if dtype.kind == "u" else dtypes.int64


def sum(
    x: Any, /, axis: Axes = None, dtype: Any = None, *, keepdims: bool = False
) -> Node:
    """Return the sum over axes.

    Parameters
    ----------
    x : expression or array
    axis : int or sequence of int, optional
        Left out, all axes.
    dtype : dtype, optional
        Of the result and the addition; by default that of `x`, and 64 bits wide for
        integers and booleans.
    keepdims : bool
        Keep the axes, with size 1.
    """
    x = as_expression(x, what="sum")
    return _reduce(
        "sum", cast(x, _accumulator(x.dtype, dtype)), axis, keepdims, reduce.sum_
    )


def prod(
    x: Any, /, axis: Axes = None, dtype: Any = None, *, keepdims: bool = False
) -> Node:
    """Return the product over axes; parameters as in `sum`."""
    x = as_expression(x, what="prod")
    return _reduce(
        "prod", cast(x, _accumulator(x.dtype, dtype)), axis, keepdims, reduce.prod_
    )


def max(x: Any, /, axis: Axes = None, *, keepdims: bool = False) -> Node:
    """Return the largest element over axes, NaN if there is one.

    Its derivative is split evenly among elements that are equally large.
    """
    return _reduce("max", as_expression(x, what="max"), axis, keepdims, reduce.max_)


def min(x: Any, /, axis: Axes = None, *, keepdims: bool = False) -> Node:
    """Return the smallest element over axes, NaN if there is one.

    Its derivative is split evenly among elements that are equally small.
    """
    return _reduce("min", as_expression(x, what="min"), axis, keepdims, reduce.min_)


def any(x: Any, /, axis: Axes = None, *, keepdims: bool = False) -> Node:
    """Return whether an element over axes is not zero."""
    truth = cast(as_expression(x, what="any"), dtypes.bool_)
    return _reduce("any", truth, axis, keepdims, reduce.any_)


def all(x: Any, /, axis: Axes = None, *, keepdims: bool = False) -> Node:
    """Return whether every element over axes is not zero."""
    truth = cast(as_expression(x, what="all"), dtypes.bool_)
    return _reduce("all", truth, axis, keepdims, reduce.all_)


def argmax(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Node:
    """Return the index of the first largest element along an axis.

    Parameters
    ----------
    x : expression or array
    axis : int, optional
        Left out, the index is into the array in row-major order.
    keepdims : bool
        Keep the axis, with size 1.

    Returns
    -------
    expression
        Of dtype int64. A NaN counts as largest.
    """
    return _index_of("argmax", x, axis, keepdims, reduce.argmax_)


def argmin(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Node:
    """Return the index of the first smallest element along an axis; see `argmax`."""
    return _index_of("argmin", x, axis, keepdims, reduce.argmin_)


def _index_of(
    name: str, x: Any, axis: int | None, keepdims: bool, op: Callable[..., Node]
) -> Node:
    x = as_expression(x, what=name)
    if axis is None:
        found = op(move.reshape(x, (x.size,)), params=(0,))
        axes = tuple(range(x.ndim))
    else:
        axes = (one_axis(x, axis, name),)
        found = op(x, params=axes)
    return _with_kept_axes(x, found, axes) if keepdims else found


def count_nonzero(x: Any, /, axis: Axes = None, *, keepdims: bool = False) -> Node:
    """Return how many elements over axes are not zero."""
    x = cast(as_expression(x, what="count_nonzero"), dtypes.bool_)
    return sum(x, axis, keepdims=keepdims)


def mean(
    x: Any, /, axis: Axes = None, dtype: Any = None, *, keepdims: bool = False
) -> Node:
    """Return the arithmetic mean over axes.

    Parameters
    ----------
    x : expression or array
    axis : int or sequence of int, optional
        Left out, all axes.
    dtype : dtype, optional
        Of the result and the computation; by default that of `x`, float64 for
        integers.
    keepdims : bool
        Keep the axes, with size 1.
    """
    x = _as_float("mean", x, dtype)
    return _over_count(sum(x, axis, keepdims=keepdims), x, axis, 0)


def var(
    x: Any,
    /,
    axis: Axes = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    correction: float | None = None,
    keepdims: bool = False,
) -> Node:
    """Return the variance over axes, ``sum((x - mean(x))**2) / (n - ddof)``.

    Parameters
    ----------
    x : expression or array
    axis : int or sequence of int, optional
        Left out, all axes.
    dtype : dtype, optional
        As in `mean`.
    ddof, correction : number
        What to subtract from the number of elements; two names of one thing.
    keepdims : bool
        Keep the axes, with size 1.
    """
    x = _as_float("var", x, dtype)
    centered = x - mean(x, axis, keepdims=True)
    total = sum(centered * centered, axis, keepdims=keepdims)
    return _over_count(total, x, axis, ddof if correction is None else correction)


def std(
    x: Any,
    /,
    axis: Axes = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    correction: float | None = None,
    keepdims: bool = False,
) -> Node:
    """Return the standard deviation over axes, the square root of `var`.

    Where all elements are equal, its derivative is taken as zero.
    """
    return elementwise["sqrt"](
        var(x, axis, dtype, ddof=ddof, correction=correction, keepdims=keepdims)
    )


def _as_float(name: str, x: Any, dtype: Any) -> Node:
    x = as_expression(x, what=name)
    if dtype is not None:
        return cast(x, dtype)
    return x if dtypes.is_float(x.dtype) else cast(x, dtypes.float64)


def _over_count(total: Node, x: Node, axis: Axes, correction: float) -> Node:
    axes = normalize_axes(axis, x.ndim, "mean")
    count = sizes.product(x.shape[a] for a in axes)
    number = leaf.size_value(count, x.dtype)
    return total / (number - correction if correction else number)


def average(
    x: Any, /, axis: Axes = None, weights: Any = None, *, keepdims: bool = False
) -> Node:
    """Return ``sum(weights * x) / sum(weights)`` over axes; the mean without weights.

    Parameters
    ----------
    x : expression or array
    axis : int or sequence of int, optional
        Left out, all axes.
    weights : expression or array, optional
        Broadcast against `x`; of one dimension, they are those along `axis`.
    keepdims : bool
        Keep the axes, with size 1.
    """
    if weights is None:
        return mean(x, axis, keepdims=keepdims)
    x = _as_float("average", x, None)
    w = as_expression(weights, what="average")
    if w.ndim == 1 and x.ndim > 1 and axis is not None:
        (along,) = normalize_axes(axis, x.ndim, "average")
        w = move.reshape(w, (w.shape[0], *(1,) * (x.ndim - along - 1)))
    w = move.broadcast_to(w, x.shape)
    return sum(x * w, axis, keepdims=keepdims) / sum(w, axis, keepdims=keepdims)


def ptp(x: Any, /, axis: Axes = None, *, keepdims: bool = False) -> Node:
    """Return the largest minus the smallest element over axes."""
    return max(x, axis, keepdims=keepdims) - min(x, axis, keepdims=keepdims)


amax, amin = max, min


def cumsum(x: Any, /, axis: int | None = None, dtype: Any = None) -> Node:
    """Return the running sums along an axis.

    Parameters
    ----------
    x : expression or array
    axis : int, optional
        Left out, of the elements in row-major order.
    dtype : dtype, optional
        As in `sum`.
    """
    return _running("cumsum", x, axis, dtype, scan.cumsum)


def cumprod(x: Any, /, axis: int | None = None, dtype: Any = None) -> Node:
    """Return the running products along an axis; parameters as in `cumsum`."""
    return _running("cumprod", x, axis, dtype, scan.cumprod)


def _running(
    name: str, x: Any, axis: int | None, dtype: Any, op: Callable[..., Node]
) -> Node:
    x = as_expression(x, what=name)
    x = cast(x, _accumulator(x.dtype, dtype))
    if axis is None:
        x, axis = move.reshape(x, (x.size,)), 0
    return op(x, one_axis(x, axis, name))


def cumulative_sum(
    x: Any,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
) -> Node:
    """Return the running sums along an axis, as the array API has it.

    Parameters
    ----------
    x : expression or array
    axis : int, optional
        May be left out if there is only one.
    dtype : dtype, optional
        As in `sum`.
    include_initial : bool
        Begin with 0, which makes the axis one longer.

    Raises
    ------
    ShapeError
        If the axis is left out and there are several.
    """
    return _cumulative("cumulative_sum", x, axis, dtype, include_initial, cumsum, 0)


def cumulative_prod(
    x: Any,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
) -> Node:
    """Return the running products along an axis; see `cumulative_sum`."""
    return _cumulative("cumulative_prod", x, axis, dtype, include_initial, cumprod, 1)


def _cumulative(
    name: str,
    x: Any,
    axis: int | None,
    dtype: Any,
    include_initial: bool,
    running: Callable[..., Node],
    initial: int,
) -> Node:
    x = as_expression(x, what=name)
    if axis is None and x.ndim != 1:
        raise shape_error(name, [x], "axis may be left out for one dimension only.")
    axis = one_axis(x, 0 if axis is None else axis, name)
    out = running(x, axis, dtype)
    if not include_initial:
        return out
    starts = tuple(int(a == axis) for a in range(out.ndim))
    shape = tuple(s + first for s, first in zip(out.shape, starts))
    return slicing.pad(out, starts, shape, value=initial)
