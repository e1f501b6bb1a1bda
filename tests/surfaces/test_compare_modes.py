"""`compare_modes`, its sweeps, and ``graphc compare``."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import graphc as cg
from graphc.surfaces.cli import main
from graphc.surfaces.cost.compare import relative_error
from graphc.surfaces.cost.modes import MODES, differences, shared, written_out

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with cg.config(cache_dir=str(tmp_path_factory.mktemp("cache"))):
        yield


def layers(x, widths, depth=3):
    h = x
    for number, width in enumerate(widths * depth if depth else widths):
        w = np.random.default_rng(number).normal(size=(width, int(h.shape[0])))
        h = cg.tanh(cg.constant(w / 4) @ h)
    return h


def test_every_mode_is_run_and_agrees():
    x = cg.vector("x", 3)
    y = cg.stack([x[0] * cg.sin(x[1]), x[2] * x[0]])
    at = {x: np.array([0.3, 0.7, -1.1])}
    report = cg.compare_modes(y, x, at=at)
    modes = {r.mode for r in report.rows}
    assert {"differences", "forward", "reverse", "sparse"} <= modes
    assert modes | set(report.reasons) == set(MODES)
    exact = {r.mode: r.error for r in report.rows if r.mode != "differences"}
    assert all(e < 1e-14 for e in exact.values()), exact
    assert 0 < report.row("differences").error < 1e-6
    assert all(r.seconds > 0 and r.compile_seconds > 0 for r in report.rows)
    assert report.row("forward").sweeps == 3
    assert report.row("reverse").sweeps == 2
    assert report.row("differences").sweeps == 4
    operations = [r.flops + r.transcendentals for r in report.rows]
    assert operations == sorted(operations)


def test_differences_are_counted_as_the_calls_they_are():
    x = cg.vector("x", 7)
    y = cg.exp(x) * x.sum()
    once = cg.compile([x], [y]).cost.total
    row = cg.compare_modes(y, x).row("differences")
    assert row.flops == 8 * once.flops + 2 * 49
    assert row.transcendentals == 8 * once.transcendentals
    calls = []

    def counted(array):
        calls.append(array.copy())
        return [np.exp(array) * array.sum()]

    ((found,),) = differences(counted, [np.linspace(0, 1, 7)], [0])
    assert len(calls) == row.sweeps == 8
    a = np.linspace(0, 1, 7)
    want = np.diag(np.exp(a) * a.sum()) + np.exp(a)[:, None]
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_the_auto_mode_is_the_one_that_jacobian_takes():
    wide, tall = cg.vector("w", 40), cg.vector("t", 2)
    for x, widths in ((wide, (30, 2)), (tall, (30, 40))):
        y = layers(x, widths, 1)
        report = cg.compare_modes(y, x)
        assert report.auto in {r.mode for r in report.rows}
        assert f"mode {report.auto!r} was taken" in str(report)
        assert "(auto)" in str(report)
    assert cg.compare_modes(layers(wide, (30, 1), 1), wide).auto == "reverse"
    narrow = layers(cg.vector("n", 40), (2, 40), 1)
    (x,) = [n for n in cg.Graph([], [narrow]).nodes if n.op.name == "input"]
    report = cg.compare_modes(narrow, x, at={x: RNG.normal(size=40)})
    assert report.auto == "mixed"
    assert report.row("mixed").flops < report.row("forward").flops
    assert report.row("mixed").sweeps < 40


def test_symbolic_derivatives_swell():
    x = cg.scalar("x")
    y = x
    for i in range(1, 6):
        y = y * cg.sin(x + i)
    report = cg.compare_modes(y, x, at={x: 0.4})
    row = report.row("symbolic")
    assert row.sweeps == 0 and row.error < 1e-13
    assert row.written_out > 3 * written_out([y])
    assert row.shared < row.written_out
    a = x + 1
    assert (written_out([a * a]), shared([a * a])) == (3, 2)


def test_what_is_not_possible_has_a_reason():
    x, n = cg.vector("x", "n"), cg.vector("v", 200)
    report = cg.compare_modes(cg.sin(x) * x, x)
    assert report.reasons["symbolic"].startswith("a size is symbolic")
    assert "sparse" in report.reasons
    with pytest.raises(cg.InputError, match=r"there is no row 'sparse': .*symbolic"):
        report.row("sparse")
    with pytest.raises(cg.InputError, match=r"no row 'best': the modes are differ"):
        report.row("best")
    report = cg.compare_modes(cg.sin(n), n)
    assert "40,000 entries are too many for sympy" in report.reasons["symbolic"]
    h = cg.exp(n)
    report = cg.compare_modes(cg.sin(h), h)
    assert "only inputs can be moved" in report.reasons["differences"]


def test_the_gradient_costs_a_small_multiple_of_the_function():
    x = cg.vector("x", 50)
    y = (layers(x, (40, 30), 1) ** 2).sum()
    report = cg.compare_modes(y, x)
    f = cg.compile([x], y).cost.total
    both = cg.compile([x], [y, cg.grad(y, x)]).cost.total
    want = (both.flops + both.transcendentals) / (f.flops + f.transcendentals)
    assert report.ratio == pytest.approx(want, rel=0.05)
    assert 1 < report.ratio < 5
    assert "theory: at most 5" in str(report)


def test_sizes_and_their_sweep():
    x, w = cg.vector("x", "n"), cg.matrix("w", ("m", "n"))
    u = cg.matrix("u", ("n", "n"))
    y = w @ cg.tanh(u @ x)
    report = cg.compare_modes(y, x, sizes={"n": 20, "m": 4})
    assert report.sizes == {"n": 20, "m": 4}
    sweep = report.sweep(n=[10, 20], m=[1, 2, 200, 2000])
    assert len(sweep.points) == 8
    (point,) = report.sweep(n=[20], m=[4]).points
    for mode in ("forward", "reverse"):
        row = report.row(mode)
        assert getattr(point, mode) == row.flops + row.transcendentals
    winners = {(p.first, p.second): p.cheaper for p in sweep.points}
    assert winners[10, 1] == "reverse" and winners[10, 2000] == "forward"
    line = dict(sweep.break_even)
    assert set(line) == {10, 20} and line[10] in (2, 200, 2000)
    assert json.loads(json.dumps(sweep.to_dict()))["names"] == ["n", "m"]
    assert str(sweep).splitlines()[0].split() == [
        *("n", "m", "forward", "reverse", "cheaper")
    ]
    assert sweep.to_markdown() and sweep._repr_html_()
    with pytest.raises(
        cg.InputError, match=r"one or two symbolic dimensions; there are: m, n"
    ):
        report.sweep(k=[1])
    with pytest.raises(cg.InputError, match=r"sweep: the size -1 of 'n'"):
        report.sweep(n=[-1], m=[1])


def test_dense_seeds_cost_what_matrices_cost():
    """sum(W exp x): forward carries an (n, n) matrix, backward vectors."""
    x, w = cg.vector("x", "n"), cg.matrix("w", ("d", "n"))
    y = (w @ cg.exp(x)).sum()
    sizes = {"n": 30, "d": 20}
    skipping = cg.compare_modes(y, x, sizes=sizes)
    report = cg.compare_modes(y, x, sizes=sizes, seeds="dense")
    assert report.seeds == "dense" and skipping.seeds == "identity"
    # exp's factors on the matrix, the product, and the sum over d
    assert report.row("forward").flops == 30 * 30 + 2 * 20 * 30 * 30 + 20 * 30
    assert skipping.row("forward").flops < report.row("forward").flops / 10
    assert report.row("reverse").flops == skipping.row("reverse").flops
    at = {x: RNG.normal(size=4), w: RNG.normal(size=(3, 4))}
    z = [cg.tanh(w @ x), (w * x).sum()]
    report = cg.compare_modes(z, [x, w], at=at, seeds="dense")
    assert all(report.row(m).error < 1e-14 for m in ("forward", "reverse"))
    assert "multiply by dense matrices" in str(report)
    assert report.to_dict()["seeds"] == "dense"
    with pytest.raises(cg.InputError, match=r"seeds is 'full'; use \"identity\" or"):
        cg.compare_modes(y, x, seeds="full")


def test_a_sweep_over_one_size():
    x, w = cg.vector("x", "n"), cg.matrix("w", ("m", "n"))
    y = (w @ cg.exp(x)).sum()
    report = cg.compare_modes(y, x, sizes={"n": 20, "m": 4}, seeds="dense")
    line = report.sweep(n=np.array([0, 1, 20]))
    assert [p.size for p in line.points] == [0, 1, 20]
    for mode in ("forward", "reverse", "differences"):
        row = report.row(mode)
        assert line.points[-1].modes[mode] == row.flops + row.transcendentals
    assert line.points[-1].ratio == pytest.approx(report.ratio)
    assert 1 < line.points[1].ratio < 5
    assert json.loads(json.dumps(line.to_dict()))["bound"] == 5
    assert str(line).split()[0] == "n" and "| n |" in line.to_markdown()
    assert line._repr_html_().startswith("<table>")
    for given, message in (
        ({"n": 5}, r"'n' needs a list of sizes, such as \[1, 10\]"),
        ({"n": []}, r"'n' needs a list of sizes"),
        ({"n": [1.5]}, r"the size 1.5 of 'n' is no integer"),
        ({"n": [1], "m": [1], "k": [1]}, r"one or two symbolic dimensions"),
    ):
        with pytest.raises(cg.InputError, match=message):
            report.sweep(**given)
    v = cg.vector("v", 3)
    with pytest.raises(cg.InputError, match=r"no size is symbolic"):
        cg.compare_modes(cg.sin(v), v).sweep(n=[1])


def test_depths_of_what_is_no_function_of_a_depth():
    x = cg.vector("x", "n")
    y = cg.sin(x).sum()
    with pytest.raises(cg.InputError, match=r"build must return a scalar expression"):
        cg.compare_depths(lambda depth: y, [1])
    with pytest.raises(cg.InputError, match=r"sizes are missing: n"):
        cg.compare_depths(lambda depth: (y, x), [1])
    with pytest.raises(cg.ShapeError, match=r"the result must be a scalar"):
        cg.compare_depths(lambda depth: (cg.sin(x), x), [1], sizes={"n": 3})
    (point,) = cg.compare_depths(lambda depth: (y, x), [1], sizes={"n": 3}).points
    both = cg.cost(cg.compile([x], [y, cg.grad(y, x)]), sizes={"n": 3})
    assert point.gradient == both.total.flops + both.total.transcendentals
    assert point.reverse == both.peak and 1 < point.ratio < 5


def test_errors_of_results_that_are_not_finite():
    nan, inf = np.nan, np.inf
    for got, truth, want in (
        ([1.0, nan], [1.0, nan], 0.0),
        ([1.0, inf], [2.0, inf], 0.5),
        ([1.0, nan], [1.0, 2.0], inf),
        ([inf], [-inf], inf),
        ([], [], 0.0),
    ):
        assert relative_error(np.array(got), np.array(truth)) == want
    x = cg.vector("x", 2)
    report = cg.compare_modes(cg.exp(x), x, at={x: np.array([1e4, 0.0])})
    assert report.row("forward").error == 0
    assert report.row("differences").error == inf


def test_more_than_the_bound_is_explained():
    x = cg.vector("x", 2)
    report = cg.compare_modes(cg.log(x), x)
    assert report.ratio > 5 and "more than by theory: " in str(report)


def test_memory_of_reverse_mode_grows_with_depth():
    def build(depth):
        x = cg.vector("x", 1000)
        h = x
        for _ in range(depth):
            h = cg.tanh(cg.cumsum(h))
        return h.sum(), x

    points = cg.compare_depths(build, [4, 8, 16]).points
    forward = [p.forward for p in points]
    reverse = [p.reverse for p in points]
    assert forward[0] == forward[-1]
    assert reverse[2] - reverse[1] >= 8 * 8000 > 0
    assert reverse[1] - reverse[0] >= 4 * 8000


def test_containers_and_other_dtypes():
    x, k = cg.vector("x", 3, dtype="float32"), cg.scalar("k")
    y = {"a": x * 2 + k.astype("float32"), "b": (x * x).sum()}
    at = {x: np.ones(3, np.float32), k: 2.0}
    report = cg.compare_modes(y, [x, k], at=at)
    for mode in ("forward", "reverse"):
        assert report.row(mode).error < 1e-6
    empty = cg.vector("e", 0)
    report = cg.compare_modes(cg.sin(empty), empty, at={empty: np.zeros(0)})
    assert report.row("reverse").error == 0


def test_report_as_text_html_and_numbers():
    x = cg.vector("<x>", 2)
    report = cg.compare_modes(cg.sin(x), x)
    assert report.rows[0].seconds is None
    data = json.loads(json.dumps(report.to_dict()))
    assert data["auto"] == report.auto and data["bound"] == 5
    assert len(data["rows"]) == len(report.rows)
    assert report.to_markdown().count("\n") == len(report.rows) + 1
    assert "<x>" not in report._repr_html_()


def test_mistakes():
    x, y = cg.vector("x", "n"), cg.vector("y", "n")
    z = cg.sin(x) * y
    with pytest.raises(cg.InputError, match=r"at has no array for y: float64"):
        cg.compare_modes(z, x, at={x: [1.0]})
    with pytest.raises(cg.InputError, match=r"the key 'x' of at is no input"):
        cg.compare_modes(z, x, at={"x": [1.0]})
    with pytest.raises(cg.InputError, match=r"at must be a dictionary"):
        cg.compare_modes(z, x, at=[1.0])
    with pytest.raises(cg.InputError, match=r"give either at or sizes"):
        cg.compare_modes(z, x, at={x: [1.0], y: [1.0]}, sizes={"n": 1})
    with pytest.raises(cg.InputError, match=r"no dimension is named 'k'"):
        cg.compare_modes(z, x, sizes={"n": 1, "k": 2})
    with pytest.raises(cg.InputError, match=r"y is <function .* a function. Give the"):
        cg.compare_modes(lambda x: x, x)
    with pytest.raises(cg.InputError, match=r"there is nothing to differentiate"):
        cg.compare_modes(z, [])
    with pytest.raises(cg.DisconnectedInputError):
        cg.compare_modes(cg.sin(x), cg.scalar("s"))
    with pytest.raises(cg.DTypeError):
        cg.compare_modes(cg.vector("i", 3, dtype="int64") * 2, x)
    with pytest.raises(cg.ShapeError):
        cg.compare_modes(z, x, at={x: [1.0], y: [1.0, 2.0]})


def test_plots(monkeypatch):
    pytest.importorskip("matplotlib")
    x = cg.vector("x", "n")
    w = cg.matrix("w", ("m", "n"))
    y = w @ cg.tanh(cg.matrix("u", ("n", "n")) @ x)
    report = cg.compare_modes(y, x)
    ax = report.plot()
    assert len(ax.patches) == len(report.rows)
    assert report.plot(ax) is ax
    sweep = report.sweep(n=[1, 10, 100], m=[1, 10, 1000])
    assert sweep.plot().get_xlabel() == "n"
    line = report.sweep(n=[1, 10, 100])
    depths = cg.compare_depths(lambda d: (cg.sin(x * d).sum(), x), [1, 2], {"n": 3})
    for subject, first in ((line, "operations"), (depths, "memory")):
        assert subject.plot().get_legend() is not None
        ax = subject.plot(what="ratio")
        labels = [t.get_text() for t in ax.get_legend().get_texts()]
        assert "bound 5, Griewank & Walther 2008" in labels
        assert ax.get_ylim()[1] > 5
        with pytest.raises(cg.InputError, match=rf"use '{first}' or 'ratio'"):
            subject.plot(what="time")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for plot in (report.plot, sweep.plot, line.plot, depths.plot):
        with pytest.raises(cg.MissingPackageError, match="pip install"):
            plot()


# ----------------------------------------------------------------- command line

SOURCE = """
import graphc as cg
x = cg.vector("x", "n")
w = cg.matrix("w", ("m", "n"))
y = w @ cg.sin(x)
"""


@pytest.fixture
def subject(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(SOURCE)
    return f"{path}:y"


def test_graphc_compare(subject, capsys, tmp_path):
    assert main(["compare", subject, "x", "--size", "n=3", "--size", "m=2"]) == 0
    assert "counted for m = 2, n = 3" in capsys.readouterr().out
    sizes_given = ["--size", "n=3", "--size", "m=2"]
    assert main(["compare", subject, "x", *sizes_given, "--dense"]) == 0
    assert "multiply by dense matrices" in capsys.readouterr().out
    assert main(["compare", subject, "x", *sizes_given, "--measure", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(r["seconds"] > 0 for r in found["rows"])
    pytest.importorskip("matplotlib")
    picture = tmp_path / "modes.svg"
    assert main(["compare", subject, "x", "--plot", str(picture)]) == 0
    assert "<svg" in picture.read_text()
    assert not list(tmp_path.glob(".*tmp"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["z"], "no input is named 'z'; the inputs are: "),
        (["x", "--size", "n"], "--size n: write it as n=100."),
        (["x", "--measure"], "--measure: sizes are missing: m, n."),
        (["x", "--plot", "a.gif"], "the file must end in .png, .svg or .pdf."),
        (["x", "--plot", "/nowhere/a.png"], "cannot write /nowhere/a.png"),
    ],
)
def test_graphc_compare_of_mistakes(subject, arguments, message, capsys):
    assert main(["compare", subject, *arguments]) == 1
    assert message in capsys.readouterr().err
