"""What the names in printed kernels mean: on a device, and in the simulator.

`namespace` returns the globals a kernel's source is executed in: for each name and
dtype a function, such as ``fmul_float32``. On a device these are libdevice's, or
functions that numba compiles into the kernel; in the simulator they are NumPy's. Both
are made from one table, so what one has the other has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from graphc.backends.cuda import shim

_FLOATS = {"float32": "f", "float64": ""}
_SIGNED = ("int8", "int16", "int32", "int64")
_UNSIGNED = ("uint8", "uint16", "uint32", "uint64")

_C_NAMES = {
    **{n: n for n in ("exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "pow")},
    **{n: n for n in ("cbrt", "hypot", "sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2"},
    **{"arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh"},
    **{"erf": "erf", "erfc": "erfc", "gammaln": "lgamma"},
    **{n: n for n in ("floor", "ceil", "rint", "trunc", "copysign", "fmod", "fmin")},
    **{"fmax": "fmax", "fma": "fma"},
}
"""Functions of libdevice, under C's names; those of float32 end in f."""

_ROUNDED = {
    "float32": {"fmul": "fmul_rn", "fdiv": "fdiv_rn", "sqrt": "fsqrt_rn"},
    "float64": {"fmul": "dmul_rn", "fdiv": "ddiv_rn", "sqrt": "dsqrt_rn"},
}
_BITS = {"float32": "float_as_int", "float64": "double_as_longlong"}
_FROM_BITS = {"float32": "int_as_float", "float64": "longlong_as_double"}


def namespace(simulated: bool) -> dict[str, Any]:
    """Return a new dictionary of what printed kernels refer to."""
    return dict(_simulated() if simulated else _device())


# ------------------------------------------------------------- on a device


@cache
def _device() -> dict[str, Any]:
    cuda = shim.cuda
    from numba import types

    libdevice = import_module("numba.cuda.libdevice")
    device = shim.device_function
    names: dict[str, Any] = {"cuda": cuda, "device": device, "min": min, "max": max}
    names |= {"nan": math.nan, "inf": math.inf}
    for kind in (*_FLOATS, *_SIGNED, *_UNSIGNED):
        names[kind] = getattr(types, kind)
    for kind, suffix in _FLOATS.items():
        for name, c in _C_NAMES.items():
            names[f"{name}_{kind}"] = getattr(libdevice, c + suffix)
        for name, c in _ROUNDED[kind].items():
            names[f"{name}_{kind}"] = getattr(libdevice, c)
        names[f"abs_{kind}"] = getattr(libdevice, "fabs" + suffix)
        integer = "int32" if suffix else "int64"
        names[f"bits_{kind}"] = getattr(libdevice, _BITS[kind])
        names[f"from_bits_{integer}"] = getattr(libdevice, _FROM_BITS[kind])
    for kind in _FLOATS:
        source = {"float32": "float", "float64": "double"}[kind]
        for target, c in (("int32", "int"), ("int64", "ll")):
            convert = getattr(libdevice, f"{source}2{c}_rz")
            names[f"_{target}_of_{kind}"] = convert
            names[f"_u{target}_of_{kind}"] = getattr(libdevice, f"{source}2u{c}_rz")
    for kind in (*_FLOATS, *_SIGNED, *_UNSIGNED):
        for width in (2, 4, 8, 16):
            if width * np.dtype(kind).itemsize <= 16:
                load, store = shim.vectors(kind, width)
                names |= {f"load{width}_{kind}": load, f"store{width}_{kind}": store}
    return _completed(names, device)


# ---------------------------------------------------------- in the simulator


@cache
def _simulated() -> dict[str, Any]:
    from scipy import special

    numpy_names: dict[str, Callable[..., Any]] = {
        **{n: getattr(np, n) for n in _C_NAMES if hasattr(np, n)},
        **{"pow": np.power, "erf": special.erf, "erfc": special.erfc},
        **{"gammaln": special.gammaln, "fma": lambda a, b, c: a * b + c},
        **{"fmul": np.multiply, "fdiv": np.divide, "sqrt": np.sqrt, "abs": np.abs},
    }
    names: dict[str, Any] = {"cuda": shim.cuda, "device": lambda f: f}
    names |= {"min": min, "max": max, "nan": math.nan, "inf": math.inf}
    for kind in (*_FLOATS, *_SIGNED, *_UNSIGNED):
        names[kind] = getattr(np, kind)
    for kind in _FLOATS:
        for name, function in numpy_names.items():
            names[f"{name}_{kind}"] = function
        integer = "int32" if kind == "float32" else "int64"
        names[f"bits_{kind}"] = _viewed(integer)
        names[f"from_bits_{integer}"] = _viewed(kind)
        for target in ("int32", "int64"):
            for letter in ("", "u"):
                wide = f"{letter}{target}"
                names[f"_{wide}_of_{kind}"] = _saturating(np.dtype(wide).type)
    for kind in (*_FLOATS, *_SIGNED, *_UNSIGNED):
        for width in (2, 4, 8, 16):
            names[f"load{width}_{kind}"] = _loaded(width)
            names[f"store{width}_{kind}"] = _put
    return _completed(names, lambda f: f)


def _loaded(width: int) -> Callable[[Any, Any], tuple]:
    return lambda pointer, index: tuple(pointer[index + i] for i in range(width))


def _put(pointer: Any, index: Any, values: Any) -> None:
    for i, value in enumerate(values):
        pointer[index + i] = value


