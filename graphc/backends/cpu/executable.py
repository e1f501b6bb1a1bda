"""A program compiled for the CPU, ready to run on arrays."""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from graphc.backends.cpu import (
    ahead,
    calls,
    factorize,
    gemm,
    jit,
    memory,
    outline,
    program_cache,
    register_tile,
)
from graphc.backends.cpu.driver import DriverPrinter, Frame, KernelCode, Launch
from graphc.backends.cpu.entry import native_entry
from graphc.backends.cpu.library import Modules, ensure_loaded
from graphc.backends.cpu.pool import begin_pool, pool
from graphc.backends.cpu.program_cache import EntryParts
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.kernels.canonical import Canonical
from graphc.kernels.ir import Kernel
from graphc.schedule.evaluate import KernelCall
from graphc.schedule.factorize import RoutineCall
from graphc.schedule.memory import Call, Step, check_sizes, evaluator
from graphc.schedule.packing import ALIGNMENT
from graphc.schedule.program import Program, schedule
from graphc.types.config import options
from graphc.types.errors import AllocationError
from graphc.types.process import turns_shortened
from graphc.types.sizes import Dim, SizeLike

_codes: dict[tuple, KernelCode] = {}
_MOST_CODES = 10_000


def _launch(
    kernel: Kernel, modules: Modules, printed: dict[tuple, KernelCode]
) -> Launch:
    """Return a kernel's code, printed and begun unless one of the same form was."""
    canonical = Canonical(kernel)
    code = _codes.get(canonical.key) or printed.get(canonical.key)
    if code is None:
        printer = outline.printed(kernel, canonical)
        modules.need_externals(printer.module)
        modules.need(printer.name, printer.text, printer.kind)
        code = KernelCode(printer.name, tuple(printer.parameters))
        printed[canonical.key] = code
    return Launch(code, canonical.starts, canonical.codes)


class _Library:
    """Begins with the code of products and factorizations, which takes longest."""

    def __init__(self, modules: Modules):
        self.modules = modules
        self.begun: set[str] = set()

    def begin(self, call: Call) -> None:
        """Have compiled what a call needs, once however many there are."""
        if isinstance(call, KernelCall):
            return
        letter = register_tile.letter(call.nodes[0].dtype)
        parts = {m.text: m.kind for m in gemm.modules_of(letter)}
        if isinstance(call, RoutineCall):
            parts[factorize.text_of(letter)] = "vectors"
        for text, kind in parts.items():
            if text not in self.begun:
                self.begun.add(text)
                self.modules.ahead(text, kind)


