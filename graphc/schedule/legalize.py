"""Rewrites that bring products into the form their kernels take.

Many vectors times one matrix are one product of matrices. What remains of products
with a vector is a reduction and fuses with what surrounds it, and so are small
products, and those of integers or booleans; one with an inner size of 1 is a
multiplication. Tiles of products know one stride for all batch axes, so an operand that
is stretched along some of them only is broadcast first.
"""

from __future__ import annotations

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.arithmetic import multiply
from graphc.ops.contract import MatMul, matrix_transpose
from graphc.ops.move import broadcast_to, permute, reshape, transpose_
from graphc.ops.reduce import any_, sum_
from graphc.types import sizes

SMALL = 8
"""Up to this many rows, columns and terms a product is loops in its kernel."""


def legalize(graph: Graph) -> Graph:
    """Return the graph with products that are no matrix products taken apart."""
    return graph.rewritten(_product)


def _product(node: Node) -> Node | None:
    if not isinstance(node.op, MatMul):
        return None
    a, b = node.args
    if a.shape[-1] == 1:
        return multiply(a, b)
    if b.shape[-1] == 1 and _single(a) and not _single(b):
        return _many(b, _swapped(a), node)
    if a.shape[-2] == 1 and _single(b) and not _single(a):
        return _many(a, b, node)
    if b.shape[-1] == 1:
        return _matrix_times_vector(a, _swapped(b), node)
    if a.shape[-2] == 1:
        return _matrix_times_vector(_swapped(b), a, node)
    if node.dtype.kind != "f" or _is_small(node):
        left = reshape(a, (*a.shape, 1))
        right = reshape(b, (*b.shape[:-2], 1, *b.shape[-2:]))
        return _summed(multiply(left, right), node, -2)
    batch = node.shape[:-2]
    operands = [_whole_batch(x, batch) for x in (a, b)]
    if operands[0] is a and operands[1] is b:
        return None
    return node.op(*operands)


def _single(x: Node) -> bool:
    """Tell whether an operand is the same matrix throughout a batch."""
    return all(s == 1 for s in x.shape[:-2])


def _many(vectors: Node, matrix: Node, node: Node) -> Node:
    """Return a batch of vectors times one matrix as a product of two matrices."""
    size = sizes.product(vectors.shape[:-2])
    rows = reshape(vectors, (size, matrix.shape[-2]))
    columns = reshape(matrix, matrix.shape[-2:])
    return reshape(node.op(rows, columns), node.shape)


def _is_small(node: Node) -> bool:
    """Tell whether packing a product's operands would cost more than the product."""
    extents = (*node.shape[-2:], node.args[0].shape[-1])
    return all(isinstance(s, int) and s <= SMALL for s in extents)


def _matrix_times_vector(matrix: Node, vector: Node, node: Node) -> Node:
    """Return the products of the rows of a matrix with a vector, shape (..., 1, k).

    A transposed matrix is read as it lies: row by row, as its other readers do, and
    its rows are summed up.
    """
    if matrix.op is transpose_ and matrix.params[0][-2] == matrix.ndim - 1:
        terms = multiply(_swapped(matrix), _swapped(vector))
        return _summed(terms, node, -2)
    return _summed(multiply(matrix, vector), node, -1)


def _swapped(x: Node) -> Node:
    """Return `x` with its last two axes swapped, two transposes being one."""
    if x.op is not transpose_:
        return matrix_transpose(x)
    *outer, rows, columns = x.params[0]
    return permute(x.args[0], (*outer, columns, rows))


def _summed(terms: Node, node: Node, axis: int) -> Node:
    reduction = any_ if node.dtype.kind == "b" else sum_
    return reshape(reduction(terms, params=((terms.ndim + axis,),)), node.shape)


def _whole_batch(x: Node, batch: tuple) -> Node:
    """Return an operand that has all batch axes, or none of more than one element."""
    own = x.shape[:-2]
    if own == batch or all(s == 1 for s in own):
        return x
    return broadcast_to(x, (*batch, *x.shape[-2:]))
