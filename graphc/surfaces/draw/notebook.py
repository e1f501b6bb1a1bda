"""What notebooks show of expressions, graphs and functions: pictures and formulas.

IPython asks an object for these and takes the best it can display; None is "no".
"""

from __future__ import annotations

from typing import Any

from graphc.graph import operators
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops.leaf import input_
from graphc.surfaces.draw.picture import NOTEBOOK_BOXES, draw
from graphc.types.errors import GraphcError

FORMULA_NODES = 30
"""Nodes above which a formula is no longer quick to read, nor to make."""


def svg_of(subject: Any) -> str | None:
    """Return the picture of a small expression, graph or function, else None."""
    graph = subject if isinstance(subject, Node) else getattr(subject, "graph", subject)
    size = len(topological_order([graph]) if isinstance(graph, Node) else graph.nodes)
    return draw(subject)._repr_svg_() if size <= NOTEBOOK_BOXES else None


def latex_of(node: Node) -> str | None:
    """Return a small scalar as a formula, None if it is none.

    Notes
    -----
    Names that are no identifiers are left to the picture: in a formula they could be
    markup.
    """
    if node.shape or not node.args:
        return None
    nodes = topological_order([node])
    if len(nodes) > FORMULA_NODES:
        return None
    if not all((n.name or "x").isidentifier() for n in nodes if n.op is input_):
        return None
    from graphc.derivatives.symbolic.to_sympy import to_sympy

    try:
        formula = to_sympy(node)
    except GraphcError:  # symbolic sizes, or an op without a meaning in sympy
        return None
    from sympy import latex

    return f"$\\displaystyle {latex(formula)}$"


operators.provide(notebook_svg=svg_of, notebook_latex=latex_of)
