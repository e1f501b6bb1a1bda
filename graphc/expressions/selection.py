"""Keys of indexing by NumPy's rules, and what they select.

A key is read into a `Selection`, which says what is sliced, what is picked by index
arrays, and how the result's axes lie. Reading and writing use the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.expressions.elementwise import FUNCTIONS as elementwise
from graphc.expressions.operands import as_expression, static_integer
from graphc.graph.node import Node
from graphc.ops import integer_indexing as index_ops
from graphc.ops import leaf, move, slicing
from graphc.ops.arithmetic import cast
from graphc.ops.messages import dtype_error, shape_error
from graphc.types.errors import (
    DTypeError,
    IndexOutOfRangeError,
    ShapeError,
    TracingError,
    made_at,
)
from graphc.types.sizes import Size, SizeLike
from graphc.types.tensor_type import Shape, broadcast_shapes, shape_text


@dataclass
class Selection:
    """What a key selects from an array of a given shape.

    Attributes
    ----------
    starts, counts, steps : list
        The slice of each axis of the array; an axis with an index array is whole.
    indices : dict of int to Node
        Index arrays, by the axis they index. Empty for basic indexing.
    dropped : set of int
        Axes selected by one integer, absent from the result.
    layout : list
        Of the result without the index arrays' axes: an axis of the array, or None
        for a new one.
    place : int
        Where in `layout` the axes of the index arrays stand.
    """

    starts: list[SizeLike] = field(default_factory=list)
    counts: list[SizeLike] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    indices: dict[int, Node] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    layout: list[int | None] = field(default_factory=list)
    place: int = 0

    def add_axis(self, start: SizeLike, count: SizeLike, step: int = 1) -> int:
        """Enter the slice of the next axis of the array and return its number."""
        self.starts.append(start)
        self.counts.append(count)
        self.steps.append(step)
        return len(self.starts) - 1

    @property
    def places(self) -> Shape:
        """The shape that the index arrays broadcast to."""
        shapes = [i.shape for i in self.indices.values()]
        joint = broadcast_shapes(shapes) if shapes else ()
        if joint is None:
            raise shape_error(
                "getitem", list(self.indices.values()), "indices do not broadcast."
            )
        return joint

    @property
    def shape(self) -> Shape:
        """The shape of the result."""
        sizes = [1 if a is None else self.counts[a] for a in self.layout]
        return (*sizes[: self.place], *self.places, *sizes[self.place :])

    @property
    def order(self) -> tuple[int, ...]:
        """The array's axes, those with index arrays first."""
        rest = [a for a in range(len(self.starts)) if a not in self.indices]
        return (*self.indices, *rest)

    def sliced(self, x: Node) -> Node:
        """Return the array with its slices taken, all axes kept."""
        return slicing.slice_(
            x, tuple(self.starts), tuple(self.counts), tuple(self.steps)
        )

    def read(self, x: Node) -> Node:
        """Return what is selected."""
        x = self.sliced(x)
        if self.indices:
            picked = index_ops.take(
                move.permute(x, self.order), list(self.indices.values())
            )
            x = move.permute(picked, self._to_result(picked.ndim))
        return move.reshape(x, self.shape)

    def updates(self, value: Node) -> Node:
        """Return a value for the result as one for `write`: index arrays' axes first.

        For basic indexing the axes are those of the array.
        """
        if not self.indices:
            return move.reshape(value, tuple(self.counts))
        kept = [a for a in self.layout if a is not None]
        before = len([a for a in self.layout[: self.place] if a is not None])
        sizes = [self.counts[a] for a in kept]
        value = move.reshape(value, (*sizes[:before], *self.places, *sizes[before:]))
        return move.permute(
            value, move.inverse_permutation(self._to_result(value.ndim))
        )

    def _to_result(self, ndim: int) -> tuple[int, ...]:
        """Return the order that brings the index arrays' axes from the front."""
        places = len(self.places)
        before = len([a for a in self.layout[: self.place] if a is not None])
        rest = range(places, ndim)
        return (*rest[:before], *range(places), *rest[before:])

    def write(self, x: Node, value: Node, combine: str) -> Node:
        """Return `x` with `value` set or added where this selects."""
        value = self.updates(value)
        if self.indices:
            part = move.permute(self.sliced(x), self.order)
            written = index_ops.put(part, value, list(self.indices.values()), combine)
            value = move.permute(written, move.inverse_permutation(self.order))
            if tuple(self.counts) == x.shape and set(self.steps) == {1}:
                return value
            combine = "set"
        placement = tuple(self.starts), x.shape, tuple(self.steps)
        if combine == "add":
            return elementwise["add"](x, slicing.pad(value, *placement))
        inside = leaf.full(tuple(self.counts), True, "bool")
        return elementwise["where"](
            slicing.pad(inside, *placement), slicing.pad(value, *placement), x
        )


def select(x: Node, key: Any) -> Selection:
    """Read a key.

    Raises
    ------
    IndexOutOfRangeError
        If an integer lies outside its axis.
    ShapeError
        If there are more indices than axes.
    DTypeError
        If something in the key is no index.
    TracingError
        If a bound of a slice, or a mask, is an expression.
    """
    items = _items(x, key)
    advanced = any(isinstance(i, Node) for i in items)
    consumed = sum(1 for i in items if i is not None and i is not Ellipsis)
    if consumed > x.ndim:
        raise shape_error(
            "getitem", [x], f"{consumed} indices for {x.ndim} dimensions."
        )
    if Ellipsis not in [i for i in items if not isinstance(i, Node)]:
        items.append(Ellipsis)
    out = Selection()
    groups = 0
    in_group = False
    for item in items:
        is_index = advanced and not (
            item is None or item is Ellipsis or isinstance(item, slice)
        )
        if is_index and not in_group:
            groups += 1
            if groups == 1:
                out.place = len(out.layout)
        in_group = is_index
        _enter(x, item, out, is_index, x.ndim - consumed)
    if groups > 1:
        out.place = 0
    return out


