"""What is carried from repeat to repeat of a template enters at a point of its own, in every format and level."""

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
import viz_graphs as hand
from hypothesis import given
from hypothesis import strategies as st
from large_programs import PROGRAMS

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.graph.graph import Var
from tensorgraph.viz import Drawing, draw
from tensorgraph.viz.model.fold import fold
from tensorgraph.viz.model.rails import Rows
from tensorgraph.viz.model.view import by_module, by_op
from tensorgraph.viz.render.engine import find_engine

needs_engine = pytest.mark.skipif(find_engine() is None, reason="no layout engine is installed")


def edges(drawing: Drawing) -> dict[tuple[str, str], str]:
    paths = {node.id: node.path for node in drawing.nodes}
    return {(paths[e.tail], paths[e.head]): e.role for e in drawing.edges}


def points(drawing: Drawing) -> list[str]:
    return [node.path for node in drawing.nodes if node.role == "entry"]


class Block(nn.Module):
    def __init__(self, n: int) -> None:
        self.fc1, self.fc2 = nn.Linear(n, n, seed=0), nn.Linear(n, n, seed=1)

    def forward(self, h: Any) -> Any:
        return h + self.fc2(tg.relu(self.fc1(h)))


class Stages(nn.Module):
    def __init__(self, stages: int = 3, blocks: int = 4) -> None:
        self.stages = nn.Sequential(*[
            nn.Sequential(*[Block(4) for _ in range(blocks)], nn.Tanh()) for _ in range(stages)
        ])  # fmt: skip

    def forward(self, x: Any) -> Any:
        return self.stages(x * 2.0)


def lstm(steps: int) -> Any:
    wx, wh = tg.Parameter(tg.ones((3, 8)), name="wx"), tg.Parameter(tg.ones((2, 8)), name="wh")

    def run(xs: Any) -> Any:
        h, c = tg.zeros((5, 2)), tg.ones((5, 2))
        for t in range(steps):
            z = xs[t] @ wx + h @ wh
            c = tg.sigmoid(z[:, :2]) * c + tg.sigmoid(z[:, 2:4]) * tg.tanh(z[:, 4:6])
            h = tg.sigmoid(z[:, 6:]) * tg.tanh(c)
        return h.mean()

    return run


# ---- what is drawn


def test_the_skip_of_a_block_comes_from_the_point_where_the_block_begins():
    drawing = draw(hand.residual(12), level="module")
    start = "blocks.0..blocks.11/in"
    assert points(drawing) == [start]
    found = edges(drawing)
    assert found[start, "blocks.0.fc1"] == "data" and found[start, "blocks.0/add"] == "residual"
    assert found["stem", start] == "data" and found["blocks.0/add", start] == "carried"
    assert ("stem", "blocks.0/add") not in found and ("stem", "blocks.0.fc1") not in found
    point = next(node for node in drawing.nodes if node.role == "entry")
    assert {group.id: group.count for group in drawing.groups}[point.group] == 12
    (back,) = [edge for edge in drawing.edges if edge.role == "carried"]
    assert [row.text for row in back.rows] == ["x12"] and not back.cut
    assert "entry" in {entry.role for entry in drawing.legend}


def test_every_format_has_the_point_and_the_line_back_to_it():
    drawing = draw(hand.residual(12), level="module")
    point = next(node.id for node in drawing.nodes if node.role == "entry")
    add = next(node.id for node in drawing.nodes if node.path == "blocks.0/add")
    dot, mermaid, text = drawing.dot(), drawing.mermaid(), drawing.text()
    word = re.search(rf"^{point}:e -> (k\d+) \[dir=back .*dashed", dot, re.M)[1]  # laid out as what leads down
    assert re.search(rf"^{word} -> {add}:e \[dir=none .*dashed", dot, re.M) and f"{point}:s -> {add} " in dot
    assert f'{add} -.->|"x12"| {point}' in mermaid and f"{point} ==> {add}" in mermaid
    assert f'{point}(("' in mermaid
    lines = text.splitlines()
    at = lines.index("blocks.0 ... blocks.11 x12")
    assert re.match(r"  blocks\.0\.\.blocks\.11/in +32x128 f32 +<- stem, then blocks\.0/add$", lines[at + 1])
    assert lines[at + 2].startswith("  blocks.0.fc1 ") and "<- blocks.0..blocks.11/in" in lines[at + 2]
    assert drawing.json().count('"entry"') == 2  # the box and the legend


