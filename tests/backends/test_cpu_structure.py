"""How graphs are cut into kernels: counts, shared code, planned memory."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import graphc as cg
from graphc.backends.cpu import cache
from graphc.graph.graph import topological_order
from tests.support.cpu import assert_cpu_agrees


def kernels(function):
    """Return the kernels' texts, without those that combine partial results."""
    return [k for k in function.kernels if not k.fuses.startswith("combine")]


def combines(function):
    return [k for k in function.kernels if k.fuses.startswith("combine")]


def test_an_elementwise_chain_is_one_kernel():
    x = cg.tensor("x", ("n", "m"))
    y = x
    for i in range(40):
        y = cg.sin(y) * 0.5 + x * float(i)
    assert len(cg.compile([x], [y, y * 2.0, cg.exp(y)]).kernels) == 1


def test_softmax_cross_entropy_with_gradient_is_one_kernel():
    x, labels = cg.tensor("x", ("n", "m")), cg.vector("labels", "n", dtype="int64")
    logp = cg.nn.log_softmax(x, axis=-1)
    loss = -logp[cg.arange(x.shape[0]), labels].mean()
    f = cg.compile([x, labels], [loss, cg.grad(loss, x)])
    assert len(kernels(f)) <= 2  # the mean is finished after its combination
    assert len(combines(f)) == 1


def test_layer_norm_is_one_kernel_and_its_gradient_another():
    x, g, b = cg.tensor("x", ("n", "m")), cg.vector("g", "m"), cg.vector("b", "m")
    mean = x.mean(axis=-1, keepdims=True)
    var = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    y = (x - mean) / cg.sqrt(var + 1e-5) * g + b
    assert len(cg.compile([x, g, b], [y]).kernels) == 1
    loss = (y * y).sum()
    f = cg.compile([x, g, b], [y, *cg.grad(loss, [x, g, b])])
    assert len(kernels(f)) == 1
    assert len(combines(f)) == 1


def test_rows_columns_and_total_are_one_kernel():
    x = cg.tensor("x", ("n", "m"))
    e = cg.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    f = cg.compile([x], [p, p.sum(axis=0), p.sum()])
    assert len(kernels(f)) == 1


def training_step(layers, width=16, adam=True):
    x, labels = cg.tensor("x", ("n", 12)), cg.vector("labels", "n", dtype="int64")
    sizes = [12, *[width] * (layers - 1), 5]
    w = [cg.matrix(f"w{i}", (a, b)) for i, (a, b) in enumerate(pairwise(sizes))]
    b = [cg.vector(f"b{i}", s) for i, s in enumerate(sizes[1:])]
    h = x
    for i, (wi, bi) in enumerate(zip(w, b)):
        h = h @ wi + bi
        if i < layers - 1:
            h = cg.nn.relu(h)
    logp = cg.nn.log_softmax(h, axis=-1)
    loss = -logp[cg.arange(x.shape[0]), labels].mean()
    parameters = [*w, *b]
    gradients = cg.grad(loss, parameters)
    return [x, labels, *parameters], [loss, *gradients], parameters, gradients


def test_training_step_of_three_layers():
    inputs, outputs, _, _ = training_step(3)
    f = cg.compile(inputs, outputs)
    products = [k for k in f.kernels if k.name == "product"]
    assert len(products) == 3 + 5  # forward, and backward without that of the data
    # the labels' cotangent; bias and relu of two layers; loss and its gradient; the
    # mean; two backward relus; the sums of the biases' gradients are within these
    assert len(kernels(f)) - len(products) <= 7
    assert len(combines(f)) <= 4


def test_equal_layers_share_their_machine_code():
    x = cg.tensor("x", ("n", 8))
    weights = [cg.matrix(f"w{i}", (8, 8)) for i in range(64)]
    h = x
    for w in weights:
        h = cg.tanh(h @ w)
    loss = (h * h).sum()
    f = cg.compile([x, *weights], cg.grad(loss, weights))
    assert len(f.kernels) >= 64 * 4
    assert len({k.name for k in f.kernels}) <= 8


