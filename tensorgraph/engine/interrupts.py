"""Ctrl-C never cuts an update in two: where several cells are written it waits for the last of them.

Signals reach the main thread alone; in others nothing needs to wait.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident, main_thread
from typing import Any

__all__ = ["Interrupt", "interruptible", "whole"]

try:  # what `signal` wraps in a conversion to enumerations, which costs five times the change itself
    _raw: Any = importlib.import_module("_signal")
except ImportError:
    _raw = importlib.import_module("signal")
SIGINT = int(_raw.SIGINT)
exchange, current, usual = _raw.signal, _raw.getsignal, _raw.default_int_handler


class whole:
    """A block that Ctrl-C interrupts before or after, and never inside. Whose handler it is, is asked afterwards."""

    __slots__ = ("came", "handler")

    def __enter__(self) -> None:
        self.came: tuple[int, Any] | None = None
        self.handler: Any = None
        if get_ident() == main_thread().ident:
            handler = current(SIGINT)
            if callable(handler):  # else the signal is ignored, or ends the process
                self.handler = handler
                exchange(SIGINT, self.wait)

    def wait(self, number: int, frame: Any) -> None:
        self.came = (number, frame)

    def __exit__(self, *error: object) -> None:
        if self.handler is not None:
            exchange(SIGINT, self.handler)
            if self.came is not None:
                self.handler(*self.came)


class Interrupt:
    """Whether Ctrl-C was pressed."""

    asked = False

    def check(self) -> None:
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Ctrl-C sets a flag inside, for a loop to end after the step; pressed again, it interrupts at once.

    A handler of the caller's own is left in place.
    """
    interrupt = Interrupt()
    if get_ident() != main_thread().ident or current(SIGINT) is not usual:
        yield interrupt
        return

    def handle(number: int, frame: Any) -> None:
        if interrupt.asked:
            raise KeyboardInterrupt
        interrupt.asked = True

    exchange(SIGINT, handle)
    try:
        yield interrupt
    finally:
        exchange(SIGINT, usual)
