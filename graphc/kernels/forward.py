"""Values kept in memory of a kernel's own are passed on directly where that is plain.

A row of values that is kept between loops becomes, once these are written out, a few
elements that are stored and loaded in straight-line code. Such a load is the value that
was stored (store-to-load forwarding), and what nobody loads need not be stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphc.kernels.bounds import Bounds
from graphc.kernels.builder import Values
from graphc.kernels.copy import Copy, Names
from graphc.kernels.ir import (
    Kernel,
    Load,
    Loop,
    LoopVar,
    Statement,
    Store,
    all_values,
    value_atoms,
)
from graphc.types.sizes import SizeLike


def forward_stores(kernel: Kernel, k: Values) -> Kernel:
    """Return a kernel without memory of its own that straight-line code can do without.

    Parameters
    ----------
    kernel : Kernel
        With one loop over rows.
    k : Values
        What the kernel's values were built with.

    Returns
    -------
    Kernel
        The same one if there is nothing to pass on. Buffers that are no longer used
        stay among its buffers.
    """
    if len(kernel.loops) != 1:
        return kernel
    (part,) = kernel.loops
    own = _straight(kernel, part.body)
    if not own:
        return kernel
    nothing = LoopVar("none", -1)
    copy = Copy(k, Names.of(kernel), nothing, None, 0, Bounds())
    copy.loops[part.var] = part.var
    kept: dict[tuple[int, SizeLike], object] = {}
    body: list[Statement] = []
    for s in part.body:
        for v in list(all_values([s])):
            if isinstance(v, Load) and v.buffer.number in own:
                copy.values[id(v)] = kept[v.buffer.number, v.offset]  # type: ignore[assignment]
                copy.kept.append(v)
        if isinstance(s, Store) and s.buffer.number in own:
            kept[s.buffer.number, s.offset] = copy.value(s.value)
        else:
            body += copy.statements([s])
    return replace(kernel, loops=[replace(part, body=body)])


def _straight(kernel: Kernel, body: Sequence[Statement]) -> set[int]:
    """Return the chunk's own buffers that each row stores to before it loads, once."""
    written = {b.number for b in kernel.buffers if b.written}
    stored: dict[int, set[SizeLike]] = {}
    loaded: set[int] = set()
    bad: set[int] = set()
    for s in (*kernel.before, *kernel.after):
        for inside in [s, *(_within(s))]:
            if isinstance(inside, Store):
                bad.add(inside.buffer.number)
    for s in body:
        places = [v for v in all_values([s]) if isinstance(v, Load)]
        for v in places:
            number = v.buffer.number
            if number in written:
                loaded.add(number)
                if isinstance(s, Loop) or v.offset not in stored.get(number, ()):
                    bad.add(number)
        for inside in [s, *_within(s)]:
            if not isinstance(inside, Store):
                continue
            number, offset = inside.buffer.number, inside.offset
            known = stored.setdefault(number, set())
            if (
                isinstance(s, Loop)
                or inside.instruction is not None
                or offset in known
                or kernel.chunk not in list(value_atoms(offset))
            ):
                bad.add(number)
            known.add(offset)
    return (set(stored) & loaded) - bad


def _within(s: Statement) -> list[Statement]:
    return [x for b in s.body for x in [b, *_within(b)]] if isinstance(s, Loop) else []
