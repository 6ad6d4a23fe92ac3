"""The mirrored step: each box's gradient beside it, what is kept, where gradients stop, what is written."""

import os
import re
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import viz_graphs as hand
from hypothesis import given, reject
from hypothesis import strategies as st
from large_programs import PROGRAMS

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.commands.demo.digits import network
from tensorgraph.engine.op import saved_names
from tensorgraph.graph.graph import Var
from tensorgraph.viz import Drawing, draw
from tensorgraph.viz.model.budget import MOST_SPAN, oriented, ranks, span
from tensorgraph.viz.model.mirror import passes
from tensorgraph.viz.model.rails import Rows
from tensorgraph.viz.render.engine import find_engine, run_engine

needs_engine = pytest.mark.skipif(find_engine() is None, reason="no layout engine is installed")


def at(drawing: Drawing, path: str) -> Any:
    return next(node for node in drawing.nodes if node.path == path)


def lines(drawing: Drawing, *roles: str) -> set[tuple[str, str]]:
    paths = {node.id: node.path for node in drawing.nodes}
    return {(paths[e.tail], paths[e.head]) for e in drawing.edges if e.role in roles}


def texts(node: Any, style: str) -> list[str]:
    return [f"{row.text} {row.value}".strip() for row in node.rows if row.style == style]


def kept(drawing: Drawing, path: str) -> list[str]:
    """What is written on the dotted edge from a box to its gradient."""
    node = at(drawing, path)
    return [
        f"{r.text} {r.value}".strip() for e in drawing.edges if e.role == "saved" and e.tail == node.id for r in e.rows
    ]


def step_of(model: Any, optimizer: Any) -> Any:
    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.minimize(loss)
        return loss

    return step


def digits_step(widths: tuple[int, ...] = (256, 128)) -> Any:
    net = network(widths, 0)
    step = step_of(net, optim.Adam(net.parameters(), lr=0.01))
    return tg.trace(step, tg.spec((64, 64), "float32"), tg.spec((64,), "int64"))


class Block(nn.Module):
    def __init__(self, n: int) -> None:
        self.fc1, self.fc2 = nn.Linear(n, n, seed=0), nn.Linear(n, n, seed=1)

    def forward(self, x: Any) -> Any:
        return x + self.fc2(tg.relu(self.fc1(x)))


