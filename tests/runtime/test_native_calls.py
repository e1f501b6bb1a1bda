"""Calls that go to compiled code without Python code in between."""

import gc
import inspect
import sys
import threading
import weakref

import numpy as np
import pytest

import graphc as cg
from graphc.backends.cpu.native import layout_known
from graphc.runtime.function import Function

native = pytest.mark.skipif(not layout_known(), reason="no native calls here")


def test_results_come_in_the_containers_of_the_outputs():
    x = cg.vector("x", 2)
    at = np.array([1.0, 2.0])
    for outputs in (x + 1, [x + 1], (x + 1,), [x + 1, x * 2], (x + 1, x * 2)):
        f = cg.compile([x], outputs)
        for g in (f, f.with_threads(1)):
            result = g(at)
            assert type(result) is (type(outputs) if f._pack else type(result))
            parts = result if isinstance(outputs, (list, tuple)) else [result]
            assert isinstance(parts, type(outputs)) or not f._pack
            np.testing.assert_array_equal(parts[0], at + 1)
            assert len(parts) == (len(outputs) if parts is result else 1)
    assert isinstance(cg.compile([x], {"a": x + 1})(at), dict)


@native
def test_the_method_is_native_and_has_a_signature():
    x = cg.vector("x", 2)
    f = cg.compile([x], x + 1)
    f(np.ones(2))
    assert inspect.ismethoddescriptor(Function.__dict__["__call__"])
    assert str(inspect.signature(f)) == "(*args, out=None, threads=None, **named)"


@native
def test_no_python_code_runs_in_a_plain_call():
    x = cg.vector("x", 2)
    f = cg.compile([x], [x + 1])
    at = np.ones(2)
    f(at)
    seen = []
    sys.setprofile(lambda frame, event, _: seen.append(event))
    f(at)
    sys.setprofile(None)
    assert "call" not in seen
    f([1.0, 1.0])  # what is no array is converted in Python


def test_other_calls_reach_the_checks():
    x, y = cg.vector("x", 2), cg.scalar("y")
    f = cg.compile([x, y], x * y)
    at = np.ones(2)
    np.testing.assert_array_equal(f(y=2, x=[1, 3]), [2.0, 6.0])
    np.testing.assert_array_equal(f(at, y=3.0), [3.0, 3.0])
    np.testing.assert_array_equal(f(at, 2.0, threads=1), [2.0, 2.0])
    out = np.empty(2)
    assert f(at, 2.0, out=out) is out
    for wrong in ((), (at,), (at, 1.0, 2.0), (np.ones(3), 1.0)):
        with pytest.raises(cg.GraphcError):
            f(*wrong)
    with pytest.raises(cg.GraphcError, match="unknown"):
        f(at, z=1.0)


def test_results_are_looked_at_when_asked():
    x = cg.vector("x", 2)
    f = cg.compile([x], [cg.log(x)])
    assert np.isnan(f(np.array([-1.0, 1.0]))[0][0])
    with (
        cg.config(check_finite=True),
        pytest.raises(cg.GraphcError, match="log"),
    ):
        f(np.array([-1.0, 1.0]))
    assert np.isnan(f(np.array([-1.0, 1.0]))[0][0])


def test_calls_keep_no_references():
    x, y = cg.vector("x", 50), cg.scalar("y")
    at, number = np.ones(50), 2.5
    for outputs in ([x * y], (x * y,), (x * y, x + y), x * y):
        f = cg.compile([x, y], outputs)
        f(at, number)
        before = sys.getrefcount(at), sys.getrefcount(number), sys.getrefcount(f)
        for _ in range(100):
            result = f(at, number)
            f(at, y=number)
        arrays = result if isinstance(result, (list, tuple)) else [result]
        assert sys.getrefcount(result) == 3
        after = sys.getrefcount(at), sys.getrefcount(number), sys.getrefcount(f)
        assert after == before
        del result, arrays
    gone = weakref.ref(f)
    del f
    gc.collect()
    assert gone() is None


def test_threads_call_one_function():
    x = cg.vector("x", 1000)
    f = cg.compile([x], [cg.exp(x)])
    want = f(np.zeros(1000))[0]
    wrong = []

    def work() -> None:
        for _ in range(300):
            if not np.array_equal(f(np.zeros(1000))[0], want):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
