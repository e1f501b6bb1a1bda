"""Time the objective of a Gaussian mixture and its gradient on ADBench's data.

    python benchmarks/adbench_gmm.py                    # all files of 1,000 points
    python benchmarks/adbench_gmm.py d10_K25 d64_K5 --threads 1

The data (github.com/microsoft/ADBench, ``data/gmm``) is looked for in
``../shared/data/adbench`` beside the repository, or in ``--data``. The objective, and
the gradient where it is stored, are checked against the stored values.

For each file: the time of a function that returns the objective, of one that returns
the gradient, and of one that returns both; and the ratio, gradient over objective. It
is the ratio of GradBench's table (``derivative`` over ``primal``; there, too, the
derivative need not return the objective). Calls of the three take turns; times are
medians. Published numbers for the same sizes, from that table, stand beside them; they
were measured on another machine, one thread for C++.

References
----------
F. Srajer, Z. Kukelova, A. Fitzgibbon, "A benchmark of selected algorithmic
differentiation tools on some problems in computer vision and machine learning",
Optimization Methods and Software 33 (2018), 889-906.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import graphc as cg

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "adbench"
PUBLISHED = "gradbench_nightly_2026-03-14/gb_gmm.json"
TOOLS = ("manual", "tapenade", "jax", "pytorch", "enzyme")
RTOL = 1e-8


class Problem(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    parameters : list of array
        alphas (K,), means (K, D), and (K, D (D + 1) / 2) of the inverse covariances'
        factors: D logarithms of the diagonal, then what is below it, by columns.
    points : array, (N, D)
    gamma : float
    m : int
        Wishart prior.
    """

    parameters: list[np.ndarray]
    points: np.ndarray
    gamma: float
    m: int


