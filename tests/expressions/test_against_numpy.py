"""Every function against NumPy's of the same name, and through NumPy's protocols.

A case is a function of a module and arrays. It is run with NumPy on arrays (the
expected value), with graphc on expressions, and with NumPy on expressions; sizes
once integers and once symbolic.
"""

from __future__ import annotations

import numpy as np
import pytest

import graphc as cg
from graphc.expressions.array_api import NAMES as ARRAY_API
from graphc.types.errors import ShapeError
from tests.support.expression_values import evaluate, inputs_like

_rng = np.random.default_rng(0)
ARRAYS = {
    "a": _rng.normal(size=(3, 4)),
    "b": _rng.normal(size=(3, 4)),
    "s": _rng.normal(size=(4, 4)),
    "t": _rng.normal(size=(2, 3, 4)),
    "v": _rng.normal(size=4),
    "w": _rng.normal(size=3),
    "f": _rng.normal(size=(3, 4)).astype(np.float32),
    "i": _rng.integers(0, 3, size=(3, 4)),
    "j": _rng.integers(0, 3, size=5),
    "k": _rng.integers(-3, 3, size=(3, 4)).astype(np.int8),
    "u": _rng.integers(0, 9, size=4).astype(np.uint8),
    "p": _rng.normal(size=(3, 4)) > 0,
    "z": np.asarray(1.5),
    "one": _rng.normal(size=(3, 1, 4)),
}

