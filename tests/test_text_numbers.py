"""Functions that are called with other numbers each time: one function with a number among its parameters."""

from __future__ import annotations

from typing import Any

import pytest
from test_text_folded import read_back
from test_text_plain import runs_as_python

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.graph import Graph


def wave(x: Any, k: Any) -> Any:
    return tg.tanh(x * k) ** 2


def ring(rate: Any, x: Any, times: Any, plus: Any = 1.0) -> Any:
    for _ in range(times):
        x = x + rate * wave(x, rate)
    return x * plus


def rings(x: Any) -> Any:
    return (ring(0.5, ring(0.25, ring(2.0, x, 3, plus=3.0), 3), 3, plus=2.0) + ring(-1.0, x, 3)).sum()


class Scaled(nn.Module):
    def __init__(self) -> None:
        self.layer = nn.Linear(3, 3, seed=0)

    def forward(self, x: Any, scale: Any) -> Any:
        return tg.tanh(self.layer(x) * scale)


def scaled_step() -> Graph:
    model = Scaled()
    optimizer = optim.SGD(model, lr=0.1)

    def step(x: Any) -> Any:
        loss = (model(model(x, 0.5), 0.25) ** 2).sum()
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[4, 3])


def test_a_number_that_differs_is_a_parameter_through_calls_too() -> None:
    graph = tg.trace(rings, tg.f32[4])
    assert read_back(graph).split("\n") == [
        "def wave(x: f32[4], k: float):",
        "    return tanh(x * k) ** 2",
        "",
        "",
        "def ring(rate: float, x: f32[4], plus: float):",
        "    for _ in range(3):",
        "        x = x + rate * wave(x, rate)",
        "    return x * plus",
        "",
        "",
        "def rings(x: f32[4]) -> f32:",
        "    return sum(ring(0.5, ring(0.25, ring(2.0, x, 3.0), 1.0), 2.0) + ring(-1.0, x, 1.0))",
    ]
    runs_as_python(graph)


def test_backward_passes_are_handed_the_numbers() -> None:
    graph = tg.trace(tg.grad(rings), tg.f32[4]).differentiate()
    text = read_back(graph)
    runs_as_python(graph)
    assert text.count("def wave_backward") == 1
    assert "def wave_backward(saved, k: float, v: f32[4]):" in text
    assert "def ring_backward(saved, rate: float, plus: float, v: f32[4]):" in text
    for changed in (graph.simplify(), graph.expand()):
        read_back(changed)


@pytest.mark.parametrize("step", ["none", "differentiate", "simplify", "transform"])
def test_modules_are_handed_numbers(step: str) -> None:
    graph = scaled_step()
    graph = graph if step == "none" else getattr(graph, step)()
    text = read_back(graph)
    runs_as_python(graph)
    assert "def Scaled(x: f32[4, 3], scale: float, *, layer: Linear):" in text


def test_what_no_argument_is_or_the_calls_agree_in_stays_a_number() -> None:
    def mixed(x: Any, rate: Any) -> Any:
        return x * (rate / 2) + 0.5

    once = read_back(tg.trace(lambda x: mixed(mixed(x, 0.5), 0.5), tg.f32[4]))
    assert "def mixed(x: f32[4]):\n    return x * 0.25 + 0.5\n" in once
    twice = read_back(tg.trace(lambda x: mixed(mixed(x, 0.5), 1.0), tg.f32[4]))
    assert "def mixed_2(x: f32[4]):" in twice and "float" not in twice

    def powered(x: Any, n: Any, k: Any) -> Any:
        return x**n + k

    assert "def powered(x: f32[4], n: int):\n    return x ** n + 1.0" in read_back(
        tg.trace(lambda x: powered(powered(x, 2, 1.0), 3, 1.0), tg.f32[4])
    )
