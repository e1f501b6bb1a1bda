"""`sparsity`: the structure of a Jacobian or Hessian, for users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.derivatives.arguments import ones, read_result, read_scalar, read_wrt
from graphc.derivatives.reverse import pull_back
from graphc.derivatives.sparsity.pattern import (
    Known,
    check_sizes,
    columns_of,
    propagate,
    read_given,
    size_reader,
)
from graphc.derivatives.transforms import is_function, read_argnums
from graphc.expressions.containers import flatten
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops.arithmetic import as_node
from graphc.ops.leaf import new_input
from graphc.types.dtypes import is_float


def sparsity(
    y: Any,
    x: Any = None,
    *,
    hessian: bool = False,
    at: Mapping[Node, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
    argnums: Any = 0,
    disconnected: str = "raise",
) -> Any:
    """Return which entries of the Jacobian dy/dx may differ from zero.

    Parameters
    ----------
    y : expression, nested containers of them, or callable
    x : expression or nested list, tuple, dict of them
        For a function: the same as `argnums`.
    hessian : bool
        The structure of the Hessian of a scalar `y` instead.
    at : dict of input to array, optional
        Values of integer and boolean inputs, such as indices. The structure is then
        exact for these; without them it covers all values.
    sizes : dict of str to int, optional
        The symbolic dimensions.
    argnums, disconnected
        As in `grad`.

    Returns
    -------
    scipy.sparse.csr_array of bool, (y.size, x.size)
        Rows and columns are the elements of `y` and `x` in row-major order. Of nested
        `y` or `x`, the structure of `y`, each leaf replaced by that of `x`, with such
        an array for each pair. Of a function: a function of its arguments.

    Raises
    ------
    ShapeError
        If a size is symbolic and `sizes` does not give it.
    InputError
        If `at` names something else than integer and boolean inputs.
    DTypeError, DisconnectedInputError, NotDifferentiableError
        As in `grad`.

    Notes
    -----
    A superset for all values of floating-point inputs, found by propagating sets of
    indices through the graph in time near the number of their entries. What is constant
    is looked at: indices, masks, zeros in factors. Cancellations are not seen:
    ``x - x`` depends on x.

    `coloring` tells in how many sweeps such a Jacobian can be computed;
    ``jacobian(y, x, mode="sparse")`` does so.
    """
    if is_function(y):
        options = {"hessian": hessian, "sizes": sizes, "disconnected": disconnected}
        return _of_function(y, argnums if x is None else x, options)
    size = size_reader(sizes or {}, "sparsity")
    xs, x_structure = read_wrt(x)
    if hessian:
        scalar = read_scalar(y, "sparsity")
        ys = pull_back([scalar], ones([scalar]), xs, disconnected)
        y_structure, disconnected = x_structure, "zero"
    else:
        ys, y_structure = read_result(y, "sparsity")
    check_sizes(topological_order(ys), size)
    known = Known(read_given(at, size), size)
    columns, width = columns_of(xs, size)
    rows = propagate(ys, columns, width, known, size, disconnected)
    blocks = [[_columns(matrix, columns[x]) for x in xs] for matrix in rows]
    if hessian:  # it is symmetric: so are its zeros
        blocks = [
            [_both(b, blocks[j][i]) for j, b in enumerate(row)]
            for i, row in enumerate(blocks)
        ]
    return y_structure.unflatten([x_structure.unflatten(row) for row in blocks])


def _columns(matrix: Any, columns: np.ndarray) -> Any:
    if len(columns) == matrix.shape[1]:
        return matrix
    start = int(columns[0]) if len(columns) else 0
    out = matrix[:, start : start + len(columns)]
    out.sort_indices()
    return out


def _both(matrix: Any, mirrored: Any) -> Any:
    out = matrix.multiply(mirrored.T).tocsr()
    out.sort_indices()
    return out


def _of_function(
    fun: Callable[..., Any], argnums: Any, options: dict[str, Any]
) -> Callable[..., Any]:
    """Return the function that gives the structure for arguments, arrays too.

    Arrays of integers and booleans count with their values.
    """

    def structure(*args: Any, **kwargs: Any) -> Any:
        chosen, single = read_argnums(argnums, len(args), fun)
        leaves, shape = flatten((args, kwargs))
        made = []
        for leaf in leaves:
            node = leaf
            if isinstance(leaf, (np.ndarray, np.generic, float)):
                node = as_node(leaf)
                node = new_input("x", node.type) if is_float(node.dtype) else node
            made.append(node)
        given, named = shape.unflatten(made)
        wrt = given[chosen[0]] if single else tuple(given[i] for i in chosen)
        return sparsity(fun(*given, **named), wrt, **options)

    return structure
