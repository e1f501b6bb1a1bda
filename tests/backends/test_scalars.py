"""The scalar instructions as LLVM code, against NumPy over all dtypes."""

import ctypes
import re

import numpy as np
import pytest

from graphc.backends.cpu import jit
from graphc.backends.cpu.scalars import LlvmModule, LlvmScalars, Value
from graphc.backends.cpu.vector_math import arrays
from graphc.types import dtypes
from graphc.types.errors import InternalError

BOOL = dtypes.bool_
INTEGERS = [d for d in dtypes.SUPPORTED.values() if d.kind in "iu"]
FLOATS = [dtypes.float32, dtypes.float64]
NUMBERS = [*INTEGERS, *FLOATS]
ALL = [BOOL, *NUMBERS]

BINARY = {
    "add": (np.add, ALL),
    "sub": (np.subtract, NUMBERS),
    "mul": (np.multiply, ALL),
    "add_reassoc": (np.add, ALL),
    "mul_reassoc": (np.multiply, ALL),
    "div": (np.divide, FLOATS),
    "floordiv": (np.floor_divide, NUMBERS),
    "mod": (np.remainder, NUMBERS),
    "min": (np.minimum, ALL),
    "max": (np.maximum, ALL),
    "lt": (np.less, ALL),
    "le": (np.less_equal, ALL),
    "gt": (np.greater, ALL),
    "ge": (np.greater_equal, ALL),
    "eq": (np.equal, ALL),
    "ne": (np.not_equal, ALL),
    "and": (np.bitwise_and, [BOOL, *INTEGERS]),
    "or": (np.bitwise_or, [BOOL, *INTEGERS]),
    "xor": (np.bitwise_xor, [BOOL, *INTEGERS]),
    "shl": (np.left_shift, INTEGERS),
    "shr": (np.right_shift, INTEGERS),
    "copysign": (np.copysign, FLOATS),
}
UNARY = {
    "neg": (np.negative, NUMBERS),
    "abs": (np.absolute, NUMBERS),
    "sqrt": (np.sqrt, FLOATS),
    "floor": (np.floor, NUMBERS),
    "ceil": (np.ceil, NUMBERS),
    "rint": (np.rint, FLOATS),
    "trunc": (np.trunc, NUMBERS),
    "not": (np.invert, [BOOL, *INTEGERS]),
    "isnan": (np.isnan, NUMBERS),
    "isinf": (np.isinf, NUMBERS),
    "isfinite": (np.isfinite, NUMBERS),
}


