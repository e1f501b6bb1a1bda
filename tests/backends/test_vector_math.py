"""Vector math: values against mpmath, special values, and vector instructions."""

import importlib.util
import math
import re
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from graphc.backends.cpu import jit
from graphc.backends.cpu.scalars import LlvmModule
from graphc.backends.cpu.vector_math import FUNCTIONS, arrays
from graphc.types import dtypes
from graphc.types.errors import InternalError

_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "vector_math_error.py"
_SPEC = importlib.util.spec_from_file_location("vector_math_error", _SCRIPT)
script = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(script)

FLOATS = (dtypes.float32, dtypes.float64)
INF, NAN = math.inf, math.nan

BOUNDS = {
    **dict.fromkeys(("exp", "exp2", "log", "log2", "log10", "cbrt", "pow"), 1.25),
    **dict.fromkeys(("expm1", "log1p", "sin", "cos", "arcsin", "arccos"), 1.75),
    **dict.fromkeys(("cosh", "erf", "softplus"), 1.8),
    **dict.fromkeys(
        ("arctan", "arctan2", "sinh", "arcsinh", "arccosh", "arctanh"), 2.2
    ),
    **dict.fromkeys(("tanh", "sigmoid"), 2.5),
    "tan": 3.0,
    "erfc": 3.5,
    "gammaln": 10,
    "digamma": 10,
    "polygamma_1": 8,
    "polygamma_2": 10,
    "polygamma_5": 14,
}
"""Errors allowed, in units in the last place as the script measures them."""


@pytest.fixture(scope="module")
def functions():
    return {
        name: function
        for dtype in FLOATS
        for name, function in script.compile_all(list(script.REFERENCES), dtype).items()
    }


def test_every_function_has_a_reference_and_a_bound():
    assert FUNCTIONS.keys() <= script.REFERENCES.keys()
    assert script.REFERENCES.keys() == BOUNDS.keys()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", script.REFERENCES)
def test_against_mpmath(functions, name, dtype):
    pytest.importorskip("mpmath")
    count = 60 if name.startswith("polygamma") else 400
    function = functions[f"{name}_{dtype.name}"]
    worst, where = script.sampled_worst(name, function, dtype, count, seed=7)
    assert worst <= BOUNDS[name], where


@pytest.mark.parametrize("name", ["exp", "log", "sin", "tanh", "erf"])
def test_against_float64_numpy_over_all_exponents(functions, name):
    function = functions[f"{name}_float32"]
    worst, at, wrong = script.exhaustive_worst(name, function, 65537)
    assert worst <= BOUNDS[name], at
    assert not wrong


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


def test_special_values_are_listed_for_every_function_of_one_argument():
    two = {n for n, r in script.REFERENCES.items() if r.operands == 2}
    assert SPECIAL.keys() | two | {"polygamma_5"} == script.REFERENCES.keys()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(functions, name, dtype):
    given, expected = (np.array(v, dtype) for v in zip(*SPECIAL[name]))
    # Both in the vector loop and in the remainder after it.
    repeated = np.tile(given, 40)
    got = functions[f"{name}_{dtype.name}"](repeated)
    np.testing.assert_array_equal(got, np.tile(expected, 40))
    signs = np.where(np.isnan(expected), False, np.signbit(expected))
    got_signs = np.where(np.isnan(got), False, np.signbit(got))
    np.testing.assert_array_equal(got_signs, np.tile(signs, 40))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    "name, reference", [("pow", np.power), ("arctan2", np.arctan2)]
)
def test_special_values_of_two_arguments(functions, name, reference, dtype):
    info = np.finfo(dtype)
    values = [0.0, 0.5, 1.0, 2.0, 3.0, 2.5, 1e30, float(info.max), INF, NAN]
    values += [float(info.tiny), float(info.smallest_subnormal)]
    x, y = np.meshgrid(*[np.array([*values, *(-v for v in values)], dtype)] * 2)
    got = functions[f"{name}_{dtype.name}"](x.ravel(), y.ravel())
    with np.errstate(all="ignore"):
        exact = reference(x.ravel(), y.ravel())
    finite = np.isfinite(exact) & (exact != 0)
    np.testing.assert_array_equal(got[~finite], exact[~finite])
    np.testing.assert_array_max_ulp(got[finite], exact[finite], 2)
    number = ~np.isnan(exact)
    np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(exact)[number])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_huge_arguments_among_moderate_ones(functions, dtype):
    """A vector with one huge element takes the slow path for that element only."""
    x = np.linspace(-3, 3, 1000).astype(dtype)
    x[::37] = dtype.type(1e22) * np.arange(1, 29, dtype=dtype)
    for name in ("sin", "cos", "tan"):
        got = functions[f"{name}_{dtype.name}"](x)
        exact = getattr(np, name)(x.astype(np.longdouble)).astype(dtype)
        np.testing.assert_array_max_ulp(got, exact, 3)


def test_overflow_and_underflow_thresholds(functions):
    exp = functions["exp_float64"]
    assert exp([709.782712893384])[0] < INF
    assert exp([709.7827128933841])[0] == INF
    assert exp([-745.1332191019411])[0] == 5e-324
    assert exp([-745.1332191019412])[0] == 0
    exp = functions["exp_float32"]
    assert exp([88.72283])[0] < INF
    assert exp([88.72284])[0] == INF
    assert exp([-103.97208])[0] > 0
    assert exp([-103.97209])[0] == 0


def test_subnormals_are_exact_where_the_function_is_the_identity(functions):
    for dtype in FLOATS:
        tiny = np.finfo(dtype).smallest_subnormal * np.arange(1, 50, dtype=dtype)
        names = ("sin", "tan", "arcsin", "arctan", "sinh", "tanh", "arcsinh", "arctanh")
        for name in (*names, "expm1", "log1p"):
            np.testing.assert_array_equal(functions[f"{name}_{dtype.name}"](tiny), tiny)


def test_results_do_not_depend_on_the_place_in_the_array(functions):
    """The vector loop and the scalar remainder give the same bits."""
    for dtype in FLOATS:
        x = np.random.default_rng(0).uniform(-4, 4, 1003).astype(dtype)
        for name in FUNCTIONS:
            operands = [x] * script.REFERENCES[name].operands
            function = functions[f"{name}_{dtype.name}"]
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


def _has_avx2():
    return llvm.get_host_cpu_features().get("avx2", False)


def _assembly(text):
    """Return what `jit.compile_module` compiles, as assembly."""
    return jit.target_machine().emit_assembly(jit.optimized(text))


@pytest.mark.skipif(not _has_avx2(), reason="the processor has no AVX2")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_loops_use_vector_instructions(dtype):
    module = LlvmModule()
    texts = []
    for name in FUNCTIONS:
        count = script.REFERENCES[name].operands
        function = arrays.ScalarFunction(
            name, lambda k, *x, name=name: k(name, *x), (dtype,) * count
        )
        texts.append(arrays.loop_text(module, function)[0])
    assembly = _assembly("\n".join([*texts, module.text()]))
    for name in FUNCTIONS:
        body = re.search(rf"^{name}:(.*?)^\.Lfunc_end", assembly, re.S | re.M).group(1)
        assert re.search(r"vfmadd\w*p[sd]\s.*%[yz]mm", body), name
