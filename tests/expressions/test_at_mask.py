"""``x.at[mask]`` with a mask that is an expression."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg


@pytest.fixture
def x():
    return cg.matrix("x", ("n", 3))


DATA = np.array([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]])


def test_set_and_add(x):
    mask = x > 0
    got = cg.compile(
        [x], [x.at[mask].set(0), x.at[mask].add(10.0), x.at[mask].subtract(1)]
    )(DATA)
    for g, (put, value) in zip(got, [("set", 0.0), ("add", 10.0), ("add", -1.0)]):
        expected = DATA.copy()
        if put == "set":
            expected[DATA > 0] = value
        else:
            expected[DATA > 0] += value
        np.testing.assert_array_equal(g, expected)


def test_mask_of_the_first_axes(x):
    mask = cg.sum(x, axis=1) > 0
    got = cg.evaluate(x.at[mask].set([7.0, 8.0, 9.0]), {x: DATA})
    expected = DATA.copy()
    expected[DATA.sum(axis=1) > 0] = [7.0, 8.0, 9.0]
    np.testing.assert_array_equal(got, expected)


def test_gradient_is_zero_where_it_is_replaced(x):
    g = cg.grad(cg.sum(cg.square(x.at[x > 0].set(1.0))), x)
    np.testing.assert_array_equal(
        cg.evaluate(g, {x: DATA}), np.where(DATA > 0, 0, 2 * DATA)
    )


def test_errors(x):
    with pytest.raises(cg.TracingError, match="where"):
        x.at[x > 0].get()
    with pytest.raises(cg.ShapeError, match="how many elements the mask selects"):
        x.at[x > 0].set([1.0, 2.0])
    with pytest.raises(cg.ShapeError, match="first axes"):
        x.at[cg.tensor("m", (4, 4), dtype="bool")].set(0.0)