@needs_engine
def test_svg_and_html_have_the_line_too():
    drawing = draw(hand.residual(12), level="module")
    assert "blocks.0/add to blocks.0..blocks.11/in" in drawing.svg().replace("&#x2F;", "/")
    page = drawing.html()
    point = next(node.id for node in drawing.nodes if node.role == "entry")
    add = next(node.id for node in drawing.nodes if node.path == "blocks.0/add")
    svg = ElementTree.fromstring(re.search(r"<svg\b.*?</svg>", page, re.S)[0])
    lines = [(g.get("data-tails"), g.get("data-heads")) for g in svg.iter() if g.get("class") == "edge"]
    assert (add, point) in lines and (point, add) in lines


def test_several_carried_values_have_a_point_each_called_as_the_user_calls_them():
    drawing = draw(lstm(9), tg.spec((9, 5, 3)), level="op")
    names = [path.rpartition("/")[2] for path in points(drawing)]
    assert sorted(names) == ["c", "h"]
    back = [pair for pair, role in edges(drawing).items() if role == "carried"]
    assert len(back) == 2 and {head for _, head in back} == set(points(drawing))


def test_a_template_in_a_template_hands_on():
    drawing = draw(Stages(), tg.spec((2, 4)), level="module")
    outer, inner = points(drawing)
    found = edges(drawing)
    assert found["multiply", outer] == "data" and found[outer, inner] == "data"
    back = {pair for pair, role in found.items() if role == "carried"}
    assert back == {("stages.0.0/add", inner), ("stages.0.4", outer)}
    nodes = {node.path: node for node in drawing.nodes}
    parents = {group.id: group.parent for group in drawing.groups}
    assert parents[nodes[inner].group] == nodes[outer].group


def test_a_skip_over_two_blocks_has_points_for_both():
    def f(x: Any) -> Any:
        a, b = x, tg.tanh(x)
        for _ in range(9):
            a, b = b, tg.tanh(b) + a
        return b

    drawing = draw(f, tg.spec((3,)), level="op")
    graph = tg.trace(f, tg.spec((3,)))
    exact(graph, drawing)
    assert len(points(drawing)) == 2


def test_what_all_repeats_share_comes_from_outside_and_each_ones_own_is_said():
    def f(x: Any, y: Any, parts: Any) -> Any:
        outs = []
        for part in tg.split(parts, (1,) * 9):
            x = tg.tanh(x * y + part)
            outs.append(x)
        return tg.stack(outs)

    drawing = draw(f, tg.spec((1,)), tg.spec((1,)), tg.spec((9,)), level="op")
    found = edges(drawing)
    assert found["inputs/y", "multiply"] == "data" and len(points(drawing)) == 1
    paths = {node.id: node.path for node in drawing.nodes}
    said = {(paths[e.tail], paths[e.head]): [row.text for row in e.rows] for e in drawing.edges}
    assert said["split", "add"][-1] == "one each" and said["tanh", "stack"][-1] == "all 9"
    assert not said["inputs/y", "multiply"] and not said["multiply", "add"] and not said["add", "tanh"]
    assert len([1 for edge in drawing.edges if paths[edge.head] == "stack"]) == 1


def test_gradients_leave_a_template_where_its_value_entered():
    drawing = draw(hand.residual(12), level="training")
    found = edges(drawing)
    end = "blocks.0..blocks.11/in~grad"
    assert found["blocks.0.fc1~grad", end] == "gradient" and found["blocks.0/add~grad", end] == "gradient"
    assert found[end, "stem~grad"] == "gradient" and found[end, "blocks.0/add~grad"] == "carried"
    assert ("blocks.0/add~grad", "stem~grad") not in found
    assert "before blocks.0..blocks.11/in~grad" in drawing.text()
    for overlay in ("flops", "bytes"):
        drawing = draw(tg.trace(lstm(9), tg.spec((9, 5, 3))), level="training", overlay=overlay)
        assert not any(node.metric for node in drawing.nodes if node.id in drawing.points)