def test_a_kernel_is_compiled_once_for_all_functions():
    def build(name, scale):
        x = cg.tensor(name, ("k", "l"))
        return [x], [cg.tanh(x * 0.123456 + 1.0).sum(axis=1) * scale]

    cg.compile(*build("x", 3.0))
    before = dict(cache.counts)
    f = cg.compile(*build("another", 3.0))
    assert cache.counts["compiled"] == before["compiled"]
    assert cache.counts["disk"] == before["disk"]
    x = np.ones((2, 3))
    np.testing.assert_allclose(f(x)[0], np.tanh(np.full((2, 3), 1.123456)).sum(1) * 3)


def test_sizes_do_not_compile_again():
    x = cg.tensor("x", ("n", "m"))
    f = cg.compile([x], [cg.nn.softmax(x, axis=-1), x.sum(axis=0)])
    before = dict(cache.counts)
    for shape in ((1, 1), (3, 5), (40, 2), (0, 3), (100, 100)):
        f(np.ones(shape))
    assert cache.counts == before


def test_memory_is_planned_and_places_are_shared():
    x = cg.tensor("x", (64, 64))
    h = x
    for _ in range(10):
        h = cg.tanh(h @ x)
    f = cg.compile([x], h)
    one = 64 * 64 * 8
    # the output, and of twenty intermediate arrays two or three at a time
    assert f.memory <= one * 4
    assert isinstance(f.memory, int)


def test_memory_of_symbolic_sizes_is_a_formula():
    x = cg.tensor("x", ("n", "m"))
    f = cg.compile([x], x * 2.0)
    n, m = x.shape
    assert f.memory == n * m * 8


def test_text_of_kernels():
    x, i = cg.tensor("x", ("n", "m")), cg.vector("i", "k", dtype="int64")
    f = cg.compile([x, i], [cg.exp(x)[i], x.cumsum(axis=0), x @ x.T])
    text = f.source
    assert "exp(" in text and "index[" in text and "product" in text
    assert all(k.name in text or k.name == "product" for k in f.kernels)
    assert "for " in text


def test_unused_inputs_and_no_outputs():
    x, y = cg.vector("x", "n"), cg.vector("y", "n")
    f = assert_cpu_agrees([x, y], [x * 2.0], [np.ones(3), np.zeros(3)])
    assert len(f.kernels) == 1
    assert cg.compile([x, y], [])(np.ones(2), np.ones(2)) == []


def test_index_expressions_of_many_operations_have_a_short_text():
    # indices are ordered by their text: it must not hold the whole expression
    i = cg.vector("i", "n", dtype="int64")
    j = i
    for _ in range(60):
        j = j + j * i
    table = cg.vector("table", 7)
    out = table[abs(j) % 7]
    f = cg.compile([i, table], out)
    assert len(f.source) < 20_000
    assert len(topological_order([out])) > 100


def test_what_rows_repeat_through_cheap_steps_is_computed_once():
    w, x, m = cg.matrix("w", (30, 20)), cg.vector("x", 20), cg.matrix("m", (40, 30))
    h = cg.tanh(w @ x)
    f = cg.compile([w, x, m], m * (1 - h * h))
    with_tanh = [k for k in f.kernels if "tanh" in k.fuses]
    assert len(with_tanh) == 1
    assert "float64(40, 30)" not in with_tanh[0].fuses
    rng = np.random.default_rng(0)
    at = [rng.normal(size=n.shape) for n in (w, x, m)]
    expected = at[2] * (1 - np.tanh(at[0] @ at[1]) ** 2)
    np.testing.assert_allclose(f(*at), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rows", [40, 40_000])
@pytest.mark.parametrize("donate", [False, True])
def test_results_of_one_chunk_are_not_combined(rows, donate):
    x = cg.tensor("x", (rows, 6))
    b = cg.tensor("b", (6,))
    sums = [cg.sum(x * b, 0), cg.max(x + b, 0), cg.sum(x * x), cg.min(x), x.sum(1)]
    f = cg.compile([x, b], [*sums, sums[0] * b], donate=[b] if donate else [])
    combining = [k for k in f.kernels if k.fuses.startswith("combine")]
    assert bool(combining) == (rows > 10_000)
    rng = np.random.default_rng(rows)
    given, factor = rng.normal(size=(rows, 6)), rng.normal(size=6)
    product = (given * factor).sum(0)
    wanted = [
        *(product, (given + factor).max(0), (given * given).sum(), given.min()),
        *(given.sum(1), product * factor),
    ]
    for got, expected in zip(f(given, factor.copy()), wanted):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
