"""Derivatives of Python functions: tracing a function to expressions.

A `Transform` is what `grad(fun)` and its kin return. Called with expressions it
gives expressions, so transforms nest. Called with arrays and numbers it is traced
once for each structure, dtypes and shapes of its arguments, compiled, and run; the
runtime provides the compiler through the table of `graphc.graph.operators`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.derivatives.batching import batched_outputs, substitute
from graphc.expressions.containers import Structure, flatten, flatten_expressions
from graphc.graph import operators
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops.arithmetic import as_node
from graphc.ops.leaf import input_, new_input
from graphc.ops.move import permute
from graphc.types import dtypes, sizes
from graphc.types.errors import InputError, ShapeError
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import TensorType, normalize_axis

Function = Callable[..., Any]


class Transform:
    """A Python function turned into another one, traced when it is called.

    Parameters
    ----------
    build : callable
        Takes the arguments, expressions in place of arrays, and returns nested
        containers of expressions.
    fun : callable
        The user's function, whose name, text and signature are shown.
    **options
        Options of `graphc.compile`.

    Notes
    -----
    Arrays and Python numbers become inputs; a Python float takes the dtype of the
    floating-point arrays beside it, so it does not widen them. Anything else, such
    as None or a text, is static: it must be hashable, and another value traces
    again. The function should have no side effects; they happen while tracing. One
    that uses expressions from outside gives expressions, as if called with them.
    """

    def __init__(self, build: Function, fun: Function, **options: Any):
        functools.update_wrapper(self, fun)
        self._build = build
        self._options = options
        self._compiled: dict[tuple, Callable[..., Any]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten((args, kwargs))
        if any(isinstance(leaf, Node) for leaf in leaves):
            return self._build(*args, **kwargs)
        concrete = [_as_array(leaf) for leaf in leaves]
        arrays = _with_weak_floats(leaves, concrete)
        key = (structure, *(map(_key, leaves, arrays)))
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._trace(leaves, arrays, structure)
            if compiled is None:
                return self._build(*args, **kwargs)
            self._compiled[key] = compiled
        given = [a.value if isinstance(a, OnDevice) else a for a in arrays]
        return compiled(*[a for a in given if a is not None])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {getattr(self, '__name__', 'function')}>"

    def _trace(
        self, leaves: list[Any], arrays: list[Any], structure: Structure
    ) -> Callable[..., Any] | None:
        """Return the compiled function, None if it uses expressions from outside."""
        names = argument_names(self, structure)
        inputs, given = [], list(leaves)
        for i, array in enumerate(arrays):
            if array is not None:
                given[i] = new_input(names[i], TensorType(array.shape, array.dtype))
                inputs.append(given[i])
        args, kwargs = structure.unflatten(given)
        outputs = read_outputs(self._build(*args, **kwargs), self)
        if uses_others(flatten(outputs)[0], inputs):
            return None
        return operators.FUNCTIONS["compile"](inputs, outputs, **self._options)


class OnDevice:
    """An array on a device, of which tracing needs the shape and dtype only."""

    def __init__(self, value: Any, shape: tuple[int, ...], dtype: np.dtype):
        self.value = value
        self.shape = shape
        self.dtype = dtype


def _on_device(leaf: Any) -> OnDevice | None:
    """Return an argument that is an array on a CUDA device, None for others."""
    if isinstance(leaf, (np.ndarray, np.generic, bool, int, float)):
        return None
    try:
        interface = leaf.__cuda_array_interface__
    except Exception:  # of a tensor that records gradients it is no AttributeError
        return None
    dtype = dtypes.as_dtype(np.dtype(interface["typestr"]))
    return OnDevice(leaf, tuple(interface["shape"]), dtype)


def _as_array(leaf: Any) -> Any:
    """Return an argument as an array, None if it is static."""
    found = _on_device(leaf)
    if found is not None:
        return found
    if isinstance(leaf, (np.ndarray, np.generic, bool, int, float)) or (
        hasattr(leaf, "__array__") and not isinstance(leaf, type)
    ):
        array = np.asarray(leaf)
        return array.astype(dtypes.as_dtype(array.dtype), copy=False)
    return None


def as_arrays(leaves: Sequence[Any]) -> list[np.ndarray]:
    """Return arrays and numbers as arrays of the dtypes they are traced with.

    Raises
    ------
    InputError
        If one is something else.
    """
    arrays = _with_weak_floats(leaves, [_as_array(leaf) for leaf in leaves])
    for leaf, array in zip(leaves, arrays):
        if isinstance(array, OnDevice):
            raise InputError(
                f"an array of {type(leaf).__name__} on a device was given where "
                "NumPy's arrays are needed: get it to the host, or use jit with "
                'backend="cuda".'
            )
        if array is None:
            raise InputError(
                f"{leaf!r:.60} of type {type(leaf).__name__} is neither an array nor a "
                "number, and has no derivative."
            )
    return arrays


def _with_weak_floats(leaves: Sequence[Any], arrays: Sequence[Any]) -> list[Any]:
    beside = [
        a.dtype
        for leaf, a in zip(leaves, arrays)
        if a is not None and type(leaf) is not float and dtypes.is_float(a.dtype)
    ]
    weak = dtypes.promote(*beside) if beside else dtypes.float64
    return [
        np.asarray(leaf, weak) if type(leaf) is float else array
        for leaf, array in zip(leaves, arrays)
    ]


def _key(leaf: Any, array: Any) -> tuple:
    if array is not None:
        return (array.shape, array.dtype)
    try:
        hash(leaf)
    except TypeError:
        raise InputError(
            f"an argument of type {type(leaf).__name__} is neither an array nor "
            "hashable. Give arrays, numbers, nested containers of them, or hashable "
            "values, which are static."
        ) from None
    return (type(leaf), leaf)


def argument_names(fun: Function, structure: Structure) -> list[str]:
    """Return a name for each leaf of ``(args, kwargs)``, by the parameters' names."""
    positional, named = structure.children
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [p.name for p in parameters if p.kind in kinds]
    out: list[str] = []
    for i, child in enumerate(positional.children):
        out += child.paths(known[i] if i < len(known) else f"arg{i}")
    for key, child in zip(named.keys, named.children):
        out += child.paths(str(key))
    return out


