"""Products whose sizes are no multiples of a tile's, and those that become loops."""

import numpy as np
import pytest

import graphc as cg
from graphc.backends.cpu.executable import Executable
from graphc.schedule.product import ProductCall

SIZES = [(1, 5, 9), (13, 7, 5), (40, 10, 10), (9, 300, 17), (10, 1000, 6), (25, 33, 50)]
SIZES += [(3, 700, 100), (64, 66, 63), (1000, 3, 2), (2, 1000, 3), (7, 4, 90)]
SIZES += [(4, 32, 200), (100, 100, 100), (90, 40, 48), (33, 600, 16), (600, 20, 33)]


def steps(f):
    assert isinstance(f._executable, Executable)
    return f._executable.program.steps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("m, k, n", SIZES)
def test_edges_of_tiles(m, k, n, dtype):
    rng = np.random.default_rng(m)
    x = rng.standard_normal((3, m, k)).astype(dtype)
    y = rng.standard_normal((3, k, n)).astype(dtype)
    a, b = cg.tensor("a", (3, m, k), dtype), cg.tensor("b", (3, k, n), dtype)
    at, bt = cg.tensor("at", (3, k, m), dtype), cg.tensor("bt", (3, n, k), dtype)
    f = cg.compile([a, b, at, bt], [a @ b, at.mT @ b, a @ bt.mT, at.mT @ bt.mT])
    got = f(x, y, x.swapaxes(1, 2).copy(), y.swapaxes(1, 2).copy())
    expected = x.astype("float64") @ y.astype("float64")
    room = 4 * k * np.finfo(dtype).eps * (np.abs(x) @ np.abs(y)).max()
    for product in got:
        np.testing.assert_allclose(product, expected, rtol=0, atol=room)


def test_operands_with_gaps_between_their_rows():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((40, 70)), rng.standard_normal((60, 300))
    a, b = cg.matrix("a", x.shape), cg.matrix("b", y.shape)
    outputs, expected = [], []
    for m, n in ((40, 16), (40, 5), (7, 100), (4, 96), (40, 250)):
        outputs.append(a[:m, 3:63] @ b[:, 7 : 7 + n])
        expected.append(x[:m, 3:63] @ y[:, 7 : 7 + n])
    f = cg.compile([a, b], outputs)
    for g in (f, f.with_threads(1)):
        for got, want in zip(g(x, y), expected):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def test_products_do_not_write_beside_their_result():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((11, 9)), rng.standard_normal((9, 13))
    a, b = cg.matrix("a", (11, 9)), cg.matrix("b", (9, 13))
    f = cg.compile([a, b], a @ b)
    room = np.full((3, 11, 13), 7.0)
    f(x, y, out=room[1])
    assert (room[::2] == 7.0).all()
    np.testing.assert_allclose(room[1], x @ y, atol=1e-13)


def test_products_of_few_terms_are_written_out():
    x, w = cg.matrix("x", ("n", 3)), cg.matrix("w", (3, 40))
    f = cg.compile([x, w], cg.tanh(x @ w))
    assert len(steps(f)) == 1
    at = np.arange(12.0).reshape(4, 3), np.ones((3, 40)) / 9
    np.testing.assert_allclose(f(*at), np.tanh(at[0] @ at[1]), rtol=1e-14)


def test_long_products_of_few_rows_and_columns_are_reductions():
    x, y = cg.matrix("x", ("n", 4)), cg.matrix("y", ("n", 3))
    f = cg.compile([x, y], cg.exp(x).T @ (y * 2.0))
    assert not any(isinstance(s, ProductCall) for s in steps(f))
    rng = np.random.default_rng(1)
    at = rng.standard_normal((500, 4)), rng.standard_normal((500, 3))
    np.testing.assert_allclose(f(*at), np.exp(at[0]).T @ at[1] * 2, rtol=1e-12)


def test_products_of_no_terms_are_zero():
    x, y = cg.matrix("x", (50, 0)), cg.matrix("y", (0, 60))
    assert (cg.compile([x, y], x @ y)(np.ones((50, 0)), np.ones((0, 60))) == 0).all()


def test_matrices_of_a_batch_are_rows_of_a_scatter():
    rng = np.random.default_rng(2)
    x, i = rng.standard_normal((40, 300)), rng.integers(0, 300, (40, 170))
    a, j = cg.matrix("a", x.shape), cg.matrix("j", i.shape, dtype="int64")
    f = cg.compile([a, j], cg.grad((cg.take_along_axis(a, j, 1) ** 2).sum(), a))
    assert [s.kernel.rows for s in steps(f) if "scatter" in s.kernel.label] == [40]
    expected = np.zeros_like(x)
    np.add.at(expected, (np.arange(40)[:, None], i), 2 * np.take_along_axis(x, i, 1))
    np.testing.assert_allclose(f(x, i), expected, rtol=1e-14)
    np.testing.assert_array_equal(f(x, i, threads=2), f(x, i, threads=1))


@pytest.mark.parametrize("batch", [(), (3,)])
def test_a_product_that_is_read_transposed_is_computed_so(batch):
    """What is left of it is one product: nothing is copied afterwards."""
    a, b = cg.tensor("a", (*batch, 40, 30)), cg.tensor("b", (*batch, 40, 50))
    swap = (*range(len(batch)), len(batch) + 1, len(batch))
    product = cg.transpose(a, swap) @ b
    f = cg.compile([a, b], cg.transpose(product, swap))
    assert len(f.kernels) == 1
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=a.shape), rng.normal(size=b.shape)
    wanted = np.swapaxes(y, -1, -2) @ x
    np.testing.assert_allclose(f(x, y), wanted, rtol=1e-12, atol=1e-12)
    both = cg.compile([a, b], [product, cg.transpose(product, swap)])
    for got, one in zip(both(x, y), (np.swapaxes(wanted, -1, -2), wanted)):
        np.testing.assert_allclose(got, one, rtol=1e-12, atol=1e-12)
    calls = list(both._executable.program.calls)
    assert sum(isinstance(c, ProductCall) for c in calls) == 1
