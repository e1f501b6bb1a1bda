"""Reading what users give to derivatives: expressions, tangents, cotangents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.expressions.containers import Structure, flatten_expressions
from graphc.graph.node import Node
from graphc.ops.arithmetic import as_node
from graphc.ops.leaf import constant
from graphc.types import sizes
from graphc.types.dtypes import is_float
from graphc.types.errors import DTypeError, InputError, ShapeError, made_at
from graphc.types.tensor_type import shape_text


def read_result(y: Any, what: str) -> tuple[list[Node], Structure]:
    """Return the expressions to differentiate, from nested containers.

    Raises
    ------
    InputError
        If a leaf is neither an expression nor a number or array.
    DTypeError
        If one is not of a floating-point dtype.
    """
    leaves, structure = flatten_expressions(y, "y", as_node)
    for leaf in leaves:
        if not is_float(leaf.dtype):
            raise DTypeError(
                f"{what}: the result {leaf.label()}{made_at(leaf.origin)} is not of a "
                "floating-point dtype and has no derivative. Convert it with astype, "
                "or differentiate what it was made from."
            )
    return leaves, structure


def read_wrt(wrt: Any) -> tuple[list[Node], Structure]:
    """Return the expressions to differentiate by, from nested containers.

    Raises
    ------
    InputError
        If a leaf is no expression.
    """
    return flatten_expressions(wrt, "wrt")


def read_scalar(y: Any, what: str) -> Node:
    """Return the one scalar expression that `y` must be.

    Raises
    ------
    ShapeError
        If it is not a scalar.
    """
    leaves, structure = read_result(y, what)
    if structure.kind is not None:
        raise ShapeError(
            f"{what}: the result must be one scalar, but it is a "
            f"{structure.kind.__name__} of {len(leaves)} expressions. Add them up, or "
            "use vjp, which takes a cotangent for each."
        )
    (node,) = leaves
    if node.ndim:
        raise ShapeError(
            f"{what}: the result must be a scalar, but {node.label()}"
            f"{made_at(node.origin)} has the shape {shape_text(node.shape)}. Reduce it "
            "with sum or mean, or use jacobian, or vjp with a cotangent."
        )
    return node


def read_like(
    tree: Any, nodes: Sequence[Node], structure: Structure, what: str
) -> list[Node]:
    """Return tangents or cotangents, one for each of `nodes`, of its type.

    Parameters
    ----------
    tree : nested containers
        Of the given structure. Leaves are expressions, arrays, Python numbers or
        lists of these; the latter two take the dtype that is needed.
    nodes : sequence of Node
    structure : Structure
    what : str
        ``"tangent"`` or the like, for messages.

    Raises
    ------
    InputError
        If the structure differs.
    ShapeError, DTypeError
        If a leaf is not of the type of its node.
    """
    if tree is None:
        raise InputError(
            f"{what} is missing: an expression or array for each of "
            f"{', '.join(n.label() for n in nodes)} is needed."
        )
    leaves = structure.flatten_like(tree, what)
    paths = structure.paths(what)
    return [_read(leaf, n, path) for leaf, n, path in zip(leaves, nodes, paths)]


def _read(leaf: Any, node: Node, path: str) -> Node:
    if isinstance(leaf, (bool, int, float, list, tuple)):
        array = as_node(leaf).params[0].array
        if array.dtype.kind in "iuf":
            leaf = constant(array, node.dtype)
    given = as_node(leaf)
    needed = f"{node.label()}{made_at(node.origin)}"
    if given.dtype != node.dtype:
        raise DTypeError(
            f"{path} is {given.label()}{made_at(given.origin)}, but {needed} needs one "
            f"of dtype {node.dtype.name}. Convert it with astype({node.dtype.name!r})."
        )
    if given.ndim != node.ndim or any(
        sizes.unify(a, b) is None for a, b in zip(given.shape, node.shape)
    ):
        raise ShapeError(
            f"{path} is {given.label()}{made_at(given.origin)}, but {needed} needs one "
            f"of the same shape {shape_text(node.shape)}. Stretch it with broadcast_to."
        )
    return given


def ones(nodes: Sequence[Node]) -> list[Node]:
    """Return the cotangent 1 of each of some scalars."""
    return [constant(np.ones((), n.dtype)) for n in nodes]
