"""Elementwise arithmetic, comparison, selection and conversion.

Each op is one declaration. Derivatives at ties, kinks and steps, where there are
several: `minimum` and `maximum` of equal values split the cotangent evenly; `clip`
has derivative 1 at both ends of its interval; `floor_divide` has derivative 0
everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.declare import Elementwise, Select, weakest
from graphc.ops.leaf import constant, full, scalar_like, size_value
from graphc.ops.messages import dtype_error
from graphc.ops.signatures import (
    any_dtype,
    comparison,
    counted,
    numeric,
    quotient,
    selection,
)
from graphc.types import dtypes
from graphc.types.errors import DTypeError
from graphc.types.sizes import Size

# ------------------------------------------------------------------ arithmetic


def sum_sign(args: Sequence[Node], signs: Sequence[str]) -> str:
    """Return the sign of a sum."""
    if "" in signs:
        return ""
    return "positive" if "positive" in signs else "nonnegative"


def _product_sign(args: Sequence[Node], signs: Sequence[str]) -> str:
    if args[0] is args[1]:
        return signs[0] or "nonnegative"
    return weakest(signs)


def _quotient_sign(args: Sequence[Node], signs: Sequence[str]) -> str:
    # 1 / -0.0 is -inf, and -0.0 is not negative.
    return signs[0] if signs[1] == "positive" else ""


add = Elementwise(
    "add",
    2,
    notation="{} + {}",
    numpy=np.add,
    scalar="add",
    signature=any_dtype,
    partials=(lambda x, y, out: 1, lambda x, y, out: 1),
    sympy=lambda sp, x, y: x + y,
    sign=sum_sign,
)
subtract = Elementwise(
    "subtract",
    2,
    notation="{} - {}",
    numpy=np.subtract,
    scalar="sub",
    signature=numeric,
    partials=(lambda x, y, out: 1, lambda x, y, out: -1),
    sympy=lambda sp, x, y: x - y,
)
multiply = Elementwise(
    "multiply",
    2,
    notation="{} * {}",
    numpy=np.multiply,
    scalar="mul",
    signature=any_dtype,
    partials=(lambda x, y, out: y, lambda x, y, out: x),
    sympy=lambda sp, x, y: x * y,
    sign=_product_sign,
)
divide = Elementwise(
    "divide",
    2,
    notation="{} / {}",
    numpy=np.divide,
    scalar="div",
    signature=quotient,
    partials=(lambda x, y, out: 1 / y, lambda x, y, out: -out / y),
    poles=lambda x, y: [(y, "nonzero")],
    sympy=lambda sp, x, y: x / y,
    sign=_quotient_sign,
)
floor_divide = Elementwise(
    "floor_divide",
    2,
    notation="{} // {}",
    numpy=np.floor_divide,
    scalar="floordiv",
    signature=counted,
    partials=(lambda x, y, out: 0, lambda x, y, out: 0),
    sympy=lambda sp, x, y: sp.floor(x / y),
    sign=lambda args, signs: "nonnegative" if _quotient_sign(args, signs) else "",
    cost=5,
)
remainder = Elementwise(
    "remainder",
    2,
    notation="{} % {}",
    numpy=np.remainder,
    scalar="mod",
    signature=counted,
    partials=(lambda x, y, out: 1, lambda x, y, out: -floor_divide(x, y)),
    poles=lambda x, y: [(y, "nonzero")],
    sympy=lambda sp, x, y: x - y * sp.floor(x / y),
    sign=lambda args, signs: "nonnegative" if signs[1] == "positive" else "",
    cost=5,
)
"""``x - y * floor(x / y)``: it has the sign of `y`."""
negative = Elementwise(
    "negative",
    1,
    notation="-{}",
    numpy=np.negative,
    scalar="neg",
    signature=numeric,
    partials=(lambda x, out: -1,),
    sympy=lambda sp, x: -x,
)


def _azmul(x: Any, y: Any) -> Any:
    return np.where((x == 0) | (y == 0), np.zeros((), x.dtype), x * y)


absolute_zero_multiply = Elementwise(
    "absolute_zero_multiply",
    2,
    numpy=_azmul,
    scalar=lambda k, x, y: k(
        "select",
        k("or", k("eq", x, k.zero(x)), k("eq", y, k.zero(y))),
        k.zero(x),
        k("mul", x, y),
    ),
    signature=numeric,
    partials=(lambda x, y, out: y, lambda x, y, out: x),
    # Always: it stands where a factor may be infinite.
    poles=lambda x, y: [(scalar_like(0, x), "nonzero")],
    sympy=lambda sp, x, y: x * y,
    sign=_product_sign,
    cost=4,
)
"""``x * y``, but exactly 0 where either factor is 0, also against inf and NaN.

