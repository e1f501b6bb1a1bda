"""`implicit`: derivatives of what solves an equation, however it was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.derivatives.batching import substitute
from graphc.derivatives.custom import require_closed
from graphc.derivatives.forward import push_forward
from graphc.derivatives.jacobians import blocks
from graphc.derivatives.reverse import pull_back
from graphc.derivatives.rules import MappedRule, pack, unpack
from graphc.derivatives.transforms import is_function, read_outputs
from graphc.expressions.containers import flatten, flatten_expressions
from graphc.expressions.factorizations import solve
from graphc.graph.node import Node
from graphc.ops.arithmetic import as_node, divide, negative, subtract
from graphc.ops.custom import custom_
from graphc.ops.leaf import new_input
from graphc.ops.move import permute, reshape
from graphc.types import sizes
from graphc.types.dtypes import is_float
from graphc.types.errors import ConfigError, DTypeError, InputError, ShapeError, made_at
from graphc.types.tensor_type import shape_text

KINDS = ("root", "fixed_point")


def implicit(
    fun: Callable[..., Any],
    solution: Any,
    *args: Any,
    kind: str = "root",
    steps: int = 0,
) -> Any:
    """Return a solution of an equation with the derivative that the equation implies.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)``, which is 0 at the solution, of the structure and shapes of
        x; or with ``kind="fixed_point"`` equal to x there. All it depends on must be
        among its arguments. For an optimum give the gradient, such as
        ``graphc.grad(loss)``.
    solution : expression, array, or nested containers of them
        x, from any solver: an input that is given the solution in each call, or an
        expression that computes it. With `steps` where to start from. Its own
        derivative is not used.
    *args : expressions, arrays, and nested containers of them
        What the solution depends on, and derivatives go to.
    kind : {"root", "fixed_point"}
    steps : int
        Iterations to run from `solution`, unrolled: Newton's for a root,
        ``x = fun(x, *args)`` for a fixed point. 0 takes it as it is.

    Returns
    -------
    nested containers of expressions
        The solution, of the structure and dtypes of `solution`. It is not checked to
        be one: elsewhere the derivative is that of one Newton step.

    Raises
    ------
    ConfigError
        For an unknown `kind`, or `steps` that are no count.
    InputError
        If `fun` uses an input that is not among its arguments, or gives another
        structure than it should.
    ShapeError, DTypeError
        If it gives other shapes, or `solution` is not of a floating-point dtype.

    Notes
    -----
    By the implicit function theorem F(x(p), p) = 0 gives dx = -(dF/dx)^-1 dF/dp dp,
    and in reverse mode one solution of the transposed system for all of `args`
    (A. Griewank and A. Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, ch. 15;
    B. Christianson, Optim. Methods Softw. 3, 1994; M. Blondel et al., NeurIPS 2022).
    dF/dx is formed as a matrix, of all elements of x by all, and must be regular.
    Higher derivatives follow from differentiating this.

    Examples
    --------
    >>> import graphc as cg
    >>> x, p = cg.scalar("x"), cg.scalar("p")
    >>> root = cg.implicit(lambda x, p: x * x - p, x, p)
    >>> float(cg.evaluate(cg.grad(root, p), {x: 3.0, p: 9.0}))  # 1 / (2 * 3)
    0.16666666666666666
    """
    _check(fun, kind, steps)
    start, x_structure = flatten_expressions(solution, "solution", as_node)
    for leaf in start:
        if not is_float(leaf.dtype):
            raise DTypeError(
                f"implicit: the solution {leaf.label()}{made_at(leaf.origin)} is not "
                "of a floating-point dtype and has no derivative. Convert it with "
                "astype."
            )
    if not start:
        raise InputError("implicit: the solution holds no expression.")
    leaves, structure = flatten(args)
    given = [as_node(a) for a in leaves]
    stand_ins = [new_input(a.name or "argument", a.type) for a in given]
    types = [s.type for s in start]
    value = pack(start)
    x = new_input("solution", value.type)
    name = getattr(fun, "__name__", "function")
    result = read_outputs(
        fun(x_structure.unflatten(unpack(x, types)), *structure.unflatten(stand_ins)),
        fun,
    )
    what = f"implicit, {name}"
    parts = x_structure.flatten_like(result, f"implicit: the result of {name}")
    for part, leaf in zip(parts, start):
        _check_like(what, part, leaf)
    image = pack(parts)
    require_closed(what, [image], {x, *stand_ins})
    residual = image if kind == "root" else subtract(x, image)
    rule = ImplicitRule(name, x, stand_ins, residual)
    for _ in range(steps):
        at = {x: value} | dict(zip(stand_ins, given))
        value = (
            rule.newton(value, given) if kind == "root" else substitute([image], at)[0]
        )
    if not any(is_float(a.dtype) for a in given):
        return x_structure.unflatten(unpack(value, types))
    packed = custom_(*given, value, params=(rule,))
    return x_structure.unflatten(unpack(packed, types))


class ImplicitRule:
    """The derivative of a solution of ``residual == 0``.

    Attributes
    ----------
    name : str
        Of the user's function.
    x : Node
        An input in place of the solution, one array.
    args : list of Node
        Inputs in place of what it depends on.
    residual : Node
        An expression of these, of the type of `x`.
    """

    def __init__(self, name: str, x: Node, args: Sequence[Node], residual: Node):
        self.name, self.x, self.args, self.residual = name, x, list(args), residual
        self._matrix: Node | None = None

    def __str__(self) -> str:
        return f"implicit, {self.name}"

    def mapped(self, batched: Sequence[bool]) -> MappedRule:
        """Return the rule over a leading axis."""
        return MappedRule(self, tuple(batched))

    def jvp(
        self, args: Sequence[Node], result: Node, tangents: Sequence[Node | None]
    ) -> Node | None:
        """Return ``-(dF/dx)^-1 dF/dp`` times the tangents."""
        moved = [p for p, t in enumerate(tangents) if t is not None]
        seeds: list[Any] = [tangents[p] for p in moved]
        wrt = [self.args[p] for p in moved]
        inner = [new_input("tangent", w.type) for w in wrt]
        (pushed,) = push_forward([self.residual], wrt, inner, "zero")
        matrix, right = self._at(
            args, result, [self.matrix, pushed], dict(zip(inner, seeds))
        )
        return negative(_solved(matrix, right))

    def vjp(
        self,
        args: Sequence[Node],
        result: Node,
        cotangent: Node,
        wanted: Sequence[bool],
    ) -> list[Node | None]:
        """Return ``-(dF/dp)^T (dF/dx)^-T`` times the cotangent."""
        out: list[Node | None] = [None] * len(args)
        places = [p for p, w in enumerate(wanted) if w]
        wrt = [self.args[p] for p in places]
        seed = new_input("cotangent", self.residual.type)
        pulled = pull_back([self.residual], [seed], wrt, "zero")
        (matrix,) = self._at(args, result, [self.matrix], {})
        weights = negative(_solved(permute(matrix, (1, 0)), cotangent))
        for p, value in zip(places, self._at(args, result, pulled, {seed: weights})):
            out[p] = value
        return out

    def newton(self, x: Node, args: Sequence[Node]) -> Node:
        """Return `x` after a step of Newton's method."""
        matrix, residual = self._at(args, x, [self.matrix, self.residual], {})
        return subtract(x, _solved(matrix, residual))

    @property
    def matrix(self) -> Node:
        """dF/dx, a matrix."""
        if self._matrix is None:
            ((block,),) = blocks([self.residual], [self.x], "auto")
            size = self.x.size
            self._matrix = reshape(block, (size, size))
        return self._matrix

    def _at(
        self,
        args: Sequence[Node],
        x: Node,
        nodes: Sequence[Node],
        more: dict[Node, Node],
    ) -> list[Node]:
        return substitute(nodes, {self.x: x} | dict(zip(self.args, args)) | more)


