"""Rules of `custom` nodes: one mode from the other, batching, packing of results.

A linear function is known from its transpose and the other way round, so a rule for
one mode serves both: the other is found by differentiating the rule, which is linear
in its tangent or cotangent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from graphc.derivatives.batching import push_batch
from graphc.derivatives.reverse import pull_back
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops.arithmetic import cast
from graphc.ops.contract import added_up
from graphc.ops.custom import Rule
from graphc.ops.leaf import new_input
from graphc.ops.move import broadcast_to, reshape
from graphc.ops.slicing import concatenate, slice_axis
from graphc.types import dtypes
from graphc.types.errors import NotDifferentiableError
from graphc.types.tensor_type import TensorType


def transposed_jvp(
    rule: Rule,
    args: Sequence[Node],
    result: Node,
    cotangent: Node,
    wanted: Sequence[bool],
) -> list[Node | None]:
    """Return the cotangents of arguments by a rule that has only a jvp.

    Raises
    ------
    NotDifferentiableError
        If the rule is not linear in the tangents.
    """
    seeds = [new_input("tangent", a.type) if w else None for a, w in zip(args, wanted)]
    tangent = rule.jvp(args, result, seeds)
    out: list[Node | None] = [None] * len(args)
    places = [p for p, s in enumerate(seeds) if s is not None]
    if tangent is None or not places:
        return out
    given = [seeds[p] for p in places]
    pulled = pull_back([tangent], [cotangent], given, "zero")  # type: ignore[arg-type]
    _require_linear(rule, pulled, given, "jvp", "tangents", "reverse mode")
    for p, value in zip(places, pulled):
        out[p] = value
    return out


def transposed_vjp(
    rule: Rule, args: Sequence[Node], result: Node, tangents: Sequence[Node | None]
) -> Node | None:
    """Return the tangent of the result by a rule that has only a vjp.

    Raises
    ------
    NotDifferentiableError
        If the rule is not linear in the cotangent.
    """
    seed = new_input("cotangent", result.type)
    pulled = rule.vjp(args, result, seed, [t is not None for t in tangents])
    pairs = [
        (p, t) for p, t in zip(pulled, tangents) if p is not None and t is not None
    ]
    if not pairs:
        return None
    values, given = zip(*pairs)
    (out,) = pull_back(values, given, [seed], "zero")
    _require_linear(rule, [out], [seed], "vjp", "cotangent", "forward mode")
    return out


def _require_linear(
    rule: Rule,
    results: Sequence[Node],
    seeds: Sequence[Any],
    given: str,
    what: str,
    mode: str,
) -> None:
    left = set(topological_order(results)).intersection(seeds)
    if left:
        other = "defvjp" if given == "jvp" else "defjvp"
        raise NotDifferentiableError(
            f"{rule}: {mode} transposes its {given} rule, which must be linear in the "
            f"{what}, but is not. Give a rule for {mode} too, with {other}."
        )


@dataclass(frozen=True)
class MappedRule:
    """A rule over a leading axis of the result and of some arguments."""

    base: Any
    batched: tuple[bool, ...]

    def __str__(self) -> str:
        return str(self.base)

    def mapped(self, batched: Sequence[bool]) -> MappedRule:
        """Return the rule over one more leading axis."""
        return MappedRule(self, tuple(batched))

    def _rows(
        self, nodes: Sequence[Node | None], flags: Sequence[bool]
    ) -> tuple[list[Any], dict[Node, Node]]:
        """Return stand-ins for one row of what is batched, and what is so."""
        rows: list[Any] = list(nodes)
        places: dict[Node, Node] = {}
        for i, (node, flag) in enumerate(zip(nodes, flags)):
            if flag and node is not None:
                rows[i] = new_input("row", TensorType(node.shape[1:], node.dtype))
                places[rows[i]] = node
        return rows, places

    def jvp(
        self, args: Sequence[Node], result: Node, tangents: Sequence[Node | None]
    ) -> Node | None:
        """Return the tangent of the result, row by row."""
        count = len(args)
        flags = (*self.batched, *self.batched, True)
        rows, places = self._rows((*args, *tangents, result), flags)
        inner = self.base.jvp(rows[:count], rows[-1], rows[count:-1])
        if inner is None:
            return None
        ((value, has_axis),) = push_batch([inner], places)
        return value if has_axis else broadcast_to(value, result.shape)

    def vjp(
        self,
        args: Sequence[Node],
        result: Node,
        cotangent: Node,
        wanted: Sequence[bool],
    ) -> list[Node | None]:
        """Return the cotangents, added up over rows where an argument has none."""
        flags = (*self.batched, True, True)
        rows, places = self._rows((*args, result, cotangent), flags)
        inner = self.base.vjp(rows[:-2], rows[-2], rows[-1], wanted)
        present = [p for p, node in enumerate(inner) if node is not None]
        out: list[Node | None] = [None] * len(args)
        pushed = push_batch([inner[p] for p in present], places)
        for p, (value, has_axis) in zip(present, pushed):
            if not has_axis:
                value = broadcast_to(value, (result.shape[0], *value.shape))
            out[p] = value if self.batched[p] else added_up(value, (0,))
        return out


# ---------------------------------------------------------------------- packing


def pack(nodes: Sequence[Node]) -> Node:
    """Return one array as it is, several as one vector of the widest dtype."""
    if len(nodes) == 1:
        return nodes[0]
    dtype = dtypes.promote(*(n.dtype for n in nodes))
    return concatenate([cast(reshape(n, (n.size,)), dtype) for n in nodes], 0)


def unpack(packed: Node, types: Sequence[TensorType]) -> list[Node]:
    """Return the arrays of given types that were put together by `pack`."""
    if len(types) == 1:
        return [packed]
    counts = [_size(t) for t in types]
    starts = accumulate(counts, initial=0)
    return [
        cast(reshape(slice_axis(packed, 0, start, count), t.shape), t.dtype)
        for start, count, t in zip(starts, counts, types)
    ]


def _size(type: TensorType) -> Any:
    size: Any = 1
    for s in type.shape:
        size = size * s
    return size
