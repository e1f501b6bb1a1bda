"""What is rewritten for accuracy is rewritten before it is differentiated."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg


def gradient(build, at):
    """Return the gradient as built, interpreted without any pass."""
    x = cg.vector("x", len(at))
    return cg.evaluate(cg.grad(build(x), x), {x: np.asarray(at, float)})


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_softplus_written_by_hand(mode):
    x = cg.scalar("x")
    d = cg.jacobian(cg.log(1 + cg.exp(x)), x, mode=mode)
    for value, expected in [(1000.0, 1.0), (-1000.0, 0.0), (0.0, 0.5)]:
        assert cg.evaluate(d, {x: value}) == expected


def test_logsumexp_written_by_hand():
    got = gradient(lambda x: cg.log(cg.sum(cg.exp(x))), [1000.0, 1000.0, -1000.0])
    np.testing.assert_allclose(got, [0.5, 0.5, 0.0])


def test_norm_by_a_product_at_zero():
    np.testing.assert_array_equal(
        gradient(lambda x: cg.sqrt(x @ x), [0.0, 0.0]), [0.0, 0.0]
    )
    np.testing.assert_allclose(
        gradient(lambda x: cg.sqrt(x @ x), [3.0, 4.0]), [0.6, 0.8]
    )
