"""Pictures of models of many shapes: two optimisers, shared and repeated calls, lists of experts, clipped gradients,
gradients written out; what is drawn is what is there."""

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import viz_graphs as hand

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.graph.graph import Equation, Graph
from tensorgraph.viz import draw
from tensorgraph.viz.model import overlay
from tensorgraph.viz.model.fold import fold, unfold
from tensorgraph.viz.model.view import by_module, by_op


class Chain(nn.Module):
    """A layer called again at once."""

    def __init__(self):
        self.fc, self.norm, self.act = nn.Linear(8, 8, seed=0), nn.BatchNorm(8), nn.Tanh()

    def forward(self, x):
        return self.act(self.act(self.norm(self.fc(self.fc(x)))))


class Siamese(nn.Module):
    def __init__(self):
        self.encoder = nn.Linear(8, 4, seed=0)

    def forward(self, a, b):
        return tg.absolute(self.encoder(a) - self.encoder(b)).sum(axis=1)


class Experts(nn.Module):
    def __init__(self, count=8):
        self.gate = nn.Linear(4, count, seed=9)
        self.experts = nn.Sequential(*[
            nn.Sequential(nn.Linear(4, 6, seed=i), nn.ReLU(), nn.Linear(6, 4, seed=i)) for i in range(count)
        ])  # fmt: skip

    def forward(self, x):
        shares = tg.softmax(self.gate(x))
        return tg.stack([e(x) * shares[:, i : i + 1] for i, e in enumerate(self.experts)]).sum(axis=0)


class Uneven(nn.Module):
    def __init__(self):
        self.layers = nn.Sequential(*[nn.Linear(3 + i, 4 + i, seed=i) for i in range(4)])

    def forward(self, x):
        for layer in self.layers:
            x = tg.tanh(layer(x))
        return x


class Recurrent(nn.Module):
    def __init__(self):
        self.wx, self.wh = nn.Linear(3, 5, bias=False, seed=4), nn.Linear(5, 5, seed=5)

    def forward(self, x):
        h = tg.zeros((x.shape[0], 5)) + self.wx(x[:, 0])
        for t in range(1, x.shape[1]):
            h = tg.tanh(self.wx(x[:, t]) + self.wh(h))
        return h


def rivals():
    maker = nn.Sequential(nn.Linear(2, 4, seed=0), nn.ReLU(), nn.Linear(4, 3, seed=1))
    judge = nn.Sequential(nn.Linear(3, 4, seed=2), nn.Tanh(), nn.Linear(4, 1, seed=3))
    making, judging = optim.SGD(maker.parameters(), lr=0.1), optim.SGD(judge.parameters(), lr=0.1)

    def step(real, noise):
        fake = maker(noise)
        judging.minimize(tg.softplus(-judge(real)).mean() + tg.softplus(judge(fake.detach())).mean())
        loss = tg.softplus(-judge(fake)).mean()
        making.minimize(loss)
        return loss

    return tg.trace(step, tg.spec((8, 3)), tg.spec((8, 2)))


