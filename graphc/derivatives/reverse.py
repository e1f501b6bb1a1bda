"""Reverse mode: cotangents from outputs to inputs, as nodes of the same graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
from graphc.ops.declare import Elementwise, Linear
from graphc.ops.leaf import zeros_like
from graphc.ops.move import unbroadcast
from graphc.types.process import collection_paused


@collection_paused()
def pull_back(
    outputs: Sequence[Node],
    cotangents: Sequence[Node],
    wrt: Sequence[Node],
    disconnected: str = "raise",
) -> list[Node]:
    """Return the vector-Jacobian products with respect to each of `wrt`.

    Parameters
    ----------
    outputs : sequence of Node
    cotangents : sequence of Node
        One for each output, of its type.
    wrt : sequence of Node
        Inputs or inner nodes. The derivative by an inner node is the one by a
        perturbation added to it.
    disconnected : {"raise", "zero"}
        See `graphc.derivatives.activity.Activity`.

    Returns
    -------
    list of Node
        For each of `wrt`, the sum over outputs of cotangent times Jacobian, of
        its type.

    Raises
    ------
    DisconnectedInputError, NotDifferentiableError, DTypeError
        See `graphc.derivatives.activity`.

    Notes
    -----
    One sweep in reverse topological order; each node's rule runs once, and only
    for arguments that lead to one of `wrt`.
    """
    outputs = operators.FUNCTIONS["stabilized"](outputs, keep=wrt)
    order = topological_order(outputs)
    edges = Activity(order, outputs, wrt, disconnected).edges
    sign = Signs()
    flows: dict[Node, Flow] = {}
    for output, cotangent in zip(outputs, cotangents):
        if output in edges:
            flow = Flow(full_size(cotangent, output))
            flows[output] = flow.plus(flows.get(output))
    wanted = set(wrt)
    found: dict[Node, Node] = {}
    before = set_inherited(None)
    try:
        for node in reversed(order):
            flow_here = flows.pop(node, None)
            if flow_here is None:
                continue
            if node in wanted:
                found[node] = flow_here.value
            positions = edges[node]
            if not positions:
                continue
            set_inherited(node.site)
            for arg, back in _backward(node, flow_here, positions, sign):
                flows[arg] = back.plus(flows.get(arg))
    finally:
        set_inherited(before)
    return [found[w] if w in found else zeros_like(w) for w in wrt]


def _backward(
    node: Node, flow: Flow, positions: Sequence[int], sign: Signs
) -> Iterator[tuple[Node, Flow]]:
    """Yield each argument that a cotangent reaches, with its share."""
    args = node.args
    if isinstance(node.op, Elementwise):
        pole = meets_pole(node, sign)
        for p, factor in zip(positions, partials(node, positions)):
            back = product(flow, factor, pole)
            if back is not None:
                yield args[p], back._replace(value=_to_type(back.value, node, args[p]))
        return
    require_rule(node, "vjp")
    wanted = [False] * len(args)
    for p in positions:
        wanted[p] = True
    values = node.op.vjp(node, flow.value, wanted)
    chooses = not isinstance(node.op, Linear)  # max and its kin: zero elsewhere
    for p in positions:
        if values[p] is not None:
            back = flow.through(node, values[p])
            yield args[p], back._replace(mask=back.mask or chooses)


def _to_type(value: Node, node: Node, arg: Node) -> Node:
    """Return a cotangent in the argument's dtype, summed where it was stretched."""
    if value.type == arg.type:
        return value
    return unbroadcast(cast(full_size(value, node), arg.dtype), arg.shape)
