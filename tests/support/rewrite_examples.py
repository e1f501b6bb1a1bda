"""For every rule: an expression in which it fires, run through the whole pipeline.

A rule without an entry fails a test.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

import graphc as cg
from graphc.expressions import nn
from graphc.graph.node import Node
from graphc.ops import arithmetic as ar
from graphc.ops import contract, index, leaf, logic, move, powers, slicing
from graphc.types import sizes

n = sizes.dim("n")
b = SimpleNamespace(
    x=cg.vector("x", "n"),
    y=cg.vector("y", "n"),
    m=cg.vector("m", "n", dtype="bool"),
    i=cg.vector("i", "n", dtype="int64"),
    j=cg.vector("j", "n", dtype="int64"),
    a=cg.matrix("a", ("n", 3)),
    c=cg.matrix("c", (4, 3)),
    s=cg.scalar("s"),
    f=cg.vector("f", "n", dtype="float32"),
)
"""The inputs that examples are made of."""

INPUTS = tuple(vars(b).values())

SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.5, 1e-200, 3e200, 40.0)
MODERATE = (0.3, 1.7, -0.6, 2.9, -1.1)


def arrays(values: tuple[float, ...]) -> dict[Node, np.ndarray]:
    """Return arrays in which every pair of `values` meets."""
    pairs = np.array(list(itertools.product(values, values))).reshape(-1, 2)
    count = len(pairs)
    number = np.arange(count)
    with np.errstate(all="ignore"):
        return {
            b.x: pairs[:, 0],
            b.y: pairs[:, 1],
            b.m: number % 3 == 1,
            b.i: number % 5 - 2,
            b.j: number % 7 - 3,
            b.a: np.stack([pairs[:, 0], pairs[:, 1], pairs[::-1, 0]], axis=1),
            b.c: np.resize(pairs, (4, 3)) if count else np.zeros((4, 3)),
            b.s: np.asarray(pairs[0, 0] if count else 0.5),
            b.f: pairs[:, 1].astype(np.float32),
        }


@dataclass(frozen=True)
class Example:
    """An expression that a rule changes.

    Attributes
    ----------
    build : callable
        Returns the expression.
    exact : bool
        The value stays the same in every bit, but for the signs of zeros where the
        rule says so. Otherwise it is as accurate or more, and finite where the
        expression was.
    empty : bool
        It is evaluated with n = 0, too.
    """

    build: Callable[[], Node]
    exact: bool = True
    empty: bool = True
    options: dict[str, Any] = field(default_factory=dict)


def _full(value: float, dtype: str = "float64") -> Node:
    return leaf.full((n,), value, dtype)


def _two() -> Node:
    return cg.constant(2.0)


def _wide(x: Node, *shape: Any) -> Node:
    return move.broadcast_to(x, shape)


def _column(x: Node) -> Node:
    return move.reshape(x, (n, 1))


def _outer(x: Node, y: Node) -> Node:
    return move.reshape(x, (n, 1, 1)) * y


def _eye() -> Node:
    return _column(leaf.iota(n)) == leaf.iota(n)


def _pick(*indices: int) -> list[Node]:
    return [cg.constant(np.int64(i)) for i in indices]


def _pad(x: Node, low: int, high: int, value: float = 0.0) -> Node:
    return slicing.pad(x, (low,), (x.shape[0] + low + high,), value=value)


x, y, m, i, j, a, c, s, f = vars(b).values()

FOLD = {
    "fold_uniform": Example(lambda: x + _full(2) * _full(3)),
    "fold_moved_uniform": Example(
        lambda: x * move.reshape(leaf.full((n, 1), 3.0, "float64"), (n,))
    ),
    "fold_arrays": Example(lambda: c + cg.constant(np.arange(3.0)) ** 3),
    "constant_of_one_number": Example(lambda: x + cg.constant(np.ones((2, 1)))),
    "cast_of_range": Example(lambda: ar.cast(leaf.iota(n), "float32") + f),
}

ARITHMETIC = {
    "constant_second": Example(lambda: 2.0 + x),
    "add_zero": Example(lambda: x + 0.0),
    "subtract_from_zero": Example(lambda: 0.0 - x),
    "multiply_by_one": Example(lambda: x * 1.0),
    "multiply_by_minus_one": Example(lambda: x * -1.0),
    "multiply_integer_by_zero": Example(lambda: i * 0),
    "subtract_integer_itself": Example(lambda: i - i),
    "extremum_with_infinity": Example(lambda: cg.minimum(x, np.inf)),
    "of_itself": Example(lambda: cg.maximum(x, x)),
    "negative_twice": Example(lambda: -(-x)),
    "add_negative": Example(lambda: x + -y),
    "subtract_negative": Example(lambda: x - -y),
    "negative_difference": Example(lambda: -(x - y)),
    "negative_factor": Example(lambda: -x * y),
    "negative_of_scaled": Example(lambda: -(x * 3.0)),
    "even_function": Example(lambda: cg.cos(-x)),
    "absolute_of_not_negative": Example(lambda: abs(cg.exp(x))),
    "add_itself": Example(lambda: x + x),
    "multiply_itself": Example(lambda: x * x),
    "absolute_zero": Example(lambda: ar.absolute_zero_multiply(x, _full(0.0))),
    "absolute_zero_by_constant": Example(
        lambda: ar.absolute_zero_multiply(x, cg.constant(3.0))
    ),
    "absolute_zero_of_mask": Example(
        lambda: ar.absolute_zero_multiply(cg.where(m, 2.0, 0.0), y)
    ),
    "scale_twice": Example(lambda: (x * 3.0) / 1.5, exact=False),
    "scale_twice_rounded": Example(lambda: (x * 0.1) * 0.7, exact=False),
    "divide_by_power_of_two": Example(lambda: x / 8.0),
    "divide_by_constant": Example(lambda: x / 3.0, exact=False),
    "subtract_constant": Example(lambda: x - 3.0),
    "add_twice": Example(lambda: (x + 3.0) + 4.0, exact=False),
    "subtract_from_constant": Example(lambda: 5.0 - (x + 3.0), exact=False),
    "one_over": Example(lambda: 1.0 / x),
    "reciprocal_of_root": Example(lambda: powers.reciprocal(cg.sqrt(x))),
    "reciprocal_twice": Example(lambda: 1 / (1 / x), exact=False),
    "power_zero": Example(lambda: y + powers.integer_power(x, 0)),
}

SELECT = {
    "where_known": Example(lambda: ar.where(_full(True, "bool"), x, y)),
    "where_same": Example(lambda: cg.where(m, x, x)),
    "where_not": Example(lambda: cg.where(~m, x, y)),
    "where_within_where": Example(lambda: cg.where(m, cg.where(m, x, s), y)),
    "where_of_truths": Example(lambda: cg.where(m, False, True)),
    "function_of_choice": Example(lambda: cg.exp(cg.where(m, 1.0, 2.0)) * 3.0),
    "compare_with_itself": Example(lambda: x == x),
    "bits_of_booleans": Example(lambda: m & (i > 0)),
    "not_not": Example(lambda: logic.logical_not(logic.logical_not(m))),
    "not_compared": Example(lambda: logic.logical_not(x == y)),
    "logic_with_constant": Example(lambda: logic.logical_xor(m, _full(True, "bool"))),
    "cast_same": Example(lambda: ar.cast_(x, params=(np.dtype("float64"),))),
    "cast_twice": Example(lambda: ar.cast(ar.cast(f, "float64"), "float32")),
    "stop_gradient_done": Example(lambda: cg.stop_gradient(x)),
    "custom_derivative_done": Example(
        lambda: cg.custom_derivative(cg.sin, vjp=lambda r, c: (c,))(x)
    ),
}

MOVES = {
    "function_of_broadcast": Example(lambda: x + _wide(s, n)),
    "function_of_move": Example(lambda: cg.exp(_column(x)) * _column(y)),
    "function_of_transpose": Example(lambda: cg.exp(a.T) * x),
    "reshape_twice": Example(lambda: move.reshape(_column(x), (1, n))),
    "transpose_twice": Example(lambda: a.T.T),
    "transpose_of_ones": Example(lambda: _column(x).T),
    "broadcast_twice": Example(lambda: _wide(_wide(x, 1, n), 2, n)),
    "reshape_of_broadcast": Example(lambda: _column(_wide(s, n))),
    "transpose_of_broadcast": Example(lambda: _wide(x, 3, n).T),
    "slice_all": Example(
        lambda: slicing.slice_op(x, params=((0,), (n,), (1,))),
    ),
    "pad_nothing": Example(
        lambda: slicing.pad_(x, params=((0,), (n,), (1,), leaf.Frozen(np.asarray(0.0))))
    ),
    "slice_twice": Example(lambda: c[1:][::-1]),
    "pad_twice": Example(lambda: _pad(_pad(x, 1, 0), 2, 3)),
    "slice_of_broadcast": Example(lambda: _wide(x, 4, n)[1:3]),
    "slice_of_pad": Example(lambda: slicing.slice_(_pad(x, 2, 1), (2,), (n,))),
    "concatenate_pieces": Example(lambda: slicing.concatenate([c[:1], c[1:3]], 0)),
    "slice_of_sum_of_pads": Example(
        lambda: slicing.slice_(_pad(x, 0, 2) + _pad(y, 2, 0), (0,), (1,))
    ),
    "slice_of_concatenation": Example(
        lambda: slicing.slice_(slicing.concatenate([x, y], 0), (n,), (n,))
    ),
    "gather_constant": Example(lambda: index.gather(c, _pick(-1, 1))),
}

REDUCTIONS = {
    "reduce_ones": Example(lambda: cg.sum(_column(x), axis=1)),
    "position_among_one": Example(lambda: cg.argmax(_column(x), axis=1)),
    "reduce_reshape": Example(
        lambda: cg.max(move.reshape(a, (n, 1, 3)), axis=2),
    ),
    "reduce_transpose": Example(
        lambda: cg.max(
            move.permute(_wide(a, 4, n, 3) + cg.arange(4.0)[:, None, None], (2, 0, 1)),
            1,
        )
    ),
    "reduce_twice": Example(lambda: cg.max(cg.max(c, axis=0))),
    "sum_twice": Example(lambda: cg.sum(cg.sum(a, axis=0)), exact=False),
    "sum_of_repeated": Example(lambda: cg.sum(_wide(s, n)), exact=False),
    "extremum_of_repeated": Example(lambda: cg.max(_wide(a, 5, n, 3), axis=0)),
    "sum_of_negative": Example(lambda: cg.sum(-a, axis=1)),
    "product_of_negative": Example(lambda: contract.matmul_(-a, c.T)),
    "outer_product": Example(lambda: _column(x) @ move.reshape(y, (1, n))),
    "sum_of_scaled": Example(lambda: cg.sum(a * 0.1, axis=1), exact=False),
}

ONE_HOT = {
    "sum_of_one_hot": Example(
        lambda: cg.sum(cg.where(_eye(), _column(x) - y, 0.0), axis=1)
    ),
}

STABILIZE = {
    "log_of_one_plus": Example(lambda: cg.log(1 + x), exact=False),
    "exp_minus_one": Example(lambda: cg.exp(x) - 1, exact=False),
    "log_of_exp": Example(lambda: cg.log(cg.exp(x)), exact=False),
    "log_of_sum_of_two": Example(lambda: cg.log(cg.exp(x) + cg.exp(y)), exact=False),
    "log_of_one_plus_exp": Example(lambda: cg.log(1 + cg.exp(x)), exact=False),
    "log_of_sigmoid": Example(lambda: cg.log(nn.sigmoid(x)), exact=False),
    "log_of_one_minus_sigmoid": Example(lambda: cg.log1p(-nn.sigmoid(x)), exact=False),
    "one_minus_sigmoid": Example(lambda: 1 - nn.sigmoid(x), exact=False),
    "sigmoid_written_out": Example(lambda: 1 / (1 + cg.exp(-x)), exact=False),
    "softplus_minus_argument": Example(lambda: nn.softplus(x) - x, exact=False),
    "one_minus_erf": Example(lambda: 1 - cg.erf(x), exact=False),
    "one_minus_cos": Example(lambda: 1 - cg.cos(x), exact=False),
    "root_of_square": Example(lambda: cg.sqrt(x * x), exact=False),
    "log_of_sum_of_exp": Example(
        lambda: cg.log(cg.sum(cg.exp(a), axis=1)), exact=False
    ),
    "softmax_written_out": Example(
        lambda: cg.exp(a) / cg.sum(cg.exp(a), axis=1, keepdims=True), exact=False
    ),
    "log_of_softmax": Example(lambda: cg.log(nn.softmax(a))[:, 1], exact=False),
}

EXAMPLES: dict[str, Example] = {
    **FOLD,
    **ARITHMETIC,
    **SELECT,
    **MOVES,
    **REDUCTIONS,
    **ONE_HOT,
    **STABILIZE,
}


def used(expression: Node) -> Iterator[Node]:
    """Return the inputs an expression uses."""
    from graphc.graph.graph import topological_order

    return (v for v in topological_order([expression]) if v.op is leaf.input_)
