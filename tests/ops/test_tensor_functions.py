"""Functions over the tensor ops: slices, integer indexing, einsum; and their errors."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from graphc.backends.reference import run
from graphc.derivatives.reverse import pull_back
from graphc.graph.graph import Graph
from graphc.ops import (
    contract,
    index,
    integer_indexing,
    leaf,
    move,
    reduce,
    scan,
    slicing,
)
from graphc.ops.leaf import constant, iota, new_input
from graphc.types import sizes
from graphc.types.errors import (
    DTypeError,
    IndexOutOfRangeError,
    InternalError,
    ShapeError,
)
from graphc.types.tensor_type import tensor_type


def tensor(name, shape, dtype="float64"):
    return new_input(name, tensor_type(shape, dtype))


def value(out, inputs, *arrays):
    return run(Graph(inputs, [out]), [np.asarray(a) for a in arrays])[0]


def op_names(out):
    return [node.op.name for node in Graph([], [out]).nodes]


# ----------------------------------------------------------------------- slices

BOUNDS = (None, *range(-4, 5))


@pytest.mark.parametrize("step", [1, 2, 3, -1, -2, -3])
@pytest.mark.parametrize("symbolic", [False, True])
def test_slice_bounds_are_pythons(step, symbolic):
    n = sizes.dim("n")
    for start, stop in itertools.product(BOUNDS, BOUNDS):
        formula = slicing.slice_bounds(n, start, stop, step)
        for extent in range(6):
            bounds = formula
            if not symbolic:
                bounds = slicing.slice_bounds(extent, start, stop, step)
            first, count = (
                sizes.evaluate(s, {sizes.Dim("n"): extent}.get) for s in bounds
            )
            expected = range(extent)[start:stop:step]
            assert count == len(expected)
            if count:
                assert first == expected[0]


def test_common_slices_have_short_sizes():
    n = sizes.dim("n")
    assert slicing.slice_bounds(n, None, None) == (0, n)
    assert slicing.slice_bounds(n, None, None, -1) == (n - 1, n)
    assert slicing.slice_bounds(n, None, None, 2) == (0, (n + 1) // 2)
    tail = slicing.slice_bounds(n, 1, None)[1]
    head = slicing.slice_bounds(n, None, -1)[1]
    assert tail == head == sizes.maximum(n - 1, 0)


def test_bound_of_a_symbolic_size_counts_from_the_front():
    n, m = sizes.dim("n"), sizes.dim("m")
    start, count = slicing.slice_bounds(n, m - 2, m)
    for extent, other in itertools.product(range(5), range(5)):
        values = {sizes.Dim("n"): extent, sizes.Dim("m"): other}
        expected = range(extent)[max(other - 2, 0) : other]
        assert sizes.evaluate(count, values.get) == len(expected)
        if expected:
            assert sizes.evaluate(start, values.get) == expected[0]


def test_chain_of_slices_keeps_sizes_short():
    x = tensor("x", ("n",))
    for _ in range(300):
        start, count = slicing.slice_bounds(x.shape[0], 1, None)
        x = slicing.slice_axis(x, 0, start, count)
    assert x.shape == (sizes.maximum(sizes.dim("n") - 300, 0),)


def test_identities_return_their_argument():
    x = tensor("x", ("n", 3))
    assert slicing.slice_(x, (0, 0), x.shape) is x
    assert slicing.pad(x, (0, 0), x.shape) is x
    assert slicing.concatenate([x], 0) is x
    assert move.reshape(x, x.shape) is x
    assert move.permute(x, (0, 1)) is x
    assert move.broadcast_to(x, x.shape) is x


def test_flip_and_move_axis():
    x = tensor("x", (2, 3, 4))
    array = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(value(slicing.flip(x, 1), [x], array), array[:, ::-1])
    moved = value(move.move_axis(x, 2, 0), [x], array)
    np.testing.assert_array_equal(moved, np.moveaxis(array, 2, 0))


# ------------------------------------------------------------- integer indexing


def iota_at(n, ndim, axis):
    shape = [1] * ndim
    shape[axis] = n
    return move.reshape(iota(n), tuple(shape))


ALIGNED = {
    "rows": (lambda y: [iota(4), y], lambda y: (np.arange(4), y), 1, True),
    "columns": (lambda y: [y, iota(4)], lambda y: (y, np.arange(4)), 1, True),
    "constant": (
        lambda y: [constant(np.arange(4)), y],
        lambda y: (np.arange(4), y),
        1,
        True,
    ),
    "reversed constant": (
        lambda y: [constant(np.arange(4)[::-1]), y],
        lambda y: (np.arange(4)[::-1], y),
        0,
        True,
    ),
    "shorter": (lambda y: [iota(3), y], lambda y: (np.arange(3), y[:3]), 0, False),
    "column of rows": (
        lambda y: [iota_at(4, 2, 0), move.reshape(y, (1, 4))],
        lambda y: (np.arange(4)[:, None], y[None]),
        1,
        True,
    ),
    "rows second": (
        lambda y: [move.reshape(y, (4, 1)), iota_at(4, 2, 1)],
        lambda y: (y[:, None], np.arange(4)),
        1,
        True,
    ),
    "all": (lambda y: [iota(4)], lambda y: (np.arange(4),), None, True),
    "both": (
        lambda y: [iota_at(4, 2, 1), iota_at(4, 2, 0)],
        lambda y: (np.arange(4)[None], np.arange(4)[:, None]),
        None,
        True,
    ),
    "twice the same": (
        lambda y: [iota(4), iota(4)],
        lambda y: (np.arange(4), np.arange(4)),
        1,
        True,
    ),
    "repeated": (
        lambda y: [move.broadcast_to(iota_at(4, 2, 1), (3, 4))],
        lambda y: (np.broadcast_to(np.arange(4), (3, 4)),),
        None,
        True,
    ),
    "int8 may wrap": (
        lambda y: [iota(4, "int8"), y],
        lambda y: (np.arange(4), y),
        0,
        True,
    ),
}


@pytest.mark.parametrize("case", ALIGNED)
def test_take_reads_counted_axes_in_step(case):
    nodes, arrays, batch_axes, full = ALIGNED[case]
    x, y = tensor("x", (4, 4, 2)), tensor("y", (4,), "int64")
    array, picks = np.arange(32.0).reshape(4, 4, 2), np.array([2, 0, -1, 2])
    if not full:
        y = tensor("y", (3,), "int64")
        out = integer_indexing.take(x, nodes(y))
        got = value(out, [x, y], array, picks[:3])
    else:
        out = integer_indexing.take(x, nodes(y))
        got = value(out, [x, y], array, picks)
    np.testing.assert_array_equal(got, array[arrays(picks)])
    gathers = [n for n in Graph([], [out]).nodes if n.op is index.gather_]
    assert [n.params[0] for n in gathers] == (
        [] if batch_axes is None else [batch_axes]
    )


@pytest.mark.parametrize("combine", ["set", "add"])
@pytest.mark.parametrize("case", ALIGNED)
def test_put_writes_counted_axes_in_step(case, combine):
    nodes, arrays, _, full = ALIGNED[case]
    count = 4 if full else 3
    base, y = tensor("x", (4, 4, 2)), tensor("y", (count,), "int64")
    array, picks = np.arange(32.0).reshape(4, 4, 2), np.array([2, 0, -1, 2])[:count]
    where = arrays(picks)
    updates = np.random.default_rng(0).standard_normal(array[where].shape)
    u = tensor("u", updates.shape)
    got = value(
        integer_indexing.put(base, u, nodes(y), combine),
        [base, u, y],
        array,
        updates,
        picks,
    )
    expected = array.copy()
    if combine == "set":
        expected[where] = updates
    else:
        np.add.at(expected, where, updates)
    np.testing.assert_allclose(got, expected, rtol=1e-15)


def test_put_broadcasts_updates():
    base, y = tensor("x", (4, 2)), tensor("y", (3,), "int64")
    out = integer_indexing.put(base, constant(7.0), [y], "set")
    got = value(out, [base, y], np.zeros((4, 2)), np.array([1, 1, -1]))
    np.testing.assert_array_equal(got, [[0, 0], [7, 7], [0, 0], [7, 7]])


def test_picking_labels_needs_no_scatter():
    z, y = tensor("z", ("n", "m")), tensor("y", ("n",), "int64")
    out = integer_indexing.take(z, [iota(sizes.dim("n")), y])
    (back,) = pull_back([out], [leaf.ones_like(out)], [z])
    assert "scatter_add" not in op_names(back)
    labels = np.array([2, 0, -1])
    expected = np.zeros((3, 4))
    expected[np.arange(3), labels] = 1
    np.testing.assert_array_equal(
        value(back, [z, y], np.ones((3, 4)), labels), expected
    )


@pytest.mark.parametrize(
    ("axis", "wide"),
    [
        (0, (5, 4, 2)),
        (1, (3, 5, 2)),
        (-1, (3, 4, 5)),
        (2, (1, 4, 5)),
        (0, (5, 1, 1)),
        (1, (3, 1, 2)),
        (1, (3, 0, 2)),
    ],
)
def test_take_along_axis(axis, wide):
    rng = np.random.default_rng(0)
    array = rng.standard_normal((3, 4, 2))
    picks = rng.integers(-array.shape[axis], array.shape[axis], wide)
    x, i = tensor("x", array.shape), tensor("i", picks.shape, "int64")
    got = value(integer_indexing.take_along_axis(x, i, axis), [x, i], array, picks)
    np.testing.assert_array_equal(got, np.take_along_axis(array, picks, axis))


@pytest.mark.parametrize("bad", [5, -6])
def test_index_out_of_range_names_index_and_size(bad):
    x, i, u = tensor("x", (5,)), tensor("i", (2,), "int64"), tensor("u", (2,))
    outs = {
        "gather": integer_indexing.take(x, [i]),
        "scatter_add": integer_indexing.put(x, u, [i], "add"),
        "scatter_set": integer_indexing.put(x, u, [i], "set"),
    }
    for name, out in outs.items():
        with pytest.raises(
            IndexOutOfRangeError,
            match=rf"{name}: index {bad} is out of range .* size 5, which takes -5 to 4"
            r".*x: float64\(5,\) made at test_tensor_functions.py",
        ):
            value(out, [x, i, u], np.ones(5), np.array([0, bad]), np.ones(2))
    assert issubclass(IndexOutOfRangeError, IndexError)


def test_slices_are_checked_when_sizes_are_known():
    x = tensor("x", ("n",))
    out = slicing.slice_(x, (3,), (1,))
    assert value(out, [x], np.arange(5.0)) == 3
    with pytest.raises(
        IndexOutOfRangeError, match=r"slice: index 3 leaves axis 0 of size n.*size is 3"
    ):
        value(out, [x], np.arange(3.0))
    padded = slicing.pad(x, (2,), (6,))
    with pytest.raises(ShapeError, match=r"pad: axis 0 of size n.*sizes are 5 and 6"):
        value(padded, [x], np.arange(5.0))


@pytest.mark.parametrize("op", [reduce.max_, reduce.min_, reduce.argmax_])
def test_extremum_of_nothing(op):
    x = tensor("x", ("n",))
    params = (0,) if op is reduce.argmax_ else ((0,),)
    with pytest.raises(ShapeError, match=f"{op.name}: axis 0 has size 0"):
        value(op(x, params=params), [x], np.zeros(0))
    with pytest.raises(ShapeError, match=f"{op.name}: there are no elements"):
        op(tensor("x", (0, 3)), params=params)


# ------------------------------------------------------------------------ einsum

EINSUM = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk->ki", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ji,jk", (3, 2), (3, 4)),
    ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)),
    ("ij,j->i", (2, 3), (3,)),
    ("i,ij->j", (2,), (2, 3)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iji->j", (3, 2, 3)),
    ("iii->i", (3, 3, 3)),
    ("iijj->ij", (2, 2, 3, 3)),
    ("i,j", (3,), (4,)),
    ("i,i", (3,), (3,)),
    ("i,i->i", (3,), (3,)),
    ("->", ()),
    (",", (), ()),
    ("i,->i", (3,), ()),
    ("i->", (3,)),
    ("ba", (2, 3)),
    ("ij->", (2, 3)),
    ("...", (2, 3)),
    ("...i,...i->...", (2, 3), (5, 2, 3)),
    ("i...->...i", (2, 3, 4)),
    ("...i->i...", (2, 3, 4)),
    ("...ij,jk->...ik", (2, 3, 4), (4, 5)),
    ("...ij,...jk", (2, 1, 3, 4), (5, 4, 2)),
    ("...,...", (2, 3), (3,)),
    ("i...j,j->...", (2, 4, 3), (3,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ij,jk,kl,lm->", (2, 3), (3, 4), (4, 5), (5, 6)),
    ("ij,ij->i", (2, 1), (2, 3)),
    ("ij,jk->ik", (2, 1), (3, 4)),
    ("iij,jk,k->", (2, 2, 3), (3, 4), (4,)),
    ("ijk,ijl,ijm->klm", (2, 3, 4), (2, 3, 2), (2, 3, 5)),
    ("i,i,i->i", (3,), (3,), (1,)),
    ("ab,cd,ef->acebdf", (1, 2), (3, 1), (2, 2)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("ij,jk->ik", (2, 0), (0, 3)),
    ("ij,jk->ik", (0, 2), (2, 3)),
    (" i j , j -> i ", (2, 3), (3,)),
    ("Aa,aB->AB", (2, 3), (3, 4)),
]


def check_einsum(subscripts, *shapes, symbolic=False):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in shapes]
    declared = shapes
    if symbolic:
        declared = [tuple("n" * (s + 1) if s > 1 else s for s in t) for t in shapes]
    inputs = [tensor(f"x{i}", s) for i, s in enumerate(declared)]
    got = value(contract.einsum(subscripts, *inputs), inputs, *arrays)
    expected = np.einsum(subscripts, *arrays)
    assert got.shape == np.shape(expected)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("case", EINSUM, ids=lambda case: f"{case[0]}{case[1:]}")
def test_einsum(case, symbolic):
    check_einsum(*case, symbolic=symbolic)


@pytest.mark.parametrize("seed", range(60))
def test_einsum_of_random_subscripts(seed):
    rng = random.Random(seed)
    extent = {x: rng.choice([1, 2, 3, 4]) for x in "abcde"}
    terms = [
        "".join(rng.choice("abcde") for _ in range(rng.randint(0, 3)))
        for _ in range(rng.randint(1, 4))
    ]
    known = sorted(set("".join(terms)))
    output = rng.sample(known, rng.randint(0, len(known)))
    text = ",".join(terms) + rng.choice(["", "->" + "".join(output)])
    check_einsum(text, *(tuple(extent[x] for x in t) for t in terms))


def test_einsum_lowers_to_products_of_matrices():
    a, b, c = tensor("a", ("n", "m")), tensor("b", ("m", "k")), tensor("c", ("k", 2))
    assert op_names(contract.einsum("ij,jk->ik", a, b)) == ["input", "input", "matmul"]
    chain = op_names(contract.einsum("ij,jk,kl->il", a, b, c))
    assert chain.count("matmul") == 2
    assert "multiply" not in chain


def test_einsum_orders_by_cost():
    a, b, v = tensor("a", (50, 50)), tensor("b", (50, 50)), tensor("v", (50,))
    out = contract.einsum("ij,jk,k->i", a, b, v)
    flops = sum(n.op.flops(n) for n in Graph([], [out]).nodes)
    assert flops < 3 * 2 * 50**2


def test_einsum_by_lists_of_axes():
    x, y = tensor("x", (2, 3)), tensor("y", (3, 4))
    ones = [np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)]
    got = value(contract.einsum(x, [0, 1], y, [1, 2], [2, 0]), [x, y], *ones)
    np.testing.assert_allclose(got, np.einsum(ones[0], [0, 1], ones[1], [1, 2], [2, 0]))
    got = value(contract.einsum(x, [0, 1], y, [1, ...]), [x, y], *ones)
    np.testing.assert_allclose(got, np.einsum(ones[0], [0, 1], ones[1], [1, ...]))


@pytest.mark.parametrize("dtypes", [("int8",), ("bool",), ("int32", "float32")])
def test_einsum_dtypes(dtypes):
    arrays = [(np.arange(3) - k).astype(t) for k, t in enumerate(dtypes)]
    inputs = [tensor(f"x{i}", (3,), t) for i, t in enumerate(dtypes)]
    text = ",".join("i" * len(dtypes)) + "->"
    got = value(contract.einsum(text, *inputs), inputs, *arrays)
    expected = np.einsum(text, *arrays)
    assert got.dtype == expected.dtype
    assert got == expected


@pytest.mark.parametrize(
    ("subscripts", "shapes", "message"),
    [
        ("ij->ii", [(2, 2)], "'i' is twice in the result"),
        ("ij->k", [(2, 2)], "'k' of the result is in no operand"),
        ("i", [(2, 2)], "term 'i' does not name the 2 axes of operand 0"),
        ("ijk", [(2, 2)], "term 'ijk' does not name the 2 axes"),
        ("i...->i", [(2, 2)], "the result lacks the '...'"),
        ("i,j", [(2,)], "it has 2 terms for 1 operands"),
        ("i.j", [(2, 2)], "'i.j' is not of letters"),
        ("i1", [(2, 2)], "'i1' is not of letters"),
        ("i->->i", [(2,)], "'->i' is not of letters"),
        ("......", [(2,)], "'......' is not of letters"),
        ("ii", [(2, 3)], "the diagonal 'i' has sizes|axis 'i' has the sizes 2 and 3"),
        ("ii->i", [(1, 3)], "the diagonal 'i' has sizes 1 and 3"),
        ("ij,jk", [(2, 3), (4, 5)], "axis 'j' has the sizes 3 and 4"),
        ("ij,jk", [("n", 3), (4, 5)], "made at test_tensor_functions.py"),
    ],
)
def test_einsum_errors(subscripts, shapes, message):
    operands = [tensor(f"x{i}", s) for i, s in enumerate(shapes)]
    with pytest.raises(ShapeError, match=message):
        contract.einsum(subscripts, *operands)


def test_einsum_without_operands():
    with pytest.raises(ShapeError, match="no operands"):
        contract.einsum("")
    with pytest.raises(ShapeError, match="is no list of axes"):
        contract.einsum(tensor("x", (2,)), [99])


# ------------------------------------------------------------------------ matmul


def test_gradient_of_one_matrix_for_a_batch_is_one_product():
    x, w = tensor("x", ("b", "n", 3)), tensor("w", (3, 4))
    out = contract.matmul_(x, w)
    (back,) = pull_back([out], [leaf.ones_like(out)], [w])
    names = op_names(back)
    assert "sum" not in names
    array = np.arange(30.0).reshape(2, 5, 3)
    expected = np.einsum("bni,bnj->ij", array, np.ones((2, 5, 4)))
    np.testing.assert_allclose(value(back, [x, w], array, np.ones((3, 4))), expected)


# ------------------------------------------------------------------------- errors


def x23():
    return tensor("x", (2, 3))


def ints(*shape):
    return tensor("i", shape, "int64")


ERRORS = {
    "broadcast": (
        lambda: move.broadcast_to(x23(), (2, 4)),
        ShapeError,
        r"broadcast_to: the shape does not stretch to \(2, 4\)",
    ),
    "broadcast to fewer axes": (
        lambda: move.broadcast_to(x23(), (3,)),
        ShapeError,
        "does not stretch",
    ),
    "broadcast to one": (
        lambda: move.broadcast_to(x23(), (1, 3)),
        ShapeError,
        "does not stretch",
    ),
    "reshape": (
        lambda: move.reshape(x23(), (4,)),
        ShapeError,
        r"reshape: 6 elements do not fill the shape \(4,\), which has 4",
    ),
    "reshape symbolic": (
        lambda: move.reshape(tensor("x", ("n",)), (sizes.dim("n") + 1,)),
        ShapeError,
        r"n elements do not fill the shape \(n \+ 1,\)",
    ),
    "transpose": (
        lambda: move.permute(x23(), (0, 0)),
        ShapeError,
        r"transpose: \(0, 0\) does not name each axis once",
    ),
    "diagonal": (
        lambda: move.diagonal_(tensor("x", (2,))),
        ShapeError,
        "diagonal: two axes are needed",
    ),
    "slice": (
        lambda: slicing.slice_(x23(), (0, 2), (2, 2)),
        IndexOutOfRangeError,
        r"slice: 2 \+ i\*1, i < 2, leaves axis 1 of size 3",
    ),
    "slice one": (
        lambda: slicing.slice_(x23(), (2, 0), (1, 1)),
        IndexOutOfRangeError,
        "slice: index 2 leaves axis 0 of size 2",
    ),
    "slice symbolic": (
        lambda: slicing.slice_(tensor("x", ("n",)), (sizes.dim("n"),), (1,)),
        IndexOutOfRangeError,
        "slice: index n leaves axis 0 of size n",
    ),
    "pad": (
        lambda: slicing.pad(x23(), (0, 1), (2, 3)),
        ShapeError,
        r"pad: axis 1 of size 3, placed from 1 in steps of 1, does not fit into \(2, 3",
    ),
    "concatenate sizes": (
        lambda: slicing.concatenate([x23(), tensor("y", (2, 4))], 0),
        ShapeError,
        "concatenate: sizes 3 and 4 of axis 1 differ; only those of axis 0 may",
    ),
    "concatenate ranks": (
        lambda: slicing.concatenate([x23(), tensor("y", (2,))], 0),
        ShapeError,
        "concatenate: operands have different numbers of axes",
    ),
    "concatenate dtypes": (
        lambda: slicing.concatenate([x23(), ints(2, 3)], 0),
        DTypeError,
        "concatenate: operands have different dtypes",
    ),
    "gather by floats": (
        lambda: integer_indexing.take(x23(), [tensor("i", (2,))]),
        DTypeError,
        r"gather: an index has dtype float64.*astype\('int64'\)",
    ),
    "gather by too many": (
        lambda: integer_indexing.take(x23(), [ints(2)] * 3),
        ShapeError,
        "gather: 3 indices are too many for 2 axes",
    ),
    "gather by ranks": (
        lambda: index.gather(x23(), [ints(2), ints(2, 1)]),
        ShapeError,
        "gather: index arrays have different numbers of axes",
    ),
    "gather by sizes": (
        lambda: index.gather(x23(), [ints(2), ints(3)]),
        ShapeError,
        "gather: sizes 2 and 3 of the indices differ",
    ),
    "take": (
        lambda: integer_indexing.take(x23(), [ints(2), ints(3)]),
        ShapeError,
        "take: index arrays do not broadcast",
    ),
    "put": (
        lambda: integer_indexing.put(x23(), x23(), [ints(2)] * 3, "set"),
        ShapeError,
        "scatter_set: 3 indices are too many for 2 axes",
    ),
    "put updates": (
        lambda: index.scatter_add(x23(), x23(), [ints(4)]),
        ShapeError,
        r"scatter_add: updates of shape \(2, 3\) do not fill .* of shape \(4, 3\)",
    ),
    "put dtypes": (
        lambda: index.scatter_set(x23(), ints(4, 3), [ints(4)]),
        DTypeError,
        "scatter_set: base and updates differ in dtype",
    ),
    "take_along_axis ranks": (
        lambda: integer_indexing.take_along_axis(x23(), ints(2), 0),
        ShapeError,
        "take_along_axis: numbers of axes differ",
    ),
    "take_along_axis axis": (
        lambda: integer_indexing.take_along_axis(x23(), ints(2, 3), 2),
        ShapeError,
        "take_along_axis: axis 2 is out of range",
    ),
    "take_along_axis sizes": (
        lambda: integer_indexing.take_along_axis(x23(), ints(4, 1), 1),
        ShapeError,
        "take_along_axis: axes other than 1 do not broadcast",
    ),
    "sum of booleans": (
        lambda: reduce.sum_(tensor("x", (2,), "bool"), params=((0,),)),
        DTypeError,
        "sum: booleans have no arithmetic",
    ),
    "prod of booleans": (
        lambda: reduce.prod_(tensor("x", (2,), "bool"), params=((0,),)),
        DTypeError,
        "prod: booleans have no arithmetic",
    ),
    "any of numbers": (
        lambda: reduce.any_(x23(), params=((0,),)),
        DTypeError,
        "any: booleans are needed.*x != 0",
    ),
    "cumsum of booleans": (
        lambda: scan.cumsum(tensor("x", (2,), "bool"), 0),
        DTypeError,
        "cumsum: booleans have no arithmetic",
    ),
    "recurrence dtypes": (
        lambda: scan.linear_recurrence(x23(), ints(2, 3), 0),
        DTypeError,
        "linear_recurrence: operands have different dtypes",
    ),
    "recurrence shapes": (
        lambda: scan.linear_recurrence(x23(), tensor("y", (2, 4)), 0),
        ShapeError,
        "linear_recurrence: shapes of the operands differ",
    ),
    "matmul dtypes": (
        lambda: contract.matmul_(x23(), ints(3, 2)),
        DTypeError,
        "matmul: operands have different dtypes",
    ),
    "matmul ranks": (
        lambda: contract.matmul_(x23(), tensor("y", (3,))),
        ShapeError,
        "matmul: an operand is no matrix",
    ),
    "matmul sizes": (
        lambda: contract.matmul_(x23(), x23()),
        ShapeError,
        "matmul: inner sizes differ: 3 and 2.*x.mT",
    ),
    "matmul batches": (
        lambda: contract.matmul_(tensor("x", (2, 3, 4)), tensor("y", (3, 4, 5))),
        ShapeError,
        "matmul: the batch axes do not broadcast",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_operands_and_their_place(case):
    build, error, message = ERRORS[case]
    with pytest.raises(error, match=message) as caught:
        build()
    if "out of range" not in message:
        assert "made at test_tensor_functions.py" in str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: slicing.slice_(x23(), (0,), (2,)),
        lambda: slicing.pad(x23(), (0,), (2,)),
        lambda: slicing.concatenate([x23(), x23()], 2),
        lambda: reduce.sum_(x23(), params=((2,),)),
        lambda: reduce.argmax_(x23(), params=(2,)),
        lambda: scan.cumsum(x23(), 2),
    ],
)
def test_parameters_are_the_expression_layers_duty(build):
    with pytest.raises(InternalError, match="defect of graphc"):
        build()
