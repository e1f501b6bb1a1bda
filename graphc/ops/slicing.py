"""Ops that copy parts of axes: slice, pad, concatenate.

Starts and sizes are formulas, as sizes are; steps are integers, negative ones run
backwards. A slice and a pad with the same starts and steps are each other's
transpose: ``out[i] = x[start + i*step]`` and ``out[start + i*step] = x[i]``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.declare import Move, SizeOf, weakest
from graphc.ops.leaf import Frozen, _sign_of_values
from graphc.ops.messages import (
    UNNAMED,
    dtype_error,
    operand_text,
    operand_word,
    shape_error,
)
from graphc.ops.move import Arg, all_batched
from graphc.ops.scalars import Index, Scalars, Value
from graphc.types import sizes
from graphc.types.errors import (
    IndexOutOfRangeError,
    ShapeError,
    internal_assert,
    made_at,
)
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape, TensorType, shape_text

Steps = tuple[int, ...]


def _outside(
    starts: Shape, counts: Shape, steps: Steps, extents: Shape, size: Any = None
) -> int | None:
    """Return the first axis where ``start + i*step`` surely leaves the extent.

    Positions are those for ``0 <= i < count``; where there are none, none leaves.
    """
    for axis, (start, count, step, extent) in enumerate(
        zip(starts, counts, steps, extents)
    ):
        if size is not None:
            start, count, extent = size(start), size(count), size(extent)
        if count == 0:
            continue
        last = start + (count - 1) * step
        for room in (start, last, extent - 1 - start, extent - 1 - last):
            if isinstance(room, int) and room < 0:
                return axis
    return None


def _room_needed(
    starts: Shape, counts: Shape, steps: Steps, extents: Shape
) -> list[SizeLike]:
    """Return sizes that are positive where ``start + i*step`` leaves its extent."""
    out: list[SizeLike] = []
    for start, count, step, extent in zip(starts, counts, steps, extents):
        some = sizes.minimum(count, 1)
        last = start + (count - 1) * step
        for over in (-start, -last, start + 1 - extent, last + 1 - extent):
            out.append(over * some)
    return out


def _python_slices(
    starts: Shape, counts: Shape, steps: Steps, size: SizeOf
) -> tuple[slice, ...]:
    """Return NumPy's slices of positions that lie inside the array."""
    out = []
    for first, count, step in zip(starts, counts, steps):
        start, number = size(first), size(count)
        stop = start + number * step
        if number == 0:
            out.append(slice(0, 0))
        else:
            out.append(slice(start, None if stop < 0 else stop, step))
    return tuple(out)


def slices_text(starts: Shape, counts: Shape, steps: Steps, shape: Shape) -> str:
    """Return slices of an array of that shape as they are written: ``1:, :3``."""
    parts = [_slice_text(*each) for each in zip(starts, counts, steps, shape)]
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return ", ".join(parts)


_FROM_END = (-1, -2, -3, -4)


def _slice_text(start: SizeLike, count: SizeLike, step: int, size: SizeLike) -> str:
    """Return the shortest slice with that meaning; bounds may count from the end."""
    after = start + (count - 1) * step + (1 if step > 0 else -1)
    others: list[int] = []
    if not isinstance(size, int):  # a bound may be hidden in a formula of sizes
        others = [int(n) for n in re.findall(r"\d+", f"{start} {count}")[:6]]
        others = [*_FROM_END, *dict.fromkeys(others)]
    for first in (None, start, *others):
        for stop in (None, after, *others):
            if _means(size, first, stop, step, (start, count)):
                bounds = ["" if b is None else str(b) for b in (first, stop)]
                return ":".join(bounds if step == 1 else [*bounds, str(step)])
    return f"{start}:{after}:{step}"


def _means(
    size: SizeLike,
    first: SizeLike | None,
    stop: SizeLike | None,
    step: int,
    wanted: tuple[SizeLike, SizeLike],
) -> bool:
    try:
        return slice_bounds(size, first, stop, step) == wanted
    except ShapeError:
        return False


