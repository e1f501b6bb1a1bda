"""Inputs, constants and names: where expressions begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.expressions.operands import as_expression
from graphc.graph.node import Node
from graphc.ops.leaf import new_input
from graphc.types import sizes
from graphc.types.dtypes import as_dtype
from graphc.types.errors import InputError, ShapeError, TracingError
from graphc.types.sizes import Size, SizeLike
from graphc.types.tensor_type import TensorType, as_size

__all__ = [
    "asarray",
    "constant",
    "dim",
    "matrix",
    "named",
    "scalar",
    "tensor",
    "vector",
]

SizeSpec = int | str | Size | None
"""A size: an integer, a formula such as "n" or "2*n + 1", or None for a fresh one."""


def scalar(name: str, dtype: Any = "float64") -> Node:
    """Return a new input without dimensions.

    Parameters
    ----------
    name : str
        Used in messages, pictures, and as keyword when a function is called.
    dtype : dtype, optional

    Raises
    ------
    InputError
        If the name is not a non-empty string.
    DTypeError
        If the dtype is not supported.

    Examples
    --------
    >>> import graphc as cg
    >>> cg.scalar("x")
    <input 'x' float64()>
    """
    return _input("scalar", name, (), dtype)


def vector(name: str, size: SizeSpec = None, dtype: Any = "float64") -> Node:
    """Return a new input of one dimension.

    Parameters
    ----------
    name : str
    size : int, str, Size or None
        An integer is compiled in. A string is a symbolic dimension, or a formula of
        them; inputs that say the same name have the same size. None makes a new
        dimension, equal to no other.
    dtype : dtype, optional

    Raises
    ------
    InputError, ShapeError, DTypeError
        For an unusable name, size or dtype.

    Examples
    --------
    >>> import graphc as cg
    >>> cg.vector("v", "n").shape
    (n,)
    """
    return _input("vector", name, (size,), dtype)


def matrix(
    name: str, shape: Sequence[SizeSpec] | None = None, dtype: Any = "float64"
) -> Node:
    """Return a new input of two dimensions.

    Parameters
    ----------
    name : str
    shape : pair of sizes, optional
        As in `vector`; left out, both are new dimensions.
    dtype : dtype, optional

    Raises
    ------
    InputError, ShapeError, DTypeError
        For an unusable name, shape or dtype.
    """
    shape = (None, None) if shape is None else _as_tuple(shape)
    if len(shape) != 2:
        raise ShapeError(
            f"matrix {name!r}: a matrix has two sizes, not {len(shape)}. Use tensor("
            "name, shape) for other numbers of dimensions."
        )
    return _input("matrix", name, shape, dtype)


def tensor(name: str, shape: Sequence[SizeSpec], dtype: Any = "float64") -> Node:
    """Return a new input of any number of dimensions.

    Parameters
    ----------
    name : str
    shape : sequence of sizes
        As in `vector`; one size alone means one dimension.
    dtype : dtype, optional

    Raises
    ------
    InputError, ShapeError, DTypeError
        For an unusable name, shape or dtype.

    Examples
    --------
    >>> import graphc as cg
    >>> cg.tensor("X", ("n", 3))
    <input 'X' float64(n, 3)>
    """
    if shape is None:
        raise ShapeError(
            f"tensor {name!r}: the number of dimensions must be known. Give a shape "
            "such as (None, None), each None a size of its own."
        )
    return _input("tensor", name, _as_tuple(shape), dtype)


def constant(value: Any, dtype: Any = None) -> Node:
    """Return the constant of a number or an array.

    Parameters
    ----------
    value : number, array, nested list of numbers
        Copied. The same dtype, shape and bytes are the same constant.
    dtype : dtype, optional
        To convert to; by default NumPy's choice, float64 and int64.

    Raises
    ------
    TracingError
        If it is an expression.
    DTypeError
        If it is no array of numbers, or its dtype is not supported.
    """
    if isinstance(value, (Node, Size)):
        raise TracingError(
            f"constant: {value} is symbolic, its value is not known while the graph is "
            "built. Use it as it is, asarray(x), or stop_gradient(x) to hold it "
            "constant in a derivative."
        )
    return as_expression(value, dtype, "constant")


def asarray(value: Any, dtype: Any = None) -> Node:
    """Return an expression: `value` itself, or the constant of a number or array.

    Parameters
    ----------
    value : expression, array, number, size, nested list of numbers
    dtype : dtype, optional
        To convert to.

    Raises
    ------
    DTypeError
        If it is none of these.
    """
    return as_expression(value, dtype, "asarray")


def named(value: Any, name: str) -> Node:
    """Give an expression a name for messages, pictures and text, and return it.

    Parameters
    ----------
    value : expression
        The same expression made anew is the same object and has the name too.
    name : str

    Raises
    ------
    InputError
        If the name is not a non-empty string, or the expression has another name.
    """
    node = as_expression(value, what="named")
    _check_name("named", name)
    if node.name is None:
        node.name = name
    elif node.name != name:
        raise InputError(
            f"named: {node.label()} already has a name, and names do not change; "
            f"{name!r} was given."
        )
    return node


def dim(name: str) -> Size:
    """Return the symbolic dimension of that name, for formulas of sizes.

    Inputs that use the name in their shape have this size.

    Raises
    ------
    InputError
        If the name is no identifier.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(f"dim: {name!r} is no name of a dimension, such as 'n'.")
    return sizes.dim(name)


def _input(kind: str, name: str, shape: Sequence[SizeSpec], dtype: Any) -> Node:
    _check_name(kind, name)
    read = tuple(_read_size(kind, name, axis, s) for axis, s in enumerate(shape))
    return new_input(name, TensorType(read, as_dtype(dtype)))


def _check_name(kind: str, name: Any) -> None:
    if not isinstance(name, str) or not name.strip():
        raise InputError(
            f"{kind}: the name must be a non-empty string, not {name!r}. It comes "
            f'first: {kind}("x"...).'
        )


def _read_size(kind: str, name: str, axis: int, size: SizeSpec) -> SizeLike:
    if size is None:
        return sizes.fresh_dim(f"{name}_{axis}" if name.isidentifier() else f"d{axis}")
    try:
        return as_size(size)
    except ShapeError as error:
        raise ShapeError(f"{kind} {name!r}, axis {axis}: {error}") from None


def _as_tuple(shape: Any) -> tuple[SizeSpec, ...]:
    if isinstance(shape, (str, Size)) or hasattr(shape, "__index__"):
        return (shape,)
    return tuple(shape)
