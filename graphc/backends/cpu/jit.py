"""From LLVM code to machine code and into the process, by numba's llvmlite.

`compile_module` optimizes LLVM code and emits an object file for this machine, whose
bytes are what the disk cache keeps; `load` loads one. The target machine and the
pass pipeline are set up as numba's own code generator sets them up, and give the same
object files (a test compares them). numba itself is not imported: that takes longer
than most functions take to compile.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

LEVEL = 2
"""How far kernels are optimized. At level 3 LLVM unrolls short loops of twice as many
rounds: it takes up to fifty times longer, and what it makes has been slower."""

_lock = threading.RLock()
_engine: Any = None


def compile_module(text: str, kind: str = "loops") -> bytes:
    """Return the object file of an LLVM module given as text.

    Parameters
    ----------
    text : str
    kind : str
        "loops" are vectorized and optimized at `LEVEL` for the CPU graphc runs on;
        "vectors" is code that is written in vectors and only optimized; "once" is for
        code that runs once in a call, such as drivers, and is translated as it stands,
        in a tenth of the time.
    """
    with _lock:
        return target_machine(kind == "once").emit_object(optimized(text, kind))


def optimized(text: str, kind: str = "loops") -> Any:
    """Return an LLVM module as the passes of its kind leave it."""
    import llvmlite.binding as llvm

    target = target_machine(kind == "once")
    module = llvm.parse_assembly(text)
    module.triple = target.triple
    module.data_layout = str(target.target_data)
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(0 if kind == "once" else LEVEL)
    tuning.loop_vectorization = kind == "loops"
    tuning.slp_vectorization = False
    tuning.loop_unrolling = kind == "loops"
    builder = llvm.create_pass_builder(target, tuning)
    builder.getModulePassManager().run(module, builder)
    return module


@lru_cache
def target_machine(quick: bool = False) -> Any:
    """Return numba's target machine: this CPU with all it has, static relocation."""
    import llvmlite.binding as llvm

    initialize(llvm)
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=0 if quick else 3,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def load(code: bytes, names: Sequence[str]) -> list[int]:
    """Load an object file and return the addresses of the functions named."""
    import llvmlite.binding as llvm

    with _lock:
        engine = _loader()
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        return [engine.get_function_address(n) for n in names]


def _loader() -> Any:
    global _engine
    if _engine is None:
        import llvmlite.binding as llvm

        initialize(llvm)
        target = llvm.Target.from_default_triple().create_target_machine(
            codemodel="jitdefault", jit=True
        )
        _engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    return _engine


def initialize(llvm: Any) -> None:
    """Initialize LLVM's native target; newer llvmlite does part of it by itself."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def add_symbol(name: str, address: int) -> None:
    """Let compiled code refer to the function at `address` by `name`."""
    import llvmlite.binding as llvm

    llvm.add_symbol(name, address)
