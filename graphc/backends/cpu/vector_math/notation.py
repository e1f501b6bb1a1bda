"""The notation vector math is written in: numbers with operators, and constants.

A `Number` is a value of some `Scalars` (`graphc.ops.declare`), so a function
written with it prints itself for every backend that has these instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from graphc.types import dtypes


class Format(NamedTuple):
    """What of a float format the functions need.

    Attributes
    ----------
    name : str
    fraction_bits : int
        Explicit bits of the significand.
    bias : int
        Of the exponent.
    integer, unsigned : np.dtype
        Integers of the same width.
    """

    name: str
    fraction_bits: int
    bias: int
    integer: np.dtype
    unsigned: np.dtype

    @property
    def rounder(self) -> float:
        """A number whose sum with a moderate x is rint(x) in its low bits."""
        return 1.5 * 2.0**self.fraction_bits

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)

    def bits(self, value: float) -> int:
        """Return the bit pattern of a constant."""
        kind = np.float32 if self.name == "float32" else np.float64
        return int(kind(value).view(np.uint32 if kind is np.float32 else np.uint64))


FLOAT32 = Format("float32", 23, 127, dtypes.int32, dtypes.uint32)
FLOAT64 = Format("float64", 52, 1023, dtypes.int64, dtypes.uint64)


class Number:
    """A scalar with operators; Python numbers take the dtype of the other operand.

    Parameters
    ----------
    k : Scalars
    value : Value
        Of `k`.
    """

    __slots__ = ("k", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, k: Any, value: Any):
        self.k = k
        self.value = value

    @property
    def dtype(self) -> np.dtype:
        return self.k.dtype(self.value)

    @property
    def format(self) -> Format:
        return FLOAT32 if self.dtype == dtypes.float32 else FLOAT64

    def constant(self, value: Any) -> Number:
        """Return a constant of this number's dtype."""
        return Number(self.k, self.k.constant(value, self.dtype))

    def apply(self, name: str, *others: Any) -> Number:
        """Return an instruction applied to this number and others."""
        values = [
            o.value if isinstance(o, Number) else self.k.constant(o, self.dtype)
            for o in others
        ]
        return Number(self.k, self.k(name, self.value, *values))

    def cast(self, dtype: np.dtype) -> Number:
        return Number(self.k, self.k.cast(self.value, dtype))

    def __add__(self, other: Any) -> Number:
        return self.apply("add", other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Number:
        return self.apply("sub", other)

    def __rsub__(self, other: Any) -> Number:
        return self.constant(other) - self

    def __mul__(self, other: Any) -> Number:
        return self.apply("mul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Number:
        return self.apply("div", other)

    def __rtruediv__(self, other: Any) -> Number:
        return self.constant(other) / self

    def __neg__(self) -> Number:
        return self.apply("neg")

    def __abs__(self) -> Number:
        return self.apply("abs")

    def __lt__(self, other: Any) -> Number:
        return self.apply("lt", other)

    def __le__(self, other: Any) -> Number:
        return self.apply("le", other)

    def __gt__(self, other: Any) -> Number:
        return self.apply("gt", other)

    def __ge__(self, other: Any) -> Number:
        return self.apply("ge", other)

    def equals(self, other: Any) -> Number:
        return self.apply("eq", other)

    def differs(self, other: Any) -> Number:
        return self.apply("ne", other)

    def is_nan(self) -> Number:
        return self.apply("ne", self)

    def __and__(self, other: Any) -> Number:
        return self.apply("and", other)

    def __or__(self, other: Any) -> Number:
        return self.apply("or", other)

    def __xor__(self, other: Any) -> Number:
        return self.apply("xor", other)

    def __invert__(self) -> Number:
        return self.apply("not")

    def __lshift__(self, count: int) -> Number:
        return self.apply("shl", count)

    def __rshift__(self, count: int) -> Number:
        return self.apply("shr", count)

    def bits(self) -> Number:
        """Return the bit pattern as an unsigned integer."""
        return self.apply("bits").cast(self.format.unsigned)

    def as_float(self) -> Number:
        """Return the float whose bit pattern this integer is."""
        return self.apply("from_bits")

    def sign_bit(self) -> Number:
        """Tell whether the sign is negative; true of -0.0."""
        return self.apply("bits") < 0


def where(condition: Number, yes: Any, no: Any) -> Number:
    """Return one of two numbers, at least one of them a `Number`."""
    like = yes if isinstance(yes, Number) else no
    yes = yes if isinstance(yes, Number) else like.constant(yes)
    no = no if isinstance(no, Number) else like.constant(no)
    k = like.k
    return Number(k, k("select", condition.value, yes.value, no.value))


def fma(a: Number, b: Any, c: Any) -> Number:
    """Return ``a*b + c``, rounded once."""
    return a.apply("fma", b, c)


def sqrt(x: Number) -> Number:
    """Return the square root."""
    return x.apply("sqrt")


def copysign(x: Number, sign: Any) -> Number:
    """Return x with another number's sign."""
    return x.apply("copysign", sign)


def at_most(x: Number, bound: float) -> Number:
    """Return the smaller of x and a bound; NaN stays."""
    return where(x > bound, bound, x)


def at_least(x: Number, bound: float) -> Number:
    """Return the larger of x and a bound; NaN stays."""
    return where(x < bound, bound, x)


def polynomial(table: Mapping[str, Sequence[float]], x: Number) -> Number:
    """Return a polynomial's value, coefficients lowest first.

    The lowest term is added last, as in Horner's rule, for its accuracy; the others are
    combined in pairs, quadruples and so on (Estrin's scheme), which takes a logarithmic
    number of steps: a value alone does not wait for one multiplication after another.
    """
    lowest, *rest = table[x.format.name]
    return fma(x, _in_pairs(rest, x), lowest) if rest else x.constant(lowest)


def short_polynomial(table: Mapping[str, Sequence[float]], x: Number) -> Number:
    """As `polynomial`, one step shorter: the lowest term takes part in the pairs.

    For a value that is a small part of what it is added to.
    """
    return _in_pairs(table[x.format.name], x)


def _in_pairs(terms: Sequence[Any], x: Number) -> Any:
    power = x
    while len(terms) > 1:
        ends = [*terms[1::2], None]
        terms = [a if b is None else fma(power, b, a) for a, b in zip(terms[::2], ends)]
        if len(terms) > 1:
            power = power * power
    return terms[0]


# ------------------------------------------- pairs: a number as an unrounded sum

Pair = tuple[Number, Number]


def two_sum(a: Number, b: Any) -> Pair:
    """Return ``a + b`` rounded, and its error (Knuth, TAOCP 2, 4.2.2)."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)


def fast_two_sum(a: Number, b: Number) -> Pair:
    """As `two_sum`, for ``|a| >= |b|`` or a = 0 (Dekker 1971)."""
    total = a + b
    return total, b - (total - a)


def two_product(a: Number, b: Any) -> Pair:
    """Return ``a * b`` rounded, and its error."""
    product = a * b
    return product, fma(a, b, -product)


def quotient(a: Pair | Number, b: Pair) -> Pair:
    """Return the quotient of two pairs, or of a number and a pair."""
    high = a if isinstance(a, Number) else a[0]
    inverse = 1.0 / b[0]
    q = high * inverse
    rest = fma(-q, b[0], high)
    if not isinstance(a, Number):
        rest = rest + a[1]
    return q, fma(-q, b[1], rest) * inverse


def total(a: Pair) -> Number:
    """Return a pair as one number."""
    return a[0] + a[1]


def times(a: Pair, b: Pair) -> Pair:
    """Return the product of two pairs, less the product of their errors."""
    high, low = two_product(a[0], b[0])
    return high, low + fma(a[0], b[1], a[1] * b[0])


def polynomial_pair(table: Mapping[str, Sequence[float]], x: Number) -> Pair:
    """As `polynomial`, but its last sum, of decreasing terms, is not rounded."""
    name = x.format.name
    lowest = x.constant(table[name][0])
    slope = polynomial({name: table[name][1:]}, x)
    high = fma(x, slope, lowest)
    return high, fma(x, slope, lowest - high)


def pair(x: Number, value: Fraction) -> Pair:
    """Return a constant as a pair."""
    high, low = parts(value, x.format, 2)
    return x.constant(high), x.constant(low)


# ------------------------------------------------------------------- constants

PI = Fraction("3.141592653589793238462643383279502884197169399375105820974944")
LN2 = Fraction("0.693147180559945309417232121458176568075500134360255254120680")
LN10 = Fraction("2.302585092994045684017991454684364207601101488628772976033327")


def parts(
    value: Fraction,
    form: Format,
    count: int,
    bits: int = 0,
    rounding: Callable[[Fraction], int] = round,
) -> list[float]:
    """Return floats whose sum is a constant, each but the last of few bits.

    Parameters
    ----------
    value : Fraction
    form : Format
    count : int
    bits : int
        Significant bits of the first parts; all by default.
    rounding : callable
        To integers; ``math.floor`` makes all parts of a positive number positive.
    """
    out = []
    for i in range(count):
        width = bits if bits and i < count - 1 else form.fraction_bits + 1
        out.append(rounded(value, width, rounding))
        value -= Fraction(out[-1])
    return out


def rounded(
    value: Fraction, bits: int, rounding: Callable[[Fraction], int] = round
) -> float:
    """Return the nearest number of so many significant bits."""
    if not value:
        return 0.0
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length()
    scale = Fraction(2) ** (bits - exponent)
    while abs(value) * scale >= 2**bits:
        scale /= 2
    return float(Fraction(rounding(value * scale)) / scale)
