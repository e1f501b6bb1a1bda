"""`SparseMatrix`: a sparse matrix whose entries are an expression."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from graphc.expressions.containers import Container
from graphc.graph.node import Node
from graphc.ops.arithmetic import as_node, cast, multiply
from graphc.ops.index import gather, scatter_add
from graphc.ops.leaf import constant, full
from graphc.ops.move import broadcast_to, permute, reshape
from graphc.types import dtypes
from graphc.types.errors import AllocationError, InputError, ShapeError
from graphc.types.tensor_type import shape_text

DENSE_LIMIT = 2**33
"""Bytes from which on a matrix is not made dense."""


class Layout:
    """Where the entries of a sparse matrix are: CSR's indices, indptr and shape.

    Equal by content, so it can be part of a key. The arrays are read-only: every result
    of a compiled function shares them.
    """

    __slots__ = ("indices", "indptr", "shape", "_hash", "_empty")

    def __init__(self, indices: Any, indptr: Any, shape: tuple[int, int]):
        wide = max(len(indices), *shape) > np.iinfo(np.int32).max
        self.indices = _frozen(indices, np.int64 if wide else np.int32)
        self.indptr = _frozen(indptr, np.int64 if wide else np.int32)
        self.shape = shape
        self._hash = hash((shape, self.indices.tobytes(), self.indptr.tobytes()))
        self._empty: Any = None

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Layout)
            and self._hash == other._hash
            and self.shape == other.shape
            and np.array_equal(self.indptr, other.indptr)
            and np.array_equal(self.indices, other.indices)
        )

    def __reduce__(self) -> Any:
        return (Layout, (self.indices, self.indptr, self.shape))

    @property
    def rows(self) -> np.ndarray:
        """The row of each entry."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))

    def array(self, data: np.ndarray) -> Any:
        """Return the `scipy.sparse.csr_array` of these entries.

        A shallow copy of one that is kept: SciPy's checks of the indices, which take
        longer than a small function, are done once.
        """
        if self._empty is None:
            from scipy.sparse import csr_array

            parts = (np.zeros(len(self.indices)), self.indices, self.indptr)
            self._empty = csr_array(parts, shape=self.shape)
            self._empty.has_canonical_format = True
            self._empty.data = self._empty.data[:0]
        out = copy.copy(self._empty)
        out.data = data
        return out


def _frozen(values: Any, dtype: Any) -> np.ndarray:
    out = np.array(values, dtype)
    out.flags.writeable = False
    return out


