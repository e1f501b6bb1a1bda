"""Writing a picture: whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from graphc.types.errors import DrawError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside it, then rename.

    Raises
    ------
    DrawError
        If the folder is missing or cannot be written; an existing file is left
        as it was.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = getattr(error, "strerror", None) or error
        raise DrawError(
            f"draw: cannot write {path}: {reason}. Choose a file in a "
            "folder that exists and can be written."
        ) from error
    finally:
        temporary.unlink(missing_ok=True) if _exists(temporary) else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
