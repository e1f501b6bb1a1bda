"""Forward mode: tangents from inputs to outputs, as nodes of the same graph."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.derivatives.activity import Activity, require_rule
from graphc.derivatives.products import (
    Flow,
    Signs,
    full_size,
    meets_pole,
    partials,
    product,
)
from graphc.graph import operators
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.graph.origin import set_inherited
from graphc.ops.arithmetic import cast
from graphc.ops.declare import Elementwise
from graphc.ops.leaf import zeros_like
from graphc.types.process import collection_paused


@collection_paused()
def push_forward(
    outputs: Sequence[Node],
    wrt: Sequence[Node],
    tangents: Sequence[Node],
    disconnected: str = "raise",
) -> list[Node]:
    """Return the Jacobian-vector product of each output.

    Parameters
    ----------
    outputs : sequence of Node
    wrt : sequence of Node
        Inputs or inner nodes. The tangent of an inner node is added to the one
        that reaches it from its arguments.
    tangents : sequence of Node
        One for each of `wrt`, of its type.
    disconnected : {"raise", "zero"}
        See `graphc.derivatives.activity.Activity`.

    Returns
    -------
    list of Node
        For each output, the sum over `wrt` of Jacobian times tangent, of the
        output's type.

    Raises
    ------
    DisconnectedInputError, NotDifferentiableError, DTypeError
        See `graphc.derivatives.activity`.
    """
    outputs = operators.FUNCTIONS["stabilized"](outputs, keep=wrt)
    order = topological_order(outputs)
    edges = Activity(order, outputs, wrt, disconnected).edges
    sign = Signs()
    seeds: dict[Node, Flow] = {}
    for w, tangent in zip(wrt, tangents):
        seeds[w] = Flow(full_size(tangent, w)).plus(seeds.get(w))
    flows: dict[Node, Flow] = {}
    before = set_inherited(None)
    try:
        for node in order:
            positions = edges.get(node)
            if positions is None:
                continue
            set_inherited(node.site)
            flow = _forward(node, flows, positions, sign) if positions else None
            if node in seeds:
                flow = seeds[node].plus(flow)
            if flow is not None:
                flows[node] = flow
    finally:
        set_inherited(before)
    return [flows[o].value if o in flows else zeros_like(o) for o in outputs]


def _forward(
    node: Node, flows: dict[Node, Flow], positions: Sequence[int], sign: Signs
) -> Flow | None:
    args = node.args
    positions = [p for p in positions if args[p] in flows]
    if not positions:
        return None
    if isinstance(node.op, Elementwise):
        pole = meets_pole(node, sign)
        total: Flow | None = None
        for p, factor in zip(positions, partials(node, positions)):
            flow = flows[args[p]]
            flow = flow._replace(value=cast(flow.value, node.dtype))
            term = product(flow, factor, pole)
            if term is not None:
                total = term.plus(total)
        if total is None:
            return None
        return total._replace(value=full_size(total.value, node))
    require_rule(node, "jvp")
    tangents: list[Node | None] = [None] * len(args)
    for p in positions:
        tangents[p] = flows[args[p]].value
    tangent = node.op.jvp(node, tangents)
    if tangent is None:
        return None
    arrived = [flows[args[p]] for p in positions]
    merged = Flow(tangent, any(f.pole for f in arrived), all(f.mask for f in arrived))
    return merged.through(node, tangent)
