"""Time sparse Jacobians and Hessians beside dense ones, CasADi and published numbers.

    python benchmarks/sparse.py                     # everything
    python benchmarks/sparse.py banded laplace      # some of it
    python benchmarks/sparse.py ba --files 5 14     # other files of bundle adjustment

``banded``: ``f_i = (x_{i+1} - x_i^2) x_{i-1} + sin(x_i)``. ``laplace``: the Hessian of
an energy of differences on a grid. ``arrow``: a dense row and column. ``ba``: ADBench's
bundle adjustment (github.com/microsoft/ADBench, ``data/ba``), looked for in
``../shared/data/adbench`` beside the repository or in ``--data``; residuals and
Jacobian are checked against the stored values.

Columns: time to find the structure, to colour and to build the expressions; to compile;
of a call of the function and of the derivative, medians of calls in turns; and the same
of graphc's dense forward mode and of CasADi where the size allows. For bundle
adjustment the ratio of derivative to function is beside GradBench's, measured on
another machine, one thread.

References
----------
F. Srajer, Z. Kukelova, A. Fitzgibbon, "A benchmark of selected algorithmic
differentiation tools on some problems in computer vision and machine learning",
Optimization Methods and Software 33 (2018), 889-906.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import graphc as cg

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "adbench"
PUBLISHED = "gradbench_nightly_2026-03-14/gb_ba.json"
TOOLS = ("manual", "enzyme", "futhark", "tapenade", "codipack", "zygote")
RTOL = 1e-8
DENSE = 4_000
"""Columns up to which dense modes are measured."""


# ------------------------------------------------------------------- functions


def banded(x: Any, join: Callable[..., Any]) -> Any:
    """Return ``(x_{i+1} - x_i^2) x_{i-1} + sin(x_i)``, zero beyond the ends."""
    up, down = join(x[1:], 0), join(0, x[:-1])
    return (up - x * x) * down + np.sin(x)


def laplace_energy(u: Any) -> Any:
    """Return the energy of a grid function: squared differences, and u^4."""
    across, along = u[1:, :] - u[:-1, :], u[:, 1:] - u[:, :-1]
    return 0.5 * (across**2).sum() + 0.5 * (along**2).sum() + 0.25 * (u**4).sum()


def arrow(x: Any) -> Any:
    """Return a function whose Jacobian has a dense row, a dense column, a diagonal."""
    return cg.concatenate([cg.sum(x * x).reshape((1,)), x[1:] * x[0]])


# ------------------------------------------------------------ bundle adjustment


class Bundle(NamedTuple):
    """A problem of bundle adjustment.

    Attributes
    ----------
    arrays : list of array
        Cameras (n, 11): rotation vector, centre, focal length, principal point, two
        radial distortions; points (m, 3); weights (p,); features (p, 2).
    camera, point : array of int, (p,)
        Which of them each observation sees.
    """

    arrays: list[np.ndarray]
    camera: np.ndarray
    point: np.ndarray


def read(path: Path) -> Bundle:
    """Read a file of ADBench's ``data/ba``, which holds one of each to be repeated."""
    n, m, p, *rest = path.read_text(encoding="ascii").split()
    counts = [int(n), int(m), int(p), int(p)]
    parts = np.split(np.array(rest, dtype=float), [11, 14, 15])
    arrays = [np.tile(part, (c, 1)) for c, part in zip(counts, parts)]
    arrays[2] = arrays[2][:, 0]
    number = np.arange(int(p))
    return Bundle(arrays, number % int(n), number % int(m))


def residuals(
    cameras: Any, points: Any, weights: Any, features: Any, bundle: Bundle
) -> tuple[Any, Any]:
    """Return the weighted errors of projection (p, 2), and ``1 - w^2`` (p,)."""
    camera, point = cameras[bundle.camera], points[bundle.point]
    rotation, centre, focal = camera[:, 0:3], camera[:, 3:6], camera[:, 6]
    principal, radial = camera[:, 7:9], camera[:, 9:11]
    d = point - centre
    angle = cg.sqrt((rotation * rotation).sum(1))
    sine, cosine = cg.sin(angle), cg.cos(angle)
    axis = rotation / angle[:, None]
    dot = (axis * d).sum(1) * (1 - cosine)
    (a, b, c), (x, y, z) = ([v[:, i] for i in range(3)] for v in (axis, d))
    px = x * cosine + (b * z - c * y) * sine + a * dot
    py = y * cosine + (c * x - a * z) * sine + b * dot
    pz = z * cosine + (a * y - b * x) * sine + c * dot
    u, v = px / pz, py / pz
    square = u * u + v * v
    scale = (1 + radial[:, 0] * square + radial[:, 1] * square * square) * focal
    errors = [
        weights * (q * scale + principal[:, i] - features[:, i])
        for i, q in enumerate((u, v))
    ]
    return cg.stack(errors, axis=1), 1 - weights * weights


