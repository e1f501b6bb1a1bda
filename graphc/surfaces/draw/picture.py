"""`draw`: the one function that users call, and the `Picture` it returns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.graph.origin import passage_of
from graphc.graph.text import printable
from graphc.surfaces.draw.diagram import Diagram, diagram, graph_of, shorten
from graphc.surfaces.draw.files import write_atomically
from graphc.surfaces.draw.formats import FORMATS, rendered
from graphc.surfaces.draw.scene import Scene, compose
from graphc.types.errors import DrawError

if TYPE_CHECKING:
    from graphc.runtime.function import Function

NOTEBOOK_BOXES = 300
"""Nodes above which a notebook is given the viewer, not a picture."""


class Picture:
    """A graph as text and as a picture; notebooks show the picture.

    Attributes
    ----------
    graph : Graph
    diagram : Diagram
        What is drawn: boxes and edges.
    """

    def __init__(
        self,
        graph: Graph,
        output_names: list[str] | None = None,
        forward: list[Node] | None = None,
        notes: Mapping[Node, str] | None = None,
        at: Mapping[Node, Any] | None = None,
        sizes: Mapping[str, int] | None = None,
        function: Function | None = None,
    ):
        self.graph = graph
        self._output_names = output_names
        self._sizes = dict(sizes or {})
        self._function = function
        self._source = graph if function is None else function.original
        self._flow = here = None
        if at is not None:
            from graphc.surfaces.draw.propagation import propagate

            self._flow = here = propagate(self._source, at)
            if function is not None:
                here = propagate(graph, at)
        self.diagram: Diagram = diagram(graph, output_names, forward, notes, here)
        # The viewer begins with what was written, and has its own place for numbers.
        self._first = self.diagram
        if function is not None:
            self._first = diagram(self._source, output_names)
        elif here is not None:
            self._first = diagram(graph, output_names, forward, notes)

    @cached_property
    def scene(self) -> Scene:
        """Every box and edge in its place."""
        return compose(self.diagram)

    @cached_property
    def content(self) -> dict[str, Any]:
        """What the HTML viewer shows, as data."""
        from graphc.surfaces.draw.content import content

        return content(
            self._source,
            self._first,
            self._output_names,
            self._sizes,
            self._flow,
            self._function,
        )

    def boxes(self, suffix: str) -> int:
        """Return how many boxes a format would have to show."""
        return len((self._first if suffix == ".html" else self.diagram).boxes)

    @property
    def title(self) -> str:
        """A line that says what is drawn."""
        outputs = self._source.outputs
        given = self._output_names or [""] * len(outputs)
        names = [o.name or n for o, n in zip(outputs, given)]
        names = [n for n in names if n and not n.startswith("[")]
        more = ", \N{HORIZONTAL ELLIPSIS}" if len(names) > 3 else ""
        if not names:  # what the user wrote
            names = [passage_of(o.site).text for o in outputs[:1] if o.site]
        return shorten(printable(", ".join(names[:3]) + more)) or "graph"

    @property
    def text(self) -> str:
        """The graph as text: one line per node, in topological order."""
        return str(self.graph)

    @property
    def tree(self) -> str:
        """The graph as a text tree: outputs over what they are computed from."""
        return rendered(self, ".txt").decode().rstrip("\n")

    @property
    def dot(self) -> str:
        """The picture in Graphviz's language."""
        return rendered(self, ".dot").decode()

    @property
    def mermaid(self) -> str:
        """The picture in Mermaid's language."""
        return rendered(self, ".mmd").decode()

    @property
    def svg(self) -> str:
        """The picture as SVG."""
        return rendered(self, ".svg").decode()

    @property
    def html(self) -> str:
        """The viewer: one page that needs no other file and no network."""
        return rendered(self, ".html").decode()

    @property
    def png(self) -> bytes:
        """The picture as PNG; needs matplotlib."""
        return rendered(self, ".png")

    @property
    def pdf(self) -> bytes:
        """The picture as PDF; needs matplotlib."""
        return rendered(self, ".pdf")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture in the format that the file's suffix names.

        Raises
        ------
        DrawError
            If the suffix is unknown, if the format takes fewer nodes, or if the file
            cannot be written.
        MissingPackageError
            If the format needs a package that is not installed.
        """
        path = Path(path)
        write_atomically(path, rendered(self, path.suffix))
        return path

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Picture of {self.graph!r}>"

    def _repr_svg_(self) -> str | None:
        return self.svg if len(self.diagram.boxes) <= NOTEBOOK_BOXES else None

    def _repr_html_(self) -> str | None:
        """Return the viewer, where a picture would be too large to read."""
        most = FORMATS[".html"].most or 0
        if not NOTEBOOK_BOXES < len(self.diagram.boxes) <= most:
            return None
        return (
            '<iframe style="width: 100%; height: 640px; border: 1px solid #888" '
            f'sandbox="allow-scripts" srcdoc="{escape(self.html)}"></iframe>'
        )


def draw(
    subject: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    forward: Any = None,
    notes: Mapping[Node, str] | None = None,
    at: Mapping[Any, Any] | list[Any] | tuple[Any, ...] | None = None,
    sizes: Mapping[str, int] | None = None,
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
        Where to write it. The suffix chooses the format: ``.svg``; ``.html`` (a
        viewer to search, fold and step through); ``.png`` and
        ``.pdf`` (which need matplotlib); ``.mmd`` (Mermaid), ``.dot`` (Graphviz);
        ``.graphml``, ``.json``, ``.txt`` (a tree). It is written whole or not at all.
    forward : expression or nested containers of expressions, optional
        What these need is drawn as the forward part, everything else as backward.
        By default that is the first scalar output, if there are several outputs: a
        loss before its gradients.
    notes : mapping of expression to str, optional
        A further line in the boxes of these expressions, such as a value.

    at : dict of input to array, or list or tuple of arrays, optional
        A value for each input; keys may be names, and a list or a tuple holds the
        arguments of a call of a compiled function. Pictures then show the values of
        nodes, and the gradients of the first scalar output, at the ends of edges where
        they are short. The ``.html`` viewer plays them, and colours by time: the steps
        of a call are timed (`Function.profile`); an expression is compiled for that.
    sizes : dict of str to int, optional
        Values of symbolic sizes by which the ``.html`` viewer colours costs; those
        left out are as in `at`, or else taken as 100.

    Returns
    -------
    Picture
        It displays itself in a notebook; ``print`` shows the graph as text.

    Raises
    ------
    DrawError
        If `subject` is not drawable, the suffix is unknown, the graph has more nodes
        than the format takes (the message says which takes it), or the file cannot
        be written.
    MissingPackageError
        For ``.png`` and ``.pdf`` without matplotlib.

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
    function = _function(subject)
    if isinstance(at, (list, tuple)):
        if function is None:
            raise DrawError(
                "draw: at= is a list of arguments, and what is drawn is no compiled "
                "function. Give a dictionary {input: array}."
            )
        signature = function._signature
        at = dict(zip(signature.nodes, signature.leaves(at, {})))
    picture = Picture(graph, names, chosen, notes, at, sizes, function)
    if path is not None:
        picture.save(path)
    return picture


def _function(subject: Any) -> Function | None:
    if isinstance(subject, (Node, Graph)) or not hasattr(subject, "original"):
        return None
    from graphc.runtime.function import Function

    return subject if isinstance(subject, Function) else None
