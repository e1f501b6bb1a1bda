"""Measure the error of graphc's vector math, in units in the last place.

``python benchmarks/vector_math_error.py float32 exp sin`` checks all 2**32 arguments
against float64 NumPy and SciPy (every ``--stride``-th one for a quick look; functions
of two arguments are sampled); ``... float64 exp`` checks a structured sample of
``--samples`` arguments against mpmath. Without names, all functions are checked.

An error is ``|result - exact| / (spacing of the format at exact)``. gammaln and
its derivatives have zeros at irrational negative arguments, near which differences of
large terms cancel; for negative x the spacing at f(abs(x)), or at 1, counts if larger.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.backends.cpu.vector_math import FUNCTIONS, arrays


class Reference(NamedTuple):
    """What a function should be.

    Attributes
    ----------
    numpy : callable
        On float64 arrays, for float32 results.
    mpmath : callable
        ``(mpmath, *numbers) -> number``, for float64 results.
    operands : int
    zeros : bool
        Whether errors at negative arguments are relative to f(abs(x)) or 1.
    sampled : bool
        Whether there are too many arguments, or the reference is too slow, to
        check float32 exhaustively.
    """

    numpy: Callable[..., Any]
    mpmath: Callable[..., Any]
    operands: int = 1
    zeros: bool = False
    sampled: bool = False


def _sp(name: str, *first: Any) -> Callable[..., Any]:
    """Return a function of scipy.special, imported when it is called."""

    def call(*arrays: Any) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(*first, *arrays)

    return call


def _cbrt(mp: Any, x: Any) -> Any:
    return mp.sign(x) * mp.cbrt(abs(x))


def _softplus(x: Any) -> Any:
    return np.logaddexp(x, 0.0)


def _gammaln(mp: Any, x: Any) -> Any:
    return mp.re(mp.loggamma(x))


def _polygamma(n: int) -> Reference:
    def exact(mp: Any, x: Any) -> Any:
        return mp.polygamma(n, x)

    return Reference(_sp("polygamma", n), exact, zeros=True, sampled=True)


REFERENCES = {
    "exp": Reference(np.exp, lambda mp, x: mp.exp(x)),
    "exp2": Reference(np.exp2, lambda mp, x: mp.power(2, x)),
    "expm1": Reference(np.expm1, lambda mp, x: mp.expm1(x)),
    "log": Reference(np.log, lambda mp, x: mp.log(x)),
    "log1p": Reference(np.log1p, lambda mp, x: mp.log1p(x)),
    "log2": Reference(np.log2, lambda mp, x: mp.log(x) / mp.log(2)),
    "log10": Reference(np.log10, lambda mp, x: mp.log10(x)),
    "cbrt": Reference(np.cbrt, _cbrt),
    "sin": Reference(np.sin, lambda mp, x: mp.sin(x)),
    "cos": Reference(np.cos, lambda mp, x: mp.cos(x)),
    "tan": Reference(np.tan, lambda mp, x: mp.tan(x)),
    "arcsin": Reference(np.arcsin, lambda mp, x: mp.asin(x)),
    "arccos": Reference(np.arccos, lambda mp, x: mp.acos(x)),
    "arctan": Reference(np.arctan, lambda mp, x: mp.atan(x)),
    "sinh": Reference(np.sinh, lambda mp, x: mp.sinh(x)),
    "cosh": Reference(np.cosh, lambda mp, x: mp.cosh(x)),
    "tanh": Reference(np.tanh, lambda mp, x: mp.tanh(x)),
    "arcsinh": Reference(np.arcsinh, lambda mp, x: mp.asinh(x)),
    "arccosh": Reference(np.arccosh, lambda mp, x: mp.acosh(x)),
    "arctanh": Reference(np.arctanh, lambda mp, x: mp.atanh(x)),
    "sigmoid": Reference(_sp("expit"), lambda mp, x: 1 / (1 + mp.exp(-x))),
    "softplus": Reference(_softplus, lambda mp, x: mp.log1p(mp.exp(x))),
    "erf": Reference(_sp("erf"), lambda mp, x: mp.erf(x)),
    "erfc": Reference(_sp("erfc"), lambda mp, x: mp.erfc(min(x, 9999))),
    "gammaln": Reference(_sp("gammaln"), _gammaln, zeros=True),
    "digamma": Reference(_sp("digamma"), lambda mp, x: mp.digamma(x), zeros=True),
    "pow": Reference(np.power, lambda mp, x, y: mp.power(x, y), 2, sampled=True),
    "arctan2": Reference(np.arctan2, lambda mp, y, x: mp.atan2(y, x), 2, sampled=True),
    **{f"polygamma_{n}": _polygamma(n) for n in (1, 2, 5)},
}


def compile_all(names: Sequence[str], dtype: np.dtype) -> dict[str, Callable[..., Any]]:
    """Return functions of arrays, compiled into one module."""
    return arrays.compile_functions(
        [
            arrays.ScalarFunction(
                f"{name}_{dtype.name}",
                lambda k, *x, name=name: k(name, *x),
                (dtype,) * REFERENCES[name].operands,
            )
            for name in names
        ]
    )


def structured(dtype: np.dtype, count: int, seed: int = 0) -> np.ndarray:
    """Return finite arguments: of all exponents, near 1, moderate, and special ones."""
    rng = np.random.default_rng(seed)
    unsigned = np.uint32 if dtype == np.float32 else np.uint64
    part = max(count // 6, 1)
    top = float(np.log(np.finfo(dtype).max))
    patterns = rng.integers(0, np.iinfo(unsigned).max, part, dtype=unsigned)
    near_one = 1 + rng.normal(size=part) * 10 ** rng.uniform(-8, -1, part)
    samples = [
        patterns.view(dtype),
        rng.uniform(-2, 2, part),
        rng.uniform(-30, 30, part),
        rng.uniform(-1.1 * top, 1.1 * top, part),
        rng.normal(size=part) * 10 ** rng.uniform(-10, 1, part),
        near_one * rng.choice([-1, 1], part),
    ]
    info = np.finfo(dtype)
    special = [0.5, 1, 2, 1e22, math.pi, math.pi / 2, top, 2.0**17, 2.0**20, 1e6]
    special += [info.max, info.tiny, info.smallest_subnormal, 1 + info.eps]
    samples += [np.array(special), -np.array(special)]
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
        if reference.zeros and operands[0] < 0:
            size = max(size, 1, abs(reference.mpmath(mp, mp.mpf(-float(operands[0])))))
        exponent = int(mp.floor(mp.log(size, 2))) if size else info.minexp
        last_place = mp.ldexp(1, max(exponent, info.minexp) - info.nmant)
        return float(abs(mp.mpf(float(result)) - exact) / last_place)


def sampled_worst(
    name: str, function: Callable[..., Any], dtype: np.dtype, count: int, seed: int = 0
) -> tuple[float, tuple[float, ...]]:
    """Return the worst error of a function over a structured sample, and where."""
    reference = REFERENCES[name]
    operands = [structured(dtype, count, seed)]
    if reference.operands == 2:
        operands.append(np.random.default_rng(seed).permutation(operands[0]))
    if name == "pow":
        operands[0] = abs(operands[0])
    if reference.zeros:  # mpmath takes for ever far left, where poles are dense
        operands[0] = operands[0][operands[0] > -1e4]
    results = function(*operands)
    worst: tuple[float, tuple[float, ...]] = (0.0, ())
    for *xs, y in zip(*operands, results):
        error = exact_error(reference, [float(x) for x in xs], float(y), dtype)
        if error > worst[0]:
            worst = error, tuple(float(x) for x in xs)
    return worst


def _patterns(stride: int) -> Iterator[np.ndarray]:
    chunk = 2**16  # float64 arrays of it stay in the cache
    for start in range(0, 2**32, chunk * stride):
        stop = min(start + chunk * stride, 2**32)
        yield np.arange(start, stop, stride, dtype=np.uint64).astype(np.uint32)


def exhaustive_worst(
    name: str, function: Callable[..., Any], stride: int
) -> tuple[float, float, int]:
    """Return the worst float32 error, where, and the count of wrong NaN or infinity."""
    reference = REFERENCES[name]
    worst, at, wrong = 0.0, 0.0, 0
    top = float(np.finfo(np.float32).max) * (1 + 2.0**-25)
    for bits in _patterns(stride):
        x = bits.view(np.float32)
        with np.errstate(all="ignore"):
            exact = reference.numpy(x.astype(np.float64))
            result = function(x).astype(np.float64)
            size = abs(exact)
            overflow = size >= top
            exact[overflow] = np.copysign(np.inf, exact[overflow])
            same = (result == exact) | (np.isnan(result) & np.isnan(exact))
            finite = np.isfinite(exact) & np.isfinite(result)
            wrong += int(np.count_nonzero(~same & ~finite))
            if reference.zeros:
                positive = abs(reference.numpy(abs(x).astype(np.float64)))
                size = np.where(x < 0, np.maximum(np.maximum(size, positive), 1), size)
            # The power of 2 below, by dropping the fraction bits of a float64.
            power = (size.view(np.int64) & (0x7FF << 52)).view(np.float64)
            places = np.maximum(power * 2.0**-23, 2.0**-149)
            error = np.where(finite, abs(result - exact) / places, 0)
        i = int(error.argmax())
        if error[i] > worst:
            worst, at = float(error[i]), float(x[i])
    return worst, at, wrong


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dtype", choices=["float32", "float64"])
    parser.add_argument("names", nargs="*", help="functions; all by default")
    parser.add_argument("--stride", type=int, default=1, help="of float32 arguments")
    parser.add_argument("--samples", type=int, default=20000, help="of mpmath's sample")
    options = parser.parse_intermixed_args()
    names = options.names or list(REFERENCES)
    unknown = set(names) - REFERENCES.keys()
    if unknown:
        known = ", ".join(REFERENCES)
        parser.error(f"unknown functions {sorted(unknown)}; known: {known}")
    dtype = np.dtype(options.dtype)
    missing = FUNCTIONS.keys() - REFERENCES.keys()
    if missing:
        parser.error(f"functions without a reference: {sorted(missing)}")
    functions = compile_all(names, dtype)
    for name in names:
        start = time.perf_counter()
        function = functions[f"{name}_{dtype.name}"]
        if dtype == np.float64 or REFERENCES[name].sampled:
            error, where = sampled_worst(name, function, dtype, options.samples)
            text = f"{error:6.2f} ulp at {', '.join(map(repr, where))} (sampled)"
        else:
            error, at, wrong = exhaustive_worst(name, function, options.stride)
            text = f"{error:6.2f} ulp at {at!r}, {wrong} wrong NaN or infinity"
        seconds = time.perf_counter() - start
        print(f"{name:12s} {dtype.name} {text}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
