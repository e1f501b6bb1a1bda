"""A program compiled for CUDA, ready to run on a device's arrays.

Sizes decide how kernels are shared out among threads, so what runs is made for each
set of sizes that a function is called with, and kept. A kernel is printed and compiled
once for each form and mapping in a process, and once on a disk.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from graphc.backends.cuda import mapping as maps
from graphc.backends.cuda.device import Device, Run
from graphc.backends.cuda.graphs import CapturedGraphs
from graphc.backends.cuda.launches import (
    ALIGNMENT,
    Code,
    Launch,
    Pointer,
    Scratch,
    Step,
)
from graphc.backends.cuda.library import LibrarySteps, check_dtype
from graphc.backends.cuda.printer import KernelPrinter
from graphc.backends.cuda.widths import largest
from graphc.graph.graph import Graph
from graphc.kernels.canonical import Canonical
from graphc.kernels.ir import Kernel
from graphc.schedule.evaluate import KernelCall, Memory
from graphc.schedule.memory import check_sizes, evaluator
from graphc.schedule.pipeline import key_of
from graphc.schedule.program import Program, schedule
from graphc.types import sizes
from graphc.types.config import options
from graphc.types.errors import (
    AllocationError,
    ConfigError,
    IndexOutOfRangeError,
    made_at,
)
from graphc.types.sizes import Dim, SizeLike

MOST_PLANS = 64
"""Sets of sizes for which a function keeps what it launches."""

VECTOR = 16
"""Bytes of a vector load, made where all buffers begin at multiples of them."""

_MOST_CODES = 10_000
_codes: dict[tuple, Printed] = {}


@dataclass(frozen=True)
class Settings:
    """How a program is compiled for CUDA.

    Attributes
    ----------
    tf32 : bool
        Whether products of float32 may round their factors to 10 bits.
    """

    tf32: bool = False


@dataclass(frozen=True)
class Printed:
    """A kernel's code, and what it is given."""

    code: Code
    arguments: Sequence[tuple]


@dataclass
class Plan:
    """What a call of some sizes does.

    Attributes
    ----------
    groups : list of list of Step
        What each step of the program becomes.
    run : Run
    workspace, scratch : int
        Bytes that a call needs besides its outputs: for arrays, and for libraries.
    """

    groups: list[list[Step]]
    run: Run
    workspace: int
    scratch: int
    graphs: CapturedGraphs = field(default_factory=CapturedGraphs)


