"""Elementwise ops from sympy formulas: `elementwise`.

The formula, and its partial derivatives made by sympy, become graphs of scalar nodes
once. From then on sympy is not needed: NumPy meaning, kernel code, partials, poles and
signs of the op all replay these graphs, each node by its own rule. So the op fuses and
vectorizes as the ops it is made of, and pickles as its graphs do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.derivatives.symbolic.differentiate import SymbolicPart
from graphc.derivatives.symbolic.reader import Given, Reader
from graphc.derivatives.symbolic.to_sympy import Writer
from graphc.expressions.elementwise import call_op
from graphc.graph.graph import Graph, topological_order
from graphc.graph.node import Node
from graphc.graph.origin import current_site, set_inherited
from graphc.graph.pickling import flatten, unflatten
from graphc.ops.arithmetic import absolute_zero_multiply, cast, negative, where
from graphc.ops.declare import REGISTRY, Elementwise, Select
from graphc.ops.leaf import constant, new_input, uniform_value
from graphc.ops.scalars import Scalars, Value
from graphc.ops.signatures import floating
from graphc.types import dtypes
from graphc.types.errors import InputError
from graphc.types.tensor_type import TensorType


def elementwise(
    name: str, sympy_expression: Any, symbols: Sequence[Any] | None = None
) -> UserFunction:
    """Return a function on expressions from a sympy formula: a new op.

    Parameters
    ----------
    name : str
        Of the op; no other op may have it. The same formula again under the same name
        gives the same op.
    sympy_expression : sympy expression
        Of one or more symbols. They are taken as real, and keep assumptions such as
        ``positive=True``.
    symbols : sequence of sympy symbols, optional
        The order of the arguments; by default the symbols sorted by name.

    Returns
    -------
    UserFunction
        Takes expressions, arrays and numbers, which broadcast; integers become floats.
        `domain` says where the op and its derivative are finite.

    Raises
    ------
    InputError
        If the name is taken by another op or is no identifier; for a text instead of a
        formula; for a formula without symbols, with ones not in `symbols`, with
        functions graphc does not know, or that is real nowhere.

    Notes
    -----
    sympy derives the partial derivatives; at kinks they are those of `grad`. Where a
    partial may be infinite, products in derivatives are ones with an absolute zero, as
    for all ops. It costs what its formula costs, in one kernel with its surroundings.

    Examples
    --------
    >>> import graphc as cg, sympy
    >>> s = sympy.Symbol("x")
    >>> softsign = cg.elementwise("softsign_example", s / (1 + sympy.Abs(s)))
    >>> x = cg.vector("x", 3)
    >>> cg.evaluate(cg.grad(softsign(x).sum(), x), {x: [-1.0, 0.0, 3.0]})
    array([0.25  , 1.    , 0.0625])
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(f"elementwise: the name {name!r} is no identifier.")
    before = set_inherited(current_site())
    try:
        definition = _define(name, sympy_expression, symbols)
    finally:
        set_inherited(before)
    return UserFunction(_registered_op(name, *definition))


def _define(name: str, formula: Any, symbols: Any) -> tuple[Graph, tuple[str, ...]]:
    """Return value and partials as scalar graphs, and the domain."""
    import sympy as sp

    what = f"elementwise {name!r}"
    if isinstance(formula, str):
        raise InputError(
            f"{what}: {formula!r} is a text; texts are never parsed. Make the formula "
            "with sympy first."
        )
    if not isinstance(formula, (sp.Expr, sp.logic.boolalg.Boolean)):
        raise InputError(
            f"{what}: a sympy expression is needed, not a value of type "
            f"{type(formula).__name__}."
        )
    free = sorted(formula.free_symbols, key=lambda s: s.name)
    if not free:
        raise InputError(f"{what}: {formula} has no symbols, so the op no arguments.")
    given = free if symbols is None else list(symbols)
    for s in given:
        if not isinstance(s, sp.Symbol):
            raise InputError(
                f"{what}: {s} of type {type(s).__name__} is no symbol; an op's "
                "arguments are numbers."
            )
    missing = [str(s) for s in free if s not in given]
    if missing or len(set(given)) != len(given):
        raise InputError(
            f"{what}: symbols must list each symbol of the formula once"
            + (f"; missing: {', '.join(missing)}." if missing else ".")
        )
    real = [sp.Symbol(s.name, **{**s._assumptions_orig, "real": True}) for s in given]
    formula = formula.xreplace(dict(zip(given, real)))
    inputs = [new_input(s.name, TensorType((), dtypes.float64)) for s in real]
    reader = Reader(Given(dict(zip(real, inputs))), dtypes.float64)
    reader.unrolled = _LONGEST_SUM
    try:
        value = reader.expression(formula)
    except InputError as error:
        raise InputError(f"{what}: {str(error).removeprefix('from_sympy: ')}") from None
    if value.dtype.kind != "b":
        value = cast(value, dtypes.float64)
    if any(
        not isinstance(n.op, Elementwise) and n.args for n in topological_order([value])
    ):
        raise InputError(f"{what}: {formula} is more than a formula of elements.")
    domain = _domain(sp, what, formula, Graph(inputs, [value]), real)
    partials: list[Node] = []
    if value.dtype.kind == "f":
        part = SymbolicPart([value], inputs, what, "Write it as a function of ops")
        expr = part.written(value)[()]
        slopes = [part.slope(expr, part.symbols[x][()]) for x in inputs]
        partials = [cast(n, value.dtype) for n in part.read_all(slopes, value)]
    return Graph(inputs, [value, *partials]), domain


