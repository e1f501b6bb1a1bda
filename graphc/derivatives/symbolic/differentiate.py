"""Derivatives of small scalar expressions through sympy.

What lies between `x` and `y` is written in sympy's terms, element by element; what
does not depend on `x` stays outside as a symbol, and so do conditions. sympy
differentiates, the result is read back, and equal parts of all results, and of the
expression itself, are the same nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.derivatives.activity import Activity, differentiable_positions
from graphc.derivatives.arguments import ones, read_result, read_wrt
from graphc.derivatives.reverse import pull_back
from graphc.derivatives.symbolic.reader import Given, Reader
from graphc.derivatives.symbolic.to_sympy import Writer
from graphc.derivatives.transforms import is_function, transform
from graphc.expressions.indexing import getitem
from graphc.expressions.joining import stack
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.graph.origin import current_site, set_inherited
from graphc.ops.arithmetic import cast
from graphc.ops.declare import Elementwise
from graphc.ops.leaf import full, input_
from graphc.ops.move import reshape
from graphc.types import sizes
from graphc.types.config import options
from graphc.types.dtypes import is_float
from graphc.types.errors import InputError, ShapeError, made_at
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import shape_text

NOMINAL_SIZE = 64
"""What a symbolic dimension counts as where operations are counted."""

TRANSCENDENTAL = 10
"""What a call of exp, sin or the like counts as beside an addition."""

_SHARED = 100
"""How often over `symbolic_limit` an expression may have operations if written out."""

_LARGE = 200  # sympy operations from which a derivative is not made shorter


def diff(y: Any, *by: Any) -> Any:
    """Return derivatives of small scalar expressions, made by sympy.

    Parameters
    ----------
    y : scalar expression, nested containers of them, or callable
        Of a function of one scalar, its derivative is returned as a function.
    *by : scalar expressions and numbers
        As sympy's: ``diff(y, x)``, ``diff(y, x, 2)`` the second derivative, ``diff(y,
        x, z)`` the mixed one; ``(x, 2)`` is another way to write ``x, 2``.

    Returns
    -------
    expression, or nested containers of expressions
        Zero where `y` does not depend on `x`.

    Raises
    ------
    ShapeError
        If `y` or `x` is not a scalar.
    DTypeError
        If one is not of a floating-point dtype.
    InputError
        If `y` is larger than the option `symbolic_limit`, has an op that sympy has no
        word for, or an order is no positive integer.

    Notes
    -----
    Subgradients are those of `grad`: abs'(0) = 0, ties of maximum share evenly, steps
    have derivative 0; a branch that is not taken contributes exactly zero. sympy sees
    all numbers as real.

    Examples
    --------
    >>> import graphc as cg
    >>> x = cg.scalar("x")
    >>> cg.to_sympy(cg.diff(cg.log(cg.sin(x) ** 2), x))
    2*cos(x)/sin(x)
    """
    if is_function(y):
        orders = list(by) or [1]
        return transform(y, 0, lambda result, x: diff(result, x, *orders))
    ys, structure = read_result(y, "diff")
    chain = _orders(by)
    for node in (*ys, *chain):
        if node.ndim:
            raise ShapeError(
                f"diff: {node.label()}{made_at(node.origin)} has the shape "
                f"{shape_text(node.shape)}; sympy differentiates scalars. Use grad "
                "(reverse mode) or jacobian."
            )
    xs = list(dict.fromkeys(chain))
    part = SymbolicPart(ys, xs, "diff", "Use reverse mode, grad(y, x)")
    before = set_inherited(current_site())
    try:
        out = []
        for node in ys:
            expr = part.written(node)[()]
            for x in chain:
                expr = part.slope(expr, part.symbols[x][()])
            out.append(cast(part.read(expr, node), node.dtype))
    finally:
        set_inherited(before)
    return structure.unflatten(out)


def _orders(by: Sequence[Any]) -> list[Node]:
    """Return by what to differentiate, one after the other."""
    flat: list[Any] = []
    for entry in by:
        flat += entry if isinstance(entry, (tuple, list)) else [entry]
    chain: list[Node] = []
    counted = False
    for entry in flat:
        if isinstance(entry, Node):
            chain.append(entry)
            counted = False
            continue
        if isinstance(entry, bool) or not isinstance(entry, int) or entry < 0:
            raise InputError(
                f"diff: {entry!r} of type {type(entry).__name__} is neither an "
                "expression to differentiate by nor the order of a derivative."
            )
        if not chain or counted:
            raise InputError(f"diff: the order {entry} follows no expression.")
        counted = True
        chain += [chain.pop()] * entry
    if not flat:
        raise InputError(
            "diff: by what? Write diff(y, x). Differences of neighbours are "
            "numpy.diff(y)."
        )
    read_wrt(chain)
    return chain


class SymbolicPart:
    """What lies between some expressions and what they are differentiated by.

    Parameters
    ----------
    ys, xs : sequence of Node
    what, remedy : str
        The caller, and what to do instead, for messages.

    Attributes
    ----------
    symbols : dict of Node to array
        The sympy symbols of the elements of each of `xs`.

    Raises
    ------
    InputError
        If there are more operations than `symbolic_limit`, or one that sympy has no
        word for.
    ShapeError
        If a size is symbolic.
    """

    def __init__(
        self,
        ys: Sequence[Node],
        xs: Sequence[Node],
        what: str,
        remedy: str = 'Use reverse mode, mode="reverse"',
    ):
        import sympy

        self._remedy = remedy

        self._sympy = sympy
        self._what = what
        self._given: dict[Any, Node] = {}
        order = topological_order(ys)
        edges = Activity(order, ys, xs, "zero").edges
        self._check(order, edges, ys, xs)
        self.symbols = {x: self._named(x) for x in xs}
        outside = dict(self.symbols)
        for node in order:
            if node not in edges or node in self.symbols:
                continue
            self._check_meaning(node)
            for arg in node.args:
                if arg not in edges and arg not in outside and not _known(arg):
                    outside[arg] = self._named(arg)
        for y in ys:
            if y not in edges and y not in outside and not _known(y):
                outside[y] = self._named(y)
        self._writer = Writer(outside, own_derivatives=True)

    def _check(
        self, order: Sequence[Node], edges: Any, ys: Sequence[Node], xs: Sequence[Node]
    ) -> None:
        limit = options().symbolic_limit
        count: Any = 0
        for node in order:
            if node in edges or any(node is z for z in (*ys, *xs)):
                if not all(isinstance(s, int) for s in node.shape):
                    raise ShapeError(
                        f"{self._what}: {node.label()}{made_at(node.origin)} has a "
                        "symbolic size; sympy needs every element. Declare the size "
                        f"as an integer. {self._remedy}."
                    )
                count += node.size if node.args else 0
        if count > limit:
            raise InputError(
                f"{self._what}: the expression has {count} scalar operations, more "
                f"than sympy is asked to differentiate ({limit}). {self._remedy}, "
                f"or raise the limit: config(symbolic_limit={count})."
            )
        self._check_written(order, edges, ys, xs)

    def _check_written(
        self, order: Sequence[Node], edges: Any, ys: Sequence[Node], xs: Sequence[Node]
    ) -> None:
        """Raise `InputError` if parts that are shared are too much written out.

        sympy walks through an expression as through a tree.
        """
        limit = options().symbolic_limit * _SHARED
        leaves = set(xs)
        written: dict[Node, int] = {}
        for node in order:
            if node not in edges or node in leaves:
                continue
            size = max(int(node.size), 1)  # sizes are known: see `_check`
            parts = [
                written[a] * max(int(a.size) // size, 1)
                for a in node.args
                if a in written
            ]
            written[node] = min(1 + sum(parts), limit + 1)
        if sum(written[y] * int(y.size) for y in ys if y in written) > limit:
            raise InputError(
                f"{self._what}: written out, without sharing what occurs often, the "
                f"expression has more than {limit} operations, and sympy would walk "
                f"through all. {self._remedy}."
            )

    def _check_meaning(self, node: Node) -> None:
        """Raise `InputError` if the value of a node does not tell its derivative.

        Of a value with a rule from outside, and of a solution by given factors, some
        argument is what it was computed from and not what it is differentiated by.
        """
        floats = [p for p, a in enumerate(node.args) if is_float(a.dtype)]
        if isinstance(node.op, Elementwise) or floats == differentiable_positions(node):
            return
        raise InputError(
            f"{self._what}: {node.label()}{made_at(node.origin)} has a derivative that "
            f"does not follow from how it is computed; sympy knows only the latter. "
            f"{self._remedy}."
        )

    def _named(self, node: Node) -> Any:
        """Return a symbol for each element of a node."""
        sp = self._sympy
        kinds = {"b": {}, "f": {"real": True}}.get(node.dtype.kind, {"integer": True})
        if not all(isinstance(s, int) for s in node.shape):
            raise ShapeError(
                f"{self._what}: {node.label()}{made_at(node.origin)} has a symbolic "
                "size; sympy needs every element. Declare the size as an integer. "
                f"{self._remedy}."
            )
        out = np.empty(node.shape, object)
        for index in np.ndindex(out.shape):
            symbol = sp.Dummy(node.name or "v", **kinds)
            self._given[symbol] = getitem(node, index) if index else node
            out[index] = symbol
        return out

    def written(self, node: Node) -> Any:
        """Return an array of sympy expressions."""
        try:
            return self._writer.write(node)
        except InputError as error:
            cause = str(error).removeprefix("to_sympy: ").split(" Leave it out")[0]
            raise InputError(f"{self._what}: {cause} {self._remedy}.") from None

    def slope(self, expr: Any, symbol: Any) -> Any:
        """Return sympy's derivative, made shorter where that is cheap."""
        try:
            return shorter(self._sympy, expr.diff(symbol))
        except RecursionError:
            raise InputError(
                f"{self._what}: the expression is too deep for sympy, which recurses. "
                f"{self._remedy}."
            ) from None

    def read(self, expr: Any, like: Node) -> Node:
        """Return the expression of a derivative."""
        return self._reader(like).expression(expr)

    def read_all(self, exprs: Sequence[Any], like: Node) -> list[Node]:
        """Return the expressions of derivatives."""
        reader = self._reader(like)
        return [reader.expression(e) for e in exprs]

    def _reader(self, like: Node) -> Reader:
        return Reader(Given(self._given), like.dtype, derivative=True)


