"""Contractions: the matrix product with batch axes, and einsum made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.graph.node import Node
from graphc.ops.arithmetic import as_node, cast, multiply, negative, not_equal
from graphc.ops.declare import Linear, SizeOf
from graphc.ops.dependence import (
    Dependence,
    Grouped,
    Known,
    Pairs,
    numbers,
    shape_of,
)
from graphc.ops.leaf import scalar_like
from graphc.ops.messages import (
    dtype_error,
    operand_text,
    operand_word,
    shape_error,
)
from graphc.ops.move import align_batch, diagonal_, permute, reshape, unbroadcast
from graphc.ops.reduce import sum_
from graphc.types import dtypes, sizes
from graphc.types.errors import ShapeError
from graphc.types.sizes import SizeLike
from graphc.types.tensor_type import (
    Shape,
    TensorType,
    broadcast_shapes,
    broadcast_sizes,
)


class MatMul(Linear):
    """``(..., m, k) @ (..., k, n)``; leading axes broadcast. Both have rank >= 2.

    Vectors are reshaped to matrices before, in the expression layer.
    """

    jointly = False

    def written(self, node: Node, words: Sequence[str | None]) -> str:
        return " @ ".join(map(operand_word, words))

    def infer(self, args: tuple[Node, ...], params: tuple) -> TensorType:
        a, b = args
        if a.dtype != b.dtype:
            raise dtype_error("matmul", args, "operands have different dtypes.")
        if a.ndim < 2 or b.ndim < 2:
            raise shape_error("matmul", args, "an operand is no matrix.")
        if sizes.unify(a.shape[-1], b.shape[-2]) is None:
            raise shape_error(
                "matmul",
                args,
                f"inner sizes differ: {a.shape[-1]} and {b.shape[-2]}.",
                "Transpose an operand with x.mT, or reshape it.",
            )
        batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]])
        if batch is None:
            raise shape_error("matmul", args, "the batch axes do not broadcast.")
        return TensorType((*batch, a.shape[-2], b.shape[-1]), a.dtype)

    def sign_of(self, node: Node, signs: Sequence[str]) -> str:
        return "nonnegative" if all(signs) else ""

    def numpy(self, node: Node, args: Sequence[np.ndarray], size: SizeOf) -> Any:
        return np.matmul(args[0], args[1])

    def transpose(self, node: Node, cotangent: Node, position: int) -> Node:
        a, b = node.args
        if position == 0:
            return unbroadcast(self(cotangent, matrix_transpose(b)), a.shape)
        if b.ndim == 2 and a.ndim > 2:
            # one product over all batches instead of one each, and their sum
            rows = sizes.product(node.shape[:-1])
            a = reshape(a, (rows, a.shape[-1]))
            cotangent = reshape(cotangent, (rows, node.shape[-1]))
        return unbroadcast(self(matrix_transpose(a), cotangent), b.shape)

    def pattern(self, node: Node, known: Known, size: SizeOf) -> Sequence[Dependence]:
        shape = shape_of(node, size)
        left, right = (numbers(shape_of(a, size)) for a in node.args)
        result, values = numbers(shape), [known(a) for a in node.args]
        # each operand as (batch..., its axis of the result, summed axis)
        swapped = None if values[0] is None else values[0].swapaxes(-1, -2)
        return [
            _one_operand(0, left, result, values[1]),
            _one_operand(1, right.swapaxes(-1, -2), result.swapaxes(-1, -2), swapped),
        ]

    def batch(
        self, node: Node, args: tuple[Node, ...], batched: Sequence[bool]
    ) -> Node:
        return self(*align_batch(args, batched))

    def flops(self, node: Node) -> SizeLike:
        return node.size * node.args[0].shape[-1] * 2


def _one_operand(
    position: int, arg: np.ndarray, result: np.ndarray, other: np.ndarray | None
) -> Dependence:
    """Return how a product depends on its left operand.

    Parameters
    ----------
    position : int
    arg, result : array of int64
        The numbers of the elements, (..., i, k) and (..., i, j).
    other : array or None
        The value of the right operand (..., k, j) if it is known: only its elements
        that are not 0 count.
    """
    batch = result.shape[:-2]
    if other is None or other.all():
        row = numbers(arg.shape[:-1])
        group = np.empty(arg.size, np.int64)
        group[arg] = row[..., None]
        of_result = np.empty(result.size, np.int64)
        of_result[result] = np.broadcast_to(row, result.shape[:-1])[..., None]
        return Grouped((position,), group, row.size, of_result)
    *lead, k, j = np.nonzero(np.broadcast_to(other, (*batch, *other.shape[-2:])))
    outer = [a[:, None] for a in lead]
    rows = np.arange(arg.shape[-2])
    arg = np.broadcast_to(arg, (*batch, *arg.shape[-2:]))
    read = arg[(*outer, rows, k[:, None])], result[(*outer, rows, j[:, None])]
    return Pairs((position,), read[1].ravel(), read[0].ravel())


def matrix_transpose(x: Node) -> Node:
    """Return `x` with its last two axes swapped."""
    n = x.ndim
    return permute(x, (*range(n - 2), n - 1, n - 2))


matmul_ = MatMul("matmul")


def added_up(x: Node, axes: tuple[int, ...]) -> Node:
    """Return `x` summed over axes; rows and columns of a product in its operands.

    ``(a @ b).sum(-2) = a.sum(-2) @ b`` saves the whole product, at another rounding.
    So derivatives are summed, whose order is graphc's own choice; sums that a user
    wrote stay as they are.
    """
    if not axes:
        return x
    if x.op is negative:
        return negative(added_up(x.args[0], axes))
    last = x.ndim - 1
    if x.op is not matmul_ or x.dtype.kind != "f" or not {last, last - 1} & {*axes}:
        return sum_(x, params=(axes,))
    a, b = x.args
    if last - 1 in axes:
        rows = sum_(a, params=((a.ndim - 2,),))
        a = reshape(rows, (*a.shape[:-2], 1, a.shape[-1]))
    if last in axes:
        columns = sum_(b, params=((b.ndim - 1,),))
        b = reshape(columns, (*b.shape[:-1], 1))
    product = matmul_(a, b)
    outer = tuple(i for i in axes if i < last - 1)
    kept = tuple(s for i, s in enumerate(x.shape) if i not in axes)
    return reshape(sum_(product, params=(outer,)) if outer else product, kept)


# ---------------------------------------------------------------------- einsum

_REPRESENTATIVE = 32
"""What a symbolic dimension counts as when the order of contraction is chosen."""


def einsum(subscripts: Any, *operands: Any) -> Node:
    """Return Einstein's sum over products of operands, as NumPy's einsum.

    Parameters
    ----------
    subscripts : str
        Such as ``"ij,jk->ik"``. A letter names an axis; letters that are not in the
        result are summed over; a letter twice in one operand takes the diagonal;
        ``...`` stands for axes that broadcast. Without ``->`` the result has the
        ellipsis' axes and then the letters that occur once, in alphabetical order.
        NumPy's other form, ``einsum(x, [0, 1], y, [1, 2], [0, 2])``, is taken too.
    *operands : Node or array
        Their dtypes are promoted together. Axes of size 1 broadcast.

    Returns
    -------
    Node
        Made of matrix products, elementwise products, sums and rearrangements of
        axes, in the order opt_einsum finds cheapest (Smith and Gray, JOSS 3(26),
        753, 2018). Symbolic sizes count as 32 in that choice.

    Raises
    ------
    ShapeError
        If the subscripts are malformed or do not fit the operands.
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _from_sublists((subscripts, *operands))
    nodes = [as_node(x) for x in operands]
    if not nodes:
        raise ShapeError("einsum: no operands were given.")
    dtype = dtypes.promote(*(x.dtype for x in nodes))
    work = dtypes.int64 if dtype == dtypes.bool_ else dtype
    nodes = [cast(x, work) for x in nodes]
    inputs, output = _parse(subscripts, nodes)
    out = _Contraction(subscripts, nodes, inputs, output).run()
    return not_equal(out, scalar_like(0, out)) if dtype == dtypes.bool_ else out


