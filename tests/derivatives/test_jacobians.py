"""Jacobians, Hessians and batching: shapes, modes, symbolic sizes, nesting."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.derivatives.batching import push_batch
from graphc.derivatives.choice import cheaper_mode
from graphc.graph.graph import topological_order
from graphc.ops.leaf import new_input

MODES = ["auto", "forward", "reverse"]
RANDOM = np.random.default_rng(1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(3, 2), ("m", "n")], ids=["fixed", "symbolic"])
def test_jacobian_has_the_shape_of_result_and_argument(mode, shape, evaluate):
    x, a = cg.matrix("x", shape), cg.matrix("a", (4, shape[0]))
    j = cg.jacobian(a @ x, x, mode=mode)
    assert j.ndim == 4
    at = {x: RANDOM.random((3, 2)), a: RANDOM.random((4, 3))}
    expected = np.einsum("ik,jl->ijkl", at[a], np.eye(2))
    np.testing.assert_allclose(evaluate(j, at), expected)


@pytest.mark.parametrize("mode", MODES)
def test_jacobian_of_and_by_a_scalar(mode, evaluate):
    x, s = cg.vector("x", "n"), cg.scalar("s")
    at = {x: np.array([1.0, 2.0]), s: 3.0}
    y = cg.sin(s * x)
    np.testing.assert_allclose(
        evaluate(cg.jacobian(y, s, mode), at), at[x] * np.cos(3 * at[x])
    )
    np.testing.assert_allclose(
        evaluate(cg.jacobian(y.sum(), x, mode), at), 3 * np.cos(3 * at[x])
    )


@pytest.mark.parametrize("mode", MODES)
def test_jacobian_of_containers(mode, evaluate):
    x, w = cg.vector("x", 2), cg.vector("w", 3)
    ys = {"a": (w * w).sum() * x, "b": [w]}
    j = cg.jacobian(ys, (x, w), mode)
    at = {x: [1.0, 2.0], w: [3.0, 4.0, 5.0]}
    (ax, aw), ((bx, bw),) = evaluate((j["a"], j["b"]), at)
    np.testing.assert_allclose(ax, 50 * np.eye(2))
    np.testing.assert_allclose(aw, np.outer([1, 2], [6, 8, 10]))
    np.testing.assert_allclose(bx, np.zeros((3, 2)))
    np.testing.assert_allclose(bw, np.eye(3))


@pytest.mark.parametrize("mode", MODES)
def test_jacobian_has_the_dtype_of_its_argument(mode):
    x = cg.vector("x", 2, dtype="float32")
    w = cg.vector("w", 2)
    assert cg.jacobian(x * w, x, mode).dtype == np.float32
    assert cg.jacobian(x * w, w, mode).dtype == np.float64
    assert cg.jacobian((x * w).sum(), x, mode).dtype == np.float32


@pytest.mark.parametrize("mode", MODES)
def test_empty_array(mode, evaluate):
    x = cg.vector("x", "n")
    j = cg.jacobian(cg.sin(x), x, mode)
    assert evaluate(j, {x: np.zeros(0)}).shape == (0, 0)


def test_auto_takes_the_mode_with_fewer_columns():
    a, b = cg.vector("a", 3), cg.vector("b", 4)
    n, n2, m = cg.vector("n", "n"), cg.vector("n2", "2*n"), cg.matrix("m", ("m", "n"))
    assert cheaper_mode([a], [b]) == "reverse"
    assert cheaper_mode([b], [a]) == "forward"
    assert cheaper_mode([a], [a]) == "reverse"
    assert cheaper_mode([n], [n2]) == "reverse"
    assert cheaper_mode([n2], [n]) == "forward"
    assert cheaper_mode([m], [n]) == "forward"
    assert cheaper_mode([a], [n]) == "reverse"


def test_one_sweep_for_all_columns():
    sizes = []
    for n in (3, 300):
        x = cg.vector("x", n)
        j = cg.jacobian(cg.sin(x) * cg.exp(x), x, mode="forward")
        sizes.append(len(topological_order([j])))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [3, "n"])
def test_hessian(mode, size, evaluate):
    x = cg.vector("x", size)
    y = cg.exp((cg.sin(x) * x).sum())
    at = np.array([0.1, 0.2, 0.3])
    g = np.cos(at) * at + np.sin(at)
    d = 2 * np.cos(at) - at * np.sin(at)
    expected = np.exp((np.sin(at) * at).sum()) * (np.outer(g, g) + np.diag(d))
    h = cg.hessian(y, x, mode)
    np.testing.assert_allclose(evaluate(h, {x: at}), expected)
    v = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(evaluate(cg.hvp(y, x, v), {x: at}), expected @ v)


@pytest.mark.parametrize("mode", MODES)
def test_hessian_of_containers(mode, evaluate):
    x, s = cg.vector("x", 2), cg.scalar("s")
    h = cg.hessian((x * x).sum() * s * s, {"x": x, "s": s}, mode)
    at = {x: np.array([1.0, 2.0]), s: 3.0}
    got = evaluate(h, at)
    np.testing.assert_allclose(got["x"]["x"], 18 * np.eye(2))
    np.testing.assert_allclose(got["x"]["s"], 12 * at[x])
    np.testing.assert_allclose(got["s"]["x"], 12 * at[x])
    np.testing.assert_allclose(got["s"]["s"], 10)


@pytest.mark.parametrize("mode", MODES)
def test_hessian_where_the_gradient_is_constant_is_zero(mode, evaluate):
    x = cg.vector("x", 2)
    for y in (x.sum(), cg.nn.relu(x).sum(), cg.abs(x).sum()):
        h = evaluate(cg.hessian(y, x, mode), {x: [1.0, -2.0]})
        np.testing.assert_array_equal(h, np.zeros((2, 2)))
        assert not evaluate(cg.hvp(y, x, [1.0, 1.0]), {x: [1.0, -2.0]}).any()


@pytest.mark.parametrize("outer", MODES)
@pytest.mark.parametrize("inner", MODES)
def test_third_order(outer, inner, evaluate):
    x = cg.vector("x", "n")
    t = cg.jacobian(cg.hessian((cg.sin(x) * x).sum(), x, inner), x, outer)
    at = np.array([0.3, 0.7])
    got = evaluate(t, {x: at})
    expected = np.zeros((2, 2, 2))
    for i in range(2):
        expected[i, i, i] = -3 * np.sin(at[i]) - at[i] * np.cos(at[i])
    np.testing.assert_allclose(got, expected, atol=1e-15)


def test_derivatives_of_any_order_by_nesting(evaluate):
    x = cg.scalar("x")
    y = cg.exp(2 * x)
    for order in range(1, 7):
        y = cg.grad(y, x) if order % 2 else cg.jvp(y, x, 1.0)
        np.testing.assert_allclose(evaluate(y, {x: 0.5}), 2**order * np.e)


def test_gradient_of_a_gradients_norm(evaluate):
    x, w = cg.vector("x", "n"), cg.matrix("w", ("n", "n"))
    g = cg.grad(cg.tanh(w @ x).sum(), x)
    penalty = cg.grad((g * g).sum(), w)
    at = {x: RANDOM.random(3), w: RANDOM.random((3, 3))}
    cg.check_grad((g * g).sum(), [w, x], at)
    assert evaluate(penalty, at).shape == (3, 3)


def test_batching_leaves_what_does_not_depend_on_it(evaluate):
    x, w = cg.vector("x", "n"), cg.vector("w", "n")
    heavy = cg.exp(w)
    xs = new_input("xs", x.type._replace(shape=(5, *x.shape)))
    (y, has_axis), (z, z_has_axis) = push_batch([(x * heavy).sum(), heavy], {x: xs})
    assert has_axis
    assert not z_has_axis
    assert z is heavy
    assert heavy in set(topological_order([y]))
    at = {xs: RANDOM.random((5, 3)), w: RANDOM.random(3)}
    np.testing.assert_allclose(evaluate(y, at), at[xs] @ np.exp(at[w]))
