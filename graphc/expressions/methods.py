"""Fills the table by which nodes find their operators and methods."""

from __future__ import annotations

from typing import Any

from graphc.expressions import array_api
from graphc.expressions.elementwise import FUNCTIONS as elementwise
from graphc.expressions.functions import FUNCTIONS
from graphc.expressions.indexing import At, getitem
from graphc.expressions.operands import is_operand
from graphc.expressions.protocols import array_function, array_ufunc
from graphc.graph import operators
from graphc.types.errors import ConfigError


def operator(name: str, x: Any, y: Any) -> Any:
    """Return a binary operator of Python applied to two operands.

    NotImplemented for operands that are no numbers, so that Python asks the other
    operand, and says what it always says if that does not know either.
    """
    if not (is_operand(x) and is_operand(y)):
        return NotImplemented
    return FUNCTIONS[name](x, y)


def array_namespace(api_version: str | None = None) -> Any:
    """Return the namespace of the array API standard.

    Raises
    ------
    ConfigError
        For a version of the standard that is not the one provided.
    """
    if api_version not in (None, array_api.__array_api_version__):
        raise ConfigError(
            f"array API version {api_version!r} is not available; "
            f"{array_api.__array_api_version__} is."
        )
    return array_api


operators.provide(
    **{name: FUNCTIONS[name] for name in operators.METHODS},
    **{name: elementwise[name] for name in ("abs", "bitwise_invert", "negative")},
    array_function=array_function,
    array_namespace=array_namespace,
    array_ufunc=array_ufunc,
    at=At,
    getitem=getitem,
    matrix_transpose=FUNCTIONS["matrix_transpose"],
    operator=operator,
    positive=FUNCTIONS["positive"],
)