Derivatives multiply with it where a factor may be a pole, so that a branch not
taken contributes zero (CppAD calls it azmul; Bell, "CppAD: a package for
C++ algorithmic differentiation").
"""


# ------------------------------------------------------------------ comparison


def _compare(name: str, scalar: str, symbol: str, sympy: Any) -> Elementwise:
    return Elementwise(
        name,
        2,
        notation=f"{{}} {symbol} {{}}",
        numpy=getattr(np, name),
        scalar=scalar,
        signature=comparison,
        partials=None,
        sympy=sympy,
    )


less = _compare("less", "lt", "<", lambda sp, x, y: sp.StrictLessThan(x, y))
less_equal = _compare("less_equal", "le", "<=", lambda sp, x, y: sp.LessThan(x, y))
greater = _compare("greater", "gt", ">", lambda sp, x, y: sp.StrictGreaterThan(x, y))
greater_equal = _compare(
    "greater_equal", "ge", ">=", lambda sp, x, y: sp.GreaterThan(x, y)
)
equal = _compare("equal", "eq", "==", lambda sp, x, y: sp.Equality(x, y))
not_equal = _compare("not_equal", "ne", "!=", lambda sp, x, y: sp.Unequality(x, y))


# ------------------------------------------------------------------- selection


where = Elementwise(
    "where",
    3,
    numpy=np.where,
    scalar="select",
    signature=selection,
    partials=(
        None,
        lambda c, x, y, out: Select(c, 1, 0),
        lambda c, x, y, out: Select(c, 0, 1),
    ),
    sympy=lambda sp, c, x, y: sp.Piecewise((x, c), (y, True)),
    sign=lambda args, signs: weakest(signs[1:]),
    analytic=True,
)


def one_where(condition: Node, like: Node) -> Node:
    """Return 1 where a condition holds and 0 elsewhere, in the dtype of `like`."""
    return where(condition, scalar_like(1, like), scalar_like(0, like))


def _choice(chosen: Node, tie: Node) -> Select:
    """Return the partial of an extremum: 1 where chosen, a half at a tie, else 0."""
    return Select(chosen, 1, Select(tie, 0.5, 0))


def _both(one: Node, other: Node) -> Select:
    """Return the partial that is 1 where both conditions hold, else 0."""
    return Select(one, Select(other, 1, 0), 0)


def _largest_sign(args: Sequence[Node], signs: Sequence[str]) -> str:
    if "positive" in signs:
        return "positive"
    return "nonnegative" if "nonnegative" in signs else ""


minimum = Elementwise(
    "minimum",
    2,
    numpy=np.minimum,
    analytic=False,
    scalar="min",
    signature=any_dtype,
    partials=(
        lambda x, y, out: _choice(less(x, y), equal(x, y)),
        lambda x, y, out: _choice(less(y, x), equal(x, y)),
    ),
    sympy=lambda sp, x, y: sp.Min(x, y),
    sign=lambda args, signs: weakest(signs),
)
maximum = Elementwise(
    "maximum",
    2,
    numpy=np.maximum,
    analytic=False,
    scalar="max",
    signature=any_dtype,
    partials=(
        lambda x, y, out: _choice(greater(x, y), equal(x, y)),
        lambda x, y, out: _choice(greater(y, x), equal(x, y)),
    ),
    sympy=lambda sp, x, y: sp.Max(x, y),
    sign=_largest_sign,
)
clip = Elementwise(
    "clip",
    3,
    numpy=lambda x, low, high: np.minimum(np.maximum(x, low), high),
    scalar=lambda k, x, low, high: k("min", k("max", x, low), high),
    signature=any_dtype,
    partials=(
        lambda x, low, high, out: _both(less_equal(low, x), less_equal(x, high)),
        lambda x, low, high, out: _both(less(x, low), less_equal(low, high)),
        lambda x, low, high, out: Select(greater(maximum(x, low), high), 1, 0),
    ),
    sympy=lambda sp, x, low, high: sp.Min(sp.Max(x, low), high),
    sign=lambda args, signs: weakest([_largest_sign(args, signs[:2]), signs[2]]),
    cost=2,
)
"""``minimum(maximum(x, low), high)``; NaN if any is.

The derivative by `x` is 1 in the closed interval. What `x` does not get goes to the
bound that the result equals: to `high` where ``low > high``.
"""

# ----------------------------------------------------------------- conversion


class Cast(Elementwise):
    """Conversion to another dtype, ``params[0]``, as NumPy's astype."""

    def infer(self, args: tuple[Node, ...], params: tuple) -> Any:
        return args[0].type._replace(dtype=params[0])


cast_ = Cast(
    "cast",
    1,
    numpy=lambda dtype, x: x.astype(dtype),
    scalar=lambda k, dtype, x: k.cast(x, dtype),
    signature=any_dtype,
    partials=(lambda x, out: 1,),
    sympy=lambda sp, dtype, x: x,
    sign=lambda dtype, args, signs: signs[0],
    cost=0,
    param_names=("dtype",),
)


def cast(node: Node, dtype: Any) -> Node:
    """Return `node` converted to `dtype`; itself if it has it."""
    dtype = dtypes.as_dtype(dtype)
    if node.dtype == dtype:
        return node
    if node.op.is_constant:
        with np.errstate(invalid="ignore", over="ignore"):
            return constant(node.params[0].array.astype(dtype))
    return cast_(node, params=(dtype,))


stop_gradient = Elementwise(
    "stop_gradient",
    1,
    numpy=lambda x: x,
    scalar=lambda k, x: x,
    signature=any_dtype,
    partials=None,
    sympy=lambda sp, x: x,
    sign=lambda args, signs: signs[0],
    cost=0,
)
"""The identity, whose derivative is zero."""
stop_gradient.blocks_derivatives = True


# ----------------------------------------------------------------- application


def apply(op: Elementwise, *operands: Any, params: tuple = ()) -> Node:
    """Return an elementwise op on nodes, arrays and weak Python scalars.

    Python's numbers, and sizes of arrays, take part in promotion as NEP 50 says and
    become constants of the joint dtype.

    Raises
    ------
    DTypeError
        If a Python integer does not fit the dtype, or the op refuses the types.
    ShapeError
        If the shapes do not broadcast.
    """
    values = [x if _is_weak(x) else as_node(x) for x in operands]
    first = 1 if op.signature is selection else 0  # a condition takes no part
    strong = [v.dtype for v in values[first:] if isinstance(v, Node)]
    try:
        wanted, _ = op.signature(op.name, [_dtype_among(v, strong) for v in values])
        if op.signature is comparison and len(strong) == 1 and wanted[0].kind in "iu":
            known = _beyond_range(op, values, wanted[0])
            if known is not None:
                return known
        nodes = [_convert(v, t) for v, t in zip(values, wanted)]
    except DTypeError as error:
        given = [v for v in values if isinstance(v, Node)]
        raise dtype_error(op.name, given, *error.args) from None
    return op(*nodes, params=params)


def _is_weak(value: Any) -> bool:
    return type(value) in (bool, int, float) or isinstance(value, Size)


def _dtype_among(value: Any, strong: Sequence[np.dtype]) -> np.dtype:
    """Return the dtype an operand counts as, beside arrays of dtypes `strong`."""
    if isinstance(value, Node):
        return value.dtype
    return dtypes.promote(*strong, 0 if isinstance(value, Size) else value)


def _convert(value: Any, dtype: np.dtype) -> Node:
    if isinstance(value, Node):
        return cast(value, dtype)
    if isinstance(value, Size):
        return size_value(value, dtype)
    try:
        if dtypes.can_cast_exactly(value, dtype):
            with np.errstate(over="ignore"):  # 1e300 is inf as float32
                return constant(value, dtype)
    except OverflowError:  # beyond all floats
        pass
    raise DTypeError(
        f"the Python integer {_number_text(value)} does not fit {dtype.name}.",
        "Convert the array to a wider dtype with astype.",
    )


def _number_text(value: int) -> str:
    digits = abs(value).bit_length() * 30103 // 100000
    return str(value) if digits < 40 else f"of about {digits} digits"


def _beyond_range(
    op: Elementwise, values: Sequence[Any], dtype: np.dtype
) -> Node | None:
    """Return a comparison with a Python integer that the dtype does not hold.

    Its outcome is the same for every element, and NumPy gives it; None if the
    integer fits.
    """
    numbers = [0 if isinstance(v, (Node, Size)) else v for v in values]
    if all(dtypes.can_cast_exactly(v, dtype) for v in numbers):
        return None
    shape = next(v.shape for v in values if isinstance(v, Node))
    outcome = op._numpy(*((v > 0) - (v < 0) for v in numbers))
    return full(shape, bool(outcome), dtypes.bool_)


def as_node(value: Any) -> Node:
    """Return a node: the value itself, or the constant it stands for.

    Raises
    ------
    DTypeError
        If it is neither an expression nor an array of numbers.
    """
    if isinstance(value, Node):
        return value
    if isinstance(value, Size):
        return size_value(value)
    if isinstance(value, (np.ndarray, np.generic, bool, int, float)):
        return constant(value)
    array = np.asarray(value) if isinstance(value, (list, tuple)) else None
    if array is not None and array.dtype != object:
        return constant(array)
    if hasattr(value, "__array__") and not isinstance(value, type):
        return constant(np.asarray(value))
    raise DTypeError(
        f"{value!r} of type {type(value).__name__} is neither an expression nor an "
        "array of numbers. Use stack([...]) for a list of expressions."
    )