def read_outputs(tree: Any, fun: Function) -> Any:
    """Return a function's result with arrays and numbers made expressions.

    Raises
    ------
    InputError
        For a leaf that is none of these.
    """
    what = f"the result of {getattr(fun, '__name__', 'the function')}"
    leaves, structure = flatten_expressions(tree, what, as_node)
    return structure.unflatten(leaves)


def uses_others(outputs: Sequence[Node], inputs: Sequence[Node]) -> bool:
    """Tell whether expressions depend on inputs besides the given ones."""
    known = set(inputs)
    return any(
        node.op is input_ and node not in known for node in topological_order(outputs)
    )


def is_function(y: Any) -> bool:
    """Tell whether a first argument is a Python function, not an expression."""
    return callable(y) and not isinstance(y, Node)


def read_argnums(argnums: Any, count: int, fun: Function) -> tuple[list[int], bool]:
    """Return the positions of the arguments meant, and whether it was just one.

    Raises
    ------
    InputError
        If one is no integer, out of range, or named twice.
    """
    single = not isinstance(argnums, (tuple, list))
    name = getattr(fun, "__name__", "the function")
    out = []
    for number in (argnums,) if single else argnums:
        if not isinstance(number, (int, np.integer)) or not -count <= number < count:
            raise InputError(
                f"argnums: {number!r} names none of the {count} positional arguments "
                f"that {name} was called with. Arguments to differentiate by are given "
                "by position."
            )
        out.append(int(number) % count)
    if len(set(out)) != len(out):
        raise InputError(f"argnums: an argument is named twice in {argnums!r}.")
    return out, single


def at_arguments(
    fun: Function,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    argnums: Any,
    rule: Callable[[Any, Any], Any],
) -> Any:
    """Trace a function at its arguments and apply a rule to its result.

    Parameters
    ----------
    fun : callable
    args, kwargs
        Its arguments, expressions or anything it takes.
    argnums : int or sequence of int
    rule : callable
        ``(result, arguments) -> expressions``, the arguments being those at
        `argnums`: the one itself, or a tuple.

    Returns
    -------
    nested containers of expressions

    Notes
    -----
    The arguments in question are replaced by new inputs while `fun` runs, and put
    back afterwards. So the derivative is by the argument only: not by the same
    expression given as another argument too, or used by the function from outside.
    """
    chosen, single = read_argnums(argnums, len(args), fun)
    given = list(args)
    places: dict[Node, Node] = {}
    for i in chosen:
        leaves, structure = flatten_expressions(args[i], f"argument {i}", as_node)
        inputs = []
        names = structure.paths(f"arg{i}")
        for name, leaf in zip(names, leaves):
            inputs.append(new_input(leaf.name or name, leaf.type))
            places[inputs[-1]] = leaf
        given[i] = structure.unflatten(inputs)
    wrt = given[chosen[0]] if single else tuple(given[i] for i in chosen)
    result = rule(fun(*given, **kwargs), wrt)
    found, shape = flatten_expressions(result, "the result", as_node)
    return shape.unflatten(substitute(found, places))


