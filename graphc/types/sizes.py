"""Integers known only when a function runs: sizes of arrays, and indices into them.

A `Size` is a polynomial with integer coefficients in canonical form, so two
sizes are equal exactly when they are structurally equal: ``(n + 1) * n`` and
``n * n + n`` are one value. Its atoms are symbolic dimensions and the few
functions slicing and reshaping need: floor division, remainder, minimum and
maximum. The kernels' loop variables are atoms too (`kernels.ir.LoopVar`), which
makes index arithmetic the same algebra.

A size that is constant is a plain ``int``, never a `Size`.

Division simplifies as if the divisor were not zero (``n * m // n`` is ``m``): an
array with an axis of size zero has no element whose index could go wrong. What
is left to divide by zero at run time gives 0.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from graphc.types.errors import ShapeError

_serial = itertools.count(1)


class Atom:
    """An indivisible symbolic integer. Subclasses define `key`, unique per value."""

    __slots__ = ("key", "_hash", "_rank")

    def __init__(self, key: tuple):
        self.key = key
        self._hash = hash(key)
        self._rank: tuple | None = None

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Atom) and self.key == other.key)

    def __lt__(self, other: Atom) -> bool:
        return _order(self) < _order(other)

    def __reduce__(self):
        return (type(self)._restore, (self.key,))

    @classmethod
    def _restore(cls, key):
        raise NotImplementedError


def _order(atom: Atom) -> tuple:
    """Return the atom's sort key, the same in every process."""
    if atom._rank is None:
        atom._rank = (str(atom), type(atom).__name__, repr(atom.key))
    return atom._rank


class Dim(Atom):
    """A named dimension, positive or zero; equal names are the same dimension.

    A fresh dimension (``serial`` not zero) is equal to no other, whatever its name.
    """

    __slots__ = ("name", "serial")

    def __init__(self, name: str, serial: int = 0):
        super().__init__(("dim", name, serial))
        self.name = name
        self.serial = serial

    @classmethod
    def fresh(cls, name: str) -> Dim:
        return cls(name, next(_serial))

    @classmethod
    def _restore(cls, key):
        return cls(key[1], key[2])

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


class Function(Atom):
    """``floor(a / b)``, ``a mod b``, ``min(a, b)``, ``max(a, b)`` or ``within(a, b)``.

    The last is `clamp`'s: what indices are before they become offsets.
    """

    __slots__ = ("name", "left", "right")

    def __init__(self, name: str, left: SizeLike, right: SizeLike):
        super().__init__((name, left, right))
        self.name = name
        self.left = left
        self.right = right

    @classmethod
    def _restore(cls, key):
        return cls(*key)

    def __str__(self) -> str:
        if self.name not in ("//", "%"):
            return f"{self.name}({self.left}, {self.right})"
        return f"{_bracket(self.left)}{self.name}{_bracket(self.right)}"

    __repr__ = __str__


Monomial = tuple[Atom, ...]


