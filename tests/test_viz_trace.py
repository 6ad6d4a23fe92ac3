"""Pictures of what the library itself traces: functions, tensors, modules, whole training steps."""

import json

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.viz import draw, mimebundle


class Net(nn.Module):
    def __init__(self):
        self.fc1, self.fc2 = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(tg.tanh(self.fc1(x)))


def paths(drawing):
    return [node.path for node in drawing.nodes]


def test_a_function_is_drawn_from_examples_or_specs():
    def f(x, w):
        return tg.tanh(x @ w - 1.0).sum(axis=0)

    drawing = draw(f, tg.spec((3, 4), "float32"), tg.spec((4, 2), "float32"))
    assert drawing == draw(f, np.zeros((3, 4), np.float32), np.zeros((4, 2), np.float32))
    assert paths(drawing) == ["inputs/x", "inputs/w", "matmul", "subtract", "tanh", "sum", "outputs/out"]
    assert [n.types for n in drawing.nodes[2:6]] == [("3x2 f32",)] * 3 + [("2 f32",)]
    assert [p.text for p in drawing.nodes[2].ports] == ["a", "b"]
    assert "test_viz_trace.py" in drawing.nodes[2].tip


def test_a_module_shows_the_classes_of_its_parts():
    drawing = draw(Net(), tg.spec((5, 4), "float32"), level="module")
    assert [n.title for n in drawing.nodes] == ["x", "Linear fc1", "tanh", "Linear fc2", "out"]
    assert [r.text for n in drawing.nodes for r in n.rows if r.style == "parameter"] == ["40 params", "27 params"]


def test_missing_examples_and_other_objects_are_named():
    with pytest.raises(ValueError, match=r"draw\(Net, x\)"):
        draw(Net())
    with pytest.raises(TypeError, match="list"):
        draw([1, 2])


def test_an_error_inside_the_function_is_not_taken_for_missing_examples():
    def f(x):
        raise TypeError("from inside")

    with pytest.raises(TypeError, match="from inside"):
        draw(f, tg.spec((2,), "float32"))

    def g():
        raise TypeError("from inside")

    with pytest.raises(TypeError, match="from inside"):
        draw(g)


def test_a_tensor_is_drawn_from_its_history():
    x = tg.tensor(np.ones(3, np.float32), requires_grad=True)
    y = (tg.exp(x) * 2.0 + x).sum()
    drawing = draw(y)
    assert [n.path for n in drawing.nodes if n.role == "op"] == ["exp", "multiply", "add", "sum"]
    tails = {e.tail for e in drawing.edges if e.head == next(n.id for n in drawing.nodes if n.path == "add")}
    assert len(tails) == 2
    assert mimebundle(y)["text/plain"] == drawing.text()
    with pytest.raises(ValueError, match="leave the examples out"):
        draw(y, x)


def test_a_tensor_without_history_is_drawn_too():
    assert draw(tg.tensor([1.0, 2.0])).nodes
    assert "text/plain" in mimebundle(tg.tensor(1.0))


def step_of(net, rate):
    def step(x, y):
        loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        for part in (net.fc1, net.fc2):
            for cell in (part.weight, part.bias):
                cell.assign(cell - rate * cell.grad)
        return loss

    return step


def test_a_training_step_is_one_picture_and_changes_nothing():
    net = Net()
    before = [cell.numpy().copy() for cell in (net.fc1.weight, net.fc2.weight)]
    graph = tg.trace(step_of(net, 0.1), tg.spec((5, 4), "float32"), tg.spec((5, 3), "float32"))
    assert draw(graph) == draw(graph, level="training")  # the level of what takes gradients
    for level in ("op", "module", "summary"):
        drawing = draw(graph, level=level)
        json.loads(drawing.json())
        written = [row.text for node in drawing.nodes for row in node.rows if "writes" in row.text]
        assert written == ["writes 4 parameters"]  # a loop over them
    every = [row.text for node in draw(graph, level="op", expand=True).nodes for row in node.rows]
    assert sum("writes" in text for text in every) == 4
    drawing = draw(graph, level="op")
    (gradients,) = [node for node in drawing.nodes if node.role == "gradient"]
    assert [r.text for r in gradients.rows if r.style == "parameter"] == ["wrt 4 parameters"]
    assert {e.role for e in drawing.edges if gradients.id in (e.tail, e.head)} == {"gradient"}
    for cell, old in zip((net.fc1.weight, net.fc2.weight), before, strict=True):
        assert np.array_equal(cell.numpy(), old) and cell.grad is None


def test_a_graph_draws_itself():
    graph = tg.trace(lambda x: tg.exp(x), tg.spec((2,), "float32"))
    assert graph.draw(level="op") == draw(graph, level="op")
    assert graph._repr_mimebundle_()["text/plain"] == draw(graph).text()


def test_every_op_of_the_catalogue_has_a_name_that_a_picture_can_show():
    from tensorgraph.viz.model.labels import clean

    for name, op in tg.CATALOGUE.items():
        assert clean(name) == name and all(clean(i) == i for i in op.inputs)
