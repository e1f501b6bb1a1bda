"""The LLVM code of the thread pool: one generic launcher for all kernels.

A launch publishes a kernel, its arguments and one word holding an epoch and the next
chunk; caller and workers claim chunks by compare-and-swap until none is left, so a
busy machine only means that the caller does more of them itself. While a launch is
being published the word is of no epoch: a worker late from the one before could else
claim a chunk in the middle of it. Chunks are cut by size alone: which thread runs one
changes nothing in the result.

How many threads may take part goes with the launch: a number, or 0 for the process's
default. Workers are threads of the operating system that run compiled code only, never
Python; a launch that wants more of them than there are starts them, so the child of a
`fork`, which has none, works in parallel from its first launch on. While one Python
thread has the pool, launches of another run all their chunks by themselves: their
results are the same.

**Beside other busy processes** three things keep a launch from waiting for the system.

- *Idle workers* spin for a fraction of a millisecond and then sleep. Where the system
  has lately taken its core from a worker (a span of time minus the thread's processor
  time is what it lost), the worker sleeps as soon as there is nothing to do: a thread
  that spins uses up the share of a core it then lacks for work, and loses the core in
  the middle of a chunk; one that has slept is let on at once when it is woken, while
  its share lasts.
- *A worker on the caller's core* leaves it before it claims a chunk. Such a worker
  only takes the time from the caller that it uses itself, while the other core is all
  the other process's; and to the system two threads on one core and one on the other
  look as balanced as they can be.
- *A caller* whose last chunks are with a worker that has lost its core sleeps, and
  leaves its own core to that worker. The system looks for threads to run on a core
  whenever it falls idle, but passes over those that ran a moment ago: so the caller
  sleeps in short stretches.
"""

from __future__ import annotations

import platform
import sys

from graphc.backends.cpu import pool_system
from graphc.backends.cpu.pool_system import SHORT, SPIN

# Words of the shared state, in units of 8 bytes; what different threads write lies
# on different cache lines.
CLAIM, DONE, KERNEL, ARGUMENTS, ROWS, WIDTH, CHUNKS = 0, 8, 16, 17, 18, 19, 20
HELPERS, HOME, EPOCH, ASLEEP, BUSY, DEFAULT, STARTED = 21, 22, 24, 32, 40, 48, 49
NUMBERED, MOVES, PARKS, CORES, WAITING = 50, 51, 52, 53, 56
MUTEX, CONDITION, FINISHED = 64, 80, 96
WORDS = 112

PATIENCE = 1_000
"""Pauses a caller makes for the last chunks of others before it sleeps."""

STRETCH = 200_000
"""Nanoseconds it sleeps at a time."""

PLACES = 20
END = 1 << PLACES
"""Chunks from which on all threads claim from the first one on: of fewer, the word has
places for how many were claimed at either end."""

ROUNDS = 1 << 23
"""Epochs a word of claims tells apart; one of no epoch is larger than all."""

MAX_THREADS = 64
"""As many workers and callers as a launch can use: one bit of a word for each."""


def _word(name: str, number: int) -> str:
    return f"  %{name} = getelementptr i64, ptr @state, i64 {number}\n"


_WORDS = "".join(
    _word(name, number)
    for name, number in {
        "claim": CLAIM,
        "done": DONE,
        "kernel_": KERNEL,
        "arguments_": ARGUMENTS,
        "rows_": ROWS,
        "width_": WIDTH,
        "chunks_": CHUNKS,
        "helpers_": HELPERS,
        "home": HOME,
        "epoch_": EPOCH,
        "asleep": ASLEEP,
        "busy": BUSY,
        "default": DEFAULT,
        "started_": STARTED,
        "numbered": NUMBERED,
        "moves": MOVES,
        "parks": PARKS,
        "cores_": CORES,
        "waiting": WAITING,
        "mutex": MUTEX,
        "condition": CONDITION,
        "finished": FINISHED,
    }.items()
)


