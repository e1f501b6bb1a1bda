"""What `config(check_finite=True)` does: find where a NaN or infinity was made.

A call is checked by its outputs, which costs little. Only if one is not finite, the
graph is evaluated again node by node, and the value is followed back from the output:
element by element, to operands that are not finite and make the result so. What a
`where` or another mask removes is no cause, and is not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.backends import reference
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.declare import Elementwise, Move
from graphc.ops.leaf import input_
from graphc.types import sizes
from graphc.types.errors import NonFiniteError, made_at

SizeOf = Callable[[Any], int]

TRIED = 16
"""Elements of an operand that are tried one by one for being the cause."""

_FIRST_ID = float(2**40)  # above any constant that a move may fill in


class Cause(NamedTuple):
    """A node that made a value that is not finite, and where.

    Attributes
    ----------
    node : Node
    place : tuple of int
        The index.
    operands : tuple of ndarray
    """

    node: Node
    place: tuple[int, ...]
    operands: tuple[np.ndarray, ...]


def preserved(
    arrays: Sequence[np.ndarray], donated: Sequence[int], out: Sequence[Any]
) -> list[np.ndarray]:
    """Return the arguments of a call, copied where the call may write to them."""
    written = [a for a in out if isinstance(a, np.ndarray)]
    return [
        array.copy()
        if i in donated or any(np.may_share_memory(array, w) for w in written)
        else array
        for i, array in enumerate(arrays)
    ]


def require_finite(
    graph: Graph,
    arrays: Sequence[np.ndarray],
    results: Sequence[np.ndarray],
    names: Sequence[str],
) -> None:
    """Raise `NonFiniteError` if a result of a call has a NaN or infinity.

    Parameters
    ----------
    graph : Graph
        What was computed.
    arrays : sequence of ndarray
        The arguments, as they were before the call.
    results : sequence of ndarray
    names : sequence of str
        What to call each result in messages.
    """
    for number, (result, name) in enumerate(zip(results, names)):
        wrong = not_finite(result)
        if wrong is not None:
            raise NonFiniteError(_message(graph, arrays, number, result, wrong, name))


def not_finite(array: Any) -> np.ndarray | None:
    """Return where an array is not finite, None if it is everywhere."""
    if np.asarray(array).dtype.kind != "f":
        return None
    finite = np.isfinite(array)
    return None if finite.all() else ~finite


def _message(
    graph: Graph,
    arrays: Sequence[np.ndarray],
    number: int,
    result: Any,
    wrong: np.ndarray,
    name: str,
) -> str:
    at = _first(wrong)
    there = f"{name}{_index_text(at)}"
    found = np.asarray(result)[at]
    cause = find_cause(graph, arrays, number)
    if cause is None:
        return (
            f"{there} is {found}, but finite when evaluated node by node: some value "
            "is about to overflow, and the order of operations decides."
        )
    node, index, operands = cause
    made = made_at(node.origin)
    if not node.args:
        what = "input" if node.op is input_ else "constant"
        return (
            f"{there} is {found}, for the {what} {node.label()}{made} is not finite"
            f"{_place_text(index)}."
        )
    value = _computed(node, operands, arrays, graph)[index]
    texts = [_operand_text(node, a, x, index) for a, x in zip(node.args, operands)]
    return (
        f"{node.op.name}: the first value that is not finite is {value}, of "
        f"{node.label()}{made}{_place_text(index)}. Operands there: "
        f"{', '.join(texts)}. It makes {there} {found}. Keep the operands in the op's "
        "domain with where, clip or maximum."
    )


def _operand_text(
    node: Node, arg: Node, array: np.ndarray, index: tuple[int, ...]
) -> str:
    label = f"{arg.label()}{made_at(arg.origin)}"
    if isinstance(node.op, Elementwise):
        value = np.broadcast_to(array, _result_shape(index, node, array))[index]
        return f"{label} = {value}"
    if array.size == 0:
        return f"{label}, empty"
    if array.size == 1:
        return f"{label} = {array.reshape(())[()]}"
    return f"{label}, from {np.nanmin(array)} to {np.nanmax(array)}"


def _result_shape(index: tuple[int, ...], node: Node, array: np.ndarray) -> Any:
    """Return a shape that has `index` and to which an operand broadcasts."""
    shape = [i + 1 for i in index]
    for axis, size in zip(range(-1, -array.ndim - 1, -1), array.shape[::-1]):
        shape[axis] = max(shape[axis], size)
    return tuple(shape)


# ------------------------------------------------------------------- the search


def find_cause(graph: Graph, arrays: Sequence[np.ndarray], number: int) -> Cause | None:
    """Return what made an output of a graph not finite, None if it is finite.

    Parameters
    ----------
    graph : Graph
    arrays : sequence of ndarray
        The inputs.
    number : int
        Which output.

    Returns
    -------
    Cause or None
        The first node, in topological order, that made the value of finite operands.
        If there is none, because inputs or constants are not finite, the first that
        made a NaN of infinities; if there is none either, the input or constant.
    """
    size = _sizes_of(graph, arrays)
    values: dict[Node, np.ndarray] = dict(zip(graph.inputs, arrays))
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node not in values:
                args = [values[a] for a in node.args]
                values[node] = np.asarray(node.op.numpy(node, args, size), node.dtype)
        wrong = not_finite(values[graph.outputs[number]])
        if wrong is None:
            return None
        return _followed(graph, values, {graph.outputs[number]: wrong}, size)


def _followed(
    graph: Graph,
    values: dict[Node, np.ndarray],
    relevant: dict[Node, np.ndarray],
    size: SizeOf,
) -> Cause | None:
    made: Cause | None = None  # overwritten on the way to the first
    born: Cause | None = None
    given: Cause | None = None
    for node in reversed(graph.nodes):
        mask = relevant.pop(node, None)
        if mask is None:
            continue
        args = tuple(values[a] for a in node.args)
        if not node.args:
            given = Cause(node, _first(mask), args)
            continue
        sources = _sources(node, args, mask, size)
        if not sources:
            made = Cause(node, _first(mask), args)
            continue
        nan = mask & np.isnan(values[node])
        if nan.any() and not any(
            np.isnan(args[p][m]).any() for p, m in sources.items()
        ):
            born = Cause(node, _first(nan), args)
        for p, m in sources.items():
            before = relevant.get(node.args[p])
            relevant[node.args[p]] = m if before is None else before | m
    return made or born or given


def _sources(
    node: Node, args: Sequence[np.ndarray], mask: np.ndarray, size: SizeOf
) -> dict[int, np.ndarray]:
    """Return, for operands that make the result not finite where `mask` is, where.

    Empty if some such element of the result comes of finite operands alone.
    """
    wrong = {p: w for p, a in enumerate(args) if (w := not_finite(a)) is not None}
    if not wrong:
        return {}
    if isinstance(node.op, Elementwise):
        return _sources_of_elements(node, args, wrong, mask, size)
    if isinstance(node.op, Move):
        return _sources_of_move(node, args, wrong, mask, size)
    return _sources_of_whole(node, args, wrong, mask, size)


def _sources_of_elements(
    node: Node,
    args: Sequence[np.ndarray],
    wrong: dict[int, np.ndarray],
    mask: np.ndarray,
    size: SizeOf,
) -> dict[int, np.ndarray]:
    """Return operands that keep the result from being finite when no others do."""
    out: dict[int, np.ndarray] = {}
    left = mask.copy()
    for p in wrong:
        there = mask & np.broadcast_to(wrong[p], mask.shape)
        if len(wrong) > 1:
            others = _repaired(args, {q: w for q, w in wrong.items() if q != p})
            there &= ~np.isfinite(np.asarray(node.op.numpy(node, others, size)))
        if there.any():
            out[p] = _narrowed(there, args[p].shape)
            left &= ~there
    return {} if left.any() else out


def _sources_of_move(
    node: Node,
    args: Sequence[np.ndarray],
    wrong: dict[int, np.ndarray],
    mask: np.ndarray,
    size: SizeOf,
) -> dict[int, np.ndarray]:
    """Return which elements are read: a move of their numbers tells."""
    numbered, first = list(args), {}
    start = _FIRST_ID
    for p in node.op.differentiable(node):
        first[p] = start
        count = args[p].size
        numbered[p] = (start + np.arange(count)).reshape(args[p].shape)
        start += count
    read = np.asarray(node.op.numpy(node, numbered, size), np.float64)[mask]
    out: dict[int, np.ndarray] = {}
    for p, w in wrong.items():
        if p not in first:
            continue
        places = read[(read >= first[p]) & (read < first[p] + w.size)] - first[p]
        there = np.zeros(w.size, bool)
        there[places.astype(np.int64)] = True
        there = there.reshape(w.shape) & w
        if there.any():
            out[p] = there
    return out


def _sources_of_whole(
    node: Node,
    args: Sequence[np.ndarray],
    wrong: dict[int, np.ndarray],
    mask: np.ndarray,
    size: SizeOf,
) -> dict[int, np.ndarray]:
    """Return what alone makes the result not finite, for contractions and others."""
    if not np.isfinite(
        np.asarray(node.op.numpy(node, _repaired(args, wrong), size))[mask]
    ).all():
        return {}
    out: dict[int, np.ndarray] = {}
    for p, w in wrong.items():
        found = np.zeros(w.shape, bool)
        for place in np.argwhere(w)[:TRIED]:
            alone = w.copy()
            alone[tuple(place)] = False
            others = _repaired(args, {**wrong, p: alone})
            result = np.asarray(node.op.numpy(node, others, size))
            found[tuple(place)] = not np.isfinite(result[mask]).all()
        out[p] = found if found.any() else w
    return out


def _repaired(
    args: Sequence[np.ndarray], wrong: dict[int, np.ndarray]
) -> list[np.ndarray]:
    """Return operands with 1 in place of what is not finite."""
    return [
        np.where(wrong[p], np.ones((), a.dtype), a) if p in wrong else a
        for p, a in enumerate(args)
    ]


def _narrowed(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask over what was broadcast from a shape, over the shape."""
    extra = mask.ndim - len(shape)
    narrow = np.any(mask, axis=tuple(range(extra)), keepdims=True)
    narrow = narrow.reshape(mask.shape[extra:])
    axes = tuple(a for a, s in enumerate(shape) if s == 1 and narrow.shape[a] != 1)
    return np.asarray(np.any(narrow, axis=axes, keepdims=True))


def _computed(
    node: Node,
    operands: Sequence[np.ndarray],
    arrays: Sequence[np.ndarray],
    graph: Graph,
) -> np.ndarray:
    with np.errstate(all="ignore"):
        made = node.op.numpy(node, operands, _sizes_of(graph, arrays))
    return np.asarray(made, node.dtype)


def _sizes_of(graph: Graph, arrays: Sequence[np.ndarray]) -> SizeOf:
    values = reference.bind_sizes(graph.inputs, arrays)
    memo: dict[Any, int] = {}
    return lambda s: sizes.evaluate(s, values.__getitem__, memo)


def _first(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(np.argmax(mask), mask.shape))


def _place_text(index: tuple[int, ...]) -> str:
    return f" at index {_index_text(index)}" if index else ""


def _index_text(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""
