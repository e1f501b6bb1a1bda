"""Options, settable in code (`config`) and by environment variables GRAPHC_*."""

from __future__ import annotations

import operator
import os
import threading
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
        GRAPHC_NUM_THREADS: how many threads a call may use that was not given a
        number itself; 0 means all cores this process may use.
    cache_dir : str
        GRAPHC_CACHE_DIR: where compiled kernels are kept; empty means the
        platform's user cache folder, "off" that nothing is kept.
    change_rounding : bool
        GRAPHC_CHANGE_ROUNDING: allow rewrites that may change the last digits of
        results either way, such as ``(x * 0.1) * 3 -> x * 0.3``. Without it a
        rewrite gives the same number, or a more accurate one; only the sign of a
        zero may change (``x + 0.0 -> x``).
    symbolic_limit : int
        GRAPHC_SYMBOLIC_LIMIT: how many scalar operations an expression may have that
        is differentiated through sympy.
    check_finite : bool
        GRAPHC_CHECK_FINITE: a call of a compiled function whose result has a NaN or
        infinity raises `NonFiniteError`, which names the first operation that made
        one, its operands, and the user's line. Intermediate values that do not reach
        a result do not count. It holds for functions compiled before, too.
    """

    debug: int = 0
    check: bool = False
    threads: int = 0
    cache_dir: str = ""
    change_rounding: bool = False
    symbolic_limit: int = 500
    check_finite: bool = False


_ENVIRONMENT = {
    "debug": "GRAPHC_DEBUG",
    "check": "GRAPHC_CHECK",
    "threads": "GRAPHC_NUM_THREADS",
    "cache_dir": "GRAPHC_CACHE_DIR",
    "change_rounding": "GRAPHC_CHANGE_ROUNDING",
    "symbolic_limit": "GRAPHC_SYMBOLIC_LIMIT",
    "check_finite": "GRAPHC_CHECK_FINITE",
}


LARGEST = 2**31 - 1
"""What an option that is a number can be."""


def _from_environment() -> Options:
    values: dict[str, Any] = {}
    for field in fields(Options):
        text = os.environ.get(_ENVIRONMENT[field.name])
        if text is None:
            continue
        values[field.name] = _read(field.name, text)
        _check(field.name, values[field.name], _ENVIRONMENT[field.name])
    return Options(**values)


_BOOLEANS = {
    **dict.fromkeys(("", "0", "false", "no", "off"), False),
    **dict.fromkeys(("1", "true", "yes", "on"), True),
}


def _read(name: str, text: str) -> Any:
    """Return the value an environment variable's text stands for."""
    kind = type(getattr(Options, name))
    if kind is str:
        return text
    try:
        if kind is bool and text.strip().lower() in _BOOLEANS:
            return _BOOLEANS[text.strip().lower()]
        return kind(int(text or 0))
    except ValueError:
        what = "an integer" if kind is int else "one of 0, 1, false, true, no, yes"
        raise ConfigError(f"{_ENVIRONMENT[name]}={text!r} is not {what}.") from None


def read_threads(threads: int | None) -> int:
    """Return the number of threads given for a function or a call, 0 for None.

    Raises
    ------
    ConfigError
        If it is no integer of 0 or more.
    """
    if threads is None:
        return 0
    if hasattr(threads, "__index__") and not isinstance(threads, bool):
        threads = operator.index(threads)
    _check("threads", threads, "threads")
    return threads


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
    if kind is int and value > LARGEST:
        raise ConfigError(f"{what}={value!r} is more than {LARGEST}.")


_from_outside = _from_environment()
_current = _from_outside
_blocks: list[dict[str, Any]] = []
_lock = threading.RLock()
_listeners: list[Callable[[], object]] = []

if hasattr(os, "register_at_fork"):
    # a child must not find the lock taken by a thread it does not have
    os.register_at_fork(
        before=_lock.acquire,
        after_in_parent=_lock.release,
        after_in_child=_lock.release,
    )


def options() -> Options:
    """Return the options in force."""
    return _current


def on_change(listener: Callable[[], object]) -> None:
    """Have a function called whenever an option changes: for what keeps state."""
    _listeners.append(listener)


def _apply() -> None:
    """Put the changes of all open blocks into force, the latest last."""
    global _current
    changes: dict[str, Any] = {}
    for block in _blocks:
        changes.update(block)
    _current = replace(_from_outside, **changes)
    for listener in _listeners:
        listener()


@contextmanager
def config(**changes: Any) -> Iterator[Options]:
    """Change options within a ``with`` block.

    Options are the process's: a block in one thread is in force in all of them, until
    it ends. To give one function or call a number of threads, see `graphc.compile`.

    Parameters
    ----------
    **changes
        Fields of `Options`: debug, check, threads, cache_dir, change_rounding,
        symbolic_limit, check_finite.

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
    try:
        with _lock:
            _blocks.append(changes)
            _apply()
        yield _current
    finally:
        with _lock:
            # by identity: blocks of two threads may be equal, and end in any order
            _blocks[:] = [block for block in _blocks if block is not changes]
            _apply()
