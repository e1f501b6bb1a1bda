"""The cache of compiled kernels on disk, and what may be wrong with it."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
from support.processes import run_script

import graphc as cg
from graphc.backends import disk_cache
from graphc.backends.cpu import cache, jit, program_cache
from graphc.types.config import config

SCRIPT = """
    import json, sys, warnings
    import numpy as np
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        import graphc as cg
        x = cg.tensor("x", ("n", "m"))
        i = cg.vector("i", "k", dtype="int64")
        y = cg.nn.softmax(x, axis=-1)
        loss = (y @ y.T).sum()
        f = cg.compile([x, i], [y[i], loss, cg.grad(loss, x)])
        a = np.arange(12.0).reshape(3, 4) / 7
        results = f(a, np.array([2, 0]))
    from graphc.backends.cpu import cache
    print(json.dumps({
        "counts": cache.counts,
        "results": [r.tobytes().hex() for r in results],
        "warnings": [(w.category.__name__, str(w.message)) for w in seen],
        "numba": "numba" in sys.modules,
    }))
"""


def start(folder, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        env={**os.environ, "GRAPHC_CACHE_DIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, error = process.communicate(timeout=100)
    assert process.returncode == 0, error
    return json.loads(out)


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A folder that two processes filled at once, and what they computed."""
    folder = tmp_path_factory.mktemp("warm")
    both = [start(folder), start(folder)]
    first, second = (finish(p) for p in both)
    assert first["results"] == second["results"]
    for answer in (first, second):
        assert answer["warnings"] == []
        assert answer["counts"]["compiled"] + answer["counts"]["disk"] > 3
    assert not list(folder.glob("**/*.tmp"))
    return folder, first["results"]


def test_a_second_process_compiles_nothing(warm):
    folder, results = warm
    answer = finish(start(folder))
    assert answer["counts"]["compiled"] == 0
    assert answer["counts"]["disk"] > 3
    assert answer["results"] == results
    assert answer["warnings"] == []
    assert not answer["numba"]


def test_nothing_is_kept_when_the_cache_is_off(tmp_path, warm):
    answer = finish(start("off", HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path)))
    assert answer["counts"]["disk"] == 0
    assert answer["results"] == warm[1]
    assert answer["warnings"] == []
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module", autouse=True)
def compiled_before():
    """What every function needs is compiled before modules are counted."""
    x = cg.vector("x", "n")
    cg.compile([x], cg.sin(x))


_number = iter(range(1000, 2000))


def compiled_now():
    """Compile a kernel never compiled before; return the warnings and the counts."""
    x = cg.vector("x", "n")
    scale = next(_number) + os.getpid() * 1e-9
    before = dict(cache.counts)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        f = cg.compile([x], cg.sqrt(x) * scale)  # it needs no other module
    np.testing.assert_allclose(f(np.ones(3)), np.full(3, scale))
    new = {k: cache.counts[k] - before[k] for k in before}
    return (
        [w for w in seen if w.category is RuntimeWarning],
        new,
        lambda: cg.compile([x], cg.sqrt(x) * scale),
    )


def forget():
    """Drop what this process holds, so that it asks the disk again."""
    cache._memory.clear()


def recompiled(build):
    """Read again what was just compiled, as a new process would."""
    from graphc.backends.cpu import executable

    loaded = dict(jit.LOADED)
    jit.LOADED.clear()
    executable._codes.clear()
    forget()
    before = dict(cache.counts)
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            build_error = None
            try:
                _read_all(build)
            except Exception as error:
                build_error = error
    finally:
        jit.LOADED.update(loaded)
    assert build_error is None, build_error
    new = {k: cache.counts[k] - before[k] for k in before}
    return [w for w in seen if w.category is RuntimeWarning], new


def _read_all(build):
    """Ask the cache for the modules of a function, without loading them twice."""
    asked = []
    real = cache.machine_code
    from graphc.backends.cpu import library

    def recorded(text, kind="loops"):
        asked.append(text)
        return real(text, kind)

    saved = library.machine_code
    library.machine_code = recorded
    loaded_before, key_before = jit._load, program_cache.key_of
    jit._load = lambda code, names: [1] * len(names)
    program_cache.key_of = lambda *args: None  # modules are asked for one by one
    add = jit.add_symbol
    jit.add_symbol = lambda name, address: None
    try:
        build()
    finally:
        library.machine_code = saved
        jit._load, program_cache.key_of = loaded_before, key_before
        jit.add_symbol = add
    assert asked


