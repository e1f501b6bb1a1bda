"""Triangular solves and factorizations of matrices, by recursion into products.

A problem is halved until it is `BASE` rows wide; what lies between the halves is a
product, of the package's own kernels (`gemm`). So nearly all of the work is done in
register tiles, whatever the size. The methods are those of Toledo, "Locality of
reference in LU decomposition with partial pivoting" (SIAM J. Matrix Anal. Appl. 18,
1997), and of Elmroth, Gustavson, Jonsson and Kagstrom, "Recursive blocked algorithms and
hybrid data structures for dense matrix library software" (SIAM Review 46, 2004).

What is below the base works on rows in strips of vectors. The matrices of a batch are
shared among threads; of a few, their products are. Every sum is taken in one order:
results have the same bits on any number of threads.

`graphc_cholesky_d`, `graphc_lu_d` and `graphc_trsm_d` take a number of threads and
words: those of `WORDS`, then for each batch axis, the innermost first, its size and the
elements from one matrix to the next of a, of b and of the result.
"""

from __future__ import annotations

from functools import lru_cache

from graphc.backends.cpu import gemm, jit, register_tile, triangular
from graphc.backends.cpu.cache import key_of, machine_code
from graphc.backends.cpu.llvm_function import DECLARATIONS, FunctionWriter
from graphc.backends.cpu.register_tile import Tile, tile
from graphc.backends.cpu.triangular import BASE, FEW, GRAIN, ROOM, Rows, halved
from graphc.schedule.factorize import WORDS

PANEL = 8
"""Columns of LU factors that are not halved any more: every row below takes part."""

FEWEST = 4
"""Matrices from which on these are shared among threads, and not their products."""

MOST_CHUNKS = 256
"""Parts of a batch of small matrices, at most."""

NAMES = ("cholesky", "lu", "trsm")


def source(letter: str) -> str:
    """Return the LLVM code for one dtype."""
    t = tile(letter)
    vector, suffix = f"<{t.lanes} x {t.kind}>", f"v{t.lanes}f{8 * t.itemsize}"
    scalar = f"f{8 * t.itemsize}"
    return "\n".join(
        [
            DECLARATIONS,
            f"declare {vector} @llvm.fmuladd.{suffix}({vector}, {vector}, {vector})",
            f"declare {t.kind} @llvm.vector.reduce.fadd.{suffix}({t.kind}, {vector})",
            f"declare {t.kind} @llvm.sqrt.{scalar}({t.kind})",
            f"declare {t.kind} @llvm.fabs.{scalar}({t.kind})",
            register_tile.declare_masked(t, t.lanes),
            f"declare void @graphc_product_{letter}(i64, ptr)",
            "declare i64 @graphc_threads(i64)",
            "declare void @graphc_launch(i64, ptr, i64, i64, ptr)",
            *triangular.functions(t, letter),
            _symmetric(t),
            _cholesky_base(t),
            _cholesky(t),
            _lu_base(t),
            _lu(t),
            *(_matrix(t, name) for name in NAMES),
            *(_matrices(name) for name in NAMES),
            *(_routine(letter, name) for name in NAMES),
        ]
    )


@lru_cache(maxsize=2)
def text_of(letter: str) -> str:
    """Return `source`, made once."""
    return source(letter)


@lru_cache(maxsize=2)
def prepare(letter: str) -> None:
    """Make the routines of one dtype known to compiled code, once in a process."""
    gemm.prepare(letter)
    text = text_of(letter)
    code, key = machine_code(text, "vectors"), key_of(text, "vectors")
    jit.load_named(entry_points(letter), code, key, jit.declared(text))


def entry_points(letter: str) -> list[str]:
    """Return the names of the routines."""
    return [f"graphc_{name}_{letter}" for name in NAMES]


def declarations(letter: str) -> list[str]:
    """Return the declarations of the routines."""
    return [f"declare void @{name}(i64, ptr)" for name in entry_points(letter)]


# ------------------------------------------------------------------------- Cholesky


def _symmetric(t: Tile) -> str:
    """``c -= x.T @ x``, on and above the diagonal, and in some places below."""
    f = FunctionWriter(
        "symmetric",
        f"i64 %threads, i64 %n, i64 %k, ptr %c, ptr %x, i64 %row, {ROOM}",
        "internal",
    )
    r = Rows(f, t)

    def product(m: str, n: str, c: str, right: str) -> None:
        f.do(
            f"call void @subtract(i64 %threads, ptr {c}, i64 %row, i64 {m}, i64 {n}, "
            f"i64 %k, ptr %x, i64 1, i64 %row, ptr {right}, i64 %row, {ROOM})"
        )

    small = f.compare("sle", "%n", 4 * BASE)
    with f.when(small):
        product("%n", "%n", "%c", "%x")
    with f.unless(small):
        n1, n2 = halved(f, "%n", BASE)
        beside = r.at("%x", n1)

        def part(n: str, c: str, x: str) -> None:
            f.do(
                f"call void @symmetric(i64 %threads, i64 {n}, i64 %k, ptr {c}, "
                f"ptr {x}, i64 %row, {ROOM})"
            )

        part(n1, "%c", "%x")
        product(n1, n2, r.at("%c", n1), beside)
        part(n2, r.at("%c", f.mul(n1, "%row"), n1), beside)
    return f.text()


