"""Arrays put together and taken apart: concatenate, stack, split, pad, repeat, roll."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.expressions.manipulation import expand_dims
from graphc.expressions.operands import (
    WEAK,
    as_expression,
    one_axis,
    promoted,
    static_integer,
)
from graphc.graph.node import Node
from graphc.ops import move, slicing
from graphc.ops.leaf import constant
from graphc.ops.messages import shape_error
from graphc.types import sizes
from graphc.types.errors import InputError, ShapeError
from graphc.types.sizes import Size, SizeLike
from graphc.types.tensor_type import as_size, normalize_axes

__all__ = [
    "append",
    "array_split",
    "column_stack",
    "concat",
    "concatenate",
    "dstack",
    "flip",
    "fliplr",
    "flipud",
    "hstack",
    "pad",
    "repeat",
    "roll",
    "split",
    "stack",
    "tile",
    "unstack",
    "vstack",
]


def concatenate(
    arrays: Sequence[Any], /, axis: int | None = 0, *, dtype: Any = None
) -> Node:
    """Return arrays joined one after the other along an axis.

    Parameters
    ----------
    arrays : sequence of expressions or arrays
        Of the same sizes but along `axis`; dtypes are promoted.
    axis : int or None
        None joins their elements in row-major order.
    dtype : dtype, optional
        Of the result.

    Raises
    ------
    ShapeError
        If other sizes differ, or an array has no dimensions.
    InputError
        If there are none.
    """
    nodes = _operands("concatenate", arrays, dtype)
    if axis is None:
        nodes, axis = [move.reshape(n, (n.size,)) for n in nodes], 0
    for node in nodes:
        if not node.ndim:
            raise shape_error(
                "concatenate",
                [node],
                "an operand has no dimensions.",
                "Use stack for numbers.",
            )
    return slicing.concatenate(nodes, one_axis(nodes[0], axis, "concatenate"))


concat = concatenate


def append(x: Any, values: Any, /, axis: int | None = None) -> Node:
    """Return `values` joined to the end of `x`; see `concatenate`."""
    return concatenate([x, values], axis)


def stack(arrays: Sequence[Any], /, axis: int = 0, *, dtype: Any = None) -> Node:
    """Return arrays of one shape joined along a new axis.

    Parameters
    ----------
    arrays : sequence of expressions, arrays or numbers
    axis : int
        Where the new axis stands in the result.
    dtype : dtype, optional
        Of the result.

    Raises
    ------
    ShapeError
        If the shapes differ.
    InputError
        If there are none.
    """
    nodes = _operands("stack", arrays, dtype)
    first = nodes[0]
    for node in nodes[1:]:
        if node.ndim != first.ndim or any(
            sizes.unify(a, b) is None for a, b in zip(first.shape, node.shape)
        ):
            raise shape_error("stack", [first, node], "shapes differ.")
    return concatenate([expand_dims(n, axis) for n in nodes], axis)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Node, ...]:
    """Return the parts of `x` along an axis, each without it.

    Raises
    ------
    ShapeError
        If the size of the axis is symbolic: the number of parts must be known.
    """
    x = as_expression(x, what="unstack")
    axis = one_axis(x, axis, "unstack")
    count = _static_size("unstack", x, axis)
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    return tuple(
        move.reshape(slicing.slice_axis(x, axis, i, 1), shape) for i in range(count)
    )


def hstack(arrays: Sequence[Any], /, *, dtype: Any = None) -> Node:
    """Return arrays joined along the second axis, vectors along their only one."""
    nodes = [_at_least(n, 1) for n in _operands("hstack", arrays, dtype)]
    return concatenate(nodes, 0 if nodes[0].ndim == 1 else 1)


def vstack(arrays: Sequence[Any], /, *, dtype: Any = None) -> Node:
    """Return arrays joined along the first axis, vectors as rows."""
    nodes = _operands("vstack", arrays, dtype)
    return concatenate([_at_least(n, 2) for n in nodes], 0)


def column_stack(arrays: Sequence[Any], /) -> Node:
    """Return arrays joined along the second axis, vectors as columns."""
    nodes = _operands("column_stack", arrays, None)
    columns = [move.reshape(n, (n.size, 1)) if n.ndim < 2 else n for n in nodes]
    return concatenate(columns, 1)


def dstack(arrays: Sequence[Any], /) -> Node:
    """Return arrays joined along the third axis."""
    nodes = [_at_least(n, 2) for n in _operands("dstack", arrays, None)]
    return concatenate([n if n.ndim > 2 else expand_dims(n, 2) for n in nodes], 2)


def _at_least(x: Node, ndim: int) -> Node:
    return move.reshape(x, (*(1,) * (ndim - x.ndim), *x.shape))


def _operands(what: str, arrays: Any, dtype: Any) -> list[Node]:
    if isinstance(arrays, (Node, np.ndarray)):
        arrays = unstack(arrays)
    arrays = list(arrays)
    if not arrays:
        raise InputError(f"{what}: there are no arrays to join.")
    return promoted(arrays, dtype)


# ------------------------------------------------------------------------ parts


def split(x: Any, indices_or_sections: Any, /, axis: int = 0) -> list[Node]:
    """Return the parts of an array along an axis.

    Parameters
    ----------
    x : expression or array
    indices_or_sections : int or sequence of sizes
        The number of equal parts, or where parts begin.
    axis : int

    Raises
    ------
    ShapeError
        If the axis does not divide into that many equal parts; for a symbolic size
        that is checked when the function is called.
    """
    x = as_expression(x, what="split")
    axis = one_axis(x, axis, "split")
    if not hasattr(indices_or_sections, "__index__"):
        return _split_at(x, list(indices_or_sections), axis)
    count = static_integer(indices_or_sections, "split: the number of parts")
    size = x.shape[axis]
    if count < 1 or (isinstance(size, int) and size % count):
        raise shape_error(
            "split",
            [x],
            f"axis {axis} of size {size} does not divide into {count} equal parts.",
            "Use array_split for unequal ones.",
        )
    part = sizes.floordiv(size, count)
    # Under the shape (count, part) that the parts are equal is checked at the call.
    grouped = move.reshape(x, (*x.shape[:axis], count, part, *x.shape[axis + 1 :]))
    return list(unstack(grouped, axis=axis))


def array_split(x: Any, indices_or_sections: Any, /, axis: int = 0) -> list[Node]:
    """Return the parts of an array along an axis, the first ones larger if need be.

    Parameters as in `split`; the size of the axis must be an integer.
    """
    x = as_expression(x, what="array_split")
    axis = one_axis(x, axis, "array_split")
    if not hasattr(indices_or_sections, "__index__"):
        return _split_at(x, list(indices_or_sections), axis)
    count = static_integer(indices_or_sections, "array_split: the number of parts")
    if count < 1:
        raise ShapeError(f"array_split: {count} parts are not possible.")
    small, larger = divmod(_static_size("array_split", x, axis), count)
    ends = np.cumsum([small + 1] * larger + [small] * (count - larger))
    return _split_at(x, [int(e) for e in ends[:-1]], axis)


def _split_at(x: Node, places: Sequence[Any], axis: int) -> list[Node]:
    out = []
    for start, stop in zip([None, *places], [*places, None]):
        first, count = slicing.slice_bounds(x.shape[axis], start, stop)
        out.append(slicing.slice_axis(x, axis, first if count != 0 else 0, count))
    return out


def _static_size(what: str, x: Node, axis: int) -> int:
    size = x.shape[axis]
    if isinstance(size, int):
        return size
    raise shape_error(
        what,
        [x],
        f"the size of axis {axis} is {size}, not known while the graph is built, but "
        "the number of parts must be.",
        "Give the input a fixed size there.",
    )


def flip(x: Any, /, axis: int | Sequence[int] | None = None) -> Node:
    """Return `x` with axes reversed; all if none is named."""
    x = as_expression(x, what="flip")
    for a in normalize_axes(axis, x.ndim, "flip"):
        x = slicing.flip(x, a)
    return x


def flipud(x: Any, /) -> Node:
    """Return `x` with its first axis reversed."""
    return flip(x, 0)


def fliplr(x: Any, /) -> Node:
    """Return `x` with its second axis reversed."""
    return flip(x, 1)


def roll(x: Any, /, shift: Any, axis: int | Sequence[int] | None = None) -> Node:
    """Return `x` with elements shifted along axes; those that leave re-enter.

    Parameters
    ----------
    x : expression or array
    shift : int or size, or a sequence of them, one for each axis
    axis : int or sequence of int, optional
        Left out, the elements are shifted in row-major order.
    """
    x = as_expression(x, what="roll")
    if axis is None:
        return move.reshape(roll(move.reshape(x, (x.size,)), shift, 0), x.shape)
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    shifts = list(shift) if isinstance(shift, (list, tuple)) else [shift] * len(axes)
    if len(shifts) != len(axes):
        raise shape_error("roll", [x], f"{len(shifts)} shifts for {len(axes)} axes.")
    for amount, a in zip(shifts, axes):
        x = _rolled(x, amount, one_axis(x, a, "roll"))
    return x


def _rolled(x: Node, shift: Any, axis: int) -> Node:
    size = x.shape[axis]
    if size == 0:
        return x
    if not isinstance(shift, Size):
        shift = static_integer(shift, "roll: the shift")
    front = sizes.mod(shift, size)
    if front == 0:
        return x
    return slicing.concatenate(
        [
            slicing.slice_axis(x, axis, size - front, front),
            slicing.slice_axis(x, axis, 0, size - front),
        ],
        axis,
    )


def repeat(x: Any, /, repeats: Any, axis: int | None = None) -> Node:
    """Return `x` with each element repeated along an axis.

    Parameters
    ----------
    x : expression or array
    repeats : int or size, or sequence of int
        How often; a sequence has a number for each element of the axis.
    axis : int, optional
        Left out, the elements in row-major order.

    Raises
    ------
    ShapeError
        If a sequence of repeats is not as long as the axis.
    """
    x = as_expression(x, what="repeat")
    if axis is None:
        x, axis = move.reshape(x, (x.size,)), 0
    axis = one_axis(x, axis, "repeat")
    if isinstance(repeats, (Size, str)) or type(repeats) in WEAK:
        return _repeated(x, as_size(repeats), axis)
    counts = np.asarray(repeats)
    if counts.size == 1:
        return _repeated(x, as_size(counts.item()), axis)
    size = _static_size("repeat", x, axis)
    if counts.shape != (size,) or counts.dtype.kind not in "iu" or np.any(counts < 0):
        raise shape_error(
            "repeat",
            [x],
            f"repeats of shape {counts.shape} and dtype {counts.dtype} are not one "
            f"non-negative integer for each of the {size} elements of axis {axis}.",
        )
    from graphc.expressions.indexing import take

    return take(x, constant(np.repeat(np.arange(size), counts)), axis)


def _repeated(x: Node, repeats: SizeLike, axis: int) -> Node:
    before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    single = move.reshape(x, (*before, size, 1, *after))
    several = move.broadcast_to(single, (*before, size, repeats, *after))
    return move.reshape(several, (*before, size * repeats, *after))


def tile(x: Any, repetitions: Any, /) -> Node:
    """Return `x` repeated as a whole along each axis.

    Parameters
    ----------
    x : expression or array
    repetitions : size or sequence of sizes
        For the last axes; more than `x` has axes make new ones in front.
    """
    x = as_expression(x, what="tile")
    if isinstance(repetitions, (Size, str)) or hasattr(repetitions, "__index__"):
        repetitions = (repetitions,)
    named = [as_size(r) for r in repetitions]
    rank = max(x.ndim, len(named))
    counts = (*(1,) * (rank - len(named)), *named)
    x = _at_least(x, rank)
    single = tuple(s for size in x.shape for s in (1, size))
    several = tuple(s for n, size in zip(counts, x.shape) for s in (n, size))
    return move.reshape(
        move.broadcast_to(move.reshape(x, single), several),
        tuple(n * size for n, size in zip(counts, x.shape)),
    )


def pad(
    x: Any,
    pad_width: Any,
    /,
    mode: str = "constant",
    constant_values: Any = 0,
) -> Node:
    """Return `x` with a constant around it.

    Parameters
    ----------
    x : expression or array
    pad_width : size, pair, or sequence of pairs of sizes
        How much before and after: of every axis, or a pair for each.
    mode : {"constant"}
    constant_values : number

    Raises
    ------
    ShapeError
        If the widths do not go with the axes, or the mode is another.
    """
    x = as_expression(x, what="pad")
    if mode != "constant":
        raise ShapeError(
            f'pad: mode {mode!r} is not available; only "constant" is. Build others '
            "with concatenate and flip."
        )
    widths = _pad_widths(x, pad_width)
    value = as_expression(constant_values, x.dtype, "pad: constant_values")
    if value.ndim or not value.op.is_constant:
        raise shape_error("pad", [x, value], "constant_values must be one number.")
    return slicing.pad(
        x,
        tuple(low for low, _ in widths),
        tuple(low + s + high for (low, high), s in zip(widths, x.shape)),
        value=value.params[0].array,
    )


def _pad_widths(x: Node, pad_width: Any) -> list[tuple[SizeLike, SizeLike]]:
    if isinstance(pad_width, dict):
        pairs = [(0, 0)] * x.ndim
        for axis, width in pad_width.items():
            pairs[one_axis(x, axis, "pad")] = width
        pad_width = pairs
    elif _is_width(pad_width):
        pad_width = [(pad_width, pad_width)] * x.ndim
    elif len(pad_width) == 2 and all(_is_width(w) for w in pad_width):
        pad_width = [tuple(pad_width)] * x.ndim
    elif len(pad_width) == 1:
        pad_width = [pad_width[0]] * x.ndim
    if len(pad_width) != x.ndim:
        raise shape_error(
            "pad", [x], f"{len(pad_width)} pairs of widths for {x.ndim} axes."
        )
    out = []
    for pair in pad_width:
        low, high = (pair, pair) if _is_width(pair) else pair
        out.append((as_size(low), as_size(high)))
    return out


def _is_width(value: Any) -> bool:
    return isinstance(value, (Size, str, int, np.integer))


def differences(x: Any, /, n: int = 1, axis: int = -1) -> Node:
    """Return ``x[i + 1] - x[i]`` along an axis, `n` times over: NumPy's ``diff``.

    The name `diff` is that of the derivative.
    """
    x = as_expression(x, what="differences")
    axis = one_axis(x, axis, "differences")
    for _ in range(static_integer(n, "differences: n")):
        if x.shape[axis] == 0:
            break
        count = x.shape[axis] - 1
        after = slicing.slice_axis(x, axis, 1, count)
        before = slicing.slice_axis(x, axis, 0, count)
        x = after ^ before if x.dtype.kind == "b" else after - before
    return x
