"""How tests are sampled: the same ones every time, of every group as many, and nothing hidden by a neighbour."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import child
import pytest
from effort import BARREN, EVERYTHING, Lines, examples, spread
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


class Recorded:
    """What counts lines, of tests that run those they are told to."""

    def __init__(self) -> None:
        self.data: dict[str, set[int]] = {"before": {1, 2}}
        self._collector, self.counting, self.time = self, True, 0.0

    def start(self) -> None:
        assert not self.counting
        self.counting = True

    def stop(self) -> None:
        assert self.counting
        self.counting = False


def test_lines_are_counted_in_a_test_until_its_parameters_bring_none() -> None:
    counter = Recorded()
    lines = Lines(["test_d*"], counter, lambda: counter.time)

    def counted(nodeid: str, seconds: float, *ran: int) -> bool:
        item: Any = SimpleNamespace(path=Path(nodeid.partition("::")[0]), nodeid=nodeid)
        running = lines.pytest_runtest_protocol(item)
        next(running)
        was, counter.time = counter.counting, counter.time + seconds
        if was:
            counter.data.setdefault("file", set()).update(ran)
        with pytest.raises(StopIteration):
            running.send(None)
        return was

    for n in range(9):
        assert counted(f"test_c.py::test_new[{n}]", 1.0, n)
    assert [counted(f"test_c.py::test_old[{n}]", 0.6 * BARREN, 3) for n in range(4)] == [True, True, False, False]
    assert counted("test_c.py::test_long", 60.0, 3) and counted("test_c.py::test_else", 0.1, 77)
    # one that is new begins it anew
    assert [counted(f"test_c.py::test_long[{n}]", 0.6 * BARREN, n + 99) for n in range(3)] == [False, False, False]
    assert [counted(f"test_c.py::test_b[{n}]", 0.6 * BARREN, 3 + 97 * (n == 1)) for n in range(5)] == [True] * 4 + [
        False
    ]
    assert not counted("test_d_e.py::test_new", 0.0, 1000) and counted("test_de.py::test_new", 0.0, 1000) is False


def test_where_nothing_counts_tests_run() -> None:
    lines = Lines(["test_d*"], None)
    running = lines.pytest_runtest_protocol(SimpleNamespace(path=Path("test_c.py"), nodeid="test_c.py::test"))  # type: ignore[arg-type]
    assert lines.lines() == 0 and next(running) is None


def test_what_coverage_has_seen_is_looked_up_where_it_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "counted.py").write_text("a = 1\nif a:\n    b = 2\nelse:\n    b = 3\n")
    code = (
        "import sys, coverage; sys.path[:0] = [%r, %r]; import effort\n"
        "c = coverage.Coverage(data_file=None, include=['*counted.py'], config_file=False); c.start()\n"
        "lines = effort.Lines([], c); import counted; print(lines.lines()); lines.counts(False); c.save()"
    )
    ran = child.python("-c", code % (str(Path(__file__).parent), str(tmp_path)), cwd=tmp_path)
    assert ran.stdout.strip() == "3", ran.stderr
