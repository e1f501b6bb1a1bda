"""What runs a program: a device by CuPy, or numba's simulator on the host.

Both make memory, hold kernels ready, and run prepared steps. What they run is in
`launches`; neither knows of graphs.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from graphc.backends.cuda import host, shim
from graphc.backends.cuda.launches import Code, Copy, Launch, Pointer, Step, Zero
from graphc.backends.cuda.vendor import Vendor

_simulating = threading.RLock()  # the simulator runs one kernel at a time

Group = Sequence[Step]
"""What one step of a program becomes."""


class Run(Protocol):
    """Prepared steps."""

    def __call__(self, bases: Sequence[Any]) -> None:
        """Run on arrays that the steps' pointers are relative to."""

    def timed(self, bases: Sequence[Any], rounds: int) -> list[float]:
        """Return the seconds that each group takes, the least of some rounds."""

    def capture(self, bases: Sequence[Any]) -> Any:
        """Return a captured graph of the steps on these very arrays; `launch` runs it.

        None where there are no such graphs, or the steps cannot be captured.
        """


class Device(Protocol):
    """A device, or what stands for one.

    Attributes
    ----------
    name : str
    simulated : bool
        Whether arrays are NumPy's, and kernels Python.
    asynchronous : bool
        Whether a run returns before its work is done.
    capability : (int, int)
    vendor : Vendor
    """

    name: str
    simulated: bool
    asynchronous: bool
    capability: tuple[int, int]
    vendor: Vendor

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """Return an array with anything in it; raises MemoryError."""

    def adopt(self, value: Any) -> Any:
        """Return an array on the device as this device's, without a copy.

        None for what is not on a device. Raises InputError if it is on another one.
        """

    def upload(self, array: np.ndarray) -> Any:
        """Return an array of the host on the device."""

    def download(self, array: Any) -> np.ndarray:
        """Return an array of the device on the host, when it is there."""

    def address(self, array: Any) -> int:
        """Return where an array begins."""

    def contiguous(self, array: Any) -> Any:
        """Return an array by rows, itself if it lies so."""

    def copy(self, target: Any, source: Any) -> None:
        """Copy an array into another of its shape; either may be the host's."""

    def prepare(self, groups: Sequence[Group]) -> Run:
        """Compile and load what steps need."""

    def scope(self, values: Sequence[Any]) -> Any:
        """Return a block whose work is on the stream of the caller's arrays."""

    def read_later(self, array: Any, before: Any) -> Any:
        """Start to read an array: `done` tells whether it is there, `wait` gives it.

        What was started `before`, None if nothing, is given up: it reads to the same
        place, which must not be freed while it is written to.
        """

    def synchronize(self) -> None:
        """Wait for all work; raises for what failed."""

    def release(self) -> None:
        """Give memory back that is kept for later."""


class SimulatedDevice:
    """NumPy arrays, kernels in numba's simulator, libraries in NumPy.

    For small tests: a kernel of a hundred threads takes milliseconds.
    """

    name = "simulator"
    simulated = True
    asynchronous = False
    capability = shim.CAPABILITY

    def __init__(self) -> None:
        shim.require()
        self.vendor = Vendor(host.blas, host.solver)
        self.kernels: dict[Code, Any] = {}

    def empty(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype)

    def adopt(self, value: Any) -> Any:
        return None

    def upload(self, array: np.ndarray) -> np.ndarray:
        return array

    def download(self, array: np.ndarray) -> np.ndarray:
        return array

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def contiguous(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array)

    def copy(self, target: np.ndarray, source: np.ndarray) -> None:
        target[...] = source

    def prepare(self, groups: Sequence[Group]) -> SimulatedRun:
        return SimulatedRun(self, groups)

    def load(self, code: Code) -> Any:
        """Return a kernel that the simulator runs."""
        if code not in self.kernels:
            self.kernels[code] = shim.jit(code.function())
        return self.kernels[code]

    def scope(self, values: Sequence[Any]) -> Any:
        from contextlib import nullcontext

        return nullcontext()

    def read_later(self, array: np.ndarray, before: Any) -> Any:
        return _There(array)

    def synchronize(self) -> None:
        pass

    def release(self) -> None:
        pass


class _There:
    """An array that need not be waited for."""

    done = True

    def __init__(self, array: np.ndarray):
        self.array = array

    def wait(self) -> np.ndarray:
        return self.array


class HostPointer:
    """Memory of the host, indexed from some element on, as a pointer is.

    Unlike one it does not reach beyond the array that it points into.
    """

    def __init__(self, array: np.ndarray, start: int):
        self.array = array
        self.start = start

    def _at(self, index: int) -> int:
        at = self.start + int(index)
        if not 0 <= at < self.array.size:
            raise IndexError(f"element {at} of {self.array.size}")
        return at

    def __getitem__(self, index: int) -> Any:
        return self.array[self._at(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        self.array[self._at(index)] = value


class SimulatedRun:
    """Steps that run one after another on NumPy arrays."""

    def __init__(self, device: SimulatedDevice, groups: Sequence[Group]):
        self.device = device
        self.groups = groups

    def __call__(self, bases: Sequence[np.ndarray]) -> None:
        with _simulating, shim.at_work():
            for group in self.groups:
                self._run(group, bases)

    def timed(self, bases: Sequence[np.ndarray], rounds: int) -> list[float]:
        from time import perf_counter

        out = []
        for group in self.groups:
            start = perf_counter()
            self._run(group, bases)
            out.append(perf_counter() - start)
        return out

    def capture(self, bases: Sequence[np.ndarray]) -> None:
        return None

    def _bytes(self, bases: Sequence[np.ndarray], p: Pointer, count: int) -> Any:
        return bases[p.base].reshape(-1).view(np.uint8)[p.offset : p.offset + count]

    def _run(self, group: Group, bases: Sequence[np.ndarray]) -> None:
        def address(p: Pointer) -> int:
            return bases[p.base].ctypes.data + p.offset

        def memory(p: Pointer, dtype: str) -> HostPointer:
            raw = bases[p.base].reshape(-1).view(np.uint8)
            size = np.dtype(dtype).itemsize
            before = p.offset % size
            whole = (raw.size - before) // size * size
            array = raw[before : before + whole].view(dtype)
            return HostPointer(array, p.offset // size)

        for step in group:
            if isinstance(step, Launch):
                arguments: list[Any] = []
                for kind, given in zip(step.code.signature, step.arguments):
                    if isinstance(given, Pointer):
                        if kind.endswith("*"):
                            arguments.append(memory(given, kind[:-1]))
                        else:
                            arguments.append(address(given))
                    else:
                        arguments.append(given)
                kernel = self.device.load(step.code)
                kernel[step.blocks, step.threads](*arguments)
            elif isinstance(step, Zero):
                self._bytes(bases, step.target, step.bytes)[:] = 0
            elif isinstance(step, Copy):
                source = self._bytes(bases, step.source, step.bytes)
                self._bytes(bases, step.target, step.bytes)[:] = source
            else:
                step.run(self.device.vendor, address)


def current() -> Device:
    """Return the device in use, or the simulator where that is on.

    Raises
    ------
    MissingPackageError
        If CuPy or a compiler of kernels is missing.
    ConfigError
        If there is no driver, or no device.
    """
    if shim.simulated():
        return _simulator()
    from graphc.backends.cuda import cupy_device

    return cupy_device.current()


@lru_cache
def _simulator() -> SimulatedDevice:
    return SimulatedDevice()
