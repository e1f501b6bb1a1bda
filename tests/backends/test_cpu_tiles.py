"""Products with the register tiles of other machines than this one."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import numpy as np
from graphc.backends.cpu import register_tile
lanes_bytes, rows = int(sys.argv[1]), int(sys.argv[2])

def tile(letter):
    kind, itemsize = ("float", 4) if letter == "s" else ("double", 8)
    return register_tile.Tile(kind, lanes_bytes // itemsize, rows, 3)

# before anything else takes it by name
register_tile.tile = tile
import graphc as cg

rng = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    a, b = cg.matrix("a", dtype=dtype), cg.matrix("b", dtype=dtype)
    for left, right in ((a, b), (a.T, b), (a, b.T), (a.T, b.T)):
        f = cg.compile([a, b], left @ right)
        for m, n, k in (
            (1, 7, 5), (9, 13, 17), (8, 48, 16), (23, 31, 40), (70, 65, 700),
            (5, 6, 9), (33, 3, 19), (4, 4, 4), (64, 6, 6), (40, 50, 11),
        ):
            x = rng.standard_normal((m, k)).astype(dtype)
            y = rng.standard_normal((k, n)).astype(dtype)
            given = (
                np.ascontiguousarray(x.T) if left is not a else x,
                np.ascontiguousarray(y.T) if right is not b else y,
            )
            size = 1e-5 if dtype == "float32" else 1e-13
            assert np.abs(f(*given) - x @ y).max() < size * k**0.5 * 4, (m, n, k)
    if dtype == "float64":
        f = cg.compile([a], cg.linalg.cholesky(a @ a.T + 60 * cg.eye(50)))
        x = rng.standard_normal((50, 50))
        expected = np.linalg.cholesky(x @ x.T + 60 * np.eye(50))
        assert np.abs(f(x) - expected).max() < 1e-11
print("all agree")
"""


@pytest.mark.parametrize(
    "bytes_, rows",
    [(16, 4), (16, 8), (32, 4), (64, 8)],
    ids=["sse", "neon", "avx", "avx512"],
)
def test_products_with_tiles_of_other_machines(bytes_, rows):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(bytes_), str(rows)],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "all agree", done.stderr[-2000:]
