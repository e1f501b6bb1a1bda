"""Which argument of a call is for which input: by position, by name, in containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.expressions.containers import Structure
from graphc.graph.node import Node
from graphc.types.errors import InputError


class Signature:
    """The inputs of a function, and the containers that its calls give them in.

    Attributes
    ----------
    nodes : tuple of Node
    structure : Structure
        Of the list of inputs that `graphc.compile` was given.
    nested : bool
        Whether arguments are more than one array for each.
    """

    def __init__(self, nodes: Sequence[Node], structure: Structure):
        self.nodes = tuple(nodes)
        self.structure = structure
        self.nested = structure.kind not in (list, tuple) or any(
            c.kind is not None for c in structure.children
        )

    def leaves(self, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """Return what was given for each input, in order.

        Raises
        ------
        InputError
            If something is missing, unknown, given twice, or of another structure.
        """
        count = (
            1 if self.structure.kind not in (list, tuple) else len(self.structure.keys)
        )
        given = list(args)
        if named:
            given = self._with_names(given, named, count)
        if len(given) != count:
            raise InputError(
                f"{count} inputs are needed, {len(given)} were given. The inputs are "
                f"{self.text()}."
            )
        if not self.nested:
            return given
        if self.structure.kind not in (list, tuple):
            return self.structure.flatten_like(given[0], "argument 0")
        leaves: list[Any] = []
        for position, (child, value) in enumerate(zip(self.structure.children, given)):
            leaves += child.flatten_like(value, f"argument {position}")
        return leaves

    def _with_names(
        self, given: list[Any], named: Mapping[str, Any], count: int
    ) -> list[Any]:
        slots = {}
        offset = 0
        children = (
            self.structure.children if self.structure.children else (self.structure,)
        )
        for position, child in enumerate(children):
            if child.kind is None:
                slots[self.nodes[offset].name] = position
            offset += child.count
        missing = object()
        full = given + [missing] * (count - len(given))
        for name, value in named.items():
            if sum(n.name == name for n in self.nodes) > 1:
                raise InputError(
                    f"more than one input is named {name!r}: give them by position. "
                    f"The inputs are {self.text()}."
                )
            if name not in slots:
                raise InputError(
                    f"unknown input {name!r}; the inputs are {self.text()}."
                )
            if slots[name] < len(given):
                raise InputError(f"input {name!r} is given by position and by name.")
            full[slots[name]] = value
        left = [str(n) for n, p in slots.items() if full[p] is missing]
        if left or any(v is missing for v in full):
            raise InputError(
                f"missing inputs: {', '.join(left) or 'a nested one'}; the inputs are "
                f"{self.text()}."
            )
        return full

    def arguments(self, leaves: Sequence[Any]) -> list[Any]:
        """Return the arguments of a call from one thing for each input, in order."""
        tree = self.structure.unflatten(leaves)
        return list(tree) if self.structure.kind in (list, tuple) else [tree]

    def text(self) -> str:
        """Return the inputs for a message."""
        return ", ".join(n.label() for n in self.nodes) or "none"
