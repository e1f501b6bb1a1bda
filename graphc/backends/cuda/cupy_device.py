"""An NVIDIA device by CuPy: its memory pool, streams, driver calls and libraries.

Kernels are launched through the driver with their arguments in an array of words that
is filled once for a set of sizes; a call adds the addresses of its arrays, all at once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from graphc.backends.cuda import cache, shim
from graphc.backends.cuda.launches import Code, Copy, Launch, Pointer, Step, Zero
from graphc.backends.cuda.vendor import Vendor
from graphc.types.config import options
from graphc.types.errors import (
    ConfigError,
    InputError,
    InternalError,
    MissingPackageError,
)

_DLPACK_CUDA = (2, 13)  # memory of a device, and managed memory
_DEVICE_TO_DEVICE = 3


def current() -> CupyDevice:
    """Return CuPy's current device.

    Raises
    ------
    MissingPackageError
        If CuPy or a compiler of kernels is missing.
    ConfigError
        If there is no driver, or no device.
    """
    shim.require()
    try:
        cupy = import_module("cupy")
    except ImportError as error:
        raise MissingPackageError(
            "the CUDA backend needs CuPy for memory, streams and libraries "
            f"({error}). Run: {shim.INSTALL}"
        ) from None
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except Exception as error:
        raise ConfigError(
            f"the CUDA backend finds no usable driver: {error}. CuPy "
            f"{cupy.__version__} is built for CUDA {_version(cupy)}; graphc doctor "
            'tells more. Without a device, compile with backend="cpu".'
        ) from None
    if not count:
        raise ConfigError(
            "the CUDA backend finds a driver but no device. See CUDA_VISIBLE_DEVICES, "
            'or compile with backend="cpu".'
        )
    return device(runtime.getDevice())


def _version(cupy: Any) -> str:
    number = cupy.cuda.runtime.runtimeGetVersion()
    return f"{number // 1000}.{number % 1000 // 10}"


@lru_cache
def device(number: int) -> CupyDevice:
    """Return a device by its number."""
    return CupyDevice(import_module("cupy"), number)


class CupyDevice:
    """A device of this machine.

    Parameters
    ----------
    cupy : module
    number : int
    """

    simulated = False
    asynchronous = True

    def __init__(self, cupy: Any, number: int):
        self.cupy = cupy
        self.number = number
        properties = cupy.cuda.runtime.getDeviceProperties(number)
        self.name = f"CUDA device {number} ({properties['name'].decode()})"
        self.capability = (properties["major"], properties["minor"])
        self.lock = threading.RLock()
        self.driver = import_module("cupy_backends.cuda.api.driver")
        self.functions: dict[Code, Any] = {}
        self.last: list[str] = []
        libraries = import_module("cupy_backends.cuda.libs")
        try:  # asking for a module finds and loads its library first
            blas, solver = libraries.cublas, libraries.cusolver
        except ImportError as error:
            raise MissingPackageError(
                f"the CUDA backend needs cuBLAS and cuSOLVER: {error} Install a CUDA "
                "toolkit, or pip install 'cupy-cuda13x[ctk]'."
            ) from None
        self.vendor = Vendor(blas, solver)

    # ---------------------------------------------------------------- arrays

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        return self.cupy.empty(shape, dtype)

    def adopt(self, value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic, int, float, list, tuple)):
            return None
        array = value
        if not isinstance(value, self.cupy.ndarray):
            array = self._imported(value)
        if array is not None and array.device.id != self.number:
            raise InputError(
                f"an array on CUDA device {array.device.id} was given, but the "
                f"function was compiled for {self.name}. Copy the array there, or "
                "compile with its device current."
            )
        return array

    def _imported(self, value: Any) -> Any:
        """Return another package's array, None if it is not on a device."""
        where = getattr(value, "__dlpack_device__", None)
        try:
            if where is not None:
                kind = int(where()[0])
                return self.cupy.from_dlpack(value) if kind in _DLPACK_CUDA else None
            if hasattr(value, "__cuda_array_interface__"):
                return self.cupy.asarray(value)
        except Exception as error:
            raise InputError(
                f"an array of {type(value).__module__}.{type(value).__name__} on a "
                f"device cannot be shared: {error}. Of a tensor that records "
                "gradients give its .detach()."
            ) from None
        return None

    def upload(self, array: np.ndarray) -> Any:
        return self.cupy.asarray(array)

    def download(self, array: Any) -> np.ndarray:
        with self._named():
            return array.get()

    def address(self, array: Any) -> int:
        return array.data.ptr

    def contiguous(self, array: Any) -> Any:
        return self.cupy.ascontiguousarray(array)

    def copy(self, target: Any, source: Any) -> None:
        if isinstance(target, np.ndarray):
            target[...] = self.download(source)
        elif isinstance(source, np.ndarray):
            target.set(source)
        elif target.flags.c_contiguous and source.flags.c_contiguous:
            target.data.copy_from_device_async(source.data, source.nbytes)
        else:
            target[...] = source

    def read_later(self, array: Any, before: Later | None) -> Later:
        return Later(self, array, None if before is None else before.array)

    # --------------------------------------------------------------- streams

    @contextmanager
    def scope(self, values: Sequence[Any]) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(self.cupy.cuda.Device(self.number))
            stream = self._stream_of(values)
            if stream is not None:
                stack.enter_context(stream)
            yield

    def _stream_of(self, values: Sequence[Any]) -> Any:
        """Return PyTorch's current stream if a value is its; CuPy's is current."""
        for value in values:
            if type(value).__module__.partition(".")[0] != "torch":
                continue
            if getattr(value, "is_cuda", False):
                stream = sys.modules["torch"].cuda.current_stream(value.device)
                cuda = self.cupy.cuda
                if hasattr(stream, "__cuda_stream__"):  # from PyTorch 2.7 on
                    return cuda.Stream.from_external(stream)
                return cuda.ExternalStream(stream.cuda_stream, self.number)
        return None

    def synchronize(self) -> None:
        with self._named():
            self.cupy.cuda.runtime.deviceSynchronize()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Tell which kernels were under way when one is found to have failed."""
        try:
            yield
        except MemoryError:
            raise
        except RuntimeError as error:
            names = ", ".join(dict.fromkeys(self.last)) or "none"
            raise InternalError(
                f"a kernel failed on {self.name}: {error}. Under way were: {names}. "
                "With GRAPHC_CHECK=1 each is waited for, and the one is named."
            ) from error

    def release(self) -> None:
        self.cupy.get_default_memory_pool().free_all_blocks()

    # --------------------------------------------------------------- kernels

    def prepare(self, groups: Sequence[Sequence[Step]]) -> CupyRun:
        codes = {s.code: None for g in groups for s in g if isinstance(s, Launch)}
        functions = {code: self.load(code).ptr for code in codes}
        return CupyRun(self, groups, functions)

    def load(self, code: Code) -> Any:
        """Return a kernel on the device, compiled unless the cache has it."""
        with self.lock:
            found = self.functions.get(code)
            if found is None:
                module = self.cupy.cuda.function.Module()
                module.load(cache.cubin(code, self.capability).image)
                found = self.functions[code] = module.get_function(code.name)
            return found


class Later:
    """An array on its way to the host."""

    def __init__(self, device: CupyDevice, array: Any, place: np.ndarray | None):
        if place is None:
            pinned = device.cupy.cuda.alloc_pinned_memory(array.nbytes)
            place = np.frombuffer(pinned, array.dtype, array.size)
        self.array = place
        stream = device.cupy.cuda.get_current_stream()
        array.data.copy_to_host_async(self.array.ctypes.data, array.nbytes, stream)
        self.event = device.cupy.cuda.Event(disable_timing=True)
        self.event.record(stream)
        self.device = device

    @property
    def done(self) -> bool:
        """Whether it is there."""
        return self.event.done

    def wait(self) -> np.ndarray:
        """Return it, when it is there."""
        with self.device._named():
            self.event.synchronize()
        return self.array


class CupyRun:
    """Steps with their kernels loaded and their arguments laid out.

    Parameters
    ----------
    device : CupyDevice
    groups : sequence of sequence of Step
    functions : dict of Code to int
        The driver's handles of the kernels.
    """

    def __init__(
        self, device: Any, groups: Sequence[Sequence[Step]], functions: dict[Code, int]
    ):
        self.device = device
        self.groups = groups
        words: list[int] = []
        pointers: list[tuple[int, int, int]] = []
        self.firsts: dict[int, int] = {}
        for step in (s for group in groups for s in group):
            if not isinstance(step, Launch):
                continue
            self.firsts[id(step)] = len(words)
            for given in step.arguments:
                if isinstance(given, Pointer):
                    pointers.append((len(words), given.base, given.offset))
                    words.append(0)
                else:
                    words.append(given)
        # numbers of 32 bits are the first half of their word
        self.words = np.array(words or [0], np.int64)
        start = self.words.ctypes.data
        self.addresses = start + 8 * np.arange(len(self.words), dtype=np.int64)
        table = np.array(pointers, np.int64).reshape(-1, 3)
        self.places, self.bases, self.offsets = (table[:, i].copy() for i in range(3))
        self.functions = functions
        self.names = [s.label for g in groups for s in g]

    def __call__(self, bases: Sequence[Any]) -> None:
        with self.device.lock:
            at = self._fill(bases)
            stream = self.device.cupy.cuda.get_current_stream()
            self.device.last = self.names
            for group in self.groups:
                self._group(group, at, stream)

    def timed(self, bases: Sequence[Any], rounds: int) -> list[float]:
        cuda = self.device.cupy.cuda
        least = [float("inf")] * len(self.groups)
        with self.device.lock:
            at = self._fill(bases)
            stream = cuda.get_current_stream()
            for _ in range(rounds + 1):  # the first is to warm up
                events = [cuda.Event() for _ in range(len(self.groups) + 1)]
                events[0].record(stream)
                for group, event in zip(self.groups, events[1:]):
                    self._group(group, at, stream)
                    event.record(stream)
                events[-1].synchronize()
                for i in range(len(self.groups)):
                    took = cuda.get_elapsed_time(events[i], events[i + 1]) / 1e3
                    least[i] = min(least[i], took)
        return least

    def capture(self, bases: Sequence[Any]) -> Any:
        stream = self.device.cupy.cuda.Stream(non_blocking=True)
        with self.device.lock, stream:
            stream.begin_capture()
            try:
                self(bases)
            except Exception:
                self._give_up(stream)
                return None
            try:
                return stream.end_capture()
            except Exception:
                return None

    def _give_up(self, stream: Any) -> None:
        try:
            stream.end_capture()
        except Exception:
            pass  # what was captured is invalid, which is known

    def _fill(self, bases: Sequence[Any]) -> list[int]:
        """Enter the addresses of a call's arrays; return those of its bases."""
        at = [self.device.address(b) for b in bases]
        numbers = np.array(at, np.int64)
        self.words[self.places] = numbers[self.bases] + self.offsets
        return at

    def _group(self, group: Sequence[Step], at: Sequence[int], stream: Any) -> None:
        device = self.device

        def address(p: Pointer) -> int:
            return at[p.base] + p.offset

        for step in group:
            try:
                if isinstance(step, Launch):
                    device.driver.launchKernel(
                        *(self.functions[step.code], step.blocks, 1, 1),
                        *(step.threads, 1, 1, 0, stream.ptr),
                        *(
                            int(self.addresses.ctypes.data) + 8 * self.firsts[id(step)],
                            0,
                        ),
                    )
                elif isinstance(step, Zero):
                    runtime = device.cupy.cuda.runtime
                    where = address(step.target)
                    runtime.memsetAsync(where, 0, step.bytes, stream.ptr)
                elif isinstance(step, Copy):
                    runtime = device.cupy.cuda.runtime
                    places = address(step.target), address(step.source), step.bytes
                    runtime.memcpyAsync(*places, _DEVICE_TO_DEVICE, stream.ptr)
                else:
                    device.vendor.use(stream.ptr, step.library)
                    step.run(device.vendor, address)
                if options().check and not stream.is_capturing():
                    stream.synchronize()
            except MemoryError:
                raise
            except RuntimeError as error:
                raise InternalError(
                    f"{_name(step)} failed on {device.name}: {error}"
                ) from error


def _name(step: Step) -> str:
    if isinstance(step, Launch):
        return f"kernel {step.code.name} ({step.label})"
    return step.label
