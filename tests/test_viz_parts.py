"""A long drawing in parts: frames and lines go on in the next part, and nothing is lost between two."""

import re
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest
from large_programs import PROGRAMS, flat
from test_viz_browser import IN_SIGHT
from test_viz_formats import check_layout
from viz_pages import chosen, needs_engine

from tensorgraph.pages.palette import THEMES
from tensorgraph.viz import draw
from tensorgraph.viz.render.engine import EngineError, run_engine
from tensorgraph.viz.render.extent import extent
from tensorgraph.viz.render.parts import parts_of, pixels
from tensorgraph.viz.render.sheet import AS_LAID_OUT, layout
from tensorgraph.viz.render.svg_lines import name_of

NUMBERS = re.compile(r"-?\d+(?:\.\d+)?")
SHAPE = re.compile(r'<(?:path|polygon)\b[^>]*? (?:d|points)="([^"]*)"')
GROUP = re.compile(r'<g id="[^"]*" class="(node|cluster|edge)">\s*<title>([^<]*)</title>(.*?)</g>', re.S)
IN_PARTS = [("transformer step", "op"), ("gan step", "op"), ("maml step", "op"), ("residual step", "op"),
            ("transformer forward", "module"), ("gan step", "training"), ("attention step", "training"),
            ("gan step", "compiled"), ("residual step", "compiled")]  # fmt: skip


def engine_svg(drawing):
    dot, how = layout(drawing, "light", 20.0)
    assert how == AS_LAID_OUT
    return run_engine(dot, "svg", 20.0, *how).decode()


def bounds(group):
    numbers = [float(n) for n in NUMBERS.findall(SHAPE.search(group)[1])]
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])


@pytest.mark.parametrize(("name", "level"), IN_PARTS)
def test_every_box_frame_and_edge_is_there(engine, name, level):
    drawing = draw(PROGRAMS[name](), level=level)
    part = parts_of(drawing)
    assert part.keys() == {node.id for node in drawing.nodes} and len(set(part.values())) > 1
    boxes, frames, ways = {}, {}, defaultdict(set)
    for kind, title, body in GROUP.findall(engine_svg(drawing)):
        found = name_of(title)
        if kind == "node" and found in part:
            assert found not in boxes
            boxes[found] = bounds(body)
        elif kind == "cluster":
            frames[found] = bounds(body), re.findall(r"<text[^>]*>([^<]*)", body)[0]
        elif kind == "edge":
            ways[found[0]].add(found[1])
            ways[found[1]].add(found[0])
    assert boxes.keys() == part.keys()
    sides = [[boxes[box] for box in part if part[box] == n] for n in range(max(part.values()) + 1)]
    assert all(max(b[2] for b in left) < min(b[0] for b in right) for left, right in pairwise(sides))
    for edge in drawing.edges:
        if not edge.cut:
            assert reached(edge.tail, edge.head, ways, boxes), (edge.tail, edge.head)
    if level == "training":  # whose frames are bars
        return
    inside = {(node.group, part[node.id]) for node in drawing.nodes if node.group}
    for group in drawing.groups:
        own = sorted(n for g, n in inside if g == group.id)
        for n in own:
            (left, top, right, bottom), title = frames[f"cluster_{group.id}p{n}"]
            assert (title == group.rows[0].text) or title == f"{group.rows[0].text}, continued"
            for node in drawing.nodes:
                if node.group == group.id and part[node.id] == n:
                    a, b, c, d = boxes[node.id]
                    assert left < a and top < b and c < right and d < bottom


def reached(tail, head, ways, boxes):
    """Whether lines lead from one box to the other past points alone."""
    pending, seen = [tail], {tail}
    while pending:
        for at in ways[pending.pop()] - seen:
            if at == head:
                return True
            if at not in boxes:
                seen.add(at)
                pending.append(at)
    return tail == head and head in ways[tail]


@needs_engine
@pytest.mark.parametrize(
    ("name", "level"), [*IN_PARTS[:-2], ("residual forward", "op"), ("vae step", "op"), ("demo step", "op")]
)
def test_words_of_every_op_can_be_read_on_a_screen(name, level):
    drawing = draw(PROGRAMS[name](), level=level)
    wide, high = map(float, re.search(r'viewBox="0.00 0.00 ([\d.]+) ([\d.]+)"', drawing.svg()).groups())
    real = 9 * min(1920 / wide, 1080 / high)
    assert real >= 8.5 and pixels(drawing) == pytest.approx(real, rel=0.26)  # engines differ


@needs_engine
def test_a_picture_of_dots_is_in_parts_too(tmp_path):
    drawing = draw(PROGRAMS["transformer forward"](), level="module")
    path = tmp_path / "parts.png"
    drawing.save(path)
    wide, high = (int.from_bytes(path.read_bytes()[at : at + 4], "big") for at in (16, 20))
    assert wide > high
    svg = drawing.svg("auto")
    part = parts_of(drawing)
    around = {group.id: group.parent for group in drawing.groups}
    frames = {node.id: {node.group, around.get(node.group)} - {None} for node in drawing.nodes}
    shown = {(frame, part[box]) for box in part for frame in frames[box]}
    assert svg.count('class="tab"') == len(shown)
    assert svg.count(", continued<") == len(shown) - len(drawing.groups) > 0


