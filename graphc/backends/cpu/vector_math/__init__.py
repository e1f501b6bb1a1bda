"""graphc's own vector math: elementary and special functions that LLVM vectorizes.

Every function is written once against `Scalars`, for float32 and float64, without
branches: cases are selected, not jumped to, so a loop around it vectorizes. `define`
puts a function into a module, to be inlined. Products and sums are fused only where
the code says so, and a result is the same in a vector and alone.

All take the full range: NaN, infinities, signed zeros, subnormal arguments and results,
overflow exactly where the result rounds to infinity. sin, cos and tan of huge
arguments are right, by a slow path (`huge_arguments`).

Worst errors that benchmarks/vector_math_error.py finds, in units in the last place:

============  =======  =======    ============  =======  =======
function      float32  float64    function      float32  float64
============  =======  =======    ============  =======  =======
exp           0.99 *   0.93       sinh          1.73     2.07
exp2          0.83     0.80       cosh          1.72     1.24
expm1         1.39     1.72       tanh          2.42 *   1.91
log           0.83 *   0.75       arcsinh       1.73     1.47
log1p         1.35     1.08       arccosh       1.99     1.82
log2          0.62     0.54       arctanh       2.01     1.80
log10         0.59     0.55       sigmoid       2.40 *   1.98
pow           0.50     1.04       softplus      1.56     1.40
cbrt          0.51     0.51       erf           1.56     1.17
sin           1.49 *   1.38       erfc          3.41     2.71
cos           1.49 *   1.35       gammaln       7.5      3.5
tan           2.83     2.43       digamma       8.2      4.3
arcsin        1.07     1.02       polygamma_1   0.50     5.1
arccos        1.05     1.00       polygamma_2   0.50     6.0
arctan        1.86     1.66       polygamma_5   0.50     10.3
arctan2       1.74     1.24
============  =======  =======    ============  =======  =======

An asterisk: over all 2**32 arguments, against float64 NumPy. The other float32
functions: every 211th argument, but samples for two arguments and for polygamma;
float64: a structured sample of 30,000 arguments against mpmath (1,500 for polygamma).
For positive arguments gammaln and digamma stay below 2.1, near their roots, too. For
negative ones they and polygamma are differences of large terms; there the unit is the
last place of the function at abs(x), or of 1, where that is larger than the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
            special.erf,
            special.erfc,
            special.gammaln,
            special.digamma,
        )
    },
}


def function(name: str) -> Callable[..., Number]:
    """Return the function of a name, ``polygamma_<n>`` being one for each order n."""
    family, _, order = name.rpartition("_")
    if family == "polygamma" and order.isdecimal():
        return lambda x: special.polygamma(int(order), x)
    internal_assert(name in FUNCTIONS, f"there is no instruction or function {name}")
    return FUNCTIONS[name]


def define(module: Any, name: str, dtypes: Sequence[np.dtype]) -> str:
    """Define a function in a module, if it is not there yet.

    Parameters
    ----------
    module : LlvmModule
    name : str
    dtypes : sequence of np.dtype
        Of the operands: all float32, or all float64.

    Returns
    -------
    str
        The name of the LLVM function, which is inlined where there are loops.
    """
    from graphc.backends.cpu.scalars import LlvmScalars, Value, llvm_type

    build = function(name)
    dtype = dtypes[0]
    internal_assert(
        dtype.kind == "f" and all(d == dtype for d in dtypes),
        f"function {name} on operands of dtypes {[d.name for d in dtypes]}",
    )
    symbol = f"graphc.{name}.{dtype.name}"
    if symbol not in module.definitions:
        k = LlvmScalars(module, contract=False)
        operands = [Value(f"%x{i}", dtype) for i in range(len(dtypes))]
        result = build(*(Number(k, o) for o in operands))
        kind = llvm_type(dtype)
        parameters = ", ".join(f"{kind} {o.text}" for o in operands)
        module.definitions[symbol] = "\n".join(
            [
                f"define internal {kind} @{symbol}({parameters}) "
                f"{'alwaysinline' if module.loops else 'noinline'} nounwind "
                "willreturn memory(none) {",
                *k.lines,
                f"  ret {kind} {result.value.text}",
                "}",
            ]
        )
    return f"@{symbol}"
