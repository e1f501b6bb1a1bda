"""What is launched on a real device, as data: kernels are printed for it, none runs."""

from __future__ import annotations

import numpy as np
import pytest
from support.cuda import needs_compiler
from support.tensor_samples import SAMPLES

import graphc as cg
from graphc.backends.cuda import cache, device, host
from graphc.backends.cuda.launches import Copy, Launch, Pointer, Zero
from graphc.backends.cuda.vendor import Vendor
from graphc.surfaces.bench.peers import compiled_by_graphc
from graphc.surfaces.bench.workloads import WORKLOADS

pytestmark = needs_compiler


class Dry(device.SimulatedDevice):
    """A device that is told what to run, and does not."""

    name, simulated = "no device", False

    def __init__(self):
        self.vendor = Vendor(host.blas, host.solver)

    def prepare(self, groups):
        return Nothing()


class Nothing:
    def __call__(self, bases):
        pass

    def capture(self, bases):
        return None


@pytest.fixture(autouse=True)
def dry(monkeypatch):
    made = Dry()
    monkeypatch.setattr(device, "current", lambda: made)
    return made


def checked_launches(function):
    """Check that launches fit their kernels, and return them."""
    found = []
    executable = function._executable
    memory = executable.program.memory
    count = len(function.graph.inputs) + len(function.graph.outputs)
    count += len(memory.constants) + 4  # workspace, scratch, error, nothing
    for plan in executable.plans.values():
        for step in (s for group in plan.groups for s in group):
            if isinstance(step, (Copy, Zero)):
                assert step.bytes > 0
            if not isinstance(step, Launch):
                continue
            found.append(step)
            assert step.blocks > 0 and 0 < step.threads <= step.code.max_threads
            assert len(step.arguments) == len(step.code.signature), step
            for kind, given in zip(step.code.signature, step.arguments):
                if isinstance(given, Pointer):
                    assert kind.endswith("*") or kind == "int64", step
                    assert 0 <= given.base < count and given.offset >= 0
                else:
                    assert kind in ("int32", "int64")
                    assert -(2**31) <= given < 2**31 or kind == "int64"
    return found


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads(name):
    workload = WORKLOADS[name]
    f = compiled_by_graphc(workload, workload.arrays(), "cuda")
    launches = checked_launches(f)
    assert launches
    for step in launches:  # whatever else, each compiles
        assert cache.cubin(step.code).image


def test_tensor_ops():
    for sample in SAMPLES:
        graph = sample.graph()
        f = cg.compile(list(graph.inputs), list(graph.outputs), backend="cuda")
        f(*sample.arrays)
        checked_launches(f)


def test_arrays_that_are_not_aligned_have_launches_of_their_own():
    x = cg.vector("x", dtype="float32")
    f = cg.compile([x], x * 2 + 1, backend="cuda")
    a = np.zeros(4097 + 64, np.float32)
    start = -(a.ctypes.data // 4) % 64
    f(a[start : start + 4096])
    f(a[start + 1 : start + 4097])
    plans = f._executable.plans
    assert len(plans) == 2
    (aligned,), (shifted,) = (p.groups[0] for p in plans.values())
    assert aligned.code.name != shifted.code.name


def test_sizes_beyond_32_bits_have_wide_indices():
    x = cg.vector("x", dtype="uint8")
    f = cg.compile([x], x + x, backend="cuda")
    (dim,) = f._executable.dims
    plans = [f._executable.plan({dim: n}) for n in (1000, 2**33)]
    narrow, wide = (p.groups[0][0].code.signature for p in plans)
    assert "int32" in narrow and "int32" not in wide


def test_every_kernel_of_a_function_that_reports_gets_the_cell():
    x, i = cg.vector("x"), cg.vector("i", dtype="int64")
    f = cg.compile([x, i], x[i] * 2, backend="cuda")
    f(np.ones(4), np.array([0, 1]))
    (launch,) = checked_launches(f)
    assert launch.arguments[-1] == Pointer(f._executable._bases["error"])


@pytest.mark.parametrize("n, wide", [(2**20, False), (2**29, True), (2**33, True)])
def test_numbers_that_formulas_go_through_fit_the_kernels_integers(n, wide):
    """The number of chunks is 7 n // 8192, which is small where 7 n is not."""
    x = cg.vector("x", dtype="float32")
    f = cg.compile([x], cg.sum(cg.exp(x) * x + 1), backend="cuda")
    (dim,) = f._executable.dims
    f._executable.plan({dim: n})
    (*_, combine) = checked_launches(f)
    assert ("int32" not in combine.code.signature) == wide
