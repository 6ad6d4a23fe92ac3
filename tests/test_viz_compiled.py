"""The compiled level of pictures: a box a kernel, a line a value that goes from one to another, and the reason."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from viz_pages import needs_engine

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.compile.plan import plan
from tensorgraph.graph.graph import Var
from tensorgraph.native import machine
from tensorgraph.testing.programs import Program, programs
from tensorgraph.viz import drawing_from_json
from tensorgraph.viz.model.kernels import kernels_drawn

X = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
native = pytest.mark.skipif(not machine.available(), reason="no machine code here")


def training(**options: bool) -> Any:
    model = nn.Sequential(nn.Linear(4, 8, seed=0), nn.ReLU(), nn.Linear(8, 2, seed=1))
    adam = optim.Adam(model, lr=0.01)

    @tg.compile(**options)  # type: ignore[call-overload, misc]
    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        adam.minimize(loss)
        return loss

    return step


@native
@given(programs())
@examples(40)
def test_every_step_is_a_box_and_every_value_between_two_a_line_with_its_reason(program: Program) -> None:
    graph = program.graph().transform()
    steps = plan(graph)
    drawing = kernels_drawn(steps)
    boxes = [node for node in drawing.nodes if node.path[0] == "k" and node.path[1:].isdigit()]
    assert len(boxes) == len(steps.steps) or drawing.notes
    assert all(box.role == ("op" if step.on_host else "kernel") for box, step in zip(boxes, steps.steps, strict=True))
    place = {id(eq): n for n, eq in enumerate(graph.equations)}
    for box, step in zip(boxes, steps.steps, strict=True):
        assert box.members == tuple(place[id(eq)] for eq in step.equations)
        assert (f"NumPy: {step.equations[0].op.name}" == box.title) == step.on_host
    maker = {var: box.id for box, step in zip(boxes, steps.steps, strict=True) for var in step.outputs}
    lines = {(edge.tail, edge.head): edge for edge in drawing.edges}
    for box, step in zip(boxes, steps.steps, strict=True):
        own = {out for eq in step.equations for out in eq.outputs}
        for var in step.variables():
            while var not in maker and var in steps.layout.views:
                var = next(steps.layout.views[var].variables())
            if var in maker and var not in own:
                edge = lines[maker[var], box.id]
                assert edge.rows and len(edge.values) > 1
    for out in graph.outputs:
        if isinstance(out, Var) and out in maker:
            assert any(edge.tail == maker[out] for edge in drawing.edges)
    assert drawing_from_json(drawing.json()) == drawing
    assert drawing.text() and drawing.mermaid() and drawing.dot()


@native
def test_a_compiled_function_is_drawn_as_it_was_called() -> None:
    step = training()
    with pytest.raises(RuntimeError, match="has not been called yet"):
        tg.draw(step, level="compiled")
    step(X, np.zeros(16, int))
    before = [cell.numpy().copy() for cell in step._latest().traced.cells]
    drawing = tg.draw(step, level="compiled", overlay="time")
    assert drawing.title == "step: 23 ops run as 14 steps, drawn as 11 boxes"
    words = drawing.text()
    assert "writes 4 parameters + 12 buffers" in words and "test_viz_compiled.py:" in words and "matmul add" in words
    assert all(node.metric.endswith(")") for node in drawing.nodes if node.role == "kernel")
    for cell, value in zip(step._latest().traced.cells, before, strict=True):  # measuring changes nothing
        np.testing.assert_array_equal(cell.numpy(), value)
    assert tg.draw(step).level == "training" and tg.draw(step, level="op").source == step.graph
    only = tg.draw(step, level="compiled", focus="k05", hops=1)
    assert 2 < len(only.nodes) < len(drawing.nodes)


@native
def test_models_functions_and_graphs_are_drawn_too() -> None:
    model = nn.Sequential(nn.Linear(4, 8, seed=0), nn.ReLU(), nn.Linear(8, 2, seed=1))
    for drawing in (
        tg.draw(model, tg.f32[5, 4], level="compiled"),
        tg.draw(tg.trace(model, tg.f32[5, 4]), level="compiled"),
        tg.draw(model.compile(), tg.f32[5, 4], level="compiled"),
    ):
        assert [node.title for node in drawing.nodes if node.role == "kernel"] == ["k01 product", "k02 product"]
    timed = tg.draw(model, X, level="compiled", overlay="time")
    assert "random" not in " ".join(timed.notes) and "ns" in timed.text()
    for overlay in ("bytes", "flops", {"k01": 3.0}):
        assert tg.draw(model, X, level="compiled", overlay=overlay).nodes[1].heat is not None


@native
def test_what_numpy_runs_says_why() -> None:
    drawing = tg.draw(
        lambda a, b: tg.exp(tg.linalg.solve(a, tg.exp(b))), tg.f32[4, 4], tg.f32[4], level="compiled", overlay="time"
    )
    solve = next(node for node in drawing.nodes if node.title == "k02 NumPy: solve")
    assert solve.role == "op" and "one of LAPACK's routines" in solve.tip and solve.metric == "n/a"
    reasons = {(edge.tail, edge.head): edge.rows[0].text for edge in drawing.edges if edge.rows}
    assert sorted(reasons.values()) == ["NumPy", "opaque"]


@native
def test_a_large_graph_is_drawn_in_part() -> None:
    def many(x: Any) -> Any:
        for n in range(1100):  # by the parity of n's binary digits, so that nothing comes three times in a row
            x = tg.cumsum(tg.tanh(x), axis=n.bit_count() % 2)
        return x

    graph = tg.trace(many, tg.f32[3, 3]).transform()  # once for all
    drawing = tg.draw(graph, level="compiled", depth="op")
    assert len(drawing.nodes) < 2100 and any("left out at the end" in note for note in drawing.notes)
    whole = tg.draw(graph, level="compiled")  # as few boxes as a screen has room for
    assert len(whole.nodes) < 100 and len({i for node in whole.nodes for i in node.members}) == 2200
    assert not any("left out" in note for note in whole.notes)
    assert len(tg.draw(graph, level="compiled", focus="k1200").nodes) == 5


def test_without_machine_code_every_op_is_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "reason", lambda: "it is switched off")
    drawing = tg.draw(lambda x: tg.tanh(x @ x).sum(), tg.f32[3, 3], level="compiled", overlay="time")
    said = ["k01 NumPy: matmul", "k02 NumPy: tanh", "k03 NumPy: sum"]
    assert [node.title for node in drawing.nodes if node.role == "op"] == said
    assert any("it is switched off" in note for note in drawing.notes)


@native
def test_times_of_steps_are_those_of_steps() -> None:
    from tensorgraph.compile.timing import step_seconds

    graph = tg.trace(lambda x, b: tg.linalg.inv(x @ x) @ tg.tanh(b), tg.f32[64, 64], tg.f32[64, 64]).transform()
    steps = plan(graph)
    seconds = step_seconds(steps, [], [np.eye(64, dtype="f4"), np.ones((64, 64), "f4")])
    assert [math.isnan(time) for time in seconds] == [step.on_host for step in steps.steps]
    assert all(0 < time < 1 for time in seconds if time == time)


@needs_engine
def test_the_signs_of_kernels_keep_off_the_notes() -> None:
    """A graph without inputs begins with a kernel, whose sign stands out above its box."""
    drawing = tg.draw(lambda: tg.cumsum(tg.arange(40.0), axis=0), level="compiled")
    svg = drawing.svg("light")
    header, first = svg[: svg.index('class="node"')], svg[svg.index('class="node"') :]
    lowest = max(float(y) for y in re.findall(r'<text[^>]* y="([-\d.]+)"', header))
    points = re.search(r'points="([^"]*)"', first)
    assert points is not None
    assert min(float(p.partition(",")[2]) for p in points[1].split()) > lowest + 7
