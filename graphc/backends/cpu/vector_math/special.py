"""Error functions, and the logarithm of gamma with its derivatives.

Sources: erfc by a polynomial of ``(x - c) / (x + c)`` after Shepherd and Laframboise,
Math. Comp. 36 (1981) 249; gamma's logarithm by Stirling's series, recurrences and
reflection (NIST Handbook, 5.5, 5.11, 5.15); the polygamma functions by the
Euler-Maclaurin sum of the Hurwitz zeta function (ibid., 25.11).
"""

from __future__ import annotations

import math
from fractions import Fraction

from graphc.backends.cpu.vector_math import coefficients, exp_log, trigonometric
from graphc.backends.cpu.vector_math.exp_log import power_pair
from graphc.backends.cpu.vector_math.notation import (
    LN2,
    PI,
    Number,
    Pair,
    at_most,
    copysign,
    fast_two_sum,
    fma,
    pair,
    parts,
    polynomial,
    polynomial_pair,
    quotient,
    times,
    two_product,
    two_sum,
    where,
)
from graphc.types import dtypes
from graphc.types.errors import internal_assert

TWO_OVER_ROOT_PI = Fraction(
    "1.128379167095512573896158903121545171688101258657997713688171"
)
HALF_LN_2PI = Fraction("0.918938533204672741780329736405617639861397473637783412817151")
LN_PI = Fraction("1.144729885849400174143427351353058711647294812915311571513623")
DIGAMMA_ROOT = Fraction(
    "1.461632144968362341262659542325721328468196204006446295129598"
)
ERFC_MIDDLE = Fraction("1.253008058269729652935063707195346910596")
"""``7 * exp(9) * erfc(3)``, the constant term of the series."""
CENTER = 1.7320507764816284
"""float32(sqrt(3)): the middle of the mapped interval from 1 to 3."""


# ------------------------------------------------------------- error functions


def _erfc_positive(x: Number) -> Number:
    """Return erfc(x) for ``x >= 0``."""
    # All above rounds to 0, and must not overflow here.
    x = at_most(x, 11.0 if x.format.name == "float32" else 28.0)
    near, far, linear = x - 3.0, x + 3.0, fma(x, 2.0, 1.0)
    inverse = 1.0 / (far * linear)
    t = near * linear * inverse
    slope = polynomial(coefficients.ERFC, t)
    middle, middle_low = pair(x, ERFC_MIDDLE)
    series = fma(t, slope, middle)
    series_low = fma(t, slope, middle - series) + middle_low
    # factor is 1 / (1 + 2x); what it lacks goes where low parts cost nothing.
    factor = far * inverse
    lacking = fma(-factor, linear, 1.0) - factor * fma(x, 2.0, 1.0 - linear)
    high, low = two_product(series, factor)
    square, error = two_product(x, x)
    return exp_log.exp_of_pair(
        -square, lacking - error, (high, fma(series_low, factor, low))
    )


def _erf_large(x: Number) -> Number:
    """Return erf(x) for ``x >= 0.72``, where erfc(x) is small enough to be rough."""
    x = at_most(x, 6.0)
    near, far, linear = x - 2.0, x + 2.0, fma(x, 2.0, 1.0)
    inverse = 1.0 / (far * linear)
    series = polynomial(coefficients.ERF_TAIL, near * linear * inverse)
    t, _, r = exp_log.reduce(-(x * x))
    product = series * (far * inverse * exp_log.power_of_two(t))
    return 1.0 - fma(product, exp_log.expm1_reduced(r), product)


def _erf_small(x: Number) -> Number:
    """Return erf(x) for ``|x| <= 0.75``, in float32 up to 0.82."""
    z = x * x
    factor, factor_low = parts(TWO_OVER_ROOT_PI, x.format, 2)
    slope = fma(z, polynomial(coefficients.ERF, z), factor_low)
    return fma(x, factor, x * slope)


def erf(x: Number) -> Number:
    """Return the error function."""
    size = abs(x)
    # the polynomial of float32 reaches further, and 1 - erfc is worst where it begins
    limit = 0.8125 if x.format.name == "float32" else 0.75
    y = where(size > limit, _erf_large(size), _erf_small(size))
    return copysign(y, x)


def erfc(x: Number) -> Number:
    """Return ``1 - erf(x)``, accurate where it is small."""
    size = abs(x)
    y = _erfc_positive(size)
    y = where(x < 0.0, 2.0 - y, y)
    return where(size > 0.5, y, 1.0 - _erf_small(x))


# ----------------------------------------------------------------------- gamma


def _reduce_by_pi(x: Number) -> tuple[Number, Number, Number]:
    """Return q, r, low: ``pi*x = q*pi/2 + r + low`` modulo 2*pi, exactly reduced."""
    x = fma((x * 0.5).apply("rint"), -2.0, x)
    n = (x + x).apply("rint")
    f = fma(n, -0.5, x)
    r, low = times((f, x.constant(0.0)), pair(x, PI))
    return (n + x.format.rounder).bits(), r, low


