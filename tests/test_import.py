"""Importing graphc is quick because it loads next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import graphc as cg

ROOT = Path(__file__).parents[1]
HEAVY = ("numba", "llvmlite", "sympy", "networkx", "scipy", "opt_einsum", "matplotlib")


def loaded_after(code: str) -> set[str]:
    """Return the top-level modules and graphc's that a fresh process has loaded."""
    program = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_loads_neither_numpy_nor_the_layers():
    modules = loaded_after("import graphc")
    assert not {m for m in modules if m.split(".")[0] in (*HEAVY, "numpy")}
    # The table of operators and the errors it raises; nothing else of graphc.
    assert {m for m in modules if m.startswith("graphc")} == {
        "graphc",
        "graphc.graph",
        "graphc.graph.operators",
        "graphc.types",
        "graphc.types.errors",
    }


def test_building_and_differentiating_loads_nothing_heavy():
    modules = loaded_after(
        "import graphc as cg\n"
        "x = cg.vector('x', 'n')\n"
        "y = (cg.sin(x) @ x + cg.nn.softmax(x).sum()) / 2\n"
        "cg.grad(y, x)\n"
        "str(cg.Graph([x], [y]))\n"
    )
    assert not {m for m in modules if m.split(".")[0] in HEAVY}


def test_every_public_name_is_there():
    for name in cg.__all__:
        assert getattr(cg, name, cg) is not cg, name


def test_dir_and_all_agree():
    assert set(cg.__all__) <= set(dir(cg))
    assert {"vector", "sin", "einsum", "grad", "nn", "linalg", "pi"} <= set(cg.__all__)


def test_star_import():
    namespace: dict = {}
    exec("from graphc import *", namespace)
    assert namespace["sin"] is cg.sin


def test_unknown_name_suggests():
    with pytest.raises(AttributeError, match=r"no attribute 'sinn'.*sin"):
        cg.sinn  # noqa: B018


def test_names_of_later_issues_are_not_stubs():
    for name in ("scan", "while_loop", "cond", "random"):
        assert not hasattr(cg, name)


def test_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project.get("version", cg.__version__) == cg.__version__


def test_static_names_agree_with_lazy_ones():
    """What type checkers see under TYPE_CHECKING is what is loaded at run time."""
    import ast

    tree = ast.parse((ROOT / "graphc" / "__init__.py").read_text())
    (block,) = (
        n
        for n in tree.body
        if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n)
    )
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        for alias in statement.names:
            if alias.name != "*":
                assert (alias.asname or alias.name) in cg.__all__


def test_functions_have_names_signatures_and_docstrings():
    import inspect

    from graphc.expressions.functions import FUNCTIONS

    for name, function in FUNCTIONS.items():
        assert function.__doc__, name
        if not inspect.isclass(function):
            assert inspect.signature(function) is not None


def test_functions_pickle():
    import pickle

    assert pickle.loads(pickle.dumps(cg.sin)) is cg.sin
