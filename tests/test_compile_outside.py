"""What compiled functions read and write besides arguments and names: environment, clocks, iterators, attributes."""

from __future__ import annotations

import datetime
import gc
import itertools
import os
import random
import secrets
import signal
import sys
import time
import uuid
from time import perf_counter
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn

X = np.ones(3, np.float32)
NAME = "TENSORGRAPH_TEST_OUTSIDE"
COUNTER = itertools.count(1)
STATE: Any = type("State", (), {})()


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    vars(STATE).clear()


READS = {
    "get": lambda x: (x * float(os.environ.get(NAME, "1"))).sum(),
    "getenv": lambda x: (x * float(os.getenv(NAME, "1"))).sum(),
    "item": lambda x: (x * (float(os.environ[NAME]) if NAME in os.environ else 1.0)).sum(),
    "all": lambda x: (x * float(dict(os.environ).get(NAME, "1"))).sum(),
    "copy": lambda x: (x * float(os.environ.copy().get(NAME, "1"))).sum(),
    "items": lambda x: (x * sum(float(v) for k, v in os.environ.items() if k == NAME)).sum(),
}


@pytest.mark.parametrize("name", READS)
def test_the_environment_is_watched(name: str) -> None:
    f = READS[name]
    compiled = tg.compile(f)
    for value in (None, "2", "2", "5", None, "2"):
        if value is None:
            os.environ.pop(NAME, None)
        else:
            os.environ[NAME] = value
        assert compiled(X).item() == f(X).item()
    assert compiled.stats.traces == 3 and "environment" in compiled.stats.retraces[0]
    os.environ.pop(NAME, None)


def test_what_libraries_read_of_the_environment_is_their_own_affair() -> None:
    compiled = tg.compile(lambda x: tg.exp(x) + os.path.expanduser("~").count("/"))
    compiled(X)
    guards = compiled._latest().traced.guards.guards
    assert not any("environment" in guard.what for guard in guards)


