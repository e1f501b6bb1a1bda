"""Loading of functions by name, each once in a process, with what they refer to."""

from __future__ import annotations

from graphc.backends.cpu import ahead, jit
from graphc.backends.cpu.cache import begin, key_of, machine_code
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
    for name, (text, kind) in module.externals.items():
        ensure_loaded(name, text, kind)


class Modules:
    """The modules that a program needs: compiled ahead, then loaded in order.

    As a context manager, it forgets in the end what nobody asked for.
    """

    def __init__(self) -> None:
        self.begun: list[ahead.Job] = []
        self.waiting: list[tuple[str, str, str]] = []

    def need(self, name: str, text: str, kind: str = "loops") -> None:
        """Begin to compile the module of a function, unless the process has it."""
        if name not in jit.LOADED:
            self.ahead(text, kind)
            self.waiting.append((name, text, kind))

    def need_externals(self, module: LlvmModule) -> None:
        """Begin with the functions that a module refers to and others define."""
        for name, (text, kind) in module.externals.items():
            self.need(name, text, kind)

    def ahead(self, text: str, kind: str) -> None:
        """Begin to compile a module that something else will load."""
        self.begun += begin(text, kind)

    def load(self) -> None:
        """Load what is needed, in the order in which it was asked for."""
        for name, text, kind in self.waiting:
            ensure_loaded(name, text, kind)
        self.waiting = []

    def __enter__(self) -> Modules:
        return self

    def __exit__(self, *_: object) -> None:
        ahead.drop(self.begun)
