"""diff, and the symbolic mode of Jacobians and Hessians, against the other modes."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import graphc as cg
from graphc.graph.graph import topological_order

POINTS = (-2.0, -1.0, 0.0, 0.3, 1.0, 2.5)
Z = cg.scalar("z")
FUNCTIONS = {
    "abs": cg.abs,
    "root of abs": lambda x: cg.sqrt(cg.abs(x)),
    "relu": cg.relu,
    "maximum": lambda x: cg.maximum(x, Z) * x,
    "three maxima": lambda x: cg.maximum(cg.maximum(x, Z), x * x),
    "minimum": lambda x: cg.minimum(cg.sin(x), cg.minimum(x, 1)),
    "clip": lambda x: cg.clip(x, -1, 1) * x,
    "masked log": lambda x: cg.where(x > 0, cg.log(x), 0.0),
    "root of masked": lambda x: cg.sqrt(cg.where(x > 0, x, 0.0)),
    "product of masked": lambda x: cg.where(x > 0, cg.log(x), 0.0) * cg.exp(x),
    "floor": lambda x: cg.floor(x) * x,
    "round": lambda x: cg.round(x) * x,
    "sign": lambda x: cg.sign(x) * x**2,
    "hypot": lambda x: cg.hypot(x, 0.0),
    "copysign": lambda x: cg.copysign(x, Z),
    "remainder": lambda x: (x % 2) * x,
    "smooth": lambda x: cg.softplus(x) * cg.sigmoid(x) + cg.tanh(x) / (1 + x**4),
    "special": lambda x: cg.erf(x) * cg.gammaln(x * x + 1),
    "stopped": lambda x: cg.stop_gradient(cg.sin(x)) * x,
    "free of x": lambda x: Z * 2,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_diff_agrees_with_grad_also_at_kinks(name, evaluate):
    x = cg.scalar("x")
    y = FUNCTIONS[name](x)
    first = cg.grad(y, x, disconnected="zero")
    second = cg.grad(first, x, disconnected="zero")
    both = [cg.diff(y, x), cg.diff(y, x, 2)]
    for point in POINTS:
        at = {x: point, Z: 1.0}
        for ours, other in zip(evaluate(both, at), evaluate([first, second], at)):
            np.testing.assert_allclose(ours, other, rtol=1e-10, atol=1e-12)


def test_log_of_squared_sine():
    x = cg.scalar("x")
    slope = cg.diff(cg.log(cg.sin(x) ** 2), x)
    s = sp.Symbol("x", real=True)
    assert cg.to_sympy(slope) == 2 * sp.cos(s) / sp.sin(s)
    assert slope is cg.from_sympy(2 * sp.cos(s) / sp.sin(s), {s: x})


def test_nested_function_has_all_eight_derivatives(evaluate):
    x, target = cg.scalar("x"), cg.scalar("y")
    b = [cg.scalar(f"b{i}") for i in range(4)]
    w = [cg.scalar(f"w{i}") for i in range(4)]
    f = b[3] + w[3] * cg.cos(
        b[2] + w[2] * cg.exp(b[1] + w[1] * cg.sin(b[0] + w[0] * x))
    )
    loss = (f - target) ** 2
    at = {n: 0.1 * i + 0.2 for i, n in enumerate([x, target, *b, *w])}
    for parameter in (*b, *w):
        ours, other = evaluate([cg.diff(loss, parameter), cg.grad(loss, parameter)], at)
        np.testing.assert_allclose(ours, other, rtol=1e-13)


def test_orders_as_sympy_writes_them(evaluate):
    x, z = cg.scalar("x"), cg.scalar("z")
    y = cg.sin(x * z) * cg.exp(z)
    mixed = cg.diff(y, x, 2, z)
    assert cg.diff(y, (x, 2), z) is mixed
    a, b = sp.symbols("x z", real=True)
    expected = sp.diff(sp.sin(a * b) * sp.exp(b), a, 2, b).subs({a: 0.3, b: 0.7})
    value = evaluate(mixed, {x: 0.3, z: 0.7})
    np.testing.assert_allclose(value, float(expected), rtol=1e-13)
    assert cg.diff(y, x, 0) is y


def test_diff_of_containers_functions_and_entries(evaluate):
    x, v = cg.scalar("x"), cg.vector("v", 3)
    both = cg.diff({"a": x**2, "b": [x**3]}, x)
    assert evaluate(both["b"][0], {x: 2.0}) == 12
    assert evaluate(cg.diff(v[0] ** 2 * v[1], v[0]), {v: [3.0, 5.0, 0.0]}) == 30
    inner = cg.sin(x)
    assert cg.diff(inner**2, inner) is 2 * inner
    assert cg.diff(cg.scalar("s", "float32") ** 2, x).dtype == np.float32


def test_diff_of_a_python_function():
    slope = cg.diff(lambda t: cg.sin(t) ** 2)
    np.testing.assert_allclose(slope(0.3), np.sin(0.6), rtol=1e-14)


def test_results_share_parts_with_the_expression():
    x = cg.scalar("x")
    y = cg.exp(cg.sin(x))
    nodes = topological_order([y, cg.diff(y, x), cg.diff(y, x, 2)])
    assert sum(n.op.name == "exp" for n in nodes) == 1


MISTAKES = [
    (lambda x, v: cg.diff(v, x), cg.ShapeError, "diff: v: .* use grad|Use grad"),
    (lambda x, v: cg.diff(v.sum(), v), cg.ShapeError, "sympy differentiates scalars"),
    (lambda x, v: cg.diff(x), cg.InputError, "by what"),
    (lambda x, v: cg.diff(x, 2), cg.InputError, "order 2 follows no expression"),
    (lambda x, v: cg.diff(x, x, 1, 2), cg.InputError, "order 2 follows no expression"),
    (lambda x, v: cg.diff(x, "x"), cg.InputError, "'x' of type str is neither"),
    (lambda x, v: cg.diff(x, x, -1), cg.InputError, "-1 of type int is neither"),
    (
        lambda x, v: cg.diff(cg.scalar("i", "int64"), x),
        cg.DTypeError,
        "not of a floating-point dtype",
    ),
    (
        lambda x, v: cg.diff(x, cg.scalar("i", "int64")),
        cg.DTypeError,
        "i: int64",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_mistakes_have_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call(cg.scalar("x"), cg.vector("v", 3))


def test_the_limit_names_reverse_mode():
    x, v = cg.scalar("x"), cg.vector("v", 30)
    y = x
    for _ in range(20):
        y = cg.sin(y)
    with cg.config(symbolic_limit=20):
        cg.diff(y, x)
    with (
        cg.config(symbolic_limit=19),
        pytest.raises(
            cg.InputError, match=r"20 scalar operations.*\(19\). Use reverse mode, grad"
        ),
    ):
        cg.diff(y, x)
    with (
        cg.config(symbolic_limit=29),
        pytest.raises(
            cg.InputError, match=r'jacobian: .* Use reverse mode, mode="reverse"'
        ),
    ):
        cg.jacobian(cg.sin(v), v, mode="symbolic")
    with pytest.raises(cg.ShapeError, match=r'symbolic size.*mode="reverse"'):
        cg.hessian(cg.sin(w := cg.vector("w", "n")).sum(), w, mode="symbolic")
    with pytest.raises(cg.InputError, match=r"jacobian: .* cannot be .* reverse mode"):
        cg.jacobian(v[cg.argmax(v)], v, "symbolic")


def test_shared_parts_count_where_sympy_writes_them_out():
    """80 operations, but sympy, which knows no sharing, would walk through 3^40."""
    x = cg.scalar("x")
    y = x
    for _ in range(40):
        y = cg.sin(y * x) + y * y
    for call in (lambda: cg.diff(y, x), lambda: cg.hessian(y, x, mode="symbolic")):
        with pytest.raises(cg.InputError, match=r"written out.* Use reverse mode"):
            call()
    assert cg.jacobian(y, x).shape == ()  # auto does without


def test_a_deep_chain_is_refused():
    x = y = cg.scalar("x")
    for _ in range(2000):
        y = cg.sin(y)
    with cg.config(symbolic_limit=3000):
        with pytest.raises(cg.InputError, match=r"too deep.* reverse mode"):
            cg.diff(y, x)


def test_what_does_not_depend_on_x_does_not_count(evaluate):
    x, z = cg.scalar("x"), cg.scalar("z")
    big = z
    for _ in range(1000):
        big = cg.sin(big)
    ours, other = evaluate([cg.diff(x * big, x), big], {x: 1.0, z: 0.5})
    assert ours == other


V, A = cg.vector("v", 3), cg.matrix("A", (2, 3))
AT = {V: np.array([0.1, 0.7, 0.4]), A: np.arange(6.0).reshape(2, 3) / 5 - 0.4}


@pytest.mark.parametrize(
    "y",
    [
        cg.sin(A @ V),
        V.sum() * cg.concatenate([V, A[0]]),
        cg.max(V) * cg.prod(V) + cg.min(A),
        cg.where(V > 0.2, cg.log(V), V).reshape(3, 1) * A.T,
        cg.softmax(V),
        V[::-1] * 2.0,
        cg.relu(A),
    ],
)
def test_symbolic_jacobians_have_shape_and_value_of_the_others(y, evaluate):
    wanted = evaluate(cg.jacobian(y, [V, A], mode="reverse", disconnected="zero"), AT)
    ours = evaluate(cg.jacobian(y, [V, A], mode="symbolic", disconnected="zero"), AT)
    for a, b in zip(ours, wanted):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_symbolic_hessians(evaluate):
    y = cg.exp(A @ V).sum() + cg.prod(V) + cg.maximum(V[0], V[1]) ** 3
    wanted = evaluate(cg.hessian(y, {"v": V, "A": A}), AT)
    ours = evaluate(cg.hessian(y, {"v": V, "A": A}, mode="symbolic"), AT)
    for r in ours:
        for c in ours[r]:
            assert ours[r][c].shape == wanted[r][c].shape
            np.testing.assert_allclose(ours[r][c], wanted[r][c], rtol=1e-12, atol=1e-14)
    x = cg.scalar("x", "float32")
    assert cg.hessian(x**3, x, mode="symbolic").dtype == np.float32


def test_symbolic_mode_of_functions_and_disconnected():
    j = cg.jacobian(lambda t: cg.sin(t), mode="symbolic")(np.array([0.1, 0.2]))
    np.testing.assert_allclose(j, np.diag(np.cos([0.1, 0.2])))
    for derivative in (cg.jacobian, cg.hessian):
        with pytest.raises(cg.DisconnectedInputError):
            derivative(V.sum(), cg.scalar("x"), mode="symbolic")


def test_cost_counts_operations():
    x = cg.scalar("x")
    y = cg.log(cg.sin(x) ** 2)
    cost = cg.symbolic_cost(y, x)
    # log, sin and cos count 10 each; square, product and quotient one each.
    assert cost.symbolic == 3 * 10 + 3
    assert cost.reverse > cost.symbolic
    assert cg.symbolic_cost(cg.sin(v := cg.vector("v", "n")), v) is None
    assert cg.symbolic_cost(V * 2.0, V) is not None


def test_rules_from_outside_are_not_passed_over():
    function = cg.custom_derivative(cg.sin, jvp=lambda p, t: (cg.sin(p[0]), 7 * t[0]))
    x, v = cg.scalar("x"), cg.vector("v", 2)
    for call in (
        lambda: cg.diff(function(x) * x, x),
        lambda: cg.jacobian(function(v), v, mode="symbolic"),
        lambda: cg.hessian(function(v).sum(), v, mode="symbolic"),
    ):
        with pytest.raises(cg.InputError, match=r"does not follow .* reverse mode"):
            call()
    assert cg.symbolic_cost(function(x), x) is None
    # where it carries no derivative, a rule is of no interest
    assert cg.evaluate(cg.diff(function(v).sum() * x, x), {v: [0, 0], x: 1.0}) == 0
