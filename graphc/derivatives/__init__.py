"""Derivatives: forward and reverse sweeps that build nodes, and what stands on them."""
