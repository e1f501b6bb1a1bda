"""What derivatives cost: numeric, symbolic, automatic; forward or backward.

From Dyer's notes: y = sum_i (W exp x)_i for sizes d and n; a chain of layers, whose
backward pass keeps every layer; the swell of symbolic derivatives. Numbers are counted
on the compiled programs. With a folder as argument the figures of `docs/figures` are
drawn there, over more sizes.
"""

import sys
from pathlib import Path

import numpy as np

import graphc as cg
from graphc.surfaces.cost.sweep import memory_by_depth

folder = Path(sys.argv[1]) if len(sys.argv) == 2 else None
full = folder is not None and folder.is_dir()

# Forward against backward: y = sum(W exp x), one result, n inputs, d rows.
x, W = cg.vector("x", "n"), cg.matrix("W", ("d", "n"))
y = (W @ cg.exp(x)).sum()
report = cg.compare_modes(y, x, sizes={"n": 100, "d": 50})
print(report)
assert report.row("reverse").sweeps == 1
assert report.row("forward").sweeps == 100
assert report.row("differences").flops > 50 * report.row("reverse").flops
assert report.ratio <= 5  # Griewank and Walther's bound

# Break-even: one hidden layer, n inputs and m outputs.
v = cg.vector("v", "n")
A, B = cg.matrix("A", (20, "n")), cg.matrix("B", ("m", 20))
z = cg.tanh(B @ cg.tanh(A @ v))
grid = [1, 3, 10, 30, 100, 300, 1000] if full else [1, 10, 100]
modes = cg.compare_modes(z, v)
sweep = modes.sweep(n=grid, m=grid)
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


depths = memory_by_depth(chain, [2, 4, 8, 16, 32] if full else [2, 4])
print("layers   bytes forward   bytes backward")
for depth, forward, reverse in depths:
    print(f"{depth:>6}   {forward:>13,}   {reverse:>14,}")
assert depths[-1].forward == depths[0].forward
assert depths[-1].reverse > depths[0].reverse

# Swell: the derivative of a product of k factors, as formula and as graph.
print("factors   symbolic, written out   automatic, shared")
s = cg.scalar("s")
swell = []
for k in (2, 4, 6, 8) if full else (2, 4):
    product = s
    for i in range(1, k + 1):
        product = product * cg.sin(s + i)
    found = cg.compare_modes(product, s, at={s: 0.4})
    swell.append((k, found.row("symbolic").written_out, found.row("reverse").flops))
    print(f"{swell[-1][0]:>7}   {swell[-1][1]:>21,}   {swell[-1][2]:>17,}")
assert found.row("differences").error > 1e4 * found.row("reverse").error
assert found.row("symbolic").error < 1e-13

if full:
    from matplotlib.figure import Figure

    def save(ax, name: str) -> None:
        ax.figure.savefig(folder / f"{name}.svg", metadata={"Date": None})

    rng = np.random.default_rng(0)
    at = {x: rng.normal(size=100), W: rng.normal(size=(50, 100))}
    save(cg.compare_modes(y, x, at=at).plot(), "modes_of_sum_w_exp_x")
    save(sweep.plot(), "break_even")
    for name, title, label, rows, names in (
        ("memory_by_depth", "a chain of layers", "layers", depths, "bytes planned"),
        ("expression_swell", "a product of k factors", "k", swell, "operations"),
    ):
        ax = Figure(figsize=(7, 4.5), layout="constrained").add_subplot()
        pair = ("forward", "backward") if name[0] == "m" else ("symbolic", "automatic")
        for number, mode in enumerate(pair, 1):
            ax.plot([r[0] for r in rows], [r[number] for r in rows], "o-", label=mode)
        ax.set(xlabel=label, ylabel=names, title=title, yscale="log")
        ax.legend()
        save(ax, name)
