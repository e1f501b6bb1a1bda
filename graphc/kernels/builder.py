"""`Values`: the `Scalars` protocol that ops lower themselves to, building IR values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.kernels.ir import (
    SURE,
    Buffer,
    Constant,
    Dynamic,
    FromSize,
    Instruction,
    Load,
    Value,
)
from graphc.ops.declare import Move
from graphc.ops.leaf import integer_range
from graphc.types import sizes
from graphc.types.dtypes import bool_
from graphc.types.errors import internal_assert
from graphc.types.sizes import SizeLike

_COMPARISONS = {"lt", "le", "gt", "ge", "eq", "ne", "isnan", "isinf", "isfinite"}


def _is_inside(source: Node, extent: SizeLike) -> bool:
    """Tell whether all numbers of an array are known as indices below an extent."""
    found = integer_range(source)
    if found is None or not isinstance(extent, int):
        return False
    return 0 <= found[0] and found[1] < extent


class Values:
    """Builds the values of one kernel; equal values are one object.

    Parameters
    ----------
    report : callable
        Returns the code under which an index of a node out of range is reported.
    """

    def __init__(self, report: Callable[[Node], int]):
        self._report = report
        self._known: dict[tuple, Any] = {}
        self._indices = 0

    def skip_indices(self, number: int) -> None:
        """Leave numbers of computed indices up to `number` to others."""
        self._indices = max(self._indices, number)

    def _one(self, kind: Any, *fields: Any) -> Any:
        key = (kind, *(id(f) if isinstance(f, _IDENTITY) else f for f in fields))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = kind(*fields)
        return found

    def __call__(self, name: str, *operands: Value) -> Value:
        folded = _folded(name, operands)
        if folded is not None:
            return folded
        dtype = bool_ if name in _COMPARISONS else operands[-1].dtype
        key = (name, *(id(o) for o in operands))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Instruction(name, operands, dtype)
        return found

    def constant(self, value: Any, dtype: np.dtype) -> Value:
        """Return a constant; ``-0.0`` and ``0.0`` stay apart."""
        number = np.asarray(value).astype(dtype)
        key = ("constant", dtype.str, number.tobytes())
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Constant(number.item(), dtype)
        return found

    def like(self, x: Value, value: Any) -> Value:
        """Return a constant of the dtype of `x`."""
        return self.constant(value, x.dtype)

    def zero(self, x: Value) -> Value:
        """Return 0 in the dtype of `x`."""
        return self.constant(0, x.dtype)

    def one(self, x: Value) -> Value:
        """Return 1 in the dtype of `x`."""
        return self.constant(1, x.dtype)

    def dtype(self, x: Value) -> np.dtype:
        """Return the dtype of a value."""
        return x.dtype

    def cast(self, value: Value, dtype: np.dtype) -> Value:
        """Return a value converted as astype does."""
        if value.dtype == dtype:
            return value
        if isinstance(value, Constant):
            with np.errstate(all="ignore"):
                return self.constant(np.asarray(value.value, value.dtype), dtype)
        key = ("cast", id(value), dtype.str)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Instruction("cast", (value,), dtype)
        return found

    def size(self, size: SizeLike, dtype: np.dtype) -> Value:
        """Return a size or index as a value."""
        if isinstance(size, int):
            return self.constant(size, dtype)
        return self._one(FromSize, size, dtype)

    def dynamic_index(
        self, value: Value, extent: SizeLike, node: Node, source: Node
    ) -> SizeLike:
        """Return an element of `source` as an index; see `kernels.ir.Dynamic`."""
        if isinstance(value, Constant) and isinstance(extent, int):
            number = int(value.value)
            if -extent <= number < extent:
                return number % extent
        code = SURE if _is_inside(source, extent) else self._report(node)
        key = (Dynamic, id(value), extent, code)
        found = self._known.get(key)
        if found is None:
            self._indices += 1
            # padding, say, reads an array without elements, to discard what it gets
            count = node.size if isinstance(node.op, Move) else 1
            found = Dynamic(value, extent, count, code, self._indices)
            self._known[key] = found
        return sizes.of_atom(found)

    def index_like(self, like: Dynamic, value: Value, extent: SizeLike) -> Dynamic:
        """Return a computed index of the kind of another.

        Its number is new among all this builder made: of two indices that count as
        equal, one's load would be taken for the other's.
        """
        self._indices += 1
        return Dynamic(value, extent, like.count, like.code, self._indices)

    def inside(self, index: SizeLike, low: SizeLike, high: SizeLike) -> Value:
        """Return ``low <= index < high``."""
        i64 = np.dtype(np.int64)
        at = self.size(index, i64)
        return self(
            "and",
            self("ge", at, self.size(low, i64)),
            self("lt", at, self.size(high, i64)),
        )

    def load(self, buffer: Buffer, offset: SizeLike, stage: int) -> Value:
        """Return an element of a buffer."""
        internal_assert(not isinstance(offset, float), "an offset is no integer")
        return self._one(Load, buffer, offset, buffer.dtype, stage)


def _folded(name: str, operands: tuple[Value, ...]) -> Value | None:
    """Return what a selection or a condition is, where it is known."""
    if name == "select":
        condition, yes, no = operands
        if yes is no:
            return yes
        if isinstance(condition, Constant):
            return yes if condition.value else no
    elif name in ("and", "or") and operands[0].dtype == bool_:
        for known, other in (operands, operands[::-1]):
            if isinstance(known, Constant):
                return other if known.value is (name == "and") else known
    return None


_IDENTITY = (Buffer, Constant, Instruction, FromSize, Load)
