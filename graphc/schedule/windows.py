"""Windows: shifted, padded slices of one array, as convolutions are written with.

A convolution written out is a product whose left operand joins windows of one array
along k: each element of the array is in it many times. Its input's gradient is a sum of
shifted, padded slices of a product's columns. Rewrites here bring both into a form in
which tiles read the array itself: windows become slices of one padded copy, and

    sum over p of pad(slice(c @ B)) = [window_1(c), ...] @ [[B_1], ...]

for slices that take columns p of a product and pads that shift its rows, zeros being
rows of zeros: again a product of windows, so nothing is scattered. Where B is not
finite, rows at the edges are NaN then that the sum as written leaves finite or
infinite, for zeros around c take part. So they are in JAX, whose gradient of a
convolution is a convolution of the padded cotangent; PyTorch adds up what there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from graphc.graph.node import Node
from graphc.ops.contract import MatMul, matrix_transpose
from graphc.ops.move import reshape, reshape_, transpose_
from graphc.ops.slicing import concatenate, concatenate_, pad, pad_, slice_, slice_op
from graphc.types import sizes
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape

FEWEST_STEPS = 8
"""Steps of k that have to lie side by side, for tiles to read windows in place."""

LANES = 16
"""Columns are computed in vectors of up to so many."""

MORE_WORK = 1.25
"""Up to this many times the operations, a product of windows is better than scattering
columns."""

NOMINAL = 64
"""What a symbolic size counts as where work is compared."""


class Window(NamedTuple):
    """Element i is ``source[starts + i]``, zero outside of the source."""

    source: Node
    starts: Shape
    shape: Shape


def window_of(node: Node) -> Window | None:
    """Return what shifted slice of an array a node is; None if it is more than that."""
    shape = node.shape
    chain: list[Node] = []
    while _shifts(node):
        chain.append(node)
        node = node.args[0]
    starts: list[SizeLike] = [0] * len(shape)
    # which elements of the source are left, on axes that are not taken whole
    left: dict[int, tuple[int, int]] = {}
    current = node.shape
    for step in reversed(chain):
        offsets, now = step.params[:2]
        for axis, (offset, old, new) in enumerate(zip(offsets, current, now)):
            if offset == 0 and old == new:
                continue
            start, extent = starts[axis], node.shape[axis]
            if not (
                isinstance(start, int)
                and isinstance(extent, int)
                and isinstance(offset, int)
                and isinstance(old, int)
                and isinstance(new, int)
            ):
                return None
            low, high = left.get(axis, (0, extent))
            if step.op is pad_:
                left[axis] = max(low, start), min(high, start + old)
                starts[axis] = start - offset
            else:
                left[axis] = low, high
                starts[axis] = start + offset
        current = now
    for axis, (low, high) in left.items():
        start, extent = starts[axis], node.shape[axis]
        stop = start + shape[axis]
        # nothing between was lost: what the window shows of the source is all there
        if sizes.maximum(low, start) != sizes.maximum(0, start):
            return None
        if sizes.minimum(high, stop) != sizes.minimum(extent, stop):
            return None
    return Window(node, tuple(starts), shape)


def _shifts(node: Node) -> bool:
    """Tell whether a node shifts and cuts its argument, filling up with zeros."""
    if node.op is slice_op:
        return set(node.params[2]) <= {1}
    return (
        node.op is pad_
        and set(node.params[2]) <= {1}
        and node.dtype.kind == "f"
        and node.params[3].array.item() == 0
    )


def shared(parts: Sequence[Node]) -> list[Node] | None:
    """Return windows of one array as slices of that array, or of one padded copy.

    None if they are not windows of one array, all of one shape.
    """
    windows = [w for w in map(window_of, parts) if w is not None]
    if len(parts) < 2 or len(windows) < len(parts):
        return None
    first = windows[0]
    if any(w.source is not first.source or w.shape != first.shape for w in windows):
        return None
    low: list[SizeLike] = []
    shape: list[SizeLike] = []
    for axis, extent in enumerate(first.source.shape):
        starts = [w.starts[axis] for w in windows]
        count = first.shape[axis]
        if all(s == 0 for s in starts) and count == extent:
            low.append(0)
            shape.append(extent)
            continue
        before: SizeLike = 0
        after = extent
        for start in starts:
            before = sizes.minimum(before, start)
            after = sizes.maximum(after, start + count)
        low.append(-before)
        shape.append(after - before)
    padded = pad(first.source, tuple(low), tuple(shape))
    return [
        slice_(padded, tuple(s + b for s, b in zip(w.starts, low)), w.shape)
        for w in windows
    ]


def columns_of(x: Node) -> Node | None:
    """Return the windows, joined along the last axis, that the columns of a matrix are.

    The rows of the matrix are all other axes. None if it is something else.
    """
    inner = x.args[0] if x.op is reshape_ and x.ndim == 2 else x
    if (
        inner.op is not concatenate_
        or inner.ndim < 3
        or inner.params[0] != inner.ndim - 1
        or inner.shape[-1] != x.shape[-1]
    ):
        return None
    parts = shared(inner.args)
    if parts is None:
        return None
    width = parts[0].shape[-1]
    run = 1
    while run < len(parts) and _side_by_side(parts[run - 1], parts[run]):
        run += 1
    if not isinstance(width, int) or width * run < FEWEST_STEPS:
        return None
    return concatenate(parts, inner.ndim - 1)


def _side_by_side(x: Node, y: Node) -> bool:
    """Tell whether a window lies one step on along the axis before the last."""
    if x.op is not slice_op or y.op is not slice_op:
        return False
    a, b = x.params[0], y.params[0]
    whole = x.args[0].shape[-1] == x.shape[-1]
    return whole and a[:-2] == b[:-2] and b[-2] - a[-2] == 1


def product_of_windows(node: Node) -> Node | None:
    """Return a product with an operand of windows in the form that reads them in place.

    ``reshape(C) @ B -> reshape(C @ B)``, ``A.T @ reshape(C) -> (reshape(C).T @ A).T``.
    """
    a, b = node.args
    if node.dtype.kind != "f" or b.ndim != 2:
        return None
    found = columns_of(a)
    if found is not None:
        return None if found is a else reshape(node.op(found, b), node.shape)
    if a.ndim != 2:
        return None
    if _is_turned(a):
        found = columns_of(a.args[0])
        if found is not None:
            turned = matrix_transpose(reshape(found, a.args[0].shape))
            return None if turned is a else node.op(turned, b)
    if _is_turned(a):
        found = columns_of(b)
        if found is not None:
            turned = matrix_transpose(reshape(found, b.shape))
            return matrix_transpose(node.op(turned, matrix_transpose(a)))
    return None


def _is_turned(x: Node) -> bool:
    return x.op is transpose_ and x.ndim == 2


# ---------------------------------------------------------------- sums of slices


class Placed(NamedTuple):
    """Some columns of a product, and the moves that shift their rows, in order."""

    product: Node
    rows: Shape
    moves: tuple[Node, ...]
    first: int
    width: int


def placed(term: Node) -> Placed | None:
    """Read a node as shifted columns of a product of one matrix at the right."""
    moves: list[Node] = []
    node = term
    while _shifts(node):
        moves.append(node)
        node = node.args[0]
    rows = node.shape[:-1]
    if node.op is reshape_ and node.ndim and node.args[0].ndim:
        if node.shape[-1] != node.args[0].shape[-1]:
            return None
        node = node.args[0]
    if not isinstance(node.op, MatMul) or node.args[1].ndim != 2 or not moves:
        return None
    first: SizeLike = 0
    count = node.shape[-1]
    for move in reversed(moves):
        start, now = move.params[0][-1], move.params[1][-1]
        if move.op is slice_op:
            first, count = first + start, now
        elif start != 0 or now != count:
            return None
    if not isinstance(first, int) or not isinstance(count, int):
        return None
    return Placed(node, rows, tuple(reversed(moves)), first, count)


def gathered(terms: Sequence[Placed], after: Sequence[Node]) -> Node | None:
    """Return a sum of shifted columns of one product as a product of windows.

    `after` are moves of the rows that follow the sum. None if that is more work.
    """
    product, rows = terms[0].product, terms[0].rows
    a, b = product.args
    k = a.shape[-1]
    width = terms[0].width
    if any((t.rows, t.width) != (rows, width) for t in terms):
        return None
    source = reshape(a, (*rows, k))
    parts = [moved(source, (*t.moves, *after)) for t in terms]
    old = _work(source.shape[:-1], k, product.shape[-1])
    new = len(terms) * _work(parts[0].shape[:-1], k, width)
    if shared(parts) is None or new > MORE_WORK * old:
        return None
    right = [slice_(b, (0, t.first), (k, width)) for t in terms]
    left = concatenate(parts, source.ndim - 1)
    return product.op(left, concatenate(right, 0))


def moved(x: Node, moves: Sequence[Node]) -> Node:
    """Return `x` with its rows moved as by `moves`, its last axis whole."""
    for move in moves:
        starts, shape, *_ = move.params
        starts, shape = (*starts[:-1], 0), (*shape[:-1], x.shape[-1])
        x = (slice_ if move.op is slice_op else pad)(x, starts, shape)
    return x


def keeps_columns(node: Node) -> bool:
    """Tell whether a node moves rows only."""
    return (
        _shifts(node)
        and node.ndim >= 2
        and node.params[0][-1] == 0
        and node.shape[-1] == node.args[0].shape[-1]
    )


def _work(rows: Shape, k: SizeLike, columns: SizeLike) -> int:
    padded = sizes.floordiv(columns + (LANES - 1), LANES) * LANES
    return sizes.evaluate(sizes.product(rows) * k * padded, lambda _: NOMINAL)
