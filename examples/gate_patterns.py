"""What gates do to gradients: add distributes, mul swaps, copy adds, max routes.

From Xiu's notes. Each picture has values and gradients in its boxes; they are
written to a temporary folder.
"""

import tempfile
from pathlib import Path

import graphc as cg

folder = Path(tempfile.mkdtemp(prefix="graphc-gates-"))


def show(title, output, at):
    """Print and draw values and gradients of a gate; return the gradients."""
    inputs = list(at)
    gradients = cg.grad(output, inputs)
    value, numbers = cg.evaluate([output, gradients], at)
    notes = {output: f"value {value:g}, gradient 1"}
    print(f"{title}: value {value:g}")
    for node, gradient in zip(inputs, numbers):
        print(f"  d/d{node.name} = {gradient:g}")
        notes[node] = f"value {at[node]:g}, gradient {gradient:g}"
    cg.draw(output, folder / f"{title.split()[0]}.svg", notes=notes)
    return [float(g) for g in numbers]


x, y = cg.scalar("x"), cg.scalar("y")
at = {x: 3.0, y: -4.0}
assert show("add distributes", x + y, at) == [1, 1]
assert show("mul swaps", x * y, at) == [-4, 3]
assert show("max routes", cg.maximum(x, y), at) == [1, 0]
assert show("copy adds", 5 * x + 7 * x, {x: 3.0}) == [12]
print(f"pictures: {folder}")
