"""`lambdify`: numeric functions of sympy's expressions, in place of sympy's own.

An expression is read once, in one walk, when the function is made. It is compiled at
the first call with arguments of some dtypes and ranks, for all later ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.derivatives.symbolic.from_sympy import read_tree
from graphc.derivatives.symbolic.reader import Given
from graphc.derivatives.symbolic.rules import BoundsError
from graphc.expressions.containers import Structure, flatten
from graphc.expressions.inputs import dim
from graphc.graph.node import Node
from graphc.ops.leaf import new_input
from graphc.runtime.compile import compile
from graphc.runtime.function import Function
from graphc.types import dtypes
from graphc.types.errors import DTypeError, InputError, ShapeError
from graphc.types.tensor_type import TensorType

MODULES = ("numpy", "scipy", "math")
"""Names of modules that are accepted: graphc computes what they compute."""


def lambdify(
    args: Any,
    expr: Any,
    modules: Any = None,
    printer: None = None,
    use_imps: bool = True,
    dummify: bool = False,
    cse: Any = True,
    docstring_limit: int | None = 1000,
    *,
    backend: str = "cpu",
    threads: int | None = None,
) -> Lambdified:
    """Return a numeric function of a sympy expression, as ``sympy.lambdify``.

    Parameters
    ----------
    args : symbol, or list of arguments
        An argument is a symbol, an undefined function ``f(t)`` or its derivative, a
        MatrixSymbol, an IndexedBase, a Matrix of symbols, or a list of arguments, which
        is called with a list. Names may be any text.
    expr : sympy expression, Boolean, matrix or array, or nested containers of them
        Lists, tuples and dictionaries; the function returns the same containers. Keys
        stay as they are.
    modules : dict, or list of dicts and names, optional
        Functions on expressions, by the names that sympy's functions have. The names
        "numpy", "scipy" and "math" are accepted and mean nothing.
    printer, use_imps, dummify, cse, docstring_limit
        As in sympy. Nothing is printed, common parts are always shared, so only
        `use_imps` has a meaning: functions made by ``implemented_function`` are called
        with expressions.
    backend, threads
        As in `graphc.compile`.

    Returns
    -------
    Lambdified
        Takes numbers and arrays, which broadcast, by position or by name.

    Raises
    ------
    InputError
        For a text, an argument that is none or is named twice; for a symbol that is no
        argument, and for functions that graphc does not know.

    Notes
    -----
    Compared with sympy's function on NumPy: Python's integers count as floats; a
    result that depends on no argument has no shape of its own; the entries of a matrix
    of arrays broadcast. Compiled for the dtypes, the ranks, and which sizes are 1.
    Bounds of sums that depend on arguments are known for each call only, and another
    value compiles again.

    Examples
    --------
    >>> import graphc as cg, sympy
    >>> x, y = sympy.symbols("x y")
    >>> f = cg.lambdify([x, y], sympy.sin(x) / y)
    >>> float(f(0.0, 2.0))
    0.0
    """
    if printer is not None:
        raise InputError("lambdify: graphc prints no code; leave printer out.")
    return Lambdified(args, expr, _functions(modules), backend, threads)


def _functions(modules: Any) -> dict[str, Callable[..., Any]]:
    """Return the user's functions by name."""
    if modules is None:
        return {}
    out: dict[str, Callable[..., Any]] = {}
    listed = modules if isinstance(modules, (list, tuple)) else [modules]
    for module in reversed(listed):  # the first has precedence
        if isinstance(module, Mapping):
            out.update(module)
        elif module not in MODULES:
            raise InputError(
                f"lambdify: modules={module!r} is none of {', '.join(MODULES)} and no "
                "dictionary of functions. graphc computes by kernels of its own."
            )
    return out


# ------------------------------------------------------------------- arguments


