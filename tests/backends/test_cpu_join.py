"""Nested loops that are run as one."""

import numpy as np

import graphc as cg
from graphc.backends.cpu.executable import Executable
from graphc.kernels.ir import Loop, statements


def loops(f):
    assert isinstance(f._executable, Executable)
    (call,) = f._executable.program.calls
    return [
        s
        for part in call.kernel.loops
        for s in statements(part.body)
        if isinstance(s, Loop)
    ]


def test_the_inside_of_a_padded_array_is_one_loop():
    x = cg.tensor("x", (6, 5, 7, 16))
    f = cg.compile([x], cg.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
    assert sorted(loop.extent for loop in loops(f)) == [16, 16, 7 * 16]
    at = np.arange(6.0 * 5 * 7 * 16).reshape(x.shape)
    np.testing.assert_array_equal(f(at), np.pad(at, ((0, 0), (1, 1), (1, 1), (0, 0))))


def test_symbolic_sizes_are_joined():
    x = cg.tensor("x", ("a", "b", "c"))
    f = cg.compile([x], cg.sum(cg.exp(x), axis=(1, 2)))
    (loop,) = loops(f)
    b, c = x.shape[1:]
    assert loop.extent == b * c
    at = np.random.default_rng(0).standard_normal((3, 4, 5))
    np.testing.assert_allclose(f(at), np.exp(at).sum((1, 2)), rtol=1e-14)
    assert f(np.ones((2, 0, 5))).tolist() == [0.0, 0.0]


def test_what_differs_along_the_outer_loop_stays_apart():
    x, y = cg.tensor("x", (3, 4, 5)), cg.vector("y", 5)
    f = cg.compile([x, y], cg.sum(x * y, axis=(1, 2)))
    assert {loop.extent for loop in loops(f)} == {4, 5}
    at = np.random.default_rng(0).standard_normal((3, 4, 5)), np.arange(5.0)
    np.testing.assert_allclose(f(*at), (at[0] * at[1]).sum((1, 2)), rtol=1e-14)
