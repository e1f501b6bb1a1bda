"""What is compiled, how often: equal kernels once, long programs as tables."""

from __future__ import annotations

import gc
import io
import re
import sys

import numpy as np
import pytest

import graphc as cg
from graphc.backends.cpu import cache, driver, jit
from graphc.graph.graph import Graph
from graphc.kernels.canonical import Canonical
from graphc.ops.arithmetic import add
from graphc.passes.pipeline import run_passes
from graphc.passes.rewrite import RulePass, RuleSet
from graphc.runtime import compiled as compile_module
from graphc.schedule import equal_groups
from graphc.schedule.estimate import most_leaves
from graphc.schedule.fusion import Fusion
from graphc.schedule.program import schedule
from graphc.types.errors import IndexOutOfRangeError
from tests.support.cpu import assert_close

_rng = np.random.default_rng(5)


def layers(count, width=5):
    """Return inputs and outputs of equal layers and their gradient."""
    x = cg.matrix("x", ("n", width))
    weights = [cg.matrix(f"w{i}", (width, width)) for i in range(count)]
    y = x
    for w in weights:
        y = cg.tanh(y @ w + 0.25)
    loss = (y * y).sum()
    return [x, *weights], [loss, *cg.grad(loss, weights)]


def names(f):
    return {k.name for k in f.kernels if k.name != "product"}


def test_sixty_four_equal_layers_have_the_kernels_of_a_few():
    few, many = cg.compile(*layers(6)), cg.compile(*layers(64))
    assert len(many.kernels) > 5 * len(few.kernels)
    assert names(many) == names(few)
    inputs, outputs = layers(64)
    arrays = [_rng.normal(size=(3, 5)), *_rng.normal(size=(64, 5, 5)) * 0.4]
    wanted = cg.evaluate(outputs, dict(zip(inputs, arrays)))
    for got, w in zip(many(*arrays), wanted):
        assert_close(got, w, "64 layers", rtol=1e-9)


def lowerings(monkeypatch, inputs, outputs):
    """Return how many groups are lowered to kernels when a function is compiled."""
    count = []
    lower = equal_groups.lower_group

    def counted(*args):
        count.append(args)
        return lower(*args)

    monkeypatch.setattr(equal_groups, "lower_group", counted)
    with cg.config(cache_dir="off"):
        cg.compile(inputs, outputs)
    monkeypatch.undo()
    return len(count)


def test_equal_groups_are_lowered_once(monkeypatch):
    few, many = (lowerings(monkeypatch, *layers(n)) for n in (6, 64))
    assert 0 < few == many


def test_groups_that_differ_in_a_number_only_are_lowered_apart():
    x = cg.matrix("x", ("n", 5))
    w = cg.matrix("w", (5, 5))
    y = x
    for number in (0.25, 0.5, -0.0, 0.0):
        y = cg.copysign(cg.tanh(y @ w), number)
    f = cg.compile([x, w], y)
    arrays = _rng.normal(size=(3, 5)), _rng.normal(size=(5, 5))
    wanted = cg.evaluate(y, dict(zip([x, w], arrays)))
    assert_close(f(*arrays), wanted, "numbers", rtol=1e-12)


def test_what_fusion_knows_of_a_node_does_not_grow_along_a_chain():
    x, w = cg.matrix("x", (8, 8)), cg.matrix("w", (8, 8))
    y = x
    for i in range(400):
        y = cg.tanh(y * 0.5 + x) if i % 4 else cg.tanh(y @ w + x) + y
    fusion = Fusion(cg.Graph([x, w], [y]))
    assert max(len(info.leaves) for info in fusion.info.values()) <= 2 * most_leaves()


def test_only_driver_and_entry_are_compiled_for_more_of_the_same():
    cg.compile(*layers(6))
    before = cache.counts["compiled"] + cache.counts["disk"]
    cg.compile(*layers(31))
    assert cache.counts["compiled"] + cache.counts["disk"] - before <= 2


