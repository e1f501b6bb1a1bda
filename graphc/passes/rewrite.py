"""Rules, and the passes made of them.

A rule is a function for some ops that takes a node and returns one to put in its
place, or None. The first line of its docstring is the law it uses, such as
``x * 1 -> x``. A `RulePass` applies rules at every node until none fires.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.declare import Op
from graphc.types.config import options
from graphc.types.errors import InternalError, internal_assert

Pass = Callable[[Graph], Graph]
Function = Callable[[Node], Node | None]
Target = Op | type[Op]


@dataclass(frozen=True, eq=False)
class Rule:
    """One rewrite.

    Attributes
    ----------
    function : callable
        ``node -> node or None``, the replacement being of the node's type.
    targets : tuple of Op or of subclasses of Op
        The ops it looks at.
    changes_rounding : bool
        The result may differ in its last digits, either way: the rule is applied
        only if the option of that name is on. Other rules give the same number or
        a more accurate one.
    changes_zero_sign : bool
        The result may be 0.0 where it was -0.0, or the other way round.
    """

    function: Function
    targets: tuple[Target, ...]
    changes_rounding: bool = False
    changes_zero_sign: bool = False

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.function.__name__

    @property
    def law(self) -> str:
        """What it does: the first line of the docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0].rstrip(".")

    def __repr__(self) -> str:
        return f"<rule {self.name}: {self.law}>"


class RuleSet(list[Rule]):
    """Rules in the order in which they are tried."""

    def on(
        self,
        *targets: Target,
        changes_rounding: bool = False,
        changes_zero_sign: bool = False,
    ) -> Callable[[Function], Function]:
        """Return a decorator that adds a rule for some ops, or classes of ops."""

        def add(function: Function) -> Function:
            internal_assert(function.__doc__, f"rule {function.__name__} has no law")
            self.append(Rule(function, targets, changes_rounding, changes_zero_sign))
            return function

        return add


class RulePass:
    """A pass that rewrites every node, arguments first, until no rule fires.

    Parameters
    ----------
    name : str
    rules : sequence of Rule
        Tried in this order.
    repairs : bool
        The rules are there to give finite results where there were none.
    """

    def __init__(self, name: str, rules: Sequence[Rule], repairs: bool = False):
        self.name = name
        self.rules = tuple(rules)
        self.repairs = repairs
        self._tables: dict[bool, dict[Op, tuple[Rule, ...]]] = {False: {}, True: {}}

    def __repr__(self) -> str:
        return f"<pass {self.name} of {len(self.rules)} rules>"

    def __call__(self, graph: Graph, settled: set[Node] | None = None) -> Graph:
        after, fired = self.run(graph, settled=settled)
        if _recorded is not None:
            _recorded.update(rule for rule, _ in fired)
        return after

    def run(
        self,
        graph: Graph,
        limit: int | None = None,
        settled: set[Node] | None = None,
    ) -> tuple[Graph, list[tuple[Rule, Node]]]:
        """Return the rewritten graph, and which rule fired at which node.

        Parameters
        ----------
        graph : Graph
        limit : int, optional
            After that many rules fired no other does. The order is always the same,
            so this finds the rule that went wrong.
        settled : set of Node, optional
            Nodes at which no rule of this pass fires, left out and added to: nodes do
            not change, so the next sweep need not look at them again.
        """
        table = self._tables[options().change_rounding]
        fired: list[tuple[Rule, Node]] = []
        known: set[Node] = set() if settled is None else settled

        most = sys.maxsize if limit is None else limit

        def apply(node: Node) -> Node | None:
            if node in known:
                return None
            rules = table.get(node.op)
            if rules is None:
                rules = table[node.op] = self._rules_of(node.op)
            if len(fired) >= most:
                return None
            for rule in rules:
                result = rule.function(node)
                if result is None or result is node:
                    continue
                if result.type != node.type:
                    kind = f"{node.op.name} {node.type}"
                    raise InternalError(f"{rule} makes {result.type} of {kind}")
                fired.append((rule, node))
                return result
            known.add(node)
            return None

        return graph.rewritten(apply, known), fired

    def _rules_of(self, op: Op) -> tuple[Rule, ...]:
        allowed = options().change_rounding
        return tuple(
            r
            for r in self.rules
            if (allowed or not r.changes_rounding) and _concerns(r.targets, op)
        )


def pass_name(run: Pass) -> str:
    """Return what a pass is called in messages."""
    return str(getattr(run, "name", None) or getattr(run, "__name__", repr(run)))


def _concerns(targets: Sequence[Target], op: Op) -> bool:
    return any(isinstance(op, t) if isinstance(t, type) else t is op for t in targets)


_recorded: Counter[Rule] | None = None


@contextmanager
def recorded_rules() -> Iterator[Counter[Any]]:
    """Count the rules that fire within a ``with`` block."""
    global _recorded
    before, _recorded = _recorded, Counter()
    try:
        yield _recorded
    finally:
        _recorded = before
