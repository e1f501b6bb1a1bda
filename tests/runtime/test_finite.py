"""`check_finite`: what is named is what made the value, on every path of a call."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import graphc as cg
from graphc.runtime import finite

x, y = cg.vector("x", "n"), cg.vector("y", "n")
w = cg.matrix("w", (4, 4))
ONES = np.ones(4)


@pytest.fixture(autouse=True)
def checked():
    with cg.config(check_finite=True):
        yield


def message(outputs, *arrays, inputs=(x, y), **options):
    """Return the message of the error that a call raises."""
    f = cg.compile(list(inputs), outputs, **options)
    with pytest.raises(cg.NonFiniteError) as e:
        f(*[np.asarray(a, float) for a in arrays])
    assert isinstance(e.value, FloatingPointError)
    return str(e.value)


ZERO_THIRD = [1.0, 2.0, 0.0, 4.0]

CASES = {
    "quotient": (lambda: x / y, "divide", "inf", 2),
    "behind a matrix product": (lambda: w @ (x / y), "divide", "inf", 2),
    "behind a sum": (lambda: cg.log(y).sum() + x.sum(), "log", "-inf", 2),
    "behind moves": (
        lambda: cg.concatenate([x, cg.log(y)])[::-1][1:3].reshape(2, 1),
        "log",
        "-inf",
        2,
    ),
    "behind a maximum": (lambda: cg.max(-cg.log(y)), "log", "-inf", 2),
    "behind a running sum": (lambda: cg.cumsum(cg.log(y)), "log", "-inf", 2),
    "nan of infinities": (lambda: (x / y) * 0.0, "divide", "inf", 2),
    "backward": (lambda: cg.grad(cg.sqrt(y).sum(), y), "divide", "inf", 2),
    "in a mask": (lambda: cg.where(x > 0, x / y, x), "divide", "inf", 2),
    "beside a mask": (
        lambda: cg.where(y > 0, cg.log(y - 2.0), 0.0),
        "log",
        "nan",
        0,
    ),
}


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("case", CASES)
def test_names_op_index_and_line(case, backend):
    build, op, value, index = CASES[case]
    text = message(
        {"value": build()}, ONES, ZERO_THIRD, np.eye(4), inputs=(x, y, w),
        backend=backend,
    )  # fmt: skip
    assert text.startswith(f"{op}: the first value that is not finite is {value}, of")
    assert f"at index [{index}]. Operands there: " in text
    assert re.search(r"made at test_finite.py:\d+ at index", text)
    assert "It makes result['value']" in text


def test_operands_are_given():
    text = message(x / y, ONES * 3, ZERO_THIRD)
    assert re.search(
        r"x: float64\(n,\) made at \S+ = 3.0, y: \S+ made at \S+ = 0", text
    )
    assert text.count("It makes result[2] inf.") == 1
    text = message(cg.prod(x) * y.sum(), ONES * 1e200, ONES)
    assert text.startswith("prod: the first value that is not finite is inf, of prod: ")
    assert "from 1e+200 to 1e+200" in text


def test_first_of_several():
    text = message([x.sum(), cg.exp(cg.log(y) * -1e3) + 1 / y], ONES, ZERO_THIRD)
    assert text.startswith(("log: ", "divide: ", "reciprocal: "))
    order = message(cg.log(cg.exp(1e4 * x) - cg.exp(1e4 * x)), ONES, ONES)
    assert order.startswith("exp: ")


MASKED = {
    "where": lambda: cg.where(y > 0, cg.log(y), 0.0),
    "gradient": lambda: cg.grad(cg.where(y > 0, cg.sqrt(y) * x, 0.0).sum(), [x, y]),
    "slice": lambda: cg.log(y)[:2],
    "maximum": lambda: cg.maximum(cg.log(y), x),
    "integer": lambda: (x / y > 2.0, cg.argmax(x / y)),
}


@pytest.mark.parametrize("case", MASKED)
def test_what_reaches_no_result_does_not_count(case):
    f = cg.compile([x, y], MASKED[case]())
    f(ONES, np.array(ZERO_THIRD))


def test_masked_infinities_beside_the_cause():
    """The logarithm is infinite where it is masked; that is not what is reported."""
    masked = cg.where(y > 0, cg.log(y), 0.0)
    text = message(masked / x, [0.0, 1, 1, 1], [1.0, 2.0, 0.0, 4.0])
    assert text.startswith("divide: ")
    assert "nan, of" in text
    assert "at index [0]" in text


def test_inputs_and_constants_that_are_not_finite():
    text = message(x * y, [1.0, math.nan, 1, 1], ONES)
    assert re.match(r"result\[1\] is nan, for the input x: .* at index \[1\]", text)
    limit = cg.constant(np.array([1.0, 1.0, math.inf, 1.0]))
    text = message(x * limit, ONES, ONES)
    assert "for the constant" in text
    # an infinity that was given is no mistake until it makes a NaN
    text = message(x - limit + y, [0, 0, math.inf, 0], ONES)
    assert text.startswith("subtract: the first value that is not finite is nan")
    cg.compile([x], cg.exp(-x))(np.array([math.inf]))


def test_empty_and_scalar():
    assert cg.compile([x], x.sum())(np.empty(0)) == 0
    s = cg.scalar("s")
    text = message(cg.log(s), 0.0, inputs=[s])
    assert "-inf, of log: float64() made at" in text
    assert "index" not in text
    assert re.search(r"s: float64\(\) made at \S+ = 0.0\. It makes result -inf\.", text)


def test_donated_inputs_and_out():
    f = cg.compile([x, y], x / y, donate=x)
    for out in (None, np.zeros(4)):
        with pytest.raises(cg.NonFiniteError, match=r"x: .* = 3.0, y: .* = 0.0"):
            f(np.full(4, 3.0), np.array(ZERO_THIRD), out=out)
    same = np.full(4, 3.0)
    g = cg.compile([x, y], x / y)
    with pytest.raises(cg.NonFiniteError, match=r"x: .* = 3.0, y: .* = 0.0"):
        g(same, np.array(ZERO_THIRD), out=same)
    kept = np.full(4, 3.0)
    assert f(kept, ONES) is kept  # donation still holds


def test_names_threads_and_containers():
    f = cg.compile([{"a": x, "b": y}], {"q": [x / y]})
    with pytest.raises(cg.NonFiniteError, match=r"result\['q'\]\[0\]\[2\] inf"):
        f({"a": ONES, "b": ZERO_THIRD})
    g = cg.compile([x, y], x / y)
    with pytest.raises(cg.NonFiniteError):
        g(ONES, y=np.array(ZERO_THIRD))
    with pytest.raises(cg.NonFiniteError):
        g(ONES, ZERO_THIRD, threads=1)
    np.testing.assert_array_equal(g(ONES, ONES), ONES)
    with pytest.raises(cg.InputError, match="2 inputs are needed"):
        g(ONES)


def test_functions_traced():
    with pytest.raises(cg.NonFiniteError, match=r"log: .*test_finite"):
        cg.jit(lambda x: cg.log(x))(np.zeros(3))
    with pytest.raises(cg.NonFiniteError, match=r"result inf"):
        cg.grad(lambda x: cg.sqrt(x))(0.0)


def test_off_and_on_after_compilation():
    f = cg.compile([x, y], x / y)
    with cg.config(check_finite=False):
        assert np.isinf(f(ONES, np.zeros(4))).all()
    with pytest.raises(cg.NonFiniteError):
        f(ONES, np.zeros(4))


def test_finite_results_are_not_evaluated_again(monkeypatch):
    def fail(*args):
        raise AssertionError

    monkeypatch.setattr(finite, "find_cause", fail)
    f = cg.compile([x], cg.exp(x))
    f(ONES)
    with pytest.raises(AssertionError):
        f(1e4 * ONES)


def test_single_precision_that_the_interpreter_does_not_see(monkeypatch):
    monkeypatch.setattr(finite, "find_cause", lambda *args: None)
    assert "finite when evaluated node by node" in message(1 / x, 0 * ONES, ONES)


def test_every_chain_is_linear_work():
    """A deep graph is followed back without recursion."""
    z = x / y
    for _ in range(20_000):
        z = z + 1.0
    f = cg.compile([x, y], z, backend="reference")
    with pytest.raises(cg.NonFiniteError, match=r"^divide: "):
        f(ONES, np.array(ZERO_THIRD))
