"""How long graphc takes to import, and how building, differentiating, compiling scale.

Run it on an idle machine; `graphc bench` compares the speed of compiled functions:

    python benchmarks/scale.py              # or some of it: imports, scale, compiles
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import numpy as np


def show(title: str, times: dict[str, float]) -> None:
    """Print a row: times, and how many times the first each is."""
    base = next(iter(times.values()))
    cells = [f"{n} {t * 1e3:.0f} ms ({t / base:.2f}x)" for n, t in times.items()]
    print(f"{title}: " + ", ".join(cells), flush=True)


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


def compiles() -> None:
    """Compilation with the first call, nothing cached, of large graphs."""
    import graphc as cg

    def chain(count: int) -> tuple[list, list]:
        x = cg.vector("x", 8)
        y = x
        for _ in range(count // 2):
            y = cg.sin(y) + x
        return [x], [y]

    def products(count: int) -> tuple[list, list]:
        x, w = cg.matrix("x", (32, 32)), cg.matrix("w", (32, 32))
        y = x
        for number in range(count // 2):
            y = cg.tanh(y) + x
            if number % 8 == 7:
                y = y @ w
        return [x, w], [y]

    def factors(count: int) -> tuple[list, list]:
        x = cg.vector("x", 8)
        y = cg.named(x * 0, "zero")
        for number in range(count // 2):
            y = y + x * float(number)
        return [x], [y]

    def scalars(count: int) -> tuple[list, list]:
        x, y = cg.scalar("x"), cg.scalar("y")
        z = x
        for _ in range(count // 6):
            z = cg.sin(z) * y + x / (1.0 + z * z)
        return [x, y], [z, *cg.grad(z, [x, y])]

    for title, build, counts in (
        ("scalars with their gradient", scalars, (1_000, 4_000, 16_000)),
        ("chain of vectors", chain, (10_000, 100_000)),
        ("chain, a product in every 17 operations", products, (10_000, 100_000)),
        ("sum with different factors", factors, (10_000, 100_000)),
    ):
        for count in counts:
            inputs, outputs = build(count)
            arrays = [np.full(i.shape, 0.01) for i in inputs]
            with cg.config(cache_dir="off"):
                start = time.perf_counter()
                function = cg.compile(inputs, outputs)
                function(*arrays)
                taken = time.perf_counter() - start
            pieces = len({k.name for k in function.kernels})
            print(f"{title}, {count} operations: {taken:.2f} s, {pieces} kernels")


if __name__ == "__main__":
    parts = {"imports": imports, "scale": scale, "compiles": compiles}
    for part in sys.argv[1:] or parts:
        parts[part]()