def _cholesky_base(t: Tile) -> str:
    """Factorize the upper triangle of a small matrix, row by row."""
    f = FunctionWriter(
        "cholesky_base", "i64 %n, ptr %a, i64 %row", "internal", "noinline "
    )
    r = Rows(f, t)
    total = f.local(r.vector, 64)
    with f.loop(0, "%n") as i:
        own = r.at("%a", f.mul(i, "%row"))
        with f.loop(i, "%n", t.lanes) as j:
            mask = r.mask(f.sub("%n", j))
            place = r.at(own, j)
            f.store(f"{r.vector} {r.load(place, mask)}", total)
            with f.loop(0, i) as p:
                other = r.at("%a", f.mul(p, "%row"))
                factor = r.splat(r.negative(r.number(r.at(other, i))))
                row = r.load(r.at(other, j), mask)
                value = r.add_product(f.load(r.vector, total), factor, row)
                f.store(f"{r.vector} {value}", total)
            r.store(f.load(r.vector, total), place, mask)
        scalar = f"f{8 * t.itemsize}"
        square = r.number(r.at(own, i))
        root = f(f"call {t.kind} @llvm.sqrt.{scalar}({t.kind} {square})")
        every = r.splat(root)
        with f.loop(i, "%n", t.lanes) as j:
            mask = r.mask(f.sub("%n", j))
            place = r.at(own, j)
            r.store(f(f"fdiv {r.vector}", r.load(place, mask), every), place, mask)
        r.put(root, r.at(own, i))
    return f.text()


def _cholesky(t: Tile) -> str:
    """Factorize ``U.T @ U = a`` in place, in the upper triangle."""
    f = FunctionWriter(
        "cholesky", f"i64 %threads, i64 %n, ptr %a, i64 %row, {ROOM}", "internal"
    )
    r = Rows(f, t)
    small = f.compare("sle", "%n", BASE)
    with f.when(small):
        f.do("call void @cholesky_base(i64 %n, ptr %a, i64 %row)")
    with f.unless(small):
        n1, n2 = halved(f, "%n", BASE)
        beside = r.at("%a", n1)
        corner = r.at(beside, f.mul(n1, "%row"))

        def part(n: str, a: str) -> None:
            f.do(
                f"call void @cholesky(i64 %threads, i64 {n}, ptr {a}, i64 %row, {ROOM})"
            )

        part(n1, "%a")
        f.do(
            f"call void @share(i64 %threads, i64 {n1}, i64 {n2}, ptr %a, i64 1, "
            f"i64 %row, ptr {beside}, i64 %row, i1 false, {ROOM})"
        )
        f.do(
            f"call void @symmetric(i64 %threads, i64 {n2}, i64 {n1}, ptr {corner}, "
            f"ptr {beside}, i64 %row, {ROOM})"
        )
        part(n2, corner)
    return f.text()


# ------------------------------------------------------------------------------- LU


