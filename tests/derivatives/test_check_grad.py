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


# ------------------------------------------------- complex step, differences, rounding


def test_complex_step_where_all_is_analytic():
    x, w = cg.vector("x", "n"), cg.matrix("w", ("n", 3))
    y = cg.tanh(x @ w) / cg.sqrt(1 + cg.exp(x).sum()) + cg.cumsum(x)[:3] ** 3
    y = cg.where(np.array([True, False, True]), y, cg.prod(x))
    rng = np.random.default_rng(0)
    at = {x: rng.normal(size=4), w: rng.normal(size=(4, 3))}
    report = cg.check_grad(y, [x, w], at)
    assert report.method == "complex step"
    np.testing.assert_allclose(report.numeric, report.forward, rtol=1e-13)
    assert report.numeric_error < 1e-13


@pytest.mark.parametrize(
    "build",
    [
        lambda x: cg.abs(x),
        lambda x: cg.where(x > 1, x, x * x),
        lambda x: cg.maximum(x, 1.0),
        lambda x: cg.max(x) * x,
        lambda x: cg.erf(x),
        lambda x: x.astype("float32").astype("float64") * 0 + x * x,
        lambda x: x[cg.argmax(x)],
    ],
)
def test_differences_where_something_is_not(build):
    x = cg.vector("x", 3)
    report = cg.check_grad(build(x), x, {x: [0.3, 1.7, -2.0]})
    assert report.method == "finite differences"
    assert abs(report.numeric - report.forward) <= max(10 * report.numeric_error, 1e-10)


def test_softmax_is_analytic_for_its_maximum_is_held_constant():
    x = cg.vector("x", 3)
    report = cg.check_grad(cg.nn.softmax(x), x, {x: [0.3, 1.7, -2.0]})
    assert report.method == "complex step"


def test_complex_step_finds_what_differences_cannot():
    """A relative error of 1e-8 in a derivative."""
    f = cg.custom_derivative(
        cg.sin, vjp=lambda r, c: (c * cg.cos(r[0][0]) * (1 + 1e-8),)
    )
    x = cg.scalar("x")
    with pytest.raises(cg.GradientError, match="complex step"):
        cg.check_grad(f(x), x, {x: 0.7})


def test_rounding_is_told_from_error():
    """The value is a small difference of large numbers: noise, not a wrong rule."""
    x = cg.vector("x", 3)
    y = cg.abs(x) * 1e9 + cg.sqrt(x) - 1e9 * x
    at = {x: [0.3, 1.1, 2.0]}
    report = cg.check_grad(y, x, at)
    assert 1e-6 < report.numeric_error < 1e-3
    with pytest.raises(cg.GradientError, match="it is rounding, not a wrong rule"):
        cg.check_grad(y, x, at, rtol=1e-9)
    with pytest.raises(cg.GradientError, match=r"If the point is at a kink.* is wrong"):
        cg.check_grad(y + _wrong_of(x), x, at)


def _wrong_of(x):
    return cg.custom_derivative(cg.erf, vjp=lambda r, c: (1.5 * c,))(x)


def test_the_mode_that_is_wrong_is_named():
    right, wrong = (lambda x, c, k=k: k * c * cg.cos(x) for k in (1.0, 1.1))
    x = cg.scalar("x")
    for forward, reverse, match in (
        (right, wrong, "Reverse mode is wrong: a vjp"),
        (wrong, right, "Forward mode is wrong: a jvp"),
        (lambda x, c: 2.0 * c, wrong, "No two agree"),
    ):
        f = cg.custom_derivative(
            cg.sin,
            jvp=lambda p, t, rule=forward: (None, rule(p[0], t[0])),
            vjp=lambda r, c, rule=reverse: (rule(r[0][0], c),),
        )
        with pytest.raises(cg.GradientError, match=match):
            cg.check_grad(f(x), x, {x: 0.7})


def test_near_a_pole_steps_become_smaller():
    x = cg.vector("x", 2)
    y = cg.log(cg.abs(x))
    report = cg.check_grad(y, x, {x: [2e-4, 1.0]})
    assert report.method == "finite differences"
    with pytest.raises(cg.GradientError, match="differences do not converge"):
        cg.check_grad(y, x, {x: [1e-8, 1.0]})
    with pytest.raises(cg.GradientError, match="Not all are finite: move the point"):
        cg.check_grad(y, x, {x: [0.0, 1.0]})


def test_empty_and_symbolic():
    x = cg.vector("x", "2*n")
    report = cg.check_grad((x * x).sum(), x, {x: np.empty(0)}, max_entries=3)
    assert report.entries == 0
    n = cg.vector("y", "n")
    assert cg.check_grad(n.sum() * n.shape[0], n, {n: [1.0, 2.0]}).error <= 1
