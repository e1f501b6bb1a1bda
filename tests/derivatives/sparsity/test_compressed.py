"""Sparse Jacobians and Hessians against dense ones, and what they evaluate to."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse as sp

import graphc as cg
from graphc.derivatives.sparsity import compressed
from graphc.runtime.compile import compile as cpu_compile
from graphc.runtime.compile import evaluate as interpreted

RNG = np.random.default_rng(2)
N = 12


def banded(x):
    up = cg.concatenate([x[1:], cg.zeros(1)])
    down = cg.concatenate([cg.zeros(1), x[:-1]])
    return (up - x * x) * down + cg.sin(x)


INDEX = RNG.integers(0, N, 30)
BAND = np.eye(N) + 2 * np.eye(N, k=1) - np.eye(N, k=-3)
JACOBIANS = {
    "banded": banded,
    "elementwise": lambda x: cg.exp(x) * 2,
    "moves": lambda x: x[::-2],
    "itself": lambda x: x,
    "constant matrix": lambda x: cg.sin(BAND @ x),
    "inner": lambda x: cg.sin(x)[1:] * cg.cos(x)[:-1],
    "gathered": lambda x: x[INDEX] * x[INDEX[::-1]],
    "scattered": lambda x: cg.zeros(5).at[INDEX[:N] % 5].add(x * x),
    "sum": lambda x: (x * x).sum(),
    "arrow": lambda x: (x * x[0]).at[0].set((x * x).sum()),
    "dense": lambda x: cg.cumsum(cg.exp(x)),
    "stacked": lambda x: cg.stack([x[1:] * x[:-1], x[1:]], axis=1),
    "repeated": lambda x: cg.concatenate([x * x, x * x, cg.ones(2)]),
    "matrix": lambda x: (x.reshape((3, 4)) @ x.reshape((4, 3))) ** 2,
    "mean of rows": lambda x: cg.tanh(x.reshape((3, 4)).mean(axis=0)),
    "padded": lambda x: cg.pad(x, 2) * cg.pad(x, (0, 4)),
    "window": lambda x: sum(cg.sin(x)[i : i + N - 9] * x[i] for i in range(10)),
}


def compare(matrix, dense, at):
    got, wanted = interpreted([matrix, dense], at)
    assert isinstance(got, sp.csr_array)
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(
        got.toarray(), wanted.reshape(got.shape), rtol=1e-12, atol=1e-13
    )
    return got


@pytest.mark.parametrize("separate", [compressed.SEPARATE, 1], ids=["each", "batch"])
@pytest.mark.parametrize("name", JACOBIANS)
def test_jacobians_are_the_dense_ones(name, separate, monkeypatch):
    monkeypatch.setattr(compressed, "SEPARATE", separate)
    x = cg.vector("x", N)
    y = JACOBIANS[name](x)
    sparse, dense = cg.jacobian(y, x, "sparse"), cg.jacobian(y, x, "forward")
    got = compare(sparse, dense, {x: RNG.standard_normal(N)})
    pattern = cg.sparsity(y, x)
    np.testing.assert_array_equal(got.indices, pattern.indices)
    np.testing.assert_array_equal(got.indptr, pattern.indptr)


HESSIANS = {
    "chain": lambda x: ((x[1:] - x[:-1] ** 2) ** 2).sum() + cg.sin(x[0]),
    "separable": lambda x: cg.exp(x).sum(),
    "arrow": lambda x: (cg.sin(x) * x[0]).sum() * x[0],
    "grid": lambda x: (
        ((x.reshape((3, 4))[1:] - x.reshape((3, 4))[:-1]) ** 2).sum()
        + (x.reshape((3, 4))[:, 1:] * x.reshape((3, 4))[:, :-1] ** 3).sum()
    ),
    "gathered": lambda x: (x[INDEX] * cg.exp(x[INDEX[::-1]])).sum(),
    "quadratic": lambda x: x @ (BAND @ x),
    "dense": lambda x: cg.exp(x.sum()),
    "inner": lambda x: (cg.sin(x)[2:] * cg.sin(x)[:-2]).sum(),
    "linear": lambda x: x.sum(),
}


@pytest.mark.parametrize("separate", [compressed.SEPARATE, 1], ids=["each", "batch"])
@pytest.mark.parametrize("name", HESSIANS)
def test_hessians_are_the_dense_ones(name, separate, monkeypatch):
    monkeypatch.setattr(compressed, "SEPARATE", separate)
    x = cg.vector("x", N)
    y = HESSIANS[name](x)
    sparse, dense = cg.hessian(y, x, "sparse"), cg.hessian(y, x)
    got = compare(sparse, dense, {x: RNG.standard_normal(N)})
    assert (got != got.T).nnz == 0 or abs(got - got.T).max() < 1e-12


def test_indices_of_no_known_value_give_a_structure_for_all():
    x, i = cg.vector("x", 5), cg.vector("i", 3, dtype="int64")
    y = cg.sin(x)[i] * x[i]
    sparse, dense = cg.jacobian(y, x, "sparse"), cg.jacobian(y, x, "forward")
    assert sparse.nnz == 15
    compare(sparse, dense, {x: RNG.standard_normal(5), i: np.array([4, 0, -2])})


def test_nested_containers_give_blocks():
    x, z = cg.matrix("x", (2, 3)), cg.scalar("z")
    y = {"a": x * z, "b": [(x * x).sum(axis=0)]}
    sparse, dense = (cg.jacobian(y, (x, z), m) for m in ("sparse", "forward"))
    at = {x: RNG.standard_normal((2, 3)), z: 2.0}
    compare(sparse["a"][0], dense["a"][0], at)
    compare(sparse["a"][1], dense["a"][1], at)
    compare(sparse["b"][0][0], dense["b"][0][0], at)
    assert sparse["b"][0][1].nnz == 0
    assert interpreted(sparse["b"][0][1], at).shape == (3, 1)
    f = (x.sum(axis=0) ** 2).sum() * z
    for row, other in zip(cg.hessian(f, [x, z], "sparse"), cg.hessian(f, [x, z])):
        for block, wanted in zip(row, other):
            compare(block, wanted, at)


def test_by_inner_expressions_and_by_one_twice():
    x = cg.vector("x", 4)
    u = x * 2
    y = u[1:] * x[:-1]
    sparse, dense = (cg.jacobian(y, [u, x, x], m) for m in ("sparse", "forward"))
    for block, wanted in zip(sparse, dense):
        compare(block, wanted, {x: RNG.standard_normal(4)})


def test_float32():
    x = cg.vector("x", N, dtype="float32")
    got = interpreted(cg.jacobian(banded(x), x, "sparse"), {x: np.ones(N, "float32")})
    assert got.dtype == np.float32


def test_few_sweeps():
    """The band of three takes one reverse sweep: nothing of it is computed twice."""
    x = cg.vector("x", N)
    graph = cg.Graph([x], [cg.jacobian(banded(x), x, "sparse").data])
    assert sum(n.op.name == "cos" for n in graph.nodes) == 1
    assert all(n.size <= 3 * N for n in graph.nodes)


def test_compiled_results_share_their_structure():
    x = cg.vector("x", N)
    J = cg.jacobian(banded(x), x, "sparse")
    f = cpu_compile([x], {"y": banded(x), "J": J})
    at = RNG.standard_normal(N)
    one, two = f(at)["J"], f(at + 1)["J"]
    np.testing.assert_allclose(
        one.toarray(), interpreted(J, {x: at}).toarray(), rtol=1e-12
    )
    assert one.indices is two.indices and one.data is not two.data
    assert not one.indices.flags.writeable
    changed = one.copy()
    changed.indices[0] = 1
    product = one @ two.T + one * 2
    np.testing.assert_allclose(
        product.toarray(), one.toarray() @ two.toarray().T + 2 * one.toarray()
    )
    again = pickle.loads(pickle.dumps(f))(at)["J"]
    np.testing.assert_array_equal(again.toarray(), one.toarray())


def test_out():
    x = cg.vector("x", N)
    f = cpu_compile([x], cg.jacobian(banded(x), x, "sparse"))
    at = RNG.standard_normal(N)
    first = f(at)
    wanted = first.toarray()
    given = f(at + 1)
    assert f(at, out=given) is given
    np.testing.assert_array_equal(given.toarray(), wanted)
    with pytest.raises(cg.InputError, match="out must be a sparse matrix in CSR"):
        f(at, out=sp.eye_array(N, format="csr"))
    with pytest.raises(cg.InputError, match="out must be a sparse matrix in CSR"):
        f(at, out=np.zeros((N, N)))


def test_of_functions():
    at = RNG.standard_normal(N)
    x = cg.vector("x", N)
    wanted = interpreted(cg.jacobian(banded(x), x, "forward"), {x: at})
    J = interpreted(cg.jacobian(banded, mode="sparse")(x), {x: at})
    np.testing.assert_allclose(J.toarray(), wanted, rtol=1e-12)


def test_as_a_matrix():
    x, v, V = cg.vector("x", N), cg.vector("v", N), cg.matrix("V", (N, 2))
    J = cg.jacobian(banded(x)[:-2], x, "sparse")
    w = cg.vector("w", N - 2)
    assert (J.shape, J.ndim, J.nnz, J.dtype) == ((N - 2, N), 2, 29, np.float64)
    assert repr(J) == "<SparseMatrix float64(10, 12) with 29 entries>"
    at = {y: RNG.standard_normal(y.shape) for y in (x, v, V, w)}
    parts = [J, J.T, J.toarray(), J.todense(), J @ v, J @ V, w @ J, V.T @ J.T, -J * 2]
    A, At, D, D2, Av, AV, wA, VA, A2 = interpreted([*parts, J / 4][:9], at)
    dense = A.toarray()
    np.testing.assert_array_equal(At.toarray(), dense.T)
    assert At.has_canonical_format
    np.testing.assert_array_equal(D, dense)
    np.testing.assert_array_equal(D2, dense)
    np.testing.assert_allclose(Av, dense @ at[v])
    np.testing.assert_allclose(AV, dense @ at[V])
    np.testing.assert_allclose(wA, at[w] @ dense)
    np.testing.assert_allclose(VA, at[V].T @ dense.T)
    np.testing.assert_allclose(A2.toarray(), -2 * dense)
    np.testing.assert_allclose(interpreted(J / 4, at).toarray(), dense / 4)
    np.testing.assert_allclose(interpreted(J @ at[v], at), dense @ at[v])
    np.testing.assert_allclose(interpreted(at[w] @ J, at), at[w] @ dense)
    gradient = cg.grad((J @ v).sum(), v)
    np.testing.assert_allclose(interpreted(gradient, at), dense.sum(axis=0))
    with pytest.raises(cg.ShapeError, match=r"matmul.*\(10, 12\) takes a vector of 12"):
        J @ w
    with pytest.raises(cg.ShapeError, match="multiplied by numbers"):
        J * w
    with pytest.raises(cg.InputError, match="two sparse expressions"):
        J @ J.T


def test_what_would_overflow_memory_is_refused():
    n = 100_000
    x = cg.vector("x", n)
    J = cg.jacobian(x * x, x, "sparse")
    assert J.nnz == n
    with pytest.raises(cg.AllocationError, match=r"75 GiB if it were dense.*S @ v"):
        J.toarray()


def test_plans_count_sweeps():
    x = cg.vector("x", N)
    plan = compressed.plan_jacobian([banded(x)], [x], "raise")
    assert (plan.sweeps, plan.coloring.row_colors, plan.nnz) == (1, 1, 3 * N - 2)
    plan = compressed.plan_jacobian([cg.cumsum(cg.exp(x))], [x], "raise")
    assert plan.sweeps == N
    plan = compressed.plan_hessian(HESSIANS["chain"](x), [x], "raise")
    assert plan.sweeps == 2


def test_vmap_takes_the_entries():
    x, X = cg.vector("x", N), cg.matrix("X", (3, N))
    rows = cg.vmap(lambda x: cg.jacobian(banded(x), x, "sparse").data)(X)
    at = RNG.standard_normal((3, N))
    J = cg.jacobian(banded(x), x, "sparse")
    wanted = [interpreted(J, {x: row}).data for row in at]
    np.testing.assert_allclose(interpreted(rows, {X: at}), wanted, rtol=1e-12)
    with pytest.raises(cg.ShapeError, match=r"one axis of entries.*take the data"):
        cg.vmap(lambda x: cg.jacobian(banded(x), x, "sparse"))(X)


def test_errors():
    x, i = cg.vector("x", 3), cg.vector("i", 3, dtype="int64")
    with pytest.raises(cg.DisconnectedInputError, match="is not used by"):
        cg.jacobian(x * x, cg.vector("z", 2), "sparse")
    with pytest.raises(cg.DTypeError, match="derivatives exist for"):
        cg.jacobian(x * i, i, "sparse")
    with pytest.raises(cg.ShapeError, match="the result must be a scalar"):
        cg.hessian(x * x, x, "sparse")
    with pytest.raises(cg.NotDifferentiableError, match="discrete"):
        cg.jacobian(cg.argmax(x) * 1.0, x, "sparse")
    with pytest.raises(cg.ConfigError, match="'sparsest' is unknown"):
        cg.jacobian(x * x, x, "sparsest")


@pytest.mark.parametrize("n", [0, 1])
def test_small_sizes(n):
    x = cg.vector("x", n)
    got = interpreted(cg.jacobian(x * x, x, "sparse"), {x: np.full(n, 3.0)})
    np.testing.assert_array_equal(got.toarray(), 6 * np.eye(n))
    got = interpreted(cg.hessian((x**3).sum(), x, "sparse"), {x: np.full(n, 3.0)})
    np.testing.assert_array_equal(got.toarray(), 18 * np.eye(n))
    s = cg.scalar("s")
    got = interpreted(cg.jacobian(s * s, s, "sparse"), {s: 3.0})
    np.testing.assert_array_equal(got.toarray(), [[6.0]])


def test_a_branch_not_taken_contributes_zero():
    x = cg.vector("x", 3)
    y = cg.where(x[1:] > 0, cg.log(x[1:]), 0) * x[:-1]
    got = interpreted(cg.jacobian(y, x, "sparse"), {x: np.array([2.0, 0.0, 1.0])})
    np.testing.assert_array_equal(got.toarray(), [[0, 0, 0], [0, 0, 0]])
