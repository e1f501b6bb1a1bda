"""Cubins on disk, beside the CPU's kernels."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
from support.cuda import needs_compiler

from graphc.backends import disk_cache
from graphc.backends.cuda import cache, helpers, shim
from graphc.types.config import config


@pytest.fixture
def fresh(monkeypatch):
    """Forget what this process has compiled, as a new one has."""

    def forget():
        cache._memory.clear()
        cache.counts.update(dict.fromkeys(cache.counts, 0))

    forget()
    return forget


@needs_compiler
def test_a_second_process_compiles_nothing(tmp_path, fresh):
    code = helpers.poison("float32")
    with config(cache_dir=str(tmp_path)):
        first = cache.cubin(code)
        assert cache.cubin(code) is first
        assert cache.counts == {"memory": 1, "disk": 0, "compiled": 1}
        fresh()
        assert cache.cubin(code) == first
        assert cache.counts == {"memory": 0, "disk": 1, "compiled": 0}
        assert disk_cache.cache_size()[0] == 1
        assert disk_cache.clear_cache() == 1


@needs_compiler
def test_the_key_tells_all_that_code_depends_on(tmp_path, fresh, monkeypatch):
    code = helpers.poison("float32")
    others = [
        replace(code, max_threads=64),
        replace(code, text=code.text + "\n"),
        replace(code, signature=("float64*", "int32*", "int64", "int64")),
        helpers.poison("float64"),
    ]
    keys = {cache.key_of(c, (9, 0)) for c in (code, *others)}
    keys.add(cache.key_of(code, (8, 0)))
    monkeypatch.setattr(shim, "versions", lambda: {"numba-cuda": "99"})
    keys.add(cache.key_of(code, (9, 0)))
    assert len(keys) == len(others) + 3


@needs_compiler
def test_a_folder_that_cannot_be_written_costs_compilations_only(tmp_path, fresh):
    place = tmp_path / "file"
    place.write_text("no folder")
    disk_cache._warned.clear()
    with config(cache_dir=str(place)), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert cache.cubin(helpers.poison("float32")).image
    assert cache.counts["compiled"] == 1
    assert any("compiled kernels" in str(w.message) for w in seen)


@needs_compiler
def test_a_damaged_file_is_compiled_again(tmp_path, fresh):
    code = helpers.poison("float32")
    with config(cache_dir=str(tmp_path)):
        whole = cache.cubin(code)
        (path,) = tmp_path.glob("*/*.cubin")
        path.write_bytes(path.read_bytes()[:-1])
        fresh()
        disk_cache._warned.clear()
        with pytest.warns(RuntimeWarning, match="damaged"):
            assert cache.cubin(code).registers == whole.registers


@needs_compiler
def test_off_keeps_nothing(tmp_path, fresh):
    with config(cache_dir="off"):
        cache.cubin(helpers.poison("float32"))
        fresh()
        cache.cubin(helpers.poison("float32"))
    assert cache.counts["compiled"] == 1 and cache.counts["disk"] == 0


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_kernels_beside_a_graphs_compile(dtype, fresh):
    codes = [helpers.strided_copy(dtype, axes) for axes in (2, 3, 5)]
    codes += [helpers.addresses(axes) for axes in (1, 3)]
    codes += [helpers.mark(what, dtype, 2) for what in ("zero", "nan")]
    codes += [helpers.poison(dtype), helpers.triangle(dtype), helpers.pivots(dtype)]
    for code in codes:
        ptx = shim.compile_ptx(code.function(), code.signature, code.name)
        cubin = shim.link(ptx)
        assert cubin.spill_bytes == 0, code.name
        if dtype == "float32":
            assert ".f64" not in ptx.replace(".reg .f64", ""), code.name
