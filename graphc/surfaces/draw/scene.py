"""Geometry and colours shared by the picture formats.

Colours are tints and shades of Okabe and Ito's palette, which colour-blind readers
can tell apart; kinds differ in shape too. Boxes are filled and their text is dark, and
lines are of medium grey, so a picture reads on light and on dark paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from graphc.surfaces.draw.diagram import Box, Diagram, columns
from graphc.surfaces.draw.layout import Layout, Point, layered

FONT_SIZE = 12.0
LINE_HEIGHT = 15.0
COLUMN = 0.605 * FONT_SIZE
"""Width of a character: of a fixed-width font, so boxes fit without measuring."""
PADDING = (12.0, 6.0)
MARGIN = 16.0
ARROW = (3.2, 7.0)
MARK_SIZE = 10.0
MARK_ROOM = (14.0, 24.0)
"""Beside and above boxes, where numbers stand at the ends of edges."""
TEXT = "#1a1a1a"
VALUE = "#2878b5"
GRADIENT = "#c05a10"
"""Of numbers, which lie on the paper: readable on light and on dark."""
LINE = "#767676"
CUT = 9.0

Path = list[tuple[str, tuple[float, ...]]]


@dataclass(frozen=True)
class Style:
    """How a kind of box is drawn."""

    fill: str
    border: str
    edge: str
    dash: tuple[float, float] | None = None


STYLES = {
    "input": Style("#c6eadd", "#00694c", LINE),
    "constant": Style("#e6e6e6", "#5a5a5a", LINE, (4.0, 3.0)),
    "forward": Style("#d3e9f8", "#00568a", LINE),
    "backward": Style("#fde2bd", "#b34700", "#c95a00"),
}


class Mark(NamedTuple):
    """A number at the end of an edge; `left` of it or right."""

    text: str
    x: float
    y: float
    color: str
    left: bool


@dataclass(frozen=True)
class Scene:
    """A diagram with every box and edge in its place, the margin included."""

    boxes: Sequence[tuple[Box, float, float, float, float]]
    """Box, left, top, width, height."""
    edges: Sequence[tuple[str, list[Point]]]
    """Colour and route."""
    marks: Sequence[Mark]
    legend: Sequence[tuple[Box, float, float, float, float]]
    width: float
    height: float


def box_size(box: Box) -> tuple[float, float]:
    """Return width and height of a box."""
    return text_size(box.kind, (box.title, *box.details))


def text_size(kind: str, texts: Sequence[str]) -> tuple[float, float]:
    """Return width and height of a box of a kind around lines of text."""
    longest = max(columns(t) for t in texts)
    lines = len(texts)
    slant = 2 * CUT if kind in ("input", "backward") else 0.0
    return (
        longest * COLUMN + 2 * PADDING[0] + slant,
        lines * LINE_HEIGHT + 2 * PADDING[1],
    )


def compose(diagram: Diagram) -> Scene:
    """Return the scene of a diagram."""
    sizes = [box_size(b) for b in diagram.boxes]
    layout: Layout = layered(
        [w for w, _ in sizes],
        [h for _, h in sizes],
        diagram.edges,
        MARK_ROOM if any(map(any, diagram.marks)) else (0.0, 0.0),
    )
    boxes = [
        (box, x - w / 2 + MARGIN, y - h / 2 + MARGIN, w, h)
        for box, (w, h), (x, y) in zip(diagram.boxes, sizes, layout.centers)
    ]
    edges = [
        (
            STYLES[diagram.boxes[e.source].kind].edge,
            [(x + MARGIN, y + MARGIN) for x, y in route],
        )
        for e, route in zip(diagram.edges, layout.routes)
    ]
    marks = [
        mark
        for edge, (_, route), texts in zip(diagram.edges, edges, diagram.marks)
        for mark in _marks(edge.port, route[-1], texts)
    ]
    legend, width, height = _legend(diagram, layout.height + 2 * MARGIN)
    width = max(layout.width + 2 * MARGIN, width)
    return Scene(boxes, edges, marks, legend, width, height)


def _marks(port: float, end: Point, texts: tuple[str, str]) -> list[Mark]:
    """Return what flows along an edge over what flows back, beside its end."""
    left = port < 0.5
    x = end[0] + (-5.0 if left else 5.0)
    lines = ((texts[0], VALUE, 20.0), (texts[1], GRADIENT, 9.0))
    return [Mark(text, x, end[1] - y, c, left) for text, c, y in lines if text]


def _goes_back(diagram: Diagram) -> bool:
    return any(back for _, back in diagram.marks)


def _legend(
    diagram: Diagram, top: float
) -> tuple[list[tuple[Box, float, float, float, float]], float, float]:
    kinds = {b.kind for b in diagram.boxes}
    shown = [Box(k, k, (), False, "") for k in STYLES if k in kinds]
    if any(b.is_output for b in diagram.boxes):
        shown.append(Box("forward", "output: double border", (), True, ""))
    if any(map(any, diagram.marks)):
        details = ("over the gradient that flows back",) if _goes_back(diagram) else ()
        shown.append(Box("constant", "at an edge: its value", details, False, ""))
    placed = []
    x, tallest = MARGIN, 0.0
    for box in shown:
        w, h = box_size(box)
        placed.append((box, x, top, w, h))
        x, tallest = x + w + 8.0, max(tallest, h)
    return placed, x - 8.0 + MARGIN, top + tallest + MARGIN


# ----------------------------------------------------------------------- paths


def outline(kind: str, x: float, y: float, w: float, h: float) -> Path:
    """Return the border of a box: its shape tells its kind."""
    if kind == "constant":
        return _polygon([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
    if kind == "backward":
        m = y + h / 2
        return _polygon(
            [
                (x + CUT, y),
                (x + w - CUT, y),
                (x + w, m),
                (x + w - CUT, y + h),
                (x + CUT, y + h),
                (x, m),
            ]
        )
    return _rounded(x, y, w, h, h / 2 if kind == "input" else 5.0)


def _polygon(points: Sequence[Point]) -> Path:
    first, *rest = points
    return [("M", first), *(("L", p) for p in rest), ("Z", ())]


def _rounded(x: float, y: float, w: float, h: float, r: float) -> Path:
    r = min(r, w / 2, h / 2)
    k = r * 0.4477  # the control points of a quarter circle
    right, bottom = x + w, y + h
    return [
        ("M", (x + r, y)),
        ("L", (right - r, y)),
        ("C", (right - k, y, right, y + k, right, y + r)),
        ("L", (right, bottom - r)),
        ("C", (right, bottom - k, right - k, bottom, right - r, bottom)),
        ("L", (x + r, bottom)),
        ("C", (x + k, bottom, x, bottom - k, x, bottom - r)),
        ("L", (x, y + r)),
        ("C", (x, y + k, x + k, y, x + r, y)),
        ("Z", ()),
    ]


def edge_path(route: Sequence[Point]) -> Path:
    """Return a route as a line: straight through layers, curved through gaps."""
    path: Path = [("M", route[0])]
    last = len(route) - 1
    for i in range(1, len(route)):
        (x0, y0), (x1, y1) = route[i - 1], route[i]
        if i == last:
            y1 -= ARROW[1] * 0.8  # under the arrow's head
        if i % 2 or x0 == x1:
            path.append(("L", (x1, y1)))
        else:
            m = (y0 + y1) / 2
            path.append(("C", (x0, m, x1, m, x1, y1)))
    return path


def arrow(route: Sequence[Point]) -> Path:
    """Return the head of an edge."""
    x, y = route[-1]
    w, h = ARROW
    return _polygon([(x, y), (x - w, y - h), (x + w, y - h)])


def ring(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
    """Return the second, inner border of an output."""
    return x + 3, y + 3, w - 6, h - 6


def lines(box: Box, top: float) -> list[tuple[str, float, bool]]:
    """Return the texts of a box, their baselines, and which is the title."""
    first = top + PADDING[1] + 0.76 * LINE_HEIGHT
    return [
        (text, first + number * LINE_HEIGHT, number == 0)
        for number, text in enumerate((box.title, *box.details))
    ]
