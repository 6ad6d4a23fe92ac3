"""What a training run tells to others, and early stopping, which listens.

A callback is a function of the `Training`, called after every epoch, or an object with any of the methods
`on_fit_start`, `on_epoch_start`, `on_step_end`, `on_epoch_end` and `on_fit_end`, each of which takes the `Training`.
One that also has `state_dict()` and `load_state_dict(arrays)` is saved in checkpoints and goes on from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorgraph.arguments import Count, Name, Natural, NonNegative, checked
from tensorgraph.train.history import History, better_is_less

__all__ = ["EVENTS", "EarlyStop", "Training", "notify"]

EVENTS = ("on_fit_start", "on_epoch_start", "on_step_end", "on_epoch_end", "on_fit_end")


@checked
@dataclass
class Training:
    """A training run as its callbacks see it.

    Attributes
    ----------
    model, optimizer
        As given to `fit`.
    epochs : int
        The number of epochs asked for.
    epoch : int
        The present epoch, from 0.
    step : int
        The number of updates made so far.
    batch : int
        The number of the present epoch's batches that are done.
    measures : dict of str to float
        The present epoch's loss and metrics, complete in `on_epoch_end`; in `on_step_end`, ``"loss"`` is the mean so
        far.
    history : History
        The epochs finished before this call; in `on_epoch_end` with the present one.
    stopping : str
        Empty, or why the run will end after this epoch.
    """

    model: Any
    optimizer: Any
    epochs: Natural
    history: History
    epoch: Natural = 0
    step: Natural = 0
    measures: dict[str, float] = field(default_factory=dict)
    stopping: str = ""
    batch: Natural = 0

    @checked
    def stop(self, reason: Name = "callback") -> None:
        """End the run after this epoch; the history says why."""
        self.stopping = reason


def notify(callbacks: Sequence[Any], event: str, run: Training) -> None:
    """Call every callback that listens to this event."""
    for callback in callbacks:
        method = getattr(callback, event, None)
        if method is not None:
            method(run)
        elif event == "on_epoch_end" and listens_to_nothing(callback):
            callback(run)


def listens_to_nothing(callback: Any) -> bool:
    return not any(hasattr(callback, event) for event in EVENTS)


def check_callbacks(callbacks: Any) -> list[Any]:
    """The callbacks as a list; what is neither a function nor listens to an event is refused."""
    if callable(callbacks) or any(hasattr(callbacks, event) for event in EVENTS):
        raise TypeError(f"callbacks is a list of callbacks, got one by itself: write callbacks=[{callbacks!r}]")
    found = list(callbacks)
    for callback in found:
        if isinstance(callback, type) or (listens_to_nothing(callback) and not callable(callback)):
            raise TypeError(f"a callback is a function of the run or has one of {', '.join(EVENTS)}; got {callback!r}")
    return found


class EarlyStop:
    """End the run when a measure has not improved for some epochs, and go back to the best weights.

    Parameters
    ----------
    patience : int
        Epochs without improvement after which the run ends.
    monitor : str
        The measure to watch, such as ``"dev_loss"`` or ``"dev_accuracy"``. Losses and errors improve downwards, all
        else upwards.
    min_delta : float
        An improvement by no more than this does not count.
    restore_best : bool
        Whether the model ends with the weights and running averages of its best epoch, also where the run went through
        all its epochs. After Ctrl-C it keeps the last ones.

    Raises
    ------
    ValueError
        For a patience below 1, and where the run does not measure `monitor`: before it begins, or, where other
        callbacks might add the measure, as the first epoch ends.

    Examples
    --------
    >>> from tensorgraph.train import EarlyStop
    >>> EarlyStop(patience=3, monitor="dev_accuracy")
    EarlyStop(patience=3, monitor='dev_accuracy')
    """

    @checked
    def __init__(
        self,
        patience: Count = 10,
        monitor: Name = "dev_loss",
        *,
        min_delta: NonNegative = 0.0,
        restore_best: bool = True,
    ) -> None:
        self.patience, self.monitor = patience, monitor
        self.min_delta, self.restore_best = float(min_delta), restore_best
        self._forget()

    def __repr__(self) -> str:
        return f"EarlyStop(patience={self.patience}, monitor={self.monitor!r})"

    def _forget(self) -> None:
        self.best_epoch: int | None = None
        self.best_value = np.nan
        self._best_state: dict[str, np.ndarray[Any, Any]] = {}

    @checked
    def on_fit_start(self, run: Training) -> None:
        self._forget()

    @checked
    def check(self, measures: Iterable[str]) -> None:
        """Raise where a run of these measures does not have the one to watch."""
        names = list(measures)
        if self.monitor not in names:
            known = ", ".join(map(repr, names))
            hint = "pass dev=... to fit, or " if self.monitor.startswith("dev_") else ""
            raise ValueError(
                f"early stop watches {self.monitor!r}; this run measures {known}: {hint}choose one of these"
            )

    @checked
    def on_epoch_end(self, run: Training) -> None:
        self.check(list(run.measures))
        value = run.measures[self.monitor]
        if self._improves(value):
            self.best_epoch, self.best_value = run.epoch, value
            if self.restore_best:
                self._best_state = {name: np.array(a) for name, a in run.model.state_dict().items()}
        if run.epoch - (-1 if self.best_epoch is None else self.best_epoch) >= self.patience:
            run.stop("early stop")

    def _improves(self, value: float) -> bool:
        if np.isnan(value) or self.best_epoch is None:
            return not np.isnan(value)
        gain = self.best_value - value if better_is_less(self.monitor) else value - self.best_value
        return bool(gain > self.min_delta)

    @checked
    def on_fit_end(self, run: Training) -> None:
        run.history.best_epoch = self.best_epoch
        if self._best_state and run.stopping != "interrupted":
            run.model.load_state_dict(self._best_state)

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """What a checkpoint keeps: the best epoch, its measure, and its weights under ``best.``."""
        epoch = -1 if self.best_epoch is None else self.best_epoch
        best = {f"best.{name}": array for name, array in self._best_state.items()}
        return {"epoch": np.array(epoch), "value": np.array(self.best_value, np.float64), **best}

    @checked
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        epoch = int(state["epoch"])
        self.best_epoch, self.best_value = (None if epoch < 0 else epoch), float(state["value"])
        self._best_state = {
            name.removeprefix("best."): np.array(array) for name, array in state.items() if name.startswith("best.")
        }
