"""What the formats say: DOT, SVG, text and JSON of one drawing agree, and hostile names stay words."""

import html
import importlib.util
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.pages.palette import DARK, LIGHT
from tensorgraph.viz import Drawing, Node, Row, draw, mimebundle
from tensorgraph.viz.render.dot import FONT, words
from tensorgraph.viz.render.engine import find_engine, run_engine
from tensorgraph.viz.render.exits import exits
from tensorgraph.viz.render.metrics import text_width


def load(name: str) -> ModuleType:
    """A helper beside this file; the test folder is no package and not on the path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


hand = load("viz_graphs")


needs_engine = pytest.mark.skipif(find_engine() is None, reason="no layout engine is installed")
HOSTILE = [
    "<b>bold</b>", "<", ">", "<table>", '"];n9 [shapefile="/etc/passwd"]', "a\nb", "nul\x00nul", "\\G\\N\\l", "\\",
    "]]>",
    "<!ENTITY x>", "&amp;&lt;", "--> <script>alert(1)</script>", "\u202egnp.exe", "\ud800", "\ufffe", "name\x1b[31m",
    "héllo wörld ünïcode 中文 🎉", "x" * 5000, "", " ", "}", "//", "/*", "#", "a:b:n", "n0", "cluster_g0", "</title>",
]  # fmt: skip


def hostile_graph(name: str):
    """A graph in which every name that a user may choose is this one."""
    m = hand.Maker(name)
    x = m.input((4,), name=name)
    w = m.cell(name, (4,))
    h = m.op(name, x, w, scope=name, attr=name)
    h = m.op("subtract", h, x, scope=f"{name}.{name}")
    h = m.op("tanh", h, scope=f"{name}.{name}")
    h.name = name
    m.write(w, h)
    return m.graph(h)


def svg_texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def shape_of(svg: str) -> tuple[int, int, int]:
    """Boxes, edges and frames that an SVG shows; an edge through an exit is in two parts."""
    groups = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}g")
    found = Counter(group.get("class") for group in groups)
    return found["node"], found["edge"] - found["exit"], found["cluster"]


# ---- every format


@needs_engine
@pytest.mark.parametrize("level", ["op", "module", "summary"])
@pytest.mark.parametrize("make", ["mlp", "residual", "step"])
def test_the_svg_shows_what_the_drawing_holds(make, level):
    drawing = draw(getattr(hand, make)(), level=level)
    svg = drawing.svg()
    assert shape_of(svg) == (len(drawing.nodes), sum(not edge.cut for edge in drawing.edges), len(drawing.groups))
    shown = svg_texts(svg)
    assert drawing.title in shown
    for node in drawing.nodes:
        for row in node.rows:
            assert any(row.text in text for text in shown)
            assert any(row.value in text for text in shown)
    for entry in drawing.legend:
        assert entry.text in shown


def test_text_has_a_typed_line_a_box():
    drawing = draw(hand.step(), level="op")
    lines = drawing.text().splitlines()
    assert lines[0] == drawing.title and len(lines) == 2 + len(drawing.nodes)
    assert all(node.types[0] in line for node, line in zip(drawing.nodes, lines[2:], strict=True))
    assert any(re.match(r"gradients +64x128 f32.*<- softmax_cross_entropy", line) for line in lines)
    assert str(drawing) == drawing.text() and drawing.text().isascii()


def test_json_is_the_drawing():
    drawing = draw(hand.step(), level="module")
    content = json.loads(drawing.json())
    assert content["tensorgraph_drawing"] == 1 and content["title"] == drawing.title
    assert [n["path"] for n in content["nodes"]] == [n.path for n in drawing.nodes]
    assert len(content["edges"]) == len(drawing.edges) and "theme" not in content


def test_a_drawing_becomes_a_graphviz_source():
    drawing = draw(hand.mlp())
    assert drawing.graphviz().source.strip() == drawing.dot().strip()


def test_the_same_graph_gives_the_same_bytes_in_every_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import importlib.util, sys, hashlib\n"
        f"spec = importlib.util.spec_from_file_location('viz_graphs', {str(Path(hand.__file__))!r})\n"
        "hand = sys.modules['viz_graphs'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(hand)\n"
        "from tensorgraph.viz import draw\n"
        "for level in ('op', 'module', 'summary'):\n"
        "    d = draw(hand.step(), level=level)\n"
        "    print(hashlib.sha256((d.dot() + d.json()).encode()).hexdigest())\n"
    )
    seen = {
        subprocess.run(
            [sys.executable, str(script)], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=tmp_path,
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(seen) == 1 and len(seen.pop().split()) == 3


# ---- themes


@needs_engine
def test_the_theme_follows_the_reader_or_is_fixed():
    drawing = draw(hand.step(), level="module")
    auto, light, dark = drawing.svg(), drawing.svg("light"), drawing.svg("dark")
    assert "prefers-color-scheme:dark" in auto and f"--io:{DARK.io}" in auto
    assert "<style>" not in light and "<style>" not in dark
    assert LIGHT.io.lower() in light.lower() and DARK.io.lower() not in light.lower()
    assert DARK.io.lower() in dark.lower() and LIGHT.io.lower() not in dark.lower()
    # every painted element of the auto theme has a class, so that nothing stays light on a dark page
    for element in re.findall(r"<(?:path|polygon|text)\s[^>]*>", auto):
        painted = {c for c in re.findall(r'(?:fill|stroke)="([^"]+)"', element) if c not in ("none", "transparent")}
        assert not painted or "class=" in element, element


@needs_engine
def test_ids_are_prefixed_so_that_pictures_share_a_page():
    first, second = draw(hand.mlp()).svg(), draw(hand.residual()).svg()
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0] and ids[1] and not ids[0] & ids[1]
    assert all(name.startswith("tg") for name in ids[0])


@needs_engine
def test_text_fits_its_box_in_any_font():
    svg = draw(hand.step(), level="op").svg()
    for attributes, text in re.findall(r"<text ([^>]*)>([^<]*)</text>", svg):
        size = float(re.search(r'font-size="([\d.]+)"', attributes)[1])
        bold = "bold" in attributes
        assert abs(float(re.search(r'textLength="([\d.]+)"', attributes)[1]) - text_width(
            html.unescape(text), size, bold)) < 0.01  # fmt: skip
    assert text_width("é", 10) is None and text_width("", 10) is None


@pytest.mark.parametrize("engine", ["graphviz-pure"], indirect=True)  # others measure with the fonts that are there
@pytest.mark.parametrize("bold", [False, True])
def test_the_widths_are_the_engines(bold, engine):
    sample = "".join(map(chr, range(32, 127)))
    word = f"<b>{words(sample)}</b>" if bold else words(sample)
    label = f'<<font face="{FONT}" point-size="10">{word}</font>>'
    out = run_engine(f"digraph {{ n [shape=box margin=0 width=0 height=0 label={label}] }}", "plain", 20.0).decode()
    width = float(re.search(r"^node n \S+ \S+ (\S+)", out, re.M)[1]) * 72
    assert abs(width - text_width(sample, 10, bold)) < 0.06 * width


# ---- names are words


@needs_engine
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_add_nothing_to_the_picture(name):
    for level in ("op", "module", "summary"):
        drawing = draw(hostile_graph(name), level=level)
        svg = drawing.svg()
        assert "shown as text" not in svg
        assert shape_of(svg) == (len(drawing.nodes), len(drawing.edges), len(drawing.groups))
        assert "<script" not in svg and "<image" not in svg and "href" not in svg
        assert all(ord(c) >= 32 or c == "\n" for c in drawing.text())
        json.loads(drawing.json())


@given(st.text(max_size=80))
@examples(200)
def test_any_name_gives_labels_of_known_markup_only(name):
    drawing = draw(hostile_graph(name), level="op")
    dot = drawing.dot()
    dot.encode("utf-8")
    assert set(re.findall(r"</?([a-zA-Z!?]\w*)", dot)) <= {"table", "tr", "td", "b", "font"}
    lines = dot.splitlines()
    points = len(set(exits(drawing).values()))
    assert len([x for x in lines if re.match(r"n\d+ \[", x)]) == len(drawing.nodes)
    assert len([x for x in lines if re.match(r"[nw]\d+ -> [nw]\d+(:p\d+:n)? \[", x)]) == len(drawing.edges) + points
    assert len([x for x in lines if re.match(r"subgraph cluster_g\d+ {", x)]) == len(drawing.groups)
    assert len(lines) == 5 + len(drawing.nodes) + len(drawing.edges) + 2 * len(drawing.groups) + 2 * points
    assert all(not (set(words(row.text)) & set('<>"')) for node in drawing.nodes for row in node.rows)


@needs_engine
@given(st.text(alphabet=st.characters(), max_size=40))
@examples(15)
def test_any_name_is_laid_out(name):
    drawing = draw(hostile_graph(name), level="op")
    assert shape_of(drawing.svg()) == (len(drawing.nodes), len(drawing.edges), len(drawing.groups))


def test_a_drawing_made_by_hand_is_escaped_too():
    raw = "<b>&\x00\x1b\ud800\\G"
    dot = Drawing("t", "op", (Node("n0", "p", "op", (Row("title", raw), Row("attribute", raw, raw))),)).dot()
    assert "&lt;b&gt;&amp;&#92;G" in dot and "\x00" not in dot and "\x1b" not in dot
    dot.encode("utf-8")


# ---- notebooks


def test_a_notebook_gets_text_and_svg_and_never_an_error():
    graph = hand.mlp()
    bundle = mimebundle(graph)
    assert bundle["text/plain"].startswith("classifier: 20 ops") and bundle["image/svg+xml"].startswith("<svg")
    assert draw(graph)._repr_mimebundle_()["text/plain"] == draw(graph).text()

    class Odd:
        def __repr__(self):
            raise RuntimeError("no")

    assert "no drawing" in mimebundle(Odd())["text/plain"]
    assert "no drawing" in mimebundle(replace(graph, equations=(None,)))["text/plain"]


def test_text_tells_an_output_from_a_module_of_its_name():
    class Named(nn.Module):
        def __init__(self):
            self.x = nn.Linear(4, 3, seed=0)
            self.out = nn.Linear(3, 2, seed=1)

        def forward(self, x):
            return tg.tanh(self.out(self.x(x)))

    lines = draw(Named(), tg.spec((5, 4), "float32"), level="module").text().splitlines()[2:]
    assert [" ".join(line.split("; ")[0].split()).split(" Linear")[0] for line in lines] == [
        "inputs/x 5x4 f32 input", "x 5x3 f32 <- inputs/x", "out 5x2 f32 <- x", "tanh 5x2 f32 <- out",
        "outputs/out 5x2 f32 output <- tanh",
    ]  # fmt: skip


def test_a_number_that_a_tape_did_not_keep_is_three_dots():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = (x + 2.0).sum()
    assert "a + ..." in draw(y).text()
    assert "Ellipsis" not in draw(y).dot()
