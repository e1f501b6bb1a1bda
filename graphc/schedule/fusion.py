"""Fusion: which nodes are computed together, and which are kept in memory.

Elementwise and movement nodes are *virtual*: their value at an index is an
expression of their arguments' values, so any kernel can absorb them. Reductions
are *anchors*: computed once, in a stage of a kernel. A reduction over trailing
axes leaves a value for each row, which later stages of the same kernel use while
the row is in cache; one over leading axes is complete only when its kernel ends.
Products, scans and scatters are *opaque*: they have a kernel of their own kind.

Every node gets a *depth*: how many kernel boundaries lie before it. Fusion happens
within a depth only and every edge between kernels goes to a greater depth, so the
kernels' order is acyclic by construction. A node of the row program of rows R
carries R along; where two different R meet, or rows do not stay rows, the depth
grows by one and the value goes through memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.contract import MatMul as Contraction
from graphc.ops.declare import Elementwise, Reduce
from graphc.ops.factorize import Routine, TriangularSolve
from graphc.ops.leaf import constant_, input_, uniform_value
from graphc.schedule import estimate
from graphc.schedule.access import (
    AXES,
    OWN_INDEX,
    Access,
    axes_used,
    reading,
    rows_kept,
)
from graphc.schedule.estimate import Estimate
from graphc.schedule.machine import CPU, Machine
from graphc.schedule.merge import merged
from graphc.schedule.pieces import cut
from graphc.schedule.views import operands, triangle_view
from graphc.types import sizes
from graphc.types.errors import internal_assert
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape

GROUP_LIMIT = 600
"""Nodes in one kernel; larger groups are cut, for LLVM's passes are superlinear."""


@dataclass(eq=False)
class Info:
    """What fusion knows of a node.

    Attributes
    ----------
    kind : str
        "stored" (input, constant array), "immediate" (computed from nothing),
        "virtual", "anchor" or "opaque".
    depth : int
    rows : Shape or None
        The rows of the row program it belongs to at its depth.
    cost : int
        Operations to compute one element from memory.
    leaves : frozenset of Node
        Arrays read for one element along all its axes; no more are added to what is
        more than `most_leaves()`.
    accesses : sequence of Access
    parent : Info or None
        Union-find parent among nodes of the same depth.
    tied : Shape or None
        The rows a reduction runs over.
    free : bool
        Any of the first axes may be its rows: it needs no other value of a row.
    uniform : bool
        All of its group so far are elementwise, and of one shape: the group may be cut
        anywhere, so it has no limit. Kept by the group's representative.
    """

    node: Node
    kind: str
    depth: int = 0
    rows: Shape | None = None
    cost: int = 0
    leaves: frozenset[Node] = frozenset()
    accesses: Sequence[Access] = ()
    parent: Info | None = None
    members: int = 1
    tied: Shape | None = None
    free: bool = False
    uniform: bool = False


class Reason(NamedTuple):
    """Why a value is read from memory: a kind of `schedule.explain`, and its facts."""

    kind: str
    first: Any = None
    second: Any = None
    weighed: Estimate | None = None


def find(info: Info) -> Info:
    """Return the representative of a group."""
    root = info
    while root.parent is not None:
        root = root.parent
    while info.parent is not None:
        info.parent, info = root, info.parent
    return root


def union(a: Info, b: Info) -> None:
    """Join the groups of two nodes."""
    x, y = find(a), find(b)
    if x is y:
        return
    if x.members < y.members:
        x, y = y, x
    y.parent = x
    x.members += y.members
    x.uniform = x.uniform and y.uniform


@dataclass(eq=False)
class Group:
    """The nodes of one kernel: its roots are what it stores.

    Attributes
    ----------
    depth : int
    rows : Shape
        The parallel axes.
    roots : list of Node
        Nodes it must leave in memory.
    nodes : set of Node
        Virtual nodes and anchors it computes.
    reads : list of Node
        What it reads from memory.
    """

    depth: int
    rows: Shape
    roots: list[Node] = field(default_factory=list)
    nodes: set[Node] = field(default_factory=set)
    reads: list[Node] = field(default_factory=list)


