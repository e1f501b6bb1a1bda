"""From sympy's expressions to graphc's: one walk over the tree, arguments first.

Every object is visited once, known again by its identity, so neither its hash nor its
equality is asked for; equal parts that are different objects meet in the same node,
for nodes are interned. Nothing recurses. sympy's numbers stay Python's numbers, which
are weak, until they meet an expression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from graphc.derivatives.symbolic.vocabulary import (
    DISTRIBUTIONS,
    FORMULAS,
    ops_by_class,
)
from graphc.expressions.containers import flatten
from graphc.expressions.creation import arange
from graphc.expressions.indexing import getitem, trace
from graphc.expressions.joining import stack
from graphc.expressions.manipulation import matrix_transpose, reshape
from graphc.expressions.products import matmul
from graphc.expressions.reductions import prod
from graphc.expressions.reductions import sum as sum_over
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.graph.origin import current_origin, set_inherited
from graphc.ops import arithmetic as ar
from graphc.ops.arithmetic import apply, as_node, cast
from graphc.ops.declare import REGISTRY, Elementwise
from graphc.ops.elementwise import exp, exp2
from graphc.ops.leaf import constant, new_input, uniform_value
from graphc.ops.move import broadcast_to
from graphc.ops.powers import power
from graphc.ops.special import polygamma
from graphc.types import dtypes
from graphc.types.errors import InputError, ShapeError, made_at
from graphc.types.tensor_type import TensorType, broadcast_shapes

Value = Any
"""A node, or a Python number or boolean."""

UNROLLED = 16
"""Terms up to which a sympy.Sum or Product is written out."""


class Negative(NamedTuple):
    """The negative of a value, for a sum to subtract."""

    value: Value


class Given:
    """What stands for sympy's symbols, arrays and undefined functions.

    Parameters
    ----------
    mapping : dict of sympy object to expression or number
        A symbol that is not found is looked for by its name, if only one has it:
        ``Symbol("x")`` then serves for ``Symbol("x", real=True)``.
    functions : dict of str to callable, optional
        Functions on expressions for sympy's functions of these names.
    """

    def __init__(
        self,
        mapping: Mapping[Any, Any],
        functions: Mapping[str, Callable[..., Any]] | None = None,
    ):
        self.exact = dict(mapping)
        self.functions = dict(functions or {})
        self.named: dict[str, list[Value]] = {}
        for key, value in self.exact.items():
            name = getattr(key, "name", None)
            if isinstance(name, str) and not getattr(key, "is_Dummy", False):
                self.named.setdefault(name, []).append(value)

    def find(self, key: Any) -> Value | None:
        """Return what stands for a sympy object, or None."""
        found = self.exact.get(key)
        if found is None and not getattr(key, "is_Dummy", False):
            same = self.named.get(getattr(key, "name", ""), [])
            found = same[0] if len(same) == 1 else None
        return found

    def base(self, array: Any) -> Value | None:
        """Return what stands for an IndexedBase or MatrixSymbol."""
        found = self.find(array)
        return self.find(array.args[0]) if found is None and array.args else found


def from_sympy(expr: Any, inputs: Mapping[Any, Any] | None = None) -> Any:
    """Return the expression of a sympy expression.

    Parameters
    ----------
    expr : sympy expression, Boolean, matrix or array, or nested containers of them
        Numbers of Python and NumPy may stand among them.
    inputs : dict, optional
        What stands for each symbol, IndexedBase, MatrixSymbol or undefined function
        ``f(t)``: an expression of any shape, or a number. Symbols are also found by
        their name where only one has it.

    Returns
    -------
    expression, or nested containers of expressions
        A matrix or array becomes one expression of its shape (with entries that are
        arrays, of its shape followed by theirs).

    Raises
    ------
    InputError
        For a text; a symbol, function or object that graphc does not know; an index
        out of range; a sum without finite bounds.

    Notes
    -----
    All numbers are real. A Piecewise without a default is NaN where no condition
    holds. Sums and products over integer bounds that are known are written out, or
    become reductions over an index.

    Examples
    --------
    >>> import graphc as cg, sympy
    >>> s, x = sympy.Symbol("s"), cg.scalar("x")
    >>> cg.from_sympy(sympy.sin(s) ** 2, {s: x})
    <square float64()>
    """
    mapping = {} if inputs is None else inputs
    if not isinstance(mapping, Mapping):
        raise InputError(
            "from_sympy: give {symbol: expression}, not a value of type "
            f"{type(mapping).__name__}."
        )
    for key, value in mapping.items():
        if isinstance(key, str):
            raise InputError(
                f"from_sympy: the key {key!r} is a text; texts are never parsed. Use "
                f"the symbol itself, sympy.Symbol({key!r})."
            )
        if not isinstance(value, (Node, bool, int, float, np.generic, np.ndarray)):
            raise InputError(
                f"from_sympy: {key} is given {value!r} of type {type(value).__name__}, "
                "but an expression, an array or a number is needed."
            )
    given = Given(
        {
            k: as_node(v) if isinstance(v, (np.generic, np.ndarray)) else v
            for k, v in mapping.items()
        }
    )
    return read_tree(expr, given)


def read_tree(tree: Any, given: Given) -> Any:
    """Return nested containers of sympy's expressions as expressions."""
    reader = Reader(given)
    leaves, structure = flatten(_plain_containers(tree))
    before = set_inherited(current_origin())
    try:
        return structure.unflatten([reader.expression(leaf) for leaf in leaves])
    finally:
        set_inherited(before)


