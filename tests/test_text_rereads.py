"""Cells that are read after they were written: in texts a later call reads its member, and nothing else."""

from __future__ import annotations

import random
import re
from typing import Any

import large_programs
import numpy as np
import pytest
from reread_programs import REREADS, X, batch_norm_called_twice
from test_text_folded import lines_of, read_back
from test_text_plain import runs_as_python

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.graph import Graph

PASSES = {
    "simplify": Graph.simplify, "recognise": Graph.recognise, "expand": Graph.expand,
    "differentiate": Graph.differentiate, "transform": Graph.transform,
}  # fmt: skip
FOLDED = [name for name in REREADS if name not in ("reads in another order", "in one function")]


@pytest.mark.parametrize("name", REREADS)
def test_a_program_comes_back_from_its_text(name: str) -> None:
    read_back(REREADS[name]())


@pytest.mark.parametrize("name", FOLDED)
def test_a_member_that_was_written_is_a_member(name: str) -> None:
    graph = REREADS[name]()
    text = graph.text(library=False)
    assert tg.parse(text) == graph and tg.parse(text).text(library=False) == text
    assert "alias(" not in text and "scope(" not in text
    assert graph.outline.late and lines_of(text) <= 20


@pytest.mark.parametrize("step", PASSES)
@pytest.mark.parametrize("name", REREADS)
def test_a_program_comes_back_after_passes(name: str, step: str) -> None:
    changed = PASSES[step](REREADS[name]())
    text = changed.text()
    assert changed.outline.reason is None
    assert tg.parse(text, tg.text.arrays_of(changed)) == changed


def test_two_steps_are_a_loop() -> None:
    assert REREADS["two steps"]().text(library=False).split("\n")[-5:] == [
        "    for _ in range(2):",
        "        loss = mean(sequential(x) ** 2)",
        "        grads = gradients(loss, parameters(sequential))",
        "        optimizer(parameters(sequential), grads)",
        "    return loss",
    ]


def test_optimisers_of_several_models_are_one_function_and_lists_of_parameters_are_joined() -> None:
    text = large_programs.gan_step().text()
    assert re.findall(r"^def (\w+)", text, re.M).count("Adam") == 1 and "Adam_2" not in text
    assert "optimizer: Adam, optimizer_2: Adam" in text
    assert "gradients(loss, [*parameters(sequential), *parameters(Sequential_)])" in text


def test_what_is_written_by_hand_is_what_is_traced() -> None:
    text = """
def net(x, *, first: Linear[3, 4], last: Linear[4, 2]):
    return last(tanh(first(x)))


def step(x: f32[5, 3], *, model: At["", net], optimizer: SGD) -> (f32, f32):
    before = mean(model(x))
    optimizer(parameters(model), gradients(before, parameters(model)))
    return before, mean(model(x))
"""

    class Net(nn.Module):
        def __init__(self) -> None:
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            return self.last(tg.tanh(self.first(x)))

    model = Net()
    optimizer = optim.SGD(model, lr=0.01)

    def step(x: Any) -> Any:
        before = model(x).mean()
        optimizer.minimize(before)
        return before, model(x).mean()

    graph = tg.trace(step, X)
    assert tg.parse(text) == graph
    assert [eq.op.name for eq in graph.equations].count("stop_gradient") == 4
    assert "last(tanh(first(x)))" in read_back(graph)


class Layer(nn.Module):
    """One that reads and writes its cells in some order."""

    def __init__(self, dice: random.Random, inner: nn.Module | None = None) -> None:
        self.w, self.b = tg.Parameter(np.eye(3, dtype="f4")), tg.Parameter(np.ones(3, "f4"))
        self.n, self.k = tg.Buffer(np.zeros(3, "f4")), tg.Buffer(np.zeros((), "i8"))
        self.inner = inner
        self.kind, self.written, self.early = dice.randrange(6), dice.randrange(4), dice.random() < 0.2

    def forward(self, x: Any) -> Any:
        n = self.n.read() if self.early else self.n
        if self.inner is not None and self.kind % 2:
            x = self.inner(x)
        y = [
            lambda: self.b + x @ self.w, lambda: x @ self.w + self.b, lambda: n * x + self.b * tg.sin(x @ self.w),
            lambda: tg.tanh(x) * self.b + n, lambda: x - self.b * n, lambda: self.w[0] * tg.cos(x + n),
        ][self.kind]()  # fmt: skip
        if self.inner is not None and not self.kind % 2:
            y = y + self.inner(y)
        if self.written == 0:
            self.n.assign(self.n * 0.5 + y.mean(axis=0))
        elif self.written == 1:
            self.n.assign(y.sum(axis=0))
            self.k.assign(self.k + 1)
        elif self.written == 2:
            self.b.assign(self.b * 0.9 + x.mean())
        return y