class Size:
    """A canonical polynomial over atoms; see the module's docstring."""

    __slots__ = ("terms", "_hash", "_leaves")

    terms: tuple[tuple[Monomial, int], ...]
    # NumPy must not take a size for an object to put into an array.
    __array_ufunc__ = None

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]):
        self.terms = terms
        self._hash = hash(terms)
        self._leaves: tuple[Atom, ...] | None = None

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Size)
            and self._hash == other._hash
            and self.terms == other.terms
        )

    def __add__(self, other: SizeLike) -> SizeLike:
        if type(other) is int:  # by far the most frequent
            if other == 0:
                return self
            terms = self.terms
            if not terms[-1][0]:
                other, terms = other + terms[-1][1], terms[:-1]
            return Size((*terms, ((), other)) if other else terms)
        if not _is_size(other):
            return NotImplemented
        total = dict(self.terms)
        for monomial, c in _terms(other):
            total[monomial] = total.get(monomial, 0) + c
        return _canonical(total)

    __radd__ = __add__

    def __mul__(self, other: SizeLike) -> SizeLike:
        if type(other) is int:
            if other in (0, 1):
                return self if other else 0
            return Size(tuple([(m, c * other) for m, c in self.terms]))
        if not _is_size(other):
            return NotImplemented
        total: dict[Monomial, int] = {}
        for m1, c1 in self.terms:
            for m2, c2 in _terms(other):
                m = _joined(m1, m2)
                total[m] = total.get(m, 0) + c1 * c2
        return _canonical(total)

    __rmul__ = __mul__

    def __neg__(self) -> SizeLike:
        return self * -1

    def __sub__(self, other: SizeLike) -> SizeLike:
        if type(other) is not Size:
            return self + (-other) if _is_size(other) else NotImplemented
        total = dict(self.terms)
        for monomial, c in other.terms:
            total[monomial] = total.get(monomial, 0) - c
        return _canonical(total)

    def __rsub__(self, other: SizeLike) -> SizeLike:
        if not _is_size(other):
            return NotImplemented
        return -self + other

    def __floordiv__(self, other: SizeLike) -> SizeLike:
        return floordiv(self, other) if _is_size(other) else NotImplemented

    def __mod__(self, other: SizeLike) -> SizeLike:
        return mod(self, other) if _is_size(other) else NotImplemented

    def __bool__(self) -> bool:
        raise ShapeError(
            f"size {self} is symbolic: its truth is not known before the function "
            "runs. Compare sizes with ==, which compares their formulas."
        )

    def __index__(self) -> int:
        raise ShapeError(
            f"size {self} is symbolic: its number is not known before the function "
            "runs. Give the input a fixed size, or keep the size as it is."
        )

    def __str__(self) -> str:
        out = []
        for monomial, c in self.terms:
            factors = [str(a) if isinstance(a, Dim) else f"({a})" for a in monomial]
            if len(self.terms) == 1 and c == 1 and len(factors) == 1:
                return str(monomial[0])
            if abs(c) != 1 or not factors:
                factors.insert(0, str(abs(c)))
            sign = "-" if c < 0 else "+"
            out.append(f" {sign} " + "*".join(factors))
        text = "".join(out)
        return text[3:] if text.startswith(" + ") else "-" + text[3:]

    __repr__ = __str__

    def __reduce__(self):
        return (Size, (self.terms,))

    def atoms(self) -> Iterator[Atom]:
        """Return the atoms that occur, outermost only, each once."""
        seen = set()
        for monomial, _ in self.terms:
            for a in monomial:
                if a not in seen:
                    seen.add(a)
                    yield a

    def leaves(self) -> tuple[Atom, ...]:
        """Return the atoms that are no functions of others, inner ones too.

        Kept, for kernels ask again and again on what an offset depends.
        """
        if self._leaves is None:
            out = []
            stack = list(self.atoms())
            while stack:
                atom = stack.pop()
                if isinstance(atom, Function):
                    for part in (atom.left, atom.right):
                        if not isinstance(part, int):
                            stack.extend(part.atoms())
                else:
                    out.append(atom)
            self._leaves = tuple(out)
        return self._leaves


SizeLike = int | Size


def _is_size(value: object) -> bool:
    """Tell whether a value takes part in size arithmetic: no floats, no expressions."""
    return isinstance(value, (Size, int)) or isinstance(value, numbers.Integral)


def _bracket(s: SizeLike) -> str:
    text = str(s)
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def _terms(s: SizeLike) -> Iterable[tuple[Monomial, int]]:
    if isinstance(s, Size):
        return s.terms
    return (((), int(s)),) if s else ()


def _canonical(total: Mapping[Monomial, int]) -> SizeLike:
    kept = [(m, c) for m, c in total.items() if c]
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    if len(kept) > 1:
        kept.sort(key=lambda t: (-len(t[0]), [_order(a) for a in t[0]]))
    return Size(tuple(kept))


def of_atom(atom: Atom) -> Size:
    """Return the size that is just `atom`."""
    return Size((((atom,), 1),))


def dim(name: str) -> Size:
    """Return the symbolic dimension of that name, as a size."""
    return of_atom(Dim(name))


def fresh_dim(name: str) -> Size:
    """Return a new dimension that equals no other."""
    return of_atom(Dim.fresh(name))


