"""`Node`: one operation applied to nodes; immutable and interned.

The same op on the same nodes with the same parameters is the same object, so
common subexpressions are shared without a pass, and equality is identity.
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Any

from graphc.graph.operators import Operators
from graphc.graph.origin import Origin, Site, current_site, origin_of
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import Shape, TensorType, shape_text

if TYPE_CHECKING:
    import numpy as np

_serial = itertools.count()


class Node(Operators):
    """An expression: an op, its argument nodes, its parameters, and its type.

    Made by ops, never directly; users meet it as the result of `graphc.vector`,
    ``x + y``, `graphc.sin` and all other functions.

    Attributes
    ----------
    op : Op
        The operation, a value that carries all its rules.
    args : tuple of Node
        What it is applied to.
    params : tuple
        Hashable parameters of the op, such as axes.
    type : TensorType
        Shape and dtype, computed by the op when the node was made.
    site : Site or None
        Where it was first made: code and scope.
    origin : tuple of (str, int) or None
        File and line outside graphc where it was first made.
    name : str or None
        The user's name for it.
    serial : int
        Grows with creation: arguments have smaller numbers than their users.
    """

    __slots__ = (
        "op",
        "args",
        "params",
        "type",
        "site",
        "name",
        "serial",
        "__weakref__",
    )
    __match_args__ = ("op", "args", "params")

    op: Any
    args: tuple[Node, ...]
    params: tuple
    type: TensorType
    site: Site | None
    name: str | None
    serial: int

    @property
    def origin(self) -> Origin | None:
        """File and line outside graphc where it was first made."""
        return origin_of(self.site)

    @property
    def shape(self) -> Shape:
        """The sizes of the axes, integers or symbolic."""
        return self.type.shape

    @property
    def dtype(self) -> np.dtype:
        """The element type."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.type.shape)

    @property
    def size(self) -> SizeLike:
        """The number of elements."""
        out: SizeLike = 1
        for s in self.type.shape:
            out = out * s
        return out

    def label(self) -> str:
        """Return a short text for messages: the name, or op and type."""
        return f"{self.name or self.op.name}: {self.type}"

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<{self.op.name}{name} {self.dtype.name}{shape_text(self.shape)}>"

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "name" and value is not None and self.name is None:
            object.__setattr__(self, name, value)
            return
        raise AttributeError("expressions are immutable")

    def __reduce__(self) -> Any:
        from graphc.graph.pickling import reduce_node

        return reduce_node(self)

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, memo: Any) -> Node:
        return self


_interned: weakref.WeakValueDictionary[tuple, Node] = weakref.WeakValueDictionary()
_set = object.__setattr__


def make_node(op: Any, args: tuple[Node, ...], params: tuple, type: TensorType) -> Node:
    """Return the one node of that op, arguments, parameters and type."""
    key = (op, args, params, type)
    node = _interned.get(key)
    if node is not None:
        return node
    node = Node()
    _set(node, "op", op)
    _set(node, "args", args)
    _set(node, "params", params)
    _set(node, "type", type)
    _set(node, "site", current_site())
    _set(node, "name", None)
    _set(node, "serial", next(_serial))
    return _interned.setdefault(key, node)