class Executable:
    """The kernels of a graph, and how to call them.

    Parameters
    ----------
    graph : Graph
        As the passes leave it.
    dims : sequence of Dim
        The symbolic dimensions of its inputs.
    donated : sequence of int
    budget : int or None
    device : Device
    settings : Settings

    Attributes
    ----------
    program : Program
    device : Device

    Raises
    ------
    CompileError
        If there is no kernel for an op.
    ConfigError
        If a memory budget is given.
    """

    def __init__(
        self,
        graph: Graph,
        dims: Sequence[Dim],
        donated: Sequence[int],
        budget: int | None,
        device: Device,
        settings: Settings = Settings(),
    ):
        self.device = device
        self.settings = settings
        self.dims = list(dims)
        if budget is not None:
            raise ConfigError(
                "memory_budget is not kept on CUDA in this version: leave it out, or "
                'compile with backend="cpu".'
            )
        self.program: Program = schedule(graph, donated, machine=maps.MACHINE)
        self.canonical: dict[int, tuple[Kernel, Canonical]] = {}
        self.names: dict[int, str] = {}
        self.plans: OrderedDict[tuple, Plan] = OrderedDict()
        self._bases = self._base_numbers()
        self._constants: list[Any] | None = None
        self._cell: Any = None
        self._nothing: Any = None
        self._unread: Any = None
        self._lock = threading.RLock()
        for call in self.program.calls:
            if not isinstance(call, KernelCall):
                check_dtype(call)
        if not self.dims:
            self.plan({})
        if options().debug >= 3:
            print(self.source(), file=sys.stderr)

    # --------------------------------------------------------------- plans

    def _base_numbers(self) -> dict[str, int]:
        """Return the number of the first base of each kind."""
        graph, memory = self.program.graph, self.program.memory
        counts = {
            "input": len(graph.inputs),
            "output": len(graph.outputs),
            "constant": len(memory.constants),
            **dict.fromkeys(("workspace", "scratch", "error", "nothing"), 1),
        }
        out, number = {}, 0
        for kind, count in counts.items():
            out[kind] = number
            number += count
        return out

    def plan(
        self, values: Mapping[Dim, int], unaligned: Collection[int] = frozenset()
    ) -> Plan:
        """Return what a call of some sizes does, compiled and loaded.

        Parameters
        ----------
        values : dict of Dim to int
        unaligned : frozenset of int
            The bases of the caller's that begin at no multiple of `VECTOR` bytes.
        """
        key = tuple(values[d] for d in self.dims), unaligned
        with self._lock:
            found = self.plans.get(key)
            if found is None:
                found = self.plans[key] = self._planned(values, unaligned)
                if len(self.plans) > MOST_PLANS:
                    self.plans.popitem(last=False)
            self.plans.move_to_end(key)
            return found

    def _planned(self, values: Mapping[Dim, int], unaligned: Collection[int]) -> Plan:
        memory = self.program.memory
        size = evaluator(memory, values)
        scratch = Scratch(self._bases["scratch"])
        library = LibrarySteps(
            size,
            lambda m: self._place(m, size),
            scratch,
            self.device.vendor,
            self.device.simulated,
            self.settings.tf32,
        )
        groups: list[list[Step]] = []
        for call in self.program.calls:
            if isinstance(call, KernelCall):
                groups.append(self._launches(call, size, unaligned))
            else:
                groups.append(library.steps(call))
        run = self.device.prepare(groups)
        return Plan(groups, run, size(memory.workspace), scratch.bytes)

    def _place(self, memory: Memory, size: Any, start: SizeLike = 0) -> Pointer:
        """Return where an array, or an element of it, lies."""
        place = self.program.memory.places[key_of(memory)]
        itemsize = memory.dtype.itemsize  # type: ignore[attr-defined]
        ahead = size(start) * itemsize
        if size(memory.size) == 0:
            # an element of an empty array may be read, to be discarded
            return Pointer(self._bases["nothing"], ahead)
        number = self._bases[place.kind] + place.number
        return Pointer(number, size(place.offset) + ahead)

    def _places(
        self, call: KernelCall, canonical: Canonical, size: Any
    ) -> list[Pointer]:
        """Return where each buffer of a kernel begins, as its code takes it."""
        return [
            self._place(memory, size, canonical.starts.get(number, 0))
            for number, memory in enumerate(call.memory)
        ]

    def _launches(
        self, call: KernelCall, size: Any, unaligned: Collection[int] = ()
    ) -> list[Step]:
        """Return the launch of a kernel; none if it has nothing to do."""
        places = self._places(call, self._canonical(call.kernel), size)
        aligned = not any(p.base in unaligned or p.offset % VECTOR for p in places)
        chosen = maps.choose(call, size, self.device.simulated, aligned)
        if chosen.narrow and largest(call.kernel, size) >= 2**31:
            chosen = replace(chosen, narrow=False)
        kernel = chosen.kernel(call.kernel)  # its shared loops may be widened
        canonical = self._canonical(kernel)
        places = self._places(call, canonical, size)
        blocks, threads = maps.grid(call, chosen, size)
        printed = printed_kernel(kernel, canonical, chosen)
        self.names[id(call.kernel)] = printed.code.name
        if not blocks:
            return []
        arguments: list[Pointer | int] = []
        for kind, *given in printed.arguments:
            if kind == "buffer":
                (number,) = given
                arguments.append(places[number])
            elif kind == "error":
                arguments.append(Pointer(self._bases["error"]))
            elif kind == "parameter":
                (what,) = given
                if isinstance(what, int):
                    arguments.append(canonical.codes[what])
                else:
                    arguments.append(size(sizes.of_atom(what)))
            else:
                arguments.append(size(kernel.rows if kind == "rows" else call.chunks))
        return [Launch(printed.code, blocks, threads, tuple(arguments), kernel.label)]

    def _canonical(self, kernel: Kernel) -> Canonical:
        found = self.canonical.get(id(kernel))
        if found is None:  # the kernel is kept, so that its id stays its own
            found = self.canonical[id(kernel)] = kernel, Canonical(kernel)
        return found[1]

    # --------------------------------------------------------------- calls

    def run(
        self, arrays: Sequence[Any], outputs: Sequence[Any], values: Mapping[Dim, int]
    ) -> None:
        """Start a call on the device's contiguous arrays, filling `outputs`.

        Outputs that the program puts into donated inputs must be these arrays.

        Raises
        ------
        AllocationError
            If memory for the workspace cannot be had.
        IndexOutOfRangeError
            If an earlier call found one, and that is known by now.
        """
        own = [self.device.address(b) for b in (*arrays, *outputs)]
        plan = self.plan(values, self._unaligned(own))
        with self._lock:
            self._raise_reported(wait=False)
            bases = self._of_call(plan, values, arrays, outputs)
            rest = [self.device.address(b) for b in bases[len(own) :]]
            plan.graphs.run(plan.run, bases, (*own, *rest), self.device)
            memory = self.program.memory
            for number, place in memory.copies:
                if not outputs[number].size:
                    continue
                self.device.copy(
                    outputs[number], bases[self._bases[place.kind] + place.number]
                )
            if self.program.reports:
                self._unread = self.device.read_later(self._cell, self._unread)

    def _unaligned(self, addresses: Sequence[int]) -> frozenset[int]:
        """Return which of the caller's arrays begin at no multiple of `VECTOR` bytes.

        The others are the device's own, and do.
        """
        if self.device.simulated:
            return frozenset()
        return frozenset([i for i, a in enumerate(addresses) if a % VECTOR])

    def _of_call(
        self,
        plan: Plan,
        values: Mapping[Dim, int],
        arrays: Sequence[Any],
        outputs: Sequence[Any],
    ) -> list[Any]:
        """Return the bases of a call; its memory goes with the list."""
        if self._constants is None:
            self._constants = [
                self.device.upload(np.ascontiguousarray(c))
                for c in self.program.memory.constants
            ]
            self._cell = self.device.upload(np.zeros(1, np.int64))
            self._nothing = self.device.upload(np.zeros(ALIGNMENT, np.uint8))
        try:
            workspace = self.device.empty((plan.workspace,), np.uint8)
            scratch = self.device.empty((plan.scratch,), np.uint8)
        except (MemoryError, ValueError):
            self.device.release()
            raise AllocationError(self._too_much(plan, values)) from None
        own = [workspace, scratch, self._cell, self._nothing]
        bases = [*arrays, *outputs, *self._constants, *own]
        return [b if b.size else self._nothing for b in bases]

    def _too_much(self, plan: Plan, values: Mapping[Dim, int]) -> str:
        size = evaluator(self.program.memory, values)
        need = plan.workspace + plan.scratch
        text = (
            f"memory for intermediate arrays, {need:,} bytes, cannot be had on "
            f"{self.device.name}."
        )
        arrays = self.program.memory.arrays
        if arrays:
            largest = max(arrays, key=lambda a: size(a.size))
            text += f" The largest is {largest.label}, of {size(largest.size):,} bytes."
        return text

    def check_reports(self) -> None:
        """Wait, and raise if a call found an index out of range."""
        with self._lock:
            self._raise_reported(wait=True)

    def _raise_reported(self, wait: bool) -> None:
        """Raise what kernels of earlier calls reported, if that is known or waited for.

        The first of the ops in the program's order is named, whatever call it was.
        """
        if self._unread is None or not (wait or self._unread.done):
            return
        code = int(self._unread.wait()[0])
        self._unread = None
        if not code:
            return
        self.device.copy(self._cell, np.zeros(1, np.int64))
        node = self.program.reports[code - 1]
        raise IndexOutOfRangeError(
            f"{node.op.name}: an index is out of range in {node.label()}"
            f"{made_at(node.origin)}, found by kernel {self._reporting(code)}."
        )

    def _reporting(self, code: int) -> str:
        """Return the name of the kernel that reports an index by a code."""
        for call in self.program.calls:
            if isinstance(call, KernelCall):
                if code in self._canonical(call.kernel).codes.values():
                    return self.name(call.kernel)
        return "unknown"

    def time_steps(
        self,
        arrays: Sequence[Any],
        outputs: Sequence[Any],
        values: Mapping[Dim, int],
        threads: int = 0,
        rounds: int = 10,
    ) -> list[float]:
        """Return the seconds that each step takes on the device, by its events."""
        own = [self.device.address(b) for b in (*arrays, *outputs)]
        plan = self.plan(values, self._unaligned(own))
        with self._lock:
            bases = self._of_call(plan, values, arrays, outputs)
            return plan.run.timed(bases, rounds)

    # ---------------------------------------------------------- inspection

    def check_sizes(self, values: Mapping[Dim, int]) -> None:
        """Raise `AllocationError` for an array that no memory could hold."""
        check_sizes(self.program.graph.nodes, values)

    def name(self, kernel: Kernel) -> str:
        """Return the name of a kernel's code: the last it was printed as.

        Of a kernel that no call has asked for yet it is that at small sizes.
        """
        if id(kernel) not in self.names:
            self._print_all()
        return self.names[id(kernel)]

    def _print_all(self) -> None:
        """Print each kernel, at the sizes last called with or at some."""
        values = dict.fromkeys(self.dims, 1024)
        if self.plans:
            values = dict(zip(self.dims, next(reversed(self.plans))[0]))
        size = evaluator(self.program.memory, values)
        for call in self.program.calls:
            if isinstance(call, KernelCall) and id(call.kernel) not in self.names:
                self._launches(call, size)

    def codes(self) -> dict[str, Code]:
        """Return the kernels' code by name, each once, in order of execution."""
        self._print_all()
        by_name = {p.code.name: p.code for p in _codes.values()}
        wanted = (
            self.names[id(c.kernel)]
            for c in self.program.calls
            if isinstance(c, KernelCall)
        )
        return {name: by_name[name] for name in wanted}

    def source(self) -> str:
        """Return the Python text of the kernels, each once, in order of execution."""
        codes = self.codes()
        out: dict[str, str] = {}
        for call in self.program.calls:
            if isinstance(call, KernelCall):
                name = self.name(call.kernel)
                out.setdefault(name, f"# {call.kernel.label}\n{codes[name].text}")
            else:
                out[f"{call.label} {len(out)}"] = f"# {call.kind} {call.label}"
        return "\n\n".join(out.values())


def printed_kernel(
    kernel: Kernel, canonical: Canonical, chosen: maps.Mapping
) -> Printed:
    """Return a kernel's code, printed unless one of the same form and mapping was."""
    key = (canonical.key, chosen)
    found = _codes.get(key)
    if found is None:
        printer = KernelPrinter(kernel, canonical, chosen)
        code = Code(
            printer.name,
            printer.text,
            tuple(printer.signature),
            printer.namespace,
            chosen.threads,
        )
        if len(_codes) >= _MOST_CODES:
            _codes.clear()
        found = _codes[key] = Printed(code, tuple(printer.arguments))
    return found
