"""What is told a device: arguments of launches, streams, arrays of other packages.

CuPy is replaced by objects that note what they are asked for, on the host's memory.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from graphc.backends.cuda import cupy_device, host
from graphc.backends.cuda.cupy_device import CupyDevice, CupyRun
from graphc.backends.cuda.device import HostPointer
from graphc.backends.cuda.launches import Code, Copy, Launch, Pointer, Zero
from graphc.backends.cuda.vendor import Gemm, Vendor
from graphc.types.config import config
from graphc.types.errors import ConfigError, InputError, InternalError


class Array:
    """An array on a device that does not exist."""

    def __init__(self, array, device=0):
        self.array = array
        self.device = SimpleNamespace(id=device)
        self.data = SimpleNamespace(ptr=array.ctypes.data)


class Stream:
    def __init__(self, ptr, log):
        self.ptr, self.log = ptr, log

    @staticmethod
    def is_capturing():
        return False

    def synchronize(self):
        self.log.append(("synchronize", self.ptr))

    def begin_capture(self):
        self.log.append("begin")

    def end_capture(self):
        self.log.append("end")
        return "graph"

    def __enter__(self):
        self.log.append(("enter", self.ptr))
        return self

    def __exit__(self, *error):
        self.log.append("exit")


class Streams:
    """CuPy's class of streams."""

    def __init__(self, log):
        self.log = log

    def __call__(self, non_blocking):
        return Stream(88, self.log)

    def from_external(self, stream):
        return Stream(stream.__cuda_stream__()[1], self.log)


class Driver:
    """Reads the arguments of a launch as the driver does: through their addresses."""

    def __init__(self, log):
        self.log = log
        self.kinds = []
        self.fails = False

    def launchKernel(self, f, gx, gy, gz, bx, by, bz, shared, stream, params, extra):
        if self.fails:
            raise RuntimeError("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES")
        values = []
        for i, kind in enumerate(self.kinds):
            place = ctypes.c_int64.from_address(params + 8 * i).value
            values.append(kind.from_address(place).value)
        self.log.append(("launch", f, (gx, gy, gz), (bx, by, bz), stream, values))


@pytest.fixture
def device():
    log = []
    runtime = SimpleNamespace(
        memsetAsync=lambda *a: log.append(("memset", *a)),
        memcpyAsync=lambda *a: log.append(("memcpy", *a)),
    )
    cuda = SimpleNamespace(
        runtime=runtime,
        get_current_stream=lambda: Stream(77, log),
        Stream=Streams(log),
        ExternalStream=lambda ptr, number: Stream(ptr, log),
        Device=lambda number: Stream(f"device {number}", log),
    )
    made = object.__new__(CupyDevice)
    made.cupy = SimpleNamespace(
        cuda=cuda,
        ndarray=Array,
        from_dlpack=lambda x: log.append("dlpack") or x.inner,
        asarray=lambda x: log.append("interface") or x.inner,
    )
    made.number, made.name = 0, "CUDA device 0 (none)"
    made.lock = threading.RLock()
    made.driver = Driver(log)
    made.last = []
    made.vendor = Vendor(host.blas, host.solver)
    made.log = log
    return made


CODE = Code("k", "", ("float32*", "int32", "int64*", "int64"), dict)


def test_words_are_the_arguments_of_a_launch(device):
    arrays = [Array(np.zeros(100, np.float32)), Array(np.zeros(9, np.int64))]
    steps = [
        Launch(CODE, 5, 128, (Pointer(0, 40), -3, Pointer(1), 2**40), "first"),
        Launch(CODE, 6, 64, (Pointer(0, 0), 7, Pointer(1, 8), Pointer(0, 4)), "next"),
    ]
    device.driver.kinds = [ctypes.c_int64, ctypes.c_int32, ctypes.c_int64] * 2
    device.driver.kinds = [*device.driver.kinds[:3], ctypes.c_int64]
    run = CupyRun(device, [steps[:1], steps[1:]], {CODE: 1234})
    run(arrays)
    a, b = (x.data.ptr for x in arrays)
    assert device.log == [
        ("launch", 1234, (5, 1, 1), (128, 1, 1), 77, [a + 40, -3, b, 2**40]),
        ("launch", 1234, (6, 1, 1), (64, 1, 1), 77, [a, 7, b + 8, a + 4]),
    ]
    # other arrays, the same steps
    device.log.clear()
    run([arrays[1], arrays[0]])
    assert device.log[0][-1] == [b + 40, -3, a, 2**40]
    assert device.last == ["first", "next"]