CLOCKS = {
    "time": lambda x: x * time.time(),
    "bare name": lambda x: x * perf_counter(),
    "nanoseconds": lambda x: x * (time.monotonic_ns() % 7),
    "today": lambda x: x * datetime.date.today().day,
    "now": lambda x: x * datetime.datetime.now().second,
    "urandom": lambda x: x * os.urandom(1)[0],
    "uuid": lambda x: x * (uuid.uuid4().int % 5),
    "secrets": lambda x: x * secrets.randbelow(5),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_a_clock_is_refused(name: str) -> None:
    with pytest.raises(tg.TraceError, match=r"calls .*test_compile_outside.py:\d+.* pass what it gives as an argument"):
        tg.compile(CLOCKS[name])(X)


def test_a_clock_in_a_branch_that_is_not_taken_is_not_read() -> None:
    def f(x: Any, told: bool) -> Any:
        if told:
            print(time.time())
        return x * 2

    compiled = tg.compile(f)
    assert compiled(X, False).tolist() == [2.0] * 3
    with pytest.raises(tg.TraceError, match=r"time\.time"):
        compiled(X, True)


def test_helpers_and_modules_that_read_a_clock_are_refused_too() -> None:
    class Timed(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * time.perf_counter()

    with pytest.raises(tg.TraceError, match=r"time\.perf_counter"):
        Timed().compile()(X)


def test_a_captured_iterator_is_refused_and_one_made_inside_is_not() -> None:
    numbers, it = [1.0, 2.0, 3.0], iter([1.0, 2.0])
    for f in (lambda x: x * next(COUNTER), lambda x: x * next(it), lambda x: x * sum(it)):
        with pytest.raises(tg.TraceError, match="takes from"):
            tg.compile(f)(X)

    def helper(values: Any, x: Any) -> Any:
        return x * next(values)

    def inside(x: Any) -> Any:
        values = iter(numbers)

        def inner() -> Any:
            return next(values)

        return helper(values, x) + sum(x * n for n in numbers) + inner() + sum(n for n in map(abs, numbers))

    compiled = tg.compile(inside)
    assert compiled(X).tolist() == inside(X).tolist() == [15.0] * 3
    generator = (n for n in numbers)
    with pytest.raises(TypeError, match="values"):
        tg.compile(lambda x, values: x * next(values))(X, generator)


def test_a_file_is_refused(tmp_path: Any) -> None:
    with open(tmp_path / "log", "w+") as log:

        def f(x: Any) -> Any:
            log.write("called")
            return x * 2

        with pytest.raises(tg.TraceError, match="takes from log"):
            tg.compile(f)(X)


def test_traced_values_that_are_left_somewhere_are_refused() -> None:
    class Trainer:
        def step(self, x: Any) -> Any:
            self.loss = x.sum()
            return self.loss

    def attribute(x: Any) -> Any:
        y = x.sum()
        STATE.last = y
        return y

    def name(x: Any) -> Any:
        global LEFT
        LEFT = x.sum()
        return LEFT

    left = None

    def around(x: Any) -> Any:
        nonlocal left
        left = x.sum()
        return left

    for f, what in ((attribute, "STATE.last"), (name, "LEFT"), (around, "left"), (Trainer().step, "self.loss")):
        with pytest.raises(tg.TraceError, match=f"changes {what}"):
            tg.compile(f)(X)
    assert left is None or isinstance(left, tg.Tensor)


def test_the_same_number_may_be_left_at_every_call() -> None:
    def f(x: Any) -> Any:
        STATE.scale = 3.0
        return x * STATE.scale

    compiled = tg.compile(f)
    assert compiled(X).tolist() == [3.0] * 3
    STATE.scale = 5.0  # the function would set it again
    assert compiled(X).tolist() == [3.0] * 3 and STATE.scale == 3.0


def test_objects_that_are_made_inside_may_be_written() -> None:
    class Box:
        def __init__(self, value: Any) -> None:
            self.value = value

        def double(self) -> Box:
            self.value = self.value * 2
            return self

    def f(x: Any) -> Any:
        box = Box(x)
        box.other = box.double().value
        return box.other + Box(x).value

    compiled = tg.compile(f)
    assert compiled(X).tolist() == compiled(X).tolist() == [3.0] * 3 and compiled.stats.traces == 1


@pytest.mark.parametrize("n", [2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 10**30])
def test_integers_of_any_size_are_arguments(n: int) -> None:
    compiled = tg.compile(lambda x, n: x * n)
    for k in (1, n, 2, n, n + 1, -5):
        np.testing.assert_array_equal(compiled(X, k).numpy(), (tg.tensor(X) * k).numpy())


def test_lists_of_numbers_are_arguments() -> None:
    def f(x: Any, rows: Any) -> Any:
        return tg.tensor(rows) @ x + tg.sum(rows, axis=1) + len(rows)

    compiled = tg.compile(f)
    for rows in ([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[1, 2, 3], [4, 5, 6]], [[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]]):
        np.testing.assert_array_equal(compiled(X, rows).numpy(), f(tg.tensor(X), rows).numpy())
    assert "rows.0.0 was 1.0 and is 1 now" in compiled.stats.retraces


def test_under_a_debugger_the_same_is_seen() -> None:
    def tracer(frame: Any, event: str, arg: Any) -> Any:
        return tracer

    def branch(x: Any, told: bool) -> Any:
        return x * time.time() if told else x * 2

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        compiled = tg.compile(branch)
        assert compiled(X, False).tolist() == [2.0] * 3
        with pytest.raises(tg.TraceError, match=r"time\.time"):
            compiled(X, True)
        with pytest.raises(tg.TraceError, match="takes from COUNTER"):
            tg.compile(lambda x: x * next(COUNTER))(X)
        f = READS["get"]
        watched = tg.compile(f)
        for value in ("2", "3"):
            os.environ[NAME] = value
            assert watched(X).item() == f(X).item()
    finally:
        sys.settrace(before)


class Noisy(nn.Module):
    def __init__(self, rng: Any) -> None:
        super().__init__()
        self.rng, self.linear = rng, nn.Linear(3, 3, seed=0)

    def forward(self, x: Any) -> Any:
        return self.linear(x + np.float32(self.rng.random()))


DRAWS = {
    "attribute": lambda x: x * STATE.rng.random(),
    "item": lambda x: x * STATE.many["rng"].random(),
    "variable": lambda x: [x * rng.random() for rng in [STATE.rng]][0],
    "argument of a helper": lambda x: scaled(x, STATE.rng),
    "module": lambda x: STATE.module(x),
}


def scaled(x: Any, rng: Any) -> Any:
    return x * rng.random()


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState, random.Random])
@pytest.mark.parametrize("name", DRAWS)
def test_numbers_of_a_generator_that_an_object_holds_are_refused(name: str, kind: Any) -> None:
    """And it is left as it was."""
    STATE.rng, f = kind(1), DRAWS[name]
    STATE.many, STATE.module = {"rng": STATE.rng}, Noisy(STATE.rng)
    before = kind(1).random()
    for _ in range(2):
        with pytest.raises(tg.TraceError, match=r"draws from .*rng.*tensorgraph\.random"):
            tg.compile(f)(X)
    assert STATE.rng.random() == before


