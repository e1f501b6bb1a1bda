"""Graphs in Graphviz's language, for those who have it and for other programs."""

from __future__ import annotations

from graphc.surfaces.draw.diagram import Diagram
from graphc.surfaces.draw.places import Cluster, clusters
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
    _add_clusters(out, clusters(diagram.nodes))
    for number, box in enumerate(diagram.boxes):
        style = STYLES[box.kind]
        label = "\\n".join(_quoted(t) for t in (box.title, *box.details))
        rings = ", peripheries=2" if box.is_output else ""
        out.append(
            f'  n{number} [label="{label}", tooltip="{_quoted(box.hint)}", '
            f'{SHAPES[box.kind]}, fillcolor="{style.fill}", color="{style.border}"'
            f"{rings}];"
        )
    for edge, mark in zip(diagram.edges, diagram.marks):
        color = STYLES[diagram.boxes[edge.source].kind].edge
        numbers = "\\n".join(_quoted(m) for m in mark if m)
        label = f', headlabel="{numbers}"' if numbers else ""
        out.append(f'  n{edge.source} -> n{edge.target} [color="{color}"{label}];')
    out.append("}")
    return "\n".join(out) + "\n"


def _add_clusters(out: list[str], root: Cluster) -> None:
    """Write scopes as nested subgraphs that hold the numbers of their boxes."""
    count = 0
    stack: list[tuple[Cluster | None, str]] = [(p, "  ") for p in reversed(root.parts)]
    while stack:
        cluster, indent = stack.pop()
        if cluster is None:
            out.append(f"{indent}}}")
            continue
        out.append(f"{indent}subgraph cluster_{count} {{")
        count += 1
        out.append(
            f'{indent}  label="{_quoted(cluster.label)}"; style="dashed,rounded";'
        )
        if cluster.boxes:
            out.append(f"{indent}  {' '.join(f'n{b};' for b in cluster.boxes)}")
        stack.append((None, indent))
        stack += [(p, indent + "  ") for p in reversed(cluster.parts)]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
