"""A model of the machine, measured once, that turns counts into predicted time.

A step takes what launching it takes, and the longer of moving its bytes and computing
(Williams, Waterman & Patterson 2009, "Roofline"). The bandwidth is that of the level of
the memory hierarchy into which the bytes of a call fit.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphc.types.errors import InputError

FILE = "machine.json"
VERSION = 1

SMALLEST, LARGEST = 1 << 14, 1 << 27
"""Bytes of the arrays that bandwidth is measured with."""


class Work(NamedTuple):
    """What a step does, in numbers.

    Attributes
    ----------
    kind : str
        "kernel", "product" or "routine".
    dtype : str
        What it computes in, "float32" or "float64".
    flops, transcendentals, bytes : int
    footprint : int
        Bytes that the whole call moves among: which cache they fit into.
    chunks : int
        Parts that threads may share.
    """

    kind: str
    dtype: str
    flops: int
    transcendentals: int
    bytes: int
    footprint: int
    chunks: int


@dataclass
class Rates:
    """What so many threads reach.

    Attributes
    ----------
    bandwidth : list of (int, float)
        Bytes of the arrays in use, and bytes per second for these.
    flops : dict of str to float
        Per second, by dtype, of multiplications and additions in registers.
    products : dict of str to float
        Per second, of large matrix products.
    transcendentals : dict of str to float
        Calls per second: the harmonic mean for exp, tanh, sin and log.
    """

    bandwidth: list[tuple[int, float]] = field(default_factory=list)
    flops: dict[str, float] = field(default_factory=dict)
    products: dict[str, float] = field(default_factory=dict)
    transcendentals: dict[str, float] = field(default_factory=dict)


@dataclass
class Machine:
    """What was measured.

    Attributes
    ----------
    processor : str
        Its name and features as LLVM tells them.
    threads : int
    one, all : Rates
        Of one thread, and of all.
    call, launch : float
        Seconds that a call of a compiled function takes, and that starting a step on
        all threads does.
    """

    processor: str
    threads: int
    one: Rates
    all: Rates
    call: float
    launch: float

    def predict(self, work: Work) -> float:
        """Return the predicted seconds of a step, without those of the call."""
        shared = work.chunks > 1 and self.threads > 1
        rates = self.all if shared else self.one
        dtype = work.dtype if work.dtype in rates.flops else "float64"
        flops = rates.products if work.kind == "product" else rates.flops
        seconds = work.flops / flops[dtype]
        seconds += work.transcendentals / rates.transcendentals[dtype]
        moved = work.bytes / self.bandwidth(rates, work.footprint)
        return max(seconds, moved) + (self.launch if shared else 0.0)

    @staticmethod
    def bandwidth(rates: Rates, footprint: int) -> float:
        """Return bytes per second for arrays of so many bytes, interpolated."""
        sizes, speeds = zip(*rates.bandwidth)
        place = np.log2(max(footprint, 1))
        return float(np.exp2(np.interp(place, np.log2(sizes), np.log2(speeds))))

    def __str__(self) -> str:
        from graphc.surfaces.cost.table import scaled, seconds, text_table

        rows: list[list[Any]] = []
        for label, rates in (
            ("1 thread", self.one),
            (f"{self.threads} threads", self.all),
        ):
            for size, speed in rates.bandwidth:
                rows.append(
                    [label, f"bandwidth at {scaled(size, 'B')}", scaled(speed, "B/s")]
                )
            for what in ("flops", "products", "transcendentals"):
                for dtype, rate in getattr(rates, what).items():
                    unit = "/s" if what == "transcendentals" else "flop/s"
                    rows.append([label, f"{what} {dtype}", scaled(rate, unit)])
        rows.append(["", "call", seconds(self.call)])
        rows.append(["", "launch", seconds(self.launch)])
        return text_table(("threads", "what", "measured"), rows)


# ---------------------------------------------------------------------- on disk


def machine_file() -> Path | None:
    """Return where the model is kept, None if keeping is off."""
    from graphc.backends.disk_cache import cache_folder

    folder = cache_folder()
    return None if folder is None else folder / FILE


def load() -> Machine | None:
    """Return the model of this processor and number of threads, None without one."""
    from graphc.backends.cpu.cache import machine
    from graphc.backends.cpu.pool import available_threads

    path = machine_file()
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("version") != VERSION:
            return None
        one, rest = (Rates(**found.pop(key)) for key in ("one", "all"))
        model = Machine(one=one, all=rest, **found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # not there, damaged, or of another version: measured again
    same = model.processor == machine() and model.threads == available_threads()
    return model if same else None


def save(model: Machine) -> Path | None:
    """Keep a model, whole or not at all; return where, None if keeping is off.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    path = machine_file()
    if path is None:
        return None
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"version": VERSION, **asdict(model)}, file, indent=1)
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        raise InputError(
            f"calibrate: cannot write {path}: {error.strerror or error}. Set "
            "GRAPHC_CACHE_DIR to a folder that can be written."
        ) from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    return path