_LONGEST_SUM = 1000
"""Terms up to which a sum in a formula is written out: an op has no loop of its own."""


def _domain(
    sp: Any, what: str, formula: Any, graph: Graph, symbols: Sequence[Any]
) -> tuple[str, ...]:
    """Return the conditions under which the op and its derivative are finite.

    Raises
    ------
    InputError
        If they contradict each other: the formula is real nowhere.
    """
    writer = Writer(dict(zip(graph.inputs, symbols)))
    conditions: list[Any] = []
    for node, condition in _poles(graph.outputs):
        (value,) = writer.write(node).flat
        conditions.append(sp.Ne(value, 0) if condition == "nonzero" else value > 0)
    for s in symbols:
        if s.is_positive:
            conditions.append(sp.Symbol(s.name, real=True) > 0)
    for condition in conditions:
        if condition == sp.false:
            raise InputError(
                f"{what}: {formula} has no real value, or no finite derivative, for "
                "any arguments."
            )
    return tuple(dict.fromkeys(str(c) for c in conditions if c != sp.true))


def _poles(outputs: Sequence[Node]) -> list[tuple[Node, str]]:
    """Return what must hold under some nodes for derivatives to be finite."""
    out: dict[tuple[Node, str], None] = {}
    for node in topological_order(outputs):
        op = node.op
        if (
            isinstance(op, Elementwise)
            and op.poles
            and op is not absolute_zero_multiply
        ):
            for safe, condition in op.poles(*node.params, *node.args):
                number = uniform_value(safe)
                fine = number is not None and (number > 0 or condition == "nonzero")
                if not fine or number == 0:
                    out[safe, condition] = None
    return list(out)


# ---------------------------------------------------------------------- the op


class UserOp(Elementwise):
    """An elementwise op whose rules replay scalar graphs.

    Parameters
    ----------
    name : str
    graph : Graph
        Of scalars, in float64: the value, and the partial by each input unless the
        value is a condition.
    domain : tuple of str
    """

    built_in = False

    def __init__(self, name: str, graph: Graph, domain: tuple[str, ...]):
        value, *slopes = graph.outputs
        self.graph = graph
        self.domain = domain
        guards = _poles(slopes)
        self._guards = Graph(graph.inputs, [node for node, _ in guards])
        self._conditions = [condition for _, condition in guards]
        self._typed: dict[np.dtype, Graph] = {}
        order = topological_order([value])
        super().__init__(
            name,
            len(graph.inputs),
            numpy=self._evaluated,
            scalar=self._lowered,
            signature=_condition if value.dtype.kind == "b" else floating,
            partials=[_partial(graph.inputs, s) for s in slopes] or None,
            poles=self._made_poles if guards else None,
            sympy=self._formula,
            sign=self._sign,
            cost=sum(getattr(n.op, "cost", 0) for n in order),
            transcendental=sum(getattr(n.op, "transcendental", 0) for n in order),
        )

    def __reduce__(self) -> Any:
        rows = flatten([*self.graph.inputs, *self.graph.outputs])
        return (_restored, (self.name, rows, self.arity, self.domain))

    def typed(self, dtype: np.dtype) -> Graph:
        """Return the graph of the value for scalars of a float dtype."""
        graph = self._typed.get(dtype)
        if graph is None:
            inputs = [
                new_input(n.name or "x", TensorType((), dtype))
                for n in self.graph.inputs
            ]
            given = dict(zip(self.graph.inputs, inputs))
            graph = Graph(inputs, replayed(self.graph.outputs[:1], given, dtype))
            graph = self._typed.setdefault(dtype, graph)
        return graph

    def _evaluated(self, *arrays: np.ndarray) -> np.ndarray:
        graph = self.typed(arrays[0].dtype)
        values: dict[Node, Any] = dict(zip(graph.inputs, arrays))
        with np.errstate(all="ignore"):
            for node in graph.nodes:
                if node not in values:
                    row = [values[a] for a in node.args]
                    values[node] = np.asarray(node.op.numpy(node, row, int), node.dtype)
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        return np.broadcast_to(values[graph.outputs[0]], shape)

    def _lowered(self, k: Scalars, *operands: Value) -> Value:
        graph = self.typed(k.dtype(operands[0]))
        values: dict[Node, Value] = dict(zip(graph.inputs, operands))
        for node in graph.nodes:
            if node in values:
                continue
            if node.op.is_constant:
                values[node] = k.constant(node.params[0].array.item(), node.dtype)
            else:
                values[node] = node.op.scalar(k, node, *(values[a] for a in node.args))
        return values[graph.outputs[0]]

    def _made_poles(self, *args: Node) -> list[tuple[Node, str]]:
        given = dict(zip(self._guards.inputs, args))
        made = replayed(self._guards.outputs, given, args[0].dtype)
        return list(zip(made, self._conditions))

    def _sign(self, args: Sequence[Node], signs: Sequence[str]) -> str:
        known = dict(zip(self.graph.inputs, signs))
        for node in topological_order(self.graph.outputs[:1], self.graph.inputs):
            known[node] = node.op.sign_of(node, [known[a] for a in node.args])
        return known[self.graph.outputs[0]]

    def _formula(self, sp: Any, *symbols: Any) -> Any:
        writer = Writer(dict(zip(self.graph.inputs, symbols)))
        return writer.write(self.graph.outputs[0])[()]


