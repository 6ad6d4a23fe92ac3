"""Kinds of arguments: what a parameter's annotation allows, in words and as a test.

``bool``, ``int``, ``float``, ``str``, ``Literal``, ``Callable``, classes, unions and containers of these say it
themselves; `Annotated` adds a `Range` of numbers, better words, or a `Kind` of one's own.
"""

from __future__ import annotations

import collections.abc as abc
import itertools
import math
import operator
import os
import sys
import types
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NoReturn, TypeAlias, Union, get_args, get_origin

import numpy as np

from tensorgraph.arguments.near import near

__all__ = [
    "ClassNames", "Count", "Finite", "Fraction", "Kind", "Name", "Natural", "NonNegative", "Ordered", "PathLike",
    "RAW", "Positive", "Probability", "Range", "Unfit", "AxisError", "brief", "is_raw", "kind_of",
    "shown",
]  # fmt: skip

RAW = "of bytes, say what they mean: numpy.frombuffer(value, numpy.uint8)"
LONGEST = 1_000_000  # items that are taken from an iterator before it counts as endless


class AxisError(np.exceptions.AxisError):
    """An axis that is not there: NumPy's error, a ValueError and an IndexError, whose message may be made longer."""

    __str__ = ValueError.__str__


class Unfit(Exception):
    """An argument is not of its kind: what was expected, and what to do about it where that can be told.

    `wrong` is the type of the error that the user sees: TypeError, or ValueError where only the value is wrong.
    """

    def __init__(
        self, expected: str, value: Any, remedy: str = "", wrong: type[Exception] = TypeError, place: str = ""
    ) -> None:
        super().__init__(expected)
        self.expected, self.value, self.remedy, self.wrong, self.place = expected, value, remedy, wrong, place

    def sentence(self, what: str) -> str:
        """The message of the error, about the argument called `what`."""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{what}{self.place} must be {self.expected}, got {shown(self.value)}{remedy}"


class Kind:
    """What an argument may be.

    Parameters
    ----------
    expected : str
        In words, to follow "must be".
    fit : callable
        Gives the argument as the function wants it, or raises `Unfit` (see `refuse`).
    instant : types
        An argument of exactly one of these types needs no look.
    """

    def __init__(self, expected: str, fit: Callable[[Any, Kind], Any], instant: tuple[Any, ...] = ()) -> None:
        self.expected = expected
        self.fit = fit
        self.quick = False  # whether it asks for the class alone
        self.instant: frozenset[type] = frozenset(instant)

    def __call__(self, value: Any) -> Any:
        return value if type(value) in self.instant else self.fit(value, self)

    def refuse(self, value: Any, remedy: str = "", wrong: type[Exception] = TypeError) -> NoReturn:
        """Say that the argument is not of this kind."""
        raise Unfit(self.expected, value, remedy, wrong)


