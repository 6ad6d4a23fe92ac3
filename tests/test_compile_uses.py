"""Compiled functions among threads, processes, copies, profilers and interruptions; and what they say of themselves."""

import copy
import cProfile
import enum
import gc
import os
import pickle
import random
import signal
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.compile import Compiled, laying
from tensorgraph.engine.tensor import TraceError
from tensorgraph.native import machine, objects

X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)


@pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
def test_exact_bits_are_those_of_narrow_vectors(monkeypatch: Any) -> None:
    rng = np.random.default_rng(3)
    x, gamma = rng.normal(size=(64, 50)).astype("float32"), rng.normal(size=50).astype("float32")

    def f(x: Any, gamma: Any) -> Any:
        loss = lambda x, gamma: tg.sum(tg.layer_norm(x, gamma)[0] ** 3) + tg.sum(tg.logsumexp(x, axis=-1))
        return tg.value_and_grad(loss, argnums=(0, 1))(x, gamma)

    def bits(**options: Any) -> bytes:
        value, slopes = tg.compile(f, **options)(x, gamma)
        return b"".join(a.numpy().tobytes() for a in (value, *slopes))

    exact, usual = bits(exact=True), bits()
    monkeypatch.setattr(laying, "entries", lambda kernels, width=None: objects.entries(kernels, 32))
    assert exact == bits()
    if machine.machine().width > 32:
        assert exact != usual


def counter() -> tuple[Any, Any]:
    """A step that counts itself, and adds its argument to a total."""
    count, total = tg.Buffer(0, name="count"), tg.Buffer(np.zeros(4, np.float64), name="total")

    @tg.compile
    def step(x: Any) -> Any:
        count.assign(count + 1)
        total.assign(total + x)
        return count + 0

    return step, (count, total)


def test_threads_take_turns() -> None:
    step, (count, total) = counter()
    results: list[int] = []

    def work() -> None:
        for _ in range(200):
            results.append(step(np.ones(4)).item())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(1, 801)) and count.item() == 800 and total.tolist() == [800.0] * 4
    assert step.stats.traces == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_goes_on_where_its_parent_was() -> None:
    step, (count, _) = counter()
    step(np.ones(4))
    with step._lock:  # another thread might hold it
        child = os.fork()
        if child == 0:
            done = threading.Thread(target=step, args=(np.ones(4),))
            done.start()
            done.join(20)
            os._exit(0 if count.item() == 2 and not done.is_alive() else 1)
    assert os.waitpid(child, 0)[1] == 0 and count.item() == 1


def test_it_is_neither_pickled_nor_copied() -> None:
    step, _ = counter()
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"step is neither pickled nor copied.*compiled.function"):
            way(step)


def test_what_it_was_made_of_goes_with_it() -> None:
    def use() -> Any:
        model = nn.Linear(4, 2, seed=0)
        compiled = model.compile()
        compiled(X)
        with tg.no_grad():
            compiled(X)
        return weakref.ref(model)

    gone = use()
    gc.collect()
    assert gone() is None


def test_a_profiler_goes_on_afterwards() -> None:
    step, _ = counter()
    profile = cProfile.Profile()
    profile.enable()
    step(np.ones(4))
    np.sort(np.ones(3))
    profile.disable()
    assert any("sort" in str(entry.code) for entry in profile.getstats())


def test_a_debugger_goes_on_while_a_function_is_traced() -> None:
    seen: list[str] = []
    factor = 2.0

    def scaled(x: Any) -> Any:
        return x * factor

    def tracer(frame: Any, event: str, _: Any) -> Any:
        seen.append(f"{event} {frame.f_code.co_name}")
        return tracer

    before, compiled = sys.gettrace(), tg.compile(scaled)
    sys.settrace(tracer)
    try:
        assert compiled(tg.tensor(1.0)).item() == 2.0 and sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert {"call scaled", "line scaled", "return scaled"} <= {*seen} and sys.getprofile() is None
    factor = 3.0
    assert compiled(tg.tensor(1.0)).item() == 3.0


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals go to the main thread")
def test_an_interruption_leaves_all_or_nothing() -> None:
    step, (count, total) = counter()
    step(np.ones(4))
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    for delay in np.linspace(1e-5, 2e-3, 40):
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, delay)
            while True:
                step(np.ones(4))
        assert total.tolist() == [count.item()] * 4
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_it_tells_what_it_is() -> None:
    model = nn.Sequential(nn.Linear(4, 3, seed=0), nn.ReLU())
    adam = optim.Adam(model, lr=0.1)

    @tg.compile
    def step(x: Any) -> Any:
        """One step."""
        loss = (model(x) ** 2).mean()
        adam.minimize(loss)
        return loss

    assert step.__name__ == "step" and step.__doc__ == "One step." and "compiled step" in repr(step)
    for ask in (lambda: step.graph, lambda: step.source, step.explain):
        with pytest.raises(RuntimeError, match="step has not been called yet"):
            ask()
    step(X)
    step(X)
    assert step.stats.runs == 2 and min(step.stats.seconds.values()) > 0 and "1 traces" in str(step.stats)
    assert [eq.op.name for eq in step.graph.equations].count("adam_update") == 2
    assert "differentiate" in step.explain()
    assert isinstance(tg.compile(step), Compiled) and tg.compile(step).function is step.function


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"exact=True.*wait=False.*leave one of them out"):
        tg.compile(lambda x: x, exact=True, wait=False)
    with pytest.raises(TypeError, match="function"):
        tg.compile(3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="make one: Linear"):
        tg.compile(nn.Linear)
    kept: list[Any] = []
    tg.trace(lambda x: kept.append(x), X)
    with pytest.raises(tg.TraceError, match="outside its trace"):
        tg.compile(lambda x: x * 2)(kept[0])


