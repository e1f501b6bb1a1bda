"""From LLVM code to machine code: numba's code generator, and llvmlite's loader.

numba optimizes and emits an object file for this machine (`compile_module`); the
object's bytes are what the disk cache keeps. Loading one (`load`) needs llvmlite
only, so a process whose kernels are all cached starts without importing numba.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

_lock = threading.RLock()
_codegen: Any = None
_engine: Any = None


def compile_module(text: str, vectorized: bool = False) -> bytes:
    """Return the object file of an LLVM module given as text.

    numba's optimization pipeline and target machine are used: O3 with loop and
    straight-line vectorization, for the CPU graphc runs on. Code that is `vectorized`
    already goes through a shorter pipeline, which leaves its loops as they are.
    """
    global _codegen
    import llvmlite.binding as llvm
    from numba.core.codegen import JITCPUCodegen

    with _lock:
        if _codegen is None:
            _codegen = JITCPUCodegen("graphc")
        target = _codegen._tm
        module = llvm.parse_assembly(text)
        module.triple = target.triple
        module.data_layout = str(target.target_data)
        module.verify()
        if vectorized:
            tuning = llvm.create_pipeline_tuning_options(speed_level=2)
            tuning.loop_vectorization = tuning.slp_vectorization = False
            tuning.loop_unrolling = False
            builder = llvm.create_pass_builder(target, tuning)
            manager = builder.getModulePassManager()
        else:
            manager, builder = _codegen._module_pass_manager()
        manager.run(module, builder)
        return target.emit_object(module)


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
