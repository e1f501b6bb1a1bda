"""Every example runs; each asserts its own numbers."""

import runpy
import tempfile
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example(script, tmp_path, monkeypatch, capsys):
    if script.stem == "digits_mlp":
        pytest.importorskip("sklearn")
        pytest.importorskip("tqdm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out


def test_the_table_lists_every_script():
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for script in SCRIPTS:
        assert f"| `{script.name}` |" in table
