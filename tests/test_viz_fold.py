"""Templates: equal siblings drawn once, nothing lost, and everything given back when they are opened."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from large_programs import PROGRAMS

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.graph.graph import Var
from tensorgraph.graph.statements import Definition
from tensorgraph.viz import draw
from tensorgraph.viz.model.build import build
from tensorgraph.viz.model.digest import structure
from tensorgraph.viz.model.fold import fold, loops_of, unfold
from tensorgraph.viz.model.view import by_module, by_op


def load(name: str) -> ModuleType:
    """A helper beside this file; the test folder is no package and not on the path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


hand = load("viz_graphs")


def groups(drawing: Any) -> list[tuple[str, int]]:
    return [(group.rows[0].text, group.count) for group in drawing.groups if group.count > 1]


def lines(drawing: Any, role: str) -> set[tuple[str, str]]:
    paths = {node.id: node.path for node in drawing.nodes}
    return {(paths[e.tail], paths[e.head]) for e in drawing.edges if e.role == role}


def deep(layers: int, odd: int | None = None, width: int = 8) -> Any:
    """Linear and tanh, again and again; one of them twice as wide."""
    m = hand.Maker()
    h = m.input((4, width))
    for i in range(layers):
        units = 2 * width if i == odd else width
        h = m.op("tanh", m.linear(h, units, f"layers.{2 * i}"), scope=f"layers.{2 * i + 1}")
    return m.graph(h)


def test_twelve_equal_blocks_are_one_template_with_what_is_carried():
    drawing = draw(hand.residual(12), level="module")
    assert groups(drawing) == [("blocks.0 ... blocks.11 x12", 12)]
    boxes = [n for n in drawing.nodes if n.group is not None and n.role != "entry"]
    assert [n.path for n in boxes] == ["blocks.0.fc1", "blocks.0.act", "blocks.0.fc2", "blocks.0/add"]
    assert all(len(n.members) % 12 == 0 for n in boxes)
    assert lines(drawing, "carried") == {("blocks.0/add", "blocks.0..blocks.11/in")}
    assert ("blocks.0..blocks.11/in", "blocks.0/add") in lines(drawing, "residual")
    assert ("blocks.0/add", "head") in lines(drawing, "data")
    assert "carried" in {entry.role for entry in drawing.legend}
    assert [r.text for r in boxes[0].rows if r.style == "parameter"] == ["16,512 params x12 = 198,144"]


def test_two_are_no_template_and_three_are():
    assert not groups(draw(hand.residual(2), level="module"))
    assert groups(draw(hand.residual(3), level="module")) == [("blocks.0 ... blocks.2 x3", 3)]


def test_siblings_may_repeat_in_groups():
    drawing = draw(deep(6), level="module")
    assert groups(drawing) == [("layers.0 to 1 ... layers.10 to 11 x6", 6)]
    assert len([n for n in drawing.nodes if n.role == "module"]) == 2


def test_what_differs_is_not_folded():
    assert groups(draw(deep(9, odd=4), level="module")) == [
        ("layers.0 to 1 ... layers.6 to 7 x4", 4), ("layers.12 to 13 ... layers.16 to 17 x3", 3)
    ]  # fmt: skip
    m = hand.Maker()  # the third reads something else
    x, z = m.input((4, 8)), m.input((4, 8), name="z")
    h = x
    for i in range(4):
        h = m.op("add", h, z if i == 2 else x, scope=f"layers.{i}")
    assert not groups(draw(m.graph(h), level="module"))
    m = hand.Maker()  # each is read by another box outside
    h = m.input((4, 8))
    steps = []
    for i in range(4):
        h = m.op("tanh", h, scope=f"layers.{i}")
        steps.append(h)
    total = m.op("exp", steps[0], scope="a")
    for i, s in enumerate(steps[1:]):
        total = m.op("multiply" if i % 2 else "add", total, s, scope=f"b{i}")
    assert not groups(draw(m.graph(total), level="module"))


def test_parallel_siblings_fold_without_anything_carried():
    m = hand.Maker()
    x = m.input((4, 8))
    heads = tuple(m.linear(x, 8, f"heads.{i}") for i in range(5))
    drawing = draw(m.graph(m.op("concatenate", heads, shape=(20, 8))), level="module")
    assert groups(drawing) == [("heads.0 ... heads.4 x5", 5)] and not lines(drawing, "carried")


