"""Errors of a user's mistake at an op, and how an op's call is written."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.graph.node import Node
from graphc.graph.origin import current_origin
from graphc.types.errors import DTypeError, ShapeError, made_at


def operand_text(args: Sequence[Node]) -> str:
    """Return operands for a message: names, types and where each was made."""
    return ", ".join(f"{a.label()}{made_at(a.origin)}" for a in args)


UNNAMED = "\N{MIDDLE DOT}"
"""Stands in a label for an argument that has neither a name nor a short value."""


def call_text(
    name: str, words: Sequence[str | None], params: Sequence[str] = ()
) -> str:
    """Return a call as it is written; just the name where it would tell no more."""
    shown = [w or UNNAMED for w in words] if any(words) else []
    shown += params
    return f"{name}({', '.join(shown)})" if shown else name


def operand_word(word: str | None) -> str:
    """Return what stands for an operand of an operator, in brackets if it has one."""
    if word is None:
        return UNNAMED
    plain = word.replace(".", "").replace("_", "").isalnum() or word.endswith("]")
    return word if plain else f"({word})"


def shape_error(
    op: str, args: Sequence[Node], rule: str, remedy: str = ""
) -> ShapeError:
    """Return a `ShapeError` that names op, operands, rule, place and remedy."""
    text = f"{op}: {rule} Operands: {operand_text(args)}."
    return ShapeError(_with_place(text, remedy))


def dtype_error(
    op: str, args: Sequence[Node], rule: str, remedy: str = ""
) -> DTypeError:
    """Return a `DTypeError` that names op, operands, rule, place and remedy."""
    text = f"{op}: {rule}"
    if args:
        text += f" Operands: {operand_text(args)}."
    return DTypeError(_with_place(text, remedy))


def _with_place(text: str, remedy: str) -> str:
    place = made_at(current_origin())
    return f"{text}{' The failing call was' + place + '.' if place else ''}" + (
        f" {remedy}" if remedy else ""
    )
