"""Results do not depend on threads, and functions may be called from several."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import sys
import threading
import time

import numpy as np
import pytest

import graphc as cg
from graphc.backends.cpu import cache, jit
from graphc.backends.cpu.pool import MAX_THREADS, cgroup_cores, pool
from graphc.backends.cpu.pool_code import END
from graphc.types.config import config


def large_function():
    x, w = cg.tensor("x", ("n", "m")), cg.tensor("w", ("m", "k"))
    p = cg.nn.softmax(x, axis=-1)
    y = cg.tanh(p @ w)
    loss = (y * y).sum()
    outputs = [p.sum(axis=0), x.sum(), y, loss, x.max(axis=0), cg.exp(x).mean()]
    return cg.compile([x, w], [*outputs, *cg.grad(loss, [x, w])])


@pytest.fixture(scope="module")
def function():
    return large_function()


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(3)
    return rng.normal(size=(1111, 401)), rng.normal(size=(401, 77))


def test_bits_do_not_depend_on_the_number_of_threads(function, arrays):
    results = {}
    for threads in (1, 2, 3, 5):
        with config(threads=threads):
            results[threads] = [function(*arrays) for _ in range(4)]
            assert pool().threads == threads
    first = results[1][0]
    for runs in results.values():
        for again in runs:
            for a, b in zip(first, again):
                assert a.tobytes() == b.tobytes()


def test_one_function_called_from_several_threads(function, arrays):
    rows = [1111, 700, 64, 1111, 3, 400]
    alone = [[r.tobytes() for r in function(arrays[0][:n], arrays[1])] for n in rows]
    failures = []

    def work(which):
        for _ in range(5):
            got = function(arrays[0][: rows[which]], arrays[1])
            if [r.tobytes() for r in got] != alone[which]:
                failures.append(which)

    run_in_threads(work, range(len(rows)))
    assert not failures


def test_different_functions_compiled_and_called_from_several_threads():
    failures = []

    def work(seed):
        x = cg.vector("x", "n")
        f = cg.compile([x], [cg.sin(x * (seed + 0.5)).sum(), cg.exp(-x) + float(seed)])
        a = np.linspace(0, 1, 30_000 + seed)
        for _ in range(20):
            s, e = f(a)
            if not np.allclose(s, np.sin(a * (seed + 0.5)).sum(), rtol=1e-9):
                failures.append(("sum", seed))
            if not np.allclose(e, np.exp(-a) + seed):
                failures.append(("map", seed))

    with config(threads=3):
        run_in_threads(work, range(5))
    assert not failures


def run_in_threads(work, items):
    errors = []

    def guarded(item):
        try:
            work(item)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in items]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors


def test_many_short_launches_lose_no_chunk():
    # a launch that follows at once must not be joined by a worker of the one before
    x = cg.vector("x", "n")
    y = x
    outputs = []
    for i in range(20):
        y = cg.cumsum(y * 0.5)[::-1] + float(i)
        outputs.append(y)
    f = cg.compile([x], outputs)
    a = np.linspace(-1, 1, 70_001)
    with config(threads=1):
        wanted = [r.tobytes() for r in f(a)]
    with config(threads=4):
        for _ in range(50):
            assert [r.tobytes() for r in f(a)] == wanted


def exponentials():
    x = cg.vector("x", "n")
    return cg.compile([x], [cg.exp(x).sum(), cg.sin(x)]), np.linspace(-1, 1, 300_000)


def shared_launches(call):
    """Return how many launches of a call were shared with workers."""
    before = pool().launches
    call()
    return pool().launches - before


def test_the_number_of_threads_of_a_call():
    f, a = exponentials()
    with config(threads=2):
        assert shared_launches(lambda: f(a)) > 0
        assert shared_launches(lambda: f(a, threads=1)) == 0
        assert shared_launches(lambda: f(a.tolist(), threads=1)) == 0
        assert shared_launches(lambda: f(x=a, threads=1)) == 0
    with config(threads=1):
        assert shared_launches(lambda: f(a)) == 0
        assert shared_launches(lambda: f(a, threads=3)) > 0
        assert pool().workers >= 2
        assert shared_launches(lambda: f(a, threads=0)) == 0
        wanted = [r.tobytes() for r in f(a)]
        outputs = [np.empty(()), np.empty(300_000)]
        f(a, threads=3, out=outputs)
        assert [r.tobytes() for r in outputs] == wanted


def test_the_number_of_threads_of_a_function():
    x = cg.vector("x", "n")
    f = cg.compile([x], cg.exp(x).sum(), threads=1)
    g = f.with_threads(2)
    a = np.linspace(-1, 1, 300_000)
    assert (f.threads, g.threads, g.with_threads(None).threads) == (1, 2, 0)
    assert f.with_threads(2) is g and f.with_threads(1) is f
    assert shared_launches(lambda: f(a)) == 0
    assert shared_launches(lambda: g(a)) > 0
    assert shared_launches(lambda: f(a, threads=2)) > 0
    assert f(a).tobytes() == g(a).tobytes()
    again = pickle.loads(pickle.dumps(g))
    assert again.threads == 2
    h = cg.jit(lambda x: cg.exp(x).sum(), threads=1)
    assert shared_launches(lambda: h(a)) == 0


@pytest.mark.parametrize("threads", [-1, 1.5, "2", True])
def test_a_number_of_threads_that_is_none(threads):
    x = cg.vector("x", "n")
    with pytest.raises(cg.ConfigError, match="threads"):
        cg.compile([x], cg.exp(x), threads=threads)
    f = cg.compile([x], cg.exp(x), backend="reference")
    with pytest.raises(cg.ConfigError, match="threads"):
        f(np.ones(3), threads=threads)


def test_calls_with_different_numbers_of_threads_at_once(function, arrays):
    wanted = [r.tobytes() for r in function(*arrays, threads=1)]
    failures = []

    def work(threads):
        for _ in range(10):
            if [r.tobytes() for r in function(*arrays, threads=threads)] != wanted:
                failures.append(threads)

    run_in_threads(work, [1, 2, 3, 5, 0, 1])
    assert not failures


def test_options_of_blocks_that_end_in_another_order():
    first, second = config(threads=3), config(threads=5)
    before = pool().threads
    with contextlib.ExitStack() as stack:
        stack.enter_context(first)
        with second:
            assert pool().threads == 5
            stack.pop_all().close()
            assert pool().threads == 5
        assert pool().threads == before


def test_the_quota_of_a_control_group(tmp_path):
    assert cgroup_cores(tmp_path) == MAX_THREADS
    group = tmp_path / "sys/fs/cgroup/outer/inner"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/outer/inner\n")
    assert cgroup_cores(tmp_path) == MAX_THREADS
    (group / "cpu.max").write_text("max 100000\n")
    assert cgroup_cores(tmp_path) == MAX_THREADS
    (group.parent / "cpu.max").write_text("250000 100000\n")
    assert cgroup_cores(tmp_path) == 3
    (group / "cpu.max").write_text("20000 100000\n")
    assert cgroup_cores(tmp_path) == 1


def test_the_quota_of_a_control_group_of_version_1(tmp_path):
    group = tmp_path / "sys/fs/cgroup/cpu/mine"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("3:memory:/\n2:cpu,cpuacct:/mine\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    assert cgroup_cores(tmp_path) == MAX_THREADS
    (group / "cpu.cfs_quota_us").write_text("150000\n")
    assert cgroup_cores(tmp_path) == 2


def test_other_threads_of_python_run_during_a_long_call():
    # The counting thread gives the GIL away at each step; this one is never made to,
    # so without its release the count stands still from before a call to after it.
    x = cg.vector("x", 200_000)
    y = x
    for _ in range(40):
        y = cg.sin(y) + cg.exp(-y)
    f = cg.compile([x], y, threads=1)
    a = np.linspace(0, 1, 200_000)
    count = 0
    stop = False

    def counting():
        nonlocal count
        while not stop:
            count += 1
            time.sleep(0)

    thread = threading.Thread(target=counting)
    interval = sys.getswitchinterval()
    thread.start()
    sys.setswitchinterval(100.0)
    try:
        for _ in range(50):
            before = count
            f(a)
            if count > before:
                break
        else:
            raise AssertionError("the GIL was held during all calls")
    finally:
        stop = True
        sys.setswitchinterval(interval)
        thread.join()


def test_one_expression_compiled_by_several_threads_is_compiled_once():
    start = threading.Barrier(4)
    x = cg.vector("x", "n")
    y = cg.sin(x * 1.2345678 + os.getpid())
    cg.compile([x], cg.sin(x))  # what every function needs
    before = cache.counts["compiled"]
    results = []

    def work(_):
        start.wait()
        f = cg.compile([x], y)
        results.append(f(np.arange(5.0)).tobytes())

    run_in_threads(work, range(4))
    assert len(set(results)) == 1
    assert cache.counts["compiled"] - before == 3  # kernel, driver, entry


COUNTING = """
define void @graphc_test_counting(i64 %lo, i64 %hi, i64 %chunk, ptr %counts) nounwind {
  %at = getelementptr i32, ptr %counts, i64 %chunk
  %before = load i32, ptr %at
  %after = add i32 %before, 1
  store i32 %after, ptr %at
  ret void
}
"""

LAUNCH = ctypes.CFUNCTYPE(
    None,
    *(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p),
)
CHUNK = ctypes.CFUNCTYPE(
    None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
)


@pytest.mark.parametrize("chunks", [2, 3, 32, 1000])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_caller_and_workers_claim_from_both_ends(chunks, threads):
    """So a thread finds what it wrote in the launch before in its own cache."""
    claimed = []

    def chunk(low, high, number, arguments):
        claimed.append((threading.get_ident(), number, low, high))
        if number % 100 < 5:
            time.sleep(0.001)

    LAUNCH(pool().launcher)(
        threads, ctypes.cast(CHUNK(chunk), ctypes.c_void_p), 7 * chunks, chunks, None
    )
    assert sorted(n for _, n, *_ in claimed) == list(range(chunks))
    assert sorted((low, high) for *_, low, high in claimed)[0][0] == 0
    me = threading.get_ident()
    mine = [n for who, n, *_ in claimed if who == me]
    others = [n for who, n, *_ in claimed if who != me]
    assert mine == list(range(len(mine)))
    assert sorted(others) == list(range(len(mine), chunks))
    for who in {who for who, *_ in claimed} - {me}:
        own = [n for other, n, *_ in claimed if other == who]
        assert own == sorted(own, reverse=True)


def test_very_many_chunks_are_each_run_once():
    """More than the word of claims counts at both ends."""
    chunks = END + 5
    counts = np.zeros(chunks, np.int32)
    code = jit.compile_module(COUNTING, "once")
    (count,) = jit.load(code, ["graphc_test_counting"])
    LAUNCH(pool().launcher)(2, count, chunks, chunks, counts.ctypes.data)
    assert (counts == 1).all()
