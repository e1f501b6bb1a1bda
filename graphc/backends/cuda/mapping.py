"""Which threads run what of a kernel.

A kernel of the IR is a parallel loop over rows around inner loops. There are three ways
to share it out:

- **rows**: each thread runs rows of its own, inner loops and all. Threads next to each
  other read what lies next to each other if rows are elements.
- **inner**: the threads of a warp or a block (the *lanes*) run a row together: its
  inner loops are dealt out, and reductions end in a tree over the lanes.
- **serial**: one thread runs each chunk of rows. It is always possible.

The choice weighs the memory transactions of each way: 32 threads that read 32 elements
in a row are a few, 32 that read far apart are 32. It depends on the kernel and on sizes
alone, never on the device, and trees are fixed: results are the same on every device,
and every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from graphc.backends.cuda.sharing import Access, access_of, atoms_of, remember
from graphc.kernels.canonical import Canonical
from graphc.kernels.ir import (
    Buffer,
    Dynamic,
    Instruction,
    Kernel,
    Load,
    Loop,
    LoopVar,
    Statement,
    Store,
    all_values,
)
from graphc.kernels.widen import groups_of, innermost, is_multiple, widened
from graphc.schedule.evaluate import KernelCall
from graphc.schedule.machine import Machine
from graphc.types import sizes
from graphc.types.sizes import Function, SizeLike

MACHINE = Machine(
    name="cuda", chunks=528, chunk_work=1 << 14, blocks=False, pipelines=False
)
"""What the schedule is told: chunks for four blocks on each of 132 processors."""

WARP = 32
VECTOR = 16
"""Bytes that a thread loads or stores at a time, at the most."""

SECTOR = 32
"""Bytes that memory moves at the least."""

LONGEST_LANES = 512
THREADS = 256
BLOCKS = 132 * 8
"""Blocks of a launch at the most: what more there is, each does in turn."""

WIDEST = 4
"""Elements of a vector at the most."""

MOST_WORK = 400
"""Operations of vectorized loops at the most: numba compiles slowly, and what computes
so much does not wait for memory."""

BUSY = 132 * 512
"""Threads below which memory waits for threads."""

_UNKNOWN = 32  # rounds of a loop whose extent depends on other loops


@dataclass(frozen=True)
class Mapping:
    """How the threads of a launch share a kernel.

    Attributes
    ----------
    kind : str
        "rows", "inner" or "serial".
    lanes : int
        Threads that run a row (or, of a chunk with totals, all its rows) together.
    threads : int
        Of a block, a multiple of the lanes.
    narrow : bool
        Whether all indices fit 32 bits.
    simulated : bool
        Whether warps have no instructions of their own.
    width : int
        Rounds of the shared loops that a thread runs at a time: elements of a vector.
    """

    kind: str
    lanes: int
    threads: int
    narrow: bool
    simulated: bool = False
    width: int = 1

    def kernel(self, kernel: Kernel) -> Kernel:
        """Return a kernel with its shared loops widened: what is to be printed."""
        if self.width == 1:
            return kernel
        return _widened(kernel, self.width, self.kind == "rows")


# ----------------------------------------------------------------- the choice


def choose(
    call: KernelCall,
    size: Callable[[SizeLike], int],
    simulated: bool = False,
    aligned: bool = True,
) -> Mapping:
    """Return how a kernel is shared out at some sizes.

    Parameters
    ----------
    call : KernelCall
    size : callable
        Gives the integer of a size that depends on dimensions only.
    simulated : bool
        Whether the simulator runs it: few threads, no warps.
    aligned : bool
        Whether all buffers begin at multiples of 16 bytes.
    """
    kernel = call.kernel
    access = access_of(kernel)
    elements = [size(m.size) for m in call.memory]
    rows = size(kernel.rows)
    narrow = max([rows, size(call.chunks), *elements], default=0) < 2**31 - 2**20
    kind = _kind(call, access, size, simulated)
    width = _width(kernel, access, kind, size) if aligned else 1
    if kind == "inner":
        longest = max(
            (_extent(s, size) for s in _dealt_loops(kernel, access)), default=1
        )
        lanes = _lanes(-(-longest // width), simulated)
        threads = lanes if simulated or lanes > WARP else THREADS
    else:
        threads = 4 if simulated else THREADS
        rows = rows // width
        if rows < threads:
            threads = min(threads, max(1, -(-rows // WARP)) * WARP)
        lanes = threads if kind == "rows" and access.chunked else 1
    return Mapping(kind, lanes, threads, narrow, simulated, width)


def _kind(
    call: KernelCall,
    access: Access,
    size: Callable[[SizeLike], int],
    simulated: bool,
) -> str:
    """Return the way of sharing that moves the fewest bytes."""
    dealt = access.inner and bool(access.dealt)
    if not (access.rows and dealt):
        return "rows" if access.rows else "inner" if dealt else "serial"
    kernel = call.kernel
    rows, chunks = size(kernel.rows), size(call.chunks)
    threads = min(rows, chunks * THREADS) if access.chunked else rows
    by_rows = _cost(kernel, access, size, None) * _idle(threads)
    longest = max(_extent(s, size) for s in _dealt_loops(kernel, access))
    lanes = min(longest, _lanes(longest, simulated))
    groups = chunks if access.chunked else rows
    by_inner = _cost(kernel, access, size, access.dealt) * _idle(groups * lanes)
    return "rows" if by_rows <= by_inner else "inner"


def _width(
    kernel: Kernel, access: Access, kind: str, size: Callable[[SizeLike], int]
) -> int:
    """Return how many rounds at a time make vector loads, 1 if none are sure to."""
    if kind == "serial":
        return 1
    if kind == "rows":
        bodies = [(part.extent, part.body) for part in kernel.loops]
        if len(bodies) != 1 or not innermost(bodies[0][1]):
            return 1
    else:
        loops = [s for s in _dealt_loops(kernel, access) if innermost(s.body)]
        bodies = [(s.extent, s.body) for s in loops]
    widest = max(
        (
            v.dtype.itemsize
            for _, body in bodies
            for v in [
                *all_values(body),
                *(s.buffer for s in body if isinstance(s, Store)),
            ]
            if isinstance(v, (Load, Buffer))
        ),
        default=VECTOR,
    )
    width = min(WIDEST, VECTOR // widest)
    work = sum(
        isinstance(v, Instruction) for _, body in bodies for v in all_values(body)
    )
    if work * width > MOST_WORK:
        return 1
    try:
        if width == 1 or any(size(extent) % width for extent, _ in bodies):
            return 1
    except KeyError:
        return 1
    new = _widened(kernel, width, kind == "rows")
    canonical = Canonical(new)
    found = [
        group
        for body in wide_bodies(new, kind == "rows")
        for group in groups_of(body, width, canonical.offset)
    ]
    sure = all(is_multiple(g.base, width, size) for g in found) and all(
        size(start) % width == 0 for start in canonical.starts.values()
    )
    return width if found and sure else 1


def wide_bodies(kernel: Kernel, rows: bool) -> list[list[Statement]]:
    """Return the bodies of the loops of a widened kernel that may be wide."""
    if rows:
        return [part.body for part in kernel.loops]
    return [
        s.body for s in kernel.statements() if isinstance(s, Loop) and innermost(s.body)
    ]


def _widened(kernel: Kernel, width: int, rows: bool) -> Kernel:
    known = _wide.setdefault(kernel, {})
    found = known.get((width, rows))
    if found is None:
        access = access_of(kernel)
        found = widened(kernel, width, None if rows else access.dealt)
        known[width, rows] = found
        remember(found, Access(found, access.private))
    return found


def grid(
    call: KernelCall, mapping: Mapping, size: Callable[[SizeLike], int]
) -> tuple[int, int]:
    """Return the blocks of a launch, and their threads; no blocks: nothing to do."""
    rows = size(mapping.kernel(call.kernel).rows)
    groups = mapping.threads // mapping.lanes
    if access_of(call.kernel).chunked:
        return -(-size(call.chunks) // groups), mapping.threads
    blocks = -(-rows // groups)
    return min(blocks, 4 if mapping.simulated else BLOCKS), mapping.threads


_wide: WeakKeyDictionary[Kernel, dict[tuple[int, bool], Kernel]] = WeakKeyDictionary()


def _lanes(longest: int, simulated: bool) -> int:
    if simulated:
        return 4
    lanes = WARP
    while lanes < LONGEST_LANES and longest > 8 * lanes:
        lanes *= 2
    return lanes


def _idle(threads: int) -> float:
    """Return by how much memory waits for want of threads."""
    return max(1.0, BUSY / max(1, threads))


def _dealt_loops(kernel: Kernel, access: Access) -> Iterator[Loop]:
    for s in kernel.statements():
        if id(s) in access.dealt:
            assert isinstance(s, Loop)
            yield s


def _extent(loop: Loop, size: Callable[[SizeLike], int]) -> int:
    try:
        return size(loop.extent)
    except KeyError:
        return _UNKNOWN


def _cost(
    kernel: Kernel,
    access: Access,
    size: Callable[[SizeLike], int],
    dealt: set[int] | None,
) -> float:
    """Return the bytes that the accesses of a row move, in ways to deal it out.

    Parameters
    ----------
    dealt : set of int or None
        The ids of the loops that are dealt out; None if rows are.
    """
    total = 0.0
    stack: list[tuple[Statement, float, LoopVar | None]] = []
    for part in kernel.loops:
        var = part.var if dealt is None else None
        stack += [(s, 1.0, var) for s in part.body]
    while stack:
        s, weight, var = stack.pop()
        if isinstance(s, Loop):
            if dealt is not None and id(s) in dealt:
                var = s.var
            rounds = weight * max(1, _extent(s, size))
            stack += [(b, rounds, var) for b in s.body]
            continue
        loads = [v for v in all_values([s]) if isinstance(v, Load)]
        places = [(v.offset, v.dtype.itemsize) for v in loads]
        if isinstance(s, Store):
            places.append((s.offset, s.buffer.dtype.itemsize))
        for offset, itemsize in places:
            total += weight * _moved(_stride(offset, var, size), itemsize)
    return total


def _moved(stride: int, itemsize: int) -> float:
    """Return the bytes that one thread's access moves, its neighbours' considered."""
    if stride == 0:
        return SECTOR / WARP
    return min(SECTOR, abs(stride) * itemsize)


def _stride(
    offset: SizeLike, var: LoopVar | None, size: Callable[[SizeLike], int]
) -> int:
    """Return how far apart two threads next to each other read."""
    if var is None or isinstance(offset, int):
        return 0
    stride = 0
    for monomial, c in offset.terms:
        factor, found = c, False
        for atom in monomial:
            if atom == var:
                found = True
            elif isinstance(atom, Function) and var in atoms_of(sizes.of_atom(atom)):
                if atom.name == "//":
                    factor = 0  # the same for most neighbours
                else:
                    factor *= _stride(atom.left, var, size) or 1
                found = True
            elif isinstance(atom, Dynamic):
                if var in atoms_of(sizes.of_atom(atom)):
                    return SECTOR
            else:
                try:
                    factor *= size(sizes.of_atom(atom))
                except KeyError:
                    factor *= _UNKNOWN
        if found:
            stride += factor
    return stride
