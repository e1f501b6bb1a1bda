"""What the HTML viewer is given: values, gradients, stages, kernels, costs."""

import itertools
import json
import re

import numpy as np
import pytest

import graphc as cg
from graphc.passes.pipeline import run_passes
from graphc.surfaces.draw import propagation
from graphc.surfaces.draw.html import embedded
from graphc.surfaces.draw.numbers import full_text, summary
from graphc.surfaces.draw.propagation import propagate


def model():
    x, w = cg.matrix("x", ("n", 4)), cg.matrix("w", (4, 3))
    h = cg.maximum(x @ w, 0)
    loss = cg.mean((h * h - x[:, :1]) ** 2)
    return loss, x, w


def test_values_and_gradients_are_those_of_the_program():
    loss, x, w = model()
    rng = np.random.default_rng(0)
    at = {x: rng.normal(size=(5, 4)), w: rng.normal(size=(4, 3))}
    flow = propagate(cg.draw(loss).graph, at)
    for node, value in flow.values.items():
        np.testing.assert_allclose(value, cg.evaluate(node, at))
    assert flow.root is loss
    step = 1e-6
    for node in (x, w):
        slopes = np.zeros_like(at[node])
        for place in np.ndindex(slopes.shape):
            ends = []
            for sign in (1, -1):
                moved = at[node].copy()
                moved[place] += sign * step
                ends.append(cg.evaluate(loss, {**at, node: moved}))
            slopes[place] = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(flow.gradients[node], slopes, atol=1e-7)


def test_shares_of_the_edges_add_up_to_the_gradient():
    loss, x, _ = model()
    rng = np.random.default_rng(1)
    flow = propagate(
        cg.draw(loss).graph,
        {"x": rng.normal(size=(5, 4)), "w": rng.normal(size=(4, 3))},
    )
    total = {}
    for (node, place), share in flow.shares.items():
        arg = node.args[place]
        total[arg] = total.get(arg, 0) + share
    assert x in total and sum(a is x for n, p in flow.shares for a in [n.args[p]]) == 2
    for node, gradient in flow.gradients.items():
        if node is not loss:
            np.testing.assert_allclose(total[node], gradient)


def test_no_gradients_without_a_scalar():
    x = cg.vector("x", 3)
    flow = propagate(cg.draw(x * 2).graph, {x: np.arange(3.0)})
    assert flow.root is None and not flow.gradients and not flow.shares
    whole = cg.scalar("k", dtype="int64")
    assert propagate(cg.draw(whole * 2).graph, {whole: 3}).root is None
    blocked = cg.sum(cg.stop_gradient(x) * 2)
    flow = propagate(cg.draw(blocked).graph, {x: np.arange(3.0)})
    np.testing.assert_array_equal(flow.gradients[x], np.zeros(3))


def test_at_errors():
    x, y = cg.vector("x", "n"), cg.scalar("y")
    z = cg.sum(x) + y
    for at, message in (
        ({x: [1.0]}, r"no value for the input y: float64\(\) made at test_content"),
        ({x: [1.0], y: 1.0, "q": 1.0}, "at= has 'q', no one input of x, y"),
        ({x: [1.0], y: 1.0, cg.scalar("t"): 1.0}, r"at= has t: float64\(\)"),
        ([1.0, 2.0], "at= is a list of arguments, and what is drawn is no compiled"),
        (3.0, "must be a dictionary"),
    ):
        with pytest.raises(cg.DrawError, match=message):
            cg.draw(z, at=at)
    with pytest.raises(cg.GraphcError):
        cg.draw(z, at={x: [[1.0]], y: 1.0})
    twice = cg.scalar("y")
    with pytest.raises(cg.DrawError, match="no one input"):
        cg.draw(y + twice, at={"y": 1.0})


def test_at_of_too_many_nodes(monkeypatch):
    monkeypatch.setattr(propagation, "MAX_NODES", 3)
    x = cg.scalar("x")
    with pytest.raises(cg.DrawError, match=r"5 are too many to look at, 3 is the most"):
        cg.draw(cg.sin(cg.sin(cg.sin(cg.sin(x)))), at={x: 1.0})


