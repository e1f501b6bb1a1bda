"""All functions on expressions in one namespace: what `graphc` exports of this layer.

A name that several modules have is taken from the last one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from graphc.expressions import (
    creation,
    elementwise,
    indexing,
    inputs,
    joining,
    linalg,
    manipulation,
    nn,
    numeric,
    products,
    reductions,
)
from graphc.types import dtypes

_MODULES = (
    *(elementwise, numeric, inputs, creation, manipulation, joining, reductions),
    *(products, indexing),
)

FUNCTIONS: dict[str, Any] = {
    name: getattr(module, name) for module in _MODULES for name in module.__all__
}
FUNCTIONS |= {
    name: getattr(nn, name) for name in ("log_softmax", "logsumexp", "relu", "softmax")
}
CONSTANTS: dict[str, Any] = {
    "e": math.e,
    "euler_gamma": 0.5772156649015329,
    "inf": math.inf,
    "nan": math.nan,
    "newaxis": None,
    "pi": math.pi,
}
DTYPES: dict[str, Any] = {
    **{name: dtype for name, dtype in dtypes.SUPPORTED.items() if name != "bool"},
    "bool_": dtypes.bool_,
}
NAMESPACES: dict[str, Any] = {"linalg": linalg, "nn": nn}

globals().update(FUNCTIONS | CONSTANTS | DTYPES | NAMESPACES)

__all__ = [*FUNCTIONS, *CONSTANTS, *DTYPES, *NAMESPACES]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
