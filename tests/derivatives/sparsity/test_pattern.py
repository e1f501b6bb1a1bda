"""Patterns against dense Jacobians, for every op, and where they must be tight."""

from __future__ import annotations

import numpy as np
import pytest
from support.registry import DOMAINS, PARAMS
from support.tensor_samples import SAMPLES

import graphc as cg
from graphc.backends.reference import bind_sizes
from graphc.derivatives.activity import differentiable_positions
from graphc.derivatives.jacobians import blocks
from graphc.graph.node import Node
from graphc.ops.declare import REGISTRY, Elementwise, Move
from graphc.ops.factorize import solve_triangular
from graphc.ops.leaf import new_input
from graphc.types.tensor_type import TensorType

RNG = np.random.default_rng(0)


def dense(evaluate, y, x, at, mode="forward"):
    """Return |dy/dx| as a matrix at one point."""
    ((block,),) = blocks([y], [x], mode)
    value = evaluate(block, at)
    return np.abs(value.reshape(np.size(evaluate(y, at)), np.size(at[x])))


FLOATS = [
    s for s in SAMPLES if s.smooth and any(a.dtype == np.float64 for a in s.arrays)
]


CASES = [(s, True) for s in FLOATS]
CASES += [(s, False) for s in FLOATS if any(a.dtype.kind != "f" for a in s.arrays)]


@pytest.mark.parametrize(
    ("sample", "known"), CASES, ids=lambda v: str(v) if v not in (True, False) else ""
)
def test_every_op_depends_on_no_more_than_its_pattern(sample, known, evaluate):
    inputs = sample.inputs()
    node = sample.build(*inputs)
    sizes = {d.name: n for d, n in bind_sizes(inputs, sample.arrays).items()}
    at = dict(zip(inputs, sample.arrays))
    given = {x: a for x, a in at.items() if a.dtype.kind in "iub"} if known else {}
    for p in differentiable_positions(node):
        x = node.args[p]
        if x.dtype != np.float64 or x not in at or node.dtype != np.float64:
            continue
        pattern = cg.sparsity(node, x, at=given, sizes=sizes, disconnected="zero")
        true = dense(evaluate, node, x, at)
        assert pattern.shape == true.shape
        assert pattern.has_sorted_indices
        missed = (true > 1e-9) & ~pattern.toarray()
        assert not missed.any(), np.argwhere(missed)
        if isinstance(node.op, Move) and known:
            np.testing.assert_array_equal(pattern.toarray(), true > 0)


ELEMENTWISE = [
    (op, params)
    for op in REGISTRY.values()
    if isinstance(op, Elementwise) and op.name in DOMAINS and op.partials
    for params in PARAMS.get(op.name, [()])
    if params != (np.dtype(np.float32),)
]


@pytest.mark.parametrize(
    ("op", "params"), ELEMENTWISE, ids=lambda v: getattr(v, "name", str(v))
)
def test_elementwise_ops_depend_on_their_aligned_elements(op, params, evaluate):
    args, at = [], {}
    for i, (low, high) in enumerate(DOMAINS[op.name]):
        dtype = "bool" if op.name == "where" and not i else "float64"
        args.append(new_input(f"a{i}", TensorType((3, 2)[i % 2 :], np.dtype(dtype))))
        values = RNG.uniform(low, high, args[i].shape)
        at[args[i]] = values > 0.5 if dtype == "bool" else values
    y = op(*args, params=params)
    for x, rule in zip(args, op.partials):
        pattern = cg.sparsity(y, x, disconnected="zero") if rule else None
        if pattern is None:
            continue
        true = dense(evaluate, y, x, at) > 0
        assert not (true & ~pattern.toarray()).any()
        assert np.diff(pattern.indptr).max() <= 1
        factor = rule(*args, y)
        if isinstance(factor, int) and factor == 0:
            assert not pattern.nnz


def banded(n):
    x = cg.vector("x", n)
    up = cg.concatenate([x[1:], cg.zeros(1)])
    down = cg.concatenate([cg.zeros(1), x[:-1]])
    return x, (up - x * x) * down + cg.sin(x)


def test_a_banded_function_has_its_band():
    x, y = banded(6)
    expected = np.abs(np.subtract.outer(range(6), range(6))) <= 1
    np.testing.assert_array_equal(cg.sparsity(y, x).toarray(), expected)


