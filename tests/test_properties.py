"""Properties that are computed once, in threads and in children of a process with threads."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tensorgraph.jit.properties import cached_property

CHECKOUT = Path(__file__).resolve().parent.parent


class Slow:
    def __init__(self, gate: threading.Event | None = None) -> None:
        self.begun, self.gate, self.times = threading.Event(), gate, 0

    @cached_property
    def value(self) -> int:
        """How often it was computed."""
        self.begun.set()
        self.times += 1
        if self.gate is not None:
            assert self.gate.wait(30)
        return self.times


def test_a_value_is_computed_once_and_may_be_set_and_forgotten() -> None:
    slow = Slow()
    assert slow.value == slow.value == slow.times == 1
    slow.value = 7
    assert slow.value == 7
    del slow.value
    assert slow.value == 2
    assert isinstance(Slow.value, cached_property) and Slow.value.__doc__ == "How often it was computed."


def test_others_do_not_wait_while_it_is_computed() -> None:
    first = Slow(threading.Event())
    thread = threading.Thread(target=lambda: first.value)
    thread.start()
    assert first.begun.wait(30)
    assert Slow().value == 1
    first.gate.set()  # type: ignore[union-attr]
    thread.join(30)
    assert first.value == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_does_not_wait_for_a_thread_that_it_has_not() -> None:
    first = Slow(threading.Event())
    thread = threading.Thread(target=lambda: first.value)
    thread.start()
    assert first.begun.wait(30)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if Slow().value == 1 else 1)
    first.gate.set()  # type: ignore[union-attr]
    thread.join(30)
    assert os.waitpid(child, 0)[1] == 0


def test_nobody_takes_the_one_that_locks() -> None:
    rooms = [CHECKOUT / name for name in ("tensorgraph", "ops", "viz")]
    takers = [
        path for room in rooms for path in room.rglob("*.py") if "functools.cached_property" in path.read_text("utf-8")
    ]
    assert [path.name for path in takers] == ["properties.py"]
