"""Sizes that may be others in another call of a function that is traced, and what is computed of them.

An open size is a stand-in for a number. Arithmetic with it gives another one; a comparison is answered, and remembered
as what must hold wherever the trace is used again; whoever needs the number itself has looked at it, and then the trace
is of this size alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

__all__ = ["OpenSize", "Sizes", "at_sizes", "has_open", "looked", "replaced"]

Sizes = Callable[[Any, int], int]
"""The size of a variable along an axis, somewhere."""


class Reader(Protocol):
    """Who is told what is seen of open sizes."""

    def note(self) -> None:
        """One was looked at."""

    def hold(self, test: Callable[[Sizes], bool], answer: bool) -> None:
        """Two were compared."""


class OpenSize:
    """A number that depends on sizes, in the place of the number.

    It says that it is an ``int``, or what it is, and is none, so that no code in C reads it without asking.

    Attributes
    ----------
    own : int, float or bool
        What it is in this trace.
    at : callable
        What it is elsewhere, by the sizes there.
    """

    __slots__ = ("at", "own", "reader")

    def __init__(self, own: Any, at: Callable[[Sizes], Any], reader: Reader) -> None:
        self.own, self.at, self.reader = own, at, reader

    @property
    def __class__(self) -> Any:  # for isinstance
        return type(self.own)

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError("a size is what it is")

    def looked(self) -> Any:
        """The number, for who needs it."""
        self.reader.note()
        return self.own

    def __bool__(self) -> bool:
        answer, at = bool(self.own), self.at
        self.reader.hold(lambda sizes: bool(at(sizes)), answer)
        return answer

    def __reduce__(self) -> Any:
        return type(self.own), (self.looked(),)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.looked(), name)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.looked(), dtype)


def _pair(self: OpenSize, other: Any) -> Callable[[Sizes], tuple[Any, Any]] | None:
    """Both at other sizes; None where the other one is no number of Python's."""
    at = self.at
    if type(other) is OpenSize:
        more = other.at
        return lambda sizes: (at(sizes), more(sizes))
    return (lambda sizes: (at(sizes), other)) if type(other) in (int, float, bool) else None


def _computed(operation: Callable[[Any, Any], Any], turned: bool) -> Callable[..., Any]:
    def method(self: OpenSize, other: Any) -> Any:
        both = _pair(self, other)
        if both is None:
            return NotImplemented
        value = other.own if type(other) is OpenSize else other
        if turned:
            return OpenSize(operation(value, self.own), lambda sizes: operation(*both(sizes)[::-1]), self.reader)
        return OpenSize(operation(self.own, value), lambda sizes: operation(*both(sizes)), self.reader)

    return method


def _changed(operation: Callable[[Any], Any]) -> Callable[[OpenSize], Any]:
    def method(self: OpenSize) -> Any:
        at = self.at
        return OpenSize(operation(self.own), lambda sizes: operation(at(sizes)), self.reader)

    return method


def _compared(operation: Callable[[Any, Any], Any]) -> Callable[[OpenSize, Any], Any]:
    def method(self: OpenSize, other: Any) -> Any:
        if self is other:
            return operation(self.own, self.own)
        both = _pair(self, other)
        if both is None:
            return NotImplemented
        answer = operation(self.own, other.own if type(other) is OpenSize else other)
        self.reader.hold(lambda sizes: operation(*both(sizes)), answer)
        return answer

    return method


def _looking(name: str) -> Callable[..., Any]:
    def method(self: OpenSize, *args: Any) -> Any:
        value = self.looked()
        return getattr(value, name)(*args)

    return method


for _operation in (
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
    operator.lshift, operator.rshift, operator.and_, operator.or_, operator.xor,
):  # fmt: skip
    setattr(OpenSize, f"__{_operation.__name__.strip('_')}__", _computed(_operation, False))
    setattr(OpenSize, f"__r{_operation.__name__.strip('_')}__", _computed(_operation, True))
for _change in (operator.neg, operator.pos, operator.abs, operator.invert):
    setattr(OpenSize, f"__{_change.__name__}__", _changed(_change))
for _operation in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge):
    setattr(OpenSize, f"__{_operation.__name__}__", _compared(_operation))
for _name in (
    "__int__", "__float__", "__index__", "__hash__", "__repr__", "__str__", "__format__", "__round__", "__trunc__",
    "__floor__", "__ceil__", "__divmod__", "__rdivmod__",
):  # fmt: skip
    setattr(OpenSize, _name, _looking(_name))


def has_open(value: Any) -> bool:
    """Whether an open size is in an attribute."""
    kind = type(value)
    return kind is OpenSize or (kind in (tuple, list) and any(map(has_open, value)))


def looked(value: Any) -> Any:
    """An attribute whose numbers somebody needs."""
    return replaced(value, OpenSize.looked)


def at_sizes(value: Any, sizes: Sizes | None = None) -> Any:
    """An attribute, or a table of them, at other sizes, or as it is."""
    return replaced(value, lambda number: number.own if sizes is None else number.at(sizes))


def replaced(value: Any, change: Callable[[OpenSize], Any]) -> Any:
    """An attribute, or a table of them, with something else in the place of each open size."""
    if type(value) is OpenSize:
        return change(value)
    if isinstance(value, Mapping):
        return {key: replaced(one, change) for key, one in value.items()}
    return type(value)([replaced(one, change) for one in value]) if has_open(value) else value
