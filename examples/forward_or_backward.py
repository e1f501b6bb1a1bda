"""What derivatives cost: numeric, symbolic, automatic; forward or backward.

From Dyer's notes: y = sum_i (W exp x)_i for sizes d and n, forward with matrices and
backward with vectors; a chain of layers, whose backward pass keeps every layer; the
rounding error of differences; the swell of symbolic derivatives. Numbers are counted on
the compiled programs. With a folder as argument the figures of `docs/figures` are drawn
there, over more sizes and with measured times.
"""

import sys
from pathlib import Path

import numpy as np

import graphc as cg

folder = Path(sys.argv[1]) if len(sys.argv) == 2 else None
full = folder is not None and folder.is_dir()
rng = np.random.default_rng(0)


def inputs_of(n: int, d: int) -> dict[cg.Expression, np.ndarray]:
    return {x: rng.normal(size=n), W: rng.normal(size=(d, n))}


# Forward against backward: y = sum(W exp x), one result, n inputs, d rows. The notes'
# forward evaluation carries a matrix with a column for each input.
x, W = cg.vector("x", "n"), cg.matrix("W", ("d", "n"))
y = (W @ cg.exp(x)).sum()
report = cg.compare_modes(y, x, sizes={"n": 100, "d": 50}, seeds="dense")
print(report)
assert report.row("reverse").sweeps == 1
assert report.row("forward").sweeps == 100
assert report.row("forward").flops > 90 * report.row("reverse").flops
assert report.row("differences").flops > 90 * report.row("reverse").flops
assert report.ratio <= 5  # Griewank and Walther's bound

grid = [1, 3, 10, 30, 100, 300, 1000] if full else [1, 10, 100]
by_n = report.sweep(n=grid)
by_d_and_n = report.sweep(n=grid, d=grid)
print(by_n)

# graphc itself starts from an identity matrix, whose zeros it skips.
assert cg.compare_modes(y, x, sizes={"n": 100, "d": 50}).row("forward").flops < 11_000

# Break-even: one hidden layer, n inputs and m outputs.
v = cg.vector("v", "n")
A, B = cg.matrix("A", (20, "n")), cg.matrix("B", ("m", 20))
z = cg.tanh(B @ cg.tanh(A @ v))
sweep = cg.compare_modes(z, v).sweep(n=grid, m=grid)
print(sweep)
winners = {(p.first, p.second): p.cheaper for p in sweep.points}
assert winners[100, 1] == "reverse" and winners[1, 100] == "forward"


# Memory: a chain of layers. Backward keeps what it reads of each, forward nothing.
def chain(depth: int) -> tuple[cg.Expression, cg.Expression]:
    x = cg.vector("x", 1000)
    h = x
    for _ in range(depth):
        h = cg.tanh(cg.cumsum(h) / 30)
    return h.sum(), x


depths = cg.compare_depths(chain, [2, 4, 8, 16, 32] if full else [2, 4])
print(depths)
first, *_, last = depths.points
assert last.forward == first.forward and last.reverse > first.reverse
assert all(p.ratio <= 5 for p in depths.points)

# Rounding: the error of difference quotients against that of automatic derivatives.
s = cg.scalar("s")
f = cg.exp(cg.sin(s))
run = cg.compile([s], [f, cg.grad(f, s)])
exact = np.cos(1.0) * np.exp(np.sin(1.0))
steps = [10.0**-e for e in range(1, 15)]
quotients = [(run(1.0 + h)[0] - run(1.0)[0]) / h for h in steps]
numeric = [abs(q - exact) / exact for q in quotients]
automatic = max(abs(run(1.0)[1] - exact) / exact, np.finfo(float).eps / 2)
print(f"error: differences {min(numeric):.0e} at best, automatic {automatic:.0e}")
assert min(numeric) > 1e3 * automatic

