"""Numeric, symbolic and automatic differentiation compared.

From Dyer's notes: differences cost one evaluation for each input and lose half the
digits; a symbolic derivative swells; automatic differentiation does neither.
"""

import numpy as np
import sympy

import graphc as cg

# Rounding error: y = exp(sin(x)), at x = 1, for steps of several sizes.
x = cg.scalar("x")
y = cg.exp(cg.sin(x))
run = cg.compile([x], [y, cg.grad(y, x)])
exact = np.cos(1.0) * np.exp(np.sin(1.0))
automatic = abs(run(1.0)[1] - exact)
print("step      error of the difference quotient")
errors = []
for exponent in range(1, 15):
    h = 10.0**-exponent
    errors.append(abs((run(1.0 + h)[0] - run(1.0)[0]) / h - exact))
    print(f"1e-{exponent:02}     {errors[-1]:.1e}")
print(f"automatic {automatic:.1e}")
assert automatic <= 1e-15 * exact
assert min(errors) > 1e3 * 1e-15  # truncation meets rounding

# Cost: evaluations for a gradient of n inputs; one pass by reverse mode.
n = 50
v = cg.vector("v", n)
calls = cg.compile([v], cg.sum(v**2))
gradient = cg.compile([v], cg.grad(cg.sum(v**2), v))
at, h = np.linspace(0, 1, n), 1e-6
base, evaluations = calls(at), 1
quotients = []
for unit in np.eye(n):
    quotients.append((calls(at + h * unit) - base) / h)
    evaluations += 1
np.testing.assert_allclose(quotients, gradient(at), atol=1e-5)
print(f"gradient of {n} inputs: differences {evaluations} evaluations, reverse 1 pass")

# Swell: operations of the derivative of a product of k factors.
print("factors   symbolic operations   nodes of the automatic derivative")
s = sympy.Symbol("x")
for k in (4, 8, 16):
    factors = [s + i + sympy.sin(i * s) for i in range(1, k + 1)]
    symbolic = sympy.count_ops(sympy.diff(sympy.Mul(*factors), s))
    product = 1
    for i in range(1, k + 1):
        product = product * (x + i + cg.sin(i * x))
    nodes = len(cg.draw(cg.grad(product, x)).graph)
    print(f"{k:>7}   {symbolic:>19}   {nodes:>33}")
assert symbolic > 5 * nodes
