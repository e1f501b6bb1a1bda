"""From LLVM code to machine code and into the process, by numba's llvmlite.

`compile_module` optimizes LLVM code and emits an object file for this machine, whose
bytes are what the disk cache keeps; `load` loads one. The target machine and the
pass pipeline are set up as numba's own code generator sets them up, and give the same
object files (a test compares them). numba itself is not imported: that takes longer
than most functions take to compile.

All that compiles and loads holds one lock (`guarded`), for LLVM and its callers have
state of their own that must not be cut short: a Ctrl-C waits for the end of the step,
which is one kernel at most, and so does a `fork`, whose child would else find locks
taken by threads it does not have.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from graphc.types.errors import InternalError
from graphc.types.interrupts import postponed

_CLEANING = ("sroa", "instruction_combine", "simplify_cfg", "loop_rotate")
"""Passes for code that is written as it should run: half the time of a whole level."""

LEVEL = 2
"""How far kernels are optimized. At level 3 LLVM unrolls short loops of twice as many
rounds: it takes up to fifty times longer, and what it makes has been slower."""

KEPT = "graphc.kept"
"""The table of functions that only vectorization refers to, by name."""

LOCK = threading.RLock()
"""Held by whatever compiles or loads, and by a thread while it forks."""

_engine: Any = None

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=LOCK.acquire,
        after_in_parent=LOCK.release,
        after_in_child=LOCK.release,
    )


@contextmanager
def guarded() -> Iterator[None]:
    """Hold the lock, and put off interrupts to the end of the block.

    Waiting for the lock can be interrupted.
    """
    with LOCK, postponed():
        yield


def compile_module(text: str, kind: str = "loops") -> bytes:
    """Return the object file of an LLVM module given as text.

    Parameters
    ----------
    text : str
    kind : str
        "loops" are vectorized and optimized at `LEVEL` for the CPU graphc runs on;
        "vectors" is code that is written in vectors and only cleaned; "once" is for
        code that runs once in a call, such as drivers, and is translated as it stands,
        in a tenth of the time; "straight" is for long code without loops: passes find
        nothing there that is worth their time, so only instructions and registers are
        chosen with care.
    """
    with guarded():
        return compiled(text, kind)


def compiled(text: str, kind: str) -> bytes:
    """Return the object file of a module; several threads may be within.

    llvmlite lets one thread at a time into LLVM. But a module in a context of its own
    is nobody else's, and what takes long is called without that lock.
    """
    machine = _idle[kind].pop() if _idle[kind] else Machine(kind)
    code = machine.object_file(machine.optimized(text))
    _idle[kind].append(machine)
    return code


def optimized(text: str, kind: str = "loops") -> Any:
    """Return an LLVM module as the passes of its kind leave it."""
    return Machine(kind).optimized(text)


class Machine:
    """LLVM's target machine and passes for a kind of code, for one thread at a time.

    The target is numba's: this CPU with all it has, static relocation.
    """

    def __init__(self, kind: str):
        import llvmlite.binding as llvm

        initialize(llvm)
        target = llvm.Target.from_default_triple()
        self.target = target.create_target_machine(
            cpu=llvm.get_host_cpu_name(),
            features=llvm.get_host_cpu_features().flatten(),
            opt={"once": 0, "straight": 1, "vectors": 1}.get(kind, 3),
            reloc="static" if target.name.startswith("x86") else "default",
            codemodel="jitdefault",
            jit=True,
        )
        self.layout = str(self.target.target_data)
        self.kind = kind

    def _passes(self) -> tuple[Any, Any]:
        """Return the passes, which a run uses up, and their builder."""
        import llvmlite.binding as llvm

        loops = self.kind == "loops"
        tuning = llvm.create_pipeline_tuning_options(LEVEL if loops else 0)
        tuning.loop_vectorization = tuning.loop_unrolling = loops
        tuning.slp_vectorization = False
        builder = llvm.create_pass_builder(self.target, tuning)
        if self.kind != "vectors":
            return builder.getModulePassManager(), builder
        passes = llvm.create_new_module_pass_manager()
        for name in _CLEANING:
            getattr(passes, f"add_{name}_pass")()
        return passes, builder

    def optimized(self, text: str) -> Any:
        """Return an LLVM module as the passes leave it."""
        import llvmlite.binding as llvm
        from llvmlite.binding import ffi

        module = llvm.parse_assembly(text, llvm.create_context())
        module.triple = self.target.triple
        module.data_layout = self.layout
        module.verify()
        run = _without_lock(ffi.lib.LLVMPY_RunNewModulePassManager)
        passes, builder = self._passes()
        run(passes, module, builder)
        if f"@{KEPT} =" in text:
            # what vectorized loops call by now: a call would make them save registers;
            # and lengths of vectors that none of them has
            module.get_global_variable(KEPT).linkage = "internal"
            late = llvm.create_new_module_pass_manager()
            late.add_always_inliner_pass()
            late.add_simplify_cfg_pass()
            late.add_global_dead_code_eliminate_pass()
            run(late, module, builder)
        return module

    def object_file(self, module: Any) -> bytes:
        """Return the object file of a module."""
        from llvmlite.binding import ffi

        emit = _without_lock(ffi.lib.LLVMPY_TargetMachineEmitToMemory)
        with ffi.OutputString() as error:
            buffer = emit(self.target, module, 1, error)
            if not buffer:
                raise InternalError(f"LLVM emits no code: {error}")
        try:
            start = ffi.lib.LLVMPY_GetBufferStart(buffer)
            return ctypes.string_at(start, ffi.lib.LLVMPY_GetBufferSize(buffer))
        finally:
            ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


_idle: defaultdict[str, list[Machine]] = defaultdict(list)


def _without_lock(function: Any) -> Any:
    """Return a function of llvmlite's library that does not take llvmlite's lock."""
    return getattr(function, "_cfn", function)


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


class Loaded(NamedTuple):
    """A module in this process, for each of its functions.

    Attributes
    ----------
    names : sequence of str
        Its functions that others may refer to.
    address : int
    key : str
        The cache's key of its machine code.
    needs : sequence of str
        The functions it refers to.
    """

    names: Sequence[str]
    address: int
    key: str
    needs: Sequence[str]


LOADED: dict[str, Loaded] = {}
"""What `load_named` has loaded, by name."""

PERMANENT = (
    *("graphc_launch", "graphc_threads", "graphc_overlap"),
    *("graphc_workspace", "graphc_workspace_release"),
)
"""Functions of the pool and of the workspace, which all processes load."""


def load_named(
    names: Sequence[str], code: bytes, key: str, needs: Sequence[str]
) -> None:
    """Load functions of an object file, unless they are, for others to refer to."""
    with guarded():
        if names[0] not in LOADED:
            for name, address in zip(names, _load(code, names)):
                add_symbol(name, address)
                LOADED[name] = Loaded(names, address, key, needs)


def declared(text: str) -> list[str]:
    """Return the functions of graphc's that LLVM code refers to and does not define."""
    return re.findall(r"^declare [^@\n]*@(graphc_\w+)", text, re.MULTILINE)


def modules_of(name: str) -> list[Loaded]:
    """Return the modules that a loaded function needs, in order; its own comes last."""
    found: dict[str, Loaded] = {}
    stack = [name]
    while stack:
        module = LOADED[stack[-1]]
        waiting = [n for n in module.needs if n not in PERMANENT]
        waiting = [n for n in waiting if LOADED[n].key not in found]
        if waiting:
            stack += waiting
            continue
        stack.pop()
        found[module.key] = module
    return list(found.values())


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
