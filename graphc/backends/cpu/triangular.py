"""Triangular solves with many right-hand sides, by recursion into products.

The functions are part of the code of `factorize`. They take a triangle of any strides
and rows of right-hand sides, and leave the solutions in their place.
"""

from __future__ import annotations

from graphc.backends.cpu import gemm, register_tile
from graphc.backends.cpu.llvm_function import FunctionWriter
from graphc.backends.cpu.register_tile import Tile
from graphc.schedule.product import LANES

BASE = 32
"""Rows that are not halved any more."""

STRIP = 4
"""Vectors of a row that are solved for at a time: their sums wait for one another less
than one vector's would."""

FEW = 4
"""Columns up to which a solve is bound by reading the triangle."""

NARROWEST = 64
"""Columns that are worth packing the triangle for."""

GRAIN = 1 << 16
"""Operations that are worth another chunk."""


def functions(t: Tile, letter: str) -> list[str]:
    """Return the LLVM code of what this module is for: `share`, and what it calls."""
    return [
        _subtract(t, letter),
        _copy(t),
        _fill(t),
        *(_strip(t, width) for width in (1, STRIP)),
        _vector(t),
        _solve_base(t),
        _solve(t),
        _columns(t),
        _share(t),
    ]


class Rows:
    """Vectors of parts of rows, and scalars, in the code of one function."""

    def __init__(self, f: FunctionWriter, t: Tile):
        self.f = f
        self.t = t
        self.vector = f"<{t.lanes} x {t.kind}>"

    def at(self, x: str, *offset: str) -> str:
        """Return the place at the sum of some offsets, which may be negative."""
        f = self.f
        total = offset[0]
        for part in offset[1:]:
            total = f.add(total, part)
        return f.beside(self.t.kind, x, total)

    def number(self, place: str) -> str:
        return self.f.load(self.t.kind, place, self.t.itemsize)

    def put(self, value: str, place: str) -> None:
        self.f.store(f"{self.t.kind} {value}", place, self.t.itemsize)

    def mask(self, count: str) -> str:
        """Return which lanes are among the first `count`."""
        return register_tile.mask_of(self.f, self.t, self.t.lanes, count, 0)

    def load(self, place: str, mask: str) -> str:
        return register_tile.masked_load(self.f, self.t, self.t.lanes, place, mask)

    def store(self, value: str, place: str, mask: str) -> None:
        register_tile.masked_store(self.f, self.t, self.t.lanes, value, place, mask)

    def splat(self, value: str) -> str:
        return register_tile.splat(self.f, self.t, value)

    def add_product(self, total: str, factor: str, row: str) -> str:
        """Return ``total + factor * row``; for a difference the factor is negated."""
        t, v = self.t, self.vector
        return self.f(
            f"call {v} @llvm.fmuladd.v{t.lanes}f{8 * t.itemsize}"
            f"({v} {factor}, {v} {row}, {v} {total})"
        )

    def negative(self, value: str) -> str:
        return self.f(f"fneg {self.t.kind}", value)


ROOM = "ptr %packed, i64 %room"


def _subtract(t: Tile, letter: str) -> str:
    """``c -= a @ b``."""
    f = FunctionWriter(
        "subtract",
        "i64 %threads, ptr %c, i64 %c_row, i64 %m, i64 %n, i64 %k, ptr %a, i64 %a_row, "
        f"i64 %a_column, ptr %b, i64 %b_row, {ROOM}",
        "internal",
        "noinline ",
    )
    count = len(gemm.WORDS)
    words = f.local(f"[{count + 2} x i64]", 64)
    given = {
        **{name: f"%{name}" for name in ("m", "n", "k", "a_row", "a_column", "b_row")},
        **{name: f("ptrtoint ptr", f"%{name} to i64") for name in ("c", "packed")},
        **{"b_column": 1, "c_row": "%c_row", "room": "%room", "axes": 0},
        **{"piece": f.max("%k", 1), "subtract": 1, "outer": 0, "straight": 1},
    }
    for number, name in enumerate(gemm.WORDS):
        f.store(f"i64 {given[name]}", f.element("i64", words, number))
    for number, name in enumerate(("a", "b")):
        address = f("ptrtoint ptr", f"%{name} to i64")
        f.store(f"i64 {address}", f.element("i64", words, count + number))
    f.do(f"call void @graphc_product_{letter}(i64 %threads, ptr {words})")
    return f.text()


