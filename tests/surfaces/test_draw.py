"""Pictures: what they say, that hostile names cannot break them, and the files."""

import re
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import graphc as cg
from graphc.surfaces.draw import draw
from graphc.surfaces.draw.diagram import LONGEST_LINE, columns, diagram, shorten
from graphc.surfaces.draw.formats import FORMATS, rendered
from graphc.surfaces.draw.scene import box_size, compose

SVG = "{http://www.w3.org/2000/svg}"

HOSTILE = [
    "</text><script>alert(1)</script>",
    'a"b\\n"] n0 -> n0 [label="',
    "x & y < z > 'w'",
    "$\\frac{1}{",
    "line\nbreak\ttab\x00\x07\x1b[31m",
    "\u202egnp.exe",
    "漢字 \N{SNOWMAN} e\u0301",
    "\ud800 lone surrogate",
    " " * 5,
    "very" * 100,
]


def quadratic():
    A, x = cg.matrix("A", ("n", "n"), dtype="float32"), cg.vector("x", "n", "float32")
    b, c = cg.vector("b", "n", dtype="float32"), cg.scalar("c", dtype="float32")
    return x @ A @ x + b @ x + c, (A, x, b, c)


def training_step():
    x, y = cg.matrix("x", ("n", 4)), cg.matrix("y", ("n", 2))
    params = {
        "w1": cg.matrix("w1", (4, 8)),
        "b1": cg.vector("b1", 8),
        "w2": cg.matrix("w2", (8, 2)),
    }
    h = cg.maximum(x @ params["w1"] + params["b1"], 0)
    loss = cg.mean((h @ params["w2"] - y) ** 2)
    grads = cg.grad(loss, params)
    return loss, {k: params[k] - 0.1 * grads[k] for k in params}


def texts(svg):
    return [t.text for t in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_labels_are_the_users_words():
    y, _ = quadratic()
    shown = texts(draw(y).svg)
    for word in ("A", "x", "b", "c", "float32(n, n)", "float32(n,)", "output", "input"):
        assert word in shown


def test_kinds_of_box():
    loss, new = training_step()
    picture = draw({"loss": loss, "params": new})
    boxes = picture.diagram.boxes
    assert {b.kind for b in boxes} >= {"input", "forward", "backward"}
    assert {b.title for b in boxes if b.kind == "input"} == {"x", "y", "w1", "b1", "w2"}
    outputs = {d for b in boxes if b.is_output for d in b.details if "output" in d}
    assert outputs == {
        "output loss",
        "output params.w1",
        "output params.b1",
        "output params.w2",
    }
    alone = draw(loss).diagram.boxes
    assert {b.kind for b in alone} == {"input", "forward"}
    forward = [b for b in boxes if b.kind == "forward"]
    assert len(forward) == sum(b.kind == "forward" for b in alone)


def test_forward_may_be_named():
    loss, new = training_step()
    gradients_only = draw(new).diagram.boxes
    assert "backward" not in {b.kind for b in gradients_only}
    named = draw(new, forward=loss).diagram.boxes
    assert "backward" in {b.kind for b in named}
    with pytest.raises(cg.DrawError, match="forward= names no part"):
        draw(loss, forward=quadratic()[0])


def test_numbers_and_sizes_are_folded_into_their_users():
    x = cg.vector("x", "n")
    boxes = draw(cg.sum(x * 2.5)).diagram.boxes
    assert [b.title for b in boxes] == [
        "x",
        "x * 2.5",
        "sum",
    ]
    table = draw(cg.constant(np.arange(3.0)) + x).diagram.boxes
    assert [b.kind for b in table].count("constant") == 1
    lone = draw(cg.constant(2.0)).diagram.boxes  # an output is never folded
    assert [b.kind for b in lone] == ["constant"]


def test_edges_arrive_in_the_order_of_arguments():
    x, y = cg.scalar("x"), cg.scalar("y")
    shown = draw(x - y).diagram
    ports = {shown.boxes[e.source].title: e.port for e in shown.edges}
    assert ports["x"] < ports["y"]
    assert len(draw(x * x).diagram.edges) == 2


def test_notes():
    x = cg.scalar("x")
    y = cg.exp(x)
    assert "value 1" in texts(draw(y, notes={y: "value 1"}).svg)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name, tmp_path):
    try:
        x = cg.vector(name, 3)
    except cg.GraphcError:
        x = cg.vector("x", 3)
        y = cg.exp(x)
        y.name = name  # an inner name is not checked
    else:
        y = cg.exp(x)
    picture = draw({name: y, "other": x + 1})
    root = ElementTree.fromstring(picture.svg)  # well-formed, nothing injected
    kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert kinds == {"svg", "g", "path", "text", "title"}
    for suffix in FORMATS:
        picture.save(tmp_path / f"p{suffix}")
    assert len(picture.text.splitlines()) == len(picture.graph) + 1
    lines = picture.dot.splitlines()
    boxes = [line for line in lines if re.match(r"  n\d+ \[", line)]
    assert len(boxes) == len(picture.diagram.boxes)
    quoted = r'"(?:[^"\\]|\\.)*"'
    for line in boxes:
        bare = re.sub(quoted, "", line)
        assert bare.count("[") == bare.count("]") == 1 and "->" not in bare
    for box in picture.diagram.boxes:
        assert columns(box.title) <= LONGEST_LINE and box.title.isprintable()


