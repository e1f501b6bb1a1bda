"""`graphc doctor`: what graphc finds on this machine, for bug reports."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

Row = tuple[str, str]

PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "sympy", "networkx", "opt_einsum")
OPTIONAL = ("matplotlib", "scikit-learn", "tqdm", "numba-cuda", "cupy-cuda13x")


def report() -> str:
    """Return the report as text, one line for each finding.

    A finding that fails is reported with its error; the report itself never fails.
    """
    sections: list[tuple[str, Callable[[], Iterable[Row]]]] = [
        ("versions", _versions),
        ("processor", _processor),
        ("threads", _threads),
        ("BLAS", _blas),
        ("cache", _cache),
        ("CUDA", _cuda),
        ("options", _options),
    ]
    lines: list[str] = []
    for title, find in sections:
        lines.append(title)
        try:
            rows = list(find())
        except Exception as error:  # a broken part is a finding, not a failure
            rows = [("failed", f"{type(error).__name__}: {error}")]
        lines += [f"  {name:<16} {value}" for name, value in rows]
    return "\n".join(lines)


def version_of(package: str) -> str:
    """Return the installed version of a distribution, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _versions() -> Iterable[Row]:
    from graphc import __version__

    yield "graphc", __version__
    yield "python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "system", platform.platform()
    for package in (*PACKAGES, *OPTIONAL):
        yield package, version_of(package)


def _processor() -> Iterable[Row]:
    yield "model", _model_name()
    try:
        import llvmlite.binding as llvm

        yield "LLVM target", f"{llvm.get_host_cpu_name()} (LLVM {_llvm_version(llvm)})"
        features = llvm.get_host_cpu_features()
        units = ("sse4.2", "avx2", "fma", "avx512f", "neon", "sve")
        found = [unit for unit in units if features.get(unit)]
        yield "vector units", " ".join(found) or "none known"
    except ImportError as error:
        yield "LLVM target", f"unknown: {error}"


def _llvm_version(llvm: object) -> str:
    return ".".join(str(v) for v in getattr(llvm, "llvm_version_info", ("unknown",)))


def _model_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _threads() -> Iterable[Row]:
    from graphc.backends.cpu.pool import available_threads
    from graphc.types.config import options

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    yield "cores", f"{usable or os.cpu_count()} usable of {os.cpu_count()}"
    chosen = "by the option threads" if options().threads else "all usable cores"
    yield "graphc uses", f"{available_threads()} ({chosen})"
    yield "threading layer", "graphc's own pool"


def _blas() -> Iterable[Row]:
    import scipy

    found = scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    yield (
        "library",
        f"{found.get('name')} {found.get('version')}",
    )
    detail = found.get("openblas configuration")
    if detail and detail != "unknown":
        yield "configuration", detail
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in os.environ:
            yield name, f"{os.environ[name]} (set in the environment)"


def _cache() -> Iterable[Row]:
    from graphc.backends.disk_cache import cache_folder, cache_size

    folder = cache_folder()
    if folder is None:
        yield "folder", "none: compiled kernels are not kept (cache_dir is off)"
        return
    kernels, size = cache_size()
    yield "folder", str(folder)
    yield "writable", "yes" if _can_write(folder) else "no: kernels are not kept"
    yield "kernels", f"{kernels} of {size / 1e6:.1f} MB in all"


def _can_write(folder: Path) -> bool:
    """Tell whether a file can be made in a folder, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _cuda() -> Iterable[Row]:
    from graphc.backends.cuda import shim

    versions = ", ".join(f"{n} {v}" for n, v in shim.versions().items())
    yield "compiler", f"{shim.package() or 'none'} ({versions or 'not installed'})"
    mode = " in the simulator" if shim.simulated() else ""
    why = shim.missing()
    yield "kernels", f"can be compiled{mode}" if why is None else f"cannot: {why}"
    yield "linker", shim.linker() or "none: the driver links"
    yield "CuPy", _cupy()
    yield "driver", _cuda_driver()
    yield "backend", _cuda_backend()


def _cupy() -> str:
    """Return what of CuPy is here, which gives memory, streams and libraries."""
    try:
        import cupy
    except ImportError as error:
        return f"not usable: {error}"
    number = cupy.cuda.runtime.runtimeGetVersion()
    text = f"{cupy.__version__}, for CUDA {number // 1000}.{number % 1000 // 10}"
    try:
        libraries = importlib.import_module("cupy_backends.cuda.libs")
        libraries.cublas, libraries.cusolver  # noqa: B018 - loaded when asked for
    except Exception:
        return f"{text}, without cuBLAS and cuSOLVER: pip install 'cupy-cuda13x[ctk]'"
    return f"{text}, with cuBLAS and cuSOLVER"


def _cuda_backend() -> str:
    """Return whether functions can be compiled for CUDA here, and where they run."""
    from graphc.backends.cuda import device
    from graphc.types.errors import GraphcError

    try:
        found = device.current()
    except GraphcError as error:
        return f"not usable: {error}"
    major, minor = found.capability
    return f"usable on {found.name}, compute capability {major}.{minor}"


def _cuda_driver() -> str:
    """Return what the CUDA driver says of itself and of its devices."""
    import ctypes
    import ctypes.util

    name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(name)
    except OSError:
        return "not found"
    status = cuda.cuInit(0)
    if status:
        return f"found, but cuInit gives error {status} (no device, or not permitted)"
    version, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    cuda.cuDeviceGetCount(ctypes.byref(count))
    names = []
    for number in range(count.value):
        device = ctypes.c_int()
        text = ctypes.create_string_buffer(128)
        cuda.cuDeviceGet(ctypes.byref(device), number)
        cuda.cuDeviceGetName(text, 128, device)
        names.append(text.value.decode(errors="replace"))
    supports = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return f"supports CUDA {supports}; devices: {', '.join(names) or 'none'}"


def _options() -> Iterable[Row]:
    from dataclasses import asdict

    from graphc.types.config import options

    for name, value in asdict(options()).items():
        yield name, repr(value)
