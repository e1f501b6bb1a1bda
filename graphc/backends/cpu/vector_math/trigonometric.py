"""Sine, cosine, tangent and the inverse functions.

Arguments up to 2**17 (float32) or 2**20 (float64) are reduced by multiples of pi/2,
given in three parts (Cody and Waite), with one rounding; larger ones, which are rare,
leave the vector code for `huge_arguments`.
"""

from __future__ import annotations

import math

from graphc.backends.cpu.vector_math import coefficients, huge_arguments
from graphc.backends.cpu.vector_math.notation import (
    PI,
    Number,
    Pair,
    copysign,
    fast_two_sum,
    fma,
    parts,
    polynomial,
    quotient,
    short_polynomial,
    sqrt,
    total,
    where,
)


def reach(x: Number) -> float:
    """Return the largest argument that `reduce` is accurate for."""
    return 2.0**17 if x.format.name == "float32" else 2.0**20


def reduce(x: Number) -> tuple[Number, Number, Number]:
    """Return q, r, l: ``x = n*pi/2 + r + l`` with n in the low bits of q."""
    rounder = x.format.rounder
    t = fma(x, float(2 / PI), rounder)
    n = t - rounder
    # All positive, so that r and l are -0.0 for x = -0.0.
    first, second, third = parts(PI / 2, x.format, 3, rounding=math.floor)
    # Exact: both terms are multiples of the last place of `first`.
    r = fma(n, -first, x)
    return t.bits(), fma(n, -second, r), n * -third


def sin_parts(r: Number, low: Number) -> Pair:
    """Return sin(r + low) for ``|r| <= pi/4``, as two numbers of decreasing size.

    Both are -0.0 for r = -0.0, so that their difference is.
    """
    z = r * r
    return r, fma(r * z, short_polynomial(coefficients.SIN, z), -low)


def sin_reduced(r: Number, low: Number) -> Number:
    """Return sin(r + low) for ``|r| <= pi/4``."""
    high, less = sin_parts(r, low)
    return high - less


def cos_parts(r: Number, low: Number) -> Pair:
    """Return cos(r + low) for ``|r| <= pi/4``, as a sum."""
    z = r * r
    half = z * 0.5
    high = 1.0 - half
    rest = fma(-r, low, (1.0 - high) - half)
    return high, fma(z * z, short_polynomial(coefficients.COS, z), rest)


def cos_reduced(r: Number, low: Number) -> Number:
    """Return cos(r + low) for ``|r| <= pi/4``."""
    high, rest = cos_parts(r, low)
    return high + rest


def quadrant(q: Number, r: Number, low: Number, shift: int) -> Number:
    """Return sin(r + low + (q + shift)*pi/2)."""
    q = q + shift
    y = where((q & 1).differs(0), cos_reduced(r, low), sin_reduced(r, low))
    width = 8 * y.dtype.itemsize
    return (y.bits() ^ ((q & 2) << (width - 2))).as_float()


def sin_of_parts(q: Number, r: Number, low: Number) -> Number:
    """Return sin(q*pi/2 + r + low)."""
    return quadrant(q, r, low, 0)


def cos_of_parts(q: Number, r: Number, low: Number) -> Number:
    """Return cos(q*pi/2 + r + low)."""
    return quadrant(q, r, low, 1)


def tan_of_parts(q: Number, r: Number, low: Number) -> Number:
    """Return tan(q*pi/2 + r + low)."""
    return total(quotient(*tan_fraction(q, r, low)))


def tan_fraction(q: Number, r: Number, low: Number) -> tuple[Pair, Pair]:
    """Return numerator and denominator of tan(q*pi/2 + r + low)."""
    high, less = sin_parts(r, low)
    sine, sine_low = fast_two_sum(high, -less)
    cosine, cosine_low = fast_two_sum(*cos_parts(r, low))
    odd = (q & 1).differs(0)
    top = where(odd, -cosine, sine), where(odd, -cosine_low, sine_low)
    return top, (where(odd, sine, cosine), where(odd, sine_low, cosine_low))


def sin(x: Number) -> Number:
    """Return the sine."""
    return _sin(x, reduce(x))


def cos(x: Number) -> Number:
    """Return the cosine."""
    return _cos(x, reduce(x))


def sin_cos(x: Number) -> tuple[Number, Number]:
    """Return sine and cosine, their argument reduced once."""
    reduced = reduce(x)
    return _sin(x, reduced), _cos(x, reduced)


