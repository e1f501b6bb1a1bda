"""How objects of sympy's classes are read: a rule for each class.

What is one op on its arguments, or a formula, needs no rule here: that is the
`vocabulary`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphc.derivatives.symbolic.arithmetic import (
    Value,
    read_add,
    read_complex,
    read_mul,
    read_mul_needs,
    read_number,
    read_pow,
)
from graphc.derivatives.symbolic.vocabulary import (
    DISTRIBUTIONS,
    FORMULAS,
    is_step,
    ops_by_class,
)
from graphc.expressions import linalg
from graphc.expressions.creation import arange, eye
from graphc.expressions.indexing import getitem, trace
from graphc.expressions.joining import stack
from graphc.expressions.manipulation import matrix_transpose, reshape
from graphc.expressions.products import matmul
from graphc.expressions.reductions import prod
from graphc.expressions.reductions import sum as sum_over
from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops.arithmetic import apply, as_node, cast
from graphc.ops.declare import REGISTRY, Elementwise
from graphc.ops.leaf import constant, new_input
from graphc.ops.move import broadcast_to
from graphc.ops.special import polygamma
from graphc.types import dtypes
from graphc.types.errors import InputError, ShapeError, made_at
from graphc.types.tensor_type import TensorType, broadcast_shapes

if TYPE_CHECKING:
    from graphc.derivatives.symbolic.reader import Reader


class Rule(NamedTuple):
    """How objects of a sympy class are read.

    Attributes
    ----------
    build : callable
        ``(reader, expr, values) -> value``.
    needs : callable or None
        ``(reader, expr) -> sympy objects`` whose values it takes; None for none.
    """

    build: Callable[[Reader, Any, list[Value]], Value]
    needs: Callable[[Reader, Any], Sequence[Any]] | None = None


def _args(reader: Reader, expr: Any) -> Sequence[Any]:
    return expr.args


@cache
def rule_for(kind: type) -> Rule:
    """Return the rule of a sympy class: its own, or that of the nearest base."""
    if kind in (bool, int, float):
        return Rule(lambda reader, expr, values: expr)
    if issubclass(kind, Node):
        return Rule(lambda reader, expr, values: expr)
    if issubclass(kind, (np.ndarray, np.generic)):
        return Rule(lambda reader, expr, values: as_node(expr))
    if issubclass(kind, str):
        return Rule(_text)
    own = getattr(kind, "graphc_op", None)
    if own is not None:
        return _of_op(own)
    table, ops = _rules(), ops_by_class()
    for base in kind.__mro__:
        if base in ops and base.__name__ not in table:
            return _of_op(ops[base])
        if (base.__module__ or "").startswith("sympy."):
            if base.__name__ in table:
                return table[base.__name__]
            if base.__name__ in FORMULAS:
                return _of_formula(FORMULAS[base.__name__])
    return Rule(_unknown)


def _of_op(op: Elementwise) -> Rule:
    def build(reader: Reader, expr: Any, values: list[Value]) -> Value:
        row = [reader.plain(v) for v in values]
        if op.arity == 2 and len(row) != 2:
            return reader.fold(op, row)  # And, Max and the like take any number
        return reader.op(op, *row)

    return Rule(build, _args)


def _of_formula(formula: Callable[..., Any]) -> Rule:
    def build(reader: Reader, expr: Any, values: list[Value]) -> Value:
        nodes = [reader.node(v) for v in values]
        return as_node(formula(*nodes))

    return Rule(build, _args)


def _text(reader: Reader, expr: Any, values: list[Value]) -> Value:
    raise InputError(
        f"from_sympy: {_short(expr)} is a text; texts are never parsed. Make the "
        "expression with sympy first."
    )


def _unknown(reader: Reader, expr: Any, values: list[Value]) -> Value:
    kind = type(expr)
    if kind.__module__.startswith("sympy") or hasattr(expr, "free_symbols"):
        name = kind.__name__
        raise InputError(
            f"from_sympy: graphc does not know sympy's {name}, in {_short(expr)}. "
            "Write it with functions that it knows, or give an expression for it."
        )
    raise InputError(
        f"from_sympy: {_short(expr)} of type {kind.__name__} is no sympy expression."
    )


def _short(expr: Any) -> str:
    try:
        text = str(expr)
    except RecursionError:
        return f"a deep expression of {type(expr).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


# --------------------------------------------------------------- leaves, arrays


def _symbol(reader: Reader, expr: Any, values: list[Value]) -> Value:
    found = reader.given.find(expr)
    if found is None:
        raise InputError(
            f"from_sympy: nothing is given for the symbol {expr}; give an expression "
            "or a number for it."
        )
    return found


def _entry(reader: Reader, expr: Any, values: list[Value]) -> Value:
    """Read ``x[i]`` of an IndexedBase, or ``X[i, j]`` of a MatrixSymbol."""
    whole = reader.given.exact.get(expr)
    if whole is not None:
        return whole
    array = reader.given.base(expr.args[0])
    if array is None:
        raise InputError(
            f"from_sympy: nothing is given for the array {expr.args[0]} of "
            f"{_short(expr)}; give an expression for it."
        )
    if not isinstance(array, Node):
        raise InputError(f"from_sympy: {expr.args[0]} is indexed, but is a number.")
    index = [reader.plain(v) for v in values]
    if len(index) == 2 and array.ndim == 1 and index[1] == 0:
        index = index[:1]  # a column
    if len(index) > array.ndim:
        raise InputError(
            f"from_sympy: {_short(expr)} has {len(index)} indices, but "
            f"{array.label()}{made_at(array.origin)} has {array.ndim} dimensions."
        )
    return getitem(array, tuple(_as_index(i, expr) for i in index))


def _as_index(value: Value, expr: Any) -> Any:
    if isinstance(value, Node):
        return value if value.dtype.kind in "iu" else cast(value, np.int64)
    if float(value).is_integer():
        return int(value)
    raise InputError(
        f"from_sympy: the index {value!r} of {_short(expr)} is no integer."
    )


def _indices(reader: Reader, expr: Any) -> Sequence[Any]:
    return expr.args[1:]


def _array(reader: Reader, expr: Any, values: list[Value]) -> Value:
    shape = tuple(expr.shape)
    nodes = [reader.node(v) for v in values]
    if not nodes:
        return constant(np.zeros(shape, reader.dtype))
    if all(n.ndim == 0 for n in nodes):
        return reshape(stack(nodes), shape)
    common = broadcast_shapes([n.shape for n in nodes])
    if common is None:
        raise ShapeError(f"from_sympy: the entries of {_short(expr)} do not broadcast.")
    full = stack([broadcast_to(n, common) for n in nodes])
    return reshape(full, (*shape, *common))


def _elements(reader: Reader, expr: Any) -> Sequence[Any]:
    flat = getattr(expr, "flat", None)
    if callable(flat):
        return list(flat())
    return list(_flat_array(expr))


def _flat_array(expr: Any) -> Sequence[Any]:
    count = math.prod(expr.shape)
    return [
        expr[expr._get_tuple_index(i)] if expr.shape else expr[()] for i in range(count)
    ]


def _distribution(reader: Reader, expr: Any, values: list[Value]) -> Value:
    return 0 if reader.derivative else _unknown(reader, expr, values)


# ---------------------------------------------------------------- cases, sums


def _piecewise_needs(reader: Reader, expr: Any) -> Sequence[Any]:
    return [part for pair in expr.args for part in pair.args]


def _piecewise(reader: Reader, expr: Any, values: list[Value]) -> Value:
    row = [reader.plain(v) for v in values]
    out: Value = math.nan
    for value, condition in reversed(list(zip(row[::2], row[1::2]))):
        if condition is True:
            out = value
        elif condition is not False:
            out = apply(ar.where, condition, reader.node(value), reader.node(out))
    return out


def _polygamma(reader: Reader, expr: Any, values: list[Value]) -> Value:
    order, x = map(reader.plain, values)
    if isinstance(order, Node) or not float(order).is_integer():
        raise InputError(
            f"from_sympy: the order of {_short(expr)} must be an integer that is known."
        )
    return polygamma(int(order), apply(ar.add, reader.node(x), 0.0))


def _reduction(reader: Reader, expr: Any, values: list[Value]) -> Value:
    """Read a finite Sum or Product: written out, or over an array of indices."""
    is_sum = type(expr).__name__ == "Sum"
    body, *limits = expr.args
    index, *bounds = limits[-1]
    if len(bounds) != 2:
        raise _no_bounds(expr)
    low, high = (_bound(reader, b, expr) for b in bounds)
    if len(limits) > 1:
        body = expr.func(body, *limits[:-1])
    count = max(high - low + 1, 0)
    if not count:
        return 0 if is_sum else 1
    inner = {s for limit in limits[:-1] for s in limit.free_symbols}
    combine = ar.add if is_sum else ar.multiply
    if count <= reader.unrolled or index in inner:
        terms = [reader.under(index, i).read(body) for i in range(low, high + 1)]
        return reader.fold(combine, terms)
    nodes = [v for v in reader.given.exact.values() if isinstance(v, Node)]
    rank = max((v.ndim for v in nodes), default=0)
    steps = reshape(arange(low, high + 1), (count, *(1,) * rank))
    term = reader.node(reader.under(index, steps).read(body))
    if term.ndim <= rank:  # the body does not contain the index
        return reader.op(ar.multiply, term, count) if is_sum else term**count
    return (sum_over if is_sum else prod)(term, axis=0)


def _bound(reader: Reader, bound: Any, expr: Any) -> int:
    value = reader.again().read(bound)
    if isinstance(value, Node):
        raise BoundsError(str(_no_bounds(expr)), bound.free_symbols)
    if not math.isfinite(value) or value != int(value):
        raise _no_bounds(expr)
    return int(value)


class BoundsError(InputError):
    """A bound of a sum depends on symbols that expressions stand for."""

    def __init__(self, message: str, symbols: Any):
        super().__init__(message)
        self.symbols = symbols


def _no_bounds(expr: Any) -> InputError:
    return InputError(
        f"from_sympy: {_short(expr)} needs bounds that are known integers. Give "
        "numbers for the symbols in its bounds."
    )


def _doit(reader: Reader, expr: Any, values: list[Value]) -> Value:
    """Read a Derivative or Subs that is given, or that can be carried out."""
    found = reader.given.exact.get(expr)
    if found is not None:
        return found
    done = expr.doit()
    if type(done) is type(expr):
        if reader.derivative and _of_a_step(expr):
            return 0
        return _unknown(reader, expr, values)
    return reader.again().read(done)


def _of_a_step(expr: Any) -> bool:
    """Tell whether this is the derivative of a step function, such as floor."""
    inner = expr.args[0]
    while type(inner).__name__ in ("Derivative", "Subs"):
        inner = inner.args[0]
    op = ops_by_class().get(type(inner))
    if op is None or op.arity != 1:
        return False
    x = new_input("x", TensorType((), dtypes.float64))
    return is_step(op, x, op(x))


def _undefined(reader: Reader, expr: Any, values: list[Value]) -> Value:
    """Read ``f(t)``: given as a whole, as a function, or an op of that name."""
    found = reader.given.exact.get(expr)
    if found is not None:
        return found
    name = type(expr).__name__
    function = reader.given.functions.get(name)
    if function is None and name not in REGISTRY:
        function = getattr(expr, "_imp_", None)
    if function is not None:
        return as_node(function(*[reader.node(v) for v in values]))
    op = REGISTRY.get(name)
    if isinstance(op, Elementwise) and op.arity == len(expr.args):
        return apply(op, *[reader.plain(v) for v in values])
    raise InputError(
        f"from_sympy: graphc does not know the function {name}, in {_short(expr)}. "
        "Give an expression for it, or define the op with graphc.elementwise."
    )


def _undefined_needs(reader: Reader, expr: Any) -> Sequence[Any]:
    return expr.args if reader.given.exact.get(expr) is None else ()


# ---------------------------------------------------------------- matrices


def _matrix_product(reader: Reader, expr: Any, values: list[Value]) -> Value:
    scalars = [reader.plain(v) for v in values]
    out = None
    factor: Value = 1
    for v in scalars:
        if not isinstance(v, Node) or v.ndim == 0:
            factor = reader.op(ar.multiply, factor, v) if factor != 1 else v
        else:
            out = v if out is None else matmul(out, v)
    if out is None or (not isinstance(factor, Node) and factor == 1):
        return out
    return reader.op(ar.multiply, factor, out)


def _explicit(reader: Reader, expr: Any, values: list[Value]) -> Value:
    """Read a matrix of blocks, ones, zeros or the like entry by entry."""
    rows, columns = expr.shape
    if not (rows.is_Integer and columns.is_Integer):
        return _unknown(reader, expr, values)
    made = expr.as_explicit()
    if any(e.has(type(expr)) for e in made.flat()):  # its entries are not known apart
        return _unknown(reader, expr, values)
    return reader.again().read(made)


def _matrix_power(reader: Reader, expr: Any, values: list[Value]) -> Value:
    base, exponent = reader.node(values[0]), values[1]
    if not isinstance(exponent, int) or base.ndim != 2:
        raise InputError(
            f"from_sympy: {_short(expr)} is no power of a matrix to a known integer. "
            "Give a number for the exponent."
        )
    if exponent < 0:
        base, exponent = linalg.inv(base), -exponent
    out: Node | None = None
    while exponent:
        if exponent % 2:
            out = base if out is None else matmul(out, base)
        exponent //= 2
        base = matmul(base, base) if exponent else base
    return eye(base.shape[0], dtype=base.dtype) if out is None else out


def _unary(function: Callable[[Node], Node]) -> Rule:
    return Rule(lambda reader, expr, values: function(reader.node(values[0])), _args)


@cache
def _rules() -> dict[str, Rule]:
    """Return the rules of what is more than an op on its arguments, by class name."""
    product = Rule(_matrix_product, _args)
    array = Rule(_array, _elements)
    number = Rule(read_number)
    return {
        "Symbol": Rule(_symbol),
        "MatrixSymbol": Rule(_symbol),
        "IndexedBase": Rule(_symbol),
        "Indexed": Rule(_entry, _indices),
        "MatrixElement": Rule(_entry, _indices),
        "Function": Rule(_undefined, _undefined_needs),
        "Number": number,
        "NumberSymbol": number,
        "Infinity": number,
        "ComplexInfinity": Rule(read_complex),
        "ImaginaryUnit": Rule(read_complex),
        "BooleanTrue": Rule(lambda reader, expr, values: True),
        "BooleanFalse": Rule(lambda reader, expr, values: False),
        "Add": Rule(read_add, _args),
        "Mul": Rule(read_mul, read_mul_needs),
        "Pow": Rule(read_pow, _args),
        "Piecewise": Rule(_piecewise, _piecewise_needs),
        "polygamma": Rule(_polygamma, _args),
        "Sum": Rule(_reduction),
        "Product": Rule(_reduction),
        "Derivative": Rule(_doit),
        "Subs": Rule(_doit),
        **{name: Rule(_distribution) for name in DISTRIBUTIONS},
        "MatrixBase": array,
        "NDimArray": array,
        "MatMul": product,
        "HadamardProduct": _of_op(ar.multiply),
        "MatAdd": Rule(read_add, _args),
        "Transpose": _unary(matrix_transpose),
        "Trace": _unary(trace),
        "Inverse": _unary(linalg.inv),
        "MatPow": Rule(_matrix_power, _args),
        "MatrixExpr": Rule(_explicit),
        "Determinant": _unary(linalg.det),
    }
