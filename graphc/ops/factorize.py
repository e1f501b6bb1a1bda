"""Factorizations of matrices, triangular solves, and what is made of them.

`cholesky` and `lu_factor` are ops of their own, so that whatever solves, inverts or
takes determinants of one matrix, its derivatives included, shares one factorization.
`solve` and `log_abs_det` take the matrix and its factors: they are computed by the
factors, and differentiated by the matrix (Giles, "Collected matrix derivative results
for forward and reverse mode algorithmic differentiation", 2008). That of `cholesky` is
the one of Murray, "Differentiation of the Cholesky decomposition", 2016.

A matrix that cannot be factorized or is singular makes its result NaN, all of it, and no
other matrix of the batch. Derivatives of a result that nothing asks for are exactly zero.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from graphc.ops.declare import General, SizeOf, dtype_error, shape_error
from graphc.ops.elementwise import log
from graphc.ops.index import gather
from graphc.ops.leaf import iota, scalar_like
from graphc.ops.move import (
    all_batched,
    broadcast_to,
    diagonal_,
    permute,
    reshape,
    transpose_,
)
from graphc.ops.reduce import any_, prod_, sum_
from graphc.ops.rounding import absolute, sign
from graphc.ops.slicing import slice_axis
from graphc.types import dtypes, sizes
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import TensorType

# --------------------------------------------------------------------------- helpers


def _square(op: str, args: Sequence[Node], x: Node) -> SizeLike:
    """Return the size of square matrices, or raise the user's mistake."""
    if not dtypes.is_float(x.dtype):
        raise dtype_error(
            op, args, "floating-point matrices are needed.", "Convert with astype."
        )
    if x.ndim < 2 or sizes.unify(x.shape[-1], x.shape[-2]) is None:
        raise shape_error(op, args, "the last two axes must be of one size: a square.")
    return x.shape[-1]


def _triangle(x: Node, upper: bool, diagonal: float = 1) -> Node:
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


def _where_used(flow: Node, value: Node, axes: int = 2) -> Node:
    """Return a derivative, zero for matrices whose `flow` is zero.

    A branch that is not taken may hold singular matrices: their part is exactly zero.
    """
    count = flow.ndim - axes
    used = not_equal(flow, scalar_like(0, flow))
    if axes:
        used = any_(used, params=(tuple(range(count, flow.ndim)),))
    used = reshape(used, (*used.shape, *(1,) * (value.ndim - count)))
    return where(used, value, scalar_like(0, value))


def _identity_like(x: Node) -> Node:
    n = x.shape[-1]
    on = not_equal(reshape(iota(n), (n, 1)), iota(n))
    eye = where(on, scalar_like(0, x), scalar_like(1, x))
    return broadcast_to(eye, x.shape)


def swapped(x: Node) -> Node:
    """Return `x` with its last two axes swapped, two transposes being one."""
    if x.op is not transpose_:
        return matrix_transpose(x)
    *outer, rows, columns = x.params[0]
    return permute(x.args[0], (*outer, columns, rows))


def _is_swapped(x: Node) -> bool:
    last = x.ndim - 1
    return x.op is transpose_ and x.params[0] == (*range(last - 1), last, last - 1)


def _each(function: Any, node: Node, arrays: Sequence[np.ndarray], shape: Any) -> Any:
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
        _square(self.name, args, args[0])
        return args[0].type

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return self(*all_batched(args, batched), params=node.params)


# -------------------------------------------------------------------------- Cholesky


class Cholesky(Routine):
    """``U.T @ U = x``, U upper triangular; of x the upper triangle is read."""

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        (x,) = args

        def factor(one: np.ndarray) -> np.ndarray:
            return np.linalg.cholesky(one.T).T

        with np.errstate(all="ignore"):
            out = _each(factor, node, [x], x.shape)
        bad = np.isnan(out).any((-2, -1), keepdims=True)
        return np.where(bad, np.nan, out)

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        (t,) = tangents
        if t is None:
            return None
        mirrored = swapped(_triangle(t, True, 0))
        half = solve_triangular(node, add(_triangle(t, True), mirrored), False, True)
        both = swapped(solve_triangular(node, swapped(half), False, True))
        return _where_used(t, matmul_(_triangle(both, True, 0.5), node))

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        upper = _triangle(cotangent, True)
        inner = _triangle(matmul_(node, swapped(upper)), False, 0.5)
        half = solve_triangular(node, inner, False, False)
        both = solve_triangular(node, swapped(half), False, False)
        out = _triangle(add(both, swapped(both)), True, 0.5)
        return [_where_used(cotangent, out)]

    def flops(self, node: Node) -> SizeLike:
        return sizes.floordiv(node.size * node.shape[-1], 3)


