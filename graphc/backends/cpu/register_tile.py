"""The register tile of matrix products: vectors, their parts, and the inner loop.

`micro` is the innermost loop of GotoBLAS and BLIS, a sum of outer products held in
registers; see `backends.cpu.gemm` for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from graphc.backends.cpu.llvm_function import FunctionWriter

DEPTH = 256
"""Steps of k for which panels are packed, about: a panel of B stays in the L1 cache."""

MOST_DEPTH = DEPTH + DEPTH // 4
"""The most: sums of 320 steps are not cut in two."""

ROWS_BYTES = 96 << 10
"""Bytes of A that a thread packs at a time, on its stack."""


@dataclass(frozen=True)
class Tile:
    """The registers' tile for a dtype on this machine.

    Attributes
    ----------
    kind : str
        LLVM's name of the element type.
    lanes : int
        Elements of a vector register.
    rows, vectors : int
        The tile is `rows` by ``vectors * lanes``.
    """

    kind: str
    lanes: int
    rows: int
    vectors: int

    @property
    def itemsize(self) -> int:
        return 4 if self.kind == "float" else 8

    @property
    def rows_packed(self) -> int:
        """Rows of A that a thread packs at a time, at most."""
        return ROWS_BYTES // (MOST_DEPTH * self.itemsize) // self.rows * self.rows


def letter(dtype: np.dtype) -> str:
    """Return the letter of a dtype, as in BLAS."""
    return {4: "s", 8: "d"}[dtype.itemsize]


@lru_cache(maxsize=2)
def tile(letter: str) -> Tile:
    """Return the tile of "s" or "d": as many accumulators as registers hold."""
    import llvmlite.binding as llvm

    features = dict(llvm.get_host_cpu_features())
    if features.get("avx512f"):
        bytes_, registers = 64, 32
    elif features.get("avx"):
        bytes_, registers = 32, 16
    else:
        bytes_, registers = 16, 32 if features.get("neon") else 16
    kind, itemsize = ("float", 4) if letter == "s" else ("double", 8)
    return Tile(kind, bytes_ // itemsize, 8 if registers == 32 else 4, 3)


MICROS = ("micro", "direct", "half")
"""Inner loops: of packed panels; of an A that is not packed; of half a tile's rows."""


