"""The pipeline of passes, in the order they run.

A pass is a function from graph to graph. All run in turn until none changes the
graph, so one pass may build what another looks for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.passes.check import check_pass
from graphc.passes.fold import fold
from graphc.passes.rewrite import Pass, Rule, RulePass, pass_name
from graphc.passes.simplify import simplify
from graphc.passes.stabilize import stabilize
from graphc.types.config import options

PASSES: tuple[Pass, ...] = (fold, stabilize, simplify)

MAX_ROUNDS = 10


class Snapshot(NamedTuple):
    """One run of a pass.

    Attributes
    ----------
    run : callable
        The pass.
    before, after : Graph
    fired : tuple of (Rule, Node)
        Of a pass of rules, each rule that fired and the node it replaced, in order.
    """

    run: Pass
    before: Graph
    after: Graph
    fired: tuple[tuple[Rule, Node], ...]


def run_passes(
    graph: Graph,
    passes: Sequence[Pass] | None = None,
    record: Callable[[Snapshot], object] | None = None,
) -> Graph:
    """Return the graph after all passes.

    Parameters
    ----------
    graph : Graph
    passes : sequence of callable, optional
        `PASSES` if left out.
    record : callable, optional
        Given a `Snapshot` of each run of a pass that changed the graph.

    Returns
    -------
    Graph
        With the same inputs, and outputs of the same types.

    Raises
    ------
    InternalError
        If ``options().check`` is on and a pass changed a value or left a graph that
        is not sound; it names the pass, and the rule where it can.

    Notes
    -----
    ``options().debug`` of 1 or more prints each pass with its time and the number of
    nodes before and after, to stderr; of 2 or more also the graphs that changed.
    """
    passes = PASSES if passes is None else tuple(passes)
    settled = 0
    known: dict[Pass, set[Node]] = {run: set() for run in passes}
    for turn in range(MAX_ROUNDS * len(passes)):
        run = passes[turn % len(passes)]
        before, graph = graph, _run(run, graph, known[run], record)
        settled = settled + 1 if _same(before, graph) else 1
        if settled >= len(passes):
            break
    return graph


def _run(
    run: Pass,
    graph: Graph,
    known: set[Node],
    record: Callable[[Snapshot], object] | None,
) -> Graph:
    start = time.perf_counter()
    fired: Sequence[tuple[Rule, Node]] = ()
    if record is not None and isinstance(run, RulePass):
        after, fired = run.run(graph, settled=known)
    else:
        after = run(graph, known) if isinstance(run, RulePass) else run(graph)
    seconds = time.perf_counter() - start
    if record is not None and not _same(graph, after):
        record(Snapshot(run, graph, after, tuple(fired)))
    opts = options()
    if opts.debug >= 1:
        _report(run, graph, after, seconds, opts.debug)
    if opts.check:
        check_pass(run, graph, after)
    return after


def _same(a: Graph, b: Graph) -> bool:
    return len(a.outputs) == len(b.outputs) and all(
        x is y for x, y in zip(a.outputs, b.outputs)
    )


def _report(run: Pass, before: Graph, after: Graph, seconds: float, debug: int) -> None:
    print(
        f"graphc: {pass_name(run):10} {len(before):6} -> {len(after):6} nodes "
        f"{seconds * 1e3:9.2f} ms",
        file=sys.stderr,
    )
    if debug >= 2 and not _same(before, after):
        print(after, file=sys.stderr)
