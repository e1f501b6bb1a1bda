"""Derivatives and vmap of Python functions, called with expressions and arrays."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg

RANDOM = np.random.default_rng(2)


def cube(x):
    """Return the cube."""
    return x * x * x


def test_gradient_of_a_function_of_a_number():
    assert cg.grad(cube)(3.0) == 27
    assert cg.grad(cg.grad(cube))(3.0) == 18
    assert cg.grad(cg.grad(cg.grad(cube)))(3.0) == 6
    assert cg.grad(cg.grad(cg.grad(cg.grad(cube))))(3.0) == 0


def test_function_keeps_its_name_and_text():
    df = cg.grad(cube)
    assert df.__name__ == "cube"
    assert df.__doc__ == cube.__doc__
    assert "cube" in repr(df)


def test_traced_once_for_each_type():
    count = []

    def f(x, mode="sum"):
        count.append(x.shape)
        return x.sum() if mode == "sum" else x.mean()

    df = cg.grad(f)
    for _ in range(3):
        np.testing.assert_array_equal(df(np.ones(4)), np.ones(4))
    assert count == [(4,)]
    df(np.ones(5))
    assert df(np.ones(4, np.float32)).dtype == np.float32
    np.testing.assert_array_equal(df(np.ones(4), mode="mean"), np.full(4, 0.25))
    assert count == [(4,), (5,), (4,), (4,)]


def test_called_with_expressions_it_gives_expressions(evaluate):
    x = cg.scalar("x")
    y = cg.grad(cube)(cg.sin(x))
    np.testing.assert_allclose(evaluate(y, {x: 0.5}), 3 * np.sin(0.5) ** 2)


def test_argnums_and_containers():
    def loss(params, x, *, scale=1.0):
        return (((x @ params["w"] + params["b"]) * scale) ** 2).sum()

    params = {"w": RANDOM.random(3), "b": 0.5}
    x = RANDOM.random((4, 3))
    value, (dp, dx) = cg.value_and_grad(loss, argnums=(0, 1))(params, x, scale=2.0)
    r = x @ params["w"] + params["b"]
    np.testing.assert_allclose(value, 4 * (r**2).sum())
    np.testing.assert_allclose(dp["w"], 8 * x.T @ r)
    np.testing.assert_allclose(dp["b"], 8 * r.sum())
    np.testing.assert_allclose(dx, 8 * np.outer(r, params["w"]))
    np.testing.assert_allclose(cg.grad(loss, 1)(params, x, scale=2.0), dx)


def test_auxiliary_results():
    def f(x):
        return (x * x).sum(), {"doubled": 2 * x}

    g, aux = cg.grad(f, has_aux=True)(np.arange(3.0))
    np.testing.assert_array_equal(g, 2 * np.arange(3.0))
    np.testing.assert_array_equal(aux["doubled"], 2 * np.arange(3.0))
    (value, aux), g = cg.value_and_grad(f, has_aux=True)(np.arange(3.0))
    assert value == 5
    np.testing.assert_array_equal(aux["doubled"], g)


def test_by_the_argument_only():
    """The same expression as another argument, or from outside, is constant."""
    assert cg.grad(lambda x: cg.grad(lambda z: z * x)(x))(3.0) == 1
    assert cg.grad(lambda x: cg.grad(lambda a, b: a * b * b)(x, x))(3.0) == 6


def test_argument_not_used_has_gradient_zero():
    assert cg.grad(lambda x, y: x, argnums=1)(2.0, 3.0) == 0
    assert cg.grad(lambda x: 5.0)(2.0) == 0


def test_python_floats_do_not_widen():
    def f(x, rate):
        return (x * rate).sum()

    dx, dr = cg.grad(f, (0, 1))(np.ones(3, np.float32), 0.5)
    assert dx.dtype == dr.dtype == np.float32


def test_jvp_and_vjp():
    x, t = np.array([0.1, 0.2]), np.array([1.0, -1.0])
    np.testing.assert_allclose(cg.jvp(cg.sin)(x, t), np.cos(x) * t)
    y, dy = cg.jvp(cg.sin, (x,), (t,))
    np.testing.assert_allclose(y, np.sin(x))
    np.testing.assert_allclose(dy, np.cos(x) * t)
    np.testing.assert_allclose(cg.vjp(cg.sin)(x, t), np.cos(x) * t)
    y, pull = cg.vjp(lambda a, b: a * b, x, 3.0 * x)
    np.testing.assert_allclose(y, 3 * x * x)
    a, b = pull(t)
    np.testing.assert_allclose(a, 3 * x * t)
    np.testing.assert_allclose(b, x * t)
    for primals, tangents, name in ((x, (t,), "arguments"), ((x,), t, "tangents")):
        with pytest.raises(cg.InputError, match=f"tuple of its {name}, not a value"):
            cg.jvp(cg.sin, primals, tangents)
    both = cg.jvp(lambda a, b: a * b, argnums=(0, 1))
    np.testing.assert_allclose(both(x, t, (t, x)), t * t + x * x)


def test_jacobian_hessian_and_hvp():
    def f(x):
        return cg.exp((x * x).sum())

    x, v = np.array([0.1, 0.2]), np.array([1.0, -1.0])
    e = np.exp((x * x).sum())
    h = e * (4 * np.outer(x, x) + 2 * np.eye(2))
    np.testing.assert_allclose(cg.hessian(f)(x), h)
    np.testing.assert_allclose(cg.jacobian(cg.grad(f))(x), h)
    np.testing.assert_allclose(cg.jacobian(cg.jacobian(f), mode="reverse")(x), h)
    np.testing.assert_allclose(cg.hvp(f)(x, v), h @ v)
    np.testing.assert_allclose(cg.hvp(f, x, v), h @ v)


# ------------------------------------------------------------------------ vmap


def test_vmap_axes():
    a, b = RANDOM.random((3, 4)), RANDOM.random((4, 5))
    dots = cg.vmap(lambda x, y: (x * y).sum(), in_axes=(1, 0))
    np.testing.assert_allclose(dots(a, a.T), (a * a).sum(axis=0))
    rows = cg.vmap(lambda x, m: x @ m, in_axes=(0, None), out_axes=1)
    np.testing.assert_allclose(rows(a, b), (a @ b).T)
    last = cg.vmap(lambda x: cg.sin(x), in_axes=-1, out_axes=-1)
    np.testing.assert_allclose(last(a), np.sin(a))


def test_vmap_of_containers():
    def f(p, x):
        return {"y": p["w"] * x + p["b"], "w": p["w"]}

    p = {"w": RANDOM.random(3), "b": RANDOM.random((2, 3))}
    out = cg.vmap(f, in_axes=({"w": None, "b": 0}, None), out_axes={"y": 0, "w": 0})(
        p, 2.0
    )
    np.testing.assert_allclose(out["y"], 2 * p["w"] + p["b"])
    np.testing.assert_allclose(out["w"], np.broadcast_to(p["w"], (2, 3)))


def test_vmap_nested_and_with_symbolic_sizes(evaluate):
    x, y = cg.matrix("x", ("m", "k")), cg.matrix("y", ("n", "k"))
    dot = lambda a, b: (a * b).sum()  # noqa: E731
    gram = cg.vmap(cg.vmap(dot, in_axes=(None, 0)), in_axes=(0, None))(x, y)
    at = {x: RANDOM.random((3, 2)), y: RANDOM.random((4, 2))}
    np.testing.assert_allclose(evaluate(gram, at), at[x] @ at[y].T)


def test_vmap_of_gradients_and_gradient_of_vmap():
    w, xs = RANDOM.random(3), RANDOM.random((5, 3))

    def f(w, x):
        return cg.tanh((w * x).sum())

    each = cg.vmap(cg.grad(f), in_axes=(None, 0))(w, xs)
    expected = (1 - np.tanh(xs @ w) ** 2)[:, None] * xs
    np.testing.assert_allclose(each, expected)
    total = cg.grad(lambda w: cg.vmap(f, in_axes=(None, 0))(w, xs).sum())(w)
    np.testing.assert_allclose(total, expected.sum(axis=0))


def test_vmap_of_a_jacobian():
    xs = RANDOM.random((5, 3))
    for mode in ("forward", "reverse"):
        j = cg.vmap(cg.jacobian(cg.sin, mode=mode))(xs)
        np.testing.assert_allclose(j, np.cos(xs)[:, :, None] * np.eye(3))


@pytest.mark.parametrize("static", [[1, 2], {"a": {3}}])
def test_arguments_that_are_static(static):
    if isinstance(static, dict):
        with pytest.raises(cg.InputError, match="type set is neither"):
            cg.grad(lambda x, s: x)(1.0, static)
    else:
        assert cg.grad(lambda x, s: x * s[1])(1.0, static) == 2


def test_none_and_text_are_static():
    def f(x, how, extra=None):
        assert extra is None
        return x * x if how == "square" else x

    df = cg.grad(f)
    assert df(3.0, "square") == 6
    assert df(3.0, "plain", extra=None) == 1
