"""What `graphc bench` runs: a dozen workloads, each written once for every peer.

A workload is a function of a namespace of array functions and of arrays, which each
peer calls with its own; beside it stands the same computation by hand in NumPy, with
its derivatives, which is a peer as well and in float64 what all results are held to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Workload:
    """One thing to compute.

    Attributes
    ----------
    name, summary : str
    function : callable
        Takes a namespace (`namespace`) and the inputs; returns one array or a
        tuple of them.
    by_hand : callable
        Takes NumPy arrays and returns a list of what `kind` asks for.
    inputs : callable
        Takes a random generator and returns the arrays.
    kind : {"forward", "value_and_grad", "jacobian"}
        The function's results; its value and gradients; its Jacobian.
    wrt : tuple of int
        The inputs to differentiate by.
    flops : int
        Operations of its matrix products, where these take the time; else 0, and the
        limit is reading the inputs and writing the results once.
    """

    name: str
    summary: str
    function: Callable[..., Any]
    by_hand: Callable[..., Arrays]
    inputs: Callable[[np.random.Generator], Arrays]
    kind: str = "forward"
    wrt: tuple[int, ...] = ()
    flops: int = 0

    def arrays(self) -> Arrays:
        """Return the inputs, the same ones in every process."""
        return self.inputs(np.random.default_rng(0))

    def expected(self) -> Arrays:
        """Return the results in float64."""
        wide = [a.astype(np.float64) for a in self.arrays()]
        return [np.asarray(r) for r in self.by_hand(*wide)]


def _normal(
    *shapes: tuple[int, ...], dtype: str = "float32", scale: float = 1.0
) -> Callable[[np.random.Generator], Arrays]:
    def make(rng: np.random.Generator) -> Arrays:
        return [(scale * rng.standard_normal(s)).astype(dtype) for s in shapes]

    return make


_FUNCTIONS = ("sin", "exp", "log", "tanh", "sqrt", "abs", "maximum")


def namespace(peer: str) -> Any:
    """Return the array functions of a peer under the names that workloads use.

    They are the elementwise ones, and ``sum(x, axis)`` and ``max(x, axis)``.
    """
    if peer == "torch":
        import torch

        return SimpleNamespace(
            **{n: getattr(torch, n) for n in _FUNCTIONS if n != "maximum"},
            maximum=lambda x, least: torch.clamp(x, min=least),
            sum=torch.sum,
            max=torch.amax,
        )
    if peer == "casadi":
        import casadi

        return SimpleNamespace(
            **{n: getattr(casadi, n) for n in ("sin", "exp", "log", "tanh", "sqrt")},
            abs=casadi.fabs,
            maximum=casadi.fmax,
            sum=lambda x, axis: casadi.sum1(x),
        )
    module = import_module(_MODULES[peer])
    return SimpleNamespace(
        **{n: getattr(module, n) for n in (*_FUNCTIONS, "sum", "max")}
    )


_MODULES = {
    "numpy": "numpy",
    "cupy": "cupy",
    "graphc": "graphc",
    "jax": "jax.numpy",
    "pytensor": "pytensor.tensor",
}


# ---------------------------------------------------------------- elementwise


def _map(xp: Any, x: Any) -> Any:
    return xp.sin(x) * xp.exp(-x * x) + xp.tanh(x) / (1 + x * x)


def _map_by_hand(x: np.ndarray) -> Arrays:
    return [_map(np, x)]


def _map_sum(xp: Any, x: Any) -> Any:
    return xp.sum(_map(xp, x), 0)


def _map_gradient(x: np.ndarray) -> Arrays:
    s, e, t, q = np.sin(x), np.exp(-x * x), np.tanh(x), 1 + x * x
    slope = (np.cos(x) - 2 * x * s) * e + (1 - t * t) / q - 2 * x * t / (q * q)
    return [np.sum(s * e + t / q), slope]


def _call(xp: Any, x: Any, y: Any, z: Any) -> Any:
    return x * y + xp.sin(z)


def _adam(xp: Any, p: Any, g: Any, m: Any, v: Any) -> Any:
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * (g * g)
    return p - 0.01 * m / (xp.sqrt(v) + 1e-8), m, v


def _adam_inputs(rng: np.random.Generator) -> Arrays:
    p, g, m, v = _normal(*[(10**6,)] * 4)(rng)
    return [p, g, m, v * v]


# ------------------------------------------------------------------- by rows


def _log_sum_exp(xp: Any, x: Any) -> Any:
    largest = xp.max(x, -1)
    return largest + xp.log(xp.sum(xp.exp(x - largest[:, None]), -1))


def _layer_norm(xp: Any, x: Any, gain: Any, bias: Any) -> Any:
    n = x.shape[-1]
    centred = x - (xp.sum(x, -1) / n)[:, None]
    variance = xp.sum(centred * centred, -1) / n
    return centred / xp.sqrt(variance + 1e-5)[:, None] * gain + bias


def _cross_entropy(xp: Any, logits: Any, targets: Any) -> Any:
    loss = _log_sum_exp(xp, logits) - xp.sum(logits * targets, -1)
    return xp.sum(loss, 0) / logits.shape[0]


def _cross_entropy_gradient(logits: np.ndarray, targets: np.ndarray) -> Arrays:
    shifted = logits - logits.max(-1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(-1, keepdims=True)
    loss = np.mean(np.log(total[:, 0]) - (shifted * targets).sum(-1))
    return [loss, (e / total - targets) / logits.dtype.type(len(logits))]


def _one_hot(rng: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[rng.integers(0, classes, rows)]


# ---------------------------------------------------------- models with products


def _logistic(xp: Any, w: Any, x: Any, y: Any) -> Any:
    z = -y * (x @ w)
    # log(1 + exp(z)) without overflow
    return xp.sum(xp.maximum(z, 0) + xp.log(1 + xp.exp(-xp.abs(z))), 0) / x.shape[0]


def _logistic_gradient(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> Arrays:
    z = -y * (x @ w)
    e = np.exp(-np.abs(z))
    loss = np.mean(np.maximum(z, 0) + np.log1p(e))
    sigmoid = np.where(z > 0, 1.0, e) / (1 + e)
    return [loss, -(x.T @ (y * sigmoid)) / len(x)]


def _logistic_inputs(rng: np.random.Generator) -> Arrays:
    x = rng.standard_normal((100_000, 50))
    return [rng.standard_normal(50) / 7, x, np.sign(rng.standard_normal(100_000))]


def _network(xp: Any, w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> Any:
    return _cross_entropy(xp, xp.maximum(x @ w1 + b1, 0) @ w2 + b2, y)


def _network_gradient(
    w1: np.ndarray,
    b1: np.ndarray,
    w2: np.ndarray,
    b2: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
) -> Arrays:
    h = np.maximum(x @ w1 + b1, 0)
    loss, d = _cross_entropy_gradient(h @ w2 + b2, y)
    dh = (d @ w2.T) * (h > 0)
    return [loss, x.T @ dh, dh.sum(0), h.T @ d, d.sum(0)]


def _network_inputs(
    rows: int, wide: int, hidden: int, classes: int
) -> Callable[[np.random.Generator], Arrays]:
    def make(rng: np.random.Generator) -> Arrays:
        w1, b1, w2, b2, x = _normal(
            (wide, hidden), (hidden,), (hidden, classes), (classes,), (rows, wide)
        )(rng)
        root = np.float32
        w1, w2 = w1 / root(wide**0.5), w2 / root(hidden**0.5)
        return [w1, b1, w2, b2, x, _one_hot(rng, rows, classes)]

    return make


def _mixture(xp: Any, weights: Any, means: Any, scales: Any, x: Any) -> Any:
    distance = (x[:, None, :] - means[None, :, :]) * xp.exp(-scales)[None, :, :]
    exponent = xp.sum(-0.5 * distance * distance, -1) - xp.sum(scales, -1)[None, :]
    return xp.sum(_log_sum_exp(xp, weights[None, :] + exponent), 0)


def _mixture_gradient(
    weights: np.ndarray, means: np.ndarray, scales: np.ndarray, x: np.ndarray
) -> Arrays:
    inverse = np.exp(-scales)[None]
    distance = (x[:, None] - means[None]) * inverse
    terms = weights - 0.5 * (distance**2).sum(-1) - scales.sum(-1)
    largest = terms.max(-1, keepdims=True)
    e = np.exp(terms - largest)
    total = e.sum(-1, keepdims=True)
    r = (e / total)[:, :, None]
    return [
        np.sum(largest + np.log(total)),
        r[:, :, 0].sum(0),
        (r * distance * inverse).sum(0),
        (r * (distance**2 - 1)).sum(0),
    ]


def _mixture_inputs(rng: np.random.Generator) -> Arrays:
    weights, means, scales, x = _normal((16,), (16, 8), (16, 8), (2000, 8))(rng)
    return [a.astype(np.float64) for a in (weights, means, scales * 0.2, x)]


def _chain(xp: Any, a: Any, b: Any, c: Any) -> Any:
    return xp.tanh(a @ b) @ c


# --------------------------------------------------------------------- scalar


def _rosenbrock(xp: Any, x: Any) -> Any:
    here, there = x[:-1], x[1:]
    step = there - here * here
    return xp.sum(100 * step * step + (1 - here) * (1 - here), 0)


def _rosenbrock_gradient(x: np.ndarray) -> Arrays:
    step, rest = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    gradient = np.zeros_like(x)
    gradient[1:] += 200 * step
    gradient[:-1] -= 400 * x[:-1] * step + 2 * rest
    return [np.sum(100 * step**2 + rest**2), gradient]


def _layer(xp: Any, x: Any, w: Any) -> Any:
    return xp.tanh(w @ x)


def _layer_jacobian(x: np.ndarray, w: np.ndarray) -> Arrays:
    y = np.tanh(w @ x)
    return [(1 - y * y)[:, None] * w]


def _forward(function: Callable[..., Any]) -> Callable[..., Arrays]:
    """Return a forward computation by hand that is the function itself on NumPy."""

    def by_hand(*arrays: np.ndarray) -> Arrays:
        out = function(namespace("numpy"), *arrays)
        return list(out) if isinstance(out, tuple) else [out]

    return by_hand


_ALL: Sequence[Workload] = [
    Workload(
        "elementwise",
        "sin(x) exp(-x^2) + tanh(x) / (1 + x^2), 10^6 float32",
        _map,
        _map_by_hand,
        _normal((10**6,)),
    ),
    Workload(
        "elementwise_grad",
        "the gradient of its sum",
        _map_sum,
        _map_gradient,
        _normal((10**6,)),
        "value_and_grad",
        (0,),
    ),
    Workload(
        "small_call",
        "x y + sin(z), three arrays of 5 float64",
        _call,
        _forward(_call),
        _normal((5,), (5,), (5,), dtype="float64"),
    ),
    Workload(
        "adam",
        "a step of Adam, 10^6 float32",
        _adam,
        _forward(_adam),
        _adam_inputs,
    ),
    Workload(
        "logsumexp",
        "of each row, 2000 x 2000 float32",
        _log_sum_exp,
        _forward(_log_sum_exp),
        _normal((2000, 2000)),
    ),
    Workload(
        "layer_norm",
        "4096 x 768 float32",
        _layer_norm,
        _forward(_layer_norm),
        _normal((4096, 768), (768,), (768,)),
    ),
    Workload(
        "cross_entropy",
        "with its gradient, 1024 x 1000 float32",
        _cross_entropy,
        _cross_entropy_gradient,
        lambda rng: [*_normal((1024, 1000))(rng), _one_hot(rng, 1024, 1000)],
        "value_and_grad",
        (0,),
    ),
    Workload(
        "logistic",
        "regression with its gradient, 100,000 x 50 float64",
        _logistic,
        _logistic_gradient,
        _logistic_inputs,
        "value_and_grad",
        (0,),
    ),
    Workload(
        "network_small",
        "32 x 64-32-10 with its gradients, float32",
        _network,
        _network_gradient,
        _network_inputs(32, 64, 32, 10),
        "value_and_grad",
        (0, 1, 2, 3),
    ),
    Workload(
        "network_big",
        "256 x 784-1024-10 with its gradients, float32",
        _network,
        _network_gradient,
        _network_inputs(256, 784, 1024, 10),
        "value_and_grad",
        (0, 1, 2, 3),
        flops=2 * 256 * (2 * 784 * 1024 + 3 * 1024 * 10),
    ),
    Workload(
        "mixture",
        "of 16 Gaussians, 2000 x 8, with its gradients, float64",
        _mixture,
        _mixture_gradient,
        _mixture_inputs,
        "value_and_grad",
        (0, 1, 2),
    ),
    Workload(
        "products",
        "tanh(A B) C, 64 batches of 96 x 96 float32",
        _chain,
        _forward(_chain),
        _normal(*[(64, 96, 96)] * 3, scale=0.1),
        flops=4 * 64 * 96**3,
    ),
    Workload(
        "rosenbrock",
        "with its gradient, 64 float64",
        _rosenbrock,
        _rosenbrock_gradient,
        _normal((64,), dtype="float64"),
        "value_and_grad",
        (0,),
    ),
    Workload(
        "jacobian",
        "of tanh(W x) by x, 64 x 64 float64",
        _layer,
        _layer_jacobian,
        _normal((64,), (64, 64), dtype="float64", scale=0.2),
        "jacobian",
        (0,),
    ),
]

WORKLOADS = {w.name: w for w in _ALL}
"""The workloads by name."""
