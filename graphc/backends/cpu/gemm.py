"""Matrix products: register tiles on packed panels, on the pool's threads.

The method is that of Goto and van de Geijn, "Anatomy of high-performance matrix
multiplication" (ACM TOMS 34, 2008), with the loops of Van Zee and van de Geijn, "BLIS"
(ACM TOMS 41, 2015). B is packed once for all threads, in panels as wide as a register
tile. A thread packs a few rows of A and runs along B's panels. The innermost loop keeps
a tile of C in registers, and adds to it the outer product of a column of A's panel and a
row of B's.

Operands have any strides, for packing reads each element once. Each element of C is
summed over k in one order whatever the tiles and threads are, so results have the same
bits on any number of threads.

Packing pays off where panels are read again. If one panel of B is all there is, each
element of A is used for one tile only, and tiles read it where it lies. Whole panels of B
are read in place, too, if its rows are contiguous and it is small, or used by few tiles
only, or no wider than a panel.

`graphc_product_s` and `graphc_product_d` (float32, float64) take a number of threads,
as `graphc_launch` does, and words: those of `WORDS`; then for each batch axis, the
innermost first, its size and the elements from one matrix to the next of a, of b and of
c; then for each outer axis of k, the innermost first, its size and the elements from one
step to the next in a and in b; then for each piece the addresses of a and b. The product
is the sum of those of its pieces, ``[a0, a1] @ [[b0], [b1]]``; a piece is one for each
index of the outer axes of k.

A pipeline computes some rows of a product at a time. `graphc_prepare_s` takes the words
and `BLOCK_WORDS` more to fill in, `graphc_pack_s` packs all of B, and `graphc_rows_s`
computes rows lo to hi, counted through the matrices of a batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

from graphc.backends.cpu import jit
from graphc.backends.cpu.cache import key_of, machine_code
from graphc.backends.cpu.llvm_function import DECLARATIONS, FunctionWriter
from graphc.backends.cpu.panels import pack, part_of, side_of
from graphc.backends.cpu.register_tile import (
    DEPTH,
    MICROS,
    MOST_DEPTH,
    Tile,
    declare_masked,
    micro,
    part,
    tile,
)
from graphc.schedule.product import PACKED

WORDS = (
    *("c", "m", "n", "k", "a_row", "a_column", "b_row", "b_column", "c_row"),
    *("packed", "room", "axes", "piece", "subtract", "outer", "straight"),
)
"""Argument words. The strides are in elements; `packed` is memory for `room` elements of
packed B; `axes` counts the batch axes; `piece` are the steps of k of each piece, at least
1; unless `subtract` is 0, the product is subtracted from what c holds; `outer` counts the
outer axes of k; unless `straight` is 0, b's rows are `b_row` apart through all pieces."""

COLUMNS = PACKED // DEPTH
"""Columns of B packed at a time when it does not fit whole."""

HELD = 1 << 16
"""Elements of packed B, of a batch, that a thread's cache should still hold when they
are read."""

NEAR = 1 << 14
"""Elements of B that stay in a cache near by, whatever their rows' distance."""

GRAIN = 1 << 19
"""Operations that are worth another chunk."""


class Module(NamedTuple):
    """A part of the code of the products of one dtype.

    Attributes
    ----------
    names : sequence of str
        The functions that others may refer to.
    text, kind : str
        As for `jit.compile_module`.
    """

    names: Sequence[str]
    text: str
    kind: str


