"""NumPy's protocols: ``np.sin(x)``, ``np.sum(x)``, ``array * x`` give expressions.

NumPy asks an operand first (NEP 13 for ufuncs, NEP 18 for other functions). The
graphc function is found by the name of NumPy's; `RENAMED` has those that differ.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.expressions import joining, linalg
from graphc.expressions.functions import FUNCTIONS
from graphc.expressions.operands import as_expression, is_operand
from graphc.graph.node import Node
from graphc.types.errors import TracingError

RENAMED: dict[str, str] = {
    "expit": "sigmoid",
    "psi": "digamma",
}
"""Ufuncs, of SciPy also, whose graphc function has another name."""

REDUCTIONS = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "max",
    "minimum": "min",
    "logical_and": "all",
    "logical_or": "any",
}
ACCUMULATIONS = {"add": "cumsum", "multiply": "cumprod"}

_DEFAULTS = {
    "casting": "same_kind",
    "order": "K",
    "subok": True,
    "where": True,
    "dtype": None,
    "signature": None,
    "initial": None,
    "keepdims": False,
}


def array_ufunc(
    ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Return a ufunc of NumPy or SciPy applied to operands of which one is a Node.

    Raises
    ------
    TracingError
        If there is no such function on expressions, or an argument cannot be met.
    """
    what = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    outputs = kwargs.get("out", ())
    if any(o is not None for o in outputs):
        raise TracingError(
            f"{what}: the result is an expression and cannot be stored in an array. "
            "Leave out= away; write a = a + x for a += x."
        )
    if not all(is_operand(x) for x in inputs):
        return NotImplemented
    given = {k: v for k, v in kwargs.items() if not _is_default(k, v)}
    if method == "__call__":
        return _call(what, ufunc, inputs, given)
    if method == "reduce" and ufunc.__name__ in REDUCTIONS:
        axis = given.pop("axis", inputs[1] if len(inputs) > 1 else 0)
        function = FUNCTIONS[REDUCTIONS[ufunc.__name__]]
        return _with_known(what, function, (inputs[0], axis), given)
    if method == "accumulate" and ufunc.__name__ in ACCUMULATIONS:
        axis = given.pop("axis", inputs[1] if len(inputs) > 1 else 0)
        function = FUNCTIONS[ACCUMULATIONS[ufunc.__name__]]
        return _with_known(what, function, (inputs[0], axis), given)
    if method == "outer" and ufunc.nin == 2:
        x, y = (as_expression(v) for v in inputs)
        x = FUNCTIONS["reshape"](x, (*x.shape, *(1,) * y.ndim))
        return _call(what, ufunc, (x, y), given)
    if method == "at":
        raise TracingError(
            f"{what}: expressions are immutable. x.at[index].add(value) and "
            ".set(value) give changed copies."
        )
    raise TracingError(f"{what} has no counterpart for expressions.")


def _call(
    what: str, ufunc: np.ufunc, inputs: Sequence[Any], given: dict[str, Any]
) -> Any:
    name = RENAMED.get(ufunc.__name__, ufunc.__name__)
    function = FUNCTIONS.get(name)
    if function is None:
        raise _unavailable(what, name)
    dtype = given.pop("dtype", None)
    if dtype is not None:
        inputs = [as_expression(x, dtype) for x in inputs]
    return _with_known(what, function, inputs, given)


def _is_default(key: str, value: Any) -> bool:
    if key == "out":
        return True
    default = _DEFAULTS.get(key, inspect.Parameter.empty)
    return value is default or (isinstance(default, str) and value == default)


def _unsupported(what: str, given: Mapping[str, Any]) -> TracingError:
    hint = " Use where(condition, x, y)." if "where" in given else ""
    return TracingError(
        f"{what}: the argument {', '.join(given)} is not supported for expressions."
        + hint
    )


def _unavailable(what: str, name: str) -> TracingError:
    near = difflib.get_close_matches(name, FUNCTIONS, n=3)
    hint = f" There are {', '.join(near)}." if near else ""
    return TracingError(
        f"{what} has no counterpart for expressions.{hint} Run the expression first: "
        "evaluate(expression, {input: array})."
    )


# -------------------------------------------------------------- other functions


def _shape_of(x: Any) -> Any:
    return as_expression(x).shape


def _size_of(x: Any, axis: int | None = None) -> Any:
    node = as_expression(x)
    return node.size if axis is None else node.shape[axis]


def _where(condition: Any, *choices: Any) -> Node:
    if not choices:
        raise TracingError(
            "np.where(condition) gives as many elements as the condition holds for, "
            "which is not known while the graph is built. Use where(condition, x, y)."
        )
    return FUNCTIONS["where"](condition, *choices)


BY_NAME: dict[str, Callable[..., Any]] = {
    **{n: f for n, f in FUNCTIONS.items() if callable(f)},
    "around": FUNCTIONS["round"],
    "common_type": FUNCTIONS["result_type"],
    "diff": joining.differences,
    "iscomplexobj": lambda x: False,
    "isrealobj": lambda x: True,
    "ndim": lambda x: as_expression(x).ndim,
    "size": _size_of,
    "where": _where,
    **{f"linalg.{n}": getattr(linalg, n) for n in linalg.__all__},
}
"""The function on expressions for each of NumPy's, ``linalg.`` before its own."""


def array_function(
    function: Callable[..., Any],
    types: Sequence[type],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """Return a NumPy function applied to arguments of which one is a Node.

    NotImplemented if another library's arrays are among the arguments.

    Raises
    ------
    TracingError
        If there is no such function on expressions, or an argument cannot be met.
    """
    if not all(issubclass(t, (Node, np.ndarray)) for t in types):
        return NotImplemented
    module = (function.__module__ or "numpy").removeprefix("numpy").lstrip(".")
    name = f"{module}.{function.__name__}" if module else function.__name__
    what = f"np.{name}"
    counterpart = BY_NAME.get(name)
    if counterpart is None:
        raise _unavailable(what, function.__name__)
    args, given = _arguments(function, counterpart, args, kwargs)
    return _with_known(what, counterpart, args, given)


_ARGUMENTS = {"a_min": "min", "a_max": "max"}
"""Keywords of NumPy that have another name here."""


def _arguments(
    function: Callable[..., Any],
    counterpart: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments without NumPy's defaults, operands by position."""
    args, given = list(args), dict(kwargs)
    try:
        theirs = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return args, given
    ours = inspect.signature(counterpart).parameters.values()
    operands = sum(p.kind is inspect.Parameter.POSITIONAL_ONLY for p in ours)
    for name in list(theirs)[len(args) : operands]:
        if name not in given:
            break
        args.append(given.pop(name))
    given = {
        _ARGUMENTS.get(key, key): value
        for key, value in given.items()
        if value is not getattr(theirs.get(key), "default", inspect.Parameter.empty)
    }
    return args, given


def _with_known(
    what: str,
    function: Callable[..., Any],
    args: Sequence[Any],
    given: dict[str, Any],
) -> Any:
    """Call a function, the arguments it does not have making an error."""
    try:
        inspect.signature(function).bind(*args, **given)
    except TypeError:
        parameters = inspect.signature(function).parameters
        unknown = {k: v for k, v in given.items() if k not in parameters}
        if unknown:
            raise _unsupported(what, unknown) from None
        raise TracingError(
            f"{what}: the arguments do not fit {function.__name__}"
            f"{inspect.signature(function)} of graphc."
        ) from None
    return function(*args, **given)