def _known(node: Node) -> bool:
    """Tell whether sympy needs no symbol for a node: it is a number, or numbers."""
    return not node.args and node.op is not input_ and isinstance(node.size, int)


def shorter(sp: Any, expr: Any) -> Any:
    """Return an expression with common factors taken out, if that makes it shorter."""
    count = sp.count_ops(expr)
    if count > _LARGE or expr.has(sp.Piecewise):
        return expr
    other = sp.factor_terms(expr)
    return other if sp.count_ops(other) < count else expr


def symbolic_blocks(
    ys: Sequence[Node], xs: Sequence[Node], what: str = "jacobian"
) -> list[list[Node]]:
    """Return the derivative of each of `ys` (rows) by each of `xs` (columns).

    As `jacobians.blocks`: a block has the shape ``y.shape + x.shape`` and the dtype
    of `x`.
    """
    part = SymbolicPart(ys, xs, what)
    return [[_block(part, y, x) for x in xs] for y in ys]


def _block(part: SymbolicPart, y: Node, x: Node) -> Node:
    exprs = list(part.written(y).flat)
    symbols = list(part.symbols[x].flat)
    return _stacked(
        part, [part.slope(e, s) for e in exprs for s in symbols], y, x, y.shape
    )


def _stacked(
    part: SymbolicPart, slopes: Sequence[Any], y: Node, x: Node, shape: Any
) -> Node:
    shape = (*shape, *x.shape)
    if all(s == 0 for s in slopes):
        return full(shape, 0, x.dtype)
    nodes = part.read_all(slopes, y)
    if not shape:
        return cast(nodes[0], x.dtype)
    return cast(reshape(stack([cast(n, y.dtype) for n in nodes]), shape), x.dtype)