@needs_engine
def test_what_cannot_be_laid_out_in_parts_is_laid_out_as_a_whole(monkeypatch):
    def fail(*args):
        raise EngineError("no")

    drawing = draw(PROGRAMS["transformer forward"](), level="op")
    monkeypatch.setattr("tensorgraph.viz.render.sheet.run_engine", fail)
    assert layout(drawing, "light", 5.0) == (drawing.dot("light"), ())


@needs_engine
def test_only_what_could_not_be_read_is_in_parts():
    small = draw(PROGRAMS["two inputs"](), level="op")
    assert parts_of(small) == {} and layout(small, "dark", 5.0) == (small.dot("dark"), ())
    down = draw(PROGRAMS["transformer forward"](), level="op", direction="down")
    assert parts_of(down) == {}
    assert THEMES["dark"].page in layout(draw(PROGRAMS["gan step"](), level="op"), "dark", 5.0)[0]


def test_a_drawing_that_cannot_be_read_says_so():
    graph = PROGRAMS["gan step"]()
    deep = PROGRAMS["flat"](800)
    (note,) = [note for note in draw(deep, level="op", expand=True).notes if " px " in note]
    assert re.fullmatch(r"words are \d px high on a screen of 1920 by 1080: level='auto' draws less, .*", note)
    assert not any(" px " in note for note in draw(graph).notes)
    assert any(" px " in note for note in draw(graph, level="op", size=(400, 300)).notes)


def test_on_a_page_a_frame_is_chosen_in_every_part(browser, engine, tmp_path):
    drawing = draw(PROGRAMS["transformer forward"](), level="module")
    drawing.save(tmp_path / "parts.html")
    browser.window(1280, 800)
    browser.open(tmp_path / "parts.html")
    graph = "document.querySelector('#stage .graph').getBoundingClientRect()"
    wide, high = browser.run(f"{graph}.width"), browser.run(f"{graph}.height")
    assert wide > high
    (ids,) = {tuple(browser.run("[...document.querySelectorAll('#stage .more')].map(e => e.dataset.of)"))}
    assert ids and set(ids) <= {group.id for group in drawing.groups}
    x, y = browser.run("""(() => {
      const words = document.querySelector('#stage .more text').getBoundingClientRect();
      return [words.x + words.width / 2, words.y + words.height / 2];
    })()""")
    browser.click(x, y)
    assert chosen(browser) == next(group.path for group in drawing.groups if group.id == ids[0])
    assert browser.complaints() == []


def test_on_a_page_the_legend_hides_no_box(browser, engine, tmp_path):
    draw(flat(400)).save(tmp_path / "flat.html")
    for width, height in ((1280, 800), (1280, 620), (900, 700)):
        browser.window(width, height)
        browser.open(tmp_path / "flat.html")
        assert browser.run("""(() => {
          const sign = document.querySelector('#legend summary').getBoundingClientRect();
          return [...document.querySelectorAll('#stage .node')].every(element => {
            const box = element.getBoundingClientRect();
            return box.left > sign.right || box.bottom < sign.top || box.top > sign.bottom || box.right < sign.left;
          });
        })()""")
        assert browser.run(IN_SIGHT)


def test_long_notes_are_said_whole():
    graph = PROGRAMS["two inputs"]()
    drawing = replace(draw(graph), notes=(" ".join(f"note{i}" for i in range(40)), "short"))
    said = re.findall(r">([^<>]*note[^<>]*|short)<", drawing.dot())
    assert " ".join(said) == " ".join(drawing.notes) and max(map(len, said)) <= 110 and len(said) == 4
    assert extent(drawing)[1] > extent(replace(drawing, notes=("short",)))[1] + 30


def test_on_a_page_the_bar_of_a_frame_can_be_chosen_in_every_part(browser, engine, tmp_path):
    drawing = draw(PROGRAMS["gan step"](), level="training")
    drawing.save(tmp_path / "step.html")
    browser.window(1280, 800)
    browser.open(tmp_path / "step.html")
    ids = browser.run("[...document.querySelectorAll('#stage .cluster')].map(e => e.id.replace(/^v0-/, ''))")
    assert sorted(ids) == sorted(group.id for group in drawing.groups)
    at = browser.run("""(() => {
      const words = document.querySelector('#stage .cluster text').getBoundingClientRect();
      return [words.x + words.width / 2, words.y + words.height / 2];
    })()""")
    browser.click(*at)
    assert chosen(browser) in {group.path for group in drawing.groups} and browser.complaints() == []


@needs_engine
@pytest.mark.parametrize(("name", "level"), IN_PARTS)
def test_on_a_page_lines_join_what_the_drawing_joins(name, level):
    check_layout(draw(PROGRAMS[name](), level=level))
