"""The launcher by itself: a pool of its own, whose kernels are functions of Python."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from ctypes import CFUNCTYPE, c_int64, c_void_p

import pytest

from graphc.backends.cpu import jit, pool_code, pool_system
from graphc.backends.cpu.cache import machine_code
from graphc.backends.cpu.pool import Pool

Kernel = CFUNCTYPE(None, c_int64, c_int64, c_int64, c_void_p)
PATIENCE = 60.0

needs_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs Linux and two cores",
)


class Own(Pool):
    """A pool beside the process's, and the functions its workers call."""

    count = 0

    def __init__(self, replace: tuple[tuple[str, str], ...] = ()):
        Own.count += 1
        text = pool_code.source()
        for old, new in (*replace, ("@graphc_", f"@own{Own.count}_")):
            assert old in text
            text = text.replace(old, new)
        names = ["launch", "pool_reset", "pool_begin", "pool_pauses", "pool_leave"]
        code = machine_code(text, "once")
        addresses = jit.load(code, [f"own{Own.count}_{name}" for name in names])
        super().__init__(addresses[0], addresses[1])
        span = ctypes.POINTER(c_int64)
        self.begin = CFUNCTYPE(None, span)(addresses[2])
        self.pauses = CFUNCTYPE(c_int64, span)(addresses[3])
        self.leave = CFUNCTYPE(None, c_int64)(addresses[4])

    def launch(self, function, chunks, threads=2):
        """Launch `function(chunk, in_caller)` on as many rows as chunks."""
        caller = threading.get_native_id()

        def kernel(low, high, chunk, _):
            assert (low, high) == (chunk, chunk + 1)
            function(chunk, threading.get_native_id() == caller)

        launch = CFUNCTYPE(None, c_int64, Kernel, c_int64, c_int64, c_void_p)
        launch(self.launcher)(threads, Kernel(kernel), chunks, chunks, None)

    def shared_launch(self, in_worker=lambda: None, chunks=16):
        """Launch chunks of which the worker has one, and return whose each was.

        The caller stays in its first chunk until the worker has one, and the worker in
        its own until the caller has done all others.
        """
        arrived, others_done = threading.Event(), threading.Event()
        by_caller = {}

        def function(chunk, in_caller):
            by_caller[chunk] = in_caller
            if in_caller:
                assert arrived.wait(PATIENCE)
                if sum(by_caller.values()) == chunks - 1:
                    others_done.set()
            else:
                arrived.set()
                assert others_done.wait(PATIENCE)
                in_worker()

        self.launch(function, chunks)
        return by_caller


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_worker_held_up_keeps_the_one_chunk_it_has():
    own = Own()
    # longer than several stretches of the caller's sleep
    by_caller = own.shared_launch(lambda: time.sleep(0.01))
    assert sorted(by_caller) == list(range(16))
    assert sum(by_caller.values()) == 15
    assert (own.workers, own.launches) == (1, 1)


def test_a_worker_that_lost_its_core_sleeps_at_once_and_is_woken():
    own = Own(replace=((f"i64 {pool_system.SPIN}", "i64 1000000000"),))
    for _ in range(3):
        parks = []  # it may have lost its core before the first launch, too

        def in_worker(parks=parks):
            parks.append(own.parks)
            # to the worker, time asleep is time the system gave to others
            time.sleep(0.01)

        by_caller = own.shared_launch(in_worker)
        assert sum(by_caller.values()) == 15
        # it would spin for many seconds if it had not noticed
        wait_until(lambda parks=parks: own.parks == parks[0] + 1)
    assert own.launches == 3


def test_more_threads_than_cores_offer_them_and_do_not_sleep_at_once():
    more = pool_system.SPIN + 1
    own = Own(replace=((f"i64 {more}", "i64 1000000001"),))
    own._words[pool_code.CORES] = 1
    parks = []  # before the first launch it may have slept

    def in_worker():
        parks.append(own.parks)
        time.sleep(0.01)

    own.shared_launch(in_worker)
    time.sleep(0.01)
    assert own.parks == parks[0]
    own._words[pool_code.CORES] = 2
    own.shared_launch(in_worker)
    wait_until(lambda: own.parks == parks[1] + 1)


def span(own, began, used, until):
    """Return the pauses a worker is granted, and its span after it asked."""
    words = (c_int64 * 3)(began, used, until)
    return own.pauses(words), list(words)


def test_pauses_follow_what_a_span_lost():
    own = Own()
    short, long = pool_system.SHORT, pool_system.SPIN
    now, used = time.monotonic_ns(), time.thread_time_ns()
    second = 10**9
    # short spans are not looked at, were they lost as a whole
    began = now + second
    assert span(own, began, used, 0) == (long, [began, used, 0])
    # nothing lost: the thread's own time is all of it
    pauses, (began, used_then, until) = span(own, now - second, used - 2 * second, 0)
    assert pauses == long and until == 0
    assert now <= began <= time.monotonic_ns() and used <= used_then
    # all lost
    pauses, (began, _, until) = span(own, now - second, used, 0)
    assert pauses == short and until == began + pool_system.CROWDED
    # lost a while ago, and long ago
    soon = time.monotonic_ns() + 100 * second
    assert span(own, soon, used, soon)[0] == short
    assert span(own, soon, used, now - second)[0] == long
    words = (c_int64 * 3)(0, 0, soon)
    own.begin(words)
    assert now <= words[0] <= time.monotonic_ns()
    assert used <= words[1] <= time.thread_time_ns()
    assert words[2] == soon


def in_a_thread(function):
    """Run a function in a thread whose mask of cores is nobody else's."""
    errors = []

    def guarded():
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    assert not errors, errors


@needs_cores
def test_a_thread_leaves_a_core_and_keeps_its_mask():
    own = Own()
    core = ctypes.CDLL(None).sched_getcpu
    mask = os.sched_getaffinity(0)

    def leaving():
        left = []
        for number in range(1, 101):
            here = core()
            own.leave(here)
            left.append(core() != here)  # the system may have moved it back
            assert os.sched_getaffinity(0) == mask
            assert own.moves == number
            if left[-1]:
                break
        assert left[-1]

    in_a_thread(leaving)


@needs_cores
def test_a_thread_that_may_use_one_core_stays():
    own = Own()

    def staying():
        core = min(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {core})
        own.leave(core)
        assert os.sched_getaffinity(0) == {core}
        assert own.moves == 0

    in_a_thread(staying)


@pytest.mark.skipif(sys.platform != "linux", reason="needs sched_getcpu")
@pytest.mark.parametrize("where", ["one core", "unknown"])
def test_a_worker_leaves_the_core_of_its_caller(where):
    number = min(os.sched_getaffinity(0)) if where == "one core" else -1
    own = Own(replace=(("call i32 @sched_getcpu()", f"add i32 {number}, 0"),))
    masks = []
    for _ in range(3):
        by_caller = own.shared_launch(lambda: masks.append(os.sched_getaffinity(0)))
        assert sum(by_caller.values()) == 15
    several = where == "one core" and len(os.sched_getaffinity(0)) > 1
    assert own.moves == (3 if several else 0)
    assert masks == 3 * [os.sched_getaffinity(0)]


def test_launches_while_the_pool_is_taken_run_by_themselves():
    own = Own()
    inner = []

    def function(chunk, in_caller):
        if in_caller and not inner:
            own.launch(lambda c, same: inner.append((c, same)), 4)

    own.launch(function, 8)
    assert inner == [(c, True) for c in range(4)]
    assert own.launches == 1
