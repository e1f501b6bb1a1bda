"""Inputs, constants, names, new arrays, and nested containers."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest

import graphc as cg
from graphc.expressions.containers import (
    flatten,
    flatten_expressions,
    tree_map,
)
from graphc.types.errors import DTypeError, InputError, ShapeError, TracingError
from tests.support.expression_values import evaluate

n = cg.dim("n")


def test_inputs():
    assert cg.scalar("x").shape == ()
    assert cg.scalar("x", "int32").dtype == np.int32
    assert cg.vector("x", 3).shape == (3,)
    assert cg.vector("x", "n").shape == (n,)
    assert cg.vector("x", "2*n + 1").shape == (2 * n + 1,)
    assert cg.matrix("x", ("n", 3)).shape == (n, 3)
    assert cg.matrix("x", (n * 3, np.int64(2))).shape == (3 * n, 2)
    assert cg.tensor("x", ("n", 3, None)).ndim == 3
    assert cg.tensor("x", 3).shape == (3,)
    assert cg.tensor("x", "n", dtype=bool).shape == (n,)
    assert cg.tensor("x", ()).shape == ()
    assert cg.scalar("x").dtype == np.float64


def test_sizes_left_out_are_fresh():
    x, y = cg.vector("x"), cg.vector("x")
    assert x.shape != y.shape
    a, b = cg.matrix("m").shape
    assert a != b
    assert cg.vector("x", "n").shape == cg.vector("y", "n").shape


def test_inputs_of_one_name_are_different():
    assert cg.scalar("x") is not cg.scalar("x")


@pytest.mark.parametrize("name", ["", "  ", None, 3, ("x",)])
def test_names_are_strings(name):
    with pytest.raises(InputError, match="non-empty string"):
        cg.scalar(name)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: cg.vector("x", -1), ShapeError, "vector 'x', axis 0: size -1"),
        (lambda: cg.vector("x", 1.5), ShapeError, "neither an integer"),
        (lambda: cg.vector("x", (3,)), ShapeError, "axis 0"),
        (lambda: cg.vector("x", "n +"), ShapeError, "no formula"),
        (lambda: cg.matrix("x", (3,)), ShapeError, "two sizes, not 1"),
        (lambda: cg.matrix("x", 3), ShapeError, "two sizes"),
        (lambda: cg.tensor("x", None), ShapeError, r"\(None, None\)"),
        (lambda: cg.scalar("x", "complex128"), DTypeError, "not supported"),
        (lambda: cg.scalar("x", "float16"), DTypeError, "use one of"),
        (lambda: cg.dim("2n"), InputError, "no name of a dimension"),
    ],
)
def test_bad_inputs(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_constants():
    assert cg.constant(1).dtype == np.int64
    assert cg.constant(1.0) is not cg.constant(1)
    assert cg.constant([1, 2], "float32").dtype == np.float32
    assert cg.constant(np.arange(3)) is cg.constant([0, 1, 2])
    array = np.zeros(2)
    held = cg.constant(array)
    array[0] = 5
    np.testing.assert_array_equal(evaluate(held, {}), [0, 0])
    big_endian = np.arange(3, dtype=">f4")
    assert cg.constant(big_endian).dtype == np.float32
    x = cg.scalar("x")
    assert cg.asarray(x) is x
    with pytest.raises(TracingError, match="stop_gradient"):
        cg.constant(x)
    with pytest.raises(DTypeError, match="makes no array"):
        cg.constant(300, "int8")


def test_named():
    x = cg.vector("x")
    y = cg.named(x + 1, "y")
    assert y.name == "y"
    assert cg.named(y, "y") is y
    with pytest.raises(InputError, match="already has a name"):
        cg.named(y, "z")
    with pytest.raises(InputError, match="non-empty"):
        cg.named(x + 2, "")


# ---------------------------------------------------------------------- creation

CREATED = {
    "zeros": lambda m: m.zeros((2, 3)),
    "zeros dtype": lambda m: m.zeros(4, dtype=np.int8),
    "ones": lambda m: m.ones(()),
    "full": lambda m: m.full((2, 2), 7),
    "full float": lambda m: m.full((2,), 1.5),
    "full dtype": lambda m: m.full((2,), 1, dtype=np.float32),
    "arange": lambda m: m.arange(5),
    "arange from": lambda m: m.arange(2, 9),
    "arange step": lambda m: m.arange(1, 10, 3),
    "arange down": lambda m: m.arange(7, 1, -2),
    "arange empty": lambda m: m.arange(5, 2),
    "arange float": lambda m: m.arange(0.0, 1.0, 0.1),
    "arange dtype": lambda m: m.arange(4, dtype=np.float32),
    "linspace": lambda m: m.linspace(0, 1, 7),
    "linspace open": lambda m: m.linspace(2.0, -3, 4, endpoint=False),
    "eye": lambda m: m.eye(3),
    "eye k": lambda m: m.eye(3, 4, k=1),
    "eye dtype": lambda m: m.eye(2, 3, -1, dtype=np.int32),
    "identity": lambda m: m.identity(3),
    "stack": lambda m: m.stack([1, 2.5]),
    "broadcast_shapes": lambda m: m.broadcast_shapes((3, 1), (4,)),
}


@pytest.mark.parametrize("name", CREATED)
def test_creation(name):
    expected = CREATED[name](np)
    found = evaluate(CREATED[name](cg), {})
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    assert np.asarray(found).dtype == np.asarray(expected).dtype


def test_creation_of_symbolic_sizes():
    x = cg.matrix("x", ("n", "m"))
    rows, columns = x.shape
    array = np.ones((3, 5))
    for found, expected in (
        (cg.arange(rows), np.arange(3)),
        (cg.arange(1, columns, 2), np.arange(1, 5, 2)),
        (cg.arange(columns, 0, -2), np.arange(5, 0, -2)),
        (cg.arange(rows, columns), np.arange(3, 5)),
        (cg.arange(columns, rows), np.arange(5, 3)),
        (cg.eye(rows, columns, k=1), np.eye(3, 5, 1)),
        (cg.zeros((rows, 2)), np.zeros((3, 2))),
        (cg.full((columns,), x[0, 0]), np.ones(5)),
        (cg.tril(x), np.tril(array)),
    ):
        found = evaluate(found + 0 * x.sum(), {x: array})
        np.testing.assert_array_equal(found, expected)


def test_full_of_an_expression():
    x = cg.scalar("x")
    found = evaluate(cg.full((2, 2), x), {x: 3.0})
    np.testing.assert_array_equal(found, np.full((2, 2), 3.0))


def test_one_hot():
    labels = cg.vector("labels", dtype="uint8")
    given = np.array([2, 0, 9], np.uint8)
    for axis in (-1, 0):
        found = evaluate(cg.one_hot(labels, 3, axis=axis), {labels: given})
        expected = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0]], float)
        np.testing.assert_array_equal(found, expected if axis else expected.T)
    wide = evaluate(cg.one_hot(labels, 300, dtype="bool"), {labels: given})
    assert wide.sum() == 3
    with pytest.raises(DTypeError, match="integers"):
        cg.one_hot(cg.vector("x"), 3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: cg.arange(0, 5, 0), ShapeError, "step is 0"),
        (lambda x: cg.arange(x.sum()), TracingError, "sizes such as"),
        (lambda x: cg.reshape(x, (7,)), ShapeError, "do not fill"),
        (lambda x: cg.reshape(x, (-1, -1)), ShapeError, "only one size"),
        (lambda x: cg.reshape(x, (-1, 4)), ShapeError, "do not divide"),
        (lambda x: cg.reshape(x, (0, -1)), ShapeError, "could be anything"),
        (lambda x: cg.transpose(x, (0, 0)), ShapeError, "each of 2 axes once"),
        (lambda x: cg.matrix_transpose(x[0]), ShapeError, "two dimensions"),
        (lambda x: cg.sum(x, axis=2), ShapeError, "axis 2 is out of range"),
        (lambda x: cg.sum(x, axis=(0, 0)), ShapeError, "named twice"),
        (lambda x: cg.squeeze(x, 1), ShapeError, "has size 3, not 1"),
        (lambda x: cg.broadcast_to(x, (3,)), ShapeError, "does not stretch"),
        (lambda x: cg.broadcast_arrays(x, x.T), ShapeError, "do not broadcast"),
        (lambda x: cg.broadcast_shapes((2,), (3,)), ShapeError, "do not broadcast"),
        (lambda x: cg.concatenate([]), InputError, "no arrays"),
        (lambda x: cg.concatenate([x, x[0]]), ShapeError, "numbers of axes"),
        (lambda x: cg.concatenate([x[0, 0]]), ShapeError, "stack"),
        (lambda x: cg.concatenate([x, x.T], 1), ShapeError, "axis 0"),
        (lambda x: cg.stack([x, x.T]), ShapeError, "shapes differ"),
        (lambda x: cg.split(x, 2, axis=1), ShapeError, "array_split"),
        (lambda x: cg.unstack(cg.vector("v", "n")), ShapeError, "symbol|fixed size"),
        (lambda x: cg.pad(x, 1, mode="reflect"), ShapeError, "only"),
        (lambda x: cg.pad(x, ((1, 1),) * 3), ShapeError, "3 pairs"),
        (lambda x: cg.roll(x, (1, 2, 3), (0, 1)), ShapeError, "3 shifts"),
        (lambda x: cg.repeat(x, [1, 2, 3], 0), ShapeError, "one non-negative"),
        (lambda x: cg.matmul(x, 2.0), ShapeError, r"with \*"),
        (lambda x: x @ x, ShapeError, "inner sizes differ"),
        (lambda x: cg.tensordot(x, x, 1), ShapeError, "have sizes 3 and 2"),
        (lambda x: cg.tensordot(x, x, 3), ShapeError, "no 3 axes"),
        (lambda x: cg.vecdot(x, x.T), ShapeError, "sizes differ"),
        (lambda x: cg.diag(x[None]), ShapeError, "one or two dimensions"),
        (lambda x: cg.tril(x[0]), ShapeError, "two dimensions"),
        (lambda x: cg.diagonal(x[0]), ShapeError, "two dimensions"),
        (lambda x: cg.meshgrid(x), ShapeError, "one dimension"),
        (lambda x: cg.meshgrid(x[0], indexing="ji"), ShapeError, "indexing"),
        (lambda x: cg.take(x, [0.5]), DTypeError, "integers"),
        (lambda x: cg.take(x, 7, axis=1), IndexError, "out of range"),
        (lambda x: cg.take(x, 7, mode="bounce"), ShapeError, "wrap"),
        (lambda x: cg.take_along_axis(x, [0]), ShapeError, "numbers of axes"),
        (lambda x: cg.max(x[:0]), ShapeError, "no elements"),
        (lambda x: cg.round(x, x), TracingError, "Python integer"),
        (lambda x: cg.cumulative_sum(x), ShapeError, "one dimension only"),
        (lambda x: cg.sin(x, x), TypeError, "takes 1 positional"),
        (lambda x: +(x > 0), DTypeError, "astype"),
    ],
)
def test_bad_calls(call, error, text):
    with pytest.raises(error, match=text):
        call(cg.matrix("x", (2, 3)))


def test_array_split_and_repeat_by_counts():
    x = cg.vector("x", 7)
    array = np.arange(7.0)
    for found, expected in zip(cg.array_split(x, 3), np.array_split(array, 3)):
        np.testing.assert_array_equal(evaluate(found, {x: array}), expected)
    counts = [0, 1, 2, 0, 1, 3, 1]
    found = evaluate(cg.repeat(x, counts), {x: array})
    np.testing.assert_array_equal(found, np.repeat(array, counts))


def test_equal_parts_of_a_symbolic_size_are_checked_when_run():
    x = cg.vector("x", "n")
    parts = cg.split(x, 3)
    found = evaluate(parts, {x: np.arange(6.0)})
    np.testing.assert_array_equal(found, [[0, 1], [2, 3], [4, 5]])
    with pytest.raises(ShapeError):
        evaluate(parts, {x: np.arange(7.0)})


# -------------------------------------------------------------------- containers

Pair = namedtuple("Pair", "left right")


def test_containers_round_trip():
    tree = {"w": [1, (2, 3)], "b": Pair(4, {"c": 5}), "e": []}
    leaves, structure = flatten(tree)
    assert leaves == [1, 2, 3, 4, 5]
    build = structure.builder()
    for made in (structure.unflatten(leaves), build(leaves), build(tuple(leaves))):
        assert made == tree
        assert isinstance(made["b"], Pair) and isinstance(made["w"][1], tuple)
    assert structure.containers == 6
    _, leaf = flatten(3)
    assert leaf.builder()([3]) == 3 and leaf.containers == 0
    assert structure.paths("p") == [
        "p['w'][0]",
        "p['w'][1][0]",
        "p['w'][1][1]",
        "p['b'].left",
        "p['b'].right['c']",
    ]
    assert hash(structure) == hash(flatten(tree)[1])


def test_containers_of_the_same_structure():
    _, structure = flatten({"a": 1, "b": (2, 3)})
    assert structure.flatten_like({"b": [5, [6, 7]], "a": 4}) == [4, 5, [6, 7]]
    with pytest.raises(InputError, match=r"p\['b'\] has 1 entries, but 2"):
        structure.flatten_like({"a": 1, "b": (2,)}, "p")
    with pytest.raises(InputError, match=r"missing: 'b'; unknown: 'c'"):
        structure.flatten_like({"a": 1, "c": 2}, "p")
    with pytest.raises(InputError, match="type int, but a tuple of 2"):
        structure.flatten_like({"a": 1, "b": 2}, "p")


def test_wrong_leaf_is_named_by_its_path():
    x = cg.scalar("x")
    with pytest.raises(InputError, match=r"outputs\['a'\]\[1\] is 'text' of type str"):
        flatten_expressions({"a": [x, "text"]}, "outputs")
    with pytest.raises(InputError, match="outputs is None"):
        flatten_expressions(None, "outputs")
    nodes, structure = flatten_expressions([x, 2.0], "outputs", cg.asarray)
    assert nodes[1].op.is_constant
    assert structure.count == 2


def test_tree_map():
    assert tree_map(lambda a, b: a + b, {"x": [1, 2]}, {"x": [3, 4]}) == {"x": [4, 6]}
