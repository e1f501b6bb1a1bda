"""`custom`: a value whose derivative is not that of how it is computed.

Its last argument is the value, computed in whatever way. A derivative does not look
into it: it goes by a rule, a parameter of the node, to the arguments before, which
the value is a function of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from graphc.graph.node import Node
from graphc.ops.declare import General, SizeOf
from graphc.ops.move import all_batched
from graphc.types.tensor_type import TensorType


class Rule(Protocol):
    """A derivative given from outside; hashable, and equal only if it is the same.

    ``args`` are the arguments that the result is a function of, ``result`` is the
    node of the result.
    """

    def jvp(
        self, args: Sequence[Node], result: Node, tangents: Sequence[Node | None]
    ) -> Node | None:
        """Return the tangent of the result; None is a tangent of zero."""

    def vjp(
        self,
        args: Sequence[Node],
        result: Node,
        cotangent: Node,
        wanted: Sequence[bool],
    ) -> Sequence[Node | None]:
        """Return a cotangent for each argument that is `wanted`, None for zero."""

    def mapped(self, batched: Sequence[bool]) -> Rule:
        """Return the rule over a leading axis of the result and some arguments."""


class Custom(General):
    """``custom(x, ..., value)`` is the value; ``params[0]`` is the `Rule`."""

    param_names = ("rule",)
    blocks_derivatives = True
    analytic = True

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        return args[-1].type

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return args[-1]

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return signs[-1]

    def differentiable(self, node: Node) -> Sequence[int]:
        return range(len(node.args) - 1)

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        return node.params[0].jvp(node.args[:-1], node, tangents[:-1])

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        (rule,) = node.params
        return [*rule.vjp(node.args[:-1], node, cotangent, wanted[:-1]), None]

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        rule = node.params[0].mapped(tuple(batched[:-1]))
        return self(*args[:-1], all_batched(args, batched)[-1], params=(rule,))


custom_ = Custom("custom")
