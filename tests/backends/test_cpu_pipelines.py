"""Chains of products and row programs run by blocks of rows, without barriers."""

from itertools import pairwise

import numpy as np
import pytest

import graphc as cg
from graphc.backends.cpu import driver
from graphc.schedule import program
from graphc.schedule.pipeline import PipelineCall
from tests.support.cpu import assert_close

_rng = np.random.default_rng(7)


def pipelines(f):
    return [s for s in f._executable.program.steps if isinstance(s, PipelineCall)]


def checked(inputs, outputs, arrays, rtol=1e-9):
    """Compile, compare with the interpreter, and return the function."""
    f = cg.compile(inputs, outputs)
    wanted = cg.compile(inputs, outputs, backend="reference")(*arrays)
    for got, w in zip(f(*arrays), wanted):
        assert_close(got, w, "result", rtol=rtol)
    return f


def layers(rows, widths):
    x = cg.tensor("x", (rows, widths[0]))
    pairs = list(pairwise(widths))
    weights = [cg.tensor(f"w{i}", pair) for i, pair in enumerate(pairs)]
    biases = [cg.tensor(f"b{i}", (n,)) for i, (_, n) in enumerate(pairs)]
    h = x
    for w, b in zip(weights, biases):
        h = cg.tanh(h @ w + b)
    return x, weights, biases, h


def values(nodes, **dims):
    return [
        _rng.normal(size=[d if isinstance(d, int) else dims[str(d)] for d in n.shape])
        / 3
        for n in nodes
    ]


@pytest.mark.parametrize("rows", [16, 33, 100, 1000])
def test_forward_and_back_through_layers_is_one(rows):
    x, weights, biases, h = layers(rows, (20, 30, 9, 24))
    y = cg.sum(h * h)
    inputs = [x, *weights, *biases]
    outputs = [y, *cg.grad(y, [*weights, *biases])]
    f = checked(inputs, outputs, values(inputs))
    (pipeline,) = pipelines(f)
    # three products forward, two back; the three gradients of weights need all rows
    labels = [k.fuses for k in f.kernels if k.name == "product"]
    assert len(labels) == 8
    inside = [m for m in pipeline.members if hasattr(m.call, "left")]
    assert len(inside) == 5


def test_rows_may_be_symbolic():
    x, weights, biases, h = layers("n", (20, 30, 9))
    y = cg.sum(h * h)
    inputs = [x, *weights, *biases]
    f = cg.compile(inputs, [h, *cg.grad(y, [*weights, *biases])])
    assert len(pipelines(f)) == 1
    g = cg.compile(inputs, f.graph.outputs, backend="reference")
    for n in (0, 1, 5, 64, 333):
        arrays = values(inputs, n=n)
        for got, wanted in zip(f(*arrays), g(*arrays)):
            assert_close(got, wanted, f"{n} rows", rtol=1e-9)


def test_a_recurrence_is_one_and_packs_its_weights_once():
    h0 = cg.tensor("h", (32, 24))
    w = cg.tensor("w", (24, 24))
    xs = cg.tensor("x", (12, 32, 24))
    h = h0
    for t in range(12):
        h = cg.tanh(h @ w + xs[t])
    f = checked([h0, w, xs], [h], values([h0, w, xs]))
    (pipeline,) = pipelines(f)
    products = [m.call for m in pipeline.members if hasattr(m.call, "left")]
    assert len(products) == 12
    assert len({id(p.memory[3]) for p in products}) == 1
    # two places of the state in turn, the products' results, and the packed weights
    assert f.memory <= 32 * 24 * 8 * 4 + 32 * 24 * 8


def test_attention_runs_by_rows_of_all_matrices():
    q, k, v = (cg.tensor(n, (4, 40, 16)) for n in "qkv")
    y = cg.nn.softmax(q @ cg.swapaxes(k, 1, 2) * 0.25, axis=-1) @ v
    f = checked([q, k, v], [y], values([q, k, v]))
    (pipeline,) = pipelines(f)
    assert len(pipeline.members) == 3
    assert pipeline.rows == 160


