"""The ways to a Jacobian as compiled functions: what `compare_modes` compares."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.backends.reference import bind_sizes
from graphc.derivatives.api import jacobian
from graphc.derivatives.choice import NOMINAL_SIZE, choose, operations
from graphc.derivatives.jacobians import blocks
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.kernels.sums import evaluated
from graphc.ops.leaf import input_, new_input
from graphc.runtime.arguments import as_input
from graphc.runtime.compile import compile
from graphc.runtime.function import Function
from graphc.surfaces.cost.count import given_sizes
from graphc.types import sizes as size_arithmetic
from graphc.types.errors import GraphcError, InputError, made_at
from graphc.types.sizes import Dim
from graphc.types.tensor_type import TensorType

MODES = ("differences", "symbolic", "forward", "reverse", "mixed", "sparse")


SYMBOLIC_ENTRIES = 64
"""Entries up to which sympy is asked: each takes it milliseconds to seconds."""

SYMBOLIC_WORK = 2_000
"""Scalar operations, times entries, up to which it is asked."""


class Way(NamedTuple):
    """One way to a Jacobian.

    Attributes
    ----------
    mode : str
    function : Function
        Of all inputs: the Jacobian. For "differences" the function itself, called
        once more than there are columns.
    compile_seconds : float
        To differentiate and to compile; little if machine code is cached.
    outputs : list of Node
        What the function computes, before any pass.
    seeds : list of Node
        Matrices that sweeps start from, the function's inputs after the problem's.
    """

    mode: str
    function: Function
    compile_seconds: float
    outputs: list[Node]
    seeds: list[Node]


class Problem(NamedTuple):
    """What is differentiated.

    Attributes
    ----------
    ys, xs, inputs : list of Node
    y, x : nested containers of Node
        As the user gave them.
    dense : bool
        Whether sweeps start from matrices that may hold anything.
    """

    ys: list[Node]
    xs: list[Node]
    inputs: list[Node]
    y: Any
    x: Any
    dense: bool = False


def inputs_of(nodes: Sequence[Node]) -> list[Node]:
    """Return the inputs that expressions need."""
    return [n for n in topological_order(nodes) if n.op is input_]


def build(problem: Problem, mode: str) -> Way | str:
    """Return a way compiled, or why there is none."""
    start = time.perf_counter()
    try:
        seeds: list[Node] = []
        if problem.dense and mode in ("forward", "reverse"):
            made = _from_matrices(problem, mode, seeds)
        else:
            made = _expressions(problem, mode)
        if isinstance(made, str):
            return made
        function = compile([*problem.inputs, *seeds], made)
    except (GraphcError, NotImplementedError) as error:
        return _first_sentence(error)
    outputs = list(function.original.outputs)
    return Way(mode, function, time.perf_counter() - start, outputs, seeds)


def _from_matrices(problem: Problem, mode: str, seeds: list[Node]) -> Any:
    """Return the Jacobian by sweeps over matrices that are inputs, put into `seeds`."""

    def seed(node: Node) -> Node:
        type_ = TensorType((node.size, *node.shape), node.dtype)
        seeds.append(new_input(f"seeds{len(seeds)}", type_))
        return seeds[-1]

    return blocks(problem.ys, problem.xs, mode, seed)


def identity(seed: Node, values: Mapping[Dim, int]) -> np.ndarray:
    """Return the matrix from which a sweep's result is the Jacobian."""
    shape = [evaluated(size, values) for size in seed.shape]
    return np.eye(shape[0]).astype(seed.dtype).reshape(shape)


def _expressions(problem: Problem, mode: str) -> Any:
    if mode == "differences":
        if any(x.op is not input_ for x in problem.xs):
            return "what is differentiated by is computed: only inputs can be moved"
        return problem.ys
    if mode == "symbolic":
        sizes = [n.size for n in (*problem.ys, *problem.xs)]
        if not all(isinstance(s, int) for s in sizes):
            return "a size is symbolic, and sympy needs every element"
        entries = sum(y.size * x.size for y in problem.ys for x in problem.xs)
        if entries > SYMBOLIC_ENTRIES:  # type: ignore[operator]
            return f"{entries:,} entries are too many for sympy, one by one"
        work = entries * sum(operations(n) for n in topological_order(problem.ys))
        if work > SYMBOLIC_WORK:  # type: ignore[operator]
            return f"{entries:,} entries of so many operations are too many for sympy"
    if mode != "mixed":
        return jacobian(problem.y, problem.x, mode=mode)
    choice = choose(problem.ys, problem.xs)
    if "mixed" not in choice.costs:
        return choice.reasons.get("mixed", "there is no narrow place between the ends")
    return choice.plan.jacobian(lambda y, x, m: blocks([y], [x], m)[0][0])