def test_an_unrolled_recurrence_is_one_step_with_shared_weights():
    wx, wh = tg.Parameter(tg.zeros((3, 5)), name="wx"), tg.Parameter(tg.zeros((5, 5)), name="wh")

    def net(x: Any) -> Any:
        h = tg.zeros((6, 5))
        for t in range(50):
            h = tg.tanh(x[:, t] @ wx + h @ wh)
        return h

    drawing = draw(net, tg.spec((6, 50, 3), "float32"), level="op")
    assert [count for _, count in groups(drawing)] == [50]
    look = next(n for n in drawing.nodes if n.path == "getitem")
    assert [r.text for r in look.rows if r.style in ("title", "detail")] == ["x[:, t]", "t = 0 ... 49"]
    assert len(lines(drawing, "carried")) == 1


def test_templates_stand_in_templates():
    m = hand.Maker()
    h = m.input((4, 8))
    for i in range(4):
        for j in range(3):
            h = m.linear(h, 8, f"stages.{i}.layers.{j}")
        h = m.op("tanh", h, scope=f"stages.{i}")
    graph = m.graph(h)
    drawing = draw(graph, level="module")
    assert sorted(count for _, count in groups(drawing)) == [3, 4]
    check_complete(graph, drawing)


def test_templates_are_opened_by_true_by_a_path_and_by_focus():
    graph = hand.residual(5)
    every = draw(graph, level="module", expand=True)
    assert not groups(every) and len(every.nodes) == 24
    for opened in ("blocks", ["blocks.0..blocks.4"]):
        assert not groups(draw(graph, level="module", expand=opened))
    one = draw(graph, level="module", expand="blocks.3")  # to its ops; the others before it are alike
    assert groups(one) == [("blocks.0 ... blocks.2 x3", 3)] and "blocks.3.fc1/matmul" in {n.path for n in one.nodes}
    assert groups(draw(graph, level="module", expand="head")) == groups(draw(graph, level="module"))
    near = draw(graph, level="module", focus="blocks.3.fc1", hops=1)
    assert "blocks.3.fc1" in {n.path for n in near.nodes}


def test_the_path_of_a_module_opens_it_to_its_ops():
    drawing = draw(hand.mlp(), level="module", expand="layers.1")
    assert {"layers.1/batch_norm", "layers.0", "layers.2"} <= {n.path for n in drawing.nodes}
    assert "layers.1" in {g.path for g in drawing.groups}


def test_a_fused_op_opens_to_its_reference():
    def f(x: Any, y: Any) -> Any:
        return tg.softmax_cross_entropy(tg.tanh(x), y)

    graph = tg.trace(f, tg.spec((4, 3), "float32"), tg.spec((4,), "int64"))
    drawing = draw(graph, level="op", expand="softmax_cross_entropy")
    inside = [n for n in drawing.nodes if n.path.startswith("softmax_cross_entropy/")]
    assert len(inside) > 3 and [g.path for g in drawing.groups] == ["softmax_cross_entropy"]
    assert {n.group for n in inside} == {drawing.groups[0].id}
    assert "softmax_cross_entropy" in {n.path for n in draw(graph, level="op").nodes}
    mirrored = draw(graph, level="training", expand="softmax_cross_entropy")
    assert any(n.path.startswith("softmax_cross_entropy/") and n.role == "gradient" for n in mirrored.nodes)
    with pytest.raises(ValueError, match="is no fused op"):
        draw(graph, expand="tanh")


def test_wrong_paths_are_named_with_what_is_near():
    with pytest.raises(ValueError, match=r"no module or op of this graph; near it are .*'blocks\.1'"):
        draw(hand.residual(3), expand="block.1")
    with pytest.raises(TypeError, match=r"expand\[0\] must be a str"):
        draw(hand.residual(3), expand=[3])


# ---- properties


@st.composite
def repeating(draw_from: Any) -> Any:
    """Graphs with repeats that are nearly alike: skips, shared operands, odd ones out, several outputs, writes."""
    m = hand.Maker()
    x = m.input((4,))
    shared = m.op("exp", x)
    weights = m.cell("w", (4,))
    h = before = x
    made = []
    for i in range(draw_from(st.integers(3, 9))):
        scope = draw_from(st.sampled_from([f"blocks.{i}", f"blocks.{i}", f"blocks.{i}", ""]))
        kind = draw_from(st.sampled_from([0, 0, 0, 1, 2, 3]))
        start = h
        h = m.op("tanh", h, scope=f"{scope}.a" if scope else "")
        if kind == 1:
            h = m.op("add", h, shared, scope=scope)
        elif kind == 2:
            h = m.op("add", h, before, scope=scope)
        elif kind == 3:
            h, other = m.op("split", h, scope=scope, outs=2)
            made.append(other)
        h = m.op("multiply", h, draw_from(st.sampled_from([weights, start])), scope=scope)
        before = start
        if draw_from(st.integers(0, 5)) == 0:
            made.append(h)
    for value in made[: draw_from(st.integers(0, 3))]:
        h = m.op("add", h, value)
    return m.graph(h, *made[:1])


