"""Lowering of a group of nodes to one kernel that runs row by row, in stages.

For each row the stages run in order; a stage is a set of loops over inner axes that
need only what earlier stages left: the reductions that become ready, and the stores
of values that need no later reduction. What is expensive and used by several stages
is kept in a scratch row, which stays in cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphc.graph.node import Node
from graphc.kernels.builder import Values
from graphc.kernels.forward import forward_stores
from graphc.kernels.ir import (
    Accumulator,
    Buffer,
    Kernel,
    Loop,
    LoopVar,
    RowLoop,
    Start,
    Statement,
    Store,
    Update,
    all_values,
    size_of,
    statements,
    value_atoms,
)
from graphc.kernels.join import join_loops
from graphc.kernels.lanes import cut_to_lanes
from graphc.kernels.split import split_loops
from graphc.kernels.unroll import SHORT, unroll_short_loops
from graphc.ops.declare import Elementwise, Reduce
from graphc.ops.leaf import constant_
from graphc.ops.scalars import Index
from graphc.schedule.access import row_major
from graphc.schedule.estimate import worth_a_scratch_row
from graphc.schedule.evaluate import Evaluation, KernelCall, Memory
from graphc.schedule.fusion import Fusion, Group
from graphc.types import sizes
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape


@dataclass(eq=False)
class _Item:
    """A reduction or a store, and the stage and inner axes it belongs to."""

    node: Node
    stage: int
    inner: Shape
    anchor: bool


class GroupLowering(Evaluation):
    """Builds one kernel that runs row by row.

    `mode` says how the indices of the rows' axes follow from the row's number.
    """

    short = SHORT
    """Rounds of inner loops that are written out."""

    block = 1
    """Rows that each row of the kernel's parallel loop stands for."""

    def __init__(
        self,
        fusion: Fusion,
        group: Group,
        rows: Shape,
        report: Callable[[Node], int],
        mode: str,
        chunks: SizeLike,
    ):
        super().__init__(fusion, group.nodes, rows, report)
        self.group = group
        self.apart = [self.variable(f"r{a}_") for a in range(len(rows))]
        self.row_index = self._row_index(mode)
        self.chunks = chunks
        self.accumulators = 0
        self.before: list[Statement] = []
        self.body: list[Statement] = []
        self.after: list[Statement] = []
        self.partials: list[tuple[Node, Buffer, SizeLike]] = []
        self.order = sorted(group.nodes, key=lambda n: n.serial)
        self.extent = sizes.product(rows)
        self._build()

    # ---------------------------------------------------------------- indices

    def _row_index(self, mode: str) -> Index:
        row: SizeLike = sizes.of_atom(self.row)
        if not self.rows:
            return ()
        if len(self.rows) == 1:
            return (row,)
        if mode == "apart":
            return tuple(sizes.of_atom(v) for v in self.apart)
        if mode == "joined":
            # the last index that makes the combination equal to the row: the other
            # variables cancel from every offset
            others: list[SizeLike] = [sizes.of_atom(v) for v in self.apart[:-1]]
            return (*others, row - row_major((*others, 0), self.rows))
        return self.divided_index()

    def collapses(self) -> bool:
        """Tell whether the rows' variables occur only in row-major combination."""
        others: list[SizeLike] = [sizes.of_atom(v) for v in self.apart[:-1]]
        last = sizes.of_atom(self.row) - row_major((*others, 0), self.rows)
        table = {self.apart[-1]: last}
        left = set(self.apart[:-1])
        for s in self._all_sizes():
            new = sizes.substitute(s, table.get)
            if any(a in left for a in value_atoms(new)):
                return False
        return True

    def _all_sizes(self) -> list[SizeLike]:
        body = [*self.before, *self.body, *self.after]
        out: list[SizeLike] = []
        for s in statements(body):
            if isinstance(s, Store):
                out.append(s.offset)
            if isinstance(s, Loop):
                out.append(s.extent)
        return out + [size_of(value) for value in all_values(body)]

    # ----------------------------------------------------------------- stages

    def _build(self) -> None:
        level: dict[Node, int] = {}
        for node in self.order:
            level[node] = max(
                (
                    level[a] + isinstance(a.op, Reduce)
                    for a in node.args
                    if a in self.group.nodes
                ),
                default=0,
            )
        items = self._items(level)
        roots = set(self.group.roots)
        for root in self.group.roots:
            if not (isinstance(root.op, Reduce) and self._is_partial(root)):
                self.node_buffer(root, True)
        for stage in range(max((i.stage for i in items), default=0) + 1):
            shapes: dict[Shape, list[_Item]] = {}
            for item in items:
                if item.stage == stage:
                    shapes.setdefault(without_ones(item.inner), []).append(item)
            scalars = self._row_scalars(level, stage)
            if scalars:
                shapes.setdefault((), [])
            for inner, together in sorted(shapes.items(), key=lambda t: len(t[0])):
                kept = self._kept_rows(items, stage, inner) if inner else scalars
                kept = [n for n in kept if n not in roots and n not in self.rowed]
                self._loops(inner, together, kept)

    def _items(self, level: dict[Node, int]) -> list[_Item]:
        count = len(self.rows)
        items = []
        roots = set(self.group.roots)
        for node in self.order:
            if isinstance(node.op, Reduce):
                items.append(_Item(node, level[node], node.args[0].shape[count:], True))
            elif node in roots:
                items.append(_Item(node, level[node], node.shape[count:], False))
        return items

    def _kept_rows(
        self, items: list[_Item], level_stage: int, inner: Shape
    ) -> list[Node]:
        """Return expensive values of this stage that later stages use again."""
        uses: dict[Node, set[int]] = {}
        stages = {i.node: i for i in items}
        for node in reversed(self.order):
            mine = set(uses.get(node, ()))
            item = stages.get(node)
            if item is not None:
                mine.add(item.stage)
                uses[node] = mine
            if item is not None and item.anchor:
                mine = {item.stage}
            for arg in node.args:
                if arg in self.group.nodes and not isinstance(arg.op, Reduce):
                    uses.setdefault(arg, set()).update(mine)
        out = []
        for node in self.order:
            stages_used = uses.get(node, set())
            if (
                len(stages_used) > 1
                and min(stages_used) == level_stage
                and node.shape[: len(self.rows)] == self.rows
                and without_ones(node.shape[len(self.rows) :]) == inner
                and isinstance(node.op, Elementwise)
                and (node.op.transcendental or node in self.of_node)
                and worth_a_scratch_row(self.fusion.info[node].cost)
            ):
                out.append(node)
        return out

    def _row_scalars(self, level: dict[Node, int], stage: int) -> list[Node]:
        """Return values of whole rows to be kept for other loops; here none are."""
        return []

    def _loops(self, inner: Shape, together: list[_Item], kept: Sequence[Node]) -> None:
        """Add loops over inner axes with what is computed and kept in them."""
        self._begin()
        variables = [self.variable(f"j{a}_") for a in range(len(inner))]
        at = tuple(sizes.of_atom(v) for v in variables)
        inside: list[Statement] = []
        start: list[Statement] = []
        finish: list[Statement] = []
        rowed: dict[Node, Buffer] = {}
        for node in kept:
            rowed[node] = self._keep_row(node, inner, at, inside)
        for item in together:
            index = _spread(at, item.inner)
            if item.anchor:
                self._reduce(item, index, start, inside, finish)
                continue
            place = (*self.row_index, *index)
            value = self.value(item.node, place)
            buffer = self.node_buffer(item.node, True)
            inside.append(Store(buffer, row_major(place, item.node.shape), value))
            if inner and worth_a_scratch_row(self.fusion.info[item.node].cost):
                rowed[item.node] = buffer
        nest: list[Statement] = inside
        for v, extent in zip(reversed(variables), reversed(inner)):
            nest = [Loop(v, extent, nest)]
        self._end([*start, *nest, *finish])
        self.rowed.update((n, (b, self.stage)) for n, b in rowed.items())

    def _begin(self) -> None:
        """Begin loops that may read what earlier ones left."""
        self.memo = {}
        self.stage += 1

    def _end(self, body: list[Statement]) -> None:
        self.body.extend(body)

    def _scratch(self, width: SizeLike) -> tuple[SizeLike, SizeLike]:
        """Return the size of memory for rows of values, and where this row's begin."""
        return width * self.chunks, sizes.of_atom(self.chunk) * width

    def _keep_row(
        self, node: Node, inner: Shape, at: Index, inside: list[Statement]
    ) -> Buffer:
        shape = node.shape[len(self.rows) :]
        size, base = self._scratch(sizes.product(inner))
        buffer = self.buffer(Memory(None, size, node.dtype), True)
        value = self.value(node, (*self.row_index, *_spread(at, shape)))
        inside.append(Store(buffer, base + row_major(at, inner), value))
        return buffer

    def _is_partial(self, node: Node) -> bool:
        (axes,) = node.params
        return not axes or min(axes) == 0

    def _reduce(
        self,
        item: _Item,
        index: Index,
        start: list[Statement],
        inside: list[Statement],
        finish: list[Statement],
    ) -> None:
        node = item.node
        (axes,) = node.params
        op: Reduce = node.op
        arg = node.args[0]
        at = (*self.row_index, *index)
        value = self.value(arg, at)
        initial = op.identity(node.dtype)
        kept = [a for a in range(arg.ndim) if a not in axes]
        shape = tuple(arg.shape[a] for a in kept)
        if self._is_partial(node):
            width = sizes.product(shape)
            buffer = self.buffer(Memory(None, width * self.chunks, node.dtype), True)
            self.partials.append((node, buffer, width))
            base = sizes.of_atom(self.chunk) * width
            if kept:
                v = self.variable("z")
                zero = self.k.constant(initial, node.dtype)
                offset = base + sizes.of_atom(v)
                self.before.append(Loop(v, width, [Store(buffer, offset, zero)]))
                offset = base + row_major(tuple(at[a] for a in kept), shape)
                inside.append(Store(buffer, offset, value, op.instruction))
                return
            total = self._accumulator(node, initial)
            self.before.append(Start(total))
            if index:
                row = self._accumulator(node, initial)
                start.append(Start(row))
                inside.append(Update(row, value))
                finish.append(Update(total, row))
            else:
                inside.append(Update(total, value))
            self.after.append(Store(buffer, base, total))
            return
        if len(kept) > len(self.rows):
            buffer = self.node_buffer(node, True)
            v = self.variable("z")
            width = sizes.product(shape[len(self.rows) :])
            base = row_major(self.row_index, self.rows) * width
            zero = self.k.constant(initial, node.dtype)
            start.append(Loop(v, width, [Store(buffer, base + sizes.of_atom(v), zero)]))
            offset = row_major(tuple(at[a] for a in kept), shape)
            inside.append(Store(buffer, offset, value, op.instruction))
            return
        accumulator = self._accumulator(node, initial)
        start.append(Start(accumulator))
        inside.append(Update(accumulator, value))
        if node in self.of_node:
            buffer = self.node_buffer(node, True)
            offset = row_major(self.row_index, self.rows)
            finish.append(Store(buffer, offset, accumulator))
        self._finished(node, accumulator, finish)

    def _finished(
        self, node: Node, accumulator: Accumulator, finish: list[Statement]
    ) -> None:
        """Take in the value of a reduction of this row."""
        self.done[node] = accumulator

    def _accumulator(self, node: Node, initial: object) -> Accumulator:
        self.accumulators += 1
        return Accumulator(self.accumulators, node.dtype, node.op.instruction, initial)

    # ----------------------------------------------------------------- finish

    def finish(self) -> list[KernelCall]:
        """Return the kernel and the kernels that combine its partial results."""
        kernel = Kernel(
            rows=self.extent,
            chunk=self.chunk,
            before=self.before,
            loops=[RowLoop(self.row, 0, self.extent, self.body)],
            after=self.after,
            buffers=self.buffers,
            parameters=[],
            label=describe(self.order, self.group.roots),
        )
        kernel = unroll_short_loops(kernel, self.k, self.short)
        kernel = forward_stores(kernel, self.k)
        kernel = join_loops(split_loops(kernel, self.k), self.k)
        if self.fusion.machine.blocks:
            kernel = cut_to_lanes(kernel, self.k)
        calls = [KernelCall(kernel, self.memory, self.chunks, self.order, self.block)]
        by_width: dict[SizeLike, list[tuple[Node, Buffer]]] = {}
        for node, buffer, width in self.partials:
            by_width.setdefault(width, []).append((node, buffer))
        for width, partials in by_width.items():
            calls.append(self._combine(width, partials))
        return calls

    def _combine(
        self, width: SizeLike, partials: Sequence[tuple[Node, Buffer]]
    ) -> KernelCall:
        row, chunk, c = LoopVar("r", 1), LoopVar("chunk", 2), LoopVar("c", 3)
        k = Values(lambda node: 0)
        memory: list[Memory] = []
        buffers: list[Buffer] = []
        body: list[Statement] = []
        loop = Loop(c, self.chunks)
        ends: list[Statement] = []
        for number, (node, partial) in enumerate(partials):
            source = Buffer(2 * number, partial.dtype, False)
            target = Buffer(2 * number + 1, partial.dtype, True)
            buffers += [source, target]
            memory += [self.memory[partial.number], Memory(node, width, node.dtype)]
            initial = node.op.identity(node.dtype)
            total = Accumulator(number + 1, node.dtype, node.op.instruction, initial)
            body.append(Start(total))
            offset = sizes.of_atom(c) * width + sizes.of_atom(row)
            loop.body.append(Update(total, k.load(source, offset, 0)))
            ends.append(Store(target, sizes.of_atom(row), total))
        body += [loop, *ends]
        nodes = [node for node, _ in partials]
        rows = [RowLoop(row, 0, width, body)]
        label = "combine " + names(nodes)
        kernel = Kernel(width, chunk, [], rows, [], buffers, [], label)
        machine = self.fusion.machine
        if machine.blocks:  # the loop over the width is the one to vectorize
            kernel = unroll_short_loops(kernel, k, machine.chunks)
        work = width * self.chunks * len(nodes)
        some = sizes.floordiv(work, machine.chunk_work)
        chunks = sizes.maximum(1, sizes.minimum(machine.chunks, some))
        return KernelCall(kernel, memory, chunks, nodes)


def without_ones(shape: Shape) -> Shape:
    """Return a shape without axes of size 1."""
    return tuple(s for s in shape if s != 1)


def _spread(at: Index, inner: Shape) -> Index:
    """Return the index over inner axes, 0 where there is one element."""
    rest = iter(at)
    return tuple(0 if s == 1 else next(rest) for s in inner)


def names(nodes: Sequence[Node]) -> str:
    """Return the ops of nodes as text, each once."""
    out: dict[str, None] = {}
    for node in nodes:
        if node.op is not constant_:
            out[node.name or node.op.name] = None
    return ", ".join(out)


def describe(nodes: Sequence[Node], roots: Sequence[Node]) -> str:
    """Return what a kernel fuses, for people."""
    ops: dict[str, int] = {}
    for node in nodes:
        if node.args:
            ops[node.op.name] = ops.get(node.op.name, 0) + 1
    text = " ".join(n if c == 1 else f"{n}*{c}" for n, c in ops.items())
    return f"{text} -> {', '.join(str(r.type) for r in roots)}"
