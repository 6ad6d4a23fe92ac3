"""The one who keeps a run's folder while it trains: the loop asks between two steps, and tells after each.

The plan is in the docstring of `tensorgraph.train.run`; here are its parts in their order: opening, going on from where
the run was, between two steps, what is told after steps and epochs, the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tensorgraph.data.normalizer import Normalizer
from tensorgraph.engine import random
from tensorgraph.engine.tape import warn_user
from tensorgraph.files import FileFormatError
from tensorgraph.train.loop import Loop, NonFiniteLossError
from tensorgraph.train.run.board import Board
from tensorgraph.train.run.checkpoints import Checkpoint, Place, Shelf
from tensorgraph.train.run.confusion import confusion
from tensorgraph.train.run.digest import Described, compare, environment, hash_state
from tensorgraph.train.run.folder import Folder, telling
from tensorgraph.train.run.hyperparameters import Hyperparameters, Schedules
from tensorgraph.train.run.lines import LineReader, LineWriter
from tensorgraph.train.run.log import CHECKPOINT, Log
from tensorgraph.train.run.replay import read_replay, write_replay
from tensorgraph.train.run.state import capture, restore
from tensorgraph.train.run.steering import Steering
from tensorgraph.train.saving import save

__all__ = ["Options", "Recorder"]

EVERY = 0.1  # seconds between two step events, where their number is not asked for


@dataclass(frozen=True)
class Options:
    """How a run is kept: see `tensorgraph.train.Run`."""

    keep: int = 3
    epochs: int = 1
    steps: int | None = None
    seconds: float | None = None
    step_events: int | None = None
    replay: Folder | None = None
    tensorboard: bool = False


class Recorder:
    """Keeps a run's folder.

    Parameters
    ----------
    folder : Folder
    options : Options
    digest : dict
        What the run is of, by part: "model", "data", "settings".
    about : dict
        More for the start event: samples, batch size, settings.
    normalizer, class_names
        Saved with the model.
    """

    def __init__(
        self, folder: Folder, options: Options, digest: Described, about: dict[str, Any],
        normalizer: Normalizer | None, class_names: Sequence[str] | None,
    ) -> None:  # fmt: skip
        self.folder, self.options, self.about = folder, options, about
        self.normalizer, self.class_names = normalizer, class_names
        self._digest: Described = json.loads(json.dumps(digest))  # as it will be read
        self.shelf = Shelf(folder)
        self.log = Log()
        self.quiet = False  # whether the run is over: nothing is written
        self.branch = 0
        self.asked = 0
        self.replayed = 0  # commands of another run
        self._writer: LineWriter | None = None
        self._board: Board | None = None
        self._shown: dict[str, float] = {}
        self._next_step = 0.0
        self._made = time.monotonic(), 0  # when the last checkpoint was made, and at which step
        self._began = time.perf_counter()

    # opening ------------------------------------------------------------------------------------------------------

    def open(self, loop: Loop) -> None:
        """Take the folder, before anything of the run begins or changes.

        Raises
        ------
        ValueError
            If the folder holds a run of another model, other data or settings.
        RunBusyError
            If another process trains in it.
        NonFiniteLossError
            If the run diverged, and nobody told it what to do then.
        """
        self.schedules = Schedules(loop.training.optimizer)
        self.hyperparameters = Hyperparameters(loop.training)
        self.steering = Steering(self, loop)
        self.asked = loop.training.epochs
        self._look()
        if not self.quiet:
            if self.options.tensorboard:
                self._board = Board(self.folder.path / "tensorboard")
            self.folder.make()
            self.folder.acquire()
            self._look()  # again: another process may have trained since
            if self.quiet:
                self.folder.release()
        if self.quiet:
            self._refuse_diverged()
            return
        self.log.ask(self.asked)
        self.shelf.tidy()
        if self.folder.read() is None:
            self._create(loop)
        self._writer = LineWriter(self.folder.events)
        replayed = read_replay(self.folder)
        self.replayed = len(replayed)
        self.steering.plan = self.log.commands + replayed[len(self.log.commands) :]

    def _look(self) -> None:
        """Read what is there, and whether anything is left to do."""
        described = self.folder.read()
        self.log = Log.read(LineReader(self.folder.events).new())
        self.shelf.look()
        self.steering.read_commands()
        if described is None:
            return
        graphs = described["environment"].get("tensorgraph") == environment()["tensorgraph"]
        if self.options.replay is not None and not self.folder.replayed.exists():
            raise ValueError(
                f"{str(self.folder.path)!r} holds a run that replays no other: give another folder, or go on without "
                "replay="
            )
        differences = compare(described["digest"], self._digest, self.log.values(), graphs=graphs)
        if differences:
            raise ValueError(
                f"{str(self.folder.path)!r} holds a run that differs ({'; '.join(differences)}): give the same model, "
                "data and settings to go on with it, or another folder to begin a run"
            )
        over = self.log.finished and not self.steering.pending and self.asked == self.log.asked
        self.quiet = over and self._is_whole()

    def _is_whole(self) -> bool:
        """Whether the state in which the run ended can be loaded."""
        restarts = self._restarts()
        try:
            return bool(restarts) and not self.shelf.damaged and bool(self.shelf.load(restarts[0][1].number))
        except (FileFormatError, FileNotFoundError):
            return False

    def _refuse_diverged(self) -> None:
        end = self.log.end or {}
        if end.get("reason") == "diverged":
            where = str(self.folder.path)
            raise NonFiniteLossError(
                f"the run in {where!r} diverged at step {end.get('step')} and would again: {end.get('message')}. Roll "
                f"it back and change what made it so, train.Run({where!r}).rollback() and .set('lr', ...), then call "
                "fit again; or begin another run in another folder"
            )

    def _create(self, loop: Loop) -> None:
        """The first file that makes the folder a run's; what it replays lies there before."""
        initial = self._initial(loop)
        if self.options.replay is not None:
            write_replay(self.folder, self.options.replay, self._digest, initial)
        self.folder.write(
            {"made": time.time(), "digest": self._digest, "initial": initial, "environment": environment()}
        )

    def _initial(self, loop: Loop) -> str:
        """A hash of the numbers that training begins with."""
        training = loop.training
        states = (training.model.state_dict(), training.optimizer.state_dict(), {"random": random.state().numpy()})
        return hash_state(item for state in states for item in state.items())

    # going on -----------------------------------------------------------------------------------------------------

    def begin(self, loop: Loop) -> None:
        """Begin, or bring everything to where the run was."""
        self._warn_of_environment()
        for number, error in sorted(self.shelf.damaged.items()):
            self._set_aside(number, error)
        if not self.shelf.found and not self.log.commands and not self.log.checkpointed:
            self.tell(loop, "start", **self._about(loop))
            self.checkpoint(loop)
            return
        for place, checkpoint in self._restarts():
            try:
                parts, described = self.shelf.load(checkpoint.number)
            except (FileFormatError, FileNotFoundError) as error:
                self._set_aside(checkpoint.number, error)
                continue
            self.restore(loop, parts, described)
            self.steering.stand_after(place[0])
            origin: dict[str, Any] = {"from": checkpoint.file.name}
            self.tell(loop, "resume", epochs=self.asked, hyperparameters=dict(self.hyperparameters), **origin)
            self._made = time.monotonic(), loop.training.step
            return
        raise FileFormatError(
            f"no whole checkpoint is left in {str(self.shelf.folder)!r}: restore one from a copy, or remove the run "
            "folder to begin again"
        )

    def _restarts(self) -> list[tuple[Place, Checkpoint]]:
        """Where the run can go on from, the latest first: checkpoints, and those that it was rolled back to."""
        found = [(c.place, c) for c in self.shelf.found.values() if c.commands <= len(self.log.commands)]
        for count, command in enumerate(self.log.commands, 1):
            target = self.shelf.found.get(command["number"]) if command["command"] == "rollback" else None
            if target is not None:
                found.append(((count, target.step, target.epoch), target))
        return sorted(found, key=lambda item: (item[0], item[1].number), reverse=True)

    def restore(self, loop: Loop, parts: Any, described: Any) -> None:
        """Bring the loop to a checkpoint's state; of `fit` and the commands, who said a number of epochs last holds."""
        restore(loop, self.schedules, parts, described)
        if int(described["training"]["applied"]) <= self.log.overruled:
            loop.training.epochs = self.asked

    def _set_aside(self, number: int, error: Exception) -> None:
        if not self.quiet and self.shelf.path(number).exists():
            aside = self.shelf.set_aside(number)
            warn_user(
                f"fit: a checkpoint is damaged and was set aside as {aside.name!r}; the one before serves: {error}"
            )

    def _warn_of_environment(self) -> None:
        then, now = (self.folder.read() or {}).get("environment", {}), environment()
        changed = [f"{key} was {then[key]} and is {now[key]}" for key in now if then.get(key, now[key]) != now[key]]
        if changed and not self.quiet:
            warn_user(
                f"fit: the run in {str(self.folder.path)!r} was begun elsewhere ({'; '.join(changed)}): it goes on, "
                "and may differ by rounding from a run that was never interrupted"
            )

    def _about(self, loop: Loop) -> dict[str, Any]:
        training = loop.training
        return {
            "epochs": self.asked,
            "steps_per_epoch": len(loop.loader),
            "model": type(training.model).__name__,
            "parameters": sum(parameter.size for parameter in training.model.parameters()),
            "hyperparameters": dict(self.hyperparameters),
            **self.about,
        }

    # between two steps --------------------------------------------------------------------------------------------

    def boundary(self, loop: Loop) -> bool:
        """Everything that may happen between two steps; gives whether the run goes on."""
        if not self.quiet:
            if self._is_due(loop):
                self.checkpoint(loop)
            self.steering.between_steps()
        if self.steering.state == "stopped":
            if not self.quiet:
                self.checkpoint(loop)
            loop.training.stopping = "stopped"
            return False
        over = loop.current is None and (loop.training.stopping or loop.done >= loop.training.epochs)
        if over and not self.quiet:
            self.checkpoint(loop)  # commands that came after the last step are in it
        return True

    def _is_due(self, loop: Loop) -> bool:
        when, step = self._made
        options = self.options
        steering = self.steering
        return (
            (options.steps is not None and loop.training.step - step >= options.steps)
            or (options.seconds is not None and time.monotonic() - when >= options.seconds)
            or (steering.applied < len(steering.plan) and self.place(loop) in steering.needed)
        )

    def place(self, loop: Loop) -> Place:
        """Where the run is in its history."""
        return self.steering.applied, loop.training.step, loop.done

    def checkpoint(self, loop: Loop, name: str | None = None, *, tip: bool = False) -> Checkpoint:
        """The checkpoint of this place: the one that is there, or a new one."""
        found = self.shelf.at(self.place(loop), name)
        if found is None:
            arrays, described = capture(loop, self.schedules, self.normalizer, self.class_names)
            described["training"] |= {
                "name": name, "branch": self.branch, "applied": self.steering.applied, "asked": self.asked,
                "tip": tip,
            }  # fmt: skip
            found = self.shelf.write(arrays, described)
            self.shelf.prune(self.options.keep, self.log.pinned() | self.steering.pinned())
            self.tell(loop, CHECKPOINT, file=found.file.name, name=name)
        self._made = time.monotonic(), loop.training.step
        return found

    # telling ------------------------------------------------------------------------------------------------------

    def tell(self, loop: Loop, event: str, *, sync: bool = False, **fields: Any) -> dict[str, Any]:
        """Append an event; `sync`: whole on the disk before anything goes on."""
        record = {
            "event": event, "time": time.time(), "step": loop.training.step, "epoch": loop.done, "branch": self.branch,
            **fields,
        }  # fmt: skip
        if self._writer is not None:
            self._writer.add(record)
            if sync or event != "step":
                self._writer.flush(sync=sync)
            if self._board is not None:
                self._board.tell(record)
        return record

    def compiled(self, loop: Loop, **told: Any) -> None:
        """Tell that steps of another number of samples were compiled."""
        self.tell(loop, "compiled", **told)

    def step_done(self, loop: Loop, loss: float) -> None:
        """Tell a step, if it is time to, or the last one of an epoch."""
        training, every = loop.training, self.options.step_events
        last = loop.current is not None and training.batch == loop.current.count
        if every is None:
            now = time.perf_counter()
            if now < self._next_step and not last:
                return
            self._next_step = now + EVERY
        elif training.step % every and not last:
            return
        values = dict(self.hyperparameters)
        changed = {name: value for name, value in values.items() if self._shown.get(name) != value}
        self._shown = values
        self.tell(loop, "step", loss=loss, hyperparameters=changed)

    def epoch_done(self, loop: Loop) -> None:
        """Tell an epoch, and make its checkpoint where one is due."""
        training = loop.training
        seconds = training.history.seconds[-1]
        over = bool(training.stopping) or loop.done >= training.epochs
        due = over or loop.done % self.options.epochs == 0
        self.tell(loop, "epoch", sync=due, epoch=training.epoch, measures=dict(training.measures), seconds=seconds)
        if due:
            self.checkpoint(loop)

    # the end ------------------------------------------------------------------------------------------------------

    def end(self, loop: Loop) -> None:
        """The run is over, or was interrupted; a trained model is saved as it is now."""
        if self.quiet:
            return
        reason = loop.training.history.stopped
        if reason != "interrupted":
            with telling(self.folder.model):
                save(
                    self.folder.model, loop.training.model, normalizer=self.normalizer, class_names=self.class_names
                )  # fmt: skip
        more = confusion(loop, self.class_names) if reason != "interrupted" else {}
        self.tell(loop, "end", sync=True, reason=reason, seconds=time.perf_counter() - self._began, **more)

    def interrupted(self, loop: Loop) -> None:
        """Ctrl-C between two steps: nothing that was done is lost."""
        if not self.quiet:
            self.checkpoint(loop)

    def failed(self, loop: Loop, error: BaseException) -> None:
        """The run ended with an error, which is told where that is still possible."""
        with suppress(OSError):
            if isinstance(error, NonFiniteLossError):
                seconds = time.perf_counter() - self._began
                self.tell(loop, "end", sync=True, reason="diverged", message=str(error), seconds=seconds)
            else:
                self.tell(loop, "error", sync=True, message=f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Let go of the folder."""
        try:
            for file in (self._writer, self._board):
                if file is not None:
                    with suppress(OSError):
                        file.close()
        finally:
            self._writer = self._board = None
            self.folder.release()