def test_a_generator_that_is_not_drawn_from_is_no_matter() -> None:
    STATE.rng = np.random.default_rng(0)

    def f(x: Any) -> Any:
        return x * STATE.rng.random() if len(x) > 3 else x * 2

    compiled = tg.compile(f)
    for _ in range(3):
        assert compiled(X).tolist() == [2.0] * 3
        STATE.rng.random()
    assert compiled.stats.traces == 1


SEEDLESS = {
    "default_rng": lambda x: x + np.random.default_rng().normal(size=3),
    "no seed after all": lambda x: x + (lambda seed: np.random.default_rng(seed))(None).normal(size=3),
    "RandomState": lambda x: x + np.random.RandomState().normal(size=3),
    "Generator": lambda x: x + np.random.Generator(np.random.PCG64()).normal(size=3),
    "SeedSequence": lambda x: x + np.random.default_rng(np.random.SeedSequence()).normal(size=3),
    "Random": lambda x: x + random.Random().random(),
    "SystemRandom": lambda x: x + random.SystemRandom().random(),
}


@pytest.mark.parametrize("name", SEEDLESS)
def test_a_generator_without_a_seed_is_refused(name: str) -> None:
    with pytest.raises(tg.TraceError, match=r"random numbers without a seed \(.*test_compile_outside.py:\d+\)"):
        tg.compile(SEEDLESS[name])(X)


def test_a_generator_with_a_seed_gives_the_same_numbers_at_every_call_anyway() -> None:
    for function in (
        lambda x: x + np.random.default_rng(0).normal(size=3),
        lambda x: x + np.random.RandomState(3).normal(size=3),
        lambda x: x + random.Random(3).random(),
    ):
        np.testing.assert_array_equal(tg.compile(function)(X).numpy(), function(tg.tensor(X)).numpy())


class Counting:
    """Counts what the interpreter does between two steps of a function."""

    def __init__(self) -> None:
        self.count = 0
        self.names: dict[str, int] = {}

    def note(self, *_: Any) -> None:
        self.count += 1
        self.names["last"] = self.count


class Leaving:
    """Counts where it is collected."""

    def __init__(self, counting: Counting) -> None:
        self.counting = counting

    def __del__(self) -> None:
        self.counting.note()


def test_what_runs_between_two_steps_is_not_the_functions() -> None:
    counting = Counting()

    def left(x: Any) -> Any:
        Leaving(counting)
        return x * 3.0

    def collected(x: Any) -> Any:
        gc.collect()
        return x * 2.0

    def interrupted(x: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return x * 4.0

    before = signal.signal(signal.SIGTERM, counting.note)
    gc.callbacks.append(counting.note)
    try:
        found = [tg.compile(f)(X).numpy().sum() for f in (collected, left, interrupted)]
    finally:
        gc.callbacks.remove(counting.note)
        signal.signal(signal.SIGTERM, before)
    assert found == [6.0, 9.0, 12.0] and counting.count >= 4
