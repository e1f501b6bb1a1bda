"""The one place that knows which package compiles for CUDA.

Two serve: the package numba-cuda, which puts itself in the place of `numba.cuda`, and
the target of that name that numba itself brings and deprecates. Only what both have is
used: a Python function whose parameters are pointers and integers is compiled to PTX,
without a device or a driver. What one of them lacks is done to the text: the entry gets
a name of graphc's choice, and the bound on the threads of a block.

PTX becomes a *cubin*, code of one kind of device, by NVIDIA's linker: nvJitLink
from the packages ``cuda.bindings`` and ``nvidia-nvjitlink``, or ``ptxas`` of a toolkit.
Both tell how many registers a kernel takes, and what it spills.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module, metadata
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from graphc.types.errors import ConfigError, InternalError, MissingPackageError

CAPABILITY = (9, 0)
"""The compute capability that kernels are compiled for where there is no device."""

INSTALL = "pip install 'graphc[cuda]'"

_TOOLKITS = ("nvidia/cu13", "nvidia/cuda_nvcc")  # in site-packages, with nvvm in them


class Cubin(NamedTuple):
    """The machine code of one kernel.

    Attributes
    ----------
    image : bytes
        An ELF file, or PTX where no linker is installed: the driver takes either.
    registers : int or None
        Registers of a thread; None if the linker does not tell.
    spill_bytes : int
        Bytes that a thread stores and loads for want of registers.
    shared_bytes : int
        Static shared memory of a block.
    log : str
        What the linker says.
    """

    image: bytes
    registers: int | None
    spill_bytes: int
    shared_bytes: int
    log: str


def simulated() -> bool:
    """Tell whether kernels run in numba's simulator (``NUMBA_ENABLE_CUDASIM=1``)."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


@lru_cache
def package() -> str | None:
    """Return the package that compiles: "numba-cuda", "numba" or None."""
    if find_spec("numba_cuda") is not None:
        return "numba-cuda"
    return None if find_spec("numba") is None else "numba"


def available() -> bool:
    """Tell whether kernels can be compiled, or simulated, in this process."""
    return missing() is None


def missing() -> str | None:
    """Return what kernels cannot be compiled or simulated for, None if they can."""
    return _why_not(simulated())


def require() -> None:
    """Raise unless kernels can be compiled, or simulated, in this process.

    Raises
    ------
    MissingPackageError
        If a package or NVIDIA's compiler library is missing; it says what to install.
    """
    why = missing()
    if why is not None:
        raise MissingPackageError(
            f"the CUDA backend cannot compile kernels: {why} Run: {INSTALL}"
        )


@lru_cache
def _why_not(simulated: bool) -> str | None:
    """Return what is missing, None if nothing is."""
    if package() is None:
        return "neither numba-cuda nor numba is installed."
    try:
        cuda = _cuda()
        if not simulated:
            with at_work():
                import_module(f"{cuda.__name__}.cudadrv.nvvm").NVVM()
    except Exception as error:
        kind = type(error).__name__
        return f"the package {package()} cannot be used ({kind}: {error})."
    return None


@lru_cache
def _cuda() -> Any:
    """Import `numba.cuda`, whichever package that is."""
    _find_toolkit()
    with at_work():
        return import_module("numba.cuda")


def _find_toolkit() -> None:
    """Let numba's own target find the compiler library of NVIDIA's wheels."""
    if package() != "numba" or os.environ.get("CUDA_HOME"):
        return
    if os.path.exists("/usr/local/cuda/nvvm"):
        return
    for folder in sys.path:
        for name in _TOOLKITS:
            path = os.path.join(folder, name)
            if os.path.isdir(os.path.join(path, "nvvm")):
                os.environ["CUDA_HOME"] = path
                return


@contextmanager
def at_work() -> Iterator[None]:
    """Let the packages work: without their warnings, and with what they miss.

    numba-cuda 0.30 looks up a function that NumPy 2.5 has no more, some of the time
    when it is imported and some when it first compiles.
    """
    lacking = package() == "numba-cuda" and not hasattr(np, "row_stack")
    if lacking:
        setattr(np, "row_stack", np.vstack)  # noqa: B010 - unknown to NumPy's stubs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if lacking:
            delattr(np, "row_stack")


def __getattr__(name: str) -> Any:
    if name == "cuda":
        require()
        return _cuda()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# -------------------------------------------------------------------- compiling