@pytest.mark.parametrize("suffix", FORMATS)
def test_files(suffix, tmp_path):
    y, _ = quadratic()
    path = tmp_path / f"picture{suffix.upper()}"
    draw(y, path)
    first = path.read_bytes()
    draw(y, str(path))  # replaces it
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix == ".png":
        assert first.startswith(b"\x89PNG\r\n") and first.endswith(b"IEND\xaeB`\x82")


def test_unknown_suffix_names_the_formats(tmp_path):
    x = cg.scalar("x")
    with pytest.raises(
        cg.DrawError, match=r"'.gif'.*\.svg, \.html, \.png, \.pdf, \.mmd"
    ):
        draw(x, tmp_path / "x.gif")
    with pytest.raises(cg.DrawError, match="no suffix"):
        draw(x, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_unwritable_path(tmp_path):
    x = cg.scalar("x")
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.svg").mkdir()
    for bad in ("missing/x.svg", "file/x.svg", "folder.svg", "n" * 300 + ".svg"):
        with pytest.raises(cg.DrawError, match="cannot write"):
            draw(x, tmp_path / bad)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.svg"]


def test_a_failed_drawing_leaves_the_old_file(tmp_path, monkeypatch):
    x = cg.scalar("x")
    path = tmp_path / "x.svg"
    path.write_text("old")
    monkeypatch.setattr("os.replace", lambda a, b: (_ for _ in ()).throw(OSError(28)))
    with pytest.raises(cg.DrawError):
        draw(x, path)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_png_without_matplotlib(monkeypatch):
    for module in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(cg.MissingPackageError, match=r"graphc\[plot\]"):
        _ = draw(cg.scalar("x")).png


def test_what_cannot_be_drawn():
    for subject in ("text", 3.0, [cg.scalar("x"), "y"], None):
        with pytest.raises(cg.DrawError, match="Give an expression"):
            draw(subject)
    with pytest.raises(cg.DrawError, match="empty"):
        draw([])


def test_notebooks_get_a_picture_and_terminals_text():
    y, _ = quadratic()
    picture = draw(y)
    assert picture._repr_svg_() == picture.svg
    assert "matmul" in str(picture) and str(picture).startswith(("A:", "x:"))
    assert repr(picture).startswith("<Picture")


def test_large_graphs_have_text_but_no_picture(tmp_path):
    y = cg.scalar("x")
    for _ in range(5000):
        y = cg.sin(y)
    picture = draw(y)
    assert picture._repr_svg_() is None
    with pytest.raises(
        cg.DrawError,
        match=r"5001 nodes are too many for .svg.*\.graphml, \.json or \.txt",
    ):
        picture.save(tmp_path / "deep.svg")
    assert not list(tmp_path.iterdir())
    picture.save(tmp_path / "deep.txt")
    picture.save(tmp_path / "deep.dot")
    assert (tmp_path / "deep.dot").read_text().count("->") == 5000


def test_a_png_too_large_to_read_is_refused():
    y = cg.scalar("x")
    for _ in range(1500):
        y = cg.sin(y)
    with pytest.raises(cg.DrawError, match=r"Write \.svg or"):
        _ = draw(y).png
    assert draw(y).svg.count("<text") > 3000


def test_text_fits_its_box():
    loss, new = training_step()
    scene = compose(draw({"loss": loss, "params": new}).diagram)
    for box, x, y, w, h in scene.boxes:
        assert (w, h) == box_size(box)
        assert x >= 0 and y >= 0 and x + w <= scene.width and y + h <= scene.height
        for text in (box.title, *box.details):
            assert columns(text) * 7.3 <= w


def test_numbers_stand_at_the_ends_of_edges():
    w, x, b = cg.scalar("w"), cg.scalar("x"), cg.scalar("b")
    y = 1 / (1 + cg.exp(-(w * x + b)))
    at = {w: 2.0, x: -1.0, b: 3.0}
    plain, picture = draw(y), draw(y, at=at)
    boxes, marks = picture.diagram.boxes, picture.diagram.marks
    product = [b.title for b in boxes].index("w * x")
    ends = {boxes[e.source].title: m for e, m in zip(picture.diagram.edges, marks)}
    assert ends["w"] == ("2", "-0.197") and ends["x"] == ("-1", "0.393")
    assert ends["w * x"] == ("-2", "0.197") and ends["exp"] == ("0.368", "-0.534")
    assert boxes[product].details == ("float64()",)  # not said twice
    assert boxes[-1].details == ("float64()", "output", "= 0.731", "\u2202 1")
    for suffix in (".svg", ".dot", ".mmd"):
        text = rendered(picture, suffix).decode()
        assert "-0.534" in text and "-0.534" not in rendered(plain, suffix).decode()
    assert picture.png != plain.png
    scene = picture.scene
    for mark in scene.marks:
        assert 0 < mark.x < scene.width and 0 < mark.y < scene.height
        inside = [
            True
            for _, left, top, width, height in scene.boxes
            if left < mark.x < left + width and top < mark.y < top + height
        ]
        assert not inside  # above the boxes, not over them


def test_a_box_says_what_was_written_where():
    x = cg.vector("x", 3)
    with cg.scope("outer"), cg.scope("inner"):
        y = cg.exp(x * 2.5)
    hints = [box.hint for box in draw(y).diagram.boxes]
    assert re.fullmatch(
        r"multiply: float64\(3,\) made at test_draw.py:\d+: x \* 2.5 in outer/inner",
        hints[1],
    )
    assert hints[2].endswith(": cg.exp(x * 2.5) in outer/inner")


def test_long_values_stay_in_boxes():
    x, w = cg.matrix("x", ("n", 2)), cg.matrix("w", (2, 2))
    at = {x: [[1.25, 2.5], [0.125, 3]], w: [[1, 2], [3, 4.5]]}
    boxes = draw(cg.sum(x @ w), at=at).diagram.boxes
    assert "= 0.125 .. 3" in boxes[0].details
    assert any(d.startswith("\u2202 3 .. 7.5") for d in boxes[0].details)


def test_scopes_are_clusters():
    x = cg.vector("x", 3)
    with cg.scope("outer"):
        h = cg.sin(x)
        with cg.scope('in"ner]'):
            h = cg.cos(h) * h
    picture = draw(h + x)
    dot, mermaid = picture.dot, picture.mermaid
    assert 'label="outer"' in dot and 'label="in\\"ner]"' in dot
    assert dot.count("subgraph cluster_") == 2 and dot.count("{") == dot.count("}")
    assert '["outer"]' in mermaid and "in#34;ner#93;" in mermaid
    assert mermaid.count("subgraph") == mermaid.count("\n  end") == 2
    shown = cg.to_networkx(h)
    scopes = [d.get("scope") for _, d in shown.nodes(data=True)]
    assert scopes == [None, "outer", 'outer/in"ner]', 'outer/in"ner]']
    plain = draw(x * 2)
    assert "subgraph" not in plain.dot + plain.mermaid


def test_unused_inputs_are_shown():
    x, unused = cg.scalar("x"), cg.scalar("unused")
    from graphc.graph.graph import Graph

    assert "unused" in [b.title for b in diagram(Graph([x, unused], [x + 1])).boxes]


@pytest.mark.parametrize("text", ["", "short", "a" * 45, "漢" * 30, "ab漢" * 40])
def test_shorten(text):
    short = shorten(text)
    assert columns(short) <= LONGEST_LINE
    if columns(text) <= LONGEST_LINE:
        assert short == text
    else:
        assert short[0] == text[0] and short[-1] == text[-1]


def test_compiled_functions_name_their_outputs():
    loss, new = training_step()
    inputs = draw(new).graph.inputs
    step = cg.compile(inputs, {"loss": loss, "new": new}, backend="reference")
    boxes = draw(step).diagram.boxes
    details = {d for b in boxes for d in b.details}
    assert {"output loss", "output new.w1", "output new.b1"} <= details
    assert "backward" in {b.kind for b in boxes}


# --------------------------------------------------- formats for other programs


def test_networkx_has_the_nodes_and_edges_of_the_graph():
    networkx = pytest.importorskip("networkx")
    y, _ = quadratic()
    shown = cg.to_networkx({"y": y})
    graph = draw(y).graph
    assert isinstance(shown, networkx.MultiDiGraph)
    assert len(shown) == len(graph)
    assert shown.number_of_edges() == sum(len(n.args) for n in graph.nodes)
    assert shown.nodes["A"] | {"line": 0, "file": ""} == {
        "op": "input",
        "type": "float32(n, n)",
        "dtype": "float32",
        "shape": "n, n",
        "name": "A",
        "file": "",
        "line": 0,
        "input": shown.nodes["A"]["input"],
    }
    (last,) = (n for n, d in shown.nodes(data=True) if d.get("output") == "0")
    assert last == list(networkx.topological_sort(shown))[-1]
    x = cg.scalar("x")
    twice = cg.to_networkx(x - x * x)
    assert {p for *_, p in twice.edges(data="position")} == {0, 1}
    with pytest.raises(cg.DrawError, match="Give an expression"):
        cg.to_networkx("x")


def test_networkx_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(cg.MissingPackageError, match="pip install networkx"):
        cg.to_networkx(cg.scalar("x"))


def test_graphml_is_read_back(tmp_path):
    networkx = pytest.importorskip("networkx")
    y, _ = quadratic()
    draw(y, tmp_path / "q.graphml")
    back = networkx.read_graphml(tmp_path / "q.graphml")
    shown = cg.to_networkx(y)
    assert dict(back.nodes(data=True)) == dict(shown.nodes(data=True))
    assert sorted(back.edges()) == sorted((u, v) for u, v, _ in shown.edges)


def test_json_describes_the_graph(tmp_path):
    import json

    y, (A, *_) = quadratic()
    draw([y, A], tmp_path / "q.json")
    data = json.loads((tmp_path / "q.json").read_text())
    assert (data["format"], data["version"]) == ("graphc", 1)
    nodes = {n["id"]: n for n in data["nodes"]}
    assert len(nodes) == len(draw(y).graph)
    assert data["outputs"][1] == "A" and nodes["A"]["output"] == [1]
    assert set(data["inputs"]) == {"A", "x", "b", "c"}
    assert nodes["A"]["file"].endswith("test_draw.py") and nodes["A"]["line"] > 0
    known = set()
    for node in data["nodes"]:
        assert known.issuperset(node["args"])
        known.add(node["id"])


def test_unused_inputs_are_kept():
    from graphc.graph.graph import Graph

    x, other = cg.scalar("x"), cg.scalar("x")
    shown = cg.to_networkx(Graph([x, other], [x + 1]))
    assert "x" in shown and "%input1" in shown


@pytest.mark.parametrize("name", HOSTILE)
def test_mermaid_labels_hold_no_markup(name):
    y = cg.exp(cg.vector("x", 3))
    y.name = name
    lines = draw({name: y}).mermaid.splitlines()
    assert lines[0] == "flowchart TD"
    for line in lines[1:]:
        found = re.fullmatch(r'  n\d+(?:\(\["|\["|\("|\{\{")(.*)"[\])}]+', line)
        if found is None:
            assert re.fullmatch(
                r"  (class n\d+ [a-z,]+|n\d+ --> n\d+|classDef [\w #:,.-]+)", line
            )
            continue
        bare = re.sub(r"#\d+;", "", found[1].replace("<br/>", ""))
        assert not re.search(r"[<>&\"`#;\[\]{}|\\$]", bare)


def test_mermaid_limits():
    x = cg.scalar("x")
    chain = x
    for _ in range(301):
        chain = cg.sin(chain)
    with pytest.raises(cg.DrawError, match=r"302 nodes are too many for \.mmd.*\.svg"):
        _ = draw(chain).mermaid
    inputs = [cg.vector(f"x{i}", 2) for i in range(30)]
    many = [cg.concatenate([cg.sin(i), *inputs]) for i in inputs]
    with pytest.raises(cg.DrawError, match=r"edges.*Mermaid.*\.svg or \.html"):
        _ = draw(many).mermaid


def test_pdf_is_one_whole_page(tmp_path):
    y, _ = quadratic()
    first = draw(y).pdf
    assert first.startswith(b"%PDF-") and first.rstrip().endswith(b"%%EOF")
    assert first.count(b"/Type /Page\n") + first.count(b"/Type /Page ") == 1
    deep = cg.scalar("x")
    for _ in range(600):
        deep = cg.sin(deep)
    height = re.search(rb"/MediaBox \[ 0 0 [\d.]+ ([\d.]+) \]", draw(deep).pdf)
    assert 0 < float(height[1]) <= 14_400
