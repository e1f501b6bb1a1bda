"""Indexing: ``x[key]``, ``x.at[key]``, take, diagonals."""

from __future__ import annotations

from typing import Any

from graphc.expressions.elementwise import FUNCTIONS as elementwise
from graphc.expressions.manipulation import moveaxis
from graphc.expressions.operands import as_expression, one_axis, static_integer
from graphc.expressions.reductions import sum as sum_over
from graphc.expressions.selection import checked_index, select
from graphc.graph.node import Node
from graphc.ops import integer_indexing as index_ops
from graphc.ops import leaf, move, slicing
from graphc.ops.arithmetic import cast
from graphc.ops.messages import dtype_error, shape_error
from graphc.types.errors import ShapeError
from graphc.types.tensor_type import broadcast_shapes, shape_text

__all__ = ["diagonal", "take", "take_along_axis", "trace"]


def getitem(x: Node, key: Any) -> Node:
    """Return ``x[key]`` by NumPy's rules.

    Parameters
    ----------
    x : expression
    key : index or tuple of them
        Integers, sizes, slices with steps, None, Ellipsis, arrays or expressions of
        integers, constant masks.

    Raises
    ------
    IndexOutOfRangeError
        If an integer lies outside its axis; for an expression when the function runs.
    ShapeError, DTypeError, TracingError
        If the key does not fit, or is no index; a mask that is an expression is none.
    """
    return select(x, key).read(x)


class At:
    """``x.at``: changed copies of an expression, ``x.at[key].set(value)``."""

    __slots__ = ("_x",)

    def __init__(self, x: Node):
        self._x = x

    def __getitem__(self, key: Any) -> AtKey | AtMask:
        if isinstance(key, Node) and key.dtype.kind == "b":
            return AtMask(self._x, key)
        return AtKey(self._x, key)

    def __repr__(self) -> str:
        return f"<at of {self._x!r}>"


class AtKey:
    """What ``x.at[key]`` is; its methods return changed copies."""

    __slots__ = ("_selection", "_x")

    def __init__(self, x: Node, key: Any):
        self._x = x
        self._selection = select(x, key)

    def get(self) -> Node:
        """Return ``x[key]``."""
        return self._selection.read(self._x)

    def set(self, value: Any) -> Node:
        """Return `x` with ``x[key]`` replaced; of repeated indices the last wins.

        The value broadcasts to ``x[key]`` and takes the dtype of `x`.
        """
        return self._written(value, "set")

    def add(self, value: Any) -> Node:
        """Return `x` with a value added at the key, for repeated indices each time."""
        return self._written(value, "add")

    def subtract(self, value: Any) -> Node:
        """Return `x` with a value subtracted at the key; see `add`."""
        return self.add(-as_expression(value))

    def _written(self, value: Any, combine: str) -> Node:
        x, selection = self._x, self._selection
        value = as_expression(value, x.dtype, "at")
        wanted = selection.shape
        value = _without_leading_ones(value, len(wanted))
        if broadcast_shapes([value.shape, wanted]) is None or value.ndim > len(wanted):
            raise shape_error(
                "at",
                [x, value],
                f"the value does not broadcast to the selected shape "
                f"{shape_text(wanted)}.",
            )
        return selection.write(x, move.broadcast_to(value, wanted), combine)


class AtMask:
    """What ``x.at[mask]`` is for a mask that is an expression.

    How many elements it selects is not known while the graph is built, so the value
    must fit every one of them; copies are made with `where`.
    """

    __slots__ = ("_mask", "_rest", "_x")

    def __init__(self, x: Node, mask: Node):
        joint = broadcast_shapes([mask.shape, x.shape[: mask.ndim]])
        if mask.ndim > x.ndim or joint is None:
            raise shape_error(
                "at",
                [x, mask],
                "the mask's shape is not that of the array's first axes.",
            )
        self._x = x
        self._rest = x.shape[mask.ndim :]
        self._mask = move.reshape(mask, (*mask.shape, *(1,) * len(self._rest)))

    def get(self) -> Node:
        """Raise: the size of ``x[mask]`` depends on values."""
        return self._x[self._mask]

    def set(self, value: Any) -> Node:
        """Return `x` with a value in place of the elements the mask selects."""
        return elementwise["where"](self._mask, self._value(value), self._x)

    def add(self, value: Any) -> Node:
        """Return `x` with a value added to the elements the mask selects."""
        return elementwise["where"](self._mask, self._x + self._value(value), self._x)

    def subtract(self, value: Any) -> Node:
        """Return `x` with a value subtracted from the elements the mask selects."""
        return self.add(-as_expression(value))

    def _value(self, value: Any) -> Node:
        value = as_expression(value, self._x.dtype, "at")
        rest = self._rest
        if (
            value.ndim > len(rest)
            or broadcast_shapes([value.shape, rest or ()]) != rest
        ):
            raise shape_error(
                "at",
                [self._x, value],
                "how many elements the mask selects is not known, so the value must "
                f"broadcast to the shape of each, {shape_text(rest)}.",
                "Use where(mask, values, x) for a value for every element of x.",
            )
        return cast(value, self._x.dtype)


