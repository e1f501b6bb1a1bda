"""Graphs of thousands of elementwise nodes are cut into few kernels, mostly equal."""

import math

import numpy as np
import pytest

import graphc as cg


def _counts(f):
    executable = f._executable
    names = {launch.code.name for launch in executable.launches.values()}
    return len(executable.program.steps), len(names)


def _iterated(steps):
    a, b = cg.scalar("a"), cg.scalar("b")
    t = a
    for _ in range(steps):
        t = cg.sin(t * b) + cg.exp(-(cg.cos(t) * a + 1))
    return cg.compile([a, b], [t, *cg.grad(t, [a, b])])


def _tangents(a, b, steps):
    """The same by forward tangents, in Python's floats."""
    t, ta, tb = a, 1.0, 0.0
    for _ in range(steps):
        c, s, k = math.cos(t * b), math.sin(t), math.cos(t)
        e = math.exp(-(k * a + 1))
        ta, tb = (
            c * b * ta + e * (s * a * ta - k),
            c * (t + b * tb) + e * s * a * tb,
        )
        t = math.sin(t * b) + e
    return t, ta, tb


def test_a_long_scalar_graph_is_few_kernels_and_longer_ones_need_no_more():
    counts = {}
    for steps in (200, 400):
        f = _iterated(steps)
        np.testing.assert_allclose(f(0.7, 1.1), _tangents(0.7, 1.1, steps), rtol=1e-9)
        counts[steps] = _counts(f)
    (few, kernels), (many, more) = counts.values()
    assert few < many < 60
    assert kernels <= more <= kernels + 2
    assert more < many / 2


@pytest.mark.parametrize("shape", [(), (37,), (5, 8)])
def test_values_that_cross_pieces_are_kept(shape):
    # each of the first values is used again, in the opposite order
    x = cg.tensor("x", shape, dtype="float64")
    given = np.random.default_rng(0).uniform(0.5, 1, shape)
    values, expected = [x], [given]
    for i in range(700):
        values.append(values[-1] * 0.9 + x / (i + 1))
        expected.append(expected[-1] * 0.9 + given / (i + 1))
    total, sum_ = values[-1], expected[-1]
    for v, e in zip(reversed(values), reversed(expected)):
        total, sum_ = total * 0.5 + v, sum_ * 0.5 + e
    f = cg.compile([x], [total, values[3]])
    got = f(given)
    np.testing.assert_allclose(got[0], sum_, rtol=1e-12)
    np.testing.assert_array_equal(got[1], expected[3])
    assert 2 < _counts(f)[0] < 40


def test_a_group_that_is_cut_may_end_in_sums_and_read_rows():
    x = cg.tensor("x", (6, 50), dtype="float64")
    row = cg.tensor("row", (50,), dtype="float64")
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0.5, 1, (6, 50)), rng.uniform(0.5, 1, 50)
    y, expected = x, a
    for i in range(500):
        y = y * 0.7 + (row * 2 + i)[None] * x
        expected = expected * 0.7 + (b * 2 + i)[None] * a
    z = y.sum(axis=1)
    f = cg.compile([x, row], [z, y])
    for got, want in zip(f(a, b), (expected.sum(axis=1), expected)):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_loops_of_many_functions_are_cut_sooner_than_others():
    x = cg.tensor("x", (64,), dtype="float64")
    sums, sines = x, x
    for _ in range(150):
        sums, sines = sums * x + 0.5, cg.sin(sines) * x + 0.5
    assert _counts(cg.compile([x], sums))[0] == 1
    steps, kernels = _counts(cg.compile([x], sines))
    assert steps > 2
    assert kernels < steps


def _steps(x, weights, special=()):
    y = x
    for number, weight in enumerate(weights):
        y = cg.sin(y) + x * float(weight)
        if number < len(special):
            y = y * float(special[number]) + float(special[number])
    return y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(8,), ("n", 3)])
def test_pieces_that_differ_in_constants_share_their_code(shape, dtype):
    rng = np.random.default_rng(2)
    x = cg.tensor("x", shape, dtype)
    counts = []
    given = rng.normal(size=[4 if s == "n" else s for s in shape]).astype(dtype)
    for steps in (1500, 3000):
        weights = rng.normal(size=steps)
        y = _steps(x, weights)
        f = cg.compile([x], y)
        wanted = cg.evaluate(y, {x: given})
        rtol = 1e-4 if dtype == "float32" else 1e-9
        np.testing.assert_allclose(f(given), wanted, rtol=rtol)
        counts.append(_counts(f))
    (few, kernels), (many, more) = counts
    assert few < many
    assert more == kernels <= 3


def test_gradients_of_steps_that_differ_in_constants():
    rng = np.random.default_rng(3)
    x = cg.vector("x", 8)
    y = cg.sum(_steps(x, rng.normal(size=2000)))
    f = cg.compile([x], [y, cg.grad(y, x)])
    given = rng.normal(size=8) / 10
    steps, kernels = _counts(f)
    assert kernels < steps / 2
    for got, wanted in zip(f(given), cg.evaluate([y, cg.grad(y, x)], {x: given})):
        np.testing.assert_allclose(got, wanted, rtol=1e-9)


def test_few_kernels_keep_their_constants():
    x = cg.vector("x", 8)
    f = cg.compile([x], _steps(x, np.arange(3.0, 60.0)))
    assert not f._executable.program.memory.constants


@pytest.mark.parametrize("special", [0.0, -0.0, 1.0, -1.0, np.inf, np.nan])
def test_numbers_that_change_the_code_stay_in_it(special):
    from graphc.kernels.tables import with_tables

    x = cg.vector("x", 8)
    f = cg.compile([x], _steps(x, np.arange(3.0, 60.0), [special]))
    (step,) = f._executable.program.steps
    tabled = with_tables(step.kernel)
    assert tabled is not None
    (table,) = tabled.tables
    assert set(table) == set(np.arange(3.0, 60.0))
