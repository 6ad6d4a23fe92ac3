"""What was prepared once and is used again, of which the oldest is forgotten where there is too much."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

__all__ = ["Plans"]


class Plans:
    """Values by key; of more than `most` those that were not asked for the longest are let go."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.known: OrderedDict[Any, Any] = OrderedDict()
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.known)

    def get(self, key: Any) -> Any:
        """The value of a key, or None."""
        with self.lock:
            value = self.known.get(key)
            if value is not None:
                self.known.move_to_end(key)
        return value

    def put(self, key: Any, value: Any) -> None:
        with self.lock:
            self.known[key] = value
            while len(self.known) > self.most:
                self.known.popitem(last=False)

    def made(self, key: Any, make: Callable[[], Any]) -> Any:
        """The value of a key, made where it is not known."""
        value = self.get(key)
        if value is None:
            value = make()
            self.put(key, value)
        return value
