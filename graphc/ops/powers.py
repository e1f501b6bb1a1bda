"""Powers and roots.

`power` with a constant exponent becomes the op that fits it: `square`, `sqrt`,
`reciprocal`, `integer_power`. These are faster and have simpler derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.arithmetic import absolute_zero_multiply, equal, where
from graphc.ops.declare import Elementwise, weakest
from graphc.ops.leaf import scalar_like, uniform_value
from graphc.ops.signatures import counted, floating, quotient
from graphc.types.dtypes import is_float
from graphc.types.errors import DTypeError

# ----------------------------------------------------------------------- roots


def _even_sign(args: Sequence[Node], signs: Sequence[str]) -> str:
    return signs[0] or "nonnegative"


def _same_sign(args: Sequence[Node], signs: Sequence[str]) -> str:
    return signs[0]


def _reciprocal_sign(args: Sequence[Node], signs: Sequence[str]) -> str:
    return "positive" if signs[0] == "positive" else ""  # 1 / -0.0 is -inf


square = Elementwise(
    "square",
    1,
    notation="{}**2",
    numpy=np.square,
    scalar=lambda k, x: k("mul", x, x),
    signature=counted,
    partials=(lambda x, out: 2 * x,),
    sympy=lambda sp, x: x**2,
    sign=_even_sign,
)
reciprocal = Elementwise(
    "reciprocal",
    1,
    notation="1 / {}",
    numpy=np.reciprocal,
    scalar=lambda k, x: k("div", k.one(x), x),
    signature=quotient,
    partials=(lambda x, out: -square(out),),
    poles=lambda x: [(x, "nonzero")],
    sympy=lambda sp, x: 1 / x,
    sign=_reciprocal_sign,
)
"""``1 / x``; that of integers is a float, where NumPy's is an integer."""
sqrt = Elementwise(
    "sqrt",
    1,
    numpy=np.sqrt,
    scalar="sqrt",
    signature=floating,
    partials=(lambda x, out: 0.5 / out,),
    poles=lambda x: [(x, "positive")],
    sympy="sqrt",
    sign=_even_sign,
)
rsqrt = Elementwise(
    "rsqrt",
    1,
    numpy=lambda x: 1 / np.sqrt(x),
    scalar=lambda k, x: k("div", k.one(x), k("sqrt", x)),
    signature=floating,
    partials=(lambda x, out: -0.5 * out / x,),
    poles=lambda x: [(x, "positive")],
    sympy=lambda sp, x: 1 / sp.sqrt(x),
    sign=_reciprocal_sign,
    analytic=True,
    cost=2,
)
"""``1 / sqrt(x)``."""
cbrt = Elementwise(
    "cbrt",
    1,
    numpy=np.cbrt,
    scalar="cbrt",
    signature=floating,
    partials=(lambda x, out: 1 / (3 * square(out)),),
    poles=lambda x: [(x, "nonzero")],
    sympy=lambda sp, x: sp.sign(x) * sp.Abs(x) ** sp.Rational(1, 3),
    sign=_same_sign,
    transcendental=1,
)
"""The real cube root, also of negative numbers."""


# -------------------------------------------------------------- integer powers

_LONGEST_CHAIN = 64
"""Up to this exponent floats are multiplied; beyond, `pow` is faster."""
_LARGEST_EXPONENT = 2**16
"""Float exponents beyond this are not worth an op of their own."""


def _multiplied(k: Any, n: int, x: Any) -> Any:
    """Lower ``x**n`` to a chain of squarings and products (binary powering).

    Rounding errors of three products of floats are within 2 units in the last place.
    """
    if k.dtype(x).kind == "f":
        if abs(n) > _LONGEST_CHAIN:
            return k("pow", x, k.like(x, n))
        if not 0 <= n <= 4:
            return k(f"integer_power_{n}", x)
    factors, factor, rest = [], x, abs(n)
    while rest:
        if rest & 1:
            factors.append(factor)
        rest >>= 1
        if rest:
            factor = k("mul", factor, factor)
    if not factors:
        return k.one(x)
    result = factors[0]
    for factor in factors[1:]:
        result = k("mul", result, factor)
    return result


def _integer_power_sign(n: int, args: Sequence[Node], signs: Sequence[str]) -> str:
    if n % 2 == 0:
        return signs[0] or "nonnegative"
    return _reciprocal_sign(args, signs) if n < 0 else signs[0]


def _by_raised(x: Node, out: Node) -> Any:
    (n,) = out.params
    return n * integer_power(x, n - 1) if n else 0