class Executable:
    """The machine code of a graph, and how to call it.

    Attributes
    ----------
    program : Program
    dims : list of Dim
        The symbolic dimensions whose values a call needs.
    launches : dict of int to Launch
        The code of each kernel, by the kernel's id.
    parts : EntryParts or None
        What the function called from Python is made of, None if there is none.
    """

    def __init__(
        self,
        graph: Graph,
        dims: Sequence[Dim],
        equalities: Sequence[tuple[SizeLike, SizeLike, Node]],
        requirements: Sequence[tuple[SizeLike, Node]],
        donated: Sequence[int] = (),
        budget: int | None = None,
        dims_of_budget: Mapping[str, int] | None = None,
    ):
        with Modules() as modules, turns_shortened():
            modules.begun += [*begin_pool(), *memory.begin()]
            library = _Library(modules)
            self.program: Program
            if budget is None:
                self.program = schedule(graph, donated, announce=library.begin)
            else:
                from graphc.schedule.rematerialize import within_budget

                sizes_of_budget = dims_of_budget or {}
                self.program = within_budget(graph, donated, budget, sizes_of_budget)
            for step in self.program.calls:
                library.begin(step)
            self.frame = Frame(self.program, dims)
            self.dims = list(dims)
            self._compile(modules, equalities, requirements, donated)
        if options().debug >= 3:
            print(self.source(), file=sys.stderr)
        if options().debug >= 4:
            print(self.llvm(), file=sys.stderr)

    def _compile(
        self,
        modules: Modules,
        equalities: Sequence[tuple[SizeLike, SizeLike, Node]],
        requirements: Sequence[tuple[SizeLike, Node]],
        donated: Sequence[int],
    ) -> None:
        """Print all code, which threads begin to compile, and load it."""
        printed: dict[tuple, KernelCode] = {}
        self.launches: dict[int, Launch] = {}
        for step in self.program.calls:
            if isinstance(step, KernelCall) and id(step.kernel) not in self.launches:
                launch = _launch(step.kernel, modules, printed)
                self.launches[id(step.kernel)] = launch
        self.driver = DriverPrinter(self.program, self.launches, self.frame)
        modules.need(self.driver.name, self.driver.text, "once")
        entry = native_entry(
            self.program,
            self.frame,
            self.driver.name,
            equalities,
            requirements,
            donated,
        )
        if entry is not None:
            modules.need(entry.name, entry.text, "once")
            calls.begin_install()
        ahead.help_out()
        pool()
        if entry is not None:
            memory.support()
        for letter in sorted(self.driver.products):
            gemm.prepare(letter)
        for letter in sorted(self.driver.routines):
            factorize.prepare(letter)
        modules.load()
        if len(_codes) >= _MOST_CODES:
            _codes.clear()
        _codes.update(printed)
        self.address = jit.LOADED[self.driver.name].address
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address)
        self.parts: EntryParts | None = None
        if entry is not None:
            self.parts = EntryParts(
                jit.LOADED[entry.name].address,
                entry.dtypes,
                self.program.memory.constants,
            )
            self._entry_name = entry.name

    def save(self, key: str) -> None:
        """File the program for other processes; it must have `parts`."""
        assert self.parts is not None
        modules = jit.modules_of(self._entry_name)
        program_cache.save(key, modules, self.parts)

    def run(
        self,
        arrays: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        values: Mapping[Dim, int],
        threads: int = 0,
    ) -> Node | None:
        """Run on contiguous arrays of the right types, filling `outputs`.

        Outputs that the program puts into donated inputs must be these arrays.

        Returns
        -------
        Node or None
            The node that found an index out of range, if one did.

        Raises
        ------
        AllocationError
            If memory for the workspace cannot be had.
        """
        workspace = self._workspace(values)
        words = self._words(self.frame, arrays, outputs, values, workspace)
        words[Frame.THREADS] = threads
        self._call(words.ctypes.data)
        for number, place in self.program.memory.copies:
            source = {
                "input": arrays,
                "output": outputs,
                "constant": self.program.memory.constants,
            }[place.kind][place.number]
            outputs[number][...] = source
        code = int(words[Frame.ERROR])
        return self.program.reports[code - 1] if code else None

    def time_steps(
        self,
        arrays: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        values: Mapping[Dim, int],
        threads: int = 0,
        rounds: int = 10,
    ) -> list[float]:
        """Return the seconds each step of the program takes: the least of some rounds.

        Each step has a driver of its own here, and in a round all run in order. What
        calling such a driver takes is subtracted, as an empty one tells it.

        Parameters
        ----------
        arrays, outputs, values, threads
            As for `run`. Donated inputs are written to.
        rounds : int
        """
        steps: list[list[Step]] = [[], *([s] for s in self.program.steps)]
        workspace = self._workspace(values)
        timed = []
        for some in steps:
            part = replace(self.program, steps=some)
            frame = Frame(part, self.dims)
            driver = DriverPrinter(part, self.launches, frame)
            address = ensure_loaded(driver.name, driver.text, "once")
            words = self._words(frame, arrays, outputs, values, workspace)
            words[Frame.THREADS] = threads
            call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
            timed.append((call, words.ctypes.data, words))
        least = [math.inf] * len(timed)
        clock = time.perf_counter
        for _ in range(rounds + 1):  # the first is to warm up
            for number, (call, at, _) in enumerate(timed):
                start = clock()
                call(at)
                least[number] = min(least[number], clock() - start)
        return [max(0.0, t - least[0]) for t in least[1:]]

    def _words(
        self,
        frame: Frame,
        arrays: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        values: Mapping[Dim, int],
        workspace: np.ndarray,
    ) -> np.ndarray:
        """Return the words a driver is given, for any number of threads."""
        words = np.zeros(frame.words, np.int64)
        words[Frame.WORKSPACE] = workspace.ctypes.data
        for first, group in (
            (frame.inputs, arrays),
            (frame.outputs, outputs),
            (frame.constants, self.program.memory.constants),
        ):
            for number, array in enumerate(group):
                words[first + number] = array.ctypes.data
        for number, dim in enumerate(self.dims):
            words[frame.dims + number] = values[dim]
        return words

    def check_sizes(self, values: Mapping[Dim, int]) -> None:
        """Raise `AllocationError` for an array that no memory could hold."""
        check_sizes(self.program.graph.nodes, values)

    def _workspace(self, values: Mapping[Dim, int]) -> np.ndarray:
        """Return a workspace for one call.

        The thread's own could be taken away between here and the driver, by whatever
        Python runs in between.
        """
        plan = self.program.memory
        size = evaluator(plan, values)
        need = size(plan.workspace)
        try:
            raw = np.empty(need + ALIGNMENT, np.uint8)
        except (MemoryError, ValueError):
            largest = max(plan.arrays, key=lambda a: size(a.size))
            raise AllocationError(
                f"memory for intermediate arrays, {need:,} bytes, cannot be had. The "
                f"largest is {largest.label}, of {size(largest.size):,} bytes."
            ) from None
        return raw[-raw.ctypes.data % ALIGNMENT :]

    def source(self) -> str:
        """Return the kernels as readable text, each once, in order of execution."""
        from graphc.kernels.text import kernel_text

        out: dict[str, str] = {}
        for step in self.program.calls:
            if isinstance(step, KernelCall):
                name = self.name(step.kernel)
                if name not in out:
                    out[name] = kernel_text(step.kernel, name)
            else:
                out[f"{step.label} {len(out)}"] = f"# {step.kind} {step.label}"
        return "\n\n".join(out.values())

    def llvm(self) -> str:
        """Return the LLVM code of the kernels, each once, then of their driver."""
        return "\n\n".join([*self.kernel_texts().values(), self.driver.text])

    def kernel_texts(self) -> dict[str, str]:
        """Return the LLVM code of each kernel by its name."""
        texts: dict[str, str] = {}
        for step in self.program.calls:
            if isinstance(step, KernelCall):
                name = self.name(step.kernel)
                if name not in texts:
                    canonical = Canonical(step.kernel)
                    texts[name] = outline.printed(step.kernel, canonical).text
        return texts

    def name(self, kernel: Kernel) -> str:
        """Return the name of a kernel's code."""
        return self.launches[id(kernel)].code.name
