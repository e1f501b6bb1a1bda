"""The formula of an elementwise op as text, read off its sympy rule without sympy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.ops.declare import Elementwise

_RELATIONS = {
    "StrictLessThan": "<",
    "LessThan": "<=",
    "StrictGreaterThan": ">",
    "GreaterThan": ">=",
    "Equality": "==",
    "Unequality": "!=",
}


class Text:
    """A piece of a formula that answers operators with longer pieces."""

    def __init__(self, text: str, atomic: bool = True):
        self.text = text
        self.atomic = atomic

    def bracketed(self) -> str:
        """Return the text, in brackets where an operator follows."""
        return self.text if self.atomic else f"({self.text})"

    def __neg__(self) -> Text:
        return Text(f"-{self.bracketed()}", False)

    def __invert__(self) -> Text:
        return Text(f"~{self.bracketed()}", False)

    def __call__(self, *arguments: Any) -> Text:
        if self.text == "Piecewise":
            (yes, condition), (no, _) = arguments
            return Text(
                f"{_plain(yes)} if {_plain(condition)} else {_plain(no)}", False
            )
        if self.text in _RELATIONS:
            left, right = map(_operand, arguments)
            return Text(f"{left} {_RELATIONS[self.text]} {right}", False)
        return Text(f"{self.text}({', '.join(_plain(a) for a in arguments)})")

    def __getattr__(self, name: str) -> Text:
        if name.startswith("__"):
            raise AttributeError(name)
        return Text(f"{self.text}.{name}")


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_plain(v) for v in value)})"
    return value.text if isinstance(value, Text) else str(value)


def _operand(value: Any) -> str:
    return value.bracketed() if isinstance(value, Text) else str(value)


def _infix(symbol: str) -> tuple[Callable[..., Text], Callable[..., Text]]:
    def forward(self: Text, other: Any) -> Text:
        return Text(f"{self.bracketed()}{symbol}{_operand(other)}", False)

    def backward(self: Text, other: Any) -> Text:
        return Text(f"{_operand(other)}{symbol}{self.bracketed()}", False)

    return forward, backward


for _method, _symbol in {
    "add": " + ",
    "sub": " - ",
    "mul": " * ",
    "truediv": " / ",
    "floordiv": " // ",
    "mod": " % ",
    "pow": "**",
    "and": " & ",
    "or": " | ",
    "xor": " ^ ",
    "lt": " < ",
    "le": " <= ",
    "gt": " > ",
    "ge": " >= ",
}.items():
    _forward, _backward = _infix(_symbol)
    setattr(Text, f"__{_method}__", _forward)
    setattr(Text, f"__r{_method}__", _backward)


class Namespace:
    """Stands for the sympy module: every name in it is a piece of text."""

    def __getattr__(self, name: str) -> Text:
        if name.startswith("__"):
            raise AttributeError(name)
        return Text(name)


def formula(op: Elementwise, names: Sequence[str]) -> str:
    """Return the op's formula in its operands' names, ``x + y`` say.

    Falls back to ``name(x, y)`` for a rule that text cannot follow.
    """
    call = f"{op.name}({', '.join(names)})"
    if not callable(op.sympy):
        return f"``{call}``"
    try:
        text = _plain(op.sympy(Namespace(), *(Text(n) for n in names)))
    except (TypeError, AttributeError, ValueError):
        return f"``{call}``"
    return f"``{text}``"
