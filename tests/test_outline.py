"""Outlines: a graph as functions that call each other; put in place again they are the graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from large_programs import PROGRAMS

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.graph.graph import Graph, Literal, Var
from tensorgraph.graph.inlining import Unlike, verify
from tensorgraph.graph.outline import flat
from tensorgraph.graph.repeats import Turns
from tensorgraph.graph.statements import Application, Assignment, Instance, Member, Operation, Repetition
from tensorgraph.testing import Program, programs

PASSES: dict[str, Callable[[Graph], Graph]] = {
    "as traced": lambda graph: graph,
    "simplify": Graph.simplify,
    "recognise": Graph.recognise,
    "expand": Graph.expand,
    "differentiate": Graph.differentiate,
    "transform": Graph.transform,
}


def counted(graph: Graph) -> dict[str, int]:
    """How often each definition is called."""
    return {definition.name: count for definition, count in graph.outline.counts.items()}


# ---- the guard


@pytest.mark.sampled(test=9, quick=2)
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_fold_before_and_after_passes(name: str) -> None:
    graph = PROGRAMS[name]()
    for key, change in PASSES.items():
        if key == "transform" and name.startswith("transformer"):
            continue  # recognition takes its time there
        changed = change(graph)
        assert changed.outline.reason is None
        verify(changed.outline)


@given(programs())
def test_any_graph_has_an_outline_that_is_the_graph(program: Program) -> None:
    for graph in (program.graph(), program.graph().differentiate()):
        assert graph.outline.reason is None
        assert flat(graph).definitions[0].body


class Layers(nn.Module):
    def __init__(self) -> None:
        self.first, self.second, self.last = (nn.Linear(4, size, seed=size) for size in (4, 4, 2))
        self.norm, self.bend = nn.BatchNorm(4), nn.Tanh()

    def forward(self, x: Any) -> Any:
        return self.last(self.second(self.bend(self.norm(self.first(x)))))


def a_step() -> Graph:
    model = Layers()
    optimizer = optim.Adam(model, 0.1)

    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[8, 4], tg.i64[8])


def test_a_step_is_its_layers_its_model_and_its_optimiser() -> None:
    outline = a_step().outline
    assert counted(outline.graph) == {"Linear": 3, "BatchNorm": 1, "Tanh": 1, "Layers": 1, "Adam": 1, "step": 1}
    by_name = {definition.name: definition for definition in outline.definitions}
    linear, norm, adam = by_name["Linear"], by_name["BatchNorm"], by_name["Adam"]
    assert [member.path for member in linear.members] == ["weight", "bias"] and linear.kind == "module"
    assert [p.name for p in linear.parameters] == ["x"] and isinstance(linear.result, Var)
    assert sum(isinstance(s, Assignment) for s in norm.body) == 4  # the averages are written where they are made
    assert [(p.name, len(p.tree)) for p in adam.parameters] == [("params", 8), ("grads", 8)]
    lists = {member.path: len(member.value) for member in adam.members if member.of == 0}
    assert lists == {"m": 8, "v": 8, "t": 8} and adam.kind == "optimizer"
    loop, count, steps = adam.body
    assert isinstance(loop, Repetition) and loop.count == 8 and len(loop.body) == 5
    assert isinstance(count, Operation) and isinstance(steps, Assignment)
    assert {m.path for m in outline.main.members} == {"", "optimizer"} and outline.main.kind == "graph"
    model = next(m.value for m in outline.main.members if m.path == "")
    assert isinstance(model, Instance) and model.definition is by_name["Layers"]


def broken(outline: Any, name: str) -> Any:
    """The outline's definition of a name, to be changed."""
    return next(definition for definition in outline.definitions if definition.name == name)


def swap_results(outline: Any) -> None:
    sums = broken(outline, "Linear")
    product, total = sums.body
    sums.body = [product, Operation(total.eq.__class__(total.eq.op, total.eq.inputs[::-1], {}, total.eq.outputs), 1)]


def lose_a_write(outline: Any) -> None:
    norm = broken(outline, "BatchNorm")
    norm.body = [s for s in norm.body if not isinstance(s, Assignment)]


def lose_a_member(outline: Any) -> None:
    broken(outline, "Linear").members.pop()


def read_another_cell(outline: Any) -> None:
    broken(outline, "BatchNorm").members[0].path = "beta"


def turn_once_less(outline: Any) -> None:
    broken(outline, "Adam").body[0].count -= 1


def read_another_of_the_list(outline: Any) -> None:
    loop = broken(outline, "Adam").body[0]
    inside, items = loop.lists[0]
    loop.lists[0] = inside, items[::-1]


def lose_a_call(outline: Any) -> None:
    model = broken(outline, "Layers")
    model.body = [s for s in model.body if not (isinstance(s, Application) and s.definition.name == "Tanh")]


def give_another_result(outline: Any) -> None:
    outline.main.result = (Literal(1.0),)


def call_another_instance(outline: Any) -> None:
    model = broken(outline, "Layers")
    calls = [s for s in model.body if isinstance(s, Application) and s.definition.name == "Linear"]
    calls[0].instance, calls[1].instance = calls[1].instance, calls[0].instance


