"""Jacobians and Hessians: one batched sweep over the identity basis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.derivatives.activity import Activity
from graphc.derivatives.arguments import ones, read_result, read_scalar, read_wrt
from graphc.derivatives.batching import push_batch
from graphc.derivatives.forward import push_forward
from graphc.derivatives.reverse import pull_back
from graphc.derivatives.seeds import basis, push_selection
from graphc.derivatives.symbolic.differentiate import (
    symbolic_blocks,
    symbolic_hessian,
)
from graphc.graph import operators
from graphc.graph.graph import Graph, topological_order
from graphc.graph.node import Node
from graphc.ops.arithmetic import cast
from graphc.ops.leaf import full, new_input
from graphc.ops.move import permute, reshape
from graphc.types import sizes
from graphc.types.errors import ConfigError
from graphc.types.sizes import SizeLike

NOMINAL_SIZE = 64
"""What a symbolic dimension counts as where sizes are compared."""

MODES = ("auto", "forward", "reverse", "sparse", "symbolic")


def jacobian_of(y: Any, x: Any, mode: str, disconnected: str) -> Any:
    """Return the Jacobian; see `graphc.derivatives.api.jacobian`."""
    check_mode("jacobian", mode)
    ys, y_structure = read_result(y, "jacobian")
    xs, x_structure = read_wrt(x)
    if mode == "sparse":
        from graphc.derivatives.sparsity.compressed import sparse_jacobian

        matrices = sparse_jacobian(ys, xs, disconnected)
        return y_structure.unflatten([x_structure.unflatten(row) for row in matrices])
    Activity(topological_order(ys), ys, xs, disconnected)
    rows = blocks(ys, xs, mode)
    return y_structure.unflatten([x_structure.unflatten(row) for row in rows])


def hessian_of(y: Any, x: Any, mode: str, disconnected: str) -> Any:
    """Return the Hessian; see `graphc.derivatives.api.hessian`."""
    check_mode("hessian", mode)
    scalar = read_scalar(y, "hessian")
    xs, structure = read_wrt(x)
    if mode == "sparse":
        from graphc.derivatives.sparsity.compressed import sparse_hessian

        matrices = sparse_hessian(scalar, xs, disconnected)
        return structure.unflatten([structure.unflatten(row) for row in matrices])
    if mode == "symbolic":
        Activity(topological_order([scalar]), [scalar], xs, disconnected)
        rows = symbolic_hessian(scalar, xs)
        return structure.unflatten([structure.unflatten(row) for row in rows])
    gradients = pull_back([scalar], ones([scalar]), xs, disconnected)
    rows = blocks(gradients, xs, "forward" if mode == "auto" else mode)
    return structure.unflatten([structure.unflatten(row) for row in rows])


def check_mode(what: str, mode: str) -> None:
    """Raise `ConfigError` for a mode that is unknown."""
    if mode not in MODES:
        names = ", ".join(repr(m) for m in MODES)
        raise ConfigError(f"{what}: mode {mode!r} is unknown; use one of {names}.")


def cheaper_mode(ys: Sequence[Node], xs: Sequence[Node]) -> str:
    """Return "reverse" if the results have no more elements than `xs`, else "forward".

    A symbolic dimension that does not cancel from the comparison counts as
    `NOMINAL_SIZE`.
    """
    surplus: SizeLike = sum((y.size for y in ys), 0) - sum((x.size for x in xs), 0)
    return (
        "forward" if sizes.evaluate(surplus, lambda d: NOMINAL_SIZE) > 0 else "reverse"
    )


def blocks(ys: Sequence[Node], xs: Sequence[Node], mode: str) -> list[list[Node]]:
    """Return the derivative of each of `ys` (rows) by each of `xs` (columns).

    A block has the shape ``y.shape + x.shape`` and the dtype of `x`. It is zero
    where `y` does not depend on `x`: a derivative is linear in its seed, so one
    that does not depend on the seed is zero.
    """
    if mode == "auto":
        mode = cheaper_mode(ys, xs)
    if mode == "symbolic":
        return symbolic_blocks(ys, xs)
    if mode == "reverse":
        rows = [_row(y, xs) for y in ys]
    else:
        columns = [_column(ys, x) for x in xs]
        rows = [list(row) for row in zip(*columns)] if columns else [[] for _ in ys]
    return _selected(rows, ys)


def _selected(rows: list[list[Node]], ys: Sequence[Node]) -> list[list[Node]]:
    """Take products with seeds for the one term of each sum, not those of `ys`."""
    flat = [value for row in rows for value in row]
    given = set(topological_order(ys))
    rule = operators.FUNCTIONS["product_with_one_hot"]
    graph = Graph((), flat).rewritten(lambda n: None if n in given else rule(n))
    new = iter(graph.outputs)
    return [[next(new) for _ in row] for row in rows]


def _row(y: Node, xs: Sequence[Node]) -> list[Node]:
    """Reverse mode: map the vector-Jacobian product over the basis of `y`."""
    if not y.ndim:
        return pull_back([y], ones([y]), xs, "zero")
    seed = new_input("cotangent", y.type)
    pulled = pull_back([y], [seed], xs, "zero")
    return [
        _block(value, y, x) if has_axis else full(y.shape + x.shape, 0, x.dtype)
        for x, (value, has_axis) in zip(
            xs, push_batch(pulled, {seed: basis(y)}, push_selection)
        )
    ]


def _column(ys: Sequence[Node], x: Node) -> list[Node]:
    """Forward mode: map the Jacobian-vector product over the basis of `x`."""
    if not x.ndim:
        pushed = push_forward(ys, [x], ones([x]), "zero")
        return [cast(value, x.dtype) for value in pushed]
    seed = new_input("tangent", x.type)
    pushed = push_forward(ys, [x], [seed], "zero")
    out = []
    for y, (value, has_axis) in zip(
        ys, push_batch(pushed, {seed: basis(x)}, push_selection)
    ):
        if has_axis:
            out.append(_block(permute(value, (*range(1, value.ndim), 0)), y, x))
        else:
            out.append(full(y.shape + x.shape, 0, x.dtype))
    return out


def _block(value: Node, y: Node, x: Node) -> Node:
    """Return a block in its shape and, as `grad` is too, in the dtype of `x`."""
    return cast(reshape(value, y.shape + x.shape), x.dtype)
