"""Ops and graphs called through the CUDA backend, and compared with the interpreter."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from support.cpu import assert_close
from support.registry import DOMAINS, DTYPES, ELEMENTWISE, params_of, samples

import graphc as cg
from graphc.backends.reference import run
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.leaf import new_input
from graphc.types.errors import DTypeError
from graphc.types.tensor_type import tensor_type

GROUPED = {str(d): d for d in DTYPES if str(d) not in ("int16", "uint16", "uint32")}


def assert_cuda_agrees(
    inputs: Sequence[Node],
    outputs: Sequence[Node],
    *calls: Sequence[np.ndarray],
    rtol: Any = None,
) -> cg.Function:
    """Compile for CUDA and compare each call with the interpreter."""
    function = cg.compile(list(inputs), list(outputs), backend="cuda", results="numpy")
    for arrays in calls:
        wanted = run(Graph(inputs, outputs), list(arrays))
        for node, g, w in zip(outputs, function(*arrays), wanted):
            assert_close(g, w, f"{node!r} for {[a.shape for a in arrays]}", rtol)
    return function


def operands(op: Any, dtype: np.dtype) -> list[np.dtype]:
    """Return the operands' dtypes of an op on one dtype."""
    return [np.dtype(bool), dtype, dtype] if op.name == "where" else [dtype] * op.arity


def ops_of(dtype: np.dtype) -> Iterator[Any]:
    """Return the elementwise ops that take a dtype."""
    for op in ELEMENTWISE:
        wanted = operands(op, dtype)
        try:
            taken = op.signature(op.name, wanted)[0] == tuple(wanted)
        except DTypeError:
            continue
        if taken and op.name in DOMAINS:
            yield op


def check_elementwise(
    ops: Sequence[Any], dtype: np.dtype, lengths: Sequence[int]
) -> None:
    """Compare elementwise ops, all in one function, on arrays of some lengths."""
    inputs, outputs, domains = [], [], []
    for op in ops:
        for params in params_of(op):
            if op.name == "integer_power" and params[0] < 0 and dtype.kind != "f":
                continue  # refused when the expression is made
            args = [
                new_input(f"x{i}_{len(outputs)}", tensor_type(("n",), d))
                for i, d in enumerate(operands(op, dtype))
            ]
            inputs += args
            outputs.append(op(*args, params=params))
            domains += DOMAINS[op.name][: op.arity]
    calls = [
        [
            samples(d, (length,), x.dtype, zlib.crc32(x.name.encode()))
            for d, x in zip(domains, inputs)
        ]
        for length in lengths
    ]
    rtol = 3e-6 if dtype.itemsize <= 4 else 1e-12
    assert_cuda_agrees(inputs, outputs, *calls, rtol=rtol)


def check_sample(sample: Any) -> None:
    """Compare an op that is not elementwise with NumPy."""
    graph = sample.graph()
    function = cg.compile(
        list(graph.inputs), list(graph.outputs), backend="cuda", results="numpy"
    )
    (got,) = function(*sample.arrays)
    assert_close(got, sample.expected().astype(got.dtype), str(sample))
