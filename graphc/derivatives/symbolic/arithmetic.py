"""How sums, products, powers and numbers of sympy are read.

sympy writes a difference as a sum with -1 and a quotient as a product with a power of
-1; here they become differences and quotients again. Long sums and products combine in
pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops.arithmetic import cast
from graphc.ops.elementwise import exp, exp2
from graphc.ops.powers import power
from graphc.types import dtypes
from graphc.types.errors import InputError

if TYPE_CHECKING:
    from graphc.derivatives.symbolic.reader import Reader

Value = Any
"""A node, or a Python number or boolean."""


class Negative(NamedTuple):
    """The negative of a value, for a sum to subtract."""

    value: Value


def read_add(reader: Reader, expr: Any, values: list[Value]) -> Value:
    """Read a sum; terms that are negative are subtracted."""
    number: Any = 0
    plus: list[Value] = []
    minus: list[Value] = []
    for v in values:
        if isinstance(v, Negative):
            minus.append(v.value)
        elif isinstance(v, Node):
            plus.append(v)
        else:
            number = number + v
    if not plus and not minus:
        return number
    if number != 0 or math.isnan(number):
        (plus if number > 0 or not minus or not plus else minus).append(
            number if number > 0 or not minus or not plus else -number
        )
    if not plus:
        return Negative(reader.fold(ar.add, minus))
    total = reader.fold(ar.add, plus)
    if minus:
        total = reader.op(ar.subtract, total, reader.fold(ar.add, minus))
    return total


def read_mul_needs(reader: Reader, expr: Any) -> Sequence[Any]:
    """Return the factors, for one in the denominator its base."""
    return [f.args[0] if _inverted(f) else f for f in expr.args]


def _inverted(factor: Any) -> bool:
    if not getattr(factor, "is_Pow", False):
        return False
    exponent = factor.args[1]
    return exponent.is_Rational and exponent.p < 0


def read_mul(reader: Reader, expr: Any, values: list[Value]) -> Value:
    """Read a product; powers with negative exponents are divided by."""
    number: Any = 1
    negative = False
    above: list[Value] = []
    below: list[Value] = []
    for factor, v in zip(expr.args, values):
        if isinstance(v, Negative) and not _inverted(factor):
            negative, v = not negative, v.value
        v = reader.plain(v)
        if _inverted(factor):
            v = _power(reader, v, -factor.args[1])
            below.append(v)
        elif isinstance(v, Node):
            above.append(v)
        else:
            number = number * v
    numbers = [v for v in below if not isinstance(v, Node)]
    for v in numbers:
        number = number / v if v else number * math.inf
    below = [v for v in below if isinstance(v, Node)]
    if number < 0:
        number, negative = -number, not negative
    if number != 1 or not above:
        above.insert(0, number)
    if not below:
        total = reader.product(above)
    else:
        divisor = reader.fold(ar.multiply, below)
        masks, rest = reader.masks(above)
        total = reader.op(ar.divide, reader.product(rest), divisor)
        total = reader.masked(masks, total)
    return Negative(total) if negative else total


def read_pow(reader: Reader, expr: Any, values: list[Value]) -> Value:
    """Read a power."""
    base, exponent = map(reader.plain, values)
    if type(expr.args[0]).__name__ == "Exp1":
        return reader.op(exp, exponent)
    return _power(reader, base, expr.args[1] if expr.args[1].is_Rational else exponent)


def _power(reader: Reader, base: Value, exponent: Any) -> Value:
    """Return a power; `exponent` is a value, or a sympy number."""
    if getattr(exponent, "is_Rational", False):
        p, q = int(exponent.p), int(exponent.q)
        exponent = p if q == 1 else p / q
    if isinstance(base, Node):
        if not isinstance(exponent, Node) and exponent == 1:
            return base
        negative = not isinstance(exponent, Node) and exponent < 0
        if negative and not dtypes.is_float(base.dtype):
            base = cast(base, dtypes.float64)
        if isinstance(exponent, int) and base.dtype == reader.dtype:
            return power(base, reader.node(exponent))
        return reader.op(power, base, exponent)
    if not isinstance(exponent, Node):
        if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
            return base**exponent if exponent < 64 else float(base) ** exponent
        return reader.folded(power, (base, exponent))
    return reader.op(exp2, exponent) if base == 2 else reader.op(power, base, exponent)


def read_number(reader: Reader, expr: Any, values: list[Value]) -> Value:
    """Read a number."""
    if expr.is_Integer:
        p = int(expr.p)
        return p if p.bit_length() < 64 else _as_float(expr, p)
    if expr.is_Rational:
        return int(expr.p) / int(expr.q)
    return _as_float(expr, expr)


def _as_float(expr: Any, number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.copysign(math.inf, 1 if expr.is_positive else -1)
    except TypeError:
        raise InputError(
            f"from_sympy: {expr} is no real number; graphc has no complex numbers."
        ) from None


def read_complex(reader: Reader, expr: Any, values: list[Value]) -> Value:
    """Refuse a number that is not real."""
    raise InputError(
        f"from_sympy: {expr} is no real number; graphc has no complex numbers. "
        "Separate real and imaginary parts first (as_real_imag)."
    )
