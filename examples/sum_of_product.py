"""y = sum_i (W exp x)_i: forward mode carries matrices, reverse mode vectors.

From Dyer's notes. Both modes give the same derivative. Forward mode needs a pass for
each entry of x, that is a matrix for each intermediate result; reverse mode needs one
pass with vectors, because there is one output.
"""

import numpy as np

import graphc as cg

W = cg.matrix("W", ("n", "d"))
x = cg.vector("x", "d")
y = cg.sum(W @ cg.exp(x))

direction = cg.vector("direction", "d")
one_direction = cg.compile([W, x, direction], cg.jvp(y, x, direction))
gradient = cg.compile([W, x], cg.grad(y, x))

rng = np.random.default_rng(0)
for n, d in ((3, 2), (4, 6)):
    w_value, x_value = rng.normal(size=(n, d)), rng.normal(size=d)
    forward = [one_direction(w_value, x_value, e) for e in np.eye(d)]
    backward = gradient(w_value, x_value)
    expected = w_value.sum(axis=0) * np.exp(x_value)
    np.testing.assert_allclose(forward, expected, rtol=1e-12)
    np.testing.assert_allclose(backward, expected, rtol=1e-12)
    print(f"n = {n}, d = {d}: forward needs {d} passes, reverse needs 1")
    print("  dy/dx =", np.round(backward, 4))
