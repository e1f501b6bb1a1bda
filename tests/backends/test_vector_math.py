"""Vector math: values against mpmath, special values, and vector instructions."""

import importlib.util
import math
import re
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.backends.cpu import jit
from graphc.backends.cpu.printer import KernelPrinter
from graphc.backends.cpu.scalars import LlvmModule
from graphc.backends.cpu.vector_math import FUNCTIONS, arrays
from graphc.kernels.canonical import Canonical
from graphc.types import dtypes
from graphc.types.errors import DTypeError, InternalError
from tests.support.registry import DOMAINS, ELEMENTWISE, example, params_of

_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "vector_math_error.py"
_SPEC = importlib.util.spec_from_file_location("vector_math_error", _SCRIPT)
script = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(script)

FLOATS = (dtypes.float32, dtypes.float64)
INF, NAN = math.inf, math.nan

BOUND = 2
"""Errors allowed, in units in the last place as the script measures them."""


@pytest.fixture(scope="module")
def functions():
    return {
        (name, dtype): function
        for dtype in FLOATS
        for name, function in script.compile_all(list(script.REFERENCES), dtype).items()
    }


def test_every_function_has_a_reference():
    assert FUNCTIONS.keys() <= script.REFERENCES.keys()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", script.REFERENCES)
def test_against_mpmath(functions, name, dtype):
    pytest.importorskip("mpmath")
    count = 60 if name.startswith("polygamma") else 400
    worst, at = script.sampled_worst(name, functions[name, dtype], dtype, count, seed=7)
    assert worst <= BOUND, at


@pytest.mark.parametrize("name", ["exp", "log", "sin", "tan", "erf", "pow", "hypot"])
def test_float32_against_float64_over_all_exponents(name):
    worst, at = script.exhaustive_worst(name, 65537)
    assert worst <= BOUND, at


@pytest.mark.parametrize("unit", ["result", "operands"])
def test_the_float32_check_finds_errors(monkeypatch, unit):
    """A function that is wrong by 3 units, or of the wrong kind at one place."""

    def off(k, x):
        y = k("add", x, x)
        if x.dtype == dtypes.float64:
            return y
        bits = k("add", k("bits", y), k.constant(3, dtypes.int32))
        wrong = k("from_bits", bits)
        return k("select", k("gt", x, k.like(x, 1e30)), k.like(x, 0), wrong)

    reference = script.Reference(None, None, 1, unit, off)
    monkeypatch.setitem(script.REFERENCES, "off", reference)
    function = script.error_function("off")
    error = arrays.compile_functions([function])[function.name]
    got = error(np.array([1.0, 3.0, 1e38, INF, NAN], np.float32))
    np.testing.assert_array_equal(got[:2], [3, 3])
    assert got[2] > 1e6
    assert got[3] == INF
    assert got[4] == 0


def _kinds(dtype):
    info = np.finfo(dtype)
    some = [0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 17.0, 1e4, 1e30, float(info.max), INF, NAN]
    some += [float(info.tiny), float(info.smallest_subnormal), float(info.eps)]
    some += [1 - float(info.eps), 1 + float(info.eps), 88.75, -103.9, 709.8, -745.0]
    return np.array([*some, *(-v for v in some)], dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", script.REFERENCES)
def test_kinds_of_results_are_numpys(functions, name, dtype):
    """NaN, infinities, zeros and their signs, over special values of all operands."""
    reference, info = script.REFERENCES[name], np.finfo(dtype)
    x = _kinds(dtype)
    operands = [m.ravel() for m in np.meshgrid(*[x] * reference.operands)]
    if reference.unit == "reflected":  # SciPy's is wrong at some poles and subnormals
        operands[0] = operands[0][~(operands[0] < info.tiny)]
    # SciPy flushes some subnormal results to 0, and is rough next to zeros.
    with np.errstate(all="ignore"):
        wide = reference.numpy(*(o.astype(np.float64) for o in operands))
        exact = np.asarray(wide).astype(dtype)
    got = functions[name, dtype](*operands)
    special = ~np.isfinite(exact)
    if dtype == dtypes.float64:  # NumPy's own may be off by one unit at the threshold
        near = np.isfinite(got) & (abs(got) > info.max * (1 - 1e-10))
        special &= ~near
    np.testing.assert_array_equal(got[special], exact[special])
    ordinary = np.isfinite(exact)
    np.testing.assert_allclose(
        got[ordinary],
        exact[ordinary],
        rtol=1e-6 if dtype == dtypes.float32 else 1e-13,
        atol=info.tiny if reference.unit == "result" else 4 * info.eps,
    )
    number = ~np.isnan(exact) & ((exact == 0) == (got == 0))
    if reference.unit == "operands":
        number &= abs(exact) > info.eps
    np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(exact)[number])


