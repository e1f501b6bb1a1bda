"""Jacobians of chains: the order in which the parts are multiplied.

A *cut point* is a node through which all paths from ``x`` to ``y`` pass. They divide
the function into a chain of parts, whose Jacobians are multiplied. Besides forward mode
(from the right) and reverse mode (from the left) there are all orders between: with a
narrow cut point in the middle, reverse mode up to it and forward mode from it on, times
each other, cost a fraction of either. The cheapest order follows by dynamic programming
over the cut points, in which a part is accumulated (its Jacobian computed by a sweep
for each input or output), or tangents or cotangents of what is there are pushed through
it without its Jacobian.

References
----------
A. Griewank and A. Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, chapter 10.
U. Naumann, "On the matrix-free Jacobian chain product", 2020: the recursion with
matrix-free steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from graphc.derivatives.activity import useful_edges
from graphc.derivatives.batching import push_batch
from graphc.derivatives.forward import push_forward
from graphc.derivatives.products import Signs, meets_pole
from graphc.derivatives.reverse import pull_back
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops.arithmetic import cast
from graphc.ops.contract import matmul_
from graphc.ops.declare import Elementwise
from graphc.ops.leaf import new_input
from graphc.ops.move import permute, reshape

MOST_CUTS = 24
"""Cut points that are considered; of more, the narrowest."""

PRODUCT = 1
"""What a multiplication and addition in a product of Jacobians count: in a sweep they
are 2, but a product of matrices is one kernel at the full speed of the machine."""

TRANSCENDENTAL = 10
"""What an exp or sin counts in operations."""

Count = Callable[[Node], int]
"""Returns the number of elements of a node."""

Base = Callable[[Node, Node, str], Node]
"""Returns the Jacobian of a node by another in a mode."""


class Part(NamedTuple):
    """A part of a chain, from one cut point to the next.

    Attributes
    ----------
    tangent, cotangent : int
        Operations for one Jacobian-vector or vector-Jacobian product.
    """

    tangent: int
    cotangent: int


class Step(NamedTuple):
    """How the Jacobian between two cut points is had, and what that costs.

    Attributes
    ----------
    cost : int
        Operations.
    kind : str
        "forward" or "reverse": by a sweep for each element of an end. "product": of
        the Jacobians on both sides of `at`. "push": tangents of the Jacobian up to
        `at` through the rest. "pull": cotangents of the one from `at` on.
    at : int
    """

    cost: int
    kind: str
    at: int = 0


class Chain:
    """The cut points between two nodes, and the cheapest order over them.

    Attributes
    ----------
    nodes : list of Node
        From `x` to `y`.
    parts : list of Part
    steps : dict of (int, int) to Step
        For each two cut points.
    """

    def __init__(self, nodes: list[Node], count: Count, flops: Count):
        self.nodes = nodes
        self.sizes = [count(n) for n in nodes]
        self.parts = [
            Part(
                tangent_work([b], [a], flops)[0].each,
                cotangent_work([b], [a], flops)[0].each,
            )
            for a, b in pairwise(nodes)
        ]
        self.steps: dict[tuple[int, int], Step] = {}
        last = len(nodes) - 1
        for length in range(1, last + 1):
            for first in range(last - length + 1):
                self.steps[first, first + length] = self._best(first, first + length)

    @property
    def best(self) -> Step:
        """The step that gives the whole Jacobian."""
        return self.steps[0, len(self.nodes) - 1]

    @property
    def sweeps(self) -> int:
        """The number of sweeps over parts of the chain that the best order makes."""
        total, stack = 0, [(0, len(self.nodes) - 1)]
        while stack:
            i, j = stack.pop()
            step = self.steps[i, j]
            if step.kind in ("forward", "push"):
                total += self.sizes[i]
            elif step.kind in ("reverse", "pull"):
                total += self.sizes[j]
            if step.kind in ("product", "push"):
                stack.append((i, step.at))
            if step.kind in ("product", "pull"):
                stack.append((step.at, j))
        return total

    def _best(self, i: int, j: int) -> Step:
        n = self.sizes
        through = self.parts[i:j]
        options = [
            Step(n[i] * sum(p.tangent for p in through), "forward"),
            Step(n[j] * sum(p.cotangent for p in through), "reverse"),
        ]
        for k in range(i + 1, j):
            left, right = self.steps[i, k].cost, self.steps[k, j].cost
            after = sum(p.tangent for p in self.parts[k:j])
            before = sum(p.cotangent for p in self.parts[i:k])
            options += [
                Step(left + right + PRODUCT * n[i] * n[k] * n[j], "product", k),
                Step(left + n[i] * after, "push", k),
                Step(right + n[j] * before, "pull", k),
            ]
        return min(options, key=lambda s: s.cost)

    def text(self) -> str:
        """Return the order as text: names or ops of cut points, and their sizes."""
        return self._text(0, len(self.nodes) - 1)

    def _text(self, i: int, j: int) -> str:
        step = self.steps[i, j]
        here = f"{self._name(i)} -> {self._name(j)}"
        if step.kind in ("forward", "reverse"):
            return f"{step.kind}({here})"
        if step.kind == "product":
            return f"{self._text(step.at, j)} @ {self._text(i, step.at)}"
        if step.kind == "push":
            return f"forward({self._name(step.at)} -> {self._name(j)}) of " + (
                self._text(i, step.at)
            )
        return f"reverse({self._name(i)} -> {self._name(step.at)}) of " + (
            self._text(step.at, j)
        )

    def _name(self, i: int) -> str:
        node = self.nodes[i]
        return f"{node.name or node.op.name}[{self.sizes[i]}]"

    # ---------------------------------------------------------- accumulation

    def jacobian(self, base: Base) -> Node:
        """Return the Jacobian of the whole chain, of shape ``y.shape + x.shape``."""
        return self._jacobian(0, len(self.nodes) - 1, base)

    def _jacobian(self, i: int, j: int, base: Base) -> Node:
        step = self.steps[i, j]
        x, y = self.nodes[i], self.nodes[j]
        if step.kind in ("forward", "reverse"):
            return base(y, x, step.kind)
        z = self.nodes[step.at]
        if step.kind == "product":
            left = reshape(self._jacobian(step.at, j, base), (y.size, z.size))
            right = reshape(self._jacobian(i, step.at, base), (z.size, x.size))
            value = matmul_(cast(left, right.dtype), right)
        elif step.kind == "push":
            right = self._jacobian(i, step.at, base)
            axes = (*range(z.ndim, right.ndim), *range(z.ndim))
            rows = reshape(permute(right, axes), (x.size, *z.shape))
            swept = _through(rows, z, lambda s: push_forward([y], [z], [s], "zero"))
            value = permute(reshape(swept, (x.size, y.size)), (1, 0))
        else:
            left = self._jacobian(step.at, j, base)
            rows = reshape(left, (y.size, *z.shape))
            value = _through(rows, z, lambda s: pull_back([z], [s], [x], "zero"))
        return cast(reshape(value, y.shape + x.shape), x.dtype)


class Work(NamedTuple):
    """What sweeps cost: operations done once, and for each of them."""

    once: int
    each: int


def tangent_work(ys: Sequence[Node], xs: Sequence[Node], flops: Count) -> list[Work]:
    """Return the work of the Jacobian-vector products of `ys` by each of `xs`."""
    seeds = [new_input("tangent", x.type) for x in xs]
    pushed = [push_forward(ys, [x], [s], "zero") for x, s in zip(xs, seeds)]
    return _work(pushed, seeds, ys, flops)


def cotangent_work(ys: Sequence[Node], xs: Sequence[Node], flops: Count) -> list[Work]:
    """Return the work of the vector-Jacobian products of each of `ys` by `xs`."""
    seeds = [new_input("cotangent", y.type) for y in ys]
    pulled = [pull_back([y], [s], xs, "zero") for y, s in zip(ys, seeds)]
    return _work(pulled, seeds, ys, flops)


def _work(
    swept: Sequence[Sequence[Node]],
    seeds: Sequence[Node],
    ys: Sequence[Node],
    flops: Count,
) -> list[Work]:
    """Return the work of each sweep, that of the function counted with the first."""
    out = []
    counted: set[Node] = set()
    for outputs, seed in zip(swept, seeds):
        reached = {seed}
        once, each = 0, 0
        for node in topological_order([*ys, *outputs]):
            if any(a in reached for a in node.args):
                reached.add(node)
                each += flops(node)
            elif node not in counted:
                counted.add(node)
                once += flops(node)
        out.append(Work(once, max(each, 1)))
    return out


def narrowest(nodes: Sequence[Node], count: Count) -> float:
    """Return the least size of an inner cut point over that of the smaller end."""
    least = min(count(nodes[0]), count(nodes[-1]))
    inner = [count(n) for n in nodes[1:-1]]
    return min(inner) / max(least, 1) if inner else 1.0


def _through(rows: Node, z: Node, sweep: Callable[[Node], Sequence[Node]]) -> Node:
    """Return a sweep over the rows, each of them of the shape of `z`."""
    seed = new_input("seed", z.type)
    ((value, has_axis),) = push_batch(sweep(seed), {seed: cast(rows, z.dtype)})
    assert has_axis  # a part depends on its seed: cut points lie on all paths
    return value


def cut_points(y: Node, x: Node, count: Count) -> list[Node]:
    """Return the nodes that all paths from `x` to `y` pass, first `x`, last `y`.

    Only the ends are returned where a partial derivative may be infinite: products
    with an absolute zero do not cross the product of two Jacobians.
    """
    order = topological_order([y])
    edges = useful_edges(order, [y], [x])
    active = [n for n in order if n in edges]
    sign = Signs()
    if any(isinstance(n.op, Elementwise) and meets_pole(n, sign) for n in active):
        return [x, y]
    position = {n: i for i, n in enumerate(active)}
    last = [0] * len(active)
    for i, node in enumerate(active):
        for p in edges[node]:
            last[position[node.args[p]]] = i
    found: list[Node] = []
    reach = 0
    for i, node in enumerate(active[:-1]):
        if i and reach <= i:
            found.append(node)
        reach = max(reach, last[i])
    if len(found) > MOST_CUTS:
        narrow = set(sorted(found, key=count)[:MOST_CUTS])
        found = [n for n in found if n in narrow]
    return [x, *found, y]
