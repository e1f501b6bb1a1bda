"""Scopes and sites: what they say of a node, and that they change nothing else."""

import pickle
import threading

import numpy as np
import pytest

import graphc as cg
from graphc.graph.graph import topological_order
from graphc.graph.origin import function_of, passage_of, scope_text
from graphc.passes.pipeline import run_passes


def path(node):
    return scope_text(node)


def test_scopes_nest_and_end():
    x = cg.vector("x", 3)
    with cg.scope("outer"):
        a = cg.sin(x)
        with cg.scope("inner"):
            b = cg.cos(a)
        c = b + a
    d = c * x
    assert [path(n) for n in (x, a, b, c, d)] == [
        "",
        "outer",
        "outer/inner",
        *["outer", ""],
    ]


def test_equal_names_are_two_scopes_and_one_object_is_one():
    x = cg.vector("x", 3)
    made = []
    for k in range(2):
        with cg.scope("layer"):
            made.append(cg.sin(x * (k + 2.0)))
    assert made[0].site[2] is not made[1].site[2]
    again = cg.scope("layer")
    with again:
        first = cg.cos(x)
    with again:
        second = cg.tan(x)
    assert first.site[2] is second.site[2]
    with again, again:  # within itself it is another
        third = cg.exp(x)
    assert path(third) == "layer/layer"


def test_a_decorated_function_has_a_scope_for_each_call():
    @cg.scope("dense")
    def dense(h, k):
        """Multiply."""
        return h * k

    x = cg.vector("x", 3)
    a, b = dense(x, 2.5), dense(x, k=3.5)
    assert path(a) == path(b) == "dense" and a.site[2] is not b.site[2]
    assert dense.__name__ == "dense" and dense.__doc__ == "Multiply."


def test_an_exception_ends_a_scope():
    with pytest.raises(ZeroDivisionError), cg.scope("broken"):
        raise ZeroDivisionError
    assert path(cg.vector("x", 3) * 2) == ""


def test_scopes_belong_to_threads():
    seen = []
    with cg.scope("here"):
        thread = threading.Thread(target=lambda: seen.append(cg.vector("x", 3) + 1))
        thread.start()
        thread.join()
        assert path(cg.vector("y", 3) + 1) == "here"
    assert path(seen[0]) == ""


def test_scopes_are_no_part_of_the_key():
    x = cg.vector("x", 3)
    with cg.scope("first"):
        a = cg.sin(x)
    with cg.scope("second"):
        b = cg.sin(x)
    assert a is b and path(a) == "first"
    assert pickle.loads(pickle.dumps(a)) is a


def _reads(node, x):
    return node is not x and any(n is x for n in topological_order([node]))


def test_derivatives_and_rewriting_stay_in_the_scope():
    x = cg.vector("x", 1723)  # constants of other sizes may be somebody else's nodes
    with cg.scope("encoder"):
        h = cg.tanh(x * 1.0)
    with cg.scope("loss"):
        loss = cg.sum(h * h)
    gradient = cg.grad(loss, x)
    backward = set(topological_order([gradient])) - set(topological_order([loss]))
    # what does not depend on x may be the node of another program
    assert {path(n) for n in backward if _reads(n, x)} == {"encoder", "loss"}
    graph = run_passes(cg.Graph([x], [loss, gradient]))
    assert {path(n) for n in graph.nodes if _reads(n, x)} == {"encoder", "loss"}
    tangent = cg.jvp(loss, x, cg.vector("v", 1723))
    assert "encoder" in {path(n) for n in topological_order([tangent])}


def test_scopes_do_not_change_values():
    x = cg.vector("x", 3)
    with cg.scope("s"):
        y = cg.exp(x) + x
    at = np.arange(3.0)
    np.testing.assert_allclose(cg.compile([x], y)(at), np.exp(at) + at, rtol=1e-15)


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_scope_needs_a_name(name):
    with pytest.raises(cg.InputError, match="no name"):
        cg.scope(name)


def test_what_was_written():
    x, w = cg.vector("x", 1733), cg.vector("w", 1733)
    y = cg.tanh(
        x * w  # a comment stays out of the passage of x * w
    ) + cg.sum(x)
    add, tanh, total = y, y.args[0], y.args[1]
    assert passage_of(tanh.args[0].site).text == "x * w"
    assert passage_of(total.site).text == "cg.sum(x)"
    assert passage_of(tanh.site).text.startswith("cg.tanh( x * w")
    assert add.origin == (__file__, tanh.origin[1])
    assert tanh.args[0].origin[1] == tanh.origin[1] + 1
    gradient = cg.grad(total, x)
    assert passage_of(gradient.site).text == "cg.sum(x)"


def test_columns_count_characters_not_bytes():
    grüße = cg.vector("x", 3)
    y = cg.sin(grüße) + cg.cos(grüße)
    assert passage_of(y.args[1].site).text == "cg.cos(grüße)"


def test_numpy_functions_are_written_by_the_user():
    x = cg.vector("x", 3)
    y = np.mean(x)
    assert passage_of(y.site).text == "np.mean(x)" and y.origin[0] == __file__


def test_the_function_of_a_site():
    class Model:
        def forward(self, x):
            return [x * k for k in (2.5,)].pop()

    x = cg.vector("x", 3)
    node = Model().forward(x)
    assert function_of(node.site) == "Model.forward"
    made = (lambda: x * 4.5)()
    assert function_of(made.site) == "lambda"
    namespace = {"cg": cg, "x": x}
    exec("y = x * 5.5", namespace)
    assert function_of(namespace["y"].site) == ""
    assert passage_of(namespace["y"].site).text == ""  # no source to read
    assert namespace["y"].origin == ("<string>", 1)
