"""Counts of `graphc.cost` against interpreters that count what they do."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest

import graphc as cg
from graphc.backends.reference import bind_sizes, interpret
from graphc.graph.graph import Graph
from graphc.kernels.cost import kernel_cost
from graphc.kernels.sums import Sum, evaluated
from graphc.ops.declare import REGISTRY, Move
from graphc.passes.pipeline import run_passes
from graphc.schedule.cost import _calls, program_costs
from graphc.schedule.evaluate import KernelCall
from graphc.schedule.pipeline import key_of
from graphc.schedule.program import schedule
from graphc.surfaces.cost.count import node_cost
from graphc.types import sizes
from tests.support.kernel_interpreter import (
    EmptyLoop,
    KernelInterpreter,
    count_instruction,
)
from tests.support.numpy_scalars import NumpyScalars
from tests.support.random_graphs import random_graph
from tests.support.registry import examples
from tests.support.tensor_samples import SAMPLES

# ------------------------------------------------------------- ops, node by node


class CountingScalars(NumpyScalars):
    """Runs instructions on arrays and counts the elements they work on."""

    def __init__(self):
        self.counts = Counter()

    def __call__(self, name, *operands):
        out = super().__call__(name, *operands)
        count_instruction(self.counts, name, out.size)
        return out


@pytest.mark.parametrize("sample", list(examples()), ids=lambda e: e.label)
def test_elementwise_ops_count_what_their_instructions_do(sample):
    k = CountingScalars()
    node = sample.node
    with np.errstate(all="ignore"):
        node.op.scalar(k, node, *sample.arrays)
    found = node_cost(node)
    assert found.flops == k.counts["flops"]
    assert found.transcendentals == k.counts["transcendentals"]
    assert found.bytes_read == sum(a.nbytes for a in sample.arrays)
    assert found.bytes_written == sample.run().nbytes


class Counted:
    """A number that counts the operations on it."""

    counts: Counter = Counter()

    def __init__(self, value):
        self.value = value

    def _with(self, other, function):
        Counted.counts["flops"] += 1
        return Counted(function(self.value, getattr(other, "value", other)))

    def __add__(self, other):
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other):
        return self._with(other, lambda a, b: a - b)

    def __mul__(self, other):
        return self._with(other, lambda a, b: a * b)

    def __truediv__(self, other):
        return self._with(other, lambda a, b: a / b)

    def __lt__(self, other):
        return self._with(other, lambda a, b: a < b)

    def __abs__(self):
        Counted.counts["flops"] += 1
        return Counted(abs(self.value))

    def __bool__(self):
        return bool(self.value)

    def sqrt(self):
        Counted.counts["flops"] += 1
        return Counted(math.sqrt(self.value))

    def log(self):
        Counted.counts["transcendentals"] += 1
        return Counted(math.log(self.value))

    def smaller(self, other):
        return self if self < other else other


def _numbers(x):
    out = np.empty(x.shape, object)
    for at in np.ndindex(*x.shape):
        out[at] = Counted(x[at])
    return out


def _matmul(node, a, b):
    for at in np.ndindex(*node):
        left = np.broadcast_to(a, (*node[:-2], *a.shape[-2:]))[at[:-1]]
        right = np.broadcast_to(b, (*node[:-2], *b.shape[-2:]))[(*at[:-2], ..., at[-1])]
        total = Counted(0)
        for x, y in zip(left, right):
            total = total + x * y


def _each(x):
    return [x[at] for at in np.ndindex(*x.shape[:-2])]


def _cholesky(node, x):
    for a in _each(x):
        for j in range(len(a)):
            a[j, j] = a[j, j].sqrt()
            for i in range(j + 1, len(a)):
                a[i, j] = a[i, j] / a[j, j]
            for i in range(j + 1, len(a)):
                for k in range(j + 1, i + 1):
                    a[i, k] = a[i, k] - a[i, j] * a[k, j]


def _lu(node, x):
    for a in _each(x):
        for j in range(len(a)):
            best = j
            for i in range(j + 1, len(a)):
                if Counted(abs(a[best, j].value)) < abs(a[i, j].value):
                    best = i
            a[[j, best]] = a[[best, j]]
            for i in range(j + 1, len(a)):
                a[i, j] = a[i, j] / a[j, j]
                for k in range(j + 1, len(a)):
                    a[i, k] = a[i, k] - a[i, j] * a[j, k]


def _triangular(unit):
    def run(node, t, b):
        b = np.broadcast_to(b, node).copy()
        t = np.broadcast_to(t, (*node[:-2], *t.shape[-2:]))
        for t_, b_ in zip(_each(t), _each(b)):
            for column in b_.T:
                for i in range(len(t_)):
                    for j in range(i):
                        column[i] = column[i] - t_[i, j] * column[j]
                    if not unit:
                        column[i] = column[i] / t_[i, i]

    return run


def _solve(positive):
    def run(node, a, factors, b):
        _triangular(not positive)(node, a, b)
        _triangular(False)(node, a, b)

    return run


def _det(node, a, factors):
    for m in _each(a):
        product = Counted(1)
        for d in np.diagonal(m):
            product = product * (d * Counted(1))


def _log_det(node, a, factors):
    for m in _each(a):
        total = Counted(0)
        for d in np.diagonal(m):
            total = total + Counted(abs(d).value + 1.0).log()


def _reduced(step):
    def run(node, x):
        total = Counted(1)
        for value in x.reshape(-1):
            total = step(total, value)

    return run


def _recurrence(node, a, b):
    carry = Counted(0)
    for x, y in zip(a.reshape(-1), b.reshape(-1)):
        carry = x * carry + y


def _scatter_added(node, base, updates, *indices):
    for u in updates.reshape(-1):
        u + u


ALGORITHMS = {
    "matmul": lambda n: _matmul,
    "cholesky": lambda n: _cholesky,
    "lu_factor": lambda n: _lu,
    "solve_triangular": lambda n: _triangular(n.params[2]),
    "solve": lambda n: _solve(n.params[1]),
    "det": lambda n: _det,
    "log_abs_det": lambda n: _log_det,
    "sum": lambda n: _reduced(Counted.__add__),
    "prod": lambda n: _reduced(Counted.__mul__),
    "max": lambda n: _reduced(Counted.smaller),
    "min": lambda n: _reduced(Counted.smaller),
    "any": lambda n: _reduced(Counted.__add__),
    "all": lambda n: _reduced(Counted.__mul__),
    "cumsum": lambda n: _reduced(Counted.__add__),
    "cumprod": lambda n: _reduced(Counted.__mul__),
    "linear_recurrence": lambda n: _recurrence,
    "scatter_add": lambda n: _scatter_added,
}
KERNEL_ONLY = {"argmax", "argmin"}
"""What is compared with the kernel it is compiled to, below."""


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_other_ops_count_what_plain_algorithms_do(sample):
    graph = sample.graph()
    (node,) = graph.outputs
    dims = bind_sizes(graph.inputs, sample.arrays)
    values = dict(zip(graph.inputs, sample.arrays))
    arrays = interpret(Graph(graph.inputs, node.args), values, dims)
    Counted.counts = Counter()
    algorithm = ALGORITHMS.get(node.op.name)
    shape = [sizes.evaluate(s, dims.__getitem__) for s in node.shape]
    if algorithm is not None:
        algorithm(node)(tuple(shape), *map(_numbers, arrays))
    found = node_cost(node)
    if node.op.name not in KERNEL_ONLY:
        assert evaluated(found.flops, dims) == Counted.counts["flops"]
        calls = evaluated(found.transcendentals, dims)
        assert calls == Counted.counts["transcendentals"]
    written = math.prod(shape) * node.dtype.itemsize
    assert evaluated(found.bytes_written, dims) == written


# --------------------------------------------------------------------- kernels


def check_kernels(inputs, outputs, arrays):
    """Run the kernels of a graph by the counting interpreter; return how many."""
    graph = run_passes(Graph(inputs, outputs))
    program = schedule(graph)
    dims = bind_sizes(inputs, arrays)
    nodes = program.graph.nodes
    given = dict(zip(program.graph.inputs, arrays))
    known = dict(zip(nodes, interpret(Graph(graph.inputs, nodes), given, dims)))
    own: dict[object, np.ndarray] = {}
    checked = 0
    costs = program_costs(program)
    for (_, call, chunks), cost in zip(_calls(program), costs):
        if not isinstance(call, KernelCall):
            out = call.memory[2]
            if out.node is None:  # it stays within a pipeline
                own[key_of(out)] = np.array(known[call.nodes[0]]).reshape(-1)
            continue
        buffers = []
        for buffer, memory in zip(call.kernel.buffers, call.memory):
            size = sizes.evaluate(memory.size, dims.__getitem__)
            if memory.node is None:
                array = own.setdefault(key_of(memory), np.zeros(size, memory.dtype))
            else:
                array = np.array(known[memory.node]).reshape(-1)
                if buffer.written:
                    array = np.zeros_like(array)
            # of an empty array one element may be loaded, to be discarded
            buffers.append(array if array.size else np.zeros(1, array.dtype))
        run = KernelInterpreter(call.kernel, buffers, dims)
        rows = sizes.evaluate(call.kernel.rows, dims.__getitem__)
        pieces = sizes.evaluate(chunks, dims.__getitem__)
        if rows < pieces:
            return checked  # a chunk without rows
        try:
            run.run(pieces)
        except EmptyLoop:
            return checked
        for buffer, memory, array in zip(call.kernel.buffers, call.memory, buffers):
            if buffer.written and memory.node is not None:
                want = np.asarray(known[memory.node]).reshape(-1)
                array = array[: want.size]
                rtol = 1e-4 if want.dtype == np.float32 else 1e-9
                np.testing.assert_allclose(array, want, rtol=rtol, atol=rtol)
        counts = {
            k: evaluated(v, dims)
            for k, v in kernel_cost(call.kernel, chunks).counts.items()
        }
        for kind in ("flops", "transcendentals", "loads", "stores"):
            assert counts[kind] == run.counts[kind], (kind, call.kernel.label)
        written = _touched(call, run.written, True)
        assert evaluated(cost.bytes_written, dims) >= written
        if all(b.size for b in arrays):
            read = _touched(call, run.read, False)
            assert evaluated(cost.bytes_read, dims) >= read
        checked += 1
    return checked


def _touched(call, places, written):
    found: dict[object, set] = {}
    itemsize = {}
    for buffer, memory in zip(call.kernel.buffers, call.memory):
        if buffer.written == written:
            key = key_of(memory)
            found.setdefault(key, set()).update(places.get(buffer.number, ()))
            itemsize[key] = buffer.dtype.itemsize
    return sum(len(s) * itemsize[k] for k, s in found.items())


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_kernels_of_ops_count_what_they_do(sample):
    graph = sample.graph()
    check_kernels(graph.inputs, graph.outputs, list(sample.arrays))


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_positions_of_extrema_count_as_their_kernels(name):
    for dtype in ("float64", "int32"):
        x = cg.tensor("x", (3, 4), dtype)
        y = getattr(cg, name)(x, axis=1)
        assert cg.compile([x], y).cost.total.flops == cg.cost(y).total.flops


@pytest.mark.parametrize("seed", range(25))
def test_kernels_of_random_graphs_count_what_they_do(seed):
    graph = random_graph(seed, seed % 2 == 0)
    check_kernels(graph.inputs, graph.outputs, list(graph.calls[0]))


def test_kernels_of_typical_programs_count_what_they_do():
    x, w = cg.matrix("x", ("n", "m")), cg.matrix("w", ("m", "k"))
    b = cg.vector("b", "k")
    p = cg.nn.softmax(x, axis=1)
    y = cg.tanh(p @ w + b).sum()
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s) for s in ((70, 9), (9, 5), (5,))]
    outputs = [y, *cg.grad(y, [x, w, b])]
    assert check_kernels([x, w, b], outputs, arrays) >= 4
    v = cg.vector("v", "n")  # a stencil: loops are split
    z = cg.pad(v[1:] * v[:-1], 1).sum() + cg.concatenate([v, v * 2]).sum()
    assert check_kernels([v], [z, cg.grad(z, v)], [rng.normal(size=40)])
    s = cg.tensor("s", ("n", 3, 3))  # short rows are run in blocks
    t = s - s.mean(axis=2, keepdims=True)
    t = t / cg.sqrt((t * t).sum(axis=2, keepdims=True) + 1)
    for size in (1, 64, 71):
        assert check_kernels([s], [t], [rng.normal(size=(size, 3, 3))])


def test_a_sum_without_closed_form_is_added_up():
    n = sizes.dim("n")
    i = sizes.Dim("i")
    total = sizes.of_atom(Sum(i, n, sizes.minimum(sizes.of_atom(i), 3)))
    assert evaluated(total * 2, {sizes.Dim("n"): 6}) == 2 * (0 + 1 + 2 + 3 + 3 + 3)


# ---------------------------------------------------------------- what is told


def test_fusion_saves_traffic_and_no_operations():
    x = cg.vector("x", "n")
    y = cg.exp(x) * x + 1
    plain, fused = cg.cost(y), cg.compile([x], y).cost
    n = x.shape[0]
    assert (plain.total.flops, plain.total.transcendentals) == (2 * n, n)
    assert (fused.total.flops, fused.total.transcendentals) == (2 * n, n)
    assert (fused.total.bytes_read, fused.total.bytes_written) == (8 * n, 8 * n)
    assert plain.total.bytes_written == 24 * n
    assert plain.peak == 16 * n
    assert fused.peak == 8 * n
    assert len(fused.kernels) == 1
    assert fused.total.intensity == "(3*n)/(16*n)"


def test_recomputation_counts():
    x = cg.vector("x", 1000)
    h = x
    for _ in range(6):
        h = cg.tanh(cg.cumsum(h))
    g = cg.grad(h.sum(), x)
    free = cg.compile([x], g)
    tight = cg.compile([x], g, memory_budget=free.memory - 8000)
    assert tight.memory < free.memory
    calls = [f.cost.total.transcendentals for f in (free, tight)]
    assert calls[1] > calls[0] >= 6000


def test_sizes_are_put_into_formulas():
    a, b = cg.matrix("a", ("n", "m")), cg.matrix("b", ("m", "k"))
    y = a @ b
    report = cg.cost(y, sizes={"n": 2, "m": 3, "k": 5})
    assert report.total.flops == 60
    assert report.total.bytes_read == 8 * (6 + 15)
    assert report.peak == 8 * 10
    f = cg.compile([a, b], y)
    assert cg.cost(f, sizes={"n": 2, "m": 3, "k": 5}).to_dict()["total"] == {
        **report.to_dict()["total"],
        "loads": None,
        "stores": None,
    }
    assert cg.cost(f).total.flops == 2 * a.shape[0] * a.shape[1] * b.shape[1]
    assert f.cost.peak == f.memory


def test_pipelines_and_factorizations_are_counted():
    x = cg.matrix("x", (256, 64))
    h = x
    for i in range(3):
        h = cg.tanh(h @ cg.constant(np.eye(64) + i))
    f = cg.compile([x], h)
    assert f.cost.total.flops == 3 * 2 * 256 * 64 * 64
    assert f.cost.total.transcendentals == 3 * 256 * 64
    a = cg.matrix("a", (4, 4))
    f = cg.compile([a], cg.linalg.cholesky(a))
    (routine,) = [k for k in f.cost.kernels if "cholesky" in k.name]
    assert routine.flops == 4 * 5 * 9 // 6


def test_containers_and_the_reference_backend():
    x = cg.vector("x", 3)
    both = cg.cost({"a": x + 1, "b": [x + 1, cg.sin(x)]})
    assert (both.total.flops, both.total.transcendentals) == (3, 3)
    f = cg.compile([x], [x + 1, cg.sin(x)], backend="reference")
    assert f.cost.kernels == [] and f.cost.total.flops == 3
    assert cg.cost(x).total.flops == 0
    assert math.isnan(cg.cost(x).total.intensity)
    assert cg.cost(cg.tensor("e", (0, 3)) + 1).total.bytes == 0


def test_every_op_has_counts_that_are_tested():
    """What computes nothing of its own, and what others stand for, is left out."""
    tested = {e.node.op.name for e in examples()}
    tested |= {sample.graph().outputs[0].op.name for sample in SAMPLES}
    leaves = {name for name, op in REGISTRY.items() if op.is_constant}
    assert set(REGISTRY) - tested <= leaves | {"input"}
    moves = {n for n, op in REGISTRY.items() if isinstance(op, Move)}
    # an op that does arithmetic is compared with an algorithm of its own
    counted = {s.graph().outputs[0].op.name for s in SAMPLES}
    for name in counted - set(ALGORITHMS) - KERNEL_ONLY - moves - leaves:
        for sample in SAMPLES:
            (node,) = sample.graph().outputs
            if node.op.name == name:
                assert node.op.flops(node) == node.op.transcendentals(node) == 0, name


def test_long_parts_of_formulas_have_numbers():
    x = cg.vector("x", "n")
    report = cg.compile([x], cg.nn.softmax(x)).cost
    text = str(report)
    assert "#1 = max(1, min(min(32, max(1, n)), n//32768))" in text
    assert max(map(len, text.splitlines())) < 200
    for shown in (text, report.to_markdown(), report._repr_html_()):
        assert "#1 = " in shown and "(level" not in shown
    numbers = report.at({sizes.Dim("n"): 10})
    assert "#" not in str(numbers)
    assert str(report.total.flops).startswith("(max(1")  # the formula itself stays


def test_sizes_may_be_numpys_integers():
    x = cg.vector("x", "n")
    total = cg.cost(x + 1, sizes={"n": np.int64(3)}).total
    assert total.flops == 3 and type(total.flops) is int


def test_deep_graphs():
    x = cg.scalar("x")
    y = x
    for _ in range(30_000):
        y = cg.sin(y) + x
    report = cg.cost(y)
    assert (report.total.flops, report.total.transcendentals) == (30_000, 30_000)
    assert report.peak == 16


def test_report_as_text_markdown_and_html():
    x = cg.vector("<b>|x", 3)
    report = cg.cost(x * 2)
    assert str(report).splitlines()[0] == "node by node; peak memory 24 bytes"
    assert "multiply: float64(3,)" in str(report)
    assert (
        report.to_markdown().splitlines()[-1].startswith("| total | 3 | 0 | 24 | 24 |")
    )
    assert "<b>" not in report._repr_html_()
    assert report._repr_html_().startswith("<table>")
    assert json.loads(json.dumps(report.to_dict()))["peak"] == 24
    formulas = cg.cost(cg.vector("v", "n") + 1).to_dict()
    assert json.loads(json.dumps(formulas))["total"]["flops"] == "n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"cost: sizes are missing: n\."),
        ({"n": 3, "m": 2}, r"no dimension is named 'm'; there are: 'n'\."),
        ({"n": -1}, r"the size of 'n' is -1, which is no integer of 0 or more\."),
        ({"n": 2.0}, r"the size of 'n' is 2\.0, which is no integer"),
        ([3], r"sizes must be a dictionary"),
    ],
)
def test_unusable_sizes(given, message):
    with pytest.raises(cg.InputError, match=message):
        cg.cost(cg.vector("x", "n") + 1, sizes=given)


def test_a_python_function_is_refused():
    with pytest.raises(cg.InputError, match=r"cost: .* is a Python function"):
        cg.cost(lambda x: x)


@pytest.mark.parametrize("rows", [70, "n"])
def test_rows_in_blocks_with_scratch_memory_have_counts(rows):
    x = cg.matrix("x", (rows, 5))
    p = cg.exp(x - x.max(axis=1, keepdims=True))
    y = cg.log(p.sum(axis=1)) * cg.sin(x).sum(axis=1)
    z = cg.tanh(y[:, None] * x / p.sum(axis=1, keepdims=True))
    arrays = [np.random.default_rng(0).normal(size=(70, 5))]
    assert check_kernels([x], [z, cg.grad(z.sum(), x)], arrays)
