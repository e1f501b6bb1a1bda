"""`graphc bench`: graphc beside whichever peers are installed.

Every peer of a workload runs in a process of its own, for the idle threads of one
pool take the cores from another's. The processes take turns and are stopped while it
is not theirs, so what else the machine does falls on all alike; times are medians.
Compiled kernels are not read from disk, so the time to compile is that of a first run.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from graphc.surfaces.bench import device_peers
from graphc.surfaces.bench.peers import ADAPTERS, installed
from graphc.surfaces.bench.workloads import WORKLOADS
from graphc.types.errors import InputError

TOLERANCE = {"float32": 2e-4, "float64": 1e-9}
"""The largest error of a right answer, by the dtype of the inputs."""

PATIENCE = 300.0
"""Seconds after which a process that does not answer is given up."""

Answer = dict[str, Any]


class Process:
    """A worker, stopped but while it is asked something."""

    def __init__(self, *arguments: str):
        from graphc.backends.cpu.pool import available_threads

        threads = str(available_threads())
        environment = {
            **{
                f"{library}_NUM_THREADS": threads
                for library in ("OMP", "MKL", "OPENBLAS", "NUMBA", "GRAPHC")
            },
            **({} if arguments[-1] == "cuda" else {"JAX_PLATFORMS": "cpu"}),
            **os.environ,
            "GRAPHC_CACHE_DIR": "off",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "graphc.surfaces.bench.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.failed = ""

    def ask(self, command: str, **keywords: Any) -> Answer | None:
        """Return the answer to a command, None once one has failed (`failed`)."""
        if self.failed:
            return None
        self._signal("SIGCONT")
        answer = self._answer(json.dumps([command, keywords]))
        self._signal("SIGSTOP")
        self.failed = answer.get("failed", "")
        return None if self.failed else answer

    def _answer(self, command: str) -> Answer:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(command + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return {"failed": f"ended with status {process.wait()}"}
        if os.name == "posix":
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
            if not ready:
                return {"failed": f"no answer in {PATIENCE:.0f} s"}
        line = process.stdout.readline()
        if not line:
            return {"failed": f"ended with status {process.wait()}"}
        return json.loads(line)

    def _signal(self, name: str) -> None:
        if hasattr(signal, name) and self._process.poll() is None:
            self._process.send_signal(getattr(signal, name))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def run(
    workloads: Sequence[str] = ("*",),
    peers: Sequence[str] | None = None,
    *,
    rounds: int = 5,
    seconds: float = 0.2,
    show: Callable[[str], object] = print,
    backend: str = "cpu",
) -> dict[str, Any]:
    """Run workloads and show a table of each as it is done.

    Parameters
    ----------
    workloads : sequence of str
        Names or patterns such as ``network_*``.
    peers : sequence of str, optional
        Beside graphc; by default those that are installed.
    rounds : int
        How many turns each peer has.
    seconds : float
        How long a turn is.
    show : callable
        Given the text of each table, and at last the geometric means.
    backend : {"cpu", "cuda"}
        Where all run.

    Returns
    -------
    dict
        ``machine``: bytes per second of memory, and flops of products by dtype.
        ``workloads``: for each the peers, and for each peer its median ``seconds``, its
        ``ratio`` to graphc's, seconds to ``compile``, ``memory`` at its peak and before
        it was compiled, its ``error`` and the fraction of the machine's speed
        (``of_machine``), or why it ``failed``.

    Raises
    ------
    InputError
        If there is no such workload or peer.
    """
    names = chosen(workloads)
    here = installed() if backend == "cpu" else device_peers.installed()
    others = [p for p in (here if peers is None else peers) if p != "graphc"]
    for peer in others:
        if peer not in here:
            known = ", ".join(here)
            raise InputError(f"peer {peer!r} is not installed; there are: {known}.")
    machine = _machine(seconds, backend)
    show(
        f"memory {machine['bandwidth'] / 1e9:.1f} GB/s, products "
        f"{machine['float32'] / 1e9:.0f} GFLOP/s in float32 and "
        f"{machine['float64'] / 1e9:.0f} in float64\n"
    )
    results = {}
    for name in names:
        rows = _compare(name, ["graphc", *others], rounds, seconds, backend)
        _relate(name, rows, machine)
        results[name] = rows
        show(table(name, rows))
    show(summary(results))
    return {"machine": machine, "workloads": results}


def chosen(patterns: Sequence[str]) -> list[str]:
    """Return the names of workloads that match any of the patterns."""
    out = []
    for pattern in patterns:
        found = [n for n in WORKLOADS if fnmatchcase(n, pattern)]
        if not found:
            known = ", ".join(WORKLOADS)
            raise InputError(f"no workload is named {pattern!r}; there are: {known}.")
        out += found
    return list(dict.fromkeys(out))


def _machine(seconds: float, backend: str) -> Answer:
    process = Process("machine", backend)
    try:
        answer = process.ask("measure", seconds=seconds)
    finally:
        process.close()
    if answer is None:
        raise InputError(f"the machine could not be measured: {process.failed}.")
    return answer


def _compare(
    name: str, peers: Sequence[str], rounds: int, seconds: float, backend: str
) -> dict[str, Answer]:
    """Run one workload on all peers in turn."""
    processes: dict[str, Process] = {}
    rows: dict[str, Answer] = {p: {} for p in peers}
    samples: dict[str, list[float]] = {p: [] for p in peers}
    try:
        for peer in peers:
            processes[peer] = Process(peer, name, backend)
            rows[peer] |= processes[peer].ask("prepare") or {}
        for _ in range(rounds):
            for peer in peers:
                answer = processes[peer].ask("time", seconds=seconds)
                samples[peer] += answer["samples"] if answer else []
        for peer in peers:
            rows[peer] |= processes[peer].ask("check") or {}
            if processes[peer].failed:
                rows[peer] = {"failed": processes[peer].failed}
            else:
                rows[peer]["seconds"] = statistics.median(samples[peer])
    finally:
        for process in processes.values():
            process.close()
    return rows


def _relate(name: str, rows: dict[str, Answer], machine: Answer) -> None:
    """Add what follows from the measurements: errors judged, ratios, fractions."""
    workload = WORKLOADS[name]
    arrays = workload.arrays()
    dtype = arrays[0].dtype
    written = sum(e.size * dtype.itemsize for e in workload.expected())
    least = sum(a.nbytes for a in arrays) + written
    ours = rows["graphc"].get("seconds")
    for row in rows.values():
        if "failed" in row:
            continue
        if not row["error"] <= TOLERANCE[dtype.name]:
            row["failed"] = f"wrong: an error of {row['error']:.1e}"
            continue
        row["ratio"] = row["seconds"] / ours if ours else math.nan
        work, speed = (
            (workload.flops, machine[dtype.name])
            if workload.flops
            else (least, machine["bandwidth"])
        )
        row["of_machine"] = work / row["seconds"] / speed


def table(name: str, rows: dict[str, Answer]) -> str:
    """Return the text of one workload's results."""
    workload = WORKLOADS[name]
    limit = "of BLAS" if workload.flops else "of memory"
    lines = [
        f"{name}: {workload.summary}",
        f"  {'peer':<14}{'time':>11}{'ratio':>11}{'compile':>11}{'peak':>10}"
        f"{limit:>11}",
    ]
    for peer, row in rows.items():
        if "failed" in row:
            lines.append(f"  {peer:<14}{row['failed']}")
            continue
        lines.append(
            f"  {peer:<14}{duration(row['seconds']):>11}{row['ratio']:>10.2f}x"
            f"{duration(row['compile']):>11}{row['memory'] / 1e6:>7.0f} MB"
            f"{100 * row['of_machine']:>9.1f} %"
        )
    return "\n".join(lines) + "\n"


def summary(results: dict[str, dict[str, Answer]]) -> str:
    """Return the geometric means of the peers' ratios to graphc."""
    lines = []
    for peer in dict.fromkeys([*ADAPTERS, *device_peers.ADAPTERS]):
        rows = [rows[peer] for rows in results.values() if peer in rows]
        ratios = [r["ratio"] for r in rows if r.get("ratio", math.nan) > 0]
        if peer != "graphc" and ratios:
            mean = math.exp(statistics.fmean(map(math.log, ratios)))
            lines.append(
                f"{peer} takes {mean:.2f} times graphc's time (geometric mean of "
                f"{len(ratios)} of {len(rows)})"
            )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return a time with three digits and its unit."""
    units = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
    unit, size = next((u for u in units if seconds >= u[1]), units[-1])
    return f"{seconds / size:.3g} {unit}"
