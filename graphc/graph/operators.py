"""Python's operators and the arrays' methods on nodes, bound late.

A node must answer ``x + y`` and ``x.sum()``, but what these mean is defined in
the expression layer, which stands on the ops, which stand on nodes. So the
methods here look their function up in a table that the expression layer fills.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.types.errors import TracingError, internal_assert, made_at


class FunctionTable(dict[str, Callable[..., Any]]):
    """Functions by name; a missing one makes `loader` import who provides it."""

    loader: Callable[[str], None] | None = None

    def __missing__(self, name: str) -> Callable[..., Any]:
        if self.loader is not None:
            self.loader(name)
        function = self.get(name)
        internal_assert(function is not None, f"no function is provided for {name}")
        return function  # type: ignore[return-value]


FUNCTIONS = FunctionTable()


def provide(**functions: Callable[..., Any]) -> None:
    """Enter functions into the table; called by the layers that define them."""
    FUNCTIONS.update(functions)


def _operator(name: str, symbol: str) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return FUNCTIONS["operator"](name, self, other)

    method.__doc__ = f"Return ``self {symbol} other``."
    return method


def _reflected(name: str, symbol: str) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return FUNCTIONS["operator"](name, other, self)

    method.__doc__ = f"Return ``other {symbol} self``."
    return method


def _both(name: str, symbol: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return _operator(name, symbol), _reflected(name, symbol)


def _forward(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return FUNCTIONS[name](self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"Return ``graphc.{name}`` of this expression."
    return method


def _trap(what: str, remedy: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise TracingError(
            f"{what} of the expression {self.label()}{made_at(self.origin)} is not "
            f"known while the graph is built: an expression has no value yet. {remedy}"
        )

    return method


class Operators:
    """Base of `Node`: operators, array methods, and the traps with their remedies."""

    __slots__ = ()
    # __array_ufunc__ is what NumPy asks; this is for libraries that look here.
    __array_priority__ = 1000.0

    __add__, __radd__ = _both("add", "+")
    __sub__, __rsub__ = _both("subtract", "-")
    __mul__, __rmul__ = _both("multiply", "*")
    __truediv__, __rtruediv__ = _both("divide", "/")
    __floordiv__, __rfloordiv__ = _both("floor_divide", "//")
    __mod__, __rmod__ = _both("remainder", "%")
    __divmod__, __rdivmod__ = _both("divmod", "divmod")
    __pow__, __rpow__ = _both("power", "**")
    __matmul__, __rmatmul__ = _both("matmul", "@")
    __and__, __rand__ = _both("bitwise_and", "&")
    __or__, __ror__ = _both("bitwise_or", "|")
    __xor__, __rxor__ = _both("bitwise_xor", "^")
    __lshift__, __rlshift__ = _both("bitwise_left_shift", "<<")
    __rshift__, __rrshift__ = _both("bitwise_right_shift", ">>")
    __lt__, __le__ = _operator("less", "<"), _operator("less_equal", "<=")
    __gt__, __ge__ = _operator("greater", ">"), _operator("greater_equal", ">=")
    __eq__ = _operator("equal", "==")
    __ne__ = _operator("not_equal", "!=")
    __hash__ = object.__hash__

    __neg__ = _forward("negative")
    __pos__ = _forward("positive")
    __abs__ = _forward("abs")
    __invert__ = _forward("bitwise_invert")
    __round__ = _forward("round")
    __getitem__ = _forward("getitem")

    __bool__ = _trap(
        "The truth",
        "Choose by value with where(condition, a, b); combine conditions with &, | "
        "and ~; or run it first: evaluate(expression, {input: array}).",
    )
    __float__ = _trap(
        "The number", "Run it first: evaluate(expression, {input: array})."
    )
    __int__ = __index__ = __complex__ = item = tolist = __float__

    def __format__(self: Any, spec: str) -> str:
        return str(self) if not spec else self.__float__()

    __iter__ = _trap(
        "The list of elements",
        "Use whole-array functions, take an axis apart with unstack(x), or loop over "
        "x[i] for i in range(x.shape[0]) where that size is an integer.",
    )
    __contains__ = _trap("Membership", "Use any(x == value), which is an expression.")
    __setitem__ = _trap(
        "Assignment to elements",
        "Expressions are immutable: x.at[index].set(value) gives the changed array.",
    )
    __delitem__ = _trap(
        "Deletion of elements",
        "Expressions are immutable: concatenate the parts that stay.",
    )

    def _repr_svg_(self) -> str | None:
        return FUNCTIONS["notebook_svg"](self)

    def _repr_latex_(self) -> str | None:
        return FUNCTIONS["notebook_latex"](self)

    def __len__(self: Any) -> int:
        if not self.shape:
            raise TracingError(
                f"len: the expression {self.label()}{made_at(self.origin)} has no "
                "dimensions, and so no length. Use x.size, which is 1."
            )
        if isinstance(self.shape[0], int):
            return self.shape[0]
        raise TracingError(
            f"The length of the expression {self.label()}{made_at(self.origin)} is the "
            f"symbolic size {self.shape[0]}, not known while the graph is built. Use "
            "x.shape[0], which works in formulas of sizes."
        )

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any
    ) -> Any:
        return FUNCTIONS["array_ufunc"](ufunc, method, inputs, kwargs)

    def __array_function__(
        self, function: Any, types: Any, args: Any, kwargs: Any
    ) -> Any:
        return FUNCTIONS["array_function"](function, types, args, kwargs)

    def __array__(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise TracingError(
            f"The expression {self.label()}{made_at(self.origin)} has no value to make "
            "a NumPy array of. Run it first: evaluate(expression, {input: array}); or "
            "use graphc functions, which work on expressions (stack for a list)."
        )

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return FUNCTIONS["array_namespace"](api_version)

    @property
    def T(self: Any) -> Any:
        """The array with its axes reversed."""
        return FUNCTIONS["transpose"](self)

    @property
    def mT(self: Any) -> Any:
        """The array with its last two axes swapped."""
        return FUNCTIONS["matrix_transpose"](self)

    @property
    def at(self: Any) -> Any:
        """``x.at[i].set(v)``, ``.add(v)``, ``.get()``: changed copies."""
        return FUNCTIONS["at"](self)


METHODS = (
    *("sum", "prod", "mean", "var", "std", "max", "min", "argmax", "argmin"),
    *("any", "all", "cumsum", "reshape", "transpose", "squeeze", "ravel"),
    *("flatten", "swapaxes", "astype", "clip", "round", "dot", "take", "repeat"),
    *("diagonal", "trace", "conj", "conjugate", "copy"),
)
"""Methods that forward to the function of that name."""

for _name in METHODS:
    setattr(Operators, _name, _forward(_name))
