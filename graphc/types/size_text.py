"""Reading sizes from text: ``"n"``, ``"2*n + 1"``, ``"max(n - 1, 0)"``."""

from __future__ import annotations

import ast
from collections.abc import Callable

from graphc.types.errors import ShapeError
from graphc.types.sizes import SizeLike, dim, extremum, floordiv, mod, product


def parse(text: str) -> SizeLike:
    """Read a size such as ``"n"``, ``"2*n + 1"``, ``"n // 2"`` or ``"max(n - 1, 0)"``.

    Raises
    ------
    ShapeError
        If the text is not a formula of names, integers, ``+ - * // % **``, ``min``
        and ``max``, or divides by the integer 0.
    """
    try:
        return _from_ast(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, ShapeError):
            raise
        raise ShapeError(
            f"size {text!r} is no formula. Write a name, an integer, or a formula "
            'of them such as "2*n + 1".'
        ) from None


def _from_ast(tree: ast.expr) -> SizeLike:
    match tree:
        case ast.Name(id=name):
            return dim(name)
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return value
        case ast.BinOp(
            left=base, op=ast.Pow(), right=ast.Constant(value=int() as power)
        ):
            return product([_from_ast(base)] * power)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            a, b = _from_ast(left), _from_ast(right)
            if b == 0 and isinstance(op, (ast.FloorDiv, ast.Mod)):
                raise ShapeError(f"size {ast.unparse(tree)!r} divides by zero.")
            return _BINARY[type(op)](a, b)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_from_ast(operand)
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[first, *others]):
            out = _from_ast(first)
            for other in others:
                out = extremum(name, out, _from_ast(other))
            return out
    raise ShapeError(
        f"size {ast.unparse(tree)!r} is no formula of names, integers, + - * // % **, "
        "min and max."
    )


_BINARY: dict[type, Callable] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: floordiv,
    ast.Mod: mod,
}