def _plain_containers(tree: Any) -> Any:
    """Return containers with sympy's own made Python's; they nest as they were typed."""
    kind = type(tree).__name__
    if kind == "Tuple" or isinstance(tree, (list, tuple)):
        parts = [_plain_containers(t) for t in tree]
        if isinstance(tree, tuple) and hasattr(tree, "_fields"):
            return type(tree)(*parts)
        return parts if isinstance(tree, list) else tuple(parts)
    if isinstance(tree, Mapping) or kind == "Dict":
        return {k: _plain_containers(v) for k, v in tree.items()}
    return tree


class Reader:
    """Makes expressions of sympy's; what was read once is remembered.

    Parameters
    ----------
    given : Given
    dtype : dtype, optional
        Of numbers that meet no expression; by default that of the expressions given.
    derivative : bool
        The expressions are derivatives: jumps are passed over, and products with
        masks are ones with an absolute zero.
    """

    unrolled = UNROLLED

    def __init__(self, given: Given, dtype: Any = None, derivative: bool = False):
        self.given = given
        if dtype is None:
            found = [v.dtype for v in given.exact.values() if isinstance(v, Node)]
            floats = [d for d in found if dtypes.is_float(d)]
            dtype = dtypes.promote(*floats) if floats else dtypes.float64
        self.dtype = dtypes.as_dtype(dtype)
        self.derivative = derivative
        self._memo: dict[int, Value] = {}
        self._kept: list[Any] = []  # identities are of living objects
        self._numbers: dict[Any, Node] = {}
        self._plain: dict[Elementwise, bool] = {}
        self._masks: dict[Node, bool] = {}

    def expression(self, expr: Any) -> Node:
        """Return the node of a sympy expression."""
        value = self.read(expr)
        if isinstance(value, Node):
            return value
        if isinstance(value, float):
            return constant(value, self.dtype)
        return as_node(value)

    def read(self, root: Any) -> Value:
        """Return the value of a sympy expression: a node, or a Python number."""
        memo = self._memo
        waiting: list[tuple[Any, Rule, Sequence[Any]]] = []
        self._visit(root, waiting)
        while waiting:
            expr, rule, needs = waiting[-1]
            if id(expr) in memo:
                waiting.pop()
                continue
            count = len(waiting)
            for need in needs:
                if id(need) not in memo:
                    self._visit(need, waiting)
            if len(waiting) == count:
                waiting.pop()
                memo[id(expr)] = rule.build(self, expr, [memo[id(n)] for n in needs])
        return self.plain(memo[id(root)])

    def _visit(self, expr: Any, waiting: list) -> None:
        kind: Any = type(expr)
        rule = rule_for(kind)
        self._kept.append(expr)
        needs = rule.needs(self, expr) if rule.needs else ()
        if needs:
            waiting.append((expr, rule, needs))
        else:
            self._memo[id(expr)] = rule.build(self, expr, [])

    # ------------------------------------------------------------------ values

    def plain(self, value: Value) -> Value:
        """Return a value, a negative one computed."""
        if isinstance(value, Negative):
            inner = value.value
            return self.op(ar.negative, inner) if isinstance(inner, Node) else -inner
        return value

    def node(self, value: Value) -> Node:
        """Return a value as a node; numbers take the dtype of the expressions."""
        value = self.plain(value)
        if isinstance(value, Node):
            return value
        if isinstance(value, bool):
            return constant(value)
        key = (value, math.copysign(1, value)) if value == 0 else value
        made = self._numbers.get(key)
        if made is None:
            made = self._numbers[key] = constant(float(value), self.dtype)
        return made

    def op(self, op: Elementwise, *values: Value) -> Value:
        """Return an op on values; a number if all are numbers."""
        nodes = [v for v in values if isinstance(v, Node)]
        if not nodes:
            return self._folded(op, values)
        plain = self._plain.get(op)
        if plain is None:
            types = (self.dtype,) * op.arity
            plain = op.signature(op.name, types)[0] == types
            self._plain[op] = plain
        if plain and all(n.type.dtype == self.dtype for n in nodes):
            # what `apply` does, without its questions about dtypes
            return op(*[self.node(v) for v in values])
        return apply(op, *values)

    def _folded(self, op: Elementwise, values: Sequence[Value]) -> Value:
        operands = [v if isinstance(v, bool) else float(v) for v in values]
        node = apply(op, *operands)
        if node.op.is_constant:
            return node.params[0].array.item()
        with np.errstate(all="ignore"):
            arrays = [a.params[0].array for a in node.args]
            return np.asarray(node.op.numpy(node, arrays, int)).item()

    def fold(self, op: Elementwise, values: Sequence[Value]) -> Value:
        """Return many values combined in pairs: short chains, and small errors."""
        row = list(values)
        while len(row) > 1:
            pairs = [self.op(op, a, b) for a, b in zip(row[::2], row[1::2])]
            row = pairs + row[len(row) - len(row) % 2 :]
        return row[0]

    def product(self, factors: Sequence[Value]) -> Value:
        """Return a product; in a derivative, one that masks take out entirely."""
        if not factors:
            return 1
        if not self.derivative:
            return self.fold(ar.multiply, factors)
        masks, rest = self.masks(factors)
        if not masks or len(factors) == 1:
            return self.fold(ar.multiply, factors)
        return self.masked(masks, self.fold(ar.multiply, rest) if rest else masks.pop())

    def masked(self, masks: Sequence[Value], total: Value) -> Value:
        """Return a value multiplied by masks: where one is 0, exactly 0."""
        for mask in masks:
            total = self.op(ar.absolute_zero_multiply, mask, total)
        return total

    def masks(self, factors: Sequence[Value]) -> tuple[list[Value], list[Value]]:
        """Return the factors that are masks, none but in a derivative, and the rest."""
        masks: list[Value] = []
        rest: list[Value] = []
        for v in factors:
            mask = self.derivative and isinstance(v, Node) and self._is_mask(v)
            (masks if mask else rest).append(v)
        return masks, rest

    def _is_mask(self, root: Node) -> bool:
        """Tell whether a value is exactly zero in some case: a selection, a step."""
        known = self._masks
        for node in topological_order([root], known):
            known[node] = _is_mask(node, [known[a] for a in node.args])
        return known[root]