def check_complete(graph: Any, drawing: Any) -> None:
    """Every equation is in one box, and every flow is inside a box or an edge between its boxes."""
    assert Counter(i for n in drawing.nodes for i in n.members) == Counter(range(len(graph.equations)))
    box = {i: n.id for n in drawing.nodes for i in n.members}
    made = {v: box[i] for i, eq in enumerate(graph.equations) for v in eq.outputs}
    made |= {v: drawing.nodes[k].id for k, v in enumerate(graph.inputs)}
    edges = hand.joined(drawing)
    for i, eq in enumerate(graph.equations):
        for atom in eq.atoms():
            if isinstance(atom, Var) and atom in made:
                assert made[atom] == box[i] or (made[atom], box[i]) in edges
    order = {n.id: k for k, n in enumerate(drawing.nodes)}
    assert all(order[e.tail] < order[e.head] for e in drawing.edges if e.role != "carried")


@given(repeating(), st.sampled_from(["op", "module"]))
def test_folding_loses_nothing_and_unfolding_gives_the_original(graph, level):
    boxes = by_op(graph) if level == "op" else by_module(graph)
    folded = fold(graph, boxes)
    assert unfold(folded) == boxes
    check_complete(graph, build(graph, folded, level))
    assert draw(graph, level=level, expand=True) == build(graph, boxes, level)


@given(repeating())
def test_a_template_stands_for_equal_parts(graph):
    for box in fold(graph, by_module(graph)):
        assert len({structure(graph, part.equations) for part in (box, *box.others)}) == 1


# ---- loops of the text


def test_a_picture_folds_what_the_text_folds_under_its_name():
    assert groups(draw(PROGRAMS["lstm forward"]())) == [("for t in range(20)", 20)]  # h and c begin as one value
    assert groups(draw(PROGRAMS["residual forward"]())) == [("ResidualBlock blocks.0 ... 11 x12", 12)]
    drawing = draw(PROGRAMS["maml step"]())
    assert groups(drawing) == [("for t in range(4)", 4)]
    total = next(n for n in drawing.nodes if n.role == "entry")
    assert total.title == "total, 0 at first"  # a number at first: no line leads there from outside
    roles = [role for role in ("data", "carried") for _, head in lines(drawing, role) if head == total.path]
    assert roles == ["carried"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_loop_of_the_text_that_turns_over_equal_modules_is_a_template(name):
    graph = PROGRAMS[name]()
    drawing = draw(graph, level="module")
    folded = {group.count for group in drawing.groups}
    for one in loops_of(graph):
        inner = [part.of for part in one.inner if isinstance(part.of, Definition)]
        if len(inner) == len(one.turns) and len(set(inner)) == 1 and inner[0].kind == "module":
            assert one.of.count in folded


def test_a_loop_over_unlike_layers_is_no_template():
    layers = [nn.Linear(4 + i, 5 + i, seed=i) for i in range(5)]
    graph = tg.trace(nn.Sequential(*layers), tg.f32[2, 4])
    assert [len(one.turns) for one in loops_of(graph)] == [5]
    assert not groups(draw(graph, level="module"))


def test_loops_in_loops_are_templates_in_templates():
    graph = PROGRAMS["maml step"]()  # four tasks of three steps each, in functions called adapt.0 to adapt.3
    for level in ("module", "op", "training"):
        drawing = draw(graph, level=level)
        outer, inner = (group for group in drawing.groups if group.count > 1)
        assert (outer.count, inner.count) == (4, 3) and inner.parent in {outer.id, None} | {
            group.id for group in drawing.groups if group.parent == outer.id
        }


def test_what_is_a_cell_at_first_is_said_where_it_enters():
    drawing = draw(PROGRAMS["maml step"](), level="module")
    entries = [n.title for n in drawing.nodes if n.role == "entry"]
    assert entries == ["total, 0 at first", "4 values, parameters.0 ... parameters.3 at first"]  # one point for a dict
    alias = next(n for n in drawing.nodes if n.title == "alias x4")
    assert [row.text for row in alias.rows if row.style == "parameter"] == []  # later repeats read no parameter
    # each of the four tasks has its own xs[t], which all three steps in it read
    assert not any(row.text == "one each" for edge in drawing.edges for row in edge.rows)


def test_auto_closes_functions_that_take_gradients_of_their_own():
    titles = [n.title for n in draw(PROGRAMS["maml step"]()).nodes]
    assert "adapt" in titles and "gradients" not in titles
    assert "gradients" in [n.title for n in draw(PROGRAMS["maml step"](), level="training").nodes]