def test_steps_that_read_other_parts_of_an_array_are_one_kernel():
    for size in (6, "m"):
        x = cg.matrix("x", (20, size))
        h = x[0]
        for t in range(1, 20):
            h = (cg.tanh(h + x[t]) * 0.5 + x[t, ::-1]).sum() + x[t]
        f = cg.compile([x], h)
        assert len(names(f)) <= 8 < len(f.kernels), size
        a = _rng.normal(size=(20, 6))
        b = a[0]
        for t in range(1, 20):
            b = (np.tanh(b + a[t]) * 0.5 + a[t, ::-1]).sum() + a[t]
        assert_close(f(a), b, "parts", rtol=1e-12)


def test_one_kernel_reports_which_of_its_indices_is_out_of_range():
    x, i, j = (
        cg.vector("x", "n"),
        cg.vector("i", "k", dtype="int64"),
        cg.vector("j", "l", dtype="int64"),
    )
    f = cg.compile([x, i, j], [x[i] * 2.0, x[j] * 2.0])
    assert len(names(f)) == 1 and len(f.kernels) == 2
    a, good, bad = np.arange(4.0), np.array([0, -1]), np.array([4, 1, 2])
    for got, wanted in zip(f(a, good, good), (a[good] * 2, a[good] * 2)):
        np.testing.assert_array_equal(got, wanted)
    lines = []
    for arguments in ((a, bad, good), (a, good, bad)):
        with pytest.raises(IndexOutOfRangeError) as caught:
            f(*arguments)
        lines.append(str(caught.value))
    assert lines[0] != lines[1]


@pytest.mark.parametrize("pair", [(0.0, -0.0), (1.0, 1), (np.nan, -np.nan), (2.0, 3.0)])
def test_other_constants_are_another_kernel(pair):
    keys = []
    for value in pair:
        x = cg.vector("x", 7)
        y = cg.where(x > 3.5, x, cg.constant(np.float64(value)))
        (step,) = schedule(Graph([x], [y])).steps
        keys.append(Canonical(step.kernel).key)
    same = np.float64(pair[0]).tobytes() == np.float64(pair[1]).tobytes()
    assert (keys[0] == keys[1]) == same


@pytest.mark.parametrize("longest", [0, 10**9])
def test_a_table_of_steps_does_what_straight_code_does(monkeypatch, longest):
    monkeypatch.setattr(driver, "LONGEST_CODE", longest)
    x = cg.matrix("x", ("n", "m"))
    w = cg.tensor("w", ("b", "m", 3))
    i = cg.vector("i", "k", dtype="int64")
    y = x
    for _ in range(5):
        y = y - y.mean(axis=1, keepdims=True) + y.max(axis=0) * 0.5
    outputs = [(y @ w)[:, i], y.T @ y, y.sum(), x]
    f = cg.compile([x, w, i], outputs)
    text = f._executable.driver.text
    assert ("@table" in text) == (longest == 0)
    for n, m, b, k in ((4, 3, 2, 2), (1, 1, 1, 1), (300, 70, 2, 5), (0, 3, 2, 0)):
        if n == 0:
            continue
        values = [
            _rng.normal(size=(n, m)),
            _rng.normal(size=(b, m, 3)),
            _rng.integers(-n, n, k),
        ]
        wanted = cg.evaluate(outputs, dict(zip((x, w, i), values)))
        for got, expected in zip(f(*values), wanted):
            assert_close(got, expected, f"{n, m, b, k}", rtol=1e-9)
    with pytest.raises(IndexOutOfRangeError):
        f(np.ones((4, 3)), np.ones((2, 3, 3)), np.array([4]))


def test_a_long_program_is_little_code(monkeypatch):
    long = cg.compile(*layers(120))
    assert len(long.kernels) > 6 * driver.LONGEST_CODE
    lines = long._executable.driver.text.count("\n")
    monkeypatch.setattr(driver, "LONGEST_CODE", 10**9)
    straight = cg.compile(*layers(120))._executable.driver.text.count("\n")
    assert lines < straight / 10


