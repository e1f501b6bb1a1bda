"""Random graphs and their gradients on the CPU against the interpreter.

``GRAPHC_RANDOM_GRAPHS=2000`` runs that many instead of a few; ``GRAPHC_RANDOM_FIRST``
is the first seed.
"""

from __future__ import annotations

import os

import pytest

import graphc as cg
from graphc.backends.reference import run
from graphc.graph.graph import Graph
from tests.support.cpu import assert_close
from tests.support.random_graphs import random_graph

COUNT = int(os.environ.get("GRAPHC_RANDOM_GRAPHS", "24"))
FIRST = int(os.environ.get("GRAPHC_RANDOM_FIRST", "0"))
LOOSE = {"float32": 2e-3, "float64": 1e-8}
"""Long chains amplify rounding; a wrong index or a lost term does not look like it."""


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_random_graph(seed):
    graph = random_graph(seed, gradients=seed % 3 == 0)
    function = cg.compile(graph.inputs, graph.outputs)
    for arrays in graph.calls:
        try:
            wanted = run(Graph(graph.inputs, graph.outputs), arrays)
        except cg.GraphcError as error:  # a size for which the graph has no meaning
            with pytest.raises(type(error)):
                function(*arrays)
            continue
        for node, got, expected in zip(graph.outputs, function(*arrays), wanted):
            rtol = LOOSE.get(got.dtype.name)
            assert_close(got, expected, f"seed {seed}, {node!r}", rtol, 1.0)