# -------------------------------------------------------------------- triangular solve


class TriangularSolve(Routine):
    """``op(T) X = B``; of T one triangle is read. Batch axes of T and B are the same.

    ``params``: whether the lower triangle is read, whether ``op(T)`` is ``T.T``, and
    whether the diagonal is taken as ones.
    """

    param_names = ("lower", "transposed", "unit_diagonal")

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        return _right_hand_side(self.name, args, args[0], args[1])

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
        return _each(one, node, [t, b], b.shape)

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        lower, transposed, unit = node.params
        dt, db = tangents
        drive = db
        if dt is not None:
            dt = _triangle(dt, not lower, 0 if unit else 1)
            dt = swapped(dt) if transposed else dt
            term = negative(_where_used(dt, matmul_(dt, node)))
            drive = term if drive is None else add(drive, term)
        if drive is None:
            return None
        return _where_used(drive, self(node.args[0], drive, params=node.params))

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        lower, transposed, unit = node.params
        back = self(node.args[0], cotangent, params=(lower, not transposed, unit))
        back = _where_used(cotangent, back)
        by_t: Node | None = None
        if wanted[0]:
            one, other = (node, back) if transposed else (back, node)
            product = matmul_(one, swapped(other))
            product = _triangle(product, not lower, 0 if unit else 1)
            by_t = negative(_where_used(cotangent, product))
        return [by_t, back]

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        if batched[0]:
            return super().batch(node, args, batched)
        t, b = args
        x = self(t, folded(b), params=node.params)
        return unfolded(x, b.shape[0], b.shape[-1])

    def flops(self, node: Node) -> SizeLike:
        return node.size * node.shape[-2]


def _right_hand_side(
    op: str, args: Sequence[Node], matrix: Node, b: Node
) -> TensorType:
    """Return the type of the solution of a system, or raise the user's mistake."""
    n = _square(op, args, matrix)
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
        n = _square(self.name, args, x)
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

        return _each(one, node, [x], (*x.shape[:-2], n + 3, n))

    def flops(self, node: Node) -> SizeLike:
        (x,) = node.args
        return sizes.floordiv(x.size * x.shape[-1] * 2, 3)


def _lu_rows(factors: Node) -> tuple[Node, Node, Node, Node]:
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


# ------------------------------------------------------------------------------ solve


class Composed(General):
    """An op with derivatives of its own that is computed by other ops."""

    def composed(self, node: Node) -> Node:
        """Return what computes the node."""
        raise NotImplementedError


class Solve(Composed):
    """``op(A) X = B`` by the factors of A. Arguments: A, its factors, B.

    ``params``: whether ``op(A)`` is ``A.T``, and whether the factor is Cholesky's.
    """

    param_names = ("transposed", "positive")

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        a, _, b = args
        return _right_hand_side(self.name, (a, b), a, b)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        transposed, positive = node.params
        a, factors, b = args
        a = np.swapaxes(a, -2, -1) if transposed else a
        if positive:  # reads one triangle
            a = np.triu(a) + np.swapaxes(np.triu(a, 1), -2, -1)
            a = np.where(np.isnan(factors), np.nan, a)
        return _each(np.linalg.solve, node, [a, b], b.shape)

    def composed(self, node: Node) -> Node:
        transposed, positive = node.params
        _, factors, b = node.args
        if positive:
            half = solve_triangular(factors, b, False, True)
            return solve_triangular(factors, half, False, False)
        packed, order, inverse, _ = _lu_rows(factors)
        batch = b.ndim - 2
        if transposed:
            half = solve_triangular(packed, b, False, True)
            x = solve_triangular(packed, half, True, True, True)
            return gather(x, [inverse], batch)
        half = solve_triangular(packed, gather(b, [order], batch), True, False, True)
        return solve_triangular(packed, half, False, False)

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        da, _, db = tangents
        drive = db
        if da is not None:
            da = swapped(da) if node.params[0] else da
            term = negative(_where_used(da, matmul_(da, node)))
            drive = term if drive is None else add(drive, term)
        if drive is None:
            return None
        a, factors, _ = node.args
        return _where_used(drive, self(a, factors, drive, params=node.params))

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        transposed, positive = node.params
        a, factors, _ = node.args
        back = self(a, factors, cotangent, params=(not transposed, positive))
        back = _where_used(cotangent, back)
        by_a: Node | None = None
        if wanted[0]:
            one, other = (node, back) if transposed else (back, node)
            product = matmul_(one, swapped(other))
            by_a = negative(_where_used(cotangent, product))
        return [by_a, None, back]

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        if any(batched[:2]):
            return self(*all_batched(args, batched), params=node.params)
        a, factors, b = args
        x = self(a, factors, folded(b), params=node.params)
        return unfolded(x, b.shape[0], b.shape[-1])

    def flops(self, node: Node) -> SizeLike:
        return node.size * node.shape[-2] * 2


