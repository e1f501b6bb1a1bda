"""Kernels of every op and of the benchmark suite compile for CUDA, without a device."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.backends.cuda import mapping
from graphc.graph.graph import Graph
from graphc.kernels.canonical import Canonical
from graphc.ops.leaf import new_input
from graphc.passes.pipeline import run_passes
from graphc.schedule.evaluate import KernelCall
from graphc.schedule.memory import evaluator
from graphc.schedule.program import schedule
from graphc.surfaces.bench.workloads import WORKLOADS
from graphc.types.errors import DTypeError
from graphc.types.tensor_type import tensor_type
from tests.support.cpu import placeholders
from tests.support.cuda import WIDE, compiled_kernels, needs_compiler
from tests.support.registry import DOMAINS, ELEMENTWISE, params_of
from tests.support.tensor_samples import SAMPLES, tensor_ops

pytestmark = needs_compiler

FLOAT32 = np.dtype(np.float32)


def _dtypes(op, dtype):
    return [np.dtype(bool), dtype, dtype] if op.name == "where" else [dtype] * op.arity


def _taken(op, dtype):
    wanted = tuple(_dtypes(op, dtype))
    try:
        return op.signature(op.name, wanted)[0] == wanted
    except DTypeError:
        return False


def _kernels_of(op, dtype):
    for params in params_of(op):
        if op.name == "integer_power" and params[0] < 0 and dtype.kind != "f":
            continue  # refused when the expression is made
        args = [
            new_input(f"x{i}", tensor_type(("n",), d))
            for i, d in enumerate(_dtypes(op, dtype))
        ]
        yield from compiled_kernels(args, [op(*args, params=params)])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_elementwise_ops_compile(dtype):
    kind = np.dtype(dtype)
    ops = [op for op in ELEMENTWISE if op.name in DOMAINS and _taken(op, kind)]
    assert ops
    for op in ops:
        for kernel in _kernels_of(op, kind):
            assert kernel.cubin.spill_bytes == 0, op.name
            assert kernel.cubin.registers is None or kernel.cubin.registers < 128
            if kind == FLOAT32 and op.name not in (*WIDE, "cast"):
                assert not kernel.float64_lines(), op.name


@pytest.mark.parametrize("op", [op.name for op in tensor_ops()])
def test_tensor_ops_compile(op):
    for sample in (s for s in SAMPLES if s.op == op):
        graph = sample.graph()
        kernels = compiled_kernels(graph.inputs, graph.outputs, default=5)
        for kernel in kernels:
            assert kernel.cubin.spill_bytes == 0, str(sample)


def _expressions(workload):
    arrays = workload.arrays()
    inputs = placeholders(*arrays)
    y = workload.function(cg, *inputs)
    if workload.kind == "value_and_grad":
        return inputs, [y, *cg.grad(y, [inputs[i] for i in workload.wrt])]
    if workload.kind == "jacobian":
        return inputs, [cg.jacobian(y, inputs[workload.wrt[0]])]
    return inputs, list(y) if isinstance(y, tuple) else [y]


VECTORS = {
    "elementwise": 4,
    "elementwise_grad": 4,
    "adam": 4,
    "logsumexp": 4,
    "layer_norm": 4,
    "cross_entropy": 4,
    "logistic": 2,
    "products": 4,
    "jacobian": 2,
}
"""Elements that a thread loads at a time in the largest kernel of a workload."""


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_benchmark_suite_compiles(name):
    inputs, outputs = _expressions(WORKLOADS[name])
    kernels = list(compiled_kernels(inputs, outputs))
    single = all(x.dtype == FLOAT32 for x in inputs)
    for kernel in kernels:
        label = kernel.call.kernel.label
        assert kernel.cubin.spill_bytes == 0, label
        ops = {n.op.name for n in kernel.call.nodes}
        if single and not ops & set(WIDE):
            assert not kernel.float64_lines(), label
    if name in VECTORS:
        width = VECTORS[name]
        kind = {2: "v2.f64", 4: "v4.f32"}[width]
        assert kernels[0].mapping.width == width
        assert f"ld.global.{kind}" in kernels[0].ptx
        assert kernels[0].cubin.image


def test_rows_kept_between_loops_are_registers():
    x = cg.matrix("x", (4096, 768), "float32")
    (kernel,) = compiled_kernels([x], [cg.nn.softmax(x)])
    assert "cuda.local.array(24, float32)" in kernel.printer.text
    assert "ld.local" not in kernel.ptx  # LLVM keeps them in registers
    assert not kernel.printer.access.chunked


def _chosen(inputs, outputs, **dims):
    """Return the mapping of each kernel at sizes of symbolic dimensions."""
    graph = run_passes(Graph(inputs, outputs))
    program = schedule(graph, machine=mapping.MACHINE)
    values = {d: dims[str(d)] for x in inputs for s in x.shape for d in s.atoms()}
    size = evaluator(program.memory, values)
    return [mapping.choose(c, size) for c in program.calls if isinstance(c, KernelCall)]


def test_long_rows_are_shared_and_short_ones_are_not():
    x = cg.matrix("x", ("n", "m"), "float32")
    y = cg.sum(cg.exp(x), axis=1)
    (long,) = _chosen([x], [y], n=1000, m=8192)
    assert (long.kind, long.width) == ("inner", 4)
    assert long.lanes == 256  # eight vectors for each lane
    (few,) = _chosen([x], [y], n=1000, m=100)
    assert (few.kind, few.lanes, few.threads) == ("inner", 32, 256)
    (odd,) = _chosen([x], [y], n=1000, m=8191)
    assert odd.width == 1
    z = cg.sum(cg.exp(x), axis=0)
    assert _chosen([x], [z], n=100_000, m=64)[0].kind == "inner"


def test_wide_indices_only_where_sizes_ask_for_them():
    x = cg.vector("x", "n", "float32")
    (small,) = _chosen([x], [x * 2], n=2**30)
    (large,) = _chosen([x], [x * 2], n=2**33)
    assert small.narrow and not large.narrow
    for kernel in compiled_kernels([x], [x * 2], default=4096):
        assert kernel.printer.signature[-2:] == ("int32", "int32")


def test_equal_kernels_are_printed_alike():
    x, y = cg.vector("x", 4096, "float32"), cg.vector("y", 4096, "float32")
    names = []
    for a in (x, y):
        program = schedule(
            run_passes(Graph([a], [cg.tanh(a)])), machine=mapping.MACHINE
        )
        (call,) = program.calls
        way = mapping.choose(call, lambda s: int(s))
        kernel = way.kernel(call.kernel)
        from graphc.backends.cuda.printer import KernelPrinter

        names.append(KernelPrinter(kernel, Canonical(kernel), way).name)
    assert names[0] == names[1]
