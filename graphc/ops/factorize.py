"""Factorizations of matrices and triangular solves: what routines compute.

`cholesky` and `lu_factor` are ops of their own, so that whatever solves, inverts or
takes determinants of one matrix, its derivatives included, shares one factorization.
The derivative of `cholesky` is that of Murray, "Differentiation of the Cholesky
decomposition", 2016; `lu_factor` has none: see `ops.solve`.

A matrix that cannot be factorized or is singular makes its result NaN, all of it, and
no other matrix of the batch. Derivatives of results that nothing asks for are exactly
zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.arithmetic import (
    add,
    apply,
    cast,
    greater,
    greater_equal,
    multiply,
    negative,
    not_equal,
    stop_gradient,
    where,
)
from graphc.ops.contract import matmul_, matrix_transpose
from graphc.ops.declare import General, SizeOf
from graphc.ops.dependence import (
    Dependence,
    Known,
    Running,
    matrix_by_matrix,
    shape_of,
)
from graphc.ops.leaf import iota, scalar_like
from graphc.ops.messages import dtype_error, shape_error
from graphc.ops.move import (
    all_batched,
    broadcast_to,
    permute,
    reshape,
    transpose_,
)
from graphc.ops.reduce import any_
from graphc.ops.slicing import concatenate, pad_to, slice_axis
from graphc.types import dtypes, sizes
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import TensorType

# --------------------------------------------------------------------------- helpers


def require_square(op: str, args: Sequence[Node], x: Node) -> SizeLike:
    """Return the size of square matrices, or raise the user's mistake."""
    if not dtypes.is_float(x.dtype):
        raise dtype_error(
            op, args, "floating-point matrices are needed.", "Convert with astype."
        )
    if x.ndim < 2 or sizes.unify(x.shape[-1], x.shape[-2]) is None:
        raise shape_error(op, args, "the last two axes must be of one size: a square.")
    return x.shape[-1]


def triangle(x: Node, upper: bool, diagonal: float = 1) -> Node:
    """Return a triangle of matrices, the diagonal multiplied by a number."""
    rows, columns = x.shape[-2:]
    i, j = reshape(iota(rows), (rows, 1)), iota(columns)
    zero = scalar_like(0, x)
    if diagonal == 1:
        return where(greater_equal(j, i) if upper else greater_equal(i, j), x, zero)
    inner = where(greater(j, i) if upper else greater(i, j), x, zero)
    if not diagonal:
        return inner
    on = where(not_equal(i, j), zero, multiply(x, scalar_like(diagonal, x)))
    return add(inner, on)


def where_used(flow: Node, value: Node, axes: int = 2) -> Node:
    """Return a derivative, zero for matrices whose `flow` is zero.

    A branch that is not taken may hold singular matrices: their part is exactly zero.
    """
    count = flow.ndim - axes
    used = not_equal(flow, scalar_like(0, flow))
    if axes:
        used = any_(used, params=(tuple(range(count, flow.ndim)),))
    used = reshape(used, (*used.shape, *(1,) * (value.ndim - count)))
    return where(used, value, scalar_like(0, value))


def swapped(x: Node) -> Node:
    """Return `x` with its last two axes swapped, two transposes being one."""
    if x.op is not transpose_:
        return matrix_transpose(x)
    *outer, rows, columns = x.params[0]
    return permute(x.args[0], (*outer, columns, rows))


def _is_swapped(x: Node) -> bool:
    last = x.ndim - 1
    return x.op is transpose_ and x.params[0] == (*range(last - 1), last, last - 1)


def each(function: Any, node: Node, arrays: Sequence[np.ndarray], shape: Any) -> Any:
    """Return a function of matrices applied to each of a batch; NaN where it fails."""
    out = np.empty(shape, node.dtype)
    for at in np.ndindex(*shape[: len(arrays[0].shape) - 2]):
        try:
            out[at] = function(*(a[at] for a in arrays))
        except np.linalg.LinAlgError:
            out[at] = np.nan
    return out


class Routine(General):
    """An op on matrices that a routine of the backend computes, one by one."""

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        require_square(self.name, args, args[0])
        return args[0].type

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return self(*all_batched(args, batched), params=node.params)

    def pattern(self, node: Node, known: Known, size: SizeOf) -> Sequence[Dependence]:
        return [matrix_by_matrix(node, p, size) for p in range(len(node.args))]


# -------------------------------------------------------------------------- Cholesky


