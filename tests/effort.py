"""How much is tried of what is drawn at random or taken from long tables: everything, a part, or a little.

`make test` takes a part, `make quick` a little, and `--slow` everything, so that the time of the first two hardly grows
with the catalogue. What is taken is the same every time and on every machine.
"""

from collections import defaultdict
from collections.abc import Generator, Hashable, Iterable, Sequence
from fnmatch import fnmatch
from typing import Any, TypeVar
from zlib import crc32

import pytest
from hypothesis import settings

T = TypeVar("T")

EVERYTHING = 25  # examples of a test that names no number, where everything is tried
COUNTED = 3  # parameters of one test whose lines are counted: what further ones run, these have run


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


def group_of(item: pytest.Item) -> Any:
    """What a sample should hold as much of as of its like: the op, or whatever else the test's first parameter is."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {"": ""}
    value = parameters.get("op", next(iter(parameters.values())))
    return getattr(value, "name", str(value))


class Lines:
    """Has lines counted in some tests only: while they are, a test takes 1.6 times as long.

    Parameters
    ----------
    items : sequence of pytest.Item
    files : sequence of str
        Patterns of the names of the files in which lines are counted in a few of each test's parameters; in other
        files they are in every test.
    coverage : coverage.Coverage or None
        What counts by now, since what loads the package is counted too.
    """

    def __init__(self, items: Sequence[pytest.Item], files: Sequence[str], coverage: Any) -> None:
        self.coverage, self.counting = coverage, True
        self.chosen: set[pytest.Item] = set()
        tables: dict[str, list[pytest.Item]] = defaultdict(list)
        for item in items:
            if not any(fnmatch(item.path.name, pattern) for pattern in files):
                self.chosen.add(item)
            else:
                tables[item.nodeid.partition("[")[0]].append(item)
        for table in tables.values():
            self.chosen.update(spread(((item, item.nodeid, group_of(item)) for item in table), COUNTED))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Begin or end between two tests; mostly neighbours are of one kind."""
        if self.coverage is not None and self.counting != (item in self.chosen):
            self.counting = not self.counting
            self.coverage.start() if self.counting else self.coverage.stop()
        return (yield)
