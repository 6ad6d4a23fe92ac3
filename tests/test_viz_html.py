"""The page as a file: one self-contained document, every inside once, bounded in size and time."""

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from functools import cache

import pytest
import viz_graphs as hand
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.pages import embedded
from tensorgraph.viz import Drawing, Group, LegendEntry, Node, Row, draw, drawing_from_json
from tensorgraph.viz.html import page
from tensorgraph.viz.html.insides import MOST_OPS, views
from tensorgraph.viz.html.layouts import lay_out
from tensorgraph.viz.render.engine import EngineError, find_engine, run_engine

needs_engine = pytest.mark.skipif(find_engine() is None, reason="no layout engine is installed")
SVG = "{http://www.w3.org/2000/svg}"


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1])


def different(blocks=4):
    """Modules within modules, each with another width, so that none is like another."""
    m = hand.Maker("different")
    h = m.input((4, 8))
    for i in range(blocks):
        h = m.op("relu", m.linear(h, 9 + i, f"blocks.{i}.fc"), scope=f"blocks.{i}.act")
    return m.graph(h)


def drawn_ops(found, at=0):
    """How many ops can be reached by opening boxes; of a template, in its first repeat."""
    view = found[at]
    opens = dict(view.opens)
    return sum(drawn_ops(found, opens[n.id]) if n.id in opens else bool(n.members) for n in view.drawing.nodes)


# ---- what is inside


@pytest.mark.parametrize("level", ["summary", "module", "op"])
@pytest.mark.parametrize("make", ["mlp", "step", "different"])
def test_every_op_can_be_reached(make, level):
    graph = different() if make == "different" else getattr(hand, make)()
    drawing = draw(graph, level=level, expand=True)
    found, left = views(drawing)
    assert left == 0 and drawn_ops(found) == len(graph.equations)
    assert found[0].drawing == drawing and len(set(found)) == len(found)


def test_equal_modules_share_a_drawing():
    graph = hand.residual(20)
    found, _ = views(draw(graph, level="module", expand=True, depth=3))
    boxes = [node.path for node in found[0].drawing.nodes if node.role == "module"]
    assert len([path for path in boxes if path.endswith("fc1")]) == 20
    opens = dict(found[0].opens)
    inside = {opens[node.id] for node in found[0].drawing.nodes if node.path.endswith(("fc1", "fc2"))}
    assert len(inside) == 1 and len(found) < 12
    (shared,) = inside
    drawing = found[shared].drawing
    assert [node.path for node in drawing.nodes] == ["inputs/x", "matmul", "add", "outputs/out"]
    assert [row.text for row in drawing.nodes[1].rows if row.style == "parameter"] == ["b: weight"]


def test_a_template_opens_to_its_first_repeat():
    found, _ = views(draw(hand.residual(12), level="module"))
    outer = found[0].drawing
    (template,) = [group for group in outer.groups if group.count == 12]
    opens = dict(found[0].opens)
    once = found[opens[template.id]].drawing
    assert len(once.nodes) < 12 and len([n for n in once.nodes if n.members]) == 6
    fc1 = next(node for node in outer.nodes if node.path.startswith("blocks.0.fc1"))
    assert len(fc1.members) == 24
    assert [n.title for n in found[opens[fc1.id]].drawing.nodes if n.members] == ["matmul", "add"]


def test_what_enters_and_leaves_a_module_is_drawn_at_its_border():
    found, _ = views(draw(hand.step(), level="module", expand=True))
    outer, opens = found[0].drawing, dict(found[0].opens)
    norm = next(node for node in outer.nodes if node.path == "layers.1")
    drawing = found[opens[norm.id]].drawing
    assert [node.types for node in drawing.nodes if node.role == "input"] == [("64x128 f32",)]
    assert [node.types for node in drawing.nodes if node.role == "output"] == [("64x128 f32",)]
    assert sum(row.style == "write" for node in drawing.nodes for row in node.rows) == 2
    assert drawing.title == "" and drawing.source is None


