"""`linearize`: a result, and the linear map that is its derivative at a point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.derivatives.arguments import read_like, read_result, read_wrt
from graphc.derivatives.batching import substitute
from graphc.derivatives.forward import push_forward
from graphc.derivatives.transforms import (
    argument_names,
    as_arrays,
    is_function,
    read_outputs,
    uses_others,
)
from graphc.expressions.containers import Structure, flatten
from graphc.graph import operators
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops.arithmetic import as_node
from graphc.ops.declare import Move
from graphc.ops.leaf import input_, new_input
from graphc.types.errors import InputError
from graphc.types.tensor_type import TensorType


def linearize(
    y: Any, *wrt: Any, disconnected: str = "raise"
) -> tuple[Any, Callable[..., Any]]:
    """Return `y` and its derivative as a function that is linear in tangents.

    Parameters
    ----------
    y : expression, nested containers of them, or callable
    *wrt : expression or nested list, tuple, dict of them
        Of an expression one, what to differentiate by. Of a function its arguments:
        expressions, or arrays and numbers.
    disconnected : {"raise", "zero"}
        As in `grad`; for a function it is always "zero".

    Returns
    -------
    y
        As given; of a function, its result at the arguments.
    linear : callable
        Takes tangents, of an expression in the structure of `wrt`, of a function one
        for each argument, and returns the Jacobian-vector product. Equal to `jvp`,
        but what does not depend on tangents is made once: for arrays it is computed
        once, and each call takes only the part that is linear.

    Raises
    ------
    InputError
        If a function is given no arguments, or an expression not one `wrt`.
    ShapeError, DTypeError, InputError
        When `linear` is called, if tangents do not fit.
    DTypeError, DisconnectedInputError, NotDifferentiableError
        As in `grad`.

    Examples
    --------
    >>> import graphc as cg
    >>> y, linear = cg.linearize(lambda x: x * x, 3.0)
    >>> float(y), float(linear(1.0)), float(linear(0.5))
    (9.0, 6.0, 3.0)
    """
    if is_function(y):
        return _of_function(y, wrt)
    if len(wrt) != 1:
        raise InputError(
            f"linearize: an expression and one wrt are needed, {len(wrt)} were given. "
            "Put several into a list, tuple or dictionary."
        )
    outputs, y_structure = read_result(y, "linearize")
    nodes, structure = read_wrt(wrt[0])
    seeds = [new_input("tangent", n.type) for n in nodes]
    pushed = push_forward(outputs, nodes, seeds, disconnected)

    def linear(tangents: Any) -> Any:
        given = read_like(tangents, nodes, structure, "tangent")
        return y_structure.unflatten(substitute(pushed, dict(zip(seeds, given))))

    return y_structure.unflatten(outputs), linear


def _of_function(fun: Callable[..., Any], args: tuple) -> tuple[Any, Any]:
    name = getattr(fun, "__name__", "the function")
    if not args:
        raise InputError(
            f"linearize: {name} is given without arguments. Give the point: "
            "linearize(fun, x, ...)."
        )
    leaves, structure = flatten(args)
    symbolic = any(isinstance(leaf, Node) for leaf in leaves)
    given = [as_node(leaf) for leaf in leaves] if symbolic else as_arrays(leaves)
    types = [TensorType(tuple(g.shape), g.dtype) for g in given]
    names = argument_names(fun, Structure(tuple, (0, 1), (structure, Structure(dict))))
    inputs = [new_input(n, t) for n, t in zip(names, types)]
    seeds = [new_input(f"tangent of {n}", t) for n, t in zip(names, types)]
    result = read_outputs(fun(*structure.unflatten(inputs)), fun)
    outputs, shape = read_result(result, "linearize")
    pushed = push_forward(outputs, inputs, seeds, "zero")
    if symbolic or uses_others(outputs, inputs):
        places = {x: as_node(g) for x, g in zip(inputs, given)}

        def linear(*tangents: Any) -> Any:
            read = read_like(tangents, inputs, structure, "tangents")
            at = places | dict(zip(seeds, read))
            return shape.unflatten(substitute(pushed, at))

        return shape.unflatten(substitute(outputs, places)), linear

    kept = {n: new_input("kept", n.type) for n in _fixed_part(pushed, seeds)}
    linear_part = substitute(pushed, kept)
    compile = operators.FUNCTIONS["compile"]
    value, kept_values = compile(inputs, [shape.unflatten(outputs), list(kept)])(*given)
    apply = compile([*kept.values(), *seeds], shape.unflatten(linear_part))

    def linear_in_arrays(*tangents: Any) -> Any:
        flat = structure.flatten_like(tangents, "tangents")
        if not any(isinstance(t, Node) for t in flat):
            return apply(*kept_values, *flat)
        read = read_like(tangents, inputs, structure, "tangents")
        at = {kept[n]: as_node(v) for n, v in zip(kept, kept_values)}
        return shape.unflatten(substitute(linear_part, at | dict(zip(seeds, read))))

    return value, linear_in_arrays


def _fixed_part(pushed: Sequence[Node], seeds: Sequence[Node]) -> list[Node]:
    """Return what the linear part reads that does not depend on tangents.

    Not values that are only moved, or made of constants: these are made again.
    """
    moving = set(seeds)
    order = topological_order(pushed)
    computed: set[Node] = set()  # from inputs, and so worth keeping
    for node in order:
        if node in moving or any(a in moving for a in node.args):
            moving.add(node)
        elif node.op is input_ or any(a in computed for a in node.args):
            computed.add(node)
    stack = [a for n in order if n in moving for a in n.args if a in computed]
    stack += [p for p in pushed if p in computed]
    kept: dict[Node, None] = {}
    seen: set[Node] = set()
    while stack:
        node = stack.pop()
        if node in seen or node not in computed:
            continue
        seen.add(node)
        if isinstance(node.op, Move):
            stack.extend(node.args)
        else:
            kept[node] = None
    return list(kept)