@lru_cache(maxsize=2)
def modules_of(letter: str) -> Sequence[Module]:
    """Return the code of the products of one dtype, what is needed first.

    The inner loops, what packs and what goes through tiles, and what cuts a product
    into blocks: they are compiled side by side. The last runs once for each product,
    and is translated as it stands.
    """
    t = tile(letter)
    widths = range(1, t.vectors + 1)
    micros = [micro(t, width, kind) for width in widths for kind in MICROS]
    vector = f"<{t.lanes} x {t.kind}>"
    suffix = f"v{t.lanes}f{8 * t.itemsize}"
    masked = {t.lanes, part_of(t), side_of(t)}
    external = "\n".join(
        [
            DECLARATIONS,
            f"declare {vector} @llvm.fmuladd.{suffix}({vector}, {vector}, {vector})",
            "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)",
            *(declare_masked(t, lanes) for lanes in sorted(masked)),
            "declare i64 @graphc_threads(i64)",
            "declare void @graphc_launch(i64, ptr, i64, i64, ptr)",
        ]
    )
    parts = (
        (
            [part(t), *micros],
            [f"{kind}{width}" for width in widths for kind in MICROS],
            "vectors",
        ),
        (
            [pack(t), _place(), _pack_columns(t), _tiles(t), _multiply(t), _rows(t)],
            ["pack_b", "multiply", "rows"],
            "vectors",
        ),
        (
            [_prepare(t), _pack_all(t), _product(t)],
            ["prepare", "pack", "product"],
            "once",
        ),
    )
    names = "|".join(name for _, exported, _ in parts for name in exported)
    declared: list[str] = []
    modules = []
    for functions, exported, kind in parts:
        code = "\n".join(functions)
        heads = rf"^define internal (void @(?:{'|'.join(exported)})\(.*?\))"
        found = re.findall(heads, code, re.MULTILINE)
        code = re.sub(heads, r"define \1", code, flags=re.MULTILINE)
        text = "\n".join([external, *declared, code])
        text = re.sub(rf"@({names})\b", rf"@graphc_\1_{letter}", text)
        modules.append(Module([f"graphc_{n}_{letter}" for n in exported], text, kind))
        declared += [f"declare {signature}" for signature in found]
    return tuple(modules)


@lru_cache(maxsize=2)
def prepare(letter: str) -> None:
    """Make the products of one dtype known to compiled code, once in a process."""
    for names, text, kind in modules_of(letter):
        code, key = machine_code(text, kind), key_of(text, kind)
        jit.load_named(names, code, key, jit.declared(text))


def _place() -> str:
    """Return the elements before matrices number `batch` of a, b and c."""
    f = FunctionWriter(
        "place",
        "ptr %words, i64 %batch, ptr %a, ptr %b, ptr %c",
        "internal",
        "noinline ",
    )
    axes = f.word("%words", WORDS.index("axes"))
    rest = f.local("i64")
    f.store("i64 %batch", rest)
    cells = ("%a", "%b", "%c")
    for cell in cells:
        f.store("i64 0", cell)
    with f.loop(0, axes) as axis:
        base = f.add(f.mul(axis, 4), len(WORDS))
        size = f.word("%words", base)
        left = f.load("i64", rest)
        at = f.mod(left, size)
        f.store(f"i64 {f.div(left, size)}", rest)
        for number, cell in enumerate(cells):
            stride = f.word("%words", f.add(base, number + 1))
            f.store(f"i64 {f.add(f.load('i64', cell), f.mul(at, stride))}", cell)
    return f.text()


SIGNATURES = (
    "declare void @graphc_product_{}(i64, ptr)",
    "declare void @graphc_prepare_{}(ptr, ptr)",
    "declare void @graphc_pack_{}(i64, ptr)",
    "declare void @graphc_rows_{}(i64, i64, ptr)",
)
"""Their declarations, for a letter."""

_BLOCK = (
    *("words", "first_batch", "matrices", "same_b", "j0", "vectors", "panels"),
    *("k0", "depth", "step", "row_blocks", "rows_each", "column_blocks", "panels_each"),
    *("right", "in_place"),
)
"""The words that say which block of a product is at hand. `right` is B's first element;
unless `in_place` is 0, whole panels are read there, and a narrower last one is packed."""

BLOCK_WORDS = len(_BLOCK)