def compile_ptx(
    function: Callable[..., None],
    signature: Sequence[str],
    name: str,
    cc: tuple[int, int] = CAPABILITY,
    max_threads: int | None = None,
    fastmath: bool = False,
) -> str:
    """Compile a kernel to PTX.

    Parameters
    ----------
    function : callable
        In the Python that numba compiles; it returns nothing.
    signature : sequence of str
        The type of each parameter: a scalar such as ``"int32"``, or ``"float32*"``.
    name : str
        What the entry point is called.
    cc : (int, int)
        The compute capability.
    max_threads : int, optional
        The most threads that a block is launched with; registers are given out so
        that these fit.
    fastmath : bool
        Whether division, square root and functions may be approximate.

    Returns
    -------
    str

    Raises
    ------
    MissingPackageError
        If there is no compiler.
    InternalError
        If the function is none that numba compiles: kernels are printed by graphc.
    """
    require()
    cuda = _cuda()
    types = import_module("numba.core.types")
    if package() == "numba-cuda":
        types = cuda.types

    def type_of(text: str) -> Any:
        scalar = getattr(types, text.rstrip("*"))
        return types.CPointer(scalar) if text.endswith("*") else scalar

    try:
        with at_work(), _capability(cc):
            text, _ = cuda.compile(
                function,
                types.void(*map(type_of, signature)),
                device=False,
                fastmath=fastmath,
                cc=cc,
                abi="numba",
                output="ptx",
            )
    except Exception as error:
        raise InternalError(
            f"kernel {name} does not compile for CUDA: {error}"
        ) from error
    return _renamed(text, name, max_threads)


_ENTRY = re.compile(r"\.entry\s+([\w$]+)\s*\(([^)]*)\)([^{]*)\{")


def _renamed(ptx: str, name: str, max_threads: int | None) -> str:
    """Give the one entry of PTX a name, and the bound on its threads."""
    entries = _ENTRY.findall(ptx)
    if len(entries) != 1:
        raise InternalError(f"kernel {name}: {len(entries)} entries in its PTX")
    mangled = entries[0][0]
    ptx = re.sub(rf"(?<![\w$]){re.escape(mangled)}(?=_param_|(?![\w$]))", name, ptx)
    if max_threads is None:
        return ptx
    bound = f"\n.maxntid {max_threads}, 1, 1\n"
    return _ENTRY.sub(lambda m: m[0][:-1].rstrip() + bound + "{", ptx, count=1)


def device_function(function: Callable[..., Any]) -> Any:
    """Return a function that kernels may call; it is compiled into each that does."""
    if simulated():
        return function
    require()
    return _cuda().jit(device=True)(function)


@contextmanager
def _capability(cc: tuple[int, int]) -> Iterator[None]:
    """Compile device functions for a compute capability, too.

    Both packages would ask the current device, and fail where there is none.
    """
    module: Any = import_module("numba.cuda.dispatcher")
    asked = module.get_current_device
    module.get_current_device = lambda: SimpleNamespace(compute_capability=cc)
    try:
        yield
    finally:
        module.get_current_device = asked


def vectors(kind: str, width: int) -> tuple[Any, Any]:
    """Return ``load(pointer, index)``, ``store(pointer, index, values)`` of vectors.

    A vector is `width` elements of the dtype `kind` next to each other, at a multiple
    of its size. Loading gives a tuple.
    """
    require()
    _cuda()
    from llvmlite import ir

    owner = "numba.cuda" if package() == "numba-cuda" else "numba"
    intrinsic = import_module(f"{owner}.extending").intrinsic
    core = import_module("numba.core.types")
    types = _cuda().types if package() == "numba-cuda" else core
    element = getattr(types, kind)
    size = width * np.dtype(kind).itemsize

    def address(context: Any, builder: Any, pointer: Any, index: Any) -> Any:
        vector = ir.VectorType(context.get_data_type(element), width)
        place = builder.gep(pointer, [index])
        return builder.bitcast(place, vector.as_pointer())

    @intrinsic
    def load(typingctx, pointer, index):
        def codegen(context, builder, signature, args):
            vector = builder.load(address(context, builder, *args), align=size)
            out = context.get_constant_undef(signature.return_type)
            for i in range(width):
                place = ir.Constant(ir.IntType(32), i)
                part = builder.extract_element(vector, place)
                out = builder.insert_value(out, part, i)
            return out

        return types.UniTuple(element, width)(pointer, index), codegen

    @intrinsic
    def store(typingctx, pointer, index, values):
        def codegen(context, builder, signature, args):
            pointer, index, parts = args
            vector = ir.VectorType(context.get_data_type(element), width)
            whole = ir.Constant(vector, ir.Undefined)
            for i in range(width):
                place = ir.Constant(ir.IntType(32), i)
                part = builder.extract_value(parts, i)
                whole = builder.insert_element(whole, part, place)
            builder.store(whole, address(context, builder, pointer, index), align=size)
            return context.get_dummy_value()

        return types.void(pointer, index, values), codegen

    return load, store