def test_long_runs_of_ops_open_in_steps():
    names = ["tanh", "exp", "sin", "abs"]
    m = hand.Maker("long")
    h = m.input((8,))
    for i in range(4_000):
        h = m.op(names[i * i * 7919 // 13 % 4], h, m.input((8,)) if i % 97 == 0 else 0.5 + i)
    found, left = views(draw(m.graph(h), level="summary"))
    assert left == 0 and drawn_ops(found) == 4_000
    assert all(len([n for n in view.drawing.nodes if n.members]) <= MOST_OPS for view in found)


def test_traced_models_open_too():
    class Block(nn.Module):
        def __init__(self, n):
            self.norm, self.fc = nn.BatchNorm(n), nn.Linear(n, n)

        def forward(self, x):
            return x + tg.relu(self.fc(self.norm(x)))

    class Net(nn.Module):
        def __init__(self):
            self.first, self.second = Block(6), Block(6)

        def forward(self, x):
            return self.second(self.first(x)).sum()

    drawing = draw(Net(), tg.spec((4, 6), "float32"), level="module", depth=1)
    found, _ = views(drawing)
    opens = dict(found[0].opens)
    first, second = (opens[n.id] for n in found[0].drawing.nodes if n.role == "module")
    titles = [group.rows[0].text for group in found[first].drawing.groups]
    assert "BatchNorm norm" in titles and "Linear fc" in titles
    assert {n.title for n in found[first].drawing.nodes} >= {"x", "batch_norm", "matmul", "relu", "add"}
    ops = [[n.path for n in found[at].drawing.nodes if n.members] for at in (first, second)]
    assert ops[0] == ops[1] and ops[0][0] == "norm/batch_norm"


def test_a_fused_op_opens_to_its_reference():
    def f(x, y):
        return tg.softmax_cross_entropy(tg.relu(x), y)

    drawing = draw(f, tg.spec((4, 3), "float32"), tg.spec((4,), "int64"), level="op")
    found, left = views(drawing)
    opens = dict(found[0].opens)
    (fused,) = [node for node in drawing.nodes if node.id in opens]
    assert fused.title == "softmax_cross_entropy" and left == 0
    inside = found[opens[fused.id]].drawing
    assert len([n for n in inside.nodes if n.members]) > 1 and all(
        not n.path.startswith("softmax") for n in inside.nodes
    )
    assert [n.types for n in inside.nodes if n.role == "output"] == [("scalar f32",)]


def test_a_reference_that_fails_costs_only_its_own_picture(monkeypatch):
    def fails(graph, positions):
        raise RuntimeError("no")

    monkeypatch.setattr("tensorgraph.viz.html.insides.written_out", fails)
    drawing = draw(lambda x: tg.softmax(x), tg.spec((4, 3), "float32"), level="op")
    assert [view.opens for view in views(drawing)[0]] == [()]


def test_a_drawing_without_its_graph_is_one_view():
    drawing = drawing_from_json(draw(hand.residual(4), level="module").json())
    found, left = views(drawing)
    assert [view.opens for view in found] == [()] and left == 0
    assert "opens" not in json.dumps(data_of(drawing.html()))


def test_members_that_are_not_of_the_graph_stay_closed():
    drawing = replace(draw(hand.residual(2), level="module"), source=hand.mlp())
    wrong = replace(drawing.nodes[1], members=(10_000, 10_001))
    found, _ = views(replace(drawing, nodes=(drawing.nodes[0], wrong), edges=(), groups=()))
    assert len(found) == 1


# ---- the file


@needs_engine
def test_the_page_is_whole_in_itself():
    html = draw(hand.step(), level="module").html()
    assert html.startswith("<!DOCTYPE html>") and html.count("<script") == 2 and html.count("<style>") == 1
    bare = html.replace("http://www.w3.org/2000/svg", "").replace('href="data:,"', "")
    assert not re.search(r"https?:|//[a-z]|\bsrc=|href|@import|url\(", re.sub(r"^\s*//.*$", "", bare, flags=re.M))
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    for kind, pattern in (("style", r"<style>(.*?)</style>"), ("script", r"<script>(.*?)</script>")):
        (text,) = re.findall(pattern, html, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert html.index("Content-Security-Policy") < html.index("<title>") < html.index("<style>")
    assert not re.search(r"<[^>]*\sstyle=", html)


@needs_engine
def test_drawings_are_small_and_their_ids_apart():
    html = draw(different(), level="module", depth=1).html()
    data = data_of(html)
    svgs = [view["svg"] for view in data["views"] if "svg" in view]
    svgs.append(re.search(r"<svg.*?</svg>", html, re.S)[0])
    assert len(svgs) == len(data["views"])
    ids = []
    for svg in svgs:
        tree = ElementTree.fromstring(svg)
        ids += [element.get("id") for element in tree.iter() if element.get("id")]
        kinds = {element.tag.removeprefix(SVG) for element in tree.iter()}
        assert kinds <= {"svg", "g", "rect", "path", "polygon", "polyline", "text", "ellipse"}
        shown = sum(element.get("class") == "node" for element in tree.iter())
        assert len(svg) < 900 + 1_300 * shown
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"v\d+-[ng]\d+", id) for id in ids)


@needs_engine
def test_the_drawing_on_the_page_is_the_drawing():
    for make in (hand.mlp, hand.residual, hand.step):
        drawing = draw(make(), level="op", expand=True)
        svg = re.search(r"<svg.*?</svg>", drawing.html(), re.S)[0]
        tree = ElementTree.fromstring(svg)
        by_id = {element.get("id"): element for element in tree.iter() if element.get("id")}
        for node in drawing.nodes:
            said = [text.text for text in by_id[f"v0-{node.id}"].iter(f"{SVG}text")]
            assert all(any(row.text in line for line in said) for row in node.rows)
            assert any(element.tag == f"{SVG}rect" for element in by_id[f"v0-{node.id}"].iter())
        joined = {
            (tail, head)
            for line in tree.iter()
            if line.get("class") == "edge"
            for tail in line.get("data-tails").split()
            for head in line.get("data-heads").split()
        }
        assert joined == {(edge.tail, edge.head) for edge in drawing.edges if not edge.cut}
        assert not [e for e in tree.iter() if e.get("fill", "none").startswith("#")]  # every colour is a variable


@needs_engine
def test_the_same_graph_gives_the_same_page(monkeypatch):
    drawn = cache(lambda dot, form: run_engine(dot, form, 60.0))  # some engines lay out one text in several ways
    monkeypatch.setattr("tensorgraph.viz.html.layouts.run_engine", lambda dot, form, timeout: drawn(dot, form))
    assert draw(hand.step(), level="module").html() == draw(hand.step(), level="module").html()


@needs_engine
def test_the_legend_and_notes_of_insides_are_on_the_page():
    data = data_of(draw(hand.step(), level="summary").html())
    assert {"parameter", "op", "gradient"} <= set(data["legend"])
    assert ">parameter</text>" in data["key"]


def test_it_is_saved_by_its_suffix(tmp_path):
    drawing = draw(hand.mlp())
    drawing.save(tmp_path / "net.html")
    assert (tmp_path / "net.html").read_text("utf-8") == drawing.html()


# ---- bounds


@needs_engine
@pytest.mark.slow
def test_ten_thousand_ops_make_a_page_of_bearable_size():
    m = hand.Maker("large")
    h = m.input((8,))
    for i in range(10_000):  # widths of constants make every module different
        given = (h,) if i % 50 else (h, 0.5 + i)
        h = m.op("tanh" if i % 50 else "multiply", *given, scope=f"layers.{i // 50}")
    drawing = draw(m.graph(h), level="module", timeout=120.0)
    html = drawing.html()
    assert len(html) < 8_000_000
    data = data_of(html)
    assert len(data["views"]) > 200 and not any("cannot be opened" in note for note in data["notes"])


def test_when_the_time_is_up_the_innermost_are_listed(monkeypatch):
    calls = []

    def engine(dot, form, timeout, *options):
        calls.append(timeout)
        if len(calls) > 1:
            raise EngineError("the layout took longer than 3 s; draw less")
        return b'<svg width="1pt" height="1pt" viewBox="0 0 1 1"><g id="graph0" class="graph"></g></svg>'

    monkeypatch.setattr("tensorgraph.viz.html.layouts.run_engine", engine)
    html = draw(different(), level="module", depth=1, timeout=3.0).html()
    data = data_of(html)
    assert len(calls) == 2 and 0 < calls[1] <= calls[0] <= 3.0
    assert "listed" not in data["views"][0] and all(view.get("listed") for view in data["views"][1:])
    assert any("listed instead of drawn: the layout took longer than 3 s" in note for note in data["notes"])


def test_the_sum_of_layouts_is_bounded_too(monkeypatch):
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr("tensorgraph.viz.html.layouts.BATCH", 1)
    monkeypatch.setattr("tensorgraph.viz.html.layouts.time.monotonic", lambda: float(next(now)))
    monkeypatch.setattr(
        "tensorgraph.viz.html.layouts.run_engine", lambda *args: b'<svg viewBox="0 0 1 1"><g class="graph"></g></svg>'
    )
    svgs, reason = lay_out([draw(different(), level="op")] * 9, 10.0)
    assert svgs[0] is not None and svgs[-1] is None and "10 s" in reason


def test_one_drawing_that_the_engine_cannot_do_costs_only_itself(monkeypatch):
    def engine(dot, form, timeout, *options):
        if "n17 " in dot:
            raise EngineError("dot could not make svg: it gave no output")
        return b'<svg viewBox="0 0 1 1"><g class="graph"></g></svg>' * max(1, dot.count("digraph tensorgraph"))

    monkeypatch.setattr("tensorgraph.viz.html.layouts.run_engine", engine)
    small, large = draw(hand.mlp(), level="summary"), draw(hand.residual(6), level="op", expand=True)
    svgs, _ = lay_out([small, small, large, small], 10.0)
    assert [svg is None for svg in svgs] == [False, False, True, False]


def test_a_page_too_large_lists_its_innermost(monkeypatch):
    monkeypatch.setattr(page, "MOST_BYTES", 10)
    monkeypatch.setattr(page, "lay_out", lambda drawings, timeout: (["<svg></svg>"] * len(drawings), ""))
    data = data_of(draw(different(), level="module", depth=1).html())
    assert all(view.get("listed") for view in data["views"])
    assert "to keep this page small" in data["notes"][-1]


def test_too_many_boxes_to_open_are_said(monkeypatch):
    monkeypatch.setattr("tensorgraph.viz.html.insides.MOST_WORK", 7)
    found, left = views(draw(different(), level="module", depth=2))
    assert left > 0 and sum(len(view.opens) for view in found) == 2
    monkeypatch.setattr(page, "lay_out", lambda drawings, timeout: ([None] * len(drawings), "no engine"))
    assert any("cannot be opened here" in note for note in data_of(draw(different(), level="module").html())["notes"])


def test_deeply_nested_modules_do_not_recurse():
    m = hand.Maker("deep")
    h, scope = m.input((4,)), ""
    for i in range(120):
        scope = f"{scope}.m{i}" if scope else "m0"
        h = m.op("tanh", m.op("exp", h, scope=scope), 0.5 + i, scope=scope)
    found, _ = views(draw(m.graph(h), level="summary"))
    assert len(found) == 121


def test_without_an_engine_the_page_lists_and_says_the_remedy(monkeypatch):
    monkeypatch.delenv("TENSORGRAPH_DOT", raising=False)
    monkeypatch.setattr("tensorgraph.viz.render.engine.shutil.which", lambda name, path=None: None)
    html = draw(hand.residual(2), level="module").html()
    data = data_of(html)
    assert all(view.get("listed") for view in data["views"]) and "<svg" not in html.split("<script")[0]
    assert sum("pip install" in note for note in data["notes"]) == 1
    assert data["key"] is None


# ---- names


@given(st.recursive(st.text(max_size=60), lambda inner: st.lists(inner, max_size=3), max_leaves=6))
@examples(200)
def test_data_stays_within_its_element(value):
    text = embedded(value)
    assert json.loads(text) == value and text.isascii()
    assert "</" not in text and "<!" not in text and not re.search("<script", text, re.I)


@pytest.mark.parametrize(
    "name", ["</script>", "<!--<script>", "{{drawing}}", "{{title}}", "\u2028", "\ud800", "<SCRIPT"]
)
def test_titles_cannot_leave_their_place(name):
    drawing = Drawing(
        f"{name}: 1 op", "op", (Node("n0", name, "op", (Row("title", name),), tip=name, group="g0"),),
        groups=(Group("g0", name, (Row("title", name),)),), legend=(LegendEntry("op", name),), notes=(name,),
    )  # fmt: skip
    html = drawing.html()
    html.encode("utf-8")
    assert html.count("<script") == 2 and html.lower().count("<script") == 2 and html.count("</script>") == 2
    assert html.count("<title>") == 1 and html.count("<main>") == 1 and "<!--" not in html
    box = data_of(html)["views"][0]["boxes"][0]
    assert box["path"] == name and box["rows"][0][1] == name
