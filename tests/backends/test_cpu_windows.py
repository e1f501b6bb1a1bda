"""Products of windows: convolutions written out, and their gradients."""

import numpy as np
import pytest

import graphc as cg
from graphc.backends.cpu.executable import Executable
from graphc.schedule.product import ProductCall
from graphc.schedule.windows import shared, window_of


def program(f):
    assert isinstance(f._executable, Executable)
    return f._executable.program


def products(f):
    return [c for c in program(f).calls if isinstance(c, ProductCall)]


def columns(xp, x, height, width, reach):
    """Return shifted copies of images (n, H, W, c) side by side."""
    edges = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    padded = xp.pad(x, edges) if reach else x
    size = 2 * reach + 1
    parts = [
        padded[:, i : i + height, j : j + width]
        for i in range(size)
        for j in range(size)
    ]
    return xp.concatenate(parts, axis=3)


def convolution(xp, x, w, height, width):
    reach = w.shape[0] // 2
    c, o = w.shape[2:]
    joined = columns(xp, x, height, width, reach)
    rows = joined.shape[0] * height * width
    z = joined.reshape((rows, w.shape[0] ** 2 * c)) @ w.reshape((-1, o))
    return z.reshape((joined.shape[0], height, width, o))


CASES = [
    # n, H, W, channels in and out, size of the kernel
    (2, 8, 8, 16, 32, 3),
    (3, 5, 11, 8, 16, 3),
    (1, 9, 7, 5, 20, 3),
    (2, 6, 10, 16, 100, 5),
    (4, 7, 7, 3, 8, 3),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("symbolic", [False, True])
def test_convolutions_and_their_gradients(case, dtype, symbolic):
    n, height, width, c, o, size = case
    rng = np.random.default_rng(n + c)
    at = [
        rng.standard_normal(s).astype(dtype)
        for s in ((n, height, width, c), (size, size, c, o), (n, height, width, o))
    ]
    many = "n" if symbolic else n
    x = cg.tensor("x", (many, height, width, c), dtype)
    w = cg.tensor("w", (size, size, c, o), dtype)
    dy = cg.tensor("dy", (many, height, width, o), dtype)
    y = convolution(cg, x, w, height, width)
    f = cg.compile([x, w, dy], [y, *cg.vjp(y, [x, w], dy)])
    exact = [a.astype("float64") for a in at]
    reach = size // 2
    joined = columns(np, exact[0], height, width, reach).reshape(-1, size**2 * c)
    turned = exact[1][::-1, ::-1].transpose(0, 1, 3, 2).reshape(-1, c)
    back = columns(np, exact[2], height, width, reach).reshape(-1, size**2 * o)
    expected = [
        (joined @ exact[1].reshape(-1, o)).reshape(at[2].shape),
        (back @ turned).reshape(at[0].shape),
        (joined.T @ exact[2].reshape(-1, o)).reshape(at[1].shape),
    ]
    room = 2e3 * np.finfo(dtype).eps
    for got, want in zip(f(*at), expected):
        np.testing.assert_allclose(got, want, rtol=0, atol=room * np.abs(want).max())
    for got, again in zip(f(*at), f.with_threads(1)(*at)):
        assert np.array_equal(got, again)


def test_columns_are_neither_written_nor_read():
    n, side, c, o = 4, 16, 16, 32
    x, w = cg.tensor("x", (n, side, side, c)), cg.tensor("w", (3, 3, c, o))
    y = convolution(cg, x, w, side, side)
    f = cg.compile([x, w], [cg.sum(y * y), *cg.grad(cg.sum(y * y), [x, w])])
    largest = max(
        m.node.size for c in program(f).calls for m in c.memory if m.node is not None
    )
    assert largest == n * (side + 2) ** 2 * o  # the cotangent and its border
    by_shape = {p.nodes[0].shape: p for p in products(f)}
    assert by_shape[n, side, side, o].k == 9 * c
    assert len(by_shape[n, side, side, o].pieces) == 3  # windows in a row are one
    assert len(by_shape[n, side, side, c].pieces) == 9
    turned = by_shape[9 * c, o]
    assert turned.m == 3 * c
    assert [size for size, *_ in turned.outer] == [side, n]


def test_gradients_of_few_channels_are_scattered():
    # three columns fill a vector badly: nine products of them would be more work
    x, w = cg.tensor("x", (2, 8, 8, 3)), cg.tensor("w", (3, 3, 3, 16))
    y = convolution(cg, x, w, 8, 8)
    f = cg.compile([x, w], cg.grad(cg.sum(y * y), x))
    assert any(p.n == 27 for p in products(f))


def test_nan_and_infinity_reach_what_they_do_in_numpy():
    rng = np.random.default_rng(0)
    x, w = cg.tensor("x", (1, 6, 6, 16)), cg.tensor("w", (3, 3, 16, 16))
    f = cg.compile([x, w], convolution(cg, x, w, 6, 6))
    at = rng.standard_normal((1, 6, 6, 16)), rng.standard_normal((3, 3, 16, 16))
    at[0][0, 3, 3, 2], at[1][0, 0, 1, 5] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        want = convolution(np, *at, 6, 6)
    assert np.array_equal(np.isfinite(f(*at)), np.isfinite(want))


def test_weights_that_are_not_finite_reach_the_edges_of_the_gradient_only():
    rng = np.random.default_rng(0)
    x, w = cg.tensor("x", (1, 6, 6, 16)), cg.tensor("w", (3, 3, 16, 16))
    dy = cg.tensor("dy", (1, 6, 6, 16))
    back = cg.vjp(convolution(cg, x, w, 6, 6), [x], dy)[0]
    at = [
        rng.standard_normal(s) for s in ((1, 6, 6, 16), (3, 3, 16, 16), (1, 6, 6, 16))
    ]
    at[1][1, 0, 1, 5] = np.inf
    got = cg.compile([x, w, dy], back)(*at)
    with np.errstate(invalid="ignore"):
        wanted = cg.evaluate(back, dict(zip((x, w, dy), at)))
    # the column to the right of which nothing is; zeros there meet the infinity
    assert np.isnan(got[0, :, -1, 1]).all()
    got[0, :, -1, 1] = wanted[0, :, -1, 1]
    np.testing.assert_allclose(got, wanted, rtol=1e-9)


def test_columns_of_a_product_with_the_columns_at_the_right():
    rng = np.random.default_rng(1)
    x, d = cg.tensor("x", (3, 6, 6, 16)), cg.matrix("d", (108, 24))
    joined = columns(cg, x, 6, 6, 1).reshape((108, 144))
    f = cg.compile([x, d], d.T @ joined)
    at = rng.standard_normal((3, 6, 6, 16)), rng.standard_normal((108, 24))
    want = at[1].T @ columns(np, at[0], 6, 6, 1).reshape(108, 144)
    np.testing.assert_allclose(f(*at), want, atol=1e-12)
    (product,) = products(f)
    assert product.outer


def test_what_is_a_window():
    x = cg.matrix("x", (5, 8))
    padded = cg.pad(x, ((1, 1), (0, 2)))
    w = window_of(padded[0:4, 2:9])
    assert w is not None and w.source is x
    assert (w.starts, w.shape) == ((-1, 2), (4, 7))
    # what was cut off stays off
    assert window_of(cg.pad(x[1:], ((1, 0), (0, 0)))) is None
    assert window_of(cg.pad(x, ((1, 1), (0, 0)), constant_values=1.0)) is not None
    assert window_of(x[::2]).source is not x
    parts = shared([x[0:3], padded[0:3, 0:8], padded[3:6, 0:8]])
    assert parts is not None
    assert len({p.args[0] for p in parts}) == 1
    assert shared([x[0:3], padded[0:2, 0:8]]) is None
    assert shared([x, x + 1]) is None
