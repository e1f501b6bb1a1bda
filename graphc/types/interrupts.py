"""Interrupts put off while what cannot be cut short is under way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGALRM", "SIGTERM", "SIGVTALRM", "SIGPROF", "SIGUSR1", "SIGUSR2")
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""What people's handlers raise exceptions for: Ctrl-C, timers, requests to end."""

_remembered: dict[int, FrameType | None] = {}


@contextmanager
def postponed() -> Iterator[None]:
    """Put off KeyboardInterrupt, and all handlers of signals, to the end of the block.

    A handler of the user's own may raise as Python's own for Ctrl-C does. Handlers run
    in the main thread only, so in others there is nothing to do.
    """
    before = _handlers()
    if not before:
        yield
        return
    _remembered.clear()
    for number in before:
        signal.signal(number, _remember)
    try:
        yield
    finally:
        raised = _restored(before)
        for number, frame in list(_remembered.items()):
            del _remembered[number]
            before[number](number, frame)
        if raised is not None:
            raise raised


def _handlers() -> dict[int, Callable[[int, FrameType | None], Any]]:
    """Return the handlers in Python of this thread; none within `postponed`."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    return {
        number: handler
        for number, handler in found.items()
        if callable(handler) and handler is not _remember
    }


def _restored(
    before: dict[int, Callable[[int, FrameType | None], Any]],
) -> BaseException | None:
    """Put handlers in force again; return what one of them raises meanwhile."""
    raised = None
    for _ in range(1 + len(before)):
        try:
            for number, handler in before.items():
                signal.signal(number, handler)
            break
        except BaseException as error:
            raised = error
    return raised


def _remember(number: int, frame: FrameType | None) -> None:
    _remembered[number] = frame
