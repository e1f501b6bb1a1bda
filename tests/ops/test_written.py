"""How nodes are written: in the user's words, which mean the same when run again."""

import numpy as np
import pytest

import graphc as cg
from graphc.ops.slicing import slices_text

X = cg.matrix("x", ("n", 4))
V = cg.vector("v", "n")
Z = cg.tensor("z", ("b", "n", 3))
I = cg.vector("i", 2, dtype="int64")  # noqa: E741

READS_AS_WRITTEN = [
    *("x + x", "x - x", "x * x", "x / x", "x // x", "x % x", "-x", "x**3", "x**2"),
    *("x < x", "x <= x", "x > x", "x >= x", "x == x", "x != x"),
    *("i & i", "i | i", "i ^ i", "~i", "i << i", "i >> i"),
    *("x.T", "z.mT", "x.T @ x", "v[:, None]", "v[None, :]", "z[i]"),
    *("x[1:]", "x[:-1]", "x[1:, :3]", "x[::-1]", "x[::2]", "x[:, ::-2]", "x[1:-1]"),
    *("x[2:, 1:2]", "x[:3]", "x[1:5]", "x[-3:]", "x[:, 2:]", "z[:, :, 1:]"),
]


@pytest.mark.parametrize("text", READS_AS_WRITTEN)
def test_what_is_written_so_is_shown_so(text):
    names = {"x": X, "v": V, "z": Z, "i": I}
    node = eval(text, {**names, "None": None})
    words = [a.name or a.op.written(a, [b.name for b in a.args]) for a in node.args]
    assert node.op.written(node, words).replace("(x.T)", "x.T") == text


def test_calls():
    def shown(node, *words):
        return node.op.written(node, words or [a.name for a in node.args])

    assert shown(cg.tanh(X)) == "tanh(x)" and shown(cg.tanh(X), None) == "tanh"
    assert shown(cg.sum(X)) == "sum(x)" and shown(cg.sum(X, axis=1)) == "sum(x, axis=1)"
    assert shown(cg.max(Z, axis=(0, 2)), None) == "max(axis=(0, 2))"
    assert shown(cg.transpose(Z, (2, 0, 1))) == "transpose(z, axes=(2, 0, 1))"
    assert shown(1 / X, "1", "x") == "1 / x"
    assert shown(X - X, "x", "-1") == "x - (-1)"
    assert shown(X * X, None, "2*n + 1") == "\N{MIDDLE DOT} * (2*n + 1)"
    assert shown(cg.constant([0, 2])) == "[0, 2]"
    assert shown(cg.constant(np.zeros(100))) == "constant"
    assert shown(cg.cumsum(V)) == "cumsum(v, axis=0)"
    assert shown(cg.arange(V.shape[0])) == "arange(n)"
    back = cg.grad(X[1:, :3].sum(), X)
    assert shown(back) == "zeros.at[1:, :3].set(\N{MIDDLE DOT})"


@pytest.mark.parametrize("size", range(1, 6))
def test_slices_mean_what_they_say(size):
    bounds = [None, *range(-size - 1, size + 2)]
    array = np.arange(size)
    for step in (1, 2, 3, -1, -2):
        for first in bounds:
            for stop in bounds:
                part = slice(first, stop, step)
                start, _, _ = part.indices(size)
                wanted = array[part]
                if not wanted.size:
                    continue  # an empty slice has no first element to speak of
                text = slices_text((start,), (wanted.size,), (step,), (size,))
                np.testing.assert_array_equal(eval(f"array[{text}]"), wanted)
