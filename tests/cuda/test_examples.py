"""The examples, and the demonstration's training step, on the device."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path

import numpy as np
import pytest

import graphc as cg
from graphc.expressions.containers import flatten
from graphc.runtime.compile import compile as compile_
from graphc.runtime.compile import jit
from graphc.surfaces import demo
from graphc.surfaces.bench import TOLERANCE
from graphc.surfaces.bench.peers import compiled_by_graphc
from graphc.surfaces.bench.worker import largest_error
from graphc.surfaces.bench.workloads import WORKLOADS

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.fixture
def by_default(monkeypatch):
    """Compile for the device where no backend is named, and return NumPy's arrays."""
    for function in (compile_, jit):
        monkeypatch.setitem(function.__kwdefaults__, "backend", "cuda")
    monkeypatch.setitem(compile_.__kwdefaults__, "results", "numpy")


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_example(script, tmp_path, monkeypatch, capsys, by_default, on_device):
    if script.stem == "digits_mlp":
        pytest.importorskip("sklearn")
        pytest.importorskip("tqdm")
        if on_device.simulated:
            pytest.skip("too long for the simulator")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out


def test_a_training_step_of_the_demonstration(on_device):
    model = demo.build()
    rng = np.random.default_rng(0)
    params = demo.he_initialization(0)
    moments = [
        [
            {k: rng.random(a.shape, np.float32) for k, a in layer.items()}
            for layer in params
        ]
        for _ in range(2)
    ]
    rows = 3 if on_device.simulated else 137
    pixels = rng.standard_normal((rows, 64), np.float32)
    labels = rng.integers(0, 10, rows)
    call = (params, *moments, np.float32(3), np.float32(0.01), pixels, labels)
    step = cg.compile(model.inputs, model.outputs, backend="cuda", results="numpy")
    wanted = cg.compile(model.inputs, model.outputs, backend="reference")(*call)
    leaves, structure = flatten(wanted)
    for path, a, b in zip(structure.paths(), flatten(step(*call))[0], leaves):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5, err_msg=path)


def test_the_demonstration(tmp_path, on_device):
    pytest.importorskip("sklearn")
    pytest.importorskip("tqdm")
    if on_device.simulated:
        pytest.skip("too long for the simulator")
    result = demo.run(tmp_path, epochs=10, backend="cuda", quiet=True)
    assert result.accuracy > 0.9


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads_of_the_benchmark(name, on_device):
    if on_device.simulated:
        pytest.skip("too large for the simulator")
    workload = WORKLOADS[name]
    arrays = workload.arrays()
    function = compiled_by_graphc(workload, arrays, "cuda")
    got = [on_device.download(r) for r in function(*arrays)]
    error = largest_error(got, workload.expected())
    assert error < TOLERANCE[arrays[0].dtype.name]
