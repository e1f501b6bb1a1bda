"""How much functions slow down beside busy processes, graphc's and those of peers.

For each workload of `graphc bench`, peers take turns, idle and beside processes that do
nothing but count, in the same run. A program that shares its work among as many threads
as there are cores, without waiting, slows down by ``(cores + busy) / cores``: the busy
processes get a fair share. What waits for a thread that was taken off its core slows
down more; what uses one core of several can slow down less, and be slower all the same.
Some calls beside a busy process take as long as idle ones and some twice as long, so
the ratio of means stands beside that of medians.

    python benchmarks/loaded.py                             # graphc and JAX
    python benchmarks/loaded.py --peers numpy,jax --workload 'network_*'
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from graphc.backends.cpu.pool import available_threads
from graphc.surfaces.bench import Process, chosen, duration, installed


class Busy:
    """Processes that count as long as they are let."""

    def __init__(self, count: int):
        command = [sys.executable, "-c", "while True: pass"]
        self.processes = [subprocess.Popen(command) for _ in range(count)]
        self._signal(signal.SIGSTOP)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let them run."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def close(self) -> None:
        """End them."""
        for process in self.processes:
            process.kill()
            process.wait()

    def _signal(self, number: int) -> None:
        for process in self.processes:
            os.kill(process.pid, number)


def compare(
    name: str, peers: Sequence[str], busy: Busy, rounds: int, seconds: float
) -> dict[str, tuple[list[float], list[float]]]:
    """Return the seconds of calls of each peer, idle and beside the busy."""
    processes = {peer: Process(peer, name) for peer in peers}
    idle: dict[str, list[float]] = {peer: [] for peer in peers}
    loaded: dict[str, list[float]] = {peer: [] for peer in peers}
    try:
        for process in processes.values():
            process.ask("prepare")
        for _ in range(rounds):
            for peer, process in processes.items():
                answer = process.ask("time", seconds=seconds)
                idle[peer] += answer["samples"] if answer else []
                with busy.running():
                    answer = process.ask("time", seconds=seconds)
                loaded[peer] += answer["samples"] if answer else []
    finally:
        for process in processes.values():
            process.close()
    return {
        peer: (idle[peer], loaded[peer])
        for peer, process in processes.items()
        if not process.failed
    }


def main() -> None:
    """Print a row for each workload and peer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", action="append", help="a name or pattern")
    parser.add_argument("--peers", default="jax", help="beside graphc")
    parser.add_argument("--busy", type=int, default=1, help="busy processes (1)")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn (0.3)")
    parsed = parser.parse_args()
    there = installed()
    peers = ["graphc", *(p for p in parsed.peers.split(",") if p in there)]
    cores = available_threads()
    fair = (cores + parsed.busy) / cores
    print(f"{cores} threads, {parsed.busy} busy: fair would be {fair:.2f} times\n")
    head = "".join(
        f"{peer + ' idle':>14}{'loaded':>10}{'slower':>8}{'mean':>6}" for peer in peers
    )
    print(f"{'workload':<18}{head}")
    busy = Busy(parsed.busy)
    found: dict[str, list[tuple[float, float]]] = {peer: [] for peer in peers}
    try:
        for name in chosen(parsed.workload or ["*"]):
            rows = compare(name, peers, busy, parsed.rounds, parsed.seconds)
            cells = []
            for peer in peers:
                if peer not in rows:
                    cells.append(f"{'-':>38}")
                    continue
                idle, loaded = map(statistics.median, rows[peer])
                means = [statistics.mean(samples) for samples in rows[peer]]
                found[peer].append((loaded / idle, means[1] / means[0]))
                times = f"{duration(idle):>14}{duration(loaded):>10}"
                cells.append(f"{times}{found[peer][-1][0]:>8.2f}")
                cells.append(f"{found[peer][-1][1]:>6.2f}")
            print(f"{name:<18}{''.join(cells)}", flush=True)
    finally:
        busy.close()
    for peer, ratios in found.items():
        if ratios:
            for kind, of in zip(("calls", "means"), zip(*ratios)):
                print(
                    f"{peer}, {kind}: median {statistics.median(of):.2f}",
                    end=" times; ",
                )
                print(f"{min(of):.2f} to {max(of):.2f}")


if __name__ == "__main__":
    main()
