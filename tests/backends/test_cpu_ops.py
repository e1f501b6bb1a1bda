"""Every op of the registry on the CPU against the interpreter."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

import graphc as cg
from graphc.ops.leaf import new_input
from graphc.types.errors import DTypeError
from graphc.types.tensor_type import tensor_type
from tests.support.cpu import assert_close, assert_cpu_agrees
from tests.support.registry import (
    DOMAINS,
    DTYPES,
    ELEMENTWISE,
    params_of,
    samples,
)
from tests.support.tensor_samples import SAMPLES, tensor_ops

SIZES = (0, 1, 2, 3, 7, 8, 31, 1000)
# the other widths of integers are lowered alike, which test_scalars.py shows
GROUPED = {str(d): d for d in DTYPES if str(d) not in ("int16", "uint16", "uint32")}


def _taken(op, dtype):
    """Return whether an op takes operands of one dtype, booleans where it needs."""
    try:
        return op.signature(op.name, _dtypes(op, dtype))[0] == tuple(_dtypes(op, dtype))
    except DTypeError:
        return False


def _dtypes(op, dtype):
    return [np.dtype(bool), dtype, dtype] if op.name == "where" else [dtype] * op.arity


@pytest.mark.parametrize("name", GROUPED)
def test_elementwise_ops_of_a_dtype(name):
    dtype = GROUPED[name]
    inputs, outputs, domains = [], [], []
    for op in ELEMENTWISE:
        if op.name not in DOMAINS or not _taken(op, dtype):
            continue
        for params in params_of(op):
            if op.name == "integer_power" and params[0] < 0 and dtype.kind != "f":
                continue  # refused when the expression is made
            args = [
                new_input(f"{op.name}{i}", tensor_type(("n",), d))
                for i, d in enumerate(_dtypes(op, dtype))
            ]
            inputs += args
            outputs.append(op(*args, params=params))
            domains += DOMAINS[op.name][: op.arity]
    assert outputs
    calls = [
        [
            samples(d, (size,), x.dtype, zlib.crc32(x.name.encode()))
            for d, x in zip(domains, inputs)
        ]
        for size in SIZES
    ]
    assert_cpu_agrees(
        inputs, outputs, *calls, rtol=3e-6 if dtype.itemsize <= 4 else 1e-12
    )


def test_every_tensor_op_has_a_sample():
    named = {s.op for s in SAMPLES}
    assert {op.name for op in tensor_ops()} <= named


@pytest.mark.parametrize("op", [op.name for op in tensor_ops()])
def test_tensor_op(op):
    mine = [s for s in SAMPLES if s.op == op]
    inputs, outputs, arrays = [], [], []
    for number, sample in enumerate(mine):
        # a sample's dimensions are its own
        shapes = [
            tuple(s if isinstance(s, int) else f"{s}_{number}" for s in shape)
            for shape in sample.shapes
        ]
        graph = sample.graph() if _formulas(sample) else None
        if graph is None:
            nodes = [
                new_input(f"x{number}_{i}", tensor_type(s, a.dtype))
                for i, (s, a) in enumerate(zip(shapes, sample.arrays))
            ]
            inputs += nodes
            outputs.append(sample.build(*nodes))
            arrays += sample.arrays
        else:
            (got,) = cg.compile(list(graph.inputs), list(graph.outputs))(*sample.arrays)
            assert_close(got, sample.expected(), str(sample))
    if not outputs:
        return
    got = cg.compile(inputs, outputs)(*arrays)
    plain = [s for s in mine if not _formulas(s)]
    for sample, result in zip(plain, got):
        assert_close(result, sample.expected().astype(result.dtype), str(sample))


def _formulas(sample):
    return any(not isinstance(s, int) for shape in sample.shapes for s in shape)
