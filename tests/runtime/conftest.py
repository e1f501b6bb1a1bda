"""Tests of the runtime keep their compiled kernels in a folder of their own."""

import pytest

from graphc.types.config import config


@pytest.fixture(scope="session", autouse=True)
def kernel_cache(tmp_path_factory):
    """One folder of compiled kernels for the whole run."""
    with config(cache_dir=str(tmp_path_factory.mktemp("kernels"))):
        yield
