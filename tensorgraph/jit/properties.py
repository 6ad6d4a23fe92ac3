"""Properties that are computed once."""

from __future__ import annotations

import functools
from typing import Any, Self, TypeVar, overload

T = TypeVar("T")

__all__ = ["cached_property"]


class cached_property(functools.cached_property[T]):
    """What is computed when it is first asked for, and kept in the instance.

    Python 3.11 holds a lock meanwhile, one for all instances of a class: threads that compile wait for each other's
    values, and a child that is forked while one of them computes waits for good. Later versions hold none, and nor does
    this: two threads may compute the same value.
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        values: dict[str | None, Any] = instance.__dict__
        value = values[self.attrname] = self.func(instance)
        return value
