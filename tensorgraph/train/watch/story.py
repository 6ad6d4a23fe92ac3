"""The story of a run: what its events say, kept up to date as they come.

A run that is rolled back leaves a piece of its curves behind, which is kept apart; one that goes on after it was killed
makes some steps again, bit for bit, so that what was told of them before is dropped.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorgraph.data.arrays import Array
from tensorgraph.train.run.log import CHECKPOINT, Log

__all__ = ["Epoch", "Mark", "Series", "Story", "name_of", "number", "told"]

RECENT = 64  # step events from which the speed is told
PARTED = ("id", "event", "time", "step", "epoch", "branch")


@dataclass
class Series:
    """Numbers by step, in the order in which they came."""

    steps: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def __len__(self) -> int:
        return len(self.steps)

    def put(self, step: float, value: float) -> None:
        """Add a point, or replace the last one where it is of this step."""
        if self.steps and self.steps[-1] == step:
            self.values[-1] = value
        else:
            self.add(step, value)

    def add(self, step: float, value: float) -> None:
        self.steps.append(step)
        self.values.append(value)

    def cut(self, step: float) -> Series:
        """Take away what is after a step; gives what was taken, begun at the last point that stays."""
        keep = len(self.steps)
        while keep and self.steps[keep - 1] > step:
            keep -= 1
        first = max(keep - 1, 0)
        piece = Series(self.steps[first:], self.values[first:]) if keep < len(self.steps) else Series()
        del self.steps[keep:], self.values[keep:]
        return piece

    def arrays(self) -> tuple[Array, Array]:
        """Steps and values, of float64."""
        return np.array(self.steps), np.array(self.values)


@dataclass(frozen=True)
class Epoch:
    """A finished epoch: its number from 0, the updates made by its end, its measures, and how long it took."""

    number: int
    step: int
    measures: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step, in words; `kind` is the command or the event ("went on", "went back")."""

    kind: str
    words: str
    step: int
    epoch: int
    branch: int
    time: float
    id: str = ""


