"""Cubins: in this process, and on disk for the next ones.

A file is named by the hash of everything its content depends on: the kernel's text and
parameters, the compute capability, the packages that compile, graphc's own files.
`disk_cache` keeps it.
"""

from __future__ import annotations

import hashlib
import json
import threading

from graphc.backends import disk_cache
from graphc.backends.cuda import shim
from graphc.backends.cuda.launches import Code
from graphc.backends.cuda.shim import Cubin

counts = {"memory": 0, "disk": 0, "compiled": 0}
"""How many kernels were found in memory, found on disk, and compiled."""

_memory: dict[str, Cubin] = {}
_lock = threading.RLock()


def cubin(code: Code, cc: tuple[int, int] = shim.CAPABILITY) -> Cubin:
    """Return the machine code of a kernel, compiled unless it is cached.

    Parameters
    ----------
    code : Code
    cc : (int, int)
        The compute capability.

    Raises
    ------
    MissingPackageError
        If it must be compiled, and there is no compiler.
    """
    key = key_of(code, cc)
    with _lock:  # of several threads that need it, one compiles
        found = _memory.get(key)
        if found is not None:
            counts["memory"] += 1
            return found
        found = _read(key)
        if found is not None:
            counts["disk"] += 1
        else:
            ptx = shim.compile_ptx(
                code.function(),
                code.signature,
                code.name,
                cc,
                code.max_threads,
            )
            found = shim.link(ptx, cc)
            counts["compiled"] += 1
            _write(key, found)
        _memory[key] = found
        return found


def key_of(code: Code, cc: tuple[int, int]) -> str:
    """Return the key of a kernel's machine code."""
    given = (code.name, code.signature, code.max_threads, cc)
    tools = (shim.package(), shim.linker(), sorted(shim.versions().items()))
    text = f"{given!r}\n{tools!r}\n{disk_cache.own_code()}\n{code.text}"
    return hashlib.sha256(text.encode()).hexdigest()


def _read(key: str) -> Cubin | None:
    if disk_cache.cache_folder() is None:
        return None
    content = disk_cache.read_file(disk_cache.file_path(key, disk_cache.CUBIN))
    if content is None:
        return None
    size = int.from_bytes(content[:8], "little")
    return Cubin(content[8 + size :], **json.loads(content[8 : 8 + size]))


def _write(key: str, made: Cubin) -> None:
    rest = made._asdict()
    image = rest.pop("image")
    head = json.dumps(rest).encode()
    content = len(head).to_bytes(8, "little") + head + image
    disk_cache.write_file(disk_cache.file_path(key, disk_cache.CUBIN), content)
