"""Every edge of a graph is in its picture, inside a box or between two, and in every format that the picture has."""

import json
import re

import numpy as np
import pytest
import viz_graphs as hand
from effort import examples
from hypothesis import given
from hypothesis import strategies as st
from large_programs import PROGRAMS, residual_forward
from viz_pages import needs_engine

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.graph.graph import Var
from tensorgraph.viz import draw, drawing_from_json
from tensorgraph.viz.html.layouts import lay_out
from tensorgraph.viz.render.engine import find_engine

LEVELS = ("auto", "module", "op", "training")


@pytest.fixture(scope="module")
def graphs():
    return {name: make() for name, make in PROGRAMS.items()}


def lines_of(drawing):
    """The ends of what is drawn as a line."""
    return {(edge.tail, edge.head) for edge in drawing.edges if not edge.cut}


def check_edges(graph, drawing):
    """Every equation is in a box, and every flow within one or between two that a line joins."""
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


def check_formats(drawing):
    """JSON, Mermaid, DOT and text have every box and every line."""
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


@pytest.mark.sampled(test=36, quick=2)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_edge_is_within_a_box_or_between_two_in_every_format(graphs, name, level):
    drawing = draw(graphs[name], level=level)
    check_edges(graphs[name], drawing)
    check_formats(drawing)


# ---- what is drawn otherwise


def step_of(first, second):
    """The difference of two networks of blocks."""
    return tg.diff(residual_forward(first), residual_forward(second)).draw()


def broken():
    """The way of what is not finite to the loss."""

    def loss(x, w):
        h = tg.relu(x @ w)
        return -tg.log(h / tg.sum(h, axis=1, keepdims=True)).mean()

    return tg.find_faults(loss, np.ones((4, 3), np.float32), np.float32([[1.0, -1.0]] * 3)).draw(0)


def early():
    """Values that leave a frame before its end, by one way out."""
    m = hand.Maker()
    x = m.input((4, 8))
    first = m.linear(x, 8, "encoder.first")
    h = m.op("tanh", m.linear(first, 8, "encoder.second"), scope="encoder")
    for n in range(3):
        h = m.op("multiply", h, m.op("exp" if n else "sin", first))
    return draw(m.graph(h), level="module")


OTHERS = {
    "early": early,
    "a block less": lambda: step_of(5, 4),
    "a block more": lambda: step_of(11, 12),
    "fault": broken,
    "flops": lambda: draw(PROGRAMS["transformer forward"](), overlay="flops"),
    "kernels": lambda: draw(PROGRAMS["lstm forward"](), level="compiled"),
    "kernels of a step": lambda: draw(PROGRAMS["residual step"](), level="compiled"),
    "focus": lambda: draw(PROGRAMS["u-net step"](), focus="bridge"),
    "to the right": lambda: draw(PROGRAMS["gan step"](), direction="right"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_drawings_have_their_edges_in_every_format(name):
    drawing = OTHERS[name]()
    check_formats(drawing)
    if find_engine() is not None:
        check_layout(drawing)


# ---- random programs of calls, loops and containers

KINDS = {"tanh": tg.tanh, "add": tg.add, "multiply": tg.multiply}
PLACES = st.integers(0, 9)


def statements(depth):
    """Statements over the values made so far, which they name by how far back they are."""
    found = st.tuples(st.sampled_from([*KINDS, "layer", "dict"]), st.just(None), PLACES, PLACES)
    if depth == 0:
        return found
    body = st.lists(statements(depth - 1), min_size=1, max_size=3)
    loop = st.tuples(st.sampled_from(["loop", "collect"]), st.tuples(st.integers(2, 4), body), PLACES, PLACES)
    return found | loop | st.tuples(st.just("call"), body, PLACES, PLACES)


def run(body, values, layers):
    """The values of a body, those that it was handed first."""

    def helper(given, other):
        return run(part, [given, other], layers)[-1]

    for kind, part, i, j in body:
        a, b = values[-1 - i % len(values)], values[-1 - j % len(values)]
        if kind in KINDS:
            made = [KINDS[kind](a) if kind == "tanh" else KINDS[kind](a, b)]
        elif kind == "layer":
            made = [layers[i % len(layers)](a)]
        elif kind == "dict":
            made = list({"sum": a + b, "both": [a * 0.5, {"b": b}][0]}.values())
        elif kind == "call":
            made = [helper(a, b)]
        elif kind == "loop":
            count, part = part
            state = {"h": a, "total": 0.0}
            for _ in range(count):
                h = helper(state["h"], b)
                state = {"h": h, "total": state["total"] + h}
            made = list(state.values())
        else:
            count, part = part
            made = [tg.stack([helper(a * float(k), b) for k in range(count)]).sum(axis=0)]
        values = [*values, *made]
    return values


class Nested(nn.Module):
    def __init__(self, body):
        self.body, self.layers = body, [nn.Linear(3, 3, seed=n) for n in range(3)]

    def forward(self, x, y):
        return tg.mean(run(self.body, [x, self.layers[0](y)], self.layers)[-1] + self.layers[0](x))


@given(st.lists(statements(2), min_size=1, max_size=4), st.booleans())
@examples(40)
@pytest.mark.filterwarnings("ignore:SGD. no gradient reached")
def test_programs_of_calls_loops_and_containers_are_drawn_whole(body, learns):
    model = Nested(body)
    optimizer = optim.SGD(model, lr=0.1)

    def step(x, y):
        loss = model(x, y)
        optimizer.minimize(loss)
        return loss

    graph = tg.trace(step if learns else model, tg.f32[2, 3], tg.f32[2, 3])
    for level in LEVELS:
        drawing = draw(graph, level=level)
        check_edges(graph, drawing)
        check_formats(drawing)
    check_edges(graph, draw(graph, level="op", expand=True))
    if find_engine() is not None:
        check_layout(drawing)


@needs_engine
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_laid_out_lines_join_what_the_drawing_joins(graphs, name, level):
    check_layout(draw(graphs[name], level=level))


def check_layout(drawing):
    """The laid out picture has every box and every line."""
    (svg,), reason = lay_out([drawing], 60.0)
    assert svg is not None, reason
    joined = set()
    for tails, heads in re.findall(r'class="edge" data-tails="([^"]*)" data-heads="([^"]*)"', svg):
        joined |= {(a, b) for a in tails.split() for b in heads.split()}
    either = joined | {(b, a) for a, b in joined}  # gradients' lines are laid out upside down
    assert lines_of(drawing) <= either
    assert joined <= lines_of(drawing) | {(b, a) for a, b in lines_of(drawing)}
    assert {node.id for node in drawing.nodes} <= set(re.findall(r'class="node" id="v0-(n\d+)"', svg))


@needs_engine
@pytest.mark.parametrize(
    "name", ["demo step", "residual forward", "transformer forward", "u-net step", "lstm forward", "two inputs step",
             "gan step", "attention step", "maml step"],
)  # fmt: skip
def test_a_page_has_every_edge(graphs, name):
    drawing = draw(graphs[name])
    data = json.loads(re.search(r'id="data">(.*?)</script>', drawing.html(), re.S)[1])
    view = data["views"][0]
    ids = [box["id"] for box in view["boxes"]]
    assert {(ids[edge[0]], ids[edge[1]]) for edge in view["edges"]} == {(e.tail, e.head) for e in drawing.edges}
