"""`Graph`: inputs and outputs, and the nodes between them in topological order."""

from __future__ import annotations

from collections.abc import (
    Callable,
    Collection,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)

from graphc.graph.node import Node
from graphc.graph.operators import FUNCTIONS
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


def missing(node: Node, known: Container[Node]) -> Iterator[Node]:
    """Yield nodes that `node` needs and are not `known`, arguments first.

    Each must be known when the next is asked for. Unlike `topological_order` this
    costs only what is missing, however much is known.
    """
    stack = [node]
    while stack:
        here = stack[-1]
        waiting = [a for a in here.args if a not in known]
        if here in known or not waiting:
            stack.pop()
            if here not in known:
                yield here
        else:
            stack.extend(reversed(waiting))


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

    def rewritten(
        self, rule: Callable[[Node], Node | None], settled: Collection[Node] = ()
    ) -> Graph:
        """Return the graph with `rule` applied to every node, arguments first.

        The rule sees a node whose arguments are final and returns its replacement,
        or None to keep it. A replacement, and every new node under it, is rewritten
        in its turn, so that in the result the rule applies nowhere any more. Names
        and origins carry over.

        Parameters
        ----------
        rule : callable
            ``node -> node or None``. A replacement has the type of the node.
        settled : set of Node
            Nodes the rule is known to keep. It may add to them.

        Raises
        ------
        InternalError
            If replacements come back to where they started, or do not end.

        Notes
        -----
        Depth first without recursion, in the order of `nodes`; linear in nodes,
        edges and replacements.
        """
        if settled and all(n in settled for n in self.nodes):
            return self
        rewriting = _Rewriting(rule, len(self.nodes))
        final = rewriting.final
        before = set_inherited(None)
        try:
            for node in self.nodes:
                if node in final:
                    continue
                if node in settled:
                    for a in node.args:
                        if final[a] is not a:
                            break
                    else:
                        final[node] = node
                        continue
                set_inherited(node.site)
                there = rewriting.replacement(node)
                if there is node:
                    final[node] = node
                else:
                    rewriting.settle(node, there)
        finally:
            set_inherited(before)
        outputs = [rewriting.final[o] for o in self.outputs]
        if all(a is b for a, b in zip(outputs, self.outputs)):
            return self
        return Graph(self.inputs, outputs)

    def substituted(self, replacements: Mapping[Node, Node]) -> Graph:
        """Return the graph with nodes replaced by others of their types.

        What stands in a replacement is left as it is.
        """
        final = dict(replacements)
        before = set_inherited(None)
        try:
            for node in topological_order(self.outputs, final):
                set_inherited(node.site)
                args = tuple([final[a] for a in node.args])
                same = all(a is b for a, b in zip(args, node.args))
                final[node] = node if same else node.op.rebuild(node, args)
        finally:
            set_inherited(before)
        return Graph(self.inputs, [final[o] for o in self.outputs])

    def __str__(self) -> str:
        from graphc.graph.text import dump

        return dump(self)

    def _repr_svg_(self) -> str | None:
        return FUNCTIONS["notebook_svg"](self)

    def __repr__(self) -> str:
        return (
            f"<Graph of {len(self)} nodes, {len(self.inputs)} inputs, "
            f"{len(self.outputs)} outputs>"
        )


_REPLACEMENTS = 100
"""How often a node is replaced on average until a rule is taken to have no end."""


class _Rewriting:
    """The state of `Graph.rewritten`.

    Attributes
    ----------
    final : dict of Node to Node
        What a node has become. The values are final themselves.
    """

    def __init__(self, rule: Callable[[Node], Node | None], count: int):
        self.rule = rule
        self.final: dict[Node, Node] = {}
        self._left = _REPLACEMENTS * (count + _REPLACEMENTS)

    def replacement(self, node: Node) -> Node:
        """Return `node` on its final arguments, or else what the rule makes of it."""
        final = self.final
        for a in node.args:
            if final[a] is not a:
                return node.op.rebuild(node, tuple([final[a] for a in node.args]))
        there = self.rule(node)
        return node if there is None else there

    def settle(self, node: Node, there: Node) -> None:
        """Make `there` final, all that is new under it, and then `node`."""
        final = self.final
        turned = {node: there}  # replaced by a node that is not final yet
        stack = [node, there]
        while stack:
            node = stack[-1]
            if node in final:
                stack.pop()
                continue
            result = turned.get(node)
            if result is None:
                waiting = [a for a in node.args if a not in final]
                if waiting:
                    if any(a in turned for a in waiting):
                        raise _endless(node)
                    stack.extend(reversed(waiting))
                    continue
                result = self.replacement(node)
                if result is not node and result not in final:
                    self._left -= 1
                    if result in turned or self._left < 0:
                        raise _endless(node)
                    turned[node] = result
                    stack.append(result)
                    continue
            stack.pop()
            result = node if result is node else final[result]
            if node.name and result.name is None and result.args:
                result.name = node.name
            final[node] = result


def _endless(node: Node) -> InternalError:
    return InternalError(
        f"rewriting does not end at {node.op.name} {node.type}. This is a defect of "
        "graphc; please report it with the expression that shows it."
    )
