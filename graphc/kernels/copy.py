"""Copies of statements with other loop variables, simplified by what these are.

A copy shares nothing that belongs to a round of a loop: its loops, accumulators and
computed indices are new, so that original and copies can stand one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.kernels.bounds import Bounds
from graphc.kernels.builder import Values
from graphc.kernels.ir import (
    Accumulator,
    Constant,
    Current,
    Dynamic,
    FromSize,
    Instruction,
    Kernel,
    Load,
    Loop,
    LoopVar,
    Set,
    Start,
    Statement,
    Store,
    Update,
    Value,
    missing,
    operands,
)
from graphc.types import sizes
from graphc.types.sizes import Atom, Function, SizeLike

_ORDER = {"ge", "gt", "le", "lt", "eq", "ne"}


class Names:
    """Numbers for new loop variables and accumulators."""

    def __init__(self, variables: int, accumulators: int):
        self.variables = variables
        self.accumulators = accumulators

    @classmethod
    def of(cls, kernel: Kernel) -> Names:
        """Return numbers beyond those of a kernel."""
        variables, accumulators = 0, 0
        for part in kernel.loops:
            variables = max(variables, part.var.number)
        for s in kernel.statements():
            if isinstance(s, Loop):
                variables = max(variables, s.var.number)
            if isinstance(s, Start):
                accumulators = max(accumulators, s.accumulator.number)
        return cls(variables, accumulators)

    def variable(self, like: LoopVar) -> LoopVar:
        """Return a new variable of the name of another."""
        self.variables += 1
        return LoopVar(like.name, self.variables)

    def accumulator(self, like: Accumulator) -> Accumulator:
        """Return a new accumulator of the kind of another."""
        self.accumulators += 1
        return Accumulator(
            self.accumulators, like.dtype, like.instruction, like.initial
        )

    def total(self, dtype: np.dtype, instruction: str) -> Accumulator:
        """Return a new accumulator that starts with what changes nothing."""
        self.accumulators += 1
        initial = neutral(instruction, dtype)
        return Accumulator(self.accumulators, dtype, instruction, initial)


class Copy:
    """One copy of a loop's body.

    Parameters
    ----------
    k : Values
        Builds the values.
    names : Names
    var : LoopVar
        The variable of the loop copied.
    new : LoopVar or None
        The variable of the copy; None for a copy of one round.
    low : SizeLike
        The value of `var` in the first round of the copy: ``var = low + new``.
    bounds : Bounds
        What is known there. Comparisons it decides, and selections by these, are done
        away with, and so are minima and maxima of indices.
    """

    def __init__(
        self,
        k: Values,
        names: Names,
        var: LoopVar,
        new: LoopVar | None,
        low: SizeLike,
        bounds: Bounds,
    ):
        self.k = k
        self.names = names
        self.bounds = bounds
        self.loops: dict[LoopVar, LoopVar] = {}
        self.atoms: dict[Atom, SizeLike] = {var: low}
        if new is not None:
            self.loops[var] = new
            self.atoms[var] = low + sizes.of_atom(new)
        self.accumulators: dict[int, Accumulator] = {}
        self.values: dict[int, Value] = {}
        self.kept: list[Value] = []  # so that no id is used again

    # ------------------------------------------------------------ statements

    def statements(self, body: Sequence[Statement]) -> list[Statement]:
        """Return a copy of statements, without those that do nothing."""
        return [c for s in body for c in self._statement(s)]

    def _statement(self, s: Statement) -> list[Statement]:
        if isinstance(s, Loop):
            return self._loop(s)
        if isinstance(s, Start):
            new = self.names.accumulator(s.accumulator)
            self.accumulators[id(s.accumulator)] = new
            self.kept.append(s.accumulator)
            return [Start(new)]
        value = self.value(s.value)
        if isinstance(s, Store):
            if s.instruction is not None and _changes_nothing(s.instruction, value):
                return []
            return [Store(s.buffer, self.size(s.offset), value, s.instruction)]
        accumulator = self._accumulator(s.accumulator)
        if isinstance(s, Set):
            return [Set(accumulator, value)]
        if _changes_nothing(accumulator.instruction, value):
            return []
        return [Update(accumulator, value)]

    def _loop(self, loop: Loop) -> list[Statement]:
        extent = self.size(loop.extent)
        var = self.names.variable(loop.var)
        self.loops[loop.var] = var
        self.atoms[loop.var] = sizes.of_atom(var)
        outside, self.bounds = self.bounds, self.bounds.within(var, extent)
        body = self.statements(loop.body)
        self.bounds = outside
        return [Loop(var, extent, body)] if body else []

    def _accumulator(self, accumulator: Accumulator) -> Accumulator:
        return self.accumulators.get(id(accumulator), accumulator)

    # ---------------------------------------------------------------- values

    def value(self, value: Value) -> Value:
        """Return a copy of a value, without recursion."""
        for v in missing(value, self.values, self._needs):
            self.values[id(v)] = self._copied(v)
            self.kept.append(v)
        return self.values[id(value)]

    def _needs(self, value: Value) -> Sequence[Value]:
        """Return what a copy needs: of a selection that is decided, what it selects.

        So of the cases of a concatenation most are not even looked at.
        """
        if isinstance(value, Instruction) and value.name in ("select", "and"):
            first = self.values.get(id(value.operands[0]))
            if first is None:
                return value.operands[:1]
            if isinstance(first, Constant):
                if value.name == "select":
                    return value.operands[1:2] if first.value else value.operands[2:]
                if first.value is False:
                    return ()
        return operands(value)

    def _copied(self, value: Value) -> Value:
        if isinstance(value, Constant):
            return value
        if isinstance(value, FromSize):
            return self.k.size(self.size(value.size), value.dtype)
        if isinstance(value, Load):
            offset = self.size(value.offset)
            if value.stage:  # what was stored in this round
                return Load(value.buffer, offset, value.dtype, value.stage)
            return self.k.load(value.buffer, offset, 0)
        if isinstance(value, Accumulator):
            return self._accumulator(value)
        if isinstance(value, Current):
            accumulator = self._accumulator(value.accumulator)
            return Current(accumulator, self.loops[value.loop], value.dtype)
        if value.name in ("select", "and"):
            first = self.values[id(value.operands[0])]
            if isinstance(first, Constant):
                if value.name == "select":
                    return self.values[id(value.operands[1 if first.value else 2])]
                if first.value is False:
                    return first
        new = [self.values[id(o)] for o in value.operands]
        if value.name in _ORDER:
            known = self._decided(value.name, *new)
            if known is not None:
                return self.k.constant(known, value.dtype)
        if value.name == "cast":
            return self.k.cast(new[0], value.dtype)
        if value.name == "add" and value.dtype.kind == "f":
            # what a condition left out adds nothing: x + 0.0 -> x, as among the passes
            for term, other in ((new[0], new[1]), (new[1], new[0])):
                if isinstance(term, Constant) and term.value == 0:
                    return other
        return self.k(value.name, *new)

    def _decided(self, name: str, a: Value, b: Value) -> bool | None:
        """Return the outcome of a comparison of indices, if it is known."""
        sides = as_size(a), as_size(b)
        if sides[0] is None or sides[1] is None:
            return None
        return decided(name, sides[0] - sides[1], self.bounds)

    # ---------------------------------------------------------------- sizes

    def size(self, size: SizeLike) -> SizeLike:
        """Return a copy of index arithmetic."""
        return sizes.substitute(size, self._atom)

    def _atom(self, atom: Atom) -> SizeLike | None:
        found = self.atoms.get(atom)
        if found is not None:
            return found
        if isinstance(atom, Dynamic):
            value = self.value(atom.value)
            new = self.k.index_like(atom, value, self.size(atom.extent))
            found = sizes.of_atom(new)
        elif isinstance(atom, Function):
            a, b = self.size(atom.left), self.size(atom.right)
            found = self._function(atom.name, a, b)
        else:
            return None
        self.atoms[atom] = found
        return found

    def _function(self, name: str, a: SizeLike, b: SizeLike) -> SizeLike:
        known = self.bounds.non_negative
        if name in ("min", "max"):
            for x, y in ((a, b), (b, a)):
                if known(y - x):
                    return x if name == "min" else y
            return sizes.extremum(name, a, b)
        if known(a) and known(b - a - 1):
            return 0 if name == "//" else a
        return sizes.floordiv(a, b) if name == "//" else sizes.mod(a, b)


def as_size(value: Value) -> SizeLike | None:
    """Return the index that an integer value is, None if it is computed otherwise."""
    if isinstance(value, FromSize):
        return value.size if value.dtype.itemsize == 8 else None
    if isinstance(value, Constant) and value.dtype.kind in "iu":
        return int(value.value)
    return None


def decided(name: str, difference: SizeLike, bounds: Bounds) -> bool | None:
    """Return whether ``difference >= 0``, ``> 0`` and so on, if it is known."""
    if name in ("le", "lt"):
        outcome = decided("gt" if name == "le" else "ge", difference, bounds)
        return None if outcome is None else not outcome
    if name in ("eq", "ne"):
        above = decided("gt", difference, bounds)
        below = decided("lt", difference, bounds)
        if above or below:
            return name == "ne"
        return name == "eq" if above is below is False else None
    if name == "gt":
        difference = difference - 1
    if bounds.non_negative(difference):
        return True
    return False if bounds.non_negative(-1 - difference) else None


_NEUTRAL = {"add": 0, "mul": 1, "or": False, "and": True}


def neutral(instruction: str, dtype: np.dtype) -> Any:
    """Return the value that leaves every other as it is."""
    if instruction in _NEUTRAL:
        return _NEUTRAL[instruction]
    lowest = instruction == "max"
    if dtype.kind == "f":
        return -np.inf if lowest else np.inf
    if dtype.kind == "b":
        return not lowest
    return np.iinfo(dtype).min if lowest else np.iinfo(dtype).max


def _changes_nothing(instruction: str, value: Value) -> bool:
    """Tell whether a value leaves every running total that starts neutral as it is.

    A sum that starts with 0.0 is never -0.0.
    """
    return (
        isinstance(value, Constant)
        and instruction in _NEUTRAL
        and value.value == _NEUTRAL[instruction]
    )
