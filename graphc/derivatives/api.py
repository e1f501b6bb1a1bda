"""What users call: grad, jvp, vjp, jacobian, hessian, hvp, stop_gradient.

Each takes an expression and gives expressions, or takes a Python function and
gives a function, as JAX's do.
"""

from __future__ import annotations

from typing import Any

from graphc.derivatives.arguments import (
    ones,
    read_like,
    read_result,
    read_scalar,
    read_wrt,
)
from graphc.derivatives.forward import push_forward
from graphc.derivatives.reverse import pull_back
from graphc.derivatives.transforms import Transform, is_function, transform, vmap
from graphc.expressions.containers import tree_map
from graphc.ops import arithmetic
from graphc.ops.arithmetic import as_node
from graphc.types.errors import InputError

__all__ = [
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "stop_gradient",
    "value_and_grad",
    "vjp",
    "vmap",
]


def grad(
    y: Any,
    wrt: Any = None,
    *,
    argnums: Any = 0,
    has_aux: bool = False,
    disconnected: str = "raise",
) -> Any:
    """Return the gradient of a scalar, by reverse mode.

    Parameters
    ----------
    y : expression or callable
        A scalar of shape (), or a function that gives one.
    wrt : expression or nested list, tuple, dict of them
        What to differentiate by, inputs or inner expressions; float32 or float64.
        The derivative by an inner expression is the one by a perturbation added
        to it. For a function: the same as `argnums`.
    argnums : int or sequence of int
        For a function, the positions of the arguments to differentiate by.
    has_aux : bool
        For a function, that it returns ``(y, aux)``; the gradient function then
        returns ``(gradient, aux)``.
    disconnected : {"raise", "zero"}
        What to do where `y` does not depend on one of `wrt`, or only through
        discrete results. For a function it is always "zero".

    Returns
    -------
    nested containers of expressions, or function
        dy/dwrt, of the shape and dtypes of `wrt`.

    Raises
    ------
    ShapeError
        If `y` is not a scalar.
    DTypeError
        If `y` or one of `wrt` is not of a floating-point dtype.
    InputError
        If a part of `wrt` is no expression.
    DisconnectedInputError
        If `y` does not depend on one of `wrt`.
    NotDifferentiableError
        If `y` depends on one of `wrt` only through discrete results.

    Notes
    -----
    At kinks: relu'(0) = abs'(0) = 0; ties of maximum, minimum, max and min split
    evenly. A branch that `where`, `maximum`, `clip` or `abs` does not take
    contributes exactly zero, also where its own derivative is infinite or NaN.

    Examples
    --------
    >>> dx = grad((x * x).sum(), x)  # doctest: +SKIP
    >>> grad(lambda x: x * x)(3.0)  # doctest: +SKIP
    6.0
    """
    if is_function(y):

        def rule(result: Any, arguments: Any) -> Any:
            if has_aux:
                value, aux = result
                return grad(value, arguments, disconnected="zero"), aux
            return grad(result, arguments, disconnected="zero")

        return transform(y, argnums if wrt is None else wrt, rule)
    return value_and_grad(y, wrt, disconnected=disconnected)[1]


def value_and_grad(
    y: Any,
    wrt: Any = None,
    *,
    argnums: Any = 0,
    has_aux: bool = False,
    disconnected: str = "raise",
) -> Any:
    """Return ``(y, grad(y, wrt))``; see `grad`.

    With `has_aux` the function returned gives ``((y, aux), gradient)``.
    """
    if is_function(y):

        def rule(result: Any, arguments: Any) -> Any:
            value = result[0] if has_aux else result
            return result, grad(value, arguments, disconnected="zero")

        return transform(y, argnums if wrt is None else wrt, rule)
    scalar = read_scalar(y, "grad")
    nodes, structure = read_wrt(wrt)
    gradients = pull_back([scalar], ones([scalar]), nodes, disconnected)
    return scalar, structure.unflatten(gradients)