class _Block:
    """Reads the words of a block of a product."""

    def __init__(self, f: FunctionWriter, t: Tile):
        self.f = f
        self.kind = t.kind
        self.words = f.load("ptr", "%block")
        self.values = {
            name: f.word("%block", number)
            for number, name in enumerate(_BLOCK)
            if number
        }
        self.values |= {
            name: f.word(self.words, number) for number, name in enumerate(WORDS)
        }

    def __getattr__(self, name: str) -> str:
        return self.values[name]

    def place(self, batch: str) -> list[str]:
        """Return the elements before a batch's matrices of a, b and c."""
        f = self.f
        cells = [f.local("i64") for _ in range(3)]
        given = ", ".join(f"ptr {c}" for c in cells)
        f.do(f"call void @place(ptr {self.words}, i64 {batch}, {given})")
        return [f.load("i64", c) for c in cells]

    @contextmanager
    def pieces(
        self, low: str, high: str, operand: int
    ) -> Iterator[tuple[str, str, str, str]]:
        """Loop over the parts of steps low to high of k that lie in one piece each.

        Gives the address of a (operand 0) or b (operand 1), the first step and the
        number of steps within the piece, and the steps before them.
        """
        f = self.f
        axes = f.add(f.mul(self.axes, 4), len(WORDS))
        table = f.add(axes, f.add(f.mul(self.outer, 3), operand))
        number, moved = f.local("i64"), f.local("i64")
        end = f.ceil_div(high, self.piece)
        with f.loop(f.div(low, self.piece), end) as piece:
            before = f.mul(piece, self.piece)
            first = f.max(low, before)
            count = f.sub(f.min(high, f.add(before, self.piece)), first)
            f.store(f"i64 {piece}", number)
            f.store("i64 0", moved)
            with f.loop(0, self.outer) as axis:
                base = f.add(axes, f.mul(axis, 3))
                size = f.word(self.words, base)
                stride = f.word(self.words, f.add(base, 1 + operand))
                left = f.load("i64", number)
                far = f.mul(f.mod(left, size), stride)
                f.store(f"i64 {f.add(f.load('i64', moved), far)}", moved)
                f.store(f"i64 {f.div(left, size)}", number)
            place = f.add(table, f.mul(f.load("i64", number), 2))
            x = f(f"inttoptr i64 {f.word(self.words, place)} to ptr")
            x = f.beside(self.kind, x, f.load("i64", moved))
            yield x, f.sub(first, before), count, f.sub(first, low)

    def pointer(self, word: str) -> str:
        return self.f(f"inttoptr i64 {self.values[word]} to ptr")


def _kernel(name: str) -> FunctionWriter:
    parameters = "i64 %lo, i64 %hi, i64 %chunk, ptr %block"
    return FunctionWriter(name, parameters, "internal")


def _panel(f: FunctionWriter, w: _Block, panel: str) -> tuple[str, str]:
    """Return the first vector of a panel of B, and its number of vectors.

    The vectors of a block are shared evenly: none of its panels is much narrower.
    """
    first = f.div(f.mul(panel, w.vectors), w.panels)
    after = f.div(f.mul(f.add(panel, 1), w.vectors), w.panels)
    return first, f.sub(after, first)


def _pack_columns(t: Tile) -> str:
    """Pack panels lo to hi of B, counted through the matrices of a batch."""
    f = _kernel("pack_b")
    w = _Block(f, t)
    packed = w.pointer("packed")
    padded = f.mul(w.vectors, t.lanes)
    with f.loop("%lo", "%hi") as unit:
        # of those that lie in place, the last one alone may be packed
        each = f.select(f.compare("ne", w.in_place, 0), 1, w.panels)
        matrix, last = f.div(unit, each), f.sub(w.panels, each)
        panel = f.add(last, f.mod(unit, each))
        _, offset, _ = w.place(f.add(w.first_batch, matrix))
        first, width = _panel(f, w, panel)
        column = f.add(w.j0, f.mul(first, t.lanes))
        count = f.min(f.sub(w.n, column), f.mul(width, t.lanes))
        offset = f.add(offset, f.mul(column, w.b_column))
        base = f.mul(matrix, f.mul(w.depth, padded))
        with f.loop(0, w.depth, w.step) as p:
            k = f.min(f.sub(w.depth, p), w.step)
            start = f.mul(f.mul(first, t.lanes), k)
            panel_at = f.add(base, f.add(f.mul(p, padded), start))
            at = f.add(w.k0, p)
            with w.pieces(at, f.add(at, k), 1) as (b, skipped, steps, done):
                x = f.element(t.kind, b, f.add(offset, f.mul(skipped, w.b_row)))
                filled = f.mul(done, f.mul(width, t.lanes))
                to = f.element(t.kind, packed, f.add(panel_at, filled))
                f.do(
                    f"call void @panel(ptr {x}, i64 {w.b_column}, i64 {w.b_row}, "
                    f"i64 {count}, i64 {steps}, ptr {to}, "
                    f"i64 {f.mul(width, t.lanes)})"
                )
    return f.text()


