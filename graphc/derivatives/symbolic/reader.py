"""The walk over a sympy expression that makes expressions of graphc's.

Every object is visited once, known again by its identity, so neither its hash nor its
equality is asked for; equal parts that are different objects meet in the same node,
for nodes are interned. Nothing recurses. sympy's numbers stay Python's numbers, which
are weak, until they meet an expression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.derivatives.symbolic.arithmetic import Negative, Value
from graphc.derivatives.symbolic.rules import Rule, rule_for
from graphc.derivatives.symbolic.vocabulary import is_step
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops.arithmetic import apply, as_node
from graphc.ops.declare import Elementwise
from graphc.ops.leaf import constant, uniform_value
from graphc.types import dtypes

UNROLLED = 16
"""Terms up to which a sympy.Sum or Product is written out."""


class Given:
    """What stands for sympy's symbols, arrays and undefined functions.

    Parameters
    ----------
    mapping : dict of sympy object to expression or number
        A symbol that is not found is looked for by its name, if only one has it:
        ``Symbol("x")`` then serves for ``Symbol("x", real=True)``.
    functions : dict of str to callable, optional
        Functions on expressions for sympy's functions of these names.
    """

    def __init__(
        self,
        mapping: Mapping[Any, Any],
        functions: Mapping[str, Callable[..., Any]] | None = None,
    ):
        self.exact = dict(mapping)
        self.functions = dict(functions or {})
        self.named: dict[str, list[Value]] = {}
        for key, value in self.exact.items():
            name = getattr(key, "name", None)
            if isinstance(name, str) and not getattr(key, "is_Dummy", False):
                self.named.setdefault(name, []).append(value)

    def find(self, key: Any) -> Value | None:
        """Return what stands for a sympy object, or None."""
        found = self.exact.get(key)
        if found is None and not getattr(key, "is_Dummy", False):
            same = self.named.get(getattr(key, "name", ""), [])
            found = same[0] if len(same) == 1 else None
        return found

    def base(self, array: Any) -> Value | None:
        """Return what stands for an IndexedBase or MatrixSymbol."""
        found = self.find(array)
        return self.find(array.args[0]) if found is None and array.args else found


class Reader:
    """Makes expressions of sympy's; what was read once is remembered.

    Parameters
    ----------
    given : Given
    dtype : dtype, optional
        Of numbers that meet no expression; by default that of the expressions given.
    derivative : bool
        The expressions are derivatives: jumps are passed over, and products with
        masks are ones with an absolute zero.
    """

    unrolled = UNROLLED

    def __init__(self, given: Given, dtype: Any = None, derivative: bool = False):
        self.given = given
        if dtype is None:
            found = [v.dtype for v in given.exact.values() if isinstance(v, Node)]
            floats = [d for d in found if dtypes.is_float(d)]
            dtype = dtypes.promote(*floats) if floats else dtypes.float64
        self.dtype = dtypes.as_dtype(dtype)
        self.derivative = derivative
        self._memo: dict[int, Value] = {}
        self._kept: list[Any] = []  # identities are of living objects
        self._numbers: dict[Any, Node] = {}
        self._plain: dict[Elementwise, bool] = {}
        self._masks: dict[Node, bool] = {}

    def expression(self, expr: Any) -> Node:
        """Return the node of a sympy expression."""
        value = self.read(expr)
        if isinstance(value, Node):
            return value
        if isinstance(value, float):
            return constant(value, self.dtype)
        return as_node(value)

    def read(self, root: Any) -> Value:
        """Return the value of a sympy expression: a node, or a Python number."""
        memo = self._memo
        waiting: list[tuple[Any, Rule, Sequence[Any]]] = []
        self._visit(root, waiting)
        while waiting:
            expr, rule, needs = waiting[-1]
            if id(expr) in memo:
                waiting.pop()
                continue
            count = len(waiting)
            for need in needs:
                if id(need) not in memo:
                    self._visit(need, waiting)
            if len(waiting) == count:
                waiting.pop()
                memo[id(expr)] = rule.build(self, expr, [memo[id(n)] for n in needs])
        return self.plain(memo[id(root)])

    def _visit(self, expr: Any, waiting: list) -> None:
        kind: Any = type(expr)
        rule = rule_for(kind)
        self._kept.append(expr)
        needs = rule.needs(self, expr) if rule.needs else ()
        if needs:
            waiting.append((expr, rule, needs))
        else:
            self._memo[id(expr)] = rule.build(self, expr, [])

    def again(self) -> Reader:
        """Return a reader of the same kind, without memory."""
        other = Reader(self.given, self.dtype, self.derivative)
        other.unrolled = self.unrolled
        return other

    def under(self, index: Any, value: Value) -> Reader:
        """Return a reader for the body of a sum, for a value of its index."""
        given = Given({}, self.given.functions)
        given.exact = {**self.given.exact, index: value}
        given.named = {k: v for k, v in self.given.named.items() if k != index.name}
        other = self.again()
        other.given = given
        return other

    # ------------------------------------------------------------------ values

    def plain(self, value: Value) -> Value:
        """Return a value, a negative one computed."""
        if isinstance(value, Negative):
            inner = value.value
            return self.op(ar.negative, inner) if isinstance(inner, Node) else -inner
        return value

    def node(self, value: Value) -> Node:
        """Return a value as a node; numbers take the dtype of the expressions."""
        value = self.plain(value)
        if isinstance(value, Node):
            return value
        if isinstance(value, bool):
            return constant(value)
        key = (value, math.copysign(1, value)) if value == 0 else value
        made = self._numbers.get(key)
        if made is None:
            made = self._numbers[key] = constant(float(value), self.dtype)
        return made

    def op(self, op: Elementwise, *values: Value) -> Value:
        """Return an op on values; a number if all are numbers."""
        nodes = [v for v in values if isinstance(v, Node)]
        if not nodes:
            return self.folded(op, values)
        plain = self._plain.get(op)
        if plain is None:
            types = (self.dtype,) * op.arity
            plain = op.signature(op.name, types)[0] == types
            self._plain[op] = plain
        if plain and all(n.type.dtype == self.dtype for n in nodes):
            # what `apply` does, without its questions about dtypes
            return op(*[self.node(v) for v in values])
        return apply(op, *values)

    def folded(self, op: Elementwise, values: Sequence[Value]) -> Value:
        """Return an op on numbers, a number."""
        operands = [v if isinstance(v, bool) else float(v) for v in values]
        node = apply(op, *operands)
        if node.op.is_constant:
            return node.params[0].array.item()
        with np.errstate(all="ignore"):
            arrays = [a.params[0].array for a in node.args]
            return np.asarray(node.op.numpy(node, arrays, int)).item()

    def fold(self, op: Elementwise, values: Sequence[Value]) -> Value:
        """Return many values combined in pairs: short chains, and small errors."""
        row = list(values)
        while len(row) > 1:
            pairs = [self.op(op, a, b) for a, b in zip(row[::2], row[1::2])]
            row = pairs + row[len(row) - len(row) % 2 :]
        return row[0]

    def product(self, factors: Sequence[Value]) -> Value:
        """Return a product; in a derivative, one that masks take out entirely."""
        if not factors:
            return 1
        if not self.derivative:
            return self.fold(ar.multiply, factors)
        masks, rest = self.masks(factors)
        if not masks or len(factors) == 1:
            return self.fold(ar.multiply, factors)
        return self.masked(masks, self.fold(ar.multiply, rest) if rest else masks.pop())

    def masked(self, masks: Sequence[Value], total: Value) -> Value:
        """Return a value multiplied by masks: where one is 0, exactly 0."""
        for mask in masks:
            total = self.op(ar.absolute_zero_multiply, mask, total)
        return total

    def masks(self, factors: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        """Return the factors that are masks, none but in a derivative, and the rest."""
        masks: list[Value] = []
        rest: list[Value] = []
        for v in factors:
            mask = self.derivative and isinstance(v, Node) and self._is_mask(v)
            (masks if mask else rest).append(v)
        return masks, rest

    def _is_mask(self, root: Node) -> bool:
        """Tell whether a value is exactly zero in some case: a selection, a step."""
        known = self._masks
        for node in topological_order([root], known):
            known[node] = _is_mask(node, [known[a] for a in node.args])
        return known[root]


def _is_mask(node: Node, args: Sequence[bool]) -> bool:
    op = node.op
    if op is ar.where:
        return any(m or is_zero(a) for m, a in zip(args[1:], node.args[1:]))
    if op is ar.absolute_zero_multiply:
        return True
    if not isinstance(op, Elementwise) or op.arity != 1 or not op.partials:
        return False
    if args[0]:  # a function that keeps zero
        with np.errstate(all="ignore"):
            zero = np.zeros((), node.args[0].dtype)
            return bool(op.numpy(node, [zero], int) == 0)
    return is_step(op, node.args[0], node)


def is_zero(node: Node) -> bool:
    """Tell whether a node is the constant 0."""
    value = uniform_value(node)
    return value is not None and bool(value == 0)
