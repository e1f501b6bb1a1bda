"""Sample nodes for every op that is not elementwise, with arrays and NumPy's answer.

`SAMPLES` lists them; an op without a sample fails a test. They serve every backend:
``sample.graph()`` and ``sample.arrays`` run, ``sample.expected()`` is independent.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

import graphc as cg
import graphc.ops
from graphc.graph.graph import Graph
from graphc.graph.node import Node
from graphc.ops import (
    factorize,
    index,
    leaf,
    move,
    order,
    reduce,
    scan,
    slicing,
    solve,
)
from graphc.ops.contract import matmul_
from graphc.ops.declare import REGISTRY, Elementwise, Op
from graphc.types import sizes
from graphc.types.tensor_type import tensor_type

for _module in pkgutil.iter_modules(graphc.ops.__path__):
    importlib.import_module(f"graphc.ops.{_module.name}")


@dataclass(frozen=True)
class Sample:
    """One node of an op.

    Attributes
    ----------
    op, label : str
        The op's name, and what is special.
    build : callable
        From input nodes to the node, whose op is `op`.
    numpy : callable
        From arrays to the expected array.
    arrays : tuple of ndarray
        The inputs.
    shapes : tuple of tuple
        The inputs' declared shapes; sizes may be formulas.
    smooth : bool
        Whether derivatives exist there and finite differences find them.
    """

    op: str
    label: str
    build: Callable[..., Node]
    numpy: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    shapes: tuple[tuple, ...]
    smooth: bool

    def __str__(self) -> str:
        return f"{self.op}-{self.label}"

    def inputs(self) -> list[Node]:
        """Return new input nodes."""
        return [
            leaf.new_input(f"x{i}", tensor_type(shape, array.dtype))
            for i, (shape, array) in enumerate(zip(self.shapes, self.arrays))
        ]

    def graph(self) -> Graph:
        """Return the graph of new inputs and the node."""
        inputs = self.inputs()
        return Graph(inputs, [self.build(*inputs)])

    def expected(self) -> np.ndarray:
        """Return NumPy's result."""
        return np.asarray(self.numpy(*self.arrays))


SAMPLES: list[Sample] = []


def add_sample(
    op: Op | str,
    label: str,
    build: Callable[..., Node],
    numpy: Callable[..., Any],
    *arrays: np.ndarray,
    shapes: Sequence[tuple] | None = None,
    smooth: bool = True,
) -> None:
    """Enter a sample; `shapes` default to those of the arrays."""
    SAMPLES.append(
        Sample(
            op if isinstance(op, str) else op.name,
            label,
            build,
            numpy,
            arrays,
            tuple(shapes or (a.shape for a in arrays)),
            smooth,
        )
    )


def tensor_ops() -> list[Op]:
    """Return the registered ops that are not elementwise, and inputs."""
    return [
        op
        for op in REGISTRY.values()
        if not isinstance(op, Elementwise) and op is not leaf.input_
    ]


def real(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    """Return reproducible numbers, no two close, different for different shapes."""
    seed = zlib.crc32(repr((shape, np.dtype(dtype).name)).encode())
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape))
    spread = (rng.permutation(count) + 1.0) / max(count, 1) * 3 - 1.4
    return spread.reshape(shape).astype(dtype)


def whole(values: Any, dtype: Any = np.int64) -> np.ndarray:
    """Return integers."""
    return np.asarray(values, dtype)


n, m = sizes.dim("n"), sizes.dim("m")

# ------------------------------------------------------------------------ leaves

_table = np.arange(6.0).reshape(2, 3)
add_sample("constant", "matrix", lambda: leaf.constant(_table), lambda: _table)
add_sample("constant", "scalar", lambda: leaf.constant(2.5), lambda: np.float64(2.5))
add_sample("arange", "int64", lambda: leaf.iota(4), lambda: np.arange(4))
add_sample("arange", "empty", lambda: leaf.iota(0), lambda: np.arange(0))
add_sample(
    "full",
    "matrix",
    lambda: leaf.full((2, 3), 1.5, np.float32),
    lambda: np.full((2, 3), 1.5, np.float32),
)
add_sample(
    "size",
    "formula",
    lambda x: leaf.size_value(x.shape[0] * 2 + 1),
    lambda x: np.int64(7),
    real(3),
    shapes=[("n",)],
)

