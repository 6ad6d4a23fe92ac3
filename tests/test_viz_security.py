"""Names are words in every format: nothing that a user named becomes markup, a file, a program or an address."""

import html as html_module
import json
import re
import string
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
import viz_graphs as hand
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

from tensorgraph.viz import Drawing, Edge, Group, LegendEntry, Node, Port, Row, draw, drawing_from_json
from tensorgraph.viz.render.engine import find_engine, run_engine

needs_engine = pytest.mark.skipif(find_engine() is None, reason="no layout engine is installed")

PIECES = [
    "<", ">", "&", '"', "'", "\\", "/", "]]>", "<!--", "-->", "</", "<b>", "</script>", "<script>",
    "<img src=x onerror=x()>",
    "<image xlink:href='/etc/passwd'/>", "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>", "&e;", "&#x3c;",
    "]; n9 [image=\"/etc/passwd\"]; ", "URL=\"javascript:x()\"", "\\N", "\\E", "{", "}", "|", "`", "#", ";",
    "%%{init:{}}%%",
    "click n0 href", "end", "subgraph", "javascript:", "url(#a)", "style=", "on", "\x00", "\x1b[31m", "\r\n", "\u2028",
    "\u202e", "\u2066", "\ud800", "\ufffe", "\ufeff", "é", "א", "中", "🎉", " ", "{{title}}", "${x}", "__proto__",
]  # fmt: skip
names = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join),
    st.text(alphabet=st.characters(), max_size=60),
    st.text(alphabet=string.punctuation, max_size=40),
    st.integers(1, 20).map(lambda n: "<script>" * n * 500),
)


def graph_of(first, second):
    """A graph in which every name that a user may choose is one of these."""
    m = hand.Maker(first)
    h = m.input((4,), name=second)
    h = m.op(first, h, m.cell(f"{second}.{first}", (4,)), scope=second, attr=first, **{second or "_": second})
    h = m.op("subtract", m.op(second, h, scope=f"{second}.{first}"), h, scope=f"{second}.{first}")
    h.name = first
    m.write(m.cells[0].var, h)
    return m.graph(h)


def by_hand(first, second):
    """A drawing that no label maker has cleaned."""
    first, second = first[:500], second[:500]
    rows = (Row("title", first, second), Row("parameter", second, first), Row("attribute", first, first))
    nodes = (
        Node("n0", first, "module", rows, (Port("p0", second),), "g0", (0, 1), (first,), second, "added", 0.5, first),
        Node("n1", second, "op", rows, types=(second,), tip=first, status="removed", metric=second),
    )  # fmt: skip
    edges = (Edge("n0", "n1", "data", rows, None, (first, second)), Edge("n0", "n1", "residual", cut=True))
    groups = (Group("g0", second, (Row("title", first),)),)
    legend = (LegendEntry("op", first), LegendEntry(second, second))
    return Drawing(first, "op", nodes, edges, groups, legend, (second, first))


