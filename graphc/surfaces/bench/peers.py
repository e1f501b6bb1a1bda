"""The peers of `graphc bench`: how each compiles and runs a workload.

An adapter of a peer is a function of a workload and its arrays that returns a function
of nothing, whose result is a list of arrays that are ready. Adapters choose among a
peer's public options once, for all workloads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from graphc.surfaces.bench.workloads import Workload, namespace


class Unsupported(Exception):
    """A peer has no way to compute this workload."""


Runner = Callable[[], list[Any]]


def _listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _numpy(workload: Workload, arrays: Sequence[np.ndarray]) -> Runner:
    return lambda: workload.by_hand(*arrays)


def compiled_by_graphc(
    workload: Workload, arrays: Sequence[np.ndarray], backend: str
) -> Callable[..., Any]:
    """Return a workload as graphc compiles it for a backend."""
    import graphc as cg

    inputs = [cg.tensor(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    result = workload.function(namespace("graphc"), *inputs)
    wrt = [inputs[i] for i in workload.wrt]
    outputs = _listed(result)
    if workload.kind == "value_and_grad":
        outputs += cg.grad(result, wrt)
    elif workload.kind == "jacobian":
        outputs = [cg.jacobian(result, wrt[0])]
    return cg.compile(inputs, outputs, backend=backend)


def _graphc(workload: Workload, arrays: Sequence[np.ndarray]) -> Runner:
    function = compiled_by_graphc(workload, arrays, "cpu")
    return lambda: function(*arrays)


def _jax(workload: Workload, arrays: Sequence[np.ndarray]) -> Runner:
    import jax

    call = jax_call(workload, arrays)
    return lambda: jax.block_until_ready(call())


def jax_call(workload: Workload, arrays: Sequence[np.ndarray]) -> Runner:
    """Return a call of a workload compiled by JAX, which does not wait for it."""
    import jax

    jax.config.update("jax_enable_x64", True)
    xp = namespace("jax")

    def plain(*args: Any) -> Any:
        return workload.function(xp, *args)

    def computed(*args: Any) -> list[Any]:
        if workload.kind == "value_and_grad":
            value, gradients = jax.value_and_grad(plain, workload.wrt)(*args)
            return [value, *gradients]
        if workload.kind == "jacobian":
            return [jax.jacobian(plain, workload.wrt[0])(*args)]
        return _listed(plain(*args))

    compiled = jax.jit(computed)
    given = [jax.numpy.asarray(a) for a in arrays]
    return lambda: compiled(*given)


def _torch(workload: Workload, arrays: Sequence[np.ndarray]) -> Runner:
    import torch

    return torch_call(workload, [torch.from_numpy(a) for a in arrays])


def torch_call(
    workload: Workload, given: Sequence[Any], compiler: Callable[..., Any] | None = None
) -> Runner:
    """Return a call of a workload on PyTorch's tensors, compiled or as it stands."""
    import torch

    xp = namespace("torch")

    def plain(*args: Any) -> Any:
        return workload.function(xp, *args)

    value_of = plain if compiler is None else compiler(plain)

    def gradients() -> list[Any]:
        args = list(given)
        leaves = [given[i].detach().requires_grad_() for i in workload.wrt]
        for i, leaf in zip(workload.wrt, leaves):
            args[i] = leaf
        value = value_of(*args)
        return [value.detach(), *torch.autograd.grad(value, leaves)]

    def forward() -> list[Any]:
        with torch.no_grad():
            return _listed(value_of(*given))

    if workload.kind == "value_and_grad":
        return gradients
    if workload.kind == "jacobian":
        derivative = torch.func.jacrev(plain, workload.wrt[0])
        return lambda: [derivative(*given)]
    return forward


def _pytensor(workload: Workload, arrays: Sequence[np.ndarray]) -> Runner:
    import pytensor
    import pytensor.tensor as pt

    inputs = [
        pt.tensor(f"x{i}", dtype=str(a.dtype), shape=a.shape)
        for i, a in enumerate(arrays)
    ]
    result = workload.function(namespace("pytensor"), *inputs)
    wrt = [inputs[i] for i in workload.wrt]
    outputs = _listed(result)
    if workload.kind == "value_and_grad":
        outputs += pytensor.grad(result, wrt)
    elif workload.kind == "jacobian":
        outputs = _listed(pytensor.gradient.jacobian(result, wrt[0]))
    function = pytensor.function(
        inputs, outputs, mode="NUMBA", on_unused_input="ignore", trust_input=True
    )
    return lambda: function(*arrays)


def _casadi(workload: Workload, arrays: Sequence[np.ndarray]) -> Runner:
    import casadi

    if any(a.ndim > 2 or a.size > 10_000 or a.dtype != np.float64 for a in arrays):
        raise Unsupported("only small matrices of float64 are attempted")
    inputs = [casadi.SX.sym(f"x{i}", *a.shape) for i, a in enumerate(arrays)]
    result = workload.function(namespace("casadi"), *inputs)
    wrt = [inputs[i] for i in workload.wrt]
    outputs = _listed(result)
    if workload.kind == "value_and_grad":
        outputs += [casadi.gradient(result, x) for x in wrt]
    elif workload.kind == "jacobian":
        outputs = [casadi.jacobian(result, wrt[0])]
    function = casadi.Function("f", inputs, outputs)
    shapes = [e.shape for e in workload.expected()]
    given = [casadi.DM(a) for a in arrays]
    return lambda: [
        r.full().reshape(s) for r, s in zip(_listed(function(*given)), shapes)
    ]


ADAPTERS: dict[str, Callable[[Workload, Sequence[np.ndarray]], Runner]] = {
    "graphc": _graphc,
    "numpy": _numpy,
    "jax": _jax,
    "torch": _torch,
    "pytensor": _pytensor,
    "casadi": _casadi,
}


def installed() -> list[str]:
    """Return the peers whose packages are here, graphc first."""
    return [p for p in ADAPTERS if find_spec(p) is not None]
