"""The bundle adjustment of ADBench against the values stored with its data."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import graphc as cg

ROOT = Path(__file__).parents[2]


def _program():
    path = ROOT / "benchmarks" / "sparse.py"
    spec = importlib.util.spec_from_file_location("sparse_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


program = _program()


@pytest.mark.skipif(not program.DATA.is_dir(), reason="no ADBench data")
def test_residuals_and_jacobian_are_the_stored_ones():
    text = (program.DATA / "expected_from_adbench_tests.json").read_text()
    stored = json.loads(text)["ba/test.txt"]
    bundle = program.read(program.DATA / "ba" / "test.txt")
    inputs, wrt, values = program.expressions(bundle)
    f = cg.compile(inputs, [values, cg.jacobian(list(values), wrt, "sparse")])
    (errors, weights), blocks = f(*bundle.arrays)
    close = {"rtol": 1e-8, "atol": 1e-8}
    np.testing.assert_allclose(errors[0], stored["reproj_err_pair"], **close)
    np.testing.assert_allclose(weights[0], stored["w_err"], **close)
    got = program.joined(blocks)
    assert list(got.shape) == stored["J_shape"]
    expected = program.stored_jacobian(bundle, stored["J_vals_csr"])
    np.testing.assert_allclose(got.toarray(), expected, **close)


def test_an_observation_costs_two_sweeps():
    """Rows of one observation share columns, those of two share none that matter."""
    rng = np.random.default_rng(0)
    shapes = ((3, 11), (4, 3), (30,), (30, 2))
    arrays = [rng.standard_normal(s) for s in shapes]
    bundle = program.Bundle(arrays, np.arange(30) % 3, np.arange(30) % 4)
    inputs, wrt, values = program.expressions(bundle)
    blocks = cg.jacobian(list(values), wrt, "sparse")
    nodes = cg.Graph(inputs, [b.data for row in blocks for b in row]).nodes
    # sin(angle), and that of the half angle in 1 - cos(angle): once for both rows
    assert sum(n.op.name == "sin" for n in nodes) == 2
    dense = cg.jacobian(list(values), wrt, "reverse")
    got, wanted = cg.evaluate([blocks, dense], dict(zip(inputs, arrays)))
    for row, other in zip(got, wanted):
        for block, full in zip(row, other):
            np.testing.assert_allclose(
                block.toarray(), full.reshape(block.shape), rtol=1e-9, atol=1e-9
            )
