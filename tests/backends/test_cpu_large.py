"""Large arrays and large graphs on the CPU, against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphc as cg
from tests.support.cpu import assert_close

_rng = np.random.default_rng(11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_million_elements(dtype):
    x = cg.vector("x", "n", dtype=dtype)
    y = cg.sin(x) * cg.exp(-x * x) + cg.tanh(x) / (1 + x * x)
    f = cg.compile([x], [y, y.sum(), x.max(), cg.argmax(x), (x > 0).sum()])
    assert len([k for k in f.kernels if "combine" not in k.fuses]) <= 4
    a = _rng.normal(size=1_000_003).astype(dtype)
    b = a.astype(np.float64)
    wanted = np.sin(b) * np.exp(-b * b) + np.tanh(b) / (1 + b * b)
    got = f(a)
    np.testing.assert_allclose(
        got[0], wanted, rtol=0, atol=4e-7 if dtype == "float32" else 1e-15
    )
    np.testing.assert_allclose(got[1], wanted.sum(), rtol=1e-5, atol=1e-2)
    assert got[2] == a.max() and got[3] == a.argmax() and got[4] == (a > 0).sum()


def transposed(a, flag):
    """Return an array whose transpose, if flagged, is `a`."""
    return np.ascontiguousarray(a.T) if flag else a


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_all_transpositions_and_sizes(dtype):
    functions = {}
    for ta, tb in itertools.product((False, True), repeat=2):
        a = cg.tensor("a", ("k", "m") if ta else ("m", "k"), dtype=dtype)
        b = cg.tensor("b", ("n", "k") if tb else ("k", "n"), dtype=dtype)
        functions[ta, tb] = cg.compile([a, b], (a.T if ta else a) @ (b.T if tb else b))
    sizes = [
        (256, 256, 256),
        (1000, 300, 77),
        (1, 1000, 1),
        (1, 513, 700),
        (700, 513, 1),
        (33, 31, 1025),
        (1025, 1, 33),
        (0, 5, 7),
        (5, 0, 7),
        (5, 7, 0),
        (0, 0, 0),
        (1, 0, 1),
        (2, 3, 2),
        (17, 16, 15),
    ]
    for m, k, n in sizes:
        a, b = (
            _rng.normal(size=(m, k)).astype(dtype),
            _rng.normal(size=(k, n)).astype(dtype),
        )
        wanted = a.astype(np.float64) @ b.astype(np.float64)
        for (ta, tb), f in functions.items():
            got = f(transposed(a, ta), transposed(b, tb))
            what = f"{dtype} {(m, k, n)}, transposed {ta}, {tb}"
            # far within k * eps: Higham, Accuracy and Stability, section 3.5
            bound = np.finfo(dtype).eps * (3 + k / 100) * (abs(a) @ abs(b))
            assert got.dtype == dtype and got.shape == wanted.shape, what
            assert (abs(got - wanted) <= bound).all(), what


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((40, 30, 20), (40, 20, 50)),
        ((40, 30, 20), (20, 50)),
        ((30, 20), (40, 20, 50)),
        ((5, 1, 30, 20), (6, 20, 50)),
        ((5, 6, 30, 20), (5, 1, 20, 50)),
        ((3, 1, 4, 3, 20), (1, 2, 1, 20, 5)),
        ((300, 2, 3), (300, 3, 2)),
        ((0, 2, 3), (0, 3, 2)),
        ((4, 0, 3), (4, 3, 2)),
    ],
)
def test_products_of_batches(left, right):
    a, b = _rng.normal(size=left), _rng.normal(size=right)
    x = cg.tensor("x", [s if s == 1 else f"x{s}" for s in left])
    y = cg.tensor("y", [s if s == 1 else f"x{s}" for s in right])
    order = (*range(len(right) - 2), len(right) - 1, len(right) - 2)
    outputs = [x @ y, x @ cg.transpose(cg.transpose(y, order) * 2.0, order)]
    got = cg.compile([x, y], outputs)(a, b)
    assert_close(got[0], a @ b, "product")
    assert_close(got[1], a @ b * 2, "product of a computed transpose")


def test_rows_longer_and_shorter_than_anything():
    x = cg.matrix("x", ("n", "m"))
    f = cg.compile(
        [x], [cg.nn.softmax(x, axis=-1), x.sum(axis=0), x.std(axis=1), x.sum()]
    )
    for shape in ((1, 300_000), (300_000, 1), (2, 100_001), (1001, 303), (65, 64)):
        a = _rng.normal(size=shape)
        e = np.exp(a - a.max(axis=1, keepdims=True))
        wanted = (e / e.sum(1, keepdims=True), a.sum(0), a.std(axis=1), a.sum())
        for got, w in zip(f(a), wanted):
            assert_close(got, np.asarray(w), f"{shape}", rtol=1e-9)


def chain(x, count):
    for i in range(count // 2):
        x = x * 0.9999 + 1e-3 * (i % 7 + 1)
    return x


def expected_chain(a, count):
    for i in range(count // 2):
        a = a * 0.9999 + 1e-3 * (i % 7 + 1)
    return a


@pytest.mark.parametrize("scalar", [False, True])
def test_a_long_chain_is_cut_into_kernels(scalar):
    x = cg.scalar("x") if scalar else cg.vector("x", "n")
    f = cg.compile([x], chain(x, 6000))
    assert 2 <= len(f.kernels) <= 30
    assert len({k.name for k in f.kernels}) <= 10
    a = np.asarray(0.3) if scalar else np.linspace(-1, 1, 13)
    np.testing.assert_array_equal(f(a), expected_chain(a, 6000))


def test_a_wide_sum():
    x = cg.vector("x", "n")
    terms = [x * (i * 1e-3) for i in range(2000)]
    y = terms[0]
    for t in terms[1:]:
        y = y + t
    f = cg.compile([x], y)
    assert len(f.kernels) <= 20
    a = np.linspace(-1, 1, 9)
    np.testing.assert_allclose(f(a), a * sum(i * 1e-3 for i in range(2000)), rtol=1e-10)


def test_a_hundred_thousand_operations_are_evaluated():
    x = cg.vector("x", "n")
    a = np.linspace(-1, 1, 3)
    got = cg.evaluate(chain(x, 100_000), {x: a})
    np.testing.assert_array_equal(got, expected_chain(a, 100_000))


def test_many_reductions_in_a_row():
    x = cg.matrix("x", ("n", "m"))
    y = x
    for _ in range(100):
        y = (
            y
            - y.mean(axis=1, keepdims=True) * 0.5
            + y.max(axis=0, keepdims=True) * 0.25
        )
        y = y / 1.5
    f = cg.compile([x], y)
    a = _rng.normal(size=(6, 5))
    b = a
    for _ in range(100):
        b = (
            b
            - b.mean(axis=1, keepdims=True) * 0.5
            + b.max(axis=0, keepdims=True) * 0.25
        )
        b = b / 1.5
    assert_close(f(a), b, "reductions", rtol=1e-9)
    assert len({k.name for k in f.kernels}) <= 12


def test_many_outputs():
    x = cg.vector("x", "n")
    f = cg.compile([x], [x + float(i) for i in range(40)])
    for i, r in enumerate(f(np.arange(3.0))):
        np.testing.assert_array_equal(r, np.arange(3.0) + i)


def test_sums_of_products_are_one_product_of_parts_read_in_place():
    count = 7
    x = cg.tensor("x", (count, 32, 24))
    d = cg.tensor("d", (count, 32, 40))
    e = cg.tensor("e", (24, 40))
    y = sum((cg.transpose(x[t]) @ d[t] for t in range(count)), 0) + e
    f = cg.compile([x, d, e], y)
    assert [k.name for k in f.kernels].count("product") == 1
    assert len(f.kernels) == 2  # nothing was copied
    arrays = [_rng.normal(size=n.shape) for n in (x, d, e)]
    wanted = np.einsum("tbi,tbj->ij", *arrays[:2]) + arrays[2]
    assert_close(f(*arrays), wanted, "sum of products", rtol=1e-12)


@pytest.mark.parametrize("k", [1, 3, 32, 100, 300])
def test_sums_of_products_whose_parts_cross_blocks(k):
    xs = [cg.tensor(f"x{i}", (9, k)) for i in range(5)]
    ws = [cg.tensor(f"w{i}", (30, k)) for i in range(5)]
    y = sum((x @ cg.transpose(w) for x, w in zip(xs, ws)), 0)
    arrays = [_rng.normal(size=n.shape) for n in (*xs, *ws)]
    wanted = sum(a @ b.T for a, b in zip(arrays[:5], arrays[5:]))
    assert_close(cg.compile([*xs, *ws], y)(*arrays), wanted, f"{k}", rtol=1e-12)


def test_products_that_others_use_are_not_joined():
    x, w, v = (cg.tensor(n, (20, 20)) for n in "xwv")
    p, q = x @ w, x @ v
    arrays = [_rng.normal(size=(20, 20)) for _ in range(3)]
    f = cg.compile([x, w, v], [p + q, cg.exp(p)])
    wanted = (
        arrays[0] @ arrays[1] + arrays[0] @ arrays[2],
        np.exp(arrays[0] @ arrays[1]),
    )
    for got, w_ in zip(f(*arrays), wanted):
        assert_close(got, w_, "shared product", rtol=1e-12)


def test_operands_may_lie_in_any_way():
    x = cg.tensor("x", (6, 40, 30))
    w = cg.tensor("w", (30, 50))
    a, b = _rng.normal(size=x.shape), _rng.normal(size=w.shape)
    cases = [
        (x[::2, ::3] @ w, a[::2, ::3] @ b),
        (cg.flip(x, 1) @ cg.flip(w, 0), a[:, ::-1] @ b[::-1]),
        (x[:, :, 5:25] @ w[5:25, ::2], a[:, :, 5:25] @ b[5:25, ::2]),
        (
            cg.transpose(x.reshape((240, 30))) @ x.reshape((240, 30)),
            a.reshape(240, 30).T @ a.reshape(240, 30),
        ),
        (
            cg.broadcast_to(x[0, 0], (40, 30)) @ w,
            np.broadcast_to(a[0, 0], (40, 30)) @ b,
        ),
    ]
    for y, wanted in cases:
        f = cg.compile([x, w], y)
        assert len(f.kernels) == 1, f.kernels
        assert_close(f(a, b), wanted, str(y.shape), rtol=1e-12)
