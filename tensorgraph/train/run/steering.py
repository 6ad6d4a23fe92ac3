"""Commands, applied between two steps: those that were applied before and have to be again, then new ones.

1. A command that the log holds after the state that the run went on from is applied at its branch and step, as before;
   but for `set epochs` where `fit` was called for other epochs since.
2. New commands wait until all those were.
3. A new command is answered in the log, on the disk, before the next step, which depends on it.
4. A rollback keeps the state that it leaves as a checkpoint, before it is logged.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tensorgraph.engine.tape import warn_user
from tensorgraph.files import FileFormatError
from tensorgraph.train.loop import Loop
from tensorgraph.train.run.checkpoints import Checkpoint, Place
from tensorgraph.train.run.control import fields_of
from tensorgraph.train.run.lines import LineReader
from tensorgraph.train.run.log import standing

if TYPE_CHECKING:
    from tensorgraph.train.run.recorder import Recorder

__all__ = ["Steering"]

Record = dict[str, Any]
LOOK = 0.05  # seconds between two looks at the commands while a run is paused


class Steering:
    """What is done with commands.

    Attributes
    ----------
    plan : list of dict
        The commands in the order in which they are, or have to be, applied.
    applied : int
        How many of them the present state includes.
    pending : list of dict
        New ones.
    state : str
        ``"paused"``, ``"stopped"`` or ``""``.
    """

    def __init__(self, recorder: Recorder, loop: Loop) -> None:
        self.recorder, self.loop = recorder, loop
        self.plan: list[Record] = []
        self.applied = 0
        self.pending: list[Record] = []
        self.state = ""
        self._held: set[Place] = set()
        self._control = LineReader(recorder.folder.control, lenient=True)

    def read_commands(self) -> None:
        """Read all commands from the first, and take those that have no answer."""
        self._control = LineReader(self.recorder.folder.control, lenient=True)
        self.pending = []
        self._take()

    def _take(self) -> None:
        answered = self.recorder.log.answered
        for command in self._control.new():
            if isinstance(command.get("id"), str) and command["id"] not in answered:
                self.pending.append(command)

    def stand_after(self, applied: int) -> None:
        """The state of the run includes so many commands now."""
        self.applied = applied
        done = self.plan[:applied] if self.plan else self.recorder.log.commands[:applied]
        self.state = standing(done)
        self.recorder.branch = sum(command["command"] == "rollback" for command in done)

    @property
    def needed(self) -> set[Place]:
        """The places that rollbacks of the plan will go back to."""
        return {tuple(c["place"]) for c in self.plan[self.applied :] if c["command"] == "rollback"}

    def pinned(self) -> set[int]:
        """The numbers of the checkpoints at those places, and of what a rollback is about to go back to."""
        needed = self.needed | self._held
        return {number for number, found in self.recorder.shelf.found.items() if found.place in needed}

    # between two steps --------------------------------------------------------------------------------------------

    def between_steps(self) -> None:
        """Apply what is to be applied here, and wait while the run is paused."""
        told = False
        while True:
            if self.applied < len(self.plan):
                command = self.plan[self.applied]
                if (command["branch"], command["step"]) != (self.recorder.branch, self.loop.training.step):
                    break
                if self.recorder.place(self.loop) in self.needed:  # between two commands of one step
                    self.recorder.checkpoint(self.loop)
                self._again(command)
                continue
            self._take()
            if self.pending:
                self._new(self.pending.pop(0))
            elif self.state == "paused" and not self._replayed():
                if not told:
                    self.recorder.tell(self.loop, "pause", sync=True)
                    told = True
                self.loop.check_interrupt()
                time.sleep(LOOK)
            else:
                break
        if told:
            self.recorder.tell(self.loop, "continue")

    def _replayed(self) -> bool:
        """Whether it was another run that was paused here: this one is not made to wait."""
        return len(self.recorder.log.commands) <= self.recorder.replayed

    def _again(self, command: Record) -> None:
        """Apply a command of the plan; one of another run's is logged here too."""
        log = self.recorder.log
        if self.applied < log.overruled and (command["command"], command.get("name")) == ("set", "epochs"):
            self.stand_after(self.applied + 1)
            return
        known = self.applied < len(log.commands)
        fields = fields_of(command)
        if command["command"] == "rollback":
            target = self.recorder.shelf.at(tuple(command["place"]))
            if target is None:
                raise FileFormatError(
                    f"the checkpoint that the run was rolled back to at step {command['step']} is damaged, and none "
                    "before it is left: restore it from a copy, or remove the run folder to begin again"
                )
            fields["to"] = target.number
        self._apply(command, fields, known=known)

    def _new(self, command: Record) -> None:
        """Apply a new command, or say why not."""
        try:
            self._apply(command, fields_of(command), known=False)
        except ValueError as error:
            self.recorder.log.answered.add(command["id"])
            self.recorder.tell(self.loop, "refused", sync=True, id=command["id"], reason=str(error))

    def _apply(self, command: Record, fields: Record, *, known: bool) -> None:
        """Do it, write it down unless that was done before, and only then go on."""
        name, recorder, loop = command["command"], self.recorder, self.loop
        branch, step, epoch = recorder.branch, loop.training.step, loop.done
        extra = getattr(self, f"_{name}")(**fields)
        if not known:  # `branch` is the one of before still
            event = recorder.tell(
                loop, "command", sync=True, id=command["id"], command=name, **fields, **extra, step=step, epoch=epoch
            )
            recorder.log.add(event)
            if self.applied >= len(self.plan):
                self.plan.append(event)
        self.stand_after(self.applied + 1)
        if name == "rollback" and not known:
            target = recorder.shelf.path(extra["number"]).name
            values = dict(recorder.hyperparameters)
            recorder.tell(loop, "rollback", to=target, of_branch=branch, hyperparameters=values)

    # the commands -------------------------------------------------------------------------------------------------

    def _set(self, name: str, value: float) -> Record:
        self.recorder.hyperparameters.set(name, value)
        return {}

    def _pause(self) -> Record:
        if self.state:
            raise ValueError(f"the run is {self.state} already")
        self._refuse_over()
        return {}

    def _resume(self) -> Record:
        if not self.state:
            raise ValueError("the run is not paused")
        return {}

    def _stop(self) -> Record:
        self._refuse_over()
        return {}

    def _refuse_over(self) -> None:
        loop, training = self.loop, self.loop.training
        if loop.current is None and (training.stopping or loop.done >= training.epochs):
            raise ValueError("the run is over")

    def _checkpoint(self, name: str | None = None) -> Record:
        if name is not None and (not name.strip() or name.isdecimal()):
            raise ValueError(f"a checkpoint's name is a word and no number, got {name!r}")
        return {"number": self.recorder.checkpoint(self.loop, name).number}

    def _rollback(self, to: int | str | None = None) -> Record:
        target, parts, described = self._target(to)
        self._held = {target.place}
        tip = self.recorder.checkpoint(self.loop, tip=True)
        self.recorder.restore(self.loop, parts, described)
        self._held = set()
        return {"number": target.number, "tip": tip.number, "place": list(target.place)}

    def _target(self, to: int | str | None) -> tuple[Checkpoint, Any, Any]:
        """The checkpoint to go back to, with what it holds; the last one of the present line unless it is named."""
        shelf = self.recorder.shelf
        found = self._line()
        if to is not None:
            every = sorted(shelf.found.values(), key=lambda c: c.number, reverse=True)
            found = [c for c in every if to in (c.number, c.name)][:1]
            if not found:
                have = ", ".join(f"{c.number} ({c.name})" if c.name else str(c.number) for c in reversed(every))
                raise ValueError(f"there is no checkpoint {to!r}; there are {have}")
        for checkpoint in found:
            try:
                return checkpoint, *shelf.load(checkpoint.number)
            except (FileFormatError, FileNotFoundError) as error:
                if to is not None:
                    raise ValueError(f"checkpoint {to!r} is damaged: {error}") from error
                warn_user(f"fit: checkpoint {checkpoint.number} is damaged, the one before serves: {error}")
        raise ValueError("there is no whole checkpoint to go back to")

    def _line(self) -> list[Checkpoint]:
        """The checkpoints that led to the present state, the last one first: of this branch and of those it left.

        A branch's tip is none of them: where it lies on the line, a kill came between it and its rollback, which is
        about to be made again.
        """
        recorder = self.recorder
        rollbacks = [command for command in self.plan[: self.applied] if command["command"] == "rollback"]
        branch, limit = recorder.branch, recorder.place(self.loop)
        found: list[Checkpoint] = []
        while True:
            found += [c for c in recorder.shelf.found.values() if c.branch == branch and c.place <= limit and not c.tip]
            if branch == 0:
                return sorted(found, key=lambda c: (c.place, c.number), reverse=True)
            limit = tuple(rollbacks[branch - 1]["place"])
            branch = sum(command["command"] == "rollback" for command in self.plan[: limit[0]])
