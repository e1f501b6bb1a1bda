"""Users' mistakes: each its own class, naming op, operands, place and remedy."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg


def test_gradient_of_an_array():
    x = cg.vector("x", "n")
    y = cg.sin(x)
    with pytest.raises(
        cg.ShapeError, match=r"sin: float64\(n,\) made at test_errors"
    ) as e:
        cg.grad(y, x)
    assert "jacobian" in str(e.value)
    assert "sum" in str(e.value)
    with pytest.raises(ValueError, match="one scalar, but it is a list of 2"):
        cg.grad([x.sum(), x.sum()], x)


@pytest.mark.parametrize("derivative", [cg.grad, cg.hessian])
def test_integer_result(derivative):
    k = cg.scalar("k", dtype="int64")
    with pytest.raises(cg.DTypeError, match=r"k: int64\(\).*no derivative.*astype"):
        derivative(k, k)


def test_integer_wrt():
    x, k = cg.scalar("x"), cg.scalar("k", dtype="int64")
    with pytest.raises(
        cg.DTypeError, match=r"k: int64\(\) made at .*float32 and float64"
    ):
        cg.grad(x * k, k)
    with pytest.raises(TypeError, match="cannot differentiate with respect to"):
        cg.grad(lambda n: n * 2.0)(3)


def test_disconnected_input():
    x, z = cg.scalar("x"), cg.scalar("z")
    for call in (
        lambda: cg.grad(x * x, [x, z]),
        lambda: cg.jvp(x * x, z, 1.0),
        lambda: cg.vjp(x * x, z, 1.0),
        lambda: cg.jacobian(x * x, z),
        lambda: cg.hessian(x * x, z),
        lambda: cg.hvp(x * x, z, 1.0),
    ):
        with pytest.raises(
            cg.DisconnectedInputError, match=r"z: float64\(\) made at .*not used by"
        ):
            call()
    dx, dz = cg.grad(x * x, [x, z], disconnected="zero")
    assert cg.evaluate([dx, dz], {x: 3.0, z: 1.0}) == [6, 0]


def test_another_input_of_the_same_name_is_disconnected():
    with pytest.raises(cg.DisconnectedInputError, match="of that name"):
        cg.grad(cg.scalar("x") * 2, cg.scalar("x"))


@pytest.mark.parametrize(
    "build",
    [
        lambda x: x.argmax().astype("float64"),
        lambda x: cg.where(x > 0, 1.0, 0.0).sum(),
        lambda x: cg.copysign(2.0, x).sum(),
        lambda x: (x > 0).sum().astype("float64"),
    ],
)
def test_discrete_path(build):
    x, w = cg.vector("x", "n"), cg.scalar("w")
    y = build(x)
    with pytest.raises(
        cg.NotDifferentiableError, match=r"only path from x: float64\(n,\).*made at"
    ) as e:
        cg.grad(y, x)
    assert isinstance(e.value, NotImplementedError)
    with pytest.raises(cg.NotDifferentiableError):
        cg.grad(y * w, [w, x])  # also where another input has a smooth path
    zero = cg.grad(y * w, [w, x], disconnected="zero")[1]
    assert not cg.evaluate(zero, {x: [0.5, -0.5], w: 2.0}).any()


def test_wrt_that_is_no_expression():
    x = cg.scalar("x")
    with pytest.raises(cg.InputError, match=r"wrt\['a'\]\[1\] is 3.0 of type float"):
        cg.grad(x * x, {"a": [x, 3.0]})
    with pytest.raises(cg.InputError, match="wrt is None"):
        cg.grad(x * x)


def test_tangent_that_does_not_fit():
    x = cg.vector("x", 3)
    y = cg.sin(x)
    with pytest.raises(cg.ShapeError, match=r"tangent is .*\(4,\).* x: float64\(3,\)"):
        cg.jvp(y, x, np.ones(4))
    with pytest.raises(cg.ShapeError, match=r"same shape \(3,\)"):
        cg.jvp(y, x, 1.0)
    with pytest.raises(cg.DTypeError, match=r"tangent .*float32.*astype\('float64'\)"):
        cg.jvp(y, x, np.ones(3, np.float32))
    with pytest.raises(cg.InputError, match="tangent has 1 entries, but 2"):
        cg.jvp(y, [x, y], [np.ones(3)])
    with pytest.raises(cg.InputError, match="tangent"):
        cg.jvp(y, {"x": x}, [np.ones(3)])


def test_cotangent_that_does_not_fit():
    x = cg.vector("x", 3, dtype="float32")
    y = cg.sin(x)
    with pytest.raises(
        cg.ShapeError, match=r"cotangent is .*\(2,\).* sin: float32\(3,\)"
    ):
        cg.vjp(y, x, [1.0, 2.0])
    with pytest.raises(
        cg.DTypeError, match=r"cotangent .*float64.*astype\('float32'\)"
    ):
        cg.vjp(y, x, np.ones(3))
    with pytest.raises(cg.DTypeError, match="int64"):
        cg.vjp(y, x, np.ones(3, np.int64))
    with pytest.raises(cg.InputError, match=r"v .*keys"):
        cg.hvp(y.sum(), {"x": x}, {"y": np.ones(3, np.float32)})


@pytest.mark.parametrize("derivative", [cg.jacobian, cg.hessian])
@pytest.mark.parametrize("mode", ["sideways", "Forward"])
def test_mode_that_is_unknown(derivative, mode):
    x = cg.scalar("x")
    with pytest.raises(cg.ConfigError, match=f"{mode}.*'auto', 'forward', 'reverse'"):
        derivative(x * x, x, mode=mode)
    with pytest.raises(ValueError, match=mode):
        derivative(lambda x: x * x, mode=mode)


def test_unknown_choice_for_disconnected():
    x = cg.scalar("x")
    with pytest.raises(cg.ConfigError, match='"raise" nor "zero"'):
        cg.grad(x * x, x, disconnected="ignore")


def test_op_without_a_rule():
    from graphc.graph.node import make_node
    from graphc.ops.declare import REGISTRY, General

    op = General("test_without_rules")
    try:
        x = cg.scalar("x")
        y = make_node(op, (x,), (), x.type)
        with pytest.raises(cg.NotDifferentiableError, match="no vjp is declared"):
            cg.grad(y, x)
        with pytest.raises(cg.NotDifferentiableError, match="no jvp is declared"):
            cg.jvp(y, x, 1.0)
    finally:
        del REGISTRY["test_without_rules"]


def test_argnums_out_of_range():
    with pytest.raises(cg.InputError, match="argnums: 2 names none of the 1"):
        cg.grad(lambda x: x, argnums=2)(1.0)
    with pytest.raises(cg.InputError, match="named twice"):
        cg.grad(lambda x, y: x, argnums=(0, -2))(1.0, 2.0)
    with pytest.raises(cg.InputError, match="at least 2 are needed"):
        cg.hvp(lambda x: x * x)(1.0)


def test_result_of_a_function_that_is_no_expression():
    with pytest.raises(cg.InputError, match="'text'"):
        cg.vmap(lambda x: "text")(np.ones(3))


def test_vmap_over_sizes_that_differ():
    add = cg.vmap(lambda x, y: x + y)
    with pytest.raises(cg.ShapeError, match="y is mapped over an axis of size 4"):
        add(np.ones(3), np.ones(4))
    with pytest.raises(cg.ShapeError, match="scalar and has no axis"):
        add(1.0, np.ones(4))
    with pytest.raises(cg.InputError, match="no argument is mapped"):
        cg.vmap(lambda x: x, in_axes=None)(np.ones(3))
    with pytest.raises(cg.InputError, match="in_axes has 1 entries, but 2"):
        cg.vmap(lambda x, y: x + y, in_axes=(0,))(np.ones(3), np.ones(3))