def _without_leading_ones(value: Node, ndim: int) -> Node:
    """Return a value without the leading axes of size 1 that are too many."""
    extra = value.ndim - ndim
    if extra <= 0 or any(s != 1 for s in value.shape[:extra]):
        return value
    return move.reshape(value, value.shape[extra:])


def take(
    x: Any, indices: Any, /, axis: int | None = None, *, mode: str = "raise"
) -> Node:
    """Return elements along an axis by their indices.

    Parameters
    ----------
    x : expression or array
    indices : expression, array or integer
        Of integers; their shape takes the place of the axis.
    axis : int, optional
        Left out, the elements in row-major order are indexed.
    mode : {"raise", "clip", "wrap"}
        For indices out of range: an error when the function runs, the nearest end
        (negative ones too), or the index modulo the size.

    Raises
    ------
    IndexOutOfRangeError
        If a constant index lies outside an axis of known size.
    DTypeError
        If the indices are not integers.
    """
    x = as_expression(x, what="take")
    if axis is None:
        x, axis = move.reshape(x, (x.size,)), 0
    axis = one_axis(x, axis, "take")
    chosen = as_expression(indices, what="take")
    if chosen.dtype.kind not in "iu":
        raise dtype_error("take", [x, chosen], "indices are integers.")
    size = leaf.size_value(x.shape[axis], chosen.dtype)
    if mode == "clip":
        chosen = elementwise["clip"](chosen, 0, size - 1)
    elif mode == "wrap":
        chosen = elementwise["remainder"](chosen, size)
    elif mode != "raise":
        raise ShapeError(f'take: mode is "raise", "clip" or "wrap", not {mode!r}.')
    front = move.move_axis(x, axis, 0)
    picked = index_ops.take(front, [checked_index(front, 0, chosen)])
    return moveaxis(
        picked, list(range(chosen.ndim)), list(range(axis, axis + chosen.ndim))
    )


def take_along_axis(x: Any, indices: Any, /, axis: int | None = -1) -> Node:
    """Return ``x[..., indices[..., j, ...], ...]``: an index for each position.

    Parameters
    ----------
    x : expression or array
    indices : expression or array of integers
        Of as many dimensions as `x`, broadcasting against it but along `axis`.
    axis : int or None
        None takes both in row-major order.

    Raises
    ------
    ShapeError, DTypeError
        If the shapes do not fit, or the indices are not integers.
    """
    x = as_expression(x, what="take_along_axis")
    chosen = as_expression(indices, what="take_along_axis")
    if axis is None:
        x, axis = move.reshape(x, (x.size,)), 0
        chosen = move.reshape(chosen, (chosen.size,))
    axis = one_axis(x, axis, "take_along_axis")
    return index_ops.take_along_axis(x, checked_index(x, axis, chosen), axis)


def diagonal(x: Any, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Node:
    """Return a diagonal of the matrices in two axes, as the last axis.

    Parameters
    ----------
    x : expression or array
    offset : int
        Above the main diagonal, below for negative ones.
    axis1, axis2 : int
        Rows and columns.

    Raises
    ------
    ShapeError
        If there are fewer than two axes, or the two are the same.
    """
    x = as_expression(x, what="diagonal")
    offset = static_integer(offset, "diagonal: offset")
    if x.ndim < 2:
        raise shape_error("diagonal", [x], "two dimensions are needed.")
    x = moveaxis(x, [axis1, axis2], [-2, -1])
    if offset:
        skipped = x.ndim - 1 if offset > 0 else x.ndim - 2
        first, count = slicing.slice_bounds(x.shape[skipped], abs(offset), None)
        x = slicing.slice_axis(x, skipped, 0 if count == 0 else first, count)
    return move.diagonal_(x)


def trace(
    x: Any,
    /,
    offset: int = 0,
    axis1: int = 0,
    axis2: int = 1,
    dtype: Any = None,
) -> Node:
    """Return the sum of a diagonal; parameters as in `diagonal` and `sum`."""
    return sum_over(diagonal(x, offset, axis1, axis2), -1, dtype)


def matrix_diagonal(x: Any, /, *, offset: int = 0) -> Node:
    """Return a diagonal of the last two axes."""
    return diagonal(x, offset, -2, -1)


def matrix_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Node:
    """Return the sum of a diagonal of the last two axes."""
    return trace(x, offset, -2, -1, dtype)