@pytest.mark.parametrize(
    "array, text",
    [
        (np.float64(0.19661), "0.197"),
        (np.array([1.0, 2.5]), "[1, 2.5]"),
        (np.arange(12.0).reshape(3, 4), "0 .. 11"),
        (np.full((2, 2), 7), "all 7"),
        (np.zeros((0, 3)), "[]"),
        (np.array([[True, False, True]]), "2 of 3 true"),
        (np.array(True), "True"),
        (np.full(5, np.nan), "all nan"),
        (np.array([np.inf, 1.0, 2.0, 3.0, 4.0]), "1 .. inf"),
        (np.array([np.nan, 1.0, 2.0, 3.0, 4.0]), "1 .. 4, 1 nan"),
    ],
)
def test_summary(array, text):
    assert summary(np.asarray(array)) == text
    assert full_text(np.asarray(array))


def test_stages_are_what_the_passes_make():
    x = cg.vector("x", 3)
    y = cg.log(cg.exp(x * 1) + 0 * x)
    snapshots = []
    final = run_passes(cg.draw(y).graph, record=snapshots.append)
    assert snapshots and snapshots[-1].after.outputs[0] is final.outputs[0]
    for turn, following in itertools.pairwise(snapshots):
        assert turn.after is following.before
    content = cg.draw(y).content
    stages = content["stages"]
    assert stages[0]["name"] == "as written"
    fired = sum(len(turn.fired) for turn in snapshots)
    assert len(stages) == 1 + fired + 1  # each rule is a step, then what is compiled
    assert any("x * 1 -> x" in s["name"] for s in stages)
    for stage in stages:
        count = len(stage["boxes"])
        assert len(stage["centers"]) == count
        assert all(s < t < count for s, t, *_ in stage["edges"])
    after = {content["nodes"][b["n"]]["op"] for b in stages[-1]["boxes"]}
    assert after <= {n.op.name for n in final.nodes}


def test_recording_changes_nothing():
    loss, *_ = model()
    graph = cg.draw([loss, cg.grad(loss, model()[1], disconnected="zero")]).graph
    plain = run_passes(graph)
    recorded = run_passes(graph, record=[].append)
    assert all(a is b for a, b in zip(plain.outputs, recorded.outputs))


def test_costs_and_kernels():
    x, w = cg.matrix("x", ("n", 4)), cg.matrix("w", (4, 3))
    content = cg.draw(cg.exp(x @ w), sizes={"n": 10}).content
    rows = {r["op"]: r for r in reversed(content["nodes"])}  # as written
    assert rows["exp"]["calls"] == "3*n" and rows["exp"]["f"] >= 30
    assert rows["exp"]["bytes"] == "48*n" and rows["exp"]["b"] == 480
    assert content["sizes"] == {"n": 10}
    assert rows["exp"]["formula"] == "exp(matmul(...))"
    assert content["lines"][rows["exp"]["line"]]["text"].startswith("content = cg.draw")
    numbers = rows["exp"]["kernels"]
    assert "exp(" in content["kernels"][numbers[0]]["source"]
    assert cg.draw(cg.exp(x @ w)).content["sizes"] == {"n": 100}


def test_large_graphs_are_left_as_written(tmp_path):
    y = cg.vector("x", "n")
    for _ in range(7000):
        y = cg.sin(y)
    content = cg.draw(y).content
    assert len(content["stages"]) == 1 and "above 6,000" in content["note"]
    assert "centers" not in content["stages"][0]
    for _ in range(13_001):
        y = cg.sin(y)
    with pytest.raises(cg.DrawError, match=r"too many for \.html, which takes 20,000"):
        cg.draw(y, tmp_path / "x.html")
    assert not list(tmp_path.iterdir())


def test_embedded_data_is_inert():
    hostile = {"a": "</script><!-- & \u2028 \ud800", "b": [1, None, True]}
    made = embedded(hostile)
    assert not re.search("[<>&]", made) and made.isascii()
    assert json.loads(made) == hostile


def test_titles_are_escaped(tmp_path):
    x = cg.scalar("x")
    y = cg.exp(x * 3.25)
    y.name = "</title><script>alert(1)</script>"
    page = cg.draw(y, tmp_path / "p.html").html
    assert page.count("<script>") == page.count("</script>") - 1 == 7
    assert "<title>&lt;/title&gt;" in page


# ------------------------------------------------------ scopes, lines and times


