"""Measure the error of graphc's vector math, in units in the last place.

``python benchmarks/vector_math_error.py`` checks every function in both dtypes, on all
processors, and prints the table of `graphc.backends.cpu.vector_math`; names of
functions restrict it, ``--stride`` and ``--samples`` shorten it.

float64: a structured sample of ``--samples`` arguments against mpmath. float32: all
2**32 arguments (of two arguments a sample of 2**28 pairs) against the function in
float64, whose own errors, below 2**-50, the first check bounds.

An error is ``|result - exact| / (spacing of the format at exact)``; a wrong infinity or
NaN is an infinite one. Some functions have zeros at irrational arguments, near which
differences of large terms cancel: for float64 gammaln and polygamma of negative x the
spacing at f(abs(x)), or at 1, counts if larger; for logaddexp that at its arguments,
or at 1/2.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from graphc.backends.cpu.scalars import LlvmScalars, Value
from graphc.backends.cpu.vector_math import FUNCTIONS, arrays
from graphc.backends.cpu.vector_math.notation import Number, where
from graphc.ops import powers
from graphc.ops.declare import Elementwise
from graphc.ops.leaf import new_input
from graphc.types import dtypes
from graphc.types.tensor_type import tensor_type

CHUNK = 2**16  # arguments at a time: arrays of it stay in the cache
PARTS = 16  # tasks for the float32 arguments of one function
PAIRS = 2**28


class Reference(NamedTuple):
    """What a function should be.

    Attributes
    ----------
    mpmath : callable
        ``(mpmath, *numbers) -> number``.
    numpy : callable
        On arrays; NumPy's or SciPy's function of the same meaning.
    operands : int
    unit : str
        What an error is relative to: "result", or, if larger, "reflected", f(abs(x))
        and 1 for negative x, or "operands", these and 1/2.
    build : callable, optional
        ``(k, *values) -> value``, of ops that are more than one instruction.
    """

    mpmath: Callable[..., Any]
    numpy: Callable[..., Any]
    operands: int = 1
    unit: str = "result"
    build: Callable[..., Value] | None = None


def _sp(name: str, *first: Any) -> Callable[..., Any]:
    """Return a function of scipy.special, imported when it is called."""

    def call(*arrays: Any) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(*first, *arrays)

    return call


def _cbrt(mp: Any, x: Any) -> Any:
    return mp.sign(x) * mp.cbrt(abs(x))


def _logaddexp(mp: Any, x: Any, y: Any) -> Any:
    if mp.isinf(x) or mp.isinf(y):
        return max(x, y)
    return max(x, y) + mp.log1p(mp.exp(-abs(x - y)))


def _gammaln(mp: Any, x: Any) -> Any:
    return mp.re(mp.loggamma(x))


def _polygamma(n: int) -> Reference:
    return Reference(
        lambda mp, x: mp.polygamma(n, x), _sp("polygamma", n), unit="reflected"
    )


def _lowered(op: Elementwise, *params: Any) -> Callable[..., Value]:
    """Return the code of an op that is more than an instruction."""
    node = op(new_input("x", tensor_type((), dtypes.float64)), params=params)
    return lambda k, *x: op.scalar(k, node, *x)


def _integer_power(n: int) -> Reference:
    return Reference(
        lambda mp, x: mp.power(x, n),
        lambda x: np.power(x, x.dtype.type(n)),
        build=_lowered(powers.integer_power_, n),
    )


REFERENCES = {
    "exp": Reference(lambda mp, x: mp.exp(x), np.exp),
    "exp2": Reference(lambda mp, x: mp.power(2, x), np.exp2),
    "expm1": Reference(lambda mp, x: mp.expm1(x), np.expm1),
    "log": Reference(lambda mp, x: mp.log(x), np.log),
    "log1p": Reference(lambda mp, x: mp.log1p(x), np.log1p),
    "log2": Reference(lambda mp, x: mp.log(x) / mp.log(2), np.log2),
    "log10": Reference(lambda mp, x: mp.log10(x), np.log10),
    "cbrt": Reference(_cbrt, np.cbrt),
    "sqrt": Reference(lambda mp, x: mp.sqrt(x), np.sqrt),
    "rsqrt": Reference(
        lambda mp, x: 1 / mp.sqrt(x),
        lambda x: 1 / np.sqrt(x),
        build=_lowered(powers.rsqrt),
    ),
    **{f"integer_power_{n}": _integer_power(n) for n in (-3, -2, 3, 4, 5, 17, 64)},
    "pow": Reference(lambda mp, x, y: mp.power(x, y), np.power, 2),
    "hypot": Reference(lambda mp, x, y: mp.sqrt(x * x + y * y), np.hypot, 2),
    "logaddexp": Reference(_logaddexp, np.logaddexp, 2, "operands"),
    "sin": Reference(lambda mp, x: mp.sin(x), np.sin),
    "cos": Reference(lambda mp, x: mp.cos(x), np.cos),
    "tan": Reference(lambda mp, x: mp.tan(x), np.tan),
    "arcsin": Reference(lambda mp, x: mp.asin(x), np.arcsin),
    "arccos": Reference(lambda mp, x: mp.acos(x), np.arccos),
    "arctan": Reference(lambda mp, x: mp.atan(x), np.arctan),
    "arctan2": Reference(lambda mp, y, x: mp.atan2(y, x), np.arctan2, 2),
    "sinh": Reference(lambda mp, x: mp.sinh(x), np.sinh),
    "cosh": Reference(lambda mp, x: mp.cosh(x), np.cosh),
    "tanh": Reference(lambda mp, x: mp.tanh(x), np.tanh),
    "arcsinh": Reference(lambda mp, x: mp.asinh(x), np.arcsinh),
    "arccosh": Reference(lambda mp, x: mp.acosh(x), np.arccosh),
    "arctanh": Reference(lambda mp, x: mp.atanh(x), np.arctanh),
    "sigmoid": Reference(lambda mp, x: 1 / (1 + mp.exp(-x)), _sp("expit")),
    "softplus": Reference(
        lambda mp, x: mp.log1p(mp.exp(x)), lambda x: np.logaddexp(x, x.dtype.type(0))
    ),
    "erf": Reference(lambda mp, x: mp.erf(x), _sp("erf")),
    "erfc": Reference(lambda mp, x: mp.erfc(min(x, 9999)), _sp("erfc")),
    "gammaln": Reference(_gammaln, _sp("gammaln"), unit="reflected"),
    "digamma": Reference(lambda mp, x: mp.digamma(x), _sp("digamma"), unit="reflected"),
    **{f"polygamma_{n}": _polygamma(n) for n in (1, 2, 5)},
}


def scalar_function(name: str, dtype: np.dtype) -> arrays.ScalarFunction:
    """Return a function as code to be compiled."""
    reference = REFERENCES[name]
    build = reference.build or (lambda k, *x: k(name, *x))
    symbol = f"{name}_{dtype.name}".replace("-", "minus")
    return arrays.ScalarFunction(symbol, build, (dtype,) * reference.operands)


def compile_all(names: Sequence[str], dtype: np.dtype) -> dict[str, Callable[..., Any]]:
    """Return functions of arrays, by name, compiled into one module."""
    functions = [scalar_function(name, dtype) for name in names]
    compiled = arrays.compile_functions(functions)
    return {name: compiled[f.name] for name, f in zip(names, functions)}


# --------------------------------------------------------- float64 against mpmath


def structured(dtype: np.dtype, count: int, seed: int = 0) -> np.ndarray:
    """Return finite arguments.

    They are of every exponent, near 1, next to multiples of pi/2, moderate, and special
    ones.
    """
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype)
    part = max(count // 8, 1)
    top = float(np.log(info.max))
    exponents = np.arange(info.minexp - info.nmant, info.maxexp)
    exponents = rng.permutation(np.resize(exponents, part))
    binades = np.ldexp(rng.uniform(1, 2, part), exponents)
    near_one = 1 + rng.normal(size=part) * 10 ** rng.uniform(-8, -1, part)
    right = rng.integers(1, 10 ** rng.integers(1, 9, part)) * (math.pi / 2)
    steps = rng.integers(-2, 3, part) * abs(np.spacing(right.astype(dtype)))
    samples = [
        binades * rng.choice([-1, 1], part),
        rng.uniform(-2, 2, part),
        rng.uniform(-30, 30, part),
        rng.uniform(-1.1 * top, 1.1 * top, part),
        rng.normal(size=part) * 10 ** rng.uniform(-10, 1, part),
        near_one * rng.choice([-1, 1], part),
        right.astype(dtype) + steps,
    ]
    special = [0.5, 0.75, 1, 2, 3, 1e22, math.pi, top, 2.0**17, 2.0**20, 1e6]
    special += [info.max, info.tiny, info.smallest_subnormal, 1 + info.eps]
    # The doubles and floats that are closest to multiples of pi/2.
    special += [math.ldexp(6381956970095103, 797)] if dtype == np.float64 else []
    special += [16367173 * 2.0**72, 2.0**17 + 1 / 64, 2.0**20 + 2.0**-32]
    samples += [np.array(special), -np.array(special)]
    with np.errstate(over="ignore"):
        x = np.concatenate([s.astype(dtype) for s in samples])
    return x[np.isfinite(x)]


def exact_error(
    reference: Reference, operands: Sequence[float], result: float, dtype: np.dtype
) -> float:
    """Return the error of one result against mpmath; infinite for a wrong kind."""
    import mpmath as mp

    info = np.finfo(dtype)
    with mp.workprec(200):
        try:
            exact = reference.mpmath(mp, *(mp.mpf(float(x)) for x in operands))
        except (ValueError, ZeroDivisionError):
            return 0.0 if not np.isfinite(result) else math.inf
        if isinstance(exact, mp.mpc) or mp.isnan(exact):
            return 0.0 if np.isnan(result) else math.inf
        limit = mp.mpf(float(info.max)) * (1 + mp.mpf(2) ** -(info.nmant + 2))
        if abs(exact) >= limit:
            return 0.0 if result == math.copysign(math.inf, exact) else math.inf
        if not np.isfinite(result):
            return math.inf
        size = abs(exact)
        if reference.unit == "reflected" and operands[0] < 0:
            size = max(size, 1, abs(reference.mpmath(mp, mp.mpf(-float(operands[0])))))
        elif reference.unit == "operands":
            size = max(size, 0.5, *(abs(mp.mpf(float(x))) for x in operands))
        exponent = int(mp.floor(mp.log(size, 2))) if size else info.minexp
        last_place = mp.ldexp(1, max(exponent, info.minexp) - info.nmant)
        return float(abs(mp.mpf(float(result)) - exact) / last_place)


Worst = tuple[float, tuple[float, ...]]


def sampled_worst(
    name: str, function: Callable[..., Any], dtype: np.dtype, count: int, seed: int = 0
) -> Worst:
    """Return the worst error of a function over a structured sample, and where."""
    reference = REFERENCES[name]
    operands = [structured(dtype, count, seed)]
    if reference.operands == 2:
        rng = np.random.default_rng(seed)
        second = rng.permutation(operands[0])
        with np.errstate(over="ignore"):
            alike = operands[0] * rng.normal(size=second.size).astype(dtype)
        second = np.where(rng.random(second.size) < 0.3, alike, second)
        operands.append(np.where(np.isfinite(second), second, 1).astype(dtype))
    if name == "pow":
        operands[0] = abs(operands[0])
    if reference.unit == "reflected":  # mpmath takes for ever where poles are dense
        operands[0] = operands[0][operands[0] > -1e4]
    results = function(*operands)
    worst: Worst = (0.0, ())
    for *xs, y in zip(*operands, results):
        error = exact_error(reference, [float(x) for x in xs], float(y), dtype)
        if error > worst[0]:
            worst = error, tuple(float(x) for x in xs)
    return worst


# -------------------------------------------------------- float32 against float64


def error_function(name: str) -> arrays.ScalarFunction:
    """Return code for the error of the float32 function against the float64 one."""
    reference = REFERENCES[name]
    plain = reference.build or (lambda k, *x: k(name, *x))

    def build(k: LlvmScalars, *x: Value) -> Value:
        wide = [k.cast(v, dtypes.float64) for v in x]
        exact = Number(k, plain(k, *wide))
        result = Number(k, k.cast(plain(k, *x), dtypes.float64))
        top = float(np.finfo(np.float32).max) * (1 + 2.0**-25)
        finite = abs(exact) < top
        limit = where(finite, exact, exact * math.inf)
        right = result.equals(limit) | (result.is_nan() & exact.is_nan())
        size = abs(exact)
        if reference.unit == "operands":
            for number in (exact.constant(0.5), *(Number(k, v) for v in wide)):
                size = where(size > abs(number), size, abs(number))
        # The power of 2 below, by dropping the fraction bits of a float64.
        power = (size.bits() & (0x7FF << 52)).as_float()
        place = where(power > 2.0**-126, power, 2.0**-126) * 2.0**-23
        error = abs(result - exact) / place
        error = where(finite & (error < math.inf), error, math.inf)
        return where(right, 0.0, error).value

    operands = (dtypes.float32,) * reference.operands
    symbol = f"error_{name}".replace("-", "minus")
    return arrays.ScalarFunction(symbol, build, operands)


@cache
def _error_of(name: str) -> Callable[..., np.ndarray]:
    function = error_function(name)
    return arrays.compile_functions([function])[function.name]


def _arguments(name: str, part: int, parts: int, stride: int) -> Iterator[list[Any]]:
    if REFERENCES[name].operands == 1:
        first, last = 2**32 * part // parts, 2**32 * (part + 1) // parts
        for start in range(first, last, CHUNK * stride):
            stop = min(start + CHUNK * stride, last)
            bits = np.arange(start, stop, stride, dtype=np.uint64).astype(np.uint32)
            yield [bits.view(np.float32)]
        return
    rng = np.random.default_rng(part)
    for _ in range(PAIRS // CHUNK // parts // stride + 1):
        bits = rng.integers(0, 2**32, (2, CHUNK), dtype=np.uint32)
        x, y = bits.view(np.float32)
        near = rng.normal(size=CHUNK).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            yield [x, np.where(near > 0, x * near, y)]
            yield [near * 3, rng.permutation(near) * 10]


def exhaustive_worst(
    name: str, stride: int = 1, part: int = 0, parts: int = 1
) -> Worst:
    """Return the worst float32 error over every so manieth argument, and where."""
    function = _error_of(name)
    worst: Worst = (0.0, ())
    for operands in _arguments(name, part, parts, stride):
        error = function(*operands)
        i = int(error.argmax())
        if error[i] > worst[0]:
            worst = float(error[i]), tuple(float(o[i]) for o in operands)
    return worst


# --------------------------------------------------------------- the command line


def _task(name: str, kind: str, part: int, parts: int, options: Any) -> Worst:
    if kind == "float32":
        return exhaustive_worst(name, options.stride, part, parts)
    dtype = dtypes.float64
    slow = name.startswith("polygamma")
    count = max(options.samples // (20 if slow else 1) // parts, 8)
    function = compile_all([name], dtype)[name]
    return sampled_worst(name, function, dtype, count, seed=part)


def table(worst: dict[tuple[str, str], Worst]) -> str:
    """Return the errors as a table, as the package's docstring has it."""
    rule = "================  =======  ======="
    names = list(dict.fromkeys(name for name, _ in worst))
    rows = [rule, "function          float32  float64", rule]
    for name in names:
        rows.append(
            f"{name:16s}  "
            + "  ".join(f"{worst[name, d][0]:7.2f}" for d in ("float32", "float64"))
        )
    return "\n".join([*rows, rule])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="functions; all by default")
    parser.add_argument("--stride", type=int, default=1, help="of float32 arguments")
    parser.add_argument("--samples", type=int, default=20000, help="of mpmath's sample")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_intermixed_args()
    names = options.names or list(REFERENCES)
    unknown = set(names) - REFERENCES.keys()
    if unknown:
        known = ", ".join(REFERENCES)
        parser.error(f"unknown functions {sorted(unknown)}; known: {known}")
    missing = FUNCTIONS.keys() - REFERENCES.keys()
    if missing:
        parser.error(f"functions without a reference: {sorted(missing)}")
    start = time.perf_counter()
    worst: dict[tuple[str, str], Worst] = {}
    left: dict[tuple[str, str], int] = {}
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        tasks = {}
        for name in names:
            for kind, parts in (("float32", PARTS), ("float64", 4)):
                worst[name, kind], left[name, kind] = (0.0, ()), parts
                for part in range(parts):
                    task = pool.submit(_task, name, kind, part, parts, options)
                    tasks[task] = name, kind
        for task in as_completed(tasks):
            key = tasks[task]
            worst[key] = max(worst[key], task.result())
            left[key] -= 1
            if not left[key]:
                error, where_ = worst[key]
                place = ", ".join(map(repr, where_))
                seconds = time.perf_counter() - start
                print(
                    f"{seconds:6.0f} s  {key[0]:16s} {key[1]} {error:.2f} at {place}",
                    flush=True,
                )
    print(table(worst))


if __name__ == "__main__":
    main()
