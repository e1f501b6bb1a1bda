"""Rewrites that bring products into the form their kernels take.

Many vectors times one matrix are one product of matrices. What remains of products
with a vector is a reduction and fuses with what surrounds it, and so are small
products, and those of integers or booleans; one of a few terms is written out. Tiles
of products know one stride for all batch axes, so an operand that is stretched along
some of them only is broadcast first. A sum of products is one product of concatenated
operands, and so is a sum of shifted columns of one (`schedule.windows`). Ops that are
made of others (`ops.solve`) are written out.
"""

from __future__ import annotations

from functools import reduce

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.arithmetic import add, multiply
from graphc.ops.contract import MatMul, matrix_transpose
from graphc.ops.move import broadcast_to, permute, reshape, transpose_
from graphc.ops.reduce import any_, sum_
from graphc.ops.slicing import concatenate, slice_axis
from graphc.ops.solve import Composed
from graphc.schedule.windows import (
    columns_of,
    gathered,
    keeps_columns,
    placed,
    product_of_windows,
)
from graphc.types import sizes
from graphc.types.sizes import SizeLike

LONGEST_PIECE = 512
"""Steps of k up to which adding products up counts against the products."""

SMALL = 6
"""Up to this many rows, columns and terms a product is loops in its kernel: measured
on batches of 1,000, these take a third to two thirds of the time at 2 to 6, more from
8."""

FEWEST = 4
"""Up to this many rows and columns, or terms, it is so whatever the other sizes are:
measured at 1,000 for the third, that takes a seventh of the time at 2, half at 4."""


def legalize(graph: Graph, join: bool = True) -> Graph:
    """Return the graph with products in the form their kernels take.

    Unless `join`, products are added up one by one.
    """
    graph = _without_scattered_columns(graph.rewritten(_composed))
    graph = _with_turned_products(graph).rewritten(_product)
    return _with_joined_products(graph) if join else graph


def _composed(node: Node) -> Node | None:
    return node.op.composed(node) if isinstance(node.op, Composed) else None


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
    terms = a.shape[-1]
    if node.dtype.kind == "f" and isinstance(terms, int) and 0 < terms <= FEWEST:
        return _written_out(node, terms)
    windows = product_of_windows(node)
    if windows is not None:
        return windows
    if node.dtype.kind != "f" or _is_small(node):
        left = reshape(a, (*a.shape, 1))
        right = reshape(b, (*b.shape[:-2], 1, *b.shape[-2:]))
        return _summed(multiply(left, right), node, -2)
    if columns_of(a) is a and b.ndim == 2:
        return None
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
    small = all(isinstance(s, int) and s <= SMALL for s in extents)
    return small or sum(map(_fewest, extents)) >= 2


def _fewest(size: SizeLike) -> bool:
    return isinstance(size, int) and size <= FEWEST


def _written_out(node: Node, terms: int) -> Node:
    """Return a product of few terms as their sum, computed wherever it is read."""
    a, b = node.args
    products = [
        multiply(slice_axis(a, a.ndim - 1, i, 1), slice_axis(b, b.ndim - 2, i, 1))
        for i in range(terms)
    ]
    return reduce(add, products)


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


# ------------------------------------------------------------- transposed products


def _with_turned_products(graph: Graph) -> Graph:
    """Write a product that is only read transposed as what is read.

    ``transpose(transpose(A) @ B) = transpose(B) @ A``. Packing reads operands by any
    strides, so that saves a pass over the result. Products with rows of A itself stay:
    they may run by blocks of rows after what computes A.
    """
    read = [
        node
        for node in graph.nodes
        if _swaps(node)
        and isinstance(node.args[0].op, MatMul)
        and _swaps(node.args[0].args[0])
    ]
    if not read:
        return graph
    users, kept = graph.users(), set(graph.outputs)
    turned: dict[Node, Node] = {}
    for node in read:
        (product,) = node.args
        if len(users[product]) == 1 and product not in kept:
            a, b = product.args
            turned[node] = product.op(_swapped(b), _swapped(a))
    return graph.rewritten(turned.get) if turned else graph


