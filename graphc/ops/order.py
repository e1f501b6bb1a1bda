"""`after`: a value that is not computed before another one is.

Nodes are interned: what is written twice is computed once. That is wrong where a value
shall be computed again so that it need not be kept meanwhile. Computed from arguments
that are each taken *after* something late, it is another node, and a late one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.declare import Move, SizeOf
from graphc.ops.move import all_batched
from graphc.ops.scalars import Index, Scalars, Value
from graphc.types.tensor_type import TensorType


class After(Move):
    """``after(x, y)`` is x; what uses it is computed when y has been."""

    linear = (0,)
    jointly = False
    waits_for = (1,)

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        return args[0].type

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return args[0]

    def read(
        self, k: Scalars, node: Node, index: Index, arg: Callable[[int, Index], Value]
    ) -> Value:
        return arg(0, tuple(index))

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return signs[0]

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node:
        return cotangent

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return all_batched(args, batched)[0]


after_ = After("after")
