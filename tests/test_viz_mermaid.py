"""Mermaid flowcharts: what a drawing holds, in words that can only be words."""

import re

import pytest
import viz_graphs as hand
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

from tensorgraph.pages.palette import DARK, LIGHT
from tensorgraph.viz import Drawing, Edge, Group, Node, Row, draw
from tensorgraph.viz.render.mermaid import words

ESCAPED = r"(?:[A-Za-z0-9 ,.:=+\-/@!?*^%$_()]|#\d+;)+"
TEXT = rf'"(?:<b>{ESCAPED}</b>|{ESCAPED})(?:<br/>{ESCAPED})*"'
LINES = [
    r"---", r'title: "[\x20-\x7e]*"', r"%% [^{}\n]*", r"flowchart TD",
    rf" *n\d+(?:\(\[{TEXT}\]\)|\[\[{TEXT}\]\]|\[{TEXT}\]|\(\({TEXT}\)\)|\({TEXT}\))",
    rf"  n\d+ (?:-->|==>|-\.->)(?:\|{TEXT}\|)? n\d+", rf" *subgraph g\d+\[{TEXT}\]", r" *end",
    r"  classDef [a-z]+ [a-z\-:#0-9A-F, .]+", r"  class [ng\d,]+ [a-z]+",
]  # fmt: skip


def grammatical(chart):
    return [line for line in chart.splitlines() if not any(re.fullmatch(pattern, line) for pattern in LINES)]


@pytest.mark.parametrize("level", ["op", "module", "summary"])
@pytest.mark.parametrize("make", ["mlp", "residual", "step"])
def test_every_box_edge_and_frame_is_in_the_flowchart(make, level):
    drawing = draw(getattr(hand, make)(), level=level)
    chart = drawing.mermaid()
    lines = chart.splitlines()
    assert grammatical(chart) == []
    assert lines[1] == f'title: "{drawing.title}"'
    assert sum(bool(re.match(r" *n\d+[\[(]", line)) for line in lines) == len(drawing.nodes)
    assert sum(bool(re.match(r"  n\d+ [-=]", line)) for line in lines) == sum(not e.cut for e in drawing.edges)
    ends = sum(line.strip() == "end" for line in lines)
    assert sum("subgraph" in line for line in lines) == ends == len(drawing.groups)
    for node in drawing.nodes:
        assert any(line.strip().startswith(node.id) and words(node.title) in line for line in lines)
    styled = {i for line in lines if line.startswith("  class n") for i in line.split()[1].split(",")}
    assert styled == {node.id for node in drawing.nodes}


def test_roles_look_different_without_colour():
    drawing = Drawing(
        "t", "op",
        (Node("n0", "a", "input", (Row("title", "a"),)), Node("n1", "b", "module", (Row("title", "b"),), group="g0"),
         Node("n2", "c", "op", (Row("title", "c"), Row("attribute", "axis", "1")), group="g0"),
         Node("n3", "d", "gradient", (Row("title", "d"),))),
        (Edge("n0", "n1"), Edge("n0", "n2", "residual"), Edge("n2", "n3", "gradient", (Row("type", "2 f32"),)),
         Edge("n1", "n3", cut=True)),
        (Group("g0", "m", (Row("title", "m"),)),),
    )  # fmt: skip
    lines = [line.strip() for line in drawing.mermaid().splitlines()]
    assert lines[4:13] == [
        'n0(["<b>a</b>"])', 'n3("<b>d</b>")', 'subgraph g0["<b>m</b>"]', 'n1[["<b>b</b>"]]',
        'n2("<b>c</b><br/>axis = 1")', "end", "n0 --> n1", "n0 ==> n2", 'n2 -.->|"2 f32"| n3',
    ]  # fmt: skip
    assert any("stroke-dasharray" in line for line in lines)


def test_the_theme_is_in_the_classes():
    drawing = draw(hand.mlp(), level="module")
    light, dark = drawing.mermaid(), drawing.mermaid("dark")
    assert LIGHT.io in light and LIGHT.ink in light and DARK.io not in light
    assert DARK.io in dark and DARK.ink in dark and LIGHT.io not in dark
    assert drawing.mermaid("auto") == light
    with pytest.raises(ValueError, match="theme"):
        drawing.mermaid("blue")


def test_a_flowchart_too_large_for_mermaid_says_so():
    small, large = draw(hand.mlp()), draw(hand.residual(150), level="op", expand=True)
    assert "maxEdges" not in small.mermaid() and len(large.edges) > 500
    assert "%% larger than what Mermaid draws" in large.mermaid()


def test_it_is_saved_by_its_suffix(tmp_path):
    drawing = draw(hand.mlp())
    drawing.save(tmp_path / "net.mmd")
    assert (tmp_path / "net.mmd").read_text("utf-8") == drawing.mermaid()


@given(st.text(max_size=120))
@examples(150)
def test_any_name_stays_words(name):
    rows = (Row("title", name), Row("attribute", name, name), Row("stub", name))
    drawing = Drawing(
        name, "op", (Node("n0", name, "op", rows, group="g0"), Node("n1", name, name, rows)),
        (Edge("n0", "n1", "data", rows),), (Group("g0", name, rows),), notes=(name,),
    )  # fmt: skip
    chart = drawing.mermaid()
    assert grammatical(chart) == []
    assert len(chart.splitlines()) == chart.count("\n")
