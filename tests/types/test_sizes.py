"""The algebra of symbolic sizes against that of integers."""

from __future__ import annotations

import pickle
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.types import sizes
from graphc.types.errors import ShapeError
from graphc.types.size_text import parse
from graphc.types.sizes import Dim, SizeLike, dim

NAMES = "nmk"
n, m, k = map(dim, NAMES)
OPERATIONS = {
    "+": (lambda a, b: a + b, lambda a, b: a + b),
    "-": (lambda a, b: a - b, lambda a, b: a - b),
    "*": (lambda a, b: a * b, lambda a, b: a * b),
    "//": (sizes.floordiv, lambda a, b: a // b),
    "%": (sizes.mod, lambda a, b: a % b),
    "min": (sizes.minimum, min),
    "max": (sizes.maximum, max),
}


@st.composite
def pairs(draw, depth=4):
    """Return a size and a function that computes it from dimensions' integers.

    Division is by what is not zero for any positive dimension.
    """
    kind = draw(st.sampled_from("dc" if depth == 0 else "dcooooo"))
    if kind == "d":
        name = draw(st.sampled_from(NAMES))
        return dim(name), lambda v: v[name]
    if kind == "c":
        number = draw(st.integers(-4, 4))
        return number, lambda v: number
    operation = draw(st.sampled_from(sorted(OPERATIONS)))
    left, left_value = draw(pairs(depth - 1))
    if operation in ("//", "%"):
        right, right_value = draw(divisors())
    else:
        right, right_value = draw(pairs(depth - 1))
    symbolic, plain = OPERATIONS[operation]
    return symbolic(left, right), lambda v: plain(left_value(v), right_value(v))


@st.composite
def divisors(draw):
    number = draw(st.integers(1, 6)) * draw(st.sampled_from([1, -1]))
    names = draw(st.lists(st.sampled_from(NAMES), max_size=2))
    more = draw(st.integers(0, 2)) * (1 if number > 0 else -1)
    size = sizes.product([number, *map(dim, names)]) + more

    def value(v):
        out = number
        for name in names:
            out *= v[name]
        return out + more

    return size, value


VALUES = st.fixed_dictionaries({name: st.integers(1, 9) for name in NAMES})


def evaluated(size, values):
    return sizes.evaluate(size, lambda atom: values[atom.name])


@settings(max_examples=300, deadline=None)
@given(pairs(), VALUES)
def test_every_formula_has_its_value(pair, values):
    size, value = pair
    assert evaluated(size, values) == value(values)


@settings(max_examples=300, deadline=None)
@given(pairs())
def test_text_reads_back(pair):
    size, _ = pair
    assert parse(str(size)) == size


@settings(max_examples=100, deadline=None)
@given(pairs(), pairs(), VALUES)
def test_substitution(pair, other, values):
    size, value = pair
    new, new_value = other
    replaced = sizes.substitute(size, lambda atom: new if atom == Dim("n") else None)
    inner = {**values, "n": new_value(values)}
    if inner["n"] > 0:  # what was simplified for dimensions, which are not negative
        assert evaluated(replaced, values) == value(inner)


@settings(max_examples=100, deadline=None)
@given(pairs(), pairs(), pairs())
def test_ring_is_canonical(first, second, third):
    a, b, c = first[0], second[0], third[0]
    assert (a + b) * c == c * b + a * c
    assert a + b == b + a
    assert (a - b) + b == a
    assert a - a == 0
    assert hash((a + b) * c) == hash(a * c + b * c)


@settings(max_examples=100, deadline=None)
@given(pairs(), divisors())
def test_division_identity(pair, divisor):
    a, b = pair[0], divisor[0]
    values = {"n": 3, "m": 5, "k": 2}
    again = sizes.floordiv(a, b) * b + sizes.mod(a, b)
    assert evaluated(again, values) == evaluated(a, values)


def test_pickle_and_order():
    size = parse("max(n*m - 1, 0) // 2 + k")
    assert pickle.loads(pickle.dumps(size)) == size
    assert str(k + m + n) == str(n + m + k) == "k + m + n"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("(n + 1)*n", "n*n + n"),
        ("n*m // n", "m"),
        ("(3*n + 1) // 2", "((n + 1)//2) + n"),
        ("(2*n + 1) // 4", "n//2"),
        ("(2*n + 3) % 4", "2*((n + 1)%2) + 1"),
        ("(n // 2 + 1) // 2", "(n + 2)//4"),
        ("n // m // k", "n//(k*m)"),
        ("(m*(n + 1) + k) // (n + 1)", "(k//(n + 1)) + m"),
        ("(m*(n + 1) + k) % (n + 1)", "k%(n + 1)"),
        ("(m*n + k) // n", "(k//n) + m"),
        ("(m*n + k) % n", "k%n"),
        ("n // (n + 1)", "n//(n + 1)"),
        ("max(max(n - 1, 0) - 1, 0)", "max(0, n - 2)"),
        ("min(min(n, 5) - 2, 2)", "min(2, n - 2)"),
        ("max(n, 2*n)", "2*n"),
        ("min(n, n*m + n)", "n"),
        ("max(n, 0)", "n"),
        ("min(n + 1, 0)", "0"),
        ("max(n % 3, 0)", "n%3"),
        ("n**3", "n*n*n"),
        ("-n + 1", "-n + 1"),
        ("max(n, m, 3)", "max(3, max(m, n))"),
        ("7", "7"),
    ],
)
def test_canonical_forms(text, canonical):
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    "text", ["", "n +", "n / 2", "f(n)", "n.m", "1.5", "True", "n if m else k", "[n]"]
)
def test_what_is_no_formula(text):
    with pytest.raises(ShapeError, match="is no formula"):
        parse(text)


