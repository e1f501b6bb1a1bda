"""The scalar instructions of a kernel, printed as Python for numba's CUDA compiler.

`PythonScalars` implements the `Scalars` protocol of `graphc.ops.declare`: it appends
lines such as ``v3 = fmul_float32(v1, v2)``, each with one operation, to a function
under construction. What the names mean, on a device and in the simulator, is told by
`backends.cuda.primitives`. Functions that CUDA's libdevice has (`LIBDEVICE`) are its
own; the rest are those of the CPU's vector math, printed as functions of the module.

numba's types widen: a bare ``0.5`` is a float64, and the sum of two int32 an int64. So
constants are written with their dtype, and results of integers are cast back, which
LLVM makes 32-bit arithmetic again.

Products are written as calls that the compiler does not contract to fused
multiply-adds: a value computed twice, in two kernels, must have the same bits (see
`backends.cpu.scalars`, whose rules for integers, NaN and conversions hold here too).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.types import dtypes
from graphc.types.errors import internal_assert


class Value(NamedTuple):
    """A scalar in a function: a name or literal, and its dtype."""

    text: str
    dtype: np.dtype


class PythonModule:
    """What the functions of one module share.

    Attributes
    ----------
    definitions : dict of str to str
        Functions that the kernel calls, by name, in order.
    """

    def __init__(self) -> None:
        self.definitions: dict[str, str] = {}

    def text(self) -> str:
        """Return the definitions, to stand before the kernel."""
        return "".join(f"{text}\n\n" for text in self.definitions.values())


LIBDEVICE = (
    *("exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "pow", "cbrt", "hypot"),
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2"),
    *("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"),
    *("erf", "erfc", "gammaln"),
)
"""Functions that are libdevice's; all take NaN, infinities and subnormal numbers."""

_SYMBOLS = {
    **{"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="},
    **{"and": "&", "or": "|", "xor": "^"},
}
_INTEGER = {"add": "+", "sub": "-", "mul": "*"}
_ROUNDING = ("sqrt", "floor", "ceil", "rint", "trunc")
_BOOL_AS = {"add": "|", "mul": "&", "min": "&", "max": "|"}


def literal(value: Any, dtype: np.dtype) -> str:
    """Return a number as an expression of exactly its dtype."""
    if dtype.kind == "b":
        return "True" if value else "False"
    if dtype.kind == "f":
        number = float(dtype.type(value))
        if np.isnan(number):
            return f"{dtype.name}(nan)"
        text = repr(number)
        return f"{dtype.name}({text})"
    return f"{dtype.name}({int(value)})"


