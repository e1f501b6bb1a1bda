"""`graphc bench`: its workloads, its processes, its table."""

import json
import re

import numpy as np
import pytest

from graphc.surfaces import bench
from graphc.surfaces.bench import peers, worker
from graphc.surfaces.bench.workloads import WORKLOADS, Workload, namespace
from graphc.surfaces.cli import main
from graphc.types.config import config

TINY = ["--rounds", "2", "--seconds", "0.005"]


def test_one_workload_with_numpy_as_the_only_peer(tmp_path, capsys):
    out = tmp_path / "numbers.json"
    arguments = ["bench", "--workload", "rosen*", "--peers", "numpy", *TINY]
    assert main([*arguments, "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "rosenbrock: with its gradient" in text
    assert "numpy takes" in text and "(geometric mean of 1 of 1)" in text
    results = json.loads(out.read_text())
    assert {"bandwidth", "float32", "float64"} == set(results["machine"])
    rows = results["workloads"]["rosenbrock"]
    assert list(rows) == ["graphc", "numpy"]
    for row in rows.values():
        assert row["error"] < 1e-12
        assert row["memory"] >= row["memory_before"] > 10e6
        assert min(row[k] for k in ("seconds", "compile", "ratio", "of_machine")) > 0
    assert rows["graphc"]["ratio"] == 1


@pytest.mark.parametrize("name", WORKLOADS)
def test_graphc_agrees_with_numpy(name, tmp_path):
    # the references are not made from the same functions where there are derivatives
    workload = WORKLOADS[name]
    arrays = workload.arrays()
    with config(cache_dir=str(tmp_path)):
        got = [np.asarray(r) for r in peers.ADAPTERS["graphc"](workload, arrays)()]
    error = worker.largest_error(got, workload.expected())
    assert error < bench.TOLERANCE[arrays[0].dtype.name]


@pytest.mark.parametrize("name", [n for n, w in WORKLOADS.items() if w.wrt])
def test_derivatives_by_hand_are_those_of_differences(name):
    workload = WORKLOADS[name]
    arrays = [a.astype(np.float64) for a in workload.arrays()]
    rng = np.random.default_rng(1)
    directions = {i: rng.standard_normal(arrays[i].shape) for i in workload.wrt}

    def value(step):
        moved = [a + step * directions.get(i, 0) for i, a in enumerate(arrays)]
        return np.asarray(workload.function(namespace("numpy"), *moved))

    step = 1e-8  # few units of a network pass their kink in it
    wanted = (value(step) - value(-step)) / (2 * step)
    results = workload.expected()
    if workload.kind == "jacobian":
        got = results[0] @ directions[0]
    else:
        np.testing.assert_allclose(results[0], value(0), rtol=1e-10)
        got = sum(np.sum(g * directions[i]) for g, i in zip(results[1:], workload.wrt))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * abs(wanted).max())


def test_the_list_of_workloads(capsys):
    assert main(["bench", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(
        WORKLOADS
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--workload", "nothing*"], "no workload is named 'nothing.*elementwise"),
        (["--peers", "no_such_peer"], "peer 'no_such_peer' is not installed.*numpy"),
    ],
)
def test_what_is_not_there(arguments, message, capsys):
    assert main(["bench", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and re.search(message, captured.err)


def test_usage(capsys):
    for arguments in (["--rounds", "0"], ["--seconds", "-1"], ["--seconds", "x"]):
        with pytest.raises(SystemExit):
            main(["bench", *arguments])
    capsys.readouterr()


def rows_of(error):
    return {
        peer: {"seconds": s, "error": e, "compile": 0.1, "memory": 5e7}
        for peer, s, e in (("graphc", 0.001, 1e-9), ("jax", 0.004, error))
    }


MACHINE = {"bandwidth": 1e10, "float32": 1e11, "float64": 5e10}


def test_ratios_and_fractions():
    rows = rows_of(1e-6)
    bench._relate("elementwise", rows, MACHINE)
    assert rows["jax"]["ratio"] == pytest.approx(4.0)
    # 10^6 float32 read and as many written, in a millisecond
    assert rows["graphc"]["of_machine"] == pytest.approx(8e6 / 1e-3 / 1e10)
    products = rows_of(1e-6)
    bench._relate("products", products, MACHINE)
    flops = 2 * 2 * 64 * 96**3
    assert products["jax"]["of_machine"] == pytest.approx(flops / 4e-3 / 1e11)
    text = bench.table("products", products)
    assert "of BLAS" in text and "4.00x" in text


@pytest.mark.parametrize("error", [1e-2, np.inf, np.nan])
def test_a_wrong_result_has_no_ratio(error):
    rows = rows_of(error)
    bench._relate("elementwise", rows, MACHINE)
    assert "wrong" in rows["jax"]["failed"] and "ratio" not in rows["jax"]
    assert "wrong" in bench.table("elementwise", rows)
    assert bench.summary({"elementwise": rows}) == ""


def test_errors_of_results():
    one = [np.array([1.0, 2.0])]
    assert worker.largest_error(one, one) == 0
    assert worker.largest_error(one, [np.array([1.0, 4.0])]) == 0.5
    for bad in ([], [np.ones(3)], [np.array([np.nan, 1.0])]):
        assert worker.largest_error(bad, one) == np.inf


def test_a_worker_that_fails_says_why(monkeypatch):
    process = bench.Process("numpy", "rosenbrock")
    try:
        assert process.ask("time", seconds=0.01) is None  # nothing is prepared
        assert "AttributeError" in process.failed
        assert process.ask("prepare") is None
    finally:
        process.close()
    process = bench.Process("numpy", "no such workload")
    try:
        assert process.ask("prepare") is None
        assert "ended with status 1" in process.failed
    finally:
        process.close()


def test_every_workload_says_what_it_is():
    assert len(WORKLOADS) >= 12
    for workload in WORKLOADS.values():
        assert isinstance(workload, Workload) and workload.summary
        assert (workload.kind == "forward") == (workload.wrt == ())


class Timed:
    """A call on a device that notes what it is asked."""

    def __init__(self):
        self.log = []

    def __call__(self):
        self.log.append("call")
        return ["result"]

    def wait(self):
        self.log.append("wait")

    def host(self, result):
        self.log.append(result)
        return WORKLOADS["rosenbrock"].expected()[0]


def test_calls_on_a_device_are_waited_for(monkeypatch):
    runner = Timed()
    monkeypatch.setattr(worker, "adapters", lambda b: {b: lambda *given: runner})
    asked = worker.Worker("cuda", "rosenbrock", "cuda")
    asked.prepare()
    assert runner.log == ["call", "wait"] * 4
    runner.log.clear()
    asked.batch = 3
    (*_, last) = asked.time(0.0)["samples"]
    assert last > 0 and runner.log == ["call"] * 3 + ["wait"]
    assert asked.check()["error"] == np.inf  # one result, where two are wanted
    assert "result" in runner.log


def test_peers_on_a_device():
    from graphc.surfaces.bench import device_peers

    assert {"graphc", "cupy", "torch", "torch.compile", "jax"} == set(
        device_peers.ADAPTERS
    )
    assert device_peers.installed()[0] == "graphc"
    assert worker.adapters("cuda") == device_peers.ADAPTERS
    assert worker.adapters("cpu") == peers.ADAPTERS


def test_without_a_device_the_benchmark_says_so(capsys):
    from graphc.backends.cuda import device
    from graphc.types.errors import GraphcError

    try:
        device.current()
    except GraphcError:
        pass
    else:
        pytest.skip("there is a device")
    arguments = ["bench", "--backend", "cuda", "--workload", "rosenbrock", *TINY]
    assert main(arguments) == 1
    assert "the machine could not be measured" in capsys.readouterr().err


def test_the_table_is_written(tmp_path, capsys):
    out = tmp_path / "table.txt"
    arguments = ["bench", "--workload", "rosen*", "--peers", "numpy", *TINY]
    assert main([*arguments, "--table", str(out)]) == 0
    assert out.read_text() == capsys.readouterr().out
    assert main([*arguments, "--table", str(tmp_path / "no" / "file")]) == 1
