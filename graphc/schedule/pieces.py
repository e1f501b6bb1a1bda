"""Groups of very many nodes, cut into consecutive kernels.

A group whose nodes are all elementwise and of one shape may be cut anywhere: each
piece has consecutive nodes of the graph's order, so none needs a later one, and what
one leaves for others is kept. An unrolled loop of thousands of steps becomes a few
dozen kernels this way, most of them equal.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from graphc.graph.node import Node
from graphc.ops.declare import Elementwise

if TYPE_CHECKING:
    from graphc.schedule.fusion import Fusion, Group

STRAIGHT_LIMIT = 200
"""Nodes in a piece of a scalar graph. Calls take as long as with larger ones, and more
of the pieces are equal."""

INLINED_CODE = 10
"""Nodes that an exp or sin counts for where it is inlined, in a loop."""


def cut(fusion: Fusion, group: Group) -> list[Group]:
    """Return a group whole, or the pieces it is cut into, in order.

    What is used in other pieces is among the roots of its own, however cheap.
    """
    own = _code(fusion, group)
    most = 2 * fusion.limit if group.rows else fusion.limit
    if sum(own.values()) <= most:
        return [group]
    position = fusion.position
    order = sorted(own, key=position.__getitem__)
    limit = fusion.limit if group.rows else min(fusion.limit, STRAIGHT_LIMIT)
    piece_of, count = _piece_of(order, own, limit)
    roots = set(group.roots)
    for user in group.nodes:
        here = piece_of.get(user)
        for node in user.args:
            if node in piece_of and piece_of[node] != here:
                roots.add(node)
    pieces = [type(group)(group.depth, group.rows) for _ in range(count)]
    for node in order:
        if node in roots:
            pieces[piece_of[node]].roots.append(node)
    for number, piece in enumerate(pieces):
        _fill(fusion, group, piece, piece_of, number)
    return pieces


def _code(fusion: Fusion, group: Group) -> dict[Node, int]:
    """Return the nodes after which a group may be cut, and how much code each is."""
    if len(group.nodes) < 2 or not fusion.is_uniform(group.roots[0]):
        return {}
    inlined = INLINED_CODE if group.rows else 0  # straight code calls functions
    own = {
        n: 1 + inlined * n.op.transcendental
        for n in group.nodes
        if isinstance(n.op, Elementwise) and n.shape == group.rows
    }
    return own if all(r in own for r in group.roots) else {}


def _piece_of(
    order: list[Node], code: dict[Node, int], limit: int
) -> tuple[dict[Node, int], int]:
    """Return the piece of each node, and the number of pieces.

    A cut is made where it adds least to what is kept: values used only some time later
    are kept wherever it lies. In an unrolled loop such places are at equal distances,
    and the pieces are one kernel.
    """
    place = {node: number for number, node in enumerate(order)}
    last_use = [0] * len(order)
    for number, node in enumerate(order):
        for arg in node.args:
            if arg in place:
                last_use[place[arg]] = number
    change = [0] * (len(order) + 1)
    for number, last in enumerate(last_use):
        if number < last < number + limit:
            change[number + 1] += 1
            change[last + 1] -= 1
    added = list(accumulate(change))
    before = [0, *accumulate(code[n] for n in order)]
    piece_of: dict[Node, int] = {}
    start = count = 0
    while start < len(order):
        end = max(bisect_right(before, before[start] + limit) - 1, start + 1)
        if end < len(order):
            first = end - (end - start) // 2
            end = min(range(end, first - 1, -1), key=added.__getitem__)
        piece_of.update(dict.fromkeys(order[start:end], count))
        start, count = end, count + 1
    return piece_of, count


def _fill(
    fusion: Fusion, whole: Group, piece: Group, piece_of: dict[Node, int], number: int
) -> None:
    """Collect what a piece of a group computes, and what it reads.

    What the group computes of other shapes, small parts of it, each piece does itself.
    """
    stack = list(piece.roots)
    seen = set(stack)
    while stack:
        node = stack.pop()
        if node not in whole.nodes or piece_of.get(node, number) != number:
            piece.reads.append(node)
            continue
        piece.nodes.add(node)
        for arg in fusion.reads_of(node):
            if arg not in seen and fusion.info[arg].kind != "immediate":
                seen.add(arg)
                stack.append(arg)
