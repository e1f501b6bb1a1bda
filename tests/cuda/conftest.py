"""Tests that need a CUDA device: `make test-cuda`. Without one they are skipped."""

import pytest

from graphc.backends.cuda import device
from graphc.types.config import config
from graphc.types.errors import GraphcError


@pytest.fixture(scope="session", autouse=True)
def kernel_cache(tmp_path_factory):
    """One folder of compiled kernels for the whole run."""
    with config(cache_dir=str(tmp_path_factory.mktemp("kernels"))):
        yield


@pytest.fixture(scope="session")
def found_device():
    """The device, or why there is none."""
    try:
        return device.current()
    except GraphcError as error:
        return str(error)


@pytest.fixture(autouse=True)
def on_device(found_device):
    """The device; the test is skipped if there is none."""
    if isinstance(found_device, str):
        pytest.skip(found_device)
    return found_device
