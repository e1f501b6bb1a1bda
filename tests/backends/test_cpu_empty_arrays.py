"""Nothing beyond an array is read, not even to be discarded."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.backends.reference import bind_sizes, run
from graphc.graph.graph import Graph
from graphc.kernels import ir
from graphc.passes.pipeline import run_passes
from graphc.schedule.evaluate import KernelCall
from graphc.schedule.program import schedule
from graphc.types import sizes
from tests.support.emptied import CASES, Case
from tests.support.kernel_interpreter import KernelInterpreter
from tests.support.processes import run_script


class Bounded(KernelInterpreter):
    """Fails at a load or store outside arrays."""

    def move(self, places, buffer, at, kind):
        assert 0 <= at < self.memory(buffer).size, (kind, buffer, at)
        super().move(places, buffer, at, kind)

    def invariants(self, var, body):
        """Do what a backend may do before a loop that has no rounds."""
        inside = {var, *(s.var for s in ir.statements(body) if isinstance(s, ir.Loop))}
        for value in ir.all_values(body):
            needed = [value]
            for v in needed:
                needed += ir.operands(v)
            known = not any(
                isinstance(v, (ir.Accumulator, ir.Current))
                or inside.intersection(ir.value_atoms(ir.size_of(v)))
                for v in needed
            )
            if known:
                self.value(value)


def places_read(inputs, output, arrays):
    """Run the kernels of a function; other steps are left out."""
    program = schedule(run_passes(Graph(inputs, [output])))
    dims = bind_sizes(inputs, arrays)
    kernels = 0
    for step in program.steps:
        if not isinstance(step, KernelCall):
            continue
        buffers = [
            np.zeros(sizes.evaluate(m.size, dims.__getitem__), m.dtype)
            for m in step.memory
        ]
        # in place of an empty array there is one element, as backends provide
        one = [
            np.zeros(1, b.dtype) if m.read_if_empty and not b.size else b
            for b, m in zip(buffers, step.memory)
        ]
        Bounded(step.kernel, one, dims).run(1)
        kernels += 1
    return kernels


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernels_read_within_arrays(case: Case):
    inputs = case.inputs()
    output = case.build(*inputs)
    for call in case.calls:
        assert places_read(inputs, output, case.arrays(call))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_where_arrays_are_empty(case: Case):
    import graphc as cg

    inputs = case.inputs()
    output = case.build(*inputs)
    f = cg.compile(inputs, output)
    for call in case.calls:
        arrays = case.arrays(call)
        (wanted,) = run(Graph(inputs, [output]), arrays)
        np.testing.assert_allclose(f(*arrays), wanted, rtol=1e-12, atol=1e-12)


def test_compiled_code_reads_within_arrays(tmp_path):
    """Arrays end, and begin, at pages that may not be touched."""
    script = """
        import faulthandler
        import graphc as cg
        from tests.support.emptied import CASES
        from tests.support.guarded import guarded

        faulthandler.enable()
        for case in CASES:
            inputs = case.inputs()
            f = cg.compile(inputs, case.build(*inputs))
            for call in case.calls:
                for end in (True, False):
                    print(case, call, end, flush=True)
                    f(*(guarded(a, end) for a in case.arrays(call)))
        print("all")
    """
    assert run_script(script, tmp_path).endswith("all\n")
