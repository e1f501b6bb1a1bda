"""Modules compiled ahead by threads are the modules that are asked for."""

from __future__ import annotations

import threading

import pytest

import graphc as cg
from graphc.backends.cpu import ahead, jit
from graphc.types.config import config


def module(number):
    return f"define i64 @f{number}() {{\n  ret i64 {number}\n}}"


def loop(number):
    return f"""
    define void @loop{number}(i64 %n, ptr noalias %x, ptr noalias %y) {{
    entry:
      br label %body
    body:
      %i = phi i64 [ 0, %entry ], [ %next, %body ]
      %at = getelementptr double, ptr %x, i64 %i
      %to = getelementptr double, ptr %y, i64 %i
      %v = load double, ptr %at
      %w = fmul double %v, {number}.0
      store double %w, ptr %to
      %next = add i64 %i, 1
      %more = icmp slt i64 %next, %n
      br i1 %more, label %body, label %end
    end:
      ret void
    }}"""


def taken(key, text, kind="loops"):
    with jit.guarded():
        return ahead.machine_code(key, text, kind)


def wait_for_threads():
    for thread in list(ahead._threads):
        thread.join(timeout=60)


def test_several_threads_give_the_code_that_one_gives():
    texts = [loop(n) for n in range(24)]
    alone = [jit.compile_module(t) for t in texts]
    with config(threads=4):
        for number, text in enumerate(texts):
            assert ahead.begin(f"k{number}", text, "loops") is not None
        found = [taken(f"k{n}", t) for n, t in enumerate(texts)]
    assert found == alone
    wait_for_threads()
    assert not ahead._jobs
    assert not ahead._threads


def test_each_module_is_compiled_once(monkeypatch):
    seen = []
    real = jit.compiled

    def counted(text, kind):
        seen.append(text)
        return real(text, kind)

    monkeypatch.setattr(jit, "compiled", counted)
    texts = [loop(100 + n) for n in range(12)]
    with config(threads=3):
        for number, text in enumerate(texts):
            ahead.begin(f"o{number}", text, "loops")
            ahead.begin(f"o{number}", text, "loops")
        for number, text in enumerate(texts):
            taken(f"o{number}", text)
    wait_for_threads()
    assert sorted(seen) == sorted(texts)


def test_with_one_thread_nothing_is_begun():
    with config(threads=1):
        assert ahead.begin("one", module(1), "once") is None
    assert taken("one", module(1), "once") == jit.compile_module(module(1), "once")


def test_an_error_is_met_by_who_asks():
    with config(threads=2):
        ahead.begin("bad", "define void @broken(", "once")
        wait_for_threads()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="parsing error"):
                taken("bad", "define void @broken(", "once")
    assert not ahead._jobs


def test_what_nobody_wants_is_forgotten(monkeypatch):
    gate, entered, seen = threading.Event(), threading.Event(), []
    real = jit.compiled

    def slow(text, kind):
        seen.append(text)
        entered.set()
        gate.wait(60)
        return real(text, kind)

    monkeypatch.setattr(jit, "compiled", slow)
    with config(threads=2):
        jobs = [ahead.begin(f"d{n}", module(n), "once") for n in range(3)]
        assert entered.wait(60)
        ahead.drop([j for j in jobs if j is not None])
        gate.set()
        wait_for_threads()
    assert seen == [module(0)]
    assert not ahead._jobs


def test_a_module_taken_before_an_interrupt_is_compiled_after_it(monkeypatch):
    real = jit.compiled

    def interrupted(text, kind):
        raise KeyboardInterrupt

    monkeypatch.setattr(jit, "compiled", interrupted)
    with pytest.raises(KeyboardInterrupt):
        taken("again", module(7), "once")
    monkeypatch.setattr(jit, "compiled", real)
    assert taken("again", module(7), "once") == jit.compile_module(module(7), "once")


def test_a_program_leaves_no_modules_behind(monkeypatch):
    from graphc.backends.cpu import executable, memory

    # nothing asks for the entry's support where there is no entry
    monkeypatch.setattr(executable, "native_entry", lambda *_: None)
    monkeypatch.setattr(memory, "_support", None)
    with config(threads=2):
        x = cg.vector("x", 3)
        cg.compile([x], cg.exp(x) * 1.0625)
        wait_for_threads()
    assert not ahead._jobs
