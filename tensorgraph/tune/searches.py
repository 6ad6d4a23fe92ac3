"""A search in one line: random values, or a grid to compare them with, and the picture of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from tensorgraph.arguments import Count, Natural, Ordered, PathLike, checked
from tensorgraph.tune.engines import EngineChoice
from tensorgraph.tune.space import Space
from tensorgraph.tune.study import Direction, Study
from tensorgraph.tune.trial import Objective

__all__ = ["grid", "plot_coverage", "random"]


@checked
def random(
    space: Space,
    objective: Objective,
    *,
    trials: Count,
    workers: Count = 1,
    folder: PathLike | None = None,
    seed: Natural = 0,
    direction: Direction = "minimize",
    pruner: Literal["median"] | None = None,
    engine: EngineChoice = None,
    batch: Count = 1,
    progress: bool = True,
) -> Study:
    """Try random values of hyperparameters: of 25 trials each takes 25 values, where a grid of two takes 5.

    Source: Andrew Ng, Improving Deep Neural Networks, week 3, "Tuning process"; Bergstra and Bengio, Random search for
    hyper-parameter optimization, 2012.

    Parameters
    ----------
    space, folder, seed, direction, pruner, batch
        As for `Study`.
    objective, trials, workers, engine, progress
        As for `Study.run`.

    Returns
    -------
    Study

    Examples
    --------
    >>> from tensorgraph import tune
    >>> space = tune.Space(lr=tune.log(1e-4, 1), beta=tune.ewa(0.9, 0.999))
    >>> study = tune.random(space, lambda trial: (trial["lr"] - 0.1) ** 2, trials=25, progress=False)
    >>> len({result.values["lr"] for result in study.trials})
    25
    """
    study = Study(space, folder=folder, seed=seed, direction=direction, pruner=pruner, batch=batch)
    return study.run(objective, trials=trials, workers=workers, engine=engine, progress=progress)


@checked
def grid(
    space: Space,
    objective: Objective,
    *,
    points: Count = 5,
    workers: Count = 1,
    folder: PathLike | None = None,
    seed: Natural = 0,
    direction: Direction = "minimize",
    engine: EngineChoice = None,
    progress: bool = True,
) -> Study:
    """Try every point of a grid, to compare with: of 25 trials over two hyperparameters each takes 5 values only.

    Parameters
    ----------
    points : int
        Values of each hyperparameter, with equal distances on its scale; of a choice all of its options.
    space, folder, seed, direction
        As for `Study`; the seed decides in which order the points are tried.
    objective, workers, engine, progress
        As for `Study.run`.

    Returns
    -------
    Study

    Examples
    --------
    >>> from tensorgraph import tune
    >>> space = tune.Space(lr=tune.log(1e-4, 1), beta=tune.ewa(0.9, 0.999))
    >>> study = tune.grid(space, lambda trial: (trial["lr"] - 0.1) ** 2, points=5, progress=False)
    >>> len(study.trials), len({result.values["lr"] for result in study.trials})
    (25, 5)
    """
    study = Study(space, folder=folder, seed=seed, direction=direction, sampler="grid", points=points)
    return study.run(objective, workers=workers, engine=engine, progress=progress)


@checked
def plot_coverage(
    *studies: Study, names: Annotated[Sequence[str], Ordered] | None = None, path: PathLike | None = None
) -> Any:
    """Draw which values of two hyperparameters studies have tried, side by side: the slides' picture of 25 against 5.

    Parameters
    ----------
    *studies : Study
        Such as a grid and a random search over one space.
    names : sequence of two str, optional
        Which hyperparameters; the first two unless given.
    path : path-like, optional
        Where to save the picture, its format by the suffix; whole or not at all.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    ValueError
        If a study has not two such hyperparameters, or no trial of it has ended.
    """
    from tensorgraph.train.plots import save_figure
    from tensorgraph.tune.plots import coverage

    if not studies:
        raise ValueError("studies are what is drawn: give one or more")
    chosen = list(studies[0].space)[:2] if names is None else list(names)
    for study in studies:
        free = [
            name for name in chosen if name in study.space and not (s := study.space[name]).count and not s.condition
        ]
        if len(chosen) != 2 or len(free) != 2 or not study.trials:
            raise ValueError(
                f"names are two hyperparameters that every trial has, got {chosen}; the study of {len(study)} trials "
                f"has {', '.join(study.space)}"
            )
    figure = coverage(studies, (chosen[0], chosen[1]))
    if path is not None:
        save_figure(figure, path)
    return figure
