"""Machine code of many functions: by this process, and by others beside it where there is much to do."""

# The plan: texts are written here, one after the other, and wait; a helper takes the largest that waits as soon as it
# is ready, and so does this process when all are written. A helper is a process of its own with a thread here that
# talks to it. One that cannot be started, or ends, is done without: what it had taken is made here. Nobody waits for a
# helper to begin.

from __future__ import annotations

import contextlib
import functools
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorgraph.jit import threads
from tensorgraph.native import emitting
from tensorgraph.native.machine import llvm, machine

__all__ = ["begin", "dismiss", "objects_of", "target"]

MANY = 8  # functions that take some half a second, of which helpers save more than their beginning costs
MOST = 3  # helpers

Result = tuple[str, str, bytes | None]  # a symbol, its text, and its object if there is one


@functools.cache
def target() -> Any:
    """What emits objects for the processor of this process."""
    found = machine()
    return emitting.target_of(llvm(), found.cpu, found.features)


def objects_of(writers: Mapping[str, Callable[[], str]]) -> Iterator[tuple[str, bytes]]:
    """The objects of functions, by symbol, as they are done.

    Parameters
    ----------
    writers : mapping of str to callable
        What writes LLVM's text of each symbol's module.
    """
    waiting, done = _Waiting(), queue.SimpleQueue[Result]()
    helpers: list[_Helper] = []
    try:
        for _ in range(_helpers_for(len(writers))):
            helpers.append(_begun.pop() if _begun else _Helper())
            helpers[-1].work(waiting, done)
        for symbol, write in writers.items():
            waiting.add(symbol, write())
        waiting.close()
        for _ in range(len(writers)):
            taken = waiting.take()
            symbol, text, data = done.get() if taken is None else (*taken, None)
            yield symbol, emitting.emitted(llvm(), target(), text) if data is None else data
    finally:
        waiting.clear()
        for helper in helpers:
            helper.end()


_begun: list[_Helper] = []  # helpers that wait for texts


def begin() -> None:
    """Have helpers begin before there is much to do; whoever compiles next takes them."""
    _begun.extend(_Helper() for _ in range(_helpers_for(MANY) - len(_begun)))


def dismiss() -> None:
    """End helpers that nobody has taken."""
    while _begun:
        _begun.pop().end()


def _forget() -> None:
    """A forked child has no part in its parent's helpers."""
    for helper in _begun:
        if helper.process is not None:
            helper.process.returncode = 0
    _begun.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _helpers_for(count: int) -> int:
    is_python = Path(sys.executable or "").stem.lower().startswith("python")  # not a program that has one in it
    return min(threads.num_threads() - 1, MOST) if is_python and count >= MANY else 0


class _Waiting:
    """Texts that nobody has taken yet; more may come."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._closed = False
        self._changed = threading.Condition()

    def add(self, symbol: str, text: str) -> None:
        with self._changed:
            self._texts[symbol] = text
            self._changed.notify()

    def close(self) -> None:
        """No more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Nothing is wanted any more."""
        with self._changed:
            self._texts.clear()
            self._closed = True
            self._changed.notify_all()

    def take(self) -> tuple[str, str] | None:
        """The largest, which is waited for while more may come; None if there is none."""
        with self._changed:
            while not self._texts and not self._closed:
                self._changed.wait()
            if not self._texts:
                return None
            symbol = max(self._texts, key=lambda symbol: len(self._texts[symbol]))
            return symbol, self._texts.pop(symbol)


class _Helper:
    """A process that compiles, and the thread that hands texts to it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.thread: threading.Thread | None = None
        found, folder = machine(), Path(llvm().__file__).parents[2]
        command = [sys.executable, "-I", "-S", emitting.__file__, str(folder), found.cpu, found.features]
        with contextlib.suppress(OSError):
            # a session of its own: Ctrl-C is for this process, which ends the other
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def work(self, waiting: _Waiting, done: queue.SimpleQueue[Result]) -> None:
        """Take texts until there are no more."""
        if self.process is not None:
            self.thread = threading.Thread(target=self._work, args=(waiting, done), daemon=True)
            self.thread.start()

    def _work(self, waiting: _Waiting, done: queue.SimpleQueue[Result]) -> None:
        process = self.process
        assert process is not None
        with contextlib.suppress(OSError), process:
            answer = emitting.read(process.stdout)  # that it is ready
            while answer is not None:
                taken = waiting.take()
                if taken is None:
                    break
                symbol, text = taken
                answer = None
                with contextlib.suppress(OSError):
                    emitting.write(process.stdin, text.encode())
                    answer = emitting.read(process.stdout)
                done.put((symbol, text, answer))
            process.kill()

    def end(self) -> None:
        """Have the process end, whatever it is doing; its thread, if it has one, takes note."""
        if self.process is not None:
            self.process.kill()
            if self.thread is None:
                with self.process:
                    pass
