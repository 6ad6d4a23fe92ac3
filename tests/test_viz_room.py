"""Texts fit their boxes in the widest font that they may be shown in, and titles of frames stand before the lines."""

import html
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
import viz_graphs as hand

import tensorgraph as tg
from tensorgraph.pages.palette import DARK, LIGHT
from tensorgraph.viz import draw
from tensorgraph.viz.render import tabs
from tensorgraph.viz.render.engine import run_engine
from tensorgraph.viz.render.metrics import room, text_width
from tensorgraph.viz.render.svg_text import LOWER

NUMBERS = re.compile(r"-?\d+(?:\.\d+)?")
DRAWINGS = {
    "op": lambda: draw(hand.step(), level="op"),
    "module": lambda: draw(hand.residual(5), level="module"),
    "training": lambda: draw(hand.residual(5), level="training"),
    "flops": lambda: draw(tg.trace(lambda x: tg.tanh(x @ x.T), tg.spec((3, 4))), overlay="flops"),
    "wide": lambda: draw(lambda x: tg.tanh(x), tg.spec((3,)), level="op"),
}


def groups(svg: str, kind: str) -> list[Any]:
    root = ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", svg, count=1))
    return [g for g in root.iter("g") if g.get("class") == kind]


def extent(shape: Any, axis: int) -> tuple[float, float]:
    numbers = [float(n) for n in NUMBERS.findall(shape.get("d") or shape.get("points"))][axis::2]
    return min(numbers), max(numbers)


def outline(group: Any) -> Any:
    return next(part for part in group if part.tag in ("path", "polygon"))


@pytest.mark.parametrize("name", DRAWINGS)
def test_texts_fit_their_boxes_where_their_length_is_ignored(engine, name):
    seen = 0
    for box in groups(DRAWINGS[name]().svg("light"), "node"):
        left, right = extent(outline(box), 0)
        for text in box.iter("text"):
            size, bold = float(text.get("font-size")), text.get("font-weight") == "bold"
            width = room(text.text or "", size, bold)
            at = float(text.get("x"))
            begin = at - {"middle": width / 2, "end": width}.get(text.get("text-anchor"), 0.0)
            assert left <= begin and begin + width <= right, (text.text, left, right, begin, width)
            seen += text.get("text-anchor") == "middle"
    assert seen >= 3


def test_every_cell_asks_for_the_room_of_its_text():
    dot = draw(hand.residual(5), level="module").dot()
    cells = re.findall(r'<td width="(\d+)"[^>]*>(<b>)?<font [^>]*point-size="(\d+)">([^<]*)</font>', dot)
    assert len(cells) > 20
    for width, bold, size, text in cells:
        assert int(width) >= room(html.unescape(text).strip(), float(size), bool(bold))


def test_the_widest_font_is_no_narrower_than_ours():
    for code in range(32, 127):
        for bold in (False, True):
            ours = text_width(chr(code), 1000, bold) or 0.0
            assert room(chr(code), 1000, bold) >= ours
    sample = "blocks.0 ... blocks.11 x12: 64x784 f32"
    assert room(sample, 10) > 1.1 * text_width(sample, 10)
    assert room("\u6f22", 10) == 10 and room("e\u0301", 10) == room("e", 10) and room("", 10) == 0


