"""Values of nodes inside a kernel: expressions of what is in memory.

`Evaluation` holds what a kernel under construction knows: its buffers, and how the
value of a node at an index is had, from memory, from a reduction that is done, from
a row kept in scratch memory, or by computing it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphc.graph.node import Node
from graphc.kernels.builder import Values
from graphc.kernels.ir import (
    Accumulator,
    Buffer,
    Dynamic,
    Kernel,
    LoopVar,
    Value,
    value_atoms,
)
from graphc.ops.declare import Elementwise
from graphc.ops.leaf import uniform_value
from graphc.ops.scalars import Index
from graphc.schedule.access import broadcast_index, row_major
from graphc.schedule.fusion import Fusion
from graphc.types import sizes
from graphc.types.errors import internal_assert
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape


@dataclass(eq=False)
class Memory:
    """What a kernel's buffer stands for: a node's array, or memory of its own.

    Attributes
    ----------
    node : Node or None
        The node kept there; None for partial results and scratch rows.
    size : SizeLike
        Elements.
    dtype : numpy.dtype
    read_if_empty : bool
        Whether its first element may be read though it has none, to be discarded.
    """

    node: Node | None
    size: SizeLike
    dtype: object
    read_if_empty: bool = False


@dataclass(eq=False)
class KernelCall:
    """A kernel, and the memory its buffers stand for at one place of a program.

    Attributes
    ----------
    kernel : Kernel
    memory : list of Memory
    chunks : SizeLike
    nodes : list of Node
        What it computes.
    block : int
        Rows that each row of the kernel's parallel loop stands for.
    """

    kernel: Kernel
    memory: list[Memory]
    chunks: SizeLike
    nodes: list[Node]
    block: int = 1


class _Missing(Exception):
    """A value that must be computed before the one that asked for it."""


class Evaluation:
    """What a kernel under construction reads, and how.

    Parameters
    ----------
    fusion : Fusion
    computed : set of Node
        The nodes this kernel computes; others are read from memory.
    rows : Shape
        The axes of its parallel loop.
    report : callable
        Returns the code for an index of a node out of range.
    """

    def __init__(
        self,
        fusion: Fusion,
        computed: set[Node],
        rows: Shape,
        report: Callable[[Node], int],
    ):
        self.fusion = fusion
        self.computed = computed
        self.rows = rows
        self.k = Values(report)
        self.memory: list[Memory] = []
        self.buffers: list[Buffer] = []
        self.of_node: dict[Node, Buffer] = {}
        self.variables = 0
        self.row = self.variable("r")
        self.chunk = self.variable("chunk")
        self.row_index: Index = ()
        self.stage = 0
        self.done: dict[Node, Accumulator] = {}
        self.rowed: dict[Node, tuple[Buffer, int]] = {}
        self.memo: dict[tuple[Node, Index], Value] = {}

    def variable(self, name: str) -> LoopVar:
        self.variables += 1
        return LoopVar(name, self.variables)

    def divided_index(self) -> Index:
        """Return the index of the row's axes, divided out of the row's number."""
        row: SizeLike = sizes.of_atom(self.row)
        index: list[SizeLike] = []
        for s in reversed(self.rows[1:]):
            index.append(sizes.mod(row, s))
            row = sizes.floordiv(row, s)
        return tuple(reversed([*index, row])) if self.rows else ()

    # ----------------------------------------------------------------- memory

    def buffer(self, memory: Memory, written: bool) -> Buffer:
        """Return a new buffer of the kernel."""
        out = Buffer(len(self.buffers), memory.dtype, written)  # type: ignore[arg-type]
        self.buffers.append(out)
        self.memory.append(memory)
        return out

    def node_buffer(self, node: Node, written: bool = False) -> Buffer:
        """Return the buffer of a node kept in memory."""
        found = self.of_node.get(node)
        if found is None:
            found = self.buffer(Memory(node, node.size, node.dtype), written)
            self.of_node[node] = found
        return found

    # ----------------------------------------------------------------- values

    def value(self, node: Node, index: Index) -> Value:
        """Return the value of a node at an index, without recursion over the graph."""
        stack: list[tuple[Node, Index]] = [(node, index)]
        while stack:
            top = stack[-1]
            if top in self.memo:
                stack.pop()
                continue
            try:
                self.memo[top] = self._compute(*top)
                stack.pop()
            except _Missing as missing:
                stack.append(missing.args[0])
        return self.memo[(node, index)]

    def _compute(self, node: Node, index: Index) -> Value:
        if node in self.done:
            internal_assert(index[: len(self.rows)] == self.row_index, "a row is left")
            return self.done[node]
        row = self.rowed.get(node)
        if row is not None and row[1] < self.stage and self._own_row(index):
            return self._load_row(node, row[0], index)
        value = uniform_value(node)
        if value is not None:
            return self.k.constant(value, node.dtype)
        if node not in self.computed and self._in_memory(node):
            buffer = self.node_buffer(node)
            return self.k.load(buffer, self._offset(buffer, index, node.shape), 0)
        if isinstance(node.op, Elementwise):
            keys = [(a, broadcast_index(index, a)) for a in node.args]
            for key in keys:
                if key not in self.memo:
                    raise _Missing(key)
            return node.op.scalar(self.k, node, *(self.memo[key] for key in keys))
        internal_assert(
            hasattr(node.op, "read"), f"{node.op.name} is not computed here"
        )
        return node.op.read(
            self.k, node, index, lambda p, i: self._given(node.args[p], i)
        )

    def _given(self, node: Node, index: Index) -> Value:
        key = (node, tuple(index))
        if key not in self.memo:
            raise _Missing(key)
        return self.memo[key]

    def _own_row(self, index: Index) -> bool:
        return tuple(index[: len(self.rows)]) == self.row_index

    def _load_row(self, node: Node, buffer: Buffer, index: Index) -> Value:
        if self.memory[buffer.number].node is node:
            offset = self._offset(buffer, index, node.shape)
        else:
            inner = node.shape[len(self.rows) :]
            _, offset = self._scratch(sizes.product(inner))
            offset = offset + self._offset(buffer, index[len(self.rows) :], inner)
        return self.k.load(buffer, offset, self.stage)

    def _offset(self, buffer: Buffer, index: Index, shape: Shape) -> SizeLike:
        """Return the offset of an element in a buffer, 0 where none can be meant.

        What is read for an index clamped into an empty axis (`sizes.clamp`), or for one
        that was computed and is out of range, is discarded. But of the array it comes
        from no place might be there but the first, which backends provide.
        """
        offset, inside = sizes.unclamped(row_major(index, shape))
        unsure = bool(inside)
        terms = () if isinstance(offset, int) else offset.terms
        for atom in value_atoms(offset):
            if isinstance(atom, Dynamic) and not sizes.non_negative(atom.extent - 1):
                unsure = True
                if any(atom not in monomial for monomial, _ in terms):
                    inside.append(sizes.minimum(1, atom.extent))
        if unsure:
            self.memory[buffer.number].read_if_empty = True
        for condition in dict.fromkeys(inside):
            offset = offset * condition
        return offset

    def _scratch(self, width: SizeLike) -> tuple[SizeLike, SizeLike]:
        """Return the size of memory for rows of values, and where this row's begin."""
        raise NotImplementedError

    def _in_memory(self, node: Node) -> bool:
        info = self.fusion.info[node]
        return info.kind == "stored" or node in self.fusion.kept
