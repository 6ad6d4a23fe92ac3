"""Functions that run on NumPy until their kernels are compiled; and NaN that is found in what runs compiled."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.compile.later import Later
from tensorgraph.compile.native_runner import NativeRunner
from tensorgraph.compile.on_numpy import OnNumpy
from tensorgraph.native import machine

X = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
Y = (X.sum(axis=1) > 0).astype(int)
native = pytest.mark.skipif(not machine.available(), reason="no machine code here")


def training(**options: bool) -> tuple[nn.Module, Any]:
    model = nn.Sequential(nn.Linear(4, 8, bias=False, seed=0), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 2, seed=1))
    adam = optim.Adam(model, lr=0.01)

    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        adam.minimize(loss)
        return loss

    return model, tg.compile(step, **options) if options else step


def later_of(step: Any) -> Later:
    runner = step._latest().runner
    assert isinstance(runner, Later)
    return runner


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Kernels are made when it is set."""
    gate = threading.Event()
    from tensorgraph.compile import later

    class Gated(Later):
        def __init__(self, graph: Any, cells: Any, make: Callable[[], Any]) -> None:
            def gated() -> Any:
                gate.wait()  # however long this takes: it is set in the end
                return make()

            super().__init__(graph, cells, gated)

    monkeypatch.setattr(import_module("tensorgraph.compile.runner"), "Later", Gated)
    assert later
    yield gate
    gate.set()


@native
def test_numpy_runs_until_kernels_are_there(gate: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    (model, step), (other, eager) = training(wait=False), training()
    for n in range(10):
        if n == 5:
            later = later_of(step)
            assert isinstance(later.runner, OnNumpy) and "wait=False" in step.explain() and later.reason
            assert "def program" in step.source
            gate.set()
            assert later.is_made.wait(60)
            with caplog.at_level(logging.INFO, "tensorgraph.compile"):
                step(X, Y)
                eager(X, Y)
            assert "by kernels from now on" in caplog.text
            assert isinstance(later.runner, NativeRunner) and "runs of kernels" in step.explain()
        np.testing.assert_allclose(step(X, Y).item(), eager(X, Y).item(), rtol=2e-5)
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-5)
    for mine, theirs in zip(model.buffers(), other.buffers(), strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-5)
    assert step.stats.traces == 1


@native
def test_other_shapes_and_gradients_of_the_callers_wait_for_nobody() -> None:
    model = nn.Sequential(nn.Linear(4, 8, seed=0), nn.Tanh(), nn.Linear(8, 2, seed=1))
    forward = model.compile(wait=False)
    for n in (16, 5, 16, 9):
        for _ in range(3):
            model.zero_grad()
            tg.mse(forward(X[:n]), X[:n, :2]).backward()
            got = [p.grad.numpy().copy() for p in model.parameters() if p.grad is not None]
            model.zero_grad()
            tg.mse(model(X[:n]), X[:n, :2]).backward()
            for mine, p in zip(got, model.parameters(), strict=True):
                assert p.grad is not None
                np.testing.assert_allclose(mine, p.grad.numpy(), rtol=1e-4, atol=1e-6)
            later_of(forward).is_made.wait(60)


@native
def test_kernels_that_cannot_be_made_are_told_and_numpy_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any, **keywords: Any) -> Any:
        raise RuntimeError("no kernel today")

    monkeypatch.setattr(import_module("tensorgraph.compile.runner"), "plan", broken)
    double = tg.compile(lambda x: tg.exp(x) * 2, wait=False)
    double(X)
    later = later_of(double)
    assert later.is_made.wait(60)
    np.testing.assert_allclose(double(X).numpy(), np.exp(X) * 2, rtol=1e-6)
    assert isinstance(later.runner, OnNumpy) and "no kernel today" in caplog.text


@native
def test_who_drops_the_function_waits_for_nothing(gate: threading.Event) -> None:
    double = tg.compile(lambda x: tg.exp(x) * 2, wait=False)
    double(X)
    gone = weakref.ref(later_of(double))
    del double
    gc.collect()
    assert gone() is None


@native
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_of_a_process_that_compiles_may_compile() -> None:
    step = tg.compile(lambda x: tg.sinh(tg.cosh(x) * 1.7) + x.cumsum(0), wait=False)
    step(X)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # it fails, and holds up nobody
        out = tg.compile(lambda x: tg.exp(x) * 2.5)(X)
        os._exit(0 if np.allclose(out.numpy(), np.exp(X) * 2.5) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert later_of(step).is_made.wait(60)


def log_of(w: tg.Parameter, x: Any) -> Any:
    h = w * x
    return tg.log(h).sum()  # the line of log


def root_of(w: tg.Parameter, x: Any) -> Any:
    h = tg.sqrt(w * x)  # the line of sqrt
    return (h * h).sum()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("loss_of", "bad", "name"), [(log_of, -1.0, "log"), (root_of, 0.0, "the gradient of sqrt")])
def test_a_nan_is_named_with_the_line_that_was_traced(loss_of: Any, bad: float, name: str) -> None:
    w = tg.Parameter(np.ones(3, "f4"))
    sgd = optim.SGD([w], lr=0.1)

    def step(x: Any) -> Any:
        loss = loss_of(w, x)
        sgd.minimize(loss)
        return loss

    compiled = tg.compile(step)
    compiled(np.ones(3, "f4"))
    before = w.numpy().copy()
    told = []
    for function in (compiled, step):
        with tg.debug_nans(), pytest.raises(FloatingPointError, match=name) as raised:
            function(np.full(3, bad, "f4"))
        told.append(str(raised.value))
        np.testing.assert_array_equal(w.numpy(), before)
    assert (
        told[0] == told[1] and f"{__file__}:{loss_of.__code__.co_firstlineno + (2 if name == 'log' else 1)}" in told[0]
    )
