"""Cells under a plan: written in place where nobody sees it, all or none, and whoever held their arrays keeps them."""

from typing import Any

import numpy as np
import pytest
from plan_rules import RULES, exact_rule
from plan_steps import STEPS, Cells, arguments, swap_of_sums, traced

import tensorgraph as tg
from tensorgraph.compile import cell_memory
from tensorgraph.compile import plan as plans
from tensorgraph.compile.native_runner import NativeRunner
from tensorgraph.compile.plan import plan
from tensorgraph.compile.selection import no_rule
from tensorgraph.native import machine
from tensorgraph.native.kernel import kernel
from tensorgraph.native.words import load_int, store_int, word_at
from tensorgraph.testing import assert_same
from tensorgraph.testing.programs.program import quiet

pytestmark = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))


@pytest.mark.parametrize("rule", [no_rule, exact_rule])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("by_headers", [True, False])
@pytest.mark.parametrize("large", [0, plans.LARGE])
def test_cells_and_arguments_that_share_memory(
    step: Any, rule: Any, by_headers: bool, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "LARGE", large)
    if not by_headers:
        monkeypatch.setattr(cell_memory, "slot_offset", lambda: None)
    ours, theirs = Cells(), Cells()
    graph, cells = traced(step, ours)
    runner = NativeRunner(plan(graph, rule, grouped=False), cells)
    _, others = traced(step, theirs)
    slots = {decl.var: cell for decl, cell in zip(graph.cells, others, strict=True)}
    earlier: list[tuple[Any, Any]] = []
    for number, x in enumerate(arguments()):
        if number == 3:
            for cell in (*cells, *others):  # a new array
                cell._value = cell._value.copy()
        if number % 2:
            earlier += [(cell.read().numpy(), cell._value.copy()) for cell in cells]
        with quiet():
            expected = graph.program.run([x, *(cell._value.copy() for cell in others)])
            got = runner.run((x,))
        earlier += [(a, np.array(a)) for a in got]
        for a, b in zip(got, expected, strict=False):
            assert_same(b, a, f"{step.__name__}, run {number}")
        for write, value in zip(graph.writes, expected[len(graph.outputs) :], strict=True):
            slots[write.cell]._store(np.asarray(value))
        for mine, other in zip(cells, others, strict=True):
            assert_same(other._value, mine._value, f"{mine.path} after run {number}")
    for a, numbers in earlier:
        assert_same(numbers, np.array(a), "what was given earlier")


def test_values_are_computed_where_they_are_assigned() -> None:
    def step(c: Cells, x: Any) -> Any:
        c.a.assign(c.a + x)
        c.b.assign(c.b * (c.a.read() - x))
        return x

    c = Cells()
    graph, cells = traced(step, c)
    made = plan(graph, exact_rule, grouped=False)
    assert len(made.donated) == 2
    runner = NativeRunner(made, cells)
    x = np.ones((3, 4), "float32")
    runner.run((x,))
    before = [cell._value.__array_interface__["data"][0] for cell in cells]
    runner.run((x,))
    assert [cell._value.__array_interface__["data"][0] for cell in cells] == before
    held = c.a.read()
    numbers = held.numpy().copy()
    runner.run((x,))
    assert_same(numbers, held.numpy(), "held by somebody")
    assert_same(numbers + 1, c.a._value, "the cell")


def test_a_failing_step_changes_nothing() -> None:
    def step(c: Cells, x: Any) -> Any:
        c.a.assign(c.a + x)
        c.n.assign(c.n + 1)
        return tg.linalg.cholesky(x[:, :3])

    c = Cells()
    graph, cells = traced(step, c)
    runner = NativeRunner(plan(graph, exact_rule, grouped=False), cells)
    runner.run((np.eye(3, 4, dtype="float32"),))
    before = [cell._value.copy() for cell in cells]
    for _ in range(2):
        with pytest.raises(Exception, match="cholesky"):
            runner.run((-np.eye(3, 4, dtype="float32"),))
        for cell, numbers in zip(cells, before, strict=True):
            assert_same(numbers, cell._value, cell.path)
    runner.run((np.eye(3, 4, dtype="float32"),))
    assert int(c.n.numpy()) == 5


def count_check(w: Any, block: Any, blocks: Any) -> None:
    code = 0
    if load_int(word_at(w, 0)) >= 5:
        code = 1
    store_int(word_at(w, 1), code)