class Slice(Move):
    """``out[i, ...] = x[starts[0] + i*steps[0], ...]``, of shape `sizes`."""

    param_names = ("starts", "sizes", "steps")

    def written(self, node: Node, words: Sequence[str | None]) -> str:
        starts, counts, steps = node.params
        text = slices_text(starts, counts, steps, node.args[0].shape)
        return f"{operand_word(words[0])}[{text}]"

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        (x,), (starts, counts, steps) = args, params
        internal_assert(
            len(starts) == len(counts) == len(steps) == x.ndim and 0 not in steps,
            f"slice got {params} for {x.type}",
        )
        axis = _outside(starts, counts, steps, x.shape)
        if axis is not None:
            raise IndexOutOfRangeError(self._outside_text(args, params, axis))
        return TensorType(counts, x.dtype)

    @staticmethod
    def _outside_text(args: tuple[Node, ...], params: tuple, axis: int) -> str:
        start, count, step = (p[axis] for p in params)
        what = f"index {start}" if count == 1 else f"{start} + i*{step}, i < {count},"
        return (
            f"slice: {what} leaves axis {axis} of size {args[0].shape[axis]}. "
            f"Operands: {operand_text(args)}."
        )

    def check(self, node: Node, size: SizeOf) -> None:
        starts, counts, steps = node.params
        axis = _outside(starts, counts, steps, node.args[0].shape, size)
        if axis is not None:
            raise IndexOutOfRangeError(
                f"{self._outside_text(node.args, node.params, axis)} The size is "
                f"{size(node.args[0].shape[axis])}, the index {size(starts[axis])}"
                f"{made_at(node.origin)}."
            )

    def requirements(self, node: Node) -> Sequence[SizeLike]:
        starts, counts, steps = node.params
        return _room_needed(starts, counts, steps, node.args[0].shape)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        self.check(node, size)
        starts, counts, steps = node.params
        return args[0][_python_slices(starts, counts, steps, size)]

    def read(self, k: Scalars, node: Node, index: Index, arg: Arg) -> Value:
        starts, _, steps = node.params
        return arg(0, tuple(s + i * d for s, i, d in zip(starts, index, steps)))

    def moved_by(self, params: tuple) -> tuple[Shape, tuple]:
        """Return what `read` adds to the index of each axis, and all other parameters.

        Slices that differ in the former only are lowered once for all
        (`schedule.shifts`).
        """
        starts, *others = params
        return starts, tuple(others)

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node:
        starts, counts, steps = node.params
        if counts == node.args[0].shape and set(steps) <= {1, -1}:
            return slice_(cotangent, starts, counts, steps)  # reversed, and back
        return pad(cotangent, starts, node.args[0].shape, steps)

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        starts, counts, steps = node.params
        size = args[0].shape[0]
        return slice_(args[0], (0, *starts), (size, *counts), (1, *steps))


slice_op = Slice("slice")


def slice_(x: Node, starts: Shape, counts: Shape, steps: Steps | None = None) -> Node:
    """Return ``out[i, ...] = x[starts[0] + i*steps[0], ...]``; `x` if that is all.

    Parameters
    ----------
    x : Node
    starts, counts : tuple of sizes
        One for each axis: the first position, and how many there are.
    steps : tuple of int, optional
        Not zero; 1 by default.

    Raises
    ------
    IndexOutOfRangeError
        If a position lies outside `x`; at the call where sizes are symbolic.
    """
    starts, counts = tuple(starts), tuple(counts)
    steps = (1,) * x.ndim if steps is None else tuple(steps)
    if counts == x.shape and not any(s != 0 for s in starts) and set(steps) <= {1}:
        return x
    return slice_op(x, params=(starts, counts, steps))


def slice_axis(
    x: Node, axis: int, start: SizeLike, count: SizeLike, step: int = 1
) -> Node:
    """Return `x` with one axis sliced."""
    starts: list[SizeLike] = [0] * x.ndim
    counts = list(x.shape)
    steps = [1] * x.ndim
    starts[axis], counts[axis], steps[axis] = start, count, step
    return slice_(x, tuple(starts), tuple(counts), tuple(steps))


def flip(x: Node, axis: int) -> Node:
    """Return `x` with one axis reversed."""
    n = x.shape[axis]
    return slice_axis(x, axis, n - 1, n, -1)


