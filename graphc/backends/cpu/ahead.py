"""Modules compiled ahead of their use, by threads beside the one that needs them.

`begin` puts a module into a queue, for one of a few threads that end when nothing is
left to do. Whoever needs modules takes its share with `help_out`, and then asks for each
by `machine_code`: one that no thread has taken by then the asking one compiles.
So printing and scheduling go on beside LLVM, and modules are compiled side by side.

A `fork` waits until no thread is within LLVM (whose locks the child would find taken),
one module at most; what the threads of the parent had in hand, the child begins anew.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence

from graphc.backends.cpu import jit

MOST_THREADS = 8
"""Threads that compile at a time, at most: functions have few modules that take long."""


class Job:
    """A module to be compiled.

    Attributes
    ----------
    owner : int or None
        The thread that compiles it, or has.
    done : threading.Event
    code : bytes or None
        The object file; None, too, if compiling failed: whoever needs the module then
        meets the error itself.
    unwanted : bool
        Whether nobody will ask for it.
    """

    def __init__(self, key: str, text: str, kind: str):
        self.key = key
        self.text = text
        self.kind = kind
        self.owner: int | None = None
        self.done = threading.Event()
        self.code: bytes | None = None
        self.unwanted = False

    def run(self) -> None:
        """Compile the module, which must be this thread's."""
        try:
            self.code = jit.compiled(self.text, self.kind)
        finally:
            if self.code is None or self.unwanted:
                _jobs.pop(self.key, None)
            self.done.set()


_jobs: dict[str, Job] = {}
_waiting: deque[Job] = deque()
_threads: set[threading.Thread] = set()
_mutex = threading.RLock()
"""Taken for a few lines, in which nothing is waited for, and while a thread forks."""


def begin(key: str, text: str, kind: str) -> Job | None:
    """Have a module compiled by another thread, if threads are to be used.

    Parameters
    ----------
    key : str
        Under which `machine_code` asks for it.
    text, kind : str
        As for `jit.compile_module`.

    Returns
    -------
    Job or None
        For `drop`.
    """
    from graphc.backends.cpu.pool import available_threads

    most = min(available_threads(), MOST_THREADS) - 1
    if most < 1:
        return None
    with _mutex:
        job = _jobs.get(key)
        if job is None:
            job = _jobs[key] = Job(key, text, kind)
            _waiting.append(job)
        if len(_threads) < most:
            thread = threading.Thread(target=_work, name="graphc-compiler")
            _threads.add(thread)
            try:
                thread.start()
            except RuntimeError:  # no more threads, or the interpreter ends
                _threads.discard(thread)
    return job


def help_out() -> None:
    """Compile modules that wait, until none does; an interrupt waits for one."""
    while True:
        with jit.guarded():
            with _mutex:
                job = _next()
            if job is None:
                return
            _tried(job)


def machine_code(key: str, text: str, kind: str) -> bytes:
    """Return the object file of a module, begun or not; within `jit.guarded`."""
    while True:
        with _mutex:
            job = _jobs.get(key)
            if job is None:
                job = _jobs[key] = Job(key, text, kind)
            mine = not job.done.is_set() and _take(job)
        if mine:
            job.run()
        else:
            job.done.wait()
        if job.code is not None:
            _jobs.pop(key, None)
            return job.code


def drop(jobs: Sequence[Job]) -> None:
    """Forget modules that nobody will ask for; those not taken are not compiled."""
    with _mutex:
        for job in jobs:
            job.unwanted = True
            if _jobs.get(job.key) is job and (_take(job) or job.done.is_set()):
                del _jobs[job.key]
                job.done.set()


def _take(job: Job) -> bool:
    """Tell whether a module is for this thread to compile.

    One that it took already is: an interrupt came before it began.
    """
    me = threading.get_ident()
    if job.owner is None:
        job.owner = me
    return job.owner == me


def _next() -> Job | None:
    """Take the next module that waits."""
    while _waiting:
        job = _waiting.popleft()
        if job.owner is None and _take(job):
            return job
    return None


def _tried(job: Job) -> None:
    try:
        job.run()
    except Exception:  # who asks for this one meets it again
        pass


def _work() -> None:
    while True:
        with _mutex:
            job = _next()
            if job is None:
                _threads.discard(threading.current_thread())
                return
        _tried(job)


def _pause() -> None:
    """Wait until no thread is within LLVM, and let none begin."""
    jit.LOCK.acquire()  # first: who holds it may wait for the other
    _mutex.acquire()
    for job in list(_jobs.values()):
        if job.owner not in (None, threading.get_ident()):
            job.done.wait()


def _resume() -> None:
    _mutex.release()
    jit.LOCK.release()


def _begin_anew() -> None:
    _jobs.clear()
    _waiting.clear()
    _threads.clear()
    _resume()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_pause, after_in_parent=_resume, after_in_child=_begin_anew
    )
