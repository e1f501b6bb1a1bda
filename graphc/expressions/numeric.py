"""Elementwise functions that are no ops of their own, and conversion of dtypes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.expressions.elementwise import FUNCTIONS as elementwise
from graphc.expressions.operands import (
    WEAK,
    as_expression,
    joint_dtype,
    static_integer,
)
from graphc.graph.node import Node
from graphc.ops.arithmetic import cast
from graphc.types import dtypes
from graphc.types.errors import DTypeError
from graphc.types.sizes import Size

__all__ = [
    "astype",
    "can_cast",
    "clip",
    "conj",
    "conjugate",
    "copy",
    "deg2rad",
    "degrees",
    "divmod",
    "fabs",
    "finfo",
    "fmax",
    "fmin",
    "iinfo",
    "isclose",
    "isdtype",
    "nan_to_num",
    "positive",
    "rad2deg",
    "radians",
    "real",
    "result_type",
    "rint",
    "round",
]

finfo, iinfo = np.finfo, np.iinfo


def astype(x: Any, dtype: Any, /, *, copy: bool = True) -> Node:
    """Return `x` converted to a dtype.

    Parameters
    ----------
    x : expression or array
    dtype : dtype
        Fractions are cut off on the way to integers. The derivative passes between
        floating-point dtypes.
    copy : bool
        Accepted as in NumPy; expressions are never changed.

    Raises
    ------
    DTypeError
        If the dtype is not supported.
    """
    return cast(as_expression(x, what="astype"), dtype)


def copy(x: Any, /) -> Node:
    """Return `x`, which never changes."""
    return as_expression(x, what="copy")


def positive(x: Any, /) -> Node:
    """Return ``+x``.

    Raises
    ------
    DTypeError
        For booleans.
    """
    x = as_expression(x, what="positive")
    if x.dtype.kind == "b":
        raise DTypeError("positive: booleans have no sign; convert with astype.")
    return x


def conj(x: Any, /) -> Node:
    """Return the complex conjugate: `x` itself, as all dtypes are real."""
    return as_expression(x, what="conj")


conjugate = conj


def real(x: Any, /) -> Node:
    """Return the real part: `x` itself, as all dtypes are real."""
    return as_expression(x, what="real")


def clip(x: Any, /, min: Any = None, max: Any = None) -> Node:
    """Return `x` limited to the interval from `min` to `max`.

    Parameters
    ----------
    x : expression or array
    min, max : expression, array or number, optional
        Left out, there is no limit on that side.

    Returns
    -------
    expression
        The derivative by `x` is 1 in the closed interval and 0 outside.
    """
    x = as_expression(x, what="clip")
    if min is None and max is None:
        return x
    where = elementwise["where"]
    if max is None:
        return where(x < min, min, x)
    if min is None:
        return where(x > max, max, x)
    return elementwise["clip"](x, min, max)


def round(x: Any, /, decimals: int | None = 0) -> Node:
    """Return `x` rounded to the nearest number of so many decimals.

    Parameters
    ----------
    x : expression or array
    decimals : int
        Negative ones round to tens, hundreds and so on. Halves go to the even
        neighbour.

    Returns
    -------
    expression
        Its derivative is zero.
    """
    places = 0 if decimals is None else static_integer(decimals, "round: decimals")
    x = as_expression(x, what="round")
    nearest = elementwise["round"]
    if places == 0 or (places > 0 and not dtypes.is_float(x.dtype)):
        return nearest(x)
    factor = 10 ** abs(places)
    if places > 0:
        return nearest(x * factor) / factor
    return cast(nearest(x / factor) * factor, x.dtype)


def rint(x: Any, /) -> Node:
    """Return `x` rounded to the nearest integer, halves to the even one."""
    return round(x)


def divmod(x: Any, y: Any, /) -> tuple[Node, Node]:
    """Return ``(x // y, x % y)``."""
    return elementwise["floor_divide"](x, y), elementwise["remainder"](x, y)


def fabs(x: Any, /) -> Node:
    """Return the absolute value as a floating-point number."""
    x = as_expression(x, what="fabs")
    return elementwise["abs"](cast(x, dtypes.floating(x.dtype)))


def fmax(x: Any, y: Any, /) -> Node:
    """Return the larger of two numbers, the other if one is NaN."""
    return _ignoring_nan(x, y, "maximum")


def fmin(x: Any, y: Any, /) -> Node:
    """Return the smaller of two numbers, the other if one is NaN."""
    return _ignoring_nan(x, y, "minimum")


def _ignoring_nan(x: Any, y: Any, choice: str) -> Node:
    where, isnan = elementwise["where"], elementwise["isnan"]
    x, y = as_expression(x), as_expression(y)
    return where(isnan(x), y, where(isnan(y), x, elementwise[choice](x, y)))


def deg2rad(x: Any, /) -> Node:
    """Return degrees as radians, ``x * pi / 180``."""
    return as_expression(x, what="deg2rad") * (math.pi / 180)


def rad2deg(x: Any, /) -> Node:
    """Return radians as degrees, ``x * 180 / pi``."""
    return as_expression(x, what="rad2deg") * (180 / math.pi)


radians, degrees = deg2rad, rad2deg


def nan_to_num(
    x: Any, /, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Node:
    """Return `x` with NaN and infinities replaced by numbers.

    Parameters
    ----------
    x : expression or array
    nan, posinf, neginf : number
        What to put instead; for the infinities by default the largest and the
        smallest number of the dtype.
    """
    x = as_expression(x, what="nan_to_num")
    if not dtypes.is_float(x.dtype):
        return x
    where, limits = elementwise["where"], np.finfo(x.dtype)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    x = where(elementwise["isnan"](x), nan, x)
    return where(x == math.inf, high, where(x == -math.inf, low, x))


def isclose(
    x: Any, y: Any, /, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False
) -> Node:
    """Return where ``abs(x - y) <= atol + rtol * abs(y)``, or both are one infinity."""
    x, y = as_expression(x), as_expression(y)
    size = elementwise["abs"]
    isfinite, isnan = elementwise["isfinite"], elementwise["isnan"]
    near = size(x - y) <= atol + rtol * size(y)
    close = elementwise["where"](isfinite(y), near, x == y)
    return close | (isnan(x) & isnan(y)) if equal_nan else close


# ----------------------------------------------------------------------- dtypes


def result_type(*operands: Any) -> np.dtype:
    """Return the dtype that a combination of expressions, arrays, dtypes has."""
    return joint_dtype(
        [
            dtypes.as_dtype(x) if isinstance(x, (np.dtype, type, str)) else _typed(x)
            for x in operands
        ]
    )


def _typed(x: Any) -> Any:
    return x if type(x) in WEAK or isinstance(x, Size) else as_expression(x)


def can_cast(x: Any, dtype: Any, /, casting: str = "safe") -> bool:
    """Return whether every value of an expression's dtype, or a dtype, fits another."""
    source = x.dtype if isinstance(x, Node) else dtypes.as_dtype(x)
    return bool(np.can_cast(source, dtypes.as_dtype(dtype), casting))  # type: ignore[arg-type]


def isdtype(dtype: Any, kind: Any, /) -> bool:
    """Return whether a dtype is of a kind, such as "integral" or "real floating"."""
    return bool(np.isdtype(np.dtype(dtype), kind))