class Cholesky(Routine):
    """``U.T @ U = x``, U upper triangular; of x the upper triangle is read."""

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        (x,) = args

        def factor(one: np.ndarray) -> np.ndarray:
            return np.linalg.cholesky(one.T).T

        with np.errstate(all="ignore"):
            out = each(factor, node, [x], x.shape)
        bad = np.isnan(out).any((-2, -1), keepdims=True)
        return np.where(bad, np.nan, out)

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        (t,) = tangents
        if t is None:
            return None
        mirrored = swapped(triangle(t, True, 0))
        half = solve_triangular(node, add(triangle(t, True), mirrored), False, True)
        both = swapped(solve_triangular(node, swapped(half), False, True))
        return where_used(t, matmul_(triangle(both, True, 0.5), node))

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        upper = triangle(cotangent, True)
        inner = triangle(_lower_product(node, upper), False, 0.5)
        half = solve_triangular(node, inner, False, False)
        both = solve_triangular(node, swapped(half), False, False)
        out = triangle(add(both, swapped(both)), True, 0.5)
        return [where_used(cotangent, out)]

    def flops(self, node: Node) -> SizeLike:
        # n square roots, n (n - 1) / 2 divisions, the rest multiplied and subtracted
        n = node.shape[-1]
        batch = sizes.product(node.shape[:-2])
        return sizes.floordiv(n * (n + 1) * (n * 2 + 1), 6) * batch


