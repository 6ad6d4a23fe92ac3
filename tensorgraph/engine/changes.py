"""A mark that moves whenever something changes that a trace depends on and that no array holds.

Attributes of modules and optimisers, hooks, and what asks for gradients: whoever has looked at all of them keeps the
mark, and looks again only when another one is there. A mark is an object compared by identity, so that two threads that
move it at once cannot put an old one back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["MARK", "Detour", "move"]

MARK: list[object] = [object()]
LOCK = threading.RLock()


def move() -> None:
    """Say that something has changed."""
    with LOCK:
        MARK[0] = object()


class Detour:
    """A change that is made again and again and undone each time, such as a model's mode while it predicts.

    Where nothing else has changed since the last time, the marks are those of then, as everything is what it was. Both
    changes move the mark themselves, where they change something.
    """

    def __init__(self) -> None:
        self.outside: object = None
        self.inside: object = None

    def enter(self, change: Callable[[], None]) -> None:
        """Make the change."""
        with LOCK:
            before = MARK[0]
            change()
            if MARK[0] is not before:
                if before is not self.outside:
                    self.outside, self.inside = before, MARK[0]
                MARK[0] = self.inside

    def leave(self, change: Callable[[], None]) -> None:
        """Undo it."""
        with LOCK:
            before = MARK[0]
            change()
            if MARK[0] is not before is self.inside:
                MARK[0] = self.outside