def slice_bounds(
    extent: SizeLike, start: Any, stop: Any, step: int = 1
) -> tuple[SizeLike, SizeLike]:
    """Return start and number of the elements of Python's ``[start:stop:step]``.

    Parameters
    ----------
    extent : SizeLike
        The size of the axis.
    start, stop : SizeLike or None
        Negative integers count from the end. A symbolic size counts from the
        front, whatever its sign turns out to be.
    step : int
        Not zero.

    Returns
    -------
    start, count : SizeLike
        Exact for every value of the sizes; where `count` is 0, `start` may lie
        outside the axis.
    """
    negative = step < 0
    low, high = (-1, extent - 1) if negative else (0, extent)

    def place(bound: SizeLike) -> tuple[SizeLike, SizeLike | None]:
        """Return the bound as ``max(bound, floor)``, floor None if not needed."""
        if isinstance(bound, int) and bound < 0:
            return extent + bound, low
        return bound, None if isinstance(bound, int) else low

    first, floor = (high if negative else low, None) if start is None else place(start)
    last, last_floor = (
        (low if negative else high, None) if stop is None else place(stop)
    )
    if negative:
        # floor of `first` is not needed: below it there is nothing to count
        first = sizes.minimum(first, high)
        distance = first - last
        if last_floor is not None:
            distance = sizes.minimum(distance, first - last_floor)
    else:
        if stop is not None:
            last = sizes.minimum(last, high)
        if last_floor is not None:
            last = sizes.maximum(last, last_floor)
        distance = last - first
        if floor is not None:
            distance = sizes.minimum(distance, last - floor)
            first = sizes.maximum(first, floor)
    pace = abs(step)
    count = sizes.maximum(sizes.floordiv(distance + (pace - 1), pace), 0)
    return first, count


class Pad(Move):
    """``out[starts[0] + i*steps[0], ...] = x[i, ...]``, and `value` elsewhere.

    `starts` and `steps` place the elements inside of `shape`, so edges and gaps
    are both expressed. Linear for the value 0, affine otherwise.
    """

    param_names = ("starts", "shape", "steps", "value")

    def written(self, node: Node, words: Sequence[str | None]) -> str:
        starts, shape, steps, value = node.params
        text = slices_text(starts, node.args[0].shape, steps, shape)
        number = value.array[()]
        around = f"full({number})" if number else "zeros"
        return f"{around}.at[{text}].set({words[0] or UNNAMED})"

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return weakest([*signs, _sign_of_values(node.params[3].array)])

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        (x,), (starts, shape, steps, value) = args, params
        internal_assert(
            len(starts) == len(shape) == len(steps) == x.ndim
            and 0 not in steps
            and value.array.dtype == x.dtype,
            f"pad got {params} for {x.type}",
        )
        axis = _outside(starts, x.shape, steps, shape)
        if axis is not None:
            raise ShapeError(self._outside_text(args, params, axis))
        return TensorType(shape, x.dtype)

    @staticmethod
    def _outside_text(args: tuple[Node, ...], params: tuple, axis: int) -> str:
        return (
            f"pad: axis {axis} of size {args[0].shape[axis]}, placed from "
            f"{params[0][axis]} in steps of {params[2][axis]}, does not fit into "
            f"{shape_text(params[1])}. Operands: {operand_text(args)}."
        )

    def check(self, node: Node, size: SizeOf) -> None:
        starts, shape, steps, _ = node.params
        axis = _outside(starts, node.args[0].shape, steps, shape, size)
        if axis is not None:
            text = self._outside_text(node.args, node.params, axis)
            raise ShapeError(
                f"{text} The sizes are {size(node.args[0].shape[axis])} and "
                f"{size(shape[axis])}{made_at(node.origin)}."
            )

    def requirements(self, node: Node) -> Sequence[SizeLike]:
        starts, shape, steps, _ = node.params
        return _room_needed(starts, node.args[0].shape, steps, shape)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        self.check(node, size)
        return self._placed(node, args[0], node.params[3].array, size)

    def sources(
        self, node: Node, args: Sequence[np.ndarray], size: SizeOf
    ) -> np.ndarray:
        return self._placed(node, args[0], -1, size)

    @staticmethod
    def _placed(node: Node, x: np.ndarray, value: Any, size: SizeOf) -> np.ndarray:
        starts, shape, steps, _ = node.params
        out = np.full(tuple(size(s) for s in shape), value, x.dtype)
        out[_python_slices(starts, node.args[0].shape, steps, size)] = x
        return out

    def read(self, k: Scalars, node: Node, index: Index, arg: Arg) -> Value:
        (x,) = node.args
        starts, shape, steps, value = node.params
        fill = k.constant(value.array.item(), node.dtype)
        if any(s == 0 for s in x.shape):
            return fill
        source: list[SizeLike] = []
        guard: Value = None
        for i, start, step, count, extent in zip(index, starts, steps, x.shape, shape):
            if start == 0 and step == 1 and count == extent:
                source.append(i)
                continue
            at = sizes.floordiv(i - start, step)
            conditions = [k.inside(at, 0, count)]
            if abs(step) != 1:
                conditions.append(k.inside(sizes.mod(i - start, abs(step)), 0, 1))
            for c in conditions:
                guard = c if guard is None else k("and", guard, c)
            source.append(sizes.clamp(at, count))
        inner = arg(0, tuple(source))
        return inner if guard is None else k("select", guard, inner, fill)

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        if tangents[0] is None:
            return None
        return pad(tangents[0], *node.params[:3])

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node:
        starts, _, steps, _ = node.params
        return slice_(cotangent, starts, node.args[0].shape, steps)

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        starts, shape, steps, value = node.params
        size = args[0].shape[0]
        return self(args[0], params=((0, *starts), (size, *shape), (1, *steps), value))