def _is_mask(node: Node, args: Sequence[bool]) -> bool:
    op = node.op
    if op is ar.where:
        return any(m or is_zero(a) for m, a in zip(args[1:], node.args[1:]))
    if op is ar.absolute_zero_multiply:
        return True
    if not isinstance(op, Elementwise) or op.arity != 1 or not op.partials:
        return False
    if args[0]:  # a function that keeps zero
        with np.errstate(all="ignore"):
            zero = np.zeros((), node.args[0].dtype)
            return bool(op.numpy(node, [zero], int) == 0)
    return _is_step(op, node.args[0], node)


def _is_step(op: Elementwise, x: Node, out: Node) -> bool:
    rule = op.partials[0] if op.partials else None
    slope = None if rule is None else rule(x, out)
    return slope is not None and not isinstance(slope, (Node, tuple)) and slope == 0


def is_zero(node: Node) -> bool:
    """Tell whether a node is the constant 0."""
    value = uniform_value(node)
    return value is not None and bool(value == 0)


# ----------------------------------------------------------------------- rules


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


# ------------------------------------------------------------------- arithmetic


def _add(reader: Reader, expr: Any, values: list[Value]) -> Value:
    number: Any = 0
    plus: list[Value] = []
    minus: list[Value] = []
    for v in values:
        if isinstance(v, Negative):
            minus.append(v.value)
        elif isinstance(v, Node):
            plus.append(v)
        else:
            number = number + v
    if not plus and not minus:
        return number
    if number != 0 or math.isnan(number):
        (plus if number > 0 or not minus or not plus else minus).append(
            number if number > 0 or not minus or not plus else -number
        )
    if not plus:
        return Negative(reader.fold(ar.add, minus))
    total = reader.fold(ar.add, plus)
    if minus:
        total = reader.op(ar.subtract, total, reader.fold(ar.add, minus))
    return total