@pytest.mark.parametrize("damage", ["truncated", "empty", "changed", "grown"])
def test_a_damaged_file_costs_a_compilation_and_a_warning(tmp_path, damage):
    with config(cache_dir=str(tmp_path)):
        warned, new, build = compiled_now()
        assert not warned
        files = list(tmp_path.glob("*/*.o"))
        assert len(files) == new["compiled"] > 0
        for file in files:
            content = bytearray(file.read_bytes())
            if damage == "truncated":
                content = content[: len(content) // 2]
            elif damage == "empty":
                content = bytearray()
            elif damage == "changed":
                content[len(content) // 2] ^= 1
            else:
                content += b"more"
            file.write_bytes(content)
        warned, new = recompiled(build)
        assert new["compiled"] == len(files) and new["disk"] == 0
        assert len(warned) == 1 and "damaged" in str(warned[0].message)
        # the files were written again
        warned, new = recompiled(build)
        assert new["compiled"] == 0 and new["disk"] == len(files)
        assert not warned


def test_a_folder_that_is_a_file(tmp_path):
    file = tmp_path / "cache"
    file.write_text("not a folder")
    with config(cache_dir=str(file)):
        warned, new, _ = compiled_now()
        assert new["compiled"] > 0
        assert len(warned) == 1
        assert str(file) in str(warned[0].message)
        assert "GRAPHC_CACHE_DIR" in str(warned[0].message)
        warned, _, _ = compiled_now()
        assert not warned


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere"
)
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with config(cache_dir=str(tmp_path)):
            warned, new, _ = compiled_now()
            assert new["compiled"] > 0
            assert len(warned) == 1
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / "x").write_text("")
    with config(cache_dir=str(tmp_path / "x" / "y")):
        warned, new, _ = compiled_now()
        assert len(warned) == 1 and new["compiled"] > 0


def test_a_file_of_the_kernels_name_is_a_folder(tmp_path):
    with config(cache_dir=str(tmp_path)):
        _, _, build = compiled_now()
        for file in tmp_path.glob("*/*.o"):
            file.unlink()
            file.mkdir()
        warned, new = recompiled(build)
        assert new["compiled"] > 0 and len(warned) == 1


def test_a_folder_with_spaces_is_made(tmp_path):
    folder = tmp_path / "a b" / "c"
    with config(cache_dir=str(folder)):
        warned, new, _ = compiled_now()
        assert not warned
        count, size = disk_cache.cache_size()
        assert count == new["compiled"] + 1 and size > 0  # and the program
        assert disk_cache.clear_cache() == count
        assert disk_cache.cache_size() == (0, 0)


def test_machine_code_is_that_of_numbas_code_generator():
    """The target machine and the passes are numba's, down to the last byte.

    Sine, cosine and tangent are inlined once more, after vectorization.
    """
    x = cg.vector("x", "n", dtype="float32")
    f = cg.compile([x], [cg.tanh(x) * cg.exp(-x), (x * x).sum()])
    texts = list(f._executable.kernel_texts().values())
    script = """
        import pickle, sys
        import llvmlite.binding as llvm
        from numba.core.codegen import JITCPUCodegen
        generator = JITCPUCodegen("compared")
        target = generator._tm
        out = []
        for text in pickle.load(sys.stdin.buffer):
            module = llvm.parse_assembly(text)
            module.triple = target.triple
            module.data_layout = str(target.target_data)
            manager, builder = generator._module_pass_manager(opt=2)
            manager.run(module, builder)
            out.append(target.emit_object(module))
        pickle.dump(out, sys.stdout.buffer)
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    numbas = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        input=pickle.dumps(texts),
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        timeout=100,
    )
    assert pickle.loads(numbas.stdout) == [jit.compile_module(t) for t in texts]


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of processes")
def test_a_disk_that_is_full(tmp_path):
    # a process whose files may have 100 bytes cannot write a kernel to the end
    script = """
        import resource, warnings
        import numpy as np
        import graphc as cg
        x = cg.vector("x", "n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            f = cg.compile([x], cg.sin(x))
        assert np.allclose(f(np.ones(3)), np.sin(1.0))
        (message,) = [str(w.message) for w in seen if w.category is RuntimeWarning]
        assert "cannot keep compiled kernels" in message, message
    """
    run_script(script, tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_what_a_killed_process_left_is_deleted_with_the_cache(tmp_path):
    with config(cache_dir=str(tmp_path)):
        _, new, _ = compiled_now()
        left = next(tmp_path.glob("*/*.o")).with_name("half.tmp")
        left.write_bytes(b"half a kernel")
        files = new["compiled"] + 1  # and the program
        assert disk_cache.cache_size()[0] == disk_cache.clear_cache() == files
        assert not left.exists()
