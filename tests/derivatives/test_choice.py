"""mode="auto": what it weighs, what it takes, and that the answer is the same."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import graphc as cg
from graphc.derivatives import choice
from graphc.derivatives.chain import Chain, cut_points
from graphc.derivatives.choice import count, operations

_rng = np.random.default_rng(7)


def bottleneck(wide=60, narrow=2, high=50):
    """A function of `wide` numbers to `high` through `narrow`."""
    x = cg.vector("x", wide)
    a, b = cg.matrix("a", (narrow, wide)), cg.matrix("b", (high, narrow))
    y = cg.tanh(b @ cg.sin(a @ cg.exp(x * 0.1)))
    arrays = [_rng.normal(size=s) for s in ((wide,), (narrow, wide), (high, narrow))]
    return y, x, dict(zip((x, a, b), arrays))


def agree(result, wanted, values):
    got, expected = (cg.evaluate(r, values) for r in (result, wanted))
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-13)
    f = cg.compile(list(values), result)
    np.testing.assert_allclose(f(*values.values()), expected, rtol=1e-11, atol=1e-13)


def test_fewer_results_are_reverse_and_fewer_arguments_forward():
    x, w = cg.vector("x", 30), cg.matrix("w", (4, 30))
    assert cg.explain(cg.jacobian(cg.tanh(w @ x), x)).mode == "reverse"
    z, v = cg.vector("z", 4), cg.matrix("v", (30, 4))
    assert cg.explain(cg.jacobian(cg.tanh(v @ z), z)).mode == "forward"


def test_symbolic_sizes_count_as_nominal_ones():
    x, w = cg.vector("x", "n"), cg.matrix("w", (4, "n"))
    chosen = cg.explain(cg.jacobian(cg.tanh(w @ x), x))
    assert chosen.mode == "reverse" and chosen.costs["reverse"].sweeps == 4
    assert chosen.costs["forward"].sweeps == choice.NOMINAL_SIZE


def test_operations_count_and_not_sizes_alone():
    # by sizes reverse mode has fewer sweeps; but most of them are the dear ones
    a, b, m = cg.vector("a", 2), cg.vector("b", 100), cg.matrix("m", (50, 50))
    dear = cg.matrix("w", (50, 2)) @ a
    for _ in range(5):
        dear = cg.tanh(m @ dear)
    chosen = cg.explain(cg.jacobian([dear, b[:50] * 2.0], [a, b]))
    assert chosen.mode == "forward"
    assert chosen.costs["forward"].sweeps > chosen.costs["reverse"].sweeps
    assert chosen.costs["forward"].operations * 10 < chosen.costs["reverse"].operations


def test_a_narrow_place_is_taken_apart():
    y, x, values = bottleneck()
    result = cg.jacobian(y, x)
    chosen = cg.explain(result)
    assert chosen.mode == "mixed" and chosen.costs["mixed"].sweeps == 4
    assert chosen.costs["mixed"].operations * 4 < chosen.costs["forward"].operations
    assert "forward(" in chosen.costs["mixed"].note
    agree(result, cg.jacobian(y, x, mode="forward"), values)
    agree(result, cg.jacobian(y, x, mode="reverse"), values)


@pytest.mark.parametrize("kind", ["product", "push", "pull"])
def test_every_step_of_a_chain(kind):
    y, x, values = bottleneck(8, 3, 7)
    nodes = cut_points(y, x, count)
    chain = Chain(nodes, count, operations)
    narrow = min(range(len(nodes)), key=lambda i: chain.sizes[i])
    last = len(nodes) - 1
    for pair, step in chain.steps.items():
        if pair == (0, last):
            chain.steps[pair] = step._replace(kind=kind, at=narrow)
        else:
            chain.steps[pair] = step._replace(kind="forward")
    assert kind != "push" or "of forward(" in chain.text()
    assert kind != "pull" or chain.text().startswith("reverse(")
    result = chain.jacobian(lambda y, x, mode: cg.jacobian(y, x, mode=mode))
    agree(result, cg.jacobian(y, x, mode="forward"), values)


def test_the_order_of_a_chain_is_the_cheapest():
    # against all orders of a chain of matrices, by the textbook's recursion
    sizes = [40, 3, 30, 2, 25, 4]
    x = cg.vector("x", sizes[0])
    y = x
    for i, (rows, columns) in enumerate(zip(sizes[1:], sizes)):
        y = cg.matrix(f"m{i}", (rows, columns)) @ y
    chain = Chain(cut_points(y, x, count), count, operations)
    assert set(sizes) <= set(chain.sizes)
    best: dict[tuple[int, int], float] = {}
    n, last = chain.sizes, len(chain.sizes) - 1
    for length in range(1, last + 1):
        for i in range(last - length + 1):
            j = i + length
            parts = chain.parts[i:j]
            ways = [
                n[i] * sum(p.tangent for p in parts),
                n[j] * sum(p.cotangent for p in parts),
            ]
            for k in range(i + 1, j):
                ways.append(best[i, k] + best[k, j] + n[i] * n[k] * n[j])
                ways.append(
                    best[i, k] + n[i] * sum(p.tangent for p in chain.parts[k:j])
                )
                ways.append(
                    best[k, j] + n[j] * sum(p.cotangent for p in chain.parts[i:k])
                )
            best[i, j] = min(ways)
    assert chain.best.cost == best[0, last]


def test_cut_points_are_where_all_paths_meet():
    x = cg.vector("x", 6)
    s = cg.sin(x)
    joined = cg.cos(s) + s
    y = cg.exp(joined[:2]) * 2.0
    cuts = cut_points(y, x, count)
    assert cuts[0] is x and cuts[-1] is y
    inner = set(cuts[1:-1])
    assert {s, joined} <= inner and not any(n.op.name == "cos" for n in inner)
    assert cut_points(y + x[:2], x, count)[1:-1] == []


def test_functions_with_poles_are_not_cut():
    x = cg.vector("x", 40)
    y = cg.sqrt((x * x).sum()) * cg.ones(30)
    assert len(cut_points(y, x, count)) == 2
    result = cg.jacobian(y, x)
    assert cg.explain(result).mode != "mixed"
    masked = cg.jacobian(cg.where(x.sum() > 0, y.sum(), 0.0) * cg.ones(20), x)
    assert np.all(cg.evaluate(masked, {x: np.zeros(40)}) == 0)


def test_long_chains_are_cut_at_few_places():
    x = cg.vector("x", 5)
    y = x
    for _ in range(300):
        y = cg.sin(y)
    cuts = cut_points(y, x, count)
    assert len(cuts) <= 26 and cuts[0] is x and cuts[-1] is y


def test_large_structured_derivatives_are_sparse():
    n = 1200
    x = cg.vector("x", n)
    y = cg.sin(x[1:]) * x[:-1]
    result = cg.jacobian(y, x)
    assert isinstance(result, cg.SparseMatrix)
    chosen = cg.explain(result)
    assert chosen.mode == "sparse" and chosen.costs["sparse"].sweeps <= 2
    a = _rng.normal(size=n)
    wanted = cg.evaluate(cg.jacobian(y, x, mode="forward"), {x: a})
    np.testing.assert_allclose(cg.evaluate(result, {x: a}).toarray(), wanted)
    energy = (cg.cos(x[1:] - x[:-1])).sum()
    second = cg.hessian(energy, x)
    assert isinstance(second, cg.SparseMatrix)
    assert cg.explain(second).mode == "sparse"


def test_small_or_dense_derivatives_are_arrays(monkeypatch):
    x = cg.vector("x", 300)
    result = cg.jacobian(cg.sin(x), x)
    assert result.shape == (300, 300)
    assert "few" in cg.explain(result).reasons["sparse"]
    monkeypatch.setattr(choice, "SPARSE_FROM", 1)
    dense = cg.jacobian(cg.sin(x) * x.sum(), x)
    assert "1 in 64" in cg.explain(dense).reasons["sparse"]
    w = cg.matrix("w", (300, 300))
    assert "1 in 64" in cg.explain(cg.jacobian(cg.tanh(w @ x), x)).reasons["sparse"]
    n = cg.vector("n", "n")
    assert "symbolic" in cg.explain(cg.jacobian(cg.sin(n), n)).reasons["sparse"]


def test_sympy_is_taken_where_it_saves_operations():
    a = cg.scalar("a")
    y = cg.log(cg.exp(a * a) * cg.exp(a * a) * cg.exp(a))
    result = cg.jacobian([y], [a])
    chosen = cg.explain(result)
    assert "symbolic" in chosen.costs or "symbolic" in chosen.reasons
    value = cg.evaluate(result, {a: 0.3})[0][0]
    np.testing.assert_allclose(value, 4 * 0.3 + 1, rtol=1e-12)


@pytest.mark.parametrize("gain", [0.0, 1e9])
def test_sympy_or_not_the_answer_is_the_same(monkeypatch, gain):
    monkeypatch.setattr(choice, "SYMBOLIC_GAIN", gain)
    a, b = cg.scalar("a"), cg.scalar("b")
    ys = [cg.sin(a * b) + a, cg.exp(-a * a) * b]
    result = cg.jacobian(ys, [a, b])
    assert cg.explain(result).mode == ("reverse" if gain else "symbolic")
    at = {a: 0.3, b: -1.2}
    for got, wanted in zip(
        cg.evaluate(result, at), cg.evaluate(cg.jacobian(ys, [a, b], "reverse"), at)
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-13)
    second = cg.hessian(ys[0], [a, b])
    assert cg.explain(second).mode == ("forward" if gain else "symbolic")


def test_a_function_explains_the_derivatives_in_it():
    y, x, values = bottleneck()
    f = cg.compile(list(values), (cg.jacobian(y, x) * 2).sum())
    (found,) = f.explain().derivatives
    assert found.mode == "mixed"
    text = str(f.explain())
    for word in ("mixed", "forward", "reverse", "sparse", "sweeps", "operations"):
        assert word in text
    reference = cg.compile(list(values), cg.jacobian(y, x), backend="reference")
    assert reference.explain().derivatives


def test_what_was_not_chosen_is_not_explained():
    x = cg.vector("x", 3)
    for other in (x, cg.jacobian(cg.sin(x), x, mode="forward") + 1):
        with pytest.raises(cg.InputError, match=r"no derivative.*auto"):
            cg.explain(other)


def test_choices_are_forgotten_with_their_expressions():
    x = cg.vector("x", 3)
    before = len(choice._CHOICES)
    result = cg.jacobian(cg.sin(x), x)
    assert len(choice._CHOICES) > before
    del result
    gc.collect()
    assert len(choice._CHOICES) <= before


def test_empty_and_one():
    for n in (0, 1):
        x = cg.vector("x", n)
        result = cg.jacobian(cg.sin(x), x)
        assert cg.evaluate(result, {x: np.ones(n)}).shape == (n, n)
        assert cg.explain(result).mode in ("forward", "reverse")
    assert cg.jacobian([], [cg.scalar("a")], disconnected="zero") == []