class Tags(HTMLParser):
    """The elements and attributes that a page has."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.data, self.inside = set(), [], {}, ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.inside = dict(attrs).get("id", tag)

    def handle_data(self, data):
        self.data[self.inside] = self.data.get(self.inside, "") + data


HTML_TAGS = {
    "html", "head", "meta", "link", "title", "style", "body", "header", "h1", "h2", "div", "input", "ul", "button",
    "nav",    "main", "section", "details", "summary", "aside", "p", "dialog", "dl", "dt", "dd", "kbd", "script",
}  # fmt: skip
SVG_TAGS = {"svg", "g", "rect", "path", "polygon", "polyline", "ellipse", "text"}
SVG_ATTRIBUTES = {
    "id", "class", "d", "points", "x", "y", "width", "height", "rx", "ry", "cx", "cy", "fill", "stroke", "stroke-width",
    "stroke-dasharray", "font-size", "font-weight", "font-style", "text-anchor", "textlength", "transform", "viewbox",
    "xmlns", "data-tails", "data-heads", "fill-opacity", "stroke-opacity", "font-family", "lengthadjust",
    "role", "aria-label",
}  # fmt: skip


def check_html(page):
    page.encode("utf-8")
    parser = Tags()
    parser.feed(page)
    assert parser.tags <= HTML_TAGS | SVG_TAGS
    for tag, name, value in parser.attributes:
        assert not name.startswith("on") and name not in ("src", "style", "srcdoc", "action"), (tag, name, value)
        assert name != "href" or value == "data:,"
        assert tag not in SVG_TAGS or name in SVG_ATTRIBUTES, (tag, name, value)
    assert page.count("<script") == 2
    json.loads(parser.data["data"])


def check_svg(svg):
    svg.encode("utf-8")
    for element in ElementTree.fromstring(svg).iter():
        tag = element.tag.rpartition("}")[2]
        assert tag in SVG_TAGS | {"style", "title"}, tag
        for name in element.attrib:
            assert name.lower() in SVG_ATTRIBUTES, (tag, name)
    assert "<!" not in svg and "<?" not in svg
    bare = re.sub(r'="[^"]*"', '=""', re.sub(r">[^<]*<", "><", svg))  # without words, those of attributes too
    assert "href" not in bare


def check_dot(dot, drawing):
    """Outside of labels only what is generated; inside them only the markup that is ours."""
    dot.encode("utf-8")
    bare = re.sub(r"label=<(?:<[^<>]*>|[^<>])*>", "label", dot)
    assert "<" not in bare and not re.search(r"(?i)\b(url|href|image|shapefile|imagepath|fontpath|tooltip)\b", bare)
    assert bare.count('"') % 2 == 0
    for name, value in re.findall(r'([a-z]+)="([^"]*)"', bare):
        assert re.fullmatch(r"[\w#:., -]*", value), (name, value)
    tags = set(re.findall(r"</?([a-zA-Z!?]\w*)", dot))
    assert tags <= {"table", "tr", "td", "b", "font"}
    names = set(re.findall(r'<(?:table|td|font)((?: [a-z-]+="[\w#:,. -]*")*)/?>', dot))
    given = {name for attributes in names for name in re.findall(r"([a-z-]+)=", attributes)}
    assert not given & {"href", "src", "id", "title", "target", "tooltip", "background"}
    assert len(re.findall(r"^n\d+ \[", dot, re.M)) == len(drawing.nodes)


def check_plain(text):
    assert all(ord(c) >= 32 or c == "\n" for c in text) and "\x7f" not in text


@given(names, names)
@examples(80)
def test_names_are_words_in_text_dot_json_and_mermaid(first, second):
    drawings = [draw(graph_of(first, second), level=level) for level in ("op", "module", "summary")]
    for drawing in drawings:
        check_plain(drawing.text())
    for drawing in (*drawings, by_hand(first, second)):
        check_dot(drawing.dot(), drawing)
        text = drawing.json()
        assert text.isascii() and drawing_from_json(text) == drawing
        chart = drawing.mermaid()
        assert not re.search(r"(?im)^\s*(click|style(?! n\d+ fill:#)|linkStyle|%%\{|direction|accTitle)", chart)
        assert set(re.findall(r"<[^>]*>", chart)) <= {"<b>", "</b>", "<br/>"}


@needs_engine
@given(names, names)
@examples(12)
def test_names_are_words_in_svg_and_html(first, second):
    for drawing in (draw(graph_of(first, second), level="module"), by_hand(first, second)):
        svg = drawing.svg()
        assert "shown as text" not in svg.replace("\u00a0", " ")
        check_svg(svg)
        check_html(drawing.html())


@given(names, names)
@examples(25)
def test_names_are_words_without_an_engine(first, second):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TENSORGRAPH_DOT", raising=False)
        patch.setattr("tensorgraph.viz.render.engine.shutil.which", lambda name, path=None: None)
        for drawing in (draw(graph_of(first, second), level="op"), by_hand(first, second)):
            check_svg(drawing.svg())
            check_html(drawing.html())


@needs_engine
def test_the_engine_opens_no_file(tmp_path):
    """Even where a graph asks for one: this is the last of the defences."""
    secret = tmp_path / "secret.svg"
    secret.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="50" height="50"><text>secret</text></svg>')
    dot = f'digraph {{ n [shape=none label="" image="{secret}"]; m [shapefile="{secret}"] }}'
    svg = run_engine(dot, "svg", 10.0).decode()
    assert "<image" not in svg and "secret" not in svg.replace(str(secret), "")


@needs_engine
def test_labels_that_look_like_markup_are_words():
    for text in ("<b>x</b>", "<table><tr><td>x</td></tr></table>", '<img src="/etc/passwd"/>'):
        drawing = Drawing("t", "op", (Node("n0", "p", "op", (Row("title", text), Row("detail", text))),))
        root = ElementTree.fromstring(drawing.svg())
        said = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
        assert said.count(text) == 2
        assert said == [html_module.unescape(line) for line in said]


# ---- JSON that others wrote


def test_json_is_read_with_care():
    text = draw(hand.residual(2), level="op").json()
    content = json.loads(text)

    def wrong(**changes):
        return json.dumps({**content, **changes})

    node = content["nodes"][0]
    for bad, match in [
        ("", "is none"),
        ("[" * 100_000, "is none"),
        ("[]", "does not say"),
        ("{}", "does not say"),
        (wrong(tensorgraph_drawing=99), "this is 99"),
        (wrong(title=3), r"drawing\.title: expected str, got 3"),
        (wrong(nodes={}), r"drawing\.nodes: expected a list"),
        (wrong(surprise=1), "unknown field 'surprise'"),
        (wrong(source={}), "unknown field 'source'"),
        (wrong(nodes=[{**node, "members": [1, "2"]}]), r"nodes\[0\]\.members\[1\]: expected int"),
        (wrong(nodes=[{**node, "members": [True]}]), "expected int, got True"),
        (wrong(nodes=[{k: v for k, v in node.items() if k != "role"}]), "field 'role' is missing"),
        (wrong(nodes=[{**node, "group": "g99"}], edges=[]), "no group's id"),
        (wrong(groups=[{"id": "g0", "path": "m", "rows": [], "parent": "g0"}], nodes=[], edges=[]), "comes before"),
        (wrong(nodes=[node, node], edges=[]), "two ids are equal: 'n0'"),
        (wrong(edges=[{"tail": "n0", "head": "n99"}]), r"edges\[0\] ends at 'n99'"),
        (wrong(nodes=[{**node, "heat": "warm"}], edges=[]), "expected float"),
    ]:
        with pytest.raises(ValueError, match=match):
            drawing_from_json(bad)


@pytest.mark.parametrize("id", ["n1]; x", "n0<b>", "", "n 1", '"', "w1", "cluster_g0"])
def test_ids_that_are_not_generated_are_refused(id):
    content = json.loads(Drawing("t", "op", (Node("n0", "p", "op", ()),)).json())
    content["nodes"][0]["id"] = id
    with pytest.raises(ValueError, match="id"):
        drawing_from_json(json.dumps(content))


def test_figures_survive_json():
    nan = float("nan")
    for heat in (None, 0.0, 0.1 + 0.2, 1.0, nan):
        drawing = Drawing("t", "op", (Node("n0", "p", "op", (), heat=heat),))
        (back,) = drawing_from_json(drawing.json()).nodes
        assert repr(back.heat) == repr(heat)
        assert "NaN" not in drawing.json()
