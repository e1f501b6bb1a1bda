"""Kernels that run blocks of rows: the values of those that run row by row."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.backends.reference import run
from graphc.graph.graph import Graph
from graphc.kernels.ir import Loop
from graphc.schedule import blocks
from tests.backends.test_cpu_fusion import CASES, check
from tests.backends.test_cpu_row_programs import kernels
from tests.support.cpu import assert_close, assert_cpu_agrees, placeholders
from tests.support.random_graphs import random_graph

_rng = np.random.default_rng(3)


def real(*shape, dtype=np.float64):
    return _rng.normal(size=shape).astype(dtype)


@pytest.fixture(params=[1, 4])
def everywhere(request, monkeypatch):
    """Run blocks wherever they are possible, few rows each."""
    monkeypatch.setattr(blocks, "FEW_ROWS", 1)
    monkeypatch.setattr(blocks, "SHORT_ROW", 1 << 20)
    monkeypatch.setattr(blocks, "BLOCK", request.param)


@pytest.mark.parametrize("label", CASES)
def test_case(label, everywhere):
    build, arrays, _, options = CASES[label]
    check(build, arrays, None, **options)


@pytest.mark.parametrize("label", CASES)
def test_case_of_symbolic_rows(label, everywhere):
    build, arrays, shapes, options = CASES[label]
    if shapes is None:
        shapes = [(*(f"n{s}" for s in a.shape[:1]), *a.shape[1:]) for a in arrays]
        shapes = [tuple(1 if s == "n1" else s for s in shape) for shape in shapes]
    check(build, arrays, shapes, **options)


@pytest.mark.parametrize("seed", range(5000, 5030))
def test_random_graph(seed, everywhere):
    graph = random_graph(seed, gradients=seed % 3 == 0)
    function = cg.compile(graph.inputs, graph.outputs)
    for arrays in graph.calls:
        try:
            wanted = run(Graph(graph.inputs, graph.outputs), arrays)
        except cg.GraphcError:
            continue
        for node, got, expected in zip(graph.outputs, function(*arrays), wanted):
            rtol = {"float32": 2e-3, "float64": 1e-8}.get(got.dtype.name)
            assert_close(got, expected, f"seed {seed}, {node!r}", rtol, 1.0)


def in_blocks(function: cg.Function) -> list[bool]:
    """Tell of each kernel whether it runs blocks: a first loop over their rows."""
    return [
        any(isinstance(s, Loop) and s.var.name == "i" for s in k.loops[0].body)
        for k in kernels(function)
    ]


def softmax(x):
    return cg.nn.softmax(x, -1)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1000, 10), True),  # short rows
        (("n", 10), True),
        ((1000, 300), False),  # rows that fill vectors
        ((1000, "m"), False),  # rows of a length that is not known
        ((10, 10), False),  # few rows
        ((40, 50, 3), True),
        ((100, 2, 3), False),  # few rows next to each other
    ],
)
def test_short_rows_run_in_blocks(shape, expected):
    x = cg.tensor("x", shape)
    function = cg.compile([x], [softmax(x)])
    assert any(in_blocks(function)) is expected
    sizes = {"n": 77, "m": 30}
    array = real(*(sizes.get(s, s) for s in shape))
    (got,) = function(array)
    e = np.exp(array - array.max(-1, keepdims=True))
    np.testing.assert_allclose(got, e / e.sum(-1, keepdims=True), rtol=1e-13)


def test_functions_of_a_row_run_in_blocks():
    """What is computed once for each row is vectorized over rows."""

    def build(x, w):
        z = x @ w
        return (cg.tanh(z) * cg.exp(-z * z)).sum(), (x * cg.sin(z)[:, None]).sum(0)

    arrays = real(500, 40), real(40)
    inputs = placeholders(*arrays)
    function = assert_cpu_agrees(inputs, build(*inputs), arrays)
    assert in_blocks(function)[0]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits_for_any_number_of_threads(threads):
    x = cg.matrix("x", ("n", 7), dtype="float32")
    outputs = [softmax(x), x.sum(0), cg.exp(x).sum()]
    array = real(30011, 7, dtype=np.float32)
    first = cg.compile([x], outputs, threads=1)(array)
    again = cg.compile([x], outputs, threads=threads)(array)
    for a, b in zip(first, again):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("rows", [0, 1, 3, 127, 128, 129, 1000])
def test_every_number_of_rows(rows):
    x = cg.matrix("x", ("n", 5))
    function = cg.compile([x], [softmax(x), x.sum(0), (x * x).sum(1)])
    array = real(rows, 5)
    got = function(array)
    e = np.exp(array - array.max(1, keepdims=True, initial=-np.inf))
    wanted = [e / e.sum(1, keepdims=True), array.sum(0), (array * array).sum(1)]
    for a, b in zip(got, wanted):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