# ------------------------------------------------------------------ measurement


def calibrate(seconds: float = 0.1) -> Machine:
    """Measure this machine by small compiled functions, in some seconds in all.

    Parameters
    ----------
    seconds : float
        For each measurement.
    """
    import graphc as cg
    from graphc.backends.cpu.cache import machine
    from graphc.backends.cpu.pool import available_threads

    threads = available_threads()
    x = cg.scalar("x")
    call = best(cg.compile([x], x + 1.0), seconds, 1.0)
    one = _rates(1, seconds, call)
    rest = one if threads == 1 else _rates(threads, seconds, call)
    launch = 0.0 if threads == 1 else _launch(threads, seconds, call, rest)
    return Machine(machine(), threads, one, rest, call, launch)


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


def _rates(threads: int, seconds: float, call: float) -> Rates:
    import graphc as cg

    out = Rates()
    a, b = cg.vector("a", "n"), cg.vector("b", "n")
    add = cg.compile([a, b], a + b, threads=threads)
    size = SMALLEST
    while size <= LARGEST:
        n = size // 24
        x, y, z = np.ones(n), np.ones(n), np.empty(n)
        taken = best(lambda: add(x, y, out=z), seconds / 2)  # noqa: B023
        out.bandwidth.append((size, size / max(taken - call, taken / 4)))
        size *= 4 if size < 1 << 22 else 8
    for dtype in ("float32", "float64"):
        v = cg.vector("v", "n", dtype=dtype)
        chain, each = v, 64
        for _ in range(each // 2):
            chain = chain * v + v
        n = 1 << 17
        x = np.full(n, 0.5, dtype)
        taken = best(cg.compile([v], chain, threads=threads), seconds, x)
        out.flops[dtype] = each * n / taken
        each_call = [
            best(cg.compile([v], f(v), threads=threads), seconds / 2, x) / n
            for f in (cg.exp, cg.tanh, cg.sin, cg.log)
        ]
        out.transcendentals[dtype] = len(each_call) / sum(each_call)
        m = np.ones((768, 768), dtype)
        p, q = (cg.matrix(s, ("n", "n"), dtype=dtype) for s in "pq")
        taken = best(cg.compile([p, q], p @ q, threads=threads), seconds, m, m)
        out.products[dtype] = 2 * 768**3 / taken
    return out


def _launch(threads: int, seconds: float, call: float, rates: Rates) -> float:
    """Return what sharing a step among threads takes: what is left of a small one."""
    import graphc as cg

    v = cg.vector("v", "n")
    n = 1 << 15
    f = cg.compile([v], v + 1.0, threads=threads)
    x, z = np.ones(n), np.empty(n)
    taken = best(lambda: f(x, out=z), seconds)
    moved = 16 * n / Machine.bandwidth(rates, 16 * n)
    return max(0.0, taken - call - moved)