def _lower_product(u: Node, v: Node) -> Node:
    """Return ``u @ v.T`` of upper triangles, right on and below the diagonal.

    By blocks of rows, without those of zeros: a third of the operations.
    """
    n = u.shape[-1]
    if not isinstance(n, int) or n < LARGE:
        return matmul_(u, swapped(v))
    last = u.ndim - 1
    ends = [n * i // BLOCKS for i in range(BLOCKS + 1)]
    rows = []
    for low, high in pairwise(ends):
        left = slice_axis(slice_axis(u, last, low, n - low), last - 1, low, high - low)
        right = slice_axis(slice_axis(v, last, low, n - low), last - 1, 0, high)
        part = matmul_(left, swapped(right))
        rows.append(pad_to(part, (*part.shape[:-1], n)))
    return concatenate(rows, last - 1)


LARGE = 64
"""Rows from which on a product of triangles is taken apart."""

BLOCKS = 4


# -------------------------------------------------------------------- triangular solve


class TriangularSolve(Routine):
    """``op(T) X = B``; of T one triangle is read. Batch axes of T and B are the same.

    ``params``: whether the lower triangle is read, whether ``op(T)`` is ``T.T``, and
    whether the diagonal is taken as ones.
    """

    param_names = ("lower", "transposed", "unit_diagonal")

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        return right_hand_side(self.name, args, args[0], args[1])

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        from scipy.linalg import solve_triangular as solve

        lower, transposed, unit = node.params

        def one(t: np.ndarray, b: np.ndarray) -> np.ndarray:
            if not t.size or not b.size:
                return np.zeros_like(b)
            return solve(
                t,
                b,
                lower=lower,
                trans=int(transposed),
                unit_diagonal=unit,
                check_finite=False,
            )

        t, b = args
        return each(one, node, [t, b], b.shape)

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        lower, transposed, unit = node.params
        dt, db = tangents
        drive = db
        if dt is not None:
            dt = triangle(dt, not lower, 0 if unit else 1)
            dt = swapped(dt) if transposed else dt
            term = negative(where_used(dt, matmul_(dt, node)))
            drive = term if drive is None else add(drive, term)
        if drive is None:
            return None
        return where_used(drive, self(node.args[0], drive, params=node.params))

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        lower, transposed, unit = node.params
        back = self(node.args[0], cotangent, params=(lower, not transposed, unit))
        back = where_used(cotangent, back)
        by_t: Node | None = None
        if wanted[0]:
            one, other = (node, back) if transposed else (back, node)
            product = matmul_(one, swapped(other))
            product = triangle(product, not lower, 0 if unit else 1)
            by_t = negative(where_used(cotangent, product))
        return [by_t, back]

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        if batched[0]:
            return super().batch(node, args, batched)
        t, b = args
        x = self(t, folded(b), params=node.params)
        return unfolded(x, b.shape[0], b.shape[-1])

    def pattern(self, node: Node, known: Known, size: SizeOf) -> Sequence[Dependence]:
        lower, transposed, _ = node.params
        rows = Running((1,), shape_of(node, size), node.ndim - 2, lower == transposed)
        return [matrix_by_matrix(node, 0, size), rows]

    def flops(self, node: Node) -> SizeLike:
        n = node.shape[-2]
        return node.size * (n - 1 if node.params[2] else n)


def right_hand_side(op: str, args: Sequence[Node], matrix: Node, b: Node) -> TensorType:
    """Return the type of the solution of a system, or raise the user's mistake."""
    n = require_square(op, args, matrix)
    if matrix.dtype != b.dtype:
        raise dtype_error(op, args, "operands have different dtypes.")
    if b.ndim < 2 or sizes.unify(n, b.shape[-2]) is None:
        raise shape_error(
            op, args, "the matrix and the right-hand side differ in their rows."
        )
    batch = [sizes.unify(s, t) for s, t in zip(matrix.shape[:-2], b.shape[:-2])]
    if matrix.ndim != b.ndim or None in batch:
        raise shape_error(op, args, "the batch axes differ.")
    return b.type


def folded(b: Node) -> Node:
    """Return right-hand sides with a leading axis as columns of one matrix."""
    n, k = b.shape[-2:]
    last = b.ndim - 1
    moved = permute(b, (*range(1, last), 0, last))
    return reshape(moved, (*b.shape[1:-2], n, b.shape[0] * k))


def unfolded(x: Node, count: SizeLike, columns: SizeLike) -> Node:
    """Undo `folded`, of so many right-hand sides of so many columns."""
    x = reshape(x, (*x.shape[:-1], count, columns))
    last = x.ndim - 1
    return permute(x, (last - 1, *range(last - 1), last))


# -------------------------------------------------------------------------------- LU


class LuFactor(Routine):
    """``x[p] = L @ U`` with partial pivoting, as n + 3 rows.

    The first n are L, below the diagonal, whose own diagonal is of ones, and U; then
    come the order p of the rows, its inverse, and for each step 1, or -1 if it swapped
    two rows. It is given `x` without its derivative: see `solve`.
    """

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        (x,) = args
        n = require_square(self.name, args, x)
        return TensorType((*x.shape[:-2], n + 3, n), x.dtype)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        from scipy.linalg import lapack

        (x,) = args
        n = x.shape[-1]
        factor = lapack.sgetrf if node.dtype.itemsize == 4 else lapack.dgetrf

        def one(x: np.ndarray) -> np.ndarray:
            if not n:
                return np.zeros((3, 0))
            packed, swaps, _ = factor(x)
            order = np.arange(n)
            for i, j in enumerate(swaps):
                order[[i, j]] = order[[j, i]]
            signs = np.where(swaps == np.arange(n), 1, -1)
            return np.vstack([packed, order, np.argsort(order), signs])

        return each(one, node, [x], (*x.shape[:-2], n + 3, n))

    def flops(self, node: Node) -> SizeLike:
        (x,) = node.args
        # n (n - 1) / 2 divisions and as many comparisons for pivots, and products
        n = x.shape[-1]
        batch = sizes.product(x.shape[:-2])
        return sizes.floordiv((n - 1) * n * (n + 1) * 2, 3) * batch


def lu_rows(factors: Node) -> tuple[Node, Node, Node, Node]:
    """Return L and U in one, order of rows, its inverse, and signs of swaps."""
    n = factors.shape[-1]
    axis = factors.ndim - 2
    packed = slice_axis(factors, axis, 0, n)
    rows = [
        reshape(slice_axis(factors, axis, n + i, 1), (*factors.shape[:-2], n))
        for i in range(3)
    ]
    order, inverse = (cast(r, dtypes.int64) for r in rows[:2])
    return packed, order, inverse, rows[2]


cholesky_ = Cholesky("cholesky")
solve_triangular_ = TriangularSolve("solve_triangular")
lu_factor_ = LuFactor("lu_factor")


def squared(x: Node) -> Node:
    """Return matrices whose two sizes, if they are only taken as equal, are one."""
    return broadcast_to(x, (*x.shape[:-1], x.shape[-2])) if x.ndim > 1 else x


def fitting(a: Node, b: Node) -> tuple[Node, Node]:
    """Return a system in which sizes that are only taken as equal are one."""
    a = squared(a)
    shape = (*a.shape[:-1], b.shape[-1]) if b.ndim == a.ndim else b.shape
    if [sizes.unify(s, t) for s, t in zip(shape, b.shape)].count(None):
        return a, b  # the op raises
    return a, broadcast_to(b, shape)


def cholesky(x: Node) -> Node:
    """Return U of ``U.T @ U = x``, by the upper triangle of `x`."""
    return cholesky_(squared(x))


def solve_triangular(
    t: Node, b: Node, lower: bool, transposed: bool, unit: bool = False
) -> Node:
    """Return the solution of ``t @ x = b``; a transposed one is read as it lies."""
    t, b = fitting(t, b)
    if _is_swapped(t):
        t, lower, transposed = t.args[0], not lower, not transposed
    return solve_triangular_(t, b, params=(lower, transposed, unit))


def lu_factors(a: Node) -> Node:
    """Return the LU factors of `a`, which carry no derivative."""
    return lu_factor_(apply(stop_gradient, squared(a)))
