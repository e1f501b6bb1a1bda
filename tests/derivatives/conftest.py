"""Derivatives are tested by themselves: functions run on the reference interpreter."""

from __future__ import annotations

import numpy as np
import pytest

import graphc.runtime.compile  # noqa: F401  (so that what is patched is put back)
from graphc.backends.reference import run
from graphc.expressions.containers import flatten
from graphc.graph import operators
from graphc.graph.graph import Graph


def evaluate(tree, at):
    """Return nested expressions evaluated at ``{input: array}``."""
    leaves, structure = flatten(tree)
    arrays = [np.asarray(a, x.dtype) for x, a in at.items()]
    return structure.unflatten(run(Graph(list(at), leaves), arrays))


def compile_reference(inputs, outputs):
    """Return a callable that interprets nested expressions of the inputs."""
    return lambda *arrays: evaluate(outputs, dict(zip(inputs, arrays)))


@pytest.fixture(autouse=True)
def reference_runtime(monkeypatch):
    monkeypatch.setitem(operators.FUNCTIONS, "evaluate", evaluate)
    monkeypatch.setitem(operators.FUNCTIONS, "compile", compile_reference)


@pytest.fixture(name="evaluate")
def evaluate_fixture():
    return evaluate
