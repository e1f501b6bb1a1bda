"""New arrays: filled, ranges, identity, one-hot, triangles, grids."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.expressions.elementwise import FUNCTIONS as elementwise
from graphc.expressions.manipulation import as_shape, broadcast_to, expand_dims
from graphc.expressions.operands import (
    as_expression,
    joint_dtype,
    static_integer,
)
from graphc.graph.node import Node
from graphc.ops import leaf, move
from graphc.ops.arithmetic import cast
from graphc.ops.messages import dtype_error, shape_error
from graphc.types import dtypes, sizes
from graphc.types.errors import ShapeError, TracingError
from graphc.types.sizes import Size, SizeLike
from graphc.types.tensor_type import as_size, normalize_axis

__all__ = [
    "arange",
    "diag",
    "eye",
    "full",
    "full_like",
    "identity",
    "linspace",
    "meshgrid",
    "one_hot",
    "ones",
    "ones_like",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]


def zeros(shape: Any, dtype: Any = "float64") -> Node:
    """Return zeros; the sizes of `shape` may be symbolic."""
    return leaf.full(as_shape(shape), 0, dtype)


def ones(shape: Any, dtype: Any = "float64") -> Node:
    """Return ones; the sizes of `shape` may be symbolic."""
    return leaf.full(as_shape(shape), 1, dtype)


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Node:
    """Return an array of one value.

    Parameters
    ----------
    shape : size or sequence of sizes
    fill_value : number, or expression that broadcasts to the shape
    dtype : dtype, optional
        By default that of the value.
    """
    value = as_expression(fill_value, dtype, "full")
    number = leaf.uniform_value(value)
    if number is None or value.ndim:
        return broadcast_to(value, shape)
    return leaf.full(as_shape(shape), number, value.dtype)


def zeros_like(x: Any, /, dtype: Any = None) -> Node:
    """Return zeros of the shape of `x`, and its dtype unless one is given."""
    return full_like(x, 0, dtype)


def ones_like(x: Any, /, dtype: Any = None) -> Node:
    """Return ones of the shape of `x`, and its dtype unless one is given."""
    return full_like(x, 1, dtype)


def full_like(x: Any, /, fill_value: Any, dtype: Any = None) -> Node:
    """Return one value in the shape of `x`, and its dtype unless one is given."""
    x = as_expression(x, what="full_like")
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype)


def arange(
    start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None
) -> Node:
    """Return ``start, start + step, ...`` below `stop`.

    Parameters
    ----------
    start, stop : integers or symbolic sizes; numbers
        With one alone it is `stop`, and the start is 0.
    step : integer other than 0; number
    dtype : dtype, optional
        By default int64 for integers, float64 for other numbers.

    Raises
    ------
    TracingError
        If a bound is an expression: the size would not be known.
    ShapeError
        If the step is 0.
    """
    if stop is None:
        start, stop = 0, start
    for value in (start, stop, step):
        if isinstance(value, Node):
            raise TracingError(
                f"arange: {value.label()} is an expression, and so the size of the "
                "result would not be known. Use numbers, or sizes such as x.shape[0]."
            )
    if step == 0:
        raise ShapeError("arange: the step is 0.")
    if not all(isinstance(v, (Size, int, np.integer)) for v in (start, stop, step)):
        return leaf.constant(np.arange(start, stop, step), dtype)
    step = static_integer(step, "arange: the step")
    wanted = dtypes.int64 if dtype is None else dtypes.as_dtype(dtype)
    if isinstance(stop, Size) or isinstance(start, Size):
        span = stop - start if step > 0 else start - stop
    else:
        span = int(stop) - int(start) if step > 0 else int(start) - int(stop)
    count = sizes.maximum(0, -sizes.floordiv(-span, abs(step)))
    out = leaf.iota(count, wanted)
    out = out if step == 1 else out * step
    return out if isinstance(start, int) and start == 0 else out + start


def linspace(
    start: Any,
    stop: Any,
    /,
    num: int = 50,
    endpoint: bool = True,
    *,
    dtype: Any = None,
) -> Node:
    """Return `num` evenly spaced values from `start` to `stop`.

    Parameters
    ----------
    start, stop : number, or expression without dimensions
    num : int
    endpoint : bool
        Whether `stop` is the last value.
    dtype : dtype, optional
        By default the floating-point dtype of the bounds.
    """
    num = static_integer(num, "linspace: num")
    if not isinstance(start, (Node, Size)) and not isinstance(stop, (Node, Size)):
        return leaf.constant(np.linspace(start, stop, num, endpoint), dtype)
    joint = dtypes.floating(joint_dtype([start, stop]))
    first, last = as_expression(start, joint), as_expression(stop, joint)
    for bound in (first, last):
        if bound.ndim:
            raise shape_error("linspace", [bound], "a bound has dimensions.")
    steps = leaf.constant(np.linspace(0.0, 1.0, num, endpoint), joint)
    # Both ends exactly, and no overflow of last - first.
    out = first * (1 - steps) + last * steps
    return out if dtype is None else cast(out, dtype)


def eye(n: Any, m: Any = None, /, k: int = 0, *, dtype: Any = "float64") -> Node:
    """Return an `n` by `m` matrix with ones on diagonal `k` and zeros elsewhere."""
    rows = as_size(n)
    columns = rows if m is None else as_size(m)
    return cast(_diagonal_mask(rows, columns, k, "equal"), dtype)


def identity(n: Any, dtype: Any = "float64") -> Node:
    """Return the `n` by `n` identity matrix."""
    return eye(n, dtype=dtype)


def _diagonal_mask(rows: SizeLike, columns: SizeLike, k: int, relation: str) -> Node:
    """Return where ``column (relation) row + k``."""
    k = static_integer(k, "k")
    down = move.reshape(leaf.iota(rows), (rows, 1))
    return elementwise[relation](leaf.iota(columns), down + k if k else down)


def tril(x: Any, /, k: int = 0) -> Node:
    """Return the last two axes' lower triangle, up to diagonal `k`, else zeros."""
    return _triangle("tril", x, k, "less_equal")