def _cotangent(x: Number) -> Pair:
    """Return cot(pi*x) for x >= 0."""
    sine, cosine = trigonometric.tan_fraction(*_reduce_by_pi(x))
    high, low = quotient(cosine, sine)
    tiny = x < 2.0**-60
    return where(tiny, float(1 / PI) / x, high), where(tiny, 0.0, low)


def _log_pair_of(x: Number) -> Pair:
    """Return log(x) for positive finite x, with several bits more than the format."""
    e, m = exp_log.split(x)
    f = m - 1.0
    square, square_error = two_product(f * 0.5, f)
    s = f / (f + 2.0)
    z = s * s
    g = s * fma(z, polynomial(coefficients.LOG, z), square)
    ln2, ln2_low = parts(LN2, x.format, 2, bits=x.format.fraction_bits - 11)
    high, low = fast_two_sum(e * ln2, f)
    high, error = two_sum(high, -square)
    return fast_two_sum(high, error + low + (fma(e, ln2_low, g) - square_error))


def _mapped(x: Number) -> Number:
    return (x - CENTER) / (x + CENTER)


def _gammaln_positive(x: Number) -> Pair:
    """Return ln(gamma(x)) for finite x > 0, as a sum."""
    small, large = x < 1.0, x >= 3.0
    logarithm, logarithm_low = _log_pair_of(x)
    # 1 <= y <= 3, by the recurrence from below 1; exact factors for the two roots.
    y = where(small, x + 1.0, at_most(x, 3.0))
    above_one = where(small, x, y - 1.0)
    above_two = where(small, x - 1.0, y - 2.0)
    slope = polynomial_pair(coefficients.GAMMALN, _mapped(y))
    near, low = times(two_product(above_one, above_two), slope)
    near, error = two_sum(near, where(small, -logarithm, 0.0))
    near_low = low + error - where(small, logarithm_low, 0.0)
    # (x - 0.5)*(ln(x) - 1) + ln(2 pi)/2 - 0.5 + series/x
    z = 1.0 / where(large, x, 3.0)
    series = z * polynomial(coefficients.GAMMALN_TAIL, z * z)
    high, low = fast_two_sum(logarithm - 1.0, logarithm_low)
    product, error = two_product(x - 0.5, high)
    rest = fma(x - 0.5, low, error)
    offset, offset_low = pair(x, HALF_LN_2PI - Fraction(1, 2))
    far, error_of_sum = two_sum(product, offset)
    low = series + (error_of_sum + rest + offset_low)
    low = where(far < math.inf, low, 0.0)
    return where(large, far, near), where(large, low, near_low)


def gammaln(x: Number) -> Number:
    """Return the logarithm of the size of gamma; of float32 in float64.

    Left of 0, it is a difference of larger terms.
    """
    if x.dtype == dtypes.float32:
        return gammaln(x.cast(dtypes.float64)).cast(dtypes.float32)
    size = abs(x)
    positive, positive_low = _gammaln_positive(size)
    # gamma(-x) * gamma(x) * x = -pi / sin(pi*x)
    sine = abs(trigonometric.sin_of_parts(*_reduce_by_pi(size)))
    logarithm, logarithm_low = _log_pair_of(size * sine)
    offset, offset_low = pair(x, LN_PI)
    y, error = two_sum(offset, -logarithm)
    y, error_of_sum = two_sum(y, -positive)
    low = error + error_of_sum + (offset_low - logarithm_low - positive_low)
    # Near 0, the product loses its bits, and x and -x have the same result.
    reflected = (x < 0.0) & (size > 2.0**-60)
    y = where(reflected, y, positive) + where(reflected, low, positive_low)
    pole = (x <= 0.0) & x.apply("floor").equals(x)
    y = where(pole | size.equals(math.inf), math.inf, y)
    return where(x.is_nan(), x, y)


def _digamma_positive(x: Number) -> Pair:
    """Return digamma(x) for finite x > 0, as a sum."""
    small, large = x < 1.0, x >= 3.0
    inverse = 1.0 / x
    y = where(small, x + 1.0, at_most(x, 3.0))
    root, root_low = parts(DIGAMMA_ROOT, x.format, 2)
    # For small x the same difference, not rounded before.
    distance = where(small, x - (root - 1.0), y - root), x.constant(-root_low)
    slope = polynomial_pair(coefficients.DIGAMMA, _mapped(y))
    near, low = times(distance, slope)
    near, error = two_sum(where(small, -inverse, 0.0), near)
    low = where(abs(near) < math.inf, low + error, 0.0)
    z = where(large, inverse, 1.0 / 3.0)
    w = z * z
    series = fma(w, polynomial(coefficients.DIGAMMA_TAIL, w), z * 0.5)
    far, far_low = _log_pair_of(where(large, x, 3.0))
    return where(large, far, near), where(large, far_low - series, low)


