"""Ctrl-C while cells are written: all of them are, or none."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.engine import modes
from tensorgraph.engine.interrupts import whole


@pytest.fixture(autouse=True)
def terminal() -> Iterator[None]:
    """As in a terminal: a shell's background jobs ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(2, 2, seed=i) for i in range(2)]

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x


def loss(model: Any) -> Any:
    return (model(np.ones((1, 2), np.float32)) ** 2).sum()


def interrupted(call: Callable[[], Any], after: int) -> int:
    """Runs a call with Ctrl-C pressed at the `after`-th place in the library where Python looks for signals.

    Those are the starts of functions and the ends of calls. Gives how many were passed.
    """
    places = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal places
        if event in ("call", "c_return") and "tensorgraph" in frame.f_globals.get("__name__", ""):
            places += 1
            if places == after:
                signal.raise_signal(signal.SIGINT)

    sys.setprofile(count)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
        modes.MODE.set(modes.Mode())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return places


def stepping(make: Callable[[Any], Any]) -> Any:
    def case() -> tuple[Callable[[], Any], Callable[[], Any]]:
        model = Layers()
        optimizer = make(model)
        optimizer.minimize(loss(model))
        loss(model).backward()
        return optimizer.step, lambda: {**model.state_dict(), **optimizer.state_dict()}

    return case


def by_ops() -> Any:
    call, look = stepping(optim.Adam)()

    def step() -> None:
        with tg.implementation("composed"):
            call()

    return step, look


def binding() -> Any:
    model = Layers()
    optimizer = optim.Momentum(model, 0.1)
    step = tg.trace(lambda: optimizer.minimize(loss(model))).bind(model, optimizer)
    step()  # which prepares it
    return step, lambda: {**model.state_dict(), **optimizer.state_dict()}


def loading() -> Any:
    model, other = Layers(), {path: a + 1 for path, a in Layers().state_dict().items()}
    return lambda: model.load_state_dict(other), model.state_dict


def loading_a_tree() -> Any:
    model = Layers()
    tree = tg.tree_map(lambda p: p + 1, tg.functional(model)[1])
    return lambda: model.load(tree), model.state_dict


def gradients() -> Any:
    model = Layers()
    value = loss(model)
    grads = lambda: {path: p.grad is None for path, p in model.named_parameters()}
    return value.backward, lambda: {path: np.array(none) for path, none in grads().items()}


def clipping(clip: Callable[[Any], Any]) -> Any:
    def case() -> tuple[Callable[[], Any], Callable[[], Any]]:
        model = Layers()
        loss(model).backward()
        look = lambda: {path: np.array(p.grad if p.grad is not None else 0.0) for path, p in model.named_parameters()}
        return lambda: clip(model), look

    return case


CASES: dict[str, Any] = {
    "SGD": stepping(lambda m: optim.SGD(m, 0.1)),
    "Adam": stepping(optim.Adam),
    "clipped": stepping(lambda m: optim.Momentum(m, 0.1, clip_norm=0.1, clip_value=0.1)),
    "groups": stepping(lambda m: optim.RMSprop([{"params": layer, "lr": 0.1} for layer in m.layers])),
    "scheduled": stepping(lambda m: optim.SGD(m, optim.schedules.exponential(0.1, 0.5))),
    "by ops": by_ops,
    "bind": binding,
    "load_state_dict": loading,
    "load": loading_a_tree,
    "gradients": gradients,
    "clip_grad_norm": clipping(lambda m: optim.clip_grad_norm(m, 0.01)),
    "clip_grad_value": clipping(lambda m: optim.clip_grad_value(m, 0.001)),
    "zero_grad": clipping(lambda m: optim.SGD(m, 0.1).zero_grad()),
    "zero_grad of a module": clipping(lambda m: m.zero_grad()),
}


@pytest.mark.parametrize("name", CASES)
def test_all_cells_are_written_or_none(name: str) -> None:
    def attempt(after: int) -> tuple[int, set[str]]:
        call, look = CASES[name]()
        before = look()
        count = interrupted(call, after)
        now = look()
        return count, {path for path in before if not np.array_equal(before[path], now[path])}

    attempt(0)  # after which caches are full
    count, written = attempt(0)
    assert len(written) > 3
    places = {*np.linspace(1, count, 20, dtype=int).tolist(), *range(max(1, count - 50), count + 1)}
    outcomes = {after: attempt(after)[1] for after in places}
    assert all(moved in (set(), written) for moved in outcomes.values()), outcomes
    assert set() in outcomes.values() and written in outcomes.values()


def test_what_waited_is_raised_at_the_end_to_whom_it_was_meant() -> None:
    done: list[Any] = []
    with pytest.raises(KeyboardInterrupt), whole():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append(1)
    assert done == [1]
    signal.signal(signal.SIGINT, lambda number, frame: done.append(number))
    with whole(), whole():
        signal.raise_signal(signal.SIGINT)
        assert done == [1]
    assert done == [1, signal.SIGINT]
    with pytest.raises(ValueError, match="mine"), whole():
        raise ValueError("mine")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with whole():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_wait_for_nothing() -> None:
    seen: list[Any] = []

    def run() -> None:
        with whole():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
