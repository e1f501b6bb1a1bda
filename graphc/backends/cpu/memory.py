"""Memory of calls: a workspace kept for each thread, and ranges that overlap.

Every thread has one workspace, which all its calls of compiled functions use in turn;
two threads never meet in one. It is as large as the largest that was asked for, is
made anew smaller when `PATIENCE` calls in a row needed less than a quarter of it, and
goes when the thread ends or with `release`. Workspaces below `SMALL` bytes stay.

The functions here are called by compiled entries, hence LLVM code. A thread's own
values are POSIX's (`pthread_getspecific`): the block, its size, and for how many calls
it was too large. The C library's `free` is the block's destructor.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np

from graphc.backends.cpu import jit
from graphc.backends.cpu.ahead import Job
from graphc.schedule.packing import ALIGNMENT

PATIENCE = 100
"""Calls in a row that need little before a large workspace is made smaller."""

SMALL = 1 << 20
"""Bytes of a workspace up to which it is never given back before its thread ends."""

# Words of the state that the functions are given.
BLOCK, ROOM, IDLE, ALLOCATE, FREE = range(5)

SOURCE = f"""
declare ptr @pthread_getspecific(i64)
declare i32 @pthread_setspecific(i64, ptr)

define ptr @graphc_workspace(ptr %state, i64 %need) nounwind {{
entry:
  %block_key = load i64, ptr %state
  %room_at = getelementptr i64, ptr %state, i64 {ROOM}
  %room_key = load i64, ptr %room_at
  %block = call ptr @pthread_getspecific(i64 %block_key)
  %room_word = call ptr @pthread_getspecific(i64 %room_key)
  %room = ptrtoint ptr %room_word to i64
  %fits = icmp ule i64 %need, %room
  %small = icmp ule i64 %room, {SMALL}
  %plain = and i1 %fits, %small
  br i1 %plain, label %have, label %look
have:
  ret ptr %block
look:
  %idle_at = getelementptr i64, ptr %state, i64 {IDLE}
  %idle_key = load i64, ptr %idle_at
  br i1 %fits, label %large, label %renew
large:
  %quarter = lshr i64 %room, 2
  %little = icmp ult i64 %need, %quarter
  %count_word = call ptr @pthread_getspecific(i64 %idle_key)
  %count = ptrtoint ptr %count_word to i64
  %more = add i64 %count, 1
  %next = select i1 %little, i64 %more, i64 0
  %next_word = inttoptr i64 %next to ptr
  %s0 = call i32 @pthread_setspecific(i64 %idle_key, ptr %next_word)
  %patient = icmp ult i64 %next, {PATIENCE}
  br i1 %patient, label %have, label %renew
renew:
  call void @graphc_workspace_release(ptr %state)
  %allocate_at = getelementptr i64, ptr %state, i64 {ALLOCATE}
  %allocate = load ptr, ptr %allocate_at
  %new = call ptr %allocate(i64 {ALIGNMENT}, i64 %need)
  %none = icmp eq ptr %new, null
  br i1 %none, label %fail, label %keep
keep:
  %need_word = inttoptr i64 %need to ptr
  %s1 = call i32 @pthread_setspecific(i64 %block_key, ptr %new)
  %s2 = call i32 @pthread_setspecific(i64 %room_key, ptr %need_word)
  %s = or i32 %s1, %s2
  %kept = icmp eq i32 %s, 0
  br i1 %kept, label %done, label %drop
done:
  ret ptr %new
drop:
  %s3 = call i32 @pthread_setspecific(i64 %block_key, ptr null)
  %s4 = call i32 @pthread_setspecific(i64 %room_key, ptr null)
  %free_at = getelementptr i64, ptr %state, i64 {FREE}
  %free = load ptr, ptr %free_at
  call void %free(ptr %new)
  br label %fail
fail:
  ret ptr null
}}

