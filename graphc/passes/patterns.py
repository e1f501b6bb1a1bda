"""What rules look for, and how they build what they put in its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.leaf import constant, constant_, full, full_, uniform_value
from graphc.ops.move import broadcast_, broadcast_to, reshape, reshape_
from graphc.types import sizes
from graphc.types.dtypes import is_float
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape

number = uniform_value
"""The number a node has everywhere, as a NumPy scalar; None if it has none."""


def is_number(node: Node, value: float) -> bool:
    """Tell whether a node is `value` everywhere."""
    known = uniform_value(node)
    return known is not None and bool(known == value)


def signed(node: Node) -> bool:
    """Tell whether a node is of a dtype that has -1."""
    return node.dtype.kind in "fi"


def scalar(value: Any, like: Node) -> Node:
    """Return a scalar constant of the dtype of a node."""
    return constant(value, like.dtype)


def uniform(value: Any, node: Node) -> Node:
    """Return a number everywhere, in the type of a node."""
    return full(node.shape, value, node.dtype)


# ------------------------------------------------------------------- stretching


def stretch(x: Node, shape: Shape) -> Node:
    """Return `x` broadcast to a shape; a reshape where nothing is repeated."""
    if x.shape == shape:
        return x
    new = len(shape) - x.ndim
    if new >= 0 and x.shape == shape[new:] and all(s == 1 for s in shape[:new]):
        return reshape(x, shape)
    value = uniform_value(x)
    return broadcast_to(x, shape) if value is None else full(shape, value, x.dtype)


def as_typed(x: Node, node: Node) -> Node | None:
    """Return `x` broadcast to the type of `node`, None if their dtypes differ."""
    return stretch(x, node.shape) if x.dtype == node.dtype else None


LOOSE = frozenset((broadcast_, reshape_, full_, constant_))
"""The ops that `loose` looks at."""


def loose(x: Node) -> Node:
    """Return the smaller node that broadcasts to what `x` is.

    Broadcasts and added leading axes of size 1 are taken off, and an array of one
    value is its number.
    """
    while x.op in LOOSE and x.ndim:
        value = uniform_value(x)
        if value is not None:
            return constant(value)
        if not x.args:
            return x
        (inner,) = x.args
        if x.op is reshape_ and not _adds_leading_ones(inner, x):
            return x
        x = inner
    return x


def _adds_leading_ones(inner: Node, outer: Node) -> bool:
    new = outer.ndim - inner.ndim
    return (
        new > 0
        and outer.shape[new:] == inner.shape
        and all(s == 1 for s in outer.shape[:new])
    )


def real_axes(shape: Shape) -> list[int]:
    """Return the axes that are not of size 1."""
    return [a for a, s in enumerate(shape) if s != 1]


def axes_beside_ones(old: Shape, new: Shape) -> dict[int, int] | None:
    """Return the axis of `old` for each real axis of `new`.

    None if a reshape from `old` to `new` does more than add or take away axes of
    size 1.
    """
    before, after = real_axes(old), real_axes(new)
    if [old[a] for a in before] != [new[a] for a in after]:
        return None
    return dict(zip(after, before))


def padded_rank(x: Node, ndim: int) -> Node:
    """Return `x` with leading axes of size 1 up to a rank."""
    return reshape(x, (1,) * (ndim - x.ndim) + x.shape)


def surely_not_negative(size: SizeLike) -> bool:
    """Tell whether a size is 0 or more for all values of its dimensions."""
    return sizes.maximum(size, 0) == size


# -------------------------------------------------------------- exact arithmetic


def exactly(
    operation: Callable[[Any, Any], Any], a: Any, b: Any, dtype: np.dtype
) -> Any:
    """Return ``operation(a, b)`` of two numbers of a dtype, if it is not rounded.

    None if the result is rounded, not finite, or subnormal. Integers wrap around,
    as they do wherever they are computed.
    """
    if not is_float(dtype):
        with np.errstate(all="ignore"):
            return np.asarray(operation(np.asarray(a), np.asarray(b)), dtype)[()]
    if not (math.isfinite(a) and math.isfinite(b)):
        return None
    try:
        exact = operation(Fraction(float(a)), Fraction(float(b)))
    except ZeroDivisionError:
        return None
    return _representable(exact, dtype)


def _representable(exact: Fraction, dtype: np.dtype) -> Any:
    with np.errstate(all="ignore"):
        try:
            rounded = dtype.type(float(exact))
        except OverflowError:
            return None
    if not np.isfinite(rounded) or Fraction(float(rounded)) != exact:
        return None
    if rounded != 0 and abs(rounded) < np.finfo(dtype).tiny:
        return None
    return rounded


# ---------------------------------------------------------------------- walking


def through(x: Node, ops: Sequence[Any]) -> Iterator[Node]:
    """Yield `x`, its first argument, and so on, as long as the op is one of `ops`."""
    yield x
    while x.op in ops:
        x = x.args[0]
        yield x
