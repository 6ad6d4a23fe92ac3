"""Threads of tapes: helpers in machine code, which take blocks of a record beside the thread that runs the tape.

Nothing of this is Python while it runs: helpers are threads of the system that never enter the interpreter, so nobody
waits for its lock. The caller takes blocks itself and needs nobody; a helper that comes late, or never, costs nothing.
A helper that finds nothing looks for at most `TICKS` of the processor's clock, then sleeps on a semaphore, and is woken
where a record has several blocks. Which thread runs a block changes no bit: blocks are what the record says.
"""

# The plan: what threads share are words of memory, in cache lines of their own. STATE is the number of the job, above
# the number of its blocks that are taken. A block is taken by exchanging STATE for the next one, which fails where
# anything has changed since, so that what was read of the job was read of this one; while a job is written, STATE says
# that all is taken. ASLEEP counts who sleeps: whoever wakes somebody takes one off first and then posts, so a post is
# always for one who waits, and one who changes his mind takes himself off, or finds himself off and takes the post.

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
from typing import Any

from tensorgraph.jit import threads
from tensorgraph.native.objects import addresses, unit

__all__ = ["possible", "run"]

# places of the shared words; STATE is the first, and lines of 64 bytes are 8 words
DONE, ENTRY, WORDS, COUNT, ASLEEP, STOP, EPOCH, SEMAPHORE, SIZE = 8, 16, 17, 18, 24, 32, 40, 48, 64
TICKS = 100_000  # 50 microseconds at 2 GHz, less where the clock is faster

SHARED = f"""
declare void @llvm.x86.sse2.pause()
declare i32 @sched_yield()

define internal i1 @take(ptr %w) nounwind {{
entry:
  %pe = getelementptr i64, ptr %w, i64 {ENTRY}
  %pw = getelementptr i64, ptr %w, i64 {WORDS}
  %pc = getelementptr i64, ptr %w, i64 {COUNT}
  br label %again
again:
  %state = load atomic i64, ptr %w acquire, align 8
  %taken = and i64 %state, 4294967295
  %kernel = load atomic i64, ptr %pe acquire, align 8
  %words = load atomic i64, ptr %pw acquire, align 8
  %count = load atomic i64, ptr %pc acquire, align 8
  %left = icmp ult i64 %taken, %count
  br i1 %left, label %try, label %none
try:
  %next = add i64 %state, 1
  %pair = cmpxchg ptr %w, i64 %state, i64 %next seq_cst seq_cst, align 8
  %won = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %won, label %run, label %again
run:
  %function = inttoptr i64 %kernel to ptr
  call void %function(i64 %words, i64 %taken, i64 %count)
  %pd = getelementptr i64, ptr %w, i64 {DONE}
  %before = atomicrmw add ptr %pd, i64 1 seq_cst, align 8
  ret i1 true
none:
  ret i1 false
}}
"""