class _OfDeterminant(Composed):
    """A function of ``det(A)`` by the factors of A. Arguments: A and its LU factors."""

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        _square(self.name, args[:1], args[0])
        return TensorType(args[0].shape[:-2], args[0].dtype)

    def slope(self, node: Node, flow: Node) -> Node:
        """Return ``flow * det(A) * f'(det(A))``, f being the function."""
        raise NotImplementedError

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        t = tangents[0]
        if t is None:
            return None
        a, factors = node.args
        terms = diagonal_(solve_(a, factors, t, params=(False, False)))
        trace = sum_(terms, params=((terms.ndim - 1,),))
        return _where_used(t, self.slope(node, trace))

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        a, factors = node.args
        inverse = solve_(a, factors, _identity_like(a), params=(True, False))
        flow = self.slope(node, cotangent)
        wide = reshape(flow, (*flow.shape, 1, 1))
        return [_where_used(cotangent, multiply(wide, inverse), 0), None]

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return self(*all_batched(args, batched))

    def flops(self, node: Node) -> SizeLike:
        return node.size * node.args[0].shape[-1]


class LogAbsDet(_OfDeterminant):
    """``log(abs(det(A)))``."""

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return np.linalg.slogdet(args[0])[1]

    def composed(self, node: Node) -> Node:
        terms = log(absolute(diagonal_(_lu_rows(node.args[1])[0])))
        return sum_(terms, params=((terms.ndim - 1,),))

    def slope(self, node: Node, flow: Node) -> Node:
        return flow

    def transcendentals(self, node: Node) -> SizeLike:
        return node.size * node.args[0].shape[-1]


class Det(_OfDeterminant):
    """``det(A)``."""

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return np.linalg.det(args[0])

    def composed(self, node: Node) -> Node:
        packed, _, _, swaps = _lu_rows(node.args[1])
        terms = multiply(diagonal_(packed), swaps)
        return prod_(terms, params=((terms.ndim - 1,),))

    def slope(self, node: Node, flow: Node) -> Node:
        return multiply(flow, node)


cholesky_ = Cholesky("cholesky")
solve_triangular_ = TriangularSolve("solve_triangular")
lu_factor_ = LuFactor("lu_factor")
solve_ = Solve("solve")
log_abs_det_ = LogAbsDet("log_abs_det")
det_ = Det("det")


def squared(x: Node) -> Node:
    """Return matrices whose two sizes, if they are only taken as equal, are one."""
    return broadcast_to(x, (*x.shape[:-1], x.shape[-2])) if x.ndim > 1 else x


def _fitting(a: Node, b: Node) -> tuple[Node, Node]:
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
    """Return the solution of ``t @ x = b``; a transposed triangle is read as it lies."""
    t, b = _fitting(t, b)
    if _is_swapped(t):
        t, lower, transposed = t.args[0], not lower, not transposed
    return solve_triangular_(t, b, params=(lower, transposed, unit))


def lu_factors(a: Node) -> Node:
    """Return the LU factors of `a`, which carry no derivative."""
    return lu_factor_(apply(stop_gradient, squared(a)))


def solve(a: Node, b: Node, positive: bool = False) -> Node:
    """Return the solution of ``a @ x = b``, for matrices of the same batch axes.

    `positive` takes `a` as symmetric and positive definite, and reads its upper half.
    """
    a, b = _fitting(a, b)
    if positive:
        factors = cholesky_(apply(stop_gradient, a))
    else:
        factors = lu_factors(a)
    return solve_(a, factors, b, params=(False, positive))


def log_abs_det(a: Node) -> Node:
    """Return the logarithm of the absolute value of the determinant of `a`."""
    a = squared(a)
    return log_abs_det_(a, lu_factors(a))


def det(a: Node) -> Node:
    """Return the determinant of `a`."""
    a = squared(a)
    return det_(a, lu_factors(a))


def det_sign(a: Node) -> Node:
    """Return the sign of the determinant of `a`: -1, 0 or 1; it has no derivative."""
    packed, _, _, swaps = _lu_rows(lu_factors(a))
    terms = multiply(sign(diagonal_(packed)), swaps)
    return prod_(terms, params=((terms.ndim - 1,),))