def test_parse_refuses_division_by_zero_and_abysses():
    with pytest.raises(ShapeError, match="divides by zero"):
        parse("n // 0")
    with pytest.raises(ShapeError, match="is no formula"):
        parse("(" * 5000 + "n" + ")" * 5000)


def test_division_of_nothing():
    zero = sizes.dim("zero")
    at_zero = {"zero": 0, "n": 5}
    assert evaluated(sizes.floordiv(n, zero), at_zero) == 0
    assert evaluated(sizes.mod(n, zero), at_zero) == 0
    assert sizes.floordiv(n, 0) == sizes.mod(n, 0) == sizes.floordiv(3, 0) == 0


def test_traps():
    with pytest.raises(ShapeError, match="its truth is not known"):
        bool(n)
    with pytest.raises(ShapeError, match="its number is not known"):
        range(n)


def test_divides():
    assert sizes.divides(n, n * m)
    assert sizes.divides(3, 6 * n)
    assert sizes.divides(n + 1, n * m + m)
    assert not sizes.divides(n, m)
    assert not sizes.divides(n * m, n)
    assert not sizes.divides(0, n)
    assert not sizes.divides(n, 0)


def test_fresh_dimensions_differ():
    first, second = sizes.fresh_dim("n"), sizes.fresh_dim("n")
    assert first != second
    assert first != n
    assert str(first) == "n"


def test_unify():
    with sizes.recorded_equalities() as pairs:
        assert sizes.unify(n, n) == n
        assert sizes.unify(3, 4) is None
        assert sizes.unify(n, n + 1) is None
        assert pairs == []
        assert sizes.unify(n, 3) == 3
        assert sizes.unify(n * m, k) == k
        assert pairs == [(n, 3), (n * m, k)]


def test_dims_are_named_once():
    size = parse("max(n, m)*n + (k + n)//m")
    assert sorted(d.name for d in sizes.dims(size)) == ["k", "m", "n"]


def test_long_chains_stay_small():
    size: SizeLike = n
    for _ in range(2000):
        size = sizes.maximum(size - 1, 0)
    assert size == sizes.maximum(n - 2000, 0)
    for _ in range(200):
        size = sizes.floordiv(size + 1, 2)
    assert len(list(sizes.dims(size))) == 1


def test_sums_of_many_dimensions():
    total = 0
    names = [f"d{i}" for i in range(1000)]
    for name in names:
        total = total + dim(name)
    assert evaluated(total, dict.fromkeys(names, 2)) == 2000


def test_equalities_are_recorded_for_the_own_thread_only():
    n, m = sizes.dim("n"), sizes.dim("m")
    with sizes.recorded_equalities() as pairs:
        other = threading.Thread(target=sizes.unify, args=(n, m))
        other.start()
        other.join()
        assert pairs == []
        sizes.unify(n, m)
        assert pairs == [(n, m)]