def hand_over_another(outline: Any) -> None:
    adam = next(s for s in outline.main.body if isinstance(s, Application) and s.definition.name == "Adam")
    adam.arguments[1] = adam.arguments[1][::-1]


CHANGES = [
    swap_results, lose_a_write, lose_a_member, read_another_cell, lose_a_call, give_another_result, turn_once_less,
    read_another_of_the_list, call_another_instance, hand_over_another,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_the_guard_sees_an_outline_that_is_not_the_graph(change: Callable[[Any], None]) -> None:
    outline = a_step().outline
    verify(outline)
    change(outline)
    with pytest.raises(Unlike):
        verify(outline)


def test_a_flat_outline_says_why() -> None:
    graph = a_step()
    outline = flat(graph, "because")
    verify(outline)
    assert outline.reason == "because" and len(outline.definitions) == 1
    assert [member.path for member in outline.main.members if isinstance(member, Member)]


# ---- what is one definition


def test_calls_are_one_definition_whatever_their_sizes() -> None:
    def norm(x: Any) -> Any:
        return x / tg.sqrt((x * x).sum())

    graph = tg.trace(lambda x, y: norm(x).sum() + norm(y).sum() + norm(tg.tanh(y)).sum(), tg.f32[3], tg.f32[4, 5])
    assert counted(graph) == {"norm": 3, "f": 1}

    def scaled(x: Any, by: float) -> Any:
        return x * by

    graph = tg.trace(lambda x: scaled(scaled(x, 2.0), 3.0), tg.f32[3])
    assert counted(graph) == {"scaled": 2, "f": 1}


def test_one_that_is_called_twice_and_writes_is_one_definition() -> None:
    norm = nn.BatchNorm(3)
    graph = tg.trace(lambda x: norm(tg.tanh(norm(x))), tg.f32[4, 3])
    assert graph.outline.reason is None and counted(graph) == {"BatchNorm": 2, "f": 1}
    paths = {decl.var: decl.path for decl in graph.cells}
    assert {paths[cell] for cells in graph.outline.late.values() for cell in cells} == {
        "running_mean", "running_var", "accumulated", "count",
    }  # fmt: skip


def test_free_values_are_arguments_and_foreign_modules_too() -> None:
    model = nn.Linear(3, 2, seed=0)
    limit = tg.Parameter(np.ones(2, "f4"))

    def step(x: Any, y: Any) -> Any:
        def loss(x: Any) -> Any:
            return ((model(x) - y) ** 2 * limit).sum()

        return loss(x) + loss(tg.tanh(x))

    graph = tg.trace(step, tg.f32[4, 3], tg.f32[4, 2])
    assert counted(graph) == {"Linear": 2, "loss": 2, "step": 1}
    loss = broken(graph.outline, "loss")
    assert [p.name for p in loss.parameters] == ["x", None, None, None]
    assert [type(p.tree) for p in loss.parameters] == [Var, Instance, Var, Var]


def test_two_models_at_the_root() -> None:
    class Maker(nn.Module):
        def __init__(self) -> None:
            self.up = nn.Linear(2, 3, seed=0)

        def forward(self, x: Any) -> Any:
            return tg.tanh(self.up(x))

    class Judge(nn.Module):
        def __init__(self) -> None:
            self.down = nn.Linear(3, 1, seed=0)

        def forward(self, x: Any) -> Any:
            return self.down(x)

    maker, judge, bend = Maker(), Judge(), nn.ReLU()
    graph = tg.trace(lambda x: judge(bend(maker(x))), tg.f32[4, 2])
    assert graph.outline.reason is None
    assert counted(graph) == {"Linear": 2, "Maker": 1, "ReLU": 1, "Judge": 1, "f": 1}
    assert [m.value.name for m in graph.outline.main.members if isinstance(m.value, Instance)] == ["Maker", "Judge"]


def test_results_nest_as_they_were_returned() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(2, 2, seed=0)

        def forward(self, x: Any) -> Any:
            h = self.layer(x)
            return {"raw": h, "parts": [tg.tanh(h), 1.5]}

    both = Both()

    def f(x: Any) -> Any:
        given = both(x)
        return given["parts"][0] * given["raw"]

    graph = tg.trace(f, tg.f32[3, 2])
    result = broken(graph.outline, "Both").result
    assert list(result) == ["raw", "parts"] and len(result["parts"]) == 1


def test_many_turns_take_few_steps() -> None:
    """A second derivative of a recurrent cell is folded by looking at a few operands for each that it has."""

    def slope(w: Any, xs: Any) -> Any:
        def run(w: Any) -> Any:
            h = xs[0]
            for t in range(12):
                h = tg.tanh(h * w + tg.sin(xs[t]))
            return (h * h).sum()

        return (tg.grad(run)(w) ** 2).sum()

    graph = tg.trace(tg.grad(slope), tg.f32[3], tg.f32[12, 3]).differentiate()
    looked = 0

    def counted(self: Any, slot: Any) -> Any:
        nonlocal looked
        looked += 1
        return role(self, slot)

    role = Turns.role
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Turns, "role", counted)
        assert graph.outline.reason is None
    assert looked < 2 * len(graph.equations)
