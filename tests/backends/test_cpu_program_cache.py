"""Whole programs on disk: what a second process leaves out, and when it must not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.processes import run_script

import graphc as cg
from graphc.backends.cpu import program_cache
from graphc.graph.graph import Graph
from graphc.types.config import config

SCRIPT = """
    import json, sys, warnings
    import numpy as np
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        import graphc as cg
        x = cg.tensor("x", ("n", 4))
        w = cg.tensor("w", (4, "k"), dtype="float64")
        table = cg.constant(np.arange(12.0).reshape(4, 3))
        loss = (cg.tanh(x @ w) ** 2).sum() + (x @ table).sum()
        f = cg.compile([x, w], {"loss": loss, "dw": cg.grad(loss, w)})
        scheduled = "graphc.schedule.program" in sys.modules
        results = f(np.full((5, 4), 0.1), np.full((4, 2), 0.3))
        two = f(np.full((5, 4), 0.1), np.full((4, 2), 0.3), threads=2)
        try:
            f(np.ones((5, 3)), np.ones((4, 2)))
        except cg.ShapeError as error:
            message = str(error)
        out = {"loss": np.zeros(()), "dw": np.zeros((4, 2))}
        f(np.full((5, 4), 0.1), np.full((4, 2), 0.3), out=out)
        strided = f(np.full((4, 5), 0.1).T, np.full((2, 4), 0.3).T)
        late = "graphc.schedule.program" in sys.modules
    from graphc.backends.cpu import cache
    before = dict(cache.counts)
    print(json.dumps({
        "compiled": cache.counts["compiled"],
        "scheduled": scheduled,
        "late": late,
        "results": [
            a[k].tobytes().hex() for a in (results, two, out, strided)
            for k in ("loss", "dw")
        ],
        "message": message,
        "kernels": [k.fuses for k in f.kernels],
        "memory": str(f.memory),
        "warnings": [str(w.message) for w in seen],
    }))
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def answer(folder, script=SCRIPT, **environment):
    return json.loads(run_script(script, folder, **environment))


def test_a_second_process_neither_compiles_nor_schedules(folder):
    first, second = answer(folder), answer(folder)
    assert first["scheduled"] and first["compiled"] > 3
    assert not second["scheduled"] and not second["late"] and not second["compiled"]
    for what in ("results", "message", "kernels", "memory", "warnings"):
        assert first[what] == second[what], what
    assert not first["warnings"] and "x" in first["message"]
    wanted = first["results"][:2]
    assert first["results"] == wanted * 4


@pytest.mark.parametrize("damage", ["truncated", "empty", "kernels gone"])
def test_a_damaged_program_is_compiled_again(folder, damage):
    first = answer(folder)
    (program,) = folder.glob("*/*.program")
    if damage == "kernels gone":
        for path in folder.glob("*/*.o"):
            path.unlink()
    else:
        content = program.read_bytes()
        program.write_bytes(content[: len(content) // 2] if damage[0] == "t" else b"")
    second = answer(folder)
    assert second["scheduled"] and second["results"] == first["results"]
    warned = [w for w in second["warnings"] if "damaged" in w]
    assert len(warned) == (damage != "kernels gone")
    assert not answer(folder)["scheduled"]


def test_checks_and_listings_are_not_left_out(folder):
    answer(folder)
    assert answer(folder, GRAPHC_CHECK="1")["scheduled"]
    assert answer(folder, GRAPHC_DEBUG="0")["scheduled"] is False
    assert answer(folder, GRAPHC_CHANGE_ROUNDING="1")["scheduled"]


def keys(*graphs):
    with config(cache_dir="somewhere"):
        return [program_cache.key_of(g, "") for g in graphs]


def test_what_the_key_tells_apart():
    x, y = cg.vector("x", 3), cg.vector("x", 3, dtype="float32")
    n, m = cg.vector("x", "n"), cg.vector("x", "m")
    a, b = cg.vector("a", 3), cg.vector("b", 3)
    graphs = [
        Graph([x], [x + 1.0]),
        Graph([x], [x + 1.5]),
        Graph([x], [x + 0.0]),
        Graph([x], [x + -0.0]),
        Graph([x], [x * 1.0]),
        Graph([y], [y + 1.0]),
        Graph([n], [n + 1.0]),
        Graph([m], [m + 1.0]),
        Graph([a, b], [a - b]),
        Graph([b, a], [a - b]),
        Graph([a, b], [a - b, a]),
        Graph([a, b], [a, a - b]),
        Graph([x], [x[:2]]),
        Graph([x], [x[1:]]),
        Graph([x], [x + np.array([1.0, 2.0, 3.0])]),
        Graph([x], [x + np.array([1.0, 2.0, 4.0])]),
        Graph([x], [x.sum()]),
        Graph([x], [x.sum(keepdims=True)]),
    ]
    found = keys(*graphs)
    assert None not in found and len(set(found)) == len(graphs)


def test_names_and_places_of_nodes_do_not_matter():
    a, b = cg.vector("a", 3), cg.vector("b", 3)
    one, other = keys(Graph([a], [cg.sin(a)]), Graph([b], [cg.sin(b)]))
    assert one == other


def test_compilation_settings_are_part_of_the_key():
    x = cg.vector("x", 3)
    graph = Graph([x], [x + 1])
    with config(cache_dir="somewhere"):
        assert program_cache.key_of(graph, "a") != program_cache.key_of(graph, "b")
    with config(cache_dir="off"):
        assert program_cache.key_of(graph, "a") is None


def test_large_constants_are_not_kept_twice(folder):
    script = """
        import json
        import numpy as np
        import graphc as cg
        x = cg.vector("x", 300_000)
        f = cg.compile([x], x + np.arange(300_000.0))
        print(json.dumps(f(np.zeros(300_000)).sum()))
    """
    assert answer(folder, script) == answer(folder, script) == sum(range(300_000))
    assert not list(folder.glob("*/*.program"))
