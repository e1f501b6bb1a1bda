"""For every elementwise op: where it is defined, and sample arguments.

The table `DOMAINS` gives each argument an interval of numbers in which the op is
smooth and well conditioned. An op without an entry fails a test.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import graphc.expressions.functions
import graphc.ops.elementwise
import graphc.ops.logic
import graphc.ops.powers
import graphc.ops.rounding
import graphc.ops.special  # noqa: F401  (registers the ops)
from graphc.graph.node import Node
from graphc.ops.declare import REGISTRY, Elementwise
from graphc.ops.leaf import new_input
from graphc.types.tensor_type import tensor_type

Interval = tuple[float, float]

ANY = (-3.0, 3.0)
POSITIVE = (0.2, 4.0)
INSIDE = (-0.9, 0.9)
APART = (3.5, 6.0)  # above ANY: no ties with it
TRUTH = (0.0, 1.0)

DOMAINS: dict[str, tuple[Interval, ...]] = {
    **dict.fromkeys(("add", "subtract", "multiply"), (ANY, ANY)),
    **dict.fromkeys(("divide", "floor_divide", "remainder"), (ANY, POSITIVE)),
    "absolute_zero_multiply": (ANY, ANY),
    "copysign": (POSITIVE, ANY),
    **dict.fromkeys(
        ("negative", "abs", "sign", "floor", "ceil", "trunc", "round"), (ANY,)
    ),
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal"), (ANY, ANY)),
    **dict.fromkeys(("equal", "not_equal"), (ANY, ANY)),
    "where": (TRUTH, ANY, ANY),
    **dict.fromkeys(("minimum", "maximum"), (ANY, ANY)),
    "clip": (ANY, (-1.5, -0.5), (0.5, 1.5)),
    **dict.fromkeys(("cast", "stop_gradient"), (ANY,)),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), (TRUTH, TRUTH)),
    "logical_not": (TRUTH,),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), (ANY, ANY)),
    "bitwise_invert": (ANY,),
    **dict.fromkeys(("bitwise_left_shift", "bitwise_right_shift"), (ANY, POSITIVE)),
    **dict.fromkeys(("isnan", "isinf", "isfinite", "signbit"), (ANY,)),
    **dict.fromkeys(("square", "cbrt"), (ANY,)),
    **dict.fromkeys(("reciprocal", "sqrt", "rsqrt", "integer_power"), (POSITIVE,)),
    "power": (POSITIVE, ANY),
    **dict.fromkeys(("exp", "exp2", "expm1"), (ANY,)),
    **dict.fromkeys(("log", "log2", "log10", "log1p"), (POSITIVE,)),
    **dict.fromkeys(("sigmoid", "softplus"), (ANY,)),
    **dict.fromkeys(("logaddexp", "hypot", "arctan2"), (ANY, POSITIVE)),
    **dict.fromkeys(("sin", "cos"), (ANY,)),
    "tan": ((-1.2, 1.2),),
    **dict.fromkeys(("arcsin", "arccos", "arctanh"), (INSIDE,)),
    **dict.fromkeys(("arctan", "sinh", "cosh", "tanh", "arcsinh"), (ANY,)),
    "arccosh": ((1.3, 4.0),),
    **dict.fromkeys(("erf", "erfc"), (ANY,)),
    **dict.fromkeys(("gammaln", "digamma", "polygamma"), (POSITIVE,)),
}

PARAMS: dict[str, list[tuple]] = {
    "cast": [(np.dtype(np.float32),), (np.dtype(np.float64),)],
    "integer_power": [(0,), (3,), (6,), (-2,), (-3,), (80,)],
    "polygamma": [(1,), (2,), (5,)],
}

FLOAT64 = np.dtype(np.float64)
FLOAT32 = np.dtype(np.float32)
INTEGERS = tuple(np.dtype(f"{s}int{b}") for s in ("", "u") for b in (8, 16, 32, 64))
DTYPES = (np.dtype(np.bool_), *INTEGERS, FLOAT32, FLOAT64)

ELEMENTWISE = [op for op in REGISTRY.values() if isinstance(op, Elementwise)]


def params_of(op: Elementwise) -> list[tuple]:
    """Return the parameters to try an op with."""
    return PARAMS.get(op.name, [()])


class Example(NamedTuple):
    """A node of an op on inputs, and arrays for them."""

    node: Node
    inputs: tuple[Node, ...]
    arrays: tuple[np.ndarray, ...]

    @property
    def label(self) -> str:
        text = "-".join(str(p) for p in self.node.params)
        return f"{self.node.op.name}{'-' if text else ''}{text}"

    def run(self, node: Node | None = None) -> np.ndarray:
        """Return the value of a node over the inputs by the interpreter."""
        return evaluate(self.node if node is None else node, self.inputs, self.arrays)


def evaluate(node: Node, inputs: Any, arrays: Any) -> np.ndarray:
    """Return the value of a node for arrays of its inputs, by the interpreter."""
    from graphc.backends.reference import interpret
    from graphc.graph.graph import Graph

    return interpret(Graph(inputs, [node]), dict(zip(inputs, arrays)), {})[0]


def samples(
    interval: Interval, shape: tuple[int, ...], dtype: np.dtype, seed: int
) -> np.ndarray:
    """Return numbers spread over an interval in random order, of a dtype."""
    low, high = interval
    count = int(np.prod(shape))
    rng = np.random.default_rng(seed)
    x = low + (high - low) * (np.arange(count) + rng.uniform(0.2, 0.8, count)) / max(
        count, 1
    )
    x = rng.permutation(x).reshape(shape)
    if dtype.kind in "bu":
        x = np.abs(x)
    return (np.rint(x) if dtype.kind in "iub" else x).astype(dtype)


def example(
    op: Elementwise,
    dtypes: Any = None,
    shapes: Any = None,
    params: tuple = (),
    domains: Any = None,
) -> Example:
    """Return an op on inputs of given dtypes and shapes, with sample arrays."""
    dtypes = dtypes or natural_dtypes(op)
    shapes = shapes or [(7,)] * op.arity
    seed = zlib.crc32(op.name.encode())
    intervals = domains or DOMAINS[op.name]
    inputs = tuple(
        new_input(f"x{i}", tensor_type(s, d))
        for i, (s, d) in enumerate(zip(shapes, dtypes))
    )
    arrays = tuple(
        samples(interval, s, np.dtype(d), seed + i)
        for i, (interval, s, d) in enumerate(zip(intervals, shapes, dtypes))
    )
    return Example(op(*inputs, params=params), inputs, arrays)


def natural_dtypes(op: Elementwise) -> list[np.dtype]:
    """Return the operand dtypes of an op, float64 wherever it takes that."""
    from graphc.types.errors import DTypeError

    for dtype in (FLOAT64, np.dtype(np.int64)):
        try:
            return list(op.signature(op.name, [dtype] * op.arity)[0])
        except DTypeError:
            continue
    raise AssertionError(f"{op.name} takes neither floats nor integers")


def examples(differentiable: bool = False) -> Iterator[Example]:
    """Return an example of every elementwise op with each of its parameters."""
    for op in ELEMENTWISE:
        if differentiable and (op.partials is None or op.name not in DOMAINS):
            continue
        if op.name in DOMAINS:
            for params in params_of(op):
                yield example(op, params=params)
