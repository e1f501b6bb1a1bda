"""Profiles, and the model of the machine: what is counted and predicted."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import graphc as cg
from graphc.kernels.cost import Item
from graphc.ops.counting import FUNCTIONS
from graphc.surfaces.cli import main
from graphc.surfaces.cost import calibrate as calibration
from graphc.surfaces.cost import machine as machines
from graphc.surfaces.cost.machine import (
    SCALAR,
    VECTOR,
    Machine,
    ProductRates,
    Shape,
    Work,
)
from graphc.surfaces.cost.profile import call_work, predicted_seconds, step_work
from graphc.types import sizes as size_arithmetic

SIZES = {"4": 1e-9, "8": 2e-9}
PRODUCT = ProductRates(fixed=1e-6, flop=1e-10, packed=1e-9, speedup=1.5, lanes=8)


def model(processor="p", threads=2):
    vector = dict.fromkeys(VECTOR, SIZES)
    vector |= {what: {"4": 1e-8, "8": 2e-8} for what in FUNCTIONS}
    scalar = {what: {"4": 4e-9, "8": 4e-9} for what in SCALAR}
    scalar |= {"load": {"4": 5e-9, "8": 5e-9}, "link": {"4": 3e-9, "8": 3e-9}}
    return Machine(
        processor,
        threads,
        one=[(1000, 1e9), (100_000, 1e8)],
        all=[(1000, 2e9)],
        vector=vector,
        scalar=scalar,
        products={"float32": PRODUCT, "float64": PRODUCT},
        speedup=2.0,
        call=1e-6,
        argument=1e-8,
        result=1e-7,
        container=1e-7,
        launch=1e-5,
        kept=1 << 20,
        fault=1e-9,
    )


@pytest.fixture
def cache(tmp_path):
    with cg.config(cache_dir=str(tmp_path)):
        yield tmp_path


def work(items=None, moved=10, footprint=1000, chunks=1, chain=0):
    items = items or {}
    return Work("kernel", "float64", 0, 0, moved, footprint, chunks, items, chain)


def test_a_kernel_takes_the_longest_of_what_runs_side_by_side():
    one = model()
    flops = {Item("flop", 8, False): 1000}
    assert one.predict(work(flops)) == pytest.approx(2e-6)
    assert one.predict(work({Item("flop", 4, False): 1000})) == pytest.approx(1e-6)
    assert one.predict(work({Item("flop", 8, True): 1000})) == pytest.approx(4e-6)
    assert one.predict(work({Item("exp", 8, False): 100})) == pytest.approx(2e-6)
    both = flops | {Item("load", 8, False): 100}
    assert one.predict(work(both)) == pytest.approx(2e-6)
    moves = flops | {Item("load", 8, True): 1000}
    assert one.predict(work(moves)) == pytest.approx(5e-6)
    assert one.predict(work(flops, chain=1000)) == pytest.approx(3e-6)
    assert one.predict(work({Item("link", 8, True): 1000})) == pytest.approx(3e-6)


def test_bandwidth_is_that_of_the_footprint():
    one = model()
    assert one.predict(work(moved=5000, footprint=10)) == pytest.approx(5e-6)
    assert one.predict(work(moved=5000, footprint=10**6)) == pytest.approx(5e-5)
    middle = one.predict(work(moved=5000, footprint=10**4))
    assert middle == pytest.approx(5000 / 10**8.5)


def test_threads_share_what_is_cut_into_parts():
    items = {Item("flop", 8, False): 10**6}
    assert model().predict(work(items, chunks=4)) == pytest.approx(1e-3 + 1e-5)
    # three parts on two threads take as long as four
    assert model().predict(work(items, chunks=3)) == pytest.approx(4e-3 / 3 + 1e-5)
    assert model(threads=1).predict(work(items, chunks=4)) == pytest.approx(2e-3)


def test_a_machine_that_was_busy_is_told_of():
    quiet = model()
    quiet.products = {d: replace(PRODUCT, speedup=1.9) for d in quiet.products}
    assert not quiet.busy
    quiet.speedup = 1.0
    assert quiet.busy
    quiet.threads = 1
    assert not quiet.busy


def test_products_are_predicted_by_their_sizes():
    shape = Shape(2, 10, 3, 50)
    product = Work("product", "float64", 0, 0, 1, 10, 1, shape=shape)
    want = 1e-6 + 2 * 2 * 10 * 8 * 50 * 1e-10 + 2 * (500 + 150) * 1e-9
    assert model().predict(product) == pytest.approx(want)
    shared = product._replace(chunks=8)
    assert model().predict(shared) == pytest.approx(want / 1.5 + 1e-5)


def test_a_prediction_adds_up_the_call_and_its_steps():
    x = cg.vector("x", "n")
    f = cg.compile([x], cg.exp(x) * x)
    values = {next(iter(x.shape[0].atoms())): 100}  # one kernel in one part
    steps = 100 * (2e-8 + 2e-9)
    got = predicted_seconds(f, values, model())
    assert got == pytest.approx(1e-6 + 1e-8 + 1e-7 + steps)
    nested = cg.compile([x], (x + 1, [x * 2.0]))
    call = call_work(nested, values, 1 << 20)
    assert call == (1, 2, 2, 0)
    assert call_work(nested, values, 500).fresh == 1600
    donating = cg.compile([x], x + 1, donate=[x])
    assert call_work(donating, values, 500).fresh == 0
    assert call_work(cg.compile([x], [x + 1]), values, 500).containers == 0


def items_of(inputs, outputs, sizes=None):
    """Return the items of all kernels of a function, for sizes."""
    f = cg.compile(inputs, outputs)
    dims = {d for n in inputs for size in n.shape for d in size_arithmetic.dims(size)}
    values = {d: sizes[d.name] for d in dims}
    steps = step_work(f, f.cost.at(values), values)
    works = [work for parts in steps for work in parts]
    total = Counter()
    for one in works:
        total.update(one.items)
    return total, works


def test_items_tell_slow_instructions_and_vectors():
    x = cg.vector("x", "n")
    items, _ = items_of([x], cg.exp(x) / x + 1, {"n": 10})
    assert items == {
        Item("exp", 8, False): 10,
        Item("div", 8, False): 10,
        Item("flop", 8, False): 10,
        Item("load", 8, False): 10,
        Item("store", 8, False): 10,
    }
    items, _ = items_of([x], cg.sin(x) * cg.cos(x), {"n": 10})
    assert items[Item("sincos", 8, False)] == 10
    assert items[Item("cos", 8, False)] + items[Item("sin", 8, False)] == 10


def test_items_tell_loops_inside_of_rows_and_far_elements():
    m = cg.matrix("m", ("n", "k"), dtype="float32")
    items, _ = items_of([m], m.sum(axis=1), {"n": 7, "k": 50})
    assert items[Item("enter", 8, True)] == items[Item("reduce", 4, True)] == 7
    assert items[Item("load", 4, False)] == items[Item("flop", 4, False)] == 350
    t = cg.tensor("t", ("n", 12))
    items, _ = items_of([t], t.sum(axis=1), {"n": 7})
    assert items[Item("load", 8, False)] == 84
    # both ways at once: written out, elements are 96 bytes apart
    items, _ = items_of([t], (t * t[:, ::-1]).sum(axis=1), {"n": 7})
    assert items[Item("load", 8, True)] == 84
    assert items[Item("load", 8, False)] == 0
    i, v = cg.vector("i", "n", dtype="int64"), cg.vector("v", "k")
    items, _ = items_of([i, v], v[i] + 1.0, {"n": 7, "k": 3})
    assert items[Item("load", 8, True)] == 7  # gathered


def test_chains_and_rounds_that_wait():
    s = cg.scalar("s")
    y = s
    for _ in range(5):
        y = cg.exp(y * s) + s
    items, (work,) = items_of([s], y)
    assert work.chain == 10 and items[Item("exp", 8, True)] == 5
    x = cg.vector("x", "n")
    items, _ = items_of([x], cg.cumsum(x), {"n": 9})
    assert items[Item("link", 8, True)] >= 9


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
    assert [tuple(t) for t in found.one] == made.one
    assert found.vector == made.vector and found.products == made.products
    machines.save(model("another processor"))
    assert machines.found() == (None, ANOTHER)
    machines.save(model(machine(), 77))
    assert machines.found()[1].startswith("77 threads were measured, ")


ANOTHER = "another processor was measured: run graphc doctor --calibrate"


def _without(text, *keys):
    data = json.loads(text)
    place = data
    for key in keys[:-1]:
        place = place[key]
    del place[keys[-1]]
    return json.dumps(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:50],
        lambda text: "[]",
        lambda text: "\x00",
        lambda text: '{"version": 1}',
        lambda text: _without(text, "vector", "flop"),
        lambda text: _without(text, "scalar", "link", "8"),
        lambda text: _without(text, "products", "float32"),
        lambda text: _without(text, "one"),
        lambda text: text.replace('"call": 1e-06', '"call": "fast"'),
    ],
)
def test_a_damaged_calibration_is_told_of_and_not_used(cache, damage):
    from graphc.backends.cpu import pool
    from graphc.backends.cpu.cache import machine

    path = machines.save(model(machine(), pool.available_threads()))
    assert machines.load() is not None
    path.write_text(damage(path.read_text()))
    found, why = machines.found()
    assert found is None
    assert why.endswith("damaged, or another version's: run graphc doctor --calibrate")
    x = cg.vector("x", 3)
    profile = cg.compile([x], x + 1).profile(np.ones(3))
    assert f"no prediction: {path} is damaged" in str(profile)


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
    monkeypatch.setattr(calibration, "SMALLEST", 1 << 12)
    monkeypatch.setattr(calibration, "LARGEST", 1 << 16)
    monkeypatch.setattr(calibration, "TRIES", 1)
    monkeypatch.setattr(calibration, "PRODUCTS", calibration.PRODUCTS[:5])
    whole = calibration.calibrate
    monkeypatch.setattr(calibration, "calibrate", lambda: whole(0.0))
    assert main(["doctor", "--calibrate"]) == 0
    assert "bandwidth at" in capsys.readouterr().out
    found = machines.load()
    assert found is not None
    assert all(v > 0 for _, v in (*found.one, *found.all))
    for table in (found.vector, found.scalar):
        assert all(set(t) == {"4", "8"} and min(t.values()) > 0 for t in table.values())
    assert set(found.products) == {"float32", "float64"}
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