def test_what_begins_with_a_number_enters_right_above_what_reads_it() -> None:
    """At the training level, where the line back would pass all rows of the repeat."""
    drawing = draw(PROGRAMS["maml step"](), level="training")
    titles = [node.title for node in drawing.nodes if node.twin is None]
    assert titles[titles.index("total, 0 at first") + 1] == "add"


def test_the_line_back_is_beyond_the_skip_on_both_sides() -> None:
    rows = Rows.of(drawing := draw(PROGRAMS["residual step"]()))
    assert rows is not None
    roles = {point: drawing.edges[i].role for i, points in rows.rails.items() for point in points}
    sides = [[roles[point.id] for point in points] for points in rows.left.values()]
    assert ["carried", "residual"] in sides
    assert ["gradient", "carried"] in [[roles[point.id] for point in points] for points in rows.right.values()]


def test_without_a_template_there_is_no_point():
    for drawing in (draw(hand.residual(2), level="module"), draw(hand.residual(12), level="module", expand=True)):
        assert not points(drawing) and not any(edge.role == "carried" for edge in drawing.edges)


# ---- exactly what is there


def exact(graph: Any, drawing: Drawing) -> None:
    """Straight or through points, boxes are joined if and only if a value goes from one to the other."""
    box = {i: node.id for node in drawing.nodes for i in node.members}
    made = {v: box[i] for i, eq in enumerate(graph.equations) for v in eq.outputs}
    made.update(zip(graph.inputs, (n.id for n in drawing.nodes if n.role == "input"), strict=True))
    wanted = {(made[a], box[i]) for i, eq in enumerate(graph.equations) for a in eq.atoms() if a in made}
    outputs = [n.id for n in drawing.nodes if n.role == "output"]
    wanted |= {(made[v], at) for v, at in zip(graph.outputs, outputs, strict=True) if isinstance(v, Var) and v in made}
    inside = {a for a, b in wanted if a == b}
    assert {(a, b) for a, b in hand.joined(drawing) if a != b} == {(a, b) for a, b in wanted if a != b}
    assert {a for a, b in hand.joined(drawing) if a == b} <= inside


@st.composite
def loops(draw_from: Any) -> Any:
    """Loops with one to three carried values, shared values, and what each repeat gives outside."""
    count, states = draw_from(st.integers(3, 7)), draw_from(st.integers(1, 3))
    shared, nested, all_out = (draw_from(st.booleans()) for _ in range(3))
    order = draw_from(st.permutations(range(states)))
    m = hand.Maker()
    x, y = m.input((4,)), m.input((4,), name="y")
    values = [m.op("exp", x) for _ in range(states)]
    outs = []
    for i in range(count):
        scope = f"blocks.{i}"
        new = []
        for k, value in enumerate(values):
            h = m.op("tanh", value, scope=f"{scope}.a{k}")
            for j in range(3 if nested else 1):
                h = m.op("add", h, m.op("relu", h, scope=f"{scope}.inner.{j}"), scope=f"{scope}.inner.{j}")
            if shared:
                h = m.op("multiply", h, y, scope=scope)
            new.append(m.op("add", h, values[order[k]], scope=scope))
        values = new
        outs += values[:1] if all_out else []
    end = values[0]
    for other in [*values[1:], *outs]:
        end = m.op("maximum", end, other)
    return m.graph(end)


@given(loops(), st.sampled_from(["op", "module"]))
def test_boxes_are_joined_exactly_where_values_flow(graph: Any, level: str) -> None:
    exact(graph, draw(graph, level=level))
    boxes = by_op(graph) if level == "op" else by_module(graph)
    folded = fold(graph, boxes)
    drawing = draw(graph, level=level)
    if any(box.others for box in folded) and any(group.count > 1 for group in drawing.groups):
        assert points(drawing)
        assert {head for (_, head), role in edges(drawing).items() if role == "carried"} == set(points(drawing))
