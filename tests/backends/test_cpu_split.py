"""Loops cut where conditions on indices change: the same bits, without conditions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphc as cg
from graphc.graph.node import Node
from graphc.kernels.bounds import Bounds
from graphc.kernels.ir import LoopVar
from graphc.ops.slicing import pad, pad_to
from graphc.schedule import opaque, rows
from graphc.types import sizes
from tests.support.cpu import assert_cpu_agrees, placeholders

_rng = np.random.default_rng(5)


def real(*shape):
    return _rng.normal(size=shape)


def banded(x):
    zero = cg.zeros(1)
    up, down = cg.concatenate([x[1:], zero]), cg.concatenate([zero, x[:-1]])
    return (up - x * x) * down + cg.sin(x)


def diagonal_matrix(x):
    place = cg.arange(x.shape[0])
    return cg.where(place[:, None] == place, cg.sin(x[:, None] * x) + x * x, 0.0)


def gates(x):
    h = x.shape[1]
    parts = [cg.tanh(x * k) for k in range(1, 5)]
    wide = [pad(p, (0, k * h), (x.shape[0], 4 * h)) for k, p in enumerate(parts)]
    return wide[0] + wide[1] + wide[2] + wide[3]


def patches(x):
    n, h, w, c = x.shape
    wide = pad(x, (0, 1, 1, 0), (n, h + 2, w + 2, c))
    return cg.concatenate(
        [wide[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=3
    )


# what is built, arrays, and whether every condition goes
CASES = {
    "concatenate_last": (lambda x, y: cg.concatenate([x, y * 2], 1), [(4, 6), (4, 9)]),
    "concatenate_first": (lambda x, y: cg.concatenate([x, y * 2], 0), [(8, 5), (7, 5)]),
    "concatenate_flat": (lambda x, y: cg.concatenate([x, cg.sin(y), x]), [(8,), (15,)]),
    "nested": (
        lambda x, y: cg.concatenate([cg.concatenate([x, y], 1), y + 1.0], 1),
        [(3, 7), (3, 6)],
    ),
    "pad_within": (lambda x: pad(x, (2, 3), (12, 14)), [(7, 8)]),
    "pad_every_axis": (lambda x: pad(x, (1, 2, 3), (9, 9, 9)), [(5, 5, 5)]),
    "pad_to": (lambda x: pad_to(cg.exp(x), (9, 10)), [(6, 6)]),
    "pad_reversed": (lambda x: pad(x, (9,), (12,), (-1,)), [(8,)]),
    "banded": (banded, [(40,)]),
    "diagonal": (diagonal_matrix, [(20,)]),
    "gates": (gates, [(3, 8)]),
    "patches": (patches, [(2, 5, 6, 7)]),
    "sum_of_parts": (lambda x, y: cg.concatenate([x, y], 1).sum(1), [(4, 8), (4, 9)]),
    "sum_of_padding": (lambda x: pad(x, (0, 5), (x.shape[0], 30)).sum(0), [(4, 20)]),
    "softmax_of_parts": (
        lambda x, y: cg.nn.softmax(cg.concatenate([x, y * y], 1), -1),
        [(4, 8), (4, 9)],
    ),
    "running": (lambda x, y: cg.cumsum(cg.concatenate([x, y])), [(8,), (9,)]),
}
NO_CONDITIONS = {
    *("concatenate_last", "concatenate_first", "concatenate_flat", "nested"),
    *("banded", "diagonal", "gates", "sum_of_parts", "softmax_of_parts", "running"),
}


def compiled(build, shapes, symbolic) -> tuple[list[Node], Node, cg.Function]:
    arrays = [np.empty(s) for s in shapes]
    named = [tuple(f"n{s}" for s in shape) for shape in shapes] if symbolic else None
    inputs = placeholders(*arrays, shapes=named)
    output = build(*inputs)
    return inputs, output, cg.compile(inputs, [output])


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("label", CASES)
def test_same_bits_as_without(label, symbolic, monkeypatch):
    build, shapes = CASES[label]
    *_, function = compiled(build, shapes, symbolic)
    for module in (rows, opaque):
        monkeypatch.setattr(module, "split_loops", lambda kernel, k: kernel)
    *_, whole = compiled(build, shapes, symbolic)
    assert "select" in whole.source or label in ("sum_of_parts",)
    assert function.source != whole.source
    if label in NO_CONDITIONS and not (symbolic and label == "banded"):
        assert "select" not in function.source
    arrays = [real(*s) for s in shapes]
    (got,), (wanted,) = function(*arrays), whole(*arrays)
    if label.startswith(("sum", "softmax")):  # added up in another order
        np.testing.assert_allclose(got, wanted, rtol=1e-13)
    else:
        assert got.tobytes() == wanted.tobytes()


def sizes_tried(label: str) -> tuple[int, ...]:
    no_empty = label in ("softmax_of_parts", "banded")
    return (1, 2, 6) if no_empty else (0, 1, 2, 6)


@pytest.mark.parametrize("label", CASES)
def test_every_size(label):
    """Pieces may be empty, and pads may be of nothing."""
    build, shapes = CASES[label]
    names = sorted({s for shape in shapes for s in shape})
    inputs, output, _ = compiled(build, shapes, True)
    calls = [
        [real(*(size[s] for s in shape)) for shape in shapes]
        for values in itertools.product(sizes_tried(label), repeat=len(names))
        for size in [dict(zip(names, values))]
    ]
    assert_cpu_agrees(inputs, [output], *calls)


def test_a_condition_that_is_not_linear_stays():
    x = cg.vector("x", 30)
    place = cg.arange(30)
    function = cg.compile([x], [cg.where(place % 3 == 1, x, -x)])
    array = real(30)
    (got,) = function(array)
    np.testing.assert_array_equal(got, np.where(np.arange(30) % 3 == 1, array, -array))
    assert "select" in function.source


def test_the_number_of_pieces_of_an_inner_loop_is_limited():
    xs = [cg.tensor(f"x{i}", (5, 3 + i)) for i in range(60)]
    function = cg.compile(xs, [cg.concatenate(xs, axis=1)])
    assert "select" in function.source
    arrays = [real(5, 3 + i) for i in range(60)]
    (got,) = function(*arrays)
    np.testing.assert_array_equal(got, np.concatenate(arrays, axis=1))


def test_an_index_out_of_range_is_reported_from_every_piece():
    x, i, y = cg.vector("x", 9), cg.vector("i", 8, dtype="int64"), cg.vector("y", 7)
    function = cg.compile([x, i, y], [cg.concatenate([y, x[i], y])])
    array, index, other = real(9), np.arange(8), real(7)
    (got,) = function(array, index, other)
    np.testing.assert_array_equal(got, np.concatenate([other, array[index], other]))
    index[5] = 9
    with pytest.raises(cg.IndexOutOfRangeError):
        function(array, index, other)


# ------------------------------------------------------------------ bounds

R, J = LoopVar("r", 1), LoopVar("j", 2)
r, j = sizes.of_atom(R), sizes.of_atom(J)
n, m = sizes.dim("n"), sizes.dim("m")
INSIDE = Bounds().within(R, n * m).within(J, n + 3)


@pytest.mark.parametrize(
    ("formula", "known"),
    [
        (r, True),
        (n * m - r - 1, True),
        (n * m - r - 2, False),
        (n - 1, True),
        (n * m + n - 2, True),
        (n * m - n, True),
        (n + 2 - j, True),
        (n + 1 - j, False),
        (j * r - 1, False),
        (m - 1 - sizes.mod(r, m), True),
        (r - j, False),
        (sizes.minimum(j, n) + 1, True),
    ],
)
def test_what_is_never_negative(formula, known):
    assert INSIDE.non_negative(formula) is known
    smallest = min(
        sizes.evaluate(formula, {R: a, J: b, N: x, M: y}.__getitem__)
        for x in (1, 2, 3)
        for y in (1, 2, 3)
        for a in range(x * y)
        for b in range(x + 3)
    )
    assert (smallest >= 0) is known


(N,), (M,) = n.atoms(), m.atoms()


def test_facts_are_used():
    assert not Bounds().non_negative(n - m)
    assert Bounds(facts=(n - m - 2,)).non_negative(n - m)


@pytest.mark.parametrize("count", [30, 70])
def test_many_parts_along_rows_are_cut_in_halves(count):
    xs = [cg.tensor(f"x{t}", (3, 16)) for t in range(count)]
    joined = cg.concatenate([x.reshape((1, 3, 16)) for x in xs]) * 2.0
    padded = sum(
        (
            cg.pad(x.reshape((1, 3, 16)), ((t, count - 1 - t), (0, 0), (0, 0)))
            for t, x in enumerate(xs)
        ),
        0,
    )
    f = cg.compile(xs, [joined, padded])
    assert "select" not in f.source
    arrays = [real(3, 16) for _ in xs]
    got = f(*arrays)
    np.testing.assert_array_equal(got[0], 2.0 * np.stack(arrays))
    np.testing.assert_array_equal(got[1], np.stack(arrays))


@pytest.mark.parametrize("shape", [(12, 2), (2, 6, 2), (6, 3)])
def test_gathers_are_copied_with_their_indices(shape):
    """A loop cut twice must not take one copy's index for another's."""
    x, i = cg.vector("x", 6), cg.tensor("i", (6,), dtype="int64")
    inner = (1, 6, 1)[3 - len(shape) :]
    column = cg.reshape(x[i], inner)
    f = cg.compile([x, i], pad(column, (0,) * len(shape), shape))
    values, order = real(6), np.array([3, -1, 0, 5, 5, 2])
    expected = np.zeros(shape)
    expected[tuple(slice(0, s) for s in inner)] = values[order].reshape(inner)
    np.testing.assert_array_equal(f(values, order), expected)


@pytest.mark.parametrize("count", [5, 40])
def test_equal_pieces_of_a_concatenation_are_one_function(count):
    from graphc.backends.cpu import outline

    rng = np.random.default_rng(3)
    xs = [cg.tensor(f"x{i}", (2 + i % 2, 40)) for i in range(count)]
    y = cg.concatenate(xs)
    f = cg.compile(xs, [y * 2.0, cg.sum(y, axis=0)], threads=1)
    arrays = [rng.normal(size=x.shape) for x in xs]
    whole = np.concatenate(arrays)
    doubled, total = f(*arrays)
    np.testing.assert_array_equal(doubled, 2 * whole)
    np.testing.assert_allclose(total, whole.sum(0), rtol=1e-12)
    kernels = [c.kernel for c in f._executable.program.calls]
    texts = [outline.printed(k, outline.Canonical(k)) for k in kernels]
    (largest,) = [p for p in texts if len(p.kernel.loops) == count]
    assert len(largest.module.externals) == 1  # how many rows there are is told it
    assert largest.text.count("call void @graphc_") >= count


def test_pieces_with_accumulators_of_their_own_and_symbolic_rows():
    xs = [cg.tensor(f"x{i}", ("n", 4)) for i in range(6)]
    y = cg.concatenate(xs)
    out = [cg.sum(cg.exp(y), axis=1), cg.sum(y)]
    f = cg.compile(xs, out)
    for n in (1, 7, 300):
        arrays = [np.random.default_rng(i).normal(size=(n, 4)) for i in range(6)]
        whole = np.concatenate(arrays)
        rows, total = f(*arrays)
        np.testing.assert_allclose(rows, np.exp(whole).sum(1), rtol=1e-13)
        np.testing.assert_allclose(total, whole.sum(), rtol=1e-10, atol=1e-10)
        assert [r.tobytes() for r in f(*arrays, threads=3)] == [
            rows.tobytes(),
            total.tobytes(),
        ]
