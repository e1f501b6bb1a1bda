"""Short rows run by the lanes of vectors, and what their code is made of."""

from __future__ import annotations

import platform
import re

import numpy as np
import pytest

import graphc as cg
from graphc.backends.cpu import jit, outline
from graphc.kernels.ir import Loop, Store, statements
from graphc.schedule.evaluate import KernelCall

X86 = platform.machine().lower() in ("x86_64", "amd64")


def kernels(function):
    return [
        c.kernel
        for c in function._executable.program.calls
        if isinstance(c, KernelCall)
    ]


def optimized(kernel):
    """Return the LLVM code of a kernel as it is compiled."""
    printer = outline.printed(kernel, outline.Canonical(kernel))
    module = jit.optimized(printer.text, printer.kind)
    return str(module.get_function(f"{printer.name}_body"))


def loads(code, kind):
    """Return how many elements are loaded one at a time, and how many vectors."""
    single = len(re.findall(rf"= load {kind},", code))
    vectors = len(re.findall(rf"= load <\d+ x {kind}>|@llvm.masked.load", code))
    return single, vectors


def inner(kernel):
    return [
        s
        for part in kernel.loops
        for s in statements(part.body)
        if isinstance(s, Loop) and not any(isinstance(t, Loop) for t in s.body)
    ]


WIDTHS = [2, 3, 5, 7, 8, 9, 10, 12, 15, 16, 17, 24, 31, 33, 48, 50, 63, 64, 65, 70]