def test_copies_zeros_and_libraries_are_on_the_stream(device):
    x, y = np.arange(4.0), np.empty(4)
    streams = []
    blas = SimpleNamespace(
        **{**vars(host.blas), "setStream": lambda h, s: streams.append(s)}
    )
    device.vendor = Vendor(blas, host.solver)
    a = Pointer(0), 2, 0
    gemm = Gemm("float64", (0, 0), 2, 2, 2, a, a, (Pointer(1), 2, 0), 0, 1)
    run = CupyRun(
        device, [[Zero(Pointer(0, 8), 16), Copy(Pointer(1), Pointer(0), 8), gemm]], {}
    )
    run([Array(x), Array(y)])
    at = x.ctypes.data, y.ctypes.data
    assert device.log == [
        ("memset", at[0] + 8, 0, 16, 77),
        ("memcpy", at[1], at[0], 8, 3, 77),
    ]
    assert streams == [77]
    matrix = x.reshape(2, 2).T
    np.testing.assert_array_equal(y.reshape(2, 2).T, matrix @ matrix)


def test_a_launch_that_fails_names_its_kernel(device):
    device.driver.fails = True
    run = CupyRun(device, [[Launch(CODE, 1, 32, (), "exp add")]], {CODE: 1})
    with pytest.raises(InternalError, match=r"kernel k \(exp add\) failed.*RESOURCES"):
        run([])


def test_what_fails_later_names_what_was_under_way(device):
    def fail():
        raise RuntimeError("an illegal memory access")

    CupyRun(device, [[Launch(CODE, 1, 32, (), "exp add")]], {CODE: 1})([])
    device.cupy.cuda.runtime.deviceSynchronize = fail
    with pytest.raises(InternalError, match=r"illegal memory.*exp add.*GRAPHC_CHECK"):
        device.synchronize()


def test_each_step_is_waited_for_when_checking(device):
    run = CupyRun(device, [[Launch(CODE, 1, 32, (), "a")] * 2], {CODE: 1})
    with config(check=True):
        run([])
    assert [e[0] for e in device.log] == ["launch", "synchronize"] * 2


def test_a_capture_is_on_a_stream_of_its_own(device):
    run = CupyRun(device, [[Zero(Pointer(0), 8)]], {})
    assert run.capture([Array(np.zeros(1))]) == "graph"
    assert device.log[0] == ("enter", 88) and "begin" in device.log
    assert device.log.index("begin") < device.log.index("end")


def test_a_capture_that_fails_is_given_up(device):
    device.driver.fails = True
    run = CupyRun(device, [[Launch(CODE, 1, 32, (), "a")]], {CODE: 1})
    assert run.capture([]) is None
    assert device.log[-2:] == ["end", "exit"]


# ------------------------------------------------------------- arrays of others


class Foreign:
    """An array of another package."""

    def __init__(self, kind=2, device=0, interface=True, dlpack=True):
        self.inner = Array(np.zeros(3), device)
        if dlpack:
            self.__dlpack_device__ = lambda: (kind, device)
        if interface:
            self.__cuda_array_interface__ = {}


def test_arrays_on_the_device_are_taken_as_they_are(device):
    own = Array(np.zeros(3))
    assert device.adopt(own) is own
    foreign = Foreign()
    assert device.adopt(foreign) is foreign.inner
    other = Foreign(dlpack=False)
    assert device.adopt(other) is other.inner
    assert device.log == ["dlpack", "interface"]


def test_what_is_on_the_host_is_left_to_it(device):
    for value in (np.zeros(3), 2.0, [1, 2], np.float32(1), Foreign(1, interface=False)):
        assert device.adopt(value) is None


def test_arrays_on_another_device_are_refused(device):
    for value in (Array(np.zeros(3), 1), Foreign(2, 1)):
        with pytest.raises(InputError, match=r"CUDA device 1 was given.*device 0"):
            device.adopt(value)


def test_what_another_package_refuses_is_told(device):
    def refuse(x):
        raise RuntimeError("Can't export tensors that require gradient")

    device.cupy.from_dlpack = refuse
    with pytest.raises(InputError, match=r"Foreign.*require gradient.*detach"):
        device.adopt(Foreign())


