"""What a call of a function with its own derivative leaves in the graph: its rule.

A rule of a user is called with containers of expressions and must return some; what it
returns is checked here, with errors that name the function and the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphc.derivatives.rules import (
    MappedRule,
    pack,
    transposed_jvp,
    transposed_vjp,
    unpack,
)
from graphc.expressions.containers import Structure
from graphc.graph.node import Node
from graphc.ops.arithmetic import as_node
from graphc.ops.leaf import constant, full, zeros_like
from graphc.types import dtypes, sizes
from graphc.types.dtypes import is_float
from graphc.types.errors import (
    DTypeError,
    InputError,
    NotDifferentiableError,
    ShapeError,
    made_at,
)
from graphc.types.tensor_type import TensorType, shape_text

Function = Callable[..., Any]


class WithRules(Protocol):
    """A function and its rules; see `graphc.derivatives.custom.CustomDerivative`."""

    jvp: Function | None
    fwd: Function | None
    bwd: Function | None


@dataclass(frozen=True)
class Static:
    """An argument that is no expression; equal to those of its type and value."""

    kind: type
    value: Any


@dataclass(frozen=True)
class CallRule:
    """The rule of one call: the function, and the structure of what it takes and gives.

    Attributes
    ----------
    function : CustomDerivative
    structure, result : Structure
        Of the tuple of arguments, and of the result.
    statics : tuple of Static or None
        For each leaf of the arguments, None where it is an expression.
    types : tuple of TensorType
        Of the leaves of the result.
    """

    function: WithRules
    structure: Structure
    statics: tuple
    result: Structure
    types: tuple[TensorType, ...]

    def __str__(self) -> str:
        return str(self.function)

    def mapped(self, batched: Sequence[bool]) -> MappedRule:
        """Return the rule over a leading axis."""
        return MappedRule(self, tuple(batched))

    def jvp(
        self, args: Sequence[Node], result: Node, tangents: Sequence[Node | None]
    ) -> Node | None:
        """Return the tangent of the packed result."""
        rule = self.function.jvp
        if rule is None:
            self._require_rule()
            return transposed_vjp(self, args, result, tangents)
        given = iter(tangents)
        seeds = [
            _zero_tangent(a) if t is None else t
            for a, t in (
                (static.value, None) if static else (arg, next(given))
                for static, arg in zip(self.statics, self._leaves(args))
            )
        ]
        answer = rule(self._primals(args), self.structure.unflatten(seeds))
        _, tangent = self._pair(answer, "jvp", "(result, tangent)")
        read = self._like(tangent, self.result, self.types, "jvp", "the tangent")
        floats = [t for t, type in zip(read, self.types) if is_float(type.dtype)]
        return None if all(t is None for t in floats) else self._packed(floats)

    def vjp(
        self,
        args: Sequence[Node],
        result: Node,
        cotangent: Node,
        wanted: Sequence[bool],
    ) -> list[Node | None]:
        """Return the cotangents of the arguments, from that of the packed result."""
        bwd, fwd = self.function.bwd, self.function.fwd
        if bwd is None:
            self._require_rule()
            return transposed_jvp(self, args, result, cotangent, wanted)
        primals = self._primals(args)
        if fwd is None:
            residuals: Any = (primals, self._unpacked(result))
        else:
            answer = fwd(*primals)
            value, residuals = self._pair(answer, "vjp", "(result, residuals)", "fwd")
            self._like(value, self.result, self.types, "vjp", "fwd's result")
        answer = bwd(residuals, self._unpacked(cotangent))
        if not isinstance(answer, tuple) or len(answer) != len(self.structure.children):
            count = f" of {len(answer)}" if isinstance(answer, (tuple, list)) else ""
            raise InputError(
                f"{self.function}: its vjp rule must return a tuple of cotangents, one "
                f"for each of the {len(self.structure.children)} arguments, but "
                f"returned {kind_text(answer)}{count}."
            )
        types = tuple(
            a.type if isinstance(a, Node) else None for a in self._leaves(args)
        )
        read = self._like(answer, self.structure, types, "vjp", "cotangents")
        dynamic = [c for c, static in zip(read, self.statics) if static is None]
        return [c if w else None for c, w in zip(dynamic, wanted)]

    def _require_rule(self) -> None:
        if self.function.jvp is None and self.function.bwd is None:
            raise NotDifferentiableError(
                f"{self.function}: it has no rule. Set one with defjvp or defvjp, or "
                "differentiate around it with stop_gradient."
            )

    def _leaves(self, args: Sequence[Node]) -> list[Any]:
        """Return the leaves of the arguments, static ones too."""
        nodes = iter(args)
        return [next(nodes) if s is None else s.value for s in self.statics]

    def _primals(self, args: Sequence[Node]) -> Any:
        return self.structure.unflatten(self._leaves(args))

    def _unpacked(self, packed: Node) -> Any:
        """Return the result's containers; zeros where it is not floating-point."""
        floats = [t for t in self.types if is_float(t.dtype)]
        parts = iter(unpack(packed, floats))
        leaves = [
            next(parts) if is_float(t.dtype) else full(t.shape, 0, dtypes.float32)
            for t in self.types
        ]
        return self.result.unflatten(leaves)

    def _packed(self, tangents: Sequence[Node | None]) -> Node:
        floats = [t for t in self.types if is_float(t.dtype)]
        return pack(
            [
                full(type.shape, 0, type.dtype) if t is None else t
                for t, type in zip(tangents, floats)
            ]
        )

    def _pair(self, answer: Any, rule: str, what: str, name: str = "") -> Any:
        if isinstance(answer, (tuple, list)) and len(answer) == 2:
            return answer
        raise InputError(
            f"{self.function}: {name or 'the function'} of its {rule} rule must return "
            f"the pair {what}, but returned {kind_text(answer)}."
        )

    def _like(
        self, tree: Any, structure: Structure, types: Any, rule: str, what: str
    ) -> list[Node | None]:
        """Return the leaves of what a rule returned, checked; None for zero."""
        who = f"{self.function}: {what} of its {rule} rule"
        leaves: list[Any] = []
        _spread(tree, structure, who, leaves)
        return [_checked(x, t, who) for x, t in zip(leaves, types)]


