"""Reductions over axes: sum, prod, max, min, any, all; argmax and argmin.

These take and give the dtypes they compute in. NumPy's accumulator dtypes (sums of
small integers and booleans are int64, ``any`` takes numbers) are a cast that the
expression layer puts before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.arithmetic import (
    absolute_zero_multiply,
    divide,
    equal,
    multiply,
    one_where,
)
from graphc.ops.counting import CountingScalars
from graphc.ops.declare import Linear, Op, Reduce, SizeOf
from graphc.ops.messages import call_text, dtype_error, operand_text, shape_error
from graphc.ops.move import broadcast_to, inverse_permutation, permute, reshape
from graphc.types import dtypes, sizes
from graphc.types.errors import ShapeError, internal_assert, made_at
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import TensorType


def keep_axes(node: Node, reduced: Node) -> Node:
    """Return a reduction's result with its axes kept as size 1, to broadcast back."""
    (axes,) = node.params
    shape = tuple(1 if a in axes else s for a, s in enumerate(node.args[0].shape))
    return reshape(reduced, shape)


def require_elements(op: str, args: Sequence[Node], axes: Sequence[int]) -> None:
    """Raise `ShapeError` if the reduced part surely has no elements."""
    if any(args[0].shape[a] == 0 for a in axes):
        raise shape_error(
            op,
            args,
            "there are no elements over the reduced axes, and so no extremum.",
            "Leave empty arrays out, or concatenate a first value.",
        )


def check_elements(node: Node, axes: Sequence[int], size: SizeOf) -> None:
    """As `require_elements`, for sizes that are known now."""
    for a in axes:
        if size(node.args[0].shape[a]) == 0:
            raise ShapeError(
                f"{node.op.name}: axis {a} has size 0, and so there is no extremum. "
                f"Operands: {operand_text(node.args)}. The failing call was"
                f"{made_at(node.origin) or ' made at an unknown place'}."
            )


class AxisReduction(Reduce):
    """Shape and batching rule of a reduction over ``params[0]``."""

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        (x,), (axes,) = args, params
        internal_assert(
            len(set(axes)) == len(axes) and all(0 <= a < x.ndim for a in axes),
            f"{self.name} over axes {axes} of {x.type}",
        )
        return TensorType(
            tuple(s for a, s in enumerate(x.shape) if a not in axes), x.dtype
        )

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return self(args[0], params=(tuple(a + 1 for a in node.params[0]),))

    def written(self, node: Node, words: Sequence[str | None]) -> str:
        axes = node.params[0]
        if len(axes) == node.args[0].ndim:
            return call_text(self.name, words)
        return call_text(
            self.name, words, [f"axis={axes[0] if len(axes) == 1 else axes}"]
        )


def _numbers(op: str, args: Sequence[Node]) -> None:
    if args[0].dtype.kind == "b":
        raise dtype_error(
            op, args, "booleans have no arithmetic.", "Convert with astype('int64')."
        )


class Sum(AxisReduction, Linear):
    """The sum over axes; 0 of nothing."""

    instruction = "add"

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        _numbers(self.name, args)
        return super().infer(args, params)

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        if signs[0] and any(node.args[0].shape[a] == 0 for a in node.params[0]):
            return "nonnegative"
        return signs[0]

    def identity(self, dtype: np.dtype) -> Any:
        return 0

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return np.sum(args[0], axis=node.params[0], dtype=node.dtype)

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node:
        return broadcast_to(keep_axes(node, cotangent), node.args[0].shape)


class Product(AxisReduction):
    """The product over axes; 1 of nothing.

    The partial derivative by an element is the product of the others, made of
    running products from both ends: right with zeros among the elements, where
    ``product / x`` is not, and so for every order of derivative.
    """

    instruction = "mul"
    analytic = True

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        _numbers(self.name, args)
        return super().infer(args, params)

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return signs[0]

    def identity(self, dtype: np.dtype) -> Any:
        return 1

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return np.prod(args[0], axis=node.params[0], dtype=node.dtype)

    def _others(self, node: Node) -> Node:
        from graphc.ops.scan import exclusive_cumprod

        (x,), (axes,) = node.args, node.params
        kept = self.kept(node)
        order = (*kept, *axes)
        moved = permute(x, order)
        outer = moved.shape[: len(kept)]
        row = reshape(moved, (*outer, sizes.product(moved.shape[len(kept) :])))
        before = exclusive_cumprod(row, len(kept))
        after = exclusive_cumprod(row, len(kept), reverse=True)
        others = reshape(multiply(before, after), moved.shape)
        return permute(others, inverse_permutation(order))

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        t = tangents[0]
        if t is None:
            return None
        return sum_(multiply(t, self._others(node)), params=node.params)

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        return [multiply(keep_axes(node, cotangent), self._others(node))]