pad_ = Pad("pad")


def pad(
    x: Node,
    starts: Shape,
    shape: Shape,
    steps: Steps | None = None,
    value: Any = 0,
) -> Node:
    """Return `x` placed into an array of `shape` filled with `value`.

    ``out[starts[0] + i*steps[0], ...] = x[i, ...]``. With edges of width ``low`` and
    ``high``: starts are the lows, the shape ``low + size + high``.

    Raises
    ------
    ShapeError
        If it does not fit; at the call where sizes are symbolic.
    """
    starts, shape = tuple(starts), tuple(shape)
    steps = (1,) * x.ndim if steps is None else tuple(steps)
    if shape == x.shape and not any(s != 0 for s in starts) and set(steps) <= {1}:
        return x
    fill = Frozen(np.asarray(value).astype(x.dtype))
    return pad_(x, params=(starts, shape, steps, fill))


def pad_to(x: Node, shape: Shape) -> Node:
    """Return `x` with zeros appended to its axes up to `shape`."""
    return pad(x, (0,) * x.ndim, shape)


class Concatenate(Move):
    """Arrays one after the other along an axis; linear in all of them together."""

    param_names = ("axis",)

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        (axis,) = params
        internal_assert(args and 0 <= axis < args[0].ndim, f"concatenate over {axis}")
        shape = list(args[0].shape)
        total: SizeLike = 0
        for x in args:
            if x.dtype != args[0].dtype:
                raise dtype_error(
                    "concatenate", args, "operands have different dtypes."
                )
            if x.ndim != len(shape):
                raise shape_error(
                    "concatenate", args, "operands have different numbers of axes."
                )
            total = total + x.shape[axis]
            for a, s in enumerate(x.shape):
                joint = shape[a] if a == axis else sizes.unify(shape[a], s)
                if joint is None:
                    raise shape_error(
                        "concatenate",
                        (args[0], x),
                        f"sizes {shape[a]} and {s} of axis {a} differ; only those of "
                        f"axis {axis} may.",
                    )
                shape[a] = joint
        shape[axis] = total
        return TensorType(tuple(shape), args[0].dtype)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return np.concatenate(args, axis=node.params[0])

    def read(self, k: Scalars, node: Node, index: Index, arg: Arg) -> Value:
        (axis,) = node.params
        pieces = [
            (p, start, x.shape[axis])
            for p, (x, start) in enumerate(zip(node.args, self._starts(node)))
            if x.shape[axis] != 0
        ]
        if not pieces:
            return k.constant(0, node.dtype)
        out: Value = None
        for p, start, count in reversed(pieces):
            at = sizes.clamp(index[axis] - start, count)
            if len(pieces) == 1:
                at = index[axis]
            piece = arg(p, (*index[:axis], at, *index[axis + 1 :]))
            here = None if out is None else k.inside(index[axis], 0, start + count)
            out = piece if here is None else k("select", here, piece, out)
        return out

    @staticmethod
    def _starts(node: Node) -> list[SizeLike]:
        (axis,) = node.params
        return list(accumulate((x.shape[axis] for x in node.args), initial=0))

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        (axis,) = node.params
        out: list[Node | None] = []
        for x, start, want in zip(node.args, self._starts(node), wanted):
            back = None
            if want:
                starts = tuple(start if a == axis else 0 for a in range(x.ndim))
                back = slice_(cotangent, starts, x.shape)
            out.append(back)
        return out

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return self(*all_batched(args, batched), params=(node.params[0] + 1,))


concatenate_ = Concatenate("concatenate")


def concatenate(pieces: Sequence[Node], axis: int) -> Node:
    """Return arrays of one dtype joined along `axis`; the one itself if it is alone."""
    return pieces[0] if len(pieces) == 1 else concatenate_(*pieces, params=(axis,))