def _pause() -> tuple[str, str]:
    """Return the declaration and the call that tell the CPU of a spinning loop."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64", "i686"):
        return "declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"
    if machine in ("aarch64", "arm64"):
        yields = "void @llvm.aarch64.hint(i32{})"
        return f"declare {yields.format('')}", f"call {yields.format(' 1')}"
    return "", "fence acquire"


def source() -> str:
    """Return the LLVM code of the launcher and the workers' loop."""
    declaration, pause = _pause()
    darwin = sys.platform == "darwin"
    return "\n".join(
        [
            f"@state = internal global [{WORDS} x i64] zeroinitializer, align 64",
            declaration,
            _DECLARATIONS,
            pool_system.source(_word("moves", MOVES)),
            _work(),
            _worker(pause),
            _start(block=1 if darwin else 0, restore=3 if darwin else 2),
            _reset(),
            _launch(pause),
        ]
    )


_DECLARATIONS = """
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_timedwait(ptr, ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @sigfillset(ptr)
declare i32 @sched_yield()
declare i64 @llvm.smin.i64(i64, i64)
"""


def _work() -> str:
    return f"""
; Wake all that wait for a condition whose cause has been stored before. The mutex is
; free again when they wake: they need it, and would sleep once more for it.
define internal void @broadcast(ptr %condition) nounwind {{
  %mutex = getelementptr i64, ptr @state, i64 {MUTEX}
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  %b = call i32 @pthread_cond_broadcast(ptr %condition)
  ret void
}}

; Claim chunks of an epoch and run them until none is left: a caller from the first one
; on, its workers from the last one on.
define internal void @work(i64 %epoch, i1 %worker) nounwind {{
entry:
{_WORDS}
  %kernel = load atomic ptr, ptr %kernel_ acquire, align 8
  %arguments = load atomic ptr, ptr %arguments_ acquire, align 8
  %rows = load atomic i64, ptr %rows_ acquire, align 8
  %width = load atomic i64, ptr %width_ acquire, align 8
  %chunks = load atomic i64, ptr %chunks_ acquire, align 8
  %round = and i64 %epoch, {ROUNDS - 1}
  %few = icmp slt i64 %chunks, {END}
  %behind = and i1 %few, %worker
  %one = select i1 %behind, i64 {END}, i64 1
  %last_chunk = sub i64 %chunks, 1
  %mask = select i1 %few, i64 {END - 1}, i64 {END * END - 1}
  br label %next
next:
  %token = load atomic i64, ptr %claim acquire, align 8
  %of = lshr i64 %token, {2 * PLACES}
  %mine = icmp eq i64 %of, %round
  br i1 %mine, label %count, label %leave
count:
  %front = and i64 %token, %mask
  %both = and i64 %token, {END * END - 1}
  %back = lshr i64 %both, {PLACES}
  %others = select i1 %few, i64 %back, i64 0
  %taken = add i64 %front, %others
  %left = icmp slt i64 %taken, %chunks
  br i1 %left, label %try, label %leave
try:
  %from_end = sub i64 %last_chunk, %others
  %chunk = select i1 %behind, i64 %from_end, i64 %front
  %after = add i64 %token, %one
  %pair = cmpxchg ptr %claim, i64 %token, i64 %after acq_rel monotonic
  %won = extractvalue {{i64, i1}} %pair, 1
  br i1 %won, label %run, label %next
run:
  call void @chunk(ptr %kernel, i64 %chunk, i64 %rows, i64 %width, ptr %arguments)
  %before = atomicrmw add ptr %done, i64 1 seq_cst
  %sum = add i64 %before, 1
  %last = icmp eq i64 %sum, %chunks
  br i1 %last, label %tell, label %next
tell:
  %sleeps = load atomic i64, ptr %waiting seq_cst, align 8
  %wake = icmp ne i64 %sleeps, 0
  br i1 %wake, label %signal, label %leave
signal:
  call void @broadcast(ptr %finished)
  br label %leave
leave:
  ret void
}}

define internal void @chunk(ptr %kernel, i64 %chunk, i64 %rows, i64 %width, ptr %arguments) nounwind {{
  %start = mul i64 %chunk, %width
  %low = call i64 @llvm.smin.i64(i64 %start, i64 %rows)
  %end = add i64 %low, %width
  %high = call i64 @llvm.smin.i64(i64 %end, i64 %rows)
  call void %kernel(i64 %low, i64 %high, i64 %chunk, ptr %arguments)
  ret void
}}
"""


