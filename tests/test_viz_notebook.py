"""What a notebook shows of tensors and modules: always their words, and a picture where it is small, quick and sure."""

import sys
import time
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.viz import notebook
from tensorgraph.viz.model.parts import parts_of
from tensorgraph.viz.render.engine import find_engine

needs_engine = pytest.mark.skipif(find_engine() is None, reason="no layout engine is installed")
PICTURE = "image/svg+xml"


def bundle(value: Any) -> dict[str, Any]:
    return value._repr_mimebundle_(include=None, exclude=None)


def computed() -> Any:
    x = tg.tensor(np.ones((3, 4), np.float32), requires_grad=True)
    return tg.tanh(x @ tg.Parameter(np.ones((4, 2), np.float32), name="w")).sum()


class Block(nn.Module):
    def __init__(self, n: int, seed: int = 0) -> None:
        self.fc, self.norm = nn.Linear(n, n, seed=seed), nn.BatchNorm(n)

    def forward(self, x: Any) -> Any:
        raise AssertionError("a notebook runs no code of the user's")


class Net(nn.Module):
    def __init__(self, blocks: int) -> None:
        self.scale = tg.Parameter(np.ones(5, np.float32))
        self.stem = nn.Linear(3, 4, seed=0)
        self.blocks = nn.Sequential(*[Block(4, i) for i in range(blocks)])
        self.head, self.tail = nn.Linear(4, 2, seed=1), [nn.ReLU(), nn.Tanh()]

    def forward(self, x: Any) -> Any:
        raise AssertionError("a notebook runs no code of the user's")


@needs_engine
def test_a_tensor_that_was_computed_shows_how():
    shown = bundle(computed())
    assert shown["text/plain"] == repr(computed())
    assert shown[PICTURE].startswith("<svg") and "matmul" in shown[PICTURE] and "prefers-color-scheme" in shown[PICTURE]


def test_a_tensor_without_a_history_shows_its_numbers():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    for value in (
        tg.ones(3),
        x,
        tg.ones(3) * 2.0,
        tg.Parameter(np.ones(2)),
        tg.Buffer(np.ones(2)),
        computed().detach(),
    ):
        assert bundle(value) == {"text/plain": repr(value)}


def test_histories_that_are_long_freed_or_made_again_show_numbers():
    x = h = tg.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(5_000):
        h = h * 1.0
    begun = time.perf_counter()
    assert bundle(h) == {"text/plain": repr(h)} and time.perf_counter() - begun < 0.2
    y = (x * x).sum()
    y.backward()
    assert bundle(y) == {"text/plain": repr(y)}
    calls = []

    def block(x: Any) -> Any:
        calls.append(1)
        return tg.exp(x)

    z = tg.checkpoint(block)(x)
    before = len(calls)
    assert bundle(z) == {"text/plain": repr(z)} and len(calls) == before


def test_inside_a_trace_there_are_words():
    seen = []
    tg.trace(lambda x: (seen.append(bundle(x * 2.0)), x)[1], tg.spec((3,)))
    assert list(seen[0]) == ["text/plain"]


@needs_engine
def test_a_module_shows_its_parts_and_runs_nothing():
    net = Net(5)
    before = {path: cell.numpy().copy() for path, cell in net.named_cells()}
    shown = bundle(net)
    assert shown["text/plain"] == repr(net) and "Linear stem" in shown[PICTURE] and "0 ... 4 x5" in shown[PICTURE]
    for path, cell in net.named_cells():
        np.testing.assert_array_equal(cell.numpy(), before[path])


def test_the_parts_of_a_module_are_all_its_parameters():
    drawing = parts_of(Net(5))
    nodes = {node.path: node for node in drawing.nodes}
    assert list(nodes) == ["stem", "blocks.0", "head", "tail.0", "tail.1", "module"]
    said = {path: [f"{row.text} {row.value}".strip() for row in node.rows] for path, node in nodes.items()}
    assert said["stem"] == ["Linear stem", "weight 3x4 f32", "bias 4 f32"]
    assert said["blocks.0"] == ["Block 0", "2 parts", "28 params x5 = 140"]
    assert said["module"] == ["Net", "scale 5 f32"]
    assert [(group.path, group.count) for group in drawing.groups] == [("blocks", 1), ("blocks.0..4", 5)]
    assert not [edge for edge in drawing.edges if edge.role == "data"]  # only a container says what follows what
    total = sum(parameter.size for parameter in Net(5).parameters())
    assert drawing.title == f"Net: {4 + 1 + 5 * 3} parts, {total} params"
    assert "tg.draw(model, x)" in drawing.notes[0]


def test_the_parts_of_a_container_are_joined_in_order():
    drawing = parts_of(
        nn.Sequential(nn.Linear(3, 4, seed=0), nn.ReLU(), nn.Sequential(nn.Tanh(), nn.Linear(4, 2, seed=1)))
    )
    paths = {node.id: node.path for node in drawing.nodes}
    assert {(paths[e.tail], paths[e.head]) for e in drawing.edges} == {("0", "1"), ("1", "2.0"), ("2.0", "2.1")}
    many = parts_of(nn.Sequential(*[nn.Linear(4, 4, seed=i) for i in range(500)]))
    assert len(many.nodes) == 1 and many.groups[0].rows[0].text == "0 ... 499 x500"
    assert [edge.role for edge in many.edges] == ["carried"]
    alone = parts_of(nn.Linear(3, 4))
    assert [node.title for node in alone.nodes] == ["Linear"] and alone.title == "Linear: 16 params"
    for drawing in (many, alone):
        drawing.dot(), drawing.mermaid(), drawing.json(), drawing.text()


def test_large_modules_show_words():
    odd = nn.Sequential(*[nn.Linear(i + 1, i + 2, seed=0) for i in range(80)])  # no two are equal
    assert bundle(odd) == {"text/plain": repr(odd)}


def test_whatever_fails_leaves_the_words(monkeypatch):
    def broken(*args: Any, **options: Any) -> Any:
        raise RuntimeError("no")

    for name in ("run_engine", "polish", "_drawing", "find_engine"):
        with monkeypatch.context() as patch:
            patch.setattr(notebook, name, broken)
            for value in (computed(), nn.Linear(3, 4)):
                assert bundle(value) == {"text/plain": repr(value)}
    with monkeypatch.context() as patch:
        patch.setattr(notebook, "MOST_BYTES", 100)
        assert list(bundle(nn.Linear(3, 4))) == ["text/plain"]
    with monkeypatch.context() as patch:
        patch.setattr(notebook, "find_engine", lambda: None)
        assert list(bundle(nn.Linear(3, 4))) == ["text/plain"]

    class Odd(nn.Module):
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert "RuntimeError" in bundle(Odd())["text/plain"]


def test_importing_the_library_loads_no_pictures():
    import subprocess

    code = (
        "import sys, tensorgraph as tg; tg.ones(2); sys.exit(any(m.startswith('tensorgraph.viz') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code]).returncode == 0


def test_findings_costs_and_explanations_show_as_they_print():
    class Printer:
        said = ""

        def text(self, words):
            self.said += words

    graph = tg.trace(lambda x: tg.log(tg.sigmoid(x)), tg.f32[3])
    findings = tg.lint(tg.trace(lambda x: tg.log(tg.softmax(x)), tg.f32[3, 4]))
    assert " at 0x" not in repr(findings[0])
    for value in (tg.lint(graph), findings[0], graph.cost(), graph.explain()):
        printer = Printer()
        value._repr_pretty_(printer, False)
        assert printer.said == str(value)