# fmt: off
CASES = {
    # reductions
    "sum": lambda m, x: m.sum(x.a),
    "sum axis": lambda m, x: m.sum(x.a, axis=0),
    "sum axes keepdims": lambda m, x: m.sum(x.t, axis=(0, -1), keepdims=True),
    "sum positional": lambda m, x: m.sum(x.t, 1),
    "sum no axes": lambda m, x: m.sum(x.a, axis=()),
    "sum dtype": lambda m, x: m.sum(x.f, dtype=np.float64),
    "sum float32": lambda m, x: m.sum(x.f, axis=1),
    "sum bool": lambda m, x: m.sum(x.p, axis=0),
    "sum int8": lambda m, x: m.sum(x.k, axis=0),
    "sum uint8": lambda m, x: m.sum(x.u),
    "sum of scalar": lambda m, x: m.sum(x.z),
    "prod": lambda m, x: m.prod(x.a, axis=1),
    "prod int": lambda m, x: m.prod(x.k, axis=-1),
    "max": lambda m, x: m.max(x.a),
    "max axis": lambda m, x: m.max(x.t, axis=(0, 2)),
    "max keepdims": lambda m, x: m.max(x.a, axis=1, keepdims=True),
    "max int": lambda m, x: m.max(x.i, axis=0),
    "amin": lambda m, x: m.amin(x.a, axis=0),
    "min": lambda m, x: m.min(x.a, axis=-1),
    "ptp": lambda m, x: m.ptp(x.a, axis=0),
    "argmax": lambda m, x: m.argmax(x.a),
    "argmax axis": lambda m, x: m.argmax(x.t, axis=1),
    "argmax ties": lambda m, x: m.argmax(x.i, axis=1),
    "argmin keepdims": lambda m, x: m.argmin(x.a, axis=-1, keepdims=True),
    "argmin all keepdims": lambda m, x: m.argmin(x.a, keepdims=True),
    "any": lambda m, x: m.any(x.p, axis=0),
    "any of numbers": lambda m, x: m.any(x.i),
    "all": lambda m, x: m.all(x.p, axis=1, keepdims=True),
    "all of numbers": lambda m, x: m.all(x.i, axis=0),
    "count_nonzero": lambda m, x: m.count_nonzero(x.i, axis=0),
    "mean": lambda m, x: m.mean(x.a),
    "mean axis": lambda m, x: m.mean(x.t, axis=(0, 1), keepdims=True),
    "mean int": lambda m, x: m.mean(x.i, axis=0),
    "mean bool": lambda m, x: m.mean(x.p),
    "mean dtype": lambda m, x: m.mean(x.f, dtype=np.float64),
    "var": lambda m, x: m.var(x.a, axis=0),
    "var ddof": lambda m, x: m.var(x.a, axis=1, ddof=1),
    "var correction": lambda m, x: m.var(x.a, axis=1, correction=1),
    "std": lambda m, x: m.std(x.a, axis=0, keepdims=True),
    "std int": lambda m, x: m.std(x.i, ddof=1),
    "average": lambda m, x: m.average(x.a, axis=0, weights=m.exp(x.w)),
    "cumsum": lambda m, x: m.cumsum(x.a, axis=0),
    "cumsum flat": lambda m, x: m.cumsum(x.a),
    "cumsum int8": lambda m, x: m.cumsum(x.k, axis=1),
    "cumsum bool": lambda m, x: m.cumsum(x.p, axis=1),
    "cumprod": lambda m, x: m.cumprod(x.a, axis=1),
    "cumulative_sum": lambda m, x: m.cumulative_sum(x.a, axis=1, include_initial=True),
    "cumulative_prod": lambda m, x: m.cumulative_prod(x.v, include_initial=True),
    # elementwise functions with arguments of their own
    "clip": lambda m, x: m.clip(x.a, -0.5, 0.5),
    "clip one side": lambda m, x: m.clip(x.a, None, 0.2),
    "clip arrays": lambda m, x: m.clip(x.a, -abs(x.v), abs(x.v)),
    "clip keywords": lambda m, x: m.clip(x.a, min=-0.1, max=1),
    "clip int by float": lambda m, x: m.clip(x.i, 0.5, 1.5),
    "round": lambda m, x: m.round(x.a),
    "round decimals": lambda m, x: m.round(x.a, 2),
    "round tens": lambda m, x: m.round(x.a * 1000, -1),
    "rint": lambda m, x: m.rint(x.a),
    "astype": lambda m, x: m.astype(x.a, np.int32),
    "positive": lambda m, x: m.positive(x.a),
    "conj": lambda m, x: m.conj(x.a),
    "real": lambda m, x: m.real(x.a),
    "divmod": lambda m, x: m.divmod(x.a, 0.3),
    "fabs": lambda m, x: m.fabs(x.i),
    "fmax": lambda m, x: m.fmax(m.where(x.p, x.a, np.nan), x.b),
    "fmin": lambda m, x: m.fmin(x.a, m.where(x.p, x.b, np.nan)),
    "deg2rad": lambda m, x: m.deg2rad(x.a),
    "degrees": lambda m, x: m.degrees(x.f),
    "nan_to_num": lambda m, x: m.nan_to_num(m.where(x.p, x.a, np.nan), nan=2.0),
    "nan_to_num inf": lambda m, x: m.nan_to_num(m.where(x.p, x.f, -np.inf)),
    "isclose": lambda m, x: m.isclose(x.a, x.a + 1e-9 * x.b),
    "isclose nan": lambda m, x: m.isclose(
        m.where(x.p, x.a, np.nan), m.where(x.p, x.a, np.nan), equal_nan=True),
    "where": lambda m, x: m.where(x.a > 0, x.a, 0),
    "where scalars": lambda m, x: m.where(x.p, 1, 2.5),
    "square": lambda m, x: m.square(x.k),
    "hypot": lambda m, x: m.hypot(x.a, x.v),
    "left_shift": lambda m, x: m.left_shift(x.i, 2),
    "bitwise": lambda m, x: m.bitwise_xor(x.i, m.invert(x.i)) & m.bitwise_not(x.p),
    "power": lambda m, x: m.power(abs(x.a), x.v),
    "absolute": lambda m, x: m.absolute(x.k),
    # shapes
    "reshape": lambda m, x: m.reshape(x.a, (4, 3)),
    "reshape rest": lambda m, x: m.reshape(x.t, (-1, 4)),
    "reshape rest inside": lambda m, x: m.reshape(x.t, (2, -1)),
    "reshape flat": lambda m, x: m.reshape(x.a, -1),
    "reshape split": lambda m, x: m.reshape(x.v, (2, -1)),
    "reshape by size": lambda m, x: m.reshape(x.t, (x.t.shape[0] * 3, -1)),
    "reshape keyword": lambda m, x: m.reshape(x.a, shape=(2, 6)),
    "ravel": lambda m, x: m.ravel(x.a),
    "transpose": lambda m, x: m.transpose(x.t),
    "transpose axes": lambda m, x: m.transpose(x.t, (1, 2, 0)),
    "transpose keyword": lambda m, x: m.transpose(x.t, axes=(-1, 0, 1)),
    "permute_dims": lambda m, x: m.permute_dims(x.t, (2, 0, 1)),
    "matrix_transpose": lambda m, x: m.matrix_transpose(x.t),
    "swapaxes": lambda m, x: m.swapaxes(x.t, 0, -1),
    "moveaxis": lambda m, x: m.moveaxis(x.t, 0, -1),
    "moveaxis several": lambda m, x: m.moveaxis(x.t, (0, 1), (-1, 0)),
    "expand_dims": lambda m, x: m.expand_dims(x.a, 1),
    "expand_dims several": lambda m, x: m.expand_dims(x.a, (0, -1)),
    "squeeze": lambda m, x: m.squeeze(m.expand_dims(x.a, (0, 2))),
    "squeeze axis": lambda m, x: m.squeeze(x.one, axis=1),
    "squeeze new": lambda m, x: m.squeeze(m.expand_dims(x.a, (0, 2)), 0),
    "broadcast_to": lambda m, x: m.broadcast_to(x.v, (3, 4)),
    "broadcast_arrays": lambda m, x: list(m.broadcast_arrays(x.a, x.v, 1.0)),
    # joining and parting
    "concatenate": lambda m, x: m.concatenate([x.a, x.b]),
    "concatenate axis": lambda m, x: m.concatenate((x.a, x.b, x.a), axis=1),
    "concatenate sizes": lambda m, x: m.concatenate([x.a, x.s]),
    "concatenate flat": lambda m, x: m.concatenate([x.a, x.v], axis=None),
    "concatenate promotes": lambda m, x: m.concatenate([x.f, x.i]),
    "concat": lambda m, x: m.concat([x.v, x.w]),
    "append": lambda m, x: m.append(x.v, x.w),
    "stack": lambda m, x: m.stack([x.a, x.b]),
    "stack last": lambda m, x: m.stack([x.a, x.b], axis=-1),
    "stack scalars": lambda m, x: m.stack([x.z, x.v[0], 2.0]),
    "unstack": lambda m, x: list(m.unstack(m.reshape(x.a, (3, 4)), axis=1)),
    "hstack": lambda m, x: m.hstack([x.a, x.b]),
    "hstack vectors": lambda m, x: m.hstack([x.v, x.w]),
    "vstack": lambda m, x: m.vstack([x.v, x.a]),
    "dstack": lambda m, x: m.dstack([x.a, x.b]),
    "column_stack": lambda m, x: m.column_stack([x.v, x.s]),
    "split": lambda m, x: list(m.split(x.v, 2)),
    "split axis": lambda m, x: list(m.split(x.a, 4, axis=1)),
    "split at": lambda m, x: list(m.split(x.v, [1, 3])),
    "split beyond": lambda m, x: list(m.split(x.v, [1, 9])),
    "flip": lambda m, x: m.flip(x.t),
    "flip axis": lambda m, x: m.flip(x.t, axis=(0, 2)),
    "flipud": lambda m, x: m.flipud(x.a) + m.fliplr(x.a),
    "roll": lambda m, x: m.roll(x.v, 1),
    "roll back": lambda m, x: m.roll(x.a, -5, axis=1),
    "roll flat": lambda m, x: m.roll(x.a, 2),
    "roll several": lambda m, x: m.roll(x.a, (1, 2), axis=(0, 1)),
    "repeat": lambda m, x: m.repeat(x.a, 2, axis=0),
    "repeat flat": lambda m, x: m.repeat(x.a, 3),
    "tile": lambda m, x: m.tile(x.v, 2),
    "tile several": lambda m, x: m.tile(x.a, (2, 1, 3)),
    "pad": lambda m, x: m.pad(x.a, 1),
    "pad pair": lambda m, x: m.pad(x.a, (1, 2), constant_values=7.0),
    "pad pairs": lambda m, x: m.pad(x.a, ((0, 1), (2, 0))),
    "pad int": lambda m, x: m.pad(x.i, ((1, 0), (0, 0)), mode="constant"),
    "diff": lambda m, x: np.diff(x.a, n=2, axis=1),
    # indices
    "take": lambda m, x: m.take(x.v, x.j),
    "take axis": lambda m, x: m.take(x.t, x.i, axis=1),
    "take scalar": lambda m, x: m.take(x.a, 1, axis=0),
    "take negative": lambda m, x: m.take(x.a, x.j - 3, axis=0),
    "take clip": lambda m, x: m.take(x.v, x.j * 3, mode="clip"),
    "take wrap": lambda m, x: m.take(x.v, x.j * 3 - 4, mode="wrap"),
    "take_along_axis": lambda m, x: m.take_along_axis(x.a, x.i[:, :2], axis=1),
    "take_along_axis argmax": lambda m, x: m.take_along_axis(
        x.a, m.argmax(x.a, axis=1, keepdims=True), axis=1),
    "tril": lambda m, x: m.tril(x.a),
    "tril k": lambda m, x: m.tril(x.t, -1),
    "triu": lambda m, x: m.triu(x.a, 1),
    "diag": lambda m, x: m.diag(x.v),
    "diag above": lambda m, x: m.diag(x.v, 2),
    "diag below": lambda m, x: m.diag(x.v, -1),
    "diag of matrix": lambda m, x: m.diag(x.a, 1),
    "diagonal": lambda m, x: m.diagonal(x.a),
    "diagonal axes": lambda m, x: m.diagonal(x.t, offset=-1, axis1=2, axis2=0),
    "trace": lambda m, x: m.trace(x.a),
    "trace of more": lambda m, x: m.trace(x.t, 1, 1, 2),
    # creation
    "zeros_like": lambda m, x: m.zeros_like(x.f),
    "ones_like": lambda m, x: m.ones_like(x.i, dtype=np.float32),
    "full_like": lambda m, x: m.full_like(x.a, 3),
    "meshgrid": lambda m, x: list(m.meshgrid(x.v, x.w)),
    "meshgrid ij": lambda m, x: list(m.meshgrid(x.v, x.w, x.j, indexing="ij")),
    "linspace": lambda m, x: m.linspace(x.z, 4, 5),
    # products
    "matmul": lambda m, x: m.matmul(x.a, x.s),
    "matmul row": lambda m, x: m.matmul(x.w, x.a),
    "matmul column": lambda m, x: m.matmul(x.a, x.v),
    "matmul vectors": lambda m, x: m.matmul(x.v, x.v),
    "matmul batch": lambda m, x: m.matmul(x.t, x.s),
    "matmul row batch": lambda m, x: m.matmul(x.w, x.t),
    "matmul column batch": lambda m, x: m.matmul(x.t, x.v),
    "matmul promotes": lambda m, x: m.matmul(x.f, x.s),
    "matmul int": lambda m, x: m.matmul(x.i, x.i.T),
    "dot": lambda m, x: m.dot(x.a, x.v),
    "dot number": lambda m, x: m.dot(x.a, 2.0),
    "dot more": lambda m, x: m.dot(x.t, m.swapaxes(x.t, 1, 2)),
    "vdot": lambda m, x: m.vdot(x.a, x.b),
    "vecdot": lambda m, x: m.vecdot(x.a, x.v),
    "vecdot axis": lambda m, x: m.vecdot(x.a, x.b, axis=0),
    "inner": lambda m, x: m.inner(x.a, x.t),
    "outer": lambda m, x: m.outer(x.v, x.w),
    "tensordot": lambda m, x: m.tensordot(x.t, x.a),
    "tensordot one": lambda m, x: m.tensordot(x.a, x.s, axes=1),
    "tensordot zero": lambda m, x: m.tensordot(x.v, x.w, axes=0),
    "tensordot axes": lambda m, x: m.tensordot(x.t, x.a, axes=((2, 1), (1, 0))),
    "einsum": lambda m, x: m.einsum("tij,ij->ti", x.t, x.a),
    "einsum trace": lambda m, x: m.einsum("ii", x.s),
    "einsum three": lambda m, x: m.einsum("ij,jk,i->k", x.a, x.s, x.w),
    "kron": lambda m, x: m.kron(x.a, x.s),
    "kron ranks": lambda m, x: m.kron(x.v, x.a),
    # norms
    "norm": lambda m, x: m.linalg.norm(x.a),
    "norm axis": lambda m, x: m.linalg.norm(x.a, axis=1, keepdims=True),
    "norm 1": lambda m, x: m.linalg.norm(x.v, ord=1),
    "norm inf": lambda m, x: m.linalg.norm(x.a, ord=np.inf, axis=0),
    "norm -inf": lambda m, x: m.linalg.norm(x.v, -np.inf),
    "norm 3": lambda m, x: m.linalg.norm(x.v, 3),
    "norm 0": lambda m, x: m.linalg.norm(x.v, 0),
    "norm fro": lambda m, x: m.linalg.norm(x.t, "fro", axis=(0, 2)),
    "norm matrix 1": lambda m, x: m.linalg.norm(x.a, 1),
    "norm matrix inf": lambda m, x: m.linalg.norm(x.t, np.inf, axis=(2, 0)),
    "norm matrix -1": lambda m, x: m.linalg.norm(x.a, -1, keepdims=True),
    "norm of ints": lambda m, x: m.linalg.norm(x.i),
    "vector_norm": lambda m, x: m.linalg.vector_norm(x.t, axis=(0, 1)),
    "matrix_norm": lambda m, x: m.linalg.matrix_norm(x.t, ord=1),
    "linalg diagonal": lambda m, x: m.linalg.diagonal(x.t, offset=1),
    "linalg trace": lambda m, x: m.linalg.trace(x.t),
}
# fmt: on