def floordiv(a: SizeLike, b: SizeLike) -> SizeLike:
    """Return ``floor(a / b)``, exactly divided where the terms allow."""
    if isinstance(a, int) and isinstance(b, int):
        return FUNCTIONS["//"](a, b)
    if b == 1:
        return a
    if a == 0 or b == 0:
        return 0
    if isinstance(b, int) and b < 0:
        return floordiv(-a, -b)
    exact, rest = _divide(a, b)
    if exact != 0:
        return exact + floordiv(rest, b)
    if isinstance(b, int):
        common, a, _ = _without_common_factor(a, b)
        if common != 1:
            return floordiv(a, b // common)
    inner, shift = _shifted_function(a, "//")
    if inner is not None and (
        _positive(inner.right) and _positive(b)
        if shift
        else non_negative(inner.right) and non_negative(b)
    ):
        # floor((floor(x / y) + k) / b) == floor((x + k*y) / (y*b)) for y, b > 0
        return floordiv(inner.left + inner.right * shift, inner.right * b)
    return of_atom(Function("//", a, b))


def mod(a: SizeLike, b: SizeLike) -> SizeLike:
    """Return the remainder of ``a / b``, of the sign of `b`."""
    if isinstance(a, int) and isinstance(b, int):
        return FUNCTIONS["%"](a, b)
    if b == 1 or a == 0 or b == 0:
        return 0
    if isinstance(b, int) and b < 0:
        return -mod(-a, -b)
    exact, rest = _divide(a, b)
    if exact != 0:
        return mod(rest, b)
    if isinstance(b, int):
        common, a, left = _without_common_factor(a, b)
        if common != 1:
            return mod(a, b // common) * common + left
    return of_atom(Function("%", a, b))


def _without_common_factor(a: SizeLike, b: int) -> tuple[int, SizeLike, int]:
    """Write ``a == g * reduced + left``, `g` dividing `b`; returns these three."""
    common = b
    constant = 0
    for monomial, c in _terms(a):
        if monomial:
            common = math.gcd(common, c)
        else:
            constant = c
    if common == 1:
        return 1, a, 0
    reduced: dict[Monomial, int] = {m: c // common for m, c in _terms(a)}
    return common, _canonical(reduced), constant % common


def _shifted_function(s: SizeLike, name: str) -> tuple[Function | None, int]:
    """Read `s` as ``function + integer``, a function of that name, else None."""
    terms = list(_terms(s))
    shift = terms.pop()[1] if terms and not terms[-1][0] else 0
    if len(terms) == 1 and terms[0][1] == 1 and len(terms[0][0]) == 1:
        atom = terms[0][0][0]
        if isinstance(atom, Function) and atom.name == name:
            return atom, shift
    return None, 0


def _divide(a: SizeLike, b: SizeLike) -> tuple[SizeLike, SizeLike]:
    """Split ``a == exact * b + rest``, `exact` being 0 where that brings nothing.

    For an integer `b` every coefficient of `rest` lies in ``0 .. b - 1``.
    """
    divisor = list(_terms(b))
    if not divisor:
        return 0, a
    (lead, coefficient), tail = divisor[0], divisor[1:]
    exact: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = dict(_terms(a))
    queue = list(rest)
    while queue:
        monomial = queue.pop()
        c = rest.get(monomial, 0)
        quotient = _quotient(monomial, lead)
        if quotient is None or (lead and c % coefficient) or not c // coefficient:
            continue
        q = c // coefficient
        exact[quotient] = exact.get(quotient, 0) + q
        rest[monomial] = c - q * coefficient
        for m, t in tail:  # of lower order: this ends
            changed = _joined(quotient, m)
            rest[changed] = rest.get(changed, 0) - q * t
            queue.append(changed)
    remaining = _canonical(rest)
    if tail and len(list(_terms(remaining))) >= len(list(_terms(a))):
        return 0, a
    return _canonical(exact), remaining


def _quotient(monomial: Monomial, by: Monomial) -> Monomial | None:
    left = list(monomial)
    for atom in by:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def _joined(a: Monomial, b: Monomial) -> Monomial:
    return tuple(sorted(a + b, key=_order)) if a and b else a + b


def divides(a: SizeLike, b: SizeLike) -> bool:
    """Tell whether `b` is surely a multiple of `a`, by another factor than 0."""
    if a == 0 or b == 0:
        return False
    exact, rest = _divide(b, a)
    return rest == 0 and exact != 0


def maximum(a: SizeLike, b: SizeLike) -> SizeLike:
    """Return the larger of two sizes."""
    return extremum("max", a, b)


def minimum(a: SizeLike, b: SizeLike) -> SizeLike:
    """Return the smaller of two sizes."""
    return extremum("min", a, b)


def extremum(name: str, a: SizeLike, b: SizeLike) -> SizeLike:
    """Return the "min" or "max" of two sizes."""
    if isinstance(a, int) and isinstance(b, int):
        return FUNCTIONS[name](a, b)
    difference = a - b
    if non_negative(difference):
        return a if name == "max" else b
    if non_negative(-difference):
        return b if name == "max" else a
    if isinstance(a, int):
        a, b = b, a
    if isinstance(b, int):
        inner, shift = _shifted_function(a, name)
        if inner is not None:
            # max(max(x, j) + k, b) == max(x + k, max(j + k, b))
            x, j = inner.left, inner.right
            if isinstance(x, int):
                x, j = j, x
            if isinstance(j, int):
                return extremum(name, x + shift, FUNCTIONS[name](j + shift, b))
    return of_atom(Function(name, *sorted((a, b), key=str)))


def clamp(index: SizeLike, count: SizeLike) -> SizeLike:
    """Return an index of an axis that may be read although the value is discarded.

    Where the axis may be empty that stays ``within(index, count)``, for then no place
    in it may be read, and who makes an offset of it has to know (`discarded`).
    """
    nearest = maximum(minimum(index, count - 1), 0)
    if nearest == index or non_negative(count - 1):
        return nearest
    return of_atom(Function("within", index, count))


def unclamped(s: SizeLike) -> tuple[SizeLike, list[SizeLike]]:
    """Write the clamped indices in a size as minima and maxima.

    Returns
    -------
    SizeLike
    list of SizeLike
        For each of them, 1 where it was no lower than 0 and its axis is not empty, and
        else 0. In a loop that is known to keep within the axis, both are simplified by
        the same knowledge.
    """
    if isinstance(s, int) or not any(_has_clamp(a) for a in s.atoms()):
        return s, []
    inside: dict[SizeLike, None] = {}

    def replaced(atom: Atom) -> SizeLike | None:
        if not isinstance(atom, Function) or atom.name != "within":
            return None
        index, more = unclamped(atom.left)
        inside.update(dict.fromkeys(more))
        below = minimum(index, atom.right - 1)
        inside[minimum(maximum(below + 1, 0), 1)] = None
        return maximum(below, 0)

    return substitute(s, replaced), list(inside)


def _has_clamp(atom: Atom) -> bool:
    """Tell whether an atom is made of a clamped index."""
    stack = [atom]
    while stack:
        top = stack.pop()
        if isinstance(top, Function):
            if top.name == "within":
                return True
            for part in (top.left, top.right):
                if not isinstance(part, int):
                    stack.extend(part.atoms())
    return False


def _positive(s: SizeLike) -> bool:
    return isinstance(s, int) and s > 0


def non_negative(s: SizeLike) -> bool:
    """Tell whether a size is surely >= 0 (dimensions are)."""
    for monomial, c in _terms(s):
        if c < 0:
            return False
        for atom in monomial:
            if isinstance(atom, Function) and not _NON_NEGATIVE[atom.name](
                atom.left, atom.right
            ):
                return False
    return True


_NON_NEGATIVE: dict[str, Callable[[SizeLike, SizeLike], bool]] = {
    "//": lambda a, b: non_negative(a) and non_negative(b),
    "%": lambda a, b: non_negative(b),
    "min": lambda a, b: non_negative(a) and non_negative(b),
    "max": lambda a, b: non_negative(a) or non_negative(b),
    "within": lambda a, b: True,
}


def product(sizes: Iterable[SizeLike]) -> SizeLike:
    """Return the product of sizes, 1 for none."""
    return math.prod(sizes)


def is_static(sizes: Iterable[SizeLike]) -> bool:
    """Tell whether every size is a plain integer."""
    return all(isinstance(s, int) for s in sizes)


def evaluate(
    s: SizeLike, values: Callable[[Any], int], memo: dict[Atom, int] | None = None
) -> int:
    """Return the integer a size stands for, `values` giving that of each dimension."""
    if isinstance(s, int):
        return s
    memo = {} if memo is None else memo
    total = 0
    for monomial, c in s.terms:
        for atom in monomial:
            if atom not in memo:
                if isinstance(atom, Function):
                    a = evaluate(atom.left, values, memo)
                    b = evaluate(atom.right, values, memo)
                    memo[atom] = FUNCTIONS[atom.name](a, b)
                else:
                    memo[atom] = values(atom)
            c *= memo[atom]
        total += c
    return total


FUNCTIONS: dict[str, Callable[[int, int], int]] = {
    "//": lambda a, b: a // b if b else 0,
    "%": lambda a, b: a % b if b else 0,
    "min": min,
    "max": max,
    "within": lambda a, b: max(min(a, b - 1), 0),
}


def substitute(
    s: SizeLike,
    replace: Callable[[Any], SizeLike | None],
    memo: dict[Atom, SizeLike] | None = None,
) -> SizeLike:
    """Return a size with atoms replaced; `replace` returns None to keep one."""
    if isinstance(s, int):
        return s
    memo = {} if memo is None else memo
    total: dict[Monomial, int] = {}
    for monomial, c in s.terms:
        term: SizeLike = c
        for atom in monomial:
            if atom not in memo:
                new = replace(atom)
                if new is None:
                    new = of_atom(atom)
                    if isinstance(atom, Function):
                        left = substitute(atom.left, replace, memo)
                        right = substitute(atom.right, replace, memo)
                        new = _REBUILD[atom.name](left, right)
                memo[atom] = new
            term = term * memo[atom]
        for part, factor in _terms(term):
            total[part] = total.get(part, 0) + factor
    return _canonical(total)


_REBUILD = {
    "//": floordiv,
    "%": mod,
    "min": minimum,
    "max": maximum,
    "within": clamp,
}


def dims(s: SizeLike) -> Iterator[Dim]:
    """Return the dimensions a size depends on, inner ones too, each once."""
    seen: set[Atom] = set()
    stack = [s]
    while stack:
        size = stack.pop()
        for atom in size.atoms() if isinstance(size, Size) else ():
            if atom in seen:
                continue
            seen.add(atom)
            if isinstance(atom, Dim):
                yield atom
            elif isinstance(atom, Function):
                stack += (atom.right, atom.left)


# ------------------------------------------------------------- equalities

# of each thread its own: graphs may be compiled in several at once
_recorder: ContextVar[list[tuple[SizeLike, SizeLike]] | None] = ContextVar(
    "recorder", default=None
)


@contextmanager
def recorded_equalities() -> Iterator[list[tuple[SizeLike, SizeLike]]]:
    """Collect the pairs of different symbolic sizes taken as equal meanwhile."""
    pairs: list[tuple[SizeLike, SizeLike]] = []
    token = _recorder.set(pairs)
    try:
        yield pairs
    finally:
        _recorder.reset(token)


def unify(a: SizeLike, b: SizeLike) -> SizeLike | None:
    """Return the one size that `a` and `b` must both have, None if they cannot.

    Different symbolic sizes are taken as equal, to be checked when the function
    is called; the integer, or else the shorter formula, represents both.
    """
    if a == b:
        return a
    if isinstance(a - b, int):
        return None
    recorder = _recorder.get()
    if recorder is not None:
        recorder.append((a, b))
    if isinstance(a, int):
        return a
    if isinstance(b, int):
        return b
    return min(a, b, key=lambda s: (len(str(s)), str(s)))
