"""From graphc's expressions to sympy's: the graph evaluated on sympy objects.

An array is a NumPy array of sympy expressions. Elementwise ops apply their `sympy`
rule to elements, reductions fold the rule of the op they repeat, and all other ops
are evaluated by their NumPy meaning, which moves and sums objects as it does numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache, reduce
from typing import Any

import numpy as np

from graphc.derivatives.symbolic.vocabulary import ops_by_class
from graphc.expressions.containers import flatten_expressions
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops.arithmetic import absolute_zero_multiply, as_node
from graphc.ops.declare import Elementwise, Reduce, Select
from graphc.ops.leaf import input_, new_input
from graphc.types.dtypes import float64, is_float
from graphc.types.errors import InputError, ShapeError, made_at
from graphc.types.tensor_type import TensorType

_LARGEST_DENOMINATOR = 2**12
"""Floats that are fractions of a power of two up to this become exact numbers."""


def to_sympy(expression: Any, symbols: Mapping[Node, Any] | None = None) -> Any:
    """Return expressions as sympy's.

    Parameters
    ----------
    expression : expression, or nested containers of expressions
        Of sizes that are integers; small, for sympy is slow and writes everything out.
    symbols : dict of expression to sympy object, optional
        What to call inputs, or other parts of the expression.

    Returns
    -------
    sympy expression, Matrix or Array, or nested containers of them
        A scalar becomes an expression or a Boolean, an array of two dimensions an
        ImmutableMatrix, others an Array. Inputs become symbols of their name, real or
        integer as their dtype is, entries of arrays ``x[i, j]`` of an IndexedBase.
        Of two inputs of one name the second is called ``x_1``.

    Raises
    ------
    InputError
        If an op has no meaning in sympy, `symbols` is unusable, or a chain of
        operations is deeper than sympy's recursion goes (some hundreds).
    ShapeError
        If a size is symbolic.

    Notes
    -----
    Numbers are exact where a float is a short binary fraction; others keep all their
    bits. Conversions of dtype, `stop_gradient` and the ways to avoid overflow
    (`softplus`, `hypot`) have no counterpart: the formula is written.

    Examples
    --------
    >>> import graphc as cg
    >>> x = cg.scalar("x")
    >>> cg.to_sympy(cg.sin(x) ** 2 / 4)
    sin(x)**2/4
    """
    import sympy

    nodes, structure = flatten_expressions(expression, "expression", as_node)
    for key in symbols or {}:
        if not isinstance(key, Node):
            raise InputError(f"to_sympy: the key {key!r} of symbols is no expression.")
    writer = Writer(symbols or {})
    return structure.unflatten([_bare(sympy, writer.write(n)) for n in nodes])


def _bare(sp: Any, value: np.ndarray) -> Any:
    if value.ndim == 0:
        return value[()]
    if value.ndim == 2:
        rows, columns = value.shape
        return sp.ImmutableMatrix(rows, columns, list(value.flat))
    return sp.ImmutableDenseNDimArray(list(value.flat), value.shape)


class Writer:
    """Makes sympy expressions of nodes; what was written once is remembered.

    Parameters
    ----------
    known : dict of Node to sympy object or array of them
        What nodes are called.
    own_derivatives : bool
        Write ops whose partials choose a case, such as `maximum`, as functions that
        carry these partials: sympy then takes the subgradients that graphc takes.
    """

    def __init__(self, known: Mapping[Node, Any], own_derivatives: bool = False):
        import sympy

        self.sp = sympy
        self.own_derivatives = own_derivatives
        self.values: dict[Node, np.ndarray] = {}
        self._names: set[str] = set()
        for node, value in known.items():
            self.values[node] = _objects(self.sp, value, node)
            self._names |= {str(s) for s in getattr(value, "free_symbols", ())}

    def write(self, node: Node) -> np.ndarray:
        """Return an object array of sympy expressions, of the shape of `node`."""
        for n in topological_order([node], self.values):
            try:
                self.values[n] = self._written(n)
            except RecursionError:
                raise InputError(
                    f"to_sympy: {n.label()}{made_at(n.origin)} is the end of a chain "
                    "that is too deep for sympy, which recurses."
                ) from None
        return self.values[node]

    def _written(self, node: Node) -> np.ndarray:
        if node.op is input_:
            return self._input(node)
        shape = static_shape(node)
        op = node.op
        args = [self.values[a] for a in node.args]
        if isinstance(op, Elementwise):
            return self._elementwise(node, args, shape)
        if not args:
            made = np.asarray(op.numpy(node, [], int))
            return _filled(shape, [number(self.sp, v) for v in made.flat])
        if isinstance(op, Reduce):
            return self._reduced(node, args[0], shape)
        try:
            made = np.asarray(op.numpy(node, args, int), dtype=object)
        except (TypeError, ValueError, AttributeError, IndexError, OverflowError):
            raise _no_meaning(node) from None
        if made.shape != shape:
            raise _no_meaning(node)
        return made

    def _elementwise(
        self, node: Node, args: Sequence[np.ndarray], shape: tuple[int, ...]
    ) -> np.ndarray:
        op = node.op
        own = own_function(op) if self.own_derivatives else None
        rule = own or (lambda *values: op.sympy_of(node, self.sp, *values))
        full = [np.broadcast_to(a, shape).flat for a in args]
        try:
            return _filled(shape, [rule(*row) for row in zip(*full)])
        except (TypeError, NotImplementedError):
            raise _no_meaning(node) from None

    def _reduced(
        self, node: Node, arg: np.ndarray, shape: tuple[int, ...]
    ) -> np.ndarray:
        op = node.op
        step, kind = _repeated(op.instruction)
        own = own_function(step) if step and self.own_derivatives else None
        if step is None or kind is None:
            raise _no_meaning(node)
        start = number(self.sp, np.asarray(op.identity(node.dtype)).item())
        axes = node.params[0]
        rows = np.moveaxis(arg, axes, range(len(axes)))
        count = math.prod(arg.shape[a] for a in axes)
        columns = rows.reshape(count, -1).T if arg.size else [()] * math.prod(shape)
        if own is None:
            return _filled(shape, [kind(*c) if count else start for c in columns])
        return _filled(shape, [reduce(own, c) if count else start for c in columns])

    def _input(self, node: Node) -> np.ndarray:
        name = node.name or "x"
        count = 0
        while name in self._names:
            count += 1
            name = f"{node.name or 'x'}_{count}"
        self._names.add(name)
        shape = static_shape(node)
        if not shape:
            return _filled((), [self.sp.Symbol(name, **assumptions(node.dtype))])
        base = self.sp.IndexedBase(name, shape=shape, **assumptions(node.dtype))
        return _filled(shape, [base[i] for i in np.ndindex(shape)])


def assumptions(dtype: np.dtype) -> dict[str, bool]:
    """Return what sympy may assume of a symbol for numbers of a dtype."""
    if is_float(dtype):
        return {"real": True}
    if dtype.kind == "u":
        return {"integer": True, "nonnegative": True}
    return {} if dtype.kind == "b" else {"integer": True}


def number(sp: Any, value: Any) -> Any:
    """Return a number as sympy's: exact where it is a short binary fraction."""
    if isinstance(value, (bool, np.bool_)):
        return sp.true if value else sp.false
    if isinstance(value, (int, np.integer)):
        return sp.Integer(int(value))
    value = float(value)
    if not np.isfinite(value):
        return sp.nan if np.isnan(value) else sp.oo if value > 0 else -sp.oo
    p, q = value.as_integer_ratio()
    if q <= _LARGEST_DENOMINATOR and abs(p) < 2**53:
        return sp.Rational(p, q)
    return sp.Float(value, precision=53)


