"""Prints a kernel of the loop-nest IR as a Python function for numba's CUDA compiler.

The function's parameters are pointers to the buffers, then integers: the numbers of
rows and chunks, symbolic dimensions; and the address of a cell for the code of an index
error. How threads share the loops is told by `mapping.Mapping`:

- a loop that is *dealt out* runs rounds ``lane, lane + lanes, ...`` in each thread.
  Totals that it adds to get a part of their own, which a tree over the lanes adds up
  after the loop;
- what stands outside dealt loops is computed by all lanes alike, and stored by one;
- memory that the kernel itself reads back is followed by a barrier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.backends.cuda import primitives
from graphc.backends.cuda.mapping import WARP, Mapping
from graphc.backends.cuda.scalars import PythonModule, PythonScalars, Value, literal
from graphc.backends.cuda.sharing import access_of
from graphc.backends.placement import Frame, Placement
from graphc.kernels.canonical import Canonical
from graphc.kernels.copy import neutral
from graphc.kernels.ir import (
    Accumulator,
    Buffer,
    Dynamic,
    Kernel,
    Load,
    Loop,
    LoopVar,
    RowLoop,
    Set,
    Start,
    Statement,
    Store,
    Update,
    all_values,
    statements,
    value_atoms,
)
from graphc.kernels.widen import Group, groups_of
from graphc.types import dtypes, sizes
from graphc.types.sizes import Atom, SizeLike

_INDENT = "    "


class KernelPrinter(Placement):
    """Prints one kernel. After construction, `text` and `name` hold the result.

    Parameters
    ----------
    kernel : Kernel
        As `Mapping.kernel` returns it.
    canonical : Canonical
        What of it is given as arguments.
    mapping : Mapping

    Attributes
    ----------
    name : str
        The function's name, made of the hash of its code.
    text : str
        Python source that defines it.
    arguments : list of tuple
        What is passed, in order: ``("buffer", number)``, ``("rows",)``,
        ``("chunks",)``, ``("parameter", dimension)`` or ``("parameter", number of an
        index)``, whose error code is meant, and ``("error",)``.
    signature : tuple of str
        The type of each: ``float32*``, ``int32``, ...
    """

    def __init__(
        self,
        kernel: Kernel,
        canonical: Canonical,
        mapping: Mapping,
    ):
        self.module = PythonModule()
        super().__init__(PythonScalars(self.module))
        self.kernel = kernel
        self.canonical = canonical
        self.mapping = mapping
        self.access = access_of(kernel)
        private = self.access.private if mapping.kind == "inner" else {}
        self.private = {
            n: -(-row // (mapping.lanes * mapping.width)) * mapping.width
            for n, row in private.items()
        }
        self.round: tuple[LoopVar, str] | None = None  # of the loop dealt out
        self.index_type = dtypes.int32 if mapping.narrow else dtypes.int64
        self.kind = self.index_type.name
        self.entry: list[str] = []
        self.cells: dict[int, tuple[str, int]] = {}
        self.parameters: list[Atom | int] = []
        self.reports = False
        self.dealing = False  # whether a dealt loop is being printed
        loads = {
            v.buffer.number
            for v in all_values(list(kernel.statements()))
            if isinstance(v, Load)
        }
        self.shared = {
            s.buffer.number
            for s in kernel.statements()
            if isinstance(s, Store)
            and s.buffer.number not in self.private
            and (
                s.buffer.number in loads  # or what one store left, another changes
                or s.instruction is not None
                or any(isinstance(a, Dynamic) for a in value_atoms(s.offset))
            )
        }
        self.groups: dict[tuple, Group] = {}  # of the loop being printed
        self.vectors: dict[tuple[int, SizeLike], list[Value]] = {}
        self.stored: dict[tuple[int, SizeLike], list[Value]] = {}
        body = self._print()
        digest = hashlib.sha256(body.encode()).hexdigest()[:20]
        self.name = f"graphc_{digest}"
        self.text = body.replace("KERNEL", self.name)

    def namespace(self) -> dict[str, Any]:
        """Return the globals in which `text` is to be executed."""
        return primitives.namespace(self.mapping.simulated)

    # ------------------------------------------------------------ structure

    def _print(self) -> str:
        kernel, mapping = self.kernel, self.mapping
        self.k.lines = self.frames[0].lines
        self.k.scopes = [self.frames[0].memo]
        self.atoms[kernel.chunk] = (Value("group", self.index_type), 0)
        self._statements(kernel.before)
        for part in kernel.loops:
            self._rows(part)
        self._statements(kernel.after)
        # a buffer in the place of another has a pointer of its own type
        buffers = kernel.buffers
        self.arguments: list[tuple] = [("buffer", b.number) for b in buffers]
        names = [f"b{b.number}" for b in buffers]
        kinds = [f"{_memory(b.dtype)}*" for b in buffers]
        self.arguments += [("rows",), ("chunks",)]
        names += ["rows", "chunks"]
        self.arguments += [("parameter", p) for p in self.parameters]
        names += [f"p{i}" for i in range(len(self.parameters))]
        kinds += [self.kind] * (2 + len(self.parameters))
        if self.reports:
            self.arguments.append(("error",))
            names.append("error")
            kinds.append("int64*")
        self.signature = tuple(kinds)
        # of a block, and of the lane in its group; groups are numbered through
        head = [f"thread = {self.kind}(cuda.threadIdx.x)"]
        block = f"{self.kind}(cuda.blockIdx.x)"
        if mapping.lanes == 1:
            number = f"{block} * {self.kind}({mapping.threads}) + thread"
            head += [f"group = {self.kind}({number})"]
        elif mapping.lanes == mapping.threads:
            head += ["lane = thread", f"group = {block}"]
        else:
            groups = mapping.threads // mapping.lanes
            inside = f"thread // {self.kind}({mapping.lanes})"
            head += [
                f"lane = {self.kind}(thread % {self.kind}({mapping.lanes}))",
                f"group = {self.kind}({block} * {self.kind}({groups}) + {inside})",
            ]
        count = f"{self.kind}(cuda.gridDim.x)"
        groups = mapping.threads // mapping.lanes
        head += [f"groups = {self.kind}({count} * {self.kind}({groups}))"]
        if self.access.chunked:
            head += [
                "if group >= chunks:",
                f"{_INDENT}return",
                *(
                    f"{end} = {self.kind}(int64(rows) * (int64(group) + int64({one}))"
                    " // int64(chunks))"
                    for end, one in (("low", 0), ("high", 1))
                ),
            ]
        lines = [*head, *self.entry, *self.frames[0].lines]
        function = [f"def KERNEL({', '.join(names)}):"]
        function.append(f'{_INDENT}"""{kernel.label}"""')
        function += [_INDENT + line for line in lines]
        return self.module.text() + "\n".join(function) + "\n"

    def _rows(self, part: RowLoop) -> None:
        """Print a part of the parallel loop."""
        whole = part.low == 0 and part.extent == self.kernel.rows
        k, kind = self.k, self.index_type
        dealt = self.access.chunked and self.mapping.kind == "rows"
        with self.at(0):
            extent = Value("rows", kind) if whole else self.size(part.extent)[0]
            first, step = Value("group", kind), "groups"
            if self.access.chunked:
                low, high = Value("low", kind), Value("high", kind)
                if whole:
                    first, extent = low, high
                else:
                    start = self.size(part.low)[0]
                    first = k("max", k("sub", low, start), k.zero(low))
                    extent = k("min", k("sub", high, start), extent)
                step = f"{self.kind}(1)"
            if dealt:
                first, step = k("add", first, Value("lane", kind)), self._lanes()
        if dealt:
            self._dealt(part.var, first.text, extent.text, step, part.body)
        else:
            self._loop(part.var, first.text, extent.text, step, part.body)

    def _lanes(self) -> str:
        return f"{self.kind}({self.mapping.lanes})"

    def _statements(self, body: Sequence[Statement]) -> None:
        for s in body:
            depth = len(self.frames) - 1
            if isinstance(s, Loop):
                extent, _ = self.size(s.extent)
                if self.mapping.kind == "inner" and id(s) in self.access.dealt:
                    self._dealt(s.var, "lane", extent.text, self._lanes(), s.body)
                    self._barrier(s.body)
                else:
                    zero, one = f"{self.kind}(0)", f"{self.kind}(1)"
                    self._loop(s.var, zero, extent.text, one, s.body)
            elif isinstance(s, Start):
                self._start(s.accumulator, depth)
            elif isinstance(s, Update):
                self._update(s, depth)
            elif isinstance(s, Set):
                value = self._value(s.value)
                self._assign(self.cells[s.accumulator.number][0], value, depth)
            else:
                self._store(s, depth)
                self._barrier([s])

    def _loop(
        self,
        var: LoopVar,
        low: str,
        high: str,
        step: str,
        body: Sequence[Statement],
    ) -> None:
        outer = self.frames[-1]
        index = self.k.fresh("i")
        inner = Frame()
        self.frames.append(inner)
        self.atoms[var] = (Value(index, self.index_type), len(self.frames) - 1)
        groups, self.groups = self.groups, self._groups(body)
        self.vectors = {}
        with self.at(len(self.frames) - 1):
            self._statements(body)
        self.frames.pop()
        self.groups = groups
        starts = [f"{index} = {low}"]
        ends = [f"{index} = {self.kind}({index} + {step})"]
        if self.round is not None and self.round[0] == var:
            _, number = self.round
            starts.append(f"{number} = {self.kind}(0)")
            ends.append(f"{number} = {self.kind}({number} + {self.kind}(1))")
        outer.lines += [
            *starts,
            f"while {index} < {high}:",
            *(_INDENT + line for line in [*inner.lines, *ends]),
        ]

    def _dealt(
        self,
        var: LoopVar,
        low: str,
        high: str,
        step: str,
        body: Sequence[Statement],
    ) -> None:
        """Print a loop whose rounds are dealt out, and add up what the lanes have."""
        depth = len(self.frames) - 1
        inside = list(statements(body))
        own = {s.accumulator.number for s in inside if isinstance(s, Start)}
        totals = {
            s.accumulator.number: s.accumulator
            for s in inside
            if isinstance(s, Update) and s.accumulator.number not in own
        }
        saved = {n: self.cells[n] for n in totals}
        for number, total in totals.items():
            part = self.k.fresh("part")
            start = literal(neutral(total.instruction, total.dtype), total.dtype)
            self._line(f"{part} = {start}", depth)
            self.cells[number] = (part, saved[number][1])
        self.dealing = True
        if self.private:
            self.round = var, self.k.fresh("round")
        self._loop(var, low, high, step, body)
        self.round = None
        self.dealing = False
        for number, total in totals.items():
            part, _ = self.cells[number]
            cell, _ = self.cells[number] = saved[number]
            with self.at(depth):
                whole = self._tree(Value(part, total.dtype), total.instruction)
                before = self.k.emit(cell, total.dtype)
                self.k.lines.append(
                    f"{cell} = {self.k(total.instruction, before, whole).text}"
                )

    def _line(self, text: str, depth: int) -> None:
        self.frames[depth].lines.append(text)

    def _barrier(self, body: Sequence[Statement]) -> None:
        """Let all lanes see what one stored, if the kernel reads it."""
        if self.mapping.lanes == 1 or self.dealing or self.mapping.kind == "rows":
            return
        touched = {s.buffer.number for s in statements(body) if isinstance(s, Store)}
        touched |= {v.buffer.number for v in all_values(body) if isinstance(v, Load)}
        if touched & self.shared:
            self._line(self._sync(), len(self.frames) - 1)

    def _sync(self) -> str:
        one = self.mapping.lanes == WARP and not self.mapping.simulated
        return "cuda.syncwarp()" if one else "cuda.syncthreads()"

    # -------------------------------------------------------------- reductions

    def _tree(self, part: Value, instruction: str) -> Value:
        """Return the total of what the lanes have, in a fixed order."""
        lanes, dtype = self.mapping.lanes, part.dtype
        if lanes == 1:
            return self.k.emit(part.text, dtype)
        kind = _memory(dtype)
        shared = f"shared_{kind}"
        if self.mapping.simulated:
            self._shared(shared, lanes, kind)
            return self._serial_total(part, instruction, shared, lanes, "lane")
        value = self.k.emit(part.text, dtype)
        width = WARP // 2
        while width:
            value = self.k(instruction, value, self._shuffled(value, width))
            width //= 2
        warps = lanes // WARP
        if warps == 1:
            return value
        self._shared(shared, WARP, kind)
        index = f"lane // {self.kind}({WARP})"
        first = f"if lane % {self.kind}({WARP}) == {self.kind}(0):"
        return self._serial_total(value, instruction, shared, warps, index, first)

    def _serial_total(
        self,
        value: Value,
        instruction: str,
        shared: str,
        count: int,
        index: str,
        guard: str | None = None,
    ) -> Value:
        """Return the total of so many numbers that some threads put side by side."""
        put = f"{shared}[{index}] = {_stored(value)}"
        lines = [put] if guard is None else [guard, _INDENT + put]
        self.k.lines += [*lines, "cuda.syncthreads()"]
        total = self._loaded(f"{shared}[0]", value.dtype)
        for i in range(1, count):
            other = self._loaded(f"{shared}[{i}]", value.dtype)
            total = self.k(instruction, total, other)
        self.k.lines.append("cuda.syncthreads()")
        return total

    def _shared(self, name: str, count: int, kind: str) -> None:
        self._declare(f"{name} = cuda.shared.array({count}, {kind})")

    def _declare(self, line: str) -> None:
        if line not in self.entry:
            self.entry.append(line)

    def _shuffled(self, value: Value, width: int) -> Value:
        """Return the value of the lane whose number differs in one bit."""
        dtype = value.dtype
        wide = dtype
        if dtype.kind != "f":
            wide = dtypes.int64 if dtype.itemsize == 8 else dtypes.int32
        text = value.text if wide == dtype else f"{wide.name}({value.text})"
        moved = self.k.emit(f"cuda.shfl_xor_sync(0xFFFFFFFF, {text}, {width})", wide)
        return moved if wide == dtype else self.k.cast(moved, dtype)

    # ----------------------------------------------------------- statements

    def _start(self, accumulator: Accumulator, depth: int) -> None:
        cell = f"acc{accumulator.number}"
        self.cells[accumulator.number] = (cell, depth)
        self._line(f"{cell} = {literal(accumulator.initial, accumulator.dtype)}", depth)

    def _update(self, s: Update, depth: int) -> None:
        value = self._value(s.value)
        cell, _ = self.cells[s.accumulator.number]
        with self.at(depth):
            before = self.k.emit(cell, s.accumulator.dtype)
            made = self.k(s.accumulator.instruction, before, value)
        self._assign(cell, made, depth)

    def _assign(self, cell: str, value: Value, depth: int) -> None:
        self._line(f"{cell} = {value.text}", depth)

    def _groups(self, body: Sequence[Statement]) -> dict[tuple, Group]:
        """Return the vectors that a loop reads and writes, by their elements."""
        width = self.mapping.width
        if width == 1 or not (self.dealing or self.mapping.kind == "rows"):
            return {}
        return {
            (group.buffer.number, group.base + i, group.stored): group
            for group in groups_of(body, width, self.canonical.offset)
            if group.buffer.number not in self.private
            for i in range(width)
        }

    def _store_group(self, s: Store, group: Group, depth: int) -> None:
        """Keep a value of a vector, and store it with the last one."""
        width = self.mapping.width
        value = self._value(s.value)
        offset = self.canonical.offset(s.buffer, s.offset)
        values = self.stored.setdefault((group.buffer.number, group.base), [])
        if s.instruction is not None:
            number = offset - group.base
            assert isinstance(number, int)
            with self.at(depth):
                before = self._vector(group, depth)[number]
                value = self.k(s.instruction, before, value)
        values.append(value)
        if len(values) == width:
            del self.stored[group.buffer.number, group.base]
            pointer, index = self._pointer(group.buffer, group.base)
            texts = ", ".join(_stored(v) for v in values)
            name = f"store{width}_{_memory(s.buffer.dtype)}"
            self._line(f"{name}({pointer}, {index}, ({texts}))", depth)

    def _vector(self, group: Group, depth: int) -> list[Value]:
        """Return the elements of a vector, which is loaded where it is met first."""
        key = (group.buffer.number, group.base)
        found = self.vectors.get(key)
        if found is None:
            pointer, index = self._pointer(group.buffer, group.base)
            width, dtype = self.mapping.width, group.buffer.dtype
            kind = _memory(dtype)
            names = [self.k.fresh() for _ in range(width)]
            call = f"load{width}_{kind}({pointer}, {index})"
            self._line(f"{', '.join(names)} = {call}", depth)
            found = [Value(name, dtype) for name in names]
            if dtype.kind == "b":
                with self.at(depth):
                    found = [self.k.emit(f"{n} != uint8(0)", dtype) for n in names]
            self.vectors[key] = found
        return found

    def _store(self, s: Store, depth: int) -> None:
        group = self.groups.get(
            (s.buffer.number, self.canonical.offset(s.buffer, s.offset), True)
        )
        if group is not None:
            self._store_group(s, group, depth)
            return
        value = self._value(s.value)
        place = self._place(s.buffer, s.offset)
        with self.at(depth):
            if s.instruction is not None:
                before = self._loaded(place, s.buffer.dtype)
                value = self.k(s.instruction, before, value)
            line = f"{place} = {_stored(value)}"
            if self.mapping.lanes > 1 and not self.dealing:
                first = f"if lane == {self.kind}(0):"
                self.k.lines += [first, _INDENT + line]
            else:
                self.k.lines.append(line)

    def _place(self, buffer: Buffer, offset: SizeLike) -> str:
        pointer, index = self._pointer(buffer, self.canonical.offset(buffer, offset))
        return f"{pointer}[{index}]"

    def _pointer(self, buffer: Buffer, offset: SizeLike) -> tuple[str, str]:
        """Return a buffer's name, and an offset from where its code begins."""
        if buffer.number in self.private:
            return self._own(buffer, offset)
        index, _ = self.size(offset)
        return f"b{buffer.number}", index.text

    def _own(self, buffer: Buffer, offset: SizeLike) -> tuple[str, str]:
        """Return a lane's own array for rows of values, and the place of one."""
        assert self.round is not None
        var, number = self.round
        name = f"own{buffer.number}"
        count = self.private[buffer.number]
        self._declare(f"{name} = cuda.local.array({count}, {_memory(buffer.dtype)})")
        width = self.mapping.width
        start = sizes.of_atom(self.kernel.chunk) * self.access.private[buffer.number]
        start += self.canonical.offset(buffer, 0)
        place = offset - start - sizes.of_atom(var) * width
        assert isinstance(place, int)
        index = f"u{self.kind}({number} * {self.kind}({width}) + {self.kind}({place}))"
        return name, index

    # --------------------------------------------------------------- values

    def _offset(self, value: Load) -> SizeLike:
        return self.canonical.offset(value.buffer, value.offset)

    def _load(self, value: Load, depth: int) -> Value:
        offset = self._offset(value)
        group = self.groups.get((value.buffer.number, offset, False))
        if group is not None:
            number = offset - group.base
            assert isinstance(number, int)
            return self._vector(group, depth)[number]
        place = self._place(value.buffer, value.offset)
        with self.at(depth):
            return self._loaded(place, value.dtype)

    def _loaded(self, place: str, dtype: np.dtype) -> Value:
        if dtype.kind == "b":
            return self.k.emit(f"{place} != uint8(0)", dtype)
        return self.k.emit(place, dtype)

    def _read(self, accumulator: Accumulator) -> Value:
        return self.k.emit(self.cells[accumulator.number][0], accumulator.dtype)

    def _depth_of(self, accumulator: Accumulator) -> int:
        return self.cells[accumulator.number][1]

    # ---------------------------------------------------------------- sizes

    def _index(self, name: str, a: Value, b: Value) -> Value:
        symbol = {"add": "+", "mul": "*"}[name]
        return self.k.pure(f"{self.kind}({a.text} {symbol} {b.text})", a.dtype)

    def _quotient(self, name: str, a: Value, b: Value) -> Value:
        unsigned = f"u{self.kind}"
        text = f"{unsigned}({a.text}) {name} {unsigned}({b.text})"
        return self.k.pure(f"{self.kind}({text})", a.dtype)

    def _leaf(self, atom: Atom) -> tuple[Value, int]:
        if isinstance(atom, Dynamic):
            return self._dynamic(atom)
        return self._parameter(atom), 0

    def _parameter(self, parameter: Atom | int) -> Value:
        self.parameters.append(parameter)
        return Value(f"p{len(self.parameters) - 1}", self.index_type)

    def _report(self, atom: Dynamic, inside: Value, none: Value | None) -> None:
        self.reports = True
        code = self._parameter(atom.number)
        wrong = f"not {inside.text}"
        if none is not None:
            wrong += f" and not {none.text}"
        self.k.lines += [f"if {wrong}:", f"{_INDENT}error[0] = int64({code.text})"]


def _memory(dtype: np.dtype) -> str:
    """Return the name of the dtype a dtype has in memory."""
    return "uint8" if dtype.kind == "b" else dtype.name


def _stored(value: Value) -> str:
    """Return a value as it is put into memory."""
    return f"uint8({value.text})" if value.dtype.kind == "b" else value.text
