"""Systems of linear equations, Cholesky factors, inverses and determinants.

Matrices are the last two axes; the axes before them broadcast. A singular matrix, or
one that has no Cholesky factor, gives NaN for itself and leaves the rest of a batch
alone: that there is one turns out when a compiled function runs, which cannot stop for
one of a thousand. NumPy raises `LinAlgError` there, JAX gives NaN as well.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from graphc.expressions.creation import eye
from graphc.expressions.operands import as_expression, promoted
from graphc.graph.node import Node
from graphc.ops import factorize
from graphc.ops import solve as systems
from graphc.ops.arithmetic import cast
from graphc.ops.contract import matrix_transpose
from graphc.ops.messages import shape_error
from graphc.ops.move import broadcast_to, reshape
from graphc.types import dtypes, sizes
from graphc.types.errors import ShapeError
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import broadcast_shapes

__all__ = ["cholesky", "det", "inv", "slogdet", "solve", "solve_triangular"]


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the absolute value of a determinant."""

    sign: Node
    logabsdet: Node


def cholesky(x: Any, /, *, upper: bool = False, symmetrize_input: bool = True) -> Node:
    """Return the Cholesky factor L of ``x = L @ L.T``.

    Parameters
    ----------
    x : expression or array, shape (..., n, n)
        Symmetric positive definite matrices.
    upper : bool
        Return ``U = L.T`` instead.
    symmetrize_input : bool
        Take ``(x + x.T) / 2`` for `x`, as JAX does: the derivative is symmetric then.
        Otherwise the upper triangle is not read, and its derivative is zero.

    Returns
    -------
    expression, shape (..., n, n)
        NaN where a matrix is not positive definite.

    Raises
    ------
    ShapeError
        If the last two axes are not of one size.

    Notes
    -----
    Derivatives are those of Murray, "Differentiation of the Cholesky decomposition",
    arXiv:1602.07527, 2016: ``dL = L @ phi(inv(L) @ dx @ inv(L).T)``, phi taking the
    lower triangle and half of the diagonal.
    """
    x = _floats("cholesky", x)[0]
    _require_square("cholesky", x)
    x = factorize.squared(x)
    flipped = factorize.swapped(x)
    half = (x + flipped) * 0.5 if symmetrize_input else flipped
    factor = factorize.cholesky_(half)
    return factor if upper else matrix_transpose(factor)


def solve_triangular(
    a: Any,
    b: Any,
    /,
    trans: Any = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
) -> Node:
    """Return the solution of ``a @ x = b`` for triangular matrices.

    Parameters
    ----------
    a : expression or array, shape (..., n, n)
        Only one triangle is read.
    b : expression or array, shape (n,), (..., n) or (..., n, k)
        One right-hand side for each matrix, or k of them; as in `solve`.
    trans : {0, "N", 1, "T"}
        1 or "T" solves ``a.T @ x = b``.
    lower : bool
        Read the lower triangle, not the upper one.
    unit_diagonal : bool
        Take the diagonal as ones, without reading it.

    Returns
    -------
    expression
        Of the shape of `b`, its batch axes broadcast with those of `a`. NaN where a
        matrix has a zero on its diagonal.

    Raises
    ------
    ShapeError
        If `a` is not square, sizes differ, or `trans` is another.
    """
    if not isinstance(trans, (int, str)) or trans not in (0, 1, 2, "N", "T", "C"):
        raise ShapeError(
            f"solve_triangular: trans={trans!r} is neither 0 or 'N' nor 1 or 'T'."
        )
    transposed = trans not in (0, "N")

    def system(a: Node, b: Node) -> Node:
        return factorize.solve_triangular(
            a, b, bool(lower), transposed, bool(unit_diagonal)
        )

    return _systems("solve_triangular", a, b, system)


def solve(a: Any, b: Any, /, *, assume_a: str = "gen") -> Node:
    """Return the solution x of ``a @ x = b``.

    Parameters
    ----------
    a : expression or array, shape (..., n, n)
    b : expression or array, shape (n,) or (..., n, k)
        One vector for all matrices, or k columns; the other axes broadcast.
    assume_a : {"gen", "pos"}
        "gen" uses the LU factors with partial pivoting; "pos" takes `a` as symmetric
        positive definite, that is ``(a + a.T) / 2``, and uses its Cholesky factor, in
        half the time.

    Returns
    -------
    expression, shape (..., n) or (..., n, k)
        NaN where a matrix is singular, or not positive definite if that is assumed.

    Raises
    ------
    ShapeError
        If `a` is not square, sizes differ, or `assume_a` is another.

    Notes
    -----
    The derivatives are solutions of systems by the same factors: ``dx = solve(a, db -
    da @ x)``, and backwards ``b' = solve(a.T, x')``, ``a' = -b' @ x.T`` (Giles, "An
    extended collection of matrix derivative results", 2008).
    """
    if assume_a not in ("gen", "general", "pos", "positive definite"):
        raise ShapeError(
            f'solve: assume_a={assume_a!r} is neither "gen" nor "pos". Use "gen", for '
            "any system, or solve_triangular."
        )
    positive = assume_a.startswith("pos")

    def system(a: Node, b: Node) -> Node:
        if positive:
            a = factorize.squared(a)
            a = (a + factorize.swapped(a)) * 0.5
        return systems.solve(a, b, positive)

    return _systems("solve", a, b, system)


