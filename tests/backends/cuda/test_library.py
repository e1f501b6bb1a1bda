"""Products and factorizations as library calls: flags, strides and addresses.

The libraries' functions are `backends.cuda.host`'s, which do what the documentation
says on the host's memory, so what is tested is everything but the libraries.
"""

from __future__ import annotations

import inspect
import itertools
import re

import numpy as np
import pytest
from support.cpu import assert_close

import graphc as cg
from graphc.backends.cuda import host, library, vendor
from graphc.backends.cuda.launches import Launch, Pointer, Scratch
from graphc.backends.reference import run
from graphc.graph.graph import Graph
from graphc.schedule.product import ProductCall
from graphc.types.errors import AllocationError, CompileError

pytestmark = pytest.mark.usefixtures("simulator")


def compiled(inputs, outputs, arrays, rtol=None):
    """Compile for CUDA, compare with the interpreter, and return the function."""
    f = cg.compile(list(inputs), list(outputs), backend="cuda")
    wanted = run(Graph(inputs, outputs), list(arrays))
    for g, w in zip(f(*arrays), wanted):
        assert_close(g, w, f.source, rtol)
    return f


def records(f, kind):
    """Return the library calls that a function made last."""
    (*_, plan) = f._executable.plans.values()
    return [s for group in plan.groups for s in group if isinstance(s, kind)]


def normal(*shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# --------------------------------------------------------------------- products


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "left, right", list(itertools.product([False, True], repeat=2))
)
def test_transposed_operands_cost_a_flag(left, right, dtype):
    a, b = normal(9, 7, dtype=dtype), normal(7, 8, dtype=dtype, seed=1)
    a, b = a.T.copy() if left else a, b.T.copy() if right else b
    x, y = cg.matrix("x", dtype=dtype), cg.matrix("y", dtype=dtype)
    f = compiled([x, y], [(x.T if left else x) @ (y.T if right else y)], [a, b])
    (gemm,) = records(f, vendor.Gemm)
    # by columns the operands change places, and so do their flags
    assert gemm.flags == (int(right), int(left))
    assert (gemm.m, gemm.n, gemm.k) == (8, 9, 7)
    assert not records(f, Launch)


def test_slices_are_read_in_place_by_their_leading_dimension():
    x, y = cg.matrix("x"), cg.matrix("y")
    product = x[2:11, 1:9] @ y[1:9, 3:10]
    f = compiled([x, y], [product], [normal(12, 10), normal(9, 12, seed=1)])
    (gemm,) = records(f, vendor.Gemm)
    assert (gemm.a[1], gemm.b[1], gemm.c[1]) == (12, 10, 7)
    assert not records(f, Launch)


@pytest.mark.parametrize(
    "way",
    [
        lambda x: x[::-1],
        lambda x: x[:, ::-1],
        lambda x: x[:, ::2][:, :5],
        lambda x: x[::2][:, :8],
        lambda x: cg.broadcast_to(x[:1], x.shape),
    ],
)
def test_what_no_flag_tells_is_copied_or_read_right(way):
    x, y = cg.tensor("x", (10, 11)), cg.matrix("y", ("k", "n"))
    left = way(x)
    k = left.shape[1]
    compiled([x, y], [left @ y], [normal(10, 11), normal(k, 9, seed=1)])
    compiled([x, y], [y.T @ left.T], [normal(10, 11), normal(k, 9, seed=1)])


BATCHES = [
    ((3, 7, 8), (3, 8, 9)),
    ((3, 7, 8), (8, 9)),
    ((7, 8), (3, 8, 9)),
    ((2, 3, 7, 8), (2, 3, 8, 9)),
    ((2, 3, 7, 8), (3, 8, 9)),
    ((2, 1, 7, 8), (1, 3, 8, 9)),
    ((2, 3, 7, 8), (2, 1, 8, 9)),
    ((0, 7, 8), (0, 8, 9)),
    ((3, 7, 0), (3, 0, 9)),
    ((3, 0, 8), (3, 8, 9)),
]


