"""The cache of machine code: in this process, and on disk for the next ones.

A file is named by the hash of everything its content depends on: the LLVM code,
the version of llvmlite, the CPU and its features. `disk_cache` keeps it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from graphc.backends.cpu import ahead, jit
from graphc.backends.disk_cache import (
    OBJECT,
    cache_folder,
    file_path,
    read_file,
    write_file,
)

_memory: dict[str, bytes] = {}

counts = {"memory": 0, "disk": 0, "compiled": 0}
"""How many modules were found in memory, found on disk, and compiled."""


def machine_code(text: str, kind: str = "loops") -> bytes:
    """Return the object file of LLVM code, compiled unless it is cached.

    `kind` is as for `jit.compile_module`.
    """
    with jit.guarded():  # of several threads that need it, one compiles
        key = key_of(text, kind)
        code = code_of(key)
        if code is None:
            code = ahead.machine_code(key, text, kind)
            counts["compiled"] += 1
            write_file(_path(key), code)
            _memory[key] = code
        return code


def begin(text: str, kind: str = "loops") -> list[ahead.Job]:
    """Have machine code made ahead by another thread, unless it is cached.

    Returns the job, if there is one, for `ahead.drop`.
    """
    key = key_of(text, kind)
    if key in _memory or (cache_folder() is not None and _path(key).exists()):
        return []
    job = ahead.begin(key, text, kind)
    return [] if job is None else [job]


def key_of(text: str, kind: str) -> str:
    """Return the key of the machine code of LLVM code."""
    return hashlib.sha256(f"{machine()}\n{kind}\n{text}".encode()).hexdigest()


def code_of(key: str) -> bytes | None:
    """Return the object file of a key, None if it is not cached."""
    code = _memory.get(key)
    if code is not None:
        counts["memory"] += 1
        return code
    if cache_folder() is not None:
        code = read_file(_path(key))
    if code is not None:
        counts["disk"] += 1
        _memory[key] = code
    return code


@lru_cache(maxsize=1)
def machine() -> str:
    """Return what machine code depends on besides its source."""
    import llvmlite
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features().flatten()
    return "\n".join([llvmlite.__version__, llvm.get_host_cpu_name(), features])


def _path(key: str) -> Path:
    return file_path(key, OBJECT)