def expressions(bundle: Bundle) -> tuple[list[Any], list[Any], tuple[Any, Any]]:
    """Return inputs, those to differentiate by, and the residuals."""
    names = ("cameras", "points", "weights", "features")
    inputs = [cg.tensor(n, a.shape) for n, a in zip(names, bundle.arrays)]
    return inputs, inputs[:3], residuals(*inputs, bundle)


def stored_jacobian(bundle: Bundle, values: Sequence[float]) -> np.ndarray:
    """Return ADBench's Jacobian, dense, of the CSR values that are stored of it."""
    n, m, p = (len(a) for a in bundle.arrays[:3])
    out = np.zeros((3 * p, 11 * n + 3 * m + p))
    given = iter(values)
    for i, (camera, point) in enumerate(zip(bundle.camera, bundle.point)):
        columns = [*range(11 * camera, 11 * camera + 11)]
        columns += [11 * n + 3 * point + k for k in range(3)]
        columns.append(11 * n + 3 * m + i)
        for row in (2 * i, 2 * i + 1):
            out[row, columns] = [next(given) for _ in columns]
    for i in range(p):
        out[2 * p + i, 11 * n + 3 * m + i] = next(given)
    return out


def joined(blocks: Sequence[Sequence[Any]]) -> Any:
    """Return blocks of sparse arrays as one."""
    from scipy.sparse import block_array

    return block_array(blocks, format="csr")


def check(name: str, got: Any, stored: Any) -> None:
    """Raise if values differ from the stored ones by ADBench's criterion."""
    got, stored = np.asarray(got), np.asarray(stored)
    error = np.abs(got - stored) / np.maximum(1, np.abs(got) + np.abs(stored))
    if not error.max() < RTOL:
        raise SystemExit(f"{name}: off by {error.max():.1e} from the stored values.")


def published(data: Path, file: str) -> str:
    """Return published milliseconds and ratios for a file, by its stem."""
    tools = json.loads((data / PUBLISHED).read_text())["tools"]
    cells = []
    for tool in TOOLS:
        rows = tools.get(tool, {})
        row = rows.get(file)
        if row is None:
            continue
        primal, derivative = (
            row[part]["secs"] * 1e3 + row[part]["nanos"] / 1e6
            for part in ("primal", "derivative")
        )
        cells.append(
            f"{tool} {primal:.1f}/{derivative:.1f} ({derivative / primal:.1f})"
        )
    return ", ".join(cells) or "-"


# ----------------------------------------------------------------- measurements


def measure(calls: Sequence[Callable[[], Any]], seconds: float) -> list[float]:
    """Return the median seconds of each call, taken in turns."""
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while len(times[0]) < 5 or time.perf_counter() < end:
        for call, samples in zip(calls, times):
            call()
            start = time.perf_counter()
            call()
            samples.append(time.perf_counter() - start)
    return [statistics.median(samples) for samples in times]


class Case(NamedTuple):
    """What is measured: inputs, a function, its derivative, and others' derivatives.

    `derivative` makes the sparse expression; `dense` the dense one, if it is to be
    measured; `casadi` a call of CasADi's, and the seconds to make it.
    """

    name: str
    inputs: list[Any]
    arrays: list[np.ndarray]
    value: Any
    derivative: Callable[[], Any]
    dense: Callable[[], Any] | None
    casadi: tuple[Callable[[], Any], float] | None


def entries(tree: Any) -> int:
    """Return the number of entries of sparse matrices in nested lists."""
    if isinstance(tree, (list, tuple)):
        return sum(entries(t) for t in tree)
    return tree.nnz


def show(case: Case, options: argparse.Namespace) -> tuple[float, float]:
    """Measure and print a row; return the times of function and derivative."""
    start = time.perf_counter()
    sparse = case.derivative()
    found = time.perf_counter()
    functions = [cg.compile(case.inputs, x) for x in (case.value, sparse)]
    compiled = time.perf_counter()
    if case.dense is not None:
        functions.append(cg.compile(case.inputs, case.dense()))
    calls = [lambda f=f: f(*case.arrays, threads=options.threads) for f in functions]
    if case.casadi is not None:
        calls.append(case.casadi[0])
    times = iter(measure(calls, options.seconds))
    value, derivative = next(times), next(times)
    dense = f"{next(times) * 1e3:10.3f}" if case.dense is not None else f"{'-':>10}"
    other = f"{'-':>10} {'-':>7}"
    if case.casadi is not None:
        other = f"{next(times) * 1e3:10.3f} {case.casadi[1] * 1e3:7.0f}"
    print(
        f"{case.name:22} {entries(sparse):9} {(found - start) * 1e3:7.0f} "
        f"{(compiled - found) * 1e3:7.0f} {value * 1e3:9.3f} {derivative * 1e3:10.3f} "
        f"{derivative / value:6.2f} {dense} {other}",
        flush=True,
    )
    return value, derivative


