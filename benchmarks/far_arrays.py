"""What an element costs that one kernel stores and the next loads, by the array's size.

`graphc/schedule/estimate.py` weighs this against operations done again: `LOAD` and
`STORE` for arrays that a cache holds, `FAR` times as much for arrays larger than
`NEAR`. Its unit is an operation on an element in a vector's register. Run it on an
idle machine:

    python benchmarks/far_arrays.py [float32] [threads]

One function writes ``b = a * c + c`` and then another ``a = b * c + c``, both by graphc
into arrays that are given: each element is loaded and stored once by each. What an
operation takes is the difference of two such functions, one of which does 64 more, on
arrays in the first-level cache.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

import graphc as cg

SIZES = [1 << p for p in range(16, 29)]
NEAR = 4 << 20
ROUNDS = 9
MORE = 64


def seconds(call: Callable[[], object], elements: int) -> float:
    """Return the median time of a call for each element."""
    call()
    repeats = max(1, 4_000_000 // elements)
    samples = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        samples.append((time.perf_counter() - start) / repeats)
    return statistics.median(samples) / elements


def chain(dtype: str, threads: int, operations: int) -> cg.Function:
    """Return a function of an array that does so many multiply-adds on each element."""
    x = cg.vector("x", dtype=dtype)
    y = x
    for number in range(operations):
        y = y * (1.0 + 2.0**-20 * number) + 0.5
    return cg.compile([x], y, threads=threads)


def main(dtype: str = "float64", threads: str = "1") -> None:
    """Print the table, and what follows from it."""
    itemsize = np.dtype(dtype).itemsize
    short, long = (chain(dtype, int(threads), n) for n in (1, 1 + MORE))
    few = 8192 // itemsize
    a, b = np.zeros(few, dtype), np.zeros(few, dtype)
    empty = seconds(lambda: short(a[:8], out=b[:8]), 1)
    times = [seconds(lambda f=f: f(a, out=b), few) for f in (short, long)]
    operation = (times[1] - times[0]) / (2 * MORE)
    print(f"{dtype}, {threads} threads: an operation {operation * 1e12:.1f} ps")
    costs = {}
    for size in SIZES:
        count = size // itemsize
        a, b = np.zeros(count, dtype), np.zeros(count, dtype)

        def there_and_back(a: np.ndarray = a, b: np.ndarray = b) -> None:
            short(a, out=b)
            short(b, out=a)

        each = (seconds(there_and_back, count) / 2 - empty / count) / operation
        costs[size] = each
        print(f"  {size / 2**20:9.3f} MiB: {each:6.1f} operations to load and store")
    near = statistics.median(c for s, c in costs.items() if s <= NEAR)
    far = costs[SIZES[-1]]
    middle = (near * far) ** 0.5
    border = next(s for s in SIZES if all(costs[t] > middle for t in SIZES if t >= s))
    print(f"  near {near:.1f}, far {far:.1f}: FAR {far / near:.1f}, ", end="")
    print(f"NEAR between {border / 2**21:g} and {border / 2**20:g} MiB")


if __name__ == "__main__":
    main(*sys.argv[1:])
