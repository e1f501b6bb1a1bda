"""Which mode a Jacobian is computed in: counted costs compared.

For each way there is, the operations of its sweeps are counted on the graph that they
would give: forward mode needs one for each element of `x`, reverse mode one for each of
`y`, a sparse derivative one for each colour, a chain of Jacobians what dynamic
programming finds (`derivatives.chain`), and small scalar expressions may be
differentiated by sympy. The result's bytes count too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

from graphc.derivatives.chain import (
    TRANSCENDENTAL,
    Chain,
    Work,
    cotangent_work,
    cut_points,
    narrowest,
    tangent_work,
)
from graphc.expressions.containers import flatten_expressions
from graphc.graph import operators
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.types import sizes
from graphc.types.errors import InputError, ShapeError

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

DENSE = 64
"""A derivative with more than one entry in so many is not looked at as sparse."""

CLOSE = 1.25
"""Costs within this factor are equal, for they are counts: the sizes then decide."""

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


_CHOICES: dict[int, tuple[ref[Node], ModeChoice]] = {}
"""By the id of a node: a weak dictionary would compare nodes, and build comparisons."""


def remember(results: Sequence[Any], choice: ModeChoice) -> None:
    """Keep what was weighed for expressions as long as they live."""
    for node in flatten_expressions(list(results), "results")[0]:
        number = id(node)
        _CHOICES[number] = ref(node, partial(_forget, number)), choice


def _forget(number: int, _: ref[Node]) -> None:
    _CHOICES.pop(number, None)


def choice_of(node: Node) -> ModeChoice | None:
    """Return what was weighed for an expression made by ``mode="auto"``."""
    found = _CHOICES.get(id(node))
    return None if found is None else found[1]


def choices_in(nodes: Iterable[Node]) -> tuple[ModeChoice, ...]:
    """Return what was weighed for derivatives among nodes, each once."""
    found = {id(c): c for c in map(choice_of, nodes) if c is not None}
    return tuple(found.values())


def explain(derivative: Any) -> ModeChoice:
    """Return what ``mode="auto"`` weighed for a Jacobian or Hessian.

    Parameters
    ----------
    derivative : expression or SparseMatrix, or nested containers of them
        As `jacobian` or `hessian` returned it.

    Returns
    -------
    ModeChoice
        Prints as a table.

    Raises
    ------
    InputError
        If it was not made by mode "auto".
    """
    leaves, _ = flatten_expressions(derivative, "derivative")
    for leaf in leaves:
        found = choice_of(leaf)
        if found is not None:
            return found
    raise InputError(
        'explain: this is no derivative that jacobian or hessian made by mode="auto". '
        "Give what they returned, before anything is computed from it."
    )


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
    forward = Cost(columns, _total(tangent_work(ys, xs, operations), xs), bytes_)
    reverse = Cost(rows, _total(cotangent_work(ys, xs, operations), ys), bytes_)
    choice.costs.update(forward=forward, reverse=reverse)
    chain = _chain(ys, xs, choice)
    if chain is not None:
        choice.plan = chain
        once = cotangent_work(ys, xs, operations)[0].once
        work = once + chain.best.cost
        choice.costs["mixed"] = Cost(chain.sweeps, work, bytes_, chain.text())
    _consider_symbolic(ys, xs, bytes_, choice)
    choice.mode = min(choice.costs, key=lambda m: choice.costs[m].operations)
    if "symbolic" in choice.costs:
        choice.mode = "symbolic"
    both = sorted([forward.operations, reverse.operations])
    if choice.mode in ("forward", "reverse") and both[1] < CLOSE * both[0]:
        choice.mode = "forward" if rows > columns else "reverse"
    return choice


def _total(work: Sequence[Work], ends: Sequence[Node]) -> int:
    return sum(w.once + count(n) * w.each for w, n in zip(work, ends))


def choose_hessian(gradients: Sequence[Node], xs: Sequence[Node]) -> ModeChoice:
    """Compare forward over reverse mode with sympy for second derivatives."""
    choice = ModeChoice("forward")
    bytes_ = sum(count(a) * count(b) * a.dtype.itemsize for a in xs for b in xs)
    columns = sum(map(count, xs))
    work = _total(tangent_work(gradients, xs, operations), xs)
    choice.costs["forward"] = Cost(columns, work, bytes_, "over reverse")
    _consider_symbolic(gradients, xs, bytes_, choice)
    if "symbolic" in choice.costs:
        choice.mode = "symbolic"
    return choice


def cheaper_mode(ys: Sequence[Node], xs: Sequence[Node]) -> str:
    """Return "reverse" if `ys` have no more elements than `xs`, else "forward"."""
    return "forward" if sum(map(count, ys)) > sum(map(count, xs)) else "reverse"


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
    ys: Sequence[Node],
    xs: Sequence[Node],
    bytes_: int,
    choice: ModeChoice,
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
    least = min(c.operations for c in choice.costs.values())
    if cost.symbolic * SYMBOLIC_GAIN < least:
        choice.costs["symbolic"] = Cost(0, cost.symbolic, bytes_)
    else:
        choice.reasons["symbolic"] = f"{cost.symbolic:,} operations save too little"


def consider_sparse(
    choice: ModeChoice,
    plan: Callable[[], Any],
    sweep: int,
    ys: Sequence[Node],
    xs: Sequence[Node],
) -> None:
    """Compare a sparse derivative with the dense ways; take it if it is far cheaper.

    Parameters
    ----------
    choice : ModeChoice
    plan : callable
        Returns the `sparsity.compressed.Plan`.
    sweep : int
        Operations of one sweep.
    ys, xs : sequence of Node
        What is differentiated, and by what.
    """
    from graphc.derivatives.sparsity.rows import TooManyEntries, at_most

    entries = sum(map(count, ys)) * sum(map(count, xs))
    itemsize = max(x.dtype.itemsize for x in xs)
    if entries < SPARSE_FROM:
        choice.reasons["sparse"] = f"{entries:,} entries are few: they come dense"
        return
    try:
        with at_most(entries // DENSE):
            found = plan()
    except TooManyEntries:
        choice.reasons["sparse"] = f"more than 1 in {DENSE} entries may not be zero"
        return
    except ShapeError:
        choice.reasons["sparse"] = "a size is symbolic"
        return
    note = f"{found.nnz:,} of {entries:,} entries"
    work = found.sweeps * sweep + found.nnz
    cost = Cost(found.sweeps, work, found.nnz * itemsize, note)
    choice.costs["sparse"] = cost
    dense = min(c.total for m, c in choice.costs.items() if m != "sparse")
    if cost.total * SPARSE_GAIN < dense:
        choice.mode, choice.plan = "sparse", found
