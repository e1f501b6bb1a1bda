"""Every op through the CUDA backend in numba's simulator, against the interpreter."""

from __future__ import annotations

import itertools

import pytest
from support.cuda_calls import (
    GROUPED,
    assert_cuda_agrees,
    check_elementwise,
    check_sample,
    ops_of,
)
from support.random_graphs import random_graph
from support.tensor_samples import SAMPLES

pytestmark = pytest.mark.usefixtures("simulator")


@pytest.mark.parametrize("name", GROUPED)
def test_elementwise_ops_of_a_dtype(name):
    dtype = GROUPED[name]
    check_elementwise(list(ops_of(dtype)), dtype, (0, 5))


BY_OP = [
    (op, list(samples))
    for op, samples in itertools.groupby(
        sorted(SAMPLES, key=lambda s: s.op), key=lambda s: s.op
    )
]


@pytest.mark.parametrize("op, samples", BY_OP, ids=[op for op, _ in BY_OP])
def test_tensor_op(op, samples):
    for sample in samples:
        check_sample(sample)


@pytest.mark.parametrize("seed", range(12))
def test_random_graph(seed):
    graph = random_graph(seed, gradients=seed % 2 == 1)
    assert_cuda_agrees(graph.inputs, graph.outputs, *graph.calls)
