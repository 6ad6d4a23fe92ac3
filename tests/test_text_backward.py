"""Texts of backward passes: what turns keep stands in rows, and loops go through these."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from called_programs import CALLED
from large_programs import PROGRAMS
from test_text_folded import lines_of, read_back
from test_text_plain import runs_as_python

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.graph import Graph


class Cell(nn.Module):
    """Gives what it is at the end in a tuple of its own."""

    def __init__(self) -> None:
        self.gates = nn.Linear(5, 6, seed=0)

    def forward(self, xs: Any) -> Any:
        h = c = tg.zeros((xs.shape[0], 2))
        for t in range(xs.shape[1]):
            f, o, g = tg.chunk(self.gates(tg.concat([xs[:, t], h], axis=1)), 3, axis=1)
            c = tg.sigmoid(f) * c + tg.tanh(g)
            h = tg.sigmoid(o) * tg.tanh(c)
        return tg.tanh(h) * c, (h, c)


class Deep(nn.Module):
    """Each turn keeps what a layer keeps, and more."""

    def __init__(self) -> None:
        self.layers = [nn.Sequential(nn.Linear(3, 3, seed=n), nn.Tanh(), nn.Linear(3, 3)) for n in range(5)]
        self.scale = tg.Parameter(np.full(3, 0.5, "f4"))

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            y = tg.sigmoid(layer(x)) * self.scale
            x = x + tg.exp(y) * tg.sin(y)
        return x


def cell_step() -> Graph:
    model = Cell()
    optimizer = optim.SGD(model, lr=0.1)

    def step(xs: Any) -> Any:
        y, (h, c) = model(xs)
        loss = (y * h).mean() + (c * c).mean()
        optimizer.minimize(loss)
        return loss, h

    return tg.trace(step, tg.f32[4, 6, 3])


def deep_step() -> Graph:
    model = Deep()
    optimizer = optim.Adam(model, lr=0.1)

    def step(x: Any) -> Any:
        loss = (model(x) ** 2).mean()
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[4, 3])


def penalised_step() -> Graph:
    """A gradient in the loss, and two gradients through one call."""
    maker, judge = nn.Linear(2, 3, seed=0), nn.Sequential(nn.Linear(3, 4, seed=1), nn.Tanh(), nn.Linear(4, 1, seed=2))
    making, judging = optim.SGD(maker, lr=0.1), optim.SGD(judge, lr=0.1)

    def smooth(x: Any) -> Any:
        slope = tg.grad(lambda given: judge(given).sum())(x)
        return ((slope * slope).sum(axis=1) - 1.0) ** 2

    def step(real: Any, noise: Any) -> Any:
        fake = maker(noise)
        told = judge(fake)
        judging.minimize(told.mean() - judge(real).mean() + smooth(real + fake.detach()).mean())
        making.minimize(-told.mean())
        return told

    return tg.trace(step, tg.f32[5, 3], tg.f32[5, 2])


def curved() -> Graph:
    """A derivative of a derivative of functions that call each other."""

    def wave(w: Any, x: Any) -> Any:
        return tg.sin(x * w) * tg.tanh(w)

    def height(w: Any, x: Any) -> Any:
        for _ in range(3):
            x = wave(w, x) + x
        return (x * x).sum()

    return tg.trace(lambda w, x: tg.grad(lambda v: (tg.grad(height)(v, x) ** 3).sum())(w), tg.f64[3], tg.f64[3])


STEPS = {
    "lstm": PROGRAMS["lstm step"], "cell": cell_step, "deep": deep_step, "maml": PROGRAMS["maml step"],
}  # fmt: skip
OTHERS = {"penalised": penalised_step, "curved": curved}


@pytest.mark.parametrize("name", STEPS)
def test_a_backward_pass_is_loops_over_rows(name: str) -> None:
    graph = STEPS[name]()
    changed = graph.differentiate()
    text = read_back(changed)
    runs_as_python(changed)
    assert "reversed(saved" in text and ".append((" in text
    assert lines_of(text) < 5 * lines_of(graph.text())


SHORT = {  # lines of the backward pass as printed, of those of the program
    "encoder, decoder, attention": 3.6, "triplet": 3.4, "cell with the same zeros": 3.7, "maml": 4.0, "lstm": 2.9,
}  # fmt: skip


@pytest.mark.parametrize("name", SHORT)
def test_calls_whose_gradients_are_added_up_are_one_function(name: str) -> None:
    graph = STEPS[name]() if name in STEPS else CALLED[name][0]()
    changed = graph.differentiate()
    for step in (changed, changed.simplify()):
        text = read_back(step)
        assert lines_of(text) <= SHORT[name] * lines_of(graph.text()) and "scope(" not in text


def test_what_two_calls_compute_is_handed_to_both() -> None:
    def scaled(x: Any, w: Any) -> Any:
        return tg.tanh(x @ tg.transpose(w)) * 2.0

    graph = tg.trace(lambda x, w: scaled(scaled(x, w), w), tg.f32[3, 3], tg.f32[3, 3]).simplify()
    text = read_back(graph)
    assert text.count("def scaled") == 1 and "    v0 = transpose(w" in text.partition("def f(")[2]
    one = tg.trace(lambda x: tg.sin(tg.cos(x)) + tg.cos(x), tg.f32[3])
    assert one.simplify().text() == tg.parse(one.text()).simplify().text()


@pytest.mark.parametrize("name", OTHERS)
def test_derivatives_of_derivatives_are_functions(name: str) -> None:
    graph = OTHERS[name]()
    changed = graph.differentiate()
    text = read_back(changed)
    runs_as_python(changed)
    assert lines_of(text) < 10 * lines_of(read_back(graph)) and "_backward_2(" in text


@pytest.mark.parametrize("name", [*STEPS, *OTHERS])
def test_backward_passes_come_back_when_they_are_changed(name: str) -> None:
    changed = {**STEPS, **OTHERS}[name]().differentiate()
    again = tg.parse(changed.text(), tg.text.arrays_of(changed))
    assert again.simplify() == changed.simplify()
    for simpler in (changed.simplify(), again.simplify(), again.recognise()):
        text = simpler.text()
        assert simpler.outline.reason is None and tg.parse(text, tg.text.arrays_of(simpler)) == simpler
        assert tg.parse(text, tg.text.arrays_of(simpler)).text() == text


def test_the_second_derivative_of_a_recurrent_cell_is_functions_and_loops() -> None:
    model = Cell()

    def slope(xs: Any) -> Any:
        return tg.grad(lambda given: (model(given)[0] ** 2).sum())(xs)

    graph = tg.trace(tg.grad(lambda xs: (slope(xs) ** 2).sum()), tg.f32[2, 12, 3]).differentiate()
    text = read_back(graph)
    runs_as_python(graph)
    assert [name in text for name in ("Cell_backward(", "Cell_backward_2(", "Cell_backward_3(")] == [True] * 3
    turns = [line for line in text.split("\n") if line.startswith("    for ") and "saved" in line]
    assert len(turns) >= 3 and lines_of(text) < 260