def test_a_long_scalar_expression_with_its_gradient():
    a, b = cg.scalar("a"), cg.scalar("b")
    t = a
    for _ in range(500):
        t = cg.sin(t * b) + cg.exp(-(cg.cos(t) * a + 1))
    outputs = [t, *cg.grad(t, [a, b])]
    f = cg.compile([a, b], outputs)
    kernels = f._executable.kernel_texts().values()
    assert not any(
        re.search(r"graphc\.(sin|cos|exp)\.\w+\(.*alwaysinline", t) for t in kernels
    )
    assert max(_longest_block(text) for text in kernels) < 450
    wanted = cg.evaluate(outputs, {a: 0.3, b: 0.4})
    for got, w in zip(f(0.3, 0.4), wanted):
        np.testing.assert_allclose(got, w, rtol=1e-11)


def _longest_block(text):
    longest = length = 0
    for line in text.split("declare")[0].split("\n"):
        length = 0 if line.endswith(":") else length + 1
        longest = max(longest, length)
    return longest


def test_the_same_function_called_and_inlined_gives_the_same_bits():
    x = cg.scalar("x")
    v = cg.vector("v", "n")
    values = _rng.normal(size=40) * 3

    def outputs(z):
        return cg.sin(z) * cg.exp(-z) + cg.tanh(z) / (1 + z * z) - cg.erf(z)

    alone, together = cg.compile([x], outputs(x)), cg.compile([v], outputs(v))
    np.testing.assert_array_equal(
        np.array([alone(float(a)) for a in values]), together(values)
    )


def test_a_rule_looks_at_a_node_once():
    rules, seen = RuleSet(), []

    @rules.on(add)
    def look(node):
        """x + y -> x + y."""
        seen.append(node)

    x = cg.vector("x", 3)
    y = x
    for i in range(10):
        y = y + float(i) * x
    one, other = RulePass("one", rules), RulePass("other", ())
    run_passes(Graph([x], [y]), (one, other, one))
    assert len(seen) == len(set(seen)) == 10


@pytest.mark.parametrize("enabled", [True, False])
def test_the_cycle_collector_is_as_it_was(monkeypatch, enabled):
    monkeypatch.setattr(compile_module, "LARGE", 0)
    states = []
    monkeypatch.setattr(
        compile_module, "_simplified", lambda g: states.append(gc.isenabled()) or 1 / 0
    )
    x = cg.vector("x", 3)
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError):
            cg.compile([x], x + 1)
        assert gc.isenabled() == enabled and states == [False]
    finally:
        (gc.enable if was else gc.disable)()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_is_told_of_long_compilations(monkeypatch, terminal):
    class Stream(io.StringIO):
        def isatty(self):
            return terminal

    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(compile_module, "PATIENCE", 0.0)
    x = cg.vector("x", 3)
    y = x
    for i in range(600):
        y = cg.sin(y) * 0.5 + float(i)
    with cg.config(cache_dir="off"):
        cg.compile([x], y)
    assert stream.getvalue().count("graphc: compiling a graph of") == terminal


def test_code_that_runs_once_is_not_optimized():
    text = "define i64 @f(i64 %x) {\n %y = add i64 %x, 0\n ret i64 %y\n}\n"
    assert "= add" in str(jit.optimized(text, "once"))
    assert "= add" not in str(jit.optimized(text, "loops"))


def recurrence(steps, read):
    """Return inputs and outputs of an unrolled loop that reads by `read(x, i, t)`."""
    x, w = cg.matrix("x", (steps + 3, 4)), cg.matrix("w", (4, 4))
    i = cg.tensor("i", (steps + 3,), dtype=np.int64)
    h = cg.zeros((4,))
    outs = []
    for t in range(1, steps):
        h = cg.tanh(read(x, i, t) + h) @ w
        outs.append(h)
    return [x, w, i], [h, cg.grad(cg.sum(cg.stack(outs) ** 2), x)]


