"""Kernels of ops that fuse with nothing: scans, arg-reductions, scatters, products."""

from __future__ import annotations

from collections.abc import Callable

from graphc.graph.node import Node
from graphc.kernels.ir import (
    Accumulator,
    Current,
    Kernel,
    Loop,
    LoopVar,
    RowLoop,
    Set,
    Start,
    Statement,
    Store,
    Value,
)
from graphc.kernels.split import split_loops
from graphc.ops.contract import MatMul
from graphc.ops.factorize import Routine
from graphc.ops.index import Scatter
from graphc.ops.leaf import uniform_value
from graphc.ops.reduce import ArgReduce, max_, min_
from graphc.ops.scalars import Index
from graphc.ops.scan import Scan
from graphc.schedule.access import row_major
from graphc.schedule.evaluate import Evaluation, KernelCall
from graphc.schedule.factorize import RoutineCall, lower_routine
from graphc.schedule.fusion import Fusion
from graphc.schedule.product import ProductCall, lower_product
from graphc.types import sizes
from graphc.types.errors import CompileError, made_at
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape

Report = Callable[[Node], int]


def lower_opaque(
    fusion: Fusion, node: Node, report: Report
) -> list[KernelCall | ProductCall | RoutineCall]:
    """Return the steps of an opaque node.

    Raises
    ------
    CompileError
        If the op has no kernel on this backend.
    """
    if isinstance(node.op, MatMul):
        return [lower_product(fusion, node)]
    if isinstance(node.op, Routine):
        return [lower_routine(fusion, node)]
    for kind, lower in _KINDS:
        if isinstance(node.op, kind):
            return [lower(fusion, node, report)]
    raise CompileError(
        f"{node.op.name}: no kernel for {node.label()}{made_at(node.origin)} on the "
        f'backend "{fusion.machine.name}". Compile with backend="reference".'
    )


class _Serial(Evaluation):
    """A kernel whose rows are all axes but one, with a serial loop over that one."""

    def __init__(self, fusion: Fusion, node: Node, rows: Shape, report: Report):
        super().__init__(fusion, set(), rows, report)
        self.node = node
        self.row_index = self.divided_index()

    def finish(self, body: list[Statement], work: SizeLike) -> KernelCall:
        rows = sizes.product(self.rows)
        machine = self.fusion.machine
        most = sizes.minimum(machine.chunks, sizes.maximum(1, rows))
        cut = sizes.floordiv(work * 4, machine.chunk_work)
        chunks = sizes.maximum(1, sizes.minimum(most, cut))
        label = f"{self.node.op.name} -> {self.node.type}"
        loops = [RowLoop(self.row, 0, rows, body)]
        kernel = Kernel(rows, self.chunk, [], loops, [], self.buffers, [], label)
        kernel = split_loops(kernel, self.k)
        return KernelCall(kernel, self.memory, chunks, [self.node])


def _scan(fusion: Fusion, node: Node, report: Report) -> KernelCall:
    axis, reverse = node.params
    x = node.args[0]
    e = _Serial(fusion, node, (*x.shape[:axis], *x.shape[axis + 1 :]), report)
    out = e.node_buffer(node, True)
    v = e.variable("i")
    size = x.shape[axis]
    place: SizeLike = sizes.of_atom(v)
    if reverse:
        place = size - 1 - place
    index = (*e.row_index[:axis], place, *e.row_index[axis:])
    carry = Accumulator(1, node.dtype, "set", node.op.initial)
    elements = [e.value(a, index) for a in node.args]
    new = node.op.step(e.k, Current(carry, v, node.dtype), *elements)
    store = Store(out, row_major(index, node.shape), new)
    loop = Loop(v, size, [store, Set(carry, new)])
    return e.finish([Start(carry), loop], node.size)


def _arg_reduce(fusion: Fusion, node: Node, report: Report) -> KernelCall:
    (axis,) = node.params
    x = node.args[0]
    e = _Serial(fusion, node, node.shape, report)
    out = e.node_buffer(node, True)
    v = e.variable("i")
    index = (*e.row_index[:axis], sizes.of_atom(v), *e.row_index[axis:])
    value = e.value(x, index)
    start = max_ if node.op.instruction == "max" else min_
    best = Accumulator(1, x.dtype, "set", start.identity(x.dtype))
    where = Accumulator(2, node.dtype, "set", 0)
    now, place = Current(best, v, x.dtype), Current(where, v, node.dtype)
    wins = node.op.better(e.k, value, now, x.dtype)
    here = e.k.size(sizes.of_atom(v), node.dtype)
    new, new_place = e.k("select", wins, value, now), e.k("select", wins, here, place)
    loop = Loop(v, x.shape[axis], [Set(best, new), Set(where, new_place)])
    store = Store(out, row_major(e.row_index, node.shape), where)
    return e.finish([Start(best), Start(where), loop, store], x.size)


def _scatter(fusion: Fusion, node: Node, report: Report) -> KernelCall:
    """Copy the base, then combine the updates one after another: the order is fixed.

    The matrices of a batch are rows: what is indexed stays within one. Blocks of the
    axes after the indexed ones could be rows too, but reading the updates by columns
    took 1.5 (512 elements a block) to 7 (64) times as long as all in one go.
    """
    base, updates, *indices = node.args
    (batch,) = node.params
    after = batch + len(indices)
    given = [a for a in node.args if uniform_value(a) is None]
    if any(fusion.info[a].kind == "immediate" for a in given):
        batch, after = 0, base.ndim  # what is no array has no flat index
    middle = (*base.shape[batch:after],)
    places = updates.shape[batch : updates.ndim - (base.ndim - after)]
    width = sizes.product(base.shape[after:])
    e = _Serial(fusion, node, (sizes.product(base.shape[:batch]),), report)
    out = e.node_buffer(node, True)

    def loops(inside: Shape) -> tuple[Index, list[LoopVar], Shape]:
        """Return loops over a row, and an index with that row-major offset."""
        extents = (*inside, width) if after < base.ndim else inside
        variables = [e.variable(f"i{a}_") for a in range(len(extents))]
        here = tuple(sizes.of_atom(v) for v in variables)
        outer = (*(0,) * (batch - 1), *e.row_index) if batch else ()
        skipped = (0,) * (base.ndim - after - 1)
        own = here[: len(inside)]
        return (*outer, *own, *skipped, *here[len(inside) :]), variables, extents

    index, variables, extents = loops(middle)
    copy = Store(out, row_major(index, node.shape), e.value(base, index))
    first = _nest(variables, extents, [copy])
    index, variables, extents = loops(places)
    target = _target(e, node, index)
    instruction = "add" if node.op.combine == "add" else None
    value = e.value(updates, index)
    put = Store(out, row_major(target, node.shape), value, instruction)
    # into a base without elements nothing is stored, but indices are checked
    some = Loop(e.variable("some"), sizes.minimum(1, base.size), [put])
    second = _nest(variables, extents, [put if some.extent == 1 else some])
    return e.finish([*first, *second], node.size + updates.size)


def _target(e: Evaluation, node: Node, index: Index) -> Index:
    def arg(position: int, at: Index) -> Value:
        return e.value(node.args[position], tuple(at))

    return node.op.target(e.k, node, index, arg)


def _nest(
    variables: list[LoopVar], shape: Shape, body: list[Statement]
) -> list[Statement]:
    for v, extent in zip(reversed(variables), reversed(shape)):
        body = [Loop(v, extent, body)]
    return body


_KINDS = (
    (Scan, _scan),
    (ArgReduce, _arg_reduce),
    (Scatter, _scatter),
)
