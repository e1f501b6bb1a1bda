"""`compile`, `evaluate` and `jit`: from expressions to functions of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.backends import reference
from graphc.expressions.containers import Structure, flatten_expressions
from graphc.graph import operators
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.arithmetic import as_node
from graphc.ops.leaf import input_
from graphc.runtime.arguments import as_input
from graphc.runtime.compiled import PLAIN, CompileOptions
from graphc.runtime.function import Function
from graphc.types.errors import ConfigError, InputError, made_at

if TYPE_CHECKING:
    from graphc.derivatives.transforms import Transform

BACKENDS = ("cpu", "cuda", "reference")


def compile(
    inputs: Any,
    outputs: Any,
    *,
    backend: str = "cpu",
    threads: int | None = None,
    donate: Any = (),
    memory_budget: int | None = None,
    sizes: Mapping[str, int] | None = None,
    results: str | None = None,
    tf32: bool = False,
) -> Function:
    """Compile expressions to a function of arrays.

    Parameters
    ----------
    inputs : list of inputs, or nested containers of them
        The arguments of the function: for a list or tuple each entry is one.
    outputs : expression, or nested containers of expressions
        What it returns, in the same containers. Numbers and arrays may stand for
        constant results.
    backend : {"cpu", "cuda", "reference"}
        "cpu" fuses the graph into compiled kernels; "cuda" does so for an NVIDIA
        device (see `graphc.runtime.device_function.DeviceFunction`); "reference"
        interprets it with NumPy.
    threads : int, optional
        How many threads a call may use; by default what the process uses. The
        results have the same bits for any number.
    donate : input, or nested containers of inputs, optional
        Inputs whose memory a call may write to. An output of the type of one lies in
        it where that is legal and is then the very array that was given; else the
        array holds nothing of use after the call. What must be converted or is given
        for another input too is copied first. Scalars are never written to.
    memory_budget : int, optional
        Bytes that outputs and intermediate arrays (`Function.memory`) may take.
        Values are then computed again rather than kept, those that cost least for the
        memory they free. Results have the same bits, but for sums that end up in
        another kernel.
    sizes : dict of str to int, optional
        The values of symbolic dimensions for which the budget is kept.
    results : {"device", "numpy"}, optional
        On CUDA, whether a call returns CuPy arrays, at once, or NumPy's, when the
        results are there. By default it leaves them on the device.
    tf32 : bool
        On CUDA, whether products of float32 may round their factors to 10 bits of
        mantissa, which tensor cores are fastest at.

    Returns
    -------
    Function
        One function for arrays of all sizes; dtypes and ranks are fixed.

    Raises
    ------
    InputError
        If an input is no input, is named twice, or one that `outputs` need is
        missing; if `donate` or `memory_budget` are unusable.
    ConfigError, MissingPackageError
        If there is no such backend here: no driver, device or package for CUDA.
    AllocationError
        If an array is larger than memory can be.
    MemoryBudgetError
        If the budget is smaller than the least that was found.
    """
    nodes, in_structure = flatten_expressions(inputs, "inputs")
    computed, out_structure = flatten_expressions(outputs, "outputs", as_node)
    graph = Graph(nodes, computed)
    check_inputs(graph)
    compile_options = CompileOptions(
        _donated(donate, graph.inputs),
        _budget(memory_budget),
        tuple(sorted((sizes or {}).items())),
        **_of_device(backend, results, tf32),
    )
    return compile_graph(
        graph, in_structure, out_structure, backend, threads, compile_options
    )


def compile_graph(
    graph: Graph,
    inputs: Structure,
    outputs: Structure,
    backend: str,
    threads: int | None = None,
    options: CompileOptions = PLAIN,
) -> Function:
    """Compile a graph whose inputs are checked."""
    if backend not in BACKENDS:
        raise ConfigError(f"backend {backend!r} is unknown; use one of {BACKENDS}.")
    made: type[Function] = Function
    if backend == "cuda":
        from graphc.runtime.device_function import DeviceFunction

        made = DeviceFunction
    return made(graph, inputs, outputs, backend, threads, options)


def _of_device(backend: str, results: str | None, tf32: bool) -> dict[str, Any]:
    """Return the options of a device, or raise if there is none to have them."""
    if results not in (None, "device", "numpy"):
        raise InputError(f'results={results!r} is neither "device" nor "numpy".')
    if backend == "cuda":
        return {"results": results or "device", "tf32": bool(tf32)}
    if results == "device" or tf32:
        raise InputError(
            'results="device" and tf32=True need a device: compile with backend="cuda".'
        )
    return {}


def _donated(donate: Any, inputs: Sequence[Node]) -> tuple[int, ...]:
    """Return the positions of the inputs to be donated."""
    nodes, structure = flatten_expressions(donate, "donate")
    position = {node: i for i, node in enumerate(inputs)}
    for node, where in zip(nodes, structure.paths("donate")):
        if node not in position:
            raise InputError(
                f"{where} is {node.label()}, which is not one of the inputs."
            )
    return tuple(sorted({position[n] for n in nodes}))


def _budget(bytes_: Any) -> int | None:
    if bytes_ is None:
        return None
    if isinstance(bytes_, bool) or not isinstance(bytes_, int) or bytes_ < 0:
        raise InputError(f"memory_budget={bytes_!r} is not a number of bytes.")
    return bytes_


def check_inputs(graph: Graph) -> None:
    """Raise `InputError` unless the inputs are inputs, each once, and complete."""
    seen: set[Node] = set()
    for node in graph.inputs:
        if node.op is not input_:
            raise InputError(
                f"{node.label()}{made_at(node.origin)} is computed, not an input. Make "
                "inputs with scalar, vector, matrix or tensor."
            )
        if node in seen:
            raise InputError(f"input {node.label()} is listed twice.")
        seen.add(node)
    missing = [n for n in graph.nodes if n.op is input_ and n not in seen]
    if missing:
        names = ", ".join(f"{n.label()}{made_at(n.origin)}" for n in missing)
        listed = {n.name for n in seen}
        namesakes = [n.name for n in missing if n.name in listed]
        hint = (
            f" Another input named {namesakes[0]!r} is listed: inputs of one name are "
            "different inputs; make each once and use that."
            if namesakes
            else ""
        )
        raise InputError(
            f"outputs need inputs that are not listed: {names}. Add them to inputs."
            + hint
        )


def evaluate(expression: Any, values: Mapping[Node, Any] | None = None) -> Any:
    """Evaluate expressions with the NumPy interpreter.

    Parameters
    ----------
    expression : expression, or nested containers of expressions
    values : dict of input to array
        A value for each input the expressions need.

    Returns
    -------
    numpy.ndarray, or the same containers of them

    Raises
    ------
    InputError, ShapeError, DTypeError
        If inputs are missing, or arrays do not fit them.
    """
    results, structure = flatten_expressions(expression, "expression", as_node)
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        raise InputError("values must be a dictionary {input: array}.")
    for key in values:
        if not isinstance(key, Node):
            raise InputError(
                f"values: the key {key!r} of type {type(key).__name__} is not an "
                "input. Give the input itself, not its name: {x: array}."
            )
    graph = Graph(list(values), results)
    check_inputs(graph)
    arrays = [as_input(n, a) for n, a in values.items()]
    return structure.unflatten([np.array(r) for r in reference.run(graph, arrays)])


def jit(
    fun: Callable[..., Any], *, backend: str = "cpu", threads: int | None = None
) -> Transform:
    """Return a Python function compiled at its first call.

    Parameters
    ----------
    fun : callable
        Written with graphc's or NumPy's functions, of arrays, numbers, and nested
        containers of them. It is traced once for each structure, shapes and dtypes
        of its arguments; other hashable arguments are static.
    backend : {"cpu", "cuda", "reference"}
    threads : int, optional
        As in `compile`.

    Returns
    -------
    Transform
        Called with arrays it runs compiled code; called with expressions it gives
        expressions.

    Examples
    --------
    >>> import graphc as cg, numpy as np
    >>> norm = cg.jit(lambda x: cg.sqrt(cg.sum(x * x)))
    >>> float(norm(np.array([3.0, 4.0])))
    5.0
    """
    from graphc.derivatives.transforms import Transform

    return Transform(fun, fun, backend=backend, threads=threads)


operators.provide(evaluate=evaluate, compile=compile)
