"""Nested lists, tuples, dictionaries and named tuples of expressions.

`flatten` takes a container apart into its leaves and a `Structure`, which puts
other leaves back into the same shape. Order is that of the container, a
dictionary's that of insertion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from graphc.graph.node import Node
from graphc.types.errors import InputError, internal_assert


class Container:
    """Base of containers that keep something beside their leaves.

    A subclass is an expression in the form its user sees; `assembled` may make of
    arrays another type than of expressions. What it keeps, hashable, is the one entry
    of `Structure.keys`.
    """

    def apart(self) -> tuple[Any, list[Any]]:
        """Return what is kept beside the leaves, and the leaves."""
        raise NotImplementedError

    @classmethod
    def assembled(cls, kept: Any, leaves: list[Any]) -> Any:
        """Return the container of expressions, or what stands for it of arrays."""
        raise NotImplementedError

    @classmethod
    def leaves_of(cls, kept: Any, tree: Any, what: str) -> list[Any]:
        """Return the leaves of a value of this kind; raise `InputError` for others."""
        raise NotImplementedError


@dataclass(frozen=True)
class Structure:
    """The shape of a nested container, without its leaves.

    Attributes
    ----------
    kind : type or None
        None for a leaf, else list, tuple, dict, a named tuple's class, or a kind of
        `Container`.
    keys : tuple
        Of a dictionary, its keys; else the indices, or the names of the fields. Of a
        `Container` what it keeps beside its leaves.
    children : tuple of Structure
        One for each key.
    """

    kind: type | None = None
    keys: tuple = ()
    children: tuple[Structure, ...] = ()

    @property
    def count(self) -> int:
        """The number of leaves."""
        if self.kind is None:
            return 1
        return sum(child.count for child in self.children)

    @property
    def containers(self) -> int:
        """The number of containers, inner ones included."""
        if self.kind is None:
            return 0
        return 1 + sum(child.containers for child in self.children)

    def paths(self, root: str = "") -> list[str]:
        """Return where each leaf stands, such as ``params["w"][0]``."""
        if self.kind is None:
            return [root]
        if issubclass(self.kind, Container):
            return [root] * len(self.children)
        out: list[str] = []
        for key, child in zip(self.keys, self.children):
            out += child.paths(root + _step(self.kind, key))
        return out

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """Return the container of this structure with the given leaves."""
        internal_assert(
            len(leaves) == self.count,
            f"{len(leaves)} leaves for a structure of {self.count}",
        )
        return self._build(iter(leaves))

    def _build(self, leaves: Iterator[Any]) -> Any:
        kind: Any = self.kind
        if kind is None:
            return next(leaves)
        parts = [child._build(leaves) for child in self.children]
        if kind is dict:
            return dict(zip(self.keys, parts))
        if issubclass(kind, Container):
            return kind.assembled(self.keys[0], parts)
        if _is_named_tuple(kind):
            return kind(*parts)
        return kind(parts)

    def builder(self) -> Callable[[Sequence[Any]], Any]:
        """Return `unflatten` for many uses: it checks nothing, and is fast."""
        return self._builder(iter(range(self.count)))

    def _builder(self, places: Iterator[int]) -> Callable[[Sequence[Any]], Any]:
        kind: Any = self.kind
        if kind is None:
            return itemgetter(next(places))
        parts = [child._builder(places) for child in self.children]
        if kind is list:
            return lambda leaves: [part(leaves) for part in parts]
        if kind is dict:
            named = list(zip(self.keys, parts))
            return lambda leaves: {key: part(leaves) for key, part in named}
        if issubclass(kind, Container):
            kept = self.keys[0]
            return lambda leaves: kind.assembled(kept, [p(leaves) for p in parts])
        if _is_named_tuple(kind):
            return lambda leaves: kind(*[part(leaves) for part in parts])
        return lambda leaves: kind([part(leaves) for part in parts])

    def flatten_like(self, tree: Any, what: str = "argument") -> list[Any]:
        """Return the leaves of another container of the same structure.

        What stands where this structure has a leaf is a leaf, a list of numbers
        too; dictionaries are matched by key.

        Parameters
        ----------
        tree : nested containers
        what : str
            What to call `tree` in messages.

        Raises
        ------
        InputError
            If the structures differ; the message names the place.
        """
        leaves: list[Any] = []
        if self._collect(tree, leaves):
            return leaves
        return self._checked(tree, what)

    def _collect(self, tree: Any, leaves: list[Any]) -> bool:
        """Append the leaves of an equal structure; tell whether it is one.

        Types must be the same to the letter here, which is what calls in a loop have.
        """
        kind: Any = self.kind
        children = self.children
        if kind is None:
            leaves.append(tree)
            return True
        if type(tree) is not kind or issubclass(kind, Container):
            return False
        if len(tree) != len(children):
            return False
        for key, child in zip(
            self.keys if kind is dict else range(len(tree)), children
        ):
            if kind is dict and key not in tree:
                return False
            if child.kind is None:
                leaves.append(tree[key])
            elif not child._collect(tree[key], leaves):
                return False
        return True

    def _checked(self, tree: Any, what: str) -> list[Any]:
        """As `flatten_like`, taking subclasses too; errors name the place."""
        if self.kind is None:
            return [tree]
        if issubclass(self.kind, Container):
            return self.kind.leaves_of(self.keys[0], tree, what)
        accepted: Any = Mapping if self.kind is dict else (list, tuple)
        if not isinstance(tree, accepted):
            raise InputError(
                f"{what} is of type {type(tree).__name__}, but a "
                f"{self.kind.__name__} of {len(self.keys)} is needed here."
            )
        if self.kind is dict:
            missing = [k for k in self.keys if k not in tree]
            unknown = [k for k in tree if k not in self.keys]
            if missing or unknown:
                raise InputError(
                    f"{what} must have the keys {_key_text(self.keys)}"
                    + (f"; missing: {_key_text(missing)}" if missing else "")
                    + (f"; unknown: {_key_text(unknown)}" if unknown else "")
                    + "."
                )
            parts = [tree[k] for k in self.keys]
        else:
            parts = list(tree)
            if len(parts) != len(self.keys):
                raise InputError(
                    f"{what} has {len(parts)} entries, but {len(self.keys)} are needed."
                )
        out: list[Any] = []
        for key, child, part in zip(self.keys, self.children, parts):
            out += child._checked(part, what + _step(self.kind, key))
        return out


LEAF = Structure()


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """Return the leaves of a nested container, in order, and its structure.

    Parameters
    ----------
    tree : nested list, tuple, dict, named tuple
        Anything else is a leaf.

    Returns
    -------
    leaves : list
    structure : Structure
        ``structure.unflatten(leaves)`` gives `tree` again.
    """
    leaves: list[Any] = []
    return leaves, _take_apart(tree, leaves)


def flatten_expressions(
    tree: Any, what: str, convert: Callable[[Any], Node] | None = None
) -> tuple[list[Node], Structure]:
    """Return the expressions in a nested container, and its structure.

    Parameters
    ----------
    tree : nested containers of expressions
    what : str
        What to call `tree` in messages, such as ``"outputs"``.
    convert : callable, optional
        Makes an expression of a leaf that is none, such as a number; without it
        such a leaf is an error.

    Raises
    ------
    InputError
        For a leaf that is no expression; the message names its place.
    """
    leaves, structure = flatten(tree)
    out: list[Node] = []
    for number, leaf in enumerate(leaves):
        if isinstance(leaf, Node):
            out.append(leaf)
            continue
        reason = ""
        if convert is not None:
            try:
                out.append(convert(leaf))
                continue
            except (TypeError, ValueError) as error:
                reason = f" {error}"
        raise InputError(
            f"{structure.paths(what)[number]} is {_short(leaf)} of type "
            f"{type(leaf).__name__}, not an expression.{reason}"
        )
    return out, structure


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Return the container with `function` applied to each leaf.

    Parameters
    ----------
    function : callable
        Takes a leaf of `tree`, and of each of `others`, which have its structure.
    """
    leaves, structure = flatten(tree)
    rest = [structure.flatten_like(other) for other in others]
    return structure.unflatten([function(*row) for row in zip(leaves, *rest)])


def _take_apart(tree: Any, leaves: list[Any]) -> Structure:
    kind: type
    if isinstance(tree, Container):
        kept, parts = tree.apart()
        leaves += parts
        return Structure(type(tree), (kept,), (LEAF,) * len(parts))
    if isinstance(tree, Mapping):
        kind, keys, parts = dict, tuple(tree), list(tree.values())
    elif _is_named_tuple(type(tree)):
        kind, keys, parts = type(tree), type(tree)._fields, list(tree)
    elif isinstance(tree, (list, tuple)):
        kind = list if isinstance(tree, list) else tuple
        keys, parts = tuple(range(len(tree))), list(tree)
    else:
        leaves.append(tree)
        return LEAF
    return Structure(kind, keys, tuple(_take_apart(part, leaves) for part in parts))


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _step(kind: type, key: Any) -> str:
    return f".{key}" if _is_named_tuple(kind) else f"[{key!r}]"


def _key_text(keys: Sequence[Any]) -> str:
    return ", ".join(repr(k) for k in keys)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