def _spread(tree: Any, structure: Structure, who: str, leaves: list[Any]) -> None:
    """Append the leaves of a container; None stands for a whole part."""
    if tree is None:
        leaves += [None] * structure.count
    elif structure.kind is None:
        leaves.append(tree)
    else:
        level = Structure(
            structure.kind, structure.keys, (Structure(),) * len(structure.keys)
        )
        for part, child in zip(level.flatten_like(tree, who), structure.children):
            _spread(part, child, who, leaves)


def _checked(leaf: Any, type: TensorType | None, who: str) -> Node | None:
    """Return what a rule returned for a leaf, if it has the type it must have."""
    if leaf is None or type is None or not is_float(type.dtype):
        return None
    try:
        node = constant(leaf, type.dtype) if _is_number(leaf) else as_node(leaf)
    except (TypeError, ValueError):
        raise InputError(
            f"{who} holds {kind_text(leaf)}, which is no expression."
        ) from None
    if node.dtype != type.dtype:
        raise DTypeError(
            f"{who} has {node.label()}{made_at(node.origin)} where dtype "
            f"{type.dtype.name} is needed. Convert it with "
            f"astype({type.dtype.name!r})."
        )
    if node.ndim != len(type.shape) or any(
        sizes.unify(a, b) is None for a, b in zip(node.shape, type.shape)
    ):
        raise ShapeError(
            f"{who} has {node.label()}{made_at(node.origin)} where the shape "
            f"{shape_text(type.shape)} is needed."
        )
    return node


def kind_text(value: Any) -> str:
    """Return what a value is, for a message."""
    if isinstance(value, Node):
        return value.label()
    return f"a value of type {type(value).__name__}"


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, (int, float)) and not isinstance(leaf, bool)


def _zero_tangent(leaf: Any) -> Any:
    if not isinstance(leaf, Node):
        return 0.0
    if is_float(leaf.dtype):
        return zeros_like(leaf)
    return full(leaf.shape, 0, dtypes.float32)