class Residual(nn.Module):
    def __init__(self, blocks: int, n: int = 16) -> None:
        self.stem, self.head = nn.Linear(8, n, seed=2), nn.Linear(n, 4, seed=3)
        self.blocks = nn.Sequential(*[Block(n) for _ in range(blocks)])

    def forward(self, x: Any) -> Any:
        return self.head(self.blocks(self.stem(x)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        self.wx, self.wh = nn.Linear(3, 5, bias=False, seed=4), nn.Linear(5, 5, seed=5)

    def forward(self, x: Any) -> Any:
        h = tg.zeros((x.shape[0], 5))
        for t in range(x.shape[1]):
            h = tg.tanh(self.wx(x[:, t]) + self.wh(h))
        return h


def residual_step(blocks: int) -> Any:
    net = Residual(blocks)
    step = step_of(net, optim.SGD(net.parameters(), lr=0.1))
    return tg.trace(step, tg.spec((6, 8), "float32"), tg.spec((6,), "int64"))


def recurrent_step(steps: int) -> Any:
    net = Recurrent()
    step = step_of(net, optim.SGD(net.parameters(), lr=0.1))
    return tg.trace(step, tg.spec((6, steps, 3), "float32"), tg.spec((6,), "int64"))


# ---- what is drawn


def test_every_layer_has_its_gradient_beside_it_and_its_update_beside_that():
    drawing = draw(digits_step(), level="training")
    layers = [str(i) for i in range(7)]
    forward = [n.path for n in drawing.nodes if n.role in ("module", "op")]
    assert forward == [*layers, "softmax_cross_entropy"]
    gradients = [n for n in drawing.nodes if n.role == "gradient"]
    assert [n.path for n in gradients] == [f"{path}~grad" for path in reversed(forward)]
    assert [n.twin for n in gradients] == [at(drawing, path).id for path in reversed(forward)]
    assert at(drawing, "0~grad").title == "grad Linear 0"
    assert texts(at(drawing, "0~grad"), "parameter") == ["16,384 gradients"]
    updates = {n.path: texts(n, "write") for n in drawing.nodes if n.role == "update"}
    assert updates["1~update"] == ["writes gamma, beta + 6 buffers"]
    assert updates["optimizer"] == ["writes steps"]
    assert at(drawing, "1~update").title == "adam_update x2" and at(drawing, "1~update").twin == at(drawing, "1").id
    assert re.search(r"^1~update +<- 1~grad +adam_update x2; ", drawing.text(), re.M)
    assert texts(at(drawing, "1"), "write") == ["writes 4 buffers"]  # running averages


def test_gradients_flow_up_along_the_reversed_edges_of_the_forward():
    drawing = draw(residual_step(3), level="training", expand=True)
    forward = {(a, b) for a, b in lines(drawing, "data", "residual") if not a.startswith("inputs")}
    forward = {(a, b) for a, b in forward if not b.startswith("outputs") and "optimizer" not in a}
    up = {(a, b) for a, b in lines(drawing, "gradient") if b.endswith("~grad")}
    assert up == {(f"{b}~grad", f"{a}~grad") for a, b in forward}
    assert len(lines(drawing, "residual")) == 3


def test_where_gradients_stop_is_said():
    drawing = draw(digits_step(), level="training")
    assert texts(at(drawing, "inputs/labels" if any(n.path == "inputs/labels" for n in drawing.nodes) else "inputs/y"),
                 "stop") == ["-| integers: no gradient"]  # fmt: skip
    assert texts(at(drawing, "inputs/x"), "stop") == ["-| no gradient wanted"]

    def f(x: Any, w: Any) -> Any:
        h = tg.tanh(x * w)
        return (h * tg.stop_gradient(h) * (h > 0.0).astype("float32")).sum()

    g = tg.trace(tg.grad(f, 1), tg.spec((3,)), tg.spec((3,)))
    stopped = draw(g, level="training")
    assert texts(at(stopped, "stop_gradient"), "stop") == ["-| detached"]
    assert texts(at(stopped, "greater"), "stop") == ["-| not differentiable"]
    assert not any(n.path == "stop_gradient~grad" for n in stopped.nodes)


def test_what_is_kept_is_named_with_its_bytes_and_counted_once():
    drawing = draw(digits_step(), level="training", depth="op")
    assert kept(drawing, "0/matmul") == ["x 16.0 KiB"] or kept(drawing, "0/matmul") == ["images 16.0 KiB"]
    assert kept(drawing, "2/relu") == ["out 64.0 KiB"]
    assert kept(drawing, "3/matmul") == ["a, kept above"]  # the same array
    assert kept(drawing, "6/add") == []
    graph = digits_step()
    one = passes(graph)[0]
    there = {cell.var for cell in graph.cells}
    distinct = {s.var for saves in one.saves.values() for s in saves if s.var is not None and s.var not in there}
    total = sum(var.aval.nbytes for var in distinct)
    assert f"{total / 1024:.1f} KiB kept" in drawing.title


def test_the_kept_values_are_those_that_the_engine_keeps():
    graph = digits_step((32,))
    (one,) = passes(graph)
    for i, saves in one.saves.items():
        eq = graph.equations[i]
        wanted = tuple(any(v in one.gives[i] for v in (a if isinstance(a, tuple) else (a,))) for a in eq.inputs)
        names = {n for n in saved_names(eq.op, wanted) if not n.endswith("_aval")}
        given = {n for n, a in zip(eq.op.inputs, eq.inputs, strict=True) if isinstance(a, (Var, tuple))}
        assert {s.name.partition(".")[0] for s in saves} == {n for n in names if n in given or n not in eq.op.inputs}


def test_a_shared_weight_is_named_at_each_use_and_updated_once():
    drawing = draw(recurrent_step(4), level="training", expand=True, depth="op")
    uses = [
        n for n in drawing.nodes if n.role == "gradient" and any("sum of 4 uses" in t for t in texts(n, "parameter"))
    ]
    assert len(uses) == 12  # two matmuls and a bias, four steps
    written = [t for n in drawing.nodes if n.role == "update" for t in texts(n, "write")]
    assert sorted(written) == ["writes bias", "writes steps", "writes weight", "writes weight"]


def test_running_averages_stand_to_the_left_of_what_they_follow():
    drawing = draw(digits_step(), level="training", depth="op")
    side = at(drawing, "1/batch_norm~write")
    assert side.role == "write" and side.title == "running_average" and side.twin == at(drawing, "1/batch_norm").id
    assert ("1/batch_norm", "1/batch_norm~write") in lines(drawing, "data")


def test_the_gradient_with_respect_to_an_input_is_beside_it():
    g = tg.trace(lambda x: tg.gradients((x * x).sum(), [x])[0], tg.tensor(np.ones(3, np.float32), requires_grad=True))
    drawing = draw(g, level="training")
    box = at(drawing, "inputs/x~grad")
    assert box.twin == at(drawing, "inputs/x").id
    assert ("multiply~grad", "inputs/x~grad") in lines(drawing, "gradient")
    assert ("inputs/x~grad", "outputs/out") in lines(drawing, "data", "gradient")


def test_a_forward_graph_shows_the_gradient_it_would_have():
    model = nn.Sequential(nn.Linear(8, 4, seed=0), nn.Tanh(), nn.Linear(4, 2, seed=1))
    drawing = draw(lambda x: model(x).sum(), tg.spec((5, 8), "float32"), level="training")
    assert {"0~grad", "1~grad", "2~grad", "sum~grad"} <= {n.path for n in drawing.nodes}
    assert any("takes no gradient" in note for note in drawing.notes)
    assert not any(n.role == "update" for n in drawing.nodes)


def test_a_graph_without_floats_says_that_nothing_has_a_gradient():
    drawing = draw(lambda x: x + 1, tg.spec((3,), "int64"), level="training")
    assert drawing.notes == ("nothing here has a gradient",)
    drawing.dot()


def test_clipping_by_norm_mixes_all_gradients_before_the_updates():
    net = nn.Sequential(nn.Linear(8, 4, seed=0), nn.Linear(4, 3, seed=1))
    step = step_of(net, optim.SGD(net.parameters(), lr=0.1, clip_norm=1.0))
    graph = tg.trace(step, tg.spec((6, 8), "float32"), tg.spec((6,), "int64"))
    drawing = draw(graph, level="training")
    check_complete(graph, drawing)
    assert {"0~update", "1~update"} <= {n.path for n in drawing.nodes}


def test_momentum_by_hand_is_one_update_a_parameter():
    w, v = tg.Parameter(np.ones((4, 3), np.float32), name="w"), tg.Buffer(np.zeros((4, 3), np.float32), name="v")
    rate = tg.Buffer(np.float32(0.1), name="rate")

    def step(x: Any) -> Any:
        loss = (tg.tanh(x @ w) ** 2).mean()
        loss.backward()
        with tg.no_grad():
            v.assign(0.9 * v + 0.1 * (w.grad + 0.01 * w))
            w.assign(w - rate * v)
        return loss

    graph = tg.trace(step, tg.spec((5, 4), "float32"))
    drawing = draw(graph, level="training")
    check_complete(graph, drawing)
    (update,) = [n for n in drawing.nodes if n.role == "update"]
    assert update.path == "matmul~update" and texts(update, "write") == ["writes w + 1 buffer"]


def test_a_gradient_written_out_gives_the_same_picture():
    for graph in (digits_step((32,)), residual_step(3), recurrent_step(4)):
        deferred, out = draw(graph, level="training"), draw(graph.differentiate(), level="training")
        strip = lambda d: [replace(n, members=(), tip="") for n in d.nodes]
        assert strip(out) == strip(deferred) and set(out.edges) == set(deferred.edges)
        check_complete(graph.differentiate(), out)


# ---- nothing is lost


def check_complete(graph: Any, drawing: Drawing) -> None:
    """Every equation in one box, every write said, every step of a gradient between boxes an edge."""
    assert Counter(i for n in drawing.nodes for i in n.members) == Counter(range(len(graph.equations)))
    assert len({n.path for n in drawing.nodes}) == len(drawing.nodes)
    box = {i: n for n in drawing.nodes for i in n.members}
    ids = {n.id: n for n in drawing.nodes}
    edges = hand.joined(drawing)
    assert all(a in ids and b in ids for a, b in edges)
    made = {v: i for i, eq in enumerate(graph.equations) for v in eq.outputs}
    twins = {n.twin: n.id for n in drawing.nodes if n.role == "gradient"}
    for one in passes(graph):
        for i, given_to in one.gives.items():
            assert box[i].id in twins
            for var in given_to:
                if var in made and made[var] in one.gives and box[made[var]].id != box[i].id:
                    assert (twins[box[i].id], twins[box[made[var]].id]) in edges
    loose = [n for n in drawing.nodes if n.path.startswith("writes/")]
    said = any(row.style == "write" for n in drawing.nodes for row in n.rows)
    assert said or loose or not graph.writes
    upper = ranks(drawing)
    assert all(upper[a] < upper[b] for a, b, _ in oriented(drawing))


@st.composite
def nets(draw_from: Any) -> Any:
    """Training steps of random feed-forward nets with detours, detachments, several losses, frozen parts."""
    n = draw_from(st.integers(1, 9))
    kinds = draw_from(
        st.lists(st.sampled_from(["linear", "tanh", "skip", "detach", "norm", "relu"]), min_size=n, max_size=n)
    )
    layers = [nn.Linear(4, 4, seed=i) for i in range(n)]
    norms = [nn.BatchNorm(4) for _ in range(n)]
    frozen = draw_from(st.booleans())
    net = nn.Sequential(*layers, *norms)
    if frozen:
        layers[0].requires_grad_(False)
    opt = optim.SGD([p for p in net.parameters() if p._node is not None], lr=0.1)

    def step(x: Any) -> Any:
        h = first = layers[-1](x)
        for kind, layer, norm in zip(kinds, layers, norms, strict=True):
            match kind:
                case "linear":
                    h = layer(h)
                case "skip":
                    h = h + first
                case "detach":
                    h = h + tg.stop_gradient(h)
                case "norm":
                    h = norm(h)
                case _:
                    h = tg.tanh(h) if kind == "tanh" else tg.relu(h)
        loss = (h**2).mean()
        opt.minimize(loss)
        return loss

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parameters that no gradient reaches
        try:
            return tg.trace(step, tg.spec((5, 4), "float32"))
        except RuntimeError:  # the only layer is frozen
            reject()


@given(nets(), st.sampled_from([None, 1, "op"]), st.booleans())
def test_nothing_is_lost_in_the_mirror(graph, depth, expand):
    check_complete(graph, draw(graph, level="training", depth=depth, expand=expand))


# ---- layout


def test_the_same_step_gives_the_same_bytes_in_every_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import hashlib\nimport tensorgraph as tg\nfrom tensorgraph import optim\n"
        "from tensorgraph.commands.demo.digits import network\n"
        "net = network((16,) * 5, 0)\nopt = optim.Adam(net.parameters(), lr=0.1)\n"
        "def step(x, y):\n    loss = tg.softmax_cross_entropy(net(x), y)\n    opt.minimize(loss)\n    return loss\n"
        "g = tg.trace(step, tg.spec((8, 64), 'float32'), tg.spec((8,), 'int64'))\n"
        "for how in ({}, {'depth': 'op'}, {'expand': True}):\n"
        "    d = tg.draw(g, level='training', **how)\n"
        "    print(hashlib.sha256((d.dot() + d.text() + d.json()).encode()).hexdigest())\n"
    )
    seen = {
        subprocess.run(
            [sys.executable, str(script)], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=tmp_path,
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(seen) == 1 and len(seen.pop().split()) == 3


def test_gradient_lines_are_laid_out_reversed_and_twins_share_a_row():
    drawing = draw(digits_step(), level="training")
    ids = {n.path: n.id for n in drawing.nodes}
    dot = drawing.dot()
    assert f"{ids['0~grad']} -> {ids['1~grad']} [dir=back" in dot
    rows = [set(line[len("{rank=same; ") : -1].split()) for line in dot.splitlines() if line.startswith("{rank=same")]
    for node in drawing.nodes:
        if node.twin:
            assert any({node.id, node.twin} <= row for row in rows)
    assert span(drawing) <= MOST_SPAN


@needs_engine
def test_a_mirrored_drawing_is_laid_out_in_straight_columns():
    for graph in (digits_step(), residual_step(3), recurrent_step(5)):
        drawing = draw(graph, level="training", expand=True)
        plain = run_engine(drawing.dot(), "plain", 20.0).decode()
        where = {m[1]: (float(m[2]), float(m[3])) for m in re.finditer(r"^node (\w+) (\S+) (\S+)", plain, re.M)}
        assert {n.id for n in drawing.nodes} <= set(where)
        for node in drawing.nodes:
            if node.twin:
                x, y = where[node.id]
                tx, ty = where[node.twin]
                assert abs(y - ty) < 0.01
                assert x > tx if node.role in ("gradient", "update") else x < tx


def test_the_legend_names_what_occurs():
    roles = {entry.role for entry in draw(digits_step(), level="training").legend}
    assert {"gradient", "saved", "update", "stop", "write", "parameter"} <= roles
    assert "carried" not in roles and "residual" not in roles


def test_gradients_of_skips_are_led_beside_their_column():
    rows = Rows.of(draw(PROGRAMS["u-net step"]()))
    drawing = draw(PROGRAMS["u-net step"]())
    titles = {node.id: node.title for node in drawing.nodes}
    led = [(titles[drawing.edges[i].tail], titles[drawing.edges[i].head]) for i in rows.rails]
    assert sorted(led) == [
        ("grad concatenate", "grad relu"), ("grad concatenate", "grad relu"),
        ("relu", "concatenate"), ("relu", "concatenate"),
    ]  # fmt: skip
    kinds = {point.kind for points in (*rows.left.values(), *rows.right.values()) for point in points}
    assert kinds == {"rail", "gradient"}  # as thick as the skips that they lead back


def test_focus_on_any_box_of_a_step():
    def slope(x):
        h = tg.tanh(x)
        d = tg.grad(lambda q: (q * tg.exp(q)).sum())(h)
        return (d * 2.0 + h).sum()

    graph = tg.trace(slope, tg.f32[3])
    for each in (graph, graph.differentiate()):
        whole = draw(each, level="training")
        assert any(node.role == "gradient" and node.twin for node in whole.nodes)
        for node, hops in ((node, hops) for node in whole.nodes for hops in (0, 1, 2)):
            near = draw(each, level="training", focus=node.path, hops=hops)
            drawn = {other.id for other in near.nodes}
            assert node.id in drawn and {other.twin for other in near.nodes} <= {*drawn, None}
            assert f"within {hops} hop" in near.text()
