"""Graphs as text trees: each output over what it is computed from.

A node that several others use is shown once, with a number, and referred to by that
elsewhere. What lies deep is shown further down, so that no line is indented without
bound, and the text is linear in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from graphc.surfaces.draw.diagram import Diagram
from graphc.types.errors import MissingPackageError

DEPTH = 16
"""Levels, below which a node starts a tree of its own."""
COLORS = {
    "input": "green",
    "constant": "bright_black",
    "forward": "blue",
    "backward": "yellow",
}
"""Of the sixteen that terminals' own themes make legible, light or dark."""


class Line(NamedTuple):
    """A line of a tree.

    Attributes
    ----------
    box : int
        The number of its box.
    depth : int
        0 for the root of a tree.
    last : bool
        Whether it is the last part of what is above it.
    number : int
        By which it is referred to; 0 for none.
    repeated : bool
        Whether it only refers to what is shown elsewhere.
    """

    box: int
    depth: int
    last: bool
    number: int
    repeated: bool


def lines(diagram: Diagram) -> Iterator[Line]:
    """Yield the lines of a diagram's trees, one after the other."""
    parts: list[list[int]] = [[] for _ in diagram.boxes]
    uses = [0] * len(diagram.boxes)
    for edge in diagram.edges:
        parts[edge.target].append(edge.source)
        uses[edge.source] += 1
    roots = [n for n, box in enumerate(diagram.boxes) if box.is_output]
    roots += [
        n for n, box in enumerate(diagram.boxes) if not (box.is_output or uses[n])
    ]
    numbers: dict[int, int] = {}
    shown: set[int] = set()

    def number(box: int) -> int:
        return numbers.setdefault(box, len(numbers) + 1)

    waiting = list(reversed(roots))
    deep: list[int] = []
    while waiting or deep:
        if deep:  # before the next root
            waiting += reversed(deep)
            deep = []
        root = waiting.pop()
        if root in shown and not diagram.boxes[root].is_output:
            continue
        stack = [(root, 0, True)]
        while stack:
            box, depth, last = stack.pop()
            below = parts[box]
            if below and box in shown:
                yield Line(box, depth, last, number(box), True)
                continue
            if below and depth == DEPTH:
                deep.append(box)
                yield Line(box, depth, last, number(box), True)
                continue
            shown.add(box)
            others = uses[box] - (depth > 0)
            shared = bool(below) and (others > 0 or box in numbers)
            yield Line(box, depth, last, number(box) if shared else 0, False)
            stack += [
                (part, depth + 1, place == 0)
                for place, part in enumerate(reversed(below))
            ]


def said(diagram: Diagram, line: Line) -> tuple[str, str, str]:
    """Return the parts of a line's text: its number, its title, and the rest."""
    box = diagram.boxes[line.box]
    number = f"#{line.number} " if line.number else ""
    if line.repeated:
        what = [d for d in box.details if d.startswith("output")]
        return number, box.title, "  ".join([*what, "see there"])
    own = [n for n in diagram.numbers[line.box] if n not in box.details]
    return number, box.title, "  ".join([*box.details, *own])


def text(diagram: Diagram) -> str:
    """Return a diagram as trees of plain text."""
    out = []
    guides: list[str] = []
    for line in lines(diagram):
        del guides[line.depth :]
        head = ""
        if line.depth:
            head = "".join(guides[1:]) + (
                "\N{BOX DRAWINGS LIGHT UP AND RIGHT}\N{BOX DRAWINGS LIGHT HORIZONTAL} "
                if line.last
                else "\N{BOX DRAWINGS LIGHT VERTICAL AND RIGHT}"
                "\N{BOX DRAWINGS LIGHT HORIZONTAL} "
            )
        guides.append("   " if line.last else "\N{BOX DRAWINGS LIGHT VERTICAL}  ")
        number, title, rest = said(diagram, line)
        out.append(f"{head}{number}{title}  {rest}")
    return "\n".join(out)


def rich_trees(diagram: Diagram, most: int | None = None) -> tuple[list[Any], int]:
    """Return trees that `rich` prints in colour, and how many lines were left out.

    Parameters
    ----------
    diagram : Diagram
    most : int, optional
        Lines that are shown.

    Raises
    ------
    MissingPackageError
        If rich is not installed.
    """
    try:
        from rich.text import Text
        from rich.tree import Tree
    except ImportError as error:
        raise MissingPackageError(
            "a tree in colour needs rich: pip install 'graphc[terminal]'. Without it, "
            "the tree is plain text."
        ) from error
    trees: list[Any] = []
    above: list[Any] = []
    left_out = 0
    for place, line in enumerate(lines(diagram)):
        if most is not None and place >= most:
            left_out += 1
            continue
        number, title, rest = said(diagram, line)
        box = diagram.boxes[line.box]
        label = Text(no_wrap=True, overflow="ellipsis")
        label.append(number, "bold magenta")
        style = COLORS[box.kind] + (" dim" if line.repeated else " bold")
        label.append(title, style)
        label.append(f"  {rest}", "dim")
        del above[line.depth :]
        tree = above[-1].add(label) if above else Tree(label, guide_style="dim")
        if not above:
            trees.append(tree)
        above.append(tree)
    return trees, left_out
