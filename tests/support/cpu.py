"""Compiling for the CPU in tests, and comparing with the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import graphc as cg
from graphc.backends.reference import run
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.leaf import new_input
from graphc.types.tensor_type import tensor_type

RTOL = {"float32": 3e-5, "float64": 1e-11}


def placeholders(*arrays: np.ndarray, shapes: Any = None) -> list[Node]:
    """Return an input for each array; `shapes` may declare symbolic sizes."""
    shapes = [a.shape for a in arrays] if shapes is None else shapes
    return [
        new_input(f"x{i}", tensor_type(s, a.dtype))
        for i, (a, s) in enumerate(zip(arrays, shapes))
    ]


def assert_close(
    got: np.ndarray, wanted: np.ndarray, what: str, rtol: Any = None, scale: float = 0.0
) -> None:
    """Compare an array with the expected one: types, NaNs, values to rounding.

    Errors are relative to the largest number, or to `scale` if that is larger.
    """
    wanted = np.asarray(wanted)
    assert isinstance(got, np.ndarray), what
    assert got.dtype == wanted.dtype, f"{what}: {got.dtype} for {wanted.dtype}"
    assert got.shape == wanted.shape, f"{what}: {got.shape} for {wanted.shape}"
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, wanted, what)
        return
    rtol = RTOL[got.dtype.name] if rtol is None else rtol
    finite = np.abs(wanted[np.isfinite(wanted)])
    scale = max(scale, float(finite.max()) if finite.size else 0.0)
    np.testing.assert_allclose(
        got, wanted, rtol=rtol, atol=rtol * min(scale, 1e30), err_msg=what
    )


def assert_cpu_agrees(
    inputs: Sequence[Node],
    outputs: Sequence[Node],
    *calls: Sequence[np.ndarray],
    rtol: Any = None,
) -> cg.Function:
    """Compile once and compare each call with the interpreter; return the function."""
    function = cg.compile(list(inputs), list(outputs))
    for arrays in calls:
        wanted = run(Graph(inputs, outputs), list(arrays))
        got = function(*arrays)
        shapes = [a.shape for a in arrays]
        for number, (node, g, w) in enumerate(zip(outputs, got, wanted)):
            what = f"output {number}, {node!r}, for {shapes}"
            assert_close(g, w, what, rtol)
    return function
