"""Ops that read and write at computed positions: gather, scatter-add, scatter-set.

All three address an array the same way. Its leading axes are ``batch_axes`` axes it
shares with the index arrays, then one axis for each index array, then the rest::

    x        (batch..., n0, n1, ..., rest...)
    indices  (batch..., places...)                 one array for each of n0, n1, ...
    result   (batch..., places..., rest...)
    result[b, p, r] = x[b, i0[b, p], i1[b, p], ..., r]

NumPy's indexing is this after a transpose of axes: see `ops.integer_indexing`. Negative
indices count from the end; one out of range raises `IndexOutOfRangeError` when the
function runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.arithmetic import add, cast, equal, less, where
from graphc.ops.declare import Linear, Move, SizeOf, weakest
from graphc.ops.dependence import Dependence, Known
from graphc.ops.leaf import (
    full,
    iota,
    scalar_like,
    size_value,
    zeros_like,
)
from graphc.ops.messages import (
    UNNAMED,
    dtype_error,
    operand_text,
    operand_word,
    shape_error,
)
from graphc.ops.move import (
    Arg,
    all_batched,
    broadcast_to,
    reshape,
)
from graphc.ops.scalars import Index, Scalars
from graphc.types import dtypes, sizes
from graphc.types.errors import IndexOutOfRangeError, made_at
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import (
    Shape,
    TensorType,
    shape_text,
)


def _places(
    op: str, args: tuple[Node, ...], x: Node, indices: Sequence[Node], batch: int
) -> Shape:
    """Check an array and its index arrays; return the shape of the index arrays."""
    for i in indices:
        if i.dtype.kind not in "iu":
            raise dtype_error(
                op,
                args,
                f"an index has dtype {i.dtype.name}; indices are integers.",
                "Convert it with astype('int64'); for a mask use where(mask, x, 0).",
            )
        if i.ndim != indices[0].ndim or i.ndim < batch:
            raise shape_error(op, args, "index arrays have different numbers of axes.")
    if x.ndim < batch + len(indices):
        raise shape_error(
            op, args, f"{len(indices)} indices are too many for {x.ndim} axes."
        )
    out = list(indices[0].shape)
    for others in (*(i.shape for i in indices[1:]), x.shape[:batch]):
        for axis, s in enumerate(others):
            joint = sizes.unify(out[axis], s)
            if joint is None:
                raise shape_error(
                    op, args, f"sizes {out[axis]} and {s} of the indices differ."
                )
            out[axis] = joint
    return tuple(out)


def index_tuple(indices: Sequence[np.ndarray], batch: int) -> tuple:
    """Return the index arrays, and before them those that count along batch axes."""
    ndim = indices[0].ndim
    shape = indices[0].shape
    along = [
        np.arange(shape[a]).reshape((-1,) + (1,) * (ndim - a - 1)) for a in range(batch)
    ]
    return (*along, *indices)


def out_of_range(
    node: Node, extents: Sequence[int], indices: Sequence[np.ndarray]
) -> IndexOutOfRangeError:
    """Return the error that names the first bad index."""
    for extent, index in zip(extents, indices):
        bad = index[(index < -extent) | (index >= extent)]
        if bad.size:
            return IndexOutOfRangeError(
                f"{node.op.name}: index {bad.flat[0]} is out of range for an axis of "
                f"size {extent}, which takes {-extent} to {extent - 1}. Operands: "
                f"{operand_text(node.args)}. The failing call was"
                f"{made_at(node.origin) or ' made at an unknown place'}."
            )
    return IndexOutOfRangeError(f"{node.op.name}: an index is out of range.")


class Indexed(Linear):
    """What gather and scatters share: nothing can be picked of an axis of size 0.

    A kernel checks each index it reads; where the result has no elements it reads
    none, and of an empty array there is nothing that it could read instead.
    """

    first = 1
    """The position of the first index array."""

    def _extents(self, node: Node) -> Shape:
        (batch,) = node.params
        return node.args[0].shape[batch : batch + len(node.args) - self.first]

    def requirements(self, node: Node) -> Sequence[SizeLike]:
        some = sizes.minimum(1, sizes.product(node.args[self.first].shape))
        return [
            some - n for n in self._extents(node) if not isinstance(n, int) or not n
        ]

    def check(self, node: Node, size: SizeOf) -> None:
        if size(sizes.product(node.args[self.first].shape)):
            for extent in self._extents(node):
                if size(extent) == 0:
                    empty = np.zeros(1, np.int64)
                    raise out_of_range(node, [0], [empty])


class Gather(Indexed, Move):
    """``out[b, p, r] = x[b, i0[b, p], ..., r]``; see the module's docstring.

    Arguments: x and the index arrays. Linear in x.
    """

    linear = (0,)
    param_names = ("batch_axes",)

    def written(self, node: Node, words: Sequence[str | None]) -> str:
        if node.params[0]:
            return super().written(node, words)
        indices = ", ".join(w or UNNAMED for w in words[1:])
        return f"{operand_word(words[0])}[{indices}]"

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return signs[0]

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        x, *indices = args
        (batch,) = params
        places = _places(self.name, args, x, indices, batch)
        return TensorType((*places, *x.shape[batch + len(indices) :]), x.dtype)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        x, *indices = args
        (batch,) = node.params
        try:
            return x[index_tuple(indices, batch)]
        except IndexError:
            raise out_of_range(node, x.shape[batch:], indices) from None

    def read(self, k: Scalars, node: Node, index: Index, arg: Arg) -> Any:
        x, *indices = node.args
        (batch,) = node.params
        places = indices[0].ndim
        found = [
            k.dynamic_index(
                arg(p, index[:places]), x.shape[batch + p - 1], node, node.args[p]
            )
            for p in range(1, len(node.args))
        ]
        return arg(0, (*index[:batch], *found, *index[places:]))

    def unknown_pattern(self, node: Node, size: SizeOf) -> Sequence[Dependence]:
        from graphc.ops.patterns import unknown_gather_pattern

        return unknown_gather_pattern(node, size)

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node:
        x, *indices = node.args
        (batch,) = node.params
        if len(indices) == 1 and all(s == 1 for s in indices[0].shape[batch:]):
            return _one_hot_select(cotangent, indices[0], x, batch)
        return scatter_add(zeros_like(x), cotangent, indices, batch)

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        (batch,) = node.params
        if not batched[0] and batch == 0:
            indices = _batched_if_any(args[1:], batched[1:])
            return self(args[0], *indices, params=(0,))
        return self(*all_batched(args, batched), params=(batch + 1,))


def _batched_if_any(args: Sequence[Node], batched: Sequence[bool]) -> list[Node]:
    return all_batched(args, batched) if any(batched) else list(args)


def _one_hot_select(cotangent: Node, index: Node, x: Node, batch: int) -> Node:
    """Return the cotangent of `x` where each row had one element picked.

    ``where(position == index, cotangent, 0)``: a map over `x`, which other kernels
    can absorb, where scattering would be a pass of its own.
    """
    outer, extent, rest = x.shape[:batch], x.shape[batch], x.shape[batch + 1 :]
    ones = (1,) * len(rest)
    if index.dtype.itemsize < 4:  # too narrow for positions along the axis
        index = cast(index, dtypes.int32)
    row = reshape(index, (*outer, 1, *ones))
    if index.dtype.kind == "i":
        wrapped = add(row, size_value(extent, index.dtype))
        row = where(less(row, scalar_like(0, row)), wrapped, row)
    position = reshape(iota(extent, index.dtype), (extent, *ones))
    picked = broadcast_to(reshape(cotangent, (*outer, 1, *rest)), x.shape)
    return where(equal(position, row), picked, scalar_like(0, picked))


class Scatter(Indexed):
    """A copy of `base` with `updates` written or added at indexed positions.

    Arguments: base (batch..., n0, n1, ..., rest...), updates (batch..., places...,
    rest...), and the index arrays (batch..., places...), one for each n. Where an
    index repeats, updates are taken in row-major order of `updates`.

    A kernel of kind "scatter" copies base (`zeros` need no copy), then for each index
    of `updates` combines its element into the place that `target` gives.

    Attributes
    ----------
    combine : str
        "add" adds, "set" replaces.
    """

    linear = (0, 1)
    param_names = ("batch_axes",)
    first = 2

    def __init__(self, name: str, combine: str):
        super().__init__(name)
        self.combine = combine

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return weakest(signs[:2])

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        base, updates, *indices = args
        (batch,) = params
        places = _places(self.name, args, base, indices, batch)
        if updates.dtype != base.dtype:
            raise dtype_error(self.name, args, "base and updates differ in dtype.")
        wanted = (*places, *base.shape[batch + len(indices) :])
        if len(wanted) != updates.ndim or any(
            sizes.unify(a, b) is None for a, b in zip(wanted, updates.shape)
        ):
            raise shape_error(
                self.name,
                args,
                f"updates of shape {shape_text(updates.shape)} do not fill the "
                f"indexed part, of shape {shape_text(wanted)}.",
            )
        return base.type

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        base, updates, *indices = args
        (batch,) = node.params
        out = base.copy()
        where_ = index_tuple(indices, batch)
        try:
            if self.combine == "add":
                np.add.at(out, where_, updates)
            else:
                out[where_] = updates
        except IndexError:
            raise out_of_range(node, base.shape[batch:], indices) from None
        return out

    def pattern(self, node: Node, known: Known, size: SizeOf) -> Sequence[Dependence]:
        from graphc.ops.patterns import scatter_pattern

        return scatter_pattern(node, known, size)

    def target(self, k: Scalars, node: Node, index: Index, arg: Arg) -> Index:
        """Return where in the result the update at `index` of `updates` goes.

        ``arg(p, index)`` reads argument `p`, of which only index arrays are read.
        """
        base, _, *indices = node.args
        (batch,) = node.params
        places = indices[0].ndim
        found = [
            k.dynamic_index(
                arg(p, index[:places]), base.shape[batch + p - 2], node, node.args[p]
            )
            for p in range(2, len(node.args))
        ]
        return (*index[:batch], *found, *index[places:])

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node:
        _, updates, *indices = node.args
        (batch,) = node.params
        if self.combine == "add":
            return cotangent if position == 0 else gather(cotangent, indices, batch)
        if position == 0:
            return scatter_set(cotangent, zeros_like(updates), indices, batch)
        picked = gather(cotangent, indices, batch)
        if all(s == 1 for s in indices[0].shape[batch:]):
            return picked
        last = reshape(
            _written_last(node),
            (*indices[0].shape, *(1,) * (picked.ndim - indices[0].ndim)),
        )
        return where(last, picked, scalar_like(0, picked))

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return self(*all_batched(args, batched), params=(node.params[0] + 1,))

    def flops(self, node: Node) -> SizeLike:
        return node.args[1].size if self.combine == "add" else 0


def _written_last(node: Node) -> Node:
    """Return, for each place of a scatter-set, whether no later one overwrites it."""
    base, _, *indices = node.args
    (batch,) = node.params
    shape = indices[0].shape
    number = reshape(iota(sizes.product(shape)), shape)
    axes = base.shape[: batch + len(indices)]
    winners = scatter_set(full(axes, -1, dtypes.int64), number, indices, batch)
    return equal(gather(winners, indices, batch), number)


gather_ = Gather("gather")
scatter_add_ = Scatter("scatter_add", "add")
scatter_set_ = Scatter("scatter_set", "set")


def gather(x: Node, indices: Sequence[Node], batch_axes: int = 0) -> Node:
    """Return ``x[b, i0[b, p], i1[b, p], ..., r]`` for all b, p, r.

    The op itself, for index arrays of one shape; see the module's docstring.
    """
    return gather_(x, *indices, params=(batch_axes,))


def scatter_add(
    base: Node, updates: Node, indices: Sequence[Node], batch_axes: int = 0
) -> Node:
    """Return `base` with `updates` added at the indices, repeated ones each time."""
    return scatter_add_(base, updates, *indices, params=(batch_axes,))


def scatter_set(
    base: Node, updates: Node, indices: Sequence[Node], batch_axes: int = 0
) -> Node:
    """Return `base` with `updates` written at the indices, the last one winning."""
    return scatter_set_(base, updates, *indices, params=(batch_axes,))