define void @graphc_workspace_release(ptr %state) nounwind {{
  %block_key = load i64, ptr %state
  %room_at = getelementptr i64, ptr %state, i64 {ROOM}
  %room_key = load i64, ptr %room_at
  %idle_at = getelementptr i64, ptr %state, i64 {IDLE}
  %idle_key = load i64, ptr %idle_at
  %free_at = getelementptr i64, ptr %state, i64 {FREE}
  %free = load ptr, ptr %free_at
  %block = call ptr @pthread_getspecific(i64 %block_key)
  %s1 = call i32 @pthread_setspecific(i64 %block_key, ptr null)
  %s2 = call i32 @pthread_setspecific(i64 %room_key, ptr null)
  %s3 = call i32 @pthread_setspecific(i64 %idle_key, ptr null)
  call void %free(ptr %block)
  ret void
}}

; Tell whether one of the ranges from number `first` on meets one before it. A range
; is two words, start and end.
define i1 @graphc_overlap(ptr %ranges, i64 %first, i64 %count) nounwind {{
entry:
  br label %outer
outer:
  %i = phi i64 [ %first, %entry ], [ %i1, %step ]
  %left = icmp slt i64 %i, %count
  br i1 %left, label %begin, label %apart
begin:
  %i2 = shl i64 %i, 1
  %start_at = getelementptr i64, ptr %ranges, i64 %i2
  %start = load i64, ptr %start_at
  %end_at = getelementptr i64, ptr %start_at, i64 1
  %end = load i64, ptr %end_at
  br label %inner
inner:
  %j = phi i64 [ 0, %begin ], [ %j1, %again ]
  %more = icmp slt i64 %j, %i
  br i1 %more, label %test, label %step
test:
  %j2 = shl i64 %j, 1
  %low_at = getelementptr i64, ptr %ranges, i64 %j2
  %low = load i64, ptr %low_at
  %high_at = getelementptr i64, ptr %low_at, i64 1
  %high = load i64, ptr %high_at
  %a = icmp ult i64 %start, %high
  %b = icmp ult i64 %low, %end
  %both = and i1 %a, %b
  br i1 %both, label %meet, label %again
again:
  %j1 = add i64 %j, 1
  br label %inner
step:
  %i1 = add i64 %i, 1
  br label %outer
meet:
  ret i1 true
apart:
  ret i1 false
}}
"""

_NAMES = ("graphc_workspace", "graphc_workspace_release", "graphc_overlap")
_lock = threading.Lock()
_support: _Support | None = None


class _Support:
    """The loaded functions and their state.

    Attributes
    ----------
    state : numpy.ndarray
        The words; tests put their own allocator into `ALLOCATE` and `FREE`.
    """

    def __init__(self) -> None:
        from graphc.backends.cpu.cache import machine_code

        addresses = jit.load(machine_code(SOURCE, "straight"), _NAMES)
        for name, address in zip(_NAMES, addresses):
            jit.add_symbol(name, address)
        pointer = ctypes.c_void_p
        self.drop = ctypes.CFUNCTYPE(None, pointer)(addresses[1])
        self.state = np.zeros(5, np.int64)
        libc = ctypes.CDLL(None)

        def address_of(function: Any) -> int:
            return ctypes.cast(function, pointer).value or 0

        self.state[ALLOCATE] = address_of(libc.aligned_alloc)
        self.state[FREE] = address_of(libc.free)
        free = pointer(address_of(libc.free))
        for number, destructor in ((BLOCK, free), (ROOM, None), (IDLE, None)):
            key = ctypes.c_ulong(0)
            code = libc.pthread_key_create(ctypes.byref(key), destructor)
            if code:
                raise OSError(code, "pthread_key_create")
            self.state[number] = key.value

    @property
    def address(self) -> int:
        return self.state.ctypes.data


def begin() -> list[Job]:
    """Have the functions compiled ahead, unless they are loaded; see `cache.begin`."""
    from graphc.backends.cpu.cache import begin

    return [] if _support is not None else begin(SOURCE, "straight")


def support() -> _Support:
    """Return the functions, loaded once in a process."""
    global _support
    if _support is None:
        with _lock:
            if _support is None:
                _support = _Support()
    return _support


def release() -> None:
    """Free the workspace of the calling thread."""
    if _support is not None:
        _support.drop(_support.address)
