"""The simulator for tests that run kernels without a device."""

import pytest

from graphc.backends.cuda import shim


@pytest.fixture
def simulator(monkeypatch):
    """Let functions compiled for CUDA in a test run in numba's simulator."""
    shim.available()  # what is imported with the simulator on has no compiler
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    if not shim.available():
        pytest.skip("no package with a simulator of CUDA: pip install 'graphc[cuda]'")
