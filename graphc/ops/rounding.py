"""Absolute value, sign, and rounding.

Derivatives at kinks and steps: `abs` has derivative 0 at 0, the step functions
(`sign`, `floor`, `round`, ...) have derivative 0 everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ops.declare import Elementwise
from graphc.ops.leaf import scalar_like
from graphc.ops.signatures import any_dtype, floating, numeric
from graphc.types import dtypes


def _signum(k: Any, x: Any) -> Any:
    zero, one = k.zero(x), k.one(x)
    if k.dtype(x).kind == "u":
        return k("min", x, one)
    step = k("select", k("lt", x, zero), k.like(x, -1), x)  # 0 and NaN stay
    return k("add", k("select", k("gt", x, zero), one, step), zero)  # -0.0 -> 0.0


absolute = Elementwise(
    "abs",
    1,
    numpy=np.abs,
    scalar="abs",
    signature=any_dtype,
    partials=(lambda x, out: sign(x),),
    sympy="Abs",
    sign=lambda args, signs: signs[0] or "nonnegative",
)
sign: Elementwise = Elementwise(
    "sign",
    1,
    numpy=np.sign,
    scalar=_signum,
    signature=numeric,
    partials=(lambda x, out: 0,),
    sympy="sign",
    sign=lambda args, signs: signs[0],
    cost=2,
)


copysign: Elementwise = Elementwise(
    "copysign",
    2,
    numpy=np.copysign,
    scalar="copysign",
    signature=floating,
    partials=(lambda x, y, out: sign(x) * copysign(scalar_like(1, x), y), None),
    sympy=lambda sp, x, y: sp.Abs(x) * sp.sign(y),
    sign=lambda args, signs: (
        signs[0] or "nonnegative" if signs[1] == "positive" else ""
    ),
)
"""The magnitude of `x` with the sign of `y`."""


def _rounding(name: str, instruction: str, sympy: Any, sign: Any) -> Elementwise:
    function = getattr(np, name)
    return Elementwise(
        name,
        1,
        numpy=lambda x: function(x) if dtypes.is_float(x.dtype) else x,
        scalar=instruction,
        signature=any_dtype,
        partials=(lambda x, out: 0,),
        sympy=sympy,
        sign=sign,
    )


floor = _rounding("floor", "floor", "floor", lambda a, s: s[0] and "nonnegative")
ceil = _rounding("ceil", "ceil", "ceiling", lambda a, s: s[0])
trunc = _rounding(
    "trunc",
    "trunc",
    lambda sp, x: sp.sign(x) * sp.floor(sp.Abs(x)),
    lambda a, s: s[0] and "nonnegative",
)
round_ = _rounding(
    "round",
    "rint",
    lambda sp, x: (
        sp.floor(x + sp.Rational(1, 2))
        - sp.Piecewise((1, sp.Equality(sp.Mod(x, 2), sp.Rational(1, 2))), (0, True))
    ),
    lambda a, s: s[0] and "nonnegative",
)
"""To the nearest integer; halves to the even one."""
