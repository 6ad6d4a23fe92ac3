"""Branches that run beside one another stand side by side in the mirrored step, and no line strikes a box."""

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st
from large_programs import PROGRAMS

import tensorgraph as tg
from tensorgraph.viz import draw
from tensorgraph.viz.model.rails import Rows
from tensorgraph.viz.render.engine import run_engine

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
NAMES = (
    "two inputs step",
    "attention step",
    "u-net step",
    "residual step",
    "transformer step",
    "vae step",
    "demo step",
)


def laid_out(dot: str) -> tuple[dict[str, Any], list[tuple[str, str, list[Any]]]]:
    """Boxes by name as left, top, right, bottom, and lines as ends and points on them."""
    svg = run_engine(dot, "svg", 30.0).decode()
    root = ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", svg[svg.index("<svg") :], count=1))
    boxes, lines = {}, []
    for g in root.iter("g"):
        name = next((child.text or "" for child in g if child.tag == "title"), "")
        if g.get("class") == "node" and re.fullmatch(r"n\d+", name):
            points = [p for part in g if part.tag in ("path", "polygon") for p in numbers(part)]
            boxes[name] = (min(x for x, _ in points), min(y for _, y in points),
                           max(x for x, _ in points), max(y for _, y in points))  # fmt: skip
        elif g.get("class") == "edge":
            tail, head = re.sub(r":\w+", "", name).split("->")
            path = next((part for part in g if part.tag == "path"), None)
            if path is not None:
                lines.append((tail, head, along(numbers(path))))
    return boxes, lines


def numbers(element: Any) -> list[tuple[float, float]]:
    found = [float(n) for n in NUMBER.findall(element.get("d") or element.get("points"))]
    return list(zip(found[::2], found[1::2], strict=True))


def along(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points on a Bézier path, from its controls."""
    on = []
    for i in range(0, len(points) - 3, 3):
        a, b, c, d = points[i : i + 4]
        for k in range(17):
            t = k / 16
            w = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            on.append(tuple(sum(w[j] * p[n] for j, p in enumerate((a, b, c, d))) for n in (0, 1)))
    return on


def struck(boxes: dict[str, Any], lines: list[tuple[str, str, list[Any]]], margin: float = 3.0) -> list[Any]:
    """Boxes that a line which does not end there passes through."""
    return [
        (tail, head, name)
        for tail, head, points in lines
        for name, (left, top, right, bottom) in boxes.items()
        if name not in (tail, head)
        and any(left + margin < x < right - margin and top + margin < y < bottom - margin for x, y in points)
    ]


@pytest.mark.parametrize("direction", ["down", "right"])
@pytest.mark.parametrize("name", NAMES)
def test_no_line_strikes_a_box(name, direction, engine):
    boxes, lines = laid_out(draw(PROGRAMS[name](), level="training", direction=direction).dot())
    assert len(lines) > len(boxes) / 2
    assert struck(boxes, lines) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_lane_is_a_column(name, engine):
    drawing = draw(PROGRAMS[name](), level="training")
    boxes, _ = laid_out(drawing.dot())
    lane = Rows.of(drawing).lane
    before = {(edge.tail, edge.head) for edge in drawing.edges}
    columns = {box: (boxes[box][0] + boxes[box][2]) / 2 for box in lane}
    within = [abs(columns[a] - columns[b]) for a, b in before if lane.get(a) == lane.get(b, -1)]
    assert len(within) > 2
    assert sorted(within)[len(within) // 2] < 12  # a port of an op moves a box a little


def test_branches_have_a_lane_each():
    drawing = draw(PROGRAMS["two inputs step"](), level="training")
    lane = Rows.of(drawing).lane
    named = {node.path: lane.get(node.id) for node in drawing.nodes}
    assert named["image"] != named["words"] and named["kind"] != named["score"]
    assert named["image"] == named["kind"]  # what comes together goes on in the first
    drawing = draw(PROGRAMS["residual step"](), level="training")
    assert set(Rows.of(drawing).lane.values()) == {0}  # a skip stays within its lane


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), min_size=1, max_size=12))
@examples(15)
def test_random_branches_are_not_struck(steps):
    def loss(w):
        values = [w]
        for a, b, joined in steps:
            first, second = values[-1 - a % len(values)], values[-1 - b % len(values)]
            values.append(tg.tanh(first) * tg.sin(second) if joined else tg.sin(first))
        return tg.concat(values).sum()

    graph = tg.trace(tg.grad(loss), tg.f32[4])
    drawing = draw(graph, level="training")
    boxes, lines = laid_out(drawing.dot())
    assert struck(boxes, lines) == []
