"""Pictures as values: what is drawn, at each level, whatever the format."""

import importlib.util
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorgraph.graph.calls import scoped
from tensorgraph.graph.graph import Var
from tensorgraph.viz import Drawing, draw
from tensorgraph.viz.model.labels import binary, clean, count, cut, value_text
from tensorgraph.viz.model.view import by_module, pack


def load(name: str) -> ModuleType:
    """A helper beside this file; the test folder is no package and not on the path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


hand = load("viz_graphs")


def at(drawing: Drawing, path: str):
    return next(node for node in drawing.nodes if node.path == path)


def lines(drawing: Drawing) -> set[tuple[str, str, str]]:
    paths = {node.id: node.path for node in drawing.nodes}
    return {(paths[e.tail], paths[e.head], e.role) for e in drawing.edges}


def texts(node, style: str) -> list[str]:
    return [f"{row.text} {row.value}".strip() for row in node.rows if row.style == style]


# ---- levels


def test_a_module_is_a_box_with_the_type_that_leaves_it_and_its_parameters():
    drawing = draw(hand.mlp(), level="module")
    assert [n.path for n in drawing.nodes] == ["inputs/x", *(f"layers.{i}" for i in range(7)), "outputs/out"]
    assert drawing.title == "classifier: 20 ops drawn as 7 boxes"
    first = at(drawing, "layers.0")
    assert texts(first, "type") == ["64x128 f32"] and texts(first, "parameter") == ["8,192 params"]
    assert not texts(at(drawing, "layers.2"), "type")  # relu changes neither shape nor dtype
    assert at(drawing, "layers.2").types == ("64x128 f32",)
    assert texts(at(drawing, "layers.1"), "write") == ["writes running_mean, running_var"]
    assert not drawing.groups  # one frame around everything says nothing


def test_a_residual_block_is_a_frame_with_its_addition_and_a_thick_edge():
    drawing = draw(hand.residual(3), level="module", expand=True)
    assert [g.path for g in drawing.groups] == ["blocks.0", "blocks.1", "blocks.2"]
    assert {e for e in lines(drawing) if e[2] == "residual"} == {
        ("stem", "blocks.0/add", "residual"),
        ("blocks.0/add", "blocks.1/add", "residual"),
        ("blocks.1/add", "blocks.2/add", "residual"),
    }
    assert at(drawing, "blocks.1/add").group == drawing.groups[1].id
    assert "residual" in {entry.role for entry in drawing.legend}


def test_depth_folds_deeper_modules_and_what_stands_between_them():
    drawing = draw(hand.residual(3), level="module", depth=2, expand=True)
    assert [n.path for n in drawing.nodes if n.role == "module"] == [
        "stem", "blocks.0", "blocks.1", "blocks.2", "head"
    ]  # fmt: skip
    assert texts(at(drawing, "blocks.1"), "parameter") == ["33,024 params"]
    assert [n.path for n in draw(hand.residual(3), depth=1).nodes if n.role == "module"] == ["stem", "blocks", "head"]


def test_every_op_is_drawn_with_its_operands_attributes_and_parameters():
    drawing = draw(hand.mlp(), level="op")
    ops = [node for node in drawing.nodes if node.role == "op"]
    assert drawing.title == "classifier: 20 ops" and len(ops) == 20
    norm = at(drawing, "layers.1/batch_norm")
    assert texts(norm, "attribute") == ["eps 0.001"]  # axis has its default
    assert texts(norm, "parameter") == ["y: gamma 128 f32", "z: beta 128 f32"]
    assert texts(at(drawing, "layers.1/multiply"), "buffer") == ["running_mean 128 f32"]
    assert texts(at(drawing, "layers.1/multiply"), "constant") == ["a * 0.9"]
    assert {g.path for g in drawing.groups} == {"layers.1", "layers.4", "layers.6"}  # frames of one op are left out
    assert texts(at(drawing, "layers.0/matmul"), "detail") == ["layers.0"]


def test_a_shape_is_on_an_edge_only_where_it_changes():
    drawing = draw(hand.mlp(), level="op")
    paths = {node.id: node.path for node in drawing.nodes}
    labelled = {paths[e.tail]: [r.text for r in e.rows] for e in drawing.edges if e.rows}
    assert labelled["layers.0/matmul"] == ["64x128 f32"]
    assert "layers.2/relu" not in labelled and "layers.6/add" not in labelled
    module = draw(hand.mlp(), level="module")
    assert not any(edge.rows for edge in module.edges)  # the boxes say it


def test_a_change_of_dtype_is_marked():
    m = hand.Maker()
    x, w = m.input((4,)), m.input((4,), "float64", "w")
    y = m.op("multiply", x, w, dtype="float64")
    z = m.op("tanh", y)
    drawing = draw(m.graph(m.op("cast", z, dtype="float32")), level="op")
    marked = {r for e in drawing.edges for r in e.rows}
    assert {(r.style, r.text) for r in marked} == {("warning", "4 f64 !")}
    assert at(drawing, "cast").types == ("4 f32 !",) and at(drawing, "tanh").types == ("4 f64",)
    assert "warning" in {entry.role for entry in drawing.legend}


def test_operands_have_ports_where_their_order_matters():
    m = hand.Maker()
    x, y = m.input((4,)), m.input((4,), name="y")
    d = m.op("subtract", x, y)
    drawing = draw(m.graph(m.op("add", d, y)), level="op")
    assert [(p.id, p.text) for p in at(drawing, "subtract").ports] == [("p0", "a"), ("p1", "b")]
    assert not at(drawing, "add").ports
    heads = {e.port for e in drawing.edges if e.head == at(drawing, "subtract").id}
    assert heads == {"p0", "p1"}


def test_the_same_operand_twice_is_two_edges_to_ports():
    m = hand.Maker()
    x = m.input((4, 4))
    drawing = draw(m.graph(m.op("matmul", x, x)), level="op")
    assert [e.port for e in drawing.edges if e.head == at(drawing, "matmul").id] == ["p0", "p1"]


def test_a_training_step_has_a_dashed_gradient_and_its_writes():
    graph = hand.step()
    drawing = draw(graph, level="module")
    gradients = at(drawing, "gradients")
    assert gradients.role == "gradient" and texts(gradients, "parameter") == ["wrt 8 parameters 17,418 values"]
    assert ("softmax_cross_entropy", "gradients", "gradient") in lines(drawing)
    assert ("gradients", "optimizer", "gradient") in lines(drawing)
    assert texts(at(drawing, "optimizer"), "write") == ["writes 8 parameters + 8 buffers"]
    assert "shared" not in drawing.text()  # an update reads a parameter too
    updates = [n for n in draw(graph, level="op").nodes if "adam_update" in n.path]
    assert len(updates) == 8 and all(len(texts(n, "write")) == 1 for n in updates)


def test_writes_without_a_producing_op_have_a_box():
    m = hand.Maker()
    x, cell, other = m.input((4,)), m.cell("seen", (4,), "buffer"), m.cell("count", (), "buffer", "int64")
    m.write(cell, x)
    m.write(other, 0)
    drawing = draw(m.graph(m.op("tanh", x)))
    assert ("inputs/x", "writes/seen", "data") in lines(drawing)
    assert texts(at(drawing, "writes/count"), "constant") == ["value 0"]


def test_a_shared_parameter_is_named_at_each_use():
    m = hand.Maker()
    weight, h = m.cell("cell.weight", (4, 4)), m.input((2, 4))
    for _ in range(2):
        h = m.op("matmul", h, weight, scope="cell")
        h = m.op("tanh", h)
    graph = m.graph(h)
    boxes = [n for n in draw(graph, level="module").nodes if n.role == "module"]
    assert [n.path for n in boxes] == ["cell", "cell#1"]
    assert all(texts(n, "parameter") == ["16 params shared"] for n in boxes)
    assert [n.title for n in boxes] == ["cell", "cell, call 2"]
    assert sum(bool(texts(n, "parameter")) for n in draw(graph, level="op").nodes) == 2


def test_frozen_parameters_and_captured_arrays_are_said():
    m = hand.Maker()
    x, w = m.input((4,)), m.cell("w", (4,), requires_grad=False)
    h = m.op("multiply", x, w)
    h = m.op("add", h, m.const(np.ones((4,), np.float32)))
    drawing = draw(m.graph(m.op("add", h, m.const(np.arange(9.0)), shape=(9,))), level="op")
    assert texts(at(drawing, "multiply"), "parameter") == ["w 4 f32 frozen"]
    assert texts(at(drawing, "add"), "constant") == ["b [1, 1, 1, 1]"]
    assert texts(at(drawing, "add#1"), "constant") == ["b 9 f64"]


def test_the_summary_is_one_box():
    drawing = draw(hand.step(), level="summary")
    (node,) = drawing.nodes
    assert ("17,418 params", "8 arrays, 68.0 KiB") in {(r.text, r.value) for r in node.rows}
    assert node.members == tuple(range(31)) and not drawing.edges
    assert "31 ops" in texts(node, "detail")


def test_auto_draws_ops_of_small_graphs_and_modules_of_large_ones():
    assert draw(hand.mlp()).level == "op"
    assert draw(hand.residual(12)).level == "op"  # twelve times the same
    assert draw(hand.residual(12), expand=True).level == "module"
    assert draw(hand.chain(300), expand=True).level == "op"  # no modules to fold to
    assert draw(hand.chain(300, modules=10), expand=True).level == "module"
    assert draw(hand.mlp(), depth=1).level == "module"


def test_focus_draws_the_surroundings():
    graph = hand.mlp()
    drawing = draw(graph, level="module", focus="layers.3", hops=1)
    assert [n.path for n in drawing.nodes] == ["layers.2", "layers.3", "layers.4"]
    assert texts(at(drawing, "layers.2"), "stub") == ["<- layers.1"]
    assert texts(at(drawing, "layers.4"), "stub") == ["-> 1 other box"]
    assert "3 of 9 boxes" in drawing.notes[-1]
    inside = draw(graph, focus="layers.6", hops=0)  # auto: the ops of a module
    assert [n.path for n in inside.nodes] == ["layers.6/matmul", "layers.6/add"]
    assert draw(graph, focus="x", hops=0).nodes[0].path == "inputs/x"
    with pytest.raises(ValueError, match=r"'layers\.3'"):
        draw(graph, level="module", focus="layer.3")


def test_options_are_checked():
    graph = hand.mlp()
    for wrong, message in (
        ({"level": "kernels"}, "'summary', 'module', 'op', 'training' or 'compiled'"),
        ({"level": "compiled"}, "only the name is known"),
        ({"theme": "blue"}, "'light' or 'dark'"),
        ({"depth": 0}, "level='summary'"),
        ({"depth": True}, "positive integer"),
        ({"hops": -1}, "hops"),
        ({"timeout": 0}, "timeout"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            draw(graph, **wrong)
    with pytest.raises(TypeError, match="timeout must be a positive number"):
        draw(graph, timeout="1")
    with pytest.raises(TypeError, match="draw: focus must be a str, a Region or None, got 3"):
        draw(graph, focus=3)
    with pytest.raises(ValueError, match="leave the examples out"):
        draw(graph, np.ones(3))


def test_paths_are_stable_and_unique():
    for level in ("module", "op"):
        first, second = draw(hand.step(), level=level), draw(hand.step(), level=level)
        assert first == second
        paths = [n.path for n in first.nodes]
        assert len(set(paths)) == len(paths)
    m = hand.Maker()
    a, b = m.input((2,), name="x"), m.input((2,), name="x")
    assert [n.path for n in draw(m.graph(m.op("add", a, b))).nodes][:2] == ["inputs/x", "inputs/x~2"]


# ---- no edge is lost: property


@st.composite
def graphs(draw_from):
    """Random graphs: reuse, several outputs, lists, interleaved and nested scopes, gradients, writes."""
    m = hand.Maker()
    values = [m.input((3,)) for _ in range(draw_from(st.integers(1, 3)))]
    cells = [m.cell(f"c{i}", (3,)) for i in range(2)]
    scopes = ["", "a", "a.b", "a.b.c", "a.d", "e", "e.0", "e.1", "e.2"]
    for _ in range(draw_from(st.integers(0, 40))):
        pick = st.sampled_from(values + cells)
        scope = draw_from(st.sampled_from(scopes))
        match draw_from(st.integers(0, 5)):
            case 0:
                values.append(m.op("concatenate", (draw_from(pick), draw_from(pick)), scope=scope, shape=(3,)))
            case 1:
                values += m.op("split", draw_from(pick), scope=scope, outs=2)
            case 2:
                values += m.op("gradients", (draw_from(pick),), tuple(cells), scope=scope, outs=2, shape=(3,))
            case _:
                values.append(m.op(draw_from(st.sampled_from(["add", "subtract"])), draw_from(pick), draw_from(pick),
                                   scope=scope))  # fmt: skip
    for cell in cells:
        if draw_from(st.booleans()):
            m.write(cell, draw_from(st.sampled_from(values)))
    return m.graph(*draw_from(st.lists(st.sampled_from(values), min_size=1, max_size=3)))


def check_complete(graph, drawing: Drawing) -> None:
    """Every equation is in one box; every flow is inside a box or an edge; edges go forward."""
    box = {i: node.id for node in drawing.nodes for i in node.members}
    assert Counter(i for node in drawing.nodes for i in node.members) == Counter(range(len(graph.equations)))
    made = {v: box[i] for i, eq in enumerate(graph.equations) for v in eq.outputs}
    made |= {v: drawing.nodes[k].id for k, v in enumerate(graph.inputs)}
    edges = {(e.tail, e.head) for e in drawing.edges}
    for i, eq in enumerate(graph.equations):
        for atom in eq.atoms():
            if isinstance(atom, Var) and atom in made:
                assert made[atom] == box[i] or (made[atom], box[i]) in edges
    ends = [node.id for node in drawing.nodes if node.role == "output"]
    for end, out in zip(ends, graph.outputs, strict=True):
        assert out not in made or (made[out], end) in edges
    order = {node.id: n for n, node in enumerate(drawing.nodes)}
    assert all(order[e.tail] < order[e.head] for e in drawing.edges)  # so folding made no cycle
    groups = {g.id for g in drawing.groups}
    assert {n.group for n in drawing.nodes} - {None} <= groups and {g.parent for g in drawing.groups} - {None} <= groups


@given(graphs(), st.sampled_from([("op", None), ("module", None), ("module", 1), ("module", 2)]))
def test_every_flow_is_inside_a_box_or_on_its_boundary(graph, how):
    level, depth = how
    check_complete(graph, draw(graph, level=level, depth=depth))


@given(graphs(), st.integers(1, 6))
def test_joining_neighbours_loses_no_flow(graph, most):
    from tensorgraph.viz.model.build import build

    boxes = pack(graph, by_module(graph), most)
    check_complete(graph, build(graph, boxes, "module"))


def test_class_names_are_shown_where_known():
    from tensorgraph.viz.model.build import build

    graph = hand.residual(1)
    linear = {scope: scoped(scope, "Linear") for scope in ("stem", "blocks.0.fc1")}
    graph = graph.replace(equations=tuple(replace(eq, call=linear.get(eq.scope, eq.call)) for eq in graph.equations))
    drawing = build(graph, by_module(graph), "module")
    assert at(drawing, "stem").title == "Linear stem" and not texts(at(drawing, "stem"), "detail")
    assert at(drawing, "blocks.0.fc1").title == "Linear fc1"  # as seen from the frame around it


# ---- words


def test_words():
    assert cut("a" * 61) == "a" * 29 + "..." + "a" * 28 and len(cut("b" * 1000)) == 60
    assert [binary(n) for n in (0, 1023, 1024, 5 * 2**20, 3 * 2**40)] == [
        "0 B", "1023 B", "1.0 KiB", "5.0 MiB", "3.0 TiB"
    ]  # fmt: skip
    assert (count(1, "op"), count(1250, "op"), count(2, "box")) == ("1 op", "1,250 ops", "2 boxes")
    assert clean("a\nb\x00\u202ec\ud800") == "a bc" and clean("") == "_" and clean("\x07") == "_"
    assert value_text(1e-5) == "1e-05" and value_text(0.1) == "0.1" and value_text(1 / 3) == repr(1 / 3)
    assert value_text((1, None, True)) == "(1, None, True)" and value_text(np.dtype("float32")) == "f32"


@given(st.text(max_size=300))
def test_clean_text_is_one_printable_line(text):
    found = clean(text)
    assert 0 < len(found) <= 60 and found.isprintable()
    found.encode("utf-8")
