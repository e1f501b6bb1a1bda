"""Systems, Cholesky factors and determinants against NumPy, SciPy and JAX."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from support.processes import run_script

import graphc as cg
from graphc.graph.graph import Graph, topological_order

SIZES = (0, 1, 2, 7, 32, 33, 64, 130, 300)
BACKENDS = ("cpu", "reference")


def general(*shape, dtype=np.float64):
    """Return matrices whose singular values lie around 1."""
    rng = np.random.default_rng(shape[-1])
    n = shape[-1]
    noise = rng.normal(size=shape) / (4 * np.sqrt(max(n, 1)))
    return (noise + np.eye(n)[::-1]).astype(dtype)


def positive(*shape, dtype=np.float64):
    """Return symmetric positive definite matrices, of exact symmetry."""
    a = general(*shape)
    s = a @ np.swapaxes(a, -1, -2)
    return ((s + np.swapaxes(s, -1, -2)) / 2).astype(dtype)


def columns(*shape, dtype=np.float64):
    return np.random.default_rng(9).normal(size=shape).astype(dtype)


def each(function, *arrays):
    """Apply a function of matrices to each of a batch."""
    batch = arrays[0].shape[:-2]
    out = [function(*(x[at] for x in arrays)) for at in np.ndindex(*batch)]
    return np.reshape(out, (*batch, *out[0].shape))


def inputs_like(*arrays):
    return [
        cg.tensor(f"x{i}", a.shape, dtype=a.dtype.name) for i, a in enumerate(arrays)
    ]


def run(function, *arrays, backend="cpu", **options):
    """Compile a function of expressions and call it."""
    xs = inputs_like(*arrays)
    return cg.compile(xs, function(*xs), backend=backend, **options)(*arrays)


# ----------------------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("batch", [(), (2,), (5,)], ids=str)
@pytest.mark.parametrize("n", SIZES)
def test_values(n, batch, dtype):
    if n > 130 and batch:
        pytest.skip("one matrix of that size tells as much")
    g, p = general(*batch, n, n, dtype=dtype), positive(*batch, n, n, dtype=dtype)
    b = columns(*batch, n, 3, dtype=dtype)

    def outputs(g, p, b):
        sign, size = cg.linalg.slogdet(g)
        return {
            "solve": cg.linalg.solve(g, b),
            "solve pos": cg.linalg.solve(p, b, assume_a="pos"),
            "inv": cg.linalg.inv(g),
            "cholesky": cg.linalg.cholesky(p),
            "cholesky upper": cg.linalg.cholesky(p, upper=True),
            "det": cg.linalg.det(g),
            "sign": sign,
            "size": size,
        }

    got = run(outputs, g, p, b)
    wide = [x.astype(np.float64) for x in (g, p, b)]
    lower = np.linalg.cholesky(wide[1])
    expected = {
        "solve": np.linalg.solve(wide[0], wide[2]),
        "solve pos": np.linalg.solve(wide[1], wide[2]),
        "inv": np.linalg.inv(wide[0]),
        "cholesky": lower,
        "cholesky upper": np.swapaxes(lower, -1, -2),
        "det": np.linalg.det(wide[0]),
        "sign": np.linalg.slogdet(wide[0])[0],
        "size": np.linalg.slogdet(wide[0])[1],
    }
    rounding = 1e-10 if dtype is np.float64 else 3e-4
    for name, value in got.items():
        assert value.dtype == dtype, name
        np.testing.assert_allclose(
            value, expected[name], rtol=rounding, atol=rounding, err_msg=name
        )


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("trans", [0, "T"])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("n", [1, 7, 33, 130])
def test_triangular_values(n, lower, trans, unit):
    t = np.eye(n) * 2 + columns(2, n, n) / n
    given = {"lower": lower, "trans": trans, "unit_diagonal": unit}

    def solve(t, b):
        return cg.linalg.solve_triangular(t, b, **given)

    for k in (1, 3, 40):
        b = columns(2, n, k)
        hidden = np.triu(np.ones((n, n), bool), 1)  # what must not be read
        t_nan = np.where(hidden if lower else hidden.T, np.nan, t)
        expected = each(lambda t, b: scipy.linalg.solve_triangular(t, b, **given), t, b)
        np.testing.assert_allclose(
            run(solve, t_nan, b), expected, rtol=1e-12, atol=1e-13
        )


def test_vectors_and_broadcasting():
    a, stack = general(4, 4), general(2, 3, 4, 4)
    vector, wide = columns(4), columns(3, 4, 2)
    solve = cg.linalg.solve
    for left, right in ((a, vector), (stack, vector), (a, wide), (stack, wide)):
        expected = np.linalg.solve(left, right)
        for backend in BACKENDS:
            got = run(solve, left, right, backend=backend)
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=1e-12)
    got = run(lambda a, b: cg.linalg.solve_triangular(a, b, lower=True), a, vector)
    np.testing.assert_allclose(
        got, scipy.linalg.solve_triangular(a, vector, lower=True), rtol=1e-9
    )


def test_pivots_are_chosen():
    a = np.array([[1e-20, 1, 0], [1, 1, 0], [0, 0, -3.0]])
    b = np.array([1.0, 2, 3])
    got = run(lambda a, b: (cg.linalg.solve(a, b), *cg.linalg.slogdet(a)), a, b)
    np.testing.assert_allclose(got[0], np.linalg.solve(a, b), rtol=1e-15)
    np.testing.assert_allclose(got[1:], np.linalg.slogdet(a), rtol=1e-15)


def test_a_matrix_times_its_solution_is_the_right_hand_side():
    a, b = general(257, 257), columns(257, 65)
    x = run(cg.linalg.solve, a, b)
    assert np.abs(a @ x - b).max() < 1e-12


def test_symmetric_part_is_factorized():
    p = positive(5, 5)
    skewed = p + np.triu(columns(5, 5), 1) - np.triu(columns(5, 5), 1).T
    got = run(cg.linalg.cholesky, skewed)
    np.testing.assert_allclose(got, np.linalg.cholesky(p), rtol=1e-13)
    lower = np.where(np.tri(5, dtype=bool), p, np.nan)
    got = run(lambda x: cg.linalg.cholesky(x, symmetrize_input=False), lower)
    np.testing.assert_allclose(got, np.linalg.cholesky(p), rtol=1e-13)


def test_symbolic_sizes_and_strides():
    a = cg.tensor("a", ("b", "n", "n"))
    b = cg.tensor("b", ("b", "n", "k"))
    outputs = [cg.linalg.solve(a, b), cg.linalg.inv(a), cg.linalg.det(a)]
    f = cg.compile([a, b], [*outputs, cg.grad(cg.sum(cg.sin(outputs[0])), a)])
    for n, k in ((1, 1), (2, 5), (0, 3), (40, 2), (70, 1), (3, 0)):
        left, right = general(3, n, n), columns(3, n, k)
        x, inverse, det, grad = f(left, right)
        np.testing.assert_allclose(
            x, np.linalg.solve(left, right), rtol=1e-9, atol=1e-9
        )
        np.testing.assert_allclose(inverse, np.linalg.inv(left), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(det, np.linalg.det(left), rtol=1e-9)
        by_b = np.linalg.solve(np.swapaxes(left, 1, 2), np.cos(x))
        expected = -by_b @ np.swapaxes(x, 1, 2)
        np.testing.assert_allclose(grad, expected, rtol=1e-8, atol=1e-9)
    wide = general(3, 8, 8)
    left, right = (
        wide.transpose(0, 2, 1),
        np.asfortranarray(columns(3, 8, 6))[:, :, ::2],
    )
    np.testing.assert_allclose(
        f(left, right)[0], np.linalg.solve(left, right), rtol=1e-9, atol=1e-9
    )


def test_integers_become_floats():
    a = np.array([[2, 1], [1, 3]])
    for function in (cg.linalg.inv, cg.linalg.cholesky, cg.linalg.det):
        got = run(function, a)
        assert got.dtype == np.float64
    np.testing.assert_allclose(
        run(cg.linalg.solve, a, np.array([1, 2])), np.linalg.solve(a, [1, 2])
    )


def test_numpy_and_the_array_api_dispatch():
    a, p, b = general(2, 4, 4), positive(2, 4, 4), columns(4, 2)

    def outputs(a, p, b):
        xp = a.__array_namespace__()
        return [
            (np.linalg.cholesky(p), xp.linalg.cholesky(p, upper=False)),
            (np.linalg.solve(a, b), xp.linalg.solve(a, b)),
            (np.linalg.inv(a), xp.linalg.inv(a)),
            (np.linalg.det(a), xp.linalg.det(a)),
            (np.linalg.slogdet(a).logabsdet, xp.linalg.slogdet(a)[1]),
            (np.linalg.slogdet(a).sign, xp.linalg.slogdet(a)[0]),
        ]

    xs = inputs_like(a, p, b)
    made = outputs(*xs)
    assert all(one is other for one, other in made)
    got = cg.compile(xs, [one for one, _ in made])(a, p, b)
    slog = np.linalg.slogdet(a)
    expected = [np.linalg.cholesky(p), np.linalg.solve(a, b), np.linalg.inv(a)]
    expected += [np.linalg.det(a), slog.logabsdet, slog.sign]
    for x, y in zip(got, expected):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)


# ------------------------------------------------------------------------ derivatives

FUNCTIONS = {
    "solve": lambda m, sl: lambda a, b: m.linalg.solve(a, b),
    "solve pos": lambda m, sl: (
        lambda a, b: (
            cg.linalg.solve(a, b, assume_a="pos")
            if m is cg
            else m.linalg.solve((a + a.mT) / 2, b)
        )
    ),
    "solve vector": lambda m, sl: lambda a, b: m.linalg.solve(a[0], b[0, :, 0]),
    "inv": lambda m, sl: lambda a, b: m.linalg.inv(a),
    "cholesky": lambda m, sl: lambda a, b: m.linalg.cholesky(a) @ b,
    "cholesky upper": lambda m, sl: lambda a, b: m.linalg.cholesky(a, upper=True),
    "det": lambda m, sl: lambda a, b: m.linalg.det(a),
    "det 3": lambda m, sl: lambda a, b: m.linalg.det(a[:, :3, :3]),
    "slogdet": lambda m, sl: lambda a, b: m.linalg.slogdet(a)[1],
    "lower": lambda m, sl: lambda a, b: sl.solve_triangular(a, b, lower=True),
    "upper T": lambda m, sl: lambda a, b: sl.solve_triangular(a, b, trans=1),
    "unit": lambda m, sl: lambda a, b: sl.solve_triangular(a, b, unit_diagonal=True),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_are_those_of_jax(name):
    jax = pytest.importorskip("jax")
    a, b = positive(2, 6, 6), columns(2, 6, 2)
    v, w = columns(2, 6, 6) / 3, columns(2, 6, 2)

    with jax.enable_x64(True):
        numpy = jax.numpy
        theirs = FUNCTIONS[name](numpy, jax.scipy.linalg)

        def loss(a, b):
            return numpy.sum(numpy.sin(theirs(a, b)))

        def both(a, b):
            out, tangent = jax.jvp(loss, (a, b), (v, w))
            return out, tangent, *jax.grad(loss, (0, 1))(a, b)

        def every(a, b):
            first = both(a, b)
            _, second = jax.jvp(jax.grad(loss, (0, 1)), (a, b), (v, w))
            return *first, *second

        expected = [np.asarray(x) for x in jax.jit(every)(a, b)]

    x, y = inputs_like(a, b)
    out = cg.sum(cg.sin(FUNCTIONS[name](cg, cg.linalg)(x, y)))
    uses = [z for z in (x, y) if z in set(topological_order([out]))]
    given = {x: cg.constant(v), y: cg.constant(w)}
    tangents = [given[z] for z in uses]
    grads = cg.grad(out, uses)
    made = [out, cg.jvp(out, uses, tangents), *grads, *cg.jvp(grads, uses, tangents)]
    if len(uses) == 1:
        assert not expected.pop(3).any()
        assert not expected.pop(-1).any()
    for backend in BACKENDS:
        got = cg.compile([x, y], made, backend=backend)(a, b)
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [33, 130])
@pytest.mark.parametrize("name", ["solve", "solve pos", "cholesky", "slogdet", "lower"])
def test_derivatives_of_large_matrices(name, n):
    a, b, v = positive(2, n, n), columns(2, n, 2), columns(2, n, n) / n
    x, y = inputs_like(a, b)
    out = cg.sum(cg.sin(FUNCTIONS[name](cg, cg.linalg)(x, y)))
    f = cg.compile([x, y], [out, cg.jvp(out, x, cg.constant(v)), cg.grad(out, x)])
    _, forward, backward = f(a, b)
    h = 1e-5
    difference = (f(a + h * v, b)[0] - f(a - h * v, b)[0]) / (2 * h)
    np.testing.assert_allclose(forward, difference, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(np.sum(backward * v), forward, rtol=1e-9)


def test_one_factorization_serves_value_and_derivatives():
    a, b = inputs_like(general(6, 6), columns(6))
    x = cg.linalg.solve(a, b)
    y = cg.sum(x * x) + cg.linalg.slogdet(a)[1]
    outputs = [y, *cg.grad(y, [a, b]), cg.jvp(x, a, cg.ones((6, 6)))]
    names = [node.op.name for node in Graph([a, b], outputs).nodes]
    assert names.count("lu_factor") == 1
    x = cg.linalg.solve(a, b, assume_a="pos")
    outputs = [x, *cg.grad(cg.sum(x * x), [a, b])]
    names = [node.op.name for node in Graph([a, b], outputs).nodes]
    assert names.count("cholesky") == 1


def test_steps_of_a_log_likelihood():
    """Two triangular solves with all columns, and two with one: O(n^3) by few steps."""
    x, y = cg.matrix("x", (50, 2)), cg.vector("y", 50)
    gap = x[:, None] - x[None]
    kernel = cg.exp(-cg.sum(gap * gap, 2)) + 0.1 * cg.eye(50)
    factor = cg.linalg.cholesky(kernel)
    z = cg.linalg.solve_triangular(factor, y, lower=True)
    value = -0.5 * z @ z - cg.log(cg.diagonal(factor)).sum()
    f = cg.compile([x, y], [value, cg.grad(value, x)])
    steps = [k.name for k in f.kernels]
    assert steps.count("routine") == 5
    assert steps.count("product") <= 2
    points, targets = columns(50, 2), columns(50)
    d2 = ((points[:, None] - points[None]) ** 2).sum(2)
    k = np.exp(-d2) + 0.1 * np.eye(50)
    expected = -0.5 * targets @ np.linalg.solve(k, targets)
    expected -= np.linalg.slogdet(k)[1] / 2
    np.testing.assert_allclose(f(points, targets)[0], expected, rtol=1e-11)


# --------------------------------------------------------------------------- batching


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0), (1, 2)], ids=str)
@pytest.mark.parametrize("name", ["solve", "solve pos", "lower", "upper T"])
def test_vmap(name, axes):
    function = FUNCTIONS[name](cg, cg.linalg)
    arrays = [positive(3, 4, 4), columns(3, 4, 2)]
    given = [
        x[0] if axis is None else np.moveaxis(x, 0, axis)
        for x, axis in zip(arrays, axes)
    ]
    mapped = cg.vmap(function, in_axes=axes)
    expected = [
        run(function, *(x[0 if a is None else i] for x, a in zip(arrays, axes)))
        for i in range(3)
    ]
    np.testing.assert_allclose(run(mapped, *given), expected, rtol=1e-12)


def test_one_matrix_for_many_right_hand_sides_is_one_solve():
    a, b = inputs_like(general(4, 4), columns(10, 4))
    x = cg.vmap(cg.linalg.solve, in_axes=(None, 0))(a, b)
    (factor,) = [n for n in Graph([a, b], [x]).nodes if n.op.name == "lu_factor"]
    assert factor.shape == (7, 4)
    (solve,) = [n for n in Graph([a, b], [x]).nodes if n.op.name == "solve"]
    assert solve.shape == (4, 10)


def test_jacobian_of_a_solution_is_the_inverse():
    a, b = general(5, 5), columns(5)
    x, y = inputs_like(a, b)
    for mode in ("forward", "reverse"):
        jacobian = cg.jacobian(cg.linalg.solve(x, y), y, mode=mode)
        got = cg.compile([x, y], jacobian)(a, b)
        np.testing.assert_allclose(got, np.linalg.inv(a), rtol=1e-12, atol=1e-13)


# ------------------------------------------------------------------------ bad matrices


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n", [2, 40])
def test_bad_matrices_are_nan_and_others_are_not(n, backend):
    a, b = positive(3, n, n), columns(3, n, 2)
    a[1] = 0
    a[1, 0, 0] = 1

    def outputs(a, b):
        return [
            cg.linalg.solve(a, b),
            cg.linalg.inv(a),
            cg.linalg.solve(a, b, assume_a="pos"),
            cg.linalg.cholesky(a),
            cg.linalg.solve_triangular(a, b),
        ]

    good = [0, 2]
    for got, fine in zip(
        run(outputs, a, b, backend=backend), run(outputs, a[good], b[good])
    ):
        assert np.isnan(got[1]).all()
        np.testing.assert_allclose(got[good], fine, rtol=1e-12, atol=1e-12)
    sign, size = run(lambda a: tuple(cg.linalg.slogdet(a)), a, backend=backend)
    assert sign[1] == 0 and size[1] == -np.inf
    assert run(cg.linalg.det, a, backend=backend)[1] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_indefinite_and_nan_matrices_have_no_factor(backend):
    a = np.stack([positive(3, 3)] * 4)
    a[0, 2, 2] = -1
    a[1, 1, 0] = a[1, 0, 1] = np.nan
    a[2] = 0
    got = run(cg.linalg.cholesky, a, backend=backend)
    assert np.isnan(got[:3]).all()
    assert np.isfinite(got[3]).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_branch_not_taken_contributes_zero(backend):
    a, b = positive(2, 4, 4), columns(2, 4, 1)
    a[1] = 0
    x, y = inputs_like(a, b)
    taken = cg.constant(np.array([True, False]))
    wide = taken[:, None, None]
    values = [
        cg.where(wide, cg.linalg.solve(x, y), 0),
        cg.where(wide, cg.linalg.cholesky(x), 0),
        cg.where(wide, cg.linalg.inv(x), 0),
        cg.where(wide, cg.linalg.solve_triangular(x, y), 0),
        cg.where(taken, cg.linalg.slogdet(x)[1], 0),
        cg.where(taken, cg.linalg.det(x), 0),
    ]
    for value in values:
        total = cg.sum(cg.sin(value))
        grad = cg.grad(total, x)
        hvp = cg.grad(cg.sum(cg.sin(grad)), x)
        for got in cg.compile([x, y], [grad, hvp], backend=backend)(a, b):
            assert np.isfinite(got[0]).all() and got[0].any()
            assert not got[1].any()


def test_small_determinants_have_derivatives_at_singular_matrices():
    a = np.array([[1.0, 2, 3], [2, 4, 6], [1, 0, 1]])
    x = cg.matrix("x", (3, 3))
    got = cg.compile([x], cg.grad(cg.linalg.det(x), x))(a)
    cofactors = [[4, 4, -4], [-2, -2, 2], [0, 0, 0]]
    np.testing.assert_allclose(got, cofactors, atol=1e-15)


# ---------------------------------------------------------------------------- threads


@pytest.mark.parametrize("shape", [(300, 300), (2, 90, 90), (9, 70, 70), (400, 4, 4)])
def test_same_bits_for_any_number_of_threads(shape):
    p, g = positive(*shape), general(*shape)
    b = columns(*shape[:-1], 70)

    def outputs(p, g, b):
        factor = cg.linalg.cholesky(p)
        solved = cg.linalg.solve_triangular(factor, b, lower=True)
        return [factor, solved, cg.linalg.solve(g, b), cg.linalg.det(g)]

    expected = run(outputs, p, g, b, threads=1)
    for threads in (2, 3):
        for x, y in zip(run(outputs, p, g, b, threads=threads), expected):
            np.testing.assert_array_equal(x, y)


def test_a_second_process_compiles_no_routine(tmp_path):
    script = """
        import numpy as np
        import graphc as cg
        from graphc.backends.cpu import cache
        a = cg.matrix("a", (3, 3))
        x = np.diag([1.0, 2, 4])
        assert (cg.compile([a], cg.linalg.inv(a))(x) == np.linalg.inv(x)).all()
        print(cache.counts["compiled"])
        """
    counts = [int(run_script(script, tmp_path)) for _ in range(2)]
    assert counts[0] > 0 == counts[1]


# ----------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, v: cg.linalg.cholesky(m[:, :2]), "cholesky: square matrices"),
        (lambda m, v: cg.linalg.inv(v), "inv: square matrices"),
        (lambda m, v: cg.linalg.det(m[:2]), "det: square matrices"),
        (lambda m, v: cg.linalg.slogdet(m[:2]), "slogdet: square matrices"),
        (lambda m, v: cg.linalg.solve(m[:2], v), "solve: square matrices"),
        (lambda m, v: cg.linalg.solve(m, v[:2]), "as many rows as the matrix"),
        (lambda m, v: cg.linalg.solve(m, 1.0), "as many rows as the matrix"),
        (
            lambda m, v: cg.linalg.solve(cg.stack([m] * 2), cg.stack([m] * 3)),
            "batch axes do not broadcast",
        ),
        (lambda m, v: cg.linalg.solve(m, v, assume_a="sym"), 'neither "gen" nor "pos"'),
        (lambda m, v: cg.linalg.solve_triangular(m, v, trans=3), "trans=3 is neither"),
        (lambda m, v: cg.linalg.solve_triangular(m, v[:2]), "as many rows"),
    ],
)
def test_errors(call, message):
    m, v = cg.matrix("m", (3, 3)), cg.vector("v", 3)
    with pytest.raises(cg.ShapeError, match=message):
        call(m, v)


def test_sizes_that_differ_when_called():
    a = cg.matrix("a", ("n", "m"))
    f = cg.compile([a], cg.linalg.inv(a))
    np.testing.assert_allclose(f(2 * np.eye(3)), np.eye(3) / 2)
    with pytest.raises(cg.ShapeError, match="equal"):
        f(np.ones((2, 3)))
