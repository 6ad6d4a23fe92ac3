"""Kernels that repeat are drawn once, and nothing is lost: every step is in a box, every line within one or between."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
from effort import examples
from hypothesis import given
from large_programs import PROGRAMS, lstm_step, residual_forward, residual_step
from test_viz_turns import Reading

import tensorgraph as tg
from tensorgraph.compile.plan import Plan, plan
from tensorgraph.graph.graph import Graph
from tensorgraph.native import machine
from tensorgraph.testing.programs import Program, programs
from tensorgraph.viz import Drawing, draw, drawing_from_json
from tensorgraph.viz.model.budget import in_order
from tensorgraph.viz.model.kernel_repeats import drawn_once, with_turns
from tensorgraph.viz.model.kernels import kernels_drawn
from tensorgraph.viz.render.parts import parts_of

pytestmark = pytest.mark.skipif(not machine.available(), reason="no machine code here")
NAMES = ("residual forward", "demo step", "two inputs step", "gan step", "lstm forward", "lstm step", "u-net step")


def drawings(graph: Graph) -> tuple[Plan, Drawing, Drawing, dict[str, str]]:
    """A plan, each of its steps drawn, and what repeats drawn once."""
    steps = plan(graph.transform())
    whole = kernels_drawn(steps)
    once, box_of, _ = drawn_once(whole, steps.graph)
    return steps, whole, once, box_of


def check(graph: Graph) -> Drawing:
    """Each step, each line and each count of the whole drawing is in the other."""
    steps, whole, once, box_of = drawings(graph)
    _, _, turn_of = drawn_once(whole, steps.graph)
    check_turns(whole, with_turns(once, whole, box_of, turn_of), box_of)
    assert sorted(i for node in once.nodes for i in node.members) == sorted(i for n in whole.nodes for i in n.members)
    ids = {node.id for node in once.nodes}
    stands = {node.id: box_of[node.path] for node in whole.nodes}
    assert set(stands.values()) == ids
    lines = {(edge.tail, edge.head) for edge in once.edges}
    through = {(stands[edge.tail], stands[edge.head]) for edge in whole.edges}
    assert lines == through
    for edge in once.edges:  # from one repeat to the next, and within a frame or between boxes outside
        assert edge.role == "carried" or edge.tail != edge.head
    groups = {group.id: group for group in once.groups}
    for node in once.nodes:
        if node.group is not None:
            assert sum(box == node.id for box in stands.values()) == groups[node.group].count >= 3
    return once


def check_turns(whole: Drawing, told: Drawing, box_of: dict[str, str]) -> None:
    """What lines say of repeats is so of the steps."""
    reading = Reading(told)
    place = reading.places()
    every = {node.id: place[node.members[0]] if node.members else (box_of[node.path], ()) for node in whole.nodes}
    flows = defaultdict(set)
    for edge in whole.edges:
        (tail, maker), (head, reader) = every[edge.tail], every[edge.head]
        flows[tail, head].add((maker, reader))
    frame = {node.id: node.group for node in told.nodes}
    for edge in told.edges:
        if edge.role == "carried" or frame[edge.tail] == frame[edge.head]:
            continue
        pairs = flows[edge.tail, edge.head]
        readers = {reader for _, reader in pairs}
        within = [row.text[3:] for row in edge.rows if row.style == "repeats" and row.text.startswith("in ")]
        if not within:
            assert readers == set(reading.turns(edge.head))
        elif within[0].startswith("the "):
            assert readers == {reading.named(within[0], reading.sizes[edge.head])}
        else:
            assert within[0] == f"{len(readers)} of {reading.sizes[edge.head][0]}"
        for reader in readers:
            said = reading.straight(edge, reader, reader, pairs)
            assert {maker for _, maker in said} == {maker for maker, other in pairs if other == reader}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_program_is_lost(name: str) -> None:
    once = check(PROGRAMS[name]())
    assert len(once.nodes) <= 50


@given(programs())
@examples(40)
def test_nothing_of_a_random_program_is_lost(program: Program) -> None:
    check(program.graph())


@given(programs())
@examples(30)
def test_nothing_is_lost_where_kernels_stand_in_order(program: Program) -> None:
    """Each line of the drawing is one to the next box, or is named in the box that it leads to."""
    _, _, once, _ = drawings(program.graph())
    ordered = in_order(once)
    if ordered is None:
        return
    assert {node.id for node in ordered.nodes} == {node.id for node in once.nodes}
    assert [(e.tail, e.head, e.role, e.values) for e in ordered.edges] == [
        (e.tail, e.head, e.role, e.values) for e in once.edges
    ]
    at = {node.id: node for node in ordered.nodes}
    for edge in ordered.edges:
        if edge.cut:
            assert any(row.style == "stub" and row.text.startswith("<- ") for row in at[edge.head].rows)
    assert drawing_from_json(ordered.json()) == ordered
    drawn = set(re.findall(r"^(n\d+)\S* -> (n\d+)\S* \[(?!style=invis)", ordered.dot(), re.M))
    whole = {(e.tail, e.head) for e in ordered.edges if not e.cut and e.role != "carried"}
    assert whole <= drawn or len(set(parts_of(ordered).values())) > 1  # between columns a line passes points


def test_blocks_and_steps_are_templates_with_their_counts() -> None:
    drawing = draw(residual_forward(12), level="compiled")
    assert [group.rows[0].text for group in drawing.groups][0] == "ResidualBlock blocks.0 ... 11 x12"
    assert drawing.title == "Residual: 88 ops run as 62 steps, drawn as 7 boxes"
    assert any(edge.role == "carried" and edge.rows[0].text == "x12" for edge in drawing.edges)
    recurrent = draw(PROGRAMS["lstm forward"](), level="compiled")
    assert [group.count for group in recurrent.groups] == [20]
    assert "<- xs, then k03" in recurrent.text()  # from outside, and from the repeat before


def test_backward_kernels_fold_whenever_they_run() -> None:
    """What a plan runs on the side comes at other times in some blocks, and names the lines of others too; the last
    block reads what entered the first."""
    drawing = check(residual_step(5))
    assert sorted(group.count for group in drawing.groups) == [4, 5, 5]  # what the head leads to is a block of its own
    inside = [node for node in drawing.nodes if node.title == "backward" and node.group is not None]
    assert len(inside) == 1 and len(inside[0].members) == 4


def test_many_kernels_stand_in_the_order_in_which_they_run() -> None:
    drawing = draw(residual_step(4), level="compiled", depth="op")
    assert drawing.in_order and drawing_from_json(drawing.json()).in_order
    place = {node.id: n for n, node in enumerate(drawing.nodes)}
    steps = {edge: place[edge.head] - place[edge.tail] for edge in drawing.edges if edge.role != "carried"}
    assert all(step == 1 if not edge.cut else step > 1 for edge, step in steps.items())
    at = {node.id: node for node in drawing.nodes}
    for edge in steps:
        tail, rows = at[edge.tail], [row.text for row in at[edge.head].rows]
        name = tail.title if tail.role == "input" else tail.path
        said = f"<- {name}" if edge.cut else f"not one with {name}: "
        more = any(row.startswith("<- ") and row.endswith(" more") for row in rows)
        assert more or tail.role == "input" or any(row.startswith(said) for row in rows) or not edge.values[1:]
    frames = [node.group for node in drawing.nodes if node.group]
    assert len([1 for a, b in pairwise([None, *frames]) if a != b]) == len(set(frames))  # each together
    assert len(set(parts_of(drawing).values())) > 2
    assert not draw(residual_forward(4), level="compiled").in_order


def test_updates_of_an_optimiser_are_one_box() -> None:
    graph = residual_step(4)
    (update,) = [node for node in draw(graph, level="compiled").nodes if " Adam x" in node.title]
    parameters = sum(cell.kind == "parameter" for cell in graph.cells)
    assert update.title == f"{update.path} Adam x{parameters} parameters" and len(update.members) == parameters
    assert update.rows[1].text.startswith("adam_step: adam_update")
    said = f"writes {parameters} parameters + {3 * parameters} buffers"
    assert [row.text for row in update.rows if row.style == "write"] == [said]


def test_what_comes_from_far_is_named_by_its_number() -> None:
    drawing = draw(residual_step(4), level="compiled", depth="op")
    numbers = {node.path: node.title for node in drawing.nodes if node.role == "kernel"}
    assert all(title.startswith(f"{path} ") for path, title in numbers.items())
    stubs = [row.text for node in drawing.nodes for row in node.rows if row.style == "stub" and "<-" in row.text]
    named = [text for text in stubs if text.startswith("<- k")]
    assert named and all(text.split()[1].strip(",") in numbers for text in named)
    assert any(text.endswith(", opaque") for text in named)  # and why the two are no one kernel
    assert any("drawn as named stubs" in note for note in drawing.notes)
    assert not any(edge.cut for edge in draw(residual_forward(4), level="compiled").edges)


def test_figures_of_a_template_are_of_one_and_of_all() -> None:
    for overlay in ("flops", "time"):
        drawing = draw(residual_forward(5), level="compiled", overlay=overlay)
        inside = [node for node in drawing.nodes if node.group is not None]
        assert inside and all(" x5 = " in node.metric for node in inside)


def test_what_differs_in_an_attribute_or_in_its_wires_does_not_fold() -> None:
    def axes(x: Any) -> Any:
        for n in range(24):
            x = tg.cumsum(tg.tanh(x), axis=n.bit_count() % 2)  # nothing three times in a row
        return x

    def first(x: Any) -> Any:
        made = [x]
        for n in range(8):  # each reads another one from before
            made.append(tg.cumsum(made[-1] * made[n // 2], axis=0))
        return made[-1]

    for f in (axes, first):
        drawing = check(tg.trace(f, tg.f32[3, 3]))
        assert all(group.count < 5 for group in drawing.groups)
    assert not drawing.groups or f is first


def test_templates_are_called_as_the_text_calls_what_they_are_of() -> None:
    def titles(graph: Graph) -> list[str]:
        return [group.rows[0].text for group in draw(graph, level="compiled").groups]

    assert titles(lstm_step(8))[:2] == ["for t in range(8)", "grad for t in range(8), x6"]
    assert titles(residual_step(4))[:2] == ["ResidualBlock blocks.0 ... 3 x4", "grad blocks.2 ... blocks.0 x3"]