class Extremum(AxisReduction):
    """The largest or smallest element over axes; NaN if there is one.

    Its cotangent is split evenly among ties.
    """

    def __init__(self, name: str, instruction: str, function: Any):
        super().__init__(name)
        self.instruction = instruction
        self._numpy = function

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        require_elements(self.name, args, params[0])
        return super().infer(args, params)

    def check(self, node: Node, size: SizeOf) -> None:
        check_elements(node, node.params[0], size)

    def requirements(self, node: Node) -> Sequence[SizeLike]:
        return [1 - node.args[0].shape[a] for a in node.params[0]]

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return signs[0]

    def identity(self, dtype: np.dtype) -> Any:
        lowest = self.instruction == "max"
        if dtype.kind == "f":
            return -np.inf if lowest else np.inf
        if dtype.kind == "b":
            return not lowest
        info = np.iinfo(dtype)
        return info.min if lowest else info.max

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        self.check(node, size)
        return self._numpy(args[0], axis=node.params[0])

    def _share(self, node: Node) -> Node:
        x = node.args[0]
        chosen = one_where(equal(x, keep_axes(node, node)), x)
        return divide(chosen, keep_axes(node, sum_(chosen, params=node.params)))

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        t = tangents[0]
        if t is None:
            return None
        return sum_(absolute_zero_multiply(t, self._share(node)), params=node.params)

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        return [absolute_zero_multiply(keep_axes(node, cotangent), self._share(node))]


class LogicalReduction(AxisReduction):
    """Whether any, or all, of the booleans over axes are true."""

    def __init__(self, name: str, instruction: str, function: Any):
        super().__init__(name)
        self.instruction = instruction
        self._numpy = function

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        if args[0].dtype != dtypes.bool_:
            raise dtype_error(
                self.name, args, "booleans are needed.", "Compare first: x != 0."
            )
        return super().infer(args, params)

    def identity(self, dtype: np.dtype) -> Any:
        return self.instruction == "and"

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return self._numpy(args[0], axis=node.params[0])


class ArgReduce(Op):
    """Where along ``axis`` the largest or smallest element is: the first one, int64.

    A NaN counts as the extremum, as in NumPy. A kernel keeps the pair of the best
    value and its index, and replaces it where `better` holds.

    Attributes
    ----------
    instruction : str
        "max" or "min".
    comparison : str
        The instruction by which a later element must beat the best one: "gt", "lt".
    """

    param_names = ("axis",)

    def __init__(self, name: str, instruction: str, function: Any):
        super().__init__(name)
        self.instruction = instruction
        self.comparison = {"max": "gt", "min": "lt"}[instruction]
        self._numpy = function

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        (x,), (axis,) = args, params
        internal_assert(0 <= axis < x.ndim, f"{self.name} over axis {axis} of {x.type}")
        require_elements(self.name, args, params)
        return TensorType((*x.shape[:axis], *x.shape[axis + 1 :]), dtypes.int64)

    def check(self, node: Node, size: SizeOf) -> None:
        check_elements(node, node.params, size)

    def requirements(self, node: Node) -> Sequence[SizeLike]:
        return [1 - node.args[0].shape[node.params[0]]]

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        self.check(node, size)
        return self._numpy(args[0], axis=node.params[0])

    def better(self, k: Any, value: Any, best: Any, dtype: np.dtype) -> Any:
        """Return whether `value`, later than `best`, takes its place."""
        wins = k(self.comparison, value, best)
        if dtype.kind != "f":
            return wins
        # a first NaN wins against every number, and then stays
        return k("or", wins, k("and", k("ne", value, value), k("eq", best, best)))

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return self(args[0], params=(node.params[0] + 1,))

    def flops(self, node: Node) -> SizeLike:
        (x,) = node.args
        k = CountingScalars()
        value, best = k.new(x.dtype, "value"), k.new(x.dtype, "best")
        self.better(k, value, best, x.dtype)
        return x.size * (k.counts[0] + 2)  # and selections of value and place


sum_ = Sum("sum")
prod_ = Product("prod")
max_ = Extremum("max", "max", np.max)
min_ = Extremum("min", "min", np.min)
any_ = LogicalReduction("any", "or", np.any)
all_ = LogicalReduction("all", "and", np.all)
argmax_ = ArgReduce("argmax", "max", np.argmax)
argmin_ = ArgReduce("argmin", "min", np.argmin)
