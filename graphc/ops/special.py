"""Special functions: the error function, and the gamma function's logarithm.

Their NumPy meaning is SciPy's, which is imported at the first evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.declare import Elementwise
from graphc.ops.elementwise import exp, function, positive_sign, same_sign
from graphc.ops.powers import square
from graphc.ops.signatures import floating
from graphc.types.errors import DTypeError


def _scipy(name: str) -> Callable[..., Any]:
    def meaning(*operands: Any) -> Any:
        from scipy import special

        return getattr(special, name)(*operands)

    return meaning


# -------------------------------------------------------------- error function

_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)

erf = function(
    "erf",
    _scipy("erf"),
    lambda x, out: _TWO_OVER_ROOT_PI * exp(-square(x)),
    sign=same_sign,
)
erfc = function(
    "erfc",
    _scipy("erfc"),
    lambda x, out: -_TWO_OVER_ROOT_PI * exp(-square(x)),
    sign=positive_sign,
)


# --------------------------------------------------------------- gamma function

# Bernoulli numbers B2, B4, ... of the asymptotic series of polygamma.
_BERNOULLI = (
    *(1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66),
    *(-691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330),
)


def _poles(x: Node) -> list[tuple[Node, str]]:
    return [(x, "positive")]


gammaln = function(
    "gammaln",
    _scipy("gammaln"),
    lambda x, out: digamma(x),
    poles=_poles,
    sympy="loggamma",
)
"""The logarithm of the absolute value of the gamma function."""
digamma: Elementwise = function(
    "digamma", _scipy("digamma"), lambda x, out: polygamma(1, x), poles=_poles
)
"""The derivative of `gammaln`."""


def _power_of(k: Any, x: Any, n: int) -> Any:
    result = x
    for _ in range(n - 1):
        result = k("mul", result, x)
    return result


def _horner(k: Any, coefficients: Sequence[float], x: Any) -> Any:
    """Return the polynomial whose coefficients are given, the highest last."""
    result = k.like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = k("add", k("mul", result, x), k.like(x, c))
    return result


def _zeta_sum(k: Any, n: int, x: Any) -> Any:
    """Return ``sum((x + j) ** -(n + 1) for j = 0, 1, ...)`` for positive `x`.

    The first terms are added as they stand, the rest by the asymptotic series in
    ``1 / (x + shift)``, whose first term left out is below 1e-17 of the whole
    (Abramowitz and Stegun, 6.4.11).
    """
    shift = 9 + n
    one = k.one(x)
    total = k.zero(x)
    for j in range(shift):
        term = k("add", x, k.like(x, j)) if j else x
        total = k("add", total, k("div", one, _power_of(k, term, n + 1)))
    inverse = k("div", one, k("add", x, k.like(x, shift)))
    series = [
        b * math.factorial(2 * i + n - 1) / (math.factorial(2 * i) * math.factorial(n))
        for i, b in enumerate(_BERNOULLI, 1)
    ]
    squared = k("mul", inverse, inverse)
    tail = k("mul", squared, _horner(k, series, squared))
    tail = k("add", tail, k("mul", inverse, k.like(x, 0.5)))
    tail = k("add", tail, k.like(x, 1 / n))
    return k("add", total, k("mul", tail, _power_of(k, inverse, n)))


def _cotangent_derivative(k: Any, n: int, x: Any) -> Any:
    """Return the derivative of order `n` of ``pi * cot(pi * x)``.

    It is ``pi**(n + 1)`` times a polynomial in the cotangent, as that of the
    cotangent c is ``-(1 + c**2)``.
    """
    polynomial = [0, 1]
    for _ in range(n):
        slope = [i * c for i, c in enumerate(polynomial)][1:]
        polynomial = [
            -(a + b) for a, b in zip([*slope, 0, 0], [0, 0, *slope], strict=True)
        ]
    within = k("sub", x, k("rint", x))
    c = k("div", k.one(x), k("tan", k("mul", within, k.like(x, math.pi))))
    return _horner(k, [math.pi ** (n + 1) * a for a in polynomial], c)


def _polygamma(k: Any, n: int, x: Any) -> Any:
    """Lower polygamma: the series where `x` >= 0, reflection elsewhere."""
    negative = k("lt", x, k.zero(x))
    y = k("select", negative, k("sub", k.one(x), x), x)
    sign = 1 if n % 2 else -1
    direct = k("mul", k.like(x, sign * float(math.factorial(n))), _zeta_sum(k, n, y))
    mirrored = k("mul", k.like(x, -sign), direct)
    mirrored = k("sub", mirrored, _cotangent_derivative(k, n, x))
    return k("select", negative, mirrored, direct)


polygamma_ = Elementwise(
    "polygamma",
    1,
    numpy=_scipy("polygamma"),
    scalar=_polygamma,
    signature=floating,
    partials=(lambda x, out: polygamma(out.params[0] + 1, x),),
    poles=lambda n, x: _poles(x),
    sympy="polygamma",
    sign=lambda n, args, signs: "positive" if n % 2 else "",
    cost=60,
    transcendental=1,
    param_names=("n",),
)

HIGHEST_ORDER = 100


def polygamma(n: int, x: Node) -> Node:
    """Return the derivative of order `n` of `digamma`, `x` being of a float dtype.

    Raises
    ------
    DTypeError
        If `n` is not an integer from 0 to 100.
    """
    if not isinstance(n, (int, np.integer)) or not 0 <= n <= HIGHEST_ORDER:
        raise DTypeError(
            f"polygamma: the order {n!r} is not an integer from 0 to {HIGHEST_ORDER}."
        )
    return polygamma_(x, params=(int(n),)) if n else digamma(x)