def _copy(t: Tile) -> str:
    """Copy rows unless they are there already."""
    f = FunctionWriter(
        "copy",
        "i64 %rows, i64 %columns, ptr %x, i64 %x_row, ptr %to, i64 %to_row",
        "internal",
        "noinline ",
    )
    r = Rows(f, t)
    with (
        f.when(f("icmp ne ptr", "%x", "%to")),
        f.loop(0, "%rows") as i,
        f.loop(0, "%columns", t.lanes) as j,
    ):
        mask = r.mask(f.sub("%columns", j))
        value = r.load(r.at("%x", f.mul(i, "%x_row"), j), mask)
        r.store(value, r.at("%to", f.mul(i, "%to_row"), j), mask)
    return f.text()


def _fill(t: Tile) -> str:
    """Fill rows with NaN."""
    f = FunctionWriter(
        "fill", "i64 %rows, i64 %columns, ptr %x, i64 %x_row", "internal", "noinline "
    )
    r = Rows(f, t)
    with f.loop(0, "%rows") as i, f.loop(0, "%columns") as j:
        r.put("0x7FF8000000000000", r.at("%x", f.mul(i, "%x_row"), j))
    return f.text()


# ----------------------------------------------------------------- triangular solve

_TRIANGLE = "i64 %n, i64 %k, ptr %t, i64 %t_row, i64 %t_col, ptr %x, i64 %x_row"


def _strip(t: Tile, width: int) -> str:
    """Solve ``T X = X`` by substitution for up to `width` vectors of columns of X."""
    f = FunctionWriter(
        f"strip{width}", f"{_TRIANGLE}, i1 %unit", "internal", "noinline "
    )
    r = Rows(f, t)
    masks = [
        register_tile.mask_of(f, t, t.lanes, "%k", v * t.lanes) for v in range(width)
    ]
    sums = [f.local(r.vector, 64) for _ in range(width)]
    with f.loop(0, "%n") as i:
        own = r.at("%x", f.mul(i, "%x_row"))
        for v, (total, mask) in enumerate(zip(sums, masks)):
            value = r.load(r.at(own, str(v * t.lanes)), mask)
            f.store(f"{r.vector} {value}", total)
        row = r.at("%t", f.mul(i, "%t_row"))
        with f.loop(0, i) as p:
            factor = r.number(r.at(row, f.mul(p, "%t_col")))
            factor = r.splat(r.negative(factor))
            other = r.at("%x", f.mul(p, "%x_row"))
            for v, (total, mask) in enumerate(zip(sums, masks)):
                value = r.load(r.at(other, str(v * t.lanes)), mask)
                value = r.add_product(f.load(r.vector, total), factor, value)
                f.store(f"{r.vector} {value}", total)
        with f.unless("%unit"):
            pivot = r.splat(r.number(r.at(row, f.mul(i, "%t_col"))))
            for total in sums:
                value = f(f"fdiv {r.vector}", f.load(r.vector, total), pivot)
                f.store(f"{r.vector} {value}", total)
        for v, (total, mask) in enumerate(zip(sums, masks)):
            r.store(f.load(r.vector, total), r.at(own, str(v * t.lanes)), mask)
    return f.text()


