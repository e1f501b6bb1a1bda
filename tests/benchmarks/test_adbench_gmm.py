"""The mixture model of ADBench against the values stored with its data."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import graphc as cg

ROOT = Path(__file__).parents[2]


def _program():
    path = ROOT / "benchmarks" / "adbench_gmm.py"
    spec = importlib.util.spec_from_file_location("adbench_gmm", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gmm = _program()
pytestmark = pytest.mark.skipif(not gmm.DATA.is_dir(), reason="no ADBench data")


def _close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8)


def test_objective_and_gradient_are_the_stored_ones():
    problem = gmm.read(gmm.DATA / "gmm" / "test.txt")
    stored = gmm.stored_values(gmm.DATA)["gmm/test.txt"]
    inputs, parameters, value = gmm.expressions(problem)
    f = cg.compile(inputs, cg.value_and_grad(value, parameters))
    got, gradient = f(*problem.parameters, problem.points)
    _close(got, stored["objective"])
    _close(np.concatenate([g.ravel() for g in gradient]), stored["gradient"])


def test_forward_and_reverse_agree():
    name = "gmm/1k/gmm_d2_K5.txt"
    problem = gmm.read(gmm.DATA / name)
    inputs, parameters, value = gmm.expressions(problem)
    tangents = [cg.tensor(f"t_{p.name}", p.shape) for p in parameters]
    outputs = [value, cg.grad(value, parameters), cg.jvp(value, parameters, tangents)]
    f = cg.compile([*inputs, *tangents], outputs)
    rng = np.random.default_rng(0)
    at = [rng.standard_normal(p.shape) for p in problem.parameters]
    got, gradient, forward = f(*problem.parameters, problem.points, *at)
    _close(got, gmm.stored_values(gmm.DATA)[name]["objective"])
    _close(forward, sum(np.vdot(g, t) for g, t in zip(gradient, at)))
