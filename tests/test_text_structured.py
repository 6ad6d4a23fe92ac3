"""Texts of random programs of functions, loops, containers and modules, after every pass: they are read back as the
same graph, and what was read prints the same."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from structured_programs import structured
from test_text_folded import WIDEST
from test_text_plain import runs_as_python

import tensorgraph as tg
from tensorgraph.graph import Graph
from tensorgraph.testing.programs.program import quiet

LARGEST = 300  # equations: others take seconds
PASSES: dict[str, Callable[[Graph], Graph]] = {
    "none": lambda graph: graph, "simplify": Graph.simplify, "recognise": Graph.recognise, "expand": Graph.expand,
    "differentiate": Graph.differentiate, "transform": Graph.transform,
    "differentiate, simplify": lambda graph: graph.differentiate().simplify(),
}  # fmt: skip
SEEDS = range(60)


@functools.cache
def graph_of(kind: str, seed: int) -> Graph | None:
    program = structured(seed)
    made: dict[str, Any] = {
        "forward": program.forward, "grad": tg.grad(program.forward, argnums=(0, 1)), "second": tg.grad(program.slope),
        "step": program.step or program.forward,
    }  # fmt: skip
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            graph = tg.trace(made[kind], tg.f32[4, 3], tg.f32[4, 3])
        except (RuntimeError, ValueError, TypeError):  # the loss depends on no parameter, or on no argument
            return None
        return graph if len(graph.differentiate().equations) <= LARGEST else None


def comes_back(graph: Graph) -> None:
    text = graph.text()
    assert graph.outline.reason is None, text
    again = tg.parse(text, tg.text.arrays_of(graph))
    assert again == graph and again.text() == text, text
    assert max(map(len, text.split("\n"))) <= WIDEST, text


@pytest.mark.sampled(test=24, quick=3)
@pytest.mark.parametrize("step", PASSES)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["forward", "grad", "second", "step"])
def test_any_program_comes_back_after_any_pass_and_prints_the_same(kind: str, seed: int, step: str) -> None:
    graph = graph_of(kind, seed)
    if graph is not None:
        with quiet():
            comes_back(PASSES[step](graph))


@pytest.mark.sampled(test=6, quick=1)
@pytest.mark.parametrize("seed", SEEDS)
def test_passes_do_the_same_to_what_a_text_was_read_as(seed: int) -> None:
    graph = graph_of("grad", seed)
    for one in () if graph is None else (graph, graph.differentiate()):
        again = tg.parse(one.text(), tg.text.arrays_of(one))
        for step in ("expand", "differentiate", "simplify", "differentiate, simplify"):
            with quiet():
                assert PASSES[step](again) == PASSES[step](one), step


def test_what_a_reference_computes_and_a_derivative_does_not_read_is_left_out() -> None:
    graph = graph_of("grad", 1)
    assert graph is not None
    written = graph.differentiate()
    assert tg.parse(written.text()).expand() == written.expand()


@pytest.mark.sampled(test=6, quick=1)
@pytest.mark.parametrize("seed", SEEDS)
def test_any_program_runs_as_python(seed: int) -> None:
    graph = graph_of("grad", seed)
    if graph is not None:
        with quiet():
            runs_as_python(graph)
            runs_as_python(graph.differentiate())


NAMES = {
    "handed on by another name": (
        "    h = x\n    hs = []\n    for _ in range(4):\n        h_2 = y\n        vs = []\n        for v in [h, x]:\n"
        "            c = sin(h_2)\n            h_2 = where(x > 0.0, c, maximum(y ** 2, v * v))\n"
        "            vs.append(c)\n"
        "        w = 0 + vs[0] + vs[1]\n        hs.append(w)\n        h = h_2\n    return stack(hs), h\n"
    ),
    "handed on in loops by one name": (
        "    v0 = x\n    hs = []\n    for _ in range(4):\n        vs = []\n        for v in [x, y]:\n"
        "            w = v + v0\n            v0 = sin(v0) * v\n            vs.append(w)\n        a = vs[1] + v0\n"
        "        hs.append(x * a)\n        c = exp(a) * vs[0]\n        v0 = cos(c) + c\n    return stack(hs), v0\n"
    ),
    "items of one expression": (
        "    ys = [relu(x ** 2) * 0.5 for _ in range(12)]\n    for y_one in ys:\n        y = y * y_one + y_one\n"
        "    return mean(stack(ys), axis=0), y\n"
    ),
    "what a turn has made last": (
        "    for k in range(5):\n        z = tanh(x) * y\n        x = x + z\n"
        "        y = z * y + x\n    return x, y\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("body", NAMES)
def test_names_that_a_text_gives_are_taken_again(body: str) -> None:
    graph = tg.parse(f"def f(x: f32[4, 3], y: f32[4, 3]):\n{NAMES[body]}")
    comes_back(graph)


def both(p: Any) -> Any:
    return {"a": tg.tanh(p), "b": tg.sin(p) * p}


def joined(r: Any) -> Any:
    return r["a"] + r["b"]


def test_what_the_last_turn_gave_in_a_dict_is_kept_while_it_is_read() -> None:
    def f(x: Any, y: Any) -> Any:
        kept = []
        for v in [y, y, y, y, y, x]:
            last = both(v)
            kept.append(joined(last))
        total = tg.stack(kept).sum(axis=0)
        for _ in range(4):
            total = joined(both(total)) * last["b"]
        return total

    graph = tg.trace(f, tg.f32[4, 3], tg.f32[4, 3])
    comes_back(graph)
    runs_as_python(graph)
