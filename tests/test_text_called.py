"""Modules and functions that are called in several ways: functions all the same, in texts that are short and exact."""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any

import numpy as np
import pytest
from called_programs import CALLED
from test_text_folded import lines_of, read_back
from test_text_plain import runs_as_python

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.graph import Graph

PASSES = {
    "as it is": lambda graph: graph, "simplify": Graph.simplify, "differentiate": Graph.differentiate,
    "transform": Graph.transform,
}  # fmt: skip


@functools.cache
def program(name: str) -> Graph:
    return CALLED[name][0]()


@pytest.mark.filterwarnings("ignore:.*no gradient reached")
@pytest.mark.parametrize("step", PASSES)
@pytest.mark.parametrize("name", CALLED)
def test_a_program_comes_back_from_its_text_and_runs(name: str, step: str) -> None:
    graph = PASSES[step](program(name))
    text = read_back(graph)
    scopes = [eq.scope for eq in tg.parse(text, tg.text.arrays_of(graph)).equations]
    assert step in ("differentiate", "transform") or scopes == [eq.scope for eq in graph.equations]
    if step in ("as it is", "differentiate"):
        runs_as_python(graph)


@pytest.mark.filterwarnings("ignore:.*no gradient reached")
@pytest.mark.parametrize("step", ["as it is", "simplify"])
@pytest.mark.parametrize("name", CALLED)
def test_a_text_has_at_most_twice_the_lines_of_its_source(name: str, step: str) -> None:
    function, classes = CALLED[name]
    said = [re.sub(r'""".*?"""', "", inspect.getsource(part), flags=re.S) for part in (function, *classes)]
    text = PASSES[step](program(name)).text(library=False)
    assert lines_of(text) <= 2 * sum(map(lines_of, said)) and "scope(" not in text


@pytest.mark.filterwarnings("ignore:.*no gradient reached")
def test_what_is_read_after_its_step_is_the_cell_in_simplified_graphs_too() -> None:
    graph = program("in training and evaluated")
    plain, simple = graph.text(library=False), graph.simplify().text(library=False)
    assert "    v0 = Trunk_2(trunk, x)" in simple and lines_of(simple) <= lines_of(plain)


def test_a_call_that_is_handed_a_value_twice_and_one_that_is_not_read_are_calls() -> None:
    text = program("cell with the same zeros").text(library=False)
    assert "\n    for t in range(6):\n        h, c = cell(xs[:, t], h, c)\n" in text
    assert "= embedding_(" in program("triplet").text() and "\ndef Embedding_" not in program("triplet").text()


def test_gradients_of_a_module_that_is_called_three_times_are_sums() -> None:
    graph = program("triplet").differentiate()
    text = read_back(graph)
    assert lines_of(text) <= 72 and text.count("def Embedding_backward") == 2


def test_a_cell_that_is_handed_over_is_a_value_as_any_other() -> None:
    weight = tg.Parameter(np.eye(3, dtype="f4"))

    def layer(x: Any, w: Any) -> Any:
        return tg.tanh(x @ w) + x

    text = read_back(tg.trace(lambda x: layer(layer(x, weight), weight * 2.0), tg.f32[4, 3]))
    assert text.count("def layer") == 1 and "def layer(x: f32[4, 3], w: f32[3, 3]):" in text


def test_calls_of_another_kind_are_functions_that_are_handed_the_module() -> None:
    graph = program("with a mask and without")
    text = graph.text(library=False)
    assert "def Block(x: f32[4, 6], " in text and "def Block_2(block, x: f32[4, 6], mask: f32[4, 6]):" in text
    assert "    return (net(x), Net_2(net, x, mask))" in text
    again = tg.parse(text)
    assert again.modules == graph.modules and again.modules["blocks.2.up"] == "Linear"


def test_optimisers_that_start_from_other_numbers_are_one_function() -> None:
    graph = program("gan with two rates")
    updates = [one for one in graph.outline.definitions if one.kind == "optimizer"]
    assert [one.name for one in updates] == ["Adam"] and graph.outline.counts[updates[0]] == 2
    text = graph.text()
    assert "optimizer: Adam, optimizer_2: Adam(lr=0.001, beta1=0.9),\n" in text and text.count("adam_update") == 1
    again = tg.parse(text)
    assert {c.path: c.initialiser for c in again.cells} == {c.path: c.initialiser for c in graph.cells}
    assert {c.initialiser for c in again.cells if c.path.endswith(".lr")} == {
        "constant(value=0.004)", "constant(value=0.001)",
    }  # fmt: skip


def test_optimisers_of_more_and_fewer_parameters_that_start_from_other_numbers_are_one_function() -> None:
    first, second = nn.Linear(2, 3, seed=0), nn.Sequential(nn.Linear(3, 4, seed=0), nn.Linear(4, 1, seed=1))
    one, two = optim.Adam(first, lr=0.1), optim.Adam(second, lr=0.2, weight_decay=0.5)

    def step(x: Any) -> Any:
        loss = (second(first(x)) ** 2).mean()
        one.minimize(loss)
        two.minimize(second(tg.sin(x) @ tg.ones((2, 3))).sum())
        return loss

    graph = tg.trace(step, tg.f32[4, 2])
    text = read_back(graph)
    assert text.count("adam_update") == 1 and "optimizer_2: Adam(lr=0.2, weight_decay=0.5)" in text
    again = tg.parse(text)
    assert {c.path: c.initialiser for c in again.cells} == {c.path: c.initialiser for c in graph.cells}