def digamma(x: Number) -> Number:
    """Return the derivative of gamma's logarithm; NaN at its poles but 0.

    Of float32 in float64, as `gammaln`.
    """
    if x.dtype == dtypes.float32:
        return digamma(x.cast(dtypes.float64)).cast(dtypes.float32)
    negative = x < 0.0
    size = abs(x)
    positive, positive_low = _digamma_positive(where(negative, size + 1.0, x))
    # digamma(1 - x) - digamma(x) = pi * cot(pi*x)
    high, low = times(_cotangent(size), pair(x, PI))
    y, error = two_sum(where(negative, high, 0.0), positive)
    low = where(negative, low, 0.0) + (error + positive_low)
    y = y + where(abs(y) < math.inf, low, 0.0)
    pole = negative & x.apply("floor").equals(x)
    y = where(pole, math.nan, y)
    y = where(x.equals(0.0), copysign(x.constant(math.inf), -x), y)
    return where(x.equals(math.inf) | x.is_nan(), x, y)


# ------------------------------------------------------------------- polygamma


def bernoulli(count: int) -> list[Fraction]:
    """Return the Bernoulli numbers B0 to B(count-1), B1 being -1/2."""
    out: list[Fraction] = []
    for m in range(count):
        total = sum((math.comb(m + 1, j) * out[j] for j in range(m)), Fraction(0))
        out.append(-total / (m + 1) if m else Fraction(1))
    return out


def _derivative_of_positive(n: int, x: Number) -> Number:
    """Return the derivative of order n of digamma for a float64 x > 0.

    It is ``(-1)**(n+1) * n! * sum((x + k)**-(n+1) for k >= 0)``.
    """
    # The series' terms fall by ((n + 1 + 2j) / (2 pi (x + count)))**2 each.
    count, terms = 10 + (n + 1) // 2, 10
    sign = 1 if n % 2 else -1
    factor = float(sign * math.factorial(n))
    one = x.constant(1.0)
    inverse = quotient(one, two_sum(x, float(count)))
    square = inverse[0] * inverse[0]
    numbers = bernoulli(2 * terms + 1)
    weights = []
    for j in range(1, terms + 1):
        rising = Fraction(math.factorial(n + 2 * j - 1), math.factorial(2 * j))
        weights.append(float(sign * numbers[2 * j] * rising))
    tail = x.constant(weights[-1])
    for weight in reversed(weights[:-1]):
        tail = fma(tail, square, weight)
    tail = fma(tail, inverse[0], factor / 2)
    first = x.constant(float(sign * math.factorial(n - 1)))
    sum_ = fma(tail, inverse[0], first)
    sum_pair = sum_, fma(tail, inverse[0], first - sum_) + tail * inverse[1]
    rest, rest_low = times(power_pair(n, inverse), sum_pair)
    small = x.constant(0.0)
    for k in reversed(range(1, count)):
        power, low = power_pair(n + 1, quotient(one, two_sum(x, float(k))))
        small = small + fma(power, factor, low * factor)
    power, low = power_pair(n + 1, quotient(one, (x, x.constant(0.0))))
    largest, error = two_product(power, factor)
    y, error_of_sum = two_sum(largest, rest)
    low = fma(low, factor, error) + (error_of_sum + rest_low)
    y = where(abs(y) < math.inf, y + (small + low), y)
    return copysign(y, float(sign))  # also where it underflows


def _cotangent_derivative(n: int) -> list[int]:
    """Return P, lowest power first: ``(d/dt)**n cot(t) = P(cot(t))``."""
    p = [0, 1]
    for _ in range(n):
        slope = [i * c for i, c in enumerate(p)][1:]
        p = [0] * (len(slope) + 2)
        for i, c in enumerate(slope):
            p[i] -= c
            p[i + 2] -= c
    return p


def polygamma(n: int, x: Number) -> Number:
    """Return the n-th derivative of digamma, 1 <= n <= 100, infinite at its poles.

    Computed in float64 for float32, too: factorials and powers soon overflow there.
    """
    internal_assert(1 <= n <= 100, f"polygamma of order {n}")
    if x.dtype == dtypes.float32:
        return polygamma(n, x.cast(dtypes.float64)).cast(dtypes.float32)
    negative = x < 0.0
    size = abs(x)
    sign = 1 if n % 2 else -1
    positive = _derivative_of_positive(n, where(negative, size + 1.0, x))
    # The n-th derivative of digamma(1 - x) - digamma(x) = pi * cot(pi*x)
    cotangent = _cotangent(size)
    *rest, highest = _cotangent_derivative(n)
    slope = x.constant(float(highest)), x.constant(0.0)
    for c in reversed(rest):
        high, low = times(slope, cotangent)
        high, error = two_sum(high, float(c)) if c else (high, x.constant(0.0))
        slope = high, low + error
    high, low = times(slope, pair(x, PI ** (n + 1)))
    reflected, error = two_sum(high, positive)
    low = where(abs(reflected) < math.inf, low + error, 0.0)
    y = where(negative, (reflected + low) * float(-sign), positive)
    pole = (x <= 0.0) & x.apply("floor").equals(x)
    y = where(pole, sign * math.inf, y)
    return where(x.is_nan(), x, where(x.equals(math.inf), -0.0 if sign < 0 else 0.0, y))
