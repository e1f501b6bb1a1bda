"""From a graph to a program: fusion into kernels, their order, and buffers."""
