"""Shapes and order of axes: reshape, transpose, expand, squeeze, broadcast, flip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.expressions.operands import as_expression, one_axis
from graphc.graph.node import Node
from graphc.ops import move
from graphc.ops.messages import shape_error
from graphc.types.errors import ShapeError
from graphc.types.sizes import Size, SizeLike, floordiv, product, unify
from graphc.types.tensor_type import (
    Shape,
    as_size,
    normalize_axes,
    normalize_axis,
    shape_text,
)
from graphc.types.tensor_type import broadcast_shapes as _broadcast_shapes

__all__ = [
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "expand_dims",
    "flatten",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "ravel",
    "reshape",
    "shape",
    "squeeze",
    "swapaxes",
    "transpose",
]


def as_shape(shape: Any) -> Shape:
    """Return a shape given as one size or a sequence of sizes."""
    if isinstance(shape, (str, Size)) or hasattr(shape, "__index__"):
        shape = (shape,)
    return tuple(as_size(s) for s in shape)


def shape(x: Any, /) -> Shape:
    """Return the sizes of the axes, integers or symbolic."""
    return as_expression(x, what="shape").shape


def reshape(x: Any, /, *sizes: Any, shape: Any = None) -> Node:
    """Return the same elements in row-major order under another shape.

    Parameters
    ----------
    x : expression or array
    *sizes : sizes, or one tuple of sizes
        May be given as the keyword `shape`. At most one is -1 and follows from the
        others. Symbolic sizes are taken to fill the array, which is checked when the
        function is called.

    Raises
    ------
    ShapeError
        If the number of elements differs.
    """
    x = as_expression(x, what="reshape")
    if shape is None:
        shape = sizes[0] if len(sizes) == 1 else sizes
    wanted = shape
    if isinstance(wanted, (str, Size)) or hasattr(wanted, "__index__"):
        wanted = (wanted,)
    unknown = [a for a, s in enumerate(wanted) if _is_minus_one(s)]
    if not unknown:
        return move.reshape(x, as_shape(wanted))
    if len(unknown) > 1:
        raise shape_error("reshape", [x], "only one size can be -1.")
    (axis,) = unknown
    known = [as_size(s) for a, s in enumerate(wanted) if a != axis]
    inferred = _remaining(x, product(known), wanted)
    return move.reshape(x, (*known[:axis], inferred, *known[axis:]))


def _is_minus_one(size: Any) -> bool:
    return not isinstance(size, (str, Size)) and size == -1


def _remaining(x: Node, known: SizeLike, wanted: Sequence[Any]) -> SizeLike:
    if known == 0:
        raise shape_error("reshape", [x], "with a size of 0, -1 could be anything.")
    if isinstance(x.size, int) and isinstance(known, int) and x.size % known:
        raise shape_error(
            "reshape",
            [x],
            f"{x.size} elements do not divide into {shape_text(wanted)}.",
        )
    return floordiv(x.size, known)


def ravel(x: Any, /) -> Node:
    """Return the elements in row-major order, in one dimension."""
    x = as_expression(x, what="ravel")
    return move.reshape(x, (x.size,))


def flatten(x: Any, /) -> Node:
    """Return the elements in row-major order, in one dimension: `ravel`."""
    return ravel(x)


def transpose(x: Any, /, *order: Any, axes: Any = None) -> Node:
    """Return `x` with its axes in another order.

    Parameters
    ----------
    x : expression or array
    *order : ints, or one tuple of ints, optional
        May be given as the keyword `axes`. Axis `a` of the result is axis
        ``order[a]`` of `x`. Left out, the order is reversed.

    Raises
    ------
    ShapeError
        If the order does not name every axis once.
    """
    x = as_expression(x, what="transpose")
    if axes is None:
        single = len(order) == 1 and not hasattr(order[0], "__index__")
        axes = (order[0] if single else order) or range(x.ndim)[::-1]
    places = tuple(one_axis(x, a, "transpose") for a in axes)
    if sorted(places) != list(range(x.ndim)):
        raise shape_error(
            "transpose", [x], f"axes {axes} must name each of {x.ndim} axes once."
        )
    return move.permute(x, places)


def permute_dims(x: Any, /, axes: Sequence[int]) -> Node:
    """Return `x` with its axes in the order `axes`; see `transpose`."""
    return transpose(x, tuple(axes))


def matrix_transpose(x: Any, /) -> Node:
    """Return `x` with its last two axes swapped.

    Raises
    ------
    ShapeError
        If it has fewer than two.
    """
    x = as_expression(x, what="matrix_transpose")
    if x.ndim < 2:
        raise shape_error("matrix_transpose", [x], "two dimensions are needed.")
    return swapaxes(x, -1, -2)


def swapaxes(x: Any, /, axis1: int, axis2: int) -> Node:
    """Return `x` with two axes exchanged."""
    x = as_expression(x, what="swapaxes")
    order = list(range(x.ndim))
    a, b = one_axis(x, axis1, "swapaxes"), one_axis(x, axis2, "swapaxes")
    order[a], order[b] = order[b], order[a]
    return move.permute(x, tuple(order))


def moveaxis(x: Any, /, source: Any, destination: Any) -> Node:
    """Return `x` with axes moved to other places, the rest keeping their order.

    Parameters
    ----------
    x : expression or array
    source, destination : int or sequence of int
        As many of one as of the other.
    """
    x = as_expression(x, what="moveaxis")
    here = _several(source, x.ndim, "moveaxis")
    there = _several(destination, x.ndim, "moveaxis")
    if len(here) != len(there):
        raise shape_error(
            "moveaxis", [x], f"{len(here)} axes cannot go to {len(there)} places."
        )
    order = [a for a in range(x.ndim) if a not in here]
    for place, axis in sorted(zip(there, here)):
        order.insert(place, axis)
    return move.permute(x, tuple(order))


def _several(axes: Any, ndim: int, what: str) -> list[int]:
    """Return axes counted from the front, in the order given, each once."""
    axes = list(axes) if isinstance(axes, (list, tuple)) else [axes]
    normalize_axes(axes, ndim, what)
    return [normalize_axis(a, ndim, what) for a in axes]


def expand_dims(x: Any, /, axis: int | Sequence[int] = 0) -> Node:
    """Return `x` with new axes of size 1, at the places `axis` of the result."""
    x = as_expression(x, what="expand_dims")
    count = len(axis) if isinstance(axis, (list, tuple)) else 1
    new = normalize_axes(axis, x.ndim + count, "expand_dims")
    old = iter(x.shape)
    return move.reshape(
        x, tuple(1 if a in new else next(old) for a in range(x.ndim + count))
    )


def squeeze(x: Any, /, axis: int | Sequence[int] | None = None) -> Node:
    """Return `x` without axes of size 1.

    Parameters
    ----------
    x : expression or array
    axis : int or sequence of int, optional
        Which to remove; a symbolic size is taken to be 1, which is checked when the
        function is called. Left out, all whose size is the integer 1.

    Raises
    ------
    ShapeError
        If the size of one is another integer.
    """
    x = as_expression(x, what="squeeze")
    if axis is None:
        gone = tuple(a for a, s in enumerate(x.shape) if s == 1)
    else:
        gone = normalize_axes(axis, x.ndim, "squeeze")
    for a in gone:
        if unify(x.shape[a], 1) is None:
            raise shape_error("squeeze", [x], f"axis {a} has size {x.shape[a]}, not 1.")
    return move.reshape(x, tuple(s for a, s in enumerate(x.shape) if a not in gone))


def broadcast_to(x: Any, /, shape: Any) -> Node:
    """Return `x` stretched to a shape: new leading axes, axes of size 1 repeated.

    Raises
    ------
    ShapeError
        If it does not stretch to it.
    """
    return move.broadcast_to(as_expression(x, what="broadcast_to"), as_shape(shape))


def broadcast_shapes(*shapes: Any) -> Shape:
    """Return the shape that shapes broadcast to.

    Raises
    ------
    ShapeError
        If they do not.
    """
    read = [as_shape(s) for s in shapes]
    joint = _broadcast_shapes(read) if read else ()
    if joint is None:
        raise ShapeError(
            f"broadcast_shapes: {', '.join(map(shape_text, read))} do not broadcast."
        )
    return joint


def broadcast_arrays(*arrays: Any) -> list[Node]:
    """Return the operands, each stretched to the shape they broadcast to."""
    nodes = [as_expression(a, what="broadcast_arrays") for a in arrays]
    joint = _broadcast_shapes([n.shape for n in nodes]) if nodes else ()
    if joint is None:
        raise shape_error("broadcast_arrays", nodes, "shapes do not broadcast.")
    return [move.broadcast_to(n, joint) for n in nodes]
