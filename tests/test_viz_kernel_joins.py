"""Kernels drawn together lose nothing: each step is in a box, each line within one or between, none leads back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from effort import examples
from hypothesis import given
from large_programs import PROGRAMS, residual_forward, residual_step

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.compile.plan import plan
from tensorgraph.graph.graph import Graph
from tensorgraph.native import machine
from tensorgraph.testing.programs import Program, programs
from tensorgraph.viz import Drawing, draw, drawing_from_json
from tensorgraph.viz.model.functions import with_functions
from tensorgraph.viz.model.kernel_joins import STEPS, Joins, brief
from tensorgraph.viz.model.kernel_repeats import drawn_once
from tensorgraph.viz.model.kernels import kernels_drawn
from tensorgraph.viz.render.json import to_json

pytestmark = pytest.mark.skipif(not machine.available(), reason="no machine code here")


def check(graph: Graph) -> int:
    """All coarser drawings of a graph hold what the whole one does; gives how many there are."""
    steps = plan(graph.transform())
    whole = kernels_drawn(steps)
    once, box_of, _ = drawn_once(whole, steps.graph)
    every = sorted(i for node in whole.nodes for i in node.members)
    found, boxes = 0, len(once.nodes)
    for drawing, stands in Joins(once, with_functions(steps.graph, compiled=True), box_of, frozenset()).coarser():
        found += 1
        assert len(drawing.nodes) < boxes
        boxes = len(drawing.nodes)
        assert sorted(i for node in drawing.nodes for i in node.members) == every
        of = {node.id: stands.get(box_of[node.path], box_of[node.path]) for node in whole.nodes}
        assert set(of.values()) == {node.id for node in drawing.nodes}
        through = {(of[edge.tail], of[edge.head]) for edge in whole.edges}
        lines = {(edge.tail, edge.head) for edge in drawing.edges}
        assert {pair for pair in through if pair[0] != pair[1]} == {pair for pair in lines if pair[0] != pair[1]}
        values = {(of[e.tail], of[e.head], value) for e in whole.edges for value in e.values}
        drawn = {(edge.tail, edge.head, value) for edge in drawing.edges for value in edge.values}
        assert {v for v in drawn if v[0] != v[1]} <= values
        place = {node.id: n for n, node in enumerate(drawing.nodes)}
        assert all(place[e.tail] < place[e.head] for e in drawing.edges if e.role != "carried")
        check_counts(drawing, of, len(steps.steps))
        assert drawing_from_json(to_json(brief(drawing))) == brief(drawing)
    return found


def check_counts(drawing: Drawing, of: dict[str, str], steps: int) -> None:
    """What boxes say of how many kernels they are."""
    repeats, total = drawing.repeats, 0
    for node in drawing.nodes:
        if node.role not in STEPS:
            continue
        number = sum(box == node.id for box in of.values())
        total += number
        assert number % repeats[node.group] == 0
        said = re.search(r"(\d+) kernels$", node.title)
        if said is not None:
            assert int(said[1]) * repeats[node.group] == number
        if node.role == "kernels" and node.group is None:
            first, last = map(int, re.findall(r"\d+", node.path))
            assert last - first + 1 >= number
    assert total == steps


@given(programs())
@examples(30)
def test_nothing_of_a_random_program_is_lost(program: Program) -> None:
    check(program.graph())


@pytest.mark.parametrize(
    "name", ["residual step", "gan step", "u-net step", pytest.param("maml step", marks=pytest.mark.slow)]
)
def test_nothing_of_a_program_is_lost(name: str) -> None:
    assert check(PROGRAMS[name]()) >= 3


def kernels(drawing: Drawing) -> list[str]:
    return [node.title for node in drawing.nodes if node.role in STEPS]


def test_modules_are_joined_as_deep_as_is_asked_for() -> None:
    graph = residual_forward(4)
    joined = draw(graph, level="compiled", depth=1)
    assert kernels(joined) == ["k01 product", "k02..k05 4 kernels", "k19 running_step", "k18 product"]
    (box,) = [node for node in joined.nodes if node.role == "kernels"]
    said = ["product x2, forward, region", "matmul x2, batch_norm_relu, add x3", "large_programs.py", "6 parameters"]
    assert [row.text.partition(":")[0] for row in box.rows[1:]] == said and len(box.members) % 4 == 0
    whole = draw(graph, level="compiled", depth="op")
    assert "several kernels" not in {entry.text for entry in whole.legend}
    assert len(kernels(whole)) == 7 and any(row.style == "parameter" for node in whole.nodes for row in node.rows)


def test_what_is_asked_for_is_drawn_by_itself() -> None:
    model = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)) for _ in range(5)])
    graph = tg.trace(model, tg.f32[2, 4])
    folded = draw(graph, level="compiled")
    assert [group.count for group in folded.groups] == [5]
    opened = draw(graph, level="compiled", expand="4")
    assert [group.count for group in opened.groups] == [4] and len(opened.nodes) > len(folded.nodes)
    assert len(kernels(draw(graph, level="compiled", expand=True))) == 15
    by_number = draw(graph, level="compiled", expand="k14..k15", depth=1)
    assert kernels(by_number)[-2:] == ["k14 region", "k15 product"]
    with pytest.raises(ValueError, match="no module and no kernel of this drawing; near it are"):
        draw(graph, level="compiled", expand="k111")


def test_what_is_left_out_is_said() -> None:
    drawing = draw(residual_step(12), level="compiled", size=(1280, 640))
    assert any(note.startswith("bytes, cells that are read") for note in drawing.notes)
    assert not any(note.startswith("opaque") for note in drawing.notes)
    joined = draw(PROGRAMS["lstm step"](), level="compiled", depth=1)
    (said,) = [note for note in joined.notes if "depth='op' draws each" in note]
    boxes = [node for node in joined.nodes if node.role == "kernels"]
    assert said.startswith(f"{sum(len(node.tip.splitlines()) for node in boxes)} kernels drawn as {len(boxes)} boxes")


def test_each_time_is_told_of_kernels_that_are_drawn_once() -> None:
    drawing = draw(residual_forward(6), level="compiled", overlay="time")
    inside = [node.metric for node in drawing.nodes if node.group is not None]
    assert any(re.match(r"[\d.]+ .s to [\d.]+ .s x6 = ", metric) for metric in inside)


def test_a_frame_of_one_box_that_nothing_leads_back_to_is_a_count() -> None:
    def f(xs: Any) -> Any:
        h = tg.stack([tg.cumsum(tg.cumsum(tg.tanh(xs[i]), axis=0), axis=1) for i in range(6)])
        return tg.cumsum(tg.cumsum(h, axis=0), axis=1)

    steps = plan(tg.trace(f, tg.f32[6, 4, 4]).transform())
    once, box_of, _ = drawn_once(kernels_drawn(steps), steps.graph)
    assert [group.count for group in once.groups] == [6]
    *_, (last, _) = Joins(once, with_functions(steps.graph, compiled=True), box_of, frozenset()).coarser()
    assert not last.groups and len(last.nodes) == 3
