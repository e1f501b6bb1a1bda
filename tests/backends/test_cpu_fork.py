"""Children of `fork` and of `multiprocessing`, made while the parent is at work."""

from __future__ import annotations

import multiprocessing
import os
import pickle

import numpy as np
import pytest
from support.processes import run_script

import graphc as cg

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

CALLS = """
    import os
    import numpy as np
    import graphc as cg
    from graphc.backends.cpu.pool import pool

    x = cg.tensor("x", ("n", "m"))
    f = cg.compile([x], [cg.exp(x).sum(axis=0), x @ x.T])
    a = np.random.default_rng(0).normal(size=(600, 300))
    before = [r.tobytes() for r in f(a)]
    child = os.fork()
    if child == 0:
        assert pool().workers == 0
        ok = [r.tobytes() for r in f(a)] == before
        # the first call is parallel already, if calls are to be
        helpers = pool().threads - 1
        ok = ok and pool().workers == helpers and (pool().launches > 0) == (helpers > 0)
        g = cg.compile([x], cg.log(1.0 + x * x).sum(axis=1))  # compiles in the child
        ok = ok and np.allclose(g(a), np.log(1 + a * a).sum(1))
        os._exit(0 if ok else 3)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
    assert [r.tobytes() for r in f(a)] == before
"""


@needs_fork
@pytest.mark.parametrize("threads", [1, 3])
def test_calls_work_in_a_forked_child(tmp_path, threads):
    run_script(CALLS, tmp_path, GRAPHC_NUM_THREADS=str(threads))


BUSY = """
    import os, signal, sys, threading
    import numpy as np
    import graphc as cg
    from graphc.backends.cpu.pool import pool

    x = cg.tensor("x", ("n", "m"))
    f = cg.compile([x], [cg.exp(x).sum(axis=0), x @ x.T], threads=2)
    a = np.random.default_rng(0).normal(size=(400, 100))
    before = [r.tobytes() for r in f(a)]
    stop = False

    def calling():
        while not stop:
            f(a)

    def compiling():
        y = cg.vector("y", "n")
        number = 0
        while not stop:
            number += 1
            cg.compile([y], cg.sin(y * (number + 0.5)))(np.ones(3))

    threads = [threading.Thread(target=t) for t in (calling, calling, compiling)]
    for t in threads:
        t.start()
    for number in range(8):
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # a child that waits for a lost lock dies
            ok = [r.tobytes() for r in f(a)] == before and pool().workers == 1
            g = cg.compile([x], cg.log(1.0 + x * x + number).sum(axis=1))
            ok = ok and np.allclose(g(a), np.log(1 + a * a + number).sum(1))
            os._exit(0 if ok else 3)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            stop = True
            sys.exit(f"child {number}: exit status {status}")
    stop = True
    for t in threads:
        t.join()
    assert [r.tobytes() for r in f(a)] == before
"""


@needs_fork
def test_forks_while_other_threads_call_and_compile(tmp_path):
    run_script(BUSY, tmp_path)


def compiled():
    x = cg.matrix("x", ("n", 200))
    return cg.compile([x], cg.exp(x).sum(axis=0), threads=2)


def in_child(pickled, seed):
    from graphc.backends.cpu.pool import pool

    function = pickle.loads(pickled)
    result = function(np.random.default_rng(seed).normal(size=(500, 200)))
    return result.tobytes(), pool().workers


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork, Python 3.12
def test_functions_in_processes_of_multiprocessing(method, tmp_path, monkeypatch):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"needs {method}")
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    function = compiled()
    wanted = [
        function(np.random.default_rng(s).normal(size=(500, 200))).tobytes()
        for s in range(4)
    ]
    task = pickle.dumps(function)
    with multiprocessing.get_context(method).Pool(2) as processes:
        jobs = [processes.apply_async(in_child, (task, s)) for s in range(4)]
        answers = [job.get(timeout=120) for job in jobs]
    assert [a for a, _ in answers] == wanted
    assert all(workers == 1 for _, workers in answers)
