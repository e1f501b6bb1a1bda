"""From LLVM code to machine code: numba's code generator, and llvmlite's loader.

numba optimizes and emits an object file for this machine (`compile_module`); the
object's bytes are what the disk cache keeps. Loading one (`load`) needs llvmlite
only, so a process whose kernels are all cached starts without importing numba.

All that compiles and loads holds one lock (`guarded`), for LLVM and its callers have
state of their own that must not be cut short: a Ctrl-C waits for the end of the step,
which is one kernel at most, and so does a `fork`, whose child would else find locks
taken by threads it does not have.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

LOCK = threading.RLock()
"""Held by whatever compiles or loads, and by a thread while it forks."""

_codegen: Any = None
_engine: Any = None

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=LOCK.acquire,
        after_in_parent=LOCK.release,
        after_in_child=LOCK.release,
    )


@contextmanager
def guarded() -> Iterator[None]:
    """Hold the lock, and put off KeyboardInterrupt to the end of the block.

    Waiting for the lock can be interrupted. A handler of SIGINT that is not Python's
    own is put off as well: it may raise.
    """
    with LOCK:
        before = signal.getsignal(signal.SIGINT)
        if (
            not callable(before)
            or before is _remember
            or threading.current_thread() is not threading.main_thread()
        ):
            yield
            return
        _remembered.clear()
        signal.signal(signal.SIGINT, _remember)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            if _remembered:
                before(*_remembered.pop())


_remembered: list[tuple[int, FrameType | None]] = []


def _remember(number: int, frame: FrameType | None) -> None:
    _remembered[:] = [(number, frame)]


def compile_module(text: str) -> bytes:
    """Return the object file of an LLVM module given as text.

    numba's optimization pipeline and target machine are used: O3 with loop and
    straight-line vectorization, for the CPU graphc runs on.
    """
    with guarded():
        return _compile(text)  # whose modules are disposed of before the lock is free


def _compile(text: str) -> bytes:
    global _codegen
    import llvmlite.binding as llvm
    from numba.core.codegen import JITCPUCodegen

    if _codegen is None:
        _codegen = JITCPUCodegen("graphc")
    target = _codegen._tm
    module = llvm.parse_assembly(text)
    module.triple = target.triple
    module.data_layout = str(target.target_data)
    module.verify()
    manager, builder = _codegen._module_pass_manager()
    manager.run(module, builder)
    return target.emit_object(module)


def load(code: bytes, names: Sequence[str]) -> list[int]:
    """Load an object file and return the addresses of the functions named."""
    with guarded():
        return _load(code, names)


def _load(code: bytes, names: Sequence[str]) -> list[int]:
    import llvmlite.binding as llvm

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
    with guarded():
        import llvmlite.binding as llvm

        llvm.add_symbol(name, address)
