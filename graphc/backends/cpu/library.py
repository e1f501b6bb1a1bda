"""Loading of functions by name, each once in a process, with what they refer to."""

from __future__ import annotations

from graphc.backends.cpu import jit
from graphc.backends.cpu.cache import key_of, machine_code
from graphc.backends.cpu.scalars import LlvmModule


def ensure_loaded(name: str, text: str, kind: str = "loops") -> int:
    """Load a function unless the process has it, and return its address.

    `kind` is as for `jit.compile_module`.
    """
    with jit.guarded():
        if name not in jit.LOADED:
            code, key = machine_code(text, kind), key_of(text, kind)
            jit.load_named([name], code, key, jit.declared(text))
        return jit.LOADED[name].address


def load_externals(module: LlvmModule) -> None:
    """Load the functions that a module refers to and others define."""
    for name, text in module.externals.items():
        ensure_loaded(name, text, "straight")
