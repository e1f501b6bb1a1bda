"""What the threads of the pool ask of the operating system, as LLVM code.

Two questions: how much of a span of time the system gave to others, which says how long
a worker may spin, and which core a thread is on, which it may have to leave.
"""

from __future__ import annotations

import sys

SPIN = 20_000
"""Pauses an idle worker makes before it sleeps: some tenths of a millisecond."""

SHORT = 100
"""Pauses it makes where it has lately lost its core: a few microseconds."""

LOST = 1_000_000
"""Nanoseconds off its core within a span from which a worker takes note."""

CROWDED = 100_000_000
"""Nanoseconds it then keeps to the short wait: some slices of the system's."""

_MASK_BYTES = 128
"""A mask of 1,024 cores; where there are more, the system declines to fill it."""


def source(moves: str) -> str:
    """Return the code, given what names the counter of moves ``%moves``."""
    darwin = sys.platform == "darwin"
    return "\n".join(
        [
            _DECLARATIONS,
            _clocks(monotonic=6 if darwin else 1, thread=16 if darwin else 3),
            _cores_of_linux(moves) if sys.platform == "linux" else _CORES_UNKNOWN,
        ]
    )


_DECLARATIONS = """
declare i32 @clock_gettime(i32, ptr)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
"""


def _clocks(monotonic: int, thread: int) -> str:
    """Return what tells a worker how long it may spin.

    A worker's span is three words: the time it began, the thread's processor time
    then, and the time until which the machine counts as crowded.
    """
    return f"""
define internal i64 @now(i32 %clock) nounwind {{
  %time = alloca [2 x i64]
  %r = call i32 @clock_gettime(i32 %clock, ptr %time)
  %seconds = load i64, ptr %time
  %whole = mul i64 %seconds, 1000000000
  %rest_ = getelementptr i64, ptr %time, i64 1
  %rest = load i64, ptr %rest_
  %sum = add i64 %whole, %rest
  ret i64 %sum
}}

; Begin a span: nothing from before it counts.
define void @graphc_pool_begin(ptr %span) nounwind {{
  %time = call i64 @now(i32 {monotonic})
  %used = call i64 @now(i32 {thread})
  %used_ = getelementptr i64, ptr %span, i64 1
  store i64 %time, ptr %span
  store i64 %used, ptr %used_
  ret void
}}

; Return how many pauses to spin in all. Asking for the thread's time is a system call,
; which only a span long enough to have lost that much is worth.
define i64 @graphc_pool_pauses(ptr %span) nounwind {{
entry:
  %time = call i64 @now(i32 {monotonic})
  %used_ = getelementptr i64, ptr %span, i64 1
  %until_ = getelementptr i64, ptr %span, i64 2
  %began = load i64, ptr %span
  %length = sub i64 %time, %began
  %long = icmp sge i64 %length, {LOST}
  br i1 %long, label %ask, label %tell
ask:
  %used = call i64 @now(i32 {thread})
  %before = load i64, ptr %used_
  %own = sub i64 %used, %before
  %lost = sub i64 %length, %own
  store i64 %time, ptr %span
  store i64 %used, ptr %used_
  %much = icmp sge i64 %lost, {LOST}
  br i1 %much, label %note, label %tell
note:
  %later = add i64 %time, {CROWDED}
  store i64 %later, ptr %until_
  br label %tell
tell:
  %until = load i64, ptr %until_
  %crowded = icmp slt i64 %time, %until
  %pauses = select i1 %crowded, i64 {SHORT}, i64 {SPIN}
  ret i64 %pauses
}}
"""


def _cores_of_linux(moves: str) -> str:
    return f"""
declare i32 @sched_getcpu()
declare i32 @sched_getaffinity(i32, i64, ptr)
declare i32 @sched_setaffinity(i32, i64, ptr)

define internal i64 @core() nounwind {{
  %number = call i32 @sched_getcpu()
  %wide = sext i32 %number to i64
  ret i64 %wide
}}

; Have the calling thread go on on another core, if it may use another. Taking a core
; out of its mask moves a thread off it at once. The mask is put back: a core that is
; the caller's now may not be so in a moment.
define void @graphc_pool_leave(i64 %core) nounwind {{
entry:
{moves}
  %mask = alloca [{_MASK_BYTES} x i8], align 8
  %others = alloca [{_MASK_BYTES} x i8], align 8
  call void @llvm.memset.p0.i64(ptr %mask, i8 0, i64 {_MASK_BYTES}, i1 false)
  %got = call i32 @sched_getaffinity(i32 0, i64 {_MASK_BYTES}, ptr %mask)
  %known = icmp eq i32 %got, 0
  br i1 %known, label %narrow, label %stay
narrow:
  call void @llvm.memcpy.p0.p0.i64(ptr %others, ptr %mask, i64 {_MASK_BYTES}, i1 false)
  %index = lshr i64 %core, 6
  %place = getelementptr i64, ptr %others, i64 %index
  %position = and i64 %core, 63
  %bit = shl i64 1, %position
  %rest = xor i64 %bit, -1
  %old = load i64, ptr %place
  %new = and i64 %old, %rest
  store i64 %new, ptr %place
  %set = call i32 @sched_setaffinity(i32 0, i64 {_MASK_BYTES}, ptr %others)
  %moved = icmp eq i32 %set, 0
  br i1 %moved, label %widen, label %stay
widen:
  %back = call i32 @sched_setaffinity(i32 0, i64 {_MASK_BYTES}, ptr %mask)
  %count = atomicrmw add ptr %moves, i64 1 monotonic
  br label %stay
stay:
  ret void
}}
"""


_CORES_UNKNOWN = """
define internal i64 @core() nounwind {
  ret i64 -1
}
define void @graphc_pool_leave(i64 %core) nounwind {
  ret void
}
"""
