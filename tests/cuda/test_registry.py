"""Every op of the registry on the device, against the interpreter."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from support.cpu import assert_close
from support.random_graphs import random_graph
from support.registry import DOMAINS, DTYPES, ELEMENTWISE, params_of, samples
from support.tensor_samples import SAMPLES

import graphc as cg
from graphc.backends.reference import run
from graphc.graph.graph import Graph
from graphc.ops.leaf import new_input
from graphc.types.errors import DTypeError
from graphc.types.tensor_type import tensor_type

SIZES = (0, 1, 3, 32, 1000, 100_003)
SMALL_SIZES = (0, 1, 3, 7)  # of the simulator, which takes milliseconds a thread
GROUPED = {str(d): d for d in DTYPES if str(d) not in ("int16", "uint16", "uint32")}


def agrees(inputs, outputs, *calls, rtol=None):
    """Compile for the device and compare each call with the interpreter."""
    function = cg.compile(list(inputs), list(outputs), backend="cuda", results="numpy")
    for arrays in calls:
        wanted = run(Graph(inputs, outputs), list(arrays))
        for node, g, w in zip(outputs, function(*arrays), wanted):
            assert_close(g, w, f"{node!r} for {[a.shape for a in arrays]}", rtol)
    return function


def operands(op, dtype):
    return [np.dtype(bool), dtype, dtype] if op.name == "where" else [dtype] * op.arity


def taken(op, dtype):
    try:
        return op.signature(op.name, operands(op, dtype))[0] == tuple(
            operands(op, dtype)
        )
    except DTypeError:
        return False


@pytest.mark.parametrize("name", GROUPED)
@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_elementwise_op(op, name, on_device):
    dtype = GROUPED[name]
    if op.name not in DOMAINS or not taken(op, dtype):
        pytest.skip("not of this dtype")
    inputs, outputs, domains = [], [], []
    for params in params_of(op):
        if op.name == "integer_power" and params[0] < 0 and dtype.kind != "f":
            continue
        args = [
            new_input(f"x{i}_{len(outputs)}", tensor_type(("n",), d))
            for i, d in enumerate(operands(op, dtype))
        ]
        inputs += args
        outputs.append(op(*args, params=params))
        domains += DOMAINS[op.name][: op.arity]
    calls = [
        [
            samples(d, (size,), x.dtype, zlib.crc32(x.name.encode()))
            for d, x in zip(domains, inputs)
        ]
        for size in (SMALL_SIZES if on_device.simulated else SIZES)
    ]
    agrees(inputs, outputs, *calls, rtol=3e-6 if dtype.itemsize <= 4 else 1e-12)


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_tensor_op(sample):
    graph = sample.graph()
    function = cg.compile(
        list(graph.inputs), list(graph.outputs), backend="cuda", results="numpy"
    )
    (got,) = function(*sample.arrays)
    assert_close(got, sample.expected().astype(got.dtype), str(sample))


@pytest.mark.parametrize("seed", range(60))
def test_random_graph(seed, on_device):
    if on_device.simulated and seed > 9:
        pytest.skip("some are enough for the simulator")
    graph = random_graph(seed, gradients=seed % 2 == 1)
    agrees(graph.inputs, graph.outputs, *graph.calls)
