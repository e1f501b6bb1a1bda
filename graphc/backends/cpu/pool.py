"""The thread pool: one generic launcher for all kernels.

Workers are daemon threads of Python that sit in compiled code without the GIL. A
launch publishes a kernel, its arguments and one word holding an epoch and the next
chunk; caller and workers claim chunks by compare-and-swap until none is left, so a
busy machine only means that the caller does more of them itself. While a launch is
being published the word is of no epoch: a worker late from the one before could else
claim a chunk in the middle of it. Chunks are cut by
size alone: which thread runs one changes nothing in the result. Idle workers spin
for a fraction of a millisecond and then wait on a condition variable.

If the pool is in use by another Python thread, or after `fork` until the child has
workers of its own, the caller runs all chunks by itself.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading

import numpy as np

from graphc.backends.cpu import jit
from graphc.types.config import on_change, options

# Words of the shared state, in units of 8 bytes; what different threads write lies
# on different cache lines.
CLAIM, DONE, KERNEL, ARGUMENTS, ROWS, WIDTH, CHUNKS = 0, 8, 16, 17, 18, 19, 20
EPOCH, SLEEPERS, BUSY, STOP, WORKERS, MUTEX, CONDITION = 24, 32, 40, 48, 56, 64, 80
WORDS = 112
SPIN = 20_000


def _word(name: str, number: int) -> str:
    return f"  %{name} = getelementptr i64, ptr %state, i64 {number}\n"


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
        "epoch_": EPOCH,
        "sleepers": SLEEPERS,
        "busy": BUSY,
        "stop": STOP,
        "workers": WORKERS,
        "mutex": MUTEX,
        "condition": CONDITION,
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
    return f"""
{declaration}
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)

