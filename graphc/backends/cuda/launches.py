"""What a call does on a device, as plain data: kernels, copies and library calls.

Addresses are known only when a function is called, so a step says where its arrays lie
relative to *bases*: the inputs, outputs and constants, and the memory of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

ALIGNMENT = 256
"""Bytes that what lies in one base is aligned to, as the device's allocator does."""

THREADS = 256
"""Threads of a block of a kernel that has no mapping of its own."""


class Pointer(NamedTuple):
    """A place: bytes from the start of a base."""

    base: int
    offset: int = 0

    def plus(self, bytes_: int) -> Pointer:
        """Return the place so many bytes further."""
        return Pointer(self.base, self.offset + bytes_)


@dataclass(frozen=True)
class Code:
    """The Python text of a kernel, and what compiling it takes.

    Attributes
    ----------
    name : str
        The function that the text defines.
    text : str
    signature : tuple of str
        The type of each parameter, such as ``"float32*"`` or ``"int32"``.
    namespace : callable
        Returns the names that the text uses.
    max_threads : int
        The most threads of a block it is launched with.
    """

    name: str
    text: str
    signature: tuple[str, ...]
    namespace: Callable[[], Mapping[str, Any]] = field(compare=False)
    max_threads: int = 1024

    def function(self) -> Callable[..., None]:
        """Return the function that the text defines."""
        namespace = dict(self.namespace())
        exec(compile(self.text, f"<kernel {self.name}>", "exec"), namespace)
        return namespace[self.name]


@dataclass(frozen=True)
class Launch:
    """A kernel on so many blocks of so many threads.

    A pointer given for a parameter that is a number becomes its address.
    """

    code: Code
    blocks: int
    threads: int
    arguments: tuple[Pointer | int, ...]
    label: str = ""


@dataclass(frozen=True)
class Zero:
    """Bytes set to zero."""

    target: Pointer
    bytes: int
    label: str = "zero"


@dataclass(frozen=True)
class Copy:
    """Bytes copied from one place to another."""

    target: Pointer
    source: Pointer
    bytes: int
    label: str = "copy"


class Library(Protocol):
    """A call of a library: `run` starts it, given what libraries there are."""

    @property
    def label(self) -> str:
        """What it is, for people."""

    @property
    def library(self) -> str:
        """Which library: "blas" or "solver"."""

    def run(self, vendor: Any, address: Callable[[Pointer], int]) -> None:
        """Start the call, on the stream that the libraries were given."""


Step = Launch | Copy | Zero | Library


class Scratch:
    """Memory that a step uses while it runs, and the next one again.

    Attributes
    ----------
    bytes : int
        What the steps need at the most.
    """

    def __init__(self, base: int):
        self.base = base
        self.bytes = 0
        self._used = 0

    def begin(self) -> None:
        """Begin another step: what the last one took is free again."""
        self._used = 0

    def take(self, bytes_: int) -> Pointer:
        """Return a place of so many bytes."""
        place = Pointer(self.base, self._used)
        self._used += -(-bytes_ // ALIGNMENT) * ALIGNMENT
        self.bytes = max(self.bytes, self._used)
        return place
