"""Colourings: every entry can be read, and known matrices take the known numbers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import graphc as cg
from graphc.derivatives.sparsity.colouring import (
    incidence_degree,
    reading,
    smallest_last,
)

RNG = np.random.default_rng(1)


def recovered(pattern, c):
    """Compress a random matrix of the pattern, and read its entries back."""
    values = np.where(pattern, RNG.uniform(1, 2, pattern.shape), 0)
    if c.kind == "star":
        values = values + values.T
    seeds = (c.columns[:, None] == np.arange(max(c.column_colors, 1))) * 1.0
    cotangents = (c.rows[:, None] == np.arange(max(c.row_colors, 1))) * 1.0
    right, left = values @ seeds, values.T @ cotangents
    forward, color, place = reading(sp.csr_array(pattern), c)
    got = np.where(
        forward,
        right[place * forward, color * forward],
        left[place * ~forward, color * ~forward],
    )
    out = np.zeros(pattern.shape)
    out[np.nonzero(pattern)] = got
    return values, out


def random_pattern(height, width, density):
    return RNG.random((height, width)) < density


@pytest.mark.parametrize("kind", ["auto", "column", "row", "two-sided"])
@pytest.mark.parametrize("density", [0.0, 0.05, 0.2, 0.6, 1.0])
@pytest.mark.parametrize("shape", [(12, 15), (30, 7), (1, 9), (9, 1), (0, 4), (4, 0)])
def test_every_entry_of_a_jacobian_is_read(kind, density, shape):
    for _ in range(3):
        pattern = random_pattern(*shape, density)
        pattern[: shape[0] // 6] = True
        values, got = recovered(pattern, cg.coloring(pattern, kind))
        np.testing.assert_allclose(got, values, rtol=1e-12)


@pytest.mark.parametrize("density", [0.0, 0.03, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("n", [0, 1, 5, 20, 40])
def test_every_entry_of_a_hessian_is_read(density, n):
    for _ in range(5):
        pattern = random_pattern(n, n, density)
        pattern |= pattern.T
        values, got = recovered(pattern, cg.coloring(pattern, "star"))
        np.testing.assert_allclose(got, values, rtol=1e-12)


def band(n, width):
    low = width // 2
    return sp.diags_array(
        [np.ones(n)] * width, offsets=range(-low, width - low), shape=(n, n)
    )


def arrow(n):
    out = np.eye(n, dtype=bool)
    out[0] = out[:, 0] = True
    return out


@pytest.mark.parametrize("width", [1, 3, 4, 7])
@pytest.mark.parametrize("kind", ["auto", "column", "row", "two-sided"])
def test_a_band_takes_its_width(width, kind):
    assert cg.coloring(band(50, width), kind).count == width


def test_an_arrow_takes_two_columns_and_a_row():
    c = cg.coloring(arrow(30))
    assert (c.kind, c.column_colors, c.row_colors) == ("two-sided", 2, 1)
    assert cg.coloring(arrow(30), "column").count == 30
    assert cg.coloring(arrow(30), "star").count == 2


def test_dense_columns_are_taken_apart_too():
    pattern = arrow(30)
    pattern[:, 1] = True
    pattern[0] = pattern[0] & False
    pattern[5] = True
    c = cg.coloring(pattern)
    assert c.kind == "two-sided" and c.count <= 4


def test_star_colouring_of_a_tridiagonal_matrix():
    assert cg.coloring(band(100, 3), "star").count <= 3


def test_star_colouring_is_never_worse_than_columns():
    for _ in range(10):
        pattern = random_pattern(25, 25, 0.1)
        pattern |= pattern.T
        star = cg.coloring(pattern, "star").count
        assert star <= cg.coloring(pattern, "column").count


def test_many_columns():
    n = 100_000
    assert cg.coloring(band(n, 5)).count == 5
    rows = RNG.integers(0, n, 3 * n)
    random = sp.coo_array((np.ones(3 * n), (rows, RNG.integers(0, n, 3 * n))), (n, n))
    c = cg.coloring(random, "column")
    assert c.count >= np.bincount(rows).max() - 3
    reading(random.astype(bool).tocsr(), c)


def test_orders():
    path = [[1], [0, 2], [1, 3], [2]]
    star = [[1, 2, 3], [0], [0], [0]]
    assert smallest_last(star)[0] in (0, 3)  # the hub is among the last two taken
    assert sorted(smallest_last(path)) == sorted(incidence_degree(path)) == [0, 1, 2, 3]
    order = incidence_degree(path).tolist()
    for k in range(1, 4):  # each one has a neighbour before it
        assert set(path[order[k]]) & set(order[:k])


def test_errors():
    with pytest.raises(cg.ConfigError, match="the kind 'best' is unknown"):
        cg.coloring(np.eye(3), "best")
    with pytest.raises(cg.InputError, match="a matrix is needed, not 1 dimensions"):
        cg.coloring(np.ones(3))
    with pytest.raises(cg.InputError, match="symmetric pattern"):
        cg.coloring(np.triu(np.ones((3, 3))), "star")
    with pytest.raises(cg.InputError, match="symmetric pattern"):
        cg.coloring(np.ones((2, 3)), "star")


def test_what_it_says():
    c = cg.coloring(band(4, 3))
    assert repr(c) == "<column Coloring of 4 x 4, 10 entries: 3 columns, 0 rows>"
    assert c.nnz == 10


def test_hubs_cost_no_more_than_their_entries():
    """Colours beside a row are bits: sets of as many as a hub has neighbours are slow.

    The arrow has 3 n entries, and no greedy step may see more than a few colours, or
    this takes minutes.
    """
    n = 200_000
    others, ends = np.arange(1, n), np.zeros(n - 1, int)
    rows = np.concatenate([others, others, ends, [0]])
    columns = np.concatenate([others, ends, others, [0]])
    for flip in (False, True):  # the hub comes first, or last
        at = (n - 1 - rows, n - 1 - columns) if flip else (rows, columns)
        hub = sp.csr_array((np.ones(len(rows), bool), at), shape=(n, n))
        assert cg.coloring(hub, "star").count == 2
        assert cg.coloring(hub).count == 3
        assert cg.coloring(hub, "two-sided").count == 3