def _sin(x: Number, reduced: tuple[Number, Number, Number]) -> Number:
    y = sin_of_parts(*reduced)
    return huge_arguments.corrected("sin", x, y, reach(x), sin_of_parts)


def _cos(x: Number, reduced: tuple[Number, Number, Number]) -> Number:
    y = cos_of_parts(*reduced)
    return huge_arguments.corrected("cos", x, y, reach(x), cos_of_parts)


def tan(x: Number) -> Number:
    """Return the tangent."""
    y = where(x.equals(0.0), x, tan_of_parts(*reduce(x)))
    return huge_arguments.corrected("tan", x, y, reach(x), tan_of_parts)


# ------------------------------------------------------------------- inverses


def arcsin_parts(size: Number) -> tuple[Number, Number, Number]:
    """Return big, s, p for a size x up to 1.

    arcsin(x) is ``s + p``, but where `big` (x > 1/2) ``pi/2 - 2*(s + p)``.
    """
    big = size > 0.5
    z = where(big, fma(size, -0.5, 0.5), size * size)
    s = where(big, sqrt(z), size)
    return big, s, s * z * polynomial(coefficients.ARCSIN, z)


def arcsin(x: Number) -> Number:
    """Return the angle from -pi/2 to pi/2 whose sine is x."""
    big, s, p = arcsin_parts(abs(x))
    right, right_low = parts(PI / 2, x.format, 2)
    high, low = fast_two_sum(x.constant(right), s * -2.0)
    y = where(big, high + (low + fma(p, -2.0, right_low)), s + p)
    return copysign(y, x)


def arccos(x: Number) -> Number:
    """Return the angle from 0 to pi whose cosine is x."""
    big, s, p = arcsin_parts(abs(x))
    near_one = s + p
    near_one = near_one + near_one
    right, right_low = parts(PI / 2, x.format, 2)
    negative = x < 0.0
    s_signed = where(negative, s, -s)
    p_signed = where(negative, p, -p)
    high, low = fast_two_sum(x.constant(right), s_signed)
    middle = high + (low + (p_signed + right_low))
    straight, straight_low = parts(PI, x.format, 2)
    high, low = fast_two_sum(x.constant(straight), s * -2.0)
    opposite = high + (low + fma(p, -2.0, straight_low))
    return where(big, where(negative, opposite, near_one), middle)


def _arctan_of_ratio(y: Number, x: Number) -> Number:
    """Return arctan(y/x) for y, x >= 0, not both 0, neither sum overflowing."""
    low = y <= x * (math.sqrt(2.0) - 1.0)
    high = y > x * (math.sqrt(2.0) + 1.0)
    top = where(low, y, where(high, -x, y - x))
    bottom = where(low, x, where(high, y, y + x))
    t = top / bottom
    z = t * t
    p = t * z * polynomial(coefficients.ARCTAN, z)
    form = x.format
    zero = x.constant(0.0)
    half, half_low = parts(PI / 4, form, 2)
    right, right_low = parts(PI / 2, form, 2)
    offset = where(low, zero, where(high, x.constant(right), half))
    offset_low = where(low, zero, where(high, x.constant(right_low), half_low))
    return offset + (t + (p + offset_low))


def arctan(x: Number) -> Number:
    """Return the angle from -pi/2 to pi/2 whose tangent is x."""
    size = abs(x)
    return copysign(_arctan_of_ratio(size, x.constant(1.0)), x)


def arctan2(y: Number, x: Number) -> Number:
    """Return the angle of the point (x, y), from -pi to pi."""
    a, b = abs(y), abs(x)
    largest = where(a > b, a, b)
    smallest = where(a > b, b, a)
    # Scaled, so that neither sums overflow nor both numbers are subnormal.
    bits, bias = x.format.fraction_bits, x.format.bias
    up = where(largest < 2.0 ** (2 * bits - bias), x.constant(2.0 ** (2 * bits)), 1.0)
    factor = where(largest > 2.0 ** (bias - 2), 2.0**-4, up)
    both_infinite = smallest.equals(math.inf)
    both_zero = largest.equals(0.0)
    a = where(both_infinite, 1.0, a * factor)
    b = where(both_infinite | both_zero, 1.0, b * factor)
    angle = _arctan_of_ratio(a, b)
    straight, straight_low = parts(PI, x.format, 2)
    angle = where(x.sign_bit(), (straight_low - angle) + straight, angle)
    return copysign(where(y.is_nan() | x.is_nan(), math.nan, angle), y)
