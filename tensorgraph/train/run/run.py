"""`Run`: a training run as a folder, to read, to steer, and to hand to `fit`."""

from __future__ import annotations

import threading
import time
from typing import Any

from tensorgraph.arguments import Count, Name, Natural, NonNegative, PathLike, Positive, checked
from tensorgraph.files import FileFormatError, atomic_write
from tensorgraph.train.history import History
from tensorgraph.train.predictor import Predictor
from tensorgraph.train.run.checkpoints import Checkpoint, Shelf
from tensorgraph.train.run.control import send
from tensorgraph.train.run.folder import Folder
from tensorgraph.train.run.lines import EventReader, LineReader
from tensorgraph.train.run.log import CHECKPOINT, Log
from tensorgraph.train.run.recorder import Options
from tensorgraph.train.run.state import history_in
from tensorgraph.train.saving import load_model

__all__ = ["Run"]

LOOK = 0.05  # seconds between two looks for an answer
READING = threading.Lock()  # of what runs remember of their events, which several threads may ask for


class Run:
    """A training run: one folder, which `fit` fills and goes on from, and from which the run is read and steered.

    ``fit(..., run=run)`` begins the run, or goes on from its last checkpoint to bitwise the numbers of a run that was
    never interrupted, after Ctrl-C, a crash or SIGKILL at any moment. A run of another model, other data or settings
    is refused with what differs; one that is finished is not trained again.

    Parameters
    ----------
    folder : path-like
        Made when training begins, for its owner alone.
    keep : int
        How many checkpoints stay, the newest; those with a name, and those where branches begin and end, stay besides.
    epochs : int
        A checkpoint at the end of every so many epochs, and of the last.
    steps : int, optional
        A checkpoint also every so many steps.
    seconds : float, optional
        A checkpoint also every so many seconds.
    step_events : int, optional
        Tell every so many steps in ``events.jsonl``, in place of one in a tenth of a second.
    replay : path-like, optional
        Another run's folder: a new run applies its commands at the same steps, and ends with bitwise the same weights.
    tensorboard : bool
        Write TensorBoard's event files too, a folder a branch (needs the extra ``tensorboard``).

    Notes
    -----
    The commands (`set`, `pause`, `resume`, `checkpoint`, `rollback`, `stop`) may come from any process with the rights
    of the folder. They are applied between two steps, in order, and each is answered by an event: `wait`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from tensorgraph import nn, optim, train
    >>> x = np.random.default_rng(0).normal(size=(64, 2))
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> model = nn.Sequential(nn.Linear(2, 8, seed=0), nn.ReLU(), nn.Linear(8, 2, seed=1))
    >>> folder = tempfile.TemporaryDirectory()
    >>> run = train.Run(pathlib.Path(folder.name, "first"))
    >>> adam = optim.Adam(model, lr=0.1)
    >>> history = train.fit(model, (x, y), optimizer=adam, epochs=3, run=run, progress=False)
    >>> run.status, len(run.history), [checkpoint.step for checkpoint in run.checkpoints]
    ('finished', 3, [2, 4, 6])
    >>> run.load()
    Predictor(Sequential)
    >>> folder.cleanup()
    """

    @checked
    def __init__(
        self,
        folder: PathLike,
        *,
        keep: Count = 3,
        epochs: Count = 1,
        steps: Count | None = None,
        seconds: Positive | None = None,
        step_events: Count | None = None,
        replay: PathLike | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.folder = Folder(folder)
        self.options = Options(
            keep, epochs, steps, seconds, step_events, None if replay is None else Folder(replay), tensorboard
        )
        self._reader, self._past = EventReader(self.folder), Log()
        self._sent: dict[str, int] = {}  # where the log ended when a command was sent

    def __repr__(self) -> str:
        return f"Run({str(self.folder.path)!r}, {self.status})"

    # reading ------------------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """How it stands.

        ``"new"``: not begun. ``"running"`` or ``"paused"``: a process trains it, or waits. ``"interrupted"``: ended on
        its way; `fit` goes on. ``"diverged"``: the loss became nan or infinite; roll it back. ``"finished"``.
        """
        if self.folder.read() is None:
            return "new"
        busy = self.folder.busy()
        return self._log().status(busy)

    def _log(self) -> Log:
        """What the events say, of which those that came since the last look are read."""
        with READING:
            if not self._reader.goes_on():
                self._reader, self._past = EventReader(self.folder), Log()
            for event in self._reader.new():
                self._past.add(event)
            return self._past

    def events(self) -> list[dict[str, Any]]:
        """All events so far, in the order in which they were written.

        A run that went on from a checkpoint tells the steps after it again.
        """
        return EventReader(self.folder).new()

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that are there, by number."""
        return [checkpoint for _, checkpoint in sorted(Shelf(self.folder).look().found.items())]

    @property
    def history(self) -> History:
        """The history as the last checkpoint has it; empty where there is none."""
        found = self._last()
        return History() if found is None else history_in(*found)

    def _last(self) -> tuple[Any, Any] | None:
        """What the last whole checkpoint of the present line holds."""
        shelf = Shelf(self.folder).look()
        for number in self._latest(shelf):
            try:
                return shelf.load(number)
            except (FileFormatError, FileNotFoundError):
                continue
        return None

    def _latest(self, shelf: Shelf) -> list[int]:
        """The numbers of the checkpoints, those of the present line first, each time the last one first."""
        commands = self._log().commands
        rollbacks = [c for c in commands if c["command"] == "rollback"]
        order = [c for c in shelf.found.values() if c.branch == len(rollbacks)]
        numbers = [c.number for c in sorted(order, key=lambda c: (c.place, c.number), reverse=True)]
        numbers += [rollbacks[-1]["number"]] if rollbacks else []
        return list(dict.fromkeys([*numbers, *sorted(shelf.found, reverse=True)]))

    @property
    def hyperparameters(self) -> dict[str, float]:
        """The hyperparameters by name, as far as the events tell; empty before the run begins."""
        return dict(self._log().hyperparameters)

    @property
    def settable(self) -> list[str]:
        """The names that `set` takes; empty before the run begins."""
        return list(self._log().settable)

    @checked
    def load(self, number: Natural | None = None) -> Predictor:
        """The model, ready for use.

        Parameters
        ----------
        number : int, optional
            Of a checkpoint; unless given, the trained model of a finished run, else the last whole checkpoint, after
            a rollback the one that was gone back to.

        Raises
        ------
        FileNotFoundError
            If there is none.
        FileFormatError
            If the one asked for is damaged.
        """
        shelf = Shelf(self.folder).look()
        if number is not None:
            if number not in shelf.found and not shelf.path(number).exists():
                have = ", ".join(map(str, sorted(shelf.found))) or "none"
                raise FileNotFoundError(f"there is no checkpoint {number} in {str(shelf.folder)!r}; there are {have}")
            return load_model(shelf.path(number))
        if self.status == "finished" and self.folder.model.exists():
            return load_model(self.folder.model)
        for checkpoint in self._latest(shelf):
            try:
                return load_model(shelf.path(checkpoint))
            except (FileFormatError, FileNotFoundError):
                continue
        raise FileNotFoundError(f"there is no checkpoint in {str(shelf.folder)!r} yet")

    @checked
    def report(self, path: PathLike) -> None:
        """Write a page that needs nothing else: curves, commands, network, settings, every epoch.

        Parameters
        ----------
        path : path-like
            Of a file of HTML; whole or not at all.

        Raises
        ------
        FileNotFoundError
            If no run was begun in the folder.
        """
        from tensorgraph.train.watch.report import report

        if self.status == "new":
            where = str(self.folder.path)
            raise FileNotFoundError(f"no run was begun in {where!r} yet; fit(..., run={where!r}) begins it")
        atomic_write(path, report(self).encode())

    @checked
    def watch(self, *, lines: bool = False) -> None:
        """Show the run until it ends, or all of it where it has: curves in a terminal, else a line an event.

        Ctrl-C ends the watching and not the run.

        Parameters
        ----------
        lines : bool
            Whether to print lines in a terminal too.
        """
        from tensorgraph.train.watch.terminal import watch

        watch(self, plain=True if lines else None)

    # steering -----------------------------------------------------------------------------------------------------

    @checked
    def set(self, name: Name, value: NonNegative) -> str:
        """Set a hyperparameter; a value in place of a schedule replaces it.

        Parameters
        ----------
        name : str
            One of `settable`.
        value : float

        Returns
        -------
        str
            The command's id, for `wait`; so do the others.
        """
        return self._send("set", name=name, value=value)

    def pause(self) -> str:
        """Let the run wait."""
        return self._send("pause")

    def resume(self) -> str:
        """Let a run that is paused, or was stopped, go on."""
        return self._send("resume")

    @checked
    def checkpoint(self, name: Name | None = None) -> str:
        """Have a checkpoint made; one with a name stays."""
        return self._send(CHECKPOINT, name=name)

    @checked
    def rollback(self, to: Natural | Name | None = None) -> str:
        """Go back to a checkpoint, on a new branch; what the run has done since stays as a branch of its own.

        Parameters
        ----------
        to : int or str, optional
            A checkpoint's number or name; the last one unless given.
        """
        return self._send("rollback", to=to)

    def stop(self) -> str:
        """End the run after the present step; `resume` and another `fit` go on."""
        return self._send("stop")

    def _send(self, command: str, **fields: Any) -> str:
        reader = EventReader(self.folder)
        reader.skip()
        id = send(self.folder, command, **fields)
        self._sent[id] = reader.offset
        return id

    @checked
    def wait(self, id: Name, timeout: NonNegative = 60.0) -> dict[str, Any]:
        """Wait for the answer to a command.

        Parameters
        ----------
        id : str
            What the command's method gave.
        timeout : float
            Seconds.

        Returns
        -------
        dict
            The event: ``"command"`` where it was applied, ``"refused"`` with the ``"reason"`` where it was not.

        Raises
        ------
        ValueError
            If there is no such command.
        TimeoutError
            If no process answered in time; the command waits for the next one that trains.
        """
        if id not in [command.get("id") for command in LineReader(self.folder.control, lenient=True).new()]:
            raise ValueError(f"there is no command {id!r}; take the id that the command's method gave")
        reader, until = EventReader(self.folder), time.monotonic() + timeout
        reader.offset = self._sent.get(id, 0)
        while True:
            for event in reader.new():
                if event.get("id") == id and event["event"] in ("command", "refused"):
                    return event
            if time.monotonic() >= until:
                raise TimeoutError(
                    f"nobody answered the command {id} in {timeout:g} s (the run is {self.status}); it waits for the "
                    "next process that trains in this folder"
                )
            time.sleep(LOOK)
