"""The HTML viewer in a real browser, headless: what a reader can do with it."""

import re
import shutil

import numpy as np
import pytest

import graphc as cg

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 60_000
"""Milliseconds after which a page is taken to hang."""


@pytest.fixture(scope="module")
def browser():
    path = next((p for p in map(shutil.which, BROWSERS) if p), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with api.sync_playwright() as play:
        made = play.chromium.launch(executable_path=path, args=list(SWITCHES))
        yield made
        made.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Draw something, open it offline, and check that the console stayed empty."""
    context = browser.new_context(viewport={"width": 1300, "height": 850})
    context.set_offline(True)
    context.set_default_timeout(PATIENCE)
    said, asked = [], []

    def opened(subject, **more):
        path = tmp_path / "page.html"
        cg.draw(subject, path, **more)
        page = context.new_page()
        page.on("console", lambda m: said.append(m.text))
        page.on("pageerror", lambda e: said.append(str(e)))
        page.on("dialog", lambda d: (said.append(d.message), d.dismiss()))
        page.on("request", lambda r: asked.append(r.url))
        page.goto(path.as_uri())
        page.wait_for_selector("#items *", state="attached")
        return page

    yield opened
    context.close()
    assert said == []
    assert all(url.startswith("file:") for url in asked) and len(asked) <= 1


def neuron():
    w = [cg.scalar(f"w{i}") for i in range(3)]
    x = [cg.scalar(f"x{i}") for i in range(2)]
    s = w[0] * x[0] + w[1] * x[1] + w[2]
    return 1 / (1 + cg.exp(-s)), dict(zip([*w, *x], (2.0, -3.0, -3.0, -1.0, -2.0)))


def training_step():
    x, w = cg.matrix("x", ("n", 4)), cg.matrix("w", (4, 3))
    y = cg.matrix("y", ("n", 3))
    loss = cg.mean((cg.tanh(x @ w) - y) ** 2)
    return {"loss": loss, "w": w - 0.1 * cg.grad(loss, w)}


def chain(count):
    x = y = cg.vector("x", "n")
    for _ in range(count // 2):
        y = cg.sin(y)
        y = y * x
    return cg.sum(y)


def until(page, condition):
    """Wait without what the page's own policy forbids, as wait_for_function would."""
    for _ in range(PATIENCE // 50):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(condition)


def titles(page):
    return page.locator("g.item text.title").all_text_contents()


def item(page, title):
    return page.locator("g.item").filter(has=page.get_by_text(title, exact=True)).first


def click(page, title):
    item(page, title).locator(".shape").click(force=True)


def text(page, place):
    return page.locator(place).inner_text()


def test_load_and_click(open_page):
    loss = training_step()["loss"]
    page = open_page({"loss": loss})
    assert len(titles(page)) == len(cg.draw(loss).diagram.boxes)
    assert {"x", "w", "y", "x @ w", "tanh"} <= set(titles(page))
    click(page, "tanh")
    panel = text(page, "#panel")
    for word in ("float64(n, 3)", "test_viewer.py", "tanh(x @ w)", "3*n", "48*n"):
        assert word in panel
    assert "tanh(matmul(...))" in panel and "training_step()" in panel
    listings = page.locator("#panel pre.listing").all_text_contents()
    assert listings and "tanh(" in listings[0]
    page.locator("#panel a").filter(has_text="x @ w").first.click()
    assert page.locator("#panel h2").inner_text() == "x @ w"
    assert page.locator("g.item.selected").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("g.item.selected").count() == 0


def test_search(open_page):
    page = open_page(training_step())
    page.keyboard.press("/")
    page.keyboard.type("transpose")
    hits = page.evaluate("graphc.app.hits.length")
    assert hits == page.locator("g.item.hit").count() > 0
    assert text(page, "#hits") == f"{hits} found"
    page.keyboard.press("Enter")
    assert text(page, "#hits") == f"1 of {hits}"
    assert text(page, "#panel h2") == "x.T"
    page.fill("#search", "no such thing")
    assert text(page, "#hits") == "0 found"
    page.fill("#search", "test_viewer.py")  # the user's lines are searched too
    assert page.evaluate("graphc.app.hits.length") > 5


def test_fold_and_unfold(open_page):
    page = open_page(training_step())
    whole = len(titles(page))
    page.select_option("#group", "line")
    folded = titles(page)
    assert len(folded) < whole / 2
    line = "loss = cg.mean((cg.tanh(x @ w) - y) ** 2)"
    assert folded.count(line) == 2  # forward, and what was derived from it
    members = page.evaluate(
        """line => graphc.app.shown.items.filter(t => t.lines[0] === line)
           .map(t => t.boxes.length)""",
        line,
    )
    click(page, line)
    page.click("#unfold")
    count = "graphc.app.shown.items.length"  # not all need be in the window
    assert page.evaluate(count) == len(folded) - 1 + members[0]
    page.keyboard.press("f")
    assert page.evaluate(count) == len(folded)
    page.click("#open-all")
    assert sorted(titles(page)) != sorted(folded) and len(titles(page)) == whole
    page.click("#fold-all")
    assert sorted(titles(page)) == sorted(folded)
    page.select_option("#stage", str(page.evaluate("graphc.data.stages.length - 1")))
    page.select_option("#group", "kernel")
    assert any(t.startswith("kernel ") for t in titles(page))


def scoped_network():
    x, weights = cg.matrix("x", ("n", 4)), []
    h = x
    with cg.scope("encoder"):
        for k in range(2):
            with cg.scope("layer"):
                weights.append(cg.matrix(f"w{k}", (4, 4)))
                h = cg.tanh(h @ weights[-1]) + h
    with cg.scope("loss"):
        loss = cg.mean(h * h)
    return {"loss": loss, "gradients": cg.grad(loss, weights)}


def test_fold_by_scope(open_page):
    page = open_page(scoped_network())
    page.select_option("#group", "scope")
    assert sorted(titles(page)) == ["encoder", "encoder", "loss", "loss", "x"]
    assert "forward" in page.locator("g.item.group").first.get_attribute("class")
    click(page, "encoder")
    page.keyboard.press("f")
    shown = titles(page)
    assert shown.count("layer") == shown.count("layer (2)") == 1
    assert shown.count("encoder") == 1  # the backward part, folded still
    border = page.locator("g.cluster")
    assert border.locator("text").all_text_contents() == ["encoder"]
    click(page, "layer")
    page.keyboard.press("f")
    assert "x @ w0" in titles(page) and page.locator("g.cluster").count() == 2
    click(page, "x @ w0")
    assert "encoder / layer" in text(page, "#panel")
    inside = page.evaluate(
        """graphc.app.shown.clusters.every(c => c.items.every(t => t.x - t.w / 2 > c.x0
           && t.x + t.w / 2 < c.x1 && t.y - t.h / 2 > c.y0 && t.y + t.h / 2 < c.y1))"""
    )
    assert inside
    page.keyboard.press("f")
    assert "x @ w0" not in titles(page)
    page.fill("#search", "layer (2)")
    assert page.evaluate("graphc.app.hits.length") > 3
    page.press("#search", "Enter")  # opens what is around it
    assert page.locator("g.item.selected:not(.group)").count() == 1
    page.click("#fold-all")
    assert len(titles(page)) == 5


def test_without_scopes_functions_are_folded(open_page):
    page = open_page(training_step())
    page.select_option("#group", "scope")
    assert titles(page).count("training_step()") == 2
    assert {"2 inputs", "y"} <= set(titles(page))  # x and w go to the same groups


def test_inputs_of_the_same_groups_are_one_box(open_page):
    x, h = cg.vector("x", 4), cg.vector("h", 4)
    y = x
    weights = [cg.vector(f"w{k}", 4) for k in range(5)]
    with cg.scope("network"):
        for w in weights:
            y = cg.tanh(y * w)
    page = open_page(y + h)
    page.select_option("#group", "scope")
    assert sorted(titles(page)) == ["6 inputs", "h", "network", "\N{MIDDLE DOT} + h"]
    click(page, "6 inputs")
    page.keyboard.press("f")
    shown = page.evaluate("graphc.app.shown.items.map(t => t.lines[0])")
    assert {"x", "w0", "w4"} <= set(shown)


@pytest.mark.parametrize("compiled", [False, True])
def test_colour_by_measured_time(compiled, open_page):
    x, w = cg.matrix("x", ("n", 4)), cg.matrix("w", (4, 3))
    y = cg.sum(cg.exp(x @ w) * 1.0)
    subject = cg.compile([[x], w], y) if compiled else y
    at = {"x": np.ones((5000, 4)), w: np.ones((4, 3))}
    page = open_page(subject, at=at)
    steps = page.evaluate("graphc.data.steps")
    assert steps and max(steps) > 0
    page.select_option("#colour", "t")
    assert "measured" in text(page, "#legend")
    assert "exp" in titles(page)  # as written, though drawn from what was compiled
    times = page.evaluate("graphc.app.shown.items.map(t => graphc.app.costOf(t))")
    assert max(times) > 0 and min(times) == 0 and max(times) <= sum(steps)
    click(page, "exp")
    assert "measured time" in text(page, "#panel")
    page.select_option("#group", "kernel")
    folded = page.evaluate(
        "graphc.app.shown.items.reduce((sum, t) => sum + graphc.app.costOf(t), 0)"
    )
    assert folded > 0


def test_no_values_no_time(open_page):
    page = open_page(training_step())
    assert page.locator("#colour option[value=t]").is_disabled()
    for wanted in ("b", "f", ""):
        page.keyboard.press("c")
        assert page.locator("#colour").input_value() == wanted


def test_forward_and_backward_side_by_side(open_page):
    page = open_page(training_step())
    page.keyboard.press("b")
    spans = page.evaluate(
        """['forward', 'backward'].map(kind => graphc.app.shown.items
           .filter(t => t.kind === kind).map(t => [t.x - t.w / 2, t.x + t.w / 2]))"""
    )
    assert max(right for _, right in spans[0]) < min(left for left, _ in spans[1])
    read = page.evaluate("graphc.app.keptBoxes().length")
    assert page.locator("g.item.kept").count() == read > 0
    assert f"The backward reads ({read})" in text(page, "#panel")
    assert page.locator(".edge.read").count() >= read
    assert "tanh" in titles_of(page, "g.item.kept")


def titles_of(page, selector):
    return page.locator(f"{selector} text.title").all_text_contents()


def test_no_backward_no_sides(open_page):
    page = open_page(training_step()["loss"])
    assert page.locator("#side").is_disabled()
    page.keyboard.press("b")
    assert page.locator("g.item.kept").count() == 0


def test_step_through_the_passes(open_page):
    x = cg.vector("x", 3)
    page = open_page(cg.exp(x * 1) + x)
    assert "x * 1" in titles(page)
    assert page.locator("#stage-back").is_disabled()
    laws = page.evaluate("graphc.data.stages.map(s => s.name)")
    (step,) = [i for i, law in enumerate(laws) if "x * 1 -> x" in law]
    for _ in range(step):
        page.keyboard.press("]")
    assert "x * 1" not in titles(page)
    assert text(page, "#laws").startswith("x * 1 -> x")
    assert "x * 1" in text(page, "#removed")
    assert titles_of(page, "g.item.added") == []  # what is left stands on x instead
    assert titles_of(page, "g.item.rebuilt") == ["exp(x)", "\N{MIDDLE DOT} + x"]
    page.keyboard.press("[")
    assert "x * 1" in titles(page)


def test_play_values_and_gradients(open_page):
    y, at = neuron()
    page = open_page(y, at=at)
    values = page.locator("text.value").all_text_contents()
    assert "= 0.731" in values and "= 1.37" in values
    assert "\u2202 -0.393" in page.locator("text.gradient").all_text_contents()
    edge_values = page.locator("text.edge-gradient").all_text_contents()
    assert edge_values.count("0.197") == 5 and "-0.59" in edge_values
    boxes = len(titles(page))
    page.keyboard.press(".")
    assert page.locator("g.item.waiting").count() == boxes - 1
    shown = [v for v in page.locator("text.value").all_text_contents() if v]
    assert len(shown) == 1
    for _ in range(boxes - 1):
        page.keyboard.press(".")
    assert page.locator("g.item.waiting").count() == 0
    assert not [v for v in page.locator("text.gradient").all_text_contents() if v]
    page.keyboard.press(".")
    assert titles_of(page, "g.item.now") == ["1 / \N{MIDDLE DOT}"]
    assert "gradient of 1 / " in text(page, "#time-note")
    page.evaluate("graphc.app.player.go(graphc.app.player.steps.length - 3)")
    page.keyboard.press(" ")
    until(page, "graphc.app.player.time >= graphc.app.player.steps.length - 1")
    assert text(page, "#play") == "play"
    steps = page.evaluate("graphc.app.player.steps")
    assert [s for s, _ in steps] == ["value"] * boxes + ["gradient"] * boxes
    arguments = page.evaluate("graphc.data.stages[0].edges")
    order = {box: t for t, (what, box) in enumerate(steps) if what == "gradient"}
    assert all(order[t] < order[s] for s, t, *_ in arguments)


def test_colours_and_themes(open_page):
    page = open_page(training_step(), sizes={"n": 7})
    assert text(page, "#legend").split("\n")[0].startswith("input")
    page.keyboard.press("c")
    assert "bytes with n = 7" in text(page, "#legend")
    fills = page.evaluate(
        "[...document.querySelectorAll('.shape')].map(s => s.style.fill)"
    )
    assert len(set(fills)) > 3 and all(fills)
    page.keyboard.press("c")
    assert "flops with n = 7" in text(page, "#legend")
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        shade = "getComputedStyle(document.body).backgroundColor"
        was = page.evaluate(shade)
        page.click("#theme")
        assert page.evaluate(shade) != was
        page.click("#theme")
        assert page.evaluate(shade) == was
        page.evaluate("delete document.documentElement.dataset.theme")


def test_pan_zoom_and_arrows(open_page):
    page = open_page(training_step())
    state = "[graphc.app.view.x, graphc.app.view.y, graphc.app.view.scale]"
    x, y, scale = page.evaluate(state)
    page.mouse.move(30, 500)
    page.mouse.down()
    page.mouse.move(130, 540, steps=4)
    page.mouse.up()
    assert page.evaluate(state) == pytest.approx([x + 100, y + 40, scale], abs=1)
    page.mouse.wheel(0, -400)
    until(page, f"graphc.app.view.scale > {scale * 1.3}")
    page.keyboard.press("0")
    assert page.evaluate(state) == pytest.approx([x, y, scale])
    click(page, "tanh")
    page.keyboard.press("ArrowUp")
    assert text(page, "#panel h2") == "x @ w"
    page.keyboard.press("ArrowDown")
    assert text(page, "#panel h2") == "tanh"


def test_five_thousand_nodes(open_page):
    page = open_page(chain(5000))
    assert page.evaluate("graphc.app.stageNow.boxes.length") == 5002
    drawn = page.locator("g.item").count()
    assert 10 < drawn < 300  # folded
    page.fill("#search", "multiply")
    assert text(page, "#hits") == "2500 found"
    page.press("#search", "Enter")
    assert text(page, "#panel h2") == "\N{MIDDLE DOT} * x"
    assert page.locator("g.item.selected").count() == 1
    page.click("#open-all")
    assert page.evaluate("graphc.app.shown.items.length") == 5002
    page.click("#fit")
    page.wait_for_selector("path.mass", state="attached")
    assert page.locator("g.item").count() == 0  # masses of colour from afar
    page.evaluate("graphc.app.goTo(2500)")
    page.wait_for_selector("g.item.selected", state="attached")
    assert 3 < page.locator("g.item").count() < 100  # only what is in the window


def recurrence(steps):
    """Boxes are found against the order of steps, and parts of the backward in both."""
    W, U, h = cg.matrix("W", (4, 4)), cg.matrix("U", (4, 4)), cg.matrix("h", ("n", 4))
    for t in range(steps):
        with cg.scope(f"step {t}"):
            h = cg.tanh(cg.matrix(f"x{t}", ("n", 4)) @ W + h @ U)
    loss = cg.sum(h * h)
    return [loss, *cg.grad(loss, [W, U])]


def test_a_long_recurrence_opens_soon(open_page):
    page = open_page(recurrence(250))  # left to itself, dagre takes minutes
    assert page.evaluate("graphc.app.stageNow.boxes.length") > 3000
    rows = page.evaluate(
        """graphc.app.shown.items.filter(t => t.group && t.kind === 'forward')
           .map(t => [t.y, t.lines[0]]).sort((a, b) => a[0] - b[0]).map(r => r[1])"""
    )
    assert [r for r in rows if r.startswith("step")] == [
        f"step {t}" for t in range(250)
    ]
    for control in ("#open-all", "#fit", "#fold-all"):
        page.click(control)
    page.keyboard.press("b")
    assert page.evaluate("graphc.app.shown.items.length") < 600


def test_what_dagre_cannot_lay_out_is_laid_out(open_page):
    page = open_page(recurrence(18))
    page.select_option("#group", "scope")
    page.click("#open-all")  # with clusters, dagre gives up
    placed = "graphc.app.shown.items.every(t => Number.isFinite(t.x + t.y))"
    assert page.evaluate(placed)
    page.evaluate("void (graphc.runDagre = () => { throw new Error('no') })")
    page.click("#fold-all")
    assert page.evaluate(placed)
    assert page.evaluate("graphc.app.shown.edges.every(e => e.d)")


def test_a_deep_network_opens_folded_and_side_by_side(open_page):
    h, weights = cg.matrix("x", ("n", 4)), []
    for k in range(40):
        weights.append(cg.matrix(f"w{k}", (4, 4)))
        h = cg.tanh(h @ weights[-1]) + h
    loss = cg.mean(h**2)
    page = open_page([loss, cg.grad(loss, weights)])
    assert page.locator("#group").input_value() == "line"
    assert page.locator("#side").is_checked()
    shown, boxes = page.evaluate(
        "[graphc.app.shown.items.length, graphc.app.stageNow.boxes.length]"
    )
    assert boxes > 400 and shown < 100
    assert page.locator("g.item.group").count() > 2
    page.click("#open-all")
    assert page.evaluate("graphc.app.shown.items.length") == boxes
    above = page.evaluate(
        """graphc.app.shown.edges
           .map(e => [e.s, e.t].map(i => graphc.app.shown.items[i]))
           .filter(([s, t]) => s.kind === t.kind && s.kind === 'backward')
           .map(([s, t]) => s.y > t.y)"""
    )
    assert above and all(above)  # the backward part goes up, every edge of it


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--<script>",
    "{{data}} ${alert(1)} `",
    "]]>\u2028\u2029&lt;",
    "'\"\\",
    "__proto__",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name, open_page):
    x = cg.vector("x", 3)
    with cg.scope(name):
        y = cg.exp(x * 7.5)
    y.name = name
    page = open_page({name: y, "z": cg.sum(y)}, at={x: np.ones(3)})
    page.select_option("#group", "scope")
    assert page.locator("g.item.group").count() == 1
    page.click("#open-all")
    assert page.locator("g.cluster").count() == 1
    page.select_option("#group", "")
    assert page.locator("img").count() == 0
    page.fill("#search", "exp")
    page.press("#search", "Enter")
    assert page.locator("#panel dd").filter(has_text="exp").count() > 0
    shown = page.evaluate("graphc.data.nodes.map(n => n.name).filter(Boolean)")
    plain = name.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    assert plain in shown


def test_the_page_is_as_documented(open_page):
    page = open_page(cg.scalar("x") + 1)
    page.keyboard.press("?")
    assert "unfold" in text(page, "#panel")
    source = page.content()
    assert "Permission is hereby granted" in source  # the licence of dagre
    assert not re.search(r'(?:src|href)="', source)