def casadi_call(
    x: np.ndarray, build: Callable[[Any, Any], Any]
) -> tuple[Callable[[], Any], float] | None:
    """Return a call of CasADi's function of a vector, and the seconds to make it.

    It writes the nonzeros into memory it keeps, without a conversion to SciPy. None
    where CasADi is not installed.
    """
    try:
        import casadi
    except ImportError:
        return None
    start = time.perf_counter()
    symbol = casadi.SX.sym("x", len(x))
    function = casadi.Function("f", [symbol], [build(casadi, symbol)])
    buffer, run = function.buffer()
    out = np.zeros(function.nnz_out(0))
    buffer.set_arg(0, memoryview(x))
    buffer.set_res(0, memoryview(out))
    kept = (function, buffer, x, out)  # CasADi keeps addresses only
    return lambda: (run(), kept), time.perf_counter() - start


def casadi_banded(ca: Any, x: Any) -> Any:
    """Return CasADi's Jacobian of `banded`."""
    up, down = ca.vertcat(x[1:], 0), ca.vertcat(0, x[:-1])
    return ca.jacobian((up - x * x) * down + ca.sin(x), x)


def casadi_laplace(ca: Any, x: Any, side: int) -> Any:
    """Return CasADi's Hessian of `laplace_energy`."""
    u = ca.reshape(x, side, side)
    across, along = u[1:, :] - u[:-1, :], u[:, 1:] - u[:, :-1]
    energy = ca.sumsqr(across) / 2 + ca.sumsqr(along) / 2 + ca.sumsqr(u * u) / 4
    return ca.hessian(energy, x)[0]


def cases(names: Sequence[str]) -> Iterator[Case]:
    """Yield the cases of some names, the small ones first."""
    rng = np.random.default_rng(0)
    for n in (2_000, 100_000) if "banded" in names else ():
        x, at = cg.vector("x", n), rng.standard_normal(n)
        y = banded(x, lambda *p: cg.concatenate([cg.reshape(q, (-1,)) for q in p]))
        dense = partial(cg.jacobian, y, x, "forward") if n <= DENSE else None
        sparse = partial(cg.jacobian, y, x, "sparse")
        yield Case(
            f"banded {n}", [x], [at], y, sparse, dense, casadi_call(at, casadi_banded)
        )
    for side in (40, 300) if "laplace" in names else ():
        u, at = cg.matrix("u", (side, side)), rng.standard_normal((side, side))
        energy = laplace_energy(u)
        dense = None
        if side * side <= DENSE:
            dense = partial(cg.hessian, energy, u, "forward")
        sparse = partial(cg.hessian, energy, u, "sparse")
        flat = at.ravel(order="F").copy()
        peer = casadi_call(flat, lambda ca, x, s=side: casadi_laplace(ca, x, s))
        yield Case(f"laplace {side}x{side}", [u], [at], energy, sparse, dense, peer)
    for n in (2_000, 100_000) if "arrow" in names else ():
        x, at = cg.vector("x", n), rng.standard_normal(n)
        y = arrow(x)
        dense = partial(cg.jacobian, y, x, "forward") if n <= DENSE else None
        sparse = partial(cg.jacobian, y, x, "sparse")
        yield Case(f"arrow {n}", [x], [at], y, sparse, dense, None)


def run_bundles(options: argparse.Namespace) -> None:
    """Check the small problem, then measure the files that are asked for."""
    stored = json.loads(
        (options.data / "expected_from_adbench_tests.json").read_text()
    )["ba/test.txt"]
    bundle = read(options.data / "ba" / "test.txt")
    inputs, wrt, values = expressions(bundle)
    f = cg.compile(inputs, [values, cg.jacobian(list(values), wrt, "sparse")])
    (errors, weights), blocks = f(*bundle.arrays)
    check("test.txt", errors[0], stored["reproj_err_pair"])
    check("test.txt", weights[0], stored["w_err"])
    expected = stored_jacobian(bundle, stored["J_vals_csr"])
    check("test.txt", joined(blocks).toarray(), expected)
    print("ba/test.txt: residuals and Jacobian are the stored ones")
    for number in options.files:
        (path,) = (options.data / "ba").glob(f"ba{number}_*.txt")
        bundle = read(path)
        inputs, wrt, values = expressions(bundle)
        make = partial(cg.jacobian, list(values), wrt, "sparse")
        case = Case(
            path.stem.split("_")[0], inputs, bundle.arrays, values, make, None, None
        )
        show(case, options)
        text = published(options.data, path.stem)
        print(f"    published function/derivative: {text}", flush=True)


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = ("banded", "laplace", "arrow", "ba")
    parser.add_argument("cases", nargs="*", choices=(*known, []), default=list(known))
    parser.add_argument("--files", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=1.0, help="a row's timing")
    options = parser.parse_args()
    print(
        f"{'ms':22} {'entries':>9} {'find':>7} {'compile':>7} {'function':>9} "
        f"{'derivative':>10} {'ratio':>6} {'dense':>10} {'CasADi':>10} {'make':>7}"
    )
    for case in cases(options.cases):
        show(case, options)
    if "ba" in options.cases:
        if options.data.is_dir():
            run_bundles(options)
        else:
            print(f"ba: no data in {options.data}; give --data.")


if __name__ == "__main__":
    main()