def _multiply(t: Tile) -> str:
    """Compute blocks lo to hi of C: some rows by some panels."""
    f = _kernel("multiply")
    w = _Block(f, t)
    blocks = f.mul(w.row_blocks, w.column_blocks)
    with f.loop("%lo", "%hi") as unit:
        matrix, block = f.div(unit, blocks), f.mod(unit, blocks)
        row = f.mul(f.div(block, w.column_blocks), w.rows_each)
        rows = f.min(f.sub(w.m, row), w.rows_each)
        panel0 = f.mul(f.mod(block, w.column_blocks), w.panels_each)
        panel1 = f.min(f.add(panel0, w.panels_each), w.panels)
        _call_tiles(f, matrix, row, rows, panel0, panel1)
    return f.text()


def _rows(t: Tile) -> str:
    """Compute rows lo to hi of C, counted through the matrices of a batch."""
    f = FunctionWriter("rows", "i64 %lo, i64 %hi, ptr %block", "internal")
    w = _Block(f, t)
    m = f.max(w.m, 1)
    with f.loop(f.div("%lo", m), f.ceil_div("%hi", m)) as matrix:
        before = f.mul(matrix, m)
        first = f.max(f.sub("%lo", before), 0)
        end = f.min(f.sub("%hi", before), m)
        with f.loop(first, end, t.rows_packed) as row:
            rows = f.min(f.sub(end, row), t.rows_packed)
            _call_tiles(f, matrix, row, rows, 0, w.panels)
    return f.text()


def _call_tiles(f: FunctionWriter, *values: object) -> None:
    given = ", ".join(f"i64 {v}" for v in values)
    f.do(f"call void @tiles(ptr %block, {given})")


