"""The one module that knows which package compiles for CUDA, with each package."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from support.cuda import needs_compiler
from support.processes import run_script

from graphc.backends.cuda import shim
from graphc.types.errors import ConfigError, InternalError, MissingPackageError

SCRIPT = """
    import json, math, sys
    hide = sys.argv[1] == "hide"
    if hide:  # as if numba-cuda were not installed
        sys.meta_path[:] = [
            f for f in sys.meta_path if type(f).__name__ != "NumbaCudaFinder"
        ]
    import numpy as np
    if hasattr(np, "row_stack") and sys.argv[2] == "without":
        del np.row_stack  # as in NumPy 2.5
        np.__dir__ = lambda: []
    from graphc.backends.cuda import shim
    if hide:
        found = shim.find_spec
        shim.find_spec = lambda name: None if name == "numba_cuda" else found(name)
    if not shim.available():
        print(json.dumps({"why": shim._why_not(False)}))
        sys.exit()
    cuda = shim.cuda

    def kernel(x, out, n):
        i = cuda.grid(1)
        if i < n:
            out[i] = math.exp(x[i]) * x[i] + np.float32(1)

    ptx = shim.compile_ptx(
        kernel, ("float32*", "float32*", "int32"), "my_kernel", max_threads=256
    )
    cubin = shim.link(ptx) if not hide or shim.linker() else None
    print(json.dumps({
        "package": shim.package(),
        "module": cuda.__file__,
        "ptx": ptx,
        "registers": cubin and cubin.registers,
        "spills": cubin and cubin.spill_bytes,
        "elf": cubin and cubin.image[:4] == b"\\x7fELF",
        "row_stack": hasattr(np, "row_stack"),
    }))
"""


@pytest.mark.parametrize("package", ["numba-cuda", "numba"])
def test_each_package_compiles_a_kernel_by_its_name(tmp_path, package):
    if package == "numba-cuda" and shim.package() != package:
        pytest.skip("numba-cuda is not installed: pip install 'graphc[cuda]'")
    mode = "keep" if package == "numba-cuda" else "hide"
    found = json.loads(run_script(SCRIPT, tmp_path, mode, "with"))
    if "why" in found:
        pytest.skip(f"no compiler for CUDA kernels: {found['why']}")
    assert found["package"] == package
    assert ("numba_cuda" in found["module"]) == (package == "numba-cuda")
    assert found["ptx"].count(".visible .entry my_kernel(") == 1
    assert ".maxntid 256, 1, 1" in found["ptx"]
    assert ".target sm_90" in found["ptx"]
    if found["elf"] is not None:
        assert found["elf"] and found["registers"] > 0 and found["spills"] == 0


def test_numba_cuda_is_imported_where_numpy_lost_a_function(tmp_path):
    if shim.package() != "numba-cuda":
        pytest.skip("numba-cuda is not installed: pip install 'graphc[cuda]'")
    found = json.loads(run_script(SCRIPT, tmp_path, "keep", "without"))
    assert "ptx" in found
    assert not found["row_stack"]  # what was lent to the package is taken back


def double(x, out, n):
    i = shim.cuda.grid(1)
    if i < n:
        out[i] = x[i] + x[i]


def made(name="double", **options):
    cuda = shim.cuda
    space = {"cuda": cuda}
    text = (
        "def double(x, out, n):\n"
        "    i = cuda.grid(1)\n"
        "    if i < n:\n"
        "        out[i] = x[i] + x[i]\n"
    )
    exec(text, space)
    signature = ("float32*", "float32*", "int32")
    return shim.compile_ptx(space["double"], signature, name, **options)


@needs_compiler
@pytest.mark.parametrize("cc", [(7, 5), (8, 0), (9, 0)])
def test_capabilities(cc):
    ptx = made(cc=cc)
    assert f".target sm_{cc[0]}{cc[1]}" in ptx
    assert shim.link(ptx, cc).image


@needs_compiler
@pytest.mark.skipif(shim.linker() is None, reason="no linker of cubins is installed")
def test_cubin_reports():
    cubin = shim.link(made())
    assert cubin.image.startswith(b"\x7fELF")
    assert 0 < cubin.registers < 64
    assert cubin.spill_bytes == cubin.shared_bytes == 0
    assert "registers" in cubin.log


@needs_compiler
@pytest.mark.skipif(shutil.which("ptxas") is None, reason="ptxas is not on PATH")
def test_ptxas_reports_the_same(monkeypatch):
    ptx = made()
    whole = shim.link(ptx)
    monkeypatch.setattr(shim, "_nvjitlink", lambda: None)
    try:
        other = shim.link(ptx)
    except InternalError as error:
        pytest.skip(f"an older ptxas: {error}")
    assert other.registers == whole.registers
    assert other.image.startswith(b"\x7fELF")


@needs_compiler
def test_without_a_linker_the_driver_gets_ptx(monkeypatch):
    monkeypatch.setattr(shim, "linker", lambda: None)
    cubin = shim.link(made())
    assert b".entry double" in cubin.image and cubin.registers is None


@needs_compiler
def test_wrong_ptx_is_a_defect():
    if shim.linker() is None:
        pytest.skip("no linker of cubins is installed")
    with pytest.raises(InternalError, match="PTX does not link"):
        shim.link("no PTX")


@needs_compiler
def test_what_numba_refuses_is_a_defect_of_graphc():
    def kernel(x):
        x[0] = open("file")

    with pytest.raises(InternalError, match=r"kernel k does not compile for CUDA"):
        shim.compile_ptx(kernel, ("float32*",), "k")


@needs_compiler
def test_fast_math_only_where_asked():
    space = {"cuda": shim.cuda}
    exec("def f(x, out):\n    out[0] = x[0] / x[1]\n", space)
    signature = ("float32*", "float32*")
    exact = shim.compile_ptx(space["f"], signature, "f")
    fast = shim.compile_ptx(space["f"], signature, "f", fastmath=True)
    assert "div.rn.f32" in exact and "div.approx" not in exact
    assert "div.approx" in fast


def test_missing_packages_are_told(monkeypatch):
    monkeypatch.setattr(shim, "_why_not", lambda simulated: "nothing is installed.")
    assert not shim.available()
    with pytest.raises(
        MissingPackageError, match=r"nothing.*pip install 'graphc\[cuda"
    ):
        shim.require()


def test_no_package_at_all(monkeypatch):
    monkeypatch.setattr(shim, "package", lambda: None)
    assert shim._why_not.__wrapped__(False).startswith("neither numba-cuda nor numba")


def test_the_simulator_must_be_on(monkeypatch):
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    with pytest.raises(ConfigError, match="NUMBA_ENABLE_CUDASIM"):
        shim.jit(double)


def test_the_simulator_runs_a_kernel(simulator):
    space = {"cuda": shim.cuda}
    exec(
        "def f(x, n):\n    i = cuda.grid(1)\n    if i < n:\n        x[i] += i\n", space
    )

    class Memory(list):
        pass

    x = Memory([1.0, 1.0, 1.0])
    shim.jit(space["f"])[1, 4](x, 3)
    assert x == [1.0, 2.0, 3.0]


def test_versions_name_what_compiles():
    found = shim.versions()
    assert found["numba"] and found["llvmlite"]
    assert np.all([isinstance(v, str) for v in found.values()])
