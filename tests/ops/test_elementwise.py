"""Every elementwise op: types, values, lowering, signs, batching, cost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import special
from support.numpy_scalars import NumpyScalars
from support.registry import (
    DOMAINS,
    DTYPES,
    ELEMENTWISE,
    FLOAT32,
    FLOAT64,
    evaluate,
    example,
    examples,
    params_of,
    samples,
)

from graphc.backends.reference import run
from graphc.derivatives.products import Signs
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops import arithmetic
from graphc.ops.arithmetic import apply
from graphc.ops.declare import Elementwise
from graphc.ops.leaf import constant, new_input
from graphc.ops.powers import integer_power, power
from graphc.ops.signatures import logical
from graphc.ops.special import polygamma
from graphc.types import sizes
from graphc.types.errors import DTypeError, ShapeError
from graphc.types.tensor_type import tensor_type

K = NumpyScalars()
EXAMPLES = list(examples())
FLOATS = (FLOAT32, FLOAT64)

# What an op means, if it is no function of that name in NumPy or SciPy.
MEANING = {
    "absolute_zero_multiply": np.multiply,
    "cast": lambda dtype, x: x.astype(dtype),
    "stop_gradient": lambda x: x,
    "clip": lambda x, low, high: np.clip(x, low, high),
    "integer_power": lambda n, x: x ** float(n) if x.dtype.kind == "f" else x**n,
    "round": np.rint,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": special.expit,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "where": np.where,
}

# Ops whose type is not NumPy's on purpose, and why.
OWN_TYPE = {
    "cast": "its parameter says it",
    "integer_power": "NumPy has no such function",
    "reciprocal": "of integers: useful as a float, always 0 as an integer",
    "round": "of integers: nothing to round, where rint gives floats",
    "absolute_zero_multiply": "refuses booleans",
    "stop_gradient": "NumPy has no such function",
    **dict.fromkeys(
        ("sigmoid", "softplus", "rsqrt", "erf", "erfc", "gammaln", "digamma"),
        "of booleans: SciPy's float32 and half precision are no model",
    ),
    "polygamma": "always float64 in SciPy",
}


def meaning(op: Elementwise):
    if op.name in MEANING:
        return MEANING[op.name]
    return getattr(np, op.name, None) or getattr(special, op.name)


def label(e):
    return e.label


def input_(shape, dtype="float64", name="x"):
    return new_input(name, tensor_type(shape, dtype))


def combinations(op):
    """Return operand dtypes to try: all pairs, or all of one."""
    first = [np.dtype(bool)] if op.signature is arithmetic.selection else []
    return [
        (*first, *rest, *rest[: op.arity - len(first) - len(rest)])
        for rest in itertools.product(DTYPES, repeat=min(2, op.arity - len(first)))
    ]


def test_every_elementwise_op_has_samples():
    missing = [op.name for op in ELEMENTWISE if op.name not in DOMAINS]
    assert not missing, f"add {missing} to DOMAINS in tests/support/registry.py"
    for op in ELEMENTWISE:
        assert len(DOMAINS[op.name]) == op.arity, op.name


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
@np.errstate(all="ignore")
def test_result_type_is_numpys(op):
    function = meaning(op)
    for dtypes in combinations(op):
        arrays = [np.ones((1,), d) for d in dtypes]
        nodes = [input_((1,), d) for d in dtypes]
        try:
            expected = np.asarray(function(*params_of(op)[0], *arrays)).dtype
        except TypeError:
            expected = None
        if expected == np.float16:  # graphc has no half precision
            expected = FLOAT64 if all(d.kind == "b" for d in dtypes) else FLOAT32
        try:
            node = apply(op, *nodes, params=params_of(op)[0])
        except DTypeError:
            node = None
        if op.name in OWN_TYPE and not all(d.kind == "f" for d in dtypes):
            continue
        if op.name in ("cast", "polygamma"):
            continue
        assert (None if node is None else node.dtype) == expected, dtypes


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
@np.errstate(all="ignore")
def test_values_are_numpys_for_every_dtype(op):
    for params in params_of(op):
        for dtypes in combinations(op):
            try:
                operands, result = op.signature(op.name, dtypes)
            except DTypeError:
                continue
            if params and result.kind != "f" and op.name != "cast":
                continue
            if not params:
                assert op(*(input_((7,), d) for d in operands)).dtype == result
            e = example(op, operands, params=params)
            arrays = e.arrays
            if op.name == "power" and result.kind == "i":
                arrays = (arrays[0], np.abs(arrays[1]))
            value = evaluate(e.node, e.inputs, arrays)
            expected = np.asarray(meaning(op)(*params, *arrays))
            assert value.dtype == e.node.dtype
            rtol = 2e-5 if FLOAT32 in (*operands, e.node.dtype) else 1e-12
            np.testing.assert_allclose(value, expected, rtol=rtol, atol=rtol)
            lowered = op.scalar(K, e.node, *arrays)
            assert lowered.dtype == e.node.dtype
            rtol = 2e-5 if lowered.dtype == FLOAT32 else 1e-13
            np.testing.assert_allclose(lowered, value, rtol=rtol, atol=rtol)


SHAPES = [
    ((), ()),
    ((0,), (0,)),
    ((0, 3), (3,)),
    ((4, 1), (3,)),
    ((), (2, 2)),
    ((2, 1, 3), (4, 1)),
]


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
@np.errstate(all="ignore")
def test_broadcasting_is_numpys(op):
    params = params_of(op)[0]
    for pair in SHAPES:
        shapes = [pair[i % 2] for i in range(op.arity)]
        e = example(op, shapes=shapes, params=params)
        expected = np.asarray(op._numpy(*params, *np.broadcast_arrays(*e.arrays)))
        value = e.run()
        assert value.shape == e.node.shape == expected.shape
        np.testing.assert_array_equal(value, expected)


SPECIAL = [
    *(np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5),
    *(1e-30, -1e-30, 1e30, -1e30, 100.0, -100.0, 1000.0, -1000.0, 3.0, -3.0),
]


@pytest.mark.parametrize("e", EXAMPLES, ids=label)
@np.errstate(all="ignore")
def test_lowering_agrees_with_the_meaning_at_extremes(e):
    op = e.node.op
    floats = [x.dtype for x in e.node.args if x.dtype.kind == "f"]
    for dtype in FLOATS if floats else (np.dtype(np.int32),):
        # Constants are the same in both precisions.
        numbers = np.array(SPECIAL if floats else np.arange(-9, 40), dtype)
        grid = np.meshgrid(*[numbers] * op.arity)
        arrays = [
            g.ravel().astype(bool if x.dtype.kind == "b" else dtype)
            for g, x in zip(grid, e.node.args)
        ]
        node = op(*(input_(a.shape, a.dtype) for a in arrays), params=e.node.params)
        expected = evaluate(node, node.args, arrays)
        lowered = op.scalar(K, node, *arrays)
        if op.name == "polygamma":  # undefined at its poles, SciPy is wrong below
            keep = arrays[0] > 0
            lowered, expected = lowered[keep], expected[keep]
        rtol = 1e-13 if dtype == FLOAT64 else 1e-5
        np.testing.assert_allclose(lowered, expected, rtol=rtol, atol=1e-40)


@pytest.mark.parametrize("e", EXAMPLES, ids=label)
def test_signs_hold(e):
    op = e.node.op
    nodes = list(e.node.args)
    strictness = [
        {"positive": x > 0, "nonnegative": x >= 0, "": np.isfinite(x)}
        for x in np.meshgrid(*[np.array([-2.5, -1, -0.0, 0.0, 0.3, 1.0, 7])] * op.arity)
    ]
    grid = np.meshgrid(*[np.array([-2.5, -1, -0.0, 0.0, 0.3, 1.0, 7])] * op.arity)
    arrays = [g.astype(n.dtype) for g, n in zip(grid, nodes)]
    with np.errstate(all="ignore"):
        value = np.asarray(op._numpy(*e.node.params, *arrays))
    for signs in itertools.product(("", "nonnegative", "positive"), repeat=op.arity):
        answer = op.sign_of(e.node, signs)
        assert answer in ("", "nonnegative", "positive")
        where = np.logical_and.reduce([s[t] for s, t in zip(strictness, signs)])
        chosen = value[where & ~np.isnan(value.astype(float))]
        if answer == "positive":
            assert np.all(chosen > 0), signs
        if answer == "nonnegative":
            assert np.all(chosen >= 0), signs


@pytest.mark.parametrize("name", ["multiply", "divide"])
def test_sign_of_an_operand_with_itself(name):
    x = input_((3,))
    node = apply(next(op for op in ELEMENTWISE if op.name == name), x, x)
    assert Signs()(node) == ("nonnegative" if name == "multiply" else "")


@pytest.mark.parametrize("e", EXAMPLES, ids=label)
def test_batch_is_a_stack(e):
    op, params = e.node.op, e.node.params
    shapes = [(2, 3), (3,), ()][: op.arity]
    dtypes = [x.dtype for x in e.node.args]
    intervals = DOMAINS[op.name]
    node = op(*(input_(s, d) for s, d in zip(shapes, dtypes)), params=params)
    for batched in itertools.product((False, True), repeat=op.arity):
        if not any(batched):
            continue
        arrays = [
            samples(i, (4, *s) if b else s, d, 3 + n)
            for n, (i, s, d, b) in enumerate(zip(intervals, shapes, dtypes, batched))
        ]
        inputs = [input_(a.shape, a.dtype) for a in arrays]
        value = evaluate(op.batch(node, tuple(inputs), batched), inputs, arrays)
        rows = [
            evaluate(
                node, node.args, [a[i] if b else a for a, b in zip(arrays, batched)]
            )
            for i in range(4)
        ]
        np.testing.assert_array_equal(value, np.stack(rows))


def test_ops_pickle_by_name():
    import pickle

    for op in ELEMENTWISE:
        assert pickle.loads(pickle.dumps(op)) is op


# ------------------------------------------------------- weak Python scalars

SCALARS = [True, False, 0, 1, -1, 100, 300, 2**40, 2**63, 2**70, 0.5, -2.0, 1e300]
PROMOTING = [op for op in ELEMENTWISE if op.arity == 2 and op.name not in OWN_TYPE]


@pytest.mark.parametrize("op", PROMOTING, ids=lambda op: op.name)
@pytest.mark.parametrize("first", [False, True])
@np.errstate(all="ignore")
def test_python_scalars_are_weak(op, first):
    function = meaning(op)
    for dtype, scalar in itertools.product(DTYPES, SCALARS):
        array = np.ones((2,), dtype)
        operands = (scalar, array) if first else (array, scalar)
        x = input_((2,), dtype)
        try:
            expected = function(*operands)
        except (TypeError, OverflowError):
            expected = None
        except ValueError as error:
            assert "negative integer powers" in str(error)
            expected = None
        try:
            node = apply(op, *((scalar, x) if first else (x, scalar)))
        except DTypeError:
            node = None
        lenient = dtype.kind == "b" or op.signature is logical
        if expected is None and lenient and scalar >= 2**63:
            continue  # NumPy has no integer for it; its truth is known all the same
        if expected is None or node is None:
            assert expected is None and node is None, (dtype, scalar, expected, node)
            continue
        wanted = expected.dtype
        if wanted == np.float16:
            wanted = FLOAT64 if dtype.kind == "b" else FLOAT32
            operands = [x.astype(wanted) if x is array else x for x in operands]
            expected = function(*operands)
        assert node.dtype == wanted, (dtype, scalar)
        value = evaluate(node, [x], [array])
        np.testing.assert_allclose(
            value, expected, rtol=1e-3 if expected.dtype.itemsize < 8 else 1e-12
        )


def test_scalars_only_are_python_numbers():
    assert apply(arithmetic.add, 1, 2.5).dtype == FLOAT64
    assert apply(arithmetic.add, 1, True).dtype == np.int64
    assert apply(arithmetic.where, True, 1, 2.0).dtype == FLOAT64
    assert apply(arithmetic.where, True, 1, 2).dtype == np.int64


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("scalar", [True, 3, 1.0])
def test_where_has_weak_branches(dtype, scalar):
    x, c = input_((2,), dtype), input_((2,), "bool", "c")
    expected = np.where([True, False], scalar, np.ones(2, dtype)).dtype
    assert apply(arithmetic.where, c, scalar, x).dtype == expected
    assert apply(arithmetic.where, c, x, scalar).dtype == expected
    assert apply(arithmetic.where, True, x, scalar).dtype == expected


def test_where_of_scalars_ignores_the_conditions_dtype():
    c = input_((2,), "float64", "c")
    assert apply(arithmetic.where, c, 1, 2).dtype == np.int64
    assert apply(arithmetic.where, c, 1, 2.0).dtype == FLOAT64
    assert apply(arithmetic.where, c, np.float32(1), 2.0).dtype == FLOAT32


def test_clip_has_weak_bounds():
    for dtype in DTYPES[1:]:
        x = input_((2,), dtype)
        for low, high in ((0, 1), (0, 0.5), (0.25, 0.5)):
            expected = np.clip(np.ones(2, dtype), low, high).dtype
            assert apply(arithmetic.clip, x, low, high).dtype == expected


def test_numpy_scalars_are_strong():
    x = input_((2,), "float32")
    assert apply(arithmetic.add, x, np.float64(1)).dtype == FLOAT64
    assert apply(arithmetic.add, x, np.int64(1)).dtype == FLOAT64


def test_sizes_are_weak():
    dim = sizes.dim("n")
    x = input_((dim,), "float32")
    node = apply(arithmetic.divide, x, x.shape[0])
    assert node.dtype == FLOAT32
    (value,) = run(Graph([x], [node]), [np.ones(4, np.float32)])
    np.testing.assert_array_equal(value, np.full(4, 0.25, np.float32))


def test_an_integer_that_does_not_fit_is_named():
    x = input_((2,), "uint8")
    rule = r"add: .* 300 does not fit uint8\. Operands: x: uint8\(2,\) made at test_"
    with pytest.raises(DTypeError, match=rule + r".*made at test_.*astype"):
        apply(arithmetic.add, x, 300)


@pytest.mark.parametrize(
    ("name", "dtype", "rule"),
    [
        ("subtract", "bool", "booleans have no such arithmetic"),
        ("bitwise_and", "float64", "works on the bits of integers and booleans"),
    ],
)
def test_a_refused_dtype_is_named(name, dtype, rule):
    (op,) = (op for op in ELEMENTWISE if op.name == name)
    x = input_((2,), dtype)
    with pytest.raises(DTypeError, match=rf"{name}: .*{rule}.*x: {dtype}.*astype"):
        apply(op, x, x)


def test_a_number_beyond_all_floats_is_refused():
    with pytest.raises(DTypeError, match="does not fit"):
        apply(arithmetic.add, input_((2,)), 10**400)


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ShapeError, match=r"add: shapes do not broadcast.*x: float64"):
        apply(arithmetic.add, input_((2,)), input_((3,)))


def test_what_is_no_number_is_refused():
    with pytest.raises(DTypeError, match="neither an expression nor an array"):
        apply(arithmetic.add, input_((2,)), object())


# ---------------------------------------------------------- constant exponents


@pytest.mark.parametrize(
    ("exponent", "name"),
    [
        (2, "square"),
        (0.5, "sqrt"),
        (-0.5, "rsqrt"),
        (-1, "reciprocal"),
        (3, "integer_power"),
        (-2.0, "integer_power"),
        (0, "integer_power"),
        (1, "input"),
        (2.5, "power"),
        (1e300, "power"),
        (np.inf, "power"),
        (np.nan, "power"),
    ],
)
def test_power_of_a_constant(exponent, name):
    x = input_((5,))
    node = apply(power, x, exponent)
    assert node.op.name == name
    at = np.array([0.5, 1.0, 1.5, 2.0, 3.0])
    with np.errstate(all="ignore"):
        expected = at**exponent
    np.testing.assert_allclose(evaluate(node, [x], [at]), expected, rtol=1e-15)


def test_power_keeps_the_broadcast_shape():
    x = input_((3,))
    node = apply(power, x, np.full((2, 3), 2.0))
    assert node.shape == (2, 3)


def test_integer_powers_of_integers():
    x = input_((4,), "int32")
    at = np.array([-3, -1, 0, 5], np.int32)
    for n in (0, 1, 2, 3, 7):
        node = apply(power, x, n)
        assert node.dtype == np.int32
        np.testing.assert_array_equal(evaluate(node, [x], [at]), at**n)
    with pytest.raises(DTypeError, match=r"power: .*negative.*-1.*astype"):
        apply(power, x, -1)
    assert apply(power, x, 2.0).dtype == FLOAT64


def test_negative_integer_exponents_that_are_not_constant():
    x, y = input_((5,), "int64"), input_((5,), "int64", "y")
    node = apply(power, x, y)
    at = np.array([1, -1, -1, 3, 0]), np.array([-5, -3, -4, -1, -1])
    expected = [1, -1, 1, 0, 0]
    np.testing.assert_array_equal(evaluate(node, [x, y], at), expected)
    np.testing.assert_array_equal(node.op.scalar(K, node, *at), expected)


def test_integer_power_is_a_chain_of_products_while_that_is_accurate():
    calls = []

    class Counting(NumpyScalars):
        def __call__(self, name, *operands):
            calls.append(name)
            return super().__call__(name, *operands)

    for n, dtype, expected in (
        (-15, np.float64, ["integer_power_-15"]),
        (4, np.float64, ["mul"] * 2),
        (15, np.int64, ["mul"] * 6),
    ):
        node = integer_power(input_((1,)), n)
        calls.clear()
        node.op.scalar(Counting(), node, np.ones(1, dtype))
        assert calls == expected


def test_polygamma_where_x_is_negative():
    import mpmath

    at = np.array([-0.3, -1.5, -4.2, -7.75])
    for n in (1, 2, 3, 4):
        node = polygamma(n, input_((4,)))
        expected = [float(mpmath.psi(n, mpmath.mpf(float(v)))) for v in at]
        lowered = node.op.scalar(K, node, at)
        np.testing.assert_allclose(lowered, expected, rtol=1e-12)


@np.errstate(divide="ignore", invalid="ignore")  # of the branch not taken
def test_polygamma_of_high_order():
    import mpmath

    at = np.array([0.01, 0.7, 1.0, 5.5, 30.0, 1e4])
    for n in (1, 3, 10, 25):
        node = polygamma(n, input_((6,)))
        expected = [float(mpmath.psi(n, float(v))) for v in at]
        np.testing.assert_allclose(node.op.scalar(K, node, at), expected, rtol=5e-14)
    assert polygamma(0, input_((6,))).op.name == "digamma"
    with pytest.raises(DTypeError, match="polygamma: the order -1"):
        polygamma(-1, input_((6,)))


def test_one_declaration_makes_an_op():
    """A new op needs nothing but its declaration to have values and derivatives."""
    from graphc.derivatives.reverse import pull_back
    from graphc.ops.declare import REGISTRY
    from graphc.ops.signatures import floating

    op = Elementwise(
        "gaussian for a test",
        1,
        numpy=lambda x: np.exp(-x * x),
        scalar=lambda k, x: k("exp", k("neg", k("mul", x, x))),
        signature=floating,
        partials=(lambda x, out: -2 * x * out,),
    )
    try:
        x = input_((3,))
        node = apply(op, x)
        assert isinstance(node, Node)
        (slope,) = pull_back([node], [constant(np.ones(3))], [x])
        at = np.array([-1.0, 0.0, 2.0])
        np.testing.assert_allclose(
            evaluate(slope, [x], [at]), -2 * at * np.exp(-at * at)
        )
    finally:
        del REGISTRY[op.name]
