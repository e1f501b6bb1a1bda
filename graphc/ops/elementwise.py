"""Exponentials, logarithms, trigonometric and hyperbolic functions.

Partial derivatives use the result where that saves a function call, and are written
so that they do not overflow where the derivative itself does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.arithmetic import equal, scalar_like, where
from graphc.ops.declare import Elementwise, Select
from graphc.ops.logic import isinf, logical_and
from graphc.ops.powers import rsqrt, square
from graphc.ops.signatures import floating


def positive_sign(args: Sequence[Node], signs: Sequence[str]) -> str:
    """Return the sign of a function that is positive everywhere."""
    return "positive"


def nonnegative_sign(args: Sequence[Node], signs: Sequence[str]) -> str:
    """Return the sign of a function that is nowhere negative."""
    return "nonnegative"


def same_sign(args: Sequence[Node], signs: Sequence[str]) -> str:
    """Return the sign of a function that has that of its argument."""
    return signs[0]


def function(
    name: str,
    numpy: Callable[..., Any],
    *partials: Callable[..., Any] | None,
    scalar: str | Callable[..., Any] | None = None,
    sympy: Any = None,
    **rules: Any,
) -> Elementwise:
    """Declare a function of floats, an argument for each partial.

    Lowering and sympy function are those of its own name unless said.
    """
    return Elementwise(
        name,
        len(partials),
        numpy=numpy,
        scalar=scalar or name,
        signature=floating,
        partials=partials,
        sympy=sympy or name,
        transcendental=rules.pop("transcendental", 1),
        **rules,
    )


# ------------------------------------------------- exponentials and logarithms

LN2 = math.log(2)
LN10 = math.log(10)

exp = function("exp", np.exp, lambda x, out: out, sign=positive_sign)
exp2 = function(
    "exp2",
    np.exp2,
    lambda x, out: LN2 * out,
    sympy=lambda sp, x: 2**x,
    sign=positive_sign,
)
expm1 = function(
    "expm1",
    np.expm1,
    lambda x, out: out + 1,
    sympy=lambda sp, x: sp.exp(x) - 1,
    sign=same_sign,
)
log = function("log", np.log, lambda x, out: 1 / x, poles=lambda x: [(x, "positive")])
log2 = function(
    "log2",
    np.log2,
    lambda x, out: (1 / LN2) / x,
    poles=lambda x: [(x, "positive")],
    sympy=lambda sp, x: sp.log(x) / sp.log(2),
)
log10 = function(
    "log10",
    np.log10,
    lambda x, out: (1 / LN10) / x,
    poles=lambda x: [(x, "positive")],
    sympy=lambda sp, x: sp.log(x) / sp.log(10),
)
log1p = function(
    "log1p",
    np.log1p,
    lambda x, out: 1 / (1 + x),
    poles=lambda x: [(1 + x, "positive")],
    sympy=lambda sp, x: sp.log(1 + x),
    sign=same_sign,
)


def _sigmoid(x: np.ndarray) -> Any:
    small = np.exp(-np.abs(x))  # never overflows
    return np.where(x < 0, small, 1) / (1 + small)


sigmoid = function(
    "sigmoid",
    _sigmoid,
    lambda x, out: out * (1 - out),
    sympy=lambda sp, x: 1 / (1 + sp.exp(-x)),
    sign=positive_sign,
    cost=4,
)
softplus = function(
    "softplus",
    lambda x: np.logaddexp(x, x.dtype.type(0)),
    lambda x, out: sigmoid(x),
    sympy=lambda sp, x: sp.log(1 + sp.exp(x)),
    sign=positive_sign,
    cost=4,
    transcendental=2,
)
"""``log(1 + exp(x))``, without overflow."""


def _share(x: Node, y: Node) -> Node:
    """Return ``exp(x - logaddexp(x, y))``, a half for equal infinities."""
    infinite = logical_and(isinf(x), equal(x, y))
    return sigmoid(where(infinite, scalar_like(0, x), x - y))


logaddexp = function(
    "logaddexp",
    np.logaddexp,
    lambda x, y, out: _share(x, y),
    lambda x, y, out: _share(y, x),
    sympy=lambda sp, x, y: sp.log(sp.exp(x) + sp.exp(y)),
    sign=lambda args, signs: "positive" if any(signs) else "",
    cost=6,
    transcendental=2,
)
"""``log(exp(x) + exp(y))``, without overflow."""


# --------------------------------------------------------------- trigonometric


def _within_one(x: Node) -> list[tuple[Node, str]]:
    return [((1 - x) * (1 + x), "positive")]


sin = function("sin", np.sin, lambda x, out: cos(x))
cos: Elementwise = function("cos", np.cos, lambda x, out: -sin(x))
tan = function("tan", np.tan, lambda x, out: 1 + square(out))
arcsin = function(
    "arcsin",
    np.arcsin,
    lambda x, out: rsqrt((1 - x) * (1 + x)),
    poles=_within_one,
    sympy="asin",
    sign=same_sign,
)
arccos = function(
    "arccos",
    np.arccos,
    lambda x, out: -rsqrt((1 - x) * (1 + x)),
    poles=_within_one,
    sympy="acos",
    sign=nonnegative_sign,
)
arctan = function(
    "arctan",
    np.arctan,
    lambda x, out: 1 / (1 + square(x)),
    sympy="atan",
    sign=same_sign,
)


def _direction(x: Node, out: Node) -> Select:
    return Select(out > 0, x / out, 0)


hypot = function(
    "hypot",
    np.hypot,
    lambda x, y, out: _direction(x, out),
    lambda x, y, out: _direction(y, out),
    sympy=lambda sp, x, y: sp.sqrt(x**2 + y**2),
    sign=lambda args, signs: "positive" if "positive" in signs else "nonnegative",
    cost=9,
    transcendental=0,
)
"""``sqrt(x**2 + y**2)``, without overflow; its derivative at (0, 0) is 0."""
arctan2 = function(
    "arctan2",
    np.arctan2,
    lambda y, x, out: x / hypot(x, y) / hypot(x, y),
    lambda y, x, out: -y / hypot(x, y) / hypot(x, y),
    poles=lambda y, x: [(hypot(x, y), "nonzero")],
    sympy="atan2",
    sign=lambda args, signs: signs[0] if signs[0] == "positive" else "",  # -0.0
)
"""The angle of the point (x, y), the first argument being `y`."""


# ------------------------------------------------------------------ hyperbolic


sinh = function("sinh", np.sinh, lambda x, out: cosh(x), sign=same_sign)
cosh: Elementwise = function(
    "cosh", np.cosh, lambda x, out: sinh(x), sign=positive_sign
)
tanh = function("tanh", np.tanh, lambda x, out: 1 - square(out), sign=same_sign)
arcsinh = function(
    "arcsinh",
    np.arcsinh,
    lambda x, out: 1 / hypot(scalar_like(1, x), x),
    sympy="asinh",
    sign=same_sign,
)
arccosh = function(
    "arccosh",
    np.arccosh,
    lambda x, out: rsqrt(x - 1) * rsqrt(x + 1),
    poles=lambda x: [(x - 1, "positive")],
    sympy="acosh",
    sign=nonnegative_sign,
)
arctanh = function(
    "arctanh",
    np.arctanh,
    lambda x, out: 1 / ((1 - x) * (1 + x)),
    poles=_within_one,
    sympy="atanh",
    sign=same_sign,
)
