"""The order of the layers: a module imports only from its own layer and those above."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

LAYERS = (
    "types",
    "graph",
    "ops",
    "expressions",
    "derivatives",
    "passes",
    "kernels",
    "schedule",
    "backends",
    "runtime",
    "surfaces",
)
PACKAGE = Path(__file__).parents[1] / "graphc"
MODULES = sorted(PACKAGE.glob("*/**/*.py"))


def imported(tree: ast.Module, module: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return line and dotted name of every import that runs, in functions too."""
    found = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join((*module[: -node.level], *filter(None, [base])))
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
        waiting.extend(ast.iter_child_nodes(node))
    return found


def violations(path: Path, source: str) -> list[str]:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    place = LAYERS.index(parts[1])
    out = []
    for line, name in imported(ast.parse(source), parts):
        target = name.split(".")
        if target[0] != "graphc" or len(target) < 2:
            continue
        if target[1] in LAYERS and LAYERS.index(target[1]) > place:
            out.append(f"{'/'.join(parts)}.py:{line} imports {name}")
    return out


def test_every_folder_is_a_layer():
    folders = {p.parent.name for p in PACKAGE.glob("*/*.py")}
    assert folders <= set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_up_only(path):
    assert violations(path, path.read_text()) == []


def test_the_check_finds_what_it_looks_for():
    path = PACKAGE / "ops" / "x.py"
    source = (
        "from graphc.types import sizes\n"
        "from graphc.ops import leaf\n"
        "def f():\n"
        "    from graphc.derivatives.api import grad\n"
        "import graphc.runtime.compile\n"
        "from ..expressions import nn\n"
        "from graphc import passes\n"
        "if TYPE_CHECKING:\n"
        "    from graphc.surfaces import draw\n"
    )
    assert sorted(violations(path, source)) == [
        "graphc/ops/x.py:4 imports graphc.derivatives.api.grad",
        "graphc/ops/x.py:5 imports graphc.runtime.compile",
        "graphc/ops/x.py:6 imports graphc.expressions.nn",
        "graphc/ops/x.py:7 imports graphc.passes",
    ]
