"""Mistakes and uses of someone new to graphc: each has its error, or works."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

import graphc as cg
from graphc.types.config import config


@pytest.fixture(autouse=True)
def kernel_cache(tmp_path):
    """Keep compiled kernels out of the user's folder."""
    with config(cache_dir=str(tmp_path / "kernels")):
        yield


def test_a_pickled_function_runs_in_a_process_that_only_imports_pickle(tmp_path):
    x = cg.vector("x", "n")
    path = tmp_path / "f.pickle"
    path.write_bytes(pickle.dumps(cg.compile([x], cg.grad(cg.tanh(x).sum(), x))))
    code = (
        "import pickle, pathlib, sys; "
        "f = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()); "
        "print(float(f([0.0])[0]))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(path)],
        capture_output=True,
        text=True,
    )
    assert (run.stdout.strip(), run.stderr) == ("1.0", "")


@pytest.mark.parametrize(
    ("debug", "kernels", "llvm"), [(2, 0, 0), (3, 1, 0), (4, 1, 1)]
)
def test_debug_prints_kernels_and_their_llvm_code(debug, kernels, llvm, capsys):
    x = cg.vector("x", "n")
    with config(debug=debug):
        f = cg.compile([x], cg.exp(x) * 2)
    shown = capsys.readouterr().err
    name = f.kernels[0].name
    assert (f"def {name}(" in shown) == kernels
    assert (f'@"{name}"' in shown or f"@{name}(" in shown) == llvm


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"threads": -1}, "threads=-1 is negative"),
        ({"threads": "4"}, "threads='4' is of type str, but int is needed"),
        ({"debug": True}, "debug=True is of type bool"),
        ({"cache_dir": None}, "cache_dir=None is of type NoneType"),
    ],
)
def test_options_of_a_wrong_kind_change_nothing(changes, text):
    before = cg.options()
    with pytest.raises(cg.ConfigError, match=text), config(**changes):
        pass
    assert cg.options() is before


def test_evaluate_takes_inputs_not_their_names():
    x = cg.vector("x", "n")
    with pytest.raises(cg.InputError, match="the key 'x' of type str"):
        cg.evaluate(x, {"x": [1.0]})


def test_two_inputs_of_one_name():
    a, b = cg.vector("q"), cg.vector("q")
    with pytest.raises(cg.InputError, match="Another input named 'q' is listed"):
        cg.compile([a], b)
    f = cg.compile([a, b], [a, b], backend="reference")
    with pytest.raises(cg.InputError, match="more than one input is named 'q'"):
        f(q=[1.0])


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (None, "a value of type NoneType, which is no array of numbers"),
        ("abc", "Give an array of float64"),
        (np.ones(2, complex), "There are no complex numbers"),
        (np.ones(2, np.float16), "Give an array of float64"),
        (np.ones(2, np.float32), "declare the input with dtype='float32'"),
    ],
)
def test_the_remedy_for_a_wrong_dtype_is_one_that_works(value, remedy):
    x = cg.vector("x", "n")
    f = cg.compile([x], x, backend="reference")
    with pytest.raises(cg.DTypeError, match=remedy):
        f(value)


def test_formatting_an_expression_as_a_number():
    s = cg.scalar("s")
    assert f"{s}" == str(s)
    with pytest.raises(cg.TracingError, match="The number of the expression s"):
        f"{s:.3f}"


def test_a_complex_value_set_in_an_array():
    with pytest.raises(cg.DTypeError, match="1j makes no array"):
        cg.vector("x", 3).at[0].set(1j)


def test_vmap_of_an_expression():
    x = cg.vector("x", "n")
    with pytest.raises(cg.InputError, match="not a function"):
        cg.vmap(x, x)


@pytest.mark.parametrize(
    ("name", "what"), [("jvp", "tangent"), ("vjp", "cotangent"), ("hvp", "v")]
)
def test_a_missing_direction(name, what):
    x = cg.vector("x", "n")
    with pytest.raises(cg.InputError, match=f"^{what} is missing"):
        getattr(cg, name)((x * x).sum(), x)


def test_check_grad_where_the_function_is_not_finite():
    x = cg.vector("x", "n")
    with pytest.raises(cg.GradientError, match="finite differences nan"):
        cg.check_grad(cg.log(x).sum(), x, at={x: [-1.0, 2.0]})


def test_a_picture_at_a_path_that_cannot_be():
    with pytest.raises(cg.DrawError, match="cannot write"):
        cg.draw(cg.scalar("s"), "a\0b.svg")
