"""graphc.lambdify beside sympy.lambdify and symengine.Lambdify: to build and to call.

    python benchmarks/lambdify.py [--sizes 10 100 1000 5000 20000]

Expressions are random, of sines, exponentials, quotients, powers and products that
share parts. "build" makes the function, "first" is its first call, for which graphc
compiles and symengine's LLVM backend has compiled before; "scalar" and "array" are
later calls with numbers and with arrays of 10,000 elements. Compiled code is not taken
from the disk. A size counts sympy's operations (count_ops).
symengine is left out where it is not installed, its LLVM backend where it has none.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

import graphc as cg

ELEMENTS = 10_000
VARIABLES = 6


def expression(size: int, seed: int) -> tuple[tuple[Any, ...], Any]:
    """Return symbols and a sum of terms with about `size` operations."""
    symbols = sp.symbols(f"x0:{VARIABLES}", real=True)
    rng = random.Random(seed)
    parts = [sp.sin(a * round(rng.random(), 6) + b) for a in symbols for b in symbols]
    terms, count = [], 0
    while count < size:
        a, b = rng.choice(symbols), rng.choice(symbols)
        c, d = round(rng.random(), 6), round(rng.random(), 6)
        kind = rng.randrange(4)
        if kind == 0:
            term = sp.exp(-c * b**2) / (1 + d * a**2)
        elif kind == 1:
            term = rng.choice(parts) * (a - c * b)
        elif kind == 2:
            term = (c * a + d * b) ** rng.randrange(2, 5) * sp.cos(b)
        else:
            term = sp.sqrt(1 + c * a**2) * rng.choice(parts)
        terms.append(term)
        count += int(sp.count_ops(term)) + 1
    return symbols, sp.Add(*terms)


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds a call takes, and its result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def per_call(function: Callable[[], Any], budget: float = 0.3) -> float:
    """Return the least seconds per call over batches that take some time."""
    once, _ = timed(function)
    count = max(1, int(budget / 5 / max(once, 1e-7)))
    return min(
        timed(lambda: [function() for _ in range(count)])[0] / count for _ in range(5)
    )


def row(
    name: str, build: Callable[[], Any], call: Any, scalars: Any, arrays: Any
) -> tuple[str, list[float], float, np.ndarray]:
    """Measure one library; `call` calls what it built with arguments."""
    made, f = timed(build)
    first, value = timed(lambda: call(f, scalars))
    scalar = per_call(lambda: call(f, scalars))
    many = np.asarray(call(f, arrays))
    array = per_call(lambda: call(f, arrays))
    return name, [made, first, scalar, array], float(np.ravel(value)[0]), many


def libraries(symbols: Any, expr: Any, numbers: Any, columns: Any) -> list[tuple]:
    """Return what to measure: name, how to build, how to call, arguments."""

    def starred(f: Any, args: Any) -> Any:
        return f(*args)

    out = [
        ("graphc", lambda: cg.lambdify(symbols, expr), starred, numbers, columns),
        (
            "sympy",
            lambda: sp.lambdify(symbols, expr, modules="numpy", cse=True),
            starred,
            numbers,
            columns,
        ),
    ]
    try:
        import symengine as se
    except ImportError:
        return out
    stacked = np.stack(columns, axis=-1)

    def whole(f: Any, args: Any) -> Any:
        return f(args)

    for backend in ("lambda", "llvm"):
        if backend == "llvm" and not getattr(se, "have_llvm", False):
            continue

        def build(backend: str = backend) -> Any:
            return se.Lambdify(
                [se.sympify(s) for s in symbols],
                [se.sympify(expr)],
                cse=True,
                backend=backend,
            )

        out.append((f"symengine {backend}", build, whole, np.array(numbers), stacked))
    return out


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[10, 100, 1000, 5000, 20000]
    )
    sizes = parser.parse_args().sizes
    rng = np.random.default_rng(0)
    numbers = [float(v) for v in rng.uniform(0.2, 1.5, VARIABLES)]
    columns = list(rng.uniform(0.2, 1.5, (VARIABLES, ELEMENTS)))
    with cg.config(cache_dir="off"):
        for f in (cg.lambdify, sp.lambdify):  # what both load at first use
            s = sp.Symbol("s")
            f(s, sp.sin(s))(1.0)
    head = "operations  library            build ms  first ms  scalar us  array us"
    print(head, flush=True)
    for size in sizes:
        symbols, expr = expression(size, seed=size)
        wanted = None
        for library in libraries(symbols, expr, numbers, columns):
            with cg.config(cache_dir="off"):
                name, times, value, many = row(*library)
            if wanted is None:
                wanted = value, many
            np.testing.assert_allclose(value, wanted[0], rtol=1e-9)
            np.testing.assert_allclose(many.ravel(), wanted[1].ravel(), rtol=1e-9)
            build, first, scalar, array = times
            print(
                f"{sp.count_ops(expr):10d}  {name:17s} {build * 1e3:9.2f} "
                f"{first * 1e3:9.2f} {scalar * 1e6:10.2f} {array * 1e6:9.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
