"""What a training run did, epoch by epoch: numbers that can be read, printed, kept as JSON and drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorgraph.arguments import NonNegative, PathLike, checked

__all__ = ["History", "better_is_less", "is_share", "shown"]

MOST_ROWS = 12  # of the printed table; longer runs show their first and last epochs


def better_is_less(name: str) -> bool:
    """Whether a smaller value of this measure is the better one: losses and errors, not scores.

    Examples
    --------
    >>> better_is_less("dev_loss"), better_is_less("dev_accuracy")
    (True, False)
    """
    if {"mae", "mse", "rmse"}.intersection(name.split("_")):
        return True
    return any(word in name for word in ("loss", "error", "perplexity"))


@checked
@dataclass(repr=False)
class History:
    """The record of a training run.

    Attributes
    ----------
    values : dict of str to list of float
        One number an epoch: ``"loss"`` and the metrics on the training set, and with the prefix ``dev_`` on the dev
        set. Those of the training set are taken while the weights still change, in training mode.
    learning_rate : list of float
        One number a step.
    hyperparameters : dict of str to list of float
        One number a step of every other hyperparameter that changed, by its name: ``"beta1"``, ``"layers.2.rate"``.
    seconds : list of float
        One number an epoch, evaluation included.
    stopped : str
        Why the run ended: ``"epochs"``, ``"early stop"``, ``"interrupted"``, or what a callback gave as its reason.
    best_epoch : int or None
        The epoch, from 0, whose weights an early stop found best.

    Examples
    --------
    >>> from tensorgraph.train import History
    >>> history = History()
    >>> history.append({"loss": 1.5, "accuracy": 0.5}, seconds=0.1)
    >>> history.append({"loss": 0.5, "accuracy": 0.875}, seconds=0.1)
    >>> history["accuracy"], history.best("loss")
    ([0.5, 0.875], (1, 0.5))
    >>> print(history)
    epoch    loss  accuracy
        1  1.5000    50.00%
        2  0.5000    87.50%
    2 epochs in 0.2 s
    """

    values: dict[str, list[float]] = field(default_factory=dict)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    stopped: str = ""
    best_epoch: int | None = None
    hyperparameters: dict[str, list[float]] = field(default_factory=dict)

    @checked
    def append(self, measures: Mapping[str, float], seconds: NonNegative) -> None:
        """Add an epoch."""
        for name, value in measures.items():
            self.values.setdefault(name, []).append(float(value))
        self.seconds.append(float(seconds))

    def __len__(self) -> int:
        """The number of whole epochs."""
        return len(self.seconds)

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.values:
            known = ", ".join(map(repr, self.values)) or "nothing, for no epoch was finished"
            raise KeyError(f"the history holds {known}; got {name!r}")
        return self.values[name]

    def __contains__(self, name: object) -> bool:
        return name in self.values

    @checked
    def best(self, name: str) -> tuple[int, float]:
        """The epoch, from 0, at which a measure was best, and its value then.

        Losses and errors are best when small, all else when large; nan is never best.
        """
        values = self[name]
        sign = 1.0 if better_is_less(name) else -1.0
        epoch = min(range(len(values)), key=lambda i: math.inf if math.isnan(values[i]) else sign * values[i])
        return epoch, values[epoch]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain dicts, lists and numbers; `from_dict` reads it back."""
        return {
            "values": {name: list(values) for name, values in self.values.items()},
            "learning_rate": list(self.learning_rate),
            "seconds": list(self.seconds),
            "stopped": self.stopped,
            "best_epoch": self.best_epoch,
            "hyperparameters": {name: list(values) for name, values in self.hyperparameters.items()},
        }

    @classmethod
    @checked
    def from_dict(cls, data: Mapping[str, Any]) -> History:
        """Make a history from `to_dict()`."""
        expected = {"values", "learning_rate", "seconds", "stopped", "best_epoch"}
        if set(data) - {"hyperparameters"} != expected:  # which were not kept at first
            raise ValueError(f"a history has the entries {', '.join(sorted(expected))}; got {', '.join(sorted(data))}")
        return cls(
            {str(name): [float(v) for v in values] for name, values in data["values"].items()},
            [float(v) for v in data["learning_rate"]],
            [float(v) for v in data["seconds"]],
            str(data["stopped"]),
            None if data["best_epoch"] is None else int(data["best_epoch"]),
            {str(name): [float(v) for v in values] for name, values in data.get("hyperparameters", {}).items()},
        )

    @checked
    def plot(self, path: PathLike | None = None, *, title: str = "") -> Any:
        """Draw the learning curves: loss, scores, learning rate, and what else changed.

        Parameters
        ----------
        path : path-like, optional
            Where to save the picture, its format by the suffix; whole or not at all.
        title : str

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        ValueError
            If no epoch was finished.
        """
        from tensorgraph.train.plots import learning_curves, save_figure

        figure = learning_curves(self, title=title)
        if path is not None:
            save_figure(figure, path)
        return figure

    def __str__(self) -> str:
        return table(self)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self.values.items() if values)
        stopped = f", stopped: {self.stopped}" if self.stopped else ""
        return f"History({len(self)} epochs{', ' + last if last else ''}{stopped})"


def is_share(name: str) -> bool:
    """Whether a measure of this name is a share of one, which is told as a percentage."""
    return any(word in name for word in ("accuracy", "precision", "recall", "f1"))


def shown(name: str, value: float) -> str:
    """A measure as text: shares of one as percentages."""
    if is_share(name) and 0.0 <= value <= 1.0:
        return f"{value:.2%}"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3e}"


def table(history: History) -> str:
    """The epochs as aligned text, the middle of a long run left out."""
    names = list(history.values)
    n = len(history)
    rows = [["epoch", *(name.replace("_", " ") for name in names)]]
    picked = range(n) if n <= MOST_ROWS else [*range(MOST_ROWS // 2), -1, *range(n - MOST_ROWS // 2, n)]
    for i in picked:
        if i < 0:
            rows.append(["..."] * len(rows[0]))
            continue
        best = "*" if i == history.best_epoch else ""
        rows.append([f"{best}{i + 1}", *(shown(name, history.values[name][i]) for name in names)])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows] if n else []
    epochs = "1 epoch" if n == 1 else f"{n} epochs"
    end = f"{epochs} in {math.fsum(history.seconds):.1f} s"
    if history.stopped not in ("", "epochs"):
        end += f" (stopped: {history.stopped})"
    if history.best_epoch is not None:
        end += f"; * is the best, epoch {history.best_epoch + 1}"
    return "\n".join([*lines, end])