READS = {
    "a row": lambda x, i, t: x[t],
    "a row of what is computed": lambda x, i, t: (cg.exp(x) * x)[t],
    "two rows": lambda x, i, t: x[t] * x[t + 1],
    "a row and the first": lambda x, i, t: x[t] * x[0],
    "a row and the sum": lambda x, i, t: x[t] * cg.sum(x),
    "a row and a column": lambda x, i, t: x[t] + x[:4, t % 4],
    "a row of a product": lambda x, i, t: (x * x[:, :1])[t],
    "rows of rows": lambda x, i, t: x[1:][t] + x[t:][1],
    "several rows": lambda x, i, t: cg.sum(x[t : t + 2], 0),
    "every other, reversed": lambda x, i, t: cg.sum(x[t + 3 : t : -2], 0),
    "elements": lambda x, i, t: x[t, 1] * x[t, 2:3],
    "beside numbers of rows": lambda x, i, t: (x + cg.arange(x.shape[0])[:, None])[t],
    "of a padding": lambda x, i, t: cg.pad(x, ((1, 1), (0, 0)))[t],
    "of a reversal": lambda x, i, t: x[::-1][t],
    "of a transpose": lambda x, i, t: cg.exp(x.T)[:, t],
    "of a reshape": lambda x, i, t: cg.reshape(x, (-1, 2, 2))[t, 1, 0] + x[t],
    "at an index": lambda x, i, t: x[i[t]],
    "of a gather": lambda x, i, t: cg.exp(x[i])[t],
    "of two gathers": lambda x, i, t: x[i][t] + cg.sin(x)[i][t],
}


def compiled_names(inputs, outputs):
    with cg.config(cache_dir="off"):
        f = cg.compile(inputs, outputs)
    return f, [k.name for k in f.kernels]


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_where_slices_begin_may_be_told_afterwards(monkeypatch, read):
    inputs, outputs = recurrence(7, read)
    arrays = [_rng.normal(size=(10, 4)), _rng.normal(size=(4, 4)) * 0.4]
    arrays.append(_rng.integers(-10, 10, 10))
    f, told = compiled_names(inputs, outputs)
    wanted = cg.evaluate(outputs, dict(zip(inputs, arrays)))
    for got, w in zip(f(*arrays), wanted):
        assert_close(got, w, "recurrence", rtol=1e-9)
    each_apart = lambda self, group: (None, {}, ())  # noqa: E731
    monkeypatch.setattr(equal_groups.GroupLowerer, "_form", each_apart)
    apart, written = compiled_names(inputs, outputs)
    assert told == written
    for got, w in zip(apart(*arrays), f(*arrays)):
        np.testing.assert_array_equal(got, w)


@pytest.mark.parametrize(
    "kind", ["a row", "a row of what is computed", "two rows", "of a gather"]
)
def test_steps_of_a_loop_are_lowered_once(monkeypatch, kind):
    def loop(steps):
        x, w, i = recurrence(steps, READS[kind])[0]
        h = cg.zeros((4,))
        for t in range(1, steps):
            h = cg.tanh(READS[kind](x, i, t) + h) @ w
        return [x, w, i], h

    few, many = (lowerings(monkeypatch, *loop(n)) for n in (6, 30))
    assert 0 < few == many


def test_the_step_whose_index_is_out_of_range_is_named():
    x, w = cg.matrix("x", (5, 4)), cg.matrix("w", (4, 4))
    numbers = [cg.tensor(f"i{t}", (6,), dtype=np.int64) for t in range(5)]
    h = cg.zeros((4,))
    for t, i in enumerate(numbers):
        rows = cg.named(x[i], f"step{t}")
        h = cg.tanh(cg.exp(rows)[t + 1] + h) @ w
    f = cg.compile([x, w, *numbers], h)
    good = [np.ones(6, np.int64) for _ in numbers]
    f(np.ones((5, 4)), np.ones((4, 4)), *good)
    for t in range(5):
        wrong = [i.copy() for i in good]
        wrong[t][t + 1] = 5
        with pytest.raises(IndexOutOfRangeError, match=f"step{t}"):
            f(np.ones((5, 4)), np.ones((4, 4)), *wrong)
