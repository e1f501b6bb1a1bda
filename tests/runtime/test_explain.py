"""`Function.explain`: facts about fusion, and their text."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.schedule import estimate

x = cg.matrix("x", (100, 50))
v = cg.vector("v", 512)


def node_of(function, op):
    (found,) = [n for n in function.graph.nodes if n.op.name == op]
    return found


def test_one_kernel_has_no_boundaries():
    function = cg.compile([x], [cg.nn.softmax(x, -1)])
    explanation = function.explain()
    assert len(explanation.kernels) == len(function.kernels) == 1
    assert not explanation.boundaries
    (part,) = explanation.kernels
    assert [n.op.name for n in part.stores] == ["divide"]
    assert {"max", "exp", "sum", "divide"} <= {n.op.name for n in part.nodes}
    assert str(explanation).startswith("kernel 0: ")
    pair = function.explain(node_of(function, "max"), node_of(function, "divide"))
    assert pair.fused
    assert str(pair) == "fused: kernel 0 computes both."


def test_a_value_of_three_kinds_of_rows():
    x = cg.tensor("x", (3, 4, 5, 6))
    parts = [
        cg.exp(x) / cg.sum(cg.exp(x), axis=axes, keepdims=True)
        for axes in ((3,), (2, 3), (1, 2, 3))
    ]
    function = cg.compile([x], cg.where(parts[0] > 0.1, parts[1], parts[2]))
    a = np.random.default_rng(0).normal(size=x.shape)
    e = np.exp(a)
    softmax = [e / e.sum(axes, keepdims=True) for axes in ((3,), (2, 3), (1, 2, 3))]
    wanted = np.where(softmax[0] > 0.1, softmax[1], softmax[2])
    np.testing.assert_allclose(function(a), wanted, rtol=1e-13)
    assert len(function.explain().kernels) == len(function.kernels) > 1


def test_the_estimate_weighs_bytes_against_operations():
    few, many = 100, 100_000_000
    assert estimate.repeated(21, few, 512, 8).keep
    assert not estimate.repeated(5, few, 512, 8).keep  # cheaper than a load
    assert not estimate.repeated(12, few, 2, 8).keep  # and so twice is than a store
    assert estimate.repeated(21, few, cg.matrix("m", ("n", 2)).size, 4).keep
    # dearer to keep where no cache holds it
    assert estimate.repeated(21, few, 3, 8).keep
    assert not estimate.repeated(21, many, 3, 8).keep
    assert not estimate.read_again(6, 1).keep
    assert estimate.read_again(7, 1).keep
    assert not estimate.read_again(20, 1, many).keep


def test_repeated_work():
    y = cg.sin(v)
    function = cg.compile([v], [(y[:, None] * y).sum()])
    (boundary,) = [
        b for b in function.explain().boundaries if b.source.op.name == "sin"
    ]
    assert (
        boundary.reason
        == "would repeat 21 operations 512 times: 10752 against 3099 kept"
    )
    assert boundary.writer < boundary.user
    assert str(boundary.reason) in str(function.explain())
    pair = function.explain(node_of(function, "sin"), node_of(function, "sum"))
    assert str(pair) == f"not fused: {boundary.reason}"


def test_last_row():
    function = cg.compile([x], [x - x.sum(0)])
    pair = function.explain(node_of(function, "sum"), node_of(function, "subtract"))
    assert not pair.fused
    assert pair.reason == "sum is complete only after the last row"
    reversed_ = function.explain(
        node_of(function, "subtract"), node_of(function, "sum")
    )
    assert reversed_.reason == pair.reason


def test_rows_differ():
    total = x.sum(1)
    function = cg.compile([x], [total[:50] + x[0]])
    reasons = [b.reason for b in function.explain().boundaries]
    assert reasons == [
        "rows differ: it is computed along rows (100,), and read at others"
    ]


def test_products():
    y = cg.matrix("y", (50, 30))
    function = cg.compile([x, y], [cg.tanh(cg.exp(x) @ y)])
    pair = function.explain(node_of(function, "exp"), node_of(function, "matmul"))
    assert "matmul has a kernel of its own kind" in str(pair)
    explanation = function.explain()
    assert [p.label for p in explanation.kernels if "@" in p.label]
    products = [p for p in explanation.kernels if "@" in p.label]
    assert any(b.user == products[0].number for b in explanation.boundaries)
    again = function.explain(node_of(function, "matmul"), node_of(function, "tanh"))
    assert again.fused or "matmul has a kernel of its own kind" in again.reason


def test_nodes_that_do_not_need_each_other():
    function = cg.compile([x, v], [cg.exp(x), cg.sin(v)])
    pair = function.explain(node_of(function, "exp"), node_of(function, "sin"))
    assert pair.reason == "rows differ: (100, 50) against (512,)"
    small = cg.vector("small", 5)
    function = cg.compile([v, small], [cg.sin(v), cg.cos(small[:1]) + cg.exp(v)])
    pair = function.explain(node_of(function, "sin"), node_of(function, "exp"))
    assert pair.fused or "no large array in common" in pair.reason


def test_names_and_inputs():
    function = cg.compile([x], [x.sum(0) * 2.0])
    pair = function.explain("x", node_of(function, "sum"))
    assert pair.reason.startswith("x: float64(100, 50) is in memory")
    assert pair.kernels[0] == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((x,), "two nodes or names, or none"),
        (("x", "nobody"), "no node 'nobody'"),
        ((x, v), "no node v: float64"),
    ],
)
def test_errors(arguments, message):
    function = cg.compile([x], [x + 1.0])
    with pytest.raises(cg.InputError, match=message):
        function.explain(*arguments)


def test_reference_backend():
    function = cg.compile([x], [x + 1.0], backend="reference")
    assert str(function.explain()) == "There are no kernels."
    with pytest.raises(cg.InputError, match="node by node"):
        function.explain("x", "x")


def test_every_kind_of_reason_has_a_text():
    from graphc.schedule.explain import TEXTS, reason_text
    from graphc.schedule.fusion import Reason

    for kind in TEXTS:
        assert "{" not in reason_text(Reason(kind, (3, "n"), 4))
