"""Which part of the user's program each node is from: lines, scopes, functions."""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterable
from typing import Any

from graphc.graph.node import Node
from graphc.graph.origin import Origin, Scope, function_of, passage_of, scopes_of
from graphc.graph.text import printable
from graphc.surfaces.draw.diagram import shorten

MAX_PASSAGE = 300
"""Characters of what the user wrote that are shown for a node."""


class Places:
    """Lines and scopes, numbered as they are met.

    Attributes
    ----------
    lines : list of dict
        ``file``, ``line`` and ``text``.
    scopes : list of dict
        ``name``; ``parent``, the number of the scope around it, if there is one;
        ``function``, true for a function of the user's, which stands for a scope where
        none is given.
    """

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.scopes: list[dict[str, Any]] = []
        self._lines: dict[Origin, int] = {}
        self._scopes: dict[Scope | str, int] = {}
        self._equal: dict[tuple[int | None, str], int] = {}

    def line(self, node: Node) -> int | None:
        """Return the number of the line that made a node, None if it is not known."""
        origin = node.origin
        if origin is None:
            return None
        found = self._lines.get(origin)
        if found is None:
            found = self._lines[origin] = len(self.lines)
            file, line = origin
            text = linecache.getline(file, line).strip() or _text(node)
            self.lines.append(
                {
                    "file": printable(os.path.basename(file)),
                    "line": line,
                    "text": shorten(printable(text)),
                }
            )
        return found

    def passage(self, node: Node) -> str:
        """Return the user's expression that made a node, empty if it is not known."""
        return printable(_text(node)[:MAX_PASSAGE])

    def scope(self, node: Node, functions: bool = True) -> int | None:
        """Return the number of a node's scope, or of its function's; None for neither.

        Inputs count to a scope only, for functions often make those of all parts.
        """
        site = node.site
        if site is None:
            return None
        if site[2] is None:
            name = function_of(site) if functions and node.args else ""
            return self._number(name, name + "()", None) if name else None
        number = None
        for part in scopes_of(site):
            number = self._number(part, part.name, number)
        return number

    def _number(self, key: Scope | str, name: str, parent: int | None) -> int:
        found = self._scopes.get(key)
        if found is None:
            found = self._scopes[key] = len(self.scopes)
            twin = self._equal[parent, name] = self._equal.get((parent, name), 0) + 1
            label = shorten(printable(name) + (f" ({twin})" if twin > 1 else ""))
            row: dict[str, Any] = {"name": label}
            if parent is not None:
                row["parent"] = parent
            if isinstance(key, str):
                row["function"] = True
            self.scopes.append(row)
        return found


def _text(node: Node) -> str:
    return "" if node.site is None else passage_of(node.site).text


class Cluster:
    """A scope as pictures draw it, around boxes and further clusters.

    Attributes
    ----------
    label : str
    boxes : list of int
    parts : list of Cluster
    """

    def __init__(self, label: str):
        self.label = label
        self.boxes: list[int] = []
        self.parts: list[Cluster] = []


def clusters(nodes: Iterable[Node]) -> Cluster:
    """Return the scopes that users gave, as a tree; its root has no label."""
    places = Places()
    root = Cluster("")
    made: list[Cluster] = []
    for box, node in enumerate(nodes):
        number = places.scope(node, functions=False)
        for row in places.scopes[len(made) :]:  # parents come before their parts
            cluster = Cluster(row["name"])
            outer = made[row["parent"]] if "parent" in row else root
            outer.parts.append(cluster)
            made.append(cluster)
        (root if number is None else made[number]).boxes.append(box)
    return root