# Swell: the derivative of a product of k factors, as formula and as graph.
print("factors   symbolic, written out   automatic, shared")
swell = []
for k in (2, 4, 6, 8) if full else (2, 4):
    product = s
    for i in range(1, k + 1):
        product = product * cg.sin(s + i)
    found = cg.compare_modes(product, s, at={s: 0.4})
    swell.append((k, found.row("symbolic").written_out, found.row("reverse").shared))
    print(f"{k:>7}   {swell[-1][1]:>21,}   {swell[-1][2]:>17,}")
assert found.row("differences").error > 1e4 * found.row("reverse").error
assert found.row("symbolic").error < 1e-13


def draw_figures(folder: Path) -> None:
    """Draw what the page `docs/costs.md` shows, with times of a run."""
    import matplotlib
    from matplotlib.figure import Figure

    from graphc.surfaces.cost.figure import lines

    matplotlib.rcParams["svg.hashsalt"] = "graphc"  # the same names in each run

    def save(ax, name: str, title: str = "") -> None:
        if title:
            ax.set_title(title)
        ax.figure.savefig(folder / f"{name}.svg", metadata={"Date": None})

    def new(**options):
        ax = Figure(figsize=(7, 4.5), layout="constrained").add_subplot()
        ax.set(**options)
        return ax

    small = cg.vector("x", 8), cg.matrix("W", (4, 8))
    tiny = (small[1] @ cg.exp(small[0])).sum()
    at = {small[0]: rng.normal(size=8), small[1]: rng.normal(size=(4, 8))}
    methods = cg.compare_modes(tiny, small[0], at=at, seeds="dense")
    save(methods.plot(), "methods", "gradient of sum(W exp x), n = 8, d = 4")

    sizes = [10, 30, 100, 300, 1000]
    taken = [cg.compare_modes(y, x, at=inputs_of(n, 50), seeds="dense") for n in sizes]
    ax = new(xlabel="n inputs, d = 50", ylabel="measured seconds", title="sum(W exp x)")
    labels = {
        "differences": "numeric: n + 1 evaluations",
        "forward": "forward: a matrix of n columns",
        "reverse": "backward: vectors",
    }
    lines(
        ax,
        sizes,
        {text: [r.row(m).seconds for r in taken] for m, text in labels.items()},
    )
    ax.set(xscale="log", yscale="log")
    save(ax, "sum_w_exp_x_time")
    save(by_n.plot(), "sum_w_exp_x_by_n", "Jacobian of sum(W exp x), d = 50")
    title = "sum(W exp x): F forward, R reverse cheaper"
    save(by_d_and_n.plot(), "sum_w_exp_x_by_d_and_n", title)
    save(by_n.plot(what="ratio"), "gradient_over_function")
    save(sweep.plot(), "break_even")
    save(depths.plot(), "memory_by_depth", "a chain of layers: memory")
    title = "a chain of layers: gradient over function"
    save(depths.plot(what="ratio"), "ratio_by_depth", title)

    ax = new(xlabel="step", ylabel="relative error", title="derivative of exp(sin(x))")
    errors = {"numeric": numeric, "automatic": [automatic] * len(steps)}
    lines(ax, steps, errors)
    ax.set(xscale="log", yscale="log")
    save(ax, "rounding")
    ax = new(xlabel="factors", ylabel="operations", title="derivative of a product")
    ks, symbolic, shared = zip(*swell)
    curves = {"symbolic, written out": symbolic, "automatic, shared": shared}
    lines(ax, ks, curves)
    ax.set(yscale="log", xticks=ks)
    save(ax, "expression_swell")

    shapes = {"data": (512, 256), "hidden": (256, 128), "out": (128, 10)}
    data, hidden, out = (cg.matrix(name, size) for name, size in shapes.items())
    scores = cg.tanh(data @ hidden) @ out
    loss = cg.nn.logsumexp(scores, axis=1).sum()
    step = cg.compile([data, hidden, out], [loss, *cg.grad(loss, [hidden, out])])
    arrays = [rng.normal(size=n.shape) for n in (data, hidden, out)]
    save(step.profile(*arrays).plot(), "roofline")


if full:
    draw_figures(folder)
