"""Which loops of a kernel may be shared out among threads.

A loop may be if its rounds do not wait for each other: each element is stored to in one
round, and what outlives a round is a reduction's total. What a row keeps in memory of
the kernel's own, and each lane reads only where it wrote, is the lane's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

from graphc.kernels.ir import (
    Accumulator,
    Current,
    Dynamic,
    Kernel,
    Load,
    Loop,
    LoopVar,
    Set,
    Start,
    Statement,
    Store,
    Update,
    all_values,
    size_of,
    value_atoms,
)
from graphc.types import sizes
from graphc.types.sizes import Function, SizeLike


class Access:
    """What of a kernel decides which threads may run it, and how.

    Attributes
    ----------
    chunked : bool
        Whether chunks have memory or totals of their own.
    rows : bool
        Whether the rows of a chunk may run at the same time.
    dealt : set of int
        The ids of the inner loops that may be dealt out: each innermost, or the loop
        around it.
    inner : bool
        Whether every inner loop is, or is within or around, one of `dealt`.
    private : dict of int to int
        Buffers, by their numbers, of which each lane reads only what it wrote itself:
        rows of values kept between loops. They are the lanes' own memory, so many
        elements of a row together. They make no kernel `chunked`.
    """

    def __init__(self, kernel: Kernel, private: dict[int, int] | None = None):
        bodies = [kernel.before, *(p.body for p in kernel.loops), kernel.after]
        within = [
            s for p in kernel.loops for s in _walk(p.body) if isinstance(s, Store)
        ]
        self.rows = not any(kernel.chunk in atoms_of(s.offset) for s in within)
        self.dealt: set[int] = set()
        self.inner = True
        for body in bodies:
            for s in body:
                if isinstance(s, Loop):
                    self.inner &= self._deal(s)
        if private is None:
            private = self._private(kernel) if self.inner else {}
        self.private = private
        self.chunked = bool(kernel.before or kernel.after) or any(
            s.buffer.number not in self.private and kernel.chunk in atoms_of(s.offset)
            for s in within
        )
        self.rows = self.rows and all(
            may_deal(part.var, part.body) or not self.chunked for part in kernel.loops
        )

    def _private(self, kernel: Kernel) -> dict[int, int]:
        """Return buffers that hold a row's values for the lane that made them."""
        found: dict[int, set[object]] = {}
        for body, loop in _with_loops(kernel):
            inside = loop is not None and id(loop) in self.dealt
            for s in body:
                places = [
                    (v.buffer, v.offset) for v in all_values([s]) if isinstance(v, Load)
                ]
                if isinstance(s, Store):
                    places.append((s.buffer, s.offset))
                for buffer, offset in places:
                    if not buffer.written:
                        continue
                    row: object = None
                    if inside and loop is not None and isinstance(loop.extent, int):
                        start = sizes.of_atom(kernel.chunk) * loop.extent
                        if offset == start + sizes.of_atom(loop.var):
                            row = loop.extent
                    if isinstance(s, Store) and s.instruction is not None:
                        row = None
                    found.setdefault(buffer.number, set()).add(row)
        return {
            number: next(iter(rows))  # type: ignore[misc]
            for number, rows in found.items()
            if len(rows) == 1 and None not in rows
        }

    def _deal(self, loop: Loop) -> bool:
        """Choose what to deal out of a nest; tell whether all its loops are covered."""
        inner = [s for s in loop.body if isinstance(s, Loop)]
        if inner and all(self._deal(s) for s in inner):
            # what stands beside loops within this one runs on all lanes alike, which
            # only a store of one lane, and no running total, survives
            if not any(isinstance(s, Set) for s in loop.body):
                return True
        if may_deal(loop.var, loop.body):
            for s in _walk(loop.body):
                self.dealt.discard(id(s))
            self.dealt.add(id(loop))
            return True
        return False


def may_deal(var: LoopVar, body: Sequence[Statement]) -> bool:
    """Tell whether the rounds of a loop may run at the same time.

    So they may if each element is stored to in one round only, and if what outlives a
    round is a reduction's total, or nothing.
    """
    own = {s.accumulator.number for s in _walk(body) if isinstance(s, Start)}
    innermost = not any(isinstance(s, Loop) for s in body)
    for s in _walk(body):
        if isinstance(s, Set) and s.accumulator.number not in own:
            return False
        if isinstance(s, Store) and not _apart(s, var, innermost):
            return False
    for v in all_values(body):
        if isinstance(v, Current) and v.accumulator.number not in own:
            return False
        if isinstance(v, Accumulator) and v.number not in own:
            if any(
                isinstance(s, Update) and s.accumulator.number == v.number
                for s in _walk(body)
            ):
                return False
    return True


def _apart(store: Store, var: LoopVar, innermost: bool) -> bool:
    """Tell whether each round of a loop stores to places of its own.

    Plain stores of a kernel go to each element once, unless indices are computed.
    """
    linear = False
    if isinstance(store.offset, int):
        return False
    for monomial, _ in store.offset.terms:
        for atom in monomial:
            if atom == var:
                linear = True
            elif isinstance(atom, Dynamic):
                if var in atoms_of(sizes.of_atom(atom)) or not innermost:
                    return False
            elif isinstance(atom, Function) and var in atoms_of(sizes.of_atom(atom)):
                if store.instruction is not None or innermost:
                    return False
                linear = True
    return linear and (store.instruction is None or innermost)


def _with_loops(
    kernel: Kernel,
) -> Iterator[tuple[list[Statement], Loop | None]]:
    """Return the statements that are no loops, with the innermost loop around them."""
    stack: list[tuple[Sequence[Statement], Loop | None]] = [
        (body, None)
        for body in (kernel.before, *(p.body for p in kernel.loops), kernel.after)
    ]
    while stack:
        body, loop = stack.pop()
        yield [s for s in body if not isinstance(s, Loop)], loop
        stack += [(s.body, s) for s in body if isinstance(s, Loop)]


def _walk(body: Sequence[Statement]) -> Iterator[Statement]:
    for s in body:
        yield s
        if isinstance(s, Loop):
            yield from _walk(s.body)


def atoms_of(size: SizeLike) -> set[object]:
    """Return the atoms that an index depends on, through computed ones too."""
    out: set[object] = set()
    stack = list(value_atoms(size))
    while stack:
        atom = stack.pop()
        if atom in out:
            continue
        out.add(atom)
        if isinstance(atom, Dynamic):
            stack += [
                a for s in _sizes_of(atom.value) for a in value_atoms(s) if a not in out
            ]
    return out


def _sizes_of(value: object) -> Iterator[SizeLike]:
    stack, seen = [value], set()
    while stack:
        v = stack.pop()
        if id(v) in seen:
            continue
        seen.add(id(v))
        yield size_of(v)  # type: ignore[arg-type]
        stack += list(getattr(v, "operands", ()))
        if isinstance(v, Current):
            yield sizes.of_atom(v.loop)


def access_of(kernel: Kernel) -> Access:
    """Return what of a kernel decides which threads may run it."""
    found = _known.get(kernel)
    if found is None:
        found = _known[kernel] = Access(kernel)
    return found


_known: WeakKeyDictionary[Kernel, Access] = WeakKeyDictionary()


def remember(kernel: Kernel, access: Access) -> None:
    """Let `access_of` a kernel be something known otherwise."""
    _known[kernel] = access