SPECIAL = {
    "exp": [(INF, INF), (-INF, 0.0), (0.0, 1.0), (-0.0, 1.0), (NAN, NAN)],
    "exp2": [(INF, INF), (-INF, 0.0), (3.0, 8.0), (-1.0, 0.5), (NAN, NAN)],
    "expm1": [(INF, INF), (-INF, -1.0), (-0.0, -0.0), (0.0, 0.0), (NAN, NAN)],
    "log": [(INF, INF), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (1.0, 0.0), (NAN, NAN)],
    "log1p": [(INF, INF), (-1.0, -INF), (-2.0, NAN), (-0.0, -0.0), (NAN, NAN)],
    "log2": [(INF, INF), (0.0, -INF), (-1.0, NAN), (8.0, 3.0), (0.25, -2.0)],
    "log10": [(INF, INF), (0.0, -INF), (-1.0, NAN), (1000.0, 3.0), (1.0, 0.0)],
    "cbrt": [(INF, INF), (-INF, -INF), (-0.0, -0.0), (-27.0, -3.0), (NAN, NAN)],
    "sin": [(INF, NAN), (-INF, NAN), (-0.0, -0.0), (0.0, 0.0), (NAN, NAN)],
    "cos": [(INF, NAN), (-INF, NAN), (-0.0, 1.0), (NAN, NAN)],
    "tan": [(INF, NAN), (-INF, NAN), (-0.0, -0.0), (NAN, NAN)],
    "arcsin": [(1.5, NAN), (-INF, NAN), (-0.0, -0.0), (NAN, NAN)],
    "arccos": [(1.5, NAN), (-INF, NAN), (1.0, 0.0), (NAN, NAN)],
    "arctan": [(INF, math.pi / 2), (-INF, -math.pi / 2), (-0.0, -0.0), (NAN, NAN)],
    "sinh": [(INF, INF), (-INF, -INF), (1e4, INF), (-0.0, -0.0), (NAN, NAN)],
    "cosh": [(INF, INF), (-INF, INF), (-1e4, INF), (-0.0, 1.0), (NAN, NAN)],
    "tanh": [(INF, 1.0), (-INF, -1.0), (-0.0, -0.0), (1e9, 1.0), (NAN, NAN)],
    "arcsinh": [(INF, INF), (-INF, -INF), (-0.0, -0.0), (NAN, NAN)],
    "arccosh": [(INF, INF), (0.5, NAN), (-INF, NAN), (1.0, 0.0), (NAN, NAN)],
    "arctanh": [(1.0, INF), (-1.0, -INF), (2.0, NAN), (-INF, NAN), (-0.0, -0.0)],
    "sigmoid": [(INF, 1.0), (-INF, 0.0), (0.0, 0.5), (-0.0, 0.5), (NAN, NAN)],
    "softplus": [(INF, INF), (-INF, 0.0), (1e4, 1e4), (-1e4, 0.0), (NAN, NAN)],
    "erf": [(INF, 1.0), (-INF, -1.0), (-0.0, -0.0), (NAN, NAN)],
    "erfc": [(INF, 0.0), (-INF, 2.0), (-0.0, 1.0), (NAN, NAN)],
    "gammaln": [(INF, INF), (-INF, INF), (0.0, INF), (-0.0, INF), (-3.0, INF)]
    + [(1.0, 0.0), (2.0, 0.0), (NAN, NAN)],
    "digamma": [(INF, INF), (-INF, NAN), (0.0, -INF), (-0.0, INF), (-3.0, NAN)],
    "polygamma_1": [(INF, 0.0), (0.0, INF), (-0.0, INF), (-2.0, INF), (NAN, NAN)],
    "polygamma_2": [(INF, -0.0), (0.0, -INF), (-2.0, -INF), (NAN, NAN)],
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(functions, name, dtype):
    given, expected = (np.array(v, dtype) for v in zip(*SPECIAL[name]))
    # Both in the vector loop and in the remainder after it.
    repeated = np.tile(given, 40)
    got = functions[name, dtype](repeated)
    np.testing.assert_array_equal(got, np.tile(expected, 40))
    signs = np.where(np.isnan(expected), False, np.signbit(expected))
    got_signs = np.where(np.isnan(got), False, np.signbit(got))
    np.testing.assert_array_equal(got_signs, np.tile(signs, 40))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_huge_arguments_among_moderate_ones(functions, dtype):
    """A vector with one huge element takes the slow path for that element only."""
    x = np.linspace(-3, 3, 1000).astype(dtype)
    x[::37] = dtype.type(1e22) * np.arange(1, 29, dtype=dtype)
    for name in ("sin", "cos", "tan"):
        got = functions[name, dtype](x)
        exact = getattr(np, name)(x.astype(np.longdouble)).astype(dtype)
        np.testing.assert_array_max_ulp(got, exact, 3)


def test_overflow_and_underflow_thresholds(functions):
    exp = functions["exp", dtypes.float64]
    assert exp([709.782712893384])[0] < INF
    assert exp([709.7827128933841])[0] == INF
    assert exp([-745.1332191019411])[0] == 5e-324
    assert exp([-745.1332191019412])[0] == 0
    cube = functions["integer_power_-3", dtypes.float32]
    assert cube([1.432364426720567e-13])[0] == np.finfo(np.float32).max
    exp = functions["exp", dtypes.float32]
    assert exp([88.72283])[0] < INF
    assert exp([88.72284])[0] == INF
    assert exp([-103.97208])[0] > 0
    assert exp([-103.97209])[0] == 0


def test_subnormals_are_exact_where_the_function_is_the_identity(functions):
    for dtype in FLOATS:
        tiny = np.finfo(dtype).smallest_subnormal * np.arange(1, 50, dtype=dtype)
        names = ("sin", "tan", "arcsin", "arctan", "sinh", "tanh", "arcsinh", "arctanh")
        for name in (*names, "expm1", "log1p"):
            np.testing.assert_array_equal(functions[name, dtype](tiny), tiny)


def test_results_do_not_depend_on_the_place_in_the_array(functions):
    """The vector loop and the scalar remainder give the same bits."""
    for dtype in FLOATS:
        x = np.random.default_rng(0).uniform(-4, 4, 1003).astype(dtype)
        for name in script.REFERENCES:
            operands = [x] * script.REFERENCES[name].operands
            function = functions[name, dtype]
            whole = function(*operands)
            single = [
                function(*(o[i : i + 1] for o in operands))[0]
                for i in range(0, 1003, 51)
            ]
            np.testing.assert_array_equal(whole[::51], single)


def test_unknown_functions_and_integers_are_defects():
    for name, dtype in (("no_such_function", dtypes.float32), ("exp", dtypes.int32)):
        function = arrays.ScalarFunction("f", lambda k, x, n=name: k(n, x), (dtype,))
        with pytest.raises(InternalError, match=name):
            arrays.loop_text(LlvmModule(), function)


def _hot_loop(op, params, dtype):
    """Return the vector loop of an op over arrays, None where there is none."""
    node = example(op, [dtype] * op.arity, params=params).node
    operands = tuple(a.dtype for a in node.args)
    function = arrays.ScalarFunction(
        "kernel", lambda k, *x: op.scalar(k, node, *x), operands
    )
    module = LlvmModule()
    text, _ = arrays.loop_text(module, function)
    code = str(jit.optimized(text + "\n" + module.text()).get_function("kernel"))
    found = re.search(r"^vector\.body:.*?(?=^\S)", code, re.S | re.M)
    return found and found.group(0)


UNTESTED = ("cast", "stop_gradient", "signbit")
"""Copies, and integer arithmetic."""


def _float_ops():
    for op in ELEMENTWISE:
        if op.name in UNTESTED or op.name not in DOMAINS:
            continue
        for dtype in FLOATS:
            try:
                operands, _ = op.signature(op.name, [dtype] * op.arity)
            except DTypeError:
                continue
            if all(d.kind == "f" for d in operands):
                for params in params_of(op):
                    yield op, params, dtype


SCALAR_OPS = {"floor_divide", "remainder"}
"""Their exact remainder is C's fmod, a loop over the difference of exponents."""


@pytest.mark.parametrize(
    "op, params, dtype",
    list(_float_ops()),
    ids=lambda v: getattr(v, "name", None) or "-".join(map(str, v)) or "_",
)
def test_every_op_of_floats_is_vectorized(op, params, dtype):
    loop = _hot_loop(op, params, dtype)
    assert loop is not None
    kind = "float" if dtype == dtypes.float32 else "double"
    assert re.search(rf"<\d+ x {kind}>", loop)
    # Calls are of intrinsics on vectors, and of the vector forms of `corrected`.
    assert not re.findall(r"call [^<]*\(.*", loop)
    for name in re.findall(r"call .*?@([\w.]+)\(", loop):
        assert re.match(r"llvm\.|graphc\.\w+\.corrected\.float\d+\.x\d+$", name)
    assert bool(re.search(r"\bfrem\b", loop)) == (op.name in SCALAR_OPS)


def _printed(kernel):
    return KernelPrinter(kernel, Canonical(kernel))


def test_functions_called_are_not_compiled_with_each_kernel():
    x = graphc.scalar("x")
    for scale in (1.5, 2.5):
        f = graphc.compile([x], graphc.sin(x) * scale + scale)
        assert f(0.3) == pytest.approx(np.sin(0.3) * scale + scale, rel=1e-15)
        (text,) = f._executable.kernel_texts().values()
        assert text.count("define ") == 1 and "@graphc_sin_float64" in text
    assert "graphc_sin_float64" in jit.LOADED


def test_a_kernel_of_one_row_branches_around_huge_arguments():
    """There is no call on the way of a moderate argument, and the bits are the same."""
    x = graphc.scalar("x")
    y = graphc.tensor("y", (5,))
    one = graphc.compile([x], graphc.sin(x) * graphc.cos(x) + graphc.tan(x))
    many = graphc.compile([y], graphc.sin(y) * graphc.cos(y) + graphc.tan(y))
    (text,) = [
        text
        for (step,) in [list(one._executable.program.calls)]
        for name, (text, _) in _printed(step.kernel).module.externals.items()
        if name == "graphc_sin_cos_float64"
    ]
    assert len(re.findall(r"corrected\.float64\([^)]*\)\s+alwaysinline", text)) == 2
    assert ".corrected.float64.x4" not in text
    assert "call" in one._executable.llvm() and "sin_cos" in one._executable.llvm()
    assert ".corrected.float64.x4" in many._executable.llvm()
    for v in (0.3, -0.0, 2.0, 1e5, 3e22, -1e300):
        np.testing.assert_array_equal(many(np.full(5, v)), one(v))
