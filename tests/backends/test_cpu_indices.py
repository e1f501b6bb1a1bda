"""Constant indices are checked when a function is compiled, others when it runs."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.backends.cpu import outline
from graphc.kernels.ir import SURE, Dynamic, Load, Store, all_values, value_atoms

_rng = np.random.default_rng(4)


def codes(function):
    """Return the codes of all indices that kernels compute."""
    offsets = []
    for call in function._executable.program.calls:
        body = list(call.kernel.statements())
        offsets += [v.offset for v in all_values(body) if isinstance(v, Load)]
        offsets += [s.offset for s in body if isinstance(s, Store)]
    atoms = [a for offset in offsets for a in value_atoms(offset)]
    return [a.code for a in atoms if isinstance(a, Dynamic)]


def reports(function):
    """Return how many of a function's kernels may report an index."""
    kernels = [c.kernel for c in function._executable.program.calls]
    return sum(outline.printed(k, outline.Canonical(k)).reports for k in kernels)


def test_constant_indices_that_fit_are_not_checked():
    x = cg.vector("x", 50)
    at = _rng.integers(0, 50, 200)
    a = _rng.normal(size=50)
    f = cg.compile([x], x[at] * 2)
    np.testing.assert_array_equal(f(a), a[at] * 2)
    assert set(codes(f)) == {SURE} and not reports(f)


def test_scatters_to_constant_places_are_not_checked():
    x = cg.vector("x", 50)
    at = _rng.integers(0, 300, 50)
    a = _rng.normal(size=50)
    f = cg.compile([x], cg.zeros(300).at[at].add(x))
    wanted = np.zeros(300)
    np.add.at(wanted, at, a)
    np.testing.assert_allclose(f(a), wanted, rtol=1e-14)
    assert not reports(f)


def test_indices_from_the_end_and_symbolic_sizes_are_checked():
    at = np.array([0, -1, 3])
    a = _rng.normal(size=7)
    for size in (7, "n"):
        x = cg.vector("x", size)
        f = cg.compile([x], x[at] + 1)
        np.testing.assert_array_equal(f(a), a[at] + 1)
        assert SURE not in codes(f) and reports(f)
    g = cg.compile([x], x[np.array([5, 6])])
    assert reports(g)
    with pytest.raises(IndexError):
        g(a[:6])


def test_equal_gathers_of_which_one_fits():
    """They are of one form, but for the range of their indices."""
    x, y = cg.vector("x", 40), cg.vector("y", 40)
    inside, beyond = np.arange(30), np.arange(30) - 1
    f = cg.compile([x, y], [cg.sin(x[inside]).sum(), cg.sin(y[beyond]).sum()])
    a, b = _rng.normal(size=(2, 40))
    got = f(a, b)
    np.testing.assert_allclose(got[0], np.sin(a[inside]).sum(), rtol=1e-12)
    np.testing.assert_allclose(got[1], np.sin(b[beyond]).sum(), rtol=1e-12)
    assert reports(f) == 1


def test_gathers_from_a_padded_and_an_empty_array():
    x = cg.matrix("x", (6, 4))
    at = np.array([3, 0, 3])
    a = _rng.normal(size=(6, 4))
    f = cg.compile([x], cg.pad(x[:, at], ((1, 2), (0, 1))))
    np.testing.assert_array_equal(f(a), np.pad(a[:, at], ((1, 2), (0, 1))))
    none = np.zeros(0, np.int64)
    g = cg.compile([x], cg.pad(x[:, none], ((0, 0), (1, 1))))
    np.testing.assert_array_equal(g(a), np.zeros((6, 2)))
