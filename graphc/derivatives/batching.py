"""Batching and substitution: an expression's nodes with others in some places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.graph.origin import set_inherited
from graphc.ops.move import broadcast_to
from graphc.types.errors import InternalError
from graphc.types.sizes import SizeLike

Rule = Callable[[Node, tuple[Node, ...], Sequence[bool]], "Node | None"]
"""What `Op.batch` is for one op; None for those that it does not concern."""


def push_batch(
    outputs: Sequence[Node],
    batched: Mapping[Node, Node],
    rule: Rule | None = None,
) -> list[tuple[Node, bool]]:
    """Map expressions over a new leading axis of some of their nodes.

    Parameters
    ----------
    outputs : sequence of Node
    batched : mapping of Node to Node
        What stands in place of a node: it with a leading axis. That axis has the
        same size in all of them.
    rule : callable, optional
        Asked for each node before the rule of its op.

    Returns
    -------
    list of (Node, bool)
        For each output, the expression, and whether it has the leading axis.
        One that depends on none of `batched` has not and is as it was.

    Notes
    -----
    One sweep in topological order. The rule of each op, `Op.batch`, runs once;
    nodes that depend on none of `batched` stay, and are computed once for all.
    """
    new = dict(batched)
    before = set_inherited(None)
    try:
        for node in topological_order(outputs):
            if node in new or not any(a in new for a in node.args):
                continue
            set_inherited(node.site)
            flags = [a in new for a in node.args]
            args = tuple([new.get(a, a) for a in node.args])
            special = None if rule is None else rule(node, args, flags)
            new[node] = node.op.batch(node, args, flags) if special is None else special
            if new[node].ndim != node.ndim + 1:
                raise InternalError(
                    f"the batching rule of {node.op.name} gave {new[node].type} for "
                    f"{node.type}"
                )
    finally:
        set_inherited(before)
    return [(new[o], True) if o in new else (o, False) for o in outputs]


def batched_outputs(
    outputs: Sequence[Node], batched: Mapping[Node, Node], size: SizeLike
) -> list[Node]:
    """Return `push_batch`'s expressions, all with the leading axis of that size."""
    return [
        value if has_axis else broadcast_to(value, (size, *value.shape))
        for value, has_axis in push_batch(outputs, batched)
    ]


def substitute(outputs: Sequence[Node], places: Mapping[Node, Node]) -> list[Node]:
    """Return expressions with nodes replaced by others of the same types."""
    new = dict(places)
    before = set_inherited(None)
    try:
        for node in topological_order(outputs):
            if node in new or not any(a in new for a in node.args):
                continue
            set_inherited(node.site)
            new[node] = node.op.rebuild(node, tuple(new.get(a, a) for a in node.args))
    finally:
        set_inherited(before)
    return [new.get(o, o) for o in outputs]