def shown(value: Any) -> str:
    """What came, in a few words: numbers and short strings as they are, of others the type and the size."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str, bytes) or isinstance(value, np.generic):
        try:
            text = repr(value.item() if isinstance(value, np.generic) else value)
        except ValueError:  # more digits than Python prints
            text = f"an integer of {value.bit_length()} bits"
        return text if len(text) <= 60 else f"{text[:40]}... ({kind.__name__}, {len(text)} characters)"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{article(kind.__name__)} of shape {value.shape} and dtype {value.dtype}"
    if kind in (list, tuple, dict, set, frozenset):
        text = repr(value) if len(value) <= 3 and all(type(v) in (int, float, str) for v in value) else ""
        return text if 0 < len(text) <= 60 and kind is not dict else f"{article(kind.__name__)} of {len(value)}"
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return f"the function {value.__name__}"
    return article(kind.__name__)


def brief(message: str) -> str:
    """A message without the middle of what it quotes at length."""
    return message if len(message) <= 1500 else f"{message[:400]} ... {message[-400:]}"


def article(noun: str) -> str:
    """The noun with its article."""
    return f"{'an' if noun[:1].lower() in 'aeio' or noun.startswith('ndarray') else 'a'} {noun}"


def is_raw(value: Any) -> bool:
    """Whether a value is bytes without a meaning: those of a number each, a text or a file."""
    if isinstance(value, memoryview):
        return value.format in ("B", "b", "c")
    return isinstance(value, bytes | bytearray)


# single values -------------------------------------------------------------------------------------------------------


def _anything(value: Any, kind: Kind) -> Any:
    return value


def _flag(value: Any, kind: Kind) -> Any:
    if isinstance(value, np.bool):
        return bool(value)
    remedy = ""
    if isinstance(value, int | np.integer) and value in (0, 1):
        remedy = f"write {bool(value)}"
    elif isinstance(value, str):
        remedy = "without quotes, since every text counts as true"
    kind.refuse(value, remedy)


def _text(value: Any, kind: Kind) -> Any:
    if isinstance(value, str):
        return str(value)
    kind.refuse(value, "decode it: value.decode()" if isinstance(value, bytes | bytearray) else "")


def _name(value: Any, kind: Kind) -> Any:
    text = _text(value, kind)
    return text if text else kind.refuse(value, wrong=ValueError)


def _path(value: Any, kind: Kind) -> Any:
    text: Any = value
    if isinstance(value, os.PathLike):
        text = os.fspath(value)
    if not isinstance(text, str):
        kind.refuse(value, "decode it: os.fsdecode(path)" if isinstance(text, bytes) else "")
    try:
        named = bool(text) and "\0" not in text and bool(os.fsencode(text))
    except UnicodeEncodeError:  # a lone surrogate
        named = False
    if not named:
        kind.refuse(value, "no file has such a name", ValueError)
    return value


def _function(value: Any, kind: Kind) -> Any:
    return value if callable(value) else kind.refuse(value)


def _number(value: Any) -> Any:
    """An int or a float, or None for what is no real number."""
    if isinstance(value, bool | np.bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, np.generic) or getattr(value, "shape", None) == ():
        dtype = getattr(value, "dtype", None)
        if getattr(dtype, "kind", "") in ("i", "u", "f") and not hasattr(value, "mask"):
            return value.item()
    return None


class Range:
    """The numbers allowed: from `low` to `high`, both among them unless `above` or `below` says not."""

    def __init__(
        self, low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False,
        word: str = "", remedy: str = "",
    ) -> None:  # fmt: skip
        self.low, self.high, self.above, self.below = low, high, above, below
        self.word, self.remedy = word, remedy

    def holds(self, value: Any) -> bool:
        """Whether the number is one of them; nan never is."""
        return bool(
            (self.low < value if self.above else self.low <= value)
            and (value < self.high if self.below else value <= self.high)
        )

    def words(self, whole: bool) -> str:
        """The range in words."""
        if self.word:
            return self.word
        noun = "an integer" if whole else "a number"
        low = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
        high = f"below {self.high:g}" if self.below else f"at most {self.high:g}"
        ends = [low] * (self.low > -math.inf) + [high] * (self.high < math.inf)
        return f"{noun} {' and '.join(ends)}" if ends else noun


def _integers(limits: Range) -> Kind:
    free = limits.low == -math.inf and limits.high == math.inf

    def fit(value: Any, kind: Kind) -> Any:
        if isinstance(value, bool | np.bool):
            kind.refuse(value)
        try:
            stand_in = isinstance(value, int) and not issubclass(type(value), int)  # for an integer, as an open size is
            number = value if stand_in else operator.index(value)
        except TypeError:
            whole = isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value)
            kind.refuse(value, f"write {int(value)}" if whole else "")
        if not limits.holds(number):
            kind.refuse(value, limits.remedy if number > limits.high else "", ValueError)
        return number

    return Kind(limits.words(True), fit, (int,) if free else ())


def _numbers(limits: Range) -> Kind:
    free = limits.low == -math.inf and limits.high == math.inf and not limits.above  # nan too

    def fit(value: Any, kind: Kind) -> Any:
        number = _number(value)
        if number is None:
            kind.refuse(value)
        try:
            float(number)
        except OverflowError:
            kind.refuse(value, "no float is so large", ValueError)
        if not free and not limits.holds(number):
            kind.refuse(value, limits.remedy if number > limits.high else "", ValueError)
        return number

    return Kind(limits.words(False), fit, (float,) if free else ())


def _choice(options: tuple[Any, ...]) -> Kind:
    def fit(value: Any, kind: Kind) -> Any:
        for option in options:
            if type(value) is type(option) and value == option:
                return option
        words = [o for o in options if isinstance(o, str)]
        close = near(value, words) if isinstance(value, str) else None
        remedy = f"did you mean {close!r}?" if close else ""
        kind.refuse(value, remedy, ValueError if isinstance(value, str) and words else TypeError)

    return Kind(_listed([repr(option) for option in options]), fit)


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _instance(cls: type) -> Kind:
    def fit(value: Any, kind: Kind) -> Any:
        if isinstance(value, cls):
            return value
        made = isinstance(value, type) and issubclass(value, cls)
        if cls is bytes and isinstance(value, str):
            kind.refuse(value, "encode it: text.encode()")
        example = getattr(cls, "example", "")
        such = f"such as {example}" if example and isinstance(example, str) else ""
        kind.refuse(value, f"make one: {value.__name__}(...)" if made else such)

    kind = Kind(article(cls.__name__), fit)
    kind.quick = True
    return kind


# containers ----------------------------------------------------------------------------------------------------------


class Ordered:
    """Of an iterable: its order means something, so that a set is refused."""


def _many(origin: Any, element: Kind, ordered: bool) -> Kind:
    """A container of elements; an iterator is read into a list, so that it can be checked and read again."""
    name = getattr(origin, "__name__", "Iterable")
    strict = origin in (list, tuple)
    sets_too = issubclass(origin, abc.Set) or (not ordered and not issubclass(origin, abc.Sequence))
    one_pass = not issubclass(origin, abc.Collection)
    word = name.lower() if strict else "set" if issubclass(origin, abc.Set) else "sequence"
    anything = element.fit is _anything
    expected = article(word) if anything else f"{article(word)} (each {element.expected})"

    def fit(value: Any, kind: Kind) -> Any:
        items: Any = value
        if isinstance(value, str | bytes | bytearray | memoryview):
            short = isinstance(value, str | bytes) and len(value) < 30
            kind.refuse(value, f"write [{value!r}]" if short else "")
        if isinstance(value, abc.Mapping):
            kind.refuse(value, "pass its keys or its values as a list")
        if element.quick and hasattr(value, "dtype"):
            kind.refuse(value, "write [it]")
        if isinstance(value, abc.Set) and not sets_too:
            kind.refuse(value, "a set has no order: pass a list, or sorted(...)")
        if not isinstance(value, abc.Collection):
            if not isinstance(value, abc.Iterable) or isinstance(value, type):
                kind.refuse(value)
            if not one_pass:
                kind.refuse(value, "pass a list" if isinstance(value, abc.Iterator) else "")
            items = _taken(value, element, kind)
        elif getattr(value, "ndim", 1) == 0:
            kind.refuse(value)
        if anything:
            return items
        whole = items if isinstance(items, list) else list(itertools.islice(items, LONGEST + 1))
        fitted = [v if type(v) in element.instant else _element(element, v, i) for i, v in enumerate(whole)]
        if all(map(operator.is_, fitted, whole)):  # what has no places, as a dict's values, is made a list
            return items if hasattr(items, "__getitem__") or not issubclass(origin, abc.Sequence) else whole
        return frozenset(fitted) if isinstance(value, abc.Set) else tuple(fitted) if type(value) is tuple else fitted

    return Kind(expected, fit, ((origin,) if strict else (list, tuple)) if anything else ())


def _taken(value: Any, element: Kind, kind: Kind) -> list[Any]:
    """What an iterator gives, checked as it comes, so that a wrong one ends at its first item."""
    items = []
    for i, item in enumerate(value):
        if i == LONGEST:
            kind.refuse(value, f"it gave more than {LONGEST:,} items, so it seems to have no end", ValueError)
        if type(item) not in element.instant:
            _element(element, item, i)
        items.append(item)
    return items


def _element(element: Kind, item: Any, place: Any) -> Any:
    try:
        return element(item)
    except Unfit as unfit:
        unfit.place = f"[{place!r}]{unfit.place}"
        raise


def _fixed(elements: tuple[Kind, ...]) -> Kind:
    """A tuple of so many elements."""
    expected = f"a tuple ({', '.join(e.expected for e in elements)})"

    def fit(value: Any, kind: Kind) -> Any:
        if not isinstance(value, tuple | list) or len(value) != len(elements):
            kind.refuse(value)
        return tuple(_element(e, item, i) for i, (e, item) in enumerate(zip(elements, value, strict=True)))

    return Kind(expected, fit)


def _table(keys: Kind, values: Kind) -> Kind:
    def fit(value: Any, kind: Kind) -> Any:
        if not isinstance(value, abc.Mapping):
            kind.refuse(value)
        for key, item in value.items():
            try:
                keys(key)
            except Unfit as unfit:
                raise Unfit(f"a dict (each key {unfit.expected})", value, f"its key {shown(key)} is not") from None
            _element(values, item, key)
        return value

    return Kind("a dict" if keys.fit is _anything else f"a dict (each key {keys.expected})", fit)


def _either(kinds: list[Kind]) -> Kind:
    """One of several kinds."""
    words = [kind.expected for kind in kinds if kind is not NONE]
    several = len(words) > 1
    words += ["None"] * (NONE in kinds)
    kinds = sorted(kinds, key=lambda kind: not kind.quick)  # classes first: what is one of them is not looked into

    def fit(value: Any, kind: Kind) -> Any:
        wrong: type[Exception] = TypeError
        remedies = []
        for one in kinds:
            try:
                return one(value)
            except Unfit as unfit:
                if unfit.place:  # the container is right and an item is wrong
                    raise
                wrong = unfit.wrong if unfit.wrong is ValueError else wrong
                remedies += [unfit.remedy] * bool(unfit.remedy)
        told = len(remedies) == 1 and not (several and remedies[0].startswith("write ["))
        kind.refuse(value, remedies[0] if told else "", wrong)

    either = Kind(_listed(words), fit, tuple(t for k in kinds for t in k.instant))
    either.quick = any(kind.quick for kind in kinds)
    return either


ANYTHING = Kind("anything", _anything, (type(None), bool, int, float, str))
NONE = Kind("None", lambda value, kind: value if value is None else kind.refuse(value), (type(None),))
FLAG = Kind("True or False", _flag, (bool,))
TEXT = Kind("a str", _text, (str,))
PATH = Kind("a path (str or os.PathLike)", _path)
FUNCTION = Kind("callable", _function, (types.FunctionType,))

Natural: TypeAlias = Annotated[int, Range(0, word="a non-negative integer")]
Count: TypeAlias = Annotated[
    int, Range(1, sys.maxsize, word="a positive integer", remedy=f"there are never more than {sys.maxsize}")
]
Finite: TypeAlias = Annotated[float, Range(-math.inf, math.inf, above=True, below=True, word="a finite number")]
Positive: TypeAlias = Annotated[float, Range(0, math.inf, above=True, below=True, word="a positive number")]
NonNegative: TypeAlias = Annotated[float, Range(0, math.inf, below=True, word="a finite number that is not negative")]
Probability: TypeAlias = Annotated[float, Range(0, 1, word="a number from 0 to 1")]
Fraction: TypeAlias = Annotated[float, Range(0, 1, below=True, word="a number at least 0 and below 1")]
Name: TypeAlias = Annotated[str, Kind("a str that is not empty", _name)]
ClassNames: TypeAlias = Annotated[Sequence[str], Ordered]
PathLike: TypeAlias = str | os.PathLike[str]

SIMPLE: dict[Any, Kind] = {
    Any: ANYTHING, object: ANYTHING, None: NONE, type(None): NONE, bool: FLAG, int: _integers(Range()), str: TEXT,
    float: _numbers(Range()), Callable: FUNCTION, os.PathLike: PATH,
}  # fmt: skip


def kind_of(annotation: Any) -> Kind:
    """What an annotation allows.

    Examples
    --------
    >>> from tensorgraph.arguments import Count, kind_of
    >>> kind_of(Count | None).expected
    'a positive integer or None'
    """
    try:
        return _kind_of(annotation)
    except TypeError:  # not hashable
        return _new_kind(annotation)


def _new_kind(annotation: Any) -> Kind:
    if isinstance(annotation, Kind):
        return annotation
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is None:
        if annotation in SIMPLE:
            return SIMPLE[annotation]
        if isinstance(annotation, type) and annotation not in (bytes, bytearray, memoryview):
            return _many_of(annotation, (), False) if issubclass(annotation, abc.Iterable) and (
                annotation.__module__ in ("builtins", "collections.abc", "typing")
            ) else _instance(annotation)  # fmt: skip
        return _instance(annotation) if isinstance(annotation, type) else ANYTHING  # a type variable
    if origin is Annotated:
        return _annotated(args[0], args[1:])
    if origin is Literal:
        return _choice(args)
    if origin in (Union, types.UnionType):
        if set(args) >= {str, os.PathLike[str]}:
            rest = [a for a in args if a not in (str, os.PathLike[str])]
            return PATH if not rest else _either([PATH, *map(kind_of, rest)])
        return _either([kind_of(a) for a in args])
    if origin is type:
        return Kind("a class", lambda v, kind: v if isinstance(v, type) else kind.refuse(v))
    if origin is abc.Callable:
        return FUNCTION
    if isinstance(origin, type) and origin in (os.PathLike,):
        return PATH
    if isinstance(origin, type) and issubclass(origin, abc.Iterable):
        return _many_of(origin, args, False)
    return _instance(origin) if isinstance(origin, type) else ANYTHING


_kind_of = cache(_new_kind)


def _annotated(base: Any, notes: tuple[Any, ...]) -> Kind:
    for note in notes:
        if isinstance(note, Kind):
            return note
        if isinstance(note, Range):
            return _integers(note) if base is int else _numbers(note)
        if isinstance(note, str):
            kind = kind_of(base)
            return Kind(note, kind.fit, tuple(kind.instant))
        if note is Ordered:
            return _many_of(get_origin(base), get_args(base), True)
    return kind_of(base)


def _many_of(origin: Any, args: tuple[Any, ...], ordered: bool) -> Kind:
    if issubclass(origin, abc.Mapping):
        keys, values = args or (Any, Any)
        return _table(kind_of(keys), kind_of(values))
    if origin is np.ndarray:
        return _instance(origin)
    if origin is tuple and args and args[-1] is not Ellipsis:
        return _fixed(tuple(kind_of(a) for a in args))
    return _many(origin, kind_of(args[0]) if args else ANYTHING, ordered)
