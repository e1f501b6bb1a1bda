"""Expressions from text: a small grammar over Python's `ast`; nothing is executed.

Text is names, numbers, operators, indexing, and calls of graphc's functions by name::

    sum((A @ x - b)**2)
    h = tanh(W @ x); y = sum(h * h); y, grad(y, W)

Only what the tables below list has a meaning; there are no attributes but those of
arrays, and no way from a name to an object that is not an expression, a number or one
of graphc's functions.
"""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable, Mapping
from typing import Any

from graphc.derivatives import api
from graphc.expressions import functions
from graphc.expressions.inputs import tensor
from graphc.graph.node import Node
from graphc.graph.origin import Passage, set_inherited, written
from graphc.graph.text import printable
from graphc.types.dtypes import SUPPORTED
from graphc.types.errors import GraphcError, InputError
from graphc.types.sizes import Size

MAX_CHARACTERS = 20_000
MAX_PASSAGE = 400
"""Bytes that each node keeps of its text."""
MAX_BITS = 4096
"""Of an integer that text computes: `9**9**9` would take all memory."""

DERIVATIVES = (
    *("grad", "hessian", "hvp", "jacobian", "jvp", "stop_gradient"),
    *("value_and_grad", "vjp"),
)
NAMES: dict[str, Any] = {
    **functions.FUNCTIONS,
    **functions.CONSTANTS,
    **{name: getattr(api, name) for name in DERIVATIVES},
}
ATTRIBUTES = ("T", "mT", "ndim", "shape", "size")

OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.MatMult: operator.matmul,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}

REMEDIES: dict[type, str] = {
    ast.And: "write & for and",
    ast.Or: "write | for or",
    ast.BoolOp: "write & for and, | for or",
    ast.Not: "write ~ for not",
    ast.IfExp: "write where(condition, a, b)",
    ast.Lambda: "write the expression itself",
    ast.NamedExpr: "write name = ...; and then the expression",
    ast.ListComp: "write the entries out",
    ast.GeneratorExp: "write the entries out",
}


def inputs_of(shapes: Mapping[str, str], dtype: Any = "float64") -> dict[str, Node]:
    """Return inputs from the text of their shapes.

    Parameters
    ----------
    shapes : dict of str to str
        Such as ``{"A": "3,4", "x": "n", "c": ""}``; a size is an integer, a name or a
        formula of names. Nothing is a scalar.
    dtype : dtype, optional

    Raises
    ------
    InputError, ShapeError, DTypeError
        If a name is no name, or a shape or the dtype is unusable.
    """
    made = {}
    for name, text in shapes.items():
        if not name.isidentifier():
            raise InputError(f"{printable(name)!r} is not a name to give a shape.")
        sizes = [s.strip() for s in text.split(",")] if text.strip() else []
        if sizes and not sizes[-1]:
            sizes.pop()  # "3," as in Python
        shape = tuple(int(s) if s.lstrip("-").isdecimal() else s for s in sizes)
        before = set_inherited(written(Passage("command line", 1, f"{name}={text}")))
        try:
            made[name] = tensor(name, shape, dtype)
        finally:
            set_inherited(before)
    return made


