"""A trial as its objective sees it: values by name, a seed, a folder, and a place to report what is measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from tensorgraph.arguments import Name, Natural, checked
from tensorgraph.arguments.near import near
from tensorgraph.train import metrics
from tensorgraph.train.history import better_is_less
from tensorgraph.tune.slots import Slot

__all__ = ["Objective", "Pruned", "Trial", "check_direction"]


class Pruned(Exception):
    """A trial is ended because others did better by this step; its objective need not catch it."""


def check_direction(monitor: str, direction: str) -> None:
    """Refuse to look for the worst of a measure that this library knows; of one of the user's own nothing is known.

    Raises
    ------
    ValueError
        If the measure is better where it is more and less is looked for, or the other way round.

    Examples
    --------
    >>> check_direction("dev_accuracy", "minimize")
    Traceback (most recent call last):
    ValueError: a larger 'dev_accuracy' is better, and the study has direction='minimize': give direction='maximize'
    """
    if monitor.removeprefix("dev_") not in ("loss", *metrics.__all__):
        return
    right, wanted = ("minimize", "smaller") if better_is_less(monitor) else ("maximize", "larger")
    if direction != right:
        raise ValueError(
            f"a {wanted} {monitor!r} is better, and the study has direction={direction!r}: give direction={right!r}"
        )


class Trial(Mapping[str, Any]):
    """One trial: a mapping from the hyperparameters' names to their values.

    Attributes
    ----------
    slot : int
        Its number in the study, from 0.
    seed : int
        Of the study's seed and the slot alone: for weights and the order of samples.
    folder : pathlib.Path
        The trial's own folder, which is there. ``train.fit(..., run=trial.folder)`` keeps checkpoints in it, from which
        the trial goes on when its process was ended.

    Examples
    --------
    >>> from tensorgraph import tune
    >>> def objective(trial):
    ...     return (trial["x"] - 3.0) ** 2
    >>> study = tune.random(tune.Space(x=tune.uniform(0, 10)), objective, trials=5, progress=False)
    >>> len(study.trials)
    5
    """

    def __init__(
        self, slot: Slot, values: Mapping[str, Any], seed: int, names: tuple[str, ...] = (), look: Any = None,
        pruning: str | None = None,
    ) -> None:  # fmt: skip
        self.slot, self.seed, self.folder = slot.number, seed, Path(slot.folder)
        self._slot, self._values, self._names, self._look = slot, dict(values), names, look
        self._pruning = pruning  # the direction of a study with a pruner, which compares reports
        self._reported = 0

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name in self._names:
            raise KeyError(f"{name!r} has no value in this trial, as its condition says; use trial.get({name!r})")
        close = near(name, self._values) if isinstance(name, str) else None
        hint = f"; did you mean {close!r}?" if close else ""
        raise KeyError(f"the trial has {', '.join(map(repr, self._values))}; got {name!r}{hint}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Trial(slot={self.slot}, {', '.join(f'{n}={v!r}' for n, v in self._values.items())})"

    @checked
    def report(self, value: float, step: Natural | None = None) -> None:
        """Tell what was measured so far; a study with a pruner may end the trial here.

        Parameters
        ----------
        value : float
            The score at this step, such as the loss on the dev set.
        step : int, optional
            Epochs or updates done; one more than at the last report unless given.

        Raises
        ------
        Pruned
            If the study's pruner ends the trial.

        Examples
        --------
        >>> from tensorgraph import tune
        >>> def objective(trial):
        ...     for epoch in range(3):
        ...         trial.report(trial["x"] / (epoch + 1), epoch)
        ...     return trial["x"] / 3
        >>> tune.random(tune.Space(x=tune.uniform(0, 1)), objective, trials=2, progress=False).best.state
        'complete'
        """
        step = self._reported if step is None else step
        self._reported = step + 1
        self._slot.report(step, float(value))
        if self._look is not None:
            self._look()
        reason = self._slot.pruned()
        if reason:
            raise Pruned(reason)

    @checked
    def watch(self, monitor: Name = "dev_loss") -> Callable[[Any], None]:
        """A callback of `train.fit` that reports a measure after every epoch.

        Parameters
        ----------
        monitor : str
            The measure's name.

        Returns
        -------
        callable
            For ``callbacks=[trial.watch("dev_loss")]``.

        Raises
        ------
        ValueError
            If the study has a pruner that would end the trials with the best of this measure.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> from tensorgraph import tune
        >>> def objective(trial):
        ...     callback = trial.watch("loss")
        ...     callback(SimpleNamespace(epoch=0, measures={"loss": 0.5}))
        ...     return 0.5
        >>> tune.random(tune.Space(x=tune.uniform(0, 1)), objective, trials=1, progress=False).best.score
        0.5
        """

        if self._pruning is not None:
            check_direction(monitor, self._pruning)

        def report(training: Any) -> None:
            if monitor not in training.measures:
                known = ", ".join(map(repr, training.measures))
                raise ValueError(f"the trial watches {monitor!r}; this training measures {known}: choose one of these")
            value = float(training.measures[monitor])
            if not math.isfinite(value):
                raise FloatingPointError(f"{monitor} became {value} in epoch {training.epoch + 1}")
            self.report(value, training.epoch)

        return report


Objective: TypeAlias = Annotated[Callable[[Trial], float], "a function of a trial"]