# -------------------------------------------------------------------------- move

for _label, _array, _shape, _to in (
    ("row", real(3), (3,), (2, 3)),
    ("middle", real(2, 1, 3), (2, 1, 3), (4, 2, 5, 3)),
    ("scalar", real(), (), (2, 2)),
    ("symbolic", real(2, 1), ("n", 1), (n, 3)),
    ("symbolic target", real(1, 2), (1, "n"), (n * 2, n)),
    ("taken as equal", real(3), ("n",), (2, 3)),
    ("empty", real(0, 1), (0, 1), (0, 3)),
    ("to empty", real(1), (1,), (0,)),
):
    _sizes = tuple(sizes.evaluate(s, lambda atom: 2) for s in _to)
    add_sample(
        move.broadcast_,
        _label,
        lambda x, to=_to: move.broadcast_to(x, to),
        lambda x, to=_sizes: np.broadcast_to(x, to),
        _array,
        shapes=[_shape],
    )

for _label, _array, _shape, _to in (
    ("mixed", real(2, 6), (2, 6), (3, 4)),
    ("merge", real(2, 3, 4), (2, 3, 4), (6, 4)),
    ("split", real(6, 4), (6, 4), (2, 3, 2, 2)),
    ("ones", real(2, 3), (2, 3), (1, 2, 1, 3, 1)),
    ("drop ones", real(1, 2, 1, 3, 1), (1, 2, 1, 3, 1), (2, 3)),
    ("to scalar", real(1, 1), (1, 1), ()),
    ("from scalar", real(), (), (1, 1)),
    ("split symbolic", real(4, 6), ("n", 6), (n, 2, 3)),
    ("merge symbolic", real(4, 5, 2), ("n", "m", 2), (n * m, 2)),
    ("halves", real(8, 3), ("2*n", 3), (n, 2, 3)),
    ("across", real(4, 6), ("n", 6), (6, n)),
    ("sum of sizes", real(4, 5), ("n", "n + 1"), ((n + 1) * n,)),
    ("taken as equal", real(5, 3), ("m", 3), (15,)),
    ("empty", real(0, 3), (0, 3), (3, 0)),
    ("empty symbolic", real(0, 3), ("k", 3), (sizes.dim("k") * 3,)),
):
    _values = {"n": 4, "m": 5, "k": (_array.shape or (0,))[0]}
    _sizes = tuple(sizes.evaluate(s, lambda atom, v=_values: v[atom.name]) for s in _to)
    add_sample(
        move.reshape_,
        _label,
        lambda x, to=_to: move.reshape(x, to),
        lambda x, to=_sizes: x.reshape(to),
        _array,
        shapes=[_shape],
    )

add_sample(
    move.reshape_,
    "unmerge symbolic",
    lambda x, y: move.reshape(move.broadcast_to(y, (n * m, 2)), (n, m, 2)),
    lambda x, y: np.broadcast_to(y, (20, 2)).reshape(4, 5, 2),
    real(4, 5),
    real(2),
    shapes=[("n", "m"), (2,)],
    smooth=False,  # the first input is only there for its sizes
)
add_sample(
    move.reshape_,
    "unmerge sum",
    lambda x: move.reshape(move.reshape(x, (n * (n + 1),)), (n + 1, n)),
    lambda x: x.reshape(5, 4),
    real(4, 5),
    shapes=[("n", "n + 1")],
)
add_sample(
    move.transpose_,
    "three axes",
    lambda x: move.permute(x, (2, 0, 1)),
    lambda x: x.transpose(2, 0, 1),
    real(2, 3, 4),
)
add_sample(
    move.transpose_,
    "symbolic",
    lambda x: move.permute(x, (1, 0)),
    np.transpose,
    real(2, 3),
    shapes=[("n", "m")],
)
add_sample(
    move.transpose_,
    "empty",
    lambda x: move.permute(x, (1, 0)),
    np.transpose,
    real(0, 3),
)