def parse(text: str, inputs: Mapping[str, Node]) -> Any:
    """Return the expression that text describes.

    Parameters
    ----------
    text : str
        An expression, or assignments and then an expression, separated by semicolons
        or lines. Tuples, lists and dictionaries are containers of expressions.
    inputs : dict of str to Node
        What names stand for; they hide functions of the same name.

    Returns
    -------
    expression, number, or nested containers of them

    Raises
    ------
    InputError
        If the text is no Python expression, uses an unknown name or what is not part
        of this grammar, or if a call has the wrong arguments.
    GraphcError
        What the functions raise: `ShapeError` and the like.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"an expression of {len(text):,} characters is too long, "
            f"{MAX_CHARACTERS:,} is the most. Write it into a Python file: "
            "graphc draw file.py:name."
        )
    before = set_inherited(None)
    try:
        tree = ast.parse(text.strip(), mode="exec")
        return _Reader(text.strip(), inputs).program(tree)
    except SyntaxError as error:
        where = f" at column {error.offset}" if error.offset else ""
        raise InputError(
            f"{printable(text)!r} is not an expression: {error.msg}{where}."
        ) from None
    except (RecursionError, MemoryError):
        raise InputError(
            "the expression is nested too deeply. Name parts of it: a = ...; b = ..."
        ) from None
    except ValueError as error:  # of ast.parse: a null byte, say
        if isinstance(error, GraphcError):
            raise
        raise InputError(f"{printable(text)!r} cannot be read: {error}.") from None
    finally:
        set_inherited(before)


class _Reader:
    """Turns a syntax tree into an expression, looking names up in one table."""

    def __init__(self, text: str, inputs: Mapping[str, Node]):
        self.text = text
        self.lines = [line.encode() for line in text.split("\n")]
        self.inputs = inputs
        self.known: dict[str, Any] = dict(inputs)

    def program(self, tree: ast.Module) -> Any:
        if not tree.body:
            raise InputError("the expression is empty.")
        *first, last = tree.body
        for statement in first:
            self._assign(statement)
        if not isinstance(last, ast.Expr):
            raise InputError(
                f"{self._quoted(last)} is no expression; the text must end with one."
            )
        return self._value(last.value)

    def _assign(self, statement: ast.stmt) -> None:
        if not isinstance(statement, ast.Assign) or not all(
            isinstance(t, ast.Name) for t in statement.targets
        ):
            raise InputError(
                f"{self._quoted(statement)}: before the last expression only "
                "name = expression is read."
            )
        value = self._value(statement.value)
        for target in statement.targets:
            assert isinstance(target, ast.Name)
            self.known[target.id] = value
            if isinstance(value, Node) and value.args and value.name is None:
                value.name = target.id

    def _value(self, tree: ast.expr) -> Any:
        self._enter(tree)
        read = self.READERS.get(type(tree))
        if read is None:
            raise self._unreadable(tree, type(tree))
        return read(self, tree)

    def _enter(self, tree: ast.expr) -> None:
        """Let what is made from now on count as made by this part of the text."""
        line = self.lines[tree.lineno - 1]  # columns count bytes
        end = tree.end_col_offset if tree.end_lineno == tree.lineno else None
        part = line[tree.col_offset : end][:MAX_PASSAGE].decode(errors="replace")
        set_inherited(written(Passage("expression", tree.lineno, part)))

    # ---------------------------------------------------------------- leaves

    def _name(self, tree: ast.Name) -> Any:
        name = tree.id
        if name in self.known:
            return self.known[name]
        if name in NAMES:
            return NAMES[name]
        if name in SUPPORTED or name in functions.DTYPES:
            return functions.DTYPES.get(name, name)
        known = [*self.known, *NAMES]
        near = difflib.get_close_matches(name, known, n=2)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise InputError(
            f"{name} at column {tree.col_offset + 1} is neither an input nor a "
            f"function.{hint} An input is given a shape: --shape {name}=3,4, or "
            f"--shape {name}= for a scalar."
        )

    def _constant(self, tree: ast.Constant) -> Any:
        if tree.value is None or isinstance(tree.value, (int, float, str)):
            return tree.value
        if tree.value is Ellipsis:
            return ...
        raise InputError(f"{self._quoted(tree)} is no number that expressions take.")

    # ------------------------------------------------------------- operators

    def _binary(self, tree: ast.BinOp) -> Any:
        left, right = self._operand(tree.left), self._operand(tree.right)
        return self._applied(tree, type(tree.op), left, right)

    def _unary(self, tree: ast.UnaryOp) -> Any:
        return self._applied(tree, type(tree.op), self._operand(tree.operand))

    def _compare(self, tree: ast.Compare) -> Any:
        if len(tree.ops) > 1:
            raise InputError(
                f"{self._quoted(tree)}: write (a < b) & (b < c) for a chain."
            )
        left, right = self._operand(tree.left), self._operand(tree.comparators[0])
        return self._applied(tree, type(tree.ops[0]), left, right)

    def _operand(self, tree: ast.expr) -> Any:
        value = self._value(tree)
        if isinstance(value, (Node, Size, int, float)):
            return value
        raise InputError(f"{self._quoted(tree)} is not something to calculate with.")

    def _applied(self, tree: ast.expr, kind: type, *operands: Any) -> Any:
        function = OPERATORS.get(kind)
        if function is None:
            raise self._unreadable(tree, kind)
        if kind is ast.Pow and all(isinstance(o, int) for o in operands):
            base, exponent = operands
            if base.bit_length() * abs(exponent) > MAX_BITS:
                raise InputError(f"{self._quoted(tree)} is too large a number.")
        if kind is ast.Pow and isinstance(operands[0], Size):
            if not isinstance(operands[1], int) or not 0 <= operands[1] <= 8:
                raise InputError(f"{self._quoted(tree)}: a size has powers 0 to 8.")
        return self._called(tree, function, operands, {})

    # ------------------------------------------------------ calls and indices

    def _call(self, tree: ast.Call) -> Any:
        function = self._function(tree.func)
        args = [self._value(a) for a in tree.args]
        named: dict[str, Any] = {}
        for keyword in tree.keywords:
            if keyword.arg is None:
                raise self._unreadable(tree, ast.Starred)
            named[keyword.arg] = self._value(keyword.value)
        return self._called(tree, function, args, named)

    def _function(self, tree: ast.expr) -> Any:
        if isinstance(tree, ast.Attribute):
            if isinstance(tree.value, ast.Name) and tree.value.id not in self.known:
                module = functions.NAMESPACES.get(tree.value.id)
                if module is not None and tree.attr in module.__all__:
                    return getattr(module, tree.attr)
                if tree.value.id in ("cg", "np", "graphc", "numpy"):
                    return self._function(ast.copy_location(ast.Name(tree.attr), tree))
            owner = self._value(tree.value)
            if (
                isinstance(owner, Node)
                and tree.attr in functions.FUNCTIONS
                and hasattr(Node, tree.attr)
            ):
                return getattr(owner, tree.attr)
            raise InputError(f"{self._quoted(tree)} is no function.")
        value = self._value(tree)
        if not callable(value) or isinstance(value, (Node, type)):
            raise InputError(f"{self._quoted(tree)} is no function.")
        return value

    def _called(
        self, tree: ast.expr, function: Any, args: Any, named: dict[str, Any]
    ) -> Any:
        self._enter(tree)
        try:
            return function(*args, **named)
        except GraphcError:
            raise
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise InputError(f"{self._quoted(tree)}: {error}.") from error

    def _attribute(self, tree: ast.Attribute) -> Any:
        owner = self._value(tree.value)
        if isinstance(owner, Node) and tree.attr in ATTRIBUTES:
            return getattr(owner, tree.attr)
        raise InputError(
            f"{self._quoted(tree)}: of an expression there are "
            f"{', '.join(ATTRIBUTES)}, and functions as methods."
        )

    def _subscript(self, tree: ast.Subscript) -> Any:
        owner = self._value(tree.value)
        if not isinstance(owner, (Node, tuple, list, dict)):
            raise InputError(f"{self._quoted(tree)} takes no index.")
        index = self._value(tree.slice)
        self._enter(tree)
        try:
            return owner[index]
        except (LookupError, TypeError) as error:
            if isinstance(error, GraphcError):
                raise
            raise InputError(f"{self._quoted(tree)}: {error}.") from error

    def _slice(self, tree: ast.Slice) -> slice:
        parts = (tree.lower, tree.upper, tree.step)
        return slice(*(None if p is None else self._value(p) for p in parts))

    # ------------------------------------------------------------ containers

    def _tuple(self, tree: ast.Tuple) -> Any:
        return tuple(self._value(e) for e in tree.elts)

    def _list(self, tree: ast.List) -> Any:
        return [self._value(e) for e in tree.elts]

    def _dict(self, tree: ast.Dict) -> Any:
        out = {}
        for key, value in zip(tree.keys, tree.values):
            if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
                raise InputError(f"{self._quoted(tree)}: keys must be strings.")
            out[key.value] = self._value(value)
        return out

    def _quoted(self, tree: ast.AST) -> str:
        part = ast.get_source_segment(self.text, tree)
        return repr(printable(part or self.text))

    def _unreadable(self, tree: ast.expr, kind: type) -> InputError:
        remedy = REMEDIES.get(kind) or REMEDIES.get(type(tree))
        return InputError(
            f"{self._quoted(tree)} is not part of what expressions are written in"
            f"{f'; {remedy}' if remedy else ''}."
        )

    READERS: Mapping[type, Callable[[_Reader, Any], Any]] = {
        ast.Name: _name,
        ast.Constant: _constant,
        ast.BinOp: _binary,
        ast.UnaryOp: _unary,
        ast.Compare: _compare,
        ast.Call: _call,
        ast.Attribute: _attribute,
        ast.Subscript: _subscript,
        ast.Slice: _slice,
        ast.Tuple: _tuple,
        ast.List: _list,
        ast.Dict: _dict,
    }
