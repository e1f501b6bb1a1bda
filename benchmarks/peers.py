"""A few figures against NumPy, JAX and PyTorch, whichever are installed.

Every peer runs in a process of its own, for the idle threads of one pool take the
cores from another's; the processes take turns, and figures are medians over them. Run
it on an idle machine:

    python benchmarks/peers.py
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

ROUNDS = 5
SECONDS = 1.0


def show(title: str, times: dict[str, float]) -> None:
    """Print a row: times, and how many times graphc's each is."""
    base = times["graphc"]
    cells = [f"{n} {t * 1e6:.2f} us ({t / base:.2f}x)" for n, t in times.items()]
    print(f"{title}: " + ", ".join(cells), flush=True)


# ------------------------------------------------- cases: what each peer runs


def elementwise(peer: str) -> Callable[[], Any]:
    """sin(x)*exp(-x*x) + tanh(x)/(1 + x*x) at 1e6 float32."""
    data = np.random.default_rng(0).standard_normal(10**6).astype(np.float32)
    if peer == "graphc":
        import graphc as cg

        x = cg.vector("x", "n", dtype="float32")
        f = cg.compile([x], cg.sin(x) * cg.exp(-x * x) + cg.tanh(x) / (1 + x * x))
        return lambda: f(data)
    if peer == "jax":
        import jax
        import jax.numpy as jnp

        g = jax.jit(lambda x: jnp.sin(x) * jnp.exp(-x * x) + jnp.tanh(x) / (1 + x * x))
        on_jax = jnp.asarray(data)
        return lambda: g(on_jax).block_until_ready()
    if peer == "torch":
        import torch

        x = torch.from_numpy(data)
        return lambda: torch.sin(x) * torch.exp(-x * x) + torch.tanh(x) / (1 + x * x)
    x = data
    return lambda: np.sin(x) * np.exp(-x * x) + np.tanh(x) / (1 + x * x)


def products(peer: str) -> Callable[[], Any]:
    """Six times tanh(h @ W) at 256 x 256 float32."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((256, 256)).astype(np.float32) / 16 for _ in range(7)]
    if peer == "graphc":
        import graphc as cg

        inputs = [cg.matrix(f"w{i}", (256, 256), dtype="float32") for i in range(7)]
        h = inputs[0]
        for w in inputs[1:]:
            h = cg.tanh(h @ w)
        f = cg.compile(inputs, h)
        return lambda: f(*arrays)
    if peer == "jax":
        import jax
        import jax.numpy as jnp

        def chain(h: Any, *ws: Any) -> Any:
            for w in ws:
                h = jnp.tanh(h @ w)
            return h

        g = jax.jit(chain)
        on_jax = [jnp.asarray(a) for a in arrays]
        return lambda: g(*on_jax).block_until_ready()

    def numpy() -> np.ndarray:
        a = arrays[0]
        for w in arrays[1:]:
            a = np.tanh(a @ w)
        return a

    return numpy


def calls(peer: str) -> Callable[[], Any]:
    """Call x*y + sin(z) a thousand times, with three arrays of 5."""
    x, y, z = (np.random.default_rng(i).standard_normal(5) for i in range(3))
    call: Callable[..., Any]
    if peer == "graphc":
        import graphc as cg

        inputs = [cg.vector(n, "n") for n in "xyz"]
        call = cg.compile(inputs, inputs[0] * inputs[1] + cg.sin(inputs[2]))
    else:

        def call(x: Any, y: Any, z: Any) -> Any:
            return x * y + np.sin(z)

    def run() -> None:
        for _ in range(1000):
            call(x, y, z)

    return run


CASES = {
    "elementwise": (elementwise, ("graphc", "numpy", "jax", "torch")),
    "products": (products, ("graphc", "numpy", "jax")),
    "calls": (calls, ("graphc", "numpy")),
}


def one(case: str, peer: str) -> None:
    """Print the median time of a call of one peer: what a child process does."""
    f = CASES[case][0](peer)
    for _ in range(3):
        f()
    samples = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        f()
        samples.append(time.perf_counter() - start)
    print(statistics.median(samples))


def compare(case: str) -> None:
    """Run the installed peers of a case in turn and print their medians."""
    function, peers = CASES[case]
    present = [p for p in peers if importlib.util.find_spec(p)]
    samples: dict[str, list[float]] = {p: [] for p in present}
    for _ in range(ROUNDS):
        for peer in present:
            command = [sys.executable, __file__, case, peer]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            samples[peer].append(float(done.stdout))
    show(
        (function.__doc__ or case).rstrip("."),
        {p: statistics.median(s) for p, s in samples.items()},
    )


# -------------------------------------------------------- import and scale


def imports() -> None:
    """Import of graphc, beside Python and NumPy alone."""
    times = {}
    for name, code in {
        "graphc": "import graphc",
        "graphc and an expression": "import graphc as cg; cg.sin(cg.vector('x'))",
        "numpy": "import numpy",
        "python": "pass",
    }.items():
        samples = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            samples.append(time.perf_counter() - start)
        times[name] = statistics.median(samples)
    show("a process that imports", times)


def scale() -> None:
    """Chains and sums of 10,000 and 100,000 operations, step by step."""
    import graphc as cg

    for kind in ("chain", "sum"):
        totals = {}
        for count in (10_000, 100_000):
            x = cg.vector("x", 8)
            steps = {}
            start = time.perf_counter()
            if kind == "chain":
                y = x
                for _ in range(count // 2):
                    y = cg.sin(y) + x
            else:
                y = cg.named(x * 0, "zero")
                for i in range(count // 2):
                    y = y + x * float(i)
            loss = cg.sum(y)
            steps["build"] = time.perf_counter() - start
            for name, step in {
                "sort": lambda loss=loss, x=x: cg.Graph([x], [loss]).nodes,
                "grad": lambda loss=loss, x=x: cg.grad(loss, x),
                "print": lambda loss=loss, x=x: str(cg.Graph([x], [loss])),
                "run": lambda loss=loss, x=x: cg.evaluate(loss, {x: np.ones(8)}),
            }.items():
                start = time.perf_counter()
                step()
                steps[name] = time.perf_counter() - start
            totals[count] = steps
            nodes = len(cg.Graph([x], [loss]))
            print(f"{kind} of {count} operations, {nodes} nodes:", end=" ")
            print(", ".join(f"{n} {t:.2f} s" for n, t in steps.items()))
        small, large = totals[10_000], totals[100_000]
        print(
            "  100k / 10k:", ", ".join(f"{n} {large[n] / small[n]:.1f}" for n in small)
        )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        one(*sys.argv[1:])
    else:
        imports()
        for name in CASES:
            compare(name)
        scale()