class Story:
    """What the events of a run say.

    Attributes
    ----------
    start : dict
        The fields of the first event; empty before it.
    step, epoch, branch, time
        Of the last event.
    loss : Series
        Of single steps.
    measures, settings : dict of str to Series
        Measures at the ends of epochs; values of hyperparameters where they changed.
    left_behind : list of (kind, name, Series)
        What was rolled back: of the losses of steps (kind "step"), of a "measure" or a "setting".
    epochs : list of Epoch
        Those of the present line.
    now : dict
        The present value of every hyperparameter.
    set_by_hand : dict of str to (int, float)
        The step at which a command last set a hyperparameter, and what it was before.
    marks : list of Mark
        Commands with their answers, rollbacks, beginnings and ends.
    ended, error : str
        Why the run ended; what was raised.
    paused : bool
    log : Log
        The same events as the run itself reads them: how it stands.

    Examples
    --------
    >>> story = Story()
    >>> story.add({"event": "start", "time": 0.0, "step": 0, "epoch": 0, "branch": 0, "epochs": 2,
    ...            "steps_per_epoch": 5, "hyperparameters": {"lr": 0.1}})
    >>> story.add({"event": "step", "time": 1.0, "step": 5, "epoch": 0, "branch": 0, "loss": 0.5})
    >>> story.total, story.now, list(story.loss.values)
    (10, {'lr': 0.1}, [0.5])
    """

    def __init__(self, events: Iterable[Mapping[str, Any]] = ()) -> None:
        self.start: dict[str, Any] = {}
        self.step = self.epoch = self.branch = self.count = self._last = 0
        self.time = self.began = math.nan
        self.loss = Series()
        self.measures: dict[str, Series] = {}
        self.settings: dict[str, Series] = {}
        self.left_behind: list[tuple[str, str, Series]] = []
        self.epochs: list[Epoch] = []
        self.now: dict[str, float] = {}
        self.set_by_hand: dict[str, tuple[int, float]] = {}
        self.marks: list[Mark] = []
        self.ended = self.error = ""
        self.paused = False
        self.confusion: dict[str, Any] | None = None
        self.log = Log()
        self._recent: deque[tuple[float, int]] = deque(maxlen=RECENT)
        for event in events:
            self.add(event)

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event; one of a kind that is not known changes nothing but the place."""
        kind = str(event.get("event"))
        self.log.add(dict(event))
        before, self._last = self.time, self.step
        self.count += 1
        self.step, self.epoch = int(event.get("step", self.step)), int(event.get("epoch", self.epoch))
        self.branch, self.time = int(event.get("branch", self.branch)), number(event.get("time"))
        if not self.time >= before:  # a clock that was put back tells no speed
            self._recent.clear()
        if kind in KINDS:
            getattr(self, f"_{kind}")(event)

    # ---- events

    def _start(self, event: Mapping[str, Any]) -> None:
        self.start = dict(event)
        self.began, self.ended, self.error = self.time, "", ""
        self._set(event.get("hyperparameters") or {})
        self._mark(event)

    def _resume(self, event: Mapping[str, Any]) -> None:
        """The steps after the checkpoint are made again."""
        for _, _, series in self._all():
            series.cut(self.step)
        self._forget(self.step)
        self.marks = [mark for mark in self.marks if mark.step <= self.step or mark.branch != self.branch]
        self.ended, self.error, self.paused = "", "", False
        if "epochs" in self.now and isinstance(event.get("epochs"), int):
            self._set({"epochs": event["epochs"]})
        self._mark(event)

    def _step(self, event: Mapping[str, Any]) -> None:
        self._set(event.get("hyperparameters") or {})
        if "loss" in event:
            self.loss.put(self.step, number(event["loss"]))
        self._recent.append((self.time, self.step))

    def _epoch(self, event: Mapping[str, Any]) -> None:
        if self.epochs and self.epochs[-1].number >= self.epoch:  # told again: a kill came before its checkpoint
            self.epochs.pop()
        measures = {str(name): number(value) for name, value in (event.get("measures") or {}).items()}
        for name, value in measures.items():
            self.measures.setdefault(name, Series()).put(self.step, value)
        self.epochs.append(Epoch(self.epoch, self.step, measures, number(event.get("seconds"))))
        self._confusion(event)

    def _checkpoint(self, event: Mapping[str, Any]) -> None:
        if event.get("name"):
            self._mark(event)

    def _rollback(self, event: Mapping[str, Any]) -> None:
        """What came after the checkpoint is left behind."""
        for kind, name, series in self._all():
            piece = series.cut(self.step)
            if len(piece) and kind == "setting":  # which kept its value until then
                piece.add(max(self._last, piece.steps[-1]), piece.values[-1])
            if len(piece):
                self.left_behind.append((kind, name, piece))
        self._forget(self.step)
        self._mark(event)

    def _command(self, event: Mapping[str, Any]) -> None:
        if event.get("command") == "set" and event.get("name") is not None:
            name = str(event["name"])
            self.set_by_hand[name] = self.step, self.now.get(name, math.nan)
            self._set({name: event.get("value")})
        self._mark(event)

    def _refused(self, event: Mapping[str, Any]) -> None:
        self._mark(event)

    def _pause(self, event: Mapping[str, Any]) -> None:
        self.paused = True
        self._recent.clear()

    def _continue(self, event: Mapping[str, Any]) -> None:
        self.paused = False
        self._recent.clear()

    def _end(self, event: Mapping[str, Any]) -> None:
        self.ended, self.paused = str(event.get("reason") or "ended"), False
        self.error = str(event.get("message") or "")
        self._confusion(event)
        self._mark(event)

    def _error(self, event: Mapping[str, Any]) -> None:
        self.error = str(event.get("message") or "an error")
        self._mark(event)

    def _confusion(self, event: Mapping[str, Any]) -> None:
        if isinstance(event.get("confusion"), Mapping):
            self.confusion = dict(event["confusion"])

    # ---- what follows

    def _all(self) -> list[tuple[str, str, Series]]:
        measures = [("measure", name, series) for name, series in self.measures.items()]
        return [("step", "loss", self.loss), *measures, *(("setting", *item) for item in self.settings.items())]

    def _forget(self, step: int) -> None:
        """What follows from what came after a step, once the series have been cut."""
        self.epochs = [epoch for epoch in self.epochs if epoch.step <= step]
        self.set_by_hand = {name: (at, before) for name, (at, before) in self.set_by_hand.items() if at <= step}
        self.now = {name: series.values[-1] for name, series in self.settings.items() if len(series)}
        self._recent.clear()

    def _set(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            now = number(value)
            if name not in self.now or not same(self.now[name], now):
                self.settings.setdefault(name, Series()).add(self.step, now)
            self.now[name] = now

    def _mark(self, event: Mapping[str, Any]) -> None:
        kind = str(event.get("event"))
        kind = str(event.get("command")) if kind == "command" else RENAMED.get(kind, kind)
        self.marks.append(
            Mark(kind, told(event), self.step, self.epoch, self.branch, self.time, str(event.get("id") or ""))
        )

    @property
    def settable(self) -> list[str]:
        """The names of what may be set."""
        found = self.start.get("hyperparameters")
        return [str(name) for name in found] if isinstance(found, Mapping) else []

    @property
    def total_epochs(self) -> int:
        """How many epochs the run will have, as last set; 0 where it is not known."""
        epochs = self.now.get("epochs", number(self.start.get("epochs")))
        return int(epochs) if math.isfinite(epochs) else 0

    @property
    def steps_per_epoch(self) -> int:
        """Updates in an epoch; 0 where it is not known."""
        steps = number(self.start.get("steps_per_epoch"))
        return int(steps) if math.isfinite(steps) else 0

    @property
    def total(self) -> int:
        """Updates of the whole run, further epochs being as long as the last; 0 where it is not known."""
        if not self.epochs or not self.total_epochs:
            return self.total_epochs * self.steps_per_epoch
        last, before = self.epochs[-1], self.epochs[-2].step if len(self.epochs) > 1 else 0
        return last.step + max(self.total_epochs - last.number - 1, 0) * (last.step - before)

    @property
    def speed(self) -> float:
        """Steps a second, of the last ones; nan where nothing is known."""
        if len(self._recent) < 2:
            return math.nan
        (first, low), (last, high) = self._recent[0], self._recent[-1]
        return (high - low) / (last - first) if last > first and high > low else math.nan

    @property
    def left(self) -> float:
        """Seconds until the end at this speed; nan where nothing is known."""
        return max(self.total - self.step, 0) / self.speed if self.total and not self.ended else math.nan

    @property
    def changed(self) -> dict[str, Series]:
        """The hyperparameters that had more than one value, in any branch."""
        moved = {name for kind, name, _ in self.left_behind if kind == "setting"}
        return {name: series for name, series in self.settings.items() if len(series) > 1 or name in moved}


RENAMED = {"resume": "went on", "rollback": "went back"}  # events that are no commands, though they are called so
KINDS = frozenset(
    ("start", "resume", "step", "epoch", CHECKPOINT, "rollback", "command", "refused", "pause", "continue", "end",
     "error")
)  # fmt: skip


def name_of(run: Any) -> str:
    """What a run is called: its folder's name."""
    name: str = run.folder.path.resolve().name
    return name


