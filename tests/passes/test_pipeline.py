"""The pipeline: order, fixed point, what carries over, what GRAPHC_DEBUG prints."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import graphc as cg
from graphc.expressions import nn
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops import index, leaf
from graphc.passes.pipeline import PASSES, run_passes
from graphc.passes.rewrite import pass_name
from graphc.types.errors import InternalError

x = cg.vector("x", "n")
y = cg.vector("y", "n")


def ops_of(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes if n.args]


def simplified(*outputs: Node) -> Graph:
    inputs = [n for n in Graph((), outputs).nodes if n.op is leaf.input_]
    with cg.config(check=True):
        return run_passes(Graph(inputs, outputs))


def perceptron() -> Graph:
    rows = cg.matrix("rows", ("b", 6))
    labels = cg.vector("labels", "b", dtype="int64")
    weights = [cg.matrix("v", (6, 5)), cg.matrix("w", (5, 4))]
    biases = [cg.vector("p", 5), cg.vector("q", 4)]
    hidden = cg.relu(rows @ weights[0] + biases[0])
    logits = hidden @ weights[1] + biases[1]
    loss = cg.mean(nn.softmax_cross_entropy(logits, labels))
    wrt = [*weights, *biases]
    return Graph([rows, labels, *wrt], [loss, *cg.grad(loss, wrt)])


def test_passes_are_functions_of_a_graph_with_names():
    assert [pass_name(p) for p in PASSES] == ["fold", "stabilize", "simplify"]
    graph = Graph([x], [x * 1.0])
    for run in PASSES:
        assert isinstance(run(graph), Graph)


def test_gradient_of_a_perceptron_shrinks_and_keeps_its_value():
    graph = perceptron()
    with cg.config(check=True):
        after = run_passes(graph)
    assert len(after) < 0.9 * len(graph)
    assert [o.type for o in after.outputs] == [o.type for o in graph.outputs]
    assert "stop_gradient" not in ops_of(after)
    assert "broadcast_to" not in ops_of(after)


def test_the_result_is_a_fixed_point():
    after = run_passes(perceptron())
    again = run_passes(after)
    assert all(a is b for a, b in zip(after.outputs, again.outputs))
    assert all(p(after) is after for p in PASSES)


def test_passes_feed_each_other():
    # stabilize: log1p(exp(z)); simplify: --z; stabilize: softplus
    assert ops_of(simplified(cg.log(1 + cg.exp(-(-x))))) == ["softplus"]
    # simplify turns 1 * exp(x) into exp(x), and then log(exp(x)) is x
    assert ops_of(simplified(cg.log(1.0 * cg.exp(x)))) == []


def test_broadcasts_of_gradients_vanish():
    after = simplified(cg.grad(cg.sum(x * x), x))
    assert ops_of(after) == ["multiply"]


def test_full_arrays_are_not_materialized():
    big = cg.ones((1_000_000, 1_000)) * 3.0 + 1.0
    (out,) = run_passes(Graph([], [big[5:7]])).outputs
    assert leaf.uniform_value(out) == 4.0
    assert out.op is leaf.full_


def test_large_results_are_not_folded():
    column = cg.constant(np.arange(1000.0)).reshape((1000, 1))
    after = run_passes(Graph([], [column * cg.constant(np.arange(1000.0))]))
    assert "multiply" in ops_of(after)


def test_failing_constants_are_left_to_fail_when_they_run():
    bad = index.gather(cg.constant(np.arange(3.0)), [cg.constant(np.array([7]))])
    assert "gather" in ops_of(run_passes(Graph([], [bad])))


def test_names_and_origins_carry_over():
    z = (x + y) * 1.0
    z.name = "z"
    (out,) = simplified(z - 0.0).outputs
    assert out.name == "z"
    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
    shifted = 5.0 + x
    (out,) = simplified(shifted).outputs
    assert out is not shifted
    assert out.origin == (__file__, line)


def test_inputs_stay_even_if_unused():
    graph = run_passes(Graph([x, y], [x * 1.0]))
    assert graph.inputs == (x, y) or all(a is b for a, b in zip(graph.inputs, (x, y)))
    assert graph.outputs[0] is x


def test_sizes_taken_as_equal_keep_their_formulas():
    other = cg.vector("other", "m")
    total = x * cg.broadcast_to(cg.constant(1.0), other.shape)
    (out,) = simplified(total).outputs
    assert out.type == total.type


@pytest.mark.parametrize(
    "build",
    [
        lambda v: cg.sin(v) * 1.5,
        lambda v: -(v + 1.0),
        lambda v: (v * 1.0) + 0.0,
    ],
)
def test_long_chains(build):
    z = x
    for _ in range(5_000):
        z = build(z)
    after = run_passes(Graph([x], [z]))
    assert len(after) <= len(Graph([x], [z]))


def test_debug_prints_times_and_counts(capsys):
    with cg.config(debug=1):
        run_passes(Graph([x], [x * 1.0]))
    text = capsys.readouterr().err
    assert "graphc: simplify" in text
    assert "3 ->      1 nodes" in text
    assert "return" not in text


def test_debug_two_prints_graphs_that_changed(capsys):
    with cg.config(debug=2):
        run_passes(Graph([x], [-(-(x + y)) * 1.0]))
    text = capsys.readouterr().err
    assert text.count("return") == 1
    assert "= add(x, y)" in text


def test_rewriting_that_goes_in_circles_is_an_internal_error():
    def swap(node: Node) -> Node | None:
        return ar.add(*node.args[::-1]) if node.op is ar.add else None

    with pytest.raises(InternalError, match="does not end"):
        Graph([x, y], [x + y]).rewritten(swap)


def test_rewriting_that_wraps_for_ever_is_an_internal_error():
    def wrap(node: Node) -> Node | None:
        return ar.negative(node) if node.op is ar.add else None

    with pytest.raises(InternalError, match="does not end"):
        Graph([x, y], [x + y]).rewritten(wrap)


def test_rewriting_that_grows_for_ever_is_an_internal_error():
    count = iter(range(10**9))

    def grow(node: Node) -> Node | None:
        if node.op is not ar.add:
            return None
        return ar.add(node.args[0], cg.constant(float(next(count))))

    with pytest.raises(InternalError, match="does not end"):
        Graph([x], [x + 1.5]).rewritten(grow)


def test_substituted_replaces_and_leaves_the_rest():
    inner = cg.exp(x)
    graph = Graph([x], [cg.sin(inner) + y])
    after = graph.substituted({inner: y})
    assert after.outputs[0] is cg.sin(y) + y