def static_shape(node: Node) -> tuple[int, ...]:
    """Return the shape of a node.

    Raises
    ------
    ShapeError
        If a size is symbolic.
    """
    if not all(isinstance(s, int) for s in node.shape):
        raise ShapeError(
            f"to_sympy: {node.label()}{made_at(node.origin)} has a symbolic size, and "
            "sympy needs every element. Declare the size as an integer."
        )
    return tuple(node.shape)  # type: ignore[arg-type]


def _filled(shape: tuple[int, ...], values: Sequence[Any]) -> np.ndarray:
    out = np.empty(len(values), object)
    out[:] = values  # element by element: sympy objects may look like sequences
    return out.reshape(shape)


def _objects(sp: Any, value: Any, node: Node) -> np.ndarray:
    """Return what a node is called as an array of its shape."""
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, sp.Basic):
        raise InputError(
            f"to_sympy: {node.label()} is to be called {value!r} of type "
            f"{type(value).__name__}, which is no sympy object."
        )
    shape = static_shape(node)
    if not shape:
        return _filled((), [value])
    try:
        if len(shape) == 1 and isinstance(value, sp.MatrixSymbol):
            return _filled(shape, [value[i, 0] for i in range(shape[0])])
        return _filled(shape, [value[i] for i in np.ndindex(shape)])
    except (TypeError, IndexError):
        raise InputError(
            f"to_sympy: {node.label()} is an array, but {value} has no entries. Use an "
            "IndexedBase, a MatrixSymbol or an Array."
        ) from None


