"""The kernels of the side-by-side suite compile for CUDA, without a device."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import graphc as cg
from graphc.expressions.containers import flatten_expressions
from tests.support.cuda import WIDE, compiled_kernels, needs_compiler

SUITE = Path(__file__).parents[2].parent / "shared" / "bench"
NAMES = (
    *("ew_chain_1e6", "ew_chain_100", "ew_chain_grad_1e6", "ew_chain_grad_100"),
    *("black_scholes", "logsumexp", "softmax_xent", "layernorm", "mlp_big"),
    *("mlp_small", "mlp_tiny", "logreg_grad", "gmm", "rosenbrock", "scalar_expr"),
    *("gp_loglik", "lstm", "hmm", "jac_square", "jac_tall", "jac_wide", "sparse_jac"),
    *("nbody", "conv2d", "attention", "bmm_chain", "adam"),
)
SPILLS = ("scalar_expr",)
"""Long scalar programs keep more values than a thread has registers."""

pytestmark = [
    needs_compiler,
    pytest.mark.skipif(not SUITE.is_dir(), reason="the suite is not beside this tree"),
]


@pytest.fixture(scope="module")
def suite():
    """Return the suite's workloads by name, and graphc's adapter."""
    before, modules = list(sys.path), set(sys.modules)
    sys.path[:0] = [str(SUITE), str(Path(__file__).parent)]
    try:
        import graphc_
        import workloads

        yield workloads.SUITE, graphc_
    finally:
        sys.path[:] = before
        for name in set(sys.modules) - modules:
            if name in ("workloads", "graphc_") or name.split(".")[0] == "peers":
                del sys.modules[name]


def test_the_names_are_all(suite):
    assert set(NAMES) == set(suite[0])


@pytest.mark.parametrize("name", NAMES)
def test_kernels_compile(name, suite):
    workloads, adapter = suite
    workload = workloads[name]
    args = [
        cg.scalar(f"x{i}")
        if isinstance(a, float)
        else cg.tensor(f"x{i}", a.shape, dtype=a.dtype)
        for i, a in enumerate(workload.inputs)
    ]
    outputs, _ = flatten_expressions(adapter._outputs(workload, args), "outputs")
    single = all(str(x.dtype) != "float64" for x in args)
    kernels = list(compiled_kernels(args, outputs))
    assert kernels
    for kernel in kernels:
        label = kernel.call.kernel.label
        assert kernel.cubin.image
        assert kernel.cubin.spill_bytes == 0 or name in SPILLS, label
        if single and not {n.op.name for n in kernel.call.nodes} & set(WIDE):
            assert not kernel.float64_lines(), label