def _swaps(node: Node) -> bool:
    """Tell whether a node is its argument with the last two axes swapped."""
    if node.op is not transpose_ or node.ndim < 2:
        return False
    *outer, rows, columns = node.params[0]
    return (*outer, columns, rows) == tuple(range(node.ndim))


# ------------------------------------------------------ sums of shifted columns


def _without_scattered_columns(graph: Graph) -> Graph:
    """Write sums of shifted columns of a product as one product of windows."""
    if not any(isinstance(node.op, MatMul) for node in graph.nodes):
        return graph
    users = graph.users()
    kept = set(graph.outputs)

    def alone(node: Node) -> bool:
        return len(users[node]) == 1 and node not in kept

    new: dict[Node, Node] = {}
    inside: set[Node] = set()
    for node in reversed(graph.nodes):
        if node.op is not add or node in inside:
            continue
        terms, sums = _terms(node, users, kept)
        inside |= sums
        parts = [placed(t) if t.shape == node.shape else None for t in terms]
        if len({p.product if p else None for p in parts}) > 1 or parts[0] is None:
            continue
        whole = {n for t in terms for n in _below(t, parts[0].product)}
        if whole & kept or any(
            u not in whole and u not in sums for n in whole for u in users[n]
        ):
            continue
        target, after = node, []
        while alone(target) and keeps_columns(users[target][0]):
            target = users[target][0]
            after.append(target)
        product = gathered([p for p in parts if p is not None], after)
        if product is not None:
            new[target] = product
    return graph.rewritten(new.get) if new else graph


def _below(node: Node, end: Node) -> list[Node]:
    """Return a node and what it moves, down to `end`."""
    out = [node]
    while node is not end:
        node = node.args[0]
        out.append(node)
    return out


# ------------------------------------------------------------- sums of products


def _with_joined_products(graph: Graph) -> Graph:
    """Write sums of products as one: ``A @ C + B @ D = [A, B] @ [[C], [D]]``.

    Its kernel adds up in place, and reads the parts where they lie. So are the weights'
    gradients added up that an unrolled recurrence makes, one product for each step.
    """
    users = graph.users()
    kept = set(graph.outputs)
    joined: dict[Node, Node] = {}
    inside: set[Node] = set()
    for node in reversed(graph.nodes):
        if node.op is not add or node in inside:
            continue
        terms, sums = _terms(node, users, kept)
        inside |= sums
        alike: dict[tuple, list[Node]] = {}
        others: list[Node] = []
        for term in terms:
            if _is_short_product(term) and term.shape == node.shape:
                alone = len(users[term]) == 1 and term not in kept
                alike.setdefault(_form(term) if alone else (term,), []).append(term)
            else:
                others.append(term)
        if all(len(group) == 1 for group in alike.values()):
            continue
        parts = [_joined(group) for group in alike.values()]
        total = parts[0]
        for part in (*parts[1:], *others):
            total = add(total, part)
        joined[node] = total
    return graph.rewritten(joined.get) if joined else graph


def _terms(
    root: Node, users: dict[Node, list[Node]], kept: set[Node]
) -> tuple[list[Node], set[Node]]:
    """Return what a tree of sums adds up, from left to right, and the sums in it."""
    terms: list[Node] = []
    sums: set[Node] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        own = node is root or (len(users[node]) == 1 and node not in kept)
        if node.op is add and own and node.shape == root.shape:
            sums.add(node)
            stack.extend(reversed(node.args))
        else:
            terms.append(node)
    return terms, sums


def _is_short_product(node: Node) -> bool:
    """Tell whether adding a product up is much of its cost."""
    if not isinstance(node.op, MatMul) or node.dtype.kind != "f":
        return False
    k = node.args[0].shape[-1]
    return isinstance(k, int) and k <= LONGEST_PIECE


def _form(product: Node) -> tuple:
    a, b = product.args
    return (a.shape, b.shape)


def _joined(products: list[Node]) -> Node:
    if len(products) == 1:
        return products[0]
    left = concatenate([p.args[0] for p in products], products[0].ndim - 1)
    right = concatenate([p.args[1] for p in products], products[0].ndim - 2)
    return products[0].op(left, right)