class Argument(NamedTuple):
    """An argument as it was listed.

    Attributes
    ----------
    symbol : sympy object or None
        None for a list or matrix of arguments.
    parts : tuple of Argument
    shape : tuple of int or None
        Of a matrix of arguments.
    """

    symbol: Any
    parts: tuple[Argument, ...] = ()
    shape: tuple[int, ...] | None = None

    def leaves(self, value: Any, out: list[Any]) -> None:
        """Append the value of each symbol, taken from that of the argument."""
        if self.symbol is not None:
            out.append(value)
            return
        for part, inner in zip(self.parts, self._parted(value)):
            part.leaves(inner, out)

    def _parted(self, value: Any) -> Iterable[Any]:
        count = len(self.parts)
        if self.shape is not None:
            array = np.asarray(value)
            if array.shape[: len(self.shape)] == self.shape:
                return array.reshape(count, *array.shape[len(self.shape) :])
            value = array
        given = list(value) if isinstance(value, Iterable) else None
        if given is None or len(given) != count:
            held = "is no list" if given is None else f"has {len(given)} entries"
            raise InputError(
                f"lambdify: an argument of {count} symbols was given a value that "
                f"{held}."
            )
        return given

    def symbols(self) -> list[Any]:
        """Return the symbols in the order of `leaves`."""
        if self.symbol is not None:
            return [self.symbol]
        return [s for part in self.parts for s in part.symbols()]


def _argument(arg: Any) -> Argument:
    import sympy as sp

    if isinstance(arg, str):
        raise InputError(
            f"lambdify: the argument {arg!r} is a text; texts are never parsed. Use "
            f"sympy.Symbol({arg!r})."
        )
    kinds: tuple[type, ...] = (
        *(sp.Symbol, sp.MatrixSymbol, sp.IndexedBase, sp.Indexed, sp.Derivative),
        sp.core.function.AppliedUndef,
        sp.matrices.expressions.matexpr.MatrixElement,
    )
    if isinstance(arg, kinds):
        return Argument(arg)
    if isinstance(arg, (sp.MatrixBase, sp.NDimArray)):
        entries = (
            list(arg.flat())
            if isinstance(arg, sp.MatrixBase)
            else list(sp.flatten(arg))
        )
        return Argument(None, tuple(map(_argument, entries)), tuple(arg.shape))
    if isinstance(arg, (list, tuple, sp.Tuple)):
        return Argument(None, tuple(map(_argument, arg)))
    raise InputError(
        f"lambdify: the argument {arg} of type {type(arg).__name__} is neither a "
        "symbol nor a list of symbols."
    )


# -------------------------------------------------------------------- function


