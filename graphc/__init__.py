"""Symbolic computation graphs: expressions, derivatives, compiled kernels.

Write expressions with NumPy's words, differentiate them, compile them::

    import graphc as cg

    x = cg.vector("x", "n")
    y = (cg.sin(x) * cg.exp(-x * x)).sum()
    f = cg.compile([x], [y, cg.grad(y, x)])
    value, gradient = f([0.0, 1.0, 2.0])

Names are loaded when they are first used, so importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphc.graph import operators as _operators

__version__ = "0.1.0"

_HOMES = {
    "graphc.derivatives.api": (
        *("grad", "hessian", "hvp", "jacobian", "jvp", "stop_gradient"),
        *("value_and_grad", "vjp", "vmap"),
    ),
    "graphc.derivatives.check": ("check_grad",),
    "graphc.derivatives.choice": ("explain",),
    "graphc.derivatives.sparsity.api": ("sparsity",),
    "graphc.derivatives.sparsity.colouring": ("Coloring", "coloring"),
    "graphc.derivatives.sparsity.matrix": ("SparseMatrix",),
    "graphc.derivatives.symbolic.differentiate": ("diff", "symbolic_cost"),
    "graphc.derivatives.symbolic.from_sympy": ("from_sympy",),
    "graphc.derivatives.symbolic.to_sympy": ("to_sympy",),
    "graphc.derivatives.symbolic.user_ops": ("elementwise",),
    "graphc.derivatives.custom": ("custom_derivative",),
    "graphc.derivatives.implicit": ("implicit",),
    "graphc.derivatives.linearize": ("linearize",),
    "graphc.graph.graph": ("Graph",),
    "graphc.graph.node": ("Node",),
    "graphc.graph.origin": ("scope",),
    "graphc.runtime.compile": ("compile", "evaluate", "jit"),
    "graphc.runtime.function": ("Function",),
    "graphc.surfaces.cost.compare": ("ModeReport", "compare_modes"),
    "graphc.surfaces.cost.count": ("cost",),
    "graphc.surfaces.cost.sweep": ("compare_depths",),
    "graphc.surfaces.draw": ("draw", "to_networkx"),
    "graphc.surfaces.lambdify": ("lambdify",),
    "graphc.types.config": ("config", "options"),
    "graphc.types.errors": (
        *("AllocationError", "CompileError", "ConfigError", "DTypeError"),
        *("DisconnectedInputError", "DrawError", "GradientError", "GraphcError"),
        *("IndexOutOfRangeError", "InputError", "InternalError"),
        *("MemoryBudgetError", "MissingPackageError", "NonFiniteError"),
        *("NotDifferentiableError", "ShapeError", "TracingError"),
    ),
    "graphc.types.sizes": ("Size",),
    "graphc.types.tensor_type": ("TensorType",),
}
"""The module of each name that is not one of the expression layer's functions."""

_PROVIDERS = {
    "profile": "graphc.surfaces.cost.profile",
    "stabilized": "graphc.passes.stabilize",
    "product_with_one_hot": "graphc.passes.simplify_one_hot",
    "notebook_svg": "graphc.surfaces.draw.notebook",
    "notebook_latex": "graphc.surfaces.draw.notebook",
}
"""The module that provides a function to other layers which is no public name."""

_EXPRESSIONS = "graphc.expressions.functions"
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def _load(module: str) -> Any:
    """Import a module whole: one that Ctrl-C cut short would declare its ops twice."""
    from graphc.types.interrupts import postponed

    with postponed():
        return import_module(module)


def _provide(name: str) -> None:
    """Load the layer that provides a function to `graphc.graph.operators`."""
    _load(_PROVIDERS.get(name) or _HOME.get(name, "graphc.expressions.methods"))


_operators.FUNCTIONS.loader = _provide


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return _public_names()
    if name.startswith("_"):
        raise AttributeError(f"module 'graphc' has no attribute {name!r}")
    if name == "Expression":
        value = _load("graphc.graph.node").Node
    elif name in _HOME:
        value = getattr(_load(_HOME[name]), name)
    else:
        functions = _load(_EXPRESSIONS)
        if name not in functions.__all__:
            raise AttributeError(_unknown(name))
        value = getattr(functions, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_public_names()})


def _public_names() -> list[str]:
    functions = _load(_EXPRESSIONS)
    return sorted({*_HOME, *functions.__all__, "Expression", "__version__"})


def _unknown(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, _public_names(), n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"module 'graphc' has no attribute {name!r}.{hint}"


# For type checkers and editors; at run time `__getattr__` loads the same names.
# ruff: noqa: F401, F403
if TYPE_CHECKING:
    from graphc.derivatives.api import (
        grad,
        hessian,
        hvp,
        jacobian,
        jvp,
        stop_gradient,
        value_and_grad,
        vjp,
        vmap,
    )
    from graphc.derivatives.check import check_grad
    from graphc.derivatives.choice import explain
    from graphc.derivatives.custom import custom_derivative
    from graphc.derivatives.implicit import implicit
    from graphc.derivatives.linearize import linearize
    from graphc.derivatives.sparsity.api import sparsity
    from graphc.derivatives.sparsity.colouring import Coloring, coloring
    from graphc.derivatives.sparsity.matrix import SparseMatrix
    from graphc.derivatives.symbolic.differentiate import diff, symbolic_cost
    from graphc.derivatives.symbolic.from_sympy import from_sympy
    from graphc.derivatives.symbolic.to_sympy import to_sympy
    from graphc.derivatives.symbolic.user_ops import elementwise
    from graphc.expressions import linalg, nn
    from graphc.expressions.creation import *
    from graphc.expressions.indexing import *
    from graphc.expressions.inputs import *
    from graphc.expressions.joining import *
    from graphc.expressions.manipulation import *
    from graphc.expressions.numeric import *
    from graphc.expressions.products import *
    from graphc.expressions.reductions import *
    from graphc.graph.graph import Graph
    from graphc.graph.node import Node
    from graphc.graph.node import Node as Expression
    from graphc.graph.origin import scope
    from graphc.runtime.compile import compile, evaluate, jit
    from graphc.runtime.function import Function
    from graphc.surfaces.cost.compare import ModeReport, compare_modes
    from graphc.surfaces.cost.count import cost
    from graphc.surfaces.cost.sweep import compare_depths
    from graphc.surfaces.draw import draw, to_networkx
    from graphc.surfaces.lambdify import lambdify
    from graphc.types.config import config, options
    from graphc.types.errors import *
    from graphc.types.sizes import Size
    from graphc.types.tensor_type import TensorType
