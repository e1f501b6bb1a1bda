"""Leaves: inputs, constants, sizes as values, and ranges."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.declare import Op, SizeOf
from graphc.ops.scalars import Index, Scalars, Value
from graphc.types import dtypes
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape, TensorType

_serial = itertools.count(1)
_process = secrets.token_hex(6)


class Leaf(Op):
    """An op without arguments: its derivative is zero, its batch itself."""

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return node


class Input(Leaf):
    """A named input; two are the same only if they are the same object."""

    param_names = ("serial",)

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        return params[1]

    def param_texts(self, params: tuple) -> list[str]:
        return []


class Frozen:
    """A constant array as a hashable parameter: by dtype, shape and bytes."""

    __slots__ = ("array", "_key", "_hash")

    def __init__(self, array: np.ndarray):
        array = np.array(array, order="C", copy=True, subok=False)
        array.flags.writeable = False
        self.array = array
        self._key = (array.dtype.str, array.shape, array.tobytes())
        self._hash = hash(self._key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frozen) and self._key == other._key

    def __repr__(self) -> str:
        if self.array.size == 1:
            return repr(self.array.item()) + ("" if self.array.ndim == 0 else "[...]")
        return f"<{self.array.size} values>"

    def __reduce__(self) -> Any:
        return (Frozen, (self.array,))


def _sign_of_values(array: np.ndarray) -> str:
    if array.dtype.kind == "b" or not array.size or not np.all(array >= 0):
        return ""
    return "positive" if np.all(array > 0) else "nonnegative"


class Constant(Leaf):
    """A constant array."""

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return _sign_of_values(node.params[0].array)

    is_constant = True
    param_names = ("value",)

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        array = params[0].array
        return TensorType(array.shape, dtypes.as_dtype(array.dtype))

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return node.params[0].array

    def written(self, node: Node, words: Sequence[str | None]) -> str:
        array = node.params[0].array
        if array.size > 6:
            return self.name
        return " ".join(np.array2string(array, separator=", ", precision=4).split())


class SizeValue(Leaf):
    """A size of an array, as a number."""

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return "positive"  # of an empty array nothing is computed

    param_names = ("size", "dtype")

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        return TensorType((), params[1])

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return np.asarray(size(node.params[0]), node.dtype)

    def read(self, k: Scalars, node: Node, index: Index, arg: Any) -> Value:
        return k.size(node.params[0], node.dtype)


class Iota(Leaf):
    """``0, 1, ..., size - 1``."""

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return "nonnegative"

    param_names = ("size", "dtype")

    def written(self, node: Node, words: Sequence[str | None]) -> str:
        return f"{self.name}({node.params[0]})"

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        return TensorType((params[0],), params[1])

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return np.arange(size(node.params[0])).astype(node.dtype)

    def read(self, k: Scalars, node: Node, index: Index, arg: Any) -> Value:
        return k.size(index[0], node.dtype)


class Full(Leaf):
    """One value everywhere, for shapes that may be symbolic: zeros, ones."""

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return _sign_of_values(node.params[1].array)

    param_names = ("shape", "value")

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        return TensorType(params[0], params[1].array.dtype)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        shape = tuple(size(s) for s in node.shape)
        return np.full(shape, node.params[1].array, node.dtype)

    def read(self, k: Scalars, node: Node, index: Index, arg: Any) -> Value:
        return k.constant(node.params[1].array.item(), node.dtype)


input_ = Input("input")
constant_ = Constant("constant")
size_value_ = SizeValue("size")
iota_ = Iota("arange")
full_ = Full("full")


def new_input(name: str, type: TensorType) -> Node:
    """Return a new input node, distinct from all others."""
    node = input_(params=(f"{_process}-{os.getpid()}-{next(_serial)}", type))
    node.name = name
    return node


def constant(value: Any, dtype: Any = None) -> Node:
    """Return the constant node of an array or number."""
    array = np.asarray(value)
    array = array.astype(dtypes.as_dtype(array.dtype if dtype is None else dtype))
    return constant_(params=(Frozen(array),))


def size_value(size: SizeLike, dtype: Any = np.int64) -> Node:
    """Return a size as a number: a constant if it is one."""
    dtype = dtypes.as_dtype(dtype)
    if isinstance(size, int):
        return constant(size, dtype)
    return size_value_(params=(size, dtype))


def iota(size: SizeLike, dtype: Any = np.int64) -> Node:
    """Return ``0 .. size - 1``."""
    return iota_(params=(size, dtypes.as_dtype(dtype)))


def full(shape: Shape, value: Any, dtype: Any) -> Node:
    """Return an array of one value; the scalar constant itself for shape ()."""
    scalar = np.asarray(value).astype(dtypes.as_dtype(dtype))
    if not shape:
        return constant(scalar)
    return full_(params=(tuple(shape), Frozen(scalar)))


def zeros_like(node: Node) -> Node:
    """Return zeros of the type of `node`."""
    return full(node.shape, 0, node.dtype)


def ones_like(node: Node) -> Node:
    """Return ones of the type of `node`."""
    return full(node.shape, 1, node.dtype)


def scalar_like(value: Any, node: Node) -> Node:
    """Return a scalar constant of the dtype of `node`."""
    return constant(value, node.dtype)


def integer_range(node: Node) -> tuple[int, int] | None:
    """Return the least and largest number of a constant array of integers."""
    if node.op is not constant_ or node.dtype.kind not in "iu":
        return None
    array = node.params[0].array
    return (int(array.min()), int(array.max())) if array.size else None


def uniform_value(node: Node) -> Any:
    """Return the number a node has everywhere, as a NumPy scalar, or None."""
    if node.op is full_:
        return node.params[1].array[()]
    if node.op is constant_:
        array = node.params[0].array
        if array.size == 1:
            return array.reshape(())[()]
    return None
