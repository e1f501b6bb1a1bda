"""Indexing and changed copies, against NumPy's own rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphc as cg
from graphc.types.errors import (
    DTypeError,
    IndexOutOfRangeError,
    ShapeError,
    TracingError,
)
from tests.support.expression_values import evaluate

X = np.arange(3.0 * 4 * 5).reshape(3, 4, 5)
I = np.array([[0, 2], [1, -1]])  # noqa: E741
J = np.array([1, -3])
K = np.array(2)

KEYS = [
    0,
    -1,
    np.int8(2),
    (1, 2, 3),
    (slice(None), 2),
    (..., 1),
    (1, ..., -2),
    (0, 1, 2, ...),
    slice(1, None),
    slice(None, -1),
    slice(None, None, 2),
    slice(None, None, -1),
    slice(-1, None, -2),
    slice(5, 1),
    slice(-10, 10, 1),
    (slice(2, 0, -1), slice(3, None, -2)),
    None,
    (None, 0, None, slice(1, 3)),
    (..., None),
    (slice(None), None, slice(None), None, 1),
    (),
    ...,
    I,
    J,
    K,
    [0, 2],
    [],
    (I, J),
    (I, 0),
    (0, J),
    (slice(None), J),
    (slice(None), J, slice(1, None, 2)),
    (slice(None), I, J),
    (I, slice(None), J),
    (0, slice(None), J),
    (J, slice(1, 3), 2),
    (..., J),
    (..., I, J),
    (J, ..., J),
    (None, J),
    (J, None, J),
    (slice(None), None, J, None),
    (K, slice(None), K),
    (slice(None), K),
    (J, J, J),
    (np.arange(3), np.array([1, 0, 3])),
    (np.arange(3)[:, None], np.arange(4)),
    (slice(None, None, -1), J, slice(None, None, -1)),
    (J[:1], slice(None), J),
]
MASKS = [
    X[:, 0, 0] > 10,
    X > 20,
    (slice(None), X[0, :, 0] > 4),
    (X[:, :, 0] > 20, slice(1, 3)),
    (0, X[0, :, 0] > 4, 1),
    X < -1,
]


def as_ids(keys):
    return [" ".join(str(k).split()) for k in keys]


def with_inputs(key):
    """Return the key with index arrays replaced by inputs, and their values."""
    given = {}

    def replace(item):
        if isinstance(item, np.ndarray):
            node = cg.tensor(f"i{len(given)}", item.shape, item.dtype)
            given[node] = item
            return node
        return item

    if isinstance(key, tuple):
        return tuple(replace(k) for k in key), given
    return replace(key), given


@pytest.mark.parametrize("shape", [X.shape, ("a", "b", "c")], ids=["ints", "symbols"])
@pytest.mark.parametrize("key", KEYS, ids=as_ids(KEYS))
def test_getitem(key, shape):
    x = cg.tensor("x", shape)
    expected = X[key]
    found = evaluate(x[key], {x: X})
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    dynamic, given = with_inputs(key)
    np.testing.assert_array_equal(evaluate(x[dynamic], {x: X, **given}), expected)


@pytest.mark.parametrize("key", MASKS, ids=as_ids(MASKS))
def test_constant_masks(key):
    x = cg.tensor("x", X.shape)
    np.testing.assert_array_equal(evaluate(x[key], {x: X}), X[key])


@pytest.mark.parametrize("shape", [X.shape, ("a", "b", "c")], ids=["ints", "symbols"])
@pytest.mark.parametrize("combine", ["set", "add"])
@pytest.mark.parametrize("key", KEYS + MASKS[:1], ids=as_ids(KEYS + MASKS[:1]))
def test_at(key, combine, shape):
    if shape != X.shape and isinstance(key, np.ndarray) and key.dtype == bool:
        pytest.skip("a mask needs a size that is known")
    x = cg.tensor("x", shape)
    part = X[key]
    for value in (7.0, np.random.default_rng(0).normal(size=part.shape)):
        expected = X.copy()
        if combine == "set":
            expected[key] = value
        else:
            np.add.at(expected, key, value)
        found = evaluate(getattr(x.at[key], combine)(value), {x: X})
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(evaluate(x.at[key].get(), {x: X}), part)


def test_at_broadcasts_and_casts():
    x = cg.tensor("x", (3, 4), "int32")
    array = np.arange(12, dtype=np.int32).reshape(3, 4)
    expected = array.copy()
    expected[1:] = np.array([[[1, 2, 3, 4]]])
    changed = x.at[1:].set([[[1.0, 2.0, 3.0, 4.0]]])
    assert changed.dtype == np.int32
    np.testing.assert_array_equal(evaluate(changed, {x: array}), expected)


def test_at_repeated_indices():
    x = cg.vector("x", 3)
    zeros = np.zeros(3)
    added = x.at[[0, 0, 2]].add(np.array([1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(evaluate(added, {x: zeros}), [3, 0, 4])
    less = x.at[[0, 0]].subtract(1.0)
    np.testing.assert_array_equal(evaluate(less, {x: zeros}), [-2, 0, 0])
    last = x.at[[0, 0]].set(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(evaluate(last, {x: zeros}), [2, 0, 0])


def test_sizes_as_indices_and_bounds():
    x = cg.vector("x", "n")
    n = x.shape[0]
    array = np.arange(6.0)
    cases = {
        x[n - 1]: array[-1],
        x[n // 2 :]: array[3:],
        x[: n - 2]: array[:-2],
        x[1 : n - 1 : 2]: array[1:-1:2],
    }
    for node, expected in cases.items():
        np.testing.assert_array_equal(evaluate(node, {x: array}), expected)


def test_slices_of_every_small_size():
    x = cg.vector("x", "n")
    bounds = (None, -4, -2, 0, 1, 3)
    for start, stop, step in itertools.product(bounds, bounds, (1, 2, -1, -3)):
        node = x[start:stop:step]
        for n in range(5):
            array = np.arange(float(n))
            expected = array[start:stop:step]
            np.testing.assert_array_equal(evaluate(node, {x: array}), expected)


@pytest.mark.parametrize(
    ("key", "error", "text"),
    [
        (3, IndexOutOfRangeError, "index 3 is out of range for axis 0 of x"),
        (-4, IndexError, "takes -3 to 2"),
        ((0, [0, 4]), IndexError, "index 4 is out of range for axis 1"),
        ((0, 0, 0), ShapeError, "3 indices for 2 dimensions"),
        ((..., ...), ShapeError, "at most one ellipsis"),
        (slice(None, None, 0), ShapeError, "step of a slice is 0"),
        (1.0, DTypeError, "no index"),
        ("a", DTypeError, "no index"),
        (True, DTypeError, "where"),
        (np.array([1.5]), DTypeError, "astype"),
        ([True, False], ShapeError, "does not cover"),
        (slice(1.5), TracingError, "Python integer"),
    ],
)
def test_bad_keys(key, error, text):
    x = cg.matrix("x", (3, 4))
    with pytest.raises(error, match=text):
        x[key]


def test_mask_expression_points_to_where():
    x = cg.vector("x", 3)
    with pytest.raises(TracingError, match=r"where\(mask, x, other\)"):
        x[x > 0]


def test_slice_bound_expression_points_to_take():
    x, i = cg.vector("x", 3), cg.scalar("i", "int64")
    with pytest.raises(TracingError, match="take"):
        x[i:]


def test_index_out_of_range_when_run():
    x, i = cg.vector("x", "n"), cg.scalar("i", "int64")
    with pytest.raises(IndexError, match="7"):
        evaluate(x[i], {x: np.zeros(3), i: 7})


def test_value_that_does_not_fit():
    x = cg.matrix("x", (3, 4))
    with pytest.raises(ShapeError, match=r"selected shape \(4,\)"):
        x.at[0].set(np.zeros(3))
