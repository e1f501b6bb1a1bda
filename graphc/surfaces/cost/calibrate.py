"""Measures a machine by small compiled functions, for the model of `cost.machine`.

What takes a time of its own is timed in two functions that differ by it alone, and the
difference is divided among the elements; of each the shortest time counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import graphc as cg
from graphc.backends.cpu.cache import machine
from graphc.backends.cpu.pool import available_threads
from graphc.backends.cpu.register_tile import tile
from graphc.graph.node import Node
from graphc.ops.counting import FUNCTIONS
from graphc.surfaces.cost.machine import Machine, ProductRates, Seconds

SMALLEST, LARGEST = 1 << 15, 1 << 27
"""Bytes of the arrays that bandwidth is measured with."""

ELEMENTS = 1024
"""Of arrays that stay in the first-level cache."""

PRODUCTS = (
    *((8, 16, 8), (16, 16, 16), (32, 32, 32), (64, 64, 64), (96, 96, 96)),
    *((192, 192, 192), (256, 16, 512), (512, 16, 256), (32, 256, 64), (448, 448, 448)),
)
"""Sizes (m, n, k) of products whose times tell their rates."""

DTYPES = {"4": "float32", "8": "float64"}


def calibrate(seconds: float = 0.02) -> Machine:
    """Measure this machine, in some seconds in all.

    Parameters
    ----------
    seconds : float
        For each measurement.

    Returns
    -------
    Machine
    """
    timer = Timer(seconds)
    threads = available_threads()
    model = Machine(machine(), threads)
    _call(model, timer)
    for size, dtype in DTYPES.items():
        _vector(model.vector, timer, size, dtype)
        _scalar(model.scalar, timer, size, dtype)
        _rows(model, timer, size, dtype)
        model.products[dtype] = _product(model, timer, dtype)
    model.one = _bandwidth(timer, 1)
    model.all = model.one if threads == 1 else _bandwidth(timer, threads)
    _threads(model, timer)
    _new_memory(model, timer)
    return model


def best(function: Callable[..., Any], seconds: float, *args: Any) -> float:
    """Return the shortest time of a call, of as many as fit, by samples of 0.1 ms."""
    function(*args)
    start = time.perf_counter()
    function(*args)
    batch = max(1, int(1e-4 / max(time.perf_counter() - start, 1e-7)))
    shortest, end = np.inf, time.perf_counter() + seconds
    while shortest == np.inf or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(batch):
            function(*args)
        shortest = min(shortest, (time.perf_counter() - start) / batch)
    return float(shortest)


class Timer:
    """Times functions of expressions, each for so many seconds."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def __call__(
        self, inputs: Sequence[Node], outputs: Any, *arrays: Any, threads: int = 1
    ) -> float:
        """Compile a function and return the shortest time of a call."""
        function = cg.compile(list(inputs), outputs, threads=threads)
        return best(function, self.seconds, *arrays)


def _each(difference: float, count: int) -> float:
    """Return the time of one of so many, above zero though noise may say else."""
    return max(difference, 1e-14) / count


# ----------------------------------------------------------------------- calls


def _call(model: Machine, timer: Timer) -> None:
    x = [cg.vector(f"x{i}", 3) for i in range(9)]
    a = [np.ones(3)] * 9
    once = timer(x[:1], x[0] * 2.0, a[0])
    results = [x[0] * float(i) for i in range(2, 10)]
    product = x[0]
    for other in x[1:]:
        product = product * other
    model.argument = _each(timer(x, product, *a) - once, 8)
    model.result = _each(timer(x[:1], results, a[0]) - once, 7)
    model.call = max(once - model.argument - model.result, 0.0)
    flat = timer(x[:1], results[:3], a[0])
    nested = timer(x[:1], (results[0], [results[1]], [results[2]]), a[0])
    model.container = _each(nested - flat, 3)


