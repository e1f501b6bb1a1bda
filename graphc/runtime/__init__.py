"""Compiling graphs to functions, and calling them."""
