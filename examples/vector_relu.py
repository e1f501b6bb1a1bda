"""The backward pass of a vector ReLU never forms its Jacobian.

From Xiu's notes: x = (1, -2, 3, -1), dL/dz = (4, -1, 5, 9), dL/dx = (4, 0, 5, 0).
"""

import numpy as np

import graphc as cg

x = cg.vector("x", "n")
dz = cg.vector("dz", "n")
z = cg.nn.relu(x)
dx = cg.vjp(z, x, dz)

backward = cg.compile([x, dz], dx)
answer = backward(np.array([1.0, -2.0, 3.0, -1.0]), np.array([4.0, -1.0, 5.0, 9.0]))
print("dL/dx =", answer)
np.testing.assert_array_equal(answer, [4, 0, 5, 0])
assert all(node.ndim < 2 for node in backward.graph.nodes), "a Jacobian was formed"