def _new_memory(model: Machine, timer: Timer) -> None:
    """Find the results for which the system makes new pages at each call."""
    v = cg.vector("v", "n")
    f = cg.compile([v], v + 1.0)
    size = 1 << 20
    while size <= max(LARGEST >> 1, 1 << 20):
        x, z = np.ones(size // 8), np.empty(size // 8)
        fresh = best(f, timer.seconds, x)
        kept = best(lambda: f(x, out=z), timer.seconds)  # noqa: B023
        if fresh - kept > 0.25 * kept:
            model.fault = (fresh - kept) / size
            model.kept = size // 2
            return
        size *= 2


# ---------------------------------------------------------------- instructions


def _functions(x: Node) -> dict[str, Node]:
    """Return each slow instruction, applied to numbers between 0 and 1."""
    out = {
        "div": 2.0 / (x + 1.0),
        "sqrt": cg.sqrt(x + 1.0),
        "floordiv": (x + 1.0) // 0.3,
        "mod": (x + 1.0) % 0.3,
    }
    for name in sorted(FUNCTIONS):
        if name == "pow":
            out[name] = (x + 1.0) ** (x + 0.3)
        elif name == "polygamma":
            out[name] = cg.polygamma(1, x + 1.0)
        elif name in ("arctan2", "hypot", "logaddexp"):
            out[name] = getattr(cg, name)(x + 1.0, x)
        else:
            out[name] = getattr(cg, name)(x + 1.0 if name == "arccosh" else x * 1.5)
    return out


def _vector(table: Seconds, timer: Timer, size: str, dtype: str) -> None:
    """Time instructions in loops on vectors, loads and stores of which are few."""
    x = cg.vector("x", "n", dtype=dtype)
    a = np.linspace(0.1, 0.6, ELEMENTS).astype(dtype)

    def put(what: str, difference: float, count: int = 1) -> None:
        table.setdefault(what, {})[size] = _each(difference, count * ELEMENTS)

    short, long = (timer([x], polynomials(x, n), a) for n in (4, 12))
    put("flop", long - short, 4 * (12 - 4))
    base = timer([x], x * 1.5, a)
    for name, y in _functions(x).items():
        put(name, timer([x], y, a) - base)
    angle = timer([x], cg.sin(x), a)
    put("sincos", timer([x], cg.sin(x) + cg.cos(x), a) - angle)


def polynomials(x: Node, degree: int) -> Node:
    """Return the sum of two polynomials, of 4 operations for each degree."""
    one, two = x * 2.0, x * 3.0
    for _ in range(degree):
        one, two = one * x + 1.0, two * x + 2.0
    return one + two


def usual(size: int, dtype: str) -> np.ndarray:
    """Return ones at an address as NumPy's large arrays have: 16 above a cache line."""
    room = np.ones(size * np.dtype(dtype).itemsize + 128, np.uint8)
    start = (16 - room.ctypes.data) % 64
    array = room[start : start + size * np.dtype(dtype).itemsize].view(dtype)
    array[:] = 1
    return array


FULL = 1 << 15
"""Of arrays that stay in the second-level cache, long enough for steady times."""

LINKS = 16
"""Instructions of a chain."""


def _scalar(table: Seconds, timer: Timer, size: str, dtype: str) -> None:
    """Time instructions of scalars, each waiting for the one before."""
    s = cg.scalar("s", dtype=dtype)
    v = np.array(0.3, dtype)

    def chain(name: str, links: int) -> float:
        times = []
        for some in (links // 4, links):
            y = s
            for _ in range(some):
                y = _functions(y).get(name, y) * 1e-3 + s
            times.append(timer([s], y, v))
        return _each(times[1] - times[0], links - links // 4)

    link = chain("", 16 * LINKS) / 2
    table.setdefault("link", {})[size] = link
    for name in _functions(s):
        table.setdefault(name, {})[size] = max(chain(name, LINKS) - 2 * link, link)
    table.setdefault("sincos", {})[size] = table["cos"][size]


def _rows(model: Machine, timer: Timer, size: str, dtype: str) -> None:
    """Time loads and stores, and what loops inside of rows take."""
    v, c = cg.vector("v", "n", dtype=dtype), cg.vector("c", "n", dtype=dtype)
    fixed = model.call + model.argument + model.result

    def per_element(y: Node) -> float:
        few, many = (timer([v], y, usual(n, dtype)) for n in (FULL // 4, FULL))
        return _each(many - few, FULL - FULL // 4)

    load, both = per_element(cg.sum(v)), per_element(v * 2.0)
    model.vector.setdefault("load", {})[size] = load
    model.vector.setdefault("store", {})[size] = max(both - load, load / 2)
    x, rows, columns = cg.matrix("x", ("n", "m"), dtype=dtype), 128, 32
    a, b = np.ones((rows, columns), dtype), np.ones(rows, dtype)
    mapped = timer([x, c], x * c[:, None], a, b) - fixed - model.argument
    enter = max(mapped / rows - columns * both, 1e-10)
    summed = timer([x], cg.sum(x, axis=1), a) - fixed
    reduce = max(summed / rows - columns * load - enter, 1e-10)
    for what, taken in (("enter", enter), ("reduce", reduce)):
        model.scalar.setdefault(what, {})[size] = taken
    # rows of which each element is far from that of the next row
    far = cg.tensor("far", ("n", 12), dtype=dtype)
    n = 128
    a, b = np.ones((n, 12), dtype), np.ones(n, dtype)
    load = _each(timer([far], cg.sum(far, axis=1), a) - fixed, 12 * n)
    scaled = timer([far, c], far * c[:, None], a, b) - fixed - model.argument
    both = _each(scaled, 12 * n)
    model.scalar.setdefault("load", {})[size] = load
    model.scalar.setdefault("store", {})[size] = max(both - load, load)
    # a row by itself, its operations side by side
    one = cg.tensor("one", (1, 12), dtype=dtype)
    few, many = (timer([one], polynomials(one, k), a[:1]) for k in (2, 10))
    each = _each(many - few, 12 * 4 * 8)
    model.scalar.setdefault("flop", {})[size] = max(each, model.vector["flop"][size])


# -------------------------------------------------------------------- products


def _product(model: Machine, timer: Timer, dtype: str) -> ProductRates:
    """Fit the time of products to their sizes, relative errors being what counts."""
    from scipy.optimize import nnls

    p = cg.matrix("p", ("m", "k"), dtype=dtype)
    q = cg.matrix("q", ("k", "n"), dtype=dtype)
    lanes = tile("s" if dtype == "float32" else "d").lanes
    fixed = model.call + 2 * model.argument + model.result
    rows, times = [], []
    for m, n, k in PRODUCTS:
        a, b = np.ones((m, k), dtype), np.ones((k, n), dtype)
        times.append(max(timer([p, q], p @ q, a, b) - fixed, 1e-9))
        columns = -(-n // lanes) * lanes
        rows.append([1e-6, 2e-9 * m * columns * k, 1e-9 * (m * k + k * n)])
    scaled = np.array(rows) / np.array(times)[:, None]
    found, _ = nnls(scaled, np.ones(len(times)))
    m, n, k = PRODUCTS[-1]
    rate = max(found[1] * 1e-9, 0.1 * times[-1] / (2 * m * n * k))
    speedup = 1.0
    if model.threads > 1:
        a = np.ones((m, k), dtype)
        f = cg.compile([p, q], p @ q, threads=model.threads)
        speedup = _gain(model.threads, times[-1], lambda: best(f, timer.seconds, a, a))
    return ProductRates(found[0] * 1e-6, rate, found[2] * 1e-9, speedup, lanes)


# --------------------------------------------------------------------- threads


def _bandwidth(timer: Timer, threads: int) -> list[tuple[int, float]]:
    """Time sums of arrays of many sizes, in rounds: other programs come and go."""
    a, b = cg.vector("a", "n"), cg.vector("b", "n")
    add = cg.compile([a, b], a + b, threads=threads)
    one, z = np.ones(1), np.empty(1)
    overhead = best(lambda: add(one, one, out=z), timer.seconds)
    sizes = [SMALLEST]
    while sizes[-1] < LARGEST:
        sizes.append(sizes[-1] * (4 if sizes[-1] < 1 << 22 else 2))
    speeds = dict.fromkeys(sizes, 0.0)
    for _ in range(ROUNDS):
        for size in sizes:
            n = size // 24
            x, y, z = np.ones(n), np.ones(n), np.empty(n)
            taken = best(partial(add, x, y, out=z), timer.seconds / 2)
            speed = size / max(taken - overhead, taken / 4)
            speeds[size] = max(speeds[size], speed)
    return list(speeds.items())


ROUNDS = 4
"""In which bandwidth is measured."""


def _threads(model: Machine, timer: Timer) -> None:
    """Time a kernel that computes much: what threads gain, and what starting takes."""
    if model.threads == 1:
        return
    v = cg.vector("v", "n")
    y = polynomials(v, 8)
    large, small = np.ones(1 << 17), np.ones(1 << 12)
    one = timer([v], y, large)
    f = cg.compile([v], y, threads=model.threads)
    model.speedup = _gain(model.threads, one, lambda: best(f, timer.seconds, large))
    one, all_ = (timer([v], y, small, threads=t) for t in (1, model.threads))
    model.launch = max(0.0, all_ - one / model.speedup)


def _gain(threads: int, alone: float, together: Callable[[], float]) -> float:
    """Return how much faster all threads are; on a busy machine try for some seconds.

    While another process has a core, two threads are as fast as one.
    """
    gain = 1.0
    for _ in range(TRIES):
        gain = max(gain, alone / together())
        if gain > 0.8 * threads:
            break
        time.sleep(0.2)
    return min(gain, float(threads))


TRIES = 20