define internal void @work(ptr %state, i64 %epoch) nounwind {{
entry:
{_WORDS}
  %kernel = load atomic ptr, ptr %kernel_ acquire, align 8
  %arguments = load atomic ptr, ptr %arguments_ acquire, align 8
  %rows = load atomic i64, ptr %rows_ acquire, align 8
  %width = load atomic i64, ptr %width_ acquire, align 8
  %chunks = load atomic i64, ptr %chunks_ acquire, align 8
  br label %next
next:
  %token = load atomic i64, ptr %claim acquire, align 8
  %of = lshr i64 %token, 32
  %mine = icmp eq i64 %of, %epoch
  br i1 %mine, label %count, label %leave
count:
  %chunk = and i64 %token, 4294967295
  %left = icmp slt i64 %chunk, %chunks
  br i1 %left, label %try, label %leave
try:
  %after = add i64 %token, 1
  %pair = cmpxchg ptr %claim, i64 %token, i64 %after acq_rel monotonic
  %won = extractvalue {{i64, i1}} %pair, 1
  br i1 %won, label %run, label %next
run:
  call void @chunk(ptr %kernel, i64 %chunk, i64 %rows, i64 %width, ptr %arguments)
  %ignored = atomicrmw add ptr %done, i64 1 acq_rel
  br label %next
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
declare i64 @llvm.smin.i64(i64, i64)

define void @graphc_worker(ptr %state, i64 %index) nounwind {{
entry:
{_WORDS}
  %first = load atomic i64, ptr %epoch_ acquire, align 8
  br label %wait
wait:
  %seen = phi i64 [ %first, %entry ], [ %now, %skip ]
  br label %spin
spin:
  %tries = phi i64 [ 0, %wait ], [ %more, %again ]
  %look = load atomic i64, ptr %epoch_ acquire, align 8
  %same = icmp eq i64 %look, %seen
  br i1 %same, label %idle, label %join
idle:
  %patient = icmp slt i64 %tries, {SPIN}
  br i1 %patient, label %again, label %park
again:
  {pause}
  %more = add i64 %tries, 1
  br label %spin
park:
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  %s1 = atomicrmw add ptr %sleepers, i64 1 seq_cst
  br label %check
check:
  %look2 = load atomic i64, ptr %epoch_ seq_cst, align 8
  %same2 = icmp eq i64 %look2, %seen
  br i1 %same2, label %sleep, label %woken
sleep:
  %w = call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %check
woken:
  %s2 = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %join
join:
  %now = load atomic i64, ptr %epoch_ acquire, align 8
  %halt = load atomic i64, ptr %stop acquire, align 8
  %go = icmp eq i64 %halt, 0
  br i1 %go, label %help, label %end
help:
  %limit = load atomic i64, ptr %workers acquire, align 8
  %wanted = icmp slt i64 %index, %limit
  br i1 %wanted, label %labour, label %skip
labour:
  call void @work(ptr %state, i64 %now)
  br label %skip
skip:
  br label %wait
end:
  ret void
}}

define void @graphc_launch(ptr %state, ptr %kernel, i64 %rows, i64 %chunks, ptr %arguments) nounwind {{
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
  %limit = load atomic i64, ptr %workers acquire, align 8
  %helpers = icmp sgt i64 %limit, 0
  br i1 %helpers, label %acquire, label %alone
acquire:
  %pair = cmpxchg ptr %busy, i64 0, i64 1 acq_rel monotonic
  %free = extractvalue {{i64, i1}} %pair, 1
  br i1 %free, label %publish, label %alone
publish:
  store atomic i64 -1, ptr %claim release, align 8
  store atomic ptr %kernel, ptr %kernel_ release, align 8
  store atomic ptr %arguments, ptr %arguments_ release, align 8
  store atomic i64 %rows, ptr %rows_ release, align 8
  store atomic i64 %width, ptr %width_ release, align 8
  store atomic i64 %chunks, ptr %chunks_ release, align 8
  store atomic i64 0, ptr %done release, align 8
  %last = load atomic i64, ptr %epoch_ acquire, align 8
  %raw = add i64 %last, 1
  %epoch = and i64 %raw, 2147483647
  %token = shl i64 %epoch, 32
  store atomic i64 %token, ptr %claim release, align 8
  store atomic i64 %epoch, ptr %epoch_ seq_cst, align 8
  %asleep = load atomic i64, ptr %sleepers seq_cst, align 8
  %any = icmp sgt i64 %asleep, 0
  br i1 %any, label %wake, label %go
wake:
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  %b = call i32 @pthread_cond_broadcast(ptr %condition)
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %go
go:
  call void @work(ptr %state, i64 %epoch)
  br label %finish
finish:
  %finished = load atomic i64, ptr %done acquire, align 8
  %all = icmp sge i64 %finished, %chunks
  br i1 %all, label %release, label %hold
hold:
  {pause}
  br label %finish
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
"""


class Pool:
    """The state shared with the workers, and the threads themselves.

    Attributes
    ----------
    address : int
        Where the state lies; compiled functions are given it.
    threads : int
        Workers and caller together.
    """

    def __init__(self, launcher: int, worker: int):
        self.launcher = launcher
        self._worker = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(worker)
        self._state = np.zeros(WORDS + 8, np.int64)
        start = (-self._state.ctypes.data // 8) % 8
        self._words = self._state[start : start + WORDS]
        self.address = self._words.ctypes.data
        self.threads = 1
        self._started = 0
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Begin anew without workers: after `fork`, the parent's are not here."""
        self._words[:] = 0
        self.threads = 1
        self._started = 0
        self._lock = threading.Lock()

    def use(self, threads: int) -> None:
        """Let launches use that many threads, starting workers as needed."""
        if threads == self.threads:
            return
        with self._lock:
            if self._started == 0 and threads > 1:
                libc = ctypes.CDLL(None)
                for word, call in (
                    (MUTEX, libc.pthread_mutex_init),
                    (CONDITION, libc.pthread_cond_init),
                ):
                    call(ctypes.c_void_p(self.address + 8 * word), None)
            while self._started < threads - 1:
                threading.Thread(
                    target=self._worker,
                    args=(self.address, self._started),
                    name=f"graphc-{self._started}",
                    daemon=True,
                ).start()
                self._started += 1
            self._words[WORKERS] = threads - 1
            self.threads = threads


def available_threads() -> int:
    """Return how many threads kernels may use: the option, or the usable cores."""
    wanted = options().threads
    if wanted > 0:
        return wanted if _has_posix_threads() else 1
    if not _has_posix_threads():
        return 1
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def _has_posix_threads() -> bool:
    return sys.platform != "win32"


_pool: Pool | None = None
_pool_lock = threading.Lock()


def pool() -> Pool:
    """Return the process's pool, ready for `available_threads`."""
    global _pool
    if _pool is None:
        from graphc.backends.cpu.cache import machine_code

        with _pool_lock:
            if _pool is None:
                code = machine_code(source(), "once")
                launcher, worker = jit.load(code, ["graphc_launch", "graphc_worker"])
                jit.add_symbol("graphc_launch", launcher)
                _pool = Pool(launcher, worker)
                if hasattr(os, "register_at_fork"):
                    os.register_at_fork(after_in_child=_pool.reset)
                on_change(pool)
    _pool.use(available_threads())
    return _pool
