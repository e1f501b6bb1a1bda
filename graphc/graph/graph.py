"""`Graph`: inputs and outputs, and the nodes between them in topological order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from graphc.graph.node import Node
from graphc.graph.origin import set_inherited
from graphc.types.errors import InternalError


def topological_order(
    outputs: Iterable[Node], known: Iterable[Node] = ()
) -> list[Node]:
    """Return every node that `outputs` need, arguments before their users.

    Depth first from the outputs, without recursion; linear in nodes and edges.
    Nodes that are `known`, and what only they need, are left out.
    """
    done: set[Node] = set(known)
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

        The rule sees a node whose arguments are final and returns its replacement,
        or None to keep it. A replacement, and every new node under it, is rewritten
        in its turn, so that in the result the rule applies nowhere any more. Names
        and origins carry over.

        Parameters
        ----------
        rule : callable
            ``node -> node or None``. A replacement has the type of the node.

        Raises
        ------
        InternalError
            If replacements come back to where they started, or do not end.

        Notes
        -----
        Depth first without recursion, in the order of `nodes`; linear in nodes,
        edges and replacements.
        """
        final: dict[Node, Node] = {}
        turned: dict[Node, Node] = {}  # replaced by a node that is not final yet
        seen = replaced = 0
        before = set_inherited(None)
        try:
            for output in self.outputs:
                stack = [output]
                while stack:
                    node = stack[-1]
                    if node in final:
                        stack.pop()
                        continue
                    there = turned.pop(node, None)
                    if there is None:
                        waiting = [a for a in node.args if a not in final]
                        if waiting:
                            stack.extend(reversed(waiting))
                            continue
                        seen += 1
                        set_inherited(node.origin)
                        there = _replacement(node, final, rule)
                        if there is not node and there not in final:
                            replaced += 1
                            _check_ends(node, there, turned, replaced, seen)
                            turned[node] = there
                            stack.append(there)
                            continue
                    elif there not in final:
                        raise _endless(node, there)
                    stack.pop()
                    result = there if there is node else final[there]
                    _pass_name(node, result)
                    final[node] = result
        finally:
            set_inherited(before)
        return Graph(self.inputs, [final[o] for o in self.outputs])

    def substituted(self, replacements: Mapping[Node, Node]) -> Graph:
        """Return the graph with nodes replaced by others of their types.

        What stands in a replacement is left as it is.
        """
        final = dict(replacements)
        before = set_inherited(None)
        try:
            for node in topological_order(self.outputs, final):
                set_inherited(node.origin)
                args = tuple([final[a] for a in node.args])
                same = all(a is b for a, b in zip(args, node.args))
                final[node] = node if same else node.op.rebuild(node, args)
                _pass_name(node, final[node])
        finally:
            set_inherited(before)
        return Graph(self.inputs, [final[o] for o in self.outputs])

    def __str__(self) -> str:
        from graphc.graph.text import dump

        return dump(self)

    def __repr__(self) -> str:
        return (
            f"<Graph of {len(self)} nodes, {len(self.inputs)} inputs, "
            f"{len(self.outputs)} outputs>"
        )


_GROWTH = 100
"""Replacements for each node beyond which a rule is taken to have no end."""


def _replacement(
    node: Node, final: dict[Node, Node], rule: Callable[[Node], Node | None]
) -> Node:
    """Return `node` on its final arguments, or else what `rule` makes of it."""
    args = tuple([final[a] for a in node.args])
    for old, new in zip(node.args, args):
        if old is not new:
            return node.op.rebuild(node, args)
    there = rule(node)
    return node if there is None else there


def _check_ends(
    node: Node, there: Node, turned: dict[Node, Node], replaced: int, seen: int
) -> None:
    if there in turned or replaced > _GROWTH * (seen + _GROWTH):
        raise _endless(node, there)


def _endless(node: Node, there: Node) -> InternalError:
    return InternalError(
        f"rewriting does not end: {node.op.name} {node.type} becomes "
        f"{there.op.name} {there.type}, and that the former again. This is a defect "
        "of graphc; please report it with the expression that shows it."
    )


def _pass_name(node: Node, result: Node) -> None:
    """Let a node that replaces another have its name, unless it has one."""
    if node.name and result.name is None and not result.op.is_constant:
        result.name = node.name
