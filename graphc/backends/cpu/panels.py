"""Packing of operands of matrix products into panels, whatever their strides."""

from __future__ import annotations

from contextlib import nullcontext

from graphc.backends.cpu.llvm_function import FunctionWriter
from graphc.backends.cpu.register_tile import Tile, mask_of, masked_load

SIDE = 4
"""Lanes and steps that are transposed in registers at a time, where panels have them."""


def part_of(t: Tile) -> int:
    """Return the lanes that packing moves at a time: all panels' are multiples."""
    return min(t.rows, t.lanes)


def side_of(t: Tile) -> int:
    """Return the lanes and steps that are transposed in registers at a time."""
    return min(SIDE, part_of(t))


def pack(t: Tile) -> str:
    """Pack a panel: ``to[k, lane] = x[lane * across + k * along]``, padded with zeros.

    Its `lanes` are a multiple of `part_of`. They are counted in loops: written out for
    each width, packing was half of a product's code.
    """
    part = part_of(t)
    f = FunctionWriter(
        "panel",
        "ptr noalias %x, i64 %across, i64 %along, i64 %count, i64 %k, ptr noalias %to, "
        "i64 %lanes",
        "internal",
        "noinline ",
    )
    row = f"<{part} x {t.kind}>"
    full = f.compare("eq", "%count", "%lanes")
    beside = f.compare("eq", "%across", 1)
    with f.when(f("and i1", full, beside)), f.loop(0, "%k") as k:
        start = f.element(t.kind, "%x", f.mul(k, "%along"))
        to = f.element(t.kind, "%to", f.mul(k, "%lanes"))
        with f.loop(0, "%lanes", part) as first:
            values = f.load(row, f.element(t.kind, start, first), t.itemsize)
            f.store(f"{row} {values}", f.element(t.kind, to, first), t.itemsize)
    with f.when(f("and i1", f("xor i1", full, "true"), beside)):
        with f.loop(0, "%k") as k:
            start = f.element(t.kind, "%x", f.mul(k, "%along"))
            to = f.element(t.kind, "%to", f.mul(k, "%lanes"))
            with f.loop(0, "%lanes", part) as first:
                mask = mask_of(f, t, part, f.sub("%count", first), 0)
                here = f.beside(t.kind, start, first)
                values = masked_load(f, t, part, here, mask)
                place = f.element(t.kind, to, first)
                f.store(f"{row} {values}", place, t.itemsize)
    deep = f("and i1", full, f.compare("eq", "%along", 1))
    side = side_of(t)
    even = f.select(deep, f("and i64", "%k", -side), 0)
    even = f.select(beside, "%k", even)
    with f.when(f("xor i1", beside, "true")), f.loop(0, even, side) as k:
        with f.loop(0, "%lanes", side) as first:
            _transpose(f, t, first, side, k)
    rest = f.select(f("and i1", deep, f.compare("ne", "%across", 1)), "%k", even)
    rest = f.sub(rest, even)
    with f.when(f.compare("sgt", rest, 0)):
        with f.loop(0, "%lanes", side) as first:
            _transpose(f, t, first, side, even, rest)
    even = f.add(even, rest)
    with f.loop(even, "%k") as k:
        start = f.element(t.kind, "%x", f.mul(k, "%along"))
        to = f.element(t.kind, "%to", f.mul(k, "%lanes"))
        with f.loop(0, "%count") as lane:
            value = f.load(t.kind, f.element(t.kind, start, f.mul(lane, "%across")))
            f.store(f"{t.kind} {value}", f.element(t.kind, to, lane))
        with f.loop("%count", "%lanes") as lane:
            f.store(f"{t.kind} 0.0", f.element(t.kind, to, lane))
    return f.text()


def _transpose(
    f: FunctionWriter, t: Tile, first: str, side: int, k: str, steps: str = ""
) -> None:
    """Copy `side` lanes by as many steps, or fewer, transposed in registers."""
    one = f"<{side} x {t.kind}>"
    parts = []
    mask = mask_of(f, t, side, steps, 0) if steps else ""
    for lane in range(side):
        at = f.add(f.mul("%across", f.add(first, lane)), k)
        start = f.element(t.kind, "%x", at)
        if steps:
            parts.append((one, masked_load(f, t, side, start, mask)))
        else:
            parts.append((one, f.load(one, start, t.itemsize)))
    length = side
    while len(parts) > 1:
        kind = parts[0][0]
        wide = f"<{2 * length} x {t.kind}>"
        mask = ", ".join(f"i32 {i}" for i in range(2 * length))
        parts = [
            (
                wide,
                f(
                    f"shufflevector {kind} {a}, {kind} {b}, <{2 * length} x i32> <{mask}>"
                ),
            )
            for (_, a), (_, b) in zip(parts[::2], parts[1::2])
        ]
        length *= 2
    kind, square = parts[0]
    for step in range(side):
        mask = ", ".join(f"i32 {lane * side + step}" for lane in range(side))
        turned = f(
            f"shufflevector {kind} {square}, {kind} undef, <{side} x i32> <{mask}>"
        )
        place = f.add(f.mul(f.add(k, step), "%lanes"), first)
        with f.when(f.compare("sgt", steps, step)) if steps else nullcontext():
            f.store(f"{one} {turned}", f.element(t.kind, "%to", place), t.itemsize)
