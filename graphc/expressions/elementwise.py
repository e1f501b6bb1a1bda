"""A function for every elementwise op, generated from the registry.

Declaring an op makes its function: the signature follows from the arity, the
formula in the docstring from the op's own sympy rule. Names that NumPy and the
array API have besides are in `ALIASES`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import graphc.ops as ops
from graphc.expressions.formula import formula
from graphc.expressions.operands import WEAK, as_expression, static_integer
from graphc.graph.node import Node
from graphc.ops.arithmetic import apply
from graphc.ops.declare import REGISTRY, Elementwise
from graphc.ops.leaf import constant
from graphc.types.sizes import Size

ALIASES = {
    "absolute": "abs",
    "acos": "arccos",
    "acosh": "arccosh",
    "asin": "arcsin",
    "asinh": "arcsinh",
    "atan": "arctan",
    "atan2": "arctan2",
    "atanh": "arctanh",
    "invert": "bitwise_invert",
    "bitwise_not": "bitwise_invert",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
    "mod": "remainder",
    "pow": "power",
    "true_divide": "divide",
}

PRIVATE = {"cast", "absolute_zero_multiply", "integer_power"}
"""Ops that stand for something else: `astype`, derivatives' own product, `power`."""

_OPERANDS = ("x", "y", "z")


def elementwise_function(op: Elementwise) -> Callable[..., Node]:
    """Return the function a user calls for an elementwise op.

    It takes the op's parameters, if it has any, and then the operands.
    """
    names = (*op.param_names, *_operand_names(op))
    count = len(op.param_names)

    def function(*operands: Any) -> Node:
        if len(operands) != len(names):
            raise TypeError(
                f"{op.name}({', '.join(names)}) takes {len(names)} positional "
                f"arguments, but {len(operands)} were given"
            )
        return call_op(op, operands[:count], operands[count:])

    function.__name__ = function.__qualname__ = op.name
    function.__module__ = "graphc"
    function.__doc__ = _docstring(op, names)
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in names]
    )
    return function


def _operand_names(op: Elementwise) -> tuple[str, ...]:
    """Return the operands' names, those of the op's sympy rule if it is a function."""
    if inspect.isfunction(op.sympy):
        return tuple(inspect.signature(op.sympy).parameters)[1 + len(op.param_names) :]
    return _OPERANDS[: op.arity]


def call_op(op: Elementwise, params: tuple, operands: tuple) -> Node:
    """Return an op on what users give: expressions, arrays, numbers, sizes."""
    if params:
        params = tuple(
            static_integer(p, f"{op.name}: {name}")
            for p, name in zip(params, op.param_names)
        )
    only_numbers = True
    values = []
    for x in operands:
        if type(x) not in WEAK:
            only_numbers = False
            if not isinstance(x, (Node, Size)):
                x = as_expression(x, what=op.name)
        values.append(x)
    node = apply(op, *values, params=params)
    return _folded(node) if only_numbers else node


def _folded(node: Node) -> Node:
    """Return the constant of an op on constants: Python's numbers stay numbers."""
    arrays = [a.params[0].array for a in node.args]
    with np.errstate(all="ignore"):
        return constant(node.op.numpy(node, arrays, int), node.dtype)


def _docstring(op: Elementwise, names: tuple[str, ...]) -> str:
    operands = ", ".join(names)
    derivative = (
        "Its derivative is zero wherever it exists; `grad` stops here."
        if op.partials is None
        else "Differentiable in "
        + ", ".join(n for n, p in zip(names[-op.arity :], op.partials) if p is not None)
        + "."
    )
    return (
        f"Return {formula(op, names)}, element by element.\n\n"
        "Parameters\n----------\n"
        f"{operands} : expression, array or number\n"
        "    Broadcast against each other; dtypes are promoted as in NumPy, Python's\n"
        "    numbers being weak.\n\n"
        "Returns\n-------\nexpression\n\n"
        "Raises\n------\n"
        "ShapeError\n    If the shapes do not broadcast.\n"
        "DTypeError\n    If an operand is no array of numbers, or of a kind of dtype\n"
        "    that the function does not have.\n\n"
        f"Notes\n-----\n{derivative}\n"
    )


# Importing a module of ops registers what it declares.
for _module in pkgutil.iter_modules(ops.__path__, "graphc.ops."):
    importlib.import_module(_module.name)

FUNCTIONS: dict[str, Callable[..., Node]] = {
    name: elementwise_function(op)
    for name, op in REGISTRY.items()
    if isinstance(op, Elementwise) and name not in PRIVATE
}
FUNCTIONS.update({a: FUNCTIONS[n] for a, n in ALIASES.items() if n in FUNCTIONS})
globals().update(FUNCTIONS)

__all__ = list(FUNCTIONS)


if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable[..., Node]: ...
