"""Calls that are like the last one: whatever is unlike it in any way is seen, and gives what eager gives."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.native import machine

pytestmark = pytest.mark.skipif(machine.reason() is not None, reason="no kernels here")

ROW = np.linspace(-1.0, 2.0, 6, dtype=np.float32)
SQUARE = np.linspace(-3.0, 3.0, 36, dtype=np.float32).reshape(6, 6)
LIKE = {
    "a tensor": tg.tensor(ROW),
    "an array": ROW,
    "a scalar's shape": np.float32(2.5).reshape(()),
    "a longer one": np.linspace(0, 1, 9, dtype=np.float32),
    "two axes": SQUARE,
    "with gaps": SQUARE[:, 1],
    "backwards": ROW[::-1],
    "turned": SQUARE.T,
    "float64": ROW.astype(np.float64),
    "another order of bytes": ROW.astype(">f4"),
    "integers": np.arange(6),
    "one that asks for gradients": tg.tensor(ROW, requires_grad=True),
    "a parameter": tg.Parameter(ROW.copy(), name="p"),
    "a number of NumPy's": np.float32(1.5),
    "a number": 1.5,
    "an integer": 3,
    "a bool": True,
    "empty": ROW[:0],
    "not aligned": np.frombuffer(b"\0" + ROW.tobytes(), np.uint8)[1:].view(np.float32),
}


@pytest.mark.parametrize("first", LIKE)
def test_whatever_comes_after_it(first: str) -> None:
    def function(x, y):  # type: ignore[no-untyped-def]
        return tg.exp(tg.multiply(x, 0.5)) + y

    compiled = tg.compile(function)
    y = tg.tensor(np.float32(0.25))
    for second in LIKE:
        for argument in (LIKE[first], LIKE[first], LIKE[second], LIKE[second]):
            found, expected = compiled(argument, y), function(argument, y)
            assert found.dtype == expected.dtype and found.shape == expected.shape
            np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=3e-7)
            assert found.requires_grad == expected.requires_grad


def test_an_array_that_nothing_reads_is_compared_too() -> None:
    @tg.compile
    def function(x, unused, word="a"):  # type: ignore[no-untyped-def]
        return x + len(unused.shape)

    x = tg.tensor(ROW)
    assert function(x, ROW, "a")[0] == function(x, ROW, "a")[0] == ROW[0] + 1
    assert function(x, SQUARE, "a")[0] == ROW[0] + 2
    assert function(x, ROW, "a")[0] == ROW[0] + 1 and function.stats.traces == 2


def test_numbers_and_settings_between_arrays() -> None:
    @tg.compile
    def function(x, factor, name, y, shift):  # type: ignore[no-untyped-def]
        return x * factor + (y if name == "with" else 0 * y) + shift, factor + 1

    x, y = tg.tensor(ROW), tg.tensor(ROW[::-1].copy())
    for factor, name, shift in [(2.0, "with", 1), (3.0, "with", 2), (3.0, "without", 2), (0.5, "with", -(2**62))]:
        for _ in range(2):
            found, more = function(x, factor, name, y, shift)
            expected = ROW * np.float32(factor) + (ROW[::-1] if name == "with" else 0) + np.float32(shift)
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
            assert more == factor + 1


def test_what_is_given_is_let_go_of() -> None:
    function = tg.compile(lambda x: x * 2)
    x = tg.tensor(ROW)
    function(x)
    before = sys.getrefcount(x), sys.getrefcount(x._value)
    results = [function(x) for _ in range(50)]
    assert (sys.getrefcount(x), sys.getrefcount(x._value)) == before
    assert len({id(result._value) for result in results}) == 50


def test_a_refused_label_and_the_call_after_it() -> None:
    table = tg.Parameter(SQUARE.copy(), name="table")

    @tg.compile
    def function(labels):  # type: ignore[no-untyped-def]
        with tg.no_grad():
            table.assign(table + 1)
        return tg.softmax_cross_entropy(table.detach(), labels)

    good, bad = tg.tensor(np.arange(6)), tg.tensor(np.arange(6) + 1)
    function(good)
    for _ in range(2):
        with pytest.raises(ValueError, match="6"):
            function(bad)
    function(good)
    np.testing.assert_array_equal(table.numpy(), (SQUARE + 1) + 1)


def test_gradients_that_are_held() -> None:
    weight = tg.Parameter(ROW.copy(), name="weight")

    @tg.compile
    def step(x):  # type: ignore[no-untyped-def]
        weight.grad = None
        loss = (weight * x).sum()
        loss.backward()
        return loss

    held = []
    for n in range(1, 6):
        step(tg.tensor(n * ROW))
        held.append(weight.grad)
    for n, gradient in enumerate(held, 1):
        np.testing.assert_array_equal(gradient.numpy(), np.float32(n) * ROW)


def test_two_threads_in_one_function() -> None:
    function = tg.compile(lambda x, factor: (x * factor, x + factor))
    x, wrong = tg.tensor(ROW), []
    function(x, 1.0)

    def call(factor: float) -> None:
        for _ in range(2000):
            product, total = function(x, factor)
            if product._value[1] != ROW[1] * np.float32(factor) or total._value[0] != ROW[0] + np.float32(factor):
                wrong.append(factor)

    threads = [threading.Thread(target=call, args=(float(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