LEAD = f"""
declare i32 @sem_post(ptr)

define internal void @wake(ptr %w, i64 %wanted) nounwind {{
entry:
  %pa = getelementptr i64, ptr %w, i64 {ASLEEP}
  %semaphore = getelementptr i64, ptr %w, i64 {SEMAPHORE}
  br label %look
look:
  %more = phi i64 [ %wanted, %entry ], [ %more, %take ], [ %fewer, %post ]
  %asleep = load atomic i64, ptr %pa seq_cst, align 8
  %some = icmp sgt i64 %asleep, 0
  %want = icmp sgt i64 %more, 0
  %both = and i1 %some, %want
  br i1 %both, label %take, label %end
take:
  %less = sub i64 %asleep, 1
  %pair = cmpxchg ptr %pa, i64 %asleep, i64 %less seq_cst seq_cst, align 8
  %won = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %won, label %post, label %look
post:
  %told = call i32 @sem_post(ptr %semaphore)
  %fewer = sub i64 %more, 1
  br label %look
end:
  ret void
}}

define internal void @share(ptr %w, i64 %kernel, i64 %words, i64 %blocks) nounwind {{
entry:
  %pe = getelementptr i64, ptr %w, i64 {ENTRY}
  %pw = getelementptr i64, ptr %w, i64 {WORDS}
  %pc = getelementptr i64, ptr %w, i64 {COUNT}
  %pd = getelementptr i64, ptr %w, i64 {DONE}
  %pn = getelementptr i64, ptr %w, i64 {EPOCH}
  %last = load i64, ptr %pn, align 8
  %one = add i64 %last, 1
  %number = and i64 %one, 2147483647
  store i64 %number, ptr %pn, align 8
  %open = shl i64 %number, 32
  %closed = or i64 %open, 4294967295
  store atomic i64 %closed, ptr %w release, align 8
  store atomic i64 %kernel, ptr %pe release, align 8
  store atomic i64 %words, ptr %pw release, align 8
  store atomic i64 %blocks, ptr %pc release, align 8
  store atomic i64 0, ptr %pd release, align 8
  %old = atomicrmw xchg ptr %w, i64 %open seq_cst, align 8
  %others = sub i64 %blocks, 1
  call void @wake(ptr %w, i64 %others)
  br label %work
work:
  %got = call i1 @take(ptr %w)
  br i1 %got, label %work, label %wait
wait:
  %looks = phi i64 [ 0, %work ], [ %again, %wait.end ]
  %done = load atomic i64, ptr %pd acquire, align 8
  %all = icmp sge i64 %done, %blocks
  br i1 %all, label %end, label %pause
pause:
  call void @llvm.x86.sse2.pause()
  %again = add i64 %looks, 1
  %long = icmp sgt i64 %looks, 500
  br i1 %long, label %yield, label %wait.end
yield:
  %gave = call i32 @sched_yield()
  br label %wait.end
wait.end:
  br label %wait
end:
  ret void
}}

define void @tg_lead(i64 %shared, i64 %tape) nounwind {{
entry:
  %w = inttoptr i64 %shared to ptr
  %start = inttoptr i64 %tape to ptr
  br label %record
record:
  %at = phi ptr [ %start, %entry ], [ %next, %after ]
  %kernel = load i64, ptr %at, align 8
  %over = icmp eq i64 %kernel, 0
  br i1 %over, label %end, label %begin
begin:
  %head = getelementptr i64, ptr %at, i64 1
  %blocks = load i64, ptr %head, align 8
  %size = getelementptr i64, ptr %at, i64 2
  %count = load i64, ptr %size, align 8
  %words = getelementptr i64, ptr %at, i64 3
  %address = ptrtoint ptr %words to i64
  %several = icmp sgt i64 %blocks, 1
  br i1 %several, label %together, label %alone
together:
  call void @share(ptr %w, i64 %kernel, i64 %address, i64 %blocks)
  br label %after
alone:
  %function = inttoptr i64 %kernel to ptr
  call void %function(i64 %address, i64 0, i64 1)
  br label %after
after:
  %next = getelementptr i64, ptr %words, i64 %count
  br label %record
end:
  ret void
}}
"""

SERVE = f"""
declare i64 @llvm.readcyclecounter()
declare i32 @sem_wait(ptr)

define ptr @tg_serve(ptr %w) nounwind {{
entry:
  %ps = getelementptr i64, ptr %w, i64 {STOP}
  %pa = getelementptr i64, ptr %w, i64 {ASLEEP}
  %pc = getelementptr i64, ptr %w, i64 {COUNT}
  %semaphore = getelementptr i64, ptr %w, i64 {SEMAPHORE}
  br label %fresh
fresh:
  %begin = call i64 @llvm.readcyclecounter()
  br label %look
look:
  %stop = load atomic i64, ptr %ps acquire, align 8
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %end, label %work
work:
  %got = call i1 @take(ptr %w)
  br i1 %got, label %fresh, label %idle
idle:
  call void @llvm.x86.sse2.pause()
  %now = call i64 @llvm.readcyclecounter()
  %waited = sub i64 %now, %begin
  %short = icmp ult i64 %waited, {TICKS}
  br i1 %short, label %look, label %tired
tired:
  %before = atomicrmw add ptr %pa, i64 1 seq_cst, align 8
  %state = load atomic i64, ptr %w seq_cst, align 8
  %taken = and i64 %state, 4294967295
  %count = load atomic i64, ptr %pc seq_cst, align 8
  %left = icmp ult i64 %taken, %count
  %halt = load atomic i64, ptr %ps seq_cst, align 8
  %halted = icmp ne i64 %halt, 0
  %stay = or i1 %left, %halted
  br i1 %stay, label %undo, label %sleep
undo:
  %asleep = load atomic i64, ptr %pa seq_cst, align 8
  %mine = icmp sgt i64 %asleep, 0
  br i1 %mine, label %off, label %sleep
off:
  %less = sub i64 %asleep, 1
  %pair = cmpxchg ptr %pa, i64 %asleep, i64 %less seq_cst seq_cst, align 8
  %won = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %won, label %fresh, label %undo
sleep:
  %slept = call i32 @sem_wait(ptr %semaphore)
  br label %fresh
end:
  ret ptr null
}}
"""


