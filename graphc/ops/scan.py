"""Running results along an axis: cumulative sum and product, linear recurrence.

All are one kernel kind: along `axis`, from the front or (`reverse`) from the back,
``carry = step(carry, *elements)``, and every carry is an element of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.arithmetic import add, multiply
from graphc.ops.declare import General, Linear, Op, SizeOf
from graphc.ops.dependence import Dependence, Known, Running, shape_of
from graphc.ops.messages import dtype_error, shape_error
from graphc.ops.move import all_batched
from graphc.ops.scalars import Scalars, Value
from graphc.ops.slicing import pad, slice_axis
from graphc.types import sizes
from graphc.types.errors import internal_assert
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import TensorType


class Scan(Op):
    """A running result along an axis. ``params`` are the axis and whether reversed.

    All arguments have the result's type.

    Attributes
    ----------
    initial : int
        The carry before the first element.
    cost : int
        Arithmetic operations for each element.
    """

    param_names = ("axis", "reverse")
    initial: int = 0
    cost: int = 1

    def step(self, k: Scalars, carry: Value, *elements: Value) -> Value:
        """Return the next carry, which is also the result there."""
        raise NotImplementedError

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        axis, reverse = params
        internal_assert(
            0 <= axis < args[0].ndim and isinstance(reverse, bool),
            f"{self.name} along {axis}, {reverse} of {args[0].type}",
        )
        if args[0].dtype.kind == "b":
            raise dtype_error(
                self.name,
                args,
                "booleans have no arithmetic.",
                "Convert with astype('int64').",
            )
        shape = list(args[0].shape)
        for x in args[1:]:
            if x.dtype != args[0].dtype:
                raise dtype_error(self.name, args, "operands have different dtypes.")
            joint = [sizes.unify(s, t) for s, t in zip(shape, x.shape)]
            if x.ndim != len(shape) or None in joint:
                raise shape_error(self.name, args, "shapes of the operands differ.")
            shape = joint  # type: ignore[assignment]
        return TensorType(tuple(shape), args[0].dtype)

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        axis, reverse = node.params
        return self(*all_batched(args, batched), params=(axis + 1, reverse))

    def pattern(self, node: Node, known: Known, size: SizeOf) -> Sequence[Dependence]:
        shape = shape_of(node, size)
        return [Running((p,), shape, *node.params) for p in range(len(node.args))]

    def flops(self, node: Node) -> SizeLike:
        return node.size * self.cost

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return signs[0]


def _accumulated(function: Any, node: Node, x: np.ndarray) -> np.ndarray:
    axis, reverse = node.params
    if not reverse:
        return function(x, axis=axis, dtype=node.dtype)
    return np.flip(function(np.flip(x, axis), axis=axis, dtype=node.dtype), axis)


class CumulativeSum(Scan, Linear):
    """``out[i] = x[0] + ... + x[i]``; reversed ``x[i] + ... + x[n - 1]``."""

    instruction = "add"

    def step(self, k: Scalars, carry: Value, *elements: Value) -> Value:
        return k("add", carry, elements[0])

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return _accumulated(np.cumsum, node, args[0])

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node:
        axis, reverse = node.params
        return self(cotangent, params=(axis, not reverse))


class CumulativeProduct(Scan, General):
    """``out[i] = x[0] * ... * x[i]``; reversed ``x[i] * ... * x[n - 1]``.

    As a recurrence ``out[i] = x[i] * out[i-1]`` its tangent is one too:
    ``t[i] = x[i] * t[i-1] + out[i-1] * dx[i]``. Nothing is divided, so zeros are right.
    """

    instruction = "mul"
    initial = 1
    analytic = True

    def step(self, k: Scalars, carry: Value, *elements: Value) -> Value:
        return k("mul", carry, elements[0])

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return _accumulated(np.cumprod, node, args[0])

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        t = tangents[0]
        if t is None:
            return None
        axis, reverse = node.params
        before = shifted(node, axis, reverse, 1)
        return linear_recurrence(node.args[0], multiply(before, t), axis, reverse)

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        axis, reverse = node.params
        back = _adjoint(node.args[0], cotangent, axis, reverse)
        return [multiply(shifted(node, axis, reverse, 1), back)]


class LinearRecurrence(Scan, General):
    """``h[i] = a[i] * h[i-1] + b[i]`` with ``h[-1] = 0``; reversed from the back.

    Arguments: a and b. The cotangent of b is the adjoint recurrence
    ``l[i] = a[i+1] * l[i+1] + dh[i]``, that of a is ``l[i] * h[i-1]``; so derivatives
    of every order are of this op again.
    """

    cost = 2
    analytic = True

    def step(self, k: Scalars, carry: Value, *elements: Value) -> Value:
        a, b = elements
        return k("add", k("mul", a, carry), b)

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return signs[1] if signs[0] else ""

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        axis, reverse = node.params
        a, b = (np.moveaxis(x, axis, 0) for x in args)
        out = np.empty(a.shape, node.dtype)
        carry = np.zeros(a.shape[1:], node.dtype)
        order = range(len(a))
        for i in reversed(order) if reverse else order:
            carry = a[i] * carry + b[i]
            out[i] = carry
        return np.moveaxis(out, 0, axis)

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        axis, reverse = node.params
        da, db = tangents
        drive = db
        if da is not None:
            term = multiply(da, shifted(node, axis, reverse, 0))
            drive = term if drive is None else add(drive, term)
        if drive is None:
            return None
        return linear_recurrence(node.args[0], drive, axis, reverse)

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        axis, reverse = node.params
        back = _adjoint(node.args[0], cotangent, axis, reverse)
        by_a = multiply(back, shifted(node, axis, reverse, 0)) if wanted[0] else None
        return [by_a, back]


cumsum_ = CumulativeSum("cumsum")
cumprod_ = CumulativeProduct("cumprod")
linear_recurrence_ = LinearRecurrence("linear_recurrence")


def cumsum(x: Node, axis: int, reverse: bool = False) -> Node:
    """Return the running sums of `x` along `axis`."""
    return cumsum_(x, params=(axis, reverse))


def cumprod(x: Node, axis: int, reverse: bool = False) -> Node:
    """Return the running products of `x` along `axis`."""
    return cumprod_(x, params=(axis, reverse))


def linear_recurrence(a: Node, b: Node, axis: int, reverse: bool = False) -> Node:
    """Return ``h[i] = a[i] * h[i-1] + b[i]`` along `axis`, ``h[-1] = 0``."""
    return linear_recurrence_(a, b, params=(axis, reverse))


def exclusive_cumprod(x: Node, axis: int, reverse: bool = False) -> Node:
    """Return ``out[i] = x[0] * ... * x[i-1]``; reversed ``x[i+1] * ... * x[n-1]``."""
    return cumprod(shifted(x, axis, reverse, 1), axis, reverse)


def shifted(x: Node, axis: int, reverse: bool, value: Any) -> Node:
    """Return ``out[i] = x[i-1]``, `value` entering; reversed ``out[i] = x[i+1]``."""
    n = x.shape[axis]
    kept = slice_axis(x, axis, 1 if reverse else 0, sizes.maximum(n - 1, 0))
    starts = tuple(1 if a == axis and not reverse else 0 for a in range(x.ndim))
    return pad(kept, starts, x.shape, value=value)


def _adjoint(a: Node, cotangent: Node, axis: int, reverse: bool) -> Node:
    """Return the recurrence run back: ``l[i] = a[i+1]*l[i+1] + dh[i]``."""
    back = shifted(a, axis, not reverse, 0)
    return linear_recurrence(back, cotangent, axis, not reverse)