def number(value: Any) -> float:
    """A value of an event as a number; nan where it is none, for JSON has no word for it."""
    try:
        return float(value)  # which reads "inf" and "nan" too
    except (TypeError, ValueError, OverflowError):
        return math.nan


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def told(event: Mapping[str, Any]) -> str:
    """An event in words, on one line, for a log and for marks; what has no glyph becomes a space, for a terminal would
    take it as an order.

    Examples
    --------
    >>> told({"event": "command", "command": "set", "name": "lr", "value": 0.01})
    'set lr = 0.01'
    """
    return "".join(c if c.isprintable() else " " for c in _told(event))


def _told(event: Mapping[str, Any]) -> str:
    kind = str(event.get("event"))
    if kind == "command":
        return command_told(event)
    if kind == "refused":
        return f"refused: {event.get('reason')}"
    if kind == "rollback":
        return f"went back to {event.get('to')}"
    if kind == CHECKPOINT:
        return f"checkpoint {event.get('file')}" + (f", named {event['name']}" if event.get("name") else "")
    if kind == "resume":
        return f"went on from {event.get('from')}"
    if kind == "start":
        return f"began: {event.get('model', 'a model')}, {event.get('epochs', '?')} epochs"
    if kind == "end":
        return f"ended: {event.get('reason')}"
    if kind == "error":
        return f"error: {event.get('message')}"
    fields = ", ".join(f"{name} {value}" for name, value in event.items() if name not in PARTED)
    return f"{kind}{': ' if fields else ''}{fields}"


def command_told(command: Mapping[str, Any]) -> str:
    """A command in words."""
    kind = str(command.get("command"))
    if kind == "set":
        value = number(command.get("value"))
        return f"set {command.get('name')} = {value:.6g}"
    if kind == "rollback":
        to = command.get("to")
        return "rollback" if to is None else f"rollback to {to}"
    if kind == CHECKPOINT and command.get("name"):
        return f"checkpoint named {command['name']}"
    return kind