def test_scopes_lines_and_what_was_written():
    x = cg.vector("x", 3)
    with cg.scope("outer"):
        with cg.scope("inner"):
            y = cg.exp(x * 2.5)
        with cg.scope("inner"):
            z = cg.sin(y)
    content = cg.draw(z).content
    rows = {r["op"]: r for r in content["nodes"]}
    names = [(s["name"], s.get("parent")) for s in content["scopes"]]
    assert names == [("outer", None), ("inner", 0), ("inner (2)", 0)]
    assert rows["exp"]["scope"] == rows["multiply"]["scope"] == 1
    assert rows["sin"]["scope"] == 2 and "scope" not in rows["input"]
    assert rows["multiply"]["written"] == "x * 2.5"
    assert content["lines"][rows["input"]["line"]]["text"] == 'x = cg.vector("x", 3)'


def test_without_scopes_there_are_functions():
    loss, *_ = model()
    content = cg.draw(loss).content
    assert [s["name"] for s in content["scopes"]] == ["model()"]
    assert all(s["function"] for s in content["scopes"])


def test_steps_are_timed_where_there_are_values():
    loss, x, w = model()
    at = {x: np.ones((5, 4)), w: np.ones((4, 3))}
    assert cg.draw(loss).content["steps"] == []
    f = cg.compile([x, w], loss)
    for subject in (loss, f):
        content = cg.draw(subject, at=at).content
        assert len(content["steps"]) == len(f.profile(*at.values()).steps)
        assert {k["step"] for k in content["kernels"]} == set(
            range(len(content["steps"]))
        )
        written = content["stages"][0]["boxes"]
        rows = [content["nodes"][b["n"]] for b in written if b["kind"] == "forward"]
        assert all("kernels" in row for row in rows)  # also what was rewritten
    assert cg.draw(f, at=list(at.values())).content["steps"]


def test_a_function_is_shown_from_what_was_written():
    x = cg.vector("x", 3)
    f = cg.compile([x], {"y": cg.exp(x * 1.0)})
    picture = cg.draw(f)
    assert [b.title for b in picture.diagram.boxes] == ["x", "exp(x)"]
    names = [s["name"] for s in picture.content["stages"]]
    assert names[0] == "as written" and names[1].startswith("simplify: x * 1 -> x")
    titles = [b["lines"][0] for b in picture.content["stages"][0]["boxes"]]
    assert titles == ["x", "x * 1", "exp"]
    assert picture.title == "y"


def test_what_is_not_timed_says_why():
    x, unused = cg.vector("x", 3), cg.scalar("unused")
    f = cg.compile([x, unused], cg.exp(x))
    content = cg.draw(f, at={x: np.ones(3)}).content
    assert content["steps"] == [] and "no value for unused" in content["note"]
    full = cg.draw(f, at={x: np.ones(3), unused: 1.0}).content
    assert full["steps"] and not full["note"]
    slow = cg.compile([x], cg.exp(x), backend="reference")
    content = cg.draw(slow, at={x: np.ones(3)}).content
    assert content["kernels"] and "reference backend" in content["note"]


def test_many_steps_are_not_timed(monkeypatch):
    loss, x, w = model()
    monkeypatch.setattr("graphc.surfaces.draw.content.MAX_TIMED", 0)
    content = cg.draw(loss, at={x: np.ones((5, 4)), w: np.ones((4, 3))}).content
    assert content["steps"] == [] and "more than 0. f.profile" in content["note"]
    assert content["kernels"] and content["flow"]["values"]


def test_many_stages_are_laid_out_in_the_browser(monkeypatch):
    loss, _, w = model()
    monkeypatch.setattr("graphc.surfaces.draw.content.MAX_PLACED_ALL", 20)
    stages = cg.draw([loss, cg.grad(loss, w)]).content["stages"]
    assert "centers" in stages[0]
    assert len(stages) > 2 and not any("centers" in s for s in stages[1:])


def test_small_graphs_are_placed_side_by_side_too():
    loss, _, w = model()
    first, *others = cg.draw([loss, cg.grad(loss, w)]).content["stages"]
    assert not any("sides" in s for s in others)
    kinds = [b["kind"] == "backward" for b in first["boxes"]]
    seen, crossing = [], 0
    for part, side in zip(first["sides"], (False, True)):
        assert all(kinds[n] == side for n in part["boxes"])
        assert len(part["centers"]) == len(part["boxes"])
        assert len(part["routes"]) == len(part["edges"])
        seen += part["boxes"]
        crossing += len(part["edges"])
    assert sorted(seen) == list(range(len(kinds)))
    across = [1 for s, t, *_ in first["edges"] if kinds[s] != kinds[t]]
    assert crossing + len(across) == len(first["edges"])
    assert "sides" not in cg.draw(loss).content["stages"][0]
