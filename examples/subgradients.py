"""max, min and abs with their subgradients, and what has no gradient at all.

From Dyer's notes. Where several subgradients exist, graphc takes the one in the
middle: 0 for abs at 0, an even share for ties; relu at 0 has 0.
"""

import graphc as cg

x, y = cg.scalar("x"), cg.scalar("y")
cases = {
    "abs(x) at 0": (abs(x), {x: 0.0, y: 0.0}, (0, None)),
    "abs(x) at -2": (abs(x), {x: -2.0, y: 0.0}, (-1, None)),
    "max(x, y) at (3, 1)": (cg.maximum(x, y), {x: 3.0, y: 1.0}, (1, 0)),
    "max(x, y) at (2, 2)": (cg.maximum(x, y), {x: 2.0, y: 2.0}, (0.5, 0.5)),
    "min(x, y) at (3, 1)": (cg.minimum(x, y), {x: 3.0, y: 1.0}, (0, 1)),
    "relu(x) at 0": (cg.nn.relu(x), {x: 0.0, y: 0.0}, (0, None)),
}
for name, (expression, at, expected) in cases.items():
    for node, wanted in zip((x, y), expected):
        if wanted is None:
            continue  # the expression does not use it
        got = float(cg.evaluate(cg.grad(expression, node), at))
        print(f"{name:>20}: d/d{node.name} = {got:g}")
        assert got == wanted

count = cg.scalar("count", dtype="int64")
try:
    cg.grad(x * count, count)
except cg.DTypeError as error:
    print(f"an integer input: {error}")
else:
    raise AssertionError("a gradient with respect to an integer was given")
