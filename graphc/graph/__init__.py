"""The graph: immutable interned nodes, graphs, and orders of nodes."""
