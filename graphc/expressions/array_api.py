"""The namespace of the array API standard, 2024.12: ``x.__array_namespace__()``.

Functions are those of `graphc`, under the standard's names. Absent, as they are not
(yet) possible on a graph:

- sizes that depend on values: nonzero, unique_all, unique_counts, unique_inverse,
  unique_values;
- values in memory: from_dlpack, and every ``device`` argument;
- sorting: argsort, searchsorted, sort;
- complex numbers: complex64, complex128, imag;
- nextafter;
- of linalg: cross, eigh, eigvalsh, matrix_power, matrix_rank, pinv, qr, svd, svdvals;
  and fft.

``bool(x)``, ``float(x)`` and iteration raise, as an expression has no value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.expressions import functions, joining, linalg
from graphc.expressions.creation import zeros, zeros_like
from graphc.types import dtypes

__array_api_version__ = "2024.12"

STANDARD = (
    # creation
    *("arange", "asarray", "eye", "full", "full_like", "linspace", "meshgrid", "ones"),
    *("ones_like", "tril", "triu", "zeros", "zeros_like"),
    # dtypes
    *("astype", "can_cast", "finfo", "iinfo", "isdtype", "result_type"),
    # elementwise
    *("abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh"),
    *("bitwise_and", "bitwise_left_shift", "bitwise_invert", "bitwise_or"),
    *("bitwise_right_shift", "bitwise_xor", "ceil", "clip", "conj", "copysign", "cos"),
    *("cosh", "divide", "equal", "exp", "expm1", "floor", "floor_divide", "greater"),
    *("greater_equal", "hypot", "isfinite", "isinf", "isnan", "less", "less_equal"),
    *("log", "log1p", "log2", "log10", "logaddexp", "logical_and", "logical_not"),
    *("logical_or", "logical_xor", "maximum", "minimum", "multiply", "negative"),
    *("not_equal", "positive", "pow", "real", "reciprocal", "remainder", "round"),
    *("sign", "signbit", "sin", "sinh", "square", "sqrt", "subtract", "tan", "tanh"),
    "trunc",
    # indexing, linear algebra
    *("take", "take_along_axis", "matmul", "matrix_transpose", "tensordot", "vecdot"),
    # manipulation
    *("broadcast_arrays", "broadcast_to", "concat", "expand_dims", "flip", "moveaxis"),
    *("permute_dims", "repeat", "reshape", "roll", "squeeze", "stack", "tile"),
    "unstack",
    # searching, statistics, utilities
    *("argmax", "argmin", "count_nonzero", "where", "cumulative_prod"),
    *("cumulative_sum", "max", "mean", "min", "prod", "std", "sum", "var", "all"),
    "any",
    # constants and dtypes
    *("e", "inf", "nan", "newaxis", "pi", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "float32", "float64"),
)


class Info:
    """What the standard's ``__array_namespace_info__()`` answers."""

    def capabilities(self) -> dict[str, Any]:
        """Return what is possible: no sizes that depend on values, any rank."""
        return {
            "boolean indexing": False,
            "data-dependent shapes": False,
            "max dimensions": None,
        }

    def default_device(self) -> None:
        """Return None: an expression is on no device until it is compiled."""

    def devices(self) -> list[Any]:
        """Return the devices of expressions: none."""
        return []

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype]:
        """Return the dtypes of new arrays."""
        return {
            "real floating": dtypes.float64,
            "integral": dtypes.int64,
            "indexing": dtypes.int64,
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype]:
        """Return the dtypes by name, those of a kind if one is given."""
        return {
            name: dtype
            for name, dtype in dtypes.SUPPORTED.items()
            if kind is None or np.isdtype(dtype, kind)
        }


def __array_namespace_info__() -> Info:
    """Return what is possible in this namespace."""
    return Info()


def empty(shape: Any, dtype: Any = "float64") -> Any:
    """Return zeros: an expression has no memory to leave as it is."""
    return zeros(shape, dtype)


def empty_like(x: Any, /, dtype: Any = None) -> Any:
    """Return zeros of the shape of `x`."""
    return zeros_like(x, dtype)


NAMES: dict[str, Any] = {
    **{name: getattr(functions, name) for name in STANDARD},
    "bool": dtypes.bool_,
    "diff": joining.differences,
    "linalg": linalg,
}

globals().update(NAMES)

__all__ = [*NAMES, "empty", "empty_like", "__array_namespace_info__"]
