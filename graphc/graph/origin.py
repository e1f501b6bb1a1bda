"""Where a node was made: the user's file, line and expression, and the scope.

A node keeps a `Site`, which costs a walk up the stack and one tuple; what it says is
read off the code object when a message or a picture asks. It is not part of the key by
which nodes are interned. Rewriting and derivatives pass on the site of the node that
they start from.
"""

from __future__ import annotations

import functools
import linecache
import os
import sys
import threading
from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple, TypeVar

from graphc.types.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

Origin = tuple[str, int]
"""File and line."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Passage(NamedTuple):
    """A piece of a source.

    Attributes
    ----------
    file : str
    line : int
    text : str
        What is written there, on one line; empty if that is not known.
    """

    file: str
    line: int
    text: str


class Scope:
    """A part of the user's program that pictures show as one; see `scope`.

    Attributes
    ----------
    name : str
    parent : Scope or None
        What it is a part of.
    """

    __slots__ = ("name", "parent")

    def __init__(self, name: str, parent: Scope | None):
        self.name = name
        self.parent = parent


Site = tuple[CodeType | Passage, int, Scope | None]
"""Where a node was made: a function of the user's, or what stands for its text; the
offset of the running instruction in it; the scope. A plain tuple, for there is one for
each node, and Python's cycle collector stops looking at plain tuples of such things."""


class _Here(threading.local):
    """What nodes made by this thread are given.

    Attributes
    ----------
    inherited : Site or None
        Where they count as made, if not where graphc was called.
    scope : Scope or None
    """

    inherited: Site | None = None
    scope: Scope | None = None


_here = _Here()


def current_site() -> Site | None:
    """Return the place outside graphc that called in, or the one inherited."""
    if (site := _here.inherited) is not None:
        return site
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            return (code, frame.f_lasti, _here.scope)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def current_origin() -> Origin | None:
    """Return the file and line outside graphc that called in."""
    return origin_of(current_site())


def set_inherited(site: Site | None) -> Site | None:
    """Set the site that nodes made from now on inherit; return the one before."""
    before, _here.inherited = _here.inherited, site
    return before


def written(passage: Passage) -> Site:
    """Return the site of an expression that was given as text."""
    return (passage, 0, _here.scope)


def origin_of(site: Site | None) -> Origin | None:
    """Return the file and line of a site."""
    if site is None:
        return None
    place, instruction, _ = site
    if isinstance(place, Passage):
        return place[:2]
    return place.co_filename, _span(place, instruction)[0]


_KEPT = 64
_tables: dict[int, tuple[CodeType, list[Any]]] = {}


def _positions(code: CodeType) -> list[Any]:
    """Return ``code.co_positions()``; the last few are kept, by identity.

    A code object's hash goes through all of its constants.
    """
    found = _tables.get(id(code))
    if found is None or found[0] is not code:
        if len(_tables) >= _KEPT:
            _tables.clear()
        found = _tables[id(code)] = code, list(code.co_positions())
    return found[1]


def _span(code: CodeType, instruction: int) -> tuple[int, int, int, int]:
    """Return first line, last line and columns (in bytes) of an instruction; 0: none.

    Columns are of the first and of the last line.
    """
    positions = _positions(code)
    place = instruction // 2
    known = 0 <= place < len(positions)
    line, end, column, end_column = positions[place] if known else (None,) * 4
    first = line or code.co_firstlineno
    return first, end or first, column or 0, end_column or 0


def passage_of(site: Site) -> Passage:
    """Return what the user wrote at a site: the expression that was being computed."""
    place, instruction, _ = site
    if isinstance(place, Passage):
        return place
    first, last, column, end = _span(place, instruction)
    lines = [linecache.getline(place.co_filename, k) for k in range(first, last + 1)]
    if not end or not all(lines):
        text = lines[0]
    else:  # columns count bytes
        raw = [line.encode() for line in lines]
        raw[-1] = raw[-1][:end]
        raw[0] = raw[0][column:]
        text = b" ".join(raw).decode(errors="replace")
    return Passage(place.co_filename, first, " ".join(text.split()))


def scopes_of(site: Site | None) -> list[Scope]:
    """Return the scopes around a site, outer ones first."""
    out: list[Scope] = []
    scope = None if site is None else site[2]
    while scope is not None:
        out.append(scope)
        scope = scope.parent
    return out[::-1]


def scope_text(node: Any) -> str:
    """Return the names of the scopes around a node, with slashes between."""
    return "/".join(scope.name for scope in scopes_of(node.site))


def function_of(site: Site) -> str:
    """Return the name of the user's function at a site, empty for a module's code."""
    place = site[0]
    if isinstance(place, Passage):
        return ""
    parts = place.co_qualname.split(".")
    while parts and parts[-1].startswith("<") and parts[-1] != "<lambda>":
        parts.pop()  # <module>, <listcomp>, <locals>
    if parts and parts[-1] == "<lambda>":
        parts[-1] = "lambda"
    while "<locals>" in parts:
        del parts[: parts.index("<locals>") + 1]
    return ".".join(parts)


class scope:
    """Name a part of a program; pictures show what is made in it as one group.

    A context manager or a decorator. Scopes nest. Every ``scope(...)`` is a group of
    its own, also where names are equal, and so is every call of a decorated function; a
    scope that is entered again goes on where it was left. Derivatives and what
    rewriting makes of a node belong to the scope of that node. Scopes change neither
    values nor which expressions are one node: an expression that was made before stays
    in the scope in which it was made first.

    Parameters
    ----------
    name : str
        What pictures call it.

    Raises
    ------
    InputError
        If `name` is no text, or empty.

    Notes
    -----
    The word is that of TensorFlow's and JAX's name scopes. A scope belongs to the
    thread that enters it.

    Examples
    --------
    >>> import graphc as cg
    >>> x = cg.vector("x", 3)
    >>> with cg.scope("encoder"):
    ...     with cg.scope("layer"):
    ...         h = cg.tanh(x)
    ...     h = h * 2
    >>> picture = cg.draw(h)
    >>> print("encoder" in picture.dot)
    True
    """

    def __init__(self, name: str):
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"scope: {name!r} is no name. Give a text that pictures show, such as "
                'scope("encoder").'
            )
        self.name = name
        self._entered: dict[Scope | None, Scope] = {}
        self._before = threading.local()

    def __enter__(self) -> scope:
        parent = _here.scope
        stack = self._before.__dict__.setdefault("stack", [])
        stack.append(parent)
        made = self._entered.get(parent)
        if made is None:
            made = self._entered.setdefault(parent, Scope(self.name, parent))
        _here.scope = made
        return self

    def __exit__(self, *error: object) -> None:
        _here.scope = self._before.stack.pop()

    def __call__(self, function: F) -> F:
        """Return the function, each call of it in a scope of this name."""

        @functools.wraps(function)
        def scoped(*args: Any, **named: Any) -> Any:
            with scope(self.name):
                return function(*args, **named)

        return scoped  # type: ignore[return-value]
