"""Fit the polynomials of graphc's vector math and print their coefficients.

Each polynomial interpolates its function at Chebyshev nodes, which is within a small
factor of the minimax polynomial (Trefethen, "Approximation Theory and Approximation
Practice", ch. 16). The degree is the smallest whose error, weighted by the size the
polynomial's contribution has in the result, is below the target. Leading terms that
must be exact (the 1 and x of exp, the x of sin) are taken out of the fit, so that
rounding the other coefficients to the format costs little.

Its output is ``graphc/backends/cpu/vector_math/coefficients.py``, the file the package
uses. It needs mpmath and takes some seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np

mp.mp.dps = 150

HEADER = '''"""Coefficients of polynomials, lowest power first, for float32 and float64.

Written by benchmarks/fit_polynomials.py; each comment tells what is approximated and
on which interval, with the largest error, relative to the result, of each format.
"""

from __future__ import annotations

# fmt: off
'''


class Fit(NamedTuple):
    """One polynomial.

    Attributes
    ----------
    name, text : str
        Name of the table, and what is approximated.
    function : callable
        On mpmath numbers.
    interval : pair of mpmath numbers
    weight : callable
        The error of the polynomial times this is the result's relative error.
    bits : tuple of float
        Bits of accuracy for float32 and float64, 0 for no table.
    """

    name: str
    text: str
    function: Callable[[Any], Any]
    interval: tuple[Any, Any]
    weight: Callable[[Any], Any] = lambda x: mp.mpf(1)
    bits: tuple[float, float] = (28, 57)


def nodes(interval: tuple[Any, Any], count: int) -> list[Any]:
    """Return Chebyshev nodes of the first kind."""
    low, high = map(mp.mpf, interval)
    middle, half = (low + high) / 2, (high - low) / 2
    return [
        middle + half * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)
    ]


def solve(xs: list[Any], ys: list[Any]) -> list[Any]:
    """Return the coefficients of the interpolating polynomial (Newton's form)."""
    divided = list(ys)
    for level in range(1, len(xs)):
        for i in range(len(xs) - 1, level - 1, -1):
            divided[i] = (divided[i] - divided[i - 1]) / (xs[i] - xs[i - level])
    out = [divided[-1]]
    for i in range(len(xs) - 2, -1, -1):
        shifted = [mp.mpf(0), *out]
        for j, c in enumerate(out):
            shifted[j] -= xs[i] * c
        shifted[0] += divided[i]
        out = shifted
    return out


def fit(spec: Fit, degree: int) -> list[Any]:
    """Return the coefficients of a degree, unrounded."""
    xs = nodes(spec.interval, degree + 1)
    return solve(xs, [spec.function(x) for x in xs])


def error(spec: Fit, coefficients: list[Any], samples: list[Any]) -> float:
    """Return the largest weighted error at the samples."""
    exact = [mp.mpf(c) for c in coefficients[::-1]]
    return float(
        max(abs(mp.polyval(exact, x) - y) * spec.weight(x) for x, y in samples)
    )


def best(spec: Fit, kind: type, target: float) -> tuple[list[float], float]:
    """Return the rounded fit of the least degree that meets the target, its error."""
    samples = [(x, spec.function(x)) for x in nodes(spec.interval, 102)]
    for degree in range(1, 40):
        exact = fit(spec, degree)
        if error(spec, exact, samples) <= target:
            rounded = [float(kind(float(c))) for c in exact]
            return rounded, error(spec, rounded, samples)
    raise RuntimeError(f"{spec.name}: no polynomial reaches {target}")


def _gammaln_pole_free(x: Any) -> Any:
    if abs(x - 1) < mp.mpf(10) ** -20:
        return mp.euler
    if abs(x - 2) < mp.mpf(10) ** -20:
        return 1 - mp.euler
    return mp.loggamma(x) / ((x - 1) * (x - 2))


def _of_mapped(center: Any, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the function of t, where ``t = (x - center) / (x + center)``."""
    return lambda t: function(center * (1 + t) / (1 - t))


LN2 = mp.log(2)
QUARTER = mp.pi / 4 + mp.mpf("0.02")
CENTER = mp.mpf(float(np.float32(3**0.5)))
ROOT = mp.findroot(mp.digamma, 1.46)
ERFC_CENTER = mp.mpf(3)
T3 = (3 - CENTER) / (3 + CENTER)
T1 = (1 - CENTER) / (1 + CENTER)


def _stirling(w: Any) -> Any:
    x = 1 / mp.sqrt(w)
    with mp.workdps(200):
        rest = mp.loggamma(x) - (x - 0.5) * mp.log(x) + x - mp.log(2 * mp.pi) / 2
        return +(rest * x)


def _digamma_tail(w: Any) -> Any:
    x = 1 / mp.sqrt(w)
    with mp.workdps(200):
        return +((mp.log(x) - 1 / (2 * x) - mp.digamma(x)) / w)


def _two(t: Any) -> Any:
    return 2 * (1 + t) / (1 - t)


def _erfcx(t: Any) -> Any:
    x = ERFC_CENTER * (1 + t) / (1 - t)
    if x > 60:
        w = 1 / (2 * x * x)
        series = mp.nsum(lambda n: (-w) ** int(n) * mp.fac2(2 * int(n) - 1), [0, 14])
        return series / (x * mp.sqrt(mp.pi)) * (1 + 2 * x)
    with mp.workdps(1700 if x > 25 else 400):
        return +(mp.exp(x * x) * mp.erfc(x) * (1 + 2 * x))


FITS = (
    Fit(
        "EXP",
        "(exp(r) - 1 - r) / r**2, |r| <= ln(2)/2",
        lambda r: (mp.exp(r) - 1 - r) / r**2 if r else mp.mpf(0.5),
        (-LN2 / 2 * 1.01, LN2 / 2 * 1.013),
        lambda r: abs(r),
    ),
    Fit(
        "SINH",
        "(sinh(r)/r - 1) / z, z = r**2, |r| <= ln(2)/2",
        lambda z: (mp.sinh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        (0, (LN2 / 2 * 1.01) ** 2),
        lambda z: z,
    ),
    Fit(
        "COSH",
        "(cosh(r) - 1 - z/2) / z**2, z = r**2, |r| <= ln(2)/2",
        lambda z: (mp.cosh(mp.sqrt(z)) - 1 - z / 2) / z**2,
        (0, (LN2 / 2 * 1.01) ** 2),
        lambda z: z**2,
    ),
    Fit(
        "LOG",
        "(atanh(s)*2/s - 2) / z, z = s**2, |s| <= (sqrt(2)-1)/(sqrt(2)+1)",
        lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z,
        (0, mp.mpf("0.02955")),
        lambda z: z,
    ),
    Fit(
        "LOG_TAIL",
        "(atanh(s)/s - 1 - z/3 - z**2/5) / z**3: what double-doubles leave of log",
        lambda z: (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1 - z / 3 - z**2 / 5) / z**3,
        (0, mp.mpf("0.02955")),
        lambda z: z**3,
        bits=(0, 70),
    ),
    Fit(
        "SIN",
        "(1 - sin(r)/r) / z, z = r**2, |r| <= pi/4 + 0.02",
        lambda z: (1 - mp.sin(mp.sqrt(z)) / mp.sqrt(z)) / z,
        (0, QUARTER**2),
        lambda z: z,
    ),
    Fit(
        "COS",
        "(cos(r) - 1 + z/2) / z**2, z = r**2, |r| <= pi/4 + 0.02",
        lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2,
        (0, QUARTER**2),
        lambda z: z**2 * 1.4,
    ),
    Fit(
        "ARCSIN",
        "(arcsin(s)/s - 1) / z, z = s**2, z <= 1/4",
        lambda z: (mp.asin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        (0, mp.mpf("0.2501")),
        lambda z: z,
    ),
    Fit(
        "ARCTAN",
        "(arctan(t)/t - 1) / z, z = t**2, |t| <= tan(pi/8)",
        lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        (0, mp.mpf("0.1717")),
        lambda z: z,
    ),
    Fit(
        "ERF",
        "erf(x)/x - 2/sqrt(pi), over z, z = x**2, |x| <= 0.75",
        lambda z: (mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 2 / mp.sqrt(mp.pi)) / z,
        (0, mp.mpf("0.5626")),
        lambda z: z,
    ),
    Fit(
        "ERFC",
        "(exp(x**2)*erfc(x)*(1+2*x) - 7*exp(9)*erfc(3)) / t, t = (x-3)/(x+3), "
        "0 <= x <= 28",
        lambda t: (_erfcx(t) - _erfcx(mp.mpf(0))) / t,
        (-1, mp.mpf(25) / 31),
        lambda t: abs(t),
    ),
    Fit(
        "ERF_TAIL",
        "exp(x**2)*erfc(x)*(1+2*x) in t = (x-2)/(x+2), 0.75 <= x <= 6, for 1 - erfc(x)",
        lambda t: mp.exp(_two(t) ** 2) * mp.erfc(_two(t)) * (1 + 2 * _two(t)),
        (mp.mpf(-1.25) / 2.75, mp.mpf(4) / 8),
        lambda t: mp.exp(-(_two(t) ** 2)) / mp.erf(_two(t)) / (1 + 2 * _two(t)),
    ),
    Fit(
        "GAMMALN",
        "ln(gamma(x))/((x-1)*(x-2)) in (x-c)/(x+c), c = float32(sqrt(3)), 1 <= x <= 3",
        _of_mapped(CENTER, _gammaln_pole_free),
        (T1, T3),
        lambda t: mp.mpf(2.5),
    ),
    Fit(
        "GAMMALN_TAIL",
        "x*(ln(gamma(x)) - (x-0.5)*ln(x) + x - ln(2*pi)/2) in 1/x**2, x >= 3",
        _stirling,
        (mp.mpf(10) ** -8, mp.mpf(1) / 9),
        lambda w: mp.sqrt(w) * 1.5,
    ),
    Fit(
        "DIGAMMA",
        "digamma(x)/(x-root) in (x-c)/(x+c), c = float32(sqrt(3)), 1 <= x <= 3",
        _of_mapped(
            CENTER,
            lambda x: mp.digamma(x) / (x - ROOT) if x != ROOT else mp.polygamma(1, x),
        ),
        (T1, T3),
        lambda t: mp.mpf(1.5),
    ),
    Fit(
        "DIGAMMA_TAIL",
        "(ln(x) - 1/(2*x) - digamma(x)) * x**2 in 1/x**2, x >= 3",
        _digamma_tail,
        (mp.mpf(10) ** -8, mp.mpf(1) / 9),
        lambda w: w,
    ),
    Fit(
        "CBRT",
        "cbrt(m), sqrt(1/8) <= m <= sqrt(8): a first approximation",
        lambda m: mp.cbrt(m),
        (mp.mpf("0.3535"), mp.mpf("2.829")),
        lambda m: 1 / mp.cbrt(m),
        bits=(6, 11),
    ),
)


def main() -> None:
    """Print the module of coefficients."""
    print(HEADER)
    for spec in FITS:
        print(f"# {spec.text}")
        rows = []
        for kind, bits in zip((np.float32, np.float64), spec.bits):
            if bits:
                coefficients, achieved = best(spec, kind, 2.0**-bits)
                name = kind.__name__
                print(f"# {name}: error 2**{float(mp.log(achieved, 2)):.1f}")
                rows.append((name, coefficients))
        print(f"{spec.name} = {{")
        for name, coefficients in rows:
            print(f'    "{name}": (')
            for c in coefficients:
                print(f"        {c!r},")
            print("    ),")
        print("}\n", flush=True)


if __name__ == "__main__":
    main()
