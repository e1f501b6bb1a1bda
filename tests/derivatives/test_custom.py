"""Functions with rules of their own: modes, orders, batches, and what goes wrong."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest

import graphc as cg
from graphc.graph.graph import Graph, topological_order

X = np.array([0.3, -1.2, 2.0])


def plain(x, p):
    """A function of containers with several results, one of them discrete."""
    return {"a": x * p["w"], "b": (cg.sin(x) * p["w"]).sum(), "n": cg.argmax(x)}


def plain_jvp(primals, tangents):
    (x, p), (dx, dp) = primals, tangents
    db = (cg.cos(x) * dx * p["w"] + cg.sin(x) * dp["w"]).sum()
    return plain(x, p), {"a": dx * p["w"] + x * dp["w"], "b": db, "n": None}


def plain_bwd(residuals, c):
    (x, p), _ = residuals
    dx = c["a"] * p["w"] + c["b"] * cg.cos(x) * p["w"]
    return dx, {"w": c["a"] * x + c["b"] * cg.sin(x)}


def plain_fwd(x, p):
    return plain(x, p), (cg.sin(x), cg.cos(x), x, p["w"])


def plain_bwd_of_residuals(residuals, c):
    sin, cos, x, w = residuals
    return c["a"] * w + c["b"] * cos * w, {"w": c["a"] * x + c["b"] * sin}


RULES = {
    "jvp": {"jvp": plain_jvp},
    "vjp": {"vjp": plain_bwd},
    "fwd and bwd": {"vjp": (plain_fwd, plain_bwd_of_residuals)},
    "both": {"jvp": plain_jvp, "vjp": plain_bwd},
}


def loss_of(function):
    def loss(x, w):
        r = function(x, {"w": w})
        return (r["a"] ** 3).sum() * r["b"] + cg.exp(r["b"])

    return loss


@pytest.mark.parametrize("rules", RULES)
def test_every_mode_and_order_is_that_of_the_plain_function(rules):
    ours = loss_of(cg.custom_derivative(plain, **RULES[rules]))
    theirs = loss_of(plain)
    W = np.array([1.5, 0.5, -0.7])
    at = (X, W)
    for derivative in (
        lambda f: cg.grad(f, (0, 1)),
        lambda f: cg.hessian(f, argnums=(0, 1)),
        lambda f: cg.hessian(f, argnums=(0, 1), mode="reverse"),
        lambda f: cg.jacobian(cg.grad(f), argnums=(0, 1), mode="forward"),
        lambda f: lambda x, w: cg.jvp(f, (x, w), (w, x)),
        lambda f: lambda x, w: cg.hvp(f)(x, w, w),
        lambda f: cg.grad(lambda x, w: cg.grad(f)(x, w).sum(), (0, 1)),
    ):
        got, expected = derivative(ours)(*at), derivative(theirs)(*at)
        for a, b in zip(_leaves(got), _leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def _leaves(tree):
    from graphc.expressions.containers import flatten

    return flatten(tree)[0]


@pytest.mark.parametrize("rules", RULES)
def test_batched(rules):
    ours = loss_of(cg.custom_derivative(plain, **RULES[rules]))
    theirs = loss_of(plain)
    xs = np.stack([X, X[::-1], 2 * X])
    W = np.array([1.5, 0.5, -0.7])
    for axes in ((0, None), (0, 0), (None, 0)):
        at = (xs if axes[0] == 0 else X, xs + 1 if axes[1] == 0 else W)
        for derivative in (
            lambda f: cg.grad(f, (0, 1)),
            lambda f: cg.hessian(f),
            lambda f: lambda x, w: cg.jvp(f, (x, w), (w, x)),
        ):
            got = cg.vmap(derivative(ours), in_axes=axes)(*at)
            expected = cg.vmap(derivative(theirs), in_axes=axes)(*at)
            for a, b in zip(_leaves(got), _leaves(expected), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
        ours_mapped, theirs_mapped = (cg.vmap(f, in_axes=axes) for f in (ours, theirs))
        summed, known = (_gradient_of_sum(f) for f in (ours_mapped, theirs_mapped))
        for a, b in zip(summed(*at), known(*at)):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def _gradient_of_sum(f):
    return cg.grad(lambda x, w: f(x, w).sum(), (0, 1))


def test_nested_maps(evaluate):
    f = cg.custom_derivative(
        lambda x, y: x * cg.sin(y), vjp=lambda r, c: (c * cg.sin(r[0][1]), 7.0 * c)
    )
    rows = cg.vmap(cg.vmap(f, in_axes=(0, None)), in_axes=(None, 0))
    gradient = cg.grad(lambda x, y: rows(x, y).sum(), (0, 1))
    dx, dy = gradient(np.arange(3.0), np.arange(2.0))
    np.testing.assert_allclose(dx, np.full(3, np.sin([0, 1]).sum()))
    np.testing.assert_allclose(dy, np.full(2, 21.0))


def test_the_rule_is_used_not_the_function(evaluate):
    @cg.custom_derivative
    def rounded(x):
        return cg.round(x)

    @rounded.defvjp
    def straight_through(residuals, c):
        return (c,)

    x = cg.vector("x", "n")
    np.testing.assert_array_equal(
        evaluate(cg.grad((rounded(x) * x).sum(), x), {x: X}), X + np.round(X)
    )
    np.testing.assert_array_equal(rounded(X), np.round(X))


def test_a_rule_that_is_not_linear_gets_all_cotangents_at_once(evaluate):
    """Clipping a cotangent is not linear: parts must not be clipped by themselves."""

    @cg.custom_derivative
    def clipped(x):
        return x, 2.0 * x

    clipped.defvjp(lambda residuals, c: (cg.clip(c[0] + c[1], -1.0, 1.0),))
    x = cg.scalar("x")
    a, b = clipped(x)
    assert evaluate(cg.grad(5.0 * a - 4.5 * b, x), {x: 1.0}) == 0.5
    assert evaluate(cg.grad(5.0 * a + 4.5 * b, x), {x: 1.0}) == 1.0
    with pytest.raises(
        cg.NotDifferentiableError,
        match=r"clipped: forward mode transposes its vjp rule, .*linear.*defjvp",
    ):
        cg.jvp(a + b, x, 1.0)


def test_a_jvp_that_is_not_linear_has_no_transpose():
    f = cg.custom_derivative(lambda x: x, jvp=lambda x, t: (x[0], t[0] * t[0]))
    x = cg.scalar("x")
    with pytest.raises(cg.NotDifferentiableError, match=r"reverse mode.*defvjp"):
        cg.grad(f(x), x)


def test_higher_orders_use_the_rule_again(evaluate):
    """Each differentiation of ``f`` multiplies by 3."""
    f = cg.custom_derivative(lambda x: cg.exp(x))
    f.defjvp(lambda primals, tangents: (f(*primals), 3.0 * f(*primals) * tangents[0]))
    g = f
    for order in range(1, 5):
        g = cg.grad(g)
        np.testing.assert_allclose(g(0.5), 3.0**order * np.exp(0.5))


def test_compiled_code_is_that_of_the_function():
    from graphc.passes.pipeline import run_passes

    f = cg.custom_derivative(lambda x: (cg.exp(x), cg.exp(-x)))
    f.defvjp(lambda r, c: (c[0] * r[1][0] - c[1] * r[1][1],))
    x = cg.vector("x", "n")
    a, b = f(x)
    graph = Graph([x], [a + b, cg.grad((a * b).sum(), x)])
    assert "custom" in str(graph)
    ops = {n.op.name for n in run_passes(graph).nodes}
    assert ops.isdisjoint({"custom", "concatenate", "slice", "pad"})


def test_the_same_call_is_the_same_expression():
    f = cg.custom_derivative(lambda x, n: x**n, jvp=lambda p, t: (None, t[0]))
    x = cg.scalar("x")
    assert f(x, 2) is f(x, 2)
    assert f(x, 2) is not f(x, 3)
    assert f(x, 2) is f(x, n=2)


def test_arguments_that_are_no_arrays(evaluate):
    seen = []

    def rule(primals, tangents):
        seen.append((primals[1:], tangents[1:]))
        x, power, *_ = primals
        return x, tangents[0] * power * x ** (power - 1) * tangents[3].size

    f = cg.custom_derivative(lambda x, power, name=None, k=0: x**power, jvp=rule)
    x, k = cg.scalar("x"), cg.vector("k", 3, dtype="int64")
    y = f(x, 3.0, "text", k)
    assert evaluate(cg.grad(y, x), {x: 2.0, k: [1, 2, 3]}) == 36
    (primals, tangents) = seen[0]
    assert primals[:2] == (3.0, "text")
    assert tangents[:2] == (0.0, 0.0)
    assert tangents[2].shape == (3,)
    f32 = cg.scalar("f", dtype="float32")
    assert f(f32, 2.0, "text", k).dtype == np.float32


def test_a_function_of_integers_needs_no_rule(evaluate):
    f = cg.custom_derivative(lambda k: k + 1)
    k = cg.scalar("k", dtype="int64")
    assert f(k).op.name == "add"
    g = cg.custom_derivative(lambda x: cg.argmax(x))
    assert g(cg.vector("x", 3)).op.name == "argmax"


def test_pickled():
    x = cg.vector("x", "n")
    y = importable(x)
    assert pickle.loads(pickle.dumps(y)) is y
    f = cg.custom_derivative(lambda x: cg.sin(x), vjp=lambda r, c: (c,))
    z = pickle.loads(pickle.dumps(f(x)))
    np.testing.assert_allclose(cg.evaluate(z, {x: X}), np.sin(X))
    with pytest.raises(cg.NotDifferentiableError, match="<lambda>: its rule was not"):
        cg.grad(z.sum(), x)


@cg.custom_derivative
def importable(x):
    """Found by its name when unpickled."""
    return cg.sin(x)


def test_checked_against_differences():
    f = cg.custom_derivative(plain, **RULES["both"])
    report = f.check(X, {"w": X + 2})
    assert report.entries == 6
    wrong = cg.custom_derivative(cg.sin, vjp=lambda r, c: (c * cg.sin(r[0][0]),))
    with pytest.raises(cg.GradientError, match="disagree, worst by x"):
        wrong.check(X)
    only_reverse = cg.custom_derivative(
        cg.sin,
        jvp=lambda p, t: (cg.sin(p[0]), t[0] * cg.cos(p[0])),
        vjp=lambda r, c: (c,),
    )
    with pytest.raises(cg.GradientError, match="Reverse mode is wrong"):
        only_reverse.check(X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3)])
def test_shapes_and_dtypes(dtype, shape):
    f = cg.custom_derivative(
        lambda x: (x * x, x.sum()), vjp=lambda r, c: (2 * c[0] * r[0][0] + c[1],)
    )
    x = np.ones(shape, dtype)
    gradient = cg.grad(lambda x: f(x)[0].sum() + f(x)[1])(x)
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(gradient, np.full(shape, 3.0))


def test_results_of_two_dtypes(evaluate):
    f = cg.custom_derivative(
        lambda x: (x, x.astype("float64")),
        vjp=lambda r, c: (c[0] + c[1].astype("float32"),),
    )
    x = cg.vector("x", 2, dtype="float32")
    a, b = f(x)
    assert (a.dtype, b.dtype) == (np.float32, np.float64)
    got = evaluate(cg.grad(a.sum() + 2 * b.sum(), x), {x: [1.0, 2.0]})
    np.testing.assert_array_equal(got, [3.0, 3.0])


# ------------------------------------------------------------------------ errors


def raised(error, match, call):
    with pytest.raises(error, match=match) as e:
        call()
    return str(e.value)


def test_not_a_function():
    raised(cg.InputError, "3 of type int is not a function", lambda: _custom(3))
    raised(cg.InputError, "defjvp takes functions", lambda: _custom(cg.sin, jvp=3))
    raised(cg.InputError, "3 functions", lambda: _custom(cg.sin, vjp=(cg.sin,) * 3))


def _custom(*args, **kwargs):
    return cg.custom_derivative(*args, **kwargs)


def test_no_rule():
    x = cg.scalar("x")
    y = _custom(plain_square)(x)
    for call in (lambda: cg.grad(y, x), lambda: cg.jvp(y, x, 1.0)):
        raised(cg.NotDifferentiableError, "plain_square: it has no rule.*defjvp", call)


def plain_square(x):
    return {"y": x * x}["y"]


def test_what_the_function_uses_besides_its_arguments():
    x, z = cg.scalar("x"), cg.scalar("z")
    f = _custom(lambda x: x * z, vjp=lambda r, c: (c * z,))
    message = raised(cg.InputError, "not among its arguments", lambda: f(x))
    assert re.search(r"z: float64\(\) made at test_custom.py:\d+", message)


def vector_pair():
    x = cg.vector("x", 3)
    return x, [cg.vector("y", 3, dtype="float32"), cg.vector("z", 4)]


WRONG_TANGENTS = {
    "no pair": (lambda x: x, cg.InputError, "must return the pair"),
    "shape": (lambda x: (x, x.sum()), cg.ShapeError, r"shape \(3,\) is needed"),
    "dtype": (
        lambda x: (x, x.astype("float32")),
        cg.DTypeError,
        "float32.*float64 is needed.*astype",
    ),
    "structure": (lambda x: (x, [x, x]), cg.InputError, "holds a value of type list"),
    "no expression": (lambda x: (x, "t"), cg.InputError, "type str.*no expression"),
}


@pytest.mark.parametrize("case", WRONG_TANGENTS)
def test_tangent_that_does_not_fit(case):
    build, error, match = WRONG_TANGENTS[case]
    f = _custom(plain_square, jvp=lambda primals, tangents: build(primals[0]))
    x = cg.vector("x", 3)
    for call in (lambda: cg.jvp(f(x), x, X), lambda: cg.grad(f(x).sum(), x)):
        message = raised(error, match, call)
        assert "plain_square" in message
        assert "jvp rule" in message


WRONG_COTANGENTS = {
    "no tuple": (lambda c: c, cg.InputError, "tuple of cotangents, one for each of"),
    "count": (lambda c: (c, c), cg.InputError, "of 2"),
    "shape": (lambda c: (c.sum(),), cg.ShapeError, r"shape \(3,\) is needed"),
    "dtype": (lambda c: (c.astype("float32"),), cg.DTypeError, "float64 is needed"),
}


@pytest.mark.parametrize("case", WRONG_COTANGENTS)
def test_cotangent_that_does_not_fit(case):
    build, error, match = WRONG_COTANGENTS[case]
    f = _custom(plain_square, vjp=lambda residuals, c: build(c))
    x = cg.vector("x", 3)
    message = raised(error, match, lambda: cg.grad(f(x).sum(), x))
    assert "plain_square" in message
    assert "vjp rule" in message


def test_fwd_that_does_not_fit():
    x = cg.vector("x", 3)
    f = _custom(plain_square, vjp=(lambda x: x, lambda r, c: (c,)))
    raised(cg.InputError, "fwd of its vjp rule", lambda: cg.grad(f(x).sum(), x))
    f = _custom(plain_square, vjp=(lambda x: (x.sum(), None), lambda r, c: (c,)))
    raised(cg.ShapeError, "fwd's result", lambda: cg.grad(f(x).sum(), x))


def test_keys_that_do_not_fit():
    f = _custom(plain, vjp=lambda r, c: (None, {"v": c["a"]}))
    x, w = cg.vector("x", 3), cg.vector("w", 3)
    y = f(x, {"w": w})["a"].sum()
    message = raised(cg.InputError, "keys", lambda: cg.grad(y, [x, w]))
    assert "plain" in message
    zero = _custom(plain, vjp=lambda r, c: (None, None))
    dx = cg.grad(zero(x, {"w": w})["a"].sum(), x, disconnected="zero")
    assert not cg.evaluate(dx, {x: X}).any()


def test_wrong_calls():
    f = _custom(plain_square, vjp=lambda r, c: (c,))
    x = cg.scalar("x")
    raised(cg.InputError, "plain_square: too many positional", lambda: f(x, x))
    g = _custom(lambda x, *, n: x, vjp=lambda r, c: (c,))
    raised(cg.InputError, "n can only be given by name", lambda: g(x, n=2))


def test_nothing_is_differentiated_inside():
    """The value may pass ops without a derivative."""
    f = _custom(lambda x: cg.argmax(x).astype("float64"), vjp=lambda r, c: (c * X,))
    x = cg.vector("x", 3)
    order = topological_order([cg.grad(f(x), x)])
    assert not any(n.op.name == "argmax" for n in order)
