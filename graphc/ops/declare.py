"""What an op declares: the families and the rules each of them asks for.

An op is a value that carries all its rules, so that no pass, derivative or
backend knows any op by name:

- its type (`infer`), its NumPy meaning (`numpy`),
- its derivative: partials (`Elementwise`), a transpose (`Linear`), or explicit
  jvp and vjp (`General`),
- its lowering: one of few kinds (`Elementwise.scalar`, `Move.read`,
  `Reduce.combine`, ...), written against the abstract `Scalars`,
- its batching rule, where the family does not imply it, and its cost.

A declaration that lacks a field fails when this package is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, NamedTuple

import numpy as np

from graphc.graph.node import Node, make_node
from graphc.ops.dependence import (
    Dependence,
    Grouped,
    Known,
    SizeOf,
    everything,
    groups,
    shape_of,
)
from graphc.ops.messages import call_text, operand_text, operand_word, shape_error
from graphc.ops.scalars import Index, Scalars, Value
from graphc.types.errors import internal_assert
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import TensorType, broadcast_shapes, shape_text

REGISTRY: dict[str, Op] = {}


class Op:
    """Base of all families.

    Attributes
    ----------
    name : str
        Unique; the NumPy name where there is one.
    param_names : tuple of str
        Names of the entries of `Node.params`, for text and pictures.
    built_in : bool
        Whether the op is graphc's own, so that its name tells what it is.
    """

    name: str
    param_names: tuple[str, ...] = ()
    built_in: bool = True
    is_constant: ClassVar[bool] = False
    blocks_derivatives: bool = False  # what carries none was meant to carry none
    analytic: bool = False  # `numpy` is an analytic function, of complex arrays too

    def __init__(self, name: str):
        internal_assert(name not in REGISTRY, f"op {name} is declared twice")
        self.name = name
        REGISTRY[name] = self

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> Any:
        return (_registered, (self.name,))

    def __call__(self, *args: Node, params: tuple = ()) -> Node:
        """Return the node of this op on `args`, its type inferred and checked."""
        return make_node(self, args, params, self.infer(args, params))

    def rebuild(self, node: Node, args: tuple[Node, ...]) -> Node:
        """Return `node` on other arguments of the same types."""
        return self(*args, params=node.params)

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        """Return the result's type, or raise the user's mistake."""
        raise NotImplementedError

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        """Return the result for arrays; `size` gives the integer of a size."""
        raise NotImplementedError

    def check(self, node: Node, size: SizeOf) -> None:
        """Raise the user's error if sizes, now known, break a rule of the op.

        `infer` checks what formulas of sizes tell; this checks the rest when the
        function is called. Ops without symbolic sizes pass by construction.
        """

    def requirements(self, node: Node) -> Sequence[SizeLike]:
        """Return sizes that must not be positive, or else `check` raises.

        They let compiled code tell that all is well without asking `check`.
        """
        return ()

    def differentiable(self, node: Node) -> Sequence[int]:
        """Return the positions of the arguments that may carry a derivative."""
        return range(len(node.args))

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        """Return the tangent of the result; None is a tangent of zero."""
        raise NotImplementedError

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        """Return a cotangent for each argument that is `wanted`, None for zero."""
        raise NotImplementedError

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        """Return the op mapped over a new leading axis of the `batched` arguments."""
        raise NotImplementedError

    def pattern(self, node: Node, known: Known, size: SizeOf) -> Sequence[Dependence]:
        """Return on which elements of the arguments the result's elements depend.

        A superset, for all values: of the arguments that carry a derivative. What is
        said of others is not looked at. Here: everything on everything.

        Parameters
        ----------
        node : Node
        known : callable
            Gives the value of a node that depends on no input, None for others.
        size : callable
            Gives the integer of a size.
        """
        return [everything(node, p, size) for p in range(len(node.args))]

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        """Return "positive", "nonnegative" or "": what is sure of every element.

        In exact arithmetic: that a positive number may underflow to zero, or an
        integer wrap around, does not count; nor does NaN.
        """
        return ""

    def flops(self, node: Node) -> SizeLike:
        """Return the arithmetic operations of one evaluation; see `ops.counting`."""
        return 0

    def transcendentals(self, node: Node) -> SizeLike:
        """Return the calls of exp, sin and the like of one evaluation."""
        return 0

    def param_texts(self, params: tuple) -> list[str]:
        """Return the parameters as text, for dumps and pictures."""
        return [
            f"{n}={shape_text(p) if isinstance(p, tuple) else p}"
            for n, p in zip(self.param_names, params)
        ]

    def written(self, node: Node, words: Sequence[str | None]) -> str:
        """Return how a user would write a node, on words for its arguments.

        A word is a name or a short value; None for an argument that has neither.
        """
        said = [t for t in self.param_texts(node.params) if not t.endswith("=False")]
        return call_text(self.name, words, said)


def weakest(signs: Sequence[str]) -> str:
    """Return what is sure of a choice among values of these signs."""
    if not signs or "" in signs:
        return ""
    return "nonnegative" if "nonnegative" in signs else "positive"


def _registered(name: str) -> Op:
    """Return the op of that name; a process that unpickles may not have it yet."""
    if name not in REGISTRY:
        import graphc.ops

        for module in iter_modules(graphc.ops.__path__):
            import_module(f"graphc.ops.{module.name}")
    return REGISTRY[name]


# ----------------------------------------------------------------- elementwise


class Select(NamedTuple):
    """A partial derivative by cases: where a condition holds, and elsewhere.

    A case of 0 contributes exactly zero, whatever the cotangent is; that is how
    masks (`where`, `maximum`, `clip`) stay free of ``0 * inf``.
    """

    condition: Node
    yes: Any
    no: Any


Partial = Callable[..., Any]
SignRule = Callable[..., str]
Signature = Callable[[str, Sequence[np.dtype]], tuple[tuple[np.dtype, ...], np.dtype]]
Guard = Callable[..., "list[tuple[Node, str]]"]


class Elementwise(Op):
    """An op on corresponding elements, with broadcasting.

    Parameters
    ----------
    name : str
    arity : int
    numpy : callable
        The NumPy meaning, on arrays of the operand dtypes.
    scalar : str or callable
        The lowering: an instruction's name, or ``(k, *values) -> value`` over
        `Scalars`.
    signature : callable
        Operand dtypes and result dtype, from the arguments' dtypes; raises a
        `DTypeError` of rule and remedy for dtypes the op does not take.
    partials : sequence of callable or None
        One for each argument, ``(*args, out) -> Factor``: the partial derivative, a
        node, a number, or a `Select` of two of these. None in a place: it is zero
        wherever it exists. None altogether: the result carries no derivative.
    poles : callable, optional
        ``(*args) -> [(node, condition)]``: the partials are finite as long as
        each node meets its condition, "positive" or "nonzero". Where graphc
        cannot prove it, derivatives use products with an absolute zero.
    sympy : str or callable, optional
        The sympy function, by name or as ``(sympy, *symbols) -> expression``.
    sign : callable, optional
        ``(args, signs) -> sign``: what the arguments' signs tell of the result's; a
        sign is "positive", "nonnegative" or "".
    cost : int
        What an element costs in additions, roughly, where its calls of functions are
        left out: what fusion goes by. Exact counts come from the lowering.
    transcendental : int
        Calls of exp, log, sin and the like for each element, as fusion takes them.
    analytic : bool, optional
        `numpy` is an analytic function, of complex arrays too. By default what is
        one of NumPy's ufuncs, those that are not analytic refusing complex arrays.
    param_names : tuple of str
        Names of the parameters. An op with parameters, such as the order of
        `polygamma`, gets them before the operands in `numpy`, `scalar` (after `k`),
        `poles`, `sympy` (after the module) and `sign`; partials read ``out.params``.
    notation : str, optional
        How it is written where that is no call, such as ``"{} + {}"``; the names of
        parameters stand for their values.

    Attributes
    ----------
    instruction : str or None
        The one instruction it is lowered to, if that is all.
    """

    def __init__(
        self,
        name: str,
        arity: int,
        *,
        numpy: Callable[..., Any],
        scalar: str | Callable[..., Value],
        signature: Signature,
        partials: Sequence[Partial | None] | None,
        poles: Guard | None = None,
        sympy: Any = None,
        sign: SignRule | None = None,
        cost: int = 1,
        transcendental: int = 0,
        analytic: bool | None = None,
        param_names: tuple[str, ...] = (),
        notation: str = "",
    ):
        super().__init__(name)
        internal_assert(
            partials is None or len(partials) == arity,
            f"op {name} declares {arity} arguments but other partials",
        )
        self.arity = arity
        self.param_names = param_names
        self.notation = notation
        self._numpy = numpy
        self._scalar = scalar
        self.instruction = scalar if isinstance(scalar, str) else None
        self.signature = signature
        self.partials = partials
        self.poles = poles
        self.sympy = sympy
        self.sign = sign
        self.cost = cost
        self.transcendental = transcendental
        self.analytic = isinstance(numpy, np.ufunc) if analytic is None else analytic

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        given = tuple([a.type.dtype for a in args])
        operands, result = self.signature(self.name, given)
        if given != operands:  # the text is costly: made only when it is needed
            internal_assert(
                False,
                f"{self.name} got operands that were not cast: {operand_text(args)}",
            )
        shape = broadcast_shapes([a.shape for a in args])
        if shape is None:
            raise shape_error(
                self.name,
                args,
                "shapes do not broadcast: each pair of sizes, counted from the last "
                "axis, must be equal or one of them the integer 1.",
                "Reshape, or add an axis with x[:, None].",
            )
        return TensorType(shape, result)

    def rebuild(self, node: Node, args: tuple[Node, ...]) -> Node:
        return make_node(self, args, node.params, node.type)

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return self._numpy(*node.params, *args)

    def scalar(self, k: Scalars, node: Node, *values: Value) -> Value:
        """Return the value of one element from those of the arguments."""
        if isinstance(self._scalar, str):
            return k(self._scalar, *values)
        return self._scalar(k, *node.params, *values)

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return self.sign(*node.params, node.args, signs) if self.sign else ""

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        from graphc.ops.move import align_batch

        return self(*align_batch(args, batched), params=node.params)

    def written(self, node: Node, words: Sequence[str | None]) -> str:
        bare_sign = len(self.notation) == 3 and words[0] is None  # "-·" reads badly
        if not self.notation or bare_sign:
            return super().written(node, words)
        named = dict(zip(self.param_names, node.params))
        return self.notation.format(*map(operand_word, words), **named)

    def pattern(self, node: Node, known: Known, size: SizeOf) -> Sequence[Dependence]:
        from graphc.ops.patterns import elementwise_pattern

        return elementwise_pattern(node, known, size)

    def flops(self, node: Node) -> SizeLike:
        from graphc.ops.counting import elementwise_operations

        return node.size * elementwise_operations(node).flops

    def transcendentals(self, node: Node) -> SizeLike:
        from graphc.ops.counting import elementwise_operations

        return node.size * elementwise_operations(node).transcendentals

    def sympy_of(self, node: Node, sp: Any, *symbols: Any) -> Any:
        """Return the sympy expression of a node on symbols; `sp` is the module.

        Raises
        ------
        NotImplementedError
            If the op declares none.
        """
        if self.sympy is None:
            raise NotImplementedError(f"{self.name} has no sympy expression")
        if isinstance(self.sympy, str):
            return getattr(sp, self.sympy)(*node.params, *symbols)
        return self.sympy(sp, *node.params, *symbols)


# ---------------------------------------------------------------------- linear


class Linear(Op):
    """An op linear in some arguments: only the transpose is declared.

    ``linear`` names the arguments; ``jointly`` says that it is linear in all of
    them together (concatenate), not in each for itself (matmul).
    """

    linear: tuple[int, ...] | None = None
    """Positions of the linear arguments; None for all."""
    jointly = True
    analytic = True

    def linear_positions(self, node: Node) -> tuple[int, ...]:
        """Return the positions of the arguments the result is linear in."""
        return tuple(range(len(node.args))) if self.linear is None else self.linear

    def differentiable(self, node: Node) -> Sequence[int]:
        return self.linear_positions(node)

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node | None:
        """Return the cotangent of one linear argument."""
        raise NotImplementedError

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Node | None:
        from graphc.ops.arithmetic import add
        from graphc.ops.leaf import zeros_like

        moved = [p for p in self.linear_positions(node) if tangents[p] is not None]
        if not moved:
            return None
        args = list(node.args)
        if self.jointly:
            for p in self.linear_positions(node):
                t = tangents[p]
                args[p] = zeros_like(node.args[p]) if t is None else t
            return self.rebuild(node, tuple(args))
        total: Node | None = None
        for p in moved:
            changed: list[Any] = list(node.args)
            changed[p] = tangents[p]
            term = self.rebuild(node, tuple(changed))
            total = term if total is None else add(total, term)
        return total

    def vjp(
        self, node: Node, cotangent: Node, wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        out: list[Node | None] = [None] * len(node.args)
        for p in self.linear_positions(node):
            if wanted[p]:
                out[p] = self.transpose(node, cotangent, p)
        return out


class Move(Linear):
    """A linear op without arithmetic: each element is read from some argument.

    Lowered by `read`, which other kernels absorb as index arithmetic.
    """

    waits_for: tuple[int, ...] = ()
    """Positions of arguments that are not read, but must be computed before."""

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return weakest(signs)

    def read(
        self, k: Scalars, node: Node, index: Index, arg: Callable[[int, Index], Value]
    ) -> Value:
        """Return the element at `index`; ``arg(p, index)`` reads argument `p`."""
        raise NotImplementedError

    def sources(
        self, node: Node, args: Sequence[np.ndarray], size: SizeOf
    ) -> np.ndarray:
        """Return the op on arrays of numbers, with -1 where it reads no argument."""
        return self.numpy(node, args, size)

    def pattern(self, node: Node, known: Known, size: SizeOf) -> Sequence[Dependence]:
        from graphc.ops.patterns import move_pattern

        return move_pattern(node, known, size)

    def unknown_pattern(self, node: Node, size: SizeOf) -> Sequence[Dependence]:
        """Return the `pattern` where the values of index arguments are not known."""
        return [everything(node, p, size) for p in self.linear_positions(node)]


class Reduce(Op):
    """A reduction over axes (``params[0]``), the others kept.

    Attributes
    ----------
    identity : callable
        ``dtype -> number`` that a reduction starts with.
    instruction : str
        The instruction that combines two values; associative.
    """

    param_names = ("axes",)
    instruction: str

    def identity(self, dtype: np.dtype) -> Any:
        """Return the value of a reduction of nothing."""
        raise NotImplementedError

    def kept(self, node: Node) -> tuple[int, ...]:
        """Return the axes of the argument that remain."""
        axes = node.params[0]
        return tuple(a for a in range(node.args[0].ndim) if a not in axes)

    def pattern(self, node: Node, known: Known, size: SizeOf) -> Sequence[Dependence]:
        group = groups(shape_of(node.args[0], size), self.kept(node))
        return [Grouped((0,), group, size(node.size), None)]

    def flops(self, node: Node) -> SizeLike:
        return node.args[0].size


class General(Op):
    """An op with explicit jvp and vjp, lowered by a kernel kind of its own."""