for _label, _array, _shape in (
    ("square", real(3, 3), (3, 3)),
    ("tall", real(4, 2), (4, 2)),
    ("wide", real(2, 2, 4), (2, 2, 4)),
    ("symbolic", real(3, 2), ("n", "m")),
    ("empty", real(0, 3), (0, 3)),
):
    add_sample(
        move.diagonal_,
        _label,
        lambda x: move.diagonal_(x),
        lambda x: np.diagonal(x, axis1=-2, axis2=-1),
        _array,
        shapes=[_shape],
    )

# ----------------------------------------------------------------------- slicing

for _label, _array, _shape, _starts, _counts, _steps, _python in (
    ("middle", real(5, 4), None, (1, 0), (3, 4), (1, 1), np.s_[1:4]),
    ("strided", real(7, 4), None, (1, 3), (3, 2), (2, -2), np.s_[1:7:2, ::-2]),
    ("reversed", real(5), None, (4,), (5,), (-1,), np.s_[::-1]),
    ("one", real(5), None, (2,), (1,), (3,), np.s_[2:3]),
    ("none", real(5), None, (5,), (0,), (1,), np.s_[5:5]),
    ("none strided", real(5), None, (3,), (0,), (2,), np.s_[3:3]),
    ("empty", real(0, 2), None, (0, 1), (0, 1), (1, 1), np.s_[:, 1:]),
    ("tail", real(6), ("n",), (1,), (n - 1,), (1,), np.s_[1:]),
    ("head", real(6), ("n",), (0,), (n - 2,), (1,), np.s_[:-2]),
    ("reversed symbolic", real(6), ("n",), (n - 1,), (n,), (-1,), np.s_[::-1]),
    ("every second", real(7), ("n",), (0,), ((n + 1) // 2,), (2,), np.s_[::2]),
    ("symbolic none", real(0), ("n",), (0,), ((n + 1) // 2,), (2,), np.s_[::2]),
):
    add_sample(
        slicing.slice_op,
        _label,
        lambda x, p=(_starts, _counts, _steps): slicing.slice_(x, *p),
        lambda x, python=_python: x[python],
        _array,
        shapes=None if _shape is None else [_shape],
    )


def _padded(x: np.ndarray, starts: Any, shape: Any, steps: Any, value: Any) -> Any:
    out = np.full(shape, value, x.dtype)
    for at in np.ndindex(*x.shape):
        out[tuple(s + i * d for s, i, d in zip(starts, at, steps))] = x[at]
    return out


for _label, _array, _shape, _starts, _to, _steps, _value in (
    ("edges", real(2, 3), None, (1, 2), (4, 5), (1, 1), 0),
    ("value", real(3), None, (2,), (6,), (1,), 1.5),
    ("gaps", real(3, 2), None, (0, 1), (5, 6), (2, 3), 0),
    ("backwards", real(3), None, (6,), (8,), (-2,), 0),
    ("flip", real(3), None, (2,), (3,), (-1,), 0),
    ("of nothing", real(0), None, (1,), (3,), (1,), 2.0),
    ("of nothing symbolic", real(0), ("n",), (1,), (n + 3,), (2,), 2.0),
    ("symbolic", real(3), ("n",), (n,), (n * 2 + 1,), (1,), 0),
    ("integers", whole([1, 2]), None, (1,), (4,), (1,), 7),
):
    _sizes = tuple(
        tuple(sizes.evaluate(s, lambda atom, x=_array: x.shape[0]) for s in p)
        for p in (_starts, _to)
    )
    add_sample(
        slicing.pad_,
        _label,
        lambda x, p=(_starts, _to, _steps, _value): slicing.pad(x, *p),
        lambda x, p=(*_sizes, _steps, _value): _padded(x, *p),
        _array,
        shapes=None if _shape is None else [_shape],
    )

for _label, _pieces, _shapes, _axis in (
    ("rows", [real(2, 3), real(4, 3)], None, 0),
    ("columns", [real(2, 3), real(2, 1), real(2, 2)], None, 1),
    ("an empty piece", [real(2), real(0), real(3)], None, 0),
    ("empty pieces", [real(0, 2), real(0, 2)], None, 0),
    ("one piece", [real(3)], None, 0),
    ("symbolic", [real(2, 3), real(4, 3)], [("n", 3), ("m", 3)], 0),
    ("symbolic empty", [real(2), real(0), real(3)], [("n",), ("m",), ("k",)], 0),
    ("symbolic empty last", [real(2), real(0)], [("n",), ("m",)], 0),
    ("taken as equal", [real(2, 3), real(2, 2)], [("n", 3), ("m", 2)], 1),
):
    add_sample(
        slicing.concatenate_,
        _label,
        lambda *xs, axis=_axis: slicing.concatenate_(*xs, params=(axis,)),
        lambda *xs, axis=_axis: np.concatenate(xs, axis),
        *_pieces,
        shapes=_shapes,
    )

# ------------------------------------------------------------------------- order

for _label, _shapes in (("matrix", None), ("symbolic", [("n", "m")])):
    add_sample(
        order.after_,
        _label,
        lambda x: order.after_(cg.exp(x), (x * x).sum()),
        lambda x: np.exp(x),
        real(3, 4),
        shapes=_shapes,
    )

# ------------------------------------------------------------------------- index


def _batch_positions(batch: int, indices: Sequence[np.ndarray]) -> tuple:
    grids = np.indices(indices[0].shape)[:batch]
    return (*grids, *indices)


def _scattered(combine: str, batch: int, base: Any, updates: Any, *indices: Any) -> Any:
    out = base.copy()
    positions = _batch_positions(batch, indices)
    for at in np.ndindex(*indices[0].shape):
        place = tuple(int(p[at]) for p in positions)
        out[place] = updates[at] if combine == "set" else out[place] + updates[at]
    return out


_INDICES: tuple[tuple[str, int, np.ndarray, list[np.ndarray], Any], ...] = (
    ("rows", 0, real(5, 3), [whole([4, 0, -1, 0])], None),
    ("grid", 0, real(5, 3), [whole([[4, 0], [1, 1], [2, -5]])], None),
    ("scalar index", 0, real(5, 3), [whole(-2)], None),
    ("two indices", 0, real(4, 3, 2), [whole([1, 1, 3]), whole([0, 0, -1])], None),
    ("label of a row", 1, real(4, 3), [whole([2, 0, -1, 0])], None),
    ("label kept", 1, real(4, 3), [whole([[2], [0], [-1], [0]])], None),
    ("along an axis", 1, real(3, 4), [whole([[1, 1], [0, -1], [3, 2]])], None),
    ("batch and rest", 1, real(2, 3, 2), [whole([[1, 1], [0, -1]])], None),
    ("two batch axes", 2, real(2, 2, 3), [whole([[1, 2], [0, 0]])], None),
    ("int8", 0, real(5), [whole([4, -4, 4], np.int8)], None),
    ("narrow label", 1, real(2, 200), [whole([-3, 100], np.int8)], None),
    ("uint8 label", 1, real(2, 3), [whole([2, 1], np.uint8)], None),
    ("one place", 0, real(4), [whole([3])], None),
    ("no places", 0, real(4, 2), [whole([])], None),
    ("empty rest", 0, real(4, 0), [whole([1, 2])], None),
    ("symbolic", 0, real(4, 3), [whole([1, 1, -1])], [("n", 3), ("m",)]),
    ("symbolic label", 1, real(4, 3), [whole([2, 0, 1, 2])], [("n", "m"), ("n",)]),
    (
        "symbolic along",
        1,
        real(3, 4),
        [whole([[1, 1], [0, -1], [3, 2]])],
        [("n", "m"), ("n", "k")],
    ),
)

for _label, _batch, _array, _where, _shapes in _INDICES:
    add_sample(
        index.gather_,
        _label,
        lambda x, *i, b=_batch: index.gather(x, i, b),
        lambda x, *i, b=_batch: x[_batch_positions(b, i)],
        _array,
        *_where,
        shapes=_shapes,
    )
    _rest = _array.shape[_batch + len(_where) :]
    _updates = real(*_where[0].shape, *_rest) + 0.5
    if _shapes is not None:
        _rest = _shapes[0][_batch + len(_where) :]
        _shapes = (_shapes[0], (*_shapes[1], *_rest), *_shapes[1:])
    for _op in (index.scatter_add_, index.scatter_set_):
        add_sample(
            _op,
            _label,
            lambda x, u, *i, op=_op, b=_batch: op(x, u, *i, params=(b,)),
            lambda x, u, *i, op=_op, b=_batch: _scattered(op.combine, b, x, u, *i),
            _array,
            _updates,
            *_where,
            shapes=_shapes,
        )

# ------------------------------------------------------------------------ reduce

_ZEROS = {
    "no zero": real(2, 4),
    "a zero": np.array([[1.5, 0.0, -2.0, 3.0], [1.0, 2.0, 0.5, -1.0]]),
    "two zeros": np.array([[0.0, 0.0, -2.0, 3.0], [1.0, 0.0, 0.5, 0.0]]),
}
_AXES = (
    ("none", real(2, 3), None, ()),
    ("first", real(4, 3), None, (0,)),
    ("last", real(4, 3), None, (1,)),
    ("outer", real(2, 3, 4), None, (0, 2)),
    ("all", real(2, 3), None, (0, 1)),
    ("scalar", real(), None, ()),
    ("size one", real(1, 3), None, (0,)),
    ("long", real(2, 300) + 3, None, (1,)),
    ("symbolic", real(4, 3), ("n", "m"), (1,)),
    ("empty kept", real(0, 3), None, (1,)),
)

for _op, _function in (
    (reduce.sum_, np.sum),
    (reduce.prod_, np.prod),
    (reduce.max_, np.max),
    (reduce.min_, np.min),
    (reduce.any_, np.any),
    (reduce.all_, np.all),
):
    _logical = isinstance(_op, reduce.LogicalReduction)
    _cases = list(_AXES)
    if not isinstance(_op, reduce.Extremum):
        _cases += [
            ("empty", real(0, 3), None, (0,)),
            ("symbolic empty", real(3, 0), ("n", "m"), (1,)),
        ]
    for _label, _array, _shape, _axes in _cases:
        if _op is reduce.prod_ and _label == "long":
            _array = 1 + (_array - 3) / 50
        add_sample(
            _op,
            _label,
            lambda x, op=_op, axes=_axes: op(x, params=(axes,)),
            lambda x, f=_function, axes=_axes: f(x, axis=axes),
            _array > 0.3 if _logical else _array,
            shapes=None if _shape is None else [_shape],
        )
    if not _logical:
        add_sample(
            _op,
            "int64",
            lambda x, op=_op: op(x, params=((0,),)),
            lambda x, f=_function: f(x, axis=0),
            whole([[3, -1], [3, 5], [2, 5]]),
        )
for _label, _array in _ZEROS.items():
    for _axes in ((1,), (0, 1)):
        add_sample(
            reduce.prod_,
            f"{_label} over {len(_axes)}",
            lambda x, axes=_axes: reduce.prod_(x, params=(axes,)),
            lambda x, axes=_axes: np.prod(x, axis=axes),
            _array,
        )
for _op, _function in ((reduce.max_, np.max), (reduce.min_, np.min)):
    add_sample(
        _op,
        "nan",
        lambda x, op=_op: op(x, params=((1,),)),
        lambda x, f=_function: f(x, axis=1),
        np.array([[1.0, np.nan, 2.0], [-np.inf, np.inf, 0.0]]),
        smooth=False,
    )
for _op, _function in ((reduce.argmax_, np.argmax), (reduce.argmin_, np.argmin)):
    for _label, _array, _shape, _axis in (
        ("first", real(4, 3), None, 0),
        ("last", real(4, 3), None, 1),
        ("ties", whole([[3, 1, 3, 1]]), None, 1),
        ("booleans", np.array([[False, True, False, True]]), None, 1),
        ("nan", np.array([[1, np.nan, 5, np.nan], [np.inf, -np.inf, 0, 1]]), None, 1),
        ("symbolic", real(2, 3, 4), ("n", "m", 4), 1),
        ("empty kept", real(0, 3), None, 1),
    ):
        add_sample(
            _op,
            _label,
            lambda x, op=_op, axis=_axis: op(x, params=(axis,)),
            lambda x, f=_function, axis=_axis: f(x, axis=axis),
            _array,
            shapes=None if _shape is None else [_shape],
        )

# -------------------------------------------------------------------------- scan


def _recurrence(a: np.ndarray, b: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
    out = np.zeros_like(b)
    for at in np.ndindex(*b.shape):
        total, run = 0.0, range(at[axis], -1, -1)
        if reverse:
            run = range(at[axis], b.shape[axis])
        weight = 1.0
        for i in run:
            here = (*at[:axis], i, *at[axis + 1 :])
            total += weight * b[here]
            weight *= a[here]
        out[at] = total
    return out


def _along(function: Any, axis: int, reverse: bool) -> Callable[..., Any]:
    def accumulated(x: np.ndarray) -> np.ndarray:
        y = np.flip(x, axis) if reverse else x
        y = function(y, axis=axis, dtype=x.dtype)
        return np.flip(y, axis) if reverse else y

    return accumulated


for _reverse in (False, True):
    _suffix = " reversed" if _reverse else ""
    for _label, _array, _shape, _axis in (
        ("vector", real(5), None, 0),
        ("first", real(4, 3), None, 0),
        ("last", real(2, 3, 4), None, 2),
        ("one", real(1), None, 0),
        ("empty", real(0, 2), None, 0),
        ("zeros", _ZEROS["two zeros"], None, 1),
        ("symbolic", real(4, 3), ("n", "m"), 1),
        ("symbolic empty", real(2, 0), ("n", "m"), 1),
        ("integers", whole([[1, 2], [3, 4]]), None, 0),
    ):
        for _op, _function in ((scan.cumsum_, np.cumsum), (scan.cumprod_, np.cumprod)):
            add_sample(
                _op,
                _label + _suffix,
                lambda x, op=_op, p=(_axis, _reverse): op(x, params=p),
                _along(_function, _axis, _reverse),
                _array,
                shapes=None if _shape is None else [_shape],
            )
        if _array.dtype == np.float64:
            add_sample(
                scan.linear_recurrence_,
                _label + _suffix,
                lambda a, b, p=(_axis, _reverse): scan.linear_recurrence(a, b, *p),
                lambda a, b, p=(_axis, _reverse): _recurrence(a, b, *p),
                _array,
                np.flip(_array) * 0.7,
                shapes=None if _shape is None else [_shape, _shape],
            )

# ---------------------------------------------------------------------- contract

for _label, _a, _b, _shapes in (
    ("plain", real(2, 3), real(3, 4), None),
    ("row times column", real(1, 3), real(3, 1), None),
    ("outer", real(3, 1), real(1, 4), None),
    ("no inner", real(2, 0), real(0, 3), None),
    ("no rows", real(0, 3), real(3, 2), None),
    ("batch", real(5, 2, 3), real(5, 3, 4), None),
    ("one matrix", real(5, 2, 3), real(3, 4), None),
    ("one matrix left", real(2, 3), real(2, 3, 4), None),
    ("broadcast", real(2, 1, 2, 3), real(4, 3, 2), None),
    ("symbolic", real(2, 3), real(3, 4), [("n", "m"), ("m", "k")]),
    ("taken as equal", real(2, 3), real(3, 4), [("n", "m"), ("l", "k")]),
    ("symbolic batch", real(5, 2, 3), real(3, 4), [("n", "m", 3), (3, "k")]),
    ("float32", real(2, 3, dtype=np.float32), real(3, 2, dtype=np.float32), None),
    ("integers", whole([[1, 2]]), whole([[3], [4]]), None),
):
    add_sample(matmul_, _label, matmul_, np.matmul, _a, _b, shapes=_shapes)

# --------------------------------------------------------------------- factorize


def _dominant(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    """Return matrices whose symmetric parts, also of squares, are positive definite."""
    return real(*shape, dtype=dtype) * dtype(0.4) + 3 * np.eye(shape[-1], dtype=dtype)


def _symmetric(x: Node) -> Node:
    x = factorize.squared(x)
    return (x + factorize.swapped(x)) * 0.5  # type: ignore[operator]


def _mirrored(x: np.ndarray) -> np.ndarray:
    return np.triu(x) + np.swapaxes(np.triu(x, 1), -1, -2)


def _packed_lu(x: np.ndarray) -> np.ndarray:
    """Return what SciPy gives as the rows that lu_factor has."""
    if not x.size:
        return np.zeros((*x.shape[:-2], x.shape[-1] + 3, x.shape[-1]))
    n = x.shape[-1]
    out = np.empty((*x.shape[:-2], n + 3, n), x.dtype)
    for at in np.ndindex(*x.shape[:-2]):
        p, lower, upper = scipy.linalg.lu(x[at])
        order = np.argmax(p, 0)
        _, swaps = scipy.linalg.lu_factor(x[at])
        out[at][:n] = np.tril(lower, -1) + upper
        out[at][n:] = order, np.argsort(order), 1 - 2 * (swaps != np.arange(n))
    return out


def _triangular(
    t: np.ndarray, b: np.ndarray, lower: bool, transposed: bool, unit: bool
) -> np.ndarray:
    t = np.tril(t) if lower else np.triu(t)
    if unit:
        t = t - t * np.eye(t.shape[-1]) + np.eye(t.shape[-1])
    return np.linalg.solve(np.swapaxes(t, -1, -2) if transposed else t, b)


_MATRICES = (
    ("one", _dominant(1, 1), None),
    ("plain", _dominant(4, 4), None),
    ("batch", _dominant(2, 3, 3), None),
    ("symbolic", _dominant(3, 3), ("n", "n")),
    ("taken as equal", _dominant(3, 3), ("n", "m")),
    ("empty", real(0, 0), None),
)

for _label, _array, _shape in _MATRICES:
    _shapes = None if _shape is None else [_shape]
    add_sample(
        factorize.cholesky_,
        _label,
        factorize.cholesky,
        lambda x: np.swapaxes(np.linalg.cholesky(_mirrored(x)), -1, -2),
        _array,
        shapes=_shapes,
    )
    add_sample(
        factorize.lu_factor_,
        _label,
        factorize.lu_factors,
        _packed_lu,
        np.flip(_array, -2),
        shapes=_shapes,
        smooth=False,  # it carries no derivative
    )
    add_sample(
        solve.log_abs_det_,
        _label,
        solve.log_abs_det,
        lambda x: np.linalg.slogdet(x)[1],
        _array,
        shapes=_shapes,
    )
    add_sample(solve.det_, _label, solve.det, np.linalg.det, _array, shapes=_shapes)
    _b = real(*_array.shape[:-1], 2)
    _shapes = None if _shape is None else [_shape, (_shape[0], "k")]
    for _positive in (False, True):
        add_sample(
            solve.solve_,
            f"{_label}{' positive' if _positive else ''}",
            lambda a, b, p=_positive: solve.solve(_symmetric(a) if p else a, b, p),
            lambda a, b, p=_positive: np.linalg.solve(
                (a + np.swapaxes(a, -1, -2)) / 2 if p else a, b
            ),
            _array,
            _b,
            shapes=_shapes,
        )
    for _case in itertools.product((False, True), repeat=3):
        add_sample(
            factorize.solve_triangular_,
            f"{_label} {''.join('01'[c] for c in _case)}",
            lambda a, b, c=_case: factorize.solve_triangular(a, b, *c),
            lambda a, b, c=_case: _triangular(a, b, *c),
            _array,
            _b,
            shapes=_shapes,
        )

# ------------------------------------------------------------------------ custom


def _scaled_sine(x: Node, y: Node) -> Node:
    return x * cg.sin(y)


def _scaled_sine_jvp(primals: Any, tangents: Any) -> Any:
    (x, y), (dx, dy) = primals, tangents
    return _scaled_sine(x, y), dx * cg.sin(y) + dy * x * cg.cos(y)


add_sample(
    "custom",
    "jvp",
    cg.custom_derivative(_scaled_sine, jvp=_scaled_sine_jvp),
    lambda x, y: x * np.sin(y),
    real(3),
    real(3),
    shapes=[("n",), ("n",)],
)
add_sample(
    "custom",
    "vjp",
    cg.custom_derivative(
        lambda x: cg.exp(x).sum(axis=0),
        vjp=lambda residuals, c: (cg.exp(residuals[0][0]) * c,),
    ),
    lambda x: np.exp(x).sum(axis=0),
    real(3, 2),
    shapes=[("n", 2)],
)
