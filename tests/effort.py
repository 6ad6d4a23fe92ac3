"""How much is tried of what is drawn at random or taken from long tables: everything, a part, or a little.

`make test` takes a part, `make quick` a little, and `--slow` everything, so that the time of the first two hardly grows
with the catalogue. What is taken is the same every time and on every machine.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Any, TypeVar
from zlib import crc32

from hypothesis import settings

T = TypeVar("T")

EVERYTHING = 25  # examples of a test that names no number, where everything is tried


def examples(number: int, **others: Any) -> settings:
    """Settings of a hypothesis test: `number` examples where everything is tried, elsewhere in proportion."""
    return settings(max_examples=max(1, round(number * settings.default.max_examples / EVERYTHING)), **others)


def spread(items: Iterable[tuple[T, str, Hashable]], budget: int) -> list[T]:
    """Choose `budget` of the items, given each with its name and its group: as many of one group as of another.

    Which of a group's come first depends on their names alone, so that other items neither move nor hide them.
    """
    groups: dict[Hashable, list[tuple[int, T]]] = defaultdict(list)
    for item, name, group in items:
        groups[group].append((crc32(name.encode()), item))
    ranked = []
    for members in groups.values():
        members.sort(key=lambda pair: pair[0])
        ranked += [(rank, code, item) for rank, (code, item) in enumerate(members)]
    ranked.sort(key=lambda triple: triple[:2])
    return [item for _, _, item in ranked[:budget]]
