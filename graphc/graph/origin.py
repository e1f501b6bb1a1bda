"""Where a node was made: the user's file and line, for messages and pictures."""

from __future__ import annotations

import os
import sys
import threading

Origin = tuple[str, int]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class _Inherited(threading.local):
    """The origin that nodes made by this thread inherit."""

    origin: Origin | None = None


_inherited = _Inherited()


def current_origin() -> Origin | None:
    """Return the place outside graphc that called in, or the one inherited."""
    if (origin := _inherited.origin) is not None:
        return origin
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_PACKAGE):
            return (name, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def set_inherited(origin: Origin | None) -> Origin | None:
    """Set the origin that nodes made from now on inherit; return the one before."""
    before, _inherited.origin = _inherited.origin, origin
    return before
