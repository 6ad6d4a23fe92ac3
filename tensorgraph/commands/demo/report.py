"""What the demonstration says on the screen."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tensorgraph.commands.demo.digits import SIDE, Outcome, Settings
from tensorgraph.train import Prediction, Training

__all__ = ["Screen", "picture", "prediction_text"]

SHADES = " ░▒▓█"
WIDTH = 28  # of the bars of probabilities


class Screen:
    """Prints by rich: bars that move on a terminal, a line a run elsewhere.

    Parameters
    ----------
    console : rich.console.Console, optional
        Standard output unless given.
    """

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console

        if console is None and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # an old terminal shows ? where it has no sign for a block
        self.console = Console(highlight=False) if console is None else console
        self.progress: Any = None

    def say(self, text: str = "") -> None:
        self.console.print(text)

    def headline(self, settings: Settings, samples: int) -> None:
        shape = " → ".join(str(n) for n in (SIDE * SIDE, *settings.widths, 10))
        self.say(f"[bold]Handwritten digits[/bold]: {samples:,} images of {SIDE}×{SIDE} pixels, 80% to train on")
        self.say(f"Network {shape}: Linear, batch norm, ReLU; softmax cross-entropy")
        self.say(f"Adam, {settings.epochs} epochs of mini-batches of {settings.batch_size}, a rate that falls to 0")
        self.say()

    def __enter__(self) -> Screen:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def begin(self, seed: int, batch_norm: bool, epochs: int) -> Any:
        """A bar for one run; gives the callback that moves it."""
        kind = "batch norm   " if batch_norm else "no batch norm"
        task = self.progress.add_task(f"split {seed}  {kind}", total=epochs, told="loss       test       ")

        def watch(run: Training) -> None:
            loss, accuracy = run.measures["loss"], run.measures["dev_accuracy"]
            told = f"loss {loss:.3f}  test {accuracy:7.2%}"
            self.progress.update(task, advance=1, told=told)
            if run.epoch + 1 == epochs and not self.console.is_terminal:
                self.say(f"split {seed}  {kind}  {told}  {math.fsum(run.history.seconds):5.1f} s")

        return watch

    def results(self, with_norm: Sequence[Outcome], without: Sequence[Outcome]) -> None:
        """The table of all splits, both networks side by side."""
        from rich.table import Table

        table = Table(title="Test accuracy", title_justify="left", title_style="bold", header_style="bold")
        table.add_column("split")
        for name in ("with batch norm", "wrong", "without", "wrong"):
            table.add_column(name, justify="right")
        for a, b in zip(with_norm, without):
            table.add_row(
                str(a.seed), f"[bold]{a.accuracy:.2%}[/bold]", f"{len(a.wrong)} of {len(a.test)}", f"{b.accuracy:.2%}",
                f"{len(b.wrong)} of {len(b.test)}",
            )  # fmt: skip
        table.add_section()
        means = [float(np.mean([outcome.accuracy for outcome in side])) for side in (with_norm, without)]
        total = sum(len(outcome.test) for outcome in with_norm)
        wrong = [sum(len(outcome.wrong) for outcome in side) for side in (with_norm, without)]
        table.add_row(
            "mean",
            f"[bold]{means[0]:.2%}[/bold]",
            f"{wrong[0]} of {total:,}",
            f"{means[1]:.2%}",
            f"{wrong[1]} of {total:,}",
        )
        self.say()
        self.console.print(table)

    def files(self, folder: Path, told: Sequence[tuple[str, str]]) -> None:
        """Each file that was written, and what is in it."""
        self.say()
        self.say(f"[bold]Written to {folder}[/bold]")
        width = max(len(name) for name, _ in told)
        for name, what in told:
            self.say(f"  {name.ljust(width)}  {what}")

    def prediction(self, image: Any, true: str, prediction: Prediction) -> None:
        self.say()
        self.say("[bold]One digit at test time[/bold]: the saved model, loaded afresh, on one image;")
        self.say("batch norm uses its running averages")
        self.say()
        for line in prediction_text(image, prediction):
            self.console.print(line, markup=False)
        self.say()
        verdict = "right" if prediction.names[0] == true else "wrong"
        self.say(
            f"The model says [bold]{prediction.names[0]}[/bold] ({prediction.confidence[0]:.1%}); "
            f"it is {true}: [bold]{verdict}[/bold]"
        )


def picture(image: Any) -> list[str]:
    """An 8×8 image of greys from 0 to 16 as lines of blocks, two characters a pixel."""
    level = np.clip(np.asarray(image, np.float64).reshape(SIDE, SIDE) / 16.0, 0.0, 1.0)
    index = np.ceil(level * (len(SHADES) - 1)).astype(int)
    return ["".join(SHADES[i] * 2 for i in row) for row in index]


def prediction_text(image: Any, prediction: Prediction) -> list[str]:
    """The image as blocks, the probabilities as bars beside it."""
    shares = prediction.probabilities[0]
    bars = []
    for name, share in zip(prediction.class_names, shares):
        bar = "█" * round(WIDTH * float(share))
        bars.append(f"{name}  {bar.ljust(WIDTH)} {share:6.1%}")
    top = (len(bars) - SIDE) // 2
    blank = [" " * (2 * SIDE)]
    lines = blank * top + picture(image) + blank * (len(bars) - SIDE - top)
    return [f"  {line}     {bar}" for line, bar in zip(lines, bars)]
