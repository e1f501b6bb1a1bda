"""Constant folding: what depends on constants only is computed once, here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.arithmetic import cast_
from graphc.ops.declare import Elementwise, Move, Op
from graphc.ops.index import gather_
from graphc.ops.leaf import (
    Frozen,
    constant,
    constant_,
    full_,
    iota,
    iota_,
    size_value,
    size_value_,
)
from graphc.ops.slicing import pad_
from graphc.passes.patterns import number, uniform
from graphc.passes.rewrite import RulePass, RuleSet
from graphc.types.dtypes import is_float
from graphc.types.errors import GraphcError
from graphc.types.sizes import is_static

MAX_ELEMENTS = 4096
"""Results of more elements are folded only if an argument has as many."""
MAX_FLOPS = 10**7

_FOLDED = frozenset((constant_, full_, iota_))

rules = RuleSet()


@rules.on(Elementwise)
def fold_uniform(node: Node) -> Node | None:
    """f(c) -> f(c) everywhere, for arrays of one number each."""
    values = []
    for x in node.args:
        value = number(x)
        if value is None:
            return None
        values.append(np.asarray(value))
    result = _computed(node, values)
    return None if result is None else uniform(result, node)


@rules.on(Move)
def fold_moved_uniform(node: Node) -> Node | None:
    """move(c) -> c everywhere, for one number throughout.

    Not of a gather, which checks its indices.
    """
    if node.op is gather_:
        return None
    first = number(node.args[0])
    if first is None:
        return None
    values = [number(x) for x in node.args[1:]]
    if node.op is pad_:
        values.append(node.params[3].array[()])
    same = Frozen(np.asarray(first))
    if any(v is None or Frozen(np.asarray(v)) != same for v in values):
        return None
    return uniform(first, node)


@rules.on(Op)
def fold_arrays(node: Node) -> Node | None:
    """f(constants) -> constant, unless it would be large.

    Arrays of one number and ranges stay formulas where no array is among them.
    """
    arrays = False
    for x in node.args:
        if x.op not in _FOLDED:
            return None
        arrays |= x.op is constant_
    if not arrays:
        return None
    if all(number(x) is not None for x in node.args) and node.size != 1:
        return None
    largest = MAX_ELEMENTS
    for x in node.args:
        if not is_static(x.shape):
            return None
        if x.op is constant_:
            largest = max(largest, x.params[0].array.size)
    sizes = (node.size, *(x.size for x in node.args))
    if not is_static((*sizes, *node.shape)) or max(sizes) > largest:  # type: ignore[type-var,operator]
        return None
    flops = node.op.flops(node)
    if not isinstance(flops, int) or flops > MAX_FLOPS:
        return None
    result = _computed(node, [_array(x) for x in node.args])
    return None if result is None else constant(result)


@rules.on(constant_)
def constant_of_one_number(node: Node) -> Node | None:
    """[c, c, ..., c] -> c everywhere: nothing has to be read from memory."""
    array = np.ascontiguousarray(node.params[0].array)
    if array.size < 2:
        return None
    bits = array.reshape(-1).view(f"u{array.itemsize}")  # -0.0 is not 0.0
    return uniform(array.flat[0], node) if (bits == bits[0]).all() else None


@rules.on(cast_)
def cast_of_range(node: Node) -> Node | None:
    """cast(arange(n)) -> arange(n), and of a size, in the dtype wanted."""
    (x,), (dtype,) = node.args, node.params
    if x.dtype != np.int64:
        return None
    if x.op is iota_:
        return iota(x.params[0], dtype)
    if x.op is size_value_ and is_float(dtype):
        return size_value(x.params[0], dtype)
    return None


def _array(x: Node) -> np.ndarray:
    if x.op is constant_:
        return x.params[0].array
    return x.op.numpy(x, (), _static_size)


def _static_size(size: Any) -> int:
    return int(size)


def _computed(node: Node, values: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return what the interpreter gives; None for what is to fail when it runs."""
    try:
        with np.errstate(all="ignore"):
            result = node.op.numpy(node, values, _static_size)
    except (GraphcError, TypeError):  # a symbolic size within the parameters
        return None
    return np.asarray(result, node.dtype)


fold = RulePass("fold", rules)