def test_a_large_one_is_found_by_its_entries():
    n = 100_000
    x, y = banded(n)
    pattern = cg.sparsity(y, x)
    assert pattern.nnz == 3 * n - 2
    assert pattern.dtype == bool
    assert cg.sparsity((y * y).sum(), x, hessian=True).nnz == 5 * n - 6


def test_zeros_of_constant_matrices_count():
    x = cg.vector("x", 5)
    band = np.eye(5) + np.eye(5, k=2)
    np.testing.assert_array_equal(cg.sparsity(band @ x, x).toarray(), band > 0)
    np.testing.assert_array_equal(cg.sparsity(x @ band, x).toarray(), band.T > 0)
    X = cg.matrix("X", (5, 2))
    expected = np.kron(band, np.eye(2)) > 0
    np.testing.assert_array_equal(cg.sparsity(band @ X, X).toarray(), expected)
    stack = RNG.integers(0, 2, (3, 4, 5)) * 1.5
    expected = stack.reshape(12, 5) > 0
    np.testing.assert_array_equal(cg.sparsity(stack @ x, x).toarray(), expected)


def test_zeros_of_constant_factors_and_masks_count():
    x = cg.vector("x", 4)
    mask = np.array([1.0, 0.0, 2.0, 0.0])
    np.testing.assert_array_equal(cg.sparsity(x * mask, x).toarray(), np.diag(mask) > 0)
    chosen = cg.where(mask > 0, x, x[::-1])
    expected = np.where(mask[:, None] > 0, np.eye(4), np.eye(4)[::-1]) > 0
    np.testing.assert_array_equal(cg.sparsity(chosen, x).toarray(), expected)


def test_running_sums_are_triangles():
    x = cg.matrix("x", (2, 3))
    triangle = np.kron(np.eye(2), np.tril(np.ones((3, 3)))) > 0
    for y in (cg.cumsum(x, axis=1), cg.cumulative_prod(x, axis=1)):
        np.testing.assert_array_equal(cg.sparsity(y, x).toarray(), triangle)
    back = cg.cumsum(x[:, ::-1], axis=1)[:, ::-1]
    np.testing.assert_array_equal(
        cg.sparsity(back, x).toarray(), np.kron(np.eye(2), np.triu(np.ones((3, 3))))
    )


def test_indices_may_be_computed_or_given():
    x, i = cg.vector("x", 4), cg.vector("i", 3, dtype="int64")
    wrapped = x[cg.arange(6) % 4]
    np.testing.assert_array_equal(
        cg.sparsity(wrapped, x).toarray(), np.eye(4)[np.arange(6) % 4]
    )
    y = x[i] * 2
    assert cg.sparsity(y, x).toarray().all()
    at = {i: [2, 0, -1]}
    np.testing.assert_array_equal(cg.sparsity(y, x, at=at).toarray(), np.eye(4)[at[i]])
    put = cg.zeros(4).at[i].set(x[:3] ** 2)
    np.testing.assert_array_equal(
        cg.sparsity(put, x, at=at).toarray(),
        [[0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]],
    )


def test_nested_containers_give_blocks():
    x, z = cg.vector("x", 3), cg.scalar("z")
    found = cg.sparsity({"a": x * z, "b": [z * z]}, (x, z), disconnected="zero")
    assert [b.shape for b in found["a"]] == [(3, 3), (3, 1)]
    assert [b.nnz for b in found["a"]] == [3, 3]
    assert [b.nnz for b in found["b"][0]] == [0, 1]


