"""Cells under a plan: written in place where nobody sees it, all or none, and whoever held their arrays keeps them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from plan_rules import RULES, exact_rule

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


class Cells:
    """Three cells, two of one type."""

    def __init__(self) -> None:
        self.a = tg.Buffer(np.arange(12, dtype="float32").reshape(3, 4), name="a")
        self.b = tg.Buffer(np.arange(12, dtype="float32").reshape(3, 4) - 20, name="b")
        self.n = tg.Buffer(np.int64(3), name="n")


def swap(c: Cells, x: Any) -> Any:
    a, b = c.a.read(), c.b.read()
    c.a.assign(b)
    c.b.assign(a)


def swap_of_sums(c: Cells, x: Any) -> Any:
    a, b = c.a + x, c.b * x
    c.a.assign(b)
    c.b.assign(a)


def same_twice(c: Cells, x: Any) -> Any:
    c.a.assign(c.a * c.a)
    return c.b + c.b


def view_returned(c: Cells, x: Any) -> Any:
    before = c.a.read()
    c.a.assign(c.a + x)
    return before[1:, ::2], before.T


def given_and_written(c: Cells, x: Any) -> Any:
    y = c.a + x
    c.a.assign(y)
    return y, y.T


def written_twice(c: Cells, x: Any) -> Any:
    y = c.a - x
    c.a.assign(y)
    c.b.assign(y)


def argument_returned(c: Cells, x: Any) -> Any:
    c.a.assign(x)
    return x, x[::-1], tg.zeros((3, 0)), 2.5


def own_transposition(c: Cells, x: Any) -> Any:
    c.a.assign(c.a.T.reshape(3, 4))
    c.b.assign(c.a[::-1])


def nothing(c: Cells, x: Any) -> Any:
    c.a.assign(c.a.read())
    c.n.assign(7)
    return c.n


def read_late(c: Cells, x: Any) -> Any:
    """What a cell held is read by what comes after the new value is computed."""
    a = c.a.read()
    y = a + x
    z = tg.exp(a * y)
    c.a.assign(y)
    c.n.assign(c.n + 1)
    return z * a


def chain(c: Cells, x: Any) -> Any:
    y = c.a * x
    for _ in range(5):
        y = y + c.b
        y = y * y
    c.a.assign(y - x)
    return (y + x).sum()


@tg.op("given_back_in_plans(x)", vjp=dict(x=None), infer_rule=lambda x: x)
def given_back(x):
    """An op on NumPy whose result is its input."""
    return x


def moved_on(c: Cells, x: Any) -> Any:
    c.b.assign(c.a)
    c.a.assign(c.a + x)


def kept_on_numpy(c: Cells, x: Any) -> Any:
    """NumPy keeps what lies in memory that kernels use again."""
    y = (c.a + x) * x
    kept = given_back(y)
    held = given_back(c.a.read())
    z = y * x + c.b
    for _ in range(3):
        z = z * z[::-1] - x
    c.a.assign(z)
    return kept, held, tg.exp(kept)


def with_itself(c: Cells, x: Any) -> Any:
    """A kernel reads one buffer twice, otherwise the second time: it cannot be written over."""
    y = c.a + x
    y = y * y[::-1]
    y = y + y[:, ::-1]
    c.a.assign(y - y[::-1])
    c.b.assign(c.b * c.b[::-1])


STEPS = [
    moved_on,
    kept_on_numpy,
    with_itself,
    swap,
    swap_of_sums,
    same_twice,
    view_returned,
    given_and_written,
    written_twice,
    argument_returned,
    own_transposition,
    nothing,
    read_late,
    chain,
]


def traced(step: Callable[..., Any], c: Cells) -> tuple[Any, list[Any]]:
    graph = tg.trace(lambda x: step(c, x), np.zeros((3, 4), "float32"))
    cells = {cell.path: cell for cell in vars(c).values()}
    return graph, [cells[decl.path] for decl in graph.cells]


def arguments() -> list[Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4)).astype("float32")
    wide = rng.normal(size=(3, 8)).astype("float32")
    raw = np.zeros(3 * 4 * 4 + 1, np.uint8)
    unaligned = raw[1:].view("float32").reshape(3, 4)
    unaligned[...] = x
    return [x, wide[:, ::2], x[::-1], np.asfortranarray(x), unaligned, x]


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


@pytest.mark.parametrize("of_cell", [True, False])
def test_checks_come_before_anything_is_written(of_cell: bool) -> None:
    told = []

    def checked(call: Any) -> bool:
        (count, _) = call.inputs if of_cell else (None, None)
        place = count if of_cell else call.inputs[0]
        call.check(kernel(count_check, "float64"), [place.address()], "the count is below 5")
        call.run(kernel(count_note, "float64"), [place.address(), call.warn(lambda: told.append(1))])
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
    with pytest.raises(ValueError, match="the cell a is float64"):
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
