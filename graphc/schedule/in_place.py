"""Which arrays a kernel may write in the place of ones it reads for the last time.

That is legal where every element is read before it is overwritten. It is proved from
the loop nest: the array is read by one load only, at the same offset and in the same
iteration as the store, whose value depends on it. The kernel is then printed with one
buffer for both, so that they may share memory in spite of `noalias`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc.kernels.ir import (
    Buffer,
    Dynamic,
    FromSize,
    Instruction,
    Kernel,
    Load,
    Loop,
    RowLoop,
    Set,
    Statement,
    Store,
    Update,
    Value,
    value_atoms,
)
from graphc.types.sizes import SizeLike

_Loop = Loop | RowLoop


class Reads:
    """The loads and stores of a kernel, by buffer."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.loads: dict[Buffer, list[Load]] = {}
        self.stores: dict[Buffer, list[tuple[Store, list[_Loop], int]]] = {}
        seen: set[int] = set()
        for number, (statement, loops) in enumerate(_with_loops(kernel)):
            if isinstance(statement, Store):
                found = self.stores.setdefault(statement.buffer, [])
                found.append((statement, loops, number))
            for value in _reached(_roots(statement), seen):
                if isinstance(value, Load):
                    self.loads.setdefault(value.buffer, []).append(value)

    def may_share(self, read: Buffer, written: Buffer) -> bool:
        """Tell whether an array read may lie where another is written."""
        loads, stores = self.loads.get(read, []), self.stores.get(written, [])
        if read.written or len(loads) != 1 or not stores:
            return False
        (load,) = loads
        store, loops, _ = stores[0]
        return (
            store.instruction is None
            and store.offset == load.offset
            and read.dtype.itemsize == written.dtype.itemsize
            and self._once(store, loops)
            and any(v is load for v in _reached([store.value], set()))
            and self._later(loops, stores[1:])
        )

    def _once(self, store: Store, loops: Sequence[_Loop]) -> bool:
        """Tell whether a store runs once for each offset: it depends on all loops.

        Arrays are stored at row-major offsets, which differ where an index does.
        """
        atoms = set(value_atoms(store.offset))
        return all(loop.var in atoms or loop.extent == 1 for loop in loops)

    def _later(
        self, loops: Sequence[_Loop], others: Sequence[tuple[Store, list[_Loop], int]]
    ) -> bool:
        """Tell whether other stores come when all of the array has been read."""
        if not others:
            return True
        if self.kernel.rows != 1 or len(loops) < 2:
            return False
        return all(len(nest) < 2 or nest[1] is not loops[1] for _, nest, _ in others)


def _with_loops(kernel: Kernel) -> Iterator[tuple[Statement, list[_Loop]]]:
    """Return all statements, in order, with the loops around each, rows first."""
    parts: list[tuple[list[_Loop], list[Statement]]] = [([], kernel.before)]
    for part in kernel.loops:
        parts.append(([part], part.body))
    parts.append(([], kernel.after))
    for around, body in parts:
        stack: list[tuple[Statement, list[_Loop]]]
        stack = [(s, around) for s in reversed(body)]
        while stack:
            statement, loops = stack.pop()
            if isinstance(statement, Loop):
                inside = [*loops, statement]
                stack.extend((s, inside) for s in reversed(statement.body))
            yield statement, loops


def _roots(statement: Statement) -> list[Value]:
    if isinstance(statement, Loop):
        return _indices(statement.extent)
    if isinstance(statement, Store):
        return [statement.value, *_indices(statement.offset)]
    return [statement.value] if isinstance(statement, (Update, Set)) else []


def _indices(size: SizeLike) -> list[Value]:
    """Return the values that a size is computed from."""
    return [a.value for a in value_atoms(size) if isinstance(a, Dynamic)]


def _reached(values: Sequence[Value], seen: set[int]) -> Iterator[Value]:
    """Return the values that some are computed from, each once."""
    stack = list(values)
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, Instruction):
            stack.extend(value.operands)
        elif isinstance(value, Load):
            stack.extend(_indices(value.offset))
        elif isinstance(value, FromSize):
            stack.extend(_indices(value.size))
