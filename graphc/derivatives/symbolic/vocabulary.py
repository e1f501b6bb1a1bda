"""What sympy's functions are in graphc's words.

Most of it is not written down here: the `sympy` rule of every elementwise op is read
backwards (`ops_by_class`). The rest are sympy's functions that no op of its own stands
for, each a formula of those that have one. sympy is imported when this is first used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from graphc.expressions.elementwise import FUNCTIONS
from graphc.graph.node import Node
from graphc.ops.declare import REGISTRY, Elementwise
from graphc.ops.leaf import scalar_like


class _Functions:
    """The functions of the expression layer as attributes."""

    def __getattr__(self, name: str) -> Callable[..., Node]:
        return FUNCTIONS[name]


f = _Functions()


@lru_cache(maxsize=1)
def ops_by_class() -> dict[type, Elementwise]:
    """Return the op that a sympy class stands for, from the ops' own rules.

    An op stands for a class if its rule, applied to symbols, gives an object of that
    class on these symbols and nothing else.
    """
    import sympy

    out: dict[type, Elementwise] = {}
    for op in list(REGISTRY.values()):
        if not isinstance(op, Elementwise) or op.sympy is None or op.param_names:
            continue
        symbols = [sympy.Dummy() for _ in range(op.arity)]
        rule = op.sympy
        try:
            made = (
                getattr(sympy, rule)(*symbols)
                if isinstance(rule, str)
                else rule(sympy, *symbols)
            )
        except TypeError:  # a rule for conditions, such as that of where
            continue
        arguments = getattr(made, "args", ())
        if len(arguments) == op.arity and set(arguments) == set(symbols):
            out.setdefault(type(made), op)
    return out


def _gamma(x: Node) -> Node:
    return _gamma_sign(x) * f.exp(f.gammaln(x))


def _beta(x: Node, y: Node) -> Node:
    log_beta = f.gammaln(x) + f.gammaln(y) - f.gammaln(x + y)
    sign = _gamma_sign(x) * _gamma_sign(y) * _gamma_sign(x + y)
    return sign * f.exp(log_beta)


def _gamma_sign(x: Node) -> Node:
    below = f.logical_and(x < 0, f.equal(f.remainder(f.floor(x), 2), 1))
    return f.where(below, scalar_like(-1, x), scalar_like(1, x))


def _binomial(n: Node, k: Node) -> Node:
    return 1 / ((n + 1) * _beta(n - k + 1, k + 1))


def _sinc(x: Node) -> Node:
    zero = f.equal(x, 0)
    safe = f.where(zero, 1, x)
    return f.where(zero, f.cos(x), f.sin(safe) / safe)


def _heaviside(x: Node, at_zero: Any = 0.5) -> Node:
    """Return 0, `at_zero` or 1, and NaN for NaN."""
    return f.where(x > 0, 1.0, f.where(x < 0, 0.0, f.where(f.equal(x, 0), at_zero, x)))


def _kronecker(i: Node, j: Node, *unused: Any) -> Node:
    return f.where(f.equal(i, j), 1.0, 0.0)


def _rising(x: Node, n: Node) -> Node:
    return _gamma(x + n) / _gamma(x)


FORMULAS: dict[str, Callable[..., Any]] = {
    "sec": lambda x: 1 / f.cos(x),
    "csc": lambda x: 1 / f.sin(x),
    "cot": lambda x: 1 / f.tan(x),
    "asec": lambda x: f.arccos(1 / x),
    "acsc": lambda x: f.arcsin(1 / x),
    "acot": lambda x: f.arctan(1 / x),
    "sech": lambda x: 1 / f.cosh(x),
    "csch": lambda x: 1 / f.sinh(x),
    "coth": lambda x: 1 / f.tanh(x),
    "asech": lambda x: f.arccosh(1 / x),
    "acsch": lambda x: f.arcsinh(1 / x),
    "acoth": lambda x: f.arctanh(1 / x),
    "sinc": _sinc,
    "gamma": _gamma,
    "factorial": lambda x: _gamma(x + 1),
    "beta": lambda x, y=None: _beta(x, x if y is None else y),
    "binomial": _binomial,
    "RisingFactorial": _rising,
    "FallingFactorial": lambda x, n: _gamma(x + 1) / _gamma(x - n + 1),
    "trigamma": lambda x: f.polygamma(1, x),
    "erf2": lambda x, y: f.erf(y) - f.erf(x),
    "Heaviside": _heaviside,
    "Mod": f.remainder,
    "frac": lambda x: x - f.floor(x),
    "KroneckerDelta": _kronecker,
    # of real numbers
    "re": lambda x: x,
    "conjugate": lambda x: x,
    "im": lambda x: 0 * x,
    "arg": lambda x: f.where(x < 0, math.pi, 0.0),
    "UnevaluatedExpr": lambda x: x,
    # sympy.codegen
    "log1p": f.log1p,
    "expm1": f.expm1,
    "exp2": f.exp2,
    "log2": f.log2,
    "log10": f.log10,
    "Sqrt": f.sqrt,
    "Cbrt": f.cbrt,
    "hypot": f.hypot,
    "fma": lambda x, y, z: x * y + z,
    "logaddexp": f.logaddexp,
    "logaddexp2": lambda x, y: (
        f.logaddexp(x * math.log(2), y * math.log(2)) / math.log(2)
    ),
    "minimum": f.minimum,
    "maximum": f.maximum,
    "isnan": f.isnan,
    "isinf": f.isinf,
    # logic
    "ITE": f.where,
    "Nand": lambda x, y: f.logical_not(f.logical_and(x, y)),
    "Nor": lambda x, y: f.logical_not(f.logical_or(x, y)),
    "Implies": lambda x, y: f.logical_or(f.logical_not(x), y),
    "Equivalent": lambda x, y: f.logical_not(f.logical_xor(x, y)),
}
"""Formulas of sympy's functions, by class name, for expressions as arguments."""

DISTRIBUTIONS = ("DiracDelta",)
"""Zero almost everywhere; in a derivative, which is taken between the jumps, zero."""


def is_step(op: Elementwise, x: Node, out: Node) -> bool:
    """Tell whether the derivative of an op of one argument is zero everywhere."""
    rule = op.partials[0] if op.partials else None
    slope = None if rule is None else rule(x, out)
    return slope is not None and not isinstance(slope, (Node, tuple)) and slope == 0