PROGRAMS = {
    "sum": lambda x, c: x.sum(1),
    "max": lambda x, c: x.max(1),
    "scaled": lambda x, c: x * c[:, None],
    "added up": lambda x, c: (x * c[:, None]).sum(0),
    "softmax": lambda x, c: cg.nn.softmax(x, -1),
    "logsumexp": lambda x, c: cg.nn.logsumexp(x, 1),
    "sine": lambda x, c: cg.sin(x * 1e3) * c[:, None],
    "gradient": lambda x, c: cg.grad((cg.nn.softmax(x, -1) * c[:, None]).sum(), x),
    "running": lambda x, c: cg.cumsum(x, 1) * c[:, None],
    "reversed": lambda x, c: x[:, ::-1] * c[:, None],
    "two": lambda x, c: [x.sum(0), x.sum(1)],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_rows_of_all_widths(name, dtype):
    rng = np.random.default_rng(1)
    for m in WIDTHS:
        n = 300 + m
        x = cg.tensor("x", (n, m), dtype=dtype)
        c = cg.tensor("c", (n,), dtype=dtype)
        a, v = (rng.standard_normal(s).astype(dtype) for s in ((n, m), n))
        wide = [cg.tensor(i.name, i.shape, dtype="float64") for i in (x, c)]
        built, wanted = PROGRAMS[name](x, c), PROGRAMS[name](*wide)
        several = isinstance(built, list)
        if not several:
            built, wanted = [built], [wanted]
        function = cg.compile([x, c], built)
        got = function(a, v)
        exact = cg.compile(wide, wanted, backend="reference")(
            a.astype("float64"), v.astype("float64")
        )
        for g, e in zip(got, exact):
            tolerance = 3e-4 if name == "sine" and dtype == "float32" else 1e-5
            tolerance = tolerance if dtype == "float32" else 1e-11
            if name == "sine" and dtype == "float32":
                e = np.sin(a * np.float32(1e3)) * v[:, None]
            scale = max(1.0, float(np.abs(e).max()))
            np.testing.assert_allclose(g, e, rtol=tolerance, atol=tolerance * scale)
        for one, two in zip(got, function(a, v, threads=1)):
            assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("m", [9, 10, 16, 24, 33, 48])
def test_no_element_of_a_short_row_is_loaded_alone(m):
    x, c = cg.tensor("x", (500, m), dtype="float32"), cg.vector("c", 500, "float32")
    for y in (x.sum(1), x.max(1), x * c[:, None], cg.nn.softmax(x, -1)):
        (kernel,) = kernels(cg.compile([x, c], y))
        assert any(s.extent == m for s in inner(kernel))
        single, vectors = loads(optimized(kernel), "float")
        assert vectors > 0
        assert single <= vectors  # what is one number for a row


@pytest.mark.parametrize("m", [3, 5, 8])
def test_rows_of_a_few_elements_are_written_out(m):
    """The loop over the rows is vectorized then: their elements are shuffled."""
    x = cg.tensor("x", (500, m), dtype="float32")
    (kernel,) = kernels(cg.compile([x], x.sum(1)))
    assert not any(s.extent == m for s in inner(kernel))


@pytest.mark.parametrize(
    "m, lengths",
    [
        (10, [8, 2]),
        (11, [8, 2]),
        (12, [8, 4]),
        (24, [16, 8]),
        (32, [32]),
        (57, [48, 8]),
    ],
)
def test_sums_of_rows_are_cut_into_whole_vectors(m, lengths):
    x = cg.tensor("x", (500, m), dtype="float32")
    (kernel,) = kernels(cg.compile([x], (x * x).sum(0)))
    adding = [
        s.extent
        for s in inner(kernel)
        if any(isinstance(t, Store) and t.instruction for t in s.body)
    ]
    assert adding == lengths  # what is left of 11 and 57 is a row's last element
    assert "masked" not in optimized(kernel)


def test_partial_sums_are_added_up_by_vectors():
    x = cg.tensor("x", (4096, 768), dtype="float32")
    _, combine = kernels(cg.compile([x], (x * x).sum(0)))
    assert combine.label.startswith("combine")
    assert not inner(combine)
    assert "fadd reassoc contract <" in optimized(combine)
    array = np.random.default_rng(2).standard_normal((4096, 768)).astype("f")
    got = cg.compile([x], (x * x).sum(0))(array)
    wanted = np.square(array, dtype="float64").sum(0)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_gathered_rows_run_by_vectors_and_gathered_columns_do_not():
    table = cg.tensor("table", (100, 24), dtype="float32")
    at, c = cg.vector("at", 500, "int64"), cg.vector("c", 500, "float32")
    (kernel,) = kernels(cg.compile([table, at, c], table[at] * c[:, None]))
    single, vectors = loads(optimized(kernel), "float")
    assert 0 < single <= vectors
    rng = np.random.default_rng(3)
    a, i = rng.standard_normal((100, 24)).astype("f"), rng.integers(-100, 100, 500)
    v = rng.standard_normal(500).astype("f")
    f = cg.compile([table, at, c], table[at] * c[:, None])
    np.testing.assert_array_equal(f(a, i, v), a[i] * v[:, None])
    column = cg.vector("column", 24, "int64")
    g = cg.compile([table, column], table[:, column] * 2)
    j = rng.integers(-24, 24, 24)
    np.testing.assert_array_equal(g(a, j), a[:, j] * 2)


def test_lanes_past_the_last_round_take_no_slow_path():
    """Huge arguments in the last lanes that count, and next to them in memory."""
    x = cg.tensor("x", (64, 10), dtype="float64")
    f = cg.compile([x], cg.sin(x) * 2)
    a = np.ones((64, 10))
    a[:, -1], a[:, 0] = 1e22, np.inf
    with np.errstate(invalid="ignore"):
        wanted = np.sin(a) * 2
    np.testing.assert_allclose(f(a), wanted, rtol=1e-15)


def test_the_largest_of_zeros_is_a_zero_and_nan_goes_through():
    x = cg.tensor("x", (3, 20), dtype="float32")
    f = cg.compile([x], [x.max(1), x.min(1)])
    a = np.zeros((3, 20), "f")
    a[0, ::2] = -0.0
    a[1, 7] = np.nan
    a[2, 13] = np.inf
    high, low = f(a)
    np.testing.assert_array_equal(high, [0, np.nan, np.inf])
    np.testing.assert_array_equal(low, [0, np.nan, 0])


@pytest.mark.skipif(not X86, reason="vectors of other processors are no larger")
def test_vectors_put_aside_lie_on_whole_lines():
    """Else they cross lines, wherever the stack of a thread happens to begin."""
    x = cg.tensor("x", ("n",), dtype="float32")
    y = cg.sin(x) * cg.exp(-x * x) + cg.tanh(x) / (1 + x * x) + cg.erf(x)
    (kernel,) = kernels(cg.compile([x], y))
    printer = outline.printed(kernel, outline.Canonical(kernel))
    machine = jit.Machine(printer.kind)
    code = machine.target.emit_assembly(machine.optimized(printer.text))
    aside = re.findall(r"(\w+)\s+[-\d]*\(%rsp\), %zmm|%zmm\d+, [-\d]*\(%rsp\)", code)
    if aside:
        assert "andq\t$-64, %rsp" in code