def micro(t: Tile, width: int, kind: str = "micro") -> str:
    """Write a tile of C: ``c = a @ b``, or ``c += a @ b``, of packed panels.

    Panels are padded with zeros to whole tiles; of C, `rows` and `columns` are stored.
    For "direct", a is a table of pieces, one after the other along k: the address of each
    one's first element and its number of steps; `shift` elements later the tile begins.
    """
    vector, lanes = f"<{t.lanes} x {t.kind}>", t.lanes
    across, direct = width * lanes, kind == "direct"
    height = t.rows // 2 if kind == "half" else t.rows
    f = FunctionWriter(
        f"{kind}{width}",
        (
            "i64 %pieces, ptr noalias %a, i64 %shift, i64 %a_row, i64 %a_column, "
            if direct
            else "i64 %k, ptr noalias %a, "
        )
        + "ptr noalias %b, i64 %b_row, ptr noalias %c, i64 %c_row, "
        "i64 %rows, i64 %columns, i1 %add, i1 %subtract",
        "internal",
        "noinline ",
    )
    cells = [[f.local(vector, 64) for _ in range(width)] for _ in range(height)]
    for r, row in enumerate(cells):
        # the stores come last: by then the lines of C should be here
        start = f.element(t.kind, "%c", f.mul("%c_row", r))
        for v in range(0, width, max(1, 64 // (lanes * t.itemsize))):
            line = f.element(t.kind, start, v * lanes)
            f.do(f"call void @llvm.prefetch.p0(ptr {line}, i32 1, i32 3, i32 1)")
        for cell in row:
            f.store(f"{vector} zeroinitializer", cell)

    def step(left: Sequence[str], b: str) -> None:
        """Add the outer product of a column of A, its elements' places, and a row."""
        right = [
            f.load(vector, f.element(t.kind, b, v * lanes), t.itemsize)
            for v in range(width)
        ]
        for place, row in zip(left, cells):
            element = splat(f, t, f.load(t.kind, place))
            for v, cell in enumerate(row):
                old = f.load(vector, cell)
                new = f(
                    f"call {vector} @llvm.fmuladd.v{lanes}f{8 * t.itemsize}"
                    f"({vector} {element}, {vector} {right[v]}, {vector} {old})"
                )
                f.store(f"{vector} {new}", cell)

    if direct:
        before = f.local("i64")
        f.store("i64 0", before)
        with f.loop(0, "%pieces") as piece:
            entry = f.element("i64", "%a", f.mul(piece, 2))
            start = f.element(t.kind, f.load("ptr", entry), "%shift")
            steps = f.word(entry, 1)
            rows = [f.element(t.kind, start, f.mul("%a_row", r)) for r in range(height)]
            done = f.load("i64", before)
            from_b = f.element(t.kind, "%b", f.mul(done, "%b_row"))
            with f.loop(0, steps) as k:
                along = f.mul(k, "%a_column")
                places = [f.element(t.kind, row, along) for row in rows]
                step(places, f.element(t.kind, from_b, f.mul(k, "%b_row")))
            f.store(f"i64 {f.add(done, steps)}", before)
    else:
        with f.loop(0, "%k") as k:
            column = f.element(t.kind, "%a", f.mul(k, t.rows))
            places = [f.element(t.kind, column, r) for r in range(height)]
            step(places, f.element(t.kind, "%b", f.mul(k, "%b_row")))
    every = [cell for row in cells for cell in row]
    with f.when("%subtract"):
        for cell in every:
            f.store(f"{vector} {f(f'fneg {vector}', f.load(vector, cell))}", cell)
    whole = f(
        "and i1",
        f.compare("eq", "%rows", height),
        f.compare("eq", "%columns", across),
    )
    with f.when(whole):
        starts = [f.element(t.kind, "%c", f.mul("%c_row", r)) for r in range(height)]
        places = [f.element(t.kind, s, v * lanes) for s in starts for v in range(width)]
        with f.when("%add"):
            for cell, place in zip(every, places):
                old = f.load(vector, place, t.itemsize)
                new = f(f"fadd {vector}", old, f.load(vector, cell))
                f.store(f"{vector} {new}", cell)
        for cell, place in zip(every, places):
            f.store(f"{vector} {f.load(vector, cell)}", place, t.itemsize)
    with f.unless(whole):
        held = f.local(f"[{height * across} x {t.kind}]", 64)
        for number, cell in enumerate(every):
            place = f.element(t.kind, held, number * lanes)
            f.store(f"{vector} {f.load(vector, cell)}", place)
        f.do(
            f"call void @part(ptr {held}, i64 {across}, ptr %c, i64 %c_row, i64 %rows, "
            "i64 %columns, i1 %add)"
        )
    return f.text()


def part(t: Tile) -> str:
    """Write part of a tile of C from memory, whose rows are `across` apart.

    It is a function of its own, in loops: written out in each micro, for each of its
    registers, it was most of their code.
    """
    vector, lanes = f"<{t.lanes} x {t.kind}>", t.lanes
    f = FunctionWriter(
        "part",
        "ptr noalias %tile, i64 %across, ptr noalias %c, i64 %c_row, i64 %rows, "
        "i64 %columns, i1 %add",
        "internal",
        "noinline ",
    )
    new = f.local(vector, 64)
    with f.loop(0, "%rows") as r:
        line = f.element(t.kind, "%tile", f.mul(r, "%across"))
        start = f.element(t.kind, "%c", f.mul(r, "%c_row"))
        with f.loop(0, "%columns", lanes) as v:
            mask = mask_of(f, t, lanes, f.sub("%columns", v), 0)
            place = f.element(t.kind, start, v)
            value = f.load(vector, f.element(t.kind, line, v))
            f.store(f"{vector} {value}", new)
            with f.when("%add"):
                old = masked_load(f, t, lanes, place, mask)
                f.store(f"{vector} {f(f'fadd {vector}', old, value)}", new)
            masked_store(f, t, lanes, f.load(vector, new), place, mask)
    return f.text()


def splat(f: FunctionWriter, t: Tile, value: str) -> str:
    """Return a vector of one number."""
    vector = f"<{t.lanes} x {t.kind}>"
    one = f(f"insertelement {vector} undef, {t.kind} {value}, i32 0")
    mask = f"<{t.lanes} x i32> zeroinitializer"
    return f(f"shufflevector {vector} {one}, {vector} undef, {mask}")


def declare_masked(t: Tile, lanes: int) -> str:
    """Declare loads and stores of some lanes of a vector."""
    vector, mask = f"<{lanes} x {t.kind}>", f"<{lanes} x i1>"
    suffix = f"v{lanes}f{8 * t.itemsize}.p0"
    return (
        f"declare {vector} @llvm.masked.load.{suffix}(ptr, i32, {mask}, {vector})\n"
        f"declare void @llvm.masked.store.{suffix}({vector}, ptr, i32, {mask})"
    )


def mask_of(f: FunctionWriter, t: Tile, lanes: int, count: str, first: int) -> str:
    """Return which of the lanes `first`, `first` + 1, ... are among the first `count`."""
    kind = f"<{lanes} x i32>"
    number = f("trunc i64", f"{count} to i32")
    one = f(f"insertelement {kind} undef, i32 {number}, i32 0")
    every = f(f"shufflevector {kind} {one}, {kind} undef, {kind} zeroinitializer")
    places = ", ".join(f"i32 {first + lane}" for lane in range(lanes))
    return f(f"icmp slt {kind} <{places}>, {every}")


def masked_load(f: FunctionWriter, t: Tile, lanes: int, place: str, mask: str) -> str:
    """Return lanes of a vector in memory, zero where a mask is false."""
    vector = f"<{lanes} x {t.kind}>"
    return f(
        f"call {vector} @llvm.masked.load.v{lanes}f{8 * t.itemsize}.p0(ptr {place}, "
        f"i32 {t.itemsize}, <{lanes} x i1> {mask}, {vector} zeroinitializer)"
    )


def masked_store(
    f: FunctionWriter, t: Tile, lanes: int, value: str, place: str, mask: str
) -> None:
    """Store the lanes of a vector where a mask is true."""
    f.do(
        f"call void @llvm.masked.store.v{lanes}f{8 * t.itemsize}.p0(<{lanes} x {t.kind}>"
        f" {value}, ptr {place}, i32 {t.itemsize}, <{lanes} x i1> {mask})"
    )
