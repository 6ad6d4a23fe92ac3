"""Lines join what they say they join, whichever engine lays them out."""

import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
import viz_graphs as hand

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.viz import draw
from tensorgraph.viz.html.layouts import slim
from tensorgraph.viz.model.rails import Rows
from tensorgraph.viz.render.engine import run_engine

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
NEAR = 12.0  # units between a line's end and the outline of what it ends at; arrowheads stand between


def step(depth: int) -> Any:
    model = nn.Sequential(*[layer for i in range(depth) for layer in (nn.Linear(6, 6, seed=i), nn.BatchNorm(6))])
    optimizer = optim.Adam(model.parameters(), lr=0.1)

    def run(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.minimize(loss)
        return loss

    return tg.trace(run, tg.spec((4, 6)), tg.spec((4,), "int64"))


DRAWINGS = {
    "training": lambda: draw(step(2), level="training"),
    "training by ops": lambda: draw(step(2), level="training", depth="op"),
    "residual training": lambda: draw(hand.residual(6), level="training"),
    "written out": lambda: draw(step(1).transform(), level="training"),
    "residual": lambda: draw(hand.residual(6), level="module"),
    "ops": lambda: draw(step(2), level="op"),
}


def numbers(element: Any) -> list[tuple[float, float]]:
    found = [float(n) for n in NUMBER.findall(element.get("d") or element.get("points"))]
    return list(zip(found[::2], found[1::2], strict=True))


def laid_out(dot: str) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What an engine makes of boxes and lines, by their names in DOT."""
    svg = run_engine(dot, "svg", 30.0).decode()
    root = ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", svg[svg.index("<svg") :], count=1))
    boxes: dict[str, Any] = {}
    lines: dict[str, list[Any]] = {}
    for g in root.iter("g"):
        name = next((child.text or "" for child in g if child.tag == "title"), "")
        if g.get("class") == "node":
            boxes[name] = g
        elif g.get("class") == "edge":
            lines.setdefault(re.sub(r":\w+", "", name), []).append(g)
    return boxes, lines


def frame(box: Any) -> tuple[float, float, float, float]:
    shapes = [point for part in box if part.tag in ("path", "polygon") for point in numbers(part)]
    if not shapes:  # words alone
        texts = [(float(t.get("x")), float(t.get("y")) - 3.0, len(t.text or "") * 5.0) for t in box.iter("text")]
        return (min(x for x, _, _ in texts) - 5, min(y for _, y, _ in texts) - 8,
                max(x + w for x, _, w in texts) + 5, max(y for _, y, _ in texts) + 8)  # fmt: skip
    return (min(x for x, _ in shapes), min(y for _, y in shapes), max(x for x, _ in shapes), max(y for _, y in shapes))


def distance(point: tuple[float, float], box: tuple[float, float, float, float]) -> float:
    x, y = point
    return max(box[0] - x, x - box[2], box[1] - y, y - box[3], 0.0)


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_line_reaches_from_end_to_end(engine, name):
    dot = DRAWINGS[name]().dot()
    boxes, lines = laid_out(dot)
    looks = dict(re.findall(r"^(\w+(?:(?::\w+)*) -> \w+(?:(?::\w+)*)) \[(.*)\]$", dot, re.M))
    seen = 0
    for written, look in looks.items():
        if "style=invis" in look:
            continue
        title = re.sub(r":\w+", "", written.replace(" -> ", "->"))
        tail, head = title.split("->")
        for line in lines[title]:
            path = next(part for part in line if part.tag == "path")
            points = numbers(path)
            for end, box in ((points[0], boxes[tail]), (points[-1], boxes[head])):
                assert distance(end, frame(box)) <= NEAR, (title, end, frame(box))
            arrows = len([part for part in line if part.tag == "polygon"])
            assert arrows == (0 if "dir=none" in look or "arrowhead=none" in look else 1), title
            seen += 1
    assert seen >= len(boxes) // 2


def test_what_is_kept_has_words_with_a_line_on_each_side(engine):
    drawing = draw(step(2), level="training")
    _, lines = laid_out(drawing.dot())
    saved = [(i, e) for i, e in enumerate(drawing.edges) if e.role == "saved"]
    assert saved
    for i, edge in saved:
        (before,), (after,) = lines[f"{edge.tail}->k{i}"], lines[f"k{i}->{edge.head}"]
        for line in (before, after):
            points = numbers(next(part for part in line if part.tag == "path"))
            assert points[-1][0] - points[0][0] > 8 and abs(points[-1][1] - points[0][1]) < 3


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_line_that_passes_rows_is_one_path(engine, name):
    drawing = DRAWINGS[name]()
    rows = Rows.of(drawing)
    rails = len(rows.rails) if rows is not None else 0
    assert rails or name != "residual training"
    svg = drawing.svg("light")
    root = ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", svg, count=1))
    groups = [(g.get("id").partition("-")[2], g) for g in root.iter("g") if g.get("class") in ("node", "exit", "edge")]
    assert not [id for id, _ in groups if re.fullmatch(r"r\d+", id)]  # no point of a line is left to be seen
    boxes = [frame(g) for _, g in groups if g.get("class") != "edge" and len(list(g.iter("text")))]
    points = [frame(g) for _, g in groups if g.get("class") == "exit" and not len(list(g.iter("text")))]
    paths = [numbers(part) for _, g in groups if g.get("class") == "edge" for part in g if part.tag == "path"]
    assert len(paths) >= rails
    for path in paths:
        for end in (path[0], path[-1]):
            near = min(distance(end, box) for box in boxes)
            assert near <= NEAR or min(distance(end, point) for point in points) == 0.0, (end, near)
    picture = slim(run_engine(drawing.dot(), "svg", 30.0).decode(), "d", drawing)
    assert len(re.findall(r'class="edge"', picture)) == len(re.findall(r'class="edge"', svg))


class Block(nn.Module):
    def __init__(self) -> None:
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        return x + self.b(tg.relu(self.a(x)))


def gate(x: Any) -> Any:
    for _ in range(4):
        x = x * tg.sigmoid(tg.tanh(tg.exp(x)))
    return x


def residual_step() -> Any:
    model = nn.Sequential(*[Block() for _ in range(5)])
    optimizer = optim.SGD(model, lr=0.1)

    def run(x: Any) -> Any:
        loss = tg.square(model(x)).mean()
        optimizer.minimize(loss)
        return loss

    return run


REPEATS = {
    "blocks": lambda: draw(nn.Sequential(*[Block() for _ in range(5)]), tg.spec((2, 4)), level="op"),
    "products": lambda: draw(gate, tg.spec((2, 4)), level="op"),
    "step": lambda: draw(residual_step(), tg.spec((2, 4)), level="training"),
}


def drawn_ends(lines: dict[str, list[Any]], start: str) -> list[tuple[float, float]]:
    """Both ends of the line, led by points or not, whose part at its upper end begins with these names."""
    path, arrows = [], []
    name = start
    while name:
        (group,) = lines[name]
        path += numbers(next(part for part in group if part.tag == "path"))
        arrows += [point for part in group if part.tag == "polygon" for point in numbers(part)]
        head = name.partition("->")[2]
        name = next((n for n in lines if head[0] in "rk" and n.startswith(f"{head}->")), "")
    return [path[0], path[-1], *arrows]


@pytest.mark.parametrize("name", REPEATS)
def test_a_skip_and_the_line_back_do_not_meet(engine, name):
    drawing = REPEATS[name]()
    boxes, lines = laid_out(drawing.dot())
    rows = Rows.of(drawing)
    rails = rows.rails if rows is not None else {}

    def ends(i: int) -> list[tuple[float, float]]:
        edge = drawing.edges[i]
        upper, lower = sorted((edge.tail, edge.head), key=lambda id: frame(boxes[id])[1])
        if i in rails:
            return drawn_ends(lines, f"{upper}->{rails[i][0]}")
        both = [n for n in (f"{upper}->k{i}", f"{edge.tail}->{edge.head}", f"{edge.head}->{edge.tail}") if n in lines]
        return drawn_ends(lines, both[0])

    pairs = [
        (i, k)
        for i, back in enumerate(drawing.edges) if back.role == "carried"
        for k, skip in enumerate(drawing.edges)
        if skip.role != "carried" and (skip.tail, skip.head) == (back.head, back.tail)
    ]  # fmt: skip
    assert len(pairs) == (2 if name == "step" else 1)
    for i, k in pairs:
        assert min(math.dist(a, b) for a in ends(i) for b in ends(k)) >= 3.0


def test_a_line_that_leaves_a_frame_is_one_path(engine: str) -> None:
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.BatchNorm(6), nn.ReLU())
    svg = tg.draw(model, tg.f32[8, 6], level="op").svg()
    assert svg.count('class="exit"') == 0
    titles = re.findall(r'class="edge">\s*<title>1/batch_norm to 2/relu', svg)
    assert len(titles) == 1, engine