def _first_sentence(error: Exception) -> str:
    return str(error).split(". ")[0].rstrip(".")


def differences(
    function: Function, arrays: Sequence[np.ndarray], moved: Sequence[int]
) -> list[list[np.ndarray]]:
    """Return the Jacobian by forward differences: a call for each element, and one.

    Steps are ``sqrt(eps) * max(1, abs(x))``, as large as rounding asks for.

    Parameters
    ----------
    function : Function
        Returns a list of arrays.
    arrays : sequence of ndarray
    moved : sequence of int
        The inputs to differentiate by.

    Returns
    -------
    list of list of ndarray
        Of each result (rows) by each of these inputs (columns).
    """
    arrays = [np.array(a) for a in arrays]
    base = [np.array(r) for r in function(*arrays)]
    out = []
    for number in moved:
        array = arrays[number]
        flat = array.reshape(-1)
        columns = [np.empty((*b.shape, array.size), array.dtype) for b in base]
        for place in range(flat.size):
            before = flat[place]
            step = np.sqrt(np.finfo(array.dtype).eps) * max(1.0, abs(before))
            flat[place] = before + step
            width = flat[place] - before  # the step that was made
            for column, result, b in zip(columns, function(*arrays), base):
                with np.errstate(invalid="ignore"):  # what is infinite at both places
                    column[..., place] = (result - b) / width
            flat[place] = before
        out.append([c.reshape(b.shape + array.shape) for c, b in zip(columns, base)])
    return [list(row) for row in zip(*out)]


def written_out(outputs: Sequence[Node]) -> int:
    """Return the operations of expressions as formulas, nothing being shared.

    What swells in a symbolic derivative: each use of a common part is a copy.
    """
    size: dict[Node, int] = {}
    for node in topological_order(outputs):
        own = 0 if node.op is input_ or node.op.is_constant else 1
        size[node] = own + sum(size[a] for a in node.args)
    return sum(size[o] for o in outputs)


def shared(outputs: Sequence[Node]) -> int:
    """Return the operations of expressions, common parts counted once."""
    return sum(
        n.op is not input_ and not n.op.is_constant for n in topological_order(outputs)
    )


def dense(result: Any) -> np.ndarray:
    """Return a result as an array; sparse ones are filled up."""
    return result.toarray() if hasattr(result, "toarray") else np.asarray(result)


def arrays_at(inputs: Sequence[Node], at: Mapping[Node, Any]) -> list[np.ndarray]:
    """Return the array of each input, checked and copied."""
    if not isinstance(at, Mapping):
        raise InputError("compare_modes: at must be a dictionary {input: array}.")
    known = set(inputs)
    for key in at:
        if not isinstance(key, Node) or key not in known:
            raise InputError(
                f"compare_modes: the key {key!r} of at is no input of y. Give the "
                "input itself: {x: array}."
            )
    for node in inputs:
        if node not in at:
            raise InputError(
                f"compare_modes: at has no array for {node.label()}"
                f"{made_at(node.origin)}."
            )
    return [np.array(as_input(n, at[n])) for n in inputs]


def sizes_at(
    inputs: Sequence[Node],
    arrays: list[np.ndarray] | None,
    sizes: Mapping[str, int] | None,
) -> dict[Dim, int]:
    """Return the sizes that arrays tell, or that are given."""
    if arrays is not None:
        if sizes is not None:
            raise InputError(
                "compare_modes: at tells the sizes; give either at or sizes."
            )
        return bind_sizes(inputs, arrays)
    dims = {d: None for n in inputs for s in n.shape for d in size_arithmetic.dims(s)}
    given = {d.name: NOMINAL_SIZE for d in dims} if sizes is None else sizes
    return given_sizes(given, list(dims), "compare_modes")