class PythonScalars:
    """Scalar instructions appended to one Python function.

    Parameters
    ----------
    module : PythonModule
        Collects the functions that are called.

    Attributes
    ----------
    lines : list of str
        The instructions so far, without indentation.
    scopes : list of dict
        The operations known in the open blocks, outermost first.
    """

    def __init__(self, module: PythonModule):
        self.module = module
        self.lines: list[str] = []
        self.scopes: list[dict[str, Value]] = [{}]
        self._count = 0

    # ------------------------------------------------------------- emission

    def fresh(self, prefix: str = "v") -> str:
        """Return a new name."""
        self._count += 1
        return f"{prefix}{self._count}"

    def emit(self, text: str, dtype: np.dtype) -> Value:
        """Append an assignment of an expression to a new name."""
        value = Value(self.fresh(), dtype)
        self.lines.append(f"{value.text} = {text}")
        return value

    def pure(self, text: str, dtype: np.dtype) -> Value:
        """As `emit`, but an equal expression in scope is used again."""
        for scope in self.scopes:
            if text in scope:
                return scope[text]
        value = self.scopes[-1][text] = self.emit(text, dtype)
        return value

    # ------------------------------------------------------------ constants

    def dtype(self, value: Value) -> np.dtype:
        """Return a value's dtype."""
        return value.dtype

    def constant(self, value: Any, dtype: np.dtype) -> Value:
        """Return a constant."""
        return Value(literal(value, np.dtype(dtype)), np.dtype(dtype))

    def like(self, x: Value, value: Any) -> Value:
        """Return a constant of the dtype of `x`."""
        return self.constant(value, x.dtype)

    def zero(self, x: Value) -> Value:
        """Return 0 in the dtype of `x`."""
        return self.constant(0, x.dtype)

    def one(self, x: Value) -> Value:
        """Return 1 in the dtype of `x`."""
        return self.constant(1, x.dtype)

    # --------------------------------------------------------- instructions

    def __call__(self, name: str, *operands: Value) -> Value:
        """Apply an instruction or a function, as `backends.cpu.scalars` does."""
        method = _INSTRUCTIONS.get(name)
        if method is None:
            return self._function(name, operands)
        rest = operands[1:] if name == "select" else operands
        dtype = rest[0].dtype
        if any(o.dtype != dtype for o in rest):
            names = [o.dtype.name for o in rest]
            internal_assert(False, f"instruction {name} got operands of dtypes {names}")
        return method(self, name, *operands)

    def _call(self, name: str, dtype: np.dtype, *operands: Value) -> Value:
        """Call a primitive of the operands' dtype."""
        kind = operands[-1].dtype.name
        texts = ", ".join(o.text for o in operands)
        return self.pure(f"{name}_{kind}({texts})", dtype)

    def _function(self, name: str, operands: Sequence[Value]) -> Value:
        dtype = operands[0].dtype
        if name in LIBDEVICE:
            return self._call(name, dtype, *operands)
        symbol = self._defined(name, len(operands), dtype)
        return self.pure(f"{symbol}({', '.join(o.text for o in operands)})", dtype)

    def _defined(self, name: str, count: int, dtype: np.dtype) -> str:
        """Define a function of vector math in the module, and return its name."""
        from graphc.backends.cpu.vector_math import function
        from graphc.backends.cpu.vector_math.notation import Number

        symbol = f"{name}_{dtype.name}".replace("-", "minus")
        if symbol not in self.module.definitions:
            inner = PythonScalars(self.module)
            operands = [Value(f"x{i}", dtype) for i in range(count)]
            result = function(name)(*(Number(inner, o) for o in operands))
            head = f"def {symbol}({', '.join(o.text for o in operands)}):"
            lines = [*inner.lines, f"return {result.value.text}"]
            self.module.definitions[symbol] = "\n".join(
                ["@device", head, *(f"    {line}" for line in lines)]
            )
        return symbol

    def _wrapped(self, text: str, dtype: np.dtype) -> Value:
        """Return an integer expression in its own width."""
        return self.pure(f"{dtype.name}({text})", dtype)

    def _arithmetic(self, name: str, a: Value, b: Value) -> Value:
        if a.dtype.kind == "b":
            internal_assert(name in _BOOL_AS, f"instruction {name} on booleans")
            return self.pure(f"{a.text} {_BOOL_AS[name]} {b.text}", a.dtype)
        if a.dtype.kind != "f":
            return self._wrapped(f"{a.text} {_INTEGER[name]} {b.text}", a.dtype)
        if name == "mul":
            return self._call("fmul", a.dtype, a, b)
        return self.pure(f"{a.text} {_INTEGER[name]} {b.text}", a.dtype)

    def _div(self, name: str, a: Value, b: Value) -> Value:
        internal_assert(a.dtype.kind == "f", "instruction div on integers")
        return self._call("fdiv", a.dtype, a, b)

    def _neg(self, name: str, a: Value) -> Value:
        if a.dtype.kind == "f":
            return self.pure(f"-{a.text}", a.dtype)
        return self._wrapped(f"-{a.text}", a.dtype)

    def _abs(self, name: str, a: Value) -> Value:
        if a.dtype.kind in "ub":
            return a
        return self._call("abs", a.dtype, a)

    def _rounding(self, name: str, a: Value) -> Value:
        if a.dtype.kind != "f":
            internal_assert(name != "sqrt", "instruction sqrt on integers")
            return a
        return self._call(name, a.dtype, a)

    def _extremum(self, name: str, a: Value, b: Value) -> Value:
        if a.dtype.kind == "b":
            return self._arithmetic(name, a, b)
        return self._call(name, a.dtype, a, b)

    def _fma(self, name: str, a: Value, b: Value, c: Value) -> Value:
        return self._call("fma", a.dtype, a, b, c)

    def _copysign(self, name: str, a: Value, b: Value) -> Value:
        return self._call("copysign", a.dtype, a, b)

    def _compare(self, name: str, a: Value, b: Value) -> Value:
        return self.pure(f"{a.text} {_SYMBOLS[name]} {b.text}", dtypes.bool_)

    def _classify(self, name: str, a: Value) -> Value:
        if a.dtype.kind != "f":
            return self.constant(name == "isfinite", dtypes.bool_)
        if name == "isnan":
            return self("ne", a, a)
        infinity = self.like(a, np.inf)
        return self("eq" if name == "isinf" else "lt", self("abs", a), infinity)

    def _bitwise(self, name: str, a: Value, b: Value) -> Value:
        text = f"{a.text} {_SYMBOLS[name]} {b.text}"
        if a.dtype.kind == "b":
            return self.pure(text, a.dtype)
        return self._wrapped(text, a.dtype)

    def _not(self, name: str, a: Value) -> Value:
        if a.dtype.kind == "b":
            return self.pure(f"not {a.text}", a.dtype)
        return self._wrapped(f"~{a.text}", a.dtype)

    def _shift(self, name: str, a: Value, b: Value) -> Value:
        return self._call(name, a.dtype, a, b)

    def _select(self, name: str, condition: Value, a: Value, b: Value) -> Value:
        if a.text == b.text:
            return a
        return self._call("select", a.dtype, condition, a, b)

    def _bits(self, name: str, a: Value) -> Value:
        integer = dtypes.int32 if a.dtype.itemsize == 4 else dtypes.int64
        return self._call("bits", integer, a)

    def _from_bits(self, name: str, a: Value) -> Value:
        width = 8 * a.dtype.itemsize
        signed = self.cast(a, np.dtype(f"int{width}"))
        return self._call("from_bits", np.dtype(f"float{width}"), signed)

    def _floor_division(self, name: str, a: Value, b: Value) -> Value:
        return self._call(name, a.dtype, a, b)

    # ---------------------------------------------------------- conversions

    def cast(self, value: Value, dtype: np.dtype) -> Value:
        """Return a value converted as NumPy's astype does."""
        source, dtype = value.dtype, np.dtype(dtype)
        if source == dtype:
            return value
        if dtype.kind == "b":
            return self("ne", value, self.zero(value))
        if source.kind == "f" and dtype.kind in "iu":
            return self.pure(f"{dtype.name}_of_{source.name}({value.text})", dtype)
        return self.pure(f"{dtype.name}({value.text})", dtype)


_INSTRUCTIONS: dict[str, Callable[..., Value]] = {
    **dict.fromkeys(("add", "sub", "mul"), PythonScalars._arithmetic),
    "div": PythonScalars._div,
    **dict.fromkeys(("floordiv", "mod"), PythonScalars._floor_division),
    "neg": PythonScalars._neg,
    "abs": PythonScalars._abs,
    **dict.fromkeys(("min", "max"), PythonScalars._extremum),
    **dict.fromkeys(_ROUNDING, PythonScalars._rounding),
    "copysign": PythonScalars._copysign,
    "fma": PythonScalars._fma,
    **dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne"), PythonScalars._compare),
    **dict.fromkeys(("isnan", "isinf", "isfinite"), PythonScalars._classify),
    **dict.fromkeys(("and", "or", "xor"), PythonScalars._bitwise),
    "not": PythonScalars._not,
    **dict.fromkeys(("shl", "shr"), PythonScalars._shift),
    "select": PythonScalars._select,
    "bits": PythonScalars._bits,
    "from_bits": PythonScalars._from_bits,
}
"""Each instruction's method, which takes the name and the operands."""
