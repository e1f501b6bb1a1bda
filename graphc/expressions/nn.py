"""Functions of neural networks: activations, softmax, normalization, losses.

Plain functions over ops. Where a branch is not taken its argument is replaced
first, so that neither the value nor the derivative meets an overflow there.
"""

from __future__ import annotations

import math
from typing import Any

from graphc.expressions.creation import one_hot
from graphc.expressions.elementwise import FUNCTIONS as elementwise
from graphc.expressions.indexing import take_along_axis
from graphc.expressions.manipulation import expand_dims, squeeze
from graphc.expressions.operands import as_expression
from graphc.expressions.reductions import Axes, mean, var
from graphc.expressions.reductions import max as max_over
from graphc.expressions.reductions import sum as sum_over
from graphc.graph.node import Node
from graphc.ops.arithmetic import cast
from graphc.ops.messages import dtype_error
from graphc.types import dtypes

__all__ = [
    "celu",
    "elu",
    "gelu",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "identity",
    "layer_norm",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "mish",
    "one_hot",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "softsign",
    "standardize",
    "swish",
    "tanh",
]

exp, expm1, log = elementwise["exp"], elementwise["expm1"], elementwise["log"]
where, isfinite = elementwise["where"], elementwise["isfinite"]
stop_gradient, rsqrt = elementwise["stop_gradient"], elementwise["rsqrt"]
sigmoid, softplus = elementwise["sigmoid"], elementwise["softplus"]
tanh, absolute = elementwise["tanh"], elementwise["abs"]


def _floats(x: Any, what: str) -> Node:
    """Return the operand as an expression of a floating-point dtype."""
    x = as_expression(x, what=what)
    return x if dtypes.is_float(x.dtype) else cast(x, dtypes.floating(x.dtype))


def identity(x: Any, /) -> Node:
    """Return `x`."""
    return as_expression(x, what="identity")


def relu(x: Any, /) -> Node:
    """Return ``max(x, 0)``, NaN for NaN; the derivative at 0 is 0."""
    x = as_expression(x, what="relu")
    return where(x <= 0, 0, x)


def relu6(x: Any, /) -> Node:
    """Return ``min(max(x, 0), 6)``; the derivative at 0 and 6 is 0."""
    x = as_expression(x, what="relu6")
    return where(x <= 0, 0, where(x >= 6, 6, x))


def leaky_relu(x: Any, /, negative_slope: Any = 0.01) -> Node:
    """Return `x` above 0, else ``negative_slope * x``, as is the derivative at 0."""
    x = _floats(x, "leaky_relu")
    return where(x > 0, x, negative_slope * x)


def elu(x: Any, /, alpha: Any = 1.0) -> Node:
    """Return `x` above 0, else ``alpha * (exp(x) - 1)``."""
    x = _floats(x, "elu")
    above = x > 0
    return where(above, x, alpha * expm1(where(above, 0, x)))


def celu(x: Any, /, alpha: Any = 1.0) -> Node:
    """Return `x` above 0, else ``alpha * (exp(x / alpha) - 1)``."""
    x = _floats(x, "celu")
    above = x > 0
    return where(above, x, alpha * expm1(where(above, 0, x) / alpha))


def selu(x: Any, /) -> Node:
    """Return ``scale * elu(x, alpha)`` with the constants of Klambauer et al. (2017).

    "Self-normalizing neural networks", NeurIPS.
    """
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def gelu(x: Any, /, approximate: bool = True) -> Node:
    """Return ``x * P(X <= x)`` for a standard normal `X`.

    Parameters
    ----------
    x : expression or array
    approximate : bool
        True for ``x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x**3)))``, False for
        ``x/2 * erfc(-x/sqrt(2))``. Hendrycks and Gimpel, "Gaussian error linear
        units", arXiv:1606.08415.
    """
    x = _floats(x, "gelu")
    if approximate:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
        return 0.5 * x * (1 + tanh(inner))
    return 0.5 * x * elementwise["erfc"](x * -math.sqrt(0.5))


def silu(x: Any, /) -> Node:
    """Return ``x * sigmoid(x)``."""
    x = _floats(x, "silu")
    return x * sigmoid(x)


swish = silu


def mish(x: Any, /) -> Node:
    """Return ``x * tanh(softplus(x))``."""
    x = _floats(x, "mish")
    return x * tanh(softplus(x))


def softsign(x: Any, /) -> Node:
    """Return ``x / (1 + |x|)``."""
    x = _floats(x, "softsign")
    return x / (1 + absolute(x))


