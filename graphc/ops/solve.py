"""Solutions of linear systems, and determinants, by factors of the matrix.

The ops take the matrix and its factors: they are computed by the factors, which carry
no derivative, and differentiated by the matrix (Giles, "Collected matrix derivative
results for forward and reverse mode algorithmic differentiation", 2008). Derivatives so
are solutions by the same factors, and need no derivative of a factorization.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.arithmetic import (
    add,
    apply,
    multiply,
    negative,
    not_equal,
    stop_gradient,
    where,
)
from graphc.ops.contract import matmul_
from graphc.ops.declare import General, SizeOf
from graphc.ops.dependence import Dependence, Known, matrix_by_matrix
from graphc.ops.elementwise import log
from graphc.ops.factorize import (
    cholesky_,
    each,
    fitting,
    folded,
    lu_factors,
    lu_rows,
    require_square,
    right_hand_side,
    solve_triangular,
    squared,
    swapped,
    unfolded,
    where_used,
)
from graphc.ops.index import gather
from graphc.ops.leaf import iota, scalar_like
from graphc.ops.move import all_batched, broadcast_to, diagonal_, reshape
from graphc.ops.reduce import prod_, sum_
from graphc.ops.rounding import absolute, sign
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import TensorType


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
        return right_hand_side(self.name, (a, b), a, b)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        transposed, positive = node.params
        a, factors, b = args
        a = np.swapaxes(a, -2, -1) if transposed else a
        if positive:  # reads one triangle
            a = np.triu(a) + np.swapaxes(np.triu(a, 1), -2, -1)
            a = np.where(np.isnan(factors), np.nan, a)
        return each(np.linalg.solve, node, [a, b], b.shape)

    def composed(self, node: Node) -> Node:
        transposed, positive = node.params
        _, factors, b = node.args
        if positive:
            half = solve_triangular(factors, b, False, True)
            return solve_triangular(factors, half, False, False)
        packed, order, inverse, _ = lu_rows(factors)
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
            term = negative(where_used(da, matmul_(da, node)))
            drive = term if drive is None else add(drive, term)
        if drive is None:
            return None
        a, factors, _ = node.args
        return where_used(drive, self(a, factors, drive, params=node.params))

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        transposed, positive = node.params
        a, factors, _ = node.args
        back = self(a, factors, cotangent, params=(not transposed, positive))
        back = where_used(cotangent, back)
        by_a: Node | None = None
        if wanted[0]:
            one, other = (node, back) if transposed else (back, node)
            product = matmul_(one, swapped(other))
            by_a = negative(where_used(cotangent, product))
        return [by_a, None, back]

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        if any(batched[:2]):
            return self(*all_batched(args, batched), params=node.params)
        a, factors, b = args
        x = self(a, factors, folded(b), params=node.params)
        return unfolded(x, b.shape[0], b.shape[-1])

    def pattern(self, node: Node, known: Known, size: SizeOf) -> Sequence[Dependence]:
        rows = matrix_by_matrix(node, 2, size, columns=True)
        return [matrix_by_matrix(node, 0, size), rows]

    def flops(self, node: Node) -> SizeLike:
        n = node.shape[-2]
        return node.size * (n * 2 if node.params[1] else n * 2 - 1)


class _OfDeterminant(Composed):
    """A function of ``det(A)`` by the factors of A. Arguments: A and its LU factors."""

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        require_square(self.name, args[:1], args[0])
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
        return where_used(t, self.slope(node, trace))

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        a, factors = node.args
        inverse = solve_(a, factors, _identity_like(a), params=(True, False))
        flow = self.slope(node, cotangent)
        wide = reshape(flow, (*flow.shape, 1, 1))
        return [where_used(cotangent, multiply(wide, inverse), 0), None]

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return self(*all_batched(args, batched))

    def pattern(self, node: Node, known: Known, size: SizeOf) -> Sequence[Dependence]:
        return [matrix_by_matrix(node, 0, size)]

    def flops(self, node: Node) -> SizeLike:
        return node.size * node.args[0].shape[-1] * 2


class LogAbsDet(_OfDeterminant):
    """``log(abs(det(A)))``."""

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return np.linalg.slogdet(args[0])[1]

    def composed(self, node: Node) -> Node:
        terms = log(absolute(diagonal_(lu_rows(node.args[1])[0])))
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
        packed, _, _, swaps = lu_rows(node.args[1])
        terms = multiply(diagonal_(packed), swaps)
        return prod_(terms, params=((terms.ndim - 1,),))

    def slope(self, node: Node, flow: Node) -> Node:
        return multiply(flow, node)


def _identity_like(x: Node) -> Node:
    n = x.shape[-1]
    on = not_equal(reshape(iota(n), (n, 1)), iota(n))
    eye = where(on, scalar_like(0, x), scalar_like(1, x))
    return broadcast_to(eye, x.shape)


solve_ = Solve("solve")
log_abs_det_ = LogAbsDet("log_abs_det")
det_ = Det("det")


def solve(a: Node, b: Node, positive: bool = False) -> Node:
    """Return the solution of ``a @ x = b``, for matrices of the same batch axes.

    `positive` takes `a` as symmetric and positive definite, and reads its upper half.
    """
    a, b = fitting(a, b)
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
    packed, _, _, swaps = lu_rows(lu_factors(a))
    terms = multiply(sign(diagonal_(packed)), swaps)
    return prod_(terms, params=((terms.ndim - 1,),))