def _condition(op: str, types: Sequence[np.dtype]) -> Any:
    """Take floats; the result is boolean."""
    return floating(op, types)[0], dtypes.bool_


def _partial(inputs: Sequence[Node], slope: Node) -> Callable[..., Any]:
    """Return the rule of a partial derivative from its scalar graph."""

    def rule(*operands: Node) -> Any:
        *args, out = operands
        made = replayed([slope], dict(zip(inputs, args)), out.dtype)
        return factor(made[0])

    return rule


def factor(node: Node) -> Any:
    """Return a partial derivative in the form that masks are told from: by cases."""
    number = uniform_value(node)
    if number is not None and not node.ndim:
        return number.item()
    if node.op is where:
        condition, yes, no = node.args
        return Select(condition, factor(yes), factor(no))
    if node.op is absolute_zero_multiply and node.args[0].op is where:
        mask, rest = node.args
        return _times(factor(mask), rest)
    if node.op is negative and node.args[0].op in (where, absolute_zero_multiply):
        return _negated(factor(node.args[0]))
    return node


def _times(cases: Any, rest: Node) -> Any:
    if isinstance(cases, Select):
        return Select(cases.condition, _times(cases.yes, rest), _times(cases.no, rest))
    if isinstance(cases, Node):
        return absolute_zero_multiply(cases, rest)
    return 0 if cases == 0 else rest if cases == 1 else cases * rest


def _negated(cases: Any) -> Any:
    if isinstance(cases, Select):
        return Select(cases.condition, _negated(cases.yes), _negated(cases.no))
    return -cases


def replayed(
    outputs: Sequence[Node], given: Mapping[Node, Node], dtype: np.dtype
) -> list[Node]:
    """Return scalar graphs of float64 on other arguments, in their float dtype."""
    made = dict(given)
    for node in topological_order(outputs, given):
        if node.op.is_constant:
            floats = dtypes.is_float(node.dtype)
            made[node] = constant(node.params[0].array, dtype) if floats else node
            continue
        args = [made[a] for a in node.args]
        if any(isinstance(p, np.dtype) for p in node.params):  # a conversion
            to_float = dtypes.is_float(node.dtype)
            made[node] = cast(args[0], dtype if to_float else node.dtype)
        else:
            made[node] = node.op(*args, params=node.params)
    return [made[o] for o in outputs]


def _registered_op(name: str, graph: Graph, domain: tuple[str, ...]) -> UserOp:
    """Return the op of a name: a new one, or the one it has if they are the same."""
    known = REGISTRY.get(name)
    if known is None:
        return UserOp(name, graph, domain)
    if isinstance(known, UserOp) and known.arity == len(graph.inputs):
        given = dict(zip(graph.inputs, known.graph.inputs))
        (same,) = replayed(graph.outputs[:1], given, dtypes.float64)
        if same is known.graph.outputs[0]:
            return known
    raise InputError(
        f"elementwise: there is an op named {name!r} already, with another meaning. "
        "Choose another name."
    )


def _restored(name: str, rows: Any, arity: int, domain: tuple[str, ...]) -> UserOp:
    nodes = unflatten(*rows)
    return _registered_op(name, Graph(nodes[:arity], nodes[arity:]), domain)


class UserFunction:
    """What `elementwise` returns: a function on expressions.

    Attributes
    ----------
    op : UserOp
    domain : tuple of str
        Conditions, such as ``"x > 0"``, under which the op and its derivatives are
        finite; empty where that is everywhere.
    """

    def __init__(self, op: UserOp):
        self.op = op
        self.domain = op.domain
        self.__name__ = op.name
        names = ", ".join(n.name or "x" for n in op.graph.inputs)
        where_ = " and ".join(op.domain)
        self.__doc__ = f"Return ``{op.name}({names})``, element by element." + (
            f" Finite where {where_}." if where_ else ""
        )

    def __call__(self, *operands: Any) -> Node:
        if len(operands) != self.op.arity:
            names = ", ".join(n.name or "x" for n in self.op.graph.inputs)
            raise TypeError(
                f"{self.op.name}({names}) takes {self.op.arity} positional arguments, "
                f"but {len(operands)} were given"
            )
        return call_op(self.op, (), operands)

    def __repr__(self) -> str:
        return f"<elementwise {self.op.name}>"

    def __reduce__(self) -> Any:
        return (UserFunction, (self.op,))