def log_sigmoid(x: Any, /) -> Node:
    """Return ``log(sigmoid(x))``, which is ``-softplus(-x)``."""
    return -softplus(-_floats(x, "log_sigmoid"))


def hard_tanh(x: Any, /) -> Node:
    """Return `x` limited to -1 and 1; the derivative at these is 0."""
    x = as_expression(x, what="hard_tanh")
    return where(x <= -1, -1, where(x >= 1, 1, x))


def hard_sigmoid(x: Any, /) -> Node:
    """Return ``relu6(x + 3) / 6``."""
    return relu6(_floats(x, "hard_sigmoid") + 3) / 6


def hard_swish(x: Any, /) -> Node:
    """Return ``x * hard_sigmoid(x)``."""
    x = _floats(x, "hard_swish")
    return x * hard_sigmoid(x)


def _finite_maximum(x: Node, axis: Axes) -> Node:
    """Return the maximum to shift by: held constant, and 0 where it is infinite."""
    top = stop_gradient(max_over(x, axis, keepdims=True))
    return where(isfinite(top), top, 0)


def logsumexp(x: Any, /, axis: Axes = None, *, keepdims: bool = False) -> Node:
    """Return ``log(sum(exp(x)))`` over axes, without overflow.

    Parameters
    ----------
    x : expression or array
    axis : int or sequence of int, optional
        Left out, all axes.
    keepdims : bool
        Keep the axes, with size 1.

    Returns
    -------
    expression
        -inf where all elements are -inf.
    """
    x = _floats(x, "logsumexp")
    shift = _finite_maximum(x, axis)
    total = sum_over(exp(x - shift), axis, keepdims=True)
    out = log(total) + shift
    return out if keepdims else sum_over(out, axis)


def softmax(x: Any, /, axis: Axes = -1) -> Node:
    """Return ``exp(x) / sum(exp(x))`` over an axis, without overflow.

    NaN where all elements are -inf, as in SciPy.
    """
    x = _floats(x, "softmax")
    powers = exp(x - stop_gradient(max_over(x, axis, keepdims=True)))
    return powers / sum_over(powers, axis, keepdims=True)


def log_softmax(x: Any, /, axis: Axes = -1) -> Node:
    """Return ``x - logsumexp(x)`` over an axis: the logarithm of `softmax`."""
    x = _floats(x, "log_softmax")
    shifted = x - _finite_maximum(x, axis)
    return shifted - log(sum_over(exp(shifted), axis, keepdims=True))


def standardize(x: Any, /, axis: Axes = -1, eps: float = 1e-5) -> Node:
    """Return ``(x - mean(x)) / sqrt(var(x) + eps)`` over an axis."""
    x = _floats(x, "standardize")
    spread = var(x, axis, keepdims=True)
    return (x - mean(x, axis, keepdims=True)) * rsqrt(spread + eps)


def layer_norm(
    x: Any,
    /,
    scale: Any = None,
    bias: Any = None,
    axis: Axes = -1,
    eps: float = 1e-5,
) -> Node:
    """Return ``standardize(x) * scale + bias``: layer normalization.

    Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450.

    Parameters
    ----------
    x : expression or array
    scale, bias : expression or array, optional
        Broadcast against `x`.
    axis : int or sequence of int
        What mean and variance are taken over.
    eps : float
        Added to the variance.
    """
    out = standardize(x, axis, eps)
    if scale is not None:
        out = out * scale
    return out if bias is None else out + bias


def softmax_cross_entropy(logits: Any, labels: Any, /, axis: int = -1) -> Node:
    """Return ``-log_softmax(logits)`` at the labels, one number for each example.

    Parameters
    ----------
    logits : expression or array
        Of as many classes as `axis` is long.
    labels : expression or array
        Integers that name the class, of the shape of `logits` without `axis`; or
        probabilities, of the shape of `logits`.

    Raises
    ------
    DTypeError
        If labels of the smaller shape are no integers.
    """
    logits = _floats(logits, "softmax_cross_entropy")
    labels = as_expression(labels, what="softmax_cross_entropy")
    if labels.ndim == logits.ndim:
        return -sum_over(labels * log_softmax(logits, axis), axis)
    if labels.dtype.kind not in "iu":
        raise dtype_error(
            "softmax_cross_entropy",
            [logits, labels],
            "labels with one axis less name classes and must be integers.",
        )
    chosen = take_along_axis(logits, expand_dims(labels, axis), axis)
    return logsumexp(logits, axis) - squeeze(chosen, axis)
