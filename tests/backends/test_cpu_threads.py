"""Results do not depend on threads, and functions may be called from several."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import graphc as cg
from graphc.backends.cpu.pool import pool
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


SCRIPT = """
    import os, sys
    import numpy as np
    import graphc as cg

    x = cg.tensor("x", ("n", "m"))
    f = cg.compile([x], [cg.exp(x).sum(axis=0), x @ x.T])
    a = np.random.default_rng(0).normal(size=(600, 300))
    before = [r.tobytes() for r in f(a)]
    child = os.fork()
    if child == 0:
        ok = all([r.tobytes() for r in f(a)] == before for _ in range(3))
        g = cg.compile([x], cg.log(1.0 + x * x).sum(axis=1))  # compiles in the child
        ok = ok and np.allclose(g(a), np.log(1 + a * a).sum(1))
        os._exit(0 if ok else 3)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
    assert [r.tobytes() for r in f(a)] == before
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
@pytest.mark.parametrize("threads", [1, 3])
def test_calls_work_in_a_forked_child(tmp_path, threads):
    import os

    environment = {
        **os.environ,
        "GRAPHC_CACHE_DIR": str(tmp_path),
        "GRAPHC_NUM_THREADS": str(threads),
    }
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            textwrap.dedent(SCRIPT),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
