"""Pictures as SVG, written directly."""

from __future__ import annotations

from xml.sax.saxutils import escape

from graphc.surfaces.draw import scene as s
from graphc.surfaces.draw.diagram import Box
from graphc.surfaces.draw.scene import Path, Scene


def svg(scene: Scene) -> str:
    """Return a scene as the text of an SVG file."""
    w, h = scene.width, scene.height
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w:.0f}" height="{h:.0f}" '
        f'viewBox="0 0 {w:.0f} {h:.0f}" font-size="{s.FONT_SIZE:g}" '
        "font-family=\"'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', "
        'monospace" text-anchor="middle">',
    ]
    drawn: set[str] = set()
    for color, route in scene.edges:
        line = (
            f'<path d="{_data(s.edge_path(route))}" fill="none" stroke="{color}" '
            'stroke-width="1.3"/>'
        )
        head = f'<path d="{_data(s.arrow(route))}" fill="{color}"/>'
        for element in (line, head):
            if element not in drawn:
                drawn.add(element)
                out.append(element)
    for box, x, y, width, height in (*scene.boxes, *scene.legend):
        out.append(_box(box, x, y, width, height))
    for mark in scene.marks:
        anchor = "end" if mark.left else "start"
        out.append(
            f'<text x="{mark.x:.1f}" y="{mark.y:.1f}" fill="{mark.color}" '
            f'font-size="{s.MARK_SIZE:g}" style="text-anchor:{anchor}">'
            f"{escape(mark.text)}</text>"
        )
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _box(box: Box, x: float, y: float, w: float, h: float) -> str:
    style = s.STYLES[box.kind]
    dash = ""
    if style.dash:
        dash = f' stroke-dasharray="{style.dash[0]:g} {style.dash[1]:g}"'
    parts = ["<g>"]
    if box.hint:
        parts.append(f"<title>{escape(box.hint)}</title>")
    parts.append(
        f'<path d="{_data(s.outline(box.kind, x, y, w, h))}" fill="{style.fill}" '
        f'stroke="{style.border}" stroke-width="1.3"{dash}/>'
    )
    if box.is_output:
        ring = s.outline(box.kind, *s.ring(x, y, w, h))
        parts.append(
            f'<path d="{_data(ring)}" fill="none" stroke="{style.border}" '
            'stroke-width="1.3"/>'
        )
    for text, ty, is_title in s.lines(box, y):
        weight = ' font-weight="bold"' if is_title else ""
        parts.append(
            f'<text x="{x + w / 2:.1f}" y="{ty:.1f}" fill="{s.TEXT}"{weight} '
            f'xml:space="preserve">{escape(text)}</text>'
        )
    parts.append("</g>")
    return "".join(parts)


def _data(path: Path) -> str:
    return "".join(
        command + " ".join(f"{v:.1f}" for v in numbers) for command, numbers in path
    )