def _tiles(t: Tile) -> str:
    """Compute some rows by some panels of C: no more rows than are packed at a time."""
    names = ("matrix", "row", "rows", "panel0", "panel1")
    parameters = ", ".join(f"i64 %{n}" for n in names)
    f = FunctionWriter("tiles", f"ptr %block, {parameters}", "internal", "noinline ")
    matrix, row, rows, panel0, panel1 = (f"%{n}" for n in names)
    w = _Block(f, t)
    c, packed, b = (w.pointer(name) for name in ("c", "packed", "right"))
    in_place = f.compare("ne", w.in_place, 0)
    padded = f.mul(w.vectors, t.lanes)
    rows_packed = f.local(f"[{t.rows_packed * MOST_DEPTH} x {t.kind}]", 64)
    lying = f.local(f"[{2 * MOST_DEPTH} x i64]", 64)
    pieces = f.local("i64")
    to_a, to_b, to_c = w.place(f.add(w.first_batch, matrix))
    own = f.select(f.compare("ne", w.same_b, 0), 0, matrix)
    base = f.mul(own, f.mul(w.depth, padded))
    to_a = f.add(to_a, f.mul(row, w.a_row))
    to_c = f.add(to_c, f.add(f.mul(row, w.c_row), w.j0))
    subtract = f.compare("ne", w.subtract, 0)
    once = f.compare("eq", w.panels, 1)
    # whole tiles that are read once lie where they are
    direct = f.select(once, f("and i64", rows, -t.rows), 0)
    # at least one round: a product over no elements is zero
    with f.loop(0, f.max(w.depth, 1), w.step) as p:
        k = f.min(f.sub(w.depth, p), w.step)
        at = f.add(w.k0, p)
        add = f("or i1", f.compare("sgt", at, 0), subtract)
        f.store("i64 0", pieces)
        with w.pieces(at, f.add(at, k), 0) as (a, skipped, steps, done):
            start = f.add(to_a, f.mul(skipped, w.a_column))
            filled = f.mul(done, t.rows)
            entry = f.element("i64", lying, f.mul(f.load("i64", pieces), 2))
            f.store(f"ptr {f.element(t.kind, a, start)}", entry)
            f.store(f"i64 {steps}", f.element("i64", entry, 1))
            f.store(f"i64 {f.add(f.load('i64', pieces), 1)}", pieces)
            with f.loop(direct, rows, t.rows) as i:
                count = f.min(f.sub(rows, i), t.rows)
                x = f.element(t.kind, a, f.add(start, f.mul(i, w.a_row)))
                to = f.element(t.kind, rows_packed, f.add(f.mul(i, k), filled))
                f.do(
                    f"call void @panel(ptr {x}, i64 {w.a_row}, i64 {w.a_column}, "
                    f"i64 {count}, i64 {steps}, ptr {to}, i64 {t.rows})"
                )
        with f.loop(panel0, panel1) as panel:
            first, width = _panel(f, w, panel)
            # by address: written out for each, calls were most of this function
            whole_micro, direct_micro, half_micro = (
                _of_width(f, t, kind, width) for kind in MICROS
            )
            column = f.mul(first, t.lanes)
            columns = f.min(f.sub(w.n, f.add(w.j0, column)), f.mul(width, t.lanes))
            begin = f.add(base, f.add(f.mul(p, padded), f.mul(column, k)))
            across = f.mul(width, t.lanes)
            lies = f("and i1", in_place, f.compare("eq", columns, across))
            here = f.add(to_b, f.add(f.mul(at, w.b_row), f.add(w.j0, column)))
            own_b, own_at = f(f"select i1 {lies}, ptr {b}, ptr {packed}"), begin
            right = f.element(t.kind, own_b, f.select(lies, here, own_at))
            b_step = f.select(lies, w.b_row, across)
            with f.loop(0, direct, t.rows) as i:
                place = f.add(to_c, f.add(f.mul(i, w.c_row), column))
                out = f.element(t.kind, c, place)
                f.do(
                    f"call void {direct_micro}(i64 {f.load('i64', pieces)}, "
                    f"ptr {lying}, i64 {f.mul(i, w.a_row)}, i64 {w.a_row}, "
                    f"i64 {w.a_column}, ptr {right}, i64 {b_step}, ptr {out}, "
                    f"i64 {w.c_row}, i64 {t.rows}, i64 {columns}, "
                    f"i1 {add}, i1 {subtract})"
                )
            with f.loop(direct, rows, t.rows) as i:
                count = f.min(f.sub(rows, i), t.rows)
                left = f.element(t.kind, rows_packed, f.mul(i, k))
                place = f.add(to_c, f.add(f.mul(i, w.c_row), column))
                out = f.element(t.kind, c, place)
                few = f.compare("sle", count, t.rows // 2)
                called = f(f"select i1 {few}, ptr {half_micro}, ptr {whole_micro}")
                f.do(
                    f"call void {called}(i64 {k}, ptr {left}, ptr {right}, "
                    f"i64 {b_step}, ptr {out}, i64 {w.c_row}, i64 {count}, "
                    f"i64 {columns}, i1 {add}, i1 {subtract})"
                )
    return f.text()


def _of_width(f: FunctionWriter, t: Tile, kind: str, width: str) -> str:
    """Return the address of the micro of a kind that is some vectors wide."""
    address = f"@{kind}{t.vectors}"
    for v in range(t.vectors - 1, 0, -1):
        narrow = f.compare("eq", width, v)
        address = f(f"select i1 {narrow}, ptr @{kind}{v}, ptr {address}")
    return address


# ------------------------------------------------------------------------- blocks


class _Setter:
    """Fills in the words of a block."""

    def __init__(self, f: FunctionWriter, block: str):
        self.f = f
        self.block = block
        self.word = {name: f.word("%words", n) for n, name in enumerate(WORDS)}
        f.store("ptr %words", block)

    def give(self, **values: object) -> None:
        f = self.f
        for name, value in values.items():
            f.store(f"i64 {value}", f.element("i64", self.block, _BLOCK.index(name)))

    def batch(self) -> tuple[str, str]:
        """Return the number of matrices, and whether b is the same for all of them."""
        f = self.f
        batch, moved = f.local("i64"), f.local("i64")
        f.store("i64 1", batch)
        f.store("i64 0", moved)
        with f.loop(0, self.word["axes"]) as axis:
            base = f.add(f.mul(axis, 4), len(WORDS))
            size = f.word("%words", base)
            f.store(f"i64 {f.mul(f.load('i64', batch), size)}", batch)
            stride = f.word("%words", f.add(base, 2))
            f.store(f"i64 {f('or i64', f.load('i64', moved), stride)}", moved)
        same = f.compare("eq", f.load("i64", moved), 0)
        self.give(same_b=f(f"zext i1 {same} to i64"))
        return f.load("i64", batch), same

    def columns(self, t: Tile, first: object, vectors: str) -> str:
        """Take some vectors of columns of B; return their number of panels."""
        panels = self.f.ceil_div(vectors, t.vectors)
        self.give(j0=self.f.mul(first, t.lanes), vectors=vectors, panels=panels)
        return panels

    def right(self, t: Tile) -> str:
        """Say where B is; return whether its whole panels are read there."""
        f, word = self.f, self.word
        n, k = word["n"], word["k"]
        few = f.compare("sle", word["m"], 2 * t.rows)
        small = f.compare("sle", f.mul(k, n), NEAR)
        narrow = f(
            "and i1",
            f.compare("sle", n, t.vectors * t.lanes),
            f.compare("sle", word["b_row"], f.mul(n, 2)),
        )
        lies = f("or i1", f("or i1", few, small), narrow)
        for condition in (
            f.compare("ne", word["straight"], 0),
            f.compare("eq", word["b_column"], 1),
        ):
            lies = f("and i1", lies, condition)
        table = f.add(f.mul(word["axes"], 4), f.mul(word["outer"], 3))
        b = f.word("%words", f.add(table, len(WORDS) + 1))
        self.give(right=b, in_place=f(f"zext i1 {lies} to i64"))
        return lies

    def depth(self, first: object, depth: str) -> None:
        """Take some steps of k."""
        f = self.f
        rounds = f.div(f.add(depth, 2 * DEPTH - MOST_DEPTH - 1), DEPTH)
        step = f.max(f.ceil_div(depth, f.max(rounds, 1)), 1)
        self.give(k0=first, depth=depth, step=step)


def _prepare(t: Tile) -> str:
    """Take a whole product as one block."""
    f = FunctionWriter("prepare", "ptr %words, ptr %block", "internal")
    setter = _Setter(f, "%block")
    batch, _ = setter.batch()
    setter.right(t)
    setter.give(first_batch=0, matrices=batch)
    setter.columns(t, 0, f.ceil_div(setter.word["n"], t.lanes))
    setter.depth(0, setter.word["k"])
    return f.text()


def _pack_all(t: Tile) -> str:
    """Pack B of a whole product."""
    f = FunctionWriter("pack", "i64 %threads, ptr %block", "internal")
    w = _Block(f, t)
    own = f.select(f.compare("ne", w.same_b, 0), 1, w.matrices)
    in_place = f.compare("ne", w.in_place, 0)
    with f.unless(_all_lies(f, t, in_place, w.n)):
        panels = f.select(in_place, 1, w.panels)
        _launch_packing(f, t, "%block", f.mul(own, panels), w.depth)
    return f.text()


def _product(t: Tile) -> str:
    """Cut a product into blocks whose B fits the room, and launch them."""
    f = FunctionWriter("product", "i64 %threads, ptr %words", "internal")
    block = f.local(f"[{BLOCK_WORDS} x i64]", 64)
    setter = _Setter(f, block)
    m, n, k, room = (setter.word[name] for name in ("m", "n", "k", "room"))
    threads = f("call i64 @graphc_threads(i64 %threads)")
    batch, same = setter.batch()
    # what divides by the number of rows below is not reached without any
    batch = f.select(f.compare("eq", f.mul(m, n), 0), 0, batch)
    vectors = f.ceil_div(n, t.lanes)
    padded = f.max(f.mul(vectors, t.lanes), 1)
    deep = f.max(k, 1)
    in_place = setter.right(t)
    lies = _all_lies(f, t, in_place, n)
    fits = f("or i1", lies, f.compare("sle", f.mul(deep, padded), room))
    some = f.max(f.min(vectors, COLUMNS // t.lanes), 1)
    each_j = f.select(fits, f.max(vectors, 1), some)
    part = f.max(f.div(room, f.mul(each_j, t.lanes * DEPTH)), 1)
    each_k = f.select(fits, deep, f.mul(part, DEPTH))
    each = f.mul(deep, padded)
    near = f.max(f.div(HELD, each), f.mul(threads, 2))
    held = f.max(f.min(f.div(room, each), near), 1)
    each_batch = f.select(fits, f.select(same, f.max(batch, 1), held), 1)
    with f.loop(0, batch, each_batch) as first:
        matrices = f.min(f.sub(batch, first), each_batch)
        setter.give(first_batch=first, matrices=matrices)
        with f.loop(0, vectors, each_j) as v:
            across = f.min(f.sub(vectors, v), each_j)
            panels = setter.columns(t, v, across)
            with f.loop(0, deep, each_k) as k0:
                depth = f.min(f.sub(k, k0), each_k)
                setter.depth(k0, depth)
                own = f.select(same, 1, matrices)
                with f.unless(lies):
                    packed = f.mul(own, f.select(in_place, 1, panels))
                    _launch_packing(f, t, block, packed, depth)
                across_all = f.mul(f.mul(matrices, across), 2 * t.lanes)
                flops = f.mul(f.mul(across_all, m), depth)
                wanted = f.min(f.div(flops, GRAIN), f.mul(threads, 4))
                wanted = f.max(wanted, 1)
                wanted = f.select(f.compare("eq", threads, 1), 1, wanted)
                rows = f.ceil_div(f.mul(matrices, m), wanted)
                rows = f.min(f.max(rows, 4 * t.rows), t.rows_packed)
                blocks = f.ceil_div(m, rows)
                rows = f.mul(f.ceil_div(f.ceil_div(m, blocks), t.rows), t.rows)
                blocks = f.ceil_div(m, rows)
                along = f.max(f.div(wanted, f.mul(matrices, blocks)), 1)
                along = f.min(along, f.max(f.div(panels, 4), 1))
                panels_each = f.ceil_div(panels, along)
                along = f.ceil_div(panels, panels_each)
                setter.give(row_blocks=blocks, rows_each=rows)
                setter.give(column_blocks=along, panels_each=panels_each)
                units = f.mul(matrices, f.mul(blocks, along))
                worth = f.min(f.div(flops, GRAIN), f.mul(threads, 16))
                _launch(f, "multiply", block, units, worth)
    return f.text()


def _all_lies(f: FunctionWriter, t: Tile, in_place: str, n: str) -> str:
    """Tell whether no panel of B is packed: all are whole and read in place."""
    return f("and i1", in_place, f.compare("eq", f.mod(n, t.lanes), 0))


def _launch_packing(
    f: FunctionWriter, t: Tile, block: str, units: str, depth: str
) -> None:
    elements = f.mul(f.mul(units, t.lanes * t.vectors), depth)
    _launch(f, "pack_b", block, units, f.div(elements, 1 << 14))


def _launch(f: FunctionWriter, kernel: str, block: str, units: str, worth: str) -> None:
    """Launch a kernel on units, in as many chunks as the work is worth."""
    chunks = f.max(f.min(worth, units), 1)
    f.do(
        f"call void @graphc_launch(i64 %threads, ptr @{kernel}, i64 {units}, "
        f"i64 {chunks}, ptr {block})"
    )
