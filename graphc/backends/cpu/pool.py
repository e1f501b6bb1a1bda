"""The thread pool: how many threads kernels may use, and the state of the launcher.

`pool` loads the launcher of `pool_code` and registers it under the names compiled
functions call it by; what Python reads and sets of it are words of its shared state.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from pathlib import Path

from graphc.backends.cpu import jit
from graphc.backends.cpu.ahead import Job
from graphc.backends.cpu.pool_code import (
    CORES,
    DEFAULT,
    EPOCH,
    MAX_THREADS,
    MOVES,
    PARKS,
    STARTED,
    WORDS,
    source,
)
from graphc.types.config import on_change, options


class Pool:
    """The state of the pool as Python sees it.

    Attributes
    ----------
    launcher : int
        The address of ``graphc_launch``.
    """

    def __init__(self, launcher: int, reset: int):
        self.launcher = launcher
        self._reset = ctypes.CFUNCTYPE(ctypes.c_void_p)(reset)
        self._words = (ctypes.c_int64 * WORDS).from_address(self._reset())
        self._words[CORES] = usable_cores()

    def reset(self) -> None:
        """Begin anew without workers: after `fork`, the parent's are not here."""
        self._reset()

    @property
    def threads(self) -> int:
        """How many threads a launch may use that does not say: caller and workers."""
        return self._words[DEFAULT]

    @threads.setter
    def threads(self, count: int) -> None:
        self._words[DEFAULT] = count

    @property
    def workers(self) -> int:
        """How many workers have been started in this process."""
        return self._words[STARTED]

    @property
    def launches(self) -> int:
        """How many launches were shared with workers, modulo 2**31."""
        return self._words[EPOCH]

    @property
    def parks(self) -> int:
        """How often a worker went to sleep."""
        return self._words[PARKS]

    @property
    def moves(self) -> int:
        """How often a worker left the core of its launch's caller."""
        return self._words[MOVES]


def available_threads() -> int:
    """Return how many threads kernels may use: the option, or the usable cores.

    Usable are the cores this process may run on, or fewer if its control group has
    a smaller quota of processor time.
    """
    wanted = options().threads
    if not _has_posix_threads():
        return 1
    if wanted > 0:
        return min(wanted, MAX_THREADS)
    return usable_cores()


def usable_cores() -> int:
    """Return how many cores this process may run on, by its mask and quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, cgroup_cores(), MAX_THREADS))


def cgroup_cores(root: Path = Path("/")) -> int:
    """Return the cores' worth of time Linux's control groups grant, rounded up.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` lie.

    Returns
    -------
    int
        `MAX_THREADS` where there is no quota.
    """
    least = float(MAX_THREADS)
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return MAX_THREADS
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        inside = Path(path.lstrip("/"))
        for folder in (inside, *inside.parents):
            least = min(least, _quota(top / folder))
    return max(1, math.ceil(least))


def _quota(folder: Path) -> float:
    """Return the cores' worth of time a control group has, infinite if unlimited."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def _has_posix_threads() -> bool:
    return sys.platform != "win32"


_pool: Pool | None = None


def begin_pool() -> list[Job]:
    """Have the pool's code compiled ahead, unless it is loaded; see `cache.begin`."""
    from graphc.backends.cpu.cache import begin

    return [] if _pool is not None else begin(source(), "once")


def pool() -> Pool:
    """Return the process's pool, its default number `available_threads`."""
    global _pool
    if _pool is None:
        from graphc.backends.cpu.cache import machine_code

        with jit.guarded():
            if _pool is None:
                code = machine_code(source(), "once")
                names = ["graphc_launch", "graphc_pool_reset", "graphc_threads"]
                launcher, reset, threads = jit.load(code, names)
                jit.add_symbol("graphc_threads", threads)
                jit.add_symbol("graphc_launch", launcher)
                new = Pool(launcher, reset)
                new.threads = available_threads()
                if hasattr(os, "register_at_fork"):
                    os.register_at_fork(after_in_child=new.reset)
                on_change(_follow_options)
                _pool = new
    return _pool


def _follow_options() -> None:
    if _pool is not None:
        _pool.threads = available_threads()
