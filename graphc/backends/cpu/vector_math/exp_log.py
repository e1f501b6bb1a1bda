"""Exponentials, logarithms, powers and the cube root.

Sources: reduction after Cody and Waite, "Software Manual for the Elementary
Functions", 1980; logarithm by ``atanh(f / (2 + f))`` and pow with an unrounded
logarithm after Muller, "Elementary Functions", 3rd ed., ch. 6, 11 and 13.
"""

from __future__ import annotations

import math
from fractions import Fraction

from graphc.backends.cpu.vector_math import coefficients
from graphc.backends.cpu.vector_math.notation import (
    LN2,
    LN10,
    Format,
    Number,
    Pair,
    at_least,
    at_most,
    copysign,
    fast_two_sum,
    fma,
    pair,
    parts,
    polynomial,
    short_polynomial,
    sqrt,
    times,
    two_product,
    two_sum,
    where,
)
from graphc.types import dtypes

# ---------------------------------------------------------------- exponentials


def exp_bounds(form: Format) -> tuple[float, float]:
    """Return arguments below and above which exp is 0 and infinite."""
    return (-104.0, 89.0) if form.name == "float32" else (-746.0, 710.0)


def reduce(x: Number) -> tuple[Number, Number, Number]:
    """Return t, n, r: ``x = n*ln(2) + r`` with ``|r| <= ln(2)/2``, n in t's bits."""
    rounder = x.format.rounder
    high, low = parts(LN2, x.format, 2)
    t = fma(x, float(1 / LN2), rounder)
    n = t - rounder
    return t, n, fma(n, -low, fma(n, -high, x))


def power_of_two(t: Number, shift: int = 0) -> Number:
    """Return ``2**(n + shift)`` of `reduce`; the result must be a normal number."""
    form = t.format
    biased = t.bits() + _wrapped(form.bias + shift - form.bits(form.rounder), form)
    return (biased << form.fraction_bits).as_float()


def scale(y: Number, t: Number, added: int = 0) -> Number:
    """Return ``(y + added) * 2**n`` of `reduce`; `added` is 0 or 1.

    It is rounded once more where it is subnormal.
    """
    form = t.format
    biased = t.bits() + _wrapped(2 * form.bias - form.bits(form.rounder), form)
    half = biased >> 1
    first = (half << form.fraction_bits).as_float()
    second = ((biased - half) << form.fraction_bits).as_float()
    if added:
        return fma(y, first, first) * second
    return y * first * second


def _wrapped(value: int, form: Format) -> int:
    return value % 2 ** (8 * form.unsigned.itemsize)


def expm1_reduced(r: Number) -> Number:
    """Return ``exp(r) - 1`` for ``|r| <= ln(2)/2``."""
    return fma(r * r, short_polynomial(coefficients.EXP, r), r)


def exp(x: Number) -> Number:
    """Return e**x."""
    low, high = exp_bounds(x.format)
    t, _, r = reduce(at_least(at_most(x, high), low))
    return scale(expm1_reduced(r), t, 1)


def exp_of_pair(high: Number, low: Number, factor: Pair | None = None) -> Number:
    """Return ``factor * exp(high + low)``, for a small `low`."""
    below, above = exp_bounds(high.format)
    t, _, r = reduce(at_least(at_most(high, above), below))
    less_one = expm1_reduced(r + low)
    if factor is None:
        return scale(less_one, t, 1)
    power, power_low = fast_two_sum(high.constant(1.0), less_one)
    rest = fma(power, factor[1], power_low * factor[0])
    return scale(fma(power, factor[0], rest), t)


def exp_pair(high: Number, low: Number) -> Pair:
    """Return ``exp(high + low)``, for a small `low`, as a sum."""
    below, above = exp_bounds(high.format)
    t, _, r = reduce(at_least(at_most(high, above), below))
    power, power_low = fast_two_sum(high.constant(1.0), expm1_reduced(r + low))
    return scale(power, t), scale(power_low, t)


def exp2(x: Number) -> Number:
    """Return 2**x."""
    form = x.format
    low, high = (-151.0, 129.0) if form.name == "float32" else (-1076.0, 1025.0)
    x = at_least(at_most(x, high), low)
    t = x + form.rounder
    f = x - (t - form.rounder)
    ln2, ln2_low = parts(LN2, form, 2)
    r, error = two_product(f, ln2)
    rest = fma(f, ln2_low, error)
    return scale(fma(r * r, polynomial(coefficients.EXP, r), rest) + r + 1.0, t)


def expm1(x: Number) -> Number:
    """Return e**x - 1, also where x is near 0."""
    low, high = exp_bounds(x.format)
    low = -18.0 if x.format.name == "float32" else -38.0
    t, _, r = reduce(at_least(at_most(x, high), low))
    half = power_of_two(t, -1)
    y = fma(half, expm1_reduced(r), half - 0.5)
    return where(abs(x) < 2.0**-60, x, y + y)


# ------------------------------------------------------------------ logarithms


