"""Arguments of a call: arrays of exactly the declared types, or a clear error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from graphc.graph.node import Node
from graphc.types import dtypes
from graphc.types.errors import (
    AllocationError,
    DTypeError,
    InputError,
    ShapeError,
    made_at,
)


def as_input(node: Node, value: Any) -> np.ndarray:
    """Return a contiguous, aligned, native array of the dtype of an input.

    Python numbers, nested lists and NumPy scalars are converted where that keeps
    their kind; arrays must have the declared dtype, in either byte order.

    Raises
    ------
    DTypeError, ShapeError
        If dtype or rank are wrong.
    InputError
        If an expression, or an array on a device, is given.
    AllocationError
        If it has to be copied, and memory for that cannot be had.
    """
    if isinstance(value, Node):
        raise InputError(
            f"{node.name}: the expression {value.label()} was given where an array is "
            "needed. Compile takes expressions, the compiled function arrays."
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ShapeError(f"{node.name}: {error}") from None
    except (TypeError, RuntimeError) as error:  # packages' arrays on a device
        raise InputError(
            f"{node.name}: a value of type {type(value).__name__} cannot be read on "
            f"the host ({error}). Give a copy on the host; arrays on a device are for "
            'functions compiled with backend="cuda".'
        ) from None
    if array.dtype != node.dtype:
        loose = not isinstance(value, np.ndarray) and not hasattr(value, "__array__")
        loose = loose or isinstance(value, np.generic)
        kind_kept = array.dtype != object and np.can_cast(
            array.dtype, node.dtype, "same_kind"
        )
        if array.dtype.newbyteorder("=") != node.dtype and not (
            (loose and kind_kept) or array.size == 0 == node.ndim
        ):
            raise DTypeError(
                f"{node.name}: {_given(value, array)} was given for "
                f"{node.label()}{made_at(node.origin)}. {_remedy(array, node)}"
            )
        array = _converted(node, array)
    if array.ndim != node.ndim:
        raise ShapeError(
            f"{node.name}: an array of shape {array.shape} was given for "
            f"{node.label()}{made_at(node.origin)}, which has {node.ndim} dimensions."
        )
    if not (array.flags.c_contiguous and array.flags.aligned):
        array = _converted(node, array)
    return array


def _converted(node: Node, array: np.ndarray) -> np.ndarray:
    """Return a contiguous copy of an array in the dtype of an input."""
    try:
        return np.array(array, node.dtype, order="C")
    except MemoryError:
        size = array.size * node.dtype.itemsize
        raise AllocationError(
            f"{node.name}: memory for a contiguous copy of what was given for "
            f"{node.label()}{made_at(node.origin)}, {size:,} bytes, cannot be had. "
            f"Give a contiguous array of {node.dtype.name}."
        ) from None


def as_donated(node: Node, value: Any, array: np.ndarray) -> np.ndarray:
    """Return the array of a donated input, which may be written to.

    Parameters
    ----------
    node : Node
    value : Any
        What was given.
    array : numpy.ndarray
        What `as_input` made of it.

    Raises
    ------
    InputError
        If a read-only array was given.
    """
    if array.flags.writeable:
        return array
    if isinstance(value, np.ndarray):
        raise InputError(
            f"{node.name}: a read-only array was given for {node.label()}"
            f"{made_at(node.origin)}, which was donated when the function was "
            "compiled. Give a copy, or compile without donating it."
        )
    return array.copy()


def overlapping(arrays: Sequence[np.ndarray]) -> set[int]:
    """Return the positions of the arrays whose memory meets that of another.

    Taken from the first byte to the last, so interleaved views count as meeting.
    """
    spans = sorted((*byte_bounds(a), i) for i, a in enumerate(arrays) if a.size)
    out: set[int] = set()
    end, holder = -1, -1
    for low, high, i in spans:
        if low < end:
            out |= {i, holder}
        if high > end:
            end, holder = high, i
    return out


def _given(value: Any, array: np.ndarray) -> str:
    if array.dtype.kind in "biufc":
        return f"an array of {array.dtype.name}"
    return f"a value of type {type(value).__name__}, which is no array of numbers,"


def _remedy(array: np.ndarray, node: Node) -> str:
    """Return what helps against a wrong dtype; declaring it only where one can."""
    if array.dtype.name in dtypes.SUPPORTED:
        return (
            f"Convert it with astype({node.dtype.name!r}), or declare the input with "
            f"dtype={array.dtype.name!r}."
        )
    if array.dtype.kind == "c":
        return "There are no complex numbers: give .real and .imag as two inputs."
    return f"Give an array of {node.dtype.name}."


def check_out(out: Sequence[Any], names: Sequence[str], types: Sequence[tuple]) -> None:
    """Check the arrays given for outputs.

    Raises
    ------
    InputError, DTypeError, ShapeError
        If one is no writable array of exactly the output's shape and dtype.
    """
    for array, name, (shape, dtype) in zip(out, names, types):
        if not isinstance(array, np.ndarray) or not array.flags.writeable:
            raise InputError(f"{name} must be a writable NumPy array.")
        if array.dtype != dtype:
            swapped = "" if array.dtype.isnative else " of the other byte order"
            raise DTypeError(
                f"{name} has dtype {array.dtype.name}{swapped}, but the output is "
                f"{dtype.name}."
            )
        if array.shape != shape:
            raise ShapeError(f"{name} has shape {array.shape}, but the output {shape}.")