def follow(a: Any, b: Any) -> None:
    a.assign(a * 0.5 + b * 0.5)


def any_step(seed: int) -> Graph:
    """Calls, updates, writes and reads in some order."""
    dice = random.Random(seed)
    layers = [Layer(dice) for _ in range(dice.randrange(1, 3))]
    every = [*layers, Layer(dice, layers[0])]
    optimizers = [dice.choice([optim.SGD, optim.Adam])(layer, lr=0.1) for layer in layers]
    plan = [(dice.randrange(8), dice.randrange(len(every)), dice.random()) for _ in range(dice.randrange(2, 7))]

    def step(x: Any) -> Any:
        y = every[0](x)
        given = []
        for what, which, chance in plan:
            layer = every[which]
            if what < 3:
                y = layer(y)
            elif what == 3:
                y = y * layer(tg.sin(x)) if chance < 0.5 else layer.b * layer(x) + y
            elif what == 4:
                optimizers[which % len(optimizers)].minimize(((y + layers[which % len(layers)].b) ** 2).mean())
            elif what == 5:
                layer.b.assign(layer.b * 0.5 + (layers[0].w[0] if chance < 0.5 else y.mean()))
            elif what == 6:
                follow(layer.w, layers[0].w)
            else:
                y = layer.n * y if chance < 0.5 else y + layer.b
                given.append(layer.n if chance < 0.3 else layer.w)
        return (y, *given) if plan[0][2] < 0.7 else (*given, y)

    return tg.trace(step, tg.f32[3, 3])


@pytest.mark.filterwarnings("ignore:.*no gradient reached")
@pytest.mark.parametrize("first", range(0, 40, 10))
def test_any_order_of_calls_and_writes_comes_back(first: int) -> None:
    late = 0
    for seed in range(first, first + 10):
        graph = any_step(seed)
        for changed in (graph, graph.simplify(), graph.differentiate()):
            text = changed.text()
            assert changed.outline.reason is None and tg.parse(text, tg.text.arrays_of(changed)) == changed, seed
            late += bool(changed.outline.late)
        runs_as_python(graph)
    assert late > 5


class Heads(nn.Module):
    """Reshapes by the size of the batch."""

    def __init__(self) -> None:
        self.mix = nn.Linear(4, 4, seed=0)

    def forward(self, x: Any) -> Any:
        n, t, d = x.shape
        parts = self.mix(x).reshape(n, t, 2, d // 2).transpose(0, 2, 1, 3)
        return (parts @ parts.transpose(0, 1, 3, 2)).sum(axis=(1, 3)) / t


def test_a_layer_at_two_sizes_of_a_batch_is_one_function() -> None:
    graph = batch_norm_called_twice(tg.f32[7, 3])
    text = read_back(graph)
    runs_as_python(graph)
    assert "def BatchNorm(\n    x: f32[N, 4], *" in text and "    n = x.shape[0]\n" in text and "scope(" not in text
    assert lines_of(graph.text(library=False)) == 7 and tg.parse(graph.text(library=False)) == graph
    for changed in (graph.simplify(), graph.differentiate(), graph.transform()):
        assert changed.outline.reason is None and tg.parse(changed.text(), tg.text.arrays_of(changed)) == changed

    heads = Heads()
    graph = tg.trace(lambda a, b: heads(a).sum() + heads(b).sum(), tg.f32[2, 6, 4], tg.f32[5, 6, 4])
    text = read_back(graph)
    runs_as_python(graph)
    assert "    n = x.shape[0]\n" in text and "reshape(mix(x), (n, 6, 2, 2))" in text and text.count("def Heads") == 1
    other = tg.trace(lambda a, b: heads(a).sum() + heads(b).sum(), tg.f32[2, 5, 4], tg.f32[5, 6, 4])  # 5 is both
    read_back(other)
    runs_as_python(other)