def jit(function: Callable[..., None]) -> Any:
    """Return a kernel that the simulator runs: ``jit(f)[grid, block](*arguments)``.

    Raises
    ------
    ConfigError
        If the simulator is not on.
    """
    if not simulated():
        raise ConfigError(
            "kernels run without a device in numba's simulator only: set "
            "NUMBA_ENABLE_CUDASIM=1."
        )
    require()
    with at_work():
        return import_module("numba.cuda.simulator.api").jit(function)


# -------------------------------------------------------------------- linking


def linker() -> str | None:
    """Return what makes cubins: "nvjitlink", "ptxas", or None."""
    if _nvjitlink() is not None:
        return "nvjitlink"
    return None if shutil.which("ptxas") is None else "ptxas"


@lru_cache
def _nvjitlink() -> Any:
    try:
        module = import_module("cuda.bindings.nvjitlink")
        module.version()  # loads the library
    except Exception:
        return None
    return module


def link(ptx: str, cc: tuple[int, int] = CAPABILITY) -> Cubin:
    """Return the machine code of PTX for a compute capability.

    Without a linker that is the PTX itself, which the driver compiles when it is
    loaded; then nothing is known of registers.

    Raises
    ------
    InternalError
        If the PTX is wrong.
    """
    arch = f"sm_{cc[0]}{cc[1]}"
    tool = linker()
    if tool is None:
        return Cubin(ptx.encode(), None, 0, 0, "no linker is installed")
    image, log = (_by_nvjitlink if tool == "nvjitlink" else _by_ptxas)(ptx, arch)
    return _report(image, log)


def _by_nvjitlink(ptx: str, arch: str) -> tuple[bytes, str]:
    module = _nvjitlink()
    options = [f"-arch={arch}", "-verbose"]
    handle = module.create(len(options), options)
    try:
        data = ptx.encode()
        try:
            kind = module.InputType.PTX
            module.add_data(handle, kind, data, len(data), "kernel.ptx")
            module.complete(handle)
        except module.nvJitLinkError as error:
            log = _text(module, handle, "error")
            raise InternalError(f"PTX does not link: {error}. {log}") from error
        image = bytearray(module.get_linked_cubin_size(handle))
        module.get_linked_cubin(handle, image)
        return bytes(image), _text(module, handle, "info")
    finally:
        module.destroy(handle)


def _text(module: Any, handle: Any, kind: str) -> str:
    size = getattr(module, f"get_{kind}_log_size")(handle)
    if size <= 1:
        return ""
    log = bytearray(size)
    getattr(module, f"get_{kind}_log")(handle, log)
    return log.split(b"\0")[0].decode(errors="replace")


def _by_ptxas(ptx: str, arch: str) -> tuple[bytes, str]:
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "kernel.ptx")
        target = os.path.join(folder, "kernel.cubin")
        with open(source, "w", encoding="utf-8") as file:
            file.write(ptx)
        command = ["ptxas", "-v", f"-arch={arch}", source, "-o", target]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise InternalError(f"PTX does not link: {done.stderr}")
        with open(target, "rb") as file:
            return file.read(), done.stderr + done.stdout


def _report(image: bytes, log: str) -> Cubin:
    def numbers(pattern: str) -> list[int]:
        return [int(n) for n in re.findall(pattern, log)]

    # nvJitLink tells some of it twice: for the PTX and for what is linked
    registers = numbers(r"[Uu]sed (\d+) registers")
    spills = sum(numbers(r"(\d+) bytes spill (?:stores|loads)"))
    shared = max(numbers(r"(\d+) bytes smem"), default=0)
    return Cubin(image, max(registers, default=None), spills, shared, log)


def versions() -> dict[str, str]:
    """Return the versions of what compiles, by the package's name.

    Only what is installed is in it; nothing is imported.
    """
    names = ["numba", "numba-cuda", "llvmlite", "cuda-bindings"]
    names += ["nvidia-nvvm", "nvidia-nvjitlink", "nvidia-cuda-nvcc-cu12"]
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
