"""Every edge of a graph is in its picture, inside a box or between two, and in every format that the picture has."""

import json
import re

import pytest
import viz_graphs as hand
from large_programs import PROGRAMS
from viz_pages import needs_engine

from tensorgraph.graph.graph import Var
from tensorgraph.viz import draw, drawing_from_json
from tensorgraph.viz.html.layouts import lay_out

LEVELS = ("auto", "module", "op", "training")


@pytest.fixture(scope="module")
def graphs():
    return {name: make() for name, make in PROGRAMS.items()}


def lines_of(drawing):
    """The ends of what is drawn as a line."""
    return {(edge.tail, edge.head) for edge in drawing.edges if not edge.cut}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_edge_is_within_a_box_or_between_two(graphs, name, level):
    graph = graphs[name]
    drawing = draw(graph, level=level)
    box = {i: node.id for node in drawing.nodes for i in node.members}
    assert set(box) == set(range(len(graph.equations)))
    maker = {v: box[i] for i, eq in enumerate(graph.equations) for v in eq.outputs}
    maker.update(zip(graph.inputs, (n.id for n in drawing.nodes if n.role == "input"), strict=True))
    role = {node.id: node.role for node in drawing.nodes}
    ends = {(maker[a], box[i]) for i, eq in enumerate(graph.equations) for a in eq.atoms() if a in maker}
    leaving = zip(graph.outputs, (n.id for n in drawing.nodes if n.role == "output"), strict=True)
    ends |= {(maker[out], at) for out, at in leaving if isinstance(out, Var) and out in maker}
    if drawing.level == "training":  # what flows to and from gradients is drawn mirrored
        ends = {(a, b) for a, b in ends if "gradient" not in (role[a], role[b])}
    assert {(a, b) for a, b in ends if a != b} <= hand.joined(drawing)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_text_formats_have_every_edge(graphs, name, level):
    drawing = draw(graphs[name], level=level)
    assert drawing_from_json(drawing.json()) == drawing
    mermaid = drawing.mermaid()
    assert set(re.findall(r"^  (n\d+) \S+?(?:\|.*?\|)? (n\d+)$", mermaid, re.M)) == lines_of(drawing)
    assert {node.id for node in drawing.nodes} == set(re.findall(r"^\s*(n\d+)[\[({>]", mermaid, re.M))
    dot = drawing.dot()
    assert {node.id for node in drawing.nodes} <= set(re.findall(r"^(n\d+) \[id=", dot, re.M))
    text = drawing.text()
    assert sum(" <- " in line for line in text.splitlines()) >= len({head for _, head in lines_of(drawing)}) * 0.9
    for edge in drawing.edges:  # what is no line is words at its ends
        if edge.cut:
            rows = next(node.rows for node in drawing.nodes if node.id == edge.head)
            assert any(row.style == "stub" for row in rows)


@needs_engine
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_laid_out_lines_join_what_the_drawing_joins(graphs, name, level):
    drawing = draw(graphs[name], level=level)
    (svg,), reason = lay_out([drawing], 60.0)
    assert svg is not None, reason
    joined = set()
    for tails, heads in re.findall(r'class="edge" data-tails="([^"]*)" data-heads="([^"]*)"', svg):
        joined |= {(a, b) for a in tails.split() for b in heads.split()}
    either = joined | {(b, a) for a, b in joined}  # gradients' lines are laid out upside down
    assert lines_of(drawing) <= either
    assert {node.id for node in drawing.nodes} <= set(re.findall(r'class="node" id="v0-(n\d+)"', svg))


@needs_engine
@pytest.mark.parametrize("name", ["demo step", "residual forward", "lstm forward", "gan step", "maml step"])
def test_a_page_has_every_edge(graphs, name):
    drawing = draw(graphs[name])
    data = json.loads(re.search(r'id="data">(.*?)</script>', drawing.html(), re.S)[1])
    view = data["views"][0]
    ids = [box["id"] for box in view["boxes"]]
    assert {(ids[edge[0]], ids[edge[1]]) for edge in view["edges"]} == {(e.tail, e.head) for e in drawing.edges}
