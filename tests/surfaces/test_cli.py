"""The command line: every command, its messages and exit statuses."""

import re
import subprocess
import sys

import pytest

from graphc.surfaces import doctor
from graphc.surfaces.cli import main
from graphc.types.config import config

MODEL = """
import graphc as cg

x = cg.vector("x", 3)
loss = cg.sum(x**2)

class nested:
    both = [loss, cg.grad(loss, x)]
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return path


def test_draw(model, tmp_path, capsys):
    for name in ("loss", "nested.both"):
        out = tmp_path / f"{name}.svg"
        assert main(["draw", f"{model}:{name}", str(out)]) == 0
        assert out.read_text().startswith("<?xml")
        assert f"{out}: " in capsys.readouterr().out


def test_draw_a_module(model, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["draw", "model:loss", str(tmp_path / "loss.dot")]) == 0


@pytest.mark.parametrize(
    "subject, message",
    [
        ("model.py", "no file model.py"),
        ("missing.py:loss", "no file"),
        ("missing_module_xyz:loss", "No module named"),
        ("{model}:lost", "has no lost"),
        ("{broken}:x", r"ZeroDivisionError.*broken.py:1"),
    ],
)
def test_draw_errors(subject, message, model, tmp_path, capsys):
    broken = tmp_path / "broken.py"
    broken.write_text("x = 1 / 0\n")
    subject = subject.format(model=model, broken=broken)
    assert main(["draw", subject, str(tmp_path / "x.svg")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("graphc draw: ")
    assert re.search(message, captured.err)
    assert not (tmp_path / "x.svg").exists()


def test_draw_names_what_there_is(model, capsys):
    text = model.read_text() + "\n\ndef function(x):\n    return x\n"
    model.write_text(text)
    for subject, message in (
        (f"{model}", "write module:name or file.py:name. It has loss, x."),
        (f"{model}:", "It has loss, x."),
        (f"{model}:los", "has no los. It has loss, x."),
        (f"{model}:function", "is a Python function. Draw what it returns"),
    ):
        assert main(["draw", subject]) == 1
        assert message in capsys.readouterr().err


def test_draw_prints_a_tree(model, capsys):
    assert main(["draw", f"{model}:loss"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "sum  float64()  output",
        "\u2514\u2500 x**2  float64(3,)",
        "   \u2514\u2500 x  float64(3,)",
    ]


def test_draw_values(model, tmp_path, capsys):
    out = str(tmp_path / "p.svg")
    neuron = ["1 / (1 + exp(-w * x))", "--shape", "w=", "--shape", "x="]
    assert main(["draw", *neuron, "--at", "w=2", "--at", "x=-1", "-o", out]) == 0
    text = (tmp_path / "p.svg").read_text()
    assert ">0.119<" in text or "= 0.119" in text
    page = str(tmp_path / "p.html")
    at = ["--at", "x=[1, 2, 3]", "--size", "n=7"]
    assert main(["draw", f"{model}:loss", *at, "-o", page]) == 0
    for wrong, message in (
        (["--at", "w=2"], "at= has no value for the input x"),
        (["--at", "w=__import__('os')"], "is no number or list of numbers"),
        (["--at", "w"], "is not of the form NAME=VALUE, such as x=-1"),
        (["--at", "w=1", "--at", "w=2"], "is given twice"),
        (["--size", "n=x"], "is no integer"),
    ):
        assert main(["draw", *neuron, *wrong]) == 1
        assert message in capsys.readouterr().err


def test_a_terminal_gets_colours(model, monkeypatch):
    pytest.importorskip("rich", reason="rich is not installed")
    pty = pytest.importorskip("pty")
    import os

    def seen(**environment):
        command = [sys.executable, "-m", "graphc", "draw", f"{model}:loss"]
        ours, theirs = pty.openpty()
        kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "CI")}
        env = {**kept, "TERM": "xterm-256color", "COLUMNS": "80", **environment}
        run = subprocess.run(command, stdout=theirs, stdin=theirs, env=env, timeout=60)
        os.close(theirs)
        assert run.returncode == 0
        return os.read(ours, 100_000).decode()

    assert "\x1b[1;34m" in seen()  # bold, blue: the forward part
    plain = seen(NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", plain)
    text = re.sub(r"\x1b\[[0-9;]*m", "", plain)
    assert "x**2  float64(3,)" in text


def test_draw_unknown_suffix(model, tmp_path, capsys):
    assert main(["draw", f"{model}:loss", str(tmp_path / "x.jpeg")]) == 1
    assert ".svg, .html, .png" in capsys.readouterr().err


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    import numpy
    import scipy

    for word in ("graphc", "numba", "llvmlite", "sympy", "networkx", "CUDA", "BLAS"):
        assert word in text
    assert numpy.__version__ in text and scipy.__version__ in text
    assert "failed" not in text


def test_doctor_reports_what_is_broken(monkeypatch):
    def broken():
        raise RuntimeError("no such thing")

    monkeypatch.setattr(doctor, "_blas", broken)
    assert "RuntimeError: no such thing" in doctor.report()


def test_usage_errors(capsys):
    for arguments in ([], ["unknown"], ["demo", "--epochs", "0"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    capsys.readouterr()


def test_python_dash_m():
    run = subprocess.run(
        [sys.executable, "-m", "graphc", "doctor"], capture_output=True, text=True
    )
    assert run.returncode == 0 and "numpy" in run.stdout


def test_cache(tmp_path, capsys):
    with config(cache_dir=str(tmp_path)):
        assert main(["cache"]) == 0
        assert capsys.readouterr().out == f"{tmp_path}: 0 kernels, 0.0 MB\n"
        (tmp_path / "ab").mkdir()
        (tmp_path / "ab" / "abc.o").write_bytes(bytes(2_000_000))
        assert main(["cache", "show"]) == 0
        assert "1 kernels, 2.0 MB" in capsys.readouterr().out
        assert main(["cache", "clear"]) == 0
        assert "1 kernels deleted" in capsys.readouterr().out
        assert main(["cache"]) == 0
        assert "0 kernels" in capsys.readouterr().out
    with config(cache_dir="off"):
        assert main(["cache"]) == 0
        assert "not kept" in capsys.readouterr().out


def test_doctor_looks_at_the_cache_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for folder, said in (
        ("new/folder", "writable         yes"),
        ("file/below", "writable         no"),
    ):
        with config(cache_dir=str(tmp_path / folder)):
            assert main(["doctor"]) == 0
        assert said in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_demo_needs_a_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file")]) == 1
    assert "cannot make the folder" in capsys.readouterr().err


def test_doctor_tells_what_of_cuda_is_here(capsys, monkeypatch):
    from graphc.backends.cuda import shim

    assert main(["doctor"]) == 0
    section = capsys.readouterr().out.split("\nCUDA\n")[1].split("\noptions\n")[0]
    rows = [line.split()[0] for line in section.splitlines()]
    assert rows == ["compiler", "kernels", "linker", "CuPy", "driver", "backend"]
    monkeypatch.setattr(shim, "_why_not", lambda simulated: "nothing is installed.")
    assert "kernels          cannot: nothing is installed." in doctor.report()


def test_cubins_are_in_the_cache(tmp_path, capsys):
    from graphc.backends import disk_cache

    with config(cache_dir=str(tmp_path)):
        disk_cache.write_file(disk_cache.file_path("ab" * 32, ".cubin"), b"code")
        assert main(["cache"]) == 0
        assert "1 kernels" in capsys.readouterr().out
        assert main(["cache", "clear"]) == 0
        assert "1 kernels deleted" in capsys.readouterr().out