class Fusion:
    """The decision for one graph: groups of kernels, and what is kept in memory."""

    def __init__(self, graph: Graph, machine: Machine = CPU):
        self.graph = graph
        self.machine = machine
        self.limit = GROUP_LIMIT
        self.info: dict[Node, Info] = {}
        self.reasons: dict[tuple[Node, Node], Reason] = {}
        for node in graph.nodes:
            self.info[node] = self._classify(node)
        self.users = graph.users()
        self.kept: set[Node] = set()
        self.groups: list[Group] = []
        self.opaque: list[Node] = []
        self._place()

    # ------------------------------------------------------------- forward

    def _classify(self, node: Node) -> Info:
        op = node.op
        if op is input_ or (op is constant_ and uniform_value(node) is None):
            return Info(node, "stored")
        if not node.args:
            return Info(node, "immediate")
        if isinstance(op, Reduce):
            return self._anchor(node)
        if isinstance(op, Elementwise) or hasattr(op, "read"):
            return self._virtual(node)
        return self._opaque(node)

    def _virtual(self, node: Node) -> Info:
        info = Info(node, "virtual", accesses=reading(node).accesses)
        info.cost = node.op.cost if isinstance(node.op, Elementwise) else 0
        if isinstance(node.op, Elementwise):
            info.cost += estimate.TRANSCENDENTAL * node.op.transcendental
        leaves: frozenset[Node] = frozenset()
        most = estimate.most_leaves()
        arrived: list[Info] = []
        seen: set[Node] = set()
        for access in info.accesses:
            arg = node.args[access.position]
            source = self.info[arg]
            if source.kind == "virtual" or source.kind == "anchor":
                arrived.append(source)
            depth = self._depth_of(source, access, node)
            info.depth = max(info.depth, depth)
            if arg not in seen:
                seen.add(arg)
                if len(leaves) <= most:
                    more = self._leaves(source, access, node)
                    leaves = more if len(more) > most else leaves | more
                info.cost += source.cost if source.kind == "virtual" else 0
        for position in getattr(node.op, "waits_for", ()):
            info.depth = max(info.depth, self.info[node.args[position]].depth + 1)
        info.cost = min(info.cost, 10_000)
        info.leaves = leaves
        self._tie(info, arrived)
        return info

    def _depth_of(self, source: Info, access: Access, node: Node) -> int:
        """Return the least depth of a node that reads a source; say why if later."""
        if source.kind in ("stored", "immediate"):
            return 0
        reason = None
        if source.kind == "opaque":
            reason = Reason("own kernel", source.node.op.name)
        elif source.rows is not None or source.kind == "anchor":
            if source.rows is None:
                reason = Reason("last round", source.node.op.name)
            elif not self._rows_stay(source, access, node):
                reason = Reason("other rows", source.rows)
        elif node.type.shape and repeats(access, node):
            times = _ratio(node.size, source.node.size)
            itemsize = source.node.dtype.itemsize
            weighed = estimate.repeated(source.cost, source.node.size, times, itemsize)
            if weighed.keep:
                reason = Reason("repeated", source.cost, times, weighed)
        if reason is None:
            return source.depth
        self.reasons[(source.node, node)] = reason
        return source.depth + 1

    @staticmethod
    def _rows_stay(source: Info, access: Access, node: Node) -> bool:
        """Tell whether a row program's value is read at the reader's own row.

        The reader must have all the rows: a slice of the first few has not.
        """
        rows = source.rows
        return (
            rows is not None
            and node.shape[: len(rows)] == rows
            and rows_kept(access.index, len(rows))
        )

    def _leaves(self, source: Info, access: Access, node: Node) -> frozenset[Node]:
        if source.kind == "immediate" or source.node.ndim == 0:
            return frozenset()
        own = access.index == OWN_INDEX[node.ndim]
        if not own and len(axes_used(access.index)) < node.ndim:
            return frozenset()
        return source.leaves if source.kind == "virtual" else frozenset([source.node])

    def _tie(self, info: Info, arrived: list[Info]) -> None:
        """Give a node the rows of its sources at its depth, or start a new depth."""
        at_depth = [s for s in arrived if s.depth == info.depth]
        rows = {s.rows for s in at_depth if s.rows is not None}
        groups = {find(s) for s in at_depth}
        info.uniform = isinstance(info.node.op, Elementwise) and all(
            g.uniform and g.node.shape == info.node.shape for g in groups
        )
        size = sum(g.members for g in groups)
        if len(rows) > 1 or (size > GROUP_LIMIT and not info.uniform):
            info.depth += 1
            info.uniform = isinstance(info.node.op, Elementwise)
            reason = Reason("limit", GROUP_LIMIT)
            if len(rows) > 1:
                first, second, *_ = sorted(rows, key=str)
                reason = Reason("rows", first, second)
            for s in at_depth:
                self.reasons[(s.node, info.node)] = reason
            return
        info.rows = rows.pop() if rows else None
        info.free = info.rows is None
        for s in at_depth:
            union(info, s)

    def _anchor(self, node: Node) -> Info:
        info = Info(node, "anchor")
        (axes,) = node.params
        arg = node.args[0]
        source = self.info[arg]
        kept_inside = len(axes) != arg.ndim - min(axes, default=0)
        terminal = not axes or min(axes) == 0 or kept_inside
        parallel = leading_run(axes) if not axes or min(axes) == 0 else min(axes)
        own = arg.shape[:parallel]
        info.depth = source.depth
        reason = None
        if source.kind == "opaque":
            reason = Reason("own kernel", source.node.op.name)
        elif source.kind == "anchor" and source.rows is None:
            reason = Reason("last round", source.node.op.name)
        if reason is not None:
            info.depth += 1
        joins = source.kind in ("virtual", "anchor") and source.depth == info.depth
        if joins and source.rows is not None:
            fits = (
                source.rows == own[: len(source.rows)]
                if terminal and min(axes, default=0) == 0
                else source.rows == own
            )
            if not fits:
                reason = Reason("rows", source.rows, own)
        if joins and reason is None and find(source).members > GROUP_LIMIT:
            reason = Reason("limit", GROUP_LIMIT)
        if joins and reason is not None:
            info.depth += 1
            joins = False
        if reason is not None:
            self.reasons[(arg, node)] = reason
        follows = joins and source.rows is not None
        info.tied = source.rows if follows else own
        info.free = min(axes, default=1) == 0 and not follows
        info.rows = None if terminal else own
        if joins:
            union(info, source)
        return info

    def _opaque(self, node: Node) -> Info:
        info = Info(node, "opaque")
        for arg in node.args:
            self.reasons[(arg, node)] = Reason("operand", node.op.name)
            source = self.info[arg]
            later = source.kind != "stored"
            info.depth = max(info.depth, source.depth + later)
        return info

    # ------------------------------------------------------------ backward

    def _place(self) -> None:
        """Decide what is kept in memory, from the outputs backwards."""
        waiting: dict[int, list[Node]] = {}
        required: set[Node] = set()

        deepest = max((i.depth for i in self.info.values()), default=0)
        level = deepest + 1

        def require(node: Node) -> None:
            if node in required or self.info[node].kind == "stored":
                return
            internal_assert(
                self.info[node].depth < level, "fusion needs a node of its own depth"
            )
            required.add(node)
            waiting.setdefault(self.info[node].depth, []).append(node)

        for output in self.graph.outputs:
            require(output)
        for depth in range(deepest, -1, -1):
            level = depth
            # opaque nodes first: their operands lie at smaller depths
            for node in [n for n in waiting.get(depth, ()) if self._is_opaque(n)]:
                self.opaque.append(node)
                for arg in opaque_operands(node, self.info):
                    require(arg)
            mine = [n for n in waiting.pop(depth, ()) if not self._is_opaque(n)]
            for group in merged(self, list(self._groups(depth, mine))):
                for node in group.reads:
                    require(node)
                pieces = cut(self, group)
                required.update(root for piece in pieces for root in piece.roots)
                self.groups += reversed(pieces)
        self.kept = required
        self.groups.reverse()
        self.opaque.reverse()

    def _is_opaque(self, node: Node) -> bool:
        return self.info[node].kind == "opaque"

    def _groups(self, depth: int, roots: list[Node]) -> Iterable[Group]:
        """Split the roots of one depth into kernels of equal rows."""
        components: dict[Info, list[Node]] = {}
        for root in sorted(roots, key=lambda n: n.serial):
            components.setdefault(find(self.info[root]), []).append(root)
        for members in components.values():
            tied = [self._tied(r) for r in members]
            known = [t for t in tied if t is not None]
            kernels: dict[Shape, Group] = {}
            for root, rows in zip(members, tied):
                if rows is None:
                    rows = next(
                        (k for k in known if k and k == root.shape[: len(k)]),
                        root.shape,
                    )
                kernels.setdefault(rows, Group(depth, rows)).roots.append(root)
            for group in kernels.values():
                self.visit(group)
                yield group

    def _tied(self, root: Node) -> Shape | None:
        info = self.info[root]
        return info.tied if info.kind == "anchor" else info.rows

    def visit(self, group: Group) -> None:
        """Collect what a group computes, and what it reads from memory.

        Users come before their arguments, so that when a node's turn comes it is
        known whether this group alone uses it.
        """
        roots = set(group.roots)
        waiting = [-r.serial for r in roots]
        heapify(waiting)
        known = {r.serial: r for r in roots}
        again: set[Node] = set()
        while waiting:
            node = known[-heappop(waiting)]
            info = self.info[node]
            if info.kind in ("stored", "opaque") or not (
                node in roots or self._computed_here(info, group, node in again)
            ):
                group.reads.append(node)
                continue
            group.nodes.add(node)
            passed_on = node in again and info.kind == "virtual"
            for access in info.accesses:
                if passed_on or repeats(access, node):
                    again.add(node.args[access.position])
            for arg in self.reads_of(node):
                if arg.serial not in known and self.info[arg].kind != "immediate":
                    known[arg.serial] = arg
                    heappush(waiting, -arg.serial)

    @cached_property
    def position(self) -> dict[Node, int]:
        """The place of each node in the graph's order."""
        return {node: number for number, node in enumerate(self.graph.nodes)}

    def is_uniform(self, node: Node) -> bool:
        """Tell whether all of a node's group are elementwise and of one shape."""
        return find(self.info[node]).uniform

    def reads_of(self, node: Node) -> Iterable[Node]:
        """Return the arguments a node reads: padding reads nothing of no elements."""
        if self.info[node].kind != "virtual" or isinstance(node.op, Elementwise):
            return node.args
        return [node.args[a.position] for a in self.info[node].accesses]

    def _computed_here(self, info: Info, group: Group, again: bool) -> bool:
        """Tell whether a group computes a value itself rather than reading it.

        `again` says that it would do so for each row anew: the value itself is
        repeated along rows, or one that is computed from it here.
        """
        if info.kind == "anchor":
            return info.depth == group.depth and info.rows == group.rows
        if info.depth == group.depth:
            return True
        if not isinstance(info.node.op, Elementwise) and len(info.node.args) == 1:
            return True
        size, itemsize = info.node.size, info.node.dtype.itemsize
        leaves = len(info.leaves)
        if not estimate.read_again(info.cost, leaves, size, itemsize).keep:
            return True
        # used nowhere else, it is computed once either way, and here it stays in
        # registers
        room = len(group.nodes) < GROUP_LIMIT
        return (
            room
            and not again
            and not estimate.read_again(0, leaves, size, itemsize).keep
            and all(user in group.nodes for user in self.users[info.node])
        )