def _vector(t: Tile) -> str:
    """Solve ``T x = x`` for one vector, by rows or columns of T that lie as it does.

    Steps of -1 are those of a solve from the last row to the first: what is read lies
    beside each other, from the other end on.
    """
    f = FunctionWriter("vector", f"{_TRIANGLE}, i1 %unit", "internal", "noinline ")
    r = Rows(f, t)
    by_rows = f.compare("eq", "%t_col", "%x_row")
    by_columns = f("xor i1", by_rows, "true")
    forwards = f.compare("eq", "%x_row", 1)
    total = f.local(r.vector, 64)
    with f.loop(0, "%n") as i:
        own = r.at("%x", f.mul(i, "%x_row"))
        row = r.at("%t", f.mul(i, "%t_row"))
        diagonal = r.at(row, f.mul(i, "%t_col"))
        with f.when(by_rows):
            f.store(f"{r.vector} zeroinitializer", total)
            back = f.select(forwards, 0, f.sub(1, i))
            left, right = r.at(row, back), r.at("%x", back)
            with f.loop(0, i, t.lanes) as p:
                mask = r.mask(f.sub(i, p))
                one, other = r.load(r.at(left, p), mask), r.load(r.at(right, p), mask)
                value = r.add_product(f.load(r.vector, total), one, other)
                f.store(f"{r.vector} {value}", total)
            value = f(
                f"call reassoc {t.kind} @llvm.vector.reduce.fadd."
                f"v{t.lanes}f{8 * t.itemsize}({t.kind} -0.0, "
                f"{r.vector} {f.load(r.vector, total)})"
            )
            r.put(f(f"fsub {t.kind}", r.number(own), value), own)
        with f.unless("%unit"):
            r.put(f(f"fdiv {t.kind}", r.number(own), r.number(diagonal)), own)
        with f.when(by_columns):
            factor = r.splat(r.negative(r.number(own)))
            count = f.sub(f.sub("%n", i), 1)
            first = f.select(forwards, 1, f.sub(0, count))
            column, rest = r.at(diagonal, first), r.at(own, first)
            with f.loop(0, count, t.lanes) as p:
                mask = r.mask(f.sub(count, p))
                place = r.at(rest, p)
                value = r.load(r.at(column, p), mask)
                r.store(r.add_product(r.load(place, mask), factor, value), place, mask)
    return f.text()


def _solve_base(t: Tile) -> str:
    """Solve ``T X = X`` by substitution."""
    f = FunctionWriter("base", f"{_TRIANGLE}, i1 %unit", "internal", "noinline ")
    whole = STRIP * t.lanes
    with f.loop(0, "%k", whole) as j:
        count = f.min(f.sub("%k", j), whole)
        x = f.beside(t.kind, "%x", j)
        few = f.compare("sle", count, t.lanes)
        for width, fits in ((1, few), (STRIP, f("xor i1", few, "true"))):
            with f.when(fits):
                f.do(
                    f"call void @strip{width}(i64 %n, i64 {count}, ptr %t, i64 %t_row, "
                    f"i64 %t_col, ptr {x}, i64 %x_row, i1 %unit)"
                )
    return f.text()


def halved(f: FunctionWriter, n: str, base: int) -> tuple[str, str]:
    """Return the parts of `n`, more than `base`: the first a multiple of it."""
    first = f.mul(f.div(f.add(n, 2 * base - 1), 2 * base), base)
    return first, f.sub(n, first)


def _solve(t: Tile) -> str:
    """Solve ``T X = X``, T lower triangular, of any strides."""
    f = FunctionWriter(
        "solve", f"i64 %threads, {_TRIANGLE}, i1 %unit, {ROOM}", "internal"
    )
    r = Rows(f, t)
    few = f("or i1", f.compare("sle", "%n", BASE), f.compare("sle", "%k", FEW))
    beside = f("or i1", *(f.compare("eq", s, "%x_row") for s in ("%t_row", "%t_col")))
    vector = f("and i1", f.compare("eq", "%k", 1), beside)
    vector = f("and i1", vector, f.compare("eq", f.mul("%x_row", "%x_row"), 1))
    for name, holds in (("vector", vector), ("base", f("xor i1", vector, "true"))):
        with f.when(f("and i1", few, holds)):
            f.do(
                f"call void @{name}(i64 %n, i64 %k, ptr %t, i64 %t_row, i64 %t_col, "
                "ptr %x, i64 %x_row, i1 %unit)"
            )
    with f.unless(few):
        n1, n2 = halved(f, "%n", BASE)
        below = r.at("%x", f.mul(n1, "%x_row"))
        left = r.at("%t", f.mul(n1, "%t_row"))
        corner = r.at(left, f.mul(n1, "%t_col"))

        def part(n: str, corner: str, x: str) -> None:
            f.do(
                f"call void @solve(i64 %threads, i64 {n}, i64 %k, ptr {corner}, "
                f"i64 %t_row, i64 %t_col, ptr {x}, i64 %x_row, i1 %unit, {ROOM})"
            )

        part(n1, "%t", "%x")
        f.do(
            f"call void @subtract(i64 %threads, ptr {below}, i64 %x_row, i64 {n2}, "
            f"i64 %k, i64 {n1}, ptr {left}, i64 %t_row, i64 %t_col, ptr %x, "
            f"i64 %x_row, {ROOM})"
        )
        part(n2, corner, below)
    return f.text()


