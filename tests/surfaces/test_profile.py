"""Profiles, and the model of the machine: what is counted and predicted."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import graphc as cg
from graphc.surfaces.cli import main
from graphc.surfaces.cost import machine as machines
from graphc.surfaces.cost.machine import Machine, Rates, Work
from graphc.surfaces.cost.profile import predicted_seconds

RATES = Rates(
    [(1000, 1e9), (100_000, 1e8)],
    {"float32": 2e9, "float64": 1e9},
    {"float32": 2e10, "float64": 1e10},
    {"float32": 2e8, "float64": 1e8},
)
FASTER = Rates([(1000, 2e9)], {"float64": 2e9}, {"float64": 2e10}, {"float64": 2e8})


def model(processor="p", threads=2):
    return Machine(processor, threads, RATES, FASTER, 1e-6, 1e-5)


@pytest.fixture
def cache(tmp_path):
    with cg.config(cache_dir=str(tmp_path)):
        yield tmp_path


def test_a_step_takes_the_longer_of_moving_and_computing():
    one = model()
    assert one.predict(Work("kernel", "float64", 1000, 0, 10, 1000, 1)) == 1e-6
    assert one.predict(Work("kernel", "float32", 1000, 0, 10, 1000, 1)) == 5e-7
    assert one.predict(Work("kernel", "float64", 0, 100, 10, 1000, 1)) == 1e-6
    fast = one.predict(Work("kernel", "float64", 10, 0, 5000, 10, 1))
    assert fast == pytest.approx(5e-6)
    slow = one.predict(Work("kernel", "float64", 10, 0, 5000, 10**6, 1))
    assert slow == pytest.approx(5e-5)
    middle = one.predict(Work("kernel", "float64", 10, 0, 5000, 10**4, 1))
    assert middle == pytest.approx(5000 / 10**8.5)
    assert one.predict(Work("product", "float64", 10**6, 0, 10, 10, 1)) == 1e-4
    shared = one.predict(Work("kernel", "float64", 10**6, 0, 10, 10, 4))
    assert shared == pytest.approx(5e-4 + 1e-5)


def test_a_prediction_adds_up_the_steps():
    x = cg.vector("x", "n")
    f = cg.compile([x], cg.exp(x) * x)
    n = 100  # one kernel in one part: 1,600 bytes, 100 operations and calls
    values = {next(iter(x.shape[0].atoms())): n}
    expected = 1e-6 + 100 / 1e9 + 100 / 1e8
    got = predicted_seconds(f, values, model())
    bandwidth = Machine.bandwidth(RATES, 1600)
    assert got == pytest.approx(max(expected, 1e-6 + 1600 / bandwidth))


def test_calibration_is_kept_whole_and_read_again(cache, monkeypatch):
    from graphc.backends.cpu import pool
    from graphc.backends.cpu.cache import machine

    assert machines.load() is None
    made = model(machine(), pool.available_threads())
    path = machines.save(made)
    assert path == cache / "machine.json"
    assert not list(cache.glob("*.tmp"))
    found = machines.load()
    assert found is not None and found.call == made.call
    for threads in ("one", "all"):
        a, b = getattr(found, threads), getattr(made, threads)
        assert [tuple(t) for t in a.bandwidth] == b.bandwidth and a.flops == b.flops
    machines.save(model("another processor"))
    assert machines.load() is None
    path.write_text('{"version": 1, "half')
    assert machines.load() is None
    path.write_text("[]")
    assert machines.load() is None


def test_calibration_without_a_folder(tmp_path):
    with cg.config(cache_dir="off"):
        assert machines.save(model()) is None
        assert machines.load() is None
    blocked = tmp_path / "file"
    blocked.write_text("")
    with cg.config(cache_dir=str(blocked / "sub")):
        with pytest.raises(cg.InputError, match=r"calibrate: cannot write .*sub"):
            machines.save(model())


def test_doctor_calibrates(cache, monkeypatch, capsys):
    monkeypatch.setattr(machines, "SMALLEST", 1 << 12)
    monkeypatch.setattr(machines, "LARGEST", 1 << 16)
    calibrate = machines.calibrate
    monkeypatch.setattr(machines, "calibrate", lambda: calibrate(0.0))
    assert main(["doctor", "--calibrate"]) == 0
    assert "bandwidth at" in capsys.readouterr().out
    found = machines.load()
    assert found is not None
    rates = (found.one, found.all)
    for r in rates:
        assert all(v > 0 for _, v in r.bandwidth)
        for what in (r.flops, r.products, r.transcendentals):
            assert set(what) == {"float32", "float64"} and min(what.values()) > 0
    x = cg.vector("x", "n")
    profile = cg.compile([x], cg.exp(x).sum()).profile(np.ones(1000))
    assert profile.predicted is not None and profile.predicted > 0


def test_a_profile_has_a_row_for_each_step(cache):
    x, w = cg.matrix("x", ("n", "m")), cg.matrix("w", ("m", "k"))
    y = cg.tanh(cg.nn.softmax(x, axis=1) @ w).sum()
    f = cg.compile([x, w], [y, *cg.grad(y, [x, w])])
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(30, 7)), rng.normal(size=(7, 5))
    before = [r.copy() for r in f(*arrays)]
    profile = f.profile(*arrays, rounds=2)
    assert len(profile.steps) == len(f.program.steps)
    counted = cg.cost(f, sizes={"n": 30, "m": 7, "k": 5}).total
    for kind in ("flops", "transcendentals", "bytes"):
        assert sum(getattr(s, kind) for s in profile.steps) == getattr(counted, kind)
    assert all(s.seconds >= 0 for s in profile.steps)
    assert profile.predicted is None
    assert "graphc doctor --calibrate" in str(profile)
    for got, want in zip(f(*arrays), before):  # what was profiled computes as before
        np.testing.assert_array_equal(got, want)
    assert json.loads(json.dumps(profile.to_dict()))["predicted"] is None
    assert profile.to_markdown().startswith("| step |")
    assert "<table>" in profile._repr_html_()


def test_pipelines_are_one_step():
    x = cg.matrix("x", (256, 32))
    h = x
    for i in range(3):
        h = cg.tanh(h @ cg.constant(np.eye(32) + i))
    f = cg.compile([x], h)
    profile = f.profile(np.ones((256, 32)), rounds=1)
    assert len(profile.steps) == len(f.program.steps) < len(f.kernels)
    assert "in a pipeline" in profile.steps[0].name


def test_donated_inputs_are_not_written_to():
    x = cg.vector("x", 5)
    f = cg.compile([x], x + 1, donate=[x])
    array = np.zeros(5)
    f.profile(array, rounds=3)
    np.testing.assert_array_equal(array, 0)


def test_a_call_without_steps():
    x = cg.vector("x", 3)
    profile = cg.compile([x], x).profile(np.ones(3))
    assert profile.steps == [] and profile.seconds == 0


def test_mistakes():
    x = cg.vector("x", "n")
    with pytest.raises(cg.InputError, match="profile: the reference backend"):
        cg.compile([x], x + 1, backend="reference").profile(np.ones(3))
    f = cg.compile([x], x[cg.constant(5)] + x)
    with pytest.raises(cg.InputError, match=r"profile: rounds=0 is no number of 1"):
        f.profile(np.ones(3), rounds=0)
    with pytest.raises(cg.ShapeError):
        f.profile(np.ones((3, 3)))
    i = cg.vector("i", "k", dtype="int64")
    g = cg.compile([x, i], x[i] * 2)
    with pytest.raises(cg.IndexOutOfRangeError):
        g.profile(np.ones(3), np.array([7]))


def test_plot(monkeypatch):
    pytest.importorskip("matplotlib")
    x = cg.vector("x", "n")
    profile = cg.compile([x], cg.exp(x).sum()).profile(np.ones(10_000))
    profile.machine = model()
    ax = profile.plot()
    assert ax.get_xlabel() == "operations per byte"
    assert profile.plot(ax) is ax
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(cg.MissingPackageError, match=r"pip install 'graphc\[plot\]'"):
        profile.plot()
