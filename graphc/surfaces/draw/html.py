"""The HTML viewer: its parts, and a graph's data, put into one file.

The parts are files of `viewer/`; nothing is loaded when the page is opened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

SCRIPTS = (
    *("vendor/dagre.min.js", "model.js", "layout.js", "view.js"),
    *("panel.js", "flow.js", "main.js"),
)


def page(data: Mapping[str, Any], title: str) -> str:
    """Return the whole page.

    Parameters
    ----------
    data : dict
        As `graphc.surfaces.draw.content.content` makes it.
    title : str
    """
    scripts = "\n".join(f"<script>\n{_script(s)}</script>" for s in SCRIPTS)
    licence = _part("vendor/LICENSE.dagre").strip()
    parts = {
        "title": escape(title),
        "style": _part("style.css"),
        "data": embedded(_packed(data)),
        "scripts": f"<!-- dagre:\n{licence}\n-->\n{scripts}",
    }
    out = _part("page.html")
    head, *rest = out.split("{{")
    pieces = [head]
    for piece in rest:  # in one pass: a part that holds braces is not looked into
        name, text = piece.split("}}", 1)
        pieces += [parts[name], text]
    return "".join(pieces)


def _packed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data with each box once: most are the same in many stages."""
    faces: dict[str, int] = {}
    stages = []
    for stage in data["stages"]:
        numbers = [
            faces.setdefault(json.dumps(box), len(faces)) for box in stage["boxes"]
        ]
        stages.append({**stage, "boxes": numbers})
    return {**data, "stages": stages, "faces": [json.loads(f) for f in faces]}


def _script(name: str) -> str:
    # A map of a library's source is not bundled: browsers would look for it.
    return re.sub(r"\n//# sourceMappingURL=.*", "", _part(name))


def embedded(data: Any) -> str:
    """Return data as JSON that no HTML parser reads anything into."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _part(name: str) -> str:
    place = files("graphc.surfaces.draw").joinpath("viewer")
    return place.joinpath(*name.split("/")).read_text(encoding="utf-8")
