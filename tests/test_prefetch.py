"""Batches made ahead by a thread: the same ones, errors and all, and no thread is left behind."""

import contextvars
import signal
import threading
import time

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.data import Loader, prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "tensorgraph-prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert threads() == []


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_the_same_batches_in_the_same_order(depth):
    loader = Loader(np.arange(50.0), batch_size=4, seed=1)
    plain = [x.tobytes() for (x,) in loader]
    loader.epoch = 0
    assert [x.tobytes() for (x,) in prefetch(loader, depth)] == plain
    assert list(prefetch([], depth)) == []


def test_no_more_are_made_than_wait():
    made = []

    def batches():
        for i in range(100):
            made.append(i)
            yield i

    ahead = prefetch(batches(), 2)
    assert next(ahead) == 0
    deadline = time.monotonic() + 60.0
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(made) == 4  # the one given out, two that wait, and one that waits to wait
    ahead.close()
    assert len(made) <= 5


def test_errors_come_after_the_batches_before_them():
    def batches():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        for batch in prefetch(batches(), 5):
            seen.append(batch)
    assert seen == [1, 2]


def test_leaving_the_loop_ends_the_thread_and_closes_the_generator():
    closed = []

    def batches():
        try:
            while True:
                yield threading.get_ident()
        finally:
            closed.append(threading.get_ident())

    makers = []
    for maker in prefetch(batches()):
        makers.append(maker)
        break
    assert closed == makers and makers != [threading.get_ident()]
    with pytest.raises(ZeroDivisionError):
        for _ in prefetch(batches()):
            1 / 0  # noqa: B018
    ahead = prefetch(batches())
    next(ahead)
    del ahead


def test_context_variables_are_the_callers():
    number = contextvars.ContextVar("number", default=0)
    number.set(7)
    with tg.no_grad():
        (grad,) = prefetch(tg.is_grad_enabled() for _ in range(1))
    assert grad is False and list(prefetch(number.get() for _ in range(2))) == [7, 7]


def test_ctrl_c_is_heard_while_waiting():
    def slow():
        yield 1
        time.sleep(0.6)
        yield 2

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    try:
        ahead = prefetch(slow())
        assert next(ahead) == 1
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            next(ahead)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)


def test_what_is_no_iterable_is_refused():
    for wrong in (3, None, "abc", list):
        with pytest.raises(TypeError, match="batches must be an iterable of batches"):
            prefetch(wrong)
    with pytest.raises(ValueError, match="depth must be a positive integer"):
        prefetch([1], 0)
