"""What notebooks are given of expressions, graphs, functions and pictures."""

import html
import re
import subprocess
import sys

import pytest

import graphc as cg
from graphc.surfaces.draw.notebook import FORMULA_NODES
from graphc.surfaces.draw.picture import NOTEBOOK_BOXES


def chain(count):
    y = cg.scalar("x")
    for _ in range(count):
        y = cg.sin(y)
    return y


def test_small_things_have_pictures():
    x = cg.vector("x", "n")
    y = cg.sum(x * x)
    f = cg.compile([x], y, backend="reference")
    for subject in (y, x, f, f.graph, cg.draw(y)):
        assert subject._repr_svg_().startswith("<?xml")
    assert cg.draw(y)._repr_html_() is None


@pytest.mark.parametrize("repr_", ["_repr_svg_", "_repr_latex_"])
def test_large_things_have_neither(repr_):
    assert getattr(chain(NOTEBOOK_BOXES + 1), repr_)() is None


def test_scalars_have_formulas():
    x, y = cg.scalar("x"), cg.scalar("y")
    sympy = pytest.importorskip("sympy")
    sx, sy = sympy.symbols("x y", real=True)
    shown = (cg.sin(x) ** 2 / y)._repr_latex_()
    assert shown == f"$\\displaystyle {sympy.latex(sympy.sin(sx) ** 2 / sy)}$"
    assert (x * cg.vector("v", 3))._repr_latex_() is None
    assert x._repr_latex_() is None  # its name says it
    assert cg.sum(cg.vector("v", "n"))._repr_latex_() is None
    assert chain(FORMULA_NODES)._repr_latex_() is None
    hostile = cg.scalar("$</script>")
    assert cg.sin(hostile)._repr_latex_() is None
    assert "<script>" not in cg.sin(hostile)._repr_svg_()


def test_large_pictures_are_a_viewer_in_a_frame_of_its_own():
    y = chain(NOTEBOOK_BOXES + 1)
    y.name = '"></iframe><script>alert(1)</script>'
    picture = cg.draw(y)
    assert picture._repr_svg_() is None
    shown = picture._repr_html_()
    frame = re.fullmatch(r'<iframe [^>]*srcdoc="([^"<>]*)"></iframe>', shown)
    assert 'sandbox="allow-scripts"' in shown
    assert html.unescape(frame[1]) == picture.html
    assert cg.draw(chain(20_001))._repr_html_() is None


def test_asking_loads_no_sympy_for_arrays():
    code = (
        "import sys, graphc as cg; x = cg.vector('x', 3); (x + 1)._repr_latex_();"
        "(x + 1)._repr_svg_(); print('sympy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "False", run.stderr
