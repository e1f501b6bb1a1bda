"""Which elements of a result depend on which elements of its arguments.

An op says so by its `pattern`, without values: a list of the forms below. Elements are
numbered in row-major order; where a form names several arguments, those are numbered
one after the other. From this `graphc.derivatives.sparsity` finds the structure of
Jacobians.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from graphc.types.sizes import SizeLike

if TYPE_CHECKING:
    from graphc.graph.node import Node

Known = Callable[["Node"], "np.ndarray | None"]
"""Gives the value of a node that depends on no input, None for others."""
SizeOf = Callable[[SizeLike], int]


class Selected(NamedTuple):
    """Each element of the result depends on one element, or on none.

    Attributes
    ----------
    args : tuple of int
        Positions of the arguments.
    source : array of int64, or None
        For each element of the result the element it depends on, -1 for none; None
        where the numbers are the same.
    """

    args: tuple[int, ...]
    source: np.ndarray | None


class Grouped(NamedTuple):
    """Each element of the result depends on all elements of its group.

    Attributes
    ----------
    args : tuple of int
    group : array of int64
        The group of each element of the arguments.
    total : int
        The number of groups.
    result : array of int64, or None
        The group of each element of the result; None where the numbers are the same.
    """

    args: tuple[int, ...]
    group: np.ndarray
    total: int
    result: np.ndarray | None


class Running(NamedTuple):
    """Each element depends on those up to it along an axis, or (`reverse`) from it on.

    Attributes
    ----------
    args : tuple of int
    shape : tuple of int
        Of the argument and the result.
    axis : int
    reverse : bool
    """

    args: tuple[int, ...]
    shape: tuple[int, ...]
    axis: int
    reverse: bool


class Pairs(NamedTuple):
    """Element ``result[k]`` of the result depends on ``argument[k]``, for each k."""

    args: tuple[int, ...]
    result: np.ndarray
    argument: np.ndarray


Dependence = Selected | Grouped | Running | Pairs


def numbers(shape: Sequence[int]) -> np.ndarray:
    """Return the numbers of the elements of an array of that shape."""
    return np.arange(math.prod(shape)).reshape(shape)


def groups(shape: Sequence[int], kept: Sequence[int]) -> np.ndarray:
    """Return a group for each element: those that agree in the axes `kept`, flat."""
    chosen = set(kept)
    inner = [s if a in chosen else 1 for a, s in enumerate(shape)]
    return np.broadcast_to(numbers(inner), shape).ravel()


def shape_of(node: Node, size: SizeOf) -> tuple[int, ...]:
    """Return the shape of a node as integers."""
    return tuple([size(s) for s in node.shape])


def everything(node: Node, position: int, size: SizeOf) -> Grouped:
    """Let each element of the result depend on all elements of an argument."""
    there, here = (math.prod(shape_of(n, size)) for n in (node.args[position], node))
    zeros = np.zeros(max(there, here), np.int64)
    return Grouped((position,), zeros[:there], 1, zeros[:here])


def matrix_by_matrix(
    node: Node, position: int, size: SizeOf, columns: bool = False
) -> Grouped:
    """Let the results for a matrix of a batch depend on all elements of that matrix.

    With `columns` a column of the result depends on that column of the argument.
    """
    there, here = (shape_of(n, size) for n in (node.args[position], node))
    axes = [*range(len(there) - 2), *([len(there) - 1] if columns else [])]
    group = groups(there, axes)
    total = math.prod(there[a] for a in axes)
    return Grouped((position,), group, total, groups(here, axes))
