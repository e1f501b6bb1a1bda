"""Products of arrays: matmul, dot, outer, tensordot, einsum, kron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.expressions.manipulation import expand_dims
from graphc.expressions.operands import as_expression, promoted
from graphc.expressions.reductions import sum
from graphc.graph.node import Node
from graphc.ops import contract, move
from graphc.ops.messages import shape_error
from graphc.types import sizes
from graphc.types.tensor_type import normalize_axis

__all__ = [
    "dot",
    "einsum",
    "inner",
    "kron",
    "matmul",
    "outer",
    "tensordot",
    "vdot",
    "vecdot",
]


def matmul(x: Any, y: Any, /) -> Node:
    """Return the matrix product ``x @ y``.

    Parameters
    ----------
    x, y : expression or array
        Matrices in the last two axes; the others broadcast. A vector on the left
        is a row, one on the right a column, and its axis is absent in the result.

    Raises
    ------
    ShapeError
        If the inner sizes differ, or an operand has no dimensions.
    """
    a, b = promoted([x, y])
    if not a.ndim or not b.ndim:
        raise shape_error(
            "matmul",
            [a, b],
            "an operand has no dimensions.",
            "Multiply by a number with *.",
        )
    row, column = a.ndim == 1, b.ndim == 1
    if row and column and a.shape == b.shape and a.dtype.kind == "f":
        # as a sum of products, sqrt(x @ x) has a guarded derivative at 0
        return sum(a * b)
    out = contract.matmul_(
        expand_dims(a, 0) if row else a, expand_dims(b, 1) if column else b
    )
    if not row and not column:
        return out
    shape = out.shape[: out.ndim - row - column]
    if row and not column:
        shape = (*out.shape[:-2], out.shape[-1])
    return move.reshape(out, shape)


def dot(x: Any, y: Any, /) -> Node:
    """Return the sum of products over the last axis of `x` and the last but one of `y`.

    The inner product of vectors, the product of matrices, the multiple by a number;
    axes beyond do not broadcast as in `matmul` but all appear in the result.
    """
    a, b = promoted([x, y])
    if not a.ndim or not b.ndim:
        return a * b
    if a.ndim <= 2 and b.ndim <= 2:
        return matmul(a, b)
    return tensordot(a, b, ((a.ndim - 1,), (max(b.ndim - 2, 0),)))


def vdot(x: Any, y: Any, /) -> Node:
    """Return the sum of products of all elements of two arrays of one size."""
    a, b = promoted([x, y])
    return matmul(move.reshape(a, (a.size,)), move.reshape(b, (b.size,)))


def vecdot(x: Any, y: Any, /, *, axis: int = -1) -> Node:
    """Return the sum of products along an axis, the others broadcasting."""
    a, b = promoted([x, y])
    if not a.ndim or not b.ndim:
        raise shape_error("vecdot", [a, b], "an operand has no dimensions.")
    i = normalize_axis(axis, a.ndim, "vecdot")
    j = normalize_axis(axis, b.ndim, "vecdot")
    if sizes.unify(a.shape[i], b.shape[j]) is None:
        raise shape_error(
            "vecdot", [a, b], f"sizes differ: {a.shape[i]} and {b.shape[j]}."
        )
    return sum(a * b, axis, a.dtype)


def inner(x: Any, y: Any, /) -> Node:
    """Return the sum of products over the last axes of both."""
    a, b = promoted([x, y])
    if not a.ndim or not b.ndim:
        return a * b
    return tensordot(a, b, ((a.ndim - 1,), (b.ndim - 1,)))


def outer(x: Any, y: Any, /) -> Node:
    """Return all products of an element of `x` and one of `y`, as a matrix."""
    a, b = promoted([x, y])
    return move.reshape(a, (a.size, 1)) * move.reshape(b, (1, b.size))


def tensordot(x: Any, y: Any, /, axes: Any = 2) -> Node:
    """Return the sum of products over pairs of axes.

    Parameters
    ----------
    x, y : expression or array
    axes : int or pair of sequences of int
        An integer n pairs the last n axes of `x` with the first n of `y`; else the
        axes of `x`, and those of `y` they are paired with.

    Returns
    -------
    expression
        The other axes of `x`, then those of `y`.

    Raises
    ------
    ShapeError
        If the sizes of a pair differ.
    """
    a, b = promoted([x, y])
    left, right = _paired_axes(a, b, axes)
    for i, j in zip(left, right):
        if sizes.unify(a.shape[i], b.shape[j]) is None:
            raise shape_error(
                "tensordot",
                [a, b],
                f"axes {i} and {j} have sizes {a.shape[i]} and {b.shape[j]}.",
            )
    free_a = [i for i in range(a.ndim) if i not in left]
    free_b = [j for j in range(b.ndim) if j not in right]
    rows = tuple(a.shape[i] for i in free_a)
    columns = tuple(b.shape[j] for j in free_b)
    inner = sizes.product(a.shape[i] for i in left)
    a2 = move.reshape(move.permute(a, (*free_a, *left)), (sizes.product(rows), inner))
    b2 = move.reshape(
        move.permute(b, (*right, *free_b)),
        (sizes.product(b.shape[j] for j in right), sizes.product(columns)),
    )
    return move.reshape(contract.matmul_(a2, b2), rows + columns)


def _paired_axes(a: Node, b: Node, axes: Any) -> tuple[list[int], list[int]]:
    if hasattr(axes, "__index__"):
        n = int(axes)
        if not 0 <= n <= min(a.ndim, b.ndim):
            raise shape_error("tensordot", [a, b], f"there are no {n} axes to pair.")
        return list(range(a.ndim - n, a.ndim)), list(range(n))
    left, right = (list(p) if isinstance(p, Sequence) else [p] for p in axes)
    left = [normalize_axis(i, a.ndim, "tensordot") for i in left]
    right = [normalize_axis(j, b.ndim, "tensordot") for j in right]
    if (
        len(left) != len(right)
        or len({*left}) != len(left)
        or len({*right}) != len(right)
    ):
        raise shape_error("tensordot", [a, b], f"axes {axes} do not make pairs.")
    return left, right


def einsum(subscripts: Any, /, *operands: Any, optimize: Any = True) -> Node:
    """Return a sum of products by Einstein's convention.

    Parameters
    ----------
    subscripts : str
        A letter for each axis, such as ``"bij,bjk->bik"``; letters absent from the
        result are summed over, ``...`` stands for axes that broadcast. NumPy's form
        with a list of axes after each operand is taken too.
    *operands : expressions or arrays
    optimize : bool
        Accepted as in NumPy; the order of contractions is always optimized.

    Raises
    ------
    ShapeError
        If the subscripts do not fit the operands.
    """
    if isinstance(subscripts, str):
        operands = tuple(as_expression(x, what="einsum") for x in operands)
    return contract.einsum(subscripts, *operands)


def kron(x: Any, y: Any, /) -> Node:
    """Return the Kronecker product: blocks of `y`, one for each element of `x`."""
    a, b = promoted([x, y])
    rank = max(a.ndim, b.ndim)
    a = move.reshape(a, (*(1,) * (rank - a.ndim), *a.shape))
    b = move.reshape(b, (*(1,) * (rank - b.ndim), *b.shape))
    left = tuple(s for size in a.shape for s in (size, 1))
    right = tuple(s for size in b.shape for s in (1, size))
    blocks = move.reshape(a, left) * move.reshape(b, right)
    return move.reshape(blocks, tuple(i * j for i, j in zip(a.shape, b.shape)))