def opaque_operands(node: Node, info: dict[Node, Info]) -> list[Node]:
    """Return what must be in memory for an opaque op.

    A product reads strided views in place, and so does a triangular solve its triangle;
    routines read arrays; other kernels compute what is constant.
    """
    if isinstance(node.op, Contraction):
        views = (view for piece in operands(node, info).pieces for view in piece)
        return list(dict.fromkeys(view.source for view in views))
    if isinstance(node.op, TriangularSolve):
        return [triangle_view(node, info).source, node.args[1]]
    if isinstance(node.op, Routine):
        return list(node.args)
    return [a for a in node.args if info[a].kind != "immediate"]


def repeats(access: Access, node: Node) -> bool:
    """Tell whether a value would be computed again and again along leading axes.

    A value that depends on leading axes only is computed once for each row, outside
    of the loop over the others; one that skips a leading axis is not.
    """
    if access.index == OWN_INDEX[node.ndim]:  # by far the most frequent
        return False
    used = axes_used(access.index)
    present = [AXES[a] in used for a in range(node.ndim) if node.shape[a] != 1]
    while present and not present[-1]:
        present.pop()
    return not all(present)


def _ratio(many: SizeLike, few: SizeLike) -> SizeLike:
    return sizes.floordiv(many, few) if sizes.divides(few, many) else many


def leading_run(axes: Sequence[int]) -> int:
    """Return how many of the first axes are all reduced."""
    run = 0
    while run in axes:
        run += 1
    return run
