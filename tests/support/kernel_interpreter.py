"""Runs kernels of the loop-nest IR on arrays in Python, and counts what they do.

Slow and plain: an oracle for counts. Nothing is summed over loops here; each round of
a loop is run, a value is computed when it is first needed, and kept until a loop that
it was computed from goes on.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from graphc.kernels import ir
from graphc.types import sizes
from tests.support.numpy_scalars import NumpyScalars

CALLS = set(
    "exp exp2 expm1 log log2 log10 log1p cbrt pow sin cos tan arcsin arccos arctan "
    "arctan2 hypot sinh cosh tanh arcsinh arccosh arctanh sigmoid softplus logaddexp "
    "erf erfc gammaln digamma".split()
)


def count_instruction(counts: Counter, name: str, elements: int = 1) -> None:
    """Count an instruction as the documentation says, by a table of the tests' own."""
    if name in CALLS or name.startswith("polygamma"):
        counts["transcendentals"] += elements
    elif name.startswith("integer_power_"):
        n, products = abs(int(name.split("_")[-1])), 0
        while n > 1:
            products += 1 + n % 2
            n //= 2
        products += int(name.split("_")[-1]) < 0
        counts["flops"] += products * elements
    elif name != "cast":
        counts["flops"] += elements


class KernelInterpreter:
    """Runs one kernel, all its chunks.

    Attributes
    ----------
    counts : Counter
    read, written : dict of int to set of int
        By buffer, the places that were loaded and stored.
    """

    def __init__(self, kernel: ir.Kernel, buffers: list[np.ndarray], dims: Any):
        self.kernel, self.buffers, self.dims = kernel, buffers, dims
        self.counts: Counter = Counter()
        self.read: dict[int, set[int]] = {}
        self.written: dict[int, set[int]] = {}
        self.scalars = NumpyScalars()

    def run(self, chunks: int) -> None:
        rows = self.size_of(self.kernel.rows)
        for chunk in range(chunks):
            low, high = (rows * c // chunks for c in (chunk, chunk + 1))
            self.cells: dict[int, list[Any]] = {}
            self.env: dict[Any, int] = {self.kernel.chunk: chunk}
            self.open: list[Any] = [self.kernel.chunk]
            self.memo: list[dict[Any, Any]] = [{}]
            self.body(self.kernel.before)
            for part in self.kernel.loops:
                start, extent = self.size_of(part.low), self.size_of(part.extent)
                first = max(low - start, 0)
                self.loop(part.var, first, min(high - start, extent), part.body)
            self.body(self.kernel.after)

    def loop(self, var: Any, low: int, high: int, body: Any) -> None:
        self.open.append(var)
        self.memo.append({})
        for number in range(low, high):
            self.memo[-1] = {}
            self.env[var] = number
            self.body(body)
        if high <= low:  # what does not depend on the loop is computed before it
            self.invariants(var, body)
        self.open.pop()
        self.memo.pop()

    def invariants(self, var: Any, body: Any) -> None:
        """Raise for a loop without rounds: its counts are looked at by no test."""
        raise EmptyLoop

    def body(self, body: Any) -> None:
        for s in body:
            if isinstance(s, ir.Loop):
                self.loop(s.var, 0, self.size_of(s.extent), s.body)
            elif isinstance(s, ir.Start):
                a = s.accumulator
                initial = np.asarray(a.initial).astype(a.dtype)
                self.cells[a.number] = [initial, len(self.open) - 1]
            elif isinstance(s, ir.Store):
                value, _ = self.value(s.value)
                at, _ = self.index(s.offset)
                self.move(self.written, s.buffer, at, "stores")
                array = self.memory(s.buffer)
                if s.instruction is not None:
                    self.move(self.read, s.buffer, at, "loads")
                    value = self.instruction(s.instruction, array[at], value)
                array[at] = value
            else:
                value, _ = self.value(s.value)
                cell = self.cells[s.accumulator.number]
                if isinstance(s, ir.Update):
                    name = s.accumulator.instruction
                    value = self.instruction(name, cell[0], value)
                cell[0] = value

    def memory(self, buffer: ir.Buffer) -> np.ndarray:
        return self.buffers[buffer.number]

    def move(self, places: Any, buffer: ir.Buffer, at: int, kind: str) -> None:
        self.counts[kind] += 1
        places.setdefault(buffer.number, set()).add(at)

    def instruction(self, name: str, *operands: Any) -> Any:
        count_instruction(self.counts, name)
        with np.errstate(all="ignore"):
            return self.scalars(name, *(np.asarray(o) for o in operands))

    def value(self, value: Any) -> tuple[Any, int]:
        """Return a value and the innermost open loop it was computed from."""
        for depth, memo in enumerate(self.memo):
            if value in memo:
                return memo[value], depth
        made, depth = self.computed(value)
        if not isinstance(value, (ir.Accumulator, ir.Current)):
            self.memo[depth][value] = made
        return made, depth

    def computed(self, value: Any) -> tuple[Any, int]:
        if isinstance(value, ir.Constant):
            return np.asarray(value.value).astype(value.dtype), 0
        if isinstance(value, ir.Accumulator):
            return tuple(self.cells[value.number])
        if isinstance(value, ir.Current):
            cell, _ = self.cells[value.accumulator.number]
            return cell, self.open.index(value.loop)
        if isinstance(value, ir.FromSize):
            number, depth = self.index(value.size)
            return np.asarray(number).astype(value.dtype), depth
        if isinstance(value, ir.Load):
            at, depth = self.index(value.offset)
            self.move(self.read, value.buffer, at, "loads")
            depth = max(depth, 1) if value.stage else depth
            return self.memory(value.buffer)[at], depth
        found = [self.value(o) for o in value.operands]
        depth = max(d for _, d in found)
        if value.name == "cast":
            with np.errstate(all="ignore"):
                return np.asarray(found[0][0]).astype(value.dtype), depth
        return self.instruction(value.name, *(v for v, _ in found)), depth

    def index(self, size: Any) -> tuple[int, int]:
        depth = 0
        memo: dict[Any, int] = {}
        for atom in ir.value_atoms(size):
            if isinstance(atom, ir.Dynamic):
                number, at = self.value(atom.value)
                extent = self.size_of(atom.extent)
                number = int(number)
                number = number + extent if number < 0 else number
                memo[atom] = number if 0 <= number < extent else 0
                depth = max(depth, at, min(1, len(self.open) - 1))
            elif atom in self.open:
                depth = max(depth, self.open.index(atom))
        return sizes.evaluate(size, self.known, memo), depth

    def size_of(self, size: Any) -> int:
        return sizes.evaluate(size, self.known)

    def known(self, atom: Any) -> int:
        return (
            self.env[atom]
            if hasattr(self, "env") and atom in self.env
            else self.dims[atom]
        )


class EmptyLoop(Exception):
    """A loop has no rounds."""
