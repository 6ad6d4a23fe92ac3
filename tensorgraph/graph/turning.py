"""Keys with integers that grow with a loop: ``x[t]``, ``x[:, 2 * t + 1]``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from tensorgraph.graph.graph import typed_key
from tensorgraph.graph.statements import Operation, Repetition, Statement

__all__ = ["at", "loose", "moved", "numbers_of", "pieces", "put", "shifted"]

FEWEST = 4  # turns of a piece: any two keys are a step apart


def moved(statements: Sequence[Statement]) -> Any:
    """The integers of the keys of one statement in several turns that grow with these: of each its place and step.

    Of a loop a list, of each statement in it. None where they do not grow so.
    """
    first = statements[0]
    if isinstance(first, Repetition):
        bodies = zip(*[one.body for one in statements if isinstance(one, Repetition)], strict=True)
        found = [moved(alike) for alike in bodies]
        return None if None in found else found
    if not isinstance(first, Operation) or "key" not in first.eq.attrs:
        return ()
    keys = [statement.eq.attrs["key"] for statement in statements]  # type: ignore[union-attr]
    if len({typed_key(key) for key in keys}) == 1:
        return ()
    steps = []
    for place in integers(keys[0]):
        values = [at(key, place) for key in keys]
        step = values[1] - values[0]
        if any(b - a != step for a, b in itertools.pairwise(values)):
            return None
        if step:
            steps.append((place, step))
    for turn, key in enumerate(keys):
        mine = keys[0]
        for place, step in steps:
            mine = shifted(mine, place, turn * step)
        if typed_key(mine) != typed_key(key):
            return None
    return tuple(steps)


def numbers_of(statement: Statement) -> tuple[int, ...] | None:
    """The integers of a statement's key; of a loop those of all in it; None where there are none."""
    if isinstance(statement, Repetition):
        return tuple(n for one in statement.body for n in numbers_of(one) or ()) or None
    if not isinstance(statement, Operation) or "key" not in statement.eq.attrs:
        return None
    key = statement.eq.attrs["key"]
    return tuple(at(key, place) for place in integers(key)) or None


def pieces(numbers: Sequence[tuple[int, ...] | None], start: int, period: int, count: int) -> list[tuple[int, int]]:
    """What repeats, in pieces in which the integers of keys grow by one step: of each its start and how many turns.

    The rows of a loop in a loop are such pieces.

    Examples
    --------
    >>> pieces([(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)], 0, 1, 8)
    [(0, 4), (4, 4)]
    """
    keyed = [n for n in range(start, start + period) if numbers[n] is not None]
    found = []
    begin = 0
    while begin + FEWEST <= count:
        end = begin + 2
        while end < count and all(
            _step(numbers, n + (end - 1) * period, period) == _step(numbers, n + begin * period, period) for n in keyed
        ):
            end += 1
        if end - begin >= FEWEST:
            found.append((start + begin * period, end - begin))
        begin = end if end - begin >= FEWEST else begin + 1
    return found or ([(start, count)] if count < 2 * FEWEST else [])  # but for its first and last turns, it may be one


def _step(numbers: Sequence[tuple[int, ...] | None], place: int, period: int) -> Any:
    one, two = numbers[place], numbers[place + period]
    return None if one is None or two is None else tuple(b - a for a, b in zip(one, two, strict=False))


def loose(attrs: Any) -> Any:
    """A key, as it is compared, without its integers."""
    if isinstance(attrs, tuple):
        if len(attrs) == 2 and attrs[0] == "int":
            return "int"
        return tuple(map(loose, attrs))
    return attrs


def integers(key: Any, place: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """The places of the integers in a key."""
    if type(key) is int:
        yield place
    elif isinstance(key, tuple) and not (len(key) == 2 and key[0] == "index"):
        for number, item in enumerate(key):
            yield from integers(item, (*place, number))


def at(key: Any, place: tuple[int, ...]) -> Any:
    """What stands at a place of a key."""
    for number in place:
        key = key[number]
    return key


def put(key: Any, place: tuple[int, ...], item: Any) -> Any:
    """A key with another item at a place."""
    if not place:
        return item
    return (*key[: place[0]], put(key[place[0]], place[1:], item), *key[place[0] + 1 :])


def shifted(key: Any, place: tuple[int, ...], by: int) -> Any:
    """A key with one of its integers moved."""
    return put(key, place, at(key, place) + by)
