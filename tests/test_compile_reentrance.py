"""An op that calls the compiled function in which it runs: each call has its own memory, and cells what eager gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn

AGAIN: list[Any] = []
CALL: list[Callable[[Any], Any]] = []  # what the op calls, from the outermost call inwards


def _forward(x: Any) -> Any:
    if not CALL:
        return x * 0.5
    call = CALL.pop()
    try:
        return call(x)
    finally:
        CALL.append(call)


@pytest.fixture(autouse=True, scope="module")
def op() -> Iterator[None]:
    infer = lambda x: tg.spec(x.shape, x.dtype)
    AGAIN[:] = [tg.op("calls_again(x)", _forward, infer_rule=infer, vjp={"x": lambda g: g})]
    yield
    tg.remove_op("calls_again")


def again(x: Any) -> Any:
    return AGAIN[0](x)


def repeated() -> tuple[Any, Any]:
    def function(x: Any) -> Any:
        a = tg.tanh(x) * 2
        return a + again(a * 0.1) * tg.sin(a)

    return function, lambda f, x: f(x / 2)


def short_inside() -> tuple[Any, Any]:
    """What is called is another entry, all of it kernels, in the same memory."""

    def function(x: Any, deep: bool = True) -> Any:
        a = tg.tanh(x) * 2
        return a + again(a * 0.1) * tg.sin(a) if deep else tg.exp(tg.cumsum(a, axis=0)) - a

    return function, lambda f, x: f(x, False)


def larger_inside() -> tuple[Any, Any]:
    def function(x: Any) -> Any:
        a = tg.tanh(x) * 2
        return a + again(a * 0.1) * tg.sin(a)

    return function, lambda f, x: f(np.concatenate([x, x, x]))[: len(x)]


def writing() -> tuple[Any, Any]:
    """Each call writes a cell, the outermost one last."""
    state = tg.Buffer(np.ones(2, np.float32))
    kept: list[Any] = []

    def function(x: Any) -> Any:
        a = tg.tanh(x * state)
        b = again(a * 0.1)
        state.assign(tg.exp(b * a).mean(axis=0))
        return b + a

    def call(f: Any, x: Any) -> Any:
        kept.append(state.numpy())  # so that the cell gets another array
        return f(x)

    return function, call


def with_gradients() -> tuple[Any, Any]:
    """A forward whose caller takes gradients, inside one."""
    model = nn.Linear(2, 2, seed=0)

    def function(x: Any) -> Any:
        return tg.tanh(again(model(x)) * model(x))

    def call(f: Any, x: Any) -> Any:
        y = f(x)
        return y.detach() + tg.gradients(y.sum(), [model.weight])[0].sum()

    return function, call


def results(make: Callable[[], tuple[Any, Any]], deepest: int, compiled: bool) -> list[Any]:
    function, call = make()
    f = tg.compile(function) if compiled else function
    found = []
    for k in range(4):
        x = np.arange(6, dtype=np.float32).reshape(3, 2) / 4 + k
        for depth in (deepest, 0):
            CALL[:] = [lambda x: np.asarray(call(f, tg.tensor(x)).detach().numpy())] * depth
            found.append(f(tg.tensor(x)).detach().numpy().copy())
    CALL.clear()
    return found


@pytest.mark.parametrize(
    "make, deepest", [(repeated, 2), (short_inside, 2), (larger_inside, 2), (writing, 2), (with_gradients, 1)]
)
def test_an_op_calls_the_function_it_runs_in(make: Callable[[], tuple[Any, Any]], deepest: int) -> None:
    for expected, found in zip(results(make, deepest, False), results(make, deepest, True), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


def test_after_an_error_inside_the_memory_is_free_again() -> None:
    function, _ = repeated()
    f = tg.compile(function)
    x = tg.tensor(np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 2))
    expected = f(x).numpy()

    def fail(x: Any) -> Any:
        raise ValueError("inside")

    CALL[:] = [fail]
    with pytest.raises(ValueError, match="inside"):
        f(x)
    CALL.clear()
    np.testing.assert_array_equal(f(x).numpy(), expected)