integer_power_ = Elementwise(
    "integer_power",
    1,
    notation="{}**{n}",
    numpy=lambda n, x: np.power(x, x.dtype.type(n)),
    analytic=True,
    scalar=_multiplied,
    signature=counted,
    partials=(_by_raised,),
    poles=lambda n, x: [(x, "nonzero")] if n < 0 else [],
    sympy=lambda sp, n, x: x**n,
    sign=_integer_power_sign,
    cost=4,
    param_names=("n",),
)


def integer_power(x: Node, n: int) -> Node:
    """Return ``x**n`` for an integer `n`, by the op that fits.

    Raises
    ------
    DTypeError
        If `n` is negative and `x` an integer.
    """
    if n < 0 and not is_float(x.dtype):
        raise DTypeError(
            f"power: integers have no negative powers, but the exponent is {n}. "
            "Convert the base to a float with astype."
        )
    match n:
        case 1:
            return x
        case 2:
            return square(x)
        case -1:
            return reciprocal(x)
    return integer_power_(x, params=(n,))


# --------------------------------------------------------------- general power


def _power(x: np.ndarray, y: np.ndarray) -> Any:
    if is_float(x.dtype):
        return np.power(x, y)
    if x.dtype.kind == "u":
        return np.power(x, y)
    # NumPy refuses negative exponents: here x**-n is 1 // x**n rounded to zero.
    result = np.power(x, np.maximum(y, 0))
    inverse = np.where(x == 1, 1, np.where(x == -1, 1 - 2 * (y & 1), 0))
    return np.where(y < 0, inverse, result).astype(x.dtype)


def _power_scalar(k: Any, x: Any, y: Any) -> Any:
    if k.dtype(x).kind == "f":
        return k("pow", x, y)
    zero, one = k.zero(x), k.one(x)
    result, factor, rest = one, x, y
    for _ in range(8 * k.dtype(x).itemsize - 1):
        odd = k("ne", k("and", rest, one), zero)
        result = k("select", odd, k("mul", result, factor), result)
        factor, rest = k("mul", factor, factor), k("shr", rest, one)
    if k.dtype(x).kind == "u":
        odd = k("ne", k("and", rest, one), zero)
        return k("select", odd, k("mul", result, factor), result)
    # x**-n is 0, but for -1 and 1: their powers are bounded, so `result` serves.
    unit = k("eq", k("mul", x, x), one)
    return k("select", k("and", k("lt", y, zero), k("not", unit)), zero, result)


def _by_base(x: Node, y: Node, out: Node) -> Node:
    # The absolute zero: x**0 is constant, also at 0, where x**-1 is infinite.
    return absolute_zero_multiply(y, power(x, y - 1))


def _by_exponent(x: Node, y: Node, out: Node) -> Node:
    from graphc.ops.elementwise import log

    one = scalar_like(1, x)
    return absolute_zero_multiply(out, log(where(equal(x, scalar_like(0, x)), one, x)))


class Power(Elementwise):
    """``x**y``; the node of a constant exponent is that of the op that fits."""

    def __call__(self, *args: Node, params: tuple = ()) -> Node:
        x, y = args
        exponent = uniform_value(y)
        if exponent is not None and is_float(x.dtype):
            simple = _constant_power(x, float(exponent))
        elif exponent is not None:
            simple = integer_power(x, int(exponent))
        else:
            simple = None
        if simple is not None and simple.shape == self.infer(args, params).shape:
            return simple
        return super().__call__(*args, params=params)


def _constant_power(x: Node, y: float) -> Node | None:
    if y == 0.5:
        return sqrt(x)
    if y == -0.5:
        return rsqrt(x)
    if y.is_integer() and abs(y) <= _LARGEST_EXPONENT:
        return integer_power(x, int(y))
    return None


power = Power(
    "power",
    2,
    notation="{}**{}",
    numpy=_power,
    scalar=_power_scalar,
    signature=counted,
    partials=(_by_base, _by_exponent),
    poles=lambda x, y: [(x, "positive")],
    sympy=lambda sp, x, y: x**y,
    sign=lambda args, signs: (
        "positive" if signs[0] == "positive" else weakest(signs) and "nonnegative"
    ),
    transcendental=1,
)
"""``x**y``.

A negative base has a power only if the exponent is an integer; else it is NaN. An
integer with a negative exponent gives 0, 1 or -1, the quotient rounded to zero; a
constant one is refused, as by NumPy. The derivative by the exponent is 0 at base 0,
where that exists for positive exponents.
"""
