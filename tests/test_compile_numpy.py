"""The runner on NumPy: the graph's bits, and cells that are written together or not at all."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.compile.on_numpy import OnNumpy
from tensorgraph.compile.runner import Options, runner_of


def test_a_runner_gives_the_bits_of_the_graph() -> None:
    w = tg.Parameter(np.random.default_rng(0).normal(size=(3, 2)), name="w")

    def loss(x, y):
        return tg.mse(tg.tanh(x @ w), y)

    x, y = np.random.default_rng(1).normal(size=(5, 3)), np.random.default_rng(2).normal(size=(5, 2))
    graph = tg.trace(loss, x, y)
    (value,) = runner_of(graph.transform(), [w], Options()).run([x, y])
    assert value == graph.transform().bind(w)(x, y).numpy()


def test_cells_that_take_each_others_values_are_swapped() -> None:
    a, b = tg.Buffer([1.0, 2.0], name="a"), tg.Buffer([3.0, 4.0], name="b")

    def swap():
        one, other = a.read(), b.read()
        a.assign(other)
        b.assign(one)
        return one

    graph = tg.trace(swap)
    (before,) = OnNumpy(graph, [a, b]).run([])
    assert (a.tolist(), b.tolist(), before.tolist()) == ([3.0, 4.0], [1.0, 2.0], [1.0, 2.0])


def test_a_run_that_fails_writes_nothing() -> None:
    count = tg.Buffer(0, name="count")

    def step(x, y):
        count.assign(count + 1)
        return tg.softmax_cross_entropy(x, y)

    runner = OnNumpy(tg.trace(step, tg.spec((2, 3)), tg.spec((2,), tg.i64)).transform(), [count])
    with pytest.raises(ValueError, match="7 is outside"):
        runner.run([np.zeros((2, 3), np.float32), np.array([0, 7])])
    assert count.item() == 0
