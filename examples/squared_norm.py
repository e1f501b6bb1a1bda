"""f = ||W x||^2 and its gradients with respect to the matrix and the vector.

From Xiu's notes: q = W x = (0.22, 0.26), f = 0.116.
"""

import numpy as np

import graphc as cg

W = cg.matrix("W", (2, 2))
x = cg.vector("x", 2)
q = W @ x
f = cg.sum(q**2)

run = cg.compile([W, x], {"q": q, "f": f, "gradients": cg.grad(f, {"W": W, "x": x})})
out = run([[0.1, 0.5], [-0.3, 0.8]], [0.2, 0.4])

print("q =", out["q"], " f =", out["f"])
print("df/dW =\n", out["gradients"]["W"], "\ndf/dx =", out["gradients"]["x"])
np.testing.assert_allclose(out["q"], [0.22, 0.26])
np.testing.assert_allclose(out["f"], 0.116)
np.testing.assert_allclose(out["gradients"]["W"], [[0.088, 0.176], [0.104, 0.208]])
np.testing.assert_allclose(out["gradients"]["x"], [-0.112, 0.636])
