"""Text trees: every node once, types, and size linear in the graph."""

import sys

import pytest

import graphc as cg
from graphc.surfaces.draw import tree
from graphc.surfaces.draw.diagram import diagram


def shown(expression):
    return cg.draw(expression).tree.splitlines()


def test_types_and_names():
    x, w = cg.vector("x", "n"), cg.vector("w", "n")
    h = cg.tanh(x * w)
    h.name = "h"
    assert shown({"loss": cg.sum(h) / 2}) == [
        "\N{MIDDLE DOT} / 2  float64()  output loss",
        "└─ sum(h)  float64()",
        "   └─ h = tanh  float64(n,)",
        "      └─ x * w  float64(n,)",
        "         ├─ x  float64(n,)",
        "         └─ w  float64(n,)",
    ]


def test_values():
    w, x = cg.scalar("w"), cg.scalar("x")
    lines = cg.draw(cg.sin(w * x), at={w: 2.0, x: 0.5}).tree.splitlines()
    assert lines == [
        "sin  float64()  output  = 0.841  ∂ 1",
        "└─ w * x  float64()  = 1  ∂ 0.54",
        "   ├─ w  float64()  = 2  ∂ 0.27",
        "   └─ x  float64()  = 0.5  ∂ 1.08",
    ]


def test_a_repeated_node_is_shown_once():
    x = cg.vector("x", 3)
    h = cg.sin(x)
    lines = shown(h * cg.cos(h))
    assert lines == [
        "\N{MIDDLE DOT} * \N{MIDDLE DOT}  float64(3,)  output",
        "├─ #1 sin(x)  float64(3,)",
        "│  └─ x  float64(3,)",
        "└─ cos  float64(3,)",
        "   └─ #1 sin(x)  see there",
    ]


def test_every_node_is_said_once_however_deep():
    x = y = cg.vector("x", 3)
    for _ in range(3000):
        y = cg.sin(y) * x
    made = diagram(cg.draw(y).graph)
    lines = list(tree.lines(made))
    full = [
        line.box
        for line in lines
        if not line.repeated and made.boxes[line.box].kind != "input"
    ]
    assert sorted(full) == sorted(
        n for n, box in enumerate(made.boxes) if box.kind != "input"
    )
    assert max(line.depth for line in lines) == tree.DEPTH
    text = tree.text(made)
    assert len(text) < 150 * len(made.boxes)
    numbers = {line.number for line in lines if line.repeated}
    assert numbers == {
        line.number for line in lines if line.number and not line.repeated
    }


def test_an_output_inside_another_is_said_to_be_one():
    x = cg.vector("x", 3)
    h = cg.sin(x)
    lines = shown({"h": h, "y": cg.cos(h)})
    assert lines[0] == "#1 sin(x)  float64(3,)  output h"
    assert lines[-1] == "└─ #1 sin(x)  output h  see there"


def test_unused_inputs_and_lone_inputs():
    x, unused = cg.vector("x", 3), cg.scalar("unused")
    graph = cg.Graph([x, unused], [x])
    assert tree.text(diagram(graph)) == "x  float64(3,)  output\nunused  float64()"


def test_rich_trees():
    rich = pytest.importorskip("rich.console", reason="rich is not installed")
    x = cg.vector("[red]x[/red]", 3)
    trees, left_out = tree.rich_trees(cg.draw(cg.sin(x) + x).diagram)
    console = rich.Console(width=60, markup=True, color_system=None)
    with console.capture() as capture:
        console.print(*trees)
    assert "[red]x[/red]  float64(3,)" in capture.get() and not left_out
    trees, left_out = tree.rich_trees(cg.draw(cg.sin(x) + x).diagram, most=1)
    assert left_out == 3


def test_without_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.text", None)
    with pytest.raises(cg.MissingPackageError, match=r"graphc\[terminal\]"):
        tree.rich_trees(cg.draw(cg.scalar("x")).diagram)
