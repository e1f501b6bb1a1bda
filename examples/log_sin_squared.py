"""y = log sin^2 x: the derivative of a chain, component by component.

From Dyer's notes: dy/dx = 2 cos x / sin x.
"""

import numpy as np

import graphc as cg

x = cg.scalar("x")
a = cg.sin(x)
b = a**2
y = cg.log(b)

components = {
    "a = sin x": (a, cg.grad(a, x)),
    "b = a^2": (b, cg.grad(b, a)),
    "y = log b": (y, cg.grad(y, b)),
}
formula = cg.to_sympy(cg.diff(y, x))
run = cg.compile([x], [components, cg.grad(y, x)])
table, dy = run(0.7)
product = 1.0
for name, (_, derivative) in components.items():
    print(f"{name:>12}: {cg.to_sympy(derivative)}")
print(f"dy/dx = {formula}, by sympy\n")
print(f"{'component':>12} {'value':>9} {'derivative':>11}")
for name, (value, derivative) in table.items():
    print(f"{name:>12} {value:9.5f} {derivative:11.5f}")
    product *= derivative
print(f"dy/dx = {dy:.6f}, the product of the column")

assert str(formula) == "2*cos(x)/sin(x)"
np.testing.assert_allclose(dy, product, rtol=1e-14)
for point in (-2.0, 0.1, 0.7, 3.0):
    np.testing.assert_allclose(
        run(point)[1], 2 * np.cos(point) / np.sin(point), rtol=1e-13
    )
