"""Where arrays lie: packing, memory shared in place, and what a call allocates."""

from __future__ import annotations

import os
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as cg
from graphc.backends.cpu import memory
from graphc.backends.reference import bind_sizes, run
from graphc.graph.graph import Graph
from graphc.schedule.memory import evaluator, writes
from graphc.schedule.packing import ALIGNMENT, Block, pack
from graphc.schedule.program import schedule
from graphc.types import sizes
from tests.support.allocations import counted
from tests.support.cpu import assert_close
from tests.support.random_graphs import random_graph

COUNT = int(os.environ.get("GRAPHC_RANDOM_GRAPHS", "24"))
N, M = sizes.dim("n"), sizes.dim("m")


def apart(a, b, size):
    """Tell whether two blocks never meet: in time, or in memory."""
    if a.last < b.first or b.last < a.first:
        return True
    low, high = sorted((size(x.offset), size(x.size)) for x in (a, b))
    return sum(low) <= high[0]


def most_alive(blocks):
    moments = {b.first for b in blocks}
    rounded = {b: -(-b.size // ALIGNMENT) * ALIGNMENT for b in blocks}
    return max(
        sum(rounded[b] for b in blocks if b.first <= t <= b.last) for t in moments
    )


spans = st.tuples(st.integers(0, 12), st.integers(0, 6))
formulas = st.sampled_from([8, 800, 8 * N, 4 * N, 8 * M, 8 * N * M, 8 * N + 64, 0 * N])


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(spans, st.integers(0, 900)), min_size=1, max_size=14))
def test_blocks_of_fixed_sizes_do_not_meet(rows):
    blocks = [Block(size, first, first + length) for (first, length), size in rows]
    total, levels = pack(blocks)
    assert not levels
    assert all(b.offset % ALIGNMENT == 0 for b in blocks)
    assert total >= most_alive(blocks)
    assert all(b.offset + b.size <= total for b in blocks)
    for a, b in combinations(blocks, 2):
        assert apart(a, b, lambda s: s)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(spans, formulas), min_size=1, max_size=14),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000)), min_size=4),
)
def test_blocks_of_symbolic_sizes_do_not_meet_for_any_sizes(rows, values):
    blocks = [Block(size, first, first + length) for (first, length), size in rows]
    total, levels = pack(blocks)
    for n, m in values:
        table = dict(zip((*N.atoms(), *M.atoms()), (n, m)))
        memo = {}

        def size(s, table=table, memo=memo):
            return sizes.evaluate(s, table.__getitem__, memo)

        for level in levels:
            size(sizes.of_atom(level))
        assert all(size(b.offset) + size(b.size) <= size(total) for b in blocks)
        assert all(size(b.offset) % ALIGNMENT == 0 for b in blocks)
        for a, b in combinations(blocks, 2):
            assert apart(a, b, size)


def test_packing_reaches_the_bound_where_memory_is_fragmented():
    # first come first served leaves two gaps of 2 that a block of 3 does not fit in
    rows = [(2, 0, 3), (1, 0, 9), (2, 0, 3), (1, 0, 9), (3, 4, 9)]
    blocks = [Block(ALIGNMENT * size, first, last) for size, first, last in rows]
    total, _ = pack(blocks)
    assert total == most_alive(blocks) == 6 * ALIGNMENT


def test_packing_of_many_blocks():
    # all of them alive in the middle: the search must not compare each with each
    count = 50_000
    blocks = [Block(64 * (1 + i % 7), i, 2 * count - i) for i in range(count)]
    total, _ = pack(blocks)
    assert total == sum(b.size for b in blocks)
    symbolic = [Block((1 + i % 7) * N, i, 2 * count - i) for i in range(count)]
    total, levels = pack(symbolic)
    assert not levels
    assert sizes.evaluate(total, lambda _: 64) == sum(b.size for b in blocks)


@pytest.mark.parametrize("seed", range(COUNT))
@pytest.mark.parametrize("donate", [False, True])
def test_arrays_of_random_graphs_do_not_meet(seed, donate):
    graph = random_graph(seed, gradients=seed % 3 == 0)
    donated = range(len(graph.inputs)) if donate else ()
    program = schedule(Graph(graph.inputs, graph.outputs), donated, pipelines=False)
    calls = list(program.calls)
    plan = program.memory
    for arrays in graph.calls:
        try:
            size = evaluator(plan, bind_sizes(graph.inputs, arrays))
        except cg.GraphcError:
            continue
        for a, b in combinations(plan.arrays, 2):
            p, q = plan.places[a.key], plan.places[b.key]
            if (p.kind, p.number) != (q.kind, q.number):
                continue
            low, high = sorted(
                ((size(p.offset), size(a.size)), (size(q.offset), size(b.size)))
            )
            first, second = sorted((a, b), key=lambda x: x.first)
            if sum(low) <= high[0] or first.last < second.first:
                continue
            # in memory and in time they meet: it must be one step that says so
            step = calls[second.first]
            assert first.last == second.first
            keys = [m if m.node is None else m.node for m in step.memory]
            at = {i for i, k in enumerate(keys) if k is first.key}
            (to,) = (i for i, k in enumerate(keys) if k is second.key)
            assert any(step.kernel.in_place.get(i) == to for i in at)
            assert writes(step)[to]


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_call_allocates_what_was_planned_to_the_byte(seed):
    graph = random_graph(seed, gradients=seed % 3 == 0)
    f = cg.compile(graph.inputs, graph.outputs)
    if f._native is None:
        pytest.skip("outputs that are copies are made in Python")
    for arrays in graph.calls:
        try:
            values = bind_sizes(graph.inputs, arrays)
            kept = f(*arrays)  # whatever is allocated once only
        except cg.GraphcError:
            continue
        if any(r.size == 0 for r in kept):
            continue  # of which NumPy allocates a byte or so
        size = evaluator(f._executable.program.memory, values)
        with counted() as memory_used:
            results = f(*arrays)
            assert memory_used.peak == size(f.memory)
            assert memory_used.live == size(f.memory)
            before = memory_used.count
            f(*arrays, out=results)
            assert memory_used.count == before
            del results
            f.release()
            assert memory_used.live == 0


