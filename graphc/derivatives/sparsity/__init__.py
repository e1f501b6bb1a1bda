"""Sparse derivatives: structure, colouring, compressed evaluation."""