def count_note(w: Any, block: Any, blocks: Any) -> None:
    store_int(word_at(w, 1), load_int(word_at(w, 0)) & 1)


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("of_cell", [True, False])
def test_checks_come_before_anything_is_written(of_cell: bool, blocks: int) -> None:
    told = []

    def checked(call: Any) -> bool:
        (count, _) = call.inputs if of_cell else (None, None)
        place = count if of_cell else call.inputs[0]
        call.check(kernel(count_check, "float64"), [place.address()], "the count is below 5")
        call.run(kernel(count_note, "float64"), [place.address(), call.warn(lambda: told.append(1))], blocks)
        call.run(kernel(increment, "float64"), [place.address(), call.outputs[0].address()])
        call.may_replace(0, 0)
        return True

    def rule(eq: Any) -> Any:
        if eq.outputs[0].aval.dtype != np.int64:
            return RULES.get(eq.op.name)
        return checked if eq.op.name == "add" else None

    def step(c: Cells, x: Any) -> Any:
        c.a.assign(c.a + x)
        n = c.n.read() if of_cell else tg.square(c.n)
        m = n + 1
        c.n.assign(c.n + 1 if not of_cell else m)
        c.b.assign(c.b + x)
        return m if not of_cell else x

    c = Cells()
    graph, cells = traced(step, c)
    runner = NativeRunner(plan(graph, rule, grouped=False), cells)
    x = np.ones((3, 4), "float32")
    while True:
        before = [cell._value.copy() for cell in cells]
        n = int(c.n._value)
        fails = max(n, n if of_cell else n * n) >= 5
        if fails:
            break
        runner.run((x,))
        assert int(c.n._value) == n + 1
    for _ in range(3):
        with pytest.raises(ValueError, match="the count is below 5"):
            runner.run((x,))
        for cell, numbers in zip(cells, before, strict=True):
            assert_same(numbers, cell._value, cell.path)
    c.n.assign(0)
    told.clear()
    runner.run((x,))
    assert not told
    runner.run((x,))
    assert told


def increment(w: Any, block: Any, blocks: Any) -> None:
    store_int(word_at(w, 1), load_int(word_at(w, 0)) + 1)


def test_a_cell_of_another_type_is_refused() -> None:
    c = Cells()
    graph, cells = traced(swap_of_sums, c)
    runner = NativeRunner(plan(graph, exact_rule, grouped=False), cells)
    x = np.ones((3, 4), "float32")
    runner.run((x,))
    c.a._value = c.a._value.astype("float64")
    with pytest.raises(ValueError, match=r"the cell a was .* is float64"):
        runner.run((x,))
    c.a._value = np.ones((3, 3), "float32")
    with pytest.raises(ValueError, match=r"of shape \(3, 3\)"):
        runner.run((x,))


def test_headers_are_read_here() -> None:
    """On the interpreters of the tests, no cell is looked at by Python."""
    assert cell_memory.headers_are_known()


@pytest.mark.parametrize("rule", [no_rule, exact_rule])
def test_what_has_no_inputs_is_computed_once(rule: Any) -> None:
    graph = tg.trace(lambda x: (tg.ones((3, 4)) * 2.0 + x, tg.arange(5), tg.eye(3)[:2].T), np.zeros((3, 4), "float32"))
    made = plan(graph, rule, grouped=False)
    assert all(step.equations[0].inputs for step in made.steps)
    runner = NativeRunner(made, [])
    first = runner.run(arguments()[:1])
    for a, b in zip(first, graph.program.run(arguments()[:1]), strict=True):
        assert_same(b, a, "an output")
    for a in first:
        a[...] = 7  # they are the caller's
    for a, b in zip(runner.run(arguments()[:1]), graph.program.run(arguments()[:1]), strict=True):
        assert_same(b, a, "an output")


@pytest.mark.parametrize("number", [0.5, 3])
@pytest.mark.parametrize("computed", [False, True])
def test_numbers_are_read_where_they_are_put(number: Any, computed: bool) -> None:
    c = Cells()
    x = np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)

    def step(x: Any, rate: Any) -> Any:
        a = c.a.read()
        c.a.assign(a - x * (2 * rate if computed else rate))
        return a * x

    graph = tg.trace(step, x, number)
    runner = NativeRunner(plan(graph), graph.provenance.cells(1))  # type: ignore[arg-type]
    assert runner.is_short is not computed
    for k in (number, number + 1, -number):
        before = c.a._value.copy()
        expected = graph.program.run([x, k, before])
        (found,) = runner.run((x, k))
        assert_same(expected[0], found, "the output")
        assert_same(expected[1], c.a._value, "the cell")
