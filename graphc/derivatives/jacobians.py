"""Jacobians and Hessians: one batched sweep over the identity basis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.derivatives.activity import Activity
from graphc.derivatives.arguments import ones, read_result, read_scalar, read_wrt
from graphc.derivatives.batching import push_batch
from graphc.derivatives.choice import (
    ModeChoice,
    cheaper_mode,
    choose,
    choose_hessian,
    consider_sparse,
    remember,
)
from graphc.derivatives.forward import push_forward
from graphc.derivatives.reverse import pull_back
from graphc.derivatives.seeds import basis, push_selection
from graphc.graph import operators
from graphc.graph.graph import Graph, topological_order
from graphc.graph.node import Node
from graphc.ops.arithmetic import cast
from graphc.ops.leaf import full, new_input
from graphc.ops.move import permute, reshape
from graphc.types.errors import ConfigError

MODES = ("auto", "forward", "reverse", "sparse", "symbolic")


def jacobian_of(y: Any, x: Any, mode: str, disconnected: str) -> Any:
    """Return the Jacobian; see `graphc.derivatives.api.jacobian`."""
    check_mode("jacobian", mode)
    ys, y_structure = read_result(y, "jacobian")
    xs, x_structure = read_wrt(x)
    Activity(topological_order(ys), ys, xs, disconnected)

    def plan() -> Any:
        from graphc.derivatives.sparsity.compressed import plan_jacobian

        return plan_jacobian(ys, xs, disconnected)

    choice: ModeChoice | None = None
    if mode == "auto" and ys and xs:
        choice = choose(ys, xs)
        sweep = min(
            choice.costs[m].operations // max(choice.costs[m].sweeps, 1)
            for m in ("forward", "reverse")
        )
        consider_sparse(choice, plan, sweep, ys, xs)
        mode = choice.mode
    rows: list[list[Any]]
    if mode == "sparse":
        from graphc.derivatives.sparsity.compressed import sparse_jacobian

        found = plan() if choice is None else choice.plan
        rows = list(sparse_jacobian(ys, xs, found))
    elif mode == "mixed":
        assert choice is not None
        rows = [[choice.plan.jacobian(_base)]]
    else:
        rows = blocks(ys, xs, mode)
    if choice is not None:
        remember([n for row in rows for n in row], choice)
    return y_structure.unflatten([x_structure.unflatten(row) for row in rows])


def hessian_of(y: Any, x: Any, mode: str, disconnected: str) -> Any:
    """Return the Hessian; see `graphc.derivatives.api.hessian`."""
    check_mode("hessian", mode)
    scalar = read_scalar(y, "hessian")
    xs, structure = read_wrt(x)
    gradients = pull_back([scalar], ones([scalar]), xs, disconnected)

    def plan() -> Any:
        from graphc.derivatives.sparsity.compressed import plan_hessian

        return plan_hessian(scalar, xs, disconnected)

    choice: ModeChoice | None = None
    if mode == "auto" and xs:
        choice = choose_hessian(gradients, xs)
        sweep = choice.costs["forward"]
        each = sweep.operations // max(sweep.sweeps, 1)
        consider_sparse(choice, plan, each, xs, xs)
        mode = choice.mode
    rows: list[list[Any]]
    if mode == "sparse":
        from graphc.derivatives.sparsity.compressed import sparse_hessian

        found = plan() if choice is None else choice.plan
        rows = list(sparse_hessian(xs, found))
    elif mode == "symbolic":
        from graphc.derivatives.symbolic.differentiate import symbolic_hessian

        rows = symbolic_hessian(scalar, xs)
    else:
        rows = blocks(gradients, xs, "forward" if mode == "auto" else mode)
    if choice is not None:
        remember([n for row in rows for n in row], choice)
    return structure.unflatten([structure.unflatten(row) for row in rows])


def _base(y: Node, x: Node, mode: str) -> Node:
    return blocks([y], [x], mode)[0][0]


def check_mode(what: str, mode: str) -> None:
    """Raise `ConfigError` for a mode that is unknown."""
    if mode not in MODES:
        names = ", ".join(repr(m) for m in MODES)
        raise ConfigError(f"{what}: mode {mode!r} is unknown; use one of {names}.")


def blocks(
    ys: Sequence[Node],
    xs: Sequence[Node],
    mode: str,
    seeds: Callable[[Node], Node] | None = None,
) -> list[list[Node]]:
    """Return the derivative of each of `ys` (rows) by each of `xs` (columns).

    With `seeds`, the sweeps of forward and reverse mode start from the matrices that it
    gives for an argument or result, instead of an identity whose zeros are skipped.

    A block has the shape ``y.shape + x.shape`` and the dtype of `x`. It is zero
    where `y` does not depend on `x`: a derivative is linear in its seed, so one
    that does not depend on the seed is zero.
    """
    if mode == "auto":
        mode = cheaper_mode(ys, xs)
    if mode == "symbolic":
        from graphc.derivatives.symbolic.differentiate import symbolic_blocks

        return symbolic_blocks(ys, xs)
    if mode == "reverse":
        rows = [_row(y, xs, seeds or basis) for y in ys]
    else:
        columns = [_column(ys, x, seeds or basis) for x in xs]
        rows = [list(row) for row in zip(*columns)] if columns else [[] for _ in ys]
    return rows if seeds is not None else _selected(rows, ys)


def _selected(rows: list[list[Node]], ys: Sequence[Node]) -> list[list[Node]]:
    """Take products with seeds for the one term of each sum, not those of `ys`."""
    flat = [value for row in rows for value in row]
    given = set(topological_order(ys))
    rule = operators.FUNCTIONS["product_with_one_hot"]
    graph = Graph((), flat).rewritten(lambda n: None if n in given else rule(n))
    new = iter(graph.outputs)
    return [[next(new) for _ in row] for row in rows]


def _row(y: Node, xs: Sequence[Node], seeds: Callable[[Node], Node]) -> list[Node]:
    """Reverse mode: map the vector-Jacobian product over the basis of `y`."""
    if not y.ndim:
        return pull_back([y], ones([y]), xs, "zero")
    seed = new_input("cotangent", y.type)
    pulled = pull_back([y], [seed], xs, "zero")
    return [
        _block(value, y, x) if has_axis else full(y.shape + x.shape, 0, x.dtype)
        for x, (value, has_axis) in zip(
            xs, push_batch(pulled, {seed: seeds(y)}, push_selection)
        )
    ]


def _column(ys: Sequence[Node], x: Node, seeds: Callable[[Node], Node]) -> list[Node]:
    """Forward mode: map the Jacobian-vector product over the basis of `x`."""
    if not x.ndim:
        pushed = push_forward(ys, [x], ones([x]), "zero")
        return [cast(value, x.dtype) for value in pushed]
    seed = new_input("tangent", x.type)
    pushed = push_forward(ys, [x], [seed], "zero")
    out = []
    for y, (value, has_axis) in zip(
        ys, push_batch(pushed, {seed: seeds(x)}, push_selection)
    ):
        if has_axis:
            out.append(_block(permute(value, (*range(1, value.ndim), 0)), y, x))
        else:
            out.append(full(y.shape + x.shape, 0, x.dtype))
    return out


def _block(value: Node, y: Node, x: Node) -> Node:
    """Return a block in its shape and, as `grad` is too, in the dtype of `x`."""
    return cast(reshape(value, y.shape + x.shape), x.dtype)
