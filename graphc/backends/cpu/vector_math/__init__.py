"""graphc's own vector math: elementary and special functions that LLVM vectorizes.

Every function is written once against `Scalars`, for float32 and float64, without
branches: cases are selected, not jumped to, so a loop around it vectorizes. `define`
puts a function into a module, to be inlined. Products and sums are fused only where
the code says so, and a result is the same in a vector and alone.

All take the full range: NaN, infinities, signed zeros, subnormal arguments and results,
overflow exactly where the result rounds to infinity. sin, cos and tan of huge
arguments are right, by a slow path (`huge_arguments`).

Worst errors that benchmarks/vector_math_error.py finds, in units in the last place:

=============  =======  =======    =============  =======  =======
function       float32  float64    function       float32  float64
=============  =======  =======    =============  =======  =======
exp            1.02 *   0.93       arctan2        1.94     1.55
exp2           0.85 *   0.80       sinh           1.39 *   1.64
expm1          1.52 *   1.42       cosh           1.81 *   1.28
log            0.83 *   0.70       tanh           1.67 *   1.61
log1p          1.39 *   1.26       arcsinh        1.80 *   1.29
log2           0.70 *   0.52       arccosh        1.88 *   1.64
log10          0.64 *   0.51       arctanh        1.56 *   1.09
pow            0.50     0.98       sigmoid        1.48 *   1.23
integer_power  1.90     1.76       softplus       1.69 *   1.45
cbrt           0.50 *   0.50       logaddexp      1.38     1.06
rsqrt          1.49 *   1.40       erf            1.59 *   1.24
hypot          1.18     0.97       erfc           1.78 *   0.92
sin            1.51 *   1.33       gammaln        0.50     1.24
cos            1.52 *   1.29       digamma        0.50     1.68
tan            1.92 *   1.57       polygamma_1    0.50     1.00
arcsin         1.10 *   0.91       polygamma_2    0.50     1.21
arccos         1.10 *   1.00       polygamma_5    0.50     2.37
arctan         1.92 *   1.32
=============  =======  =======    =============  =======  =======

float32: all 2**32 arguments where an asterisk stands, else every 13th, against the
function in float64; of two arguments 2**25 pairs. float64: a structured sample of 8,000 to 12,000
arguments against mpmath (polygamma: 400). integer_power is the worst of several
exponents up to 64, which is that of the fourth power, three products.

Left of 0, float64 gammaln, digamma and polygamma are differences of large terms; there
the unit is the last place of the function at abs(x), or of 1, where that is larger than
the result, and float32 is computed in float64. Likewise for logaddexp, whose unit is no
smaller than the last place of its arguments or of 1/2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphc.backends.cpu.vector_math import exp_log, hyperbolic, special, trigonometric
from graphc.backends.cpu.vector_math.notation import Number
from graphc.types.errors import internal_assert

FUNCTIONS: dict[str, Callable[..., Number]] = {
    **{
        f.__name__: f
        for f in (
            exp_log.exp,
            exp_log.exp2,
            exp_log.expm1,
            exp_log.log,
            exp_log.log1p,
            exp_log.log2,
            exp_log.log10,
            exp_log.pow,
            exp_log.cbrt,
            exp_log.hypot,
            trigonometric.sin,
            trigonometric.cos,
            trigonometric.tan,
            trigonometric.arcsin,
            trigonometric.arccos,
            trigonometric.arctan,
            trigonometric.arctan2,
            hyperbolic.sinh,
            hyperbolic.cosh,
            hyperbolic.tanh,
            hyperbolic.arcsinh,
            hyperbolic.arccosh,
            hyperbolic.arctanh,
            hyperbolic.sigmoid,
            hyperbolic.softplus,
            hyperbolic.logaddexp,
            special.erf,
            special.erfc,
            special.gammaln,
            special.digamma,
        )
    },
}


FAMILIES: dict[str, Callable[..., Number]] = {
    "polygamma": special.polygamma,
    "integer_power": exp_log.integer_power,
}
"""Functions of an integer, too: ``polygamma_2``, ``integer_power_-3``."""


JOINT: dict[str, Callable[..., tuple[Number, ...]]] = {
    "sin cos": trigonometric.sin_cos,
}
"""Functions that share most of their work, by their names. Where code is inlined, LLVM
finds what they share; where functions are called, these are."""


def joint_of(name: str) -> str | None:
    """Return the entry of `JOINT` that a function is in, None if it is in none."""
    return next((names for names in JOINT if name in names.split()), None)


def function(name: str) -> Callable[..., Number]:
    """Return the function of a name, which may be that of a family and an integer."""
    family, _, number = name.rpartition("_")
    if family in FAMILIES:
        return partial(FAMILIES[family], int(number))
    internal_assert(name in FUNCTIONS, f"there is no instruction or function {name}")
    return FUNCTIONS[name]


def struct_type(kind: str, count: int) -> str:
    """Return LLVM's type of so many numbers of a type."""
    return "{ " + ", ".join([kind] * count) + " }"


def define(module: Any, name: str, dtypes: Sequence[np.dtype]) -> str:
    """Define a function in a module, if it is not there yet.

    Parameters
    ----------
    module : LlvmModule
    name : str
        Of a function, or an entry of `JOINT`: it then returns several numbers.
    dtypes : sequence of np.dtype
        Of the operands: all float32, or all float64.

    Returns
    -------
    str
        The name of the LLVM function, which is inlined where there are loops, and in
        a module of its own where there are none.
    """
    from graphc.backends.cpu.scalars import LlvmModule, LlvmScalars, Value, llvm_type

    build = JOINT.get(name) or function(name)
    dtype = dtypes[0]
    internal_assert(
        dtype.kind == "f" and all(d == dtype for d in dtypes),
        f"function {name} on operands of dtypes {[d.name for d in dtypes]}",
    )
    apart = not module.loops
    symbol = f"graphc.{name}.{dtype.name}"
    if apart:
        symbol = re.sub(r"\W", "_", symbol)
    if symbol in module.definitions or symbol in module.externals:
        return f"@{symbol}"
    inner = LlvmModule(loops=False) if apart else module
    k = LlvmScalars(inner, contract=False)
    operands = [Value(f"%x{i}", dtype) for i in range(len(dtypes))]
    result = build(*(Number(k, o) for o in operands))
    kind = one = llvm_type(dtype)
    if isinstance(result, tuple):
        kind = struct_type(one, len(result))
        text = "undef"
        for number, part in enumerate(result):
            value = f"{kind} {text}, {one} {part.value.text}, {number}"
            text = k.pure(f"insertvalue {value}", dtype).text
    else:
        text = result.value.text
    parameters = ", ".join(f"{one} {o.text}" for o in operands)
    code = [*k.lines, f"  ret {kind} {text}", "}"]
    attributes = "nounwind willreturn memory(none) {"
    if apart:
        body = "\n".join([f"({parameters}) {attributes}", *code])
        return module.define_apart(symbol, kind, [one] * len(dtypes), inner, body)
    head = f"define internal {kind} @{symbol}({parameters}) alwaysinline {attributes}"
    module.definitions[symbol] = "\n".join([head, *code])
    return f"@{symbol}"
