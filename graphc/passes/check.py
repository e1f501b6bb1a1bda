"""What GRAPHC_CHECK does: after each pass the graph is verified and evaluated.

A graph is sound if every node has the type its op infers, and depends on the given
inputs only. Before and after a pass it must give the same values on small random
arrays. If it does not, the pass is repeated with fewer and fewer rules allowed to
fire, which finds the rule that is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.graph import operators
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.leaf import input_
from graphc.passes.rewrite import Pass, RulePass, pass_name
from graphc.types import sizes
from graphc.types.errors import GraphcError, InternalError, made_at
from graphc.types.sizes import Dim, Size, SizeLike

Arrays = list[np.ndarray]

_TOLERANCE = {"float32": 1e-3, "float64": 1e-8}
_ATTEMPTS = 8


def check_pass(run: Pass, before: Graph, after: Graph) -> None:
    """Raise `InternalError` if a pass left a graph that is not sound or not equal.

    Parameters
    ----------
    run : callable
        The pass.
    before, after : Graph
        What it took and gave.
    """
    problem = unsound(before, after)
    if problem is None:
        arrays = sample_arrays(before)
        if arrays is None:
            return  # no sizes were found for which the graph runs
        problem = _difference(run, before, after, arrays)
        if problem is not None and isinstance(run, RulePass):
            problem += _culprit(run, before, arrays)
    if problem is not None:
        raise InternalError(f"pass {pass_name(run)}: {problem}")


# --------------------------------------------------------------------- soundness


def unsound(before: Graph, after: Graph) -> str | None:
    """Return what is wrong with a rewritten graph by itself, None if nothing is."""
    if len(before.inputs) != len(after.inputs) or any(
        a is not b for a, b in zip(before.inputs, after.inputs)
    ):
        return "it changed the inputs."
    if [o.type for o in before.outputs] != [o.type for o in after.outputs]:
        types = (", ".join(str(o.type) for o in g.outputs) for g in (before, after))
        return "it changed the outputs' types from {} to {}.".format(*types)
    given = set(before.inputs)
    known = {n for n in before.nodes if n.op is input_}
    for node in after.nodes:
        if node.op is input_ and node not in given and node not in known:
            return f"it brought in the input {node.label()}."
        inferred = node.op.infer(node.args, node.params)
        if inferred != node.type:
            return f"{node.label()} has not the type {inferred} its op infers."
    return None


# -------------------------------------------------------------------- evaluation


def _difference(run: Pass, before: Graph, after: Graph, arrays: Arrays) -> str | None:
    old, new = _evaluated(before, arrays), _evaluated(after, arrays)
    repairs = isinstance(run, RulePass) and run.repairs
    for number, (a, b) in enumerate(zip(old, new)):
        if not _equal(a, b, repairs):
            return (
                f"it changed the value of output {number}, "
                f"{before.outputs[number].label()}"
                f"{made_at(before.outputs[number].origin)}."
            )
    return None


def _evaluated(graph: Graph, arrays: Arrays) -> Arrays:
    values = dict(zip(graph.inputs, arrays))
    return operators.FUNCTIONS["evaluate"](list(graph.outputs), values)


def _equal(a: np.ndarray, b: np.ndarray, repairs: bool) -> bool:
    if a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return np.array_equal(a, b)
    tolerance = _TOLERANCE[a.dtype.name]
    finite = np.isfinite(a)
    largest = np.abs(a[finite]).max(initial=1.0)
    near = np.isclose(
        a, b, rtol=tolerance, atol=tolerance * min(largest, 1e30), equal_nan=True
    )
    return bool(np.all(near | ~finite if repairs else near))


def _culprit(run: RulePass, before: Graph, arrays: Arrays) -> str:
    """Return which rule changed the value, found by bisection."""
    _, fired = run.run(before)
    good, bad = 0, len(fired)
    while bad - good > 1:
        middle = (good + bad) // 2
        after, _ = run.run(before, middle)
        if _difference(run, before, after, arrays) is None:
            good = middle
        else:
            bad = middle
    rule, node = fired[bad - 1]
    place = f"{node.label()}{made_at(node.origin)}"
    return f" The rule is {rule.name} ({rule.law}), at {place}."


# ------------------------------------------------------------------ random arrays


def sample_arrays(graph: Graph) -> Arrays | None:
    """Return small random arrays for the inputs on which a graph runs, else None."""
    pairs = _equalities(graph)
    for attempt in range(_ATTEMPTS):
        values = _sizes(graph, pairs, attempt)
        if values is None:
            continue
        rng = np.random.default_rng(attempt)
        try:
            arrays = [_random(node, values, rng) for node in graph.inputs]
            _evaluated(graph, arrays)
        except (GraphcError, ValueError, MemoryError):
            continue
        return arrays
    return None


def _equalities(graph: Graph) -> list[tuple[SizeLike, SizeLike]]:
    with sizes.recorded_equalities() as pairs:
        for node in graph.nodes:
            if node.args:
                node.op.infer(node.args, node.params)
        return list(dict.fromkeys(pairs))


def _sizes(
    graph: Graph, pairs: Sequence[tuple[SizeLike, SizeLike]], attempt: int
) -> dict[Dim, int] | None:
    """Return sizes of the dimensions that fulfil the equalities, if they are found.

    Different ones first, then one for all.
    """
    dims = list(
        dict.fromkeys(d for n in graph.inputs for s in n.shape for d in sizes.dims(s))
    )
    apart = attempt % 2 == 0
    values = {d: 3 + attempt + (i if apart else 0) for i, d in enumerate(dims)}
    for _ in range(len(pairs) + 1):
        changed = False
        for a, b in pairs:
            for one, other in ((a, b), (b, a)):
                d = _plain(one)
                if d is None or d not in values:
                    continue
                wanted = _value(other, values)
                if wanted is not None and values[d] != wanted and not changed:
                    values[d] = wanted
                    changed = True
        if not changed:
            break
    if any(_value(a, values) != _value(b, values) for a, b in pairs):
        return None
    return values


def _plain(size: SizeLike) -> Dim | None:
    if isinstance(size, Size):
        (atom, *more) = size.atoms()
        if not more and isinstance(atom, Dim) and size == sizes.of_atom(atom):
            return atom
    return None


def _value(size: SizeLike, values: dict[Dim, int]) -> int | None:
    if any(d not in values for d in sizes.dims(size)):
        return None
    return sizes.evaluate(size, values.__getitem__)


def _random(node: Node, values: dict[Dim, int], rng: np.random.Generator) -> np.ndarray:
    shape = tuple(_value(s, values) or 0 for s in node.shape)
    if node.dtype.kind == "b":
        return rng.random(shape) < 0.5
    if node.dtype.kind in "iu":
        return rng.integers(0, 3, shape).astype(node.dtype)
    return (rng.normal(size=shape) * 1.5).astype(node.dtype)