class Bag:
    """Arrays or expressions as attributes."""

    def __init__(self, values):
        self.__dict__.update(values)


def assert_same(found, expected):
    if isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for f, e in zip(found, expected):
            assert_same(f, e)
        return
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    tolerance = 1e-5 if expected.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def run_case(case, module, symbolic):
    inputs = inputs_like(ARRAYS, symbolic)
    result = case(module, Bag(inputs))
    return evaluate(result, {inputs[n]: a for n, a in ARRAYS.items()})


@pytest.mark.parametrize("symbolic", [False, True], ids=["integers", "symbols"])
@pytest.mark.parametrize("module", [cg, np], ids=["graphc", "numpy"])
@pytest.mark.parametrize("name", CASES)
def test_against_numpy(name, module, symbolic):
    case = CASES[name]
    expected = case(np, Bag(ARRAYS))
    assert_same(run_case(case, module, symbolic), expected)


def test_errors_are_not_hidden_by_the_table():
    with pytest.raises(ShapeError):
        run_case(lambda m, x: x.v + x.w, cg, False)


def test_every_array_api_name_is_there():
    namespace = cg.vector("x").__array_namespace__()
    for name in ARRAY_API:
        assert hasattr(namespace, name), name
    assert namespace.concat is cg.concatenate
    assert namespace.bool == np.dtype(bool)
    assert namespace.__array_namespace_info__().default_dtypes()["integral"] == np.int64