def values(dtype):
    """Numbers of a dtype that instructions may trip over."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind == "f":
        info = np.finfo(dtype)
        some = [0.0, 0.5, 1.0, 1.5, 2.5, 3.0, 7.0, 1e10, info.max, info.tiny, np.inf]
        some += [info.smallest_subnormal, 0.1, 1 / 3, 4.999999]
        return np.array([*some, *(-x for x in some), np.nan], dtype)
    info = np.iinfo(dtype)
    some = [0, 1, 2, 3, 7, 8, 31, 63, 64, info.max, info.max - 1, info.max // 2]
    some += [info.min]
    if dtype.kind == "i":
        some += [-1, -2, -3, -7, info.min + 1]
    return np.array([x for x in some if info.min <= x <= info.max], dtype)


def pairs(dtype):
    x, y = np.meshgrid(values(dtype), values(dtype))
    return x.ravel(), y.ravel()


@pytest.fixture(scope="module")
def compiled():
    """All instructions on all their dtypes, in one module."""
    functions = []
    for table, count in ((BINARY, 2), (UNARY, 1)):
        for name, (_, supported) in table.items():
            for dtype in supported:
                functions.append(
                    arrays.ScalarFunction(
                        f"{name}_{dtype.name}",
                        lambda k, *x, name=name: k(name, *x),
                        (dtype,) * count,
                    )
                )
    for source in ALL:
        for target in ALL:
            functions.append(
                arrays.ScalarFunction(
                    f"cast_{source.name}_{target.name}",
                    lambda k, x, target=target: k.cast(x, target),
                    (source,),
                )
            )
        functions.append(
            arrays.ScalarFunction(
                f"select_{source.name}",
                lambda k, c, x, y: k("select", c, x, y),
                (BOOL, source, source),
            )
        )
    for dtype in FLOATS:
        functions.append(
            arrays.ScalarFunction(
                f"bits_{dtype.name}",
                lambda k, x: k("from_bits", k("bits", x)),
                (dtype,),
            )
        )
    return arrays.compile_functions(functions)


def cases(table):
    return [(name, dtype) for name, (_, dtypes) in table.items() for dtype in dtypes]


@pytest.mark.parametrize("name, dtype", cases(BINARY), ids=str)
def test_binary(compiled, name, dtype):
    x, y = pairs(dtype)
    with np.errstate(all="ignore"):
        expected = BINARY[name][0](x, y)
    got = compiled[f"{name}_{dtype.name}"](x, y)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name, dtype", cases(UNARY), ids=str)
def test_unary(compiled, name, dtype):
    x = values(dtype)
    with np.errstate(all="ignore"):
        expected = UNARY[name][0](x)
    got = compiled[f"{name}_{dtype.name}"](x)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_signs_of_zero(compiled, dtype):
    x, y = pairs(dtype)
    with np.errstate(all="ignore"):
        for name in ("add", "mul", "div", "floordiv", "mod", "copysign"):
            expected = BINARY[name][0](x, y)
            got = compiled[f"{name}_{dtype.name}"](x, y)
            zero = expected == 0
            signs = np.signbit(expected[zero])
            np.testing.assert_array_equal(np.signbit(got[zero]), signs)


@pytest.mark.parametrize("target", ALL, ids=str)
@pytest.mark.parametrize("source", ALL, ids=str)
def test_cast(compiled, source, target):
    x = values(source)
    got = compiled[f"cast_{source.name}_{target.name}"](x)
    assert got.dtype == target
    if source.kind == "f" and target.kind in "iu":
        info = np.iinfo(target)
        expected = [
            0 if v != v else int(min(max(v, info.min), info.max)) for v in x.tolist()
        ]
        np.testing.assert_array_equal(got, np.array(expected, target))
        return
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got, x.astype(target))


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_select(compiled, dtype):
    x, y = pairs(dtype)
    condition = np.arange(len(x)) % 3 == 0
    got = compiled[f"select_{dtype.name}"](condition, x, y)
    np.testing.assert_array_equal(got, np.where(condition, x, y))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_bits(compiled, dtype):
    x = values(dtype)
    np.testing.assert_array_equal(compiled[f"bits_{dtype.name}"](x), x)


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_constants(dtype):
    for value in values(dtype):
        function = arrays.ScalarFunction(
            "constant", lambda k, x, value=value: k.constant(value, x.dtype), (dtype,)
        )
        text, _ = arrays.loop_text(LlvmModule(), function)
        assert "store" in text
    functions = [
        arrays.ScalarFunction(
            f"constant{i}", lambda k, x, v=v: k.constant(v, x.dtype), (dtype,)
        )
        for i, v in enumerate(values(dtype))
    ]
    compiled = arrays.compile_functions(functions)
    got = [compiled[f.name](np.zeros(1, dtype))[0] for f in functions]
    np.testing.assert_array_equal(np.array(got, dtype), values(dtype))


def scalars():
    x, y = (Value(name, dtypes.float32) for name in ("%x", "%y"))
    return LlvmScalars(LlvmModule()), x, y


def test_equal_instructions_are_one_value_within_a_scope():
    k, x, y = scalars()
    with k.scope():
        inner = k("add", x, y)
        assert k("add", x, y) == inner
        assert len(k.lines) == 1
    assert k("add", x, y) != inner
    outer = k("mul", x, y)
    with k.scope():
        assert k("mul", x, y) == outer
    assert k.load("%p", dtypes.float32) != k.load("%p", dtypes.float32)


def test_products_fuse_with_accumulators_only():
    k, x, y = scalars()
    product = k("mul", x, y)
    assert " contract " in k.lines[-1]
    k("add", product, x)
    k("sub", product, x)
    assert not any(" contract " in line for line in k.lines[-2:])
    k("add_reassoc", x, product)
    assert " contract " in k.lines[-1]


def test_the_difference_of_equal_products_is_zero():
    def build(k, a, b, c, d):
        return k("sub", k("mul", a, b), k("mul", c, d))

    function = arrays.ScalarFunction("difference", build, (dtypes.float64,) * 4)
    difference = arrays.compile_functions([function])["difference"]
    x, y = np.random.default_rng(0).normal(size=(2, 1000))
    assert not difference(x, y, y, x).any()


def test_misuse_is_a_defect():
    k, x, _ = scalars()
    integer, flag = Value("%i", dtypes.int32), Value("%b", BOOL)
    for name, operands in {
        "add": (x, integer),
        "sub": (flag, flag),
        "div": (integer, integer),
        "sqrt": (integer,),
        "bits": (integer,),
    }.items():
        with pytest.raises(InternalError, match=name):
            k(name, *operands)


def reduction_text(module, name, instruction, start):
    """Return an LLVM function that folds an array by an instruction."""
    k = LlvmScalars(module)
    x = k.load("%p", dtypes.float32)
    result = k(instruction, Value("%acc", dtypes.float32), x)
    first = k.constant(start, dtypes.float32)
    lines = "\n".join(k.lines)
    return f"""
define float @{name}(i64 %n, ptr noalias %a) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %acc = phi float [ {first.text}, %entry ], [ {result.text}, %loop ]
  %p = getelementptr inbounds float, ptr %a, i64 %i
{lines}
  %next = add nuw nsw i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret float {result.text}
}}
"""


@pytest.mark.parametrize(
    "instruction, start, reference",
    [("add_reassoc", 0, np.sum), ("max", -np.inf, np.max), ("min", np.inf, np.min)],
)
def test_reductions_vectorize_and_keep_nan(instruction, start, reference):
    module = LlvmModule()
    name = f"reduce_{instruction}"
    text = reduction_text(module, name, instruction, start) + module.text()
    parsed = jit.optimized(text)
    assert re.search(r"<\d+ x float>", str(parsed.get_function(name)))
    (address,) = jit.load(jit.compile_module(text), [name])
    fold = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64, ctypes.c_void_p)(address)
    x = np.random.default_rng(0).normal(size=1003).astype(np.float32)
    expected = reference(x.astype(float))
    assert fold(x.size, x.ctypes.data) == pytest.approx(expected, rel=1e-5)
    for position in (0, 500, 1002):
        y = x.copy()
        y[position] = np.nan
        assert np.isnan(fold(y.size, y.ctypes.data))