_SHARED = (*("n", "k", "t", "t_row", "t_col", "x", "x_row", "unit"),) + (
    *("packed", "room", "width"),
)
"""The words of a solve whose columns are shared among threads."""


def _columns(t: Tile) -> str:
    """Solve for parts lo to hi of the columns, each in one thread."""
    f = FunctionWriter(
        "columns", "i64 %lo, i64 %hi, i64 %chunk, ptr %words", "internal"
    )
    w = {word: f.word("%words", number) for number, word in enumerate(_SHARED)}
    for word in ("t", "x", "packed"):
        w[word] = f(f"inttoptr i64 {w[word]} to ptr")
    unit = f.compare("ne", w["unit"], 0)
    with f.loop("%lo", "%hi") as part:
        first = f.mul(part, w["width"])
        count = f.min(f.sub(w["k"], first), w["width"])
        x = f.beside(t.kind, w["x"], first)
        packed = f.element(t.kind, w["packed"], f.mul(part, w["room"]))
        f.do(
            f"call void @solve(i64 1, i64 {w['n']}, i64 {count}, ptr {w['t']}, "
            f"i64 {w['t_row']}, i64 {w['t_col']}, ptr {x}, i64 {w['x_row']}, "
            f"i1 {unit}, ptr {packed}, i64 {w['room']})"
        )
    return f.text()


def _share(t: Tile) -> str:
    """Solve ``T X = X``, the columns of X shared among threads.

    None waits for another then; but each packs what it needs of T, so there are few
    parts. How a solution is added up does not depend on them.
    """
    f = FunctionWriter(
        "share", f"i64 %threads, {_TRIANGLE}, i1 %unit, {ROOM}", "internal"
    )
    threads = f("call i64 @graphc_threads(i64 %threads)")
    work = f.mul(f.mul("%n", "%n"), "%k")
    parts = f.min(f.div(work, 2 * GRAIN), f.div("%k", NARROWEST))
    parts = f.min(parts, f.mul(threads, 2))
    alone = f("or i1", f.compare("slt", parts, 2), f.compare("eq", threads, 1))
    alone = f("or i1", alone, f.compare("sgt", "%k", gemm.COLUMNS))
    with f.when(alone):
        f.do(
            "call void @solve(i64 %threads, i64 %n, i64 %k, ptr %t, i64 %t_row, "
            f"i64 %t_col, ptr %x, i64 %x_row, i1 %unit, {ROOM})"
        )
    with f.unless(alone):
        words = f.local(f"[{len(_SHARED)} x i64]", 64)
        width = f.ceil_div("%k", f.max(parts, 1))
        width = f.mul(f.ceil_div(width, LANES), LANES)
        units = f.ceil_div("%k", f.max(width, 1))
        given = {
            **{w: f"%{w}" for w in ("n", "k", "t_row", "t_col", "x_row")},
            **{w: f("ptrtoint ptr", f"%{w} to i64") for w in ("t", "x", "packed")},
            **{"unit": f("zext i1", "%unit to i64"), "width": width},
            **{"room": f.div("%room", f.max(units, 1))},
        }
        for number, word in enumerate(_SHARED):
            f.store(f"i64 {given[word]}", f.element("i64", words, number))
        f.do(
            f"call void @graphc_launch(i64 %threads, ptr @columns, i64 {units}, "
            f"i64 {units}, ptr {words})"
        )
    return f.text()
