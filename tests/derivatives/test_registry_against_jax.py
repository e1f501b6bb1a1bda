"""Every op of the registry: jvp, vjp and second order, to 1e-10, against JAX.

An op that JAX has none like is compared with the complex step or, with 50 digits, with
mpmath's numeric differentiation. A new op is covered by its samples, or fails
`test_every_op_is_covered`.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from support.registry import FLOAT64, examples
from support.tensor_samples import SAMPLES

import graphc as cg
from graphc.derivatives.forward import push_forward
from graphc.derivatives.numeric import COMPLEX_STEP, Differentiator, evaluated
from graphc.derivatives.reverse import pull_back
from graphc.ops.arithmetic import multiply
from graphc.ops.declare import REGISTRY, Elementwise, Op
from graphc.ops.leaf import input_, new_input

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp
    import jax.scipy.special as jsp

RTOL = 1e-10

JAX = {
    **{
        name: getattr(jnp, name)
        for name in (
            *(
                "add",
                "subtract",
                "multiply",
                "divide",
                "remainder",
                "negative",
                "where",
            ),
            *("minimum", "maximum", "copysign", "square", "reciprocal", "sqrt", "cbrt"),
            *("power", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin"),
            *("logaddexp", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2"),
            *("hypot", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "abs"),
            *("sign", "floor", "ceil", "trunc", "round", "clip", "floor_divide"),
        )
    },
    "absolute_zero_multiply": jnp.multiply,
    "rsqrt": jax.lax.rsqrt,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "integer_power": lambda n, x: jax.lax.integer_pow(x, n),
    "cast": lambda dtype, x: x.astype(dtype),
    "erf": jsp.erf,
    "erfc": jsp.erfc,
    "gammaln": jsp.gammaln,
    "digamma": jsp.digamma,
    "polygamma": lambda n, x: jsp.polygamma(n, x),
}
"""JAX's function of an elementwise op, parameters first."""

ELEMENTWISE = [e for e in examples(differentiable=True) if e.node.dtype == FLOAT64]

JAX_LESS_ACCURATE = {"polygamma", "digamma", "gammaln"}
"""JAX computes their derivatives by series that keep about nine digits."""


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def test_every_op_is_covered():
    """By JAX here, or by a sample that is smooth; or it has no derivative."""
    for op in REGISTRY.values():
        if op is input_ or op.name.startswith("test_"):
            continue
        if isinstance(op, Elementwise):
            assert op.partials is None or not any(op.partials) or op.name in JAX, (
                f"name JAX's function for {op.name} in JAX"
            )
        else:
            mine = [s for s in SAMPLES if s.op == op.name]
            assert mine, f"add samples of {op.name} to tests/support/tensor_samples.py"
            carries = type(op).jvp is not Op.jvp and any(
                a.dtype == FLOAT64 and s.expected().dtype == FLOAT64
                for s in mine
                for a in s.arrays
            )
            assert not carries or any(s in TENSOR for s in mine), (
                f"{op.name} has a derivative, but no sample that is smooth"
            )


def wrt_of(e):
    rules = e.node.op.partials
    return [
        p for p, x in enumerate(e.inputs) if rules[p] is not None and x.dtype == FLOAT64
    ]


@pytest.mark.parametrize("e", ELEMENTWISE, ids=lambda e: e.label)
def test_elementwise_op(e):
    """Both modes, then the derivatives of the weighted gradient in both modes."""
    places = wrt_of(e)
    if not places:
        pytest.skip("no argument carries a derivative")
    theirs = JAX[e.node.op.name]
    rng = np.random.default_rng(0)
    c, *ts = (rng.normal(size=7) for _ in range(1 + len(places)))

    def function(*moving):
        given = list(map(jnp.asarray, e.arrays))
        for p, value in zip(places, moving):
            given[p] = value
        return theirs(*e.node.params, *given)

    at = tuple(jnp.asarray(e.arrays[p]) for p in places)

    def pulled(*moving):
        return jax.vjp(function, *moving)[1](jnp.asarray(c))

    def both(*at):
        second = jax.jvp(pulled, at, tuple(ts))[1]
        return jax.jvp(function, at, tuple(ts))[1], pulled(*at), second

    tangent, cotangents, second = jax.jit(both)(*at)
    wrt = [e.inputs[p] for p in places]
    t_in = [new_input("t", w.type) for w in wrt]
    c_in = new_input("c", e.node.type)
    forward = push_forward([e.node], wrt, t_in)
    backward = pull_back([e.node], [c_in], wrt)
    again = push_forward(backward, wrt, t_in, "zero")
    # reverse over reverse, by the symmetry of second derivatives
    twice = pull_back(backward, t_in, wrt, "zero")
    values = dict(zip(e.inputs, e.arrays)) | dict(zip(t_in, ts)) | {c_in: c}
    got = evaluated([*forward, *backward, *again, *twice], values)
    expected = [tangent, *cotangents, *second, *second]
    rtol = 1e-8 if e.node.op.name in JAX_LESS_ACCURATE else RTOL
    for ours, known in zip(got, expected, strict=True):
        scale = np.abs(known).max(initial=1.0)
        np.testing.assert_allclose(ours, known, rtol=rtol, atol=rtol * 1e-3 * scale)


