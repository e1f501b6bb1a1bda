"""`Graph`: inputs and outputs, and the nodes between them in topological order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from graphc.graph.node import Node
from graphc.graph.origin import set_inherited


def topological_order(outputs: Iterable[Node]) -> list[Node]:
    """Return every node that `outputs` need, arguments before their users.

    Depth first from the outputs, without recursion; linear in nodes and edges.
    """
    done: set[Node] = set()
    order: list[Node] = []
    for output in outputs:
        stack = [output]
        while stack:
            node = stack[-1]
            if node in done:
                stack.pop()
                continue
            waiting = [a for a in node.args if a not in done]
            if waiting:
                stack.extend(reversed(waiting))
            else:
                stack.pop()
                done.add(node)
                order.append(node)
    return order


class Graph:
    """A function of `inputs` that gives `outputs`.

    Attributes
    ----------
    inputs : tuple of Node
        Input nodes, in calling order. They may include ones not used.
    outputs : tuple of Node
        The results.
    """

    __slots__ = ("inputs", "outputs", "_nodes")

    def __init__(self, inputs: Sequence[Node], outputs: Sequence[Node]):
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._nodes: list[Node] | None = None

    @property
    def nodes(self) -> list[Node]:
        """All nodes the outputs need, in topological order."""
        if self._nodes is None:
            self._nodes = topological_order(self.outputs)
        return self._nodes

    def __len__(self) -> int:
        return len(self.nodes)

    def users(self) -> dict[Node, list[Node]]:
        """Return for each node the nodes that use it, once for each use."""
        out: dict[Node, list[Node]] = {n: [] for n in self.nodes}
        for node in self.nodes:
            for arg in node.args:
                out[arg].append(node)
        return out

    def rewritten(self, rule: Callable[[Node], Node | None]) -> Graph:
        """Return the graph with `rule` applied to every node, arguments first.

        The rule sees a node whose arguments are already rewritten and returns
        its replacement, or None to keep it. Names and origins carry over.
        """
        new: dict[Node, Node] = {}
        before = set_inherited(None)
        try:
            for node in self.nodes:
                set_inherited(node.origin)
                args = tuple(new[a] for a in node.args)
                same = all(a is b for a, b in zip(args, node.args))
                here = node if same else node.op.rebuild(node, args)
                there = rule(here)
                there = here if there is None else there
                if node.name and there.name is None and not there.op.is_constant:
                    there.name = node.name
                new[node] = there
        finally:
            set_inherited(before)
        return Graph(self.inputs, [new[o] for o in self.outputs])

    def __str__(self) -> str:
        from graphc.graph.text import dump

        return dump(self)

    def __repr__(self) -> str:
        return (
            f"<Graph of {len(self)} nodes, {len(self.inputs)} inputs, "
            f"{len(self.outputs)} outputs>"
        )
