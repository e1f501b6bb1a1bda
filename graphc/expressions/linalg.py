"""Linear algebra: norms, products, systems of equations, factors, determinants.

The names are those of ``numpy.linalg`` and of the array API's extension.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from graphc.expressions.elementwise import FUNCTIONS as elementwise
from graphc.expressions.factorizations import (
    cholesky,
    det,
    inv,
    slogdet,
    solve,
    solve_triangular,
)
from graphc.expressions.indexing import matrix_diagonal as diagonal
from graphc.expressions.indexing import matrix_trace as trace
from graphc.expressions.manipulation import matrix_transpose
from graphc.expressions.operands import as_expression
from graphc.expressions.products import matmul, outer, tensordot, vecdot
from graphc.expressions.reductions import Axes, count_nonzero
from graphc.expressions.reductions import max as max_over
from graphc.expressions.reductions import min as min_over
from graphc.expressions.reductions import sum as sum_over
from graphc.graph.node import Node
from graphc.ops.arithmetic import cast
from graphc.ops.messages import shape_error
from graphc.types import dtypes
from graphc.types.errors import ShapeError
from graphc.types.tensor_type import normalize_axes, normalize_axis

__all__ = [
    "cholesky",
    "det",
    "diagonal",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_transpose",
    "norm",
    "outer",
    "slogdet",
    "solve",
    "solve_triangular",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]

absolute, sqrt, power = elementwise["abs"], elementwise["sqrt"], elementwise["power"]


def norm(x: Any, /, ord: Any = None, axis: Axes = None, keepdims: bool = False) -> Node:
    """Return a norm of vectors or matrices.

    Parameters
    ----------
    x : expression or array
    ord : {None, number, inf, -inf, "fro"}
        None is the square root of the sum of squares over `axis`. Other values are
        vector norms over one axis (`vector_norm`) and matrix norms over two
        (`matrix_norm`).
    axis : int or pair of int, optional
        Left out, all axes; `ord` then needs one or two dimensions.
    keepdims : bool
        Keep the axes, with size 1.

    Returns
    -------
    expression
        The derivative of the square-root norm at 0 is taken as 0.

    Raises
    ------
    ShapeError
        If `ord` does not go with the number of axes.
    """
    x = _floats(x, "norm")
    if ord is None:
        return sqrt(sum_over(x * x, axis, keepdims=keepdims))
    axes = normalize_axes(axis, x.ndim, f"norm of {x.label()}")
    if len(axes) == 1:
        return vector_norm(x, axis=axes, keepdims=keepdims, ord=ord)
    if len(axes) != 2:
        raise shape_error(
            "norm",
            [x],
            f"ord={ord!r} needs one axis or two, not {len(axes)}.",
            "Give axis, or ravel first.",
        )
    if axis is not None:
        axes = tuple(normalize_axis(a, x.ndim, "norm") for a in axis)  # type: ignore[union-attr]
    return _matrix_norm(x, axes, ord, keepdims)


def vector_norm(
    x: Any, /, *, axis: Axes = None, keepdims: bool = False, ord: Any = 2
) -> Node:
    """Return a norm of vectors: ``sum(abs(x)**ord)**(1/ord)``.

    Parameters
    ----------
    x : expression or array
    axis : int or sequence of int, optional
        The axes whose elements make a vector; left out, all.
    keepdims : bool
        Keep the axes, with size 1.
    ord : number
        2, 1, and others; inf is the largest absolute value, -inf the smallest, 0
        counts the elements that are not zero.

    Raises
    ------
    ShapeError
        If `ord` is no number.
    """
    x = _floats(x, "vector_norm")
    if isinstance(ord, str) or not isinstance(ord, (int, float)):
        raise ShapeError(
            f"vector_norm: ord={ord!r} is no norm of vectors; use a number or inf."
        )
    if ord == 2:
        return sqrt(sum_over(x * x, axis, keepdims=keepdims))
    if ord == 0:
        return cast(count_nonzero(x, axis, keepdims=keepdims), x.dtype)
    size = absolute(x)
    if ord == 1:
        return sum_over(size, axis, keepdims=keepdims)
    if math.isinf(ord):
        return (max_over if ord > 0 else min_over)(size, axis, keepdims=keepdims)
    return power(sum_over(power(size, ord), axis, keepdims=keepdims), 1 / ord)


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Node:
    """Return a norm of the matrices in the last two axes.

    Parameters
    ----------
    x : expression or array
    keepdims : bool
        Keep the axes, with size 1.
    ord : {"fro", 1, -1, inf, -inf}
        The square root of the sum of squares; the largest (smallest) sum of
        absolute values in a column; in a row.

    Raises
    ------
    ShapeError
        If there are fewer than two axes, or `ord` is another, such as 2, which needs
        singular values.
    """
    x = _floats(x, "matrix_norm")
    if x.ndim < 2:
        raise shape_error("matrix_norm", [x], "two dimensions are needed.")
    return _matrix_norm(x, (x.ndim - 2, x.ndim - 1), ord, keepdims)


def _matrix_norm(x: Node, axes: tuple[int, ...], ord: Any, keepdims: bool) -> Node:
    if ord == "fro":
        return sqrt(sum_over(x * x, axes, keepdims=keepdims))
    if isinstance(ord, str) or ord not in (1, -1, math.inf, -math.inf):
        raise ShapeError(
            f"matrix_norm: ord={ord!r} is not available: it needs singular values. "
            'Use "fro", 1, -1, inf or -inf.'
        )
    rows, columns = axes
    inner, outer_ = (rows, columns) if abs(ord) == 1 else (columns, rows)
    extreme: Callable[..., Node] = max_over if ord > 0 else min_over
    sums = sum_over(absolute(x), inner, keepdims=True)
    best = extreme(sums, outer_, keepdims=True)
    return best if keepdims else sum_over(best, axes)


def _floats(x: Any, what: str) -> Node:
    x = as_expression(x, what=what)
    return x if dtypes.is_float(x.dtype) else cast(x, dtypes.float64)
