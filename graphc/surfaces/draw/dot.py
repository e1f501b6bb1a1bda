"""Graphs in Graphviz's language, for those who have it and for other programs."""

from __future__ import annotations

from graphc.surfaces.draw.diagram import Diagram
from graphc.surfaces.draw.scene import STYLES

SHAPES = {
    "input": 'shape=box, style="filled,rounded"',
    "constant": 'shape=box, style="filled,dashed"',
    "forward": 'shape=box, style="filled"',
    "backward": 'shape=hexagon, style="filled"',
}


def dot(diagram: Diagram) -> str:
    """Return a diagram as the text of a .dot file."""
    out = [
        "digraph graphc {",
        '  node [fontname="DejaVu Sans Mono", fontsize=11, fontcolor="#1a1a1a"];',
        '  edge [color="#767676"];',
        "  ordering=in;",
    ]
    for number, box in enumerate(diagram.boxes):
        style = STYLES[box.kind]
        label = "\\n".join(_quoted(t) for t in (box.title, *box.details))
        rings = ", peripheries=2" if box.is_output else ""
        out.append(
            f'  n{number} [label="{label}", tooltip="{_quoted(box.hint)}", '
            f'{SHAPES[box.kind]}, fillcolor="{style.fill}", color="{style.border}"'
            f"{rings}];"
        )
    for edge in diagram.edges:
        color = STYLES[diagram.boxes[edge.source].kind].edge
        out.append(f'  n{edge.source} -> n{edge.target} [color="{color}"];')
    out.append("}")
    return "\n".join(out) + "\n"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
