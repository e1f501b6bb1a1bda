"""One peer in a process of its own: commands as JSON lines on the standard input.

``python -m graphc.surfaces.bench.worker PEER WORKLOAD BACKEND`` answers each line of
its input with one line. What libraries print goes to the standard error output.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

import numpy as np

from graphc.surfaces.bench.peers import ADAPTERS, Unsupported
from graphc.surfaces.bench.workloads import WORKLOADS

BATCH_SECONDS = 1e-4
"""A timed sample is of as many calls as take at least that long."""


class Worker:
    """What a process has prepared, and the commands it understands."""

    def __init__(self, peer: str, workload: str, backend: str = "cpu"):
        self.workload = WORKLOADS[workload]
        self.adapter: Callable[..., Any] = adapters(backend)[peer]

    def prepare(self) -> dict[str, Any]:
        """Compile and call for the first time; settle on the calls of a sample."""
        arrays = self.workload.arrays()
        before = peak_memory()
        start = time.perf_counter()
        self.call = self.adapter(self.workload, arrays)
        self.wait = getattr(self.call, "wait", lambda: None)
        self.host = getattr(self.call, "host", np.asarray)
        self.call()
        self.wait()
        cold = time.perf_counter() - start
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            self.call()
            self.wait()
            seconds.append(time.perf_counter() - start)
        self.batch = max(1, int(BATCH_SECONDS / min(seconds)))
        return {"compile": cold, "memory_before": before}

    def time(self, seconds: float) -> dict[str, Any]:
        """Return the seconds of a call in as many samples as fit."""
        samples: list[float] = []
        end = time.perf_counter() + seconds
        while not samples or time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(self.batch):
                self.call()
            self.wait()
            samples.append((time.perf_counter() - start) / self.batch)
        return {"samples": samples}

    def check(self) -> dict[str, Any]:
        """Return the largest error of the results, and the peak of memory before."""
        memory = peak_memory()
        got = [np.asarray(self.host(r)) for r in self.call()]
        return {"error": largest_error(got, self.workload.expected()), "memory": memory}


def largest_error(got: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Return the largest error relative to the entry, or to the root mean square.

    Infinite where there is another number of results, another shape, or a NaN.
    """
    if [g.shape for g in got] != [e.shape for e in expected]:
        return np.inf
    worst = 0.0
    for g, e in zip(got, expected):
        scale = np.maximum(np.abs(e), np.sqrt(np.mean(e * e)))
        error = np.abs(g.astype(np.float64) - e) / np.where(scale == 0, 1, scale)
        worst = max(worst, float(error.max())) if np.isfinite(error).all() else np.inf
    return worst


def peak_memory() -> int:
    """Return the most bytes this process has had in memory, 0 if that is unknown."""
    try:
        # getrusage's number would begin with that of the process that started this one
        with open("/proc/self/status", encoding="ascii") as file:
            line = next(text for text in file if text.startswith("VmHWM"))
            return 1024 * int(line.split()[1])
    except (OSError, StopIteration):
        pass  # not Linux
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def adapters(backend: str) -> dict[str, Any]:
    """Return the adapters of the peers on a backend, by name."""
    if backend == "cuda":
        from graphc.surfaces.bench import device_peers

        return dict(device_peers.ADAPTERS)
    return dict(ADAPTERS)


class Machine:
    """What the machine, or its device, can do, to hold times against."""

    def __init__(self, backend: str = "cpu"):
        self.backend = backend

    def measure(self, seconds: float) -> dict[str, Any]:
        """Return bytes per second of memory, and flops of products by dtype.

        The bandwidth is the best of a copy by NumPy and a sum over the products of two
        arrays by graphc, of arrays that fit no cache; the flops are NumPy's BLAS's.
        """
        if self.backend == "cuda":
            from graphc.surfaces.bench.device_peers import measure_device

            return measure_device(seconds)
        import graphc as cg

        x, y = np.ones(1 << 24), np.ones(1 << 24)
        a, b = cg.vector("a", "n"), cg.vector("b", "n")
        total = cg.compile([a, b], cg.sum(a * b))

        def copy() -> None:
            y[...] = x

        moved = 2 * x.nbytes
        out = {
            "bandwidth": moved
            / min(best(copy, seconds), best(lambda: total(x, y), seconds))
        }
        for dtype in ("float32", "float64"):
            m = np.ones((1536, 1536), dtype)
            taken = best(partial(np.matmul, m, m, out=np.empty_like(m)), seconds)
            out[dtype] = 2 * 1536**3 / taken
        return out


def best(call: Callable[[], Any], seconds: float) -> float:
    """Return the shortest time of a call, of as many as fit."""
    call()
    shortest, end = np.inf, time.perf_counter() + seconds
    while shortest == np.inf or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


def serve(target: Any, commands: TextIO, answers: TextIO) -> None:
    """Answer commands until there are no more; a failure is an answer too."""
    for line in commands:
        name, keywords = json.loads(line)
        try:
            answer = getattr(target, name)(**keywords)
        except Unsupported as error:
            answer = {"failed": f"not attempted: {error}"}
        except Exception as error:  # the table has a row for what failed
            text = str(error).splitlines() or [""]
            answer = {"failed": f"{type(error).__name__}: {text[0]}"[:200]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Serve the peer and workload of the command line, or the machine."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer, *rest = sys.argv[1:]
    target = Machine(*rest) if peer == "machine" else Worker(peer, *rest)
    serve(target, sys.stdin, answers)


if __name__ == "__main__":
    main()
