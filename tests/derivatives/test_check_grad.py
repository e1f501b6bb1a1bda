"""`check_grad` accepts right derivatives and names the entry of a wrong one."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.ops.declare import REGISTRY, Elementwise


def _wrong(name, forward_only=False):
    """Return an op like x*x whose derivative is wrong for x > 1."""
    from graphc.ops.arithmetic import where

    return Elementwise(
        name,
        1,
        numpy=lambda x: x * x,
        scalar=lambda k, x: k("mul", x, x),
        signature=REGISTRY["multiply"].signature,
        partials=(lambda x, out: where(x > 1.0, 3 * x, 2 * x),),
        sympy=lambda sp, x: x**2,
    )


@pytest.fixture
def wrong_square():
    yield _wrong("test_wrong_square")
    del REGISTRY["test_wrong_square"]


def test_right_derivative_is_accepted():
    x, w = cg.vector("x", "n"), cg.matrix("w", ("m", "n"))
    y = {"a": cg.tanh(w @ x), "b": cg.log(x).sum()}
    at = {x: [1e-3, 2.0, 300.0], w: np.full((2, 3), 0.01)}
    report = cg.check_grad(y, [x, w], at)
    assert report.projections == 3
    assert report.entries == 9
    assert report.error <= 1
    np.testing.assert_allclose(report.forward, report.reverse)
    np.testing.assert_allclose(report.forward, report.numeric, rtol=1e-5)


def test_number_of_entries_is_limited():
    x = cg.vector("x", "n")
    assert cg.check_grad(x * x, x, {x: np.ones(50)}, max_entries=7).entries == 7


def test_float32_has_wider_tolerances():
    x = cg.vector("x", "n", dtype="float32")
    y = cg.exp(x) * cg.sin(3 * x)
    at = {x: np.linspace(-2, 2, 9, dtype=np.float32)}
    assert cg.check_grad(y, x, at).error <= 1
    with pytest.raises(cg.GradientError):
        cg.check_grad(y, x, at, rtol=1e-12, atol=1e-12)


def test_wrong_derivative_names_the_worst_entry(wrong_square):
    x = cg.matrix("x", (2, 2))
    with pytest.raises(cg.GradientError) as e:
        cg.check_grad(wrong_square(x).sum(), x, {x: [[0.1, 0.2], [4.0, 0.3]]})
    message = str(e.value)
    assert "worst by x[1, 0]: forward" in message
    values = [
        float(message.split(word)[1].split(",")[0].split()[0])
        for word in ("forward ", "reverse ", "differences ")
    ]
    np.testing.assert_allclose(np.array(values) / values[0], [1, 1, 2 / 3], rtol=1e-6)
    assert isinstance(e.value, AssertionError)


def test_modes_that_disagree_are_caught():
    from graphc.ops.declare import Linear

    class Doubled(Linear):
        def infer(self, args, params):
            return args[0].type

        def numpy(self, node, args, size):
            return 2 * args[0]

        def transpose(self, node, cotangent, position):
            return 3.0 * cotangent

    op = Doubled("test_wrong_transpose")
    try:
        x = cg.scalar("x")
        with pytest.raises(cg.GradientError, match="worst by x: "):
            cg.check_grad(op(x), x, {x: 1.0})
    finally:
        del REGISTRY["test_wrong_transpose"]


def test_nan_is_never_accepted():
    x = cg.scalar("x")
    with pytest.raises(cg.GradientError, match="nan"):
        cg.check_grad(cg.sqrt(x), x, {x: -1.0})


def test_kink_is_reported():
    x = cg.vector("x", 2)
    with pytest.raises(cg.GradientError, match="kink"):
        cg.check_grad(cg.nn.relu(x), x, {x: [0.0, 1.0]})


def test_wrt_without_a_value():
    x = cg.scalar("x")
    with pytest.raises(cg.InputError, match=r"x: float64\(\) made at .*no value in at"):
        cg.check_grad(x * x, x, {})
    with pytest.raises(cg.InputError, match="no value"):
        cg.check_grad(x * x, x * x, {x: 1.0})


def test_second_order():
    x = cg.vector("x", "n")
    y = (cg.sin(x) * cg.exp(x)).sum()
    at = {x: [0.1, 0.5, -0.3]}
    cg.check_grad(cg.grad(y, x), x, at)
    cg.check_grad(cg.hvp(y, x, x), x, at)