def jvp(
    y: Any,
    wrt: Any = None,
    tangents: Any = None,
    *,
    argnums: Any = 0,
    disconnected: str = "raise",
) -> Any:
    """Return the Jacobian-vector product dy/dwrt @ tangents, by forward mode.

    Parameters
    ----------
    y : expression, nested containers of them, or callable
    wrt : expression or nested list, tuple, dict of them
    tangents : of the structure, shapes and dtypes of `wrt`
        Expressions, arrays or numbers.
    argnums, disconnected
        As in `grad`.

    Returns
    -------
    nested containers of expressions
        Of the structure, shapes and dtypes of `y`.

    Of a function, ``jvp(fun)`` returns a function of its arguments followed by the
    tangents (of the argument at `argnums`, or a tuple of them), and ``jvp(fun,
    primals, tangents)`` returns ``(fun(*primals), tangent)``, as JAX's does.

    Raises
    ------
    ShapeError, DTypeError, InputError
        If the tangents do not fit `wrt`.
    DisconnectedInputError, NotDifferentiableError
        As in `grad`.
    """
    if is_function(y):

        def tangent(result: Any, arguments: Any, seeds: Any) -> Any:
            return jvp(result, arguments, seeds, disconnected="zero")

        def both(result: Any, arguments: Any, seeds: Any) -> Any:
            return result, tangent(result, arguments, seeds)

        if wrt is None:
            return transform(y, argnums, tangent, extra=1)
        for name, given in (("arguments", wrt), ("tangents", tangents)):
            if not isinstance(given, (tuple, list)):
                raise InputError(
                    f"jvp: a function is given the tuple of its {name}, not a value of "
                    f"type {type(given).__name__}. Write jvp(fun, (x,), (v,)), or "
                    "jvp(fun)(x, v)."
                )
        every = tuple(range(len(wrt)))
        return transform(y, every, both, extra=1)(*wrt, tuple(tangents))
    outputs, y_structure = read_result(y, "jvp")
    nodes, structure = read_wrt(wrt)
    seeds = read_like(tangents, nodes, structure, "tangent")
    return y_structure.unflatten(push_forward(outputs, nodes, seeds, disconnected))


def vjp(
    y: Any,
    wrt: Any = None,
    cotangent: Any = None,
    *more: Any,
    argnums: Any = 0,
    disconnected: str = "raise",
) -> Any:
    """Return the vector-Jacobian product cotangent @ dy/dwrt, by reverse mode.

    Parameters
    ----------
    y : expression, nested containers of them, or callable
    wrt : expression or nested list, tuple, dict of them
    cotangent : of the structure, shapes and dtypes of `y`
        Expressions, arrays or numbers.
    argnums, disconnected
        As in `grad`.

    Returns
    -------
    nested containers of expressions
        Of the structure, shapes and dtypes of `wrt`.

    Of a function, ``vjp(fun)`` returns a function of its arguments followed by the
    cotangent, and ``vjp(fun, *primals)`` returns ``fun(*primals)`` and the function
    that takes a cotangent to a tuple of cotangents, as JAX's does.

    Raises
    ------
    ShapeError, DTypeError, InputError
        If the cotangent does not fit `y`.
    DisconnectedInputError, NotDifferentiableError
        As in `grad`.
    """
    if is_function(y):

        def pulled(result: Any, arguments: Any, seed: Any) -> Any:
            return vjp(result, arguments, seed, disconnected="zero")

        primals = [p for p in (wrt, cotangent) if p is not None] + list(more)
        if not primals:
            return transform(y, argnums, pulled, extra=1)
        pull = transform(y, tuple(range(len(primals))), pulled, extra=1)
        return Transform(y, y)(*primals), lambda seed: pull(*primals, seed)
    outputs, y_structure = read_result(y, "vjp")
    nodes, structure = read_wrt(wrt)
    seeds = read_like(cotangent, outputs, y_structure, "cotangent")
    return structure.unflatten(pull_back(outputs, seeds, nodes, disconnected))


def jacobian(
    y: Any,
    x: Any = None,
    mode: str = "auto",
    *,
    argnums: Any = 0,
    disconnected: str = "raise",
) -> Any:
    """Return the Jacobian dy/dx, all derivatives of each element of `y`.

    Parameters
    ----------
    y : expression, nested containers of them, or callable
    x : expression or nested list, tuple, dict of them
        For a function: the same as `argnums`.
    mode : {"auto", "forward", "reverse", "sparse", "symbolic"}
        "forward" maps the Jacobian-vector product over the identity basis of `x`,
        "reverse" the vector-Jacobian product over that of `y`: one batched sweep
        each. "sparse" finds the structure (`sparsity`) and computes the entries in as
        few sweeps, forward and reverse, as a colouring needs; sizes must be integers.
        "symbolic" has sympy differentiate, element by element: for small expressions
        of sizes that are integers (the option `symbolic_limit`).
        "auto" counts what each would cost, and what it costs to multiply the Jacobians
        of parts of the function in another order (`derivatives.choice`); `explain`
        says what it weighed. A symbolic dimension counts as 64. It takes "sparse"
        only for a million entries and more that cost a quarter of a dense array's.
    argnums, disconnected
        As in `grad`.

    Returns
    -------
    nested containers of expressions
        Of the structure of `y`, each leaf replaced by the structure of `x`, with
        arrays of shape ``y.shape + x.shape`` and the dtype of `x`. For "sparse" each is
        a `SparseMatrix` of shape ``(y.size, x.size)``, which evaluates to a
        `scipy.sparse.csr_array`.

    Raises
    ------
    ConfigError
        For a mode that is not available.
    InputError, ShapeError
        In sparse and symbolic mode, for symbolic sizes; in symbolic mode past its
        limit, and for ops sympy has no word for.
    DTypeError, InputError, DisconnectedInputError, NotDifferentiableError
        As in `grad`.
    """
    if is_function(y):
        return _at_result(jacobian, "jacobian", y, x, mode, argnums)
    from graphc.derivatives.jacobians import jacobian_of

    return jacobian_of(y, x, mode, disconnected)


