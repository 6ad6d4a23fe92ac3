"""All networks of an ensemble, epoch by epoch: in parts that fit the caches, which threads share."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

from tensorgraph.engine.interrupts import interruptible
from tensorgraph.jit import blas
from tensorgraph.jit.threads import alone
from tensorgraph.train.history import History
from tensorgraph.train.running import Metric
from tensorgraph.tune.ensembles.lanes import Course, Lanes, Shape
from tensorgraph.tune.ensembles.measuring import Losses, Outputs, metrics_of

__all__ = ["Part", "parts_of", "train_together"]

Array = np.ndarray[Any, Any]
# bytes that a step of some networks side by side may hold: about a core's share of the caches. How many there are at
# least, as fewer would not share the cost of calls, and at most: each has runs of kernels of its own
TOGETHER, FEWEST, MOST = 4 << 20, 4, 128
# steps that must be left where those that were stopped are left behind: the step of fewer is another program
WORTH = 200


def parts_of(shape: Shape, course: Course, held: Any, metrics: Mapping[str, Metric]) -> list[Part]:
    """The networks of a shape in parts, as equal as may be. How many fit together is known from the shape alone, so
    that the parts are the same on every machine."""
    count = len(shape.members)
    most = min(max(FEWEST, TOGETHER // max(shape.bytes(), 1)), MOST)
    number = -(-count // most)
    cuts = [count * i // number for i in range(number + 1)]
    own = shape.own()
    lanes = [Lanes(shape, range(start, stop), own, course) for start, stop in pairwise(cuts)]
    return [Part(some, held, metrics) for some in lanes]


class Part:
    """Some networks side by side, with what measures them.

    Attributes
    ----------
    lanes : Lanes
    rates : list of list of float
        The learning rate of each network, a step.
    """

    def __init__(self, lanes: Lanes, held: Any, metrics: Mapping[str, Metric]) -> None:
        self.lanes, self.held, self.metrics = lanes, held, metrics
        self.rates: list[list[float]] = [[] for _ in lanes.members]
        self._measured()

    def _measured(self) -> None:
        if self.held is not None:
            self.outputs = Outputs(self.lanes.members, self.lanes.course.dtype)
            self.losses = Losses(self.lanes.members, self.held[1])

    @property
    def numbers(self) -> list[int]:
        """The places of its networks among the settings."""
        return [member.number for member in self.lanes.members]

    def epoch(self, epoch: int, stop: Callable[[], bool]) -> dict[str, Array] | None:
        """The measures of an epoch, NaN for networks that are not alive; None where it was broken off."""
        lanes = self.lanes
        done = lanes.epoch(epoch, stop)
        for lane, steps in enumerate(done.steps):
            self.rates[lane] += [float(rates[lane]) for rates in done.rates[:steps]]
        if stop():
            return None
        alive = lanes.alive
        values = {"loss": np.where(alive, done.total / np.maximum(done.samples, 1), np.nan)}
        if self.metrics:
            y = np.concatenate(done.targets, axis=0 if lanes.shared else 1)
            values |= metrics_of(self.metrics, np.concatenate(done.outputs, axis=1), y, lanes.shared, alive)
        if self.held is not None:
            lanes.commit(model_only=True)
            outputs = self.outputs.of(self.held[0])
            on_dev = {"loss": np.where(alive, self.losses.of(outputs), np.nan)}
            on_dev |= metrics_of(self.metrics, outputs, self.held[1], True, alive)
            values |= {f"dev_{name}": value for name, value in on_dev.items()}
        return values

    def close(self, lanes: Iterable[int], histories: Sequence[History], reason: str) -> None:
        """Say in the histories of these networks how they ended."""
        for lane in lanes:
            member = self.lanes.members[lane]
            history = histories[member.number]
            history.learning_rate = self.rates[lane]
            history.stopped = self.lanes.reasons[lane] or reason
            member.optimizer.epoch = int(self.lanes.begun[lane])

    def compact(self, histories: Sequence[History], epochs: int) -> None:
        """Leave those behind that were stopped, where they are half of all and enough is left to do: `epochs`."""
        alive = self.lanes.alive
        steps = epochs * len(list(self.lanes.loaders[0].sizes(0)))
        if not alive.any() or 2 * np.count_nonzero(alive) > alive.size or steps < WORTH:
            return
        self.close(np.flatnonzero(~alive).tolist(), histories, "")
        left = np.flatnonzero(alive)
        self.lanes.keep(left)
        self.rates = [self.rates[lane] for lane in left]
        self._measured()


def train_together(
    parts: Sequence[Part], histories: Sequence[History], epochs: int, prune: Callable[..., Any] | None, threads: int
) -> None:
    """Train all parts, write the histories, and give the networks their numbers."""
    reason = "epochs"
    with interruptible() as interrupt, _mapping(min(threads, len(parts))) as mapped:
        try:
            for epoch in range(epochs):
                began = time.perf_counter()
                alive = [part for part in parts if part.lanes.alive.any()]
                if not alive:
                    break
                found = mapped(lambda part, e=epoch: part.epoch(e, lambda: interrupt.asked), alive)
                if interrupt.asked:
                    reason = "interrupted"
                    break
                _append(alive, found, histories, time.perf_counter() - began)
                if prune is not None:
                    _prune(parts, histories, found[0], epoch, prune)
                for part in alive:
                    part.compact(histories, epochs - epoch - 1)
        except BaseException:
            interrupt.asked = True  # for the threads, which are waited for
            raise
    for part in parts:
        part.lanes.commit()
        part.close(range(len(part.lanes.members)), histories, reason)


def _append(parts: Sequence[Part], found: Sequence[Any], histories: Sequence[History], seconds: float) -> None:
    """An epoch of every network that is alive; the time of all is shared out evenly."""
    each = seconds / max(1, sum(int(part.lanes.alive.sum()) for part in parts))
    for part, values in zip(parts, found, strict=True):
        for lane in np.flatnonzero(part.lanes.alive):
            own = {name: float(column[lane]) for name, column in values.items()}
            histories[part.lanes.members[lane].number].append(own, each)


def _prune(
    parts: Sequence[Part], histories: Sequence[History], names: Iterable[str], epoch: int, prune: Callable[..., Any]
) -> None:
    """Ask which networks to stop."""
    places = {number: (part.lanes, lane) for part in parts for lane, number in enumerate(part.numbers)}
    values = {name: np.full(len(histories), np.nan) for name in names}
    for number, (lanes, lane) in places.items():
        if lanes.alive[lane]:
            for name, column in values.items():
                column[number] = histories[number][name][-1]
    chosen = prune(epoch, values)
    for number in () if chosen is None else chosen:
        if number not in range(len(histories)):
            raise ValueError(f"prune gave {number!r}: the networks are numbered from 0 to {len(histories) - 1}")
        if int(number) in places:  # and was not left behind
            lanes, lane = places[int(number)]
            if lanes.alive[lane]:
                lanes.stop(lane, "pruned")


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., list[Any]]]:
    """A function that calls another one for every part, in so many threads; kernels and products stay in theirs."""
    with blas.one_thread(), alone():
        if workers < 2:
            yield lambda function, parts: [function(part) for part in parts]
            return
        with ThreadPoolExecutor(workers, thread_name_prefix="tensorgraph-ensemble") as pool:

            def mapped(function: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
                context = contextvars.copy_context
                return [f.result() for f in [pool.submit(context().run, function, part) for part in parts]]

            yield mapped
