"""A training run on the screen: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tensorgraph.train.callbacks import Training
from tensorgraph.train.history import shown

__all__ = ["Bar", "Lines", "epoch_line", "progress_for"]


def progress_for(progress: bool, batches: int, stream: TextIO | None = None) -> list[Any]:
    """The callbacks that show a run: none, a bar where rich is installed and writes to a terminal, else lines."""
    stream = sys.stderr if stream is None else stream
    if not progress or stream is None or stream.closed:  # a program without a console has no standard error
        return []
    if stream.isatty():
        try:
            return [Bar(batches, stream)]
        except ImportError:
            pass
    return [Lines(stream)]


def described(measures: dict[str, float]) -> str:
    return "  ".join(f"{name.replace('_', ' ')} {shown(name, value)}" for name, value in measures.items())


def epoch_line(epoch: int, epochs: int, measures: dict[str, float], seconds: float) -> str:
    """An epoch, counted from 0, as a line of text."""
    width = len(str(epochs))
    return f"epoch {epoch + 1:{width}}/{epochs}  {described(measures)}  {seconds:.2f} s"


class Lines:
    """One line an epoch."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def on_epoch_end(self, run: Training) -> None:
        line = epoch_line(run.epoch, run.epochs, run.measures, run.history.seconds[-1])
        print(line, file=self.stream, flush=True)


class Bar:
    """A bar over all steps with the last epoch's measures, by rich."""

    def __init__(self, batches: int, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.batches = batches
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[measures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=stream),
        )
        self.task: Any = None

    def on_fit_start(self, run: Training) -> None:
        self.task = self.progress.add_task(
            self._title(run), total=run.epochs * self.batches, completed=run.epoch * self.batches, measures=""
        )
        self.progress.start()

    def _title(self, run: Training) -> str:
        return f"epoch {min(run.epoch + 1, run.epochs)}/{run.epochs}"

    def on_epoch_start(self, run: Training) -> None:
        self.progress.update(self.task, description=self._title(run))

    def on_step_end(self, run: Training) -> None:
        done = run.epoch * self.batches + run.batch  # a run may be rolled back, or given more epochs
        self.progress.update(self.task, completed=done, total=run.epochs * self.batches)

    def on_epoch_end(self, run: Training) -> None:
        self.progress.update(self.task, measures=described(run.measures))

    def on_fit_end(self, run: Training) -> None:
        self.progress.stop()
