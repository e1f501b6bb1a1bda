"""The cache of whole programs on disk: a second process compiles nothing again.

A graph is described as text: each node by its op, parameters, type and arguments. The
hash of that, of the machine and of graphc's own code names a file with what a call
needs: the names of the object files to load, in order, and the program's constants.
Passes and scheduling are then left out. They are done after all, by `runtime`, when
someone asks for kernels or memory, or calls with what compiled code does not take.

What cannot be described in full, such as an op or a function of the user's own, is not
cached; neither is a program with large constants.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from graphc.backends import disk_cache
from graphc.backends.cpu import cache, jit, memory
from graphc.backends.cpu.native import layout_known
from graphc.backends.cpu.pool import pool
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops.leaf import Frozen, input_
from graphc.types import sizes
from graphc.types.config import options
from graphc.types.tensor_type import TensorType

MOST_CONSTANTS = 1 << 20
"""Bytes of constants up to which they are kept with a program."""


class EntryParts(NamedTuple):
    """What `native.NativeEntry` is made of."""

    address: int
    dtypes: Sequence[np.dtype]
    constants: Sequence[np.ndarray]


class _Undescribed(Exception):
    """Something that text does not tell in full."""


def key_of(graph: Graph, settings: object) -> str | None:
    """Return what a program is filed under, None if it is not to be cached.

    Parameters
    ----------
    graph : Graph
        As the user made it.
    settings : object
        All else that compilation depends on; its `repr` tells it.
    """
    chosen = options()
    if chosen.check or chosen.debug or disk_cache.cache_folder() is None:
        return None
    try:
        text = _described(graph)
    except _Undescribed:
        return None
    versions = (disk_cache.own_code(), cache.machine(), sys.version, np.__version__)
    # the others may matter
    chosen = replace(chosen, threads=0, cache_dir="", check_finite=False)
    more = (versions, chosen, settings)
    return hashlib.sha256(f"{more!r}\n{text}".encode()).hexdigest()


# --------------------------------------------------------------- description


def _described(graph: Graph) -> str:
    """Return text that is equal for graphs that compile to the same program."""
    number: dict[Node, int] = {}
    texts: dict[Any, str] = {}
    lines: list[str] = []
    for node in (*graph.inputs, *graph.nodes):
        if node in number:
            continue
        number[node] = len(number)
        type_ = _text(node.type, texts)
        if node.op is input_:
            lines.append(f"input {type_}")
            continue
        arguments = " ".join([str(number[a]) for a in node.args])
        if not node.op.built_in:
            raise _Undescribed
        params = _text(node.params, texts) if node.params else ""
        lines.append(f"{node.op.name} {params} {type_} {arguments}")
    lines.append(" ".join(str(number[o]) for o in graph.outputs))
    return "\n".join(lines)


def _text(value: Any, known: dict[Any, str]) -> str:
    kind = type(value)
    if kind is tuple:
        return f"({','.join([_text(v, known) for v in value])})"
    if kind in (int, bool, str) or value is None:
        return repr(value)
    if kind is float:
        return value.hex()
    if kind not in _TEXTS:
        raise _Undescribed
    text = known.get(value)
    if text is None:
        text = known[value] = _TEXTS[kind](value, known)
    return text


_TEXTS: dict[type, Any] = {
    TensorType: lambda t, known: f"{t.dtype.str}{_text(t.shape, known)}",
    Frozen: lambda f, known: (
        f"{f.array.dtype.str}{f.array.shape}"
        f"{hashlib.sha256(f.array.tobytes()).hexdigest()}"
    ),
    sizes.Size: lambda s, known: _text(s.terms, known),
    sizes.Dim: lambda d, known: f"{d.name!r}.{d.serial}",
    sizes.Function: lambda f, known: (
        f"{f.name}[{_text(f.left, known)},{_text(f.right, known)}]"
    ),
    **{type(np.dtype(c)): lambda d, known: d.str for c in "?bhilqBHILQfdg"},
}


# --------------------------------------------------------------------- files


def save(key: str, modules: Sequence[jit.Loaded], parts: EntryParts) -> None:
    """File a program.

    Parameters
    ----------
    key : str
    modules : sequence of Loaded
        In the order in which they can be loaded; the function called comes last.
    parts : EntryParts
    """
    arrays = [np.ascontiguousarray(c) for c in parts.constants]
    if sum(a.nbytes for a in arrays) > MOST_CONSTANTS:
        return
    head = {
        "modules": [(m.names, m.key, m.needs) for m in modules],
        "dtypes": [np.dtype(d).str for d in parts.dtypes],
        "constants": [(a.dtype.str, a.shape) for a in arrays],
    }
    text = json.dumps(head).encode()
    body = b"".join([a.tobytes() for a in arrays])
    path = disk_cache.file_path(key, disk_cache.PROGRAM)
    disk_cache.write_file(path, len(text).to_bytes(8, "little") + text + body)


def load(key: str) -> EntryParts | None:
    """Load a program and return what its entry is made of, None if there is none."""
    content = disk_cache.read_file(disk_cache.file_path(key, disk_cache.PROGRAM))
    if content is None or not layout_known():
        return None
    length = int.from_bytes(content[:8], "little")
    head = json.loads(content[8 : 8 + length])
    codes = [cache.code_of(code) for _, code, _ in head["modules"]]
    if any(code is None for code in codes):
        return None
    pool()
    memory.support()
    for (names, code_key, needs), code in zip(head["modules"], codes):
        jit.load_named(names, code or b"", code_key, needs)
    address = jit.LOADED[head["modules"][-1][0][0]].address
    constants = []
    at = 8 + length
    for dtype, shape in head["constants"]:
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(content, dtype, count, at).reshape(shape)
        constants.append(_aligned(array))
        at += array.nbytes
    return EntryParts(address, [np.dtype(d) for d in head["dtypes"]], constants)


def _aligned(array: np.ndarray) -> np.ndarray:
    copy = np.array(array)
    copy.flags.writeable = False
    return copy
