"""From sympy's expressions to graphc's: what users call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.derivatives.symbolic.reader import Given, Reader
from graphc.expressions.containers import flatten
from graphc.graph.node import Node
from graphc.graph.origin import current_site, set_inherited
from graphc.ops.arithmetic import as_node
from graphc.types.errors import InputError


def from_sympy(expr: Any, inputs: Mapping[Any, Any] | None = None) -> Any:
    """Return the expression of a sympy expression.

    Parameters
    ----------
    expr : sympy expression, Boolean, matrix or array, or nested containers of them
        Numbers of Python and NumPy may stand among them.
    inputs : dict, optional
        What stands for each symbol, IndexedBase, MatrixSymbol or undefined function
        ``f(t)``: an expression of any shape, or a number. Symbols are also found by
        their name where only one has it.

    Returns
    -------
    expression, or nested containers of expressions
        A matrix or array becomes one expression of its shape (with entries that are
        arrays, of its shape followed by theirs).

    Raises
    ------
    InputError
        For a text; a symbol, function or object that graphc does not know; an index
        out of range; a sum without finite bounds.

    Notes
    -----
    All numbers are real. A Piecewise without a default is NaN where no condition
    holds. Sums and products over integer bounds that are known are written out, or
    become reductions over an index.

    Examples
    --------
    >>> import graphc as cg, sympy
    >>> s, x = sympy.Symbol("s"), cg.scalar("x")
    >>> cg.from_sympy(sympy.sin(s) ** 2, {s: x})
    <square float64()>
    """
    mapping = {} if inputs is None else inputs
    if not isinstance(mapping, Mapping):
        raise InputError(
            "from_sympy: give {symbol: expression}, not a value of type "
            f"{type(mapping).__name__}."
        )
    for key, value in mapping.items():
        if isinstance(key, str):
            raise InputError(
                f"from_sympy: the key {key!r} is a text; texts are never parsed. Use "
                f"the symbol itself, sympy.Symbol({key!r})."
            )
        if not isinstance(value, (Node, bool, int, float, np.generic, np.ndarray)):
            raise InputError(
                f"from_sympy: {key} is given {value!r} of type {type(value).__name__}, "
                "but an expression, an array or a number is needed."
            )
    given = Given(
        {
            k: as_node(v) if isinstance(v, (np.generic, np.ndarray)) else v
            for k, v in mapping.items()
        }
    )
    return read_tree(expr, given)


def read_tree(tree: Any, given: Given) -> Any:
    """Return nested containers of sympy's expressions as expressions."""
    reader = Reader(given)
    leaves, structure = flatten(_plain_containers(tree))
    before = set_inherited(current_site())
    try:
        return structure.unflatten([reader.expression(leaf) for leaf in leaves])
    finally:
        set_inherited(before)


def _plain_containers(tree: Any) -> Any:
    """Return containers with sympy's own made Python's."""
    kind = type(tree).__name__
    if kind == "Tuple" or isinstance(tree, (list, tuple)):
        parts = [_plain_containers(t) for t in tree]
        if isinstance(tree, tuple) and hasattr(tree, "_fields"):
            return type(tree)(*parts)
        return parts if isinstance(tree, list) else tuple(parts)
    if isinstance(tree, Mapping) or kind == "Dict":
        return {k: _plain_containers(v) for k, v in tree.items()}
    return tree
