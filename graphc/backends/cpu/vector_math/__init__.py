"""graphc's own vector math."""

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
        The name of the LLVM function, which is to be inlined.
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
                f"define internal {kind} @{symbol}({parameters}) alwaysinline nounwind "
                "willreturn memory(none) {",
                *k.lines,
                f"  ret {kind} {result.value.text}",
                "}",
            ]
        )
    return f"@{symbol}"
