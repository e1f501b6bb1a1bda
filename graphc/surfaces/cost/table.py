"""Tables of results, as text, Markdown and HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

Rows = Sequence[Sequence[Any]]


class Table:
    """A report that is one table: prints as text, Markdown and HTML."""

    @property
    def head(self) -> Sequence[str]:
        """The names of the columns."""
        raise NotImplementedError

    def cells(self) -> Rows:
        """Return the rows."""
        raise NotImplementedError

    def __str__(self) -> str:
        return text_table(self.head, self.cells())

    def __repr__(self) -> str:
        return str(self)

    def to_markdown(self) -> str:
        """Return the table in Markdown."""
        return markdown_table(self.head, self.cells())

    def _repr_html_(self) -> str:
        return html_table(self.head, self.cells())


def text_table(head: Sequence[str], rows: Rows) -> str:
    """Return aligned columns, numbers to the right."""
    cells = [list(head), *([cell(v) for v in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    right = [_numeric([row[i] for row in rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            t.rjust(w) if r else t.ljust(w) for t, w, r in zip(row, widths, right)
        ).rstrip()
        for row in cells
    )


def markdown_table(head: Sequence[str], rows: Rows) -> str:
    """Return a table in GitHub's Markdown."""
    right = [_numeric([row[i] for row in rows]) for i in range(len(head))]
    lines = [head, ["---:" if r else "---" for r in right]]
    lines += [[_escaped(cell(v)) for v in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def html_table(head: Sequence[str], rows: Rows, caption: str = "") -> str:
    """Return a table element; text is escaped."""
    right = [_numeric([row[i] for row in rows]) for i in range(len(head))]
    style = [
        'style="text-align:right"' if r else 'style="text-align:left"' for r in right
    ]
    out = ["<table>"]
    if caption:
        out.append(f"<caption>{html.escape(caption)}</caption>")
    for tag, values in (("th", [head]), ("td", rows)):
        for row in values:
            inner = "".join(
                f"<{tag} {s}>{html.escape(cell(v))}</{tag}>" for v, s in zip(row, style)
            )
            out.append(f"<tr>{inner}</tr>")
    return "".join([*out, "</table>"])


def cell(value: Any) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}" if math.isfinite(value) else str(value)
    return str(value)


def seconds(value: float | None) -> str:
    """Return a time with its unit."""
    if value is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def scaled(value: float | None, unit: str) -> str:
    """Return a number with a prefix of thousands and its unit."""
    if value is None:
        return "-"
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _escaped(text: str) -> str:
    text = html.escape(text, quote=False).replace("|", "\\|")
    return text.replace("*", "\\*").replace("_", "\\_").replace("\n", " ")


def _numeric(values: Sequence[Any]) -> bool:
    return all(
        v is None or (isinstance(v, (int, float)) and not isinstance(v, bool))
        for v in values
    )
