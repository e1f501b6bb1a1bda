"""A sigmoid neuron, one node per operation and as one sigmoid node.

The graph of a function is not unique, its gradients are. From Xiu's notes:
w = (2, -3, -3), x = (-1, -2), output 0.73, local gradient 0.73 (1 - 0.73) = 0.20.
"""

import numpy as np

import graphc as cg

w = [cg.scalar(f"w{i}") for i in range(3)]
x = [cg.scalar(f"x{i}") for i in range(2)]
s = w[0] * x[0] + w[1] * x[1] + w[2]
by_steps = 1 / (1 + cg.exp(-s))
as_one = cg.sigmoid(s)

values = (2.0, -3.0, -3.0, -1.0, -2.0)
gradients = []
for name, y in (("by steps", by_steps), ("as one", as_one)):
    graph = cg.compile([*w, *x], [y, cg.grad(y, s), cg.grad(y, [w, x])])
    output, local, (dw, dx) = graph(*values)
    print(f"{name:>8}: output {output:.2f}, local gradient {local:.2f}")
    print(f"          dw = {np.round(dw, 2)}, dx = {np.round(dx, 2)}")
    assert round(float(output), 2) == 0.73
    assert round(float(local), 2) == 0.20
    gradients.append(np.array([*dw, *dx]))

np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-14)
