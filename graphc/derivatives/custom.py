"""`custom_derivative`: a function with its own rule, in the manner of JAX."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.derivatives.batching import substitute
from graphc.derivatives.check import GradientReport, check_grad
from graphc.derivatives.rules import (
    MappedRule,
    pack,
    transposed_jvp,
    transposed_vjp,
    unpack,
)
from graphc.derivatives.transforms import (
    Transform,
    argument_names,
    is_function,
    read_outputs,
)
from graphc.expressions.containers import Structure, flatten
from graphc.graph.graph import topological_order
from graphc.graph.node import Node
from graphc.ops.arithmetic import as_node
from graphc.ops.custom import custom_
from graphc.ops.leaf import constant, full, input_, new_input, zeros_like
from graphc.ops.move import broadcast_to
from graphc.types import dtypes, sizes
from graphc.types.dtypes import is_float
from graphc.types.errors import (
    DTypeError,
    GraphcError,
    InputError,
    NotDifferentiableError,
    ShapeError,
    made_at,
)
from graphc.types.tensor_type import TensorType, shape_text

Function = Callable[..., Any]


class CustomDerivative(Transform):
    """A function with its own derivative; made by `custom_derivative`."""

    def __init__(self, fun: Function, jvp: Any = None, vjp: Any = None):
        super().__init__(self._expressions, fun)
        self.fun = fun
        self._jvp: Function | None = None
        self._fwd: Function | None = None
        self._bwd: Function | None = None
        if jvp is not None:
            self.defjvp(jvp)
        if vjp is not None:
            self.defvjp(*(vjp if isinstance(vjp, (tuple, list)) else (vjp,)))

    @property
    def label(self) -> str:
        """The name of the function."""
        return str(getattr(self, "__name__", "function"))

    def __str__(self) -> str:
        return f"custom_derivative of {self.label}"

    def defjvp(self, rule: Function) -> Function:
        """Set the rule of forward mode; usable as a decorator.

        Parameters
        ----------
        rule : callable
            ``(primals, tangents) -> (result, tangent)``. Both arguments are tuples
            with an entry for each argument of the function, of its structure; the
            tangents of integers are zeros. The tangent returned must have the
            structure, shapes and dtypes of the result; None stands for zero.

        Returns
        -------
        callable
            `rule` itself.
        """
        self._jvp = _callable(rule, "defjvp", self)
        return rule

    def defvjp(self, *rules: Function) -> Function:
        """Set the rule of reverse mode; with one function usable as a decorator.

        Parameters
        ----------
        *rules : callable
            ``fwd, bwd`` as in JAX: ``fwd(*primals) -> (result, residuals)`` and
            ``bwd(residuals, cotangent) -> cotangents``; or ``bwd`` alone, whose
            residuals are then the pair ``(primals, result)``. The cotangents are a
            tuple with an entry for each argument, of its structure, shapes and
            dtypes; None stands for zero, as do entries for integers.

        Returns
        -------
        callable
            The last of `rules`.
        """
        if not 1 <= len(rules) <= 2:
            raise InputError(
                f"{self}: defvjp takes bwd(residuals, cotangent), or fwd(*primals) and "
                f"that; {len(rules)} functions were given."
            )
        for rule in rules:
            _callable(rule, "defvjp", self)
        self._fwd, self._bwd = (rules[0] if len(rules) == 2 else None), rules[-1]
        return rules[-1]

    def check(self, *args: Any, **options: Any) -> GradientReport:
        """Compare the rule with finite differences of the function at arguments.

        Parameters
        ----------
        *args : arrays, numbers, and nested containers of them
            Where the function is smooth.
        **options
            Those of `graphc.check_grad`.

        Raises
        ------
        GradientError
            If they disagree.
        """
        leaves, structure = flatten(args)
        names = argument_names(self, _call_structure(structure))
        inputs, at = list(leaves), {}
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, (int, float)) or hasattr(leaf, "__array__"):
                node = as_node(leaf)
                inputs[i] = new_input(names[i], node.type)
                at[inputs[i]] = node.params[0].array
        wrt = [x for x in inputs if isinstance(x, Node) and is_float(x.dtype)]
        result = self._expressions(*structure.unflatten(inputs))
        floats = [y for y in flatten(result)[0] if is_float(y.dtype)]
        return check_grad(floats, wrt, at, **options)

    def _expressions(self, *args: Any, **kwargs: Any) -> Any:
        """Return the result for expressions, as nodes that carry the rule."""
        args = _positional(self, args, kwargs)
        leaves, structure = flatten(args)
        names = argument_names(self, _call_structure(structure))
        given: list[Any] = [_as_argument(leaf) for leaf in leaves]
        places = {
            new_input(leaf.name or name, leaf.type): leaf
            for leaf, name in zip(given, names)
            if isinstance(leaf, Node)
        }
        stand_ins = iter(places)
        inner = [next(stand_ins) if isinstance(g, Node) else g for g in given]
        result = read_outputs(self.fun(*structure.unflatten(inner)), self)
        outputs, shape = flatten(result)
        require_closed(str(self), outputs, places)
        values = substitute(outputs, places)
        floats = [i for i, y in enumerate(values) if is_float(y.dtype)]
        active = any(is_float(a.dtype) for a in places.values())
        if not floats or not active:
            return shape.unflatten(values)
        statics = tuple(
            None if isinstance(g, Node) else _Static(type(g), g) for g in given
        )
        rule = CallRule(
            self, structure, statics, shape, tuple(y.type for y in values)
        )
        value = pack([values[i] for i in floats])
        packed = custom_(*places.values(), value, params=(rule,))
        for i, y in zip(floats, unpack(packed, [values[i].type for i in floats])):
            values[i] = y
        return shape.unflatten(values)

    def __reduce__(self) -> Any:
        module, name = getattr(self, "__module__", ""), self.__qualname__
        if _found(module, name) is self:
            return (_found, (module, name))
        return (_lost, (self.label,))


def custom_derivative(
    fun: Function | None = None, *, jvp: Any = None, vjp: Any = None
) -> Any:
    """Return a function with its own derivative; usable as a decorator.

    Parameters
    ----------
    fun : callable
        A function of expressions that gives expressions, each nested containers.
        All it depends on must be among its arguments. Arguments that are no arrays,
        and Python numbers, are static.
    jvp : callable, optional
        The rule of forward mode, ``(primals, tangents) -> (result, tangent)``; see
        `CustomDerivative.defjvp`.
    vjp : callable or pair of callables, optional
        The rule of reverse mode, ``bwd`` or ``(fwd, bwd)``; see
        `CustomDerivative.defvjp`.

    Returns
    -------
    CustomDerivative
        Called with expressions it gives expressions, with arrays arrays. The rules
        may also be set later, with its methods `defjvp` and `defvjp`, and compared
        with finite differences with its method `check`.

    Raises
    ------
    InputError
        If `fun` or a rule is no function. When called, if the function uses an input
        that is not among its arguments.
    ShapeError, DTypeError, InputError
        When differentiated, if a rule returns something of another structure, shape
        or dtype than it must.
    NotDifferentiableError
        When differentiated, if there is no rule; or if there is only one for the
        other mode and it is not linear, and so cannot be transposed.

    Notes
    -----
    One rule serves both modes: the other is its transpose. A rule builds ordinary
    expressions, which are differentiated in their turn; where it calls the function
    itself, by the rule again. The rule does not change how the function is computed:
    compiled code is that of `fun` written in its place.

    Examples
    --------
    >>> import graphc as cg
    >>> @cg.custom_derivative
    ... def log1pexp(x):
    ...     return cg.log(1 + cg.exp(x))
    >>> @log1pexp.defjvp
    ... def rule(primals, tangents):
    ...     (x,), (dx,) = primals, tangents
    ...     return log1pexp(x), dx * (1 - 1 / (1 + cg.exp(x)))
    >>> float(cg.grad(log1pexp)(100.0))
    1.0
    """
    if fun is None:
        return functools.partial(custom_derivative, jvp=jvp, vjp=vjp)
    if not is_function(fun):
        raise InputError(
            f"custom_derivative: {fun!r:.60} of type {type(fun).__name__} is not a "
            "function. Give the function that makes the expression."
        )
    return CustomDerivative(fun, jvp, vjp)


def require_closed(what: str, outputs: Sequence[Node], known: Any) -> None:
    """Raise `InputError` if expressions use an input that is none of `known`."""
    for node in topological_order(outputs):
        if node.op is input_ and node not in known:
            raise InputError(
                f"{what}: the function uses {node.label()}{made_at(node.origin)}, "
                "which is not among its arguments, so its derivative by that is not "
                "known. Pass it as an argument."
            )


# ------------------------------------------------------------------------- rules


@dataclass(frozen=True)
class _Static:
    """An argument that is no expression; equal to those of its type and value."""

    kind: type
    value: Any


@dataclass(frozen=True)
class CallRule:
    """The rule of one call: the function, and the structure of what it takes and gives.

    Attributes
    ----------
    function : CustomDerivative
    structure, result : Structure
        Of the tuple of arguments, and of the result.
    statics : tuple of _Static or None
        For each leaf of the arguments, None where it is an expression.
    types : tuple of TensorType
        Of the leaves of the result.
    """

    function: CustomDerivative
    structure: Structure
    statics: tuple
    result: Structure
    types: tuple[TensorType, ...]

    def __str__(self) -> str:
        return self.function.label

    def mapped(self, batched: Sequence[bool]) -> MappedRule:
        """Return the rule over a leading axis."""
        return MappedRule(self, tuple(batched))

    def jvp(
        self, args: Sequence[Node], result: Node, tangents: Sequence[Node | None]
    ) -> Node | None:
        """Return the tangent of the packed result."""
        rule = self.function._jvp
        if rule is None:
            self._require_rule()
            return transposed_vjp(self, args, result, tangents)
        given = iter(tangents)
        seeds = [
            _zero_tangent(a) if t is None else t
            for a, t in (
                (static.value, None) if static else (arg, next(given))
                for static, arg in zip(self.statics, self._leaves(args))
            )
        ]
        answer = rule(self._primals(args), self.structure.unflatten(seeds))
        _, tangent = self._pair(answer, "jvp", "(result, tangent)")
        read = self._like(tangent, self.result, self.types, "jvp", "the tangent")
        floats = [t for t, type in zip(read, self.types) if is_float(type.dtype)]
        return None if all(t is None for t in floats) else self._packed(floats)

    def vjp(
        self,
        args: Sequence[Node],
        result: Node,
        cotangent: Node,
        wanted: Sequence[bool],
    ) -> list[Node | None]:
        """Return the cotangents of the arguments, from that of the packed result."""
        bwd, fwd = self.function._bwd, self.function._fwd
        if bwd is None:
            self._require_rule()
            return transposed_jvp(self, args, result, cotangent, wanted)
        primals = self._primals(args)
        if fwd is None:
            residuals: Any = (primals, self._unpacked(result))
        else:
            answer = fwd(*primals)
            value, residuals = self._pair(answer, "vjp", "(result, residuals)", "fwd")
            self._like(value, self.result, self.types, "vjp", "fwd's result")
        answer = bwd(residuals, self._unpacked(cotangent))
        if not isinstance(answer, tuple) or len(answer) != len(self.structure.children):
            count = f" of {len(answer)}" if isinstance(answer, (tuple, list)) else ""
            raise InputError(
                f"{self.function}: its vjp rule must return a tuple of cotangents, one "
                f"for each of the {len(self.structure.children)} arguments, but "
                f"returned {_kind(answer)}{count}."
            )
        types = tuple(
            a.type if isinstance(a, Node) else None for a in self._leaves(args)
        )
        read = self._like(answer, self.structure, types, "vjp", "cotangents")
        dynamic = [c for c, static in zip(read, self.statics) if static is None]
        return [c if w else None for c, w in zip(dynamic, wanted)]

    def _require_rule(self) -> None:
        if self.function._jvp is None and self.function._bwd is None:
            raise NotDifferentiableError(
                f"{self.function}: it has no rule. Set one with defjvp or defvjp, or "
                "differentiate around it with stop_gradient."
            )

    def _leaves(self, args: Sequence[Node]) -> list[Any]:
        """Return the leaves of the arguments, static ones too."""
        nodes = iter(args)
        return [next(nodes) if s is None else s.value for s in self.statics]

    def _primals(self, args: Sequence[Node]) -> Any:
        return self.structure.unflatten(self._leaves(args))

    def _unpacked(self, packed: Node) -> Any:
        """Return the result's containers; zeros where it is not floating-point."""
        floats = [t for t in self.types if is_float(t.dtype)]
        parts = iter(unpack(packed, floats))
        leaves = [
            next(parts)
            if is_float(t.dtype)
            else full(t.shape, 0, dtypes.float32)
            for t in self.types
        ]
        return self.result.unflatten(leaves)

    def _packed(self, tangents: Sequence[Node | None]) -> Node:
        floats = [t for t in self.types if is_float(t.dtype)]
        return pack(
            [
                full(type.shape, 0, type.dtype) if t is None else t
                for t, type in zip(tangents, floats)
            ]
        )

    def _pair(self, answer: Any, rule: str, what: str, name: str = "") -> Any:
        if isinstance(answer, (tuple, list)) and len(answer) == 2:
            return answer
        raise InputError(
            f"{self.function}: {name or 'the function'} of its {rule} rule must return "
            f"the pair {what}, but returned {_kind(answer)}."
        )

    def _like(
        self, tree: Any, structure: Structure, types: Any, rule: str, what: str
    ) -> list[Node | None]:
        """Return the leaves of what a rule returned, checked; None for zero."""
        who = f"{self.function}: {what} of its {rule} rule"
        leaves: list[Any] = []
        _spread(tree, structure, who, leaves)
        return [_checked(x, t, who) for x, t in zip(leaves, types)]