def _worker(pause: str) -> str:
    return f"""
; A worker: wait for a new epoch, take part if wanted. A worker that is not wanted
; goes on towards its sleep, and sleeps until a launch wants it. Where a launch has more
; threads than there are cores, they take each other's: then they offer theirs instead.
define internal ptr @worker(ptr %unused) nounwind {{
entry:
{_WORDS}
  %span = alloca [3 x i64]
  call void @llvm.memset.p0.i64(ptr %span, i8 0, i64 24, i1 false)
  call void @graphc_pool_begin(ptr %span)
  %index = atomicrmw add ptr %numbered, i64 1 seq_cst
  %bit = shl i64 1, %index
  %others = xor i64 %bit, -1
  br label %spin
spin:
  %seen = phi i64 [ -1, %entry ], [ %seen, %again ], [ %seen, %offer ], [ %now, %labour ], [ %now, %skip ]
  %tries = phi i64 [ 0, %entry ], [ %more, %again ], [ %more, %offer ], [ 0, %labour ], [ %tries, %skip ]
  %most = phi i64 [ {SHORT}, %entry ], [ %now_most, %again ], [ %now_most, %offer ], [ {SHORT}, %labour ], [ %most, %skip ]
  %look = load atomic i64, ptr %epoch_ acquire, align 8
  %same = icmp eq i64 %look, %seen
  br i1 %same, label %idle, label %join
idle:
  %patient = icmp slt i64 %tries, %most
  br i1 %patient, label %again, label %tired
tired:
  %granted = call i64 @graphc_pool_pauses(ptr %span)
  %team = load atomic i64, ptr %helpers_ acquire, align 8
  %cores = load atomic i64, ptr %cores_ acquire, align 8
  %many = icmp sge i64 %team, %cores
  %pauses = select i1 %many, i64 {SPIN + 1}, i64 %granted
  %longer = icmp slt i64 %tries, %pauses
  br i1 %longer, label %again, label %park
again:
  %now_most = phi i64 [ %most, %idle ], [ %pauses, %tired ]
  {pause}
  %more = add i64 %tries, 1
  %yields = icmp eq i64 %now_most, {SPIN + 1}
  %some = and i64 %more, 31
  %turn = icmp eq i64 %some, 0
  %offers = and i1 %yields, %turn
  br i1 %offers, label %offer, label %spin
offer:
  %y = call i32 @sched_yield()
  br label %spin
park:
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  %s1 = atomicrmw or ptr %asleep, i64 %bit seq_cst
  %p = atomicrmw add ptr %parks, i64 1 monotonic
  br label %check
check:
  %known = phi i64 [ %seen, %park ], [ %look2, %sleep ]
  %look2 = load atomic i64, ptr %epoch_ seq_cst, align 8
  %same2 = icmp eq i64 %look2, %known
  br i1 %same2, label %sleep, label %changed
changed:
  %wants = load atomic i64, ptr %helpers_ acquire, align 8
  %needed = icmp slt i64 %index, %wants
  br i1 %needed, label %woken, label %sleep
sleep:
  %w = call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %check
woken:
  %s2 = atomicrmw and ptr %asleep, i64 %others seq_cst
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  call void @graphc_pool_begin(ptr %span)
  br label %join
join:
  %now = load atomic i64, ptr %epoch_ acquire, align 8
  %limit = load atomic i64, ptr %helpers_ acquire, align 8
  %wanted = icmp slt i64 %index, %limit
  br i1 %wanted, label %meet, label %skip
meet:
  %here = call i64 @core()
  %theirs = load atomic i64, ptr %home acquire, align 8
  %meets = icmp eq i64 %here, %theirs
  %there = icmp sge i64 %here, 0
  %crosses = and i1 %meets, %there
  br i1 %crosses, label %yield, label %labour
yield:
  call void @graphc_pool_leave(i64 %here)
  br label %labour
labour:
  call void @work(i64 %now, i1 true)
  br label %spin
skip:
  br label %spin
}}
"""


