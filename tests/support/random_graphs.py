"""Random graphs of typed operations, reproducible by seed.

`random_graph` grows a pool of nodes from a few inputs; every step applies one of the
`STEPS` to nodes of the pool. Elementwise ops come from the registry, with operands
squashed into the interval where the op is smooth (`registry.DOMAINS`), so a new op is
in the graphs as soon as it has its entry there.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import graphc as cg
from graphc.graph.node import Node
from graphc.ops import index, leaf, move, reduce, scan, slicing
from graphc.ops.arithmetic import cast
from graphc.ops.contract import matmul_
from graphc.types import sizes
from graphc.types.tensor_type import broadcast_shapes, tensor_type
from tests.support.registry import DOMAINS, ELEMENTWISE, params_of

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
UNSTEADY = {"floor", "ceil", "trunc", "round", "sign", "floor_divide", "remainder"}
"""Ops with jumps, which turn a rounding error into a different result."""


class RandomGraph(NamedTuple):
    """Inputs, outputs, and arrays for two calls of different sizes."""

    inputs: list[Node]
    outputs: list[Node]
    calls: list[list[np.ndarray]]


class Grower:
    """A pool of float nodes, and how it grows.

    Parameters
    ----------
    seed : int
    smooth : bool
        Only what is differentiable.
    """

    def __init__(self, seed: int, smooth: bool):
        self.random = random.Random(seed)
        self.smooth = smooth
        self.symbolic = self.random.random() < 0.7
        self.dims = [self.random.choice((2, 3, 4, 5, 7)) for _ in range(3)]
        self.dtype = self.random.choice(FLOATS)
        self.inputs: list[Node] = []
        self.pool: list[Node] = []
        for number in range(self.random.randint(1, 3)):
            rank = self.random.choice((0, 1, 2, 2, 2, 3, 3, 4))
            axes = [self._size() for _ in range(rank)]
            x = leaf.new_input(f"x{number}", tensor_type(axes, self.dtype))
            self.inputs.append(x)
            self.pool.append(x)

    def _size(self):
        if self.random.random() < 0.1:
            return 1
        which = self.random.randrange(3)
        return "abc"[which] if self.symbolic else self.dims[which]

    def pick(self, least_rank: int = 0) -> Node | None:
        found = [x for x in self.pool[-12:] if x.ndim >= least_rank]
        return self.random.choice(found) if found else None

    def axis(self, x: Node) -> int:
        return self.random.randrange(x.ndim)

    def grow(self) -> None:
        for _ in range(20):
            step = self.random.choice(SMOOTH if self.smooth else STEPS)
            try:
                new = step(self)
            except (cg.ShapeError, cg.IndexOutOfRangeError):  # such as no extremum
                continue
            if new is not None and new.ndim <= 5 and _small(new.size):
                self.pool.append(cast(new, self.dtype))
                return


def _small(size: sizes.SizeLike) -> bool:
    return sizes.evaluate(size, lambda atom: 5) <= 3000


def squash(x: Node, low: float, high: float) -> Node:
    """Return a smooth map of all numbers into an interval."""
    return (cg.tanh(x * 0.3) + 1.0) * ((high - low) / 2) + low


# ------------------------------------------------------------------------- steps


def elementwise(g: Grower) -> Node | None:
    op = g.random.choice(ELEMENTWISE)
    if op.name not in DOMAINS or op.name in UNSTEADY:
        return None
    if g.smooth and op.partials is None:
        return None
    try:
        operands, _ = op.signature(op.name, [g.dtype] * op.arity)
    except cg.DTypeError:
        return None
    if any(d.kind in "iu" for d in operands):
        return None
    first = g.pick()
    args = [first]
    for _ in range(op.arity - 1):
        fitting = [
            x
            for x in g.pool[-12:]
            if broadcast_shapes([first.shape, x.shape]) is not None and _known(first, x)
        ]
        args.append(g.random.choice(fitting))
    shaped = [
        squash(x, *interval) if d.kind == "f" else x > 0.1
        for x, interval, d in zip(args, DOMAINS[op.name], operands)
    ]
    shaped = [cast(x, d) if x.dtype != d else x for x, d in zip(shaped, operands)]
    if broadcast_shapes([x.shape for x in shaped]) is None:
        return None
    params = g.random.choice(params_of(op))
    return op(*shaped, params=params)


def _known(a: Node, b: Node) -> bool:
    """Tell whether two shapes broadcast without taking different sizes as equal."""
    with sizes.recorded_equalities() as pairs:
        broadcast_shapes([a.shape, b.shape])
    return not pairs


def arithmetic(g: Grower) -> Node | None:
    x = g.pick()
    fitting = [y for y in g.pool[-12:] if _fits(x, y)]
    y = g.random.choice(fitting)
    return g.random.choice(
        (
            lambda: x + y,
            lambda: x * y * 0.3,
            lambda: x - y,
            lambda: x / (1.5 + y * y),
            lambda: cg.where(x > y, x, y * 0.5),
            lambda: cg.maximum(x, y),
        )
    )()


def _fits(x: Node, y: Node) -> bool:
    return broadcast_shapes([x.shape, y.shape]) is not None and _known(x, y)


def reduction(g: Grower) -> Node | None:
    x = g.pick(1)
    if x is None:
        return None
    count = g.random.randint(1, x.ndim)
    axes = tuple(sorted(g.random.sample(range(x.ndim), count)))
    op = g.random.choice(
        (reduce.sum_, reduce.sum_, reduce.max_, reduce.min_, reduce.prod_)
    )
    if op is reduce.prod_:
        x = squash(x, 0.6, 1.4)
    out = op(x, params=(axes,))
    if g.random.random() < 0.5:
        out = reduce.keep_axes(out, out)
    return out


def normalized(g: Grower) -> Node | None:
    x = g.pick(1)
    if x is None:
        return None
    axis = g.axis(x)
    return g.random.choice(
        (
            lambda: cg.nn.softmax(x, axis=axis),
            lambda: cg.nn.log_softmax(x, axis=axis),
            lambda: x - x.mean(axis=axis, keepdims=True),
            lambda: cg.logsumexp(x, axis=axis),
        )
    )()


def transposed(g: Grower) -> Node | None:
    x = g.pick(2)
    if x is None:
        return None
    return move.permute(x, g.random.sample(range(x.ndim), x.ndim))


def reshaped(g: Grower) -> Node | None:
    x = g.pick(1)
    if x is None:
        return None
    shape = list(x.shape)
    axis = g.axis(x)
    if g.random.random() < 0.5:
        shape.insert(axis, 1)
    elif x.ndim >= 2 and axis:
        shape[axis - 1 : axis + 1] = [shape[axis - 1] * shape[axis]]
    return move.reshape(x, tuple(shape))


def split(g: Grower) -> Node | None:
    """Undo a reshape of two axes to one, the sizes swapped."""
    x = g.pick(2)
    if x is None:
        return None
    flat = move.reshape(x * 1.5, (x.size,))
    shape = list(x.shape)
    g.random.shuffle(shape)
    return move.reshape(flat, tuple(shape))


def sliced(g: Grower) -> Node | None:
    x = g.pick(1)
    if x is None:
        return None
    item = [slice(None)] * x.ndim
    item[g.axis(x)] = g.random.choice(
        (
            slice(1, None),
            slice(None, -1),
            slice(None, None, -1),
            slice(None, None, 2),
            slice(-2, None),
            slice(0, 2),
            slice(None, 0, -2),
        )
    )
    return x[tuple(item)]


def padded(g: Grower) -> Node | None:
    x = g.pick(1)
    if x is None:
        return None
    axis = g.axis(x)
    start, step = g.random.randint(0, 2), g.random.choice((1, 1, 2))
    shape = list(x.shape)
    shape[axis] = shape[axis] * step + start + g.random.randint(0, 2)
    starts = tuple(start if a == axis else 0 for a in range(x.ndim))
    steps = tuple(step if a == axis else 1 for a in range(x.ndim))
    return slicing.pad(
        x, starts, tuple(shape), steps, 0.5 if g.random.random() < 0.5 else 0
    )


def joined(g: Grower) -> Node | None:
    x = g.pick(1)
    if x is None:
        return None
    axis = g.axis(x)
    fitting = [
        y
        for y in g.pool[-12:]
        if y.ndim == x.ndim
        and all(s == t for a, (s, t) in enumerate(zip(x.shape, y.shape)) if a != axis)
    ]
    pieces = [g.random.choice(fitting) for _ in range(g.random.randint(1, 2))]
    return slicing.concatenate([x, *pieces], axis)


def widened(g: Grower) -> Node | None:
    x = g.pick()
    size = next((s for y in g.inputs for s in y.shape), 3)
    return move.broadcast_to(x, (size, *x.shape)) if x.ndim < 4 else None


def product(g: Grower) -> Node | None:
    x = g.pick(2)
    if x is None:
        return None
    fitting = [
        y
        for y in g.pool[-12:]
        if y.ndim >= 2 and x.shape[-1] == y.shape[-2] and _fits_batch(x, y)
    ]
    if fitting and g.random.random() < 0.7:
        return matmul_(x, g.random.choice(fitting)) * 0.3
    order = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
    return matmul_(x, move.permute(x, order)) * 0.3


def _fits_batch(x: Node, y: Node) -> bool:
    with sizes.recorded_equalities() as pairs:
        joint = broadcast_shapes([x.shape[:-2], y.shape[:-2]])
    return joint is not None and not pairs


def scanned(g: Grower) -> Node | None:
    x = g.pick(1)
    if x is None:
        return None
    return scan.cumsum(x, g.axis(x), g.random.random() < 0.5) * 0.5


def gathered(g: Grower) -> Node | None:
    x = g.pick(1)
    if x is None or any(s == 0 for s in x.shape):
        return None
    count = leaf.size_value(x.shape[0])
    places = leaf.iota(g.random.choice((3, x.shape[0], x.shape[-1])))
    return index.gather(x, [(places * 3 + 1) % count])


def diagonal(g: Grower) -> Node | None:
    x = g.pick(2)
    return None if x is None else move.diagonal_(x)


def added_at_places(g: Grower) -> Node | None:
    x = g.pick(1)
    if x is None:
        return None
    count = leaf.size_value(x.shape[0])
    places = (leaf.iota(x.shape[0]) * 2 + 1) % count
    return index.scatter_add(x, cg.tanh(x), [places])


def position_of_the_largest(g: Grower) -> Node | None:
    x = g.pick(1)
    if x is None:
        return None
    op = g.random.choice((reduce.argmax_, reduce.argmin_))
    return cast(op(x, params=(g.axis(x),)), g.dtype)


def other_width(g: Grower) -> Node | None:
    x = g.pick()
    other = FLOATS[0] if x.dtype == FLOATS[1] else FLOATS[1]
    return cast(cast(x, other) * 0.7, g.dtype)


SMOOTH: tuple[Callable[[Grower], Node | None], ...] = (
    *(elementwise, elementwise, elementwise, arithmetic, arithmetic, reduction),
    *(reduction, normalized, transposed, reshaped, split, sliced, padded, joined),
    *(widened, product, scanned, gathered, diagonal, added_at_places),
)
STEPS = (*SMOOTH, position_of_the_largest, other_width)


def random_graph(seed: int, gradients: bool) -> RandomGraph:
    """Return a random graph; with `gradients`, those of the sum of its outputs."""
    g = Grower(seed, gradients)
    for _ in range(g.random.randint(3, 14 if gradients else 24)):
        g.grow()
    outputs = [g.pool[-1], *g.random.sample(g.pool, min(2, len(g.pool)))]
    if gradients:
        loss = sum((cg.tanh(y).sum() for y in outputs), 0.0)
        outputs = [outputs[0], *cg.grad(loss, g.inputs, disconnected="zero")]
    calls = [_arrays(g, (seed, number)) for number in range(2)]
    return RandomGraph(g.inputs, outputs, calls)


def _arrays(g: Grower, seed: tuple[int, int]) -> list[np.ndarray]:
    """Return inputs, for the second call of other sizes where they are symbolic."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice((0, 1, 2, 3, 6, 11), 3) if seed[1] else g.dims
    extents = {name: int(size) for name, size in zip("abc", chosen)}

    def shape(x: Node) -> list[int]:
        return [sizes.evaluate(s, lambda d: extents[d.name]) for s in x.shape]

    return [rng.normal(size=shape(x)).astype(x.dtype) for x in g.inputs]
