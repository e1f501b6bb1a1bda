"""Which mode a Jacobian is computed in: counted costs compared.

For each way there is, the operations of its sweeps are counted on the graph that they
would give: forward mode needs one for each element of `x`, reverse mode one for each of
`y`, a sparse derivative one for each colour, a chain of Jacobians what dynamic
programming finds (`derivatives.chain`), and small scalar expressions may be
differentiated by sympy. The result's bytes count too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from graphc.derivatives.chain import (
    TRANSCENDENTAL,
    Chain,
    cotangent_cost,
    cut_points,
    narrowest,
    tangent_cost,
)
from graphc.graph import operators
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.types import sizes

NOMINAL_SIZE = 64
"""What a symbolic dimension counts as where costs are compared."""

SPARSE_FROM = 1_000_000
"""Entries from which a Jacobian may become sparse by itself: it is another type."""

SPARSE_GAIN = 4
"""How many times cheaper than the best dense way a sparse one must be."""

CHAIN_GAIN = 2
"""How many times narrower than both ends a cut point must be to be considered."""

SYMBOLIC_NODES = 60
"""Nodes up to which scalar expressions are offered to sympy."""

SYMBOLIC_GAIN = 1.25
"""How many times fewer operations sympy's derivative must have."""

DENSE = 16
"""A derivative with more than one entry in so many is not looked at as sparse."""

BYTES = 4
"""Bytes of the result that count as much as an operation."""


class Cost(NamedTuple):
    """What one way to a Jacobian costs.

    Attributes
    ----------
    sweeps : int
        Jacobian-vector and vector-Jacobian products.
    operations : int
        Arithmetic operations of these; an exponential or the like counts as 10.
    bytes : int
        Of the result.
    note : str
    """

    sweeps: int
    operations: int
    bytes: int
    note: str = ""

    @property
    def total(self) -> float:
        """The number that is compared."""
        return self.operations + self.bytes / BYTES


@dataclass
class ModeChoice:
    """What ``mode="auto"`` weighed, and what it took.

    Attributes
    ----------
    mode : str
        "forward", "reverse", "mixed", "sparse" or "symbolic".
    costs : dict of str to Cost
        For each way that was considered.
    reasons : dict of str to str
        For others, why not.
    plan : object
        What the chosen way goes by, if anything.
    """

    mode: str = ""
    costs: dict[str, Cost] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    plan: Any = None

    def __str__(self) -> str:
        lines = [f"mode {self.mode!r} was taken, by counted operations:"]
        width = max(map(len, (*self.costs, *self.reasons)), default=0)
        for mode, cost in sorted(self.costs.items(), key=lambda t: t[1].total):
            lines.append(
                f"  {mode:<{width}}  {cost.sweeps:>8,} sweeps  "
                f"{cost.operations:>15,} operations  {cost.bytes:>13,} bytes"
                + (f"  {cost.note}" if cost.note else "")
            )
        lines += [f"  {m:<{width}}  {why}" for m, why in self.reasons.items()]
        return "\n".join(lines)


_CHOICES: WeakKeyDictionary[Node, ModeChoice] = WeakKeyDictionary()


def remember(results: Sequence[Node], choice: ModeChoice) -> None:
    """Keep what was weighed for expressions as long as they live."""
    for node in results:
        _CHOICES[node] = choice


def choice_of(node: Node) -> ModeChoice | None:
    """Return what was weighed for an expression made by ``mode="auto"``."""
    return _CHOICES.get(node)


def count(node: Node) -> int:
    """Return the elements of a node; a symbolic dimension counts as `NOMINAL_SIZE`."""
    return _number(node.size)


def operations(node: Node) -> int:
    """Return the operations of a node, a transcendental function's call as 10."""
    op = node.op
    return _number(op.flops(node)) + TRANSCENDENTAL * _number(op.transcendentals(node))


def _number(size: Any) -> int:
    return int(sizes.evaluate(size, lambda d: NOMINAL_SIZE))


