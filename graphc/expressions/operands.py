"""What functions take: expressions, arrays, Python's numbers (weak), and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops import leaf
from graphc.ops.arithmetic import cast
from graphc.types import dtypes
from graphc.types.errors import DTypeError, TracingError
from graphc.types.sizes import Size
from graphc.types.tensor_type import normalize_axis

WEAK = (bool, int, float)
"""Python's numbers: they raise the kind of an array's dtype, never its width."""

_NUMBERS = (Node, Size, np.ndarray, np.generic, bool, int, float, complex)


def is_operand(value: Any) -> bool:
    """Tell whether a value can stand beside an expression in an operation."""
    return isinstance(value, (*_NUMBERS, list, tuple)) or (
        hasattr(value, "__array__") and not isinstance(value, type)
    )


def as_expression(value: Any, dtype: Any = None, what: str = "operand") -> Node:
    """Return an expression: the value itself, or the constant it stands for.

    Parameters
    ----------
    value : expression, array, number, size, nested list of numbers
    dtype : dtype, optional
        To convert to.
    what : str
        What to call the value in messages.

    Raises
    ------
    DTypeError
        If it is none of these, or a list that holds expressions.
    """
    if isinstance(value, Node):
        return value if dtype is None else cast(value, dtype)
    if isinstance(value, Size):
        return leaf.size_value(value, np.int64 if dtype is None else dtype)
    if not is_operand(value):
        raise DTypeError(
            f"{what}: {_short(value)} of type {type(value).__name__} is neither an "
            "expression nor an array of numbers."
        )
    if isinstance(value, (list, tuple)) and _holds_expression(value):
        raise DTypeError(
            f"{what}: a {type(value).__name__} that holds expressions is not an "
            "array. Make one with stack([...]) or concatenate([...])."
        )
    wanted = None if dtype is None else dtypes.as_dtype(dtype)
    try:
        array = np.asarray(value, wanted)
    except (TypeError, ValueError, OverflowError) as error:
        raise DTypeError(f"{what}: {_short(value)} makes no array: {error}.") from None
    return leaf.constant(array)


def joint_dtype(operands: Sequence[Any]) -> np.dtype:
    """Return the promoted dtype of operands or dtypes, numbers and sizes weak."""
    return dtypes.promote(*(_promotable(x) for x in operands))


def promoted(operands: Sequence[Any], dtype: Any = None) -> list[Node]:
    """Return operands as expressions of their joint dtype, or of `dtype`."""
    nodes = [
        x if type(x) in WEAK or isinstance(x, Size) else as_expression(x)
        for x in operands
    ]
    joint = joint_dtype(nodes) if dtype is None else dtypes.as_dtype(dtype)
    return [as_expression(x, joint) for x in nodes]


def _promotable(value: Any) -> Any:
    if isinstance(value, Size):
        return 1
    if isinstance(value, np.dtype) or type(value) in WEAK:
        return value
    return value.dtype


def static_integer(value: Any, what: str) -> int:
    """Return a Python integer, or say that one is needed here.

    Raises
    ------
    TracingError
        If the value is an expression, a symbolic size, or no integer.
    """
    if not isinstance(value, (Node, Size)):
        try:
            return int(value.__index__())
        except (AttributeError, TypeError):
            pass
    raise TracingError(
        f"{what} must be a Python integer, known while the graph is built, not "
        f"{_short(value)} of type {type(value).__name__}."
    )


def one_axis(x: Node, axis: Any, what: str) -> int:
    """Return an axis of `x` counted from the front."""
    return normalize_axis(axis, x.ndim, f"{what} of {x.label()}")


def _holds_expression(value: Any) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, (Node, Size)):
            return True
        if isinstance(item, (list, tuple)):
            stack.extend(item)
    return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
