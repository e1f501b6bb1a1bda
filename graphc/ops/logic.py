"""Elementwise logic, bits, and the classes of floating-point numbers."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from graphc.ops.declare import Elementwise
from graphc.ops.signatures import bits, counted_bits, logical
from graphc.types import dtypes


def _logical(name: str, arity: int, instruction: str, sympy: str) -> Elementwise:
    return Elementwise(
        name,
        arity,
        numpy=getattr(np, name),
        scalar=instruction,
        signature=logical,
        partials=None,
        sympy=sympy,
    )


logical_and = _logical("logical_and", 2, "and", "And")
logical_or = _logical("logical_or", 2, "or", "Or")
logical_xor = _logical("logical_xor", 2, "xor", "Xor")
logical_not = _logical("logical_not", 1, "not", "Not")


def _bitwise(
    name: str, notation: str, instruction: str, sympy: Any = None
) -> Elementwise:
    shift = name.endswith("shift")
    return Elementwise(
        name,
        notation.count("{}"),
        notation=notation,
        numpy=getattr(np, name),
        scalar=instruction,
        signature=counted_bits if shift else bits,
        partials=None,
        sympy=sympy,
    )


def _of_bits(name: str, sp: Any, logic: str, *symbols: Any) -> Any:
    """Return sympy's logic of conditions; of integers, a function of that name."""
    if any(getattr(s, "is_integer", False) for s in symbols):
        return sp.Function(name, integer=True)(*symbols)
    return getattr(sp, logic)(*symbols)


bitwise_and = _bitwise(
    "bitwise_and",
    "{} & {}",
    "and",
    lambda sp, x, y: _of_bits("bitwise_and", sp, "And", x, y),
)
bitwise_or = _bitwise(
    "bitwise_or",
    "{} | {}",
    "or",
    lambda sp, x, y: _of_bits("bitwise_or", sp, "Or", x, y),
)
bitwise_xor = _bitwise(
    "bitwise_xor",
    "{} ^ {}",
    "xor",
    lambda sp, x, y: _of_bits("bitwise_xor", sp, "Xor", x, y),
)
bitwise_invert = _bitwise(
    "bitwise_invert",
    "~{}",
    "not",
    lambda sp, x: _of_bits("bitwise_invert", sp, "Not", x),
)
bitwise_left_shift = _bitwise(
    "bitwise_left_shift", "{} << {}", "shl", lambda sp, x, y: x * 2**y
)
bitwise_right_shift = _bitwise(
    "bitwise_right_shift", "{} >> {}", "shr", lambda sp, x, y: sp.floor(x / 2**y)
)


def _property(op: str, types: Any) -> Any:
    """Take an operand of any dtype; the result is boolean."""
    return tuple(types), dtypes.bool_


@cache
def _condition(sp: Any, name: str) -> type:
    """Return a sympy class for a condition that sympy does not have."""
    base = sp.logic.boolalg.BooleanFunction

    @classmethod  # type: ignore[misc]
    def of_number(cls: Any, x: Any) -> Any:
        if not x.is_Number:
            return None
        return sp.true if getattr(np, name)(float(x)) else sp.false

    return type(name, (base,), {"__module__": __name__, "eval": of_number})


def _classify(name: str) -> Elementwise:
    return Elementwise(
        name,
        1,
        numpy=getattr(np, name),
        scalar=name,
        signature=_property,
        partials=None,
        sympy=lambda sp, x: _condition(sp, name)(x),
    )


isnan = _classify("isnan")
isinf = _classify("isinf")
isfinite = _classify("isfinite")


def _sign_bit(k: Any, x: Any) -> Any:
    if k.dtype(x).kind != "f":
        return k("lt", x, k.zero(x))
    return k("lt", k("copysign", k.one(x), x), k.zero(x))


signbit = Elementwise(
    "signbit",
    1,
    numpy=np.signbit,
    scalar=_sign_bit,
    signature=_property,
    partials=None,
    sympy=lambda sp, x: _condition(sp, "signbit")(x),
)
"""Whether a number is negative; that of -0.0 and of a NaN may be set, too."""
