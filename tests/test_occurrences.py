"""Where definitions and loops stand in a graph, and what is summed by them: costs, times, changes."""

import itertools

import pytest
from large_programs import PROGRAMS

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.graph.occurrences import by_definition, names_by_path
from tensorgraph.graph.statements import Definition, Repetition


@pytest.fixture(scope="module")
def graphs():
    return {name: make() for name, make in PROGRAMS.items()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_occurrences_nest_and_hold_every_equation_once(graphs, name):
    graph = graphs[name]
    top = graph.outline.top
    assert (top.start, top.stop, top.of) == (0, len(graph.equations), graph.outline.main)
    for one in top.walk():
        ends = [(inner.start, inner.stop) for inner in one.inner]
        assert all(a <= b for a, b in ends) and ends == sorted(ends)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(ends))
        assert not ends or (one.start <= ends[0][0] and ends[-1][1] <= one.stop)
        if isinstance(one.of, Repetition):
            assert len(one.turns) == one.of.count and one.turns == sorted(one.turns) and one.turns[0] == one.start
    calls = [one.of for one in top.walk() if isinstance(one.of, Definition)]
    assert {of: calls.count(of) for of in calls} == graph.outline.counts


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_sum_of_a_definition_is_that_of_its_equations(graphs, name):
    graph = graphs[name]
    every = range(len(graph.equations))
    whole, *inner = by_definition(graph, every, [1] * len(every))
    assert whole.figures == (sum(every), len(every)) and (whole.depth, whole.count) == (0, 1)
    assert all(one.figures[1] == one.equations for one in inner)
    around = [whole]  # what is called is in what calls it
    for one in inner:
        del around[one.depth :]
        around.append(one)
        parts = [part for part in inner if part.depth == one.depth + 1]
        assert one.equations <= around[-2].equations and (not parts or one.equations > 0)


def test_a_cost_totals_by_definition(graphs):
    cost = graphs["transformer loss"].cost()
    rows = {(str(row), row.depth): row for row in cost.by_definition()}
    block = rows["TransformerBlock x12", 3]
    scopes = {row.scope: row for row in cost.by_scope()}
    assert block.figures[0] == sum(scopes[f"blocks.{i}"].flops for i in range(12)) > 0
    assert ("Attention x12", 4) in rows and ("Linear x24", 5) in rows
    table = cost.table()
    assert len(table.splitlines()) < 20 and "TransformerBlock x12" in table
    assert "Attention x12" not in cost.table(depth=3)
    step = graphs["residual step"].cost()
    backward = [row for row in step.by_definition() if str(row) == "ResidualBlock_backward x4"]
    assert backward[0].figures[0] == backward[0].figures[1] > 0  # all of it is a derivative's
    assert "gradient" in step.table() and "gradient" not in table


def test_a_profile_totals_by_definition():
    blocks = nn.Sequential(*[nn.Linear(4, 4, seed=i) for i in range(5)])
    found = tg.profile(blocks, tg.f32[2, 4], repeats=3)
    (name, seconds, ops), (inner, within, parts) = found.by("definition")
    assert (name, ops, inner, parts) == ("Sequential", 10, "Linear x5", 10)
    assert seconds == pytest.approx(found.total) and within == pytest.approx(found.total)
    assert "  Linear x5" in str(found) and "1 more, in those above" in found.table("definition", 1)


def test_changes_are_told_once_for_all_calls_of_a_definition(graphs):
    told = graphs["residual step"].transform().explain()
    text = told.text()
    assert "ResidualBlock x4: " in text and text.count("batch_norm_relu(") == 1
    assert told.text(full=True).count("batch_norm_relu(") == 4 and "x4" not in told.text(full=True)
    alone = tg.trace(lambda x: tg.exp(x * 1.0) + tg.tanh((x + 2.0) * 1.0), tg.f32[3]).simplify().explain()
    assert alone.text().count("→") == len(alone)  # in no calls: each by itself


def test_what_the_text_calls_each_module(graphs):
    names = names_by_path(graphs["demo step"])
    assert (names["0"], names["6"], names["optimizer"]) == ("Linear", "Linear_2", "Adam")
    assert names_by_path(graphs["flat"]) == {}