def _mul_needs(reader: Reader, expr: Any) -> Sequence[Any]:
    """Return the factors, for one in the denominator its base."""
    return [f.args[0] if _inverted(f) else f for f in expr.args]


def _inverted(factor: Any) -> bool:
    if not getattr(factor, "is_Pow", False):
        return False
    exponent = factor.args[1]
    return exponent.is_Rational and exponent.p < 0


def _mul(reader: Reader, expr: Any, values: list[Value]) -> Value:
    number: Any = 1
    negative = False
    above: list[Value] = []
    below: list[Value] = []
    for factor, v in zip(expr.args, values):
        if isinstance(v, Negative) and not _inverted(factor):
            negative, v = not negative, v.value
        v = reader.plain(v)
        if _inverted(factor):
            v = _power(reader, v, -factor.args[1])
            below.append(v)
        elif isinstance(v, Node):
            above.append(v)
        else:
            number = number * v
    numbers = [v for v in below if not isinstance(v, Node)]
    for v in numbers:
        number = number / v if v else number * math.inf
    below = [v for v in below if isinstance(v, Node)]
    if number < 0:
        number, negative = -number, not negative
    if number != 1 or not above:
        above.insert(0, number)
    if not below:
        total = reader.product(above)
    else:
        divisor = reader.fold(ar.multiply, below)
        masks, rest = reader.masks(above)
        total = reader.op(ar.divide, reader.product(rest), divisor)
        total = reader.masked(masks, total)
    return Negative(total) if negative else total


def _pow(reader: Reader, expr: Any, values: list[Value]) -> Value:
    base, exponent = map(reader.plain, values)
    if type(expr.args[0]).__name__ == "Exp1":
        return reader.op(exp, exponent)
    return _power(reader, base, expr.args[1] if expr.args[1].is_Rational else exponent)


