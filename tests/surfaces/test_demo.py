"""The demonstration: it learns, draws, and says what is missing.

The full run, to 97 %, is the example digits_mlp.
"""

import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import graphc as cg
from graphc.surfaces import demo

pytest.importorskip("sklearn")
pytest.importorskip("tqdm")


def test_it_learns_and_draws(tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    result = demo.run(out, epochs=3, backend="reference", quiet=True)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert result.steps == 3 * 45
    assert result.losses[2] < result.losses[1] < result.losses[0] < np.log(10)
    assert result.accuracy > 0.9
    names = {"forward.svg", "forward.png", "backward.svg", "backward.png"}
    assert {p.name for p in result.pictures} == names
    assert {p.name for p in out.iterdir()} == names
    ElementTree.parse(out / "backward.svg")


def test_same_seed_same_result(tmp_path):
    first, again = (
        demo.run(tmp_path, epochs=1, seed=3, backend="reference", quiet=True)
        for _ in range(2)
    )
    assert first.losses == again.losses and first.accuracy == again.accuracy


def test_the_fifth_is_held_out():
    (pixels, labels), (test_pixels, test_labels) = demo.load_digits(0)
    assert pixels.shape == (1438, 64) and test_pixels.shape == (359, 64)
    assert pixels.dtype == np.float32 and len(labels) + len(test_labels) == 1797


def test_adam_normalizes_the_first_gradient():
    # From Gogianu's and Busoniu's notes: m = g, v = g^2 gives a step of signs.
    g = np.array([3.0, -2.0, 5.0])
    x = cg.vector("x", 3)
    new, m, v = cg.evaluate(demo.adam(x, g, 0 * x, 0 * x, 1.0, 0.1), {x: np.zeros(3)})
    np.testing.assert_allclose(new, [-0.1, 0.1, -0.1], rtol=1e-7)
    np.testing.assert_allclose(m, 0.1 * g)
    np.testing.assert_allclose(v, 0.001 * g**2)


@pytest.mark.parametrize("package", ["sklearn.datasets", "tqdm"])
def test_missing_packages(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(cg.MissingPackageError, match=r"graphc\[demo\]"):
        demo.run(tmp_path, epochs=1, backend="reference", quiet=True)