class Kind(enum.Enum):
    FIRST, SECOND = "first", 2


class Weight(enum.IntEnum):
    ONE, FIVE = 1, 5


def test_members_of_enums_dtypes_and_classes_are_what_they_are() -> None:
    def weigh(x: Any, kind: Any, weight: Any, dtype: Any) -> Any:
        return tg.astype(x * weight + weight.value, dtype) if kind is Kind.FIRST else x * 0

    compiled = tg.compile(weigh)
    for given in (
        (Kind.FIRST, Weight.ONE, tg.f64),
        (Kind.FIRST, Weight.FIVE, np.float16),
        (Kind.SECOND, Weight.ONE, 0),
    ):
        for _ in range(2):
            found, expected = compiled(X, *given), weigh(tg.tensor(X), *given)
            np.testing.assert_array_equal(found.numpy(), expected.numpy(), strict=True)
    assert compiled.stats.traces == 3


def test_results_hold_text_and_the_like() -> None:
    model = nn.Linear(4, 2, seed=0)

    def told(x: Any) -> Any:
        rows = {"loss": (model(x) ** 2).sum(), "name": f"{len(x)} rows", "kinds": (Kind.FIRST, [np.dtype("f4"), None])}
        return rows, "done", Weight.FIVE

    def step(x: Any) -> Any:
        loss = model(x).sum()
        loss.backward()
        return {"stage": "training", "loss": loss}

    compiled = tg.compile(told)
    for rows in (X, X[:3], X[:1], X):
        (found, *others), (expected, *same) = compiled(rows), told(tg.tensor(rows))
        assert others == same and list(found) == list(expected)
        assert (found["name"], found["kinds"]) == (expected["name"], expected["kinds"])
        model.weight.grad = None
        found["loss"].backward()
        assert model.weight.grad is not None
        np.testing.assert_allclose(found["loss"].item(), expected["loss"].item(), rtol=1e-5)
    model.zero_grad()
    trained = tg.compile(step)(X)
    assert trained["stage"] == "training" and trained["loss"].shape == () and model.bias.grad.tolist() == [8.0, 8.0]
    with pytest.raises(TypeError, match="got Random: return what it holds, in a dict"):
        tg.compile(lambda x: (x, {"rng": random.Random(0)}))(X)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i4"])
def test_another_order_of_bytes_is_turned_at_every_call(dtype: str) -> None:
    f = tg.compile(lambda x, y: tg.tensor(x) * 2 + tg.tensor(y))
    base = np.arange(80.0).reshape(8, 10)
    x, y = base[:, :5].astype(dtype), base[::-1, ::2].astype(np.float32)
    for _ in range(4):
        assert np.array_equal(f(x, y).numpy(), x * 2.0 + y)
    for _ in range(4):
        assert np.array_equal(f(x, x).numpy(), x * 3.0)


def test_a_cell_that_is_written_is_no_argument() -> None:
    w, other = tg.Parameter([1.0, 2.0], name="w"), tg.Parameter([3.0, 4.0], name="other")

    @tg.compile
    def double(a: Any) -> Any:
        w.assign(w.read() * 2)
        return a + 1

    for _ in range(2):
        with pytest.raises(TraceError, match=r"double is given w, and it writes it too.*w\.read\(\)"):
            double(w)
        assert w.tolist() == [1.0, 2.0]
    assert double(other).tolist() == [4.0, 5.0] and w.tolist() == [2.0, 4.0]
    with pytest.raises(TraceError, match="writes it too"):
        double(w)
    assert double(w.read()).tolist() == [3.0, 5.0] and w.tolist() == [4.0, 8.0]
    nameless = tg.Buffer([1.0])
    with pytest.raises(TraceError, match=r"is given a cell, and it writes it too.*cell\.read\(\)"):
        tg.compile(lambda a: nameless.assign(a + 1))(nameless)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_integers_that_become_wider_than_64_bits_are_pythons() -> None:
    """A power or a product of a Python integer has as many digits as it takes, also where kernels read it."""
    weight = tg.Buffer(np.ones(2, np.float32))

    def f(x: tg.Tensor, n: int) -> Any:
        weight.assign(weight + 1.0)
        return x * (n * n // (n + 1)) + n**2, n * n * n, weight * 1.0

    compiled = tg.compile(f)
    x = tg.ones((2,))
    for n in (3, 2**40, 5, -(2**62), 10**20, 7):
        start = weight.numpy()
        expected = f(x, n)
        weight.assign(start)
        found = compiled(x, n)
        assert found[1] == expected[1] and type(found[1]) is int
        for a, b in zip(found[::2], expected[::2], strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
