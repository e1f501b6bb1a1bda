"""Formulas as a table shows them: long parts have a number, and a line of their own."""

from __future__ import annotations

from typing import Any

from graphc.types import sizes
from graphc.types.sizes import Atom, Dim, SizeLike

LONG = 16
"""Characters of a part that may stay where it is."""

WHOLE = 64
"""Characters of a part that is explained in one line."""

MOST = 12
"""Parts that are explained."""


class Abbreviations:
    """Numbers long parts of formulas, such as how many chunks a kernel has."""

    def __init__(self) -> None:
        self._names: dict[Atom, str] = {}

    def short(self, value: Any) -> Any:
        """Return a value; a formula with numbers in place of long parts."""
        if not isinstance(value, sizes.Size):
            return value
        return str(sizes.substitute(value, self._named))

    def _named(self, atom: Atom) -> SizeLike | None:
        if isinstance(atom, Dim) or len(self._text(atom)) <= LONG:
            return None
        name = self._names.setdefault(atom, f"#{len(self._names) + 1}")
        return sizes.of_atom(Dim(name))

    @staticmethod
    def _text(atom: Atom) -> str:
        text = str(atom)
        # one that has only a number for a text is explained too
        return text if not text.startswith("level") else " " * (LONG + 1)

    def lines(self) -> list[str]:
        """Return what the numbers stand for."""
        out: list[str] = []
        done = 0
        while done < len(self._names):
            if done == MOST:
                left = len(self._names) - done
                out.append(f"and {left} more: give sizes to see numbers")
                break
            atom, name = list(self._names.items())[done]
            done += 1
            text = str(atom)
            split = len(self._text(atom)) > WHOLE or text.startswith("level")
            if split and isinstance(atom, sizes.Function):
                parts = [str(self.short(p)) for p in (atom.left, atom.right)]
                text = f"{atom.name}({', '.join(parts)})"
                if atom.name in ("//", "%"):
                    text = f" {atom.name} ".join(f"({part})" for part in parts)
            out.append(f"{name} = {text}")
        return out
