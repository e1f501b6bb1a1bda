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
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from graphc.backends.cpu import ahead, jit
from graphc.types.config import options

_memory: dict[str, bytes] = {}
_warned: set[Path | None] = set()
PROGRAM = ".program"
"""How the name of a program's file ends; see `program_cache`."""

TEMPORARY = ".tmp"
"""How the name of a file ends while it is being written."""

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


def cache_folder() -> Path | None:
    """Return the folder of compiled kernels, None if keeping them is off."""
    chosen = options().cache_dir
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("graphc")


def _path(key: str) -> Path:
    return file_path(key, ".o")


def file_path(key: str, suffix: str) -> Path:
    """Return where a file of the cache lies, in no folder if keeping them is off."""
    return (cache_folder() or Path()) / key[:2] / f"{key}{suffix}"


def read_file(path: Path) -> bytes | None:
    """Return the content of a file of the cache, None if it is not there or damaged."""
    folder = path.parent.parent
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


def write_file(path: Path, content: bytes) -> None:
    """Write a file of the cache, whole or not at all; nothing if keeping is off."""
    folder = cache_folder()
    if folder is None:
        return
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=TEMPORARY)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
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
    """Return the number of cached kernels and programs on disk, and their bytes."""
    files = [p.stat().st_size for p in _files() if p.is_file()]
    return len(files), sum(files)


def clear_cache() -> int:
    """Delete the cached kernels and programs on disk and return how many there were.

    What a process left that was killed while it wrote is deleted too.
    """
    files = _files()
    for path in (*files, *_files([TEMPORARY])):
        path.unlink(missing_ok=True)
    return len(files)


def _files(suffixes: Sequence[str] = (".o", PROGRAM)) -> list[Path]:
    folder = cache_folder()
    if folder is None or not folder.is_dir():
        return []
    return [path for suffix in suffixes for path in folder.glob(f"*/*{suffix}")]