def read(path: Path) -> Problem:
    """Read a file of ADBench's ``data/gmm``."""
    d, k, n, *rest = path.read_text(encoding="ascii").split()
    D, K, N = int(d), int(k), int(n)
    numbers = np.array(rest, dtype=float)
    shapes = [(K,), (K, D), (K, D * (D + 1) // 2)]
    cuts = np.cumsum([math.prod(s) for s in shapes])
    *parts, last = np.split(numbers, cuts)
    points = last[:-2].reshape(-1, D)  # one point stands for N equal ones
    return Problem(
        [part.reshape(shape) for part, shape in zip(parts, shapes)],
        np.broadcast_to(points, (N, D)).copy(),
        float(last[-2]),
        int(last[-1]),
    )


def objective(alphas: Any, means: Any, icf: Any, x: Any, gamma: float, m: int) -> Any:
    """Return the log posterior of a mixture, as ADBench defines it.

    ``sum_i lse_k(alpha_k + sum(q_k) - |Q_k (x_i - mu_k)|^2 / 2) - N lse(alpha)`` plus a
    Wishart prior and constants, where Q_k is lower triangular with exp(q_k) on its
    diagonal.
    """
    (n, d), (k,) = x.shape, alphas.shape
    logs, lower = icf[:, :d], icf[:, d:]
    diagonal = np.exp(logs)
    columns, rows = np.triu_indices(d, 1)
    Q = cg.zeros((k, d, d)).at[:, rows, columns].set(lower)
    Q = Q.at[:, np.arange(d), np.arange(d)].set(diagonal)
    distances = (((x - means[:, None]) @ Q.mT) ** 2).sum(2)
    terms = (alphas + logs.sum(1))[:, None] - 0.5 * distances
    likelihood = cg.nn.logsumexp(terms, 0).sum() - n * cg.nn.logsumexp(alphas)
    squares = (diagonal**2).sum() + (lower**2).sum()
    prior = (
        0.5 * gamma**2 * squares - m * logs.sum() - k * wishart_constant(d, gamma, m)
    )
    return likelihood - 0.5 * n * d * math.log(2 * math.pi) + prior


def wishart_constant(d: int, gamma: float, m: int) -> float:
    """Return ``n d (ln gamma - ln(2) / 2) - ln Gamma_d(n / 2)``, n = d + m + 1."""
    n = d + m + 1
    log_gamma = sum(math.lgamma((n + 1 - j) / 2) for j in range(1, d + 1))
    log_gamma += d * (d - 1) / 4 * math.log(math.pi)
    return n * d * (math.log(gamma) - 0.5 * math.log(2)) - log_gamma


def expressions(problem: Problem) -> tuple[list[Any], list[Any], Any]:
    """Return a problem's inputs, those that are parameters, and its objective."""
    names = ("alphas", "means", "icf")
    parameters = [cg.tensor(n, a.shape) for n, a in zip(names, problem.parameters)]
    x = cg.matrix("x", problem.points.shape)
    value = objective(*parameters, x, problem.gamma, problem.m)
    return [*parameters, x], parameters, value


def check(name: str, got: Any, stored: Any) -> None:
    """Raise if values differ from the stored ones by ADBench's criterion."""
    got, stored = np.asarray(got), np.asarray(stored)
    error = np.abs(got - stored) / np.maximum(1, np.abs(got) + np.abs(stored))
    if not error.max() < RTOL:
        raise SystemExit(f"{name}: off by {error.max():.1e} from the stored values.")


def stored_values(data: Path) -> dict[str, dict[str, Any]]:
    """Return stored objectives, and the gradients there are, by file."""
    text = (data / "objective_values_computed_here_float64.json").read_text()
    out = {k: {"objective": v} for k, v in json.loads(text).items()}
    text = (data / "expected_from_adbench_tests.json").read_text()
    return {**out, **json.loads(text)}


def measure(functions: Sequence[Any], arrays: list[Any], options: Any) -> list[float]:
    """Return the median seconds of a call of each function, taken in turns."""
    times: list[list[float]] = [[] for _ in functions]
    end = time.perf_counter() + options.seconds
    while len(times[0]) < 7 or time.perf_counter() < end:
        for f, samples in zip(functions, times):
            f(*arrays, threads=options.threads)  # brings its own memory into cache
            start = time.perf_counter()
            f(*arrays, threads=options.threads)
            samples.append(time.perf_counter() - start)
    return [statistics.median(samples) for samples in times]


def published(data: Path, size: str) -> str:
    """Return the published milliseconds and ratios for a size such as 10_25_1000."""
    cells = []
    for tool in TOOLS:
        row = json.loads((data / PUBLISHED).read_text())["tools"][tool].get(size)
        if row is None:
            continue
        primal, derivative = (
            row[part]["secs"] * 1e3 + row[part]["nanos"] / 1e6
            for part in ("primal", "derivative")
        )
        ratio = derivative / primal
        cells.append(f"{tool} {primal:.2f}/{derivative:.2f} ({ratio:.1f})")
    return ", ".join(cells) or "-"


def main() -> None:
    """Run the files that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="such as d10_K25; default: all")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--points", choices=("1k", "10k"), default="1k")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=1.0, help="a file's timing")
    options = parser.parse_args()
    folder = options.data / "gmm" / options.points
    paths = [folder / f"gmm_{name}.txt" for name in options.files]
    paths = paths or sorted(folder.glob("*.txt"), key=lambda p: p.stat().st_size)
    if not paths or not all(path.exists() for path in paths):
        sys.exit(f"No such file in {folder}: get ADBench's data, or give --data.")
    stored = stored_values(options.data)
    problem = read(options.data / "gmm" / "test.txt")
    inputs, parameters, value = expressions(problem)
    both = cg.compile(inputs, cg.value_and_grad(value, parameters))
    got, gradient = both(*problem.parameters, problem.points)
    check("test.txt", got, stored["gmm/test.txt"]["objective"])
    flat = np.concatenate([g.ravel() for g in gradient])
    check("test.txt", flat, stored["gmm/test.txt"]["gradient"])
    print("test.txt: objective and gradient are the stored ones")
    print("ms        compile  objective  gradient  both  gradient/objective  published")
    for path in paths:
        problem = read(path)
        arrays = [*problem.parameters, problem.points]
        inputs, parameters, value = expressions(problem)
        start = time.perf_counter()
        functions = [
            cg.compile(inputs, value),
            cg.compile(inputs, cg.grad(value, parameters)),
            cg.compile(inputs, cg.value_and_grad(value, parameters)),
        ]
        compiled = time.perf_counter() - start
        known = stored.get(f"gmm/{options.points}/{path.name}")
        if known:
            check(path.name, functions[0](*arrays), known["objective"])
        one, two, joint = (t * 1e3 for t in measure(functions, arrays, options))
        n, d = problem.points.shape
        size = f"{d}_{len(problem.parameters[0])}_{n}"
        print(
            f"{path.stem[4:]:9} {compiled * 1e3:7.0f} {one:10.3f} {two:9.3f} "
            f"{joint:7.3f} {two / one:10.2f}   {published(options.data, size)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