def step_of(model, *width, clip=False, lr=0.1):
    optimizer = optim.Adam(model.parameters(), lr=lr)

    def step(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        if clip:
            optim.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return tg.trace(step, tg.spec((6, *width)), tg.spec((6,), "int64"))


def twice(x):
    return tg.grad(lambda x: (tg.grad(lambda x: (tg.sin(x) * x).sum())(x) ** 2).sum())(x)


def penalty():
    net = nn.Sequential(nn.Linear(4, 6, seed=2), nn.Tanh(), nn.Linear(6, 1, seed=3))

    def step(x):
        g = tg.grad(lambda x: net(x).sum())(x)
        return tg.gradients((g**2).mean() + net(x).mean(), [net[0].weight])

    return tg.trace(step, tg.spec((5, 4)))


GRAPHS = {
    "rivals": rivals,
    "chain": lambda: tg.trace(Chain(), tg.spec((4, 8))),
    "experts": lambda: step_of(Experts(), 4),
    "clipped": lambda: step_of(Uneven(), 3, clip=True),
    "recurrent": lambda: step_of(Recurrent(), 12, 3),
    "second order": lambda: tg.trace(twice, tg.spec((3,))),
    "second order written out": lambda: tg.trace(twice, tg.spec((3,))).differentiate(),
    "hessian": lambda: tg.trace(tg.hessian(lambda x: (x**3).sum()), tg.spec((3,))),
    "penalty": penalty,
    "step written out": lambda: step_of(Uneven(), 3).transform(),
    "constants": lambda: tg.trace(lambda: (tg.arange(3) + 1, tg.ones(2))),
    "no ops": lambda: tg.trace(lambda x: x, tg.spec((3,))),
    "nothing": lambda: tg.trace(lambda: ()),
}
LEVELS = ("op", "module", "training", "auto")


@pytest.fixture(scope="module")
def graphs():
    return {name: make() for name, make in GRAPHS.items()}


def at(drawing, path):
    return next(node for node in drawing.nodes if node.path == path)


def texts(node, style):
    return [f"{row.text} {row.value}".strip() for row in node.rows if row.style == style]


# ---- what holds for every drawing


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_equation_is_in_one_box_and_every_edge_inside_or_between(graphs, name, level):
    graph: Graph = graphs[name]
    for expand in (None, True):
        drawing = draw(graph, level=level, expand=expand)
        assert drawing == draw(graph, level=level, expand=expand)
        counted = Counter(i for node in drawing.nodes for i in node.members)
        assert counted == Counter(range(len(graph.equations)))
        assert len({node.path for node in drawing.nodes}) == len(drawing.nodes)
        box = {i: node.id for node in drawing.nodes for i in node.members}
        made = {v: box[i] for i, eq in enumerate(graph.equations) for v in eq.outputs}
        made.update(zip(graph.inputs, (n.id for n in drawing.nodes if n.role == "input"), strict=True))
        role = {node.id: node.role for node in drawing.nodes}
        ends = {(made[a], box[i]) for i, eq in enumerate(graph.equations) for a in eq.atoms() if a in made}
        leaving = zip(graph.outputs, (n.id for n in drawing.nodes if n.role == "output"), strict=True)
        ends |= {(made[out], at) for out, at in leaving if out in made}
        drawn = hand.joined(drawing)
        if drawing.level == "training":  # what flows to and from gradients is drawn mirrored
            ends = {(a, b) for a, b in ends if "gradient" not in (role[a], role[b])}
        else:
            assert drawn <= ends | {(a, a) for a in role}
        assert {(a, b) for a, b in ends if a != b} <= drawn
        shown = {row.style for node in drawing.nodes for row in node.rows} | {
            e.role for e in drawing.edges if not e.cut
        }
        shown |= {"input" if r == "output" else r for r in role.values()}
        shown |= {row.style for edge in drawing.edges for row in edge.rows}
        assert {entry.role for entry in drawing.legend} <= shown
    json.loads(drawing.json())


@pytest.mark.parametrize("name", GRAPHS)
def test_unfolding_gives_the_boxes_back(graphs, name):
    graph = graphs[name]
    for boxes in (by_op(graph), by_module(graph), by_module(graph, 1)):
        assert [(b.kind, b.scope, b.equations, b.call) for b in unfold(fold(graph, boxes))] == [
            (b.kind, b.scope, b.equations, b.call) for b in boxes
        ]


@pytest.mark.parametrize("figure", ["flops", "bytes"])
@pytest.mark.parametrize("name", GRAPHS)
def test_figures_on_boxes_add_up(graphs, name, figure, monkeypatch):
    seen = []
    painted = overlay._painted
    monkeypatch.setattr(
        overlay, "_painted", lambda d, look, found, note: seen.append(found) or painted(d, look, found, note)
    )
    graph = graphs[name]
    total = sum(getattr(row, figure) for row in graph.cost().equations)
    for level in ("summary", *LEVELS):
        draw(graph, level=level, overlay=figure)
        figures = [f for f in seen.pop().values() if not np.isnan(f)]
        assert np.isclose(sum(figures), total), (level, sum(figures), total)


# ---- calls


def test_calls_of_a_layer_that_nothing_stands_between_are_boxes_of_their_own(graphs):
    drawing = draw(graphs["chain"], level="module")
    assert [n.path for n in drawing.nodes] == ["inputs/x", "fc", "fc#1", "norm", "act", "act#1", "outputs/out"]
    assert at(drawing, "fc#1").title == "Linear fc, call 2"
    assert texts(at(drawing, "fc"), "parameter") == ["72 params shared"] == texts(at(drawing, "fc#1"), "parameter")
    ops = draw(graphs["chain"], level="op")
    assert [group.path for group in ops.groups][:2] == ["fc", "fc#1"]
    siamese = draw(Siamese(), tg.spec((4, 8)), tg.spec((4, 8)), level="training")
    assert {n.path for n in siamese.nodes} >= {"encoder", "encoder#1", "encoder~grad", "encoder#1~grad"}
    assert texts(at(siamese, "encoder~grad"), "parameter") == ["36 gradients sum of 2 uses"]


def test_a_users_layer_that_loops_is_one_call():
    class Loop(nn.Module):
        def __init__(self):
            self.weight = tg.Parameter(np.eye(3, dtype=np.float32))

        def forward(self, x):
            for _ in range(4):
                x = x @ self.weight
            return x

    net = nn.Sequential(nn.Linear(3, 3, seed=0), Loop())
    drawing = draw(net, tg.spec((2, 3)), level="module")
    assert [n.path for n in drawing.nodes] == ["inputs/x", "0", "1", "outputs/x"]


def test_models_whose_parts_have_the_same_names_are_told_apart(graphs):
    graph = graphs["rivals"]
    kinds = {eq.scope: graph.modules.get(eq.scope) for eq in graph.equations}
    assert kinds["1"] == "ReLU" and kinds["Sequential.1"] == "Tanh"
    drawing = draw(graph, level="training")
    assert texts(at(drawing, "Sequential.0"), "detail") == []
    assert at(drawing, "Sequential.0#1").title == "Linear 0, call 2"
    assert tg.parse(str(graph)) == graph
    one = nn.Linear(2, 2, seed=0)

    def f(x):
        return one(nn.Sequential(nn.Tanh())(one(x)))

    assert {eq.scope for eq in tg.trace(f, tg.spec((1, 2))).equations} == {"", "0"}  # nothing to tell apart


# ---- repeats


def test_experts_in_parallel_fold_though_each_is_called_by_itself(graphs):
    drawing = draw(graphs["experts"], level="module")
    (template,) = [group for group in drawing.groups if group.count > 1]
    assert template.rows[0].text == "experts.0 ... experts.7 x8"
    inner = at(drawing, "getitem")
    assert [row.text for row in inner.rows[:2]] == ["shares[:, t:t+1]", "t = 0 ... 7"]
    for path in (template.path, "experts", "experts.3"):
        assert len(draw(graphs["experts"], level="module", expand=path).nodes) > len(drawing.nodes)


def test_every_use_in_a_template_is_counted(graphs):
    drawing = draw(graphs["recurrent"], level="training")
    said = [texts(n, "parameter")[0] for n in drawing.nodes if re.match(r"wx~|wx#", n.path) and n.role == "gradient"]
    assert len(said) == 2 and set(said) == {"15 gradients sum of 12 uses"}


def test_a_template_of_one_row_says_how_often():
    class Same(nn.Module):
        def __init__(self):
            self.layers = nn.Sequential(*[nn.Linear(4, 4, seed=i) for i in range(5)])

        def forward(self, x):
            return self.layers(x).sum()

    drawing = draw(Same(), tg.spec((2, 4)), level="training")
    assert "Linear layers.0 ... 4 x5" in [group.rows[0].text for group in drawing.groups]
    assert ">Linear layers.0 ... 4 x5<" in drawing.dot()


# ---- several gradients


def test_each_of_two_optimisers_has_its_gradients_mirrored(graphs):
    drawing = draw(graphs["rivals"], level="training")
    first = {n.path for n in drawing.nodes if n.role == "gradient" and n.path.endswith("~grad")}
    second = {n.path for n in drawing.nodes if n.role == "gradient" and n.path.endswith("~grad#1")}
    assert {"Sequential.0~grad", "Sequential.0#1~grad"} <= first and {"0~grad#1", "Sequential.0#2~grad#1"} <= second
    assert texts(at(drawing, "stop_gradient"), "stop") == ["-| detached"]
    assert not any(n.title == "gradients" for n in drawing.nodes)


def test_gradients_that_are_clipped_together_are_named_not_drawn_across(graphs):
    drawing = draw(graphs["clipped"], level="training")
    assert texts(at(drawing, "clip_norm"), "stub") == ["<- 4 gradients"]
    updates = [n for n in drawing.nodes if n.role == "update" and n.path.endswith("~update")]
    assert [texts(n, "stub") for n in updates] == [["<- clip_norm"]] * 4
    place = {n.id: n for n in drawing.nodes}
    for edge in drawing.edges:
        if place[edge.head].role == "update" and not edge.cut:
            assert place[edge.head].twin == (place[edge.tail].twin or edge.tail)


def test_a_gradient_of_a_gradient_that_is_written_out_is_mirrored(graphs):
    drawing = draw(graphs["second order written out"], level="training")
    assert {"sin", "power", "cos"} <= {n.path for n in drawing.nodes if n.role == "op"}  # the inner one is forward
    assert {"sin~grad", "power~grad", "cos~grad"} <= {n.path for n in drawing.nodes if n.role == "gradient"}


def test_a_gradient_without_its_seed_is_still_known_for_one():
    def energy(w, x):
        return (tg.tanh(x @ w) ** 2).sum()

    graph = tg.trace(energy, tg.spec((4, 2)), tg.spec((3, 4))).grad().transform()
    assert not any(eq.origin is not None and eq.origin.rule == "seed" for eq in graph.equations)
    drawing = draw(graph, level="training")
    assert {"tanh~grad", "matmul~grad", "inputs/w~grad"} <= {n.path for n in drawing.nodes}
    assert not any("takes no gradient" in note for note in drawing.notes)
    assert not any(texts(node, "stop") == ["-| no gradient"] for node in drawing.nodes)


def test_written_out_gradients_look_like_gradients_on_every_level(graphs):
    graph = graphs["step written out"]
    for level in ("op", "module"):
        drawing = draw(graph, level=level)
        for node in drawing.nodes:
            backward = bool(node.members) and all(graph.equations[i].origin is not None for i in node.members)
            assert backward == (node.role == "gradient") == ("~grad" in node.path)
        titles = [n.title for n in drawing.nodes if n.role == "gradient"]
        assert level == "op" or "grad Linear layers.2" in titles
        assert not any(texts(n, "detail") == ["call 2"] for n in drawing.nodes)


# ---- words


def test_an_update_does_not_pretend_to_change_a_dtype(graphs):
    drawing = draw(graphs["experts"], level="op")  # the learning rate is float64, the weights are float32
    assert not any(entry.role == "warning" for entry in drawing.legend)
    mixed = draw(lambda x, w: x.astype("float64") @ w, tg.spec((2, 4)), tg.spec((4, 3), "float64"), level="op")
    assert texts(at(mixed, "astype"), "type") == [] and at(mixed, "astype").types == ("2x4 f64 !",)
    wide = draw(lambda x, w: x * w, tg.spec((2,)), tg.spec((2,), "float64"), level="op")
    assert at(wide, "multiply").types == ("2 f64 !",)


def test_no_address_is_drawn():
    @tg.custom_vjp
    def straight(x):
        return tg.sign(x)

    straight.defvjp(lambda x: (tg.sign(x), None), lambda kept, g: (g,))
    graph = tg.trace(lambda x: straight(x).sum(), tg.spec((3,)))
    eager = straight(tg.tensor([1.0, -2.0], requires_grad=True)).sum()
    for drawing in (draw(graph, level="op"), draw(eager, level="op"), draw(graph, level="training")):
        for text in (drawing.dot(), drawing.text(), drawing.json()):
            assert not re.search(r"0x[0-9a-f]{6}", text)


def test_a_small_graph_without_modules_is_not_folded_to_one_box():
    drawing = draw(lambda x: tg.tanh(tg.exp(tg.sin(tg.cos(x * 2.0) + 1.0) - 3.0) ** 2).sum() / 2.0, tg.spec((3,)),
                   level="module")  # fmt: skip
    assert [n.role for n in drawing.nodes] == ["input", *["op"] * 10, "output"]


def test_values_used_for_nothing_are_no_writes(graphs):
    drawing = draw(graphs["second order written out"], level="training")
    assert not any(node.role == "write" for node in drawing.nodes)


def test_of_many_parameters_each_is_looked_at_once(monkeypatch):
    graph = tg.trace(nn.Sequential(*[nn.Linear(2, 2, seed=i) for i in range(300)]), tg.spec((1, 2)))
    frozen = graph.replace(cells=tuple(replace(cell, requires_grad=False) for cell in graph.cells))
    difference = tg.diff(graph, frozen)
    assert len(difference) == 600
    looked = []
    atoms = Equation.atoms
    monkeypatch.setattr(Equation, "atoms", lambda self: looked.append(1) or atoms(self))
    difference.draw()
    draw(graph, level="training")
    assert 0 < len(looked) < 50 * len(graph.equations)


# ---- overlays inside


def test_what_is_inside_a_box_carries_its_figures():
    net = nn.Sequential(nn.Sequential(nn.Linear(4, 8, seed=0), nn.ReLU()), nn.Linear(8, 3, seed=1))
    drawing = draw(net, tg.spec((16, 4)), level="module", depth=1, overlay="flops")
    page = re.search(r'<script type="application/json" id="data">(.*?)</script>', drawing.html(), re.S)
    views = json.loads(page[1])["views"]
    outer = {box["path"]: box["metric"] for box in views[0]["boxes"] if "metric" in box}
    inner = [{box["path"]: box["metric"] for box in view["boxes"] if "metric" in box} for view in views[1:]]
    assert outer == {"0": "1.28k (61%)", "1": "816 (39%)"}
    parts = next(found for found in inner if ".0/matmul" in found and ".1/relu" in found)
    assert [text.split(" ")[0] for text in parts.values()] == ["1.02k", "128", "128"]
    assert all(text.endswith("%)") for text in parts.values())
    plain = draw(net, tg.spec((16, 4)), level="module", depth=1, overlay={"0": 1.0})
    assert plain.painter is None and plain.html()
