"""graphc as a peer of the side-by-side suite: one `compile` per workload.

Inputs are declared with the workload's sizes, as PyTensor's adapter does; loops are
unrolled.
"""

from __future__ import annotations

from types import SimpleNamespace

from peers._generic import functions

import graphc as cg

xp = SimpleNamespace(
    **{
        name: getattr(cg, name)
        for name in (
            *("sin", "cos", "exp", "log", "tanh", "sqrt", "erf"),
            *("maximum", "logaddexp", "concatenate"),
        )
    },
    logsumexp=lambda x, axis: cg.nn.logsumexp(x, axis),
    sigmoid=cg.sigmoid,
    softmax=lambda x: cg.nn.softmax(x, -1),
    diag=cg.diagonal,
    const=cg.constant,
    cholesky=cg.linalg.cholesky,
    solve_lower=lambda a, b: cg.linalg.solve_triangular(a, b, lower=True),
    pad_hw=lambda x: cg.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))),
)
F = functions(xp)


def supports(w) -> bool:
    return True


def _vjp(f, wrt, args, cotangent=None):
    y = f(*args)
    xs = [args[i] for i in wrt]
    ct = cg.ones_like(y) if cotangent is None else cotangent
    return y, *cg.vjp(y, xs, ct)


def _greeks(f, args):
    y = f(*args)
    delta, vega, d_t, rho = cg.grad(cg.sum(y), [args[i] for i in (0, 4, 2, 3)])
    return y, delta, vega, -d_t, rho, cg.grad(cg.sum(delta), args[0])


def _outputs(w, args):
    f, wrt = F[w.fn], w.wrt
    if w.kind == "fwd":
        out = f(*args)
        return list(out) if isinstance(out, tuple) else [out]
    if w.kind in ("grad", "vg"):
        y, *grads = _vjp(f, wrt, args)
        return grads if w.kind == "grad" else [y, *grads]
    if w.kind == "vjp":
        return list(_vjp(f, wrt, args[:-1], args[-1]))
    if w.kind in ("jac", "sparse_jac"):
        return [cg.jacobian(f(*args), args[0])]
    if w.kind == "grad_hess":
        y = f(*args)
        return [cg.grad(y, args[0]), cg.hessian(y, args[0])]
    return list(_greeks(f, args))


def convert(w, inputs):
    return inputs


def make(w):
    args = [
        cg.scalar(f"x{i}")
        if isinstance(a, float)
        else cg.tensor(f"x{i}", a.shape, dtype=a.dtype)
        for i, a in enumerate(w.inputs)
    ]
    function = cg.compile(args, _outputs(w, args))
    return lambda inputs: function(*inputs)
