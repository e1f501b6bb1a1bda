"""f = (x + y) z at (-2, 5, -4): the smallest graph with a backward pass.

From Xiu's and Piccoli's notes.
"""

import graphc as cg

x, y, z = cg.scalar("x"), cg.scalar("y"), cg.scalar("z")
q = x + y
f = q * z

step = cg.compile([x, y, z], [q, f, cg.grad(f, [x, y, z])])
q_value, f_value, (dx, dy, dz) = step(-2.0, 5.0, -4.0)

print(cg.draw(f))
print(f"q = {q_value:g}, f = {f_value:g}")
print(f"df/dx = {dx:g}, df/dy = {dy:g}, df/dz = {dz:g}")
assert (q_value, f_value) == (3, -12)
assert (dx, dy, dz) == (-4, -4, 3)
