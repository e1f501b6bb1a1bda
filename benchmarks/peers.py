"""A few figures against NumPy, JAX and PyTorch, whichever are installed.

All peers take turns in one process; figures are medians, and ratios to graphc. Run it
on an idle machine:

    python benchmarks/peers.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import graphc as cg


def turns(functions: dict[str, Callable[[], Any]], seconds: float = 2.0) -> dict:
    """Return the median time of a call of each function, all taking turns."""
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for f in functions.values():
        f()
        f()
    end = time.perf_counter() + seconds * len(functions)
    while time.perf_counter() < end:
        for name, f in functions.items():
            start = time.perf_counter()
            f()
            samples[name].append(time.perf_counter() - start)
    return {name: statistics.median(s) for name, s in samples.items()}


def show(title: str, times: dict[str, float]) -> None:
    """Print a row: times, and how many times graphc's each is."""
    base = times["graphc"]
    cells = [f"{n} {t * 1e6:.1f} us ({t / base:.2f}x)" for n, t in times.items()]
    print(f"{title}: " + ", ".join(cells))


def elementwise() -> None:
    """sin(x)*exp(-x*x) + tanh(x)/(1 + x*x) at 1e6 float32."""
    data = np.random.default_rng(0).standard_normal(10**6).astype(np.float32)
    x = cg.vector("x", "n", dtype="float32")
    f = cg.compile([x], cg.sin(x) * cg.exp(-x * x) + cg.tanh(x) / (1 + x * x))
    functions: dict[str, Callable[[], Any]] = {
        "graphc": lambda: f(data),
        "numpy": lambda: (
            np.sin(data) * np.exp(-data * data) + np.tanh(data) / (1 + data * data)
        ),
    }
    try:
        import jax
        import jax.numpy as jnp

        g = jax.jit(lambda x: jnp.sin(x) * jnp.exp(-x * x) + jnp.tanh(x) / (1 + x * x))
        on_jax = jnp.asarray(data)
        functions["jax"] = lambda: g(on_jax).block_until_ready()
    except ImportError:
        pass
    try:
        import torch

        t = torch.from_numpy(data)
        functions["torch"] = lambda: (
            torch.sin(t) * torch.exp(-t * t) + torch.tanh(t) / (1 + t * t)
        )
    except ImportError:
        pass
    show("sin(x)*exp(-x*x)+tanh(x)/(1+x*x), 1e6 float32", turns(functions))


def products() -> None:
    """Six times tanh(h @ W) at 256 x 256 float32."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((256, 256)).astype(np.float32) / 16 for _ in range(7)]
    inputs = [cg.matrix(f"w{i}", (256, 256), dtype="float32") for i in range(7)]
    h = inputs[0]
    for w in inputs[1:]:
        h = cg.tanh(h @ w)
    f = cg.compile(inputs, h)

    def numpy() -> np.ndarray:
        a = arrays[0]
        for w in arrays[1:]:
            a = np.tanh(a @ w)
        return a

    show(
        "six times tanh(h @ W), 256 x 256 float32",
        turns({"graphc": lambda: f(*arrays), "numpy": numpy}),
    )


def calls() -> None:
    """One call of a function of three small arrays."""
    arrays = [np.random.default_rng(i).standard_normal(5) for i in range(3)]
    x, y, z = (cg.vector(n, "n") for n in "xyz")
    f = cg.compile([x, y, z], x * y + cg.sin(z))

    def repeat(call: Callable[..., Any], *args: Any) -> Callable[[], None]:
        def run() -> None:
            for _ in range(1000):
                call(*args)

        return run

    times = turns(
        {
            "graphc": repeat(f, *arrays),
            "numpy multiply of two": repeat(np.multiply, *arrays[:2]),
        }
    )
    show("a call with three arrays of 5", {n: t / 1000 for n, t in times.items()})


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
    for part in (imports, calls, elementwise, products, scale):
        part()
