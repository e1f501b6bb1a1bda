"""Which calls are captured as a CUDA graph, and which are replayed."""

from __future__ import annotations

from graphc.backends.cuda.graphs import MOST_GRAPHS, SEEN_BEFORE, CapturedGraphs


class Device:
    simulated = False


class Graph:
    def __init__(self, log, bases):
        self.log, self.bases = log, tuple(bases)

    def launch(self):
        self.log.append(("launch", self.bases))


class Run:
    """Steps that note whether they run, are captured, or are replayed."""

    def __init__(self, capturable=True):
        self.log = []
        self.capturable = capturable

    def __call__(self, bases):
        self.log.append(("run", tuple(bases)))

    def capture(self, bases):
        self.log.append(("capture", tuple(bases)))
        return Graph(self.log, bases) if self.capturable else None

    def kinds(self):
        return [kind for kind, _ in self.log]


def calls(graphs, run, *sets, device=Device):
    for bases in sets:
        graphs.run(run, bases, bases, device)


def test_a_call_that_repeats_is_replayed():
    graphs, run = CapturedGraphs(), Run()
    calls(graphs, run, *[(1, 2)] * (SEEN_BEFORE + 4))
    assert run.kinds() == ["run"] * SEEN_BEFORE + ["capture"] + ["launch"] * 4
    assert graphs.replayed == 3


def test_arrays_that_take_turns_have_a_graph_each():
    graphs, run = CapturedGraphs(), Run()
    calls(graphs, run, *[(1, 2), (1, 3)] * (SEEN_BEFORE + 3))
    assert run.kinds().count("capture") == 2
    last = run.log[-4:]
    assert [b for _, b in last] == [(1, 2), (1, 3)] * 2
    assert {k for k, _ in last} == {"launch"}


def test_calls_that_never_repeat_run_step_by_step():
    graphs, run = CapturedGraphs(), Run()
    calls(graphs, run, *[(i, 2) for i in range(500)])
    assert run.kinds() == ["run"] * 500
    assert len(graphs._seen) < 100  # what is remembered is bounded


def test_few_graphs_are_kept_the_latest_used():
    graphs, run = CapturedGraphs(), Run()
    for i in range(MOST_GRAPHS + 1):
        calls(graphs, run, *[(i,)] * (SEEN_BEFORE + 1))
    run.log.clear()
    calls(graphs, run, (MOST_GRAPHS,), (1,), (0,))
    assert run.kinds() == ["launch", "launch", "run"]


def test_what_cannot_be_captured_is_not_tried_again():
    graphs, run = CapturedGraphs(), Run(capturable=False)
    calls(graphs, run, *[(1,)] * 6)
    assert run.kinds().count("capture") == 1
    assert run.kinds().count("run") == 6


def test_the_simulator_has_no_graphs():
    class Simulated(Device):
        simulated = True

    graphs, run = CapturedGraphs(), Run()
    calls(graphs, run, *[(1,)] * 6, device=Simulated)
    assert run.kinds() == ["run"] * 6
