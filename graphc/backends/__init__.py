"""Backends: the reference interpreter, and the CPU."""
