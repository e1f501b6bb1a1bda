"""Piccoli's 2-2-1 ReLU network: forward pass, backward pass and one step by hand.

x = (2, 1), y = 5, w1..w6 = 0, 2, -4, -1, -2, 0, b = 3, 1, 6, learning rate 1e-3.
"""

import numpy as np

import graphc as cg

w = [cg.scalar(f"w{i}") for i in range(1, 7)]
b = [cg.scalar(f"b{i}") for i in range(1, 4)]
x1, x2, y = cg.scalar("x1"), cg.scalar("x2"), cg.scalar("y")

o1 = w[0] * x1 + w[1] * x2 + b[0]
o2 = w[2] * x1 + w[3] * x2 + b[1]
o3, o4 = cg.nn.relu(o1), cg.nn.relu(o2)
o5 = w[4] * o3 + w[5] * o4 + b[2]
loss = (o5 - y) ** 2

dw = cg.grad(loss, w)
run = cg.compile(
    [w, b, x1, x2, y],
    {
        "o": [o1, o2, o3, o4, o5],
        "loss": loss,
        "do5": cg.grad(loss, o5),
        "dw": dw,
        "new w": [v - 1e-3 * d for v, d in zip(w, dw)],
    },
)
out = run([0.0, 2.0, -4.0, -1.0, -2.0, 0.0], [3.0, 1.0, 6.0], 2.0, 1.0, 5.0)
for name, value in out.items():
    print(f"{name:>6}: {np.round(value, 6)}")

np.testing.assert_array_equal(out["o"], [5, -8, 5, 0, -4])
assert out["loss"] == 81
assert out["do5"] == -18
assert out["dw"][4] == -90 and out["dw"][0] == 72
np.testing.assert_allclose(out["new w"][0], -0.072, rtol=1e-14)
np.testing.assert_allclose(out["new w"][4], -1.91, rtol=1e-14)
