"""Options, settable in code (`config`) and by environment variables GRAPHC_*."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from graphc.types.errors import ConfigError


@dataclass(frozen=True)
class Options:
    """All options and what each does.

    Attributes
    ----------
    debug : int
        GRAPHC_DEBUG: 1 prints pass times, 2 the graph after each pass that
        changed it, 3 the kernels, 4 their LLVM code.
    check : bool
        GRAPHC_CHECK: verify the graph after every pass, and evaluate it before
        and after with the reference interpreter.
    threads : int
        GRAPHC_NUM_THREADS: how many threads kernels may use; 0 means all cores.
    cache_dir : str
        GRAPHC_CACHE_DIR: where compiled kernels are kept; empty means the
        platform's user cache folder, "off" that nothing is kept.
    change_rounding : bool
        GRAPHC_CHANGE_ROUNDING: allow rewrites that may change the last digits of
        results either way, such as ``(x * 0.1) * 3 -> x * 0.3``. Without it a
        rewrite gives the same number, or a more accurate one; only the sign of a
        zero may change (``x + 0.0 -> x``).
    """

    debug: int = 0
    check: bool = False
    threads: int = 0
    cache_dir: str = ""
    change_rounding: bool = False


_ENVIRONMENT = {
    "debug": "GRAPHC_DEBUG",
    "check": "GRAPHC_CHECK",
    "threads": "GRAPHC_NUM_THREADS",
    "cache_dir": "GRAPHC_CACHE_DIR",
    "change_rounding": "GRAPHC_CHANGE_ROUNDING",
}


def _from_environment() -> Options:
    values: dict[str, Any] = {}
    for field in fields(Options):
        text = os.environ.get(_ENVIRONMENT[field.name])
        if text is None:
            continue
        kind = type(getattr(Options, field.name))
        try:
            values[field.name] = text if kind is str else kind(int(text or 0))
        except ValueError:
            raise ConfigError(
                f"{_ENVIRONMENT[field.name]}={text!r} is not an integer."
            ) from None
        _check(field.name, values[field.name], _ENVIRONMENT[field.name])
    return Options(**values)


def _check(name: str, value: Any, what: str) -> None:
    """Raise `ConfigError` unless an option can have this value."""
    kind = type(getattr(Options, name))
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(
            f"{what}={value!r} is of type {type(value).__name__}, but "
            f"{kind.__name__} is needed."
        )
    if kind is int and value < 0:
        raise ConfigError(f"{what}={value!r} is negative; it takes 0 and more.")


_current = _from_environment()
_listeners: list[Callable[[], object]] = []


def options() -> Options:
    """Return the options in force."""
    return _current


def on_change(listener: Callable[[], object]) -> None:
    """Have a function called whenever an option changes: for what keeps state."""
    _listeners.append(listener)


def _set(new: Options) -> None:
    global _current
    _current = new
    for listener in _listeners:
        listener()


@contextmanager
def config(**changes: Any) -> Iterator[Options]:
    """Change options within a ``with`` block.

    Parameters
    ----------
    **changes
        Fields of `Options`: debug, check, threads, cache_dir, change_rounding.

    Raises
    ------
    ConfigError
        For an unknown option, or a value it cannot have.

    Examples
    --------
    >>> with config(check=True):
    ...     pass
    """
    known = [f.name for f in fields(Options)]
    for name in changes:
        if name not in known:
            raise ConfigError(f"unknown option {name!r}; known: {', '.join(known)}.")
        _check(name, changes[name], name)
    before = _current
    _set(replace(before, **changes))
    try:
        yield _current
    finally:
        _set(before)
