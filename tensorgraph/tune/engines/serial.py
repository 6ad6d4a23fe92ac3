"""One trial after another in this process: for objectives that cannot leave it, and to find their faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["SerialEngine"]


class SerialEngine:
    """Runs a call when its result is asked for."""

    local = True
    workers = 1

    def __init__(self, objective: Callable[..., Any], workers: int = 1, threads: int | None = None) -> None:
        self._objective = objective
        self._waiting: list[tuple[int, Callable[..., Any], tuple[Any, ...]]] = []

    def submit(self, function: Callable[..., Any], slot: int, *args: Any) -> None:
        self._waiting.append((slot, function, args))

    def done(self, timeout: float) -> list[tuple[int, Any]]:
        if not self._waiting:
            return []
        slot, function, args = self._waiting.pop(0)
        try:
            return [(slot, function(self._objective, *args))]
        except Exception as error:
            return [(slot, error)]

    def cancel(self) -> None:
        self._waiting.clear()

    def close(self) -> None:
        self._waiting.clear()
