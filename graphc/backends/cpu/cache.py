"""The cache of machine code: in this process, and on disk for the next ones.

A file is named by the hash of everything its content depends on: the LLVM code,
the version of llvmlite, the CPU and its features. Files are written
under another name first and then renamed, and carry a checksum, so neither two
processes at once nor a damaged file can do more than cost a compilation.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from graphc.backends.cpu import jit
from graphc.types.config import options

_memory: dict[str, bytes] = {}
_warned: set[Path | None] = set()
TEMPORARY = ".tmp"
"""How the name of a file ends while it is being written."""

counts = {"memory": 0, "disk": 0, "compiled": 0}
"""How many modules were found in memory, found on disk, and compiled."""


def machine_code(text: str, kind: str = "loops") -> bytes:
    """Return the object file of LLVM code, compiled unless it is cached.

    `kind` is as for `jit.compile_module`.
    """
    with jit.guarded():  # of several threads that need it, one compiles
        key = hashlib.sha256(f"{_machine()}\n{kind}\n{text}".encode()).hexdigest()
        code = _memory.get(key)
        if code is not None:
            counts["memory"] += 1
            return code
        code = _read(key)
        if code is None:
            code = jit.compile_module(text, kind)
            counts["compiled"] += 1
            _write(key, code)
        else:
            counts["disk"] += 1
        _memory[key] = code
        return code


@lru_cache(maxsize=1)
def _machine() -> str:
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features().flatten()
    return "\n".join([_version("llvmlite"), llvm.get_host_cpu_name(), features])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def cache_folder() -> Path | None:
    """Return the folder of compiled kernels, None if keeping them is off."""
    chosen = options().cache_dir
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("graphc")


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.o"


def _read(key: str) -> bytes | None:
    folder = cache_folder()
    if folder is None:
        return None
    path = _path(folder, key)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _warn_unusable("read", folder, error)
        return None
    digest, code = content[:32], content[32:]
    if hashlib.sha256(code).digest() != digest:
        _warn(f"compiled kernels in {folder} are damaged: compiled again.")
        return None
    return code


def _write(key: str, code: bytes) -> None:
    folder = cache_folder()
    if folder is None:
        return
    path = _path(folder, key)
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=TEMPORARY)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(temporary, path)
        temporary = ""
    except OSError as error:
        _warn_unusable("keep", folder, error)
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _warn_unusable(what: str, folder: Path, error: OSError) -> None:
    _warn(
        f"cannot {what} compiled kernels in {folder}: {error.strerror or error}. They are "
        "compiled again in each process; set GRAPHC_CACHE_DIR to a folder that can be "
        'read and written, or to "off".'
    )


def _warn(message: str) -> None:
    """Warn once of each folder there is trouble with."""
    folder = cache_folder()
    if folder not in _warned:
        _warned.add(folder)
        warnings.warn(message, RuntimeWarning, stacklevel=2)


def cache_size() -> tuple[int, int]:
    """Return the number of cached kernels on disk, and their bytes."""
    folder = cache_folder()
    if folder is None or not folder.is_dir():
        return 0, 0
    files = [p.stat().st_size for p in folder.glob("*/*.o") if p.is_file()]
    return len(files), sum(files)


def clear_cache() -> int:
    """Delete the cached kernels on disk and return how many there were.

    What a process left that was killed while it wrote is deleted too.
    """
    folder = cache_folder()
    if folder is None or not folder.is_dir():
        return 0
    files = list(folder.glob("*/*.o"))
    for path in (*files, *folder.glob(f"*/*{TEMPORARY}")):
        path.unlink(missing_ok=True)
    return len(files)