def hessian(
    y: Any,
    x: Any = None,
    mode: str = "auto",
    *,
    argnums: Any = 0,
    disconnected: str = "raise",
) -> Any:
    """Return the Hessian of a scalar, d2y/dx dx.

    Parameters
    ----------
    y : expression or callable
        A scalar of shape (), or a function that gives one.
    x : expression or nested list, tuple, dict of them
        For a function: the same as `argnums`.
    mode : {"auto", "forward", "reverse", "sparse", "symbolic"}
        How the gradient is differentiated. "sparse" is forward over reverse, in as few
        sweeps as a star colouring needs; "symbolic" is as in `jacobian`. "auto" is
        forward over reverse, "symbolic" or "sparse", as in `jacobian`.
    argnums, disconnected
        As in `grad`. `y` must depend on `x`; where only its gradient does not,
        the Hessian is zero.

    Returns
    -------
    nested containers of expressions
        Of the structure of `x`, each leaf replaced by the structure of `x`, with
        arrays of shape ``x_i.shape + x_j.shape``. For "sparse" each is a
        `SparseMatrix` of shape ``(x_i.size, x_j.size)``.

    Raises
    ------
    ConfigError
        For a mode that is not available.
    ShapeError, DTypeError, InputError, DisconnectedInputError, NotDifferentiableError
        As in `grad`.
    """
    if is_function(y):
        return _at_result(hessian, "hessian", y, x, mode, argnums)
    from graphc.derivatives.jacobians import hessian_of

    return hessian_of(y, x, mode, disconnected)


def hvp(
    y: Any,
    x: Any = None,
    v: Any = None,
    *,
    argnums: Any = 0,
    disconnected: str = "raise",
) -> Any:
    """Return the Hessian of a scalar times a vector, forward over reverse.

    Parameters
    ----------
    y : expression or callable
        A scalar of shape (), or a function that gives one. Of a function, a
        function of its arguments followed by `v` is returned; ``hvp(fun, x, v)``
        calls it.
    x : expression or nested list, tuple, dict of them
        For a function: the same as `argnums`.
    v : of the structure, shapes and dtypes of `x`
    argnums, disconnected
        As in `hessian`.

    Returns
    -------
    nested containers of expressions
        Of the structure, shapes and dtypes of `x`.
    """
    if is_function(y):

        def rule(result: Any, arguments: Any, seed: Any) -> Any:
            return hvp(result, arguments, seed, disconnected="zero")

        if v is not None:
            return transform(y, argnums, rule, extra=1)(x, v)
        return transform(y, argnums if x is None else x, rule, extra=1)
    scalar = read_scalar(y, "hvp")
    nodes, structure = read_wrt(x)
    seeds = read_like(v, nodes, structure, "v")
    gradients = pull_back([scalar], ones([scalar]), nodes, disconnected)
    return structure.unflatten(push_forward(gradients, nodes, seeds, "zero"))


def _at_result(
    derivative: Any, name: str, fun: Any, x: Any, mode: str, argnums: Any
) -> Transform:
    """Return a function whose result is a derivative of that of `fun`."""
    from graphc.derivatives.jacobians import check_mode

    check_mode(name, mode)

    def rule(result: Any, arguments: Any) -> Any:
        return derivative(result, arguments, mode, disconnected="zero")

    return transform(fun, argnums if x is None else x, rule)


def stop_gradient(x: Any) -> Any:
    """Return `x` unchanged, but constant for all derivatives.

    Parameters
    ----------
    x : expression, array or number, or nested containers of them
    """
    return tree_map(lambda leaf: arithmetic.stop_gradient(as_node(leaf)), x)
