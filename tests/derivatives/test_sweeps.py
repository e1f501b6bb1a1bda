"""Forward and reverse sweeps against closed forms, and against each other."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.derivatives.forward import push_forward
from graphc.derivatives.reverse import pull_back
from graphc.graph.graph import topological_order
from graphc.ops.declare import REGISTRY, Elementwise
from graphc.ops.leaf import new_input
from graphc.types.tensor_type import TensorType

RANDOM = np.random.default_rng(0)
POINT = RANDOM.uniform(0.2, 0.8, (3, 4))


def test_gradient_of_a_broadcast_operand_is_summed(evaluate):
    x, b = cg.matrix("x", ("m", "n")), cg.vector("b", "n")
    c = cg.scalar("c")
    y = (x * b + c).sum()
    at = {x: POINT, b: np.arange(4.0), c: 2.0}
    dx, db, dc = evaluate(cg.grad(y, [x, b, c]), at)
    np.testing.assert_allclose(dx, np.broadcast_to(np.arange(4.0), (3, 4)))
    np.testing.assert_allclose(db, POINT.sum(axis=0))
    np.testing.assert_allclose(dc, 12.0)


def test_gradient_of_an_axis_of_size_one_is_summed(evaluate):
    x, b = cg.matrix("x", (3, 4)), cg.matrix("b", (3, 1))
    db = evaluate(cg.grad((x * b).sum(), b), {x: POINT, b: np.ones((3, 1))})
    np.testing.assert_allclose(db, POINT.sum(axis=1, keepdims=True))


def test_cotangents_have_the_dtype_of_their_argument(evaluate):
    x = cg.vector("x", 3, dtype="float32")
    w = cg.vector("w", 3)
    dx, dw = cg.grad((x * w).sum(), (x, w))
    assert (dx.dtype, dw.dtype) == (np.float32, np.float64)
    pushed = cg.jvp(x * w, x, np.ones(3, np.float32))
    assert pushed.dtype == np.float64


def test_integers_on_the_way_carry_nothing(evaluate):
    x, k = cg.vector("x", 3), cg.vector("k", 3, dtype="int64")
    dx = evaluate(cg.grad((x * k).sum(), x), {x: [1.0, 2.0, 3.0], k: [4, 5, 6]})
    np.testing.assert_array_equal(dx, [4.0, 5.0, 6.0])


def test_a_node_used_many_times_accumulates(evaluate):
    x = cg.scalar("x")
    y = x * x * x + x / x + x
    np.testing.assert_allclose(evaluate(cg.grad(y, x), {x: 2.0}), 13.0)


def test_result_that_is_its_own_argument(evaluate):
    x = cg.scalar("x")
    assert evaluate(cg.grad(x, x), {x: 5.0}) == 1
    assert evaluate(cg.jvp(x, x, 3.0), {x: 5.0}) == 3


def test_inner_expression_counts_as_perturbed(evaluate):
    x = cg.scalar("x")
    h = cg.sin(x)
    y = h * h + x
    at = {x: 0.7}
    dx, dh = evaluate(cg.grad(y, (x, h)), at)
    np.testing.assert_allclose(dh, 2 * np.sin(0.7))
    np.testing.assert_allclose(dx, np.sin(1.4) + 1)
    both = evaluate(cg.jvp(y, (x, h), (2.0, 3.0)), at)
    np.testing.assert_allclose(both, 2 * dx + 3 * dh)


def test_the_same_expression_given_twice(evaluate):
    x = cg.scalar("x")
    a, b = evaluate(cg.grad(x * x, [x, x]), {x: 3.0})
    assert a == b == 6
    assert evaluate(cg.jvp(x * x, [x, x], [1.0, 1.0]), {x: 3.0}) == 12


def test_several_results_add_their_cotangents(evaluate):
    x = cg.vector("x", "n")
    ys = {"a": cg.sin(x), "b": (x * x).sum()}
    at = {x: [0.1, 0.2]}
    dx = evaluate(cg.vjp(ys, x, {"a": [1.0, 2.0], "b": 3.0}), at)
    np.testing.assert_allclose(
        dx, np.cos([0.1, 0.2]) * [1, 2] + 6 * np.array([0.1, 0.2])
    )
    pushed = evaluate(cg.jvp(ys, x, [1.0, 2.0]), at)
    np.testing.assert_allclose(pushed["a"], np.cos([0.1, 0.2]) * [1, 2])
    np.testing.assert_allclose(pushed["b"], 2 * (0.1 + 0.4))


def test_value_and_grad_gives_the_value_itself():
    x = cg.scalar("x")
    y = cg.sin(x)
    value, _ = cg.value_and_grad(y, x)
    assert value is y


def test_only_partials_of_active_arguments_are_built():
    calls = []

    def partial(name):
        def rule(x, y, out):
            calls.append(name)
            return y

        return rule

    op = Elementwise(
        "test_partials_counted",
        2,
        numpy=np.add,
        scalar="add",
        signature=REGISTRY["add"].signature,
        partials=(partial("x"), partial("y")),
        sympy=lambda sp, x, y: x + y,
    )
    try:
        x, y = cg.scalar("x"), cg.scalar("y")
        cg.grad(op(x, y), x)
        cg.jvp(op(x, y), x, 1.0)
        assert calls == ["x", "x"]
        cg.grad(op(x, y), y)
        assert calls == ["x", "x", "y"]
    finally:
        del REGISTRY["test_partials_counted"]


def test_branches_that_reach_no_input_are_not_differentiated():
    x, z = cg.vector("x", "n"), cg.vector("z", "n")
    y = (x * cg.exp(cg.sin(cg.tanh(z)))).sum()
    names = {n.op.name for n in topological_order([cg.grad(y, x)])}
    assert "cos" not in names


def test_stop_gradient_cuts_a_path(evaluate):
    x = cg.scalar("x")
    y = x * cg.stop_gradient(x) + cg.stop_gradient({"a": x})["a"]
    assert evaluate(cg.grad(y, x), {x: 3.0}) == 3
    assert evaluate(cg.grad(cg.stop_gradient(x * x), x), {x: 3.0}) == 0


DIFFERENTIABLE = [
    name
    for name, op in sorted(REGISTRY.items())
    if isinstance(op, Elementwise) and op.partials and any(op.partials)
]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_modes_are_adjoint_for_every_elementwise_op(name, evaluate):
    op = REGISTRY[name]
    if op.param_names not in ((), ("n",)):
        pytest.skip("its parameter is not an integer")
    args = []
    for i, known in enumerate(op.partials):
        dtype = "float64" if known is not None or name != "where" else "bool"
        shape = (3, 4) if i == 0 else (4,)
        args.append(new_input(f"a{i}", TensorType(shape, np.dtype(dtype))))
    y = op(*args, params=(3,) if op.param_names else ())
    wrt = [a for a, p in zip(args, op.partials) if p is not None]
    t = [new_input("t", a.type) for a in wrt]
    c = new_input("c", y.type)
    at = {a: RANDOM.uniform(0.2, 0.8, a.shape) for a in args if a.dtype.kind == "f"}
    at |= {a: RANDOM.random(a.shape) > 0.5 for a in args if a.dtype.kind == "b"}
    at |= {n: RANDOM.standard_normal(n.shape) for n in (*t, c)}
    pushed = evaluate(push_forward([y], wrt, t), at)[0]
    pulled = evaluate(pull_back([y], [c], wrt), at)
    left = np.sum(at[c] * pushed)
    right = sum(np.sum(at[n] * p) for n, p in zip(t, pulled))
    np.testing.assert_allclose(left, right, rtol=1e-10)


OTHERS = {
    "sum": lambda x: x.sum(axis=0),
    "prod": lambda x: x.prod(axis=1),
    "max": lambda x: x.max(axis=1),
    "cumsum": lambda x: x.cumsum(axis=1),
    "cumprod": lambda x: cg.cumulative_prod(x, axis=1),
    "matmul": lambda x: x @ x.T,
    "slice": lambda x: x[1:, ::-2],
    "gather": lambda x: x[[0, 2, 2]],
    "scatter": lambda x: x.at[[0, 0]].add(x[1] * x[2]),
    "concatenate": lambda x: cg.concatenate([x, x * x], axis=1),
    "pad": lambda x: cg.pad(x, 1),
    "einsum": lambda x: cg.einsum("ij,kj,ik->j", x, x, x[:, :3]),
    "triangle": lambda x: cg.tril(x) * cg.triu(x),
}


@pytest.mark.parametrize("name", OTHERS)
def test_modes_and_differences_agree_for_other_ops(name, evaluate):
    x = cg.matrix("x", (3, 4))
    y = OTHERS[name](x)
    cg.check_grad(y, x, {x: POINT})
    cg.check_grad(cg.grad((y * y).sum(), x), x, {x: POINT})
    left, right = (cg.jacobian(y, x, mode) for mode in ("forward", "reverse"))
    left, right = evaluate([left, right], {x: POINT})
    np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-14)


def test_a_sum_over_the_rows_of_a_product_is_taken_in_its_operands(evaluate):
    """A centre's cotangent needs no product with all points: ``sum(c) @ Q.T``."""
    x, centre, Q = cg.matrix("x", (50, 3)), cg.vector("c", 3), cg.matrix("Q", (3, 4))
    y = (((x - centre) @ Q) ** 2).sum()
    gradient = cg.grad(y, centre)
    products = [n for n in topological_order([gradient]) if n.op.name == "matmul"]
    assert sorted(p.shape for p in products) == [(1, 3), (50, 4)]
    rng = np.random.default_rng(0)
    at = {x: rng.normal(size=(50, 3)), centre: rng.normal(size=3)}
    at[Q] = rng.normal(size=(3, 4))
    expected = -2 * ((at[x] - at[centre]) @ at[Q] @ at[Q].T).sum(0)
    np.testing.assert_allclose(evaluate(gradient, at), expected, rtol=1e-12)