def _lu_base(t: Tile) -> str:
    """Factorize some columns of a matrix with partial pivoting.

    Rows are swapped in full: `row0` is where the first of them begins, `width` its
    length. `places` has their order, `width` elements before the signs of the swaps.
    """
    f = FunctionWriter(
        "lu_base",
        "i64 %m, i64 %n, ptr %a, i64 %row, ptr %row0, i64 %width, ptr %places",
        "internal",
        "noinline ",
    )
    r = Rows(f, t)
    kind, scalar = t.kind, f"f{8 * t.itemsize}"
    best, where = f.local(kind), f.local("i64")
    with f.loop(0, f.min("%m", "%n")) as j:

        def size(i: str) -> str:
            value = r.number(r.at("%a", f.mul(i, "%row"), j))
            return f(f"call {kind} @llvm.fabs.{scalar}({kind} {value})")

        r.put(size(j), best)
        f.store(f"i64 {j}", where)
        with f.loop(f.add(j, 1), "%m") as i:
            value = size(i)
            with f.when(f(f"fcmp ogt {kind}", value, r.number(best))):
                r.put(value, best)
                f.store(f"i64 {i}", where)
        pivot_row = f.load("i64", where)
        with f.when(f.compare("ne", pivot_row, j)):
            one = r.at("%row0", f.mul(j, "%row"))
            other = r.at("%row0", f.mul(pivot_row, "%row"))
            with f.loop(0, "%width", t.lanes) as c:
                mask = r.mask(f.sub("%width", c))
                x, y = r.at(one, c), r.at(other, c)
                first, second = r.load(x, mask), r.load(y, mask)
                r.store(second, x, mask)
                r.store(first, y, mask)
            x, y = r.at("%places", j), r.at("%places", pivot_row)
            first, second = r.number(x), r.number(y)
            r.put(second, x)
            r.put(first, y)
            r.put("-1.0", r.at("%places", j, f.mul("%width", 2)))
        own = r.at("%a", f.mul(j, "%row"))
        pivot = r.number(r.at(own, j))
        after = f.add(j, 1)
        with (
            f.when(f(f"fcmp une {kind}", pivot, "0.0")),
            f.loop(after, "%m") as i,
        ):
            line = r.at("%a", f.mul(i, "%row"))
            ratio = f(f"fdiv {kind}", r.number(r.at(line, j)), pivot)
            r.put(ratio, r.at(line, j))
            factor = r.splat(r.negative(ratio))
            with f.loop(after, "%n", t.lanes) as c:
                mask = r.mask(f.sub("%n", c))
                place = r.at(line, c)
                row = r.load(r.at(own, c), mask)
                r.store(r.add_product(r.load(place, mask), factor, row), place, mask)
    return f.text()


def _lu(t: Tile) -> str:
    """Factorize columns of a matrix with partial pivoting, by halves."""
    f = FunctionWriter(
        "lu",
        "i64 %threads, i64 %m, i64 %n, ptr %a, i64 %row, ptr %row0, i64 %width, "
        f"ptr %places, {ROOM}",
        "internal",
    )
    r = Rows(f, t)
    small = f.compare("sle", "%n", PANEL)
    with f.when(small):
        f.do(
            "call void @lu_base(i64 %m, i64 %n, ptr %a, i64 %row, ptr %row0, "
            "i64 %width, ptr %places)"
        )
    with f.unless(small):
        n1, n2 = halved(f, "%n", PANEL)
        m2 = f.sub("%m", n1)
        beside = r.at("%a", n1)
        down = f.mul(n1, "%row")
        below, corner = r.at("%a", down), r.at(beside, down)

        def part(m: str, n: str, a: str, row0: str, places: str) -> None:
            f.do(
                f"call void @lu(i64 %threads, i64 {m}, i64 {n}, ptr {a}, i64 %row, "
                f"ptr {row0}, i64 %width, ptr {places}, {ROOM})"
            )

        part("%m", n1, "%a", "%row0", "%places")
        f.do(
            f"call void @share(i64 %threads, i64 {n1}, i64 {n2}, ptr %a, i64 %row, "
            f"i64 1, ptr {beside}, i64 %row, i1 true, {ROOM})"
        )
        f.do(
            f"call void @subtract(i64 %threads, ptr {corner}, i64 %row, i64 {m2}, "
            f"i64 {n2}, i64 {n1}, ptr {below}, i64 %row, i64 1, ptr {beside}, "
            f"i64 %row, {ROOM})"
        )
        part(m2, n2, corner, r.at("%row0", down), r.at("%places", n1))
    return f.text()


# ------------------------------------------------------------------------- routines