UNITS = unit("tg_lead", SHARED + LEAD), unit("tg_serve", SHARED + SERVE)
_LEAD = ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_size_t)


def possible() -> bool:
    """Whether this system has threads for tapes: Linux, whose semaphores lie in the words."""
    return sys.platform == "linux"


class _Team:
    """Helpers that look for blocks until they are told to stop."""

    def __init__(self, helpers: int) -> None:
        lead, serve = addresses(UNITS)
        self._memory = ctypes.create_string_buffer(8 * SIZE + 64)
        self.words = (ctypes.addressof(self._memory) + 63) & ~63
        self._word(0).value = 0xFFFFFFFF  # all is taken
        self._system = ctypes.CDLL(None)
        self._semaphore = ctypes.c_void_p(self.words + 8 * SEMAPHORE)
        self._system.sem_init(self._semaphore, 0, 0)
        self.lead, self.wanted = _LEAD(lead), helpers
        self._threads = [thread for thread in (self._start(serve) for _ in range(helpers)) if thread]

    def _word(self, place: int) -> Any:
        return ctypes.c_int64.from_address(self.words + 8 * place)

    def _start(self, serve: int) -> ctypes.c_ulong | None:
        """A thread, in which no signal is handled but its own faults; None where the system gives no more."""
        thread = ctypes.c_ulong()
        faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - faults)
        try:
            wrong = self._system.pthread_create(
                ctypes.byref(thread), None, ctypes.c_void_p(serve), ctypes.c_void_p(self.words)
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None if wrong else thread

    def stop(self) -> None:
        """End the helpers, before the machine code goes that they are in."""
        self._word(STOP).value = 1
        for _ in self._threads:
            self._system.sem_post(self._semaphore)
        for thread in self._threads:
            self._system.pthread_join(thread, None)
        self._threads.clear()


_team: _Team | None = None
_closed = False


def run(tape: ctypes.c_size_t, blocks: int, alone: Any) -> None:
    """Run a tape with the team, or alone where it is not to be had: threads are off, or somebody else has them.

    Parameters
    ----------
    tape : c_size_t
        The address of its words.
    blocks : int
        The largest number of blocks of a record.
    alone : function
        The driver of one thread.
    """
    count = threads.num_threads()
    lock = threads.turn()
    if count == 1 or blocks == 1 or _closed or not possible() or not lock.acquire(blocking=False):
        alone(tape)
        return
    try:
        team = _gathered(count - 1)
        team.lead(team.words, tape)
    finally:
        lock.release()


def _gathered(helpers: int) -> _Team:
    """The team, of so many helpers; `threads.turn` is ours."""
    global _team
    if _team is None or _team.wanted != helpers:
        before, _team = _team, None
        if before is not None:
            before.stop()
        _team = _Team(helpers)
    return _team


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _team
    _team = None


def _stop() -> None:
    """End the threads before the interpreter does: what they run goes with it."""
    global _closed, _team
    _closed = True
    lock = threads.turn()
    held = lock.acquire(timeout=1.0)
    try:
        before, _team = _team, None
        if before is not None:
            before.stop()
    finally:
        if held:
            lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
atexit.register(_stop)
