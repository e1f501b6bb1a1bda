"""Dtype rules of elementwise ops: operand dtypes and result dtype from the arguments'.

They are those of NumPy's functions, except that where NumPy answers in half
precision, which graphc does not have, 8-bit integers give float32 and booleans
float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from graphc.types import dtypes
from graphc.types.errors import DTypeError

Types = Sequence[np.dtype]
Answer = tuple[tuple[np.dtype, ...], np.dtype]

_joint = lru_cache(maxsize=None)(dtypes.promote)


def any_dtype(op: str, types: Types) -> Answer:
    """Give all operands and the result the promoted dtype."""
    joint = _joint(*types)
    return (joint,) * len(types), joint


def numeric(op: str, types: Types) -> Answer:
    """Act as `any_dtype`, but refuse booleans."""
    joint = _joint(*types)
    if joint.kind == "b":
        raise DTypeError(
            "booleans have no such arithmetic.",
            "Convert with astype, or use logical_not, logical_xor and the like.",
        )
    return (joint,) * len(types), joint


def counted(op: str, types: Types) -> Answer:
    """Act as `any_dtype`, but make booleans int8."""
    joint = _joint(*types)
    joint = dtypes.int8 if joint.kind == "b" else joint
    return (joint,) * len(types), joint


def floating(op: str, types: Types) -> Answer:
    """Make operands and result floats; 8- and 16-bit integers give float32."""
    decisive = [t for t in types if t.kind != "b"] or types
    joint = _joint(*(dtypes.floating(t) for t in decisive))
    return (joint,) * len(types), joint


def quotient(op: str, types: Types) -> Answer:
    """Act as `floating`, but integers of every width give float64."""
    joint = _joint(*types)
    joint = joint if dtypes.is_float(joint) else dtypes.float64
    return (joint,) * len(types), joint


def comparison(op: str, types: Types) -> Answer:
    """Give operands the promoted dtype; the result is boolean."""
    return (_joint(*types),) * len(types), dtypes.bool_


def logical(op: str, types: Types) -> Answer:
    """Take operands as booleans; the result is boolean."""
    return (dtypes.bool_,) * len(types), dtypes.bool_


def bits(op: str, types: Types) -> Answer:
    """Act as `any_dtype`, for integers and booleans only."""
    joint = _joint(*types)
    if dtypes.is_float(joint):
        raise DTypeError(
            f"it works on the bits of integers and booleans, not on {joint.name}.",
            "Convert with astype, or use logical_and and the like.",
        )
    return (joint,) * len(types), joint


def counted_bits(op: str, types: Types) -> Answer:
    """Act as `bits`, but make booleans int8."""
    bits(op, types)
    return counted(op, types)


def selection(op: str, types: Types) -> Answer:
    """Take a boolean, then operands of the promoted dtype, which the result has."""
    joint = _joint(*types[1:])
    return (dtypes.bool_, *(joint,) * (len(types) - 1)), joint