def _start(block: int, restore: int) -> str:
    return f"""
; Start workers until there are that many, and return how many there are. Signals
; are left to Python's threads.
define internal i64 @start(i64 %count) nounwind {{
entry:
{_WORDS}
  %thread = alloca ptr
  %all = alloca [16 x i64]
  %old = alloca [16 x i64]
  %f = call i32 @sigfillset(ptr %all)
  %m = call i32 @pthread_sigmask(i32 {block}, ptr %all, ptr %old)
  br label %next
next:
  %have = load i64, ptr %started_
  %short = icmp slt i64 %have, %count
  br i1 %short, label %make, label %done_
make:
  %code = call i32 @pthread_create(ptr %thread, ptr null, ptr @worker, ptr null)
  %good = icmp eq i32 %code, 0
  br i1 %good, label %made, label %done_
made:
  %id = load ptr, ptr %thread
  %d = call i32 @pthread_detach(ptr %id)
  %one = add i64 %have, 1
  store i64 %one, ptr %started_
  br label %next
done_:
  %r = call i32 @pthread_sigmask(i32 {restore}, ptr %old, ptr null)
  ret i64 %have
}}
"""


def _reset() -> str:
    return f"""
; Make the state that of a process without workers; the numbers set from outside stay.
define ptr @graphc_pool_reset() nounwind {{
entry:
{_WORDS}
  %keep = load i64, ptr %default
  %some = load i64, ptr %cores_
  call void @llvm.memset.p0.i64(ptr @state, i8 0, i64 {8 * WORDS}, i1 false)
  store i64 %keep, ptr %default
  store i64 %some, ptr %cores_
  %a = call i32 @pthread_mutex_init(ptr %mutex, ptr null)
  %b = call i32 @pthread_cond_init(ptr %condition, ptr null)
  %c = call i32 @pthread_cond_init(ptr %finished, ptr null)
  ret ptr @state
}}

define i64 @graphc_threads(i64 %threads) nounwind {{
entry:
{_WORDS}
  %usual = load atomic i64, ptr %default acquire, align 8
  %given = icmp sgt i64 %threads, 0
  %wanted = select i1 %given, i64 %threads, i64 %usual
  %possible = call i64 @llvm.smin.i64(i64 %wanted, i64 {MAX_THREADS})
  ret i64 %possible
}}
"""


