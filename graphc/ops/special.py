"""Special functions: the error function, and the gamma function's logarithm.

Their NumPy meaning is SciPy's, which is imported at the first evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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


polygamma_ = Elementwise(
    "polygamma",
    1,
    numpy=_scipy("polygamma"),
    scalar=lambda k, n, x: k(f"polygamma_{n}", x),
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