def transform(
    fun: Function, argnums: Any, rule: Callable[..., Any], extra: int = 0
) -> Transform:
    """Return the function that applies a rule to the result of `fun`.

    Parameters
    ----------
    fun : callable
    argnums : int or sequence of int
    rule : callable
        As in `at_arguments`; it gets the `extra` arguments too.
    extra : int
        How many arguments follow those of `fun`, such as one for a tangent.
    """

    def build(*args: Any, **kwargs: Any) -> Any:
        if len(args) <= extra:
            raise InputError(
                f"{getattr(fun, '__name__', 'the function')}: {len(args)} positional "
                f"arguments were given, but at least {extra + 1} are needed"
                + (": those of the function, then the vector." if extra else ".")
            )
        own = args[: len(args) - extra]
        rest = args[len(own) :]
        return at_arguments(fun, own, kwargs, argnums, lambda y, x: rule(y, x, *rest))

    return Transform(build, fun)


# ------------------------------------------------------------------------ vmap


def vmap(fun: Function, in_axes: Any = 0, out_axes: Any = 0) -> Transform:
    """Return the function mapped over an axis of its arguments.

    Parameters
    ----------
    fun : callable
        A function of expressions that gives expressions, each nested containers.
    in_axes : int, None, or nested containers of these
        The axis of each argument to map over; None gives the argument whole to
        each call. One for all positional arguments, or a tuple with an entry for
        each, which may itself be nested as the argument is. Keyword arguments are
        mapped over axis 0.
    out_axes : int, or nested containers of these
        Where the mapped axis stands in the results.

    Returns
    -------
    Transform
        Called with expressions it gives expressions, with arrays arrays.

    Raises
    ------
    ShapeError
        When called, if the mapped axes differ in size or do not exist.
    InputError
        If `fun` is no function; when called, if nothing is mapped.

    Examples
    --------
    >>> rows = vmap(lambda a, b: (a * b).sum(), in_axes=(0, None))
    """
    if not is_function(fun):
        raise InputError(
            f"vmap: {fun!r:.60} of type {type(fun).__name__} is not a function. Give "
            "the function that makes the expression: vmap(lambda row: ...)(x)."
        )

    def build(*args: Any, **kwargs: Any) -> Any:
        return _mapped(fun, in_axes, out_axes, args, kwargs)

    return Transform(build, fun)


def _mapped(
    fun: Function, in_axes: Any, out_axes: Any, args: tuple, kwargs: dict[str, Any]
) -> Any:
    leaves, structure = flatten((args, kwargs))
    axes = _spread(in_axes, structure.children[0], "in_axes")
    axes += [0] * structure.children[1].count
    names = argument_names(fun, structure)
    size: SizeLike | None = None
    batched: dict[Node, Node] = {}
    for i, (leaf, axis, name) in enumerate(zip(leaves, axes, names)):
        if axis is None:
            continue
        node = as_node(leaf)
        if not node.ndim:
            raise ShapeError(
                f"vmap: {node.label()}, given for {name}, is a scalar and has no axis "
                "to map over. Give its in_axes as None."
            )
        axis = normalize_axis(axis, node.ndim, f"vmap, in_axes of {name}")
        size = _joint_size(size, node.shape[axis], name)
        node = permute(node, (axis, *(a for a in range(node.ndim) if a != axis)))
        leaves[i] = new_input(name, TensorType(node.shape[1:], node.dtype))
        batched[leaves[i]] = node
    if size is None:
        raise InputError("vmap: no argument is mapped; every entry of in_axes is None.")
    inner_args, inner_kwargs = structure.unflatten(leaves)
    result = read_outputs(fun(*inner_args, **inner_kwargs), fun)
    outputs, shape = flatten(result)
    places = _spread(out_axes, shape, "out_axes")
    return shape.unflatten(
        [
            _place_axis(value, axis)
            for value, axis in zip(batched_outputs(outputs, batched, size), places)
        ]
    )


def _joint_size(size: SizeLike | None, new: SizeLike, name: str) -> SizeLike:
    joint = new if size is None else sizes.unify(size, new)
    if joint is None:
        raise ShapeError(
            f"vmap: {name} is mapped over an axis of size {new}, arguments before it "
            f"over one of size {size}. Mapped axes must have the same size."
        )
    return joint


def _spread(prefix: Any, structure: Structure, what: str) -> list[Any]:
    """Return an entry for each leaf, from one that may stand for a whole container."""
    if prefix is None or isinstance(prefix, (int, np.integer)):
        return [prefix] * structure.count
    if structure.kind is None:
        raise InputError(
            f"vmap: {what} is {prefix!r} for something that is no container; it must "
            "be an integer or None."
        )
    level = Structure(
        structure.kind, structure.keys, (Structure(),) * len(structure.keys)
    )
    out: list[Any] = []
    for part, child in zip(level.flatten_like(prefix, what), structure.children):
        out += _spread(part, child, what)
    return out


def _place_axis(value: Node, axis: Any) -> Node:
    axis = normalize_axis(axis, value.ndim, "vmap, out_axes")
    order = list(range(1, value.ndim))
    order.insert(axis, 0)
    return permute(value, tuple(order))
