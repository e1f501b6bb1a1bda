"""Which nodes a derivative flows through, and the errors where it cannot."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.graph.node import Node
from graphc.ops.declare import Elementwise, Op
from graphc.types.dtypes import is_float
from graphc.types.errors import (
    ConfigError,
    DisconnectedInputError,
    DTypeError,
    NotDifferentiableError,
    made_at,
)

DISCONNECTED = ("raise", "zero")
_ZERO_MEANT = ' Where zero is meant, say disconnected="zero".'


def differentiable_positions(node: Node) -> list[int]:
    """Return the positions of arguments whose change changes the result smoothly.

    Arguments that are not of a floating-point dtype are never among them.
    """
    op, args = node.op, node.args
    if not args or not is_float(node.dtype):
        return []
    if isinstance(op, Elementwise):
        rules = op.partials
        if rules is None:
            return []
        return [
            p
            for p, rule in enumerate(rules)
            if rule is not None and is_float(args[p].dtype)
        ]
    return [p for p in op.differentiable(node) if is_float(args[p].dtype)]


class Activity:
    """The nodes between `wrt` and `outputs` that a derivative flows through.

    Parameters
    ----------
    order : sequence of Node
        All nodes under `outputs`, arguments first.
    outputs, wrt : sequence of Node
    disconnected : {"raise", "zero"}
        What to do about one of `wrt` that no output depends on differentiably:
        raise, or let its derivative be zero.

    Attributes
    ----------
    edges : dict of Node to list of int
        For each node that depends on `wrt` and reaches an output, the positions
        of its arguments that carry the derivative; none for a `wrt` leaf.

    Raises
    ------
    DTypeError
        If one of `wrt` is not of a floating-point dtype.
    DisconnectedInputError
        If no output depends on one of `wrt`.
    NotDifferentiableError
        If outputs depend on one of `wrt` only through ops whose results are
        discrete, such as argmax.
    """

    def __init__(
        self,
        order: Sequence[Node],
        outputs: Sequence[Node],
        wrt: Sequence[Node],
        disconnected: str = "raise",
    ):
        if disconnected not in DISCONNECTED:
            raise ConfigError(
                f'disconnected={disconnected!r} is neither "raise" nor "zero".'
            )
        for w in wrt:
            _require_float(w)
        self.edges = useful_edges(order, outputs, wrt)
        if disconnected == "raise":
            self._check_reached(order, outputs, wrt)

    def _check_reached(
        self, order: Sequence[Node], outputs: Sequence[Node], wrt: Sequence[Node]
    ) -> None:
        lost = [w for w in wrt if w not in self.edges]
        if not lost:
            return
        present = set(order)
        for w in lost:
            if w not in present:
                names = ", ".join(o.label() for o in outputs[:3])
                raise DisconnectedInputError(
                    f"{w.label()}{made_at(w.origin)} is not used by {names}: there is "
                    "no derivative. Remove it from wrt, or check that the result was "
                    "built from this very expression and not from another of that "
                    "name." + _ZERO_MEANT
                )
        for w in lost:
            _check_stops(w, order)


def _require_float(w: Node) -> None:
    if not is_float(w.dtype):
        raise DTypeError(
            f"cannot differentiate with respect to {w.label()}{made_at(w.origin)}: "
            "derivatives exist for float32 and float64 only. Declare it as a float, "
            "or convert with astype before use."
        )


def useful_edges(
    order: Sequence[Node], outputs: Sequence[Node], wrt: Sequence[Node]
) -> dict[Node, list[int]]:
    """Return the nodes between `wrt` and `outputs`; see `Activity`."""
    wanted = set(wrt)
    active: dict[Node, list[int]] = {}
    for node in order:
        positions = [
            p for p in differentiable_positions(node) if node.args[p] in active
        ]
        if positions or node in wanted:
            active[node] = positions
    useful = {o for o in outputs if o in active}
    for node in reversed(order):
        if node in useful:
            useful.update(node.args[p] for p in active[node])
    return {n: positions for n, positions in active.items() if n in useful}


def _check_stops(w: Node, order: Sequence[Node]) -> None:
    """Raise unless derivatives by `w` were meant to stop wherever they do."""
    reached = {w}
    stop: Node | None = None
    for node in order:
        if not any(a in reached for a in node.args):
            continue
        if any(node.args[p] in reached for p in differentiable_positions(node)):
            reached.add(node)
        elif not node.op.blocks_derivatives and stop is None:
            stop = node
    if stop is not None:
        raise NotDifferentiableError(
            f"{stop.op.name}: the only path from {w.label()} to the result passes "
            f"{stop.label()}{made_at(stop.origin)}, whose result is discrete and has "
            "no derivative. Use a smooth stand-in (softmax for argmax, sigmoid for >) "
            "or stop_gradient." + _ZERO_MEANT
        )


def require_rule(node: Node, rule: str) -> None:
    """Raise `NotDifferentiableError` if the op of `node` declares no `rule`."""
    if getattr(type(node.op), rule) is getattr(Op, rule):
        raise NotDifferentiableError(
            f"{node.op.name}: no {rule} is declared for {node.label()}"
            f"{made_at(node.origin)}. Differentiate around it with stop_gradient."
        )
