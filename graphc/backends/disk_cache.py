"""Files of the cache on disk, which all backends keep compiled code in.

Files are written under another name first and then renamed, and carry a checksum, so
neither two processes at once nor a damaged file can do more than cost a compilation.
What a file is named by is the backends' to say: a hash of all that it depends on.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import graphc
from graphc.types.config import options

OBJECT, PROGRAM, CUBIN = ".o", ".program", ".cubin"
"""How the names of files end: kernels and whole programs for the CPU, CUDA kernels."""

TEMPORARY = ".tmp"
"""How the name of a file ends while it is being written."""

_warned: set[Path | None] = set()


def cache_folder() -> Path | None:
    """Return the folder of compiled kernels, None if keeping them is off."""
    chosen = options().cache_dir
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("graphc")


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
        f"cannot {what} compiled kernels in {folder}: {error.strerror or error}. They "
        "are compiled again in each process; set GRAPHC_CACHE_DIR to a folder that can "
        'be read and written, or to "off".'
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


def _files(suffixes: Sequence[str] = (OBJECT, PROGRAM, CUBIN)) -> list[Path]:
    folder = cache_folder()
    if folder is None or not folder.is_dir():
        return []
    return [path for suffix in suffixes for path in folder.glob(f"*/*{suffix}")]


@lru_cache(maxsize=1)
def own_code() -> str:
    """Return a hash that changes when graphc's own files do."""
    folder = Path(graphc.__file__).parent
    digest = hashlib.sha256(graphc.__version__.encode())
    for path in sorted(folder.rglob("*.py")):
        status = path.stat()
        digest.update(f"{path}{status.st_mtime_ns}{status.st_size}".encode())
    return digest.hexdigest()