@pytest.mark.parametrize(
    "stream",
    [
        SimpleNamespace(cuda_stream=55),
        SimpleNamespace(cuda_stream=0, __cuda_stream__=lambda: (0, 55)),
    ],
)
def test_the_streams_of_pytorchs_tensors_are_used(device, monkeypatch, stream):
    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(current_stream=lambda where: stream)
    monkeypatch.setitem(sys.modules, "torch", torch)
    tensor = type("Tensor", (), {"__module__": "torch", "is_cuda": True, "device": 0})()
    with device.scope([np.zeros(3), tensor]):
        pass
    assert [e for e in device.log if e != "exit"] == [
        ("enter", "device 0"),
        ("enter", 55),
    ]
    device.log.clear()
    with device.scope([np.zeros(3)]):
        pass
    assert ("enter", 55) not in device.log


# ----------------------------------------------------------------- no device


@contextmanager
def packages(monkeypatch, count):
    """Pretend that CuPy finds so many devices, or fails so."""

    def devices():
        if isinstance(count, Exception):
            raise count
        return count

    runtime = SimpleNamespace(
        getDeviceCount=devices, runtimeGetVersion=lambda: 13000, getDevice=lambda: 0
    )
    cupy = ModuleType("cupy")
    cupy.__version__, cupy.cuda = "14.2.0", SimpleNamespace(runtime=runtime)
    monkeypatch.setattr(cupy_device.shim, "require", lambda: None)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    yield


def test_no_driver(monkeypatch):
    error = RuntimeError("cudaErrorInsufficientDriver")
    with packages(monkeypatch, error), pytest.raises(ConfigError) as told:
        cupy_device.current()
    for part in ("no usable driver", "InsufficientDriver", "CUDA 13.0", "doctor"):
        assert part in str(told.value)


def test_no_device(monkeypatch):
    with (
        packages(monkeypatch, 0),
        pytest.raises(ConfigError, match=r"no device.*VISIBLE"),
    ):
        cupy_device.current()


def test_no_cupy(monkeypatch):
    monkeypatch.setattr(cupy_device.shim, "require", lambda: None)
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r"needs CuPy.*pip install 'graphc\[cuda\]'"):
        cupy_device.current()


def test_pointers_of_the_simulator_reach_no_further_than_their_array():
    p = HostPointer(np.arange(5.0), 2)
    assert p[-2] == 0.0 and p[2] == 4.0
    for index in (-3, 3):
        with pytest.raises(IndexError):
            p[index]
    p[1] = 9.0
    assert p.array[3] == 9.0


def test_cupy_has_what_is_asked_of_it():
    """Names and parameters of CuPy's that no test without a device runs."""
    cupy = pytest.importorskip("cupy")
    from cupy_backends.cuda.api import driver

    cuda = cupy.cuda
    assert "kernel_params" in driver.launchKernel.__doc__
    for name in ("memsetAsync", "memcpyAsync", "deviceSynchronize", "getDeviceCount"):
        assert hasattr(cuda.runtime, name)
    for name in ("begin_capture", "end_capture", "is_capturing", "synchronize"):
        assert callable(getattr(cuda.Stream, name))
    assert "stream=None" in cuda.graph.Graph.launch.__doc__
    assert "disable_timing" in cuda.Event.__init__.__doc__
    memory = cuda.MemoryPointer
    assert "(self, mem, size_t size, stream=None)" in memory.copy_to_host_async.__doc__
    assert "size_t size" in memory.copy_from_device_async.__doc__
    assert "bytes cubin" in cuda.function.Module.load.__doc__
    assert hasattr(cuda.function.Function, "ptr")
    assert hasattr(cuda.Stream, "from_external") or hasattr(cuda, "ExternalStream")
    for error in (cuda.runtime.CUDARuntimeError, driver.CUDADriverError):
        assert issubclass(error, RuntimeError)
    assert issubclass(cuda.memory.OutOfMemoryError, MemoryError)


def test_reading_later_keeps_its_place_on_the_host(device):
    """A copy under way must not end in memory that someone else has by then."""
    made = []

    def pinned(size):
        made.append(bytearray(size))
        return made[-1]

    class Event:
        done = False

        def __init__(self, disable_timing):
            pass

        def record(self, stream):
            device.log.append("record")

        def synchronize(self):
            device.log.append("wait")

    device.cupy.cuda.alloc_pinned_memory = pinned
    device.cupy.cuda.Event = Event
    cell = SimpleNamespace(
        nbytes=8,
        size=1,
        dtype=np.dtype(np.int64),
        data=SimpleNamespace(
            copy_to_host_async=lambda place, size, stream: ctypes.memmove(
                place, np.array([5]).ctypes.data, size
            )
        ),
    )
    first = device.read_later(cell, None)
    second = device.read_later(cell, first)
    assert len(made) == 1 and second.array is first.array
    assert not second.done and second.wait()[0] == 5
    assert device.log == ["record", "record", "wait"]