@pytest.mark.parametrize("left, right", BATCHES)
def test_batches(left, right):
    x = cg.tensor("x", [f"a{i}" if s > 1 else s for i, s in enumerate(left)])
    y = cg.tensor("y", [f"b{i}" if s > 1 else s for i, s in enumerate(right)])
    if 0 in (*left, *right):
        x, y = cg.tensor("x", left), cg.tensor("y", right)
    compiled([x, y], [x @ y], [normal(*left), normal(*right, seed=1)])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_batches_whose_axes_are_moved(order):
    x, y = cg.tensor("x", (2, 4, 3, 7, 8)), cg.tensor("y", (2, 4, 3, 8, 9))
    product = cg.transpose(x, (*order, 3, 4)) @ cg.transpose(y, (*order, 3, 4))
    f = compiled([x, y], [product], [normal(2, 4, 3, 7, 8), normal(2, 4, 3, 8, 9)])
    assert 1 <= len(records(f, vendor.Gemm)) <= library.MOST_CALLS


def test_very_many_matrices_apart_are_copied_into_one_batch():
    many = library.MOST_CALLS + 1
    x, y = cg.tensor("x", (many, many, 7, 8)), cg.tensor("y", (many, many, 8, 9))
    product = cg.transpose(x, (1, 0, 2, 3)) @ y
    arrays = [normal(many, many, 7, 8), normal(many, many, 8, 9, seed=1)]
    f = compiled([x, y], [product], arrays)
    (gemm,) = records(f, vendor.Gemm)
    assert gemm.count == many * many
    copies = [s.code.name.startswith("graphc_copy") for s in records(f, Launch)]
    assert copies and all(copies)


def test_a_reversed_batch():
    x, y = cg.tensor("x", (5, 7, 8)), cg.tensor("y", (5, 8, 9))
    compiled([x, y], [x[::-1] @ y], [normal(5, 7, 8), normal(5, 8, 9, seed=1)])


def test_products_of_no_terms_are_zero():
    x, y = cg.matrix("x"), cg.matrix("y")
    f = cg.compile([x, y], x @ y, backend="cuda")
    out = np.full((7, 9), np.nan)
    f(np.ones((7, 0)), np.ones((0, 9)), out=out)
    assert not out.any()


def test_pieces_add_up():
    """What is summed in parts begins with the first and adds the others."""
    x, y = normal(3, 7, 8), normal(3, 8, 9, seed=1)
    made = []

    def view(array, number):
        start = number * array[0].size * 8
        return library.View(Pointer(0 if array is x else 1, start), *lay(array))

    def lay(array):
        return array.shape[1:], array.shape[2], 1, ()

    steps = library.LibrarySteps(int, None, Scratch(3), None, True)
    steps.dtype, steps.itemsize = "float64", 8
    for number in range(3):
        made += steps._piece(
            [view(x, number), view(y, number)], (), (), Pointer(2), int(number > 0)
        )
    assert [m.beta for m in made] == [0, 1, 1]
    out = np.full((7, 9), np.nan)
    bases = [x.ctypes.data, y.ctypes.data, out.ctypes.data]
    libraries = vendor.Vendor(host.blas, host.solver)
    for m in made:
        m.run(libraries, lambda p: bases[p.base] + p.offset)
    np.testing.assert_allclose(out, sum(a @ b for a, b in zip(x, y)))


def test_tensor_cores_only_where_asked(monkeypatch):
    x, y = cg.matrix("x", dtype="float32"), cg.matrix("y", dtype="float32")
    modes = []
    monkeypatch.setattr(
        host.blas, "setMathMode", lambda handle, mode: modes.append(mode)
    )
    arrays = normal(7, 8, dtype="float32"), normal(8, 9, dtype="float32")
    cg.compile([x, y], x @ y, backend="cuda", tf32=True)(*arrays)
    cg.compile([x, y], x @ y, backend="cuda")(*arrays)
    assert modes[-2:] == [vendor.TF32_MATH, vendor.DEFAULT_MATH]


@pytest.mark.parametrize("dtype", ["int64", "int32", "bool"])
def test_products_of_integers_are_kernels(dtype):
    x, y = cg.tensor("x", (7, 8), dtype=dtype), cg.tensor("y", (8, 9), dtype=dtype)
    arrays = [(normal(*s) * 3).astype(dtype) for s in ((7, 8), (8, 9))]
    f = compiled([x, y], [x @ y], arrays)
    assert not records(f, vendor.Gemm)


def test_a_dtype_without_library_is_told_at_compile_time():
    x, y = cg.tensor("x", (7, 8), dtype="int64"), cg.tensor("y", (8, 9), dtype="int64")
    product = x @ y

    class Call:
        nodes = [product]

    with pytest.raises(CompileError, match=r"matmul: no library.*int64.*test_library"):
        library.check_dtype(Call())


