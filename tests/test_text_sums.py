"""Sums that grow: as a value, in a text, and as what a backward pass of a loop over a size adds up."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest
from large_programs import Recurrent
from test_text_folded import WIDEST, lines_of
from test_text_plain import runs_as_python

import tensorgraph as tg
from tensorgraph import optim
from tensorgraph.engine.running import Sum
from tensorgraph.graph.totals import sums_in
from tensorgraph.text import ParseError
from tensorgraph.text.aligned import aligned

VALUES = np.random.default_rng(0).normal(size=700).astype("float32") * 10.0 ** np.arange(-2, 5).repeat(100)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 18, 31, 32, 33, 48, 256, 257, 272, 273, 289, 700])
def test_a_sum_has_the_bits_of_what_the_tape_adds_up(count: int) -> None:
    """All that arrives at one value, in the order in which a backward pass meets it."""
    weights = [tg.tensor(value) for value in VALUES[:count].astype("float32")]

    def weighed(x: Any) -> Any:
        y = weights[0] * x
        for weight in weights[1:]:
            y = y + weight * x
        return y

    total = Sum()
    for weight in reversed(weights):
        total = total + weight
    assert total.total().numpy().tobytes() == tg.grad(weighed)(tg.tensor(1.0)).numpy().tobytes()


def test_a_sum_is_a_value() -> None:
    one = Sum() + tg.tensor([1.0])
    two, other = one + tg.tensor([2.0]), one + tg.tensor([5.0])
    assert [s.total().tolist() for s in (one, two, other)] == [[1.0], [3.0], [6.0]]
    assert repr(Sum()) == "Sum()" and repr(two) == "<Sum of tensor([3.], f32)>"
    with pytest.raises(ValueError, match="neither shape nor dtype"):
        Sum().total()
    for wrong, said in ((1.0, "of tensors of one type, f32.1. so far, got 1.0"), (tg.ones(2), r"so far, got f32\[2\]")):
        with pytest.raises(TypeError, match=said):
            one + wrong
    with pytest.raises(TypeError, match=r"of tensors, got 1\.0"):
        Sum() + 1.0
    with pytest.raises(TypeError):
        np.ones(3) + one


BODY = "def f(x: f32[3], n: f32[N]):\n    t = Sum()\n    for _ in range(20):\n        t = t + x\n"
WRONG = {
    "    return t\n": "a function returns tensors",
    "    return t.max()\n": "a Sum has total",
    "    return t.total\n": "no attribute 'total'",
    "    return t - x\n": "grows by total [+] x, got t - x",
    "    return x + t\n": "grows by total [+] x, got x [+] t",
    "    return (t + x[0]).total()\n": r"one type, f32\[3\] so far, got f32",
    "    return sin(t)\n": "expected numbers",
    "    return Sum(x)\n": "a Sum begins empty",
    "    return Sum().total()\n": "neither shape nor dtype",
    "    assert x\n    return x\n": "expected assert N >= 2, of sizes, got assert x",
    "    assert 1 < 2 < 3\n    return x\n": "expected assert N >= 2",
    "    N = n.shape[0]\n    assert N < 1\n    return x\n": "the text holds for N < 1, and here these are",
    "    return scatter_add(x, [], s_[:, x], (2, 3))\n": "of integers, slices, None and ..., got",
    "    return x[t]\n": "an index holds",
}


@pytest.mark.parametrize("rest", WRONG)
def test_what_is_no_sum_of_a_text_says_so(rest: str) -> None:
    with pytest.raises(ParseError, match=WRONG[rest]):
        tg.parse(BODY + rest).at(N=2)


def test_a_sum_by_hand_is_the_additions_it_stands_for() -> None:
    graph = tg.parse(BODY + "    N = n.shape[0]\n    assert N >= 2\n    return t.total(), n\n")
    assert len(graph.at(N=2).equations) == 19
    assert graph.at(N=2)(tg.ones(3), tg.ones(2))[0].tolist() == [20.0] * 3
    with pytest.raises(ParseError, match="N >= 2, and here these are 1 and 2"):
        graph.at(N=1)
    runs_as_python(graph.at(N=3))


def handed_on() -> Any:
    return tg.parse(
        "def more(total, x: f32[3]):\n    return total + x * x\n\n\n"
        "def f(xs: f32[40, 3]) -> f32[3]:\n    total = Sum()\n"
        "    for t in range(40):\n        total = more(total, xs[t])\n    return total.total()\n"
    )


@pytest.mark.parametrize("count", [256, 257, 290, 530])
def test_sums_of_sums_of_runs_are_one_sum(count: int) -> None:
    def decay(x: Any, w: Any) -> Any:
        for _ in range(count):
            x = tg.sin(x * w)
        return x.sum()

    graph = tg.trace(tg.grad(decay, 1), tg.f32[3], tg.f32[3]).differentiate()
    (one,) = sums_in(graph)
    assert len(one.contributions) == count and len(one.equations()) == count - 1
    if count == 290:
        assert "Sum()" in graph.text() and lines_of(graph.text()) < 25 and graph.outline.reason is None


def test_what_the_user_adds_up_is_written_so() -> None:
    def added(x: Any) -> Any:
        total = tg.zeros(())
        for t in range(7):
            total = total + x[t] * x[t]
        return total

    text = tg.trace(tg.grad(added), tg.f32[7]).differentiate().text()
    assert "        total = total + " in text and "range(7)" in text


def nested(x: Any) -> Any:
    total = tg.zeros(())
    for n in range(x.shape[0]):
        h = tg.zeros(())
        for m in range(x.shape[1]):
            h = tg.tanh(h * 0.5 + x[n, m])
        total = total + h * h
    return total


def test_the_backward_pass_of_loops_in_a_loop_is_loops_in_a_loop() -> None:
    def graph(n: int, m: int) -> Any:
        return tg.trace(tg.grad(nested), tg.f32[n, m]).differentiate()

    samples = [({"N": n, "M": m}, graph(n, m)) for n, m in ((7, 9), (8, 9), (7, 10), (7, 18))]
    text = aligned(samples, ("N", "M"))
    assert "saveds.append((vs, h))" in text and "for k, saved_2_one in enumerate(reversed(saved_2[0][1:M])):" in text
    assert tg.parse(text).at(N=3, M=20) == graph(3, 20)


def test_a_sum_goes_through_calls() -> None:
    graph = handed_on()
    text = graph.text()
    assert "total = more(total, xs[t])" in text and ".total()" in text and graph.outline.reason is None
    assert tg.parse(text) == graph and tg.parse(text).text() == text
    runs_as_python(graph)


@pytest.mark.parametrize("count", [12, 17, 18, 40])
def test_a_plain_line_of_additions_is_none(count: int) -> None:
    def added(x: Any) -> Any:
        total = 0.0
        for t in range(count):
            total = total + tg.tanh(x[t])
        return total

    graph = tg.trace(added, tg.f32[count, 3])
    assert "Sum()" not in graph.text() and tg.parse(graph.text()) == graph
    assert all(len(one.contributions) <= 17 for one in sums_in(graph))


@pytest.fixture
def step() -> Any:
    model = Recurrent()
    adam = optim.Adam(model, lr=0.01)

    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        adam.minimize(loss)
        return loss

    return tg.trace(step, tg.f32["N", "T", 3], tg.i64["N"])


def test_the_backward_pass_of_a_loop_over_a_size_is_a_loop(step: Any) -> None:
    template = step.differentiate()
    text = str(template)
    again = tg.parse(text, template.arrays)
    assert again == template and str(again) == text == template.text()
    assert lines_of(text) < 4 * lines_of(str(step)) and "Sum()" in text
    assert max(map(len, text.split("\n"))) <= WIDEST
    starts = [node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    assert len(set(starts)) == len(starts)
    for n, t in ((2, 1), (5, 3), (3, 18)):
        assert again.at(N=n, T=t) == template.at(N=n, T=t) == step.at(N=n, T=t).differentiate()
    runs_as_python(again.at(N=3, T=20))
