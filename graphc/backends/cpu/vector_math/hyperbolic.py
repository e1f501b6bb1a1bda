"""Hyperbolic functions, their inverses, and the two that neural networks know.

After reduction ``x = n*ln(2) + r`` (Muller, "Elementary Functions", 3rd ed., ch. 11),
sinh and cosh follow from sinh(r) and cosh(r) by the addition theorems, which lose
nothing where the usual ``(exp(x) - exp(-x)) / 2`` cancels.
"""

from __future__ import annotations

import math

from graphc.backends.cpu.vector_math import coefficients, exp_log
from graphc.backends.cpu.vector_math.notation import (
    LN2,
    Number,
    at_least,
    at_most,
    copysign,
    fast_two_sum,
    fma,
    polynomial,
    quotient,
    sqrt,
    total,
    two_product,
    two_sum,
    where,
)


def _quarters(size: Number) -> tuple[Number, Number, Number, Number]:
    """Return a, b, sinh(r), cosh(r) - 1 for ``size = n*ln(2) + r >= 0``.

    a and b are a quarter of ``2**n + 2**-n`` and ``2**n - 2**-n``, halves of cosh and
    sinh of ``n*ln(2)``, so that nothing overflows before the result does.
    """
    # Beyond it, both results are infinite.
    high = 89.5 if size.format.name == "float32" else 710.5
    t, _, r = exp_log.reduce(at_most(size, high))
    up, down = exp_log.power_of_two(t, -2), _inverse_quarter(t)
    z = r * r
    sine = fma(r * z, polynomial(coefficients.SINH, z), r)
    cosine = fma(z * z, polynomial(coefficients.COSH, z), z * 0.5)
    return up + down, up - down, sine, cosine


def _inverse_quarter(t: Number) -> Number:
    """Return ``2**(-n - 2)``, or 0 where that is subnormal."""
    form = t.format
    # t = rounder + n, so that 2 * rounder - t has -n in its low bits.
    return exp_log.power_of_two(_at_least_normal(2.0 * form.rounder - t), -2)


def _at_least_normal(t: Number) -> Number:
    """Return t of `exp_log.reduce`, but n no less than the smallest exponent."""
    form = t.format
    lowest = form.rounder - form.bias + 3
    return where(t < lowest, lowest, t)


def sinh(x: Number) -> Number:
    """Return the hyperbolic sine."""
    size = abs(x)
    a, b, sine, cosine = _quarters(size)
    y = fma(a, sine, b * cosine) + b
    return copysign(where(size < 2.0**-60, size, y + y), x)


def cosh(x: Number) -> Number:
    """Return the hyperbolic cosine."""
    a, b, sine, cosine = _quarters(abs(x))
    y = fma(a, cosine, b * sine) + a
    return y + y


def tanh(x: Number) -> Number:
    """Return the hyperbolic tangent, ``y / (y + 2)`` with ``y = exp(2|x|) - 1``."""
    size = abs(x)
    top = 20.0 if x.format.name == "float32" else 40.0
    t, _, r = exp_log.reduce(at_most(size + size, top))
    power = exp_log.power_of_two(t)
    y = fma(power, exp_log.expm1_reduced(r), power - 1.0)
    below = y + 2.0
    return copysign(total(quotient(y, (below, y - (below - 2.0)))), x)


def arcsinh(x: Number) -> Number:
    """Return the inverse hyperbolic sine."""
    size = abs(x)
    big = size > 2.0**60
    square = size * size
    inner = size + square / (sqrt(square + 1.0) + 1.0)
    y = exp_log.log1p_inside(where(big, size, inner))
    y = y + where(big, x.constant(float(LN2)), 0.0)
    return copysign(where((size < 2.0**-60) | ~(size < math.inf), size, y), x)


def arccosh(x: Number) -> Number:
    """Return the inverse hyperbolic cosine; NaN below 1."""
    big = x > 2.0**60
    above = x - 1.0
    square, error = two_product(above, above + 2.0)
    root = sqrt(square)
    inner, low = fast_two_sum(root, above)
    rest = fma(-root, root, square) + error
    error = low + rest * (0.5 / at_least(root, x.format.smallest_normal))
    y = exp_log.log1p_inside(where(big, x, inner), where(big, 0.0, error))
    y = y + where(big, x.constant(float(LN2)), 0.0)
    y = where(x < math.inf, y, x)
    return where(x < 1.0, math.nan, y)


def arctanh(x: Number) -> Number:
    """Return the inverse hyperbolic tangent; infinite at 1, NaN beyond."""
    size = abs(x)
    below = 1.0 - size
    inverse = 2.0 / below
    inner = size * inverse
    # size + size == inner * (below + what 1 - size lost) + error * below
    rest = fma(inner, -below, size + size) - inner * ((1.0 - below) - size)
    y = exp_log.log1p_inside(inner, rest * inverse * 0.5) * 0.5
    y = where(size < 2.0**-60, size, y)
    y = where(size < 1.0, y, where(size.equals(1.0), x.constant(math.inf), math.nan))
    return copysign(y, x)


def sigmoid(x: Number) -> Number:
    """Return ``1 / (1 + exp(-x))``."""
    power = exp_log.exp(-abs(x))
    above = fast_two_sum(x.constant(1.0), power)
    return total(quotient(where(x < 0.0, power, 1.0), above))


def logaddexp(x: Number, y: Number) -> Number:
    """Return ``log(exp(x) + exp(y))`` without overflow.

    Near its zeros it is a difference of larger terms.
    """
    gap, low = two_sum(x, -y)
    low = where(gap > 0.0, -low, low)
    # Equal infinities have no difference.
    gap = where(x.equals(y), 0.0, -abs(gap))
    power, error = exp_log.exp_pair(gap, where(gap > -800.0, low, 0.0))
    return x.apply("max", y) + exp_log.log1p_inside(power, error)


def softplus(x: Number) -> Number:
    """Return ``log(1 + exp(x))`` without overflow."""
    positive = where(x < 0.0, 0.0, x)
    return positive + exp_log.log1p_inside(exp_log.exp(-abs(x)))
