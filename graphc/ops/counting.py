"""What instructions count as, and what an elementwise op comes to by its lowering.

One rule for every count in graphc: an instruction of `ops.declare.Scalars` on one
element is one arithmetic operation, be it of floats, integers or booleans. Calls of
functions (`FUNCTIONS`) are counted apart, as transcendental calls. Conversions,
constants, sizes and the identity count nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphc.graph.node import Node

FUNCTIONS = frozenset(
    (
        *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "cbrt", "pow"),
        *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2", "hypot"),
        *("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "sigmoid"),
        *("softplus", "logaddexp", "erf", "erfc", "gammaln", "digamma", "polygamma"),
    )
)
"""Instructions that are calls of functions; `polygamma` of every order."""

FREE = frozenset(("cast",))
"""Instructions that count nothing."""


class Operations(NamedTuple):
    """A number of arithmetic operations, and of calls of functions."""

    flops: int
    transcendentals: int


def operations_of(instruction: str) -> Operations:
    """Return what an instruction counts as.

    ``integer_power_<n>`` is the products of binary powering, and a division for a
    negative `n`.
    """
    name, _, order = instruction.rpartition("_")
    if name == "integer_power":
        n = abs(int(order))
        return Operations(n.bit_length() + n.bit_count() - 2 + (int(order) < 0), 0)
    if instruction in FUNCTIONS or name == "polygamma":
        return Operations(0, 1)
    return Operations(0 if instruction in FREE else 1, 0)


class _Value(NamedTuple):
    """A value that is nothing but its dtype and number."""

    dtype: np.dtype
    number: int


class CountingScalars:
    """The elementwise part of `Scalars`; counts instructions, equal ones once."""

    def __init__(self) -> None:
        self.counts = [0, 0]
        self._known: dict[tuple, _Value] = {}

    def new(self, dtype: np.dtype, *key: Any) -> _Value:
        """Return the value of a key."""
        return self._known.setdefault((dtype, *key), _Value(dtype, len(self._known)))

    def __call__(self, name: str, *operands: _Value) -> _Value:
        dtype = operands[-1].dtype
        if (dtype, name, *operands) not in self._known:
            for i, count in enumerate(operations_of(name)):
                self.counts[i] += count
        return self.new(dtype, name, *operands)

    def constant(self, value: Any, dtype: np.dtype) -> _Value:
        """Return a constant."""
        number = np.asarray(value).astype(dtype)
        return self.new(np.dtype(dtype), "constant", number.tobytes())

    def like(self, x: _Value, value: Any) -> _Value:
        """Return a constant of the dtype of `x`."""
        return self.constant(value, x.dtype)

    def zero(self, x: _Value) -> _Value:
        """Return 0 in the dtype of `x`."""
        return self.like(x, 0)

    def one(self, x: _Value) -> _Value:
        """Return 1 in the dtype of `x`."""
        return self.like(x, 1)

    def dtype(self, x: _Value) -> np.dtype:
        """Return the dtype of a value."""
        return x.dtype

    def cast(self, value: _Value, dtype: np.dtype) -> _Value:
        """Return a value converted."""
        return self.new(np.dtype(dtype), "cast", value)


def elementwise_operations(node: Node) -> Operations:
    """Return what one element of an elementwise node takes, by its op's lowering."""
    dtypes = tuple([a.dtype for a in node.args])
    key = (node.op, node.params, dtypes)
    found = _found.get(key)
    if found is None:
        k = CountingScalars()
        values = [k.new(d, "argument", i) for i, d in enumerate(dtypes)]
        node.op.scalar(k, node, *values)
        if len(_found) >= _MOST:
            _found.clear()
        found = _found[key] = Operations(*k.counts)
    return found


_found: dict[tuple, Operations] = {}
_MOST = 10_000