def split(x: Number) -> tuple[Number, Number]:
    """Return e, m: ``x = 2**e * m``, m from sqrt(1/2) to sqrt(2), for positive x."""
    bits = x.format.fraction_bits
    small = x < x.format.smallest_normal
    e, m = split_normal(where(small, x * 2.0 ** (bits + 2), x))
    return e - where(small, x.constant(bits + 2), 0.0), m


def split_normal(x: Number) -> tuple[Number, Number]:
    """As `split`, but x is not subnormal."""
    form = x.format
    bits, raw = form.fraction_bits, x.bits()
    offset = _wrapped((form.bias << bits) - form.bits(math.sqrt(0.5)), form)
    biased = (raw + offset) >> bits
    m = (raw + (form.bias << bits) - (biased << bits)).as_float()
    e = (biased | form.bits(2.0**bits)).as_float() - (2.0**bits + form.bias)
    return e, m


def log1p_parts(f: Number) -> tuple[Number, Number]:
    """Return h, g: ``log(1 + f) = f - (h - g)`` and ``h = f*f/2``."""
    h = f * f * 0.5
    s = f / (f + 2.0)
    z = s * s
    return h, s * fma(z, polynomial(coefficients.LOG, z), h)


def log_combined(e: Number, f: Number) -> Number:
    """Return ``e*ln(2) + log(1 + f)`` for an integer e and f of `split`."""
    # e * high is exact.
    high, low = parts(LN2, f.format, 2, bits=f.format.fraction_bits - 11)
    h, g = log1p_parts(f)
    return fma(e, high, f - (h - fma(e, low, g)))


def logarithm_of(x: Number, y: Number) -> Number:
    """Return y, where x is positive and finite, else the logarithm of such an x."""
    y = where(x > 0.0, y, where(x.equals(0.0), x.constant(-math.inf), math.nan))
    return where(x < math.inf, y, where(x.equals(math.inf), x, math.nan))


def log(x: Number) -> Number:
    """Return the natural logarithm."""
    e, m = split(x)
    return logarithm_of(x, log_combined(e, m - 1.0))


def log1p(x: Number) -> Number:
    """Return log(1 + x), also where x is near 0."""
    y = logarithm_of(x + 1.0, log1p_inside(x))
    return where(abs(x) < 2.0**-60, x, y)


def log1p_inside(x: Number, error: Number | float = 0.0) -> Number:
    """Return log(1 + x + error) for finite ``x > -1`` and a relatively small error."""
    form = x.format
    total, rest = two_sum(x, 1.0)
    e, m = split(total)
    # What 1 + x lost, brought to the scale of m; beyond the bound nothing counts.
    exponent = form.bits(1.0) - ((e + form.rounder).bits() << form.fraction_bits)
    correction = (rest + error) * exponent.as_float()
    f = (m - 1.0) + where(x < 2.0**60, correction, 0.0)
    return log_combined(e, f)


def _log_in_base(x: Number, base_log: Fraction, e_factor: Fraction) -> Number:
    """Return ``log(x) / base_log``, where ``e_factor = ln(2) / base_log``."""
    e, m = split(x)
    f = m - 1.0
    square, square_error = two_product(f * 0.5, f)
    s = f / (f + 2.0)
    z = s * s
    g = s * fma(z, polynomial(coefficients.LOG, z), square)
    high, low = fast_two_sum(f, -square)
    low = low - square_error + g
    high, low = fast_two_sum(high, low)
    factor, factor_low = pair(x, 1 / base_log)
    product, error = two_product(high, factor)
    rest = fma(high, factor_low, fma(low, factor, error))
    e_high, e_low = parts(e_factor, x.format, 2, bits=x.format.fraction_bits - 11)
    total, error = fast_two_sum(e * e_high, product)
    return logarithm_of(x, total + (fma(e, e_low, rest) + error))


def log2(x: Number) -> Number:
    """Return the logarithm in base 2; exact for powers of 2."""
    return _log_in_base(x, LN2, Fraction(1))


def log10(x: Number) -> Number:
    """Return the logarithm in base 10."""
    return _log_in_base(x, LN10, LN2 / LN10)


# ---------------------------------------------------------------------- powers


def log_pair(x: Number) -> Pair:
    """Return the logarithm of a positive float64 with about 70 bits."""
    e, m = split(x)
    f = m - 1.0
    below, below_low = fast_two_sum(f.constant(2.0), f)
    inverse = 1.0 / below
    s = f * inverse
    s_low = (fma(-s, below, f) - s * below_low) * inverse
    z, z_low = two_product(s, s)
    z_low = fma(s + s, s_low, z_low)
    # atanh(s)/s = 1 + z*(1/3 + z/5 + z**2 * tail)
    tail = z * z * polynomial(coefficients.LOG_TAIL, z)
    fifth, fifth_low = times((z, z_low), pair(x, Fraction(1, 5)))
    fifth, error = fast_two_sum(fifth, tail)
    third, third_low = pair(x, Fraction(1, 3))
    series, series_low = fast_two_sum(third, fifth)
    series_low = series_low + (third_low + (fifth_low + error))
    u = times((z, z_low), (series, series_low))
    v, v_low = times((s, s_low), u)
    high, low = fast_two_sum(s, v)
    low = low + (s_low + v_low)
    ln2, ln2_low = parts(LN2, x.format, 2, bits=x.format.fraction_bits - 11)
    total, error = fast_two_sum(e * ln2, high + high)
    return fast_two_sum(total, error + fma(e, ln2_low, low + low))