def choose(ys: Sequence[Node], xs: Sequence[Node]) -> ModeChoice:
    """Compare the dense ways to the Jacobian of `ys` by `xs`, and sympy's.

    `plan` is the chain, or the derivatives by sympy.
    """
    choice = ModeChoice()
    bytes_ = sum(count(y) * count(x) * x.dtype.itemsize for y in ys for x in xs)
    rows, columns = sum(map(count, ys)), sum(map(count, xs))
    chain = _chain(ys, xs, choice)
    if chain is None:
        forward = sum(count(x) * tangent_cost(ys, x, operations) for x in xs)
        reverse = sum(count(y) * cotangent_cost(y, xs, operations) for y in ys)
    else:
        forward, reverse = chain.cost("forward"), chain.cost("reverse")
        choice.plan = chain
        cost = Cost(chain.sweeps, chain.best.cost, bytes_, chain.text())
        choice.costs["mixed"] = cost
    choice.costs["reverse"] = Cost(rows, reverse, bytes_)  # first: it wins ties
    choice.costs["forward"] = Cost(columns, forward, bytes_)
    _consider_symbolic(ys, xs, bytes_, choice)
    choice.mode = min(choice.costs, key=lambda m: choice.costs[m].total)
    if chain is not None and chain.best.kind in ("forward", "reverse"):
        choice.mode = chain.best.kind
    return choice


def _chain(ys: Sequence[Node], xs: Sequence[Node], choice: ModeChoice) -> Chain | None:
    """Return the chain between the ends if it has a narrow place."""
    if len(ys) != 1 or len(xs) != 1:
        choice.reasons["mixed"] = "there is more than one result or argument"
        return None
    (y,) = operators.FUNCTIONS["stabilized"](ys, keep=xs)
    nodes = cut_points(y, xs[0], count)
    if narrowest(nodes, count) * CHAIN_GAIN > 1:
        choice.reasons["mixed"] = "no cut point is half as wide as the narrower end"
        return None
    return Chain(nodes, count, operations)


def _consider_symbolic(
    ys: Sequence[Node], xs: Sequence[Node], bytes_: int, choice: ModeChoice
) -> None:
    small = len(topological_order(ys)) <= SYMBOLIC_NODES
    if not small or any(n.ndim for n in (*ys, *xs)):
        choice.reasons["symbolic"] = "for a few operations on scalars only"
        return
    from graphc.derivatives.symbolic.differentiate import symbolic_cost

    cost = symbolic_cost(ys, xs)
    if cost is None:
        choice.reasons["symbolic"] = "sympy has no word for an operation"
        return
    reverse = choice.costs["reverse"]._replace(operations=cost.reverse)
    choice.costs["reverse"] = reverse
    if cost.symbolic * SYMBOLIC_GAIN < cost.reverse:
        choice.costs["symbolic"] = Cost(0, cost.symbolic, bytes_)
    else:
        choice.reasons["symbolic"] = f"{cost.symbolic:,} operations save too little"


def consider_sparse(
    choice: ModeChoice,
    plan: Callable[[int], Any],
    sweep: int,
    entries: int,
    itemsize: int,
) -> None:
    """Compare a sparse derivative with the dense ways; take it if it is far cheaper.

    Parameters
    ----------
    choice : ModeChoice
    plan : callable
        Returns the `sparsity.compressed.Plan`, or None if a pattern on the way has more
        entries than its argument says.
    sweep : int
        Operations of one sweep.
    entries : int
        Of the dense derivative.
    itemsize : int
    """
    if entries < SPARSE_FROM:
        choice.reasons["sparse"] = f"{entries:,} entries are few: they come dense"
        return
    found = plan(entries // DENSE)
    if found is None:
        choice.reasons["sparse"] = f"more than 1 in {DENSE} entries may not be zero"
        return
    cost = Cost(
        found.sweeps,
        found.sweeps * sweep + found.nnz,
        found.nnz * itemsize,
        f"{found.nnz:,} of {entries:,} entries",
    )
    choice.costs["sparse"] = cost
    dense = min(c.total for m, c in choice.costs.items() if m != "sparse")
    if cost.total * SPARSE_GAIN < dense:
        choice.mode, choice.plan = "sparse", found