class Lambdified:
    """What `lambdify` returns: a function of numbers and arrays.

    Attributes
    ----------
    compiled : list of Function
        What was compiled so far, one for each combination of dtypes and ranks.
    """

    def __init__(
        self,
        args: Any,
        expr: Any,
        functions: Mapping[str, Callable[..., Any]],
        backend: str = "cpu",
        threads: int | None = None,
    ):
        import sympy as sp

        listed = (list, tuple, sp.Tuple, sp.MatrixBase, sp.NDimArray)
        single = not isinstance(args, listed)
        self._made_from = (args, expr, functions, backend, threads)
        self._options: dict[str, Any] = {"backend": backend, "threads": threads}
        self._arguments = [_argument(a) for a in ([args] if single else args)]
        self._symbols = [s for a in self._arguments for s in a.symbols()]
        self._names = [getattr(a.symbol, "name", None) for a in self._arguments]
        self._flat = all(a.symbol is not None for a in self._arguments)
        twice = [str(s) for s in set(self._symbols) if self._symbols.count(s) > 1]
        if twice:
            raise InputError(f"lambdify: {twice[0]} is an argument twice.")
        self._whole = [
            isinstance(s, (sp.MatrixSymbol, sp.IndexedBase)) for s in self._symbols
        ]
        self._expr = expr
        self._functions = functions
        self._static: set[int] = set()  # arguments that bounds of sums depend on
        self._compiled: dict[tuple, Function] = {}
        self._read: tuple[Any, Any] | None = None
        # The compiled entry for the last kinds of arguments; it declines all others.
        self._native: Callable[..., Any] = _decline
        self._fast = False
        self._scalar = False  # one result without dimensions
        self._finish: Callable[[Any], Any] = _first
        self.__name__ = self.__qualname__ = "lambdified"
        if not any(self._whole):
            self._check_once()

    def _check_once(self) -> None:
        """Read the expression for numbers, which finds what graphc does not know."""
        scalars: list[Any] = [(_FLOAT64, ())] * len(self._symbols)
        while True:
            try:
                key = self._key(scalars, [1] * len(scalars))
                self._read = (key, self._expressions(scalars, [1] * len(scalars)))
                return
            except BoundsError as error:
                found = {i for i, s in enumerate(self._symbols) if s in error.symbols}
                if not found - self._static:
                    raise InputError(_renamed(error)) from None
                self._static |= found

    @property
    def compiled(self) -> list[Function]:
        """What was compiled so far."""
        return list(self._compiled.values())

    def __call__(self, *args: Any, **named: Any) -> Any:
        if not named:
            result = self._native(*args)
            if result is not NotImplemented:
                return result[()] if self._scalar else self._finish(result)
            if self._fast and any(type(a) in _NUMBERS for a in args):
                result = self._native(*[_as_float(a) for a in args])
                if result is not NotImplemented:
                    return self._finish(result)
        return self._call(args, named)

    def _call(self, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        if named:
            args = self._positional(args, named)
        if len(args) != len(self._arguments):
            raise TypeError(
                f"lambdified function: {len(self._arguments)} arguments are needed, "
                f"{len(args)} were given"
            )
        leaves: list[Any] = []
        for argument, value in zip(self._arguments, args):
            argument.leaves(value, leaves)
        arrays = _arrays(leaves)
        kinds = [
            (a.dtype, a.shape if whole else tuple(min(s, 2) for s in a.shape))
            for a, whole in zip(arrays, self._whole)
        ]
        key = self._key(kinds, leaves)
        function = self._compiled.get(key)
        if function is None:
            function = self._compiled[key] = self._compile(key, kinds, leaves)
        moving = [a for i, a in enumerate(arrays) if i not in self._static]
        # Of float32, a Python number must not be taken for a strong float64.
        narrow = any(dtype == dtypes.float32 for dtype, _ in kinds)
        plain = not narrow or all(shape for _, shape in kinds)
        if self._flat and not self._static and plain:
            self._finish = _finisher(function._outputs)
            self._fast = function._native is not None
            self._scalar = False  # before the entry changes: other threads may call
            self._native = function._native or _decline
            bare = function._outputs.kind is None
            self._scalar = bare and not function.original.outputs[0].ndim
        return _scalars(function(*moving))

    def _positional(self, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        out = list(args)
        for name in self._names[len(args) :]:
            if name is None or name not in named:
                raise TypeError(f"lambdified function: the argument {name} is missing")
            out.append(named[name])
        unknown = [n for n in named if n not in self._names[len(args) :]]
        if unknown:
            raise TypeError(
                f"lambdified function: {unknown[0]!r} is no argument, or given twice"
            )
        return out

    def _key(self, kinds: Sequence[Any], leaves: Sequence[Any]) -> tuple:
        return tuple(
            _static_value(leaves[i], self._symbols[i]) if i in self._static else kind
            for i, kind in enumerate(kinds)
        )

    def _compile(
        self, key: tuple, kinds: Sequence[Any], leaves: Sequence[Any]
    ) -> Function:
        if self._read is not None and self._read[0] == key:
            inputs, outputs = self._read[1]
        else:
            try:
                inputs, outputs = self._expressions(kinds, leaves)
            except BoundsError as error:
                raise InputError(_renamed(error)) from None
        self._read = None
        return compile(inputs, outputs, **self._options)

    def _expressions(
        self, kinds: Sequence[Any], leaves: Sequence[Any]
    ) -> tuple[list[Node], Any]:
        """Return inputs and outputs for arguments of some dtypes and shapes."""
        given: dict[Any, Any] = {}
        inputs: list[Node] = []
        for i, (symbol, kind) in enumerate(zip(self._symbols, kinds)):
            if i in self._static:
                given[symbol] = _static_value(leaves[i], symbol)
                continue
            dtype, shape = kind
            if not self._whole[i]:  # sizes count from the last axis, as in broadcasting
                shape = tuple(
                    1 if s == 1 else dim(f"n{len(shape) - axis}")
                    for axis, s in enumerate(shape)
                )
            given[symbol] = new_input(str(symbol), TensorType(shape, dtype))
            inputs.append(given[symbol])
        try:
            return inputs, read_tree(self._expr, Given(given, self._functions))
        except BoundsError:
            raise
        except (InputError, ShapeError, DTypeError) as error:
            raise type(error)(_renamed(error)) from None

    def __reduce__(self) -> Any:
        return (Lambdified, self._made_from)

    def __repr__(self) -> str:
        names = ", ".join(str(s) for s in self._symbols)
        return f"<lambdified function of ({names})>"


_FLOAT64 = dtypes.float64
_NUMBERS = (int, np.float64)
"""Numbers that count as Python floats, which compiled code takes."""


def _as_float(value: Any) -> Any:
    if type(value) is np.float64 or (type(value) is int and -_EXACT < value < _EXACT):
        return float(value)
    return value


_EXACT = 2**53


def _decline(*args: Any) -> Any:
    return NotImplemented


def _renamed(error: Exception) -> str:
    return str(error).replace("from_sympy: ", "lambdify: ", 1)


def _static_value(value: Any, symbol: Any) -> int:
    """Return an argument that bounds of a sum depend on."""
    array = np.asarray(value)
    if array.ndim == 0 and array.dtype.kind in "iuf" and float(array).is_integer():
        return int(array)
    raise InputError(
        f"lambdify: {symbol} is in the bounds of a sum and must be an integer, not "
        f"{value!r}."
    )


def _arrays(leaves: Sequence[Any]) -> list[np.ndarray]:
    """Return arguments as arrays; Python's numbers as floats that widen nothing."""
    arrays: list[Any] = []
    strong: list[np.dtype] = []
    for leaf in leaves:
        if type(leaf) in (int, float):
            arrays.append(None)
            continue
        try:
            array = np.asarray(leaf)
        except ValueError as error:
            raise ShapeError(f"lambdified function: {error}") from None
        if array.dtype.kind not in "biuf":
            raise DTypeError(
                "lambdified function: an argument of type "
                f"{type(leaf).__name__} is no array of real numbers."
            )
        array = array.astype(dtypes.as_dtype(array.dtype), copy=False)
        if dtypes.is_float(array.dtype):
            strong.append(array.dtype)
        arrays.append(array)
    weak = dtypes.promote(*strong) if strong else _FLOAT64
    for i, leaf in enumerate(leaves):
        if arrays[i] is None:
            try:
                arrays[i] = np.asarray(leaf, weak)
            except OverflowError:
                raise DTypeError(
                    "lambdified function: an integer is too large for a float."
                ) from None
    return arrays


def _scalars(tree: Any) -> Any:
    """Return results, arrays without dimensions as NumPy's scalars."""
    if isinstance(tree, np.ndarray):
        return tree if tree.ndim else tree[()]
    leaves, structure = flatten(tree)
    return structure.unflatten([v if v.ndim else v[()] for v in leaves])


def _finisher(outputs: Structure) -> Callable[[Any], Any]:
    """Return what makes of a native result that of the function."""
    if outputs.kind is None:
        return _first
    return lambda result: outputs.unflatten(
        [v if v.ndim else v[()] for v in _row(outputs, result)]
    )


def _row(outputs: Structure, result: Any) -> Sequence[Any]:
    return (result,) if outputs.count == 1 else result


def _first(result: Any) -> Any:
    return result if result.ndim else result[()]
