"""What a function of the user's computes is a box or a frame under its name, as a module is."""

import re
from collections import Counter

import pytest
from large_programs import PROGRAMS

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.graph.occurrences import names_by_path
from tensorgraph.viz import draw
from tensorgraph.viz.model.functions import with_functions


def paths(drawing):
    return [node.path for node in drawing.nodes]


def test_functions_are_boxes_under_their_names():
    drawing = draw(PROGRAMS["maml step"](), level="module", depth=1)
    titles = Counter(node.title.partition(", call")[0] for node in drawing.nodes)
    assert titles["adapt"] == 4 and titles["loss"] == 4
    inner = draw(PROGRAMS["maml step"](), level="module", expand=True)
    assert {f"adapt.{k}.loss.{j}" for k in range(4) for j in range(3)} <= set(paths(inner))
    assert {f"loss.{k}" for k in range(4)} <= set(paths(inner))


class Heads(nn.Module):
    def __init__(self):
        self.q, self.k, self.out = (nn.Linear(8, 8, seed=i) for i in range(3))

    def split(self, z):
        return tg.transpose(z.reshape(4, 2, 4), (1, 0, 2))

    def forward(self, x):
        q, k = self.split(self.q(x)), self.split(self.k(x))
        return self.out(tg.transpose(q * tg.tanh(k), (1, 0, 2)).reshape(4, 8))


def test_a_method_is_a_frame_within_its_module():
    graph = tg.trace(nn.Sequential(nn.Linear(8, 8), Heads()), tg.f32[4, 8])
    drawing = draw(graph, level="op")
    frames = {group.path for group in drawing.groups}
    assert {"1.split.0", "1.split.1", "1.q"} <= frames
    assert {cell.path for cell in graph.cells} == {cell.path for cell in with_functions(graph).cells}
    assert "1.q/matmul" in paths(drawing)  # modules keep their paths


def test_functions_of_equal_content_fold():
    def block(x, w):
        return tg.tanh(x @ w) + x

    def net(x, ws):
        for w in ws:
            x = block(x, w)
        return x

    graph = tg.trace(net, tg.f32[3, 4], [tg.f32[4, 4]] * 6)
    drawing = draw(graph, level="op")
    assert any(group.count == 6 for group in drawing.groups) and len(drawing.nodes) < 14


def test_what_has_no_name_or_holds_all_stays_where_it_is():
    def whole(x):
        return tg.exp(tg.tanh(x))

    for f in (lambda x: whole(x) * 2.0, lambda x: (lambda y: tg.tanh(y))(x) + x):
        graph = tg.trace(f, tg.f32[3])
        assert with_functions(graph) is graph


def test_a_graph_is_drawn_as_it_is_run():
    graph = PROGRAMS["maml step"]()
    seen = with_functions(graph)
    assert seen == graph and [eq.op for eq in seen.equations] == [eq.op for eq in graph.equations]


@pytest.mark.parametrize("name", ["demo step", "gan step", "lstm step", "attention forward", "transformer step"])
def test_boxes_and_frames_have_the_names_of_the_text(name):
    graph = PROGRAMS[name]()
    defined = {one.path: one.of for one in graph.outline.top.walk() if one.path}
    said = {path: name for path, name in names_by_path(graph).items() if defined[path].kind != "optimizer"}
    assert set(said.values()) <= set(re.findall(r"^def (\w+)", str(graph), re.M))
    seen = set()
    for level in ("module", "op", "training"):
        drawing = draw(graph, level=level, expand=True)
        for item in (*drawing.nodes, *drawing.groups):
            path = item.path.partition("#")[0]
            if path in said and getattr(item, "role", "module") == "module":
                assert said[path] in item.rows[0].text.split(), item
                seen.add(path)
    assert len(seen) >= len(said) / 2


def test_a_second_definition_of_a_class_has_its_number():
    titles = [node.title for node in draw(PROGRAMS["demo step"](), level="module").nodes]
    assert "Linear 0" in titles and "Linear_2 6" in titles and "Adam optimizer" in titles


def test_a_loop_of_function_calls_is_headed_as_in_the_text():
    frames = [group.rows[0].text for group in draw(PROGRAMS["maml step"](), level="module").groups]
    assert frames == ["for t in range(4)", "for _ in range(3)"]
    assert all(f"{frame}:" in str(PROGRAMS["maml step"]()) for frame in frames)


def test_in_a_difference_too():
    """What is gone has the name that it had in the first text, and what stays that of the second."""
    bare = nn.Linear(8, 8, bias=False, seed=1)
    layers = [nn.Linear(8, 8, seed=0), nn.ReLU(), bare, nn.Tanh(), nn.Linear(8, 4, seed=2)]
    before = tg.trace(nn.Sequential(*layers), tg.f32[2, 8])
    assert "def Linear_2(" in before.text()
    without = tg.diff(before, tg.trace(nn.Sequential(layers[0], *layers[2:]), tg.f32[2, 8])).draw()
    rows = {node.path: node.rows[1].text for node in without.nodes if len(node.rows) > 1}
    assert rows["1/relu"] == "ReLU 1" and rows["1/matmul"] == "Linear_2 1"
    gone = tg.diff(before, tg.trace(nn.Sequential(*layers[:2], *layers[3:]), tg.f32[2, 8])).draw()
    assert "Linear_2 2" in [row.text for node in gone.nodes if node.status == "removed" for row in node.rows]
