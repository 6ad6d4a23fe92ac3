"""Checkpoints run their function twice; nobody may notice but the memory."""

import weakref
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg


def leaf(value: Any) -> tg.Tensor:
    return tg.tensor(value, dtype="float64", requires_grad=True)


def test_a_cell_assigned_between_forward_and_backward() -> None:
    """The second run sees what the first saw."""
    w, x = tg.Parameter(np.float64(2.0)), leaf(3.0)
    y = tg.checkpoint(lambda t: t * w * w)(x)
    w.assign(100.0)
    y.backward()
    assert float(x.grad) == 4.0 and float(w.grad) == 12.0 and float(w) == 100.0


def test_random_draws_are_the_same_in_both_runs() -> None:
    tg.random.seed(0)
    x = leaf(np.ones(1000))
    y = tg.checkpoint(lambda t: t * tg.random.uniform((1000,), "float64"))(x)
    state = tg.random.state().tolist()
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.numpy())
    assert tg.random.state().tolist() == state


def test_assignments_happen_once() -> None:
    count, x = tg.Buffer(0), leaf(2.0)

    def block(t: tg.Tensor) -> tg.Tensor:
        count.assign(count + 1)
        return t * t * count.astype("float64")

    y = tg.checkpoint(block)(x)
    assert count.item() == 1
    y.backward()
    assert count.item() == 1 and float(x.grad) == 4.0


@pytest.mark.parametrize("create_graph", [False, True])
def test_the_same_gradients_as_without(create_graph: bool) -> None:
    w = tg.Parameter(np.array([0.5, -1.0]))

    def block(t: tg.Tensor) -> tg.Tensor:
        return tg.tanh(t * w) * t

    def run(around: Any) -> list[Any]:
        x = leaf([0.3, 0.7])
        loss = around(block)(around(block)(x)).sum()
        found = tg.gradients(loss, [x, w], create_graph=create_graph)
        if create_graph:
            found += tg.gradients((found[0] * found[1]).sum(), [x, w])
        return [g.tolist() for g in found]

    assert run(tg.checkpoint) == run(lambda f: f)


def test_an_exception_in_the_second_run_leaves_all_right() -> None:
    runs: list[int] = []

    def block(t: tg.Tensor) -> tg.Tensor:
        runs.append(1)
        if len(runs) > 1:
            raise KeyError("deliberately")
        return t * t

    x = leaf(2.0)
    y = tg.checkpoint(block)(x)
    with pytest.raises(KeyError):
        y.backward()
    assert x.grad is None and tg.is_grad_enabled()
    assert float(tg.grad(lambda t: t**3)(np.float64(2.0))) == 12.0


def test_intermediate_values_are_not_kept() -> None:
    inside: list[Any] = []

    def block(t: tg.Tensor) -> tg.Tensor:
        h = tg.exp(t)
        inside.append(weakref.ref(h._value))
        return tg.exp(h)

    x = leaf(np.zeros(3))
    y = tg.checkpoint(block)(x)
    assert inside[0]() is None
    y.sum().backward()
    assert np.allclose(x.grad, np.e)
