"""`NumpyScalars`: the instructions of kernels on NumPy arrays, to test lowerings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special


def _shift(function: Callable[..., Any]) -> Callable[..., Any]:
    def shifted(x: Any, y: Any) -> Any:
        assert x.dtype.kind in "iu", "shift of something that is no integer"
        return function(x, y)

    return shifted


def _float(function: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*operands: Any) -> Any:
        assert all(x.dtype.kind == "f" for x in operands), "an instruction on floats"
        return function(*operands)

    return checked


def _whole(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: function(x) if x.dtype.kind == "f" else x


INSTRUCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "neg": np.negative,
    "abs": np.abs,
    "min": np.minimum,
    "max": np.maximum,
    "div": _float(np.divide),
    "sqrt": _float(np.sqrt),
    "copysign": _float(np.copysign),
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "floor": _whole(np.floor),
    "ceil": _whole(np.ceil),
    "rint": _whole(np.rint),
    "trunc": _whole(np.trunc),
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "shl": _shift(np.left_shift),
    "shr": _shift(np.right_shift),
    "select": np.where,
    "pow": _float(np.power),
    "hypot": _float(np.hypot),
    "logaddexp": _float(np.logaddexp),
    "sigmoid": _float(special.expit),
    "softplus": _float(lambda x: np.logaddexp(x, x.dtype.type(0))),
    **{
        name: _float(getattr(np, name))
        for name in (
            *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "cbrt"),
            *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2"),
            *("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"),
        )
    },
    **{
        name: _float(getattr(special, name))
        for name in ("erf", "erfc", "gammaln", "digamma")
    },
}


class NumpyScalars:
    """The elementwise part of the `Scalars` protocol; every value is an array.

    Instructions assert what the protocol promises: one dtype for all operands.
    """

    def __call__(self, name: str, *operands: Any) -> Any:
        alike = operands[1:] if name == "select" else operands
        assert len({x.dtype for x in alike}) == 1, f"{name} of mixed dtypes"
        if name == "select":
            assert operands[0].dtype == np.bool_, "select without a boolean"
        family, _, order = name.rpartition("_")
        if family == "polygamma":
            (x,) = operands
            return special.polygamma(int(order), x).astype(x.dtype)
        if family == "integer_power":
            (x,) = operands
            return np.power(x, x.dtype.type(int(order)))
        return np.asarray(INSTRUCTIONS[name](*operands))

    def constant(self, value: Any, dtype: np.dtype) -> Any:
        return np.asarray(value).astype(dtype)

    def like(self, x: Any, value: Any) -> Any:
        return self.constant(value, x.dtype)

    def zero(self, x: Any) -> Any:
        return self.like(x, 0)

    def one(self, x: Any) -> Any:
        return self.like(x, 1)

    def dtype(self, x: Any) -> np.dtype:
        return x.dtype

    def cast(self, value: Any, dtype: np.dtype) -> Any:
        return value.astype(dtype)
