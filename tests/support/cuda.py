"""Kernels printed and compiled for CUDA in tests, without a device."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pytest

from graphc.backends.cuda import mapping, shim
from graphc.backends.cuda.printer import KernelPrinter
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.kernels.canonical import Canonical
from graphc.passes.pipeline import run_passes
from graphc.schedule.evaluate import KernelCall
from graphc.schedule.memory import evaluator
from graphc.schedule.program import schedule
from graphc.types import sizes

needs_compiler = pytest.mark.skipif(
    not shim.available() or shim.simulated(),
    reason="no compiler for CUDA kernels: pip install 'graphc[cuda]'",
)

WIDE = ("sin", "cos", "tan", "digamma", "polygamma")
"""Functions that use float64 within float32 kernels: libdevice's reduction of huge
angles, and series whose terms cancel."""


class Compiled(NamedTuple):
    """A kernel compiled for CUDA."""

    call: KernelCall
    mapping: mapping.Mapping
    printer: KernelPrinter
    ptx: str
    cubin: shim.Cubin

    def float64_lines(self) -> list[str]:
        """Return the instructions on float64 numbers."""
        found = re.findall(r"^\s+(?:@%p\d+ )?[\w.]*\.f64\b.*$", self.ptx, re.M)
        return [line for line in found if ".reg" not in line]


def compiled_kernels(
    inputs: Sequence[Node],
    outputs: Sequence[Node],
    dims: Mapping[str, int] | None = None,
    default: int = 4096,
) -> Iterator[Compiled]:
    """Compile each kernel of a graph once, for the sizes given."""
    graph = run_passes(Graph(inputs, outputs))
    program = schedule(graph, machine=mapping.MACHINE)
    values = {
        d: (dims or {}).get(str(d), default)
        for x in inputs
        for s in x.shape
        for d in sizes.dims(s)
    }
    size = evaluator(program.memory, values)
    seen = set()
    for call in program.calls:
        if not isinstance(call, KernelCall):
            continue
        way = mapping.choose(call, size)
        kernel = way.kernel(call.kernel)
        printer = KernelPrinter(kernel, Canonical(kernel), way)
        if printer.name in seen:
            continue
        seen.add(printer.name)
        names = printer.namespace()
        exec(printer.text, names)
        ptx = shim.compile_ptx(
            names[printer.name],
            printer.signature,
            printer.name,
            max_threads=way.threads,
        )
        yield Compiled(call, way, printer, ptx, shim.link(ptx))