def inv(x: Any, /) -> Node:
    """Return the inverse of square matrices, NaN for a singular one.

    ``solve(x, b)`` is faster and more accurate than ``inv(x) @ b``.

    Raises
    ------
    ShapeError
        If the last two axes are not of one size.
    """
    x = _floats("inv", x)[0]
    n = _require_square("inv", x)
    return systems.solve(x, broadcast_to(eye(n, dtype=x.dtype), x.shape))


def slogdet(x: Any, /) -> SlogdetResult:
    """Return the sign and the logarithm of the absolute value of determinants.

    Parameters
    ----------
    x : expression or array, shape (..., n, n)

    Returns
    -------
    SlogdetResult
        `sign` is -1, 1, or 0 for a singular matrix; `logabsdet` is -inf for that.
        The derivative of `logabsdet` is ``inv(x).T``, NaN where `x` is singular.

    Raises
    ------
    ShapeError
        If the last two axes are not of one size.
    """
    x = _floats("slogdet", x)[0]
    _require_square("slogdet", x)
    return SlogdetResult(systems.det_sign(x), systems.log_abs_det(x))


def det(x: Any, /) -> Node:
    """Return the determinant of square matrices.

    Matrices of up to 3 rows, known when the expression is made, are expanded: the
    derivative is right for singular ones too. That of larger ones is ``det(x) *
    inv(x).T``, which is NaN where `x` is singular.

    Raises
    ------
    ShapeError
        If the last two axes are not of one size.
    """
    x = _floats("det", x)[0]
    n = _require_square("det", x)
    if isinstance(n, int) and n <= 3:
        return _expanded(x, n)
    return systems.det(x)


def _expanded(x: Node, n: int) -> Node:
    """Return the determinant by its formula."""
    if n == 0:
        return broadcast_to(cast(as_expression(1.0), x.dtype), x.shape[:-2])
    e = [[x[..., i, j] for j in range(n)] for i in range(n)]
    if n == 1:
        return e[0][0]
    if n == 2:
        return e[0][0] * e[1][1] - e[0][1] * e[1][0]
    terms = [
        e[0][i] * (e[1][j] * e[2][k] - e[1][k] * e[2][j])
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    ]
    return terms[0] + terms[1] + terms[2]


# --------------------------------------------------------------------------- operands


def _floats(what: str, *operands: Any) -> list[Node]:
    nodes = promoted([as_expression(x, what=what) for x in operands])
    return [x if dtypes.is_float(x.dtype) else cast(x, dtypes.float64) for x in nodes]


def _require_square(op: str, x: Node) -> SizeLike:
    if x.ndim < 2 or sizes.unify(x.shape[-1], x.shape[-2]) is None:
        raise shape_error(op, [x], "square matrices are needed, in the last two axes.")
    return x.shape[-1]


def _systems(op: str, a: Any, b: Any, system: Any) -> Node:
    """Return the solution of systems whose batch axes broadcast."""
    a, b = _floats(op, a, b)
    n = _require_square(op, a)
    vector = b.ndim == 1
    if not b.ndim or sizes.unify(n, b.shape[0 if vector else -2]) is None:
        raise shape_error(
            op,
            [a, b],
            "the right-hand side must have as many rows as the matrix: a vector, or "
            "columns in the last two axes.",
            "Give vectors of a batch an axis: b[..., None].",
        )
    if vector:
        b = reshape(b, (b.shape[0], 1))
    batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]])
    if batch is None:
        raise shape_error(op, [a, b], "the batch axes do not broadcast.")
    shape = (*batch, *b.shape[-2:])
    if a.ndim == 2 and b.ndim > 2:
        # the same matrix for all: the right-hand sides are columns of one
        x = _joined(a, b, system)
    else:
        x = system(broadcast_to(a, (*batch, *a.shape[-2:])), broadcast_to(b, shape))
    return reshape(x, shape[:-1]) if vector else x


def _joined(a: Node, b: Node, system: Any) -> Node:
    *batch, n, k = b.shape
    count = sizes.product(batch)
    folded = factorize.folded(reshape(b, (count, n, k)))
    x = factorize.unfolded(system(a, folded), count, k)
    return reshape(x, b.shape)
