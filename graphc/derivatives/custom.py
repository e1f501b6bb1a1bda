"""`custom_derivative`: a function with its own rule, in the manner of JAX."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from graphc.derivatives.batching import substitute
from graphc.derivatives.call_rule import CallRule, Static, kind_text
from graphc.derivatives.check import GradientReport, check_grad
from graphc.derivatives.rules import pack, unpack
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
from graphc.ops.leaf import input_, new_input
from graphc.types.dtypes import is_float
from graphc.types.errors import (
    InputError,
    NotDifferentiableError,
    made_at,
)

Function = Callable[..., Any]


class CustomDerivative(Transform):
    """A function with its own derivative; made by `custom_derivative`."""

    def __init__(self, fun: Function, jvp: Any = None, vjp: Any = None):
        super().__init__(self._expressions, fun)
        self.fun = fun
        self.jvp: Function | None = None
        self.fwd: Function | None = None
        self.bwd: Function | None = None
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
        self.jvp = _callable(rule, "defjvp", self)
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
        self.fwd, self.bwd = (rules[0] if len(rules) == 2 else None), rules[-1]
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
            None if isinstance(g, Node) else Static(type(g), g) for g in given
        )
        rule = CallRule(self, structure, statics, shape, tuple(y.type for y in values))
        value = pack([values[i] for i in floats])
        packed = custom_(*places.values(), value, params=(rule,))
        for i, y in zip(floats, unpack(packed, [values[i].type for i in floats])):
            values[i] = y
        return shape.unflatten(values)

    def __reduce__(self) -> Any:
        module, name = (
            getattr(self, "__module__", ""),
            str(getattr(self, "__qualname__", "")),
        )
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


# ----------------------------------------------------------------------- details


def _callable(rule: Any, what: str, function: CustomDerivative) -> Function:
    if not is_function(rule):
        raise InputError(
            f"{function}: {what} takes functions, not {kind_text(rule)}: the rule that "
            "builds the derivative's expression."
        )
    return rule


def _as_argument(leaf: Any) -> Any:
    """Return an array as an expression; Python's numbers and others as they are."""
    if isinstance(leaf, Node) or not hasattr(leaf, "__array__"):
        return leaf
    return leaf if isinstance(leaf, type) else as_node(leaf)


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
