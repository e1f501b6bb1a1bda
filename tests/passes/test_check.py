"""GRAPHC_CHECK finds passes and rules that are wrong, and names them."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphc as cg
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops import elementwise as el
from graphc.ops.leaf import new_input
from graphc.passes import simplify_arithmetic
from graphc.passes.check import sample_arrays
from graphc.passes.pipeline import run_passes
from graphc.passes.rewrite import RulePass, RuleSet
from graphc.types.errors import InternalError
from graphc.types.tensor_type import TensorType

x = cg.vector("x", "n")
y = cg.vector("y", "n")


def fails(run, graph: Graph, *words: str) -> None:
    with cg.config(check=True), pytest.raises(InternalError) as error:
        run_passes(graph, [run])
    for word in words:
        assert word in str(error.value)


def wrong_rules() -> RuleSet:
    rules = RuleSet(simplify_arithmetic.rules)

    @rules.on(el.sin)
    def sine_of_negative(node: Node) -> Node | None:
        """sin(-x) -> sin(x)."""
        (z,) = node.args
        return el.sin(z.args[0]) if z.op is ar.negative else None

    return rules


def test_a_wrong_rule_is_named_with_its_law_and_place():
    z = cg.sin(-(x * 1.0)) * 1.0 + y * 1.0
    run = RulePass("wrong", wrong_rules())
    fails(
        run,
        Graph([x, y], [y - 0.0, z]),
        "pass wrong",
        "output 1",
        "sine_of_negative (sin(-x) -> sin(x))",
        "test_check.py:",
    )


def test_a_right_pass_is_left_alone():
    z = cg.sin(-(x * 1.0)) * 1.0 + y * 1.0
    with cg.config(check=True):
        run_passes(Graph([x, y], [z]), [RulePass("right", simplify_arithmetic.rules)])


def test_a_pass_that_is_a_function_is_named():
    def swaps_operands(graph: Graph) -> Graph:
        return graph.rewritten(
            lambda n: (
                ar.subtract(n.args[1], n.args[0])
                if n.op is ar.subtract and n.args[0] is x
                else None
            )
        )

    fails(swaps_operands, Graph([x, y], [x - y]), "pass swaps_operands", "output 0")


def test_a_changed_type_is_found():
    def widens(graph: Graph) -> Graph:
        return Graph(graph.inputs, [ar.cast(o, "float32") for o in graph.outputs])

    fails(widens, Graph([x], [x + 1.0]), "pass widens", "types from float64(n,)")


def test_changed_inputs_are_found():
    fails(lambda g: Graph((y,), g.outputs), Graph([x], [x + 1.0]), "the inputs")


def test_a_foreign_input_is_found():
    foreign = new_input("foreign", TensorType(x.shape, x.dtype))

    def brings(graph: Graph) -> Graph:
        return Graph(graph.inputs, [graph.outputs[0] + foreign])

    fails(brings, Graph([x], [x + 1.0]), "input foreign")


def test_a_rule_that_changes_the_type_is_found_without_the_option():
    rules = RuleSet()

    @rules.on(ar.add)
    def narrows(node: Node) -> Node | None:
        """x + y -> cast(x)."""
        return ar.cast(node.args[0], "float32")

    with pytest.raises(InternalError, match="narrows"):
        run_passes(Graph([x], [x + 1.0]), [RulePass("p", rules)])


def test_the_default_pipeline_passes_its_own_check_where_values_are_nan():
    with cg.config(check=True):
        run_passes(Graph([x], [cg.log(-cg.square(x)) * 1.0]))


def test_check_is_off_by_default():
    run = RulePass("wrong", wrong_rules())
    run_passes(Graph([x], [cg.sin(-x)]), [run])


def test_sample_arrays_fulfil_what_sizes_are_taken_as_equal():
    u, v = cg.vector("u", "p"), cg.vector("v", "q")
    w = cg.matrix("w", ("r", "p"))
    k = cg.vector("k", 4)
    graph = Graph([u, v, w, k], [u + v, w[:, 0] + k])
    arrays = sample_arrays(graph)
    assert arrays is not None
    a, b, c, d = (z.shape for z in arrays)
    assert a == b and c == (4, a[0]) and d == (4,)


def test_sample_arrays_give_up_where_no_sizes_run():
    u = cg.matrix("u", ("p", "p"))
    graph = Graph([u], [cg.reshape(u, (7,)) * 1.0])  # 7 is no square
    assert sample_arrays(graph) is None
    with cg.config(check=True):
        run_passes(graph)


def test_integers_index_in_range():
    i = cg.vector("i", "n", dtype="int64")
    graph = Graph([x, i], [x[i]])
    arrays = sample_arrays(graph)
    assert arrays is not None
    np.testing.assert_array_equal(
        cg.evaluate(x[i], dict(zip((x, i), arrays))), arrays[0][arrays[1]]
    )


def test_messages_end_in_a_sentence():
    run = RulePass("wrong", wrong_rules())
    with cg.config(check=True), pytest.raises(InternalError) as error:
        run_passes(Graph([x], [cg.sin(-x)]), [run])
    assert re.search(r"The rule is .*\.$", str(error.value))


def test_the_default_passes_are_checked_in_compile():
    with cg.config(check=True):
        f = cg.compile([x], x * 1.0, backend="reference")
    np.testing.assert_array_equal(f([1.0, 2.0]), [1.0, 2.0])
