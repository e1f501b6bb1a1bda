"""How the families' results depend on their arguments, from their own rules.

`Op.pattern` of elementwise ops, of moves, and of ops that read or write at indices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.declare import Select
from graphc.ops.dependence import (
    Dependence,
    Grouped,
    Known,
    Pairs,
    Selected,
    SizeOf,
    groups,
    numbers,
    shape_of,
)
from graphc.ops.leaf import uniform_value


def elementwise_pattern(node: Node, known: Known, size: SizeOf) -> list[Dependence]:
    """Return aligned elements, without those whose partial derivative is constant 0."""
    shape = shape_of(node, size)
    out: list[Dependence] = []
    for p, rule in enumerate(node.op.partials or ()):
        arg = node.args[p]
        if rule is None or arg.dtype.kind != "f":
            continue
        here = shape_of(arg, size)
        source = None
        if here != shape:
            source = np.broadcast_to(numbers(here), shape).ravel()
        active = _nonzero(rule(*node.args, node), known)
        if active is not True:
            source = numbers(shape).ravel() if source is None else source
            source = np.where(np.broadcast_to(active, shape).ravel(), source, -1)
        out.append(Selected((p,), source))
    return out


def _nonzero(factor: Any, known: Known) -> Any:
    """Return where a partial derivative may differ from 0: True, False or an array."""
    if isinstance(factor, Select):
        yes, no = _nonzero(factor.yes, known), _nonzero(factor.no, known)
        condition = None if yes is no else known(factor.condition)
        if condition is not None:
            return np.where(condition, yes, no)
        return True if yes is True or no is True else np.logical_or(yes, no)
    if not isinstance(factor, Node):
        return bool(factor != 0)
    uniform = uniform_value(factor)
    if uniform is not None:
        return bool(uniform != 0)
    value = known(factor)
    if value is None:
        return True
    active = value != 0
    return True if active.all() else active


def move_pattern(node: Node, known: Known, size: SizeOf) -> Sequence[Dependence]:
    """Return which element each is read from: the op itself, on arrays of numbers."""
    op = node.op
    linear = op.linear_positions(node)
    args: list[Any] = [None] * len(node.args)
    start = 0
    for p in linear:
        args[p] = numbers(shape_of(node.args[p], size)) + start
        start += args[p].size
    for p in set(range(len(args))).difference(linear, op.waits_for):
        args[p] = known(node.args[p])
        if args[p] is None:
            return op.unknown_pattern(node, size)
    return [Selected(linear, np.ravel(op.sources(node, args, size)))]


def unknown_gather_pattern(node: Node, size: SizeOf) -> list[Dependence]:
    """Return the pattern of a gather at unknown places: all along the indexed axes."""
    x, *indices = node.args
    (batch,) = node.params
    group, total = _row_groups(shape_of(x, size), batch, len(indices))
    result, _ = _row_groups(shape_of(node, size), batch, indices[0].ndim - batch)
    return [Grouped((0,), group, total, result)]


def scatter_pattern(node: Node, known: Known, size: SizeOf) -> list[Dependence]:
    """Return the pattern of an addition to, or a replacement of, indexed elements."""
    from graphc.ops.index import index_tuple, out_of_range

    _, updates, *indices = node.args
    (batch,) = node.params
    shape = shape_of(node, size)
    given = [known(i) for i in indices]
    found = [i for i in given if i is not None]
    if len(found) < len(given):
        places = indices[0].ndim - batch
        group, total = _row_groups(shape_of(updates, size), batch, places)
        result, _ = _row_groups(shape, batch, len(indices))
        return [Selected((0,), None), Grouped((1,), group, total, result)]
    here = numbers(shape)
    try:
        target = here[index_tuple(found, batch)].ravel()
    except IndexError:
        raise out_of_range(node, shape[batch:], found) from None
    number = np.arange(target.size)
    if node.op.combine == "add":
        return [Selected((0,), None), Pairs((1,), target, number)]
    source = np.full(here.size, -1)
    source[target] = number  # the last one wins
    kept = np.where(source < 0, here.ravel(), -1)
    return [Selected((0,), kept), Selected((1,), source)]


def _row_groups(
    shape: Sequence[int], batch: int, indexed: int
) -> tuple[np.ndarray, int]:
    """Group elements that differ in indexed axes only; return also how many there are.

    The axes are those of the batch, then `indexed` ones, then the rest.
    """
    kept = [a for a in range(len(shape)) if not batch <= a < batch + indexed]
    return groups(shape, kept), math.prod(shape[a] for a in kept)
