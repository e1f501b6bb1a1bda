"""Programs run from the words that a device's launches are made of.

A driver on the host reads each argument through its address, as it is declared, and
runs the kernel in the simulator on bare addresses: what remains untested without a
device is the device.
"""

from __future__ import annotations

import ctypes
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from support.cuda_calls import assert_cuda_agrees, check_sample
from support.random_graphs import random_graph
from support.tensor_samples import SAMPLES

import graphc as cg
from graphc.backends.cuda import device, shim
from graphc.backends.cuda.cupy_device import CupyRun
from graphc.backends.cuda.launches import Launch

pytestmark = pytest.mark.usefixtures("simulator")


class Address:
    """Memory at an address, as a pointer of C."""

    def __init__(self, address, dtype):
        self.address, self.dtype = address, np.dtype(dtype)

    def _cell(self, index):
        at = self.address + int(index) * self.dtype.itemsize
        raw = (ctypes.c_char * self.dtype.itemsize).from_address(at)
        return np.frombuffer(raw, self.dtype)

    def __getitem__(self, index):
        return self._cell(index)[0]

    def __setitem__(self, index, value):
        self._cell(index)[0] = value


class Driver:
    """Launches kernels in the simulator."""

    def __init__(self, device):
        self.device = device
        self.codes = []

    def number(self, code):
        if code not in self.codes:
            self.codes.append(code)
        return self.codes.index(code)

    def launchKernel(self, f, gx, gy, gz, bx, by, bz, shared, stream, params, extra):
        assert (gy, gz, by, bz, shared, extra) == (1, 1, 1, 1, 0, 0)
        code = self.codes[f]
        arguments = []
        for i, kind in enumerate(code.signature):
            place = ctypes.c_int64.from_address(params + 8 * i).value
            if kind.endswith("*"):
                at = ctypes.c_int64.from_address(place).value
                arguments.append(Address(at, kind[:-1]))
            else:
                arguments.append(getattr(ctypes, f"c_{kind}").from_address(place).value)
        with shim.at_work():
            self.device.load(code)[gx, bx](*arguments)


class HostDevice(device.SimulatedDevice):
    """The simulator behind the launches of a real device."""

    def __init__(self):
        super().__init__()
        self.driver = Driver(self)
        self.lock, self.last = threading.RLock(), []
        stream = SimpleNamespace(ptr=0)
        runtime = SimpleNamespace(
            memsetAsync=lambda at, value, size, stream: ctypes.memset(at, value, size),
            memcpyAsync=lambda to, of, size, kind, stream: ctypes.memmove(to, of, size),
        )
        self.cupy = SimpleNamespace(
            cuda=SimpleNamespace(runtime=runtime, get_current_stream=lambda: stream)
        )

    def prepare(self, groups):
        codes = {s.code for g in groups for s in g if isinstance(s, Launch)}
        return CupyRun(self, groups, {c: self.driver.number(c) for c in codes})


@pytest.fixture(autouse=True)
def host_device(monkeypatch):
    made = HostDevice()
    monkeypatch.setattr(device, "current", lambda: made)
    return made


@pytest.mark.parametrize("number", range(6))
def test_tensor_ops(number):
    for sample in SAMPLES[number::6]:
        check_sample(sample)


@pytest.mark.parametrize("seed", range(20, 26))
def test_random_graph(seed):
    graph = random_graph(seed, gradients=seed % 2 == 1)
    assert_cuda_agrees(graph.inputs, graph.outputs, *graph.calls)


def test_a_step_with_donated_arrays(host_device):
    w, x = cg.matrix("w", ("m", "k")), cg.matrix("x", ("n", "m"))
    loss = cg.sum(cg.tanh(x @ w) ** 2)
    new = w - 0.1 * cg.grad(loss, w)
    f = cg.compile([w, x], [new, loss], backend="cuda", donate=w)
    g = cg.compile([w, x], [new, loss], backend="reference")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(8, 9)), rng.normal(size=(7, 8))
    for _ in range(3):
        wanted = g(a, b)
        got = f(a, b)
        assert got[0] is a
        for one, other in zip(got, wanted):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    assert host_device.driver.codes
