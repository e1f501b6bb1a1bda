"""Two fronts for one graph: expressions, and tracing of a Python function.

Dyer's notes tell source transformation from operator overloading. graphc's Python
functions are traced by overloading; what is differentiated is the graph either way.
"""

import numpy as np

import graphc as cg


def energy(w, x):
    """Return the sum of tanh(x w) squared."""
    return cg.sum(cg.tanh(x @ w) ** 2)


rng = np.random.default_rng(0)
w0, x0 = rng.normal(size=3), rng.normal(size=(5, 3))

w, x = cg.vector("w", 3), cg.matrix("x", (5, 3))
by_expression = cg.compile([w, x], cg.value_and_grad(energy(w, x), w))(w0, x0)
by_tracing = cg.value_and_grad(energy)(w0, x0)
print("value   ", by_expression[0], by_tracing[0])
print("gradient", by_expression[1], by_tracing[1])
np.testing.assert_array_equal(by_expression[0], by_tracing[0])
np.testing.assert_array_equal(by_expression[1], by_tracing[1])

second = cg.hessian(energy)(w0, x0)
step = 1e-5 * np.eye(3)
differences = [
    (cg.grad(energy)(w0 + s, x0) - cg.grad(energy)(w0 - s, x0)) / 2e-5 for s in step
]
print("Hessian, largest difference:", np.abs(second - differences).max())
np.testing.assert_allclose(second, differences, atol=1e-8)
