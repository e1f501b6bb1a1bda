"""Every rule fires in the default pipeline, and preserves the value."""

from __future__ import annotations

import numpy as np
import pytest
from support.rewrite_examples import (
    EXAMPLES,
    INPUTS,
    MODERATE,
    SPECIAL,
    Example,
    arrays,
)

import graphc as cg
from graphc.graph.graph import Graph
from graphc.passes.pipeline import PASSES, run_passes
from graphc.passes.rewrite import Rule, RulePass, recorded_rules

RULES: dict[str, Rule] = {
    rule.name: rule for run in PASSES if isinstance(run, RulePass) for rule in run.rules
}


def rewritten(rule: Rule, graph: Graph) -> tuple[Graph, set[str]]:
    with cg.config(change_rounding=rule.changes_rounding, check=True):
        with recorded_rules() as fired:
            after = run_passes(graph)
    return after, {r.name for r in fired}


def both(name: str, values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the value of an example before and after all passes."""
    graph = Graph(INPUTS, [EXAMPLES[name].build()])
    after, _ = rewritten(RULES[name], graph)
    given = arrays(values)
    return tuple(cg.evaluate(g.outputs[0], given) for g in (graph, after))  # type: ignore[return-value]


def test_every_rule_has_an_example():
    assert set(RULES) == set(EXAMPLES)


def test_names_of_rules_are_unique():
    names = [r.name for run in PASSES[1:] for r in run.rules]  # type: ignore[attr-defined]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_laws_say_what_becomes_what(rule: Rule):
    assert "->" in rule.law


@pytest.mark.parametrize("name", EXAMPLES)
def test_rule_fires_in_the_default_pipeline(name: str):
    graph = Graph(INPUTS, [EXAMPLES[name].build()])
    _, fired = rewritten(RULES[name], graph)
    assert name in fired


@pytest.mark.parametrize("name", [n for n in RULES if RULES[n].changes_rounding])
def test_rule_that_changes_rounding_is_off_by_default(name: str):
    with recorded_rules() as fired:
        run_passes(Graph(INPUTS, [EXAMPLES[name].build()]))
    assert name not in {r.name for r in fired}


def assert_same_bits(old: np.ndarray, new: np.ndarray, zero_sign: bool) -> None:
    np.testing.assert_array_equal(new, old)  # NaN equals NaN
    if old.dtype.kind == "f" and not zero_sign:
        number = ~np.isnan(old)
        np.testing.assert_array_equal(np.signbit(new[number]), np.signbit(old[number]))


@pytest.mark.parametrize("name", [n for n, e in EXAMPLES.items() if e.exact])
def test_exact_rule_keeps_every_bit(name: str):
    old, new = both(name, SPECIAL)
    assert_same_bits(old, new, RULES[name].changes_zero_sign)


@pytest.mark.parametrize("name", [n for n, e in EXAMPLES.items() if not e.exact])
def test_rule_keeps_the_value(name: str):
    np.testing.assert_allclose(*reversed(both(name, MODERATE)), rtol=1e-12)


@pytest.mark.parametrize("name", [n for n, e in EXAMPLES.items() if not e.exact])
def test_rule_keeps_finite_values_finite(name: str):
    old, new = both(name, SPECIAL)
    finite = np.isfinite(old)
    assert np.isfinite(new[finite]).all()
    largest = np.abs(old[finite]).max(initial=1)
    np.testing.assert_allclose(new[finite], old[finite], atol=1e-12 * largest)


@pytest.mark.parametrize("name", EXAMPLES)
def test_rule_keeps_the_value_of_nothing(name: str):
    example: Example = EXAMPLES[name]
    if example.empty:
        old, new = both(name, ())
        assert_same_bits(old, new, True)


def test_sum_of_no_repetitions_of_infinity_is_zero():
    x = cg.scalar("x")
    v = cg.vector("v", "n")
    total = cg.sum(cg.broadcast_to(x, v.shape))
    after = run_passes(Graph([x, v], [total]))
    assert cg.evaluate(after.outputs[0], {x: np.inf, v: np.zeros(0)}) == 0
    assert cg.evaluate(after.outputs[0], {x: np.inf, v: np.zeros(2)}) == np.inf