def _no_meaning(node: Node) -> InputError:
    return InputError(
        f"to_sympy: {node.label()}{made_at(node.origin)} cannot be written in sympy. "
        "Leave it out by naming it: to_sympy(y, {that: symbol})."
    )


@cache
def _repeated(instruction: str) -> tuple[Elementwise | None, Any]:
    """Return the op that a reduction repeats, and the sympy class it stands for."""
    for kind, op in ops_by_class().items():
        if op.arity == 2 and op.instruction == instruction:
            return op, kind
    return None, None


# ------------------------------------------------------- ops with own derivatives


@cache
def own_function(op: Elementwise) -> Any:
    """Return a sympy function class of an op that differentiates by the op's partials.

    None if sympy's own derivative of the op's formula serves: that is where no partial
    chooses a case, as the subgradients at a kink do, is zero as a step's, or guarded
    at a pole.
    """
    import sympy as sp

    if op.partials is None or op.param_names:
        return None
    args = _dummies(op)
    out = op(*args)
    if out.dtype != args[-1].dtype or any(a.dtype != float64 for a in args):
        return None  # conditions: Piecewise serves
    partials = [None if p is None else p(*args, out) for p in op.partials]
    if op is not absolute_zero_multiply and not any(map(_chooses, partials)):
        return None

    def fdiff(self: Any, argindex: int = 1) -> Any:
        known = {**dict(zip(args, self.args)), out: self}
        return _written_factor(sp, partials[argindex - 1], known)

    members = {
        "graphc_op": op,
        "nargs": op.arity,
        "fdiff": fdiff,
        "is_real": True,
        "__module__": __name__,
    }
    return type(op.name, (sp.Function,), members)


def _dummies(op: Elementwise) -> list[Node]:
    types = op.signature(op.name, (float64,) * op.arity)[0]
    return [new_input(f"x{i}", TensorType((), t)) for i, t in enumerate(types)]


def _chooses(partial: Any) -> bool:
    if isinstance(partial, Select):
        return True
    if not isinstance(partial, Node):
        return partial is not None and partial == 0  # a step
    return any(n.op is absolute_zero_multiply for n in topological_order([partial]))


def _written_factor(sp: Any, factor: Any, known: Mapping[Node, Any]) -> Any:
    """Return a partial derivative as sympy writes it."""
    if isinstance(factor, Select):
        (condition,) = Writer(known, True).write(factor.condition).flat
        return sp.Piecewise(
            (_written_factor(sp, factor.yes, known), condition),
            (_written_factor(sp, factor.no, known), True),
        )
    if factor is None:
        return sp.S.Zero
    if isinstance(factor, Node):
        return Writer(known, True).write(factor)[()]
    return number(sp, factor)
