"""Expressions from text: what is read, and that nothing is ever executed."""

import builtins
import re

import numpy as np
import pytest

import graphc as cg
from graphc.surfaces.cli import main
from graphc.surfaces.expression_text import (
    ATTRIBUTES,
    MAX_CHARACTERS,
    NAMES,
    inputs_of,
    parse,
)

SHAPES = {"A": "3,4", "x": "4", "b": "3", "c": "", "v": "n"}
RNG = np.random.default_rng(0)
VALUES = {
    "A": RNG.normal(size=(3, 4)),
    "x": RNG.normal(size=4),
    "b": RNG.normal(size=3),
    "c": np.array(1.5),
    "v": RNG.normal(size=7),
}


def value_of(text):
    inputs = inputs_of(SHAPES)
    made = parse(text, inputs)
    return cg.evaluate(made, {inputs[k]: v for k, v in VALUES.items()})


@pytest.mark.parametrize(
    "text, expected",
    [
        ("sum((A @ x - b)**2)", lambda A, x, b, c, v: np.sum((A @ x - b) ** 2)),
        ("A.T @ b", lambda A, x, b, c, v: A.T @ b),
        ("-x[1:3] * 2 + +c", lambda A, x, b, c, v: -x[1:3] * 2 + c),
        ("A[0, ::-1]", lambda A, x, b, c, v: A[0, ::-1]),
        ("A[..., None]", lambda A, x, b, c, v: A[..., None]),
        ("np.exp(v).sum(axis=0)", lambda A, x, b, c, v: np.exp(v).sum(axis=0)),
        ("where(x > 0, x, 0.5)", lambda A, x, b, c, v: np.where(x > 0, x, 0.5)),
        ("(x > 0) & ~(x < 1)", lambda A, x, b, c, v: (x > 0) & ~(x < 1)),
        ("mean(v) / v.shape[0]", lambda A, x, b, c, v: v.mean() / 7),
        ("pi * c // 2 % 3", lambda A, x, b, c, v: np.pi * c // 2 % 3),
        ("linalg.det(A @ A.T)", lambda A, x, b, c, v: np.linalg.det(A @ A.T)),
        ("einsum('ij,j->i', A, x)", lambda A, x, b, c, v: A @ x),
        ("h = A @ x; h * h", lambda A, x, b, c, v: (A @ x) ** 2),
        ("grad(sum(x * x), x)", lambda A, x, b, c, v: 2 * x),
    ],
)
def test_values_are_numpys(text, expected):
    np.testing.assert_allclose(value_of(text), expected(**VALUES))


def test_containers_and_names():
    inputs = inputs_of(SHAPES)
    made = parse("h = tanh(A @ x)\n{'h': h, 'all': [h, (x, b)]}", inputs)
    assert made["h"].name == "h" and made["all"][0] is made["h"]
    assert made["all"][1][0] is inputs["x"]
    assert made["h"].origin == ("expression", 1)
    assert parse("sum", {"sum": inputs["x"]}) is inputs["x"]  # inputs hide functions


@pytest.mark.parametrize(
    "text, message",
    [
        ("A @ q", r"q at column 5 is neither.*--shape q=3,4, or --shape q= for a"),
        ("summ(x)", "Did you mean sum"),
        ("x +", "is not an expression"),
        ("sum(x", r"never closed at column 4"),
        ("", "is empty"),
        ("h = x", "no expression; the text must end with one"),
        ("import os; x", "before the last expression only name = expression"),
        ("x[0] = 1; x", "only name = expression"),
        ("x and b", "write & for and"),
        ("not x", "write ~ for not"),
        ("x if c else b", r"write where\(condition, a, b\)"),
        ("lambda: x", "is not part of"),
        ("[i for i in x]", "write the entries out"),
        ("0 < x < 1", r"write \(a < b\) & \(b < c\)"),
        ("x << 2", "is not part of"),
        ("f'{x}'", "is not part of"),
        ("b'x'", "is no number"),
        ("2j * x", "is no number"),
        ("sum(*x)", "is not part of"),
        ("sum(**x)", "is not part of"),
        ("sum(x, foo=1)", "unexpected keyword argument"),
        ("x(1)", "is no function"),
        ("pi(1)", "is no function"),
        ("sum + 1", "not something to calculate with"),
        ("'a' * 3", "not something to calculate with"),
        ("1 / 0", "division by zero"),
        ("9**9**9", "too large a number"),
        ("c ** (9**9**9)", "too large a number"),
        ("2 ** -100000", "too large a number"),
        ("v.shape[0] ** 100000", "powers 0 to 8"),
        ("sum[0]", "takes no index"),
        ("x.shape[3]", "index"),
        ("{x: b}", "keys must be strings"),
        ("{**x}", "keys must be strings"),
        ("A @ b", "matmul"),
        ("x\0", "cannot be read|null"),
        ("(" * 250 + "x" + ")" * 250, "too many nested|nested too deeply"),
        ("-" * 9000 + "x", "nested too deeply|too many nested|recursion"),
        ("x" + "+x" * (MAX_CHARACTERS // 2), "is too long"),
    ],
)
def test_errors(text, message):
    with pytest.raises(cg.GraphcError, match=message):
        parse(text, inputs_of(SHAPES))


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch hacked')",
        "eval('1')",
        "exec('1')",
        "open('hacked', 'w')",
        "x.__class__.__mro__",
        "x.__reduce__()",
        "x.op",
        "x.sum.__globals__",
        "sum.__globals__",
        "linalg.__builtins__",
        "linalg.np",
        "nn.__loader__",
        "np.load('f')",
        "().__class__.__bases__[0].__subclasses__()",
        "'{0.__class__}'.format(x)",
        "x.__getattribute__('op')",
        "getattr(x, 'op')",
        "globals()",
        "x.evaluate()",
        "[].append(x)",
    ],
)
def test_nothing_is_executed(text, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("eval", "exec", "open"):
        monkeypatch.setattr(
            builtins, name, lambda *a, **k: pytest.fail("something was executed")
        )
    with pytest.raises(cg.InputError):
        parse(text, inputs_of(SHAPES))
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_no_name_leads_out_of_the_grammar():
    for name, value in NAMES.items():
        assert not name.startswith("_")
        assert not isinstance(value, type(re)), name  # a module
    assert set(ATTRIBUTES) == {"T", "mT", "ndim", "shape", "size"}


@pytest.mark.parametrize(
    "shapes, message",
    [
        ({"2x": "3"}, "'2x' is not a name"),
        ({"x": "3,-1"}, "-1"),
        ({"x": "3;4"}, "3;4"),
        ({"x": "__import__('os')"}, "__import__"),
    ],
)
def test_shapes(shapes, message):
    with pytest.raises(cg.GraphcError, match=message):
        inputs_of(shapes)
    made = inputs_of({"a": "3,", "b": "2, m"})
    assert made["a"].shape == (3,) and str(made["b"].type) == "float64(2, m)"


def test_the_command(tmp_path, capsys):
    out = tmp_path / "g.svg"
    text = "sum((A @ x - b)**2)"
    shapes = ["--shape", "A=3,4", "--shape", "x=4", "--shape", "b=3"]
    assert main(["draw", text, *shapes, "-o", str(out)]) == 0
    assert out.read_text().startswith("<?xml")
    assert "nodes" in capsys.readouterr().out
    assert main(["draw", text, *shapes, "--dtype", "float32"]) == 0
    assert "A  float32(3, 4)" in capsys.readouterr().out
    for arguments, message in (
        (["draw", text], "A at column 6 is neither an input nor"),
        (["draw", "x", "--shape", "x"], "not of the form NAME=VALUE"),
        (["draw", "x", "--shape", "x=", "--shape", "x=2"], "is given twice"),
        (["draw", "x", "a.svg", "-o", "b.svg", "--shape", "x="], "two files"),
        (["draw", "x", "--shape", "x=", "--dtype", "float9"], "float9"),
        (["draw", "x", "--shape", "x=", "-o", "a/b.svg"], "cannot write a/b.svg"),
    ):
        assert main(arguments) == 1
        assert message in capsys.readouterr().err