SPECIAL = [e for e in ELEMENTWISE if e.node.op.name in JAX_LESS_ACCURATE]


@pytest.mark.parametrize("e", SPECIAL, ids=lambda e: e.label)
def test_special_function_against_mpmath(e):
    mpmath = pytest.importorskip("mpmath")
    functions = {
        "gammaln": mpmath.loggamma,
        "digamma": mpmath.digamma,
        "polygamma": lambda x: mpmath.polygamma(e.node.params[0], x),
    }
    function = functions[e.node.op.name]
    (x,), (points,) = e.inputs, e.arrays
    first = cg.jvp(e.node, x, np.ones(7))
    second = cg.jvp(first, x, np.ones(7))
    with mpmath.workdps(50):
        for n, values in enumerate(evaluated([first, second], {x: points}), 1):
            known = [float(mpmath.diff(function, mpmath.mpf(p), n)) for p in points]
            np.testing.assert_allclose(values, known, rtol=RTOL)


TENSOR = [
    s
    for s in SAMPLES
    if s.smooth
    and any(a.dtype == FLOAT64 for a in s.arrays)
    and s.expected().dtype == FLOAT64
]


@pytest.mark.parametrize("sample", TENSOR, ids=str)
def test_tensor_op(sample):
    """Against the complex step of values and of gradients, exact but for rounding."""
    inputs = sample.inputs()
    wrt = [x for x in inputs if x.dtype == FLOAT64]
    node = sample.build(*(multiply(x, x) if x.dtype == FLOAT64 else x for x in inputs))
    at = dict(zip(inputs, sample.arrays))
    rng = np.random.default_rng(1)
    ts = [rng.uniform(-1, 1, a.shape) for a in sample.arrays if a.dtype == FLOAT64]
    c = rng.uniform(-1, 1, sample.expected().shape)
    t_in = [new_input("t", w.type) for w in wrt]
    c_in = new_input("c", node.type)
    fixed = dict(zip(t_in, ts)) | {c_in: c}
    forward = push_forward([node], wrt, t_in, "zero")
    backward = pull_back([node], [c_in], wrt, "zero")
    second = push_forward(backward, wrt, t_in, "zero")
    pushed, *rest = evaluated([*forward, *backward, *second], at | fixed)
    pulled, moved = rest[: len(wrt)], rest[len(wrt) :]
    assert_derivative([node], wrt, at, [c], ts, np.sum(pushed * c))
    assert_derivative(
        [node], wrt, at, [c], ts, sum(np.sum(p * t) for p, t in zip(pulled, ts))
    )
    weights = [rng.uniform(-1, 1, p.shape) for p in pulled]
    found = sum(np.sum(m * w) for m, w in zip(moved, weights))
    assert_derivative(backward, wrt, at | fixed, weights, ts, found)


def assert_derivative(ys, wrt, at, u, v, found):
    numeric = Differentiator(ys, wrt, at, evaluated(ys, at))
    known = numeric.derivative(u, v)
    scale = sum(np.abs(a).sum() for a in u) + 1.0
    if numeric.method == COMPLEX_STEP:
        np.testing.assert_allclose(found, known.value, rtol=RTOL, atol=1e-12 * scale)
    else:
        assert abs(found - known.value) <= 1e-9 * scale + 10 * known.error
        assert known.error <= 1e-6 * scale


def test_complex_step_serves_most_ops():
    """The comparison to 1e-10 is not that with differences by accident."""
    exact = set()
    for sample in TENSOR:
        inputs = sample.inputs()
        node = sample.build(*inputs)
        at = dict(zip(inputs, sample.arrays))
        wrt = [x for x in inputs if x.dtype == FLOAT64]
        numeric = Differentiator([node], wrt, at, evaluated([node], at))
        if numeric.method == COMPLEX_STEP:
            exact.add(sample.op)
    missing = {s.op for s in TENSOR} - exact
    analytic = {s.op for s in TENSOR if REGISTRY[s.op].analytic}
    assert missing.isdisjoint(analytic)
    assert len(exact) > 15