def _spread(tree: Any, structure: Structure, who: str, leaves: list[Any]) -> None:
    """Append the leaves of a container; None stands for a whole part."""
    if tree is None:
        leaves += [None] * structure.count
    elif structure.kind is None:
        leaves.append(tree)
    else:
        level = Structure(
            structure.kind, structure.keys, (Structure(),) * len(structure.keys)
        )
        for part, child in zip(level.flatten_like(tree, who), structure.children):
            _spread(part, child, who, leaves)


def _checked(leaf: Any, type: TensorType | None, who: str) -> Node | None:
    """Return what a rule returned for a leaf, if it has the type it must have."""
    if leaf is None or type is None or not is_float(type.dtype):
        return None
    try:
        node = constant(leaf, type.dtype) if _is_number(leaf) else as_node(leaf)
    except (TypeError, ValueError) as error:
        if isinstance(error, GraphcError):
            raise
        node = None
    if node is None:
        raise InputError(f"{who} holds {_kind(leaf)}, which is no expression.")
    if node.dtype != type.dtype:
        raise DTypeError(
            f"{who} has {node.label()}{made_at(node.origin)} where dtype "
            f"{type.dtype.name} is needed. Convert it with "
            f"astype({type.dtype.name!r})."
        )
    if node.ndim != len(type.shape) or any(
        sizes.unify(a, b) is None for a, b in zip(node.shape, type.shape)
    ):
        raise ShapeError(
            f"{who} has {node.label()}{made_at(node.origin)} where the shape "
            f"{shape_text(type.shape)} is needed."
        )
    return node


