"""What a run's events say of its past: which commands were applied and where, who was answered, how it ended."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CHECKPOINT", "DECIDING", "Log", "standing"]

CHECKPOINT = "checkpoint"  # the event and the command

Event = dict[str, Any]
BEGINNINGS = ("start", "resume")
DECIDING = (*BEGINNINGS, "pause", "continue", "end")  # the events that say how a run stands


@dataclass
class Log:
    """The past of a run, as its events tell it.

    Attributes
    ----------
    commands : list of dict
        The commands that were applied, in order; each with the `branch` and the `step` at which it was.
    answered : set of str
        The ids of all that were applied or refused.
    end : dict or None
        How the run ended, where nobody trains it since.
    asked : int or None
        The epochs that `fit` was called for last.
    overruled : int
        How many commands there were when `fit` was called for another number of epochs than before, which holds against
        what they set.
    begun, paused, checkpointed : bool
        Whether the first event was told; whether the process that trained last waited; whether there ever was a
        checkpoint.
    settable : list of str
        The names that may be set.
    hyperparameters : dict
        Their values, as last told.
    """

    commands: list[Event] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    end: Event | None = None
    asked: int | None = None
    overruled: int = 0
    begun: bool = False
    paused: bool = False
    checkpointed: bool = False
    settable: list[str] = field(default_factory=list)
    hyperparameters: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, events: Iterable[Event]) -> Log:
        """The past in these events."""
        log = cls()
        for event in events:
            log.add(event)
        return log

    def add(self, event: Event) -> None:
        """Take note of an event."""
        kind, told = event.get("event"), event.get("hyperparameters")
        if isinstance(told, dict):
            self.hyperparameters |= told
        if kind == "start":
            self.begun, self.settable = True, list(told) if isinstance(told, dict) else []
        if kind == "command":
            self.commands.append(event)
            if event.get("command") == "set":
                self.hyperparameters[str(event.get("name"))] = event.get("value", math.nan)
        if kind in ("command", "refused"):
            self.answered.add(str(event.get("id")))
        if kind in BEGINNINGS:
            self.end, self.paused = None, False
            if type(event.get("epochs")) is int:
                self.ask(event["epochs"])
        elif kind == "end":
            self.end = event
        elif kind == CHECKPOINT:
            self.checkpointed = True
        elif kind in ("pause", "continue"):
            self.paused = kind == "pause"

    def ask(self, epochs: int) -> None:
        """Take note that `fit` is called for so many epochs."""
        if self.asked not in (None, epochs):
            self.overruled = len(self.commands)
        self.asked = epochs

    @property
    def finished(self) -> bool:
        """Whether the run came to an end, of whatever kind, and not only to a stop on its way."""
        return self.end is not None and self.end.get("reason") != "interrupted"

    def status(self, busy: bool) -> str:
        """How the run stands, where a process trains it (`busy`) or none does: see `Run.status`."""
        if busy:
            return "paused" if self.paused else "running"
        if not self.begun:
            return "new"
        if not self.finished:
            return "interrupted"
        return "diverged" if self.end is not None and self.end.get("reason") == "diverged" else "finished"

    def values(self) -> dict[str, list[Any]]:
        """The values that hyperparameters were set to."""
        found: dict[str, list[Any]] = {}
        for command in self.commands:
            if command.get("command") == "set":
                found.setdefault(str(command["name"]), []).append(command["value"])
        return found

    def pinned(self) -> set[int]:
        """The numbers of the checkpoints at which branches begin and end."""
        rollbacks = [command for command in self.commands if command.get("command") == "rollback"]
        return {int(command[key]) for command in rollbacks for key in ("number", "tip")}


def standing(commands: Iterable[Mapping[str, Any]]) -> str:
    """Whether a run is ``"paused"`` or ``"stopped"`` after these commands, or ``""``.

    A rollback is a wish to go on, but what is paused waits until it is told to.

    Examples
    --------
    >>> standing([{"command": "pause"}, {"command": "rollback"}])
    'paused'
    >>> standing([{"command": "stop"}, {"command": "resume"}])
    ''
    """
    state = ""
    for command in commands:
        name = command.get("command")
        if name == "pause":
            state = "paused"
        elif name == "stop":
            state = "stopped"
        elif name == "resume" or (name == "rollback" and state == "stopped"):
            state = ""
    return state