def _power(reader: Reader, base: Value, exponent: Any) -> Value:
    """Return a power; `exponent` is a value, or a sympy number."""
    if getattr(exponent, "is_Rational", False):
        p, q = int(exponent.p), int(exponent.q)
        exponent = p if q == 1 else p / q
    if isinstance(base, Node):
        if not isinstance(exponent, Node) and exponent == 1:
            return base
        negative = not isinstance(exponent, Node) and exponent < 0
        if negative and not dtypes.is_float(base.dtype):
            base = cast(base, dtypes.float64)
        if isinstance(exponent, int) and base.dtype == reader.dtype:
            return power(base, reader.node(exponent))
        return reader.op(power, base, exponent)
    if not isinstance(exponent, Node):
        if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
            return base**exponent if exponent < 64 else float(base) ** exponent
        return reader._folded(power, (base, exponent))
    return reader.op(exp2, exponent) if base == 2 else reader.op(power, base, exponent)


def _number(reader: Reader, expr: Any, values: list[Value]) -> Value:
    if expr.is_Integer:
        p = int(expr.p)
        return p if p.bit_length() < 64 else _as_float(expr, p)
    if expr.is_Rational:
        return int(expr.p) / int(expr.q)
    return _as_float(expr, expr)


def _as_float(expr: Any, number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.copysign(math.inf, 1 if expr.is_positive else -1)
    except TypeError:
        raise InputError(
            f"from_sympy: {expr} is no real number; graphc has no complex numbers."
        ) from None


def _complex(reader: Reader, expr: Any, values: list[Value]) -> Value:
    raise InputError(
        f"from_sympy: {expr} is no real number; graphc has no complex numbers. "
        "Separate real and imaginary parts first (as_real_imag)."
    )


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
        terms = [_under(reader, body, index, i) for i in range(low, high + 1)]
        return reader.fold(combine, terms)
    nodes = [v for v in reader.given.exact.values() if isinstance(v, Node)]
    rank = max((v.ndim for v in nodes), default=0)
    steps = reshape(arange(low, high + 1), (count, *(1,) * rank))
    term = reader.node(_under(reader, body, index, steps))
    if term.ndim <= rank:  # the body does not contain the index
        return reader.op(ar.multiply, term, count) if is_sum else term**count
    return (sum_over if is_sum else prod)(term, axis=0)


def _under(reader: Reader, body: Any, index: Any, value: Value) -> Value:
    """Read the body of a sum for a value of its index."""
    given = Given({}, reader.given.functions)
    given.exact = {**reader.given.exact, index: value}
    given.named = {k: v for k, v in reader.given.named.items() if k != index.name}
    return Reader(given, reader.dtype, reader.derivative).read(body)


def _bound(reader: Reader, bound: Any, expr: Any) -> int:
    value = Reader(reader.given, reader.dtype).read(bound)
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
        f"from_sympy: {_short(expr)} needs bounds that are known integers. Give numbers "
        "for the symbols in its bounds."
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
    return Reader(reader.given, reader.dtype, reader.derivative).read(done)


def _of_a_step(expr: Any) -> bool:
    """Tell whether this is the derivative of a step function, such as floor."""
    inner = expr.args[0]
    while type(inner).__name__ in ("Derivative", "Subs"):
        inner = inner.args[0]
    op = ops_by_class().get(type(inner))
    if op is None or op.arity != 1:
        return False
    x = new_input("x", TensorType((), dtypes.float64))
    return _is_step(op, x, op(x))


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


def _unary(function: Callable[[Node], Node]) -> Rule:
    return Rule(lambda reader, expr, values: function(reader.node(values[0])), _args)


@lru_cache(maxsize=1)
def _rules() -> dict[str, Rule]:
    """Return the rules of what is more than an op on its arguments, by class name."""
    product = Rule(_matrix_product, _args)
    array = Rule(_array, _elements)
    number = Rule(_number)
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
        "ComplexInfinity": Rule(_complex),
        "ImaginaryUnit": Rule(_complex),
        "BooleanTrue": Rule(lambda reader, expr, values: True),
        "BooleanFalse": Rule(lambda reader, expr, values: False),
        "Add": Rule(_add, _args),
        "Mul": Rule(_mul, _mul_needs),
        "Pow": Rule(_pow, _args),
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
        "MatAdd": Rule(_add, _args),
        "Transpose": _unary(matrix_transpose),
        "Trace": _unary(trace),
    }