def _matrix(t: Tile, name: str) -> str:
    """Run a routine on one matrix of a batch."""
    f = FunctionWriter(
        f"{name}_matrix",
        "i64 %threads, ptr %words, i64 %batch, i64 %chunk",
        "internal",
    )
    r = Rows(f, t)
    w = {word: f.word("%words", number) for number, word in enumerate(WORDS)}
    n, k = w["n"], w["k"]
    rest = f.local("i64")
    f.store("i64 %batch", rest)
    moved = [f.local("i64") for _ in range(3)]
    for cell in moved:
        f.store("i64 0", cell)
    with f.loop(0, w["axes"]) as axis:
        base = f.add(f.mul(axis, 4), len(WORDS))
        size = f.word("%words", base)
        left = f.load("i64", rest)
        at = f.mod(left, size)
        f.store(f"i64 {f.div(left, size)}", rest)
        for number, cell in enumerate(moved):
            stride = f.word("%words", f.add(base, number + 1))
            f.store(f"i64 {f.add(f.load('i64', cell), f.mul(at, stride))}", cell)

    def array(word: str, number: int) -> str:
        start = f(f"inttoptr i64 {w[word]} to ptr")
        return r.at(start, f.load("i64", moved[number]))

    a, b, out = array("a", 0), array("b", 1), array("out", 2)
    packed = f(f"inttoptr i64 {w['packed']} to ptr")
    packed = f.element(t.kind, packed, f.mul("%chunk", w["room"]))
    given = f"ptr {packed}, i64 {w['room']}"
    row = w["out_row"]
    f.do(
        f"call void @copy(i64 {n}, i64 {k}, ptr {b}, i64 {w['b_row']}, ptr {out}, "
        f"i64 {row})"
    )
    if name == "trsm":
        unit = f.compare("ne", w["unit"], 0)
        f.do(
            f"call void @share(i64 %threads, i64 {n}, i64 {k}, ptr {a}, "
            f"i64 {w['a_row']}, i64 {w['a_column']}, ptr {out}, i64 {row}, i1 {unit}, "
            f"{given})"
        )
        step = f.add(w["a_row"], w["a_column"])
        bad = _any(f, r, n, a, step, "oeq")
        bad = f("and i1", bad, f("xor i1", unit, "true"))
    elif name == "cholesky":
        f.do(
            f"call void @cholesky(i64 %threads, i64 {n}, ptr {out}, i64 {row}, {given})"
        )
        with f.loop(1, n) as i, f.loop(0, i) as j:
            r.put("0.0", r.at(out, f.mul(i, row), j))
        bad = _any(f, r, n, out, f.add(row, 1), "ule")
    else:
        places = r.at(out, f.mul(n, row))
        with f.loop(0, n) as i:
            here = r.at(places, i)
            r.put(f(f"sitofp i64 {i} to {t.kind}"), here)
            r.put("1.0", r.at(here, f.mul(n, 2)))
        f.do(
            f"call void @lu(i64 %threads, i64 {n}, i64 {n}, ptr {out}, i64 {row}, "
            f"ptr {out}, i64 {n}, ptr {places}, {given})"
        )
        with f.loop(0, n) as i:
            place = f(f"fptosi {t.kind} {r.number(r.at(places, i))} to i64")
            value = f(f"sitofp i64 {i} to {t.kind}")
            r.put(value, r.at(places, n, place))
        return f.text()
    with f.when(bad):
        f.do(f"call void @fill(i64 {n}, i64 {k}, ptr {out}, i64 {row})")
    return f.text()


def _any(f: FunctionWriter, r: Rows, n: str, x: str, step: str, relation: str) -> str:
    """Tell whether a number on a diagonal has a relation to 0."""
    found = f.local("i1", 1)
    f.store("i1 false", found)
    with f.loop(0, n) as i:
        value = r.number(r.at(x, f.mul(i, step)))
        hit = f(f"fcmp {relation} {r.t.kind}", value, "0.0")
        f.store(f"i1 {f('or i1', hit, f.load('i1', found))}", found)
    return f.load("i1", found)


def _matrices(name: str) -> str:
    """Run a routine on matrices lo to hi of a batch, all in one thread."""
    f = FunctionWriter(
        f"{name}_some", "i64 %lo, i64 %hi, i64 %chunk, ptr %words", "internal"
    )
    rooms = f.word("%words", WORDS.index("rooms"))
    room = f.min("%chunk", f.sub(rooms, 1))
    with f.loop("%lo", "%hi") as batch:
        f.do(f"call void @{name}_matrix(i64 1, ptr %words, i64 {batch}, i64 {room})")
    return f.text()


def _routine(letter: str, name: str) -> str:
    """Share the matrices of a batch among threads, or the products of a few.

    A chunk has room of its own for parts of products; those that need none may be more.
    """
    f = FunctionWriter(f"graphc_{name}_{letter}", "i64 %threads, ptr %words")
    n, k, axes, rooms = (
        f.word("%words", WORDS.index(w)) for w in ("n", "k", "axes", "rooms")
    )
    count = f.local("i64")
    f.store("i64 1", count)
    with f.loop(0, axes) as axis:
        size = f.word("%words", f.add(f.mul(axis, 4), len(WORDS)))
        f.store(f"i64 {f.mul(f.load('i64', count), size)}", count)
    batch = f.load("i64", count)
    small = f.compare("sle", n, PANEL if name == "lu" else BASE)
    if name == "trsm":
        small = f("or i1", small, f.compare("sle", k, FEW))
    shared = f("or i1", small, f.compare("sge", rooms, FEWEST))
    with f.when(shared):
        work = f.div(f.mul(f.mul(batch, f.mul(n, n)), f.max(k, 1)), GRAIN)
        most = f.select(small, f.min(batch, MOST_CHUNKS), rooms)
        chunks = f.max(f.min(work, most), 1)
        f.do(
            f"call void @graphc_launch(i64 %threads, ptr @{name}_some, i64 {batch}, "
            f"i64 {chunks}, ptr %words)"
        )
    with f.unless(shared), f.loop(0, batch) as matrix:
        f.do(f"call void @{name}_matrix(i64 %threads, ptr %words, i64 {matrix}, i64 0)")
    return f.text()
