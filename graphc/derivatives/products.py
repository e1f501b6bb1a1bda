"""Products with partial derivatives that are free of ``0 * inf`` by construction.

Two things can put a zero against an infinity on a derivative's way:

- The derivative passed a *pole*, a partial that may be infinite, such as that of
  `log` at 0. From there on it may be infinite, and the factors it meets may be 0.
- The derivative passed a *mask*, a partial that is exactly 0 in one case, such as
  that of `where`. From there on it may be 0 for a branch not taken, and the factors
  it meets belong to that branch and may be infinite or NaN.

In both cases products are ones with an absolute zero (`absolute_zero_multiply`), so
that a branch not taken contributes exactly zero. Where neither was met, which is
the usual case, products are plain. A pole counts unless the sign of its argument
is proven. A mask counts until a contraction mixes the elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from graphc.graph.graph import missing
from graphc.graph.node import Node
from graphc.ops.arithmetic import (
    absolute_zero_multiply,
    add,
    multiply,
    negative,
    where,
)
from graphc.ops.declare import Elementwise, Linear, Select
from graphc.ops.leaf import scalar_like, uniform_value
from graphc.ops.move import broadcast_to


class Flow(NamedTuple):
    """A derivative on its way through the graph, and what it passed.

    Attributes
    ----------
    value : Node
    pole : bool
        It passed a pole, so it may be infinite.
    mask : bool
        It passed a mask, so it may be 0 where factors are infinite or NaN.
    """

    value: Node
    pole: bool = False
    mask: bool = False

    def plus(self, other: Flow | None) -> Flow:
        """Return the sum of two flows; a mask remains only if both passed one."""
        if other is None:
            return self
        return Flow(
            add(self.value, other.value),
            self.pole or other.pole,
            self.mask and other.mask,
        )

    def through(self, node: Node, value: Node) -> Flow:
        """Return what the op of a node without partials made of this flow."""
        op = node.op
        mask = self.mask and isinstance(op, Linear) and op.jointly
        return Flow(value, self.pole, mask)


class Signs:
    """What is sure of the sign of nodes, found when asked and remembered."""

    def __init__(self) -> None:
        self._known: dict[Node, str] = {}

    def __call__(self, node: Node) -> str:
        known = self._known
        for n in missing(node, known):
            known[n] = n.op.sign_of(n, [known[a] for a in n.args])
        return known[node]


def meets_pole(node: Node, sign: Signs) -> bool:
    """Tell whether some partial derivative of `node` may be infinite."""
    op: Elementwise = node.op
    if op.poles is None:
        return False
    for safe, condition in op.poles(*node.params, *node.args):
        value = uniform_value(safe)
        if value is not None and (value > 0 if condition == "positive" else value != 0):
            continue
        if sign(safe) != "positive":
            return True
    return False


def partials(node: Node, positions: Sequence[int]) -> list[Any]:
    """Return the partial derivatives by the arguments at `positions`."""
    rules = node.op.partials
    return [rules[p](*node.args, node) for p in positions]


def product(flow: Flow, factor: Any, pole: bool) -> Flow | None:
    """Return a flow multiplied by a partial derivative, None if that is zero."""
    pole = flow.pole or pole
    value = _product(flow.value, factor, pole or flow.mask)
    if value is None:
        return None
    return Flow(value, pole, flow.mask or _is_mask(factor))


def _is_mask(factor: Any) -> bool:
    while isinstance(factor, Select):
        if not isinstance(factor.yes, (Node, Select)) and factor.yes == 0:
            return True
        if isinstance(factor.yes, Select) and _is_mask(factor.yes):
            return True
        factor = factor.no
    return not isinstance(factor, Node) and factor == 0


def _product(value: Node, factor: Any, guarded: bool) -> Node | None:
    if isinstance(factor, Select):
        yes = _product(value, factor.yes, guarded)
        no = _product(value, factor.no, guarded)
        if yes is None and no is None:
            return None
        zero = scalar_like(0, value)
        return where(
            factor.condition, zero if yes is None else yes, zero if no is None else no
        )
    if isinstance(factor, Node):
        constant = uniform_value(factor)
        if constant is None or not math.isfinite(constant):
            return (absolute_zero_multiply if guarded else multiply)(value, factor)
    else:
        constant = factor
    if constant == 0:
        return None
    if constant == 1:
        return value
    if constant == -1:
        return negative(value)
    if not isinstance(factor, Node) or factor.ndim:
        factor = scalar_like(constant, value)
    return multiply(value, factor)


def full_size(value: Node, node: Node) -> Node:
    """Return a derivative broadcast to the shape of the node it belongs to."""
    return broadcast_to(value, node.shape)