Labels = list[str]


def _error(subscripts: str, nodes: Sequence[Node], rule: str) -> ShapeError:
    return shape_error(f'einsum "{subscripts}"', nodes, rule)


def _from_sublists(args: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """Turn ``x, [0, 1], y, [1, 2], [0, 2]`` into subscripts and operands."""
    pairs, output = list(args), None
    if len(pairs) % 2:
        output = pairs.pop()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

    def text(sublist: Any) -> str:
        try:
            return "".join("..." if i is Ellipsis else letters[i] for i in sublist)
        except (TypeError, IndexError):
            raise ShapeError(
                f"einsum: {sublist!r} is no list of axes. Give subscripts as a string, "
                "or after each operand a list of integers from 0 to 51 and ...."
            ) from None

    terms = ",".join(text(s) for s in pairs[1::2])
    return terms if output is None else f"{terms}->{text(output)}", tuple(pairs[::2])


def _parse(subscripts: str, nodes: Sequence[Node]) -> tuple[list[Labels], Labels]:
    """Return the labels of each operand's axes and of the result's.

    The axes of an ellipsis are labelled ``.0``, ``.1``, ... from the last one on.
    """
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(nodes):
        raise _error(
            subscripts,
            nodes,
            f"it has {len(terms)} terms for {len(nodes)} operands.",
        )
    for term in (*terms, right):
        letters = term.replace("...", "", 1)
        if letters and not (letters.isascii() and letters.isalpha()):
            raise _error(
                subscripts, nodes, f"{term!r} is not of letters and at most one '...'."
            )
    inputs = []
    widest = 0
    for number, (term, x) in enumerate(zip(terms, nodes)):
        dots = x.ndim - len(term.replace("...", ""))
        if dots < 0 or (dots and "..." not in term):
            raise _error(
                subscripts,
                nodes,
                f"term {term!r} does not name the {x.ndim} axes of operand {number}.",
            )
        widest = max(widest, dots)
        inputs.append(_labels(term, dots))
    if arrow:
        if widest and "..." not in right:
            raise _error(
                subscripts, nodes, "the result lacks the '...' that the operands have."
            )
        output = _labels(right, widest)
    else:
        every = [label for labels in inputs for label in labels]
        once = sorted(x for x in set(every) if every.count(x) == 1 and x[0] != ".")
        output = [*_labels("...", widest), *once]
    known = {label for labels in inputs for label in labels}
    for label in output:
        if label not in known:
            raise _error(
                subscripts, nodes, f"{label!r} of the result is in no operand."
            )
        if output.count(label) > 1:
            raise _error(subscripts, nodes, f"{label!r} is twice in the result.")
    return inputs, output


def _labels(term: str, dots: int) -> Labels:
    before, ellipsis, after = term.partition("...")
    middle = [f".{i}" for i in reversed(range(dots))] if ellipsis else []
    return [*before, *middle, *after]


class _Contraction:
    """One einsum: operands that lose labels until one with the result's is left."""

    def __init__(
        self,
        subscripts: str,
        nodes: Sequence[Node],
        inputs: list[Labels],
        output: Labels,
    ):
        self.subscripts = subscripts
        self.given = nodes
        self.output = output
        self.size: dict[str, SizeLike] = {}
        for x, labels in zip(nodes, inputs):
            for label, s in zip(labels, x.shape):
                self._join(label, s)
        self.operands = [self._distinct(x, labels) for x, labels in zip(nodes, inputs)]

    def _join(self, label: str, s: SizeLike) -> None:
        joint = broadcast_sizes(self.size.get(label, 1), s)
        if joint is None:
            raise _error(
                self.subscripts,
                self.given,
                f"axis {label!r} has the sizes {self.size[label]} and {s}.",
            )
        self.size[label] = joint

    def run(self) -> Node:
        """Return the result."""
        while len(self.operands) > 1:
            for pair in self._order():
                chosen = [self.operands[p] for p in pair]
                self.operands = [
                    o for p, o in enumerate(self.operands) if p not in pair
                ]
                joint = chosen[0]
                for number, other in enumerate(chosen[1:], 2):
                    kept = self._kept(chosen[number:])
                    joint = self._product(
                        self._summed(joint, {*kept, *other[1]}),
                        self._summed(other, {*kept, *joint[1]}),
                        kept,
                    )
                self.operands.append(joint)
        x, labels = self._summed(self.operands[0], set(self.output))
        order = [label for label in self.output if label in labels]
        x = permute(x, [labels.index(label) for label in order])
        return reshape(x, tuple(self.size[label] for label in self.output))

    def _order(self) -> list[tuple[int, ...]]:
        """Return which operands to contract, step by step; results go to the end."""
        if len(self.operands) == 2:
            return [(0, 1)]
        import opt_einsum

        letters = {x: opt_einsum.get_symbol(i) for i, x in enumerate(self.size)}
        terms = ["".join(letters[x] for x in labels) for _, labels in self.operands]
        present = {x for _, labels in self.operands for x in labels}
        result = "".join(letters[x] for x in self.output if x in present)
        shapes = [
            tuple(max(1, _representative(self.size[x])) for x in labels)
            for _, labels in self.operands
        ]
        path, _ = opt_einsum.contract_path(
            f"{','.join(terms)}->{result}", *shapes, shapes=True
        )
        return list(path)

    def _kept(self, waiting: Sequence[tuple[Node, Labels]]) -> set[str]:
        """Return the labels that the result or operands not yet used need."""
        out = set(self.output)
        for _, labels in (*self.operands, *waiting):
            out.update(labels)
        return out

    def _distinct(self, x: Node, labels: Labels) -> tuple[Node, Labels]:
        """Return an operand without size-1 axes, each other label once."""
        for axis, (label, s) in enumerate(zip(labels, x.shape)):
            first = x.shape[labels.index(label)]
            if sizes.unify(first, s) is None:
                raise _error(
                    self.subscripts,
                    self.given,
                    f"the diagonal {label!r} has sizes {first} and {s} "
                    f"(axis {axis} of {operand_text([x])}).",
                )
        kept = [a for a, s in enumerate(x.shape) if s != 1]
        x = reshape(x, tuple(self.size[labels[a]] for a in kept))
        labels = [labels[a] for a in kept]
        while len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            i = labels.index(twice)
            j = labels.index(twice, i + 1)
            others = [a for a in range(x.ndim) if a not in (i, j)]
            x = diagonal_(permute(x, [*others, i, j]))
            labels = [*(labels[a] for a in others), twice]
        return x, labels

    def _summed(
        self, operand: tuple[Node, Labels], kept: set[str]
    ) -> tuple[Node, Labels]:
        """Return an operand summed over the labels that nothing else needs."""
        x, labels = operand
        axes = tuple(a for a, label in enumerate(labels) if label not in kept)
        if axes:
            x = sum_(x, params=(axes,))
        return x, [label for label in labels if label in kept]

    def _product(
        self, a: tuple[Node, Labels], b: tuple[Node, Labels], kept: set[str]
    ) -> tuple[Node, Labels]:
        """Return the product of two operands, summed over labels not kept."""
        left, right = set(a[1]), set(b[1])
        if self._rank(right - left) < self._rank(left - right):
            a, b, left, right = b, a, right, left
        shared = [x for x in a[1] if x in right]
        batch = [x for x in shared if x in kept]
        inner = [x for x in shared if x not in kept]
        rows = [x for x in a[1] if x not in right]
        columns = [x for x in b[1] if x not in left]
        labels = [*batch, *rows, *columns]
        if inner and (rows or columns):
            x = self._arrange(a, [batch, [rows], [inner]])
            y = self._arrange(b, [batch, [inner], [columns]])
            return reshape(matmul_(x, y), self._shape(labels)), labels
        every = [*labels, *inner]
        product = multiply(self._stretched(a, every), self._stretched(b, every))
        return self._summed((product, every), kept)

    def _rank(self, labels: set[str]) -> int:
        """Return where in the result the first of these labels is."""
        places = [self.output.index(x) for x in labels if x in self.output]
        return min(places, default=len(self.output))

    def _shape(self, labels: Labels) -> Shape:
        return tuple(self.size[x] for x in labels)

    def _arrange(self, operand: tuple[Node, Labels], groups: list[Any]) -> Node:
        """Return an operand as (batch..., rows, columns), runs of labels merged."""
        x, labels = operand
        batch, (first,), (second,) = groups
        x = permute(x, [labels.index(label) for label in (*batch, *first, *second)])
        merged = (sizes.product(self._shape(g)) for g in (first, second))
        return reshape(x, (*self._shape(batch), *merged))

    def _stretched(self, operand: tuple[Node, Labels], every: Labels) -> Node:
        """Return an operand with axes for all labels, size 1 for those it lacks."""
        x, labels = operand
        x = permute(x, [labels.index(label) for label in every if label in labels])
        return reshape(x, tuple(self.size[e] if e in labels else 1 for e in every))


def _representative(size: SizeLike) -> int:
    return sizes.evaluate(size, lambda atom: _REPRESENTATIVE)
