"""The demo's whole training step: loss, gradient and Adam's update in one function."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.expressions.containers import flatten
from graphc.surfaces import demo


@pytest.fixture(scope="module")
def model():
    return demo.build()


def test_what_is_fused(model):
    step = cg.compile(model.inputs, model.outputs)
    fuses = [k.fuses for k in step.kernels]
    products = [f for f in fuses if "@" in f]
    # one for each layer forwards, and two backwards except by the pixels
    assert len(products) == 3 + 3 + 2
    whole_loss = [f for f in fuses if "exp" in f]
    assert len(whole_loss) == 1
    assert "max" in whole_loss[0] and "log" in whole_loss[0]
    updates = [k for k in step.kernels if "sqrt" in k.fuses]
    assert len(updates) == 6
    # weights and biases differ in rank and decay; equal ones are one machine code
    assert len({k.name for k in updates}) <= 3
    assert len(fuses) <= 26


def test_one_step_against_the_interpreter(model):
    rng = np.random.default_rng(0)
    params = demo.he_initialization(0)
    moments = [
        [
            {k: rng.random(a.shape, np.float32) for k, a in layer.items()}
            for layer in params
        ]
        for _ in range(2)
    ]
    pixels = rng.standard_normal((37, 64), np.float32)
    labels = rng.integers(0, 10, 37)
    call = (params, *moments, np.float32(3), np.float32(0.01), pixels, labels)
    got = cg.compile(model.inputs, model.outputs)(*call)
    wanted = cg.compile(model.inputs, model.outputs, backend="reference")(*call)
    leaves, structure = flatten(wanted)
    for path, a, b in zip(structure.paths(), flatten(got)[0], leaves):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5, err_msg=path)
