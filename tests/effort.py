"""How much is tried of what is drawn at random or taken from long tables: everything, a part, or a little.

`make test` takes a part, `make quick` a little, and `--slow` everything, so that the time of the first two hardly grows
with the catalogue. What is taken is the same every time and on every machine.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from fnmatch import fnmatch
from time import process_time
from typing import Any, TypeVar
from zlib import crc32

import pytest
from hypothesis import settings

T = TypeVar("T")

EVERYTHING = 25  # examples of a test that names no number, where everything is tried
FEW = 2  # parameters of one test that a quick run takes, where it names no number of its own
MANY_CALLS = ("forward_mode", "jacobian", "second_order")  # properties that are for kernels which are compiled
BARREN = 0.1  # seconds of a test's time in which no line was new, after which its other parameters are not counted


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


def has_kernels(item: pytest.Item) -> bool:
    """Whether a test is of kernels: one of their files, or an op's that has some."""
    op = item.callspec.params.get("op") if hasattr(item, "callspec") else None
    return item.path.name.startswith(("test_kernels", "test_jit")) or getattr(op, "reference", None) is not None


def calls_much(item: pytest.Item) -> bool:
    """Whether a test is of an op's property that takes hundreds of its calls."""
    return hasattr(item, "callspec") and item.callspec.params.get("name") in MANY_CALLS


def sample(items: Iterable[pytest.Item], effort: str, marked: bool = False, asked: bool = False) -> set[pytest.Item]:
    """Choose what a run takes of all tests: of sampled ones what their budget allows, and none that is slow.

    With the compilers off, the tests of what they compile are taken whole, as it is what such a run is for; but for the
    properties that call a kernel hundreds of times, which takes half a minute where it is Python.

    Parameters
    ----------
    items : iterable of pytest.Item
    effort : {"test", "quick"}
        The latter takes a few parameters of every test.
    marked : bool
        Whether those that are marked slow or kill are taken too.
    asked : bool
        Whether somebody named what to run: then nothing but the samples' budgets holds.
    """
    from tensorgraph import jit

    interpreted = not jit.compiled()
    sampled: dict[str, list[pytest.Item]] = defaultdict(list)
    chosen = set()
    for item in items:
        mark = item.get_closest_marker("sampled")
        slow = any(item.get_closest_marker(name) for name in ("slow", "kill"))
        if interpreted and not slow and has_kernels(item):
            if asked or not calls_much(item):
                chosen.add(item)
        elif not slow and (mark is not None or (effort == "quick" and hasattr(item, "callspec"))):
            sampled[item.nodeid.partition("[")[0]].append(item)
        elif asked or marked or not slow:
            chosen.add(item)
    for table in sampled.values():
        mark = table[0].get_closest_marker("sampled")
        budget = FEW if mark is None else mark.kwargs[effort]
        chosen.update(spread(((item, item.nodeid, group_of(item)) for item in table), budget))
    return chosen


class Lines:
    """Has lines counted where some may be new: while they are, a test takes twice as long.

    Each test is counted in its parameters, one after the other, until `BARREN` seconds of them have brought no line
    that had not run before. So what is counted is nearly what runs, and never more.

    Parameters
    ----------
    files : sequence of str
        Patterns of the names of the files in whose tests none are counted: what they run, others have run.
    coverage : coverage.Coverage or None
        What counts by now, since what loads the package is counted too.
    clock : callable
        The time of this process in seconds.
    """

    def __init__(self, files: Sequence[str], coverage: Any, clock: Callable[[], float] = process_time) -> None:
        self.files, self.coverage, self.clock = files, coverage, clock
        self.counting, self.known = True, 0
        self.barren: dict[str, float] = defaultdict(float)

    def lines(self) -> int:
        """How many lines have run in this process."""
        return 0 if self.coverage is None else sum(map(len, list(self.coverage._collector.data.values())))

    def counts(self, counting: bool) -> None:
        """Begin or end; mostly neighbours are of one kind."""
        if self.coverage is not None and self.counting != counting:
            self.counting = counting
            self.coverage.start() if counting else self.coverage.stop()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self) -> None:
        """All files have been read, and with them what is loaded where it is first asked for."""
        self.counts(False)
        self.known = self.lines()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Count one test, or let it run free."""
        test = item.nodeid.partition("[")[0]
        left_out = any(fnmatch(item.path.name, pattern) for pattern in self.files)
        self.counts(not left_out and self.barren[test] < BARREN)
        began = self.clock()
        try:
            return (yield)
        finally:
            if self.counting:
                before, self.known = self.known, self.lines()
                self.barren[test] = 0.0 if self.known > before else self.barren[test] + self.clock() - began