def triu(x: Any, /, k: int = 0) -> Node:
    """Return the last two axes' upper triangle, from diagonal `k`, else zeros."""
    return _triangle("triu", x, k, "greater_equal")


def _triangle(name: str, x: Any, k: int, relation: str) -> Node:
    x = as_expression(x, what=name)
    if x.ndim < 2:
        raise shape_error(name, [x], "two dimensions are needed.")
    mask = _diagonal_mask(x.shape[-2], x.shape[-1], k, relation)
    return elementwise["where"](mask, x, leaf.constant(0, x.dtype))


def diag(v: Any, /, k: int = 0) -> Node:
    """Return the matrix with `v` on diagonal `k`; of a matrix, its diagonal `k`.

    Raises
    ------
    ShapeError
        If `v` has other than one or two dimensions.
    """
    from graphc.expressions.indexing import diagonal
    from graphc.expressions.joining import pad

    v = as_expression(v, what="diag")
    if v.ndim == 2:
        return diagonal(v, k)
    if v.ndim != 1:
        raise shape_error("diag", [v], "one or two dimensions are needed.")
    k = static_integer(k, "diag: k")
    mask = _diagonal_mask(v.shape[0], v.shape[0], 0, "equal")
    square = elementwise["where"](mask, v, leaf.constant(0, v.dtype))
    before, after = (abs(k), 0), (0, abs(k))
    widths = (after, before) if k > 0 else (before, after)
    return pad(square, widths) if k else square


def one_hot(
    x: Any, /, num_classes: Any, *, dtype: Any = "float64", axis: int = -1
) -> Node:
    """Return 1 at the place each integer names along a new axis, and 0 elsewhere.

    Parameters
    ----------
    x : expression or array of integers
        One outside of ``0 .. num_classes - 1`` gives zeros only.
    num_classes : size
    dtype : dtype, optional
    axis : int
        Where the new axis stands in the result.

    Raises
    ------
    DTypeError
        If `x` is not of integers.
    """
    x = as_expression(x, what="one_hot")
    if x.dtype.kind not in "iu":
        raise dtype_error("one_hot", [x], "indices must be integers.")
    place = normalize_axis(axis, x.ndim + 1, "one_hot")
    classes = leaf.iota(as_size(num_classes))
    classes = move.reshape(classes, (*classes.shape, *(1,) * (x.ndim - place)))
    return cast(elementwise["equal"](expand_dims(x, place), classes), dtype)


def meshgrid(*arrays: Any, indexing: str = "xy") -> list[Node]:
    """Return the coordinates of a grid, an array of all dimensions for each axis.

    Parameters
    ----------
    *arrays : expressions or arrays of one dimension
    indexing : {"xy", "ij"}
        "xy" lets the first vary along the second axis, as in pictures.

    Raises
    ------
    ShapeError
        If one has other than one dimension, or `indexing` is unknown.
    """
    nodes = [as_expression(a, what="meshgrid") for a in arrays]
    if indexing not in ("xy", "ij"):
        raise ShapeError(f'meshgrid: indexing is "xy" or "ij", not {indexing!r}.')
    for node in nodes:
        if node.ndim != 1:
            raise shape_error("meshgrid", [node], "one dimension is needed.")
    places = list(range(len(nodes)))
    if indexing == "xy" and len(nodes) > 1:
        places[:2] = [1, 0]
    shape: list[SizeLike] = [1] * len(nodes)
    for node, place in zip(nodes, places):
        shape[place] = node.shape[0]
    out = []
    for node, place in zip(nodes, places):
        ones: list[SizeLike] = [1] * len(nodes)
        ones[place] = node.shape[0]
        out.append(move.broadcast_to(move.reshape(node, tuple(ones)), tuple(shape)))
    return out
