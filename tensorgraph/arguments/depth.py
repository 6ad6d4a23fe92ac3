"""Whether a value is nested so deep that Python's stack may not hold a walk through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["DEEP", "is_deep"]

DEEP = "nested too deep, or holds itself"
LEVELS, WIDTH = 60, 1000  # a level of arguments takes several of Python's; of each so many items are looked into


def is_deep(value: Any) -> bool:
    """Whether lists, tuples, sets and dicts are nested in a value for more levels than anybody writes.

    A `RecursionError` is the argument's fault only then: else the call itself was made deep in a recursion.

    Examples
    --------
    >>> is_deep([1, (2, {"a": 3})])
    False
    >>> endless = []
    >>> endless.append(endless)
    >>> is_deep(endless)
    True
    """
    level = [value]
    for _ in range(LEVELS):
        level = [item for one in level for item in _items(one)][:WIDTH]
        if not level:
            return False
    return True


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple | set | frozenset) else ()