def _positive_power(x: Number, y: Number) -> Number:
    """Return x**y for float64 x > 0, x finite."""
    logarithm, logarithm_low = log_pair(x)
    high, low = two_product(y, logarithm)
    low = fma(y, logarithm_low, low)
    return exp_of_pair(high, where(abs(high) < 800.0, low, 0.0))


def _positive_power_of_float32(x: Number, y: Number) -> Number:
    """Return x**y for finite float32 x > 0, by exp and log in float64."""
    e, m = split_normal(x.cast(dtypes.float64))
    exponent = y.cast(dtypes.float64) * log_combined(e, m - 1.0)
    # Far beyond float32, far within float64, so that one scaling is enough.
    t, _, r = reduce(at_least(at_most(exponent, 200.0), -200.0))
    return ((expm1_reduced(r) + 1.0) * power_of_two(t)).cast(dtypes.float32)


def pow(x: Number, y: Number) -> Number:
    """Return x**y with C's special cases, which are NumPy's."""
    size = abs(x)
    narrow = x.dtype == dtypes.float32
    power = (_positive_power_of_float32 if narrow else _positive_power)(size, y)
    at_end = size.equals(0.0) | size.equals(math.inf)
    to_zero = size.equals(0.0) ^ (y < 0.0)
    power = where(at_end, where(to_zero, x.constant(0.0), math.inf), power)
    power = where(size.equals(1.0), 1.0, power)
    whole = y.apply("trunc").equals(y)
    half = y * 0.5
    odd = whole & half.apply("trunc").differs(half)
    power = where(odd & x.sign_bit(), -power, power)
    undefined = (x < 0.0) & (size < math.inf) & ~whole
    power = where(undefined | x.is_nan() | y.is_nan(), math.nan, power)
    return where(y.equals(0.0) | x.equals(1.0), 1.0, power)


def power_pair(n: int, x: Pair, factor: Number | float = 1.0) -> Pair:
    """Return ``factor * x**n`` for an integer n > 0, by squarings and products.

    The factor, a power of 2, comes in before the last product, which may overflow.
    """
    scaled = x[0] * factor, x[1] * factor
    if n == 1:
        return scaled
    result = power_pair(n // 2, x)
    if n % 2:
        return times(times(result, result), scaled)
    return times((result[0] * factor, result[1] * factor), result)


def integer_power(n: int, x: Number) -> Number:
    """Return x**n for an integer n but 0.

    A negative power is one of 1/x, so that nothing overflows before the result does.
    """
    factor = x, x.constant(0.0)
    if n < 0:
        inverse = 1.0 / x
        factor = inverse, fma(-inverse, x, 1.0) * inverse
    # Half of what is large: the first part of a number just finite may not be.
    large = abs(factor[0]) > 1.0
    half = where(large, x.constant(0.5), 1.0)
    high, low = power_pair(abs(n), factor, half)
    usual = (abs(high) < math.inf) & (abs(high) > 0.0) & (abs(x) < math.inf)
    return where(usual, high + low, high) * where(large, x.constant(2.0), 1.0)


def hypot(x: Number, y: Number) -> Number:
    """Return ``sqrt(x**2 + y**2)``; infinite, too, for an infinity and NaN."""
    a, b = abs(x), abs(y)
    largest = where(a > b, a, b)
    # Scaled by powers of 2, so that squares neither overflow nor vanish.
    bias = x.format.bias
    half, above = bias // 2, bias * 3 // 4
    high, low = largest > 2.0 ** (half - 3), largest < 2.0 ** (13 - half)
    up = where(low, x.constant(2.0**above), 1.0)
    factor = where(high, 2.0 ** (-half - 3), up)
    inverse = where(low, x.constant(2.0**-above), 1.0)
    inverse = where(high, 2.0 ** (half + 3), inverse)
    a, b = a * factor, b * factor
    infinite = a.equals(math.inf) | b.equals(math.inf)
    return where(infinite, math.inf, sqrt(fma(a, a, b * b)) * inverse)


def cbrt(x: Number) -> Number:
    """Return the cube root."""
    form = x.format
    size = abs(x)
    e, m = split(size)
    third = (e * (1.0 / 3.0)).apply("rint")
    rest = fma(third, -3.0, e)
    m = m * where(rest > 0.5, x.constant(2.0), where(rest < -0.5, x.constant(0.5), 1.0))
    y = polynomial(coefficients.CBRT, m)
    cube = y * y * y
    y = y - y * (cube - m) / (cube + cube + m)  # Halley's step
    # One Newton step, its residual nearly unrounded, for the last bit.
    square, error = two_product(y, y)
    residual = fma(square, y, -m) + error * y
    y = y - residual / (3.0 * square)
    y = y * power_of_two(third + form.rounder)
    y = where((size > 0.0) & (size < math.inf), y, size)
    return copysign(y, x)