def _solved(matrix: Node, right: Node) -> Node:
    """Return the solution of ``matrix @ y == right``, of the shape of `right`."""
    size = right.size
    if size == 1:
        return divide(right, reshape(matrix, right.shape))
    return reshape(solve(matrix, reshape(right, (size,))), right.shape)


def _check(fun: Any, kind: str, steps: Any) -> None:
    if not is_function(fun):
        raise InputError(
            f"implicit: {fun!r:.60} of type {type(fun).__name__} is not a function. "
            "Give the function that is 0 at the solution: lambda x, p: ..."
        )
    if kind not in KINDS:
        raise ConfigError(f"implicit: kind={kind!r} is none of {', '.join(KINDS)}.")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ConfigError(f"implicit: steps={steps!r} is not a count of 0 or more.")


def _check_like(what: str, part: Node, leaf: Node) -> None:
    if part.dtype != leaf.dtype:
        raise DTypeError(
            f"{what}: it gives {part.label()}{made_at(part.origin)} for the solution "
            f"{leaf.label()}{made_at(leaf.origin)}; both must be of one dtype. Convert "
            "with astype."
        )
    if part.ndim != leaf.ndim or any(
        sizes.unify(a, b) is None for a, b in zip(part.shape, leaf.shape)
    ):
        raise ShapeError(
            f"{what}: it gives {part.label()}{made_at(part.origin)} for the solution "
            f"{leaf.label()}{made_at(leaf.origin)}; there must be as many equations as "
            f"unknowns, in the shape {shape_text(leaf.shape)}."
        )