@pytest.mark.parametrize("theme", ["light", "dark", "auto"])
def test_a_frame_has_its_title_on_a_tab_in_front_of_the_lines(engine, theme):
    drawing = draw(hand.residual(5), level="module")
    svg = drawing.svg(theme)
    (frame,), (tab,) = groups(svg, "cluster"), groups(svg, "tab")
    assert svg.rindex('class="tab"') > svg.rindex('class="edge"') > svg.rindex('class="cluster"')
    assert not list(frame.iter("text")) and [t.text for t in tab.iter("text")] == [drawing.groups[0].rows[0].text]
    surface = next(tab.iter("polygon"))
    (text,) = tab.iter("text")
    wide = room(text.text, 9, True) / 2
    left, right = extent(surface, 0)
    middle = float(text.get("x"))
    assert text.get("text-anchor") == "middle" and left - 0.1 <= middle - wide < middle + wide <= right + 0.1
    page = {"light": LIGHT.page, "dark": DARK.page, "auto": LIGHT.page}[theme]
    assert surface.get("fill").upper() == page and (theme != "auto" or "f-page" in surface.get("class"))
    top = extent(outline(frame), 1)[0]
    above, below = extent(surface, 1)
    assert above < top < below and abs((above + below) / 2 - LOWER - top) < 0.1
    left, right = extent(surface, 0)
    assert extent(outline(frame), 0)[0] < left and right < extent(outline(frame), 0)[1]


def test_on_the_page_titles_are_tabs_of_their_frames(engine):
    page = draw(hand.residual(5), level="module").html()
    svg = re.search(r"<svg\b.*?</svg>", page, re.S)[0]
    (frame,) = groups(svg, "cluster")
    (title,) = list(frame.iter("text"))
    assert title.text == "blocks.0 ... blocks.4 x5"
    surface = next(part for part in frame.iter("polygon"))
    assert "f-page" in surface.get("class")
    top = float(next(frame.iter("rect")).get("y"))
    assert extent(surface, 1)[0] < top < extent(surface, 1)[1]


@pytest.mark.parametrize("name", ["module", "op"])
def test_what_an_engine_draws_to_the_end_has_tabs_in_front_too(engine, name):
    drawing = DRAWINGS[name]()
    svg = tabs.drawn(drawing.dot(), "svg", 20.0).decode()
    body = svg[svg.index("<svg") :]
    assert "xlink:href" not in body
    kinds = re.findall(r'<g id="[^"]*" class="(\w+)">\s*<title>([^<]*)', body)
    names = [title for _, title in kinds]
    assert drawing.groups and [f"tab_{group.id}" for group in drawing.groups] == names[-len(drawing.groups) :]
    for group in drawing.groups:
        frame = next(g for g in groups(body, "cluster") if g[0].text == f"cluster_{group.id}")
        tab = next(g for g in groups(body, "node") if g[0].text == f"tab_{group.id}")
        assert not list(frame.iter("text")) and [t.text for t in tab.iter("text")] == [group.rows[0].text]
        above, below = extent(next(tab.iter("polygon")), 1)
        assert abs((above + below) / 2 - LOWER - extent(outline(frame), 1)[0]) < 1.5
    plain = run_engine(drawing.dot(), "svg", 20.0).decode()
    moved = lambda text: sorted(re.findall(r"<text [^>]*>([^<]*)", text))
    assert moved(plain) == moved(body)


def test_where_that_fails_the_engine_draws_as_it_would(engine, monkeypatch):
    monkeypatch.setattr(tabs, "AS_LAID_OUT", ("-Kno_such_layout",))
    dot = DRAWINGS["module"]().dot()
    assert tabs.drawn(dot, "png", 20.0).startswith(b"\x89PNG")
    assert tabs.with_tabs("digraph {\n}\n") == "digraph {\n}\n"


def test_hostile_words_stay_words_in_a_layout(engine):
    m = hand.Maker()
    h = m.input((4, 8))
    for name in ('a">]; x [label=<b>', "subgraph cluster_g9 { graph [bb=", '</table>>, lp="1,2"', "];}"):
        for _ in range(2):
            h = m.op("tanh", h, scope=f"{name}.inner")
        h = m.op("exp", h, scope=name)
    drawing = draw(m.graph(h), level="op")
    svg = tabs.drawn(drawing.dot(), "svg", 20.0).decode()
    assert len(re.findall(r'class="cluster"', svg)) == len(drawing.groups)
    assert len(re.findall(r'class="node"', svg)) == len(drawing.nodes) + len(drawing.groups)
