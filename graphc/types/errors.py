"""Every error graphc raises, and the one way their messages are put together.

A user's mistake is a `GraphcError` that is also a ValueError or TypeError; a
defect of graphc itself is an `InternalError`. A message says, in this order:
the op, the operands' types, the rule broken, where the operands were made, and
the remedy.
"""

from __future__ import annotations

import os


class GraphcError(Exception):
    """Base of all errors of graphc."""


class ShapeError(GraphcError, ValueError):
    """Ranks or sizes do not fit."""


class DTypeError(GraphcError, TypeError):
    """Element types do not fit."""


class IndexOutOfRangeError(GraphcError, IndexError):
    """An index lies outside the axis it indexes."""


class InputError(GraphcError, ValueError):
    """An input of a compiled function is missing, unknown or given twice."""


class TracingError(GraphcError, TypeError):
    """A symbolic expression was used where Python needs a concrete value."""


class DisconnectedInputError(GraphcError, ValueError):
    """A derivative was asked with respect to something the result does not use."""


class NotDifferentiableError(GraphcError, NotImplementedError):
    """The path from the input to the result passes an op without a derivative."""


class GradientError(GraphcError, AssertionError):
    """`check_grad` found a derivative that disagrees with finite differences."""


class NonFiniteError(GraphcError, FloatingPointError):
    """A NaN or infinity appeared while `check_finite` was on."""


class CompileError(GraphcError, RuntimeError):
    """A graph could not be lowered to kernels."""


class AllocationError(GraphcError, MemoryError):
    """An array is too large to be counted, or memory for it cannot be had."""


class MemoryBudgetError(GraphcError, ValueError):
    """A function cannot be made to run within the memory it was given."""


class ConfigError(GraphcError, ValueError):
    """An option or environment variable has an unusable value."""


class MissingPackageError(GraphcError, ImportError):
    """An optional package is needed; the message says what to install."""


class DrawError(GraphcError, ValueError):
    """A picture cannot be drawn or written."""


class InternalError(GraphcError, RuntimeError):
    """A defect of graphc, not of the program that uses it."""


def internal_assert(condition: object, message: str) -> None:
    """Raise `InternalError` unless `condition`: for graphc's own invariants."""
    if not condition:
        raise InternalError(
            f"{message}. This is a defect of graphc; please report it with the "
            "expression that shows it."
        )


def made_at(origin: tuple[str, int] | None) -> str:
    """Return ``" made at file.py:12"`` for a message, empty if it is unknown."""
    if origin is None:
        return ""
    return f" made at {os.path.basename(origin[0])}:{origin[1]}"
