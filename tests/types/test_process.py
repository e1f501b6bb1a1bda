"""Settings of the process that change while blocks run."""

from __future__ import annotations

import gc
import sys

import pytest

from graphc.types.process import SOON, WhileAny, collection_paused, turns_shortened


def test_a_change_is_made_once_and_undone_once():
    done = []
    changed = WhileAny(
        lambda: done.append("change"), lambda: lambda: done.append("undo")
    )
    with changed():
        with changed():
            assert done == ["change"]
        assert done == ["change"]
    assert done == ["change", "undo"]


def test_a_change_that_is_interrupted_is_undone():
    done = []

    def change():
        done.append("change")
        raise KeyboardInterrupt

    changed = WhileAny(change, lambda: lambda: done.append("undo"))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), changed():
            done.append("never")
    assert done == ["change", "undo"] * 2


def test_what_is_so_already_stays():
    was, interval = gc.isenabled(), sys.getswitchinterval()
    try:
        gc.disable()
        sys.setswitchinterval(SOON / 2)
        with collection_paused(), turns_shortened():
            assert sys.getswitchinterval() == pytest.approx(SOON / 2)
        assert not gc.isenabled()
        assert sys.getswitchinterval() == pytest.approx(SOON / 2)
        gc.enable()
        sys.setswitchinterval(0.005)
        with collection_paused(), turns_shortened():
            assert not gc.isenabled()
            assert sys.getswitchinterval() == pytest.approx(SOON)
        assert gc.isenabled() and sys.getswitchinterval() == pytest.approx(0.005)
    finally:
        (gc.enable if was else gc.disable)()
        sys.setswitchinterval(interval)
