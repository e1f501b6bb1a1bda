"""Every op of the registry on the device, against the interpreter."""

from __future__ import annotations

import pytest
from support.cuda_calls import (
    GROUPED,
    assert_cuda_agrees,
    check_elementwise,
    check_sample,
    ops_of,
)
from support.emptied import CASES
from support.random_graphs import random_graph
from support.tensor_samples import SAMPLES

LENGTHS = (0, 1, 3, 32, 1000, 100_003)
FEW = (0, 1, 7)  # for the simulator, which takes milliseconds a thread
OPS = [(op, name) for name, dtype in GROUPED.items() for op in ops_of(dtype)]


@pytest.mark.parametrize("op, name", OPS, ids=[f"{o.name}-{n}" for o, n in OPS])
def test_elementwise_op(op, name, on_device):
    check_elementwise([op], GROUPED[name], FEW if on_device.simulated else LENGTHS)


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_tensor_op(sample):
    check_sample(sample)


@pytest.mark.parametrize("seed", range(60))
def test_random_graph(seed, on_device):
    if on_device.simulated and seed > 9:
        pytest.skip("some are enough for the simulator")
    graph = random_graph(seed, gradients=seed % 2 == 1)
    assert_cuda_agrees(graph.inputs, graph.outputs, *graph.calls)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_empty_arrays(case, on_device):
    most = 30 if on_device.simulated else 5000
    inputs = case.inputs()
    calls = [
        case.arrays(tuple(tuple(min(s, most) for s in shape) for shape in call))
        for call in case.calls
    ]
    assert_cuda_agrees(inputs, [case.build(*inputs)], *calls)
