"""Arrays as text that fits into pictures."""

from __future__ import annotations

from typing import Any

import numpy as np


def summary(array: np.ndarray) -> str:
    """Return an array in few characters: its numbers if few, else their range."""
    if not array.ndim:
        return number(array[()])
    if not array.size:
        return "[]"
    if array.ndim == 1 and array.size <= 4:
        return f"[{', '.join(number(v) for v in array)}]"
    if array.dtype.kind == "b":
        return f"{int(array.sum())} of {array.size} true"
    known = array[~np.isnan(array)] if array.dtype.kind == "f" else array
    if not known.size:
        return "all nan"
    low, high = number(known.min()), number(known.max())
    missing = f", {array.size - known.size} nan" if known.size < array.size else ""
    return f"all {low}{missing}" if low == high else f"{low} .. {high}{missing}"


def number(value: Any) -> str:
    """Return a number with three significant digits."""
    return f"{value:.3g}" if isinstance(value, np.floating) else str(value)


def full_text(array: np.ndarray) -> str:
    """Return an array as NumPy prints it, large ones shortened."""
    return np.array2string(array, precision=6, threshold=200, max_line_width=60)
