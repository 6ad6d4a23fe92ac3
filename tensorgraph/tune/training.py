"""`TrainingObjective`: a training run as an objective, of which a study may run many trials as one batched step."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from tensorgraph import random as draws
from tensorgraph.arguments import Count, Name, Natural, Ordered, checked
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.files import atomic_write
from tensorgraph.train.loop import Augment
from tensorgraph.train.running import Data, Metric, samples_of
from tensorgraph.tune.ensembles.ensemble import ensemble
from tensorgraph.tune.trial import Pruned, Trial

__all__ = ["TrainingObjective"]


class TrainingObjective:
    """An objective: a network trained with a trial's values, and scored by a measure at its end.

    It is called with a trial as any objective, and gives the score. A study with ``batch=32`` calls it for 32 slots at
    once, which `tensorgraph.tune.ensemble` trains as one batched step: with the same scores, to the bit.

    Parameters
    ----------
    make : callable
        Gives a new model, from those of the trial's values that it has parameters for; ``seed`` is the trial's own.
    data : Dataset, or pair (x, y)
    monitor : str, optional
        The measure after the last epoch that is the score: ``"dev_loss"``, or ``"loss"`` without `dev`, unless given.
        It is reported after every epoch, for pruning.
    epochs, optimizer, dev, loss, metrics, batch_size, shuffle, last, normalizer, augment, threads
        As for `tensorgraph.tune.ensemble`; each value of the trial goes to whoever has a parameter of its name.

    Notes
    -----
    A trial's folder keeps ``history.json``, which `tensorgraph.train.History.from_dict` reads.

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph import nn, tune
    >>> x = np.random.default_rng(0).normal(size=(96, 2))
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> def make(seed, units):
    ...     return nn.Sequential(nn.Linear(2, units, seed=seed), nn.ReLU(), nn.Linear(units, 2, seed=seed))
    >>> objective = tune.TrainingObjective(make, (x[:64], y[:64]), dev=(x[64:], y[64:]), epochs=5)
    >>> space = tune.Space(lr=tune.log(1e-4, 1), units=tune.choice(4, 8))
    >>> study = tune.Study(space, batch=16).run(objective, trials=16, progress=False)
    >>> study.best.score < 0.3
    True
    """

    @checked
    def __init__(
        self,
        make: Annotated[Callable[..., Any], "a function of hyperparameters that gives a Module"],
        data: Data,
        *,
        epochs: Count,
        dev: Data | None = None,
        monitor: Name | None = None,
        optimizer: str | Callable[..., Any] = "adam",
        loss: Annotated[Callable[..., Any], "a function of (outputs, y) that gives a scalar"] | None = None,
        metrics: Annotated[Iterable[str | Metric], Ordered] = ("accuracy",),
        batch_size: Count = 32,
        shuffle: bool = True,
        last: Literal["keep", "drop", "merge"] = "merge",
        normalizer: Normalizer | None = None,
        augment: Augment | None = None,
        threads: Count | None = None,
    ) -> None:
        metrics = list(metrics)
        named = ["loss", *[m if isinstance(m, str) else getattr(m, "__name__", type(m).__name__) for m in metrics]]
        named += [f"dev_{name}" for name in named] if dev is not None else []
        self.monitor = monitor or ("loss" if dev is None else "dev_loss")
        if self.monitor not in named:
            hint = "; give dev=" if self.monitor.startswith("dev_") and dev is None else ""
            raise ValueError(f"monitor is one of {', '.join(named)}, got {monitor!r}{hint}")
        samples_of(data, "data")  # told here, and not by every trial
        if dev is not None:
            samples_of(dev, "dev")
        self.make, self.data = make, data
        self.options: dict[str, Any] = dict(
            epochs=epochs, dev=dev, optimizer=optimizer, loss=loss, metrics=metrics, batch_size=batch_size,
            shuffle=shuffle, last=last, normalizer=normalizer, augment=augment, threads=threads,
        )  # fmt: skip

    @checked
    def __call__(self, trial: Annotated[Any, "a trial"]) -> float:
        """Train one network, and give its score.

        Raises
        ------
        FloatingPointError
            If its loss became nan or infinite.
        Pruned
            If the study ends the trial.
        """
        (score,) = self.together([trial])
        if isinstance(score, Exception):
            raise score
        return score

    def together(self, trials: Sequence[Trial], silent: Collection[Natural] = ()) -> list[float | Exception]:
        """The scores of several trials, trained at once; of one that has none what its objective raises.

        Parameters
        ----------
        trials : sequence of Trial
        silent : collection of int
            Slots whose reports are known already.
        """
        try:
            return self._together(trials, silent)
        except Exception as error:
            if len(trials) == 1:
                return [error]
        # one of them cannot be made or traced: each by itself, so that the others have their scores
        return [self.together([trial], silent)[0] for trial in trials]

    def _together(self, trials: Sequence[Trial], silent: Collection[Natural]) -> list[float | Exception]:
        ended: dict[int, Exception] = {}

        def prune(epoch: int, values: Mapping[str, Any]) -> list[int]:
            for k, value in enumerate(values[self.monitor]):
                if k not in ended and trials[k].slot not in silent and np.isfinite(value):
                    try:
                        trials[k].report(float(value), epoch)
                    except Pruned as pruned:
                        ended[k] = pruned
            return list(ended)

        settings = [{"seed": trial.seed, **trial} for trial in trials]
        found = ensemble(self._make(trials), self.data, settings=settings, prune=prune, **self.options)
        for trial, history in zip(trials, found.histories, strict=True):
            atomic_write(
                trial.folder / "history.json", json.dumps(history.to_dict()).encode(), sync=False, private=True
            )
            if history.stopped == "interrupted":
                raise KeyboardInterrupt
        return [
            ended[k] if k in ended
            else history[self.monitor][-1] if history.stopped == "epochs"
            else FloatingPointError(history.stopped)
            for k, history in enumerate(found.histories)
        ]  # fmt: skip

    def _make(self, trials: Sequence[Trial]) -> Callable[..., Any]:
        """The user's function, which finds the process's random state as the trial alone would."""
        following = iter(trials)

        @functools.wraps(self.make)
        def made(**values: Any) -> Any:
            draws.seed(next(following).seed)
            return self.make(**values)

        return made