def _viewed(kind: str) -> Callable[[Any], Any]:
    return lambda x: x.view(kind)


def _saturating(target: Any) -> Callable[[Any], Any]:
    """Return a conversion that truncates, and takes what is too large to the ends."""
    low, high = np.iinfo(target).min, np.iinfo(target).max

    def convert(x: Any) -> Any:
        if x != x:
            return target(0)
        if x <= low:
            return target(low)
        return target(high) if x >= high else target(int(x))

    return convert


# --------------------------------------------------------- made of the above


def _completed(names: dict[str, Any], device: Callable[[Any], Any]) -> dict[str, Any]:
    """Add what is written once for both, in terms of what is there."""

    def define(name: str, make: Callable[..., Any], *parts: Any) -> None:
        names[name] = device(make(*parts))

    for kind in _FLOATS:
        t = names[kind]
        define(f"min_{kind}", _nan_first, names[f"fmin_{kind}"])
        define(f"max_{kind}", _nan_first, names[f"fmax_{kind}"])
        parts = [names[f"{n}_{kind}"] for n in ("fmod", "copysign", "fdiv", "floor")]
        define(f"mod_{kind}", _float_mod, t, *parts)
        define(f"floordiv_{kind}", _float_floordiv, t, *parts)
        for target in (*_SIGNED, *_UNSIGNED):
            wide = target if target.endswith("64") else target.rstrip("0123456789")
            wide = wide if wide.endswith("64") else f"{wide}32"
            limits = np.iinfo(target)
            define(
                f"{target}_of_{kind}",
                _to_integer,
                names[f"_{wide}_of_{kind}"],
                names[target],
                names[wide](int(limits.min)),
                names[wide](int(limits.max)),
            )
    for kind in (*_SIGNED, *_UNSIGNED):
        t = names[kind]
        define(f"min_{kind}", _smaller)
        define(f"max_{kind}", _larger)
        define(f"abs_{kind}", _magnitude, t)
        signed = kind in _SIGNED
        define(f"floordiv_{kind}", _floordiv, t, signed)
        define(f"mod_{kind}", _mod, t, signed)
        width = np.dtype(kind).itemsize * 8
        define(f"shl_{kind}", _shl, t, width)
        define(f"shr_{kind}", _shr, t, width, signed)
    for kind in (*_FLOATS, *_SIGNED, *_UNSIGNED, "bool"):
        define(f"select_{kind}", _select)
    return names


def _select() -> Any:
    def select(condition, yes, no):
        return yes if condition else no

    return select


def _nan_first(extremum: Any) -> Any:
    def of_floats(a, b):
        # libdevice passes over NaN; -0.0 is below 0.0 for it, as it should be
        found = extremum(a, b)
        found = b if b != b else found
        return a if a != a else found

    return of_floats


def _smaller() -> Any:
    def smaller(a, b):
        return a if a < b else b

    return smaller


def _larger() -> Any:
    def larger(a, b):
        return a if a > b else b

    return larger


def _magnitude(t: Any) -> Any:
    def magnitude(a):
        return t(-a) if a < t(0) else a

    return magnitude


def _to_integer(convert: Any, target: Any, low: Any, high: Any) -> Any:
    def to_integer(x):
        if x != x:
            return target(0)
        wide = convert(x)
        wide = low if wide < low else wide
        return target(high if wide > high else wide)

    return to_integer


def _floordiv(t: Any, signed: bool) -> Any:
    def floordiv(a, b):
        if b == t(0):
            return t(0)
        if signed and b == t(-1):
            return t(-a)
        return t(a // b)

    def unsigned(a, b):
        return t(0) if b == t(0) else t(a // b)

    return floordiv if signed else unsigned


def _mod(t: Any, signed: bool) -> Any:
    def mod(a, b):
        if b == t(0) or b == t(-1):
            return t(0)
        return t(a % b)

    def unsigned(a, b):
        return t(0) if b == t(0) else t(a % b)

    return mod if signed else unsigned


def _shl(t: Any, width: int) -> Any:
    def shl(a, b):
        return t(a << b) if t(0) <= b and b < t(width) else t(0)

    return shl


def _shr(t: Any, width: int, signed: bool) -> Any:
    def arithmetic(a, b):
        return t(a >> b) if t(0) <= b and b < t(width) else t(a >> t(width - 1))

    def logical(a, b):
        return t(a >> b) if b < t(width) else t(0)

    return arithmetic if signed else logical


def _float_mod(t: Any, fmod: Any, copysign: Any, fdiv: Any, floor: Any) -> Any:
    def mod(a, b):
        """NumPy's remainder, which has the sign of the divisor."""
        rest = fmod(a, b)
        if rest == t(0):
            return copysign(t(0), b)
        return rest + b if (b < t(0)) != (rest < t(0)) else rest

    return mod


def _float_floordiv(t: Any, fmod: Any, copysign: Any, fdiv: Any, floor: Any) -> Any:
    def floordiv(a, b):
        """NumPy's floor_divide: see `backends.cpu.scalars`."""
        exact = fdiv(a, b)
        if b == t(0):
            return exact
        rest = fmod(a, b)
        quotient = fdiv(a - rest, b)
        if rest != t(0) and (b < t(0)) != (rest < t(0)):
            quotient = quotient - t(1)
        if quotient == t(0):
            return copysign(t(0), exact)
        down = floor(quotient)
        return down + t(1) if quotient - down > t(0.5) else down

    return floordiv