def symbolic_hessian(y: Node, xs: Sequence[Node]) -> list[list[Node]]:
    """Return the blocks of the Hessian of a scalar; each pair is derived once."""
    part = SymbolicPart([y], xs, "hessian")
    expr = part.written(y)[()]
    symbols = [s for x in xs for s in part.symbols[x].flat]
    place = {s: i for i, s in enumerate(symbols)}
    first = [part.slope(expr, s) for s in symbols]
    second: dict[tuple[int, int], Any] = {}
    for i, slope in enumerate(first):
        for j in range(i, len(symbols)):
            second[i, j] = second[j, i] = part.slope(slope, symbols[j])
    return [
        [
            _stacked(
                part,
                [
                    second[place[r], place[c]]
                    for r in part.symbols[row].flat
                    for c in part.symbols[column].flat
                ],
                y,
                column,
                row.shape,
            )
            for column in xs
        ]
        for row in xs
    ]


# ------------------------------------------------------------------------ cost


class SymbolicCost(NamedTuple):
    """Scalar operations of two ways to the same derivatives, and of the results.

    Attributes
    ----------
    symbolic : int
        Of the expressions and their derivatives by sympy, common parts counted once.
    reverse : int
        Of the expressions and their derivatives in reverse mode.
    """

    symbolic: int
    reverse: int


def symbolic_cost(y: Any, x: Any) -> SymbolicCost | None:
    """Count the operations of a derivative by sympy and of that by reverse mode.

    Parameters
    ----------
    y : expression or nested containers of them
    x : expression or nested containers of them

    Returns
    -------
    SymbolicCost or None
        None where sympy cannot be asked: past `symbolic_limit`, for symbolic sizes,
        and for ops it has no word for. An exponential or the like counts as 10.
    """
    from graphc.derivatives.jacobians import blocks

    ys, _ = read_result(y, "jacobian")
    xs, _ = read_wrt(x)
    try:
        symbolic = symbolic_blocks(ys, xs)
    except (InputError, ShapeError):
        return None
    if all(not y.ndim for y in ys):
        reverse = [pull_back([y], ones([y]), xs, "zero") for y in ys]
    else:
        reverse = blocks(ys, xs, "reverse")
    return SymbolicCost(
        operations([*ys, *(n for row in symbolic for n in row)]),
        operations([*ys, *(n for row in reverse for n in row)]),
    )


def operations(outputs: Sequence[Node]) -> int:
    """Return the scalar operations of expressions, common parts counted once."""
    total: SizeLike = 0
    for node in topological_order(outputs):
        total = total + node.op.flops(node)
        total = total + node.op.transcendentals(node) * TRANSCENDENTAL
    return int(sizes.evaluate(total, lambda d: NOMINAL_SIZE))
