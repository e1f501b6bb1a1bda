"""What fusion computes: graphs of many shapes against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.graph.node import Node
from graphc.ops import index, leaf, move, reduce, scan, slicing
from graphc.ops.contract import matmul_
from tests.support.cpu import assert_cpu_agrees, placeholders

exp = cg.exp
_rng = np.random.default_rng(7)


def real(*shape, dtype=np.float64):
    return _rng.normal(size=shape).astype(dtype)


def total(x: Node, *axes: int) -> Node:
    return reduce.sum_(x, params=(axes or tuple(range(x.ndim)),))


def largest(x: Node, *axes: int) -> Node:
    return reduce.max_(x, params=(axes,))


def back(x: Node, like: Node, *axes: int) -> Node:
    """Reshape a reduction so that it broadcasts over the axes it lost."""
    return move.reshape(
        x, tuple(1 if a in axes else s for a, s in enumerate(like.shape))
    )


CASES: dict[str, tuple] = {}


def case(*arrays, shapes=None, name=None, **options):
    """Enter a case: a function from inputs to outputs, and arrays to call it with."""

    def enter(build):
        label = name or build.__name__.strip("_")
        assert label not in CASES
        CASES[label] = (build, arrays, shapes, options)
        return build

    return enter


def check(build, arrays, shapes=None, **options):
    inputs = placeholders(*arrays, shapes=shapes)
    outputs = build(*inputs)
    outputs = [outputs] if isinstance(outputs, Node) else list(outputs)
    return assert_cpu_agrees(inputs, outputs, arrays, **options)


@pytest.mark.parametrize("label", CASES)
@pytest.mark.parametrize("symbolic", [False, True])
def test_case(label, symbolic):
    build, arrays, shapes, options = CASES[label]
    if symbolic and shapes is None:
        # equal sizes share a dimension; 1 stays, for it broadcasts
        shapes = [tuple(s if s == 1 else f"n{s}" for s in a.shape) for a in arrays]
    elif not symbolic:
        shapes = None
    check(build, arrays, shapes, **options)


# ------------------------------------------------------------------ row programs


@case(real(6, 5))
def softmax(x):
    e = exp(x - back(largest(x, 1), x, 1))
    return e / back(total(e, 1), x, 1)


@case(real(2, 3, 4, 5))
def softmax_of_rank_four(x):
    e = exp(x - back(largest(x, 3), x, 3))
    return e / back(total(e, 3), x, 3)


@case(real(6, 5))
def softmax_over_the_first_axis(x):
    e = exp(x - back(largest(x, 0), x, 0))
    return e / back(total(e, 0), x, 0)


@case(real(4, 6, 5))
def softmax_over_the_middle_axis(x):
    e = exp(x - back(largest(x, 1), x, 1))
    return e / back(total(e, 1), x, 1)


@case(real(4, 6, 5))
def log_softmax_with_gradient(x):
    y = cg.nn.log_softmax(x, axis=-1)
    loss = (y * exp(x * 0.1)).sum()
    return y, loss, cg.grad(loss, x)


@case(real(6, 5), real(5), real(5))
def layer_norm(x, g, b):
    mean = x.mean(axis=-1, keepdims=True)
    var = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    y = (x - mean) / cg.sqrt(var + 1e-5) * g + b
    loss = (y * y * y).sum()
    return [y, *cg.grad(loss, [x, g, b])]


@case(real(6, 5), _rng.integers(0, 5, 6))
def cross_entropy(x, labels):
    logp = cg.nn.log_softmax(x, axis=-1)
    picked = logp[cg.arange(x.shape[0]), labels]
    loss = -picked.mean()
    return loss, cg.grad(loss, x), picked


@case(real(5, 4), real(5, 4))
def two_reductions_of_the_same_rows(x, y):
    return total(x * y, 1), largest(exp(x) + y, 1), total(x, 1) * largest(y, 1)


@case(real(5, 4), real(5, 3))
def rows_of_different_widths(x, y):
    s = total(exp(x), 1) + total(exp(y), 1)
    return x / back(s, x, 1), y / back(s, y, 1), s


@case(real(5, 4), real(5, 3, 2))
def rows_of_different_ranks(x, y):
    s = total(exp(x), 1) * total(y, 1, 2)
    return x * back(s, x, 1), y * back(s, y, 1, 2)


@case(real(40, 33), real(40, 33), real(40, 33))
def maximum_of_a_sum_of_a_product(a, b, c):
    # the product, used twice, must not be fused into the sum in one place only:
    # x == max(x) in the gradient would hold nowhere
    product = a * b
    x = product + c
    return (
        exp(product),
        product,
        cg.grad(largest(x, 1).sum(), c),
        x == back(largest(x, 1), x, 1),
    )


@case(real(3, 4, 5))
def reduce_of_reduce(x):
    a = total(exp(x), 2)
    b = largest(a, 1)
    return a, b, total(b, 0), x - back(a, x, 2), x - back(b, x, 1, 2)


@case(real(3, 4, 5))
def leading_then_trailing(x):
    a = total(x, 0)
    return a, total(exp(a), 1), total(exp(x), 0, 2), total(x, 1)


@case(real(4, 5, 6))
def middle_axis(x):
    s = total(exp(x), 1)
    return s, s * 2.0, x * back(s, x, 1), largest(x, 1)


@case(real(4, 5, 6))
def every_set_of_axes(x):
    import itertools

    sets = [a for n in range(1, 4) for a in itertools.combinations(range(3), n)]
    return [total(x * 2.0, *a) for a in sets] + [largest(x, *a) for a in sets]


@case(real(40, 30))
def rows_columns_and_everything(x):
    s = total(x, 1)
    y = x - back(s, x, 1)
    return total(y, 0), total(y), y, total(exp(y * 0.1), 0), largest(y, 0)


@case(real(5, 4), real(4, 5))
def reduction_times_a_transposed_column(x, w):
    # flat roots whose rows do not collapse, above an anchor
    return total(exp(x), 1) * total(move.permute(w, (1, 0)), 1)


@case(real(3, 4, 5), real(4, 3))
def anchor_read_with_a_transposed_array(x, w):
    return total(exp(x), 2) * move.permute(w, (1, 0))


@case(real(3, 4, 5), real(4, 3))
def anchor_of_two_rows_below_a_wide_store(x, w):
    s = total(exp(x), 2) * move.permute(w, (1, 0))
    return s, x * back(s, x, 2)


@case(real(6, 4))
def first_rows_of_a_row_program(x):
    p = exp(x) / back(total(exp(x), 1), x, 1)
    return slicing.slice_axis(p, 0, 0, 3), slicing.slice_axis(p, 0, 2, 3)


@case(real(6, 4))
def first_columns_of_a_row_program(x):
    p = exp(x) / back(total(exp(x), 1), x, 1)
    return slicing.slice_axis(p, 1, 0, 2), slicing.flip(p, 1), slicing.flip(p, 0)


@case(real(4, 4))
def diagonal_of_a_row_program(x):
    p = exp(x) / back(total(exp(x), 1), x, 1)
    return move.diagonal_(p), move.permute(p, (1, 0)), total(move.diagonal_(p))


@case(real(6, 4))
def rows_padded_and_joined(x):
    p = exp(x) / back(total(exp(x), 1), x, 1)
    n, m = x.shape
    return (
        slicing.pad(p, (1, 2), (n + 3, m + 2)),
        slicing.concatenate([p, x], 0),
        slicing.concatenate([x, p], 1),
    )


@case(real(5, 4), _rng.integers(0, 4, (5, 2)))
def gather_within_rows(x, i):
    p = exp(x) / back(total(exp(x), 1), x, 1)
    y = index.gather(p, [i], 1)
    return y, total(y, 1), p


@case(real(5, 4), _rng.integers(-5, 5, 7))
def gather_rows(x, i):
    p = exp(x) / back(total(exp(x), 1), x, 1)
    y = index.gather(p, [i])
    return y, total(y, 1), total(y, 0), index.gather(x * 2.0, [i])


@case(real(5), real(5))
def outer_of_expensive_vectors(x, y):
    a, b = exp(x), exp(y)
    return move.reshape(a, (*x.shape, 1)) * b + total(a * b)


@case(real(5, 1), real(1, 5))
def column_and_row(x, y):
    return exp(x) + exp(y), total(exp(x) * exp(y), 0), total(exp(x) * exp(y), 1)


@case(real(6, 5))
def statistics(x):
    return x.var(axis=0), x.std(axis=1), x.var(), (x * x).sum(axis=1) ** 0.5


@case(real(2, 3, 4, 5), real(2, 3, 5, 4))
def attention(q, k):
    score = cg.nn.softmax(matmul_(q, k) * 0.5, axis=-1)
    out = matmul_(score, move.permute(k, (0, 1, 3, 2)))
    loss = (out * out).sum()
    return [out, *cg.grad(loss, [q, k])]


# ---------------------------------------------------------------------- products


@case(real(7, 5), real(5, 3), real(3))
def dense_layer(x, w, b):
    h = cg.tanh(x @ w + b)
    loss = (h * h).mean()
    return [h, loss, *cg.grad(loss, [x, w, b])]


@case(real(2, 1, 3, 4), real(5, 4, 2))
def product_with_broadcast_batches(a, b):
    c = matmul_(a, b)
    loss = (c * c).sum()
    return [c, *cg.grad(loss, [a, b])]


@case(real(3, 1, 2, 4, 3), real(2, 1, 3, 2), name="product of rank five")
def product_of_rank_five(a, b):
    return matmul_(a, b), matmul_(a * 2.0, b)


@case(real(6, 5), real(5, 6), real(6, 6))
def products_of_views(a, b, c):
    n = a.shape[0]
    half = slicing.slice_axis(c, 0, 1, n - 2)
    column = slicing.slice_axis(c, 1, 2, 1)
    return (
        matmul_(move.permute(a, (1, 0)), move.permute(b, (1, 0))),
        matmul_(half, a),
        matmul_(b, column),
        matmul_(slicing.flip(a, 0), b),
        matmul_(slicing.flip(c, 1), a),
        matmul_(slicing.slice_axis(c, 0, 0, n // 2, 2), a),
        matmul_(
            slicing.slice_axis(c, 1, 0, n // 2, 2), slicing.slice_axis(a, 0, 0, n // 2)
        ),
        matmul_(move.broadcast_to(slicing.slice_axis(c, 0, 0, 1), c.shape), a),
        matmul_(exp(a), move.permute(exp(a), (1, 0))),
        matmul_(move.reshape(c, (n * n, 1)), move.reshape(c, (1, n * n))),
    )


@case(_rng.integers(-9, 9, (4, 5)), _rng.integers(-9, 9, (5, 3)))
def product_of_integers(a, b):
    c = matmul_(a, b)
    return c, total(c, 0), matmul_(move.permute(b, (1, 0)), move.permute(a, (1, 0)))


@case(real(4, 5) > 0, real(5, 3) > 0)
def product_of_booleans(a, b):
    return matmul_(a, b)


@case(
    _rng.integers(-9, 9, (3, 4, 5)).astype(np.int8),
    _rng.integers(-9, 9, (5, 3)).astype(np.int8),
)
def product_of_bytes(a, b):
    return matmul_(a, b)


# ------------------------------------------------------- movement, indices, scans


@case(real(3, 4, 5))
def transposes(x):
    y = exp(x)
    return [
        move.permute(z, axes)
        for z in (x, y)
        for axes in ((0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1))
    ] + [total(move.permute(y, (2, 0, 1)), 1), move.permute(total(y, 1), (1, 0))]


@case(real(4, 6))
def reshapes(x):
    n, m = x.shape
    flat = move.reshape(x, (n * m,))
    y = exp(flat) + 1.0
    return (
        flat,
        move.reshape(move.permute(x, (1, 0)), (n * m,)),
        move.reshape(y, (m, n)),
        total(move.reshape(y, (n, m)), 1),
        total(move.reshape(y, (m, n)), 0),
        move.reshape(y, (n, 1, m, 1)),
    )


@case(real(12))
def convolution_by_slices(x):
    n = x.shape[0]
    windows = [slicing.slice_axis(x, 0, i, n - 2) for i in range(3)]
    y = windows[0] * 0.25 + windows[1] * 0.5 + windows[2] * 0.25
    loss = (y * y).sum()
    return y, slicing.concatenate([y, exp(x), y], 0), cg.grad(loss, x)


@case(real(4, 6))
def slices_with_steps(x):
    return (
        x[::-1],
        x[:, ::-2],
        x[1:, ::2] * 2.0,
        x[1:-1, -3:],
        (x[::-1] + x[:, ::-1])[1:],
    )


@case(real(4, 3), real(2, 3), real(5, 3))
def joins(x, y, z):
    c = slicing.concatenate([x, exp(y), z], 0)
    return c, total(c, 0), total(exp(c), 1), slicing.concatenate([x, x], 1)


@case(real(5, 6))
def scans(x):
    y = exp(x)
    out = []
    for axis in (0, 1):
        for reverse in (False, True):
            out.append(scan.cumsum(y, axis, reverse))
            out.append(scan.cumprod(x, axis, reverse) + 1.0)
    return [*out, total(scan.cumsum(total(y, 1), 0), 0)]


@case(real(5, 6))
def arguments_of_extrema(x):
    return [
        op(v, params=(axis,))
        for op in (reduce.argmax_, reduce.argmin_)
        for v in (x, exp(x) * -1.0, x * 0.0)
        for axis in (0, 1)
    ]


@case(real(6, 3), _rng.integers(-6, 6, 10), real(10, 3))
def scatters(x, i, u):
    a = index.scatter_add(x, exp(u), [i])
    b = index.scatter_set(exp(x), u, [i])
    return a, b, total(a, 1), total(a + b)


@case(real(6, 3), _rng.integers(0, 6, 10))
def embedding_with_gradient(table, i):
    y = exp(index.gather(table, [i]))
    loss = (y * y).sum()
    return y, cg.grad(loss, table)


@case(_rng.integers(0, 5, 7))
def one_hot(i):
    y = cg.nn.one_hot(i, 5)
    return y, y.sum(axis=0), cg.arange(9) * 2, leaf.iota(i.shape[0]) + i


@case(real(3, 4))
def logic_and_casts(x):
    p = x > 0.0
    return (
        reduce.any_(p, params=((1,),)),
        reduce.all_(p, params=((0,),)),
        reduce.any_(p, params=((0, 1),)),
        total(p.astype("int64"), 0),
        p.astype("float32"),
        (x * 10.0).astype("int8"),
        cg.where(p, x, -x).astype("float32"),
        ~p,
        reduce.prod_(x, params=((1,),)),
        reduce.prod_(x, params=((0,),)),
    )


_EXTREME = np.array([[2**63 - 1, -(2**63), 0, -1], [1, 2**62, -(2**62), 7]], np.int64)
_UNSIGNED = np.array([0, 1, 2**64 - 1, 2**63], np.uint64)


@case(_EXTREME, _UNSIGNED)
def extremes_of_integers(x, u):
    return (
        largest(x, 0),
        largest(x, 1),
        reduce.min_(x, params=((0, 1),)),
        total(x, 0),
        x + x,
        x * x,
        reduce.argmax_(x, params=(1,)),
        leaf.constant(2**64 - 1, np.uint64) - u,
        u + leaf.constant(2**63, np.uint64),
        leaf.constant(-(2**63), np.int64) + x,
        u > leaf.constant(2**63, np.uint64),
        u.astype("float64"),
        x.astype("float64"),
        largest(u, 0),
        x // leaf.constant(-1, np.int64),
        x % leaf.constant(-1, np.int64),
    )


# ------------------------------------------------------------ outputs of all kinds


@case(real(3, 4))
def outputs_without_computation(x):
    table = leaf.constant(np.arange(12.0).reshape(3, 4))
    e = exp(x)
    return (
        *(x, x, table, table, e, e, e * 1.0),
        leaf.constant(2.5),
        leaf.constant(np.float32(1.5)),
        leaf.full((2, 3), 7, np.int32),
        leaf.full(x.shape, 1, np.float64),
        leaf.iota(5),
        leaf.constant(True),
        leaf.constant(np.zeros((0, 3))),
        move.permute(x, (1, 0)),
        move.reshape(x, (x.size,)),
        move.broadcast_to(x, (2, *x.shape)),
        leaf.size_value(x.size),
    )


@case(np.asarray(0.7), np.asarray(-2, np.int64))
def scalars(x, i):
    y = exp(x) * x
    return y, i * i, y + 1.0, total(y), (x > 0.0), move.reshape(y, (1, 1)), x


@case(np.asarray(0.7), real(4))
def scalar_and_vector(x, v):
    s = total(v * exp(x))
    return s, v * s, exp(s), cg.grad(s * s, x)


@case(real(2, 1, 3, 1, 2))
def rank_five(x):
    s = total(exp(x), 2, 4)
    return s, exp(x) - back(s, x, 2, 4), total(x), largest(x, 0, 1, 2)


@case(real(1), real(1, 1), real(1, 1, 1))
def sizes_of_one(x, y, z):
    return total(x, 0), total(y, 0, 1), x + z, total(exp(z), 1), largest(y, 1) + x


@case(real(0), real(0, 3), real(3, 0))
def empty_arrays(x, y, z):
    return (
        total(x, 0),
        total(exp(y), 0),
        total(exp(y), 1),
        total(z, 0),
        total(z, 1),
        matmul_(z, y),
        matmul_(y, z),
        exp(x) + 1.0,
        reduce.prod_(z, params=((1,),)),
        move.permute(y, (1, 0)) + z,
        slicing.concatenate([x, exp(x)], 0),
        largest(y, 1),
        scan.cumsum(y, 0),
    )


@case(real(0, 5), real(4, 5), shapes=[("n", "m"), ("k", "m")])
def joins_with_an_empty_piece(x, y):
    c = slicing.concatenate([exp(x), y], 0)
    return c, slicing.concatenate([y, x], 0), slicing.concatenate([x, x, y, x], 0)


@case(
    real(0, 50),
    np.zeros(0, np.int64),
    real(2, 50),
    shapes=[("n", "m"), ("k",), ("l", "m")],
)
def joins_with_nothing_gathered(x, i, y):
    # no index is read, so none is out of range
    g = index.gather(x, [i])
    j = index.gather(x, [leaf.iota(x.shape[0]) * 3 + 1])
    joined = slicing.concatenate([g, y, j], 0)
    return (
        joined,
        total(joined, 0),
        slicing.pad(g, (1, 0), (g.shape[0] + 2, x.shape[1])),
    )


@case(np.zeros((0, 100_000)), real(2, 100_000), shapes=[("n", "m"), ("k", "m")])
def empty_pieces_with_long_rows(x, y):
    n, m = x.shape
    joined, padded = slicing.concatenate([x, y], 0), slicing.pad(x, (1, 0), (n + 3, m))
    columns = move.permute(joined * 2.0, (1, 0))
    return joined, padded, total(joined, 0), columns, move.permute(padded, (1, 0))


@case(real(50, 3), rtol=1e-10)
def training_step_of_an_mlp(x):
    rng = np.random.default_rng(1)
    w1, w2 = (
        leaf.constant(rng.normal(size=(3, 8))),
        leaf.constant(rng.normal(size=(8, 1))),
    )
    h = cg.nn.relu(x @ w1)
    loss = ((h @ w2) ** 2).mean()
    g = cg.grad(loss, x)
    m = 0.9 * x + 0.1 * g
    v = 0.99 * x * x + 0.01 * g * g
    return x - 0.1 * m / (cg.sqrt(v) + 1e-8), m, v, loss