def test_sizes_beyond_32_bits_are_told():
    x, y = cg.tensor("x", (7, 8)), cg.tensor("y", (8, 9))

    class Call:
        nodes = [x @ y]

    steps = library.LibrarySteps(int, None, Scratch(0), None, True)
    with pytest.raises(AllocationError, match="more than the CUDA libraries count"):
        steps._check(Call(), 2**31)


# --------------------------------------------------------------- factorizations


def positive(*batch, n, dtype="float64"):
    a = normal(*batch, n, n, dtype=dtype)
    return a @ a.swapaxes(-1, -2) + n * np.eye(n, dtype=dtype)


SIZES = [((), 1), ((), 5), ((3,), 4), ((2, 3), 5), ((2,), 130), ((0,), 4), ((3,), 0)]


@pytest.mark.parametrize("batch, n", SIZES)
def test_cholesky(batch, n):
    a = positive(*batch, n=n)
    x = cg.tensor("x", a.shape)
    compiled([x], [cg.linalg.cholesky(x)], [a])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch, n", SIZES)
def test_solve(batch, n, dtype):
    a = (normal(*batch, n, n) + n * np.eye(n)[::-1]).astype(dtype)
    b = normal(*batch, n, 3, dtype=dtype)
    x, y = cg.tensor("x", a.shape, dtype=dtype), cg.tensor("y", b.shape, dtype=dtype)
    compiled(
        [x, y], [cg.linalg.solve(x, y)], [a, b], 1e-3 if dtype == "float32" else None
    )


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("trans", [False, True])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_triangular_solves(lower, trans, unit, batch):
    from graphc.ops.factorize import solve_triangular

    t = normal(*batch, 6, 6) / 3 + 2 * np.eye(6)
    b = normal(*batch, 6, 4)
    x, y = cg.tensor("x", t.shape), cg.tensor("y", b.shape)
    compiled([x, y], [solve_triangular(x, y, lower, trans, unit)], [t, b])


@pytest.mark.parametrize("way", ["transposed", "sliced", "reversed", "stretched"])
def test_triangles_are_read_as_they_lie(way):
    from graphc.ops.factorize import solve_triangular

    t = normal(3, 9, 9) / 3 + 2 * np.eye(9)
    x, y = cg.tensor("x", t.shape), cg.tensor("y", (3, 6, 4))
    part = {
        "transposed": lambda: cg.transpose(x[:, 1:7, 1:7], (0, 2, 1)),
        "sliced": lambda: x[:, 1:7, 1:7],
        "reversed": lambda: x[:, 6:0:-1, 6:0:-1],
        "stretched": lambda: cg.broadcast_to(x[:1, 1:7, 1:7], (3, 6, 6)),
    }[way]()
    compiled([x, y], [solve_triangular(part, y, True, False)], [t, normal(3, 6, 4)])


def test_singular_matrices_are_nan_and_no_others():
    a = positive(3, n=5)
    a[1] = 1.0  # singular, but no zero matrix
    b = normal(3, 5, 2)
    x, y = cg.tensor("x", a.shape), cg.tensor("y", b.shape)
    f = compiled([x, y], [cg.linalg.solve(x, y)], [a, b], 1e-9)
    got = f(a, b)[0]
    a[1] = np.eye(5)
    a[1, 2, 2] = 0
    got = f(a, b)[0]
    assert np.isnan(got[1]).all() and np.isfinite(got[[0, 2]]).all()


@pytest.mark.parametrize("bad", [-1.0, np.nan])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_what_has_no_cholesky_factor_is_nan(bad, batch):
    a = positive(*batch, n=5)
    a[(1, 2, 2) if batch else (2, 2)] = bad
    x = cg.tensor("x", a.shape)
    compiled([x], [cg.linalg.cholesky(x)], [a])


def test_pivots():
    a = np.stack([np.eye(4)[[2, 0, 3, 1]] * 2, normal(4, 4), np.eye(4)])
    x = cg.tensor("x", a.shape)
    compiled([x], [cg.linalg.det(x), cg.linalg.inv(x)], [a])


def test_derivatives_share_one_factorization():
    x, y = cg.tensor("x", (5, 5)), cg.tensor("y", (5, 2))
    loss = cg.sum(cg.linalg.solve(x, y) ** 2)
    arrays = [positive(n=5), normal(5, 2)]
    f = compiled([x, y], [loss, cg.grad(loss, x)], arrays)
    assert len(records(f, vendor.Getrf)) == 1


