"""`draw`: the one function that users call, and the `Picture` it returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.surfaces.draw.diagram import Diagram, diagram, graph_of
from graphc.surfaces.draw.files import write_atomically
from graphc.surfaces.draw.scene import MAX_BOXES, Scene, compose
from graphc.types.errors import DrawError


class Picture:
    """A graph as text and as a picture; notebooks show the picture.

    Attributes
    ----------
    graph : Graph
    """

    def __init__(
        self,
        graph: Graph,
        output_names: list[str] | None = None,
        forward: list[Node] | None = None,
        notes: Mapping[Node, str] | None = None,
    ):
        self.graph = graph
        self._diagram: Diagram = diagram(graph, output_names, forward, notes)

    @cached_property
    def _scene(self) -> Scene:
        return compose(self._diagram)

    @property
    def text(self) -> str:
        """The graph as text: one line per node, in topological order."""
        return str(self.graph)

    @property
    def dot(self) -> str:
        """The picture in Graphviz's language."""
        from graphc.surfaces.draw.dot import dot

        return dot(self._diagram)

    @property
    def svg(self) -> str:
        """The picture as SVG."""
        from graphc.surfaces.draw.svg import svg

        return svg(self._scene)

    @property
    def png(self) -> bytes:
        """The picture as PNG; needs matplotlib."""
        from graphc.surfaces.draw.png import png

        return png(self._scene)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture in the format that the file's suffix names.

        Raises
        ------
        DrawError
            If the suffix is unknown or the file cannot be written.
        MissingPackageError
            If the format needs a package that is not installed.
        """
        path = Path(path)
        render = FORMATS.get(path.suffix.lower())
        if render is None:
            given = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
            raise DrawError(
                f"draw: {path.name} has {given}; a picture's format is chosen by one "
                f"of {', '.join(FORMATS)}."
            )
        write_atomically(path, render(self))
        return path

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Picture of {self.graph!r}>"

    def _repr_svg_(self) -> str | None:
        return self.svg if len(self._diagram.boxes) <= MAX_BOXES else None


FORMATS: dict[str, Callable[[Picture], bytes]] = {
    ".svg": lambda p: p.svg.encode(),
    ".png": lambda p: p.png,
    ".dot": lambda p: p.dot.encode(),
    ".txt": lambda p: (p.text + "\n").encode(),
}


def draw(
    subject: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    forward: Any = None,
    notes: Mapping[Node, str] | None = None,
) -> Picture:
    """Draw a graph.

    Each box says what it computes, with the names given by the user, and its type.
    Inputs, constants, forward and backward nodes differ in shape and colour; outputs
    have a double border. Edges enter a box from left to right in the order of the
    arguments. No Graphviz is needed.

    Parameters
    ----------
    subject : expression, nested containers of expressions, compiled function, Graph
    path : str or path, optional
        Where to write it. The suffix chooses the format: ``.svg``, ``.png`` (needs
        matplotlib), ``.dot``, ``.txt``. A file is written whole or not at all.
    forward : expression or nested containers of expressions, optional
        What these need is drawn as the forward part, everything else as backward.
        By default that is the first scalar output, if there are several outputs: a
        loss before its gradients.
    notes : mapping of expression to str, optional
        A further line in the boxes of these expressions, such as a value.

    Returns
    -------
    Picture
        It displays itself in a notebook; ``print`` shows the graph as text.

    Raises
    ------
    DrawError
        If `subject` is not drawable, has more than 2,000 nodes (``.svg`` and
        ``.png`` only), or the file cannot be written.
    MissingPackageError
        For ``.png`` without matplotlib.

    Examples
    --------
    >>> import graphc as cg
    >>> x = cg.vector("x", "n")
    >>> print(cg.draw(x * 2))
    x: float64(n,) = input()
    %1: float64() = constant(value=2.0)
    %2: float64(n,) = multiply(x, %1)
    return %2
    """
    from graphc.expressions.containers import flatten_expressions

    graph, names = graph_of(subject)
    chosen = None
    if forward is not None:
        chosen, _ = flatten_expressions(forward, "forward")
    picture = Picture(graph, names, chosen, notes)
    if path is not None:
        picture.save(path)
    return picture
