"""The peers of ``graphc bench --backend cuda``: each on the device, inputs there.

A call is timed with the launches of as many as a sample has behind one another, and the
wait for the last: what a training loop sees. Products of float32 are of full precision
for all; PyTorch runs eagerly and compiled.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.surfaces.bench.peers import Unsupported
from graphc.surfaces.bench.workloads import Workload, namespace


class DeviceRunner:
    """A call on the device, and how to wait for it.

    Parameters
    ----------
    call : callable
        Starts the computation and returns its results.
    wait : callable
        Returns when all that was started is done.
    host : callable
        Returns a result as a NumPy array.
    """

    def __init__(
        self,
        call: Callable[[], Sequence[Any]],
        wait: Callable[[], object],
        host: Callable[[Any], np.ndarray],
    ):
        self.call = call
        self.wait = wait
        self.host = host

    def __call__(self) -> Sequence[Any]:
        return self.call()


def _cupy_wait() -> None:
    import cupy

    cupy.cuda.runtime.deviceSynchronize()


def _graphc(workload: Workload, arrays: Sequence[np.ndarray]) -> DeviceRunner:
    import cupy

    from graphc.surfaces.bench.peers import compiled_by_graphc

    function = compiled_by_graphc(workload, arrays, "cuda")
    given = [cupy.asarray(a) for a in arrays]
    return DeviceRunner(lambda: function(*given), _cupy_wait, cupy.asnumpy)


def _cupy(workload: Workload, arrays: Sequence[np.ndarray]) -> DeviceRunner:
    import cupy

    if workload.kind != "forward":
        raise Unsupported("CuPy has no derivatives")
    given = [cupy.asarray(a) for a in arrays]
    xp = namespace("cupy")

    def call() -> Sequence[Any]:
        out = workload.function(xp, *given)
        return out if isinstance(out, tuple) else [out]

    return DeviceRunner(call, _cupy_wait, cupy.asnumpy)


def _torch_of(compiled: bool) -> Callable[..., DeviceRunner]:
    def adapter(workload: Workload, arrays: Sequence[np.ndarray]) -> DeviceRunner:
        import torch

        from graphc.surfaces.bench.peers import torch_call

        torch.set_float32_matmul_precision("highest")
        given = [torch.from_numpy(a).cuda() for a in arrays]
        call = torch_call(workload, given, torch.compile if compiled else None)
        return DeviceRunner(
            call, torch.cuda.synchronize, lambda x: x.detach().cpu().numpy()
        )

    return adapter


def _jax(workload: Workload, arrays: Sequence[np.ndarray]) -> DeviceRunner:
    import jax

    from graphc.surfaces.bench.peers import jax_call

    jax.config.update("jax_default_matmul_precision", "highest")
    call = jax_call(workload, arrays)
    if jax.default_backend() == "cpu":
        raise Unsupported("this JAX has no device: pip install 'jax[cuda13]'")
    latest: list[Any] = []

    def started() -> Sequence[Any]:
        latest[:] = call()
        return list(latest)

    return DeviceRunner(started, lambda: jax.block_until_ready(latest), np.asarray)


ADAPTERS: dict[str, Callable[[Workload, Sequence[np.ndarray]], DeviceRunner]] = {
    "graphc": _graphc,
    "cupy": _cupy,
    "torch": _torch_of(False),
    "torch.compile": _torch_of(True),
    "jax": _jax,
}


def installed() -> list[str]:
    """Return the peers whose packages are here, graphc first."""
    packages = {p: p.partition(".")[0] for p in ADAPTERS}
    return [p for p in ADAPTERS if importlib.util.find_spec(packages[p]) is not None]


def measure_device(seconds: float) -> dict[str, Any]:
    """Return bytes per second of a copy there, and flops of products by dtype."""
    import cupy

    from graphc.surfaces.bench.worker import best

    x = cupy.ones(1 << 26)
    y = cupy.empty_like(x)

    def copy() -> None:
        y[...] = x
        _cupy_wait()

    out = {"bandwidth": 2 * x.nbytes / best(copy, seconds)}
    for dtype in ("float32", "float64"):
        m = cupy.ones((4096, 4096), dtype)
        into = cupy.empty_like(m)

        def product(m: Any = m, into: Any = into) -> None:
            cupy.matmul(m, m, out=into)
            _cupy_wait()

        out[dtype] = 2 * 4096**3 / best(product, seconds)
    return out
