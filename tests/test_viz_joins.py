"""Ops between modules: drawn one by one where boxes are few, then views joined, then runs, named by what computes."""

import re
from collections import Counter
from typing import Any

import pytest
import viz_graphs as hand
from hypothesis import given
from hypothesis import strategies as st
from large_programs import PROGRAMS

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.graph.graph import Var
from tensorgraph.viz import Drawing, draw
from tensorgraph.viz.model.build import build
from tensorgraph.viz.model.joins import FEW, GLUE, heaviest, is_view, joined
from tensorgraph.viz.model.view import by_module


class Attention(nn.Module):
    def __init__(self, width: int = 16, heads: int = 4, late: bool = False) -> None:
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, seed=i) for i in range(4))
        self.heads, self.late = heads, late

    def forward(self, x: Any) -> Any:
        b, t, d = x.shape

        shape = (b, t, self.heads, d // self.heads)
        layers = [self.q, self.k, self.v]
        if self.late:  # the same computation, its lines in another order
            made = [layer(x) for layer in layers]
            q, k, v = [z.reshape(*shape).transpose((0, 2, 1, 3)) for z in made]
        else:
            q, k, v = [layer(x).reshape(*shape).transpose((0, 2, 1, 3)) for layer in layers]
        weights = tg.softmax(q @ k.transpose((0, 1, 3, 2)) * 0.5)
        return self.o((weights @ v).transpose((0, 2, 1, 3)).reshape(b, t, d))


class Several(nn.Module):
    """Attentions of several kinds, so that they do not fold."""

    def __init__(self, count: int, late: bool = False) -> None:
        self.parts = [Attention(16, 2 ** (i % 4 + 1), late) for i in range(count)]
        self.names = [f"part_{chr(97 + i)}" for i in range(count)]
        for name, part in zip(self.names, self.parts, strict=True):
            setattr(self, name, part)

    def forward(self, x: Any) -> Any:
        for name in self.names:
            x = tg.tanh(getattr(self, name)(x))
        return x


def inside(drawing: Drawing) -> list[Any]:
    return [node for node in drawing.nodes if node.members]


def detail(node: Any) -> list[str]:
    return [row.text for row in node.rows if row.style == "detail"]


def exact(graph: Any, drawing: Drawing) -> None:
    """Every equation in one box, boxes in an order of computation, joined where values flow and nowhere else."""
    assert Counter(i for node in drawing.nodes for i in node.members) == Counter(range(len(graph.equations)))
    box = {i: node.id for node in drawing.nodes for i in node.members}
    made = {v: box[i] for i, eq in enumerate(graph.equations) for v in eq.outputs}
    made.update(zip(graph.inputs, (n.id for n in drawing.nodes if n.role == "input"), strict=True))
    wanted = {(made[a], box[i]) for i, eq in enumerate(graph.equations) for a in eq.atoms() if a in made}
    outputs = [node.id for node in drawing.nodes if node.role == "output"]
    wanted |= {(made[v], at) for v, at in zip(graph.outputs, outputs, strict=True) if isinstance(v, Var) and v in made}
    assert {(a, b) for a, b in hand.joined(drawing) if a != b} == {(a, b) for a, b in wanted if a != b}
    order = {node.id: n for n, node in enumerate(drawing.nodes)}
    assert all(order[e.tail] < order[e.head] for e in drawing.edges if e.role != "carried")


def test_an_attention_of_few_boxes_shows_every_op():
    drawing = draw(Attention(), tg.spec((2, 6, 16)), level="module")
    titles = [node.title for node in inside(drawing)]
    assert titles.count("matmul") == 2 and titles.count("softmax") == 1 and titles.count("reshape") == 4
    assert not any(node.role == "ops" for node in drawing.nodes)


@pytest.mark.parametrize("late", [False, True])
def test_views_are_joined_first_and_alike_in_equal_branches(late):
    graph = tg.trace(Several(2, late), tg.spec((2, 6, 16)))
    drawing = draw(graph, level="module")
    exact(graph, drawing)
    titles = Counter(node.title for node in inside(drawing))
    assert titles["matmul"] == 4 and titles["softmax"] == 2 and titles["multiply"] == 2
    joins = [node for node in inside(drawing) if node.role == "ops"]
    assert len(joins) == 8 and {node.title for node in joins} == {
        "reshape, transpose",  # of q and of v
        "reshape, transpose x2",  # of k
        "transpose, reshape",
    }
    assert titles["reshape, transpose"] == 4 and not titles["reshape"] + titles["transpose"]
    assert [detail(node) for node in joins if node.title == "reshape, transpose"] == [[]] * 4  # it says them all


def test_runs_are_joined_last_and_named_by_what_computes():
    m = hand.Maker()
    h = m.linear(m.input((4, 8)), 8, "first")
    for i in range(30):
        h = m.linear(h, 8 + i, f"part_{chr(97 + i % 26)}{'x' * (i // 26)}")
    h = m.op("reshape", h, shape=(2, 2, h.aval.shape[-1]))
    w = m.input((h.aval.shape[-1], 5), name="w")
    start = h = m.op("tanh", h)
    for _ in range(GLUE):
        h = m.op("exp", h)
    h = m.op("matmul", m.op("add", h, start), w, shape=(2, 2, 5), kind="contraction")
    graph = m.graph(h)
    drawing = draw(graph, level="module")
    exact(graph, drawing)
    (join,) = [node for node in inside(drawing) if node.role == "ops"]
    assert join.title == "exp x8, tanh, add, ..."  # ops without a cost weigh what they give
    assert detail(join) == ["11 ops"]
    assert any(node.title == "reshape" for node in inside(drawing))  # a view before what computes stays where it is


def test_the_heaviest_op_comes_first_by_what_it_costs():
    graph = tg.trace(lambda x, w: tg.softmax(tg.tanh(tg.tanh((x @ w).T.T) + 1.0)), tg.spec((16, 64)), tg.spec((64, 64)))
    assert heaviest(graph, range(len(graph.equations)), 2).startswith("matmul, ")
    assert heaviest(graph, range(len(graph.equations)), 9).endswith("transpose x2")


def test_what_is_a_view_is_said_by_traits():
    def f(x: Any) -> Any:
        return tg.flip(x.reshape(2, 6).T).sum() + x[0] + tg.stop_gradient(x).sum() + tg.split(x, (4, 8))[0].sum()

    graph = tg.trace(f, tg.spec((12,)))
    found = {eq.op.name: is_view(eq) for eq in graph.equations}
    assert found["reshape"] and found["transpose"] and found["flip"]
    assert not any(found[name] for name in ("getitem", "stop_gradient", "split", "sum", "add"))


@st.composite
def programs(draw_from: Any) -> Any:
    """Views and other ops between modules, with several readers, several inputs and results on the way."""
    m = hand.Maker()
    values = [m.input((4, 6)), m.input((4, 6), name="y")]
    outs = []
    for i in range(draw_from(st.integers(3, 60))):
        kind = draw_from(st.sampled_from(["transpose", "reshape", "tanh", "add", "linear", "flip", "exp"]))
        x = values[draw_from(st.integers(max(0, len(values) - 4), len(values) - 1))]
        scope = draw_from(st.sampled_from(["", "part", "part"]))
        if kind == "linear":
            found = m.op("matmul", x, m.cell(f"fc_{i}.weight", (6, 6)), scope=f"fc_{i}", kind="contraction")
        elif kind == "add":
            found = m.op("add", x, values[draw_from(st.integers(0, len(values) - 1))], scope=scope)
        else:
            found = m.op(kind, x, scope=scope, kind="shape" if kind not in ("tanh", "exp") else "elementwise")
        values.append(found)
        if draw_from(st.integers(0, 9)) == 0:
            outs.append(found)
    return m.graph(values[-1], *outs)


@given(programs(), st.integers(0, 3))
def test_joining_loses_nothing(graph: Any, step: int) -> None:
    boxes = by_module(graph)
    asked: list[int] = []

    def view(found: list[Any]) -> list[Any]:
        asked.append(len(found))
        return found if len(asked) > step else [*found] * (FEW + 1)  # as if there were many

    found = joined(graph, boxes, view)
    if len(found) > FEW * 2:
        found = found[: len(found) // (FEW + 1)] if len(asked) <= step else found
    assert sorted(i for box in found for i in box.equations) == list(range(len(graph.equations)))
    assert asked == sorted(asked, reverse=True)
    exact(graph, build(graph, found, "module"))


def test_few_boxes_are_never_joined():
    for make in (hand.step, hand.mlp, lambda: hand.residual(2), lambda: hand.chain(20)):
        drawing = draw(make(), level="module")
        if len(inside(drawing)) <= FEW:
            assert not any(node.role == "ops" for node in drawing.nodes if "gradient" not in node.title)


# ---- what the text says once for each parameter


@pytest.mark.parametrize("name", ["demo step", "transformer step", "two inputs step", "maml step"])
def test_the_updates_of_an_optimiser_are_one_box(name):
    graph = PROGRAMS[name]()
    drawing = draw(graph, level="op")
    (update,) = [node for node in drawing.nodes if "_update x" in node.title]
    updates = [i for i, eq in enumerate(graph.equations) if eq.op.name.endswith("_update")]
    assert list(update.members) == updates and update.title.endswith(f" x{len(updates)}")
    sizes = sum(cell.aval.size for cell in graph.cells if cell.kind == "parameter")
    assert any(row.text == f"{sizes:,} params" for row in update.rows)
    written = {write.value for write in graph.writes}
    cells = sum(out in written for i in updates for out in graph.equations[i].outputs)
    (said,) = (re.findall(r"\d+", row.text) for row in update.rows if row.style == "write")
    assert sum(map(int, said)) == cells


def test_updates_are_drawn_one_by_one_where_they_are_asked_for():
    graph = PROGRAMS["demo step"]()
    count = sum(eq.op.name == "adam_update" for eq in graph.equations)
    for expand in (True, "optimizer"):
        titles = [node.title for node in draw(graph, level="op", expand=expand).nodes]
        assert titles.count("adam_update") == count


def test_a_comprehension_over_parameters_is_a_box_an_op_with_its_number():
    drawing = draw(PROGRAMS["maml step"](), level="module")
    boxes = {node.title: node for node in drawing.nodes}
    assert {"alias x4", "multiply x4", "subtract x4"} <= set(boxes)
    assert [row.text for row in boxes["multiply x4"].rows] == ["multiply x4", "0.1 * b"]


def test_layers_of_several_widths_stay_a_chain():
    def f(x, ws):
        for w in ws:
            x = tg.tanh(x @ w)
        return x

    drawing = draw(f, tg.f32[2, 3], [tg.f32[3, 4], tg.f32[4, 5], tg.f32[5, 6]], level="op")
    assert [node.title for node in drawing.nodes if node.role == "op"] == ["matmul", "tanh"] * 3