class SparseMatrix(Container):
    """A sparse matrix whose entries are an expression; its structure is fixed.

    Made by ``jacobian(y, x, mode="sparse")``. Compiled or evaluated it is a
    `scipy.sparse.csr_array`, whose `indices` and `indptr` are read-only and shared by
    all results. What changes the structure in place, such as SciPy's `eliminate_zeros`,
    needs a `copy()`, which has its own.

    Attributes
    ----------
    data : expression, (nnz,)
        The entries, row by row, columns in ascending order.
    indices, indptr : array of int
        As in `scipy.sparse.csr_array`.
    shape : tuple of int
    nnz : int
    dtype : numpy.dtype

    Notes
    -----
    Arithmetic is by numbers and scalar expressions only (``S * 2``), and ``S @ v``,
    ``v @ S`` by vectors and matrices; all are expressions.
    """

    __array_ufunc__ = None  # v @ S of an array is this class's to answer

    def __init__(self, data: Node, layout: Layout):
        if data.ndim != 1:
            raise ShapeError(
                "a sparse matrix has one axis of entries, not those of "
                f"{data.label()}. To map over many, take the data: vmap(lambda x: "
                'jacobian(f(x), x, "sparse").data).'
            )
        self.data = data
        self.layout = layout

    # as a container ---------------------------------------------------------

    def apart(self) -> tuple[Any, list[Any]]:
        return self.layout, [self.data]

    @classmethod
    def assembled(cls, kept: Any, leaves: list[Any]) -> Any:
        (data,) = leaves
        return cls(data, kept) if isinstance(data, Node) else kept.array(data)

    @classmethod
    def leaves_of(cls, kept: Any, tree: Any, what: str) -> list[Any]:
        same = getattr(tree, "shape", None) == kept.shape and hasattr(tree, "indptr")
        if not same or not kept == Layout(tree.indices, tree.indptr, kept.shape):
            raise InputError(
                f"{what} must be a sparse matrix in CSR format with the structure of "
                f"the result, {kept.shape[0]} x {kept.shape[1]} with "
                f"{len(kept.indices)} entries."
            )
        return [tree.data]

    # as a matrix ------------------------------------------------------------

    @property
    def indices(self) -> np.ndarray:
        """The column of each entry."""
        return self.layout.indices

    @property
    def indptr(self) -> np.ndarray:
        """Where in `data` each row begins, and the last one ends."""
        return self.layout.indptr

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        return self.layout.shape

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    @property
    def nnz(self) -> int:
        """The number of entries."""
        return len(self.layout.indices)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the entries."""
        return self.data.dtype

    def __repr__(self) -> str:
        return (
            f"<SparseMatrix {self.dtype.name}{shape_text(self.shape)} with {self.nnz} "
            "entries>"
        )

    def toarray(self) -> Node:
        """Return the matrix as a dense expression.

        Raises
        ------
        AllocationError
            If that would take more than 8 GiB.
        """
        height, width = self.shape
        size = height * width * self.dtype.itemsize
        if size > DENSE_LIMIT:
            raise AllocationError(
                f"toarray: the sparse matrix of {height} x {width} with {self.nnz} "
                f"entries would take {size / 2**30:,.0f} GiB if it were dense. Use it "
                "as it is: S @ v, S.data, or the csr_array that it evaluates to."
            )
        where = self.layout.rows * width + self.indices
        zeros = full((height * width,), 0, self.dtype)
        return reshape(scatter_add(zeros, self.data, [constant(where)]), self.shape)

    todense = toarray

    @property
    def T(self) -> SparseMatrix:
        """The transposed matrix."""
        order = np.lexsort((self.layout.rows, self.indices))
        counts = np.bincount(self.indices, minlength=self.shape[1])
        indptr = np.concatenate([[0], np.cumsum(counts)])
        layout = Layout(self.layout.rows[order], indptr, self.shape[::-1])
        return SparseMatrix(gather(self.data, [constant(order)]), layout)

    def transpose(self) -> SparseMatrix:
        """Return the transposed matrix."""
        return self.T

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, SparseMatrix):
            raise InputError(
                "matmul: a product of two sparse expressions is not available. Compute "
                "it of the arrays they evaluate to, or multiply by vectors in turn."
            )
        v = as_node(other)
        if v.ndim not in (1, 2) or v.shape[0] != self.shape[1]:
            raise ShapeError(
                f"matmul: a sparse matrix of shape {self.shape} takes a vector of "
                f"{self.shape[1]} or a matrix of as many rows, not {v.label()}."
            )
        joint = dtypes.promote(self.dtype, v.dtype)
        data, v = cast(self.data, joint), cast(v, joint)
        picked = gather(v, [constant(self.indices)])
        if v.ndim == 2:
            data = broadcast_to(reshape(data, (self.nnz, 1)), picked.shape)
        zeros = full((self.shape[0], *v.shape[1:]), 0, joint)
        rows = constant(self.layout.rows)
        return scatter_add(zeros, multiply(data, picked), [rows])

    def __rmatmul__(self, other: Any) -> Any:
        v = as_node(other)
        if v.ndim == 2:
            return permute(self.T @ permute(v, (1, 0)), (1, 0))
        return self.T @ v

    def __mul__(self, other: Any) -> SparseMatrix:
        factor = other if isinstance(other, (int, float)) else as_node(other)
        if isinstance(factor, Node) and factor.ndim:
            raise ShapeError(
                f"multiply: a sparse matrix is multiplied by numbers, not by "
                f"{factor.label()}. Multiply its data, or use @ for a product."
            )
        return SparseMatrix(self.data * factor, self.layout)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> SparseMatrix:
        return self * (1.0 / other)

    def __neg__(self) -> SparseMatrix:
        return SparseMatrix(-self.data, self.layout)