def test_what_is_read_at_other_rows_is_no_member():
    x, w = cg.tensor("x", (40, 20)), cg.tensor("w", (20, 20))
    turned = cg.flip(x @ w, 0) @ w
    first = (x @ w)[:1] + x @ w
    gram = (x @ w) @ cg.transpose(x @ w)
    arrays = values([x, w])
    for y in (turned, first, gram):
        f = checked([x, w], [cg.tanh(y)], arrays)
        for p in pipelines(f):
            assert len(p.members) <= 2


def test_gathers_within_a_row_stay():
    x, w = cg.tensor("x", (40, 20)), cg.tensor("w", (20, 6))
    labels = cg.tensor("y", (40,), dtype="int64")
    z = x @ w
    loss = cg.mean(cg.nn.logsumexp(z, axis=1) - z[np.arange(40), labels])
    arrays = [*values([x, w]), _rng.integers(0, 6, 40)]
    f = checked([x, w, labels], [loss, *cg.grad(loss, [w])], arrays)
    (pipeline,) = pipelines(f)
    assert len(pipeline.members) == 2
    arrays[2] = arrays[2] + 6
    with pytest.raises(IndexError):
        f(*arrays)


def test_partial_results_as_many_as_columns_are_combined_after():
    x, w, v = (
        cg.tensor("x", (32, 24)),
        cg.tensor("w", (24, 32)),
        cg.tensor("v", (32, 9)),
    )
    b = cg.tensor("b", (32,))
    y = cg.sum(cg.maximum(x @ w + b, 0.0) @ v * v.sum())
    checked([x, w, v, b], [cg.grad(y, b)], values([x, w, v, b]))
    checked([x, w, v, b], [y, *cg.grad(y, [w, b])], values([x, w, v, b]))


def test_few_rows_are_shared_by_columns():
    x, w = cg.tensor("x", (8, 200)), cg.tensor("w", (200, 300))
    assert not pipelines(checked([x, w], [cg.tanh(x @ w)], values([x, w])))


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_same_bits_for_any_threads(threads):
    x, weights, biases, h = layers(200, (20, 30, 9))
    inputs = [x, *weights, *biases]
    y = cg.sum(h * h)
    f = cg.compile(inputs, [y, *cg.grad(y, [*weights, *biases])])
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=n.shape) for n in inputs]
    with cg.config(threads=1):
        wanted = f(*arrays)
    with cg.config(threads=threads):
        for _ in range(20):
            for got, w in zip(f(*arrays), wanted):
                assert got.tobytes() == w.tobytes()


def test_same_bits_as_step_by_step(monkeypatch):
    x, weights, biases, h = layers(100, (20, 30, 9))
    inputs = [x, *weights, *biases]
    arrays = values(inputs)
    got = cg.compile(inputs, [h])(*arrays)
    monkeypatch.setattr(program, "pipelined", lambda steps, *rest: list(steps))
    f = cg.compile(inputs, [h * 1.0])
    assert not pipelines(f)
    assert f(*arrays)[0].tobytes() == got[0].tobytes()


@pytest.mark.parametrize("rows", [16, 300])
def test_the_words_of_a_pipeline_in_a_table_and_as_straight_code(monkeypatch, rows):
    x, weights, biases, h = layers(rows, (20, 30, 9, 24))
    y = cg.sum(h * h)
    inputs = [x, *weights, *biases]
    for most in (0, 10**9):
        monkeypatch.setattr(driver, "MOST_WORDS", most)
        f = checked(inputs, [y, *cg.grad(y, [*weights, *biases])], values(inputs))
        assert len(pipelines(f)) == 1
        assert ("@table" in f._executable.driver.text) == (most == 0)


def test_a_long_pipeline_is_little_code():
    x, w = cg.matrix("x", (32, 32)), cg.matrix("w", (32, 32))
    lines = []
    for layer_count in (80, 160):
        y = x
        for _ in range(layer_count):
            y = cg.tanh(0.1 * (y @ w)) + x  # not chaotic
        f = checked([x, w], [y], values([x, w]))
        (pipeline,) = pipelines(f)
        assert len(pipeline.members) > driver.LONGEST_CODE
        lines.append(f._executable.driver.text.count("\n"))
    assert lines[0] == lines[1]