def _enter(x: Node, item: Any, out: Selection, is_index: bool, rest: int) -> None:
    """Enter one item of a key; `rest` is how many axes an ellipsis stands for."""
    axis = len(out.starts)
    if item is None:
        out.layout.append(None)
    elif item is Ellipsis:
        for a in range(axis, axis + rest):
            out.layout.append(out.add_axis(0, x.shape[a]))
    elif isinstance(item, slice):
        start, count, step = _read_slice(x, axis, item)
        out.layout.append(out.add_axis(start, count, step))
    elif is_index:
        out.add_axis(0, x.shape[axis])
        if not isinstance(item, Node):
            item = leaf.size_value(_position(x, axis, item))
        out.indices[axis] = checked_index(x, axis, item)
    else:
        out.dropped.add(out.add_axis(_position(x, axis, item), 1))


def _items(x: Node, key: Any) -> list[Any]:
    """Return the items of a key: None, Ellipsis, slices, integers, index arrays."""
    out: list[Any] = []
    ellipses = 0
    for item in key if isinstance(key, tuple) else (key,):
        if item is None or isinstance(item, (slice, Size)):
            out.append(item)
        elif item is Ellipsis:
            ellipses += 1
            out.append(item)
        elif isinstance(item, (bool, np.bool_)):
            raise DTypeError(
                f"getitem: the index {item} is a boolean. Choose by value with "
                "where(condition, x, y)."
            )
        elif isinstance(item, (int, np.integer)):
            out.append(int(item))
        else:
            out += _index_arrays(x, item, sum(1 for i in out if _consumes(i)))
    if ellipses > 1:
        raise ShapeError("getitem: an index has at most one ellipsis (...).")
    return out


def _consumes(item: Any) -> bool:
    return item is not None and item is not Ellipsis


def _index_arrays(x: Node, item: Any, axis: int) -> list[Node]:
    """Return the integer index arrays that an array in a key stands for."""
    if not isinstance(item, (Node, np.ndarray, list, tuple)) and not hasattr(
        item, "__array__"
    ):
        raise DTypeError(
            f"getitem: {item!r} of type {type(item).__name__} is no index of "
            f"{x.label()}. Use integers, slices, None, ..., or integer arrays."
        )
    node = as_expression(item, what="getitem")
    if node.size == 0 and not isinstance(item, Node) and node.dtype.kind == "f":
        node = cast(node, "int64")  # np.asarray([]) is of floats
    if node.dtype.kind == "b":
        return _mask_indices(x, node, axis)
    if node.dtype.kind not in "iu":
        raise dtype_error(
            "getitem",
            [x, node],
            f"an index has dtype {node.dtype.name}; indices are integers.",
            "Convert it with astype('int64').",
        )
    return [node]


def _mask_indices(x: Node, mask: Node, axis: int) -> list[Node]:
    """Return the places where a constant mask is true, an array for each axis."""
    if not mask.op.is_constant:
        raise TracingError(
            f"getitem: {x.label()} cannot be indexed with the mask {mask.label()}"
            f"{made_at(mask.origin)}: the number of elements it selects is not known "
            "while the graph is built. Choose by value with where(mask, x, other), or "
            "reduce with sum(where(mask, x, 0))."
        )
    array = mask.params[0].array
    covered = x.shape[axis : axis + array.ndim]
    if covered != array.shape:
        raise shape_error(
            "getitem",
            [x],
            f"a mask of shape {array.shape} does not cover axes of sizes "
            f"{shape_text(covered)}.",
        )
    return [leaf.constant(places) for places in np.nonzero(array)]


def _position(x: Node, axis: int, index: SizeLike) -> SizeLike:
    """Return an integer index counted from the front, checked where it can be."""
    size = x.shape[axis]
    if isinstance(index, Size):
        return index
    if isinstance(size, int) and not -size <= index < size:
        raise _out_of_range(x, axis, index)
    return size + index if index < 0 else index


def checked_index(x: Node, axis: int, index: Node) -> Node:
    """Return an index array; one of constants is checked against a known size."""
    size = x.shape[axis]
    if index.op.is_constant and isinstance(size, int):
        array = index.params[0].array
        bad = array[(array < -size) | (array >= size)]
        if bad.size:
            raise _out_of_range(x, axis, int(bad.flat[0]))
    return index


def _out_of_range(x: Node, axis: int, index: int) -> IndexOutOfRangeError:
    size = x.shape[axis]
    takes = f"takes {-size} to {size - 1}" if size else "is empty"
    return IndexOutOfRangeError(
        f"getitem: index {index} is out of range for axis {axis} of {x.label()}"
        f"{made_at(x.origin)}, which has size {size} and {takes}."
    )


def _read_slice(x: Node, axis: int, item: slice) -> tuple[SizeLike, SizeLike, int]:
    step = 1 if item.step is None else static_integer(item.step, "the step of a slice")
    if step == 0:
        raise ShapeError("getitem: the step of a slice is 0.")
    start, stop = (_bound(b) for b in (item.start, item.stop))
    first, count = slicing.slice_bounds(x.shape[axis], start, stop, step)
    return (0 if count == 0 else first), count, step


def _bound(value: Any) -> SizeLike | None:
    if value is None or isinstance(value, Size):
        return value
    if isinstance(value, Node):
        raise TracingError(
            f"getitem: the bound {value.label()}{made_at(value.origin)} of a slice is "
            "an expression, and so the size of the result would not be known. Use "
            "take with arange(size) + start, which has a fixed size."
        )
    return static_integer(value, "a bound of a slice")
