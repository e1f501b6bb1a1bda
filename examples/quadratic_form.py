"""x'Ax + b.x + c, built node by node, forward and backward.

From Dyer's notes: dx = (A' + A) x + b, dA = x x'.
"""

import numpy as np

import graphc as cg

A = cg.matrix("A", ("n", "n"))
x, b = cg.vector("x", "n"), cg.vector("b", "n")
c = cg.scalar("c")

Ax = A @ x
xAx = x @ Ax
bx = b @ x
y = xAx + bx + c

gradients = cg.grad(y, {"x": x, "A": A, "b": b, "c": c})
run = cg.compile([A, x, b, c], {"y": y, "d": gradients})
print(run.graph)

rng = np.random.default_rng(1)
for n in (1, 4):  # one compiled function serves every size
    a_value, x_value, b_value = rng.normal(size=(n, n)), *rng.normal(size=(2, n))
    out = run(a_value, x_value, b_value, 0.5)
    expected = x_value @ a_value @ x_value + b_value @ x_value + 0.5
    np.testing.assert_allclose(out["y"], expected, rtol=1e-12)
    np.testing.assert_allclose(
        out["d"]["x"], (a_value.T + a_value) @ x_value + b_value, rtol=1e-12
    )
    np.testing.assert_allclose(out["d"]["A"], np.outer(x_value, x_value), rtol=1e-12)
    np.testing.assert_allclose(out["d"]["b"], x_value, rtol=1e-12)
    assert out["d"]["c"] == 1
    print(f"n = {n}: y = {out['y']:.4f}, dy/dx = {np.round(out['d']['x'], 4)}")
