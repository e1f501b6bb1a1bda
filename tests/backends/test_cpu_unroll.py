"""Short inner loops are written out, and sums in memory kept in accumulators."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.kernels.ir import Loop, Store, statements
from graphc.schedule import rows
from tests.backends.test_cpu_row_programs import kernels

_rng = np.random.default_rng(9)


def real(*shape):
    return _rng.normal(size=shape)


def forces(p):
    """Sums over one axis whose terms are vectors of three, and their own transpose."""
    d = p[:, None] - p[None]
    w = 1 / cg.sqrt((d * d).sum(2) + 0.1)
    return cg.grad(w.sum(), p)


def loops(function):
    return [
        s
        for k in kernels(function)
        for part in k.loops
        for s in statements(part.body)
        if isinstance(s, Loop)
    ]


def test_no_short_loop_is_left():
    p = cg.matrix("p", (40, 3))
    function = cg.compile([p], [forces(p)])
    assert all(s.extent != 3 for s in loops(function))
    array = real(40, 3)
    d = array[:, None] - array[None]
    r2 = (d * d).sum(2) + 0.1
    wanted = -2 * (d / r2[..., None] ** 1.5).sum(1)
    np.testing.assert_allclose(function(array)[0], wanted, rtol=1e-11)


def test_sums_are_kept_in_accumulators():
    x = cg.tensor("x", (50, 200, 3))
    function = cg.compile([x], [x.sum(1)])
    inner = [s for s in loops(function) if s.extent == 200]
    assert inner
    assert not any(isinstance(t, Store) for s in inner for t in s.body)
    array = real(50, 200, 3)
    np.testing.assert_allclose(function(array)[0], array.sum(1), rtol=1e-12, atol=1e-12)


def test_what_is_read_in_the_loop_stays_in_memory():
    """Sums over the axis that is the loop, into places that change with it."""
    x = cg.tensor("x", (50, 200, 3))
    function = cg.compile([x], [x.sum(0), x.max(1)])
    array = real(50, 200, 3)
    got = function(array)
    np.testing.assert_allclose(got[0], array.sum(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(got[1], array.max(1))


@pytest.mark.parametrize(
    "build",
    [
        lambda x: cg.tanh(x) * x.sum(-1, keepdims=True),
        lambda x: (
            cg.concatenate([x[..., 1:], x[..., :1] * 2], -1) + x.max(-1)[..., None]
        ),
        lambda x: cg.where(x > 0, x, x[..., ::-1]).prod(-1),
        lambda x: cg.cumsum(x, axis=-1),
        lambda x: cg.argmax(x, axis=-1),
        lambda x: x[..., cg.argmax(x, axis=-1)[0, 0]],
    ],
)
def test_same_values_as_without(build, monkeypatch):
    x = cg.tensor("x", (30, 20, 3))
    function = cg.compile([x], [build(x)])
    monkeypatch.setattr(rows, "unroll_short_loops", lambda kernel, k, short: kernel)
    whole = cg.compile([x], [build(x)])
    array = real(30, 20, 3)
    got, wanted = function(array)[0], whole(array)[0]
    if got.dtype.kind == "f":
        np.testing.assert_allclose(got, wanted, rtol=1e-14)
    else:
        np.testing.assert_array_equal(got, wanted)


def test_long_bodies_are_not_written_out():
    x = cg.tensor("x", (100, 3))
    y = x
    for i in range(60):
        y = cg.where(y > i * 0.1, y * 1.01 + x, y - x)
    function = cg.compile([x], [y / y.sum(1, keepdims=True)])
    assert any(s.extent == 3 for s in loops(function))