# ----------------------------------------------------------------------- details


def _callable(rule: Any, what: str, function: CustomDerivative) -> Function:
    if not is_function(rule):
        raise InputError(
            f"{function}: {what} takes functions, not {_kind(rule)}: the rule that "
            "builds the derivative's expression."
        )
    return rule


def _kind(value: Any) -> str:
    if isinstance(value, Node):
        return value.label()
    return f"a value of type {type(value).__name__}"


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, (int, float)) and not isinstance(leaf, bool)


def _as_argument(leaf: Any) -> Any:
    """Return an array as an expression; Python's numbers and others as they are."""
    if isinstance(leaf, Node) or not hasattr(leaf, "__array__"):
        return leaf
    return leaf if isinstance(leaf, type) else as_node(leaf)


def _zero_tangent(leaf: Any) -> Any:
    if not isinstance(leaf, Node):
        return 0.0
    if is_float(leaf.dtype):
        return zeros_like(leaf)
    return broadcast_to(constant(0, dtypes.float32), leaf.shape)


def _call_structure(structure: Structure) -> Structure:
    """Return the structure of ``(args, {})``."""
    return Structure(tuple, (0, 1), (structure, Structure(dict)))


def _positional(function: CustomDerivative, args: tuple, kwargs: dict) -> tuple:
    """Return all arguments by position, defaults filled in."""
    try:
        bound = inspect.signature(function.fun).bind(*args, **kwargs)
    except ValueError:  # a builtin without a signature
        if not kwargs:
            return args
        raise InputError(f"{function}: give its arguments by position.") from None
    except TypeError as error:
        raise InputError(f"{function}: {error}.") from None
    bound.apply_defaults()
    if any(bound.kwargs.values()):
        raise InputError(
            f"{function}: {', '.join(bound.kwargs)} can only be given by name, but "
            "rules take arguments by position. Make it a positional parameter."
        )
    return bound.args


def _found(module: str, name: str) -> Any:
    """Return what is called that in a module, None if there is nothing."""
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError):
        return None
    return found


@functools.cache
def _lost(name: str) -> CustomDerivative:
    """Return what stands for a function that cannot be found after unpickling."""

    def lost(*args: Any) -> Any:
        raise NotDifferentiableError(
            f"custom_derivative of {name}: its rule was not pickled, for the function "
            "cannot be imported by its name. Define it at the top of a module."
        )

    lost.__name__ = lost.__qualname__ = name
    return CustomDerivative(lost, jvp=lost, vjp=lost)
