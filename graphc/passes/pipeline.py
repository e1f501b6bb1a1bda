"""The pipeline of passes."""
from __future__ import annotations
from graphc.graph.graph import Graph
def run_passes(graph: Graph) -> Graph:
    return graph