@pytest.mark.parametrize("seed", range(COUNT))
def test_donated_random_graphs_give_the_same(seed):
    graph = random_graph(seed, gradients=seed % 3 == 0)
    f = cg.compile(graph.inputs, graph.outputs, donate=graph.inputs)
    for arrays in graph.calls:
        try:
            wanted = run(Graph(graph.inputs, graph.outputs), arrays)
        except cg.GraphcError:
            continue
        given = [a.copy() for a in arrays]
        for got, expected in zip(f(*given), wanted):
            rtol = {"float32": 2e-3, "float64": 1e-8}.get(got.dtype.name)
            assert_close(got, expected, f"seed {seed}", rtol, 1.0)


# ------------------------------------------------------------------- in place


def in_place(f):
    return [
        s.kernel.in_place
        for s in f._executable.program.calls
        if hasattr(s, "kernel") and s.kernel.in_place
    ]


def test_a_map_after_a_product_writes_in_place():
    x = cg.tensor("x", (12, 16))  # too few rows for a pipeline
    w = cg.matrix("w", (16, 16))
    f = cg.compile([x, w], cg.tanh(x @ w) * 2.0)
    assert len(in_place(f)) == 1
    assert f.memory_plan.arrays[0].place == "output 0"
    a, b = np.random.default_rng(0).standard_normal((2, 16, 16))
    a = a[:12]
    np.testing.assert_allclose(f(a, b), np.tanh(a @ b) * 2, rtol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.T + 1.0,  # another place of the array
        lambda p: p + p.T,
        lambda p: p[::-1] * 2.0,
        lambda p: p - p.max(axis=1, keepdims=True),  # read by two stages
        lambda p: p + p[0],
        lambda p: p.astype("float32"),  # another size
    ],
    ids=range(6),
)
def test_what_reads_elsewhere_is_not_in_place(change):
    x = cg.matrix("x", (5, 5))
    y = change(x @ x)
    f = cg.compile([x], y)
    assert in_place(f) == []
    a = np.random.default_rng(0).standard_normal((5, 5))
    assert_close(f(a), run(Graph([x], [y]), [a])[0], "", 1e-6)


def test_scatter_and_cumsum_of_donated_arrays_are_in_place():
    x, i, u = (
        cg.vector("x", "n"),
        cg.vector("i", "k", dtype="int64"),
        cg.vector("u", "k"),
    )
    f = cg.compile([x, i, u], x.at[i].add(u), donate=[x])
    g = cg.compile([x], x.cumsum(axis=0), donate=x)
    a = np.arange(6.0)
    r = f(a, np.array([1, 1, 5]), np.ones(3))
    assert r is a
    np.testing.assert_array_equal(a, [0, 3, 2, 3, 4, 6])
    assert g(a) is a
    np.testing.assert_array_equal(a, [0, 3, 5, 8, 12, 18])
    assert f.memory == g.memory == 0


# ----------------------------------------------------------------- workspaces


def workspace_user():
    x = cg.tensor("x", ("n", "n"))
    return cg.compile([x], ((x @ x) @ (x @ x)).sum(axis=0))


def test_a_thread_keeps_one_workspace_for_all_functions():
    f, g = workspace_user(), workspace_user()
    a = np.ones((100, 100))
    with counted() as used:
        f(a)
        first = used.count
        results = [f(a), g(a), g(a[:50, :50].copy())]
        assert used.count == first + 4  # the outputs, and the copy of a part
        assert len(results) == 3


def test_a_large_workspace_is_given_back_when_little_is_needed():
    f = workspace_user()
    large, small = np.ones((500, 500)), np.ones((4, 4))
    with counted() as used:
        f(large)
        held = used.live
        assert held == f.memory_plan.at(n=500)["workspace"] > memory.SMALL
        for _ in range(memory.PATIENCE - 1):
            f(small)
        assert used.live == held
        f(small)
        assert used.live == f.memory_plan.at(n=4)["workspace"]
        f(large)
        for _ in range(memory.PATIENCE - 1):
            f(small)
        f(large)
        for _ in range(memory.PATIENCE - 1):
            f(small)
        assert used.live == held  # needed lately


def test_threads_have_workspaces_of_their_own():
    from concurrent.futures import ThreadPoolExecutor

    f = workspace_user()
    arrays = [
        np.random.default_rng(i).standard_normal((60 + i, 60 + i)) for i in range(4)
    ]
    wanted = [((a @ a) @ (a @ a)).sum(axis=0) for a in arrays]

    def work(i):
        return all(
            np.allclose(f(arrays[i]), wanted[i], rtol=1e-9, atol=1e-9)
            for _ in range(50)
        )

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(4)))
