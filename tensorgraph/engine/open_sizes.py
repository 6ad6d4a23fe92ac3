"""Sizes that may be others in another call of a function that is traced: who looks at one makes its graph depend on it.

A shape with such sizes is a `WatchedShape`, which tells when one of them is looked at. It may be cut, joined, compared
with others and passed to an op as it is: then nobody has looked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["OpenSize", "WatchedShape", "count_of"]

Noted = Callable[..., None]


class OpenSize(int):
    """A size that may be another one: for an op's attribute or operand. Who computes with it has looked at it.

    Attributes
    ----------
    own, other : int
        What it is, and what it is where the open size of the inputs is another; it is a multiple of that.
    note : callable
        Is told that it was looked at; with True, that it was asked whether it is 1.
    """

    own: int
    other: int
    note: Noted

    @classmethod
    def made(cls, own: int, other: int, note: Noted) -> OpenSize:
        size = cls(own)
        size.own, size.other, size.note = own, other, note
        return size

    def _looked(self) -> int:
        self.note()
        return self.own

    def __eq__(self, value: object) -> bool:
        # it is at least 1 wherever it is open, and at least 2 where that is asked
        if type(value) is int and value in (0, 1):
            if value == 1:
                self.note(True)
            return False
        return self._looked() == value

    def __ne__(self, value: object) -> bool:
        return not self == value

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(self._looked())

    def __reduce__(self) -> Any:
        return int, (self._looked(),)


class WatchedShape(tuple[int, ...]):
    """A shape some of whose sizes are open.

    Attributes
    ----------
    own, other : tuple of int
        The sizes, and what they are where the open size of the inputs is another.
    base : tuple of int
        The open size of the inputs, and the other one.
    note : callable
        Is told that an open size was looked at.
    of : object
        Whose type it is the shape of, where it is all of it.
    """

    own: tuple[int, ...]
    other: tuple[int, ...]
    base: tuple[int, int]
    note: Noted
    of: Any

    @classmethod
    def made(
        cls, own: tuple[int, ...], other: tuple[int, ...], base: tuple[int, int], note: Noted, of: Any = None
    ) -> WatchedShape:
        shape = cls(own)
        shape.own, shape.other, shape.base, shape.note, shape.of = own, other, base, note, of
        return shape

    def size(self, own: int, other: int) -> int:
        """A size, open where it is another one at the other size, and then a multiple of that."""
        if own == other:
            return own
        if own * self.base[1] != other * self.base[0]:
            self.note()
            return own
        return OpenSize.made(own, other, self.note)

    def sizes(self) -> tuple[int, ...]:
        """The sizes, the open ones as such."""
        return tuple(map(self.size, self.own, self.other))

    def _like(self, own: tuple[int, ...], other: tuple[int, ...]) -> WatchedShape:
        return self.made(own, other, self.base, self.note)

    def _looked(self) -> tuple[int, ...]:
        self.note()
        return self.own

    def __getitem__(self, key: Any) -> Any:
        own, other = self.own[key], self.other[key]
        if own == other:
            return own
        return self._like(own, other) if isinstance(key, slice) else self._looked()[key]

    def __iter__(self) -> Iterator[int]:
        return iter(self._looked())

    def __add__(self, more: Any) -> Any:
        if isinstance(more, WatchedShape):
            return self._like(self.own + more.own, self.other + more.other)
        return self._like(self.own + more, self.other + more)

    def __radd__(self, more: Any) -> Any:
        return self._like(more + self.own, more + self.other)

    def __eq__(self, value: object) -> bool:
        own, other = (value.own, value.other) if isinstance(value, WatchedShape) else (value, value)
        same, there = self.own == own, self.other == other
        # equal at two sizes is equal at each; what differs may be equal at a third, but where two fixed sizes differ
        if same != there or (not same and self._may_meet(own, other)):
            self.note()
        return same

    def __ne__(self, value: object) -> bool:
        return not self == value

    def _may_meet(self, own: Any, other: Any) -> bool:
        if not isinstance(own, tuple) or len(own) != len(self.own):
            return False
        pairs = zip(self.own, self.other, own, other, strict=True)
        return all(a == c or a != b or c != d for a, b, c, d in pairs)

    def __hash__(self) -> int:
        return hash(self._looked())

    def __reduce__(self) -> Any:
        return tuple, (self._looked(),)


def _looking(kind: type, name: str) -> Callable[..., Any]:
    method = getattr(kind, name)
    return lambda self, *args: method(self._looked(), *args)


def _watch(watched: type, kind: type) -> None:
    """Let whatever a type can do, and the watched one of its kind does not do in its own way, be a look at it."""
    for name, method in vars(kind).items():
        if callable(method) and name not in vars(watched) and name not in LEFT:
            setattr(watched, name, _looking(kind, name))


LEFT = frozenset({"__new__", "__getattribute__", "__getnewargs__", "__len__", "__class_getitem__", "__sizeof__"})
_watch(OpenSize, int)
_watch(WatchedShape, tuple)


def count_of(shape: tuple[int, ...], part: int) -> int:
    """How many elements there are over `part`, for an op's attribute, and to ask whether it is 0 or 1.

    An open size is at least 2 where that is asked, so that neither depends on it.
    """
    if isinstance(shape, WatchedShape):
        return shape.size(math.prod(shape.own) // part, math.prod(shape.other) // part)
    return math.prod(shape) // part
