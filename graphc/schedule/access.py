"""How a node reads its arguments: which argument, at which index.

Movement ops are asked symbolically, once for each node, by running their `read`
rule on loop variables. Everything fusion needs to know follows from the answer:
whether rows stay rows, whether an axis is broadcast, whether an operand is a
strided view.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.graph.node import Node
from graphc.kernels.ir import LoopVar
from graphc.ops.declare import Elementwise
from graphc.ops.scalars import Index
from graphc.types import sizes
from graphc.types.sizes import Atom, SizeLike

AXES = [LoopVar(f"i{a}", a) for a in range(64)]
"""The variables of a node's own axes, in probes."""

AXIS_INDEX: list[SizeLike] = [sizes.of_atom(v) for v in AXES]

OWN_INDEX: list[Index] = [tuple(AXIS_INDEX[:n]) for n in range(len(AXES) + 1)]
"""The index of a node's own element, by the number of its axes."""


class Reading(NamedTuple):
    """All reads of a node.

    Attributes
    ----------
    accesses : sequence of Access
    plain : bool
        Whether it just passes one element on.
    asked : set of Atom
        The axes whose index it computes with: compares, or takes for a number.
    """

    accesses: Sequence[Access]
    plain: bool
    asked: Collection[Atom] = ()


class Access(NamedTuple):
    """One read of an argument: its position, and the index in terms of `AXES`."""

    position: int
    index: Index  # type: ignore[assignment]  # not tuple.index, which goes unused


class _Probe:
    """A `Scalars` that computes nothing and records what is read."""

    def __init__(self, node: Node):
        self.node = node
        self.accesses: list[Access] = []
        self.asked: set[Atom] = set()
        self.dynamic = 0
        self.last: Any = None

    def arg(self, position: int, index: Index) -> Any:
        self.accesses.append(Access(position, tuple(index)))
        self.last = _Unknown(self.node.args[position].dtype)
        return self.last

    def __call__(self, name: str, *operands: Any) -> Any:
        return operands[-1]

    def constant(self, value: Any, dtype: np.dtype) -> Any:
        return _Unknown(dtype)

    def zero(self, x: Any) -> Any:
        return x

    one = zero

    def like(self, x: Any, value: Any) -> Any:
        return x

    def dtype(self, x: Any) -> np.dtype:
        return x.dtype

    def cast(self, value: Any, dtype: np.dtype) -> Any:
        return _Unknown(dtype)

    def size(self, size: SizeLike, dtype: np.dtype) -> Any:
        self.asked |= axes_used((size,))
        return _Unknown(dtype)

    def inside(self, index: SizeLike, low: SizeLike, high: SizeLike) -> Any:
        self.asked |= axes_used((index, low, high))
        return _Unknown(np.dtype(bool))

    def dynamic_index(
        self, value: Any, extent: SizeLike, node: Node, source: Node
    ) -> SizeLike:
        self.dynamic += 1
        return sizes.of_atom(LoopVar("dynamic", 1000 + self.dynamic))


class _Unknown:
    __slots__ = ("dtype",)

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype


def reading(node: Node) -> Reading:
    """Return how a virtual node reads its arguments for the element at `AXES`."""
    index = OWN_INDEX[node.ndim]
    if isinstance(node.op, Elementwise):
        reads = [Access(p, broadcast_index(index, a)) for p, a in enumerate(node.args)]
        return Reading(reads, False)
    probe = _Probe(node)
    out = node.op.read(probe, node, index, probe.arg)
    plain = len(probe.accesses) == 1 and out is probe.last and not probe.dynamic
    return Reading(probe.accesses, plain, probe.asked)


def broadcast_index(index: Index, arg: Node) -> Index:
    """Return the index into a broadcast operand."""
    shape = arg.type.shape
    if not shape:
        return ()
    tail = index[len(index) - len(shape) :]
    if 1 not in shape:
        return tail
    return tuple(0 if s == 1 else i for s, i in zip(shape, tail))


def rows_kept(index: Index, rows: int) -> bool:
    """Tell whether the first `rows` indices are the node's own first axes."""
    return len(index) >= rows and all(index[a] == AXIS_INDEX[a] for a in range(rows))


def axes_used(index: Index) -> set[Atom]:
    """Return the variables an index depends on."""
    return {
        atom
        for i in index
        if not isinstance(i, int)
        for atom in i.leaves()
        if isinstance(atom, LoopVar)
    }


def substitute(index: Index, values: Sequence[SizeLike]) -> Index:
    """Return an index with the variables `AXES` replaced."""
    if not index:
        return ()
    table: dict[Atom, SizeLike] = {AXES[a]: v for a, v in enumerate(values)}
    return tuple(sizes.substitute(i, table.get) for i in index)


def row_major(index: Index, shape: Sequence[SizeLike]) -> SizeLike:
    """Return the offset of an element of a contiguous array."""
    flat: SizeLike = 0
    for i, s in zip(index, shape):
        flat = flat * s + i
    return recombined(flat)


def recombined(s: SizeLike) -> SizeLike:
    """Put quotients and remainders back together: ``k * (a // k) + a % k == a``.

    A reshape divides a flat index, and the offset of what it reshapes multiplies the
    parts again.
    """
    found = not isinstance(s, int)
    while found and not isinstance(s, int):
        found = False
        terms = dict(s.terms)
        for monomial, c in s.terms:
            for position, atom in enumerate(monomial):
                if not isinstance(atom, sizes.Function) or atom.name != "%":
                    continue
                others: SizeLike = c
                for other in (*monomial[:position], *monomial[position + 1 :]):
                    others = others * sizes.of_atom(other)
                parts = sizes.floordiv(atom.left, atom.right) * atom.right * others
                if isinstance(parts, int) or any(
                    terms.get(m) != d for m, d in parts.terms
                ):
                    continue
                s = s - parts - others * sizes.of_atom(atom) + others * atom.left
                found = True
                break
            if found:
                break
    return s