# ------------------------------------------------------------------- the libraries


def cupy_functions():
    """Return CuPy's functions of both libraries, None for what cannot be loaded."""
    try:
        from cupy_backends.cuda.libs import cublas, cusolver
    except Exception:
        return None
    return {"blas": cublas, "solver": cusolver}


@pytest.mark.parametrize("kind", ["blas", "solver"])
def test_the_double_takes_what_cupys_functions_take(kind):
    found = cupy_functions()
    if found is None:
        pytest.skip("CuPy with cuBLAS and cuSOLVER is not installed")
    own = vars(getattr(host, kind))
    assert len(own) > 8
    for name, function in own.items():
        (text,) = re.findall(rf"^{name}\((.*?)\)", getattr(found[kind], name).__doc__)
        wanted = [p.split()[-1] for p in text.split(",")] if text else []
        got = list(inspect.signature(function).parameters)
        assert len(got) == len(wanted), name
        if name not in ("create", "setStream", "setMathMode"):
            assert got == wanted, name


def test_constants_are_the_librarys():
    found = cupy_functions()
    if found is None:
        pytest.skip("CuPy with cuBLAS and cuSOLVER is not installed")
    blas = found["blas"]
    assert (vendor.OP_N, vendor.OP_T) == (blas.CUBLAS_OP_N, blas.CUBLAS_OP_T)
    assert vendor.LOWER == blas.CUBLAS_FILL_MODE_LOWER
    assert vendor.UPPER == blas.CUBLAS_FILL_MODE_UPPER
    assert vendor.RIGHT == blas.CUBLAS_SIDE_RIGHT
    assert vendor.UNIT == blas.CUBLAS_DIAG_UNIT
    assert vendor.NON_UNIT == blas.CUBLAS_DIAG_NON_UNIT
    assert vendor.DEFAULT_MATH == blas.CUBLAS_DEFAULT_MATH


def test_the_double_checks_leading_dimensions():
    a = np.zeros(64)
    at = a.ctypes.data
    one = vendor.ONE["float64"].ctypes.data
    with pytest.raises(ValueError, match="leading dimension"):
        host.blas.dgemm(1, 0, 0, 4, 4, 4, one, at, 3, at, 4, one, at, 4)


@pytest.mark.parametrize(
    "side, uplo, trans, diag", list(itertools.product([0, 1], repeat=4))
)
def test_the_doubles_triangular_solve(side, uplo, trans, diag):
    t = normal(5, 5) + 4 * np.eye(5)
    b = normal(*((4, 5) if side else (5, 4)), seed=1)
    triangle = np.triu(t) if uplo else np.tril(t)
    if diag:
        np.fill_diagonal(triangle, 1)
    op = triangle.T if trans else triangle
    by_columns, x = np.asfortranarray(t), np.asfortranarray(b)
    host.blas.dtrsm(
        *(1, side, uplo, trans, diag, *b.shape, vendor.ONE["float64"].ctypes.data),
        *(by_columns.ctypes.data, 5, x.ctypes.data, len(b)),
    )
    np.testing.assert_allclose(x @ op if side else op @ x, b, rtol=1e-9, atol=1e-12)


def columns(xp, x, height, width):
    """Return shifted copies of images (n, H, W, c) side by side."""
    padded = xp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    parts = [
        padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)
    ]
    return xp.concatenate(parts, axis=3).reshape((-1, 9 * x.shape[3]))


@pytest.mark.parametrize("most", [0, 100])
def test_windows_and_terms_that_lie_apart(most, monkeypatch):
    """A convolution and its gradients, whose columns no array holds."""
    monkeypatch.setattr(library, "MOST_TERMS", most)
    x, w = cg.tensor("x", (2, 4, 5, 16)), cg.tensor("w", (144, 16))
    y = columns(cg, x, 4, 5) @ w
    loss = cg.sum(y * y)
    arrays = [normal(2, 4, 5, 16), normal(144, 16, seed=1)]
    f = compiled([x, w], [y, *cg.grad(loss, [x, w])], arrays, 1e-9)
    calls = [c for c in f.program.calls if isinstance(c, ProductCall)]
    assert any(len(c.pieces) > 1 for c in calls) and any(c.outer for c in calls)
    assert {g.beta for g in records(f, vendor.Gemm)} == {0, 1}
