"""NumPy's indexing with integer arrays, by gathers and scatters."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.graph.node import Node
from graphc.ops.index import gather, scatter_add_, scatter_set_
from graphc.ops.messages import shape_error
from graphc.ops.move import (
    broadcast_to,
    inverse_permutation,
    iota_axis,
    permute,
    reshape,
)
from graphc.types.tensor_type import (
    broadcast_shapes,
    normalize_axis,
)


def _broadcast_indices(op: str, x: Node, indices: Sequence[Node]) -> list[Node]:
    shape = broadcast_shapes([i.shape for i in indices])
    if shape is None:
        raise shape_error(op, (x, *indices), "index arrays do not broadcast.")
    return [broadcast_to(i, shape) for i in indices]


class _Aligned:
    """Indices of which some count along an axis: ``z[arange(n), y]`` is batched.

    Such an index array and the axis of `x` it indexes become a batch axis.
    """

    def __init__(self, x: Node, indices: Sequence[Node], keep: int):
        self.rank = indices[0].ndim
        pairs: dict[int, int] = {}  # axis of the index arrays -> axis of x
        for p, index in enumerate(indices):
            axis = iota_axis(index)
            if len(pairs) == len(indices) - keep:
                break
            if axis is None or axis in pairs or index.shape[axis] != x.shape[p]:
                continue
            pairs[axis] = p
        self.batch = len(pairs)
        others = [p for p in range(len(indices)) if p not in pairs.values()]
        rest = range(len(indices), x.ndim)
        self.x_order = (*pairs.values(), *others, *rest)
        self.place_order = (*pairs, *(a for a in range(self.rank) if a not in pairs))
        self.indices = [permute(indices[p], self.place_order) for p in others]

    def result_order(self, ndim: int) -> tuple[int, ...]:
        """Return how the axes of NumPy's result appear in the batched one."""
        return (*self.place_order, *range(self.rank, ndim))


def take(x: Node, indices: Sequence[Node]) -> Node:
    """Return ``x[i0, i1, ...]`` of NumPy: index arrays for the leading axes.

    Parameters
    ----------
    x : Node
        Shape (n0, n1, ..., rest...).
    indices : sequence of Node
        Integer arrays that broadcast together, to a shape ``places``.

    Returns
    -------
    Node
        Shape (places..., rest...). An index that counts along one of its own axes
        (``z[arange(n), y]``) costs nothing: that axis is read in step.

    Raises
    ------
    ShapeError
        If the index arrays do not broadcast, or are more than the axes of `x`.
    DTypeError
        If one is not of an integer dtype.
    IndexOutOfRangeError
        When the function runs, if an index is outside its axis.
    """
    indices = _broadcast_indices("take", x, indices)
    if x.ndim < len(indices):
        return gather(x, indices)  # raises
    plan = _Aligned(x, indices, keep=0)
    y = permute(x, plan.x_order)
    if plan.indices:
        out = gather(y, plan.indices, plan.batch)
    else:
        more = tuple(indices[0].shape[a] for a in plan.place_order[plan.batch :])
        outer, rest = y.shape[: plan.batch], y.shape[plan.batch :]
        y = reshape(y, (*outer, *(1,) * len(more), *rest))
        out = broadcast_to(y, (*outer, *more, *rest))
    return permute(out, inverse_permutation(plan.result_order(out.ndim)))


def put(base: Node, updates: Node, indices: Sequence[Node], combine: str) -> Node:
    """Return `base` with ``base[i0, i1, ...]`` set to or increased by `updates`.

    Parameters
    ----------
    base : Node
        Shape (n0, n1, ..., rest...).
    updates : Node
        Of the dtype of `base`; broadcasts to (places..., rest...).
    indices : sequence of Node
        Integer arrays that broadcast together, to a shape ``places``.
    combine : str
        "set" (of repeated indices the last wins) or "add" (all count).
    """
    op = scatter_add_ if combine == "add" else scatter_set_
    indices = _broadcast_indices(op.name, base, indices)
    if base.ndim < len(indices):
        return op(base, updates, *indices, params=(0,))  # raises
    shape = (*indices[0].shape, *base.shape[len(indices) :])
    updates = broadcast_to(updates, shape)
    plan = _Aligned(base, indices, keep=1)
    out = op(
        permute(base, plan.x_order),
        permute(updates, plan.result_order(updates.ndim)),
        *plan.indices,
        params=(plan.batch,),
    )
    return permute(out, inverse_permutation(plan.x_order))


def take_along_axis(x: Node, indices: Node, axis: int) -> Node:
    """Return ``out[b, j] = x[b, indices[b, j]]`` with j along `axis`, b the others.

    Parameters
    ----------
    x, indices : Node
        Of equal rank; their other axes broadcast.
    axis : int

    Raises
    ------
    ShapeError
        If ranks differ or the other axes do not broadcast.
    DTypeError
        If `indices` are not integers.
    """
    args = (x, indices)
    if x.ndim != indices.ndim:
        raise shape_error("take_along_axis", args, "numbers of axes differ.")
    axis = normalize_axis(axis, x.ndim, "take_along_axis")
    order = (*(a for a in range(x.ndim) if a != axis), axis)
    x, indices = permute(x, order), permute(indices, order)
    outer = broadcast_shapes([x.shape[:-1], indices.shape[:-1]])
    if outer is None:
        raise shape_error(
            "take_along_axis", args, f"axes other than {axis} do not broadcast."
        )
    x = broadcast_to(x, (*outer, x.shape[-1]))
    indices = broadcast_to(indices, (*outer, indices.shape[-1]))
    out = gather(x, [indices], len(outer))
    return permute(out, inverse_permutation(order))
