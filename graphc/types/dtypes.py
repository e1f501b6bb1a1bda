"""Element types and how they combine: NumPy's, with Python scalars weak (NEP 50)."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.types.errors import DTypeError

DType = np.dtype

float32 = np.dtype(np.float32)
float64 = np.dtype(np.float64)
bool_ = np.dtype(np.bool_)
int8, int16, int32, int64 = (np.dtype(f"int{b}") for b in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{b}") for b in (8, 16, 32, 64))

SUPPORTED = {
    d.name: d
    for d in (
        *(bool_, int8, int16, int32, int64),
        *(uint8, uint16, uint32, uint64, float32, float64),
    )
}
_NATIVE = {d: d for d in SUPPORTED.values()}


def as_dtype(dtype: Any) -> np.dtype:
    """Return the NumPy dtype in native byte order.

    Raises
    ------
    DTypeError
        If graphc has no kernels for it (complex, half, object, strings, dates).
    """
    if isinstance(dtype, np.dtype) and dtype in _NATIVE:
        return _NATIVE[dtype]  # the usual case, ten times faster than by name
    try:
        native = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        native = None
    if native is None or native.name not in SUPPORTED:
        name = dtype if native is None else native
        raise DTypeError(
            f"dtype {name} is not supported; use one of {', '.join(SUPPORTED)}."
        )
    return SUPPORTED[native.name]


def is_float(dtype: np.dtype) -> bool:
    """Tell whether `dtype` is a real floating-point type, the differentiable ones."""
    return dtype.kind == "f"


def promote(*operands: Any) -> np.dtype:
    """Return the dtype NumPy gives to a combination of dtypes and Python scalars.

    Python's ``bool``, ``int`` and ``float`` are weak: they raise the kind of an
    array (integer to float64, say), never its width.
    """
    first = operands[0]
    if isinstance(first, np.dtype) and all(o is first for o in operands[1:]):
        return as_dtype(first)
    try:
        return as_dtype(np.result_type(*operands))
    except OverflowError as error:
        raise DTypeError(str(error)) from None


def floating(dtype: np.dtype) -> np.dtype:
    """Return the dtype of ``sin(x)`` for an array of that dtype.

    NumPy's, except that half precision, which graphc does not have, is replaced:
    float32 for 8-bit integers, float64 for booleans.
    """
    if is_float(dtype):
        return dtype
    return float32 if dtype.kind in "iu" and dtype.itemsize <= 2 else float64


def can_cast_exactly(value: Any, dtype: np.dtype) -> bool:
    """Tell whether a Python scalar keeps its meaning as that dtype."""
    if dtype.kind in "iu" and isinstance(value, int):
        info = np.iinfo(dtype)
        return info.min <= value <= info.max
    return True
