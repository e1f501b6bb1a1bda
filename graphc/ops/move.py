"""Ops that rearrange axes: broadcast, reshape, transpose, diagonal.

What copies parts of axes (slice, pad, concatenate) is in `ops.slicing`, what reads
at computed positions in `ops.index`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.declare import Move, SizeOf
from graphc.ops.messages import call_text, operand_word, shape_error
from graphc.ops.scalars import Index, Scalars, Value
from graphc.types import sizes
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape, TensorType, broadcast_shapes, shape_text

Arg = Callable[[int, Index], Value]


class Broadcast(Move):
    """``broadcast_to(x, shape)``: new leading axes, and axes of size 1 repeated."""

    param_names = ("shape",)

    def written(self, node: Node, words: Sequence[str | None]) -> str:
        return call_text(self.name, words)  # the type says the shape

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        (x,), (shape,) = args, params
        joint = broadcast_shapes([x.shape, shape])
        if joint is None or len(joint) != len(shape) or _grows(joint, shape):
            raise shape_error(
                "broadcast_to",
                args,
                f"the shape does not stretch to {shape_text(shape)}: each size, "
                "counted from the last axis, must stay or be the integer 1.",
                "Reshape, or add an axis with x[:, None].",
            )
        return TensorType(shape, x.dtype)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return np.broadcast_to(args[0], tuple(size(s) for s in node.shape))

    def read(self, k: Scalars, node: Node, index: Index, arg: Arg) -> Value:
        x = node.args[0]
        tail = index[len(index) - x.ndim :]
        return arg(0, tuple(0 if s == 1 else i for s, i in zip(x.shape, tail)))

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node:
        return unbroadcast(cotangent, node.args[0].shape)

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        (x,) = args
        inner = x.shape[1:]
        ones = (1,) * (node.ndim - len(inner))
        x = reshape(x, (x.shape[0], *ones, *inner))
        return broadcast_to(x, (x.shape[0], *node.shape))


def _grows(joint: Shape, shape: Shape) -> bool:
    return any(s == 1 and j != 1 for j, s in zip(joint, shape))


broadcast_ = Broadcast("broadcast_to")


def broadcast_to(x: Node, shape: Shape) -> Node:
    """Return `x` stretched to `shape`; itself if it has it."""
    shape = tuple(shape)
    return x if x.shape == shape else broadcast_(x, params=(shape,))


def unbroadcast(x: Node, shape: Shape) -> Node:
    """Return `x` summed over the axes that broadcasting from `shape` stretched."""
    from graphc.ops.contract import added_up

    if x.shape == shape:
        return x
    new = x.ndim - len(shape)
    stretched = tuple(
        a for a in range(x.ndim) if a < new or (shape[a - new] == 1 and x.shape[a] != 1)
    )
    return reshape(added_up(x, stretched), shape)


def align_batch(args: Sequence[Node], batched: Sequence[bool]) -> list[Node]:
    """Return operands whose ranks let a leading batch axis broadcast elementwise."""
    rank = max(a.ndim - b for a, b in zip(args, batched))
    out = []
    for a, b in zip(args, batched):
        missing = rank - (a.ndim - b)
        if b and missing:
            a = reshape(a, (a.shape[0], *(1,) * missing, *a.shape[1:]))
        out.append(a)
    return out


def all_batched(args: Sequence[Node], batched: Sequence[bool]) -> list[Node]:
    """Return operands that all have the batch axis, repeated where it was missing."""
    size = next(a.shape[0] for a, b in zip(args, batched) if b)
    return [
        a if b else broadcast_to(a, (size, *a.shape)) for a, b in zip(args, batched)
    ]


class Reshape(Move):
    """The same elements in row-major order under another shape."""

    param_names = ("shape",)

    def written(self, node: Node, words: Sequence[str | None]) -> str:
        """Write ``x[:, None]`` where it only adds axes; else the type says it."""
        parts, left = [], list(node.args[0].shape)
        for size in node.shape:
            kept = bool(left) and size == left[0]
            parts.append(":" if kept else "None")
            if kept:
                left.pop(0)
            elif size != 1:
                return call_text(self.name, words)
        if left or "None" not in parts:
            return call_text(self.name, words)
        return f"{operand_word(words[0])}[{', '.join(parts)}]"

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        (x,), (shape,) = args, params
        if sizes.unify(x.size, sizes.product(shape)) is None:
            raise shape_error(
                "reshape",
                args,
                f"{x.size} elements do not fill the shape {shape_text(shape)}, "
                f"which has {sizes.product(shape)}.",
            )
        return TensorType(shape, x.dtype)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return args[0].reshape(tuple(size(s) for s in node.shape))

    def read(self, k: Scalars, node: Node, index: Index, arg: Arg) -> Value:
        return arg(0, reshape_index(index, node.shape, node.args[0].shape))

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node:
        return reshape(cotangent, node.args[0].shape)

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return reshape(args[0], (args[0].shape[0], *node.shape))


def reshape_index(index: Index, new: Shape, old: Shape) -> Index:
    """Return the index into `old` of the element at `index` of `new`.

    Runs of axes whose products agree are mapped apart from each other, so that
    adding, removing or splitting one axis leaves the others' indices as they are.
    Where the products agree only by an equality checked at the call, the rest of
    the axes is one run. Size-1 axes, which any run may hold, have index 0.
    """
    out: list[SizeLike] = []
    i = j = 0
    while i < len(new) or j < len(old):
        i0, j0 = i, j
        a: SizeLike = 1
        b: SizeLike = 1
        if i < len(new):
            a, i = new[i], i + 1
        if j < len(old):
            b, j = old[j], j + 1
        while a != b and (i < len(new) or j < len(old)):
            if i < len(new) and (j >= len(old) or _extend_first(a, b)):
                a, i = a * new[i], i + 1
            else:
                b, j = b * old[j], j + 1
        flat: SizeLike = 0
        for s, x in zip(new[i0:i], index[i0:i]):
            flat = flat if s == 1 else flat * s + x
        out.extend(_unflatten(flat, old[j0:j]))
    return tuple(out)


def _extend_first(a: SizeLike, b: SizeLike) -> bool:
    """Tell whether, to make two products meet, the first should take its next axis."""
    if isinstance(a, int) and isinstance(b, int):
        return a < b
    return sizes.divides(a, b) or not sizes.divides(b, a)


def _unflatten(flat: SizeLike, shape: Shape) -> list[SizeLike]:
    """Split a flat index over axes; an axis of size 1 has index 0."""
    real = [s for s in shape if s != 1]
    parts: list[SizeLike] = []
    for number, s in enumerate(reversed(real)):
        last = number == len(real) - 1
        parts.append(flat if last else sizes.mod(flat, s))
        if not last:
            flat = sizes.floordiv(flat, s)
    parts.reverse()
    rest = iter(parts)
    return [0 if s == 1 else next(rest) for s in shape]


reshape_ = Reshape("reshape")


def reshape(x: Node, shape: Shape) -> Node:
    """Return `x` under another shape; itself if it has it."""
    shape = tuple(shape)
    return x if x.shape == shape else reshape_(x, params=(shape,))


class Transpose(Move):
    """Axes in another order: axis `a` of the result is axis ``axes[a]`` of `x`."""

    param_names = ("axes",)

    def written(self, node: Node, words: Sequence[str | None]) -> str:
        axes = node.params[0]
        count = len(axes)
        swapped = (*range(count - 2), count - 1, count - 2)
        if count < 2 or axes != swapped:
            return super().written(node, words)
        return f"{operand_word(words[0])}.{'T' if count == 2 else 'mT'}"

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        (x,), (axes,) = args, params
        if sorted(axes) != list(range(x.ndim)):
            raise shape_error(
                "transpose", args, f"{axes} does not name each axis once, from 0 on."
            )
        return TensorType(tuple(x.shape[a] for a in axes), x.dtype)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return np.transpose(args[0], node.params[0])

    def read(self, k: Scalars, node: Node, index: Index, arg: Arg) -> Value:
        source: list[SizeLike] = [0] * len(index)
        for a, i in zip(node.params[0], index):
            source[a] = i
        return arg(0, tuple(source))

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node:
        return permute(cotangent, inverse_permutation(node.params[0]))

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return permute(args[0], (0, *(a + 1 for a in node.params[0])))


transpose_ = Transpose("transpose")


def permute(x: Node, axes: Sequence[int]) -> Node:
    """Return `x` with its axes in another order; itself if nothing changes."""
    axes = tuple(axes)
    return x if axes == tuple(range(x.ndim)) else transpose_(x, params=(axes,))


def inverse_permutation(axes: Sequence[int]) -> tuple[int, ...]:
    """Return the order of axes that undoes `permute` with `axes`."""
    out = [0] * len(axes)
    for position, a in enumerate(axes):
        out[a] = position
    return tuple(out)


def move_axis(x: Node, source: int, destination: int) -> Node:
    """Return `x` with one axis moved, the others in their order."""
    order = [a for a in range(x.ndim) if a != source]
    order.insert(destination, source)
    return permute(x, order)


class Diagonal(Move):
    """``out[..., i] = x[..., i, i]`` of the last two axes, which may differ in size."""

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        (x,) = args
        if x.ndim < 2:
            raise shape_error("diagonal", args, "two axes are needed.")
        return TensorType((*x.shape[:-2], sizes.minimum(*x.shape[-2:])), x.dtype)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return np.diagonal(args[0], axis1=-2, axis2=-1)

    def read(self, k: Scalars, node: Node, index: Index, arg: Arg) -> Value:
        return arg(0, (*index, index[-1]))

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node:
        from graphc.ops.arithmetic import equal, where
        from graphc.ops.leaf import iota, scalar_like
        from graphc.ops.slicing import pad_to

        *outer, rows, columns = node.args[0].shape
        tall = pad_to(cotangent, (*outer, rows))
        full = broadcast_to(reshape(tall, (*outer, rows, 1)), (*outer, rows, columns))
        on = equal(reshape(iota(rows), (rows, 1)), iota(columns))
        return where(on, full, scalar_like(0, full))

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return self(args[0])


diagonal_ = Diagonal("diagonal")


def iota_axis(node: Node) -> int | None:
    """Return the axis along which an index array counts 0, 1, ..., if it does.

    It does if it comes from `iota`, or is a constant, with axes of size 1 added and
    broadcast: ``arange(n)[:, None]`` counts along its axis 0.
    """
    from graphc.ops.arithmetic import cast_
    from graphc.ops.leaf import constant_, iota_

    path = []
    while node.op in (broadcast_, reshape_, cast_):
        if not _counts_exactly(node):
            return None
        path.append(node)
        node = node.args[0]
    if not _counts_exactly(node):
        return None
    if node.op is iota_:
        axis = 0
    elif node.op is constant_:
        array = node.params[0].array
        long = [a for a, s in enumerate(array.shape) if s != 1]
        if len(long) != 1 or not np.array_equal(array.ravel(), np.arange(array.size)):
            return None
        axis = long[0]
    else:
        return None
    for outer in reversed(path):
        extent = node.shape[axis]
        if outer.op is broadcast_:
            axis += outer.ndim - node.ndim
            if outer.shape[axis] != extent:
                return None
        elif outer.op is reshape_:
            long = [a for a, s in enumerate(outer.shape) if s != 1]
            if len(long) != 1 or outer.shape[long[0]] != extent:
                return None
            axis = long[0]
        node = outer
    return axis


def _counts_exactly(node: Node) -> bool:
    """Tell whether the dtype holds every position; int8 wraps at 127."""
    return node.dtype.kind in "iu" and node.dtype.itemsize >= 4
