"""Interrupts: whenever Ctrl-C comes, the cache and functions are usable after it."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import types

import numpy as np
import pytest
from support.processes import run_script

import graphc as cg
from graphc.backends.cpu import jit
from graphc.types import interrupts
from graphc.types.config import config

unix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and timers")


def build(number):
    """Return a function never compiled before, and what it gives for ones."""
    x = cg.tensor("x", ("n", "m"))
    scale = number + os.getpid() * 1e-7
    f = cg.compile([x], [cg.exp(x * scale).sum(axis=0), x @ x.T])
    return f


def assert_usable(number, folder):
    taken = threading.Thread(target=lambda: jit.LOCK.acquire() and jit.LOCK.release())
    taken.start()
    taken.join(timeout=60)
    assert not taken.is_alive(), "the lock is held"
    a = np.full((3, 2), 0.25)
    total, product = build(number)(a)
    scale = number + os.getpid() * 1e-7
    np.testing.assert_allclose(total, 3 * np.exp(a[0] * scale))
    np.testing.assert_allclose(product, a @ a.T)
    assert not list(folder.glob("*/*.tmp"))


class Interrupt:
    """Raises KeyboardInterrupt at the n-th line of graphc that is executed."""

    package = os.path.dirname(cg.__file__)

    def __init__(self, at):
        self.at = at
        self.lines = 0

    def __call__(self, frame, event, argument):
        code = frame.f_code
        file = code.co_filename
        if not file.startswith(self.package) or code is GUARD or file == POSTPONED:
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                raise KeyboardInterrupt
        return self

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *error):
        sys.settrace(self.before)


GUARD: types.CodeType = jit.guarded.__wrapped__.__code__  # type: ignore[attr-defined]
"""No Ctrl-C arrives within it but where it says so."""

POSTPONED = interrupts.__file__
"""Nor here."""


def test_an_interrupt_at_any_line_of_a_compilation(tmp_path):
    with config(cache_dir=str(tmp_path)):
        build(100)
        with Interrupt(0) as counting:
            build(101)
        assert counting.lines > 1000
        rng = random.Random(0)
        for number in range(25):
            at = rng.randrange(counting.lines)
            with pytest.raises(KeyboardInterrupt), Interrupt(at + 1):
                build(200 + number)
            assert_usable(200 + number, tmp_path)


TIMED = """
    import random, signal, sys
    from pathlib import Path
    import numpy as np
    import graphc as cg
    from graphc.backends.cpu import jit

    folder = Path(sys.argv[1])
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))

    def build(number):
        x = cg.tensor("x", ("n", "m"))
        return cg.compile([x], [cg.exp(x * (number + 0.5)).sum(axis=0), x @ x.T])

    def check(number):
        a = np.full((300, 200), 0.25)
        total, product = build(number)(a)
        assert np.allclose(total, 300 * np.exp(a[0] * (number + 0.5)))
        assert np.allclose(product, a @ a.T)
        assert not list(folder.glob("*/*.tmp"))

    def interrupted(seconds, work):
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            work()
        except KeyboardInterrupt:
            return 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return 0
"""

FIRST = (
    TIMED
    + """
    import os
    seen = 0
    for delay in (0.01, 0.05, 0.1, 0.2, 0.3, 0.5):
        child = os.fork()  # what compiles is not imported yet
        if child == 0:
            hit = interrupted(delay, lambda: build(0))
            check(0)
            os._exit(10 + hit)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (10, 11), status
        seen += status - 10
        for file in folder.glob("*/*.o"):
            file.unlink()
    assert seen > 0
"""
)

IMPORTED = """
    import os, signal, sys
    import graphc as cg

    OPS = os.path.join("graphc", "ops")

    class Trace:
        # Ctrl-C at the n-th line of a module of ops, while they are imported
        def __init__(self, at):
            self.at, self.lines = at, 0

        def __call__(self, frame, event, argument):
            code = frame.f_code
            if code.co_name != "<module>" or OPS not in code.co_filename:
                return None
            self.lines += event == "line"
            if event == "line" and self.lines == self.at:
                signal.raise_signal(signal.SIGINT)
            return self

    def imported(at):
        trace = Trace(at)
        sys.settrace(trace)
        try:
            cg.vector
        except KeyboardInterrupt:
            return 11
        finally:
            sys.settrace(None)
        return 12 if at > trace.lines else 13

    seen = set()
    for at in range(50, 10**6, 60):
        child = os.fork()
        if child == 0:
            status = imported(at)
            x = cg.vector("x", 2)
            value = cg.evaluate(cg.square(x) + cg.sqrt(x), {x: [1.0, 4.0]})
            assert list(value) == [2, 18]
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (11, 12), (at, status)
        seen.add(status)
        if status == 12:
            break
    assert seen == {11, 12}
"""

LATER = (
    TIMED
    + """
    import time
    build(0)
    start = time.perf_counter()
    build(1)
    usual = time.perf_counter() - start
    rng = random.Random(1)
    seen = 0
    for number in range(2, 22):
        seen += interrupted(rng.uniform(1e-4, usual), lambda: build(number))
        assert jit.LOCK.acquire(blocking=False)
        jit.LOCK.release()
        check(number)
    assert seen > 0
"""
)

CALLED = (
    TIMED
    + """
    x = cg.vector("x", "n")
    f = cg.compile([x], [cg.cumsum(cg.sin(x)), cg.exp(x).sum()], threads=2)
    a = np.linspace(0, 1, 100_000)
    wanted = [r.tobytes() for r in f(a)]

    def calling():
        while True:
            f(a)
            f(a.tolist())
            f(a, out=[np.empty(100_000), np.empty(())])

    for number in range(1, 31):
        assert interrupted(number * 2e-3, calling)
        assert [r.tobytes() for r in f(a)] == wanted
"""
)


@unix
@pytest.mark.parametrize(
    "script",
    [IMPORTED, FIRST, LATER, CALLED],
    ids=["imported", "first", "later", "called"],
)
def test_interrupts_by_a_timer(script, tmp_path):
    run_script(script, tmp_path, str(tmp_path))


@pytest.fixture
def interruptible():
    """Let Ctrl-C interrupt, which a shell turns off for what runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_guarded_step_is_finished_before_the_interrupt(interruptible):
    steps = []
    with pytest.raises(KeyboardInterrupt):
        with jit.guarded():
            with jit.guarded():
                signal.raise_signal(signal.SIGINT)
                steps.append("inner")
            steps.append("outer")
        steps.append("after")
    assert steps == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_timers_are_put_off_too():
    class Timeout(Exception):
        pass

    def handler(number, frame):
        raise Timeout

    steps = []
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(Timeout):
            with jit.guarded():
                signal.raise_signal(signal.SIGALRM)
                steps.append("finished")
            steps.append("not reached")
        assert signal.getsignal(signal.SIGALRM) is handler
        with pytest.raises(Timeout):
            signal.raise_signal(signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert steps == ["finished"]
