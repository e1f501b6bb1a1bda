"""`TensorType`: the shape and dtype of a node, and broadcasting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from graphc.types import sizes
from graphc.types.dtypes import as_dtype
from graphc.types.errors import ShapeError
from graphc.types.size_text import parse
from graphc.types.sizes import Size, SizeLike

Shape = tuple[SizeLike, ...]


class TensorType(NamedTuple):
    """The static type of an array: one size per axis, and the element type."""

    shape: Shape
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __str__(self) -> str:
        return f"{_dtype_name(self.dtype)}{shape_text(self.shape)}"


_dtype_name = lru_cache(lambda dtype: dtype.name)  # NumPy makes it anew each time


def shape_text(shape: Iterable[SizeLike]) -> str:
    """Return a shape as Python writes a tuple: ``(n, 3)``."""
    items = [str(s) for s in shape]
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def tensor_type(shape: Sequence[SizeLike], dtype: Any) -> TensorType:
    """Return a checked `TensorType`."""
    return TensorType(tuple(as_size(s) for s in shape), as_dtype(dtype))


def as_size(size: Any) -> SizeLike:
    """Read a size: an integer, a `Size`, or the text of a formula.

    Raises
    ------
    ShapeError
        If it is negative or none of these.
    """
    if isinstance(size, str):
        size = parse(size)
    if isinstance(size, Size):
        return size
    try:
        number = int(size.__index__())
    except (AttributeError, TypeError):
        raise ShapeError(
            f"size {size!r} is neither an integer nor a symbolic size."
        ) from None
    if number < 0:
        raise ShapeError(f"size {number} is negative.")
    return number


def broadcast_sizes(a: SizeLike, b: SizeLike) -> SizeLike | None:
    """Return the size two axes broadcast to, None if they do not."""
    if a == 1:
        return b
    if b == 1:
        return a
    return sizes.unify(a, b)


def broadcast_shapes(shapes: Sequence[Shape]) -> Shape | None:
    """Return the shape that shapes broadcast to, None if they do not.

    Only sizes that are the integer 1 stretch. A symbolic size never does: where
    it meets another size, both are taken as equal and checked at the call.
    """
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    rank = max(len(s) for s in shapes)
    out: list[SizeLike] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            joint = broadcast_sizes(out[axis], size)
            if joint is None:
                return None
            out[axis] = joint
    return tuple(out)


def normalize_axis(axis: Any, ndim: int, what: str) -> int:
    """Return an axis counted from the front.

    Raises
    ------
    ShapeError
        If it is out of range.
    """
    try:
        index = int(axis.__index__())
    except (AttributeError, TypeError):
        raise ShapeError(f"{what}: axis {axis!r} is not an integer.") from None
    if not -ndim <= index < ndim:
        raise ShapeError(
            f"{what}: axis {index} is out of range for {ndim} dimensions "
            f"({-ndim} to {ndim - 1})."
        )
    return index % ndim


def normalize_axes(axes: Any, ndim: int, what: str) -> tuple[int, ...]:
    """Return axes counted from the front and sorted; None means all.

    Raises
    ------
    ShapeError
        If one is out of range or named twice.
    """
    if axes is None:
        return tuple(range(ndim))
    if not isinstance(axes, (tuple, list)):
        axes = (axes,)
    out = tuple(sorted(normalize_axis(a, ndim, what) for a in axes))
    if len(set(out)) != len(out):
        raise ShapeError(f"{what}: an axis is named twice in {axes}.")
    return out