def test_of_a_function():
    def f(x, i):
        return x[i] * x[i]

    found = cg.sparsity(f)(np.zeros(3), np.array([0, 2]))
    np.testing.assert_array_equal(found.toarray(), [[1, 0, 0], [0, 0, 1]])
    energy = cg.sparsity(lambda x: (x[1:] * x[:-1]).sum(), hessian=True)
    np.testing.assert_array_equal(
        energy(np.zeros(3)).toarray(), [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    )


def test_symbolic_sizes_are_given_or_named():
    x = cg.vector("x", "n")
    y = x[1:] * x[:-1]
    assert cg.sparsity(y, x, sizes={"n": 5}).shape == (4, 5)
    with pytest.raises(cg.ShapeError, match=r"the size 'n' is symbolic.*sizes={'n'"):
        cg.sparsity(y, x)
    with pytest.raises(cg.ShapeError, match=r"the size 'n' is symbolic.*integers"):
        cg.jacobian(y, x, mode="sparse")
    z = cg.vector("z", "m")
    with pytest.raises(cg.ShapeError, match="as equal, but they are"):
        cg.sparsity(x * z, x, sizes={"n": 5, "m": 4})


def test_only_integers_may_be_given():
    x, i = cg.vector("x", 3), cg.vector("i", 2, dtype="int64")
    y = x[i]
    with pytest.raises(cg.InputError, match="not an integer or boolean"):
        cg.sparsity(y, x, at={x: np.zeros(3)})
    with pytest.raises(cg.InputError, match="is not an input"):
        cg.sparsity(y, x, at={"i": [0, 1]})
    with pytest.raises(cg.InputError, match=r"at: int64\(3,\) was given for i"):
        cg.sparsity(y, x, at={i: [0, 1, 2]})
    with pytest.raises(cg.IndexOutOfRangeError, match=r"index 7 is out of range"):
        cg.sparsity(y, x, at={i: [0, 7]})
    with pytest.raises(cg.DTypeError, match="derivatives exist for"):
        cg.sparsity(y, i)


def test_empty_and_scalar():
    x = cg.vector("x", 0)
    assert cg.sparsity(x * x, x).shape == (0, 0)
    s = cg.scalar("s")
    assert cg.sparsity(s * s, s).toarray().tolist() == [[True]]
    assert cg.sparsity(x.sum(), x).shape == (1, 0)


def test_deep_graphs():
    x = cg.vector("x", 2)
    y: Node = x
    for _ in range(20_000):
        y = y * 0.5
    assert cg.sparsity(y, x).nnz == 2


def test_uniform_factors():
    x = cg.vector("x", 3)
    assert cg.sparsity(x * cg.zeros(3), x, disconnected="zero").nnz == 0
    assert cg.sparsity(x * cg.full(3, 2.0), x).nnz == 3


@pytest.mark.parametrize(
    "function",
    [
        cg.linalg.inv,
        cg.linalg.det,
        cg.linalg.cholesky,
        lambda a: cg.linalg.slogdet(a)[1],
        lambda a: cg.linalg.solve(a, np.ones((3, 2, 1))),
        lambda a: cg.linalg.solve_triangular(a, np.ones((3, 2, 1))),
    ],
)
def test_matrices_of_a_batch_depend_on_none_but_themselves(function):
    a = cg.tensor("a", (3, 2, 2))
    y = function(a)
    blocks = np.kron(np.eye(3), np.ones((y.size // 3, 4))) > 0
    np.testing.assert_array_equal(cg.sparsity(y, a).toarray(), blocks)


def test_columns_of_right_hand_sides_are_apart():
    a, b = cg.tensor("a", (2, 3, 3)), cg.tensor("b", (2, 3, 2))
    full = np.kron(np.eye(2), np.kron(np.ones((3, 3)), np.eye(2))) > 0
    pattern = cg.sparsity(cg.linalg.solve(a, b), b).toarray()
    np.testing.assert_array_equal(pattern, full)


@pytest.mark.parametrize(
    "case", [(lower, back) for lower in (False, True) for back in (False, True)]
)
def test_triangular_solves_depend_on_the_rows_solved_before(case, evaluate):
    a, b = cg.matrix("a", (3, 3)), cg.matrix("b", (3, 2))
    y = solve_triangular(a, b, *case)
    at = {a: RNG.normal(size=(3, 3)) + 4 * np.eye(3), b: RNG.normal(size=(3, 2))}
    true = dense(evaluate, y, b, at) > 0
    np.testing.assert_array_equal(cg.sparsity(y, b).toarray(), true)


def test_structures_that_are_hardly_sparse_are_refused_before_they_are_made():
    x = cg.vector("x", 100_000)
    calls = (
        lambda: cg.sparsity(x + x.sum(), x),
        lambda: cg.sparsity(x * cg.sin(cg.cumsum(x)), x),
        lambda: cg.jacobian(x * x.sum(), x, mode="sparse"),
        lambda: cg.hessian(x.sum() ** 2, x, mode="sparse"),
    )
    for call in calls:
        with pytest.raises(cg.AllocationError, match=r"hardly sparse\. Use forward or"):
            call()
    assert cg.jacobian(x * x.sum(), x).shape == (100_000, 100_000)  # auto: not sparse
