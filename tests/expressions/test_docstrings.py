"""Docstrings of the generated functions: signature and formula from the declaration."""

from __future__ import annotations

import inspect

import pytest

import graphc as cg
from graphc.expressions.elementwise import FUNCTIONS
from graphc.ops.declare import REGISTRY


@pytest.mark.parametrize(
    ("name", "signature", "formula"),
    [
        ("add", "(x, y, /)", "x + y"),
        ("sin", "(x, /)", "sin(x)"),
        ("where", "(c, x, y, /)", "x if c else y"),
        ("less_equal", "(x, y, /)", "x <= y"),
        ("remainder", "(x, y, /)", "x - (y * floor(x / y))"),
        ("sigmoid", "(x, /)", "1 / (1 + exp(-x))"),
        ("polygamma", "(n, x, /)", "polygamma(n, x)"),
    ],
)
def test_signature_and_formula(name, signature, formula):
    function = getattr(cg, name)
    assert str(inspect.signature(function)) == signature
    assert function.__doc__.startswith(f"Return ``{formula}``, element by element.")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_says_where_it_is_differentiable(name):
    function = FUNCTIONS[name]
    partials = REGISTRY[function.__name__].partials
    ends = "`grad` stops here" in function.__doc__
    assert ends == (partials is None)
    assert ("Differentiable in" in function.__doc__) == (partials is not None)
