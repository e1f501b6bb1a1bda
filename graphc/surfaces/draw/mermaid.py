"""Graphs in Mermaid's language, which Markdown pages and issue trackers draw."""

from __future__ import annotations

import re

from graphc.surfaces.draw.diagram import Diagram
from graphc.surfaces.draw.places import Cluster, clusters
from graphc.surfaces.draw.scene import STYLES, TEXT
from graphc.types.errors import DrawError

MAX_EDGES = 500
MAX_CHARACTERS = 50_000
"""Both are what Mermaid draws unless a page's configuration says otherwise."""

SHAPES = {
    "input": ('(["', '"])'),
    "constant": ('["', '"]'),
    "forward": ('("', '")'),
    "backward": ('{{"', '"}}'),
}


def mermaid(diagram: Diagram) -> str:
    """Return a diagram as the text of a .mmd file.

    Raises
    ------
    DrawError
        If Mermaid would refuse to draw it.
    """
    out = ["flowchart TD"]
    for number, box in enumerate(diagram.boxes):
        label = "<br/>".join(_escaped(t) for t in (box.title, *box.details))
        before, after = SHAPES[box.kind]
        kinds = f"{box.kind},output" if box.is_output else box.kind
        out.append(f"  n{number}{before}{label}{after}")
        out.append(f"  class n{number} {kinds}")
    for edge, mark in zip(diagram.edges, diagram.marks):
        numbers = "<br/>".join(_escaped(m) for m in mark if m)
        label = f'|"{numbers}"|' if numbers else ""
        out.append(f"  n{edge.source} -->{label} n{edge.target}")
    _add_clusters(out, clusters(diagram.nodes))
    for kind, style in STYLES.items():
        dash = ",stroke-dasharray:4 3" if style.dash else ""
        out.append(
            f"  classDef {kind} fill:{style.fill},stroke:{style.border},"
            f"color:{TEXT}{dash}"
        )
    out.append("  classDef output stroke-width:4px")
    text = "\n".join(out) + "\n"
    if len(diagram.edges) > MAX_EDGES or len(text) > MAX_CHARACTERS:
        raise DrawError(
            f"draw: {len(diagram.edges)} edges in {len(text):,} characters are too "
            f"many for Mermaid, which takes {MAX_EDGES} in {MAX_CHARACTERS:,}. Write "
            ".svg or .html."
        )
    return text


def _add_clusters(out: list[str], root: Cluster) -> None:
    """Write scopes as nested subgraphs that name their boxes."""
    count = 0
    stack: list[Cluster | None] = [*reversed(root.parts)]
    while stack:
        cluster = stack.pop()
        if cluster is None:
            out.append("  end")
            continue
        out.append(f'  subgraph scope{count}["{_escaped(cluster.label)}"]')
        count += 1
        out += [f"  n{box}" for box in cluster.boxes]
        stack.append(None)
        stack += reversed(cluster.parts)


def _escaped(text: str) -> str:
    """Return text in which all that Mermaid or HTML could read is a character code."""
    return re.sub(r"[^\w ,.()=%:+/-]", lambda m: f"#{ord(m[0])};", text)
