"""How tests are sampled: the same ones every time, of every group as many, and nothing hidden by a neighbour."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from effort import COUNTED, EVERYTHING, Lines, examples, spread
from hypothesis import settings


def table(ops: int, properties: int) -> list[tuple[str, str, int]]:
    return [(f"{op}-{p}", f"test[{op}-{p}]", op) for op in range(ops) for p in range(properties)]


@pytest.mark.parametrize("budget", [0, 1, 40, 100, 230, 400, 1000])
def test_every_group_has_as_many(budget: int) -> None:
    items = table(40, 10)
    chosen = spread(items, budget)
    assert len(chosen) == len(set(chosen)) == min(budget, 400)
    counts = Counter({str(op): 0 for op in range(40)})
    counts.update(item.split("-")[0] for item in chosen)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert spread(reversed(items), budget) == chosen


def test_groups_differ_in_what_is_chosen_of_them() -> None:
    """One property for each op, and over the ops all properties."""
    assert {item.split("-")[1] for item in spread(table(100, 10), 100)} == {str(p) for p in range(10)}


def test_a_new_op_takes_from_the_last_round_alone() -> None:
    before, after = spread(table(100, 10), 600), spread(table(101, 10), 600)
    assert len(set(before) - set(after)) == 6


def test_examples_are_in_proportion() -> None:
    usual = settings.default.max_examples  # type: ignore[union-attr]
    assert examples(EVERYTHING).max_examples == usual
    assert examples(4 * EVERYTHING).max_examples == 4 * usual
    assert examples(1).max_examples >= 1
    assert examples(80, stateful_step_count=7).stateful_step_count == 7


def test_sampled_tests_name_both_budgets(request: pytest.FixtureRequest) -> None:
    marked = [mark for item in request.session.items for mark in item.iter_markers("sampled")]
    assert all(set(mark.kwargs) == {"test", "quick"} and mark.kwargs["quick"] <= mark.kwargs["test"] for mark in marked)


class Item(SimpleNamespace):
    """A test as a run has it."""

    __hash__ = object.__hash__


def test_of_the_files_that_are_named_lines_are_counted_in_a_few_of_each_test() -> None:
    items: Any = []
    for file in ("test_a_b.py", "test_c.py"):
        for n in range(9):
            parameters = SimpleNamespace(params={"n": n})
            items.append(Item(path=Path(file), nodeid=f"{file}::test_of[{n}]", callspec=parameters))
        items.append(Item(path=Path(file), nodeid=f"{file}::test"))
    did: list[str] = []
    counter = SimpleNamespace(start=lambda: did.append("start"), stop=lambda: did.append("stop"))
    lines = Lines(items, ["test_a*", "test_d*"], counter)
    assert {one for one in lines.chosen if one.path.name == "test_c.py"} == {*items[10:20]}
    assert len(lines.chosen) == 10 + COUNTED + 1 and items[9] in lines.chosen
    counting, counted = True, set()
    for one in items:
        did.clear()
        for _ in lines.pytest_runtest_protocol(one):
            counting = did == ["start"] if did else counting
            counted |= {one} if counting else set()
    assert counted == lines.chosen
    for _ in Lines(items, ["test_c*"], None).pytest_runtest_protocol(items[0]):
        pass  # and where nothing counts at all it runs