def _launch(pause: str) -> str:
    return f"""
define void @graphc_launch(i64 %threads, ptr %kernel, i64 %rows, i64 %chunks, ptr %arguments) nounwind {{
entry:
{_WORDS}
  %several = icmp sgt i64 %chunks, 1
  br i1 %several, label %split, label %single
single:
  call void %kernel(i64 0, i64 %rows, i64 0, ptr %arguments)
  ret void
split:
  %up = add i64 %rows, %chunks
  %up1 = sub i64 %up, 1
  %exact = sdiv i64 %up1, %chunks
  %wide = icmp sgt i64 %exact, 64
  %padded = add i64 %exact, 15
  %even = and i64 %padded, -16
  %width = select i1 %wide, i64 %even, i64 %exact
  %most = call i64 @graphc_threads(i64 %threads)
  %possible = call i64 @llvm.smin.i64(i64 %most, i64 %chunks)
  %parallel = icmp sgt i64 %possible, 1
  br i1 %parallel, label %acquire, label %alone
acquire:
  %pair = cmpxchg ptr %busy, i64 0, i64 1 acq_rel monotonic
  %free = extractvalue {{i64, i1}} %pair, 1
  br i1 %free, label %staff, label %alone
staff:
  %limit = sub i64 %possible, 1
  %have = load i64, ptr %started_
  %enough = icmp sge i64 %have, %limit
  br i1 %enough, label %publish, label %hire
hire:
  %hired = call i64 @start(i64 %limit)
  br label %publish
publish:
  %here = call i64 @core()
  store atomic i64 -1, ptr %claim release, align 8
  store atomic ptr %kernel, ptr %kernel_ release, align 8
  store atomic ptr %arguments, ptr %arguments_ release, align 8
  store atomic i64 %rows, ptr %rows_ release, align 8
  store atomic i64 %width, ptr %width_ release, align 8
  store atomic i64 %chunks, ptr %chunks_ release, align 8
  store atomic i64 %limit, ptr %helpers_ release, align 8
  store atomic i64 %here, ptr %home release, align 8
  store atomic i64 0, ptr %done release, align 8
  %last = load atomic i64, ptr %epoch_ acquire, align 8
  %raw = add i64 %last, 1
  %epoch = and i64 %raw, 2147483647
  %round = and i64 %epoch, {ROUNDS - 1}
  %token = shl i64 %round, {2 * PLACES}
  store atomic i64 %token, ptr %claim release, align 8
  store atomic i64 %epoch, ptr %epoch_ seq_cst, align 8
  %parked = load atomic i64, ptr %asleep seq_cst, align 8
  %bits = shl i64 1, %limit
  %mask = sub i64 %bits, 1
  %missed = and i64 %parked, %mask
  %any = icmp ne i64 %missed, 0
  br i1 %any, label %wake, label %go
wake:
  call void @broadcast(ptr %condition)
  br label %go
go:
  call void @work(i64 %epoch, i1 false)
  br label %finish
finish:
  %tries = phi i64 [ 0, %go ], [ %more, %hold ]
  %ready = load atomic i64, ptr %done acquire, align 8
  %all = icmp sge i64 %ready, %chunks
  br i1 %all, label %release, label %late
late:
  %patient = icmp slt i64 %tries, {PATIENCE}
  br i1 %patient, label %hold, label %nap
hold:
  {pause}
  %more = add i64 %tries, 1
  br label %finish
nap:
  call void @nap(i64 %chunks)
  br label %release
release:
  store atomic i64 0, ptr %busy release, align 8
  ret void
alone:
  br label %serial
serial:
  %c = phi i64 [ 0, %alone ], [ %c1, %serial ]
  call void @chunk(ptr %kernel, i64 %c, i64 %rows, i64 %width, ptr %arguments)
  %c1 = add i64 %c, 1
  %rest = icmp slt i64 %c1, %chunks
  br i1 %rest, label %serial, label %over
over:
  ret void
}}

; Sleep, a stretch at a time, until that many chunks are done.
define internal void @nap(i64 %chunks) nounwind {{
entry:
{_WORDS}
  %time = alloca [2 x i64]
  %part = getelementptr i64, ptr %time, i64 1
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  store atomic i64 1, ptr %waiting seq_cst, align 8
  br label %check
check:
  %ready = load atomic i64, ptr %done seq_cst, align 8
  %all = icmp sge i64 %ready, %chunks
  br i1 %all, label %awake, label %sleep
sleep:
  %g = call i32 @clock_gettime(i32 0, ptr %time)
  %seconds = load i64, ptr %time
  %ns = load i64, ptr %part
  %sum = add i64 %ns, {STRETCH}
  %over = icmp sge i64 %sum, 1000000000
  %less = sub i64 %sum, 1000000000
  %rest = select i1 %over, i64 %less, i64 %sum
  %carry = zext i1 %over to i64
  %whole = add i64 %seconds, %carry
  store i64 %whole, ptr %time
  store i64 %rest, ptr %part
  %w = call i32 @pthread_cond_timedwait(ptr %finished, ptr %mutex, ptr %time)
  br label %check
awake:
  store atomic i64 0, ptr %waiting seq_cst, align 8
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  ret void
}}
"""
