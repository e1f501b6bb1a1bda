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
    Kernel,
    Load,
    Loop,
    RowLoop,
    Set,
    Statement,
    Store,
    Update,
    Value,
    missing,
    operands,
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
        self._masks: dict[int, int] = {}  # of each value the loads it needs, as bits
        self._bits: dict[Load, int] = {}
        for number, (statement, loops) in enumerate(_with_loops(kernel)):
            if isinstance(statement, Store):
                found = self.stores.setdefault(statement.buffer, [])
                found.append((statement, loops, number))
            for value in _roots(statement):
                self._visit(value)

    def _visit(self, value: Value) -> None:
        """Find the loads that a value needs, without recursion."""
        masks = self._masks
        for v in missing(value, masks):
            mask = 0
            for needed in operands(v):
                mask |= masks[id(needed)]
            if isinstance(v, Load):
                self.loads.setdefault(v.buffer, []).append(v)
                self._bits[v] = bit = 1 << len(self._bits)
                mask |= bit
            masks[id(v)] = mask

    def may_share(self, read: Buffer, written: Buffer) -> bool:
        """Tell whether an array read may lie where another is written."""
        loads, stores = self.loads.get(read, []), self.stores.get(written, [])
        if read.written or len(loads) != 1 or not stores:
            return False
        (load,) = loads
        store, loops, _ = stores[0]
        return (
            bool(self._masks[id(store.value)] & self._bits[load])
            and store.instruction is None
            and store.offset == load.offset
            and read.dtype.itemsize == written.dtype.itemsize
            and self._once(store, loops)
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
