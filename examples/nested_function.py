"""f = b3 + w3 cos(b2 + w2 exp(b1 + w1 sin(b0 + w0 x))) and all eight derivatives.

From Gogianu's and Busoniu's notes, with the loss (f - y)^2 and their closed form of
its derivative by w0. The backward pass computes once what the closed form repeats.
"""

from math import cos, exp, sin

import graphc as cg

x, y = cg.scalar("x"), cg.scalar("y")
b = [cg.scalar(f"b{i}") for i in range(4)]
w = [cg.scalar(f"w{i}") for i in range(4)]
f = b[3] + w[3] * cg.cos(b[2] + w[2] * cg.exp(b[1] + w[1] * cg.sin(b[0] + w[0] * x)))
loss = (f - y) ** 2
run = cg.compile([x, y, b, w], [loss, cg.grad(loss, [b, w])])

X, Y, B, W = 1.2, 0.4, [0.3, -0.2, 0.5, 0.1], [0.7, 0.9, -0.4, 1.1]
value, (db, dw) = run(X, Y, B, W)

u0 = B[0] + W[0] * X
u1 = B[1] + W[1] * sin(u0)
u2 = B[2] + W[2] * exp(u1)
u3 = B[3] + W[3] * cos(u2)
e = 2 * (u3 - Y)
expected_b = [
    -e * W[3] * sin(u2) * W[2] * exp(u1) * W[1] * cos(u0),
    -e * W[3] * sin(u2) * W[2] * exp(u1),
    -e * W[3] * sin(u2),
    e,
]
expected_w = [
    # the closed form of the notes
    -2
    * (B[3] + W[3] * cos(B[2] + W[2] * exp(B[1] + W[1] * sin(B[0] + W[0] * X))) - Y)
    * W[3]
    * sin(B[2] + W[2] * exp(B[1] + W[1] * sin(B[0] + W[0] * X)))
    * W[2]
    * exp(B[1] + W[1] * sin(B[0] + W[0] * X))
    * W[1]
    * cos(B[0] + W[0] * X)
    * X,
    expected_b[1] * sin(u0),
    expected_b[2] * exp(u1),
    e * cos(u2),
]

print(f"loss = {value:.6f}")
for name, got, expected in zip(
    ("b0", "b1", "b2", "b3", "w0", "w1", "w2", "w3"),
    (*db, *dw),
    expected_b + expected_w,
):
    print(f"d/d{name} = {got: .15f}   closed form {expected: .15f}")
    assert abs(got - expected) <= 1e-13 * abs(expected)

symbolic = cg.compile([x, y, b, w], [cg.diff(loss, v) for v in (*b, *w)])
for got, expected in zip(symbolic(X, Y, B, W), expected_b + expected_w):
    assert abs(got - expected) <= 1e-13 * abs(expected), "sympy's derivative"

names = [node.op.name for node in cg.draw([loss, cg.grad(loss, [b, w])]).graph.nodes]
assert names.count("exp") == 1, "the backward pass shares exp with the forward pass"
