"""Derivatives of deep and wide graphs: linear in size, without recursion."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import graphc as cg
from graphc.graph.graph import topological_order


def chain(n):
    x = cg.scalar("x")
    y = x
    for _ in range(n // 2):
        y = cg.sin(y) * 1.01
    return x, y


def wide(n):
    x = cg.scalar("x")
    y = x
    for i in range(n // 2):
        y = y + x * (i + 0.5)
    return x, y


@pytest.mark.parametrize("build", [chain, wide])
def test_nodes_of_derivatives_are_linear(build):
    """And releasing 100,000 nested nodes does not exhaust the interpreter's stack."""
    counts = []
    for n in (10_000, 100_000):
        x, y = build(n)
        dx, dy = cg.grad(y, x), cg.jvp(y, x, 1.0)
        counts.append(np.array([len(topological_order([d])) for d in (dx, dy)]))
        del x, y, dx, dy
        gc.collect()
    np.testing.assert_allclose(counts[1] / counts[0], 10, rtol=0.01)
    assert max(counts[1]) <= 300_000


@pytest.mark.parametrize("build", [chain, wide])
def test_modes_agree(build, evaluate):
    x, y = build(1_000)
    pushed, pulled = evaluate([cg.jvp(y, x, 1.0), cg.grad(y, x)], {x: 0.5})
    assert pushed != 0
    np.testing.assert_allclose(pushed, pulled, rtol=1e-9)


def test_second_order_of_a_chain_is_linear():
    counts = []
    for n in (500, 5_000):
        x, y = chain(n)
        counts.append(len(topological_order([cg.hvp(y, x, 1.0)])))
    assert 9.9 < counts[1] / counts[0] < 10.1


def test_batching_a_deep_graph(evaluate):
    x, y = chain(2_000)
    mapped = cg.vmap(lambda v: cg.jvp(y, x, v))
    t = cg.vector("t", "n")
    got = evaluate(mapped(t), {x: 0.5, t: [1.0, 2.0]})
    np.testing.assert_allclose(got[1], 2 * got[0])
